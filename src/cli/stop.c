/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "cli/client.h"
#include "cli/vm_call.h"

static int stop_all(const struct cli *cli)
{
	_cleanup_client_ struct client client = CLIENT_NONE;
	struct error e = {""};
	json_t *list = NULL, *vm;
	int status = 0;
	size_t i;

	if (client_open(cli->socket, &client, &e) < 0 || client_call(&client, "vm.list", NULL, &list, &e) < 0)
		return cli_fail("%s", e.text);
	json_array_foreach(json_object_get(list, "vms"), i, vm)
	{
		const char *name = member_text(vm, "name", "?");

		if (client_call(&client, "vm.stop", json_pack("{s:s}", "vm", name), NULL, &e) < 0)
			status = cli_fail("%s: %s", name, e.text);
		else
			printf("%s: stopped\n", name);
	}
	json_decref(list);
	return status;
}

static int stop_run(const struct cli *cli, int argc, char **argv)
{
	static const struct option longs[] = {{"all", no_argument, NULL, 'a'}, {NULL, 0, NULL, 0}};
	bool all = false;
	int opt;

	while ((opt = cli_getopt(&command_stop, argc, argv, longs)) != -1) {
		if (opt == '?')
			return CLI_USAGE;
		all = true;
	}
	if (all && optind < argc)
		return cli_usage(&command_stop, "give either --all or one VM");
	if (all)
		return stop_all(cli);
	optind = 0; /* vm_call reads the arguments again */
	return vm_call(cli, &command_stop, argc, argv, "vm.stop", "stopped");
}

const struct command command_stop = {
    .name = "stop",
    .args = "VM | --all",
    .summary = "Power a VM off now; it stays listed until it is destroyed",
    .details = "VM is a name or a number as 'baton ls' shows them.\n"
	       "  --all   every VM\n",
    .run = stop_run,
};
