/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio_rng.h"

#include <sys/random.h>

#define QUEUE	    0
#define QUEUE_SIZE  64
#define REQUEST_MAX (64 * KIB) /* more is not given at once: the driver asks again */
#define BATCH	    16	       /* requests before others have their turn */

/* Fills the writable pieces; returns the bytes. */
static size_t fill(const struct virtq_chain *c)
{
	size_t done = 0;

	for (unsigned i = c->readable; i < c->readable + c->writable && done < REQUEST_MAX; i++) {
		size_t want = MIN(c->piece[i].iov_len, REQUEST_MAX - done);
		ssize_t n = getrandom(c->piece[i].iov_base, want, GRND_NONBLOCK);

		if (n < 0)
			break; /* the host itself has none yet: the driver gets less, or nothing */
		done += (size_t)n;
		if ((size_t)n < want)
			break;
	}
	return done;
}

static void rng_kicked(struct virtio_device *d, unsigned queue)
{
	struct virtq_chain c;
	unsigned n = 0;

	lock_take(&d->lock);
	for (; n < BATCH && virtio_next(d, QUEUE, &c); n++)
		virtio_push(d, QUEUE, c.head, fill(&c));
	virtio_tell(d, QUEUE);
	lock_drop(&d->lock);
	if (n == BATCH)
		virtio_kick_later(d, QUEUE);
}

static void rng_free(struct virtio_device *d)
{
	virtio_done(d);
	free(d);
}

static const struct virtio_ops rng_ops = {
    .id = VIRTIO_ID_RNG,
    .queues = 1,
    .queue_size_max = QUEUE_SIZE,
    .kicked = rng_kicked,
    .free = rng_free,
};

int virtio_rng_new(struct virtio_device **ret, struct error *e)
{
	struct virtio_device *d = calloc(1, sizeof *d);

	if (!d)
		return error_set(e, -ENOMEM, "no memory for a device");
	virtio_init(d, &rng_ops, "rng", 0);
	*ret = d;
	return 0;
}
