/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/gmem.h"

#include <string.h>
#include <sys/mman.h>

#define LARGE_PAGE (2 * MIB)

/*
 * Address space that begins at a large page: only where guest-physical and host addresses agree in their lower bits can KVM
 * map large pages, and small ones cost the guest an exit each on first touch and longer page walks for ever.
 */
static void *map_aligned(uint64_t size)
{
	char *p =
	    mmap(NULL, size + LARGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t before;

	if (p == MAP_FAILED)
		return p;
	before = -(uintptr_t)p % LARGE_PAGE;
	if (before > 0)
		munmap(p, before);
	munmap(p + before + size, LARGE_PAGE - before);
	return p + before;
}

int gmem_init(struct gmem *g, uint64_t size, struct error *e)
{
	void *p;

	if (size == 0 || size % GMEM_PAGE != 0 || size > SIZE_MAX / 2)
		return error_set(e, -EINVAL, "guest memory of %llu bytes is not possible: give a multiple of 4096",
				 (unsigned long long)size);
	p = map_aligned(size);
	if (p == MAP_FAILED)
		return error_set(e, -ENOMEM, "no address space for %llu MiB of guest memory: give the VM less",
				 (unsigned long long)(size / MIB));
	/* Hints only: large pages make nested paging cheaper; guest memory is not wanted in a core dump. */
	(void)madvise(p, size, MADV_HUGEPAGE);
	(void)madvise(p, size, MADV_DONTDUMP);
	*g = (struct gmem){.host = p, .size = size, .low_size = MIN(size, GMEM_HOLE_START)};
	return 0;
}

void gmem_done(struct gmem *g)
{
	if (g->host)
		munmap(g->host, g->size);
	*g = (struct gmem){0};
}

int gmem_clear(struct gmem *g)
{
	return madvise(g->host, g->size, MADV_DONTNEED) < 0 ? -errno : 0;
}

unsigned gmem_ranges(const struct gmem *g, struct gmem_range ret[GMEM_RANGES_MAX])
{
	ret[0] = (struct gmem_range){.gpa = 0, .size = g->low_size, .host = g->host};
	if (g->size == g->low_size)
		return 1;
	ret[1] =
	    (struct gmem_range){.gpa = GMEM_HOLE_END, .size = g->size - g->low_size, .host = g->host + g->low_size};
	return 2;
}

void *gmem_ptr(const struct gmem *g, uint64_t gpa, uint64_t size)
{
	uint64_t high_size = g->size - g->low_size;

	if (gpa <= g->low_size && size <= g->low_size - gpa)
		return g->host + gpa;
	if (gpa >= GMEM_HOLE_END && gpa - GMEM_HOLE_END <= high_size && size <= high_size - (gpa - GMEM_HOLE_END))
		return g->host + g->low_size + (gpa - GMEM_HOLE_END);
	return NULL;
}

int gmem_read(const struct gmem *g, uint64_t gpa, void *buf, uint64_t size)
{
	const void *p = gmem_ptr(g, gpa, size);

	if (!p)
		return -EFAULT;
	memcpy(buf, p, size);
	return 0;
}

int gmem_write(const struct gmem *g, uint64_t gpa, const void *buf, uint64_t size)
{
	void *p = gmem_ptr(g, gpa, size);

	if (!p)
		return -EFAULT;
	memcpy(p, buf, size);
	return 0;
}
