/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h - the monitor's one clock: CLOCK_MONOTONIC in nanoseconds. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* "Never", for deadlines. */
#define TIME_NEVER UINT64_MAX

static inline uint64_t clock_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static inline struct timespec timespec_from_ns(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / UINT64_C(1000000000)),
				 .tv_nsec = (long)(ns % UINT64_C(1000000000))};
}

#endif
