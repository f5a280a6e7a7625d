/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elffile.c - see elffile.h. The checks go from the outside in: header, program headers, segments, dynamic section, the
 * tables it names, section headers. Each step relies only on what the steps before it have established.
 */
#include "elffile.h"

#include <inttypes.h>
#include <string.h>

/* Newer than some of the C libraries we build with. */
#ifndef DT_RELR
#define DT_RELR 36
#endif

#define refuse(f, e, fmt, ...) error_set(e, -ENOEXEC, "%.80s " fmt, (f)->source __VA_OPT__(, ) __VA_ARGS__)

static bool within(uint64_t offset, uint64_t size, uint64_t limit)
{
	return offset <= limit && size <= limit - offset;
}

static bool power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

struct elf_quote elf_quote(const char *s)
{
	struct elf_quote q = {{0}};

	for (size_t i = 0; i < sizeof(q.text) - 1 && s[i] != '\0'; i++)
		q.text[i] = s[i] >= ' ' && s[i] <= '~' ? s[i] : '?';
	return q;
}

const struct elf_segment *elf_segment_of(const struct elf *f, uint64_t vaddr, uint64_t size)
{
	for (unsigned i = 0; i < f->segment_count; i++) {
		const struct elf_segment *s = &f->segment[i];

		if (vaddr >= s->vaddr && within(vaddr - s->vaddr, size, s->mem_size))
			return s;
	}
	return NULL;
}

const uint8_t *elf_at(const struct elf *f, uint64_t vaddr, uint64_t size)
{
	const struct elf_segment *s = elf_segment_of(f, vaddr, size);

	if (!s || !within(vaddr - s->vaddr, size, s->file_size))
		return NULL;
	return f->bytes + s->file_offset + (vaddr - s->vaddr);
}

const char *elf_string(const struct elf_table *strings, uint32_t offset)
{
	return offset < strings->count ? (const char *)strings->bytes + offset : NULL;
}

/* ---- header ---------------------------------------------------------------------------------------------------- */

static int check_header(const struct elf *f, Elf64_Ehdr *ret, struct error *e)
{
	Elf64_Ehdr h;

	if (f->size < SELFMAG || memcmp(f->bytes, ELFMAG, SELFMAG) != 0)
		return refuse(f, e, "is not an ELF file: a scheduler image is made with `cc -shared`; " ELF_BUILD_HINT);
	if (f->size < sizeof(h))
		return refuse(f, e, "is cut off (%zu bytes, less than an ELF header): copy or build it again", f->size);
	memcpy(&h, f->bytes, sizeof(h));

	if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_machine != EM_X86_64)
		return refuse(f, e, "is not made for x86-64: build it for the machine that the monitor runs on");
	if (h.e_ident[EI_VERSION] != EV_CURRENT || h.e_version != EV_CURRENT)
		return refuse(f, e, "has an unknown ELF version: " ELF_BUILD_HINT);
	if (h.e_ident[EI_OSABI] != ELFOSABI_SYSV && h.e_ident[EI_OSABI] != ELFOSABI_GNU)
		return refuse(f, e, "is made for another system (OS ABI %u): " ELF_BUILD_HINT, h.e_ident[EI_OSABI]);
	if (h.e_type == ET_REL)
		return refuse(f, e, "is an object file (.o), not an image: link it with `cc -shared`; " ELF_BUILD_HINT);
	if (h.e_type != ET_DYN)
		return refuse(f, e, "is not a shared object (ELF type %u): link it with `cc -shared`; " ELF_BUILD_HINT,
			      h.e_type);
	if (h.e_ehsize != sizeof(h) || h.e_phentsize != sizeof(Elf64_Phdr) ||
	    (h.e_shnum != 0 && h.e_shentsize != sizeof(Elf64_Shdr)))
		return refuse(f, e,
			      "has header sizes that are not those of ELF64: the file is damaged, build it again");
	if (h.e_phnum == 0 || h.e_phnum == PN_XNUM ||
	    !within(h.e_phoff, (uint64_t)h.e_phnum * sizeof(Elf64_Phdr), f->size))
		return refuse(f, e,
			      "has its program headers outside the file: it is cut off or damaged, build it again");
	if (h.e_shnum == 0 ? h.e_shoff != 0 : !within(h.e_shoff, (uint64_t)h.e_shnum * sizeof(Elf64_Shdr), f->size))
		return refuse(f, e,
			      "has its section headers outside the file: it is cut off or damaged, build it again");
	*ret = h;
	return 0;
}

/* ---- segments -------------------------------------------------------------------------------------------------- */

static Elf64_Phdr program_header(const struct elf *f, const Elf64_Ehdr *h, unsigned i)
{
	Elf64_Phdr p;

	memcpy(&p, f->bytes + h->e_phoff + i * sizeof(p), sizeof(p));
	return p;
}

static int add_segment(struct elf *f, const Elf64_Phdr *p, size_t slot_size, struct error *e)
{
	if (p->p_memsz == 0 && p->p_filesz == 0)
		return 0;
	if (f->segment_count == ELF_SEGMENTS_MAX)
		return refuse(f, e, "has more than %u segments: " ELF_BUILD_HINT, ELF_SEGMENTS_MAX);
	if (p->p_filesz > p->p_memsz || !within(p->p_offset, p->p_filesz, f->size))
		return refuse(f, e, "has a segment outside the file: it is cut off or damaged, build it again");
	if (!within(p->p_vaddr, p->p_memsz, slot_size))
		return error_set(e, -E2BIG,
				 "%.80s needs addresses up to 0x%" PRIx64
				 " but a slot has %zu KiB: make the image smaller "
				 "(large tables belong into the region), and link it at address 0",
				 f->source, p->p_vaddr + p->p_memsz, slot_size / KIB);
	if (p->p_align > ELF_PAGE || (p->p_align != 0 && !power_of_two(p->p_align)))
		return refuse(f, e,
			      "has a segment aligned to %" PRIu64 " bytes: link it with -Wl,-z,max-page-size=4096",
			      p->p_align);
	if (p->p_flags & ~(uint32_t)(PF_R | PF_W | PF_X))
		return refuse(f, e, "has a segment with unknown flags (0x%x): " ELF_BUILD_HINT, p->p_flags);
	if ((p->p_flags & PF_W) && (p->p_flags & PF_X))
		return refuse(f, e,
			      "has a segment that is writable and executable: link it without -N, -Wl,-omagic or "
			      "sections of that kind");

	/* Access is given by pages, so no two segments may share one. The specification wants them sorted. */
	if (f->segment_count > 0 && p->p_vaddr / ELF_PAGE * ELF_PAGE < f->span)
		return refuse(f, e,
			      "has segments that overlap, share a page or are not sorted: link it with "
			      "-Wl,-z,separate-code; " ELF_BUILD_HINT);

	f->segment[f->segment_count++] = (struct elf_segment){
	    .vaddr = (uint32_t)p->p_vaddr,
	    .mem_size = (uint32_t)p->p_memsz,
	    .file_offset = (uint32_t)p->p_offset,
	    .file_size = (uint32_t)p->p_filesz,
	    .write = p->p_flags & PF_W,
	    .exec = p->p_flags & PF_X,
	};
	f->span = (uint32_t)(p->p_vaddr + p->p_memsz);
	return 0;
}

static int check_segments(struct elf *f, const Elf64_Ehdr *h, size_t slot_size, Elf64_Phdr *ret_dynamic,
			  Elf64_Phdr *ret_relro, struct error *e)
{
	unsigned dynamics = 0, relros = 0;

	for (unsigned i = 0; i < h->e_phnum; i++) {
		Elf64_Phdr p = program_header(f, h, i);
		int r;

		switch (p.p_type) {
		case PT_LOAD:
			r = add_segment(f, &p, slot_size, e);
			if (r < 0)
				return r;
			break;
		case PT_DYNAMIC:
			dynamics++;
			*ret_dynamic = p;
			break;
		case PT_GNU_RELRO:
			relros++;
			*ret_relro = p;
			break;
		case PT_INTERP:
			return refuse(
			    f, e, "is a program (it names an interpreter): link it with `cc -shared`; " ELF_BUILD_HINT);
		case PT_TLS:
			return refuse(f, e, "has thread-local variables: keep all state in the region");
		case PT_GNU_STACK:
			if (p.p_flags & PF_X)
				return refuse(f, e, "asks for an executable stack: link it with -Wl,-z,noexecstack");
			break;
		default: /* notes, unwind tables, properties: for others to read, nothing here acts on them */
			break;
		}
	}
	if (f->segment_count == 0 || dynamics != 1 || relros > 1)
		return refuse(f, e, "has no usable program headers (%u segments, %u dynamic sections): " ELF_BUILD_HINT,
			      f->segment_count, dynamics);
	return 0;
}

/* ---- dynamic section ------------------------------------------------------------------------------------------- */

/* The entries of the dynamic section that matter. `seen` has a bit for each that was there. */
struct dynamic {
	uint64_t symtab, syment, strtab, strsz, hash, gnu_hash;
	uint64_t rela, relasz, relaent, jmprel, pltrelsz, pltrel;
	uint64_t flags, flags_1;
};

/* Where the value of a tag is kept, or NULL. */
static uint64_t *dynamic_field(struct dynamic *d, int64_t tag)
{
	switch (tag) {
	case DT_SYMTAB:
		return &d->symtab;
	case DT_SYMENT:
		return &d->syment;
	case DT_STRTAB:
		return &d->strtab;
	case DT_STRSZ:
		return &d->strsz;
	case DT_HASH:
		return &d->hash;
	case DT_GNU_HASH:
		return &d->gnu_hash;
	case DT_RELA:
		return &d->rela;
	case DT_RELASZ:
		return &d->relasz;
	case DT_RELAENT:
		return &d->relaent;
	case DT_JMPREL:
		return &d->jmprel;
	case DT_PLTRELSZ:
		return &d->pltrelsz;
	case DT_PLTREL:
		return &d->pltrel;
	case DT_FLAGS:
		return &d->flags;
	case DT_FLAGS_1:
		return &d->flags_1;
	default:
		return NULL;
	}
}

/* Refuses what an image may not ask a loader to do. */
static int check_tag(const struct elf *f, const Elf64_Dyn *d, struct error *e)
{
	switch (d->d_tag) {
	case DT_NEEDED:
		return refuse(f, e, "needs a shared library: a scheduler has no C library; link it with -nostdlib");
	case DT_INIT:
	case DT_FINI:
		return refuse(f, e, "has start or end code of a C library: link it with -nostdlib");
	case DT_INIT_ARRAYSZ:
	case DT_FINI_ARRAYSZ:
	case DT_PREINIT_ARRAYSZ:
		if (d->d_un.d_val == 0)
			return 0;
		return refuse(f, e, "has constructors or destructors: prepare your state in the op `attach` instead");
	case DT_TEXTREL:
		return refuse(f, e, "has relocations in its code: compile it with -fPIC");
	case DT_REL:
	case DT_RELR:
		return refuse(f, e,
			      "has relocations of a kind this loader does not know: link it without "
			      "-Wl,-z,pack-relative-relocs");
	default:
		return 0;
	}
}

static int read_dynamic(const struct elf *f, const Elf64_Phdr *p, struct dynamic *ret, struct error *e)
{
	/* Reading stops at DT_NULL, so what stands behind it (linkers leave spare entries) is not looked at. */
	const uint8_t *bytes = elf_at(f, p->p_vaddr, p->p_filesz);
	struct dynamic found = {0};

	if (!bytes)
		return refuse(f, e, "has its dynamic section outside its segments: it is damaged, build it again");
	for (uint64_t n = p->p_filesz / sizeof(Elf64_Dyn), i = 0; i < n; i++) {
		Elf64_Dyn d;

		memcpy(&d, bytes + i * sizeof(d), sizeof(d));
		if (d.d_tag == DT_NULL) {
			*ret = found;
			return 0;
		}
		int r = check_tag(f, &d, e);
		if (r < 0)
			return r;
		uint64_t *field = dynamic_field(&found, d.d_tag);
		if (field && *field != 0)
			return refuse(f, e,
				      "has a dynamic entry twice (tag 0x%" PRIx64 "): it is damaged, build it again",
				      (uint64_t)d.d_tag);
		if (field)
			*field = d.d_un.d_val;
	}
	return refuse(f, e, "has a dynamic section without an end: it is damaged, build it again");
}

/* Number of dynamic symbols, which only the hash tables tell; 0 when they do not make sense. */
static uint32_t count_by_hash(const struct elf *f, uint64_t vaddr)
{
	uint32_t head[2]; /* buckets, chain entries = symbols */
	const uint8_t *p = elf_at(f, vaddr, sizeof(head));

	if (!p)
		return 0;
	memcpy(head, p, sizeof(head));
	if (!elf_at(f, vaddr, sizeof(head) + ((uint64_t)head[0] + head[1]) * sizeof(uint32_t)))
		return 0;
	return head[1];
}

static uint32_t count_by_gnu_hash(const struct elf *f, uint64_t vaddr)
{
	struct {
		uint32_t buckets, first, bloom_words, shift;
	} head;
	const uint8_t *p = elf_at(f, vaddr, sizeof(head));

	if (!p)
		return 0;
	memcpy(&head, p, sizeof(head));
	uint64_t buckets = vaddr + sizeof(head) + (uint64_t)head.bloom_words * sizeof(uint64_t);
	uint64_t chains = buckets + (uint64_t)head.buckets * sizeof(uint32_t);
	p = elf_at(f, buckets, (uint64_t)head.buckets * sizeof(uint32_t));
	if (!p)
		return 0;

	/* The chain that begins last holds the last symbol; its end is marked by an odd value. */
	uint32_t last = 0;
	for (uint32_t i = 0; i < head.buckets; i++) {
		uint32_t b;

		memcpy(&b, p + (size_t)i * sizeof(b), sizeof(b));
		last = MAX(last, b);
	}
	if (last == 0)
		return head.first; /* nothing is exported */
	if (last < head.first)
		return 0;
	for (uint64_t i = last;; i++) {
		uint32_t c;

		p = elf_at(f, chains + (i - head.first) * sizeof(c), sizeof(c));
		if (!p)
			return 0;
		memcpy(&c, p, sizeof(c));
		if (c & 1)
			return i + 1 <= UINT32_MAX ? (uint32_t)(i + 1) : 0;
	}
}

static bool strings_at(const struct elf *f, uint64_t vaddr, uint64_t size, struct elf_table *ret)
{
	const uint8_t *p = elf_at(f, vaddr, size);

	if (!p || size == 0 || p[size - 1] != '\0')
		return false;
	*ret = (struct elf_table){p, (uint32_t)size};
	return true;
}

static bool relocations_at(const struct elf *f, uint64_t vaddr, uint64_t size, struct elf_table *ret)
{
	if (size == 0)
		return true;
	const uint8_t *p = elf_at(f, vaddr, size);

	if (!p || size % sizeof(Elf64_Rela) != 0)
		return false;
	*ret = (struct elf_table){p, (uint32_t)(size / sizeof(Elf64_Rela))};
	return true;
}

static int check_dynamic(struct elf *f, const struct dynamic *d, struct error *e)
{
	if (d->flags & DF_TEXTREL)
		return refuse(f, e, "has relocations in its code: compile it with -fPIC");
	if (d->flags & DF_STATIC_TLS)
		return refuse(f, e, "has thread-local variables: keep all state in the region");
	if (d->flags_1 & DF_1_PIE)
		return refuse(f, e, "is a program (PIE): link it with `cc -shared`; " ELF_BUILD_HINT);

	uint32_t symbols = d->hash ? count_by_hash(f, d->hash) : d->gnu_hash ? count_by_gnu_hash(f, d->gnu_hash) : 0;
	uint64_t bytes = (uint64_t)symbols * sizeof(Elf64_Sym);
	f->dynsym = (struct elf_table){elf_at(f, d->symtab, bytes), symbols};
	if (symbols == 0 || d->syment != sizeof(Elf64_Sym) || !f->dynsym.bytes)
		return refuse(
		    f, e, "has no sound table of dynamic symbols: it is damaged or stripped too far, build it again");
	if (!strings_at(f, d->strtab, d->strsz, &f->dynstr))
		return refuse(f, e, "has no sound table of names: it is damaged, build it again");
	if ((d->relasz && d->relaent != sizeof(Elf64_Rela)) || (d->pltrelsz && d->pltrel != DT_RELA) ||
	    !relocations_at(f, d->rela, d->relasz, &f->rela) || !relocations_at(f, d->jmprel, d->pltrelsz, &f->jmprel))
		return refuse(f, e, "has no sound table of relocations: it is damaged, build it again");
	return 0;
}

/* An image has no data of its own: what is writable is so for relocation only. */
static int check_relro(const struct elf *f, const Elf64_Phdr *relro, bool now, struct error *e)
{
	for (unsigned i = 0; i < f->segment_count; i++) {
		const struct elf_segment *s = &f->segment[i];

		if (!s->write)
			continue;
		if (s->vaddr >= relro->p_vaddr && within(s->vaddr - relro->p_vaddr, s->mem_size, relro->p_memsz))
			continue;
		if (!now)
			return refuse(f, e,
				      "keeps its table of imports writable: link it with -Wl,-z,relro -Wl,-z,now");
		uint64_t from = s->vaddr;
		if (relro->p_vaddr <= from && relro->p_memsz > from - relro->p_vaddr)
			from = relro->p_vaddr + relro->p_memsz;
		return refuse(f, e,
			      "has writable data of its own (.data or .bss, %" PRIu64 " bytes at 0x%" PRIx64
			      "): keep all state in the region, make the rest const",
			      s->vaddr + (uint64_t)s->mem_size - from, from);
	}
	return 0;
}

/* ---- section headers ------------------------------------------------------------------------------------------- */

/* Only for backtraces, but a file that lies here is damaged all the same. */
static int check_sections(struct elf *f, const Elf64_Ehdr *h, struct error *e)
{
	for (unsigned i = 0; i < h->e_shnum; i++) {
		Elf64_Shdr s, strings;

		memcpy(&s, f->bytes + h->e_shoff + i * sizeof(s), sizeof(s));
		if (s.sh_type != SHT_SYMTAB || f->symtab.count > 0)
			continue;
		if (s.sh_link >= h->e_shnum)
			return refuse(f, e, "has a damaged symbol table: build it again, or strip it");
		memcpy(&strings, f->bytes + h->e_shoff + s.sh_link * sizeof(strings), sizeof(strings));
		if (s.sh_entsize != sizeof(Elf64_Sym) || s.sh_size % sizeof(Elf64_Sym) != 0 ||
		    !within(s.sh_offset, s.sh_size, f->size) || strings.sh_type != SHT_STRTAB ||
		    !within(strings.sh_offset, strings.sh_size, f->size) || strings.sh_size == 0 ||
		    f->bytes[strings.sh_offset + strings.sh_size - 1] != '\0')
			return refuse(f, e, "has a damaged symbol table: build it again, or strip it");
		f->symtab = (struct elf_table){f->bytes + s.sh_offset, (uint32_t)(s.sh_size / sizeof(Elf64_Sym))};
		f->strtab = (struct elf_table){f->bytes + strings.sh_offset, (uint32_t)strings.sh_size};
	}
	return 0;
}

int elf_check(const void *bytes, size_t size, size_t slot_size, const char *source, struct elf *ret, struct error *e)
{
	struct elf f = {.bytes = bytes, .size = size, .source = source};
	Elf64_Phdr dynamic_segment = {0}, relro = {0};
	struct dynamic dynamic = {0};
	Elf64_Ehdr h = {0};
	int r;

	/* Everything below counts file and slot offsets in 32 bits. */
	if (size > slot_size)
		return error_set(e, -E2BIG,
				 "%.80s is too large (%zu bytes; a slot has %zu): strip it, make the image smaller",
				 source, size, slot_size);
	assert(slot_size <= UINT32_MAX / 2);

	r = check_header(&f, &h, e);
	if (r < 0)
		return r;
	r = check_segments(&f, &h, slot_size, &dynamic_segment, &relro, e);
	if (r < 0)
		return r;
	r = read_dynamic(&f, &dynamic_segment, &dynamic, e);
	if (r < 0)
		return r;
	r = check_dynamic(&f, &dynamic, e);
	if (r < 0)
		return r;
	r = check_relro(&f, &relro, (dynamic.flags & DF_BIND_NOW) || (dynamic.flags_1 & DF_1_NOW), e);
	if (r < 0)
		return r;
	r = check_sections(&f, &h, e);
	if (r < 0)
		return r;
	*ret = f;
	return 0;
}
