/* SPDX-License-Identifier: Apache-2.0 */
/*
 * generate.h - makes a trial of a number: the same number and scheduler give the same trial.
 *
 * Each trial has one of these shapes, which take turns as far as the scheduler claims the property that they are for:
 *
 *	mix		anything: behaviours, weights, affinities, VMs that come and go, an operator who interferes
 *	shadow		the same; round robin decides at first
 *	fair		everybody computes all the time, so that shares can be told exactly; often with a handover
 *	sleepers	VMs that compute and sleep for long, and come late: nobody may claim the time that it was away,
 *			or has to pay for the time in which others were
 *	hints		one VM that wakes for short jobs, with a warp and a latency hint, among others that compute
 *	caps		VMs with a cap among others without
 *	reserved	VMs with a budget per period among others without, admissible by a wide margin
 *	gang		VMs with several vCPUs that compute or share spin locks
 */
#ifndef CHECK_GENERATE_H
#define CHECK_GENERATE_H

#include "check/trial.h"

/* sparse: no more vCPUs than pCPUs and no affinities, for schedulers that refuse the usual. NULL without memory. */
struct trial *trial_generate(uint64_t number, const struct subject *subject, bool sparse);

#endif
