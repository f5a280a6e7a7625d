/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of scheduler while nano guests spin, sleep, wake and yield: no vCPU is lost and no guest notices. */
#include "rig.h"

#include <stdio.h>
#include <string.h>

#define CHANGES_QUICK 1000
#define CHANGES_FULL  10000
#define CEASES_QUICK  100
#define CEASES_FULL   1000

/* Eight vCPUs of four kinds. Heartbeats carry numbers: a hole would be one that never came; work is checked by the
 * guests themselves (a register that was lost or mixed up ends them as failed). */
static const struct {
	const char *name, *kind, *arguments;
	unsigned vcpus;
	int weight;
} crowd[] = {
    {"spin", "spinner", "beat_ms=10", 2, 256},
    {"wake", "waker", "beat_ms=10 period_us=1000 work=1", 2, 512},
    {"yield", "yielder", "beat_ms=10 work=2", 2, 100},
    {"io", "yielder", "beat_ms=10 io=1", 1, 300},
    {"echo", "echo", "beat_ms=10", 1, 256},
};

static struct rig crowd_new(const struct monitor_config *config)
{
	struct rig r = rig_new(config);

	for (size_t i = 0; i < ARRAY_SIZE(crowd); i++)
		rig_run_weight(&r, crowd[i].name, crowd[i].kind, crowd[i].vcpus, crowd[i].arguments, crowd[i].weight);
	for (size_t i = 0; i < ARRAY_SIZE(crowd); i++)
		rig_wait_beats(&r, crowd[i].name, 1);
	return r;
}

/* Every vCPU that waits or runs gets on: it is started again. */
static void all_vcpus_get_on(struct rig *r)
{
	int64_t starts[ARRAY_SIZE(crowd)][8];
	uint64_t deadline = clock_now_ns() + RIG_PATIENCE_NS;
	bool first = true, all = false;

	while (!all) {
		all = !first;
		for (size_t i = 0; i < ARRAY_SIZE(crowd); i++) {
			json_t *vm = rig_vm(r, crowd[i].name), *vcpu;
			size_t k;

			assert_int_equal(json_array_size(json_object_get(vm, "vcpu")), crowd[i].vcpus);
			json_array_foreach(json_object_get(vm, "vcpu"), k, vcpu)
			{
				int64_t n = json_integer_value(json_object_get(vcpu, "starts"));

				if (first)
					starts[i][k] = n;
				if (n <= starts[i][k] && clock_now_ns() > deadline)
					rig_fail("vCPU %zu of %s does not get on: it is %s", k, crowd[i].name,
						 json_string_value(json_object_get(vcpu, "state")));
				all &= n > starts[i][k];
			}
			json_decref(vm);
		}
		first = false;
		usleep(1000);
	}
}

static void nobody_noticed(struct rig *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(crowd); i++)
		rig_wait_beats(r, crowd[i].name, 2);
	all_vcpus_get_on(r);
}

/* vCPU-times of one VM go on by exactly the time that passes: between two looks, not more and not less. */
static int64_t all_time(struct rig *r, const char *name)
{
	json_t *vm = rig_vm(r, name);
	int64_t sum = json_integer_value(json_object_get(vm, "run_ns")) +
		      json_integer_value(json_object_get(vm, "wait_ns")) +
		      json_integer_value(json_object_get(vm, "blocked_ns"));

	json_decref(vm);
	return sum;
}

struct stopwatch {
	uint64_t before_ns, after_ns;
	int64_t sum;
};

static struct stopwatch stopwatch(struct rig *r, const char *name)
{
	struct stopwatch s = {.before_ns = clock_now_ns()};

	s.sum = all_time(r, name);
	s.after_ns = clock_now_ns();
	return s;
}

static void times_add_up_since(struct rig *r, const char *name, const struct stopwatch *since, unsigned vcpus)
{
	struct stopwatch now = stopwatch(r, name);

	assert_in_range(now.sum - since->sum, vcpus * (now.before_ns - since->after_ns),
			vcpus * (now.after_ns - since->before_ns));
}

static void no_wrong_answers(struct rig *r)
{
	json_t *status = rig_ask(r, "sched.status", NULL);

	assert_int_equal(json_integer_value(json_object_get(status, "wrong_answers")), 0);
	assert_int_equal(json_integer_value(json_object_get(status, "fallbacks")), 0);
	json_decref(status);
}

static void thousands_of_live_changes_go_unnoticed(void **unused)
{
	struct rig r = crowd_new(NULL);
	unsigned changes = rig_full() ? CHANGES_FULL : CHANGES_QUICK;
	struct stopwatch since[ARRAY_SIZE(crowd)];
	char active[32];

	for (size_t i = 0; i < ARRAY_SIZE(crowd); i++)
		since[i] = stopwatch(&r, crowd[i].name);
	for (unsigned i = 0; i < changes; i++) {
		if (i % 2 == 0)
			json_decref(rig_changed(&r, "sched.load", "{s:s, s:s}", "name", "bvt", "image",
						i ? "" : "file:bvt.baton"));
		else
			json_decref(rig_changed(&r, "sched.default", NULL));
		if (i % 250 < 2) {
			assert_string_equal(rig_active(&r, active), i % 2 ? "rr" : "bvt");
			for (size_t k = 0; k < ARRAY_SIZE(crowd); k++)
				rig_must_be_well(&r, crowd[k].name);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(crowd); i++)
		times_add_up_since(&r, crowd[i].name, &since[i], crowd[i].vcpus);
	nobody_noticed(&r);
	no_wrong_answers(&r);
	rig_free(&r);
}

static void every_pcpu_comes_to_rest_for_a_ceasing_change(void **unused)
{
	struct rig r = crowd_new(NULL);
	unsigned changes = rig_full() ? CEASES_FULL : CEASES_QUICK;

	for (unsigned i = 0; i < changes; i++) {
		json_t *report = i % 2 == 0 ? rig_changed(&r, "sched.load", "{s:s, s:s, s:s}", "name", "bvt", "image",
							  i ? "" : "file:bvt.baton", "how", "cease")
					    : rig_changed(&r, "sched.default", "{s:s}", "how", "cease");
		json_t *each = json_object_get(report, "blackout_per_pcpu_ns"), *ns;
		size_t k;

		assert_string_equal(json_string_value(json_object_get(report, "how")), "cease");
		assert_int_equal(json_array_size(each), rig_pcpus());
		json_array_foreach(each, k, ns)
		{
			assert_true(json_integer_value(ns) > 0);
			assert_true(json_integer_value(ns) <=
				    json_integer_value(json_object_get(report, "blackout_ns")));
		}
		json_decref(report);
	}
	nobody_noticed(&r);
	no_wrong_answers(&r);
	rig_free(&r);
}

static void images_come_and_go_with_each_change(void **unused)
{
	static const char *const old[] = {"unload-after", "unload-before"};
	struct rig r = crowd_new(&(struct monitor_config){.arena_slots = 2});
	json_t *status;

	for (unsigned i = 0; i < 100; i++) {
		json_decref(rig_changed(&r, "sched.load", "{s:s, s:s, s:s, s:s}", "image",
					i % 2 ? "file:bvt.baton" : "file:rr.baton", "old", old[i / 2 % 2], "how",
					i % 5 == 4 ? "cease" : "live", "name", i % 2 ? "bvt" : "rr"));
		status = rig_ask(&r, "sched.status", NULL);
		assert_int_equal(json_integer_value(json_object_get(status, "slots_free")), 1);
		assert_int_equal(json_array_size(json_object_get(status, "schedulers")), 2);
		json_decref(status);
	}
	json_decref(rig_changed(&r, "sched.unload", "{s:s}", "name", "bvt"));
	status = rig_ask(&r, "sched.status", NULL);
	assert_int_equal(json_integer_value(json_object_get(status, "slots_free")), 2);
	json_decref(status);
	nobody_noticed(&r);
	no_wrong_answers(&r);
	rig_free(&r);
}

static void refused_changes_go_unnoticed(void **unused)
{
	static const struct {
		const char *name, *image, *word;
	} wrong[] = {{"", "file:none.baton", "none.baton"},   {"", "file:tester", "tester"},
		     {"fair", "file:bvt.baton", "fair"},      {"fair", "", "fair"},
		     {"", "file:/proc/self", "regular file"}, {"", "ftp://x/y.baton", "ftp"}};
	struct rig r = crowd_new(NULL);
	char active[32];

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		json_t *report =
		    rig_change(&r, "sched.load", "{s:s, s:s}", "name", wrong[i].name, "image", wrong[i].image);

		assert_string_equal(json_string_value(json_object_get(report, "state")), "refused");
		if (!strstr(json_string_value(json_object_get(report, "error")), wrong[i].word))
			rig_fail("no \"%s\": %s", wrong[i].word, json_string_value(json_object_get(report, "error")));
		json_decref(report);
	}
	assert_string_equal(rig_active(&r, active), "rr");
	nobody_noticed(&r);
	rig_free(&r);
}

static void senseless_requests_for_a_change_are_refused_at_once(void **unused)
{
	struct rig r = rig_new(NULL);
	char long_name[700];

	memset(long_name, 'x', sizeof long_name - 1);
	long_name[sizeof long_name - 1] = '\0';
	rig_refused(&r, EINVAL, "which scheduler", "sched.load", "{}");
	rig_refused(&r, EINVAL, "parameters", "sched.load", NULL);
	rig_refused(&r, EINVAL, "", "sched.load", "{s:i}", "name", 5);
	rig_refused(&r, EINVAL, "", "sched.load", "{s:s, s:s}", "name", "bvt", "colour", "red");
	rig_refused(&r, EINVAL, "live", "sched.load", "{s:s, s:s}", "name", "bvt", "how", "softly");
	rig_refused(&r, EINVAL, "keep", "sched.load", "{s:s, s:s}", "name", "bvt", "old", "eat");
	rig_refused(&r, EINVAL, "object", "sched.load", "{s:s, s:[i]}", "name", "bvt", "params", 1);
	rig_refused(&r, EINVAL, "whole number", "sched.load", "{s:s, s:{s:s}}", "name", "bvt", "params", "allowance_us",
		    "many");
	rig_refused(&r, ENAMETOOLONG, "too long", "sched.load", "{s:s}", "name", long_name);
	rig_refused(&r, ENAMETOOLONG, "too long", "sched.load", "{s:s}", "image", long_name);
	rig_refused(&r, EINVAL, "which", "sched.unload", "{}");
	rig_refused(&r, EINVAL, "id", "sched.change", "{}");
	rig_refused(&r, EINVAL, "id", "sched.change", NULL);
	rig_refused(&r, ENOENT, "999", "sched.change", "{s:i}", "id", 999);
	rig_refused(&r, ENOENT, "-1", "sched.change", "{s:i}", "id", -1);
	rig_refused(&r, ENOENT, "no_such", "sched.set", "{s:s, s:i}", "parameter", "no_such", "value", 1);
	rig_refused(&r, ERANGE, "slice_us", "sched.set", "{s:s, s:i}", "parameter", "slice_us", "value", 0);
	rig_refused(&r, ENOENT, "fair", "sched.set", "{s:s, s:i, s:s}", "parameter", "slice_us", "value", 5000,
		    "scheduler", "fair");
	rig_refused(&r, ENOSYS, "no method", "sched.explode", "{}");
	rig_free(&r);
}

static void parameters_are_set_while_guests_run(void **unused)
{
	struct rig r = crowd_new(NULL);

	json_decref(
	    rig_changed(&r, "sched.load", "{s:s, s:{s:i}}", "image", "file:bvt.baton", "params", "allowance_us", 3000));
	for (int i = 0; i < 100; i++) {
		rig_do(&r, "sched.set", "{s:s, s:i}", "parameter", "allowance_us", "value", 500 + 50 * i);
		rig_do(&r, "sched.set", "{s:s, s:i, s:s}", "parameter", "weight", "value", 1 + i, "vm", "spin");
		rig_do(&r, "sched.set", "{s:s, s:i, s:s}", "parameter", "warp_ns", "value", i * 10000, "vm", "wake");
	}
	/* A VM's parameter needs a VM, whether the scheduler is there already or not. */
	rig_refused(&r, EINVAL, "VM", "sched.set", "{s:s, s:i}", "parameter", "weight", "value", 5);
	rig_refused(&r, ERANGE, "weight", "sched.set", "{s:s, s:i, s:s}", "parameter", "weight", "value", 0, "vm",
		    "spin");
	rig_refused(&r, ENOENT, "nobody", "sched.set", "{s:s, s:i, s:s}", "parameter", "weight", "value", 9, "vm",
		    "nobody");
	assert_int_equal(rig_number(&r, "spin", "weight"), 100);
	json_t *report = rig_change(&r, "sched.load", "{s:s, s:{s:i}}", "name", "bvt", "params", "weight", 7);
	assert_string_equal(json_string_value(json_object_get(report, "state")), "refused");
	json_decref(report);
	nobody_noticed(&r);
	rig_free(&r);
}

static void a_monitor_may_end_in_the_middle_of_changes(void **unused)
{
	for (unsigned i = 0; i < 5; i++) {
		struct rig r = crowd_new(NULL);

		for (unsigned k = 0; k < 10; k++)
			rig_do(&r, "sched.load", "{s:s, s:s, s:s}", "image", k % 2 ? "file:bvt.baton" : "file:rr.baton",
			       "old", "unload-after", "how", k % 3 ? "live" : "cease");
		usleep(i * 500);
		rig_free(&r);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(thousands_of_live_changes_go_unnoticed),
	    cmocka_unit_test(every_pcpu_comes_to_rest_for_a_ceasing_change),
	    cmocka_unit_test(images_come_and_go_with_each_change),
	    cmocka_unit_test(refused_changes_go_unnoticed),
	    cmocka_unit_test(senseless_requests_for_a_change_are_refused_at_once),
	    cmocka_unit_test(parameters_are_set_while_guests_run),
	    cmocka_unit_test(a_monitor_may_end_in_the_middle_of_changes),
	};

	rig_arguments(argc, argv);
	if (*rig_argument(0))
		cmocka_set_test_filter(rig_argument(0)); /* by hand: one test alone */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
