/* SPDX-License-Identifier: Apache-2.0 */
/* Nano guests of all kinds run; their times add up; consoles and what guests are told of themselves. */
#include "rig.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

/* ---- they run ---- */

static void every_kind_runs_and_beats_without_holes(void **unused)
{
	static const struct {
		const char *kind, *arguments;
		unsigned vcpus;
	} vms[] = {
	    {"spinner", "beat_ms=20", 1},
	    {"spinner", "beat_ms=20", 3},
	    {"waker", "beat_ms=20 period_us=2000", 1},
	    {"waker", "beat_ms=20 period_us=1000 work=2", 2},
	    {"yielder", "beat_ms=20", 1},
	    {"yielder", "beat_ms=20 io=1 work=3", 2},
	    {"locker", "beat_ms=20", 4},
	    {"exits", "beat_ms=20", 1},
	    {"echo", "beat_ms=20", 2},
	};
	struct rig r = rig_new(NULL);
	char name[16];

	for (size_t i = 0; i < ARRAY_SIZE(vms); i++) {
		snprintf(name, sizeof name, "vm-%zu", i);
		rig_run(&r, name, vms[i].kind, vms[i].vcpus, vms[i].arguments);
	}
	for (size_t i = 0; i < ARRAY_SIZE(vms); i++) {
		snprintf(name, sizeof name, "vm-%zu", i);
		rig_wait_beats(&r, name, 4);
		assert_true(rig_is(&r, name, "kind", "nano"));
	}
	rig_free(&r); /* with all of them running */
}

static void a_guest_of_many_vcpus_has_them_all_running(void **unused)
{
	struct rig r = rig_new(NULL);
	char name[16];

	for (unsigned vcpus = 1; vcpus <= 8; vcpus++) { /* 36 vCPUs in all on two pCPUs */
		snprintf(name, sizeof name, "vm-%u", vcpus);
		rig_run(&r, name, vcpus % 2 ? "spinner" : "yielder", vcpus, "beat_ms=10");
	}
	for (unsigned vcpus = 1; vcpus <= 8; vcpus++) {
		json_t *vm, *vcpu;
		size_t i;

		snprintf(name, sizeof name, "vm-%u", vcpus);
		rig_wait_beats(&r, name, 2);
		vm = rig_vm(&r, name);
		assert_int_equal(json_array_size(json_object_get(vm, "vcpu")), vcpus);
		json_array_foreach(json_object_get(vm, "vcpu"), i, vcpu)
		{
			assert_int_equal(json_integer_value(json_object_get(vcpu, "index")), i);
			assert_true(json_integer_value(json_object_get(vcpu, "starts")) > 0);
			assert_true(json_integer_value(json_object_get(vcpu, "run_ns")) > 0);
		}
		json_decref(vm);
	}
	rig_free(&r);
}

static void a_guest_that_ends_by_itself_is_off_with_its_status(void **unused)
{
	struct rig r = rig_new(NULL);

	rig_run(&r, "five", "spinner", 2, "beat_ms=1 beats=5");
	rig_wait_is(&r, "five", "state", "off");
	assert_int_equal(rig_number(&r, "five", "exit_status"), 0);
	assert_int_equal(rig_number(&r, "five", "heartbeats"), 5);
	rig_run(&r, "two", "panicker", 1, "after_ms=1 mode=exit tell=0");
	rig_wait_is(&r, "two", "state", "off");
	assert_int_equal(rig_number(&r, "two", "exit_status"), 1);
	rig_run(&r, "wrong", "spinner", 1, "no_such_argument=1");
	rig_wait_is(&r, "wrong", "state", "off");
	assert_int_equal(rig_number(&r, "wrong", "exit_status"), 2);
	assert_true(rig_number(&r, "five", "run_ns") > 0); /* its accounts are kept */
	rig_free(&r);
}

/* ---- accounts ---- */

static int64_t number(json_t *o, const char *field)
{
	assert_true(json_is_integer(json_object_get(o, field)));
	return json_integer_value(json_object_get(o, field));
}

struct sums {
	uint64_t before_ns, after_ns; /* when the list was made */
	int64_t vcpus, run, all, busy, pcpus, other;
};

static struct sums look(struct rig *r)
{
	struct sums s = {.before_ns = clock_now_ns()};
	json_t *list = rig_ask(r, "vm.list", NULL), *vm, *o;
	size_t i, k;

	s.after_ns = clock_now_ns();
	json_array_foreach(json_object_get(list, "vms"), i, vm)
	{
		int64_t run = 0, wait = 0, blocked = 0;

		json_array_foreach(json_object_get(vm, "vcpu"), k, o)
		{
			run += number(o, "run_ns");
			wait += number(o, "wait_ns");
			blocked += number(o, "blocked_ns");
			s.vcpus++;
		}
		assert_true(run == number(vm, "run_ns") && wait == number(vm, "wait_ns"));
		assert_int_equal(blocked, number(vm, "blocked_ns"));
		s.run += run;
		s.all += run + wait + blocked;
	}
	json_array_foreach(json_object_get(list, "pcpus"), i, o)
	{
		int64_t sum = number(o, "busy_ns") + number(o, "idle_ns") + number(o, "other_ns");

		assert_int_equal(sum, number(o, "wall_ns"));
		s.busy += number(o, "busy_ns");
		s.other += number(o, "other_ns");
		s.pcpus += sum;
	}
	json_decref(list);
	return s;
}

static void times_of_vcpus_and_pcpus_add_up_to_the_wall_clock(void **unused)
{
	struct rig r = rig_new(NULL);
	int64_t pcpus = rig_pcpus(), slack, wall, busy, run;
	struct sums first, last;

	rig_run(&r, "spin", "spinner", 2, "beat_ms=20");
	rig_run(&r, "wake", "waker", 2, "beat_ms=20 period_us=1500 work=1");
	rig_run(&r, "yield", "yielder", 2, "beat_ms=20 work=5");
	first = look(&r);
	rig_wait_beats(&r, "wake", 15);
	last = look(&r);
	assert_int_equal(last.vcpus, 6);
	/* A list is made between two looks at the clock, so that is how exact this can be. */
	slack = (int64_t)(first.after_ns - first.before_ns + last.after_ns - last.before_ns);
	wall = (int64_t)(last.before_ns - first.before_ns);
	assert_in_range(last.all - first.all, 6 * (wall - slack), 6 * (wall + slack));
	assert_in_range(last.pcpus - first.pcpus, pcpus * (wall - slack), pcpus * (wall + slack));
	/* A pCPU is busy exactly while a vCPU runs on it. */
	busy = last.busy - first.busy;
	run = last.run - first.run;
	assert_true(llabs(busy - run) <= pcpus * slack + wall / 100);
	print_message("%lld ms: pCPUs busy %lld ms, vCPUs ran %lld ms, other %lld ms\n", (long long)wall / 120000,
		      (long long)busy / 120000, (long long)run / 120000,
		      (long long)(last.other - first.other) / 120000);
	rig_free(&r);
}

static void two_guests_of_one_pcpu_share_it_and_know_how_long_they_waited(void **unused)
{
	struct rig r;
	char cpu[16];
	cpu_set_t set;
	int64_t told, listed;

	assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET((size_t)i, &set)) {
			snprintf(cpu, sizeof cpu, "%d", i);
			break;
		}
	r = rig_new(&(struct monitor_config){.pcpus = cpu, .slice_us = 2000});
	rig_run(&r, "other", "spinner", 1, "beat_ms=20");
	rig_run(&r, "it", "tester", 1, "mode=wait beat_ms=20");
	for (unsigned i = 0; i < 10; i++) {
		rig_wait_beats(&r, "it", 2);
		told = rig_number(&r, "it", "datum");
		listed = rig_number(&r, "it", "wait_ns"); /* later than what was told, so at least that */
		assert_true(listed >= told && told >= 0);
	}
	assert_true(told > 0);
	/* Of what the pCPU did, about the half was the other's: what one ran, the other waited. */
	listed = rig_number(&r, "it", "wait_ns");
	assert_true(rig_number(&r, "other", "run_ns") >= listed / 2);
	rig_free(&r);
}

static void a_guest_hears_its_priority(void **unused)
{
	struct rig r = rig_new(NULL);

	rig_run(&r, "it", "tester", 1, "mode=priority beat_ms=5");
	rig_wait_beats(&r, "it", 3);
	assert_int_equal(rig_number(&r, "it", "datum"), 1); /* under round robin: it runs */
	rig_free(&r);
}

/* ---- consoles ---- */

static void what_is_typed_comes_back_from_the_echo_guest(void **unused)
{
	struct rig r = rig_new(NULL);
	char line[64];

	rig_run(&r, "echo", "echo", 1, "beat_ms=1000");
	for (unsigned i = 0; i < 50; i++) {
		int n = snprintf(line, sizeof line, "line %u of many;", i);

		assert_int_equal(monitor_console_input(r.monitor, "echo", line, (size_t)n), n);
		free(rig_wait_output(&r, "echo", line));
	}
	assert_int_equal(monitor_console_input(r.monitor, "nobody", "x", 1), -ENOENT);
	assert_int_equal(monitor_console_input(r.monitor, "echo", "\004", 1), 1);
	rig_wait_is(&r, "echo", "state", "off");
	assert_int_equal(rig_number(&r, "echo", "exit_status"), 0);
	rig_free(&r);
}

static void a_lot_of_input_loses_nothing_that_was_taken(void **unused)
{
	struct rig r = rig_new(NULL);
	char *sent = malloc(12001), *got;
	size_t done = 0;

	assert_non_null(sent);
	for (size_t i = 0; i < 12000; i++)
		sent[i] = "abcdefghijklmnopqrstuvwxyz"[i * 7 % 26];
	sent[12000] = '\0';
	rig_run(&r, "echo", "echo", 1, "beat_ms=1000");
	while (done < 12000) {
		ssize_t n = monitor_console_input(r.monitor, "echo", sent + done, MIN(12000 - done, (size_t)1001));

		assert_true(n >= 0);
		done += (size_t)n;
		if (n == 0)
			usleep(200);
	}
	monitor_console_input(r.monitor, "echo", "!", 1);
	got = rig_wait_output(&r, "echo", "!");
	got[strcspn(got, "!")] = '\0';
	/* The console keeps the newest: what is there is the end of what was sent. */
	assert_true(strlen(got) > 1000 && strlen(got) <= 12000);
	assert_string_equal(got, sent + 12000 - strlen(got));
	free(got);
	free(sent);
	rig_free(&r);
}

static void assert_owner(struct rig *r, const char *name)
{
	json_t *reply = rig_ask(r, "console.owner", NULL);
	const char *owner = json_string_value(json_object_get(reply, "owner"));

	if (name)
		assert_string_equal(owner, name);
	else
		assert_null(owner);
	json_decref(reply);
}

static void the_console_has_one_owner(void **unused)
{
	struct rig r = rig_new(NULL);

	assert_owner(&r, NULL);
	rig_run(&r, "a", "echo", 1, "");
	rig_run(&r, "b", "echo", 1, "");
	rig_do(&r, "console.owner", "{s:s}", "vm", "a");
	assert_owner(&r, "a");
	assert_true(rig_true(&r, "a", "console_owner") && !rig_true(&r, "b", "console_owner"));
	rig_do(&r, "console.owner", "{s:s}", "vm", "b");
	assert_owner(&r, "b");
	assert_true(!rig_true(&r, "a", "console_owner") && rig_true(&r, "b", "console_owner"));
	rig_refused(&r, ENOENT, "nobody", "console.owner", "{s:s}", "vm", "nobody");
	rig_do(&r, "vm.stop", "{s:s}", "vm", "b");
	assert_owner(&r, NULL);
	rig_refused(&r, ESRCH, "off", "console.owner", "{s:s}", "vm", "b");
	rig_do(&r, "vm.destroy", "{s:s}", "vm", "b");
	rig_free(&r);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_kind_runs_and_beats_without_holes),
	    cmocka_unit_test(a_guest_of_many_vcpus_has_them_all_running),
	    cmocka_unit_test(a_guest_that_ends_by_itself_is_off_with_its_status),
	    cmocka_unit_test(times_of_vcpus_and_pcpus_add_up_to_the_wall_clock),
	    cmocka_unit_test(two_guests_of_one_pcpu_share_it_and_know_how_long_they_waited),
	    cmocka_unit_test(a_guest_hears_its_priority),
	    cmocka_unit_test(what_is_typed_comes_back_from_the_echo_guest),
	    cmocka_unit_test(a_lot_of_input_loses_nothing_that_was_taken),
	    cmocka_unit_test(the_console_has_one_owner),
	};

	rig_arguments(argc, argv);
	if (*rig_argument(0))
		cmocka_set_test_filter(rig_argument(0)); /* by hand: one test alone */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
