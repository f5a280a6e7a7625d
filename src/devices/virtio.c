/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio.h"

#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"

#define RESET_POLL_US 200

/* ---- life ---- */

void virtio_init(struct virtio_device *d, const struct virtio_ops *ops, const char *name, uint64_t offered)
{
	assert(ops->queues <= VIRTIO_QUEUES_MAX && ops->queue_size_max <= VIRTQ_SIZE_MAX);
	d->ops = ops;
	d->offered = offered;
	(void)snprintf(d->name, sizeof d->name, "%s", name);
	lock_init(&d->lock);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		d->kick[i] = (struct virtio_kick){.source.fd = -1, .device = d, .queue = i};
}

void virtio_done(struct virtio_device *d)
{
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		d->kick[i].source.fd = close_fd(d->kick[i].source.fd);
	lock_destroy(&d->lock);
}

struct virtio_device *virtio_free(struct virtio_device *d)
{
	if (d)
		d->ops->free(d);
	return NULL;
}

static void on_kick(struct io_source *s, uint32_t events)
{
	struct virtio_kick *k = container_of(s, struct virtio_kick, source);
	eventfd_t count;

	(void)eventfd_read(s->fd, &count);
	k->device->ops->kicked(k->device, k->queue);
}

void virtio_kick_later(struct virtio_device *d, unsigned queue)
{
	if (d->loop)
		(void)eventfd_write(d->kick[queue].source.fd, 1);
	else
		d->ops->kicked(d, queue);
}

int virtio_attach(struct virtio_device *d, const struct gmem *mem, struct io_loop *loop, virtio_interrupt_fn *interrupt,
		  void *ctx, unsigned line, struct error *e)
{
	int r = 0;

	d->mem = mem;
	d->interrupt = interrupt;
	d->interrupt_ctx = ctx;
	d->line = line;
	d->loop = loop;
	for (unsigned i = 0; loop && i < d->ops->queues && r >= 0; i++) {
		struct io_source *s = &d->kick[i].source;

		s->ready = on_kick;
		s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		r = s->fd < 0 ? -errno : io_loop_add(loop, s, EPOLLIN);
	}
	if (r >= 0 && loop && d->ops->attach)
		r = d->ops->attach(d);
	return r < 0 ? error_set(e, r, "the device %s gets no notifications: %s; check the limit of open files",
				 d->name, strerror(-r))
		     : 0;
}

void virtio_detach(struct virtio_device *d)
{
	if (!d->mem)
		return;
	virtio_reset_wait(d);
	if (d->loop) {
		io_loop_park(d->loop, TIME_NEVER);
		if (d->ops->detach)
			d->ops->detach(d);
		for (unsigned i = 0; i < d->ops->queues; i++) {
			if (d->kick[i].source.fd >= 0)
				io_loop_remove(d->loop, &d->kick[i].source);
			d->kick[i].source.fd = close_fd(d->kick[i].source.fd);
		}
		io_loop_unpark(d->loop);
	}
	d->loop = NULL;
	d->mem = NULL;
}

/* ---- reset ---- */

static unsigned in_flight(const struct virtio_device *d)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < d->ops->queues; i++)
		sum += d->queue[i].in_flight;
	return sum;
}

int virtio_reset(struct virtio_device *d)
{
	int r = 0;

	lock_take(&d->lock);
	d->resetting = true;
	if (in_flight(d) > 0) {
		r = -EAGAIN; /* requests still read or write guest memory, which is the guest's own after a reset */
	} else {
		for (unsigned i = 0; i < d->ops->queues; i++)
			virtq_reset(&d->queue[i]);
		d->status = 0;
		d->features = 0;
		d->offered_select = d->features_select = d->queue_select = 0;
		atomic_store(&d->isr, 0);
		if (d->ops->reset)
			d->ops->reset(d);
		d->resetting = false;
	}
	lock_drop(&d->lock);
	return r;
}

void virtio_reset_wait(struct virtio_device *d)
{
	while (virtio_reset(d) == -EAGAIN)
		usleep(RESET_POLL_US);
}

/* ---- queues ---- */

bool virtio_running(const struct virtio_device *d)
{
	return (d->status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET)) == VIRTIO_CONFIG_S_DRIVER_OK &&
	       !d->resetting;
}

static void raise_interrupt(struct virtio_device *d, uint32_t reason)
{
	atomic_fetch_or(&d->isr, reason);
	d->interrupt(d->interrupt_ctx, d->line);
}

void virtio_fail(struct virtio_device *d, const char *why)
{
	if (d->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	d->failures++;
	d->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	log_limited(&d->log_limit, LOG_WARNING, "device %s stops until its driver resets it: %s", d->name, why);
	if (d->status & VIRTIO_CONFIG_S_DRIVER_OK)
		raise_interrupt(d, VIRTIO_MMIO_INT_CONFIG);
}

void virtio_config_changed(struct virtio_device *d)
{
	d->config_generation++;
	if (virtio_running(d))
		raise_interrupt(d, VIRTIO_MMIO_INT_CONFIG);
}

bool virtio_next(struct virtio_device *d, unsigned queue, struct virtq_chain *ret)
{
	struct virtq *q = &d->queue[queue];
	int r;

	lock_assert_held(&d->lock);
	if (!virtio_running(d) || !q->ready)
		return false;
	r = virtq_pop(q, ret);
	if (r == 0 && virtq_arm(q))
		r = virtq_pop(q, ret);
	if (r > 0)
		virtq_disarm(q);
	else if (r < 0)
		virtio_fail(d, "its driver offered a malformed request");
	return r > 0;
}

void virtio_push(struct virtio_device *d, unsigned queue, uint16_t head, uint64_t written)
{
	lock_assert_held(&d->lock);
	virtq_push(&d->queue[queue], head, (uint32_t)MIN(written, (uint64_t)UINT32_MAX));
}

void virtio_tell(struct virtio_device *d, unsigned queue)
{
	lock_assert_held(&d->lock);
	if (virtio_running(d) && virtq_wants_interrupt(&d->queue[queue]))
		raise_interrupt(d, VIRTIO_MMIO_INT_VRING);
}

int virtio_check(struct virtio_device *d, char *why, size_t size)
{
	int r = 0;

	if (d->ops->flush)
		d->ops->flush(d);
	lock_take(&d->lock);
	for (unsigned i = 0; i < d->ops->queues && r == 0; i++)
		if (!virtq_consistent(&d->queue[i])) {
			(void)snprintf(why, size, "%s: queue %u has lost a request", d->name, i);
			r = -EIO;
		}
	lock_drop(&d->lock);
	return r;
}
