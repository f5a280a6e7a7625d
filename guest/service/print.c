/* SPDX-License-Identifier: Apache-2.0 */
/*
 * print.c - replies of the monitor, for people. Every field is optional here: a newer monitor may know more, an older
 * one less, and neither may make the service application fail.
 */
#include <stdlib.h>
#include <string.h>

#include "service.h"
#include "table.h"

static const char *text(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "-";
}

static json_int_t integer(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

const char *format_ns(json_int_t ns, char *buf, size_t size)
{
	if (ns < 1000)
		snprintf(buf, size, "%lld ns", (long long)ns);
	else if (ns < 1000000)
		snprintf(buf, size, "%.2f us", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(buf, size, "%.2f ms", (double)ns / 1e6);
	else
		snprintf(buf, size, "%.2f s", (double)ns / 1e9);
	return buf;
}

static void cell_ns(struct table *t, const json_t *object, const char *key)
{
	char buf[32];

	table_cell(t, "%s", format_ns(integer(object, key), buf, sizeof(buf)));
}

static void print_pcpus(const json_t *reply, FILE *out)
{
	static const char *const headings[] = {">pCPU", ">CPU", "OWNER", ">BUSY", ">IDLE", ">OTHER", NULL};
	json_t *pcpus = json_object_get(reply, "pcpus"), *p;
	struct table t;
	size_t i;

	if (!json_array_size(pcpus) || table_init(&t, headings) < 0)
		return;
	json_array_foreach(pcpus, i, p)
	{
		table_cell(&t, "%lld", (long long)integer(p, "id"));
		table_cell(&t, "%lld", (long long)integer(p, "cpu"));
		table_cell(&t, "%s", text(p, "owner"));
		cell_ns(&t, p, "busy_ns");
		cell_ns(&t, p, "idle_ns");
		cell_ns(&t, p, "other_ns");
	}
	fputc('\n', out);
	table_print(&t, out);
	table_done(&t);
}

void print_vm_list(const json_t *reply, FILE *out)
{
	static const char *const headings[] = {">ID",	"NAME",	    "ROLE",   "STATE", ">vCPU",	  ">WEIGHT", ">RUN",
					       ">WAIT", ">BLOCKED", ">BEATS", ">GAP",  "CONSOLE", NULL};
	json_t *vms = json_object_get(reply, "vms"), *vm;
	struct table t;
	size_t i;

	if (table_init(&t, headings) < 0)
		return;
	json_array_foreach(vms, i, vm)
	{
		table_cell(&t, "%lld", (long long)integer(vm, "id"));
		table_cell(&t, "%s", text(vm, "name"));
		table_cell(&t, "%s", text(vm, "role"));
		table_cell(&t, "%s", text(vm, "state"));
		table_cell(&t, "%lld", (long long)integer(vm, "vcpus"));
		table_cell(&t, "%lld", (long long)integer(vm, "weight"));
		cell_ns(&t, vm, "run_ns");
		cell_ns(&t, vm, "wait_ns");
		cell_ns(&t, vm, "blocked_ns");
		table_cell(&t, "%lld", (long long)integer(vm, "heartbeats"));
		table_cell(&t, "%.0f ms", json_number_value(json_object_get(vm, "heartbeat_gap_ms")));
		table_cell(&t, "%s", json_is_true(json_object_get(vm, "console_owner")) ? "owner" : "-");
	}
	table_print(&t, out);
	table_done(&t);
	print_pcpus(reply, out);
}

void print_change(const json_t *reply, FILE *out)
{
	const json_t *blackout = json_object_get(reply, "blackout_ns"), *error = json_object_get(reply, "error");
	char buf[32];

	fprintf(out, "change %lld: %s -> %s, %s: %s", (long long)integer(reply, "id"), text(reply, "from"),
		text(reply, "to"), text(reply, "how"), text(reply, "state"));
	if (json_is_string(json_object_get(reply, "phase")) && strcmp(text(reply, "phase"), text(reply, "state")))
		fprintf(out, " (%s)", text(reply, "phase"));
	if (json_is_integer(blackout))
		fprintf(out, ", blackout %s", format_ns(json_integer_value(blackout), buf, sizeof(buf)));
	if (json_is_string(error) && *json_string_value(error))
		fprintf(out, ", because: %s", json_string_value(error));
	fputc('\n', out);
}

void print_status(const json_t *reply, FILE *out)
{
	static const char *const headings[] = {"SCHEDULER", "VERSION", "ROLE", "LOADED", "IMAGE", NULL};
	const json_t *change = json_object_get(reply, "change");
	json_t *schedulers = json_object_get(reply, "schedulers"), *s;
	struct table t;
	size_t i;

	fprintf(out, "active %s, default %s, decisions %lld, changes %lld, free slots %lld\n", text(reply, "active"),
		text(reply, "default"), (long long)integer(reply, "decisions"), (long long)integer(reply, "changes"),
		(long long)integer(reply, "slots_free"));
	if (table_init(&t, headings) < 0)
		return;
	json_array_foreach(schedulers, i, s)
	{
		const json_t *version = json_object_get(s, "version"), *loaded = json_object_get(s, "loaded");

		table_cell(&t, "%s", text(s, "name"));
		if (json_is_integer(version))
			table_cell(&t, "%lld", (long long)json_integer_value(version));
		else
			table_cell(&t, "%s", text(s, "version"));
		table_cell(&t, "%s", text(s, "role"));
		table_cell(&t, "%s", !loaded ? "-" : json_is_true(loaded) ? "yes" : "no");
		table_cell(&t, "%s", text(s, "image"));
	}
	table_print(&t, out);
	table_done(&t);
	if (json_is_object(change)) {
		fputs("last ", out);
		print_change(change, out);
	}
}

/* Whatever came, one "key value" per line; used where there is no layout of its own. */
void print_plain(const json_t *reply, FILE *out)
{
	const char *key;
	json_t *value;
	int any = 0;

	json_object_foreach((json_t *)reply, key, value)
	{
		char *s;

		if (!strcmp(key, "ok"))
			continue;
		any = 1;
		if (json_is_string(value)) {
			fprintf(out, "%s %s\n", key, json_string_value(value));
			continue;
		}
		s = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
		fprintf(out, "%s %s\n", key, s ? s : "?");
		free(s);
	}
	if (!any)
		fputs("done\n", out);
}
