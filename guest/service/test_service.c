/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service application against a monitor made of canned answers: what is asked, what is printed, what the exit
 * status says. The real port I/O is proven by the guests' own boot.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "baton/guest.h"
#include "service.h"

struct answer {
	long result;
	const char *reply;
};

/* A monitor: the n-th call is answered by answers[n], the last one again and again. */
struct monitor {
	struct link link;
	struct answer answers[8];
	unsigned count, calls;
	long last_call;
	char mailbox[BATON_MAILBOX_MAX + 1];
	size_t written, read, reply_size;
	char request[BATON_MAILBOX_MAX + 1]; /* of the first call */
	char *out, *err;
	size_t out_size, err_size;
};

static long fake_call(struct link *l, long nr, unsigned long a0, unsigned long a1, unsigned long a2,
		      unsigned long *ret1)
{
	struct monitor *m = (struct monitor *)l;
	const struct answer *a;

	if (nr == BATON_CALL_MAILBOX) {
		m->written = 0;
		return 0;
	}
	a = &m->answers[m->calls < m->count ? m->calls : m->count - 1];
	m->mailbox[m->written] = '\0';
	if (m->calls++ == 0)
		memcpy(m->request, m->mailbox, m->written + 1);
	m->last_call = nr;
	m->reply_size = a->reply ? strlen(a->reply) : 0;
	memcpy(m->mailbox, a->reply ? a->reply : "", m->reply_size);
	m->read = 0;
	if (ret1)
		*ret1 = m->reply_size;
	return a->result;
}

static void fake_write(struct link *l, const void *data, size_t n)
{
	struct monitor *m = (struct monitor *)l;

	assert_true(m->written + n <= BATON_MAILBOX_MAX);
	memcpy(m->mailbox + m->written, data, n);
	m->written += n;
}

static void fake_read(struct link *l, void *data, size_t n)
{
	struct monitor *m = (struct monitor *)l;

	assert_true(m->read + n <= m->reply_size);
	memcpy(data, m->mailbox + m->read, n);
	m->read += n;
}

static const struct link_ops fake_ops = {.call = fake_call, .mailbox_write = fake_write, .mailbox_read = fake_read};

static int setup(void **state)
{
	struct monitor *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->link.ops = &fake_ops;
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct monitor *m = *state;

	free(m->out);
	free(m->err);
	free(m);
	return 0;
}

static void will_answer(struct monitor *m, long result, const char *reply)
{
	m->answers[m->count++] = (struct answer){result, reply};
}

/* Runs `baton-service LINE`, LINE cut at blanks. */
static int run(struct monitor *m, const char *line)
{
	char copy[256], *argv[32] = {"baton-service"}, *save = NULL;
	int argc = 1, status;
	FILE *out, *err;

	free(m->out);
	free(m->err);
	out = open_memstream(&m->out, &m->out_size);
	err = open_memstream(&m->err, &m->err_size);
	assert_non_null(out);
	assert_non_null(err);
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	status = service_main(&m->link, argc, argv, out, err);
	fclose(out);
	fclose(err);
	return status;
}

static void assert_request(const struct monitor *m, const char *expected)
{
	json_t *got = json_loads(m->request, 0, NULL), *want = json_loads(expected, 0, NULL);

	assert_non_null(want);
	if (!got || !json_equal(got, want))
		fail_msg("asked %s instead of %s", m->request, expected);
	json_decref(got);
	json_decref(want);
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in: %s", part, text);
}

static void load_asks_for_everything_that_was_given(void **state)
{
	struct monitor *m = *state;

	will_answer(m, 0, "{\"ok\":true,\"change\":7}");
	assert_int_equal(run(m, "load bvt --image file:bvt.img --param csa_us=500 --param mode=fast --how cease "
				"--old unload-after"),
			 0);
	assert_int_equal(m->last_call, BATON_CALL_SCHED_LOAD);
	assert_request(m, "{\"name\":\"bvt\",\"image\":\"file:bvt.img\",\"params\":{\"csa_us\":500,\"mode\":\"fast\"},"
			  "\"how\":\"cease\",\"old\":\"unload-after\"}");
	assert_has(m->out, "change 7");
}

static void each_command_makes_its_call(void **state)
{
	static const struct {
		const char *line;
		long call;
		const char *request;
	} rows[] = {
	    {"list", BATON_CALL_VM_LIST, "{}"},
	    {"status", BATON_CALL_SCHED_STATUS, "{}"},
	    {"default --how live", BATON_CALL_SCHED_DEFAULT, "{\"how\":\"live\"}"},
	    {"unload bvt", BATON_CALL_SCHED_UNLOAD, "{\"name\":\"bvt\"}"},
	    {"set slice_us 500", BATON_CALL_SCHED_SET, "{\"parameter\":\"slice_us\",\"value\":500}"},
	    {"set --vm compute weight 512", BATON_CALL_SCHED_SET,
	     "{\"parameter\":\"weight\",\"value\":512,\"vm\":\"compute\"}"},
	    {"set warp -5", BATON_CALL_SCHED_SET, "{\"parameter\":\"warp\",\"value\":-5}"},
	    {"change 3", BATON_CALL_SCHED_CHANGE, "{\"id\":3}"},
	    {"owner", BATON_CALL_CONSOLE_OWNER, "{}"},
	    {"owner sleeper", BATON_CALL_CONSOLE_OWNER, "{\"vm\":\"sleeper\"}"},
	};
	struct monitor *m = *state;

	will_answer(m, 0, "{\"ok\":true}");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		m->calls = 0;
		assert_int_equal(run(m, rows[i].line), 0);
		assert_int_equal(m->last_call, rows[i].call);
		assert_request(m, rows[i].request);
	}
}

static void wait_polls_until_the_change_has_ended(void **state)
{
	struct monitor *m = *state;

	will_answer(m, 0, "{\"ok\":true,\"change\":7}");
	will_answer(m, 0, "{\"ok\":true,\"id\":7,\"state\":\"queued\"}");
	will_answer(m, 0, "{\"ok\":true,\"id\":7,\"state\":\"running\",\"phase\":\"shadow\"}");
	will_answer(m, 0,
		    "{\"ok\":true,\"id\":7,\"state\":\"done\",\"from\":\"rr\",\"to\":\"bvt\",\"how\":\"live\","
		    "\"blackout_ns\":1530}");
	assert_int_equal(run(m, "load bvt --wait"), 0);
	assert_int_equal(m->calls, 4);
	assert_string_equal(m->out, "change 7: rr -> bvt, live: done, blackout 1.53 us\n");
}

static void wait_fails_when_the_change_is_refused(void **state)
{
	struct monitor *m = *state;

	will_answer(m, 0, "{\"ok\":true,\"change\":8}");
	will_answer(m, 0,
		    "{\"ok\":true,\"id\":8,\"state\":\"refused\",\"from\":\"rr\",\"to\":\"bvt\",\"how\":\"live\","
		    "\"error\":\"no free slot\"}");
	assert_int_equal(run(m, "load bvt --wait"), 1);
	assert_has(m->out, "refused");
	assert_has(m->out, "no free slot");
}

static void wait_ends_at_its_timeout(void **state)
{
	struct monitor *m = *state;

	will_answer(m, 0, "{\"ok\":true,\"change\":9}");
	will_answer(m, 0, "{\"ok\":true,\"id\":9,\"state\":\"running\"}");
	assert_int_equal(run(m, "load bvt --wait --timeout 1"), 1);
	assert_has(m->err, "has not ended");
}

static void a_refusal_is_shown_and_fails(void **state)
{
	struct monitor *m = *state;

	will_answer(m, -BATON_EINVAL, "{\"ok\":false,\"error\":\"no image x; see list\",\"code\":22}");
	assert_int_equal(run(m, "load x"), 1);
	assert_has(m->err, "no image x; see list");
	assert_string_equal(m->out, "");
}

static void an_ok_false_with_a_good_result_fails_too(void **state)
{
	struct monitor *m = *state;

	will_answer(m, 0, "{\"ok\":false,\"error\":\"no\"}");
	assert_int_equal(run(m, "status"), 1);
}

static void a_guest_without_permission_is_told(void **state)
{
	struct monitor *m = *state;

	will_answer(m, -BATON_EPERM, NULL);
	assert_int_equal(run(m, "list"), 1);
	assert_has(m->err, "only the service VM");
}

static void a_busy_monitor_is_asked_again(void **state)
{
	struct monitor *m = *state;

	will_answer(m, -BATON_EAGAIN, NULL);
	will_answer(m, 0, "{\"ok\":true}");
	assert_int_equal(run(m, "list"), 0);
	assert_int_equal(m->calls, 2);
}

static void nonsense_from_the_monitor_fails_cleanly(void **state)
{
	static const char *const replies[] = {"", "nonsense", "[]", "{\"ok\":1}", "{\"ok\":true,\"ok\":true}", "{"};
	struct monitor *m = *state;

	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		m->count = 0;
		will_answer(m, 0, replies[i]);
		assert_int_equal(run(m, "list"), 1);
		assert_has(m->err, "no JSON object");
	}
}

static void fields_of_another_type_do_no_harm(void **state)
{
	struct monitor *m = *state;

	will_answer(m, 0,
		    "{\"ok\":true,\"vms\":[{\"name\":5,\"id\":\"x\"},7,null],\"pcpus\":{},\"change\":\"no\","
		    "\"schedulers\":[[]]}");
	assert_int_equal(run(m, "list"), 0);
	assert_int_equal(run(m, "status"), 0);
	assert_int_equal(run(m, "load x"), 0);
}

static void a_name_cannot_control_the_terminal(void **state)
{
	struct monitor *m = *state;

	will_answer(m, 0, "{\"ok\":true,\"vms\":[{\"id\":1,\"name\":\"a\\u001b[2J\"}]}");
	assert_int_equal(run(m, "list"), 0);
	assert_null(strchr(m->out, 0x1b));
	assert_has(m->out, "a?[2J");
}

static void json_prints_the_answer_as_it_came(void **state)
{
	struct monitor *m = *state;

	will_answer(m, 0, "{\"ok\":true, \"x\": 1}");
	assert_int_equal(run(m, "--json status"), 0);
	assert_string_equal(m->out, "{\"ok\":true, \"x\": 1}\n");
	assert_int_equal(run(m, "status --json"), 0);
	assert_string_equal(m->out, "{\"ok\":true, \"x\": 1}\n");
}

static void the_list_is_aligned(void **state)
{
	struct monitor *m = *state;

	will_answer(m, 0,
		    "{\"ok\":true,\"vms\":[{\"id\":1,\"name\":\"service\",\"role\":\"service\","
		    "\"state\":\"running\",\"vcpus\":1,\"console_owner\":true},"
		    "{\"id\":12,\"name\":\"c\",\"role\":\"guest\",\"state\":\"off\",\"vcpus\":2}]}");
	assert_int_equal(run(m, "list"), 0);
	assert_has(m->out, "ID  NAME     ROLE     STATE    vCPU");
	assert_has(m->out, "\n 1  service  service  running     1");
	assert_has(m->out, "\n12  c        guest    off         2");
}

static void wrong_use_asks_nothing(void **state)
{
	static const char *const lines[] = {"",
					    "nonsense",
					    "load",
					    "load a b",
					    "load a --how slowly",
					    "load a --old x",
					    "load a --param x",
					    "load a --param =1",
					    "load a --image",
					    "list --wait",
					    "set x",
					    "change",
					    "change x",
					    "load a --timeout 0",
					    "owner a b",
					    "--json"};
	struct monitor *m = *state;

	will_answer(m, 0, "{\"ok\":true}");
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (run(m, lines[i]) != 2)
			fail_msg("'%s' was not refused", lines[i]);
		assert_true(m->err_size > 0);
	}
	assert_int_equal(m->calls, 0);
}

/* A file of two pieces. */
static const char *image_file(void)
{
	static const char path[] = "/tmp/baton-test-upload";
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	for (unsigned i = 0; i < 100000; i++)
		fputc((int)(i % 251), f);
	assert_int_equal(fclose(f), 0);
	return path;
}

static void an_upload_goes_in_pieces_and_its_address_is_told(void **state)
{
	struct monitor *m = *state;
	char line[128];

	will_answer(m, 0, "{\"ok\":true,\"image\":\"upload:x\"}");
	will_answer(m, 65536, NULL);
	will_answer(m, 100000, NULL);
	will_answer(m, 0, "{\"ok\":true,\"image\":\"upload:x\"}");
	snprintf(line, sizeof(line), "upload %s", image_file());
	assert_int_equal(run(m, line), 0);
	assert_int_equal(m->calls, 4);
	assert_int_equal(m->last_call, BATON_CALL_UPLOAD_END);
	assert_has(m->request, "\"size\":100000");
	assert_has(m->out, "upload:x");
}

static void load_may_upload_first(void **state)
{
	struct monitor *m = *state;
	char line[128];

	will_answer(m, 0, "{\"ok\":true,\"image\":\"upload:x\"}");
	will_answer(m, 65536, NULL);
	will_answer(m, 100000, NULL);
	will_answer(m, 0, "{\"ok\":true,\"image\":\"upload:x\"}");
	will_answer(m, 0, "{\"ok\":true,\"change\":7}");
	snprintf(line, sizeof(line), "load bvt --upload %s", image_file());
	assert_int_equal(run(m, line), 0);
	assert_int_equal(m->last_call, BATON_CALL_SCHED_LOAD);
	assert_has(m->out, "change 7");
}

static void an_upload_that_goes_wrong_ends_there(void **state)
{
	struct monitor *m = *state;
	char line[128];

	will_answer(m, 0, "{\"ok\":true}");
	will_answer(m, -BATON_EINVAL, NULL);
	snprintf(line, sizeof(line), "load bvt --upload %s", image_file());
	assert_int_equal(run(m, line), 1);
	assert_int_equal(m->calls, 2);
	assert_int_equal(run(m, "upload /no/such/file"), 1);
	assert_has(m->err, "/no/such/file");
	assert_int_equal(m->calls, 2);
	unlink(image_file());
}

static void help_needs_no_monitor(void **state)
{
	struct monitor *m = *state;

	assert_int_equal(run(m, "--help"), 0);
	assert_has(m->out, "A first tour");
	assert_int_equal(run(m, "help load"), 0);
	assert_has(m->out, "unload-before");
	assert_int_equal(run(m, "load --help"), 0);
	assert_has(m->out, "--image URI");
	assert_int_equal(m->calls, 0);
}

static void a_request_that_does_not_fit_is_not_sent(void **state)
{
	struct monitor *m = *state;
	char *big = malloc(BATON_MAILBOX_MAX + 2), *reply = NULL;

	assert_non_null(big);
	memset(big, 'x', BATON_MAILBOX_MAX + 1);
	big[BATON_MAILBOX_MAX + 1] = '\0';
	assert_int_equal(link_request(&m->link, BATON_CALL_VM_LIST, big, &reply), -EMSGSIZE);
	assert_null(reply);
	assert_int_equal(m->calls, 0);
	free(big);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	static const struct CMUnitTest tests[] = {
	    T(load_asks_for_everything_that_was_given),
	    T(each_command_makes_its_call),
	    T(wait_polls_until_the_change_has_ended),
	    T(wait_fails_when_the_change_is_refused),
	    T(wait_ends_at_its_timeout),
	    T(a_refusal_is_shown_and_fails),
	    T(an_ok_false_with_a_good_result_fails_too),
	    T(a_guest_without_permission_is_told),
	    T(a_busy_monitor_is_asked_again),
	    T(nonsense_from_the_monitor_fails_cleanly),
	    T(fields_of_another_type_do_no_harm),
	    T(a_name_cannot_control_the_terminal),
	    T(json_prints_the_answer_as_it_came),
	    T(the_list_is_aligned),
	    T(wrong_use_asks_nothing),
	    T(an_upload_goes_in_pieces_and_its_address_is_told),
	    T(load_may_upload_first),
	    T(an_upload_that_goes_wrong_ends_there),
	    T(help_needs_no_monitor),
	    T(a_request_that_does_not_fit_is_not_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
