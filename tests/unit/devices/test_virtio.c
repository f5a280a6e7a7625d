/* SPDX-License-Identifier: Apache-2.0 */
/* Rings and registers, with a device that keeps what it gets until the test gives it back. */
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/virtio_mmio.h"
#include "devices/virtio_rng.h"
#include "driver.h"

#define ALL_FEATURES UINT64_MAX
#define INDIRECT     (DRIVER_DATA + 0x10000)
#define NEEDS_RESET  VIRTIO_CONFIG_S_NEEDS_RESET

/* ---- the device ---- */

struct keeper {
	struct virtio_device dev;
	bool keeps;
	unsigned kept, resets;
	struct virtq_chain chain; /* the last one */
};

static void keeper_kicked(struct virtio_device *d, unsigned queue)
{
	struct keeper *k = container_of(d, struct keeper, dev);

	lock_take(&d->lock);
	while (virtio_next(d, queue, &k->chain)) {
		if (k->keeps)
			k->kept++;
		else
			virtio_push(d, queue, k->chain.head, k->chain.writable_bytes);
	}
	virtio_tell(d, queue);
	lock_drop(&d->lock);
}

static void keeper_reset(struct virtio_device *d)
{
	container_of(d, struct keeper, dev)->resets++;
}

static void keeper_free(struct virtio_device *d)
{
	virtio_done(d);
	free(container_of(d, struct keeper, dev));
}

static const struct virtio_ops keeper_ops = {
    .id = 99,
    .queues = 2,
    .queue_size_max = 16,
    .kicked = keeper_kicked,
    .reset = keeper_reset,
    .free = keeper_free,
};

struct bench {
	struct driver driver;
	struct keeper *keeper;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof *b);

	b->keeper = calloc(1, sizeof *b->keeper);
	virtio_init(&b->keeper->dev, &keeper_ops, "keeper", 0x5);
	driver_init(&b->driver, &b->keeper->dev, false);
	assert_int_equal(driver_start(&b->driver, ALL_FEATURES) & ~0xfu, 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	driver_done(&b->driver);
	free(b);
	return 0;
}

static struct virtq *queue(struct bench *b)
{
	return &b->keeper->dev.queue[0];
}

static bool lost(struct bench *b)
{
	return driver_read(&b->driver, VIRTIO_MMIO_STATUS) & NEEDS_RESET;
}

/* ---- rings ---- */

static void a_chain_arrives_as_its_pieces(void **state)
{
	struct bench *b = *state;
	const struct buffer buffers[] = {
	    {DRIVER_DATA, 100, false}, {DRIVER_DATA + 500, 20, false}, {DRIVER_DATA + 1000, 7, true}};
	const struct virtq_chain *c = &b->keeper->chain;

	assert_int_equal(driver_request(&b->driver, 0, buffers, 3), 7);
	assert_int_equal(c->readable, 2);
	assert_int_equal(c->writable, 1);
	assert_int_equal(c->readable_bytes, 120);
	assert_ptr_equal(c->piece[1].iov_base, driver_at(&b->driver, DRIVER_DATA + 500));
	assert_int_equal(c->piece[2].iov_len, 7);
}

static void an_indirect_table_is_followed(void **state)
{
	struct bench *b = *state;
	struct buffer buffers[40];

	for (unsigned i = 0; i < 40; i++)
		buffers[i] = (struct buffer){DRIVER_DATA + i * 64, 64, i >= 30};
	driver_offer(&b->driver, 0, buffers, 40, INDIRECT);
	driver_notify(&b->driver, 0);
	assert_int_equal(driver_answer(&b->driver, 0).len, 640);
	assert_int_equal(b->keeper->chain.readable, 30);
}

static void rings_go_round_for_ever(void **state)
{
	struct bench *b = *state;
	const struct buffer buffer = {DRIVER_DATA, 16, true};

	for (unsigned i = 0; i < 70000; i++) /* indexes have 16 bits */
		assert_int_equal(driver_request(&b->driver, 0, &buffer, 1), 16);
	assert_int_equal(atomic_load(&b->driver.interrupts), 2); /* used_event stays 0: each time the index passes it */
	assert_true(virtq_consistent(queue(b)));
}

static void interrupts_come_when_they_are_asked_for(void **state)
{
	struct bench *b = *state;
	const struct buffer buffer = {DRIVER_DATA, 16, true};
	struct vring_avail *avail = b->driver.queue[0].avail;

	avail->ring[16] = 2; /* used_event: after the third */
	for (unsigned i = 0; i < 3; i++) {
		driver_request(&b->driver, 0, &buffer, 1);
		assert_int_equal(atomic_load(&b->driver.interrupts), i == 2);
	}
	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	driver_write(&b->driver, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	/* Without event indexes, a flag says it. */
	driver_start(&b->driver, 0);
	driver_request(&b->driver, 0, &buffer, 1);
	assert_int_equal(atomic_load(&b->driver.interrupts), 2);
	b->driver.queue[0].avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	driver_request(&b->driver, 0, &buffer, 1);
	assert_int_equal(atomic_load(&b->driver.interrupts), 2);
}

/* Offers one descriptor as it is, and the device must be lost, and come back by a reset. */
static void breaks(struct bench *b, struct vring_desc d, uint16_t head)
{
	driver_start(&b->driver, ALL_FEATURES);
	b->driver.queue[0].desc[0] = d;
	driver_offer_head(&b->driver, 0, head);
	driver_notify(&b->driver, 0);
	assert_true(lost(b));
	assert_int_equal(b->driver.queue[0].used->idx, 0);
	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	driver_start(&b->driver, ALL_FEATURES);
	assert_false(lost(b));
	assert_int_equal(driver_request(&b->driver, 0, &(struct buffer){DRIVER_DATA, 5, true}, 1), 5);
}

static void malformed_chains_stop_the_device_alone(void **state)
{
	struct bench *b = *state;
	const uint64_t data = DRIVER_DATA;

	breaks(b, (struct vring_desc){data, 10, VRING_DESC_F_NEXT, 0}, 0);		 /* a loop */
	breaks(b, (struct vring_desc){data, 10, VRING_DESC_F_NEXT, 16}, 0);		 /* next outside */
	breaks(b, (struct vring_desc){data, 10, 0, 0}, 16);				 /* head outside */
	breaks(b, (struct vring_desc){data, 10, 0, 0}, UINT16_MAX);			 /* the same */
	breaks(b, (struct vring_desc){data, 0, 0, 0}, 0);				 /* nothing */
	breaks(b, (struct vring_desc){DRIVER_MEMORY - 9, 10, 0, 0}, 0);			 /* one byte too far */
	breaks(b, (struct vring_desc){UINT64_MAX - 4, 10, 0, 0}, 0);			 /* wraps */
	breaks(b, (struct vring_desc){0xfec00000, 10, 0, 0}, 0);			 /* in the hole */
	breaks(b, (struct vring_desc){data, UINT32_MAX, VRING_DESC_F_WRITE, 0}, 0);	 /* all and more */
	breaks(b, (struct vring_desc){INDIRECT, 0, VRING_DESC_F_INDIRECT, 0}, 0);	 /* empty table */
	breaks(b, (struct vring_desc){INDIRECT, 17, VRING_DESC_F_INDIRECT, 0}, 0);	 /* half a descriptor */
	breaks(b, (struct vring_desc){INDIRECT, 257 * 16, VRING_DESC_F_INDIRECT, 0}, 0); /* too long */
	breaks(b, (struct vring_desc){INDIRECT + 1, 16, VRING_DESC_F_INDIRECT, 0}, 0);	 /* crooked */
	breaks(b, (struct vring_desc){DRIVER_MEMORY, 16, VRING_DESC_F_INDIRECT, 0}, 0);	 /* no memory */
	breaks(b, (struct vring_desc){INDIRECT, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1}, 0);
	/* a table inside of a table; and one that loops */
	*(struct vring_desc *)driver_at(&b->driver, INDIRECT) =
	    (struct vring_desc){INDIRECT, 16, VRING_DESC_F_INDIRECT, 0};
	breaks(b, (struct vring_desc){INDIRECT, 16, VRING_DESC_F_INDIRECT, 0}, 0);
	*(struct vring_desc *)driver_at(&b->driver, INDIRECT) = (struct vring_desc){data, 16, VRING_DESC_F_NEXT, 0};
	breaks(b, (struct vring_desc){INDIRECT, 16, VRING_DESC_F_INDIRECT, 0}, 0);
}

static void readable_after_writable_is_malformed(void **state)
{
	struct bench *b = *state;
	const struct buffer buffers[] = {{DRIVER_DATA, 10, true}, {DRIVER_DATA, 10, false}};

	driver_offer(&b->driver, 0, buffers, 2, 0);
	driver_notify(&b->driver, 0);
	assert_true(lost(b));
}

static void more_than_fits_into_the_ring_is_malformed(void **state)
{
	struct bench *b = *state;

	b->driver.queue[0].avail->idx = 17;
	driver_notify(&b->driver, 0);
	assert_true(lost(b));
}

/* The same head again and again, while the device still has it: the used ring must not overflow. */
static void a_head_offered_too_often_is_malformed(void **state)
{
	struct bench *b = *state;

	b->keeper->keeps = true;
	driver_offer(&b->driver, 0, &(struct buffer){DRIVER_DATA, 10, true}, 1, 0);
	driver_notify(&b->driver, 0);
	for (unsigned i = 1; i < 40; i++) {
		driver_offer_head(&b->driver, 0, 0);
		driver_notify(&b->driver, 0);
	}
	assert_true(lost(b));
	assert_int_equal(b->keeper->kept, 16);
	lock_take(&b->keeper->dev.lock);
	while (queue(b)->in_flight > 0)
		virtio_push(&b->keeper->dev, 0, 0, 0);
	lock_drop(&b->keeper->dev.lock);
}

/* ---- registers ---- */

static void the_device_introduces_itself(void **state)
{
	struct bench *b = *state;

	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_DEVICE_ID), 99);
	driver_write(&b->driver, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_QUEUE_NUM_MAX), 16);
	driver_write(&b->driver, VIRTIO_MMIO_QUEUE_SEL, 2);
	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
}

static void features_are_agreed_on_or_refused(void **state)
{
	struct bench *b = *state;
	struct driver *d = &b->driver;

	driver_write(d, VIRTIO_MMIO_STATUS, 0);
	driver_write(d, VIRTIO_MMIO_STATUS, 3);
	/* Without VERSION_1, and with one that was not offered. */
	driver_write(d, VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 3);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, 0x2);
	driver_write(d, VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 3);
	driver_write(d, VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 3);
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, 0x4);
	driver_write(d, VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
	assert_int_equal(driver_read(d, VIRTIO_MMIO_STATUS), 3 | VIRTIO_CONFIG_S_FEATURES_OK);
	/* Now they stay. */
	driver_write(d, VIRTIO_MMIO_DRIVER_FEATURES, 0x1);
	assert_int_equal(b->keeper->dev.features, UINT64_C(1) << VIRTIO_F_VERSION_1 | 0x4);
}

static void a_queue_without_memory_stops_the_device(void **state)
{
	struct bench *b = *state;
	static const struct {
		uint32_t size, desc, high;
	} wrong[] = {{0, 0x10000, 0},  {3, 0x10000, 0},
		     {17, 0x10000, 0}, {32, 0x10000, 0},
		     {16, 0x10008, 0}, {16, DRIVER_MEMORY - 16, 0},
		     {16, 0x10000, 1}, {16, 0xfffffff0, UINT32_MAX}};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		driver_start(&b->driver, ALL_FEATURES);
		driver_write(&b->driver, VIRTIO_MMIO_STATUS, 0);
		driver_write(&b->driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
		driver_write(&b->driver, VIRTIO_MMIO_DRIVER_FEATURES, 1);
		driver_write(&b->driver, VIRTIO_MMIO_STATUS, 11);
		assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_STATUS), 11);
		driver_write(&b->driver, VIRTIO_MMIO_QUEUE_NUM, wrong[i].size);
		driver_write(&b->driver, VIRTIO_MMIO_QUEUE_DESC_LOW, wrong[i].desc);
		driver_write(&b->driver, VIRTIO_MMIO_QUEUE_DESC_HIGH, wrong[i].high);
		driver_write(&b->driver, VIRTIO_MMIO_QUEUE_READY, 1);
		assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_QUEUE_READY), 0);
		assert_true(lost(b));
	}
}

static void a_queue_in_use_does_not_move(void **state)
{
	struct bench *b = *state;

	driver_write(&b->driver, VIRTIO_MMIO_QUEUE_SEL, 0);
	driver_write(&b->driver, VIRTIO_MMIO_QUEUE_DESC_LOW, 0x40000);
	driver_write(&b->driver, VIRTIO_MMIO_QUEUE_NUM, 4);
	driver_write(&b->driver, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(queue(b)->size, 16);
	assert_int_equal(driver_request(&b->driver, 0, &(struct buffer){DRIVER_DATA, 5, true}, 1), 5);
}

static void a_reset_waits_for_what_is_in_flight(void **state)
{
	struct bench *b = *state;

	b->keeper->keeps = true;
	driver_offer(&b->driver, 0, &(struct buffer){DRIVER_DATA, 5, true}, 1, 0);
	driver_notify(&b->driver, 0);
	assert_int_equal(b->keeper->kept, 1);
	b->keeper->resets = 0;
	assert_int_equal(driver_write(&b->driver, VIRTIO_MMIO_STATUS, 0), VCPU_RETRY);
	/* Nothing new begins meanwhile. */
	driver_offer(&b->driver, 0, &(struct buffer){DRIVER_DATA, 5, true}, 1, 0);
	driver_notify(&b->driver, 0);
	assert_int_equal(b->keeper->kept, 1);
	assert_int_equal(b->keeper->resets, 0);
	lock_take(&b->keeper->dev.lock);
	virtio_push(&b->keeper->dev, 0, b->keeper->chain.head, 0);
	lock_drop(&b->keeper->dev.lock);
	assert_int_equal(driver_write(&b->driver, VIRTIO_MMIO_STATUS, 0), VCPU_RESUME);
	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(b->keeper->resets, 1);
}

static void the_check_finds_a_lost_request(void **state)
{
	struct bench *b = *state;
	char why[100] = "";

	b->keeper->keeps = true;
	driver_offer(&b->driver, 0, &(struct buffer){DRIVER_DATA, 5, true}, 1, 0);
	driver_notify(&b->driver, 0);
	assert_int_equal(virtio_check(&b->keeper->dev, why, sizeof why), 0); /* held, and accounted for */
	lock_take(&b->keeper->dev.lock);
	queue(b)->in_flight--;
	lock_drop(&b->keeper->dev.lock);
	assert_int_equal(virtio_check(&b->keeper->dev, why, sizeof why), -EIO);
	assert_non_null(strstr(why, "keeper"));
}

static void any_access_is_survived(void **state)
{
	struct bench *b = *state;
	unsigned seed = 1;

	for (unsigned i = 0; i < 200000; i++) {
		unsigned r = (unsigned)rand_r(&seed), size = 1u << (r & 3);
		uint64_t offset = (r >> 2) % (VIRTIO_MMIO_SIZE - 8);
		uint64_t value = (uint64_t)rand_r(&seed) << (rand_r(&seed) % 34);

		if (r & 0x10000)
			offset = offset % 0x110 & ~3u;
		if (r & 0x20000)
			(void)virtio_mmio_ops.read(b->driver.dev, offset, size);
		else
			(void)virtio_mmio_ops.write(b->driver.dev, offset, size, r & 0x40000 ? value : value & 0xf);
	}
}

/* ---- entropy, with a thread ---- */

static void entropy_fills_what_it_is_given(void **state)
{
	struct virtio_device *rng;
	struct driver d;
	const struct buffer buffers[] = {{DRIVER_DATA, 1000, true}, {DRIVER_DATA + 5000, 3096, true}};
	const uint8_t *bytes;
	unsigned zero = 0;

	assert_int_equal(virtio_rng_new(&rng, NULL), 0);
	driver_init(&d, rng, true);
	driver_start(&d, ALL_FEATURES);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(driver_request(&d, 0, buffers, 2), 4096);
	bytes = driver_at(&d, DRIVER_DATA + 5000);
	for (unsigned i = 0; i < 3096; i++)
		zero += bytes[i] == 0;
	assert_true(zero < 100);
	assert_int_equal(*(uint8_t *)driver_at(&d, DRIVER_DATA + 1001), 0);
	/* A thread that is parked does nothing; afterwards it goes on. */
	assert_int_equal(io_loop_park(d.loop, UINT64_MAX), 0);
	driver_offer(&d, 0, buffers, 2, 0);
	driver_notify(&d, 0);
	usleep(20000);
	assert_int_equal(d.queue[0].used->idx, d.queue[0].seen);
	io_loop_unpark(d.loop);
	assert_int_equal(driver_answer(&d, 0).len, 4096);
	driver_done(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_chain_arrives_as_its_pieces, setup, teardown),
	    cmocka_unit_test_setup_teardown(an_indirect_table_is_followed, setup, teardown),
	    cmocka_unit_test_setup_teardown(rings_go_round_for_ever, setup, teardown),
	    cmocka_unit_test_setup_teardown(interrupts_come_when_they_are_asked_for, setup, teardown),
	    cmocka_unit_test_setup_teardown(malformed_chains_stop_the_device_alone, setup, teardown),
	    cmocka_unit_test_setup_teardown(readable_after_writable_is_malformed, setup, teardown),
	    cmocka_unit_test_setup_teardown(more_than_fits_into_the_ring_is_malformed, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_head_offered_too_often_is_malformed, setup, teardown),
	    cmocka_unit_test_setup_teardown(the_device_introduces_itself, setup, teardown),
	    cmocka_unit_test_setup_teardown(features_are_agreed_on_or_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_queue_without_memory_stops_the_device, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_queue_in_use_does_not_move, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_reset_waits_for_what_is_in_flight, setup, teardown),
	    cmocka_unit_test_setup_teardown(the_check_finds_a_lost_request, setup, teardown),
	    cmocka_unit_test_setup_teardown(any_access_is_survived, setup, teardown),
	    cmocka_unit_test(entropy_fills_what_it_is_given),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
