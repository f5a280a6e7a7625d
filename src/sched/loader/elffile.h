/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elffile.h - reads the ELF file of a scheduler image and believes nothing in it.
 *
 * elf_check() looks at the whole structure that the loader will use (header, segments, dynamic section, tables of
 * symbols and relocations, section headers) and refuses what is damaged or what an image may not have. What comes out,
 * struct elf, holds only numbers that were checked against the file and the slot; the later steps (link.c, symbols.c)
 * index with them without looking at the file's own words again. Nothing is mapped or allocated here.
 *
 * The bytes must stay unchanged while a struct elf that points to them is in use. Pure functions; any thread.
 */
#ifndef SCHED_LOADER_ELFFILE_H
#define SCHED_LOADER_ELFFILE_H

#include <elf.h>

#include "base/base.h"

#define ELF_PAGE	 4096u
#define ELF_SEGMENTS_MAX 16

/* Names the place in every refusal that says "build it like this". */
#define ELF_BUILD_HINT "build it as docs/write-a-scheduler.md shows"

/* One PT_LOAD. Offsets are below ARENA_SLOT_SIZE, so 32 bits hold them. */
struct elf_segment {
	uint32_t vaddr;	   /* where in the slot */
	uint32_t mem_size; /* > 0 */
	uint32_t file_offset;
	uint32_t file_size; /* the rest is zero */
	bool write;	    /* until relocation is done: it lies wholly within PT_GNU_RELRO */
	bool exec;
};

/* A table inside the file. */
struct elf_table {
	const uint8_t *bytes;
	uint32_t count; /* entries; of the string table: bytes */
};

struct elf {
	const uint8_t *bytes;
	size_t size;
	const char *source; /* for messages */

	struct elf_segment segment[ELF_SEGMENTS_MAX]; /* ascending, no two share a page */
	unsigned segment_count;
	uint32_t span; /* end of the last segment */

	struct elf_table dynsym; /* Elf64_Sym */
	struct elf_table dynstr; /* ends with a NUL */
	struct elf_table rela;	 /* Elf64_Rela */
	struct elf_table jmprel; /* Elf64_Rela */

	struct elf_table symtab; /* of the section headers, for backtraces; count 0 when stripped */
	struct elf_table strtab; /* ends with a NUL when symtab is there */
};

/* -ENOEXEC, -E2BIG (does not fit slot_size); e says why in one sentence. */
int elf_check(const void *bytes, size_t size, size_t slot_size, const char *source, struct elf *ret, struct error *e);

/* The segment that holds [vaddr, vaddr + size) wholly, or NULL. */
const struct elf_segment *elf_segment_of(const struct elf *f, uint64_t vaddr, uint64_t size);

/* The file's bytes behind [vaddr, vaddr + size), or NULL when they are not wholly in one segment's file part. */
const uint8_t *elf_at(const struct elf *f, uint64_t vaddr, uint64_t size);

/* Name in a string table, or NULL when the offset lies outside. */
const char *elf_string(const struct elf_table *strings, uint32_t offset);

static inline Elf64_Sym elf_symbol(const struct elf_table *symbols, uint32_t i)
{
	Elf64_Sym s;

	__builtin_memcpy(&s, symbols->bytes + (size_t)i * sizeof(s), sizeof(s));
	return s;
}

static inline Elf64_Rela elf_relocation(const struct elf_table *relocations, uint32_t i)
{
	Elf64_Rela r;

	__builtin_memcpy(&r, relocations->bytes + (size_t)i * sizeof(r), sizeof(r));
	return r;
}

/* Text of a file for a message: bytes that are not printable become '?', the rest is cut to the buffer. */
#define ELF_QUOTE_MAX 48
struct elf_quote {
	char text[ELF_QUOTE_MAX];
};
struct elf_quote elf_quote(const char *s);

#endif
