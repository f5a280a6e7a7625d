/* SPDX-License-Identifier: Apache-2.0 */
/* virtio_rng.h - entropy for the guest, from the host's getrandom (virtio 1.2, section 5.4). */
#ifndef DEVICES_VIRTIO_RNG_H
#define DEVICES_VIRTIO_RNG_H

#include "devices/virtio.h"

/* -ENOMEM. */
int virtio_rng_new(struct virtio_device **ret, struct error *e);

#endif
