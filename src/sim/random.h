/* SPDX-License-Identifier: Apache-2.0 */
/*
 * random.h - numbers that depend on the seed alone.
 *
 * Each vCPU draws from a stream of its own (splitmix64, Steele, Lea and Flood 2014), so that what it asks for does not
 * depend on the policy that serves it: two policies are compared on the very same demands.
 */
#ifndef SIM_RANDOM_H
#define SIM_RANDOM_H

#include <stdint.h>

static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = (*state += UINT64_C(0x9e3779b97f4a7c15));

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* A stream for number n of what is seeded by seed. */
static inline uint64_t random_stream(uint64_t seed, uint64_t n)
{
	uint64_t state = seed + n * UINT64_C(0xd1342543de82ef95);

	return random_next(&state);
}

/* 0 .. below - 1; 0 when below is 0. */
static inline uint64_t random_below(uint64_t *state, uint64_t below)
{
	return below > 0 ? (uint64_t)(((unsigned __int128)random_next(state) * below) >> 64) : 0;
}

/* In (0, 1]. */
static inline double random_unit(uint64_t *state)
{
	return ((double)(random_next(state) >> 11) + 1.0) * 0x1p-53;
}

#endif
