/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - the objects of src/host, for its own files. The life of a kick is told here, see struct host_pcpu. */
#ifndef HOST_INTERNAL_H
#define HOST_INTERNAL_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "base/lock.h"
#include "host/host.h"

/* Interrupts KVM_RUN; its handler sets immediate_exit of the vCPU that its thread is about to run. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define SIGNAL_KICK SIGSYS /* that tool puts other signals off until the next library call: too late for KVM_RUN */
#else
#define SIGNAL_KICK SIGUSR1
#endif

/*
 * A thread that can carry a run loop: the worker of a pCPU, or the own thread of a vCPU. Its timer signals this thread
 * alone, so it travels with the loop. `gate` is where it sleeps while it carries nothing.
 */
enum {
	GATE_CLOSED = 0,
	GATE_GIVEN = 1, /* something was given */
	GATE_IDLES = 2, /* + n: it carries the loop of pCPU n, which idles: whoever gives it another one kicks n */
};
struct runner {
	struct host *host;
	pthread_t thread;
	_Atomic uint32_t tid; /* 0 until it has begun */
	timer_t timer;
	uint64_t armed_ns;	 /* what the timer is set to; TIME_NEVER */
	int pinned_cpu;		 /* -1: nowhere yet */
	_Atomic uint32_t gate;	 /* GATE_* */
	struct host_pcpu *given; /* the pCPU it shall carry; NULL: look at quit */
	_Atomic bool quit;
	struct host_vcpu *own;	/* NULL: a worker */
	struct host_pcpu *home; /* a worker's pCPU */
};

/*
 * state says where the run loop of a pCPU is, plus what was asked of it meanwhile. A kick sets a bit and then, by what it
 * saw, interrupts KVM_RUN (GUEST), wakes the futex (IDLE) or does nothing (MONITOR: the loop looks before it leaves). The
 * loop goes from MONITOR to GUEST or IDLE by one compare-and-exchange that fails when a bit is set; a signal that comes
 * between that and KVM_RUN finds immediate_exit cleared already, and sets it. So no kick can be lost.
 */
enum {
	LOOP_MONITOR = 0,
	LOOP_GUEST = 1,
	LOOP_IDLE = 2,
	LOOP_PLACE = 3, /* mask of the three */
	KICK_ASK = 4,	/* ask the pool again */
	KICK_LOOK = 8,	/* the vCPU that runs has something pending: look, and go on with it */
};

struct host_pcpu {
	struct host *host;
	uint32_t index;
	int cpu;
	_Atomic uint32_t state;
	_Atomic uint32_t carrier_tid; /* who carries the loop: whom a kick interrupts */
	_Atomic(struct runner *) carrier;
	struct host_vcpu *current; /* loop only */
	uint64_t decided_ns;	   /* loop only: when current was chosen */
	uint64_t slice_end_ns;	   /* loop only */
	uint64_t others_ns;	   /* loop only: earliest of timers and the pool's alarm */
	/* Deadlines of vCPUs that stopped here and do not run: a binary heap, earliest first. Pool lock. */
	struct host_vcpu **timers;
	uint32_t timer_count;
	/* bench: from leaving one vCPU's exit to entering another vCPU, in ticks of the TSC: reading the clock would cost a
	 * tenth of what is measured */
	uint64_t left_tsc;
	_Atomic uint64_t switch_ticks, switch_count;
	struct runner worker;
};

struct host_vcpu {
	struct host_vm *vm;
	struct vcpu *v;
	uint32_t id;		      /* in the pool */
	uint64_t steal_ns;	      /* total waiting, as of its last start */
	struct host_pcpu *timer_home; /* in whose timers it is; pool lock */
	uint32_t timer_index;
	uint64_t timer_ns;
	struct runner runner; /* own-thread carrier only */
};

struct host_vm {
	struct host *host;
	struct machine *machine;
	const struct host_vm_ops *ops;
	void *ctx;
	uint32_t id;	      /* in the pool */
	struct host_vm *next; /* of the host's VMs; host.vms_lock */
	unsigned vcpu_count;
	struct host_vcpu vcpus[MACHINE_VCPUS_MAX];
};

/*
 * A carrier: how the run loop of a pCPU gets onto the thread that must run a certain vCPU.
 */
struct carrier {
	const char *name;
	bool own_threads;
	/* The loop of pc, now on `self`, has to run pc->current next. Returns the pCPU to go on with on this thread: pc
	 * itself, or another one that was given meanwhile to this thread (with its own current), or NULL: quit. */
	struct host_pcpu *(*carry)(struct runner *self, struct host_pcpu *pc);
};
extern const struct carrier carrier_worker, carrier_thread;

struct host {
	struct sched_host sched; /* what the pool sees of us */
	struct pool *pool;
	const struct carrier *carrier;
	int kvm_fd;
	bool fifo;
	_Atomic bool stopping;
	struct io_loop *io_loop;
	struct lock vms_lock; /* held while the devices are at rest; before the loop's lock and the pool's */
	struct host_vm *vms GUARDED_BY(vms_lock);
	uint32_t pcpu_count;
	struct host_pcpu *pcpus;
	uint64_t born_ns, born_tsc; /* for host_switch_cost: how long a tick is */
};

/* runner.c: a thread with its timer and its gate. */
int runner_start(struct runner *r, struct host *h, struct error *e);
void runner_join(struct runner *r);
void runner_pin(struct runner *r, int cpu);
void runner_arm(struct runner *r, uint64_t deadline_ns, uint64_t now);
void runner_give(struct runner *r, struct host_pcpu *pc);
struct host_pcpu *runner_wait(struct runner *r);
/* The vCPU that this thread enters next (NULL: none): whose immediate_exit a kick sets. */
void runner_entering(struct kvm_run *run);

/* loop.c */
void loop_carry(struct runner *self, struct host_pcpu *pc);
void loop_kick(struct host_pcpu *pc, uint32_t bit);

/* timers.c; pool lock held */
void timers_put(struct host_pcpu *pc, struct host_vcpu *hv);
void timers_remove(struct host_vcpu *hv);
uint64_t timers_next(const struct host_pcpu *pc);

#endif
