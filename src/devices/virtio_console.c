/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio_console.h"

#include <linux/virtio_console.h>
#include <string.h>

#define RX	   0
#define TX	   1
#define QUEUE_SIZE 64
#define BATCH	   32	      /* requests before other devices have their turn */
#define CHUNK	   (4 * KIB)  /* copied and passed on at a time */
#define OUTPUT_MAX (64 * KIB) /* of one request; what is beyond is dropped */

struct serial {
	struct virtio_device dev;
	void (*output)(void *ctx, const void *data, size_t size);
	void *ctx;
	uint32_t head, used; /* input queue: oldest byte, number of bytes; device lock */
	uint8_t input[VIRTIO_CONSOLE_INPUT_MAX];
};

static struct serial *serial_of(struct virtio_device *d)
{
	return container_of(d, struct serial, dev);
}

/* ---- from the guest ---- */

static void pass_on(struct serial *s, const struct virtq_chain *c)
{
	uint64_t size = MIN(c->readable_bytes, (uint64_t)OUTPUT_MAX);
	uint8_t chunk[CHUNK];

	for (uint64_t at = 0; at < size;) {
		size_t n = pieces_read(c->piece, c->readable, at, chunk, (size_t)MIN(size - at, (uint64_t)CHUNK));

		s->output(s->ctx, chunk, n);
		at += n;
	}
}

/* Passes on up to `most` requests; returns how many there were. */
static unsigned take_output(struct serial *s, unsigned most) REQUIRES(s->dev.lock)
{
	struct virtq_chain c;
	unsigned n = 0;

	for (; n < most && virtio_next(&s->dev, TX, &c); n++) {
		pass_on(s, &c);
		virtio_push(&s->dev, TX, c.head, 0);
	}
	virtio_tell(&s->dev, TX);
	return n;
}

/* A character without a queue, for a kernel that is not up yet, or not any more (5.3.4). */
static void serial_config_written(struct virtio_device *d, uint64_t offset, unsigned size, uint64_t value)
{
	uint8_t byte = (uint8_t)value;

	if (offset == offsetof(struct virtio_console_config, emerg_wr) && serial_of(d)->output)
		serial_of(d)->output(serial_of(d)->ctx, &byte, 1);
}

/* ---- to the guest ---- */

static size_t take_input(struct serial *s, uint8_t *buf, size_t size)
{
	size_t n = MIN(size, (size_t)s->used);

	for (size_t i = 0; i < n; i++)
		buf[i] = s->input[(s->head + i) % sizeof s->input];
	s->head = (uint32_t)((s->head + n) % sizeof s->input);
	s->used -= (uint32_t)n;
	return n;
}

static void give_input(struct serial *s) REQUIRES(s->dev.lock)
{
	uint8_t chunk[VIRTIO_CONSOLE_INPUT_MAX];
	struct virtq_chain c;

	while (s->used > 0 && virtio_next(&s->dev, RX, &c)) {
		size_t n = take_input(s, chunk, (size_t)MIN(c.writable_bytes, (uint64_t)sizeof chunk));

		(void)pieces_write(c.piece + c.readable, c.writable, 0, chunk, n);
		virtio_push(&s->dev, RX, c.head, n);
	}
	virtio_tell(&s->dev, RX);
}

static void serial_kicked(struct virtio_device *d, unsigned queue)
{
	struct serial *s = serial_of(d);
	unsigned n = 0;

	lock_take(&s->dev.lock);
	if (queue == RX)
		give_input(s);
	else
		n = take_output(s, BATCH);
	lock_drop(&s->dev.lock);
	if (n == BATCH)
		virtio_kick_later(d, queue);
}

/* No vCPU runs: no more comes than the ring holds. */
static void serial_flush(struct virtio_device *d)
{
	struct serial *s = serial_of(d);

	lock_take(&s->dev.lock);
	(void)take_output(s, QUEUE_SIZE);
	lock_drop(&s->dev.lock);
}

bool virtio_console_used(struct virtio_device *d)
{
	bool used;

	lock_take(&d->lock);
	used = virtio_running(d);
	lock_drop(&d->lock);
	return used;
}

size_t virtio_console_input(struct virtio_device *d, const void *data, size_t size)
{
	struct serial *s = serial_of(d);
	const uint8_t *bytes = data;
	size_t n;

	lock_take(&d->lock);
	n = MIN(size, sizeof s->input - s->used);
	for (size_t i = 0; i < n; i++)
		s->input[(s->head + s->used + i) % sizeof s->input] = bytes[i];
	s->used += (uint32_t)n;
	lock_drop(&d->lock);
	if (n > 0)
		virtio_kick_later(d, RX);
	return n;
}

void virtio_console_resize(struct virtio_device *d, uint16_t columns, uint16_t rows)
{
	const struct virtio_console_config c = {.cols = columns, .rows = rows, .max_nr_ports = 1};

	lock_take(&d->lock);
	memcpy(d->config, &c, sizeof c);
	virtio_config_changed(d);
	lock_drop(&d->lock);
}

/* ---- life ---- */

static void serial_reset(struct virtio_device *d)
{
	serial_of(d)->head = serial_of(d)->used = 0;
}

static void serial_free(struct virtio_device *d)
{
	virtio_done(d);
	free(serial_of(d));
}

static const struct virtio_ops serial_ops = {
    .id = VIRTIO_ID_CONSOLE,
    .queues = 2,
    .queue_size_max = QUEUE_SIZE,
    .kicked = serial_kicked,
    .config_written = serial_config_written,
    .reset = serial_reset,
    .flush = serial_flush,
    .free = serial_free,
};

void virtio_console_connect(struct virtio_device *d, void (*output)(void *ctx, const void *data, size_t size),
			    void *ctx)
{
	serial_of(d)->output = output;
	serial_of(d)->ctx = ctx;
}

int virtio_console_new(struct virtio_device **ret, struct error *e)
{
	struct serial *s = calloc(1, sizeof *s);

	if (!s)
		return error_set(e, -ENOMEM, "no memory for a console");
	virtio_init(&s->dev, &serial_ops, "console",
		    UINT64_C(1) << VIRTIO_CONSOLE_F_SIZE | UINT64_C(1) << VIRTIO_CONSOLE_F_EMERG_WRITE);
	virtio_console_resize(&s->dev, 80, 25);
	*ret = &s->dev;
	return 0;
}
