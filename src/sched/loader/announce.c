/* SPDX-License-Identifier: Apache-2.0 */
/* announce.c - see announce.h. The names that gdb looks for, and their types, are those of its manual ("JIT Interface"). */
#include "announce.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/lock.h"
#include "baton/scheduler.h"

/* ---- what gdb knows by name ---- */

enum { JIT_NOTHING, JIT_REGISTER, JIT_UNREGISTER };

struct jit_code_entry {
	struct jit_code_entry *next, *prev;
	const char *file;
	uint64_t size;
};

struct jit_descriptor {
	uint32_t version, action;
	struct jit_code_entry *relevant, *first;
};

/* By its name. */
extern struct jit_descriptor __jit_debug_descriptor;
struct jit_descriptor __jit_debug_descriptor = {.version = 1};

void __jit_debug_register_code(void);
__attribute__((noinline)) void __jit_debug_register_code(void)
{
	__asm__ volatile("" ::: "memory"); /* so that no compiler takes the call for nothing */
}

/* ---- ours ---- */

struct announcement {
	struct jit_code_entry entry; /* first: the list is gdb's */
	char name[BATON_NAME_MAX];
	uintptr_t base;
	const struct symbols *symbols;
};

static struct {
	struct lock lock; /* guards the list of the descriptor, too */
	bool perf_map;
} announced = {.lock = {.mutex = PTHREAD_MUTEX_INITIALIZER}};

/* ---- an ELF file of nothing but symbols ---- */

enum { SECTION_NULL, SECTION_TEXT, SECTION_SYMTAB, SECTION_STRTAB, SECTIONS };

/* Offsets in the string table, which begins with these. */
static const char section_names[] = "\0.text\0.symtab\0.strtab";
enum { NAME_TEXT = 1, NAME_SYMTAB = 7, NAME_STRTAB = 15 };

struct plan {
	uint32_t functions;
	size_t names;		     /* bytes of the string table */
	size_t symtab, strtab, size; /* offsets */
};

static struct plan plan_file(const struct symbols *symbols)
{
	struct plan p = {.names = sizeof section_names};
	uint32_t start, end;
	const char *name;

	for (; (name = symbols_at(symbols, p.functions, &start, &end)); p.functions++)
		p.names += strlen(name) + 1;
	p.symtab = sizeof(Elf64_Ehdr) + SECTIONS * sizeof(Elf64_Shdr);
	p.strtab = p.symtab + (p.functions + 1) * sizeof(Elf64_Sym);
	p.size = p.strtab + p.names;
	return p;
}

static void write_headers(char *file, const struct plan *p, uintptr_t base, size_t size)
{
	const Elf64_Ehdr header = {
	    .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	    .e_type = ET_EXEC,
	    .e_machine = EM_X86_64,
	    .e_version = EV_CURRENT,
	    .e_shoff = sizeof header,
	    .e_ehsize = sizeof header,
	    .e_shentsize = sizeof(Elf64_Shdr),
	    .e_shnum = SECTIONS,
	    .e_shstrndx = SECTION_STRTAB,
	};
	const Elf64_Shdr sections[SECTIONS] = {
	    [SECTION_TEXT] = {.sh_name = NAME_TEXT,
			      .sh_type = SHT_NOBITS,
			      .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
			      .sh_addr = base,
			      .sh_size = size},
	    [SECTION_SYMTAB] = {.sh_name = NAME_SYMTAB,
				.sh_type = SHT_SYMTAB,
				.sh_offset = p->symtab,
				.sh_size = p->strtab - p->symtab,
				.sh_link = SECTION_STRTAB,
				.sh_info = p->functions + 1,
				.sh_entsize = sizeof(Elf64_Sym)},
	    [SECTION_STRTAB] = {.sh_name = NAME_STRTAB,
				.sh_type = SHT_STRTAB,
				.sh_offset = p->strtab,
				.sh_size = p->names},
	};

	memcpy(file, &header, sizeof header);
	memcpy(file + sizeof header, sections, sizeof sections);
}

static void write_symbols(char *file, const struct plan *p, uintptr_t base, const struct symbols *symbols)
{
	size_t names = sizeof section_names;
	uint32_t start, end;

	memcpy(file + p->strtab, section_names, sizeof section_names);
	for (uint32_t i = 0; i < p->functions; i++) {
		const char *name = symbols_at(symbols, i, &start, &end);
		const Elf64_Sym symbol = {
		    .st_name = (Elf64_Word)names,
		    .st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC),
		    .st_shndx = SECTION_TEXT,
		    .st_value = base + start,
		    .st_size = end - start,
		};

		memcpy(file + p->symtab + (i + 1) * sizeof symbol, &symbol, sizeof symbol);
		memcpy(file + p->strtab + names, name, strlen(name) + 1);
		names += strlen(name) + 1;
	}
}

/* ---- perf ---- */

static int write_perf_map(void) REQUIRES(announced.lock)
{
	char path[64];
	struct stat st;
	FILE *out;
	int fd, r = 0;

	/* In a directory where everybody may put links: only a file of ours is written to. */
	snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1 ||
	    ftruncate(fd, 0) < 0) {
		close(fd);
		return -EPERM;
	}
	out = fdopen(fd, "w");
	if (!out) {
		close(fd);
		return -ENOMEM;
	}
	for (const struct jit_code_entry *e = __jit_debug_descriptor.first; e; e = e->next) {
		const struct announcement *a = (const struct announcement *)(const void *)e;
		uint32_t start, end;
		const char *name;

		for (uint32_t i = 0; (name = symbols_at(a->symbols, i, &start, &end)); i++)
			fprintf(out, "%" PRIxPTR " %" PRIx32 " %s.baton:%s\n", a->base + start, end - start, a->name,
				name);
	}
	if (fclose(out) != 0)
		r = -EIO;
	return r;
}

static void tell(uint32_t action, struct jit_code_entry *entry) REQUIRES(announced.lock)
{
	__jit_debug_descriptor.relevant = entry;
	__jit_debug_descriptor.action = action;
	__jit_debug_register_code();
	__jit_debug_descriptor.relevant = NULL;
	__jit_debug_descriptor.action = JIT_NOTHING;
	if (announced.perf_map)
		(void)write_perf_map();
}

/* ---- the interface ---- */

int announce_add(const char *name, const void *base, size_t size, const struct symbols *symbols,
		 struct announcement **ret)
{
	struct plan p = plan_file(symbols);
	struct announcement *a = calloc(1, sizeof *a + p.size); /* the file lies behind it */
	char *file = (char *)(a + 1);

	if (!a)
		return -ENOMEM;
	snprintf(a->name, sizeof a->name, "%s", name);
	a->base = (uintptr_t)base;
	a->symbols = symbols;
	a->entry.file = file;
	a->entry.size = p.size;
	write_headers(file, &p, a->base, size);
	write_symbols(file, &p, a->base, symbols);

	lock_take(&announced.lock);
	a->entry.next = __jit_debug_descriptor.first;
	if (a->entry.next)
		a->entry.next->prev = &a->entry;
	__jit_debug_descriptor.first = &a->entry;
	tell(JIT_REGISTER, &a->entry);
	lock_drop(&announced.lock);
	*ret = a;
	return 0;
}

struct announcement *announce_remove(struct announcement *a)
{
	if (!a)
		return NULL;
	lock_take(&announced.lock);
	if (a->entry.prev)
		a->entry.prev->next = a->entry.next;
	else
		__jit_debug_descriptor.first = a->entry.next;
	if (a->entry.next)
		a->entry.next->prev = a->entry.prev;
	tell(JIT_UNREGISTER, &a->entry);
	lock_drop(&announced.lock);
	free(a);
	return NULL;
}

int announce_perf_map(struct error *e)
{
	int r;

	lock_take(&announced.lock);
	r = write_perf_map();
	announced.perf_map = r == 0;
	lock_drop(&announced.lock);
	return r < 0 ? error_set(e, r, "cannot write /tmp/perf-%d.map for perf: %s", (int)getpid(), strerror(-r)) : 0;
}
