/* SPDX-License-Identifier: Apache-2.0 */
/* world.c - see world.h. */
#include "world.h"

#include "base/clock.h"

struct world world_new(uint64_t seed, uint32_t pcpus, const struct baton_scheduler *scheduler)
{
	struct world w = {.random = seed};

	w.f = fake_new(&(struct fake_config){.pcpus = pcpus,
					     .vms = WORLD_VMS,
					     .vcpus = WORLD_VCPUS,
					     .scheduler = scheduler,
					     .migration_cost_ns = fake_random(&w.random) % 2 ? NSEC_PER_MSEC : 0});
	return w;
}

uint32_t world_random(struct world *w, uint32_t below)
{
	return (uint32_t)(fake_random(&w->random) % below);
}

static bool exists(struct world *w, uint32_t v)
{
	return w->f->pool->vcpus[v].state != BATON_VCPU_FREE;
}

static void add_vm(struct world *w)
{
	struct baton_vm wishes = {
	    .weight = 1 + world_random(w, 1000),
	    .warp_ns = world_random(w, 3) == 0 ? world_random(w, 20) * NSEC_PER_MSEC : 0,
	    .warp_limit_ns = world_random(w, 2) * 10 * NSEC_PER_MSEC,
	    .unwarp_ns = world_random(w, 2) * 20 * NSEC_PER_MSEC,
	    .service = world_random(w, 8) == 0,
	};
	uint32_t vm;

	pool_enter(w->f->pool);
	if (pool_vm_add(w->f->pool, &wishes, &vm) == 0)
		w->vcpus_of[vm] = 0;
	pool_leave(w->f->pool);
}

static void remove_vm(struct world *w, uint32_t vm)
{
	if (w->f->pool->vms[vm].used && w->vcpus_of[vm] == 0)
		fake_remove_vm(w->f, vm);
}

static void add_vcpu(struct world *w, uint32_t vm)
{
	uint64_t all = (UINT64_C(1) << w->f->pool->pcpu_count) - 1, some = fake_random(&w->random) & all;
	uint32_t used = 0, added;

	for (uint32_t v = 0; v < WORLD_VCPUS; v++)
		used += exists(w, v);
	if (!w->f->pool->vms[vm].used || used == WORLD_VCPUS)
		return;
	added =
	    fake_vcpu_unless_refused(w->f, vm, world_random(w, 3) ? 0 : some); /* probe may have been asked to refuse */
	if (added == BATON_NONE)
		return;
	fake_resume(w->f, added, world_random(w, 2));
	w->vcpus_of[vm]++;
}

static void remove_vcpu(struct world *w, uint32_t v)
{
	uint32_t vm = w->f->pool->vcpus[v].vm;

	if (!exists(w, v) || !fake_pause(w->f, v))
		return; /* it runs: it was kicked, and another time it may be at rest */
	fake_remove(w->f, v);
	w->vcpus_of[vm]--;
}

static void change_affinity(struct world *w, uint32_t v)
{
	uint64_t all = (UINT64_C(1) << w->f->pool->pcpu_count) - 1;
	uint64_t set[BATON_PCPUS_MAX / 64] = {fake_random(&w->random) & all};
	uint64_t now = pool_enter(w->f->pool);

	if (exists(w, v))
		must(pool_vcpu_affinity(w->f->pool, v, set, now) == (set[0] ? 0 : -EINVAL));
	pool_leave(w->f->pool);
}

static void change_wish(struct world *w, uint32_t vm)
{
	uint64_t now = pool_enter(w->f->pool);
	struct baton_vm *wishes = &w->f->pool->vms[vm];

	if (wishes->used && world_random(w, 2)) {
		wishes->weight = 1 + world_random(w, 1000);
		(void)pool_vm_changed(w->f->pool, vm, "weight", now, NULL);
	} else if (wishes->used) {
		wishes->warp_ns = world_random(w, 20) * NSEC_PER_MSEC;
		(void)pool_vm_changed(w->f->pool, vm, "warp_ns", now, NULL);
	}
	pool_leave(w->f->pool);
}

static void give_console(struct world *w, uint32_t vm)
{
	uint64_t now = pool_enter(w->f->pool);

	pool_console_give(w->f->pool, w->f->pool->vms[vm].used && world_random(w, 4) ? vm : BATON_NONE, now);
	pool_leave(w->f->pool);
}

static void hint(struct world *w, uint32_t v)
{
	uint32_t other = world_random(w, WORLD_VCPUS);
	uint64_t now = pool_enter(w->f->pool);

	if (exists(w, v) && w->f->pool->vcpus[v].state == BATON_VCPU_RUNNING)
		pool_spin(w->f->pool, v, now);
	if (exists(w, v))
		pool_interrupt(w->f->pool, v, now);
	if (exists(w, v) && exists(w, other))
		pool_ipi(w->f->pool, v, other, now);
	pool_leave(w->f->pool);
}

/* What a run loop does between two stays in the guest. */
static void turn(struct world *w, uint32_t pcpu)
{
	static const enum baton_stop whys[] = {BATON_STOP_SLICE,   BATON_STOP_SLICE,   BATON_STOP_PREEMPTED,
					       BATON_STOP_BLOCKED, BATON_STOP_BLOCKED, BATON_STOP_IO,
					       BATON_STOP_YIELDED, BATON_STOP_CEASED};

	if (w->f->pool->pcpus[pcpu].running != BATON_NONE)
		fake_stop(w->f, pcpu, whys[world_random(w, ARRAY_SIZE(whys))]);
	if (world_random(w, 4))
		fake_tick(w->f);
	if (world_random(w, 8))
		fake_ask(w->f, pcpu);
}

void world_event(struct world *w)
{
	uint32_t v = world_random(w, WORLD_VCPUS), vm = world_random(w, WORLD_VMS);

	if (world_random(w, 2))
		fake_pass(w->f, world_random(w, 4) ? world_random(w, 1000000) : world_random(w, 30000000));
	w->events++;
	switch (world_random(w, 40)) {
	case 0:
		add_vm(w);
		break;
	case 1:
		remove_vm(w, vm);
		break;
	case 2:
	case 3:
		add_vcpu(w, vm);
		break;
	case 4:
		remove_vcpu(w, v);
		break;
	case 5:
		if (exists(w, v))
			fake_pause(w->f, v);
		break;
	case 6:
	case 7:
		if (exists(w, v))
			fake_resume(w->f, v, world_random(w, 2));
		break;
	case 8:
		change_wish(w, vm);
		break;
	case 9:
		give_console(w, vm);
		break;
	case 10:
		hint(w, v);
		break;
	case 11:
		fake_tick(w->f);
		break;
	case 12:
		if (world_random(w, 4) == 0)
			change_affinity(w, v);
		break;
	default:
		if (world_random(w, 2))
			fake_wake(w->f, v);
		else
			turn(w, world_random(w, w->f->pool->pcpu_count));
	}
}
