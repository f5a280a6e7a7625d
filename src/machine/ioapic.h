/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioapic.h - the I/O APIC: turns the lines of devices (GSI 0 - 23) into interrupt messages.
 *
 * One lock guards it; messages are delivered with the lock held (the receivers are lock-free, and `notify` may be
 * called with a device's lock held). An edge that arrives while its entry is masked is remembered until it is unmasked,
 * as KVM and QEMU do. A level line is sent again after its EOI while it is still raised.
 */
#ifndef MACHINE_IOAPIC_H
#define MACHINE_IOAPIC_H

#include "base/base.h"
#include "base/lock.h"
#include "machine/apic_bus.h"
#include "machine/io.h"

#define IOAPIC_BASE UINT64_C(0xfec00000)
#define IOAPIC_SIZE UINT64_C(0x1000)
#define IOAPIC_PINS 24

struct ioapic {
	struct lock lock;
	struct apic_bus *bus;
	uint32_t select GUARDED_BY(lock);	      /* register chosen for the data window */
	uint32_t id GUARDED_BY(lock);		      /* as the guest wrote it; nothing depends on it */
	uint32_t lines GUARDED_BY(lock);	      /* level of each input */
	uint32_t request GUARDED_BY(lock);	      /* to be sent when unmasked */
	uint64_t entry[IOAPIC_PINS] GUARDED_BY(lock); /* redirection table */
};

extern const struct io_ops ioapic_io_ops;

void ioapic_init(struct ioapic *io, struct apic_bus *bus);
void ioapic_done(struct ioapic *io);
void ioapic_reset(struct ioapic *io) EXCLUDES(io->lock);

/* [any] Sets the level of a line. gsi >= IOAPIC_PINS is ignored. */
void ioapic_set(struct ioapic *io, unsigned gsi, bool level) EXCLUDES(io->lock);
/* [any] A local APIC finished a level-triggered interrupt. */
void ioapic_eoi(struct ioapic *io, uint8_t vector) EXCLUDES(io->lock);

#endif
