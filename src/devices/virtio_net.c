/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio_net.h"

#include <linux/virtio_net.h>
#include <string.h>
#include <sys/random.h>

#define RX	    0
#define TX	    1
#define QUEUE_SIZE  256
#define BATCH	    64 /* frames before other devices have their turn */
#define BACKLOG_MAX (512 * KIB)
#define ETHER_MIN   14
#define HEADER_SIZE sizeof(struct virtio_net_hdr_mrg_rxbuf) /* always with the number of buffers (5.1.6.1) */

struct net {
	struct virtio_device dev;
	struct net_backend *backend;
	uint64_t dropped;
	/* Frames for the guest that found no buffer: each a length and its bytes, from `first` to `last`. Device lock. */
	uint8_t *backlog;
	size_t backlog_first, backlog_last;
	uint8_t frame[NET_FRAME_MAX]; /* the I/O thread's: one on its way out */
};

static struct net *net_of(struct virtio_device *d)
{
	return container_of(d, struct net, dev);
}

/* ---- to the guest ---- */

/* False: there is no buffer. A buffer that is too small costs the frame. */
static bool deliver(struct net *n, const uint8_t *frame, size_t size) REQUIRES(n->dev.lock)
{
	const struct virtio_net_hdr_mrg_rxbuf header = {.num_buffers = 1};
	const struct iovec *piece;
	struct virtq_chain c;

	if (!virtio_next(&n->dev, RX, &c))
		return false;
	if (c.writable_bytes < HEADER_SIZE + size) {
		n->dropped++;
		virtio_push(&n->dev, RX, c.head, 0);
		return true;
	}
	piece = c.piece + c.readable;
	(void)pieces_write(piece, c.writable, 0, &header, sizeof header);
	(void)pieces_write(piece, c.writable, sizeof header, frame, size);
	virtio_push(&n->dev, RX, c.head, sizeof header + size);
	return true;
}

static void keep(struct net *n, const void *frame, size_t size) REQUIRES(n->dev.lock)
{
	uint32_t length = (uint32_t)size;
	size_t need = sizeof length + size, used = n->backlog_last - n->backlog_first;

	if (need > BACKLOG_MAX - used) {
		n->dropped++;
		return;
	}
	if (need > BACKLOG_MAX - n->backlog_last) {
		memmove(n->backlog, n->backlog + n->backlog_first, used);
		n->backlog_first = 0;
		n->backlog_last = used;
	}
	memcpy(n->backlog + n->backlog_last, &length, sizeof length);
	memcpy(n->backlog + n->backlog_last + sizeof length, frame, size);
	n->backlog_last += need;
}

static void deliver_backlog(struct net *n) REQUIRES(n->dev.lock)
{
	uint32_t length;

	while (n->backlog_first < n->backlog_last) {
		memcpy(&length, n->backlog + n->backlog_first, sizeof length);
		if (!deliver(n, n->backlog + n->backlog_first + sizeof length, length))
			return;
		n->backlog_first += sizeof length + length;
	}
	n->backlog_first = n->backlog_last = 0;
}

void net_receive(struct net_backend *b, const void *frame, size_t size)
{
	struct net *n = net_of(b->card);

	lock_take(&n->dev.lock);
	if (size > NET_FRAME_MAX || !virtio_running(&n->dev))
		n->dropped++; /* nobody is there */
	else if (n->backlog_last > 0 || !deliver(n, frame, size))
		keep(n, frame, size);
	lock_drop(&n->dev.lock);
}

void net_received(struct net_backend *b)
{
	lock_take(&b->card->lock);
	virtio_tell(b->card, RX);
	lock_drop(&b->card->lock);
}

bool net_has_room(struct net_backend *b)
{
	struct net *n = net_of(b->card);
	bool room;

	lock_take(&n->dev.lock);
	room = n->backlog_last == 0;
	lock_drop(&n->dev.lock);
	return room;
}

static void more_buffers(struct net *n)
{
	bool waited, room;

	lock_take(&n->dev.lock);
	waited = n->backlog_last > 0;
	deliver_backlog(n);
	virtio_tell(&n->dev, RX);
	room = n->backlog_last == 0;
	lock_drop(&n->dev.lock);
	if (waited && room && n->backend->ops->room)
		n->backend->ops->room(n->backend);
}

/* ---- from the guest ---- */

/* The next frame into n->frame; 0: none. Whatever has not the size of a frame is dropped. */
static size_t take_frame(struct net *n)
{
	struct virtq_chain c;
	size_t size = 0;

	lock_take(&n->dev.lock);
	while (size == 0 && virtio_next(&n->dev, TX, &c)) {
		if (c.readable_bytes >= HEADER_SIZE + ETHER_MIN && c.readable_bytes <= HEADER_SIZE + NET_FRAME_MAX)
			size = pieces_read(c.piece, c.readable, HEADER_SIZE, n->frame, NET_FRAME_MAX);
		else
			n->dropped++;
		virtio_push(&n->dev, TX, c.head, 0);
	}
	if (size == 0)
		virtio_tell(&n->dev, TX);
	lock_drop(&n->dev.lock);
	return size;
}

static void send_frames(struct net *n)
{
	unsigned frames = 0;
	size_t size;

	for (; frames < BATCH && (size = take_frame(n)) > 0; frames++)
		n->backend->ops->send(n->backend, n->frame, size);
	if (frames > 0 && n->backend->ops->sent)
		n->backend->ops->sent(n->backend);
	if (frames == BATCH)
		virtio_kick_later(&n->dev, TX);
}

static void net_kicked(struct virtio_device *d, unsigned queue)
{
	if (queue == RX)
		more_buffers(net_of(d));
	else
		send_frames(net_of(d));
}

/* ---- life ---- */

static void net_reset(struct virtio_device *d)
{
	struct net *n = net_of(d);

	n->backlog_first = n->backlog_last = 0;
}

static int net_attach(struct virtio_device *d)
{
	struct net_backend *b = net_of(d)->backend;

	return b->ops->attach(b, d->loop);
}

static void net_detach(struct virtio_device *d)
{
	struct net_backend *b = net_of(d)->backend;

	b->ops->detach(b, d->loop);
}

static void net_free(struct virtio_device *d)
{
	struct net *n = net_of(d);

	n->backend->ops->free(n->backend);
	free(n->backlog);
	virtio_done(d);
	free(n);
}

static const struct virtio_ops net_ops = {
    .id = VIRTIO_ID_NET,
    .queues = 2,
    .queue_size_max = QUEUE_SIZE,
    .attach = net_attach,
    .detach = net_detach,
    .kicked = net_kicked,
    .reset = net_reset,
    .free = net_free,
};

int virtio_net_new(struct net_backend *backend, struct virtio_device **ret, struct error *e)
{
	struct virtio_net_config c = {.status = VIRTIO_NET_S_LINK_UP, .mtu = backend->ops->mtu};
	struct net *n = calloc(1, sizeof *n);
	uint8_t *backlog = malloc(BACKLOG_MAX);

	if (!n || !backlog || getrandom(c.mac, sizeof c.mac, 0) != sizeof c.mac) {
		backend->ops->free(backend);
		free(backlog);
		free(n);
		return error_set(e, -ENOMEM, "no memory for a network card");
	}
	c.mac[0] = (uint8_t)((c.mac[0] & 0xfc) | 0x02); /* one machine's, locally administered */
	n->backend = backend;
	n->backlog = backlog;
	backend->card = &n->dev;
	virtio_init(&n->dev, &net_ops, backend->ops->name,
		    UINT64_C(1) << VIRTIO_NET_F_MAC | UINT64_C(1) << VIRTIO_NET_F_STATUS |
			UINT64_C(1) << VIRTIO_NET_F_MTU);
	_Static_assert(sizeof c <= VIRTIO_CONFIG_MAX, "the configuration fits");
	memcpy(n->dev.config, &c, sizeof c);
	*ret = &n->dev;
	return 0;
}
