/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/change_queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"

struct change_queue {
	struct changer changer;
	pthread_t thread;

	struct lock lock;
	pthread_cond_t changed;					     /* something was added, moved on or ended */
	_Atomic bool stop;					     /* written under the lock */
	uint64_t last_id GUARDED_BY(lock);			     /* given out */
	uint64_t next_id GUARDED_BY(lock);			     /* the next to be carried out */
	struct change_spec specs[CHANGE_QUEUE_MAX] GUARDED_BY(lock); /* of id at id % CHANGE_QUEUE_MAX */
	struct change_report reports[CHANGE_HISTORY] GUARDED_BY(lock);
};

static void wait_changed(struct change_queue *q, const struct timespec *until) REQUIRES(q->lock) NO_TSA
{
	atomic_store_explicit(&q->lock.owner, 0, memory_order_relaxed);
	if (until)
		pthread_cond_timedwait(&q->changed, &q->lock.mutex, until);
	else
		pthread_cond_wait(&q->changed, &q->lock.mutex);
	atomic_store_explicit(&q->lock.owner, pthread_self(), memory_order_relaxed);
}

static void store(struct change_queue *q, const struct change_report *report) REQUIRES(q->lock)
{
	q->reports[report->id % CHANGE_HISTORY] = *report;
	pthread_cond_broadcast(&q->changed);
}

static void moved_on(void *ctx, const struct change_report *report)
{
	struct change_queue *q = ctx;

	lock_take(&q->lock);
	store(q, report);
	lock_drop(&q->lock);
}

static bool still_wanted(void *ctx)
{
	struct change_queue *q = ctx;

	return !atomic_load(&q->stop);
}

static void *queue_thread(void *ctx)
{
	struct change_queue *q = ctx;
	struct change_spec spec;
	struct change_report report;

	lock_take(&q->lock);
	for (;;) {
		while (!q->stop && q->next_id > q->last_id)
			wait_changed(q, NULL);
		if (q->stop)
			break;
		spec = q->specs[q->next_id % CHANGE_QUEUE_MAX];
		report = q->reports[q->next_id % CHANGE_HISTORY];
		lock_drop(&q->lock);
		(void)change_run(&q->changer, &spec, &report);
		lock_take(&q->lock);
		store(q, &report);
		q->next_id++;
	}
	for (; q->next_id <= q->last_id; q->next_id++) {
		report = q->reports[q->next_id % CHANGE_HISTORY];
		report.state = CHANGE_REFUSED;
		snprintf(report.error, sizeof report.error, "the monitor is shutting down");
		store(q, &report);
	}
	lock_drop(&q->lock);
	return NULL;
}

int change_queue_new(const struct changer *changer, struct change_queue **ret, struct error *e) NO_TSA
{
	struct change_queue *q = calloc(1, sizeof *q);
	pthread_condattr_t attr;
	int r;

	if (!q)
		return error_set(e, -ENOMEM, "no memory for the queue of changes");
	q->changer = *changer;
	q->changer.progress = moved_on;
	q->changer.go_on = still_wanted;
	q->changer.ctx = q;
	q->next_id = 1;
	lock_init(&q->lock);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&q->changed, &attr);
	pthread_condattr_destroy(&attr);
	r = pthread_create(&q->thread, NULL, queue_thread, q);
	if (r != 0) {
		pthread_cond_destroy(&q->changed);
		lock_destroy(&q->lock);
		free(q);
		return error_set(e, -r, "cannot start the thread of the change engine: %s", strerror(r));
	}
	*ret = q;
	return 0;
}

struct change_queue *change_queue_free(struct change_queue *q)
{
	if (!q)
		return NULL;
	lock_take(&q->lock);
	q->stop = true;
	pthread_cond_broadcast(&q->changed);
	lock_drop(&q->lock);
	pthread_join(q->thread, NULL);
	pthread_cond_destroy(&q->changed);
	lock_destroy(&q->lock);
	free(q);
	return NULL;
}

int change_queue_add(struct change_queue *q, const struct change_spec *spec, uint64_t *ret_id, struct error *e)
{
	struct change_report report = {
	    .kind = spec->kind,
	    .state = CHANGE_QUEUED,
	    .how = spec->how,
	    .asked_ns = clock_now_ns(),
	};
	int r = 0;

	snprintf(report.requester, sizeof report.requester, "%s", spec->requester);
	snprintf(report.to, sizeof report.to, "%s", spec->name);
	snprintf(report.image, sizeof report.image, "%s", spec->image);
	lock_take(&q->lock);
	if (q->last_id + 1 - q->next_id >= CHANGE_QUEUE_MAX) {
		r = error_set(e, -EAGAIN, "%d changes wait already; ask again when one has ended", CHANGE_QUEUE_MAX);
	} else {
		report.id = ++q->last_id;
		q->specs[report.id % CHANGE_QUEUE_MAX] = *spec;
		store(q, &report);
		*ret_id = report.id;
	}
	lock_drop(&q->lock);
	return r;
}

static int report_of(struct change_queue *q, uint64_t id, struct change_report *ret) REQUIRES(q->lock)
{
	if (id == 0 || id > q->last_id || q->reports[id % CHANGE_HISTORY].id != id)
		return -ENOENT;
	*ret = q->reports[id % CHANGE_HISTORY];
	return 0;
}

int change_queue_report(struct change_queue *q, uint64_t id, struct change_report *ret)
{
	int r;

	lock_take(&q->lock);
	r = report_of(q, id, ret);
	lock_drop(&q->lock);
	return r;
}

int change_queue_wait(struct change_queue *q, uint64_t id, int timeout_ms, struct change_report *ret)
{
	uint64_t until = clock_now_ns() + (uint64_t)timeout_ms * NSEC_PER_MSEC;
	struct timespec t = timespec_from_ns(until);
	int r;

	lock_take(&q->lock);
	for (;;) {
		r = report_of(q, id, ret);
		if (r < 0 || ret->state == CHANGE_DONE || ret->state == CHANGE_REFUSED)
			break;
		if (clock_now_ns() >= until) {
			r = -ETIMEDOUT;
			break;
		}
		wait_changed(q, &t);
	}
	lock_drop(&q->lock);
	return r;
}

uint64_t change_queue_last(struct change_queue *q)
{
	uint64_t id;

	lock_take(&q->lock);
	id = q->last_id;
	lock_drop(&q->lock);
	return id;
}
