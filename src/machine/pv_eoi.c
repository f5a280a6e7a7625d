/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/pv_eoi.h"

#define ENABLED	 UINT64_C(1)
#define RESERVED UINT64_C(2)
#define PENDING	 1

void pv_eoi_reset(struct pv_eoi *p, const struct gmem *mem)
{
	*p = (struct pv_eoi){.mem = mem};
}

bool pv_eoi_msr_write(struct pv_eoi *p, uint64_t value)
{
	uint8_t *word = NULL;

	if (value & RESERVED)
		return false;
	if (value & ENABLED) {
		word = gmem_ptr(p->mem, value & ~(ENABLED | RESERVED), sizeof(uint32_t));
		if (!word)
			return false;
	}
	p->msr = value;
	p->word = word;
	p->offered = false;
	return true;
}

void pv_eoi_offer(struct pv_eoi *p, const struct lapic *l)
{
	if (!p->word || !lapic_eoi_is_plain(l))
		return;
	__atomic_fetch_or(p->word, PENDING, __ATOMIC_RELAXED);
	p->offered = true;
}

void pv_eoi_collect(struct pv_eoi *p, struct lapic *l)
{
	if (!p->offered)
		return;
	p->offered = false;
	if (!(__atomic_fetch_and(p->word, (uint8_t)~PENDING, __ATOMIC_RELAXED) & PENDING))
		lapic_eoi(l);
}
