/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton/kit_pcpus.h - what a policy knows of a pool's pCPUs: which are idle, which comes first by some measure, and when each
 * is to be kicked. Part of the kit (baton/kit.h).
 *
 * Nothing here needs a look at every pCPU: masks are words, and a tournament over the pCPUs keeps its winner in
 * O(log pCPUs) per change.
 */
#ifndef BATON_KIT_PCPUS_H
#define BATON_KIT_PCPUS_H

#include "baton/kit.h"

#define KIT_WORDS  (BATON_PCPUS_MAX / 64)
#define KIT_NOBODY UINT32_C(0xffffff)

/* ---- sets of pCPUs ---------------------------------------------------------------------------------------------- */

static inline uint32_t kit_words(const struct baton_region *r)
{
	return (r->pcpu_slots + 63) / 64;
}

/* The pCPUs of word i that exist. */
static inline uint64_t kit_word_all(const struct baton_region *r, uint32_t i)
{
	uint32_t n = r->pcpu_slots - i * 64;

	return n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

static inline int kit_mask_has(const uint64_t *mask, uint32_t pcpu)
{
	return (mask[pcpu / 64] >> (pcpu % 64)) & 1;
}

/* ---- entries ------------------------------------------------------------------------------------------------------- */

/* One who waits, or a pCPU, by value: seq (40 bits; it may wrap, which concerns only equals) and number make up the lower half. */
struct kit_entry {
	int64_t key;
	uint64_t low;
};

#define KIT_NO_ENTRY ((struct kit_entry){INT64_MAX, UINT64_MAX})

static inline struct kit_entry kit_entry(int64_t key, uint64_t seq, uint32_t v)
{
	return (struct kit_entry){key, seq << 24 | v};
}

static inline uint32_t kit_entry_vcpu(struct kit_entry e)
{
	uint32_t v = (uint32_t)e.low & KIT_NOBODY;

	return v == KIT_NOBODY ? BATON_NONE : v;
}

/* As one number of 128 bits: compared without a branch. */
static inline __int128 kit_entry_number_(struct kit_entry e)
{
	return (__int128)((unsigned __int128)(uint64_t)e.key << 64 | e.low);
}

static inline int kit_entry_before(struct kit_entry a, struct kit_entry b)
{
	return kit_entry_number_(a) < kit_entry_number_(b);
}

static inline struct kit_entry kit_entry_least(struct kit_entry a, struct kit_entry b)
{
	return kit_entry_before(a, b) ? a : b;
}

/* ---- tournament: the first of up to 256 entries, one per pCPU ------------------------------------------------------- */

/* [1] is the winner, [leaves + i] the entry of i; each parent is the first of its two children. */
struct kit_tournament {
	uint32_t leaves; /* a power of two */
	_Alignas(64) struct kit_entry entry[2 * BATON_PCPUS_MAX];
};

static inline void kit_tournament_init(struct kit_tournament *t, uint32_t count)
{
	for (t->leaves = 1; t->leaves < count; t->leaves *= 2)
		;
	for (uint32_t i = 0; i < 2 * t->leaves; i++)
		t->entry[i] = KIT_NO_ENTRY;
}

/* KIT_NO_ENTRY takes i out. */
static inline void kit_tournament_set(struct kit_tournament *t, uint32_t i, struct kit_entry e)
{
	struct kit_entry *n = t->entry;

	i += t->leaves;
	n[i] = e;
	while (i > 1) {
		e = kit_entry_least(n[i], n[i ^ 1]);
		i /= 2;
		if (n[i].low == e.low && n[i].key == e.key)
			break;
		n[i] = e;
	}
}

static inline struct kit_entry kit_tournament_at(const struct kit_tournament *t, uint32_t i)
{
	return t->entry[t->leaves + i];
}

static inline struct kit_entry kit_tournament_winner(const struct kit_tournament *t)
{
	return t->entry[1];
}

/* The winner if i had the entry e. */
static inline struct kit_entry kit_tournament_if(const struct kit_tournament *t, uint32_t i, struct kit_entry e)
{
	for (i += t->leaves; i > 1; i /= 2)
		e = kit_entry_least(e, t->entry[i ^ 1]);
	return e;
}

/* ---- idle pCPUs -------------------------------------------------------------------------------------------------- */

/* Zeroed: all idle. Tell it of every start and stop, and of those who run already when they are admitted. */
struct kit_idle {
	uint64_t busy[KIT_WORDS];
};

static inline void kit_idle_start(struct kit_idle *set, uint32_t pcpu)
{
	set->busy[pcpu / 64] |= UINT64_C(1) << (pcpu % 64);
}

static inline void kit_idle_stop(struct kit_idle *set, uint32_t pcpu)
{
	set->busy[pcpu / 64] &= ~(UINT64_C(1) << (pcpu % 64));
}

static inline int kit_idle_has(const struct kit_idle *set, uint32_t pcpu)
{
	return !kit_mask_has(set->busy, pcpu);
}

/* Where v could run at once: where it ran last, else on any idle pCPU; BATON_NONE when there is none. */
static inline uint32_t kit_idle_for(struct baton_region *r, const struct kit_idle *set, uint32_t v)
{
	const struct baton_vcpu *c = baton_vcpu(r, v);

	if (c->pcpu < r->pcpu_slots && kit_idle_has(set, c->pcpu) && kit_mask_has(c->affinity, c->pcpu))
		return c->pcpu;
	for (uint32_t i = 0; i < kit_words(r); i++) {
		uint64_t both = ~set->busy[i] & c->affinity[i] & kit_word_all(r, i);

		if (both != 0)
			return i * 64 + (uint32_t)__builtin_ctzll(both);
	}
	return BATON_NONE;
}

/* ---- due times ------------------------------------------------------------------------------------------------------ */

/* Per pCPU the time at which it is to be asked again, and alarms so that tick is called then. Alarms cannot be cancelled:
 * only the earliest time is asked for, and one that an earlier one overtakes is remembered, not asked for twice. */
struct kit_due {
	uint64_t alarm_ns; /* the next alarm asked for; in the past = none */
	uint64_t later_ns; /* the one that was to be the next before it */
	struct kit_tournament times;
};

/* In attach. */
static inline void kit_due_init(struct baton_region *r, struct kit_due *d)
{
	kit_tournament_init(&d->times, r->pcpu_slots);
}

static inline void kit_due_alarm_(struct kit_due *d, uint64_t t, uint64_t now)
{
	if (d->alarm_ns <= now) {
		d->alarm_ns = d->later_ns;
		d->later_ns = 0;
	}
	if (d->alarm_ns > now && d->alarm_ns <= t)
		return;
	if (d->alarm_ns > now)
		d->later_ns = d->alarm_ns;
	d->alarm_ns = t;
	baton_alarm(t);
}

/* pcpu is due at t, unless it is due sooner already. */
static inline void kit_due_at(struct kit_due *d, uint32_t pcpu, uint64_t t, uint64_t now)
{
	if ((int64_t)t >= kit_tournament_at(&d->times, pcpu).key)
		return;
	kit_tournament_set(&d->times, pcpu, kit_entry((int64_t)t, 0, pcpu));
	kit_due_alarm_(d, t, now);
}

static inline void kit_due_never(struct kit_due *d, uint32_t pcpu)
{
	if (kit_tournament_at(&d->times, pcpu).key != INT64_MAX)
		kit_tournament_set(&d->times, pcpu, KIT_NO_ENTRY);
}

/* In tick, until BATON_NONE: a pCPU whose time has come. At the end the alarm for the next is asked for. */
static inline uint32_t kit_due_next(struct kit_due *d, uint64_t now)
{
	struct kit_entry e = kit_tournament_winner(&d->times);

	if (e.key <= (int64_t)now) {
		kit_due_never(d, kit_entry_vcpu(e));
		return kit_entry_vcpu(e);
	}
	if (e.key != INT64_MAX)
		kit_due_alarm_(d, (uint64_t)e.key, now);
	return BATON_NONE;
}

#endif
