/* SPDX-License-Identifier: Apache-2.0 */
/*
 * index_fuzz.c - libFuzzer target for the index of an image server. Whatever the bytes are, they are refused with a
 * sentence or are an index that can be searched, and that comes back the same when it is written and read again.
 */
#include <string.h>

#include "sched/source/index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

/* No way out of the server's folder. */
static bool stays_inside(const char *file)
{
	size_t n = strlen(file);

	return file[0] != '/' && strcmp(file, "..") != 0 && strncmp(file, "../", 3) != 0 && !strstr(file, "/../") &&
	       (n < 3 || strcmp(file + n - 3, "/..") != 0);
}

static void search(const struct index *x)
{
	for (unsigned i = 0; i < x->image_count && i < 8; i++) {
		struct error e = {""};
		const struct index_image *found = index_find(x, x->images[i].name, x->images[i].version, &e);

		must((found && found->abi == BATON_SCHEDULER_ABI) || e.text[0] != '\0');
		must(found || x->images[i].abi != BATON_SCHEDULER_ABI);
		must(stays_inside(x->images[i].file));
		(void)index_find(x, x->images[i].name, "", &e);
		(void)index_find(x, x->images[i].name, "1", &e);
	}
	for (unsigned i = 0; i < x->channel_count && i < 8; i++)
		(void)index_find(x, x->channels[i].name, x->channels[i].channel, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct index x = {0}, again = {0};
	struct error e = {""};
	char *text;

	if (index_parse(data, size, "fuzz", &x, &e) < 0) {
		must(e.text[0] != '\0' && !strchr(e.text, '\n') && !x.images && !x.channels);
		return 0;
	}
	search(&x);
	text = index_format(&x);
	must(text && index_parse(text, strlen(text), "again", &again, &e) == 0);
	must(again.image_count == x.image_count && again.channel_count == x.channel_count);
	free(text);
	index_clear(&x);
	index_clear(&again);
	return 0;
}
