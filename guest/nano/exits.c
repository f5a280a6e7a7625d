/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exits: makes the cheapest call (CLOCK) as fast as it can, on every vCPU: the price of leaving the guest and coming
 * back, with nothing else. The datum of a heartbeat is the calls per second of all vCPUs since the heartbeat before.
 */
#include "nano.h"

const char *const nano_keys[] = {NULL};

static struct nano_count calls[NANO_VCPUS_MAX];

int nano_main(struct nano *n)
{
	uint64_t since = nano_clock_ns(n), before = 0;

	for (;;) {
		nano_call(BATON_CALL_CLOCK, 0, 0, 0, NULL);
		nano_count(calls, n);
		if (n->vcpu != 0)
			continue;

		uint64_t now = nano_clock_ns(n);
		if (now - since < n->beat_ns)
			continue;
		uint64_t sum = nano_sum(calls);
		uint64_t us = (now - since) / NSEC_PER_USEC;
		nano_beat(n, us > 0 ? (sum - before) * 1000000 / us : 0);
		before = sum;
		since = nano_clock_ns(n);
	}
}
