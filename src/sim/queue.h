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

struct queue_entry {
	uint64_t time_ns;
	uint32_t id;
	uint32_t reserved;
};

struct queue {
	struct queue_entry *heap;
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
	return q->count > 0 ? q->heap[0].time_ns : TIME_NEVER;
}

/* Whose time that is; only when one is set. */
static inline uint32_t queue_first(const struct queue *q)
{
	return q->heap[0].id;
}

static inline bool queue_before(const struct queue_entry *a, const struct queue_entry *b)
{
	return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->id < b->id;
}

static inline void queue_put_(struct queue *q, uint32_t i, struct queue_entry entry)
{
	q->heap[i] = entry;
	q->place[entry.id] = i + 1;
}

static inline void queue_up_(struct queue *q, uint32_t i, struct queue_entry entry)
{
	for (uint32_t parent; i > 0; i = parent) {
		parent = (i - 1) / 4;
		if (!queue_before(&entry, &q->heap[parent]))
			break;
		queue_put_(q, i, q->heap[parent]);
	}
	queue_put_(q, i, entry);
}

static inline void queue_down_(struct queue *q, uint32_t i, struct queue_entry entry)
{
	for (;;) {
		uint32_t child = 4 * i + 1, end = MIN(child + 4, q->count), least = child;

		if (child >= q->count)
			break;
		while (++child < end)
			if (queue_before(&q->heap[child], &q->heap[least]))
				least = child;
		if (!queue_before(&q->heap[least], &entry))
			break;
		queue_put_(q, i, q->heap[least]);
		i = least;
	}
	queue_put_(q, i, entry);
}

/* Sets timer id to time_ns, whatever it was set to before; TIME_NEVER takes it out. */
static inline void queue_set(struct queue *q, uint32_t id, uint64_t time_ns)
{
	uint32_t i = q->place[id];
	struct queue_entry entry = {.time_ns = time_ns, .id = id}, moved;

	if (i == 0) {
		if (time_ns != TIME_NEVER)
			queue_up_(q, q->count++, entry);
		return;
	}
	i--;
	if (time_ns == TIME_NEVER) {
		q->place[id] = 0;
		moved = q->heap[--q->count];
		if (moved.id == id)
			return;
		entry = moved;
	}
	if (i > 0 && queue_before(&entry, &q->heap[(i - 1) / 4]))
		queue_up_(q, i, entry);
	else
		queue_down_(q, i, entry);
}

#endif
