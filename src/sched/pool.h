/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool.h - a set of pCPUs, a set of VMs, and the schedulers that are attached to them: one decides, all hear everything.
 *
 * The pool owns the truth about every vCPU; schedulers only order it. Losing a scheduler loses no vCPU:
 *
 *	             wake                  start
 *	  BLOCKED ---------> RUNNABLE ---------------> RUNNING(pcpu)
 *	     ^  ^------------/  sleep      <----------/ stop (slice end, preempted, yielded, I/O, ceased)
 *	     \---------------------------------------/ stop (blocked)
 *
 * A paused vCPU is BLOCKED whatever its guest wants; a wake-up in the meantime is remembered.
 *
 * Threads: one lock per pool. pool_enter takes it and reads the clock, so that the times of events never go back;
 * pool_leave drops it. All other functions need the lock and take that time as `now`.
 *
 * Accounts: each vCPU's time is split into run, wait (runnable without running: its steal time) and blocked, exactly,
 * because a state's time is booked when the state ends. Each pCPU's time is split into busy (a vCPU was granted), idle
 * (asked and nobody was there) and other (between the two).
 */
#ifndef SCHED_POOL_H
#define SCHED_POOL_H

#include "base/base.h"
#include "base/lock.h"
#include "base/slots.h"
#include "sched/attached.h"
#include "sched/host.h"
#include "sched/request.h"
#include "trace/ring.h"

#define POOL_ATTACHED_MAX   9  /* the default and up to eight images */
#define POOL_WRONG_LIMIT    16 /* wrong answers after which a scheduler is no longer asked */
#define POOL_WEIGHT_DEFAULT 256

/* Two cache lines: what every slice touches, and the rest. */
struct pool_vcpu {
	enum baton_vcpu_state state;
	uint32_t vm;
	uint32_t index;
	uint32_t pcpu; /* where it runs, or ran last; BATON_NONE */
	bool paused;
	bool wake_pending;	  /* woken while paused */
	bool anywhere;		  /* affinity covers every pCPU of the pool */
	uint64_t since_ns;	  /* when the present state began */
	uint64_t run_ns, wait_ns; /* without the present state; see pool_vcpu_times */
	uint64_t starts;
	void *cookie; /* the host's vCPU */

	uint64_t affinity[BATON_PCPUS_MAX / 64];
	uint64_t blocked_ns; /* as run_ns */
	uint64_t admitted_ns;
	uint64_t migrations;	/* starts on another pCPU than last time */
	uint64_t held_until_ns; /* the active policy withholds it on purpose until then */
};
static_assert(sizeof(struct pool_vcpu) == 128, "two cache lines");

struct pool_pcpu {
	uint32_t running;   /* vCPU or BATON_NONE */
	uint32_t put_aside; /* who ran here last and stayed runnable, until the next decision */
	bool idle;	    /* asked, and nobody was there: waits for a kick */
	bool ceased;	    /* came to rest for the cease sign */
	uint64_t since_ns;  /* when busy/idle/other began */
	uint64_t slice_end_ns;
	uint64_t busy_ns, idle_ns, other_ns;
	uint64_t decisions;
	uint64_t ceased_at_ns, blackout_ns; /* of the last cease */
};

struct pool {
	struct lock lock;
	struct sched_host *host;

	struct pool_vcpu *vcpus GUARDED_BY(lock);
	struct baton_vm *vms GUARDED_BY(lock); /* the operator's wishes, as schedulers see them */
	struct pool_pcpu *pcpus GUARDED_BY(lock);
	uint32_t vcpu_slots, vm_slots, pcpu_count; /* fixed */
	uint64_t slice_min_ns, slice_max_ns, migration_cost_ns;

	struct slots free_vcpus GUARDED_BY(lock), free_vms GUARDED_BY(lock);

	struct attached *attached[POOL_ATTACHED_MAX] GUARDED_BY(lock);	/* by identifier; [0] is the default */
	struct attached *listeners[POOL_ATTACHED_MAX] GUARDED_BY(lock); /* those that hear events; [0] is the default */
	uint32_t listener_count GUARDED_BY(lock);
	struct activation *activation GUARDED_BY(lock); /* who is asked, and how requests get there (S14 - S17) */

	uint64_t free_mask[BATON_PCPUS_MAX / 64] GUARDED_BY(lock); /* idle, and not kicked since */
	uint64_t kick_mask[BATON_PCPUS_MAX / 64] GUARDED_BY(lock); /* kicks asked for during a policy call */
	bool kicks_noted GUARDED_BY(lock);			   /* there may be some */
	uint64_t next_alarm_ns GUARDED_BY(lock);
	uint32_t alarm_pcpu GUARDED_BY(lock); /* whose run loop calls pool_tick then */
	bool alarm_moved GUARDED_BY(lock);    /* and it has not heard yet that this is sooner than it knew */

	bool cease GUARDED_BY(lock); /* the cease sign: in every resume path */
	uint32_t ceased_count GUARDED_BY(lock);
	pthread_cond_t cease_changed;

	uint32_t console_owner GUARDED_BY(lock); /* VM, or BATON_NONE */
	uint64_t decisions GUARDED_BY(lock);
	uint64_t wrong_answers GUARDED_BY(lock);
	uint64_t fallbacks GUARDED_BY(lock);
	uint64_t requests[ASKED_BY_COUNT][REQUEST_KINDS] GUARDED_BY(lock);
	uint64_t last_now_ns GUARDED_BY(lock);
	struct trace_ring *trace GUARDED_BY(lock);
};

struct pool_config {
	struct sched_host *host;
	uint32_t pcpus; /* 1 .. BATON_PCPUS_MAX */
	uint32_t vm_slots;
	uint32_t vcpu_slots;
	uint64_t slice_min_ns;	    /* 0 = 100 us */
	uint64_t slice_max_ns;	    /* 0 = 1 s */
	uint64_t migration_cost_ns; /* measured by the host */
	enum activation_way activation;
	const struct baton_scheduler *default_scheduler;
};

int pool_new(const struct pool_config *config, struct pool **ret, struct error *e);
struct pool *pool_free(struct pool *p);

/* Takes the lock; returns the time of the events that follow. */
uint64_t pool_enter(struct pool *p) ACQUIRE(p->lock);
/* Drops the lock, then sends the kicks that were asked for meanwhile. */
void pool_leave(struct pool *p) RELEASE(p->lock);

/* ---- members ---- */

/* A VM with the operator's wishes (used and service are set here). -ENOSPC without a free slot. */
int pool_vm_add(struct pool *p, const struct baton_vm *wishes, uint32_t *ret_vm) REQUIRES(p->lock);
void pool_vm_remove(struct pool *p, uint32_t vm) REQUIRES(p->lock);
/* A vCPU, blocked and paused at first (pool_resume). The active and the default scheduler may refuse: then nothing changed
 * and e says who and why. Another one that refuses is withdrawn from the pool. affinity NULL = all pCPUs. Errors: -ENOSPC,
 * -EINVAL (no pCPU of this pool is in affinity), or the scheduler's. */
int pool_vcpu_add(struct pool *p, uint32_t vm, uint32_t index, const uint64_t *affinity, void *cookie, uint64_t now,
		  uint32_t *ret_vcpu, struct error *e) REQUIRES(p->lock);
/* The vCPU must not be running (pause it first). */
void pool_vcpu_remove(struct pool *p, uint32_t v, uint64_t now) REQUIRES(p->lock);

/* Where v may run from now on. When it waits, every scheduler hears of it as of a sleep and a wake at the same time; when
 * it runs where it no longer may, that pCPU is kicked. -EINVAL: no pCPU of this pool is in affinity. */
int pool_vcpu_affinity(struct pool *p, uint32_t v, const uint64_t affinity[BATON_PCPUS_MAX / 64], uint64_t now)
    REQUIRES(p->lock);

/* ---- events, told by the host ---- */

/* v has something to do. Harmless when it is not blocked. by: what woke it. */
void pool_wake(struct pool *p, uint32_t v, enum requester_kind by, uint64_t now) REQUIRES(p->lock);
/* The vCPU that ran on pcpu stopped. why BLOCKED: the host has checked under this lock that nothing pends for it. */
void pool_stop(struct pool *p, uint32_t pcpu, enum baton_stop why, uint64_t now) REQUIRES(p->lock);
/* Who runs on pcpu next? Starts it (fb->owner, fb->slice_ns), or marks the pCPU idle (fb->owner = BATON_NONE). */
void pool_ask(struct pool *p, uint32_t pcpu, enum requester_kind by, uint64_t now, struct feedback *fb)
    REQUIRES(p->lock);
/* An alarm may be due. pool_alarm_for: when this pCPU's loop has to call it (TIME_NEVER: another one does). */
void pool_tick(struct pool *p, uint32_t pcpu, uint64_t now) REQUIRES(p->lock);
uint64_t pool_alarm_for(struct pool *p, uint32_t pcpu) REQUIRES(p->lock);
void pool_spin(struct pool *p, uint32_t v, uint64_t now) REQUIRES(p->lock);
void pool_ipi(struct pool *p, uint32_t from, uint32_t to, uint64_t now) REQUIRES(p->lock);
void pool_interrupt(struct pool *p, uint32_t v, uint64_t now) REQUIRES(p->lock);

/* ---- the operator ---- */

/* Pause: a running vCPU is kicked and stops soon; returns true when it is at rest already. */
bool pool_pause(struct pool *p, uint32_t v, uint64_t now) REQUIRES(p->lock);
void pool_resume(struct pool *p, uint32_t v, bool runnable, uint64_t now) REQUIRES(p->lock);
/* The console (a switch device) goes to this VM, or to nobody; all schedulers hear of it (boost). */
void pool_console_give(struct pool *p, uint32_t vm, uint64_t now) REQUIRES(p->lock);
/* A VM's wish changed in p->vms: tell everybody. name = the field. Returns the active scheduler's refusal, if any (e says
 * why): then put the old value back and tell again. What a shadow says does not count. */
int pool_vm_changed(struct pool *p, uint32_t vm, const char *name, uint64_t now, struct error *e) REQUIRES(p->lock);

/* A vCPU's accounts up to now, the present state included. */
struct pool_times {
	uint64_t run_ns, wait_ns, blocked_ns;
};
struct pool_times pool_vcpu_times(struct pool *p, uint32_t v, uint64_t now) REQUIRES(p->lock);
void pool_pcpu_times(struct pool *p, uint32_t pcpu, uint64_t now, uint64_t *ret_busy, uint64_t *ret_idle,
		     uint64_t *ret_other) REQUIRES(p->lock);

/* ---- ceasing (rows S19 - S21): used by change.c and by run loops ---- */

/* Raises the sign and kicks every pCPU. */
void pool_cease_begin(struct pool *p) REQUIRES(p->lock);
/* A run loop that finds the sign, outside the guest and with no vCPU running: rests here until the sign is lowered.
 * Returns the time after it. */
uint64_t pool_cease_rest(struct pool *p, uint32_t pcpu, uint64_t now) REQUIRES(p->lock);
/* Its two halves, for run loops that are no threads (host.h, await_rest): it rests from now on; it goes on. */
void pool_cease_arrive(struct pool *p, uint32_t pcpu, uint64_t now) REQUIRES(p->lock);
void pool_cease_depart(struct pool *p, uint32_t pcpu, uint64_t now) REQUIRES(p->lock);
/* Waits until every pCPU rests; -ETIMEDOUT at the deadline (CLOCK_MONOTONIC). */
int pool_cease_wait(struct pool *p, uint64_t deadline_ns) REQUIRES(p->lock);
void pool_cease_end(struct pool *p) REQUIRES(p->lock);

/* ---- schedulers ---- */

/* Places a into the table of attached schedulers; -ENOSPC when it is full. It hears of vCPUs as they are admitted to it.
 * pool_detach: not the active one, nor the default. */
int pool_attach(struct pool *p, struct attached *a) REQUIRES(p->lock);
void pool_detach(struct pool *p, struct attached *a, uint64_t now) REQUIRES(p->lock);
/* A shadow that cannot go on: it hears nothing any more and cannot be activated, until it is unloaded. */
void pool_withdraw(struct pool *p, struct attached *a) REQUIRES(p->lock);
/* By name or, where several of one name are loaded, by name#identifier. NULL: none, or several (pool_resolve). */
struct attached *pool_find(struct pool *p, const char *name) REQUIRES(p->lock);
/* The same with a reason: -ENOENT, -ENOTUNIQ. images: only those that came from an image, not the built-in default. */
int pool_resolve(struct pool *p, const char *name, bool images, struct attached **ret, struct error *e)
    REQUIRES(p->lock);

/* For the imports: what a policy asked for in the middle of a call (attached.c). */
void pool_note_kick(struct pool *p, uint32_t pcpu) REQUIRES(p->lock);
void pool_note_alarm(struct pool *p, uint64_t t) REQUIRES(p->lock);
void pool_note_hold(struct pool *p, uint32_t v, uint64_t until) REQUIRES(p->lock);

#endif
