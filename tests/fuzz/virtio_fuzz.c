/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_fuzz.c - libFuzzer target for the virtio devices: the input is a guest that writes registers, rings and memory as it
 * likes. Whatever it does, the device answers, stops itself, or waits; it never touches what is not the guest's, its count
 * of requests stays right, and a reset makes it whole.
 *
 *	first byte: which device; then operations, each a byte and its arguments (struct reader: what is missing reads as 0)
 */
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "devices/virtio_block.h"
#include "devices/virtio_console.h"
#include "devices/virtio_mmio.h"
#include "devices/virtio_net.h"
#include "devices/virtio_rng.h"

#define MEMORY_BYTES (256 * KIB)
#define DISK_BYTES   (64 * KIB)
#define RINGS	     0x1000 /* of each queue: table, available ring, used ring at +0, +0x400, +0x800 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

struct reader {
	const uint8_t *at;
	size_t left;
};

struct world {
	struct gmem mem;
	struct virtio_device *dev;
	struct net_backend backend;
	struct io_loop *loop; /* a disk needs one; the others work in this thread */
};

static void must(bool holds)
{
	if (!holds)
		abort();
}

static uint64_t take(struct reader *r, size_t bytes)
{
	uint64_t value = 0;
	size_t n = MIN(bytes, r->left);

	memcpy(&value, r->at, n);
	r->at += n;
	r->left -= n;
	return value;
}

/* ---- what stands around the device ---- */

static void interrupt(void *ctx, unsigned line)
{
}

static void output(void *ctx, const void *data, size_t size)
{
	volatile uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)data)[i]);
}

static int attach(struct net_backend *b, struct io_loop *l)
{
	return 0;
}

static void detach(struct net_backend *b, struct io_loop *l)
{
}

static void send_frame(struct net_backend *b, const uint8_t *frame, size_t size)
{
	must(size >= 14 && size <= NET_FRAME_MAX);
	output(NULL, frame, size);
	if (size < 200)
		net_receive(b, frame, size); /* an echo: the way in at once */
}

static void free_backend(struct net_backend *b)
{
}

static const struct net_backend_ops echo_ops = {
    .name = "echo", .mtu = 1500, .attach = attach, .detach = detach, .send = send_frame, .free = free_backend};

static void make_disk(struct world *w, bool readonly)
{
	int fd = memfd_create("disk", 0);
	char path[64];

	must(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	must(virtio_block_new(path, readonly, &w->dev, NULL) == 0);
	close(fd);
	must(io_loop_new(&w->loop, NULL) == 0);
}

static void make(struct world *w, unsigned kind)
{
	must(gmem_init(&w->mem, MEMORY_BYTES, NULL) == 0);
	switch (kind % 8) {
	case 0:
		make_disk(w, false);
		break;
	case 1:
		make_disk(w, true);
		break;
	case 2:
	case 3:
		must(virtio_console_new(&w->dev, NULL) == 0);
		virtio_console_connect(w->dev, output, NULL);
		break;
	case 4:
		must(virtio_rng_new(&w->dev, NULL) == 0);
		break;
	default:
		w->backend.ops = &echo_ops;
		must(virtio_net_new(&w->backend, &w->dev, NULL) == 0);
		break;
	}
	must(virtio_attach(w->dev, &w->mem, w->loop, interrupt, NULL, 8, NULL) == 0);
}

/* ---- what the guest does ---- */

static void write_register(struct world *w, uint64_t reg, uint64_t value)
{
	(void)virtio_mmio_ops.write(w->dev, reg, 4, value);
}

static void reset(struct world *w)
{
	while (virtio_mmio_ops.write(w->dev, VIRTIO_MMIO_STATUS, 4, 0) == VCPU_RETRY)
		usleep(20);
}

/* As a sound driver would, so that the interesting part is reached. */
static void start(struct world *w, uint32_t features, uint32_t size)
{
	reset(w);
	write_register(w, VIRTIO_MMIO_STATUS, 3);
	write_register(w, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	write_register(w, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	write_register(w, VIRTIO_MMIO_DRIVER_FEATURES,
		       features & virtio_mmio_ops.read(w->dev, VIRTIO_MMIO_DEVICE_FEATURES, 4));
	write_register(w, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	write_register(w, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	write_register(w, VIRTIO_MMIO_STATUS, 11);
	for (unsigned q = 0; q < w->dev->ops->queues; q++) {
		write_register(w, VIRTIO_MMIO_QUEUE_SEL, q);
		write_register(w, VIRTIO_MMIO_QUEUE_NUM, UINT64_C(1) << size % 6);
		write_register(w, VIRTIO_MMIO_QUEUE_DESC_LOW, RINGS * (q + 1));
		write_register(w, VIRTIO_MMIO_QUEUE_AVAIL_LOW, RINGS * (q + 1) + 0x400);
		write_register(w, VIRTIO_MMIO_QUEUE_USED_LOW, RINGS * (q + 1) + 0x800);
		write_register(w, VIRTIO_MMIO_QUEUE_READY, 1);
	}
	write_register(w, VIRTIO_MMIO_STATUS, 15);
}

/* A descriptor, and one more head in the available ring. */
static void offer(struct world *w, struct reader *r)
{
	uint64_t rings = RINGS * (1 + take(r, 1) % 2);
	uint16_t index = (uint16_t)(take(r, 1) % 64), head = (uint16_t)take(r, 1);
	struct vring_desc d = {.addr = take(r, 3),
			       .len = (uint32_t)take(r, 2),
			       .flags = (uint16_t)(take(r, 1) % 8),
			       .next = (uint16_t)(take(r, 1))};
	struct vring_avail *a = gmem_ptr(&w->mem, rings + 0x400, 0x400);
	uint32_t size = w->dev->queue[rings / RINGS - 1].size;

	must(gmem_write(&w->mem, rings + index * sizeof d, &d, sizeof d) == 0);
	if (size > 0 && size <= 64) {
		a->ring[a->idx & (size - 1)] = head;
		__atomic_store_n(&a->idx, (uint16_t)(a->idx + 1), __ATOMIC_RELEASE);
	}
}

static void poke(struct world *w, struct reader *r)
{
	uint64_t gpa = take(r, 2) * 4, n = 1 + take(r, 1) % 64;

	for (uint64_t i = 0; i < n; i++) {
		uint8_t byte = (uint8_t)take(r, 1);

		(void)gmem_write(&w->mem, gpa + i, &byte, 1);
	}
}

static void check(struct world *w)
{
	char why[100];

	if (w->loop)
		(void)io_loop_park(w->loop, UINT64_MAX);
	must(virtio_check(w->dev, why, sizeof why) == 0);
	if (w->loop)
		io_loop_unpark(w->loop);
}

static void act(struct world *w, struct reader *r)
{
	static const uint8_t sizes[] = {1, 2, 4, 8};
	uint8_t what = (uint8_t)take(r, 1), size;
	uint64_t offset;

	switch (what % 10) {
	case 0:
		start(w, (uint32_t)take(r, 4), (uint32_t)take(r, 1));
		break;
	case 1:
		offset = take(r, 1) * 4;
		write_register(w, offset, take(r, 4));
		break;
	case 2:
		size = sizes[take(r, 1) % 4];
		offset = take(r, 2) % (VIRTIO_MMIO_SIZE - 7);
		(void)virtio_mmio_ops.write(w->dev, offset, size, take(r, 8));
		break;
	case 3:
		size = sizes[take(r, 1) % 4];
		(void)virtio_mmio_ops.read(w->dev, take(r, 2) % (VIRTIO_MMIO_SIZE - 7), size);
		break;
	case 4:
		poke(w, r);
		break;
	case 5:
	case 6:
		offer(w, r);
		break;
	case 7:
	case 8:
		write_register(w, VIRTIO_MMIO_QUEUE_NOTIFY, take(r, 1) % 3);
		break;
	default:
		if (w->dev->ops->id == VIRTIO_ID_CONSOLE)
			(void)virtio_console_input(w->dev, r->at, MIN(r->left, (size_t)100));
		check(w);
		break;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	log_setup("fuzz", LOG_ERROR); /* warnings are what it is about */
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader r = {.at = data, .left = size};
	struct world w = {.loop = NULL};

	make(&w, (unsigned)take(&r, 1));
	while (r.left > 0)
		act(&w, &r);
	check(&w);
	reset(&w);
	must(gmem_clear(&w.mem) == 0);
	start(&w, UINT32_MAX, 4);
	must(virtio_mmio_ops.read(w.dev, VIRTIO_MMIO_STATUS, 4) == 15);
	virtio_detach(w.dev);
	virtio_free(w.dev);
	io_loop_free(w.loop);
	gmem_done(&w.mem);
	return 0;
}
