/* SPDX-License-Identifier: Apache-2.0 */
/*
 * edf.c - reservations: constant-bandwidth servers under earliest deadline first, and the slack for everybody.
 *
 * SERVERS. A VM that asks for budget_ns per period_ns gets, for each of its vCPUs, a constant-bandwidth server (Abeni and
 * Buttazzo, RTSS 1998) with budget Q and period T. The vCPU runs on its server's budget c, with the server's deadline d:
 *   wake    if d has passed, or c is more than Q/T of the time left until d: c = Q, d = now + T
 *   run     c falls; what a run exceeds c by, up to the pool's shortest slice, is paid from the next budget
 *   spent   c = 0: the vCPU is withheld until d; then c = Q and d = d + T (now + T if that has passed as well)
 * So nobody can take more than Q/T from others, however it behaves, and who has budget has it in each period.
 *
 * DOMAINS. Where is a budget spent? vCPUs that may run everywhere share the *shared domain*: global EDF on all its
 * pCPUs, with the bound of Goossens, Funk and Baruah (Real-Time Systems 25, 2003): m pCPUs meet all deadlines if
 *	sum of Q/T <= m - (m - 1) * largest Q/T
 * Who may run on some pCPUs only, who wants more than half a pCPU, and who does not fit there is bound to one pCPU that
 * leaves the shared domain for this purpose: plain EDF, sum of Q/T <= 1. Both bounds are lowered to limit_percent, so that
 * the others never starve. admit refuses what fits nowhere, and says by how much; so does set, which leaves the old
 * reservation in force. A pCPU returns to the shared domain when the last one bound to it is gone.
 *
 * SLACK. What budgets leave goes, by weight (start-time fair queueing), to those without reservation and, unless slack is
 * 0, to those whose budget is spent; budgets are not charged for it. A pCPU for which nobody is left takes vCPUs that have
 * budget elsewhere, until somebody comes who has it there.
 *
 * Facts may differ from all this while another scheduler decides: a vCPU that runs on beyond its budget has used slack.
 *
 * Costs: O(log vCPUs + log pCPUs) per event and decision; admission and set are O(pCPUs) and O(vCPUs).
 */
#include "baton/kit.h"
#include "baton/kit_ready.h"
#include "baton/scheduler.h"

#define NODE	       offsetof(struct edf_vcpu, node)
#define SHARE	       offsetof(struct edf_vcpu, share)
#define PIN	       offsetof(struct edf_vcpu, pin)
#define NO_SPACE       (-28)		    /* -ENOSPC */
#define INVALID	       (-22)		    /* -EINVAL */
#define ONE	       UINT64_C(1000000000) /* a whole pCPU */
#define PERIOD_MAX     UINT64_C(4000000000) /* so that a product of two fits 64 bits */
#define WEIGHT_DEFAULT 256
#define LAG_SLICES     4	 /* by which one who always waits or runs may lag behind in the slack */
#define SHARED	       0	 /* the shared domain; that of pCPU p is p + 1 */
#define IDLE	       INT64_MIN /* what a pCPU works for: see works_for */
#define SLACK	       (INT64_MIN + 1)

/* What v is granted; all 0: no reservation. */
struct edf_server {
	uint64_t budget_ns, period_ns;
	uint64_t util;	 /* Q/T in parts of ONE, rounded up */
	uint32_t domain; /* SHARED, or its pCPU + 1 */
	uint32_t reserved;
};

struct edf_pool {
	struct kit_heap budgeted[BATON_PCPUS_MAX + 1]; /* per domain: who waits with budget, earliest deadline first */
	uint64_t used[BATON_PCPUS_MAX + 1];	       /* per domain: sum of Q/T, in parts of ONE */
	uint32_t members[BATON_PCPUS_MAX + 1];	       /* per domain: servers */
	uint32_t shared_pcpus;
	struct kit_heap largest;      /* servers of the shared domain, largest Q/T first */
	struct kit_heap spent;	      /* runnable servers without budget, earliest deadline first */
	struct kit_tournament latest; /* pCPUs of the shared domain by what they work for, the latest deadline first */
	struct kit_idle idle;
	int64_t virtual;	  /* start tag of the slack that was handed out last */
	uint64_t seq;		  /* of the last one that began to wait */
	uint64_t alarm_ns;	  /* the next one that is set */
	uint32_t boosted;	  /* VM that has the console's focus + 1 */
	struct kit_ready slack;	  /* who waits and may run without budget, least start tag first */
	struct kit_ready outside; /* who waits with budget, for pCPUs of other domains, earliest deadline first */
};

struct edf_account {
	int64_t budget;	    /* c; below 0: to be paid from the next one */
	uint64_t deadline;  /* d */
	uint32_t on_budget; /* it was started with budget, or got one while it ran */
	uint32_t weight;
	uint32_t rest; /* of the tag's last division */
	uint32_t reserved;
	int64_t tag;	     /* start tag for slack, in ns of the default weight */
	uint64_t stopped_ns; /* when it ran last; 0 = never */
	uint64_t service_ns;
};

struct edf_vcpu {
	struct kit_node node;  /* in budgeted or spent */
	struct kit_node share; /* in largest */
	struct kit_pin pin;
	struct edf_server server, before; /* before: while set tries another one */
	struct edf_account a;
	uint32_t on;	     /* pCPU where it runs + 1 */
	uint32_t waited;     /* while set tries: it was in line */
	uint64_t since_ns;   /* running, and charged until then */
	uint64_t charged_ns; /* of the present run */
	uint64_t seq;
};

/* What edf tells its own next version, exactly. */
struct edf_tail {
	struct edf_server server;
	struct edf_account a;
	int64_t virtual;
	uint64_t seq, pool_seq;
};

enum { LIMIT_PERCENT, TAKE_SLACK, SLICE_US, VM_WEIGHT, VM_BUDGET, VM_PERIOD };

static const struct baton_parameter edf_parameters[] = {
    [LIMIT_PERCENT] = {.name = "limit_percent",
		       .unit = "%",
		       .help = "How much of what is schedulable may be reserved; the rest keeps others alive",
		       .scope = BATON_SCOPE_POOL,
		       .min = 1,
		       .max = 100,
		       .initial = 95},
    [TAKE_SLACK] = {.name = "slack",
		    .help =
			"1: who has spent its budget may use pCPUs that nobody else has a budget for; 0: it may not",
		    .scope = BATON_SCOPE_POOL,
		    .min = 0,
		    .max = 1,
		    .initial = 1},
    [SLICE_US] = {.name = "slice_us",
		  .unit = "us",
		  .help = "How long one without budget runs before the next one has its turn",
		  .scope = BATON_SCOPE_POOL,
		  .min = 100,
		  .max = 1000000,
		  .initial = 5000},
    [VM_WEIGHT] = {.name = "weight",
		   .help = "Share of the slack in proportion to others, per vCPU",
		   .scope = BATON_SCOPE_VM,
		   .min = 1,
		   .max = 65536,
		   .initial = WEIGHT_DEFAULT},
    [VM_BUDGET] = {.name = "budget_ns",
		   .unit = "ns",
		   .help = "Reservation of each vCPU: this much service; 0 = none",
		   .scope = BATON_SCOPE_VM,
		   .min = 0,
		   .max = (int64_t)PERIOD_MAX,
		   .initial = 0},
    [VM_PERIOD] = {.name = "period_ns",
		   .unit = "ns",
		   .help = "... in every period of this length; 0 = none",
		   .scope = BATON_SCOPE_VM,
		   .min = 0,
		   .max = (int64_t)PERIOD_MAX,
		   .initial = 0},
};

static struct edf_pool *edf_pool(struct baton_region *r)
{
	return baton_pool_state(r);
}

static struct edf_vcpu *edf_vcpu(struct baton_region *r, uint32_t v)
{
	return baton_vcpu_state(r, v);
}

static uint64_t slice_ns(struct baton_region *r)
{
	return (uint64_t)baton_param(r, SLICE_US) * 1000;
}

static uint64_t limit(struct baton_region *r, uint64_t amount)
{
	return amount / 100 * (uint64_t)baton_param(r, LIMIT_PERCENT);
}

static int has_budget(const struct edf_vcpu *s)
{
	return s->server.period_ns != 0 && s->a.budget > 0;
}

static int is_bound(struct baton_region *r, uint32_t pcpu)
{
	return edf_pool(r)->members[pcpu + 1] > 0;
}

/* ---- what pCPUs work for ---- */

/* What pcpu works for in this domain, the less urgent the smaller: nothing, something without budget or with that of
 * another domain, or a deadline. */
static int64_t works_for(struct baton_region *r, uint32_t pcpu, uint32_t domain)
{
	uint32_t v = baton_pcpu(r, pcpu)->running;
	const struct edf_vcpu *s;

	if (v >= r->vcpu_slots)
		return IDLE;
	s = edf_vcpu(r, v);
	return s->on == pcpu + 1 && has_budget(s) && s->server.domain == domain ? -(int64_t)s->a.deadline : SLACK;
}

/* Something has changed on pcpu. */
static void replay(struct baton_region *r, uint32_t pcpu)
{
	struct kit_entry e = is_bound(r, pcpu) ? KIT_NO_ENTRY : kit_entry(works_for(r, pcpu, SHARED), 0, pcpu);

	kit_tournament_set(&edf_pool(r)->latest, pcpu, e);
}

/* The pCPU that v, with budget, should have now: one that works for a later deadline in its domain. Where it ran last if
 * that is as good as any. */
static uint32_t due_on(struct baton_region *r, uint32_t v)
{
	const struct kit_tournament *t = &edf_pool(r)->latest;
	const struct edf_vcpu *s = edf_vcpu(r, v);
	uint32_t last = baton_vcpu(r, v)->pcpu, bound_to = s->server.domain - 1;
	int64_t due = -(int64_t)s->a.deadline;

	if (s->server.domain != SHARED)
		return works_for(r, bound_to, s->server.domain) < due ? bound_to : BATON_NONE;
	if (t->entry[1].key >= due)
		return BATON_NONE;
	if (last < r->pcpu_slots && t->entry[t->leaves + last].key == t->entry[1].key)
		return last;
	return kit_entry_vcpu(t->entry[1]); /* a pCPU here */
}

/* The first of those who wait with budget in this domain takes a pCPU if one is due to it. Others follow when it has
 * started. */
static void push(struct baton_region *r, uint32_t domain)
{
	uint32_t v = kit_heap_top(&edf_pool(r)->budgeted[domain]), p;

	if (v == BATON_NONE)
		return;
	p = due_on(r, v);
	if (p != BATON_NONE)
		baton_kick(p);
}

/* ---- reservations: does it fit, and where? ---- */

static uint64_t largest(struct baton_region *r)
{
	uint32_t v = kit_heap_top(&edf_pool(r)->largest);

	return v == BATON_NONE ? 0 : edf_vcpu(r, v)->server.util;
}

/* What m pCPUs can promise when the largest share is this. */
static uint64_t bound(struct baton_region *r, uint32_t m, uint64_t largest_share)
{
	return m == 0 ? 0 : limit(r, m * ONE - (m - 1) * largest_share);
}

static int fits_shared(struct baton_region *r, uint64_t util)
{
	uint64_t most = largest(r);

	return edf_pool(r)->used[SHARED] + util <= bound(r, edf_pool(r)->shared_pcpus, util > most ? util : most);
}

/* May one more pCPU leave the shared domain? */
static int can_spare(struct baton_region *r)
{
	const struct edf_pool *q = edf_pool(r);

	return q->shared_pcpus > 0 && q->used[SHARED] <= bound(r, q->shared_pcpus - 1, largest(r));
}

static int fits_on(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t util)
{
	return baton_allowed(r, v, pcpu) && (is_bound(r, pcpu) || can_spare(r)) &&
	       edf_pool(r)->used[pcpu + 1] + util <= limit(r, ONE);
}

static int may_run_everywhere(struct baton_region *r, uint32_t v)
{
	for (uint32_t i = 0; i < kit_words(r); i++)
		if (~baton_vcpu(r, v)->affinity[i] & kit_word_all(r, i))
			return 0;
	return 1;
}

static int fits_in(struct baton_region *r, uint32_t v, uint32_t domain, uint64_t util)
{
	if (domain == SHARED)
		return may_run_everywhere(r, v) && fits_shared(r, util);
	return domain <= r->pcpu_slots && fits_on(r, v, domain - 1, util);
}

/* The pCPU to bind v to: the fullest one that has room, else a new one, best the one where it ran last. */
static uint32_t best_pcpu(struct baton_region *r, uint32_t v, uint64_t util)
{
	uint32_t last = baton_vcpu(r, v)->pcpu, best = BATON_NONE;

	for (uint32_t p = 0; p < r->pcpu_slots; p++) {
		uint64_t used = edf_pool(r)->used[p + 1], most = best == BATON_NONE ? 0 : edf_pool(r)->used[best + 1];

		if (fits_on(r, v, p, util) && (best == BATON_NONE || used > most || (used == most && p == last)))
			best = p;
	}
	return best;
}

/* The domain for v, or NONE. */
static uint32_t domain_for(struct baton_region *r, uint32_t v, uint64_t util)
{
	int shared = fits_in(r, v, SHARED, util);
	uint32_t p;

	if (shared && util <= ONE / 2)
		return SHARED;
	p = best_pcpu(r, v, util);
	if (p != BATON_NONE)
		return p + 1;
	return shared ? SHARED : BATON_NONE;
}

static void join(struct baton_region *r, uint32_t v, struct edf_server server)
{
	struct edf_pool *q = edf_pool(r);

	edf_vcpu(r, v)->server = server;
	if (server.period_ns == 0)
		return;
	q->used[server.domain] += server.util;
	q->members[server.domain]++;
	if (server.domain == SHARED) {
		kit_heap_insert(r, &q->largest, SHARE, v, -(int64_t)server.util, 0);
	} else if (q->members[server.domain] == 1) {
		q->shared_pcpus--;
		replay(r, server.domain - 1);
		baton_kick(server.domain - 1);
	}
}

static void leave(struct baton_region *r, uint32_t v)
{
	struct edf_pool *q = edf_pool(r);
	struct edf_server *server = &edf_vcpu(r, v)->server;

	if (server->period_ns != 0) {
		q->used[server->domain] -= server->util;
		q->members[server->domain]--;
		if (server->domain == SHARED) {
			kit_heap_remove(r, &q->largest, SHARE, v);
		} else if (q->members[server->domain] == 0) {
			q->shared_pcpus++;
			replay(r, server->domain - 1);
			push(r, SHARED);
		}
	}
	*server = (struct edf_server){0};
}

static struct edf_server asked_for(struct baton_region *r, uint32_t v)
{
	const struct baton_vm *vm = baton_vm(r, baton_vcpu(r, v)->vm);

	if (vm->budget_ns == 0 || vm->period_ns == 0)
		return (struct edf_server){0};
	return (struct edf_server){.budget_ns = vm->budget_ns, .period_ns = vm->period_ns};
}

static void put_percent(struct kit_text *t, uint64_t part)
{
	kit_put_u64(t, part / (ONE / 100));
	kit_put(t, ".");
	kit_put_u64(t, part / (ONE / 1000) % 10);
	kit_put(t, " %");
}

static int32_t refuse_values(struct baton_region *r, const struct edf_server *server)
{
	struct kit_text t = {.buf = baton_scratch(r), .size = BATON_REASON_MAX - 1};

	kit_put(&t, "a budget of ");
	kit_put_u64(&t, server->budget_ns);
	kit_put(&t, " ns in a period of ");
	kit_put_u64(&t, server->period_ns);
	kit_put(&t, " ns cannot be kept: a budget is at least ");
	kit_put_u64(&t, r->slice_min_ns);
	kit_put(&t, " ns and at most the period, which is at most 4 s");
	return INVALID;
}

static int32_t refuse_share(struct baton_region *r, uint32_t v, uint64_t util)
{
	struct kit_text t = {.buf = baton_scratch(r), .size = BATON_REASON_MAX - 1};
	const struct edf_pool *q = edf_pool(r);
	uint64_t most = largest(r), room = 0;

	for (uint32_t p = 0; p < r->pcpu_slots; p++)
		if (fits_on(r, v, p, 0) && limit(r, ONE) - q->used[p + 1] > room)
			room = limit(r, ONE) - q->used[p + 1];
	kit_put(&t, "it asks for ");
	put_percent(&t, util);
	kit_put(&t, " of a pCPU; ");
	if (may_run_everywhere(r, v)) {
		put_percent(&t, q->used[SHARED]);
		kit_put(&t, " of at most ");
		put_percent(&t, bound(r, q->shared_pcpus, util > most ? util : most));
		kit_put(&t, " are reserved on the ");
		kit_put_u64(&t, q->shared_pcpus);
		kit_put(&t, " shared pCPUs, and ");
	}
	kit_put(&t, "one pCPU alone has at most ");
	put_percent(&t, room);
	kit_put(&t, " left");
	return NO_SPACE;
}

/* Grants v, which has none, the reservation that its VM asks for. */
static int32_t reserve(struct baton_region *r, uint32_t v)
{
	struct edf_server server = asked_for(r, v);

	if (server.period_ns == 0)
		return 0;
	if (server.period_ns > PERIOD_MAX || server.budget_ns > server.period_ns || server.budget_ns < r->slice_min_ns)
		return refuse_values(r, &server);
	server.util = (server.budget_ns * ONE + server.period_ns - 1) / server.period_ns;
	server.domain = domain_for(r, v, server.util);
	if (server.domain == BATON_NONE)
		return refuse_share(r, v, server.util);
	join(r, v, server);
	return 0;
}

/* ---- servers ---- */

static void alarm_at(struct baton_region *r, uint64_t t, uint64_t now)
{
	struct edf_pool *q = edf_pool(r);

	if (q->alarm_ns > now && q->alarm_ns <= t)
		return;
	q->alarm_ns = t;
	baton_alarm(t);
}

static void refill(struct edf_vcpu *s, uint64_t deadline)
{
	s->a.budget = (int64_t)s->server.budget_ns + (s->a.budget < 0 ? s->a.budget : 0);
	s->a.deadline = deadline;
}

/* d is reached: the next budget. */
static void replenish(struct edf_vcpu *s, uint64_t now)
{
	uint64_t next = s->a.deadline + s->server.period_ns;

	refill(s, next > now ? next : now + s->server.period_ns);
}

/* The wake rule. */
static void renew(struct edf_vcpu *s, uint64_t now)
{
	struct edf_account *a = &s->a;

	if (s->server.period_ns == 0)
		return;
	if (a->deadline <= now ||
	    (a->budget > 0 && (uint64_t)a->budget * s->server.period_ns > (a->deadline - now) * s->server.budget_ns))
		refill(s, now + s->server.period_ns);
}

/* v, which waits or runs, gets its next budget at d if it has spent this one. */
static void await_budget(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct edf_vcpu *s = edf_vcpu(r, v);

	if (s->server.period_ns == 0 || s->a.budget > 0)
		return;
	if (s->a.deadline <= now)
		replenish(s, now);
	if (s->a.budget > 0)
		return;
	kit_heap_insert(r, &edf_pool(r)->spent, NODE, v, (int64_t)s->a.deadline, v);
	alarm_at(r, s->a.deadline, now);
	baton_hold(v, s->a.deadline);
}

/*
 * What v has run and was not charged for. Started on its budget, it pays from that, and beyond it for the little by which
 * a slice cannot be shorter; the rest is slack.
 */
static void charge(struct baton_region *r, struct edf_account *a, uint64_t ran)
{
	int64_t most = a->budget + (int64_t)r->slice_min_ns;
	uint64_t slack;

	a->service_ns += ran;
	if (a->on_budget && most > 0) {
		uint64_t paid = (uint64_t)most < ran ? (uint64_t)most : ran;

		a->budget -= (int64_t)paid;
		ran -= paid;
	}
	slack = ran * WEIGHT_DEFAULT + a->rest;
	a->tag += (int64_t)(slack / a->weight);
	a->rest = (uint32_t)(slack % a->weight);
}

/* ---- waiting and running ---- */

/* v takes its place in line, if it has one. */
static void line_up(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct edf_pool *q = edf_pool(r);
	struct edf_vcpu *s = edf_vcpu(r, v);

	await_budget(r, v, now);
	if (has_budget(s)) {
		kit_heap_insert(r, &q->budgeted[s->server.domain], NODE, v, (int64_t)s->a.deadline, s->seq);
		kit_ready_insert(r, &q->outside, PIN, v, (int64_t)s->a.deadline, s->seq);
	} else if (s->server.period_ns == 0 || baton_param(r, TAKE_SLACK)) {
		kit_ready_insert(r, &q->slack, PIN, v, s->a.tag, s->seq);
	}
}

/* v begins to wait. fresh: it did not take part in sharing the slack before, so it begins level with the others. */
static void begin(struct baton_region *r, uint32_t v, int fresh, uint64_t now)
{
	struct edf_pool *q = edf_pool(r);
	struct edf_vcpu *s = edf_vcpu(r, v);
	int64_t floor = q->virtual - (fresh ? 0 : LAG_SLICES * (int64_t)slice_ns(r));

	if (s->server.period_ns != 0 &&
	    (s->server.domain == SHARED ? !may_run_everywhere(r, v) : !baton_allowed(r, v, s->server.domain - 1))) {
		leave(r, v); /* its affinity has changed: another domain, or none */
		(void)reserve(r, v);
	}
	s->a.tag = s->a.tag > floor ? s->a.tag : floor;
	s->seq = ++q->seq;
	line_up(r, v, now);
}

/* v waits, and may run if it finds a pCPU. */
static int may_start(struct baton_region *r, uint32_t v)
{
	return kit_ready_has(&edf_pool(r)->slack, v) || kit_ready_has(&edf_pool(r)->outside, v);
}

/* v waits for a pCPU, or for its next budget. */
static int waits(struct baton_region *r, uint32_t v)
{
	return edf_vcpu(r, v)->on == 0 && (edf_vcpu(r, v)->node.rank != 0 || may_start(r, v));
}

static void leave_line(struct baton_region *r, uint32_t v)
{
	struct edf_pool *q = edf_pool(r);
	struct edf_vcpu *s = edf_vcpu(r, v);

	kit_heap_remove(r, has_budget(s) ? &q->budgeted[s->server.domain] : &q->spent, NODE, v);
	kit_ready_remove(r, has_budget(s) ? &q->outside : &q->slack, PIN, v);
}

static void runs(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	struct edf_pool *q = edf_pool(r);
	struct edf_vcpu *s = edf_vcpu(r, v);

	leave_line(r, v);
	s->on = pcpu + 1;
	s->since_ns = now;
	s->charged_ns = 0;
	await_budget(r, v, now);
	s->a.on_budget = (uint32_t)has_budget(s);
	if (!has_budget(s))
		q->virtual = s->a.tag > q->virtual ? s->a.tag : q->virtual;
	kit_idle_start(&q->idle, pcpu);
	replay(r, pcpu);
}

/* v, which runs, pays until now. */
static void settle(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct edf_vcpu *s = edf_vcpu(r, v);

	charge(r, &s->a, now - s->since_ns);
	s->charged_ns += now - s->since_ns;
	s->since_ns = now;
}

/* Where a vCPU that waits should be asked for now. */
static uint32_t seeks(struct baton_region *r, uint32_t v)
{
	struct edf_pool *q = edf_pool(r);
	uint32_t p = BATON_NONE;

	if (!may_start(r, v))
		return BATON_NONE;
	if (has_budget(edf_vcpu(r, v)))
		p = due_on(r, v);
	return p != BATON_NONE ? p : kit_idle_for(r, &q->idle, v);
}

static void seek(struct baton_region *r, uint32_t v)
{
	uint32_t p = seeks(r, v);

	if (p != BATON_NONE)
		baton_kick(p);
}

/* ---- events ---- */

static int32_t edf_attach(struct baton_region *r, uint64_t now)
{
	struct edf_pool *q = edf_pool(r);

	q->shared_pcpus = r->pcpu_slots;
	kit_tournament_init(&q->latest, r->pcpu_slots);
	for (uint32_t p = 0; p < r->pcpu_slots; p++)
		replay(r, p);
	kit_ready_init(r, &q->outside);
	return kit_ready_init(r, &q->slack);
}

static int32_t edf_admit(struct baton_region *r, uint32_t v, uint64_t now)
{
	int32_t refusal = reserve(r, v);

	if (refusal < 0)
		return refusal;
	edf_vcpu(r, v)->a.tag = edf_pool(r)->virtual;
	edf_vcpu(r, v)->a.weight = baton_weight(r, v);
	switch (baton_vcpu(r, v)->state) {
	case BATON_VCPU_RUNNING:
		renew(edf_vcpu(r, v), now);
		runs(r, v, baton_vcpu(r, v)->pcpu, now);
		break;
	case BATON_VCPU_RUNNABLE:
		renew(edf_vcpu(r, v), now);
		begin(r, v, 1, now);
		seek(r, v);
		break;
	default:
		break;
	}
	return 0;
}

static void edf_retire(struct baton_region *r, uint32_t v, uint64_t now)
{
	leave_line(r, v);
	leave(r, v);
	*edf_vcpu(r, v) = (struct edf_vcpu){0};
}

static void edf_wake(struct baton_region *r, uint32_t v, uint64_t now)
{
	renew(edf_vcpu(r, v), now);
	begin(r, v, 1, now);
}

static void edf_sleep(struct baton_region *r, uint32_t v, uint64_t now)
{
	leave_line(r, v);
}

static void edf_start(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	struct edf_pool *q = edf_pool(r);
	uint32_t p;

	runs(r, v, pcpu, now);
	/* Two vCPUs that wake together are both shown to the same pCPU: so those who still wait are seen to now. */
	push(r, SHARED);
	p = kit_idle_wanted(r, &q->idle, &q->slack, PIN, pcpu);
	if (p == BATON_NONE)
		p = kit_idle_wanted(r, &q->idle, &q->outside, PIN, pcpu);
	if (p != BATON_NONE)
		baton_kick(p);
}

static void edf_stop(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why, uint64_t now)
{
	struct edf_pool *q = edf_pool(r);
	struct edf_vcpu *s = edf_vcpu(r, v);
	int fresh = (int)s->a.on_budget;

	kit_heap_remove(r, &q->spent, NODE, v);
	charge(r, &s->a, ran_ns > s->charged_ns ? ran_ns - s->charged_ns : 0);
	s->on = 0;
	s->a.on_budget = 0;
	s->a.stopped_ns = now;
	kit_idle_stop(&q->idle, pcpu);
	replay(r, pcpu);
	if (why == BATON_STOP_BLOCKED)
		return;
	begin(r, v, fresh || why == BATON_STOP_YIELDED || why == BATON_STOP_IO, now);
	/* This pCPU is asked anyway; the others only when told. */
	if (has_budget(s))
		push(r, s->server.domain);
	if (!baton_allowed(r, v, pcpu))
		seek(r, v);
}

static void edf_tick(struct baton_region *r, uint64_t now)
{
	struct edf_pool *q = edf_pool(r);
	uint32_t v;

	while ((v = kit_heap_top(&q->spent)) != BATON_NONE && (uint64_t)edf_vcpu(r, v)->node.key <= now) {
		struct edf_vcpu *s = edf_vcpu(r, v);

		if (s->on == 0) {
			leave_line(r, v);
			line_up(r, v, now);
			seek(r, v);
			continue;
		}
		kit_heap_remove(r, &q->spent, NODE, v);
		settle(r, v, now);
		await_budget(r, v, now);
		s->a.on_budget = (uint32_t)has_budget(s);
		replay(r, s->on - 1);
		baton_kick(s->on - 1); /* its slice was one of slack */
	}
	if (v != BATON_NONE)
		alarm_at(r, (uint64_t)edf_vcpu(r, v)->node.key, now);
}

static void edf_boost(struct baton_region *r, uint32_t vm, uint64_t now)
{
	edf_pool(r)->boosted = vm + 1;
}

/* ---- tuning ---- */

static int is_of(struct baton_region *r, uint32_t v, uint32_t vm)
{
	return baton_vcpu(r, v)->state != BATON_VCPU_FREE && (vm == BATON_NONE || baton_vcpu(r, v)->vm == vm);
}

/* Takes those of this VM (NONE: all) out of line, and back into it. */
static void suspend(struct baton_region *r, uint32_t vm, uint64_t now)
{
	for (uint32_t v = 0; v < r->vcpu_slots; v++) {
		struct edf_vcpu *s = edf_vcpu(r, v);

		if (!is_of(r, v, vm))
			continue;
		s->waited = waits(r, v);
		if (s->on != 0)
			settle(r, v, now);
		leave_line(r, v);
	}
}

static void resume(struct baton_region *r, uint32_t vm, uint64_t now)
{
	for (uint32_t v = 0; v < r->vcpu_slots; v++) {
		struct edf_vcpu *s = edf_vcpu(r, v);

		if (!is_of(r, v, vm))
			continue;
		if (s->waited) {
			line_up(r, v, now);
			seek(r, v);
		} else if (s->on != 0) {
			await_budget(r, v, now);
			s->a.on_budget = (uint32_t)has_budget(s);
			replay(r, s->on - 1);
			baton_kick(s->on - 1);
		}
	}
}

/* All vCPUs of the VM get the new reservation, or all keep the old one. */
static int32_t reserve_anew(struct baton_region *r, uint32_t vm, uint64_t now)
{
	int32_t refusal = 0;

	for (uint32_t v = 0; v < r->vcpu_slots; v++)
		if (is_of(r, v, vm)) {
			edf_vcpu(r, v)->before = edf_vcpu(r, v)->server;
			leave(r, v);
		}
	for (uint32_t v = 0; v < r->vcpu_slots && refusal == 0; v++)
		if (is_of(r, v, vm))
			refusal = reserve(r, v);
	if (refusal < 0)
		for (uint32_t v = 0; v < r->vcpu_slots; v++)
			if (is_of(r, v, vm))
				leave(r, v);
	for (uint32_t v = 0; v < r->vcpu_slots; v++) {
		struct edf_vcpu *s = edf_vcpu(r, v);

		if (!is_of(r, v, vm))
			continue;
		if (refusal < 0) {
			join(r, v, s->before);
		} else {
			s->a.budget = 0;
			s->a.deadline = 0;
			renew(s, now);
		}
	}
	return refusal;
}

static int changes(struct baton_region *r, uint32_t vm)
{
	for (uint32_t v = 0; v < r->vcpu_slots; v++)
		if (is_of(r, v, vm)) {
			struct edf_server a = asked_for(r, v), b = edf_vcpu(r, v)->server;

			if (a.budget_ns != b.budget_ns || a.period_ns != b.period_ns)
				return 1;
		}
	return 0;
}

/* What has run is paid at the old weight. */
static void reweigh(struct baton_region *r, uint32_t vm, uint64_t now)
{
	for (uint32_t v = 0; v < r->vcpu_slots; v++) {
		if (!is_of(r, v, vm))
			continue;
		if (edf_vcpu(r, v)->on != 0)
			settle(r, v, now);
		edf_vcpu(r, v)->a.weight = baton_weight(r, v);
	}
}

static int32_t edf_set(struct baton_region *r, uint32_t scope, uint32_t vm, uint32_t parameter, uint64_t now)
{
	int32_t refusal = 0;

	if (scope == BATON_SCOPE_VM)
		reweigh(r, vm, now);
	if (scope == BATON_SCOPE_POOL ? parameter != TAKE_SLACK : !changes(r, vm))
		return 0;
	suspend(r, vm, now);
	if (scope == BATON_SCOPE_VM)
		refusal = reserve_anew(r, vm, now);
	resume(r, vm, now);
	return refusal;
}

/* ---- questions ---- */

/* Is v about to take a pCPU of its domain from one who has budget elsewhere? Then no other pCPU takes it: two that ran on
 * each other's pCPU would change places for ever. */
static int is_coming(struct baton_region *r, uint32_t v)
{
	uint32_t p = v == BATON_NONE ? BATON_NONE : due_on(r, v),
		 runs_there = p == BATON_NONE ? BATON_NONE : baton_pcpu(r, p)->running;

	return runs_there < r->vcpu_slots && has_budget(edf_vcpu(r, runs_there));
}

/* Nobody waits who has budget here: who runs on pcpu? */
static uint32_t first_outside(struct baton_region *r, uint32_t pcpu)
{
	struct edf_pool *q = edf_pool(r);
	int64_t away = (int64_t)(r->migration_cost_ns < slice_ns(r) ? r->migration_cost_ns : slice_ns(r));
	uint32_t v = kit_ready_first(r, &q->slack, PIN, pcpu, away, BATON_NONE, NULL);

	if (v != BATON_NONE)
		return v;
	v = kit_ready_first(r, &q->outside, PIN, pcpu, 0, BATON_NONE, NULL);
	if (is_coming(r, v))
		v = kit_ready_first(r, &q->outside, PIN, pcpu, 0, v, NULL);
	return is_coming(r, v) ? BATON_NONE : v; /* asked again when those have started */
}

static struct baton_choice edf_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	uint32_t v = kit_heap_top(&edf_pool(r)->budgeted[is_bound(r, pcpu) ? pcpu + 1 : SHARED]);

	if (v == BATON_NONE || !baton_allowed(r, v, pcpu))
		v = first_outside(r, pcpu);
	if (v == BATON_NONE)
		return (struct baton_choice){.vcpu = BATON_NONE};
	if (has_budget(edf_vcpu(r, v)))
		return (struct baton_choice){.vcpu = v, .slice_ns = (uint64_t)edf_vcpu(r, v)->a.budget};
	return (struct baton_choice){.vcpu = v, .slice_ns = slice_ns(r)};
}

static uint32_t edf_preempts(struct baton_region *r, uint32_t woken, uint64_t now)
{
	return seeks(r, woken);
}

/* Above 0 with budget, the more the sooner the deadline (in us); else 0 or, in the slack, how far it is ahead (in us). */
static int32_t edf_priority(struct baton_region *r, uint32_t vm, uint64_t now)
{
	int64_t best = INT32_MIN;

	for (uint32_t v = 0; v < r->vcpu_slots; v++) {
		const struct edf_vcpu *s = edf_vcpu(r, v);
		int64_t ahead = (s->a.tag - edf_pool(r)->virtual) / 1000, p = ahead > 0 ? -ahead : 0;

		if (!is_of(r, v, vm))
			continue;
		if (has_budget(s))
			p = s->a.deadline <= now ? INT32_MAX : INT32_MAX - (int64_t)(s->a.deadline - now) / 1000;
		best = p > best ? p : best;
	}
	return (int32_t)best;
}

static uint32_t edf_choose_console(struct baton_region *r, uint64_t now)
{
	return kit_console(r, edf_pool(r)->boosted);
}

/* ---- history ---- */

static struct edf_account account_at(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct edf_account a = edf_vcpu(r, v)->a;

	if (edf_vcpu(r, v)->on != 0)
		charge(r, &a, now - edf_vcpu(r, v)->since_ns);
	return a;
}

static int32_t edf_give(struct baton_region *r, uint32_t v, struct baton_history *h, uint64_t now)
{
	struct edf_pool *q = edf_pool(r);
	struct edf_vcpu *s = edf_vcpu(r, v);
	struct edf_account a = account_at(r, v, now);
	struct edf_tail t = {.server = s->server, .a = a, .virtual = q->virtual, .seq = s->seq, .pool_seq = q->seq};

	kit_history(r, v, h, "edf", 1, &t, sizeof t);
	h->service_ns = a.service_ns;
	h->owed_ns = has_budget(s) && a.budget > 0 ? a.budget : (q->virtual - a.tag) * h->weight / WEIGHT_DEFAULT;
	h->since_run_ns = s->on != 0 ? 0 : now - a.stopped_ns;
	return 0;
}

/* Own records: the very server where it was, if that fits here. */
static void take_own(struct baton_region *r, uint32_t v, const struct edf_tail *t)
{
	struct edf_pool *q = edf_pool(r);
	struct edf_vcpu *s = edf_vcpu(r, v);
	struct edf_server granted = s->server;

	q->virtual = t->virtual > q->virtual ? t->virtual : q->virtual;
	q->seq = t->pool_seq > q->seq ? t->pool_seq : q->seq;
	s->seq = t->seq;
	s->a = t->a;
	s->a.weight = baton_weight(r, v);
	if (granted.budget_ns != t->server.budget_ns || granted.period_ns != t->server.period_ns) {
		s->a.budget = 0; /* another reservation: begins anew */
		s->a.deadline = 0;
		s->a.on_budget = 0;
		return;
	}
	if (granted.period_ns == 0 || granted.domain == t->server.domain)
		return;
	leave(r, v);
	join(r, v, fits_in(r, v, t->server.domain, t->server.util) ? t->server : granted);
}

/* Records of others: what it is owed, or has had ahead, counts in the slack; a reservation begins anew. */
static void take_other(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now)
{
	struct edf_vcpu *s = edf_vcpu(r, v);
	int64_t most = LAG_SLICES * (int64_t)slice_ns(r), owed = h->owed_ns;

	owed = owed > most ? most : owed < -most ? -most : owed;
	s->a.tag = edf_pool(r)->virtual - owed * WEIGHT_DEFAULT / baton_weight(r, v);
	s->a.service_ns = h->service_ns;
	s->a.stopped_ns = h->since_run_ns < now ? now - h->since_run_ns : 0;
}

static int32_t edf_take(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now)
{
	struct edf_vcpu *s = edf_vcpu(r, v);
	const struct edf_tail *t = kit_history_tail(h, "edf", 1, sizeof *t);
	int waited = waits(r, v);

	leave_line(r, v);
	if (t != NULL)
		take_own(r, v, t);
	else
		take_other(r, v, h, now);
	if (waited) {
		line_up(r, v, now);
		seek(r, v);
	} else if (s->on != 0) {
		await_budget(r, v, now);
		replay(r, s->on - 1);
	}
	return 0;
}

static uint32_t edf_dump(struct baton_region *r, char *buf, uint32_t size, uint64_t now)
{
	struct kit_text t = {.buf = buf, .size = size};
	struct edf_pool *q = edf_pool(r);
	uint64_t used = 0;

	for (uint32_t d = 0; d <= r->pcpu_slots; d++)
		used += q->used[d];
	kit_put(&t, "earliest deadline first");
	kit_put_field(&t, "reserved_ppm", (int64_t)(used / 1000));
	kit_put_field(&t, "shared_pcpus", q->shared_pcpus);
	kit_put_field(&t, "shared_ppm", (int64_t)(q->used[SHARED] / 1000));
	kit_put_field(&t, "waiting", q->slack.count + q->outside.count);
	kit_put(&t, "\n");
	for (uint32_t v = 0; v < r->vcpu_slots && t.length < size; v++) {
		struct edf_vcpu *s = edf_vcpu(r, v);
		struct edf_account a;

		if (!is_of(r, v, BATON_NONE))
			continue;
		a = account_at(r, v, now);
		kit_put(&t, s->on != 0		? "  runs    "
			    : may_start(r, v)	? "  waits   "
			    : s->node.rank != 0 ? "  withheld"
						: "  blocked ");
		kit_put_field(&t, "vcpu", v);
		kit_put_field(&t, "vm", baton_vcpu(r, v)->vm);
		kit_put_field(&t, "ppm", (int64_t)(s->server.util / 1000));
		if (s->server.domain != SHARED)
			kit_put_field(&t, "pcpu", s->server.domain - 1);
		kit_put_field(&t, "budget_us", a.budget / 1000);
		kit_put_field(&t, "deadline_in_us", ((int64_t)a.deadline - (int64_t)now) / 1000);
		kit_put_field(&t, "ahead_us", (a.tag - q->virtual) / 1000);
		kit_put_field(&t, "ran_us", (int64_t)(a.service_ns / 1000));
		kit_put(&t, "\n");
	}
	return t.length;
}

BATON_SCHEDULER(edf, .version = "1.0",
		.description = "Reservations: constant-bandwidth servers, earliest deadline first; slack by weight",
		.state_version = 1, .pool_state_size = sizeof(struct edf_pool),
		.vcpu_state_size = sizeof(struct edf_vcpu), .parameters = edf_parameters,
		.parameter_count = sizeof edf_parameters / sizeof edf_parameters[0], .attach = edf_attach,
		.admit = edf_admit, .retire = edf_retire, .wake = edf_wake, .sleep = edf_sleep, .start = edf_start,
		.stop = edf_stop, .tick = edf_tick, .boost = edf_boost, .set = edf_set, .choose = edf_choose,
		.preempts = edf_preempts, .priority = edf_priority, .choose_console = edf_choose_console,
		.give = edf_give, .take = edf_take, .dump = edf_dump);
