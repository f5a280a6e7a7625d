/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/boot.h"

#include <string.h>

#include "devices/power.h"
#include "machine/acpi.h"
#include "machine/elf_file.h"

/* Where a PC begins, f000:fff0. Kernels that reboot "through the BIOS" jump there in real mode. */
#define RESET_VECTOR	     UINT64_C(0xffff0)
#define BZIMAGE_MAGIC_OFFSET 0x202

static int detect_elf(const struct image_file *kernel, enum machine_boot *ret, struct error *e)
{
	struct elf_file f;
	const void *desc;
	size_t size;
	int r;

	r = elf_file_open(&f, kernel->data, kernel->size, e);
	if (r < 0)
		return r;
	r = elf_file_note(&f, BOOT_NANO_NOTE_OWNER, BOOT_NANO_NOTE_TYPE, &desc, &size);
	if (r < 0)
		return error_set(e, r, "its ELF notes are cut off");
	*ret = r > 0 ? MACHINE_BOOT_NANO : MACHINE_BOOT_PVH;
	return 0;
}

int boot_detect(const struct image_file *kernel, enum machine_boot *ret, struct error *e)
{
	if (elf_file_is(kernel->data, kernel->size))
		return detect_elf(kernel, ret, e);
	if (kernel->size >= BZIMAGE_MAGIC_OFFSET + 4 && memcmp(kernel->data + BZIMAGE_MAGIC_OFFSET, "HdrS", 4) == 0) {
		*ret = MACHINE_BOOT_BZIMAGE;
		return 0;
	}
	return error_set(e, -ENOEXEC,
			 "neither a Linux bzImage nor an ELF kernel; give a vmlinuz, a vmlinux or a nano guest");
}

int boot_load(const struct gmem *g, enum machine_boot kind, const struct boot_source *s, struct boot_entry *ret,
	      struct error *e)
{
	int r;

	if (kind == MACHINE_BOOT_AUTO) {
		r = boot_detect(s->kernel, &kind, e);
		if (r < 0)
			return r;
	}
	switch (kind) {
	case MACHINE_BOOT_BZIMAGE:
		return boot_bzimage_load(g, s, ret, e);
	case MACHINE_BOOT_PVH:
		return boot_pvh_load(g, s, ret, e);
	case MACHINE_BOOT_NANO:
		return boot_nano_load(g, s, ret, e);
	case MACHINE_BOOT_AUTO:
	default:
		return error_set(e, -EINVAL, "unknown way to boot");
	}
}

void boot_enter(const struct boot_entry *b, unsigned index, struct kvm_regs *regs, struct kvm_sregs *sregs)
{
	switch (b->kind) {
	case MACHINE_BOOT_BZIMAGE:
		boot_bzimage_enter(b, regs, sregs);
		return;
	case MACHINE_BOOT_PVH:
		boot_pvh_enter(b, regs, sregs);
		return;
	case MACHINE_BOOT_NANO:
		boot_nano_enter(b, index, regs, sregs);
		return;
	case MACHINE_BOOT_AUTO:
		return;
	}
}

unsigned boot_memory_map(const struct gmem *g, struct boot_map_entry ret[BOOT_MAP_MAX])
{
	struct gmem_range r[GMEM_RANGES_MAX];
	unsigned n = gmem_ranges(g, r);

	ret[0] = (struct boot_map_entry){0, BOOT_CONVENTIONAL_END, 1};
	ret[1] = (struct boot_map_entry){ACPI_BASE, BOOT_HIGH_MEMORY - ACPI_BASE, 2};
	ret[2] = (struct boot_map_entry){BOOT_HIGH_MEMORY, r[0].size - BOOT_HIGH_MEMORY, 1};
	if (n == 1)
		return 3;
	ret[3] = (struct boot_map_entry){r[1].gpa, r[1].size, 1};
	return 4;
}

int boot_place_initrd(const struct gmem *g, const struct image_file *initrd, uint64_t above, uint64_t below,
		      uint64_t *ret_gpa, struct error *e)
{
	uint64_t end = MIN(below, g->low_size), gpa;

	if (end < above || initrd->size > end - above || (end - initrd->size) / GMEM_PAGE * GMEM_PAGE < above)
		return error_set(
		    e, -E2BIG,
		    "the initrd (%zu KiB) does not fit beside the kernel: give the VM at least %llu MiB of memory",
		    initrd->size / KIB, (unsigned long long)((above + initrd->size) / MIB + 2));
	gpa = (end - initrd->size) / GMEM_PAGE * GMEM_PAGE;
	if (gmem_write(g, gpa, initrd->data, initrd->size) < 0)
		return error_set(e, -E2BIG, "the initrd does not fit: give the VM more memory");
	*ret_gpa = gpa;
	return 0;
}

int boot_write_firmware(const struct gmem *g, const struct boot_source *s, struct error *e)
{
	static const uint8_t reset_code[] = {
	    0xba, POWER_PORT_RESET & 0xff, POWER_PORT_RESET >> 8, /* mov dx, port */
	    0xb0, POWER_RESET_VALUE,				  /* mov al, value */
	    0xee,						  /* out dx, al */
	    0xf4,						  /* hlt */
	};
	struct acpi_config c = {.vcpus = s->vcpus, .mmio_count = MIN(s->mmio_count, (unsigned)ACPI_MMIO_MAX)};
	void *p = gmem_ptr(g, ACPI_BASE, ACPI_SIZE);
	ssize_t n;

	if (!p)
		return error_set(e, -E2BIG, "no room for the ACPI tables: give the VM at least 64 MiB of memory");
	for (unsigned i = 0; i < c.mmio_count; i++)
		c.mmio[i] = s->mmio[i];
	n = acpi_build(&c, ACPI_BASE, p, ACPI_SIZE);
	if (n < 0)
		return error_set(e, (int)n, "the ACPI tables do not fit their place");
	if (gmem_write(g, RESET_VECTOR, reset_code, sizeof reset_code) < 0)
		return error_set(e, -E2BIG, "no room for the reset vector: give the VM at least 64 MiB of memory");
	return 0;
}
