/* SPDX-License-Identifier: Apache-2.0 */
/* activation.c - see activation.h. */
#include "sched/activation.h"

#include <string.h>

static const char *const names[ACTIVATION_WAYS] = {
    [ACTIVATION_IDENTIFIER] = "identifier",
    [ACTIVATION_ARRAY] = "array",
    [ACTIVATION_POINTER] = "pointer",
    [ACTIVATION_PATCHED] = "patched",
};

const char *activation_way_name(enum activation_way way)
{
	return names[way];
}

int activation_way_from_name(const char *name, enum activation_way *ret, struct error *e)
{
	for (uint32_t i = 0; i < ACTIVATION_WAYS; i++) {
		if (strcmp(names[i], name) != 0)
			continue;
		*ret = (enum activation_way)i;
		return 0;
	}
	return error_set(e, -EINVAL, "the way of activation is identifier, array, pointer or patched, not \"%.32s\"",
			 name);
}

/* Stub and site numbers: all kinds of one scheduler, of one requester, lie side by side. */
static uint32_t number(uint32_t which, uint32_t kind)
{
	return which * REQUEST_KINDS + kind;
}

static int make_sites(struct activation *t, struct error *e)
{
	int r = call_sites_new(t->requesters * REQUEST_KINDS, t->targets * REQUEST_KINDS, &t->sites, e);

	for (uint32_t i = 0; r >= 0 && i < t->requesters; i++)
		for (uint32_t kind = 0; kind < REQUEST_KINDS; kind++)
			t->entrances[i].site[kind] = call_sites_entry(t->sites, number(i, kind));
	return r;
}

int activation_new(enum activation_way way, uint32_t requesters, uint32_t targets, struct activation **ret,
		   struct error *e)
{
	struct activation *t = calloc(1, sizeof *t);
	int r = 0;

	if (!t)
		return error_set(e, -ENOMEM, "no memory for the ways to schedulers");
	*t = (struct activation){.way = way, .requesters = requesters, .targets = targets, .active = UINT32_MAX};
	t->table = calloc(targets, sizeof *t->table);
	t->arrays = calloc(targets, sizeof *t->arrays);
	t->entrances = calloc(requesters, sizeof *t->entrances);
	if (!t->table || !t->arrays || !t->entrances)
		r = error_set(e, -ENOMEM, "no memory for the ways to schedulers");
	else if (way == ACTIVATION_PATCHED)
		r = make_sites(t, e);
	for (uint32_t i = 0; r >= 0 && i < requesters; i++)
		t->entrances[i].array = &t->shared;
	if (r < 0) {
		activation_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

struct activation *activation_free(struct activation *t)
{
	if (!t)
		return NULL;
	call_sites_free(t->sites);
	free(t->table);
	free(t->arrays);
	free(t->entrances);
	free(t);
	return NULL;
}

void activation_bind(struct activation *t, uint32_t id, question_fn *const ask[REQUEST_KINDS], void *scheduler)
{
	assert(id < t->targets && id != activation_active(t));
	for (uint32_t kind = 0; kind < REQUEST_KINDS; kind++) {
		struct question *q = &t->table[id].of[kind];

		*q = (struct question){.ask = ask[kind], .scheduler = scheduler};
		atomic_store(&t->arrays[id].at[kind], q);
		if (t->way == ACTIVATION_PATCHED)
			call_sites_bind(t->sites, number(id, kind), ask[kind], scheduler);
	}
	if (t->way == ACTIVATION_PATCHED)
		call_sites_sync(t->sites); /* before any site can lead there */
}

static void patch_all(struct activation *t, uint32_t id)
{
	for (uint32_t i = 0; i < t->requesters; i++)
		for (uint32_t kind = 0; kind < REQUEST_KINDS; kind++)
			call_sites_point(t->sites, number(i, kind), number(id, kind));
	call_sites_sync(t->sites);
}

void activation_switch_to(struct activation *t, uint32_t id)
{
	assert(id < t->targets && t->table[id].of[0].ask);
	switch (t->way) {
	case ACTIVATION_IDENTIFIER:
	case ACTIVATION_WAYS:
		break; /* the number, below, is all */
	case ACTIVATION_ARRAY:
		for (uint32_t kind = 0; kind < REQUEST_KINDS; kind++)
			atomic_store_explicit(&t->shared.at[kind], &t->table[id].of[kind], memory_order_release);
		break;
	case ACTIVATION_POINTER:
		for (uint32_t i = 0; i < t->requesters; i++)
			atomic_store_explicit(&t->entrances[i].array, &t->arrays[id], memory_order_release);
		break;
	case ACTIVATION_PATCHED:
		patch_all(t, id);
		break;
	}
	atomic_store_explicit(&t->active, id, memory_order_release);
}
