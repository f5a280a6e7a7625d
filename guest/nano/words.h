/* SPDX-License-Identifier: Apache-2.0 */
/*
 * words.h - arguments of a nano guest: words "key=value" between spaces. Pure functions over a string; they run in the
 * guest and, in tests, on the host.
 */
#ifndef NANO_WORDS_H
#define NANO_WORDS_H

#include <stdbool.h>
#include <stdint.h>

enum words_result {
	WORDS_ABSENT, /* no such key: *ret is untouched */
	WORDS_FOUND,
	WORDS_BAD, /* the value is not a decimal number below 2^64 */
};

/* Value of `key` as a number; the last one counts when it is given twice. */
enum words_result words_number(const char *words, const char *key, uint64_t *ret);

/* Is the word "key=value" there, as the last one of that key? */
bool words_are(const char *words, const char *key, const char *value);

/* The first word whose key is in neither of two NULL-terminated lists, or NULL when all are known. A word without "="
 * has no key and is unknown. */
const char *words_unknown(const char *words, const char *const *keys, const char *const *more_keys);

/* Length of the word that begins here. */
unsigned words_length(const char *word);

#endif
