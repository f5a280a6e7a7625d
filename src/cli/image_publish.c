/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_publish.c - `baton image publish`: the directory of an image server (docs/images.md).
 *
 * Images first, the index last, each in one step: whoever reads the directory meanwhile sees the old state or the new
 * one. A version that was published stays what it was; who wants another image gives it another version.
 */
#include "cli/image.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>

#include "sched/source.h"
#include "sched/trust/files.h"
#include "sched/trust/version.h"

#define CHANNELS_AT_ONCE 8

struct publication {
	const char *dir;
	const char *channels[CHANNELS_AT_ONCE];
	unsigned channel_count;
	struct index index;
};

static int path_in(const struct publication *p, const char *name, char ret[static PATH_MAX], struct error *e)
{
	if (snprintf(ret, PATH_MAX, "%s/%s", p->dir, name) >= PATH_MAX)
		return error_set(e, -ENAMETOOLONG, "the path of the directory is too long");
	return 0;
}

/* Publishers take turns. */
static int lock_dir(const struct publication *p, int *ret_fd, struct error *e)
{
	char path[PATH_MAX];
	int r = make_dirs(p->dir), fd;

	if (r < 0)
		return error_set(e, r, "cannot make the directory %.160s: %s", p->dir, strerror(-r));
	r = path_in(p, ".lock", path, e);
	if (r < 0)
		return r;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 || flock(fd, LOCK_EX) < 0) {
		r = error_set(e, -errno, "cannot write in %.160s: %s", p->dir, strerror(errno));
		close_fd(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static int read_index(struct publication *p, struct error *e)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	char path[PATH_MAX];
	size_t size;
	int r = path_in(p, "index.json", path, e);

	if (r < 0 || access(path, F_OK) < 0)
		return r;
	r = source_fetch(path, NULL, true, &bytes, &size, e);
	return r < 0 ? r : index_parse(bytes, size, path, &p->index, e);
}

static int write_index(const struct publication *p, struct error *e)
{
	_cleanup_free_ char *text = index_format(&p->index);
	char path[PATH_MAX];
	int r = text ? path_in(p, "index.json", path, e) : -ENOMEM;

	if (r >= 0 && strlen(text) > INDEX_BYTES_MAX)
		return error_set(e, -EFBIG, "the index would be larger than clients take: begin another directory");
	if (r >= 0)
		r = file_replace(path, text, strlen(text), 0644);
	return r < 0 ? error_set(e, r, "cannot write the index in %.160s: %s", p->dir, strerror(-r)) : 0;
}

static const struct index_image *find(const struct publication *p, const struct image_file *f)
{
	for (unsigned i = 0; i < p->index.image_count; i++)
		if (strcmp(p->index.images[i].name, f->name) == 0 &&
		    strcmp(p->index.images[i].version, f->version) == 0)
			return &p->index.images[i];
	return NULL;
}

static int add_image(struct publication *p, const struct image_file *f, struct error *e)
{
	struct index_image image = {.abi = f->abi, .size = f->size, .key_count = f->signatures.count};
	const struct index_image *known = find(p, f);
	char path[PATH_MAX];
	int r;

	if (!version_name_is_valid(f->name) || !version_is_valid(f->version))
		return error_set(
		    e, -EINVAL,
		    "%.100s calls itself \"%s\" version \"%s\": to be published it needs a plain name and a "
		    "version that begins with a digit (.version = \"1.0\")",
		    f->path, f->name, f->version);
	if (known && strcmp(known->digest, f->digest) != 0)
		return error_set(e, -EEXIST,
				 "%s %s is published already, with the digest %.16s...: a version never changes; give "
				 "yours another one",
				 f->name, f->version, known->digest);
	snprintf(image.name, sizeof image.name, "%s", f->name);
	snprintf(image.version, sizeof image.version, "%s", f->version);
	snprintf(image.digest, sizeof image.digest, "%s", f->digest);
	snprintf(image.file, sizeof image.file, "images/%s.baton", f->digest);
	for (unsigned i = 0; i < image.key_count; i++)
		key_fingerprint(f->signatures.entry[i].key, image.keys[i]);
	r = path_in(p, image.file, path, e);
	if (r >= 0) {
		r = make_dirs_above(path);
		if (r >= 0)
			r = file_replace(path, f->bytes, f->size, 0644);
		if (r < 0)
			return error_set(e, r, "cannot write %.200s: %s", path, strerror(-r));
	}
	if (r >= 0)
		r = index_put(&p->index, &image, e);
	for (unsigned i = 0; i < p->channel_count && r >= 0; i++)
		r = index_set_channel(&p->index, f->name, p->channels[i], f->version, e);
	return r;
}

static int publish(struct publication *p, int count, char **paths, struct error *e)
{
	_cleanup_close_ int lock = -1;
	int r = lock_dir(p, &lock, e);

	if (r >= 0)
		r = read_index(p, e);
	for (int i = 0; i < count && r >= 0; i++) {
		_cleanup_image_file_ struct image_file f = {0};

		r = image_file_read(paths[i], &f, e);
		if (r >= 0)
			r = add_image(p, &f, e);
		if (r >= 0)
			printf("%s %s%s\n", f.name, f.version,
			       f.signatures.count ? "" : " (not signed: monitors that trust by key will refuse it)");
	}
	return r < 0 ? r : write_index(p, e);
}

int image_publish(int argc, char **argv)
{
	static const struct option longs[] = {{"channel", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
	struct publication p = {0};
	struct error e = {""};
	int opt, r;

	while ((opt = getopt_long(argc, argv, ":c:", longs, NULL)) != -1) {
		if (opt != 'c')
			return cli_usage(&command_image, "image publish does not know, or misses a value of, %s",
					 argv[optind - 1]);
		if (p.channel_count == CHANNELS_AT_ONCE)
			return cli_usage(&command_image, "at most %d channels at once", CHANNELS_AT_ONCE);
		p.channels[p.channel_count++] = optarg;
	}
	if (argc - optind < 2)
		return cli_usage(&command_image, "image publish needs a directory and images");
	p.dir = argv[optind];
	r = publish(&p, argc - optind - 1, argv + optind + 1, &e);
	index_clear(&p.index);
	return r < 0 ? cli_fail("%s", e.text) : 0;
}
