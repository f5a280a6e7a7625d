/* SPDX-License-Identifier: Apache-2.0 */
/* test_edf.c - what reservations promise: who is admitted meets every deadline, nobody takes more than its own, and the
 * slack is shared. */
#include "random_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS 200

enum { LIMIT_PERCENT, TAKE_SLACK };

static const struct behaviour computes = {0};

static uint64_t service(struct world *w, uint32_t v)
{
	return w->vcpus[v].service_ns + (w->vcpus[v].state == BATON_VCPU_RUNNING ? w->now - w->vcpus[v].since_ns : 0);
}

static uint32_t reserved_vm(struct world *w, uint64_t budget_ns, uint64_t period_ns)
{
	uint32_t vm = world_vm(w, 256, 0, 0, 0);

	w->vms[vm].budget_ns = budget_ns;
	w->vms[vm].period_ns = period_ns;
	world_vm_changed(w, vm);
	return vm;
}

/* ---- any world ---- */

static void no_slack(struct world *w, uint32_t i)
{
	world_set(w, i, TAKE_SLACK, 0);
}

static const struct subject sharing = {.ops = &baton_scheduler_edf, .first_parameter = -1},
			    hard = {.ops = &baton_scheduler_edf, .first_parameter = -1, .tune = no_slack};

static void turns(uint64_t seed)
{
	random_turns(seed % 2 ? &sharing : &hard, seed);
}

static void takes_over(uint64_t seed)
{
	random_takes_over(seed % 2 ? &sharing : &hard, seed);
}

static void relay(uint64_t seed)
{
	random_relay(seed % 2 ? &sharing : &hard, seed);
}

static void test_random_worlds(void **state)
{
	for_each_seed(turns);
}

static void test_history_of_the_same_policy(void **state)
{
	for_each_seed(takes_over);
}

static void test_relay_through_other_policies(void **state)
{
	for_each_seed(relay);
}

/* ---- deadlines ---- */

struct task {
	uint32_t vcpu;
	uint64_t period_ns, release_ns;
};

/* Its deadline is here: it must have finished. LATE: what others may exceed their budgets by, since no slice is shorter
 * than the shortest, once for each of them. */
static void check_finished(struct world *w, const struct task *t)
{
	uint64_t late = WORLD_VCPUS * w->slice_min_ns;

	if (w->vcpus[t->vcpu].state != BATON_VCPU_BLOCKED)
		world_run(w, w->now + late);
	require(w, w->vcpus[t->vcpu].state == BATON_VCPU_BLOCKED, "vCPU %u of period %llu us misses its deadline",
		t->vcpu, (unsigned long long)(t->period_ns / US));
}

/*
 * Random sets of periodic tasks that use their whole budgets, as many as are admitted, some bound to few pCPUs; beside
 * them others with reservations who never stop computing, and those without any. No task misses a deadline.
 */
static void deadlines(uint64_t seed)
{
	struct world *w = world_new(seed, 1 + (uint32_t)(seed % 6));
	struct task tasks[WORLD_VCPUS];
	uint32_t count = 0, hogs, largest = 1 + (uint32_t)world_random(w, 10);
	uint64_t jobs = 0, end;

	w->kick_delay_ns = 0;
	w->slice_min_ns = 1 * US;
	world_set(w, world_attach(w, &baton_scheduler_edf, 100), TAKE_SLACK, (int64_t)world_random(w, 2));
	for (int i = 0; i < 14; i++) {
		uint64_t period = 1 * MS + world_random(w, 30 * MS),
			 budget = 10 * US + world_random(w, period * largest / 10),
			 affinity = world_random(w, 4) == 0 ? world_random(w, UINT64_C(1) << w->pcpu_count) : 0;
		uint32_t vm = reserved_vm(w, budget < period ? budget : period, period), v;
		bool overruns = world_random(w, 4) == 0;
		struct behaviour once = {
		    .run_ns = w->vms[vm].budget_ns - 1, .then = BATON_STOP_BLOCKED, .block_ns = UINT64_MAX};

		if (world_try_vcpu(w, vm, overruns ? computes : once, affinity, &v) < 0) {
			w->vms[vm].used = 0;
			continue;
		}
		if (overruns)
			continue;
		w->vcpus[v].wake_ns = UINT64_MAX; /* when its time has come */
		tasks[count++] = (struct task){v, period, w->now + world_random(w, period)};
	}
	hogs = world_vm(w, 256, 0, 0, 0);
	for (uint32_t i = 0; i < w->pcpu_count; i++)
		world_vcpu(w, hogs, computes, 0);
	for (end = w->now + 400 * MS; w->now < end && count > 0;) {
		struct task *next = &tasks[0];

		for (uint32_t i = 1; i < count; i++)
			if (tasks[i].release_ns < next->release_ns)
				next = &tasks[i];
		world_run(w, next->release_ns);
		check_finished(w, next);
		world_wake(w, next->vcpu);
		jobs++;
		next->release_ns = w->now + next->period_ns + world_random(w, 2) * world_random(w, next->period_ns);
	}
	require(w, count == 0 || jobs > 10, "only %llu jobs", (unsigned long long)jobs);
	world_free(w);
}

static void test_no_deadline_is_missed(void **state)
{
	for_each_seed(deadlines);
}

/* ---- admission ---- */

static int32_t reserve(struct world *w, uint64_t budget_ns, uint64_t period_ns, uint64_t affinity)
{
	return world_try_vcpu(w, reserved_vm(w, budget_ns, period_ns), computes, affinity, NULL);
}

static void test_shared_bound(void **state)
{
	struct world *w = world_new(1, 4);

	/* 4 pCPUs and shares of 40 %: 4 - 3 * 0.4 = 2.8, so seven fit; the eighth would need one pCPU alone. */
	world_attach(w, &baton_scheduler_edf, 100);
	for (int i = 0; i < 7; i++)
		assert_int_equal(reserve(w, 4 * MS, 10 * MS, 0), 0);
	assert_int_equal(world_dumped(w, 0, BATON_NONE, "shared_ppm="), 2800000);
	assert_int_equal(world_dumped(w, 0, BATON_NONE, "shared_pcpus="), 4);
	assert_int_equal(reserve(w, 4 * MS, 10 * MS, 0), -28);
	assert_string_equal(w->reason, "it asks for 40.0 % of a pCPU; 280.0 % of at most 280.0 % are reserved on the 4 "
				       "shared pCPUs, and one pCPU alone has at most 0.0 % left");
	world_remove(w, 3);
	assert_int_equal(reserve(w, 4 * MS, 10 * MS, 0), 0);
	world_free(w);
}

static void test_limit_leaves_something(void **state)
{
	struct world *w = world_new(1, 1);
	uint32_t other;

	world_attach(w, &baton_scheduler_edf, -1);
	assert_int_equal(reserve(w, 6 * MS, 10 * MS, 0), 0);
	assert_int_equal(reserve(w, 4 * MS, 10 * MS, 0), -28);
	assert_string_equal(w->reason, "it asks for 40.0 % of a pCPU; 0.0 % of at most 0.0 % are reserved on the 0 "
				       "shared pCPUs, and one pCPU alone has at most 35.0 % left");
	assert_int_equal(reserve(w, 7 * MS, 20 * MS, 0), 0);
	other = world_vcpu(w, world_vm(w, 256, 0, 0, 0), computes, 0);
	world_set(w, 0, TAKE_SLACK, 0);
	world_run(w, w->now + 2 * S);
	assert_in_range(service(w, other), 98 * MS, 104 * MS); /* the 5 % that cannot be reserved */
	world_free(w);
}

static void test_bound_to_one_pcpu(void **state)
{
	struct world *w = world_new(1, 3);

	world_attach(w, &baton_scheduler_edf, 100);
	/* More than half a pCPU: one of its own. The rest of that is for those with affinities, then. */
	assert_int_equal(reserve(w, 9 * MS, 10 * MS, 0), 0);
	assert_int_equal(world_dumped(w, 0, BATON_NONE, "shared_pcpus="), 2);
	assert_int_equal(world_dumped(w, 0, 0, "pcpu="), 0);
	assert_int_equal(reserve(w, 2 * MS, 10 * MS, 1), -28);
	assert_string_equal(w->reason, "it asks for 20.0 % of a pCPU; one pCPU alone has at most 10.0 % left");
	assert_int_equal(reserve(w, 1 * MS, 10 * MS, 1), 0);
	/* Others share what is left of the three. */
	for (int i = 0; i < 5; i++)
		assert_int_equal(reserve(w, 3 * MS, 10 * MS, 0), 0);
	assert_int_equal(world_dumped(w, 0, BATON_NONE, "shared_ppm="), 1500000);
	assert_int_equal(reserve(w, 3 * MS, 10 * MS, 0), -28); /* 1.8 > 2 - 0.3 */
	/* A pCPU is shared again when those bound to it are gone. */
	world_remove(w, 0);
	assert_int_equal(world_dumped(w, 0, BATON_NONE, "shared_pcpus="), 2);
	world_remove(w, 1);
	assert_int_equal(world_dumped(w, 0, BATON_NONE, "shared_pcpus="), 3);
	assert_int_equal(reserve(w, 3 * MS, 10 * MS, 0), 0);
	world_free(w);
}

static void test_values_that_cannot_be_kept(void **state)
{
	struct world *w = world_new(1, 2);

	world_attach(w, &baton_scheduler_edf, -1);
	assert_int_equal(reserve(w, 11 * MS, 10 * MS, 0), -22);
	assert_string_equal(w->reason,
			    "a budget of 11000000 ns in a period of 10000000 ns cannot be kept: a budget is at "
			    "least 100000 ns and at most the period, which is at most 4 s");
	assert_int_equal(reserve(w, 99 * US, 10 * MS, 0), -22);
	assert_int_equal(reserve(w, 1 * S, 5 * S, 0), -22);
	assert_int_equal(reserve(w, 0, 5 * S, 0), 0); /* no reservation */
	world_free(w);
}

/* ---- changes while running ---- */

static void test_reservation_changes_while_running(void **state)
{
	struct world *w = world_new(1, 1);
	uint32_t vm, v, hog;
	uint64_t got;

	world_attach(w, &baton_scheduler_edf, 100);
	world_set(w, 0, TAKE_SLACK, 0);
	vm = reserved_vm(w, 2 * MS, 10 * MS);
	v = world_vcpu(w, vm, computes, 0);
	hog = world_vcpu(w, world_vm(w, 256, 0, 0, 0), computes, 0);
	world_run(w, w->now + 1 * S);
	assert_in_range(service(w, v), 200 * MS, 202 * MS);
	w->vms[vm].budget_ns = 5 * MS;
	world_vm_changed(w, vm);
	got = service(w, v);
	world_run(w, w->now + 1 * S);
	assert_in_range(service(w, v) - got, 499 * MS, 505 * MS);
	/* What cannot be kept is refused, and the old one stays in force. */
	w->vms[vm].budget_ns = 11 * MS;
	assert_int_equal(world_vm_changed(w, vm), -22);
	got = service(w, v);
	world_run(w, w->now + 1 * S);
	assert_in_range(service(w, v) - got, 499 * MS, 505 * MS);
	assert_int_equal(world_dumped(w, 0, BATON_NONE, "reserved_ppm="), 500000);
	/* None at all: half of the slack, like the other. */
	w->vms[vm].budget_ns = 0;
	world_vm_changed(w, vm);
	got = service(w, v);
	world_run(w, w->now + 1 * S);
	assert_in_range(service(w, v) - got, 490 * MS, 510 * MS);
	assert_int_equal(world_dumped(w, 0, BATON_NONE, "reserved_ppm="), 0);
	assert_true(service(w, hog) > 0);
	world_free(w);
}

/* All vCPUs of a VM get a new reservation, or none does. */
static void test_a_vm_changes_as_a_whole(void **state)
{
	struct world *w = world_new(1, 2);
	uint32_t vm;

	world_attach(w, &baton_scheduler_edf, 100);
	vm = reserved_vm(w, 4 * MS, 10 * MS);
	for (int i = 0; i < 3; i++)
		world_vcpu(w, vm, computes, 0);
	assert_int_equal(world_dumped(w, 0, BATON_NONE, "shared_ppm="), 1200000);
	for (uint64_t ms = 6; ms < 10; ms++) { /* two might have it, three not */
		w->vms[vm].budget_ns = ms * MS;
		assert_int_equal(world_vm_changed(w, vm), -28);
		assert_int_equal(world_dumped(w, 0, BATON_NONE, "reserved_ppm="), 1200000);
		for (uint32_t v = 0; v < 3; v++)
			assert_int_equal(world_dumped(w, 0, v, "ppm="), 400000);
	}
	world_run(w, w->now + 100 * MS);
	for (uint32_t v = 0; v < 3; v++)
		assert_true(service(w, v) >= 40 * MS);
	world_free(w);
}

/* ---- isolation and slack ---- */

/* Who never stops computing gets its budget in each period, within what cannot be cut off, and no more if slack is 0. */
static void overrunners(uint64_t seed)
{
	struct world *w = world_new(seed, 1 + (uint32_t)(seed % 4));
	uint64_t period[6], budget[6], from[6];
	uint32_t n = 0;
	bool slack = seed % 3 == 0;

	world_set(w, world_attach(w, &baton_scheduler_edf, -1), TAKE_SLACK, slack);
	for (int i = 0; i < 6; i++) {
		uint64_t t = 5 * MS + world_random(w, 20 * MS), q = 200 * US + world_random(w, t / 2);

		if (reserve(w, q, t, 0) < 0) {
			w->vms[n].used = 0;
			continue;
		}
		period[n] = t;
		budget[n++] = q;
	}
	for (uint32_t i = 0; i < w->pcpu_count; i++)
		world_vcpu(w, world_vm(w, 256, 0, 0, 0), computes, 0);
	for (int round = 0; round < 5; round++) {
		uint64_t began;

		world_run(w, w->now + world_random(w, 20 * MS));
		began = w->now;
		for (uint32_t v = 0; v < n; v++)
			from[v] = service(w, v);
		world_run(w, w->now + 200 * MS + world_random(w, 50 * MS));
		for (uint32_t v = 0; v < n; v++) {
			uint64_t got = service(w, v) - from[v], whole = (w->now - began) / period[v];

			/* An interval cuts two periods at its ends; and each replenishment may come late by a kick. */
			require(w, got + 2 * w->slice_min_ns >= (whole - 1) * (budget[v] - w->kick_delay_ns),
				"vCPU %u got %llu us in %llu periods of %llu us", v, (unsigned long long)(got / US),
				(unsigned long long)whole, (unsigned long long)(budget[v] / US));
			require(w, slack || got <= (whole + 2) * budget[v] + w->slice_min_ns,
				"vCPU %u got %llu us in %llu periods of %llu us", v, (unsigned long long)(got / US),
				(unsigned long long)whole, (unsigned long long)(budget[v] / US));
		}
	}
	world_free(w);
}

static void test_nobody_takes_more_than_its_own(void **state)
{
	for_each_seed(overrunners);
}

static void test_slack_follows_weights(void **state)
{
	struct world *w = world_new(1, 2);
	uint64_t slack = 0;

	world_attach(w, &baton_scheduler_edf, -1);
	reserve(w, 5 * MS, 10 * MS, 0);
	world_set(w, 0, TAKE_SLACK, 0);
	for (uint32_t i = 0; i < 4; i++) /* weights 1 : 1 : 2 : 2 of 1.5 pCPUs */
		world_vcpu(w, world_vm(w, 256u << (i / 2), 0, 0, 0), computes, 0);
	world_run(w, w->now + 6 * S);
	for (uint32_t v = 1; v < 5; v++)
		slack += service(w, v);
	assert_in_range(slack, 8990 * MS, 9010 * MS);
	for (uint32_t v = 1; v < 5; v++)
		assert_in_range(service(w, v), (v < 3 ? 1500 : 3000) * MS - 60 * MS,
				(v < 3 ? 1500 : 3000) * MS + 60 * MS);
	world_free(w);
}

/* With budget, a woken vCPU runs at once, whoever computes in the slack. */
static void test_budget_comes_before_slack(void **state)
{
	struct world *w = world_new(1, 2);
	struct behaviour sleeps = {.run_ns = 1 * MS, .then = BATON_STOP_BLOCKED, .block_ns = 9 * MS, .vary = true};
	uint32_t v;

	world_attach(w, &baton_scheduler_edf, -1);
	v = world_vcpu(w, reserved_vm(w, 3 * MS, 10 * MS), sleeps, 0);
	for (int i = 0; i < 6; i++)
		world_vcpu(w, world_vm(w, 256, 0, 0, 0), computes, 0);
	for (int i = 0; i < 5000; i++) {
		world_step(w);
		require(w, w->vcpus[v].last_latency_ns <= w->kick_delay_ns, "waited %llu ns",
			(unsigned long long)w->vcpus[v].last_latency_ns);
	}
	assert_true(w->vcpus[v].wakes > 100);
	world_free(w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_shared_bound),
	    cmocka_unit_test(test_limit_leaves_something),
	    cmocka_unit_test(test_bound_to_one_pcpu),
	    cmocka_unit_test(test_values_that_cannot_be_kept),
	    cmocka_unit_test(test_reservation_changes_while_running),
	    cmocka_unit_test(test_a_vm_changes_as_a_whole),
	    cmocka_unit_test(test_no_deadline_is_missed),
	    cmocka_unit_test(test_nobody_takes_more_than_its_own),
	    cmocka_unit_test(test_slack_follows_weights),
	    cmocka_unit_test(test_budget_comes_before_slack),
	    cmocka_unit_test(test_random_worlds),
	    cmocka_unit_test(test_history_of_the_same_policy),
	    cmocka_unit_test(test_relay_through_other_policies),
	};

	random_seeds(argc, argv, SEEDS);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
