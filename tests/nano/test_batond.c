/* SPDX-License-Identifier: Apache-2.0 */
/* batond and baton as processes: start, end by signal, a second one, one that was killed; errors of the command line.
 * PROGRAM GUESTS IMAGES worker|thread BATOND BATON */
#include "rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct place {
	char dir[64], socket[128];
};

static struct place place_new(void)
{
	struct place p = {.dir = "/tmp/baton-test-XXXXXX"};

	assert_non_null(mkdtemp(p.dir));
	snprintf(p.socket, sizeof p.socket, "%s/control.sock", p.dir);
	return p;
}

static void place_free(struct place *p)
{
	char path[160];

	unlink(p->socket);
	snprintf(path, sizeof path, "%s.lock", p->socket);
	unlink(path);
	assert_int_equal(rmdir(p->dir), 0); /* nothing else was left there */
}

/* Starts argv with stdout and stderr in one pipe; returns its process. */
static pid_t start(char *const argv[], int *ret_output)
{
	int ends[2];
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		dup2(null, 0);
		dup2(ends[1], 1);
		dup2(ends[1], 2);
		close(ends[0]);
		close(ends[1]);
		execv(argv[0], argv);
		_exit(126);
	}
	close(ends[1]);
	*ret_output = ends[0];
	return pid;
}

/* Its exit status, or 128 + signal. Waits at most RIG_PATIENCE_NS. */
static int status_of(pid_t pid)
{
	uint64_t deadline = clock_now_ns() + RIG_PATIENCE_NS;
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (clock_now_ns() > deadline) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			rig_fail("process %d did not end", (int)pid);
		}
		usleep(1000);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void read_all(int fd, char *buf, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while (used < size - 1 && (n = read(fd, buf + used, size - 1 - used)) > 0)
		used += (size_t)n;
	buf[used] = '\0';
	close(fd);
}

/* Runs to its end; everything it says into buf. */
static int run(char *const argv[], char *buf, size_t size)
{
	int output;
	pid_t pid = start(argv, &output);

	read_all(output, buf, size);
	return status_of(pid);
}

struct daemon {
	pid_t pid;
	int output;
};

static char carrier_name[8];

static struct daemon batond(const struct place *p)
{
	char *const argv[] = {(char *)(uintptr_t)rig_argument(0),
			      "--socket",
			      (char *)(uintptr_t)p->socket,
			      "--carrier",
			      carrier_name,
			      NULL};
	struct daemon d;

	d.pid = start(argv, &d.output);
	return d;
}

#define BATON(...)                                                                                                     \
	((char *const[]){(char *)(uintptr_t)rig_argument(1), "--socket", (char *)(uintptr_t)p.socket, __VA_ARGS__,     \
			 NULL})

static void wait_until_ready(const struct place *place)
{
	struct place p = *place;
	uint64_t deadline = clock_now_ns() + RIG_PATIENCE_NS;
	char buf[4096];

	while (run(BATON("version"), buf, sizeof buf) != 0 || run(BATON("ls"), buf, sizeof buf) != 0) {
		if (clock_now_ns() > deadline)
			rig_fail("batond does not get ready: %s", buf);
		usleep(10000);
	}
}

static void end(struct daemon *d, int signal, int expected)
{
	char buf[65536];
	int status;

	assert_int_equal(kill(d->pid, signal), 0);
	status = status_of(d->pid);
	read_all(d->output, buf, sizeof buf);
	if (status != expected)
		rig_fail("status %d, not %d, after signal %d: %s", status, expected, signal, buf);
}

static bool is_there(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

/* VMs that spin, sleep and have crashed. */
static void run_some_vms(const struct place *place, const char *guests)
{
	static const char *const kinds[] = {"spinner", "waker", "panicker"};
	struct place p = *place;
	char buf[4096], kernel[4096];

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		snprintf(kernel, sizeof kernel, "%s/%s", guests, kinds[i]);
		if (run(BATON("run", "--name", (char *)(uintptr_t)kinds[i], "--kernel", kernel, "--memory", "4",
			      "--vcpus", "2", "--cmdline", "beat_ms=1"),
			buf, sizeof buf) != 0)
			rig_fail("baton run: %s", buf);
	}
}

static const char *guests_dir;

static void a_signal_ends_it_cleanly_whatever_runs(void **unused)
{
	static const int signals[] = {SIGTERM, SIGINT};

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct place p = place_new();
		struct daemon d = batond(&p);

		wait_until_ready(&p);
		assert_true(is_there(p.socket));
		run_some_vms(&p, guests_dir);
		end(&d, signals[i], 0);
		assert_false(is_there(p.socket));
		place_free(&p);
	}
}

static void the_shutdown_request_ends_it_cleanly(void **unused)
{
	struct place p = place_new();
	struct daemon d = batond(&p);
	char buf[4096];

	wait_until_ready(&p);
	run_some_vms(&p, guests_dir);
	assert_int_equal(run(BATON("shutdown"), buf, sizeof buf), 0);
	assert_int_equal(status_of(d.pid), 0);
	close(d.output);
	assert_false(is_there(p.socket));
	place_free(&p);
}

static unsigned lines(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

static void a_second_one_on_the_same_socket_is_refused_and_the_first_goes_on(void **unused)
{
	struct place p = place_new();
	struct daemon first = batond(&p), second;
	char buf[4096];

	wait_until_ready(&p);
	second = batond(&p);
	read_all(second.output, buf, sizeof buf);
	assert_int_equal(status_of(second.pid), 1);
	assert_non_null(strstr(buf, p.socket));
	assert_int_equal(lines(buf), 1);
	assert_int_equal(run(BATON("ls"), buf, sizeof buf), 0);
	end(&first, SIGTERM, 0);
	place_free(&p);
}

static void after_one_was_killed_a_new_one_starts_on_its_socket(void **unused)
{
	struct place p = place_new();

	for (unsigned i = 0; i < 2; i++) {
		struct daemon d = batond(&p);

		wait_until_ready(&p);
		run_some_vms(&p, guests_dir);
		end(&d, SIGKILL, 128 + SIGKILL);
		assert_true(is_there(p.socket)); /* it had no time to clean up */
	}
	struct daemon d = batond(&p);

	wait_until_ready(&p);
	end(&d, SIGTERM, 0);
	place_free(&p);
}

/* Status 1, and at the end the one line that says why (before it a change may tell how far it came). */
static void refused(char *const argv[], const char *word)
{
	char buf[4096], *error;
	int status = run(argv, buf, sizeof buf);

	error = strstr(buf, "baton: error: ");
	if (status != 1 || !error || lines(error) != 1 || !strstr(error, word))
		rig_fail("status %d, to be 1 with a line with \"%s\": %s", status, word, buf);
}

static void errors_are_one_line_and_status_1(void **unused)
{
	struct place p = place_new();
	struct daemon d;

	refused(BATON("ls"), p.socket); /* nobody there */
	d = batond(&p);
	wait_until_ready(&p);
	refused(BATON("run", "--kernel", "/no/such/kernel"), "/no/such/kernel");
	refused(BATON("run", "--kernel", "/etc/passwd"), "bzImage");
	refused(BATON("stop", "nobody"), "nobody");
	refused(BATON("pause", "nobody"), "nobody");
	refused(BATON("resume", "nobody"), "nobody");
	refused(BATON("destroy", "nobody"), "nobody");
	refused(BATON("sched", "load", "fair", "--image", "/no/such/image"), "/no/such/image");
	refused(BATON("sched", "load", "fair", "--image", "/etc/passwd"), "passwd");
	refused(BATON("sched", "unload", "rr"), "default");
	refused(BATON("sched", "unload", "nobody"), "nobody");
	end(&d, SIGTERM, 0);
	place_free(&p);
}

static void wrong_options_are_refused_before_anything_is_made(void **unused)
{
	static char *const wrong[][2] = {{"--carrier", "bicycle"},
					 {"--arena-slots", "0"},
					 {"--max-vms", "-1"},
					 {"--slice-us", "soon"},
					 {"--no-such", "option"}};
	struct place p = place_new();
	char buf[4096];

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		char *const argv[] = {
		    (char *)(uintptr_t)rig_argument(0), "--socket", p.socket, wrong[i][0], wrong[i][1], NULL};

		assert_int_equal(run(argv, buf, sizeof buf), 2);
		assert_true(strlen(buf) > 10);
		assert_false(is_there(p.socket));
	}
	char *const no_kvm[] = {
	    (char *)(uintptr_t)rig_argument(0), "--socket", p.socket, "--kvm", "/no/such/kvm", NULL};
	char *const no_cpu[] = {(char *)(uintptr_t)rig_argument(0), "--socket", p.socket, "--pcpus", "9999", NULL};

	assert_int_equal(run(no_kvm, buf, sizeof buf), 1);
	assert_non_null(strstr(buf, "/no/such/kvm"));
	assert_int_equal(lines(buf), 1);
	assert_int_equal(run(no_cpu, buf, sizeof buf), 1);
	assert_non_null(strstr(buf, "pcpus"));
	assert_false(is_there(p.socket));
	place_free(&p);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_signal_ends_it_cleanly_whatever_runs),
	    cmocka_unit_test(the_shutdown_request_ends_it_cleanly),
	    cmocka_unit_test(a_second_one_on_the_same_socket_is_refused_and_the_first_goes_on),
	    cmocka_unit_test(after_one_was_killed_a_new_one_starts_on_its_socket),
	    cmocka_unit_test(errors_are_one_line_and_status_1),
	    cmocka_unit_test(wrong_options_are_refused_before_anything_is_made),
	};

	rig_arguments(argc, argv);
	guests_dir = argv[1];
	snprintf(carrier_name, sizeof carrier_name, "%s", argv[3]);
	if (*rig_argument(2))
		cmocka_set_test_filter(rig_argument(2)); /* by hand: one test alone */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
