/* SPDX-License-Identifier: Apache-2.0 */
#include "qemu.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "base/clock.h"

#define PROGRAM "qemu-system-x86_64"
#define MACHINE "microvm,x-option-roms=off,rtc=on,pit=off,pic=off"

static void exec_qemu(const struct qemu_config *c, int console)
{
	char machine[128], memory[32], vcpus[16], object[128];
	const char *argv[64] = {PROGRAM,
				"-M",
				machine,
				"-accel",
				"kvm",
				"-cpu",
				"host",
				"-smp",
				vcpus,
				"-m",
				memory,
				"-nodefaults",
				"-no-user-config",
				"-display",
				"none",
				"-no-reboot",
				"-serial",
				"stdio",
				"-kernel",
				c->kernel,
				"-initrd",
				c->initrd,
				"-append",
				c->cmdline};
	int nothing = open("/dev/null", O_RDWR);
	cpu_set_t first;
	size_t at = 24; /* the first free place of argv */

	(void)snprintf(machine, sizeof machine, "%s%s", MACHINE, c->named_memory ? ",memory-backend=ram" : "");
	(void)snprintf(memory, sizeof memory, "%ld", c->memory_mib);
	(void)snprintf(vcpus, sizeof vcpus, "%u", c->vcpus);
	(void)snprintf(object, sizeof object, "memory-backend-memfd,id=ram,size=%ldM", c->memory_mib);
	if (c->named_memory) {
		argv[at++] = "-object";
		argv[at++] = object;
	}
	for (const char *const *more = c->more; more && *more && at < ARRAY_SIZE(argv) - 1; more++)
		argv[at++] = *more;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	(void)sched_setaffinity(0, sizeof first, &first);
	if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(console, STDOUT_FILENO) < 0)
		_exit(126);
	execvp(PROGRAM, (char *const *)argv);
	_exit(127);
}

int qemu_start(const struct qemu_config *config, struct qemu *ret)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		exec_qemu(config, ends[1]);
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return -EAGAIN;
	}
	*ret = (struct qemu){.pid = pid, .console = ends[0]};
	return 0;
}

/* Keeps the newer half when the buffer is full: a mark may lie across two reads. */
static void make_room(struct qemu *q)
{
	size_t half = sizeof q->seen / 2;

	if (q->length < sizeof q->seen - 1)
		return;
	memmove(q->seen, q->seen + q->length - half, half);
	q->length = half;
}

int qemu_wait_for(struct qemu *q, const char *mark, uint64_t deadline_ns)
{
	struct pollfd p = {.fd = q->console, .events = POLLIN};
	uint64_t now;
	ssize_t n;

	while (!strstr(q->seen, mark)) {
		now = clock_now_ns();
		if (now >= deadline_ns)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)((deadline_ns - now) / NSEC_PER_MSEC) + 1) <= 0)
			continue;
		make_room(q);
		n = read(q->console, q->seen + q->length, sizeof q->seen - 1 - q->length);
		if (n <= 0)
			return -EPIPE;
		for (ssize_t i = 0; i < n; i++) /* a zero byte would hide what comes after it */
			if (q->seen[q->length + (size_t)i] == '\0')
				q->seen[q->length + (size_t)i] = ' ';
		q->length += (size_t)n;
		q->seen[q->length] = '\0';
	}
	return 0;
}

void qemu_end(struct qemu *q)
{
	kill(q->pid, SIGKILL);
	waitpid(q->pid, NULL, 0);
	close(q->console);
	*q = (struct qemu){.console = -1};
}
