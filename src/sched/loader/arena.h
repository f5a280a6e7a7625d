/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - the place where scheduler images live: a fixed number of slots of 1 MiB in one reservation.
 *
 *	guard | slot 0 | guard | slot 1 | guard | ... | slot n-1 | guard
 *
 * The reservation is made once, without access; a guard is as large as a slot and never gets access, so that an image
 * which runs over its end faults instead of reaching a neighbour or the monitor's own data. "No free slot" is a real
 * state with its own error: memory for images is decided when a pool is made, not when a change is asked for.
 *
 * Threads: any; one lock inside, held for table work and never while an image is copied.
 */
#ifndef SCHED_LOADER_ARENA_H
#define SCHED_LOADER_ARENA_H

#include "base/base.h"

#define ARENA_SLOT_SIZE (1 * MIB)
#define ARENA_SLOTS_MAX 64

struct arena;

struct arena_slot {
	uint8_t *base; /* ARENA_SLOT_SIZE bytes without access: mprotect what you use */
	unsigned index;
};

/* slots: 1 .. ARENA_SLOTS_MAX. -EINVAL, -ENOMEM. */
int arena_new(unsigned slots, struct arena **ret, struct error *e);
/* All slots must have been released. */
struct arena *arena_free(struct arena *a);

unsigned arena_slots(const struct arena *a);
unsigned arena_slots_free(struct arena *a);

/* Takes a slot; -ENOSPC when none is free. */
int arena_take(struct arena *a, struct arena_slot *ret, struct error *e);
/* Gives it back: its memory is dropped and loses all access. */
void arena_release(struct arena *a, const struct arena_slot *slot);

/* Does the address lie in the reservation, guards included? Async-signal-safe. */
bool arena_contains(const struct arena *a, const void *address);

#endif
