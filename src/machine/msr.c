/* SPDX-License-Identifier: Apache-2.0 */
/*
 * msr.c - MSRs that the monitor answers: the x2APIC's, the TSC deadline, steal time, paravirtual EOI, and the TSC itself.
 *
 * KVM hands over accesses to MSRs that it refuses (unknown or invalid ones: among them the x2APIC's, as it has no local
 * APIC) and to those in our filter. What is not ours gets #GP, as on hardware; Linux probes many MSRs that way.
 */
#include "machine/msr.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

#include "machine/private.h"

int msr_filter_install(struct machine *m, struct error *e)
{
	/* A range with an all-zero bitmap denies, and a denied access exits to us. */
	static uint8_t deny[1] = {0};
	const uint32_t both = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
	struct kvm_enable_cap cap = {
	    .cap = KVM_CAP_X86_USER_SPACE_MSR,
	    .args = {KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER}};
	struct kvm_msr_filter filter = {
	    .flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
	    .ranges = {
		{.flags = both, .base = MSR_TSC_DEADLINE, .nmsrs = 1, .bitmap = deny},
		{.flags = both, .base = MSR_KVM_STEAL_TIME, .nmsrs = 1, .bitmap = deny},
		{.flags = both, .base = MSR_KVM_PV_EOI, .nmsrs = 1, .bitmap = deny},
		{.flags = KVM_MSR_FILTER_WRITE, .base = MSR_TSC, .nmsrs = 1, .bitmap = deny},
		{.flags = both, .base = MSR_TSC_ADJUST, .nmsrs = 1, .bitmap = deny},
	    }};

	if (ioctl(m->vm_fd, KVM_ENABLE_CAP, &cap) < 0 || ioctl(m->vm_fd, KVM_X86_SET_MSR_FILTER, &filter) < 0) {
		int r = -errno;

		return error_set(e, r, "KVM refused the MSR filter: %s", strerror(-r));
	}
	return 0;
}

static bool is_lapic(uint32_t msr)
{
	return msr == MSR_TSC_DEADLINE || (msr >= LAPIC_MSR_FIRST && msr <= LAPIC_MSR_LAST);
}

/* One MSR in the form that KVM's calls want: a table with one entry. */
struct one_msr {
	_Alignas(struct kvm_msrs) uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

static struct kvm_msrs *one_msr(struct one_msr *m, uint32_t index, uint64_t value)
{
	struct kvm_msrs *table = (struct kvm_msrs *)(void *)m->bytes;

	memset(m, 0, sizeof *m);
	table->nmsrs = 1;
	table->entries[0].index = index;
	table->entries[0].data = value;
	return table;
}

int msr_read_tsc_offset(struct vcpu *v)
{
	struct one_msr m;
	struct kvm_msrs *table = one_msr(&m, MSR_TSC, 0);

	if (ioctl(v->fd, KVM_GET_MSRS, table) != 1)
		return -EIO;
	atomic_store(&v->clock.tsc_offset, table->entries[0].data - __rdtsc());
	return 0;
}

/* The guest sets its TSC: KVM does it, and the timer learns the new offset. */
static bool write_tsc(struct vcpu *v, uint64_t value)
{
	struct one_msr m;

	return ioctl(v->fd, KVM_SET_MSRS, one_msr(&m, MSR_TSC, value)) == 1 && msr_read_tsc_offset(v) == 0;
}

void msr_exit_read(struct vcpu *v)
{
	uint32_t msr = v->run->msr.index;
	uint64_t value = 0;
	bool ok = false;

	if (is_lapic(msr)) {
		ok = lapic_msr_read(&v->lapic, msr, instant_now(), &value);
	} else if (msr == MSR_KVM_STEAL_TIME) {
		value = v->steal.msr;
		ok = true;
	} else if (msr == MSR_KVM_PV_EOI) {
		value = v->pv_eoi.msr;
		ok = true;
	}
	if (!ok)
		log_limited(&v->machine->log_msr, LOG_DEBUG, "vCPU %u reads the unknown MSR %#" PRIx32, v->index, msr);
	v->run->msr.data = value;
	v->run->msr.error = ok ? 0 : 1;
}

void msr_exit_write(struct vcpu *v)
{
	uint32_t msr = v->run->msr.index;
	uint64_t value = v->run->msr.data;
	bool ok = false;

	if (is_lapic(msr))
		ok = lapic_msr_write(&v->lapic, msr, value, instant_now());
	else if (msr == MSR_KVM_STEAL_TIME)
		ok = steal_msr_write(&v->steal, value);
	else if (msr == MSR_KVM_PV_EOI)
		ok = pv_eoi_msr_write(&v->pv_eoi, value);
	else if (msr == MSR_TSC)
		ok = write_tsc(v, value);
	if (!ok)
		log_limited(&v->machine->log_msr, LOG_DEBUG, "vCPU %u writes %#" PRIx64 " to the unknown MSR %#" PRIx32,
			    v->index, value, msr);
	v->run->msr.error = ok ? 0 : 1;
}
