/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_fuzz.c - libFuzzer target for the image loader. Whatever the bytes are, the loader refuses them with a sentence
 * or ends up with a table that can be read, and afterwards every slot is free again. Code of the image is never called.
 *
 *	image_fuzz [options of libFuzzer] CORPUS      where CORPUS holds sound images to begin with
 */
#include <string.h>

#include "sched/loader/arena.h"
#include "sched/loader/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void import(void)
{
}

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* Reads everything that users of a scheduler read. */
static size_t read_table(const struct image *image)
{
	const struct baton_scheduler *s = image_scheduler(image);
	size_t n = strlen(image_name(image)) + strlen(image_version(image)) + strlen(s->description);

	for (uint64_t i = 0; i < s->parameter_count; i++)
		n += strlen(s->parameters[i].name) + strlen(s->parameters[i].unit) + strlen(s->parameters[i].help);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena *arena; /* kept from input to input, so that a slot that is not given back shows */
	static const char *const names[] = {"baton_alarm", "baton_kick", "baton_hold", "baton_trace",
					    "memcpy",	   "memset",	 "memmove",    "memcmp"};
	struct image_import imports[ARRAY_SIZE(names)];
	struct image *image = NULL;
	struct error e = {{0}};
	const char *name;
	size_t inside;

	if (!arena)
		must(arena_new(1, &arena, NULL) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		imports[i] = (struct image_import){names[i], (uintptr_t)import};

	if (image_load(arena, data, size, "fuzz", imports, ARRAY_SIZE(imports), &image, &e) < 0) {
		must(!image && e.text[0] != '\0');
	} else {
		const struct baton_scheduler *s = image_scheduler(image);

		must(image_contains(image, (const void *)(uintptr_t)s->choose) && read_table(image) > 0);
		if (image_symbol(image, (const void *)(uintptr_t)s->choose, &name, &inside))
			must(strlen(name) < size);
		image_unref(image);
	}
	must(arena_slots_free(arena) == 1);
	return 0;
}
