/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket against a small monitor: requests, bad lines, limits, many clients, streams, one owner of a path.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "control/server.h"
#include "fake_monitor.h"

struct fixture {
	char dir[64];
	char path[128];
	struct monitor *m;
	struct listener *l;
	struct control *c;
};

/* Small limits, so that the tests reach them; the timeouts are long, so that no slow machine does. */
static const struct control_limits small = {
    .clients_max = 4,
    .line_max = 1000,
    .line_timeout_ms = 100,
    .write_timeout_ms = 60000,
};

static int start_with(void **state, const struct control_limits *limits)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct error e;

	assert_non_null(f);
	strcpy(f->dir, "/tmp/baton-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof f->path, "%s/control.sock", f->dir);
	f->m = fake_monitor_new();
	assert_int_equal(listener_open(f->path, &f->l, &e), 0);
	assert_int_equal(control_start(f->m, f->l, limits, &f->c, &e), 0);
	*state = f;
	return 0;
}

static int start_small(void **state)
{
	return start_with(state, &small);
}

static int start_impatient(void **state)
{
	struct control_limits limits = small;

	limits.line_timeout_ms = 50;
	return start_with(state, &limits);
}

static int start_default(void **state)
{
	return start_with(state, NULL);
}

static int stop(void **state)
{
	struct fixture *f = *state;

	control_stop(f->c);
	listener_close(f->l);
	monitor_free(f->m);
	assert_int_equal(rmdir(f->dir), 0); /* nothing is left behind */
	free(f);
	return 0;
}

static int dial(const struct fixture *f)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, f->path);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* One line, without its newline; "" at the end of the stream. */
static void hear(int fd, char *line, size_t size)
{
	size_t n = 0;

	while (n < size - 1 && recv(fd, line + n, 1, 0) == 1 && line[n] != '\n')
		n++;
	line[n] = '\0';
}

static json_t *ask(int fd, const char *request)
{
	char line[2048];
	json_t *reply;

	say(fd, request);
	say(fd, "\n");
	hear(fd, line, sizeof line);
	reply = json_loads(line, 0, NULL);
	assert_non_null(reply);
	return reply;
}

static void assert_answer(int fd, const char *request, bool ok)
{
	json_t *reply = ask(fd, request);

	assert_int_equal(json_is_true(json_object_get(reply, "ok")), ok);
	if (!ok) {
		assert_true(json_is_string(json_object_get(reply, "error")));
		assert_true(json_is_integer(json_object_get(reply, "code")));
	}
	json_decref(reply);
}

static void a_request_is_answered_with_its_id(void **state)
{
	struct fixture *f = *state;
	json_t *reply, *expected;
	int fd = dial(f);

	reply = ask(fd, "{\"method\": \"echo\", \"params\": {\"a\": [1, null]}, \"id\": {\"any\": 1}}");
	expected = json_pack("{s:b, s:{s:[i,n]}, s:{s:i}}", "ok", 1, "params", "a", 1, "id", "any", 1);
	assert_true(json_equal(reply, expected));
	json_decref(reply);
	json_decref(expected);
	assert_answer(fd, "{\"method\": \"echo\"}", true);
	assert_answer(fd, "{\"method\": \"nonsense\"}", false);
	close(fd);
}

static void bad_lines_are_answered_and_the_connection_goes_on(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f);

	assert_answer(fd, "{", false);
	assert_answer(fd, "hello", false);
	assert_answer(fd, "[]", false);
	assert_answer(fd, "17", false);
	assert_answer(fd, "{}", false);
	assert_answer(fd, "{\"method\": 1}", false);
	assert_answer(fd, "{\"method\": \"echo\", \"params\": 3}", false);
	assert_answer(fd, "{\"method\": \"echo\", \"method\": \"echo\"}", false);
	assert_answer(fd, "\"\xff\xfe\"", false);
	assert_answer(fd, "\n \r\n\t\n{\"method\": \"echo\"}", true);
	close(fd);
}

static void two_requests_in_one_piece_and_one_in_two_pieces(void **state)
{
	struct fixture *f = *state;
	char line[256];
	int fd = dial(f);

	say(fd, "{\"method\": \"echo\", \"id\": 1}\n{\"method\": \"echo\", \"id\": 2}\n{\"method\": ");
	hear(fd, line, sizeof line);
	assert_non_null(strstr(line, "\"id\":1"));
	hear(fd, line, sizeof line);
	assert_non_null(strstr(line, "\"id\":2"));
	say(fd, "\"echo\", \"id\": 3}"); /* and the end instead of a newline */
	shutdown(fd, SHUT_WR);
	hear(fd, line, sizeof line);
	assert_non_null(strstr(line, "\"id\":3"));
	close(fd);
}

static void an_oversized_line_is_refused_and_ends_the_connection(void **state)
{
	struct fixture *f = *state;
	char text[1100], line[256];
	int fd = dial(f);

	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = '\0';
	say(fd, text);
	hear(fd, line, sizeof line);
	assert_non_null(strstr(line, "\"ok\":false"));
	assert_non_null(strstr(line, "longer than 1000"));
	hear(fd, line, sizeof line);
	assert_string_equal(line, "");
	close(fd);
	fd = dial(f);
	assert_answer(fd, "{\"method\": \"echo\"}", true);
	close(fd);
}

static void a_line_of_just_the_limit_is_taken(void **state)
{
	struct fixture *f = *state;
	char text[1001];
	int fd = dial(f);

	memset(text, ' ', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	memcpy(text, "{\"method\": \"echo\"}", 18);
	assert_answer(fd, text, true);
	close(fd);
}

static void a_line_that_stays_unfinished_is_given_up(void **state)
{
	struct fixture *f = *state;
	char line[256];
	int fd = dial(f);

	say(fd, "{\"method\": ");
	hear(fd, line, sizeof line);
	assert_non_null(strstr(line, "unfinished"));
	hear(fd, line, sizeof line);
	assert_string_equal(line, "");
	close(fd);
}

static void clients_beyond_the_limit_are_told_and_room_is_found_again(void **state)
{
	struct fixture *f = *state;
	char line[256] = "";
	int fd[4];

	for (int i = 0; i < 4; i++) {
		fd[i] = dial(f);
		assert_answer(fd[i], "{\"method\": \"echo\"}", true);
	}
	for (int i = 0; i < 3; i++) {
		int extra = dial(f);

		hear(extra, line, sizeof line);
		assert_non_null(strstr(line, "which is the limit"));
		close(extra);
	}
	for (int i = 0; i < 4; i++)
		close(fd[i]);
	/* The server notices on its own time; each try is a new connection. */
	do {
		fd[0] = dial(f);
		(void)send(fd[0], "{\"method\": \"echo\"}\n", 19, MSG_NOSIGNAL);
		hear(fd[0], line, sizeof line);
		close(fd[0]);
	} while (!strstr(line, "\"ok\":true"));
}

static void slow_methods_and_clients_that_do_not_read_hold_nobody_up(void **state)
{
	struct fixture *f = *state;
	int slow = dial(f), deaf = dial(f), fd = dial(f);
	char line[256];

	say(slow, "{\"method\": \"slow\"}\n");
	fake_monitor_wait_slow(f->m, 1);
	say(deaf, "{\"method\": \"huge\"}\n");
	for (int i = 0; i < 100; i++)
		assert_answer(fd, "{\"method\": \"echo\"}", true);
	fake_monitor_let_go(f->m);
	hear(slow, line, sizeof line);
	assert_non_null(strstr(line, "\"ok\":true"));
	/* The deaf one still has not read when the server stops: stop() must not wait for it. */
	close(slow);
	close(fd);
}

static void many_clients_at_once_get_their_own_answers(void **state)
{
	struct fixture *f = *state;
	int fd[60];

	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = dial(f);
	for (int round = 0; round < 5; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
			char text[128];

			(void)snprintf(text, sizeof text, "{\"method\": \"echo\", \"id\": %zu}\n", i);
			say(fd[i], text);
		}
		for (size_t i = 0; i < ARRAY_SIZE(fd); i++) {
			char line[256], id[32];

			hear(fd[i], line, sizeof line);
			(void)snprintf(id, sizeof id, "\"id\":%zu}", i);
			assert_non_null(strstr(line, id));
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		close(fd[i]);
}

static void read_exactly(int fd, const char *expected)
{
	char got[256];
	size_t n = 0, len = strlen(expected);

	while (n < len) {
		ssize_t r = recv(fd, got + n, len - n, 0);

		assert_true(r > 0);
		n += (size_t)r;
	}
	assert_memory_equal(got, expected, len);
}

static void attach_streams_both_ways_until_the_vm_is_gone(void **state)
{
	struct fixture *f = *state;
	struct console *console = fake_monitor_console(f->m);
	char bytes[16], line[256];
	size_t n = 0;
	int fd = dial(f);

	console_append(console, "old ", 4);
	assert_answer(fd, "{\"method\": \"console.attach\", \"params\": {\"vm\": \"other\"}}", false);
	assert_answer(fd, "{\"method\": \"console.attach\", \"params\": {\"vm\": \"vm\", \"from\": 3}}", false);
	assert_answer(fd, "{\"method\": \"console.attach\"}", false);
	/* Input behind the request's line belongs to the stream. */
	say(fd, "{\"method\": \"console.attach\", \"params\": {\"vm\": \"vm\", \"input\": true}, \"id\": 7}\nab");
	hear(fd, line, sizeof line);
	assert_non_null(strstr(line, "\"ok\":true"));
	assert_non_null(strstr(line, "\"id\":7"));
	read_exactly(fd, "old ");
	console_append(console, "new", 3);
	read_exactly(fd, "new");
	say(fd, "cd");
	while (n < 4) {
		n += console_input_take(console, bytes + n, sizeof bytes - n);
		poll(NULL, 0, 1);
	}
	assert_memory_equal(bytes, "abcd", 4);
	fake_monitor_lose_vm(f->m);
	hear(fd, line, sizeof line);
	assert_string_equal(line, "");
	close(fd);
}

static void attach_from_now_without_input_only_listens(void **state)
{
	struct fixture *f = *state;
	struct console *console = fake_monitor_console(f->m);
	char byte;
	int fd = dial(f), other = dial(f);

	console_append(console, "old", 3);
	assert_answer(fd, "{\"method\": \"console.attach\", \"params\": {\"vm\": \"vm\", \"from\": \"now\"}}", true);
	say(fd, "ignored");
	console_append(console, "new", 3);
	read_exactly(fd, "new");
	/* An order between the two inputs: what `other` typed is there, what `fd` typed before it is not. */
	assert_answer(
	    other, "{\"method\": \"console.attach\", \"params\": {\"vm\": \"vm\", \"from\": \"now\", \"input\": true}}",
	    true);
	say(other, "x");
	while (console_input_take(console, &byte, 1) == 0)
		poll(NULL, 0, 1);
	assert_int_equal(byte, 'x');
	close(fd);
	close(other);
}

static void a_full_input_queue_loses_nothing(void **state)
{
	struct fixture *f = *state;
	struct console *console = fake_monitor_console(f->m);
	uint8_t out[3 * CONSOLE_INPUT_MAX], in[sizeof out];
	size_t n = 0;
	int fd = dial(f);

	for (size_t i = 0; i < sizeof out; i++)
		out[i] = (uint8_t)(i % 253);
	assert_answer(fd, "{\"method\": \"console.attach\", \"params\": {\"vm\": \"vm\", \"input\": true}}", true);
	assert_int_equal(send(fd, out, sizeof out, 0), sizeof out);
	while (n < sizeof in) {
		n += console_input_take(console, in + n, 1000);
		poll(NULL, 0, 1);
	}
	assert_memory_equal(in, out, sizeof out);
	close(fd);
}

static void shutdown_is_told_to_the_owner_after_its_answer(void **state)
{
	struct fixture *f = *state;
	struct pollfd p = {.fd = control_shutdown_fd(f->c), .events = POLLIN};
	int fd = dial(f);

	assert_answer(fd, "{\"method\": \"echo\"}", true);
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_answer(fd, "{\"method\": \"shutdown\"}", true);
	assert_int_equal(poll(&p, 1, -1), 1);
	close(fd);
}

static void the_socket_is_for_its_owner_alone(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void a_second_monitor_on_the_path_is_refused_with_the_next_step(void **state)
{
	struct fixture *f = *state;
	struct listener *second;
	struct error e = {""};
	int fd;

	assert_int_equal(listener_open(f->path, &second, &e), -EADDRINUSE);
	assert_non_null(strstr(e.text, f->path));
	assert_non_null(strstr(e.text, "baton shutdown"));
	/* And the first one did not suffer. */
	fd = dial(f);
	assert_answer(fd, "{\"method\": \"echo\"}", true);
	close(fd);
}

static void a_stale_socket_is_replaced_and_other_things_are_not(void **state)
{
	char dir[] = "/tmp/baton-test-XXXXXX", path[128], long_path[256];
	struct listener *l;
	struct error e;
	struct stat st;
	pid_t child;
	int fd;

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof path, "%s/sub/control.sock", dir);
	child = fork();
	if (child == 0) /* dies without cleaning up: leaves socket and lock file */
		_exit(listener_open(path, &l, &e) == 0 ? 0 : 1);
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &fd, 0), child);
	assert_int_equal(fd, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(listener_open(path, &l, &e), 0);
	listener_close(l);
	assert_int_equal(stat(path, &st), -1);

	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(listener_open(path, &l, &e), -EEXIST);
	assert_int_equal(stat(path, &st), 0);
	unlink(path);
	memset(long_path, 'a', sizeof long_path - 1);
	long_path[sizeof long_path - 1] = '\0';
	assert_int_equal(listener_open(long_path, &l, &e), -ENAMETOOLONG);
	(void)snprintf(path, sizeof path, "%s/sub", dir);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_request_is_answered_with_its_id, start_small, stop),
	    cmocka_unit_test_setup_teardown(bad_lines_are_answered_and_the_connection_goes_on, start_default, stop),
	    cmocka_unit_test_setup_teardown(two_requests_in_one_piece_and_one_in_two_pieces, start_default, stop),
	    cmocka_unit_test_setup_teardown(an_oversized_line_is_refused_and_ends_the_connection, start_small, stop),
	    cmocka_unit_test_setup_teardown(a_line_of_just_the_limit_is_taken, start_small, stop),
	    cmocka_unit_test_setup_teardown(a_line_that_stays_unfinished_is_given_up, start_impatient, stop),
	    cmocka_unit_test_setup_teardown(clients_beyond_the_limit_are_told_and_room_is_found_again, start_small,
					    stop),
	    cmocka_unit_test_setup_teardown(slow_methods_and_clients_that_do_not_read_hold_nobody_up, start_small,
					    stop),
	    cmocka_unit_test_setup_teardown(many_clients_at_once_get_their_own_answers, start_default, stop),
	    cmocka_unit_test_setup_teardown(attach_streams_both_ways_until_the_vm_is_gone, start_default, stop),
	    cmocka_unit_test_setup_teardown(attach_from_now_without_input_only_listens, start_default, stop),
	    cmocka_unit_test_setup_teardown(a_full_input_queue_loses_nothing, start_default, stop),
	    cmocka_unit_test_setup_teardown(shutdown_is_told_to_the_owner_after_its_answer, start_default, stop),
	    cmocka_unit_test_setup_teardown(the_socket_is_for_its_owner_alone, start_default, stop),
	    cmocka_unit_test_setup_teardown(a_second_monitor_on_the_path_is_refused_with_the_next_step, start_default,
					    stop),
	    cmocka_unit_test(a_stale_socket_is_replaced_and_other_things_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
