/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harness.h - a world for policies: pCPUs, vCPUs with behaviours, several attached schedulers, and a clock of its own.
 *
 * It plays the monitor's part of baton/scheduler.h as simply as possible: one event at a time, tables written before
 * each event, every attached scheduler told, the deciding one asked. Nothing is random but for the seed. After each
 * step the rules that hold for every policy are checked, and a breach ends the program with the seed:
 *
 *   - choose and preempts write nothing into the region (one call in 16 is watched) and give the same answer twice;
 *     answers are allowed ones
 *   - no pCPU stays idle while somebody waits who may run there; nobody waits longer than starve_ns; but for those whom
 *     the deciding policy withholds (baton_hold)
 *   - alarms are not piled up
 */
#ifndef TESTS_POLICIES_HARNESS_H
#define TESTS_POLICIES_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/scheduler.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

#define WORLD_PCPUS	 8
#define WORLD_VMS	 16
#define WORLD_VCPUS	 32
#define WORLD_INSTANCES	 6
#define WORLD_ALARMS	 256
#define REGION_PAGES_MAX 8192 /* of 4 KiB */

/* Fails with the seed and the time of w. */
#define require(w, condition, ...)                                                                                     \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			world_fail((w), __FILE__, __LINE__, #condition, __VA_ARGS__);                                  \
	} while (0)

/* Runs for run_ns, then does `then`; blocked for block_ns. Times vary by up to a half when vary is set. */
struct behaviour {
	uint64_t run_ns;      /* 0 = for ever */
	enum baton_stop then; /* BLOCKED, YIELDED or IO */
	uint64_t block_ns;
	bool vary;
};

struct vcpu {
	enum baton_vcpu_state state;
	uint32_t vm, pcpu;
	uint64_t affinity;
	struct behaviour does;
	uint64_t since_ns; /* of the state */
	uint64_t left_ns;  /* of the present run */
	uint64_t wake_ns;  /* when blocked */
	uint64_t service_ns;
	uint64_t starts, wakes;
	uint64_t longest_wait_ns;
	uint64_t ready_ns, last_latency_ns; /* from wake-up to running */
	bool latency_pending;
};

struct instance {
	const struct baton_scheduler *ops;
	struct baton_region *region;
	uint64_t alarms[WORLD_ALARMS];
	uint32_t alarm_count;
	uint64_t admitted_ns[WORLD_VCPUS]; /* + 1; 0 = not known to it */
	uint64_t held_ns[WORLD_VCPUS];	   /* withheld until then */
	uint64_t kicks, ticks;
	uint64_t questions, looks;		 /* see harness.c: questions, look_at_pages */
	unsigned char touched[REGION_PAGES_MAX]; /* pages of the region, as mincore tells */
};

struct world {
	uint64_t seed, rng;
	uint64_t now;
	uint32_t pcpu_count;
	uint64_t kick_delay_ns; /* at most */
	uint64_t starve_ns;
	uint64_t slice_min_ns, slice_max_ns, migration_cost_ns;
	struct {
		uint32_t running;
		uint64_t slice_end_ns;
		uint64_t ask_ns; /* when a kick arrives; UINT64_MAX = none */
	} pcpus[WORLD_PCPUS];
	struct baton_vm vms[WORLD_VMS];
	struct vcpu vcpus[WORLD_VCPUS];
	struct instance *instances[WORLD_INSTANCES];
	uint32_t decider;
	char reason[BATON_REASON_MAX]; /* of the last refusal */
	bool may_idle;		       /* by the policy's definition a pCPU may be idle while somebody waits */
	bool offers_idle;	       /* a woken vCPU is offered to an idle pCPU whatever the policy says */
	uint64_t steps, decisions, migrations;
	void (*each_step)(struct world *w);
};

struct world *world_new(uint64_t seed, uint32_t pcpus);
void world_free(struct world *w);
__attribute__((noreturn, format(printf, 5, 6))) void world_fail(struct world *w, const char *file, int line,
								const char *what, const char *fmt, ...);

uint64_t world_random(struct world *w, uint64_t below);

/* Attaches a scheduler with its initial parameters, or with the value given for its first. Returns its number. With
 * `from`, the vCPUs come with the history that this one gives. */
uint32_t world_attach(struct world *w, const struct baton_scheduler *ops, int64_t first_parameter);
uint32_t world_join(struct world *w, const struct baton_scheduler *ops, int64_t first_parameter, uint32_t from);
/* The same, but BATON_NONE when it refuses somebody, with the reason in w->reason. */
uint32_t world_try_join(struct world *w, const struct baton_scheduler *ops, int64_t first_parameter, uint32_t from);
void world_detach(struct world *w, uint32_t i);

uint32_t world_vm(struct world *w, uint32_t weight, uint64_t warp_ns, uint64_t limit_ns, uint64_t unwarp_ns);
/* A vCPU that is woken at once. affinity 0 = everywhere. */
uint32_t world_vcpu(struct world *w, uint32_t vm, struct behaviour does, uint64_t affinity);
/* The same, if every instance admits it; else the refusal, with its reason in w->reason. */
int32_t world_try_vcpu(struct world *w, uint32_t vm, struct behaviour does, uint64_t affinity, uint32_t *ret);
void world_remove(struct world *w, uint32_t v);
/* One event; world_run: all until then. */
void world_step(struct world *w);
void world_run(struct world *w, uint64_t until);

/* What an operator or device does. */
void world_wake(struct world *w, uint32_t v);
void world_pause(struct world *w, uint32_t v, uint64_t for_ns);
void world_kick(struct world *w, uint32_t pcpu);
void world_cease(struct world *w);
void world_spin(struct world *w, uint32_t v);
void world_ipi(struct world *w, uint32_t from, uint32_t to);
/* w->vms[vm] has changed; 0, or the refusal of an instance, with its reason in w->reason. */
int32_t world_vm_changed(struct world *w, uint32_t vm);
void world_set(struct world *w, uint32_t instance, uint32_t parameter, int64_t value);

/* From here on the test calls instance i itself, BATON_NONE: no more. */
void world_by_hand(struct world *w, uint32_t i);
/* Asks instance i, checking that asking changes nothing. */
struct baton_choice world_choose(struct world *w, uint32_t i, uint32_t pcpu);
/* Do instances i and j, of the same policy, have the same state, byte for byte? */
bool world_alike(struct world *w, uint32_t i, uint32_t j);
/* The number behind `field` ("svt=") in the dump of instance i; with v in the line of that vCPU. */
int64_t world_dumped(struct world *w, uint32_t i, uint32_t v, const char *field);

extern const struct baton_scheduler baton_scheduler_rr, baton_scheduler_bvt, baton_scheduler_fair,
    baton_scheduler_credit;
extern const struct baton_scheduler baton_scheduler_edf, baton_scheduler_gang, baton_scheduler_partition;

#endif
