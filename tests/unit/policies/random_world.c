/* SPDX-License-Identifier: Apache-2.0 */
/* random_world.c - see random_world.h. */
#include "random_world.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t first_seed = 1, last_seed = 1;

void random_seeds(int argc, char **argv, uint64_t count)
{
	last_seed = count;
	if (argc > 1)
		first_seed = last_seed = strtoull(argv[1], NULL, 10);
	printf("seeds: %llu to %llu\n", (unsigned long long)first_seed, (unsigned long long)last_seed);
}

void for_each_seed(void (*run)(uint64_t seed))
{
	for (uint64_t seed = first_seed; seed <= last_seed; seed++)
		run(seed);
}

/* ---- who lives there ---- */

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
	uint64_t affinity = world_random(w, 4) == 0 ? world_random(w, UINT64_C(1) << w->pcpu_count) : 0;

	(void)world_try_vcpu(w, (uint32_t)world_random(w, 6), random_behaviour(w), affinity, NULL);
}

static void random_wishes(struct world *w, struct baton_vm *vm)
{
	vm->weight = 32u << world_random(w, 6);
	vm->weight += (uint32_t)world_random(w, vm->weight);
	vm->warp_ns = world_random(w, 2) * world_random(w, 50 * MS);
	vm->warp_limit_ns = world_random(w, 2) * (100 * US + world_random(w, 10 * MS));
	vm->unwarp_ns = world_random(w, 2) * world_random(w, 50 * MS);
	vm->period_ns = world_random(w, 2) * (1 * MS + world_random(w, 30 * MS));
	vm->budget_ns = world_random(w, 1 + vm->period_ns / 2);
	vm->cap_percent = (uint32_t)(world_random(w, 2) * (1 + world_random(w, 150)));
	vm->latency_ns = world_random(w, 2) * world_random(w, 5 * MS);
}

/* Things that happen to a pool between two events of its own. */
static void disturb(struct world *w)
{
	struct baton_vm before;
	uint32_t v = (uint32_t)world_random(w, WORLD_VCPUS), u = (uint32_t)world_random(w, WORLD_VCPUS);

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
		before = w->vms[v];
		random_wishes(w, &w->vms[v]);
		if (world_vm_changed(w, v) == 0)
			break;
		w->vms[v] = before; /* what is refused is not in force */
		world_vm_changed(w, v);
		break;
	case 7:
		world_wake(w, v);
		break;
	case 8:
		if (w->vcpus[v].state == BATON_VCPU_RUNNING)
			world_spin(w, v);
		break;
	case 9:
		if (w->vcpus[v].state == BATON_VCPU_RUNNING && w->vcpus[u].state != BATON_VCPU_FREE &&
		    w->vcpus[u].vm == w->vcpus[v].vm)
			world_ipi(w, v, u);
		break;
	default:
		break;
	}
}

static struct world *random_world(const struct subject *subject, uint64_t seed)
{
	struct world *w = world_new(seed, 1 + (uint32_t)(seed % 4));

	w->migration_cost_ns = world_random(w, 3) * world_random(w, 2 * MS);
	w->may_idle = subject->may_idle;
	for (uint32_t vm = 0; vm < 6; vm++)
		random_wishes(w, &w->vms[world_vm(w, 256, 0, 0, 0)]);
	return w;
}

static void populate(struct world *w)
{
	uint64_t n = 2 + world_random(w, 14);

	while (n-- > 0)
		random_vcpu(w);
}

static uint32_t attach(struct world *w, const struct subject *subject, uint32_t from)
{
	uint32_t i = world_try_join(w, subject->ops, subject->first_parameter, from);

	if (i != BATON_NONE && subject->tune)
		subject->tune(w, i);
	return i;
}

/* From here on i decides. Who decided before may have withheld somebody from an idle pCPU: so those are asked. */
static void decide(struct world *w, uint32_t i)
{
	w->decider = i;
	for (uint32_t p = 0; p < w->pcpu_count; p++)
		if (w->pcpus[p].running == BATON_NONE)
			world_kick(w, p);
}

/* ---- any world ---- */

enum { SUBJECT, TWIN, OTHER };

static _Thread_local const struct subject *in_turns;

static void check_twins(struct world *w)
{
	require(w, world_alike(w, SUBJECT, TWIN), "two instances of %s that heard the same differ",
		in_turns->ops->name);
	if (in_turns->each_step)
		in_turns->each_step(w);
}

void random_turns(const struct subject *subject, uint64_t seed)
{
	struct world *w = random_world(subject, seed);

	in_turns = subject;
	attach(w, subject, WORLD_INSTANCES);
	attach(w, subject, WORLD_INSTANCES);
	world_attach(w, &baton_scheduler_rr, 1000);
	w->each_step = check_twins;
	populate(w);
	for (int n = 0; n < 250; n++) {
		if (world_random(w, 8) == 0)
			decide(w, world_random(w, 3) == 0 ? OTHER : SUBJECT);
		disturb(w);
		world_wake(w, (uint32_t)world_random(w, WORLD_VCPUS));
		world_run(w, w->now + world_random(w, 2 * MS));
	}
	world_free(w);
}

/* ---- taking over ---- */

static void check_joined(struct world *w)
{
	for (uint32_t p = 0; p < w->pcpu_count; p++) {
		struct baton_choice a = world_choose(w, 0, p), b = world_choose(w, 1, p);

		require(w, a.vcpu == b.vcpu && a.slice_ns == b.slice_ns,
			"%s: who was there chose %u for %llu ns, who took over its history %u for %llu ns",
			w->instances[0]->ops->name, a.vcpu, (unsigned long long)a.slice_ns, b.vcpu,
			(unsigned long long)b.slice_ns);
	}
}

void random_takes_over(const struct subject *subject, uint64_t seed)
{
	struct world *w = random_world(subject, seed);
	uint32_t joined;

	attach(w, subject, WORLD_INSTANCES);
	populate(w);
	for (int n = 0; n < 50; n++) {
		disturb(w);
		world_run(w, w->now + world_random(w, 2 * MS));
	}
	joined = attach(w, subject, 0);
	require(w, joined == 1, "its own history is refused: %s", w->reason);
	w->each_step = check_joined;
	check_joined(w);
	for (int n = 0; n < 60; n++) {
		decide(w, (uint32_t)world_random(w, 2));
		disturb(w);
		world_run(w, w->now + world_random(w, 2 * MS));
	}
	world_free(w);
}

void random_relay(const struct subject *subject, uint64_t seed)
{
	struct world *w = random_world(subject, seed);
	uint32_t next;

	w->starve_ns = 5 * S;
	attach(w, subject, WORLD_INSTANCES);
	populate(w);
	for (int n = 0; n < 20; n++) {
		world_run(w, w->now + world_random(w, 10 * MS));
		next =
		    n % 2 == 0 ? world_join(w, &baton_scheduler_rr, 1000, w->decider) : attach(w, subject, w->decider);
		if (next == BATON_NONE)
			continue; /* somebody who came meanwhile does not fit: no change */
		world_run(w, w->now + world_random(w, 2 * MS)); /* in the shadow */
		world_detach(w, w->decider == next ? 0 : w->decider);
		decide(w, next);
	}
	world_run(w, w->now + 1 * S);
	for (uint32_t v = 0; v < WORLD_VCPUS; v++)
		require(w, w->vcpus[v].state == BATON_VCPU_FREE || w->vcpus[v].starts > 0, "vCPU %u never ran", v);
	world_free(w);
}
