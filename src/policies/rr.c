/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rr.c - round robin: everybody in turn, for one slice. The built-in default, and the plainest complete policy to read.
 *
 * Turns are numbered: a vCPU waits for its turn `turn`, and `round` is the highest turn that was ever started. Who waits
 * for the least turn comes first, among equals who has waited longest. Whoever has used up its slice, or yields, waits
 * for its next turn; who wakes up, for the one after the present round: behind everybody. Who was put aside in the
 * middle of its slice, by a kick or for a change of scheduler, keeps its turn and the rest of the slice, so that a
 * disturbance costs it nothing.
 *
 * Two things are said in turns as well:
 *
 *   - Where moving a vCPU to another pCPU is dear (more than a tenth of a slice), one that ran last elsewhere counts as
 *     STICKY turns later. So pCPUs keep their vCPUs, and nobody gets more than that ahead of anybody.
 *   - With fair_vms, VMs take turns and not vCPUs: the next turn of a vCPU is as many turns later as its VM has runnable
 *     vCPUs. Each of the n vCPUs of a VM runs in every n-th round then, and the VM once in each.
 *
 * A running vCPU is never preempted for a woken one; an idle pCPU is used at once. Parameters are read when they are
 * needed, so they hold from the next decision on.
 */
#include "baton/kit.h"
#include "baton/kit_ready.h"
#include "baton/scheduler.h"

#define PIN    offsetof(struct rr_vcpu, pin)
#define STICKY 2
#define CLAIM  8 /* turns that one who fell behind may catch up: other schedulers decided, or it could not be placed */

struct rr_pool {
	struct kit_ready ready; /* key: the turn; seq: since when it waits */
	struct kit_idle idle;
	int64_t round;
	uint32_t boosted; /* VM that has the console's focus + 1 */
};

struct rr_vcpu {
	_Alignas(64) int64_t turn; /* that it waits for, or has */
	uint64_t used_ns;	   /* of its slice; more than 0 only when it was put aside in the middle */
	uint64_t started_ns;	   /* when it was started, or taken over while it ran */
	uint64_t waits_ns;	   /* since when it waits for its turn */
	uint64_t stopped_ns;	   /* when it ran last; 0 = never */
	uint64_t service_ns;
	uint32_t runnable; /* counted as such in its VM */
	struct kit_pin pin;
};

struct rr_vm {
	uint32_t runnable; /* vCPUs, running ones included */
};

/* What rr tells its own next version, exactly. */
struct rr_tail {
	int64_t turn, round;
	uint64_t used_ns, waits_ns, stopped_ns;
};

enum { SLICE_US, FAIR_VMS };

static const struct baton_parameter rr_parameters[] = {
    [SLICE_US] = {.name = "slice_us",
		  .unit = "us",
		  .help = "How long a vCPU runs before the next one has its turn",
		  .scope = BATON_SCOPE_POOL,
		  .min = 100,
		  .max = 1000000,
		  .initial = 5000},
    [FAIR_VMS] = {.name = "fair_vms",
		  .help = "1: VMs take turns, however many vCPUs they have; 0: vCPUs do",
		  .scope = BATON_SCOPE_POOL,
		  .max = 1},
};

static struct rr_pool *rr_pool(struct baton_region *r)
{
	return baton_pool_state(r);
}

static struct rr_vcpu *rr_vcpu(struct baton_region *r, uint32_t v)
{
	return baton_vcpu_state(r, v);
}

static struct rr_vm *rr_vm(struct baton_region *r, uint32_t v)
{
	return baton_vm_state(r, baton_vcpu(r, v)->vm);
}

static uint64_t slice_ns(struct baton_region *r)
{
	return (uint64_t)baton_param(r, SLICE_US) * 1000;
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* ---- turns ---- */

static void enqueue(struct baton_region *r, uint32_t v)
{
	struct rr_vcpu *s = rr_vcpu(r, v);

	kit_ready_insert(r, &rr_pool(r)->ready, PIN, v, s->turn, s->waits_ns / 64); /* 19 h until seq wraps */
}

static void dequeue(struct baton_region *r, uint32_t v)
{
	kit_ready_remove(r, &rr_pool(r)->ready, PIN, v);
}

/* How many turns after the present one v's next one is. */
static int64_t step(struct baton_region *r, uint32_t v)
{
	return baton_param(r, FAIR_VMS) ? rr_vm(r, v)->runnable : 1;
}

/* v has had its turn. */
static void turn_is_over(struct baton_region *r, uint32_t v)
{
	struct rr_vcpu *s = rr_vcpu(r, v);

	s->turn = later(s->turn + step(r, v), rr_pool(r)->round - CLAIM);
	s->used_ns = 0;
}

static void set_runnable(struct baton_region *r, uint32_t v, uint32_t runnable)
{
	if (rr_vcpu(r, v)->runnable == runnable)
		return;
	rr_vm(r, v)->runnable += runnable - rr_vcpu(r, v)->runnable;
	rr_vcpu(r, v)->runnable = runnable;
}

/* Somebody waits who could run at once, and that pCPU would not be asked otherwise. */
static void use_idle(struct baton_region *r, uint32_t except)
{
	struct rr_pool *q = rr_pool(r);
	uint32_t p = kit_idle_wanted(r, &q->idle, &q->ready, PIN, except);

	if (p != BATON_NONE)
		baton_kick(p);
}

/* ---- events ---- */

static int32_t rr_attach(struct baton_region *r, uint64_t now)
{
	return kit_ready_init(r, &rr_pool(r)->ready);
}

static void rr_wake(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct rr_vcpu *s = rr_vcpu(r, v);
	int64_t round = rr_pool(r)->round;

	set_runnable(r, v, 1);
	/* It may have owed turns to a VM that has fewer runnable vCPUs by now. */
	if (s->turn > round + step(r, v))
		s->turn = round + step(r, v);
	s->turn = later(s->turn, round + 1);
	s->used_ns = 0;
	s->waits_ns = now;
	enqueue(r, v);
}

static void rr_sleep(struct baton_region *r, uint32_t v, uint64_t now)
{
	set_runnable(r, v, 0);
	dequeue(r, v);
}

static void runs(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	struct rr_pool *q = rr_pool(r);
	struct rr_vcpu *s = rr_vcpu(r, v);

	dequeue(r, v);
	set_runnable(r, v, 1);
	s->started_ns = now;
	q->round = later(q->round, s->turn);
	kit_idle_start(&q->idle, pcpu);
}

static void rr_start(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	runs(r, v, pcpu, now);
	use_idle(r, pcpu);
}

static void rr_stop(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why, uint64_t now)
{
	struct rr_vcpu *s = rr_vcpu(r, v);

	kit_idle_stop(&rr_pool(r)->idle, pcpu);
	s->service_ns += ran_ns;
	s->used_ns += ran_ns;
	s->stopped_ns = now;
	if ((why != BATON_STOP_PREEMPTED && why != BATON_STOP_CEASED) || s->used_ns + r->slice_min_ns >= slice_ns(r)) {
		turn_is_over(r, v); /* or so little is left of it that it counts as over */
		s->waits_ns = now;
	}
	if (why == BATON_STOP_BLOCKED) {
		set_runnable(r, v, 0);
		return;
	}
	enqueue(r, v);
	if (!baton_allowed(r, v, pcpu)) /* this pCPU is asked anyway; the others only when told */
		use_idle(r, pcpu);
}

static int32_t rr_admit(struct baton_region *r, uint32_t v, uint64_t now)
{
	uint32_t p;

	switch (baton_vcpu(r, v)->state) {
	case BATON_VCPU_RUNNING:
		rr_vcpu(r, v)->turn = rr_pool(r)->round;
		runs(r, v, baton_vcpu(r, v)->pcpu, now);
		break;
	case BATON_VCPU_RUNNABLE:
		rr_wake(r, v, now);
		p = kit_idle_for(r, &rr_pool(r)->idle, v);
		if (p != BATON_NONE)
			baton_kick(p);
		break;
	default:
		break;
	}
	return 0;
}

static void rr_retire(struct baton_region *r, uint32_t v, uint64_t now)
{
	set_runnable(r, v, 0);
	dequeue(r, v);
}

static void rr_boost(struct baton_region *r, uint32_t vm, uint64_t now)
{
	rr_pool(r)->boosted = vm + 1;
}

/* ---- questions ---- */

static struct baton_choice rr_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	uint64_t slice = slice_ns(r), used;
	int64_t away = r->migration_cost_ns < slice / 10 ? 0 : STICKY;
	uint32_t v = kit_ready_first(r, &rr_pool(r)->ready, PIN, pcpu, away, BATON_NONE, NULL);

	if (v == BATON_NONE)
		return (struct baton_choice){.vcpu = BATON_NONE};
	used = rr_vcpu(r, v)->used_ns;
	if (used + r->slice_min_ns > slice) /* the slice was made shorter meanwhile */
		return (struct baton_choice){.vcpu = v, .slice_ns = r->slice_min_ns};
	return (struct baton_choice){.vcpu = v, .slice_ns = slice - used};
}

static uint32_t rr_preempts(struct baton_region *r, uint32_t woken, uint64_t now)
{
	return kit_idle_for(r, &rr_pool(r)->idle, woken);
}

/* Round robin has turns, not priorities: 1 for a VM that runs, 0 for one that waits for its turn, else -1. */
static int32_t rr_priority(struct baton_region *r, uint32_t vm, uint64_t now)
{
	for (uint32_t p = 0; p < r->pcpu_slots; p++) {
		uint32_t v = baton_pcpu(r, p)->running;

		if (v < r->vcpu_slots && baton_vcpu(r, v)->vm == vm)
			return 1;
	}
	return ((struct rr_vm *)baton_vm_state(r, vm))->runnable > 0 ? 0 : -1;
}

static uint32_t rr_choose_console(struct baton_region *r, uint64_t now)
{
	return kit_console(r, rr_pool(r)->boosted);
}

/* ---- history ---- */

/* What has been used of v's turn by now. */
static uint64_t used_by(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct rr_vcpu *s = rr_vcpu(r, v);

	return s->used_ns + (baton_vcpu(r, v)->state == BATON_VCPU_RUNNING ? now - s->started_ns : 0);
}

static int32_t rr_give(struct baton_region *r, uint32_t v, struct baton_history *h, uint64_t now)
{
	struct rr_vcpu *s = rr_vcpu(r, v);
	uint32_t state = baton_vcpu(r, v)->state;
	uint64_t used = used_by(r, v, now), slice = slice_ns(r);
	struct rr_tail t = {.turn = s->turn,
			    .round = rr_pool(r)->round,
			    .used_ns = used,
			    .waits_ns = s->waits_ns,
			    .stopped_ns = s->stopped_ns};

	h->service_ns = s->service_ns + (used - s->used_ns);
	h->owed_ns = state == BATON_VCPU_BLOCKED || used > slice ? 0 : (int64_t)(slice - used);
	h->since_run_ns = state == BATON_VCPU_RUNNING ? 0 : now - s->stopped_ns;
	kit_history(r, v, h, "rr", 2, &t, sizeof t);
	return 0;
}

/* Own records: the very place in the order. Others: who has waited longest comes first, and service received ahead shortens
 * the first turn, to the half at most. */
static int32_t rr_take(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now)
{
	struct rr_pool *q = rr_pool(r);
	struct rr_vcpu *s = rr_vcpu(r, v);
	const struct rr_tail *t = kit_history_tail(h, "rr", 2, sizeof *t);
	uint64_t ahead = h->owed_ns < 0 ? 0 - (uint64_t)h->owed_ns : 0, half = slice_ns(r) / 2;
	int waits = kit_ready_has(&q->ready, v);

	dequeue(r, v);
	s->service_ns = h->service_ns;
	if (t != NULL) {
		q->round = later(q->round, t->round);
		s->turn = t->turn;
		s->used_ns = t->used_ns;
		s->waits_ns = t->waits_ns;
		s->stopped_ns = t->stopped_ns;
	} else {
		s->used_ns = ahead < half ? ahead : half;
		s->stopped_ns = h->since_run_ns < now ? now - h->since_run_ns : 0;
		s->waits_ns = s->stopped_ns;
	}
	if (waits)
		enqueue(r, v);
	return 0;
}

static uint32_t rr_dump(struct baton_region *r, char *buf, uint32_t size, uint64_t now)
{
	struct kit_text t = {.buf = buf, .size = size};
	struct rr_pool *q = rr_pool(r);

	kit_put(&t, "round robin");
	kit_put_field(&t, "slice_us", baton_param(r, SLICE_US));
	kit_put_field(&t, "fair_vms", baton_param(r, FAIR_VMS));
	kit_put_field(&t, "waiting", q->ready.count);
	kit_put_field(&t, "round", q->round);
	kit_put(&t, "\n");
	for (uint32_t v = 0; v < r->vcpu_slots && t.length < size; v++) {
		struct rr_vcpu *s = rr_vcpu(r, v);

		if (!kit_ready_has(&q->ready, v))
			continue;
		kit_put(&t, "  waits");
		kit_put_field(&t, "vcpu", v);
		kit_put_field(&t, "vm", baton_vcpu(r, v)->vm);
		kit_put_field(&t, "turn", s->turn - q->round);
		kit_put_field(&t, "waits_us", (int64_t)((now - s->waits_ns) / 1000));
		kit_put_field(&t, "used_us", (int64_t)(s->used_ns / 1000));
		kit_put(&t, "\n");
	}
	return t.length;
}

BATON_SCHEDULER(rr, .version = "1.1", .description = "Round robin: everybody in turn, for one slice",
		.state_version = 2, .pool_state_size = sizeof(struct rr_pool),
		.vcpu_state_size = sizeof(struct rr_vcpu), .vm_state_size = sizeof(struct rr_vm),
		.parameters = rr_parameters, .parameter_count = sizeof rr_parameters / sizeof rr_parameters[0],
		.attach = rr_attach, .admit = rr_admit, .retire = rr_retire, .wake = rr_wake, .sleep = rr_sleep,
		.start = rr_start, .stop = rr_stop, .boost = rr_boost, .choose = rr_choose, .preempts = rr_preempts,
		.priority = rr_priority, .choose_console = rr_choose_console, .give = rr_give, .take = rr_take,
		.dump = rr_dump);
