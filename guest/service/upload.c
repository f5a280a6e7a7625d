/* SPDX-License-Identifier: Apache-2.0 */
/* upload.c - see upload.h. */
#include "upload.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "baton/guest.h"

#define IMAGE_MAX (1u << 20)

int upload_read(const char *path, struct upload *ret)
{
	struct upload u = {.bytes = malloc(IMAGE_MAX + 1)};
	unsigned char digest[crypto_hash_sha256_BYTES];
	FILE *file = fopen(path, "rb");
	int r = 0;

	if (!file || !u.bytes) {
		r = u.bytes ? -errno : -ENOMEM;
	} else {
		u.size = fread(u.bytes, 1, IMAGE_MAX + 1, file);
		if (ferror(file))
			r = -errno;
		else if (u.size == 0 || u.size > IMAGE_MAX)
			r = u.size ? -EFBIG : -EINVAL;
	}
	if (file)
		fclose(file);
	if (r < 0) {
		free(u.bytes);
		return r;
	}
	crypto_hash_sha256(digest, u.bytes, u.size);
	sodium_bin2hex(u.digest, sizeof(u.digest), digest, sizeof(digest));
	*ret = u;
	return 0;
}

void upload_clear(struct upload *u)
{
	free(u->bytes);
	u->bytes = NULL;
}

long upload_send(struct link *l, const struct upload *u)
{
	for (size_t at = 0; at < u->size;) {
		size_t n = u->size - at < BATON_MAILBOX_MAX ? u->size - at : BATON_MAILBOX_MAX;
		long r = link_piece(l, BATON_CALL_UPLOAD_PIECE, at, u->bytes + at, n);

		if (r < 0)
			return r;
		at += n;
		if (r != (long)at)
			return -BATON_EINVAL;
	}
	return 0;
}
