/* SPDX-License-Identifier: Apache-2.0 */
/* test_change.c - changes of scheduler in virtual time, by the real engine; and reports of what came of runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policies/builtin.h"
#include "sched/loader/arena.h"
#include "sim/report.h"
#include "sim/sim.h"

static const char *image_dir;

/* 200 vCPUs: several batches. */
static struct workload *busy_world(void)
{
	struct behaviour compute = {.kind = BEHAVIOUR_COMPUTE};
	struct behaviour io = {.kind = BEHAVIOUR_IO,
			       .run = {.kind = LENGTH_UNIFORM, .a_ns = 10000, .b_ns = 200000},
			       .block = {.kind = LENGTH_UNIFORM, .a_ns = 100000, .b_ns = 5000000}};
	struct workload *w = workload_new();
	struct phase phase;
	struct program program;
	struct workload_vm vm = {
	    .name = "c", .count = 4, .vcpus = 1, .wishes = {.weight = 100}, .programs = &program, .program_count = 1};

	assert_non_null(w);
	w->pcpus = 4;
	w->duration_ns = NSEC_PER_SEC;
	program = program_of(&phase, &compute);
	assert_int_equal(workload_add_vm(w, &vm, NULL), 0);
	vm.wishes.weight = 300;
	assert_int_equal(workload_add_vm(w, &vm, NULL), 0);
	program = program_of(&phase, &io);
	vm = (struct workload_vm){.name = "io<&\"", .count = 24, .vcpus = 8, .programs = &program, .program_count = 1};
	assert_int_equal(workload_add_vm(w, &vm, NULL), 0);
	return w;
}

struct seen {
	uint64_t starts, ceased, commits, starts_after_commit;
	uint32_t active_then;
};

static void see(void *ctx, struct sim *s, const struct sim_event *event)
{
	struct seen *seen = ctx;

	seen->starts += event->kind == SIM_START;
	seen->ceased += event->kind == SIM_STOP && event->why == BATON_STOP_CEASED;
	seen->starts_after_commit += event->kind == SIM_START && seen->commits > 0;
	seen->commits += event->kind == SIM_COMMIT;
	if (event->kind == SIM_COMMIT)
		seen->active_then = event->pcpu;
}

struct changed {
	struct workload *w;
	struct arena *arena;
	struct sim *s;
	struct seen seen;
	struct change_report report;
};

static void changed_begin(struct changed *c, const char *image, enum change_how how)
{
	struct change_spec spec = {.kind = CHANGE_LOAD, .trusted = true, .how = how, .requester = "test"};
	struct error e = {""};

	memset(c, 0, sizeof *c);
	c->w = busy_world();
	(void)snprintf(spec.image, sizeof spec.image, "file:%s", image);
	assert_int_equal(arena_new(2, &c->arena, &e), 0);
	assert_int_equal(sim_new(
			     &(struct sim_config){
				 .workload = c->w, .scheduler = &baton_scheduler_rr, .observer = see, .ctx = &c->seen},
			     &c->s, &e),
			 0);
	sim_change_at(c->s, SIM_EPOCH_NS + NSEC_PER_SEC / 2, &spec, c->arena, image_dir, &c->report);
	if (sim_run(c->s, SIM_END, &e) < 0)
		fail_msg("%s", e.text);
}

static void changed_end(struct changed *c)
{
	sim_free(c->s);
	arena_free(c->arena);
	workload_free(c->w);
}

/* Every vCPU is where the pool says, none twice, and its times add up to its life. */
static void check_accounts(struct sim *s)
{
	struct pool *p = sim_pool(s);
	uint64_t now = pool_enter(p), busy = 0, run = 0;

	for (uint32_t v = 0; v < p->vcpu_slots; v++) {
		struct pool_times t = pool_vcpu_times(p, v, now);

		assert_int_equal(t.run_ns + t.wait_ns + t.blocked_ns, now - p->vcpus[v].admitted_ns);
		if (p->vcpus[v].state == BATON_VCPU_RUNNING)
			assert_int_equal(p->pcpus[p->vcpus[v].pcpu].running, v);
		run += t.run_ns;
	}
	for (uint32_t i = 0; i < p->pcpu_count; i++) {
		uint64_t b, idle, other;

		pool_pcpu_times(p, i, now, &b, &idle, &other);
		assert_int_equal(b + idle + other, NSEC_PER_SEC);
		busy += b;
	}
	assert_int_equal(busy, run);
	pool_leave(p);
}

static void test_a_live_change_happens_while_events_go_on(void **state)
{
	struct changed c;

	changed_begin(&c, "bvt.baton", CHANGE_LIVE);
	if (c.report.state != CHANGE_DONE)
		fail_msg("%s", c.report.error);
	assert_string_equal(c.report.from, "rr");
	assert_string_equal(c.report.to, "bvt");
	/* 200 vCPUs in batches of 64, between which time went by. */
	assert_true(c.report.attach_ns > 100000);
	assert_true(c.report.ended_ns > c.report.began_ns);
	assert_int_equal(c.report.blackout_ns, 0);
	assert_int_equal(c.seen.commits, 1);
	assert_int_not_equal(c.seen.active_then, 0);
	check_accounts(c.s);
	changed_end(&c);
}

static void test_a_change_that_ceases_brings_all_to_rest(void **state)
{
	struct changed c;

	changed_begin(&c, "bvt.baton", CHANGE_CEASE);
	if (c.report.state != CHANGE_DONE)
		fail_msg("%s", c.report.error);
	assert_int_equal(c.report.how, CHANGE_CEASE);
	assert_int_equal(c.report.pcpu_count, 4);
	for (uint32_t p = 0; p < 4; p++)
		assert_true(c.report.blackout_per_pcpu_ns[p] > 0);
	assert_int_equal(c.seen.commits, 1);
	/* Those who ran stopped for it (but who was about to halt anyway), and all went on. */
	assert_in_range(c.seen.ceased, 1, 4);
	assert_true(c.seen.starts_after_commit > 1000);
	check_accounts(c.s);
	changed_end(&c);
}

static void test_a_refused_change_leaves_everything(void **state)
{
	struct changed c;

	changed_begin(&c, "none.baton", CHANGE_LIVE);
	assert_int_equal(c.report.state, CHANGE_REFUSED);
	assert_true(c.report.error[0] != '\0');
	assert_int_equal(c.seen.commits, 0);
	assert_true(c.seen.starts > 1000);
	check_accounts(c.s);
	changed_end(&c);
}

/* The same change twice: the same events, to the last one. */
static void test_changes_repeat_themselves(void **state)
{
	struct changed a, b;

	changed_begin(&a, "bvt.baton", CHANGE_LIVE);
	changed_begin(&b, "bvt.baton", CHANGE_LIVE);
	assert_int_equal(a.seen.starts, b.seen.starts);
	assert_int_equal(sim_events(a.s), sim_events(b.s));
	assert_int_equal(a.report.attach_ns, b.report.attach_ns);
	changed_end(&a);
	changed_end(&b);
}

static char *written(int (*write_to)(const json_t *, FILE *), const json_t *report)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	assert_int_equal(write_to(report, out), 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void test_reports_are_whole(void **state)
{
	struct changed c;
	json_t *run, *report, *vm;
	double shares = 0;
	char *text;
	size_t i;

	changed_begin(&c, "bvt.baton", CHANGE_LIVE);
	run = report_change(c.s, &c.report, NSEC_PER_SEC / 2, NSEC_PER_SEC / 10);
	assert_non_null(run);
	json_array_foreach(json_object_get(run, "vms"), i, vm)
	{
		shares += json_number_value(json_object_get(vm, "share_percent"));
		assert_int_equal(json_array_size(json_object_get(vm, "service_ms")), 401);
	}
	assert_true(shares > 99 && shares < 100.01);
	assert_true(json_is_object(json_object_get(json_object_get(run, "change"), "across")));
	report = report_of("change", json_pack("[o]", run));
	assert_non_null(report);
	text = written(report_html, report);
	/* The name of a VM cannot end the script that it stands in. */
	assert_null(strstr(text, "io<"));
	assert_non_null(strstr(text, "io\\u003c&"));
	free(text);
	text = written(report_svg, json_array_get(json_object_get(report, "runs"), 0));
	assert_null(strstr(text, "io<"));
	assert_non_null(strstr(text, "io&lt;&amp;"));
	assert_non_null(strstr(text, "</svg>"));
	free(text);
	json_decref(report);
	changed_end(&c);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_live_change_happens_while_events_go_on),
	    cmocka_unit_test(test_a_change_that_ceases_brings_all_to_rest),
	    cmocka_unit_test(test_a_refused_change_leaves_everything),
	    cmocka_unit_test(test_changes_repeat_themselves),
	    cmocka_unit_test(test_reports_are_whole),
	};

	assert(argc == 2);
	image_dir = argv[1];
	return cmocka_run_group_tests_name("sim-change", tests, NULL, NULL);
}
