/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - what is due next: a 4-ary heap of numbered timers, each with one time.
 *
 * Timers are numbered 0 .. size - 1 (pCPUs, vCPUs) and each stands in the queue at most once, so that setting one again
 * moves it and nothing is allocated while the simulation runs. Four children per node: half the levels of a binary heap,
 * and the children of a node share one cache line. Equal times come in the order of the numbers: the order of events
 * does not depend on their history, which is what makes runs repeatable.
 *
 * Threads: one.
 */
#ifndef SIM_QUEUE_H
#define SIM_QUEUE_H

#include "base/base.h"
#include "base/clock.h"

/* Time above, number below: both are compared at once. */
typedef unsigned __int128 queue_key;

struct queue {
	queue_key *heap;
	uint32_t *place; /* of timer id in the heap, plus one; 0 = not set */
	uint32_t count, size;
};

static inline int queue_init(struct queue *q, uint32_t size)
{
	*q = (struct queue){.size = size};
	q->heap = calloc(size, sizeof *q->heap);
	q->place = calloc(size, sizeof *q->place);
	return q->heap && q->place ? 0 : -ENOMEM;
}

static inline void queue_release(struct queue *q)
{
	free(q->heap);
	free(q->place);
	*q = (struct queue){0};
}

/* The earliest time; TIME_NEVER when no timer is set. */
static inline uint64_t queue_time(const struct queue *q)
{
	return q->count > 0 ? (uint64_t)(q->heap[0] >> 64) : TIME_NEVER;
}

/* Whose time that is; only when one is set. */
static inline uint32_t queue_first(const struct queue *q)
{
	return (uint32_t)q->heap[0];
}

static inline void queue_put_(struct queue *q, uint32_t i, queue_key key)
{
	q->heap[i] = key;
	q->place[(uint32_t)key] = i + 1;
}

/* The key's way up from i, which is free. */
static inline void queue_up_(struct queue *q, uint32_t i, queue_key key)
{
	for (uint32_t parent; i > 0; i = parent) {
		parent = (i - 1) / 4;
		if (key >= q->heap[parent])
			break;
		queue_put_(q, i, q->heap[parent]);
	}
	queue_put_(q, i, key);
}

/* The key's way down from i, which is free: the least children move up as far as there are any, then the key goes up from
 * the bottom. It belongs there nearly always, since whoever was due has its next time later than most. */
static inline void queue_down_(struct queue *q, uint32_t i, queue_key key)
{
	uint32_t child;

	while ((child = 4 * i + 1) < q->count) {
		uint32_t least = child, end = MIN(child + 4, q->count);

		while (++child < end)
			least = q->heap[child] < q->heap[least] ? child : least;
		queue_put_(q, i, q->heap[least]);
		i = least;
	}
	queue_up_(q, i, key);
}

/* Sets timer id to time_ns, whatever it was set to before; TIME_NEVER takes it out. */
static inline void queue_set(struct queue *q, uint32_t id, uint64_t time_ns)
{
	uint32_t i = q->place[id];
	queue_key key = (queue_key)time_ns << 64 | id;

	if (i == 0) {
		if (time_ns != TIME_NEVER)
			queue_up_(q, q->count++, key);
		return;
	}
	i--;
	if (time_ns == TIME_NEVER) {
		q->place[id] = 0;
		key = q->heap[--q->count];
		if ((uint32_t)key == id)
			return;
	} else if (key == q->heap[i]) {
		return;
	}
	if (i > 0 && key < q->heap[(i - 1) / 4])
		queue_up_(q, i, key);
	else
		queue_down_(q, i, key);
}

#endif
