/* SPDX-License-Identifier: Apache-2.0 */
/*
 * changes.c - a change of scheduler in virtual time, carried out by the real engine (src/sched/change.c).
 *
 * change_run is written for a thread of its own, beside which pCPUs go on. Here there is one thread: so where that thread
 * would let others in, or spends time without the lock, events are simulated until that time is over. The engine tells
 * of each phase (its progress callback, no lock held), and between two batches of vCPUs it takes the lock and asks for
 * the time (change_clock): those are the two places. The durations are constants, near what was measured on real hosts.
 *
 * Ceasing: each pCPU stops when its kick arrives, and rests (engine.c). The engine waits for that in change_await_rest,
 * spends FLUSH_NS on the devices, commits, and asks for the time once the sign is lowered: then all pCPUs go on.
 */
#include "sched/manager.h"
#include "sim/internal.h"

#define FETCH_NS   (200 * NSEC_PER_USEC) /* reading and checking an image */
#define BATCH_NS   (30 * NSEC_PER_USEC)	 /* handing 64 vCPUs over */
#define PREPARE_NS (20 * NSEC_PER_USEC)	 /* any other phase */
#define FLUSH_NS   (20 * NSEC_PER_USEC)	 /* looking that all devices rest */

static void let_pass(struct sim *s, uint64_t ns)
{
	/* The end of the simulation is nobody's business here: a change that began is finished. */
	engine_advance(s, s->now_ns + ns);
}

static void phase_entered(void *ctx, const struct change_report *report)
{
	struct sim *s = ctx;

	s->change.phase = report->phase;
	if (report->state != CHANGE_RUNNING)
		return;
	switch (report->phase) {
	case PHASE_FETCH:
		let_pass(s, FETCH_NS);
		break;
	case PHASE_VERIFY:
	case PHASE_ROOM:
	case PHASE_ATTACH:
	case PHASE_SETTLE:
		let_pass(s, PREPARE_NS);
		break;
	case PHASE_COMMIT:
		break;
	}
}

/* The pCPUs that rested for the change go on. */
static void depart(struct sim *s) NO_TSA
{
	for (uint32_t p = 0; p < s->workload->pcpus; p++) {
		if (!s->pcpus[p].resting)
			continue;
		s->pcpus[p].resting = false;
		s->pcpus[p].kick_ns = s->now_ns;
		pool_cease_depart(s->pool, p, s->now_ns);
		engine_set_pcpu(s, p);
	}
}

void change_clock(struct sim *s) NO_TSA
{
	struct pool *p = s->pool;

	/* Not from the events that are simulated within the change. */
	if (s->change.passing || !lock_is_mine(&p->lock))
		return;
	if (s->change.phase == PHASE_COMMIT && !p->cease)
		depart(s);
	if (s->change.phase != PHASE_ATTACH)
		return;
	s->change.passing = true;
	lock_drop(&p->lock);
	let_pass(s, BATCH_NS);
	lock_take(&p->lock);
	s->change.passing = false;
}

void change_await_rest(struct sched_host *h, uint64_t deadline_ns) NO_TSA
{
	struct sim *s = container_of(h, struct sim, host);
	struct pool *p = s->pool;

	s->change.passing = true;
	lock_drop(&p->lock);
	while (p->ceased_count < p->pcpu_count && engine_step(s, deadline_ns))
		;
	lock_take(&p->lock);
	s->change.passing = false;
}

int change_flush(struct sched_host *h, char *why, size_t size)
{
	let_pass(container_of(h, struct sim, host), FLUSH_NS);
	return 0;
}

void change_now(struct sim *s) NO_TSA
{
	struct change_report report = {.asked_ns = s->now_ns};
	int r;

	s->change.planned = false;
	s->change.running = true;
	s->change.phase = PHASE_FETCH;
	s->change.changer.progress = phase_entered;
	s->change.changer.ctx = s;
	s->change.changer.pool = s->pool;
	r = change_run(&s->change.changer, &s->change.spec, &report);
	s->change.running = false;
	if (s->change.report)
		*s->change.report = report;
	if (r < 0)
		return;
	engine_enter(s);
	engine_tell(s, &(struct sim_event){.kind = SIM_COMMIT,
					   .time_ns = s->now_ns,
					   .vcpu = BATON_NONE,
					   .vm = BATON_NONE,
					   .pcpu = manager_active(s->pool)->id});
	engine_leave(s);
}

void sim_change_at(struct sim *s, uint64_t at, const struct change_spec *spec, struct arena *arena,
		   const char *image_dir, struct change_report *report)
{
	s->change = (struct planned_change){.planned = true,
					    .at_ns = MAX(at, s->now_ns),
					    .spec = *spec,
					    .changer = {.arena = arena, .image_dir = image_dir},
					    .report = report};
	if (report)
		*report = (struct change_report){.state = CHANGE_QUEUED};
}
