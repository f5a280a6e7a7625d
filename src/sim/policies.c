/* SPDX-License-Identifier: Apache-2.0 */
/* policies.c - POLICY_LIST comes from src/policies/meson.build: X(name) for each policy that there is. */
#include "sim/policies.h"

#include <stdio.h>
#include <string.h>

#include "sched/attached.h"
#include "sched/loader/image.h"

#define X(name) extern const struct baton_scheduler baton_scheduler_##name;
POLICY_LIST
#undef X

#define X(name) &baton_scheduler_##name,
const struct baton_scheduler *const policy_table[] = {POLICY_LIST NULL};
#undef X

const struct baton_scheduler *policy_find(const char *name)
{
	for (size_t i = 0; policy_table[i]; i++)
		if (strcmp(policy_table[i]->name, name) == 0)
			return policy_table[i];
	return NULL;
}

static bool is_image(const char *given)
{
	size_t n = strlen(given);

	return strchr(given, '/') || (n > 6 && strcmp(given + n - 6, ".baton") == 0);
}

int policy_open(const char *given, struct arena *arena, const struct baton_scheduler **ret, struct image **ret_image,
		struct error *e)
{
	const struct baton_scheduler *found = is_image(given) ? NULL : policy_find(given);
	char names[200] = "";
	int r;

	if (found) {
		*ret = found;
		*ret_image = NULL;
		return 0;
	}
	if (is_image(given)) {
		r = image_load_file(arena, given, sched_imports, sched_import_count, ret_image, e);
		if (r >= 0)
			*ret = image_scheduler(*ret_image);
		return r;
	}
	for (size_t i = 0, n = 0; policy_table[i] && n < sizeof names; i++)
		n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", policy_table[i]->name);
	return error_set(e, -ENOENT, "there is no policy %s; there are %s, or name an image with its path (./%s.baton)",
			 given, names, given);
}
