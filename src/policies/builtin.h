/* SPDX-License-Identifier: Apache-2.0 */
/* builtin.h - the policies as they link into the monitor, tests and the simulator (BATON_STATIC). */
#ifndef POLICIES_BUILTIN_H
#define POLICIES_BUILTIN_H

#include "baton/scheduler.h"

extern const struct baton_scheduler baton_scheduler_rr; /* the default scheduler: always held */
extern const struct baton_scheduler baton_scheduler_bvt;

#endif
