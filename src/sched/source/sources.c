/* SPDX-License-Identifier: Apache-2.0 */
/* sources.c - see sources.h. */
#include "sources.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "sched/source.h"
#include "sched/source/address.h"
#include "sched/trust/version.h"

#define CACHE_BYTES_DEFAULT (256 * MIB)
#define URL_MAX		    1024

struct sources {
	char *image_dir, *server, *ca_file, *cache_dir;
	bool server_is_url;
	struct cache cache;
	struct http_config http;
	struct uploads *uploads;
};

/* ---- life ---- */

/* With a '/' at the end, so that names can be put behind it. */
static int copy_server(struct sources *s, const char *server, struct error *e)
{
	size_t n = strlen(server);
	int r = 0;

	if (strncmp(server, "file:", 5) == 0)
		server += 5, n -= 5;
	s->server_is_url = strstr(server, "://") != NULL;
	if (n == 0 || n > URL_MAX / 2)
		return error_set(e, -EINVAL, "--image-server needs a URL or a directory of at most %d characters",
				 URL_MAX / 2);
	if (s->server_is_url)
		r = http_check_url(server, e);
	if (r >= 0 && s->server_is_url && strpbrk(server, "?#"))
		r = error_set(e, -EINVAL, "--image-server needs the URL of a directory, without ? and #: %.120s",
			      server);
	if (r >= 0 && asprintf(&s->server, "%s%s", server, server[n - 1] == '/' ? "" : "/") < 0)
		r = error_set(e, -ENOMEM, "no memory for the sources of images");
	return r;
}

static int copy_text(const char *text, char **ret)
{
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

int sources_new(const struct sources_config *config, struct sources **ret, struct error *e)
{
	struct sources *s = calloc(1, sizeof *s);
	int r = 0;

	if (!s || copy_text(config->image_dir, &s->image_dir) < 0 || copy_text(config->http.ca_file, &s->ca_file) < 0 ||
	    copy_text(config->cache_dir, &s->cache_dir) < 0)
		r = error_set(e, -ENOMEM, "no memory for the sources of images");
	if (r >= 0)
		r = http_global(e);
	if (r >= 0 && config->server)
		r = copy_server(s, config->server, e);
	if (r >= 0)
		r = uploads_new(&s->uploads, e);
	if (r < 0) {
		sources_free(s);
		return r;
	}
	s->http = config->http;
	s->http.ca_file = s->ca_file;
	s->cache.dir = s->cache_dir;
	s->cache.max_bytes = config->cache_bytes ? config->cache_bytes : CACHE_BYTES_DEFAULT;
	*ret = s;
	return 0;
}

struct sources *sources_free(struct sources *s)
{
	if (!s)
		return NULL;
	uploads_free(s->uploads);
	free(s->image_dir);
	free(s->server);
	free(s->ca_file);
	free(s->cache_dir);
	free(s);
	return NULL;
}

struct uploads *sources_uploads(struct sources *s)
{
	return s->uploads;
}

/* ---- cache ---- */

static bool from_cache(struct sources *s, const char *digest, struct source_image *image)
{
	if (cache_get(&s->cache, digest, &image->bytes, &image->size) < 0)
		return false;
	image->cached = true;
	return true;
}

/* Whoever fetched it has it: a full disk is worth a word, no more. */
static void into_cache(struct sources *s, const struct source_image *image)
{
	char digest[DIGEST_TEXT];
	int r;

	digest_of(image->bytes, image->size, digest);
	r = cache_put(&s->cache, digest, image->bytes, image->size);
	if (r < 0)
		log_warning("image %.16s... is not kept in the cache %s: %s", digest, s->cache.dir, strerror(-r));
}

/* ---- web servers ---- */

static int fetch_url(struct sources *s, const struct source_request *request, const struct address *a,
		     struct source_image *image, struct error *e)
{
	int r = http_check_url(a->rest, e);

	if (r < 0)
		return r;
	if (!request->by_operator && !(s->server_is_url && s->server && http_url_below(a->rest, s->server)))
		return error_set(e, -EPERM,
				 "a VM may only name URLs below the image server that batond was started with "
				 "(--image-server), not %.120s",
				 a->rest);
	if (a->digest[0] && from_cache(s, a->digest, image))
		return 0;
	return http_get(&s->http, a->rest, SOURCE_BYTES_MAX, request->watch, &image->bytes, &image->size, e);
}

/* ---- the image server ---- */

/* A file of the server's directory or of the web server. */
static int get_file(struct sources *s, const char *file, size_t max, const struct fetch_watch *watch,
		    uint8_t **ret_bytes, size_t *ret_size, struct error *e)
{
	char path[URL_MAX];

	snprintf(path, sizeof path, "%s%s", s->server, file); /* copy_server and the index bound both */
	if (s->server_is_url)
		return http_get(&s->http, path, max, watch, ret_bytes, ret_size, e);
	return source_fetch(path, NULL, true, ret_bytes, ret_size, e);
}

/* Has the server not been reached, rather than said something that we do not like? */
static bool unreachable(int r)
{
	return r == -ENETUNREACH || r == -ETIMEDOUT || r == -EPIPE;
}

static int get_index(struct sources *s, const struct fetch_watch *watch, struct index *ret, char note[static 128],
		     struct error *e)
{
	_cleanup_free_ uint8_t *bytes = NULL, *kept = NULL;
	struct error why = {""};
	size_t size = 0;
	int r = get_file(s, "index.json", INDEX_BYTES_MAX, watch, &bytes, &size, e);

	if (r >= 0) {
		r = index_parse(bytes, size, s->server, ret, e);
		if (r >= 0 && s->server_is_url && cache_put_index(&s->cache, s->server, bytes, size) < 0)
			log_warning("the index of %s is not kept in the cache %s", s->server, s->cache.dir);
		return r;
	}
	if (!unreachable(r) || cache_get_index(&s->cache, s->server, &kept, &size) < 0 ||
	    index_parse(kept, size, "of the cache", ret, &why) < 0)
		return r;
	snprintf(note, 128, "the image server is away; its last known index was used");
	log_warning("%s: %s", s->server, note);
	return 0;
}

static int get_image(struct sources *s, const struct index_image *entry, const struct fetch_watch *watch,
		     struct source_image *image, struct error *e)
{
	char digest[DIGEST_TEXT];
	int r;

	snprintf(image->name, sizeof image->name, "%s", entry->name);
	snprintf(image->version, sizeof image->version, "%s", entry->version);
	if (from_cache(s, entry->digest, image))
		return 0;
	r = get_file(s, entry->file, (size_t)entry->size, watch, &image->bytes, &image->size, e);
	if (r < 0)
		return r;
	digest_of(image->bytes, image->size, digest);
	if (image->size != entry->size || strcmp(digest, entry->digest) != 0)
		return error_set(
		    e, -EBADMSG,
		    "the image server sent another file for %s %s than its index promises (digest %.16s..., "
		    "not %.16s...): publish it again, or ask who changed it",
		    entry->name, entry->version, digest, entry->digest);
	return 0;
}

static int fetch_server(struct sources *s, const struct source_request *request, const struct address *a,
			struct source_image *image, struct error *e)
{
	_cleanup_index_ struct index x = {0};
	const struct index_image *entry;
	int r;

	if (!s->server)
		return error_set(e, -ENOENT,
				 "no image server is known here: start batond with --image-server URL to use %s@%s",
				 a->name, a->wanted[0] ? a->wanted : "stable");
	r = get_index(s, request->watch, &x, image->note, e);
	if (r < 0)
		return r;
	entry = index_find(&x, a->name, a->wanted, e);
	if (!entry)
		return -ENOENT;
	return get_image(s, entry, request->watch, image, e);
}

/* ---- all kinds ---- */

static int fetch_file(struct sources *s, const struct source_request *request, const struct address *a,
		      struct source_image *image, struct error *e)
{
	image->in_image_dir = s->image_dir && !strchr(a->rest, '/');
	return source_fetch(a->rest, s->image_dir, request->by_operator, &image->bytes, &image->size, e);
}

static int fetch(struct sources *s, const struct source_request *request, const struct address *a,
		 struct source_image *image, struct error *e)
{
	switch (a->kind) {
	case ADDRESS_URL:
		return fetch_url(s, request, a, image, e);
	case ADDRESS_SERVER:
		return fetch_server(s, request, a, image, e);
	case ADDRESS_UPLOAD:
		if (request->by_operator)
			return error_set(e, -EINVAL, "uploads are for VMs; the operator names a file");
		return upload_copy(s->uploads, request->vm, a->rest, &image->bytes, &image->size, e);
	case ADDRESS_FILE:
	default:
		return fetch_file(s, request, a, image, e);
	}
}

static int check_digest(const struct source_image *image, const char *wanted, const char *where, struct error *e)
{
	char digest[DIGEST_TEXT];

	digest_of(image->bytes, image->size, digest);
	if (strcmp(digest, wanted) == 0)
		return 0;
	return error_set(e, -EBADMSG, "%.120s has the digest %.16s..., not the one that was asked for (%.16s...)",
			 where, digest, wanted);
}

int sources_fetch(struct sources *s, const struct source_request *request, struct source_image *ret, struct error *e)
{
	struct source_image image = {0};
	struct address a;
	int r = address_parse(request->where, &a, e);

	if (r >= 0)
		r = fetch(s, request, &a, &image, e);
	if (r >= 0 && a.digest[0])
		r = check_digest(&image, a.digest, request->where, e);
	if (r < 0) {
		free(image.bytes);
		return r;
	}
	if (!image.cached && (a.kind == ADDRESS_URL || (a.kind == ADDRESS_SERVER && s->server_is_url)))
		into_cache(s, &image);
	*ret = image;
	return 0;
}
