/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_policies.c - all policies in random worlds, in pairs: many seeds, the rules of harness.h after each step, and what
 * a change of scheduler relies on: a shadow knows what the deciding one knows.
 *
 * test-policies [SEED] runs the random worlds with one seed only, as a failure prints it.
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS 200

static uint64_t only_seed;

static struct behaviour random_behaviour(struct world *w)
{
	switch (world_random(w, 5)) {
	case 0:
		return (struct behaviour){0}; /* computes for ever */
	case 1:				      /* sleeps mostly */
		return (struct behaviour){.run_ns = 20 * US + world_random(w, 500 * US),
					  .then = BATON_STOP_BLOCKED,
					  .block_ns = 1 * MS + world_random(w, 20 * MS),
					  .vary = true};
	case 2:
		return (struct behaviour){
		    .run_ns = 50 * US + world_random(w, 2 * MS), .then = BATON_STOP_YIELDED, .vary = true};
	case 3:
		return (struct behaviour){.run_ns = 30 * US + world_random(w, 300 * US), .then = BATON_STOP_IO};
	default: /* computes and sleeps in phases */
		return (struct behaviour){.run_ns = 1 * MS + world_random(w, 50 * MS),
					  .then = BATON_STOP_BLOCKED,
					  .block_ns = world_random(w, 100 * MS),
					  .vary = true};
	}
}

static void random_vcpu(struct world *w)
{
	uint64_t affinity = 0;
	uint32_t vm = (uint32_t)world_random(w, 6);

	if (world_random(w, 4) == 0) {
		affinity = world_random(w, UINT64_C(1) << w->pcpu_count);
		if (affinity == 0)
			affinity = 1;
	}
	world_vcpu(w, vm, random_behaviour(w), affinity);
}

static void random_vm(struct world *w, uint32_t vm)
{
	struct baton_vm *x = &w->vms[vm];

	x->weight = 32u << world_random(w, 6);
	x->weight += (uint32_t)world_random(w, x->weight);
	x->warp_ns = world_random(w, 2) * world_random(w, 50 * MS);
	x->warp_limit_ns = world_random(w, 2) * (100 * US + world_random(w, 10 * MS));
	x->unwarp_ns = world_random(w, 2) * world_random(w, 50 * MS);
}

/* Things that happen to a pool between two events of its own. */
static void disturb(struct world *w)
{
	uint32_t v = (uint32_t)world_random(w, WORLD_VCPUS);

	switch (world_random(w, 16)) {
	case 0:
		if (w->vcpus[v].state == BATON_VCPU_FREE)
			random_vcpu(w);
		break;
	case 1:
		if (w->vcpus[v].state != BATON_VCPU_FREE)
			world_remove(w, v);
		break;
	case 2:
		world_pause(w, v, world_random(w, 10 * MS));
		break;
	case 3:
	case 4:
		world_kick(w, (uint32_t)world_random(w, w->pcpu_count));
		break;
	case 5:
		world_cease(w);
		break;
	case 6:
		v = (uint32_t)world_random(w, 6);
		random_vm(w, v);
		world_vm_changed(w, v);
		break;
	case 7:
		world_wake(w, v);
		break;
	default:
		break;
	}
}

static struct world *random_world(uint64_t seed)
{
	struct world *w = world_new(seed, 1 + (uint32_t)(seed % 4));

	w->migration_cost_ns = world_random(w, 3) * world_random(w, 2 * MS);
	for (uint32_t vm = 0; vm < 6; vm++) {
		world_vm(w, 256, 0, 0, 0);
		random_vm(w, vm);
	}
	return w;
}

static void populate(struct world *w)
{
	uint64_t n = 2 + world_random(w, 14);

	while (n-- > 0)
		random_vcpu(w);
}

static void for_each_seed(void (*run)(uint64_t seed))
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		if (only_seed == 0 || seed == only_seed)
			run(seed);
}

/* ---- any world ---- */

/* Those that serve any world: they refuse nobody, and withhold nobody without a cap. */
static const struct baton_scheduler *const policies[] = {&baton_scheduler_rr, &baton_scheduler_bvt,
							 &baton_scheduler_fair, &baton_scheduler_credit};
#define POLICIES (sizeof policies / sizeof policies[0])

/* Instances: two policies, perhaps the same, and their twins. Each seed takes another pair. */
enum { ONE, OTHER, TWIN_OF_ONE, TWIN_OF_OTHER };

static const struct baton_scheduler *policy_of(uint64_t seed, uint32_t instance)
{
	return policies[(instance % 2 == ONE ? seed : seed / POLICIES) % POLICIES];
}

static void attach_pair(struct world *w, uint64_t seed)
{
	world_attach(w, policy_of(seed, ONE), 1000);
	world_attach(w, policy_of(seed, OTHER), 1000);
}

/* The virtual time of BVT never goes back. */
static _Thread_local int64_t svt_seen;

static void check_svt(struct world *w)
{
	uint32_t i = w->instances[ONE]->ops == &baton_scheduler_bvt ? ONE : OTHER;
	int64_t svt;

	if (w->instances[i]->ops != &baton_scheduler_bvt)
		return;
	svt = world_dumped(w, i, BATON_NONE, "svt=");

	require(w, svt >= svt_seen, "SVT fell from %lld to %lld", (long long)svt_seen, (long long)svt);
	svt_seen = svt;
}

static void check_twins(struct world *w)
{
	for (uint32_t i = ONE; i <= OTHER; i++)
		require(w, world_alike(w, i, i + 2), "two instances of %s that heard the same differ",
			w->instances[i]->ops->name);
	check_svt(w);
}

/* Two policies take turns at deciding; each has a twin that never decides, and whose state is the same, byte for
 * byte, all the time. */
static void turns(uint64_t seed)
{
	struct world *w = random_world(seed);

	svt_seen = INT64_MIN;
	attach_pair(w, seed);
	attach_pair(w, seed);
	w->each_step = check_twins;
	populate(w);
	for (int n = 0; n < 250; n++) {
		w->decider = world_random(w, 8) == 0 ? (uint32_t)world_random(w, 4) : w->decider;
		disturb(w);
		world_wake(w, (uint32_t)world_random(w, WORLD_VCPUS));
		world_run(w, w->now + world_random(w, 2 * MS));
	}
	require(w, w->decisions > 0, "nothing was decided");
	world_free(w);
}

static void test_random_worlds(void **state)
{
	for_each_seed(turns);
}

/* ---- taking over ---- */

static _Thread_local uint32_t joined[2];

static void check_joined(struct world *w)
{
	for (uint32_t i = ONE; i <= OTHER; i++)
		for (uint32_t p = 0; p < w->pcpu_count; p++) {
			struct baton_choice a = world_choose(w, i, p), b = world_choose(w, joined[i], p);

			require(w, a.vcpu == b.vcpu && a.slice_ns == b.slice_ns,
				"%s: who was there chose %u for %llu ns, who took over its history %u for %llu ns",
				w->instances[i]->ops->name, a.vcpu, (unsigned long long)a.slice_ns, b.vcpu,
				(unsigned long long)b.slice_ns);
		}
}

/* A newcomer that takes over the history of the same policy answers as that one would, from then on. */
static void takes_over(uint64_t seed)
{
	struct world *w = random_world(seed);

	attach_pair(w, seed);
	populate(w);
	w->decider = (uint32_t)world_random(w, 2);
	for (int n = 0; n < 50; n++) {
		disturb(w);
		world_run(w, w->now + world_random(w, 2 * MS));
	}
	joined[ONE] = world_join(w, policy_of(seed, ONE), 1000, ONE);
	joined[OTHER] = world_join(w, policy_of(seed, OTHER), 1000, OTHER);
	w->each_step = check_joined;
	check_joined(w);
	for (int n = 0; n < 60; n++) {
		disturb(w);
		world_run(w, w->now + world_random(w, 2 * MS));
	}
	world_free(w);
}

static void test_history_of_the_same_policy(void **state)
{
	for_each_seed(takes_over);
}

/* There and back through another policy, and from one instance to the next: nobody is lost, nobody starves. */
static void relay(uint64_t seed)
{
	struct world *w = random_world(seed);
	uint32_t next;

	w->starve_ns = 5 * S;
	world_attach(w, policy_of(seed, ONE), 1000);
	populate(w);
	for (int n = 0; n < 20; n++) {
		world_run(w, w->now + world_random(w, 10 * MS));
		next = world_join(w, policy_of(seed, n % 2 == 0 ? OTHER : ONE), 1000, w->decider);
		world_run(w, w->now + world_random(w, 2 * MS)); /* in the shadow */
		world_detach(w, w->decider == next ? 0 : w->decider);
		w->decider = next;
		/* A commit asks nobody; those who run have a slice, and idle pCPUs had nobody to run. */
	}
	world_run(w, w->now + 1 * S);
	for (uint32_t v = 0; v < WORLD_VCPUS; v++)
		require(w, w->vcpus[v].state == BATON_VCPU_FREE || w->vcpus[v].starts > 0, "vCPU %u never ran", v);
	world_free(w);
}

static void test_relay_through_other_policies(void **state)
{
	for_each_seed(relay);
}

/* Service received ahead travels in neutral words: after bvt -> rr -> bvt, and after bvt -> bvt of another pool, the
 * order is kept as far as the other policy can know it. Here: straight into another timeline. */
static void test_owed_time_crosses_timelines(void **state)
{
	struct world *w = world_new(1, 1);
	uint32_t vm = world_vm(w, 256, 0, 0, 0), ahead, behind, other;

	world_attach(w, &baton_scheduler_bvt, 5000);
	ahead = world_vcpu(w, vm, (struct behaviour){0}, 0);
	world_run(w, w->now + 3 * MS); /* alone: its lead is forgotten by the next one, which begins where it stands */
	behind = world_vcpu(w, vm, (struct behaviour){0}, 0);
	world_run(w, w->now + 2 * MS);
	assert_int_equal(w->pcpus[0].running, ahead);
	assert_int_equal(world_dumped(w, 0, ahead, "A-svt="), 2 * MS / 16);
	/* An instance that has lived takes only the distance. */
	other = world_attach(w, &baton_scheduler_bvt, 5000);
	world_run(w, w->now + 100 * MS);
	world_detach(w, other);
	other = world_join(w, &baton_scheduler_bvt, 5000, 0);
	assert_int_equal(world_dumped(w, other, ahead, "A-svt="), world_dumped(w, 0, ahead, "A-svt="));
	assert_int_equal(world_dumped(w, other, behind, "A-svt="), world_dumped(w, 0, behind, "A-svt="));
	world_free(w);
}

/* ---- round robin ---- */

/* Who computes all the time gets the same share, within a slice and the rest of one that was being handed out. */
static void equal_shares(uint64_t seed)
{
	struct world *w = world_new(seed, 1 + (uint32_t)(seed % 3));
	uint64_t n = w->pcpu_count + 1 + world_random(w, 6), least = UINT64_MAX, most = 0;
	uint64_t slice = (1 + world_random(w, 5)) * MS;

	w->migration_cost_ns = world_random(w, 2) * 16 * MS;
	world_attach(w, &baton_scheduler_rr, (int64_t)(slice / US));
	for (uint64_t i = 0; i < n; i++) /* round robin knows no weights */
		world_vcpu(w, world_vm(w, 1 + (uint32_t)world_random(w, 1000), 0, 0, 0), (struct behaviour){0}, 0);
	for (int i = 0; i < 400; i++) {
		if (world_random(w, 2))
			world_kick(w, (uint32_t)world_random(w, w->pcpu_count));
		world_run(w, w->now + world_random(w, 3 * MS));
	}
	for (uint32_t v = 0; v < n; v++) {
		uint64_t got = w->vcpus[v].service_ns;

		if (w->vcpus[v].state == BATON_VCPU_RUNNING)
			got += w->now - w->vcpus[v].since_ns;
		least = got < least ? got : least;
		most = got > most ? got : most;
	}
	/* Each kick in the last slice_min_ns of a slice forfeits that much: a random walk, far below 2 ms. Where moving
	 * is dear, two turns more. */
	require(w, most - least <= (w->migration_cost_ns == 0 ? 2 : 4) * slice + 2 * MS, "%llu and %llu us",
		(unsigned long long)(least / US), (unsigned long long)(most / US));
	world_free(w);
}

static void test_rr_equal_shares(void **state)
{
	for_each_seed(equal_shares);
}

/* With fair_vms, VMs that compute all the time have equal shares, whatever their numbers of vCPUs, as far as one vCPU can
 * use them. */
static void equal_vms(uint64_t seed)
{
	struct world *w = world_new(seed, 1 + (uint32_t)(seed % 3));
	uint64_t n = w->pcpu_count + 1 + world_random(w, 3), got[WORLD_VMS] = {0}, least = UINT64_MAX, most = 0;
	uint32_t vcpus = 0;

	w->migration_cost_ns = world_random(w, 2) * 16 * MS;
	world_set(w, world_attach(w, &baton_scheduler_rr, 1000), 1, 1);
	for (uint64_t i = 0; i < n; i++) {
		uint32_t vm = world_vm(w, 256, 0, 0, 0);

		for (uint64_t k = world_random(w, 5) + 1; k > 0 && vcpus < WORLD_VCPUS; k--, vcpus++)
			world_vcpu(w, vm, (struct behaviour){0}, 0);
	}
	for (int i = 0; i < 2000; i++) {
		if (world_random(w, 4) == 0)
			world_kick(w, (uint32_t)world_random(w, w->pcpu_count));
		world_run(w, w->now + world_random(w, 2 * MS));
	}
	for (uint32_t v = 0; v < vcpus; v++) {
		got[w->vcpus[v].vm] += w->vcpus[v].service_ns;
		if (w->vcpus[v].state == BATON_VCPU_RUNNING)
			got[w->vcpus[v].vm] += w->now - w->vcpus[v].since_ns;
	}
	for (uint64_t vm = 0; vm < n; vm++) {
		least = got[vm] < least ? got[vm] : least;
		most = got[vm] > most ? got[vm] : most;
	}
	/* Of about 2 s: each of a VM's up to five vCPUs may be a turn off, and two where moving is dear. */
	require(w, most - least <= (w->migration_cost_ns == 0 ? 8 : 16) * MS, "%llu and %llu us",
		(unsigned long long)(least / US), (unsigned long long)(most / US));
	world_free(w);
}

static void test_rr_equal_vms(void **state)
{
	for_each_seed(equal_vms);
}

/* A vCPU whose VM had many runnable ones when it blocked does not wait for their turns when it alone is left. */
static void test_rr_turns_of_siblings_that_left(void **state)
{
	struct world *w = world_new(1, 1);
	struct behaviour naps = {.run_ns = 500 * US, .then = BATON_STOP_BLOCKED, .block_ns = 5 * MS};
	uint32_t many, napper;

	world_set(w, world_attach(w, &baton_scheduler_rr, 1000), 1, 1);
	world_vcpu(w, world_vm(w, 256, 0, 0, 0), (struct behaviour){0}, 0);
	many = world_vm(w, 256, 0, 0, 0);
	napper = world_vcpu(w, many, naps, 0);
	for (int i = 0; i < 15; i++)
		world_vcpu(w, many, (struct behaviour){0}, 0);
	while (w->vcpus[napper].starts == 0 || w->vcpus[napper].state != BATON_VCPU_BLOCKED)
		world_step(w);
	for (uint32_t v = napper + 1; v <= napper + 15; v++)
		world_pause(w, v, 10 * S);
	while (w->vcpus[napper].starts < 2)
		world_step(w);
	/* One sibling ran and could not be paused: two turns of its VM, each behind one of the other's. */
	assert_true(w->vcpus[napper].last_latency_ns <= 4 * MS);
	world_free(w);
}

static void test_rr_disturbance_costs_no_turn(void **state)
{
	struct world *w = world_new(1, 1);
	uint32_t vm = world_vm(w, 256, 0, 0, 0), a, b;
	struct baton_choice c;

	w->kick_delay_ns = 0;
	world_attach(w, &baton_scheduler_rr, 5000);
	a = world_vcpu(w, vm, (struct behaviour){0}, 0);
	b = world_vcpu(w, vm, (struct behaviour){0}, 0);
	world_run(w, w->now + 1 * MS);
	assert_int_equal(w->pcpus[0].running, a);
	world_cease(w); /* a stops after 1 ms and goes on at once, with 4 ms left */
	assert_int_equal(w->pcpus[0].running, a);
	assert_int_equal(w->pcpus[0].slice_end_ns - w->now, 4 * MS);
	world_set(w, 0, 0, 3000); /* of a shorter slice 2 ms are left, as soon as somebody asks */
	world_cease(w);
	assert_int_equal(w->pcpus[0].slice_end_ns - w->now, 2 * MS);
	world_run(w, w->now + 2 * MS);
	assert_int_equal(w->pcpus[0].running, b);
	c = world_choose(w, 0, 0);
	assert_int_equal(c.vcpu, a);
	assert_int_equal(c.slice_ns, 3 * MS);
	world_free(w);
}

/* Where moving is dear, vCPUs stay where they are while all of them get their turn. */
static void test_rr_moves_less_when_moving_is_dear(void **state)
{
	uint64_t migrations[2];

	for (int dear = 0; dear < 2; dear++) {
		struct world *w = world_new(7, 3);
		uint32_t vm;

		w->migration_cost_ns = dear ? 16 * MS : 0;
		w->starve_ns = 60 * MS; /* 8 vCPUs, 3 pCPUs, 5 ms, 3 passes */
		vm = world_vm(w, 256, 0, 0, 0);
		world_attach(w, &baton_scheduler_rr, 5000);
		for (int i = 0; i < 8; i++)
			world_vcpu(w, vm, (struct behaviour){0}, 0);
		world_run(w, w->now + 5 * S);
		migrations[dear] = w->migrations;
		world_free(w);
	}
	printf("moves: %llu where moving is free, %llu where it is dear\n", (unsigned long long)migrations[0],
	       (unsigned long long)migrations[1]);
	assert_true(migrations[1] * 4 < migrations[0]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random_worlds),
	    cmocka_unit_test(test_history_of_the_same_policy),
	    cmocka_unit_test(test_relay_through_other_policies),
	    cmocka_unit_test(test_owed_time_crosses_timelines),
	    cmocka_unit_test(test_rr_equal_shares),
	    cmocka_unit_test(test_rr_equal_vms),
	    cmocka_unit_test(test_rr_turns_of_siblings_that_left),
	    cmocka_unit_test(test_rr_disturbance_costs_no_turn),
	    cmocka_unit_test(test_rr_moves_less_when_moving_is_dear),
	};

	only_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
	printf("seeds: %s\n", only_seed ? argv[1] : "1 to 200");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
