/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/io.h"

int io_register(struct io_space *s, uint64_t base, uint64_t size, const struct io_ops *ops, void *device)
{
	for (unsigned i = 0; i < s->count; i++)
		if (base < s->region[i].base + s->region[i].size && s->region[i].base < base + size)
			return -EEXIST;
	if (s->count == IO_REGIONS_MAX)
		return -ENOSPC;
	s->region[s->count++] = (struct io_region){.base = base, .size = size, .ops = ops, .device = device};
	return 0;
}

static const struct io_region *find(const struct io_space *s, uint64_t addr, unsigned size)
{
	for (unsigned i = 0; i < s->count; i++) {
		const struct io_region *r = &s->region[i];

		if (addr >= r->base && addr - r->base < r->size && size <= r->size - (addr - r->base))
			return r;
	}
	return NULL;
}

uint64_t io_read(const struct io_space *s, uint64_t addr, unsigned size)
{
	const struct io_region *r = find(s, addr, size);

	return r && r->ops->read ? r->ops->read(r->device, addr - r->base, size) : UINT64_MAX;
}

enum vcpu_next io_write(const struct io_space *s, uint64_t addr, unsigned size, uint64_t value)
{
	const struct io_region *r = find(s, addr, size);

	return r && r->ops->write ? r->ops->write(r->device, addr - r->base, size, value) : VCPU_RESUME;
}
