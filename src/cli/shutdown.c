/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "cli/client.h"

static int shutdown_run(const struct cli *cli, int argc, char **argv)
{
	static const struct option none[] = {{NULL, 0, NULL, 0}};
	_cleanup_client_ struct client client = CLIENT_NONE;
	struct error e = {""};

	if (cli_getopt(&command_shutdown, argc, argv, none) != -1)
		return CLI_USAGE;
	if (optind < argc)
		return cli_usage(&command_shutdown, "shutdown takes no arguments");
	if (client_open(cli->socket, &client, &e) < 0 || client_call(&client, "shutdown", NULL, NULL, &e) < 0)
		return cli_fail("%s", e.text);
	puts("the monitor stops all VMs and ends");
	return 0;
}

const struct command command_shutdown = {
    .name = "shutdown",
    .args = "",
    .summary = "Stop all VMs and end the monitor",
    .details = "",
    .run = shutdown_run,
};
