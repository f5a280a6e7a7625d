/* SPDX-License-Identifier: Apache-2.0 */
/*
 * boot.c - from the request for a VM to its first sign of life, and what a VM costs in memory.
 *
 * boot.to_init: from vm.create to the line that the guest's init prints first (a Linux guest), or to the first
 * heartbeat (a nano guest, which has no console line). The baseline is QEMU's microvm with KVM (qemu.h) on the same
 * machine, taken in turn with ours: same kernel file, initramfs, command line and memory, from fork to the same line.
 * The monitor runs already, as it does where VMs come and go; boot.monitor_start says what its own start costs once.
 *
 * memory.per_vm: how much the monitor grows by the n-th VM, guest RAM left out; for QEMU by the n-th process
 * (memory.h).
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "host/probe.h"
#include "machine/private.h"
#include "memory.h"
#include "place.h"
#include "qemu.h"

#define MARK "baton-guest: init reached"
/* One-shot local APIC timers, for both: with TSC deadlines, guests of the baseline hang more often in the appliance. */
#define CMDLINE	     "console=ttyS0 quiet panic=-1 reboot=t lapic=notscdeadline"
#define QUIET	     " baton.role=sleeper" /* for VMs that stay while others are looked at */
#define SETTLE_US    200000
#define QEMU_TRIES   6
#define QEMU_LIMIT_S 30 /* a boot takes 5 to 10 s there, or never ends */
#define LIMIT_S	     60
#define MEMORY_MIB   128
#define VMS_MAX	     8

struct bench {
	struct report r;
	struct monitor *m;
	char initrd[PLACE_PATH_MAX];
	long runs;
	long qemu_stalls;
};

/* ---- our VMs ---- */

static bool wait_for_line(struct monitor *m, const char *name, uint64_t deadline_ns)
{
	char seen[8192];
	size_t length = 0;
	uint64_t pos = 0;

	seen[0] = '\0';
	while (!strstr(seen, MARK)) {
		ssize_t n;

		if (clock_now_ns() > deadline_ns || length == sizeof seen - 1)
			return false;
		(void)monitor_console_wait(m, name, pos, 1000);
		n = monitor_console_read(m, name, &pos, seen + length, sizeof seen - 1 - length);
		if (n < 0)
			return false;
		for (ssize_t i = 0; i < n; i++)
			if (seen[length + (size_t)i] == '\0')
				seen[length + (size_t)i] = ' ';
		length += (size_t)n;
		seen[length] = '\0';
	}
	return true;
}

static bool start_linux(struct bench *b, const char *name, const char *kernel, const char *cmdline)
{
	return place_vm_start(&b->r, b->m,
			      &(struct place_vm){.name = name,
						 .kernel = kernel,
						 .initrd = b->initrd,
						 .cmdline = cmdline,
						 .vcpus = 1,
						 .memory_mib = MEMORY_MIB}) &&
	       wait_for_line(b->m, name, clock_now_ns() + LIMIT_S * NSEC_PER_SEC);
}

/* ms, or negative. */
static double boot_linux(struct bench *b, const char *kernel)
{
	uint64_t began = clock_now_ns();
	double ms = -1;

	if (start_linux(b, "boot", kernel, CMDLINE))
		ms = (double)(clock_now_ns() - began) / 1e6;
	else
		report_fail(&b->r, "a guest did not come to its init in %d s", LIMIT_S);
	place_vm_end(b->m, "boot");
	return ms;
}

static double boot_nano(struct bench *b, const char *kernel)
{
	uint64_t began = clock_now_ns(), beat = 0, limit = began + 10 * NSEC_PER_SEC;
	struct vm *vm;

	/* One heartbeat, at once; the next one would be due in an hour. */
	if (!place_vm_start(
		&b->r, b->m,
		&(struct place_vm){
		    .name = "boot", .kernel = kernel, .cmdline = "beat_ms=3600000", .vcpus = 1, .memory_mib = 4}))
		return -1;
	vm = place_vm_find(b->m, "boot");
	while (beat == 0 && clock_now_ns() < limit) {
		lock_take(&vm->lock);
		beat = vm->pulse.host_ns;
		lock_drop(&vm->lock);
		if (beat == 0)
			usleep(200);
	}
	vm_unref(vm);
	place_vm_end(b->m, "boot");
	if (beat == 0) {
		report_fail(&b->r, "a nano guest did not send a heartbeat in 10 s");
		return -1;
	}
	return (double)(beat - began) / 1e6;
}

/* ---- boot ---- */

/* QEMU, with its guest at its init. The baseline gets more than one try: what is to be measured is its speed, and a guest
 * of QEMU's that hangs must not end the benchmark. Each failure is told and counted. */
static bool start_qemu(struct bench *b, const struct qemu_config *config, struct qemu *ret, double *ret_ms)
{
	for (int i = 0; i < QEMU_TRIES; i++) {
		uint64_t began = clock_now_ns();
		int r = qemu_start(config, ret);

		if (r >= 0) {
			r = qemu_wait_for(ret, MARK, began + QEMU_LIMIT_S * NSEC_PER_SEC);
			*ret_ms = (double)(clock_now_ns() - began) / 1e6;
			if (r >= 0)
				return true;
			qemu_end(ret);
		}
		b->qemu_stalls++;
		report_say(&b->r, "QEMU microvm did not come to the guest's init (%s), try %d of %d", strerror(-r),
			   i + 1, QEMU_TRIES);
	}
	report_say(&b->r, "no baseline here: QEMU microvm does not boot the guest");
	return false;
}

static double boot_qemu(struct bench *b, const char *kernel)
{
	struct qemu_config config = {
	    .kernel = kernel, .initrd = b->initrd, .cmdline = CMDLINE, .vcpus = 1, .memory_mib = MEMORY_MIB};
	struct qemu q;
	double ms = -1;

	if (start_qemu(b, &config, &q, &ms))
		qemu_end(&q);
	return ms;
}

static void report_boots(struct bench *b, const char *guest, const char *kernel, struct samples *ours,
			 struct samples *theirs)
{
	static const struct bench_stat stats[] = {{"p50", 0.5}, {"max", 1.0}};

	for (size_t i = 0; i < ARRAY_SIZE(stats); i++)
		report_row(&b->r, "boot.to_init", samples_at(ours, stats[i].share), "ms",
			   samples_at(theirs, stats[i].share), theirs->count ? "QEMU microvm with KVM" : NULL,
			   json_pack("{s:s, s:s*, s:s, s:s, s:I}", "guest", guest, "kernel", kernel, "stat",
				     stats[i].name, "carrier", host_carrier_name(b->m->host), "runs",
				     (json_int_t)ours->count));
}

static void linux_boots(struct bench *b, const char *name)
{
	struct samples ours = {0}, theirs = {0};
	char kernel[PLACE_PATH_MAX], file[64];

	(void)snprintf(file, sizeof file, "guests/%s", name);
	place_path(&b->r, kernel, file, "make the guests first (./dev guests)");
	for (long i = -1; i < b->runs && !b->r.failed;
	     i++) { /* the first one of each warms caches and is not counted */
		double mine = boot_linux(b, kernel), other = boot_qemu(b, kernel);

		report_say(&b->r, "%s, boot %ld of %ld: %.0f ms, QEMU microvm %.0f ms%s", name, i + 1, b->runs, mine,
			   other, i < 0 ? " (not counted)" : "");
		if (i < 0)
			continue;
		samples_add(&ours, mine);
		if (other >= 0)
			samples_add(&theirs, other);
	}
	if (!b->r.failed)
		report_boots(b, "linux", name, &ours, &theirs);
	samples_free(&ours);
	samples_free(&theirs);
}

static void nano_boots(struct bench *b, const char *kernel)
{
	struct samples ours = {0}, none = {0};

	for (int i = -1; i < (b->r.quick ? 20 : 200) && !b->r.failed; i++) {
		double ms = boot_nano(b, kernel);

		if (i >= 0)
			samples_add(&ours, ms);
	}
	if (!b->r.failed)
		report_boots(b, "nano", NULL, &ours, &none);
	samples_free(&ours);
}

/* ---- memory ---- */

static double own_memory(struct bench *b)
{
	struct memory_range ranges[VMS_MAX];
	size_t count = 0;

	for (uint32_t i = 0; i < b->m->max_vms && count < VMS_MAX; i++) {
		struct vm *vm = b->m->vms[i];

		if (!vm || !vm->host)
			continue;
		const struct gmem *g = &host_vm_machine(vm->host)->mem;

		ranges[count++] = (struct memory_range){.start = (uint64_t)(uintptr_t)g->host,
							.end = (uint64_t)(uintptr_t)g->host + g->size};
	}
	return memory_of(0, ranges, count, NULL);
}

static double qemu_memory(const struct qemu *q, unsigned count)
{
	double sum = 0;

	for (unsigned i = 0; i < count; i++)
		sum += memory_of(q[i].pid, NULL, 0, QEMU_GUEST_MEMORY);
	return sum;
}

/* By how much count QEMUs grow with each one; no figure from the first one on that does not start. */
static void qemu_growth(struct bench *b, const char *kernel, unsigned count, double *ret)
{
	struct qemu_config config = {.kernel = kernel,
				     .initrd = b->initrd,
				     .cmdline = CMDLINE QUIET,
				     .vcpus = 1,
				     .memory_mib = MEMORY_MIB,
				     .named_memory = true};
	struct qemu q[VMS_MAX];
	unsigned started = 0;
	double before = 0, now, ms;

	while (started < count && start_qemu(b, &config, &q[started], &ms)) {
		started++;
		usleep(SETTLE_US);
		now = qemu_memory(q, started);
		ret[started - 1] = now - before;
		before = now;
	}
	for (unsigned i = 0; i < started; i++)
		qemu_end(&q[i]);
	for (; started < count; started++)
		ret[started] = NO_BASELINE;
}

struct memory_plan {
	const char *guest, *kernel;
	bool nano;
	unsigned count;
	enum carrier_kind carrier;
};

/* How much a fresh monitor grows by each VM. */
static void own_growth(struct bench *b, const struct memory_plan *plan, double *ret)
{
	double before, now;
	char name[16];

	b->m = place_monitor(&b->r, &(struct monitor_config){.carrier = plan->carrier, .max_vms = 16});
	before = own_memory(b);
	for (unsigned i = 0; i < plan->count && !b->r.failed; i++) {
		(void)snprintf(name, sizeof name, "m%u", i + 1);
		if (plan->nano)
			(void)place_vm_start(&b->r, b->m,
					     &(struct place_vm){.name = name,
								.kernel = plan->kernel,
								.cmdline = "period_us=10000",
								.vcpus = 1,
								.memory_mib = 4});
		else if (!start_linux(b, name, plan->kernel, CMDLINE QUIET))
			report_fail(&b->r, "guest %s did not come to its init", name);
		usleep(SETTLE_US);
		now = own_memory(b);
		ret[i] = now - before;
		before = now;
	}
	b->m = monitor_free(b->m);
}

/* In a child of its own: what earlier VMs have left in the heap must not make later ones look cheap. Before this
 * process has threads. */
static bool growth_in_child(struct bench *b, const struct memory_plan *plan, double ret[static VMS_MAX])
{
	int ends[2], status = -1;
	ssize_t n;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		own_growth(b, plan, ret);
		_exit(!b->r.failed && write(ends[1], ret, VMS_MAX * sizeof *ret) > 0 ? 0 : 1);
	}
	close(ends[1]);
	n = pid > 0 ? read(ends[0], ret, VMS_MAX * sizeof *ret) : -1;
	close(ends[0]);
	if (pid > 0)
		waitpid(pid, &status, 0);
	if (n != VMS_MAX * (ssize_t)sizeof *ret || status != 0) {
		report_fail(&b->r, "the memory of %s guests could not be measured", plan->guest);
		return false;
	}
	return true;
}

static void memory_per_vm(struct bench *b, const struct memory_plan *plan, bool with_qemu)
{
	double ours[VMS_MAX] = {0}, theirs[VMS_MAX] = {0};

	if (!growth_in_child(b, plan, ours))
		return;
	if (with_qemu)
		qemu_growth(b, plan->kernel, plan->count, theirs);
	for (unsigned i = 0; i < plan->count; i++)
		report_row(&b->r, "memory.per_vm", ours[i], "MiB", with_qemu ? theirs[i] : NO_BASELINE,
			   with_qemu && !isnan(theirs[i]) ? "QEMU microvm with KVM" : NULL,
			   json_pack("{s:s, s:i}", "guest", plan->guest, "nth", (int)(i + 1)));
}

int main(int argc, char **argv)
{
	struct bench b = {.runs = -1};
	const char *carrier_name = "auto";
	const struct bench_option options[] = {
	    {.name = "runs",
	     .help = "N  boots of each kernel and monitor (default 10, with --quick 2)",
	     .number = &b.runs,
	     .min = 1,
	     .max = 100000},
	    {.name = "carrier", .help = "auto (default), worker or thread", .text = &carrier_name},
	    {.name = NULL},
	};
	static const char *const kernels[] = {"vmlinux", "vmlinuz"};
	char spinner[PLACE_PATH_MAX], waker[PLACE_PATH_MAX], vmlinux[PLACE_PATH_MAX];
	struct probe_result probe;
	struct error e = {0};
	enum carrier_kind carrier;
	uint64_t began;
	int status;

	if (!report_begin(&b.r, argc, argv,
			  "Time from the request for a VM to its init, and the monitor's memory per VM.", options,
			  &status))
		return status;
	if (!place_carrier(&b.r, carrier_name, &carrier))
		return 2;
	if (b.runs < 0)
		b.runs = b.r.quick ? 2 : 10;
	if (probe_host(&probe, &e) < 0) {
		report_fail(&b.r, "%s", e.text);
		return 1;
	}
	place_path(&b.r, spinner, "guest/nano/spinner", "build first (./dev build)");
	place_path(&b.r, waker, "guest/nano/waker", "build first (./dev build)");
	if (probe.runs_linux) {
		place_path(&b.r, b.initrd, "guests/compute.cpio.gz", "make the guests first (./dev guests)");
		place_path(&b.r, vmlinux, "guests/vmlinux", "make the guests first (./dev guests)");
		memory_per_vm(&b,
			      &(struct memory_plan){
				  .guest = "linux", .kernel = vmlinux, .count = b.r.quick ? 2 : 4, .carrier = carrier},
			      true);
	} else {
		report_say(&b.r,
			   "Linux guests do not run at speed here; inside the appliance they do (./dev bench boot)");
	}
	memory_per_vm(
	    &b,
	    &(struct memory_plan){.guest = "nano", .kernel = waker, .nano = true, .count = VMS_MAX, .carrier = carrier},
	    false);
	began = clock_now_ns();
	b.m = place_monitor(&b.r, &(struct monitor_config){.carrier = carrier, .max_vms = 16});
	report_row(&b.r, "boot.monitor_start", (double)(clock_now_ns() - began) / 1e6, "ms", NO_BASELINE, NULL, NULL);
	nano_boots(&b, spinner);
	for (size_t i = 0; i < ARRAY_SIZE(kernels) && probe.runs_linux && !b.r.failed; i++)
		linux_boots(&b, kernels[i]);
	if (probe.runs_linux)
		report_row(&b.r, "boot.baseline_stalls", (double)b.qemu_stalls, "count", NO_BASELINE, NULL, NULL);
	b.m = monitor_free(b.m);
	return report_end(&b.r);
}
