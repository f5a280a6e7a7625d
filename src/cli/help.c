/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

static int help_run(const struct cli *cli, int argc, char **argv)
{
	const struct command *c;

	if (argc < 2) {
		command_print_overview();
		return 0;
	}
	c = command_find(argv[1]);
	if (!c)
		return cli_usage(&command_help, "there is no command '%s'", argv[1]);
	command_print_help(c);
	return 0;
}

const struct command command_help = {
    .name = "help",
    .args = "[COMMAND]",
    .summary = "Explain a command, or list all of them",
    .details = "",
    .run = help_run,
};
