/* SPDX-License-Identifier: Apache-2.0 */
/* output.h - aligned tables and figures for people. A table belongs to one thread. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <jansson.h>
#include <stdio.h>

#include "base/base.h"

struct table;

/* The first row: one title per column, separated by '|'; a title that begins with '>' aligns its column to the right.
 */
struct table *table_new(const char *titles);
/* Next cell, left to right, row by row. */
void table_cell(struct table *t, const char *fmt, ...) _printf_(2, 3);
/* Prints each line behind `indent`, then forgets the rows, so that the same columns can be filled again. */
void table_print(struct table *t, FILE *out, const char *indent);
struct table *table_free(struct table *t);

/* A duration with three digits and its unit: "870 ns", "1.23 us", "45.6 ms", "12.3 s". */
#define DURATION_MAX 24
const char *duration_text(char buf[DURATION_MAX], uint64_t ns);

/* The reply as indented JSON on stdout. */
void json_print(const json_t *value);

#endif
