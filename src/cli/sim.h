/* SPDX-License-Identifier: Apache-2.0 */
/* sim.h - what `baton sim`'s parts share: its arguments (sim.c), its tables (sim_print.c). One thread. */
#ifndef CLI_SIM_H
#define CLI_SIM_H

#include <jansson.h>

#include "cli/cli.h"

/* Tables from reports (sim/report.h), on stdout. */
void sim_print_run(const json_t *run);
void sim_print_compare(const json_t *runs);
void sim_print_change(const json_t *run);

#endif
