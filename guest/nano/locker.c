/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locker: vCPUs that share a spin lock, the guest that suffers when the one that holds it does not run. Every vCPU takes
 * turns: works outside, takes the lock, works inside, drops it. Who waits spins with PAUSE and, after a while, says so by
 * YIELD(2), which the schedulers hear as `spin`. The datum of a heartbeat is the number of times the lock was taken.
 *
 *	inside=N	units of work with the lock (default 10)
 *	outside=N	units of work without it (default 20)
 *	patience=N	rounds of PAUSE before it says that it spins (default 2000; 0: never says so)
 */
#include "nano.h"

#include <stdatomic.h>

const char *const nano_keys[] = {"inside", "outside", "patience", NULL};

static struct {
	_Alignas(64) _Atomic uint32_t next_ticket;
	_Alignas(64) _Atomic uint32_t now_serving;
	_Alignas(64) uint64_t taken; /* with the lock */
	uint64_t holder;	     /* vCPU + 1 */
} shared;

static void take(uint64_t patience)
{
	uint32_t mine = atomic_fetch_add(&shared.next_ticket, 1);
	uint64_t rounds = 0;

	while (atomic_load_explicit(&shared.now_serving, memory_order_acquire) != mine) {
		__builtin_ia32_pause();
		if (++rounds == patience) {
			nano_call(BATON_CALL_YIELD, BATON_YIELD_SPINS, 0, 0, NULL);
			rounds = 0;
		}
	}
}

static void drop(void)
{
	atomic_fetch_add_explicit(&shared.now_serving, 1, memory_order_release);
}

static void work(uint64_t units)
{
	while (units-- > 0)
		nano_work();
}

int nano_main(struct nano *n)
{
	uint64_t inside = nano_number(n, "inside", 10), outside = nano_number(n, "outside", 20);
	uint64_t patience = nano_number(n, "patience", 2000), taken;

	for (;;) {
		work(outside);
		take(patience);
		shared.holder = n->vcpu + 1;
		taken = ++shared.taken;
		work(inside);
		if (shared.holder != n->vcpu + 1 || shared.taken != taken)
			nano_fail(NANO_FAILED_CORRUPT); /* somebody else was inside */
		drop();
		if (n->vcpu == 0)
			nano_beat_when_due(n, taken);
	}
}
