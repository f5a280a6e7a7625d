/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bvt.c - borrowed virtual time (Duda and Cheriton, SOSP 1999).
 *
 * Each vCPU has an actual virtual time A, which grows while it runs, the slower the larger its weight. The one with the
 * least *effective* virtual time E = A - (warped ? W : 0) runs, so service is shared in proportion to the weights, and
 * a warped vCPU is served sooner by borrowing against its own future: its A still grows at the full rate.
 *
 *   charge     A += ran * K / weight. K = 16: one unit of A is 16 ns of running at the default weight of 256 (1 ns at
 *              weight 16, 4 us at weight 65536). The remainder of the division is kept for the next charge: nothing is
 *              ever lost. A is 64 bits wide and lasts 18 years of running at weight 1, 4,600 years at the default.
 *   SVT        scheduler virtual time, the least A of the runnable (running ones included). It never falls back and
 *              keeps its last value while nobody is runnable.
 *   wake       A = max(A, SVT): who slept has no claim on the past, and none who ran ahead escapes it by a nap.
 *   allowance  a running vCPU keeps its pCPU until it is C of its own running time ahead of the next one.
 *   warp       begins with a wake-up when its VM has warp_ns, ends when it blocks or after warp_limit_ns (L) of warped
 *              running. Then, or when it blocks before L is used up, unwarp_ns (U) must pass until L is whole again:
 * naps shorter than U do not refill it. Times of warp are virtual (ns at the default weight). yield      the warp ends,
 * and if the next in line is still behind, A grows to E of that one, no further (equals are served first in, first
 * out). Who yields gives up its lead and nothing more.
 *
 * Several pCPUs. Those that wait stand in one heap per *home*, the pCPU where they ran last, ordered by E; and all of
 * them in one heap ordered by A, for SVT. choose looks at the tops: O(pCPUs), and O(log n) to take one out. A vCPU away
 * from home counts as later by what the move costs, C at most: it moves when that is worth it, and is delayed by C at
 * worst. A top that may not run there (affinity) costs a walk through those before the first one that may.
 *
 * Running vCPUs are not touched while they run: their A at `now` is computed when needed ("E_at"). A slice ends when
 * the allowance does, counted against those who wait when it is granted. Who starts to wait later is covered by one
 * alarm at the earliest time at which some running vCPU is C ahead of it; tick then kicks those pCPUs, most ahead
 * first.
 *
 * Nothing here depends on being obeyed: start and stop are facts, whoever decided them, and all are charged alike.
 */
#include "baton/kit.h"
#include "baton/scheduler.h"

#define K	       16
#define WEIGHT_DEFAULT 256
#define BY_E	       offsetof(struct bvt_vcpu, by_e)
#define BY_A	       offsetof(struct bvt_vcpu, by_a)
#define NOWHERE	       BATON_PCPUS_MAX /* the home of who never ran */
#define NEVER	       UINT64_MAX
#define LONGEST_NS     (UINT64_C(1) << 58) /* 9 years at a time: ns * K fits into 64 bits */
#define SECOND	       INT64_C(1000000000)

struct bvt_pool {
	int64_t svt;
	uint64_t seq;	   /* of the last who began to wait */
	uint64_t alarm_ns; /* the next alarm asked for; in the past = none */
	uint64_t later_ns; /* the one that was to be the next before it */
	uint64_t timeline; /* name of this virtual time: when it was attached */
	uint64_t joined;   /* another one that it continues (take) */
	uint32_t lived;	   /* has heard an event: joins no other timeline any more */
	uint32_t boosted;  /* VM that has the console's focus + 1 */
	struct kit_heap by_a;
	struct kit_heap home[BATON_PCPUS_MAX + 1];
	uint32_t running[BATON_PCPUS_MAX]; /* vCPU + 1; 0 = none that is known here */
	uint32_t last[BATON_PCPUS_MAX];	   /* vCPU that ran last or runs + 1 */
};

/* What is known of a vCPU by itself: also the tail of its history record. */
struct bvt_account {
	int64_t avt;	       /* A, paid until from_ns when it runs */
	int64_t warp;	       /* W while it is warped, else 0 */
	uint32_t rest;	       /* remainder of the last charge, below weight */
	uint32_t weight;       /* by which rest counts and running is charged */
	uint64_t warp_used_ns; /* warped running, of L */
	uint64_t unwarped_ns;  /* when its last warp ended */
	uint64_t stopped_ns;   /* when it ran last; 0 = never */
	uint64_t service_ns;
	uint32_t kept; /* pCPU + 1 that it may keep: it stopped there against its will */
	uint32_t reserved;
};

struct bvt_vcpu {
	struct kit_node by_e, by_a;
	struct bvt_account a;
	uint32_t home;	  /* whose heap it stands in */
	uint32_t on;	  /* pCPU where it runs + 1 */
	uint64_t from_ns; /* running and unpaid since then */
	uint64_t paid_ns; /* of the present run */
};

struct bvt_tail {
	struct bvt_account a;
	int64_t svt;
	uint64_t seq, pool_seq; /* its place among equals */
	uint64_t timeline;
	uint32_t last; /* it is the one that ran last on its pCPU */
	uint32_t reserved;
};
_Static_assert(sizeof(struct bvt_tail) <= sizeof((struct baton_history){0}.tail), "a tail has 256 bytes");

enum { ALLOWANCE_US, WEIGHT, WARP_NS, WARP_LIMIT_NS, UNWARP_NS };

static const struct baton_parameter bvt_parameters[] = {
    [ALLOWANCE_US] = {.name = "allowance_us",
		      .unit = "us",
		      .help = "Context switch allowance: how far a running vCPU may get ahead of the next one",
		      .scope = BATON_SCOPE_POOL,
		      .min = 100,
		      .max = 100000,
		      .initial = 5000},
    [WEIGHT] = {.name = "weight",
		.help = "Share of the VM's vCPUs in proportion to others",
		.scope = BATON_SCOPE_VM,
		.min = 1,
		.max = 65536,
		.initial = WEIGHT_DEFAULT},
    [WARP_NS] = {.name = "warp_ns",
		 .unit = "ns",
		 .help = "How far a woken vCPU goes before others, in virtual time; 0 = no warp",
		 .scope = BATON_SCOPE_VM,
		 .max = 10 * SECOND},
    [WARP_LIMIT_NS] = {.name = "warp_limit_ns",
		       .unit = "ns",
		       .help = "Longest warped running; 0 = no limit",
		       .scope = BATON_SCOPE_VM,
		       .max = 10 * SECOND},
    [UNWARP_NS] = {.name = "unwarp_ns",
		   .unit = "ns",
		   .help = "Time without warp until warp_limit_ns may be used again",
		   .scope = BATON_SCOPE_VM,
		   .max = 10 * SECOND},
};

static struct bvt_pool *bvt_pool(struct baton_region *r)
{
	return baton_pool_state(r);
}

static struct bvt_vcpu *bvt_vcpu(struct baton_region *r, uint32_t v)
{
	return baton_vcpu_state(r, v);
}

static int waits(struct baton_region *r, uint32_t v)
{
	return bvt_vcpu(r, v)->by_e.rank > 0;
}

static int idle(struct baton_region *r, uint32_t pcpu)
{
	return baton_pcpu(r, pcpu)->running == BATON_NONE && bvt_pool(r)->running[pcpu] == 0;
}

/* ---- real and virtual time ---- */

static uint64_t allowance_ns(struct baton_region *r)
{
	return (uint64_t)baton_param(r, ALLOWANCE_US) * 1000;
}

static int64_t virtual(uint64_t ns, uint32_t weight)
{
	return (int64_t)((ns < LONGEST_NS ? ns : LONGEST_NS) * K / weight);
}

static uint64_t real(uint64_t units, uint32_t weight)
{
	return units < (UINT64_C(1) << 46) ? units * weight / K : LONGEST_NS;
}

/* The operator's W in units: ns at the default weight. */
static int64_t warp_of(const struct baton_vm *vm)
{
	return virtual(vm->warp_ns < 10 * SECOND ? vm->warp_ns : 10 * SECOND, WEIGHT_DEFAULT);
}

static struct baton_vm *vm_of(struct baton_region *r, uint32_t v)
{
	return baton_vm(r, baton_vcpu(r, v)->vm);
}

static void reweigh(struct bvt_account *a, uint32_t weight)
{
	if (a->weight != 0)
		a->rest = (uint32_t)((uint64_t)a->rest * weight / a->weight);
	a->weight = weight;
}

static void unwarp(struct bvt_account *a, uint64_t now)
{
	if (a->warp > 0)
		a->unwarped_ns = now;
	a->warp = 0;
}

/* Warped running that is left, NEVER without a limit. */
static uint64_t warp_left(const struct bvt_account *a, const struct baton_vm *vm)
{
	if (vm->warp_limit_ns == 0)
		return NEVER;
	return a->warp_used_ns < vm->warp_limit_ns ? vm->warp_limit_ns - a->warp_used_ns : 0;
}

/* Charges a for having run `ns` until `now`; a warp whose limit was reached meanwhile has ended. */
static void pay(struct bvt_account *a, const struct baton_vm *vm, uint64_t ns, uint64_t now)
{
	uint64_t sum = (ns < LONGEST_NS ? ns : LONGEST_NS) * K + a->rest;

	a->service_ns += ns;
	a->avt += (int64_t)(sum / a->weight);
	a->rest = (uint32_t)(sum % a->weight);
	if (a->warp > 0) {
		uint64_t left = warp_left(a, vm);

		a->warp_used_ns += ns;
		if (ns >= left)
			unwarp(a, now - (ns - left));
	}
}

/* The account of v as it stands now, also while v runs. */
static struct bvt_account account_at(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	struct bvt_account a = s->a;

	if (s->on != 0)
		pay(&a, vm_of(r, v), now - s->from_ns, now);
	return a;
}

/* Least A of all that run or wait; INT64_MAX when nobody does. */
static int64_t least_a(struct baton_region *r, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	uint32_t top = kit_heap_top(&q->by_a);
	int64_t least = top == BATON_NONE ? INT64_MAX : bvt_vcpu(r, top)->a.avt;

	for (uint32_t p = 0; p < r->pcpu_slots; p++) {
		struct bvt_account a;

		if (q->running[p] == 0)
			continue;
		a = account_at(r, q->running[p] - 1, now);
		least = a.avt < least ? a.avt : least;
	}
	return least;
}

static int64_t svt_at(struct baton_region *r, uint64_t now)
{
	int64_t svt = bvt_pool(r)->svt, least = least_a(r, now);

	return least != INT64_MAX && least > svt ? least : svt;
}

/* ---- those who wait ---- */

static void enqueue(struct baton_region *r, uint32_t v, uint64_t seq)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	uint32_t home = baton_vcpu(r, v)->pcpu;

	if (waits(r, v))
		return;
	s->home = home < r->pcpu_slots ? home : NOWHERE;
	kit_heap_insert(r, &q->home[s->home], BY_E, v, s->a.avt - s->a.warp, seq);
	kit_heap_insert(r, &q->by_a, BY_A, v, s->a.avt, seq);
}

static void dequeue(struct baton_region *r, uint32_t v)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);

	kit_heap_remove(r, &q->home[s->home], BY_E, v);
	kit_heap_remove(r, &q->by_a, BY_A, v);
}

/* E of v, which waits, as it counts on pcpu: away from home it is later by what the move costs, C at most. */
static int64_t key_on(struct baton_region *r, uint32_t v, uint32_t pcpu)
{
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	uint64_t allowance = allowance_ns(r), cost = r->migration_cost_ns;

	if (s->home == pcpu || s->home == NOWHERE)
		return s->by_e.key;
	return s->by_e.key + virtual(cost < allowance ? cost : allowance, s->a.weight);
}

/* The first in one heap that may run on pcpu. */
static uint32_t first_allowed(struct baton_region *r, const struct kit_heap *h, uint32_t pcpu, uint32_t except)
{
	uint32_t best = BATON_NONE, v = kit_heap_top(h);

	while (v != BATON_NONE) {
		int ahead = best == BATON_NONE || kit_before(kit_node(r, BY_E, v), kit_node(r, BY_E, best));

		if (ahead && v != except && baton_allowed(r, v, pcpu)) {
			best = v;
			ahead = 0; /* all below it are after it */
		}
		v = kit_heap_walk(r, BY_E, v, ahead);
	}
	return best;
}

/* Who would come first on pcpu among those who wait, `except` left out; BATON_NONE when nobody may. */
static uint32_t first_for(struct baton_region *r, uint32_t pcpu, uint32_t except)
{
	struct bvt_pool *q = bvt_pool(r);
	uint32_t best = BATON_NONE;
	int64_t best_key = 0;

	for (uint32_t i = 0; i <= r->pcpu_slots; i++) {
		uint32_t v = first_allowed(r, &q->home[i < r->pcpu_slots ? i : NOWHERE], pcpu, except);
		int64_t key;

		if (v == BATON_NONE)
			continue;
		key = key_on(r, v, pcpu);
		if (best == BATON_NONE || key < best_key ||
		    (key == best_key && bvt_vcpu(r, v)->by_e.seq < bvt_vcpu(r, best)->by_e.seq)) {
			best = v;
			best_key = key;
		}
	}
	return best;
}

/* ---- the allowance ---- */

/* How long a vCPU with this account may run on until it is C ahead of one whose key is `next`; 0 = it is. */
static uint64_t until_due(struct baton_region *r, const struct bvt_account *a, const struct baton_vm *vm, int64_t next)
{
	uint64_t left = a->warp > 0 ? warp_left(a, vm) : NEVER, c = allowance_ns(r), t, behind;
	int64_t e = a->avt - a->warp;

	for (int pass = 0;; pass++, e = a->avt) {
		if (next >= e) {
			t = c + real((uint64_t)(next - e), a->weight);
		} else {
			/* One unit is the grain of A: closer than that is there. */
			behind = real((uint64_t)(e - next), a->weight) + a->weight / K + 1;
			t = behind < c ? c - behind : 0;
		}
		if (pass == 1)
			return t > left ? t : left; /* E rises by W when the warp ends: not before then */
		if (t <= left)
			return t;
	}
}

/* How long the vCPU that runs on pcpu may run on before v. */
static uint64_t until_before(struct baton_region *r, uint32_t pcpu, uint32_t v, uint64_t now)
{
	uint32_t u = bvt_pool(r)->running[pcpu] - 1;
	struct bvt_account a = account_at(r, u, now);

	return until_due(r, &a, vm_of(r, u), key_on(r, v, pcpu));
}

/* By how much the running one is beyond its allowance, in virtual time. */
static int64_t margin(struct baton_region *r, uint32_t pcpu, uint32_t v, uint64_t now)
{
	struct bvt_account a = account_at(r, bvt_pool(r)->running[pcpu] - 1, now);

	return a.avt - a.warp - virtual(allowance_ns(r), a.weight) - key_on(r, v, pcpu);
}

/* Asks for the earliest only, its tick finds the next. An alarm cannot be cancelled: one that is overtaken is
 * remembered, so that it need not be asked for again. */
static void alarm_at(struct baton_region *r, uint64_t t, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);

	if (q->alarm_ns <= now) {
		q->alarm_ns = q->later_ns;
		q->later_ns = 0;
	}
	if (q->alarm_ns > now && q->alarm_ns <= t)
		return;
	if (q->alarm_ns > now)
		q->later_ns = q->alarm_ns;
	q->alarm_ns = t;
	baton_alarm(t);
}

/* v has begun to wait: an alarm when somebody who runs now will have to make room for it. Not at once: whoever is
 * asked next (preempts, or the pCPU where v stopped) may see to it first. */
static void watch(struct baton_region *r, uint32_t v, uint64_t now)
{
	uint64_t soonest = NEVER;

	for (uint32_t p = 0; p < r->pcpu_slots; p++) {
		uint64_t t;

		if (bvt_pool(r)->running[p] == 0 || !baton_allowed(r, v, p))
			continue;
		t = until_before(r, p, v, now);
		soonest = t < soonest ? t : soonest;
	}
	if (soonest == NEVER)
		return;
	alarm_at(r, now + (soonest > r->slice_min_ns ? soonest : r->slice_min_ns), now);
}

/* Two vCPUs that wake together are both shown to the same idle pCPU. So whenever one starts, the next idle pCPU is
 * asked on behalf of those who still wait. */
static void use_idle(struct baton_region *r, uint32_t except)
{
	if (bvt_pool(r)->by_a.count == 0)
		return;
	for (uint32_t p = 0; p < r->pcpu_slots; p++) {
		if (p == except || !idle(r, p) || first_for(r, p, BATON_NONE) == BATON_NONE)
			continue;
		baton_kick(p);
		return;
	}
}

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

/* ---- events ---- */

static int32_t bvt_attach(struct baton_region *r, uint64_t now)
{
	bvt_pool(r)->timeline = now + 1;
	return 0;
}

/* v begins to be runnable at virtual time svt. */
static void begin(struct baton_region *r, uint32_t v, int64_t svt, uint64_t now)
{
	struct bvt_account *a = &bvt_vcpu(r, v)->a;
	const struct baton_vm *vm = vm_of(r, v);

	reweigh(a, baton_weight(r, v));
	if (a->avt < svt) {
		a->avt = svt;
		a->rest = 0;
	}
	if (now - a->unwarped_ns >= vm->unwarp_ns)
		a->warp_used_ns = 0;
	a->warp = warp_left(a, vm) > 0 ? warp_of(vm) : 0;
	enqueue(r, v, ++bvt_pool(r)->seq);
	watch(r, v, now);
}

/* v ceases to be runnable, and SVT must know its A before it is forgotten. */
static void end(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	int64_t least = least_a(r, now);

	least = s->a.avt < least ? s->a.avt : least;
	q->svt = least > q->svt ? least : q->svt;
	dequeue(r, v);
	unwarp(&s->a, now);
	s->a.kept = 0;
}

static void runs(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);

	dequeue(r, v);
	reweigh(&s->a, baton_weight(r, v));
	s->a.kept = 0;
	s->on = pcpu + 1;
	s->from_ns = now;
	s->paid_ns = 0;
	q->running[pcpu] = v + 1;
	q->last[pcpu] = v + 1;
}

static int32_t bvt_admit(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	uint32_t p;

	/* SVT is not noted here: history that is taken next may change this A. */
	s->a.avt = svt_at(r, now);
	reweigh(&s->a, baton_weight(r, v));
	switch (baton_vcpu(r, v)->state) {
	case BATON_VCPU_RUNNING:
		runs(r, v, baton_vcpu(r, v)->pcpu, now);
		break;
	case BATON_VCPU_RUNNABLE:
		begin(r, v, s->a.avt, now);
		p = idle_for(r, v);
		if (p != BATON_NONE)
			baton_kick(p);
		break;
	default:
		break;
	}
	return 0;
}

static void bvt_retire(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);

	if (waits(r, v))
		end(r, v, now);
	if (s->on != 0 && q->running[s->on - 1] == v + 1)
		q->running[s->on - 1] = 0;
	*s = (struct bvt_vcpu){0};
}

static void bvt_wake(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);

	q->lived = 1;
	q->svt = svt_at(r, now);
	begin(r, v, q->svt, now);
}

static void bvt_sleep(struct baton_region *r, uint32_t v, uint64_t now)
{
	bvt_pool(r)->lived = 1;
	end(r, v, now);
}

static void bvt_start(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	bvt_pool(r)->lived = 1;
	runs(r, v, pcpu, now);
	use_idle(r, pcpu);
}

/* The next in line goes before v: v gives up its warp, and if that is not enough, so much of its lead. */
static void yield(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	struct bvt_account *a = &bvt_vcpu(r, v)->a;
	uint32_t next = first_for(r, pcpu, v);

	if (next == BATON_NONE || key_on(r, next, pcpu) <= a->avt - a->warp)
		return;
	unwarp(a, now);
	if (key_on(r, next, pcpu) > a->avt)
		a->avt = key_on(r, next, pcpu);
}

static void bvt_stop(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);

	q->lived = 1;
	if (q->running[pcpu] == v + 1)
		q->running[pcpu] = 0;
	s->on = 0;
	s->a.stopped_ns = now;
	pay(&s->a, vm_of(r, v), ran_ns > s->paid_ns ? ran_ns - s->paid_ns : 0, now);
	if (why == BATON_STOP_BLOCKED) {
		end(r, v, now);
		return;
	}
	if (why == BATON_STOP_YIELDED || why == BATON_STOP_IO)
		yield(r, v, pcpu, now);
	else
		s->a.kept = pcpu + 1;
	enqueue(r, v, ++q->seq);
	watch(r, v, now);
	if (!baton_allowed(r, v, pcpu)) /* this pCPU is asked anyway; the others only when told */
		use_idle(r, pcpu);
}

/* Somebody who runs may be C ahead of somebody who waits, by now: kick the pCPUs concerned, most ahead first, not more
 * than vCPUs wait. Then an alarm for the next time that this happens. */
static void bvt_tick(struct baton_region *r, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	uint64_t kicked[BATON_PCPUS_MAX / 64] = {0}, next = NEVER;

	for (uint32_t n = q->by_a.count; n > 0; n--) {
		uint32_t worst = BATON_NONE;
		int64_t worst_margin = 0;

		next = NEVER;
		for (uint32_t p = 0; p < r->pcpu_slots; p++) {
			uint32_t v;
			uint64_t t;

			if (q->running[p] == 0 || ((kicked[p / 64] >> (p % 64)) & 1))
				continue;
			v = first_for(r, p, BATON_NONE);
			if (v == BATON_NONE)
				continue;
			t = until_before(r, p, v, now);
			if (t > 0)
				next = t < next ? t : next;
			else if (worst == BATON_NONE || margin(r, p, v, now) > worst_margin) {
				worst = p;
				worst_margin = margin(r, p, v, now);
			}
		}
		if (worst == BATON_NONE)
			break;
		kicked[worst / 64] |= UINT64_C(1) << (worst % 64);
		baton_kick(worst);
	}
	if (next != NEVER)
		alarm_at(r, now + (next > r->slice_min_ns ? next : r->slice_min_ns), now);
}

static void bvt_boost(struct baton_region *r, uint32_t vm, uint64_t now)
{
	bvt_pool(r)->boosted = vm + 1;
}

/* Weights count from now on: what has run so far is paid at the old one, and no A jumps. A warp that is under way
 * changes its W, and ends when that is 0. */
static void retune(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	uint64_t seq = s->by_e.seq;
	int waited = waits(r, v);
	const struct baton_vm *vm = vm_of(r, v);

	if (s->a.weight == 0)
		return; /* not admitted */
	if (s->on != 0) {
		pay(&s->a, vm, now - s->from_ns, now);
		s->paid_ns += now - s->from_ns;
		s->from_ns = now;
	}
	if (waited)
		dequeue(r, v);
	reweigh(&s->a, baton_weight(r, v));
	if (s->a.warp > 0) {
		int64_t warp = warp_left(&s->a, vm) > 0 ? warp_of(vm) : 0;

		if (warp > 0)
			s->a.warp = warp;
		else
			unwarp(&s->a, now);
	}
	if (waited)
		enqueue(r, v, seq);
}

static int32_t bvt_set(struct baton_region *r, uint32_t scope, uint32_t vm, uint32_t parameter, uint64_t now)
{
	if (scope == BATON_SCOPE_VM)
		for (uint32_t v = 0; v < r->vcpu_slots; v++)
			if (baton_vcpu(r, v)->state != BATON_VCPU_FREE && baton_vcpu(r, v)->vm == vm)
				retune(r, v, now);
	if (bvt_pool(r)->by_a.count > 0)
		alarm_at(r, now + r->slice_min_ns, now);
	return 0;
}

/* ---- questions ---- */

/* Does the one that was put aside on this pCPU keep it? BATON_NONE when there is none. */
static uint32_t put_aside(struct baton_region *r, uint32_t pcpu)
{
	uint32_t v = bvt_pool(r)->last[pcpu] - 1;

	if (v >= r->vcpu_slots || !waits(r, v) || bvt_vcpu(r, v)->a.kept != pcpu + 1 || !baton_allowed(r, v, pcpu))
		return BATON_NONE;
	return v;
}

static struct baton_choice bvt_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	uint32_t v = put_aside(r, pcpu), next = first_for(r, pcpu, v);
	struct bvt_account *a;

	if (v != BATON_NONE && next != BATON_NONE &&
	    until_due(r, &bvt_vcpu(r, v)->a, vm_of(r, v), key_on(r, next, pcpu)) == 0)
		v = BATON_NONE; /* its allowance is used up */
	if (v == BATON_NONE) {
		v = next;
		if (v == BATON_NONE)
			return (struct baton_choice){.vcpu = BATON_NONE};
		next = first_for(r, pcpu, v);
	}
	if (next == BATON_NONE)
		return (struct baton_choice){.vcpu = v};
	a = &bvt_vcpu(r, v)->a;
	return (struct baton_choice){.vcpu = v, .slice_ns = until_due(r, a, vm_of(r, v), key_on(r, next, pcpu))};
}

static uint32_t bvt_preempts(struct baton_region *r, uint32_t woken, uint64_t now)
{
	uint32_t best = idle_for(r, woken);
	int64_t best_margin = 0;

	if (best != BATON_NONE || !waits(r, woken))
		return best;
	for (uint32_t p = 0; p < r->pcpu_slots; p++) {
		int64_t m;

		if (bvt_pool(r)->running[p] == 0 || !baton_allowed(r, woken, p) || until_before(r, p, woken, now) > 0)
			continue;
		m = margin(r, p, woken, now);
		if (best != BATON_NONE && m <= best_margin)
			continue;
		best = p;
		best_margin = m;
	}
	return best;
}

/* How far the VM's best vCPU is before SVT, in virtual us: what it would count if it were woken now. */
static int32_t bvt_priority(struct baton_region *r, uint32_t vm, uint64_t now)
{
	int64_t svt = svt_at(r, now), best = INT32_MIN;

	for (uint32_t v = 0; v < r->vcpu_slots; v++) {
		uint32_t state = baton_vcpu(r, v)->state;
		struct bvt_account a;
		int64_t us;

		if (state == BATON_VCPU_FREE || baton_vcpu(r, v)->vm != vm || bvt_vcpu(r, v)->a.weight == 0)
			continue;
		a = account_at(r, v, now);
		if (state == BATON_VCPU_BLOCKED) {
			a.avt = a.avt > svt ? a.avt : svt;
			a.warp = warp_of(baton_vm(r, vm));
		}
		us = (svt - (a.avt - a.warp)) * (WEIGHT_DEFAULT / K) / 1000;
		best = us > best ? us : best;
	}
	return best > INT32_MAX ? INT32_MAX : (int32_t)best;
}

static uint32_t bvt_choose_console(struct baton_region *r, uint64_t now)
{
	uint32_t vm = bvt_pool(r)->boosted - 1;

	if (vm < r->vm_slots && baton_vm(r, vm)->used)
		return vm;
	for (vm = 0; vm < r->vm_slots; vm++)
		if (baton_vm(r, vm)->used && baton_vm(r, vm)->service)
			return vm;
	return BATON_NONE;
}

/* ---- history ---- */

static int32_t bvt_give(struct baton_region *r, uint32_t v, struct baton_history *h, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	struct bvt_account a = account_at(r, v, now);
	struct bvt_tail *t = (struct bvt_tail *)(void *)h->tail;
	uint32_t pcpu = baton_vcpu(r, v)->pcpu;
	int64_t ahead = a.avt - svt_at(r, now);

	h->version = BATON_HISTORY_VERSION;
	h->weight = baton_weight(r, v);
	h->service_ns = a.service_ns;
	h->owed_ns = ahead < 0 ? (int64_t)real((uint64_t)-ahead, a.weight) : -(int64_t)real((uint64_t)ahead, a.weight);
	h->since_run_ns = s->on != 0 ? 0 : now - a.stopped_ns;
	h->last_pcpu = pcpu;
	*t = (struct bvt_tail){.a = a,
			       .svt = q->svt,
			       .seq = s->by_e.seq,
			       .pool_seq = q->seq,
			       .timeline = q->timeline,
			       .last = pcpu < r->pcpu_slots && q->last[pcpu] == v + 1};
	h->tail_size = sizeof *t;
	h->tail_format = 1;
	__builtin_memcpy(h->policy, "bvt", 4);
	return 0;
}

/* Own records of the timeline that is continued here: everything exactly as it was. */
static void take_exactly(struct baton_region *r, uint32_t v, const struct bvt_tail *t)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	uint32_t pcpu = baton_vcpu(r, v)->pcpu;

	q->joined = t->timeline;
	q->svt = t->svt;
	q->seq = t->pool_seq > q->seq ? t->pool_seq : q->seq;
	if (t->last && pcpu < r->pcpu_slots)
		q->last[pcpu] = v + 1;
	s->a = t->a;
	reweigh(&s->a, baton_weight(r, v));
}

/*
 * A of a taken vCPU. Own records count exactly while this pool continues the giver's timeline: it has not lived yet, or
 * has joined that one before and is still near it. Otherwise only the distance to the fair share counts, from one
 * second behind to a tenth of a second ahead of those who are here.
 */
static int32_t bvt_take(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	const struct bvt_tail *t = (const struct bvt_tail *)(const void *)h->tail;
	int own = __builtin_memcmp(h->policy, "bvt", 4) == 0 && h->tail_format == 1 && h->tail_size == sizeof *t &&
		  t->a.weight != 0;
	int64_t near = virtual((uint64_t)SECOND, WEIGHT_DEFAULT), owed = h->owed_ns;
	uint64_t seq = s->by_e.seq;
	int waited = waits(r, v);

	if (waited)
		dequeue(r, v);
	if (own && (!q->lived || (q->joined == t->timeline && t->svt - q->svt < near && q->svt - t->svt < near))) {
		take_exactly(r, v, t);
		seq = t->seq;
	} else {
		owed = owed < -SECOND ? -SECOND : owed;
		owed = owed > SECOND / 10 ? SECOND / 10 : owed;
		/* From the noted SVT, which stands still while one record after the other is taken. */
		s->a.avt = owed < 0 ? q->svt + virtual((uint64_t)-owed, s->a.weight)
				    : q->svt - virtual((uint64_t)owed, s->a.weight);
		s->a.rest = 0;
		s->a.service_ns = h->service_ns;
		s->a.stopped_ns = h->since_run_ns < now ? now - h->since_run_ns : 0;
	}
	if (waited) {
		enqueue(r, v, seq);
		watch(r, v, now);
	}
	return 0;
}

static uint32_t bvt_dump(struct baton_region *r, char *buf, uint32_t size, uint64_t now)
{
	struct kit_text t = {.buf = buf, .size = size};
	struct bvt_pool *q = bvt_pool(r);
	int64_t svt = svt_at(r, now);

	kit_put(&t, "borrowed virtual time");
	kit_put_field(&t, "allowance_us", baton_param(r, ALLOWANCE_US));
	kit_put_field(&t, "svt", svt);
	kit_put_field(&t, "waiting", q->by_a.count);
	kit_put(&t, "\n");
	for (uint32_t v = 0; v < r->vcpu_slots && t.length < size; v++) {
		struct bvt_vcpu *s = bvt_vcpu(r, v);
		struct bvt_account a;

		if (baton_vcpu(r, v)->state == BATON_VCPU_FREE || s->a.weight == 0)
			continue;
		a = account_at(r, v, now);
		kit_put(&t, s->on != 0 ? "  runs   " : waits(r, v) ? "  waits  " : "  blocked");
		kit_put_field(&t, "vcpu", v);
		kit_put_field(&t, "vm", baton_vcpu(r, v)->vm);
		kit_put_field(&t, "weight", a.weight);
		kit_put_field(&t, "A-svt", a.avt - svt);
		kit_put_field(&t, "W", a.warp);
		kit_put_field(&t, "warp_used_us", (int64_t)(a.warp_used_ns / 1000));
		kit_put_field(&t, "ran_us", (int64_t)(a.service_ns / 1000));
		kit_put(&t, "\n");
	}
	return t.length;
}

BATON_SCHEDULER(
    bvt, .version = "1.0",
    .description = "Borrowed virtual time: shares by weight, low latency by warping (Duda and Cheriton 1999)",
    .state_version = 1, .pool_state_size = sizeof(struct bvt_pool), .vcpu_state_size = sizeof(struct bvt_vcpu),
    .parameters = bvt_parameters, .parameter_count = sizeof bvt_parameters / sizeof bvt_parameters[0],
    .attach = bvt_attach, .admit = bvt_admit, .retire = bvt_retire, .wake = bvt_wake, .sleep = bvt_sleep,
    .start = bvt_start, .stop = bvt_stop, .tick = bvt_tick, .boost = bvt_boost, .set = bvt_set, .choose = bvt_choose,
    .preempts = bvt_preempts, .priority = bvt_priority, .choose_console = bvt_choose_console, .give = bvt_give,
    .take = bvt_take, .dump = bvt_dump);
