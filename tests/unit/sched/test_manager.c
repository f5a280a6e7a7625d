/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/sched/manager.c: who is asked, what becomes of wrong answers, and the feedback. */
#include "fake_host.h"

#include <string.h>

#include "policies/builtin.h"

/* rr is the default, probe decides; vCPU 0 waits and may run on pCPU 0 alone, 1 is blocked, 2 runs on pCPU 1. */
struct scene {
	struct fake *f;
	struct attached *probe;
	uint32_t vm, waits, blocked, runs;
};

static struct scene scene_new(void)
{
	struct scene s = {.f = fake_new(&(struct fake_config){.pcpus = 2, .vcpus = 8})};

	s.probe = fake_attach(s.f, &baton_scheduler_probe);
	fake_activate(s.f, s.probe);
	s.vm = fake_vm(s.f, 0);
	s.waits = fake_vcpu_on(s.f, s.vm, 1);
	s.blocked = fake_vcpu(s.f, s.vm);
	s.runs = fake_vcpu_on(s.f, s.vm, 2);
	fake_resume(s.f, s.runs, true);
	assert_int_equal(fake_ask(s.f, 1), s.runs);
	fake_resume(s.f, s.waits, true);
	return s;
}

static struct feedback request(struct fake *f, enum request_kind kind, enum requester_kind by, uint32_t subject)
{
	struct feedback fb;
	uint64_t now = pool_enter(f->pool);

	manager_request(f->pool, &(struct sched_request){.kind = kind, .requester = by, .subject = subject}, now, &fb);
	pool_leave(f->pool);
	return fb;
}

static void a_wrong_choice_is_counted_and_replaced_by_the_defaults(void **unused)
{
	static const enum probe_answer wrong[] = {ANSWER_BLOCKED, ANSWER_RUNNING, ANSWER_BEYOND, ANSWER_FAR,
						  ANSWER_FREE};
	struct scene s = scene_new();

	for (uint32_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct feedback fb;

		fake_set(s.f, s.probe, PROBE_ANSWER, wrong[i]);
		fb = request(s.f, REQUEST_PCPU_OWNER, ASKED_BY_TIMER, 0);
		assert_int_equal(fb.status, -EBADE);
		assert_int_equal(fb.owner, s.waits);
		assert_int_equal(s.probe->wrong, i + 1);
		assert_int_equal(s.f->pool->wrong_answers, i + 1);
		assert_ptr_equal(fake_active(s.f), s.probe); /* a few may pass */
	}
	fake_check(s.f);
	fake_free(s.f);
}

static void who_may_not_run_on_this_pcpu_does_not(void **unused)
{
	struct scene s = scene_new();
	struct feedback fb;

	fake_stop(s.f, 1, BATON_STOP_BLOCKED);
	fake_set(s.f, s.probe, PROBE_ANSWER, ANSWER_FOREIGN);
	fb = request(s.f, REQUEST_PCPU_OWNER, ASKED_BY_TIMER, 1); /* the only one that waits may run on 0 alone */
	assert_int_equal(fb.status, -EBADE);
	assert_int_equal(fb.owner, BATON_NONE); /* the default knows it, too */
	assert_int_equal(fake_ask(s.f, 1), BATON_NONE);
	fake_set(s.f, s.probe, PROBE_ANSWER, ANSWER_HONEST);
	assert_int_equal(fake_ask(s.f, 0), s.waits);
	assert_int_equal(s.probe->wrong, 2);
	fake_check(s.f);
	fake_free(s.f);
}

static void to_leave_a_pcpu_idle_is_a_valid_answer(void **unused)
{
	struct scene s = scene_new();

	fake_set(s.f, s.probe, PROBE_ANSWER, ANSWER_NONE);
	assert_int_equal(fake_ask(s.f, 0), BATON_NONE);
	assert_int_equal(s.probe->wrong, 0);
	assert_true(s.f->pool->pcpus[0].idle);
	fake_free(s.f);
}

static void after_too_many_wrong_answers_the_default_decides(void **unused)
{
	struct scene s = scene_new();
	struct attached *rr = s.f->pool->attached[0];
	uint32_t asked;

	fake_set(s.f, s.probe, PROBE_ANSWER, ANSWER_BEYOND);
	for (uint32_t i = 0; i < POOL_WRONG_LIMIT; i++) {
		assert_ptr_equal(fake_active(s.f), s.probe);
		assert_int_equal(fake_ask(s.f, 0), s.waits);
		fake_pass(s.f, NSEC_PER_MSEC);
		fake_stop(s.f, 0, BATON_STOP_SLICE);
	}
	assert_ptr_equal(fake_active(s.f), rr);
	assert_true(s.probe->faulty);
	assert_int_equal(s.f->pool->fallbacks, 1);
	asked = fake_heard(s.probe)->chosen;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(fake_ask(s.f, 0), s.waits);
		fake_stop(s.f, 0, BATON_STOP_SLICE);
	}
	assert_int_equal(fake_heard(s.probe)->chosen, asked); /* never again */
	assert_int_equal(s.f->pool->wrong_answers, POOL_WRONG_LIMIT);
	fake_check(s.f);
	fake_free(s.f);
}

static void when_the_default_is_wrong_too_whoever_waits_longest_runs(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1, .scheduler = &baton_scheduler_probe});
	struct attached *probe = f->pool->attached[0];
	uint32_t vm = fake_vm(f, 0), v[3];

	for (unsigned i = 0; i < 3; i++)
		v[i] = fake_vcpu(f, vm);
	for (unsigned i = 3; i-- > 0;) { /* the last one first */
		fake_resume(f, v[i], true);
		fake_pass(f, NSEC_PER_MSEC);
	}
	fake_set(f, probe, PROBE_ANSWER, ANSWER_FAR);
	for (unsigned i = 0; i < 6 * POOL_WRONG_LIMIT; i++) { /* it cannot be taken away: it goes on being replaced */
		assert_int_equal(fake_ask(f, 0), v[2 - i % 3]);
		fake_pass(f, NSEC_PER_MSEC);
		fake_stop(f, 0, BATON_STOP_SLICE);
	}
	assert_false(probe->faulty);
	assert_ptr_equal(fake_active(f), probe);
	fake_check(f);
	fake_free(f);
}

static void a_wrong_pcpu_in_preempts_kicks_nobody(void **unused)
{
	struct scene s = scene_new();
	struct feedback fb;

	fake_set(s.f, s.probe, PROBE_PREEMPTS, 2); /* there are 0 and 1 */
	fb = request(s.f, REQUEST_PREEMPTION, ASKED_BY_DEVICE, s.waits);
	assert_int_equal(fb.status, -EBADE);
	assert_int_equal(fb.owner, BATON_NONE);
	fake_set(s.f, s.probe, PROBE_PREEMPTS, UINT32_MAX - 1);
	fake_forget_kicks(s.f);
	fake_resume(s.f, s.blocked, true);
	assert_int_equal(s.f->kicks_total, 0);
	assert_int_equal(s.probe->wrong, 2);
	fake_set(s.f, s.probe, PROBE_PREEMPTS, 1);
	fb = request(s.f, REQUEST_PREEMPTION, ASKED_BY_DEVICE, s.waits);
	assert_int_equal(fb.status, 0);
	assert_int_equal(fb.owner, 1);
	fake_free(s.f);
}

static void the_console_cannot_go_to_a_vm_that_is_not_there(void **unused)
{
	static const int64_t wrong[] = {1, 7, 8, UINT32_MAX - 1}; /* unused slots, and numbers beyond */
	struct scene s = scene_new();
	struct feedback fb;

	for (uint32_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		fake_set(s.f, s.probe, PROBE_CONSOLE, wrong[i]);
		fb = request(s.f, REQUEST_CONSOLE_OWNER, ASKED_BY_SERVICE_VM, 0);
		assert_int_equal(fb.status, -EBADE);
		assert_int_equal(fb.owner, BATON_NONE);
		assert_int_equal(s.probe->wrong, i + 1);
	}
	fake_set(s.f, s.probe, PROBE_CONSOLE, s.vm);
	fb = request(s.f, REQUEST_CONSOLE_OWNER, ASKED_BY_SERVICE_VM, 0);
	assert_int_equal(fb.status, 0);
	assert_int_equal(fb.owner, s.vm);
	fake_set(s.f, s.probe, PROBE_CONSOLE, -1);
	fb = request(s.f, REQUEST_CONSOLE_OWNER, ASKED_BY_SERVICE_VM, 0);
	assert_int_equal(fb.status, 0);
	assert_int_equal(fb.owner, BATON_NONE);
	fake_free(s.f);
}

static void the_feedback_of_a_priority_is_the_active_schedulers(void **unused)
{
	struct scene s = scene_new();

	fake_set(s.f, s.probe, PROBE_PRIORITY, -12345);
	assert_int_equal(request(s.f, REQUEST_PRIORITY, ASKED_BY_GUEST_VM, s.vm).priority, -12345);
	fake_set(s.f, s.probe, PROBE_PRIORITY, INT32_MAX);
	assert_int_equal(request(s.f, REQUEST_PRIORITY, ASKED_BY_GUEST_VM, s.vm).priority, INT32_MAX);
	fake_free(s.f);
}

/* A scheduler of nothing but a name and choose. */
static struct baton_choice smallest_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	for (uint32_t v = 0; v < r->vcpu_slots; v++)
		if (baton_vcpu(r, v)->state == BATON_VCPU_RUNNABLE && baton_allowed(r, v, pcpu))
			return (struct baton_choice){.vcpu = v};
	return (struct baton_choice){.vcpu = BATON_NONE};
}

static const struct baton_scheduler smallest = {.magic = BATON_SCHEDULER_MAGIC,
						.abi = BATON_SCHEDULER_ABI,
						.size = sizeof(struct baton_scheduler),
						.name = "smallest",
						.choose = smallest_choose};

static void a_scheduler_of_nothing_but_choose_works(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 2, .scheduler = &smallest});
	uint32_t vm = fake_vm(f, 400), v = fake_vcpu(f, vm);
	char dump[64];
	uint64_t now;

	assert_int_equal(fake_ask(f, 0), BATON_NONE);
	assert_int_equal(fake_ask(f, 1), BATON_NONE);
	fake_forget_kicks(f);
	fake_resume(f, v, true);
	assert_int_equal(f->kicks_total, 1); /* an idle pCPU is found without an opinion of the policy */
	assert_int_equal(fake_ask(f, 1), v);
	fake_stop(f, 1, BATON_STOP_BLOCKED);
	assert_int_equal(fake_ask(f, 1), BATON_NONE);
	fake_forget_kicks(f);
	fake_wake(f, v);
	assert_int_equal(f->kicks[1], 1);						     /* where it ran last */
	assert_int_equal(request(f, REQUEST_PRIORITY, ASKED_BY_GUEST_VM, vm).priority, 400); /* its weight */
	assert_int_equal(request(f, REQUEST_CONSOLE_OWNER, ASKED_BY_SERVICE_VM, 0).owner, BATON_NONE);
	now = pool_enter(f->pool);
	pool_spin(f->pool, v, now);
	pool_ipi(f->pool, v, v, now);
	pool_interrupt(f->pool, v, now);
	pool_console_give(f->pool, vm, now);
	(void)pool_vm_changed(f->pool, vm, "weight", now, NULL);
	assert_int_equal(attached_dump(f->pool->attached[0], dump, sizeof dump, now), 0);
	pool_leave(f->pool);
	fake_pause(f, v);
	fake_remove(f, v);
	fake_check(f);
	fake_free(f);
}

static void requests_are_counted_by_requester_and_kind(void **unused)
{
	struct scene s = scene_new();
	uint64_t before[ASKED_BY_COUNT][REQUEST_KINDS];

	memcpy(before, s.f->pool->requests, sizeof before);
	fake_set(s.f, s.probe, PROBE_ANSWER, ANSWER_NONE);
	for (unsigned by = 0; by < ASKED_BY_COUNT; by++)
		for (unsigned kind = 0; kind < REQUEST_KINDS; kind++)
			for (unsigned n = 0; n < 1 + by * REQUEST_KINDS + kind; n++)
				(void)request(s.f, kind, by, 0);
	for (unsigned by = 0; by < ASKED_BY_COUNT; by++)
		for (unsigned kind = 0; kind < REQUEST_KINDS; kind++)
			assert_int_equal(s.f->pool->requests[by][kind] - before[by][kind],
					 1 + by * REQUEST_KINDS + kind);
	fake_free(s.f);
}

static void an_event_is_a_request_of_its_kind(void **unused)
{
	struct scene s = scene_new();
	uint64_t wakes = s.f->pool->requests[ASKED_BY_DEVICE][REQUEST_PREEMPTION];
	uint64_t asks = s.f->pool->requests[ASKED_BY_MONITOR][REQUEST_PCPU_OWNER];

	fake_resume(s.f, s.blocked, false);
	fake_wake(s.f, s.blocked);
	fake_wake(s.f, s.blocked); /* it is awake: nothing to decide */
	fake_ask(s.f, 0);
	assert_int_equal(s.f->pool->requests[ASKED_BY_DEVICE][REQUEST_PREEMPTION], wakes + 1);
	assert_int_equal(s.f->pool->requests[ASKED_BY_MONITOR][REQUEST_PCPU_OWNER], asks + 1);
	fake_free(s.f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_wrong_choice_is_counted_and_replaced_by_the_defaults),
	    cmocka_unit_test(who_may_not_run_on_this_pcpu_does_not),
	    cmocka_unit_test(to_leave_a_pcpu_idle_is_a_valid_answer),
	    cmocka_unit_test(after_too_many_wrong_answers_the_default_decides),
	    cmocka_unit_test(when_the_default_is_wrong_too_whoever_waits_longest_runs),
	    cmocka_unit_test(a_wrong_pcpu_in_preempts_kicks_nobody),
	    cmocka_unit_test(the_console_cannot_go_to_a_vm_that_is_not_there),
	    cmocka_unit_test(the_feedback_of_a_priority_is_the_active_schedulers),
	    cmocka_unit_test(a_scheduler_of_nothing_but_choose_works),
	    cmocka_unit_test(requests_are_counted_by_requester_and_kind),
	    cmocka_unit_test(an_event_is_a_request_of_its_kind),
	};

	fake_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
