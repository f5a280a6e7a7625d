/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - the books of a trial, and the judgements that need them. See watch.h.
 *
 * The figures, and where they fail:
 *
 *	work-conserving  longest time that a vCPU waited although a pCPU idled that it may use; a few kicks' latency
 *	starvation       longest wait, as a part of what its weight, warps of others and the slice explain
 *	alone            the same, where some had a pCPU to themselves before
 *	shares           how far a VM's service was from that of an ideal scheduler (weights, but nobody on two pCPUs at
 *			 once), in slices; on one pCPU the limit does not grow with time
 *	handover         the same after a successor took over
 *	latency          time from wake-up to running, of vCPUs with a hint, in ms
 *	caps             service beyond the cap, in ms
 *	reservations     budgets that were missed so far
 *	gang             how much of what a VM's vCPUs ran they ran while not all ran that could (in holes, say)
 */
#include "check/watch.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SHARES_SLICES  3.0
#define SHARES_SMP     0.02		     /* of the ideal, besides: on several pCPUs no known policy is exact */
#define CAP_AHEAD_NS   (100 * NSEC_PER_MSEC) /* a cap may be used up ahead for this long, or for an accounting period */
#define STARVATION_NS  (300 * NSEC_PER_MSEC)
#define SLICE_AT_LEAST (20 * NSEC_PER_MSEC)
#define SETTLED_NS     (200 * NSEC_PER_MSEC) /* at the beginning all wake at once */
#define GANG_APART     0.5
#define GANG_AT_LEAST  (0.5 * (double)NSEC_PER_SEC) /* of running: below, nothing is said */

#define for_each_vcpu(w, v)                                                                                            \
	for (uint32_t v = 0; v < (w)->vcpu_slots; v++)                                                                 \
		if ((w)->vcpus[v].state != BATON_VCPU_FREE)

/* ---- verdicts ---- */

static uint64_t since_begin(const struct watch *w)
{
	return sim_now(w->sim) - SIM_EPOCH_NS;
}

static void fail_with(struct watch *w, enum property p, const char *fmt, va_list ap) _printf_(3, 0);

static void fail_with(struct watch *w, enum property p, const char *fmt, va_list ap)
{
	struct verdict *v = &w->result->of[p];

	if (v->failed || !(w->judges & PROPERTY_BIT(p)))
		return;
	v->failed = v->judged = true;
	v->at_ns = since_begin(w);
	(void)vsnprintf(v->text, sizeof v->text, fmt, ap);
}

void watch_fail(struct watch *w, enum property p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fail_with(w, p, fmt, ap);
	va_end(ap);
}

void watch_figure(struct watch *w, enum property p, double figure, double limit, const char *fmt, ...)
{
	struct verdict *v = &w->result->of[p];
	va_list ap;

	if (!(w->judges & PROPERTY_BIT(p)))
		return;
	if (!v->judged || figure * v->limit > v->worst * limit) { /* the one nearest to its limit */
		v->worst = figure;
		v->limit = limit;
	}
	v->judged = true;
	if (figure <= limit || v->failed)
		return;
	v->worst = figure;
	v->limit = limit;
	va_start(ap, fmt);
	fail_with(w, p, fmt, ap);
	va_end(ap);
}

/* ---- what the trial says ---- */

static const struct baton_vm *wishes(const struct watch *w, uint32_t vm) NO_TSA
{
	return &sim_pool(w->sim)->vms[vm];
}

static uint64_t affinity(const struct watch *w, uint32_t v) NO_TSA
{
	return sim_pool(w->sim)->vcpus[v].affinity[0];
}

static uint64_t held_until(const struct watch *w, uint32_t v) NO_TSA
{
	return sim_pool(w->sim)->vcpus[v].held_until_ns;
}

/* A parameter that is a time says how long slices may be. */
static uint64_t slice_of(const struct trial *t, const struct subject *s)
{
	uint64_t longest = 0;

	for (uint64_t i = 0; i < s->ops->parameter_count; i++) {
		const struct baton_parameter *p = &s->ops->parameters[i];
		uint64_t unit = strcmp(p->unit, "us") == 0   ? NSEC_PER_USEC
				: strcmp(p->unit, "ms") == 0 ? NSEC_PER_MSEC
							     : 1;
		int64_t value = p->initial;

		if (p->scope != BATON_SCOPE_POOL || p->unit[0] == '\0' || p->unit[0] == '%')
			continue;
		for (uint32_t n = 0; n < t->param_count; n++)
			if (strcmp(t->params[n].name, p->name) == 0)
				value = MAX(value, t->params[n].value);
		for (uint32_t n = 0; n < t->act_count; n++)
			if (t->acts[n].kind == ACT_PARAM && t->acts[n].vm == i)
				value = MAX(value, t->acts[n].value);
		longest = MAX(longest, (uint64_t)value * unit);
	}
	return longest;
}

/* ---- judgements over time ---- */

static double running_ns(const struct watched_vcpu *v, uint64_t now)
{
	return (double)v->run_ns + (v->state == BATON_VCPU_RUNNING ? (double)(now - v->since_ns) : 0);
}

/* Is somebody idle who could run v? */
static bool could_run(const struct watch *w, uint32_t v)
{
	uint64_t mask = affinity(w, v);

	for (uint32_t p = 0; p < w->trial->workload->pcpus; p++)
		if (w->running[p] == BATON_NONE && ((mask >> p) & 1))
			return true;
	return false;
}

static void judge_work(struct watch *w, uint64_t now)
{
	const struct workload *load = w->trial->workload;
	uint64_t limit = load->kick_ns * (load->pcpus + 3) + 10 * NSEC_PER_USEC;

	for_each_vcpu(w, v)
	{
		struct watched_vcpu *x = &w->vcpus[v];

		if (x->unserved_ns != TIME_NEVER && now > x->unserved_ns)
			watch_figure(w, PROPERTY_WORK, (double)(now - x->unserved_ns), (double)limit,
				     "vCPU %u of VM %u waited for %.3f ms although a pCPU idled that it may run on", v,
				     x->vm, (double)(now - x->unserved_ns) / 1e6);
	}
}

/* After an event: who waits in vain from now on? */
static void note_unserved(struct watch *w, uint64_t now)
{
	for_each_vcpu(w, v)
	{
		struct watched_vcpu *x = &w->vcpus[v];
		uint64_t held = held_until(w, v);

		if (x->state != BATON_VCPU_RUNNABLE || !could_run(w, v))
			x->unserved_ns = TIME_NEVER;
		else if (x->unserved_ns == TIME_NEVER || held > x->unserved_ns)
			x->unserved_ns = MAX(now, held);
	}
}

static void judge_wait(struct watch *w, uint32_t v, uint64_t now)
{
	const struct watched_vcpu *x = &w->vcpus[v];
	uint64_t from = MAX(x->since_ns, held_until(w, v)), waited = now > from ? now - from : 0;
	double weight = wishes(w, x->vm)->weight, others = 0, warps = 0, slice, limit;
	bool reserved = false;
	enum property p = w->trial->judges & PROPERTY_BIT(PROPERTY_ALONE) ? PROPERTY_ALONE : PROPERTY_STARVATION;

	for_each_vcpu(w, u)
	{
		const struct baton_vm *wish = wishes(w, w->vcpus[u].vm);

		others += 1 + wish->weight / weight;
		warps += (double)wish->warp_ns * wish->weight / weight;
		reserved |= wish->budget_ns > 0;
	}
	slice = (double)MAX(slice_of(w->trial, w->subject), SLICE_AT_LEAST);
	limit = (double)STARVATION_NS + 4 * slice * others + 2 * warps;
	if (reserved)
		limit *= 8;
	watch_figure(w, p, (double)waited / limit, 1.0, "vCPU %u of VM %u waited for %.3f s", v, x->vm,
		     (double)waited / 1e9);
}

/* Everybody else computes, so that it cannot run at once; but a hint is worth more than a turn in the queue. */
static void judge_latency(struct watch *w, uint32_t v, uint64_t now)
{
	const struct watched_vcpu *x = &w->vcpus[v];
	const struct baton_vm *wish = wishes(w, x->vm);
	double limit = 2 * (double)slice_of(w->trial, w->subject) + (double)wish->latency_ns + (double)NSEC_PER_MSEC;

	if (!x->woke || wish->latency_ns == 0 || now < SIM_EPOCH_NS + SETTLED_NS)
		return;
	watch_figure(w, PROPERTY_LATENCY, (double)(now - x->since_ns) / 1e6, limit / 1e6,
		     "vCPU %u of VM %u, with a latency of %.3f ms and a warp of %.3f ms asked for, waited for %.3f ms",
		     v, x->vm, (double)wish->latency_ns / 1e6, (double)wish->warp_ns / 1e6,
		     (double)(now - x->since_ns) / 1e6);
}

static void judge_shares(struct watch *w, uint64_t now)
{
	enum property p = w->handed_over ? PROPERTY_HANDOVER : PROPERTY_SHARES;
	double limit = SHARES_SLICES + (w->handed_over ? 1 : 0);
	double tolerance = w->trial->workload->pcpus > 1 ? SHARES_SMP : 0;

	for (uint32_t vm = 0; vm < WATCH_VCPUS_MAX; vm++) {
		double got = 0, ideal = 0, apart, slices;

		if (w->vms[vm].vcpus == 0)
			continue;
		for_each_vcpu(w, v)
		{
			if (w->vcpus[v].vm != vm)
				continue;
			got += running_ns(&w->vcpus[v], now);
			ideal += w->vcpus[v].ideal_ns;
		}
		apart = (got > ideal ? got - ideal : ideal - got) - tolerance * ideal;
		slices = MAX(apart, 0.0) / (double)w->longest_ns / w->vms[vm].vcpus;
		watch_figure(w, p, slices, limit,
			     "VM %u (weight %u) got %.3f ms where its share is %.3f ms: %.1f slices per vCPU apart", vm,
			     wishes(w, vm)->weight, got / 1e6, ideal / 1e6, slices);
	}
}

static void judge_caps(struct watch *w, uint64_t now)
{
	double ahead = (double)MAX(slice_of(w->trial, w->subject), CAP_AHEAD_NS);

	for (uint32_t vm = 0; vm < WATCH_VCPUS_MAX; vm++) {
		double cap, got = 0, over;

		if (w->vms[vm].vcpus == 0 || wishes(w, vm)->cap_percent == 0)
			continue;
		cap = wishes(w, vm)->cap_percent / 100.0;
		for_each_vcpu(w, v) if (w->vcpus[v].vm == vm) got += running_ns(&w->vcpus[v], now);
		over = got - cap * 1.01 * (double)(now - w->vms[vm].admitted_ns);
		watch_figure(w, PROPERTY_CAPS, over / 1e6, cap * ahead / 1e6,
			     "VM %u got %.3f ms in %.3f ms, with a cap of %u %%", vm, got / 1e6,
			     (double)(now - w->vms[vm].admitted_ns) / 1e6, wishes(w, vm)->cap_percent);
	}
}

static void judge_reservations(struct watch *w, uint64_t now)
{
	for_each_vcpu(w, v)
	{
		const struct watched_vcpu *x = &w->vcpus[v];
		const struct baton_vm *wish = wishes(w, x->vm);
		uint64_t periods;
		double missed;

		if (wish->budget_ns == 0 || wish->period_ns == 0)
			continue;
		periods = (now - x->admitted_ns) / wish->period_ns;
		if (periods < 2)
			continue;
		missed = (double)(periods - 1) - running_ns(x, now) / (double)wish->budget_ns;
		watch_figure(w, PROPERTY_RESERVATIONS, missed, 0.1,
			     "vCPU %u of VM %u got %.3f ms in %" PRIu64
			     " periods of %.3f ms, each with %.3f ms reserved",
			     v, x->vm, running_ns(x, now) / 1e6, periods, (double)wish->period_ns / 1e6,
			     (double)wish->budget_ns / 1e6);
	}
}

/* The time since the last event goes by: nothing else has changed meanwhile. */
static void pass(struct watch *w, uint64_t now)
{
	double dt = (double)(now - w->last_ns);
	uint32_t pcpus = w->trial->workload->pcpus;

	if (now == w->last_ns)
		return;
	for_each_vcpu(w, v) w->vcpus[v].ideal_ns += dt * w->vcpus[v].rate;
	for (uint32_t vm = 0; (w->judges & PROPERTY_BIT(PROPERTY_GANG)) && vm < WATCH_VCPUS_MAX; vm++) {
		uint32_t run = 0, want = 0;

		if (w->vms[vm].vcpus < 2)
			continue;
		for_each_vcpu(w, v)
		{
			run += w->vcpus[v].vm == vm && w->vcpus[v].state == BATON_VCPU_RUNNING;
			want += w->vcpus[v].vm == vm && w->vcpus[v].state != BATON_VCPU_BLOCKED;
		}
		w->vms[vm].any_ns += run * dt;
		w->vms[vm].all_ns += run >= MIN(want, pcpus) ? run * dt : 0;
	}
	if (w->judges & PROPERTY_BIT(PROPERTY_WORK))
		judge_work(w, now);
	if (w->judges & (PROPERTY_BIT(PROPERTY_SHARES) | PROPERTY_BIT(PROPERTY_HANDOVER)))
		judge_shares(w, now);
	if (w->judges & PROPERTY_BIT(PROPERTY_CAPS))
		judge_caps(w, now);
	if (w->judges & PROPERTY_BIT(PROPERTY_RESERVATIONS))
		judge_reservations(w, now);
	w->last_ns = now;
}

/* ---- the ideal ---- */

/* pCPUs for each vCPU: in proportion to weight, but at most one; what that leaves over goes to the others. */
static void set_rates(struct watch *w)
{
	double left = w->trial->workload->pcpus, weights = 0;
	bool full[WATCH_VCPUS_MAX] = {false}, again;

	for_each_vcpu(w, v) weights += wishes(w, w->vcpus[v].vm)->weight;
	do {
		again = false;
		for_each_vcpu(w, v)
		{
			double weight = wishes(w, w->vcpus[v].vm)->weight;

			if (full[v] || weight / weights * left < 1)
				continue;
			full[v] = again = true;
			w->vcpus[v].rate = 1;
			weights -= weight;
			left -= 1;
		}
	} while (again);
	for_each_vcpu(w, v) if (!full[v]) w->vcpus[v].rate = wishes(w, w->vcpus[v].vm)->weight / weights * left;
}

/* ---- events ---- */

static void started(struct watch *w, const struct sim_event *e)
{
	struct watched_vcpu *x = &w->vcpus[e->vcpu];

	if (x->state != BATON_VCPU_RUNNABLE)
		watch_fail(w, PROPERTY_VCPUS, "vCPU %u was started on pCPU %u while it was %s", e->vcpu, e->pcpu,
			   x->state == BATON_VCPU_RUNNING ? "running" : "blocked");
	if (w->running[e->pcpu] != BATON_NONE)
		watch_fail(w, PROPERTY_VCPUS, "vCPU %u was started on pCPU %u, where vCPU %u runs", e->vcpu, e->pcpu,
			   w->running[e->pcpu]);
	judge_wait(w, e->vcpu, e->time_ns);
	judge_latency(w, e->vcpu, e->time_ns);
	x->woke = false;
	w->longest_ns = MAX(w->longest_ns, e->slice_ns);
	x->state = BATON_VCPU_RUNNING;
	x->pcpu = e->pcpu;
	x->since_ns = e->time_ns;
	w->running[e->pcpu] = e->vcpu;
}

static enum baton_vcpu_state state_in_pool(const struct watch *w, uint32_t v) NO_TSA
{
	return sim_pool(w->sim)->vcpus[v].state;
}

static void stopped(struct watch *w, const struct sim_event *e)
{
	struct watched_vcpu *x = &w->vcpus[e->vcpu];

	if (x->state != BATON_VCPU_RUNNING || w->running[e->pcpu] != e->vcpu)
		watch_fail(w, PROPERTY_VCPUS, "vCPU %u stopped on pCPU %u, where it did not run", e->vcpu, e->pcpu);
	x->run_ns += e->time_ns - x->since_ns;
	w->busy_ns[e->pcpu] += e->time_ns - x->since_ns;
	w->running[e->pcpu] = BATON_NONE;
	x->state = state_in_pool(w, e->vcpu); /* blocked, also when the operator has paused it meanwhile */
	x->since_ns = e->time_ns;
}

static void digest(struct trial_result *r, uint64_t x)
{
	r->digest = (r->digest ^ x) * UINT64_C(0x9e3779b97f4a7c15);
	r->digest ^= r->digest >> 29;
}

void watch_event(void *ctx, struct sim *s, const struct sim_event *e)
{
	struct watch *w = ctx;
	uint64_t now = e->time_ns;

	if (e->vcpu != BATON_NONE && e->vcpu >= WATCH_VCPUS_MAX) {
		watch_fail(w, PROPERTY_VCPUS, "there is no vCPU %u", e->vcpu);
		return;
	}
	w->sim = s; /* the first VMs are admitted within sim_new */
	pass(w, now);
	digest(w->result, ((uint64_t)e->kind << 56) ^ ((uint64_t)e->pcpu << 32) ^ e->vcpu);
	digest(w->result, now);
	w->result->events++;
	switch (e->kind) {
	case SIM_ADMIT:
		w->vcpu_slots = MAX(w->vcpu_slots, e->vcpu + 1);
		w->vcpus[e->vcpu] = (struct watched_vcpu){.state = BATON_VCPU_BLOCKED,
							  .vm = e->vm,
							  .pcpu = BATON_NONE,
							  .since_ns = now,
							  .admitted_ns = now,
							  .unserved_ns = TIME_NEVER};
		if (w->vms[e->vm].vcpus++ == 0)
			w->vms[e->vm].admitted_ns = now;
		set_rates(w);
		break;
	case SIM_RETIRE:
		w->vcpus[e->vcpu].state = BATON_VCPU_FREE;
		w->vms[w->vcpus[e->vcpu].vm].vcpus--;
		set_rates(w);
		break;
	case SIM_WAKE:
		w->vcpus[e->vcpu].state = state_in_pool(w, e->vcpu);
		w->vcpus[e->vcpu].since_ns = now;
		w->vcpus[e->vcpu].woke = true;
		break;
	case SIM_START:
		started(w, e);
		break;
	case SIM_STOP:
		stopped(w, e);
		break;
	default:
		break;
	}
	note_unserved(w, now);
}

void watch_operator(struct watch *w)
{
	pass(w, sim_now(w->sim));
	for_each_vcpu(w, v)
	{
		if (w->vcpus[v].state == BATON_VCPU_RUNNING || w->vcpus[v].state == state_in_pool(w, v))
			continue;
		w->vcpus[v].state = state_in_pool(w, v);
		w->vcpus[v].since_ns = w->last_ns;
	}
	note_unserved(w, w->last_ns);
}

void watch_handover(struct watch *w)
{
	pass(w, sim_now(w->sim));
	w->handed_over = true;
}

/* ---- begin and end ---- */

void watch_begin(struct watch *w, const struct trial *t, const struct subject *subject, struct trial_result *result)
{
	*w = (struct watch){.trial = t,
			    .subject = subject,
			    .result = result,
			    .judges = t->judges & subject->claims,
			    .last_ns = SIM_EPOCH_NS,
			    .longest_ns = MAX(slice_of(t, subject), NSEC_PER_MSEC)};
	for (uint32_t p = 0; p < WATCH_PCPUS_MAX; p++)
		w->running[p] = BATON_NONE;
}

static void judge_times(struct watch *w, uint64_t now) NO_TSA
{
	struct pool *pool = sim_pool(w->sim);

	for_each_vcpu(w, v)
	{
		struct pool_times t = pool_vcpu_times(pool, v, now);
		uint64_t lived = now - w->vcpus[v].admitted_ns;

		if (t.run_ns + t.wait_ns + t.blocked_ns != lived || (double)t.run_ns != running_ns(&w->vcpus[v], now))
			watch_fail(w, PROPERTY_TIME,
				   "vCPU %u ran %" PRIu64 " ns (observed: %.0f), waited %" PRIu64
				   ", was blocked %" PRIu64 "; it lived %" PRIu64,
				   v, t.run_ns, running_ns(&w->vcpus[v], now), t.wait_ns, t.blocked_ns, lived);
	}
	for (uint32_t p = 0; p < w->trial->workload->pcpus; p++) {
		uint64_t busy, idle, other, seen = w->busy_ns[p];

		if (w->running[p] != BATON_NONE)
			seen += now - w->vcpus[w->running[p]].since_ns;
		pool_pcpu_times(pool, p, now, &busy, &idle, &other);
		if (busy + idle + other != now - SIM_EPOCH_NS || busy != seen)
			watch_fail(w, PROPERTY_TIME,
				   "pCPU %u was busy %" PRIu64 " ns (observed: %" PRIu64 "), idle %" PRIu64
				   ", other %" PRIu64 "; the trial took %" PRIu64,
				   p, busy, seen, idle, other, now - SIM_EPOCH_NS);
	}
}

static void judge_members(struct watch *w) NO_TSA
{
	const struct pool *pool = sim_pool(w->sim);

	for_each_vcpu(w, v) if (w->vcpus[v].state != pool->vcpus[v].state)
	    watch_fail(w, PROPERTY_VCPUS, "vCPU %u should be in state %d and is in %d", v, (int)w->vcpus[v].state,
		       (int)pool->vcpus[v].state);
	for (uint32_t p = 0; p < w->trial->workload->pcpus; p++)
		if (w->running[p] != pool->pcpus[p].running)
			watch_fail(w, PROPERTY_VCPUS, "pCPU %u should run vCPU %d and runs %d", p, (int)w->running[p],
				   (int)pool->pcpus[p].running);
}

static void judge_gangs(struct watch *w)
{
	for (uint32_t vm = 0; vm < WATCH_VCPUS_MAX; vm++) {
		const struct watched_vm *x = &w->vms[vm];

		if (x->any_ns > GANG_AT_LEAST)
			watch_figure(w, PROPERTY_GANG, 1 - x->all_ns / x->any_ns, GANG_APART,
				     "VM %u: %.0f %% of what its vCPUs ran, they ran while not all ran that could", vm,
				     100 * (1 - x->all_ns / x->any_ns));
	}
}

static void judge_core(struct watch *w) NO_TSA
{
	const struct pool *pool = sim_pool(w->sim);

	w->result->decisions = pool->decisions;
	if (pool->wrong_answers > 0)
		watch_fail(w, PROPERTY_ANSWERS, "%" PRIu64 " answers were not allowed", pool->wrong_answers);
	for (uint32_t i = 0; i < POOL_ATTACHED_MAX; i++)
		if (pool->attached[i] && pool->attached[i]->lost_alarms > 0)
			watch_fail(w, PROPERTY_ANSWERS, "more than %d alarms are pending: it piles them up",
				   ATTACHED_ALARMS_MAX);
}

void watch_end(struct watch *w)
{
	const uint32_t always = PROPERTY_BIT(PROPERTY_SOUND) | PROPERTY_BIT(PROPERTY_ANSWERS) |
				PROPERTY_BIT(PROPERTY_QUESTIONS) | PROPERTY_BIT(PROPERTY_VCPUS) |
				PROPERTY_BIT(PROPERTY_TIME);
	uint64_t now = sim_now(w->sim);

	pass(w, now);
	for_each_vcpu(w, v) if (w->vcpus[v].state == BATON_VCPU_RUNNABLE) judge_wait(w, v, now);
	judge_times(w, now);
	judge_members(w);
	judge_gangs(w);
	judge_core(w);
	for (uint32_t p = 0; p < PROPERTIES; p++)
		if (w->judges & always & PROPERTY_BIT(p))
			w->result->of[p].judged = true;
}
