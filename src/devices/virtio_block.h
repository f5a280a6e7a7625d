/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_block.h - a disk (virtio 1.2, section 5.2) on a raw file or a block device of the host.
 *
 *	queue -> request (a slot) -> io_uring -> completion -> status byte, used ring
 *
 * Data goes straight between the file and guest memory. The I/O thread submits and reaps; what the kernel cannot do at once
 * it does in its own worker threads. Errors of the host (I/O error, full disk, a file that became shorter) are the
 * guest's: the request ends with VIRTIO_BLK_S_IOERR. A write is durable after the driver's flush; for a driver that
 * does not know flushes, each write is (5.2.6.2).
 *
 * The file is locked (fcntl, open file description): one writer, or any number of readers, among all VMs and programs
 * that care.
 */
#ifndef DEVICES_VIRTIO_BLOCK_H
#define DEVICES_VIRTIO_BLOCK_H

#include "devices/virtio.h"

#define VIRTIO_BLOCK_SECTOR 512

/* Errors: -ENOENT, -EACCES and what else open(2) says; -EINVAL (neither file nor block device, or smaller than a sector),
 * -EBUSY (somebody else writes it), -ENOMEM, -ENOSYS or -EPERM (no io_uring on this host). e explains. */
int virtio_block_new(const char *path, bool readonly, struct virtio_device **ret, struct error *e);

#endif
