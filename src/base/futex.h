/* SPDX-License-Identifier: Apache-2.0 */
/* futex.h - sleep until a word changes. Both return early at times: callers look at the word again. */
#ifndef BASE_FUTEX_H
#define BASE_FUTEX_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

/* Sleeps while *word == expected, at most until deadline_ns (CLOCK_MONOTONIC; TIME_NEVER: no limit). */
static inline void futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
	struct timespec until = timespec_from_ns(deadline_ns);

	syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline_ns == TIME_NEVER ? NULL : &until, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

static inline void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

#endif
