/* SPDX-License-Identifier: Apache-2.0 */
/* test_partition.c - what static partitioning promises: a pCPU each, at once, for good; and no room for more. */
#include "random_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS 200

static const struct behaviour computes = {0};

/* ---- any world ---- */

static void four_places(struct world *w, uint32_t i)
{
	world_set(w, i, 0, 4);
}

static const struct subject alone = {.ops = &baton_scheduler_partition, .first_parameter = 1, .may_idle = true},
			    sharing = {.ops = &baton_scheduler_partition,
				       .first_parameter = -1,
				       .may_idle = true,
				       .tune = four_places};

/* A newcomer admits before it is tuned: so places are given as the first parameter where histories are taken. */
static const struct subject sharing_from_start = {
    .ops = &baton_scheduler_partition, .first_parameter = 4, .may_idle = true};

static void turns(uint64_t seed)
{
	random_turns(seed % 2 ? &alone : &sharing, seed);
}

static void takes_over(uint64_t seed)
{
	random_takes_over(seed % 2 ? &alone : &sharing_from_start, seed);
}

static void relay(uint64_t seed)
{
	random_relay(seed % 2 ? &alone : &sharing_from_start, seed);
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

/* ---- places ---- */

/* Whatever comes and goes: nobody moves, and each is alone on its pCPU. */
static void never_moves(uint64_t seed)
{
	struct world *w = world_new(seed, 1 + (uint32_t)(seed % WORLD_PCPUS));
	uint32_t vm = world_vm(w, 256, 0, 0, 0), seen[WORLD_VCPUS];

	memset(seen, 0xff, sizeof seen);
	world_attach(w, &baton_scheduler_partition, 1);
	for (int n = 0; n < 300; n++) {
		uint32_t v = (uint32_t)world_random(w, WORLD_VCPUS), of[WORLD_PCPUS], living = 0;
		struct behaviour sleeps = {.run_ns = world_random(w, 2) * (1 + world_random(w, 3 * MS)),
					   .then = BATON_STOP_BLOCKED,
					   .block_ns = world_random(w, 3 * MS)};

		if (world_random(w, 4) == 0 && w->vcpus[v].state != BATON_VCPU_FREE) {
			world_remove(w, v);
			seen[v] = BATON_NONE;
		} else if (world_random(w, 2) == 0) {
			(void)world_try_vcpu(w, vm, sleeps, world_random(w, UINT64_C(1) << w->pcpu_count), NULL);
		} else {
			world_kick(w, (uint32_t)world_random(w, w->pcpu_count));
		}
		world_run(w, w->now + world_random(w, 2 * MS));
		memset(of, 0xff, sizeof of);
		for (v = 0; v < WORLD_VCPUS; v++) {
			uint32_t p = w->vcpus[v].pcpu;

			living += w->vcpus[v].state != BATON_VCPU_FREE;
			if (w->vcpus[v].state == BATON_VCPU_FREE || p == BATON_NONE)
				continue;
			require(w, seen[v] == BATON_NONE || seen[v] == p, "vCPU %u moved from %u to %u", v, seen[v], p);
			require(w, of[p] == BATON_NONE, "vCPUs %u and %u share pCPU %u", of[p], v, p);
			seen[v] = of[p] = p;
		}
		require(w, living <= w->pcpu_count, "%u vCPUs on %u pCPUs", living, w->pcpu_count);
	}
	assert_int_equal(w->migrations, 0);
	world_free(w);
}

static void test_nobody_moves(void **state)
{
	for_each_seed(never_moves);
}

static void test_what_does_not_fit_is_refused(void **state)
{
	struct world *w = world_new(1, 3);
	uint32_t vm = world_vm(w, 256, 0, 0, 0), pinned, a, b;

	world_attach(w, &baton_scheduler_partition, 1);
	pinned = world_vcpu(w, vm, computes, 1u << 1);
	assert_int_equal(world_try_vcpu(w, vm, computes, 1u << 1, NULL), -28);
	assert_string_equal(w->reason, "no place is free: the vCPU may use 1 of 3 pCPUs, and each of those has 1 "
				       "(per_pcpu), taken already");
	a = world_vcpu(w, vm, computes, 0);
	b = world_vcpu(w, vm, computes, 0);
	assert_int_equal(world_try_vcpu(w, vm, computes, 0, NULL), -28);
	world_run(w, w->now + 10 * MS);
	assert_int_equal(w->vcpus[pinned].pcpu, 1);
	assert_int_equal(w->vcpus[a].pcpu + w->vcpus[b].pcpu, 0 + 2);
	world_remove(w, pinned); /* its place is free again, for those who may use it */
	assert_int_equal(world_try_vcpu(w, vm, computes, 1u << 0, NULL), -28);
	assert_int_equal(world_try_vcpu(w, vm, computes, 0, &pinned), 0);
	world_set(w, 0, 0, 2); /* places may be added while VMs run */
	assert_int_equal(world_try_vcpu(w, vm, computes, 1u << 0, NULL), 0);
	assert_int_equal(world_try_vcpu(w, vm, computes, 1u << 0, NULL), -28);
	world_free(w);
}

/* ---- alone ---- */

/* Who wakes runs as soon as a kick arrives, and runs on until it sleeps. */
static void test_wakes_run_at_once(void **state)
{
	struct world *w = world_new(2, 4);
	struct behaviour sleeps = {.run_ns = 7 * MS, .then = BATON_STOP_BLOCKED, .block_ns = 3 * MS, .vary = true};
	uint32_t vm = world_vm(w, 256, 0, 0, 0);

	world_attach(w, &baton_scheduler_partition, 1);
	for (int i = 0; i < 4; i++)
		world_vcpu(w, vm, i < 3 ? sleeps : computes, 0);
	for (int i = 0; i < 20000; i++) {
		world_step(w);
		for (uint32_t v = 0; v < 4; v++)
			require(w, w->vcpus[v].last_latency_ns <= w->kick_delay_ns, "vCPU %u waited %llu ns", v,
				(unsigned long long)w->vcpus[v].last_latency_ns);
	}
	assert_int_equal(w->migrations, 0);
	for (uint32_t v = 0; v < 3; v++) /* one decision per wake-up */
		assert_in_range(w->vcpus[v].starts, w->vcpus[v].wakes, w->vcpus[v].wakes);
	assert_true(w->vcpus[3].starts <= (w->now - 1 * S) / w->slice_max_ns + 1);
	world_free(w);
}

/* ---- together ---- */

/* Who shares a pCPU waits for one turn of each other at most, and gets the same share. */
static void takes_turns(uint64_t seed)
{
	struct world *w = world_new(seed, 2);
	uint32_t vm = world_vm(w, 256, 0, 0, 0), n = 2 + (uint32_t)world_random(w, 4);
	uint64_t least = UINT64_MAX, most = 0;

	w->starve_ns = (n - 1) * (2 * MS + w->slice_min_ns) + w->kick_delay_ns;
	w->may_idle = true;
	world_attach(w, &baton_scheduler_partition, n);
	world_set(w, 0, 1, 2000);
	for (uint32_t i = 0; i < 2 * n; i++)
		world_vcpu(w, vm, computes, 0);
	for (int i = 0; i < 200; i++) {
		if (world_random(w, 4) == 0)
			world_kick(w, (uint32_t)world_random(w, 2));
		world_run(w, w->now + world_random(w, 4 * MS));
	}
	for (uint32_t v = 0; v < 2 * n; v++) {
		uint64_t got = w->vcpus[v].service_ns;

		least = got < least ? got : least;
		most = got > most ? got : most;
	}
	require(w, most - least <= 2 * 2 * MS + 2 * MS, "%llu and %llu us", (unsigned long long)(least / US),
		(unsigned long long)(most / US));
	assert_int_equal(w->migrations, 0);
	world_free(w);
}

static void test_turns_on_a_shared_pcpu(void **state)
{
	for_each_seed(takes_turns);
}

/* Who was alone was started without an end: a second one must not wait for ever. */
static void test_second_one_on_a_pcpu_gets_its_turn(void **state)
{
	struct world *w = world_new(1, 1);
	uint32_t vm = world_vm(w, 256, 0, 0, 0), second;

	w->slice_max_ns = 1000 * S;
	w->starve_ns = 10 * MS;
	world_attach(w, &baton_scheduler_partition, 2);
	world_vcpu(w, vm, computes, 0);
	world_run(w, w->now + 1 * S);
	second = world_vcpu(w, vm, computes, 0);
	world_run(w, w->now + 100 * MS);
	assert_in_range(w->vcpus[second].service_ns, 45 * MS, 55 * MS);
	world_free(w);
}

/* ---- what others decided ---- */

/* Taken over in the middle of round robin's life, vCPUs go home when they stop, and those at home first. */
static void test_all_go_home_after_a_change(void **state)
{
	struct world *w = world_new(5, 4);
	uint32_t vm = world_vm(w, 256, 0, 0, 0), shadow;
	uint64_t moves;

	world_attach(w, &baton_scheduler_rr, 1000);
	shadow = world_attach(w, &baton_scheduler_partition, 1);
	for (int i = 0; i < 4; i++)
		world_vcpu(w, vm,
			   (struct behaviour){.run_ns = 700 * US,
					      .then = i % 2 ? BATON_STOP_BLOCKED : BATON_STOP_YIELDED,
					      .block_ns = 300 * US,
					      .vary = true},
			   0);
	world_run(w, w->now + 1 * S);
	w->decider = shadow;
	w->may_idle = true; /* home is where they go, whoever is idle */
	world_run(w, w->now + 10 * MS);
	w->may_idle = false;
	moves = w->migrations;
	for (uint32_t v = 0; v < 4; v++)
		assert_int_equal(w->vcpus[v].pcpu, world_dumped(w, shadow, v, "home="));
	world_run(w, w->now + 1 * S);
	assert_int_equal(w->migrations, moves);
	world_free(w);
}

/* An affinity that changes makes a vCPU move once, and never run where it may not. */
static void test_affinity_changes(void **state)
{
	struct world *w = world_new(1, 2);
	struct behaviour naps = {.run_ns = 1 * MS, .then = BATON_STOP_BLOCKED, .block_ns = 1 * MS};
	uint32_t vm = world_vm(w, 256, 0, 0, 0), a;

	w->may_idle = true;
	world_attach(w, &baton_scheduler_partition, 1);
	a = world_vcpu(w, vm, naps, 0);
	world_vcpu(w, vm, naps, 0);
	world_run(w, w->now + 10 * MS);
	assert_int_equal(w->vcpus[a].pcpu, 0);
	while (w->vcpus[a].state != BATON_VCPU_BLOCKED)
		world_step(w);
	w->vcpus[a].affinity = 1u << 1; /* whose only place is taken */
	world_run(w, w->now + 10 * MS);
	assert_int_equal(w->vcpus[a].pcpu, 1);
	assert_int_equal(world_dumped(w, 0, a, "sharing="), 2);
	assert_int_equal(w->migrations, 1);
	world_free(w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random_worlds),
	    cmocka_unit_test(test_history_of_the_same_policy),
	    cmocka_unit_test(test_relay_through_other_policies),
	    cmocka_unit_test(test_nobody_moves),
	    cmocka_unit_test(test_what_does_not_fit_is_refused),
	    cmocka_unit_test(test_wakes_run_at_once),
	    cmocka_unit_test(test_turns_on_a_shared_pcpu),
	    cmocka_unit_test(test_second_one_on_a_pcpu_gets_its_turn),
	    cmocka_unit_test(test_all_go_home_after_a_change),
	    cmocka_unit_test(test_affinity_changes),
	};

	random_seeds(argc, argv, SEEDS);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
