/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shrink.h - makes a failing trial small: whatever can be left out, is, as long as the same property still fails.
 *
 * Steps, again and again until none of them helps: leave out acts of the operator, VMs, vCPUs, phases, parameters, pCPUs;
 * make behaviours plain, wishes the usual ones; end the trial where it fails. What is left is rarely more than two or three
 * VMs.
 */
#ifndef CHECK_SHRINK_H
#define CHECK_SHRINK_H

#include "check/trial.h"

/* Runs a trial; negative errno when it cannot be run. */
typedef int (*shrink_runner)(void *ctx, const struct trial *t, struct trial_result *ret);

/* How much there is in a trial. */
uint32_t trial_size(const struct trial *t);

/*
 * Shrinks *t, in which p fails as *verdict says, in place, with at most `most` runs; *verdict becomes that of the shrunk
 * trial.
 */
void shrink(struct trial **t, enum property p, uint32_t most, shrink_runner run, void *ctx, struct verdict *verdict);

#endif
