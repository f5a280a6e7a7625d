/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io_loop.h - the I/O thread: waits for file descriptors and calls their owners, so that no device ever works on a pCPU's
 * run loop.
 *
 *	guest's notification -> eventfd --\
 *	io_uring, tap, user network ------ epoll -> io_source.ready(), one at a time, on the I/O thread
 *
 * One lock is held while callbacks run, and nothing else of the loop needs one. Whoever parks the loop takes that lock: then
 * no callback runs and none begins, so every device stands still between two requests, and its owner may look at it or
 * take it away. Parking is bounded by the longest batch of callbacks; devices keep theirs short.
 *
 * Lock order: the loop's lock, then locks of devices. Run loops of pCPUs never take the loop's lock.
 */
#ifndef DEVICES_IO_LOOP_H
#define DEVICES_IO_LOOP_H

#include <sys/epoll.h>

#include "base/base.h"

struct io_loop;

/* Something to wait for; memory and descriptor are the owner's. */
struct io_source {
	int fd;
	/* [I/O thread] events as of epoll; level-triggered: what is not taken is told again. Must not block. */
	void (*ready)(struct io_source *s, uint32_t events);
};

int io_loop_new(struct io_loop **ret, struct error *e);
/* Every source must have been removed. */
struct io_loop *io_loop_free(struct io_loop *l);

/* [any] Waits for these events from now on; io_loop_want changes them (0: none). Negative errno. */
int io_loop_add(struct io_loop *l, struct io_source *s, uint32_t events);
int io_loop_want(struct io_loop *l, struct io_source *s, uint32_t events);
/* [parked] After it, ready() is not called again. */
void io_loop_remove(struct io_loop *l, struct io_source *s);

/* [any but the I/O thread] Brings the loop to rest between two batches of callbacks, until deadline_ns (CLOCK_MONOTONIC;
 * TIME_NEVER: waits as long as it takes). 0 or -ETIMEDOUT. The thread that parked it unparks it. */
int io_loop_park(struct io_loop *l, uint64_t deadline_ns);
void io_loop_unpark(struct io_loop *l);

/* CPU time that the I/O thread has used, ns. */
uint64_t io_loop_cpu_ns(struct io_loop *l);

#endif
