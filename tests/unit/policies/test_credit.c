/* SPDX-License-Identifier: Apache-2.0 */
/* test_credit.c - what credit promises: shares of VMs, caps within 1 %, a boost that cannot be abused. */
#include "random_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEEDS 100

enum { SLICE, PERIOD, BOOST }; /* numbers of parameters */

static const struct behaviour computes = {0};

static const struct subject subject = {
    .ops = &baton_scheduler_credit, .first_parameter = 1000, .may_idle = true /* caps */};

static void turns(uint64_t seed)
{
	random_turns(&subject, seed);
}

static void test_random_worlds(void **state)
{
	for_each_seed(turns);
}

static void takes_over(uint64_t seed)
{
	random_takes_over(&subject, seed);
}

static void test_history_of_the_same_policy(void **state)
{
	for_each_seed(takes_over);
}

static void relay(uint64_t seed)
{
	random_relay(&subject, seed);
}

static void test_relay_through_other_policies(void **state)
{
	for_each_seed(relay);
}

static struct world *credit_world(uint64_t seed, uint32_t pcpus, uint64_t slice_ns)
{
	struct world *w = world_new(seed, pcpus);

	world_attach(w, &baton_scheduler_credit, (int64_t)(slice_ns / US));
	return w;
}

static void set_cap(struct world *w, uint32_t vm, uint32_t percent)
{
	w->vms[vm].cap_percent = percent;
	world_vm_changed(w, vm);
	w->may_idle = true;
}

static uint32_t capped_vm(struct world *w, uint32_t weight, uint32_t percent)
{
	uint32_t vm = world_vm(w, weight, 0, 0, 0);

	set_cap(w, vm, percent);
	return vm;
}

static uint64_t vm_service(struct world *w, uint32_t vm)
{
	uint64_t sum = 0;

	for (uint32_t v = 0; v < WORLD_VCPUS; v++) {
		if (w->vcpus[v].state == BATON_VCPU_FREE || w->vcpus[v].vm != vm)
			continue;
		sum += w->vcpus[v].service_ns;
		if (w->vcpus[v].state == BATON_VCPU_RUNNING)
			sum += w->now - w->vcpus[v].since_ns;
	}
	return sum;
}

/* ---- shares ---- */

/* Of any interval, VMs that compute all the time receive their parts by weight, however many vCPUs they have: at either end
 * of it each is at most a slice ahead or behind; and the weights may change. */
static void proportional(uint64_t seed)
{
	uint64_t slice = 500 * US + world_random(&(struct world){.rng = seed}, 10 * MS);
	struct world *w = credit_world(seed, 1, slice);
	uint32_t n = 2 + (uint32_t)world_random(w, 6);

	for (uint32_t vm = 0; vm < n; vm++) {
		world_vm(w, 1, 0, 0, 0);
		for (uint64_t i = world_random(w, 4) + 1; i > 0; i--)
			world_vcpu(w, vm, computes, 0);
	}
	world_run(w, w->now);
	for (int round = 0; round < 3; round++) {
		uint64_t start, from[8];
		double weights = 0;

		for (uint32_t vm = 0; vm < n; vm++) {
			w->vms[vm].weight = 64 + (uint32_t)world_random(w, 1500);
			world_vm_changed(w, vm);
			weights += w->vms[vm].weight;
		}
		world_run(w, w->now + 3 * S); /* what was ahead at the old weights is worked off */
		start = w->now;
		for (uint32_t vm = 0; vm < n; vm++)
			from[vm] = vm_service(w, vm);
		for (int i = 0; i < 30; i++) {
			if (world_random(w, 2))
				world_kick(w, 0);
			world_run(w, w->now + world_random(w, 40 * MS));
			for (uint32_t vm = 0; vm < n; vm++) {
				double fair = (double)(w->now - start) * w->vms[vm].weight / weights;
				double off = (double)(vm_service(w, vm) - from[vm]) - fair;
				double most = 2.0 * (double)(slice + 2 * w->slice_min_ns);

				/* Who is behind waits for a slice of each of the others, by weight more or less. */
				require(w, off <= most && off >= -most * 2,
					"VM %u is %.0f us off its share, slice %llu us", vm, off / 1000,
					(unsigned long long)(slice / US));
			}
		}
	}
	world_free(w);
}

static void test_shares_follow_weights(void **state)
{
	for_each_seed(proportional);
}

static void test_shares_on_several_pcpus(void **state)
{
	struct world *w = credit_world(3, 3, 1 * MS);
	const uint32_t weight[] = {256, 256, 512, 512, 128, 1024, 256, 768};
	double least = 1e300, most = 0;

	for (uint32_t vm = 0; vm < 8; vm++)
		for (uint32_t i = world_vm(w, weight[vm], 0, 0, 0), k = 0; k <= vm % 3; k++)
			world_vcpu(w, i, computes, 0);
	world_run(w, w->now + 20 * S);
	for (uint32_t vm = 0; vm < 8; vm++) {
		double share = (double)vm_service(w, vm) / weight[vm];

		least = share < least ? share : least;
		most = share > most ? share : most;
	}
	require(w, most <= least * 1.02, "%f and %f", least, most);
	world_free(w);
}

/* ---- caps ---- */

/* A VM that would use more gets its cap within 1 %, alone or not, with one vCPU or several, disturbed or not; and never more
 * than five allowances above its cap in any interval (four that it had to wait with, and one). The others have the rest, by weight. */
static void capped(uint64_t seed)
{
	uint64_t slice = 500 * US + world_random(&(struct world){.rng = seed}, 10 * MS), start, got, rest[2];
	struct world *w = credit_world(seed, 1 + (uint32_t)(seed % 3), slice);
	uint32_t vcpus = 1 + (uint32_t)world_random(w, 5), usable = vcpus < w->pcpu_count ? vcpus : w->pcpu_count;
	uint32_t cap = 3 + (uint32_t)world_random(w, 60 * usable), others = 2 * (uint32_t)world_random(w, 2);
	uint32_t vm = capped_vm(w, 2048, cap), rival[2] = {0};
	double most, expect;

	world_set(w, 0, PERIOD, (int64_t)(10000 + world_random(w, 40000)));
	for (uint32_t i = 0; i < vcpus; i++)
		world_vcpu(w, vm, computes, 0);
	for (uint32_t i = 0; i < others; i++) {
		rival[i] = world_vm(w, 64 << i, 0, 0, 0); /* the capped one could have most by weight */
		for (uint32_t k = 0; k < w->pcpu_count; k++)
			world_vcpu(w, rival[i], computes, 0);
	}
	world_run(w, w->now + 1 * S);
	start = w->now;
	got = vm_service(w, vm);
	for (int i = 0; i < 2; i++)
		rest[i] = vm_service(w, rival[i]);
	for (int i = 0; i < 600; i++) {
		uint64_t from = w->now, before = vm_service(w, vm);

		if (world_random(w, 2))
			world_kick(w, (uint32_t)world_random(w, w->pcpu_count));
		world_run(w, w->now + world_random(w, 100 * MS));
		most =
		    (double)cap / 100 * ((double)(w->now - from) + 5 * 50e6) + (double)(w->pcpu_count * 2 * 105 * US);
		require(w, (double)(vm_service(w, vm) - before) <= most, "%llu us in %llu us with a cap of %u %%",
			(unsigned long long)((vm_service(w, vm) - before) / US),
			(unsigned long long)((w->now - from) / US), cap);
	}
	got = vm_service(w, vm) - got;
	expect = (double)cap / 100 * (double)(w->now - start);
	require(w, (double)got <= 1.01 * expect && (double)got >= 0.99 * expect, "%.0f us of %.0f", (double)got / 1e3,
		expect / 1e3);
	for (int i = 0; i < 2; i++)
		rest[i] = vm_service(w, rival[i]) - rest[i];
	if (others > 0 && w->pcpu_count == 1)
		require(w, (double)rest[1] >= 1.97 * (double)rest[0] && (double)rest[1] <= 2.03 * (double)rest[0],
			"the others got %llu and %llu us", (unsigned long long)(rest[0] / US),
			(unsigned long long)(rest[1] / US));
	if (others > 0)
		require(w, (double)(rest[0] + rest[1] + got) >= 0.999 * (double)((w->now - start) * w->pcpu_count),
			"pCPUs were idle");
	world_free(w);
}

static void test_caps_hold_within_one_percent(void **state)
{
	for_each_seed(capped);
}

/* Somebody else's decision breaks the cap: it is made up for within a few periods, and then holds. */
static void test_a_cap_broken_by_another_scheduler(void **state)
{
	struct world *w = world_new(1, 2);
	uint32_t vm, credit;
	uint64_t start, got;

	world_attach(w, &baton_scheduler_rr, 1000);
	credit = world_attach(w, &baton_scheduler_credit, 1000);
	vm = capped_vm(w, 256, 20);
	world_vcpu(w, vm, computes, 0);
	world_vcpu(w, vm, computes, 0);
	world_run(w, w->now + 5 * S);
	assert_true(vm_service(w, vm) >= 9990 * MS); /* round robin knows no caps */
	w->decider = credit;
	start = w->now;
	got = vm_service(w, vm);
	world_run(w, w->now + 150 * MS);
	require(w, vm_service(w, vm) - got <= 10 * MS, "it paid nothing back: %llu us",
		(unsigned long long)((vm_service(w, vm) - got) / US));
	world_run(w, w->now + 10 * S);
	got = vm_service(w, vm) - got;
	require(w, got >= (w->now - start) / 5 - 40 * MS && got <= (w->now - start) / 5, "%llu us",
		(unsigned long long)(got / US));
	world_free(w);
}

static void test_caps_change_while_running(void **state)
{
	struct world *w = credit_world(1, 2, 2 * MS);
	uint32_t vm = capped_vm(w, 256, 10);
	uint64_t got;

	for (int i = 0; i < 3; i++)
		world_vcpu(w, vm, computes, 0);
	world_run(w, w->now + 1 * S);
	for (uint32_t i = 0; i < 40; i++) { /* to and fro, at any moment of a period */
		uint32_t cap = i % 2 == 0 ? 0 : 5 + i;

		set_cap(w, vm, cap);
		world_run(w, w->now + 997 * US * (i + 1)); /* whoever was withheld goes on, or the other way round */
		got = vm_service(w, vm);
		world_run(w, w->now + 300 * MS);
		got = vm_service(w, vm) - got;
		require(w, cap == 0 ? got == 600 * MS : got <= 3 * MS * (cap + 10) + 1 * MS, "cap %u: %llu us", cap,
			(unsigned long long)(got / US));
		require(w, got >= 3 * MS * (cap > 10 ? cap - 10 : 0), "cap %u: %llu us", cap,
			(unsigned long long)(got / US));
	}
	world_free(w);
}

/* Slots are used again: VMs that were spent when they went leave nothing behind. */
static void test_spent_vms_come_and_go(void **state)
{
	struct world *w = credit_world(5, 1, 1 * MS);
	uint32_t vms[4], v[4];

	for (uint32_t i = 0; i < 4; i++) {
		vms[i] = capped_vm(w, 256, 10 + i);
		v[i] = world_vcpu(w, vms[i], computes, 0);
	}
	for (uint32_t round = 0; round < 200; round++) {
		uint32_t i = (uint32_t)world_random(w, 4);

		world_run(w, w->now + world_random(w, 70 * MS));
		world_remove(w, v[i]);
		v[i] = world_vcpu(w, vms[i], computes, 0);
	}
	for (uint32_t i = 0; i < 4; i++) {
		uint64_t got = vm_service(w, vms[i]);

		world_run(w, w->now + 3 * S);
		got = vm_service(w, vms[i]) - got;
		require(w, got <= (10 + i) * 31 * MS && got >= (10 + i) * 29 * MS, "VM %u got %llu us", i,
			(unsigned long long)(got / US));
	}
	world_free(w);
}

/* ---- the boost, and its abuse ---- */

/* A hog against a VM that sleeps in some way. Returns what the VM got of 20 s. */
static uint64_t napping(uint32_t vcpus, struct behaviour does, uint64_t *ret_hog_starts)
{
	struct world *w = credit_world(11, 1, 5 * MS);
	uint32_t napper = world_vm(w, 256, 0, 0, 0), hog = world_vm(w, 256, 0, 0, 0), v;
	uint64_t got;

	for (uint32_t i = 0; i < vcpus; i++)
		world_vcpu(w, napper, does, 0);
	v = world_vcpu(w, hog, computes, 0);
	world_run(w, w->now + 20 * S);
	got = vm_service(w, napper);
	require(w, got <= 10 * S + 20 * MS, "%u vCPUs that run %llu us and nap %llu us got %llu ms of 20 s", vcpus,
		(unsigned long long)(does.run_ns / US), (unsigned long long)(does.block_ns / US),
		(unsigned long long)(got / MS));
	if (ret_hog_starts)
		*ret_hog_starts = w->vcpus[v].starts;
	world_free(w);
	return got;
}

static void test_naps_gain_nothing(void **state)
{
	static const uint64_t runs[] = {20 * US, 50 * US, 500 * US, 4990 * US, 20 * MS};

	for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
		for (int vary = 0; vary <= 1; vary++) {
			struct behaviour does = {.run_ns = runs[i], .then = BATON_STOP_BLOCKED, .vary = vary};

			does.block_ns = 10 * US;
			napping(1, does, NULL);
			does.block_ns = 1 * MS;
			napping(1, does, NULL);
			does.block_ns = 7 * runs[i]; /* a chain: each sleeps while the others run */
			napping(8, does, NULL);
			does.block_ns = 20 * MS;
			napping(8, does, NULL);
		}
	/* A VM that always has somebody to run gets its half. */
	assert_true(napping(8, (struct behaviour){.run_ns = 500 * US, .then = BATON_STOP_BLOCKED, .block_ns = 500 * US},
			    NULL) >= 9900 * MS);
}

/* Asleep whenever a period ends, awake for the rest of it: where credit is taken from those who happen to run at that
 * moment, this pays nothing. Here it pays its half. */
static void test_sleeping_over_the_end_of_each_period(void **state)
{
	struct world *w = credit_world(1, 1, 5 * MS);
	uint32_t cheat = world_vcpu(w, world_vm(w, 256, 0, 0, 0),
				    (struct behaviour){.run_ns = 100 * S, .then = BATON_STOP_BLOCKED}, 0);
	uint64_t origin = w->now;

	world_vcpu(w, world_vm(w, 256, 0, 0, 0), computes, 0);
	for (uint64_t period = 1; period <= 300; period++) {
		world_run(w, origin + period * 30 * MS - 200 * US);
		if (w->vcpus[cheat].state == BATON_VCPU_RUNNING)
			world_cease(w); /* so that it can be put to sleep */
		if (w->vcpus[cheat].state == BATON_VCPU_RUNNING)
			w->vcpus[cheat].left_ns = 1; /* or it goes by itself */
		else
			world_pause(w, cheat, 400 * US);
		world_run(w, origin + period * 30 * MS + 200 * US);
		w->vcpus[cheat].left_ns = 0;
		world_wake(w, cheat);
	}
	require(w, vm_service(w, 0) <= 4520 * MS, "it got %llu ms of 9 s", (unsigned long long)(vm_service(w, 0) / MS));
	world_free(w);
}

/* However often a VM wakes, it disturbs others by its boosts a limited number of times per period. */
static void test_boosts_are_limited(void **state)
{
	uint64_t starts;

	napping(1, (struct behaviour){.run_ns = 5 * US, .then = BATON_STOP_BLOCKED, .block_ns = 50 * US}, &starts);
	/* 20 s: 667 periods of 3 ms / 100 us boosts; 4,000 slices, each of which a nap may follow. */
	require(&(struct world){.seed = 11}, starts <= 667 * 31 + 2 * 4000, "the hog started %llu times",
		(unsigned long long)starts);
	assert_true(starts > 667 * 20); /* and they are there to be used */
}

/* Who uses less than its share runs at once when it wakes; without a boost it waits for somebody's slice to end. */
static uint64_t wake_latency(uint64_t seed, int64_t boost_us)
{
	struct world *w = credit_world(seed, 1, 5 * MS);
	uint64_t longest = 0, starts;
	uint32_t v;

	world_set(w, 0, BOOST, boost_us);
	v = world_vcpu(w, world_vm(w, 256, 0, 0, 0),
		       (struct behaviour){.run_ns = 200 * US, .then = BATON_STOP_BLOCKED, .block_ns = UINT64_MAX}, 0);
	for (uint64_t i = 2 + world_random(w, 6); i > 0; i--)
		world_vcpu(w, world_vm(w, 256, 0, 0, 0), computes, 0);
	world_run(w, w->now + 200 * MS); /* they are boosted themselves at first */
	for (int wakes = 0; wakes < 100; wakes++) {
		while (w->vcpus[v].state != BATON_VCPU_BLOCKED)
			world_step(w);
		world_run(w, w->now + 20 * MS + world_random(w, 20 * MS));
		starts = w->vcpus[v].starts;
		world_wake(w, v);
		while (w->vcpus[v].starts == starts)
			world_step(w);
		longest = w->vcpus[v].last_latency_ns > longest ? w->vcpus[v].last_latency_ns : longest;
	}
	world_free(w);
	return longest;
}

static void boosted(uint64_t seed)
{
	uint64_t with = wake_latency(seed, 3000), without = wake_latency(seed, 0);

	if (with > 5 * US || without < 1 * MS)
		fail_msg("seed %llu: %llu us with a boost, %llu us without", (unsigned long long)seed,
			 (unsigned long long)(with / US), (unsigned long long)(without / US));
}

static void test_wakers_are_boosted(void **state)
{
	for_each_seed(boosted);
}

/* ---- moving ---- */

static void test_moves_less_when_moving_is_dear(void **state)
{
	uint64_t moves[2];

	for (int dear = 0; dear < 2; dear++) {
		struct world *w = world_new(7, 3);
		uint64_t least = UINT64_MAX, most = 0;

		w->migration_cost_ns = dear ? 16 * MS : 0;
		world_attach(w, &baton_scheduler_credit, 5000);
		for (uint32_t v = 0; v < 8; v++)
			world_vcpu(w, world_vm(w, 256, 0, 0, 0), computes, 0);
		world_run(w, w->now + 5 * S);
		for (uint32_t vm = 0; vm < 8; vm++) {
			least = vm_service(w, vm) < least ? vm_service(w, vm) : least;
			most = vm_service(w, vm) > most ? vm_service(w, vm) : most;
		}
		require(w, most - least <= 20 * MS, "%llu us apart", (unsigned long long)((most - least) / US));
		moves[dear] = w->migrations;
		world_free(w);
	}
	printf("moves: %llu where moving is free, %llu where it is dear\n", (unsigned long long)moves[0],
	       (unsigned long long)moves[1]);
	assert_true(moves[1] * 2 < moves[0]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random_worlds),
	    cmocka_unit_test(test_history_of_the_same_policy),
	    cmocka_unit_test(test_relay_through_other_policies),
	    cmocka_unit_test(test_shares_follow_weights),
	    cmocka_unit_test(test_shares_on_several_pcpus),
	    cmocka_unit_test(test_caps_hold_within_one_percent),
	    cmocka_unit_test(test_a_cap_broken_by_another_scheduler),
	    cmocka_unit_test(test_caps_change_while_running),
	    cmocka_unit_test(test_spent_vms_come_and_go),
	    cmocka_unit_test(test_naps_gain_nothing),
	    cmocka_unit_test(test_sleeping_over_the_end_of_each_period),
	    cmocka_unit_test(test_boosts_are_limited),
	    cmocka_unit_test(test_wakers_are_boosted),
	    cmocka_unit_test(test_moves_less_when_moving_is_dear),
	};

	random_seeds(argc, argv, SEEDS);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
