/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attached.c - the region of an attached scheduler, the calls into it, and its imports. See attached.h.
 *
 * Layout of the mapping: one guard page, the region, one guard page, so that a policy that runs over the end of its state
 * faults instead of reaching anything of the monitor's.
 */
#include "sched/attached.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "sched/loader/image.h"
#include "sched/pool.h"

#define REGION_MAX  (UINT64_C(1) << 30)
#define PAGE_BYTES  UINT64_C(4096)
#define STATE_ALIGN UINT64_C(64)
#define ERRNO_MAX   4095

/* ---- the region ---- */

static uint64_t place(uint64_t *end, uint64_t bytes)
{
	uint64_t at = (*end + STATE_ALIGN - 1) & ~(STATE_ALIGN - 1);

	*end = at + bytes;
	return at;
}

static int region_map(struct attached *a, struct error *e)
{
	const struct pool *p = a->pool;
	const struct baton_scheduler *ops = a->ops;
	uint64_t stride = ((uint64_t)ops->vcpu_state_size + 7) & ~UINT64_C(7);
	uint64_t vm_stride = ((uint64_t)ops->vm_state_size + 7) & ~UINT64_C(7);
	uint64_t end = sizeof(struct baton_region);
	uint64_t pcpus = place(&end, p->pcpu_count * sizeof(struct baton_pcpu));
	uint64_t vms = place(&end, p->vm_slots * sizeof(struct baton_vm));
	uint64_t vcpus = place(&end, p->vcpu_slots * sizeof(struct baton_vcpu));
	uint64_t params = place(&end, ops->parameter_count * sizeof(int64_t));
	uint64_t scratch = place(&end, BATON_SCRATCH_SIZE);
	uint64_t pool_state = place(&end, ops->pool_state_size);
	uint64_t vm_state = place(&end, p->vm_slots * vm_stride);
	uint64_t vcpu_state = place(&end, p->vcpu_slots * stride);
	uint64_t size = (end + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	char *base;

	if (size > REGION_MAX)
		return error_set(e, -E2BIG,
				 "scheduler %s wants %" PRIu64 " MiB of state: more than 1 GiB; lower its "
				 "vcpu_state_size or the pool's slots",
				 ops->name, size >> 20);
	base = mmap(NULL, size + 2 * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return error_set(e, -ENOMEM, "no memory for the state of scheduler %s (%" PRIu64 " KiB)", ops->name,
				 size >> 10);
	if (mprotect(base + PAGE_BYTES, size, PROT_READ | PROT_WRITE) < 0) {
		munmap(base, size + 2 * PAGE_BYTES);
		return error_set(e, -ENOMEM, "no memory for the state of scheduler %s (%" PRIu64 " KiB)", ops->name,
				 size >> 10);
	}
	a->region = (struct baton_region *)(void *)(base + PAGE_BYTES);
	a->region_bytes = size + 2 * PAGE_BYTES;
	*a->region = (struct baton_region){
	    .abi = BATON_SCHEDULER_ABI,
	    .size = (uint32_t)size,
	    .pcpu_slots = p->pcpu_count,
	    .vm_slots = p->vm_slots,
	    .vcpu_slots = p->vcpu_slots,
	    .pcpus = (uint32_t)pcpus,
	    .vms = (uint32_t)vms,
	    .vcpus = (uint32_t)vcpus,
	    .params = (uint32_t)params,
	    .scratch = (uint32_t)scratch,
	    .pool_state = (uint32_t)pool_state,
	    .vcpu_state = (uint32_t)vcpu_state,
	    .vcpu_stride = (uint32_t)stride,
	    .vm_state = (uint32_t)vm_state,
	    .vm_stride = (uint32_t)vm_stride,
	    .slice_min_ns = p->slice_min_ns,
	    .slice_max_ns = p->slice_max_ns,
	    .migration_cost_ns = p->migration_cost_ns,
	};
	for (uint32_t i = 0; i < p->pcpu_count; i++)
		baton_pcpu(a->region, i)->running = BATON_NONE;
	for (uint64_t i = 0; i < ops->parameter_count; i++)
		((int64_t *)(void *)((char *)a->region + params))[i] = ops->parameters[i].initial;
	return 0;
}

static void free_parts(struct attached *a)
{
	free(a->known);
	free(a->admitted_ns);
	free(a->alarms);
	free(a);
}

int attached_new(struct pool *pool, const struct baton_scheduler *ops, struct image *image, struct attached **ret,
		 struct error *e)
{
	struct attached *a = calloc(1, sizeof *a);
	int r;

	if (!a)
		return error_set(e, -ENOMEM, "no memory for scheduler %s", ops->name);
	a->pool = pool;
	a->ops = ops;
	a->alarm_room = ATTACHED_ALARMS_MAX + 2 * pool->vcpu_slots;
	a->known = calloc(pool->vcpu_slots, sizeof *a->known);
	a->admitted_ns = calloc(pool->vcpu_slots, sizeof *a->admitted_ns);
	a->alarms = calloc(a->alarm_room, sizeof *a->alarms);
	if (!a->known || !a->admitted_ns || !a->alarms)
		r = error_set(e, -ENOMEM, "no memory for scheduler %s", ops->name);
	else
		r = region_map(a, e);
	if (r < 0) {
		free_parts(a);
		return r;
	}
	a->image = image ? image_ref(image) : NULL;
	*ret = a;
	return 0;
}

struct attached *attached_free(struct attached *a)
{
	if (!a)
		return NULL;
	munmap((char *)a->region - PAGE_BYTES, a->region_bytes);
	if (a->image)
		image_unref(a->image);
	free_parts(a);
	return NULL;
}

void attached_refresh_vcpu(struct attached *a, uint32_t v) NO_TSA
{
	const struct pool_vcpu *from = &a->pool->vcpus[v];
	struct baton_vcpu *to = baton_vcpu(a->region, v);

	to->state = from->state;
	to->vm = from->vm;
	to->index = from->index;
	to->pcpu = from->pcpu;
	memcpy(to->affinity, from->affinity, sizeof to->affinity);
}

void attached_refresh_vm(struct attached *a, uint32_t vm) NO_TSA
{
	if (!baton_vm(a->region, vm)->used && a->pool->vms[vm].used)
		memset(baton_vm_state(a->region, vm), 0, a->region->vm_stride);
	*baton_vm(a->region, vm) = a->pool->vms[vm];
}

void attached_refresh_pcpu(struct attached *a, uint32_t p) NO_TSA
{
	baton_pcpu(a->region, p)->running = a->pool->pcpus[p].running;
}

/* State and place of v, the two things that change with events: cheaper than the whole entry. */
static void refresh_place(struct attached *a, uint32_t v) NO_TSA
{
	const struct pool_vcpu *from = &a->pool->vcpus[v];
	struct baton_vcpu *to = baton_vcpu(a->region, v);

	to->state = from->state;
	to->pcpu = from->pcpu;
}

/* ---- calls: a marker around each ---- */

/* Which attached scheduler this thread is inside of, and in which op: for imports and for the guard. */
static _Thread_local struct {
	struct attached *attached;
	const char *op;
} policy_call;

static void call_begin(struct attached *a, const char *op)
{
	assert(!policy_call.attached);
	policy_call.attached = a;
	policy_call.op = op;
}

static void call_end(void)
{
	policy_call.attached = NULL;
	policy_call.op = NULL;
}

/* ---- refusals: the policy may leave the reason in its scratch ---- */

static void refusable_begin(struct attached *a, const char *op)
{
	memset(baton_scratch(a->region), 0, BATON_REASON_MAX);
	call_begin(a, op);
}

/* Its answer as 0 or a negative errno; takes the reason down. */
static int refusable_end(struct attached *a, int32_t answer)
{
	const char *said = baton_scratch(a->region);
	size_t n = 0;

	call_end();
	if (answer >= 0)
		return 0;
	if (answer < -ERRNO_MAX)
		answer = -EINVAL;
	while (n < sizeof a->reason - 1 && said[n] >= ' ' && said[n] <= '~')
		n++;
	if (n > 0) {
		memcpy(a->reason, said, n);
		a->reason[n] = '\0';
	} else {
		snprintf(a->reason, sizeof a->reason, "%s", strerror(-answer));
	}
	return answer;
}

int attached_attach(struct attached *a, uint64_t now)
{
	int r = 0;

	if (a->ops->attach) {
		refusable_begin(a, "attach");
		r = refusable_end(a, a->ops->attach(a->region, now));
	}
	a->joined = r >= 0;
	return r;
}

void attached_detach(struct attached *a, uint64_t now)
{
	if (!a->ops->detach || !a->joined)
		return;
	call_begin(a, "detach");
	a->ops->detach(a->region, now);
	call_end();
}

int attached_admit(struct attached *a, uint32_t v, const struct baton_history *h, uint64_t now) NO_TSA
{
	int r = 0;

	attached_refresh_vm(a, a->pool->vcpus[v].vm);
	attached_refresh_vcpu(a, v);
	if (a->pool->vcpus[v].state == BATON_VCPU_RUNNING)
		attached_refresh_pcpu(a, a->pool->vcpus[v].pcpu);
	memset(baton_vcpu_state(a->region, v), 0, a->region->vcpu_stride);
	if (a->ops->admit) {
		refusable_begin(a, "admit");
		r = refusable_end(a, a->ops->admit(a->region, v, now));
		if (r < 0)
			return r;
	}
	if (h && a->ops->take) {
		memcpy(baton_scratch(a->region), h, sizeof *h);
		call_begin(a, "take");
		/* A record begins with its version: no printable character, unless a reason was written over it. */
		r = refusable_end(a, a->ops->take(a->region, v, baton_scratch(a->region), now));
		if (r < 0)
			return r;
	}
	a->known[v] = KNOWN;
	if (a->pool->vcpus[v].state == BATON_VCPU_RUNNING) {
		a->known[v] = KNOWN_MIDWAY;
		a->admitted_ns[v] = now;
	}
	return 0;
}

void attached_retire(struct attached *a, uint32_t v, uint64_t now)
{
	if (!attached_knows(a, v))
		return;
	if (a->ops->retire) {
		call_begin(a, "retire");
		a->ops->retire(a->region, v, now);
		call_end();
	}
	a->known[v] = KNOWN_NOT;
}

void attached_forget_all(struct attached *a)
{
	memset(a->known, KNOWN_NOT, a->pool->vcpu_slots);
}

void attached_wake(struct attached *a, uint32_t v, uint64_t now)
{
	if (!attached_knows(a, v))
		return;
	refresh_place(a, v);
	if (!a->ops->wake)
		return;
	call_begin(a, "wake");
	a->ops->wake(a->region, v, now);
	call_end();
}

void attached_sleep(struct attached *a, uint32_t v, uint64_t now)
{
	if (!attached_knows(a, v))
		return;
	refresh_place(a, v);
	if (!a->ops->sleep)
		return;
	call_begin(a, "sleep");
	a->ops->sleep(a->region, v, now);
	call_end();
}

void attached_start(struct attached *a, uint32_t v, uint32_t pcpu, uint64_t now)
{
	if (!attached_knows(a, v))
		return;
	refresh_place(a, v);
	baton_pcpu(a->region, pcpu)->running = v;
	if (!a->ops->start)
		return;
	call_begin(a, "start");
	a->ops->start(a->region, v, pcpu, now);
	call_end();
}

void attached_stop(struct attached *a, uint32_t v, uint32_t pcpu, uint64_t started_ns, enum baton_stop why,
		   uint64_t now)
{
	if (!attached_knows(a, v))
		return;
	if (a->known[v] == KNOWN_MIDWAY) { /* this scheduler answers only for the time since it heard of it */
		started_ns = a->admitted_ns[v];
		a->known[v] = KNOWN;
	}
	refresh_place(a, v);
	baton_pcpu(a->region, pcpu)->running = BATON_NONE;
	if (!a->ops->stop)
		return;
	call_begin(a, "stop");
	a->ops->stop(a->region, v, pcpu, now - started_ns, why, now);
	call_end();
}

void attached_spin(struct attached *a, uint32_t v, uint64_t now)
{
	if (!a->ops->spin || !attached_knows(a, v))
		return;
	call_begin(a, "spin");
	a->ops->spin(a->region, v, now);
	call_end();
}

void attached_ipi(struct attached *a, uint32_t from, uint32_t to, uint64_t now)
{
	if (!a->ops->ipi || !attached_knows(a, from) || !attached_knows(a, to))
		return;
	call_begin(a, "ipi");
	a->ops->ipi(a->region, from, to, now);
	call_end();
}

void attached_interrupt(struct attached *a, uint32_t v, uint64_t now)
{
	if (!a->ops->interrupt || !attached_knows(a, v))
		return;
	call_begin(a, "interrupt");
	a->ops->interrupt(a->region, v, now);
	call_end();
}

void attached_boost(struct attached *a, uint32_t vm, uint64_t now)
{
	if (!a->ops->boost)
		return;
	call_begin(a, "boost");
	a->ops->boost(a->region, vm, now);
	call_end();
}

struct baton_choice attached_choose(struct attached *a, uint32_t pcpu, uint64_t now)
{
	struct baton_choice c;

	call_begin(a, "choose");
	c = a->ops->choose(a->region, pcpu, now);
	call_end();
	a->asked++;
	return c;
}

/* Without an opinion of the policy: an idle pCPU where v may run, the last one first. */
static uint32_t idle_pcpu_for(struct attached *a, uint32_t v) NO_TSA
{
	const struct pool *p = a->pool;
	uint32_t last = p->vcpus[v].pcpu;

	if (last != BATON_NONE && ((p->free_mask[last / 64] >> (last % 64)) & 1) && baton_allowed(a->region, v, last))
		return last;
	for (uint32_t i = 0; i < (p->pcpu_count + 63) / 64; i++) {
		uint64_t both = p->free_mask[i] & p->vcpus[v].affinity[i];

		if (both)
			return i * 64 + (uint32_t)__builtin_ctzll(both);
	}
	return BATON_NONE;
}

uint32_t attached_preempts(struct attached *a, uint32_t woken, uint64_t now)
{
	uint32_t pcpu;

	if (!a->ops->preempts)
		return idle_pcpu_for(a, woken);
	call_begin(a, "preempts");
	pcpu = a->ops->preempts(a->region, woken, now);
	call_end();
	return pcpu;
}

int32_t attached_priority(struct attached *a, uint32_t vm, uint64_t now)
{
	int32_t priority;

	if (!a->ops->priority)
		return (int32_t)baton_vm(a->region, vm)->weight;
	call_begin(a, "priority");
	priority = a->ops->priority(a->region, vm, now);
	call_end();
	return priority;
}

uint32_t attached_choose_console(struct attached *a, uint64_t now)
{
	uint32_t vm;

	if (!a->ops->choose_console)
		return BATON_NONE;
	call_begin(a, "choose_console");
	vm = a->ops->choose_console(a->region, now);
	call_end();
	return vm;
}

static struct answer answer_choose(void *scheduler, uint32_t pcpu, uint64_t now)
{
	struct baton_choice c = attached_choose(scheduler, pcpu, now);

	return (struct answer){.owner = c.vcpu, .slice_ns = c.slice_ns};
}

static struct answer answer_preempts(void *scheduler, uint32_t woken, uint64_t now)
{
	return (struct answer){.owner = attached_preempts(scheduler, woken, now)};
}

static struct answer answer_priority(void *scheduler, uint32_t vm, uint64_t now)
{
	return (struct answer){.owner = BATON_NONE, .priority = attached_priority(scheduler, vm, now)};
}

static struct answer answer_choose_console(void *scheduler, uint32_t unused, uint64_t now)
{
	return (struct answer){.owner = attached_choose_console(scheduler, now)};
}

question_fn *const attached_questions[REQUEST_KINDS] = {
    [REQUEST_PCPU_OWNER] = answer_choose,
    [REQUEST_PREEMPTION] = answer_preempts,
    [REQUEST_PRIORITY] = answer_priority,
    [REQUEST_CONSOLE_OWNER] = answer_choose_console,
};

int attached_give(struct attached *a, uint32_t v, struct baton_history *ret, uint64_t now)
{
	struct baton_history *scratch = baton_scratch(a->region);
	int r;

	if (!a->ops->give || !attached_knows(a, v))
		return -EOPNOTSUPP;
	*scratch = *ret;
	call_begin(a, "give");
	r = a->ops->give(a->region, v, scratch, now);
	call_end();
	if (r >= 0)
		*ret = *scratch;
	return r;
}

size_t attached_dump(struct attached *a, char *buf, size_t size, uint64_t now)
{
	char *scratch = baton_scratch(a->region);
	size_t n;

	if (!a->ops->dump || size == 0)
		return 0;
	call_begin(a, "dump");
	n = a->ops->dump(a->region, scratch, BATON_SCRATCH_SIZE, now);
	call_end();
	n = MIN(n, MIN(size - 1, (size_t)BATON_SCRATCH_SIZE));
	memcpy(buf, scratch, n);
	buf[n] = '\0';
	return n;
}

/* ---- parameters ---- */

static const struct baton_parameter *find_parameter(const struct baton_scheduler *ops, const char *name,
						    uint32_t *ret_index)
{
	for (uint32_t i = 0; i < ops->parameter_count; i++) {
		if (strcmp(ops->parameters[i].name, name) != 0)
			continue;
		*ret_index = i;
		return &ops->parameters[i];
	}
	return NULL;
}

const struct baton_parameter *attached_parameter(const struct attached *a, const char *name, uint32_t *ret_index)
{
	return find_parameter(a->ops, name, ret_index);
}

static const struct baton_parameter *parameter_for(const struct baton_scheduler *ops, const char *name, int64_t value,
						   uint32_t *ret_index, int *ret_code, struct error *e)
{
	const struct baton_parameter *parameter = find_parameter(ops, name, ret_index);

	if (!parameter) {
		*ret_code = error_set(
		    e, -ENOENT,
		    "scheduler %s has no parameter %s; `baton sched status --json` lists those of what is loaded",
		    ops->name, name);
		return NULL;
	}
	if (value < parameter->min || value > parameter->max) {
		*ret_code =
		    error_set(e, -ERANGE, "%s = %" PRId64 " is out of range: %s takes %" PRId64 " to %" PRId64 " %s",
			      name, value, ops->name, parameter->min, parameter->max, parameter->unit);
		return NULL;
	}
	return parameter;
}

static int needs_vm(const struct baton_scheduler *ops, const char *name, struct error *e)
{
	return error_set(e, -EINVAL,
			 "%s is a parameter of a VM, not of scheduler %s: set it with `baton sched set --vm`", name,
			 ops->name);
}

int scheduler_check_param(const struct baton_scheduler *ops, const char *name, int64_t value, uint32_t *ret_index,
			  struct error *e)
{
	int r = 0;
	const struct baton_parameter *parameter = parameter_for(ops, name, value, ret_index, &r, e);

	if (!parameter)
		return r;
	return parameter->scope == BATON_SCOPE_POOL ? 0 : needs_vm(ops, name, e);
}

static int64_t *pool_value(struct attached *a, uint32_t i)
{
	return (int64_t *)(void *)((char *)a->region + a->region->params) + i;
}

int attached_preset(struct attached *a, const char *name, int64_t value, struct error *e)
{
	uint32_t i;
	int r = scheduler_check_param(a->ops, name, value, &i, e);

	if (r >= 0)
		*pool_value(a, i) = value;
	return r;
}

int attached_set(struct attached *a, uint32_t vm, const char *name, int64_t value, uint64_t now, struct error *e)
{
	uint32_t i;
	int r = 0;
	const struct baton_parameter *parameter = parameter_for(a->ops, name, value, &i, &r, e);
	int64_t old = 0;

	if (!parameter)
		return r;
	if (parameter->scope == BATON_SCOPE_VM && vm >= a->pool->vm_slots)
		return needs_vm(a->ops, name, e);
	if (parameter->scope == BATON_SCOPE_VM) {
		attached_refresh_vm(a, vm);
	} else {
		old = *pool_value(a, i);
		*pool_value(a, i) = value;
	}
	if (!a->ops->set)
		return 0;
	refusable_begin(a, "set");
	r = refusable_end(a, a->ops->set(a->region, parameter->scope, vm, i, now));
	if (r >= 0)
		return 0;
	if (parameter->scope == BATON_SCOPE_VM)
		return error_set(e, r, "scheduler %s refuses this %s of the VM: %s", a->ops->name, name, a->reason);
	*pool_value(a, i) = old;
	return error_set(e, r, "scheduler %s refuses %s = %" PRId64 ": %s", a->ops->name, name, value, a->reason);
}

/* ---- alarms: a binary heap, earliest first ---- */

uint64_t attached_next_alarm(const struct attached *a)
{
	const uint64_t burst_ns = ATTACHED_TICK_BURST * ATTACHED_TICK_NS;

	if (a->alarm_count == 0)
		return TIME_NEVER;
	return a->tick_debt_ns > burst_ns ? MAX(a->alarms[0], a->tick_debt_ns - burst_ns) : a->alarms[0];
}

static void alarm_push(struct attached *a, uint64_t t)
{
	uint32_t i = a->alarm_count, parent;

	if (i == a->alarm_room) {
		a->lost_alarms++;
		return;
	}
	a->alarm_count++;
	for (; i > 0 && a->alarms[parent = (i - 1) / 2] > t; i = parent)
		a->alarms[i] = a->alarms[parent];
	a->alarms[i] = t;
}

static void alarm_pop(struct attached *a)
{
	uint64_t last = a->alarms[--a->alarm_count];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < a->alarm_count) {
		if (child + 1 < a->alarm_count && a->alarms[child + 1] < a->alarms[child])
			child++;
		if (a->alarms[child] >= last)
			break;
		a->alarms[i] = a->alarms[child];
		i = child;
	}
	a->alarms[i] = last;
}

void attached_tick(struct attached *a, uint64_t now)
{
	if (attached_next_alarm(a) > now)
		return;
	while (a->alarm_count > 0 && a->alarms[0] <= now)
		alarm_pop(a);
	a->tick_debt_ns = MAX(a->tick_debt_ns, now) + ATTACHED_TICK_NS;
	if (!a->ops->tick)
		return;
	call_begin(a, "tick");
	a->ops->tick(a->region, now);
	call_end();
}

/* ---- what a policy may ask for: its imports. Called from inside a policy, hence under the pool's lock. ---- */

static bool decides(const struct attached *a) NO_TSA
{
	return activation_active(a->pool->activation) == a->id;
}

void baton_alarm(uint64_t t) NO_TSA
{
	struct attached *a = policy_call.attached;

	if (!a)
		return;
	for (uint32_t i = 0; i < MIN(a->alarm_count, 4u); i++) /* policies repeat themselves: coinciding ones are one */
		if (a->alarms[i] == t)
			return;
	alarm_push(a, t);
	pool_note_alarm(a->pool, attached_next_alarm(a));
}

void baton_kick(uint32_t pcpu) NO_TSA
{
	struct attached *a = policy_call.attached;

	if (!a || pcpu >= a->pool->pcpu_count)
		return;
	if (decides(a))
		pool_note_kick(a->pool, pcpu);
	else
		a->withheld++;
}

void baton_hold(uint32_t v, uint64_t t) NO_TSA
{
	struct attached *a = policy_call.attached;

	if (!a || v >= a->pool->vcpu_slots)
		return;
	if (decides(a))
		pool_note_hold(a->pool, v, t);
	else
		a->withheld++;
}

void baton_trace(uint32_t code, uint64_t a, uint64_t b) NO_TSA
{
	struct attached *caller = policy_call.attached;

	if (caller)
		trace_add(caller->pool->trace, caller->pool->last_now_ns, TRACE_POLICY, code, caller->id, a, b);
}

#define IMPORT(f)                                                                                                      \
	{                                                                                                              \
		.name = #f, .address = (uintptr_t)(f)                                                                  \
	}
const struct image_import sched_imports[] = {
    IMPORT(baton_alarm), IMPORT(baton_kick), IMPORT(baton_hold), IMPORT(baton_trace),
    IMPORT(memcpy),	 IMPORT(memset),     IMPORT(memmove),	 IMPORT(memcmp),
};
const size_t sched_import_count = ARRAY_SIZE(sched_imports);
