/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random_world.h - what holds for every policy, in worlds made of one seed: VMs with weights, warps and reservations, vCPUs
 * with behaviours and affinities, and an operator who adds, removes, pauses, kicks, ceases and changes his mind. vCPUs that
 * the policy refuses do not come. The rules of harness.h are checked after each step.
 */
#ifndef TESTS_POLICIES_RANDOM_WORLD_H
#define TESTS_POLICIES_RANDOM_WORLD_H

#include "harness.h"

struct subject {
	const struct baton_scheduler *ops;
	int64_t first_parameter; /* -1: as declared */
	bool may_idle;		 /* see struct world */
	/* Parameters of an instance of it; NULL: as declared. */
	void (*tune)(struct world *w, uint32_t instance);
	/* After each step, besides the rules; NULL: nothing. */
	void (*each_step)(struct world *w);
};

/* The policy and round robin take turns at deciding; a twin of the policy that never decides has the same state, byte for
 * byte, all the time. */
void random_turns(const struct subject *subject, uint64_t seed);

/* A newcomer that takes over the history of the same policy answers as that one would, from then on. */
void random_takes_over(const struct subject *subject, uint64_t seed);

/* There and back through round robin, and from one instance to the next: nobody is lost, nobody starves. */
void random_relay(const struct subject *subject, uint64_t seed);

/* run(seed) for 1 to count, or for the one seed that the command line names. */
void random_seeds(int argc, char **argv, uint64_t count);
void for_each_seed(void (*run)(uint64_t seed));

#endif
