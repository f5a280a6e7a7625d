/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/vm_call.h"

static int resume_run(const struct cli *cli, int argc, char **argv)
{
	return vm_call(cli, &command_resume, argc, argv, "vm.resume", "running");
}

const struct command command_resume = {
    .name = "resume",
    .args = "VM",
    .summary = "Go on with a paused VM",
    .details = "VM is a name or a number as 'baton ls' shows them.\n",
    .run = resume_run,
};
