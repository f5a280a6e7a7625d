/* SPDX-License-Identifier: Apache-2.0 */
/* test_workload.c - workload files and recordings: what is read, and in which line something is said to be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policies/builtin.h"
#include "sim/reader.h"
#include "sim/recording.h"
#include "sim/sim.h"

#define VM(behaviour) "{\"pcpus\": 1, \"duration\": \"1s\", \"vms\": [\n{\"name\": \"a\", " behaviour "}]}"

static struct workload *parse(const char *text)
{
	struct workload *w = NULL;
	struct error e = {""};

	if (workload_parse(text, strlen(text), "f", &w, &e) < 0)
		fail_msg("%s", e.text);
	return w;
}

static void test_a_file_is_read(void **state)
{
	struct workload *w = parse(
	    "{\"name\": \"n\", \"pcpus\": 4, \"seed\": 7, \"duration\": \"1.5s\", \"window\": \"20ms\", \"fair_by\": "
	    "\"vm\",\n"
	    " \"costs\": {\"kick\": \"3us\", \"switch\": \"250ns\", \"migration\": \"1ms\"},\n"
	    " \"vms\": [{\"name\": \"a\", \"count\": 3, \"vcpus\": 2, \"weight\": 512, \"cap_percent\": 150,\n"
	    "  \"warp\": \"1ms\", \"warp_limit\": \"2ms\", \"unwarp\": \"3ms\", \"budget\": \"4ms\", \"period\": "
	    "\"5ms\",\n"
	    "  \"latency\": \"6ms\", \"service\": true, \"affinity\": \"0-1,3\", \"start\": \"1ms\", \"stop\": "
	    "\"1s\",\n"
	    "  \"behaviours\": [{\"kind\": \"io\", \"run\": {\"uniform\": [\"1us\", \"2us\"]}, \"block\": {\"pareto\": "
	    "[\"1us\", \"9us\"]}},\n"
	    "   {\"kind\": \"phases\", \"repeat\": true, \"phases\": [{\"for\": \"1ms\", \"kind\": \"compute\"}, "
	    "{\"for\": \"2ms\", \"kind\": \"lock\", \"run\": \"1us\", \"hold\": {\"exponential\": \"2us\"}, \"lock\": "
	    "3}]}]}]}");
	const struct workload_vm *vm = &w->vms[0];

	assert_string_equal(w->name, "n");
	assert_int_equal(w->pcpus, 4);
	assert_int_equal(w->seed, 7);
	assert_int_equal(w->duration_ns, 1500000000);
	assert_int_equal(w->window_ns, 20000000);
	assert_true(w->fair_by_vm);
	assert_int_equal(w->kick_ns, 3000);
	assert_int_equal(w->switch_ns, 250);
	assert_int_equal(w->migration_ns, 1000000);
	assert_int_equal(workload_vms(w), 3);
	assert_int_equal(workload_vcpus(w), 6);
	assert_int_equal(vm->wishes.weight, 512);
	assert_int_equal(vm->wishes.cap_percent, 150);
	assert_int_equal(vm->wishes.warp_ns, 1000000);
	assert_int_equal(vm->wishes.warp_limit_ns, 2000000);
	assert_int_equal(vm->wishes.unwarp_ns, 3000000);
	assert_int_equal(vm->wishes.budget_ns, 4000000);
	assert_int_equal(vm->wishes.period_ns, 5000000);
	assert_int_equal(vm->wishes.latency_ns, 6000000);
	assert_int_equal(vm->wishes.service, 1);
	assert_true(vm->pinned);
	assert_int_equal(vm->affinity[0], 11);
	assert_int_equal(vm->start_ns, 1000000);
	assert_int_equal(vm->stop_ns, 1000000000);
	assert_int_equal(vm->programs[0].phases[0].does.run.kind, LENGTH_UNIFORM);
	assert_int_equal(vm->programs[0].phases[0].does.block.b_ns, 9000);
	assert_int_equal(vm->programs[1].count, 2);
	assert_true(vm->programs[1].repeat);
	assert_int_equal(vm->programs[1].phases[1].for_ns, 2000000);
	assert_int_equal(vm->programs[1].phases[1].does.lock, 3);
	workload_free(w);
}

/* Text, what the message must hold. */
static const char *const wrong_files[][2] = {
    {"{\"pcpus\": 1,\n \"duration\": }", "f:2: "},
    {"[]", "f:1: is not an object"},
    {"{\"pcpus\": 1}", "f:1: duration is missing"},
    {"{\"pcpus\": 1,\n\"duration\": \"1s\",\n\"vms\": []}", "f:3: vms: "},
    {"{\"pcpus\": 1,\n\"duration\": \"1s\",\n\"pcpus\": 2, \"vms\": []}", "duplicate"},
    {"{\"pcpus\": 257,\n\"duration\": \"1s\", \"vms\": []}", "f:1: pcpus: "},
    {"{\"pcpus\": 1,\n\n\"duration\": 5, \"vms\": []}", "f:3: duration: is not a time"},
    {"{\"pcpus\": 1,\n\"duration\": \"5\", \"vms\": []}", "f:2: duration: is not a time"},
    {"{\"pcpus\": 1,\n\"duration\": \"1e999s\", \"vms\": []}", "f:2: duration: is not a time"},
    {"{\"pcpus\": 1,\n\"duration\": \"-1s\", \"vms\": []}", "f:2: duration: is not a time"},
    {"{\"pcpus\": 1,\n\"duration\": \"1s\",\n\"seeds\": 1, \"vms\": []}", "f:3: seeds: is unknown"},
    {"{\"pcpus\": 1,\n\"duration\": \"1s\",\n\"costs\": {\"kick\": \"2s\"},\n\"vms\": [{\"name\": \"a\", "
     "\"behaviour\": {\"kind\": \"compute\"}}]}",
     "costs must not be above 1 s"},
    {"{\"pcpus\": 1, \"duration\": \"1000s\", \"window\": \"10us\", \"vms\": [{\"name\": \"a\", \"behaviour\": "
     "{\"kind\": \"compute\"}}]}",
     "window is too short"},
    {VM("\"vcpus\": 1"), "f:2: vms[0]: needs either behaviour"},
    {VM("\"behaviour\": {}"), "f:2: vms[0].behaviour: kind is missing"},
    {VM("\"behaviour\": {\n\"kind\": \"dance\"}"), "f:3: vms[0].behaviour.kind: is no behaviour"},
    {VM("\"behaviour\": {\"kind\": \"io\",\n\"run\": \"1ms\"}"), "f:2: vms[0].behaviour: block is missing"},
    {VM("\"behaviour\": {\"kind\": \"io\",\n\"run\": \"0s\",\n\"block\": \"1ms\"}"), "run must be at least 1 ns"},
    {VM("\"behaviour\": {\"kind\": \"io\",\n\"run\": {\"gauss\": 1},\n\"block\": \"1ms\"}"),
     "f:3: vms[0].behaviour.run: is no distribution"},
    {VM("\"behaviour\": {\"kind\": \"io\",\n\"run\": {\"uniform\": [\"2ms\",\n\"1ms\"]},\n\"block\": \"1ms\"}"),
     "f:3: vms[0].behaviour.run.uniform: the second"},
    {VM("\"behaviour\": {\"kind\": \"compute\"},\n\"weight\": 0"), "f:3: vms[0].weight: "},
    {VM("\"behaviour\": {\"kind\": \"compute\"},\n\"affinity\": \"4\""), "affinity names none of the 1 pCPUs"},
    {VM("\"behaviour\": {\"kind\": \"compute\"},\n\"affinity\": \"0-\""), "f:3: vms[0].affinity: "},
    {VM("\"behaviour\": {\"kind\": \"compute\", \"for\": \"1s\"}"), "for: belongs to phases"},
    {VM("\"behaviour\": {\"kind\": \"phases\", \"phases\": [{\"kind\": \"compute\"},\n{\"kind\": \"idle\"}]}"),
     "f:2: vms[0].behaviour.phases[0]: for is missing"},
    {VM("\"behaviours\": [{\"kind\": \"compute\"}], \"vcpus\": 2"), "list of 2 behaviours"},
    {VM("\"behaviour\": {\"kind\": \"compute\"}, \"count\": 200000, \"vcpus\": 2"), "at most 262144 vCPUs"},
    {VM("\"behaviour\": {\"kind\": \"compute\"}, \"budget\": \"2ms\", \"period\": \"1ms\""), "budget must not"},
    {VM("\"behaviour\": {\"kind\": \"compute\"}, \"start\": \"2ms\", \"stop\": \"1ms\""), "stop must be later"},
};

static void test_what_is_wrong_is_named_with_its_line(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(wrong_files); i++) {
		const char *text = wrong_files[i][0];
		struct workload *w = NULL;
		struct error e = {""};

		if (workload_parse(text, strlen(text), "f", &w, &e) != -EINVAL)
			fail_msg("was accepted: %s", text);
		assert_null(w);
		if (!strstr(e.text, wrong_files[i][1]))
			fail_msg("'%s' does not say '%s' for: %s", e.text, wrong_files[i][1], text);
	}
}

/* Whatever is cut off or overwritten: a workload or an error, never anything else (the sanitizers watch). */
static void test_damaged_files_are_refused_or_read(void **state)
{
	static const char whole[] = VM("\"behaviour\": {\"kind\": \"io\", \"run\": {\"uniform\": [\"1us\", \"2us\"]}, "
				       "\"block\": \"1ms\"}, \"affinity\": \"0-0\", \"weight\": 3");
	static const char other[] = "{}[],:\"\\0a-";
	char text[sizeof whole];

	for (size_t i = 0; i < sizeof whole - 1; i++)
		for (size_t k = 0; k < sizeof other; k++) {
			struct workload *w = NULL;
			struct error e = {""};

			memcpy(text, whole, sizeof whole);
			text[i] = other[k];
			if (workload_parse(text, k == 0 ? i : sizeof whole - 1, "f", &w, &e) < 0)
				assert_true(e.text[0] != '\0');
			workload_free(w);
		}
}

static void test_times_are_read_and_written(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} times[] = {{"1ns", 1}, {"1.5us", 1500}, {"20ms", 20000000}, {"3s", 3000000000}, {"2min", 120000000000}};
	static const char *const wrong[] = {"", "1", "ms", "1 ms", "1h", "-1ms", "1msx", "nan", "1e30s"};
	char buf[TIME_TEXT_MAX];
	uint64_t ns;

	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		assert_int_equal(time_parse(times[i].text, &ns), 0);
		assert_int_equal(ns, times[i].ns);
		assert_int_equal(time_parse(time_text(buf, ns), &ns), 0);
		assert_int_equal(ns, times[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(time_parse(wrong[i], &ns), -EINVAL);
}

/* ---- recordings ---- */

#define HEADER "{\"baton_recording\": 1, \"pcpus\": 1, \"duration\": \"100ms\"}\n{\"name\": \"a\", \"vcpus\": 2}\n"

static struct pool_times replay(const char *text, uint32_t v)
{
	struct workload *w = NULL;
	struct error e = {""};
	struct pool_times times;
	struct sim *s;
	uint64_t now;

	if (recording_parse(text, strlen(text), "r", &w, &e) < 0)
		fail_msg("%s", e.text);
	w->kick_ns = w->switch_ns = 0;
	assert_int_equal(sim_new(&(struct sim_config){.workload = w, .scheduler = &baton_scheduler_rr}, &s, &e), 0);
	assert_int_equal(sim_run(s, SIM_END, &e), 0);
	now = pool_enter(sim_pool(s));
	times = pool_vcpu_times(sim_pool(s), v, now);
	pool_leave(sim_pool(s));
	sim_free(s);
	workload_free(w);
	return times;
}

static void test_a_recording_is_replayed(void **state)
{
	static const char text[] = HEADER "[0, \"at\", 1000000, 2000000, \"halt\"]\n"
					  "[1, \"at\", 50000000, 1000000, \"yield\"]\n"
					  "[0, \"after\", 10000000, 3000000, \"io\"]\n"
					  "[0, \"after\", 0, 500000, \"halt\"]\n"
					  "[1, \"after\", 0, 250000, \"halt\"]\n"
					  "{\"end\": 5}\n";

	assert_int_equal(replay(text, 0).run_ns, 5500000);
	assert_int_equal(replay(text, 1).run_ns, 1250000);
	assert_int_equal(replay(text, 0).wait_ns, 0);
}

/* What comes while the vCPU is still busy is done right afterwards: work is not lost. */
static void test_demands_that_come_too_early_wait(void **state)
{
	static const char text[] = HEADER "[0, \"at\", 0, 20000000, \"halt\"]\n"
					  "[0, \"at\", 1000000, 10000000, \"halt\"]\n"
					  "{\"end\": 2}\n";

	assert_int_equal(replay(text, 0).run_ns, 30000000);
}

static const char *const wrong_recordings[][2] = {
    {"", "breaks off"},
    {"{}\n", "r:1: is no recording"},
    {"{\"baton_recording\": 2, \"pcpus\": 1, \"duration\": \"1s\"}\n", "r:1: baton_recording: is version 2"},
    {"{\"baton_recording\": 1, \"duration\": \"1s\"}\n", "r:1: pcpus is missing"},
    {HEADER, "breaks off"},
    {HEADER "[0, \"at\", 0, 1, \"halt\"]\n{\"end\": 2}\n", "r:4: 1 demands were read"},
    {HEADER "[0, \"at\", 0, 0, \"halt\"]\n{\"end\": 1}\n", "r:3: [3]: must be above 0"},
    {HEADER "[2, \"at\", 0, 1, \"halt\"]\n{\"end\": 1}\n", "r:3: [0]: "},
    {HEADER "[0, \"on\", 0, 1, \"halt\"]\n{\"end\": 1}\n", "r:3: [1]: is none of"},
    {HEADER "[0, \"at\", -1, 1, \"halt\"]\n{\"end\": 1}\n", "r:3: [2]: "},
    {HEADER "[0, \"at\", 0, 1, \"stop\"]\n{\"end\": 1}\n", "r:3: [4]: is none of"},
    {HEADER "[0, \"at\", 0, 1]\n{\"end\": 1}\n", "r:3: a demand has five"},
    {HEADER "[0, \"at\", 5, 1, \"halt\"]\n[0, \"at\", 4, 1, \"halt\"]\n{\"end\": 2}\n", "r:4: [2]: is before"},
    {HEADER "[0, \"at\", 5, 1, \"halt\"]\n{\"name\": \"b\"}\n{\"end\": 1}\n", "r:4: a VM must stand before"},
    {HEADER "[0, \"at\", 5, 1, \"halt\"]\n{\"end\": 1}\n[0, \"at\", 6, 1, \"halt\"]\n", "r:5: something follows"},
    {"{\"baton_recording\": 1, \"pcpus\": 1, \"duration\": \"1s\"}\n[0, \"at\", 5, 1, \"halt\"]\n{\"end\": 1}\n",
     "r:2: there is no VM"},
    {"{\"baton_recording\": 1, \"pcpus\": 1, \"duration\": \"1s\"}\n{\"end\": 0}\n", "at least one VM"},
};

static void test_wrong_recordings_are_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(wrong_recordings); i++) {
		const char *text = wrong_recordings[i][0];
		struct workload *w = NULL;
		struct error e = {""};

		if (recording_parse(text, strlen(text), "r", &w, &e) != -EINVAL)
			fail_msg("was accepted: %s", text);
		assert_null(w);
		if (!strstr(e.text, wrong_recordings[i][1]))
			fail_msg("'%s' does not say '%s' for: %s", e.text, wrong_recordings[i][1], text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_file_is_read),
	    cmocka_unit_test(test_what_is_wrong_is_named_with_its_line),
	    cmocka_unit_test(test_damaged_files_are_refused_or_read),
	    cmocka_unit_test(test_times_are_read_and_written),
	    cmocka_unit_test(test_a_recording_is_replayed),
	    cmocka_unit_test(test_demands_that_come_too_early_wait),
	    cmocka_unit_test(test_wrong_recordings_are_refused),
	};

	return cmocka_run_group_tests_name("sim-workload", tests, NULL, NULL);
}
