/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest_clock.h - between the guest's TSC and the host's monotonic clock.
 *
 * A guest programs its timer in ticks of its TSC; the host arms timers in ns of CLOCK_MONOTONIC. Both advance together,
 * so an instant read from both clocks at once converts one into the other. The guest's TSC is the host's plus an offset
 * that KVM chose; the frequency is the same (the machine never asks for TSC scaling).
 */
#ifndef MACHINE_GUEST_CLOCK_H
#define MACHINE_GUEST_CLOCK_H

#include <x86intrin.h>

#include "base/base.h"
#include "base/clock.h"

/* One moment, by both clocks of the host. */
struct instant {
	uint64_t ns;
	uint64_t tsc;
};

struct guest_clock {
	_Atomic uint64_t tsc_offset; /* guest TSC = host TSC + this (modulo 2^64) */
	uint32_t tsc_khz;	     /* never 0 */
};

static inline struct instant instant_now(void)
{
	return (struct instant){.ns = clock_now_ns(), .tsc = __rdtsc()};
}

static inline uint64_t guest_clock_tsc(const struct guest_clock *c, struct instant now)
{
	return now.tsc + c->tsc_offset;
}

/* When the guest's TSC will reach `tsc`, rounded up so that it has been reached by then; now.ns when it is past. */
static inline uint64_t guest_clock_to_ns(const struct guest_clock *c, uint64_t tsc, struct instant now)
{
	uint64_t guest_now = guest_clock_tsc(c, now);
	unsigned __int128 ns;

	if (tsc <= guest_now)
		return now.ns;
	ns = ((unsigned __int128)(tsc - guest_now) * 1000000 + c->tsc_khz - 1) / c->tsc_khz + now.ns;
	return ns >= TIME_NEVER ? TIME_NEVER - 1 : (uint64_t)ns;
}

#endif
