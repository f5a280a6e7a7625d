/* SPDX-License-Identifier: Apache-2.0 */
/*
 * partition.c - a static map from vCPUs to pCPUs: the null scheduler. No interference, no migration, hardly a decision.
 *
 * Whoever is admitted gets a place on one pCPU, its home, and runs there only: on the pCPU where it ran last if a place
 * is free, else on the allowed one with the fewest places taken. A pCPU has per_pcpu places, one by default: then who
 * wakes up runs at once, for as long as it likes, and a pCPU is idle while its vCPU sleeps. Whoever finds no place is
 * refused; nobody is moved to make room, so what fits depends on the order of admission where affinities overlap.
 *
 * Those who share a pCPU take turns of slice_us, in the order of a queue per pCPU; as in rr.c, who was put aside in the
 * middle of its turn goes back to the head with the rest of it.
 *
 * Facts may differ from the map while another scheduler decides: a vCPU that stops away from home goes home, and who
 * runs on somebody else's pCPU is preempted there by those who live there. A vCPU whose affinity changes so that it
 * cannot stay gets another home when it waits next, if need be in excess of the places: it must run somewhere.
 */
#include "baton/kit.h"
#include "baton/scheduler.h"

#define NODE	 offsetof(struct partition_vcpu, node)
#define NO_SPACE (-28) /* -ENOSPC */

struct partition_pool {
	struct kit_heap queue[BATON_PCPUS_MAX]; /* who waits for this pCPU, the next one first */
	uint32_t taken[BATON_PCPUS_MAX];	/* places */
	int64_t head, tail;			/* next turns: the head counts down, the tail counts up */
	uint32_t boosted;			/* VM that has the console's focus + 1 */
};

struct partition_vcpu {
	struct kit_node node;
	uint32_t home;	     /* pCPU + 1 */
	int64_t turn;	     /* the queue is sorted by it */
	uint64_t used_ns;    /* of its turn; more than 0 only when it was put aside in the middle */
	uint64_t started_ns; /* when it was started, or taken over while it ran */
	uint64_t stopped_ns; /* when it ran last; 0 = never */
	uint64_t service_ns;
};

/* What partition tells its own next version, exactly. */
struct partition_tail {
	int64_t turn, head, tail;
	uint64_t used_ns, stopped_ns;
	uint32_t home;
	uint32_t reserved;
};

enum { PER_PCPU, SLICE_US };

static const struct baton_parameter partition_parameters[] = {
    [PER_PCPU] = {.name = "per_pcpu",
		  .help = "How many vCPUs may have their place on one pCPU; counts for those who come",
		  .scope = BATON_SCOPE_POOL,
		  .min = 1,
		  .max = 4096,
		  .initial = 1},
    [SLICE_US] = {.name = "slice_us",
		  .unit = "us",
		  .help = "How long a turn lasts where several vCPUs share a pCPU",
		  .scope = BATON_SCOPE_POOL,
		  .min = 100,
		  .max = 1000000,
		  .initial = 5000},
};

static struct partition_pool *partition_pool(struct baton_region *r)
{
	return baton_pool_state(r);
}

static struct partition_vcpu *partition_vcpu(struct baton_region *r, uint32_t v)
{
	return baton_vcpu_state(r, v);
}

static uint64_t slice_ns(struct baton_region *r)
{
	return (uint64_t)baton_param(r, SLICE_US) * 1000;
}

static uint32_t home_of(struct baton_region *r, uint32_t v)
{
	return partition_vcpu(r, v)->home - 1;
}

/* Nobody runs on pcpu who lives there: it is idle, or runs a guest of the scheduler before. */
static int is_free(struct baton_region *r, uint32_t pcpu)
{
	uint32_t v = baton_pcpu(r, pcpu)->running;

	return v >= r->vcpu_slots || home_of(r, v) != pcpu;
}

/* ---- places ---- */

/* Who was alone on pcpu was started without an end: it is asked anew when a second one comes. */
static void move_to(struct baton_region *r, uint32_t v, uint32_t pcpu)
{
	struct partition_vcpu *s = partition_vcpu(r, v);

	if (s->home != 0)
		partition_pool(r)->taken[s->home - 1]--;
	s->home = pcpu + 1;
	if (++partition_pool(r)->taken[pcpu] == 2)
		baton_kick(pcpu);
}

static int has_place(struct baton_region *r, uint32_t pcpu)
{
	return partition_pool(r)->taken[pcpu] < (uint64_t)baton_param(r, PER_PCPU);
}

/* The best home for v: where it ran last, else the allowed pCPU with the fewest places taken; NONE: allowed nowhere. */
static uint32_t best_home(struct baton_region *r, uint32_t v)
{
	uint32_t last = baton_vcpu(r, v)->pcpu, best = BATON_NONE;

	if (last < r->pcpu_slots && baton_allowed(r, v, last) && has_place(r, last))
		return last;
	for (uint32_t p = 0; p < r->pcpu_slots; p++)
		if (baton_allowed(r, v, p) &&
		    (best == BATON_NONE || partition_pool(r)->taken[p] < partition_pool(r)->taken[best]))
			best = p;
	return best;
}

/* Its affinity may have changed since it was admitted. */
static void keep_allowed(struct baton_region *r, uint32_t v)
{
	uint32_t best;

	if (baton_allowed(r, v, home_of(r, v)))
		return;
	best = best_home(r, v);
	if (best != BATON_NONE)
		move_to(r, v, best);
}

static int32_t refuse(struct baton_region *r, uint32_t v)
{
	struct kit_text t = {.buf = baton_scratch(r), .size = BATON_REASON_MAX - 1};
	uint64_t allowed = 0;

	for (uint32_t p = 0; p < r->pcpu_slots; p++)
		allowed += (uint64_t)baton_allowed(r, v, p);
	kit_put(&t, "no place is free: the vCPU may use ");
	kit_put_u64(&t, allowed);
	kit_put(&t, " of ");
	kit_put_u64(&t, r->pcpu_slots);
	kit_put(&t, " pCPUs, and each of those has ");
	kit_put_u64(&t, (uint64_t)baton_param(r, PER_PCPU));
	kit_put(&t, " (per_pcpu), taken already");
	return NO_SPACE;
}

/* ---- the queue of a pCPU ---- */

static void wait_at(struct baton_region *r, uint32_t v, int64_t turn)
{
	partition_vcpu(r, v)->turn = turn;
	kit_heap_insert(r, &partition_pool(r)->queue[home_of(r, v)], NODE, v, turn, 0);
}

static void wait_no_more(struct baton_region *r, uint32_t v)
{
	kit_heap_remove(r, &partition_pool(r)->queue[home_of(r, v)], NODE, v);
}

static int waits(struct baton_region *r, uint32_t v)
{
	return partition_vcpu(r, v)->node.rank != 0;
}

/* The next one on pcpu. Who may no longer run there (its affinity has changed while it waits) is passed over. */
static uint32_t next_on(struct baton_region *r, uint32_t pcpu)
{
	const struct kit_heap *q = &partition_pool(r)->queue[pcpu];
	uint32_t v = kit_heap_top(q), best = BATON_NONE;

	if (v == BATON_NONE || baton_allowed(r, v, pcpu))
		return v;
	while (v != BATON_NONE) {
		int before =
		    best == BATON_NONE || kit_before(&partition_vcpu(r, v)->node, &partition_vcpu(r, best)->node);

		if (before && baton_allowed(r, v, pcpu))
			best = v;
		v = kit_heap_walk(r, NODE, v, before);
	}
	return best;
}

/* ---- events ---- */

static int32_t partition_admit(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct partition_pool *q = partition_pool(r);
	uint32_t home = best_home(r, v);

	if (home == BATON_NONE || !has_place(r, home))
		return refuse(r, v);
	move_to(r, v, home);
	if (baton_vcpu(r, v)->state == BATON_VCPU_RUNNING)
		partition_vcpu(r, v)->started_ns = now;
	if (baton_vcpu(r, v)->state == BATON_VCPU_RUNNABLE)
		wait_at(r, v, q->tail++);
	if (waits(r, v) && is_free(r, home))
		baton_kick(home);
	return 0;
}

static void partition_retire(struct baton_region *r, uint32_t v, uint64_t now)
{
	wait_no_more(r, v);
	partition_pool(r)->taken[home_of(r, v)]--;
	*partition_vcpu(r, v) = (struct partition_vcpu){0};
}

static void partition_wake(struct baton_region *r, uint32_t v, uint64_t now)
{
	keep_allowed(r, v);
	partition_vcpu(r, v)->used_ns = 0;
	wait_at(r, v, partition_pool(r)->tail++);
}

static void partition_sleep(struct baton_region *r, uint32_t v, uint64_t now)
{
	wait_no_more(r, v);
}

static void partition_start(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	wait_no_more(r, v);
	partition_vcpu(r, v)->started_ns = now;
}

static void partition_stop(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why,
			   uint64_t now)
{
	struct partition_pool *q = partition_pool(r);
	struct partition_vcpu *s = partition_vcpu(r, v);
	int aside = why == BATON_STOP_PREEMPTED || why == BATON_STOP_CEASED;

	s->service_ns += ran_ns;
	s->used_ns += ran_ns;
	s->stopped_ns = now;
	if (why != BATON_STOP_BLOCKED) {
		keep_allowed(r, v);
		if (aside && s->used_ns + r->slice_min_ns < slice_ns(r)) {
			wait_at(r, v, --q->head);
		} else {
			s->used_ns = 0;
			wait_at(r, v, q->tail++);
		}
		if (home_of(r, v) != pcpu && is_free(r, home_of(r, v)))
			baton_kick(home_of(r, v));
	}
}

static void partition_boost(struct baton_region *r, uint32_t vm, uint64_t now)
{
	partition_pool(r)->boosted = vm + 1;
}

/* ---- questions ---- */

static struct baton_choice partition_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	uint32_t v = next_on(r, pcpu);
	uint64_t slice = slice_ns(r), used;

	if (v == BATON_NONE || partition_pool(r)->taken[pcpu] <= 1)
		return (struct baton_choice){.vcpu = v};
	used = partition_vcpu(r, v)->used_ns;
	if (used + r->slice_min_ns > slice) /* turns were made shorter meanwhile */
		return (struct baton_choice){.vcpu = v, .slice_ns = r->slice_min_ns};
	return (struct baton_choice){.vcpu = v, .slice_ns = slice - used};
}

static uint32_t partition_preempts(struct baton_region *r, uint32_t woken, uint64_t now)
{
	uint32_t home = home_of(r, woken);

	return home < r->pcpu_slots && baton_allowed(r, woken, home) && is_free(r, home) ? home : BATON_NONE;
}

/* Minus the number of others with whom the VM shares a pCPU, for its best placed vCPU. */
static int32_t partition_priority(struct baton_region *r, uint32_t vm, uint64_t now)
{
	int32_t best = INT32_MIN;

	for (uint32_t v = 0; v < r->vcpu_slots; v++) {
		int32_t others;

		if (baton_vcpu(r, v)->state == BATON_VCPU_FREE || baton_vcpu(r, v)->vm != vm ||
		    home_of(r, v) == BATON_NONE)
			continue;
		others = (int32_t)partition_pool(r)->taken[home_of(r, v)] - 1;
		best = -others > best ? -others : best;
	}
	return best;
}

static uint32_t partition_choose_console(struct baton_region *r, uint64_t now)
{
	return kit_console(r, partition_pool(r)->boosted);
}

/* ---- history ---- */

static int32_t partition_give(struct baton_region *r, uint32_t v, struct baton_history *h, uint64_t now)
{
	struct partition_pool *q = partition_pool(r);
	struct partition_vcpu *s = partition_vcpu(r, v);
	int runs = baton_vcpu(r, v)->state == BATON_VCPU_RUNNING;
	uint64_t ran = runs ? now - s->started_ns : 0, used = s->used_ns + ran, slice = slice_ns(r);
	struct partition_tail t = {.turn = s->turn,
				   .head = q->head,
				   .tail = q->tail,
				   .used_ns = used,
				   .stopped_ns = s->stopped_ns,
				   .home = s->home};

	kit_history(r, v, h, "partition", 1, &t, sizeof t);
	h->service_ns = s->service_ns + ran;
	/* Who has a pCPU to itself is owed nothing; others the rest of their turn. */
	h->owed_ns = !waits(r, v) || q->taken[s->home - 1] <= 1 || used > slice ? 0 : (int64_t)(slice - used);
	h->since_run_ns = runs ? 0 : now - s->stopped_ns;
	return 0;
}

/* Own records: the very home, if it has a place, and the very turn. From others only the past is taken: who is where was
 * settled by admit. */
static int32_t partition_take(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now)
{
	struct partition_pool *q = partition_pool(r);
	struct partition_vcpu *s = partition_vcpu(r, v);
	const struct partition_tail *t = kit_history_tail(h, "partition", 1, sizeof *t);
	int waited = waits(r, v);
	uint32_t home;

	s->service_ns = h->service_ns;
	s->stopped_ns = h->since_run_ns < now ? now - h->since_run_ns : 0;
	if (t == NULL)
		return 0;
	home = t->home - 1;
	wait_no_more(r, v);
	if (home < r->pcpu_slots && baton_allowed(r, v, home) && home != home_of(r, v) && has_place(r, home))
		move_to(r, v, home);
	q->head = t->head < q->head ? t->head : q->head;
	q->tail = t->tail > q->tail ? t->tail : q->tail;
	s->used_ns = t->used_ns;
	s->stopped_ns = t->stopped_ns;
	s->turn = t->turn;
	if (!waited)
		return 0;
	wait_at(r, v, t->turn);
	if (is_free(r, home_of(r, v)))
		baton_kick(home_of(r, v));
	return 0;
}

static uint32_t partition_dump(struct baton_region *r, char *buf, uint32_t size, uint64_t now)
{
	struct kit_text t = {.buf = buf, .size = size};
	uint64_t places = 0;

	for (uint32_t p = 0; p < r->pcpu_slots; p++)
		places += partition_pool(r)->taken[p];
	kit_put(&t, "partition");
	kit_put_field(&t, "per_pcpu", baton_param(r, PER_PCPU));
	kit_put_field(&t, "pcpus", r->pcpu_slots);
	kit_put_field(&t, "taken", (int64_t)places);
	kit_put(&t, "\n");
	for (uint32_t v = 0; v < r->vcpu_slots && t.length < size; v++) {
		if (baton_vcpu(r, v)->state == BATON_VCPU_FREE || partition_vcpu(r, v)->home == 0)
			continue;
		kit_put(&t, baton_vcpu(r, v)->state == BATON_VCPU_RUNNING ? "  runs   "
			    : waits(r, v)				  ? "  waits  "
									  : "  blocked");
		kit_put_field(&t, "vcpu", v);
		kit_put_field(&t, "vm", baton_vcpu(r, v)->vm);
		kit_put_field(&t, "home", home_of(r, v));
		kit_put_field(&t, "sharing", partition_pool(r)->taken[home_of(r, v)]);
		kit_put_field(&t, "ran_us", (int64_t)(partition_vcpu(r, v)->service_ns / 1000));
		kit_put(&t, "\n");
	}
	return t.length;
}

BATON_SCHEDULER(partition, .version = "1.0",
		.description = "Static partitioning: each vCPU has its own pCPU; what does not fit is refused",
		.state_version = 1, .pool_state_size = sizeof(struct partition_pool),
		.vcpu_state_size = sizeof(struct partition_vcpu), .parameters = partition_parameters,
		.parameter_count = sizeof partition_parameters / sizeof partition_parameters[0],
		.admit = partition_admit, .retire = partition_retire, .wake = partition_wake, .sleep = partition_sleep,
		.start = partition_start, .stop = partition_stop, .boost = partition_boost, .choose = partition_choose,
		.preempts = partition_preempts, .priority = partition_priority,
		.choose_console = partition_choose_console, .give = partition_give, .take = partition_take,
		.dump = partition_dump);
