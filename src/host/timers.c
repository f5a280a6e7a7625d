/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timers.c - when the vCPUs that do not run want to be woken: a binary heap per pCPU.
 *
 * A running vCPU's own deadline is no business of the heap: its run loop asks it before each entry. The heap is filled
 * when a vCPU stops and emptied of it when it starts, both under the pool's lock, which is held then anyway.
 */
#include "host/internal.h"

static void place(struct host_pcpu *pc, struct host_vcpu *hv, uint32_t i)
{
	pc->timers[i] = hv;
	hv->timer_index = i;
}

static void sift(struct host_pcpu *pc, uint32_t i)
{
	struct host_vcpu *hv = pc->timers[i];
	uint32_t child;

	for (; i > 0 && pc->timers[(i - 1) / 2]->timer_ns > hv->timer_ns; i = (i - 1) / 2)
		place(pc, pc->timers[(i - 1) / 2], i);
	while ((child = 2 * i + 1) < pc->timer_count) {
		if (child + 1 < pc->timer_count && pc->timers[child + 1]->timer_ns < pc->timers[child]->timer_ns)
			child++;
		if (pc->timers[child]->timer_ns >= hv->timer_ns)
			break;
		place(pc, pc->timers[child], i);
		i = child;
	}
	place(pc, hv, i);
}

void timers_put(struct host_pcpu *pc, struct host_vcpu *hv)
{
	uint64_t deadline = vcpu_deadline(hv->v);

	timers_remove(hv);
	if (deadline == TIME_NEVER)
		return;
	hv->timer_ns = deadline;
	hv->timer_home = pc;
	place(pc, hv, pc->timer_count++);
	sift(pc, hv->timer_index);
}

void timers_remove(struct host_vcpu *hv)
{
	struct host_pcpu *pc = hv->timer_home;
	struct host_vcpu *last;

	if (!pc)
		return;
	hv->timer_home = NULL;
	last = pc->timers[--pc->timer_count];
	if (last == hv)
		return;
	place(pc, last, hv->timer_index);
	sift(pc, last->timer_index);
}

uint64_t timers_next(const struct host_pcpu *pc)
{
	return pc->timer_count > 0 ? pc->timers[0]->timer_ns : TIME_NEVER;
}
