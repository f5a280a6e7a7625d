/* SPDX-License-Identifier: Apache-2.0 */
/* stream.h - a person's terminal joined to a VM's console stream. */
#ifndef CLI_STREAM_H
#define CLI_STREAM_H

#include "cli/cli.h"

struct stream_options {
	bool from_start; /* show the kept output first */
	bool until_off;	 /* leave when the VM has powered off, not only when it is destroyed */
};

/*
 * Joins stdin and stdout to the console until the VM ends, the person leaves (Ctrl-] q), or SIGTERM. A terminal is put
 * into raw mode and back; when stdin is no terminal, its end only ends the input. Returns the exit status.
 */
int stream_console(const struct cli *cli, const char *vm, const struct stream_options *options);

#endif
