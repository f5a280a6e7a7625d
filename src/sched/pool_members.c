/* SPDX-License-Identifier: Apache-2.0 */
/* pool_members.c - what comes and goes in a pool: VMs, vCPUs and schedulers, and what the operator does to them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "sched/manager.h"
#include "sched/pool_private.h"

/* ---- VMs ---- */

int pool_vm_add(struct pool *p, const struct baton_vm *wishes, uint32_t *ret_vm)
{
	struct attached *a;
	uint32_t vm = slots_take(&p->free_vms);

	if (vm == SLOTS_NONE)
		return -ENOSPC;
	p->vms[vm] = *wishes;
	p->vms[vm].used = 1;
	if (p->vms[vm].weight == 0)
		p->vms[vm].weight = POOL_WEIGHT_DEFAULT;
	pool_for_each_listener(p, a) attached_refresh_vm(a, vm);
	*ret_vm = vm;
	return 0;
}

void pool_vm_remove(struct pool *p, uint32_t vm)
{
	struct attached *a;

	p->vms[vm] = (struct baton_vm){0};
	if (p->console_owner == vm)
		pool_console_give(p, BATON_NONE, p->last_now_ns);
	pool_for_each_listener(p, a) attached_refresh_vm(a, vm);
	slots_give(&p->free_vms, vm);
}

/* ---- vCPUs ---- */

/* NULL: everywhere. False: nowhere. */
static bool take_affinity(struct pool *p, struct pool_vcpu *vcpu, const uint64_t *affinity) REQUIRES(p->lock)
{
	bool anywhere = true, somewhere = false;

	for (uint32_t i = 0; affinity && i < p->pcpu_count; i++) {
		bool allowed = (affinity[i / 64] >> (i % 64)) & 1;

		anywhere &= allowed;
		somewhere |= allowed;
	}
	if (affinity && !somewhere)
		return false;
	if (affinity)
		memcpy(vcpu->affinity, affinity, sizeof vcpu->affinity);
	else
		memset(vcpu->affinity, 0xff, sizeof vcpu->affinity);
	vcpu->anywhere = anywhere;
	return true;
}

static void free_vcpu(struct pool *p, uint32_t v) REQUIRES(p->lock)
{
	struct attached *a;

	p->vcpus[v] = (struct pool_vcpu){.state = BATON_VCPU_FREE, .pcpu = BATON_NONE};
	pool_for_each_listener(p, a) attached_refresh_vcpu(a, v);
	slots_give(&p->free_vcpus, v);
}

/* First those without whom nothing can be decided, then the shadows. */
static int admit_everywhere(struct pool *p, uint32_t v, uint64_t now, struct error *e) REQUIRES(p->lock)
{
	struct attached *dflt = manager_default(p), *active = manager_active(p), *a = dflt;
	int r = attached_admit(dflt, v, NULL, now);

	if (r >= 0 && active != dflt) {
		a = active;
		r = attached_admit(active, v, NULL, now);
		if (r < 0)
			attached_retire(dflt, v, now);
	}
	if (r < 0)
		return error_set(e, r, "scheduler %s refuses the vCPU: %s; ask for less, or change the scheduler first",
				 a->ops->name, a->reason);
	for (uint32_t i = 1; i < POOL_ATTACHED_MAX; i++) {
		a = p->attached[i];
		if (a && a != active && !a->withdrawn && attached_admit(a, v, NULL, now) < 0)
			pool_withdraw(p, a);
	}
	return 0;
}

int pool_vcpu_add(struct pool *p, uint32_t vm, uint32_t index, const uint64_t *affinity, void *cookie, uint64_t now,
		  uint32_t *ret_vcpu, struct error *e)
{
	uint32_t v = slots_take(&p->free_vcpus);
	int r = 0;

	if (v == SLOTS_NONE)
		return error_set(e, -ENOSPC,
				 "the pool is full: %u vCPUs; stop a VM or start batond with a larger --max-vms",
				 p->vcpu_slots);
	p->vcpus[v] = (struct pool_vcpu){
	    .state = BATON_VCPU_BLOCKED,
	    .vm = vm,
	    .index = index,
	    .pcpu = BATON_NONE,
	    .paused = true,
	    .since_ns = now,
	    .admitted_ns = now,
	    .cookie = cookie,
	};
	if (!take_affinity(p, &p->vcpus[v], affinity))
		r = error_set(e, -EINVAL, "the vCPU may run on no pCPU of this pool, which are 0 to %u",
			      p->pcpu_count - 1);
	if (r >= 0)
		r = admit_everywhere(p, v, now, e);
	if (r < 0) {
		free_vcpu(p, v);
		return r;
	}
	trace_add(p->trace, now, TRACE_ADMIT, v, BATON_NONE, vm, index);
	*ret_vcpu = v;
	return 0;
}

void pool_vcpu_remove(struct pool *p, uint32_t v, uint64_t now)
{
	struct attached *a;

	assert(p->vcpus[v].state == BATON_VCPU_BLOCKED);
	pool_for_each_listener(p, a) attached_retire(a, v, now);
	trace_add(p->trace, now, TRACE_RETIRE, v, BATON_NONE, 0, 0);
	free_vcpu(p, v);
}

static void put_to_sleep(struct pool *p, uint32_t v, uint64_t now) REQUIRES(p->lock)
{
	struct attached *a;

	pool_vcpu_become(&p->vcpus[v], BATON_VCPU_BLOCKED, now);
	trace_add(p->trace, now, TRACE_SLEEP, v, BATON_NONE, 0, 0);
	pool_for_each_listener(p, a) attached_sleep(a, v, now);
}

int pool_vcpu_affinity(struct pool *p, uint32_t v, const uint64_t affinity[BATON_PCPUS_MAX / 64], uint64_t now)
{
	struct pool_vcpu *vcpu = &p->vcpus[v];
	struct attached *a;
	bool waits;

	if (!take_affinity(p, vcpu, affinity))
		return -EINVAL;
	waits = vcpu->state == BATON_VCPU_RUNNABLE;
	if (waits) /* out of every queue while they still are where the old mask says */
		put_to_sleep(p, v, now);
	pool_for_each_listener(p, a) if (attached_knows(a, v)) attached_refresh_vcpu(a, v);
	if (waits)
		pool_wake(p, v, ASKED_BY_MONITOR, now);
	else if (vcpu->state == BATON_VCPU_RUNNING && !pool_vcpu_allowed(vcpu, vcpu->pcpu))
		pool_note_kick(p, vcpu->pcpu);
	return 0;
}

/* ---- the operator ---- */

bool pool_pause(struct pool *p, uint32_t v, uint64_t now)
{
	struct pool_vcpu *vcpu = &p->vcpus[v];

	vcpu->paused = true;
	switch (vcpu->state) {
	case BATON_VCPU_RUNNING:
		pool_note_kick(p, vcpu->pcpu);
		return false;
	case BATON_VCPU_RUNNABLE:
		vcpu->wake_pending = true;
		put_to_sleep(p, v, now);
		return true;
	case BATON_VCPU_BLOCKED:
	case BATON_VCPU_FREE:
		return true;
	}
	return true;
}

void pool_resume(struct pool *p, uint32_t v, bool runnable, uint64_t now)
{
	struct pool_vcpu *vcpu = &p->vcpus[v];
	bool wake = vcpu->wake_pending || runnable;

	vcpu->paused = false;
	vcpu->wake_pending = false;
	if (wake)
		pool_wake(p, v, ASKED_BY_MONITOR, now);
}

void pool_console_give(struct pool *p, uint32_t vm, uint64_t now)
{
	struct attached *a;

	if (p->console_owner == vm)
		return;
	p->console_owner = vm;
	pool_for_each_listener(p, a) attached_boost(a, vm, now);
}

int pool_vm_changed(struct pool *p, uint32_t vm, const char *name, uint64_t now, struct error *e)
{
	const struct baton_parameter *parameter;
	struct attached *a;
	uint32_t i;
	int refusal = 0;

	pool_for_each_listener(p, a)
	{
		attached_refresh_vm(a, vm);
		parameter = attached_parameter(a, name, &i);
		if (!parameter || parameter->scope != BATON_SCOPE_VM)
			continue;
		if (a == manager_active(p))
			refusal = attached_set(a, vm, name, parameter->min, now, e);
		else
			(void)attached_set(a, vm, name, parameter->min, now, NULL);
	}
	return refusal;
}

/* ---- schedulers ---- */

int pool_attach(struct pool *p, struct attached *a)
{
	for (uint32_t i = 0; i < POOL_ATTACHED_MAX; i++) {
		if (p->attached[i])
			continue;
		p->attached[i] = a;
		p->listeners[p->listener_count++] = a;
		a->id = i;
		activation_bind(p->activation, i, attached_questions, a);
		for (uint32_t vm = 0; vm < p->vm_slots; vm++)
			if (p->vms[vm].used)
				attached_refresh_vm(a, vm);
		return 0;
	}
	return -ENOSPC;
}

/* Order is kept: the default is told first. */
static void stop_listening(struct pool *p, const struct attached *a) REQUIRES(p->lock)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < p->listener_count; i++)
		if (p->listeners[i] != a)
			p->listeners[kept++] = p->listeners[i];
	p->listener_count = kept;
}

void pool_detach(struct pool *p, struct attached *a, uint64_t now)
{
	assert(p->attached[a->id] == a && manager_active(p) != a && a->id != 0);
	if (!a->faulty)
		attached_detach(a, now);
	stop_listening(p, a);
	p->attached[a->id] = NULL;
}

void pool_withdraw(struct pool *p, struct attached *a)
{
	assert(a != manager_active(p) && a != manager_default(p));
	log_warning("scheduler %s takes no part any more: it refused a vCPU (%s); unload it, or load it again",
		    a->ops->name, a->reason);
	a->withdrawn = true;
	a->alarm_count = 0;
	attached_forget_all(a);
	stop_listening(p, a);
}

/* "name" or "name#id". */
static bool is_called(const struct attached *a, const char *name)
{
	size_t n = strlen(a->ops->name);
	char *end;

	if (strncmp(a->ops->name, name, n) != 0)
		return false;
	if (name[n] == '\0')
		return true;
	return name[n] == '#' && name[n + 1] >= '0' && name[n + 1] <= '9' && strtoul(name + n + 1, &end, 10) == a->id &&
	       *end == '\0';
}

static void several(struct pool *p, const char *name, struct error *e) REQUIRES(p->lock)
{
	char list[ERROR_TEXT_MAX / 2] = "";
	size_t n = 0;

	for (uint32_t i = 0; i < POOL_ATTACHED_MAX; i++)
		if (p->attached[i] && is_called(p->attached[i], name) && n < sizeof list)
			n += (size_t)snprintf(list + n, sizeof list - n, "%s%s#%u", n ? ", " : "", name, i);
	error_set(e, -ENOTUNIQ, "several schedulers are called %s; say which one: %s", name, list);
}

int pool_resolve(struct pool *p, const char *name, bool images, struct attached **ret, struct error *e)
{
	struct attached *found = NULL;

	for (uint32_t i = images ? 1 : 0; i < POOL_ATTACHED_MAX; i++) {
		if (!p->attached[i] || !is_called(p->attached[i], name))
			continue;
		if (found) {
			several(p, name, e);
			return -ENOTUNIQ;
		}
		found = p->attached[i];
	}
	if (!found)
		return error_set(e, -ENOENT, "no scheduler %.40s is loaded; `baton sched status` lists those that are",
				 name);
	*ret = found;
	return 0;
}

struct attached *pool_find(struct pool *p, const char *name)
{
	struct attached *a;

	return pool_resolve(p, name, false, &a, NULL) < 0 ? NULL : a;
}
