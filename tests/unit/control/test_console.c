/* SPDX-License-Identifier: Apache-2.0 */
/* The console buffer: positions, wrap, waiting, closing, and the input queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "console/console.h"

static void each_reader_sees_everything_from_its_own_position(void **state)
{
	struct console *c;
	uint64_t a = 0, b = 0, now = UINT64_MAX;
	char buf[32];

	assert_int_equal(console_new(64, &c), 0);
	console_append(c, "hello ", 6);
	assert_int_equal(console_read(c, &a, buf, sizeof buf), 6);
	assert_memory_equal(buf, "hello ", 6);
	assert_int_equal(console_read(c, &now, buf, sizeof buf), 0);
	assert_int_equal(now, 6);
	console_append(c, "world", 5);
	assert_int_equal(console_read(c, &a, buf, sizeof buf), 5);
	assert_int_equal(console_read(c, &b, buf, sizeof buf), 11);
	assert_memory_equal(buf, "hello world", 11);
	assert_int_equal(console_read(c, &now, buf, sizeof buf), 5);
	assert_memory_equal(buf, "world", 5);
	assert_int_equal(a, 11);
	assert_int_equal(console_end(c), 11);
	console_unref(c);
}

static void an_overwritten_position_moves_up_to_the_oldest_byte(void **state)
{
	struct console *c;
	uint64_t pos = 0;
	char buf[32];

	assert_int_equal(console_new(8, &c), 0);
	console_append(c, "abcdef", 6);
	console_append(c, "ghijkl", 6);
	assert_int_equal(console_read(c, &pos, buf, sizeof buf), 8);
	assert_memory_equal(buf, "efghijkl", 8);
	assert_int_equal(pos, 12);
	/* One piece larger than the ring: its end is kept, its length counts. */
	console_append(c, "0123456789ABCDEF", 16);
	assert_int_equal(console_end(c), 28);
	assert_int_equal(console_read(c, &pos, buf, 3), 3);
	assert_memory_equal(buf, "89A", 3);
	assert_int_equal(pos, 23);
	assert_int_equal(console_read(c, &pos, buf, sizeof buf), 5);
	assert_memory_equal(buf, "BCDEF", 5);
	console_unref(c);
}

static void every_split_of_a_stream_reads_back_the_same(void **state)
{
	/* Model: the last 7 bytes of what was written, for all lengths of pieces. */
	for (size_t piece = 1; piece <= 20; piece++) {
		uint8_t data[200], buf[64];
		struct console *c;

		for (size_t i = 0; i < sizeof data; i++)
			data[i] = (uint8_t)i;
		assert_int_equal(console_new(7, &c), 0);
		for (size_t at = 0; at < sizeof data; at += piece) {
			size_t n = MIN(piece, sizeof data - at);
			size_t kept = MIN(at + n, (size_t)7);
			uint64_t pos = 0;

			console_append(c, data + at, n);
			assert_int_equal(console_read(c, &pos, buf, sizeof buf), kept);
			assert_memory_equal(buf, data + at + n - kept, kept);
			assert_int_equal(pos, at + n);
		}
		console_unref(c);
	}
}

static void *append_later(void *arg)
{
	usleep(20000);
	console_append(arg, "x", 1);
	return NULL;
}

static void *close_later(void *arg)
{
	usleep(20000);
	console_close(arg);
	return NULL;
}

static void wait_returns_for_output_for_time_and_for_close(void **state)
{
	struct console *c;
	pthread_t t;
	char buf[4];
	uint64_t pos = 0;

	assert_int_equal(console_new(0, &c), 0);
	assert_int_equal(console_wait(c, 0, 0), 0);
	assert_int_equal(console_wait(c, 0, 5), 0);
	assert_int_equal(pthread_create(&t, NULL, append_later, c), 0);
	assert_int_equal(console_wait(c, 0, -1), 1);
	pthread_join(t, NULL);
	assert_int_equal(console_wait(c, 0, -1), 1);

	assert_int_equal(pthread_create(&t, NULL, close_later, c), 0);
	assert_int_equal(console_wait(c, 1, -1), -EPIPE);
	pthread_join(t, NULL);
	/* What is left after the close can still be read; nothing is added. */
	assert_int_equal(console_wait(c, 0, -1), 1);
	console_append(c, "y", 1);
	assert_int_equal(console_read(c, &pos, buf, sizeof buf), 1);
	assert_int_equal(console_input_push(c, "i", 1), 0);
	console_unref(c);
}

struct stream {
	struct console *c;
	size_t total;
};

static void *write_stream(void *arg)
{
	struct stream *s = arg;
	uint8_t piece[97];

	for (size_t at = 0; at < s->total;) {
		size_t n = MIN(sizeof piece, s->total - at);

		for (size_t i = 0; i < n; i++)
			piece[i] = (uint8_t)((at + i) % 251);
		console_append(s->c, piece, n);
		at += n;
	}
	console_close(s->c);
	return NULL;
}

static void a_reader_beside_a_fast_writer_gets_right_bytes_at_right_positions(void **state)
{
	struct stream s = {.total = 1000000};
	uint8_t *buf = malloc(50000);
	uint64_t pos = 0;
	pthread_t t;

	assert_non_null(buf);
	assert_int_equal(console_new(40000, &s.c), 0);
	assert_int_equal(pthread_create(&t, NULL, write_stream, &s), 0);
	while (console_wait(s.c, pos, -1) > 0) {
		size_t n = console_read(s.c, &pos, buf, 50000);

		for (size_t i = 0; i < n; i++)
			assert_int_equal(buf[i], (pos - n + i) % 251);
	}
	pthread_join(t, NULL);
	assert_int_equal(pos, s.total);
	console_unref(s.c);
	free(buf);
}

static void input_is_bounded_and_keeps_its_order(void **state)
{
	static uint8_t big[CONSOLE_INPUT_MAX];
	struct console *c;
	char buf[16];

	assert_int_equal(console_new(0, &c), 0);
	assert_int_equal(console_input_peek(c, buf, sizeof buf), 0);
	assert_int_equal(console_input_push(c, "ab", 2), 2);
	assert_int_equal(console_input_push(c, "cd", 2), 2);
	assert_int_equal(console_input_peek(c, buf, 3), 3);
	assert_memory_equal(buf, "abc", 3);
	assert_int_equal(console_input_take(c, NULL, 1), 1);
	/* Full: the part that fits is taken; it wraps round the end of the queue. */
	assert_int_equal(console_input_push(c, big, sizeof big), sizeof big - 3);
	assert_int_equal(console_input_push(c, big, 1), 0);
	assert_int_equal(console_input_take(c, buf, 4), 4);
	assert_memory_equal(buf, "bcd\0", 4);
	assert_int_equal(console_input_push(c, "end!", 4), 4);
	assert_int_equal(console_input_take(c, NULL, sizeof big - 4), sizeof big - 4);
	assert_int_equal(console_input_take(c, buf, sizeof buf), 4);
	assert_memory_equal(buf, "end!", 4);
	assert_int_equal(console_input_take(c, buf, sizeof buf), 0);
	console_unref(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_reader_sees_everything_from_its_own_position),
	    cmocka_unit_test(an_overwritten_position_moves_up_to_the_oldest_byte),
	    cmocka_unit_test(every_split_of_a_stream_reads_back_the_same),
	    cmocka_unit_test(wait_returns_for_output_for_time_and_for_close),
	    cmocka_unit_test(a_reader_beside_a_fast_writer_gets_right_bytes_at_right_positions),
	    cmocka_unit_test(input_is_bounded_and_keeps_its_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
