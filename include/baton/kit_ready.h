/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton/kit_ready.h - a ready queue over all pCPUs of a pool. Part of the kit (baton/kit.h).
 *
 * The queue holds those who wait for a pCPU, least (key, seq) first. It answers "who comes first *on this pCPU*?" with
 * affinity and with a preference for vCPUs that ran there last, in O(log vCPUs + log pCPUs), without side effects:
 *
 *	home[0] home[1] ... home[pCPUs - 1]  nowhere     pinned
 *	  /\      /\            /\             /\          /\
 *	 heap    heap          heap           heap        tree
 *	   \      |             /
 *	    tournament of the tops: the first of all that have a home
 *
 *   home     the pCPU where a vCPU ran last; it may run on all of them. Those who never ran stand in `nowhere`.
 *   pinned   those whose affinity leaves out some pCPU, in one tree ordered by (key, seq). Each subtree knows the union
 *            of the affinities below, so that the first one that may run on a pCPU is found by going down once.
 *
 * Memory is the cost of a large pool, so all that a decision touches is packed: heaps are 4-ary, 16 bytes an entry,
 * the four children of one in one cache line, in chunks that the homes take from a common stock; the tournament is an
 * array. Only pinned vCPUs use the node in their own state. The whole is about 4.5 MiB of *addresses* in the state of the
 * pool; pages that a small pool does not touch stay unbacked.
 *
 *	struct my_pool { struct kit_ready ready; ... };		kit_ready_init in attach
 *	struct my_vcpu { ...; struct kit_pin pin; };
 *	#define PIN offsetof(struct my_vcpu, pin)
 *
 * The affinity and home of a vCPU are read when it is inserted. If its affinity changes while it waits, it is never given
 * to a pCPU that it may not use; insert it anew to have the new affinity counted in full.
 */
#ifndef BATON_KIT_READY_H
#define BATON_KIT_READY_H

#include "baton/kit_pcpus.h"

#define KIT_READY_MAX UINT32_C(131072) /* vCPU slots of the largest pool it serves */
#define KIT_HOMES     (BATON_PCPUS_MAX + 1)
#define KIT_CHUNK     UINT32_C(128) /* entries that a home takes at a time */
#define KIT_CHUNKS    (KIT_READY_MAX / KIT_CHUNK + 1)
#define KIT_STOCK     (KIT_CHUNKS + 3 * KIT_HOMES) /* besides what is full: two in part and one to spare per home */
#define KIT_NOWHERE   BATON_PCPUS_MAX		   /* home of who never ran */
#define KIT_IN_TREE   UINT32_MAX

/* ---- the queue: its parts --------------------------------------------------------------------------------------- */

/* Node of a pinned vCPU, in its own state. */
struct kit_pin {
	uint32_t up, left, right; /* number + 1; 0 = none */
	uint32_t reserved;
	struct kit_entry entry;
	uint64_t may[KIT_WORDS];       /* where it may run */
	uint64_t near[KIT_WORDS];      /* where it does not count as away: its home, or everywhere when it has none */
	uint64_t may_below[KIT_WORDS]; /* may and near, of itself and all below */
	uint64_t near_below[KIT_WORDS];
};

struct kit_ready {
	uint32_t count;	 /* all who wait */
	uint32_t pinned; /* those of them in the tree */
	uint32_t root;	 /* of the tree: number + 1 */
	uint32_t fresh;	 /* chunks that were never used begin here */
	uint32_t spare;	 /* list of chunks given back: number + 1, linked by their first entries' key */
	uint32_t size[KIT_HOMES];
	uint32_t chunks[KIT_HOMES];
	struct kit_tournament tops;	       /* of the homes */
	uint16_t chunk[KIT_HOMES][KIT_CHUNKS]; /* where a home's n-th chunk lies */
	uint32_t where[KIT_READY_MAX];	       /* (place << 9 | home) + 1; KIT_IN_TREE; 0 = does not wait */
	_Alignas(64) struct kit_entry entries[KIT_STOCK][KIT_CHUNK];
};

/* ---- what policies call (implementations below) ------------------------------------------------------------------- */

/* In attach. -7 (E2BIG) when the pool has more than KIT_READY_MAX vCPU slots: refuse then. */
static inline int32_t kit_ready_init(struct baton_region *r, struct kit_ready *q);

/* v begins to wait; does nothing when it waits already. `at`: offset of the struct kit_pin in the state of a vCPU. */
static inline void kit_ready_insert(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t v, int64_t key,
				    uint64_t seq);
/* v waits no longer; does nothing when it does not wait. */
static inline void kit_ready_remove(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t v);
static inline int kit_ready_has(const struct kit_ready *q, uint32_t v);
/* Key of v, which waits. */
static inline int64_t kit_ready_key(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t v);

/*
 * Who comes first on pcpu; BATON_NONE when nobody may run there. A vCPU whose home is another pCPU counts as `away` later
 * (>= 0, in the units of key): it is chosen when it is before the others by more than that. `except` is left out.
 * ret_key, unless NULL: the key as it counted, `away` included.
 */
static inline uint32_t kit_ready_first(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t pcpu,
				       int64_t away, uint32_t except, int64_t *ret_key);
/* The first of all, wherever it may run; BATON_NONE when nobody waits. */
static inline uint32_t kit_ready_least(struct baton_region *r, struct kit_ready *q, size_t at);
/* The same with its key; KIT_NO_ENTRY, whose key is INT64_MAX, when nobody waits. */
static inline struct kit_entry kit_ready_least_entry(struct baton_region *r, struct kit_ready *q, size_t at);
/* Does anybody wait who may run on pcpu? */
static inline int kit_ready_wanted(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t pcpu);

/* ---- heaps: one per home ------------------------------------------------------------------------------------------ */

/* Children of place i: 4i + 1 .. 4i + 4. Places are shifted by 3, so that siblings share a cache line. Places from size on
 * hold KIT_NO_ENTRY as far as there are chunks. */
static inline struct kit_entry *kit_place_(struct kit_ready *q, uint32_t home, uint32_t i)
{
	uint32_t at = i + 3;

	return &q->entries[q->chunk[home][at / KIT_CHUNK]][at % KIT_CHUNK];
}

/* e stands at place i now, which is `slot`. */
static inline void kit_put_(struct kit_ready *q, uint32_t home, uint32_t i, struct kit_entry *slot, struct kit_entry e)
{
	*slot = e;
	q->where[(uint32_t)e.low & KIT_NOBODY] = (i << 9 | home) + 1;
}

static inline void kit_grow_(struct kit_ready *q, uint32_t home)
{
	uint32_t n = q->spare - 1;

	if (q->spare != 0)
		q->spare = (uint32_t)q->entries[n][0].key;
	else
		n = q->fresh++;
	q->chunk[home][q->chunks[home]++] = (uint16_t)n;
	for (uint32_t i = 0; i < KIT_CHUNK; i++)
		q->entries[n][i] = KIT_NO_ENTRY;
}

/* One empty chunk is kept: a home that grows and shrinks by one does not pay each time. */
static inline void kit_shrink_(struct kit_ready *q, uint32_t home)
{
	uint32_t n;

	if ((q->size[home] + 3 + KIT_CHUNK - 1) / KIT_CHUNK + 1 >= q->chunks[home])
		return;
	n = q->chunk[home][--q->chunks[home]];
	q->entries[n][0].key = q->spare;
	q->spare = n + 1;
}

static inline void kit_sift_up_(struct kit_ready *q, uint32_t home, uint32_t i, struct kit_entry e)
{
	struct kit_entry *slot = kit_place_(q, home, i);

	while (i > 0) {
		uint32_t up = (i - 1) / 4;
		struct kit_entry *above = kit_place_(q, home, up);

		if (!kit_entry_before(e, *above))
			break;
		kit_put_(q, home, i, slot, *above);
		i = up;
		slot = above;
	}
	kit_put_(q, home, i, slot, e);
}

/* Which of four siblings is the least. */
static inline uint32_t kit_least_of_4_(const struct kit_entry *g)
{
	uint32_t a = (uint32_t)kit_entry_before(g[1], g[0]);
	uint32_t b = 2 + (uint32_t)kit_entry_before(g[3], g[2]);

	return kit_entry_before(g[b], g[a]) ? b : a;
}

static inline void kit_sift_down_(struct kit_ready *q, uint32_t home, uint32_t i, struct kit_entry e)
{
	uint32_t size = q->size[home], child;
	struct kit_entry *slot = kit_place_(q, home, i);

	while ((child = 4 * i + 1) < size) {
		struct kit_entry *g = kit_place_(q, home, child);
		uint32_t least = kit_least_of_4_(g);

		if (!kit_entry_before(g[least], e))
			break;
		kit_put_(q, home, i, slot, g[least]);
		i = child + least;
		slot = g + least;
	}
	kit_put_(q, home, i, slot, e);
}

/* The first of a home, `except` left out. */
static inline struct kit_entry kit_home_first_(struct kit_ready *q, uint32_t home, uint32_t except)
{
	struct kit_entry e = KIT_NO_ENTRY;

	if (q->size[home] == 0)
		return e;
	e = *kit_place_(q, home, 0);
	if (except == BATON_NONE || kit_entry_vcpu(e) != except)
		return e;
	if (q->size[home] == 1)
		return KIT_NO_ENTRY;
	return kit_place_(q, home, 1)[kit_least_of_4_(kit_place_(q, home, 1))];
}

/* The top of a home has changed. It is the next one there, and what is known of it may lie far away by then. */
static inline void kit_replay_(struct baton_region *r, struct kit_ready *q, uint32_t home)
{
	struct kit_entry e = kit_home_first_(q, home, BATON_NONE);
	uint32_t v = kit_entry_vcpu(e);

	if (v != BATON_NONE) {
		__builtin_prefetch(baton_vcpu(r, v), 1);
		__builtin_prefetch(baton_vcpu_state(r, v), 1);
		__builtin_prefetch((char *)baton_vcpu_state(r, v) + 64, 1);
	}
	if (home != KIT_NOWHERE)
		kit_tournament_set(&q->tops, home, e);
}

/* The first of all who have a home, `except` left out. */
static inline struct kit_entry kit_winner_(struct kit_ready *q, uint32_t except)
{
	struct kit_entry e = q->tops.entry[1];
	uint32_t home;

	if (except == BATON_NONE || kit_entry_vcpu(e) != except)
		return e;
	home = (q->where[except] - 1) & 511;
	return kit_tournament_if(&q->tops, home, kit_home_first_(q, home, except));
}

static inline void kit_heap_put_(struct baton_region *r, struct kit_ready *q, uint32_t home, struct kit_entry e)
{
	uint32_t i = q->size[home]++;

	if ((i + 3) / KIT_CHUNK >= q->chunks[home])
		kit_grow_(q, home);
	kit_sift_up_(q, home, i, e);
	if (kit_place_(q, home, 0)->low == e.low)
		kit_replay_(r, q, home);
}

static inline void kit_heap_take_(struct baton_region *r, struct kit_ready *q, uint32_t home, uint32_t i)
{
	uint32_t last = --q->size[home];
	struct kit_entry *from = kit_place_(q, home, last), e = *from;

	*from = KIT_NO_ENTRY;
	if (i < last && i > 0 && kit_entry_before(e, *kit_place_(q, home, (i - 1) / 4)))
		kit_sift_up_(q, home, i, e);
	else if (i < last)
		kit_sift_down_(q, home, i, e);
	kit_shrink_(q, home);
	if (i == 0)
		kit_replay_(r, q, home);
}

/* ---- the tree of the pinned: a treap, so that its depth does not depend on keys -------------------------------------- */

static inline struct kit_pin *kit_pin_(struct baton_region *r, size_t at, uint32_t number)
{
	return kit_at(r, at, number - 1);
}

/* Above others is who has the larger of these. */
static inline uint32_t kit_pin_rank_(uint32_t number)
{
	uint32_t x = number * UINT32_C(0x9e3779b1);

	x = (x ^ (x >> 15)) * UINT32_C(0x85ebca6b);
	return x ^ (x >> 13);
}

static inline void kit_pin_sum_(struct baton_region *r, size_t at, struct kit_pin *n)
{
	for (uint32_t i = 0; i < kit_words(r); i++) {
		n->may_below[i] = n->may[i];
		n->near_below[i] = n->near[i];
		if (n->left != 0) {
			n->may_below[i] |= kit_pin_(r, at, n->left)->may_below[i];
			n->near_below[i] |= kit_pin_(r, at, n->left)->near_below[i];
		}
		if (n->right != 0) {
			n->may_below[i] |= kit_pin_(r, at, n->right)->may_below[i];
			n->near_below[i] |= kit_pin_(r, at, n->right)->near_below[i];
		}
	}
}

/* Where the tree knows of v: in its parent, or as the root. */
static inline uint32_t *kit_pin_slot_(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t number)
{
	uint32_t up = kit_pin_(r, at, number)->up;

	if (up == 0)
		return &q->root;
	return kit_pin_(r, at, up)->left == number ? &kit_pin_(r, at, up)->left : &kit_pin_(r, at, up)->right;
}

/* The node and its parent change places; the order stays. */
static inline void kit_pin_raise_(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t number)
{
	struct kit_pin *n = kit_pin_(r, at, number), *parent = kit_pin_(r, at, n->up);
	uint32_t up = n->up, inner, *slot = kit_pin_slot_(r, q, at, up);

	if (parent->left == number) {
		inner = parent->left = n->right;
		n->right = up;
	} else {
		inner = parent->right = n->left;
		n->left = up;
	}
	if (inner != 0)
		kit_pin_(r, at, inner)->up = up;
	n->up = parent->up;
	parent->up = number;
	*slot = number;
	kit_pin_sum_(r, at, parent);
	kit_pin_sum_(r, at, n);
}

static inline void kit_pin_insert_(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t number)
{
	struct kit_pin *n = kit_pin_(r, at, number);
	uint32_t *slot = &q->root, up = 0;

	while (*slot != 0) {
		struct kit_pin *other = kit_pin_(r, at, *slot);

		up = *slot;
		for (uint32_t i = 0; i < kit_words(r); i++) {
			other->may_below[i] |= n->may[i];
			other->near_below[i] |= n->near[i];
		}
		slot = kit_entry_before(n->entry, other->entry) ? &other->left : &other->right;
	}
	*slot = number;
	n->up = up;
	kit_pin_sum_(r, at, n);
	while (n->up != 0 && kit_pin_rank_(number) > kit_pin_rank_(n->up))
		kit_pin_raise_(r, q, at, number);
}

static inline void kit_pin_remove_(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t number)
{
	struct kit_pin *n = kit_pin_(r, at, number);
	uint32_t up;

	while (n->left != 0 && n->right != 0)
		kit_pin_raise_(r, q, at, kit_pin_rank_(n->left) > kit_pin_rank_(n->right) ? n->left : n->right);
	*kit_pin_slot_(r, q, at, number) = n->left + n->right;
	if (n->left + n->right != 0)
		kit_pin_(r, at, n->left + n->right)->up = n->up;
	for (up = n->up; up != 0; up = kit_pin_(r, at, up)->up)
		kit_pin_sum_(r, at, kit_pin_(r, at, up));
}

/* Does the subtree (number, 0 = empty) hold one that may run on pcpu, or is near to it? */
static inline int kit_pin_below_(struct baton_region *r, size_t at, uint32_t number, uint32_t pcpu, int near)
{
	struct kit_pin *n;

	if (number == 0)
		return 0;
	n = kit_pin_(r, at, number);
	return kit_mask_has(near ? n->near_below : n->may_below, pcpu);
}

static inline int kit_pin_itself_(struct kit_pin *n, uint32_t pcpu, int near)
{
	return kit_mask_has(near ? n->near : n->may, pcpu);
}

/* The first in the subtree, which holds one. */
static inline uint32_t kit_pin_down_(struct baton_region *r, size_t at, uint32_t number, uint32_t pcpu, int near)
{
	for (;;) {
		struct kit_pin *n = kit_pin_(r, at, number);

		if (kit_pin_below_(r, at, n->left, pcpu, near))
			number = n->left;
		else if (kit_pin_itself_(n, pcpu, near))
			return number;
		else
			number = n->right;
	}
}

/* The first in the tree, `except` left out; 0 = none. */
static inline uint32_t kit_pin_first_(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t pcpu, int near,
				      uint32_t except)
{
	uint32_t number, up;

	if (!kit_pin_below_(r, at, q->root, pcpu, near))
		return 0;
	number = kit_pin_down_(r, at, q->root, pcpu, near);
	if (number != except + 1)
		return number;
	if (kit_pin_below_(r, at, kit_pin_(r, at, number)->right, pcpu, near))
		return kit_pin_down_(r, at, kit_pin_(r, at, number)->right, pcpu, near);
	for (; (up = kit_pin_(r, at, number)->up) != 0; number = up) {
		struct kit_pin *n = kit_pin_(r, at, up);

		if (n->left != number)
			continue; /* what is above it comes before it */
		if (kit_pin_itself_(n, pcpu, near))
			return up;
		if (kit_pin_below_(r, at, n->right, pcpu, near))
			return kit_pin_down_(r, at, n->right, pcpu, near);
	}
	return 0;
}

/* ---- the queue --------------------------------------------------------------------------------------------------- */

static inline int32_t kit_ready_init(struct baton_region *r, struct kit_ready *q)
{
	if (r->vcpu_slots > KIT_READY_MAX || r->pcpu_slots > BATON_PCPUS_MAX)
		return -7;
	kit_tournament_init(&q->tops, r->pcpu_slots);
	return 0;
}

static inline int kit_ready_has(const struct kit_ready *q, uint32_t v)
{
	return q->where[v] != 0;
}

static inline void kit_ready_insert(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t v, int64_t key,
				    uint64_t seq)
{
	const struct baton_vcpu *c = baton_vcpu(r, v);
	uint32_t home = c->pcpu < r->pcpu_slots ? c->pcpu : KIT_NOWHERE;
	uint64_t missing = 0;
	struct kit_pin *n;

	if (q->where[v] != 0)
		return;
	q->count++;
	for (uint32_t i = 0; i < kit_words(r); i++)
		missing |= ~c->affinity[i] & kit_word_all(r, i);
	if (missing == 0) {
		kit_heap_put_(r, q, home, kit_entry(key, seq, v));
		return;
	}
	n = kit_pin_(r, at, v + 1);
	*n = (struct kit_pin){.entry = kit_entry(key, seq, v)};
	for (uint32_t i = 0; i < kit_words(r); i++) {
		n->may[i] = c->affinity[i];
		n->near[i] = home == KIT_NOWHERE ? n->may[i] : 0;
	}
	if (home != KIT_NOWHERE && kit_mask_has(n->may, home))
		n->near[home / 64] = UINT64_C(1) << (home % 64);
	q->where[v] = KIT_IN_TREE;
	q->pinned++;
	kit_pin_insert_(r, q, at, v + 1);
}

static inline void kit_ready_remove(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t v)
{
	uint32_t where = q->where[v];

	if (where == 0)
		return;
	q->where[v] = 0;
	q->count--;
	if (where != KIT_IN_TREE) {
		kit_heap_take_(r, q, (where - 1) & 511, (where - 1) >> 9);
		return;
	}
	q->pinned--;
	kit_pin_remove_(r, q, at, v + 1);
	*kit_pin_(r, at, v + 1) = (struct kit_pin){0};
}

static inline int64_t kit_ready_key(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t v)
{
	uint32_t where = q->where[v];

	if (where == KIT_IN_TREE)
		return kit_pin_(r, at, v + 1)->entry.key;
	return kit_place_(q, (where - 1) & 511, (where - 1) >> 9)->key;
}

/* e instead of *best, if it comes first and may run there (its affinity may have changed while it waited). */
static inline void kit_better_(struct baton_region *r, struct kit_entry *best, struct kit_entry e, int64_t away,
			       uint32_t pcpu)
{
	uint32_t v = kit_entry_vcpu(e);

	if (v == BATON_NONE)
		return;
	if (__builtin_add_overflow(e.key, away, &e.key))
		e.key = INT64_MAX - 1;
	if (kit_entry_before(e, *best) && baton_allowed(r, v, pcpu))
		*best = e;
}

static inline uint32_t kit_ready_first(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t pcpu,
				       int64_t away, uint32_t except, int64_t *ret_key)
{
	struct kit_entry best = KIT_NO_ENTRY, e;
	uint32_t n, home;

	if (q->count > q->pinned) {
		e = kit_winner_(q, except);
		if (kit_entry_vcpu(e) != BATON_NONE) {
			home = (q->where[kit_entry_vcpu(e)] - 1) & 511;
			kit_better_(r, &best, e, home == pcpu ? 0 : away, pcpu);
			if (home != pcpu && away != 0)
				kit_better_(r, &best, kit_home_first_(q, pcpu, except), 0, pcpu);
		}
		if (q->size[KIT_NOWHERE] > 0)
			kit_better_(r, &best, kit_home_first_(q, KIT_NOWHERE, except), 0, pcpu);
	}
	if (q->pinned > 0) {
		n = kit_pin_first_(r, q, at, pcpu, 0, except);
		if (n != 0) {
			struct kit_pin *pin = kit_pin_(r, at, n);

			kit_better_(r, &best, pin->entry, kit_mask_has(pin->near, pcpu) ? 0 : away, pcpu);
			n = away == 0 ? 0 : kit_pin_first_(r, q, at, pcpu, 1, except);
			if (n != 0)
				kit_better_(r, &best, kit_pin_(r, at, n)->entry, 0, pcpu);
		}
	}
	if (ret_key != NULL)
		*ret_key = best.key;
	return kit_entry_vcpu(best);
}

static inline struct kit_entry kit_ready_least_entry(struct baton_region *r, struct kit_ready *q, size_t at)
{
	struct kit_entry e = kit_entry_least(kit_winner_(q, BATON_NONE), kit_home_first_(q, KIT_NOWHERE, BATON_NONE));
	uint32_t n = q->root;

	if (n == 0)
		return e;
	while (kit_pin_(r, at, n)->left != 0)
		n = kit_pin_(r, at, n)->left;
	return kit_entry_least(e, kit_pin_(r, at, n)->entry);
}

static inline uint32_t kit_ready_least(struct baton_region *r, struct kit_ready *q, size_t at)
{
	return kit_entry_vcpu(kit_ready_least_entry(r, q, at));
}

static inline int kit_ready_wanted(struct baton_region *r, struct kit_ready *q, size_t at, uint32_t pcpu)
{
	return q->count > q->pinned || kit_pin_below_(r, at, q->root, pcpu, 0);
}

/*
 * An idle pCPU other than `except` for which somebody waits; BATON_NONE when there is none. Two vCPUs that wake together
 * are both shown to the same idle pCPU: so whenever one starts, kick this one on behalf of those who still wait.
 */
static inline uint32_t kit_idle_wanted(struct baton_region *r, const struct kit_idle *set, struct kit_ready *q,
				       size_t at, uint32_t except)
{
	if (q->count == 0)
		return BATON_NONE;
	for (uint32_t i = 0; i < kit_words(r); i++) {
		uint64_t idle = ~set->busy[i] & kit_word_all(r, i);

		if (q->count == q->pinned)
			idle &= kit_pin_(r, at, q->root)->may_below[i];
		if (except / 64 == i)
			idle &= ~(UINT64_C(1) << (except % 64));
		if (idle != 0)
			return i * 64 + (uint32_t)__builtin_ctzll(idle);
	}
	return BATON_NONE;
}

#endif
