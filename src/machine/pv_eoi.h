/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pv_eoi.h - the end of an interrupt without an exit (KVM's paravirtual EOI, MSR 0x4b564d04).
 *
 * The guest names a word of its memory. Before an entry the monitor sets bit 0 of it when the interrupt in service needs
 * no attention at its end: it is edge-triggered and nothing else waits. The guest's EOI then tests and clears the bit
 * instead of writing the APIC's register; after the exit the monitor sees which of the two is still to be done. The bit
 * never stays set outside the guest, so an interrupt that comes meanwhile finds the plain rules.
 *
 * A guest that writes nonsense into its word confuses only its own interrupts.
 *
 * Threads: the carrier of the vCPU.
 */
#ifndef MACHINE_PV_EOI_H
#define MACHINE_PV_EOI_H

#include "machine/gmem.h"
#include "machine/lapic.h"

#define MSR_KVM_PV_EOI 0x4b564d04

struct pv_eoi {
	const struct gmem *mem;
	uint64_t msr;  /* as the guest wrote it */
	uint8_t *word; /* in guest memory, NULL: off */
	bool offered;  /* the bit was set before the last entry */
};

void pv_eoi_reset(struct pv_eoi *p, const struct gmem *mem);
/* False: the guest gets #GP. */
bool pv_eoi_msr_write(struct pv_eoi *p, uint64_t value);
/* The vCPU is about to run, interrupts are injected. */
void pv_eoi_offer(struct pv_eoi *p, const struct lapic *l);
/* It came out: does the EOI that the guest has left to us. */
void pv_eoi_collect(struct pv_eoi *p, struct lapic *l);

#endif
