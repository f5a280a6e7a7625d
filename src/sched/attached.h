/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attached.h - a scheduler that is attached to a pool: its table, its region, and one function per op.
 *
 * Every call into a policy goes through here. Around each one stands a marker (whose op is running on this thread), by
 * which the imports (baton_alarm, baton_kick, ...) find their way, and by which the guard knows whom to blame.
 *
 * Threads: everything is called with the pool's lock held. The region belongs to the policy; the monitor writes its
 * tables before each event and reads back only answers, history records and dump text.
 *
 * An attached scheduler hears events only of the vCPUs that were admitted to it (attached_knows): while it joins a
 * running pool, vCPUs are handed to it in batches, and nothing is told about the others yet.
 */
#ifndef SCHED_ATTACHED_H
#define SCHED_ATTACHED_H

#include "base/base.h"
#include "baton/scheduler.h"
#include "sched/activation.h"
#include "sched/handover.h"
#include "sched/loader/link.h"

struct pool;
struct image;

/* How many alarms a scheduler may have set: this many, and two per vCPU. */
#define ATTACHED_ALARMS_MAX 1024
/* Its ticks come no more often than every ATTACHED_TICK_NS in the long run; ATTACHED_TICK_BURST may come at once. */
#define ATTACHED_TICK_NS    (10 * NSEC_PER_USEC)
#define ATTACHED_TICK_BURST 100

/* Per vCPU: is it one of those that the scheduler hears of? */
enum attached_knowledge {
	KNOWN_NOT,
	KNOWN,
	KNOWN_MIDWAY, /* since admitted_ns, in the middle of a run that began before */
};

struct attached {
	struct pool *pool;
	const struct baton_scheduler *ops;
	struct image *image; /* NULL: built in */
	struct baton_region *region;
	size_t region_bytes; /* as mapped, guard pages included */
	uint32_t id;	     /* its place in the pool's table: the seed's "scheduler identifier" */
	bool faulty;	     /* broke the contract; never asked again */
	bool joined;	     /* attach was called and did not refuse: detach is owed */
	bool withdrawn;	     /* as a shadow it refused a vCPU (reason says why): it hears nothing any more */

	uint8_t *known;	       /* per vCPU slot: enum attached_knowledge */
	uint64_t *admitted_ns; /* per vCPU slot; of those known midway */
	uint64_t *alarms;      /* binary heap, earliest first */
	uint32_t alarm_count, alarm_room;
	uint64_t tick_debt_ns; /* when the ticks so far would have been over, had they come ATTACHED_TICK_NS apart */

	/* counters, for status and probation */
	uint64_t asked;	   /* times choose was asked */
	uint64_t wrong;	   /* answers that were not allowed */
	uint64_t withheld; /* kicks and holds noted while it was not the active one */
	uint64_t lost_alarms;

	char reason[BATON_REASON_MAX]; /* why it refused the last time that it refused */
};

/* Makes region and object; calls nothing yet. Errors: -ENOMEM, -E2BIG (the region would exceed 1 GiB). */
int attached_new(struct pool *pool, const struct baton_scheduler *ops, struct image *image, struct attached **ret,
		 struct error *e);
/* Frees without calling the policy; gives the image's reference back. */
struct attached *attached_free(struct attached *a);

/* Copies the monitor's truth about v (and its VM), or a pCPU, into the region's tables. */
void attached_refresh_vcpu(struct attached *a, uint32_t v);
void attached_refresh_vm(struct attached *a, uint32_t vm);
void attached_refresh_pcpu(struct attached *a, uint32_t p);

static inline bool attached_knows(const struct attached *a, uint32_t v)
{
	return a->known[v] != KNOWN_NOT;
}

/* The ops. Missing optional ops do the plain default. Those that return int may refuse: a negative errno, and a->reason
 * says why in the policy's own words, or in those of the errno. */
int attached_attach(struct attached *a, uint64_t now);
void attached_detach(struct attached *a, uint64_t now);
/* Refreshes the tables, calls admit and, when a record is given, take. A refusal leaves v unknown to it. */
int attached_admit(struct attached *a, uint32_t v, const struct baton_history *h, uint64_t now);
void attached_retire(struct attached *a, uint32_t v, uint64_t now);
void attached_wake(struct attached *a, uint32_t v, uint64_t now);
void attached_sleep(struct attached *a, uint32_t v, uint64_t now);
void attached_start(struct attached *a, uint32_t v, uint32_t pcpu, uint64_t now);
void attached_stop(struct attached *a, uint32_t v, uint32_t pcpu, uint64_t started_ns, enum baton_stop why,
		   uint64_t now);
void attached_spin(struct attached *a, uint32_t v, uint64_t now);
void attached_ipi(struct attached *a, uint32_t from, uint32_t to, uint64_t now);
void attached_interrupt(struct attached *a, uint32_t v, uint64_t now);
void attached_boost(struct attached *a, uint32_t vm, uint64_t now);
struct baton_choice attached_choose(struct attached *a, uint32_t pcpu, uint64_t now);
uint32_t attached_preempts(struct attached *a, uint32_t woken, uint64_t now);
int32_t attached_priority(struct attached *a, uint32_t vm, uint64_t now);
uint32_t attached_choose_console(struct attached *a, uint64_t now);
/* The same four, by kind of request, as functions of a struct attached: what the pool's activation is given. */
extern question_fn *const attached_questions[REQUEST_KINDS];
int attached_give(struct attached *a, uint32_t v, struct baton_history *ret, uint64_t now);
size_t attached_dump(struct attached *a, char *buf, size_t size, uint64_t now);

/* Would a scheduler take this value of a parameter of its own (not of a VM)? -ENOENT no such parameter, -ERANGE (e names the
 * range), -EINVAL it is a VM's. */
int scheduler_check_param(const struct baton_scheduler *ops, const char *name, int64_t value, uint32_t *ret_index,
			  struct error *e);
/* Parameters. Finds by name; checks range; stores and tells the policy. value is in the parameter's own unit. vm: BATON_NONE
 * for a parameter of the scheduler. Errors: as above (a VM's without a VM: -EINVAL), or the policy's own refusal. */
int attached_set(struct attached *a, uint32_t vm, const char *name, int64_t value, uint64_t now, struct error *e);
/* The same for a pool parameter before attach: stores without telling the policy. */
int attached_preset(struct attached *a, const char *name, int64_t value, struct error *e);
const struct baton_parameter *attached_parameter(const struct attached *a, const char *name, uint32_t *ret_index);

/* When its earliest alarm is to be served; TIME_NEVER without one. attached_tick calls tick once for all that are due. A
 * scheduler whose ticks ask for the next one at once is served late, so that no run loop is kept busy by it. */
uint64_t attached_next_alarm(const struct attached *a);
void attached_tick(struct attached *a, uint64_t now);
/* It hears of no vCPU any more. Calls nothing. */
void attached_forget_all(struct attached *a);

/* The imports that an image may use, for the loader. */

extern const struct image_import sched_imports[];
extern const size_t sched_import_count;

#endif
