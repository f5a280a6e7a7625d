/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi.h - the tables that describe the machine to its guest: RSDP, XSDT, FADT, MADT, DSDT.
 *
 * Hardware-reduced ACPI (specification 4.1): no PM timer, no 8259, no SCI; sleep and reset are two I/O ports. The
 * tables lie at ACPI_BASE, below 1 MiB, where guests search for the RSDP that are not told its address.
 */
#ifndef MACHINE_ACPI_H
#define MACHINE_ACPI_H

#include "base/base.h"

#define ACPI_BASE     UINT64_C(0xe0000)
#define ACPI_SIZE     UINT64_C(0x10000)
#define ACPI_MMIO_MAX 32

/* A virtio-mmio device: becomes an LNRO0005 node. */
struct acpi_mmio {
	uint32_t base, size, gsi;
};

struct acpi_config {
	unsigned vcpus;
	unsigned mmio_count;
	struct acpi_mmio mmio[ACPI_MMIO_MAX];
};

/* Writes the tables into buf, which the guest will see at address gpa (16-byte aligned); the RSDP comes first. Returns
 * the bytes used, or -ENOSPC. */
ssize_t acpi_build(const struct acpi_config *c, uint64_t gpa, void *buf, size_t size);

#endif
