/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "devices/virtio_mmio.h"

#define RING_BYTES   UINT64_C(0x10000) /* of guest memory for each queue */
#define ANSWER_LIMIT (20 * NSEC_PER_SEC)

static void interrupt(void *ctx, unsigned line)
{
	struct driver *d = ctx;

	atomic_fetch_add(&d->interrupts, 1);
}

void driver_init(struct driver *d, struct virtio_device *dev, bool threaded)
{
	*d = (struct driver){.dev = dev, .size = 16};
	assert_int_equal(gmem_init(&d->mem, DRIVER_MEMORY, NULL), 0);
	if (threaded)
		assert_int_equal(io_loop_new(&d->loop, NULL), 0);
	assert_int_equal(virtio_attach(dev, &d->mem, d->loop, interrupt, d, 8, NULL), 0);
}

void driver_done(struct driver *d)
{
	virtio_detach(d->dev);
	virtio_free(d->dev);
	io_loop_free(d->loop);
	gmem_done(&d->mem);
}

uint32_t driver_read(struct driver *d, uint64_t reg)
{
	return (uint32_t)virtio_mmio_ops.read(d->dev, reg, 4);
}

enum vcpu_next driver_write(struct driver *d, uint64_t reg, uint32_t value)
{
	return virtio_mmio_ops.write(d->dev, reg, 4, value);
}

void *driver_at(struct driver *d, uint64_t gpa)
{
	return gmem_ptr(&d->mem, gpa, 0);
}

static void set_up_queue(struct driver *d, unsigned queue)
{
	struct driver_queue *q = &d->queue[queue];
	uint64_t base = RING_BYTES * (queue + 1);

	memset(driver_at(d, base), 0, RING_BYTES);
	*q = (struct driver_queue){
	    .desc_gpa = base,
	    .desc = driver_at(d, base),
	    .avail = driver_at(d, base + 0x8000),
	    .used = driver_at(d, base + 0xc000),
	};
	driver_write(d, VIRTIO_MMIO_QUEUE_SEL, queue);
	driver_write(d, VIRTIO_MMIO_QUEUE_NUM, d->size);
	driver_write(d, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)base);
	driver_write(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)base + 0x8000);
	driver_write(d, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)base + 0xc000);
	driver_write(d, VIRTIO_MMIO_QUEUE_READY, 1);
}

uint32_t driver_start(struct driver *d, uint64_t features)
{
	uint64_t offered;

	while (driver_write(d, VIRTIO_MMIO_STATUS, 0) == VCPU_RETRY)
		usleep(100);
	driver_write(d, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	driver_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	offered = (uint64_t)driver_read(d, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	driver_write(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	offered |= driver_read(d, VIRTIO_MMIO_DEVICE_FEATURES);
	d->features = offered & (features | UINT64_C(1) << VIRTIO_F_VERSION_1);
	for (uint32_t i = 0; i < 2; i++) {
		driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
		driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(d->features >> (32 * i)));
	}
	driver_write(d, VIRTIO_MMIO_STATUS, driver_read(d, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned i = 0; i < d->dev->ops->queues; i++)
		set_up_queue(d, i);
	driver_write(d, VIRTIO_MMIO_STATUS, driver_read(d, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
	return driver_read(d, VIRTIO_MMIO_STATUS);
}

static void fill_table(struct vring_desc *table, uint16_t mask, uint16_t at, const struct buffer *b, unsigned count)
{
	for (unsigned i = 0; i < count; i++, at++) {
		bool last = i + 1 == count;

		table[at & mask] = (struct vring_desc){
		    .addr = b[i].gpa,
		    .len = b[i].size,
		    .flags = (uint16_t)((last ? 0 : VRING_DESC_F_NEXT) | (b[i].writable ? VRING_DESC_F_WRITE : 0)),
		    .next = (uint16_t)((at + 1) & mask),
		};
	}
}

void driver_offer_head(struct driver *d, unsigned queue, uint16_t head)
{
	struct vring_avail *a = d->queue[queue].avail;

	a->ring[a->idx & (d->size - 1)] = head;
	__atomic_store_n(&a->idx, (uint16_t)(a->idx + 1), __ATOMIC_RELEASE);
}

uint16_t driver_offer(struct driver *d, unsigned queue, const struct buffer *buffers, unsigned count, uint64_t indirect)
{
	struct driver_queue *q = &d->queue[queue];
	uint16_t mask = (uint16_t)(d->size - 1), head = (uint16_t)(q->next_desc & mask);

	if (indirect) {
		fill_table(driver_at(d, indirect), UINT16_MAX, 0, buffers, count);
		q->desc[head] = (struct vring_desc){.addr = indirect,
						    .len = count * (uint32_t)sizeof(struct vring_desc),
						    .flags = VRING_DESC_F_INDIRECT};
		q->next_desc++;
	} else {
		fill_table(q->desc, mask, head, buffers, count);
		q->next_desc = (uint16_t)(q->next_desc + count);
	}
	driver_offer_head(d, queue, head);
	return head;
}

void driver_notify(struct driver *d, unsigned queue)
{
	driver_write(d, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

struct vring_used_elem driver_answer(struct driver *d, unsigned queue)
{
	struct driver_queue *q = &d->queue[queue];
	uint64_t limit = clock_now_ns() + ANSWER_LIMIT;

	while (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) == q->seen) {
		assert_true(clock_now_ns() < limit);
		usleep(100);
	}
	return q->used->ring[q->seen++ & (d->size - 1)];
}

uint32_t driver_request(struct driver *d, unsigned queue, const struct buffer *buffers, unsigned count)
{
	uint16_t head = driver_offer(d, queue, buffers, count, 0);
	struct vring_used_elem e;

	driver_notify(d, queue);
	e = driver_answer(d, queue);
	assert_int_equal(e.id, head);
	return e.len;
}
