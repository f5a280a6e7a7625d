/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slots.h - which slots of a table are free: the lowest free one in a few steps, however large the table.
 *
 * A tree of bit masks: a bit of the lowest level is a free slot, a bit above says that the word below has one. Sixty-four
 * to the fourth slots need four levels. Lowest first keeps the used part of a table together, and so in the caches.
 *
 * No lock of its own.
 */
#ifndef BASE_SLOTS_H
#define BASE_SLOTS_H

#include "base/base.h"

#define SLOTS_LEVELS 4
#define SLOTS_NONE   UINT32_MAX

struct slots {
	uint32_t count, levels;
	uint64_t *level[SLOTS_LEVELS]; /* [0] the slots; the last one is a single word */
	uint64_t *words;	       /* of all levels */
};

/* All free. -ENOMEM; -E2BIG for more than 2^24 slots. */
static inline int slots_init(struct slots *s, uint32_t count)
{
	size_t words = 0, at = 0;
	uint32_t n = count;

	*s = (struct slots){.count = count};
	do {
		if (s->levels == SLOTS_LEVELS)
			return -E2BIG;
		n = (n + 63) / 64;
		words += n;
		s->levels++;
	} while (n > 1);
	s->words = calloc(words, sizeof *s->words);
	if (!s->words)
		return -ENOMEM;
	n = count;
	for (uint32_t l = 0; l < s->levels; l++) {
		s->level[l] = s->words + at;
		for (uint32_t i = 0; i < n; i++)
			s->level[l][i / 64] |= UINT64_C(1) << (i % 64);
		n = (n + 63) / 64;
		at += n;
	}
	return 0;
}

static inline void slots_destroy(struct slots *s)
{
	free(s->words);
	*s = (struct slots){0};
}

/* The lowest free slot, which is used from now on; SLOTS_NONE when all are. */
static inline uint32_t slots_take(struct slots *s)
{
	uint32_t n = 0;

	if (s->level[s->levels - 1][0] == 0)
		return SLOTS_NONE;
	for (uint32_t l = s->levels; l-- > 0;)
		n = n * 64 + (uint32_t)__builtin_ctzll(s->level[l][n]);
	for (uint32_t l = 0, i = n; l < s->levels; l++, i /= 64) {
		s->level[l][i / 64] &= ~(UINT64_C(1) << (i % 64));
		if (s->level[l][i / 64] != 0)
			break;
	}
	return n;
}

static inline void slots_give(struct slots *s, uint32_t n)
{
	for (uint32_t l = 0; l < s->levels; l++, n /= 64)
		s->level[l][n / 64] |= UINT64_C(1) << (n % 64);
}

#endif
