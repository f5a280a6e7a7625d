/* SPDX-License-Identifier: Apache-2.0 */
/* test_queue.c - the queue of timers against a plain table: always the earliest, whatever is set, moved or taken out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "sim/queue.h"
#include "sim/random.h"

#define TIMERS 100

static void test_the_earliest_comes_first(void **state)
{
	uint64_t times[TIMERS], random = 1;
	struct queue q;

	assert_int_equal(queue_init(&q, TIMERS), 0);
	for (uint32_t i = 0; i < TIMERS; i++)
		times[i] = TIME_NEVER;
	assert_int_equal(queue_time(&q), TIME_NEVER);
	for (uint32_t step = 0; step < 100000; step++) {
		uint32_t id = (uint32_t)random_below(&random, TIMERS), first = 0, count = 0;

		/* Few different times: equal ones are frequent. */
		times[id] = random_below(&random, 4) == 0 ? TIME_NEVER : random_below(&random, 50);
		queue_set(&q, id, times[id]);
		for (uint32_t i = 0; i < TIMERS; i++) {
			count += times[i] != TIME_NEVER;
			first = times[i] < times[first] ? i : first;
		}
		assert_int_equal(q.count, count);
		assert_int_equal(queue_time(&q), times[first]);
		if (count > 0)
			assert_int_equal(queue_first(&q), first);
	}
	queue_release(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_earliest_comes_first)};

	return cmocka_run_group_tests_name("sim-queue", tests, NULL, NULL);
}
