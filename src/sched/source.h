/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.h - where images come from (row S12). Knows `file:NAME` and plain paths; returns bytes.
 */
#ifndef SCHED_SOURCE_H
#define SCHED_SOURCE_H

#include "base/base.h"

#define SOURCE_BYTES_MAX (UINT64_C(1) << 20)

/*
 * Reads the image that `where` names. `file:bvt.baton` and `bvt.baton` are looked for in image_dir; with trusted, a path
 * with a slash is taken as it is. Without trusted, only plain names within image_dir are allowed (-EPERM).
 * Errors: -ENOENT, -EPERM, -EFBIG, -EINVAL, with cause and next step in e. The caller frees *ret_bytes.
 */
int source_fetch(const char *where, const char *image_dir, bool trusted, uint8_t **ret_bytes, size_t *ret_size,
		 struct error *e);

#endif
