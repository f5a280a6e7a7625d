/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.h - one simulation under observation: what is run, and what came out of it.
 *
 * Beside its workload a trial has what an operator does meanwhile (acts), and a way in which the scheduler comes to
 * decide:
 *
 *	TRIAL_ALONE	it is the pool's only scheduler; at handover_ns, when set, a second attachment of it takes over
 *			the histories that the first one gives, and decides from then on
 *	TRIAL_SHADOW	round robin decides, the scheduler hears everything as a shadow; it decides from handover_ns on,
 *			until back_ns
 *
 * trial_run judges while it runs (watch.h). The same trial gives the same result.
 */
#ifndef CHECK_TRIAL_H
#define CHECK_TRIAL_H

#include "check/check.h"
#include "sim/sim.h"

#define TRIAL_PARAMS_MAX 8
#define TRIAL_ACTS_MAX	 24

enum trial_mode { TRIAL_ALONE, TRIAL_SHADOW };

enum act_kind {
	ACT_PAUSE,  /* the vCPUs of a VM, for value ns */
	ACT_WEIGHT, /* of a VM, is value from now on */
	ACT_PARAM,  /* the pool parameter with number vm is value from now on */
	ACT_FOCUS,  /* the VM gets the console */
	ACT_KICK,   /* somebody else's kick reaches pCPU number vm */
};

struct operator_act {
	enum act_kind kind;
	uint64_t at_ns; /* since the beginning */
	uint32_t vm;	/* entry of the workload */
	int64_t value;
};

struct trial {
	uint64_t number; /* that it was made of */
	struct workload *workload;
	enum trial_mode mode;
	uint64_t handover_ns, back_ns; /* 0: not */
	struct change_param params[TRIAL_PARAMS_MAX];
	uint32_t param_count;
	struct operator_act acts[TRIAL_ACTS_MAX]; /* by time */
	uint32_t act_count;
	uint32_t judges; /* PROPERTY_BITs that its shape lets be judged */
};

struct trial_result {
	bool refused; /* the scheduler did not take the pool or a VM: nothing is judged */
	uint64_t decisions, events;
	uint64_t digest; /* of all events in their order */
	char refusal[256];
	struct verdict of[PROPERTIES];
};

/* 0, or -ENOMEM and the like with the reason in e. */
int trial_run(const struct trial *t, const struct subject *subject, struct trial_result *ret, struct error *e);
/* The same in a child process; a crash, or more than `seconds` of processor time, fails PROPERTY_SOUND. */
int trial_run_confined(const struct trial *t, const struct subject *subject, unsigned seconds, struct trial_result *ret,
		       struct error *e);

struct trial *trial_copy(const struct trial *t);
struct trial *trial_free(struct trial *t);

#endif
