/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c - see arena.h. */
#include "arena.h"

#include <string.h>
#include <sys/mman.h>

#include "base/lock.h"
#include "base/log.h"

struct arena {
	uint8_t *base;
	size_t size;
	unsigned slots;

	struct lock lock; /* guards what follows */
	bool used[ARENA_SLOTS_MAX];
	unsigned in_use;
	unsigned lost; /* of those in use: could not be cleared */
};

/* A slot and the guard before it. */
#define STRIDE (2 * ARENA_SLOT_SIZE)

static int reserve(void *at, size_t size, void **ret)
{
	int fixed = at ? MAP_FIXED : 0;
	void *p = mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

int arena_new(unsigned slots, struct arena **ret, struct error *e)
{
	if (slots == 0 || slots > ARENA_SLOTS_MAX)
		return error_set(e, -EINVAL, "%u image slots asked for: choose 1 to %u", slots, ARENA_SLOTS_MAX);

	_cleanup_free_ struct arena *a = calloc(1, sizeof(*a));
	if (!a)
		return error_set(e, -ENOMEM, "no memory for the image arena: free some memory on this host");

	a->slots = slots;
	a->size = slots * STRIDE + ARENA_SLOT_SIZE;
	void *base = NULL;
	int r = reserve(NULL, a->size, &base);
	if (r < 0)
		return error_set(e, r,
				 "cannot reserve %zu MiB of address space for scheduler images (%s): raise `ulimit -v`",
				 a->size / MIB, strerror(-r));
	a->base = base;
	lock_init(&a->lock);
	*ret = take_ptr(a);
	return 0;
}

struct arena *arena_free(struct arena *a)
{
	if (!a)
		return NULL;
	lock_take(&a->lock);
	assert(a->in_use == a->lost);
	lock_drop(&a->lock);
	lock_destroy(&a->lock);
	munmap(a->base, a->size);
	free(a);
	return NULL;
}

unsigned arena_slots(const struct arena *a)
{
	return a->slots;
}

unsigned arena_slots_free(struct arena *a)
{
	lock_take(&a->lock);
	unsigned n = a->slots - a->in_use;
	lock_drop(&a->lock);
	return n;
}

int arena_take(struct arena *a, struct arena_slot *ret, struct error *e)
{
	unsigned i;

	lock_take(&a->lock);
	for (i = 0; i < a->slots && a->used[i]; i++)
		;
	if (i < a->slots) {
		a->used[i] = true;
		a->in_use++;
	}
	lock_drop(&a->lock);

	if (i == a->slots)
		return error_set(
		    e, -ENOSPC,
		    "no free image slot (all %u are taken): unload a scheduler that is not in use, or load with "
		    "\"old\": \"unload-before\"",
		    a->slots);
	*ret = (struct arena_slot){.base = a->base + i * STRIDE + ARENA_SLOT_SIZE, .index = i};
	return 0;
}

void arena_release(struct arena *a, const struct arena_slot *slot)
{
	assert(slot->index < a->slots);

	/* A fresh mapping drops the old pages and their access in one step. Where the kernel refuses it (out of memory
	 * for its own bookkeeping), the slot stays taken rather than being handed out with somebody's code in it. */
	void *p;
	int r = reserve(slot->base, ARENA_SLOT_SIZE, &p);
	if (r < 0) {
		lock_take(&a->lock);
		a->lost++;
		lock_drop(&a->lock);
		log_error("image slot %u cannot be cleared (%s) and stays unusable", slot->index, strerror(-r));
		return;
	}

	lock_take(&a->lock);
	assert(a->used[slot->index]);
	a->used[slot->index] = false;
	a->in_use--;
	lock_drop(&a->lock);
}

bool arena_contains(const struct arena *a, const void *address)
{
	return (uintptr_t)address - (uintptr_t)a->base < a->size;
}
