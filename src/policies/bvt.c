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
 *              naps shorter than U do not refill it. Times of warp are virtual (ns at the default weight).
 *   yield      the warp ends, and if the next in line is still behind, A grows to E of that one, no further (equals are
 *              served first in, first out). Who yields gives up its lead and nothing more.
 *
 * Those who wait stand in a ready queue ordered by E; the warped ones in one of their own and by A as well, so that the
 * least A of all who wait is known. A running vCPU is not touched while it runs: its A at `now` is computed when needed.
 *
 * Several pCPUs. A vCPU away from where it ran last counts as later by what the move costs, C at most. What would need a
 * look at every pCPU follows rules that are exact on one pCPU and need the tops of tournaments on several:
 *
 *   SVT of those who run   the one that began with the least A counts with its A of now, the others with the A that they
 *                          began with. So SVT may be late, by what was run since then, and is never early.
 *   rival                  the pCPU that makes room for one who waits: the running vCPU with the most E, as if all E had
 *                          grown at the default weight since they were started, or the one at the other's home.
 *   due                    a slice ends when the allowance does, counted against those who wait when it is granted. Who
 *                          wakes up later is looked after by its rival: that pCPU is noted with the time when it is due,
 *                          and kicked then. Whoever stops and stays runnable is looked after by the pCPU where it stopped,
 *                          which is asked at once.
 *
 * Nothing here depends on being obeyed: start and stop are facts, whoever decided them, and all are charged alike.
 */
#include "baton/kit.h"
#include "baton/kit_ready.h"
#include "baton/scheduler.h"

#define K	       16
#define WEIGHT_DEFAULT 256
#define PIN	       offsetof(struct bvt_vcpu, pin)
#define BY_A	       offsetof(struct bvt_vcpu, by_a)
#define LINK	       offsetof(struct bvt_vcpu, link)
#define RIVALS	       8 /* pCPUs looked at for one who may use neither the one that is most ahead nor its home */
#define NEVER	       UINT64_MAX
#define LONGEST_NS     (UINT64_C(1) << 58) /* 9 years at a time: ns * K fits into 64 bits */
#define SECOND	       INT64_C(1000000000)

struct bvt_pool {
	int64_t svt;
	uint64_t seq;	   /* of the last who began to wait */
	uint64_t timeline; /* name of this virtual time: when it was attached */
	uint64_t joined;   /* another one that it continues (take) */
	uint32_t lived;	   /* has heard an event: joins no other timeline any more */
	uint32_t boosted;  /* VM that has the console's focus + 1 */
	struct kit_idle idle;
	struct kit_heap warped_by_a;
	uint32_t running[BATON_PCPUS_MAX]; /* vCPU + 1; 0 = none that is known here */
	uint32_t last[BATON_PCPUS_MAX];	   /* vCPU that ran last or runs + 1 */
	struct kit_tournament least;	   /* per pCPU: A that its vCPU began with */
	struct kit_tournament ahead;	/* per pCPU: E at time 0, had it always grown at the default weight, negated */
	struct kit_due due;		/* per pCPU: when it is to be kicked */
	struct kit_ready plain, warped; /* who waits, by E */
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
	_Alignas(64) struct bvt_account a;
	uint64_t from_ns;     /* running and unpaid since then */
	uint64_t paid_ns;     /* of the present run */
	uint64_t seq;	      /* of its waiting */
	uint32_t on;	      /* pCPU where it runs + 1 */
	struct kit_link link; /* of its VM */
	struct kit_node by_a;
	struct kit_pin pin;
};

struct bvt_vm {
	struct kit_list vcpus;
};

struct bvt_tail {
	struct bvt_account a;
	int64_t svt;
	uint64_t seq, pool_seq; /* its place among equals */
	uint64_t timeline;
	int64_t least, ahead; /* as it stands in the tournaments, when it runs */
	uint32_t last;	      /* it is the one that ran last on its pCPU */
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
	return kit_ready_has(&bvt_pool(r)->plain, v) || kit_ready_has(&bvt_pool(r)->warped, v);
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

static int64_t effective(const struct bvt_account *a)
{
	return a->avt - a->warp;
}

static void reweigh(struct bvt_account *a, uint32_t weight)
{
	if (a->weight != 0 && a->weight != weight)
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

/* What running for `ns` adds to A, times the weight. */
static uint64_t units(const struct bvt_account *a, uint64_t ns)
{
	return (ns < LONGEST_NS ? ns : LONGEST_NS) * K + a->rest;
}

/* Charges a for having run `ns` until `now`; a warp whose limit was reached meanwhile has ended. */
static void pay(struct bvt_account *a, const struct baton_vm *vm, uint64_t ns, uint64_t now)
{
	uint64_t sum = units(a, ns);

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
	int64_t least = kit_ready_least_entry(r, &q->plain, PIN).key, a;
	uint32_t v = kit_heap_top(&q->warped_by_a), p = kit_entry_vcpu(kit_tournament_winner(&q->least));
	const struct bvt_vcpu *s;

	if (v != BATON_NONE && kit_node(r, BY_A, v)->key < least)
		least = kit_node(r, BY_A, v)->key;
	if (kit_tournament_winner(&q->least).key >= least)
		return least;
	s = bvt_vcpu(r, q->running[p] - 1);
	a = s->a.avt + (int64_t)(units(&s->a, now - s->from_ns) / s->a.weight);
	least = a < least ? a : least;
	a = kit_tournament_if(&q->least, p, KIT_NO_ENTRY).key; /* of the others that run */
	return a < least ? a : least;
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

	if (waits(r, v))
		return;
	s->seq = seq;
	if (s->a.warp > 0)
		kit_heap_insert(r, &q->warped_by_a, BY_A, v, s->a.avt, seq);
	kit_ready_insert(r, s->a.warp > 0 ? &q->warped : &q->plain, PIN, v, effective(&s->a), seq);
}

/* Returns whether it waited. */
static int dequeue(struct baton_region *r, uint32_t v)
{
	struct bvt_pool *q = bvt_pool(r);

	if (kit_ready_has(&q->plain, v)) {
		kit_ready_remove(r, &q->plain, PIN, v);
		return 1;
	}
	if (!kit_ready_has(&q->warped, v))
		return 0;
	kit_ready_remove(r, &q->warped, PIN, v);
	kit_heap_remove(r, &q->warped_by_a, BY_A, v);
	return 1;
}

/* By how much a vCPU counts as later away from home. */
static int64_t away(struct baton_region *r)
{
	uint64_t allowance = allowance_ns(r), cost = r->migration_cost_ns;

	return virtual(cost < allowance ? cost : allowance, WEIGHT_DEFAULT);
}

/* Who would come first on pcpu among those who wait, `except` left out, and its E as it counts there; BATON_NONE when
 * nobody may. */
static uint32_t first_for(struct baton_region *r, uint32_t pcpu, uint32_t except, int64_t *ret_e)
{
	struct bvt_pool *q = bvt_pool(r);
	uint32_t v = kit_ready_first(r, &q->plain, PIN, pcpu, away(r), except, ret_e), w;
	int64_t e;

	if (q->warped.count == 0)
		return v;
	w = kit_ready_first(r, &q->warped, PIN, pcpu, away(r), except, &e);
	if (w == BATON_NONE ||
	    (v != BATON_NONE && (e > *ret_e || (e == *ret_e && bvt_vcpu(r, w)->seq > bvt_vcpu(r, v)->seq))))
		return v;
	*ret_e = e;
	return w;
}

/* ---- the allowance ---- */

/* How long v may run on, from where its account stands, until it is C ahead of one whose E is `next`; 0 = it is. */
static uint64_t until_due(struct baton_region *r, uint32_t v, int64_t next)
{
	const struct bvt_account *a = &bvt_vcpu(r, v)->a;
	uint64_t left = a->warp > 0 ? warp_left(a, vm_of(r, v)) : NEVER, c = allowance_ns(r), t, behind;
	int64_t e = effective(a);

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

/* How long the vCPU that runs on pcpu may run on before v, which waits. */
static uint64_t until_before(struct baton_region *r, uint32_t pcpu, uint32_t v, uint64_t now)
{
	uint32_t u = bvt_pool(r)->running[pcpu] - 1, home = baton_vcpu(r, v)->pcpu;
	int64_t e = effective(&bvt_vcpu(r, v)->a) + (home == pcpu || home >= r->pcpu_slots ? 0 : away(r));
	uint64_t t = until_due(r, u, e), ran = now - bvt_vcpu(r, u)->from_ns;

	return t > ran ? t - ran : 0;
}

/* How far ahead the vCPU that runs on pcpu is, in a measure that does not change while it runs. */
static int64_t lead(struct bvt_pool *q, uint32_t pcpu)
{
	return -kit_tournament_at(&q->ahead, pcpu).key;
}

/* The pCPU that is to make room for v, which waits. BATON_NONE when nobody runs where it may run, or when the pCPU that was
 * most ahead is between two vCPUs: it is about to ask, or idle. */
static uint32_t rival(struct baton_region *r, uint32_t v)
{
	struct bvt_pool *q = bvt_pool(r);
	uint32_t home = baton_vcpu(r, v)->pcpu, best = kit_entry_vcpu(kit_tournament_winner(&q->ahead)), looked = 0;

	if (best != BATON_NONE && !baton_allowed(r, v, best))
		best = BATON_NONE;
	if (home < r->pcpu_slots && q->running[home] != 0 && baton_allowed(r, v, home) &&
	    (best == BATON_NONE || lead(q, home) + away(r) >= lead(q, best)))
		return home;
	if (best != BATON_NONE)
		return q->running[best] != 0 ? best : BATON_NONE;
	for (uint32_t p = 0; p < r->pcpu_slots && looked < RIVALS; p++) {
		if (q->running[p] == 0 || !baton_allowed(r, v, p))
			continue;
		looked++;
		best = best == BATON_NONE || lead(q, p) > lead(q, best) ? p : best;
	}
	return best;
}

/* The vCPU that runs on pcpu is due in t, or at once; the same pCPU may be due sooner for somebody else. */
static void note_due(struct baton_region *r, uint32_t pcpu, uint64_t t, uint64_t now)
{
	/* Not at once: whoever is asked next (preempts, for one) may see to it first. And no slice is longer than the
	 * longest. */
	t = t > r->slice_min_ns ? t : r->slice_min_ns;
	if (t <= r->slice_max_ns)
		kit_due_at(&bvt_pool(r)->due, pcpu, now + t, now);
}

/* v has begun to wait, and no pCPU is about to be asked: its rival makes room for it in time. */
static void watch(struct baton_region *r, uint32_t v, uint64_t now)
{
	uint32_t p = rival(r, v);

	if (p != BATON_NONE)
		note_due(r, p, until_before(r, p, v, now), now);
}

/* Somebody waits who could run at once, and that pCPU would not be asked otherwise. */
static void use_idle(struct baton_region *r, uint32_t except)
{
	struct bvt_pool *q = bvt_pool(r);
	uint32_t p = kit_idle_wanted(r, &q->idle, &q->plain, PIN, except);

	if (p == BATON_NONE)
		p = kit_idle_wanted(r, &q->idle, &q->warped, PIN, except);
	if (p != BATON_NONE)
		baton_kick(p);
}

/* ---- events ---- */

static int32_t bvt_attach(struct baton_region *r, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	int32_t error = kit_ready_init(r, &q->plain);

	q->timeline = now + 1;
	kit_tournament_init(&q->least, r->pcpu_slots);
	kit_tournament_init(&q->ahead, r->pcpu_slots);
	kit_due_init(r, &q->due);
	return error < 0 ? error : kit_ready_init(r, &q->warped);
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

/* v runs on pcpu, and its account stands at from_ns. */
static void note_running(struct baton_region *r, uint32_t v, uint32_t pcpu)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	int64_t e0 = effective(&s->a) - virtual(s->from_ns, WEIGHT_DEFAULT);

	kit_tournament_set(&q->least, pcpu, kit_entry(s->a.avt, 0, pcpu));
	kit_tournament_set(&q->ahead, pcpu, kit_entry(-e0, 0, pcpu));
}

static void runs(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);

	dequeue(r, v);
	s->a.kept = 0;
	s->on = pcpu + 1;
	s->from_ns = now;
	s->paid_ns = 0;
	q->running[pcpu] = v + 1;
	q->last[pcpu] = v + 1;
	kit_idle_start(&q->idle, pcpu);
	note_running(r, v, pcpu);
	kit_due_never(&q->due, pcpu);
}

static void runs_no_more(struct baton_region *r, uint32_t v)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	uint32_t pcpu = s->on - 1;

	s->on = 0;
	if (pcpu == BATON_NONE || q->running[pcpu] != v + 1)
		return;
	q->running[pcpu] = 0;
	kit_idle_stop(&q->idle, pcpu);
	kit_tournament_set(&q->least, pcpu, KIT_NO_ENTRY); /* what it was ahead is left there: see rival */
	kit_due_never(&q->due, pcpu);
}

static int32_t bvt_admit(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	struct bvt_vm *vm = baton_vm_state(r, baton_vcpu(r, v)->vm);
	uint32_t p;

	kit_list_append(r, &vm->vcpus, LINK, v);
	/* SVT is not noted here: history that is taken next may change this A. */
	s->a.avt = svt_at(r, now);
	reweigh(&s->a, baton_weight(r, v));
	switch (baton_vcpu(r, v)->state) {
	case BATON_VCPU_RUNNING:
		runs(r, v, baton_vcpu(r, v)->pcpu, now);
		break;
	case BATON_VCPU_RUNNABLE:
		begin(r, v, s->a.avt, now);
		p = kit_idle_for(r, &bvt_pool(r)->idle, v);
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
	struct bvt_vm *vm = baton_vm_state(r, baton_vcpu(r, v)->vm);

	if (waits(r, v))
		end(r, v, now);
	runs_no_more(r, v);
	kit_list_remove(r, &vm->vcpus, LINK, v);
	*bvt_vcpu(r, v) = (struct bvt_vcpu){0};
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
	int64_t e;

	if (first_for(r, pcpu, v, &e) == BATON_NONE || e <= effective(a))
		return;
	unwarp(a, now);
	if (e > a->avt)
		a->avt = e;
}

static void bvt_stop(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);

	q->lived = 1;
	runs_no_more(r, v);
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
	if (baton_allowed(r, v, pcpu))
		return;
	watch(r, v, now); /* this pCPU is asked anyway, but not for v; the others only when told */
	use_idle(r, pcpu);
}

/* Kicks the pCPUs whose time has come, if it really has; an alarm for the next. Whoever does not obey is kicked again. */
static void bvt_tick(struct baton_region *r, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	uint32_t p, v;
	uint64_t t;
	int64_t e;

	while ((p = kit_due_next(&q->due, now)) != BATON_NONE) {
		v = first_for(r, p, BATON_NONE, &e);
		if (v == BATON_NONE)
			continue;
		t = until_before(r, p, v, now);
		if (t == 0) {
			baton_kick(p);
			t = allowance_ns(r);
		}
		note_due(r, p, t, now);
	}
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
	const struct baton_vm *vm = vm_of(r, v);
	int waited;

	if (s->on != 0) {
		pay(&s->a, vm, now - s->from_ns, now);
		s->paid_ns += now - s->from_ns;
		s->from_ns = now;
	}
	waited = dequeue(r, v);
	reweigh(&s->a, baton_weight(r, v));
	if (s->a.warp > 0) {
		int64_t warp = warp_left(&s->a, vm) > 0 ? warp_of(vm) : 0;

		if (warp > 0)
			s->a.warp = warp;
		else
			unwarp(&s->a, now);
	}
	if (s->on != 0)
		note_running(r, v, s->on - 1);
	if (waited)
		enqueue(r, v, s->seq);
}

static int32_t bvt_set(struct baton_region *r, uint32_t scope, uint32_t vm, uint32_t parameter, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);

	if (scope == BATON_SCOPE_VM) {
		struct bvt_vm *m = baton_vm_state(r, vm);

		for (uint32_t v = kit_list_first(&m->vcpus); v != BATON_NONE; v = kit_list_next(r, LINK, v))
			retune(r, v, now);
	}
	if (q->plain.count + q->warped.count > 0)
		for (uint32_t p = 0; p < r->pcpu_slots; p++)
			if (q->running[p] != 0)
				note_due(r, p, 0, now);
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
	int64_t e;
	uint32_t v = put_aside(r, pcpu), next = first_for(r, pcpu, v, &e);

	if (v != BATON_NONE && next != BATON_NONE && until_due(r, v, e) == 0)
		v = BATON_NONE; /* its allowance is used up */
	if (v == BATON_NONE) {
		v = next;
		if (v == BATON_NONE)
			return (struct baton_choice){.vcpu = BATON_NONE};
		next = first_for(r, pcpu, v, &e);
	}
	if (next == BATON_NONE)
		return (struct baton_choice){.vcpu = v};
	return (struct baton_choice){.vcpu = v, .slice_ns = until_due(r, v, e)};
}

static uint32_t bvt_preempts(struct baton_region *r, uint32_t woken, uint64_t now)
{
	uint32_t p = kit_idle_for(r, &bvt_pool(r)->idle, woken);

	if (p != BATON_NONE || !waits(r, woken))
		return p;
	p = rival(r, woken);
	return p != BATON_NONE && until_before(r, p, woken, now) == 0 ? p : BATON_NONE;
}

/* How far the VM's best vCPU is before SVT, in virtual us: what it would count if it were woken now. */
static int32_t bvt_priority(struct baton_region *r, uint32_t vm, uint64_t now)
{
	struct bvt_vm *m = baton_vm_state(r, vm);
	int64_t svt = svt_at(r, now), best = INT32_MIN;

	for (uint32_t v = kit_list_first(&m->vcpus); v != BATON_NONE; v = kit_list_next(r, LINK, v)) {
		struct bvt_account a = account_at(r, v, now);
		int64_t us;

		if (baton_vcpu(r, v)->state == BATON_VCPU_BLOCKED) {
			a.avt = a.avt > svt ? a.avt : svt;
			a.warp = warp_of(baton_vm(r, vm));
		}
		us = (svt - effective(&a)) * (WEIGHT_DEFAULT / K) / 1000;
		best = us > best ? us : best;
	}
	return best > INT32_MAX ? INT32_MAX : (int32_t)best;
}

static uint32_t bvt_choose_console(struct baton_region *r, uint64_t now)
{
	return kit_console(r, bvt_pool(r)->boosted);
}

/* ---- history ---- */

static int32_t bvt_give(struct baton_region *r, uint32_t v, struct baton_history *h, uint64_t now)
{
	struct bvt_pool *q = bvt_pool(r);
	struct bvt_vcpu *s = bvt_vcpu(r, v);
	struct bvt_account a = account_at(r, v, now);
	uint32_t pcpu = baton_vcpu(r, v)->pcpu;
	struct bvt_tail t = {.a = a,
			     .svt = q->svt,
			     .seq = s->seq,
			     .pool_seq = q->seq,
			     .timeline = q->timeline,
			     .last = pcpu < r->pcpu_slots && q->last[pcpu] == v + 1};
	int64_t ahead = a.avt - svt_at(r, now);

	if (s->on != 0) {
		t.least = kit_tournament_at(&q->least, s->on - 1).key;
		t.ahead = kit_tournament_at(&q->ahead, s->on - 1).key;
	}
	h->service_ns = a.service_ns;
	h->owed_ns = ahead < 0 ? (int64_t)real((uint64_t)-ahead, a.weight) : -(int64_t)real((uint64_t)ahead, a.weight);
	h->since_run_ns = s->on != 0 ? 0 : now - a.stopped_ns;
	kit_history(r, v, h, "bvt", 2, &t, sizeof t);
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
	if (s->on != 0) {
		kit_tournament_set(&q->least, s->on - 1, kit_entry(t->least, 0, s->on - 1));
		kit_tournament_set(&q->ahead, s->on - 1, kit_entry(t->ahead, 0, s->on - 1));
	}
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
	const struct bvt_tail *t = kit_history_tail(h, "bvt", 2, sizeof *t);
	int64_t near = virtual((uint64_t)SECOND, WEIGHT_DEFAULT), owed = h->owed_ns;
	uint64_t seq = s->seq;
	int waited = dequeue(r, v);

	if (t != NULL && t->a.weight != 0 &&
	    (!q->lived || (q->joined == t->timeline && t->svt - q->svt < near && q->svt - t->svt < near))) {
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
		if (s->on != 0)
			note_running(r, v, s->on - 1);
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
	kit_put_field(&t, "waiting", q->plain.count + q->warped.count);
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
    bvt, .version = "1.1",
    .description = "Borrowed virtual time: shares by weight, low latency by warping (Duda and Cheriton 1999)",
    .state_version = 2, .pool_state_size = sizeof(struct bvt_pool), .vcpu_state_size = sizeof(struct bvt_vcpu),
    .vm_state_size = sizeof(struct bvt_vm), .parameters = bvt_parameters,
    .parameter_count = sizeof bvt_parameters / sizeof bvt_parameters[0], .attach = bvt_attach, .admit = bvt_admit,
    .retire = bvt_retire, .wake = bvt_wake, .sleep = bvt_sleep, .start = bvt_start, .stop = bvt_stop, .tick = bvt_tick,
    .boost = bvt_boost, .set = bvt_set, .choose = bvt_choose, .preempts = bvt_preempts, .priority = bvt_priority,
    .choose_console = bvt_choose_console, .give = bvt_give, .take = bvt_take, .dump = bvt_dump);
