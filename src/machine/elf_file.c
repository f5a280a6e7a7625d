/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/elf_file.h"

#include <string.h>

bool elf_file_is(const void *data, size_t size)
{
	return size >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0;
}

static bool in_file(const struct elf_file *f, uint64_t offset, uint64_t size)
{
	return offset <= f->size && size <= f->size - offset;
}

int elf_file_open(struct elf_file *f, const void *data, size_t size, struct error *e)
{
	Elf64_Ehdr *h = &f->header;

	f->data = data;
	f->size = size;
	if (size < sizeof *h || !elf_file_is(data, size))
		return error_set(e, -ENOEXEC, "no ELF file, or cut off in its header");
	memcpy(h, data, sizeof *h);
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != EM_X86_64)
		return error_set(e, -ENOEXEC, "an ELF file, but not for x86-64");
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 || h->e_phnum > ELF_SEGMENTS_MAX ||
	    !in_file(f, h->e_phoff, (uint64_t)h->e_phnum * sizeof(Elf64_Phdr)))
		return error_set(e, -ENOEXEC, "its ELF program headers are missing, too many or cut off");
	memcpy(f->segment, f->data + h->e_phoff, h->e_phnum * sizeof(Elf64_Phdr));
	for (unsigned i = 0; i < h->e_phnum; i++) {
		const Elf64_Phdr *p = &f->segment[i];

		if (p->p_type != PT_LOAD && p->p_type != PT_NOTE)
			continue;
		if (!in_file(f, p->p_offset, p->p_filesz))
			return error_set(e, -ENOEXEC, "cut off: ELF segment %u ends beyond the end of the file", i);
		if (p->p_type == PT_LOAD && p->p_filesz > p->p_memsz)
			return error_set(e, -ENOEXEC, "ELF segment %u is larger in the file than in memory", i);
	}
	return 0;
}

/* Looks through one note segment. Entries are padded to 4 bytes. */
static int search_notes(const uint8_t *notes, uint64_t size, const char *owner, uint32_t type, const void **ret_desc,
			size_t *ret_size)
{
	size_t owner_size = strlen(owner) + 1;
	uint64_t at = 0;

	while (size - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		uint64_t name, desc, next;

		memcpy(&n, notes + at, sizeof n);
		name = at + sizeof n;
		desc = name + (((uint64_t)n.n_namesz + 3) & ~UINT64_C(3));
		next = desc + (((uint64_t)n.n_descsz + 3) & ~UINT64_C(3));
		if (desc + n.n_descsz > size)
			return -ENOEXEC;
		if (n.n_type == type && n.n_namesz == owner_size && memcmp(notes + name, owner, owner_size) == 0) {
			*ret_desc = notes + desc;
			*ret_size = n.n_descsz;
			return 1;
		}
		if (next > size)
			break; /* the last one need not be padded */
		at = next;
	}
	return 0;
}

int elf_file_note(const struct elf_file *f, const char *owner, uint32_t type, const void **ret_desc, size_t *ret_size)
{
	for (unsigned i = 0; i < f->header.e_phnum; i++) {
		const Elf64_Phdr *p = &f->segment[i];
		int r;

		if (p->p_type != PT_NOTE)
			continue;
		r = search_notes(f->data + p->p_offset, p->p_filesz, owner, type, ret_desc, ret_size);
		if (r != 0)
			return r;
	}
	return 0;
}

int elf_file_load(const struct elf_file *f, const struct gmem *g, uint64_t min_gpa, uint64_t *ret_first,
		  uint64_t *ret_end, struct error *e)
{
	uint64_t first = UINT64_MAX, end = 0;

	for (unsigned i = 0; i < f->header.e_phnum; i++) {
		const Elf64_Phdr *p = &f->segment[i];
		uint8_t *to;

		if (p->p_type != PT_LOAD || p->p_memsz == 0)
			continue;
		to = p->p_paddr >= min_gpa ? gmem_ptr(g, p->p_paddr, p->p_memsz) : NULL;
		if (!to)
			return error_set(e, -E2BIG,
					 "ELF segment %u (%llu KiB at %#llx) does not lie in the guest's %llu MiB of "
					 "memory: give the VM more",
					 i, (unsigned long long)(p->p_memsz / KIB), (unsigned long long)p->p_paddr,
					 (unsigned long long)(g->size / MIB));
		memcpy(to, f->data + p->p_offset, p->p_filesz);
		memset(to + p->p_filesz, 0, p->p_memsz - p->p_filesz);
		first = MIN(first, p->p_paddr);
		end = MAX(end, p->p_paddr + p->p_memsz);
	}
	if (end == 0)
		return error_set(e, -ENOEXEC, "the ELF file has nothing to load");
	*ret_first = first;
	*ret_end = end;
	return 0;
}
