/* SPDX-License-Identifier: Apache-2.0 */
/* The UART, the power ports and the dispatch table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/power.h"
#include "devices/uart.h"

struct bench {
	struct uart uart;
	bool line;
	unsigned edges;
	char out[64];
	size_t out_size;
};

static void line(void *ctx, bool level)
{
	struct bench *b = ctx;

	b->edges += level && !b->line;
	b->line = level;
}

static void output(void *ctx, const void *data, size_t size)
{
	struct bench *b = ctx;

	assert_true(b->out_size + size <= sizeof b->out);
	memcpy(b->out + b->out_size, data, size);
	b->out_size += size;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof *b);

	uart_init(&b->uart, line, output, b);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	uart_done(&b->uart);
	free(b);
	return 0;
}

static uint8_t in(struct bench *b, unsigned reg)
{
	return (uint8_t)uart_io_ops.read(&b->uart, reg, 1);
}

static void out(struct bench *b, unsigned reg, uint8_t value)
{
	assert_int_equal(uart_io_ops.write(&b->uart, reg, 1, value), VCPU_RESUME);
}

static void output_leaves_at_once_and_interrupts_when_wanted(void **state)
{
	struct bench *b = *state;

	assert_int_equal(in(b, 5), 0x60);
	out(b, 0, 'h');
	assert_int_equal(b->edges, 0);
	out(b, 1, 0x02); /* "transmitter empty" is asked for while it is empty */
	assert_true(b->line);
	assert_int_equal(in(b, 2), 0x02);
	assert_false(b->line); /* reading IIR acknowledged it */
	assert_int_equal(in(b, 2), 0x01);
	out(b, 0, 'i');
	assert_int_equal(b->edges, 2);
	out(b, 0, '!'); /* without reading IIR: one more edge all the same */
	assert_int_equal(b->edges, 3);
	assert_memory_equal(b->out, "hi!", 3);
}

static void input_interrupts_until_it_is_read(void **state)
{
	struct bench *b = *state;

	out(b, 2, 0x01);
	out(b, 1, 0x01);
	assert_int_equal(uart_input(&b->uart, "ab", 2), 2);
	assert_true(b->line);
	assert_int_equal(in(b, 2), 0xc4);
	assert_int_equal(in(b, 5), 0x61);
	assert_int_equal(in(b, 0), 'a');
	assert_true(b->line);
	assert_int_equal(in(b, 0), 'b');
	assert_false(b->line);
	assert_int_equal(in(b, 5), 0x60);
	assert_int_equal(in(b, 0), 0);
}

static void input_comes_before_output_in_iir(void **state)
{
	struct bench *b = *state;

	out(b, 1, 0x03);
	uart_input(&b->uart, "x", 1);
	assert_int_equal(in(b, 2) & 0x0f, 0x04);
	(void)in(b, 0);
	assert_int_equal(in(b, 2) & 0x0f, 0x02);
	assert_int_equal(in(b, 2) & 0x0f, 0x01);
}

static void input_is_bounded_and_keeps_its_order(void **state)
{
	struct bench *b = *state;
	char big[UART_INPUT_MAX + 10];

	for (size_t i = 0; i < sizeof big; i++)
		big[i] = (char)('a' + i % 26);
	assert_int_equal(uart_input(&b->uart, big, 100), 100);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(in(b, 0), big[i]);
	assert_int_equal(uart_input(&b->uart, big, sizeof big), UART_INPUT_MAX);
	for (size_t i = 0; i < UART_INPUT_MAX; i++)
		assert_int_equal(in(b, 0), big[i]);
	assert_int_equal(in(b, 5) & 1, 0);
}

static void the_divisor_hides_behind_dlab(void **state)
{
	struct bench *b = *state;

	out(b, 3, 0x83);
	out(b, 0, 0x0c);
	out(b, 1, 0x01);
	assert_int_equal(in(b, 0), 0x0c);
	assert_int_equal(in(b, 1), 0x01);
	out(b, 3, 0x03);
	assert_int_equal(in(b, 1), 0);
	assert_int_equal(b->out_size, 0);
}

static void loop_back_turns_output_into_input(void **state)
{
	struct bench *b = *state;

	out(b, 4, 0x1a);
	assert_int_equal(in(b, 6) & 0xf0, 0x90); /* what Linux probes */
	out(b, 0, 'L');
	assert_int_equal(b->out_size, 0);
	assert_int_equal(in(b, 0), 'L');
	out(b, 4, 0x0b);
	assert_int_equal(in(b, 6), 0xb0);
}

static void a_reset_drops_input_and_lowers_the_line(void **state)
{
	struct bench *b = *state;

	out(b, 1, 0x01);
	uart_input(&b->uart, "x", 1);
	assert_true(b->line);
	uart_reset(&b->uart);
	assert_false(b->line);
	assert_int_equal(in(b, 5), 0x60);
}

static void every_register_takes_every_value(void **state)
{
	struct bench *b = *state;

	for (unsigned reg = 1; reg < UART_PORTS; reg++)
		for (unsigned value = 0; value < 256; value++) {
			out(b, reg, (uint8_t)value);
			(void)in(b, reg);
		}
}

static void the_power_ports_say_off_and_reset(void **state)
{
	struct io_space ports = {0};

	(void)state;
	assert_int_equal(power_register(&ports), 0);
	assert_int_equal(io_write(&ports, POWER_PORT_SLEEP_CONTROL, 1, 0x20 | POWER_S5_TYPE << 2), VCPU_POWER_OFF);
	assert_int_equal(io_write(&ports, POWER_PORT_SLEEP_CONTROL, 1, 0x20 | 3 << 2), VCPU_RESUME);
	assert_int_equal(io_write(&ports, POWER_PORT_SLEEP_CONTROL, 1, POWER_S5_TYPE << 2), VCPU_RESUME);
	assert_int_equal(io_write(&ports, POWER_PORT_RESET, 1, POWER_RESET_VALUE), VCPU_RESET);
	assert_int_equal(io_write(&ports, POWER_PORT_RESET, 1, 0x55), VCPU_RESUME);
	assert_int_equal(io_write(&ports, 0x64, 1, 0xfe), VCPU_RESET);
	assert_int_equal(io_write(&ports, 0x64, 1, 0xaa), VCPU_RESUME);
	assert_int_equal(io_read(&ports, 0x64, 1), 0);
	assert_int_equal(io_write(&ports, 0xcf9, 1, 0x02), VCPU_RESUME);
	assert_int_equal(io_write(&ports, 0xcf9, 1, 0x06), VCPU_RESET);
	assert_int_equal(io_write(&ports, 0xcf8, 4, UINT32_MAX), VCPU_RESUME); /* PCI's address port is not ours */
}

static void unclaimed_addresses_read_as_ones_and_overlaps_are_refused(void **state)
{
	static const struct io_ops none = {0};
	struct io_space s = {0};

	(void)state;
	assert_int_equal(io_register(&s, 0x100, 8, &none, NULL), 0);
	assert_int_equal(io_register(&s, 0x107, 1, &none, NULL), -EEXIST);
	assert_int_equal(io_register(&s, 0x108, 1, &none, NULL), 0);
	assert_true(io_read(&s, 0x100, 1) == UINT64_MAX);
	assert_true(io_read(&s, UINT64_MAX, 8) == UINT64_MAX);
	assert_int_equal(io_write(&s, UINT64_MAX - 1, 8, 0), VCPU_RESUME);
	for (unsigned i = 2; i < IO_REGIONS_MAX; i++)
		assert_int_equal(io_register(&s, 0x1000 + i, 1, &none, NULL), 0);
	assert_int_equal(io_register(&s, 0x9000, 1, &none, NULL), -ENOSPC);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(output_leaves_at_once_and_interrupts_when_wanted),
	    T(input_interrupts_until_it_is_read),
	    T(input_comes_before_output_in_iir),
	    T(input_is_bounded_and_keeps_its_order),
	    T(the_divisor_hides_behind_dlab),
	    T(loop_back_turns_output_into_input),
	    T(a_reset_drops_input_and_lowers_the_line),
	    T(every_register_takes_every_value),
	    cmocka_unit_test(the_power_ports_say_off_and_reset),
	    cmocka_unit_test(unclaimed_addresses_read_as_ones_and_overlaps_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
