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
};

struct sched_host {
	const struct sched_host_ops *ops;
};

#endif
