/* SPDX-License-Identifier: Apache-2.0 */
/* test_gang.c - what gang scheduling promises: VMs run together, spin less, and have their shares all the same. */
#include "random_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SEEDS 200

enum { STRICT, SLICE_US };

static const struct behaviour computes = {0};

static uint64_t service(struct world *w, uint32_t v)
{
	return w->vcpus[v].service_ns + (w->vcpus[v].state == BATON_VCPU_RUNNING ? w->now - w->vcpus[v].since_ns : 0);
}

/* ---- any world ---- */

static const struct subject filling = {.ops = &baton_scheduler_gang, .first_parameter = -1},
			    strict = {.ops = &baton_scheduler_gang, .first_parameter = 1, .may_idle = true};

static void turns(uint64_t seed)
{
	random_turns(seed % 2 ? &filling : &strict, seed);
}

static void takes_over(uint64_t seed)
{
	random_takes_over(seed % 2 ? &filling : &strict, seed);
}

static void relay(uint64_t seed)
{
	random_relay(seed % 2 ? &filling : &strict, seed);
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

/* ---- together ---- */

/*
 * How the time of VMs with several vCPUs goes, looked at every 50 us. The vCPUs of a VM have a lock, which another one holds
 * each millisecond: who runs while the holder waits for a pCPU spins, and the monitor says so.
 */
struct seen {
	uint64_t any, all; /* looks at which some of a VM ran; at which nobody of it waited besides */
	uint64_t spun;	   /* looks at vCPUs that ran and spun */
	uint64_t ran;
};

static void look(struct world *w, struct seen *seen, bool hints)
{
	for (uint32_t vm = 0; vm < WORLD_VMS; vm++) {
		uint32_t of[WORLD_VCPUS], n = 0, runs = 0, waits = 0;

		for (uint32_t v = 0; v < WORLD_VCPUS; v++) {
			if (w->vcpus[v].state == BATON_VCPU_FREE || w->vcpus[v].vm != vm)
				continue;
			of[n++] = v;
			runs += w->vcpus[v].state == BATON_VCPU_RUNNING;
			waits += w->vcpus[v].state == BATON_VCPU_RUNNABLE;
		}
		if (n < 2 || runs == 0)
			continue;
		seen->ran += runs;
		seen->any++;
		seen->all += waits == 0;
		if (w->vcpus[of[w->now / MS % n]].state != BATON_VCPU_RUNNABLE)
			continue;
		seen->spun += runs;
		for (uint32_t i = 0; hints && i < n; i++)
			if (w->vcpus[of[i]].state == BATON_VCPU_RUNNING)
				world_spin(w, of[i]);
	}
}

static struct seen watch(struct world *w, uint64_t for_ns, bool hints)
{
	struct seen seen = {0};

	for (uint64_t end = w->now + for_ns; w->now < end;) {
		world_run(w, w->now + 50 * US);
		look(w, &seen, hints);
	}
	return seen;
}

/* The same VMs, by one number: some of several vCPUs, some of one, more than there are pCPUs for. */
static struct world *machines(uint64_t seed, const struct baton_scheduler *ops, int64_t strictly)
{
	struct world *w = world_new(seed, 3 + (uint32_t)(seed % 4));
	uint32_t vcpus = 0;

	world_attach(w, ops, -1);
	if (strictly)
		world_set(w, 0, STRICT, strictly);
	w->may_idle = strictly;
	w->starve_ns = 1 * S;
	while (vcpus < 2 * w->pcpu_count) {
		uint32_t vm = world_vm(w, 256, 0, 0, 0), n = 1 + (uint32_t)world_random(w, w->pcpu_count);

		for (uint32_t i = 0; i < n; i++, vcpus++)
			world_vcpu(w, vm,
				   seed % 2 || world_random(w, 3) ? computes
								  : (struct behaviour){.run_ns = 4 * MS,
										       .then = BATON_STOP_BLOCKED,
										       .block_ns = 1 * MS,
										       .vary = true},
				   0);
	}
	return w;
}

static double part(uint64_t a, uint64_t b)
{
	return b > 0 ? (double)a / (double)b : 0;
}

static struct {
	double overlap, spin;
} sums[3]; /* rr, gang, gang strictly */

static void together(uint64_t seed)
{
	static const struct baton_scheduler *const ops[] = {&baton_scheduler_rr, &baton_scheduler_gang,
							    &baton_scheduler_gang};
	double overlap[3], spin[3];

	if (seed > 40)
		return;
	for (int i = 0; i < 3; i++) {
		struct world *w = machines(seed, ops[i], i == 2);
		struct seen seen = watch(w, 1 * S, true);

		overlap[i] = part(seen.all, seen.any);
		spin[i] = part(seen.spun, seen.ran);
		sums[i].overlap += overlap[i];
		sums[i].spin += spin[i];
		if (i == 2) {
			require(w, overlap[2] >= (seed % 2 ? 0.97 : overlap[1] - 0.05),
				"overlap %.3f, rr %.3f, filling %.3f", overlap[2], overlap[0], overlap[1]);
		}
		world_free(w);
	}
}

static void test_runs_together_and_spins_less(void **state)
{
	memset(sums, 0, sizeof sums);
	for_each_seed(together);
	printf("rr, gang, gang strictly: overlap %.2f %.2f %.2f of 1; spinning %.3f %.3f %.3f\n", sums[0].overlap / 40,
	       sums[1].overlap / 40, sums[2].overlap / 40, sums[0].spin / 40, sums[1].spin / 40, sums[2].spin / 40);
	assert_true(sums[1].overlap > 1.5 * sums[0].overlap);
	assert_true(4 * sums[1].spin < sums[0].spin);
}

/* ---- hints ---- */

/* A spinning vCPU alone in a hole makes room: less is spun with hints than without. */
static void test_hints_save_spinning(void **state)
{
	uint64_t spun[2];

	for (int hints = 0; hints < 2; hints++) {
		struct world *w = world_new(3, 4);
		uint32_t big = world_vm(w, 256, 0, 0, 0), other = world_vm(w, 256, 0, 0, 0), vm;

		world_attach(w, &baton_scheduler_gang, -1);
		for (int i = 0; i < 3; i++) { /* two gangs of three, of which one pCPU is left each time */
			world_vcpu(w, big, computes, 0);
			world_vcpu(w, other, computes, 0);
		}
		for (int i = 0; i < 2; i++) {
			vm = world_vm(w, 256, 0, 0, 0);
			world_vcpu(w, vm, computes, 0);
		}
		spun[hints] = watch(w, 2 * S, hints).spun;
		world_free(w);
	}
	printf("spun: %llu looks without hints, %llu with\n", (unsigned long long)spun[0], (unsigned long long)spun[1]);
	assert_true(spun[1] * 2 < spun[0]);
}

/* One that spins in the middle of a slot is joined by its siblings at once if there is room. */
static void test_spinning_calls_siblings(void **state)
{
	struct world *w = world_new(1, 4);
	struct behaviour sleeper = {.run_ns = 2 * MS, .then = BATON_STOP_BLOCKED, .block_ns = UINT64_MAX};
	uint32_t pair = world_vm(w, 256, 0, 0, 0), single = world_vm(w, 256, 0, 0, 0), a, b, sleeps[3];

	w->kick_delay_ns = 0;
	world_attach(w, &baton_scheduler_gang, -1);
	world_set(w, 0, SLICE_US, 100000);
	for (int i = 0; i < 3; i++) /* three run for 2 ms: then there is room */
		sleeps[i] = world_vcpu(w, i ? world_vm(w, 256, 0, 0, 0) : single, sleeper, 0);
	world_run(w, w->now + 1 * MS);
	a = world_vcpu(w, pair, computes, 0);
	b = world_vcpu(w, pair, computes, 0);
	world_run(w, w->now + 500 * US);
	assert_int_equal((w->vcpus[a].state == BATON_VCPU_RUNNING) + (w->vcpus[b].state == BATON_VCPU_RUNNING), 1);
	world_run(w, w->now + 1 * MS);
	assert_true(w->vcpus[a].state == BATON_VCPU_RUNNING && w->vcpus[b].state == BATON_VCPU_RUNNING);
	assert_int_equal(w->vcpus[sleeps[0]].state, BATON_VCPU_BLOCKED);
	world_free(w);
}

/* ---- shares ---- */

/* Over time VMs have their shares by weight, however many vCPUs they have. */
static void shares(uint64_t seed)
{
	struct world *w = world_new(seed, 2 + (uint32_t)(seed % 3));
	double got[WORLD_VMS] = {0}, least = 1e300, most = 0;
	uint32_t n = w->pcpu_count + 2, vcpus = 0;

	world_attach(w, &baton_scheduler_gang, -1);
	w->starve_ns = 200 * MS;
	for (uint32_t vm = 0; vm < n; vm++) { /* no weight asks for more than one pCPU: a single vCPU can use it */
		world_vm(w, 256 + (uint32_t)world_random(w, 128), 0, 0, 0);
		for (uint64_t k = 1 + world_random(w, w->pcpu_count); k > 0; k--, vcpus++)
			world_vcpu(w, vm, computes, 0);
	}
	for (int i = 0; i < 2000; i++) {
		if (world_random(w, 4) == 0)
			world_kick(w, (uint32_t)world_random(w, w->pcpu_count));
		world_run(w, w->now + world_random(w, 4 * MS));
	}
	for (uint32_t v = 0; v < vcpus; v++)
		got[w->vcpus[v].vm] += (double)service(w, v);
	for (uint32_t vm = 0; vm < n; vm++) {
		got[vm] /= w->vms[vm].weight;
		least = got[vm] < least ? got[vm] : least;
		most = got[vm] > most ? got[vm] : most;
	}
	require(w, most <= least * 1.06, "shares by weight %.0f and %.0f", least, most);
	world_free(w);
}

static void test_shares_follow_weights(void **state)
{
	for_each_seed(shares);
}

/* A VM with more vCPUs than pCPUs: its vCPUs take turns. */
static void test_more_vcpus_than_pcpus(void **state)
{
	struct world *w = world_new(1, 3);
	uint32_t vm = world_vm(w, 256, 0, 0, 0), other = world_vm(w, 256, 0, 0, 0);

	w->starve_ns = 100 * MS;
	world_attach(w, &baton_scheduler_gang, -1);
	for (int i = 0; i < 7; i++)
		world_vcpu(w, vm, computes, 0);
	world_vcpu(w, other, computes, 0);
	world_run(w, w->now + 10 * S);
	for (uint32_t v = 0; v < 7; v++)
		assert_in_range(service(w, v) / MS, 2857 - 200, 2857 + 200); /* 2 of 3 pCPUs, by seven */
	assert_in_range(service(w, 7) / MS, 9000, 10000);
	world_free(w);
}

/* They do so as well when nobody else is there, and whether the slot's end or the alarm comes first. */
static void test_turns_within_a_vm_alone(void **state)
{
	for (uint32_t pcpus = 1; pcpus <= 3; pcpus++) {
		struct world *w = world_new(pcpus, pcpus);
		uint32_t vm = world_vm(w, 256, 0, 0, 0);

		w->starve_ns = 50 * MS;
		world_attach(w, &baton_scheduler_gang, -1);
		for (uint32_t i = 0; i < 2 * pcpus; i++)
			world_vcpu(w, vm, computes, 0);
		world_run(w, w->now + 2 * S);
		for (uint32_t v = 0; v < 2 * pcpus; v++)
			assert_in_range(service(w, v), 980 * MS, 1020 * MS);
		world_free(w);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_runs_together_and_spins_less),
	    cmocka_unit_test(test_hints_save_spinning),
	    cmocka_unit_test(test_spinning_calls_siblings),
	    cmocka_unit_test(test_shares_follow_weights),
	    cmocka_unit_test(test_more_vcpus_than_pcpus),
	    cmocka_unit_test(test_turns_within_a_vm_alone),
	    cmocka_unit_test(test_random_worlds),
	    cmocka_unit_test(test_history_of_the_same_policy),
	    cmocka_unit_test(test_relay_through_other_policies),
	};

	random_seeds(argc, argv, SEEDS);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
