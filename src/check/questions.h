/* SPDX-License-Identifier: Apache-2.0 */
/*
 * questions.h - a scheduler's table with its questions watched: each is asked twice, and the region is compared before
 * and after.
 *
 * Ops carry no context, so the watched questions find theirs in a thread-local pointer: one struct questions at a time
 * per thread, from questions_begin to questions_end.
 */
#ifndef CHECK_QUESTIONS_H
#define CHECK_QUESTIONS_H

#include "check/watch.h"

struct questions {
	const struct baton_scheduler *ops;
	struct baton_scheduler watched; /* the table to attach */
	struct watch *watch;
	char *before;
	size_t before_bytes;
	uint64_t asked;
};

void questions_begin(struct questions *q, const struct baton_scheduler *ops, struct watch *watch);
void questions_end(struct questions *q);

#endif
