/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waker: sleeps for a period, wakes, looks how late it is by its own clock, and sleeps again. vCPU 0 sends a heartbeat
 * after every `wakes` wakes; its datum is the worst wake-up latency in ns of any vCPU since the heartbeat before.
 *
 *	period_us=N	time asleep (default 1000)
 *	wakes=N		wakes of vCPU 0 per heartbeat (default: as many as fit into beat_ms)
 *	work=N		units of work after each wake (default 0)
 */
#include <stdatomic.h>

#include "nano.h"

const char *const nano_keys[] = {"period_us", "wakes", "work", NULL};

static _Atomic uint64_t worst_ns;

static void note_latency(uint64_t ns)
{
	uint64_t worst = atomic_load(&worst_ns);

	while (ns > worst && !atomic_compare_exchange_weak(&worst_ns, &worst, ns))
		;
}

int nano_main(struct nano *n)
{
	uint64_t period_ns = nano_time(n, "period_us", 1000, NSEC_PER_USEC);
	if (period_ns == 0) /* for BLOCK that means "without end" */
		nano_usage(n, "period_us");
	uint64_t fitting = n->beat_ns / period_ns;
	uint64_t wakes = nano_number(n, "wakes", fitting > 0 ? fitting : 1);
	uint64_t work = nano_number(n, "work", 0);

	for (uint64_t i = 1;; i++) {
		uint64_t due = nano_clock_ns(n) + period_ns;

		nano_call(BATON_CALL_BLOCK, period_ns, 0, 0, NULL);
		uint64_t now = nano_clock_ns(n);
		if (now > due)
			note_latency(now - due);
		for (uint64_t k = 0; k < work; k++)
			nano_work();
		if (n->vcpu == 0 && i >= wakes) {
			nano_beat(n, atomic_exchange(&worst_ns, 0));
			i = 0;
		}
	}
}
