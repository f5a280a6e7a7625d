/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.c - see console.h for the contract.
 *
 * Byte at absolute position p lives at ring[p % capacity]; `end` counts all bytes ever written, so the kept ones are
 * [end - capacity, end) or [0, end). A 64-bit count does not wrap in the life of a machine.
 */
#include "console/console.h"

#include <string.h>

#include "base/clock.h"
#include "base/lock.h"

/* A read copies at most this much under the lock, so that a writer never waits longer than for one such copy. */
#define READ_CHUNK (16 * KIB)

struct console {
	_Atomic unsigned refs;
	size_t capacity;
	struct lock lock;    /* guards everything below; never held while waiting for a reader */
	pthread_cond_t more; /* output was appended, or the console closed */
	unsigned waiters;
	bool closed;
	uint64_t end;
	size_t input_head;
	size_t input_used;
	uint8_t input[CONSOLE_INPUT_MAX];
	uint8_t ring[]; /* capacity bytes */
};

/* ---- bytes in a ring ---- */

static void ring_put(uint8_t *ring, size_t capacity, size_t at, const uint8_t *data, size_t size)
{
	size_t first = MIN(size, capacity - at);

	memcpy(ring + at, data, first);
	memcpy(ring, data + first, size - first);
}

static void ring_get(const uint8_t *ring, size_t capacity, size_t at, uint8_t *buf, size_t size)
{
	size_t first = MIN(size, capacity - at);

	memcpy(buf, ring + at, first);
	memcpy(buf + first, ring, size - first);
}

/* ---- life ---- */

int console_new(size_t capacity, struct console **ret)
{
	pthread_condattr_t attr;
	struct console *c;

	if (capacity == 0)
		capacity = CONSOLE_SCROLLBACK_DEFAULT;
	c = calloc(1, sizeof *c + capacity);
	if (!c)
		return -ENOMEM;
	c->capacity = capacity;
	atomic_init(&c->refs, 1);
	lock_init(&c->lock);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->more, &attr);
	pthread_condattr_destroy(&attr);
	*ret = c;
	return 0;
}

struct console *console_ref(struct console *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

struct console *console_unref(struct console *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return NULL;
	pthread_cond_destroy(&c->more);
	lock_destroy(&c->lock);
	free(c);
	return NULL;
}

void console_close(struct console *c)
{
	lock_take(&c->lock);
	c->closed = true;
	pthread_cond_broadcast(&c->more);
	lock_drop(&c->lock);
}

/* ---- output ---- */

void console_append(struct console *c, const void *data, size_t size)
{
	const uint8_t *bytes = data;
	uint64_t skipped = 0;
	bool wake;

	if (size > c->capacity) {
		/* Only its end can be kept; the positions count what was dropped all the same. */
		skipped = size - c->capacity;
		bytes += skipped;
		size = c->capacity;
	}
	lock_take(&c->lock);
	if (c->closed) {
		lock_drop(&c->lock);
		return;
	}
	c->end += skipped;
	ring_put(c->ring, c->capacity, c->end % c->capacity, bytes, size);
	c->end += size;
	wake = c->waiters > 0;
	if (wake) /* the system call only when somebody waits: a run loop calls this */
		pthread_cond_broadcast(&c->more);
	lock_drop(&c->lock);
}

size_t console_read(struct console *c, uint64_t *pos, void *buf, size_t size)
{
	uint8_t *out = buf;
	size_t done = 0;
	size_t n;

	do {
		uint64_t oldest;

		lock_take(&c->lock);
		oldest = c->end > c->capacity ? c->end - c->capacity : 0;
		if (*pos > c->end)
			*pos = c->end;
		if (*pos < oldest && done > 0) {
			/* Overtaken between two chunks: what was copied stays contiguous, the gap shows in *pos later.
			 */
			lock_drop(&c->lock);
			break;
		}
		*pos = MAX(*pos, oldest);
		n = (size_t)MIN(MIN((uint64_t)(size - done), c->end - *pos), READ_CHUNK);
		ring_get(c->ring, c->capacity, *pos % c->capacity, out + done, n);
		lock_drop(&c->lock);
		*pos += n;
		done += n;
	} while (n == READ_CHUNK && done < size);
	return done;
}

int console_wait(struct console *c, uint64_t pos, int timeout_ms)
{
	struct timespec until = timespec_from_ns(clock_now_ns() + (uint64_t)MAX(timeout_ms, 0) * NSEC_PER_MSEC);
	int err = 0;
	int r;

	lock_take(&c->lock);
	c->waiters++;
	while (c->end <= pos && !c->closed && err != ETIMEDOUT) {
		/* The wait releases the mutex: the owner's mark must not outlive it. */
		atomic_store_explicit(&c->lock.owner, 0, memory_order_relaxed);
		if (timeout_ms < 0)
			err = pthread_cond_wait(&c->more, &c->lock.mutex);
		else
			err = pthread_cond_timedwait(&c->more, &c->lock.mutex, &until);
		atomic_store_explicit(&c->lock.owner, pthread_self(), memory_order_relaxed);
	}
	c->waiters--;
	r = c->end > pos ? 1 : c->closed ? -EPIPE : 0;
	lock_drop(&c->lock);
	return r;
}

uint64_t console_end(struct console *c)
{
	uint64_t end;

	lock_take(&c->lock);
	end = c->end;
	lock_drop(&c->lock);
	return end;
}

/* ---- input ---- */

size_t console_input_push(struct console *c, const void *data, size_t size)
{
	size_t n;

	lock_take(&c->lock);
	n = c->closed ? 0 : MIN(size, CONSOLE_INPUT_MAX - c->input_used);
	ring_put(c->input, CONSOLE_INPUT_MAX, (c->input_head + c->input_used) % CONSOLE_INPUT_MAX, data, n);
	c->input_used += n;
	lock_drop(&c->lock);
	return n;
}

size_t console_input_peek(struct console *c, void *buf, size_t size)
{
	size_t n;

	lock_take(&c->lock);
	n = MIN(size, c->input_used);
	ring_get(c->input, CONSOLE_INPUT_MAX, c->input_head, buf, n);
	lock_drop(&c->lock);
	return n;
}

size_t console_input_take(struct console *c, void *buf, size_t size)
{
	size_t n;

	lock_take(&c->lock);
	n = MIN(size, c->input_used);
	if (buf)
		ring_get(c->input, CONSOLE_INPUT_MAX, c->input_head, buf, n);
	c->input_head = (c->input_head + n) % CONSOLE_INPUT_MAX;
	c->input_used -= n;
	lock_drop(&c->lock);
	return n;
}
