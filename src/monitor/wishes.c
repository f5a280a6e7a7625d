/* SPDX-License-Identifier: Apache-2.0 */
/* wishes.c - what an operator may ask for per VM, by name: the fields of struct baton_vm. */
#include <string.h>

#include "monitor/internal.h"

#define WISH_NS_MAX (UINT64_C(3600) * NSEC_PER_SEC)

static const struct {
	struct wish wish;
	size_t offset, size;
} wishes_table[] = {
#define WISH(field, min, max)                                                                                          \
	{                                                                                                              \
		{#field, min, max}, offsetof(struct baton_vm, field), sizeof(((struct baton_vm *)NULL)->field)         \
	}
    WISH(weight, 1, 65536),	     WISH(cap_percent, 0, 100 * BATON_PCPUS_MAX),
    WISH(warp_ns, 0, WISH_NS_MAX),   WISH(warp_limit_ns, 0, WISH_NS_MAX),
    WISH(unwarp_ns, 0, WISH_NS_MAX), WISH(budget_ns, 0, WISH_NS_MAX),
    WISH(period_ns, 0, WISH_NS_MAX), WISH(latency_ns, 0, WISH_NS_MAX),
#undef WISH
};

const struct wish *wish_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(wishes_table); i++)
		if (strcmp(wishes_table[i].wish.name, name) == 0)
			return &wishes_table[i].wish;
	return NULL;
}

void wish_put(struct baton_vm *wishes, const struct wish *w, uint64_t value)
{
	size_t i = (size_t)((const char *)w - (const char *)wishes_table) / sizeof wishes_table[0];
	void *field = (char *)wishes + wishes_table[i].offset;
	uint32_t narrow = (uint32_t)value; /* within the wish's range, which fits */

	if (wishes_table[i].size == sizeof narrow)
		memcpy(field, &narrow, sizeof narrow);
	else
		memcpy(field, &value, sizeof value);
}
