/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/acpi.h"

#include <stdio.h>
#include <string.h>

#include "devices/power.h"
#include "devices/uart.h"
#include "machine/aml.h"
#include "machine/ioapic.h"

#define LAPIC_BASE UINT32_C(0xfee00000)

struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

struct xsdt {
	struct header h;
	uint64_t table[2];
} __attribute__((packed));

struct address {
	uint8_t space, bits, offset, access;
	uint64_t address;
} __attribute__((packed));

#define SPACE_IO    1
#define ACCESS_BYTE 1

struct fadt {
	struct header h;
	uint32_t facs, dsdt;
	uint8_t reserved0, profile;
	uint8_t legacy[109 - 46]; /* registers that hardware-reduced machines do not have */
	uint16_t boot_flags;
	uint8_t reserved1;
	uint32_t flags;
	struct address reset;
	uint8_t reset_value;
	uint16_t arm_flags;
	uint8_t minor_revision;
	uint64_t x_facs, x_dsdt;
	struct address x_legacy[8];
	struct address sleep_control, sleep_status;
	uint64_t hypervisor;
} __attribute__((packed));

_Static_assert(sizeof(struct fadt) == 276, "FADT of ACPI 6");
_Static_assert(offsetof(struct fadt, boot_flags) == 109, "FADT");
_Static_assert(offsetof(struct fadt, x_dsdt) == 140, "FADT");
_Static_assert(offsetof(struct fadt, sleep_control) == 244, "FADT");

#define BOOT_NO_VGA	 0x04
#define BOOT_NO_MSI	 0x08
#define BOOT_NO_ASPM	 0x10
#define BOOT_NO_CMOS_RTC 0x20
#define FLAG_WBINVD	 0x01u
#define FLAG_RESET_REG	 (1u << 10)
#define FLAG_HW_REDUCED	 (1u << 20)

struct madt {
	struct header h;
	uint32_t lapic;
	uint32_t flags;
} __attribute__((packed));

struct madt_lapic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
} __attribute__((packed));

static uint8_t checksum(const void *data, size_t size)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)-sum;
}

static void fill_header(struct header *h, const char *signature, uint8_t revision, size_t length)
{
	memcpy(h->signature, signature, sizeof h->signature);
	h->length = (uint32_t)length;
	h->revision = revision;
	memcpy(h->oem_id, "BATON ", sizeof h->oem_id);
	memcpy(h->oem_table_id, "BATONVMM", sizeof h->oem_table_id);
	h->oem_revision = 1;
	memcpy(h->creator_id, "BATN", sizeof h->creator_id);
	h->creator_revision = 1;
	h->checksum = 0;
	h->checksum = checksum(h, length);
}

static void add_serial_port(struct aml *a)
{
	size_t device = aml_begin_device(a, "COM1");
	size_t resources;

	aml_name_eisaid(a, "_HID", "PNP0501");
	aml_name_integer(a, "_UID", 0);
	resources = aml_begin_resources(a);
	aml_resource_io(a, UART_COM1, UART_PORTS);
	aml_resource_interrupt(a, UART_COM1_GSI, true);
	aml_end_resources(a, resources);
	aml_end(a, device);
}

static void add_virtio_mmio(struct aml *a, unsigned index, const struct acpi_mmio *m)
{
	size_t device, resources;
	char name[5];

	(void)snprintf(name, sizeof name, "VR%02u", index % 100);
	device = aml_begin_device(a, name);
	aml_name_string(a, "_HID", "LNRO0005");
	aml_name_integer(a, "_UID", index);
	resources = aml_begin_resources(a);
	aml_resource_memory(a, m->base, m->size);
	aml_resource_interrupt(a, m->gsi, true);
	aml_end_resources(a, resources);
	aml_end(a, device);
}

static ssize_t build_dsdt(const struct acpi_config *c, void *buf, size_t size)
{
	static const uint8_t s5[] = {POWER_S5_TYPE, 0, 0, 0};
	struct aml a = {.data = buf, .size = size, .used = sizeof(struct header)};
	size_t scope;

	if (size < sizeof(struct header))
		return -ENOSPC;
	aml_name_package(&a, "_S5_", s5, sizeof s5);
	scope = aml_begin_scope(&a, "\\_SB_");
	add_serial_port(&a);
	for (unsigned i = 0; i < MIN(c->mmio_count, (unsigned)ACPI_MMIO_MAX); i++)
		add_virtio_mmio(&a, i, &c->mmio[i]);
	aml_end(&a, scope);
	if (a.overflow)
		return -ENOSPC;
	fill_header(buf, "DSDT", 2, a.used);
	return (ssize_t)a.used;
}

static size_t build_madt(const struct acpi_config *c, uint8_t *buf)
{
	struct madt *madt = (struct madt *)(void *)buf;
	size_t n = sizeof *madt;

	*madt = (struct madt){.lapic = LAPIC_BASE};
	for (unsigned i = 0; i < c->vcpus; i++, n += sizeof(struct madt_lapic)) {
		struct madt_lapic l = {
		    .type = 0, .length = sizeof l, .uid = (uint8_t)i, .apic_id = (uint8_t)i, .flags = 1};

		memcpy(buf + n, &l, sizeof l);
	}
	struct madt_ioapic io = {.type = 1, .length = sizeof io, .address = (uint32_t)IOAPIC_BASE};

	memcpy(buf + n, &io, sizeof io);
	n += sizeof io;
	fill_header(&madt->h, "APIC", 4, n);
	return n;
}

static void build_fadt(struct fadt *f, uint64_t dsdt)
{
	*f = (struct fadt){
	    .dsdt = (uint32_t)dsdt,
	    .boot_flags = BOOT_NO_VGA | BOOT_NO_MSI | BOOT_NO_ASPM | BOOT_NO_CMOS_RTC,
	    .flags = FLAG_WBINVD | FLAG_RESET_REG | FLAG_HW_REDUCED,
	    .reset = {SPACE_IO, 8, 0, ACCESS_BYTE, POWER_PORT_RESET},
	    .reset_value = POWER_RESET_VALUE,
	    .minor_revision = 0,
	    .x_dsdt = dsdt,
	    .sleep_control = {SPACE_IO, 8, 0, ACCESS_BYTE, POWER_PORT_SLEEP_CONTROL},
	    .sleep_status = {SPACE_IO, 8, 0, ACCESS_BYTE, POWER_PORT_SLEEP_STATUS},
	};
	memcpy(&f->hypervisor, "Baton\0\0", sizeof f->hypervisor);
	fill_header(&f->h, "FACP", 6, sizeof *f);
}

/* Where the tables stand in the buffer; the DSDT, the only one of variable size that matters, is the last. */
#define AT_XSDT 0x40
#define AT_FADT 0x80
#define AT_MADT 0x200
#define AT_DSDT 0x400

ssize_t acpi_build(const struct acpi_config *c, uint64_t gpa, void *buf, size_t size)
{
	uint8_t *base = buf;
	struct rsdp *rsdp = buf;
	struct xsdt *xsdt = (struct xsdt *)(void *)(base + AT_XSDT);
	ssize_t n;

	if (size < AT_DSDT ||
	    AT_MADT + sizeof(struct madt) + c->vcpus * sizeof(struct madt_lapic) + sizeof(struct madt_ioapic) > AT_DSDT)
		return -ENOSPC;
	memset(buf, 0, AT_DSDT);
	n = build_dsdt(c, base + AT_DSDT, size - AT_DSDT);
	if (n < 0)
		return n;
	build_madt(c, base + AT_MADT);
	build_fadt((struct fadt *)(void *)(base + AT_FADT), gpa + AT_DSDT);
	xsdt->table[0] = gpa + AT_FADT;
	xsdt->table[1] = gpa + AT_MADT;
	fill_header(&xsdt->h, "XSDT", 1, sizeof *xsdt);
	memcpy(rsdp->signature, "RSD PTR ", sizeof rsdp->signature);
	memcpy(rsdp->oem_id, "BATON ", sizeof rsdp->oem_id);
	rsdp->revision = 2;
	rsdp->length = sizeof *rsdp;
	rsdp->xsdt = gpa + AT_XSDT;
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->extended_checksum = checksum(rsdp, sizeof *rsdp);
	return AT_DSDT + n;
}
