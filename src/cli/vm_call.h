/* SPDX-License-Identifier: Apache-2.0 */
/* vm_call.h - what the small commands about one VM have in common. */
#ifndef CLI_VM_CALL_H
#define CLI_VM_CALL_H

#include "cli/cli.h"

/* Sends method {vm: argv[1]} and prints "NAME: done"; complains about wrong arguments. Returns the exit status. */
int vm_call(const struct cli *cli, const struct command *c, int argc, char **argv, const char *method,
	    const char *done);

#endif
