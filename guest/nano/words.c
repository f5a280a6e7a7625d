/* SPDX-License-Identifier: Apache-2.0 */
/* words.c - see words.h. */
#include "words.h"

#include <stddef.h>

unsigned words_length(const char *word)
{
	unsigned n = 0;

	while (word[n] != '\0' && word[n] != ' ')
		n++;
	return n;
}

/* The word at or behind p, or NULL. */
static const char *next_word(const char *p)
{
	while (*p == ' ')
		p++;
	return *p != '\0' ? p : NULL;
}

/* The value when this word has that key, else NULL. */
static const char *value_of(const char *word, const char *key)
{
	for (; *key != '\0'; word++, key++)
		if (*word != *key)
			return NULL;
	return *word == '=' ? word + 1 : NULL;
}

static const char *find(const char *words, const char *key)
{
	const char *found = NULL;

	for (const char *w = next_word(words); w; w = next_word(w + words_length(w))) {
		const char *value = value_of(w, key);

		if (value)
			found = value;
	}
	return found;
}

enum words_result words_number(const char *words, const char *key, uint64_t *ret)
{
	const char *p = find(words, key);
	uint64_t n = 0;

	if (!p)
		return WORDS_ABSENT;
	if (*p == '\0' || *p == ' ')
		return WORDS_BAD;
	for (; *p != '\0' && *p != ' '; p++) {
		if (*p < '0' || *p > '9' || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
			return WORDS_BAD;
	}
	*ret = n;
	return WORDS_FOUND;
}

bool words_are(const char *words, const char *key, const char *value)
{
	const char *p = find(words, key);

	if (!p)
		return false;
	for (; *value != '\0'; p++, value++)
		if (*p != *value)
			return false;
	return *p == '\0' || *p == ' ';
}

static bool key_is_among(const char *word, const char *const *keys)
{
	for (; *keys; keys++)
		if (value_of(word, *keys))
			return true;
	return false;
}

const char *words_unknown(const char *words, const char *const *keys, const char *const *more_keys)
{
	for (const char *w = next_word(words); w; w = next_word(w + words_length(w)))
		if (!key_is_among(w, keys) && !key_is_among(w, more_keys))
			return w;
	return NULL;
}
