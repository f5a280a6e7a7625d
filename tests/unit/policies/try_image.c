/* SPDX-License-Identifier: Apache-2.0 */
/*
 * try_image.c - loads image files with Baton's own loader and lets each decide for a while in the world of harness.h.
 * What is linked in as well runs beside its image, never decides, and must end with the same state, byte for
 * byte. Exit status 0: all are sound.
 *
 *	try-image FILE...
 */
#include "harness.h"

#include <stdio.h>
#include <string.h>

#include "sched/loader/image.h"

static void state_is_the_same(struct world *w)
{
	require(w, world_alike(w, 0, 1), "image and built-in policy differ");
}

static void let_it_decide(const struct baton_scheduler *ops)
{
	static const struct baton_scheduler *const built_in[] = {&baton_scheduler_rr,	&baton_scheduler_bvt,
								 &baton_scheduler_fair, &baton_scheduler_edf,
								 &baton_scheduler_gang, &baton_scheduler_partition};
	struct behaviour sleeps = {.run_ns = 300 * US, .then = BATON_STOP_BLOCKED, .block_ns = 5 * MS, .vary = true},
			 computes = {.run_ns = 20 * MS, .then = BATON_STOP_BLOCKED, .block_ns = 30 * MS, .vary = true};
	struct world *w = world_new(1, 2);
	uint32_t came = 0;

	w->offers_idle = true; /* simple policies need not think of two that wake together */
	world_attach(w, ops, -1);
	for (size_t i = 0; i < ARRAY_SIZE(built_in); i++)
		if (strcmp(built_in[i]->name, ops->name) == 0) {
			world_attach(w, built_in[i], -1);
			w->each_step = state_is_the_same;
		}
	for (uint32_t v = 0; v < 6; v++)
		came += world_try_vcpu(w, world_vm(w, 256u >> (v / 2), v == 0 ? 5 * MS : 0, 0, 0),
				       v % 2 ? computes : sleeps, 0, NULL) == 0;
	require(w, came > 0, "refuses everybody: %s", w->reason);
	world_run(w, w->now + 2 * S);
	for (uint32_t v = 0; v < came; v++)
		require(w, w->vcpus[v].starts > 10, "vCPU %u ran %d times in 2 s", v, (int)w->vcpus[v].starts);
	printf("%s %s: %d decisions, each vCPU ran\n", ops->name, ops->version, (int)w->decisions);
	world_free(w);
}

int main(int argc, char **argv)
{
#define IMPORT(f)                                                                                                      \
	{                                                                                                              \
		.name = #f, .address = (uintptr_t)(f)                                                                  \
	}
	const struct image_import imports[] = {
	    IMPORT(baton_alarm), IMPORT(baton_kick), IMPORT(baton_hold), IMPORT(baton_trace),
	    IMPORT(memcpy),	 IMPORT(memmove),    IMPORT(memset),	 IMPORT(memcmp),
	};
	struct arena *arena;
	struct error e;

	if (argc < 2 || arena_new(1, &arena, &e) < 0)
		return 2;
	for (int i = 1; i < argc; i++) {
		struct image *image;

		if (image_load_file(arena, argv[i], imports, ARRAY_SIZE(imports), &image, &e) < 0) {
			fprintf(stderr, "%s\n", e.text);
			return 1;
		}
		let_it_decide(image_scheduler(image));
		image_unref(image);
	}
	arena_free(arena);
	return 0;
}
