/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - what came of simulations: as JSON, from which everything else is made (tables, the HTML page, plots).
 *
 * Members end in their unit (_ns, _us, _percent); docs/simulator.md lists them.
 */
#ifndef SIM_REPORT_H
#define SIM_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "base/base.h"
#include "sched/change.h"

struct sim;

/* Everything about one run that has ended, with statistics: figures always; with series also curves, windows,
 * distributions and the timeline. NULL without memory. */
json_t *report_run(struct sim *s, const char *image, bool series);
/* The same of a run with a change in it: "change" (report and effect: figures before, across and after) is added. The
 * part around the change that is called across is `across_ns` long. */
json_t *report_change(struct sim *s, const struct change_report *change, uint64_t at_ns, uint64_t across_ns);
/* Several runs of the same workload: {"kind": ..., "runs": [...]}; takes the runs over. */
json_t *report_of(const char *kind, json_t *runs);

/* One page that needs nothing else: no network, no other file. -EIO or what fwrite says. */
int report_html(const json_t *report, FILE *out);
/* The plot of one run that the policies' pages embed; light or dark as the reader likes it. */
int report_svg(const json_t *run, FILE *out);

#endif
