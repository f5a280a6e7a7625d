/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/sched/activation.c, call_sites.c and base/slots.h: every way reaches the active scheduler and nobody else,
 * also while others switch it; no memory can be written and executed at one address. */
#include "fake_host.h"

#include <stdio.h>
#include <string.h>

#include "base/slots.h"

#define REQUESTERS 5
#define SWITCHES   20000
#define CALLERS	   2

/* ---- schedulers that know who they are ---- */

struct who {
	uint32_t number; /* 0 or 1 */
};

static struct answer answer_as(uint32_t number, uint32_t kind, void *scheduler, uint32_t subject, uint64_t now)
{
	const struct who *w = scheduler;

	must(w->number == number); /* the function of one and the object of another would be a mixture */
	return (struct answer){.owner = subject, .priority = (int32_t)(number * 100 + kind), .slice_ns = now};
}

#define ANSWER(number, kind)                                                                                           \
	static struct answer answer_##number##_##kind(void *s, uint32_t subject, uint64_t now)                         \
	{                                                                                                              \
		return answer_as(number, kind, s, subject, now);                                                       \
	}
ANSWER(0, 0)
ANSWER(0, 1)
ANSWER(0, 2)
ANSWER(0, 3)
ANSWER(1, 0)
ANSWER(1, 1)
ANSWER(1, 2)
ANSWER(1, 3)

static question_fn *const asks[2][REQUEST_KINDS] = {
    {answer_0_0, answer_0_1, answer_0_2, answer_0_3},
    {answer_1_0, answer_1_1, answer_1_2, answer_1_3},
};

static struct activation *make(enum activation_way way, uint32_t targets)
{
	struct activation *t;
	struct error e = {0};

	if (activation_new(way, REQUESTERS, targets, &t, &e) < 0) {
		print_error("%s\n", e.text);
		must(false);
	}
	return t;
}

static uint32_t reached(const struct activation *t, uint32_t requester, uint32_t kind, uint32_t subject)
{
	struct answer a = activation_ask(t, requester, (enum request_kind)kind, subject, UINT64_MAX - subject);

	must(a.owner == subject && a.slice_ns == UINT64_MAX - subject && a.priority % 100 == (int32_t)kind);
	return (uint32_t)a.priority / 100;
}

static void each_requester_reaches_the_active_one_with_each_question(void **unused)
{
	for (uint32_t way = 0; way < ACTIVATION_WAYS; way++) {
		struct activation *t = make((enum activation_way)way, 9);
		struct who who[2] = {{0}, {1}};
		uint64_t random = 7;

		activation_bind(t, 2, asks[0], &who[0]);
		activation_bind(t, 8, asks[1], &who[1]);
		for (unsigned i = 0; i < 200; i++) {
			uint32_t now = fake_random(&random) % 2;

			activation_switch_to(t, now ? 8 : 2);
			must(activation_active(t) == (now ? 8 : 2));
			for (uint32_t r = 0; r < REQUESTERS; r++)
				for (uint32_t kind = 0; kind < REQUEST_KINDS; kind++)
					must(reached(t, r, kind, i * 31) == now);
		}
		activation_free(t);
	}
}

/* The place of one that is gone is taken by another: nothing of the old one is left on the way. */
static void a_place_can_be_used_again(void **unused)
{
	for (uint32_t way = 0; way < ACTIVATION_WAYS; way++) {
		struct activation *t = make((enum activation_way)way, 2);
		struct who who[2] = {{0}, {1}};

		activation_bind(t, 0, asks[0], &who[0]);
		for (unsigned i = 0; i < 50; i++) {
			activation_switch_to(t, 0);
			must(reached(t, i % REQUESTERS, i % REQUEST_KINDS, i) == 0);
			activation_bind(t, 1, asks[i % 2], &who[i % 2]);
			activation_switch_to(t, 1);
			must(reached(t, i % REQUESTERS, i % REQUEST_KINDS, i) == i % 2);
		}
		activation_free(t);
	}
}

/* ---- without a lock ---- */

struct stress {
	struct activation *t;
	_Atomic uint64_t began, done; /* switches */
	_Atomic bool stop;
	_Atomic uint64_t asked, settled; /* all answers; those with no switch in between, which are known beforehand */
	_Atomic uint64_t by[2];
};

static void *caller(void *ctx)
{
	struct stress *s = ctx;
	uint64_t asked = 0, settled = 0, by[2] = {0};
	uint32_t i = 0;

	while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
		uint64_t done = atomic_load(&s->done);
		uint32_t who = reached(s->t, i % REQUESTERS, i % REQUEST_KINDS, i);

		i++;
		asked++;
		by[who]++;
		if (atomic_load(&s->began) != done)
			continue;
		must(who == done % 2); /* nobody has switched since: the one of the last switch */
		settled++;
	}
	atomic_fetch_add(&s->asked, asked);
	atomic_fetch_add(&s->settled, settled);
	for (unsigned n = 0; n < 2; n++)
		atomic_fetch_add(&s->by[n], by[n]);
	return NULL;
}

static void callers_on_other_cpus_reach_the_old_or_the_new_one_whole(void **unused)
{
	for (uint32_t way = 0; way < ACTIVATION_WAYS; way++) {
		struct who who[2] = {{0}, {1}};
		struct stress s = {.t = make((enum activation_way)way, 2)};
		pthread_t thread[CALLERS];

		for (uint32_t i = 0; i < 2; i++)
			activation_bind(s.t, i, asks[i], &who[i]);
		activation_switch_to(s.t, 0);
		for (unsigned i = 0; i < CALLERS; i++)
			must(pthread_create(&thread[i], NULL, caller, &s) == 0);
		for (uint64_t n = 1; n <= SWITCHES; n++) {
			atomic_store(&s.began, n);
			activation_switch_to(s.t, n % 2);
			atomic_store(&s.done, n);
			if (n % 15 == 0) /* long enough for answers between two switches, on one CPU too */
				usleep(10);
		}
		atomic_store(&s.stop, true);
		for (unsigned i = 0; i < CALLERS; i++)
			pthread_join(thread[i], NULL);
		print_message("%s: %llu answers during %u switches, %llu of them known beforehand\n",
			      activation_way_name((enum activation_way)way), (unsigned long long)s.asked, SWITCHES,
			      (unsigned long long)s.settled);
		must(s.settled > 0 && s.by[0] > 0 && s.by[1] > 0);
		activation_free(s.t);
	}
}

/* ---- memory ---- */

static void no_memory_is_writable_and_executable(void **unused)
{
	struct activation *t = make(ACTIVATION_PATCHED, 9);
	unsigned executable = 0, writable = 0;
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];

	must(f);
	while (fgets(line, sizeof line, f)) {
		char rights[8] = "";

		must(sscanf(line, "%*s %7s", rights) == 1);
		must(!(strchr(rights, 'w') && strchr(rights, 'x')));
		if (!strstr(line, "baton-call-sites"))
			continue;
		executable += strchr(rights, 'x') != NULL;
		writable += strchr(rights, 'w') != NULL;
	}
	fclose(f);
	must(executable == 1 && writable == 1); /* the same memory, twice */
	activation_free(t);
}

static void ways_have_names(void **unused)
{
	enum activation_way way;
	struct error e;

	for (uint32_t i = 0; i < ACTIVATION_WAYS; i++) {
		assert_int_equal(activation_way_from_name(activation_way_name((enum activation_way)i), &way, &e), 0);
		assert_int_equal(way, i);
	}
	assert_int_equal(activation_way_from_name("", &way, &e), -EINVAL);
	assert_int_equal(activation_way_from_name("pointers", &way, &e), -EINVAL);
	assert_non_null(strstr(e.text, "pointers"));
}

/* ---- slots ---- */

static void the_lowest_free_slot_is_taken(void **unused)
{
	static const uint32_t counts[] = {1, 2, 63, 64, 65, 4095, 4096, 4097, 100000, 300000};
	uint64_t random = fake_seed();

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		uint32_t count = counts[i], lowest = 0;
		bool *used = calloc(count, sizeof *used);
		struct slots s;

		must(used && slots_init(&s, count) == 0);
		for (uint32_t n = 0; n < count; n++)
			must(slots_take(&s) == n);
		must(slots_take(&s) == SLOTS_NONE);
		memset(used, 1, count);
		for (unsigned step = 0; step < 20000; step++) {
			uint32_t n = (uint32_t)(fake_random(&random) % count);

			if (used[n] && fake_random(&random) % 2) {
				slots_give(&s, n);
				used[n] = false;
				lowest = MIN(lowest, n);
				continue;
			}
			while (lowest < count && used[lowest])
				lowest++;
			n = slots_take(&s);
			must(n == (lowest < count ? lowest : SLOTS_NONE));
			if (n != SLOTS_NONE)
				used[n] = true;
		}
		slots_destroy(&s);
		free(used);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_requester_reaches_the_active_one_with_each_question),
	    cmocka_unit_test(a_place_can_be_used_again),
	    cmocka_unit_test(callers_on_other_cpus_reach_the_old_or_the_new_one_whole),
	    cmocka_unit_test(no_memory_is_writable_and_executable),
	    cmocka_unit_test(ways_have_names),
	    cmocka_unit_test(the_lowest_free_slot_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
