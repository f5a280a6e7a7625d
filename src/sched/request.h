/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h - the vocabulary of the seed: somebody needs a decision (scheduling request), and hears what came of it
 * (feedback). Start reading src/sched here; then host.h, activation.h, attached.h, pool.h, manager.h,
 * handover.h, change.h.
 */
#ifndef SCHED_REQUEST_H
#define SCHED_REQUEST_H

#include <stdint.h>

#include "baton/scheduler.h"

/* Who asks (seed: "various components ... may invoke the VMM to perform a scheduling process"). */
enum requester_kind {
	ASKED_BY_SERVICE_VM, /* found a failure, wants another owner or another scheduler */
	ASKED_BY_GUEST_VM,   /* yields, halts, or waits for device I/O */
	ASKED_BY_TIMER,	     /* a slice ended */
	ASKED_BY_DEVICE,     /* an interrupt woke somebody */
	ASKED_BY_MONITOR,    /* a kick, a change, a pCPU without work */
	ASKED_BY_COUNT,
};

/* What must be decided. */
enum request_kind {
	REQUEST_PCPU_OWNER,    /* who owns this pCPU next, and how long: choose */
	REQUEST_PREEMPTION,    /* somebody woke: whose pCPU is asked again: preempts */
	REQUEST_PRIORITY,      /* how urgent is this VM: priority */
	REQUEST_CONSOLE_OWNER, /* who owns the console: choose_console */
	REQUEST_KINDS,
};

struct sched_request {
	enum request_kind kind;
	enum requester_kind requester;
	uint32_t subject; /* the pCPU, the woken vCPU, or the VM that the question is about */
};

/* A scheduler's own answer to a question, before anybody has checked it. What is not asked for is 0. */
struct answer {
	uint32_t owner; /* a vCPU, a pCPU or a VM, by the kind of request; BATON_NONE */
	int32_t priority;
	uint64_t slice_ns;
};

/* The answer that goes back to the requester (seed row S18). */
struct feedback {
	int status; /* 0 done; -ENOENT nobody; -EBADE the active scheduler's answer was wrong, the fallback's stands */
	uint32_t owner;	   /* next owner: a vCPU, a pCPU or a VM, by the kind of request; BATON_NONE */
	uint64_t slice_ns; /* REQUEST_PCPU_OWNER: for how long */
	int32_t priority;  /* REQUEST_PRIORITY */
};

#endif
