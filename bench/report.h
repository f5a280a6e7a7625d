/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - what all benchmarks share: their command line, samples with percentiles, and the rows they report.
 *
 * With --json each row is printed at once as one JSON object on one line; without it, the rows become a table at the
 * end. A row is one metric: value and unit, the baseline measured in the same run (or none), and the parameters that
 * tell it apart from its siblings.
 *
 * Threads: one.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <jansson.h>
#include <math.h>

#include "base/base.h"

/* An option of one benchmark, `--name VALUE`; a whole number in min .. max, or a text when text is set. */
struct bench_option {
	const char *name, *help;
	long *number;
	long min, max;
	const char **text;
};

struct report {
	const char *program;
	bool json, quick;
	bool failed; /* something that must hold did not: exit status 1 */
	json_t *rows;
};

/*
 * Reads --json, --quick, --help and the given options (ends with a NULL name). what: one or two sentences for --help.
 * Returns false when the program has to end at once with *ret_status.
 */
bool report_begin(struct report *r, int argc, char **argv, const char *what, const struct bench_option *options,
		  int *ret_status);
/* Prints the table; returns the exit status. */
int report_end(struct report *r);

#define NO_BASELINE NAN
/* One row. baseline may be NO_BASELINE (then baseline_is is NULL). parameters: an object, owned from here on; or NULL.
 */
void report_row(struct report *r, const char *metric, double value, const char *unit, double baseline,
		const char *baseline_is, json_t *parameters);
/* For people, on stderr: what is going on. */
void report_say(struct report *r, const char *fmt, ...) _printf_(2, 3);
/* The same for something that must hold and does not. */
void report_fail(struct report *r, const char *fmt, ...) _printf_(2, 3);

/* Samples of one figure. */
struct samples {
	double *values;
	size_t count, room;
	bool sorted;
};

void samples_add(struct samples *s, double value);
/* Nearest-rank percentile: share 0.5 = p50, 0.99 = p99, 1 = max. NaN without samples. */
double samples_at(struct samples *s, double share);
void samples_free(struct samples *s);

/* The three that most rows are about. */
struct bench_stat {
	const char *name;
	double share;
};
extern const struct bench_stat bench_stats[3]; /* p50, p99, max */

#endif
