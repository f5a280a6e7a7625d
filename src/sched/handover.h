/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover.h - a vCPU's past, on its way from one scheduler to another (row N3).
 *
 * The record is neutral: what the monitor itself knows (weight, service received, time since it ran, last pCPU) is filled
 * in here, what only the present scheduler knows (service owed, an opaque tail for its own kind) is asked from it.
 */
#ifndef SCHED_HANDOVER_H
#define SCHED_HANDOVER_H

#include "baton/scheduler.h"

struct pool;
struct attached;

/* Fills *ret for vCPU v from the pool's accounts and from `from` (NULL or without a give op: nothing is owed). Lock held.
 * A record in which the giver claims more than HANDOVER_OWED_MAX_NS either way is brought back to that. */
#define HANDOVER_OWED_MAX_NS (INT64_C(10) * 1000 * 1000 * 1000)
void handover_record(struct pool *pool, struct attached *from, uint32_t v, uint64_t now, struct baton_history *ret);

#endif
