/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/steal.h"

#include <asm/kvm_para.h>
#include <stdatomic.h>

#define ENABLED	 UINT64_C(1)
#define RESERVED UINT64_C(0x3e)

void steal_reset(struct steal *s, const struct gmem *mem)
{
	*s = (struct steal){.mem = mem};
}

bool steal_msr_write(struct steal *s, uint64_t value)
{
	uint8_t *record = NULL;

	if (value & RESERVED)
		return false;
	if (value & ENABLED) {
		record = gmem_ptr(s->mem, value & ~(ENABLED | RESERVED), sizeof(struct kvm_steal_time));
		if (!record)
			return false;
	}
	s->msr = value;
	s->record = record;
	s->version = 0;
	s->shown_ns = UINT64_MAX; /* write it at the next entry */
	return true;
}

/* Volatile: the guest reads these while we write them; each is one aligned store. */
#define FIELD(s, type, name) ((volatile type *)(void *)((s)->record + offsetof(struct kvm_steal_time, name)))

void steal_update(struct steal *s, uint64_t steal_ns)
{
	if (!s->record)
		return;
	*FIELD(s, uint8_t, preempted) = 0;
	if (steal_ns == s->shown_ns)
		return;
	*FIELD(s, uint32_t, version) = ++s->version;
	atomic_thread_fence(memory_order_release);
	*FIELD(s, uint64_t, steal) = steal_ns;
	atomic_thread_fence(memory_order_release);
	*FIELD(s, uint32_t, version) = ++s->version;
	s->shown_ns = steal_ns;
}

void steal_preempted(struct steal *s)
{
	if (s->record)
		*FIELD(s, uint8_t, preempted) = KVM_VCPU_PREEMPTED;
}
