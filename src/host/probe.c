/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c - a throw-away VM with one vCPU and a few instructions. See probe.h. */
#include "host/probe.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/clock.h"

#define MEM_BYTES      (2 * MIB)
#define GPA_PML4       0x1000
#define GPA_PDPT       0x2000
#define GPA_PD	       0x3000
#define GPA_CODE       0x4000
#define LOOPS	       2000
#define LOOP_TRIES     5
#define EXITS	       200
#define THREAD_MOVES   20
#define MIGRATIONS     8
#define RING0_LIMIT_NS 200.0 /* emulated: about 2,000; real, even nested under an emulator: below 20 */

struct probe {
	int kvm, vm, vcpu;
	uint8_t *mem;
	struct kvm_run *run;
	size_t run_size;
};

static void probe_close(struct probe *p)
{
	if (p->run && p->run != MAP_FAILED)
		munmap(p->run, p->run_size);
	if (p->mem && p->mem != MAP_FAILED)
		munmap(p->mem, MEM_BYTES);
	p->vcpu = close_fd(p->vcpu);
	p->vm = close_fd(p->vm);
	p->kvm = close_fd(p->kvm);
}

/* mov ecx, LOOPS; 1: dec ecx; jnz 1b; 2: out 0x10, al; jmp 2b */
static const uint8_t code[] = {0xb9, LOOPS & 0xff, LOOPS >> 8, 0, 0, 0xff, 0xc9, 0x75, 0xfc, 0xe6, 0x10, 0xeb, 0xfc};

static void put64(uint8_t *mem, uint64_t at, uint64_t value)
{
	memcpy(mem + at, &value, sizeof value);
}

/* Long mode, ring 0, the first 2 MiB mapped one to one. */
static int set_registers(struct probe *p)
{
	struct kvm_segment cs = {
	    .limit = 0xffffffff, .selector = 0x10, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
	struct kvm_segment ds = {
	    .limit = 0xffffffff, .selector = 0x18, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};
	struct kvm_regs regs = {.rip = GPA_CODE, .rflags = 2, .rsp = MEM_BYTES};
	struct kvm_sregs s;

	if (ioctl(p->vcpu, KVM_GET_SREGS, &s) < 0)
		return -errno;
	s.cs = cs;
	s.ds = s.es = s.fs = s.gs = s.ss = ds;
	s.cr3 = GPA_PML4;
	s.cr4 = 0x20;
	s.cr0 = 0x80000011;
	s.efer = 0x500;
	if (ioctl(p->vcpu, KVM_SET_SREGS, &s) < 0 || ioctl(p->vcpu, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

static int probe_open(struct probe *p, struct error *e)
{
	struct kvm_userspace_memory_region region = {.memory_size = MEM_BYTES};
	int size, r;

	p->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (p->kvm < 0)
		return error_set(e, -errno, "cannot open /dev/kvm: %s; %s", strerror(errno),
				 errno == EACCES ? "add this user to the group kvm, or run as root"
						 : "load the module kvm_amd or kvm_intel, or switch virtualisation on");
	if (ioctl(p->kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return error_set(e, -ENODEV, "/dev/kvm speaks another API version than %d", KVM_API_VERSION);
	p->vm = ioctl(p->kvm, KVM_CREATE_VM, 0);
	p->vcpu = p->vm < 0 ? -1 : ioctl(p->vm, KVM_CREATE_VCPU, 0);
	size = ioctl(p->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (p->vcpu < 0 || size <= 0)
		return error_set(e, -errno, "KVM does not make a VM: %s", strerror(errno));
	p->run_size = (size_t)size;
	p->run = mmap(NULL, p->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, p->vcpu, 0);
	p->mem = mmap(NULL, MEM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->run == MAP_FAILED || p->mem == MAP_FAILED)
		return error_set(e, -ENOMEM, "no memory to probe KVM");
	put64(p->mem, GPA_PML4, GPA_PDPT | 3);
	put64(p->mem, GPA_PDPT, GPA_PD | 3);
	put64(p->mem, GPA_PD, 0x83);
	memcpy(p->mem + GPA_CODE, code, sizeof code);
	region.userspace_addr = (uintptr_t)p->mem;
	if (ioctl(p->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		return error_set(e, -errno, "KVM does not take memory: %s", strerror(errno));
	r = set_registers(p);
	return r < 0 ? error_set(e, r, "KVM does not take registers: %s", strerror(-r)) : 0;
}

/* One stay in the guest until its OUT; its time in ns, or 0 when something else came out. */
static uint64_t one_run(struct probe *p)
{
	uint64_t begin = clock_now_ns();

	while (ioctl(p->vcpu, KVM_RUN, 0) < 0)
		if (errno != EINTR && errno != EAGAIN)
			return 0;
	return p->run->exit_reason == KVM_EXIT_IO ? MAX(clock_now_ns() - begin, UINT64_C(1)) : 0;
}

static bool missing_capability(struct probe *p, struct probe_result *ret)
{
	static const struct {
		int cap;
		const char *name;
	} needed[] = {
	    {KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR"},
	    {KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER"},
	    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
	    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (ioctl(p->kvm, KVM_CHECK_EXTENSION, needed[i].cap) > 0)
			continue;
		snprintf(ret->why, sizeof ret->why, "KVM lacks %s; a kernel from 5.10 on has it", needed[i].name);
		return true;
	}
	return false;
}

/* ---- moving between threads ---- */

struct partner {
	struct probe *probe;
	int cpu;
	sem_t go, done;
	uint64_t ns;
};

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	(void)sched_setaffinity(0, sizeof set, &set);
}

static void *partner_thread(void *ctx)
{
	struct partner *partner = ctx;

	pin(partner->cpu);
	for (int i = 0; i < MIGRATIONS; i++) {
		while (sem_wait(&partner->go) < 0)
			;
		partner->ns = one_run(partner->probe);
		sem_post(&partner->done);
	}
	return NULL;
}

/* ns per run when two threads on two CPUs take turns; 0 when it cannot be measured (one CPU). */
static double alternate(struct probe *p)
{
	struct partner partner = {.probe = p, .cpu = -1};
	cpu_set_t allowed;
	pthread_t thread;
	uint64_t ns = 0;
	int first = -1;

	if (sched_getaffinity(0, sizeof allowed, &allowed) < 0 || CPU_COUNT(&allowed) < 2)
		return 0;
	for (int cpu = 0; cpu < CPU_SETSIZE && partner.cpu < 0; cpu++) {
		if (!CPU_ISSET((size_t)cpu, &allowed))
			continue;
		if (first < 0)
			first = cpu;
		else
			partner.cpu = cpu;
	}
	sem_init(&partner.go, 0, 0);
	sem_init(&partner.done, 0, 0);
	if (pthread_create(&thread, NULL, partner_thread, &partner) != 0)
		return 0;
	pin(first);
	for (int i = 0; i < MIGRATIONS; i++) {
		ns += one_run(p);
		sem_post(&partner.go);
		while (sem_wait(&partner.done) < 0)
			;
		ns += partner.ns;
	}
	pthread_join(thread, NULL);
	(void)sched_setaffinity(0, sizeof allowed, &allowed);
	return (double)ns / (2 * MIGRATIONS);
}

/* us that a thread needs to move itself to another CPU and to be running there. */
static double move_thread(void)
{
	cpu_set_t allowed;
	int cpus[2] = {-1, -1}, n = 0;
	uint64_t begin;

	if (sched_getaffinity(0, sizeof allowed, &allowed) < 0 || CPU_COUNT(&allowed) < 2)
		return 0;
	for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
		if (CPU_ISSET((size_t)cpu, &allowed))
			cpus[n++] = cpu;
	pin(cpus[0]);
	begin = clock_now_ns();
	for (int i = 1; i <= THREAD_MOVES; i++)
		pin(cpus[i & 1]);
	begin = clock_now_ns() - begin;
	(void)sched_setaffinity(0, sizeof allowed, &allowed);
	return (double)begin / 1e3 / THREAD_MOVES;
}

static int measure(struct probe *p, struct probe_result *ret)
{
	uint64_t first = one_run(p), loop, shortest = UINT64_MAX, exits = 0, moved;

	for (int i = 0; i < EXITS; i++)
		exits += one_run(p);
	if (first == 0 || exits == 0) {
		snprintf(ret->why, sizeof ret->why, "KVM does not run a few simple instructions (exit reason %u)",
			 p->run->exit_reason);
		return -ENODEV;
	}
	ret->kvm_usable = true;
	ret->exit_us = (double)exits / EXITS / 1e3;
	/* The loop and one exit. The least of some tries: other work on the machine makes some of them slower, never
	 * faster, and a busy moment must not decide where Linux guests run. The first run had the faults of a cold VM. */
	for (int i = 0; i < LOOP_TRIES && set_registers(p) == 0; i++) {
		loop = one_run(p);
		shortest = MIN(shortest, loop);
	}
	ret->ring0_ns = MAX((double)shortest - (double)exits / EXITS, 0.0) / LOOPS;
	ret->runs_linux = ret->ring0_ns < RING0_LIMIT_NS;
	if (!ret->runs_linux)
		snprintf(
		    ret->why, sizeof ret->why,
		    "this KVM emulates ring 0 (%.0f ns per loop): Linux guests need hardware virtualisation, or the "
		    "appliance (`./dev demo` uses it by itself); nano guests run here",
		    ret->ring0_ns);
	moved = (uint64_t)alternate(p);
	if (moved > 0)
		ret->migration_us = MAX((double)moved / 1e3 - ret->exit_us, 0.0);
	ret->thread_move_us = move_thread();
	return 0;
}

int probe_host(struct probe_result *ret, struct error *e)
{
	struct probe p = {.kvm = -1, .vm = -1, .vcpu = -1};
	struct error why = {0};
	int r;

	*ret = (struct probe_result){0};
	r = probe_open(&p, &why);
	if (r < 0)
		snprintf(ret->why, sizeof ret->why, "%.255s", why.text);
	else
		r = missing_capability(&p, ret) ? -ENODEV : measure(&p, ret);
	probe_close(&p);
	return r < 0 ? error_set(e, r, "%s", ret->why) : 0;
}
