/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/nearest.h"

#include <string.h>

#include "base/base.h"

#define WORD_MAX 32

/* Levenshtein's distance, one row at a time. Words longer than WORD_MAX are far from everything. */
static size_t distance(const char *a, const char *b)
{
	size_t row[WORD_MAX + 1];
	size_t la = strlen(a), lb = strlen(b);

	if (la > WORD_MAX || lb > WORD_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t replace = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			row[j] = MIN(replace, MIN(row[j], row[j - 1]) + 1);
		}
	}
	return row[lb];
}

const char *nearest(const char *wrong, const char *const words[], size_t count)
{
	const char *best = NULL;
	size_t best_distance = SIZE_MAX;

	for (size_t i = 0; i < count; i++) {
		size_t d = distance(wrong, words[i]);

		/* The beginning of a word counts as one slip: people abbreviate. */
		if (*wrong && strncmp(wrong, words[i], strlen(wrong)) == 0)
			d = MIN(d, (size_t)1);
		if (d < best_distance) {
			best_distance = d;
			best = words[i];
		}
	}
	return best && best_distance <= MAX(strlen(best) / 3, (size_t)1) ? best : NULL;
}
