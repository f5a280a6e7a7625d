/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/vm_call.h"

static int pause_run(const struct cli *cli, int argc, char **argv)
{
	return vm_call(cli, &command_pause, argc, argv, "vm.pause", "paused");
}

const struct command command_pause = {
    .name = "pause",
    .args = "VM",
    .summary = "Stop a VM's vCPUs where they are; 'resume' goes on",
    .details = "VM is a name or a number as 'baton ls' shows them.\n",
    .run = pause_run,
};
