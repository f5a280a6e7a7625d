/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c - percentiles, windows and curves. See stats.h. */
#include "sim/stats.h"

#include <math.h>

#include "sim/internal.h"

/* Somebody who has a share in a window: a vCPU or a VM. */
struct sharer {
	double weight, demand_ns, fair_ns;
};

/* ---- counts by size ---- */

uint64_t hist_value(uint32_t bucket)
{
	uint32_t row = bucket >> HIST_FINE;
	uint64_t fine = bucket & ((1u << HIST_FINE) - 1);

	return row == 0 ? fine : ((UINT64_C(1) << HIST_FINE) + fine) << (row - 1);
}

uint64_t hist_at(const struct hist *h, double share)
{
	uint64_t wanted = (uint64_t)ceil(share * (double)h->count), seen = 0;

	if (h->count == 0 || share >= 1)
		return h->max;
	for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen >= MAX(wanted, UINT64_C(1)))
			return MIN(hist_value(i + 1) - 1, h->max);
	}
	return h->max;
}

/* ---- life ---- */

struct sim_stats *stats_new(struct sim *s, uint64_t timeline_from_ns, uint64_t timeline_to_ns, size_t timeline_max)
{
	struct sim_stats *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->entry_count = s->workload->vm_count;
	t->entries = calloc(t->entry_count, sizeof *t->entries);
	t->run_then_ns = calloc(s->vcpu_count, sizeof *t->run_then_ns);
	t->wait_then_ns = calloc(s->vcpu_count, sizeof *t->wait_then_ns);
	t->sharers = calloc(s->vcpu_count, sizeof *t->sharers);
	t->order = calloc(s->vcpu_count, sizeof *t->order);
	if (!t->entries || !t->run_then_ns || !t->wait_then_ns || !t->sharers || !t->order)
		return stats_free(t);
	t->curve_points = s->vcpu_count > CURVE_MANY ? CURVE_POINTS_FEW : CURVE_POINTS;
	t->curve_count = 1;
	t->next_curve_ns = SIM_EPOCH_NS + s->workload->duration_ns / t->curve_points;
	t->window_ns = s->workload->window_ns;
	t->window_from_ns = SIM_EPOCH_NS;
	t->next_window_ns = t->window_ns > 0 ? SIM_EPOCH_NS + t->window_ns : TIME_NEVER;
	t->span_from_ns = SIM_EPOCH_NS + timeline_from_ns;
	t->span_to_ns = SIM_EPOCH_NS + timeline_to_ns;
	t->span_max = timeline_max;
	return t;
}

struct sim_stats *stats_free(struct sim_stats *t)
{
	if (!t)
		return NULL;
	free(t->entries);
	free(t->spans);
	free(t->windows);
	free(t->run_then_ns);
	free(t->wait_then_ns);
	free(t->sharers);
	free(t->order);
	free(t);
	return NULL;
}

/* ---- who ran where ---- */

void stats_ran(struct sim_stats *t, uint32_t vcpu, uint32_t pcpu, uint64_t from_ns, uint64_t to_ns)
{
	struct span span = {
	    .from_ns = MAX(from_ns, t->span_from_ns), .to_ns = MIN(to_ns, t->span_to_ns), .vcpu = vcpu, .pcpu = pcpu};

	if (t->span_max == 0 || span.from_ns >= span.to_ns)
		return;
	if (t->span_count == t->span_max) {
		t->spans_cut = true;
		return;
	}
	if (t->span_count == t->span_room) {
		size_t room = MIN(MAX(2 * t->span_room, (size_t)1024), t->span_max);
		struct span *more = reallocarray(t->spans, room, sizeof *more);

		if (!more) {
			t->spans_cut = true;
			return;
		}
		t->spans = more;
		t->span_room = room;
	}
	t->spans[t->span_count++] = span;
}

/* ---- fairness over a window ---- */

static int by_demand_per_weight(const void *a, const void *b, void *sharers)
{
	const struct sharer *x = (const struct sharer *)sharers + *(const uint32_t *)a;
	const struct sharer *y = (const struct sharer *)sharers + *(const uint32_t *)b;
	double dx = x->demand_ns * y->weight, dy = y->demand_ns * x->weight;

	return dx < dy ? -1 : dx > dy;
}

/* Divides capacity among the sharers in proportion to their weights, nobody more than it asks for: those who ask for
 * least in proportion to their weight are served first, what they leave is for the others. */
static void divide(struct sim_stats *t, uint32_t count, double capacity_ns)
{
	double weights = 0;

	for (uint32_t i = 0; i < count; i++) {
		t->order[i] = i;
		weights += t->sharers[i].weight;
	}
	qsort_r(t->order, count, sizeof *t->order, by_demand_per_weight, t->sharers);
	for (uint32_t i = 0; i < count; i++) {
		struct sharer *x = &t->sharers[t->order[i]];

		x->fair_ns = MIN(x->demand_ns, capacity_ns * x->weight / weights);
		capacity_ns -= x->fair_ns;
		weights -= x->weight;
	}
}

/* What a vCPU got in this window, and what it could have used. */
static void in_window(struct sim_stats *t, struct sim *s, const struct sim_vcpu *v, double *ret_got,
		      double *ret_demand) NO_TSA
{
	struct pool_times now = pool_vcpu_times(s->pool, v->id, s->now_ns);
	uint64_t got = now.run_ns - t->run_then_ns[v->number], waited = now.wait_ns - t->wait_then_ns[v->number];
	/* Who has work left has waited for it since it woke, not longer. */
	uint64_t missing = MIN(sim_backlog_ns(s, v->id), s->now_ns - MAX(v->burst_ns, t->window_from_ns));

	t->run_then_ns[v->number] = now.run_ns;
	t->wait_then_ns[v->number] = now.wait_ns;
	*ret_got = (double)got;
	*ret_demand = (double)(got + MIN(missing, waited));
}

static double capped(const struct workload_vm *entry, double demand_ns, double window_ns, double parts)
{
	double cap_ns = entry->wishes.cap_percent / 100.0 * window_ns / parts;

	return entry->wishes.cap_percent > 0 ? MIN(demand_ns, cap_ns) : demand_ns;
}

static void window_add(struct sim_stats *t, struct window_error error)
{
	if (t->window_count == t->window_room) {
		size_t room = MAX(2 * t->window_room, (size_t)64);
		struct window_error *more = reallocarray(t->windows, room, sizeof *more);

		if (!more)
			return;
		t->windows = more;
		t->window_room = room;
	}
	t->windows[t->window_count++] = error;
}

/* Ends the present window. The VMs' first sharers stand in the order of the VMs. */
static void end_window(struct sim_stats *t, struct sim *s)
{
	double window_ns = (double)(s->now_ns - t->window_from_ns);
	struct window_error all = {.end_ns = s->now_ns - SIM_EPOCH_NS};
	bool by_vm = s->workload->fair_by_vm;
	uint32_t count = 0, counted = 0;
	_cleanup_free_ double *got = calloc(s->vm_count, sizeof *got);

	if (!got)
		return;
	for (uint32_t n = 0; n < s->vm_count; n++) {
		const struct sim_vm *vm = &s->vms[n];
		const struct workload_vm *entry = &s->workload->vms[vm->entry];
		double weight = entry->wishes.weight ? entry->wishes.weight : POOL_WEIGHT_DEFAULT, sum = 0;

		for (uint32_t i = vm->first; i < vm->first + vm->count && vm->id != BATON_NONE; i++) {
			double mine, demand;

			in_window(t, s, &s->vcpus[i], &mine, &demand);
			got[n] += mine;
			sum += demand;
			if (!by_vm)
				t->sharers[count++] = (struct sharer){
				    .weight = weight, .demand_ns = capped(entry, demand, window_ns, vm->count)};
		}
		if (by_vm && vm->id != BATON_NONE)
			t->sharers[count++] =
			    (struct sharer){.weight = weight, .demand_ns = capped(entry, sum, window_ns, 1)};
	}
	divide(t, count, window_ns * s->workload->pcpus);
	count = 0;
	for (uint32_t n = 0; n < s->vm_count; n++) {
		struct entry_stats *entry = &t->entries[s->vms[n].entry];
		uint32_t parts = s->vms[n].id == BATON_NONE ? 0 : by_vm ? 1 : s->vms[n].count;
		double fair_ns = 0, error;

		while (parts-- > 0)
			fair_ns += t->sharers[count++].fair_ns;
		entry->fair_ns += fair_ns;
		if (fair_ns < window_ns / 100)
			continue;
		error = fabs(got[n] - fair_ns) / fair_ns * 100;
		hist_add(&entry->error, (uint64_t)(error * 100));
		all.worst = MAX(all.worst, error);
		all.mean += error;
		counted++;
	}
	if (counted > 0) {
		all.mean /= counted;
		window_add(t, all);
	}
	t->window_from_ns = s->now_ns;
}

/* ---- curves ---- */

static void add_curve_point(struct sim_stats *t, struct sim *s) NO_TSA
{
	if (t->curve_count > t->curve_points)
		return;
	for (uint32_t n = 0; n < t->entry_count; n++)
		t->entries[n].curve_ns[t->curve_count] = t->entries[n].run_ns;
	for (uint32_t i = 0; i < s->vcpu_count; i++) {
		const struct sim_vcpu *v = &s->vcpus[i];

		if (v->id != BATON_NONE)
			t->entries[v->entry].curve_ns[t->curve_count] +=
			    pool_vcpu_times(s->pool, v->id, s->now_ns).run_ns;
	}
	t->curve_count++;
}

void stats_sample(struct sim_stats *t, struct sim *s)
{
	if (s->now_ns >= t->next_window_ns) {
		end_window(t, s);
		t->next_window_ns += t->window_ns;
	}
	if (s->now_ns >= t->next_curve_ns) {
		add_curve_point(t, s);
		t->next_curve_ns = t->curve_count > t->curve_points
				       ? TIME_NEVER
				       : SIM_EPOCH_NS + (uint64_t)((unsigned __int128)s->workload->duration_ns *
								   t->curve_count / t->curve_points);
	}
}

void stats_retire(struct sim_stats *t, struct sim *s, const struct sim_vcpu *v) NO_TSA
{
	struct pool_times times = pool_vcpu_times(s->pool, v->id, s->now_ns);
	struct entry_stats *e = &t->entries[v->entry];

	e->run_ns += times.run_ns;
	e->wait_ns += times.wait_ns;
	e->blocked_ns += times.blocked_ns;
	e->starts += s->pool->vcpus[v->id].starts;
	e->migrations += s->pool->vcpus[v->id].migrations;
	t->run_then_ns[v->number] = t->wait_then_ns[v->number] = 0;
}
