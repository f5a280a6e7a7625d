/* SPDX-License-Identifier: Apache-2.0 */
/*
 * steal.h - shows a guest how long its vCPU was runnable without running (KVM's steal-time record, MSR 0x4b564d03).
 *
 * KVM's own figure is the waiting time of the calling thread and means nothing when vCPUs share threads; so the MSR is
 * filtered and the monitor writes the record. The version is odd while the record changes. `preempted` tells other
 * vCPUs that this one does not run although it could: spinning on its lock is useless.
 *
 * Threads: the carrier of the vCPU.
 */
#ifndef MACHINE_STEAL_H
#define MACHINE_STEAL_H

#include "base/base.h"
#include "machine/gmem.h"

#define MSR_KVM_STEAL_TIME 0x4b564d03

struct steal {
	const struct gmem *mem;
	uint64_t msr;	  /* as the guest wrote it */
	uint8_t *record;  /* in guest memory, NULL: off */
	uint32_t version; /* ours: the guest's copy is not believed */
	uint64_t shown_ns;
};

void steal_reset(struct steal *s, const struct gmem *mem);
/* False: the guest gets #GP. */
bool steal_msr_write(struct steal *s, uint64_t value);
/* The vCPU is about to run. */
void steal_update(struct steal *s, uint64_t steal_ns);
/* The vCPU was taken off its pCPU while it could run. */
void steal_preempted(struct steal *s);

#endif
