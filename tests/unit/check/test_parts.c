/* SPDX-License-Identifier: Apache-2.0 */
/* test_parts.c - the parts of the property tests: trials come from their number, failures shrink, examples can be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "check/check.h"
#include "check/example.h"
#include "check/generate.h"
#include "check/report.h"
#include "check/shrink.h"
#include "policies/builtin.h"

/* ---- schedulers with a mistake; choose is that of a plain rotation by numbers ---- */

static struct baton_choice first_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	for (uint32_t v = 0; v < r->vcpu_slots; v++)
		if (baton_vcpu(r, v)->state == BATON_VCPU_RUNNABLE && baton_allowed(r, v, pcpu))
			return (struct baton_choice){.vcpu = v, .slice_ns = 1000000};
	return (struct baton_choice){.vcpu = BATON_NONE};
}

static struct baton_choice writing_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	++*(uint64_t *)baton_pool_state(r);
	return first_choose(r, pcpu, now);
}

static struct baton_choice wavering_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	static _Thread_local uint64_t asked; /* of the test: a scheduler could not have it */
	struct baton_choice c = first_choose(r, pcpu, now);

	c.slice_ns += ++asked;
	return c;
}

static struct baton_choice wild_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	return (struct baton_choice){.vcpu = r->vcpu_slots};
}

static struct baton_choice idle_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	return (struct baton_choice){.vcpu = BATON_NONE};
}

static struct baton_choice crashing_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	return (struct baton_choice){.vcpu = *(volatile uint32_t *)NULL};
}

static struct baton_choice endless_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	volatile int for_ever = 1;

	while (for_ever)
		;
	return first_choose(r, pcpu, now);
}

static int32_t refusing_attach(struct baton_region *r, uint64_t now)
{
	return -ENOSPC;
}

static struct baton_scheduler scheduler_with(struct baton_choice (*choose)(struct baton_region *, uint32_t, uint64_t))
{
	return (struct baton_scheduler){.magic = BATON_SCHEDULER_MAGIC,
					.abi = BATON_SCHEDULER_ABI,
					.size = sizeof(struct baton_scheduler),
					.name = "wrong",
					.pool_state_size = 64,
					.choose = choose};
}

static struct check_report checked(const struct baton_scheduler *ops, struct subject *subject, bool confined)
{
	struct check_report report;
	struct error e = {""};
	int r;

	subject_of(subject, ops, NULL);
	r = check_run(&(struct check_config){.subject = subject,
					     .seed = 1,
					     .runs = confined ? 2 : 20,
					     .confined = confined,
					     .shrinks = confined ? 0 : 600},
		      &report, &e);
	if (r < 0)
		fail_msg("%s", e.text);
	return report;
}

static void fails(struct baton_choice (*choose)(struct baton_region *, uint32_t, uint64_t), enum property p)
{
	struct baton_scheduler ops = scheduler_with(choose);
	struct subject subject;
	struct check_report report = checked(&ops, &subject, false);

	if (report.of[p].failed == 0)
		fail_msg("%s did not fail", property_name(p));
	assert_true(check_failed(&report));
	assert_non_null(report.of[p].example);
	check_report_release(&report);
}

static void mistakes_are_found_by_the_property_that_they_break(void **state)
{
	fails(writing_choose, PROPERTY_QUESTIONS);
	fails(wavering_choose, PROPERTY_QUESTIONS);
	fails(wild_choose, PROPERTY_ANSWERS);
	fails(idle_choose, PROPERTY_WORK);
	fails(first_choose, PROPERTY_STARVATION);
	fails(first_choose, PROPERTY_SHARES);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static void a_crash_and_an_endless_call_fail_only_the_check(void **state)
{
	struct baton_scheduler ops = scheduler_with(crashing_choose);
	struct subject subject;
	struct check_report report;
	struct trial_result *result;
	struct trial *t;

	if (SANITIZED)
		skip(); /* the sanitizer has handlers of its own */
	result = calloc(1, sizeof *result);
	report = checked(&ops, &subject, true);
	assert_int_equal(report.of[PROPERTY_SOUND].failed, 2);
	assert_non_null(strstr(report.of[PROPERTY_SOUND].failure.text, "egmentation"));
	check_report_release(&report);

	ops = scheduler_with(endless_choose);
	subject_of(&subject, &ops, NULL);
	t = trial_generate(1, &subject, false);
	assert_int_equal(trial_run_confined(t, &subject, 1, result, NULL), 0);
	assert_true(result->of[PROPERTY_SOUND].failed);
	assert_non_null(strstr(result->of[PROPERTY_SOUND].text, "does not come back"));
	trial_free(t);
	free(result);
}

static void a_scheduler_that_refuses_everything_is_not_judged(void **state)
{
	struct baton_scheduler ops = scheduler_with(first_choose);
	struct subject subject;
	struct check_report report;

	ops.attach = refusing_attach;
	report = checked(&ops, &subject, false);
	assert_int_equal(report.refused, report.runs);
	assert_false(check_failed(&report));
	assert_true(report.refusal[0] != '\0');
	for (uint32_t p = 0; p < PROPERTIES; p++)
		assert_int_equal(report.of[p].judged, 0);
	check_report_release(&report);
}

static void a_trial_comes_from_its_number_and_runs_the_same_each_time(void **state)
{
	struct trial_result *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
	struct subject subject;

	subject_of(&subject, &baton_scheduler_bvt, NULL);
	for (uint64_t n = 1; n <= 10; n++) {
		struct trial *t = trial_generate(n, &subject, false), *again = trial_generate(n, &subject, false);
		json_t *x = example_json(t, PROPERTY_WORK, &(struct verdict){0}),
		       *y = example_json(again, PROPERTY_WORK, &(struct verdict){0});

		assert_true(json_equal(x, y));
		assert_int_equal(trial_run(t, &subject, a, NULL), 0);
		assert_int_equal(trial_run(again, &subject, b, NULL), 0);
		assert_true(a->digest == b->digest && a->decisions > 0);
		json_decref(x);
		json_decref(y);
		trial_free(t);
		trial_free(again);
	}
	free(a);
	free(b);
}

/* What is shrunk is written to a file that the simulator reads, and fails there as it did here. */
static void a_shrunk_failure_is_small_and_its_file_fails_again(void **state)
{
	struct baton_scheduler ops = scheduler_with(first_choose);
	struct trial_result *result = calloc(1, sizeof *result);
	struct workload *read;
	struct subject subject;
	struct check_report report = checked(&ops, &subject, false);
	struct check_result *r = &report.of[PROPERTY_SHARES];
	struct error e = {""};
	struct trial *t;
	char *text;
	json_t *j;

	if (r->shrunk_to >= r->shrunk_from || r->shrunk_to > 10)
		fail_msg("shrunk from %u to %u", r->shrunk_from, r->shrunk_to);
	j = example_json(r->example, PROPERTY_SHARES, &r->failure);
	text = json_dumps(j, JSON_INDENT(2));
	if (workload_parse(text, strlen(text), "example", &read, &e) < 0)
		fail_msg("%s", e.text);
	t = trial_copy(r->example);
	workload_free(t->workload);
	t->workload = read;
	assert_int_equal(trial_run(t, &subject, result, &e), 0);
	assert_true(result->of[PROPERTY_SHARES].failed);
	assert_string_equal(result->of[PROPERTY_SHARES].text, r->failure.text);
	trial_free(t);
	free(text);
	json_decref(j);
	free(result);
	check_report_release(&report);
}

/* Every behaviour and wish that the generator makes can be written and read. */
static void every_trial_can_be_written_as_a_workload_file(void **state)
{
	struct subject subject;

	subject_of(&subject, &baton_scheduler_bvt, NULL);
	subject.caps = subject.reservations = true;
	subject.claims = PROPERTY_BIT(PROPERTIES) - 1;
	for (uint64_t n = 1; n <= 200; n++) {
		struct trial *t = trial_generate(n, &subject, false), *copy = trial_copy(t);
		json_t *j = example_json(t, PROPERTY_WORK, &(struct verdict){0}), *again;
		char *text = json_dumps(j, 0);
		struct workload *read;
		struct error e = {""};

		if (workload_parse(text, strlen(text), "trial", &read, &e) < 0)
			fail_msg("trial %d: %s", (int)n, e.text);
		workload_free(copy->workload);
		copy->workload = read;
		again = example_json(copy, PROPERTY_WORK, &(struct verdict){0});
		if (!json_equal(j, again))
			fail_msg("trial %d is read as another one: %s", (int)n, text);
		json_decref(j);
		json_decref(again);
		free(text);
		trial_free(t);
		trial_free(copy);
	}
}

static void what_applies_follows_from_what_is_declared(void **state)
{
	struct baton_scheduler ops = scheduler_with(first_choose);
	struct subject s;

	subject_of(&s, &ops, NULL);
	assert_false(s.weights || s.hints || s.caps || s.reservations);
	assert_false(s.claims & PROPERTY_BIT(PROPERTY_CAPS));
	assert_non_null(s.why_not[PROPERTY_CAPS]);
	assert_true(s.claims & PROPERTY_BIT(PROPERTY_SHARES));
	subject_of(&s, &baton_scheduler_bvt, NULL);
	assert_true(s.weights && s.hints && (s.claims & PROPERTY_BIT(PROPERTY_LATENCY)));
	assert_int_equal(property_find("work-conserving"), PROPERTY_WORK);
	assert_int_equal(property_find("nonsense"), PROPERTIES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(mistakes_are_found_by_the_property_that_they_break),
	    cmocka_unit_test(a_crash_and_an_endless_call_fail_only_the_check),
	    cmocka_unit_test(a_scheduler_that_refuses_everything_is_not_judged),
	    cmocka_unit_test(a_trial_comes_from_its_number_and_runs_the_same_each_time),
	    cmocka_unit_test(a_shrunk_failure_is_small_and_its_file_fails_again),
	    cmocka_unit_test(every_trial_can_be_written_as_a_workload_file),
	    cmocka_unit_test(what_applies_follows_from_what_is_declared),
	};

	log_setup("test-check", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
