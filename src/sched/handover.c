/* SPDX-License-Identifier: Apache-2.0 */
/* handover.c - see handover.h. */
#include "sched/handover.h"

#include <string.h>

#include "sched/pool.h"

void handover_record(struct pool *p, struct attached *from, uint32_t v, uint64_t now, struct baton_history *ret) NO_TSA
{
	const struct pool_vcpu *vcpu = &p->vcpus[v];
	struct baton_history known = {
	    .version = BATON_HISTORY_VERSION,
	    .weight = p->vms[vcpu->vm].weight,
	    .service_ns = pool_vcpu_times(p, v, now).run_ns,
	    .since_run_ns = vcpu->state == BATON_VCPU_RUNNING ? 0 : now - vcpu->since_ns,
	    .last_pcpu = vcpu->pcpu,
	};
	struct baton_history said = known;

	*ret = known;
	if (!from || attached_give(from, v, &said, now) < 0)
		return;
	/* What the monitor knows stays as the monitor knows it; the policy only adds what it alone can know. */
	ret->owed_ns = MAX(-HANDOVER_OWED_MAX_NS, MIN(said.owed_ns, HANDOVER_OWED_MAX_NS));
	ret->tail_size = MIN(said.tail_size, (uint32_t)sizeof ret->tail);
	ret->tail_format = said.tail_format;
	memcpy(ret->policy, from->ops->name, sizeof ret->policy);
	memcpy(ret->tail, said.tail, sizeof ret->tail);
}
