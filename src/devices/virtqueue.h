/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtqueue.h - a split virtqueue as its device sees it (virtio 1.2, section 2.7), with indirect descriptors and event
 * indexes.
 *
 *	driver:  descriptor table, available ring  ->  virtq_pop  ->  a chain of pieces of guest memory, all checked
 *	device:  virtq_push  ->  used ring  ->  virtq_wants_interrupt  ->  the device's interrupt line
 *
 * Everything in the three rings is written by the guest, which may change it at any moment. So each descriptor is copied
 * once and the copy is checked: no address leaves here that gmem_ptr has not allowed, a chain has a bounded number of
 * pieces, and a ring that breaks the rules is -EPROTO. What is *in* the pieces is the guest's until the end: a device copies
 * what it decides by.
 *
 * Threads: none of its own; the caller's lock guards it.
 */
#ifndef DEVICES_VIRTQUEUE_H
#define DEVICES_VIRTQUEUE_H

#include <linux/virtio_ring.h>
#include <sys/uio.h>

#include "base/base.h"
#include "machine/gmem.h"

#define VIRTQ_SIZE_MAX	 256
#define VIRTQ_PIECES_MAX VIRTQ_SIZE_MAX

/* What one request of the driver is made of: pieces that the device reads, then pieces that it writes. */
struct virtq_chain {
	uint16_t head; /* its name towards the driver */
	unsigned readable, writable;
	uint64_t readable_bytes, writable_bytes;
	struct iovec piece[VIRTQ_PIECES_MAX]; /* readable ones first */
};

struct virtq {
	/* As the driver set it up. */
	uint16_t size;
	uint64_t desc_gpa, avail_gpa, used_gpa;
	bool ready;
	/* Constant while it is ready. */
	bool event_idx;
	const struct gmem *mem;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	/* Progress; indexes count without end, modulo 2^16. */
	uint16_t next_avail; /* next entry of the available ring */
	uint16_t next_used;
	uint16_t told_used; /* next_used when virtq_wants_interrupt was asked last */
	uint16_t in_flight; /* popped and not pushed yet */
};

/* Takes the rings into use. -EINVAL: size (a power of two, at most size_max), alignment or place is wrong. */
int virtq_start(struct virtq *q, const struct gmem *mem, uint16_t size_max, bool event_idx);
/* Power-on state. */
void virtq_reset(struct virtq *q);

/* The next chain. 1: ret is filled; 0: none there; -EPROTO: the ring is broken. */
int virtq_pop(struct virtq *q, struct virtq_chain *ret);
/* Gives a chain back; written: bytes put into its writable pieces, from their beginning. */
void virtq_push(struct virtq *q, uint16_t head, uint32_t written);
/* Shall the driver be interrupted for what was pushed since this was asked last? */
bool virtq_wants_interrupt(struct virtq *q);
/* Asks the driver to notify the next chain it adds. True: there is one already, look again. */
bool virtq_arm(struct virtq *q);
/* Notifications are of no use for now: the device looks by itself. */
void virtq_disarm(struct virtq *q);
/* Do the indexes and the number of chains in flight fit together? */
bool virtq_consistent(const struct virtq *q);

/* ---- pieces ---- */

/* Copies out of, or into, pieces from byte `offset` on; returns the bytes copied (less than size: the pieces end). */
size_t pieces_read(const struct iovec *piece, unsigned count, uint64_t offset, void *buf, size_t size);
size_t pieces_write(const struct iovec *piece, unsigned count, uint64_t offset, const void *buf, size_t size);
/* Drops bytes at the front: moves *piece and *count on and shortens the first one left. */
void pieces_skip(struct iovec **piece, unsigned *count, uint64_t bytes);
/* Drops bytes at the end. */
void pieces_cut(struct iovec *piece, unsigned *count, uint64_t bytes);

#endif
