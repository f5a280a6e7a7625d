/* SPDX-License-Identifier: Apache-2.0 */
/* turns.c - static priority, and turns among equals: whoever ran longest ago comes first. */
#include <baton/scheduler.h>

struct turns_vcpu {
	uint64_t ran_ns; /* when it ran last */
};

static const struct baton_parameter parameters[] = {
    {.name = "slice_us",
     .unit = "us",
     .help = "How long a vCPU runs before an equal has its turn",
     .scope = BATON_SCOPE_POOL,
     .min = 100,
     .max = 1000000,
     .initial = 5000},
};

static uint64_t ran(struct baton_region *r, uint32_t v)
{
	return ((struct turns_vcpu *)baton_vcpu_state(r, v))->ran_ns;
}

static int before(struct baton_region *r, uint32_t v, uint32_t other)
{
	if (other == BATON_NONE)
		return 1;
	if (baton_weight(r, v) != baton_weight(r, other))
		return baton_weight(r, v) > baton_weight(r, other);
	return ran(r, v) < ran(r, other);
}

static struct baton_choice turns_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	uint32_t best = BATON_NONE;

	for (uint32_t v = 0; v < r->vcpu_slots; v++)
		if (baton_vcpu(r, v)->state == BATON_VCPU_RUNNABLE && baton_allowed(r, v, pcpu) && before(r, v, best))
			best = v;
	return (struct baton_choice){.vcpu = best, .slice_ns = (uint64_t)baton_param(r, 0) * 1000};
}

static void turns_stop(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why, uint64_t now)
{
	((struct turns_vcpu *)baton_vcpu_state(r, v))->ran_ns = now;
}

static uint32_t turns_preempts(struct baton_region *r, uint32_t woken, uint64_t now)
{
	uint32_t worst = BATON_NONE;

	for (uint32_t p = 0; p < r->pcpu_slots; p++) {
		uint32_t v = baton_pcpu(r, p)->running;

		if (!baton_allowed(r, woken, p))
			continue;
		if (v == BATON_NONE)
			return p; /* idle */
		if (baton_weight(r, v) < baton_weight(r, woken) &&
		    (worst == BATON_NONE || baton_weight(r, v) < baton_weight(r, baton_pcpu(r, worst)->running)))
			worst = p;
	}
	return worst;
}

BATON_SCHEDULER(turns, .version = "1.0", .description = "Static priority by weight, turns among equals",
		.vcpu_state_size = sizeof(struct turns_vcpu), .parameters = parameters, .parameter_count = 1,
		.choose = turns_choose, .stop = turns_stop, .preempts = turns_preempts);
