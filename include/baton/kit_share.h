/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton/kit_share.h - accounts that pay for running by weight, and the virtual time they share. Part of the kit.
 *
 * An *account* is of a VM, whose vCPUs all run on it, or of one vCPU; the policy decides and keeps it in its own state.
 *
 *   position   x grows by ns * KIT_UNITS / weight while a vCPU of the account runs, twice as fast while two do. The
 *              remainder of the division is kept: nothing is lost. A unit is 64 ns at the default weight of 256.
 *   V          virtual time of the pool: the mean x, by weight, of the accounts that count. Kept as the sum of
 *              weight * (x - base), which grows by KIT_UNITS per ns and running vCPU, whoever runs: O(1).
 *   lag        V - x: what an account is owed (> 0) or has received ahead.
 *   requests   what its vCPUs ask for and have not received yet is known in ns (left_ns): so the next request of the
 *              account can be put behind the others, and many vCPUs do not make a VM richer.
 *
 * An account counts while it is active, that is while some vCPU of it runs or waits, unless the policy leaves it out. Lags
 * are measured against the others' mean, so that leaving and coming back changes none. An account that comes back keeps
 * its x when that is beyond V: debt that V has not worked off yet; otherwise it begins at V, less the lag it left with.
 *
 *	struct my_pool { struct kit_shares shares; };    struct my_vm { struct kit_account account; };
 *
 * In each event, first kit_shares_advance; then kit_account_settle for the account concerned; then the changes.
 */
#ifndef BATON_KIT_SHARE_H
#define BATON_KIT_SHARE_H

#include "baton/kit_ready.h"

#define KIT_UNITS 4
#define KIT_DEBTS 2 /* slices per vCPU: the largest debt that an account comes back with */

struct kit_account {
	int64_t x;	     /* position at settled_ns */
	int64_t lag;	     /* what it left with; 0 while it is active */
	int64_t left_ns;     /* what is left of its vCPUs' requests, at settled_ns */
	int64_t slice;	     /* of the pool, in its virtual time */
	uint64_t settled_ns; /* x is paid until then */
	uint32_t rest;	     /* remainder of x, below weight */
	uint32_t weight;     /* 0 = no vCPU yet */
	uint32_t members;    /* its vCPUs: the policy counts them */
	uint32_t active;     /* those that run or wait */
	uint32_t running;
	uint32_t counts; /* it is active and counts in V */
};

struct kit_shares {
	int64_t base;	 /* V at the last advance */
	int64_t sum;	 /* of weight * (x - base) + rest over the accounts that count, at summed_ns */
	int64_t weight;	 /* of these accounts */
	int64_t running; /* their vCPUs that run */
	uint64_t summed_ns;
};

/* ---- real and virtual time ---------------------------------------------------------------------------------------- */

static inline int64_t kit_virtual(int64_t ns, uint32_t weight)
{
	return ns * KIT_UNITS / weight;
}

static inline int64_t kit_real(int64_t units, uint32_t weight)
{
	int64_t ns;

	if (__builtin_mul_overflow(units, (int64_t)weight, &ns))
		return units < 0 ? INT64_MIN : INT64_MAX;
	return ns / KIT_UNITS;
}

/* b > 0; rounds down. */
static inline int64_t kit_floor_(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* ---- V ------------------------------------------------------------------------------------------------------------ */

static inline void kit_sum_(struct kit_shares *q, uint64_t now)
{
	q->sum += q->running * KIT_UNITS * (int64_t)(now - q->summed_ns);
	q->summed_ns = now;
}

static inline int64_t kit_shares_at(const struct kit_shares *q, uint64_t now)
{
	if (q->weight == 0)
		return q->base;
	return q->base + kit_floor_(q->sum + q->running * KIT_UNITS * (int64_t)(now - q->summed_ns), q->weight);
}

static inline void kit_shares_set(struct kit_shares *q, int64_t v)
{
	q->sum -= q->weight * (v - q->base);
	q->base = v;
}

/* V moves on to now: q->base. */
static inline void kit_shares_advance(struct kit_shares *q, uint64_t now)
{
	kit_sum_(q, now);
	kit_shares_set(q, kit_shares_at(q, now));
}

/* ---- one account -------------------------------------------------------------------------------------------------- */

static inline void kit_account_pay(struct kit_account *a, uint64_t now)
{
	uint64_t ran = (now - a->settled_ns) * a->running, sum;

	a->settled_ns = now;
	if (ran == 0)
		return;
	a->left_ns -= (int64_t)ran;
	sum = ran * KIT_UNITS + a->rest;
	a->x += (int64_t)(sum / a->weight);
	a->rest = (uint32_t)(sum % a->weight);
}

/* Before anything below. */
static inline void kit_account_settle(struct kit_shares *q, struct kit_account *a, uint64_t now)
{
	kit_sum_(q, now);
	kit_account_pay(a, now);
}

static inline int64_t kit_part_(const struct kit_shares *q, const struct kit_account *a)
{
	return a->weight * (a->x - q->base) + a->rest;
}

static inline void kit_count_(struct kit_shares *q, const struct kit_account *a, int sign)
{
	if (!a->counts)
		return;
	q->sum += sign * kit_part_(q, a);
	q->weight += sign * (int64_t)a->weight;
	q->running += sign * (int64_t)a->running;
}

/* A weight or slice counts from now on: what has run is paid at the old one, and x does not jump. */
static inline void kit_account_weigh(struct kit_shares *q, struct kit_account *a, uint32_t weight, int64_t slice_ns)
{
	kit_count_(q, a, -1);
	if (a->weight != 0)
		a->rest = (uint32_t)((uint64_t)a->rest * weight / a->weight);
	a->weight = weight;
	a->slice = kit_virtual(slice_ns, weight);
	kit_count_(q, a, 1);
}

/* V, but not far from the start of a request that is served now: for accounts that do not count in V. */
static inline int64_t kit_shares_near(const struct kit_shares *q, const struct kit_account *a, int64_t start)
{
	int64_t least = start - KIT_DEBTS * a->slice, most = start + KIT_DEBTS * a->slice;

	return q->base < least ? least : q->base > most ? most : q->base;
}

/* The latest that a request of the account starts, so that nobody waits longer for a debt that V is slow to work off. */
static inline int64_t kit_account_latest(const struct kit_account *a, int64_t here)
{
	return here + a->slice * KIT_DEBTS * (int64_t)a->members;
}

/* One more vCPU of it runs or waits. The first one: `here` is the V that it is placed by, `counts` whether it counts. */
static inline void kit_account_enter(struct kit_shares *q, struct kit_account *a, int64_t here, int counts)
{
	int64_t most = kit_account_latest(a, here);

	if (a->active++ > 0)
		return;
	if (a->x > most)
		a->x = most;
	else if (a->x < here)
		a->x = here - a->lag;
	a->lag = 0;
	a->counts = counts != 0;
	kit_count_(q, a, 1);
}

/* One vCPU fewer, which had left_ns of its request left and does not run. */
static inline void kit_account_leave(struct kit_shares *q, struct kit_account *a, int64_t left_ns)
{
	int64_t lag;

	a->left_ns -= left_ns;
	if (--a->active > 0)
		return;
	kit_count_(q, a, -1);
	a->counts = 0;
	a->left_ns = 0;
	lag = q->base - a->x;
	if (q->weight > 0)
		lag += kit_floor_(q->sum, q->weight);
	a->lag = lag > a->slice ? a->slice : lag > 0 ? lag : 0;
}

static inline void kit_account_start(struct kit_shares *q, struct kit_account *a)
{
	a->running++;
	q->running += a->counts;
}

static inline void kit_account_stop(struct kit_shares *q, struct kit_account *a)
{
	a->running--;
	q->running -= a->counts;
}

/*
 * What cannot be used is not owed. One of its vCPUs has run, with `before` of lag when it began, and it is behind by more
 * than a slice, though nobody of the account waits: its weight asks for more than its vCPUs can use. It is given up, else
 * the account would hold V back for all others. V follows x by the account's part of all weights: advance again on 1.
 */
static inline int kit_account_cut(struct kit_shares *q, struct kit_account *a, int64_t before)
{
	int64_t most = before > a->slice ? before : a->slice, others = q->weight - a->weight, x;

	if (!a->counts || q->base - a->x <= most || others <= 0 || a->active > a->running + 1)
		return 0;
	if (__builtin_mul_overflow(q->base - a->x - most, q->weight, &x))
		x = INT64_MAX;
	q->sum -= kit_part_(q, a);
	a->x += x / others;
	q->sum += kit_part_(q, a);
	return 1;
}

/* Where the next request of the account starts: behind what is asked for already. */
static inline int64_t kit_account_behind(const struct kit_account *a)
{
	return a->left_ns > 0 ? a->x + kit_virtual(a->left_ns, a->weight) : a->x;
}

/* x moves by what is owed to it in ns of running (history in neutral words). */
static inline void kit_account_owe(struct kit_shares *q, struct kit_account *a, int64_t owed_ns)
{
	kit_count_(q, a, -1);
	a->x -= kit_virtual(owed_ns, a->weight);
	kit_count_(q, a, 1);
}

/* An account for the tail of a history record, with V: as it is, as it will be, or as it was. */
struct kit_account_past {
	int64_t base, x, lag;
	uint32_t rest, weight, counts;
	uint32_t reserved;
};

static inline struct kit_account_past kit_account_save(const struct kit_shares *q, struct kit_account a, uint64_t now)
{
	kit_account_pay(&a, now);
	return (struct kit_account_past){
	    .base = q->base, .x = a.x, .lag = a.lag, .rest = a.rest, .weight = a.weight, .counts = a.counts};
}

/* Can it be of this pool's virtual time: not `anew` (nothing has happened here yet), then near to it? */
static inline int kit_account_sound(const struct kit_shares *q, const struct kit_account_past *t, int anew)
{
	int64_t second = INT64_C(1000000000) * KIT_UNITS / 256, far;

	if (t->weight == 0 || t->weight > 65536 || t->rest >= t->weight || t->counts > 1)
		return 0;
	return anew || (!__builtin_sub_overflow(t->base, q->base, &far) && far < second && far > -second);
}

/* Its weight stays. */
static inline void kit_account_restore(struct kit_shares *q, struct kit_account *a, const struct kit_account_past *t)
{
	kit_shares_set(q, t->base);
	kit_count_(q, a, -1);
	a->x = t->x;
	a->lag = t->lag;
	a->rest = (uint32_t)((uint64_t)t->rest * a->weight / t->weight);
	if (a->active > 0)
		a->counts = t->counts;
	kit_count_(q, a, 1);
}

/* ---- places ------------------------------------------------------------------------------------------------------- */

/* May v not run everywhere? */
static inline int kit_pinned(struct baton_region *r, uint32_t v)
{
	uint64_t missing = 0;

	for (uint32_t i = 0; i < kit_words(r); i++)
		missing |= ~baton_vcpu(r, v)->affinity[i] & kit_word_all(r, i);
	return missing != 0;
}

/* Where a pinned vCPU competes: where it ran last, or on the first pCPU that it may use. */
static inline uint32_t kit_pinned_home(struct baton_region *r, uint32_t v)
{
	uint32_t home = baton_vcpu(r, v)->pcpu, i = 0;

	if (home < r->pcpu_slots && baton_allowed(r, v, home))
		return home;
	while (i < kit_words(r) && (baton_vcpu(r, v)->affinity[i] & kit_word_all(r, i)) == 0)
		i++;
	return i < kit_words(r) ? i * 64 + (uint32_t)__builtin_ctzll(baton_vcpu(r, v)->affinity[i]) : 0;
}

#endif
