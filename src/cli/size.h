/* SPDX-License-Identifier: Apache-2.0 */
/* size.h - words that people type, as values. Any thread. */
#ifndef CLI_SIZE_H
#define CLI_SIZE_H

#include <jansson.h>

#include "base/base.h"

/* "128", "128M", "2G", "65536K" -> MiB. -EINVAL: no such size, or no whole number of MiB; -ERANGE: too large. */
int size_parse_mib(const char *text, uint64_t *ret);

/* "name=value" as a member of params: the value becomes a number when all of it is one, a text otherwise. -EINVAL. */
int param_parse(const char *text, json_t *params);

#endif
