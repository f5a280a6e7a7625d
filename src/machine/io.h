/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.h - who answers a port or an address: the dispatch tables of a machine.
 *
 * A device is one file and one registration: io_register() while the machine is made, with a method table. Afterwards
 * the tables are constant, so every carrier looks them up without a lock; a device guards its own state.
 */
#ifndef MACHINE_IO_H
#define MACHINE_IO_H

#include "base/base.h"
#include "machine/machine.h"

#define IO_REGIONS_MAX 48

/* A write may say so instead: the device cannot take it yet. The vCPU sleeps a little and does the same write again, before
 * its next instruction. It never leaves the machine. */
#define VCPU_RETRY ((enum vcpu_next)64)

/*
 * Methods of a region. offset is relative to its base; the access lies inside the region; size is 1, 2, 4 or 8. The
 * values come from the guest: any offset and any value must be survived. Any carrier, several at once.
 */
struct io_ops {
	/* NULL: reads as all ones. */
	uint64_t (*read)(void *device, uint64_t offset, unsigned size);
	/* NULL: ignored. Returns what the vCPU that wrote wants next, VCPU_RESUME as a rule (or, memory-mapped, VCPU_RETRY). */
	enum vcpu_next (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
};

struct io_region {
	uint64_t base, size;
	const struct io_ops *ops;
	void *device;
};

struct io_space {
	struct io_region region[IO_REGIONS_MAX];
	unsigned count;
};

/* 0; -ENOSPC when the table is full, -EEXIST when it overlaps another region. */
int io_register(struct io_space *s, uint64_t base, uint64_t size, const struct io_ops *ops, void *device);

/* An access that no region claims reads as all ones and is ignored when written, as on a PC. */
uint64_t io_read(const struct io_space *s, uint64_t addr, unsigned size);
enum vcpu_next io_write(const struct io_space *s, uint64_t addr, unsigned size, uint64_t value);

#endif
