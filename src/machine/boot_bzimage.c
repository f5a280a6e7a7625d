/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_bzimage.c - a Linux bzImage through its 64-bit entry (Documentation/arch/x86/boot.rst).
 *
 * The protected-mode part is loaded at the kernel's preferred address, so that its decompressor need not move itself;
 * the entry is 0x200 bytes into it, in long mode with an identity map, rsi = zero page.
 */
#include <asm/bootparam.h>
#include <string.h>

#include "machine/acpi.h"
#include "machine/boot.h"

#define HEADER_OFFSET	 0x1f1
#define HEADER_MAGIC	 0x53726448 /* "HdrS" */
#define BOOT_FLAG	 0xaa55
#define VERSION_MIN	 0x020c /* xloadflags: the 64-bit entry is known */
#define SECTOR		 512
#define ENTRY_64	 0x200
#define LOADER_UNDEFINED 0xff
#define INIT_SIZE_MAX	 (UINT64_C(2) << 30)

#define PAGE_PRESENT_WRITE	 UINT64_C(0x3)
#define PAGE_LARGE_PRESENT_WRITE UINT64_C(0x83)
#define LARGE_PAGE_SHIFT	 21
#define GIB_MAPPED		 4

static int check_header(const struct boot_source *s, struct setup_header *h, struct error *e)
{
	if (s->kernel->size < HEADER_OFFSET + sizeof *h)
		return error_set(e, -ENOEXEC, "the kernel is cut off in its header: fetch it again");
	memcpy(h, s->kernel->data + HEADER_OFFSET, sizeof *h);
	if (h->boot_flag != BOOT_FLAG || h->header != HEADER_MAGIC)
		return error_set(e, -ENOEXEC, "no Linux bzImage: its boot sector or header magic is wrong");
	if (h->version < VERSION_MIN || !(h->xloadflags & XLF_KERNEL_64) || !(h->loadflags & LOADED_HIGH))
		return error_set(
		    e, -ENOEXEC,
		    "this bzImage (boot protocol %u.%02u) has no 64-bit entry: use a 64-bit kernel, 3.8 or later",
		    h->version >> 8, h->version & 0xff);
	if (h->pref_address < BOOT_HIGH_MEMORY || h->init_size == 0 || h->init_size > INIT_SIZE_MAX)
		return error_set(e, -ENOEXEC, "the bzImage's header asks for an impossible place in memory");
	if (strlen(s->cmdline) > h->cmdline_size)
		return error_set(e, -E2BIG, "the command line is longer than this kernel takes (%u bytes): shorten it",
				 h->cmdline_size);
	return 0;
}

/* Copies the protected-mode part to its preferred address. */
static int load_kernel(const struct gmem *g, const struct boot_source *s, const struct setup_header *h, struct error *e)
{
	size_t skip = ((h->setup_sects == 0 ? 4u : h->setup_sects) + 1u) * SECTOR;
	size_t size = (size_t)h->syssize * 16;

	if (skip >= s->kernel->size || size > s->kernel->size - skip || size <= ENTRY_64)
		return error_set(e, -ENOEXEC, "the kernel is truncated: %zu bytes of %zu; fetch it again",
				 s->kernel->size, skip + size);
	/* It unpacks itself inside init_size bytes from there. */
	if (!gmem_ptr(g, h->pref_address, MAX((uint64_t)h->init_size, size)))
		return error_set(e, -E2BIG, "the kernel needs %llu MiB of memory and the VM has %llu: give it more",
				 (unsigned long long)((h->pref_address + MAX((uint64_t)h->init_size, size)) / MIB + 1),
				 (unsigned long long)(g->size / MIB));
	return gmem_write(g, h->pref_address, s->kernel->data + skip, size);
}

static int write_page_tables(const struct gmem *g)
{
	uint64_t *table = gmem_ptr(g, BOOT_PAGE_TABLES, (2 + GIB_MAPPED) * GMEM_PAGE);

	if (!table)
		return -E2BIG;
	table[0] = (BOOT_PAGE_TABLES + GMEM_PAGE) | PAGE_PRESENT_WRITE;
	for (uint64_t i = 0; i < GIB_MAPPED; i++)
		table[512 + i] = (BOOT_PAGE_TABLES + (2 + i) * GMEM_PAGE) | PAGE_PRESENT_WRITE;
	for (uint64_t i = 0; i < GIB_MAPPED * 512; i++)
		table[1024 + i] = i << LARGE_PAGE_SHIFT | PAGE_LARGE_PRESENT_WRITE;
	return 0;
}

static void fill_zero_page(const struct gmem *g, struct boot_params *bp, const struct setup_header *h)
{
	struct boot_map_entry map[BOOT_MAP_MAX];
	unsigned n = boot_memory_map(g, map);

	bp->hdr = *h;
	bp->hdr.type_of_loader = LOADER_UNDEFINED;
	bp->hdr.loadflags |= CAN_USE_HEAP;
	bp->hdr.heap_end_ptr = 0xfe00;
	bp->hdr.code32_start = (uint32_t)h->pref_address;
	bp->hdr.cmd_line_ptr = (uint32_t)BOOT_CMDLINE;
	bp->hdr.setup_data = 0; /* a list of pointers: nothing of the file's */
	bp->acpi_rsdp_addr = ACPI_BASE;
	for (unsigned i = 0; i < n; i++)
		bp->e820_table[i] =
		    (struct boot_e820_entry){.addr = map[i].base, .size = map[i].size, .type = map[i].type};
	bp->e820_entries = (uint8_t)n;
}

int boot_bzimage_load(const struct gmem *g, const struct boot_source *s, struct boot_entry *ret, struct error *e)
{
	static const uint64_t gdt[] = {0, 0, UINT64_C(0x00af9b000000ffff), UINT64_C(0x00cf93000000ffff)};
	struct boot_params bp = {0};
	struct setup_header h;
	uint64_t initrd = 0;
	int r;

	r = check_header(s, &h, e);
	if (r < 0)
		return r;
	r = load_kernel(g, s, &h, e);
	if (r < 0)
		return r;
	fill_zero_page(g, &bp, &h);
	if (s->initrd->data) {
		r = boot_place_initrd(g, s->initrd, h.pref_address + h.init_size, (uint64_t)h.initrd_addr_max + 1,
				      &initrd, e);
		if (r < 0)
			return r;
		bp.hdr.ramdisk_image = (uint32_t)initrd;
		bp.hdr.ramdisk_size = (uint32_t)s->initrd->size;
	}
	r = boot_write_firmware(g, s, e);
	if (r < 0)
		return r;
	if (gmem_write(g, BOOT_ZERO_PAGE, &bp, sizeof bp) < 0 || gmem_write(g, BOOT_GDT, gdt, sizeof gdt) < 0 ||
	    gmem_write(g, BOOT_CMDLINE, s->cmdline, strlen(s->cmdline) + 1) < 0 || write_page_tables(g) < 0)
		return error_set(e, -E2BIG, "no room for the boot data: give the VM at least 64 MiB of memory");
	*ret =
	    (struct boot_entry){.kind = MACHINE_BOOT_BZIMAGE, .rip = h.pref_address + ENTRY_64, .mem_bytes = g->size};
	return 0;
}

void boot_bzimage_enter(const struct boot_entry *b, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
	struct kvm_segment code = {
	    .limit = UINT32_MAX, .selector = 0x10, .present = 1, .type = 11, .s = 1, .l = 1, .g = 1};
	struct kvm_segment data = {
	    .limit = UINT32_MAX, .selector = 0x18, .present = 1, .type = 3, .s = 1, .db = 1, .g = 1};

	*regs = (struct kvm_regs){.rip = b->rip, .rsi = BOOT_ZERO_PAGE, .rflags = 2};
	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->gdt = (struct kvm_dtable){.base = BOOT_GDT, .limit = 4 * 8 - 1};
	sregs->idt = (struct kvm_dtable){0};
	sregs->cr3 = BOOT_PAGE_TABLES;
	sregs->cr4 = 0x20;	 /* PAE */
	sregs->cr0 = 0x80000011; /* PG, ET, PE */
	sregs->efer = 0x500;	 /* LMA, LME */
}
