/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes while pCPUs are threads that really run: ceasing, batches with events between them, vCPUs that come and go.
 * The threads check by themselves that no vCPU runs twice at once (fake_host.c).
 */
#include "fake_host.h"

#include <string.h>

#include "base/clock.h"
#include "policies/builtin.h"

#define BATCH 64

static uint64_t total_progress(struct fake *f)
{
	uint64_t sum = 0;

	for (uint32_t v = 0; v < f->pool->vcpu_slots; v++)
		sum += atomic_load(&f->progress[v]);
	return sum;
}

/* Every vCPU that is there runs again: nobody was lost. */
static void must_all_go_on(struct fake *f)
{
	uint64_t before[1024], deadline = clock_now_ns() + 20 * NSEC_PER_SEC;
	uint32_t n = f->pool->vcpu_slots;
	bool all = false;

	must(n <= ARRAY_SIZE(before));
	for (uint32_t v = 0; v < n; v++)
		before[v] = atomic_load(&f->progress[v]);
	while (!all && clock_now_ns() < deadline) {
		all = true;
		pool_enter(f->pool);
		for (uint32_t v = 0; v < n; v++)
			all &= f->pool->vcpus[v].state == BATON_VCPU_FREE || atomic_load(&f->progress[v]) > before[v];
		pool_leave(f->pool);
		usleep(500);
	}
	must(all);
}

static struct fake *running(const struct fake_config *config, uint32_t n)
{
	struct fake *f = fake_new(config);
	uint32_t vm[2] = {fake_vm(f, 100), fake_vm(f, 300)};

	for (uint32_t i = 0; i < n; i++)
		fake_ready(f, vm[i % 2]);
	fake_start(f);
	return f;
}

static void must_succeed(struct fake *f, const struct change_spec *spec, struct change_report *ret)
{
	struct change_report report;

	if (fake_change(f, spec, &report) < 0) {
		print_error("%s\n", report.error);
		fail();
	}
	if (ret)
		*ret = report;
}

static void ceasing_brings_every_pcpu_to_rest_and_lets_all_go_on(void **unused)
{
	static const char *const to[] = {"file:bvt.baton", "file:probe.baton"};
	struct fake *f = running(&(struct fake_config){.pcpus = 3}, 12);

	for (unsigned i = 0; i < 100; i++) {
		struct change_spec spec = fake_load("", to[i % 2], CHANGE_CEASE, (enum change_old)(i % 3));
		struct change_report report;

		must_succeed(f, &spec, &report);
		must(f->flushes == i + 1);
		must(!f->flush_saw_running);
		must(report.how == CHANGE_CEASE && report.pcpu_count == 3);
		for (uint32_t p = 0; p < 3; p++)
			must(report.blackout_per_pcpu_ns[p] > 0 &&
			     report.blackout_per_pcpu_ns[p] <= report.blackout_ns);
		must(report.blackout_ns <= report.ended_ns - report.began_ns);
		fake_check(f);
	}
	must_all_go_on(f);
	fake_stop_threads(f);
	fake_check(f);
	fake_free(f);
}

static void a_device_that_does_not_come_to_rest_refuses_the_change_and_all_go_on(void **unused)
{
	struct fake *f = running(&(struct fake_config){.pcpus = 2}, 6);
	struct change_spec spec = fake_load("probe", "file:probe.baton", CHANGE_CEASE, OLD_KEEP);
	struct change_report report;

	f->flush_result = -EBUSY;
	f->flush_why = "the printer is on fire";
	for (unsigned i = 0; i < 5; i++) { /* the sign is lowered each time */
		assert_int_equal(fake_change(f, &spec, &report), -EBUSY);
		assert_non_null(strstr(report.error, "the printer is on fire"));
		assert_string_equal(fake_active(f)->ops->name, "rr");
		assert_int_equal(arena_slots_free(f->arena), 4);
	}
	must_all_go_on(f);
	f->flush_result = 0;
	must_succeed(f, &spec, NULL);
	assert_string_equal(fake_active(f)->ops->name, "probe");
	must_all_go_on(f);
	fake_stop_threads(f);
	fake_free(f);
}

/* Nobody asks here, so nobody finds the sign. The virtual clock's deadline is long past by the real one. */
static void pcpus_that_do_not_come_to_rest_refuse_the_change(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 2});
	struct change_spec spec = fake_load("probe", "file:probe.baton", CHANGE_CEASE, OLD_KEEP);
	struct change_report report;

	fake_ready(f, fake_vm(f, 0));
	assert_int_equal(fake_change(f, &spec, &report), -ETIMEDOUT);
	assert_non_null(strstr(report.error, "2 of 2 pCPUs"));
	assert_int_equal(f->kicks[0] + f->kicks[1], 3); /* one was for the vCPU that became ready */
	assert_false(f->pool->cease);
	assert_int_equal(f->flushes, 0);
	assert_string_equal(fake_active(f)->ops->name, "rr");
	assert_int_equal(fake_attached_count(f), 1);
	fake_check(f);
	assert_int_equal(fake_ask(f, 0), 0);
	fake_free(f);
}

static void with_parameters_a_refused_cease_leaves_them_as_they_were(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 2});
	struct change_spec load = fake_load("probe", "file:probe.baton", CHANGE_LIVE, OLD_KEEP);
	struct change_spec dflt = {.kind = CHANGE_DEFAULT};
	struct change_spec spec = fake_load("probe", "", CHANGE_CEASE, OLD_KEEP);
	struct attached *probe;

	must_succeed(f, &load, NULL);
	probe = fake_active(f);
	must_succeed(f, &dflt, NULL);
	fake_param(&spec, "priority", 7);
	fake_param(&spec, "even", 6);
	assert_int_equal(fake_change(f, &spec, NULL), -ETIMEDOUT);
	assert_int_equal(baton_param(probe->region, PROBE_PRIORITY), 0);
	assert_int_equal(baton_param(probe->region, PROBE_EVEN), 0);
	fake_free(f);
}

/* ---- while a newcomer is attached, the world goes on ---- */

struct operator
{
	struct fake *f;
	_Atomic bool attaching, stop;
	_Atomic unsigned during; /* vCPUs that came or went while a newcomer was being attached */
	pthread_t thread;
};

static void progress(void *ctx, const struct change_report *report)
{
	struct operator* o = ctx;

	atomic_store(&o->attaching, report->state == CHANGE_RUNNING && report->phase == PHASE_ATTACH);
}

/* Takes vCPUs out and puts new ones in, all the time. */
static void *operator_thread(void *ctx)
{
	struct operator* o = ctx;
	struct fake *f = o->f;
	uint64_t random = 99;

	while (!atomic_load(&o->stop)) {
		uint32_t v = (uint32_t)(fake_random(&random) % f->pool->vcpu_slots), vm = v % 2, added;
		uint64_t now = pool_enter(f->pool);
		struct error e;
		int r = 0;

		if (f->pool->vcpus[v].state == BATON_VCPU_FREE) {
			r = pool_vcpu_add(f->pool, vm, v, NULL, NULL, now, &added, &e);
			must(r == 0);
			pool_resume(f->pool, added, true, now);
		} else if (pool_pause(f->pool, v, now)) {
			f->retired_run_ns += pool_vcpu_times(f->pool, v, now).run_ns;
			pool_vcpu_remove(f->pool, v, now);
		} else {
			pool_resume(f->pool, v, true, now);
			r = 1;
		}
		pool_leave(f->pool);
		if (r == 0 && atomic_load(&o->attaching))
			atomic_fetch_add(&o->during, 1);
	}
	return NULL;
}

static void vcpus_come_and_go_while_a_newcomer_is_attached(void **unused)
{
	struct fake *f = running(&(struct fake_config){.pcpus = 2, .vcpus = 12 * BATCH}, 6 * BATCH);
	struct operator o = {.f = f};
	unsigned changes = 0;
	uint64_t deadline = clock_now_ns() + 60 * NSEC_PER_SEC;

	f->changer.progress = progress;
	f->changer.ctx = &o;
	must(pthread_create(&o.thread, NULL, operator_thread, &o) == 0);
	while ((changes < 60 || atomic_load(&o.during) < 100) && clock_now_ns() < deadline) {
		struct change_spec load = fake_load("", changes % 2 ? "file:bvt.baton" : "file:probe.baton",
						    changes % 3 ? CHANGE_LIVE : CHANGE_CEASE, OLD_UNLOAD_AFTER);

		must_succeed(f, &load, NULL);
		fake_check(f); /* each scheduler's tables, and probe's order of events */
		changes++;
	}
	must(atomic_load(&o.during) >= 100);
	atomic_store(&o.stop, true);
	pthread_join(o.thread, NULL);
	print_message("%u changes, %u vCPUs came or went while somebody was being attached, %llu turns\n", changes,
		      atomic_load(&o.during), (unsigned long long)total_progress(f));
	must_all_go_on(f);
	fake_stop_threads(f);
	fake_check(f);
	must(f->pool->wrong_answers == 0);
	fake_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ceasing_brings_every_pcpu_to_rest_and_lets_all_go_on),
	    cmocka_unit_test(a_device_that_does_not_come_to_rest_refuses_the_change_and_all_go_on),
	    cmocka_unit_test(pcpus_that_do_not_come_to_rest_refuse_the_change),
	    cmocka_unit_test(with_parameters_a_refused_cease_leaves_them_as_they_were),
	    cmocka_unit_test(vcpus_come_and_go_while_a_newcomer_is_attached),
	};

	fake_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
