/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apic_bus.h - how interrupt messages travel between local APICs, the I/O APIC and whoever wakes vCPUs.
 *
 * The bus knows all APICs of a machine. A sender turns its destination into a mask of vCPUs (bit n = vCPU n = APIC id
 * n) and delivers; the receiver's atomic state is changed first, then `notify` is called, so that a vCPU that is about
 * to sleep either sees the state or is notified.
 *
 * Threads: any. The bus itself is constant after set-up, apart from one rotating counter.
 */
#ifndef MACHINE_APIC_BUS_H
#define MACHINE_APIC_BUS_H

#include <stdatomic.h>

#include "base/base.h"
#include "machine/machine.h"

struct lapic;
struct ioapic;

/* Delivery modes, as coded in the ICR and the redirection table (SDM volume 3, 11.6.1). */
enum apic_mode {
	APIC_FIXED = 0,
	APIC_LOWEST = 1,
	APIC_SMI = 2,
	APIC_NMI = 4,
	APIC_INIT = 5,
	APIC_STARTUP = 6,
	APIC_EXTINT = 7,
};

struct apic_bus {
	unsigned count; /* vCPUs */
	struct lapic *lapic[MACHINE_VCPUS_MAX];
	struct ioapic *ioapic;
	void (*notify)(void *ctx, unsigned vcpu, unsigned from);
	void *ctx;
	_Atomic unsigned rotor; /* where the next lowest-priority search begins */
};

struct apic_message {
	uint32_t targets; /* mask of vCPUs */
	enum apic_mode mode;
	uint8_t vector;
	bool level;    /* level-triggered: its EOI goes to the I/O APIC */
	unsigned from; /* vCPU that sends, or MACHINE_FROM_DEVICE */
};

/* Destinations of an x2APIC ICR (32 bits) and of an I/O APIC entry (8 bits). */
uint32_t apic_bus_match_icr(const struct apic_bus *b, uint32_t dest, bool logical);
uint32_t apic_bus_match_entry(const struct apic_bus *b, uint8_t dest, bool logical);

/* Delivers; the receivers are notified, except the sender itself (it looks anyway before it goes on). */
void apic_bus_deliver(struct apic_bus *b, const struct apic_message *m);

#endif
