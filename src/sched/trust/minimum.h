/* SPDX-License-Identifier: Apache-2.0 */
/*
 * minimum.h - the oldest version of each scheduler that may still be loaded, against roll-back: an old image keeps its
 * good signature for ever, also after a hole in it became known.
 *
 * The minimum of a name rises to the version of every signed image of that name that was put to use. Below it the
 * operator alone may go, and must say so; the minimum then follows, so that what the operator decided stays.
 *
 * Kept as text, one "NAME VERSION" per line, written to a new file and moved over the old one.
 *
 * Threads: any; one lock inside.
 */
#ifndef SCHED_TRUST_MINIMUM_H
#define SCHED_TRUST_MINIMUM_H

#include "base/base.h"

#define MINIMUMS_MAX 256

struct minimums;

/* path: of the file, which need not exist; NULL: kept in memory only. A file that is damaged is an error (-EBADMSG). */
int minimums_new(const char *path, struct minimums **ret, struct error *e);
struct minimums *minimums_free(struct minimums *m);

/* 0, or -EKEYREJECTED when this version is older than the minimum. */
int minimums_check(struct minimums *m, const char *name, const char *version, struct error *e);

/* The version was put to use. lower: also when it is older (the operator said so). Negative when it could not be written
 * down; it holds until the monitor ends all the same. */
int minimums_note(struct minimums *m, const char *name, const char *version, bool lower, struct error *e);

#endif
