/* SPDX-License-Identifier: Apache-2.0 */
/* upload.h - an image file of this VM on its way to the monitor, in pieces of a mailbox. */
#ifndef GUEST_SERVICE_UPLOAD_H
#define GUEST_SERVICE_UPLOAD_H

#include <stddef.h>

#include "link.h"

struct upload {
	unsigned char *bytes;
	size_t size;
	char digest[65]; /* SHA-256, hexadecimal */
};

/* Reads a file of at most 1 MiB. 0 or -errno (-EFBIG, -EINVAL for an empty one). */
int upload_read(const char *path, struct upload *ret);
void upload_clear(struct upload *u);

/* Sends all of it, once the upload is begun. 0, or what link_piece answered to the piece that went wrong. */
long upload_send(struct link *l, const struct upload *u);

#endif
