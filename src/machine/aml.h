/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aml.h - writes ACPI Machine Language: the few words of it that our DSDT needs (ACPI specification, chapter 20).
 *
 * Packages whose length stands in front of them are begun and ended; the length is patched in at the end, always in the
 * four-byte form, so that nothing has to move:
 *
 *	size_t dev = aml_begin_device(a, "COM1");
 *	aml_name_eisaid(a, "_HID", "PNP0501");
 *	aml_end(a, dev);
 *
 * A buffer that is too small sets `overflow` and drops the bytes; the caller looks at it once, at the end.
 */
#ifndef MACHINE_AML_H
#define MACHINE_AML_H

#include "base/base.h"

struct aml {
	uint8_t *data;
	size_t size, used;
	bool overflow;
};

size_t aml_begin_scope(struct aml *a, const char *name); /* "\\_SB_" or a four-character name */
size_t aml_begin_device(struct aml *a, const char *name);
void aml_end(struct aml *a, size_t begun);

/* Name (name, value): integers, text, EISA ids, and a package of integers. Names have four characters. */
void aml_name_integer(struct aml *a, const char *name, uint32_t value);
void aml_name_string(struct aml *a, const char *name, const char *text);
void aml_name_eisaid(struct aml *a, const char *name, const char *id);
void aml_name_package(struct aml *a, const char *name, const uint8_t *values, uint8_t count);

/* Name (_CRS, ResourceTemplate): begin, resources, end. */
size_t aml_begin_resources(struct aml *a);
void aml_resource_io(struct aml *a, uint16_t port, uint8_t count);
void aml_resource_memory(struct aml *a, uint32_t base, uint32_t size);
void aml_resource_interrupt(struct aml *a, uint32_t gsi, bool edge);
void aml_end_resources(struct aml *a, size_t begun);

#endif
