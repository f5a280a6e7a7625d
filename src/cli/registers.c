/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/client.h"
#include "cli/output.h"
#include "cli/vm_call.h"

#include <getopt.h>

static int registers_run(const struct cli *cli, int argc, char **argv)
{
	static const struct option longs[] = {{NULL, 0, NULL, 0}};
	_cleanup_client_ struct client client = CLIENT_NONE;
	struct error e = {""};
	const json_t *text;
	json_t *reply;
	size_t i;

	if (cli_getopt(&command_registers, argc, argv, longs) != -1)
		return CLI_USAGE;
	if (argc - optind != 1)
		return cli_usage(&command_registers, "give the name or number of one VM");
	if (client_open(cli->socket, &client, &e) < 0)
		return cli_fail("%s", e.text);
	if (client_call(&client, "vm.registers", json_pack("{s:s}", "vm", argv[optind]), &reply, &e) < 0)
		return cli_fail("%s", e.text);
	json_array_foreach(json_object_get(reply, "vcpus"), i, text) puts(json_string_value(text));
	json_decref(reply);
	return 0;
}

const struct command command_registers = {
    .name = "registers",
    .args = "VM",
    .summary = "Show where a VM's vCPUs are: registers and pending interrupts",
    .details = "VM is a name or a number as 'baton ls' shows them. It is held for the moment that takes.\n",
    .run = registers_run,
};
