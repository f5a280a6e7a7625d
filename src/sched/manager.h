/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manager.h - the scheduler manager: which scheduler is asked, and the way of a request to it and of feedback back.
 *
 * Every attached scheduler is up to date already, so activating another one costs the same for one vCPU and for ten
 * thousand. How a request finds its way to the active one is the pool's activation (activation.h, rows S14 - S17); what the
 * answer is worth is decided here, whichever way it came.
 *
 * All functions: pool lock held.
 */
#ifndef SCHED_MANAGER_H
#define SCHED_MANAGER_H

#include "sched/pool.h"

static inline struct attached *manager_active(struct pool *p) REQUIRES(p->lock)
{
	return p->attached[activation_active(p->activation)];
}

static inline struct attached *manager_default(struct pool *p) REQUIRES(p->lock)
{
	return p->attached[0];
}

/* From now on `to` decides: the flip. It must not be withdrawn or faulty. */
void manager_activate(struct pool *p, struct attached *to) REQUIRES(p->lock);

/*
 * Takes a request to the active scheduler and brings the feedback back. An answer that is not allowed is counted against
 * the scheduler and replaced by the default's, or by a plain rotation when that is wrong too; after POOL_WRONG_LIMIT
 * wrong answers the default becomes the active one.
 */
void manager_request(struct pool *p, const struct sched_request *request, uint64_t now, struct feedback *ret)
    REQUIRES(p->lock);

#endif
