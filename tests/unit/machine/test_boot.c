/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory, ACPI tables, and the loaders with good, truncated and hostile files. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <asm/bootparam.h>
#include <elf.h>

#include "machine/acpi.h"
#include "machine/boot.h"

/* ---- guest memory ---- */

static void only_ram_has_an_address(void **state)
{
	struct gmem g = {0};
	struct gmem_range r[GMEM_RANGES_MAX];

	(void)state;
	assert_int_equal(gmem_init(&g, 5 * 1024 * MIB, NULL), 0);
	assert_int_equal(gmem_ranges(&g, r), 2);
	assert_int_equal(r[0].size + r[1].size, 5 * 1024 * MIB);
	assert_ptr_equal(gmem_ptr(&g, 0, 1), g.host);
	assert_non_null(gmem_ptr(&g, GMEM_HOLE_START - 1, 1));
	assert_null(gmem_ptr(&g, GMEM_HOLE_START - 1, 2));
	assert_null(gmem_ptr(&g, GMEM_HOLE_START, 1));
	assert_null(gmem_ptr(&g, GMEM_HOLE_END - 1, 2));
	assert_ptr_equal(gmem_ptr(&g, GMEM_HOLE_END, 1), g.host + GMEM_HOLE_START);
	assert_non_null(gmem_ptr(&g, GMEM_HOLE_END + 2 * 1024 * MIB - 1, 1));
	assert_null(gmem_ptr(&g, GMEM_HOLE_END + 2 * 1024 * MIB - 1, 2));
	assert_null(gmem_ptr(&g, UINT64_MAX, 1));
	assert_null(gmem_ptr(&g, 16, UINT64_MAX));
	assert_null(gmem_ptr(&g, UINT64_MAX - 3, UINT64_MAX));
	gmem_done(&g);
	assert_int_equal(gmem_init(&g, 4095, NULL), -EINVAL);
	assert_int_equal(gmem_init(&g, 0, NULL), -EINVAL);
	assert_int_equal(gmem_init(&g, UINT64_MAX - 4095, NULL), -EINVAL);
}

static void copies_are_whole_or_not_at_all(void **state)
{
	struct gmem g = {0};
	char buf[8] = "abcdefg";

	(void)state;
	assert_int_equal(gmem_init(&g, MIB, NULL), 0);
	assert_int_equal(gmem_write(&g, MIB - 4, buf, 8), -EFAULT);
	assert_int_equal(*(char *)gmem_ptr(&g, MIB - 4, 1), 0);
	assert_int_equal(gmem_write(&g, MIB - 8, buf, 8), 0);
	memset(buf, 0, sizeof buf);
	assert_int_equal(gmem_read(&g, MIB - 4, buf, 8), -EFAULT);
	assert_int_equal(buf[0], 0);
	assert_int_equal(gmem_read(&g, MIB - 8, buf, 8), 0);
	assert_string_equal(buf, "abcdefg");
	assert_int_equal(gmem_clear(&g), 0);
	assert_int_equal(*(char *)gmem_ptr(&g, MIB - 8, 1), 0);
	gmem_done(&g);
}

/* ---- ACPI ---- */

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return v;
}

static const uint8_t *table_at(const uint8_t *buf, uint64_t gpa, const char *signature)
{
	const uint8_t *t = buf + (gpa - ACPI_BASE);
	uint8_t sum = 0;

	assert_memory_equal(t, signature, 4);
	for (uint32_t i = 0; i < load32(t + 4); i++)
		sum = (uint8_t)(sum + t[i]);
	assert_int_equal(sum, 0);
	return t;
}

static void tables_have_good_checksums_and_name_all_vcpus(void **state)
{
	static uint8_t buf[ACPI_SIZE];
	struct acpi_config c = {.vcpus = MACHINE_VCPUS_MAX, .mmio_count = 2};
	const uint8_t *xsdt, *fadt, *madt, *dsdt;
	unsigned lapics = 0, ioapics = 0;
	uint8_t sum = 0;

	(void)state;
	c.mmio[0] = (struct acpi_mmio){.base = 0xd0000000, .size = 0x1000, .gsi = 5};
	c.mmio[1] = (struct acpi_mmio){.base = 0xd0001000, .size = 0x1000, .gsi = 6};
	assert_true(acpi_build(&c, ACPI_BASE, buf, sizeof buf) > 0);
	assert_memory_equal(buf, "RSD PTR ", 8);
	for (unsigned i = 0; i < 20; i++)
		sum = (uint8_t)(sum + buf[i]);
	assert_int_equal(sum, 0);
	for (unsigned i = 20; i < 36; i++)
		sum = (uint8_t)(sum + buf[i]);
	assert_int_equal(sum, 0);
	xsdt = table_at(buf, load64(buf + 24), "XSDT");
	fadt = table_at(buf, load64(xsdt + 36), "FACP");
	madt = table_at(buf, load64(xsdt + 44), "APIC");
	dsdt = table_at(buf, load64(fadt + 140), "DSDT");
	assert_non_null(memmem(dsdt, load32(dsdt + 4), "_S5_", 4));
	assert_non_null(memmem(dsdt, load32(dsdt + 4), "COM1", 4));
	assert_non_null(memmem(dsdt, load32(dsdt + 4), "LNRO0005", 9));
	assert_non_null(memmem(dsdt, load32(dsdt + 4), "VR01", 4));
	for (uint32_t at = 44; at < load32(madt + 4); at += madt[at + 1]) {
		assert_true(madt[at + 1] >= 8);
		if (madt[at] == 0)
			assert_int_equal(madt[at + 3], lapics++);
		else
			ioapics++;
	}
	assert_int_equal(lapics, MACHINE_VCPUS_MAX);
	assert_int_equal(ioapics, 1);
}

static void tables_that_do_not_fit_are_refused(void **state)
{
	static uint8_t buf[ACPI_SIZE];
	struct acpi_config c = {.vcpus = 2, .mmio_count = ACPI_MMIO_MAX};
	ssize_t need = acpi_build(&c, ACPI_BASE, buf, sizeof buf);

	(void)state;
	assert_true(need > 0);
	assert_int_equal(acpi_build(&c, ACPI_BASE, buf, (size_t)need), need);
	for (ssize_t n = 0; n < need; n++)
		assert_int_equal(acpi_build(&c, ACPI_BASE, buf, (size_t)n), -ENOSPC);
}

/* ---- loaders ---- */

struct bench {
	struct gmem g;
	struct image_file kernel, initrd;
	struct boot_source source;
	struct boot_entry entry;
	struct error e;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof *b);

	assert_int_equal(gmem_init(&b->g, 64 * MIB, NULL), 0);
	b->source =
	    (struct boot_source){.kernel = &b->kernel, .initrd = &b->initrd, .cmdline = "console=ttyS0", .vcpus = 2};
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	gmem_done(&b->g);
	free(b->kernel.data);
	free(b->initrd.data);
	free(b);
	return 0;
}

/* Puts exactly these bytes on the heap, so that a sanitizer sees every step beyond them. */
static void set_kernel(struct bench *b, const void *data, size_t size)
{
	free(b->kernel.data);
	b->kernel.data = malloc(size);
	memcpy(b->kernel.data, data, size);
	b->kernel.size = size;
}

static int load(struct bench *b, enum machine_boot kind)
{
	b->e.text[0] = '\0';
	return boot_load(&b->g, kind, &b->source, &b->entry, &b->e);
}

static void refused(struct bench *b, enum machine_boot kind, int code)
{
	assert_int_equal(load(b, kind), code);
	assert_true(strlen(b->e.text) > 10);
}

#define BZ_SETUP_SECTS 4
#define BZ_PAYLOAD     4096
#define BZ_SIZE	       ((BZ_SETUP_SECTS + 1) * 512 + BZ_PAYLOAD)

static struct setup_header *bzimage(uint8_t image[BZ_SIZE])
{
	struct setup_header *h = (struct setup_header *)(void *)(image + 0x1f1);

	memset(image, 0x90, BZ_SIZE);
	memset(h, 0, sizeof *h);
	*h = (struct setup_header){
	    .setup_sects = BZ_SETUP_SECTS,
	    .syssize = BZ_PAYLOAD / 16,
	    .boot_flag = 0xaa55,
	    .header = 0x53726448,
	    .version = 0x020f,
	    .loadflags = LOADED_HIGH,
	    .initrd_addr_max = 0x7fffffff,
	    .xloadflags = XLF_KERNEL_64,
	    .cmdline_size = 2047,
	    .pref_address = 16 * MIB,
	    .init_size = 8 * MIB,
	};
	return h;
}

static void a_good_bzimage_is_loaded_with_initrd_and_command_line(void **state)
{
	struct bench *b = *state;
	uint8_t image[BZ_SIZE];
	struct boot_params bp;
	struct kvm_regs regs = {0};
	struct kvm_sregs sregs = {0};
	char text[32];

	bzimage(image);
	set_kernel(b, image, sizeof image);
	b->initrd.data = malloc(5000);
	b->initrd.size = 5000;
	memset(b->initrd.data, 'i', 5000);
	assert_int_equal(load(b, MACHINE_BOOT_AUTO), 0);
	assert_int_equal(b->entry.kind, MACHINE_BOOT_BZIMAGE);
	boot_enter(&b->entry, 0, &regs, &sregs);
	assert_int_equal(regs.rip, 16 * MIB + 0x200);
	assert_int_equal(gmem_read(&b->g, regs.rsi, &bp, sizeof bp), 0);
	assert_int_equal(bp.hdr.ramdisk_size, 5000);
	assert_true(bp.hdr.ramdisk_image >= 24 * MIB && bp.hdr.ramdisk_image % 4096 == 0);
	assert_int_equal(*(char *)gmem_ptr(&b->g, bp.hdr.ramdisk_image + 4999, 1), 'i');
	assert_int_equal(gmem_read(&b->g, bp.hdr.cmd_line_ptr, text, sizeof text), 0);
	assert_string_equal(text, "console=ttyS0");
	assert_int_equal(bp.e820_entries, 3);
	assert_int_equal(bp.acpi_rsdp_addr, ACPI_BASE);
	assert_memory_equal(gmem_ptr(&b->g, ACPI_BASE, 8), "RSD PTR ", 8);
}

static void every_truncation_of_a_bzimage_is_refused(void **state)
{
	struct bench *b = *state;
	uint8_t image[BZ_SIZE];

	bzimage(image);
	for (size_t n = 1; n < sizeof image; n++) {
		set_kernel(b, image, n);
		refused(b, MACHINE_BOOT_AUTO, -ENOEXEC);
	}
}

static void hostile_bzimage_headers_are_refused(void **state)
{
	struct bench *b = *state;
	uint8_t image[BZ_SIZE];
	struct setup_header *h;

#define HOSTILE(code, change)                                                                                          \
	do {                                                                                                           \
		h = bzimage(image);                                                                                    \
		change;                                                                                                \
		set_kernel(b, image, sizeof image);                                                                    \
		refused(b, MACHINE_BOOT_BZIMAGE, code);                                                                \
	} while (0)
	HOSTILE(-ENOEXEC, h->boot_flag = 0);
	HOSTILE(-ENOEXEC, h->header = 0);
	HOSTILE(-ENOEXEC, h->version = 0x0204);
	HOSTILE(-ENOEXEC, h->xloadflags = 0);
	HOSTILE(-ENOEXEC, h->loadflags = 0);
	HOSTILE(-ENOEXEC, h->syssize = UINT32_MAX);
	HOSTILE(-ENOEXEC, h->syssize = 0);
	HOSTILE(-ENOEXEC, h->setup_sects = 255);
	HOSTILE(-ENOEXEC, h->pref_address = 0);
	HOSTILE(-ENOEXEC, h->init_size = UINT32_MAX);
	HOSTILE(-E2BIG, h->pref_address = UINT64_MAX - 4096);
	HOSTILE(-E2BIG, h->pref_address = GMEM_HOLE_START);
	HOSTILE(-E2BIG, h->init_size = 64 * MIB);
	HOSTILE(-E2BIG, h->cmdline_size = 3);
}

static void an_initrd_that_does_not_fit_is_refused(void **state)
{
	struct bench *b = *state;
	uint8_t image[BZ_SIZE];

	struct setup_header *h = bzimage(image);

	b->initrd.size = 45 * MIB;
	b->initrd.data = calloc(1, b->initrd.size);
	set_kernel(b, image, sizeof image);
	refused(b, MACHINE_BOOT_AUTO, -E2BIG);
	b->initrd.size = 1 * MIB;
	assert_int_equal(load(b, MACHINE_BOOT_AUTO), 0);
	h->initrd_addr_max = 0; /* nowhere */
	set_kernel(b, image, sizeof image);
	refused(b, MACHINE_BOOT_AUTO, -E2BIG);
}

/* An ELF with one PT_LOAD and one PT_NOTE, both in one page. */
struct elf_image {
	Elf64_Ehdr h;
	Elf64_Phdr load, note;
	struct {
		Elf64_Nhdr h;
		char owner[8];
		uint32_t desc;
	} n;
	uint8_t code[64];
};

static void make_elf(struct elf_image *i, const char *owner, uint32_t type, uint64_t at)
{
	memset(i, 0, sizeof *i);
	memcpy(i->h.e_ident, ELFMAG, SELFMAG);
	i->h.e_ident[EI_CLASS] = ELFCLASS64;
	i->h.e_ident[EI_DATA] = ELFDATA2LSB;
	i->h.e_type = ET_EXEC;
	i->h.e_machine = EM_X86_64;
	i->h.e_phoff = offsetof(struct elf_image, load);
	i->h.e_phentsize = sizeof(Elf64_Phdr);
	i->h.e_phnum = 2;
	i->h.e_entry = at + offsetof(struct elf_image, code);
	i->load = (Elf64_Phdr){
	    .p_type = PT_LOAD, .p_offset = 0, .p_paddr = at, .p_vaddr = at, .p_filesz = sizeof *i, .p_memsz = 8192};
	i->note = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = offsetof(struct elf_image, n), .p_filesz = sizeof i->n};
	i->n.h = (Elf64_Nhdr){.n_namesz = (Elf64_Word)strlen(owner) + 1, .n_descsz = 4, .n_type = type};
	(void)snprintf(i->n.owner, sizeof i->n.owner, "%s", owner);
	/* A short owner is padded to 4 bytes, so the descriptor of "Xen" stands earlier than that of "Baton". */
	i->n.desc = (uint32_t)(at + offsetof(struct elf_image, code));
	if (strlen(owner) + 1 <= 4)
		memcpy(i->n.owner + 4, &i->n.desc, 4);
}

static void a_nano_guest_is_loaded_and_enters_ring_3(void **state)
{
	struct bench *b = *state;
	struct elf_image i;
	struct kvm_regs regs = {0};
	struct kvm_sregs sregs = {0};

	make_elf(&i, "Baton", 1, BOOT_NANO_PROGRAM);
	set_kernel(b, &i, sizeof i);
	assert_int_equal(load(b, MACHINE_BOOT_AUTO), 0);
	assert_int_equal(b->entry.kind, MACHINE_BOOT_NANO);
	boot_enter(&b->entry, 1, &regs, &sregs);
	assert_int_equal(regs.rip, i.h.e_entry);
	assert_int_equal(regs.rsp, 64 * MIB - 64 * KIB - 24);
	assert_int_equal(regs.rsi, 1);
	assert_int_equal(regs.rdx, 64 * MIB);
	assert_int_equal(sregs.cs.dpl, 3);
	assert_int_equal(regs.rflags & 0x3200, 0x3000);
	assert_string_equal(gmem_ptr(&b->g, regs.rdi, 14), "console=ttyS0");
}

static void a_pvh_kernel_is_loaded_with_its_start_info(void **state)
{
	struct bench *b = *state;
	struct elf_image i;
	struct kvm_regs regs = {0};
	struct kvm_sregs sregs = {0};

	make_elf(&i, "Xen", 18, 16 * MIB);
	set_kernel(b, &i, sizeof i);
	b->initrd.data = calloc(1, 100);
	b->initrd.size = 100;
	assert_int_equal(load(b, MACHINE_BOOT_AUTO), 0);
	assert_int_equal(b->entry.kind, MACHINE_BOOT_PVH);
	boot_enter(&b->entry, 0, &regs, &sregs);
	assert_int_equal(regs.rip, i.h.e_entry);
	assert_int_equal(load32(gmem_ptr(&b->g, regs.rbx, 4)), 0x336ec578);
	assert_int_equal(sregs.cr0 & 0x80000001, 1);
}

static void every_truncation_of_an_elf_kernel_is_refused(void **state)
{
	struct bench *b = *state;
	struct elf_image i;

	make_elf(&i, "Baton", 1, BOOT_NANO_PROGRAM);
	for (size_t n = 1; n < sizeof i; n++) {
		set_kernel(b, &i, n);
		refused(b, MACHINE_BOOT_AUTO, -ENOEXEC);
		refused(b, MACHINE_BOOT_NANO, -ENOEXEC);
		refused(b, MACHINE_BOOT_PVH, -ENOEXEC);
	}
}

static void hostile_elf_headers_are_refused(void **state)
{
	struct bench *b = *state;
	struct elf_image i;

#undef HOSTILE
#define HOSTILE(kind, code, change)                                                                                    \
	do {                                                                                                           \
		make_elf(&i, "Baton", 1, BOOT_NANO_PROGRAM);                                                           \
		change;                                                                                                \
		set_kernel(b, &i, sizeof i);                                                                           \
		refused(b, kind, code);                                                                                \
	} while (0)
	HOSTILE(MACHINE_BOOT_NANO, -ENOEXEC, i.h.e_phoff = UINT64_MAX - 8);
	HOSTILE(MACHINE_BOOT_NANO, -ENOEXEC, i.h.e_phnum = UINT16_MAX);
	HOSTILE(MACHINE_BOOT_NANO, -ENOEXEC, i.h.e_phnum = 0);
	HOSTILE(MACHINE_BOOT_NANO, -ENOEXEC, i.h.e_phentsize = 1);
	HOSTILE(MACHINE_BOOT_NANO, -ENOEXEC, i.h.e_machine = EM_ARM);
	HOSTILE(MACHINE_BOOT_NANO, -ENOEXEC, i.h.e_type = ET_DYN);
	HOSTILE(MACHINE_BOOT_NANO, -ENOEXEC, i.h.e_entry = 0);
	HOSTILE(MACHINE_BOOT_NANO, -ENOEXEC, i.load.p_offset = UINT64_MAX);
	HOSTILE(MACHINE_BOOT_NANO, -ENOEXEC, i.load.p_filesz = UINT64_MAX);
	HOSTILE(MACHINE_BOOT_NANO, -ENOEXEC, i.load.p_memsz = 1);
	HOSTILE(MACHINE_BOOT_NANO, -ENOEXEC, i.load.p_type = PT_NULL);
	HOSTILE(MACHINE_BOOT_NANO, -E2BIG, i.load.p_memsz = UINT64_MAX);
	HOSTILE(MACHINE_BOOT_NANO, -E2BIG, i.load.p_paddr = UINT64_MAX - 100);
	HOSTILE(MACHINE_BOOT_NANO, -E2BIG, i.load.p_paddr = 0x1000);   /* over the page tables */
	HOSTILE(MACHINE_BOOT_NANO, -E2BIG, i.load.p_memsz = 62 * MIB); /* no room for stacks */
	HOSTILE(MACHINE_BOOT_AUTO, -ENOEXEC, i.note.p_filesz = UINT64_MAX);
	HOSTILE(MACHINE_BOOT_AUTO, -ENOEXEC, i.n.h.n_descsz = UINT32_MAX);
	HOSTILE(MACHINE_BOOT_AUTO, -ENOEXEC, i.n.h.n_namesz = UINT32_MAX);
	HOSTILE(MACHINE_BOOT_AUTO, -ENOEXEC, i.n.h.n_type = 2); /* then it would be PVH, and has no entry */
}

static void random_damage_never_harms_the_loader(void **state)
{
	struct bench *b = *state;
	uint8_t bz[BZ_SIZE];
	struct elf_image i;
	uint32_t seed = 1;

	for (unsigned n = 0; n < 20000; n++) {
		uint8_t *bytes;
		size_t span;

		if (n % 2 == 0) {
			bzimage(bz);
			set_kernel(b, bz, sizeof bz);
			span = sizeof(struct setup_header);
			bytes = b->kernel.data + 0x1f1;
		} else {
			make_elf(&i, n % 4 == 1 ? "Baton" : "Xen", n % 4 == 1 ? 1 : 18, BOOT_NANO_PROGRAM);
			set_kernel(b, &i, sizeof i);
			span = offsetof(struct elf_image, code);
			bytes = b->kernel.data;
		}
		for (unsigned k = 0; k < 1 + n % 5; k++) {
			seed = seed * 1664525 + 1013904223;
			bytes[(seed >> 8) % span] = (uint8_t)(seed >> 24);
		}
		(void)load(b, MACHINE_BOOT_AUTO);
	}
}

static void a_file_of_another_kind_says_what_is_expected(void **state)
{
	struct bench *b = *state;

	set_kernel(b, "#!/bin/sh\necho this is no kernel at all, whatever its name\n", 50);
	refused(b, MACHINE_BOOT_AUTO, -ENOEXEC);
	assert_non_null(strstr(b->e.text, "vmlinuz"));
}

static void an_unreadable_file_is_an_error_with_its_name(void **state)
{
	struct image_file f = {0};
	struct error e = {0};

	(void)state;
	assert_int_equal(image_file_open(&f, "/nowhere/vmlinuz", "kernel", &e), -ENOENT);
	assert_non_null(strstr(e.text, "/nowhere/vmlinuz"));
	assert_int_equal(image_file_open(&f, "/", "kernel", &e), -ENOEXEC);
	assert_int_equal(image_file_open(&f, "/dev/null", "initrd", &e), -ENOEXEC);
	image_file_done(&f);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close_fd(fd);
}

static void a_replaced_file_stays_the_old_one_and_a_changed_one_is_refused(void **state)
{
	char path[] = "/tmp/baton-test-XXXXXX";
	struct image_file f = {0};
	struct error e = {0};
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close_fd(fd);
	write_file(path, "first");
	assert_int_equal(image_file_open(&f, path, "kernel", &e), 0);
	unlink(path);
	write_file(path, "second");
	assert_int_equal(image_file_load(&f, &e), 0);
	assert_memory_equal(f.data, "first", 5);
	image_file_unload(&f);
	image_file_done(&f);

	assert_int_equal(image_file_open(&f, path, "kernel", &e), 0);
	write_file(path, "cut");
	assert_int_equal(image_file_load(&f, &e), -ESTALE);
	assert_non_null(strstr(e.text, "anew"));
	image_file_done(&f);
	unlink(path);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_ram_has_an_address),
	    cmocka_unit_test(copies_are_whole_or_not_at_all),
	    cmocka_unit_test(tables_have_good_checksums_and_name_all_vcpus),
	    cmocka_unit_test(tables_that_do_not_fit_are_refused),
	    T(a_good_bzimage_is_loaded_with_initrd_and_command_line),
	    T(every_truncation_of_a_bzimage_is_refused),
	    T(hostile_bzimage_headers_are_refused),
	    T(an_initrd_that_does_not_fit_is_refused),
	    T(a_nano_guest_is_loaded_and_enters_ring_3),
	    T(a_pvh_kernel_is_loaded_with_its_start_info),
	    T(every_truncation_of_an_elf_kernel_is_refused),
	    T(hostile_elf_headers_are_refused),
	    T(random_damage_never_harms_the_loader),
	    T(a_file_of_another_kind_says_what_is_expected),
	    cmocka_unit_test(an_unreadable_file_is_an_error_with_its_name),
	    cmocka_unit_test(a_replaced_file_stays_the_old_one_and_a_changed_one_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
