/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu_state.c - bringing a vCPU to power-on, through INIT and through SIPI.
 *
 * KVM has no "reset vCPU" call, so the state of a vCPU just made is read once per machine (all are alike) and written
 * back: registers, events, FPU, debug registers, MSRs. Left out are MSRs whose writing has effects that a reset must
 * not have (TSC: it goes on, and stays the same on all vCPUs).
 */
#include <string.h>
#include <sys/ioctl.h>

#include "machine/msr.h"
#include "machine/private.h"

#define APIC_BASE		 UINT64_C(0xfee00000)
#define APIC_BASE_X2APIC_ENABLED UINT64_C(0xc00)
#define APIC_BASE_BSP		 UINT64_C(0x100)
#define RFLAGS_RESET		 2
#define COMPLETION_MAX		 64 /* exits that completing one instruction may cause before we give up on it */
#define MSRS_MAX		 1024

/* ---- saving ---- */

static bool msr_is_saved(uint32_t index)
{
	switch (index) {
	case MSR_TSC:
	case MSR_TSC_ADJUST:
	case MSR_TSC_DEADLINE:
	case MSR_APIC_BASE:	 /* travels in the sregs */
	case MSR_KVM_WALL_CLOCK: /* writing it writes guest memory */
	case MSR_KVM_WALL_CLOCK_OLD:
		return false;
	default:
		return index < 0x40000000 || index > 0x400001ff; /* Hyper-V's: not offered to the guest */
	}
}

/* KVM_GET_MSRS and KVM_SET_MSRS stop at the first entry that they refuse. Runs over all entries; refused ones are
 * dropped from the table. */
static void msrs_get(int fd, struct kvm_msrs *all, struct kvm_msrs *chunk)
{
	uint32_t from = 0, kept = 0;

	while (from < all->nmsrs) {
		uint32_t n = all->nmsrs - from;
		int done;

		chunk->nmsrs = n;
		memcpy(chunk->entries, &all->entries[from], n * sizeof chunk->entries[0]);
		done = ioctl(fd, KVM_GET_MSRS, chunk);
		if (done < 0)
			done = 0;
		memmove(&all->entries[kept], chunk->entries, (size_t)done * sizeof chunk->entries[0]);
		kept += (uint32_t)done;
		from += (uint32_t)done + 1; /* and over the refused one */
	}
	all->nmsrs = kept;
}

static void msrs_set(int fd, const struct kvm_msrs *all, struct kvm_msrs *chunk)
{
	uint32_t from = 0;

	while (from < all->nmsrs) {
		uint32_t n = all->nmsrs - from;
		int done;

		chunk->nmsrs = n;
		memcpy(chunk->entries, &all->entries[from], n * sizeof chunk->entries[0]);
		done = ioctl(fd, KVM_SET_MSRS, chunk);
		from += (done > 0 ? (uint32_t)done : 0) + 1;
	}
}

static struct kvm_msrs *msrs_new(uint32_t count)
{
	struct kvm_msrs *m = calloc(1, sizeof *m + count * sizeof m->entries[0]);

	if (m)
		m->nmsrs = count;
	return m;
}

static int save_msrs(struct machine *m, struct error *e)
{
	_cleanup_free_ struct kvm_msr_list *list = calloc(1, sizeof *list + MSRS_MAX * sizeof list->indices[0]);
	_cleanup_free_ struct kvm_msrs *chunk = msrs_new(MSRS_MAX);
	struct kvm_msrs *msrs = msrs_new(MSRS_MAX);
	uint32_t n = 0;

	if (!list || !chunk || !msrs) {
		free(msrs);
		return error_set(e, -ENOMEM, "no memory for the MSR table");
	}
	list->nmsrs = MSRS_MAX;
	if (ioctl(m->kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
		list->nmsrs = 0;
	for (uint32_t i = 0; i < list->nmsrs; i++)
		if (msr_is_saved(list->indices[i]))
			msrs->entries[n++].index = list->indices[i];
	msrs->nmsrs = n;
	msrs_get(m->vcpu[0]->fd, msrs, chunk);
	m->poweron.msrs = msrs;
	return 0;
}

static int failed(struct error *e, const char *call)
{
	int r = -errno;

	return error_set(e, r, "%s failed: %s", call, strerror(-r));
}

int poweron_save(struct machine *m, struct error *e)
{
	struct poweron *p = &m->poweron;
	int fd = m->vcpu[0]->fd;

	p->xsave = calloc(1, m->caps.xsave_size);
	if (!p->xsave)
		return error_set(e, -ENOMEM, "no memory for the FPU state");
	if (ioctl(fd, KVM_GET_SREGS, &p->sregs) < 0)
		return failed(e, "KVM_GET_SREGS");
	if (ioctl(fd, KVM_GET_VCPU_EVENTS, &p->events) < 0)
		return failed(e, "KVM_GET_VCPU_EVENTS");
	if (ioctl(fd, m->caps.xsave2 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, p->xsave) < 0)
		return failed(e, "KVM_GET_XSAVE");
	if (ioctl(fd, KVM_GET_XCRS, &p->xcrs) < 0)
		return failed(e, "KVM_GET_XCRS");
	if (ioctl(fd, KVM_GET_DEBUGREGS, &p->debugregs) < 0)
		return failed(e, "KVM_GET_DEBUGREGS");
	return m->entry.kind == MACHINE_BOOT_NANO ? 0 : save_msrs(m, e);
}

void poweron_done(struct poweron *p)
{
	free(p->xsave);
	free(p->msrs);
	*p = (struct poweron){0};
}

/* ---- restoring ---- */

static struct kvm_sregs sregs_for(const struct vcpu *v)
{
	struct kvm_sregs s = v->machine->poweron.sregs;

	s.apic_base = APIC_BASE | APIC_BASE_X2APIC_ENABLED | (v->index == 0 ? APIC_BASE_BSP : 0);
	memset(s.interrupt_bitmap, 0, sizeof s.interrupt_bitmap);
	return s;
}

/* What INIT and a reset have in common: no event, general registers, our own flags. */
static int restore_core(struct vcpu *v, const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
	struct kvm_vcpu_events events = v->machine->poweron.events;
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};

	/* An instruction that KVM has not completed would change the new registers at the next KVM_RUN. */
	if (vcpu_complete_io(v) < 0)
		return -EIO;
	v->run->kvm_dirty_regs = 0;
	v->run->cr8 = 0;
	v->run->request_interrupt_window = 0;
	v->run->ready_for_interrupt_injection = 0;
	v->run->if_flag = 0;
	if (ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events) < 0 || ioctl(v->fd, KVM_SET_SREGS, sregs) < 0 ||
	    ioctl(v->fd, KVM_SET_REGS, regs) < 0)
		return -errno;
	(void)ioctl(v->fd, KVM_SET_MP_STATE, &mp); /* it has no other state without KVM's interrupt chip */
	return 0;
}

int vcpu_power_on(struct vcpu *v, struct error *e)
{
	struct machine *m = v->machine;
	const struct poweron *p = &m->poweron;
	struct kvm_regs regs = {.rip = 0xfff0, .rflags = RFLAGS_RESET};
	struct kvm_sregs sregs = sregs_for(v);
	bool waits = v->index > 0 && m->entry.kind != MACHINE_BOOT_NANO;

	if (p->msrs) {
		_cleanup_free_ struct kvm_msrs *chunk = msrs_new(p->msrs->nmsrs);

		if (!chunk)
			return error_set(e, -ENOMEM, "no memory to reset the vCPU's MSRs");
		msrs_set(v->fd, p->msrs, chunk); /* turns kvmclock off, too: KVM writes into guest memory no more */
	}
	if (!waits)
		boot_enter(&m->entry, v->index, &regs, &sregs);
	if (restore_core(v, &regs, &sregs) < 0)
		return failed(e, "resetting a vCPU's registers");
	if (ioctl(v->fd, KVM_SET_XCRS, &p->xcrs) < 0)
		return failed(e, "KVM_SET_XCRS");
	if (ioctl(v->fd, KVM_SET_XSAVE, p->xsave) < 0)
		return failed(e, "KVM_SET_XSAVE");
	if (ioctl(v->fd, KVM_SET_DEBUGREGS, &p->debugregs) < 0)
		return failed(e, "KVM_SET_DEBUGREGS");

	lapic_reset(&v->lapic);
	atomic_store(&v->lapic.sipi, 0);
	atomic_store(&v->lapic.wait_for_sipi, waits);
	atomic_store(&v->sleep_until, TIME_NEVER);
	atomic_store(&v->event, false);
	atomic_store(&v->sleeps_interruptible, false);
	atomic_store(&v->activity, waits ? WAIT_SIPI : ACTIVE);
	steal_reset(&v->steal, &m->mem);
	pv_eoi_reset(&v->pv_eoi, &m->mem);
	v->run_result = 0;
	v->sleep_request = TIME_NEVER;
	return msr_read_tsc_offset(v) < 0 ? failed(e, "reading the guest's TSC") : 0;
}

int vcpu_complete_io(struct vcpu *v)
{
	for (unsigned i = 0; v->completion_pending && i < COMPLETION_MAX; i++) {
		int r;

		__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		r = ioctl(v->fd, KVM_RUN, 0);
		if (r < 0 && errno == EINTR)
			v->completion_pending = false;
		else if (r < 0)
			return -errno;
		/* r == 0: the next piece of the same instruction; its data is dropped. */
	}
	v->completion_pending = false;
	return 0;
}

int vcpu_init_signal(struct vcpu *v)
{
	struct kvm_regs regs = {.rip = 0xfff0, .rflags = RFLAGS_RESET};
	struct kvm_sregs sregs = sregs_for(v);
	int r;

	r = restore_core(v, &regs, &sregs);
	if (r < 0)
		return r;
	/* In this order a sender of SIPI sees either the INIT that waits or the wait for SIPI. */
	atomic_store(&v->activity, WAIT_SIPI);
	atomic_store(&v->sleep_until, TIME_NEVER);
	atomic_store(&v->lapic.wait_for_sipi, true);
	lapic_reset(&v->lapic);
	return 0;
}

int vcpu_startup(struct vcpu *v, uint8_t vector)
{
	struct kvm_regs regs = {.rip = 0, .rflags = RFLAGS_RESET};
	struct kvm_sregs sregs = sregs_for(v);
	int r;

	sregs.cs.selector = (uint16_t)(vector << 8);
	sregs.cs.base = (uint64_t)vector << 12;
	r = restore_core(v, &regs, &sregs);
	if (r < 0)
		return r;
	atomic_fetch_and(&v->lapic.signals, ~LAPIC_SIGNAL_NMI); /* blocked while it waited */
	atomic_store(&v->lapic.wait_for_sipi, false);
	atomic_store(&v->activity, ACTIVE);
	return 0;
}
