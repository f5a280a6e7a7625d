/* SPDX-License-Identifier: Apache-2.0 */
/* VMs are created, paused, resumed, stopped and destroyed in any order, by several at once; nothing is left behind. */
#include "rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static unsigned list_size(struct rig *r)
{
	json_t *list = rig_ask(r, "vm.list", NULL);
	unsigned n = (unsigned)json_array_size(json_object_get(list, "vms"));

	json_decref(list);
	return n;
}

/* What this process has when nothing is going on. KVM's and the C library's own threads end in their own time, so the
 * counts are waited for. */
struct belongings {
	unsigned fds, threads;
};

static struct belongings belongings(void)
{
	return (struct belongings){.fds = rig_count_fds(), .threads = rig_count_threads()};
}

static void nothing_is_left(const struct belongings *before)
{
	uint64_t deadline = clock_now_ns() + RIG_PATIENCE_NS;
	struct belongings now = belongings();

	while ((now.fds > before->fds || now.threads > before->threads) && clock_now_ns() < deadline) {
		usleep(1000);
		now = belongings();
	}
	assert_int_equal(now.fds, before->fds);
	assert_int_equal(now.threads, before->threads);
}

/* A first monitor and VM, so that what is made once per process is there. */
static void warm_up(void)
{
	struct rig r = rig_new(NULL);

	rig_run(&r, "first", "spinner", 1, "beat_ms=1");
	rig_wait_beats(&r, "first", 1);
	rig_free(&r);
}

/* ---- one after the other ---- */

static void a_vm_is_paused_and_resumed(void **unused)
{
	struct rig r = rig_new(NULL);
	int64_t beats, ran;

	rig_run(&r, "vm", "spinner", 3, "beat_ms=1");
	for (unsigned i = 0; i < 30; i++) {
		rig_wait_beats(&r, "vm", 1);
		rig_do(&r, "vm.pause", "{s:s}", "vm", "vm");
		assert_true(rig_is(&r, "vm", "state", "paused"));
		beats = rig_number(&r, "vm", "heartbeats");
		ran = rig_number(&r, "vm", "run_ns");
		usleep(3000);
		assert_int_equal(rig_number(&r, "vm", "heartbeats"), beats); /* at rest means at rest */
		assert_int_equal(rig_number(&r, "vm", "run_ns"), ran);
		if (i % 3 == 0)
			rig_do(&r, "vm.pause", "{s:s}", "vm", "vm"); /* twice is the same as once */
		rig_do(&r, "vm.resume", "{s:s}", "vm", "vm");
		if (i % 3 == 1)
			rig_do(&r, "vm.resume", "{s:s}", "vm", "vm");
	}
	rig_wait_beats(&r, "vm", 2);
	rig_free(&r);
}

/* Its time comes while it is paused: it must not sleep on for ever. */
static void a_sleeper_whose_time_comes_while_it_is_paused_wakes_after_the_resume(void **unused)
{
	struct rig r = rig_new(NULL);

	rig_run(&r, "vm", "waker", 2, "beat_ms=2 period_us=500");
	for (unsigned i = 0; i < 30; i++) {
		rig_wait_beats(&r, "vm", 1);
		rig_do(&r, "vm.pause", "{s:s}", "vm", "vm");
		usleep(1500);
		rig_do(&r, "vm.resume", "{s:s}", "vm", "vm");
	}
	rig_wait_beats(&r, "vm", 2);
	rig_free(&r);
}

static void a_stopped_vm_stays_listed_and_a_destroyed_one_does_not(void **unused)
{
	struct rig r = rig_new(NULL);

	rig_run(&r, "vm", "spinner", 1, "beat_ms=1");
	rig_wait_beats(&r, "vm", 1);
	rig_do(&r, "vm.stop", "{s:s}", "vm", "vm");
	assert_true(rig_is(&r, "vm", "state", "off"));
	assert_true(rig_is(&r, "vm", "reason", "stopped by the operator"));
	assert_true(rig_number(&r, "vm", "run_ns") > 0 && rig_number(&r, "vm", "heartbeats") > 0);
	rig_refused(&r, ESRCH, "off", "vm.pause", "{s:s}", "vm", "vm");
	rig_refused(&r, ESRCH, "off", "vm.resume", "{s:s}", "vm", "vm");
	rig_do(&r, "vm.stop", "{s:s}", "vm", "vm"); /* it is off: done */
	rig_refused(&r, EEXIST, "vm", "vm.create", "{s:s, s:s, s:i}", "name", "vm", "kernel", rig_guest(&r, "spinner"),
		    "memory_mib", 4);
	rig_do(&r, "vm.destroy", "{s:s}", "vm", "vm");
	assert_int_equal(list_size(&r), 0);
	rig_refused(&r, ENOENT, "vm", "vm.destroy", "{s:s}", "vm", "vm");
	rig_run(&r, "vm", "spinner", 1, "beat_ms=1"); /* its name is free again */
	rig_wait_beats(&r, "vm", 1);
	rig_free(&r);
}

static void vms_are_known_by_name_and_by_number(void **unused)
{
	struct rig r = rig_new(NULL);
	json_t *reply = rig_ask(&r, "vm.create", "{s:s, s:i}", "kernel", rig_guest(&r, "spinner"), "memory_mib", 4);
	json_int_t id = json_integer_value(json_object_get(reply, "id"));
	char name[64];

	snprintf(name, sizeof name, "%s", json_string_value(json_object_get(reply, "name"))); /* it was given one */
	json_decref(reply);
	rig_do(&r, "vm.pause", "{s:I}", "vm", id);
	assert_true(rig_is(&r, name, "state", "paused"));
	rig_refused(&r, ENOENT, "999", "vm.pause", "{s:i}", "vm", 999);
	rig_refused(&r, ENOENT, "-1", "vm.pause", "{s:i}", "vm", -1);
	rig_refused(&r, ENOENT, "", "vm.pause", "{}");
	rig_refused(&r, ENOENT, "", "vm.pause", "{s:[i]}", "vm", 1);
	rig_refused(&r, ENOENT, "", "vm.pause", NULL);
	rig_free(&r);
}

/* ---- parameters ---- */

static void write_file(const char *path, const void *data, size_t size)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

static size_t read_file(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(buf, 1, size, f);
	fclose(f);
	return n;
}

#define CREATE(code, word, format, ...) rig_refused(&r, code, word, "vm.create", format, __VA_ARGS__)

static void a_vm_that_cannot_be_is_refused_and_leaves_nothing(void **unused)
{
	static char file[1 << 20], name[300];
	struct rig r;
	struct belongings before;
	char dir[] = "/tmp/baton-nano-XXXXXX", cut[64], spinner[4096];
	size_t size;

	warm_up();
	r = rig_new(NULL);
	before = belongings();
	assert_non_null(mkdtemp(dir));
	snprintf(cut, sizeof cut, "%s/cut", dir);
	snprintf(spinner, sizeof spinner, "%s", rig_guest(&r, "spinner"));

	CREATE(ENOENT, "/no/such/file", "{s:s}", "kernel", "/no/such/file");
	CREATE(ENOEXEC, dir, "{s:s}", "kernel", dir);
	size = read_file(spinner, file, sizeof file);
	assert_true(size > 1000 && size < sizeof file);
	for (size_t keep = 0; keep < size - 1; keep = keep < 128 ? keep + 17 : keep * 2) {
		json_t *reply;

		write_file(cut, file, keep);
		reply = rig_request(&r, "vm.create", json_pack("{s:s, s:i}", "kernel", cut, "memory_mib", 4));
		/* Debugging information at the end is nothing that it needs to run. */
		if (json_is_true(json_object_get(reply, "ok")))
			rig_do(&r, "vm.destroy", "{s:I}", "vm", json_integer_value(json_object_get(reply, "id")));
		else
			assert_true(strlen(json_string_value(json_object_get(reply, "error"))) > 10);
		if (keep < 4096)
			assert_true(json_is_false(json_object_get(reply, "ok")));
		json_decref(reply);
	}
	CREATE(EINVAL, "initrd", "{s:s, s:s}", "kernel", spinner, "initrd", "/no/such/initrd");
	for (json_int_t mib = -1; mib <= 0; mib++)
		CREATE(ERANGE, "memory", "{s:s, s:I}", "kernel", spinner, "memory_mib", mib);
	CREATE(ERANGE, "memory", "{s:s, s:I}", "kernel", spinner, "memory_mib", (json_int_t)1 << 40);
	CREATE(EINVAL, "memory", "{s:s, s:I}", "kernel", spinner, "memory_mib", (json_int_t)1 << 16); /* a nano guest */
	CREATE(EINVAL, "", "{s:s, s:s}", "kernel", spinner, "memory_mib", "much");
	for (int vcpus = -1; vcpus <= 9; vcpus += vcpus == 0 ? 9 : 1)
		CREATE(ERANGE, "vCPUs", "{s:s, s:i}", "kernel", spinner, "vcpus", vcpus);
	CREATE(EINVAL, "vcpu", "{s:s, s:i}", "kernel", spinner, "vcpu", 2); /* not vcpus */
	CREATE(EINVAL, "role", "{s:s, s:s}", "kernel", spinner, "role", "king");
	CREATE(ERANGE, "weight", "{s:s, s:i}", "kernel", spinner, "weight", 0);
	CREATE(ERANGE, "weight", "{s:s, s:i}", "kernel", spinner, "weight", 65537);
	CREATE(ERANGE, "weight", "{s:s, s:s}", "kernel", spinner, "weight", "heavy");
	CREATE(ERANGE, "warp_ns", "{s:s, s:i}", "kernel", spinner, "warp_ns", -1);
	memset(name, 'n', sizeof name - 1);
	CREATE(EINVAL, "name", "{s:s, s:s}", "kernel", spinner, "name", name);
	CREATE(EINVAL, "name", "{s:s, s:s}", "kernel", spinner, "name", "");
	CREATE(EINVAL, "name", "{s:s, s:s}", "kernel", spinner, "name", "a/b");
	CREATE(EINVAL, "name", "{s:s, s:s}", "kernel", spinner, "name", "a b");
	CREATE(EINVAL, "kernel", "{s:s}", "name", "x");
	memset(file, 'x', 5000);
	file[5000] = '\0';
	CREATE(E2BIG, "command line", "{s:s, s:s}", "kernel", spinner, "cmdline", file);
	rig_refused(&r, EINVAL, "parameters", "vm.create", NULL);

	assert_int_equal(list_size(&r), 0);
	nothing_is_left(&before);
	unlink(cut);
	rmdir(dir);
	rig_run(&r, "vm", "spinner", 8, "beat_ms=1"); /* and an ordinary one can still be */
	rig_wait_beats(&r, "vm", 1);
	rig_free(&r);
}

static void there_is_a_largest_number_of_vms(void **unused)
{
	struct rig r = rig_new(&(struct monitor_config){.max_vms = 3});

	rig_run(&r, "a", "spinner", 8, "");
	rig_run(&r, "b", "spinner", 8, "");
	rig_run(&r, "c", "spinner", 8, "");
	CREATE(ENOSPC, "--max-vms", "{s:s, s:s, s:i}", "name", "d", "kernel", rig_guest(&r, "spinner"), "memory_mib",
	       4);
	rig_do(&r, "vm.destroy", "{s:s}", "vm", "b");
	rig_run(&r, "d", "waker", 8, "beat_ms=2");
	rig_wait_beats(&r, "d", 1);
	rig_free(&r);
}

/* ---- all at once ---- */

struct actor {
	struct rig *r;
	uint64_t random;
	unsigned rounds;
	_Atomic unsigned *granted, *refused;
};

static uint64_t dice(struct actor *a, unsigned sides)
{
	a->random = a->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (a->random >> 33) % sides;
}

static void *act(void *ctx)
{
	static const char *const methods[] = {"vm.pause",   "vm.resume", "vm.stop",  "vm.destroy",
					      "vm.destroy", "vm.pause",	 "vm.resume"};
	static const char *const kinds[] = {"spinner", "waker", "yielder", "echo"};
	struct actor *a = ctx;

	for (unsigned i = 0; i < a->rounds; i++) {
		unsigned choice = (unsigned)dice(a, 12);
		char name[8];
		json_t *reply;

		snprintf(name, sizeof name, "vm%u", (unsigned)dice(a, 5)); /* both mean the same five VMs */
		if (choice < ARRAY_SIZE(methods))
			reply = rig_request(a->r, methods[choice], json_pack("{s:s}", "vm", name));
		else if (choice < 11)
			reply = rig_request(a->r, "vm.create",
					    json_pack("{s:s, s:s, s:i, s:i, s:s}", "name", name, "kernel",
						      rig_guest(a->r, kinds[dice(a, ARRAY_SIZE(kinds))]), "memory_mib",
						      4, "vcpus", (int)(1 + dice(a, 4)), "cmdline",
						      dice(a, 4) ? "beat_ms=1" : "beat_ms=1 beats=3"));
		else
			reply = rig_request(a->r, "vm.list", NULL);
		atomic_fetch_add(json_is_true(json_object_get(reply, "ok")) ? a->granted : a->refused, 1);
		json_decref(reply);
	}
	return NULL;
}

static void two_operators_at_once_in_any_order(void **unused)
{
	_Atomic unsigned granted = 0, refused = 0;
	struct belongings before;
	struct actor actors[2];
	pthread_t threads[2];
	struct rig r;
	json_t *list, *vm;
	size_t i;

	warm_up();
	before = belongings();
	r = rig_new(NULL);
	rig_run(&r, "stays", "waker", 1, "beat_ms=5 period_us=1000");
	for (unsigned k = 0; k < 2; k++) {
		actors[k] = (struct actor){.r = &r,
					   .random = k + 1,
					   .rounds = rig_full() ? 2000 : 200,
					   .granted = &granted,
					   .refused = &refused};
		assert_int_equal(pthread_create(&threads[k], NULL, act, &actors[k]), 0);
	}
	for (unsigned k = 0; k < 2; k++)
		pthread_join(threads[k], NULL);
	assert_true(granted > 50 && refused > 5);
	rig_wait_beats(&r, "stays", 2);
	list = rig_ask(&r, "vm.list", NULL);
	json_array_foreach(json_object_get(list, "vms"), i, vm)
	    rig_do(&r, "vm.destroy", "{s:I}", "vm", json_integer_value(json_object_get(vm, "id")));
	json_decref(list);
	assert_int_equal(list_size(&r), 0);
	rig_free(&r);
	nothing_is_left(&before);
}

static void a_monitor_ends_whatever_its_vms_do(void **unused)
{
	struct belongings before;

	warm_up();
	before = belongings();
	for (unsigned i = 0; i < 10; i++) {
		struct rig r = rig_new(NULL);

		rig_run(&r, "spin", "spinner", 2, "");
		rig_run(&r, "mad", "panicker", 2, "after_ms=0 tell=0 mode=spin");
		rig_run(&r, "sleep", "waker", 2, "period_us=500");
		rig_run(&r, "dying", "panicker", 1, "after_ms=1 tell=0");
		rig_run(&r, "paused", "yielder", 2, "");
		rig_do(&r, "vm.pause", "{s:s}", "vm", "paused");
		usleep(i * 300);
		rig_free(&r);
	}
	nothing_is_left(&before);
}

static void wrong_pcpus_are_refused(void **unused)
{
	static const char *const wrong[] = {"", ",", "x", "0-", "1-0", "0,0", "0-0,0", "99999", "-1", "0;1"};
	struct belongings before;
	struct monitor *m = NULL;
	struct error e = {0};

	warm_up();
	before = belongings();
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		if (monitor_new(&(struct monitor_config){.pcpus = wrong[i]}, &m, &e) >= 0)
			rig_fail("--pcpus \"%s\" was accepted", wrong[i]);
		assert_true(strlen(e.text) > 10);
	}
	assert_int_equal(monitor_new(&(struct monitor_config){.kvm_path = "/no/such/kvm"}, &m, &e), -ENOENT);
	assert_non_null(strstr(e.text, "/no/such/kvm"));
	assert_true(monitor_new(&(struct monitor_config){.kvm_path = "/dev/null"}, &m, &e) < 0);
	assert_true(monitor_new(&(struct monitor_config){.slice_us = 1}, &m, &e) < 0);
	assert_true(monitor_new(&(struct monitor_config){.arena_slots = 10000}, &m, &e) < 0);
	assert_null(m);
	nothing_is_left(&before);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_vm_is_paused_and_resumed),
	    cmocka_unit_test(a_sleeper_whose_time_comes_while_it_is_paused_wakes_after_the_resume),
	    cmocka_unit_test(a_stopped_vm_stays_listed_and_a_destroyed_one_does_not),
	    cmocka_unit_test(vms_are_known_by_name_and_by_number),
	    cmocka_unit_test(a_vm_that_cannot_be_is_refused_and_leaves_nothing),
	    cmocka_unit_test(there_is_a_largest_number_of_vms),
	    cmocka_unit_test(two_operators_at_once_in_any_order),
	    cmocka_unit_test(a_monitor_ends_whatever_its_vms_do),
	    cmocka_unit_test(wrong_pcpus_are_refused),
	};

	rig_arguments(argc, argv);
	if (*rig_argument(0))
		cmocka_set_test_filter(rig_argument(0)); /* by hand: one test alone */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
