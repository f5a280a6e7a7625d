/* SPDX-License-Identifier: Apache-2.0 */
/* image.c - see image.h. */
#include "image.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sched/loader/announce.h"
#include "sched/loader/elffile.h"
#include "sched/loader/symbols.h"
#include "sched/loader/table.h"

#define TABLE_SYMBOL "baton_scheduler"

struct image {
	atomic_uint refs;
	struct arena *arena;
	struct arena_slot slot;
	bool has_slot;

	const struct baton_scheduler *scheduler; /* in the slot */
	struct table_range range[ELF_SEGMENTS_MAX];
	unsigned range_count;
	struct symbols *symbols;
	struct announcement *announcement; /* NULL: debuggers do not know it */

	char *source;
	size_t size;
	char digest[IMAGE_DIGEST_TEXT];
};

/* ---- life ------------------------------------------------------------------------------------------------------ */

struct image *image_ref(struct image *image)
{
	unsigned before = atomic_fetch_add_explicit(&image->refs, 1, memory_order_relaxed);

	assert(before > 0);
	(void)before;
	return image;
}

static struct image *image_free(struct image *image)
{
	announce_remove(image->announcement);
	if (image->has_slot)
		arena_release(image->arena, &image->slot);
	symbols_free(image->symbols);
	free(image->source);
	free(image);
	return NULL;
}

struct image *image_unref(struct image *image)
{
	if (image && atomic_fetch_sub_explicit(&image->refs, 1, memory_order_acq_rel) == 1)
		image_free(image);
	return NULL;
}

static void unref_ptr(struct image **image)
{
	image_unref(*image);
}

void image_digest_of(const void *bytes, size_t size, char ret[static IMAGE_DIGEST_TEXT])
{
	unsigned char digest[crypto_hash_sha256_BYTES];

	crypto_hash_sha256(digest, bytes, size);
	sodium_bin2hex(ret, IMAGE_DIGEST_TEXT, digest, sizeof(digest));
}

static int image_alloc(struct arena *arena, const void *bytes, size_t size, const char *source, struct image **ret)
{
	_cleanup_(unref_ptr) struct image *image = calloc(1, sizeof(*image));

	if (!image)
		return -ENOMEM;
	atomic_init(&image->refs, 1);
	image->arena = arena;
	image->size = size;
	image->source = strdup(source);
	if (!image->source)
		return -ENOMEM;
	image_digest_of(bytes, size, image->digest);
	*ret = take_ptr(image);
	return 0;
}

/* ---- the table, as far as it can be judged in the file ---------------------------------------------------------- */

/* Finds the table and looks at its version first: only then do other differences mean anything. */
static int find_table(const struct elf *f, uint32_t *ret_vaddr, struct error *e)
{
	Elf64_Sym symbol;

	if (!link_find(f, TABLE_SYMBOL, &symbol))
		return error_set(e, -ENOEXEC,
				 "%.80s does not export " TABLE_SYMBOL ": define the scheduler with "
				 "BATON_SCHEDULER(name, .choose = ...) of baton/scheduler.h",
				 f->source);

	uint32_t head[3];
	const uint8_t *p = elf_at(f, symbol.st_value, sizeof(head));
	if (!p || ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT || symbol.st_size < sizeof(head))
		return error_set(e, -ENOEXEC,
				 "%.80s exports " TABLE_SYMBOL ", but it is not a table: define it with "
				 "BATON_SCHEDULER(name, ...) of baton/scheduler.h",
				 f->source);
	memcpy(head, p, sizeof(head));
	int r = table_check_head(head[0], head[1], head[2], f->source, e);
	if (r < 0)
		return r;

	if (symbol.st_size < sizeof(struct baton_scheduler) ||
	    symbol.st_value % _Alignof(struct baton_scheduler) != 0 ||
	    !elf_segment_of(f, symbol.st_value, sizeof(struct baton_scheduler)))
		return error_set(e, -ENOEXEC,
				 "%.80s has a " TABLE_SYMBOL " that is cut off or out of place: it is damaged, build "
				 "it again",
				 f->source);
	*ret_vaddr = (uint32_t)symbol.st_value;
	return 0;
}

/* ---- trial: the whole image on the heap, so that the relocated table can be judged before anything is mapped ---- */

static void lay_out(const struct elf *f, const struct image_imports *imports, uint8_t *base)
{
	for (unsigned i = 0; i < f->segment_count; i++)
		memcpy(base + f->segment[i].vaddr, f->bytes + f->segment[i].file_offset, f->segment[i].file_size);
	link_apply(f, imports, base); /* what no segment's file part covers is zero already */
}

static void ranges_of(const struct elf *f, const uint8_t *base, struct table_range range[static ELF_SEGMENTS_MAX])
{
	for (unsigned i = 0; i < f->segment_count; i++) {
		const struct elf_segment *s = &f->segment[i];

		range[i] = (struct table_range){
		    .start = (uintptr_t)base + s->vaddr,
		    .end = (uintptr_t)base + s->vaddr + s->mem_size,
		    .exec = s->exec,
		};
	}
}

/* Somebody who wants to see the table before the image is loaded; may be NULL. */
struct looker {
	int (*look)(void *ctx, const struct baton_scheduler *s, struct error *e);
	void *ctx;
};

static int try_table(const struct elf *f, const struct image_imports *imports, uint32_t table,
		     const struct looker *looker, struct error *e)
{
	const struct baton_scheduler *s;
	struct table_range range[ELF_SEGMENTS_MAX];
	struct table_bounds bounds = {.range = range, .count = f->segment_count};

	_cleanup_free_ uint8_t *trial = calloc(1, f->span);
	if (!trial)
		return error_set(e, -ENOMEM, "no memory to load %.80s: free some memory on this host", f->source);
	lay_out(f, imports, trial);
	ranges_of(f, trial, range);
	s = (const struct baton_scheduler *)(const void *)(trial + table);
	int r = table_check(s, &bounds, f->source, e);
	return r >= 0 && looker ? looker->look(looker->ctx, s, e) : r;
}

/* Everything that can be wrong with an image. ret->source is the caller's. */
static int examine(const void *bytes, size_t size, const char *source, const struct image_imports *imports,
		   const struct looker *looker, struct elf *ret, uint32_t *ret_table, struct error *e)
{
	int r = elf_check(bytes, size, ARENA_SLOT_SIZE, source, ret, e);
	if (r < 0)
		return r;
	r = link_check(ret, imports, e);
	if (r < 0)
		return r;
	r = find_table(ret, ret_table, e);
	if (r < 0)
		return r;
	return try_table(ret, imports, *ret_table, looker, e);
}

int image_check(const void *bytes, size_t size, const struct image_import *imports, size_t import_count,
		struct error *e)
{
	const struct image_imports list = {.list = imports, .count = import_count};
	uint32_t table = 0;
	struct elf f;

	return examine(bytes, size, "the image", &list, NULL, &f, &table, e);
}

int image_inspect(const void *bytes, size_t size, const struct image_import *imports, size_t import_count,
		  int (*look)(void *ctx, const struct baton_scheduler *s, struct error *e), void *ctx, struct error *e)
{
	const struct image_imports list = {.list = imports, .count = import_count};
	const struct looker looker = {.look = look, .ctx = ctx};
	uint32_t table = 0;
	struct elf f;

	return examine(bytes, size, "the image", &list, &looker, &f, &table, e);
}

/* ---- mapping --------------------------------------------------------------------------------------------------- */

static int protect(const struct image *image, const struct elf_segment *s, int prot, struct error *e)
{
	uint32_t start = s->vaddr / ELF_PAGE * ELF_PAGE;

	if (mprotect(image->slot.base + start, s->vaddr + s->mem_size - start, prot) == 0)
		return 0;
	int r = -errno;
	return error_set(e, r,
			 "cannot give an image slot its access rights (%s): see whether the host is short of memory or "
			 "forbids executable memory (SELinux execmem)",
			 strerror(-r));
}

/* Writable while it is filled, never writable and executable at once, constant ever after. */
static int map_segments(struct image *image, const struct elf *f, const struct image_imports *imports, struct error *e)
{
	int r;

	for (unsigned i = 0; i < f->segment_count; i++) {
		r = protect(image, &f->segment[i], PROT_READ | PROT_WRITE, e);
		if (r < 0)
			return r;
	}
	lay_out(f, imports, image->slot.base);
	for (unsigned i = 0; i < f->segment_count; i++) {
		r = protect(image, &f->segment[i], f->segment[i].exec ? PROT_READ | PROT_EXEC : PROT_READ, e);
		if (r < 0)
			return r;
	}
	ranges_of(f, image->slot.base, image->range);
	image->range_count = f->segment_count;
	return 0;
}

int image_load(struct arena *arena, const void *bytes, size_t size, const char *source_name,
	       const struct image_import *imports, size_t import_count, struct image **ret, struct error *e)
{
	const struct image_imports list = {.list = imports, .count = import_count};
	/* Of a long path the end says more than the beginning. */
	size_t length = strlen(source_name), cut = length < ELF_QUOTE_MAX ? 0 : length - (ELF_QUOTE_MAX - 1);
	struct elf_quote source = elf_quote(source_name + cut);
	_cleanup_(unref_ptr) struct image *image = NULL;
	uint32_t table = 0;
	struct elf f;
	int r;

	r = examine(bytes, size, source.text, &list, NULL, &f, &table, e);
	if (r < 0)
		return r;
	r = image_alloc(arena, bytes, size, source_name, &image);
	if (r >= 0)
		r = symbols_new(&f, &image->symbols);
	if (r < 0)
		return error_set(e, r, "no memory to load %.80s: free some memory on this host", source.text);
	r = arena_take(arena, &image->slot, e);
	if (r < 0)
		return r;
	image->has_slot = true;
	r = map_segments(image, &f, &list, e);
	if (r < 0)
		return r;

	/* Once more, where it will be used: an address that nobody relocated may be right in one place only by chance.
	 */
	const struct table_bounds bounds = {.range = image->range, .count = image->range_count};
	image->scheduler = (const struct baton_scheduler *)(const void *)(image->slot.base + table);
	r = table_check(image->scheduler, &bounds, source.text, e);
	if (r < 0)
		return r;
	/* An image that debuggers do not know of is as good as any other. */
	(void)announce_add(image->scheduler->name, image->slot.base, f.span, image->symbols, &image->announcement);
	*ret = take_ptr(image);
	return 0;
}

/* ---- from a file ----------------------------------------------------------------------------------------------- */

/* Reads at most size bytes, all that there are; returns their number. */
static ssize_t read_all(int fd, uint8_t *buf, size_t size)
{
	size_t n = 0;

	while (n < size) {
		ssize_t r = read(fd, buf + n, size - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		n += (size_t)r;
	}
	return (ssize_t)n;
}

int image_load_file(struct arena *arena, const char *path, const struct image_import *imports, size_t import_count,
		    struct image **ret, struct error *e)
{
	/* A FIFO or a device must not hang or act: it is opened without waiting and refused by its kind. */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = -errno;
		return error_set(e, r, "cannot open the scheduler image %.160s (%s): check the path", path,
				 strerror(-r));
	}
	if (!S_ISREG(st.st_mode))
		return error_set(e, S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL,
				 "%.160s is not a regular file: name the scheduler image itself (NAME.baton)", path);

	/* One byte more than allowed, so that a file that grows meanwhile is found too large, not cut. */
	_cleanup_free_ uint8_t *bytes = malloc(IMAGE_SIZE_MAX + 1);
	if (!bytes)
		return error_set(e, -ENOMEM, "no memory to read %.160s: free some memory on this host", path);
	ssize_t n = read_all(fd, bytes, IMAGE_SIZE_MAX + 1);
	if (n < 0)
		return error_set(e, (int)n, "cannot read the scheduler image %.160s (%s): check the file", path,
				 strerror((int)-n));
	if ((size_t)n > IMAGE_SIZE_MAX)
		return error_set(e, -E2BIG,
				 "%.160s is too large for a scheduler image (over %u KiB): strip it, make it smaller",
				 path, (unsigned)(IMAGE_SIZE_MAX / KIB));
	return image_load(arena, bytes, (size_t)n, path, imports, import_count, ret, e);
}

/* ---- what is known about it ------------------------------------------------------------------------------------ */

const struct baton_scheduler *image_scheduler(const struct image *image)
{
	return image->scheduler;
}

const char *image_name(const struct image *image)
{
	return image->scheduler->name;
}

const char *image_version(const struct image *image)
{
	return image->scheduler->version;
}

const char *image_source(const struct image *image)
{
	return image->source;
}

const char *image_digest(const struct image *image)
{
	return image->digest;
}

size_t image_size(const struct image *image)
{
	return image->size;
}

unsigned image_slot(const struct image *image)
{
	return image->slot.index;
}

bool image_contains(const struct image *image, const void *address)
{
	for (unsigned i = 0; i < image->range_count; i++)
		if ((uintptr_t)address >= image->range[i].start && (uintptr_t)address < image->range[i].end)
			return true;
	return false;
}

bool image_symbol(const struct image *image, const void *address, const char **ret_name, size_t *ret_inside)
{
	uintptr_t offset = (uintptr_t)address - (uintptr_t)image->slot.base;
	uint32_t inside;

	if (offset >= ARENA_SLOT_SIZE)
		return false;
	const char *name = symbols_find(image->symbols, (uint32_t)offset, &inside);
	if (!name)
		return false;
	*ret_name = name;
	*ret_inside = inside;
	return true;
}
