/* SPDX-License-Identifier: Apache-2.0 */
/* demo_host.c - a monitor of the demo's own, which goes away with the demo however that ends. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "cli/demo.h"

/* The monitor measures the host before it answers. */
#define READY_MS 30000
#define STOP_MS	 10000
#define POLL_MS	 10

static void run_batond(const struct demo *d, pid_t parent)
{
	const struct demo_options *o = &d->options;
	const char *argv[16] = {o->batond, "--socket", d->socket, "--images", o->images};
	size_t n = 5;
	sigset_t none;
	int log;

	if (*o->carrier) {
		argv[n++] = "--carrier";
		argv[n++] = o->carrier;
	}
	if (*o->pcpus) {
		argv[n++] = "--pcpus";
		argv[n++] = o->pcpus;
	}
	/* A group of its own: Ctrl-C is for the demo, which then ends the monitor in order. */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1); /* the demo was gone before that took effect */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	log = open(d->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (log < 0 || dup2(log, STDERR_FILENO) < 0)
		_exit(1);
	execv(o->batond, (char *const *)argv);
	dprintf(STDERR_FILENO, "batond: error: cannot run %s: %s\n", o->batond, strerror(errno));
	_exit(127);
}

void demo_host_last_words(const struct demo *d, char *buf, size_t size)
{
	_cleanup_close_ int fd = open(d->log, O_RDONLY | O_CLOEXEC);
	char *line;
	ssize_t n;
	off_t end;

	*buf = '\0';
	if (fd < 0)
		return;
	end = lseek(fd, 0, SEEK_END);
	n = pread(fd, buf, size - 1, MAX(end - (off_t)size + 1, 0));
	buf[MAX(n, 0)] = '\0';
	n = (ssize_t)strlen(buf);
	while (n > 0 && buf[n - 1] == '\n')
		buf[--n] = '\0';
	line = strrchr(buf, '\n');
	if (line)
		memmove(buf, line + 1, strlen(line + 1) + 1);
}

int demo_host_start(struct demo *d, struct error *e)
{
	uint64_t until = clock_now_ns() + READY_MS * NSEC_PER_MSEC;
	pid_t self = getpid();
	char words[200];

	(void)snprintf(d->dir, sizeof d->dir, "/tmp/baton-demo-XXXXXX");
	if (!mkdtemp(d->dir)) {
		d->dir[0] = '\0';
		return error_set(e, -errno, "cannot make a directory in /tmp: %s", strerror(errno));
	}
	(void)snprintf(d->socket, sizeof d->socket, "%s/control.sock", d->dir);
	(void)snprintf(d->log, sizeof d->log, "%s/batond.log", d->dir);
	fflush(stdout);
	d->monitor = fork();
	if (d->monitor < 0) {
		d->monitor = 0;
		return error_set(e, -errno, "cannot start a process: %s", strerror(errno));
	}
	if (d->monitor == 0)
		run_batond(d, self);
	for (;;) {
		struct pollfd p = {.fd = d->signals, .events = POLLIN};
		struct error ignored;

		if (client_open(d->socket, &d->control, &ignored) == 0)
			return 0;
		if (waitpid(d->monitor, NULL, WNOHANG) == d->monitor) {
			d->monitor = 0;
			demo_host_last_words(d, words, sizeof words);
			return error_set(e, -ECHILD, "the monitor did not start: %s",
					 *words ? words : "it left no message; run batond by hand");
		}
		if (clock_now_ns() > until)
			return error_set(e, -ETIMEDOUT,
					 "the monitor is not ready after %d s; run 'batond --verbose' by hand",
					 READY_MS / 1000);
		if (poll(&p, 1, POLL_MS) > 0) {
			/* SIGCHLD is looked after above; anything else is a wish to end. */
			if (waitpid(d->monitor, NULL, WNOHANG | WNOWAIT) == 0)
				return error_set(e, -EINTR, "interrupted");
		}
	}
}

void demo_host_stop(struct demo *d)
{
	client_close(&d->control);
	if (d->monitor > 0) {
		uint64_t until = clock_now_ns() + STOP_MS * NSEC_PER_MSEC;

		kill(d->monitor, SIGTERM);
		while (waitpid(d->monitor, NULL, WNOHANG) == 0) {
			if (clock_now_ns() > until) {
				demo_failure(d, "the monitor did not stop within %d s", STOP_MS / 1000);
				kill(d->monitor, SIGKILL);
				waitpid(d->monitor, NULL, 0);
				break;
			}
			poll(NULL, 0, POLL_MS);
		}
		d->monitor = 0;
	}
	if (*d->dir) {
		char lock[sizeof d->socket + 8];

		(void)snprintf(lock, sizeof lock, "%s.lock", d->socket);
		unlink(d->socket);
		unlink(lock);
		unlink(d->log);
		rmdir(d->dir);
		d->dir[0] = '\0';
	}
}
