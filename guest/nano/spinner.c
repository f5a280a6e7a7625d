/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spinner: computes without end on every vCPU. vCPU 0 sends heartbeats; their datum is the units of work that all vCPUs
 * have done so far. It makes no other call, so it only ever stops when it is made to.
 */
#include "nano.h"

const char *const nano_keys[] = {NULL};

static struct nano_count units[NANO_VCPUS_MAX];

int nano_main(struct nano *n)
{
	for (;;) {
		nano_work();
		nano_count(units, n);
		if (n->vcpu == 0)
			nano_beat_when_due(n, nano_sum(units));
	}
}
