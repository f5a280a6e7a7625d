/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched_check.c - `baton sched check IMAGE`: property tests of a scheduler in the simulator (src/check), reported as a
 * reviewer would. The image runs in child processes: whatever it does, this program goes on.
 */
#include "cli/sched_local.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "check/check.h"
#include "check/example.h"
#include "check/report.h"
#include "cli/cli.h"
#include "cli/nearest.h"
#include "cli/output.h"
#include "sched/loader/arena.h"
#include "sched/loader/image.h"
#include "sim/policies.h"

#define SHRINKS 600 /* trials per failure */

struct check_args {
	uint64_t seed, runs;
	uint32_t skip;
	bool json, first;
	const char *out;   /* folder for examples */
	const char *given; /* image or name */
};

static int skip_property(const char *name, uint32_t *skip)
{
	const char *names[PROPERTIES], *near;
	enum property p = property_find(name);

	if (p != PROPERTIES) {
		*skip |= PROPERTY_BIT(p);
		return 0;
	}
	for (uint32_t i = 0; i < PROPERTIES; i++)
		names[i] = property_name((enum property)i);
	near = nearest(name, names, PROPERTIES);
	if (near)
		return cli_usage(&command_sched, "there is no property '%s'; did you mean '%s'?", name, near);
	return cli_usage(&command_sched, "there is no property '%s'; the report lists them", name);
}

static int parse(int argc, char **argv, struct check_args *a)
{
	enum { SEED = 256, RUNS, QUICK, FIRST, JSON, SKIP, OUT };
	static const struct option longs[] = {
	    {"seed", required_argument, NULL, SEED}, {"runs", required_argument, NULL, RUNS},
	    {"quick", no_argument, NULL, QUICK},     {"first", no_argument, NULL, FIRST},
	    {"json", no_argument, NULL, JSON},	     {"skip", required_argument, NULL, SKIP},
	    {"out", required_argument, NULL, OUT},   {NULL, 0, NULL, 0},
	};
	int opt;

	*a = (struct check_args){.seed = 1, .runs = 1000, .out = "."};
	while ((opt = cli_getopt(&command_sched, argc, argv, longs)) != -1) {
		switch (opt) {
		case SEED:
			if (cli_number(&command_sched, "--seed", optarg, 1, INT64_MAX - UINT32_MAX, &a->seed) < 0)
				return CLI_USAGE;
			break;
		case RUNS:
			if (cli_number(&command_sched, "--runs", optarg, 1, 10 * 1000 * 1000, &a->runs) < 0)
				return CLI_USAGE;
			break;
		case QUICK:
			a->runs = 100;
			break;
		case FIRST:
			a->first = true;
			break;
		case JSON:
			a->json = true;
			break;
		case SKIP:
			if (skip_property(optarg, &a->skip) != 0)
				return CLI_USAGE;
			break;
		case OUT:
			a->out = optarg;
			break;
		default:
			return CLI_USAGE;
		}
	}
	if (argc - optind != 1)
		return cli_usage(&command_sched,
				 "check needs one scheduler image, or the name of a built-in scheduler");
	a->given = argv[optind];
	return 0;
}

static void show_progress(void *ctx, uint32_t done, uint32_t runs)
{
	if (done % 10 == 0 || done == runs)
		fprintf(stderr, "\r%u of %u trials%s", done, runs, done == runs ? "\r\033[K" : "");
}

/* Writes the example of each failure; what cannot be written is said, and the report goes on without it. */
static void write_examples(const struct check_report *report, const struct check_args *a, char *ret[PROPERTIES])
{
	for (uint32_t p = 0; p < PROPERTIES; p++) {
		struct error e = {""};

		ret[p] = NULL;
		if (!report->of[p].example)
			continue;
		if (asprintf(&ret[p], "%s/%s-%s.json", a->out, report->subject->ops->name,
			     property_name((enum property)p)) < 0)
			ret[p] = NULL;
		if (ret[p] &&
		    example_write(report->of[p].example, (enum property)p, &report->of[p].failure, ret[p], &e) < 0) {
			(void)cli_fail("%s", e.text);
			free(ret[p]);
			ret[p] = NULL;
		}
	}
}

static int check_and_report(const struct subject *subject, const struct check_args *a)
{
	const struct check_config config = {.subject = subject,
					    .seed = a->seed,
					    .runs = (uint32_t)a->runs,
					    .skip = a->skip,
					    .confined = true,
					    .shrinks = a->first ? 0 : SHRINKS,
					    .first_failure = a->first,
					    .progress = isatty(STDERR_FILENO) ? show_progress : NULL};
	char *examples[PROPERTIES];
	struct check_report report;
	struct error e = {""};
	bool failed;

	if (check_run(&config, &report, &e) < 0)
		return cli_fail("%s", e.text);
	write_examples(&report, a, examples);
	if (a->json) {
		json_t *j = report_json(&report, a->given, (const char *const *)examples);

		json_print(j);
		json_decref(j);
	} else {
		report_print(&report, a->given, (const char *const *)examples, stdout);
	}
	failed = check_failed(&report);
	for (uint32_t p = 0; p < PROPERTIES; p++)
		free(examples[p]);
	check_report_release(&report);
	return failed ? CLI_FAILED : 0;
}

int sched_check(int argc, char **argv)
{
	const struct baton_scheduler *ops;
	struct arena *arena = NULL;
	struct image *image = NULL;
	struct subject subject;
	struct error e = {""};
	struct check_args a;
	int status;

	status = parse(argc, argv, &a);
	if (status != 0)
		return status;
	log_setup("baton", LOG_ERROR); /* the core warns of what is found here anyway */
	if (arena_new(1, &arena, &e) < 0)
		return cli_fail("%s", e.text);
	if (policy_open(a.given, arena, &ops, &image, &e) < 0) {
		status = cli_fail("%s", e.text);
	} else {
		subject_of(&subject, ops, image);
		status = check_and_report(&subject, &a);
	}
	image_unref(image);
	arena_free(arena);
	return status;
}
