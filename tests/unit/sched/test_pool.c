/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/sched/pool.c and attached.c: states, accounts, kicks, alarms, members. The clock is virtual. */
#include "fake_host.h"

#include <string.h>

#include "base/clock.h"
#include "policies/builtin.h"

#define MS NSEC_PER_MSEC

static enum baton_vcpu_state state_of(struct fake *f, uint32_t v)
{
	return f->pool->vcpus[v].state;
}

static struct pool_times times_of(struct fake *f, uint32_t v)
{
	uint64_t now = pool_enter(f->pool);
	struct pool_times t = pool_vcpu_times(f->pool, v, now);

	pool_leave(f->pool);
	return t;
}

/* ---- one vCPU through all orders of events ---- */

enum step { WAKE, ASK, STOP_SLICE, STOP_BLOCKED, PAUSE, RESUME, RESUME_RUNNABLE, STEPS };

/* What pool.h says, written down once more. */
struct model {
	enum baton_vcpu_state state;
	bool paused, wake_pending;
};

static bool possible(const struct model *m, enum step s)
{
	switch (s) {
	case ASK:
		return m->state != BATON_VCPU_RUNNING;
	case STOP_SLICE:
	case STOP_BLOCKED:
		return m->state == BATON_VCPU_RUNNING;
	default:
		return true;
	}
}

static void model_wake(struct model *m)
{
	if (m->state != BATON_VCPU_BLOCKED)
		return;
	if (m->paused)
		m->wake_pending = true;
	else
		m->state = BATON_VCPU_RUNNABLE;
}

static void model_step(struct model *m, enum step s)
{
	switch (s) {
	case WAKE:
		model_wake(m);
		break;
	case ASK:
		if (m->state == BATON_VCPU_RUNNABLE)
			m->state = BATON_VCPU_RUNNING;
		break;
	case STOP_SLICE:
	case STOP_BLOCKED:
		m->state = m->paused || s == STOP_BLOCKED ? BATON_VCPU_BLOCKED : BATON_VCPU_RUNNABLE;
		m->wake_pending = m->paused && s == STOP_SLICE;
		break;
	case PAUSE:
		if (m->state == BATON_VCPU_RUNNABLE) {
			m->state = BATON_VCPU_BLOCKED;
			m->wake_pending = true;
		}
		m->paused = true;
		break;
	case RESUME:
	case RESUME_RUNNABLE: {
		bool wake = m->wake_pending || s == RESUME_RUNNABLE;

		m->paused = m->wake_pending = false;
		if (wake)
			model_wake(m);
		break;
	}
	case STEPS:
		break;
	}
}

static void take_step(struct fake *f, uint32_t v, enum step s)
{
	switch (s) {
	case WAKE:
		fake_wake(f, v);
		break;
	case ASK:
		fake_ask(f, 0);
		break;
	case STOP_SLICE:
		fake_stop(f, 0, BATON_STOP_SLICE);
		break;
	case STOP_BLOCKED:
		fake_stop(f, 0, BATON_STOP_BLOCKED);
		break;
	case PAUSE:
		assert_int_equal(fake_pause(f, v), f->pool->vcpus[v].state != BATON_VCPU_RUNNING);
		break;
	case RESUME:
		fake_resume(f, v, false);
		break;
	case RESUME_RUNNABLE:
		fake_resume(f, v, true);
		break;
	case STEPS:
		break;
	}
}

#define DEPTH 6

static void every_order_of_events_ends_in_the_state_that_the_drawing_says(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1, .vcpus = 4, .scheduler = &baton_scheduler_probe});
	uint32_t vm = fake_vm(f, 0);
	unsigned orders = 1, walked = 0;

	for (unsigned i = 0; i < DEPTH; i++)
		orders *= STEPS;
	for (unsigned order = 0; order < orders; order++) {
		uint32_t v = fake_vcpu(f, vm);
		struct model m = {.state = BATON_VCPU_BLOCKED, .paused = true};

		for (unsigned i = 0, rest = order; i < DEPTH; i++, rest /= STEPS) {
			enum step s = rest % STEPS;

			if (!possible(&m, s))
				break;
			fake_pass(f, 1000);
			take_step(f, v, s);
			model_step(&m, s);
			must(state_of(f, v) == m.state);
			must(f->pool->vcpus[v].paused == m.paused);
			must(f->pool->vcpus[v].wake_pending == m.wake_pending);
			walked++;
		}
		if (order % 64 == 0)
			fake_check(f);
		fake_pause(f, v);
		if (m.state == BATON_VCPU_RUNNING)
			fake_stop(f, 0, BATON_STOP_PREEMPTED);
		fake_remove(f, v);
	}
	fake_check(f);
	assert_int_equal(fake_heard(f->pool->attached[0])->disorder, 0);
	assert_true(walked > orders);
	fake_free(f);
}

/* ---- accounts ---- */

static void a_vcpus_time_is_split_into_run_wait_and_blocked(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1});
	uint32_t vm = fake_vm(f, 0), v = fake_vcpu(f, vm);
	struct pool_times t;

	fake_pass(f, 3 * MS); /* paused: blocked */
	fake_resume(f, v, true);
	fake_pass(f, 5 * MS); /* waits */
	assert_int_equal(fake_ask(f, 0), v);
	fake_pass(f, 7 * MS); /* runs */
	t = times_of(f, v);
	assert_int_equal(t.run_ns, 7 * MS); /* the present state is counted, too */
	fake_stop(f, 0, BATON_STOP_SLICE);
	fake_pass(f, 11 * MS); /* waits */
	fake_ask(f, 0);
	fake_pass(f, 13 * MS); /* runs */
	fake_stop(f, 0, BATON_STOP_BLOCKED);
	fake_pass(f, 17 * MS); /* blocked */
	t = times_of(f, v);
	assert_int_equal(t.run_ns, 20 * MS);
	assert_int_equal(t.wait_ns, 16 * MS);
	assert_int_equal(t.blocked_ns, 20 * MS);
	fake_check(f);
	fake_free(f);
}

static void a_pcpus_time_is_split_into_busy_idle_and_other(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1});
	uint32_t vm = fake_vm(f, 0), v = fake_ready(f, vm);
	uint64_t busy, idle, other, now;

	fake_pass(f, 3 * MS); /* nobody has asked yet */
	fake_ask(f, 0);
	fake_pass(f, 5 * MS); /* busy */
	fake_stop(f, 0, BATON_STOP_BLOCKED);
	fake_pass(f, 7 * MS); /* between stop and the next question */
	assert_int_equal(fake_ask(f, 0), BATON_NONE);
	fake_pass(f, 11 * MS); /* idle */
	fake_wake(f, v);
	fake_pass(f, 13 * MS); /* woken, but its loop has not asked yet: still idle */
	assert_int_equal(fake_ask(f, 0), v);
	fake_pass(f, 17 * MS);
	now = pool_enter(f->pool);
	pool_pcpu_times(f->pool, 0, now, &busy, &idle, &other);
	pool_leave(f->pool);
	assert_int_equal(busy, 22 * MS);
	assert_int_equal(idle, 24 * MS);
	assert_int_equal(other, 10 * MS);
	fake_check(f);
	fake_free(f);
}

static void a_clock_that_goes_back_is_not_followed(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1, .scheduler = &baton_scheduler_probe});
	uint32_t v = fake_ready(f, fake_vm(f, 0));

	fake_pass(f, 10 * MS);
	fake_ask(f, 0);
	f->now_ns -= 5 * MS;
	fake_stop(f, 0, BATON_STOP_SLICE);
	assert_int_equal(times_of(f, v).run_ns, 0);
	f->now_ns += 6 * MS;
	fake_ask(f, 0);
	assert_int_equal(times_of(f, v).wait_ns, 11 * MS);
	fake_check(f);
	fake_free(f);
}

static void migrations_are_counted_from_the_second_place_on(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 2});
	uint32_t v = fake_ready(f, fake_vm(f, 0));

	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(fake_ask(f, i / 2), v);
		fake_stop(f, i / 2, BATON_STOP_SLICE);
	}
	assert_int_equal(f->pool->vcpus[v].starts, 4);
	assert_int_equal(f->pool->vcpus[v].migrations, 1);
	fake_free(f);
}

/* ---- pausing ---- */

static void a_wake_up_while_paused_is_remembered_until_the_resume(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1});
	uint32_t v = fake_vcpu(f, fake_vm(f, 0));

	fake_resume(f, v, false);
	assert_true(fake_pause(f, v));
	fake_wake(f, v);
	assert_int_equal(state_of(f, v), BATON_VCPU_BLOCKED);
	assert_int_equal(fake_ask(f, 0), BATON_NONE);
	fake_resume(f, v, false);
	assert_int_equal(state_of(f, v), BATON_VCPU_RUNNABLE);
	fake_free(f);
}

static void a_paused_vcpu_that_was_to_run_on_goes_on_after_the_resume(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1});
	uint32_t v = fake_ready(f, fake_vm(f, 0));

	fake_ask(f, 0);
	fake_forget_kicks(f);
	assert_false(fake_pause(f, v));
	assert_int_equal(f->kicks[0], 1); /* so that it stops soon */
	fake_stop(f, 0, BATON_STOP_PREEMPTED);
	assert_int_equal(state_of(f, v), BATON_VCPU_BLOCKED);
	assert_true(fake_pause(f, v));
	fake_resume(f, v, false);
	assert_int_equal(state_of(f, v), BATON_VCPU_RUNNABLE);
	fake_free(f);
}

static void a_pause_that_is_taken_back_before_it_took_effect_changes_nothing(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1});
	uint32_t v = fake_ready(f, fake_vm(f, 0));

	fake_ask(f, 0);
	assert_false(fake_pause(f, v));
	fake_resume(f, v, false);
	assert_int_equal(state_of(f, v), BATON_VCPU_RUNNING);
	fake_stop(f, 0, BATON_STOP_PREEMPTED);
	assert_int_equal(state_of(f, v), BATON_VCPU_RUNNABLE);
	fake_free(f);
}

/* ---- kicks and idle pCPUs ---- */

static void a_woken_vcpu_is_offered_to_an_idle_pcpu(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 4});
	uint32_t vm = fake_vm(f, 0), v = fake_vcpu_on(f, vm, 1u << 2);

	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(fake_ask(f, i), BATON_NONE);
	fake_forget_kicks(f);
	fake_resume(f, v, true);
	assert_int_equal(f->kicks[2], 1); /* the only one on which it may run */
	assert_int_equal(f->kicks_total, 1);
	fake_free(f);
}

/* Before the first kicked pCPU has asked, a second vCPU wakes: it gets another idle pCPU, not the same once more. */
static void two_woken_vcpus_are_offered_to_two_idle_pcpus(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 2});
	uint32_t vm = fake_vm(f, 0), a = fake_vcpu(f, vm), b = fake_vcpu(f, vm);

	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(fake_ask(f, i), BATON_NONE);
	fake_forget_kicks(f);
	fake_resume(f, a, true);
	assert_int_equal(f->kicks_total, 1);
	fake_resume(f, b, true);
	assert_int_equal(f->kicks[0], 1);
	assert_int_equal(f->kicks[1], 1);
	fake_free(f);
}

static void who_is_put_aside_is_offered_to_an_idle_pcpu_whatever_the_policy_says(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 2, .scheduler = &baton_scheduler_probe});
	uint32_t vm = fake_vm(f, 0), a, b;

	assert_int_equal(fake_ask(f, 1), BATON_NONE); /* idle */
	a = fake_ready(f, vm);
	b = fake_vcpu(f, vm);
	assert_int_equal(fake_ask(f, 0), a);
	fake_forget_kicks(f);
	fake_resume(f, b, true); /* probe's preempts says NONE */
	assert_int_equal(f->kicks_total, 0);
	fake_pause(f, b); /* so that a, not b, is put aside below */
	fake_resume(f, b, true);
	fake_stop(f, 0, BATON_STOP_SLICE);
	fake_pause(f, a);
	assert_int_equal(fake_ask(f, 0), b);
	assert_int_equal(f->kicks_total, 0); /* a is paused: nobody to offer */
	fake_resume(f, a, true);
	fake_stop(f, 0, BATON_STOP_SLICE);
	assert_int_equal(fake_ask(f, 0), a); /* b is put aside */
	assert_int_equal(f->kicks[1], 1);
	assert_int_equal(f->kicks_total, 1);
	fake_free(f);
}

static void who_is_put_aside_is_not_offered_where_it_may_not_run(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 2, .scheduler = &baton_scheduler_probe});
	uint32_t vm = fake_vm(f, 0), a, b;

	assert_int_equal(fake_ask(f, 1), BATON_NONE);
	a = fake_vcpu_on(f, vm, 1);
	b = fake_vcpu_on(f, vm, 1);
	fake_resume(f, b, true);
	assert_int_equal(fake_ask(f, 0), b);
	fake_resume(f, a, true);
	fake_stop(f, 0, BATON_STOP_SLICE);
	fake_forget_kicks(f);
	assert_int_equal(fake_ask(f, 0), a);
	assert_int_equal(f->kicks_total, 0);
	fake_free(f);
}

static void kicks_are_collected_and_sent_once_when_the_lock_is_dropped(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 130});
	uint64_t now = pool_enter(f->pool);

	fake_forget_kicks(f);
	for (uint32_t i = 0; i < 3; i++) {
		pool_note_kick(f->pool, 0);
		pool_note_kick(f->pool, 63);
		pool_note_kick(f->pool, 64);
		pool_note_kick(f->pool, 129);
	}
	assert_int_equal(f->kicks_total, 0);
	pool_leave(f->pool);
	assert_int_equal(f->kicks_total, 4);
	assert_true(f->kicks[0] == 1 && f->kicks[63] == 1 && f->kicks[64] == 1 && f->kicks[129] == 1);
	(void)now;
	pool_enter(f->pool);
	pool_leave(f->pool);
	assert_int_equal(f->kicks_total, 4);
	fake_free(f);
}

static void who_is_asking_already_is_not_kicked(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 2});
	struct feedback fb;
	uint64_t now = pool_enter(f->pool);

	pool_note_kick(f->pool, 0);
	pool_note_kick(f->pool, 1);
	pool_ask(f->pool, 0, ASKED_BY_MONITOR, now, &fb);
	pool_leave(f->pool);
	assert_int_equal(f->kicks[0], 0);
	assert_int_equal(f->kicks[1], 1);
	fake_free(f);
}

static void only_the_active_policys_kicks_and_holds_have_effect(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 2, .scheduler = &baton_scheduler_probe});
	struct attached *active = f->pool->attached[0], *shadow = fake_attach(f, &baton_scheduler_probe);

	fake_vcpu(f, fake_vm(f, 0)); /* vCPU 0 */
	fake_forget_kicks(f);
	fake_set(f, shadow, PROBE_KICK, 1);
	fake_set(f, shadow, PROBE_HOLD_UNTIL, (int64_t)(f->now_ns + MS));
	assert_int_equal(f->kicks_total, 0);
	assert_int_equal(f->pool->vcpus[0].held_until_ns, 0);
	assert_int_equal(shadow->withheld, 2);
	fake_set(f, active, PROBE_KICK, 1);
	fake_set(f, active, PROBE_KICK, 2);	     /* not there: ignored */
	fake_set(f, active, PROBE_KICK, UINT32_MAX); /* so is this */
	fake_set(f, active, PROBE_HOLD_UNTIL, (int64_t)(f->now_ns + MS));
	assert_int_equal(f->kicks[1], 1);
	assert_int_equal(f->kicks_total, 1);
	assert_int_equal(f->pool->vcpus[0].held_until_ns, f->now_ns + MS);
	fake_set(f, active, PROBE_HOLD_UNTIL, INT64_MAX); /* within a bound */
	assert_int_equal(f->pool->vcpus[0].held_until_ns, f->now_ns + 10 * NSEC_PER_SEC);
	fake_free(f);
}

/* ---- slices ---- */

static void slices_are_brought_into_the_range_of_the_pool(void **unused)
{
	static const struct {
		uint64_t said, granted;
	} cases[] = {{0, 500 * MS},	   {1, 2 * MS}, {2 * MS, 2 * MS}, {7 * MS, 7 * MS}, {500 * MS + 1, 500 * MS},
		     {INT64_MAX, 500 * MS}};
	struct fake *f = fake_new(&(struct fake_config){
	    .pcpus = 1, .scheduler = &baton_scheduler_probe, .slice_min_ns = 2 * MS, .slice_max_ns = 500 * MS});
	struct feedback fb;

	fake_ready(f, fake_vm(f, 0));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t now;

		fake_set(f, f->pool->attached[0], PROBE_SLICE_NS, (int64_t)cases[i].said);
		now = pool_enter(f->pool);
		pool_ask(f->pool, 0, ASKED_BY_TIMER, now, &fb);
		pool_leave(f->pool);
		assert_int_equal(fb.slice_ns, cases[i].granted);
		assert_int_equal(f->pool->pcpus[0].slice_end_ns, f->now_ns + cases[i].granted);
		fake_stop(f, 0, BATON_STOP_SLICE);
	}
	fake_free(f);
}

/* ---- affinity ---- */

static int affinity(struct fake *f, uint32_t v, uint64_t mask)
{
	uint64_t set[BATON_PCPUS_MAX / 64] = {mask};
	uint64_t now = pool_enter(f->pool);
	int r = pool_vcpu_affinity(f->pool, v, set, now);

	pool_leave(f->pool);
	return r;
}

/* Also to those who have put it into a queue by its old mask. */
static void a_waiting_vcpu_is_announced_again_when_its_affinity_changes(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.scheduler = &baton_scheduler_probe});
	struct attached *both[] = {f->pool->attached[0], fake_attach(f, &baton_scheduler_probe)};
	uint32_t vm = fake_vm(f, 0), first = fake_ready(f, vm), v = fake_ready(f, vm);

	assert_int_equal(fake_ask(f, 0), first);
	fake_pass(f, MS);
	assert_int_equal(affinity(f, v, 1), 0); /* pCPU 0, which is busy */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(fake_heard_of(both[i], v)->sleeps, 1);
		assert_int_equal(fake_heard_of(both[i], v)->wakes, 2);
	}
	fake_check(f);
	assert_int_equal(fake_ask(f, 1), BATON_NONE);
	assert_int_equal(affinity(f, v, 2), 0);
	assert_int_equal(fake_ask(f, 1), v);
	fake_check(f);
	fake_free(f);
}

static void a_vcpu_that_runs_where_it_no_longer_may_is_kicked(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.scheduler = &baton_scheduler_probe});
	uint32_t v = fake_ready(f, fake_vm(f, 0));

	assert_int_equal(fake_ask(f, 0), v);
	fake_forget_kicks(f);
	assert_int_equal(affinity(f, v, 3), 0);
	assert_int_equal(f->kicks_total, 0);
	assert_int_equal(affinity(f, v, 2), 0);
	assert_int_equal(f->kicks[0], 1);
	fake_check(f);
	fake_stop(f, 0, BATON_STOP_PREEMPTED);
	assert_int_equal(fake_ask(f, 0), BATON_NONE);
	assert_int_equal(fake_ask(f, 1), v);
	fake_check(f);
	fake_free(f);
}

static void a_vcpu_must_be_allowed_somewhere(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){0});
	uint32_t vm = fake_vm(f, 0), v = fake_ready(f, vm);

	assert_int_equal(affinity(f, v, 0), -EINVAL);
	assert_int_equal(affinity(f, v, 0xfc), -EINVAL); /* there are pCPUs 0 and 1 */
	assert_int_equal(fake_vcpu_unless_refused(f, vm, 0xfc), BATON_NONE);
	fake_check(f);
	assert_int_equal(fake_vcpu(f, vm), v + 1); /* the refused one's place is free */
	assert_int_equal(fake_ask(f, 0), v);
	fake_free(f);
}

/* ---- alarms ---- */

static uint64_t alarm_for(struct fake *f, uint32_t pcpu)
{
	uint64_t t;

	pool_enter(f->pool);
	t = pool_alarm_for(f->pool, pcpu);
	pool_leave(f->pool);
	return t;
}

static void alarm_at(struct fake *f, struct attached *a, uint64_t t)
{
	fake_set(f, a, PROBE_ALARM_AT, (int64_t)t);
}

static void alarms_come_in_order_and_coinciding_ones_once(void **unused)
{
	static const uint64_t at_ms[] = {50, 10, 40, 20, 30, 10, 35, 5, 50, 45, 15, 25};
	static const uint64_t order_ms[] = {5, 10, 15, 20, 25, 30, 35, 40, 45, 50};
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1, .scheduler = &baton_scheduler_probe});
	struct attached *a = f->pool->attached[0];
	uint64_t start = f->now_ns;

	for (size_t i = 0; i < ARRAY_SIZE(at_ms); i++)
		alarm_at(f, a, start + at_ms[i] * MS);
	for (unsigned ms = 0; ms <= 60; ms++) {
		fake_tick(f); /* a tick that is not due is none */
		fake_pass(f, MS);
	}
	assert_int_equal(fake_heard(a)->ticks, ARRAY_SIZE(order_ms));
	for (size_t i = 0; i < ARRAY_SIZE(order_ms); i++)
		assert_int_equal(fake_heard(a)->tick_ns[i], start + order_ms[i] * MS);
	assert_true(f->pool->next_alarm_ns == TIME_NEVER);
	assert_int_equal(a->alarm_count, 0);
	fake_free(f);
}

static void alarms_that_fell_due_together_are_one_tick(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1, .scheduler = &baton_scheduler_probe});
	struct attached *a = f->pool->attached[0];

	for (unsigned i = 0; i < 20; i++)
		alarm_at(f, a, f->now_ns + (20 - i) * MS);
	fake_pass(f, 15 * MS);
	fake_tick(f);
	assert_int_equal(fake_heard(a)->ticks, 1);
	assert_int_equal(a->alarm_count, 5);
	assert_int_equal(f->pool->next_alarm_ns, f->now_ns + MS);
	fake_free(f);
}

static void a_shadows_alarms_come_too(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1, .scheduler = &baton_scheduler_probe});
	struct attached *active = f->pool->attached[0], *shadow = fake_attach(f, &baton_scheduler_probe);

	alarm_at(f, shadow, f->now_ns + 10 * MS);
	alarm_at(f, active, f->now_ns + 20 * MS);
	fake_pass(f, 10 * MS);
	fake_tick(f);
	assert_int_equal(fake_heard(shadow)->ticks, 1);
	assert_int_equal(fake_heard(active)->ticks, 0);
	fake_pass(f, 10 * MS);
	fake_tick(f);
	assert_int_equal(fake_heard(shadow)->ticks, 1);
	assert_int_equal(fake_heard(active)->ticks, 1);
	fake_check(f);
	fake_free(f);
}

static void an_alarm_that_a_tick_asks_for_comes(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1, .scheduler = &baton_scheduler_probe});
	struct attached *a = f->pool->attached[0];

	fake_set(f, a, PROBE_REARM_NS, (int64_t)MS);
	alarm_at(f, a, f->now_ns);
	for (unsigned i = 0; i < 10; i++) {
		fake_tick(f);
		fake_pass(f, MS);
	}
	assert_int_equal(fake_heard(a)->ticks, 10);
	fake_free(f);
}

/* A run loop serves what is due and looks again: a scheduler that always asks for "now" must let it come to an end. */
static void ticks_that_ask_for_the_next_at_once_do_not_keep_a_loop_busy(void **unused)
{
	static const int64_t again_ns[] = {1, 100, 9999};

	for (unsigned i = 0; i < ARRAY_SIZE(again_ns); i++) {
		struct fake *f = fake_new(&(struct fake_config){.pcpus = 1, .scheduler = &baton_scheduler_probe});
		struct attached *a = f->pool->attached[0];
		uint64_t served, began = f->now_ns, last_ns = 50 * MS;
		unsigned at_once = 0;

		fake_set(f, a, PROBE_REARM_NS, again_ns[i]);
		alarm_at(f, a, f->now_ns);
		while (alarm_for(f, 0) <= f->now_ns + (uint64_t)again_ns[i] && at_once < 10000) {
			f->now_ns = MAX(f->now_ns, alarm_for(f, 0));
			fake_tick(f);
			at_once++;
		}
		assert_in_range(at_once, ATTACHED_TICK_BURST, 100 * ATTACHED_TICK_BURST);
		while (f->now_ns < began + last_ns) { /* and it goes on, at the rate that is granted */
			assert_true(alarm_for(f, 0) > f->now_ns || a->alarms[0] <= f->now_ns);
			f->now_ns = MAX(f->now_ns + 1, alarm_for(f, 0));
			fake_tick(f);
		}
		served = fake_heard(a)->ticks;
		assert_in_range(served, last_ns / ATTACHED_TICK_NS / 2,
				(f->now_ns - began) / ATTACHED_TICK_NS + ATTACHED_TICK_BURST + 2);
		fake_free(f);
	}
}

/* Those who keep to the rate get each alarm at its time, close ones too. */
static void alarms_close_to_each_other_come_on_time(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1, .scheduler = &baton_scheduler_probe});
	struct attached *a = f->pool->attached[0];
	uint64_t start = f->now_ns + MS;

	for (unsigned i = 0; i < ATTACHED_TICK_BURST / 2; i++)
		alarm_at(f, a, start + i);
	for (unsigned i = 0; i < ATTACHED_TICK_BURST / 2; i++) {
		assert_int_equal(alarm_for(f, 0), start + i);
		f->now_ns = start + i;
		fake_tick(f);
		assert_int_equal(fake_heard(a)->ticks, i + 1);
	}
	fake_free(f);
}

static void an_earlier_alarm_kicks_the_loop_that_waits_for_it(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 2, .scheduler = &baton_scheduler_probe});
	struct attached *a = f->pool->attached[0];
	uint32_t loop;

	alarm_at(f, a, f->now_ns + 10 * MS);
	loop = f->pool->alarm_pcpu;
	assert_int_equal(alarm_for(f, loop), f->now_ns + 10 * MS);
	assert_true(alarm_for(f, 1 - loop) == TIME_NEVER);
	fake_forget_kicks(f);
	alarm_at(f, a, f->now_ns + 20 * MS);
	assert_int_equal(f->kicks_total, 0);
	alarm_at(f, a, f->now_ns + 5 * MS);
	assert_int_equal(f->kicks[loop], 1);
	assert_int_equal(alarm_for(f, loop), f->now_ns + 5 * MS);
	fake_free(f);
}

static void alarms_beyond_the_limit_are_counted(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1, .scheduler = &baton_scheduler_probe});
	struct attached *a = f->pool->attached[0];
	uint32_t room = ATTACHED_ALARMS_MAX + 2 * f->pool->vcpu_slots;

	for (unsigned i = 0; i < room + 7; i++)
		alarm_at(f, a, f->now_ns + (1 + i) * MS);
	assert_int_equal(a->lost_alarms, 7);
	assert_int_equal(a->alarm_count, room);
	fake_pass(f, room * MS);
	fake_tick(f);
	assert_int_equal(a->alarm_count, 0);
	fake_free(f);
}

/* ---- members ---- */

static void a_full_pool_says_so(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.vms = 2, .vcpus = 3});
	struct baton_vm wishes = {0};
	struct error e = {0};
	uint32_t vm = fake_vm(f, 0), v = BATON_NONE;
	uint64_t now;

	fake_vm(f, 0);
	for (unsigned i = 0; i < 3; i++)
		fake_vcpu(f, vm);
	now = pool_enter(f->pool);
	assert_int_equal(pool_vm_add(f->pool, &wishes, &v), -ENOSPC);
	assert_int_equal(pool_vcpu_add(f->pool, vm, 3, NULL, NULL, now, &v, &e), -ENOSPC);
	pool_leave(f->pool);
	assert_int_equal(v, BATON_NONE); /* untouched */
	assert_non_null(strstr(e.text, "full"));
	fake_check(f);
	fake_remove(f, 1);
	assert_int_equal(fake_vcpu(f, vm), 1); /* its slot is used again */
	fake_check(f);
	fake_free(f);
}

/* Either of the two that may refuse: the default (without the shadow's hearing of it) and the active one. */
static void a_refused_vcpu_leaves_nothing_behind(void **unused)
{
	for (unsigned who = 0; who < 2; who++) {
		struct fake *f = fake_new(&(struct fake_config){.scheduler = &baton_scheduler_probe});
		struct attached *both[] = {f->pool->attached[0], fake_attach(f, &baton_scheduler_probe)};
		struct attached *refuser = both[who], *other = both[1 - who];
		uint32_t vm = fake_vm(f, 0), v = BATON_NONE;
		struct error e = {0};
		uint64_t now;
		int r;

		fake_activate(f, both[1]);
		fake_vcpu(f, vm);
		fake_set(f, refuser, PROBE_REFUSE_ADMIT, 2);
		now = pool_enter(f->pool);
		r = pool_vcpu_add(f->pool, vm, 1, NULL, NULL, now, &v, &e);
		pool_leave(f->pool);
		assert_int_equal(r, -ENOSPC);
		assert_int_equal(v, BATON_NONE);
		assert_non_null(strstr(e.text, "probe"));
		assert_int_equal(fake_heard(other)->admits, 1 + who); /* who had agreed hears that it is off */
		assert_int_equal(fake_heard(other)->retires, who);
		assert_int_equal(fake_heard(refuser)->retires, 0);
		assert_false(refuser->withdrawn);
		fake_check(f); /* all tables say that the slot is free */
		assert_int_equal(fake_vcpu(f, vm), 1);
		fake_check(f);
		fake_free(f);
	}
}

/* A shadow's opinion keeps nobody out: it goes itself. */
static void a_shadow_that_refuses_a_vcpu_is_withdrawn(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.scheduler = &baton_scheduler_probe});
	struct attached *shadow = fake_attach(f, &baton_scheduler_probe);
	const struct probe_pool *h = fake_heard(shadow);
	struct probe_pool before;
	uint32_t vm = fake_vm(f, 0), first = fake_ready(f, vm), second;
	uint64_t now;

	fake_set(f, shadow, PROBE_ALARM_AT, (int64_t)f->now_ns + 5);
	fake_set(f, shadow, PROBE_SAYS, SAYS_WHY);
	fake_set(f, shadow, PROBE_REFUSE_ADMIT, 2);
	second = fake_ready(f, vm);
	assert_true(shadow->withdrawn);
	assert_string_equal(shadow->reason, PROBE_WHY);
	before = *h;
	fake_pass(f, MS);
	fake_tick(f);
	assert_true(fake_ask(f, 0) == first && fake_ask(f, 1) == second);
	now = pool_enter(f->pool);
	pool_console_give(f->pool, vm, now);
	(void)pool_vm_changed(f->pool, vm, "weight", now, NULL);
	pool_leave(f->pool);
	fake_stop(f, 0, BATON_STOP_BLOCKED);
	fake_wake(f, first);
	fake_ready(f, fake_vm(f, 0));
	assert_memory_equal(&before, h, sizeof before); /* it hears nothing of all that */
	fake_check(f);
	now = pool_enter(f->pool);
	pool_detach(f->pool, shadow, now);
	pool_leave(f->pool);
	attached_free(shadow);
	fake_check(f);
	fake_free(f);
}

/* What a user reads when the default scheduler refuses a vCPU; text is printable whatever the policy has left. */
static void a_refusal_carries_the_policys_own_words(void **unused)
{
	static const struct {
		enum probe_reason says;
		const char *text;
	} cases[] = {{SAYS_NOTHING, "No space left"},
		     {SAYS_WHY, PROBE_WHY},
		     {SAYS_ENDLESS, "xxxxxxxx"},
		     {SAYS_BELLS, "No space left"}};
	struct fake *f = fake_new(&(struct fake_config){.scheduler = &baton_scheduler_probe});
	struct attached *a = f->pool->attached[0];
	uint32_t vm = fake_vm(f, 0), v;
	struct error e;
	uint64_t now;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		fake_set(f, a, PROBE_SAYS, cases[i].says);
		fake_set(f, a, PROBE_REFUSE_ADMIT, i + 1);
		now = pool_enter(f->pool);
		assert_int_equal(pool_vcpu_add(f->pool, vm, 0, NULL, NULL, now, &v, &e), -ENOSPC);
		pool_leave(f->pool);
		assert_non_null(strstr(e.text, cases[i].text));
		assert_true(strlen(a->reason) < BATON_REASON_MAX && !strchr(e.text, '\a'));
	}
	fake_set(f, a, PROBE_SAYS, SAYS_WHY);
	now = pool_enter(f->pool);
	assert_int_equal(attached_set(a, BATON_NONE, "even", 3, now, &e), -EINVAL);
	assert_non_null(strstr(e.text, "even = 3: " PROBE_WHY));
	pool_leave(f->pool);
	fake_free(f);
}

static void without_a_weight_a_vm_has_the_usual_one(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){0});

	assert_int_equal(f->pool->vms[fake_vm(f, 0)].weight, POOL_WEIGHT_DEFAULT);
	assert_int_equal(f->pool->vms[fake_vm(f, 77)].weight, 77);
	fake_check(f);
	fake_free(f);
}

static void a_vms_wish_is_told_to_every_scheduler(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.scheduler = &baton_scheduler_probe});
	struct attached *first = f->pool->attached[0], *shadow = fake_attach(f, &baton_scheduler_probe);
	uint32_t vm = fake_vm(f, 100);
	uint64_t now = pool_enter(f->pool);

	f->pool->vms[vm].weight = 300;
	(void)pool_vm_changed(f->pool, vm, "weight", now, NULL);
	f->pool->vms[vm].cap_percent =
	    50; /* a wish that probe does not know as a parameter is in its tables all the same */
	(void)pool_vm_changed(f->pool, vm, "cap_percent", now, NULL);
	pool_leave(f->pool);
	assert_int_equal(baton_vm(shadow->region, vm)->weight, 300);
	assert_int_equal(fake_heard(first)->sets, 1);
	assert_int_equal(fake_heard(shadow)->sets, 1);
	assert_int_equal(fake_heard(shadow)->set_vm, vm);
	assert_int_equal(fake_heard(shadow)->set_scope, BATON_SCOPE_VM);
	fake_check(f);
	fake_free(f);
}

static void the_console_belongs_to_one_vm_or_nobody_and_all_hear_of_it(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.scheduler = &baton_scheduler_probe});
	struct attached *first = f->pool->attached[0], *shadow = fake_attach(f, &baton_scheduler_probe);
	uint32_t vm = fake_vm(f, 0);
	uint64_t now = pool_enter(f->pool);

	pool_console_give(f->pool, vm, now);
	pool_console_give(f->pool, vm, now); /* nothing new */
	pool_leave(f->pool);
	assert_int_equal(fake_heard(first)->boosts, 1);
	assert_int_equal(fake_heard(shadow)->boosted, vm + 1);
	fake_remove_vm(f, vm);
	assert_int_equal(f->pool->console_owner, BATON_NONE);
	assert_int_equal(fake_heard(first)->boosts, 2);
	assert_int_equal(fake_heard(first)->boosted, 0);
	fake_check(f);
	fake_free(f);
}

static void hints_are_told_of_known_vcpus(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.scheduler = &baton_scheduler_probe});
	struct attached *shadow = fake_attach(f, &baton_scheduler_probe);
	uint32_t vm = fake_vm(f, 0), a = fake_vcpu(f, vm), b = fake_vcpu(f, vm);
	uint64_t now = pool_enter(f->pool);

	pool_spin(f->pool, a, now);
	pool_ipi(f->pool, a, b, now);
	pool_interrupt(f->pool, b, now);
	pool_leave(f->pool);
	for (unsigned i = 0; i < 2; i++) {
		const struct probe_pool *h = fake_heard(i == 0 ? f->pool->attached[0] : shadow);

		assert_true(h->spins == 1 && h->ipis == 1 && h->interrupts == 1);
	}
	fake_free(f);
}

static void a_vms_parameter_cannot_be_set_without_a_vm(void **unused)
{
	static const uint32_t none[] = {BATON_NONE, 8, 9};
	struct fake *f = fake_new(&(struct fake_config){.vms = 8, .scheduler = &baton_scheduler_probe});
	uint32_t vm = fake_vm(f, 300);
	struct error e = {0};
	uint64_t now = pool_enter(f->pool);

	for (unsigned i = 0; i < ARRAY_SIZE(none); i++)
		assert_int_equal(attached_set(f->pool->attached[0], none[i], "weight", 5, now, &e), -EINVAL);
	assert_non_null(strstr(e.text, "VM"));
	assert_int_equal(fake_heard(f->pool->attached[0])->sets, 0);
	assert_int_equal(attached_set(f->pool->attached[0], vm, "weight", 5, now, &e), 0);
	pool_leave(f->pool);
	fake_check(f);
	fake_free(f);
}

/* How often detach of `parting` was called; a policy cannot tell after its end. */
static unsigned detached;

static int32_t parting_attach(struct baton_region *r, uint64_t now)
{
	return r->vm_slots == 1 ? -EINVAL : 0;
}

static void parting_detach(struct baton_region *r, uint64_t now)
{
	detached++;
}

static struct baton_choice parting_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	return (struct baton_choice){.vcpu = BATON_NONE};
}

static void detach_is_the_last_call_to_who_was_attached(void **unused)
{
	static const struct baton_scheduler parting = {
	    .name = "parting", .attach = parting_attach, .detach = parting_detach, .choose = parting_choose};

	for (uint32_t vms = 1; vms <= 2; vms++) { /* with one it refuses to be attached */
		struct fake *f = fake_new(&(struct fake_config){.vms = vms});
		struct attached *a;
		struct error e = {0};
		uint64_t now;

		detached = 0;
		assert_int_equal(attached_new(f->pool, &parting, NULL, &a, &e), 0);
		now = pool_enter(f->pool);
		assert_int_equal(pool_attach(f->pool, a), 0);
		assert_int_equal(attached_attach(a, now), vms == 1 ? -EINVAL : 0);
		pool_detach(f->pool, a, now);
		pool_leave(f->pool);
		attached_free(a);
		assert_int_equal(detached, vms == 1 ? 0 : 1);
		fake_free(f);
	}
}

/* ---- making a pool ---- */

static uint64_t standing_clock(struct sched_host *h)
{
	return 1;
}

static void a_pool_of_senseless_size_is_refused(void **unused)
{
	struct sched_host_ops ops = {.now = standing_clock};
	struct sched_host host = {.ops = &ops};
	const struct pool_config good = {
	    .host = &host, .pcpus = 1, .vm_slots = 1, .vcpu_slots = 1, .default_scheduler = &baton_scheduler_rr};
	struct pool_config c;
	struct pool *p = NULL;
	struct error e = {0};

	c = good;
	c.pcpus = 0;
	assert_int_equal(pool_new(&c, &p, &e), -EINVAL);
	c = good;
	c.pcpus = BATON_PCPUS_MAX + 1;
	assert_int_equal(pool_new(&c, &p, &e), -EINVAL);
	c = good;
	c.vm_slots = 0;
	assert_int_equal(pool_new(&c, &p, &e), -EINVAL);
	c = good;
	c.vcpu_slots = 0;
	assert_int_equal(pool_new(&c, &p, &e), -EINVAL);
	assert_null(p);
	assert_true(e.text[0] != '\0');
	assert_int_equal(pool_new(&good, &p, &e), 0);
	pool_free(p);
	pool_free(NULL);
}

static void a_region_that_would_be_too_large_is_refused(void **unused)
{
	struct sched_host_ops ops = {.now = standing_clock};
	struct sched_host host = {.ops = &ops};
	struct baton_scheduler large = baton_scheduler_probe;
	struct pool_config c = {
	    .host = &host, .pcpus = 1, .vm_slots = 1, .vcpu_slots = 300000, .default_scheduler = &large};
	struct pool *p = NULL;
	struct error e = {0};

	large.vcpu_state_size = 4096;
	assert_int_equal(pool_new(&c, &p, &e), -E2BIG);
	assert_non_null(strstr(e.text, "1 GiB"));
	assert_null(p);
}

static void the_table_of_attached_schedulers_has_an_end(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.scheduler = &baton_scheduler_probe});
	struct attached *a[POOL_ATTACHED_MAX], *more;
	struct error e = {0};
	uint64_t now;

	for (uint32_t i = 1; i < POOL_ATTACHED_MAX; i++)
		a[i] = fake_attach(f, &baton_scheduler_probe);
	assert_int_equal(attached_new(f->pool, &baton_scheduler_probe, NULL, &more, &e), 0);
	now = pool_enter(f->pool);
	assert_int_equal(pool_attach(f->pool, more), -ENOSPC);
	pool_detach(f->pool, a[3], now);
	assert_int_equal(pool_attach(f->pool, more), 0);
	assert_int_equal(more->id, 3);
	assert_int_equal(attached_attach(more, now), 0);
	pool_leave(f->pool);
	attached_free(a[3]);
	fake_check(f);
	fake_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_order_of_events_ends_in_the_state_that_the_drawing_says),
	    cmocka_unit_test(a_vcpus_time_is_split_into_run_wait_and_blocked),
	    cmocka_unit_test(a_pcpus_time_is_split_into_busy_idle_and_other),
	    cmocka_unit_test(a_clock_that_goes_back_is_not_followed),
	    cmocka_unit_test(migrations_are_counted_from_the_second_place_on),
	    cmocka_unit_test(a_wake_up_while_paused_is_remembered_until_the_resume),
	    cmocka_unit_test(a_paused_vcpu_that_was_to_run_on_goes_on_after_the_resume),
	    cmocka_unit_test(a_pause_that_is_taken_back_before_it_took_effect_changes_nothing),
	    cmocka_unit_test(a_woken_vcpu_is_offered_to_an_idle_pcpu),
	    cmocka_unit_test(two_woken_vcpus_are_offered_to_two_idle_pcpus),
	    cmocka_unit_test(who_is_put_aside_is_offered_to_an_idle_pcpu_whatever_the_policy_says),
	    cmocka_unit_test(who_is_put_aside_is_not_offered_where_it_may_not_run),
	    cmocka_unit_test(kicks_are_collected_and_sent_once_when_the_lock_is_dropped),
	    cmocka_unit_test(who_is_asking_already_is_not_kicked),
	    cmocka_unit_test(only_the_active_policys_kicks_and_holds_have_effect),
	    cmocka_unit_test(slices_are_brought_into_the_range_of_the_pool),
	    cmocka_unit_test(a_waiting_vcpu_is_announced_again_when_its_affinity_changes),
	    cmocka_unit_test(a_vcpu_that_runs_where_it_no_longer_may_is_kicked),
	    cmocka_unit_test(a_vcpu_must_be_allowed_somewhere),
	    cmocka_unit_test(alarms_come_in_order_and_coinciding_ones_once),
	    cmocka_unit_test(alarms_that_fell_due_together_are_one_tick),
	    cmocka_unit_test(a_shadows_alarms_come_too),
	    cmocka_unit_test(an_alarm_that_a_tick_asks_for_comes),
	    cmocka_unit_test(ticks_that_ask_for_the_next_at_once_do_not_keep_a_loop_busy),
	    cmocka_unit_test(alarms_close_to_each_other_come_on_time),
	    cmocka_unit_test(an_earlier_alarm_kicks_the_loop_that_waits_for_it),
	    cmocka_unit_test(alarms_beyond_the_limit_are_counted),
	    cmocka_unit_test(a_full_pool_says_so),
	    cmocka_unit_test(a_refused_vcpu_leaves_nothing_behind),
	    cmocka_unit_test(a_shadow_that_refuses_a_vcpu_is_withdrawn),
	    cmocka_unit_test(a_refusal_carries_the_policys_own_words),
	    cmocka_unit_test(without_a_weight_a_vm_has_the_usual_one),
	    cmocka_unit_test(a_vms_wish_is_told_to_every_scheduler),
	    cmocka_unit_test(the_console_belongs_to_one_vm_or_nobody_and_all_hear_of_it),
	    cmocka_unit_test(hints_are_told_of_known_vcpus),
	    cmocka_unit_test(a_vms_parameter_cannot_be_set_without_a_vm),
	    cmocka_unit_test(detach_is_the_last_call_to_who_was_attached),
	    cmocka_unit_test(a_pool_of_senseless_size_is_refused),
	    cmocka_unit_test(a_region_that_would_be_too_large_is_refused),
	    cmocka_unit_test(the_table_of_attached_schedulers_has_an_end),
	};

	fake_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
