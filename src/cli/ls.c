/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <inttypes.h>

#include "cli/client.h"
#include "cli/output.h"

static double seconds(const json_t *object, const char *name)
{
	return (double)member_int(object, name, 0) / 1e9;
}

static void print_vms(const json_t *vms)
{
	struct table *t = table_new("ID|NAME|ROLE|STATE|>VCPUS|>MEM MiB|>WEIGHT|>RUN s|>WAIT s|>BEATS|>GAP ms|NOTE");
	const json_t *vm;
	size_t i;

	json_array_foreach(vms, i, vm)
	{
		table_cell(t, "%" PRId64, member_int(vm, "id", -1));
		table_cell(t, "%s", member_text(vm, "name", "?"));
		table_cell(t, "%s", member_text(vm, "role", "?"));
		table_cell(t, "%s", member_text(vm, "state", "?"));
		table_cell(t, "%" PRId64, member_int(vm, "vcpus", 0));
		table_cell(t, "%" PRId64, member_int(vm, "memory_mib", 0));
		table_cell(t, "%" PRId64, member_int(vm, "weight", 0));
		table_cell(t, "%.2f", seconds(vm, "run_ns"));
		table_cell(t, "%.2f", seconds(vm, "wait_ns"));
		table_cell(t, "%" PRId64, member_int(vm, "heartbeats", 0));
		table_cell(t, "%" PRId64, member_int(vm, "heartbeat_gap_ms", 0));
		table_cell(t, "%s", member_text(vm, "reason", ""));
	}
	table_print(t, stdout, "");
	table_free(t);
}

/* The name of the VM with this id; running and owner are shown by name when they can be. */
static void pcpu_cell(struct table *t, const json_t *value)
{
	if (json_is_string(value))
		table_cell(t, "%s", json_string_value(value));
	else if (json_is_integer(value))
		table_cell(t, "%lld", (long long)json_integer_value(value));
	else
		table_cell(t, "-");
}

static void print_pcpus(const json_t *pcpus)
{
	struct table *t = table_new("PCPU|>HOST CPU|RUNS|>BUSY|>IDLE|>OTHER");
	static const char *const parts[] = {"busy_ns", "idle_ns", "other_ns"};
	const json_t *p;
	size_t i;

	json_array_foreach(pcpus, i, p)
	{
		double wall = (double)MAX(member_int(p, "wall_ns", 0), 1);

		table_cell(t, "%" PRId64, member_int(p, "id", -1));
		table_cell(t, "%" PRId64, member_int(p, "cpu", -1));
		pcpu_cell(t, json_is_null(json_object_get(p, "owner")) ? json_object_get(p, "running")
								       : json_object_get(p, "owner"));
		for (size_t k = 0; k < ARRAY_SIZE(parts); k++)
			table_cell(t, "%.1f %%", 100.0 * (double)member_int(p, parts[k], 0) / wall);
	}
	table_print(t, stdout, "");
	table_free(t);
}

static int ls_run(const struct cli *cli, int argc, char **argv)
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
	_cleanup_client_ struct client client = CLIENT_NONE;
	struct error e = {""};
	json_t *list = NULL;
	bool json = false;
	int opt;

	while ((opt = cli_getopt(&command_ls, argc, argv, longs)) != -1) {
		if (opt == '?')
			return CLI_USAGE;
		json = true;
	}
	if (optind < argc)
		return cli_usage(&command_ls, "ls takes no arguments");
	if (client_open(cli->socket, &client, &e) < 0 || client_call(&client, "vm.list", NULL, &list, &e) < 0)
		return cli_fail("%s", e.text);
	if (json) {
		json_print(list);
	} else {
		char migration[DURATION_MAX];

		print_vms(json_object_get(list, "vms"));
		putchar('\n');
		print_pcpus(json_object_get(list, "pcpus"));
		printf("\ncarrier %s; moving a vCPU between threads costs %s\n", member_text(list, "carrier", "?"),
		       duration_text(migration, (uint64_t)MAX(member_int(list, "migration_ns", 0), 0)));
	}
	json_decref(list);
	return 0;
}

const struct command command_ls = {
    .name = "ls",
    .args = "[--json]",
    .summary = "List VMs and pCPUs with their state and times",
    .details = "  --json   everything the monitor knows, as JSON\n"
	       "\n"
	       "RUN and WAIT are seconds in which its vCPUs ran, and could have run but did not.\n"
	       "BEATS are heartbeats of the guest, GAP the longest time between two by its own clock.\n",
    .run = ls_run,
};
