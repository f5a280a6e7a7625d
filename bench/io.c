/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.c - disks and networks: throughput, latency, and what they cost the monitor.
 *
 * The same Linux guest, with the same command line, file, and back-end (io_uring; libslirp), under Baton and under QEMU's
 * microvm, in turn. The guest moves data by dd and says how long it took; this program reads that from the console, and
 * from /proc how much CPU the monitor's process used meanwhile, without the guest's own time. Requests of the disk go past
 * the guest's page cache, one at a time. The other end of the network is a process of its own.
 *
 *	io.block, io.net	direction, size, depth (requests at once), figure: throughput, latency, cpu, cpu_per_mb
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "host/probe.h"
#include "place.h"
#include "qemu.h"

#define BOOT_LIMIT_S 60
#define LIMIT_S	     60
#define QEMU_TRIES   2
#define DISK_MIB     64
#define MEMORY_MIB   128
#define SEEN_MAX     (256 * KIB)
#define QEMU	     "QEMU microvm with KVM"

/* One job of the guest. In bytes: what dd moves. */
struct job {
	const char *name, *metric, *direction;
	unsigned size; /* of one request; 0: a stream */
	unsigned mib;  /* in all; with --quick a quarter */
};
static const struct job jobs[] = {
    {"read4k", "io.block", "read", 4096, 8},	 {"write4k", "io.block", "write", 4096, 8},
    {"read1m", "io.block", "read", 1 << 20, 64}, {"write1m", "io.block", "write", 1 << 20, 64},
    {"receive", "io.net", "receive", 0, 8},	 {"send", "io.net", "send", 0, 8},
};
#define JOBS ARRAY_SIZE(jobs)

struct result {
	struct samples seconds, cpu_seconds;
};

struct bench {
	struct report r;
	char kernel[PLACE_PATH_MAX], initrd[PLACE_PATH_MAX], disk[64], cmdline[2048];
	uint16_t port; /* sends to who connects; the next one swallows */
	pid_t peer;
	long runs;
	struct result ours[JOBS], theirs[JOBS];
};

static unsigned mib_of(const struct bench *b, const struct job *j)
{
	return b->r.quick ? j->mib / 4 : j->mib;
}

/* ---- the other end of the network ---- */

static int listen_on(uint16_t port)
{
	struct sockaddr_in a = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 4) < 0)
		return -1;
	return fd;
}

static void serve(int source, int sink, uint64_t bytes)
{
	static char block[64 * KIB];
	struct pollfd p[] = {{.fd = source, .events = POLLIN}, {.fd = sink, .events = POLLIN}};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	while (poll(p, 2, -1) > 0)
		for (unsigned i = 0; i < 2; i++) {
			uint64_t left = bytes;
			ssize_t n = 1;
			int fd;

			if (!(p[i].revents & POLLIN))
				continue;
			fd = accept(p[i].fd, NULL, NULL);
			while (i == 0 && left > 0 && (n = write(fd, block, MIN(left, sizeof block))) > 0)
				left -= (uint64_t)n;
			while (i == 1 && n > 0)
				n = read(fd, block, sizeof block);
			close(fd);
		}
	_exit(0);
}

/* On one CPU, as QEMU is: in the appliance the emulated processors take turns of up to 100 ms, and what is measured across
 * two of them is that. */
static void stay_on_one_cpu(void)
{
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	(void)sched_setaffinity(0, sizeof first, &first);
}

/* Before this process has threads. */
static bool start_peer(struct bench *b)
{
	int source = -1, sink = -1;

	for (b->port = 18100; b->port < 18200; b->port = (uint16_t)(b->port + 2)) {
		source = listen_on(b->port);
		sink = listen_on((uint16_t)(b->port + 1));
		if (source >= 0 && sink >= 0)
			break;
		close_fd(source);
		close_fd(sink);
	}
	b->peer = source >= 0 && sink >= 0 ? fork() : -1;
	if (b->peer == 0)
		serve(source, sink, (uint64_t)mib_of(b, &jobs[4]) * MIB);
	close_fd(source);
	close_fd(sink);
	return b->peer > 0;
}

/* ---- the guest ---- */

static void write_cmdline(struct bench *b)
{
	(void)snprintf(b->cmdline, sizeof b->cmdline,
		       "console=ttyS0 quiet panic=-1 reboot=t lapic=notscdeadline baton.exec=\""
		       "t(){ read -r up idle </proc/uptime; };"
		       "r(){ echo io: $1 begin; t; b=$up; $1 2>/dev/null; t; echo ran from $b to $up, io: $1 end; };"
		       "read4k(){ dd if=/dev/vda of=/dev/null bs=4k count=%u iflag=direct; };"
		       "write4k(){ dd if=/dev/zero of=/dev/vda bs=4k count=%u oflag=direct; };"
		       "read1m(){ dd if=/dev/vda of=/dev/null bs=1M count=%u iflag=direct; };"
		       "write1m(){ dd if=/dev/zero of=/dev/vda bs=1M count=%u oflag=direct; };"
		       "receive(){ nc 10.0.2.2 %u </dev/null | dd of=/dev/null bs=64k; };"
		       "send(){ dd if=/dev/zero bs=64k count=%u | nc 10.0.2.2 %u; };"
		       "ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ping -c1 -W9 10.0.2.2 >/dev/null;"
		       "for j in read4k write4k read1m write1m receive send; do r $j; done; sleep 999\"",
		       mib_of(b, &jobs[0]) * 256, mib_of(b, &jobs[1]) * 256, mib_of(b, &jobs[2]), mib_of(b, &jobs[3]),
		       b->port, mib_of(b, &jobs[5]) * 16, b->port + 1);
}

/* CPU seconds of a process without what it ran of its guest. */
static double cpu_of(pid_t pid)
{
	unsigned long user = 0, system = 0, guest = 0;
	char path[64], text[1024];
	const char *at;
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	close_fd(fd);
	text[MAX(n, (ssize_t)0)] = '\0';
	at = strrchr(text, ')'); /* fields 14, 15 and 43 of proc(5); after the name comes field 3 */
	if (!at || sscanf(at + 2,
			  "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u "
			  "%*d %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*d %*d %*u %*u %*u %lu",
			  &user, &system, &guest) != 3)
		return 0;
	return (double)(user + system - MIN(guest, user)) / (double)sysconf(_SC_CLK_TCK);
}

/* Where the guest's console comes from: fills `seen` until it holds the mark. */
struct guest {
	pid_t pid;
	struct qemu *qemu; /* or NULL: ours */
	struct monitor *m;
	uint64_t pos;
	size_t length;
	char *seen;
};

static int wait_ours(struct guest *g, const char *mark, uint64_t deadline_ns)
{
	while (!strstr(g->seen, mark)) {
		ssize_t n;

		if (clock_now_ns() > deadline_ns || g->length == SEEN_MAX - 1)
			return -ETIMEDOUT;
		(void)monitor_console_wait(g->m, "io", g->pos, 1000);
		n = monitor_console_read(g->m, "io", &g->pos, g->seen + g->length, SEEN_MAX - 1 - g->length);
		if (n < 0)
			return (int)n;
		g->length += (size_t)n;
		g->seen[g->length] = '\0';
	}
	return 0;
}

static int wait_for(struct guest *g, const char *mark, uint64_t limit_s)
{
	uint64_t deadline_ns = clock_now_ns() + limit_s * NSEC_PER_SEC;

	if (!g->qemu)
		return wait_ours(g, mark, deadline_ns);
	return qemu_wait_for(g->qemu, mark, deadline_ns);
}

/* "ran from 7.51 to 9.02" after the job's begin: /proc/uptime, to 10 ms. */
static bool read_seconds(const char *seen, const char *begin, double *ret)
{
	const char *at = strstr(seen, begin);
	double from, to;

	at = at ? strstr(at, "ran from ") : NULL;
	if (!at || sscanf(at, "ran from %lf to %lf", &from, &to) != 2 || to <= from)
		return false;
	*ret = to - from;
	return true;
}

/* Follows the guest through all jobs. */
static bool follow(struct bench *b, struct guest *g, struct result *to)
{
	char begin[64], end[64];

	for (size_t i = 0; i < JOBS; i++) {
		double seconds, cpu;

		(void)snprintf(begin, sizeof begin, "io: %s begin", jobs[i].name);
		(void)snprintf(end, sizeof end, "io: %s end", jobs[i].name);
		if (wait_for(g, begin, BOOT_LIMIT_S) < 0)
			return false;
		cpu = cpu_of(g->pid);
		if (wait_for(g, end, LIMIT_S) < 0)
			return false;
		cpu = cpu_of(g->pid) - cpu;
		if (!read_seconds(g->qemu ? g->qemu->seen : g->seen, begin, &seconds))
			return false;
		report_say(&b->r, "%s: %s %.2f s, monitor CPU %.2f s", g->qemu ? "QEMU" : "Baton", jobs[i].name,
			   seconds, cpu);
		samples_add(&to[i].seconds, seconds);
		samples_add(&to[i].cpu_seconds, cpu);
	}
	return true;
}

static void run_ours(struct bench *b, struct monitor *m)
{
	const struct requester who = {.kind = REQUESTER_OPERATOR};
	struct guest g = {.pid = getpid(), .m = m, .seen = calloc(1, SEEN_MAX)};
	json_t *params = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:[s], s:{s:s, s:b}}", "name", "io", "kernel",
				   b->kernel, "initrd", b->initrd, "cmdline", b->cmdline, "vcpus", 1, "memory_mib",
				   MEMORY_MIB, "disks", b->disk, "net", "kind", "user", "host", 1);
	json_t *reply = monitor_request(m, &who, "vm.create", params);

	json_decref(params);
	if (!json_is_true(json_object_get(reply, "ok")))
		report_fail(&b->r, "%s", json_string_value(json_object_get(reply, "error")));
	else if (!follow(b, &g, b->ours))
		report_fail(&b->r, "the guest did not finish; the last of its console:\n%s",
			    g.seen + (g.length > 500 ? g.length - 500 : 0));
	json_decref(reply);
	place_vm_end(m, "io");
	free(g.seen);
}

/* The baseline gets more than one try: see boot.c. */
static void run_qemu(struct bench *b)
{
	char drive[256];
	const char *const more[] = {"-global", "virtio-mmio.force-legacy=false", "-drive",  drive,
				    "-device", "virtio-blk-device,drive=d",	 "-netdev", "user,id=n",
				    "-device", "virtio-net-device,netdev=n",	 NULL};
	const struct qemu_config config = {.kernel = b->kernel,
					   .initrd = b->initrd,
					   .cmdline = b->cmdline,
					   .vcpus = 1,
					   .memory_mib = MEMORY_MIB,
					   .more = more};
	struct qemu q;
	bool done = false;

	(void)snprintf(drive, sizeof drive, "if=none,id=d,file=%s,format=raw,aio=io_uring", b->disk);
	for (int i = 0; i < QEMU_TRIES && !done; i++) {
		struct guest g = {.qemu = &q};

		if (qemu_start(&config, &q) < 0)
			continue;
		g.pid = q.pid;
		done = follow(b, &g, b->theirs);
		if (!done)
			report_say(&b->r, "QEMU's guest did not finish, try %d of %d; the last of its console:\n%s",
				   i + 1, QEMU_TRIES, q.seen + (q.length > 300 ? q.length - 300 : 0));
		qemu_end(&q);
	}
}

/* ---- report ---- */

static void row(struct bench *b, const struct job *j, const char *figure, const char *unit, double ours, double theirs)
{
	report_row(&b->r, j->metric, ours, unit, theirs, isnan(theirs) ? NULL : QEMU,
		   json_pack("{s:s, s:o, s:i, s:s}", "direction", j->direction, "size",
			     j->size ? json_integer(j->size) : json_null(), "depth", 1, "figure", figure));
}

static void report_job(struct bench *b, size_t i)
{
	const struct job *j = &jobs[i];
	double mib = mib_of(b, j), ours = samples_at(&b->ours[i].seconds, 0.5),
	       theirs = samples_at(&b->theirs[i].seconds, 0.5);
	double ours_cpu = samples_at(&b->ours[i].cpu_seconds, 0.5),
	       theirs_cpu = samples_at(&b->theirs[i].cpu_seconds, 0.5);

	if (j->size == 4096)
		row(b, j, "latency", "us", ours * 1e6 / (mib * 256), theirs * 1e6 / (mib * 256));
	else
		row(b, j, "throughput", "MB/s", mib * 1.048576 / ours, mib * 1.048576 / theirs);
	row(b, j, "cpu", "%", 100 * ours_cpu / ours, 100 * theirs_cpu / theirs);
	row(b, j, "cpu_per_mb", "ms", 1e3 * ours_cpu / mib, 1e3 * theirs_cpu / mib);
}

static bool make_disk(struct bench *b)
{
	static const char zeroes[MIB];
	int fd;

	(void)snprintf(b->disk, sizeof b->disk, "/tmp/baton-io-XXXXXX");
	fd = mkostemp(b->disk, O_CLOEXEC);
	for (unsigned i = 0; fd >= 0 && i < DISK_MIB; i++) /* written, so that both find it in the page cache */
		if (write(fd, zeroes, sizeof zeroes) != sizeof zeroes)
			fd = close_fd(fd);
	if (fd < 0)
		return false;
	close_fd(fd);
	return true;
}

int main(int argc, char **argv)
{
	struct bench b = {.runs = -1};
	const struct bench_option options[] = {
	    {.name = "runs",
	     .help = "N  runs under each monitor; the median counts (default 3, with --quick 1)",
	     .number = &b.runs,
	     .min = 1,
	     .max = 1000},
	    {.name = NULL},
	};
	struct probe_result probe;
	struct monitor *m;
	struct error e = {0};
	int status;

	if (!report_begin(&b.r, argc, argv, "Disks and networks of Linux guests, against QEMU with the same back-ends.",
			  options, &status))
		return status;
	if (b.runs < 0)
		b.runs = b.r.quick ? 1 : 3;
	if (probe_host(&probe, &e) < 0 || !probe.runs_linux) {
		report_fail(&b.r, "Linux guests do not run at speed here; inside the appliance they do%s%s",
			    e.text[0] ? ": " : "", e.text);
		return 1;
	}
	place_path(&b.r, b.kernel, "guests/vmlinux", "make the guests first (./dev guests)");
	place_path(&b.r, b.initrd, "guests/devices.cpio.gz", "make the guests first (./dev guests)");
	if (!make_disk(&b) || !start_peer(&b)) {
		report_fail(&b.r, "no disk in /tmp, or no free port: %s", strerror(errno));
		return 1;
	}
	write_cmdline(&b);
	stay_on_one_cpu();
	m = place_monitor(&b.r, &(struct monitor_config){.carrier = CARRIER_AUTO, .max_vms = 4});
	for (long i = 0; i < b.runs && !b.r.failed; i++) {
		run_ours(&b, m);
		if (!b.r.failed)
			run_qemu(&b);
	}
	monitor_free(m);
	for (size_t i = 0; i < JOBS && !b.r.failed; i++)
		report_job(&b, i);
	kill(b.peer, SIGKILL);
	waitpid(b.peer, NULL, 0);
	(void)unlink(b.disk);
	for (size_t i = 0; i < JOBS; i++) {
		samples_free(&b.ours[i].seconds);
		samples_free(&b.ours[i].cpu_seconds);
		samples_free(&b.theirs[i].seconds);
		samples_free(&b.theirs[i].cpu_seconds);
	}
	return report_end(&b.r);
}
