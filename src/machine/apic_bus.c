/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/apic_bus.h"

#include "machine/lapic.h"

static uint32_t everyone(const struct apic_bus *b)
{
	return (UINT32_C(1) << b->count) - 1;
}

uint32_t apic_bus_match_icr(const struct apic_bus *b, uint32_t dest, bool logical)
{
	if (dest == UINT32_MAX)
		return everyone(b);
	if (!logical)
		return dest < b->count ? UINT32_C(1) << dest : 0;
	/* Cluster 0 holds APIC ids 0 to 15, more than there are. */
	return dest >> 16 == 0 ? dest & everyone(b) : 0;
}

uint32_t apic_bus_match_entry(const struct apic_bus *b, uint8_t dest, bool logical)
{
	if (!logical && dest == UINT8_MAX)
		return everyone(b);
	if (!logical)
		return dest < b->count ? UINT32_C(1) << dest : 0;
	return dest & everyone(b);
}

/* The target with the least processor priority; equal ones take turns. */
static uint32_t lowest_priority(struct apic_bus *b, uint32_t targets)
{
	unsigned start = atomic_fetch_add_explicit(&b->rotor, 1, memory_order_relaxed) % b->count;
	uint32_t best_ppr = UINT32_MAX, best = 0;

	for (unsigned k = 0; k < b->count; k++) {
		unsigned i = (start + k) % b->count;

		if (!(targets & UINT32_C(1) << i) || !lapic_enabled(b->lapic[i]))
			continue;
		if (lapic_ppr(b->lapic[i]) < best_ppr) {
			best_ppr = lapic_ppr(b->lapic[i]);
			best = UINT32_C(1) << i;
		}
	}
	return best;
}

static bool deliver_one(struct lapic *l, const struct apic_message *m)
{
	switch (m->mode) {
	case APIC_FIXED:
	case APIC_LOWEST:
		return lapic_accept(l, m->vector, m->level);
	case APIC_NMI:
		lapic_signal_nmi(l);
		return true;
	case APIC_INIT:
		lapic_signal_init(l);
		return true;
	case APIC_STARTUP:
		return lapic_signal_sipi(l, m->vector);
	case APIC_SMI:	  /* there is no system management mode */
	case APIC_EXTINT: /* there is no 8259 */
	default:
		return false;
	}
}

void apic_bus_deliver(struct apic_bus *b, const struct apic_message *m)
{
	uint32_t targets = m->targets & everyone(b);

	if (m->mode == APIC_LOWEST)
		targets = lowest_priority(b, targets);
	for (unsigned i = 0; i < b->count; i++)
		if (targets & UINT32_C(1) << i && deliver_one(b->lapic[i], m) && i != m->from)
			b->notify(b->ctx, i, m->from);
}
