/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/report.h"

#include <math.h>
#include <string.h>

#include "sched/manager.h"
#include "sim/internal.h"

#define CDF_POINTS 80

static double percent(double part, double whole)
{
	return whole > 0 ? part / whole * 100 : 0;
}

/* Three significant decimals are enough, and keep pages small. */
static json_t *number(double x)
{
	return json_real(round(x * 1000) / 1000);
}

static json_t *percentiles(const struct hist *h, double unit)
{
	return json_pack("{s:I, s:o, s:o, s:o, s:o}", "count", (json_int_t)h->count, "p50",
			 number((double)hist_at(h, 0.5) / unit), "p90", number((double)hist_at(h, 0.9) / unit), "p99",
			 number((double)hist_at(h, 0.99) / unit), "max", number((double)h->max / unit));
}

/* [[us, share], ...]: how many were at most so long; thinned out to about CDF_POINTS. */
static json_t *distribution(const struct hist *h)
{
	json_t *points = json_array();
	uint64_t seen = 0;
	double told = -1;

	for (uint32_t i = 0; i < HIST_BUCKETS && seen < h->count; i++) {
		double share;

		if (h->buckets[i] == 0)
			continue;
		seen += h->buckets[i];
		share = (double)seen / (double)h->count;
		if (share - told < 1.0 / CDF_POINTS && share < 0.98)
			continue;
		told = share;
		json_array_append_new(points, json_pack("[o, o]", number((double)MIN(hist_value(i + 1), h->max) / 1000),
							json_real(round(share * 100000) / 100000)));
	}
	return points;
}

/* ---- VMs ---- */

/* Accounts of all vCPUs of an entry: of those that are gone, and of those that are there. */
struct totals {
	uint64_t run_ns, wait_ns, blocked_ns, starts, migrations, jobs, missed, spin_ns;
};

static void add_vcpu(struct sim *s, struct totals *t, const struct sim_vcpu *v) NO_TSA
{
	struct pool_times times;

	t->jobs += v->jobs;
	t->missed += v->missed;
	t->spin_ns += v->spin_ns;
	if (v->id == BATON_NONE)
		return;
	times = pool_vcpu_times(s->pool, v->id, s->now_ns);
	t->run_ns += times.run_ns;
	t->wait_ns += times.wait_ns;
	t->blocked_ns += times.blocked_ns;
	t->starts += s->pool->vcpus[v->id].starts;
	t->migrations += s->pool->vcpus[v->id].migrations;
}

static struct totals *totals_of(struct sim *s)
{
	struct totals *t = calloc(s->workload->vm_count, sizeof *t);

	if (!t)
		return NULL;
	for (uint32_t n = 0; n < s->workload->vm_count; n++) {
		const struct entry_stats *e = &s->stats->entries[n];

		t[n] = (struct totals){.run_ns = e->run_ns,
				       .wait_ns = e->wait_ns,
				       .blocked_ns = e->blocked_ns,
				       .starts = e->starts,
				       .migrations = e->migrations};
	}
	for (uint32_t i = 0; i < s->vcpu_count; i++)
		add_vcpu(s, &t[s->vcpus[i].entry], &s->vcpus[i]);
	return t;
}

static json_t *vm_report(struct sim *s, uint32_t n, const struct totals *t, bool series)
{
	const struct workload_vm *entry = &s->workload->vms[n];
	const struct entry_stats *e = &s->stats->entries[n];
	double capacity = (double)(s->now_ns - SIM_EPOCH_NS) * s->workload->pcpus;
	json_t *vm = json_pack(
	    "{s:s, s:i, s:i, s:i, s:i, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o}", "name",
	    entry->name, "count", (int)entry->count, "vcpus", (int)entry->vcpus, "weight",
	    (int)(entry->wishes.weight ? entry->wishes.weight : POOL_WEIGHT_DEFAULT), "cap_percent",
	    (int)entry->wishes.cap_percent, "share_percent", number(percent((double)t->run_ns, capacity)),
	    "fair_percent", s->stats->window_count > 0 ? number(percent(e->fair_ns, capacity)) : json_null(), "run_ns",
	    (json_int_t)t->run_ns, "wait_ns", (json_int_t)t->wait_ns, "blocked_ns", (json_int_t)t->blocked_ns,
	    "wait_us", percentiles(&e->wait, 1e3), "latency_us", percentiles(&e->latency, 1e3), "error_percent",
	    percentiles(&e->error, 1e2), "starts", (json_int_t)t->starts, "migrations", (json_int_t)t->migrations,
	    "jobs", (json_int_t)t->jobs, "missed", (json_int_t)t->missed, "spin_percent",
	    number(percent((double)t->spin_ns, (double)t->run_ns)));

	if (vm && series) {
		json_t *curve = json_array();

		for (uint32_t i = 0; i < s->stats->curve_count; i++)
			json_array_append_new(curve, number((double)e->curve_ns[i] / 1e6));
		json_object_set_new(vm, "service_ms", curve);
		json_object_set_new(vm, "latency", distribution(&e->latency));
		json_object_set_new(vm, "wait", distribution(&e->wait));
	}
	return vm;
}

static json_t *vms_report(struct sim *s, bool series)
{
	_cleanup_free_ struct totals *totals = totals_of(s);
	json_t *vms = json_array();

	for (uint32_t n = 0; totals && n < s->workload->vm_count; n++)
		json_array_append_new(vms, vm_report(s, n, &totals[n], series));
	return vms;
}

/* ---- the pool ---- */

static json_t *pool_report(struct sim *s) NO_TSA
{
	struct pool *p = s->pool;
	uint64_t busy = 0, idle = 0, migrations = 0;
	double capacity = (double)(s->now_ns - SIM_EPOCH_NS) * p->pcpu_count;
	json_t *pcpus = json_array();
	_cleanup_free_ struct totals *totals = totals_of(s);

	for (uint32_t i = 0; i < p->pcpu_count; i++) {
		uint64_t b, f, o;

		pool_pcpu_times(p, i, s->now_ns, &b, &f, &o);
		busy += b;
		idle += f;
		json_array_append_new(pcpus,
				      json_pack("{s:o, s:o, s:I}", "busy_percent",
						number(percent((double)b, capacity / p->pcpu_count)), "idle_percent",
						number(percent((double)f, capacity / p->pcpu_count)), "decisions",
						(json_int_t)p->pcpus[i].decisions));
	}
	for (uint32_t n = 0; totals && n < s->workload->vm_count; n++)
		migrations += totals[n].migrations;
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "decisions", (json_int_t)p->decisions, "kicks",
			 (json_int_t)s->kicks, "events", (json_int_t)s->events, "wrong_answers",
			 (json_int_t)p->wrong_answers, "migrations", (json_int_t)migrations, "busy_percent",
			 number(percent((double)busy, capacity)), "idle_percent",
			 number(percent((double)idle, capacity)), "per_pcpu", pcpus);
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The worst VM of each window, over the windows that ended in from .. to. */
static json_t *fairness_between(const struct sim_stats *t, uint64_t from_ns, uint64_t to_ns)
{
	double *worst = calloc(MAX(t->window_count, (size_t)1), sizeof *worst), mean = 0;
	size_t n = 0;
	json_t *result;

	for (size_t i = 0; worst && i < t->window_count; i++) {
		if (t->windows[i].end_ns <= from_ns || t->windows[i].end_ns > to_ns)
			continue;
		worst[n++] = t->windows[i].worst;
		mean += t->windows[i].mean;
	}
	if (n == 0) {
		free(worst);
		return json_null();
	}
	qsort(worst, n, sizeof *worst, compare_doubles);
	result = json_pack("{s:I, s:o, s:o, s:o, s:o}", "windows", (json_int_t)n, "mean", number(mean / (double)n),
			   "p50", number(worst[(n - 1) / 2]), "p99",
			   number(worst[MIN((size_t)ceil(0.99 * (double)n), n) - 1]), "max", number(worst[n - 1]));
	free(worst);
	return result;
}

static json_t *windows_series(const struct sim_stats *t)
{
	json_t *windows = json_array();

	for (size_t i = 0; i < t->window_count; i++)
		json_array_append_new(windows, json_pack("[o, o, o]", number((double)t->windows[i].end_ns / 1e6),
							 number(t->windows[i].worst), number(t->windows[i].mean)));
	return windows;
}

/* ---- who ran where ---- */

static json_t *timeline(struct sim *s) NO_TSA
{
	const struct sim_stats *t = s->stats;
	uint64_t to_ns = MIN(t->span_to_ns, s->now_ns);
	json_t *spans = json_array();

	for (uint32_t p = 0; p < s->workload->pcpus; p++) /* who runs at the end has not been stopped */
		if (s->pcpus[p].vcpu != BATON_NONE)
			stats_ran(s->stats, s->pcpus[p].vcpu, p, s->pool->vcpus[s->vcpus[s->pcpus[p].vcpu].id].since_ns,
				  to_ns);
	for (size_t i = 0; i < t->span_count; i++) {
		const struct span *x = &t->spans[i];

		json_array_append_new(spans, json_pack("[i, i, I, I]", (int)x->pcpu, (int)x->vcpu,
						       (json_int_t)(x->from_ns - SIM_EPOCH_NS),
						       (json_int_t)(x->to_ns - x->from_ns)));
	}
	return json_pack("{s:I, s:I, s:b, s:o}", "from_ns", (json_int_t)(t->span_from_ns - SIM_EPOCH_NS), "to_ns",
			 (json_int_t)(MAX(to_ns, t->span_from_ns) - SIM_EPOCH_NS), "cut", t->spans_cut, "spans", spans);
}

json_t *report_run(struct sim *s, const char *image, bool series) NO_TSA
{
	const struct workload *w = s->workload;
	const struct baton_scheduler *policy = s->pool->attached[0]->ops;
	json_t *run, *fairness;

	pool_enter(s->pool);
	run = json_pack("{s:s, s:s, s:s*, s:s, s:I, s:i, s:I, s:i, s:i, s:o, s:o}", "policy", policy->name, "version",
			policy->version, "image", image, "workload", w->name, "seed", (json_int_t)s->seed, "pcpus",
			(int)w->pcpus, "duration_ns", (json_int_t)(s->now_ns - SIM_EPOCH_NS), "vms_total",
			(int)s->vm_count, "vcpus_total", (int)s->vcpu_count, "pool", pool_report(s), "vms",
			vms_report(s, series));
	fairness = fairness_between(s->stats, 0, UINT64_MAX);
	json_object_set_new(run, "fairness_percent", fairness);
	json_object_set_new(run, "window_ns", json_integer((json_int_t)w->window_ns));
	json_object_set_new(run, "fair_by", json_string(w->fair_by_vm ? "vm" : "vcpu"));
	if (series) {
		json_object_set_new(run, "curve_step_ms",
				    number((double)w->duration_ns / 1e6 / (double)s->stats->curve_points));
		json_object_set_new(run, "windows", windows_series(s->stats));
		json_object_set_new(run, "timeline", timeline(s));
	}
	pool_leave(s->pool);
	return run;
}

json_t *report_of(const char *kind, json_t *runs)
{
	return json_pack("{s:s, s:s, s:o}", "kind", kind, "made_by", "baton " BATON_VERSION, "runs", runs);
}

/* ---- a change ---- */

/* Service that an entry received between two times, from its curve. */
static double service_ms(const struct sim *s, uint32_t entry, uint64_t from_ns, uint64_t to_ns)
{
	const struct sim_stats *t = s->stats;
	double step = (double)s->workload->duration_ns / t->curve_points, at[2], result[2];

	at[0] = (double)from_ns / step;
	at[1] = (double)to_ns / step;
	for (int i = 0; i < 2; i++) {
		uint32_t last = t->curve_count - 1;
		double x = MIN(at[i], (double)last);
		uint32_t below = (uint32_t)MIN(floor(x), MAX((double)last - 1, 0.0));
		double a = (double)t->entries[entry].curve_ns[below];
		double b = (double)t->entries[entry].curve_ns[MIN(below + 1, last)];

		result[i] = a + (b - a) * (x - below);
	}
	return (result[1] - result[0]) / 1e6;
}

static json_t *part(struct sim *s, uint64_t from_ns, uint64_t to_ns)
{
	json_t *shares = json_array();
	double capacity_ms = (double)(to_ns - from_ns) / 1e6 * s->workload->pcpus;

	for (uint32_t n = 0; n < s->workload->vm_count; n++)
		json_array_append_new(shares, number(percent(service_ms(s, n, from_ns, to_ns), capacity_ms)));
	return json_pack("{s:I, s:I, s:o, s:o}", "from_ns", (json_int_t)from_ns, "to_ns", (json_int_t)to_ns,
			 "fairness_percent", fairness_between(s->stats, from_ns, to_ns), "share_percent", shares);
}

json_t *report_change(struct sim *s, const struct change_report *c, uint64_t at_ns, uint64_t across_ns)
{
	json_t *run = report_run(s, NULL, true);
	uint64_t end_ns = s->now_ns - SIM_EPOCH_NS;
	uint64_t from_ns = at_ns > across_ns / 2 ? at_ns - across_ns / 2 : 0;
	uint64_t to_ns = MIN(from_ns + across_ns, end_ns);
	json_t *change = json_pack(
	    "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "state", change_state_name(c->state), "from", c->from,
	    "to", c->to, "how", change_how_name(c->how), "error", c->error, "asked_ns", (json_int_t)at_ns, "took_ns",
	    (json_int_t)(c->ended_ns - c->began_ns), "attach_ns", (json_int_t)c->attach_ns, "attach_lock_ns",
	    (json_int_t)c->attach_lock_ns, "blackout_ns", (json_int_t)c->blackout_ns);

	if (!run || !change) {
		json_decref(run);
		json_decref(change);
		return NULL;
	}
	json_object_set_new(change, "before", part(s, 0, from_ns));
	json_object_set_new(change, "across", part(s, from_ns, to_ns));
	json_object_set_new(change, "after", part(s, to_ns, end_ns));
	json_object_set_new(run, "change", change);
	return run;
}
