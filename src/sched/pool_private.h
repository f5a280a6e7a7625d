/* SPDX-License-Identifier: Apache-2.0 */
/* pool_private.h - what the files of the pool share: pool.c (events, accounts, kicks), pool_members.c (VMs, vCPUs,
 * schedulers, the operator), pool_cease.c (ceasing). */
#ifndef SCHED_POOL_PRIVATE_H
#define SCHED_POOL_PRIVATE_H

#include "sched/pool.h"

#define pool_for_each_listener(p, a)                                                                                   \
	for (uint32_t i_ = 0; i_ < (p)->listener_count && ((a) = (p)->listeners[i_], true); i_++)

/* The kicks that were asked for since the last time, out of the pool's hands: they are sent when the lock is dropped, since
 * each may cost a system call, and the next decision need not wait for that. */
struct kicks {
	uint64_t mask[BATON_PCPUS_MAX / 64];
};
struct kicks pool_take_kicks(struct pool *p) REQUIRES(p->lock);
void pool_send_kicks(struct pool *p, const struct kicks *k);

/* Books the time of the old state, and begins the new one. */
void pool_vcpu_become(struct pool_vcpu *v, enum baton_vcpu_state state, uint64_t now);
void pool_pcpu_book(struct pool_pcpu *c, uint64_t now);
void pool_pcpu_set_idle(struct pool *p, uint32_t pcpu, bool idle) REQUIRES(p->lock);
/* v waits: should some pCPU be asked on its behalf? */
void pool_seek_pcpu(struct pool *p, uint32_t v, enum requester_kind by, uint64_t now) REQUIRES(p->lock);

static inline bool pool_vcpu_allowed(const struct pool_vcpu *v, uint32_t pcpu)
{
	return v->anywhere || ((v->affinity[pcpu / 64] >> (pcpu % 64)) & 1);
}

static inline uint32_t pool_mask_words(const struct pool *p)
{
	return (p->pcpu_count + 63) / 64;
}

#endif
