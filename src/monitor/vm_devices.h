/* SPDX-License-Identifier: Apache-2.0 */
/* vm_devices.h - the virtio devices that a VM was asked to have: from vm.create's parameters to objects. */
#ifndef MONITOR_VM_DEVICES_H
#define MONITOR_VM_DEVICES_H

#include <jansson.h>

#include "machine/machine.h"

struct vm_devices {
	struct virtio_device *list[MACHINE_DEVICES_MAX];
	unsigned count;
};

/*
 * Makes the devices that params name (each may be missing):
 *
 *	"disks": ["/srv/root.img", {"path": "/srv/data.img", "readonly": true}]
 *	"net": "user", "none", or {"kind": "user", "host": true, "forward": ["tcp:127.0.0.1:2222:22"]},
 *		or {"kind": "tap", "interface": "tap0"}
 *	"rng": true
 *	"console": "serial" (the UART alone) or "virtio" (a virtio console beside it)
 *
 * On failure nothing is left behind. Any thread but a run loop: opens files.
 */
int vm_devices_make(json_t *params, struct vm_devices *ret, struct error *e);
/* Is it one of the parameters above? */
bool vm_devices_know(const char *param);
/* The machine that had them must be gone. May be called again. */
void vm_devices_free(struct vm_devices *d);

#endif
