/* SPDX-License-Identifier: Apache-2.0 */
/* report.h - what a check has found: for people, and as JSON. */
#ifndef CHECK_REPORT_H
#define CHECK_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "check/check.h"

/* `given` is how the scheduler was named (for commands to try); examples[p] where the example of a failure was written,
 * NULL where none was. */
void report_print(const struct check_report *r, const char *given, const char *const examples[PROPERTIES], FILE *out);
json_t *report_json(const struct check_report *r, const char *given, const char *const examples[PROPERTIES]);

/* A figure of a property with its unit, as "1.2 slices". */
#define FIGURE_TEXT_MAX 64
const char *figure_text(char buf[FIGURE_TEXT_MAX], enum property p, double figure);

#endif
