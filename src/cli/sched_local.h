/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched_local.h - the subcommands of `baton sched` that work on files alone, without a monitor: the policy kit.
 *
 * Each gets its own arguments (argv[0] is its name), and returns the exit status as a command does (cli.h).
 */
#ifndef CLI_SCHED_LOCAL_H
#define CLI_SCHED_LOCAL_H

/* info IMAGE [--json]: what an image is and what it understands. */
int sched_info(int argc, char **argv);
/* new NAME [--dir DIR]: a folder with a scheduler to begin from. */
int sched_new(int argc, char **argv);
/* check IMAGE [OPTION]...: property tests. */
int sched_check(int argc, char **argv);

#endif
