/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload.h - images that VMs bring in pieces, before anybody uses them.
 *
 * An owner (a VM's id) has at most one upload: begin, pieces in order, end. At the end the SHA-256 must be the one that
 * was announced. A whole upload stays until its owner begins another one or goes away, and is named by its digest. A new
 * begin drops what was there. At most UPLOADS_MAX owners at a time, SOURCE_BYTES_MAX bytes each.
 *
 * Threads: any; one lock inside, held while a piece is copied and hashed (64 KiB at most from a hypercall).
 */
#ifndef SCHED_SOURCE_UPLOAD_H
#define SCHED_SOURCE_UPLOAD_H

#include "base/base.h"
#include "sched/source/index.h"

#define UPLOADS_MAX 4

struct uploads;

int uploads_new(struct uploads **ret, struct error *e);
struct uploads *uploads_free(struct uploads *u);

/* -EINVAL (size, digest), -EFBIG, -EAGAIN (UPLOADS_MAX owners have one), -ENOMEM. */
int upload_begin(struct uploads *u, uint32_t owner, uint64_t size, const char *digest, struct error *e);
/* The bytes that follow the first `offset`. -> bytes so far; -ESRCH without a begin; -EINVAL for another offset, or for more
 * than was announced: then the upload stays as it was. */
int64_t upload_piece(struct uploads *u, uint32_t owner, uint64_t offset, const void *bytes, size_t size);
/* -> the upload's digest. -ESRCH; -EAGAIN pieces are missing; -EBADMSG the digest differs (the upload is dropped). */
int upload_end(struct uploads *u, uint32_t owner, char ret_digest[static DIGEST_TEXT], struct error *e);
/* The owner is gone. */
void upload_forget(struct uploads *u, uint32_t owner);

/* A copy of the owner's whole upload with this digest; -ENOENT. */
int upload_copy(struct uploads *u, uint32_t owner, const char *digest, uint8_t **ret_bytes, size_t *ret_size,
		struct error *e);

#endif
