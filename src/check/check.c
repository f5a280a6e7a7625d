/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - trial after trial, and what they say together. See check.h. */
#include "check/check.h"

#include <stdio.h>
#include <string.h>

#include "check/generate.h"
#include "check/shrink.h"
#include "check/trial.h"

#define TWICE_EVERY	 16 /* trials, one of which is run a second time: the events must be the same */
#define CONFINED_SECONDS 20

/* Runs t as the configuration says; for shrinking, too. */
static int run_trial(const struct check_config *c, const struct trial *t, struct trial_result *ret, struct error *e)
{
	int r = c->confined ? trial_run_confined(t, c->subject, CONFINED_SECONDS, ret, e)
			    : trial_run(t, c->subject, ret, e);

	for (uint32_t p = 0; p < PROPERTIES && r >= 0; p++)
		if (c->skip & PROPERTY_BIT(p))
			ret->of[p] = (struct verdict){0};
	return r;
}

static int run_again(const struct check_config *c, const struct trial *t, struct trial_result *first, struct error *e)
{
	_cleanup_free_ struct trial_result *again = calloc(1, sizeof *again);
	struct verdict *v = &first->of[PROPERTY_TIME];
	int r;

	if (!again)
		return error_set(e, -ENOMEM, "no memory for a trial");
	r = run_trial(c, t, again, e);
	if (r < 0 || again->digest == first->digest || v->failed || (c->skip & PROPERTY_BIT(PROPERTY_TIME)))
		return r;
	v->failed = v->judged = true;
	(void)snprintf(v->text, sizeof v->text, "the same trial gave other events the second time");
	return 0;
}

static int shrink_run(void *ctx, const struct trial *t, struct trial_result *ret)
{
	return run_trial(ctx, t, ret, NULL);
}

/* The first failure of a property: its example. */
static int keep_example(const struct check_config *c, const struct trial *t, enum property p, struct check_result *to)
{
	to->example = trial_copy(t);
	if (!to->example)
		return -ENOMEM;
	to->shrunk_from = trial_size(t);
	if (c->shrinks > 0)
		shrink(&to->example, p, c->shrinks, shrink_run, (void *)(uintptr_t)c, &to->failure);
	to->shrunk_to = trial_size(to->example);
	return 0;
}

static bool worse(const struct verdict *a, const struct verdict *b)
{
	if (a->failed != b->failed)
		return a->failed;
	return b->limit == 0 || a->worst * b->limit > b->worst * a->limit;
}

static int add_up(const struct check_config *c, const struct trial *t, const struct trial_result *result,
		  struct check_report *report)
{
	int r = 0;

	report->decisions += result->decisions;
	report->events += result->events;
	for (uint32_t p = 0; p < PROPERTIES && r >= 0; p++) {
		const struct verdict *v = &result->of[p];
		struct check_result *to = &report->of[p];

		if (!v->judged)
			continue;
		if (to->judged++ == 0 || worse(v, &to->worst)) {
			to->worst = *v;
			to->seed = t->number;
		}
		if (v->failed && to->failed++ == 0) {
			to->failure = *v;
			r = keep_example(c, t, (enum property)p, to);
		}
	}
	return r;
}

static int one_trial(const struct check_config *c, uint64_t number, struct check_report *report, struct error *e)
{
	_cleanup_free_ struct trial_result *result = calloc(1, sizeof *result);
	struct trial *t = NULL;
	bool sparse = false;
	int r;

	if (!result)
		return error_set(e, -ENOMEM, "no memory for a trial");
	do {
		trial_free(t);
		t = trial_generate(number, c->subject, sparse);
		r = t ? run_trial(c, t, result, e) : error_set(e, -ENOMEM, "no memory for a trial");
		if (r < 0 || !result->refused)
			break;
		sparse = !sparse;
	} while (sparse);
	if (r >= 0 && result->refused) {
		report->refused++;
		(void)snprintf(report->refusal, sizeof report->refusal, "%s", result->refusal);
	} else if (r >= 0) {
		if (number % TWICE_EVERY == 0)
			r = run_again(c, t, result, e);
		if (r >= 0)
			r = add_up(c, t, result, report);
	}
	trial_free(t);
	return r;
}

int check_run(const struct check_config *c, struct check_report *ret, struct error *e)
{
	int r = 0;

	*ret = (struct check_report){.subject = c->subject, .seed = c->seed, .skip = c->skip};
	while (ret->runs < c->runs && r >= 0) {
		r = one_trial(c, c->seed + ret->runs, ret, e);
		ret->runs++;
		if (c->progress)
			c->progress(c->ctx, ret->runs, c->runs);
		if (c->first_failure && check_failed(ret))
			break;
	}
	if (r < 0)
		check_report_release(ret);
	return r;
}

bool check_failed(const struct check_report *report)
{
	for (uint32_t p = 0; p < PROPERTIES; p++)
		if (report->of[p].failed > 0)
			return true;
	return false;
}

void check_report_release(struct check_report *report)
{
	for (uint32_t p = 0; p < PROPERTIES; p++)
		report->of[p].example = trial_free(report->of[p].example);
}
