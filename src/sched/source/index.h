/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index.h - the index of an image server: what it offers. docs/images.md describes the format.
 *
 *	{"format": 1,
 *	 "images": [{"name": "bvt", "version": "1.2", "abi": 3, "digest": "<sha256>", "size": 34567,
 *		     "file": "images/<sha256>.baton", "keys": ["<fingerprint>"]}],
 *	 "channels": {"bvt": {"stable": "1.2", "canary": "1.3-rc1"}}}
 *
 * Members that are not known are passed over, so that newer publishers can add some. Whatever is known must be right: one
 * wrong entry refuses the whole index, because then it is not what its publisher wrote.
 *
 * Threads: any; constant once it is parsed.
 */
#ifndef SCHED_SOURCE_INDEX_H
#define SCHED_SOURCE_INDEX_H

#include "base/base.h"
#include "baton/scheduler.h"
#include "sched/trust/keys.h"

#define INDEX_BYTES_MAX	   (1 * MIB)
#define INDEX_IMAGES_MAX   4096
#define INDEX_CHANNELS_MAX 4096
#define INDEX_FILE_MAX	   128
#define INDEX_KEYS_MAX	   8
#define DIGEST_TEXT	   65 /* 64 hexadecimal digits and NUL */

struct index_image {
	char name[BATON_NAME_MAX], version[BATON_NAME_MAX];
	uint32_t abi;
	char digest[DIGEST_TEXT];  /* SHA-256 of the file */
	uint64_t size;		   /* of the file */
	char file[INDEX_FILE_MAX]; /* relative to the index; never out of its directory */
	unsigned key_count;	   /* who signed it, as the publisher says */
	char keys[INDEX_KEYS_MAX][KEY_FINGERPRINT_TEXT];
};

struct index_channel {
	char name[BATON_NAME_MAX], channel[BATON_NAME_MAX], version[BATON_NAME_MAX];
};

struct index {
	unsigned image_count, channel_count;
	struct index_image *images;
	struct index_channel *channels;
};

/* -EBADMSG: no index; source names it in e. *ret is freed by index_clear. */
int index_parse(const void *bytes, size_t size, const char *source, struct index *ret, struct error *e);
void index_clear(struct index *x);
#define _cleanup_index_ _cleanup_(index_clear)

/*
 * The image that `wanted` means: a version ("1.2": that one, else the newest of 1.2.*), a channel ("stable"), or ""
 * (stable). Only images of our ABI count. NULL, and why in e (-ENOENT).
 */
const struct index_image *index_find(const struct index *x, const char *name, const char *wanted, struct error *e);

/* The index as text, to be freed; NULL without memory. */
char *index_format(const struct index *x);

/* Adds an image, or replaces the one of the same name and version. Sets a channel. -ENOSPC, -ENOMEM. */
int index_put(struct index *x, const struct index_image *image, struct error *e);
int index_set_channel(struct index *x, const char *name, const char *channel, const char *version, struct error *e);

bool digest_is_valid(const char *s); /* 64 lower-case hexadecimal digits */

#endif
