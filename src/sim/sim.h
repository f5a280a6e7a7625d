/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.h - the simulator: the second host under the scheduling core.
 *
 * The same pool, manager, change engine and images as in the monitor; only the pCPUs, the vCPUs and the clock are
 * modelled. A run depends on the workload, its seed and the policies alone: the same ones give the same events.
 *
 *	sim_new(&config, &sim, &e);		all VMs that are there from the beginning are admitted
 *	sim_run(sim, SIM_END);			or in steps: sim_run(sim, t)
 *	sim_stats(sim) ...			stats.h
 *	sim_free(sim);
 *
 * Thousands of simulations may be made one after the other, or at the same time in several threads; each belongs to one
 * thread at a time.
 *
 * TIME. The pool's clock begins at SIM_EPOCH_NS, since 0 means "never" in many places. Everything in this header is in
 * the pool's time; workloads and reports count from the beginning.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "sched/change.h"
#include "sched/pool.h"
#include "sim/workload.h"

#define SIM_EPOCH_NS NSEC_PER_SEC
#define SIM_END	     TIME_NEVER

struct sim;
struct image;
struct arena;
struct sim_stats;

/* What happened, for observers; told after the pool and all schedulers have heard it. */
enum sim_event_kind {
	SIM_ADMIT,  /* vcpu */
	SIM_RETIRE, /* vcpu; its slot is free already */
	SIM_WAKE,   /* vcpu */
	SIM_START,  /* vcpu on pcpu, for at most slice_ns */
	SIM_STOP,   /* vcpu on pcpu, after ran_ns, because of why */
	SIM_IDLE,   /* pcpu asked, and nobody was there */
	SIM_SPIN,   /* vcpu left a pause loop; SIM_STOP follows */
	SIM_TICK,   /* alarms were due */
	SIM_COMMIT, /* a change was committed; pcpu = the new scheduler's identifier */
};

struct sim_event {
	enum sim_event_kind kind;
	uint64_t time_ns;
	uint32_t vcpu; /* the pool's number; BATON_NONE where there is none */
	uint32_t vm;   /* the pool's number */
	uint32_t pcpu;
	enum baton_stop why;
	uint64_t slice_ns, ran_ns;
};

/* Called without the pool's lock, within sim_run; may look at everything (sim_pool), change nothing, and end the run
 * (sim_stop). */
typedef void (*sim_observer)(void *ctx, struct sim *s, const struct sim_event *event);

struct sim_config {
	const struct workload *workload;	 /* must outlive the simulation */
	const struct baton_scheduler *scheduler; /* the pool's default: the one that is simulated */
	struct image *image;			 /* that it comes from; NULL: built in */
	const struct change_param *params;	 /* of the scheduler */
	uint32_t param_count;
	uint64_t seed;	    /* 0: the workload's */
	bool without_stats; /* nothing is measured: for benchmarks and property checks */
	/* Keep who ran where between these times (since the beginning), at most timeline_max intervals; 0 = none. */
	uint64_t timeline_from_ns, timeline_to_ns;
	size_t timeline_max;
	sim_observer observer;
	void *ctx;
};

/* Errors, with the reason in e: -EINVAL (workload, parameters), -ENOENT, -ERANGE (parameters), -ENOMEM, or what the
 * policy refuses a vCPU with. */
int sim_new(const struct sim_config *config, struct sim **ret, struct error *e);
struct sim *sim_free(struct sim *s);

/* Runs until `until` (SIM_END: the workload's end), the events at that very time included. 0, or the error of a VM that
 * was to come later and was refused, or -ECANCELED after sim_stop. */
int sim_run(struct sim *s, uint64_t until, struct error *e);
/* One event (for observers that need to look between them, for debuggers). False: nothing is due until the end. */
bool sim_step(struct sim *s);
void sim_stop(struct sim *s);

/*
 * Carries out a change of scheduler at time `at`, by the real change engine (sched/change.h): fetch, verify, attach in
 * batches, between which time goes by and events happen, commit, settle. Images are looked for in image_dir. The arena
 * must outlive the simulation. *report (NULL allowed) is filled in when it has happened. One change is planned at a time.
 */
void sim_change_at(struct sim *s, uint64_t at, const struct change_spec *spec, struct arena *arena,
		   const char *image_dir, struct change_report *report);

uint64_t sim_now(const struct sim *s);
uint64_t sim_end(const struct sim *s); /* when the workload ends */
uint64_t sim_seed(const struct sim *s);
struct pool *sim_pool(struct sim *s);
const struct workload *sim_workload(const struct sim *s);
struct sim_stats *sim_stats(struct sim *s); /* NULL without */

/* Of the vCPU with the pool's number v: which entry of workload->vms it belongs to; BATON_NONE when there is none. */
uint32_t sim_entry_of(struct sim *s, uint32_t v);
/* Work that v could do now if it had a pCPU: TIME_NEVER = for ever; 0 when it is blocked. */
uint64_t sim_backlog_ns(struct sim *s, uint32_t v);
/* Periodic jobs, turns of io and bursts, critical sections, demands that v has done. */
uint64_t sim_jobs(struct sim *s, uint32_t v);

/* Events handled; kicks that arrived. */
uint64_t sim_events(const struct sim *s);

#endif
