/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credit.c - shares of VMs by weight, caps, and a boost for those who wake.
 *
 * A VM's credit is the lag of its account (baton/kit_share.h): it grows with V as the others run, by weight, and is spent
 * by running. Credit accrues all the time, so there is no moment of accounting to hide from.
 *
 *   order      The vCPU whose request starts first in virtual time runs, for one slice: VMs that have credit (their x is
 *              before V: "under") come before those that have none ("over"), and who is over is served by weight too,
 *              as long as nobody under is there: work is conserved. One request of a VM starts behind the other.
 *   boost      A woken vCPU whose VM is under goes before all that are not boosted, and preempts one of them. It is paid
 *              from the VM's boost budget, boost_us in every period, the shortest slice at least; with the budget or the
 *              credit gone it takes its place in the order. So no pattern of naps gains more than the share, and others
 *              are disturbed a limited number of times.
 *   cap        A VM may run cap_percent of one pCPU, all of its vCPUs together: an allowance per period. What a vCPU will
 *              use at most is set aside when it starts, and what it did not use comes back when it stops. With nothing
 *              left, the VM's vCPUs are withheld as if they slept, until an alarm at the beginning of a period. Running
 *              beyond the allowance (a shortest slice, somebody else's decision) is made up for later; what the VM could
 *              not use because it had to wait is kept; both for PERIODS at most.
 *
 * Times. Each event O(log n); withholding a VM or letting it go on takes O(vCPUs of this VM), and a tick also O(pCPUs).
 *
 * Several pCPUs: one order for all. Who ran last elsewhere counts as later by what the move costs, a slice at most. VMs that
 * become active by a vCPU that may not run everywhere do not count in V (see fair.c).
 */
#include "baton/kit_share.h"

#define WEIGHT_DEFAULT 256
#define PERIODS	       4
#define PIN	       offsetof(struct credit_vcpu, pin)
#define LINK	       offsetof(struct credit_vcpu, link)
#define OWED_MAX_NS    INT64_C(100000000)

/* What a vCPU asks for. */
struct credit_request {
	int64_t start;
	int64_t left_ns;
	int64_t lag;	      /* of its account when it was started */
	int64_t set_aside_ns; /* of the cap, while it runs */
	int64_t prepaid_ns;   /* of its boost, when it woke */
	uint64_t seq;
	uint32_t boosted; /* waits or runs before those that are not */
	uint32_t held;	  /* runnable but withheld: it has no part in its account */
	uint32_t capped;  /* it runs and is charged to the cap */
	uint32_t reserved;
};

struct credit_vcpu {
	struct credit_request q;
	uint64_t from_ns; /* running and unpaid since then */
	uint64_t service_ns, stopped_ns;
	uint32_t on;	   /* pCPU where it runs + 1 */
	uint32_t admitted; /* 1 = yes */
	struct kit_link link;
	struct kit_pin pin;
};

/* What a VM may use of the period numbered so. */
struct credit_budget {
	int64_t cap_ns; /* besides what is set aside; below 0 = overdrawn */
	int64_t boost_ns;
	uint64_t period;
};

struct credit_vm {
	struct kit_account account;
	struct credit_budget budget;
	struct kit_list waiting; /* with a cap: its vCPUs that wait, withheld or not */
	uint32_t spent;		 /* they are withheld */
	uint32_t listed;	 /* in the pool's list of those who are, or were */
	uint32_t next;		 /* there: VM + 1 */
	uint32_t reserved;
};

struct credit_pool {
	struct kit_shares shares;
	uint64_t seq;
	uint64_t timeline;  /* name of this virtual time: when it was attached */
	uint64_t joined;    /* another one that it continues (take) */
	uint64_t origin_ns; /* when period 0 began */
	uint64_t alarm_ns;  /* the last one that was asked for */
	uint32_t lived;	    /* has heard an event: joins no other timeline any more */
	uint32_t console;   /* VM that has its focus + 1 */
	uint32_t spent;	    /* first VM + 1 */
	uint32_t capped;    /* vCPUs with a cap that run */
	struct kit_idle idle;
	uint32_t on[BATON_PCPUS_MAX]; /* who runs there + 1 */
	struct kit_tournament last;   /* those who run and are not boosted, by start, the last first */
	struct kit_ready ready, boosted;
};

/* What credit tells its own next version. */
struct credit_tail {
	struct credit_request q;
	struct credit_budget budget;
	struct kit_account_past account;
	uint64_t timeline, origin_ns, pool_seq, stopped_ns;
	uint32_t spent;
	uint32_t reserved;
};
_Static_assert(sizeof(struct credit_tail) <= sizeof((struct baton_history){0}.tail), "a tail has 256 bytes");

enum { SLICE_US, PERIOD_US, BOOST_US, WEIGHT, CAP_PERCENT };

static const struct baton_parameter credit_parameters[] = {
    [SLICE_US] = {.name = "slice_us",
		  .unit = "us",
		  .help = "How long a vCPU runs at a time",
		  .scope = BATON_SCOPE_POOL,
		  .min = 100,
		  .max = 1000000,
		  .initial = 5000},
    [PERIOD_US] = {.name = "period_us",
		   .unit = "us",
		   .help = "Caps and boosts are per period",
		   .scope = BATON_SCOPE_POOL,
		   .min = 1000,
		   .max = 1000000,
		   .initial = 30000},
    [BOOST_US] = {.name = "boost_us",
		  .unit = "us",
		  .help = "How long woken vCPUs of one VM may run before others, per period; 0 = no boost",
		  .scope = BATON_SCOPE_POOL,
		  .max = 1000000,
		  .initial = 3000},
    [WEIGHT] = {.name = "weight",
		.help = "Share of the VM in proportion to others",
		.scope = BATON_SCOPE_VM,
		.min = 1,
		.max = 65536,
		.initial = WEIGHT_DEFAULT},
    [CAP_PERCENT] = {.name = "cap_percent",
		     .unit = "%",
		     .help = "The VM runs at most this much of one pCPU, all of its vCPUs together; 0 = no cap",
		     .scope = BATON_SCOPE_VM,
		     .max = 100 * BATON_PCPUS_MAX},
};

static struct credit_pool *credit_pool(struct baton_region *r)
{
	return baton_pool_state(r);
}

static struct credit_vcpu *credit_vcpu(struct baton_region *r, uint32_t v)
{
	return baton_vcpu_state(r, v);
}

static struct credit_vm *credit_vm(struct baton_region *r, uint32_t v)
{
	return baton_vm_state(r, baton_vcpu(r, v)->vm);
}

static int waits(struct baton_region *r, uint32_t v)
{
	return kit_ready_has(&credit_pool(r)->ready, v) || kit_ready_has(&credit_pool(r)->boosted, v);
}

static int64_t slice_ns(struct baton_region *r)
{
	return baton_param(r, SLICE_US) * 1000;
}

static uint64_t period_ns(struct baton_region *r)
{
	return (uint64_t)baton_param(r, PERIOD_US) * 1000;
}

static void advance(struct baton_region *r, uint64_t now)
{
	credit_pool(r)->lived = 1;
	kit_shares_advance(&credit_pool(r)->shares, now);
}

/* ---- budgets ---- */

static int64_t allowance(struct baton_region *r, uint32_t vm)
{
	return (int64_t)baton_vm(r, vm)->cap_percent * (int64_t)period_ns(r) / 100;
}

/* The budget as it stands in the period of now: what was overdrawn is paid back, and what was not used is kept as far as
 * the VM had to wait for others. */
static struct credit_budget budget_at(struct baton_region *r, uint32_t vm, uint64_t now)
{
	const struct credit_vm *m = baton_vm_state(r, vm);
	struct credit_budget b = m->budget;
	uint64_t period = (now - credit_pool(r)->origin_ns) / period_ns(r), passed = period - b.period;
	int64_t each = allowance(r, vm), most = m->account.active > 0 ? PERIODS * each : each;

	if (passed == 0)
		return b;
	if (b.cap_ns < -PERIODS * each)
		b.cap_ns = -PERIODS * each;
	b.cap_ns += (passed < 2 * PERIODS ? (int64_t)passed : 2 * PERIODS) * each;
	if (b.cap_ns > most)
		b.cap_ns = most;
	b.boost_ns = baton_param(r, BOOST_US) * 1000;
	b.period = period;
	return b;
}

/* How long v may run, without its cap being overdrawn by more than a shortest slice. */
static int64_t within_cap(struct baton_region *r, uint32_t v, int64_t ns, uint64_t now)
{
	uint32_t vm = baton_vcpu(r, v)->vm;
	int64_t left;

	if (baton_vm(r, vm)->cap_percent == 0)
		return ns;
	left = budget_at(r, vm, now).cap_ns;
	if (left < (int64_t)r->slice_min_ns)
		left = (int64_t)r->slice_min_ns;
	return left < ns ? left : ns;
}

/* When the VM has an allowance again. */
static uint64_t returns(struct baton_region *r, uint32_t vm, uint64_t now)
{
	struct credit_budget b = budget_at(r, vm, now);
	int64_t each = allowance(r, vm), periods = each > 0 && b.cap_ns < 0 ? -b.cap_ns / each + 1 : 1;

	return credit_pool(r)->origin_ns +
	       (b.period + (uint64_t)(periods < PERIODS ? periods : PERIODS)) * period_ns(r);
}

/* At the beginning of the next period, when somebody is withheld or runs with a cap. */
static void alarm_next(struct baton_region *r, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	uint64_t period = period_ns(r), t = now + period - (now - q->origin_ns) % period;

	if ((q->spent == 0 && q->capped == 0) || (q->alarm_ns > now && q->alarm_ns <= t))
		return;
	q->alarm_ns = t;
	baton_alarm(t);
}

/* ---- requests and queues ---- */

/* The virtual time that v's account is placed by. */
static int64_t here(struct baton_region *r, uint32_t v, const struct kit_account *a)
{
	struct credit_pool *q = credit_pool(r);
	uint32_t running;

	if (!kit_pinned(r, v) || (running = q->on[kit_pinned_home(r, v)]) == 0)
		return q->shares.base;
	return kit_shares_near(&q->shares, a, credit_vcpu(r, running - 1)->q.start);
}

static void ask_for(struct baton_region *r, uint32_t v, int64_t start, int64_t ns)
{
	struct credit_request *f = &credit_vcpu(r, v)->q;

	f->start = start;
	f->left_ns = ns < (int64_t)r->slice_min_ns ? (int64_t)r->slice_min_ns : ns;
	credit_vm(r, v)->account.left_ns += f->left_ns;
}

/* Where the request of a woken vCPU starts: at x, which may be far from here when others of its VM run elsewhere. */
static int64_t woken_start(struct baton_region *r, uint32_t v)
{
	struct kit_account *a = &credit_vm(r, v)->account;
	int64_t latest = kit_account_latest(a, here(r, v, a));

	return a->x < latest ? a->x : latest;
}

/* v runs or waits from now on, and asks for so much. */
static void begin(struct baton_region *r, uint32_t v, int64_t ns, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct kit_account *a = &credit_vm(r, v)->account;

	kit_account_settle(&q->shares, a, now);
	kit_account_enter(&q->shares, a, here(r, v, a), !kit_pinned(r, v));
	ask_for(r, v, woken_start(r, v), ns);
}

/* The first request of a woken vCPU is shorter when others of the VM are there, since it is not behind theirs. */
static int64_t woken_ns(struct baton_region *r, uint32_t v)
{
	return slice_ns(r) / (credit_vm(r, v)->account.active + 1);
}

static void enqueue(struct baton_region *r, uint32_t v, uint64_t seq)
{
	struct credit_pool *q = credit_pool(r);
	struct credit_request *f = &credit_vcpu(r, v)->q;

	f->seq = seq;
	kit_ready_insert(r, f->boosted ? &q->boosted : &q->ready, PIN, v, f->start, seq);
	if (baton_vm(r, baton_vcpu(r, v)->vm)->cap_percent > 0)
		kit_list_append(r, &credit_vm(r, v)->waiting, LINK, v);
}

static void dequeue(struct baton_region *r, uint32_t v)
{
	kit_ready_remove(r, &credit_pool(r)->ready, PIN, v);
	kit_ready_remove(r, &credit_pool(r)->boosted, PIN, v);
	kit_list_remove(r, &credit_vm(r, v)->waiting, LINK, v);
}

/* v neither runs nor waits from now on. */
static void end(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct credit_vcpu *s = credit_vcpu(r, v);
	struct kit_account *a = &credit_vm(r, v)->account;

	dequeue(r, v);
	s->q.boosted = 0;
	if (!s->q.held) {
		kit_account_settle(&q->shares, a, now);
		kit_account_leave(&q->shares, a, s->q.left_ns);
	}
	s->q.held = 0;
}

static void use_idle(struct baton_region *r, uint32_t except)
{
	struct credit_pool *q = credit_pool(r);
	uint32_t p = kit_idle_wanted(r, &q->idle, &q->boosted, PIN, except);

	if (p == BATON_NONE)
		p = kit_idle_wanted(r, &q->idle, &q->ready, PIN, except);
	if (p != BATON_NONE)
		baton_kick(p);
}

/* ---- caps ---- */

/* v, which waits, is withheld; it stays in the VM's list. */
static void hold(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct credit_vm *m = credit_vm(r, v);

	end(r, v, now);
	credit_vcpu(r, v)->q.held = 1;
	kit_list_append(r, &m->waiting, LINK, v);
	baton_hold(v, returns(r, baton_vcpu(r, v)->vm, now));
}

static void mark_spent(struct baton_region *r, uint32_t vm, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct credit_vm *m = baton_vm_state(r, vm);

	m->spent = 1;
	if (!m->listed) {
		m->next = q->spent;
		q->spent = vm + 1;
		m->listed = 1;
	}
	alarm_next(r, now);
}

/* Out of the list of those who are or were spent. */
static void unlist(struct baton_region *r, uint32_t vm)
{
	struct credit_vm *m = baton_vm_state(r, vm);
	uint32_t *to = &credit_pool(r)->spent;

	while (*to != 0 && *to != vm + 1)
		to = &((struct credit_vm *)baton_vm_state(r, *to - 1))->next;
	if (*to != 0)
		*to = m->next;
	m->listed = 0;
}

/* Those who were withheld go on. The first one places the account: let that not depend on how they came into the list. */
static void let_go(struct baton_region *r, uint32_t vm, uint64_t now)
{
	struct credit_vm *m = baton_vm_state(r, vm);
	uint32_t n = m->waiting.count, first = BATON_NONE;
	int64_t part = n > 0 ? slice_ns(r) / n : 0;

	for (uint32_t v = kit_list_first(&m->waiting); v != BATON_NONE; v = kit_list_next(r, LINK, v))
		first = v < first ? v : first;
	for (; n > 0; n--, first = kit_list_first(&m->waiting)) {
		end(r, first, now);
		begin(r, first, part, now);
		enqueue(r, first, credit_vcpu(r, first)->q.seq); /* at the end of the list, while there is a cap */
	}
	use_idle(r, BATON_NONE);
}

/* Withholds the VM's vCPUs, or lets them go on, as its cap has it now. */
static void enforce(struct baton_region *r, uint32_t vm, uint64_t now)
{
	struct credit_vm *m = baton_vm_state(r, vm);
	int spent = baton_vm(r, vm)->cap_percent > 0 && m->budget.cap_ns <= 0;

	if (!spent && m->spent) {
		m->spent = 0;
		let_go(r, vm, now);
	}
	if (!spent || m->spent)
		return;
	mark_spent(r, vm, now);
	for (uint32_t n = m->waiting.count; n > 0; n--) /* hold moves it to the end */
		hold(r, kit_list_first(&m->waiting), now);
}

static void refill(struct baton_region *r, uint32_t vm, uint64_t now)
{
	((struct credit_vm *)baton_vm_state(r, vm))->budget = budget_at(r, vm, now);
}

/* ---- those who run ---- */

static void runs(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct credit_vcpu *s = credit_vcpu(r, v);
	struct credit_vm *m = credit_vm(r, v);
	uint32_t vm = baton_vcpu(r, v)->vm;

	kit_account_settle(&q->shares, &m->account, now);
	kit_account_start(&q->shares, &m->account);
	if (q->shares.weight == 0 && s->q.start > q->shares.base)
		q->shares.base = s->q.start; /* only pinned ones are there: V goes with them */
	s->on = pcpu + 1;
	s->from_ns = now;
	s->q.lag = q->shares.base - m->account.x;
	q->on[pcpu] = v + 1;
	kit_idle_start(&q->idle, pcpu);
	kit_tournament_set(&q->last, pcpu, s->q.boosted ? KIT_NO_ENTRY : kit_entry(-s->q.start, 0, pcpu));
	if (baton_vm(r, vm)->cap_percent == 0)
		return;
	refill(r, vm, now);
	s->q.set_aside_ns = within_cap(r, v, s->q.left_ns, now);
	m->budget.cap_ns -= s->q.set_aside_ns;
	s->q.capped = 1;
	q->capped++;
	alarm_next(r, now);
}

/* The opposite; the account is settled. */
static void runs_no_more(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct credit_vcpu *s = credit_vcpu(r, v);
	struct credit_vm *m = credit_vm(r, v);
	int64_t ran = (int64_t)(now - s->from_ns);
	uint32_t pcpu = s->on - 1;

	if (s->on == 0)
		return;
	s->on = 0;
	s->q.left_ns -= ran;
	kit_account_stop(&q->shares, &m->account);
	if (s->q.boosted || s->q.capped)
		refill(r, baton_vcpu(r, v)->vm, now);
	if (s->q.boosted && ran > s->q.prepaid_ns)
		m->budget.boost_ns -= ran - s->q.prepaid_ns;
	s->q.boosted = 0;
	if (s->q.capped) {
		m->budget.cap_ns += s->q.set_aside_ns - ran;
		q->capped--;
	}
	s->q.capped = 0;
	if (q->on[pcpu] != v + 1)
		return;
	q->on[pcpu] = 0;
	kit_idle_stop(&q->idle, pcpu);
	kit_tournament_set(&q->last, pcpu, KIT_NO_ENTRY);
}

/* ---- events ---- */

static int32_t credit_attach(struct baton_region *r, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);

	q->timeline = now + 1;
	q->origin_ns = now;
	q->shares.summed_ns = now;
	kit_tournament_init(&q->last, r->pcpu_slots);
	kit_ready_init(r, &q->boosted);
	return kit_ready_init(r, &q->ready);
}

static void fresh_budget(struct baton_region *r, uint32_t vm, uint64_t now)
{
	struct credit_vm *m = baton_vm_state(r, vm);

	m->budget = (struct credit_budget){.cap_ns = allowance(r, vm),
					   .boost_ns = baton_param(r, BOOST_US) * 1000,
					   .period = (now - credit_pool(r)->origin_ns) / period_ns(r)};
}

/* v begins to wait: withheld at once when its VM's cap is spent. */
static void begin_to_wait(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct credit_vm *m = credit_vm(r, v);
	struct credit_vcpu *s = credit_vcpu(r, v);
	uint32_t vm = baton_vcpu(r, v)->vm;

	refill(r, vm, now);
	enforce(r, vm, now);
	if (m->spent) {
		s->q.held = 1;
		s->q.seq = ++credit_pool(r)->seq;
		kit_list_append(r, &m->waiting, LINK, v);
		baton_hold(v, returns(r, vm, now));
		return;
	}
	begin(r, v, woken_ns(r, v), now);
}

/* V does not move here: history that is taken next may change what is begun. */
static int32_t credit_admit(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct credit_vm *m = credit_vm(r, v);
	uint32_t state = baton_vcpu(r, v)->state, p;

	credit_vcpu(r, v)->admitted = 1;
	kit_account_settle(&q->shares, &m->account, now);
	if (m->account.members++ == 0) {
		m->account.x = q->shares.base;
		kit_account_weigh(&q->shares, &m->account, baton_weight(r, v), slice_ns(r));
		fresh_budget(r, baton_vcpu(r, v)->vm, now);
	}
	if (state == BATON_VCPU_BLOCKED)
		return 0;
	if (state == BATON_VCPU_RUNNING) {
		begin(r, v, woken_ns(r, v), now);
		runs(r, v, baton_vcpu(r, v)->pcpu, now);
		return 0;
	}
	begin_to_wait(r, v, now);
	if (m->spent)
		return 0;
	enqueue(r, v, ++q->seq);
	p = kit_idle_for(r, &q->idle, v);
	if (p != BATON_NONE)
		baton_kick(p);
	return 0;
}

static void credit_retire(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct credit_vm *m = credit_vm(r, v);
	int was_active = waits(r, v) || credit_vcpu(r, v)->q.held || credit_vcpu(r, v)->on != 0;

	advance(r, now);
	kit_account_settle(&q->shares, &m->account, now);
	runs_no_more(r, v, now);
	if (was_active)
		end(r, v, now);
	if (--m->account.members == 0) {
		m->account = (struct kit_account){0};
		m->spent = 0;
		unlist(r, baton_vcpu(r, v)->vm);
	}
	*credit_vcpu(r, v) = (struct credit_vcpu){0};
}

static void credit_wake(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct credit_vm *m = credit_vm(r, v);

	advance(r, now);
	begin_to_wait(r, v, now);
	if (m->spent)
		return;
	if (m->account.x <= q->shares.base && m->budget.boost_ns > 0) {
		credit_vcpu(r, v)->q.boosted = 1;
		credit_vcpu(r, v)->q.prepaid_ns = (int64_t)r->slice_min_ns;
		m->budget.boost_ns -= (int64_t)r->slice_min_ns;
	}
	enqueue(r, v, ++q->seq);
}

static void credit_sleep(struct baton_region *r, uint32_t v, uint64_t now)
{
	advance(r, now);
	end(r, v, now);
}

static void credit_start(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	struct credit_vcpu *s = credit_vcpu(r, v);

	credit_pool(r)->lived = 1;
	dequeue(r, v);
	if (s->q.held) { /* somebody else's decision: it runs all the same, and is charged */
		s->q.held = 0;
		begin(r, v, woken_ns(r, v), now);
	}
	runs(r, v, pcpu, now);
	enforce(r, baton_vcpu(r, v)->vm, now);
	use_idle(r, pcpu);
}

/* Where the request of one who yields starts: behind the next in line. */
static int64_t after_the_next(struct baton_region *r, uint32_t pcpu, int64_t start)
{
	struct credit_pool *q = credit_pool(r);
	uint32_t next = kit_ready_first(r, &q->ready, PIN, pcpu, 0, BATON_NONE, NULL);
	int64_t latest;

	if (next == BATON_NONE || credit_vcpu(r, next)->q.start <= start)
		return start;
	latest = kit_account_latest(&credit_vm(r, next)->account, start); /* it may be far ahead of all others */
	return credit_vcpu(r, next)->q.start < latest ? credit_vcpu(r, next)->q.start : latest;
}

static void credit_stop(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct kit_account *a = &credit_vm(r, v)->account;
	struct credit_vcpu *s = credit_vcpu(r, v);
	int yields = why == BATON_STOP_YIELDED || why == BATON_STOP_IO;

	advance(r, now);
	kit_account_pay(a, now);
	runs_no_more(r, v, now);
	s->service_ns += ran_ns;
	s->stopped_ns = now;
	if (why == BATON_STOP_BLOCKED) {
		end(r, v, now);
		enforce(r, baton_vcpu(r, v)->vm, now);
		return;
	}
	if (kit_account_cut(&q->shares, a, yields ? 0 : s->q.lag))
		advance(r, now);
	if (yields || s->q.left_ns < (int64_t)r->slice_min_ns) {
		int64_t start;

		a->left_ns -= s->q.left_ns;
		start = kit_account_behind(a);
		ask_for(r, v, yields ? after_the_next(r, pcpu, start) : start, slice_ns(r));
		s->q.seq = ++q->seq;
	} else if (baton_vm(r, baton_vcpu(r, v)->vm)->cap_percent > 0) {
		s->q.seq = ++q->seq; /* withheld, all begin anew: those first that did not run */
	}
	enqueue(r, v, s->q.seq);
	if (credit_vm(r, v)->spent) /* the others are withheld already */
		hold(r, v, now);
	enforce(r, baton_vcpu(r, v)->vm, now);
	if (!baton_allowed(r, v, pcpu)) /* this pCPU is asked anyway; the others only when told */
		use_idle(r, pcpu);
}

/* A period begins: VMs that were withheld go on, and who runs beyond what was set aside for it is stopped (that was not
 * decided here). */
static void credit_tick(struct baton_region *r, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	uint32_t vm = q->spent;

	advance(r, now);
	q->spent = 0;
	while (vm != 0) {
		struct credit_vm *m = baton_vm_state(r, --vm);
		uint32_t next = m->next;

		m->listed = 0;
		if (m->spent) {
			refill(r, vm, now);
			enforce(r, vm, now);
		}
		if (m->spent)
			mark_spent(r, vm, now);
		vm = next;
	}
	for (uint32_t p = 0; q->capped > 0 && p < r->pcpu_slots; p++) {
		const struct credit_vcpu *s = q->on[p] != 0 ? credit_vcpu(r, q->on[p] - 1) : NULL;

		if (s && s->q.capped && (int64_t)(now - s->from_ns) > s->q.set_aside_ns + (int64_t)r->slice_min_ns)
			baton_kick(p);
	}
	alarm_next(r, now);
}

static void credit_boost(struct baton_region *r, uint32_t vm, uint64_t now)
{
	credit_pool(r)->console = vm + 1;
}

/* ---- tuning ---- */

/* The VM's cap is another one: it starts with a fresh allowance, unless it has one that is smaller. */
static void recap(struct baton_region *r, uint32_t vm, uint64_t now)
{
	struct credit_vm *m = baton_vm_state(r, vm);
	int64_t each = allowance(r, vm);

	refill(r, vm, now);
	if (m->waiting.count == 0 || m->budget.cap_ns > each)
		m->budget.cap_ns = each;
	for (uint32_t v = 0; v < r->vcpu_slots; v++) {
		if (!credit_vcpu(r, v)->admitted || baton_vcpu(r, v)->vm != vm || !waits(r, v))
			continue;
		if (each > 0)
			kit_list_append(r, &m->waiting, LINK, v);
		else
			kit_list_remove(r, &m->waiting, LINK, v);
	}
	enforce(r, vm, now);
	for (uint32_t v = 0; each == 0 && v < r->vcpu_slots; v++)
		if (credit_vcpu(r, v)->admitted && baton_vcpu(r, v)->vm == vm)
			kit_list_remove(r, &m->waiting, LINK, v);
}

static int32_t credit_set(struct baton_region *r, uint32_t scope, uint32_t vm, uint32_t parameter, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);

	advance(r, now);
	if (parameter == CAP_PERCENT)
		recap(r, vm, now);
	for (uint32_t m = 0; parameter == PERIOD_US && m < r->vm_slots; m++) {
		q->origin_ns = now;
		fresh_budget(r, m, now);
		enforce(r, m, now);
	}
	for (uint32_t v = 0; (parameter == SLICE_US || parameter == WEIGHT) && v < r->vcpu_slots; v++) {
		struct kit_account *a = &credit_vm(r, v)->account;

		if (!credit_vcpu(r, v)->admitted || (scope == BATON_SCOPE_VM && baton_vcpu(r, v)->vm != vm))
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

static struct baton_choice credit_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	uint32_t v = kit_ready_first(r, &q->boosted, PIN, pcpu, away(r), BATON_NONE, NULL);
	int64_t ns = baton_param(r, BOOST_US) * 1000;

	if (v == BATON_NONE) {
		v = kit_ready_first(r, &q->ready, PIN, pcpu, away(r), BATON_NONE, NULL);
		ns = INT64_MAX;
	}
	if (v == BATON_NONE)
		return (struct baton_choice){.vcpu = BATON_NONE};
	if (credit_vcpu(r, v)->q.left_ns < ns)
		ns = credit_vcpu(r, v)->q.left_ns;
	if (ns < (int64_t)r->slice_min_ns)
		ns = (int64_t)r->slice_min_ns;
	return (struct baton_choice){.vcpu = v, .slice_ns = (uint64_t)within_cap(r, v, ns, now)};
}

static uint32_t credit_preempts(struct baton_region *r, uint32_t woken, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	uint32_t p = kit_idle_for(r, &q->idle, woken), home = baton_vcpu(r, woken)->pcpu;

	if (!waits(r, woken))
		return BATON_NONE; /* withheld */
	if (p != BATON_NONE || !kit_ready_has(&q->boosted, woken))
		return p;
	if (home < r->pcpu_slots && baton_allowed(r, woken, home) && q->on[home] != 0 &&
	    !credit_vcpu(r, q->on[home] - 1)->q.boosted)
		return home;
	p = kit_entry_vcpu(q->last.entry[1]);
	return p != BATON_NONE && baton_allowed(r, woken, p) ? p : BATON_NONE;
}

static int64_t credit_at(struct baton_region *r, uint32_t vm, uint64_t now)
{
	struct kit_account a = ((struct credit_vm *)baton_vm_state(r, vm))->account;

	if (a.weight == 0)
		return 0;
	kit_account_pay(&a, now);
	return kit_real(kit_shares_at(&credit_pool(r)->shares, now) - a.x, a.weight);
}

/* The VM's credit, in us. */
static int32_t credit_priority(struct baton_region *r, uint32_t vm, uint64_t now)
{
	int64_t us = credit_at(r, vm, now) / 1000;

	return us > INT32_MAX ? INT32_MAX : us < INT32_MIN ? INT32_MIN : (int32_t)us;
}

static uint32_t credit_choose_console(struct baton_region *r, uint64_t now)
{
	return kit_console(r, credit_pool(r)->console);
}

/* ---- history ---- */

static int32_t credit_give(struct baton_region *r, uint32_t v, struct baton_history *h, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct credit_vcpu *s = credit_vcpu(r, v);
	struct credit_vm *m = credit_vm(r, v);
	uint64_t ran = s->on != 0 ? now - s->from_ns : 0;
	struct credit_tail t = {.q = s->q,
				.budget = m->budget,
				.account = kit_account_save(&q->shares, m->account, now),
				.timeline = q->timeline,
				.origin_ns = q->origin_ns,
				.pool_seq = q->seq,
				.stopped_ns = s->stopped_ns,
				.spent = m->spent};

	t.q.left_ns -= (int64_t)ran;
	t.q.set_aside_ns -= (int64_t)ran;
	t.q.prepaid_ns -= (int64_t)ran;
	h->service_ns = s->service_ns + ran;
	h->owed_ns = credit_at(r, baton_vcpu(r, v)->vm, now) / (m->account.active > 0 ? m->account.active : 1);
	h->since_run_ns = s->on != 0 ? 0 : now - s->stopped_ns;
	kit_history(r, v, h, "credit", 1, &t, sizeof t);
	return 0;
}

/* Own records of the timeline that is continued here: the account, the budget and the request exactly as they were. */
static void take_exactly(struct baton_region *r, uint32_t v, const struct credit_tail *t, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct credit_vcpu *s = credit_vcpu(r, v);
	struct credit_vm *m = credit_vm(r, v);
	int runnable = waits(r, v) || s->q.held;

	q->joined = t->timeline;
	q->origin_ns = t->origin_ns;
	q->seq = t->pool_seq > q->seq ? t->pool_seq : q->seq;
	if (t->q.held && waits(r, v))
		hold(r, v, now);
	kit_account_settle(&q->shares, &m->account, now);
	kit_account_restore(&q->shares, &m->account, &t->account);
	m->budget = t->budget;
	if (t->spent)
		mark_spent(r, baton_vcpu(r, v)->vm, now);
	else
		m->spent = 0;
	s->stopped_ns = t->stopped_ns;
	if (s->on != 0) {
		q->capped += t->q.capped - s->q.capped;
		m->account.left_ns += t->q.left_ns - s->q.left_ns;
		s->q = t->q;
		kit_tournament_set(&q->last, s->on - 1,
				   s->q.boosted ? KIT_NO_ENTRY : kit_entry(-s->q.start, 0, s->on - 1));
		return;
	}
	if (!runnable || t->q.held) {
		s->q.seq = t->q.seq;
		return;
	}
	end(r, v, now);
	begin(r, v, woken_ns(r, v), now);
	kit_account_restore(&q->shares, &m->account, &t->account);
	m->account.left_ns += t->q.left_ns - s->q.left_ns;
	s->q = t->q;
	enqueue(r, v, s->q.seq);
}

/* Other records: the distance to the fair share, from V as it was noted last. */
static void take_owed(struct baton_region *r, uint32_t v, int64_t owed, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct kit_account *a = &credit_vm(r, v)->account;
	struct credit_vcpu *s = credit_vcpu(r, v);

	owed = owed > OWED_MAX_NS ? OWED_MAX_NS : owed < -OWED_MAX_NS ? -OWED_MAX_NS : owed;
	kit_account_settle(&q->shares, a, now);
	kit_account_owe(&q->shares, a, owed); /* the vCPUs of a VM add to the one account, each its part */
	if (!waits(r, v))
		return;
	dequeue(r, v);
	s->q.start = woken_start(r, v);
	enqueue(r, v, s->q.seq);
}

static int32_t credit_take(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now)
{
	struct credit_pool *q = credit_pool(r);
	struct credit_vcpu *s = credit_vcpu(r, v);
	const struct credit_tail *t = kit_history_tail(h, "credit", 1, sizeof *t);

	s->service_ns = h->service_ns;
	s->stopped_ns = h->since_run_ns < now ? now - h->since_run_ns : 0;
	if (t != NULL && t->origin_ns <= now && kit_account_sound(&q->shares, &t->account, !q->lived) &&
	    (!q->lived || q->joined == t->timeline))
		take_exactly(r, v, t, now);
	else
		take_owed(r, v, h->owed_ns, now);
	return 0;
}

static uint32_t credit_dump(struct baton_region *r, char *buf, uint32_t size, uint64_t now)
{
	struct kit_text t = {.buf = buf, .size = size};
	struct credit_pool *q = credit_pool(r);

	kit_put(&t, "credit");
	kit_put_field(&t, "slice_us", baton_param(r, SLICE_US));
	kit_put_field(&t, "period_us", baton_param(r, PERIOD_US));
	kit_put_field(&t, "boosted", q->boosted.count);
	kit_put_field(&t, "waiting", q->ready.count);
	kit_put(&t, "\n");
	for (uint32_t v = 0; v < r->vcpu_slots && t.length < size; v++) {
		struct credit_vcpu *s = credit_vcpu(r, v);
		struct credit_budget b;

		if (!s->admitted)
			continue;
		b = budget_at(r, baton_vcpu(r, v)->vm, now);
		kit_put(&t, s->on != 0	  ? "  runs   "
			    : s->q.held	  ? "  held   "
			    : waits(r, v) ? "  waits  "
					  : "  blocked");
		kit_put_field(&t, "vcpu", v);
		kit_put_field(&t, "vm", baton_vcpu(r, v)->vm);
		kit_put_field(&t, "weight", credit_vm(r, v)->account.weight);
		kit_put_field(&t, "credit_us", credit_at(r, baton_vcpu(r, v)->vm, now) / 1000);
		kit_put_field(&t, "boosted", s->q.boosted);
		kit_put_field(&t, "boost_us", b.boost_ns / 1000);
		if (baton_vm(r, baton_vcpu(r, v)->vm)->cap_percent > 0)
			kit_put_field(&t, "cap_left_us", b.cap_ns / 1000);
		kit_put_field(&t, "ran_us", (int64_t)(s->service_ns / 1000));
		kit_put(&t, "\n");
	}
	return t.length;
}

BATON_SCHEDULER(credit, .version = "1.0",
		.description = "Shares of VMs by weight, caps, and a limited boost for wakers", .state_version = 1,
		.pool_state_size = sizeof(struct credit_pool), .vcpu_state_size = sizeof(struct credit_vcpu),
		.vm_state_size = sizeof(struct credit_vm), .parameters = credit_parameters,
		.parameter_count = sizeof credit_parameters / sizeof credit_parameters[0], .attach = credit_attach,
		.admit = credit_admit, .retire = credit_retire, .wake = credit_wake, .sleep = credit_sleep,
		.start = credit_start, .stop = credit_stop, .tick = credit_tick, .boost = credit_boost,
		.set = credit_set, .choose = credit_choose, .preempts = credit_preempts, .priority = credit_priority,
		.choose_console = credit_choose_console, .give = credit_give, .take = credit_take, .dump = credit_dump);
