/* SPDX-License-Identifier: Apache-2.0 */
/* link.c - see link.h. */
#include "link.h"

#include <inttypes.h>
#include <string.h>

#define refuse(f, e, fmt, ...) error_set(e, -ENOEXEC, "%.80s " fmt, (f)->source __VA_OPT__(, ) __VA_ARGS__)

static const struct image_import *find_import(const struct image_imports *imports, const char *name)
{
	for (size_t i = 0; i < imports->count; i++)
		if (strcmp(imports->list[i].name, name) == 0)
			return &imports->list[i];
	return NULL;
}

static int check_symbol(const struct elf *f, uint32_t i, const struct image_imports *imports, struct error *e)
{
	Elf64_Sym s = elf_symbol(&f->dynsym, i);
	const char *name = elf_string(&f->dynstr, s.st_name);

	if (!name)
		return refuse(f, e, "has a symbol without a sound name (number %u): it is damaged, build it again", i);
	if (s.st_shndx == SHN_UNDEF) {
		if (find_import(imports, name))
			return 0;
		return refuse(f, e,
			      "needs \"%s\", which the monitor does not offer: a scheduler has no C library, only the "
			      "functions of baton/scheduler.h",
			      elf_quote(name).text);
	}

	unsigned type = ELF64_ST_TYPE(s.st_info);
	if (type == STT_GNU_IFUNC || type == STT_TLS || type == STT_COMMON || s.st_shndx == SHN_ABS ||
	    s.st_shndx == SHN_COMMON)
		return refuse(f, e,
			      "has the symbol \"%s\" of a kind this loader does not know (type %u): " ELF_BUILD_HINT,
			      elf_quote(name).text, type);
	if (s.st_value > f->span || s.st_size > f->span - s.st_value)
		return refuse(f, e, "has the symbol \"%s\" outside its segments: it is damaged, build it again",
			      elf_quote(name).text);
	return 0;
}

/* What a relocation writes: an address inside the image, or of an import. */
struct patch {
	uint64_t at;	/* 8 bytes in a writable segment */
	uint64_t value; /* offset from the base, or an address when absolute */
	bool absolute;
};

static int resolve(const struct elf *f, const Elf64_Rela *r, const struct image_imports *imports, struct patch *ret,
		   struct error *e)
{
	const struct elf_segment *target = elf_segment_of(f, r->r_offset, sizeof(uint64_t));
	uint32_t type = ELF64_R_TYPE(r->r_info), index = (uint32_t)ELF64_R_SYM(r->r_info);
	struct patch patch = {.at = r->r_offset, .value = (uint64_t)r->r_addend};

	if (!target || !target->write)
		return refuse(f, e,
			      "has a relocation outside its relocatable data (at 0x%" PRIx64 "): compile it with -fPIC",
			      r->r_offset);

	switch (type) {
	case R_X86_64_RELATIVE:
		break;
	case R_X86_64_64:
	case R_X86_64_GLOB_DAT:
	case R_X86_64_JUMP_SLOT: {
		if (index == 0 || index >= f->dynsym.count)
			return refuse(
			    f, e, "has a relocation with an unknown symbol (%u): it is damaged, build it again", index);
		if (type != R_X86_64_64)
			patch.value = 0; /* the addend is not part of these two */

		Elf64_Sym s = elf_symbol(&f->dynsym, index);
		if (s.st_shndx == SHN_UNDEF) {
			/* check_symbol has found the name and the import before */
			const struct image_import *import = find_import(imports, elf_string(&f->dynstr, s.st_name));

			if (patch.value != 0)
				return refuse(f, e,
					      "has a relocation beside an import (at 0x%" PRIx64 "): " ELF_BUILD_HINT,
					      r->r_offset);
			patch.absolute = true;
			patch.value = import->address;
		} else {
			patch.value += s.st_value;
		}
		break;
	}
	default:
		return refuse(f, e,
			      "has a relocation of a kind this loader does not know (type %u at 0x%" PRIx64
			      "): compile it with -fPIC and link it without libraries",
			      type, r->r_offset);
	}

	/* One past the end is a legal pointer. */
	if (!patch.absolute && patch.value > f->span)
		return refuse(f, e,
			      "has a relocation that points outside the image (at 0x%" PRIx64
			      "): it is damaged, build it again",
			      r->r_offset);
	*ret = patch;
	return 0;
}

int link_check(const struct elf *f, const struct image_imports *imports, struct error *e)
{
	const struct elf_table *tables[] = {&f->rela, &f->jmprel};
	struct patch patch;

	for (uint32_t i = 1; i < f->dynsym.count; i++) { /* symbol 0 is none */
		int r = check_symbol(f, i, imports, e);
		if (r < 0)
			return r;
	}
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
		for (uint32_t i = 0; i < tables[t]->count; i++) {
			Elf64_Rela rela = elf_relocation(tables[t], i);
			int r = resolve(f, &rela, imports, &patch, e);
			if (r < 0)
				return r;
		}
	return 0;
}

void link_apply(const struct elf *f, const struct image_imports *imports, uint8_t *base)
{
	const struct elf_table *tables[] = {&f->rela, &f->jmprel};

	for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
		for (uint32_t i = 0; i < tables[t]->count; i++) {
			Elf64_Rela rela = elf_relocation(tables[t], i);
			struct patch patch;
			int r = resolve(f, &rela, imports, &patch, NULL);

			assert(r == 0); /* the same walk over the same bytes as in link_check */
			if (r < 0)
				continue;
			uint64_t value = patch.absolute ? patch.value : (uintptr_t)base + patch.value;
			memcpy(base + patch.at, &value, sizeof(value));
		}
}

bool link_find(const struct elf *f, const char *name, Elf64_Sym *ret)
{
	for (uint32_t i = 1; i < f->dynsym.count; i++) {
		Elf64_Sym s = elf_symbol(&f->dynsym, i);
		const char *n = elf_string(&f->dynstr, s.st_name);
		unsigned bind = ELF64_ST_BIND(s.st_info);

		if (s.st_shndx == SHN_UNDEF || (bind != STB_GLOBAL && bind != STB_WEAK) || !n || strcmp(n, name) != 0)
			continue;
		*ret = s;
		return true;
	}
	return false;
}
