/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fair.c - earliest eligible virtual deadline first (Stoica and Abdel-Wahab 1995), with shares of VMs or of vCPUs.
 *
 * An account (baton/kit_share.h: position x, virtual time V, lag V - x) is a VM's, which all of its vCPUs share (group = 1),
 * or each vCPU's own (group = 0).
 *
 *   request    what a vCPU asks for: a slice, from a start s to a deadline d = s + slice by weight. The first one after a
 *              wake-up starts at x; later ones behind the rest that other vCPUs of the same account still ask for.
 *              Who is put aside in the middle keeps its request. After a wake-up, d is not later than what V will be
 *              latency_ns from then: the hint makes a vCPU sooner, never richer.
 *   eligible   s <= V. The eligible vCPU with the earliest d runs; if there is none that may, the one with the least s.
 *
 * Two queues hold those who wait, `eligible` by d and `early` by s. Who is overtaken by V moves from the one to the other
 * in the next event, once per request and MOVES at most in one event: choose looks at two tops, and each event takes
 * O(log n).
 *
 * Accounts whose vCPU may not run on all pCPUs do not count in V, since the load of few pCPUs may differ from that of all;
 * and when they become active, x is near that of the vCPU that runs where theirs competes.
 *
 * Several pCPUs: one order for all. Who ran last elsewhere counts as later by what the move costs, a slice at most.
 * A woken vCPU takes an idle pCPU, else one where the deadline is later than its own: that where it ran last, or that
 * with the latest of all.
 */
#include "baton/kit_share.h"

#define WEIGHT_DEFAULT 256
#define MOVES	       64
#define PIN	       offsetof(struct fair_vcpu, pin)
#define OWED_MAX_NS    INT64_C(100000000)
#define SECOND	       INT64_C(1000000000)

/* What a vCPU asks for; also part of its history record. */
struct fair_request {
	int64_t start, deadline;
	int64_t left_ns;
	int64_t lag; /* of its account when it was started */
	uint64_t seq;
};

struct fair_vcpu {
	struct fair_request q;
	uint64_t from_ns; /* running and unpaid since then */
	uint64_t service_ns, stopped_ns;
	uint32_t on;	   /* pCPU where it runs + 1 */
	uint32_t admitted; /* 1 = yes */
	struct kit_account own;
	struct kit_pin pin;
};

struct fair_pool {
	struct kit_shares shares;
	uint64_t seq;
	uint64_t timeline; /* name of this virtual time: when it was attached */
	uint64_t joined;   /* another one that it continues (take) */
	uint32_t lived;	   /* has heard an event: joins no other timeline any more */
	uint32_t group;	   /* accounts are VMs */
	uint32_t boosted;  /* VM that has the console's focus + 1 */
	struct kit_idle idle;
	uint32_t on[BATON_PCPUS_MAX]; /* who runs there + 1 */
	struct kit_tournament latest; /* the deadlines of those who run, the latest first */
	struct kit_ready eligible, early;
};

/* What fair tells its own next version. */
struct fair_tail {
	struct fair_request q;
	uint64_t timeline, pool_seq;
	struct kit_account_past account;
	uint64_t stopped_ns;
	uint32_t group, eligible;
};
_Static_assert(sizeof(struct fair_tail) <= sizeof((struct baton_history){0}.tail), "a tail has 256 bytes");

enum { SLICE_US, GROUP, WEIGHT, LATENCY_NS };

static const struct baton_parameter fair_parameters[] = {
    [SLICE_US] = {.name = "slice_us",
		  .unit = "us",
		  .help = "How long a vCPU runs at a time; shares are exact to about one slice",
		  .scope = BATON_SCOPE_POOL,
		  .min = 100,
		  .max = 1000000,
		  .initial = 5000},
    [GROUP] = {.name = "group",
	       .help = "1 = a VM's share is by its weight, however many vCPUs it has; 0 = each vCPU's is",
	       .scope = BATON_SCOPE_POOL,
	       .max = 1,
	       .initial = 1},
    [WEIGHT] = {.name = "weight",
		.help = "Share in proportion to others: of the VM (group = 1) or of each of its vCPUs",
		.scope = BATON_SCOPE_VM,
		.min = 1,
		.max = 65536,
		.initial = WEIGHT_DEFAULT},
    [LATENCY_NS] = {.name = "latency_ns",
		    .unit = "ns",
		    .help = "A woken vCPU should run as soon as this, within its share; 0 = no hint",
		    .scope = BATON_SCOPE_VM,
		    .max = 10 * SECOND},
};

static struct fair_pool *fair_pool(struct baton_region *r)
{
	return baton_pool_state(r);
}

static struct fair_vcpu *fair_vcpu(struct baton_region *r, uint32_t v)
{
	return baton_vcpu_state(r, v);
}

static struct kit_account *account(struct baton_region *r, uint32_t v)
{
	return fair_pool(r)->group ? baton_vm_state(r, baton_vcpu(r, v)->vm) : &fair_vcpu(r, v)->own;
}

static int waits(struct baton_region *r, uint32_t v)
{
	return kit_ready_has(&fair_pool(r)->eligible, v) || kit_ready_has(&fair_pool(r)->early, v);
}

static int64_t slice_ns(struct baton_region *r)
{
	return baton_param(r, SLICE_US) * 1000;
}

/* ---- virtual time ---- */

/* V moves on to now, and those whom it overtakes become eligible. */
static void advance(struct baton_region *r, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	uint32_t v;

	q->lived = 1;
	kit_shares_advance(&q->shares, now);
	for (int n = 0; n < MOVES && q->early.count > 0; n++) {
		v = kit_ready_least(r, &q->early, PIN);
		if (fair_vcpu(r, v)->q.start > q->shares.base)
			break;
		kit_ready_remove(r, &q->early, PIN, v);
		kit_ready_insert(r, &q->eligible, PIN, v, fair_vcpu(r, v)->q.deadline, fair_vcpu(r, v)->q.seq);
	}
}

/* The virtual time that v's account is placed by: V, but for a pinned vCPU near that of who runs where it competes. */
static int64_t here(struct baton_region *r, uint32_t v, const struct kit_account *a)
{
	struct fair_pool *q = fair_pool(r);
	uint32_t running;

	if (!kit_pinned(r, v) || (running = q->on[kit_pinned_home(r, v)]) == 0)
		return q->shares.base;
	return kit_shares_near(&q->shares, a, fair_vcpu(r, running - 1)->q.start);
}

/* ---- requests ---- */

/* A request of v's from start on. The one of a woken vCPU is shorter when others of its account are there, since it is
 * not behind theirs, and its deadline follows the VM's hint. */
static void ask_for(struct baton_region *r, uint32_t v, int64_t start, int woken)
{
	struct fair_pool *q = fair_pool(r);
	struct kit_account *a = account(r, v);
	struct fair_vcpu *s = fair_vcpu(r, v);
	uint64_t hint = baton_vm(r, baton_vcpu(r, v)->vm)->latency_ns;
	int64_t length = a->slice, left = slice_ns(r);

	if (woken && a->active > 1) {
		length /= a->active;
		left /= a->active;
	}
	if (woken && hint > 0 && hint < (uint64_t)SECOND && q->shares.weight > 0) {
		int64_t soon =
		    (int64_t)hint * KIT_UNITS * (q->shares.running > 0 ? q->shares.running : 1) / q->shares.weight;

		if (soon < length) {
			length = soon;
			left = kit_real(soon, a->weight);
		}
	}
	if (left < (int64_t)r->slice_min_ns)
		left = (int64_t)r->slice_min_ns;
	s->q.start = start;
	s->q.deadline = start + length;
	s->q.left_ns = left;
	a->left_ns += left;
}

static void enqueue(struct baton_region *r, uint32_t v, uint64_t seq)
{
	struct fair_pool *q = fair_pool(r);
	struct fair_request *f = &fair_vcpu(r, v)->q;

	f->seq = seq;
	if (f->start <= q->shares.base)
		kit_ready_insert(r, &q->eligible, PIN, v, f->deadline, seq);
	else
		kit_ready_insert(r, &q->early, PIN, v, f->start, seq);
}

static void dequeue(struct baton_region *r, uint32_t v)
{
	kit_ready_remove(r, &fair_pool(r)->eligible, PIN, v);
	kit_ready_remove(r, &fair_pool(r)->early, PIN, v);
}

/* Where the request of a woken vCPU starts: at x, which may be far from here when others of its account run elsewhere. */
static int64_t woken_start(struct baton_region *r, uint32_t v, const struct kit_account *a)
{
	int64_t latest = kit_account_latest(a, here(r, v, a));

	return a->x < latest ? a->x : latest;
}

/* v runs or waits from now on. */
static void begin(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct kit_account *a = account(r, v);

	kit_account_settle(&fair_pool(r)->shares, a, now);
	kit_account_enter(&fair_pool(r)->shares, a, here(r, v, a), !kit_pinned(r, v));
	ask_for(r, v, woken_start(r, v, a), 1);
}

/* v neither runs nor waits from now on. */
static void end(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	struct kit_account *a = account(r, v);

	dequeue(r, v);
	kit_account_settle(&q->shares, a, now);
	kit_account_leave(&q->shares, a, fair_vcpu(r, v)->q.left_ns);
}

/* ---- those who run ---- */

/* Sooner in the tournament is who has the later deadline. */
static void note_deadline(struct fair_pool *q, uint32_t pcpu, int64_t deadline)
{
	kit_tournament_set(&q->latest, pcpu, kit_entry(-deadline, 0, pcpu));
}

static void runs(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	struct kit_account *a = account(r, v);
	struct fair_vcpu *s = fair_vcpu(r, v);

	kit_account_settle(&q->shares, a, now);
	kit_account_start(&q->shares, a);
	if (q->shares.weight == 0 && s->q.start > q->shares.base)
		q->shares.base = s->q.start; /* only pinned ones are there: V goes with them */
	s->on = pcpu + 1;
	s->from_ns = now;
	s->q.lag = q->shares.base - a->x;
	q->on[pcpu] = v + 1;
	kit_idle_start(&q->idle, pcpu);
	note_deadline(q, pcpu, s->q.deadline);
}

/* The opposite; the account is settled. */
static void runs_no_more(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	struct kit_account *a = account(r, v);
	struct fair_vcpu *s = fair_vcpu(r, v);
	uint32_t pcpu = s->on - 1;

	if (s->on == 0)
		return;
	s->q.left_ns -= (int64_t)(now - s->from_ns);
	s->on = 0;
	kit_account_stop(&q->shares, a);
	if (q->on[pcpu] != v + 1)
		return;
	q->on[pcpu] = 0;
	kit_idle_stop(&q->idle, pcpu);
	kit_tournament_set(&q->latest, pcpu, KIT_NO_ENTRY);
}

static void use_idle(struct baton_region *r, uint32_t except)
{
	struct fair_pool *q = fair_pool(r);
	uint32_t p = kit_idle_wanted(r, &q->idle, &q->eligible, PIN, except);

	if (p == BATON_NONE)
		p = kit_idle_wanted(r, &q->idle, &q->early, PIN, except);
	if (p != BATON_NONE)
		baton_kick(p);
}

/* ---- events ---- */

static int32_t fair_attach(struct baton_region *r, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);

	q->timeline = now + 1;
	q->shares.summed_ns = now;
	q->group = (uint32_t)baton_param(r, GROUP);
	kit_tournament_init(&q->latest, r->pcpu_slots);
	kit_ready_init(r, &q->early);
	return kit_ready_init(r, &q->eligible);
}

/* V does not move here: history that is taken next may change what is begun. */
static int32_t fair_admit(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	struct kit_account *a = account(r, v);
	uint32_t state = baton_vcpu(r, v)->state, p;

	fair_vcpu(r, v)->admitted = 1;
	kit_account_settle(&q->shares, a, now);
	if (a->members++ == 0) {
		a->x = q->shares.base;
		kit_account_weigh(&q->shares, a, baton_weight(r, v), slice_ns(r));
	}
	if (state == BATON_VCPU_BLOCKED)
		return 0;
	begin(r, v, now);
	if (state == BATON_VCPU_RUNNING) {
		runs(r, v, baton_vcpu(r, v)->pcpu, now);
		return 0;
	}
	enqueue(r, v, ++q->seq);
	p = kit_idle_for(r, &q->idle, v);
	if (p != BATON_NONE)
		baton_kick(p);
	return 0;
}

static void fair_retire(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	struct kit_account *a = account(r, v);
	int was_active = waits(r, v) || fair_vcpu(r, v)->on != 0;

	advance(r, now);
	kit_account_settle(&q->shares, a, now);
	runs_no_more(r, v, now);
	if (was_active)
		end(r, v, now);
	if (--a->members == 0)
		*a = (struct kit_account){0};
	*fair_vcpu(r, v) = (struct fair_vcpu){0};
}

static void fair_wake(struct baton_region *r, uint32_t v, uint64_t now)
{
	advance(r, now);
	begin(r, v, now);
	enqueue(r, v, ++fair_pool(r)->seq);
}

static void fair_sleep(struct baton_region *r, uint32_t v, uint64_t now)
{
	advance(r, now);
	end(r, v, now);
}

static void fair_start(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	fair_pool(r)->lived = 1;
	dequeue(r, v);
	runs(r, v, pcpu, now);
	use_idle(r, pcpu);
}

/* Where the request of one who yields starts: behind all that are eligible now, or behind the next in line. */
static int64_t after_the_next(struct baton_region *r, uint32_t pcpu, int64_t start)
{
	struct fair_pool *q = fair_pool(r);
	int64_t latest;
	uint32_t next;

	if (start <= q->shares.base)
		start = q->shares.base + 1;
	if (kit_ready_first(r, &q->eligible, PIN, pcpu, 0, BATON_NONE, NULL) != BATON_NONE)
		return start;
	next = kit_ready_first(r, &q->early, PIN, pcpu, 0, BATON_NONE, NULL);
	if (next == BATON_NONE || fair_vcpu(r, next)->q.start <= start)
		return start;
	latest = kit_account_latest(account(r, next), start); /* it may be far ahead of all others */
	return fair_vcpu(r, next)->q.start < latest ? fair_vcpu(r, next)->q.start : latest;
}

static void fair_stop(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	struct kit_account *a = account(r, v);
	struct fair_vcpu *s = fair_vcpu(r, v);
	int yields = why == BATON_STOP_YIELDED || why == BATON_STOP_IO;

	advance(r, now);
	kit_account_pay(a, now);
	runs_no_more(r, v, now);
	s->service_ns += ran_ns;
	s->stopped_ns = now;
	if (why == BATON_STOP_BLOCKED) {
		end(r, v, now);
		return;
	}
	if (kit_account_cut(&q->shares, a, yields ? 0 : s->q.lag))
		advance(r, now);
	if (yields || s->q.left_ns < (int64_t)r->slice_min_ns) {
		int64_t start;

		a->left_ns -= s->q.left_ns;
		start = kit_account_behind(a);
		ask_for(r, v, yields ? after_the_next(r, pcpu, start) : start, 0);
		s->q.seq = ++q->seq;
	}
	enqueue(r, v, s->q.seq);
	if (!baton_allowed(r, v, pcpu)) /* this pCPU is asked anyway; the others only when told */
		use_idle(r, pcpu);
}

static void fair_boost(struct baton_region *r, uint32_t vm, uint64_t now)
{
	fair_pool(r)->boosted = vm + 1;
}

/* ---- tuning ---- */

/* The accounts are others from now on: all vCPUs leave the old ones and join the new ones at V. */
static void regroup(struct baton_region *r, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);

	for (int joining = 0; joining <= 1; joining++) {
		if (joining)
			q->group = (uint32_t)baton_param(r, GROUP);
		for (uint32_t v = 0; v < r->vcpu_slots; v++) {
			struct fair_vcpu *s = fair_vcpu(r, v);
			uint32_t state = baton_vcpu(r, v)->state, pcpu = s->on - 1;
			struct kit_account *a;

			if (!s->admitted)
				continue;
			a = account(r, v);
			kit_account_settle(&q->shares, a, now);
			if (joining) {
				if (a->members++ == 0) {
					a->x = q->shares.base;
					kit_account_weigh(&q->shares, a, baton_weight(r, v), slice_ns(r));
				}
				if (state == BATON_VCPU_BLOCKED)
					continue;
				begin(r, v, now);
				if (state == BATON_VCPU_RUNNING)
					runs(r, v, baton_vcpu(r, v)->pcpu, now);
				else
					enqueue(r, v, s->q.seq);
				continue;
			}
			runs_no_more(r, v, now);
			if (pcpu != BATON_NONE || waits(r, v))
				end(r, v, now);
			if (--a->members == 0)
				*a = (struct kit_account){0};
		}
	}
}

static int32_t fair_set(struct baton_region *r, uint32_t scope, uint32_t vm, uint32_t parameter, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);

	if (parameter == LATENCY_NS)
		return 0; /* from the next wake-up on */
	advance(r, now);
	if (parameter == GROUP) {
		regroup(r, now);
		return 0;
	}
	for (uint32_t v = 0; v < r->vcpu_slots; v++) {
		struct kit_account *a = account(r, v);

		if (!fair_vcpu(r, v)->admitted || (scope == BATON_SCOPE_VM && baton_vcpu(r, v)->vm != vm))
			continue;
		kit_account_settle(&q->shares, a, now);
		kit_account_weigh(&q->shares, a, baton_weight(r, v), slice_ns(r));
	}
	return 0;
}

/* ---- questions ---- */

/* What the move to another pCPU counts, in virtual time at the default weight. */
static int64_t away(struct baton_region *r)
{
	int64_t cost = (int64_t)r->migration_cost_ns, slice = slice_ns(r);

	return kit_virtual(cost < slice ? cost : slice, WEIGHT_DEFAULT);
}

static struct baton_choice fair_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	uint32_t v = kit_ready_first(r, &q->eligible, PIN, pcpu, away(r), BATON_NONE, NULL);

	if (v == BATON_NONE)
		v = kit_ready_first(r, &q->early, PIN, pcpu, away(r), BATON_NONE, NULL);
	if (v == BATON_NONE)
		return (struct baton_choice){.vcpu = BATON_NONE};
	return (struct baton_choice){.vcpu = v, .slice_ns = (uint64_t)fair_vcpu(r, v)->q.left_ns};
}

static uint32_t fair_preempts(struct baton_region *r, uint32_t woken, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	uint32_t p = kit_idle_for(r, &q->idle, woken), home = baton_vcpu(r, woken)->pcpu;
	int64_t deadline = fair_vcpu(r, woken)->q.deadline;

	if (p != BATON_NONE || !kit_ready_has(&q->eligible, woken))
		return p;
	if (home < r->pcpu_slots && baton_allowed(r, woken, home) && q->on[home] != 0 &&
	    fair_vcpu(r, q->on[home] - 1)->q.deadline > deadline)
		return home;
	p = kit_entry_vcpu(q->latest.entry[1]);
	if (p != BATON_NONE && -q->latest.entry[1].key > deadline + away(r) && baton_allowed(r, woken, p))
		return p;
	return BATON_NONE;
}

static int64_t lag_at(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct kit_account a = *account(r, v);

	kit_account_pay(&a, now);
	return kit_shares_at(&fair_pool(r)->shares, now) - a.x;
}

/* What the VM is owed, in us: its account, or the best of its vCPUs. */
static int32_t fair_priority(struct baton_region *r, uint32_t vm, uint64_t now)
{
	int64_t best = INT32_MIN;

	for (uint32_t v = 0; v < r->vcpu_slots; v++) {
		int64_t us;

		if (!fair_vcpu(r, v)->admitted || baton_vcpu(r, v)->vm != vm)
			continue;
		us = kit_real(lag_at(r, v, now), account(r, v)->weight) / 1000;
		best = us > best ? us : best;
	}
	return best > INT32_MAX ? INT32_MAX : (int32_t)best;
}

static uint32_t fair_choose_console(struct baton_region *r, uint64_t now)
{
	return kit_console(r, fair_pool(r)->boosted);
}

/* ---- history ---- */

static int32_t fair_give(struct baton_region *r, uint32_t v, struct baton_history *h, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	struct fair_vcpu *s = fair_vcpu(r, v);
	struct kit_account *a = account(r, v);
	uint64_t ran = s->on != 0 ? now - s->from_ns : 0;
	struct fair_tail t = {.q = s->q,
			      .timeline = q->timeline,
			      .pool_seq = q->seq,
			      .account = kit_account_save(&q->shares, *a, now),
			      .stopped_ns = s->stopped_ns,
			      .group = q->group,
			      .eligible = kit_ready_has(&q->eligible, v) != 0};

	t.q.left_ns -= (int64_t)ran;
	h->service_ns = s->service_ns + ran;
	h->owed_ns = kit_real(lag_at(r, v, now), a->weight) / (a->active > 0 ? a->active : 1);
	h->since_run_ns = s->on != 0 ? 0 : now - s->stopped_ns;
	kit_history(r, v, h, "fair", 1, &t, sizeof t);
	return 0;
}

/* Own records of the timeline that is continued here: the account and the request exactly as they were. */
static void take_exactly(struct baton_region *r, uint32_t v, const struct fair_tail *t, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	struct kit_account *a = account(r, v);
	struct fair_vcpu *s = fair_vcpu(r, v);
	int waited = waits(r, v);

	q->joined = t->timeline;
	q->seq = t->pool_seq > q->seq ? t->pool_seq : q->seq;
	kit_account_settle(&q->shares, a, now);
	kit_account_restore(&q->shares, a, &t->account);
	if (waited || s->on != 0)
		a->left_ns += t->q.left_ns - s->q.left_ns;
	dequeue(r, v);
	s->q = t->q;
	s->stopped_ns = t->stopped_ns;
	if (waited && t->eligible)
		kit_ready_insert(r, &q->eligible, PIN, v, s->q.deadline, s->q.seq);
	else if (waited)
		kit_ready_insert(r, &q->early, PIN, v, s->q.start, s->q.seq);
	if (s->on != 0)
		note_deadline(q, s->on - 1, s->q.deadline);
}

/* Other records: the distance to the fair share, from V as it was noted last. */
static void take_owed(struct baton_region *r, uint32_t v, int64_t owed, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	struct kit_account *a = account(r, v);
	struct fair_vcpu *s = fair_vcpu(r, v);
	int waited = waits(r, v);

	owed = owed > OWED_MAX_NS ? OWED_MAX_NS : owed < -OWED_MAX_NS ? -OWED_MAX_NS : owed;
	kit_account_settle(&q->shares, a, now);
	kit_account_owe(&q->shares, a, owed); /* the vCPUs of a VM add to the one account, each its part */
	if (!waited && s->on == 0)
		return;
	s->q.deadline -= s->q.start;
	s->q.start = woken_start(r, v, a);
	s->q.deadline += s->q.start;
	if (s->on != 0)
		note_deadline(q, s->on - 1, s->q.deadline);
	if (!waited)
		return;
	dequeue(r, v);
	enqueue(r, v, s->q.seq);
}

static int32_t fair_take(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now)
{
	struct fair_pool *q = fair_pool(r);
	struct fair_vcpu *s = fair_vcpu(r, v);
	const struct fair_tail *t = kit_history_tail(h, "fair", 1, sizeof *t);

	s->service_ns = h->service_ns;
	s->stopped_ns = h->since_run_ns < now ? now - h->since_run_ns : 0;
	if (t != NULL && t->group == q->group && kit_account_sound(&q->shares, &t->account, !q->lived) &&
	    (!q->lived || q->joined == t->timeline))
		take_exactly(r, v, t, now);
	else
		take_owed(r, v, h->owed_ns, now);
	return 0;
}

static uint32_t fair_dump(struct baton_region *r, char *buf, uint32_t size, uint64_t now)
{
	struct kit_text t = {.buf = buf, .size = size};
	struct fair_pool *q = fair_pool(r);

	kit_put(&t, "virtual deadlines");
	kit_put_field(&t, "slice_us", baton_param(r, SLICE_US));
	kit_put_field(&t, "group", q->group);
	kit_put_field(&t, "V", kit_shares_at(&q->shares, now));
	kit_put_field(&t, "eligible", q->eligible.count);
	kit_put_field(&t, "early", q->early.count);
	kit_put(&t, "\n");
	for (uint32_t v = 0; v < r->vcpu_slots && t.length < size; v++) {
		struct fair_vcpu *s = fair_vcpu(r, v);
		struct kit_account *a;

		if (!s->admitted)
			continue;
		a = account(r, v);
		kit_put(&t, s->on != 0			     ? "  runs    "
			    : kit_ready_has(&q->eligible, v) ? "  eligible"
			    : kit_ready_has(&q->early, v)    ? "  early   "
							     : "  blocked ");
		kit_put_field(&t, "vcpu", v);
		kit_put_field(&t, "vm", baton_vcpu(r, v)->vm);
		kit_put_field(&t, "weight", a->weight);
		kit_put_field(&t, "lag_us", kit_real(lag_at(r, v, now), a->weight) / 1000);
		kit_put_field(&t, "start-V", s->q.start - kit_shares_at(&q->shares, now));
		kit_put_field(&t, "deadline-V", s->q.deadline - kit_shares_at(&q->shares, now));
		kit_put_field(&t, "ran_us", (int64_t)(s->service_ns / 1000));
		kit_put(&t, "\n");
	}
	return t.length;
}

BATON_SCHEDULER(fair, .version = "1.0",
		.description = "Shares of VMs by weight; earliest eligible virtual deadline first, with a latency hint",
		.state_version = 1, .pool_state_size = sizeof(struct fair_pool),
		.vcpu_state_size = sizeof(struct fair_vcpu), .vm_state_size = sizeof(struct kit_account),
		.parameters = fair_parameters, .parameter_count = sizeof fair_parameters / sizeof fair_parameters[0],
		.attach = fair_attach, .admit = fair_admit, .retire = fair_retire, .wake = fair_wake,
		.sleep = fair_sleep, .start = fair_start, .stop = fair_stop, .boost = fair_boost, .set = fair_set,
		.choose = fair_choose, .preempts = fair_preempts, .priority = fair_priority,
		.choose_console = fair_choose_console, .give = fair_give, .take = fair_take, .dump = fair_dump);
