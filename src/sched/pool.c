/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.c - vCPU states, events and accounts. See pool.h.
 *
 * Each event has the same three steps: change the truth (and book the time that the old state lasted), tell every attached
 * scheduler, then ask the active one where that matters. Kicks are collected in a mask and sent once, when the lock is
 * dropped.
 */
#include "sched/pool.h"

#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "sched/manager.h"
#include "sched/pool_private.h"

#define SLICE_MIN_NS (100 * NSEC_PER_USEC)
#define SLICE_MAX_NS (1 * NSEC_PER_SEC)
#define HOLD_MAX_NS  (10 * NSEC_PER_SEC) /* nobody is withheld longer than this at a time */

/* ---- life ---- */

/* Zeroed, and each element of a multiple of a cache line's size on lines of its own. */
static void *aligned_calloc(size_t count, size_t size)
{
	void *p;

	if (count > SIZE_MAX / size || posix_memalign(&p, 64, count * size) != 0)
		return NULL;
	return memset(p, 0, count * size);
}

static struct pool *pool_free_parts(struct pool *p) NO_TSA
{
	for (uint32_t i = 0; i < POOL_ATTACHED_MAX; i++)
		attached_free(p->attached[i]);
	activation_free(p->activation);
	slots_destroy(&p->free_vcpus);
	slots_destroy(&p->free_vms);
	free(p->vcpus);
	free(p->vms);
	free(p->pcpus);
	free(p->trace);
	pthread_cond_destroy(&p->cease_changed);
	lock_destroy(&p->lock);
	free(p);
	return NULL;
}

int pool_new(const struct pool_config *config, struct pool **ret, struct error *e) NO_TSA
{
	struct pool *p;
	struct attached *a;
	pthread_condattr_t attr;
	uint64_t now;
	int r;

	if (config->pcpus < 1 || config->pcpus > BATON_PCPUS_MAX || config->vm_slots < 1 || config->vcpu_slots < 1)
		return error_set(e, -EINVAL, "a pool has 1 to %d pCPUs and at least one slot for VMs and vCPUs",
				 BATON_PCPUS_MAX);
	p = calloc(1, sizeof *p);
	if (!p)
		return error_set(e, -ENOMEM, "no memory for a pool");
	lock_init(&p->lock);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->cease_changed, &attr);
	pthread_condattr_destroy(&attr);

	p->host = config->host;
	p->pcpu_count = config->pcpus;
	p->vm_slots = config->vm_slots;
	p->vcpu_slots = config->vcpu_slots;
	p->slice_min_ns = config->slice_min_ns ? config->slice_min_ns : SLICE_MIN_NS;
	p->slice_max_ns = config->slice_max_ns ? config->slice_max_ns : SLICE_MAX_NS;
	p->migration_cost_ns = config->migration_cost_ns;
	p->next_alarm_ns = TIME_NEVER;
	p->console_owner = BATON_NONE;
	p->vcpus = aligned_calloc(p->vcpu_slots, sizeof *p->vcpus);
	p->vms = calloc(p->vm_slots, sizeof *p->vms);
	p->pcpus = calloc(p->pcpu_count, sizeof *p->pcpus);
	p->trace = calloc(1, sizeof *p->trace);
	if (!p->vcpus || !p->vms || !p->pcpus || !p->trace || slots_init(&p->free_vcpus, p->vcpu_slots) < 0 ||
	    slots_init(&p->free_vms, p->vm_slots) < 0) {
		pool_free_parts(p);
		return error_set(e, -ENOMEM, "no memory for a pool of %u vCPUs", config->vcpu_slots);
	}
	now = p->host->ops->now(p->host);
	p->last_now_ns = now;
	for (uint32_t i = 0; i < p->pcpu_count; i++) {
		p->pcpus[i].running = BATON_NONE;
		p->pcpus[i].put_aside = BATON_NONE;
		p->pcpus[i].since_ns = now;
	}
	r = activation_new(config->activation, ASKED_BY_COUNT, POOL_ATTACHED_MAX, &p->activation, e);
	if (r >= 0)
		r = attached_new(p, config->default_scheduler, NULL, &a, e);
	if (r < 0) {
		pool_free_parts(p);
		return r;
	}
	(void)pool_attach(p, a); /* the first: there is room */
	activation_switch_to(p->activation, a->id);
	r = attached_attach(a, now);
	if (r < 0) {
		error_set(e, r, "the default scheduler %s refuses this pool: %s", a->ops->name, a->reason);
		pool_free_parts(p);
		return r;
	}
	*ret = p;
	return 0;
}

struct pool *pool_free(struct pool *p)
{
	return p ? pool_free_parts(p) : NULL;
}

uint64_t pool_enter(struct pool *p)
{
	uint64_t now;

	lock_take(&p->lock);
	now = p->host->ops->now(p->host);
	p->last_now_ns = MAX(p->last_now_ns, now);
	return p->last_now_ns;
}

struct kicks pool_take_kicks(struct pool *p)
{
	struct kicks k;

	if (p->alarm_moved)
		pool_note_kick(p, p->alarm_pcpu);
	p->alarm_moved = false;
	p->kicks_noted = false;
	for (uint32_t i = 0; i < ARRAY_SIZE(k.mask); i++) {
		k.mask[i] = p->kick_mask[i];
		p->kick_mask[i] = 0;
		for (uint64_t mask = k.mask[i]; mask != 0; mask &= mask - 1)
			trace_add(p->trace, p->last_now_ns, TRACE_KICK, BATON_NONE,
				  i * 64 + (uint32_t)__builtin_ctzll(mask), 0, 0);
	}
	return k;
}

void pool_send_kicks(struct pool *p, const struct kicks *k)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(k->mask); i++)
		for (uint64_t mask = k->mask[i]; mask != 0; mask &= mask - 1)
			p->host->ops->kick(p->host, i * 64 + (uint32_t)__builtin_ctzll(mask));
}

void pool_leave(struct pool *p)
{
	struct kicks k;

	if (!p->kicks_noted && !p->alarm_moved) { /* nearly always */
		lock_drop(&p->lock);
		return;
	}
	k = pool_take_kicks(p);
	lock_drop(&p->lock);
	pool_send_kicks(p, &k);
}

void pool_note_kick(struct pool *p, uint32_t pcpu)
{
	/* An idle pCPU that will ask soon is no longer to be had for the next one who seeks. */
	p->free_mask[pcpu / 64] &= ~(UINT64_C(1) << (pcpu % 64));
	p->kick_mask[pcpu / 64] |= UINT64_C(1) << (pcpu % 64);
	p->kicks_noted = true;
}

static void unnote_kick(struct pool *p, uint32_t pcpu) REQUIRES(p->lock)
{
	p->kick_mask[pcpu / 64] &= ~(UINT64_C(1) << (pcpu % 64));
}

void pool_note_hold(struct pool *p, uint32_t v, uint64_t until)
{
	p->vcpus[v].held_until_ns = MIN(until, p->last_now_ns + HOLD_MAX_NS);
}

/* ---- accounts ---- */

static void vcpu_book(struct pool_vcpu *v, uint64_t now)
{
	uint64_t lasted = now - v->since_ns;

	switch (v->state) {
	case BATON_VCPU_RUNNING:
		v->run_ns += lasted;
		break;
	case BATON_VCPU_RUNNABLE:
		v->wait_ns += lasted;
		break;
	case BATON_VCPU_BLOCKED:
		v->blocked_ns += lasted;
		break;
	case BATON_VCPU_FREE:
		break;
	}
	v->since_ns = now;
}

void pool_vcpu_become(struct pool_vcpu *v, enum baton_vcpu_state state, uint64_t now)
{
	vcpu_book(v, now);
	v->state = state;
}

void pool_pcpu_book(struct pool_pcpu *c, uint64_t now)
{
	uint64_t lasted = now - c->since_ns;

	if (c->running != BATON_NONE)
		c->busy_ns += lasted;
	else if (c->idle)
		c->idle_ns += lasted;
	else
		c->other_ns += lasted;
	c->since_ns = now;
}

void pool_pcpu_set_idle(struct pool *p, uint32_t pcpu, bool idle)
{
	uint64_t bit = UINT64_C(1) << (pcpu % 64);

	p->pcpus[pcpu].idle = idle;
	if (idle)
		p->free_mask[pcpu / 64] |= bit;
	else
		p->free_mask[pcpu / 64] &= ~bit;
}

struct pool_times pool_vcpu_times(struct pool *p, uint32_t v, uint64_t now)
{
	struct pool_vcpu copy = p->vcpus[v];

	vcpu_book(&copy, now);
	return (struct pool_times){.run_ns = copy.run_ns, .wait_ns = copy.wait_ns, .blocked_ns = copy.blocked_ns};
}

void pool_pcpu_times(struct pool *p, uint32_t pcpu, uint64_t now, uint64_t *ret_busy, uint64_t *ret_idle,
		     uint64_t *ret_other)
{
	struct pool_pcpu copy = p->pcpus[pcpu];

	pool_pcpu_book(&copy, now);
	*ret_busy = copy.busy_ns;
	*ret_idle = copy.idle_ns;
	*ret_other = copy.other_ns;
}

/* ---- events ---- */

static bool pcpu_is_free(struct pool *p, uint32_t pcpu) REQUIRES(p->lock)
{
	return (p->free_mask[pcpu / 64] >> (pcpu % 64)) & 1;
}

/* Somebody idle could run v, which was put aside runnable: ask there. Keeps the pool work-conserving whatever a policy's
 * preempts says. */
static void offer_to_idle(struct pool *p, uint32_t v) REQUIRES(p->lock)
{
	for (uint32_t i = 0; i < pool_mask_words(p); i++) {
		uint64_t both = p->free_mask[i] & p->vcpus[v].affinity[i];

		if (both) {
			pool_note_kick(p, i * 64 + (uint32_t)__builtin_ctzll(both));
			return;
		}
	}
}

/* v waits: should some pCPU be asked on its behalf? The active scheduler says which; an idle one is woken in any case. */
void pool_seek_pcpu(struct pool *p, uint32_t v, enum requester_kind by, uint64_t now)
{
	struct feedback fb;

	if (p->cease)
		return; /* everybody asks again when the sign is lowered */
	manager_request(p, &(struct sched_request){.kind = REQUEST_PREEMPTION, .requester = by, .subject = v}, now,
			&fb);
	if (fb.owner == BATON_NONE)
		return;
	if (p->pcpus[fb.owner].idle && !pcpu_is_free(p, fb.owner))
		offer_to_idle(p, v); /* that one was kicked already, for somebody else */
	else
		pool_note_kick(p, fb.owner);
}

void pool_wake(struct pool *p, uint32_t v, enum requester_kind by, uint64_t now)
{
	struct pool_vcpu *vcpu = &p->vcpus[v];
	struct attached *a;

	if (vcpu->state != BATON_VCPU_BLOCKED)
		return;
	if (vcpu->paused) {
		vcpu->wake_pending = true;
		return;
	}
	pool_vcpu_become(vcpu, BATON_VCPU_RUNNABLE, now);
	trace_add(p->trace, now, TRACE_WAKE, v, BATON_NONE, by, 0);
	pool_for_each_listener(p, a) attached_wake(a, v, now);
	pool_seek_pcpu(p, v, by, now);
}

void pool_stop(struct pool *p, uint32_t pcpu, enum baton_stop why, uint64_t now)
{
	struct pool_pcpu *c = &p->pcpus[pcpu];
	uint32_t v = c->running;
	struct pool_vcpu *vcpu = &p->vcpus[v];
	uint64_t started_ns = vcpu->since_ns;
	struct attached *a;

	assert(v != BATON_NONE && vcpu->state == BATON_VCPU_RUNNING && vcpu->pcpu == pcpu);
	if (vcpu->paused) { /* the operator's pause takes effect here */
		vcpu->wake_pending = why != BATON_STOP_BLOCKED;
		why = BATON_STOP_BLOCKED;
	}
	pool_pcpu_book(c, now);
	c->running = BATON_NONE;
	pool_vcpu_become(vcpu, why == BATON_STOP_BLOCKED ? BATON_VCPU_BLOCKED : BATON_VCPU_RUNNABLE, now);
	c->put_aside = vcpu->state == BATON_VCPU_RUNNABLE ? v : BATON_NONE;
	trace_add(p->trace, now, TRACE_STOP, v, pcpu, now - started_ns, why);
	pool_for_each_listener(p, a) attached_stop(a, v, pcpu, started_ns, why, now);
}

void pool_ask(struct pool *p, uint32_t pcpu, enum requester_kind by, uint64_t now, struct feedback *fb)
{
	struct pool_pcpu *c = &p->pcpus[pcpu];
	struct pool_vcpu *vcpu;
	struct attached *a;
	uint32_t v;

	assert(c->running == BATON_NONE);
	unnote_kick(p, pcpu); /* it is asking already */
	manager_request(p, &(struct sched_request){.kind = REQUEST_PCPU_OWNER, .requester = by, .subject = pcpu}, now,
			fb);
	v = fb->owner;
	pool_pcpu_book(c, now);
	c->decisions++;
	p->decisions++;
	if (v == BATON_NONE) {
		if (!c->idle)
			trace_add(p->trace, now, TRACE_IDLE, BATON_NONE, pcpu, 0, 0);
		pool_pcpu_set_idle(p, pcpu, true);
		return;
	}
	pool_pcpu_set_idle(p, pcpu, false);
	vcpu = &p->vcpus[v];
	pool_vcpu_become(vcpu, BATON_VCPU_RUNNING, now);
	vcpu->migrations += vcpu->pcpu != pcpu && vcpu->pcpu != BATON_NONE;
	vcpu->pcpu = pcpu;
	vcpu->starts++;
	c->running = v;
	c->slice_end_ns = now + fb->slice_ns;
	trace_add(p->trace, now, TRACE_START, v, pcpu, fb->slice_ns, activation_active(p->activation));
	pool_for_each_listener(p, a) attached_start(a, v, pcpu, now);
	if (c->put_aside != BATON_NONE && c->put_aside != v && p->vcpus[c->put_aside].state == BATON_VCPU_RUNNABLE)
		offer_to_idle(p, c->put_aside);
	c->put_aside = BATON_NONE;
}

void pool_tick(struct pool *p, uint32_t pcpu, uint64_t now)
{
	struct attached *a;

	if (p->next_alarm_ns > now)
		return;
	trace_add(p->trace, now, TRACE_TICK, BATON_NONE, pcpu, 0, 0);
	p->next_alarm_ns = TIME_NEVER;
	p->alarm_pcpu = pcpu;
	pool_for_each_listener(p, a) attached_tick(a, now);
	pool_for_each_listener(p, a) p->next_alarm_ns = MIN(p->next_alarm_ns, attached_next_alarm(a));
}

void pool_note_alarm(struct pool *p, uint64_t t)
{
	if (t >= p->next_alarm_ns)
		return;
	p->next_alarm_ns = t;
	p->alarm_moved = true;
}

uint64_t pool_alarm_for(struct pool *p, uint32_t pcpu)
{
	if (p->alarm_pcpu == pcpu)
		p->alarm_moved = false;
	return p->alarm_pcpu == pcpu ? p->next_alarm_ns : TIME_NEVER;
}

void pool_spin(struct pool *p, uint32_t v, uint64_t now)
{
	struct attached *a;

	pool_for_each_listener(p, a) attached_spin(a, v, now);
}

void pool_ipi(struct pool *p, uint32_t from, uint32_t to, uint64_t now)
{
	struct attached *a;

	pool_for_each_listener(p, a) attached_ipi(a, from, to, now);
}

void pool_interrupt(struct pool *p, uint32_t v, uint64_t now)
{
	struct attached *a;

	pool_for_each_listener(p, a) attached_interrupt(a, v, now);
}
