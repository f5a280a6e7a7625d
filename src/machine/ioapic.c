/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/ioapic.h"

enum {
	WINDOW_SELECT = 0x00,
	WINDOW_DATA = 0x10,
	REG_ID = 0x00,
	REG_VERSION = 0x01,
	REG_ARBITRATION = 0x02,
	REG_ENTRIES = 0x10,
};

#define VERSION_VALUE	 (0x11u | (IOAPIC_PINS - 1) << 16)
#define ENTRY_REMOTE_IRR (UINT64_C(1) << 14)
#define ENTRY_LEVEL	 (UINT64_C(1) << 15)
#define ENTRY_MASKED	 (UINT64_C(1) << 16)
#define ENTRY_LOGICAL	 (UINT64_C(1) << 11)
/* Vector, mode, destination mode, polarity, trigger, mask, destination; delivery status and remote IRR are read-only.
 */
#define ENTRY_WRITABLE UINT64_C(0xff0000000001afff)

void ioapic_init(struct ioapic *io, struct apic_bus *bus)
{
	lock_init(&io->lock);
	io->bus = bus;
	ioapic_reset(io);
}

void ioapic_done(struct ioapic *io)
{
	lock_destroy(&io->lock);
}

void ioapic_reset(struct ioapic *io)
{
	lock_take(&io->lock);
	io->select = 0;
	io->id = 0;
	io->lines = 0;
	io->request = 0;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		io->entry[i] = ENTRY_MASKED;
	lock_drop(&io->lock);
}

/* Sends what this pin has to send, if it may. */
static void service(struct ioapic *io, unsigned pin) REQUIRES(io->lock)
{
	uint64_t e = io->entry[pin];
	bool level = e & ENTRY_LEVEL;
	struct apic_message m = {
	    .targets = apic_bus_match_entry(io->bus, (uint8_t)(e >> 56), e & ENTRY_LOGICAL),
	    .mode = (enum apic_mode)(e >> 8 & 7),
	    .vector = (uint8_t)e,
	    .level = level,
	    .from = MACHINE_FROM_DEVICE,
	};

	if (!(io->request & UINT32_C(1) << pin) || e & ENTRY_MASKED || (level && e & ENTRY_REMOTE_IRR))
		return;
	if (level)
		io->entry[pin] |= ENTRY_REMOTE_IRR; /* the request stays while the line is up */
	else
		io->request &= ~(UINT32_C(1) << pin);
	if (m.mode != APIC_STARTUP)
		apic_bus_deliver(io->bus, &m);
}

void ioapic_set(struct ioapic *io, unsigned gsi, bool level)
{
	uint32_t bit = UINT32_C(1) << gsi % 32;
	bool was;

	if (gsi >= IOAPIC_PINS)
		return;
	lock_take(&io->lock);
	was = io->lines & bit;
	if (level) {
		io->lines |= bit;
		if (!was || io->entry[gsi] & ENTRY_LEVEL)
			io->request |= bit;
		service(io, gsi);
	} else {
		io->lines &= ~bit;
		if (io->entry[gsi] & ENTRY_LEVEL)
			io->request &= ~bit;
	}
	lock_drop(&io->lock);
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	lock_take(&io->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t e = io->entry[pin];

		if ((uint8_t)e != vector || !(e & ENTRY_LEVEL) || !(e & ENTRY_REMOTE_IRR))
			continue;
		io->entry[pin] &= ~ENTRY_REMOTE_IRR;
		service(io, pin);
	}
	lock_drop(&io->lock);
}

static uint32_t read_register(struct ioapic *io) REQUIRES(io->lock)
{
	uint32_t n = io->select - REG_ENTRIES;

	if (io->select == REG_ID || io->select == REG_ARBITRATION)
		return io->id;
	if (io->select == REG_VERSION)
		return VERSION_VALUE;
	if (io->select < REG_ENTRIES || n >= IOAPIC_PINS * 2)
		return 0;
	return (uint32_t)(io->entry[n / 2] >> (n % 2 * 32));
}

static void write_register(struct ioapic *io, uint32_t value) REQUIRES(io->lock)
{
	uint32_t n = io->select - REG_ENTRIES;
	unsigned shift = n % 2 * 32;
	uint64_t writable = ENTRY_WRITABLE & UINT64_C(0xffffffff) << shift;
	uint32_t bit = UINT32_C(1) << n / 2 % 32;
	uint64_t *e;

	if (io->select == REG_ID)
		io->id = value & 0x0f000000;
	if (io->select < REG_ENTRIES || n >= IOAPIC_PINS * 2)
		return;
	e = &io->entry[n / 2];
	*e = (*e & ~writable) | ((uint64_t)value << shift & writable);
	if (!(*e & ENTRY_LEVEL))
		*e &= ~ENTRY_REMOTE_IRR; /* Linux clears a stuck remote IRR by a turn to edge and back */
	if (*e & ENTRY_LEVEL) /* what counts then is the line as it is; an edge of the past is no level of today */
		io->request = (io->request & ~bit) | (io->lines & bit);
	service(io, n / 2);
}

static uint64_t mmio_read(void *device, uint64_t offset, unsigned size)
{
	struct ioapic *io = device;
	uint32_t value = 0;

	lock_take(&io->lock);
	if (offset == WINDOW_SELECT)
		value = io->select;
	else if (offset == WINDOW_DATA)
		value = read_register(io);
	lock_drop(&io->lock);
	return value;
}

static enum vcpu_next mmio_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct ioapic *io = device;

	lock_take(&io->lock);
	if (offset == WINDOW_SELECT)
		io->select = value & 0xff;
	else if (offset == WINDOW_DATA)
		write_register(io, (uint32_t)value);
	lock_drop(&io->lock);
	return VCPU_RESUME;
}

const struct io_ops ioapic_io_ops = {.read = mmio_read, .write = mmio_write};
