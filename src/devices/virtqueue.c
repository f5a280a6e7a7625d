/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtqueue.h"

#include <stdatomic.h>
#include <string.h>

/* Guest memory that both sides touch: one access each, ordered as the specification wants it. */
#define LOAD(p)		    __atomic_load_n(p, __ATOMIC_RELAXED)
#define LOAD_ACQUIRE(p)	    __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define STORE(p, v)	    __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define STORE_RELEASE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

/* Behind each ring stands one more word: the index at which the other side wants to hear something. */
static uint16_t *used_event(const struct virtq *q)
{
	return &q->avail->ring[q->size];
}

static uint16_t *avail_event(const struct virtq *q)
{
	return (uint16_t *)(void *)&q->used->ring[q->size];
}

static void *ring_part(const struct gmem *mem, uint64_t gpa, uint64_t size, uint64_t align)
{
	return gpa % align == 0 ? gmem_ptr(mem, gpa, size) : NULL;
}

int virtq_start(struct virtq *q, const struct gmem *mem, uint16_t size_max, bool event_idx)
{
	uint64_t n = q->size;

	if (n == 0 || n > size_max || (n & (n - 1)) != 0)
		return -EINVAL;
	q->desc = ring_part(mem, q->desc_gpa, n * sizeof(struct vring_desc), VRING_DESC_ALIGN_SIZE);
	q->avail = ring_part(mem, q->avail_gpa, 6 + n * 2, VRING_AVAIL_ALIGN_SIZE);
	q->used = ring_part(mem, q->used_gpa, 6 + n * sizeof(struct vring_used_elem), VRING_USED_ALIGN_SIZE);
	if (!q->desc || !q->avail || !q->used)
		return -EINVAL;
	q->mem = mem;
	q->event_idx = event_idx;
	q->next_avail = q->next_used = q->told_used = q->in_flight = 0;
	q->ready = true;
	return 0;
}

void virtq_reset(struct virtq *q)
{
	*q = (struct virtq){.size = 0};
}

/* ---- chains ---- */

/* One descriptor's buffer. Writable pieces come last (2.7.4.2). */
static int add_piece(const struct virtq *q, struct virtq_chain *c, const struct vring_desc *d)
{
	unsigned n = c->readable + c->writable;
	void *host = gmem_ptr(q->mem, d->addr, d->len);

	if (!host || d->len == 0 || n == VIRTQ_PIECES_MAX)
		return -EPROTO;
	c->piece[n] = (struct iovec){.iov_base = host, .iov_len = d->len};
	if (d->flags & VRING_DESC_F_WRITE) {
		c->writable++;
		c->writable_bytes += d->len;
		return 0;
	}
	if (c->writable > 0)
		return -EPROTO;
	c->readable++;
	c->readable_bytes += d->len;
	return 0;
}

/*
 * Follows a chain through a table. Every step adds a piece, and a chain is no longer than its table: so it ends, whatever
 * the guest writes meanwhile. 0: ended; 1: *ret_indirect goes on in another table.
 */
static int follow(const struct virtq *q, const struct vring_desc *table, uint32_t count, uint32_t at,
		  struct virtq_chain *c, struct vring_desc *ret_indirect)
{
	for (uint32_t steps = 0; steps < count; steps++) {
		struct vring_desc d;
		int r;

		if (at >= count)
			return -EPROTO;
		d.addr = LOAD(&table[at].addr);
		d.len = LOAD(&table[at].len);
		d.flags = LOAD(&table[at].flags);
		d.next = LOAD(&table[at].next);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (d.flags & (VRING_DESC_F_NEXT | VRING_DESC_F_WRITE))
				return -EPROTO;
			*ret_indirect = d;
			return 1;
		}
		r = add_piece(q, c, &d);
		if (r < 0 || !(d.flags & VRING_DESC_F_NEXT))
			return r;
		at = d.next;
	}
	return -EPROTO; /* a loop */
}

static int walk(const struct virtq *q, uint16_t head, struct virtq_chain *c)
{
	const struct vring_desc *table;
	struct vring_desc d = {0};
	int r;

	c->head = head;
	c->readable = c->writable = 0;
	c->readable_bytes = c->writable_bytes = 0;
	r = follow(q, q->desc, q->size, head, c, &d);
	if (r <= 0)
		return r;
	if (d.len == 0 || d.len % sizeof d != 0 || d.len / sizeof d > VIRTQ_PIECES_MAX)
		return -EPROTO;
	table = ring_part(q->mem, d.addr, d.len, _Alignof(struct vring_desc));
	if (!table)
		return -EPROTO;
	r = follow(q, table, d.len / (uint32_t)sizeof d, 0, c, &d);
	return r > 0 ? -EPROTO : r; /* a table inside of a table */
}

int virtq_pop(struct virtq *q, struct virtq_chain *ret)
{
	uint16_t waiting = (uint16_t)(LOAD_ACQUIRE(&q->avail->idx) - q->next_avail);
	int r;

	if (waiting == 0)
		return 0;
	/* More than fit, or the same ones again: then the used ring would overflow. */
	if (waiting > q->size || q->in_flight >= q->size)
		return -EPROTO;
	r = walk(q, LOAD(&q->avail->ring[q->next_avail & (q->size - 1)]), ret);
	if (r < 0)
		return r;
	q->next_avail++;
	q->in_flight++;
	return 1;
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t written)
{
	struct vring_used_elem *e = &q->used->ring[q->next_used & (q->size - 1)];

	assert(q->in_flight > 0);
	STORE(&e->id, head);
	STORE(&e->len, written);
	q->next_used++;
	q->in_flight--;
	STORE_RELEASE(&q->used->idx, q->next_used);
}

bool virtq_wants_interrupt(struct virtq *q)
{
	uint16_t before = q->told_used;

	if (q->next_used == before)
		return false;
	q->told_used = q->next_used;
	/* The driver writes its wish and then looks at the index; we wrote the index and look at the wish. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!q->event_idx)
		return !(LOAD(&q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(LOAD(used_event(q)), q->next_used, before);
}

bool virtq_arm(struct virtq *q)
{
	if (q->event_idx)
		STORE(avail_event(q), q->next_avail);
	else
		STORE(&q->used->flags, 0);
	atomic_thread_fence(memory_order_seq_cst);
	return LOAD(&q->avail->idx) != q->next_avail;
}

void virtq_disarm(struct virtq *q)
{
	if (!q->event_idx) /* otherwise the index that was asked for is in the past already */
		STORE(&q->used->flags, VRING_USED_F_NO_NOTIFY);
}

bool virtq_consistent(const struct virtq *q)
{
	return !q->ready || (uint16_t)(q->next_avail - q->next_used) == q->in_flight;
}

/* ---- pieces ---- */

enum direction { OUT_OF_PIECES, INTO_PIECES };

static size_t copy(const struct iovec *piece, unsigned count, uint64_t offset, uint8_t *buf, size_t size,
		   enum direction direction)
{
	size_t done = 0;

	for (unsigned i = 0; i < count && done < size; i++) {
		size_t n;
		uint8_t *host;

		if (offset >= piece[i].iov_len) {
			offset -= piece[i].iov_len;
			continue;
		}
		host = (uint8_t *)piece[i].iov_base + offset;
		n = MIN(piece[i].iov_len - (size_t)offset, size - done);
		if (direction == INTO_PIECES)
			memcpy(host, buf + done, n);
		else
			memcpy(buf + done, host, n);
		done += n;
		offset = 0;
	}
	return done;
}

size_t pieces_read(const struct iovec *piece, unsigned count, uint64_t offset, void *buf, size_t size)
{
	return copy(piece, count, offset, buf, size, OUT_OF_PIECES);
}

size_t pieces_write(const struct iovec *piece, unsigned count, uint64_t offset, const void *buf, size_t size)
{
	return copy(piece, count, offset, (uint8_t *)(uintptr_t)buf, size, INTO_PIECES);
}

void pieces_skip(struct iovec **piece, unsigned *count, uint64_t bytes)
{
	while (*count > 0 && bytes >= (*piece)->iov_len) {
		bytes -= (*piece)->iov_len;
		(*piece)++;
		(*count)--;
	}
	if (*count == 0 || bytes == 0)
		return;
	(*piece)->iov_base = (uint8_t *)(*piece)->iov_base + bytes;
	(*piece)->iov_len -= bytes;
}

void pieces_cut(struct iovec *piece, unsigned *count, uint64_t bytes)
{
	while (*count > 0 && bytes >= piece[*count - 1].iov_len)
		bytes -= piece[--*count].iov_len;
	if (*count > 0)
		piece[*count - 1].iov_len -= bytes;
}
