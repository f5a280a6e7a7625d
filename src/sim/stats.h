/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h - what a simulation measures, per entry of the workload (a VM, or all VMs of one kind).
 *
 * - wait: each time from being runnable to running. latency: the same, after wake-ups only.
 * - fairness: over windows, by how much a VM's service differs from its fair share, in % of that share. The fair share
 *   of a window is what an ideal host would have given: all pCPUs' time, in proportion to the weights, nobody more than
 *   it asked for (what it ran, and what it still had to do while it waited), what is left over to the others again. Caps
 *   are kept. Affinity and reservations are not looked at. Windows in which a VM's share is below 1 % of a pCPU are left
 *   out of the error.
 * - curve: the service each entry had received, at CURVE_POINTS + 1 equidistant times.
 * - timeline: who ran where, between two times.
 *
 * Threads: those of the simulation that it belongs to.
 */
#ifndef SIM_STATS_H
#define SIM_STATS_H

#include "base/base.h"

struct sim;
struct sim_vcpu;

/* Counts by size: 32 buckets for each power of two, so that a percentile is right within 3 %. */
#define HIST_FINE    5
#define HIST_BUCKETS ((64 - HIST_FINE + 1) << HIST_FINE)

struct hist {
	uint64_t count, sum, max;
	uint64_t buckets[HIST_BUCKETS];
};

static inline uint32_t hist_bucket(uint64_t value)
{
	uint32_t top;

	if (value < (UINT64_C(1) << HIST_FINE))
		return (uint32_t)value;
	top = 63 - (uint32_t)__builtin_clzll(value);
	return ((top - HIST_FINE + 1) << HIST_FINE) +
	       (uint32_t)((value >> (top - HIST_FINE)) & ((1u << HIST_FINE) - 1));
}

static inline void hist_add(struct hist *h, uint64_t value)
{
	h->count++;
	h->sum += value;
	h->max = MAX(h->max, value);
	h->buckets[hist_bucket(value)]++;
}

/* The least value of a bucket. */
uint64_t hist_value(uint32_t bucket);
/* At most so much is a share (0 .. 1) of all; 0 without any. */
uint64_t hist_at(const struct hist *h, double share);

#define CURVE_POINTS	 400
#define CURVE_POINTS_FEW 50   /* with very many vCPUs */
#define CURVE_MANY	 4096 /* vCPUs */

struct entry_stats {
	struct hist wait, latency; /* ns */
	struct hist error;	   /* hundredths of a percent of the fair share, without sign */
	uint64_t run_ns, wait_ns, blocked_ns, starts, migrations; /* of vCPUs that are gone */
	uint64_t jobs, missed, spin_ns;
	double fair_ns;	  /* sum of the fair shares of all windows */
	uint64_t windows; /* that counted */
	uint64_t curve_ns[CURVE_POINTS + 1];
};

struct span { /* somebody ran somewhere */
	uint64_t from_ns, to_ns;
	uint32_t vcpu, pcpu; /* numbers in the simulation, in the order of the workload */
};

struct window_error { /* the fairness of one window */
	uint64_t end_ns;
	double worst, mean; /* %, over the VMs that counted */
};

struct sim_stats {
	struct entry_stats *entries;
	uint32_t entry_count;
	uint32_t curve_points, curve_count; /* planned, and filled in (the one at time 0 included) */
	struct span *spans;
	size_t span_count, span_room, span_max;
	uint64_t span_from_ns, span_to_ns; /* pool's time */
	bool spans_cut;			   /* there were more than span_max */
	struct window_error *windows;
	size_t window_count, window_room;
	uint64_t next_curve_ns, next_window_ns; /* pool's time */
	uint64_t window_ns;

	/* of the present window */
	uint64_t window_from_ns;
	uint64_t *run_then_ns, *wait_then_ns; /* per vCPU: at its beginning */
	struct sharer *sharers;		      /* those among whom it is divided */
	uint32_t *order;
};

/* NULL without memory. */
struct sim_stats *stats_new(struct sim *s, uint64_t timeline_from_ns, uint64_t timeline_to_ns, size_t timeline_max);
struct sim_stats *stats_free(struct sim_stats *t);

static inline uint64_t stats_due(const struct sim_stats *t)
{
	return MIN(t->next_curve_ns, t->next_window_ns);
}

/* The time of stats_due has come. Lock held. */
void stats_sample(struct sim_stats *t, struct sim *s);
/* v is about to leave the pool: its accounts are kept. Lock held. */
void stats_retire(struct sim_stats *t, struct sim *s, const struct sim_vcpu *v);
void stats_ran(struct sim_stats *t, uint32_t vcpu, uint32_t pcpu, uint64_t from_ns, uint64_t to_ns);

#endif
