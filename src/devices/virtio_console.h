/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_console.h - a console with one port and a size (virtio 1.2, section 5.3): /dev/hvc0 in Linux.
 *
 * Where each character costs a UART's guest several exits, here a line costs one notification. Output goes to `output` in the
 * order in which it was written; input waits in a bounded queue until the driver has buffers. At the point of rest of a
 * cease all output that the driver has handed over is passed on.
 */
#ifndef DEVICES_VIRTIO_CONSOLE_H
#define DEVICES_VIRTIO_CONSOLE_H

#include "devices/virtio.h"

#define VIRTIO_CONSOLE_INPUT_MAX 4096

/* -ENOMEM. */
int virtio_console_new(struct virtio_device **ret, struct error *e);
/* [before the guest runs] Where output goes: called by the I/O thread, and at rest by who flushes. Must not block. */
void virtio_console_connect(struct virtio_device *d, void (*output)(void *ctx, const void *data, size_t size),
			    void *ctx);
/* [any] Is a driver there that takes input? */
bool virtio_console_used(struct virtio_device *d);
/* [any] Returns the bytes taken; the rest: offer again later. */
size_t virtio_console_input(struct virtio_device *d, const void *data, size_t size);
/* [any] The driver tells its programs (SIGWINCH). */
void virtio_console_resize(struct virtio_device *d, uint16_t columns, uint16_t rows);

#endif
