/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - a scheduler for tests: takes down everything it hears, checks that the order of events is the one that
 * baton/scheduler.h promises, and misbehaves in the way that its parameters ask for. Linked into tests and, built as an
 * image, loaded by them; what it has heard lies in its region, where tests read it.
 */
#ifndef TESTS_SCHED_PROBE_H
#define TESTS_SCHED_PROBE_H

#include "baton/scheduler.h"

/* Pool parameters, in the order of the table. */
enum probe_param {
	PROBE_ANSWER,	     /* what choose says: enum probe_answer */
	PROBE_SLICE_NS,	     /* and for how long */
	PROBE_PREEMPTS,	     /* what preempts says; -1 NONE */
	PROBE_CONSOLE,	     /* what choose_console says; -1 NONE */
	PROBE_PRIORITY,	     /* what priority says */
	PROBE_REFUSE_ATTACH, /* errno with which attach refuses; 0 = it does not */
	PROBE_REFUSE_ADMIT,  /* the n-th admit is refused; 0 = none */
	PROBE_REFUSE_TAKE,   /* the n-th take is refused; 0 = none */
	PROBE_ALARM_AT,	     /* being set: asks for an alarm at that time, ns */
	PROBE_HOLD_UNTIL,    /* being set: withholds vCPU 0 until that time */
	PROBE_KICK,	     /* being set: kicks that pCPU */
	PROBE_EVEN,	     /* set refuses odd values with -EINVAL */
	PROBE_REARM_NS,	     /* tick asks for the next tick that much later; 0 = not */
	PROBE_SAYS,	     /* the reason it gives when it refuses: enum probe_reason */
	PROBE_PARAMS,
	PROBE_WEIGHT = PROBE_PARAMS, /* of a VM */
};

enum probe_answer {
	ANSWER_HONEST,	/* the lowest number that may run */
	ANSWER_NONE,	/* nobody, whoever waits */
	ANSWER_BLOCKED, /* somebody who is blocked */
	ANSWER_FOREIGN, /* somebody who may not run on this pCPU */
	ANSWER_RUNNING, /* somebody who runs already */
	ANSWER_BEYOND,	/* a number that is not there */
	ANSWER_FAR,	/* a number far from any */
	ANSWER_FREE,	/* an unused slot */
};

enum probe_reason {
	SAYS_NOTHING,
	SAYS_WHY,     /* PROBE_WHY */
	SAYS_ENDLESS, /* 'x' to the end of the scratch, without a zero */
	SAYS_BELLS,   /* control characters */
};
#define PROBE_WHY "7 of 6 places are taken"

#define PROBE_TICKS_KEPT 64

struct probe_pool {
	uint32_t attaches, admits, takes, retires, wakes, sleeps, starts, stops, ticks, spins, ipis, interrupts, boosts,
	    sets;
	uint32_t disorder; /* events that may not come in that state */
	uint32_t disorder_line;
	uint32_t boosted;  /* VM of the last boost + 1 */
	uint32_t chosen;   /* times choose was asked */
	uint64_t last_now; /* the time never goes back */
	uint64_t tick_ns[PROBE_TICKS_KEPT];
	uint32_t set_vm, set_scope, set_parameter;
};

struct probe_vcpu {
	uint32_t known; /* between admit and retire */
	uint32_t state; /* as the events tell it */
	uint32_t pcpu;
	uint32_t admits, takes, starts, stops, wakes, sleeps;
	uint64_t ran_ns;
	/* of the record that it took over */
	int64_t owed_ns;
	uint64_t service_ns, since_run_ns;
	uint32_t weight, last_pcpu;
	char policy[BATON_NAME_MAX];
};

#ifdef BATON_STATIC
extern const struct baton_scheduler baton_scheduler_probe;
#endif

#endif
