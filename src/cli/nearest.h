/* SPDX-License-Identifier: Apache-2.0 */
/* nearest.h - which of the known words was meant by a mistyped one. Any thread. */
#ifndef CLI_NEAREST_H
#define CLI_NEAREST_H

#include <stddef.h>

/* The word with the fewest edits (insert, delete, replace) from wrong, or NULL when even that is far from it. */
const char *nearest(const char *wrong, const char *const words[], size_t count);

#endif
