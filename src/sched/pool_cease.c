/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pool_cease.c - bringing every pCPU to rest and letting all go on (rows S19 - S21). See pool.h.
 *
 * The sign is looked at by every run loop, with the lock held, before it goes back into a guest; whoever is in one is
 * kicked. Waiting gives the lock away: its owner is taken down and put back by hand around the condition variable. A host
 * whose run loops are no threads (the simulator) waits in its own way, and says of each pCPU when it arrives and departs.
 */
#include "base/clock.h"
#include "sched/pool_private.h"

void pool_cease_begin(struct pool *p)
{
	assert(!p->cease);
	p->cease = true;
	p->ceased_count = 0;
	trace_add(p->trace, p->last_now_ns, TRACE_CEASE, BATON_NONE, BATON_NONE, 1, 0);
	for (uint32_t i = 0; i < p->pcpu_count; i++) {
		p->pcpus[i].ceased = false;
		p->host->ops->kick(p->host, i);
	}
}

void pool_cease_arrive(struct pool *p, uint32_t pcpu, uint64_t now)
{
	struct pool_pcpu *c = &p->pcpus[pcpu];
	struct kicks kicks = pool_take_kicks(p);

	assert(c->running == BATON_NONE);
	pool_pcpu_book(c, now);
	pool_pcpu_set_idle(p, pcpu, false);
	c->ceased = true;
	c->ceased_at_ns = now;
	p->ceased_count++;
	pool_send_kicks(p, &kicks);
	pthread_cond_broadcast(&p->cease_changed);
}

void pool_cease_depart(struct pool *p, uint32_t pcpu, uint64_t now)
{
	struct pool_pcpu *c = &p->pcpus[pcpu];

	p->last_now_ns = now;
	c->ceased = false;
	c->blackout_ns = now - c->ceased_at_ns;
}

uint64_t pool_cease_rest(struct pool *p, uint32_t pcpu, uint64_t now) NO_TSA
{
	pool_cease_arrive(p, pcpu, now);
	while (p->cease) {
		atomic_store_explicit(&p->lock.owner, 0, memory_order_relaxed);
		pthread_cond_wait(&p->cease_changed, &p->lock.mutex);
		atomic_store_explicit(&p->lock.owner, pthread_self(), memory_order_relaxed);
	}
	now = MAX(p->last_now_ns, p->host->ops->now(p->host));
	pool_cease_depart(p, pcpu, now);
	return now;
}

int pool_cease_wait(struct pool *p, uint64_t deadline_ns) NO_TSA
{
	struct timespec until = timespec_from_ns(deadline_ns);
	int r = 0;

	if (p->host->ops->await_rest)
		p->host->ops->await_rest(p->host, deadline_ns);
	while (!p->host->ops->await_rest && p->ceased_count < p->pcpu_count && r == 0) {
		atomic_store_explicit(&p->lock.owner, 0, memory_order_relaxed);
		r = pthread_cond_timedwait(&p->cease_changed, &p->lock.mutex, &until);
		atomic_store_explicit(&p->lock.owner, pthread_self(), memory_order_relaxed);
	}
	return p->ceased_count < p->pcpu_count ? -ETIMEDOUT : 0;
}

void pool_cease_end(struct pool *p)
{
	p->cease = false;
	trace_add(p->trace, p->last_now_ns, TRACE_CEASE, BATON_NONE, BATON_NONE, 0, 0);
	pthread_cond_broadcast(&p->cease_changed);
}
