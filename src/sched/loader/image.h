/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - loads a scheduler image: a native shared object without a C library, in a slot of the arena.
 *
 *	image_check:  elf_check -> link_check -> trial: copy and relocate on the heap -> table_check
 *	image_load:   image_check -> arena_take -> copy, relocate -> R, RX, R -> struct image
 *
 * Every reason to refuse an image is found by image_check, before anything is mapped or a slot is taken.
 *
 * A loaded image is constant: code is executable and not writable, everything else is read-only. All state of a
 * scheduler lives in regions (baton/scheduler.h), so one image may serve several pools. docs/design/image.md has the
 * rules.
 *
 * Life: image_load gives one reference; whoever keeps the image takes another. At the last image_unref the slot is
 * given back to the arena (which must outlive its images): no call into the image may be under way or follow. Threads:
 * any; the reference count is atomic, the rest constant.
 */
#ifndef SCHED_LOADER_IMAGE_H
#define SCHED_LOADER_IMAGE_H

#include "base/base.h"
#include "baton/scheduler.h"
#include "sched/loader/arena.h"
#include "sched/loader/link.h"

#define IMAGE_SIZE_MAX	  ARENA_SLOT_SIZE
#define IMAGE_DIGEST_TEXT 65 /* 64 hexadecimal digits and NUL */

struct image;

/*
 * Loads an image from memory; the bytes must not change meanwhile and are not needed afterwards. source_name is shown
 * in messages and by image_source. imports: the functions an image may call; only needed during the call.
 *
 * Errors, each with a sentence in e: -ENOEXEC (not an image, damaged, or with something that is not allowed), -E2BIG,
 * -EPROTONOSUPPORT (another ABI version), -EINVAL (an unsound scheduler table), -ENOSPC (no free slot), -ENOMEM.
 */
int image_load(struct arena *arena, const void *bytes, size_t size, const char *source_name,
	       const struct image_import *imports, size_t import_count, struct image **ret, struct error *e);

/* Would image_load accept these bytes, given a free slot? Same errors but -ENOSPC; takes no slot. */
int image_check(const void *bytes, size_t size, const struct image_import *imports, size_t import_count,
		struct error *e);

/* The same, and when all is well the answer of `look` about the table. What the table points to is readable during that
 * call, but nothing of the image may be called. */
int image_inspect(const void *bytes, size_t size, const struct image_import *imports, size_t import_count,
		  int (*look)(void *ctx, const struct baton_scheduler *s, struct error *e), void *ctx, struct error *e);

/* As image_load, from a regular file, read once. Also -ENOENT, -EACCES, -EISDIR and other errors of open and read. */
int image_load_file(struct arena *arena, const char *path, const struct image_import *imports, size_t import_count,
		    struct image **ret, struct error *e);

struct image *image_ref(struct image *image);
/* NULL is allowed; returns NULL. */
struct image *image_unref(struct image *image);

/* The checked table; valid as long as the image. */
const struct baton_scheduler *image_scheduler(const struct image *image);
const char *image_name(const struct image *image);    /* of the scheduler */
const char *image_version(const struct image *image); /* of the scheduler; may be "" */
const char *image_source(const struct image *image);
const char *image_digest(const struct image *image); /* SHA-256 of the bytes as text */
/* The same for bytes that are not loaded. */
void image_digest_of(const void *bytes, size_t size, char ret[static IMAGE_DIGEST_TEXT]);
size_t image_size(const struct image *image); /* of the bytes */
unsigned image_slot(const struct image *image);

/* Does the address lie in one of the image's segments? Async-signal-safe. */
bool image_contains(const struct image *image, const void *address);

/* The function at an address: its name (lives as long as the image) and how far inside. False when it is not in code of
 * the image or no symbol covers it. Async-signal-safe. */
bool image_symbol(const struct image *image, const void *address, const char **ret_name, size_t *ret_inside);

#endif
