/* SPDX-License-Identifier: Apache-2.0 */
/* cache.c - see cache.h. */
#include "cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "sched/source.h"
#include "sched/trust/files.h"

#define FILE_NAME_MAX 96
#define LEFT_OVER_S   3600 /* a file that somebody has been writing for so long will not be finished */
#define IMAGE_SUFFIX  ".baton"
#define ENTRIES_MAX   65536

void digest_of(const void *bytes, size_t size, char ret[static DIGEST_TEXT])
{
	unsigned char digest[crypto_hash_sha256_BYTES];

	crypto_hash_sha256(digest, bytes, size);
	sodium_bin2hex(ret, DIGEST_TEXT, digest, sizeof digest);
}

/* The directory, made with its parents when missing. -1 and errno. */
static int open_dir(const char *dir, bool make)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd >= 0 || errno != ENOENT || !make)
		return fd;
	r = make_dirs(dir);
	errno = -r;
	return r < 0 ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* ---- reading ---- */

static int read_file(int dir, const char *name, size_t max, uint8_t **ret_bytes, size_t *ret_size)
{
	_cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t size = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max)
		return -EBADMSG;
	bytes = malloc((size_t)st.st_size + 1);
	if (!bytes)
		return -ENOMEM;
	while (size < (size_t)st.st_size) {
		ssize_t n = read(fd, bytes + size, (size_t)st.st_size - size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		size += (size_t)n;
	}
	(void)futimens(fd, NULL); /* used now: see evict() */
	*ret_bytes = take_ptr(bytes);
	*ret_size = size;
	return 0;
}

int cache_get(const struct cache *c, const char *digest, uint8_t **ret_bytes, size_t *ret_size)
{
	char name[FILE_NAME_MAX], found[DIGEST_TEXT];
	_cleanup_free_ uint8_t *bytes = NULL;
	_cleanup_close_ int dir = -1;
	size_t size;
	int r;

	if (!c->dir)
		return -ENOENT;
	dir = open_dir(c->dir, false);
	if (dir < 0)
		return -ENOENT;
	snprintf(name, sizeof name, "%s" IMAGE_SUFFIX, digest);
	r = read_file(dir, name, SOURCE_BYTES_MAX, &bytes, &size);
	if (r == 0)
		digest_of(bytes, size, found);
	if (r == -ENOENT || r == -ENOMEM)
		return r;
	if (r < 0 || strcmp(found, digest) != 0) {
		unlinkat(dir, name, 0);
		return -ENOENT;
	}
	*ret_bytes = take_ptr(bytes);
	*ret_size = size;
	return 0;
}

/* ---- writing ---- */

static int write_file(const struct cache *c, const char *name, const void *bytes, size_t size)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof path, "%s/%s", c->dir, name) >= (int)sizeof path)
		return -ENAMETOOLONG;
	return file_replace(path, bytes, size, 0600);
}

struct entry {
	char name[FILE_NAME_MAX];
	uint64_t size;
	struct timespec used;
};

static int by_age(const void *a, const void *b)
{
	const struct timespec *x = &((const struct entry *)a)->used, *y = &((const struct entry *)b)->used;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

/* The images of the directory; takes away what a crash left. -> their number. */
static size_t list_images(int dir, struct entry **ret, uint64_t *ret_bytes)
{
	int again = dup(dir);
	DIR *d = again < 0 ? NULL : fdopendir(again);
	const struct dirent *one;
	struct entry *list = NULL;
	size_t count = 0, room = 0;
	struct stat st;

	if (!d) {
		close_fd(again);
		return 0;
	}
	rewinddir(d); /* the position is shared with whoever read `dir` before */
	while ((one = readdir(d)) && count < ENTRIES_MAX) {
		bool fresh = strncmp(one->d_name, FILE_FRESH_PREFIX, strlen(FILE_FRESH_PREFIX)) == 0;

		if (!fresh && (!ends_with(one->d_name, IMAGE_SUFFIX) || strlen(one->d_name) >= FILE_NAME_MAX))
			continue;
		if (fstatat(dir, one->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		if (fresh) {
			if (time(NULL) - st.st_mtime > LEFT_OVER_S)
				unlinkat(dir, one->d_name, 0);
			continue;
		}
		if (count == room) {
			size_t more = room ? room * 2 : 64;
			struct entry *grown = realloc(list, more * sizeof *grown);

			if (!grown)
				break;
			list = grown;
			room = more;
		}
		list[count] = (struct entry){.size = (uint64_t)st.st_size, .used = st.st_mtim};
		snprintf(list[count].name, FILE_NAME_MAX, "%s", one->d_name);
		*ret_bytes += (uint64_t)st.st_size;
		count++;
	}
	closedir(d);
	*ret = list;
	return count;
}

/* Makes room for size more bytes. */
static void evict(const struct cache *c, int dir, size_t size)
{
	_cleanup_free_ struct entry *list = NULL;
	uint64_t bytes = 0;
	size_t count = list_images(dir, &list, &bytes);

	if (bytes + size <= c->max_bytes)
		return;
	qsort(list, count, sizeof *list, by_age);
	for (size_t i = 0; i < count && bytes + size > c->max_bytes; i++)
		if (unlinkat(dir, list[i].name, 0) == 0)
			bytes -= list[i].size;
}

int cache_put(const struct cache *c, const char *digest, const void *bytes, size_t size)
{
	_cleanup_close_ int dir = -1;
	char name[FILE_NAME_MAX];

	if (!c->dir || size > c->max_bytes)
		return 0;
	dir = open_dir(c->dir, true);
	if (dir < 0)
		return -errno;
	snprintf(name, sizeof name, "%s" IMAGE_SUFFIX, digest);
	if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return 0; /* cache_get has just read it, or another monitor wrote it */
	evict(c, dir, size);
	return write_file(c, name, bytes, size);
}

/* ---- indexes ---- */

static void index_name(const char *address, char name[static FILE_NAME_MAX])
{
	char digest[DIGEST_TEXT];

	digest_of(address, strlen(address), digest);
	snprintf(name, FILE_NAME_MAX, "index-%s.json", digest);
}

int cache_get_index(const struct cache *c, const char *address, uint8_t **ret_bytes, size_t *ret_size)
{
	_cleanup_close_ int dir = c->dir ? open_dir(c->dir, false) : -1;
	char name[FILE_NAME_MAX];

	if (dir < 0)
		return -ENOENT;
	index_name(address, name);
	return read_file(dir, name, INDEX_BYTES_MAX, ret_bytes, ret_size);
}

int cache_put_index(const struct cache *c, const char *address, const void *bytes, size_t size)
{
	char name[FILE_NAME_MAX];
	int r;

	if (!c->dir)
		return 0;
	r = make_dirs(c->dir);
	if (r < 0)
		return r;
	index_name(address, name);
	return write_file(c, name, bytes, size);
}
