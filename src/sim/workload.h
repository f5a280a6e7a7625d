/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload.h - what a simulation is fed with: pCPUs, VMs, and what each vCPU wants over time.
 *
 * A workload is plain data: read from a JSON file (workload_load), from a recording (recording.h), or filled in by a
 * program (workload_new, workload_add_vm, program_add). It is constant while simulations run, and several of them may
 * share one. docs/simulator.md describes the file.
 *
 * All times are durations in ns, counted from the beginning of the simulation. Threads: none of its own.
 */
#ifndef SIM_WORKLOAD_H
#define SIM_WORKLOAD_H

#include "base/base.h"
#include "base/clock.h"
#include "baton/scheduler.h"

#define WORKLOAD_VCPUS_MAX    (UINT32_C(1) << 18)
#define WORKLOAD_NAME_MAX     48
#define WORKLOAD_WINDOWS_MAX  1000000
#define WORKLOAD_DURATION_MAX (UINT64_C(1000000) * NSEC_PER_SEC)

/* A length of time, fixed or drawn anew each time. Never longer than WORKLOAD_DURATION_MAX. */
enum length_kind {
	LENGTH_FIXED,	    /* a_ns */
	LENGTH_UNIFORM,	    /* a_ns .. b_ns */
	LENGTH_EXPONENTIAL, /* mean a_ns */
	LENGTH_PARETO,	    /* at least a_ns, shape 1.5: mean 3 a_ns; cut at b_ns */
};

struct length {
	enum length_kind kind;
	uint64_t a_ns, b_ns;
};

uint64_t length_draw(const struct length *l, uint64_t *random);

enum behaviour_kind {
	BEHAVIOUR_COMPUTE,  /* runs for ever */
	BEHAVIOUR_IDLE,	    /* never runs */
	BEHAVIOUR_PERIODIC, /* every period_ns a job of run; it should be done when the next one comes */
	BEHAVIOUR_IO,	    /* run, wait for a device or timer for block, again */
	BEHAVIOUR_BURSTY,   /* like io for the time of burst, then nothing for silence, again */
	BEHAVIOUR_LOCK,	    /* run, then the spin lock of its VM for hold, again */
	BEHAVIOUR_REPLAY,   /* demands[], once */
};

/* One demand of a recording. */
enum demand_end { DEMAND_HALT, DEMAND_YIELD, DEMAND_IO };
struct demand {
	uint64_t time_ns; /* when it wakes: since the beginning, or (after) since it halted last */
	uint64_t run_ns;  /* how long it has to run then */
	uint32_t after;
	uint32_t end; /* enum demand_end: what it does then */
};

struct behaviour {
	enum behaviour_kind kind;
	struct length run, block, burst, silence, hold;
	uint64_t period_ns, offset_ns; /* periodic */
	uint64_t pause_ns;	       /* lock: spinning that long without success is a pause-loop exit; 0 = 20 us */
	uint64_t poll_ns; /* io: while it waits it yields and looks again after running for this long; 0 = it halts */
	uint32_t lock;	  /* number of the lock inside its VM, 0 .. WORKLOAD_LOCKS - 1 */
	const struct demand *demands; /* replay: owned by the workload's recording */
	size_t demand_count;
};

#define WORKLOAD_LOCKS 8

/* What a vCPU does: behaviours one after the other, each for a while. */
struct phase {
	uint64_t for_ns; /* TIME_NEVER: for ever */
	struct behaviour does;
};

struct program {
	struct phase *phases;
	uint32_t count;
	bool repeat; /* after the last phase the first comes again; else the last one stays */
};

struct workload_vm {
	char name[WORKLOAD_NAME_MAX];
	uint32_t count; /* so many VMs of this kind, at least 1 */
	uint32_t vcpus; /* of each */
	struct baton_vm wishes;
	bool pinned; /* affinity counts */
	uint64_t affinity[BATON_PCPUS_MAX / 64];
	uint64_t start_ns, stop_ns; /* when it comes and goes; stop_ns TIME_NEVER or 0: it stays */
	struct program *programs;   /* vCPU i does programs[i % program_count] */
	uint32_t program_count;
};

struct workload {
	char name[WORKLOAD_NAME_MAX];
	uint32_t pcpus;
	uint64_t seed;
	uint64_t duration_ns;
	uint64_t window_ns;		     /* fairness is measured over windows of this length; 0 = not */
	bool fair_by_vm;		     /* weights share between VMs; else between vCPUs */
	uint64_t slice_min_ns, slice_max_ns; /* 0 = the pool's own */
	/* What things cost on the simulated host. */
	uint64_t kick_ns;      /* from a kick to the pCPU's being there */
	uint64_t switch_ns;    /* a pCPU goes over to another vCPU: time granted to it, without progress */
	uint64_t migration_ns; /* a vCPU begins on another pCPU than last time: the same; policies are told it */
	struct workload_vm *vms;
	uint32_t vm_count;
	struct demand *demands; /* of a recording */
};

/* Empty: 1 pCPU, seed 1, 10 s, windows of 100 ms, costs 5, 1 and 20 us. NULL without memory. */
struct workload *workload_new(void);
struct workload *workload_free(struct workload *w);

/* Adds a VM and copies its programs (which stay the caller's). -ENOMEM; -EINVAL, -E2BIG with the reason in e. */
int workload_add_vm(struct workload *w, const struct workload_vm *vm, struct error *e);
/* The simplest program: one behaviour for ever. The result points to *phase. */
struct program program_of(struct phase *phase, const struct behaviour *does);

uint32_t workload_vcpus(const struct workload *w); /* in all */
uint32_t workload_vms(const struct workload *w);

/* Everything in range and sound? Called by sim_new as well. -EINVAL with the reason in e. */
int workload_check(const struct workload *w, struct error *e);

/* Reads a file, or text that is called `name` in messages. Errors name line and reason: -EINVAL, -ENOENT, -EFBIG, ... */
int workload_load(const char *path, struct workload **ret, struct error *e);
int workload_parse(const char *text, size_t size, const char *name, struct workload **ret, struct error *e);

#endif
