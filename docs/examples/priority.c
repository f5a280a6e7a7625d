/* SPDX-License-Identifier: Apache-2.0 */
/* priority.c - static priority: of those who may run here, the vCPU of the VM with the largest weight. */
#include <baton/scheduler.h>

static struct baton_choice priority_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	uint32_t best = BATON_NONE;

	for (uint32_t v = 0; v < r->vcpu_slots; v++) {
		if (baton_vcpu(r, v)->state != BATON_VCPU_RUNNABLE || !baton_allowed(r, v, pcpu))
			continue;
		if (best == BATON_NONE || baton_weight(r, v) > baton_weight(r, best))
			best = v;
	}
	return (struct baton_choice){.vcpu = best};
}

BATON_SCHEDULER(priority, .choose = priority_choose);
