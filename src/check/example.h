/* SPDX-License-Identifier: Apache-2.0 */
/* example.h - a trial as a workload file that `baton sim run` reads (docs/simulator.md). */
#ifndef CHECK_EXAMPLE_H
#define CHECK_EXAMPLE_H

#include <jansson.h>

#include "check/trial.h"

/* The workload, with what belongs to the trial beside it told in "about". NULL without memory. */
json_t *example_json(const struct trial *t, enum property p, const struct verdict *v);

/* Writes it; -EEXIST and other errors with the reason in e. */
int example_write(const struct trial *t, enum property p, const struct verdict *v, const char *path, struct error *e);

/* What an operator does in it, and how the scheduler comes to decide: one sentence each, "" when nothing does. */
void example_conditions(const struct trial *t, const struct subject *s, char *buf, size_t size);

#endif
