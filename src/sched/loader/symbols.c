/* SPDX-License-Identifier: Apache-2.0 */
/* symbols.c - see symbols.h. */
#include "symbols.h"

#include <string.h>

struct entry {
	uint32_t start, end; /* offsets in the slot */
	uint32_t name;	     /* in names */
};

struct symbols {
	uint32_t count;
	struct entry *entry; /* ascending by start */
	char *names;
};

/* Does this symbol name code of the image? */
static bool usable(const struct elf *f, const struct elf_table *strings, const Elf64_Sym *s)
{
	if (ELF64_ST_TYPE(s->st_info) != STT_FUNC || s->st_shndx == SHN_UNDEF || !elf_string(strings, s->st_name))
		return false;
	const struct elf_segment *segment = elf_segment_of(f, s->st_value, MAX(s->st_size, 1));
	return segment && segment->exec;
}

static int compare(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	/* aliases: the longer one last, where the search finds it first */
	return (x->end > y->end) - (x->end < y->end);
}

int symbols_new(const struct elf *f, struct symbols **ret)
{
	bool full = f->symtab.count > 0;
	const struct elf_table *table = full ? &f->symtab : &f->dynsym, *strings = full ? &f->strtab : &f->dynstr;

	struct symbols *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->entry = calloc(table->count, sizeof(*s->entry));
	s->names = malloc(strings->count);
	if (!s->entry || !s->names) {
		symbols_free(s);
		return -ENOMEM;
	}

	/* Names go into reports: nothing but printable characters. */
	for (uint32_t i = 0; i < strings->count; i++) {
		char c = (char)strings->bytes[i];
		s->names[i] = c == '\0' || (c > ' ' && c <= '~') ? c : '?';
	}
	for (uint32_t i = 0; i < table->count; i++) {
		Elf64_Sym sym = elf_symbol(table, i);

		if (usable(f, strings, &sym))
			s->entry[s->count++] = (struct entry){
			    .start = (uint32_t)sym.st_value,
			    .end = (uint32_t)(sym.st_value + sym.st_size),
			    .name = sym.st_name,
			};
	}
	qsort(s->entry, s->count, sizeof(*s->entry), compare);

	/* Functions written in assembler often have no size: they end where the next one begins. */
	for (uint32_t i = 0; i < s->count; i++)
		if (s->entry[i].end == s->entry[i].start)
			s->entry[i].end = i + 1 < s->count ? s->entry[i + 1].start : f->span;
	*ret = s;
	return 0;
}

struct symbols *symbols_free(struct symbols *s)
{
	if (!s)
		return NULL;
	free(s->entry);
	free(s->names);
	free(s);
	return NULL;
}

const char *symbols_find(const struct symbols *s, uint32_t offset, uint32_t *ret_inside)
{
	uint32_t low = 0, high = s->count;

	while (low < high) { /* entries below low begin at or before offset, those from high on behind it */
		uint32_t middle = low + (high - low) / 2;

		if (s->entry[middle].start <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || offset >= s->entry[low - 1].end)
		return NULL;
	*ret_inside = offset - s->entry[low - 1].start;
	return s->names + s->entry[low - 1].name;
}

const char *symbols_at(const struct symbols *s, uint32_t i, uint32_t *ret_start, uint32_t *ret_end)
{
	if (i >= s->count)
		return NULL;
	*ret_start = s->entry[i].start;
	*ret_end = s->entry[i].end;
	return s->names + s->entry[i].name;
}
