/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "baton/scheduler.h"

static int version_run(const struct cli *cli, int argc, char **argv)
{
	printf("baton %s (scheduler ABI %u)\n", BATON_VERSION, BATON_SCHEDULER_ABI);
	return 0;
}

const struct command command_version = {
    .name = "version",
    .args = "",
    .summary = "Show the version of this program and the scheduler ABI",
    .details = "",
    .run = version_run,
};
