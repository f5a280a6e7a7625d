/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu.c - one entry into the guest: prepare, run, exit.
 *
 * Interrupts are injected one per KVM_RUN. KVM_INTERRUPT silently overwrites an interrupt that is queued and not yet
 * delivered, and `ready_for_interrupt_injection` is only refreshed by KVM_RUN. So after one injection the flag is taken
 * down by hand: until the next KVM_RUN came back nothing is injected, even if the vCPU is put aside in between. When an
 * interrupt cannot be injected now, KVM is asked to exit as soon as it can. A second one that becomes deliverable while
 * the first is still queued is looked at no later than the first one's EOI, which is an exit.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "machine/msr.h"
#include "machine/private.h"

#define MMIO_SIZE_MAX  8
#define RETRY_AFTER_NS (500 * NSEC_PER_USEC)

unsigned vcpu_index(const struct vcpu *v)
{
	return v->index;
}

struct machine *vcpu_machine(const struct vcpu *v)
{
	return v->machine;
}

struct kvm_run *vcpu_kvm_run(const struct vcpu *v)
{
	return v->run;
}

uint32_t vcpu_tsc_khz(const struct vcpu *v)
{
	return v->clock.tsc_khz;
}

enum vcpu_next vcpu_crash(struct vcpu *v, const char *fmt, ...)
{
	struct machine *m = v->machine;
	char reason[CRASH_TEXT_MAX - 16];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(reason, sizeof reason, fmt, ap);
	va_end(ap);
	if (!atomic_exchange(&m->crashed, true))
		(void)snprintf(m->crash_text, sizeof m->crash_text, "vCPU %u: %s", v->index, reason);
	return VCPU_CRASHED;
}

/* ---- prepare ---- */

/* INIT and SIPI, if any. 0, or a negative errno: the VM is lost. */
static int take_signals(struct vcpu *v)
{
	uint32_t sipi;
	int r;

	if (atomic_load(&v->lapic.signals) & LAPIC_SIGNAL_INIT) {
		r = vcpu_init_signal(v);
		if (r < 0)
			return r;
	}
	if (atomic_load(&v->activity) != WAIT_SIPI)
		return 0;
	sipi = atomic_exchange(&v->lapic.sipi, 0);
	return sipi != 0 ? vcpu_startup(v, (uint8_t)sipi) : 0;
}

static int inject(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	int vector;

	if (atomic_load(&v->lapic.signals) & LAPIC_SIGNAL_NMI) {
		atomic_fetch_and(&v->lapic.signals, ~LAPIC_SIGNAL_NMI);
		if (ioctl(v->fd, KVM_NMI) < 0)
			return -errno;
	}
	run->request_interrupt_window = 0;
	vector = lapic_pending(&v->lapic);
	if (vector < 0)
		return 0;
	if (run->ready_for_interrupt_injection && run->if_flag) {
		struct kvm_interrupt irq = {.irq = (uint32_t)vector};

		if (ioctl(v->fd, KVM_INTERRUPT, &irq) < 0)
			return -errno;
		lapic_inject(&v->lapic, (uint8_t)vector);
		run->ready_for_interrupt_injection = 0;
		return 0;
	}
	run->request_interrupt_window = 1;
	return 0;
}

static enum vcpu_next mmio_exit(struct vcpu *v);

enum vcpu_next vcpu_prepare(struct vcpu *v, uint64_t steal_ns)
{
	bool was_blocked, event, stalled;
	enum vcpu_next next;
	int r;

	if (atomic_load(&v->machine->crashed))
		return VCPU_CRASHED;
	/* There is no firmware to go to: INIT of the boot processor is a reset. */
	if (v->index == 0 && atomic_load(&v->lapic.signals) & LAPIC_SIGNAL_INIT)
		return VCPU_RESET;
	r = take_signals(v);
	if (r < 0)
		return vcpu_crash(v, "INIT or SIPI failed: %s", strerror(-r));
	stalled = atomic_load(&v->activity) == STALLED;
	if (!vcpu_try_wake(v, &was_blocked, &event))
		return VCPU_HALT;
	if (stalled) {
		next = mmio_exit(v);
		if (next != VCPU_RESUME)
			return next;
	}
	r = was_blocked ? hypercall_finish_block(v, event) : 0;
	if (r < 0)
		return vcpu_crash(v, "finishing a hypercall failed: %s", strerror(-r));
	steal_update(&v->steal, steal_ns);
	r = inject(v);
	if (r < 0)
		return vcpu_crash(v, "injecting an interrupt failed: %s", strerror(-r));
	pv_eoi_offer(&v->pv_eoi, &v->lapic);
	v->run->cr8 = atomic_load(&v->lapic.tpr) >> 4;
	/* Last: whoever kicks sets a flag of the host's first, and the host looks at it after this. */
	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	return VCPU_RESUME;
}

void vcpu_put_aside(struct vcpu *v)
{
	steal_preempted(&v->steal);
}

/* ---- run ---- */

int vcpu_run(struct vcpu *v)
{
	int r = ioctl(v->fd, KVM_RUN, 0) < 0 ? -errno : 0;
	uint32_t cr8 = (uint32_t)v->run->cr8;

	pv_eoi_collect(&v->pv_eoi, &v->lapic);
	v->completion_pending = false;
	/* MOV to CR8 changes the task priority behind the APIC's back. */
	if (cr8 != atomic_load(&v->lapic.tpr) >> 4)
		atomic_store(&v->lapic.tpr, (cr8 & 0xf) << 4);
	v->run_result = r == -EAGAIN ? -EINTR : r;
	return v->run_result;
}

/* ---- exit ---- */

static uint64_t load_value(const uint8_t *p, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, p, MIN(size, 8u));
	return value;
}

static enum vcpu_next port_exit(struct vcpu *v)
{
	struct machine *m = v->machine;
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned size = run->io.size;
	bool out = run->io.direction == KVM_EXIT_IO_OUT;
	enum vcpu_next next = VCPU_RESUME;

	if (run->io.port == BATON_PORT_DOORBELL && out && size == 4 && run->io.count == 1)
		return hypercall_exit(v);
	if (run->io.port == BATON_PORT_MAILBOX) { /* bytes, or as many at once as the guest likes */
		if (out)
			mailbox_port_write(m, data, (size_t)size * run->io.count);
		else
			mailbox_port_read(m, data, (size_t)size * run->io.count);
		return VCPU_RESUME;
	}
	for (uint32_t i = 0; i < run->io.count && next == VCPU_RESUME; i++, data += size) {
		if (out) {
			next = io_write(&m->ports, run->io.port, size, load_value(data, size));
		} else {
			uint64_t value = io_read(&m->ports, run->io.port, size);

			memcpy(data, &value, size);
		}
	}
	return next;
}

static enum vcpu_next mmio_exit(struct vcpu *v)
{
	struct machine *m = v->machine;
	struct kvm_run *run = v->run;
	unsigned size = MIN(run->mmio.len, (uint32_t)MMIO_SIZE_MAX);
	uint64_t value;

	if (run->mmio.is_write) {
		enum vcpu_next next = io_write(&m->mmio, run->mmio.phys_addr, size, load_value(run->mmio.data, size));

		if (next != VCPU_RETRY)
			return next;
		/* KVM still holds the access: until the next KVM_RUN it can be looked at again. */
		vcpu_fall_asleep(v, STALLED, false, clock_now_ns() + RETRY_AFTER_NS);
		return VCPU_HALT;
	}
	value = io_read(&m->mmio, run->mmio.phys_addr, size);
	memcpy(run->mmio.data, &value, sizeof value);
	return VCPU_RESUME;
}

static enum vcpu_next shutdown_exit(struct vcpu *v)
{
	if (v->machine->entry.kind == MACHINE_BOOT_NANO)
		return vcpu_crash(v, "triple fault");
	return VCPU_RESET;
}

static enum vcpu_next handle_exit(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	enum vcpu_next next = VCPU_RESUME;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		v->completion_pending = true;
		return port_exit(v);
	case KVM_EXIT_MMIO:
		v->completion_pending = true;
		return mmio_exit(v);
	case KVM_EXIT_X86_RDMSR:
		v->completion_pending = true;
		msr_exit_read(v);
		return VCPU_RESUME;
	case KVM_EXIT_X86_WRMSR:
		v->completion_pending = true;
		msr_exit_write(v);
		return VCPU_RESUME;
	case KVM_EXIT_HLT:
		vcpu_fall_asleep(v, HALTED, run->if_flag, TIME_NEVER);
		return VCPU_HALT;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
	case KVM_EXIT_INTR:
		return VCPU_RESUME;
	case KVM_EXIT_SHUTDOWN:
		return shutdown_exit(v);
	case KVM_EXIT_SYSTEM_EVENT:
		next = run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN ? VCPU_POWER_OFF : VCPU_RESET;
		return next;
	case KVM_EXIT_FAIL_ENTRY:
		return vcpu_crash(v, "the processor refused its state (reason %#llx)",
				  (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_INTERNAL_ERROR:
		return vcpu_crash(v, "KVM cannot emulate what it does (internal error %u)", run->internal.suberror);
	default:
		return vcpu_crash(v, "unexpected exit %u", run->exit_reason);
	}
}

enum vcpu_next vcpu_exit(struct vcpu *v)
{
	if (v->run_result == -EINTR)
		return VCPU_RESUME;
	if (v->run_result < 0)
		return vcpu_crash(v, "KVM_RUN failed: %s", strerror(-v->run_result));
	return handle_exit(v);
}

/* ---- report ---- */

static const char *const activity_name[] = {[ACTIVE] = "active",
					    [HALTED] = "halted",
					    [BLOCKED] = "blocked",
					    [WAIT_SIPI] = "waits for SIPI",
					    [STALLED] = "waits for a device"};

size_t vcpu_dump(struct vcpu *v, char *buf, size_t size)
{
	struct kvm_regs r = {0};
	struct kvm_sregs s = {0};
	int n;

	if (size == 0)
		return 0;
	(void)ioctl(v->fd, KVM_GET_REGS, &r);
	(void)ioctl(v->fd, KVM_GET_SREGS, &s);
	n = snprintf(buf, size,
		     "vCPU %u: %s%s, exit %u\n"
		     "rip %016llx rflags %08llx cs %04x cr0 %llx cr3 %llx cr4 %llx efer %llx\n"
		     "rax %016llx rbx %016llx rcx %016llx rdx %016llx\n"
		     "rsi %016llx rdi %016llx rsp %016llx rbp %016llx\n"
		     "r8  %016llx r9  %016llx r10 %016llx r11 %016llx\n"
		     "r12 %016llx r13 %016llx r14 %016llx r15 %016llx\n"
		     "lapic: pending %d ppr %#x lvt timer %#x deadline %" PRIu64 " signals %#x\n",
		     v->index, activity_name[MIN(atomic_load(&v->activity), (uint32_t)STALLED)],
		     atomic_load(&v->sleeps_interruptible) ? "" : " (IF was off)", v->run->exit_reason, r.rip, r.rflags,
		     s.cs.selector, s.cr0, s.cr3, s.cr4, s.efer, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rsp, r.rbp,
		     r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, lapic_pending(&v->lapic),
		     lapic_ppr(&v->lapic), atomic_load(&v->lapic.lvt[LVT_TIMER]), atomic_load(&v->lapic.deadline_ns),
		     atomic_load(&v->lapic.signals));
	return n < 0 ? 0 : MIN((size_t)n, size - 1);
}
