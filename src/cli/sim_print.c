/* SPDX-License-Identifier: Apache-2.0 */
/* sim_print.c - the tables of `baton sim`. */
#include "cli/sim.h"

#include <inttypes.h>
#include <string.h>

#include "cli/output.h"
#include "sim/reader.h"

static double real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static int64_t whole(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

/* A duration of `us`; "-" when nothing was counted. */
static void cell_duration(struct table *t, const json_t *percentiles, const char *key)
{
	char buf[DURATION_MAX];

	if (whole(percentiles, "count") == 0)
		table_cell(t, "-");
	else
		table_cell(t, "%s", duration_text(buf, (uint64_t)(real(percentiles, key) * 1000)));
}

static void cell_percent(struct table *t, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_number(value))
		table_cell(t, "-");
	else
		table_cell(t, "%.1f %%", json_number_value(value));
}

/* The percentile of something that may not have been counted at all. */
static void cell_error(struct table *t, const json_t *percentiles, const char *key)
{
	if (json_is_object(percentiles) && (whole(percentiles, "count") > 0 || whole(percentiles, "windows") > 0))
		cell_percent(t, percentiles, key);
	else
		table_cell(t, "-");
}

static void vm_name(struct table *t, const json_t *vm)
{
	if (whole(vm, "count") > 1)
		table_cell(t, "%s x%" PRId64, text(vm, "name"), whole(vm, "count"));
	else
		table_cell(t, "%s", text(vm, "name"));
}

/* Jobs that came too late, of how many. */
static void cell_late(struct table *t, const json_t *vm)
{
	if (whole(vm, "missed") == 0)
		table_cell(t, "%" PRId64, whole(vm, "jobs"));
	else
		table_cell(t, "%" PRId64 " (%" PRId64 " late)", whole(vm, "jobs"), whole(vm, "missed"));
}

static void print_heading(const json_t *run)
{
	char duration[TIME_TEXT_MAX];

	printf("%s: %" PRId64 " pCPU%s, %" PRId64 " VM%s, %" PRId64 " vCPU%s, %s, seed %" PRId64 "\n",
	       text(run, "workload"), whole(run, "pcpus"), whole(run, "pcpus") == 1 ? "" : "s", whole(run, "vms_total"),
	       whole(run, "vms_total") == 1 ? "" : "s", whole(run, "vcpus_total"),
	       whole(run, "vcpus_total") == 1 ? "" : "s", time_text(duration, (uint64_t)whole(run, "duration_ns")),
	       whole(run, "seed"));
}

static void print_vms(const json_t *run)
{
	struct table *t = table_new("VM|>VCPUS|>WEIGHT|>SHARE|>FAIR|>ERROR P99|>WAKE P50|>P99|>MAX|>WAIT "
				    "P99|>MOVES|>SPINS|>JOBS");
	const json_t *vm;
	size_t i;

	json_array_foreach(json_object_get(run, "vms"), i, vm)
	{
		const json_t *latency = json_object_get(vm, "latency_us");

		vm_name(t, vm);
		table_cell(t, "%" PRId64, whole(vm, "vcpus"));
		table_cell(t, "%" PRId64, whole(vm, "weight"));
		cell_percent(t, vm, "share_percent");
		cell_percent(t, vm, "fair_percent");
		cell_error(t, json_object_get(vm, "error_percent"), "p99");
		cell_duration(t, latency, "p50");
		cell_duration(t, latency, "p99");
		cell_duration(t, latency, "max");
		cell_duration(t, json_object_get(vm, "wait_us"), "p99");
		table_cell(t, "%" PRId64, whole(vm, "migrations"));
		cell_percent(t, vm, "spin_percent");
		cell_late(t, vm);
	}
	table_print(t, stdout, "");
	table_free(t);
}

static void print_pool(const json_t *run)
{
	const json_t *pool = json_object_get(run, "pool"), *fairness = json_object_get(run, "fairness_percent");
	char window[TIME_TEXT_MAX];

	printf("pCPUs %.1f %% busy, %.1f %% idle; %" PRId64 " decisions, %" PRId64 " kicks, %" PRId64 " moves",
	       real(pool, "busy_percent"), real(pool, "idle_percent"), whole(pool, "decisions"), whole(pool, "kicks"),
	       whole(pool, "migrations"));
	if (whole(pool, "wrong_answers") > 0)
		printf("; %" PRId64 " wrong answers", whole(pool, "wrong_answers"));
	putchar('\n');
	if (json_is_object(fairness))
		printf("fairness error per window of %s (worst VM): p50 %.1f %%, p99 %.1f %%, max %.1f %%\n",
		       time_text(window, (uint64_t)whole(run, "window_ns")), real(fairness, "p50"),
		       real(fairness, "p99"), real(fairness, "max"));
}

void sim_print_run(const json_t *run)
{
	print_heading(run);
	printf("policy %s %s\n\n", text(run, "policy"), text(run, "version"));
	print_vms(run);
	putchar('\n');
	print_pool(run);
}

/* ---- several runs side by side ---- */

static void print_compared_vm(struct table *t, const json_t *runs, size_t n)
{
	const json_t *run;
	size_t i;

	json_array_foreach(runs, i, run)
	{
		const json_t *vm = json_array_get(json_object_get(run, "vms"), n);
		const json_t *latency = json_object_get(vm, "latency_us");

		if (i == 0)
			vm_name(t, vm);
		else
			table_cell(t, "%s", "");
		table_cell(t, "%s", text(run, "policy"));
		cell_percent(t, vm, "share_percent");
		cell_percent(t, vm, "fair_percent");
		cell_error(t, json_object_get(vm, "error_percent"), "p99");
		cell_duration(t, latency, "p50");
		cell_duration(t, latency, "p99");
		cell_duration(t, latency, "max");
		table_cell(t, "%" PRId64, whole(vm, "migrations"));
		cell_percent(t, vm, "spin_percent");
		cell_late(t, vm);
	}
}

void sim_print_compare(const json_t *runs)
{
	struct table *t = table_new("POLICY|>FAIRNESS ERROR P50|>P99|>MAX|>BUSY|>DECISIONS|>KICKS|>MOVES");
	const json_t *run;
	size_t i;

	print_heading(json_array_get(runs, 0));
	putchar('\n');
	json_array_foreach(runs, i, run)
	{
		const json_t *pool = json_object_get(run, "pool"), *fairness = json_object_get(run, "fairness_percent");

		table_cell(t, "%s", text(run, "policy"));
		cell_error(t, fairness, "p50");
		cell_error(t, fairness, "p99");
		cell_error(t, fairness, "max");
		cell_percent(t, pool, "busy_percent");
		table_cell(t, "%" PRId64, whole(pool, "decisions"));
		table_cell(t, "%" PRId64, whole(pool, "kicks"));
		table_cell(t, "%" PRId64, whole(pool, "migrations"));
	}
	table_print(t, stdout, "");
	table_free(t);
	putchar('\n');
	t = table_new("VM|POLICY|>SHARE|>FAIR|>ERROR P99|>WAKE P50|>P99|>MAX|>MOVES|>SPINS|>JOBS");
	for (size_t n = 0; n < json_array_size(json_object_get(json_array_get(runs, 0), "vms")); n++)
		print_compared_vm(t, runs, n);
	table_print(t, stdout, "");
	table_free(t);
}

/* ---- a change ---- */

static const char *const parts[] = {"before", "across", "after"};

static void print_parts(const json_t *run, const json_t *change)
{
	struct table *t = table_new("|>BEFORE|>ACROSS|>AFTER");
	const json_t *vm;
	size_t n;

	json_array_foreach(json_object_get(run, "vms"), n, vm)
	{
		table_cell(t, "share of %s%s", text(vm, "name"), whole(vm, "count") > 1 ? " (all)" : "");
		for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
			table_cell(t, "%.1f %%",
				   json_number_value(json_array_get(
				       json_object_get(json_object_get(change, parts[i]), "share_percent"), n)));
	}
	for (size_t k = 0; k < 2; k++) {
		table_cell(t, "fairness error, %s", k ? "max" : "p50");
		for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
			cell_error(t, json_object_get(json_object_get(change, parts[i]), "fairness_percent"),
				   k ? "max" : "p50");
	}
	table_print(t, stdout, "");
	table_free(t);
}

void sim_print_change(const json_t *run)
{
	const json_t *change = json_object_get(run, "change"), *across = json_object_get(change, "across");
	char at[TIME_TEXT_MAX], took[DURATION_MAX], blackout[DURATION_MAX], from[TIME_TEXT_MAX], to[TIME_TEXT_MAX];

	print_heading(run);
	printf("%s -> %s (%s) at %s: %s after %s; blackout %s\n", text(change, "from"), text(change, "to"),
	       text(change, "how"), time_text(at, (uint64_t)whole(change, "asked_ns")), text(change, "state"),
	       duration_text(took, (uint64_t)whole(change, "took_ns")),
	       duration_text(blackout, (uint64_t)whole(change, "blackout_ns")));
	if (*text(change, "error"))
		printf("%s\n", text(change, "error"));
	printf("across = %s to %s\n\n", time_text(from, (uint64_t)whole(across, "from_ns")),
	       time_text(to, (uint64_t)whole(across, "to_ns")));
	print_parts(run, change);
	putchar('\n');
	print_vms(run);
	putchar('\n');
	print_pool(run);
}
