/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of the command line: guessing a mistyped word, sizes, parameters, durations, tables, and the client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/client.h"
#include "cli/nearest.h"
#include "cli/output.h"
#include "cli/size.h"
#include "control/server.h"
#include "fake_monitor.h"

static void a_mistyped_word_finds_the_nearest_one_or_none(void **state)
{
	static const char *const words[] = {"run", "ls", "console", "stop", "destroy", "sched", "shutdown"};
	const size_t n = ARRAY_SIZE(words);

	assert_string_equal(nearest("consol", words, n), "console");
	assert_string_equal(nearest("cnosole", words, n), "console");
	assert_string_equal(nearest("con", words, n), "console");
	assert_string_equal(nearest("rnu", words, 1) ? "some" : "none", "none"); /* two edits in three letters */
	assert_string_equal(nearest("stpo", words, n) ? "some" : "none", "none");
	assert_string_equal(nearest("shed", words, n), "sched");
	assert_null(nearest("frobnicate", words, n));
	assert_null(nearest("", words, n));
	assert_null(nearest("a-word-that-is-longer-than-any-command-of-ours", words, n));
}

static void sizes_are_whole_mebibytes_with_or_without_a_unit(void **state)
{
	uint64_t mib = 77;

	assert_int_equal(size_parse_mib("128", &mib), 0);
	assert_int_equal(mib, 128);
	assert_int_equal(size_parse_mib("2G", &mib), 0);
	assert_int_equal(mib, 2048);
	assert_int_equal(size_parse_mib("3MiB", &mib), 0);
	assert_int_equal(mib, 3);
	assert_int_equal(size_parse_mib("2048K", &mib), 0);
	assert_int_equal(mib, 2);
	assert_int_equal(size_parse_mib("100K", &mib), -EINVAL);
	assert_int_equal(size_parse_mib("", &mib), -EINVAL);
	assert_int_equal(size_parse_mib("M", &mib), -EINVAL);
	assert_int_equal(size_parse_mib("-1", &mib), -EINVAL);
	assert_int_equal(size_parse_mib("1T", &mib), -EINVAL);
	assert_int_equal(size_parse_mib("1 M", &mib), -EINVAL);
	assert_int_equal(size_parse_mib("99999999999999999999", &mib), -ERANGE);
	assert_int_equal(size_parse_mib("99999999999999999G", &mib), -ERANGE);
	assert_int_equal(mib, 2); /* untouched on failure */
}

static void parameters_become_numbers_when_they_are_numbers(void **state)
{
	json_t *params = json_object();

	assert_int_equal(param_parse("a=17", params), 0);
	assert_int_equal(param_parse("b=-3", params), 0);
	assert_int_equal(param_parse("c=17us", params), 0);
	assert_int_equal(param_parse("d=x=y", params), 0);
	assert_int_equal(param_parse("e=99999999999999999999", params), 0);
	assert_int_equal(json_integer_value(json_object_get(params, "a")), 17);
	assert_int_equal(json_integer_value(json_object_get(params, "b")), -3);
	assert_string_equal(json_string_value(json_object_get(params, "c")), "17us");
	assert_string_equal(json_string_value(json_object_get(params, "d")), "x=y");
	assert_true(json_is_string(json_object_get(params, "e")));
	assert_int_equal(param_parse("", params), -EINVAL);
	assert_int_equal(param_parse("a", params), -EINVAL);
	assert_int_equal(param_parse("=1", params), -EINVAL);
	assert_int_equal(param_parse("a=", params), -EINVAL);
	assert_int_equal(json_object_size(params), 5);
	json_decref(params);
}

static void durations_have_three_digits_and_a_unit(void **state)
{
	char buf[DURATION_MAX];

	assert_string_equal(duration_text(buf, 0), "0 ns");
	assert_string_equal(duration_text(buf, 999), "999 ns");
	assert_string_equal(duration_text(buf, 1230), "1.23 us");
	assert_string_equal(duration_text(buf, 45600000), "45.6 ms");
	assert_string_equal(duration_text(buf, 789000000), "789 ms");
	assert_string_equal(duration_text(buf, UINT64_C(12300000000)), "12.3 s");
}

static void a_table_aligns_its_columns_and_can_be_filled_again(void **state)
{
	struct table *t = table_new("NAME|>N|NOTE");
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	table_cell(t, "a");
	table_cell(t, "%d", 1000);
	table_cell(t, "x");
	table_cell(t, "longer");
	table_cell(t, "%d", 7);
	table_print(t, out, "  ");
	table_cell(t, "again");
	table_print(t, out, "");
	fclose(out);
	assert_string_equal(text, "  NAME       N  NOTE\n"
				  "  a       1000  x\n"
				  "  longer     7  \n"
				  "NAME   N  NOTE\n"
				  "again     \n");
	free(text);
	table_free(t);
}

static void the_client_speaks_to_the_server(void **state)
{
	char dir[] = "/tmp/baton-test-XXXXXX", path[128], bytes[8];
	struct client client = CLIENT_NONE;
	struct monitor *m = fake_monitor_new();
	struct error e = {""};
	struct listener *l;
	struct control *c;
	json_t *reply;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/control.sock", dir);
	assert_int_equal(client_open(path, &client, &e), -ENOENT);
	assert_non_null(strstr(e.text, "start one with 'batond'"));

	assert_int_equal(listener_open(path, &l, &e), 0);
	assert_int_equal(control_start(m, l, NULL, &c, &e), 0);
	assert_int_equal(client_open(path, &client, &e), 0);
	assert_int_equal(client_call(&client, "echo", json_pack("{s:i}", "n", 5), &reply, &e), 0);
	assert_int_equal(member_int(json_object_get(reply, "params"), "n", -1), 5);
	assert_string_equal(member_text(reply, "nothing", "missing"), "missing");
	json_decref(reply);
	assert_int_equal(client_call(&client, "nonsense", NULL, &reply, &e), -ENOSYS);
	assert_string_equal(e.text, "no method nonsense");
	assert_int_equal(client_call(&client, "huge", NULL, &reply, &e), 0); /* an answer of many reads */
	assert_int_equal(json_string_length(json_object_get(reply, "text")), 8 * MIB);
	json_decref(reply);
	/* The stream begins right behind the reply: not a byte is lost between the two. */
	console_append(fake_monitor_console(m), "kept", 4);
	assert_int_equal(client_attach(&client, "other", true, false, &e), -ENOENT);
	assert_int_equal(client_attach(&client, "vm", true, false, &e), 0);
	for (size_t n = 0; n < 4;) {
		ssize_t r = read(client.fd, bytes + n, 4 - n);

		assert_true(r > 0);
		n += (size_t)r;
	}
	assert_memory_equal(bytes, "kept", 4);
	client_close(&client);
	control_stop(c);
	listener_close(l);
	monitor_free(m);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_mistyped_word_finds_the_nearest_one_or_none),
	    cmocka_unit_test(sizes_are_whole_mebibytes_with_or_without_a_unit),
	    cmocka_unit_test(parameters_become_numbers_when_they_are_numbers),
	    cmocka_unit_test(durations_have_three_digits_and_a_unit),
	    cmocka_unit_test(a_table_aligns_its_columns_and_can_be_filled_again),
	    cmocka_unit_test(the_client_speaks_to_the_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
