/* SPDX-License-Identifier: Apache-2.0 */
/* manager.c - asks the active scheduler, checks the answer, and knows what to do with a wrong one. See manager.h. */
#include "sched/manager.h"

#include "base/log.h"

static bool may_run(struct pool *p, uint32_t v, uint32_t pcpu) REQUIRES(p->lock)
{
	return v < p->vcpu_slots && p->vcpus[v].state == BATON_VCPU_RUNNABLE &&
	       ((p->vcpus[v].affinity[pcpu / 64] >> (pcpu % 64)) & 1);
}

void manager_activate(struct pool *p, struct attached *to)
{
	trace_add(p->trace, p->last_now_ns, TRACE_ACTIVATE, BATON_NONE, BATON_NONE, p->active_id, to->id);
	p->active_id = to->id;
}

static void answered_wrong(struct pool *p, struct attached *a, uint32_t subject, uint64_t answer) REQUIRES(p->lock)
{
	a->wrong++;
	p->wrong_answers++;
	trace_add(p->trace, p->last_now_ns, TRACE_WRONG, BATON_NONE, subject, answer, a->id);
	if (a->wrong < POOL_WRONG_LIMIT || a == manager_default(p) || a != manager_active(p))
		return;
	a->faulty = true;
	p->fallbacks++;
	log_warning("scheduler %s gave %d answers that are not allowed: %s decides from here on", a->ops->name,
		    POOL_WRONG_LIMIT, manager_default(p)->ops->name);
	manager_activate(p, manager_default(p));
}

/* When even the default is wrong: whoever waits longest may run. */
static uint32_t rotation(struct pool *p, uint32_t pcpu) REQUIRES(p->lock)
{
	uint32_t best = BATON_NONE;

	for (uint32_t v = 0; v < p->vcpu_slots; v++)
		if (may_run(p, v, pcpu) && (best == BATON_NONE || p->vcpus[v].since_ns < p->vcpus[best].since_ns))
			best = v;
	return best;
}

static void ask_owner(struct pool *p, uint32_t pcpu, uint64_t now, struct feedback *ret) REQUIRES(p->lock)
{
	struct attached *a = manager_active(p);
	struct baton_choice c = attached_choose(a, pcpu, now);

	ret->status = 0;
	if (c.vcpu != BATON_NONE && !may_run(p, c.vcpu, pcpu)) {
		ret->status = -EBADE;
		answered_wrong(p, a, pcpu, c.vcpu);
		c = attached_choose(manager_default(p), pcpu, now);
		if (c.vcpu != BATON_NONE && !may_run(p, c.vcpu, pcpu)) {
			answered_wrong(p, manager_default(p), pcpu, c.vcpu);
			c = (struct baton_choice){.vcpu = rotation(p, pcpu)};
		}
	}
	ret->owner = c.vcpu;
	ret->slice_ns = c.slice_ns == 0 ? p->slice_max_ns : MAX(p->slice_min_ns, MIN(c.slice_ns, p->slice_max_ns));
}

void manager_request(struct pool *p, const struct sched_request *request, uint64_t now, struct feedback *ret)
{
	struct attached *a = manager_active(p);

	p->requests[request->requester][request->kind]++;
	*ret = (struct feedback){.owner = BATON_NONE};
	switch (request->kind) {
	case REQUEST_PCPU_OWNER:
		ask_owner(p, request->subject, now, ret);
		break;
	case REQUEST_PREEMPTION:
		ret->owner = attached_preempts(a, request->subject, now);
		if (ret->owner != BATON_NONE && ret->owner >= p->pcpu_count) {
			answered_wrong(p, a, request->subject, ret->owner);
			ret->owner = BATON_NONE;
			ret->status = -EBADE;
		}
		break;
	case REQUEST_PRIORITY:
		ret->priority = attached_priority(a, request->subject, now);
		break;
	case REQUEST_CONSOLE_OWNER:
		ret->owner = attached_choose_console(a, now);
		if (ret->owner != BATON_NONE && (ret->owner >= p->vm_slots || !p->vms[ret->owner].used)) {
			answered_wrong(p, a, request->subject, ret->owner);
			ret->owner = BATON_NONE;
			ret->status = -EBADE;
		}
		break;
	case REQUEST_KINDS:
		ret->status = -EINVAL;
		break;
	}
}
