/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_nano.c - a nano guest: a static ELF program that runs in ring 3 from its first instruction.
 *
 * Every vCPU starts at the ELF entry in 64-bit user mode, IOPL 3 (so it may use ports), interrupts off, SSE on, with
 *
 *	rdi	address of the NUL-terminated argument string
 *	rsi	index of the vCPU
 *	rdx	bytes of memory
 *	rsp	mem_bytes - index * 64 KiB - 16 - 8: its own stack, aligned as after a call, a zero return address on it
 *
 * All memory is mapped at its physical address, readable, writable and executable, with pages of 2 MiB whose accessed
 * and dirty bits are already set. There is no IDT and nothing else: any fault is a triple fault and ends the guest.
 */
#include <string.h>

#include "machine/boot.h"
#include "machine/elf_file.h"

#define TABLE_FLAGS	 UINT64_C(0x27) /* accessed, user, writable, present */
#define LARGE_PAGE_FLAGS UINT64_C(0xe7) /* large, dirty, accessed, user, writable, present */
#define LARGE_PAGE_SHIFT 21
#define GIB_SHIFT	 30
#define TSS_SIZE	 104 /* then the bitmap: a bit per port, and a byte of ones at its end */
#define TSS_LIMIT	 (TSS_SIZE + 65536 / 8)
#define TSS_BITMAP_FIELD 102

/* Page tables for [0, mem): one PML4, one PDPT, a page directory per GiB. RAM above the hole is mapped, too. */
static int write_page_tables(const struct gmem *g)
{
	uint64_t end = g->size > g->low_size ? GMEM_HOLE_END + (g->size - g->low_size) : g->size;
	uint64_t gibs = (end + (UINT64_C(1) << GIB_SHIFT) - 1) >> GIB_SHIFT;
	uint64_t large_pages = (end + (UINT64_C(1) << LARGE_PAGE_SHIFT) - 1) >> LARGE_PAGE_SHIFT;
	uint64_t *table = gmem_ptr(g, BOOT_NANO_PAGE_TABLES, (2 + gibs) * GMEM_PAGE);

	if (!table || BOOT_NANO_PAGE_TABLES + (2 + gibs) * GMEM_PAGE > BOOT_NANO_ARGUMENTS)
		return -E2BIG;
	table[0] = (BOOT_NANO_PAGE_TABLES + GMEM_PAGE) | TABLE_FLAGS;
	for (uint64_t i = 0; i < gibs; i++)
		table[512 + i] = (BOOT_NANO_PAGE_TABLES + (2 + i) * GMEM_PAGE) | TABLE_FLAGS;
	for (uint64_t i = 0; i < large_pages; i++)
		table[1024 + i] = i << LARGE_PAGE_SHIFT | LARGE_PAGE_FLAGS;
	return 0;
}

static int write_tss(const struct gmem *g)
{
	uint16_t bitmap = TSS_SIZE;
	uint8_t end = 0xff;

	if (gmem_write(g, BOOT_NANO_TSS + TSS_BITMAP_FIELD, &bitmap, sizeof bitmap) < 0)
		return -E2BIG;
	return gmem_write(g, BOOT_NANO_TSS + TSS_LIMIT, &end, sizeof end);
}

int boot_nano_load(const struct gmem *g, const struct boot_source *s, struct boot_entry *ret, struct error *e)
{
	uint64_t first = 0, end = 0;
	struct elf_file f;
	int r;

	if (g->size > BOOT_NANO_MEMORY_MAX)
		return error_set(e, -EINVAL, "a nano guest has at most %llu MiB of memory: give it less",
				 (unsigned long long)(BOOT_NANO_MEMORY_MAX / MIB));
	r = elf_file_open(&f, s->kernel->data, s->kernel->size, e);
	if (r < 0)
		return r;
	if (f.header.e_type != ET_EXEC)
		return error_set(e, -ENOEXEC, "a nano guest must be a static ELF program (ET_EXEC) linked at %#llx",
				 (unsigned long long)BOOT_NANO_PROGRAM);
	r = elf_file_load(&f, g, BOOT_NANO_PROGRAM, &first, &end, e);
	if (r < 0)
		return r;
	if (f.header.e_entry < first || f.header.e_entry >= end)
		return error_set(e, -ENOEXEC, "the nano guest's entry %#llx lies outside of its segments",
				 (unsigned long long)f.header.e_entry);
	if (end > g->low_size || g->low_size - end < s->vcpus * BOOT_NANO_STACK)
		return error_set(e, -E2BIG,
				 "no room for %u stacks above the nano guest: give it at least %llu MiB of memory",
				 s->vcpus, (unsigned long long)((end + s->vcpus * BOOT_NANO_STACK) / MIB + 1));
	if (gmem_write(g, BOOT_NANO_ARGUMENTS, s->cmdline, strlen(s->cmdline) + 1) < 0 || write_page_tables(g) < 0 ||
	    write_tss(g) < 0)
		return error_set(e, -E2BIG,
				 "no room for the nano guest's page tables: give it at least 4 MiB of memory");
	*ret = (struct boot_entry){.kind = MACHINE_BOOT_NANO, .rip = f.header.e_entry, .mem_bytes = g->low_size};
	return 0;
}

void boot_nano_enter(const struct boot_entry *b, unsigned index, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
	struct kvm_segment code = {
	    .limit = UINT32_MAX, .selector = 0x1b, .present = 1, .type = 11, .dpl = 3, .s = 1, .l = 1, .g = 1};
	struct kvm_segment data = {
	    .limit = UINT32_MAX, .selector = 0x23, .present = 1, .type = 3, .dpl = 3, .s = 1, .db = 1, .g = 1};
	struct kvm_segment task = {
	    .base = BOOT_NANO_TSS, .limit = TSS_LIMIT, .selector = 0x28, .present = 1, .type = 11};

	*regs = (struct kvm_regs){
	    .rip = b->rip,
	    .rsp = b->mem_bytes - index * BOOT_NANO_STACK - 24,
	    .rdi = BOOT_NANO_ARGUMENTS,
	    .rsi = index,
	    .rdx = b->mem_bytes,
	    .rflags = 0x3002, /* IOPL 3 */
	};
	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->tr = task;
	sregs->gdt = sregs->idt = (struct kvm_dtable){0};
	sregs->cr3 = BOOT_NANO_PAGE_TABLES;
	sregs->cr4 = 0x620;	 /* OSXMMEXCPT, OSFXSR, PAE */
	sregs->cr0 = 0x80000033; /* PG, NE, ET, MP, PE */
	sregs->efer = 0x500;	 /* LMA, LME */
}
