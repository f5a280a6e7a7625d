/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - what every command of `baton` is made of: one command = one file + one row of the table in main.c.
 *
 * A command gets its own arguments (argv[0] is its name) with --help and --socket taken out, and returns the exit
 * status: 0, CLI_FAILED after it said "baton: error: cause; next step", CLI_USAGE for wrong arguments.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <getopt.h>
#include <stdio.h>

#include "base/base.h"

enum { CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli {
	char socket[256]; /* of the monitor to talk to */
};

struct command {
	const char *name;
	const char *args;    /* as shown behind the name */
	const char *summary; /* one line */
	const char *details; /* options and an example, for --help; whole lines */
	int (*run)(const struct cli *cli, int argc, char **argv);
};

extern const struct command command_run, command_ls, command_console, command_stop, command_destroy, command_pause,
    command_image, command_registers, command_resume, command_sched, command_sim, command_doctor, command_demo,
    command_shutdown, command_version, command_help;

/* All commands, in the order in which help shows them: groups of rows, each begun by a row with only a title. */
struct command_row {
	const char *group; /* title, when command is NULL */
	const struct command *command;
};
extern const struct command_row command_table[];
extern const size_t command_table_size;

const struct command *command_find(const char *name);
/* The known name that is nearest to a wrong one, or NULL when none is near. */
const char *command_nearest(const char *name);
void command_print_help(const struct command *c);
void command_print_overview(void);

/* "baton: error: ..." on stderr; returns CLI_FAILED. */
int cli_fail(const char *fmt, ...) _printf_(1, 2);
/* The same with "; see 'baton NAME --help'"; returns CLI_USAGE. */
int cli_usage(const struct command *c, const char *fmt, ...) _printf_(2, 3);

/*
 * getopt_long with our own complaints: returns the option, -1 at the end, '?' when it complained (return CLI_USAGE
 * then).
 */
int cli_getopt(const struct command *c, int argc, char **argv, const struct option *longs);

/* Whole numbers in min .. max; complain by themselves and return -EINVAL. */
int cli_number(const struct command *c, const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret);

#endif
