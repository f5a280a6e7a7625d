/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rr.c - round robin: everybody in turn, for one slice. The built-in default, and the plainest complete policy to read.
 *
 * One queue holds the vCPUs that are runnable and do not run. Who wakes up, yields or has used up its slice goes to the
 * tail. Who was put aside in the middle of its slice, by a kick or for a change of scheduler, goes back to the head
 * with the rest of the slice, so that a disturbance does not cost it its turn. choose takes the first that may run on
 * the pCPU.
 *
 * One exception, for hosts where moving a vCPU to another pCPU is dear (more than a tenth of a slice): among the first
 * LOOK vCPUs of the queue, one that ran last on this pCPU is preferred, unless somebody before it is owed PASSES turns
 * already. Who is passed over is owed a turn, who was taken early owes one; with PASSES owed, a vCPU is taken first
 * wherever it ran last, and a move settles it. So nobody is passed over more than twice PASSES times, and pCPUs with
 * few vCPUs draw some from those with many; but shares are equal only roughly then: that is the price of moving less.
 * Passing over is counted where it becomes a fact (start), never where it is only an answer (choose).
 *
 * A running vCPU is never preempted for a woken one; an idle pCPU is used at once. Parameters are read when they are
 * needed, so a new slice length holds from the next decision on.
 */
#include "baton/kit.h"
#include "baton/scheduler.h"

#define LINK   offsetof(struct rr_vcpu, link)
#define LOOK   8
#define PASSES 3

struct rr_pool {
	struct kit_list queue;
	uint32_t boosted;   /* VM that has the console's focus + 1 */
	int64_t head, tail; /* next places: the head counts down, the tail counts up */
};

struct rr_vcpu {
	struct kit_link link;
	int32_t passed; /* turns it is owed (others behind it were taken first) or owes (below 0) */
	uint32_t home;	/* pCPU where it was started last + 1 */
	uint32_t reserved;
	int64_t place;	     /* the queue is sorted by it */
	uint64_t used_ns;    /* of its slice; more than 0 only when it was put aside in the middle */
	uint64_t started_ns; /* when it was started, or taken over while it ran */
	uint64_t waits_ns;   /* since when it waits for its turn */
	uint64_t stopped_ns; /* when it ran last; 0 = never */
	uint64_t service_ns;
};

/* What rr tells its own next version, exactly. */
struct rr_tail {
	int64_t place, head, tail;
	uint64_t used_ns, waits_ns, stopped_ns;
	int32_t passed;
	uint32_t home;
};

enum { SLICE_US };

static const struct baton_parameter rr_parameters[] = {
    [SLICE_US] = {.name = "slice_us",
		  .unit = "us",
		  .help = "How long a vCPU runs before the next one has its turn",
		  .scope = BATON_SCOPE_POOL,
		  .min = 100,
		  .max = 1000000,
		  .initial = 5000},
};

static struct rr_pool *rr_pool(struct baton_region *r)
{
	return baton_pool_state(r);
}

static struct rr_vcpu *rr_vcpu(struct baton_region *r, uint32_t v)
{
	return baton_vcpu_state(r, v);
}

static uint64_t slice_ns(struct baton_region *r)
{
	return (uint64_t)baton_param(r, SLICE_US) * 1000;
}

static int idle(struct baton_region *r, uint32_t pcpu)
{
	return baton_pcpu(r, pcpu)->running == BATON_NONE;
}

/* ---- the queue ---- */

static void to_tail(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct rr_pool *q = rr_pool(r);
	struct rr_vcpu *s = rr_vcpu(r, v);

	s->used_ns = 0;
	s->waits_ns = now;
	s->place = q->tail++;
	kit_list_append(r, &q->queue, LINK, v);
}

static void to_head(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct rr_pool *q = rr_pool(r);
	struct rr_vcpu *s = rr_vcpu(r, v);
	uint32_t first = kit_list_first(&q->queue);

	s->waits_ns = first == BATON_NONE ? now : rr_vcpu(r, first)->waits_ns;
	s->place = --q->head;
	kit_list_insert(r, &q->queue, LINK, BATON_NONE, v);
}

/* The next vCPU in the queue that may run on pcpu: from v on, v included. */
static uint32_t allowed_from(struct baton_region *r, uint32_t v, uint32_t pcpu)
{
	while (v != BATON_NONE && !baton_allowed(r, v, pcpu))
		v = kit_list_next(r, LINK, v);
	return v;
}

static uint32_t first_for(struct baton_region *r, uint32_t pcpu)
{
	return allowed_from(r, kit_list_first(&rr_pool(r)->queue), pcpu);
}

static uint32_t next_for(struct baton_region *r, uint32_t v, uint32_t pcpu)
{
	return allowed_from(r, kit_list_next(r, LINK, v), pcpu);
}

/* v is taken for pcpu: those before it are passed over once more. The same walk as in pick. */
static void count_passes(struct baton_region *r, uint32_t v, uint32_t pcpu)
{
	uint32_t u = first_for(r, pcpu);
	int32_t early = 0;
	struct rr_vcpu *s = rr_vcpu(r, v);

	if (!s->link.on)
		return;
	for (; early < LOOK && u != BATON_NONE && u != v; early++, u = next_for(r, u, pcpu))
		rr_vcpu(r, u)->passed++;
	s->passed -= early;
	if (s->home != pcpu + 1)
		s->passed = 0; /* moved: what it was owed at home is paid */
	else if (s->passed < -PASSES)
		s->passed = -PASSES; /* so that nobody is passed over more than twice PASSES times */
}

static uint32_t pick(struct baton_region *r, uint32_t pcpu)
{
	uint32_t first = first_for(r, pcpu), v = first;

	if (r->migration_cost_ns < slice_ns(r) / 10)
		return first;
	for (int32_t i = 0; i < LOOK && v != BATON_NONE; i++, v = next_for(r, v, pcpu)) {
		uint32_t home = rr_vcpu(r, v)->home;

		if (home == pcpu + 1 || (home == 0 && v == first))
			return v;
		if (rr_vcpu(r, v)->passed >= PASSES)
			break;
	}
	return first;
}

/* Where a vCPU that waits could run at once: the pCPU where it ran last, else any idle one. */
static uint32_t idle_for(struct baton_region *r, uint32_t v)
{
	uint32_t last = baton_vcpu(r, v)->pcpu;

	if (last < r->pcpu_slots && idle(r, last) && baton_allowed(r, v, last))
		return last;
	for (uint32_t p = 0; p < r->pcpu_slots; p++)
		if (idle(r, p) && baton_allowed(r, v, p))
			return p;
	return BATON_NONE;
}

/* Two vCPUs that wake together are both shown to the same idle pCPU. So whenever one starts, the next idle pCPU is
 * asked on behalf of those who still wait. */
static void use_idle(struct baton_region *r, uint32_t except)
{
	if (rr_pool(r)->queue.count == 0)
		return;
	for (uint32_t p = 0; p < r->pcpu_slots; p++) {
		if (p == except || !idle(r, p) || first_for(r, p) == BATON_NONE)
			continue;
		baton_kick(p);
		return;
	}
}

/* ---- events ---- */

static int32_t rr_admit(struct baton_region *r, uint32_t v, uint64_t now)
{
	uint32_t state = baton_vcpu(r, v)->state, p;

	rr_vcpu(r, v)->home = baton_vcpu(r, v)->pcpu + 1;
	if (state == BATON_VCPU_RUNNING)
		rr_vcpu(r, v)->started_ns = now;
	if (state != BATON_VCPU_RUNNABLE)
		return 0;
	to_tail(r, v, now);
	p = idle_for(r, v);
	if (p != BATON_NONE)
		baton_kick(p);
	return 0;
}

static void rr_retire(struct baton_region *r, uint32_t v, uint64_t now)
{
	kit_list_remove(r, &rr_pool(r)->queue, LINK, v);
}

static void rr_wake(struct baton_region *r, uint32_t v, uint64_t now)
{
	rr_vcpu(r, v)->passed = 0;
	to_tail(r, v, now);
}

static void rr_sleep(struct baton_region *r, uint32_t v, uint64_t now)
{
	kit_list_remove(r, &rr_pool(r)->queue, LINK, v);
}

static void rr_start(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	count_passes(r, v, pcpu);
	kit_list_remove(r, &rr_pool(r)->queue, LINK, v);
	rr_vcpu(r, v)->home = pcpu + 1;
	rr_vcpu(r, v)->started_ns = now;
	use_idle(r, pcpu);
}

static void rr_stop(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why, uint64_t now)
{
	struct rr_vcpu *s = rr_vcpu(r, v);

	s->service_ns += ran_ns;
	s->used_ns += ran_ns;
	s->stopped_ns = now;
	switch (why) {
	case BATON_STOP_BLOCKED:
		return;
	case BATON_STOP_PREEMPTED:
	case BATON_STOP_CEASED:
		if (s->used_ns + r->slice_min_ns < slice_ns(r)) {
			to_head(r, v, now);
			break;
		}
		to_tail(r, v, now); /* so little is left that its turn is over */
		break;
	default:
		to_tail(r, v, now);
	}
	if (!baton_allowed(r, v, pcpu)) /* this pCPU is asked anyway; the others only when told */
		use_idle(r, pcpu);
}

static void rr_boost(struct baton_region *r, uint32_t vm, uint64_t now)
{
	rr_pool(r)->boosted = vm + 1;
}

/* ---- questions ---- */

static struct baton_choice rr_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	uint32_t v = pick(r, pcpu);
	uint64_t slice = slice_ns(r), used;

	if (v == BATON_NONE)
		return (struct baton_choice){.vcpu = BATON_NONE};
	used = rr_vcpu(r, v)->used_ns;
	if (used + r->slice_min_ns > slice) /* the slice was made shorter meanwhile */
		return (struct baton_choice){.vcpu = v, .slice_ns = r->slice_min_ns};
	return (struct baton_choice){.vcpu = v, .slice_ns = slice - used};
}

static uint32_t rr_preempts(struct baton_region *r, uint32_t woken, uint64_t now)
{
	return idle_for(r, woken);
}

/* Round robin has turns, not priorities: 0 for a VM that runs or is next, -n when n others come first. */
static int32_t rr_priority(struct baton_region *r, uint32_t vm, uint64_t now)
{
	int32_t turns = 0;
	uint32_t v;

	for (uint32_t p = 0; p < r->pcpu_slots; p++) {
		v = baton_pcpu(r, p)->running;
		if (v < r->vcpu_slots && baton_vcpu(r, v)->vm == vm)
			return 0;
	}
	for (v = kit_list_first(&rr_pool(r)->queue); v != BATON_NONE; v = kit_list_next(r, LINK, v)) {
		if (baton_vcpu(r, v)->vm == vm)
			break;
		turns++;
	}
	return -turns;
}

static uint32_t rr_choose_console(struct baton_region *r, uint64_t now)
{
	uint32_t vm = rr_pool(r)->boosted - 1;

	if (vm < r->vm_slots && baton_vm(r, vm)->used)
		return vm;
	for (vm = 0; vm < r->vm_slots; vm++)
		if (baton_vm(r, vm)->used && baton_vm(r, vm)->service)
			return vm;
	return BATON_NONE;
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
	struct rr_pool *q = rr_pool(r);
	struct rr_tail *t = (struct rr_tail *)(void *)h->tail;
	uint32_t state = baton_vcpu(r, v)->state;
	uint64_t used = used_by(r, v, now), slice = slice_ns(r);

	h->version = BATON_HISTORY_VERSION;
	h->weight = baton_weight(r, v);
	h->service_ns = s->service_ns + (used - s->used_ns);
	h->owed_ns = state == BATON_VCPU_BLOCKED || used > slice ? 0 : (int64_t)(slice - used);
	h->since_run_ns = state == BATON_VCPU_RUNNING ? 0 : now - s->stopped_ns;
	h->last_pcpu = baton_vcpu(r, v)->pcpu;
	*t = (struct rr_tail){.place = s->place,
			      .head = q->head,
			      .tail = q->tail,
			      .used_ns = used,
			      .waits_ns = s->waits_ns,
			      .stopped_ns = s->stopped_ns,
			      .passed = s->passed,
			      .home = s->home};
	h->tail_size = sizeof *t;
	h->tail_format = 1;
	__builtin_memcpy(h->policy, "rr", 3);
	return 0;
}

/* Own records: the very place in the queue. */
static void take_own(struct baton_region *r, uint32_t v, const struct rr_tail *t)
{
	struct rr_pool *q = rr_pool(r);
	struct rr_vcpu *s = rr_vcpu(r, v);
	uint32_t after;

	q->head = t->head < q->head ? t->head : q->head;
	q->tail = t->tail > q->tail ? t->tail : q->tail;
	s->used_ns = t->used_ns;
	s->waits_ns = t->waits_ns;
	s->stopped_ns = t->stopped_ns;
	s->passed = t->passed;
	s->home = t->home;
	s->place = t->place;
	if (!s->link.on)
		return;
	kit_list_remove(r, &q->queue, LINK, v);
	after = kit_list_last(&q->queue);
	while (after != BATON_NONE && rr_vcpu(r, after)->place > s->place)
		after = kit_list_prev(r, LINK, after);
	kit_list_insert(r, &q->queue, LINK, after, v);
}

/* Records of other policies: who has waited longest comes first, and service received ahead shortens the first turn, to
 * the half at most. */
static void take_other(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now)
{
	struct rr_pool *q = rr_pool(r);
	struct rr_vcpu *s = rr_vcpu(r, v);
	uint64_t ahead = h->owed_ns < 0 ? 0 - (uint64_t)h->owed_ns : 0, half = slice_ns(r) / 2;
	uint32_t after;

	s->used_ns = ahead < half ? ahead : half;
	s->stopped_ns = h->since_run_ns < now ? now - h->since_run_ns : 0;
	if (!s->link.on)
		return;
	s->waits_ns = s->stopped_ns;
	kit_list_remove(r, &q->queue, LINK, v);
	after = kit_list_last(&q->queue);
	while (after != BATON_NONE && rr_vcpu(r, after)->waits_ns > s->waits_ns)
		after = kit_list_prev(r, LINK, after);
	s->place = after == BATON_NONE ? --q->head : rr_vcpu(r, after)->place;
	kit_list_insert(r, &q->queue, LINK, after, v);
}

static int32_t rr_take(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now)
{
	int own =
	    __builtin_memcmp(h->policy, "rr", 3) == 0 && h->tail_format == 1 && h->tail_size == sizeof(struct rr_tail);

	rr_vcpu(r, v)->service_ns = h->service_ns;
	if (own)
		take_own(r, v, (const struct rr_tail *)(const void *)h->tail);
	else
		take_other(r, v, h, now);
	return 0;
}

static uint32_t rr_dump(struct baton_region *r, char *buf, uint32_t size, uint64_t now)
{
	struct kit_text t = {.buf = buf, .size = size};
	struct rr_pool *q = rr_pool(r);

	kit_put(&t, "round robin");
	kit_put_field(&t, "slice_us", baton_param(r, SLICE_US));
	kit_put_field(&t, "waiting", q->queue.count);
	kit_put(&t, "\n");
	for (uint32_t v = kit_list_first(&q->queue); v != BATON_NONE && t.length < size;
	     v = kit_list_next(r, LINK, v)) {
		struct rr_vcpu *s = rr_vcpu(r, v);

		kit_put(&t, "  vcpu");
		kit_put_field(&t, "n", v);
		kit_put_field(&t, "vm", baton_vcpu(r, v)->vm);
		kit_put_field(&t, "waits_us", (int64_t)((now - s->waits_ns) / 1000));
		kit_put_field(&t, "used_us", (int64_t)(s->used_ns / 1000));
		kit_put_field(&t, "passed", s->passed);
		kit_put(&t, "\n");
	}
	return t.length;
}

BATON_SCHEDULER(rr, .version = "1.0", .description = "Round robin: everybody in turn, for one slice",
		.state_version = 1, .pool_state_size = sizeof(struct rr_pool),
		.vcpu_state_size = sizeof(struct rr_vcpu), .parameters = rr_parameters,
		.parameter_count = sizeof rr_parameters / sizeof rr_parameters[0], .admit = rr_admit,
		.retire = rr_retire, .wake = rr_wake, .sleep = rr_sleep, .start = rr_start, .stop = rr_stop,
		.boost = rr_boost, .choose = rr_choose, .preempts = rr_preempts, .priority = rr_priority,
		.choose_console = rr_choose_console, .give = rr_give, .take = rr_take, .dump = rr_dump);
