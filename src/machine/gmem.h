/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gmem.h - guest memory, and the one door through which the monitor touches it.
 *
 * Guest physical addresses: RAM from 0, a hole from 3 GiB to 4 GiB (I/O APIC, local APIC, devices), the rest of the RAM
 * from 4 GiB. On the host it is one private mapping; pages exist once they are used.
 *
 * Threads: the layout is constant between init and done, so every function but gmem_clear may be called by any thread.
 * The guest may change the bytes at any time: copy once, then check the copy. gmem_clear needs all vCPUs at rest.
 */
#ifndef MACHINE_GMEM_H
#define MACHINE_GMEM_H

#include "base/base.h"

#define GMEM_HOLE_START UINT64_C(0xc0000000)
#define GMEM_HOLE_END	UINT64_C(0x100000000)
#define GMEM_PAGE	UINT64_C(4096)
#define GMEM_RANGES_MAX 2

struct gmem {
	uint8_t *host;	   /* the mapping, NULL before init */
	uint64_t size;	   /* bytes of RAM */
	uint64_t low_size; /* of these below the hole */
};

struct gmem_range {
	uint64_t gpa, size;
	uint8_t *host;
};

/* size: a multiple of 4 KiB, not 0. Errors: -EINVAL, -ENOMEM. */
int gmem_init(struct gmem *g, uint64_t size, struct error *e);
void gmem_done(struct gmem *g);
/* All bytes become 0 and their pages go back to the host. */
int gmem_clear(struct gmem *g);

/* The one or two pieces of RAM; returns how many. */
unsigned gmem_ranges(const struct gmem *g, struct gmem_range ret[GMEM_RANGES_MAX]);

/* Host address of [gpa, gpa + size) when all of it is RAM in one piece, else NULL. size 0 is allowed. */
void *gmem_ptr(const struct gmem *g, uint64_t gpa, uint64_t size);
/* Copies; 0, or -EFAULT without having touched anything. */
int gmem_read(const struct gmem *g, uint64_t gpa, void *buf, uint64_t size);
int gmem_write(const struct gmem *g, uint64_t gpa, const void *buf, uint64_t size);

#endif
