/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf_file.h - reads an x86-64 ELF file in memory without believing it: every offset and size is checked before use.
 */
#ifndef MACHINE_ELF_FILE_H
#define MACHINE_ELF_FILE_H

#include <elf.h>

#include "base/base.h"
#include "machine/gmem.h"

#define ELF_SEGMENTS_MAX 64

struct elf_file {
	const uint8_t *data;
	size_t size;
	Elf64_Ehdr header;
	Elf64_Phdr segment[ELF_SEGMENTS_MAX];
};

/* True when the data begins with the ELF magic. */
bool elf_file_is(const void *data, size_t size);

/* Checks header and program headers. The data is borrowed. Errors: -ENOEXEC. */
int elf_file_open(struct elf_file *f, const void *data, size_t size, struct error *e);

/* Finds a note by owner and type. Returns 1 and its descriptor, 0 when there is none, -ENOEXEC when notes are broken.
 */
int elf_file_note(const struct elf_file *f, const char *owner, uint32_t type, const void **ret_desc, size_t *ret_size);

/* Copies all PT_LOAD segments to their physical addresses. ret_first and ret_end: the range they fill. Errors:
 * -ENOEXEC, -E2BIG when one does not lie in guest memory at or above min_gpa. */
int elf_file_load(const struct elf_file *f, const struct gmem *g, uint64_t min_gpa, uint64_t *ret_first,
		  uint64_t *ret_end, struct error *e);

#endif
