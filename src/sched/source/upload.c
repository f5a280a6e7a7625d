/* SPDX-License-Identifier: Apache-2.0 */
/* upload.c - see upload.h. */
#include "upload.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/lock.h"
#include "sched/source.h"

struct upload {
	uint8_t *bytes; /* NULL: this place is free */
	uint32_t owner;
	size_t size, received;
	bool whole;
	char digest[DIGEST_TEXT];
	crypto_hash_sha256_state hash; /* of what was received: no run loop hashes a whole image at once */
};

struct uploads {
	struct lock lock;
	struct upload list[UPLOADS_MAX] GUARDED_BY(lock);
};

int uploads_new(struct uploads **ret, struct error *e)
{
	struct uploads *u = calloc(1, sizeof *u);

	if (!u)
		return error_set(e, -ENOMEM, "no memory for uploads of images");
	lock_init(&u->lock);
	*ret = u;
	return 0;
}

static void drop(struct upload *one)
{
	free(one->bytes);
	*one = (struct upload){0};
}

struct uploads *uploads_free(struct uploads *u) NO_TSA
{
	if (!u)
		return NULL;
	for (size_t i = 0; i < UPLOADS_MAX; i++)
		drop(&u->list[i]);
	lock_destroy(&u->lock);
	free(u);
	return NULL;
}

static struct upload *find(struct uploads *u, uint32_t owner) REQUIRES(u->lock)
{
	for (size_t i = 0; i < UPLOADS_MAX; i++)
		if (u->list[i].bytes && u->list[i].owner == owner)
			return &u->list[i];
	return NULL;
}

static struct upload *find_free(struct uploads *u) REQUIRES(u->lock)
{
	for (size_t i = 0; i < UPLOADS_MAX; i++)
		if (!u->list[i].bytes)
			return &u->list[i];
	return NULL;
}

void upload_forget(struct uploads *u, uint32_t owner)
{
	struct upload *one;

	lock_take(&u->lock);
	one = find(u, owner);
	if (one)
		drop(one);
	lock_drop(&u->lock);
}

static int begin(struct uploads *u, uint32_t owner, size_t size, const char *digest, struct error *e) REQUIRES(u->lock)
{
	struct upload *one = find(u, owner);

	if (one)
		drop(one);
	else
		one = find_free(u);
	if (!one)
		return error_set(e, -EAGAIN, "%d other VMs have uploads; try again when they are gone", UPLOADS_MAX);
	one->bytes = malloc(size);
	if (!one->bytes)
		return error_set(e, -ENOMEM, "no memory for an upload of %zu bytes", size);
	one->owner = owner;
	one->size = size;
	snprintf(one->digest, sizeof one->digest, "%s", digest);
	crypto_hash_sha256_init(&one->hash);
	return 0;
}

int upload_begin(struct uploads *u, uint32_t owner, uint64_t size, const char *digest, struct error *e)
{
	int r;

	if (!digest_is_valid(digest))
		return error_set(e, -EINVAL, "an upload needs the SHA-256 of the image: 64 digits of 0-9 and a-f");
	if (size == 0)
		return error_set(e, -EINVAL, "an upload of nothing is no image");
	if (size > SOURCE_BYTES_MAX)
		return error_set(e, -EFBIG, "an image has at most %" PRIu64 " KiB", SOURCE_BYTES_MAX / KIB);
	lock_take(&u->lock);
	r = begin(u, owner, (size_t)size, digest, e);
	lock_drop(&u->lock);
	return r;
}

int64_t upload_piece(struct uploads *u, uint32_t owner, uint64_t offset, const void *bytes, size_t size)
{
	struct upload *one;
	int64_t r;

	lock_take(&u->lock);
	one = find(u, owner);
	if (!one || one->whole) {
		r = -ESRCH;
	} else if (offset != one->received || size > one->size - one->received) {
		r = -EINVAL;
	} else {
		memcpy(one->bytes + one->received, bytes, size);
		crypto_hash_sha256_update(&one->hash, bytes, size);
		one->received += size;
		r = (int64_t)one->received;
	}
	lock_drop(&u->lock);
	return r;
}

static int end(struct upload *one, struct error *e)
{
	unsigned char digest[crypto_hash_sha256_BYTES];
	char text[DIGEST_TEXT];

	if (!one || one->whole)
		return error_set(e, -ESRCH, "there is no upload to end: begin one first");
	if (one->received < one->size)
		return error_set(e, -EAGAIN, "%zu of %zu bytes are still missing", one->size - one->received,
				 one->size);
	crypto_hash_sha256_final(&one->hash, digest);
	sodium_bin2hex(text, sizeof text, digest, sizeof digest);
	if (strcmp(text, one->digest) != 0) {
		int r = error_set(
		    e, -EBADMSG, "what was uploaded has another digest (%s) than was announced: upload it again", text);

		drop(one);
		return r;
	}
	one->whole = true;
	return 0;
}

int upload_end(struct uploads *u, uint32_t owner, char ret_digest[static DIGEST_TEXT], struct error *e)
{
	struct upload *one;
	int r;

	lock_take(&u->lock);
	one = find(u, owner);
	r = end(one, e);
	if (r == 0)
		snprintf(ret_digest, DIGEST_TEXT, "%s", one->digest);
	lock_drop(&u->lock);
	return r;
}

int upload_copy(struct uploads *u, uint32_t owner, const char *digest, uint8_t **ret_bytes, size_t *ret_size,
		struct error *e)
{
	uint8_t *copy = malloc(SOURCE_BYTES_MAX); /* before the lock, which run loops take */
	const struct upload *one;
	int r = -ENOENT;

	if (!copy)
		return error_set(e, -ENOMEM, "no memory for an image");
	lock_take(&u->lock);
	one = find(u, owner);
	if (one && one->whole && strcmp(one->digest, digest) == 0) {
		memcpy(copy, one->bytes, one->size);
		*ret_size = one->size;
		r = 0;
	}
	lock_drop(&u->lock);
	if (r < 0) {
		free(copy);
		return error_set(e, r, "this VM has not uploaded an image with the digest %.64s", digest);
	}
	*ret_bytes = copy;
	return 0;
}
