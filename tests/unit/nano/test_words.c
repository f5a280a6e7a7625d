/* SPDX-License-Identifier: Apache-2.0 */
/* test_words.c - the arguments of nano guests, on the host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "words.h"

static void test_numbers_are_found_between_other_words(void **state)
{
	const char *words = "  beats=50  period_us=1000 beat_ms=7 ";
	uint64_t n = 0;

	assert_int_equal(words_number(words, "beats", &n), WORDS_FOUND);
	assert_int_equal(n, 50);
	assert_int_equal(words_number(words, "period_us", &n), WORDS_FOUND);
	assert_int_equal(n, 1000);
	assert_int_equal(words_number(words, "beat_ms", &n), WORDS_FOUND);
	assert_int_equal(n, 7);
}

static void test_absent_keys_leave_the_value_alone(void **state)
{
	uint64_t n = 42;

	assert_int_equal(words_number("", "beats", &n), WORDS_ABSENT);
	assert_int_equal(words_number("   ", "beats", &n), WORDS_ABSENT);
	assert_int_equal(words_number("beat=1 beatss=2 xbeats=3 beats", "beats", &n), WORDS_ABSENT);
	assert_int_equal(n, 42);
}

static void test_the_last_of_two_counts(void **state)
{
	uint64_t n = 0;

	assert_int_equal(words_number("a=1 b=5 a=2", "a", &n), WORDS_FOUND);
	assert_int_equal(n, 2);
	assert_false(words_are("mode=fault mode=spin", "mode", "fault"));
	assert_true(words_are("mode=fault mode=spin", "mode", "spin"));
}

static void test_what_is_no_number_is_told(void **state)
{
	static const char *const bad[] = {"a=",	    "a= 1", "a=x", "a=1x", "a=-1", "a=18446744073709551616",
					  "a=0x10", "a=1=2"};
	uint64_t n = 42;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(words_number(bad[i], "a", &n), WORDS_BAD);
	assert_int_equal(n, 42);
	assert_int_equal(words_number("a=18446744073709551615", "a", &n), WORDS_FOUND);
	assert_true(n == UINT64_MAX);
}

static void test_values_are_compared_as_a_whole(void **state)
{
	assert_true(words_are("x=1 mode=spin", "mode", "spin"));
	assert_false(words_are("mode=spinner", "mode", "spin"));
	assert_false(words_are("mode=spi", "mode", "spin"));
	assert_false(words_are("", "mode", "spin"));
	assert_true(words_are("mode= x=1", "mode", ""));
}

static void test_unknown_words_are_found(void **state)
{
	static const char *const keys[] = {"beats", "mode", NULL}, *const more[] = {"period_us", NULL},
				 *const none[] = {NULL};
	const char *words = "beats=1 period_us=2 mode=3 bogus=4 more=5";

	assert_null(words_unknown("", keys, none));
	assert_null(words_unknown(" mode=x  beats= ", keys, none));
	assert_null(words_unknown("beats=1 period_us=2", keys, more));
	assert_ptr_equal(words_unknown(words, keys, more), words + 27);
	assert_int_equal(words_length(words + 27), 7);
	assert_ptr_equal(words_unknown(words, keys, none), words + 8);
	const char *bare = "beats";
	assert_ptr_equal(words_unknown(bare, keys, more), bare);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_numbers_are_found_between_other_words),
	    cmocka_unit_test(test_absent_keys_leave_the_value_alone),
	    cmocka_unit_test(test_the_last_of_two_counts),
	    cmocka_unit_test(test_what_is_no_number_is_told),
	    cmocka_unit_test(test_values_are_compared_as_a_whole),
	    cmocka_unit_test(test_unknown_words_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
