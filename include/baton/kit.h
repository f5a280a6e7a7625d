/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton/kit.h - small helpers for authors of schedulers. Not part of the ABI: use them, copy them or ignore them.
 *
 * A list, an ordered heap, a writer for dump, and what every policy says in the same way; baton/kit_ready.h adds a ready
 * queue over all pCPUs. All of them live in the policy region and know vCPUs by number only: the links of vCPU v stand
 * inside v's own state, and every function takes `at`, the offset of those links in it:
 *
 *	struct my_vcpu { struct kit_link link; uint64_t used_ns; };
 *	#define LINK offsetof(struct my_vcpu, link)
 *	kit_list_append(r, &pool->queue, LINK, v);
 *
 * So nothing is allocated, the size of the region is the only limit, and a vCPU can be on several lists and heaps at
 * once. Numbers are stored plus one: zeroed state is an empty list, an empty heap, an unlinked vCPU. Adding what is
 * there already, or taking out what is not, does nothing: an unexpected event cannot break a structure.
 */
#ifndef BATON_KIT_H
#define BATON_KIT_H

#include "baton/scheduler.h"

#include <stddef.h>

static inline void *kit_at(struct baton_region *r, size_t at, uint32_t v)
{
	return (char *)baton_vcpu_state(r, v) + at;
}

/* ---- doubly linked list ----------------------------------------------------------------------------------------- */

struct kit_link {
	uint32_t prev, next; /* number + 1; 0 = none */
	uint32_t on;
};

struct kit_list {
	uint32_t first, last; /* number + 1; 0 = none */
	uint32_t count;
};

static inline struct kit_link *kit_link(struct baton_region *r, size_t at, uint32_t v)
{
	return kit_at(r, at, v);
}

/* First vCPU of the list, the one after v, the one before v; BATON_NONE (0 - 1) at the end. */
static inline uint32_t kit_list_first(const struct kit_list *l)
{
	return l->first - 1;
}

static inline uint32_t kit_list_last(const struct kit_list *l)
{
	return l->last - 1;
}

static inline uint32_t kit_list_next(struct baton_region *r, size_t at, uint32_t v)
{
	return kit_link(r, at, v)->next - 1;
}

static inline uint32_t kit_list_prev(struct baton_region *r, size_t at, uint32_t v)
{
	return kit_link(r, at, v)->prev - 1;
}

/* Puts v behind `after`; BATON_NONE = at the head. */
static inline void kit_list_insert(struct baton_region *r, struct kit_list *l, size_t at, uint32_t after, uint32_t v)
{
	struct kit_link *n = kit_link(r, at, v);
	uint32_t *from_prev = after == BATON_NONE ? &l->first : &kit_link(r, at, after)->next;
	uint32_t *from_next;

	if (n->on)
		return;
	from_next = *from_prev == 0 ? &l->last : &kit_link(r, at, *from_prev - 1)->prev;
	*n = (struct kit_link){.prev = after + 1, .next = *from_prev, .on = 1};
	*from_prev = v + 1;
	*from_next = v + 1;
	l->count++;
}

static inline void kit_list_append(struct baton_region *r, struct kit_list *l, size_t at, uint32_t v)
{
	kit_list_insert(r, l, at, kit_list_last(l), v);
}

static inline void kit_list_remove(struct baton_region *r, struct kit_list *l, size_t at, uint32_t v)
{
	struct kit_link *n = kit_link(r, at, v);

	if (!n->on)
		return;
	*(n->prev == 0 ? &l->first : &kit_link(r, at, n->prev - 1)->next) = n->next;
	*(n->next == 0 ? &l->last : &kit_link(r, at, n->next - 1)->prev) = n->prev;
	*n = (struct kit_link){0};
	l->count--;
}

/* ---- ordered heap: least (key, seq) first -------------------------------------------------------------------------
 *
 * A leftist tree: a binary heap by links. Each vCPU is before its children, and the way down to the right is never
 * longer than log2(count), because the child with the longer such way stands on the left. Everything is done by melding
 * two trees along their right sides: insert and remove take O(log n). (An array would need a place that outlives the
 * state of the vCPU that it lies in, and states are zeroed when a slot is used again.) seq breaks ties; give each
 * insertion a new number and equals come out first in, first out.
 */

struct kit_node {
	uint32_t up, left, right; /* number + 1; 0 = none */
	uint32_t rank;		  /* vCPUs on the way down to the right, itself included; 0 = not in a heap */
	int64_t key;
	uint64_t seq;
};

struct kit_heap {
	uint32_t root; /* number + 1; 0 = none */
	uint32_t count;
};

static inline struct kit_node *kit_node(struct baton_region *r, size_t at, uint32_t v)
{
	return kit_at(r, at, v);
}

static inline int kit_before(const struct kit_node *a, const struct kit_node *b)
{
	return a->key != b->key ? a->key < b->key : a->seq < b->seq;
}

/* The least, or BATON_NONE. */
static inline uint32_t kit_heap_top(const struct kit_heap *h)
{
	return h->root - 1;
}

/* Puts the longer right way on the left; returns the new rank of n. */
static inline uint32_t kit_lean_(struct baton_region *r, size_t at, struct kit_node *n)
{
	uint32_t left = n->left == 0 ? 0 : kit_node(r, at, n->left - 1)->rank;
	uint32_t right = n->right == 0 ? 0 : kit_node(r, at, n->right - 1)->rank;

	if (left < right) {
		uint32_t swap = n->left;

		n->left = n->right;
		n->right = swap;
		return left + 1;
	}
	return right + 1;
}

/* Melds two trees (numbers + 1) into one; recursion is as deep as their right sides: at most 2 log2(count). */
static inline uint32_t kit_meld_(struct baton_region *r, size_t at, uint32_t a, uint32_t b)
{
	struct kit_node *top;

	if (a == 0 || b == 0)
		return a + b;
	if (kit_before(kit_node(r, at, b - 1), kit_node(r, at, a - 1))) {
		uint32_t swap = a;

		a = b;
		b = swap;
	}
	top = kit_node(r, at, a - 1);
	top->right = kit_meld_(r, at, top->right, b);
	kit_node(r, at, top->right - 1)->up = a;
	top->rank = kit_lean_(r, at, top);
	return a;
}

static inline void kit_heap_insert(struct baton_region *r, struct kit_heap *h, size_t at, uint32_t v, int64_t key,
				   uint64_t seq)
{
	struct kit_node *n = kit_node(r, at, v);

	if (n->rank > 0)
		return;
	*n = (struct kit_node){.rank = 1, .key = key, .seq = seq};
	h->root = kit_meld_(r, at, h->root, v + 1);
	kit_node(r, at, h->root - 1)->up = 0;
	h->count++;
}

static inline void kit_heap_remove(struct baton_region *r, struct kit_heap *h, size_t at, uint32_t v)
{
	struct kit_node *n = kit_node(r, at, v), *parent;
	uint32_t up = n->up, rest;

	if (n->rank == 0)
		return;
	rest = kit_meld_(r, at, n->left, n->right);
	if (rest != 0)
		kit_node(r, at, rest - 1)->up = up;
	if (up == 0) {
		h->root = rest;
	} else {
		parent = kit_node(r, at, up - 1);
		*(parent->left == v + 1 ? &parent->left : &parent->right) = rest;
	}
	/* Ranks above have shrunk perhaps; where one stays the same, so do all above it. */
	for (; up != 0; up = parent->up) {
		uint32_t rank;

		parent = kit_node(r, at, up - 1);
		rank = kit_lean_(r, at, parent);
		if (rank == parent->rank)
			break;
		parent->rank = rank;
	}
	*n = (struct kit_node){0};
	h->count--;
}

/*
 * Walks the tree from the top without a stack: the vCPU after v, each before its children; with descend = 0 those below
 * v are left out. A search for the least that fits goes on below v only while v is before the best one found.
 */
static inline uint32_t kit_heap_walk(struct baton_region *r, size_t at, uint32_t v, int descend)
{
	struct kit_node *n = kit_node(r, at, v);

	if (descend && n->left != 0)
		return n->left - 1; /* nobody has a right child alone */
	while (n->up != 0) {
		struct kit_node *parent = kit_node(r, at, n->up - 1);

		if (parent->left == v + 1 && parent->right != 0)
			return parent->right - 1;
		v = n->up - 1;
		n = parent;
	}
	return BATON_NONE;
}

/* ---- text for dump: never writes past the end -------------------------------------------------------------------- */

struct kit_text {
	char *buf;
	uint32_t size, length;
};

static inline void kit_put(struct kit_text *t, const char *s)
{
	while (*s != '\0' && t->length < t->size)
		t->buf[t->length++] = *s++;
}

static inline void kit_put_u64(struct kit_text *t, uint64_t n)
{
	char digits[21], *p = digits + 20;

	*p = '\0';
	do {
		*--p = (char)('0' + n % 10);
	} while ((n /= 10) > 0);
	kit_put(t, p);
}

static inline void kit_put_i64(struct kit_text *t, int64_t n)
{
	if (n < 0)
		kit_put(t, "-");
	kit_put_u64(t, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

/* "name=n", with a blank before it. */
static inline void kit_put_field(struct kit_text *t, const char *name, int64_t n)
{
	kit_put(t, " ");
	kit_put(t, name);
	kit_put(t, "=");
	kit_put_i64(t, n);
}

/* ---- what every policy says in the same way ------------------------------------------------------------------------ */

/* Answer to choose_console: the VM that was boosted last (its number + 1, 0 = none), else the service VM. */
static inline uint32_t kit_console(struct baton_region *r, uint32_t boosted)
{
	uint32_t vm = boosted - 1;

	if (vm < r->vm_slots && baton_vm(r, vm)->used)
		return vm;
	for (vm = 0; vm < r->vm_slots; vm++)
		if (baton_vm(r, vm)->used && baton_vm(r, vm)->service)
			return vm;
	return BATON_NONE;
}

/* Fills the neutral part of a history record, and adds a tail that only this policy reads in this format. */
static inline void kit_history(struct baton_region *r, uint32_t v, struct baton_history *h, const char *policy,
			       uint32_t format, const void *tail, uint32_t tail_size)
{
	uint32_t n = 0;

	h->version = BATON_HISTORY_VERSION;
	h->weight = baton_weight(r, v);
	h->last_pcpu = baton_vcpu(r, v)->pcpu;
	for (; policy[n] != '\0' && n < BATON_NAME_MAX - 1; n++)
		h->policy[n] = policy[n];
	h->policy[n] = '\0';
	h->tail_format = format;
	h->tail_size = tail_size;
	__builtin_memcpy(h->tail, tail, tail_size);
}

/* The tail, when it is this policy's in this format; else NULL. */
static inline const void *kit_history_tail(const struct baton_history *h, const char *policy, uint32_t format,
					   uint32_t tail_size)
{
	uint32_t n = 0;

	while (n < BATON_NAME_MAX - 1 && policy[n] != '\0' && h->policy[n] == policy[n])
		n++;
	if (h->policy[n] != policy[n] || h->tail_format != format || h->tail_size != tail_size)
		return NULL;
	return h->tail;
}

#endif
