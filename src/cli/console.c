/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include "cli/stream.h"

static int console_run(const struct cli *cli, int argc, char **argv)
{
	static const struct option longs[] = {{"new", no_argument, NULL, 'n'}, {NULL, 0, NULL, 0}};
	struct stream_options options = {.from_start = true};
	int opt;

	while ((opt = cli_getopt(&command_console, argc, argv, longs)) != -1) {
		if (opt == '?')
			return CLI_USAGE;
		options.from_start = false;
	}
	if (argc - optind != 1)
		return cli_usage(&command_console, "give the name or number of one VM");
	return stream_console(cli, argv[optind], &options);
}

const struct command command_console = {
    .name = "console",
    .args = "[--new] VM",
    .summary = "Work at a VM's console; leave with Ctrl-] q",
    .details =
	"  --new   do not show the output that is kept from before\n"
	"\n"
	"Without a terminal, standard input is sent to the VM and its output is copied until the VM is destroyed:\n"
	"  echo 'uname -a' | timeout 2 baton console service\n",
    .run = console_run,
};
