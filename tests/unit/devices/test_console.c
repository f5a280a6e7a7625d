/* SPDX-License-Identifier: Apache-2.0 */
/* The virtio console: order of bytes, input that waits, rest, size. */
#include <linux/virtio_console.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/virtio_console.h"
#include "driver.h"

#define RX	     0
#define TX	     1
#define OUT	     DRIVER_DATA
#define IN	     (DRIVER_DATA + 0x40000)
#define ALL_FEATURES UINT64_MAX

struct bench {
	struct driver driver;
	size_t size;
	char seen[300000];
};

static void output(void *ctx, const void *data, size_t size)
{
	struct bench *b = ctx;

	assert_true(b->size + size < sizeof b->seen);
	memcpy(b->seen + b->size, data, size);
	b->size += size;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof *b);
	struct virtio_device *console;

	assert_int_equal(virtio_console_new(&console, NULL), 0);
	virtio_console_connect(console, output, b);
	driver_init(&b->driver, console, false);
	driver_start(&b->driver, ALL_FEATURES);
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

static void output_keeps_its_order(void **state)
{
	struct bench *b = *state;
	char *memory = driver_at(&b->driver, OUT);

	for (unsigned i = 0; i < 100000; i++)
		memory[i] = (char)('a' + i % 23);
	driver_request(&b->driver, TX, &(struct buffer){OUT, 3, false}, 1);
	driver_request(&b->driver, TX, (const struct buffer[]){{OUT + 3, 5000, false}, {OUT + 5003, 9, false}}, 2);
	driver_request(&b->driver, TX, &(struct buffer){OUT + 5012, 40000, false}, 1);
	assert_int_equal(b->size, 45012);
	assert_memory_equal(b->seen, memory, b->size);
	/* A request that is too large loses its end, nothing else. */
	driver_request(&b->driver, TX, &(struct buffer){OUT, 100000, false}, 1);
	assert_int_equal(b->size, 45012 + 64 * KIB);
}

static void input_waits_for_buffers(void **state)
{
	struct bench *b = *state;
	char text[VIRTIO_CONSOLE_INPUT_MAX + 100];

	for (unsigned i = 0; i < sizeof text; i++)
		text[i] = (char)('A' + i % 26);
	assert_int_equal(virtio_console_input(b->driver.dev, text, sizeof text), VIRTIO_CONSOLE_INPUT_MAX);
	assert_int_equal(virtio_console_input(b->driver.dev, text, 1), 0);
	for (unsigned at = 0; at < VIRTIO_CONSOLE_INPUT_MAX; at += 64) {
		assert_int_equal(driver_request(&b->driver, RX, &(struct buffer){IN, 64, true}, 1), 64);
		assert_memory_equal(driver_at(&b->driver, IN), text + at, 64);
	}
	/* Buffers that wait for input. */
	driver_offer(&b->driver, RX, &(struct buffer){IN, 64, true}, 1, 0);
	driver_notify(&b->driver, RX);
	assert_int_equal(virtio_console_input(b->driver.dev, "hello", 5), 5);
	assert_int_equal(driver_answer(&b->driver, RX).len, 5);
	assert_memory_equal(driver_at(&b->driver, IN), "hello", 5);
}

/* What the driver has handed over and not even told us about is passed on. */
static void at_rest_nothing_is_left_inside(void **state)
{
	struct bench *b = *state;
	char why[100];

	memcpy(driver_at(&b->driver, OUT), "last words", 10);
	driver_offer(&b->driver, TX, &(struct buffer){OUT, 10, false}, 1, 0);
	assert_int_equal(b->size, 0);
	assert_int_equal(virtio_check(b->driver.dev, why, sizeof why), 0);
	assert_string_equal(b->seen, "last words");
	driver_notify(&b->driver, TX);
	assert_int_equal(b->size, 10); /* once */
}

static void a_new_size_is_told(void **state)
{
	struct bench *b = *state;
	uint32_t generation = driver_read(&b->driver, VIRTIO_MMIO_CONFIG_GENERATION);

	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_CONFIG), 80 | 25 << 16);
	virtio_console_resize(b->driver.dev, 132, 50);
	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_CONFIG), 132 | 50 << 16);
	assert_int_not_equal(driver_read(&b->driver, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	assert_int_equal(driver_read(&b->driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
}

static void a_character_goes_out_without_a_queue(void **state)
{
	struct bench *b = *state;

	driver_write(&b->driver, VIRTIO_MMIO_STATUS, 0);
	assert_false(virtio_console_used(b->driver.dev));
	driver_write(&b->driver, VIRTIO_MMIO_CONFIG + offsetof(struct virtio_console_config, emerg_wr), '!');
	driver_write(&b->driver, VIRTIO_MMIO_CONFIG, '?'); /* the size is not the driver's to change */
	assert_string_equal(b->seen, "!");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(output_keeps_its_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(input_waits_for_buffers, setup, teardown),
	    cmocka_unit_test_setup_teardown(at_rest_nothing_is_left_inside, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_new_size_is_told, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_character_goes_out_without_a_queue, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
