/* SPDX-License-Identifier: Apache-2.0 */
/* demo_report.c - what the demo shows: a line, the table each second, and the report for people and for programs. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/demo.h"
#include "cli/output.h"

#define BAR_CELLS 20

void demo_say(const struct demo *d, const char *fmt, ...)
{
	va_list ap;

	printf("[%5.1f s] ", (double)(clock_now_ns() - d->start_ns) / 1e9);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void demo_show_shares(struct demo *d, uint64_t elapsed_ns)
{
	struct table *t = table_new("VM|>vCPUs|>WEIGHT|>pCPU %|SHARE OF ALL TIME USED|>BEATS|>LONGEST GAP");
	uint64_t total = 0;

	for (size_t i = 0; i < d->count; i++)
		total += d->guests[i].run_ns - d->guests[i].run_before_ns;
	for (size_t i = 0; i < d->count; i++) {
		const struct demo_guest *g = &d->guests[i];
		uint64_t ran = g->run_ns - g->run_before_ns;
		char bar[BAR_CELLS + 1] = "";

		if (!g->started || g->ended)
			continue;
		if (total > 0)
			memset(bar, '#', (size_t)(ran * BAR_CELLS / total));
		table_cell(t, "%s", g->name);
		table_cell(t, "%u", g->vcpus);
		table_cell(t, "%u", g->weight);
		table_cell(t, "%.0f", elapsed_ns ? 100.0 * (double)ran / (double)elapsed_ns : 0.0);
		table_cell(t, "%-*s", BAR_CELLS, bar);
		table_cell(t, "%" PRIu64, g->beats);
		table_cell(t, "%" PRIu64 " ms", g->gap_ms);
	}
	demo_say(d, "%s decides", d->active);
	table_print(t, stdout, "           ");
	table_free(t);
}

static const char *kind_of(const struct demo_guest *g)
{
	return g->linux_guest ? "linux" : "nano";
}

void demo_show_report(const struct demo *d)
{
	struct table *t = table_new("GUEST|KIND|>vCPUs|>HEARTBEATS|>LONGEST GAP (its clock)|>LONGEST GAP (host)");
	const json_t *change, *failure;
	size_t i;

	puts("\nReport");
	for (i = 0; i < d->count; i++) {
		const struct demo_guest *g = &d->guests[i];

		if (!g->started || g->quiet_end)
			continue;
		table_cell(t, "%s", g->name);
		table_cell(t, "%s", kind_of(g));
		table_cell(t, "%u", g->vcpus);
		table_cell(t, "%" PRIu64, g->beats);
		table_cell(t, "%" PRIu64 " ms", g->gap_ms);
		table_cell(t, "%" PRIu64 " ms", g->gap_host_ms);
	}
	table_print(t, stdout, "  ");
	table_free(t);
	putchar('\n');
	t = table_new("CHANGE|HOW|ASKED BY|STATE|>BLACKOUT");
	json_array_foreach(d->changes, i, change)
	{
		int64_t ns = member_int(change, "blackout_ns", -1);
		char blackout[DURATION_MAX];

		table_cell(t, "%s -> %s", member_text(change, "from", "?"), member_text(change, "to", "?"));
		table_cell(t, "%s", member_text(change, "how", "-"));
		table_cell(t, "%s", member_text(change, "requester", "?"));
		table_cell(t, "%s", member_text(change, "state", "?"));
		table_cell(t, "%s", ns < 0 ? "-" : duration_text(blackout, (uint64_t)ns));
	}
	table_print(t, stdout, "  ");
	table_free(t);
	putchar('\n');
	json_array_foreach(d->failures, i, failure) printf("  failure: %s\n", json_string_value(failure));
	if (d->refused)
		puts("  a guest VM's attempt to change the scheduler was refused");
	puts(json_array_size(d->failures) == 0 ? "  result: ok, no guest noticed" : "  result: failed");
}

static json_t *report_json(const struct demo *d)
{
	json_t *guests = json_array(), *changes = json_array();
	const json_t *change;
	size_t i;

	for (i = 0; i < d->count; i++) {
		const struct demo_guest *g = &d->guests[i];

		if (g->started && !g->quiet_end)
			json_array_append_new(guests,
					      json_pack("{s:s, s:s, s:i, s:I, s:I, s:I}", "name", g->name, "kind",
							kind_of(g), "vcpus", (int)g->vcpus, "heartbeats",
							(json_int_t)g->beats, "longest_gap_ms", (json_int_t)g->gap_ms,
							"longest_gap_host_ms", (json_int_t)g->gap_host_ms));
	}
	json_array_foreach(d->changes, i, change)
	{
		static const char *const kept[] = {"from", "to", "how", "requester", "state", "blackout_ns", "error"};
		json_t *one = json_object();

		for (size_t k = 0; k < ARRAY_SIZE(kept); k++)
			if (json_object_get(change, kept[k]))
				json_object_set(one, kept[k], json_object_get(change, kept[k]));
		json_array_append_new(changes, one);
	}
	return json_pack("{s:s, s:o, s:o, s:b, s:s, s:O}", "host", d->options.host_name, "guests", guests, "changes",
			 changes, "privileged_call_refused", d->refused, "result",
			 json_array_size(d->failures) == 0 ? "ok" : "failed", "failures", d->failures);
}

int demo_write_report(const struct demo *d, const char *path, struct error *e)
{
	json_t *report = report_json(d);
	FILE *out = fopen(path, "we");
	int r = 0;

	if (!out || json_dumpf(report, out, JSON_INDENT(2)) < 0 || fputc('\n', out) == EOF || fflush(out) != 0)
		r = error_set(e, -EIO, "cannot write the report to %s: %s", path, strerror(errno));
	if (out && fclose(out) != 0 && r == 0)
		r = error_set(e, -EIO, "cannot write the report to %s: %s", path, strerror(errno));
	json_decref(report);
	return r;
}
