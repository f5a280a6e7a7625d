/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.h - putting a kernel into guest memory and saying how the first vCPU enters it.
 *
 * One loader per file; each is a pair: load (memory) and enter (registers). The files are data from outside: whatever
 * they contain, a loader either succeeds or returns an error with a reason. Loaders work on a struct boot_memory and
 * know nothing of KVM file descriptors, so tests and fuzzers run them alone.
 *
 * Low memory of a Linux guest:
 *
 *	0x00500		GDT for the entry
 *	0x06000		PVH start info, module list, memory map
 *	0x07000		zero page (struct boot_params)
 *	0x09000		page tables: identity map of the first 4 GiB
 *	0x20000		command line
 *	0x9fc00		end of conventional memory
 *	0xe0000		ACPI tables
 *	0xffff0		reset vector
 *	0x100000	RAM: the kernel at its preferred address, the initrd as high as possible
 *
 * Low memory of a nano guest: 0x1000 page tables, 0x10000 arguments, 0x11000 task state, 0x200000 program, stacks at
 * the top.
 */
#ifndef MACHINE_BOOT_H
#define MACHINE_BOOT_H

#include <linux/kvm.h>

#include "base/base.h"
#include "machine/acpi.h"
#include "machine/gmem.h"
#include "machine/image_file.h"
#include "machine/machine.h"

#define BOOT_GDT	      UINT64_C(0x500)
#define BOOT_PVH_INFO	      UINT64_C(0x6000)
#define BOOT_ZERO_PAGE	      UINT64_C(0x7000)
#define BOOT_PAGE_TABLES      UINT64_C(0x9000)
#define BOOT_CMDLINE	      UINT64_C(0x20000)
#define BOOT_CONVENTIONAL_END UINT64_C(0x9fc00)
#define BOOT_HIGH_MEMORY      UINT64_C(0x100000)

#define BOOT_NANO_PAGE_TABLES UINT64_C(0x1000)
#define BOOT_NANO_ARGUMENTS   UINT64_C(0x10000)
#define BOOT_NANO_TSS	      UINT64_C(0x11000)
#define BOOT_NANO_PROGRAM     UINT64_C(0x200000)
#define BOOT_NANO_STACK	      (64 * KIB)
#define BOOT_NANO_MEMORY_MAX  (8 * 1024 * MIB)
#define BOOT_NANO_NOTE_OWNER  "Baton"
#define BOOT_NANO_NOTE_TYPE   1

struct boot_source {
	const struct image_file *kernel;
	const struct image_file *initrd; /* data NULL: none */
	const char *cmdline;		 /* "" when none; at most MACHINE_CMDLINE_MAX - 1 bytes */
	unsigned vcpus;
	unsigned mmio_count; /* virtio devices, and where they are */
	const struct acpi_mmio *mmio;
};

struct boot_entry {
	enum machine_boot kind; /* never AUTO */
	uint64_t rip;
	uint64_t mem_bytes;
};

/* A piece of the memory map: type 1 = RAM, 2 = reserved (as in E820 and PVH). */
struct boot_map_entry {
	uint64_t base, size;
	uint32_t type;
};
#define BOOT_MAP_MAX 4

/* What a file is, by its magic; -ENOEXEC. */
int boot_detect(const struct image_file *kernel, enum machine_boot *ret, struct error *e);

/* Loads (memory must be all zero) and fills ret. kind AUTO: by boot_detect. */
int boot_load(const struct gmem *g, enum machine_boot kind, const struct boot_source *s, struct boot_entry *ret,
	      struct error *e);

/* The registers with which vCPU `index` begins; they come in as KVM's power-on values. Linux: only index 0 is asked. */
void boot_enter(const struct boot_entry *b, unsigned index, struct kvm_regs *regs, struct kvm_sregs *sregs);

/* ---- the loaders ---- */
int boot_bzimage_load(const struct gmem *g, const struct boot_source *s, struct boot_entry *ret, struct error *e);
void boot_bzimage_enter(const struct boot_entry *b, struct kvm_regs *regs, struct kvm_sregs *sregs);
int boot_pvh_load(const struct gmem *g, const struct boot_source *s, struct boot_entry *ret, struct error *e);
void boot_pvh_enter(const struct boot_entry *b, struct kvm_regs *regs, struct kvm_sregs *sregs);
int boot_nano_load(const struct gmem *g, const struct boot_source *s, struct boot_entry *ret, struct error *e);
void boot_nano_enter(const struct boot_entry *b, unsigned index, struct kvm_regs *regs, struct kvm_sregs *sregs);

/* ---- shared by the Linux loaders ---- */
unsigned boot_memory_map(const struct gmem *g, struct boot_map_entry ret[BOOT_MAP_MAX]);
/* Puts the initrd below `below`, page-aligned, not under `above`. */
int boot_place_initrd(const struct gmem *g, const struct image_file *initrd, uint64_t above, uint64_t below,
		      uint64_t *ret_gpa, struct error *e);
/* The ACPI tables, and at the reset vector a few instructions that ask for a reset. */
int boot_write_firmware(const struct gmem *g, const struct boot_source *s, struct error *e);

#endif
