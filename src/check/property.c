/* SPDX-License-Identifier: Apache-2.0 */
/* property.c - what the properties are called, and which of them a scheduler claims: by what it declares. */
#include <string.h>

#include "check/check.h"

static const struct {
	const char *name, *says;
} properties[PROPERTIES] = {
    [PROPERTY_SOUND] = {"sound", "no call crashes or hangs, and time goes on"},
    [PROPERTY_ANSWERS] = {"answers", "choose and preempts name only what is allowed"},
    [PROPERTY_QUESTIONS] = {"questions", "a question changes nothing, and asked twice has one answer"},
    [PROPERTY_VCPUS] = {"vcpus", "no vCPU is lost or runs twice"},
    [PROPERTY_TIME] = {"time", "run, wait and blocked times add up, and the same trial gives the same events"},
    [PROPERTY_WORK] = {"work-conserving", "no pCPU idles while a vCPU waits that may run there"},
    [PROPERTY_STARVATION] = {"starvation", "whoever wants to run does so in the end"},
    [PROPERTY_ALONE] = {"alone", "who had a pCPU to itself does not starve for it later"},
    [PROPERTY_SHARES] = {"shares", "service is in proportion to weight"},
    [PROPERTY_HANDOVER] = {"handover", "a successor goes on where the history that was given ends"},
    [PROPERTY_LATENCY] = {"latency", "a vCPU with a warp or latency hint that needs little runs soon after it wakes"},
    [PROPERTY_CAPS] = {"caps", "no VM gets more than its cap"},
    [PROPERTY_RESERVATIONS] = {"reservations", "each VM gets its budget in every period"},
    [PROPERTY_GANG] = {"gang", "the vCPUs of a VM run at the same time"},
};

const char *property_name(enum property p)
{
	return properties[p].name;
}

const char *property_says(enum property p)
{
	return properties[p].says;
}

enum property property_find(const char *name)
{
	for (uint32_t p = 0; p < PROPERTIES; p++)
		if (strcmp(properties[p].name, name) == 0)
			return (enum property)p;
	return PROPERTIES;
}

static bool declares(const struct baton_scheduler *s, const char *name)
{
	for (uint64_t i = 0; i < s->parameter_count; i++)
		if (s->parameters[i].scope == BATON_SCOPE_VM && strcmp(s->parameters[i].name, name) == 0)
			return true;
	return false;
}

/*
 * What the schedulers of this project leave out by definition, or promise beyond what they declare. An image of somebody
 * else's that is like one of these says so with --skip.
 */
static const struct exception {
	const char *scheduler;
	enum property property;
	bool promises;
	const char *why;
} exceptions[] = {
    {"partition", PROPERTY_WORK, false, "each vCPU has pCPUs of its own"},
    {"partition", PROPERTY_SHARES, false, "shares follow from the map"},
    {"partition", PROPERTY_HANDOVER, false, "shares follow from the map"},
    {"bvt", PROPERTY_ALONE, false, "as in the paper, whoever ran ahead waits until the others have caught up"},
    {"gang", PROPERTY_GANG, true, NULL},
};

static void leave_out(struct subject *s, enum property p, const char *why)
{
	s->claims &= ~PROPERTY_BIT(p);
	s->why_not[p] = why;
}

void subject_of(struct subject *ret, const struct baton_scheduler *ops, struct image *image)
{
	*ret = (struct subject){.ops = ops, .image = image, .claims = PROPERTY_BIT(PROPERTIES) - 1};
	ret->weights = declares(ops, "weight");
	ret->hints = declares(ops, "warp_ns") || declares(ops, "latency_ns");
	ret->caps = declares(ops, "cap_percent");
	ret->reservations = declares(ops, "budget_ns") && declares(ops, "period_ns");
	if (!ret->hints)
		leave_out(ret, PROPERTY_LATENCY, "it declares no parameter warp_ns or latency_ns");
	if (!ret->caps)
		leave_out(ret, PROPERTY_CAPS, "it declares no parameter cap_percent");
	if (!ret->reservations)
		leave_out(ret, PROPERTY_RESERVATIONS, "it declares no parameters budget_ns and period_ns");
	if (!ops->give || !ops->take)
		leave_out(ret, PROPERTY_HANDOVER, "it has no give and take");
	leave_out(ret, PROPERTY_GANG, "it does not promise it");
	for (size_t i = 0; i < ARRAY_SIZE(exceptions); i++) {
		const struct exception *x = &exceptions[i];

		if (strcmp(x->scheduler, ops->name) != 0)
			continue;
		if (!x->promises)
			leave_out(ret, x->property, x->why);
		else
			ret->claims |= PROPERTY_BIT(x->property);
	}
}
