/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define OPTIONS_MAX 12

const struct bench_stat bench_stats[3] = {{"p50", 0.5}, {"p99", 0.99}, {"max", 1.0}};

/* ---- command line ---- */

static void print_help(const struct report *r, const char *what, const struct bench_option *options)
{
	printf("Usage: %s [--json] [--quick] [OPTION]...\n%s\n\n", r->program, what);
	printf("  --json             one JSON object per line instead of a table\n");
	printf("  --quick            fewer rounds: an answer soon, coarser\n");
	for (const struct bench_option *o = options; o->name; o++)
		printf("  --%-16s %s\n", o->name, o->help);
	printf("  --help\n");
}

static bool take_value(const struct report *r, const struct bench_option *o, const char *text)
{
	char *end;
	long n;

	if (o->text) {
		*o->text = text;
		return true;
	}
	errno = 0;
	n = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || n < o->min || n > o->max) {
		fprintf(stderr, "%s: error: --%s takes a whole number from %ld to %ld, not \"%s\"; see --help\n",
			r->program, o->name, o->min, o->max, text);
		return false;
	}
	*o->number = n;
	return true;
}

bool report_begin(struct report *r, int argc, char **argv, const char *what, const struct bench_option *options,
		  int *ret_status)
{
	enum { JSON = 256, QUICK, HELP, FIRST };
	struct option longs[OPTIONS_MAX + 4] = {
	    {"json", no_argument, NULL, JSON}, {"quick", no_argument, NULL, QUICK}, {"help", no_argument, NULL, HELP}};
	const char *slash = strrchr(argv[0], '/');
	int opt, count = 0;

	*r = (struct report){.program = slash ? slash + 1 : argv[0]};
	for (; options[count].name; count++) {
		assert(count < OPTIONS_MAX);
		longs[3 + count] = (struct option){options[count].name, required_argument, NULL, FIRST + count};
	}
	*ret_status = 2;
	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case JSON:
			r->json = true;
			break;
		case QUICK:
			r->quick = true;
			break;
		case HELP:
			print_help(r, what, options);
			*ret_status = 0;
			return false;
		case '?':
			return false;
		default:
			if (!take_value(r, &options[opt - FIRST], optarg))
				return false;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "%s: error: unexpected argument \"%s\"; see --help\n", r->program, argv[optind]);
		return false;
	}
	r->rows = json_array();
	return true;
}

/* ---- rows ---- */

void report_row(struct report *r, const char *metric, double value, const char *unit, double baseline,
		const char *baseline_is, json_t *parameters)
{
	json_t *row = json_object();

	json_object_set_new(row, "metric", json_string(metric));
	/* Whole numbers as such: counts are not 100.0. */
	json_object_set_new(row, "value",
			    !isfinite(value)				  ? json_null()
			    : value == floor(value) && fabs(value) < 9e15 ? json_integer((json_int_t)value)
									  : json_real(value));
	json_object_set_new(row, "unit", json_string(unit));
	json_object_set_new(row, "baseline", isfinite(baseline) ? json_real(baseline) : json_null());
	json_object_set_new(row, "baseline_is", baseline_is ? json_string(baseline_is) : json_null());
	if (parameters) {
		json_object_update(row, parameters);
		json_decref(parameters);
	}
	if (r->json) {
		json_dumpf(row, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
		putchar('\n');
		fflush(stdout);
	}
	json_array_append_new(r->rows, row);
}

/* "how=live vcpus=10 stat=p99" */
static void parameters_text(json_t *row, char *buf, size_t size)
{
	static const char *const fixed[] = {"metric", "value", "unit", "baseline", "baseline_is"};
	const char *key;
	json_t *value;
	size_t n = 0;

	*buf = '\0';
	json_object_foreach(row, key, value)
	{
		bool is_fixed = false;

		for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
			is_fixed |= strcmp(key, fixed[i]) == 0;
		if (is_fixed || n >= size)
			continue;
		if (json_is_string(value))
			n +=
			    (size_t)snprintf(buf + n, size - n, "%s%s=%s", n ? " " : "", key, json_string_value(value));
		else if (json_is_integer(value))
			n += (size_t)snprintf(buf + n, size - n, "%s%s=%lld", n ? " " : "", key,
					      (long long)json_integer_value(value));
	}
}

static void number_text(json_t *value, char *buf, size_t size)
{
	double n = json_number_value(value);

	if (!json_is_number(value))
		snprintf(buf, size, "-");
	else if (json_is_integer(value) || fabs(n) >= 1000)
		snprintf(buf, size, "%.0f", n);
	else
		snprintf(buf, size, "%.3g", n);
}

static void print_table(const struct report *r)
{
	json_t *row;
	size_t i;

	printf("%-18s %-66s %12s %-6s %12s %7s  %s\n", "metric", "parameters", "value", "unit", "baseline", "ratio",
	       "baseline is");
	json_array_foreach(r->rows, i, row)
	{
		char parameters[200], value[32], baseline[32], ratio[32] = "";
		json_t *base = json_object_get(row, "baseline");
		const char *is = json_string_value(json_object_get(row, "baseline_is"));

		parameters_text(row, parameters, sizeof parameters);
		number_text(json_object_get(row, "value"), value, sizeof value);
		number_text(base, baseline, sizeof baseline);
		if (json_is_number(base) && json_number_value(base) > 0)
			snprintf(ratio, sizeof ratio, "%.3f",
				 json_number_value(json_object_get(row, "value")) / json_number_value(base));
		printf("%-18s %-66s %12s %-6s %12s %7s  %s\n", json_string_value(json_object_get(row, "metric")),
		       parameters, value, json_string_value(json_object_get(row, "unit")), baseline, ratio,
		       is ? is : "");
	}
}

int report_end(struct report *r)
{
	if (!r->json)
		print_table(r);
	json_decref(r->rows);
	return r->failed ? 1 : 0;
}

static void _printf_(3, 0) say(struct report *r, const char *kind, const char *fmt, va_list ap)
{
	char text[1024];

	(void)vsnprintf(text, sizeof text, fmt, ap);
	fprintf(stderr, "%s: %s%s\n", r->program, kind, text);
}

void report_say(struct report *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(r, "", fmt, ap);
	va_end(ap);
}

void report_fail(struct report *r, const char *fmt, ...)
{
	va_list ap;

	r->failed = true;
	va_start(ap, fmt);
	say(r, "error: ", fmt, ap);
	va_end(ap);
}

/* ---- samples ---- */

void samples_add(struct samples *s, double value)
{
	if (s->count == s->room) {
		size_t room = MAX((size_t)256, s->room * 2);
		double *values = realloc(s->values, room * sizeof *values);

		if (!values)
			abort(); /* a benchmark without memory measures nothing */
		s->values = values;
		s->room = room;
	}
	s->values[s->count++] = value;
	s->sorted = false;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double samples_at(struct samples *s, double share)
{
	double rank;

	if (s->count == 0)
		return NAN;
	if (!s->sorted)
		qsort(s->values, s->count, sizeof *s->values, by_value);
	s->sorted = true;
	rank = ceil(share * (double)s->count);
	return s->values[rank < 1 ? 0 : (size_t)rank - 1];
}

void samples_free(struct samples *s)
{
	free(s->values);
	*s = (struct samples){0};
}
