/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_check.c - every policy of this tree keeps what it promises, over many random trials.
 *
 *	test-check [--runs N] [--seed N] [--skip PROPERTY]... [--except N]... [POLICY]...
 *
 * --except: the trial with this number is known to fail, is not corrected yet, and is left out; in rising order.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "check/check.h"
#include "sim/policies.h"

static int check_policy(const struct baton_scheduler *ops, uint64_t seed, uint32_t runs, uint32_t skip)
{
	struct subject subject;
	struct check_report report;
	struct error e = {""};
	bool failed;

	subject_of(&subject, ops, NULL);
	if (check_run(
		&(struct check_config){.subject = &subject, .seed = seed, .runs = runs, .skip = skip, .shrinks = 300},
		&report, &e) < 0) {
		fprintf(stderr, "%s: %s\n", ops->name, e.text);
		return 1;
	}
	printf("%s: %u trials from seed %" PRIu64 ", %u refused (%s), %" PRIu64 " decisions\n", ops->name, report.runs,
	       seed, report.refused, report.refusal, report.decisions);
	for (uint32_t p = 0; p < PROPERTIES; p++) {
		const struct check_result *r = &report.of[p];

		printf("  %-16s %4u judged %4u failed", property_name((enum property)p), r->judged, r->failed);
		if (r->worst.limit != 0)
			printf("  worst %.3f of %.3f (seed %" PRIu64 ")", r->worst.worst, r->worst.limit, r->seed);
		printf("\n");
		if (r->failed > 0)
			printf("      %s [%u -> %u]\n", r->failure.text, r->shrunk_from, r->shrunk_to);
	}
	failed = check_failed(&report);
	check_report_release(&report);
	return failed;
}

#define EXCEPT_MAX 16

/* All trials but the excepted ones, piece by piece. */
static int check_but(const struct baton_scheduler *ops, uint64_t seed, uint32_t runs, uint32_t skip,
		     const uint64_t *except, unsigned excepted)
{
	uint64_t end = seed + runs;
	int failed = 0;

	for (unsigned i = 0; i < excepted; i++) {
		if (except[i] < seed || except[i] >= end)
			continue;
		if (except[i] > seed)
			failed |= check_policy(ops, seed, (uint32_t)(except[i] - seed), skip);
		printf("%s: trial %" PRIu64 " is left out: an open finding\n", ops->name, except[i]);
		seed = except[i] + 1;
	}
	if (end > seed)
		failed |= check_policy(ops, seed, (uint32_t)(end - seed), skip);
	return failed;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"runs", required_argument, NULL, 'r'},
					      {"seed", required_argument, NULL, 's'},
					      {"skip", required_argument, NULL, 'k'},
					      {"except", required_argument, NULL, 'e'},
					      {NULL, 0, NULL, 0}};
	uint64_t seed = 1, except[EXCEPT_MAX];
	uint32_t runs = 400, skip = 0;
	unsigned excepted = 0;
	int failed = 0, opt;

	log_setup("test-check", LOG_ERROR);
	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (opt == 'r')
			runs = (uint32_t)strtoul(optarg, NULL, 10);
		else if (opt == 's')
			seed = strtoull(optarg, NULL, 10);
		else if (opt == 'k' && property_find(optarg) != PROPERTIES)
			skip |= PROPERTY_BIT(property_find(optarg));
		else if (opt == 'e' && excepted < EXCEPT_MAX)
			except[excepted++] = strtoull(optarg, NULL, 10);
		else
			return 2;
	}
	for (int i = optind; i < argc; i++) {
		const struct baton_scheduler *ops = policy_find(argv[i]);

		failed |= ops ? check_but(ops, seed, runs, skip, except, excepted) : 2;
	}
	for (size_t i = 0; optind == argc && policy_table[i]; i++)
		failed |= check_but(policy_table[i], seed, runs, skip, except, excepted);
	return failed;
}
