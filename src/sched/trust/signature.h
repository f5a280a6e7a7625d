/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signature.h - the signatures at the end of an image file.
 *
 *	| image (ELF), image_size bytes | entry | ... | entry | tail |
 *
 *	entry (96 bytes):  Ed25519 public key (32), signature (64)
 *	tail (24 bytes):   u32 version = 1, u32 entries (1 .. 8), u64 image_size, "BATONSIG"; little endian
 *
 * What is signed are 72 bytes: the words "baton scheduler image, signed v1" (32), image_size (8), SHA-256 of the image (32).
 * Nothing else may stand in the file, so each byte of it is either signed, or part of an entry, each of which must be
 * right, or of the tail, whose every field is fixed by the rest. The loader needs none of this: for it the block is a
 * part of the file that no segment names.
 *
 * Several keys may sign one image, for the time in which one key is replaced by another.
 *
 * Threads: any; pure functions.
 */
#ifndef SCHED_TRUST_SIGNATURE_H
#define SCHED_TRUST_SIGNATURE_H

#include "base/base.h"
#include "sched/trust/keys.h"

#define SIGNATURES_MAX 8

struct signature {
	uint8_t key[KEY_BYTES];
	uint8_t bytes[64];
};

struct signatures {
	size_t image_size; /* what is in front of the block; the file's size when count is 0 */
	unsigned count;	   /* 0: not signed */
	struct signature entry[SIGNATURES_MAX];
};

/*
 * Finds the block and checks every signature in it against the key beside it; whether that key is trusted is another
 * question (trust.h). A file without a block is not an error. -EBADMSG: a block that is damaged, or a signature that is
 * not one of this image; source names the file in e.
 */
int signatures_read(const uint8_t *file, size_t size, const char *source, struct signatures *ret, struct error *e);

/*
 * The file with a signature by this key added (or made anew, when it has one). The signatures that are there must be
 * right. *ret_file is the caller's to free. -EBADMSG, -E2BIG (SIGNATURES_MAX), -ENOMEM.
 */
int signatures_add(const uint8_t *file, size_t size, const char *source, const struct secret_key *key,
		   uint8_t **ret_file, size_t *ret_size, struct error *e);

#endif
