/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/aml.h"

#include <string.h>

enum {
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_EXTENDED = 0x5b,
	OP_EXT_DEVICE = 0x82,
};

#define PKG_LENGTH_BYTES     4
#define RESOURCES_SIZE_BYTES 5 /* DWordPrefix and the buffer's size */

static void put(struct aml *a, const void *bytes, size_t n)
{
	if (a->overflow || n > a->size - a->used) {
		a->overflow = true;
		return;
	}
	memcpy(a->data + a->used, bytes, n);
	a->used += n;
}

static void put8(struct aml *a, uint8_t v)
{
	put(a, &v, sizeof v);
}

static void put16(struct aml *a, uint16_t v)
{
	put(a, &v, sizeof v);
}

static void put32(struct aml *a, uint32_t v)
{
	put(a, &v, sizeof v);
}

static void put_name(struct aml *a, const char *name)
{
	put(a, name, strlen(name));
}

/* Leaves room for a package length; its place is the handle. */
static size_t begin(struct aml *a)
{
	size_t at = a->used;

	put32(a, 0);
	return at;
}

/* PkgLength counts itself. Four-byte form: bits 7:6 of the first byte = 3, low nibble first (20.2.4). */
void aml_end(struct aml *a, size_t begun)
{
	size_t length;

	if (a->overflow)
		return;
	length = a->used - begun;
	a->data[begun] = (uint8_t)(0xc0 | (length & 0x0f));
	a->data[begun + 1] = (uint8_t)(length >> 4);
	a->data[begun + 2] = (uint8_t)(length >> 12);
	a->data[begun + 3] = (uint8_t)(length >> 20);
}

size_t aml_begin_scope(struct aml *a, const char *name)
{
	size_t at;

	put8(a, OP_SCOPE);
	at = begin(a);
	put_name(a, name);
	return at;
}

size_t aml_begin_device(struct aml *a, const char *name)
{
	size_t at;

	put8(a, OP_EXTENDED);
	put8(a, OP_EXT_DEVICE);
	at = begin(a);
	put_name(a, name);
	return at;
}

static void begin_name(struct aml *a, const char *name)
{
	put8(a, OP_NAME);
	put_name(a, name);
}

void aml_name_integer(struct aml *a, const char *name, uint32_t value)
{
	begin_name(a, name);
	put8(a, OP_DWORD);
	put32(a, value);
}

void aml_name_string(struct aml *a, const char *name, const char *text)
{
	begin_name(a, name);
	put8(a, OP_STRING);
	put(a, text, strlen(text) + 1);
}

static uint32_t hex_digit(char c)
{
	return (uint32_t)(c >= 'A' ? c - 'A' + 10 : c - '0');
}

/* Three letters of five bits each and four hexadecimal digits, stored big-endian (ACPI 19.6.36). */
void aml_name_eisaid(struct aml *a, const char *name, const char *id)
{
	uint32_t v = ((uint32_t)id[0] - 0x40) << 26 | ((uint32_t)id[1] - 0x40) << 21 | ((uint32_t)id[2] - 0x40) << 16 |
		     hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 | hex_digit(id[5]) << 4 | hex_digit(id[6]);

	aml_name_integer(a, name, __builtin_bswap32(v));
}

void aml_name_package(struct aml *a, const char *name, const uint8_t *values, uint8_t count)
{
	size_t at;

	begin_name(a, name);
	put8(a, OP_PACKAGE);
	at = begin(a);
	put8(a, count);
	for (unsigned i = 0; i < count; i++) {
		put8(a, OP_BYTE);
		put8(a, values[i]);
	}
	aml_end(a, at);
}

size_t aml_begin_resources(struct aml *a)
{
	size_t at;

	begin_name(a, "_CRS");
	put8(a, OP_BUFFER);
	at = begin(a);
	put8(a, OP_DWORD);
	put32(a, 0); /* size in bytes, patched at the end */
	return at;
}

/* I/O port descriptor, 16-bit decode (6.4.2.5). */
void aml_resource_io(struct aml *a, uint16_t port, uint8_t count)
{
	put8(a, 0x47);
	put8(a, 0x01);
	put16(a, port);
	put16(a, port);
	put8(a, 0x01);
	put8(a, count);
}

/* 32-bit fixed memory range, read-write (6.4.3.4). */
void aml_resource_memory(struct aml *a, uint32_t base, uint32_t size)
{
	put8(a, 0x86);
	put16(a, 9);
	put8(a, 0x01);
	put32(a, base);
	put32(a, size);
}

/* Extended interrupt: consumer, active high, not shared (6.4.3.6). */
void aml_resource_interrupt(struct aml *a, uint32_t gsi, bool edge)
{
	put8(a, 0x89);
	put16(a, 6);
	put8(a, edge ? 0x03 : 0x01);
	put8(a, 1);
	put32(a, gsi);
}

void aml_end_resources(struct aml *a, size_t begun)
{
	size_t first = begun + PKG_LENGTH_BYTES + RESOURCES_SIZE_BYTES;
	uint32_t size;

	put8(a, 0x79); /* end tag */
	put8(a, 0);    /* checksum: 0 = not used */
	if (a->overflow)
		return;
	size = (uint32_t)(a->used - first);
	memcpy(a->data + begun + PKG_LENGTH_BYTES + 1, &size, sizeof size);
	aml_end(a, begun);
}
