/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h - what the scheduling core needs from whoever really runs the vCPUs. Two hosts exist: src/host (KVM) and src/sim
 * (virtual time). The core never knows which.
 */
#ifndef SCHED_HOST_H
#define SCHED_HOST_H

#include <stddef.h>
#include <stdint.h>

struct sched_host;

/* Called from any thread, kick with or without the pool's lock; must not block or call back into the pool. */
struct sched_host_ops {
	/* The time, ns. Never goes back. */
	uint64_t (*now)(struct sched_host *h);
	/* Make this pCPU of the pool come out of the guest (or out of its idle wait) and ask again. Cannot be lost. */
	void (*kick)(struct sched_host *h, uint32_t pcpu);
	/* Ceasing, once no pCPU is in a guest (called without the lock): flush the console's device models, check that
	 * every device is at rest. May be NULL. Returns 0, or a negative errno with the reason in why (the change is then refused and everything goes on). */
	int (*flush)(struct sched_host *h, char *why, size_t size);
	/* After a flush that returned 0, when the pCPUs may run again (called without the lock, by the same thread). May be NULL. */
	void (*go_on)(struct sched_host *h);
	/* For hosts whose run loops are not threads, else NULL (the calling thread sleeps until all rest): goes on with whatever
	 * the pCPUs do until pool->ceased_count says that all of them rest, or the deadline (of now) is there. Called with the
	 * pool's lock held; may drop it meanwhile. Such a host calls pool_cease_arrive and pool_cease_depart by itself. */
	void (*await_rest)(struct sched_host *h, uint64_t deadline_ns);
};

struct sched_host {
	const struct sched_host_ops *ops;
};

#endif
