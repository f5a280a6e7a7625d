/* SPDX-License-Identifier: Apache-2.0 */
/*
 * change.c - what a change of scheduler costs the guests, and that it costs them nothing else.
 *
 * change.blackout: how long no decision can be had. `live`: the time the pool's lock is held for the flip. `cease`: the
 * longest rest of a pCPU. The baseline is what a system without shadows has to do, in the same run and on the same VMs:
 * stop every pCPU, take all vCPUs out of the old scheduler, hand each one to the new one, go on (the longest rest
 * again).
 *
 * change.attach_lock: a newcomer's becoming a shadow holds the lock as well, in batches: the longest such hold.
 *
 * change.stress: very many live changes while guests spin, sleep and wake; the pool's tables are checked after each
 * one, progress, heartbeats and accounts in the end.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "host/internal.h"
#include "place.h"
#include "sched/manager.h"

#define IMAGE	      "file:bvt.baton"
#define REST_LIMIT    (2 * NSEC_PER_SEC)
#define SETTLE_US     300000 /* guests have started, or gone on */
#define ACCOUNT_SHARE 100    /* accounts may be off by a hundredth */

struct bench {
	struct report r;
	struct monitor *m;
	struct pool *pool;
	const char *pcpus, *carrier_name;
	enum carrier_kind carrier;
	const char *way_name;
	enum activation_way way;
	char spinner[PLACE_PATH_MAX], waker[PLACE_PATH_MAX], yielder[PLACE_PATH_MAX];
	struct attached *rr, *bvt;
};

static bool start(struct bench *b, const char *kernel, const char *cmdline, unsigned number, unsigned vcpus)
{
	char name[32];

	(void)snprintf(name, sizeof name, "vm%u", number);
	return place_vm_start(
	    &b->r, b->m,
	    &(struct place_vm){.name = name, .kernel = kernel, .cmdline = cmdline, .vcpus = vcpus, .memory_mib = 4});
}

/* One vCPU in ten computes, the others sleep and wake. */
static bool populate(struct bench *b, unsigned vcpus)
{
	unsigned spinners = vcpus < 10 ? 1 : vcpus / 10, number = 0;
	bool ok = true;

	for (unsigned i = 0; i < spinners && ok; i++)
		ok = start(b, b->spinner, "beat_ms=500", ++number, 1);
	for (unsigned left = vcpus - spinners; left > 0 && ok; left -= MIN(left, 8u))
		ok = start(b, b->waker, "period_us=20000 beat_ms=500", ++number, MIN(left, 8u));
	usleep(SETTLE_US);
	return ok;
}

static void open_monitor(struct bench *b)
{
	b->m = place_monitor(&b->r, &(struct monitor_config){
					.pcpus = b->pcpus, .carrier = b->carrier, .activation = b->way, .max_vms = 32});
	b->pool = b->m->pool;
}

static void find_schedulers(struct bench *b) NO_TSA
{
	pool_enter(b->pool);
	b->rr = pool_find(b->pool, "rr");
	b->bvt = pool_find(b->pool, "bvt");
	pool_leave(b->pool);
}

/* ---- the baseline: stop everything and rebuild ---- */

static void retire_all(struct pool *p, struct attached *a, uint64_t now)
{
	for (uint32_t v = 0; v < p->vcpu_slots; v++)
		attached_retire(a, v, now);
}

static bool admit_all(struct pool *p, struct attached *a, uint64_t now)
{
	for (uint32_t v = 0; v < p->vcpu_slots; v++)
		if (p->vcpus[v].state != BATON_VCPU_FREE && !attached_knows(a, v) &&
		    attached_admit(a, v, NULL, now) < 0)
			return false;
	return true;
}

static uint64_t longest_rest(struct pool *p) NO_TSA
{
	uint64_t longest;
	bool resting;

	do {
		pool_enter(p);
		longest = 0;
		resting = false;
		for (uint32_t i = 0; i < p->pcpu_count; i++) {
			longest = MAX(longest, p->pcpus[i].blackout_ns);
			resting |= p->pcpus[i].ceased;
		}
		pool_leave(p);
		if (resting)
			usleep(50);
	} while (resting);
	return longest;
}

static bool rebuild(struct bench *b, struct attached *from, struct attached *to, uint64_t *ret_blackout) NO_TSA
{
	struct pool *p = b->pool;
	uint64_t now = pool_enter(p);
	bool ok;

	pool_cease_begin(p);
	ok = pool_cease_wait(p, now + REST_LIMIT) == 0;
	if (ok) {
		now = p->host->ops->now(p->host);
		p->last_now_ns = MAX(p->last_now_ns, now);
		retire_all(p, from, p->last_now_ns);
		ok = admit_all(p, to, p->last_now_ns);
		manager_activate(p, to);
	}
	pool_cease_end(p);
	pool_leave(p);
	*ret_blackout = longest_rest(p);
	return ok;
}

/* Leaves `from` as the only scheduler that knows the vCPUs, as where there are no shadows. Nobody runs meanwhile: tables
 * say "running" of nobody whom they do not know. */
static bool leave_alone(struct bench *b, struct attached *from, struct attached *to) NO_TSA
{
	struct pool *p = b->pool;
	uint64_t now = pool_enter(p);
	bool ok;

	manager_activate(p, from);
	pool_cease_begin(p);
	ok = pool_cease_wait(p, now + REST_LIMIT) == 0;
	if (ok)
		retire_all(p, to, p->last_now_ns);
	pool_cease_end(p);
	pool_leave(p);
	(void)longest_rest(p);
	return ok;
}

static void measure_rebuild(struct bench *b, unsigned rounds, struct samples *s) NO_TSA
{
	struct pool *p = b->pool;
	struct attached *from = b->rr, *to = b->bvt, *swap;
	uint64_t blackout, now;

	if (!leave_alone(b, from, to))
		report_fail(&b->r, "the pCPUs did not come to rest");
	for (unsigned i = 0; i < rounds && !b->r.failed; i++) {
		if (!rebuild(b, from, to, &blackout))
			report_fail(&b->r, "the baseline's rebuild failed");
		samples_add(s, (double)blackout);
		swap = from;
		from = to;
		to = swap;
		usleep(100);
	}
	now = pool_enter(p);
	(void)admit_all(p, b->rr, now);
	manager_activate(p, b->rr);
	(void)admit_all(p, b->bvt, now);
	pool_leave(p);
}

/* ---- blackout ---- */

static void measure_changes(struct bench *b, enum change_how how, unsigned rounds, struct samples *s)
{
	struct change_report report;

	for (unsigned i = 0; i < rounds && !b->r.failed; i++) {
		if (place_change(&b->r, b->m, i % 2 ? "rr" : "bvt", NULL, how, &report))
			samples_add(s, (double)report.blackout_ns);
		usleep(100);
	}
	(void)place_change(&b->r, b->m, "rr", NULL, CHANGE_LIVE, &report);
}

static void measure_attach(struct bench *b, unsigned rounds, struct samples *s)
{
	struct change_report report;

	for (unsigned i = 0; i < rounds && !b->r.failed; i++) {
		if (!place_change(&b->r, b->m, "bvt", IMAGE, CHANGE_LIVE, &report))
			return;
		samples_add(s, (double)report.attach_lock_ns);
		if (i + 1 < rounds)
			place_unload(&b->r, b->m, "bvt");
	}
}

static void report_blackouts(struct bench *b, const char *how, unsigned vcpus, struct samples *s, struct samples *base)
{
	for (size_t i = 0; i < ARRAY_SIZE(bench_stats); i++)
		report_row(&b->r, "change.blackout", samples_at(s, bench_stats[i].share), "ns",
			   samples_at(base, bench_stats[i].share), "stop everything and rebuild the queues",
			   json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:I}", "how", how, "vcpus", (int)vcpus, "host",
				     "kvm", "stat", bench_stats[i].name, "activation", b->way_name, "carrier",
				     host_carrier_name(b->m->host), "samples", (json_int_t)s->count));
}

static void blackouts(struct bench *b, unsigned vcpus)
{
	struct samples live = {0}, cease = {0}, base = {0}, attach = {0};
	bool quick = b->r.quick;

	open_monitor(b);
	if (populate(b, vcpus)) {
		measure_attach(b, quick ? 10 : 100, &attach);
		find_schedulers(b);
		measure_changes(b, CHANGE_LIVE, quick ? 200 : 2000, &live);
		measure_changes(b, CHANGE_CEASE, quick ? 50 : 500, &cease);
		measure_rebuild(b, quick ? 50 : 500, &base);
	}
	if (!b->r.failed) {
		report_blackouts(b, "live", vcpus, &live, &base);
		report_blackouts(b, "cease", vcpus, &cease, &base);
		for (size_t i = 0; i < ARRAY_SIZE(bench_stats); i++)
			report_row(&b->r, "change.attach_lock", samples_at(&attach, bench_stats[i].share), "ns",
				   NO_BASELINE, NULL,
				   json_pack("{s:i, s:s, s:s, s:s, s:s, s:I}", "vcpus", (int)vcpus, "host", "kvm",
					     "stat", bench_stats[i].name, "activation", b->way_name, "carrier",
					     host_carrier_name(b->m->host), "samples", (json_int_t)attach.count));
	}
	b->m = monitor_free(b->m);
	samples_free(&live);
	samples_free(&cease);
	samples_free(&base);
	samples_free(&attach);
}

/* ---- stress ---- */

struct stress {
	unsigned long changes, lost, doubled;
	uint64_t began_ns, pcpu_sum_ns[HOST_PCPUS_MAX];
	struct pool_vcpu *before;
};

/* Who runs where, as three tables tell it: the pool's vCPUs, the pool's pCPUs, the host's run loops. */
static unsigned long count_doubled(struct bench *b) NO_TSA
{
	struct pool *p = b->pool;
	unsigned long doubled = 0;

	pool_enter(p);
	for (uint32_t v = 0; v < p->vcpu_slots; v++) {
		unsigned places = 0, carried = 0;

		for (uint32_t i = 0; i < p->pcpu_count; i++) {
			const struct host_vcpu *current = b->m->host->pcpus[i].current;

			places += p->pcpus[i].running == v;
			/* A loop keeps its vCPU until it has asked the next time; meanwhile the pool says "running"
			 * still. */
			carried += current && p->pcpus[i].running == v && current == p->vcpus[v].cookie;
		}
		if (p->vcpus[v].state == BATON_VCPU_RUNNING)
			doubled += places != 1 || carried != 1;
		else
			doubled += places != 0;
	}
	pool_leave(p);
	return doubled;
}

static void remember(struct bench *b, struct stress *s) NO_TSA
{
	struct pool *p = b->pool;
	uint64_t busy, idle, other;

	s->began_ns = pool_enter(p);
	memcpy(s->before, p->vcpus, p->vcpu_slots * sizeof *s->before);
	for (uint32_t i = 0; i < p->pcpu_count; i++) {
		pool_pcpu_times(p, i, s->began_ns, &busy, &idle, &other);
		s->pcpu_sum_ns[i] = busy + idle + other;
	}
	pool_leave(p);
}

/* vCPUs that have not run since remember(). */
static unsigned long count_lost(struct bench *b, const struct stress *s) NO_TSA
{
	struct pool *p = b->pool;
	unsigned long lost = 0;
	uint64_t now = pool_enter(p);

	for (uint32_t v = 0; v < p->vcpu_slots; v++)
		if (s->before[v].state != BATON_VCPU_FREE)
			lost += pool_vcpu_times(p, v, now).run_ns <= s->before[v].run_ns;
	pool_leave(p);
	return lost;
}

static bool off_by_too_much(uint64_t a, uint64_t b)
{
	uint64_t difference = a > b ? a - b : b - a;

	return difference > b / ACCOUNT_SHARE;
}

static void check_accounts(struct bench *b, const struct stress *s) NO_TSA
{
	struct pool *p = b->pool;
	uint64_t busy, idle, other, now = pool_enter(p);

	for (uint32_t v = 0; v < p->vcpu_slots; v++) {
		struct pool_times t;

		if (p->vcpus[v].state == BATON_VCPU_FREE)
			continue;
		t = pool_vcpu_times(p, v, now);
		if (t.run_ns + t.wait_ns + t.blocked_ns != now - p->vcpus[v].admitted_ns)
			report_fail(&b->r, "vCPU %u: run + wait + blocked = %" PRIu64 " ns of a life of %" PRIu64 " ns",
				    v, t.run_ns + t.wait_ns + t.blocked_ns, now - p->vcpus[v].admitted_ns);
	}
	for (uint32_t i = 0; i < p->pcpu_count; i++) {
		pool_pcpu_times(p, i, now, &busy, &idle, &other);
		if (off_by_too_much(busy + idle + other - s->pcpu_sum_ns[i], now - s->began_ns))
			report_fail(&b->r, "pCPU %u: busy + idle + other = %" PRIu64 " ns in %" PRIu64 " ns", i,
				    busy + idle + other - s->pcpu_sum_ns[i], now - s->began_ns);
	}
	pool_leave(p);
}

static void check_pulses(struct bench *b)
{
	for (uint32_t i = 0; i < b->m->max_vms; i++) {
		struct vm *vm = b->m->vms[i];

		if (!vm)
			continue;
		lock_take(&vm->lock);
		if (vm->pulse.beats == 0 || vm->pulse.holes > 0 || vm->pulse.failed)
			report_fail(&b->r, "VM %s: %" PRIu64 " heartbeats, %" PRIu64 " missing, %s", vm->name,
				    vm->pulse.beats, vm->pulse.holes, vm->pulse.failed ? "failed" : "well");
		lock_drop(&vm->lock);
		if (vm->state != VM_RUNNING)
			report_fail(&b->r, "VM %s does not run any more: %s", vm->name, vm->reason);
	}
}

static void stress(struct bench *b, unsigned long changes)
{
	struct stress s = {0};
	struct change_report report;
	bool ok;

	open_monitor(b);
	ok = start(b, b->spinner, "beat_ms=50", 1, 1) && start(b, b->spinner, "beat_ms=50", 2, 2) &&
	     start(b, b->waker, "period_us=1000 beat_ms=50", 3, 2) &&
	     start(b, b->waker, "period_us=5000 beat_ms=50", 4, 2) && start(b, b->yielder, "work=20 beat_ms=50", 5, 1);
	usleep(SETTLE_US);
	s.before = calloc(b->pool->vcpu_slots, sizeof *s.before);
	ok = ok && s.before && place_change(&b->r, b->m, "bvt", IMAGE, CHANGE_LIVE, &report);
	if (ok)
		remember(b, &s);
	while (ok && s.changes < changes) {
		ok = place_change(&b->r, b->m, s.changes % 2 ? "bvt" : "rr", NULL, CHANGE_LIVE, &report);
		s.changes += ok;
		s.doubled += count_doubled(b);
	}
	if (ok) {
		check_accounts(b, &s);
		remember(b, &s);
		usleep(SETTLE_US * 2);
		s.lost = count_lost(b, &s);
		check_accounts(b, &s);
		check_pulses(b);
		report_row(&b->r, "change.stress", (double)s.changes, "count", NO_BASELINE, NULL,
			   json_pack("{s:I, s:I, s:I, s:s, s:s, s:i}", "changes", (json_int_t)s.changes, "lost",
				     (json_int_t)s.lost, "doubled", (json_int_t)s.doubled, "activation", b->way_name,
				     "carrier", host_carrier_name(b->m->host), "pcpus", (int)b->pool->pcpu_count));
		if (s.lost > 0 || s.doubled > 0)
			report_fail(&b->r, "%lu vCPUs were lost, %lu times one ran twice at once", s.lost, s.doubled);
	}
	free(s.before);
	b->m = monitor_free(b->m);
}

int main(int argc, char **argv)
{
	struct bench b = {.pcpus = "0-1", .carrier_name = "auto", .way_name = "identifier"};
	struct error e;
	long changes = -1;
	const struct bench_option options[] = {
	    {.name = "changes",
	     .help = "N  live changes of the stress (default 10000, with --quick 200)",
	     .number = &changes,
	     .min = 0,
	     .max = 100000000},
	    {.name = "pcpus", .help = "LIST  host CPUs (default 0-1)", .text = &b.pcpus},
	    {.name = "carrier", .help = "auto (default), worker or thread", .text = &b.carrier_name},
	    {.name = "activation", .help = "identifier (default), array, pointer or patched", .text = &b.way_name},
	    {.name = NULL},
	};
	static const unsigned sizes[] = {2, 10, 100};
	int status;

	if (!report_begin(&b.r, argc, argv, "What a change of scheduler costs running guests: blackouts, and a stress.",
			  options, &status))
		return status;
	if (!place_carrier(&b.r, b.carrier_name, &b.carrier))
		return 2;
	if (activation_way_from_name(b.way_name, &b.way, &e) < 0) {
		report_fail(&b.r, "--activation: %s", e.text);
		return 2;
	}
	place_path(&b.r, b.spinner, "guest/nano/spinner", "build first (./dev build)");
	place_path(&b.r, b.waker, "guest/nano/waker", "build first (./dev build)");
	place_path(&b.r, b.yielder, "guest/nano/yielder", "build first (./dev build)");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		blackouts(&b, sizes[i]);
	stress(&b, changes >= 0 ? (unsigned long)changes : b.r.quick ? 200 : 10000);
	return report_end(&b.r);
}
