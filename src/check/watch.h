/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - the observer of a trial: keeps its own books beside the pool's, and judges the properties.
 *
 *	watch_begin	before sim_new, which admits the first VMs
 *	watch_event	as the simulation's observer; the pool's lock is held
 *	watch_end	after the last event
 *
 * What is promised over time is judged at every event: between two events nothing changes but the clock.
 */
#ifndef CHECK_WATCH_H
#define CHECK_WATCH_H

#include "check/trial.h"

#define WATCH_VCPUS_MAX 64
#define WATCH_PCPUS_MAX 16

/* One vCPU, by the pool's number. */
struct watched_vcpu {
	enum baton_vcpu_state state; /* as the events have it */
	uint32_t pcpu, vm;
	uint64_t since_ns, admitted_ns;
	uint64_t run_ns;      /* without the present run */
	uint64_t unserved_ns; /* since when a pCPU idles that could run it; TIME_NEVER: none does */
	bool woke;	      /* and has not run since */
	double ideal_ns;      /* what an ideal scheduler would have given it */
	double rate;	      /* of that: pCPUs at present */
};

struct watched_vm {
	uint32_t vcpus; /* that are there */
	uint64_t admitted_ns;
	double any_ns, all_ns; /* what its vCPUs ran: at all, and while all ran that could */
};

struct watch {
	const struct trial *trial;
	const struct subject *subject;
	struct trial_result *result;
	struct sim *sim;
	uint32_t judges; /* PROPERTY_BITs that are judged at present */
	uint64_t last_ns;
	uint64_t longest_ns; /* longest slice that anybody was granted, at least 1 ms: "one slice" of this trial */
	bool handed_over;
	struct watched_vcpu vcpus[WATCH_VCPUS_MAX];
	struct watched_vm vms[WATCH_VCPUS_MAX];
	uint32_t vcpu_slots;
	uint32_t running[WATCH_PCPUS_MAX]; /* vCPU or BATON_NONE */
	uint64_t busy_ns[WATCH_PCPUS_MAX];
};

void watch_begin(struct watch *w, const struct trial *t, const struct subject *subject, struct trial_result *result);
void watch_event(void *ctx, struct sim *s, const struct sim_event *event);
void watch_end(struct watch *w);
/* The operator has done something: vCPUs may have fallen asleep. */
void watch_operator(struct watch *w);
/* The deciding scheduler changes now. */
void watch_handover(struct watch *w);

/* Takes down a figure for a property, and fails it when the figure is above its limit. */
void watch_figure(struct watch *w, enum property p, double figure, double limit, const char *fmt, ...) _printf_(5, 6);
void watch_fail(struct watch *w, enum property p, const char *fmt, ...) _printf_(3, 4);

#endif
