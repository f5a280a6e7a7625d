/* SPDX-License-Identifier: Apache-2.0 */
/* test_fair.c - what fair promises: shares of VMs and of vCPUs, lags within bounds, hints, no gain by naps. */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define SEEDS 100
#define GROUP 1 /* number of the parameter */

static uint64_t only_seed;

static const struct behaviour computes = {0};

static void for_each_seed(void (*run)(uint64_t seed))
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		if (only_seed == 0 || seed == only_seed)
			run(seed);
}

static struct world *fair_world(uint64_t seed, uint32_t pcpus, uint64_t slice_ns, int64_t group)
{
	struct world *w = world_new(seed, pcpus);

	world_set(w, world_attach(w, &baton_scheduler_fair, (int64_t)(slice_ns / US)), GROUP, group);
	return w;
}

static uint32_t fair_vm(struct world *w, uint32_t weight, uint64_t latency_ns)
{
	uint32_t vm = world_vm(w, weight, 0, 0, 0);

	w->vms[vm].latency_ns = latency_ns;
	world_vm_changed(w, vm);
	return vm;
}

static uint64_t service(struct world *w, uint32_t v)
{
	return w->vcpus[v].service_ns + (w->vcpus[v].state == BATON_VCPU_RUNNING ? w->now - w->vcpus[v].since_ns : 0);
}

static uint64_t vm_service(struct world *w, uint32_t vm)
{
	uint64_t sum = 0;

	for (uint32_t v = 0; v < WORLD_VCPUS; v++)
		if (w->vcpus[v].state != BATON_VCPU_FREE && w->vcpus[v].vm == vm)
			sum += service(w, v);
	return sum;
}

/* ---- shares ---- */

/* Of any interval, VMs that compute all the time receive their parts by weight, however many vCPUs they have, within one
 * slice at either end; and the weights may change. With group = 0 a VM counts as often as it has vCPUs. */
static void proportional(uint64_t seed)
{
	int64_t group = (int64_t)(seed % 2);
	uint64_t slice = 500 * US + world_random(&(struct world){.rng = seed}, 10 * MS);
	struct world *w = fair_world(seed, 1, slice, group);
	uint32_t n = 2 + (uint32_t)world_random(w, 6), vcpus[8] = {0};

	for (uint32_t vm = 0; vm < n; vm++) {
		fair_vm(w, 1, 0);
		vcpus[vm] = 1 + (uint32_t)world_random(w, 4);
		for (uint32_t i = 0; i < vcpus[vm]; i++)
			world_vcpu(w, vm, computes, 0);
	}
	world_run(w, w->now);
	for (int round = 0; round < 3; round++) {
		uint64_t start, from[8];
		double weights = 0;

		for (uint32_t vm = 0; vm < n; vm++) {
			w->vms[vm].weight = 64 + (uint32_t)world_random(w, 1500);
			world_vm_changed(w, vm);
			weights += w->vms[vm].weight * (group ? 1.0 : vcpus[vm]);
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
				uint32_t accounts = group ? 1 : vcpus[vm];
				double fair = (double)(w->now - start) * w->vms[vm].weight * accounts / weights;
				double off = (double)(vm_service(w, vm) - from[vm]) - fair;
				double most = 2.0 * accounts * (double)(slice + 2 * w->slice_min_ns);

				require(w, off <= most && off >= -most, "VM %u is %.0f us off its share, slice %llu us",
					vm, off / 1000, (unsigned long long)(slice / US));
			}
		}
	}
	world_free(w);
}

static void test_shares_follow_weights(void **state)
{
	for_each_seed(proportional);
}

/* The theorem of the paper: on one pCPU nobody's lag leaves (-slice, +slice) while nobody comes or goes. */
static uint64_t lag_bound_us;

static void check_lags(struct world *w)
{
	for (uint32_t v = 0; v < WORLD_VCPUS; v++) {
		int64_t lag;

		if (w->vcpus[v].state == BATON_VCPU_FREE)
			continue;
		lag = world_dumped(w, 0, v, "lag_us=");
		require(w, llabs((long long)lag) <= (long long)lag_bound_us, "lag of vCPU %u: %lld us, bound %llu", v,
			(long long)lag, (unsigned long long)lag_bound_us);
	}
}

static void lags(uint64_t seed)
{
	uint64_t slice = 500 * US + world_random(&(struct world){.rng = seed}, 10 * MS);
	struct world *w = fair_world(seed, 1, slice, (int64_t)(seed % 2));
	uint64_t n = 2 + world_random(w, 10);

	for (uint64_t i = 0; i < n; i++)
		world_vcpu(w, fair_vm(w, 64u << world_random(w, 5), 0), computes, 0);
	world_run(w, w->now); /* all are there */
	lag_bound_us = (slice + 2 * w->slice_min_ns) / US;
	w->each_step = check_lags;
	for (int i = 0; i < 40; i++) {
		if (world_random(w, 2))
			world_kick(w, 0);
		world_run(w, w->now + world_random(w, 20 * MS));
	}
	world_free(w);
}

static void test_lags_stay_within_a_slice(void **state)
{
	for_each_seed(lags);
}

static void test_shares_on_several_pcpus(void **state)
{
	struct world *w = fair_world(3, 3, 1 * MS, 1);
	const uint32_t weight[] = {256, 256, 512, 512, 128, 1024, 256, 768};
	double least = 1e300, most = 0;

	for (uint32_t vm = 0; vm < 8; vm++)
		for (uint32_t i = fair_vm(w, weight[vm], 0), k = 0; k <= vm % 3; k++)
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

/* A weight that asks for more than a pCPU: it gets one, the others share the rest, and who wakes after a long time neither
 * waits for it nor overtakes everybody. */
static void test_a_weight_too_large_to_use(void **state)
{
	struct world *w = fair_world(5, 3, 2 * MS, 0);
	struct behaviour rarely = {.run_ns = 200 * MS, .then = BATON_STOP_BLOCKED, .block_ns = 5 * S};
	uint32_t heavy = world_vcpu(w, fair_vm(w, 65536, 0), computes, 0), vm = fair_vm(w, 256, 0), sleeper, woken = 0;
	uint64_t least = UINT64_MAX, most = 0;

	for (int i = 0; i < 6; i++)
		world_vcpu(w, vm, computes, 0);
	sleeper = world_vcpu(w, vm, rarely, 0);
	world_run(w, w->now + 60 * S);
	require(w, service(w, heavy) >= 59 * S, "the heavy one ran %llu ms",
		(unsigned long long)(service(w, heavy) / MS));
	for (uint32_t v = heavy + 1; v < sleeper; v++) {
		least = service(w, v) < least ? service(w, v) : least;
		most = service(w, v) > most ? service(w, v) : most;
	}
	require(w, most - least <= 20 * MS, "%llu us apart", (unsigned long long)((most - least) / US));
	for (uint32_t v = heavy + 1; v <= sleeper; v++) /* seven share two pCPUs: a turn every few slices */
		require(w, w->vcpus[v].longest_wait_ns <= 40 * MS, "vCPU %u waited %llu us", v,
			(unsigned long long)(w->vcpus[v].longest_wait_ns / US));
	woken = (uint32_t)w->vcpus[sleeper].wakes;
	assert_true(woken >= 8);
	world_free(w);
}

/* Ten vCPUs may use one pCPU, one has the other for itself. Whoever comes later, wherever it may run, has its share there
 * soon and starves nobody, though the two groups' virtual times are far apart. */
static void test_pinned_groups_do_not_starve_newcomers(void **state)
{
	for (uint32_t where = 1; where <= 3; where++) {
		struct world *w = fair_world(where, 2, 2 * MS, 0);
		uint32_t vm = fair_vm(w, 256, 0), late, lone;
		uint64_t before;

		for (int i = 0; i < 10; i++)
			world_vcpu(w, vm, computes, 1);
		lone = world_vcpu(w, vm, computes, 2);
		world_run(w, w->now + 300 * S);
		for (uint32_t v = 0; v < lone; v++)
			require(w, service(w, v) / MS >= 29990 && service(w, v) / MS <= 30010, "%llu ms",
				(unsigned long long)(service(w, v) / MS));
		late = world_vcpu(
		    w, vm, (struct behaviour){.run_ns = 1 * S, .then = BATON_STOP_BLOCKED, .block_ns = 1 * S}, where);
		before = service(w, lone);
		w->starve_ns = 200 * MS;
		world_run(w, w->now + 10 * S);
		require(w, w->vcpus[late].starts > 10, "it started %llu times",
			(unsigned long long)w->vcpus[late].starts);
		require(w, service(w, lone) - before >= 4 * S, "the lone one got %llu ms",
			(unsigned long long)((service(w, lone) - before) / MS));
		world_free(w);
	}
}

/* ---- no gain by naps ---- */

/* A hog against a VM that naps in some way: the VM gets no more than the half. */
static uint64_t napping(uint32_t vcpus, uint64_t run_ns, uint64_t nap_ns, bool vary)
{
	struct world *w = fair_world(11, 1, 5 * MS, 1);
	uint32_t napper = fair_vm(w, 256, 1 * MS), hog = fair_vm(w, 256, 0);
	uint64_t got;

	for (uint32_t i = 0; i < vcpus; i++)
		world_vcpu(
		    w, napper,
		    (struct behaviour){.run_ns = run_ns, .then = BATON_STOP_BLOCKED, .block_ns = nap_ns, .vary = vary},
		    0);
	world_vcpu(w, hog, computes, 0);
	world_run(w, w->now + 20 * S);
	got = vm_service(w, napper);
	require(w, got <= 10 * S + 20 * MS, "the napper got %llu ms of 20 s (%u vCPUs run %llu us, nap %llu us)",
		(unsigned long long)(got / MS), vcpus, (unsigned long long)(run_ns / US),
		(unsigned long long)(nap_ns / US));
	world_free(w);
	return got;
}

static void test_naps_gain_nothing(void **state)
{
	static const uint64_t runs[] = {50 * US, 500 * US, 4990 * US, 20 * MS};

	for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
		for (int vary = 0; vary <= 1; vary++) {
			napping(1, runs[i], 10 * US, vary);
			napping(1, runs[i], 1 * MS, vary);
			/* A chain of vCPUs, each of which sleeps long enough to be forgiven, were it alone. */
			napping(8, runs[i], 7 * runs[i], vary);
			napping(8, runs[i], 20 * MS, vary);
		}
	/* And it loses little: a VM that always has somebody to run gets its half. */
	assert_true(napping(8, 500 * US, 500 * US, false) >= 9900 * MS);
	assert_true(napping(8, 5 * MS, 5 * MS, false) >= 9900 * MS);
}

/* ---- latency ---- */

/* A VM that uses less than its share and asks for a latency, among hogs and others who wake: eligible when it wakes, it
 * runs within its hint, or the shortest slice. Returns the longest wait. */
static uint64_t sleeper_among_hogs(uint64_t seed, uint64_t hint)
{
	struct world *w = fair_world(seed, 1, 5 * MS, 1);
	uint32_t hogs = 2 + (uint32_t)world_random(w, 6), wakes = 0, v;
	uint64_t longest = 0;

	v = world_vcpu(w, fair_vm(w, 256, hint),
		       (struct behaviour){.run_ns = 200 * US, .then = BATON_STOP_BLOCKED, .block_ns = UINT64_MAX}, 0);
	for (uint32_t i = 0; i < hogs; i++)
		world_vcpu(w, fair_vm(w, 256, 0),
			   world_random(w, 2) ? computes
					      : (struct behaviour){.run_ns = 3 * MS,
								   .then = BATON_STOP_BLOCKED,
								   .block_ns = 1 * MS,
								   .vary = true},
			   0);
	while (wakes < 100) {
		struct vcpu *s = &w->vcpus[v];
		uint64_t starts;

		while (s->state != BATON_VCPU_BLOCKED)
			world_step(w);
		world_run(w, w->now + 20 * MS + world_random(w, 20 * MS));
		starts = s->starts;
		world_wake(w, v);
		while (s->starts == starts)
			world_step(w);
		longest = s->last_latency_ns > longest ? s->last_latency_ns : longest;
		wakes++;
	}
	world_free(w);
	return longest;
}

static void hinted(uint64_t seed)
{
	uint64_t hint = 200 * US + world_random(&(struct world){.rng = seed}, 3 * MS), got, without;

	got = sleeper_among_hogs(seed, hint);
	without = sleeper_among_hogs(seed, 0);
	if (got > hint + 110 * US || got > without)
		fail_msg("seed %llu: hint %llu us, waited %llu us; without a hint %llu us", (unsigned long long)seed,
			 (unsigned long long)(hint / US), (unsigned long long)(got / US),
			 (unsigned long long)(without / US));
	assert_true(without <= 5 * MS * 9 + 2 * MS); /* a slice of each, and the one that runs */
}

static void test_latency_hint(void **state)
{
	for_each_seed(hinted);
}

/* ---- yield, disturbance, moving ---- */

static void test_yield_lets_the_next_go_first(void **state)
{
	struct world *w = fair_world(1, 1, 1 * MS, 1);
	struct behaviour yields = {.run_ns = 100 * US, .then = BATON_STOP_YIELDED};
	uint32_t heavy = world_vcpu(w, fair_vm(w, 2560, 0), yields, 0),
		 light = world_vcpu(w, fair_vm(w, 256, 0), yields, 0);

	world_run(w, w->now + 1 * S); /* by weight alone, heavy would run ten times before light has its turn */
	assert_true(w->vcpus[heavy].starts > 4000 && w->vcpus[light].starts > 4000);
	assert_true(llabs((long long)w->vcpus[heavy].starts - (long long)w->vcpus[light].starts) <= 1);
	world_free(w);
}

static void test_a_disturbance_does_not_end_the_request(void **state)
{
	struct world *w = fair_world(1, 1, 5 * MS, 1);
	uint32_t runs, newcomer;

	w->kick_delay_ns = 0;
	world_vcpu(w, fair_vm(w, 256, 0), computes, 0);
	world_vcpu(w, fair_vm(w, 256, 0), computes, 0);
	world_run(w, w->now + 1 * MS);
	runs = w->pcpus[0].running;
	for (uint64_t i = 0; i < 3; i++) {
		world_cease(w);
		assert_int_equal(w->pcpus[0].running, runs);
		assert_int_equal(w->pcpus[0].slice_end_ns - w->now, (4 - i) * MS);
		world_run(w, w->now + 1 * MS);
	}
	newcomer = world_join(w, &baton_scheduler_fair, 5000, 0); /* knows it too */
	world_detach(w, 0);
	w->decider = newcomer;
	world_cease(w);
	assert_int_equal(w->pcpus[0].running, runs);
	assert_int_equal(w->pcpus[0].slice_end_ns - w->now, 1 * MS);
	world_free(w);
}

static void test_moves_less_when_moving_is_dear(void **state)
{
	uint64_t moves[2];

	for (int dear = 0; dear < 2; dear++) {
		struct world *w = world_new(7, 3);
		uint64_t least = UINT64_MAX, most = 0;

		w->migration_cost_ns = dear ? 16 * MS : 0;
		world_attach(w, &baton_scheduler_fair, 5000);
		for (uint32_t v = 0; v < 8; v++)
			world_vcpu(w, fair_vm(w, 256, 0), computes, 0);
		world_run(w, w->now + 5 * S);
		for (uint32_t v = 0; v < 8; v++) {
			least = service(w, v) < least ? service(w, v) : least;
			most = service(w, v) > most ? service(w, v) : most;
		}
		require(w, most - least <= 20 * MS, "%llu us apart", (unsigned long long)((most - least) / US));
		moves[dear] = w->migrations;
		world_free(w);
	}
	printf("moves: %llu where moving is free, %llu where it is dear\n", (unsigned long long)moves[0],
	       (unsigned long long)moves[1]);
	assert_true(moves[1] * 2 < moves[0]);
}

/* ---- virtual time ---- */

static void test_virtual_time_survives_an_idle_pool(void **state)
{
	struct world *w = fair_world(1, 1, 1 * MS, 0);
	struct behaviour once = {.run_ns = 10 * S, .then = BATON_STOP_BLOCKED, .block_ns = UINT64_MAX};
	uint32_t vm = fair_vm(w, 256, 0), old, young;

	old = world_vcpu(w, vm, once, 0);
	world_run(w, w->now + 20 * S); /* it ran 10 s and sleeps: nobody is there */
	young = world_vcpu(w, vm, computes, 0);
	world_run(w, w->now + 10 * MS);
	world_wake(w, old);
	world_run(w, w->now + 100 * MS); /* they share, although old has run 10 s and young nothing */
	assert_true(service(w, old) > 10 * S + 45 * MS && service(w, young) > 45 * MS);
	world_free(w);
}

/* Who shares with whom may change while they run. */
static void test_group_changes_while_running(void **state)
{
	struct world *w = fair_world(1, 2, 1 * MS, 1);
	uint32_t one = fair_vm(w, 256, 0), many = fair_vm(w, 256, 0);
	uint64_t had;

	world_vcpu(w, one, computes, 0);
	for (int i = 0; i < 4; i++)
		world_vcpu(w, many, computes, 0);
	world_run(w, w->now + 10 * S);
	require(w, vm_service(w, one) / MS >= 9980, "%llu ms", (unsigned long long)(vm_service(w, one) / MS));
	had = vm_service(w, one);
	world_set(w, 0, GROUP, 0);
	world_run(w, w->now + 10 * S); /* two pCPUs for five */
	require(w, (vm_service(w, one) - had) / MS >= 3980 && (vm_service(w, one) - had) / MS <= 4020, "%llu ms",
		(unsigned long long)((vm_service(w, one) - had) / MS));
	had = vm_service(w, one);
	world_set(w, 0, GROUP, 1);
	world_run(w, w->now + 10 * S);
	require(w, (vm_service(w, one) - had) / MS >= 9980, "%llu ms",
		(unsigned long long)((vm_service(w, one) - had) / MS));
	world_free(w);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_shares_follow_weights),
	    cmocka_unit_test(test_lags_stay_within_a_slice),
	    cmocka_unit_test(test_shares_on_several_pcpus),
	    cmocka_unit_test(test_a_weight_too_large_to_use),
	    cmocka_unit_test(test_pinned_groups_do_not_starve_newcomers),
	    cmocka_unit_test(test_naps_gain_nothing),
	    cmocka_unit_test(test_latency_hint),
	    cmocka_unit_test(test_yield_lets_the_next_go_first),
	    cmocka_unit_test(test_a_disturbance_does_not_end_the_request),
	    cmocka_unit_test(test_moves_less_when_moving_is_dear),
	    cmocka_unit_test(test_virtual_time_survives_an_idle_pool),
	    cmocka_unit_test(test_group_changes_while_running),
	};

	only_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
	printf("seeds: %s\n", only_seed ? argv[1] : "1 to 100");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
