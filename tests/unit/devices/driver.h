/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - a small virtio driver for tests, in the place of a guest: it sets a device up through its registers, keeps
 * rings in guest memory, offers requests and takes answers.
 */
#ifndef TEST_DRIVER_H
#define TEST_DRIVER_H

#include "devices/virtio.h"
#include "machine/io.h"

#define DRIVER_MEMORY (4 * MIB)
#define DRIVER_DATA   (2 * MIB) /* from here on the tests' own */

struct driver {
	struct gmem mem;
	struct io_loop *loop; /* NULL: the device works in the thread that notifies */
	struct virtio_device *dev;
	uint16_t size; /* of each queue */
	uint64_t features;
	_Atomic unsigned interrupts;
	struct driver_queue {
		struct vring_desc *desc;
		struct vring_avail *avail;
		struct vring_used *used;
		uint64_t desc_gpa;
		uint16_t next_desc, seen;
	} queue[VIRTIO_QUEUES_MAX];
};

/* One buffer of a request. */
struct buffer {
	uint64_t gpa;
	uint32_t size;
	bool writable;
};

/* Attaches dev (taken over) to memory of its own; threaded: with an I/O thread. */
void driver_init(struct driver *d, struct virtio_device *dev, bool threaded);
void driver_done(struct driver *d);
/* Resets, negotiates all of `features` that are offered, sets the queues up and says DRIVER_OK. Returns the status. */
uint32_t driver_start(struct driver *d, uint64_t features);

uint32_t driver_read(struct driver *d, uint64_t reg);
enum vcpu_next driver_write(struct driver *d, uint64_t reg, uint32_t value);
void *driver_at(struct driver *d, uint64_t gpa);

/* Offers a request without a notification; returns its head. indirect: through a table at gpa (0: none). */
uint16_t driver_offer(struct driver *d, unsigned queue, const struct buffer *buffers, unsigned count,
		      uint64_t indirect);
/* Puts a head into the available ring, as it is. */
void driver_offer_head(struct driver *d, unsigned queue, uint16_t head);
void driver_notify(struct driver *d, unsigned queue);
/* The next answer, waited for: fails the test when none comes. */
struct vring_used_elem driver_answer(struct driver *d, unsigned queue);
/* Offer, notify, answer: returns the bytes written. */
uint32_t driver_request(struct driver *d, unsigned queue, const struct buffer *buffers, unsigned count);

#endif
