/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gang.c - gang scheduling: the vCPUs of a VM run at the same time, so that nobody spins for a lock whose holder waits.
 *
 * Time goes in *slots* of slice_us, the same for all pCPUs. When a slot begins, VMs are taken in the order of their tags
 * (service received by weight, all vCPUs together), and each whose runnable vCPUs still fit into the pCPUs left becomes
 * a *gang* of the slot, whole; a VM with more vCPUs than there are pCPUs counts as one that needs them all, and its vCPUs
 * take turns. The VM with the least tag always fits: nobody starves, and over time shares follow weights. Those of a gang
 * are *called*: they go before everybody else, and pCPUs that do something else are kicked for them. All slices end with
 * the slot.
 *
 * HOLES. What gangs leave, and what they do not use while a vCPU of theirs sleeps, goes to the others one by one in the
 * order of tags (Ousterhout's alternate selection); a VM that fits into the pCPUs left over becomes a gang in the middle
 * of a slot. With strict, holes stay empty: a VM runs together or not at all.
 *
 * HINTS. A vCPU that spins, or sends an IPI to one that waits, asks for its VM to be run together: it becomes a gang at
 * once if it fits. If it does not, and the spinning vCPU runs alone in a hole, it makes room for the next in line: what it
 * waits for does not happen while it spins. Hints give no service for nothing: all of it is charged to the VM's tag.
 *
 * TAGS. The tag of a VM grows by what its vCPUs run, in ns of the default weight. A waiting vCPU's key is the tag of its VM,
 * plus a slice for each sibling that is before it. VMs that sleep return level with the one that was taken first.
 *
 * Costs: O(log n) per event and decision, and per slot one pass over pCPUs and those taken: O(pCPUs * log n).
 */
#include "baton/kit.h"
#include "baton/kit_ready.h"
#include "baton/scheduler.h"

#define NODE	       offsetof(struct gang_vcpu, node)
#define PIN	       offsetof(struct gang_vcpu, pin)
#define LINK	       offsetof(struct gang_vcpu, link)
#define WEIGHT_DEFAULT 256
#define LOOK	       16 /* how many that do not fit are passed over when a slot is made up */

struct gang_pool {
	uint64_t slot; /* number of the present one */
	uint64_t slot_end_ns;
	uint64_t inside[KIT_WORDS]; /* pCPUs that run one of a gang */
	uint32_t planned;	    /* vCPUs of gangs */
	uint32_t gangs;		    /* so many in this slot */
	uint32_t runnable;	    /* vCPUs that run or wait */
	uint32_t boosted;	    /* VM that has the console's focus + 1 */
	int64_t virtual;	    /* the largest tag with which a VM was the first to be taken */
	uint64_t seq;
	uint64_t alarm_ns;
	struct kit_heap candidates; /* while a slot is made up: those who run */
	struct kit_idle idle;
	struct kit_ready called; /* who waits and is of a gang, by gang */
	struct kit_ready rest;	 /* who waits besides, by key */
};

struct gang_vm {
	struct kit_heap waiting; /* those in rest, longest first */
	struct kit_list running;
	uint32_t called;
	uint32_t planned; /* run, are called, or sleep with their place kept */
	uint32_t rank;	  /* in the slot: 1 was taken first */
	uint32_t weight;
	uint64_t slot;	 /* of which it is, or was last, a gang */
	uint64_t stamp;	 /* since it became one */
	uint64_t hinted; /* the slot in which a hint was taken last */
	int64_t tag;
	uint32_t fraction; /* of the tag's last division */
	uint32_t members;  /* vCPUs; without any, nothing is remembered */
};

struct gang_vcpu {
	struct kit_node node; /* in waiting, or in candidates */
	struct kit_link link; /* in running */
	struct kit_pin pin;
	uint64_t stamp; /* its VM's, when it is planned with it */
	int64_t key;	/* in rest */
	uint64_t seq;
	uint32_t on;	     /* pCPU where it runs + 1 */
	uint32_t late;	     /* it spins in a hole: others go first */
	uint64_t since_ns;   /* running, and charged until then */
	uint64_t charged_ns; /* of the present run */
	uint64_t stopped_ns; /* when it ran last; 0 = never */
	uint64_t service_ns;
};

/* What gang tells its own next version, exactly. */
struct gang_tail {
	uint64_t slot, slot_end_ns, pool_seq, alarm_ns;
	int64_t virtual;
	uint32_t gangs, rank;
	uint64_t vm_slot, vm_stamp, hinted;
	int64_t tag;
	uint32_t fraction;
	uint16_t late, planned;
	int64_t key;
	uint64_t seq, stopped_ns;
};

enum { STRICT, SLICE_US, VM_WEIGHT };

static const struct baton_parameter gang_parameters[] = {
    [STRICT] = {.name = "strict",
		.help = "1: a VM runs together or not at all; 0: others fill the pCPUs that gangs leave",
		.scope = BATON_SCOPE_POOL,
		.min = 0,
		.max = 1,
		.initial = 0},
    [SLICE_US] = {.name = "slice_us",
		  .unit = "us",
		  .help = "Length of a slot",
		  .scope = BATON_SCOPE_POOL,
		  .min = 100,
		  .max = 1000000,
		  .initial = 5000},
    [VM_WEIGHT] = {.name = "weight",
		   .help = "Share of a VM, all its vCPUs together, in proportion to others",
		   .scope = BATON_SCOPE_VM,
		   .min = 1,
		   .max = 65536,
		   .initial = WEIGHT_DEFAULT},
};

static struct gang_pool *gang_pool(struct baton_region *r)
{
	return baton_pool_state(r);
}

static struct gang_vcpu *gang_vcpu(struct baton_region *r, uint32_t v)
{
	return baton_vcpu_state(r, v);
}

/* The VM of v. */
static struct gang_vm *vm_of(struct baton_region *r, uint32_t v)
{
	return baton_vm_state(r, baton_vcpu(r, v)->vm);
}

static uint64_t slice_ns(struct baton_region *r)
{
	return (uint64_t)baton_param(r, SLICE_US) * 1000;
}

static int64_t quantum(struct baton_region *r, const struct gang_vm *g)
{
	return (int64_t)(slice_ns(r) * WEIGHT_DEFAULT / g->weight);
}

static int is_gang(struct baton_region *r, const struct gang_vm *g)
{
	return g->slot == gang_pool(r)->slot;
}

static int is_planned(struct baton_region *r, uint32_t v)
{
	const struct gang_vm *g = vm_of(r, v);

	return is_gang(r, g) && gang_vcpu(r, v)->stamp == g->stamp;
}

static void alarm_at(struct baton_region *r, uint64_t t, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);

	if (q->alarm_ns > now && q->alarm_ns <= t)
		return;
	q->alarm_ns = t;
	baton_alarm(t);
}

/* ---- service ---- */

static void charge(struct baton_region *r, uint32_t v, uint64_t ran)
{
	struct gang_vm *g = vm_of(r, v);
	uint64_t paid = ran * WEIGHT_DEFAULT + g->fraction;

	gang_vcpu(r, v)->service_ns += ran;
	gang_vcpu(r, v)->charged_ns += ran;
	g->tag += (int64_t)(paid / g->weight);
	g->fraction = (uint32_t)(paid % g->weight);
}

/* v, which runs, pays until now. */
static void settle(struct baton_region *r, uint32_t v, uint64_t now)
{
	charge(r, v, now - gang_vcpu(r, v)->since_ns);
	gang_vcpu(r, v)->since_ns = now;
}

/* ---- waiting ---- */

/* v waits: in the place that its slot and key say. */
static void line_up(struct baton_region *r, uint32_t v)
{
	struct gang_pool *q = gang_pool(r);
	struct gang_vcpu *s = gang_vcpu(r, v);
	struct gang_vm *g = vm_of(r, v);

	if (is_planned(r, v)) {
		kit_ready_insert(r, &q->called, PIN, v, 2 * (int64_t)g->rank, s->seq);
		g->called++;
	} else {
		kit_ready_insert(r, &q->rest, PIN, v, s->key, s->seq);
		kit_heap_insert(r, &g->waiting, NODE, v, (int64_t)s->seq, 0);
	}
}

static int waits(struct baton_region *r, uint32_t v)
{
	return kit_ready_has(&gang_pool(r)->called, v) || kit_ready_has(&gang_pool(r)->rest, v);
}

/* v waits no longer. It stays planned if it was. */
static void leave_line(struct baton_region *r, uint32_t v)
{
	struct gang_pool *q = gang_pool(r);

	if (kit_ready_has(&q->called, v)) {
		kit_ready_remove(r, &q->called, PIN, v);
		vm_of(r, v)->called--;
	} else {
		kit_ready_remove(r, &q->rest, PIN, v);
		kit_heap_remove(r, &vm_of(r, v)->waiting, NODE, v);
	}
}

/* Its vCPUs that run or wait. */
static uint32_t need_all(const struct gang_vm *g)
{
	return g->running.count + g->called + g->waiting.count;
}

static void plan(struct baton_region *r, uint32_t v)
{
	struct gang_pool *q = gang_pool(r);
	struct gang_vcpu *s = gang_vcpu(r, v);

	if (is_planned(r, v))
		return;
	s->stamp = vm_of(r, v)->stamp;
	vm_of(r, v)->planned++;
	q->planned++;
	if (s->on != 0)
		q->inside[(s->on - 1) / 64] |= UINT64_C(1) << ((s->on - 1) % 64);
}

static void unplan(struct baton_region *r, uint32_t v)
{
	if (is_planned(r, v)) {
		vm_of(r, v)->planned--;
		gang_pool(r)->planned--;
	}
	gang_vcpu(r, v)->stamp = 0;
}

/* A pCPU that runs nobody of a gang, for v: where it ran last, an idle one, any; none of `taken`. */
static uint32_t outside(struct baton_region *r, uint32_t v, const uint64_t *taken)
{
	const struct gang_pool *q = gang_pool(r);
	const struct baton_vcpu *c = baton_vcpu(r, v);
	uint32_t best = BATON_NONE;

	for (uint32_t i = 0; i < kit_words(r); i++) {
		uint64_t may = c->affinity[i] & ~q->inside[i] & ~taken[i] & kit_word_all(r, i),
			 idle = may & ~q->idle.busy[i];

		if (c->pcpu / 64 == i && ((may >> (c->pcpu % 64)) & 1))
			return c->pcpu;
		if (idle != 0 && (best == BATON_NONE || !kit_idle_has(&q->idle, best)))
			best = i * 64 + (uint32_t)__builtin_ctzll(idle);
		else if (may != 0 && best == BATON_NONE)
			best = i * 64 + (uint32_t)__builtin_ctzll(may);
	}
	return best;
}

/* ---- gangs ---- */

static uint32_t need(struct baton_region *r, const struct gang_vm *g)
{
	return need_all(g) < r->pcpu_slots ? need_all(g) : r->pcpu_slots;
}

/* Keys of those who wait long fall behind the tag of their VM, which goes on: at most `most` of the first in line are put
 * where they belong. Returns the first, BATON_NONE when nobody is there. */
static uint32_t freshen(struct baton_region *r, uint32_t most)
{
	struct gang_pool *q = gang_pool(r);
	uint32_t v;

	while ((v = kit_ready_least(r, &q->rest, PIN)) != BATON_NONE && most-- > 0 &&
	       gang_vcpu(r, v)->key < vm_of(r, v)->tag) {
		kit_ready_remove(r, &q->rest, PIN, v);
		gang_vcpu(r, v)->key = vm_of(r, v)->tag;
		kit_ready_insert(r, &q->rest, PIN, v, gang_vcpu(r, v)->key, gang_vcpu(r, v)->seq);
	}
	return v;
}

static void plan_running(struct baton_region *r, struct gang_vm *g)
{
	uint32_t v = kit_list_first(&g->running);

	for (; v != BATON_NONE && g->planned < r->pcpu_slots; v = kit_list_next(r, LINK, v))
		plan(r, v);
}

/* The VM of v becomes a gang of this slot; pCPUs are kicked for those who wait, and noted in `taken`. Where not all have a
 * pCPU, those who wait come before those who run: they take turns. */
static void enroll(struct baton_region *r, uint32_t v, uint64_t *taken)
{
	struct gang_pool *q = gang_pool(r);
	struct gang_vm *g = vm_of(r, v);

	g->slot = q->slot;
	g->rank = ++q->gangs;
	g->stamp = ++q->seq;
	g->planned = 0;
	if (need_all(g) <= r->pcpu_slots)
		plan_running(r, g);
	while (g->planned < r->pcpu_slots && g->waiting.count > 0) {
		uint32_t u = kit_heap_top(&g->waiting), p;

		leave_line(r, u);
		plan(r, u);
		line_up(r, u);
		p = outside(r, u, taken);
		if (p == BATON_NONE)
			continue;
		taken[p / 64] |= UINT64_C(1) << (p % 64);
		baton_kick(p);
	}
	plan_running(r, g);
}

/* May this VM take what is left before one of another tag that does not fit? Not when it is more than a slice ahead of that:
 * who always fits would have all holes. When they stay empty otherwise, it may. */
static int may_pass(struct baton_region *r, const struct gang_vm *g, int64_t tag)
{
	return baton_param(r, STRICT) || g->tag <= tag + quantum(r, g);
}

/* The VM of v becomes a gang in the middle of a slot, if there is room. */
static int adopt(struct baton_region *r, uint32_t v)
{
	uint64_t taken[KIT_WORDS] = {0};
	uint32_t first = freshen(r, 2);
	const struct gang_vm *g;

	if (v == BATON_NONE || first == BATON_NONE)
		return 0;
	g = vm_of(r, v);
	if (is_gang(r, g) || gang_pool(r)->planned + need(r, g) > r->pcpu_slots ||
	    !may_pass(r, g, vm_of(r, first)->tag))
		return 0;
	enroll(r, v, taken);
	return 1;
}

/* The end of a slot: nobody is called any more, and those who run have paid and are candidates like those who wait. */
static void clear(struct baton_region *r, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);
	uint32_t v;

	while ((v = kit_ready_least(r, &q->called, PIN)) != BATON_NONE) {
		leave_line(r, v);
		gang_vcpu(r, v)->stamp = 0;
		line_up(r, v);
	}
	q->slot++;
	q->slot_end_ns = now + slice_ns(r);
	q->planned = 0;
	q->gangs = 0;
	for (uint32_t i = 0; i < KIT_WORDS; i++)
		q->inside[i] = 0;
	for (uint32_t p = 0; p < r->pcpu_slots; p++) {
		v = baton_pcpu(r, p)->running;
		if (v < r->vcpu_slots && gang_vcpu(r, v)->on == p + 1)
			settle(r, v, now);
	}
	for (uint32_t p = 0; p < r->pcpu_slots; p++) {
		v = baton_pcpu(r, p)->running;
		if (v < r->vcpu_slots && gang_vcpu(r, v)->on == p + 1)
			kit_heap_insert(r, &q->candidates, NODE, v, vm_of(r, v)->tag, p);
	}
}

/* Makes up the next slot. */
static void compose(struct baton_region *r, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);
	uint64_t taken[KIT_WORDS] = {0};
	uint32_t passed[BATON_PCPUS_MAX + LOOK], n = 0, v;
	int64_t least = INT64_MAX; /* tag of those who did not fit */
	const struct gang_vm *g;

	clear(r, now);
	for (uint32_t i = 0; i < r->pcpu_slots + LOOK && q->planned < r->pcpu_slots; i++) {
		uint32_t runs = kit_heap_top(&q->candidates);

		v = freshen(r, r->pcpu_slots + LOOK);
		if (runs != BATON_NONE &&
		    (v == BATON_NONE || gang_vcpu(r, runs)->node.key <= kit_ready_key(r, &q->rest, PIN, v))) {
			v = runs;
			kit_heap_remove(r, &q->candidates, NODE, v);
		} else if (v != BATON_NONE) {
			kit_ready_remove(r, &q->rest, PIN, v);
			passed[n++] = v;
		} else {
			break;
		}
		g = vm_of(r, v);
		if (i == 0 && g->tag > q->virtual)
			q->virtual = g->tag;
		if (is_gang(r, g))
			continue;
		if (q->planned + need(r, g) > r->pcpu_slots)
			least = g->tag < least ? g->tag : least;
		else if (least == INT64_MAX || may_pass(r, g, least))
			enroll(r, v, taken);
	}
	while ((v = kit_heap_top(&q->candidates)) != BATON_NONE)
		kit_heap_remove(r, &q->candidates, NODE, v);
	while (n-- > 0)
		if (!is_planned(r, passed[n]))
			kit_ready_insert(r, &q->rest, PIN, passed[n], gang_vcpu(r, passed[n])->key,
					 gang_vcpu(r, passed[n])->seq);
	alarm_at(r, q->slot_end_ns, now);
}

/* v begins to wait. fresh: its VM slept before, and is level with the one that was taken first. */
static void begin(struct baton_region *r, uint32_t v, int fresh, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);
	struct gang_vcpu *s = gang_vcpu(r, v);
	struct gang_vm *g = vm_of(r, v);
	int64_t floor = q->virtual - (fresh ? 0 : (int64_t)((r->pcpu_slots + 4) * slice_ns(r)));

	g->tag = g->tag > floor ? g->tag : floor;
	s->seq = ++q->seq;
	s->key = g->tag + quantum(r, g) * (int64_t)(need_all(g) + s->late);
	s->late = 0;
	if (is_gang(r, g) && g->planned < r->pcpu_slots)
		plan(r, v); /* if its place was not kept */
	line_up(r, v);
}

/* Somebody has come to wait, or left: the slot may have ended, or have room for one more. */
static void see_to_slot(struct baton_region *r, uint32_t v, uint64_t now)
{
	if (now >= gang_pool(r)->slot_end_ns)
		compose(r, now);
	else
		adopt(r, v);
}

/* ---- events ---- */

/* Those who run are listed in the order in which they came to wait, which is nearly always that of their starts. */
static void note_running(struct baton_region *r, uint32_t v)
{
	struct gang_vm *g = vm_of(r, v);
	uint32_t after = kit_list_last(&g->running);

	while (after != BATON_NONE && gang_vcpu(r, after)->seq > gang_vcpu(r, v)->seq)
		after = kit_list_prev(r, LINK, after);
	kit_list_insert(r, &g->running, LINK, after, v);
}

static void runs(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);
	struct gang_vcpu *s = gang_vcpu(r, v);

	leave_line(r, v);
	s->on = pcpu + 1;
	s->since_ns = now;
	s->charged_ns = 0;
	note_running(r, v);
	if (is_planned(r, v))
		q->inside[pcpu / 64] |= UINT64_C(1) << (pcpu % 64);
	kit_idle_start(&q->idle, pcpu);
}

/* Two that wake together are shown the same pCPU: so those who still wait are seen to when one has started. */
static void see_to_others(struct baton_region *r, uint32_t except)
{
	static const uint64_t none[KIT_WORDS] = {0};
	struct gang_pool *q = gang_pool(r);
	uint32_t v = kit_ready_least(r, &q->called, PIN), p = v == BATON_NONE ? BATON_NONE : outside(r, v, none);

	if (p == BATON_NONE)
		p = kit_idle_wanted(r, &q->idle, &q->called, PIN, except);
	if (p != BATON_NONE)
		baton_kick(p);
	if (baton_param(r, STRICT))
		return;
	p = kit_idle_wanted(r, &q->idle, &q->rest, PIN, except);
	if (p != BATON_NONE)
		baton_kick(p);
}

static int32_t gang_attach(struct baton_region *r, uint64_t now)
{
	gang_pool(r)->slot = 1;
	kit_ready_init(r, &gang_pool(r)->called);
	return kit_ready_init(r, &gang_pool(r)->rest);
}

/* History may be taken next: so no slot is made up here, but soon. */
static int32_t gang_admit(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);
	struct gang_vm *g = vm_of(r, v);
	uint32_t state = baton_vcpu(r, v)->state, p;

	if (g->members++ == 0) {
		g->weight = baton_weight(r, v);
		g->tag = q->virtual;
	}
	if (state == BATON_VCPU_RUNNING) {
		q->runnable++;
		runs(r, v, baton_vcpu(r, v)->pcpu, now);
	} else if (state == BATON_VCPU_RUNNABLE) {
		q->runnable++;
		gang_vcpu(r, v)->seq = ++q->seq;
		gang_vcpu(r, v)->key = g->tag + quantum(r, g) * (int64_t)need_all(g);
		line_up(r, v);
		if (q->slot_end_ns <= now)
			alarm_at(r, now + r->slice_min_ns, now);
		p = kit_idle_for(r, &q->idle, v);
		if (p != BATON_NONE)
			baton_kick(p);
	}
	return 0;
}

/* v is blocked now. Its place in the slot is kept while its gang is there; then others have room. */
static void block(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);
	struct gang_vm *g = vm_of(r, v);

	q->runnable--;
	if (is_gang(r, g) && g->running.count + g->called == 0) {
		q->planned -= g->planned;
		g->slot = 0;
	}
	see_to_slot(r, kit_ready_least(r, &q->rest, PIN), now);
}

static void gang_sleep(struct baton_region *r, uint32_t v, uint64_t now)
{
	leave_line(r, v);
	block(r, v, now);
}

static void gang_retire(struct baton_region *r, uint32_t v, uint64_t now)
{
	if (waits(r, v))
		gang_sleep(r, v, now);
	unplan(r, v);
	if (--vm_of(r, v)->members == 0)
		*vm_of(r, v) = (struct gang_vm){0};
	*gang_vcpu(r, v) = (struct gang_vcpu){0};
}

static void gang_wake(struct baton_region *r, uint32_t v, uint64_t now)
{
	const struct gang_vm *g = vm_of(r, v);

	gang_pool(r)->runnable++;
	begin(r, v, need_all(g) == 0, now);
	see_to_slot(r, v, now);
	alarm_at(r, gang_pool(r)->slot_end_ns, now); /* none is set while nobody is runnable */
}

static void gang_start(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	runs(r, v, pcpu, now);
	see_to_others(r, pcpu);
}

static void gang_stop(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);
	struct gang_vcpu *s = gang_vcpu(r, v);
	uint32_t p;

	charge(r, v, ran_ns > s->charged_ns ? ran_ns - s->charged_ns : 0);
	kit_list_remove(r, &vm_of(r, v)->running, LINK, v);
	kit_idle_stop(&q->idle, pcpu);
	q->inside[pcpu / 64] &= ~(UINT64_C(1) << (pcpu % 64));
	s->on = 0;
	s->stopped_ns = now;
	if (why == BATON_STOP_BLOCKED) {
		block(r, v, now);
		return;
	}
	s->late |= why == BATON_STOP_YIELDED || why == BATON_STOP_IO;
	begin(r, v, 0, now);
	see_to_slot(r, v, now);
	if (baton_allowed(r, v, pcpu) || !waits(r, v))
		return;
	p = kit_idle_for(r, &q->idle, v); /* this pCPU is asked anyway; the others only when told */
	if (p != BATON_NONE)
		baton_kick(p);
}

static void gang_tick(struct baton_region *r, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);

	if (q->runnable == 0)
		return;
	if (now >= q->slot_end_ns)
		compose(r, now);
	else
		alarm_at(r, q->slot_end_ns, now);
	see_to_others(r, BATON_NONE);
}

/* The VM of v would get on better together: now, if there is room. A hint is taken once in a slot. */
static int hint(struct baton_region *r, uint32_t v)
{
	struct gang_vm *g = vm_of(r, v);
	int taken = g->hinted == gang_pool(r)->slot;

	g->hinted = gang_pool(r)->slot;
	return !taken && adopt(r, v);
}

static void gang_spin(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);
	struct gang_vcpu *s = gang_vcpu(r, v);
	const struct gang_vm *g = vm_of(r, v);

	if (s->on == 0 || s->late || is_gang(r, g) || g->waiting.count == 0 || hint(r, v))
		return;
	if (q->rest.count == g->waiting.count && q->called.count == 0)
		return; /* its siblings alone wait: they have their turn when the slot ends */
	s->late = 1;
	baton_kick(s->on - 1);
}

static void gang_ipi(struct baton_region *r, uint32_t from, uint32_t to, uint64_t now)
{
	if (baton_vcpu(r, from)->vm == baton_vcpu(r, to)->vm && waits(r, to))
		hint(r, to);
}

static void gang_boost(struct baton_region *r, uint32_t vm, uint64_t now)
{
	gang_pool(r)->boosted = vm + 1;
}

/* What has run is paid at the old weight. */
static int32_t gang_set(struct baton_region *r, uint32_t scope, uint32_t vm, uint32_t parameter, uint64_t now)
{
	struct gang_vm *g;

	if (scope == BATON_SCOPE_POOL) {
		see_to_others(r, BATON_NONE);
		return 0;
	}
	g = baton_vm_state(r, vm);
	for (uint32_t v = kit_list_first(&g->running); v != BATON_NONE; v = kit_list_next(r, LINK, v))
		settle(r, v, now);
	if (g->weight != 0)
		g->weight = baton_vm(r, vm)->weight > 0 ? baton_vm(r, vm)->weight : 1;
	return 0;
}

/* ---- questions ---- */

static struct baton_choice gang_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);
	int64_t away = (int64_t)(r->migration_cost_ns < slice_ns(r) ? r->migration_cost_ns : slice_ns(r));
	uint32_t v = kit_ready_first(r, &q->called, PIN, pcpu, 1, BATON_NONE, NULL); /* 1: home, within a gang */

	if (v == BATON_NONE && !baton_param(r, STRICT))
		v = kit_ready_first(r, &q->rest, PIN, pcpu, away, BATON_NONE, NULL);
	if (v == BATON_NONE)
		return (struct baton_choice){.vcpu = BATON_NONE};
	return (struct baton_choice){.vcpu = v, .slice_ns = q->slot_end_ns > now ? q->slot_end_ns - now : slice_ns(r)};
}

static uint32_t gang_preempts(struct baton_region *r, uint32_t woken, uint64_t now)
{
	static const uint64_t none[KIT_WORDS] = {0};
	struct gang_pool *q = gang_pool(r);

	if (kit_ready_has(&q->called, woken))
		return outside(r, woken, none);
	return baton_param(r, STRICT) ? BATON_NONE : kit_idle_for(r, &q->idle, woken);
}

/* How far the VM is behind the one that was taken first in this slot, in us of the default weight. */
static int32_t gang_priority(struct baton_region *r, uint32_t vm, uint64_t now)
{
	const struct gang_vm *g = baton_vm_state(r, vm);
	int64_t us = (gang_pool(r)->virtual - g->tag) / 1000;

	return us > INT32_MAX ? INT32_MAX : us < INT32_MIN ? INT32_MIN : (int32_t)us;
}

static uint32_t gang_choose_console(struct baton_region *r, uint64_t now)
{
	return kit_console(r, gang_pool(r)->boosted);
}

/* ---- history ---- */

/* A VM's tag is as of now for those of its vCPUs that were given: so who runs pays first. */
static int32_t gang_give(struct baton_region *r, uint32_t v, struct baton_history *h, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);
	struct gang_vcpu *s = gang_vcpu(r, v);
	struct gang_vm *g = vm_of(r, v);
	struct gang_tail t;

	if (s->on != 0)
		settle(r, v, now);
	t = (struct gang_tail){.slot = q->slot,
			       .slot_end_ns = q->slot_end_ns,
			       .pool_seq = q->seq,
			       .alarm_ns = q->alarm_ns,
			       .virtual = q->virtual,
			       .gangs = q->gangs,
			       .rank = g->rank,
			       .vm_slot = g->slot,
			       .vm_stamp = g->stamp,
			       .hinted = g->hinted,
			       .tag = g->tag,
			       .fraction = g->fraction,
			       .late = (uint16_t)s->late,
			       .planned = (uint16_t)is_planned(r, v),
			       .key = s->key,
			       .seq = s->seq,
			       .stopped_ns = s->stopped_ns};
	kit_history(r, v, h, "gang", 1, &t, sizeof t);
	h->service_ns = s->service_ns;
	h->owed_ns = (q->virtual - g->tag) * (int64_t)g->weight / WEIGHT_DEFAULT;
	h->since_run_ns = s->on != 0 ? 0 : now - s->stopped_ns;
	return 0;
}

/* Own records: the same slot, gangs and order. */
static void take_own(struct baton_region *r, uint32_t v, const struct gang_tail *t, uint64_t now)
{
	struct gang_pool *q = gang_pool(r);
	struct gang_vcpu *s = gang_vcpu(r, v);
	struct gang_vm *g = vm_of(r, v);

	if (q->slot != t->slot) { /* nobody was planned here yet */
		q->slot = t->slot;
		q->planned = 0;
	}
	q->slot_end_ns = t->slot_end_ns;
	q->gangs = t->gangs;
	q->virtual = t->virtual;
	q->seq = t->pool_seq > q->seq ? t->pool_seq : q->seq;
	g->rank = t->rank;
	g->slot = t->vm_slot;
	g->stamp = t->vm_stamp;
	g->hinted = t->hinted;
	g->tag = t->tag;
	g->fraction = t->fraction;
	s->late = t->late;
	s->key = t->key;
	s->seq = t->seq;
	s->stopped_ns = t->stopped_ns;
	if (t->planned)
		plan(r, v);
	if (t->alarm_ns > now)
		alarm_at(r, t->alarm_ns, now);
}

/* Records of others: what each vCPU is owed, or has had ahead, up to a slice, is the VM's. */
static void take_other(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now)
{
	struct gang_vm *g = vm_of(r, v);
	int64_t most = (int64_t)slice_ns(r), owed = h->owed_ns;

	owed = owed > most ? most : owed < -most ? -most : owed;
	g->tag -= owed * WEIGHT_DEFAULT / (int64_t)g->weight;
	gang_vcpu(r, v)->stopped_ns = h->since_run_ns < now ? now - h->since_run_ns : 0;
}

static int32_t gang_take(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now)
{
	const struct gang_tail *t = kit_history_tail(h, "gang", 1, sizeof *t);
	int waited = waits(r, v);

	leave_line(r, v);
	gang_vcpu(r, v)->service_ns = h->service_ns;
	if (t != NULL)
		take_own(r, v, t, now);
	else
		take_other(r, v, h, now);
	if (waited)
		line_up(r, v);
	if (gang_vcpu(r, v)->on != 0) {
		kit_list_remove(r, &vm_of(r, v)->running, LINK, v);
		note_running(r, v);
	}
	return 0;
}

static uint32_t gang_dump(struct baton_region *r, char *buf, uint32_t size, uint64_t now)
{
	struct kit_text t = {.buf = buf, .size = size};
	struct gang_pool *q = gang_pool(r);

	kit_put(&t, "gang");
	kit_put_field(&t, "slot", (int64_t)q->slot);
	kit_put_field(&t, "ends_in_us", ((int64_t)q->slot_end_ns - (int64_t)now) / 1000);
	kit_put_field(&t, "gangs", q->gangs);
	kit_put_field(&t, "planned", q->planned);
	kit_put_field(&t, "called", q->called.count);
	kit_put_field(&t, "rest", q->rest.count);
	kit_put(&t, "\n");
	for (uint32_t v = 0; v < r->vcpu_slots && t.length < size; v++) {
		struct gang_vcpu *s = gang_vcpu(r, v);

		if (baton_vcpu(r, v)->state == BATON_VCPU_FREE || vm_of(r, v)->weight == 0)
			continue;
		kit_put(&t, s->on != 0			   ? "  runs   "
			    : kit_ready_has(&q->called, v) ? "  called "
			    : waits(r, v)		   ? "  waits  "
							   : "  blocked");
		kit_put_field(&t, "vcpu", v);
		kit_put_field(&t, "vm", baton_vcpu(r, v)->vm);
		kit_put_field(&t, "gang", is_gang(r, vm_of(r, v)));
		kit_put_field(&t, "ahead_us", (vm_of(r, v)->tag - q->virtual) / 1000);
		kit_put_field(&t, "ran_us", (int64_t)(s->service_ns / 1000));
		kit_put(&t, "\n");
	}
	return t.length;
}

BATON_SCHEDULER(gang, .version = "1.0",
		.description = "Gang scheduling: the vCPUs of a VM run at the same time; others fill the holes",
		.state_version = 1, .pool_state_size = sizeof(struct gang_pool),
		.vcpu_state_size = sizeof(struct gang_vcpu), .vm_state_size = sizeof(struct gang_vm),
		.parameters = gang_parameters, .parameter_count = sizeof gang_parameters / sizeof gang_parameters[0],
		.attach = gang_attach, .admit = gang_admit, .retire = gang_retire, .wake = gang_wake,
		.sleep = gang_sleep, .start = gang_start, .stop = gang_stop, .tick = gang_tick, .spin = gang_spin,
		.ipi = gang_ipi, .boost = gang_boost, .set = gang_set, .choose = gang_choose, .preempts = gang_preempts,
		.priority = gang_priority, .choose_console = gang_choose_console, .give = gang_give, .take = gang_take,
		.dump = gang_dump);
