/* SPDX-License-Identifier: Apache-2.0 */
/* What other threads may do to a local APIC while its carrier works: nothing is lost, nothing fires twice. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/lapic.h"

#define RAISERS 3
#define RAISES	20000
#define ROUNDS	300

struct bench {
	struct apic_bus bus;
	struct lapic lapic;
	struct guest_clock clock;
	_Atomic unsigned notified;
	_Atomic uint64_t raised[RAISERS]; /* what each raiser has published: its "shared memory" with the handler */
	uint64_t seen[RAISERS];
	_Atomic unsigned done;
};

static void notify(void *ctx, unsigned vcpu, unsigned from)
{
	struct bench *b = ctx;

	b->notified++;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof *b);
	struct instant now = {0};

	b->clock.tsc_khz = 1000000;
	b->bus = (struct apic_bus){.count = 1, .lapic = {&b->lapic}, .notify = notify, .ctx = b};
	lapic_init(&b->lapic, &b->bus, 0, &b->clock);
	assert_true(lapic_msr_write(&b->lapic, 0x80f, 0x1ff, now));
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

struct raiser {
	struct bench *b;
	unsigned index;
};

static void *raise_many(void *arg)
{
	struct raiser *r = arg;
	struct apic_message m = {.targets = 1, .vector = (uint8_t)(0x40 + r->index), .from = MACHINE_FROM_DEVICE};

	for (unsigned n = 0; n < RAISES; n++) {
		r->b->raised[r->index]++;
		apic_bus_deliver(&r->b->bus, &m);
	}
	r->b->done++;
	return NULL;
}

/* The guest's side: takes what is pending; the handler of a vector looks at its raiser's memory. */
static bool handle_one(struct bench *b)
{
	struct instant now = {0};
	int vector = lapic_pending(&b->lapic);

	if (vector < 0)
		return false;
	lapic_inject(&b->lapic, (uint8_t)vector);
	b->seen[vector - 0x40] = b->raised[vector - 0x40];
	assert_true(lapic_msr_write(&b->lapic, 0x80b, 0, now));
	return true;
}

static void every_raise_is_seen_by_a_handler_after_it(void **state)
{
	struct bench *b = *state;
	struct raiser r[RAISERS];
	pthread_t t[RAISERS];

	for (unsigned i = 0; i < RAISERS; i++) {
		r[i] = (struct raiser){b, i};
		assert_int_equal(pthread_create(&t[i], NULL, raise_many, &r[i]), 0);
	}
	while (b->done < RAISERS)
		handle_one(b);
	for (unsigned i = 0; i < RAISERS; i++)
		pthread_join(t[i], NULL);
	while (handle_one(b))
		;
	for (unsigned i = 0; i < RAISERS; i++)
		assert_int_equal(b->seen[i], RAISES);
	assert_int_equal(b->notified, RAISERS * RAISES);
}

static void *fire(void *arg)
{
	struct bench *b = arg;

	lapic_fire_timer(&b->lapic, 5000);
	return NULL;
}

static void a_deadline_fires_once_whoever_fires_it(void **state)
{
	struct bench *b = *state;
	struct instant now = {.ns = 1000, .tsc = 1000};
	pthread_t t[RAISERS];

	assert_true(lapic_msr_write(&b->lapic, 0x832, 0x40040, now));
	for (unsigned n = 0; n < ROUNDS; n++) {
		unsigned taken = 0;

		assert_true(lapic_msr_write(&b->lapic, MSR_TSC_DEADLINE, 2000, now));
		for (unsigned i = 0; i < RAISERS; i++)
			assert_int_equal(pthread_create(&t[i], NULL, fire, b), 0);
		/* Taken as soon as it is there, so that a second firing would be seen as a second interrupt. */
		while (taken == 0)
			taken += handle_one(b);
		for (unsigned i = 0; i < RAISERS; i++)
			pthread_join(t[i], NULL);
		while (handle_one(b))
			taken++;
		assert_int_equal(taken, 1);
		assert_int_equal(b->lapic.tsc_deadline, 0);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(every_raise_is_seen_by_a_handler_after_it),
	    T(a_deadline_fires_once_whoever_fires_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
