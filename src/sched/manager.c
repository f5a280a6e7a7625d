/* SPDX-License-Identifier: Apache-2.0 */
/* manager.c - asks the active scheduler, checks the answer, and knows what to do with a wrong one. See manager.h. */
#include "sched/manager.h"

#include "base/log.h"
#include "sched/pool_private.h"

static bool may_run(struct pool *p, uint32_t v, uint32_t pcpu) REQUIRES(p->lock)
{
	return v < p->vcpu_slots && p->vcpus[v].state == BATON_VCPU_RUNNABLE && pool_vcpu_allowed(&p->vcpus[v], pcpu);
}

void manager_activate(struct pool *p, struct attached *to)
{
	assert(!to->withdrawn && p->attached[to->id] == to);
	trace_add(p->trace, p->last_now_ns, TRACE_ACTIVATE, BATON_NONE, BATON_NONE, manager_active(p)->id, to->id);
	activation_switch_to(p->activation, to->id);
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

/* The checks, by kind of request. Each brings the answer into the feedback, and replaces it where it is not allowed. */

static void check_owner(struct pool *p, uint32_t pcpu, struct answer answer, uint64_t now, struct feedback *ret)
    REQUIRES(p->lock)
{
	if (answer.owner != BATON_NONE && !may_run(p, answer.owner, pcpu)) {
		struct attached *dflt = manager_default(p);

		ret->status = -EBADE;
		answered_wrong(p, manager_active(p), pcpu, answer.owner);
		answer = attached_questions[REQUEST_PCPU_OWNER](dflt, pcpu, now);
		if (answer.owner != BATON_NONE && !may_run(p, answer.owner, pcpu)) {
			answered_wrong(p, dflt, pcpu, answer.owner);
			answer = (struct answer){.owner = rotation(p, pcpu)};
		}
	}
	ret->owner = answer.owner;
	ret->slice_ns =
	    answer.slice_ns == 0 ? p->slice_max_ns : MAX(p->slice_min_ns, MIN(answer.slice_ns, p->slice_max_ns));
}

/* A pCPU or a VM that is there, or nobody. */
static void check_other(struct pool *p, uint32_t subject, uint32_t owner, bool there, struct feedback *ret)
    REQUIRES(p->lock)
{
	if (owner == BATON_NONE || there) {
		ret->owner = owner;
		return;
	}
	ret->status = -EBADE;
	answered_wrong(p, manager_active(p), subject, owner);
}

void manager_request(struct pool *p, const struct sched_request *request, uint64_t now, struct feedback *ret)
{
	struct answer answer;

	*ret = (struct feedback){.owner = BATON_NONE};
	if (request->kind >= REQUEST_KINDS || request->requester >= ASKED_BY_COUNT) {
		ret->status = -EINVAL;
		return;
	}
	p->requests[request->requester][request->kind]++;
	answer = activation_ask(p->activation, request->requester, request->kind, request->subject, now);
	switch (request->kind) {
	case REQUEST_PCPU_OWNER:
		check_owner(p, request->subject, answer, now, ret);
		break;
	case REQUEST_PREEMPTION:
		check_other(p, request->subject, answer.owner, answer.owner < p->pcpu_count, ret);
		break;
	case REQUEST_PRIORITY:
		ret->priority = answer.priority;
		break;
	case REQUEST_CONSOLE_OWNER:
		check_other(p, request->subject, answer.owner, answer.owner < p->vm_slots && p->vms[answer.owner].used,
			    ret);
		break;
	case REQUEST_KINDS:
		break;
	}
}
