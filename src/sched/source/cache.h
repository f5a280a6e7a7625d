/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h - files that were fetched once, by their SHA-256, in a directory.
 *
 *	<digest>.baton		an image
 *	index-<digest>.json	the last index of an image server, by the digest of its address, for when the server is away
 *	.new-...		being written
 *
 * A file is written beside its place and moved into it when it is whole, so that a reader or a crash never sees half of
 * one. What is read is checked against its name; an entry that does not fit is removed and counts as missing. When the
 * images together pass the limit, those that were used longest ago go. Failing to keep something is not an error for
 * whoever fetched it. Several monitors may share a cache.
 *
 * Threads: any; no state but the directory.
 */
#ifndef SCHED_SOURCE_CACHE_H
#define SCHED_SOURCE_CACHE_H

#include "base/base.h"
#include "sched/source/index.h"

struct cache {
	const char *dir; /* NULL: nothing is kept; made when first needed */
	uint64_t max_bytes;
};

/* -ENOENT: not there, or damaged (and removed). */
int cache_get(const struct cache *c, const char *digest, uint8_t **ret_bytes, size_t *ret_size);
/* 0, or why it was not kept. */
int cache_put(const struct cache *c, const char *digest, const void *bytes, size_t size);

int cache_get_index(const struct cache *c, const char *address, uint8_t **ret_bytes, size_t *ret_size);
int cache_put_index(const struct cache *c, const char *address, const void *bytes, size_t size);

void digest_of(const void *bytes, size_t size, char ret[static DIGEST_TEXT]);

#endif
