/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the parts of the simulator share: the modelled vCPU, VM and pCPU.
 *
 *	engine.c	time: what is due next, and what the pool is told of it
 *	members.c	VMs that come and go
 *	behaviour.c	what a vCPU wants next
 *	changes.c	a change of scheduler in virtual time
 *	stats.c		what is measured meanwhile
 */
#ifndef SIM_INTERNAL_H
#define SIM_INTERNAL_H

#include "sim/queue.h"
#include "sim/random.h"
#include "sim/sim.h"
#include "sim/stats.h"

/* What the time that a vCPU has left leads to. */
enum step {
	STEP_WORK,    /* the next step of its behaviour */
	STEP_HALTING, /* it only has to run once more to halt */
	STEP_POLL,    /* io: it waits for the device and looks now and then */
	STEP_SILENT,  /* bursty: between bursts (blocked) */
	STEP_SPIN,    /* lock: it spins */
	STEP_HOLD,    /* lock: it has it */
};

/*
 * The first 64 bytes are what starting and stopping need, the next what waking and halting need as well: with 100,000 vCPUs
 * it is cache lines that a decision costs.
 */
struct sim_vcpu {
	uint64_t left_ns; /* of running, until the next step; TIME_NEVER = for ever */
	uint64_t
	    from_ns; /* while it runs: since when it makes progress (later than its start by what switching costs) */
	uint64_t ready_ns; /* since when it is runnable */
	uint64_t woke_ns;  /* the wake-up that it has not yet run after; 0 = none */
	uint64_t burst_ns; /* when it woke last */
	const struct behaviour *does;
	uint32_t id;   /* in the pool; BATON_NONE: it is not there */
	uint32_t pcpu; /* where it runs; BATON_NONE */
	uint16_t last; /* where it ran last; UINT16_MAX */
	uint8_t step;  /* enum step */
	uint8_t reserved;
	uint32_t entry; /* of the workload */

	uint64_t wake_ns; /* while it is blocked: when it wakes by itself; TIME_NEVER */
	uint64_t phase_end_ns, stop_ns;
	uint64_t random;
	uint64_t next_ns; /* periodic: next release; bursty: end of the burst; io: the device is done */
	uint64_t jobs;	  /* periodic jobs, turns of io, critical sections, demands that were done */
	uint32_t number;  /* in the simulation: fixed; in the order of the workload */
	uint32_t vm;	  /* number in the simulation */
	uint64_t base_ns; /* when the behaviour began */

	const struct program *program;
	size_t cursor;	  /* replay: next demand */
	uint64_t missed;  /* periodic: jobs done after the next one came */
	uint64_t spin_ns; /* spent in pause loops */
	uint32_t phase;
} __attribute__((aligned(64)));

struct sim_vm {
	uint32_t id; /* in the pool; BATON_NONE: it is not there */
	uint32_t entry;
	uint32_t first, count;		     /* its vCPUs, numbers in the simulation */
	uint32_t lock_owner[WORKLOAD_LOCKS]; /* vCPU; BATON_NONE: free */
};

struct sim_pcpu {
	uint32_t vcpu; /* number in the simulation; BATON_NONE */
	uint32_t last; /* who ran before */
	uint64_t slice_end_ns;
	uint64_t kick_ns; /* when a kick arrives; TIME_NEVER */
	bool resting;	  /* for the cease sign */
};

struct planned_change {
	bool planned, running, passing;
	uint64_t at_ns;
	struct change_spec spec;
	struct changer changer;
	struct change_report *report;
	enum change_phase phase;
};

struct sim {
	struct sched_host host;
	struct pool *pool;
	const struct workload *workload;
	struct image *image;
	uint64_t now_ns, end_ns;
	uint64_t alarm_ns;
	struct queue pcpu_queue, vcpu_queue;
	struct sim_pcpu *pcpus;
	struct sim_vcpu *vcpus;
	struct sim_vm *vms;
	uint32_t vcpu_count, vm_count;
	uint64_t seed;
	uint64_t events, kicks;
	uint64_t instant_events; /* at the present time: a policy that kicks itself for ever is found out */
	bool stopped;
	int failed; /* why the simulation cannot go on; failure says it for people */
	struct error failure;
	struct planned_change change;
	struct sim_stats *stats;
	sim_observer observer;
	void *ctx;
};

/* ---- engine.c ---- */

/* Takes the pool's lock, and drops it after having taken note of the next alarm. */
uint64_t engine_enter(struct sim *s) ACQUIRE(s->pool->lock);
void engine_leave(struct sim *s) RELEASE(s->pool->lock);
/* When the pCPU has to be looked at next. */
void engine_set_pcpu(struct sim *s, uint32_t pcpu);
void engine_set_vcpu(struct sim *s, struct sim_vcpu *v);
/* All events until then. */
void engine_advance(struct sim *s, uint64_t until);
/* One event, when one is due until then; false: none is, or the simulation cannot go on. */
bool engine_step(struct sim *s, uint64_t until);
void engine_tell(struct sim *s, const struct sim_event *event);
/* v, which runs, gives its pCPU up: the pool is told, another one is asked for there. Lock not held. */
void engine_stop_running(struct sim *s, struct sim_vcpu *v, enum baton_stop why);

static inline struct sim_event event_of(const struct sim *s, enum sim_event_kind kind, const struct sim_vcpu *v)
{
	return (struct sim_event){.kind = kind,
				  .time_ns = s->now_ns,
				  .vcpu = v ? v->id : BATON_NONE,
				  .vm = v ? s->vms[v->vm].id : BATON_NONE,
				  .pcpu = BATON_NONE};
}

/* ---- members.c ---- */

int members_new(struct sim *s, struct error *e);
/* Admits a VM and wakes those of its vCPUs that begin by running. */
int members_start(struct sim *s, uint32_t vm, struct error *e);
void members_stop(struct sim *s, uint32_t vm);

/* ---- behaviour.c: what a vCPU wants; knows time and locks, not the pool ---- */

enum act {
	ACT_GO_ON, /* left_ns is set anew */
	ACT_HALT,  /* blocked until wake_ns */
	ACT_YIELD,
	ACT_IO,
	ACT_SPIN, /* a pause-loop exit */
};

/* Enters phase number n. True: it has something to run; false: blocked until wake_ns. */
bool behaviour_begin(struct sim *s, struct sim_vcpu *v, uint32_t n);
/* The phase is over: the next one. As behaviour_begin. */
bool behaviour_next_phase(struct sim *s, struct sim_vcpu *v);
/* left_ns is used up. */
enum act behaviour_next(struct sim *s, struct sim_vcpu *v);
/* It was blocked and wake_ns has come. */
void behaviour_woken(struct sim *s, struct sim_vcpu *v);
/* It is on a pCPU now: who spins looks at the lock. */
void behaviour_started(struct sim *s, struct sim_vcpu *v);
/* It goes for good: gives back what it holds. */
void behaviour_end(struct sim *s, struct sim_vcpu *v);

/* ---- changes.c ---- */

/* The planned change is due. */
void change_now(struct sim *s);
/* For the host's clock: time that goes by within a change. */
void change_clock(struct sim *s);
/* Ceasing: host.h. */
void change_await_rest(struct sched_host *h, uint64_t deadline_ns);
int change_flush(struct sched_host *h, char *why, size_t size);

#endif
