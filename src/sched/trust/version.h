/* SPDX-License-Identifier: Apache-2.0 */
/* version.h - which of two versions is the newer one. Pure functions; any thread. */
#ifndef SCHED_TRUST_VERSION_H
#define SCHED_TRUST_VERSION_H

#include "base/base.h"

/*
 * < 0, 0, > 0 as a is older than, the same as, newer than b. Runs of digits compare as numbers ("1.10" > "1.9"), other
 * characters by their code. What stands behind the first '-' names a version before the one in front of it, as in
 * semantic versioning ("1.2-rc1" < "1.2"). "" is older than everything.
 */
int version_compare(const char *a, const char *b);

/* Is this the version `prefix` or one below it ("1.2" covers 1.2 and 1.2.3, not 1.20)? */
bool version_within(const char *version, const char *prefix);

/* Begins with a digit; digits, letters, '.', '+', '~', '-'; shorter than a name of baton/scheduler.h. */
bool version_is_valid(const char *s);

/* A scheduler's name as an image server and the list of minimum versions may hold it: letters, digits, '_', '-', '.',
 * not first '.', 1 to 31 characters. */
bool version_name_is_valid(const char *s);

#endif
