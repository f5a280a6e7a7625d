/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio_mmio.h"

#include <linux/virtio_mmio.h>
#include <string.h>

#define MAGIC	  0x74726976 /* "virt" */
#define VERSION	  2
#define VENDOR	  0x4e544142 /* "BATN" */
#define NO_SHARED UINT32_MAX /* length of a shared memory region that is not there (4.2.2.1) */

#define TRANSPORT_FEATURES                                                                                             \
	(UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC |                              \
	 UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
/* Bits of the status that a driver may set. */
#define DRIVER_STATUS                                                                                                  \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |                          \
	 VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

static uint64_t offered(const struct virtio_device *d)
{
	return d->offered | TRANSPORT_FEATURES;
}

static struct virtq *selected(struct virtio_device *d) REQUIRES(d->lock)
{
	return d->queue_select < d->ops->queues ? &d->queue[d->queue_select] : NULL;
}

static uint32_t half(uint64_t value, uint32_t select)
{
	return select < 2 ? (uint32_t)(value >> (select * 32)) : 0;
}

/* ---- reading ---- */

static uint64_t read_config(struct virtio_device *d, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	lock_take(&d->lock);
	if (offset <= sizeof d->config && size <= sizeof d->config - offset)
		memcpy(&value, d->config + offset, size);
	lock_drop(&d->lock);
	return value;
}

static uint32_t read_locked(struct virtio_device *d, uint64_t offset) REQUIRES(d->lock)
{
	const struct virtq *q = selected(d);

	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return half(offered(d), d->offered_select);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return q ? d->ops->queue_size_max : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return q && q->ready;
	case VIRTIO_MMIO_STATUS:
		return d->status;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return d->config_generation;
	default:
		return 0;
	}
}

static uint64_t mmio_read(void *device, uint64_t offset, unsigned size)
{
	struct virtio_device *d = device;
	uint32_t value;

	if (offset >= VIRTIO_MMIO_CONFIG)
		return read_config(d, offset - VIRTIO_MMIO_CONFIG, size);
	if (size != 4)
		return 0;
	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return d->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_INTERRUPT_STATUS: /* in every interrupt: no lock */
		return atomic_load(&d->isr);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return NO_SHARED;
	default:
		lock_take(&d->lock);
		value = read_locked(d, offset);
		lock_drop(&d->lock);
		return value;
	}
}

/* ---- writing ---- */

static void set_half(uint64_t *value, bool high, uint32_t half_value)
{
	unsigned shift = high ? 32 : 0;

	*value = (*value & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)half_value << shift;
}

/* What the driver may do to a queue: before DRIVER_OK, and only to one that is not in use (4.2.3.2). */
static void write_queue(struct virtio_device *d, uint64_t offset, uint32_t value) REQUIRES(d->lock)
{
	struct virtq *q = selected(d);

	if (!q || q->ready || d->status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET))
		return;
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		q->size = value <= d->ops->queue_size_max ? (uint16_t)value : 0;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&q->desc_gpa, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&q->avail_gpa, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&q->used_gpa, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		if (value == 1 && d->status & VIRTIO_CONFIG_S_FEATURES_OK &&
		    virtq_start(q, d->mem, d->ops->queue_size_max, d->features >> VIRTIO_RING_F_EVENT_IDX & 1) < 0)
			virtio_fail(d, "its driver put a queue where there is no memory, or gave it a wrong size");
		break;
	default:
		break;
	}
}

/* Bits are only ever added; each step needs the one before it (3.1.1). True: the driver is ready now. */
static bool write_status(struct virtio_device *d, uint32_t value) REQUIRES(d->lock)
{
	uint32_t added = value & DRIVER_STATUS & ~d->status;
	bool features_fit = (d->features & ~offered(d)) == 0 && d->features >> VIRTIO_F_VERSION_1 & 1;

	if (added & VIRTIO_CONFIG_S_FEATURES_OK && !features_fit)
		added &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
	if (!((d->status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
		added &= ~(uint32_t)VIRTIO_CONFIG_S_DRIVER_OK;
	d->status |= added;
	return added & VIRTIO_CONFIG_S_DRIVER_OK;
}

/* True: kick all queues, since the driver may have filled them before. */
static bool write_locked(struct virtio_device *d, uint64_t offset, uint32_t value) REQUIRES(d->lock)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		d->offered_select = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		d->features_select = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		if (!(d->status & VIRTIO_CONFIG_S_FEATURES_OK) && d->features_select < 2)
			set_half(&d->features, d->features_select == 1, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		d->queue_select = value;
		break;
	case VIRTIO_MMIO_STATUS:
		return write_status(d, value);
	default:
		write_queue(d, offset, value);
		break;
	}
	return false;
}

static enum vcpu_next mmio_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_device *d = device;
	bool ready;

	if (offset >= VIRTIO_MMIO_CONFIG) {
		lock_take(&d->lock);
		if (d->ops->config_written)
			d->ops->config_written(d, offset - VIRTIO_MMIO_CONFIG, size, value);
		lock_drop(&d->lock);
		return VCPU_RESUME;
	}
	if (size != 4)
		return VCPU_RESUME;
	if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
		atomic_fetch_and(&d->isr, ~(uint32_t)value);
		return VCPU_RESUME;
	}
	if (offset == VIRTIO_MMIO_QUEUE_NOTIFY) {
		if (value < d->ops->queues)
			virtio_kick_later(d, (unsigned)value);
		return VCPU_RESUME;
	}
	if (offset == VIRTIO_MMIO_STATUS && (uint32_t)value == 0)
		return virtio_reset(d) < 0 ? VCPU_RETRY : VCPU_RESUME;
	lock_take(&d->lock);
	ready = write_locked(d, offset, (uint32_t)value);
	lock_drop(&d->lock);
	for (unsigned i = 0; ready && i < d->ops->queues; i++)
		virtio_kick_later(d, i);
	return VCPU_RESUME;
}

const struct io_ops virtio_mmio_ops = {.read = mmio_read, .write = mmio_write};
