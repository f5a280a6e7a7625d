/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/vm_call.h"

static int destroy_run(const struct cli *cli, int argc, char **argv)
{
	return vm_call(cli, &command_destroy, argc, argv, "vm.destroy", "gone");
}

const struct command command_destroy = {
    .name = "destroy",
    .args = "VM",
    .summary = "Stop a VM and forget it, its console too",
    .details = "VM is a name or a number as 'baton ls' shows them.\n",
    .run = destroy_run,
};
