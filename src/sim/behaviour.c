/* SPDX-License-Identifier: Apache-2.0 */
/*
 * behaviour.c - what a vCPU wants next. A behaviour is a little machine: it runs for left_ns, then takes its next step.
 *
 * Spin locks are test-and-set locks of one VM. Who finds its lock taken spins: it uses its pCPU and makes no progress.
 * After pause_ns of that the processor leaves the guest (pause-loop exit), the pool hears the hint `spin`, and the vCPU
 * yields. When the lock is given back, the one that spins on a pCPU at that moment and has done so for longest gets it
 * at once; when none does, it is free for whoever looks first: who was put aside while it spun, or while it held the
 * lock, makes all others wait. That is the trouble that co-scheduling is for.
 */
#include <math.h>

#include "sim/internal.h"

#define PAUSE_NS (20 * NSEC_PER_USEC)

uint64_t length_draw(const struct length *l, uint64_t *random)
{
	double x;

	switch (l->kind) {
	case LENGTH_FIXED:
		return l->a_ns;
	case LENGTH_UNIFORM:
		return l->a_ns + random_below(random, l->b_ns - l->a_ns + 1);
	case LENGTH_EXPONENTIAL:
		x = -log(random_unit(random)) * (double)l->a_ns;
		break;
	case LENGTH_PARETO:
		x = (double)l->a_ns * pow(random_unit(random), -1 / 1.5);
		x = MIN(x, (double)l->b_ns);
		break;
	default:
		return 0;
	}
	return (uint64_t)MIN(x, (double)WORKLOAD_DURATION_MAX);
}

/* Nothing takes no time at all: a behaviour cannot stand still in an instant. */
static uint64_t draw(struct sim_vcpu *v, const struct length *l)
{
	uint64_t ns = length_draw(l, &v->random);

	return MAX(ns, UINT64_C(1));
}

static void run_for(struct sim_vcpu *v, enum step step, uint64_t ns)
{
	v->step = (uint8_t)step;
	v->left_ns = ns;
}

/* ---- replay ---- */

/* Sets wake_ns to when the next demand comes; TIME_NEVER after the last. */
static void replay_next(struct sim *s, struct sim_vcpu *v)
{
	const struct demand *d = &v->does->demands[v->cursor];

	v->wake_ns = v->cursor == v->does->demand_count ? TIME_NEVER
		     : d->after				? s->now_ns + d->time_ns
							: v->base_ns + d->time_ns;
}

static enum act replay_done(struct sim *s, struct sim_vcpu *v)
{
	uint32_t end = v->does->demands[v->cursor++].end;

	v->jobs++;
	replay_next(s, v);
	if (v->wake_ns == TIME_NEVER || (end == DEMAND_HALT && v->wake_ns > s->now_ns))
		return ACT_HALT;
	/* The next one came meanwhile; and who yields goes on with it at once. */
	run_for(v, STEP_WORK, v->does->demands[v->cursor].run_ns);
	return end == DEMAND_YIELD ? ACT_YIELD : end == DEMAND_IO ? ACT_IO : ACT_GO_ON;
}

/* ---- locks ---- */

static uint32_t *lock_of(struct sim *s, struct sim_vcpu *v)
{
	return &s->vms[v->vm].lock_owner[v->does->lock];
}

static void hold_lock(struct sim *s, struct sim_vcpu *v)
{
	*lock_of(s, v) = v->number;
	run_for(v, STEP_HOLD, draw(v, &v->does->hold));
}

static void spin_on_lock(struct sim *s, struct sim_vcpu *v)
{
	uint64_t pause_ns = v->does->pause_ns ? v->does->pause_ns : PAUSE_NS;

	run_for(v, STEP_SPIN, pause_ns);
}

static void try_lock(struct sim *s, struct sim_vcpu *v)
{
	if (*lock_of(s, v) == BATON_NONE)
		hold_lock(s, v);
	else
		spin_on_lock(s, v);
}

/* Books what was spun so far. */
static void book_spinning(struct sim *s, struct sim_vcpu *v)
{
	if (s->now_ns > v->from_ns)
		v->spin_ns += s->now_ns - v->from_ns;
}

static void release_lock(struct sim *s, struct sim_vcpu *v)
{
	const struct sim_vm *vm = &s->vms[v->vm];
	struct sim_vcpu *next = NULL;

	*lock_of(s, v) = BATON_NONE;
	for (uint32_t i = vm->first; i < vm->first + vm->count; i++) {
		struct sim_vcpu *u = &s->vcpus[i];

		if (u->step == STEP_SPIN && u->pcpu != BATON_NONE && u->does->lock == v->does->lock &&
		    (!next || u->from_ns < next->from_ns))
			next = u;
	}
	if (!next)
		return;
	book_spinning(s, next);
	hold_lock(s, next);
	next->from_ns = MAX(next->from_ns, s->now_ns);
	engine_set_pcpu(s, next->pcpu);
}

/* ---- one step after the other ---- */

bool behaviour_begin(struct sim *s, struct sim_vcpu *v, uint32_t n)
{
	const struct phase *phase = &v->program->phases[n];

	v->phase = n;
	v->phase_end_ns = phase->for_ns == TIME_NEVER ? TIME_NEVER : s->now_ns + phase->for_ns;
	v->does = &phase->does;
	v->base_ns = s->now_ns;
	v->wake_ns = TIME_NEVER;
	v->step = STEP_WORK;
	v->left_ns = 0;
	switch (v->does->kind) {
	case BEHAVIOUR_COMPUTE:
		v->left_ns = TIME_NEVER;
		break;
	case BEHAVIOUR_IDLE:
		break;
	case BEHAVIOUR_PERIODIC:
		v->next_ns = s->now_ns + v->does->offset_ns;
		v->wake_ns = v->next_ns;
		break;
	case BEHAVIOUR_BURSTY:
		v->next_ns = s->now_ns + draw(v, &v->does->burst);
		v->left_ns = draw(v, &v->does->run);
		break;
	case BEHAVIOUR_IO:
	case BEHAVIOUR_LOCK:
		v->left_ns = draw(v, &v->does->run);
		break;
	case BEHAVIOUR_REPLAY:
		v->cursor = 0;
		replay_next(s, v);
		break;
	}
	if (v->left_ns == 0 && v->wake_ns <= s->now_ns)
		behaviour_woken(s, v);
	return v->left_ns > 0;
}

bool behaviour_next_phase(struct sim *s, struct sim_vcpu *v)
{
	uint32_t n = v->phase + 1;

	behaviour_end(s, v);
	if (n == v->program->count)
		n = v->program->repeat ? 0 : v->program->count - 1;
	return behaviour_begin(s, v, n);
}

void behaviour_end(struct sim *s, struct sim_vcpu *v)
{
	if (v->step == STEP_HOLD)
		release_lock(s, v);
	v->step = STEP_WORK;
}

void behaviour_woken(struct sim *s, struct sim_vcpu *v)
{
	v->wake_ns = TIME_NEVER;
	switch (v->does->kind) {
	case BEHAVIOUR_PERIODIC:
		v->next_ns += v->does->period_ns;
		break;
	case BEHAVIOUR_BURSTY:
		if (v->step == STEP_SILENT)
			v->next_ns = s->now_ns + draw(v, &v->does->burst);
		break;
	case BEHAVIOUR_REPLAY:
		run_for(v, STEP_WORK, v->does->demands[v->cursor].run_ns);
		return;
	case BEHAVIOUR_COMPUTE:
	case BEHAVIOUR_IDLE:
	case BEHAVIOUR_IO:
	case BEHAVIOUR_LOCK:
		break;
	}
	run_for(v, STEP_WORK, draw(v, &v->does->run));
}

void behaviour_started(struct sim *s, struct sim_vcpu *v)
{
	if (v->step == STEP_SPIN)
		try_lock(s, v);
}

static enum act io_done(struct sim *s, struct sim_vcpu *v)
{
	uint64_t ready = s->now_ns + draw(v, &v->does->block);

	v->jobs++;
	if (v->does->poll_ns > 0) {
		v->next_ns = ready;
		run_for(v, STEP_POLL, v->does->poll_ns);
		return ACT_IO;
	}
	v->wake_ns = ready;
	return ACT_HALT;
}

static enum act periodic_done(struct sim *s, struct sim_vcpu *v)
{
	v->jobs++;
	v->missed += s->now_ns > v->next_ns;
	v->wake_ns = v->next_ns;
	if (v->wake_ns > s->now_ns)
		return ACT_HALT;
	behaviour_woken(s, v);
	return ACT_GO_ON;
}

static enum act next_lock_step(struct sim *s, struct sim_vcpu *v)
{
	switch (v->step) {
	case STEP_SPIN:
		spin_on_lock(s, v);
		return ACT_SPIN;
	case STEP_HOLD:
		v->jobs++;
		run_for(v, STEP_WORK, draw(v, &v->does->run));
		release_lock(s, v);
		return ACT_GO_ON;
	default:
		try_lock(s, v);
		return ACT_GO_ON;
	}
}

enum act behaviour_next(struct sim *s, struct sim_vcpu *v)
{
	if (v->step == STEP_HALTING) {
		v->step = STEP_WORK;
		if (v->wake_ns > s->now_ns)
			return ACT_HALT;
		behaviour_woken(s, v);
		return ACT_GO_ON;
	}
	switch (v->does->kind) {
	case BEHAVIOUR_PERIODIC:
		return periodic_done(s, v);
	case BEHAVIOUR_IO:
		if (v->step != STEP_POLL)
			return io_done(s, v);
		if (v->next_ns <= s->now_ns) {
			run_for(v, STEP_WORK, draw(v, &v->does->run));
			return ACT_GO_ON;
		}
		run_for(v, STEP_POLL, v->does->poll_ns);
		return ACT_IO;
	case BEHAVIOUR_BURSTY:
		v->jobs++;
		v->step = s->now_ns < v->next_ns ? STEP_WORK : STEP_SILENT;
		v->wake_ns = s->now_ns + draw(v, v->step == STEP_WORK ? &v->does->block : &v->does->silence);
		return ACT_HALT;
	case BEHAVIOUR_LOCK:
		return next_lock_step(s, v);
	case BEHAVIOUR_REPLAY:
		return replay_done(s, v);
	case BEHAVIOUR_COMPUTE:
	case BEHAVIOUR_IDLE:
		break;
	}
	v->wake_ns = TIME_NEVER;
	return ACT_HALT;
}
