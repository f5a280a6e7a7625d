/* SPDX-License-Identifier: Apache-2.0 */
/* world.h - a fake host on which things happen at random: VMs and vCPUs come and go, wake, run, stop, are paused. */
#ifndef TESTS_SCHED_WORLD_H
#define TESTS_SCHED_WORLD_H

#include "fake_host.h"

#define WORLD_VMS   8
#define WORLD_VCPUS 24

struct world {
	struct fake *f;
	uint64_t random;
	uint32_t vcpus_of[WORLD_VMS]; /* how many a VM has; only when there is such a VM */
	uint64_t events;
};

struct world world_new(uint64_t seed, uint32_t pcpus, const struct baton_scheduler *scheduler);
/* One event, perhaps after some time. */
void world_event(struct world *w);
uint32_t world_random(struct world *w, uint32_t below);

#endif
