/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_mmio.h - the registers by which a guest reaches a virtio device (virtio 1.2, section 4.2): version 2 only, no
 * legacy interface. The machine registers a page with these methods; the device pointer is a struct virtio_device.
 *
 * A driver that resets a device whose requests are in flight is told to come again (VCPU_RETRY): its vCPU sleeps a little
 * and does the same write once more, so that to the guest the write just took long, and no run loop waits.
 */
#ifndef DEVICES_VIRTIO_MMIO_H
#define DEVICES_VIRTIO_MMIO_H

#include "devices/virtio.h"
#include "machine/io.h"

#define VIRTIO_MMIO_SIZE UINT64_C(0x1000) /* a page of guest address space for each device */

extern const struct io_ops virtio_mmio_ops;

#endif
