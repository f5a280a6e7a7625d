/* SPDX-License-Identifier: Apache-2.0 */
/* test_bvt.c - what BVT promises: shares, latency, exact charging, warps within their limits. */
#include "harness.h"
#include "random_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEEDS 200
#define K     16

static uint64_t service(struct world *w, uint32_t v)
{
	return w->vcpus[v].service_ns + (w->vcpus[v].state == BATON_VCPU_RUNNING ? w->now - w->vcpus[v].since_ns : 0);
}

/* ---- shares ---- */

/* On one pCPU, those who compute all the time are never further apart, in service divided by weight, than one allowance
 * of the lightest; and the weights may change meanwhile. */
static void proportional(uint64_t seed)
{
	struct world *w = world_new(seed, 1);
	uint64_t allowance = 500 * US + world_random(w, 10 * MS), from[8];
	uint32_t n = 2 + (uint32_t)world_random(w, 7), weight[8], lightest;

	world_attach(w, &baton_scheduler_bvt, (int64_t)(allowance / US));
	for (uint32_t v = 0; v < n; v++)
		world_vcpu(w, world_vm(w, 1, 0, 0, 0), (struct behaviour){0}, 0);
	world_run(w, w->now);
	for (int round = 0; round < 3; round++) {
		int64_t before[8];

		lightest = UINT32_MAX;
		for (uint32_t v = 0; v < n; v++) {
			before[v] = world_dumped(w, 0, v, "A-svt=");
			weight[v] = 64 + (uint32_t)world_random(w, 1500);
			lightest = weight[v] < lightest ? weight[v] : lightest;
			w->vms[v].weight = weight[v];
			world_vm_changed(w, v);
		}
		for (uint32_t v = 0; v < n; v++)
			require(w, world_dumped(w, 0, v, "A-svt=") == before[v], "A of %u jumps with the weight", v);
		world_run(w, w->now + 2500 * MS); /* what was ahead at the old weights is worked off */
		for (uint32_t v = 0; v < n; v++)
			from[v] = service(w, v);
		for (int i = 0; i < 30; i++) {
			double least = 1e300, most = -1e300;

			if (world_random(w, 2))
				world_kick(w, 0);
			world_run(w, w->now + world_random(w, 20 * MS));
			for (uint32_t v = 0; v < n; v++) {
				double share = (double)(service(w, v) - from[v]) / weight[v];

				least = share < least ? share : least;
				most = share > most ? share : most;
			}
			/* Each is at most C ahead of the least at both ends of the interval. */
			require(w, (most - least) * lightest <= 2.0 * (double)(allowance + 2 * w->slice_min_ns),
				"apart by %.0f ns of the lightest, allowance %llu", (most - least) * lightest,
				(unsigned long long)allowance);
		}
	}
	world_free(w);
}

static void test_shares_follow_weights(void **state)
{
	for_each_seed(proportional);
}

/* Several pCPUs with feasible weights: shares in proportion too, within what the other pCPUs' allowances add. */
static void test_shares_on_several_pcpus(void **state)
{
	struct world *w = world_new(3, 3);
	const uint32_t weight[] = {256, 256, 512, 512, 128, 1024, 256, 768};
	double least = 1e300, most = 0;

	world_attach(w, &baton_scheduler_bvt, 1000);
	for (uint32_t v = 0; v < 8; v++)
		world_vcpu(w, world_vm(w, weight[v], 0, 0, 0), (struct behaviour){0}, 0);
	world_run(w, w->now + 20 * S);
	for (uint32_t v = 0; v < 8; v++) {
		double share = (double)service(w, v) / weight[v];

		least = share < least ? share : least;
		most = share > most ? share : most;
	}
	require(w, most <= least * 1.02, "%f and %f", least, most);
	world_free(w);
}

/* ---- exact charging: events by hand, no world's clock ---- */

static void run_for(struct world *w, uint32_t v, uint64_t ns)
{
	struct baton_region *r = w->instances[0]->region;
	const struct baton_scheduler *ops = &baton_scheduler_bvt;

	baton_vcpu(r, v)->state = BATON_VCPU_RUNNING;
	baton_vcpu(r, v)->pcpu = 0;
	ops->start(r, v, 0, w->now);
	w->now += ns;
	baton_vcpu(r, v)->state = BATON_VCPU_RUNNABLE;
	ops->stop(r, v, 0, ns, BATON_STOP_SLICE, w->now);
}

static void test_charging_loses_nothing(void **state)
{
	static const uint32_t weights[] = {1, 3, 7, 255, 256, 257, 1000, 65535, 65536};

	for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
		struct world *w = world_new(i, 1);
		uint32_t vm, small, large;
		uint64_t total = 0;

		w->slice_max_ns = 1 * S;
		world_attach(w, &baton_scheduler_bvt, 1000);
		vm = world_vm(w, weights[i], 0, 0, 0);
		small = world_vcpu(w, vm, (struct behaviour){0}, 0);
		large = world_vcpu(w, vm, (struct behaviour){0}, 0);
		world_wake(w, small);
		world_wake(w, large);
		world_by_hand(w, 0);
		for (int n = 0; n < 200000; n++) {
			uint64_t ns = world_random(w, 1000);

			total += ns;
			run_for(w, small, ns);
		}
		run_for(w, large, total);
		require(w, world_dumped(w, 0, small, "A-svt=") == 0 && world_dumped(w, 0, large, "A-svt=") == 0,
			"200,000 short runs and a long one of the same length are charged differently");
		/* 10 years at the highest rate: still in order, still counting. */
		for (int day = 0; day < 3650; day++)
			run_for(w, large, 86400 * S);
		require(w,
			world_dumped(w, 0, large, "A-svt=") ==
			    (int64_t)((3650 * 86400 * S + total) / weights[i] * K +
				      ((3650 * 86400 * S + total) % weights[i]) * K / weights[i] -
				      (total / weights[i] * K + total % weights[i] * K / weights[i])),
			"ten years are charged wrongly");
		require(w, world_choose(w, 0, 0).vcpu == small, "who has not run for ten years is next");
		world_by_hand(w, BATON_NONE);
		world_free(w);
	}
}

/* ---- latency: the bound of the paper ---- */

/*
 * After a wake-up at A <= SVT, vCPU i runs after at most the sum over all others j of max(C + (W_j - W_i) * w_j, 0),
 * with W * w from virtual to real time. Added: what a kick and an alarm may be late, per vCPU. The bound is that of one
 * pCPU; several, some of which it may not use, must not be worse.
 */
static void latency(uint64_t seed)
{
	struct world *w = world_new(seed, 1 + (uint32_t)(seed % 4));
	uint64_t allowance = 200 * US + world_random(w, 5 * MS), checked = 0;
	uint32_t n = 3 + (uint32_t)world_random(w, 8);

	world_attach(w, &baton_scheduler_bvt, (int64_t)(allowance / US));
	for (uint32_t v = 0; v < n; v++) {
		bool sleeper = v == 0 || world_random(w, 2) == 0;
		uint64_t warp = sleeper ? world_random(w, 2) * world_random(w, 30 * MS) : 0;

		world_vm(w, 64u << world_random(w, 4), warp, 0, 0);
		world_vcpu(
		    w, v,
		    sleeper ? (struct behaviour){.run_ns = 50 * US + world_random(w, 300 * US),
						 .then = BATON_STOP_BLOCKED,
						 .block_ns = v == 0 ? UINT64_MAX : 20 * MS + world_random(w, 30 * MS),
						 .vary = true}
			    : (struct behaviour){0},
		    v == 0 ? world_random(w, UINT64_C(1) << w->pcpu_count) : 0);
	}
	world_run(w, w->now + 200 * MS);
	for (int i = 0; i < 60; i++) {
		struct vcpu *s = &w->vcpus[0];
		uint64_t starts, bound = 0;

		while (s->state != BATON_VCPU_BLOCKED)
			world_step(w);
		world_run(w, w->now + 20 * MS + world_random(w, 30 * MS));
		starts = s->starts;
		world_wake(w, 0);
		if (world_dumped(w, 0, 0, "A-svt=") > 0)
			continue; /* it slept too little to be level with the others: the bound is another one */
		for (uint32_t v = 1; v < n; v++) {
			double c = (double)allowance +
				   ((double)w->vms[v].warp_ns - (double)w->vms[0].warp_ns) * w->vms[v].weight / 256;

			bound += (c > 0 ? (uint64_t)c : 0) + w->slice_min_ns + 2 * w->kick_delay_ns;
		}
		while (s->starts == starts)
			world_step(w);
		require(w, s->last_latency_ns <= bound, "waited %llu us, bound %llu us",
			(unsigned long long)(s->last_latency_ns / US), (unsigned long long)(bound / US));
		checked++;
	}
	require(w, checked > 10, "only %llu wake-ups were of use", (unsigned long long)checked);
	world_free(w);
}

static void test_wake_latency_bound(void **state)
{
	for_each_seed(latency);
}

/* ---- warp ---- */

/* Who computes after its wake-up is warped for L of running, and is then only as good as the others. */
static void test_warp_ends_at_its_limit(void **state)
{
	struct world *w = world_new(1, 1);
	struct behaviour sleeps = {.run_ns = 50 * MS, .then = BATON_STOP_BLOCKED, .block_ns = UINT64_MAX};
	uint32_t warper, other;
	uint64_t start, got, starts;

	w->kick_delay_ns = 0;
	world_attach(w, &baton_scheduler_bvt, 1000);
	warper = world_vcpu(w, world_vm(w, 256, 1 * S, 4 * MS, 100 * MS), sleeps, 0);
	other = world_vcpu(w, world_vm(w, 256, 0, 0, 0), (struct behaviour){0}, 0);
	while (w->vcpus[warper].state != BATON_VCPU_BLOCKED)
		world_step(w);
	world_run(w, w->now + 500 * MS);
	got = service(w, warper);
	start = w->now;
	starts = w->vcpus[warper].starts;
	world_wake(w, warper);
	while (w->vcpus[warper].starts == starts || w->vcpus[warper].state == BATON_VCPU_RUNNING)
		world_step(w);
	/* It went first at once, and made room when L was used up (its A is more than C ahead by then). */
	assert_int_equal(w->now - start, 4 * MS);
	assert_int_equal(service(w, warper) - got, 4 * MS);
	assert_int_equal(world_dumped(w, 0, warper, "W="), 0);
	/* Within U there is no second warp, even after a nap. */
	while (w->vcpus[warper].state != BATON_VCPU_BLOCKED)
		world_step(w);
	assert_true(w->now - start < 104 * MS + 50 * MS);
	w->vms[0].unwarp_ns = 10 * S;
	world_vm_changed(w, 0);
	world_run(w, w->now + 20 * MS);
	world_wake(w, warper);
	assert_int_equal(world_dumped(w, 0, warper, "W="), 0);
	/* After U there is. */
	while (w->vcpus[warper].state != BATON_VCPU_BLOCKED)
		world_step(w);
	world_run(w, w->now + 11 * S);
	world_wake(w, warper);
	assert_int_equal(world_dumped(w, 0, warper, "W="), (int64_t)(1 * S / 16));
	assert_true(w->vcpus[other].starts > 0);
	/* And the operator may end it. */
	w->vms[0].warp_ns = 0;
	world_vm_changed(w, 0);
	assert_int_equal(world_dumped(w, 0, warper, "W="), 0);
	world_free(w);
}

/* Naps shorter than U do not refill L: who sleeps for a moment now and then gets no more than L of warped running. */
static void test_naps_do_not_refill_the_warp(void **state)
{
	struct world *w = world_new(1, 1);
	struct behaviour naps = {.run_ns = 1 * MS, .then = BATON_STOP_BLOCKED, .block_ns = 10 * US};
	uint32_t napper, other;

	world_attach(w, &baton_scheduler_bvt, 1000);
	napper = world_vcpu(w, world_vm(w, 256, 10 * S, 5 * MS, 1000 * S), naps, 0);
	other = world_vcpu(w, world_vm(w, 256, 0, 0, 0), (struct behaviour){0}, 0);
	world_run(w, w->now + 1 * S);
	/* Of 1 s it gets its half, besides L; with W of 10 s it would have had all. */
	require(w, service(w, napper) < 520 * MS && service(w, other) > 470 * MS, "%llu and %llu us",
		(unsigned long long)(service(w, napper) / US), (unsigned long long)(service(w, other) / US));
	world_free(w);
}

/* ---- yield ---- */

static void test_yield_lets_the_next_go_first(void **state)
{
	struct world *w = world_new(1, 1);
	struct behaviour yields = {.run_ns = 100 * US, .then = BATON_STOP_YIELDED};
	uint32_t heavy, light;

	/* By weight alone heavy would run ten times before light has its turn. */
	world_attach(w, &baton_scheduler_bvt, 1000);
	heavy = world_vcpu(w, world_vm(w, 2560, 0, 0, 0), yields, 0);
	light = world_vcpu(w, world_vm(w, 256, 0, 0, 0), yields, 0);
	world_run(w, w->now + 1 * S);
	assert_true(w->vcpus[heavy].starts > 4000 && w->vcpus[light].starts > 4000);
	assert_true(llabs((long long)w->vcpus[heavy].starts - (long long)w->vcpus[light].starts) <= 1);
	world_free(w);
}

/* ---- the allowance, and moving ---- */

static void test_disturbance_does_not_end_the_allowance(void **state)
{
	struct world *w = world_new(1, 1);
	uint32_t vm = world_vm(w, 256, 0, 0, 0), runs, newcomer;

	w->kick_delay_ns = 0;
	world_attach(w, &baton_scheduler_bvt, 5000);
	world_vcpu(w, vm, (struct behaviour){0}, 0);
	world_vcpu(w, vm, (struct behaviour){0}, 0);
	world_run(w, w->now + 1 * MS);
	runs = w->pcpus[0].running;
	for (uint64_t i = 0; i < 3; i++) { /* put aside after 1, 2 and 3 ms: 1 ms less is left each time */
		uint64_t left;

		world_cease(w);
		assert_int_equal(w->pcpus[0].running, runs);
		left = w->pcpus[0].slice_end_ns - w->now;
		assert_in_range(left, (4 - i) * MS - 32, (4 - i) * MS); /* as exactly as A tells */
		world_run(w, w->now + 1 * MS);
	}
	newcomer = world_join(w, &baton_scheduler_bvt, 5000, 0); /* knows it too */
	world_detach(w, 0);
	w->decider = newcomer;
	world_cease(w);
	assert_int_equal(w->pcpus[0].running, runs);
	assert_in_range(w->pcpus[0].slice_end_ns - w->now, 1 * MS - 32, 1 * MS);
	world_free(w);
}

static void test_moves_less_when_moving_is_dear(void **state)
{
	uint64_t moves[2];

	for (int dear = 0; dear < 2; dear++) {
		struct world *w = world_new(7, 3);
		uint64_t least = UINT64_MAX, most = 0;

		w->migration_cost_ns = dear ? 16 * MS : 0;
		world_attach(w, &baton_scheduler_bvt, 5000);
		for (uint32_t v = 0; v < 8; v++)
			world_vcpu(w, world_vm(w, 256, 0, 0, 0), (struct behaviour){0}, 0);
		world_run(w, w->now + 5 * S);
		for (uint32_t v = 0; v < 8; v++) {
			least = service(w, v) < least ? service(w, v) : least;
			most = service(w, v) > most ? service(w, v) : most;
		}
		/* Equal all the same: one C for the slice, one for the preference, on either side. */
		require(w, most - least <= 20 * MS, "%llu us apart", (unsigned long long)((most - least) / US));
		moves[dear] = w->migrations;
		world_free(w);
	}
	printf("moves: %llu where moving is free, %llu where it is dear\n", (unsigned long long)moves[0],
	       (unsigned long long)moves[1]);
	assert_true(moves[1] * 2 < moves[0]);
}

/* ---- SVT ---- */

/* A real defect elsewhere: SVT fell back to 0 while nobody was runnable, and who had run before then starved. */
static void test_svt_survives_an_idle_pool(void **state)
{
	struct world *w = world_new(1, 1);
	struct behaviour once = {.run_ns = 10 * S, .then = BATON_STOP_BLOCKED, .block_ns = UINT64_MAX};
	uint32_t vm = world_vm(w, 256, 0, 0, 0), old, young;
	int64_t svt;

	world_attach(w, &baton_scheduler_bvt, 1000);
	old = world_vcpu(w, vm, once, 0);
	world_run(w, w->now + 20 * S); /* it ran 10 s and sleeps: nobody is there */
	svt = world_dumped(w, 0, BATON_NONE, "svt=");
	assert_true(svt >= (int64_t)(10 * S / 16));
	young = world_vcpu(w, vm, (struct behaviour){0}, 0);
	world_run(w, w->now + 10 * MS);
	assert_true(world_dumped(w, 0, BATON_NONE, "svt=") >= svt);
	world_wake(w, old);
	world_run(w, w->now + 100 * MS); /* they share, although old has run 10 s and young nothing */
	assert_true(service(w, old) > 10 * S + 45 * MS && service(w, young) > 45 * MS);
	world_free(w);
}

/* SVT is at most the least A of the runnable; one of them is looked at after each step. */
static void check_svt(struct world *w)
{
	uint32_t i = 0, v = (uint32_t)(w->steps % WORLD_VCPUS);

	while (w->instances[i]->ops != &baton_scheduler_bvt)
		i++;
	if (w->vcpus[v].state != BATON_VCPU_RUNNABLE && w->vcpus[v].state != BATON_VCPU_RUNNING)
		return;
	require(w, world_dumped(w, i, v, "A-svt=") >= 0, "SVT is before A of vCPU %u, which is runnable", v);
}

static void svt_is_not_early(uint64_t seed)
{
	random_turns(&(struct subject){.ops = &baton_scheduler_bvt, .first_parameter = 1000, .each_step = check_svt},
		     seed);
}

static void test_svt_is_never_early(void **state)
{
	for_each_seed(svt_is_not_early);
}

/* A woken vCPU that is served at once is served by the pCPU that is most ahead, of those that it may use: there the others
 * lose least. */
static void the_most_ahead_makes_room(bool pinned)
{
	struct world *w = world_new(1, 3);
	struct behaviour sleeps = {.run_ns = 1 * MS, .then = BATON_STOP_BLOCKED, .block_ns = UINT64_MAX};
	uint32_t waker, computing[3];

	world_attach(w, &baton_scheduler_bvt, 1000);
	for (uint32_t i = 0; i < 3; i++) /* the first runs most in virtual time */
		computing[i] = world_vcpu(w, world_vm(w, 64u << (2 * i), 0, 0, 0), (struct behaviour){0}, 0);
	world_run(w, w->now + 350 * MS); /* the longest slice is 100 ms: all were started anew some times */
	waker = world_vcpu(w, world_vm(w, 256, 1 * S, 0, 0), sleeps,
			   pinned ? 7 & ~(UINT64_C(1) << w->vcpus[computing[0]].pcpu) : 7);
	world_run(w, w->now + w->kick_delay_ns);
	assert_int_equal(w->vcpus[waker].state, BATON_VCPU_RUNNING);
	assert_int_equal(w->vcpus[computing[pinned]].state, BATON_VCPU_RUNNABLE);
	world_free(w);
}

static void test_the_most_ahead_makes_room(void **state)
{
	the_most_ahead_makes_room(false);
	the_most_ahead_makes_room(true);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_shares_follow_weights),
	    cmocka_unit_test(test_shares_on_several_pcpus),
	    cmocka_unit_test(test_charging_loses_nothing),
	    cmocka_unit_test(test_wake_latency_bound),
	    cmocka_unit_test(test_warp_ends_at_its_limit),
	    cmocka_unit_test(test_naps_do_not_refill_the_warp),
	    cmocka_unit_test(test_yield_lets_the_next_go_first),
	    cmocka_unit_test(test_disturbance_does_not_end_the_allowance),
	    cmocka_unit_test(test_moves_less_when_moving_is_dear),
	    cmocka_unit_test(test_svt_survives_an_idle_pool),
	    cmocka_unit_test(test_svt_is_never_early),
	    cmocka_unit_test(test_the_most_ahead_makes_room),
	};

	random_seeds(argc, argv, SEEDS);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
