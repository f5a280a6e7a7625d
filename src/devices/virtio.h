/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio.h - what all virtio devices have in common: life, features, queues, failure. Each device is one file with a
 * table of methods; how the guest reaches it is virtio_mmio.c.
 *
 *	new  ->  attach (to a machine)  ->  [driver: features, queues, DRIVER_OK]  ->  kicked()... -> detach  ->  free
 *	                                        ^------------- reset ----------------/
 *
 * Threads. Requests are worked on by the I/O thread alone (kicked, and the device's own sources). Registers are accessed
 * by any vCPU's carrier. The device's lock guards what both see: status, features, queues. It is held for moments, never
 * around a system call that does I/O, so a run loop never waits for one.
 *
 * Failure. A driver that breaks the rules of its rings loses this device (DEVICE_NEEDS_RESET) until it resets it; an I/O
 * error is the answer to one request. Neither is of any concern to the rest of the VM or the monitor.
 *
 * Rest. While the loop is parked no device does anything: what was popped is either pushed or counted in flight, and
 * virtio_check proves it. What is in flight then is held: its completion is looked at when the loop goes on.
 */
#ifndef DEVICES_VIRTIO_H
#define DEVICES_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdatomic.h>

#include "base/lock.h"
#include "base/log.h"
#include "devices/io_loop.h"
#include "devices/virtqueue.h"

#define VIRTIO_QUEUES_MAX 2
#define VIRTIO_CONFIG_MAX 128
#define VIRTIO_NAME_MAX	  32

struct virtio_device;

struct virtio_ops {
	uint32_t id; /* VIRTIO_ID_* */
	unsigned queues;
	uint16_t queue_size_max; /* power of two */
	/* [loop not parked by the caller] The device's own sources: into d->loop and out again (parked). NULL: none. */
	int (*attach)(struct virtio_device *d);
	void (*detach)(struct virtio_device *d);
	/* [I/O thread] The driver added chains to this queue (or may have). Takes the lock itself. */
	void (*kicked)(struct virtio_device *d, unsigned queue);
	/* [lock] The driver wrote the configuration space, into a field that may be written. NULL: there is none. */
	void (*config_written)(struct virtio_device *d, uint64_t offset, unsigned size, uint64_t value);
	/* [lock] Power-on state of what is the device's own; called by a reset once nothing is in flight. NULL: nothing. */
	void (*reset)(struct virtio_device *d);
	/* [parked] The point of rest: pass on what must not be left inside (console output). NULL: nothing. */
	void (*flush)(struct virtio_device *d);
	/* [loop parked, or not attached] Releases everything, d too. */
	void (*free)(struct virtio_device *d);
};

/* How a device reaches its interrupt line. May be called with the device's lock held. */
typedef void virtio_interrupt_fn(void *ctx, unsigned line);

/* A queue's notification: an eventfd, written by KVM itself (or by the register, or by us to go on later). */
struct virtio_kick {
	struct io_source source;
	struct virtio_device *device;
	unsigned queue;
};

struct virtio_device {
	/* Set by the device's constructor. */
	const struct virtio_ops *ops;
	uint64_t offered; /* features, without those of the transport */
	char name[VIRTIO_NAME_MAX];
	struct log_limit log_limit;

	/* Set by virtio_attach. */
	const struct gmem *mem;
	struct io_loop *loop;
	virtio_interrupt_fn *interrupt;
	void *interrupt_ctx;
	unsigned line;
	struct virtio_kick kick[VIRTIO_QUEUES_MAX];

	_Atomic uint32_t isr; /* what the driver has not acknowledged yet */

	struct lock lock;
	uint8_t config[VIRTIO_CONFIG_MAX] GUARDED_BY(lock);
	uint32_t config_generation GUARDED_BY(lock);
	uint32_t status GUARDED_BY(lock);
	uint64_t features GUARDED_BY(lock); /* as the driver chose; final once FEATURES_OK is set */
	uint32_t offered_select GUARDED_BY(lock)
	, features_select GUARDED_BY(lock)
	, queue_select GUARDED_BY(lock);
	bool resetting GUARDED_BY(lock); /* a reset waits until nothing is in flight */
	struct virtq queue[VIRTIO_QUEUES_MAX] GUARDED_BY(lock);
	uint64_t failures GUARDED_BY(lock); /* times it was lost */
};

/* ---- for devices ---- */

/* The common part of a constructor: d was allocated and zeroed by it. */
void virtio_init(struct virtio_device *d, const struct virtio_ops *ops, const char *name, uint64_t offered);
/* The rest of ops->free. */
void virtio_done(struct virtio_device *d);

/* [lock] The next chain of a queue: true, or false when there is none, the driver is not ready, or the ring is broken
 * (then the device is lost). After false the driver notifies the next one. */
bool virtio_next(struct virtio_device *d, unsigned queue, struct virtq_chain *ret) REQUIRES(d->lock);
/* [lock] Gives a chain back. */
void virtio_push(struct virtio_device *d, unsigned queue, uint16_t head, uint64_t written) REQUIRES(d->lock);
/* [lock] Interrupts the driver if it wants to know what was pushed. Once for each batch. */
void virtio_tell(struct virtio_device *d, unsigned queue) REQUIRES(d->lock);
/* [lock] The driver broke the rules. */
void virtio_fail(struct virtio_device *d, const char *why) REQUIRES(d->lock);
/* [lock] Something in the configuration space changed. */
void virtio_config_changed(struct virtio_device *d) REQUIRES(d->lock);
/* [lock] May its queues be used? */
bool virtio_running(const struct virtio_device *d) REQUIRES(d->lock);
/* [any] Calls kicked() soon: to go on after a bounded batch. */
void virtio_kick_later(struct virtio_device *d, unsigned queue);

/* ---- for the machine ---- */

/* Between making and the first instruction of the guest. loop NULL (tests): kicked() is called by the thread that
 * notifies. Negative errno. */
int virtio_attach(struct virtio_device *d, const struct gmem *mem, struct io_loop *loop, virtio_interrupt_fn *interrupt,
		  void *ctx, unsigned line, struct error *e);
/* [all vCPUs at rest] Waits until nothing is in flight, and lets go of guest memory. */
void virtio_detach(struct virtio_device *d);
/* [any] A reset by the driver: -EAGAIN while requests are in flight (nothing new begins meanwhile; ask again). */
int virtio_reset(struct virtio_device *d) EXCLUDES(d->lock);
/* [all vCPUs at rest, not the I/O thread] The same, and waits. */
void virtio_reset_wait(struct virtio_device *d) EXCLUDES(d->lock);
/* [loop parked] Flushes, and checks that the device is in a stable state: 0, or -EIO with the reason in why. */
int virtio_check(struct virtio_device *d, char *why, size_t size) EXCLUDES(d->lock);
/* [not attached] NULL is fine; returns NULL. */
struct virtio_device *virtio_free(struct virtio_device *d);

#endif
