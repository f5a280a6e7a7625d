/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader.h - reads JSON objects into structs by tables of fields, and says in which line something is wrong.
 *
 * jansson knows the lines of what is not JSON at all, but not of values. A value's place is kept as a path instead
 * (struct place, on the caller's stack), and only for a message the text is looked through once more for its line.
 *
 * Threads: one per reader.
 */
#ifndef SIM_READER_H
#define SIM_READER_H

#include <jansson.h>

#include "base/base.h"

struct reader {
	const char *name; /* of the file, for messages */
	const char *text; /* the whole of it */
	size_t size;
	unsigned line; /* of where text begins */
	struct error *e;
};

/* Where a value stands: member `key`, or element `index` when key is NULL, of what `up` is; NULL = the whole text. */
struct place {
	const struct place *up;
	const char *key;
	size_t index;
};

enum field_kind {
	FIELD_U32,
	FIELD_U64,
	FIELD_FLAG,   /* true or false, into a bool */
	FIELD_FLAG32, /* into a uint32_t */
	FIELD_TIME,   /* "5ms", into ns */
	FIELD_LENGTH, /* a time or a distribution of times, into a struct length */
	FIELD_TEXT,   /* into a char array of `max` bytes */
	FIELD_ABOUT,  /* anything; for people */
	FIELD_OTHER,  /* the caller reads it */
};

struct field {
	const char *name;
	enum field_kind kind;
	size_t offset; /* in the struct that is read into */
	uint64_t min, max;
	bool required;
};

/* "FILE:LINE: path: reason" into e; returns -EINVAL. */
int reader_fail(const struct reader *r, const struct place *where, const char *fmt, ...) _printf_(3, 4);
/* Reads all members of `object` into `target`; unknown, missing and wrong ones are errors. */
int reader_fields(const struct reader *r, const json_t *object, const struct place *where, const struct field *fields,
		  size_t count, void *target);
/* "0-3,8" into a mask of pCPUs. */
int reader_affinity(const struct reader *r, const json_t *value, const struct place *where, uint64_t *mask);

/* "250us", "1.5s" -> ns. -EINVAL. */
int time_parse(const char *text, uint64_t *ret_ns);
/* The shortest text for it: "1.5s". */
#define TIME_TEXT_MAX 32
const char *time_text(char buf[TIME_TEXT_MAX], uint64_t ns);

/* The whole file, with a NUL behind it. -EFBIG above `max` bytes; -ENOENT and other errors of open and read. */
int file_read(const char *path, size_t max, char **ret_text, size_t *ret_size, struct error *e);

#endif
