/* SPDX-License-Identifier: Apache-2.0 */
/*
 * activation.h - four ways from a requester to the functions of the active scheduler (rows S14 - S17).
 *
 * A scheduler answers the kinds of request.h, each by one function that is bound to it (struct question). Activating
 * another scheduler means that all requesters get other functions from then on. Who changes what:
 *
 *	IDENTIFIER  a number is stored; each request looks the functions up in the table of schedulers by it
 *	ARRAY       all requesters point at one array of functions, which is overwritten in place
 *	POINTER     each scheduler has its array; each requester's pointer is set to another one
 *	PATCHED     each requester has call sites of its own, machine code; the address of the scheduler's function is
 *		    written into their jumps, and nothing is looked up in between (call_sites.h)
 *
 * docs/activation.md says when which is preferable, and what it costs to switch.
 *
 * Threads: bind and switch_to by one thread at a time. A call may go on meanwhile on any other thread, without a
 * lock: it reaches the old scheduler or the new one, never a mixture, and the new one when it began after switch_to
 * returned. That is all: who wants to bind another scheduler in the old one's place, or to free the old one, must know that
 * no call is under way. In a pool, its lock says so: requests and activation both happen under it.
 */
#ifndef SCHED_ACTIVATION_H
#define SCHED_ACTIVATION_H

#include <stdatomic.h>

#include "base/base.h"
#include "sched/call_sites.h"
#include "sched/request.h"

enum activation_way {
	ACTIVATION_IDENTIFIER,
	ACTIVATION_ARRAY,
	ACTIVATION_POINTER,
	ACTIVATION_PATCHED,
	ACTIVATION_WAYS,
};

const char *activation_way_name(enum activation_way way);
/* By its name; -EINVAL for any other word. */
int activation_way_from_name(const char *name, enum activation_way *ret, struct error *e);

/* A function and the scheduler that it is a function of. */
struct question {
	question_fn *ask;
	void *scheduler;
};

/* What a scheduler brings along, by kind of request. Constant while the scheduler can be active. */
struct question_set {
	struct question of[REQUEST_KINDS];
};

struct question_array {
	_Atomic(const struct question *) at[REQUEST_KINDS];
};

/* What a requester holds. */
struct entrance {
	_Atomic(const struct question_array *) array; /* ARRAY, POINTER */
	question_fn *site[REQUEST_KINDS];	      /* PATCHED: call sites of its own */
};

struct activation {
	enum activation_way way;
	_Atomic uint32_t active; /* the identifier; IDENTIFIER decides by it, in all ways it says who is active */
	uint32_t targets, requesters;
	struct question_set *table;    /* by identifier */
	struct entrance *entrances;    /* by requester */
	struct question_array shared;  /* ARRAY */
	struct question_array *arrays; /* POINTER: one per scheduler */
	struct call_sites *sites;      /* PATCHED */
};

/* targets: how many schedulers can be bound at once; nobody is active before the first switch_to. Errors: -ENOMEM, and for
 * PATCHED those of call_sites_new. */
int activation_new(enum activation_way way, uint32_t requesters, uint32_t targets, struct activation **ret,
		   struct error *e);
struct activation *activation_free(struct activation *t);

/* Makes the functions of a scheduler known under this identifier, which must not be the active one's. */
void activation_bind(struct activation *t, uint32_t id, question_fn *const ask[REQUEST_KINDS], void *scheduler);
void activation_switch_to(struct activation *t, uint32_t id);

static inline uint32_t activation_active(const struct activation *t)
{
	return atomic_load_explicit(&t->active, memory_order_relaxed);
}

/* A requester asks the active scheduler, when the way is known: what each of them takes. The answer is unchecked. */
static inline struct answer activation_ask_by(enum activation_way way, const struct activation *t, uint32_t requester,
					      enum request_kind kind, uint32_t subject, uint64_t now)
{
	const struct entrance *e = &t->entrances[requester];
	const struct question_array *array;
	const struct question *q;

	switch (way) {
	case ACTIVATION_PATCHED:
		return e->site[kind](NULL, subject, now);
	case ACTIVATION_IDENTIFIER:
		q = &t->table[atomic_load_explicit(&t->active, memory_order_acquire)].of[kind];
		break;
	default:
		array = atomic_load_explicit(&e->array, memory_order_acquire);
		q = atomic_load_explicit(&array->at[kind], memory_order_acquire);
	}
	return q->ask(q->scheduler, subject, now);
}

/* The same by the way that t was made for. */
static inline struct answer activation_ask(const struct activation *t, uint32_t requester, enum request_kind kind,
					   uint32_t subject, uint64_t now)
{
	return activation_ask_by(t->way, t, requester, kind, subject, now);
}

#endif
