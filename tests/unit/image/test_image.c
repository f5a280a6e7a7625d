/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_image.c - the image loader: sound images of every compiler and linker load and run; everything else is refused
 * with a sentence and leaves the arena as it was. argv[1] is the directory with the fixtures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sched/loader/announce.h"
#include "sched/loader/arena.h"
#include "sched/loader/elffile.h"
#include "sched/loader/image.h"

#define SLOTS 2

/* What the images called, as their monitor sees it. */
static struct {
	uint64_t alarm;
	uint32_t kick;
	unsigned traces;
} called;

static void fake_alarm(uint64_t t)
{
	called.alarm = t;
}

static void fake_kick(uint32_t pcpu)
{
	called.kick = pcpu;
}

static void fake_hold(uint32_t v, uint64_t t)
{
}

static void fake_trace(uint32_t code, uint64_t a, uint64_t b)
{
	called.traces++;
}

static struct image_import imports[8];
static size_t import_count;
static const char *fixture_dir;

static void make_imports(void)
{
	const struct image_import list[] = {
	    {"baton_alarm", (uintptr_t)fake_alarm}, {"baton_kick", (uintptr_t)fake_kick},
	    {"baton_hold", (uintptr_t)fake_hold},   {"baton_trace", (uintptr_t)fake_trace},
	    {"memset", (uintptr_t)memset},	    {"memcpy", (uintptr_t)memcpy},
	};

	memcpy(imports, list, sizeof(list));
	import_count = ARRAY_SIZE(list);
}

/* ---- helpers --------------------------------------------------------------------------------------------------- */

struct file {
	uint8_t *bytes;
	size_t size;
};

static void free_file(struct file *f)
{
	free(f->bytes);
}
#define _cleanup_file_ _cleanup_(free_file)

static void fixture_path(const char *name, char *path, size_t size)
{
	assert_true((size_t)snprintf(path, size, "%s/%s.baton", fixture_dir, name) < size);
}

static struct file read_fixture(const char *name)
{
	struct file f = {.bytes = malloc(8 * MIB)};
	char path[512];

	assert_non_null(f.bytes);
	fixture_path(name, path, sizeof(path));
	FILE *in = fopen(path, "rb");
	if (!in)
		fail_msg("no fixture %s", path);
	f.size = fread(f.bytes, 1, 8 * MIB, in);
	fclose(in);
	/* Exactly as large as the file, so that a sanitizer sees the first byte read beyond it. */
	f.bytes = realloc(f.bytes, f.size);
	assert_non_null(f.bytes);
	return f;
}

static struct arena *new_arena(void)
{
	struct arena *a = NULL;

	assert_int_equal(arena_new(SLOTS, &a, NULL), 0);
	return a;
}

static int load(struct arena *a, const struct file *f, struct image **ret, struct error *e)
{
	return image_load(a, f->bytes, f->size, "test.baton", imports, import_count, ret, e);
}

/* A refusal has a sentence with a next step, touches no output and takes no slot. */
static void assert_refused(struct arena *a, const struct file *f, int code, const char *text)
{
	struct image *untouched = (struct image *)(uintptr_t)1, *image = untouched;
	struct error e = {{0}}, check = {{0}};
	int r = load(a, f, &image, &e);

	if (r >= 0)
		fail_msg("loaded, but \"%s\" was expected", text);
	if (r != code || !strstr(e.text, text))
		fail_msg("refused with %d \"%s\", but %d \"%s\" was expected", r, e.text, code, text);
	assert_ptr_equal(image, untouched);
	assert_int_equal(arena_slots_free(a), SLOTS);
	assert_int_equal(image_check(f->bytes, f->size, imports, import_count, &check), code);
	assert_non_null(strchr(e.text, ':'));
}

static void assert_fixture_refused(const char *name, int code, const char *text)
{
	_cleanup_file_ struct file f = read_fixture(name);
	struct arena *a = new_arena();

	assert_refused(a, &f, code, text);
	arena_free(a);
}

/* The region that good.c's ops look at. */
struct region {
	struct baton_region head;
	int64_t params[2];
	uint8_t pool_state[1024];
};

static void init_region(struct region *r)
{
	memset(r, 0xa5, sizeof(*r));
	r->head = (struct baton_region){.abi = BATON_SCHEDULER_ABI,
					.size = sizeof(*r),
					.params = offsetof(struct region, params),
					.pool_state = offsetof(struct region, pool_state)};
	r->params[0] = 5000;
	r->params[1] = 256;
}

/* Calls of every kind through the table: relocations, imports and the data of the image are in order. */
static void assert_works(const struct image *image)
{
	const struct baton_scheduler *s = image_scheduler(image);
	struct region r;
	char text[16] = "";

	init_region(&r);
	assert_int_equal(s->attach(&r.head, 41), 0);
	assert_int_equal(r.pool_state[8], 0);
	assert_int_equal(r.pool_state[8 + 511], 0);
	s->tick(&r.head, 0);
	assert_int_equal(called.kick, 42 & 1);
	struct baton_choice c = s->choose(&r.head, 7, 1000);
	assert_int_equal(c.vcpu, BATON_NONE);
	assert_int_equal(c.slice_ns, 5000000);
	assert_int_equal(called.alarm, 1007);
	assert_int_equal(s->dump(&r.head, text, sizeof(text), 3), 3);
	assert_string_equal(text, "odd");
}

/* Access of the addresses from `base` on, as the kernel says: "r-x" for example; "" when unmapped. */
static void access_of(const void *address, char ret[5])
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long from, to;
	char line[512], mode[8];

	assert_non_null(maps);
	ret[0] = '\0';
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && (uintptr_t)address >= from &&
		    (uintptr_t)address < to)
			memcpy(ret, mode, 4), ret[4] = '\0';
	fclose(maps);
}

static void assert_access(const void *address, const char *mode)
{
	char found[5];

	access_of(address, found);
	assert_string_equal(found, mode);
}

/* ---- sound images ---------------------------------------------------------------------------------------------- */

static void assert_good_loads(const char *name)
{
	_cleanup_file_ struct file f = read_fixture(name);
	struct arena *a = new_arena();
	struct image *image = NULL;
	struct error e = {{0}};

	if (load(a, &f, &image, &e) < 0)
		fail_msg("%s: %s", name, e.text);
	assert_string_equal(image_name(image), "good");
	assert_string_equal(image_version(image), "1.2-test");
	assert_string_equal(image_source(image), "test.baton");
	assert_int_equal(image_size(image), f.size);
	assert_int_equal(image_scheduler(image)->parameter_count, 2);
	assert_string_equal(image_scheduler(image)->parameters[1].name, "weight");
	assert_int_equal(arena_slots_free(a), SLOTS - 1);
	assert_works(image);
	image_unref(image);
	assert_int_equal(arena_slots_free(a), SLOTS);
	arena_free(a);
}

static void test_images_of_every_compiler_and_linker_load_and_run(void **state)
{
	static const char *const names[] = {"good-gcc-bfd", "good-gcc-lld", "good-clang-bfd", "good-clang-lld"};
	unsigned n = 0;
	char path[512];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		fixture_path(names[i], path, sizeof(path));
		if (access(path, R_OK) < 0)
			continue; /* this compiler or linker is not installed */
		assert_good_loads(names[i]);
		n++;
	}
	assert_true(n > 0);
}

static void test_stripped_image_and_old_hash_table_load(void **state)
{
	assert_good_loads("stripped");
	assert_good_loads("sysv");
}

static void assert_fixture_loads(const char *name)
{
	struct arena *a = new_arena();
	struct image *image = NULL;
	struct error e = {{0}};
	char path[512];

	fixture_path(name, path, sizeof(path));
	if (image_load_file(a, path, imports, import_count, &image, &e) < 0)
		fail_msg("%s: %s", name, e.text);
	struct baton_choice c = image_scheduler(image)->choose(NULL, 0, 1000);
	assert_int_equal(c.vcpu, BATON_NONE);
	image_unref(image);
	arena_free(a);
}

static void test_smallest_scheduler_loads_also_with_the_shortest_command(void **state)
{
	assert_fixture_loads("smallest");
	assert_fixture_loads("short-command");
}

static void test_compilers_own_helpers_are_linked_in(void **state)
{
	assert_fixture_loads("divides");
}

static void test_digest_is_the_sha256_of_the_bytes(void **state)
{
	_cleanup_file_ struct file f = read_fixture("smallest");
	struct arena *a = new_arena();
	struct image *image = NULL;
	char command[600], expected[80] = "";

	assert_int_equal(load(a, &f, &image, NULL), 0);
	snprintf(command, sizeof(command), "sha256sum '%s/smallest.baton'", fixture_dir);
	FILE *p = popen(command, "r");
	assert_non_null(p);
	assert_int_equal(fscanf(p, "%64s", expected), 1);
	pclose(p);
	assert_string_equal(image_digest(image), expected);
	image_unref(image);
	arena_free(a);
}

static void test_memory_is_never_writable_and_executable_and_gone_after_the_last_unref(void **state)
{
	_cleanup_file_ struct file f = read_fixture("stripped");
	struct arena *a = new_arena();
	struct image *image = NULL;

	assert_int_equal(load(a, &f, &image, NULL), 0);
	const void *table = image_scheduler(image);
	const void *code = (const void *)(uintptr_t)image_scheduler(image)->choose;
	const void *parameters = image_scheduler(image)->parameters;

	assert_access(table, "r--p");
	assert_access(parameters, "r--p");
	assert_access(code, "r-xp");
	assert_access((const uint8_t *)code + ARENA_SLOT_SIZE, "---p"); /* a guard */
	assert_true(image_contains(image, table));
	assert_true(image_contains(image, code));
	assert_false(image_contains(image, a));
	assert_false(image_contains(image, (const uint8_t *)code + ARENA_SLOT_SIZE));
	assert_true(arena_contains(a, code));
	assert_false(arena_contains(a, &f));

	image_ref(image);
	image_unref(image);
	assert_access(code, "r-xp");
	image_unref(image);
	assert_access(code, "---p");
	assert_access(table, "---p");
	arena_free(a);
}

static void test_functions_are_found_by_address(void **state)
{
	_cleanup_file_ struct file f = read_fixture("sysv"), stripped = read_fixture("stripped");
	struct arena *a = new_arena();
	struct image *image = NULL, *nameless = NULL;
	const char *name = NULL;
	size_t inside = 99;

	assert_int_equal(load(a, &f, &image, NULL), 0);
	assert_int_equal(load(a, &stripped, &nameless, NULL), 0);
	const uint8_t *choose = (const uint8_t *)(uintptr_t)image_scheduler(image)->choose;
	assert_true(image_symbol(image, choose, &name, &inside));
	assert_string_equal(name, "good_choose");
	assert_int_equal(inside, 0);
	assert_true(image_symbol(image, choose + 3, &name, &inside));
	assert_string_equal(name, "good_choose");
	assert_int_equal(inside, 3);
	const uint8_t *tick = (const uint8_t *)(uintptr_t)image_scheduler(image)->tick;
	assert_true(image_symbol(image, tick, &name, &inside));
	assert_string_equal(name, "good_tick");

	assert_false(image_symbol(image, image_scheduler(image), &name, &inside));
	assert_false(image_symbol(image, &f, &name, &inside));
	assert_false(image_symbol(nameless, choose, &name, &inside));
	assert_false(
	    image_symbol(nameless, (const uint8_t *)(uintptr_t)image_scheduler(nameless)->choose, &name, &inside));
	image_unref(image);
	image_unref(nameless);
	arena_free(a);
}

static void test_no_free_slot_is_said_and_ends_when_an_image_goes(void **state)
{
	_cleanup_file_ struct file f = read_fixture("stripped");
	struct image *image[SLOTS] = {NULL}, *more = NULL;
	struct arena *a = new_arena();
	struct error e = {{0}};

	for (unsigned i = 0; i < SLOTS; i++)
		assert_int_equal(load(a, &f, &image[i], NULL), 0);
	assert_int_not_equal(image_slot(image[0]), image_slot(image[1]));
	assert_int_equal(load(a, &f, &more, &e), -ENOSPC);
	assert_non_null(strstr(e.text, "no free image slot"));
	assert_non_null(strstr(e.text, "unload"));
	assert_int_equal(image_check(f.bytes, f.size, imports, import_count, NULL), 0);

	unsigned slot = image_slot(image[0]);
	image_unref(image[0]);
	assert_int_equal(load(a, &f, &more, NULL), 0);
	assert_int_equal(image_slot(more), slot);
	assert_works(more);
	assert_works(image[1]);
	image_unref(more);
	image_unref(image[1]);
	arena_free(a);
}

static void test_arena_has_limits(void **state)
{
	struct arena *a = NULL;
	struct error e = {{0}};

	assert_int_equal(arena_new(0, &a, &e), -EINVAL);
	assert_int_equal(arena_new(ARENA_SLOTS_MAX + 1, &a, &e), -EINVAL);
	assert_null(a);
	assert_non_null(strstr(e.text, "choose"));
	assert_int_equal(arena_new(ARENA_SLOTS_MAX, &a, &e), 0);
	assert_int_equal(arena_slots(a), ARENA_SLOTS_MAX);
	arena_free(a);
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static void assert_file_refused(const char *path, int code, const char *text)
{
	struct arena *a = new_arena();
	struct image *image = NULL;
	struct error e = {{0}};
	int r = image_load_file(a, path, imports, import_count, &image, &e);

	if (r != code || !strstr(e.text, text))
		fail_msg("%s: %d \"%s\", but %d \"%s\" was expected", path, r, e.text, code, text);
	assert_null(image);
	arena_free(a);
}

static void test_files_that_cannot_be_images_are_refused(void **state)
{
	char path[] = "/tmp/baton-test-image-XXXXXX", fifo[64];

	assert_file_refused("/nonexistent/x.baton", -ENOENT, "check the path");
	assert_file_refused("/", -EISDIR, "not a regular file");
	assert_file_refused("/dev/zero", -EINVAL, "not a regular file");
	assert_non_null(mkdtemp(path));
	snprintf(fifo, sizeof(fifo), "%s/fifo", path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_file_refused(fifo, -EINVAL, "not a regular file");
	unlink(fifo);
	rmdir(path);
}

static void test_not_elf_and_empty_files_are_refused(void **state)
{
	static const char *const texts[] = {"", "\x7f",
					    "\x7f"
					    "EL",
					    "#!/bin/sh\nexit 0\n",
					    "\x7f"
					    "ELF"};
	struct arena *a = new_arena();

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct file f = {.bytes = (uint8_t *)strdup(texts[i]), .size = strlen(texts[i])};

		assert_refused(a, &f, -ENOEXEC, i + 1 < ARRAY_SIZE(texts) ? "is not an ELF file" : "is cut off");
		free(f.bytes);
	}
	arena_free(a);
}

/* ---- unsound images as compilers make them --------------------------------------------------------------------- */

static void test_images_with_what_is_not_allowed_are_refused(void **state)
{
	assert_fixture_refused("data", -ENOEXEC, "writable data of its own");
	assert_fixture_refused("bss", -ENOEXEC, "writable data of its own");
	assert_fixture_refused("tls", -ENOEXEC, "thread-local");
	assert_fixture_refused("undefined", -ENOEXEC, "needs \"puts\", which the monitor does not offer");
	assert_fixture_refused("constructor", -ENOEXEC, "constructors");
	assert_fixture_refused("ifunc", -ENOEXEC, "\"picked\" of a kind");
	assert_fixture_refused("large", -E2BIG, "too large");
	assert_fixture_refused("execstack", -ENOEXEC, "executable stack");
	assert_fixture_refused("textrel", -ENOEXEC, "compile it with -fPIC");
	assert_fixture_refused("lazy", -ENOEXEC, "-Wl,-z,now");
	assert_fixture_refused("libc", -ENOEXEC, "-nostdlib");
	assert_fixture_refused("program", -ENOEXEC, "is a program");
	assert_fixture_refused("object", -ENOEXEC, "is an object file");
	assert_fixture_refused("align", -ENOEXEC, "-Wl,-z,max-page-size=4096");
}

static void test_images_with_an_unsound_table_are_refused(void **state)
{
	char text[80];

	snprintf(text, sizeof(text), "is built for scheduler ABI %u, this monitor has ABI %u", BATON_SCHEDULER_ABI + 1,
		 BATON_SCHEDULER_ABI);
	assert_fixture_refused("abi", -EPROTONOSUPPORT, text);
	assert_fixture_refused("no-table", -ENOEXEC, "does not export baton_scheduler");
	assert_fixture_refused("no-choose", -EINVAL, "has no `choose`");
}

/* ---- forged images --------------------------------------------------------------------------------------------- */

static Elf64_Ehdr *header(struct file *f)
{
	return (Elf64_Ehdr *)(void *)f->bytes;
}

static Elf64_Phdr *segment(struct file *f, uint32_t type, uint32_t flags)
{
	Elf64_Phdr *p = (Elf64_Phdr *)(void *)(f->bytes + header(f)->e_phoff);

	for (unsigned i = 0; i < header(f)->e_phnum; i++)
		if (p[i].p_type == type && (flags == 0 || p[i].p_flags == flags))
			return &p[i];
	fail_msg("no program header of type %u", type);
	return NULL;
}

static Elf64_Dyn *dynamic(struct file *f, int64_t tag)
{
	Elf64_Dyn *d = (Elf64_Dyn *)(void *)(f->bytes + segment(f, PT_DYNAMIC, 0)->p_offset);

	while (d->d_tag != tag) {
		assert_int_not_equal(d->d_tag, DT_NULL);
		d++;
	}
	return d;
}

static uint8_t *at(struct file *f, uint64_t vaddr)
{
	Elf64_Phdr *p = (Elf64_Phdr *)(void *)(f->bytes + header(f)->e_phoff);

	for (unsigned i = 0; i < header(f)->e_phnum; i++)
		if (p[i].p_type == PT_LOAD && vaddr >= p[i].p_vaddr && vaddr < p[i].p_vaddr + p[i].p_filesz)
			return f->bytes + p[i].p_offset + (vaddr - p[i].p_vaddr);
	fail_msg("no segment at 0x%lx", (unsigned long)vaddr);
	return NULL;
}

static Elf64_Sym *symbol(struct file *f, const char *name)
{
	Elf64_Sym *s = (Elf64_Sym *)(void *)at(f, dynamic(f, DT_SYMTAB)->d_un.d_ptr);
	const char *names = (const char *)at(f, dynamic(f, DT_STRTAB)->d_un.d_ptr);

	for (unsigned i = 1; i < 64; i++)
		if (strcmp(names + s[i].st_name, name) == 0)
			return &s[i];
	fail_msg("no symbol %s", name);
	return NULL;
}

static Elf64_Rela *relocation(struct file *f, int64_t table, uint32_t type)
{
	Elf64_Rela *r = (Elf64_Rela *)(void *)at(f, dynamic(f, table)->d_un.d_ptr);

	for (; ELF64_R_TYPE(r->r_info) != type; r++)
		assert_true((uint8_t *)r < f->bytes + f->size - sizeof(*r));
	return r;
}

#define FORGE(code, text, ...)                                                                                         \
	do {                                                                                                           \
		_cleanup_file_ struct file f = read_fixture("sysv");                                                   \
		struct arena *a = new_arena();                                                                         \
		__VA_ARGS__;                                                                                           \
		assert_refused(a, &f, code, text);                                                                     \
		arena_free(a);                                                                                         \
	} while (0)

static void test_forged_headers_are_refused(void **state)
{
	FORGE(-ENOEXEC, "x86-64", header(&f)->e_machine = EM_AARCH64);
	FORGE(-ENOEXEC, "x86-64", header(&f)->e_ident[EI_CLASS] = ELFCLASS32);
	FORGE(-ENOEXEC, "x86-64", header(&f)->e_ident[EI_DATA] = ELFDATA2MSB);
	FORGE(-ENOEXEC, "another system", header(&f)->e_ident[EI_OSABI] = ELFOSABI_FREEBSD);
	FORGE(-ENOEXEC, "unknown ELF version", header(&f)->e_version = 2);
	FORGE(-ENOEXEC, "is not a shared object", header(&f)->e_type = ET_EXEC);
	FORGE(-ENOEXEC, "header sizes", header(&f)->e_phentsize = 55);
	FORGE(-ENOEXEC, "program headers outside", header(&f)->e_phoff = f.size - 8);
	FORGE(-ENOEXEC, "program headers outside", header(&f)->e_phoff = UINT64_MAX - 8);
	FORGE(-ENOEXEC, "program headers outside", header(&f)->e_phnum = 0);
	FORGE(-ENOEXEC, "section headers outside", header(&f)->e_shoff = UINT64_MAX - 63);
}

static void test_forged_segments_are_refused(void **state)
{
	FORGE(-ENOEXEC, "segment outside the file", segment(&f, PT_LOAD, PF_R)->p_offset = f.size);
	FORGE(-ENOEXEC, "segment outside the file", segment(&f, PT_LOAD, PF_R)->p_filesz = UINT64_MAX);
	FORGE(-E2BIG, "a slot has 1024 KiB", segment(&f, PT_LOAD, PF_R | PF_W)->p_memsz = ARENA_SLOT_SIZE);
	FORGE(-E2BIG, "a slot has 1024 KiB", segment(&f, PT_LOAD, PF_R | PF_W)->p_vaddr = UINT64_MAX - 64);
	FORGE(-ENOEXEC, "overlap", segment(&f, PT_LOAD, PF_R | PF_X)->p_vaddr = 0x10);
	FORGE(-ENOEXEC, "unknown flags", segment(&f, PT_LOAD, PF_R | PF_X)->p_flags |= 0x10);
	FORGE(-ENOEXEC, "writable and executable", segment(&f, PT_LOAD, PF_R | PF_X)->p_flags |= PF_W);
	FORGE(-ENOEXEC, "aligned to 3 bytes", segment(&f, PT_LOAD, PF_R)->p_align = 3);
	FORGE(-ENOEXEC, "names an interpreter", segment(&f, PT_GNU_STACK, 0)->p_type = PT_INTERP);
	FORGE(-ENOEXEC, "writable data of its own", segment(&f, PT_GNU_RELRO, 0)->p_memsz -= 0x40);
	FORGE(-ENOEXEC, "writable data of its own", segment(&f, PT_GNU_RELRO, 0)->p_type = PT_NULL);
	FORGE(-ENOEXEC, "no usable program headers", segment(&f, PT_DYNAMIC, 0)->p_type = PT_NULL);
	FORGE(-ENOEXEC, "no usable program headers", segment(&f, PT_GNU_STACK, 0)->p_type = PT_DYNAMIC);
}

static void test_forged_dynamic_sections_are_refused(void **state)
{
	FORGE(-ENOEXEC, "dynamic section outside", segment(&f, PT_DYNAMIC, 0)->p_vaddr = 0x80000);
	FORGE(-ENOEXEC, "without an end", segment(&f, PT_DYNAMIC, 0)->p_filesz = 2 * sizeof(Elf64_Dyn));
	FORGE(-ENOEXEC, "twice", dynamic(&f, DT_NULL)->d_un.d_val = 1; *dynamic(&f, DT_NULL) = *dynamic(&f, DT_SYMTAB));
	FORGE(-ENOEXEC, "-nostdlib", dynamic(&f, DT_FLAGS)->d_tag = DT_NEEDED);
	FORGE(-ENOEXEC, "-nostdlib", dynamic(&f, DT_FLAGS)->d_tag = DT_INIT);
	FORGE(-ENOEXEC, "compile it with -fPIC", dynamic(&f, DT_FLAGS)->d_un.d_val |= DF_TEXTREL);
	FORGE(-ENOEXEC, "table of dynamic symbols", dynamic(&f, DT_HASH)->d_un.d_ptr = UINT64_MAX - 3);
	FORGE(-ENOEXEC, "table of dynamic symbols",
	      memset(at(&f, dynamic(&f, DT_HASH)->d_un.d_ptr), 0xff, 2 * sizeof(uint32_t)));
	FORGE(-ENOEXEC, "table of dynamic symbols", dynamic(&f, DT_SYMTAB)->d_un.d_ptr = ARENA_SLOT_SIZE - 8);
	FORGE(-ENOEXEC, "table of dynamic symbols", dynamic(&f, DT_SYMENT)->d_un.d_val = 16);
	FORGE(-ENOEXEC, "table of names", dynamic(&f, DT_STRSZ)->d_un.d_val -= 1);
	FORGE(-ENOEXEC, "table of relocations", dynamic(&f, DT_RELASZ)->d_un.d_val += 1);
	FORGE(-ENOEXEC, "table of relocations", dynamic(&f, DT_JMPREL)->d_un.d_ptr = ARENA_SLOT_SIZE);
	FORGE(-ENOEXEC, "table of relocations", dynamic(&f, DT_PLTREL)->d_un.d_val = DT_REL);
}

static void test_forged_gnu_hash_tables_are_refused(void **state)
{
	/* number of buckets, first symbol, words of the filter; the shift behind them only serves look-ups by name,
	 * which the loader does not do */
	for (unsigned word = 0; word < 3; word++) {
		_cleanup_file_ struct file f = read_fixture("stripped");
		struct arena *a = new_arena();
		uint32_t huge = UINT32_MAX;

		memcpy(at(&f, dynamic(&f, DT_GNU_HASH)->d_un.d_ptr) + word * sizeof(huge), &huge, sizeof(huge));
		assert_refused(a, &f, -ENOEXEC, "table of dynamic symbols");
		arena_free(a);
	}
}

static void test_forged_symbols_and_relocations_are_refused(void **state)
{
	FORGE(-ENOEXEC, "does not export",
	      symbol(&f, "baton_scheduler")->st_info = ELF64_ST_INFO(STB_LOCAL, STT_OBJECT));
	FORGE(-ENOEXEC, "is not a table", symbol(&f, "baton_scheduler")->st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC));
	FORGE(-ENOEXEC, "is not a table", symbol(&f, "baton_scheduler")->st_size = 4);
	FORGE(-ENOEXEC, "cut off", symbol(&f, "baton_scheduler")->st_size -= 8);
	FORGE(-ENOEXEC, "magic number", symbol(&f, "baton_scheduler")->st_value += 1);
	FORGE(-ENOEXEC, "outside its segments", symbol(&f, "baton_scheduler")->st_value = UINT64_MAX - 3);
	FORGE(-ENOEXEC, "without a sound name", symbol(&f, "baton_scheduler")->st_name = 0x7fffffff);
	FORGE(-ENOEXEC, "of a kind", symbol(&f, "baton_scheduler")->st_info = ELF64_ST_INFO(STB_GLOBAL, STT_GNU_IFUNC));
	FORGE(-ENOEXEC, "of a kind", symbol(&f, "baton_scheduler")->st_shndx = SHN_ABS);

	FORGE(-ENOEXEC, "outside its relocatable data", relocation(&f, DT_RELA, R_X86_64_RELATIVE)->r_offset = 0);
	FORGE(-ENOEXEC, "outside its relocatable data",
	      relocation(&f, DT_RELA, R_X86_64_RELATIVE)->r_offset = UINT64_MAX - 7);
	FORGE(-ENOEXEC, "outside its relocatable data",
	      relocation(&f, DT_RELA, R_X86_64_RELATIVE)->r_offset = segment(&f, PT_LOAD, PF_R | PF_X)->p_vaddr);
	FORGE(-ENOEXEC, "points outside", relocation(&f, DT_RELA, R_X86_64_RELATIVE)->r_addend = ARENA_SLOT_SIZE);
	FORGE(-ENOEXEC, "points outside", relocation(&f, DT_RELA, R_X86_64_RELATIVE)->r_addend = -8);
	FORGE(-ENOEXEC, "of a kind", relocation(&f, DT_RELA, R_X86_64_RELATIVE)->r_info = R_X86_64_IRELATIVE);
	FORGE(-ENOEXEC, "of a kind", relocation(&f, DT_JMPREL, R_X86_64_JUMP_SLOT)->r_info = R_X86_64_COPY);
	FORGE(-ENOEXEC, "unknown symbol",
	      relocation(&f, DT_JMPREL, R_X86_64_JUMP_SLOT)->r_info = ELF64_R_INFO(5000, R_X86_64_JUMP_SLOT));
	FORGE(-ENOEXEC, "unknown symbol",
	      relocation(&f, DT_JMPREL, R_X86_64_JUMP_SLOT)->r_info = ELF64_R_INFO(0, R_X86_64_JUMP_SLOT));
}

/* ---- debuggers and profilers ----------------------------------------------------------------------------------- */

/* gdb's JIT interface, as its manual has it. */
struct jit_code_entry {
	struct jit_code_entry *next, *prev;
	const char *file;
	uint64_t size;
};
extern struct {
	uint32_t version, action;
	struct jit_code_entry *relevant, *first;
} __jit_debug_descriptor;

/* The address of a function in the files that gdb is given; 0: not there. */
static uint64_t announced_address(const char *wanted)
{
	for (const struct jit_code_entry *e = __jit_debug_descriptor.first; e; e = e->next) {
		const Elf64_Ehdr *h = (const void *)e->file;
		const Elf64_Shdr *sections = (const void *)(e->file + h->e_shoff);
		const Elf64_Shdr *symbols = &sections[2], *names = &sections[symbols->sh_link];

		assert_memory_equal(h->e_ident, ELFMAG, SELFMAG);
		assert_true(names->sh_offset + names->sh_size == e->size && symbols->sh_type == SHT_SYMTAB);
		for (uint64_t i = 0; i < symbols->sh_size / sizeof(Elf64_Sym); i++) {
			const Elf64_Sym *symbol = (const Elf64_Sym *)(const void *)(e->file + symbols->sh_offset) + i;

			assert_true(symbol->st_name < names->sh_size);
			if (strcmp(e->file + names->sh_offset + symbol->st_name, wanted) == 0)
				return symbol->st_value;
		}
	}
	return 0;
}

static bool perf_knows(const char *wanted)
{
	char path[64], line[256];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		found |= strstr(line, wanted) != NULL;
	fclose(f);
	return found;
}

static void test_debuggers_and_profilers_know_the_functions_while_loaded(void **state)
{
	_cleanup_file_ struct file f = read_fixture("smallest"), stripped = read_fixture("stripped");
	struct arena *a = new_arena();
	struct image *image = NULL, *other = NULL;
	char path[64];

	assert_int_equal(announce_perf_map(NULL), 0);
	assert_int_equal(load(a, &f, &image, NULL), 0);
	assert_int_equal(load(a, &stripped, &other, NULL), 0);
	assert_int_equal(announced_address("smallest_choose"), (uintptr_t)image_scheduler(image)->choose);
	assert_true(perf_knows("smallest.baton:smallest_choose"));
	image_unref(image);
	assert_int_equal(announced_address("smallest_choose"), 0);
	assert_false(perf_knows("smallest_choose"));
	image_unref(other);
	assert_null(__jit_debug_descriptor.first);
	arena_free(a);
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/dev/null", path), 0); /* somebody else's idea */
	assert_true(announce_perf_map(NULL) < 0);
	assert_int_equal(unlink(path), 0);
}

/* The table in the file; its pointers are filled in by relocation only. */
static struct baton_scheduler *table(struct file *f)
{
	return (struct baton_scheduler *)(void *)at(f, symbol(f, "baton_scheduler")->st_value);
}

/* The relocation that fills in a field of the table. */
static Elf64_Rela *field(struct file *f, size_t offset)
{
	uint64_t vaddr = symbol(f, "baton_scheduler")->st_value + offset;
	Elf64_Rela *r = (Elf64_Rela *)(void *)at(f, dynamic(f, DT_RELA)->d_un.d_ptr);

	while (r->r_offset != vaddr) {
		assert_true((uint8_t *)r < f->bytes + f->size - sizeof(*r));
		r++;
	}
	return r;
}

static void test_forged_tables_are_refused(void **state)
{
	FORGE(-ENOEXEC, "magic number", table(&f)->magic = 0);
	FORGE(-EPROTONOSUPPORT, "ABI 0", table(&f)->abi = 0);
	FORGE(-EPROTONOSUPPORT, "a scheduler table of 8 bytes", table(&f)->size = 8);
	FORGE(-EINVAL, "no sound name", memset(table(&f)->name, 'x', BATON_NAME_MAX));
	FORGE(-EINVAL, "at most 32", table(&f)->parameter_count = BATON_PARAMS_MAX + 1);
	FORGE(-EINVAL, "do not lie in the image", table(&f)->parameter_count = BATON_PARAMS_MAX);
	FORGE(-EINVAL, "do not lie in the image",
	      field(&f, offsetof(struct baton_scheduler, parameters))->r_addend += 4);

	/* An op in read-only data, an op nowhere, and an address that nobody relocated. */
	uint64_t choose = offsetof(struct baton_scheduler, choose);
	FORGE(-EINVAL, "`choose` does not point to code", field(&f, choose)->r_addend = 0);
	FORGE(-EINVAL, "has no `choose`", table(&f)->choose = NULL;
	      field(&f, choose)->r_offset -= choose - offsetof(struct baton_scheduler, wake));
	FORGE(-EINVAL, "`wake` does not point to code",
	      table(&f)->wake = (void (*)(struct baton_region *, uint32_t, uint64_t))(uintptr_t)fake_alarm);
}

/* ---- damage of every kind -------------------------------------------------------------------------------------- */

static void test_images_cut_off_anywhere_are_refused(void **state)
{
	_cleanup_file_ struct file f = read_fixture("stripped"), g = read_fixture("sysv");
	struct file *const files[] = {&f, &g};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		assert_int_equal(image_check(files[i]->bytes, files[i]->size, imports, import_count, NULL), 0);
		for (size_t size = 0; size < files[i]->size; size++) {
			/* a copy of that size, so that a sanitizer sees any byte read beyond */
			struct file cut = {.bytes = malloc(size ? size : 1), .size = size};
			struct error e = {{0}};

			assert_non_null(cut.bytes);
			memcpy(cut.bytes, files[i]->bytes, size);
			int r = image_check(cut.bytes, cut.size, imports, import_count, &e);
			if (r != -ENOEXEC || e.text[0] == '\0')
				fail_msg("%zu of %zu bytes: %d \"%s\"", size, files[i]->size, r, e.text);
			free(cut.bytes);
		}
	}
}

/* Each byte of a file in turn is replaced: the loader either refuses with a sentence or ends up with a sound table. */
static void damage_every_byte(const char *name, uint8_t flip)
{
	_cleanup_file_ struct file f = read_fixture(name);
	struct arena *a = new_arena();
	unsigned loaded = 0, refused = 0;

	for (size_t i = 0; i < f.size; i++) {
		struct image *image = NULL;
		struct error e = {{0}};

		f.bytes[i] ^= flip;
		int r = load(a, &f, &image, &e);
		if (r < 0) {
			refused++;
			if (e.text[0] == '\0' || image)
				fail_msg("byte %zu: refused without a sentence", i);
			if (r != image_check(f.bytes, f.size, imports, import_count, NULL))
				fail_msg("byte %zu: image_check and image_load disagree", i);
		} else {
			const struct baton_scheduler *s = image_scheduler(image);

			loaded++;
			assert_true(image_contains(image, s));
			assert_true(image_contains(image, (const void *)(uintptr_t)s->choose));
			assert_true(strlen(image_name(image)) < BATON_NAME_MAX);
			image_unref(image);
		}
		f.bytes[i] ^= flip;
		assert_int_equal(arena_slots_free(a), SLOTS);
	}
	assert_true(refused > 100); /* headers and tables */
	assert_true(loaded > 100);  /* padding, code and constants, which are the author's own business */
	arena_free(a);
}

static void test_damage_of_any_byte_is_refused_or_harmless(void **state)
{
	static const uint8_t flips[] = {0xff, 0x01, 0x80, 0x10};

	for (size_t i = 0; i < ARRAY_SIZE(flips); i++)
		damage_every_byte(i % 2 ? "sysv" : "stripped", flips[i]);
}

static void test_messages_hold_no_control_characters(void **state)
{
	_cleanup_file_ struct file f = read_fixture("undefined");
	struct arena *a = new_arena();
	struct image *image = NULL;
	struct error e = {{0}};
	const char *names = (const char *)at(&f, dynamic(&f, DT_STRTAB)->d_un.d_ptr);

	memcpy((char *)(uintptr_t)names + symbol(&f, "puts")->st_name, "\x1b[m\n", 4);
	int r = image_load(a, f.bytes, f.size, "evil\x1b]0;name\n.baton", imports, import_count, &image, &e);
	assert_int_equal(r, -ENOEXEC);
	assert_non_null(strstr(e.text, "\"?[m?\""));
	assert_non_null(strstr(e.text, "evil?]0;name?.baton"));
	for (const char *p = e.text; *p; p++)
		assert_true(*p >= ' ' && *p <= '~');
	arena_free(a);
}

static void test_messages_name_the_file_also_behind_a_long_path(void **state)
{
	struct arena *a = new_arena();
	struct image *image = NULL;
	struct error e = {{0}};
	char source[400];

	memset(source, 'd', sizeof(source));
	strcpy(source + sizeof(source) - 11, "/bvt.baton");
	assert_int_equal(image_load(a, "text", 4, source, imports, import_count, &image, &e), -ENOEXEC);
	assert_non_null(strstr(e.text, "/bvt.baton is not an ELF file"));
	arena_free(a);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_images_of_every_compiler_and_linker_load_and_run),
	    cmocka_unit_test(test_stripped_image_and_old_hash_table_load),
	    cmocka_unit_test(test_smallest_scheduler_loads_also_with_the_shortest_command),
	    cmocka_unit_test(test_compilers_own_helpers_are_linked_in),
	    cmocka_unit_test(test_digest_is_the_sha256_of_the_bytes),
	    cmocka_unit_test(test_memory_is_never_writable_and_executable_and_gone_after_the_last_unref),
	    cmocka_unit_test(test_functions_are_found_by_address),
	    cmocka_unit_test(test_no_free_slot_is_said_and_ends_when_an_image_goes),
	    cmocka_unit_test(test_arena_has_limits),
	    cmocka_unit_test(test_files_that_cannot_be_images_are_refused),
	    cmocka_unit_test(test_not_elf_and_empty_files_are_refused),
	    cmocka_unit_test(test_images_with_what_is_not_allowed_are_refused),
	    cmocka_unit_test(test_images_with_an_unsound_table_are_refused),
	    cmocka_unit_test(test_forged_headers_are_refused),
	    cmocka_unit_test(test_forged_segments_are_refused),
	    cmocka_unit_test(test_forged_dynamic_sections_are_refused),
	    cmocka_unit_test(test_forged_gnu_hash_tables_are_refused),
	    cmocka_unit_test(test_forged_symbols_and_relocations_are_refused),
	    cmocka_unit_test(test_forged_tables_are_refused),
	    cmocka_unit_test(test_images_cut_off_anywhere_are_refused),
	    cmocka_unit_test(test_damage_of_any_byte_is_refused_or_harmless),
	    cmocka_unit_test(test_debuggers_and_profilers_know_the_functions_while_loaded),
	    cmocka_unit_test(test_messages_hold_no_control_characters),
	    cmocka_unit_test(test_messages_name_the_file_also_behind_a_long_path),
	};

	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY-OF-FIXTURES\n", argv[0]);
		return 2;
	}
	fixture_dir = argv[1];
	make_imports();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
