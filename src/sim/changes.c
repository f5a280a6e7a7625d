/* SPDX-License-Identifier: Apache-2.0 */
/*
 * changes.c - a change of scheduler in virtual time, carried out by the real engine (src/sched/change.c).
 *
 * change_run is written for a thread of its own, beside which pCPUs go on. Here there is one thread: so where that thread
 * would let others in, or spends time without the lock, events are simulated until that time is over. The engine tells
 * of each phase (its progress callback, no lock held), and between two batches of vCPUs it takes the lock and asks for
 * the time (change_clock): those are the two places. The durations are constants, near what was measured on real hosts.
 *
 * Ceasing: the pCPUs come to rest within the engine's wait; see change_rest.
 */
#include "sched/manager.h"
#include "sim/internal.h"

#define FETCH_NS   (200 * NSEC_PER_USEC) /* reading and checking an image */
#define BATCH_NS   (30 * NSEC_PER_USEC)	 /* handing 64 vCPUs over */
#define PREPARE_NS (20 * NSEC_PER_USEC)	 /* any other phase */

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

void change_clock(struct sim *s) NO_TSA
{
	struct pool *p = s->pool;

	/* Only between batches, and not from the events that are simulated meanwhile. */
	if (s->change.phase != PHASE_ATTACH || s->change.passing || !lock_is_mine(&p->lock))
		return;
	s->change.passing = true;
	lock_drop(&p->lock);
	let_pass(s, BATCH_NS);
	lock_take(&p->lock);
	s->change.passing = false;
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
