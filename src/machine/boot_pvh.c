/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_pvh.c - an ELF kernel (vmlinux) through its PVH entry: 32-bit protected mode, no paging, ebx = start info
 * (Xen's docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h).
 */
#include <string.h>

#include "machine/acpi.h"
#include "machine/boot.h"
#include "machine/elf_file.h"

#define NOTE_OWNER	  "Xen"
#define NOTE_PHYS32_ENTRY 18
#define START_INFO_MAGIC  0x336ec578

struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t module_list, cmdline, rsdp;
	/* version 1 */
	uint64_t memory_map;
	uint32_t memory_map_entries, reserved;
};

struct module {
	uint64_t address, size, cmdline, reserved;
};

struct map_entry {
	uint64_t address, size;
	uint32_t type, reserved;
};

/* All in one page at BOOT_PVH_INFO. */
struct info_page {
	struct start_info info;
	struct module initrd;
	struct map_entry map[BOOT_MAP_MAX];
};

static int find_entry(const struct elf_file *f, uint64_t *ret, struct error *e)
{
	const void *desc;
	uint32_t entry;
	size_t size;
	int r;

	r = elf_file_note(f, NOTE_OWNER, NOTE_PHYS32_ENTRY, &desc, &size);
	if (r < 0)
		return error_set(e, r, "its ELF notes are cut off");
	if (r == 0 || size < sizeof entry)
		return error_set(
		    e, -ENOEXEC,
		    "an ELF file without a PVH entry or a Baton note: build the kernel with CONFIG_PVH, or use "
		    "its bzImage");
	memcpy(&entry, desc, sizeof entry); /* some linkers write 8 bytes; the address has 32 bits */
	*ret = entry;
	return 0;
}

int boot_pvh_load(const struct gmem *g, const struct boot_source *s, struct boot_entry *ret, struct error *e)
{
	struct info_page page = {.info = {.magic = START_INFO_MAGIC, .version = 1}};
	struct boot_map_entry map[BOOT_MAP_MAX];
	uint64_t entry = 0, first, end;
	struct elf_file f;
	int r;

	r = elf_file_open(&f, s->kernel->data, s->kernel->size, e);
	if (r < 0)
		return r;
	r = find_entry(&f, &entry, e);
	if (r < 0)
		return r;
	r = elf_file_load(&f, g, BOOT_HIGH_MEMORY, &first, &end, e);
	if (r < 0)
		return r;
	if (entry < first || entry >= end)
		return error_set(e, -ENOEXEC, "the kernel's PVH entry %#llx lies outside of its segments",
				 (unsigned long long)entry);
	if (s->initrd->data) {
		/* Until it has parsed the start info the kernel only knows that its own image is taken. */
		r = boot_place_initrd(g, s->initrd, end, UINT64_C(0x80000000), &page.initrd.address, e);
		if (r < 0)
			return r;
		page.initrd.size = s->initrd->size;
		page.info.modules = 1;
		page.info.module_list = BOOT_PVH_INFO + offsetof(struct info_page, initrd);
	}
	r = boot_write_firmware(g, s, e);
	if (r < 0)
		return r;
	page.info.cmdline = BOOT_CMDLINE;
	page.info.rsdp = ACPI_BASE;
	page.info.memory_map = BOOT_PVH_INFO + offsetof(struct info_page, map);
	page.info.memory_map_entries = boot_memory_map(g, map);
	for (unsigned i = 0; i < page.info.memory_map_entries; i++)
		page.map[i] = (struct map_entry){.address = map[i].base, .size = map[i].size, .type = map[i].type};
	if (gmem_write(g, BOOT_PVH_INFO, &page, sizeof page) < 0 ||
	    gmem_write(g, BOOT_CMDLINE, s->cmdline, strlen(s->cmdline) + 1) < 0)
		return error_set(e, -E2BIG, "no room for the boot data: give the VM at least 64 MiB of memory");
	*ret = (struct boot_entry){.kind = MACHINE_BOOT_PVH, .rip = entry, .mem_bytes = g->size};
	return 0;
}

void boot_pvh_enter(const struct boot_entry *b, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
	struct kvm_segment code = {
	    .limit = UINT32_MAX, .selector = 0x08, .present = 1, .type = 11, .s = 1, .db = 1, .g = 1};
	struct kvm_segment data = {
	    .limit = UINT32_MAX, .selector = 0x10, .present = 1, .type = 3, .s = 1, .db = 1, .g = 1};
	struct kvm_segment task = {.limit = 0x67, .selector = 0x18, .present = 1, .type = 11};

	*regs = (struct kvm_regs){.rip = b->rip, .rbx = BOOT_PVH_INFO, .rflags = 2};
	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->tr = task;
	sregs->gdt = sregs->idt = (struct kvm_dtable){0};
	sregs->cr0 = 0x11; /* ET, PE */
	sregs->cr3 = sregs->cr4 = sregs->efer = 0;
}
