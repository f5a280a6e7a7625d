/* SPDX-License-Identifier: Apache-2.0 */
/* A bad guest loses itself alone: a neighbour that sleeps and wakes goes on beating meanwhile. And who may ask for
 * what. */
#include "rig.h"

#include "baton/guest.h"

#include <stdio.h>
#include <string.h>

static struct rig with_neighbour(void)
{
	struct rig r = rig_new(NULL);

	rig_run(&r, "neighbour", "waker", 2, "beat_ms=5 period_us=1000 work=1");
	rig_wait_beats(&r, "neighbour", 1);
	return r;
}

static void neighbour_is_well(struct rig *r)
{
	rig_wait_beats(r, "neighbour", 3);
}

/* ---- guests that fail ---- */

static void a_guest_that_faults_is_crashed_with_a_reason(void **unused)
{
	static const char *const kinds[] = {"ud", "privileged", "load", "store", "divide", "jump", "stack"};
	struct rig r = with_neighbour();
	char words[80];

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		for (unsigned vcpus = 1; vcpus <= 3; vcpus += 2) {
			json_t *vm;

			snprintf(words, sizeof words, "after_ms=1 beat_ms=1 tell=%zu mode=fault kind=%s", i % 2,
				 kinds[i]);
			rig_run(&r, "bad", "panicker", vcpus, words);
			rig_wait_is(&r, "bad", "state", "crashed");
			vm = rig_vm(&r, "bad");
			assert_true(strlen(json_string_value(json_object_get(vm, "reason"))) > 5);
			assert_int_equal(json_is_true(json_object_get(vm, "failed")), i % 2);
			assert_int_equal(json_array_size(json_object_get(vm, "vcpu")), 0);
			json_decref(vm);
			rig_refused(&r, ESRCH, "crashed", "vm.resume", "{s:s}", "vm", "bad");
			rig_do(&r, "vm.destroy", "{s:s}", "vm", "bad");
			neighbour_is_well(&r);
		}
	rig_free(&r);
}

static void a_guest_that_spins_without_exits_is_made_to_share(void **unused)
{
	struct rig r = with_neighbour();

	rig_run(&r, "bad", "panicker", 4, "after_ms=1 mode=spin"); /* more spinning vCPUs than pCPUs */
	rig_wait_number(&r, "bad", "run_ns", 50000000);
	for (unsigned i = 0; i < 5; i++)
		neighbour_is_well(&r);
	assert_true(rig_is(&r, "bad", "state", "running"));
	assert_true(rig_true(&r, "bad", "failed"));   /* it said so before */
	rig_do(&r, "vm.pause", "{s:s}", "vm", "bad"); /* it can be made to rest although it never exits */
	neighbour_is_well(&r);
	rig_do(&r, "vm.resume", "{s:s}", "vm", "bad");
	rig_do(&r, "vm.stop", "{s:s}", "vm", "bad");
	neighbour_is_well(&r);
	rig_free(&r);
}

static void a_guest_that_falls_silent_or_switches_itself_off_disturbs_nobody(void **unused)
{
	struct rig r = with_neighbour();

	rig_run(&r, "silent", "panicker", 2, "after_ms=1 mode=failed tell=1");
	rig_run(&r, "off", "panicker", 2, "after_ms=1 mode=exit tell=1");
	rig_wait_is(&r, "off", "state", "off");
	assert_int_equal(rig_number(&r, "off", "exit_status"), 1);
	assert_int_equal(rig_number(&r, "off", "failed_reason"), 1);
	neighbour_is_well(&r);
	assert_true(rig_is(&r, "silent", "state", "running"));
	rig_free(&r);
}

/* ---- guests that attack ---- */

static void a_hostile_guest_gets_the_answers_that_the_contract_names(void **unused)
{
	static const char *const modes[] = {"calls", "privileged", "ports", "beats"};
	struct rig r = with_neighbour();
	char words[64];

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
		for (unsigned vcpus = 1; vcpus <= 3; vcpus += 2) { /* the others make the same calls all the time */
			snprintf(words, sizeof words, "mode=%s", modes[i]);
			rig_run(&r, "bad", "hostile", vcpus, words);
			rig_wait_is(&r, "bad", "state", "off");
			if (rig_number(&r, "bad", "exit_status") != 0)
				rig_fail("mode %s with %u vCPUs: reason %#llx", modes[i], vcpus,
					 (unsigned long long)rig_number(&r, "bad", "failed_reason"));
			rig_do(&r, "vm.destroy", "{s:s}", "vm", "bad");
			neighbour_is_well(&r);
		}
	rig_free(&r);
}

static void a_flood_of_output_drowns_nobody(void **unused)
{
	struct rig r = with_neighbour();
	char buf[4096];
	uint64_t pos = 0;

	rig_run(&r, "bad", "hostile", 1, "mode=flood flood_ms=200");
	neighbour_is_well(&r);
	rig_wait_is(&r, "bad", "state", "off");
	assert_int_equal(rig_number(&r, "bad", "exit_status"), 0);
	neighbour_is_well(&r);
	assert_true(monitor_console_read(r.monitor, "bad", &pos, buf, sizeof buf) > 0);
	assert_non_null(memchr(buf, '!', sizeof buf));
	rig_free(&r);
}

/* Twice 64 KiB, byte by byte: long where exits are dear, and the carrier has no part in it. */
static void a_mailbox_that_is_overfilled_holds(void **unused)
{
	struct rig r;

	if (rig_carrier() != CARRIER_WORKER && !rig_full())
		skip();
	r = with_neighbour();
	rig_run(&r, "bad", "hostile", 1, "mode=mailbox");
	rig_wait_is(&r, "bad", "state", "off");
	assert_int_equal(rig_number(&r, "bad", "exit_status"), 0);
	neighbour_is_well(&r);
	rig_free(&r);
}

static void many_bad_guests_at_once_lose_themselves_only(void **unused)
{
	static const struct {
		const char *kind, *words;
	} bad[] = {{"panicker", "after_ms=5 mode=spin"},   {"panicker", "after_ms=5 kind=jump"},
		   {"panicker", "after_ms=5 kind=stack"},  {"hostile", "mode=calls rounds=20"},
		   {"hostile", "mode=flood flood_ms=100"}, {"panicker", "after_ms=5 mode=exit"},
		   {"hostile", "mode=privileged rounds=5"}};
	struct rig r = with_neighbour();
	char name[16];

	for (unsigned round = 0; round < 3; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
			snprintf(name, sizeof name, "bad-%zu", i);
			rig_run(&r, name, bad[i].kind, 2, bad[i].words);
		}
		json_decref(rig_changed(&r, "sched.load", "{s:s}", "image", "file:bvt.baton"));
		neighbour_is_well(&r);
		json_decref(rig_changed(&r, "sched.unload", "{s:s}", "name", "bvt"));
		neighbour_is_well(&r);
		for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
			snprintf(name, sizeof name, "bad-%zu", i);
			rig_do(&r, "vm.destroy", "{s:s}", "vm", name);
		}
	}
	neighbour_is_well(&r);
	rig_free(&r);
}

/* ---- who may ask ---- */

static void run_as(struct rig *r, const char *role, unsigned call, const char *text, const char *expected)
{
	char words[400], *output;

	snprintf(words, sizeof words, "mode=call call=%u text=%s", call, text);
	rig_do(r, "vm.create", "{s:s, s:s, s:i, s:s, s:s}", "name", "caller", "kernel", rig_guest(r, "tester"),
	       "memory_mib", 4, "cmdline", words, "role", role);
	output = rig_wait_output(r, "caller", ":END");
	if (!strstr(output, expected))
		rig_fail("call %u of the %s: no \"%s\" but %s", call, role, expected, output);
	free(output);
	rig_wait_is(r, "caller", "state", "off");
	rig_do(r, "vm.destroy", "{s:s}", "vm", "caller");
}

static void a_guest_vm_may_not_ask_what_the_service_vm_may(void **unused)
{
	static const char *const texts[] = {"{}", "", "{\"image\":\"file:bvt.baton\"}", "nonsense"};
	struct rig r = with_neighbour();
	char active[32];

	for (unsigned call = 32; call <= BATON_CALL_UPLOAD_END; call++)
		run_as(&r, "guest", call, texts[call % ARRAY_SIZE(texts)], "RESULT:-1:");
	run_as(&r, "guest", BATON_CALL_UPLOAD_END + 1, "", "RESULT:-38:");
	assert_string_equal(rig_active(&r, active), "rr");
	neighbour_is_well(&r);
	rig_free(&r);
}

static void the_service_vm_may_change_the_scheduler(void **unused)
{
	struct rig r = with_neighbour();
	uint64_t deadline = clock_now_ns() + RIG_PATIENCE_NS;
	json_t *report;
	char active[32];

	run_as(&r, "service", 32, "{}", "\"name\":\"neighbour\"");
	run_as(&r, "service", 33, "{}", "\"active\":\"rr\"");
	run_as(&r, "service", 34, "{\"name\":\"bvt\",\"image\":\"file:bvt.baton\"}", "\"change\":1");
	while (strcmp(rig_active(&r, active), "bvt") != 0 && clock_now_ns() < deadline)
		usleep(500);
	assert_string_equal(active, "bvt");
	run_as(&r, "service", 38, "{\"id\":1}", "\"requester\":\"service VM caller\"");
	run_as(&r, "service", 37, "{\"parameter\":\"weight\",\"value\":99,\"vm\":\"neighbour\"}", "RESULT:0:");
	assert_int_equal(rig_number(&r, "neighbour", "weight"), 99);
	run_as(&r, "service", 37, "{\"parameter\":\"weight\",\"value\":99}", "RESULT:-22:"); /* which VM's? */
	run_as(&r, "service", 39, "{\"vm\":\"neighbour\"}", "\"owner\":\"neighbour\"");
	run_as(&r, "service", 35, "{}", "\"change\":2");
	report = rig_changed(&r, "sched.unload", "{s:s}", "name", "bvt");
	json_decref(report);
	assert_string_equal(rig_active(&r, active), "rr");
	neighbour_is_well(&r);
	rig_free(&r);
}

static void the_service_vm_is_answered_as_plainly_as_the_operator(void **unused)
{
	struct rig r = with_neighbour();

	run_as(&r, "service", 34, "no-json", "RESULT:-22:");
	run_as(&r, "service", 34, "[1,2]", "object");
	run_as(&r, "service", 34, "{}", "which");
	run_as(&r, "service", 34, "{\"name\":\"x\",\"name\":\"y\"}", "RESULT:-22:"); /* which of the two? */
	run_as(&r, "service", 38, "{\"id\":77}", "RESULT:-2:");
	run_as(&r, "service", 39, "{\"vm\":\"nobody\"}", "nobody");
	neighbour_is_well(&r);
	rig_free(&r);
}

static void the_service_vm_may_not_name_a_path(void **unused)
{
	static const char *const images[] = {"file:/etc/passwd", "/etc/passwd", "file:../bvt.baton", "./bvt.baton",
					     "file:.."};
	struct rig r = with_neighbour();
	char text[100];
	json_t *history, *change;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(images); i++) {
		snprintf(text, sizeof text, "{\"image\":\"%s\"}", images[i]);
		run_as(&r, "service", 34, text, "\"change\":");
	}
	json_decref(rig_change(&r, "sched.default", NULL)); /* the last in the queue */
	history = rig_ask(&r, "sched.history", NULL);
	assert_int_equal(json_array_size(json_object_get(history, "changes")), ARRAY_SIZE(images) + 1);
	json_array_foreach(json_object_get(history, "changes"), i, change)
	{
		const char *error = json_string_value(json_object_get(change, "error"));

		if (i == ARRAY_SIZE(images))
			break;
		assert_string_equal(json_string_value(json_object_get(change, "state")), "refused");
		assert_true(strstr(error, "slash") || strstr(error, "no image"));
		assert_null(strstr(error, "root:")); /* nothing of the file comes back */
	}
	json_decref(history);
	rig_free(&r);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_guest_that_faults_is_crashed_with_a_reason),
	    cmocka_unit_test(a_guest_that_spins_without_exits_is_made_to_share),
	    cmocka_unit_test(a_guest_that_falls_silent_or_switches_itself_off_disturbs_nobody),
	    cmocka_unit_test(a_hostile_guest_gets_the_answers_that_the_contract_names),
	    cmocka_unit_test(a_flood_of_output_drowns_nobody),
	    cmocka_unit_test(a_mailbox_that_is_overfilled_holds),
	    cmocka_unit_test(many_bad_guests_at_once_lose_themselves_only),
	    cmocka_unit_test(a_guest_vm_may_not_ask_what_the_service_vm_may),
	    cmocka_unit_test(the_service_vm_may_change_the_scheduler),
	    cmocka_unit_test(the_service_vm_is_answered_as_plainly_as_the_operator),
	    cmocka_unit_test(the_service_vm_may_not_name_a_path),
	};

	rig_arguments(argc, argv);
	if (*rig_argument(0))
		cmocka_set_test_filter(rig_argument(0)); /* by hand: one test alone */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
