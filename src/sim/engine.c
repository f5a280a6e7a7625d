/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.c - virtual time: the next thing that is due, one after the other, and what the pool is told of it.
 *
 * Due are: a vCPU's own timers (it wakes, its phase ends, its VM comes or goes), an alarm of a scheduler, a pCPU (the
 * slice or the work of who runs there ends, or a kick arrives), a sample for the statistics, a planned change. At equal
 * times they come in this order, and pCPUs and vCPUs by number: so a run depends on its inputs alone.
 *
 * The engine plays the part of the monitor's run loops (src/host/loop.c): each event takes the pool's lock as a run loop
 * would, tells what has happened and asks. The pool cannot tell the difference.
 *
 * A decision is meant to cost well under a microsecond: no allocation, no input or output, two small heaps.
 */
#include <inttypes.h>
#include <string.h>

#include "sched/loader/image.h"
#include "sim/internal.h"

/* So many events at one instant, per pCPU and vCPU, are a policy that chases its own tail. */
#define INSTANT_EVENTS UINT64_C(1000)

/* ---- the host's side ---- */

static uint64_t host_now(struct sched_host *h)
{
	struct sim *s = container_of(h, struct sim, host);

	if (s->change.running)
		change_clock(s);
	return s->now_ns;
}

static void host_kick(struct sched_host *h, uint32_t pcpu)
{
	struct sim *s = container_of(h, struct sim, host);
	uint64_t at = s->now_ns + s->workload->kick_ns;

	if (at >= s->pcpus[pcpu].kick_ns)
		return;
	s->pcpus[pcpu].kick_ns = at;
	engine_set_pcpu(s, pcpu);
}

static const struct sched_host_ops host_ops = {
    .now = host_now, .kick = host_kick, .flush = change_flush, .await_rest = change_await_rest};

uint64_t engine_enter(struct sim *s)
{
	return pool_enter(s->pool);
}

void engine_leave(struct sim *s) NO_TSA
{
	/* Whichever pCPU's loop would look after the alarm, here it is a timer of its own: nobody has to be kicked. */
	(void)pool_alarm_for(s->pool, s->pool->alarm_pcpu);
	s->alarm_ns = s->pool->next_alarm_ns;
	pool_leave(s->pool);
}

void engine_tell(struct sim *s, const struct sim_event *event)
{
	if (s->observer)
		s->observer(s->ctx, s, event);
}

/* ---- timers ---- */

void engine_set_pcpu(struct sim *s, uint32_t pcpu)
{
	const struct sim_pcpu *c = &s->pcpus[pcpu];
	uint64_t due = c->kick_ns;

	if (c->vcpu != BATON_NONE) {
		const struct sim_vcpu *v = &s->vcpus[c->vcpu];

		due = MIN(due, c->slice_end_ns);
		if (v->left_ns != TIME_NEVER)
			due = MIN(due, v->from_ns + v->left_ns);
	}
	queue_set(&s->pcpu_queue, pcpu, due);
}

void engine_set_vcpu(struct sim *s, struct sim_vcpu *v)
{
	queue_set(&s->vcpu_queue, v->number, MIN(v->wake_ns, MIN(v->phase_end_ns, v->stop_ns)));
}

/* ---- pCPUs ---- */

/* Books the work that v, which runs, has done by now. */
static void progress(struct sim *s, struct sim_vcpu *v)
{
	uint64_t done = s->now_ns > v->from_ns ? s->now_ns - v->from_ns : 0;

	if (v->step == STEP_SPIN)
		v->spin_ns += done;
	if (v->left_ns != TIME_NEVER)
		v->left_ns -= MIN(done, v->left_ns);
	v->from_ns = MAX(v->from_ns, s->now_ns);
}

static enum requester_kind who_asks(enum baton_stop why)
{
	switch (why) {
	case BATON_STOP_SLICE:
		return ASKED_BY_TIMER;
	case BATON_STOP_BLOCKED:
	case BATON_STOP_YIELDED:
	case BATON_STOP_IO:
		return ASKED_BY_GUEST_VM;
	case BATON_STOP_PREEMPTED:
	case BATON_STOP_CEASED:
		break;
	}
	return ASKED_BY_MONITOR;
}

/* v begins on the pCPU that has just chosen it. */
static void started(struct sim *s, uint32_t pcpu, struct sim_vcpu *v, uint64_t slice_ns)
{
	struct sim_pcpu *c = &s->pcpus[pcpu];
	struct entry_stats *e = s->stats ? &s->stats->entries[v->entry] : NULL;
	uint64_t cost_ns = c->last == v->number ? 0 : s->workload->switch_ns;
	struct sim_event event;

	if (e) {
		hist_add(&e->wait, s->now_ns - v->ready_ns);
		if (v->woke_ns != 0)
			hist_add(&e->latency, s->now_ns - v->woke_ns);
	}
	if (v->last != pcpu && v->last != UINT16_MAX)
		cost_ns += s->workload->migration_ns;
	v->last = (uint16_t)pcpu;
	v->woke_ns = 0;
	v->pcpu = pcpu;
	v->from_ns = s->now_ns + cost_ns;
	c->vcpu = c->last = v->number;
	c->slice_end_ns = s->now_ns + slice_ns;
	behaviour_started(s, v);
	if (!s->observer)
		return;
	event = event_of(s, SIM_START, v);
	event.pcpu = pcpu;
	event.slice_ns = slice_ns;
	engine_tell(s, &event);
}

/* Who ran on pcpu stops; the lock is held. */
static void stop_vcpu(struct sim *s, uint32_t pcpu, enum baton_stop why, uint64_t now) NO_TSA
{
	struct sim_pcpu *c = &s->pcpus[pcpu];
	struct sim_vcpu *v = &s->vcpus[c->vcpu];
	uint64_t since = s->pool->vcpus[v->id].since_ns;
	struct sim_event event;

	pool_stop(s->pool, pcpu, why, now);
	c->vcpu = BATON_NONE;
	v->pcpu = BATON_NONE;
	v->ready_ns = now;
	if (s->stats)
		stats_ran(s->stats, v->number, pcpu, since, now);
	if (!s->observer)
		return;
	event = event_of(s, SIM_STOP, v);
	event.pcpu = pcpu;
	event.why = why;
	event.ran_ns = now - since;
	engine_tell(s, &event);
}

/* A decision: who runs on pcpu next? */
static void ask(struct sim *s, uint32_t pcpu, enum requester_kind by, uint64_t now) NO_TSA
{
	struct sim_pcpu *c = &s->pcpus[pcpu];
	struct feedback fb;

	/* A kick on its way is answered by this: what it was sent for is known to the scheduler already. */
	c->kick_ns = TIME_NEVER;
	pool_ask(s->pool, pcpu, by, now, &fb);
	if (fb.owner != BATON_NONE) {
		started(s, pcpu, s->pool->vcpus[fb.owner].cookie, fb.slice_ns);
	} else if (s->observer) {
		struct sim_event event = event_of(s, SIM_IDLE, NULL);

		event.pcpu = pcpu;
		engine_tell(s, &event);
	}
}

/* Who runs on pcpu, if anybody, stops because of `why`; what comes next? */
static void decide(struct sim *s, uint32_t pcpu, enum baton_stop why, bool spun) NO_TSA
{
	struct sim_pcpu *c = &s->pcpus[pcpu];
	enum requester_kind by = ASKED_BY_MONITOR;
	uint64_t now = engine_enter(s);

	if (c->vcpu != BATON_NONE) {
		if (spun) {
			struct sim_event event = event_of(s, SIM_SPIN, &s->vcpus[c->vcpu]);

			pool_spin(s->pool, s->vcpus[c->vcpu].id, now);
			engine_tell(s, &event);
		}
		by = who_asks(why);
		stop_vcpu(s, pcpu, s->pool->cease && why != BATON_STOP_BLOCKED ? BATON_STOP_CEASED : why, now);
	}
	c->resting = s->pool->cease;
	if (c->resting) {
		c->kick_ns = TIME_NEVER;
		pool_cease_arrive(s->pool, pcpu, now);
	} else {
		ask(s, pcpu, by, now);
	}
	engine_leave(s);
	engine_set_pcpu(s, pcpu);
}

void engine_stop_running(struct sim *s, struct sim_vcpu *v, enum baton_stop why)
{
	uint32_t pcpu = v->pcpu;

	progress(s, v);
	decide(s, pcpu, why, false);
}

static void pcpu_due(struct sim *s, uint32_t pcpu)
{
	struct sim_pcpu *c = &s->pcpus[pcpu];
	enum act act = ACT_GO_ON;
	struct sim_vcpu *v;

	if (c->resting) { /* it will ask in any case when it goes on */
		c->kick_ns = TIME_NEVER;
		engine_set_pcpu(s, pcpu);
		return;
	}
	if (c->vcpu == BATON_NONE) {
		decide(s, pcpu, BATON_STOP_PREEMPTED, false);
		return;
	}
	v = &s->vcpus[c->vcpu];
	progress(s, v);
	if (v->left_ns == 0)
		act = behaviour_next(s, v);
	switch (act) {
	case ACT_GO_ON:
		if (c->slice_end_ns <= s->now_ns)
			decide(s, pcpu, BATON_STOP_SLICE, false);
		else if (c->kick_ns <= s->now_ns)
			decide(s, pcpu, BATON_STOP_PREEMPTED, false);
		else
			engine_set_pcpu(s, pcpu);
		break;
	case ACT_HALT:
		engine_set_vcpu(s, v);
		decide(s, pcpu, BATON_STOP_BLOCKED, false);
		break;
	case ACT_YIELD:
		decide(s, pcpu, BATON_STOP_YIELDED, false);
		break;
	case ACT_IO:
		decide(s, pcpu, BATON_STOP_IO, false);
		break;
	case ACT_SPIN:
		decide(s, pcpu, BATON_STOP_YIELDED, true);
		break;
	}
}

/* ---- vCPUs ---- */

static bool blocked(struct sim *s, const struct sim_vcpu *v) NO_TSA
{
	return s->pool->vcpus[v->id].state == BATON_VCPU_BLOCKED;
}

static void wake(struct sim *s, struct sim_vcpu *v) NO_TSA
{
	uint64_t now = engine_enter(s);

	v->ready_ns = v->woke_ns = v->burst_ns = now;
	pool_wake(s->pool, v->id, v->does->kind == BEHAVIOUR_PERIODIC ? ASKED_BY_TIMER : ASKED_BY_DEVICE, now);
	if (s->observer) {
		struct sim_event event = event_of(s, SIM_WAKE, v);

		engine_tell(s, &event);
	}
	engine_leave(s);
}

/* Another behaviour begins, whatever v is doing. */
static void change_phase(struct sim *s, struct sim_vcpu *v)
{
	bool was_blocked = blocked(s, v), wants;

	if (v->pcpu != BATON_NONE)
		progress(s, v);
	wants = behaviour_next_phase(s, v);
	if (was_blocked && wants)
		wake(s, v);
	else if (!was_blocked && !wants) {
		v->step = STEP_HALTING; /* only who runs can halt */
		v->left_ns = 1;
	}
	if (v->pcpu != BATON_NONE)
		engine_set_pcpu(s, v->pcpu);
}

static void vcpu_due(struct sim *s, struct sim_vcpu *v)
{
	if (v->id == BATON_NONE) {
		queue_set(&s->vcpu_queue, v->number, TIME_NEVER);
		s->failed = members_start(s, v->vm, &s->failure);
		return;
	}
	if (v->stop_ns <= s->now_ns) {
		members_stop(s, v->vm);
		return;
	}
	if (v->phase_end_ns <= s->now_ns) {
		change_phase(s, v);
	} else if (blocked(s, v)) {
		behaviour_woken(s, v);
		wake(s, v);
	} else {
		v->wake_ns = TIME_NEVER; /* cannot be: it is set for those who halt */
	}
	engine_set_vcpu(s, v);
}

static void alarm_due(struct sim *s) NO_TSA
{
	uint64_t now = engine_enter(s);
	struct sim_event event = event_of(s, SIM_TICK, NULL);

	pool_tick(s->pool, s->pool->alarm_pcpu, now);
	engine_tell(s, &event);
	engine_leave(s);
}

static void sample_due(struct sim *s) NO_TSA
{
	engine_enter(s);
	stats_sample(s->stats, s);
	engine_leave(s);
}

/* ---- time ---- */

static uint64_t next_due(const struct sim *s)
{
	uint64_t t = MIN(queue_time(&s->vcpu_queue), queue_time(&s->pcpu_queue));

	t = MIN(t, s->alarm_ns);
	if (s->change.planned)
		t = MIN(t, s->change.at_ns);
	return s->stats ? MIN(t, stats_due(s->stats)) : t;
}

/* Who is woken next has slept long: its memory is cold. It is due in some events' time. */
static void fetch_next(const struct sim *s) NO_TSA
{
	const struct sim_vcpu *v;

	if (s->vcpu_queue.count == 0)
		return;
	v = &s->vcpus[queue_first(&s->vcpu_queue)];
	__builtin_prefetch(v, 1);
	__builtin_prefetch(&v->wake_ns, 1);
	__builtin_prefetch(&s->pool->vcpus[queue_first(&s->vcpu_queue)], 1); /* its number there, nearly always */
}

/* One event at time t, which is due then. */
static void one_event(struct sim *s, uint64_t t)
{
	if (t > s->now_ns) {
		s->now_ns = t;
		s->instant_events = 0;
	}
	s->events++;
	if (s->instant_events++ > INSTANT_EVENTS * (s->vcpu_count + s->workload->pcpus)) {
		s->failed = error_set(&s->failure, -ELOOP,
				      "at %.9f s the simulation stands still: scheduler %s asks for ever new decisions "
				      "in one instant (kicks or alarms that are due at once)",
				      (double)(s->now_ns - SIM_EPOCH_NS) / 1e9, s->pool->attached[0]->ops->name);
		return;
	}
	if (queue_time(&s->vcpu_queue) <= t) {
		vcpu_due(s, &s->vcpus[queue_first(&s->vcpu_queue)]);
		fetch_next(s);
	} else if (s->alarm_ns <= t) {
		alarm_due(s);
	} else if (queue_time(&s->pcpu_queue) <= t) {
		s->kicks += s->pcpus[queue_first(&s->pcpu_queue)].kick_ns <= t;
		pcpu_due(s, queue_first(&s->pcpu_queue));
	} else if (s->stats && stats_due(s->stats) <= t) {
		sample_due(s);
	} else {
		change_now(s);
	}
}

bool engine_step(struct sim *s, uint64_t until)
{
	uint64_t t;

	if (s->stopped || s->failed < 0)
		return false;
	t = next_due(s);
	if (t > until)
		return false;
	one_event(s, t);
	return true;
}

void engine_advance(struct sim *s, uint64_t until)
{
	while (engine_step(s, until))
		;
	if (!s->stopped && s->failed >= 0)
		s->now_ns = MAX(s->now_ns, until);
}

int sim_run(struct sim *s, uint64_t until, struct error *e)
{
	engine_advance(s, MIN(until, s->end_ns));
	if (s->failed < 0)
		return error_set(e, s->failed, "%s", s->failure.text);
	return s->stopped ? error_set(e, -ECANCELED, "the simulation was stopped") : 0;
}

bool sim_step(struct sim *s)
{
	return engine_step(s, s->end_ns);
}

void sim_stop(struct sim *s)
{
	s->stopped = true;
}

/* ---- life ---- */

static int pool_for(struct sim *s, const struct sim_config *config, struct error *e) NO_TSA
{
	const struct workload *w = config->workload;
	int r = pool_new(&(struct pool_config){.host = &s->host,
					       .pcpus = w->pcpus,
					       .vm_slots = s->vm_count,
					       .vcpu_slots = s->vcpu_count,
					       .slice_min_ns = w->slice_min_ns,
					       .slice_max_ns = w->slice_max_ns,
					       .migration_cost_ns = w->migration_ns,
					       .default_scheduler = config->scheduler},
			 &s->pool, e);
	uint64_t now;

	if (r < 0)
		return r;
	now = pool_enter(s->pool);
	for (uint32_t i = 0; i < config->param_count && r >= 0; i++)
		r = attached_set(s->pool->attached[0], BATON_NONE, config->params[i].name, config->params[i].value, now,
				 e);
	pool_leave(s->pool);
	return r;
}

static int prepare(struct sim *s, const struct sim_config *config, struct error *e)
{
	const struct workload *w = config->workload;

	s->pcpus = calloc(w->pcpus, sizeof *s->pcpus);
	s->vcpus = aligned_alloc(_Alignof(struct sim_vcpu), s->vcpu_count * sizeof *s->vcpus);
	s->vms = calloc(s->vm_count, sizeof *s->vms);
	if (!s->pcpus || !s->vcpus || !s->vms || queue_init(&s->pcpu_queue, w->pcpus) < 0 ||
	    queue_init(&s->vcpu_queue, s->vcpu_count) < 0)
		return error_set(e, -ENOMEM, "no memory for a simulation of %u vCPUs", s->vcpu_count);
	for (uint32_t i = 0; i < w->pcpus; i++) {
		s->pcpus[i] = (struct sim_pcpu){.vcpu = BATON_NONE, .last = BATON_NONE, .kick_ns = SIM_EPOCH_NS};
		engine_set_pcpu(s, i); /* at the beginning each asks once */
	}
	if (!config->without_stats) {
		s->stats = stats_new(s, config->timeline_from_ns, config->timeline_to_ns, config->timeline_max);
		if (!s->stats)
			return error_set(e, -ENOMEM, "no memory for the statistics of %u vCPUs", s->vcpu_count);
	}
	return pool_for(s, config, e);
}

int sim_new(const struct sim_config *config, struct sim **ret, struct error *e)
{
	const struct workload *w = config->workload;
	struct sim *s;
	int r = workload_check(w, e);

	if (r < 0)
		return r;
	s = calloc(1, sizeof *s);
	if (!s)
		return error_set(e, -ENOMEM, "no memory for a simulation");
	s->host.ops = &host_ops;
	s->workload = w;
	s->seed = config->seed ? config->seed : w->seed;
	s->now_ns = SIM_EPOCH_NS;
	s->end_ns = SIM_EPOCH_NS + w->duration_ns;
	s->alarm_ns = TIME_NEVER;
	s->observer = config->observer;
	s->ctx = config->ctx;
	s->vcpu_count = workload_vcpus(w);
	s->vm_count = workload_vms(w);
	s->image = config->image ? image_ref(config->image) : NULL;
	r = prepare(s, config, e);
	if (r >= 0)
		r = members_new(s, e);
	if (r < 0) {
		sim_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct sim *sim_free(struct sim *s)
{
	if (!s)
		return NULL;
	pool_free(s->pool);
	if (s->image)
		image_unref(s->image);
	stats_free(s->stats);
	queue_release(&s->pcpu_queue);
	queue_release(&s->vcpu_queue);
	free(s->pcpus);
	free(s->vcpus);
	free(s->vms);
	free(s);
	return NULL;
}

/* ---- looking ---- */

uint64_t sim_now(const struct sim *s)
{
	return s->now_ns;
}

uint64_t sim_end(const struct sim *s)
{
	return s->end_ns;
}

uint64_t sim_seed(const struct sim *s)
{
	return s->seed;
}

uint64_t sim_events(const struct sim *s)
{
	return s->events;
}

struct pool *sim_pool(struct sim *s)
{
	return s->pool;
}

const struct workload *sim_workload(const struct sim *s)
{
	return s->workload;
}

struct sim_stats *sim_stats(struct sim *s)
{
	return s->stats;
}

static const struct sim_vcpu *find(struct sim *s, uint32_t v) NO_TSA
{
	if (v >= s->pool->vcpu_slots || s->pool->vcpus[v].state == BATON_VCPU_FREE)
		return NULL;
	return s->pool->vcpus[v].cookie;
}

uint32_t sim_entry_of(struct sim *s, uint32_t v)
{
	const struct sim_vcpu *vcpu = find(s, v);

	return vcpu ? vcpu->entry : BATON_NONE;
}

uint64_t sim_backlog_ns(struct sim *s, uint32_t v)
{
	const struct sim_vcpu *vcpu = find(s, v);
	uint64_t done;

	if (!vcpu || blocked(s, vcpu))
		return 0;
	if (vcpu->pcpu == BATON_NONE || vcpu->left_ns == TIME_NEVER)
		return vcpu->left_ns;
	done = s->now_ns > vcpu->from_ns ? s->now_ns - vcpu->from_ns : 0;
	return vcpu->left_ns - MIN(done, vcpu->left_ns);
}

uint64_t sim_jobs(struct sim *s, uint32_t v)
{
	const struct sim_vcpu *vcpu = find(s, v);

	return vcpu ? vcpu->jobs : 0;
}
