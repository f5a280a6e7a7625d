/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot_driver.c - the smallest host: runs one machine with all its vCPUs on one thread, round robin. For bringing up
 * the machine model without a scheduler, and for soaking its interrupt and timer paths.
 *
 *	boot_driver [options] KERNEL
 *	  --initrd FILE  --cmdline TEXT  --vcpus N  --memory MIB  --slice US
 *	  --input TEXT     typed into the console once --expect (or the first output) was seen; a newline is added
 *	  --expect TEXT    output that must appear in each boot before it counts
 *	  --boots N        reset that many times less one: stop at the N-th reset or power-off (default 1)
 *	  --seconds S      a boot that takes longer is a stall: the vCPUs are dumped, exit status 2
 *	  --quiet          no console output, one line per boot
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "baton/guest.h"
#include "machine/machine.h"

#define TAIL 4096

struct driver {
	struct machine *machine;
	unsigned vcpus;
	uint64_t slice_ns, boot_limit_ns;
	const char *input, *expect;
	bool quiet;

	bool asleep[MACHINE_VCPUS_MAX];
	timer_t timer;
	char tail[TAIL]; /* the end of the output, for --expect */
	size_t tail_used;
	bool seen, typed;
	size_t typed_bytes;
	uint64_t exits[64], entries, steal_ns;
};

/* The one vCPU that runs: the signal handler makes it exit. */
static struct kvm_run *volatile running;

static void on_alarm(int sig)
{
	struct kvm_run *run = running;

	if (run)
		__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

static void notify(void *ctx, unsigned vcpu, unsigned from)
{
	struct driver *d = ctx;

	d->asleep[vcpu] = false; /* one thread: looked at before anyone sleeps */
}

static void console_out(void *ctx, const void *data, size_t size)
{
	struct driver *d = ctx;

	if (!d->quiet && write(STDOUT_FILENO, data, size) < 0)
		return;
	for (size_t i = 0; i < size; i++) {
		if (d->tail_used == TAIL - 1) {
			memmove(d->tail, d->tail + TAIL / 2, TAIL / 2);
			d->tail_used -= TAIL / 2;
		}
		d->tail[d->tail_used++] = ((const char *)data)[i];
		d->tail[d->tail_used] = '\0';
	}
	if (!d->seen && (!d->expect || strstr(d->tail, d->expect)))
		d->seen = true;
}

static enum vcpu_next hypercall(void *ctx, struct vcpu *v, struct hypercall *call)
{
	struct driver *d = ctx;
	uint8_t *mail;
	size_t size;

	switch (call->nr) {
	case BATON_CALL_IDENTIFY:
		call->result = BATON_GUEST_MAGIC;
		call->result2 = BATON_GUEST_ABI;
		return VCPU_RESUME;
	case BATON_CALL_YIELD:
		return VCPU_YIELD;
	case BATON_CALL_BLOCK:
		vcpu_sleep(v, call->arg[0] == 0 ? TIME_NEVER : clock_now_ns() + call->arg[0]);
		return VCPU_HALT;
	case BATON_CALL_CLOCK:
		call->result = (int64_t)clock_now_ns();
		call->result2 = vcpu_tsc_khz(v);
		return VCPU_RESUME;
	case BATON_CALL_HEARTBEAT:
		return VCPU_RESUME;
	case BATON_CALL_CONSOLE_WRITE:
		mail = machine_mailbox(d->machine, &size);
		console_out(ctx, mail, size);
		machine_mailbox_reply(d->machine, 0);
		call->result = (int64_t)size;
		return VCPU_RESUME;
	case BATON_CALL_MAILBOX:
		machine_mailbox_reply(d->machine, 0);
		return VCPU_RESUME;
	case BATON_CALL_EXIT:
		machine_set_exit_status(d->machine, (int)call->arg[0]);
		return VCPU_POWER_OFF;
	default:
		call->result = -BATON_ENOSYS;
		return VCPU_RESUME;
	}
}

static const struct machine_ops ops = {.notify = notify, .console_out = console_out, .hypercall = hypercall};

static void type_input(struct driver *d)
{
	size_t size = d->input ? strlen(d->input) : 0;

	if (!d->input || !d->seen || d->typed)
		return;
	if (d->typed_bytes < size)
		d->typed_bytes += machine_console_in(d->machine, d->input + d->typed_bytes, size - d->typed_bytes);
	else
		d->typed = machine_console_in(d->machine, "\n", 1) == 1;
}

static void arm(struct driver *d, uint64_t ns)
{
	struct itimerspec t = {.it_value = timespec_from_ns(MAX(ns, UINT64_C(1)))};

	timer_settime(d->timer, 0, &t, NULL);
}

/* Fires what is due on all vCPUs; returns when the next is. */
static uint64_t fire(struct driver *d, uint64_t now)
{
	uint64_t next = TIME_NEVER;

	for (unsigned i = 0; i < d->vcpus; i++) {
		struct vcpu *v = machine_vcpu(d->machine, i);

		vcpu_fire_timers(v, now);
		if (d->asleep[i] && vcpu_pending(v))
			d->asleep[i] = false;
		next = MIN(next, vcpu_deadline(v));
	}
	return next;
}

/* Runs one vCPU until its slice ends or it wants something else. */
static enum vcpu_next run_slice(struct driver *d, unsigned index)
{
	struct vcpu *v = machine_vcpu(d->machine, index);
	uint64_t end = clock_now_ns() + d->slice_ns;
	enum vcpu_next next;

	for (;;) {
		uint64_t now = clock_now_ns(), due = fire(d, now);

		type_input(d);
		if (now >= end)
			return VCPU_RESUME;
		running = vcpu_kvm_run(v);
		next = vcpu_prepare(v, d->steal_ns);
		if (next != VCPU_RESUME)
			return next;
		arm(d, MIN(due, end) > now ? MIN(due, end) - now : 1);
		d->entries++;
		vcpu_run(v);
		running = NULL;
		next = vcpu_exit(v);
		d->exits[vcpu_kvm_run(v)->exit_reason & 63]++;
		if (next != VCPU_RESUME)
			return next;
	}
}

static void dump(struct driver *d)
{
	char text[2048];

	for (unsigned i = 0; i < d->vcpus; i++) {
		struct vcpu *v = machine_vcpu(d->machine, i);

		vcpu_dump(v, text, sizeof text);
		fprintf(stderr, "%s%s pending %d deadline in %" PRId64 " us\n", text,
			d->asleep[i] ? "asleep," : "runnable,", vcpu_pending(v),
			(int64_t)(vcpu_deadline(v) - clock_now_ns()) / 1000);
	}
}

/* One boot. VCPU_RESET, VCPU_POWER_OFF or VCPU_CRASHED; VCPU_HALT = it stalled. */
static enum vcpu_next boot(struct driver *d)
{
	uint64_t limit = clock_now_ns() + d->boot_limit_ns;
	unsigned turn = 0;

	while (clock_now_ns() < limit) {
		uint64_t now = clock_now_ns(), due = fire(d, now);
		unsigned tried = 0;
		enum vcpu_next next;

		type_input(d);
		while (tried < d->vcpus && d->asleep[turn % d->vcpus]) {
			tried++;
			turn++;
		}
		if (tried == d->vcpus) {
			struct timespec t = timespec_from_ns(MIN(due, now + 50 * NSEC_PER_MSEC));

			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
			continue;
		}
		next = run_slice(d, turn % d->vcpus);
		if (next == VCPU_HALT && !vcpu_pending(machine_vcpu(d->machine, turn % d->vcpus)))
			d->asleep[turn % d->vcpus] = true;
		if (next == VCPU_RESUME) {
			vcpu_put_aside(machine_vcpu(d->machine, turn % d->vcpus));
			d->steal_ns += d->slice_ns;
		}
		turn++;
		if (next == VCPU_RESET || next == VCPU_POWER_OFF || next == VCPU_CRASHED)
			return next;
	}
	return VCPU_HALT;
}

static int run_boots(struct driver *d, unsigned boots)
{
	for (unsigned n = 1;; n++) {
		uint64_t begin = clock_now_ns();
		enum vcpu_next next = boot(d);
		struct error e;

		fprintf(stderr, "boot %u: %s after %.2f s%s, %" PRIu64 " entries\n", n,
			next == VCPU_RESET	 ? "reset"
			: next == VCPU_POWER_OFF ? "power off"
			: next == VCPU_CRASHED	 ? machine_crash_text(d->machine)
						 : "STALLED",
			(double)(clock_now_ns() - begin) / 1e9, d->seen ? "" : ", expected output NOT seen",
			d->entries);
		if (next == VCPU_HALT || next == VCPU_CRASHED || !d->seen) {
			if (d->quiet)
				fprintf(stderr, "last output: %s\n", d->tail);
			dump(d);
			return 2;
		}
		if (n == boots)
			break;
		if (machine_reset(d->machine, &e) < 0) {
			fprintf(stderr, "reset: %s\n", e.text);
			return 1;
		}
		memset(d->asleep, 0, sizeof d->asleep);
		d->seen = d->typed = false;
		d->typed_bytes = d->tail_used = 0;
		d->entries = 0;
		d->tail[0] = '\0';
	}
	for (unsigned i = 0; i < ARRAY_SIZE(d->exits); i++)
		if (d->exits[i] > 0)
			fprintf(stderr, "exit %u: %" PRIu64 "\n", i, d->exits[i]);
	return machine_exit_status(d->machine);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"initrd", 1, 0, 'i'}, {"cmdline", 1, 0, 'c'}, {"vcpus", 1, 0, 'v'},
						{"memory", 1, 0, 'm'}, {"slice", 1, 0, 's'},   {"input", 1, 0, 't'},
						{"expect", 1, 0, 'e'}, {"boots", 1, 0, 'b'},   {"seconds", 1, 0, 'l'},
						{"quiet", 0, 0, 'q'},  {"debug", 0, 0, 'd'},   {0}};
	struct machine_config config = {.vcpus = 1, .mem_bytes = 256 * MIB};
	struct driver d = {.slice_ns = 5 * NSEC_PER_MSEC, .boot_limit_ns = 60 * NSEC_PER_SEC};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct sigaction action = {.sa_handler = on_alarm};
	enum log_level level = LOG_INFO;
	unsigned boots = 1;
	struct error e;
	int c, kvm, r;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'i':
			config.initrd = optarg;
			break;
		case 'c':
			config.cmdline = optarg;
			break;
		case 'v':
			config.vcpus = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'm':
			config.mem_bytes = strtoull(optarg, NULL, 0) * MIB;
			break;
		case 's':
			d.slice_ns = strtoull(optarg, NULL, 0) * NSEC_PER_USEC;
			break;
		case 't':
			d.input = optarg;
			break;
		case 'e':
			d.expect = optarg;
			break;
		case 'b':
			boots = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'l':
			d.boot_limit_ns = strtoull(optarg, NULL, 0) * NSEC_PER_SEC;
			break;
		case 'q':
			d.quiet = true;
			break;
		case 'd':
			level = LOG_DEBUG;
			break;
		default:
			return 1;
		}
	}
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: boot_driver [options] KERNEL\n");
		return 1;
	}
	config.kernel = argv[optind];
	log_setup("boot_driver", level);
	sigaction(SIGUSR1, &action, NULL);
	if (timer_create(CLOCK_MONOTONIC, &event, &d.timer) < 0)
		return 1;
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	r = machine_new(kvm, &config, &ops, &d, &d.machine, &e);
	if (r < 0) {
		fprintf(stderr, "boot_driver: %s\n", e.text);
		return 1;
	}
	d.vcpus = config.vcpus;
	r = run_boots(&d, boots);
	running = NULL;
	timer_delete(d.timer);
	machine_free(d.machine);
	close_fd(kvm);
	return r;
}
