/* SPDX-License-Identifier: Apache-2.0 */
/*
 * change_queue.h - changes of scheduler come one at a time: the queue, its thread, and what came of each.
 *
 * A requester hands a spec in and gets a number back at once, so that neither a pCPU's run loop (a hypercall) nor the
 * control server ever waits for a change. With the number it asks how the change goes on. The last CHANGE_HISTORY reports
 * are kept.
 *
 * Threads: one of its own, which calls change_run; all functions may be called from any thread.
 */
#ifndef SCHED_CHANGE_QUEUE_H
#define SCHED_CHANGE_QUEUE_H

#include "sched/change.h"

#define CHANGE_QUEUE_MAX 16
#define CHANGE_HISTORY	 64

struct change_queue;

int change_queue_new(const struct changer *changer, struct change_queue **ret, struct error *e);
/* Lets a running change end, refuses the waiting ones, joins the thread. */
struct change_queue *change_queue_free(struct change_queue *q);

/* -> the change's number (1, 2, ...). -EAGAIN when CHANGE_QUEUE_MAX changes wait already. */
int change_queue_add(struct change_queue *q, const struct change_spec *spec, uint64_t *ret_id, struct error *e);

/* 0 and the present report, or -ENOENT when the number is unknown or too old. */
int change_queue_report(struct change_queue *q, uint64_t id, struct change_report *ret);
/* Waits until change id has ended (-ETIMEDOUT after timeout_ms). */
int change_queue_wait(struct change_queue *q, uint64_t id, int timeout_ms, struct change_report *ret);
/* The newest number given out; 0 = none. */
uint64_t change_queue_last(struct change_queue *q);

#endif
