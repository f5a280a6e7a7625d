/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yielder: gives its pCPU up again and again, on every vCPU. The datum of a heartbeat is the number of yields so far.
 *
 *	io=0|1		1: yield as one that waits for a device (default 0)
 *	work=N		units of work between two yields (default 0)
 */
#include "nano.h"

const char *const nano_keys[] = {"io", "work", NULL};

static struct nano_count yields[NANO_VCPUS_MAX];

int nano_main(struct nano *n)
{
	uint64_t io = nano_number(n, "io", 0), work = nano_number(n, "work", 0);

	if (io > 1)
		nano_usage(n, "io");
	for (;;) {
		for (uint64_t i = 0; i < work; i++)
			nano_work();
		nano_call(BATON_CALL_YIELD, io, 0, 0, NULL);
		nano_count(yields, n);
		if (n->vcpu == 0)
			nano_beat_when_due(n, nano_sum(yields));
	}
}
