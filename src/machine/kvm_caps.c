/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/kvm_caps.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>

static const struct {
	int cap;
	const char *name, *why;
} needed[] = {
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "guest memory"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "kicks that cannot be lost"},
    {KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR", "local APICs in the monitor (Linux 5.10)"},
    {KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER", "guest timers in the monitor (Linux 5.10)"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "CPUID"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", "resets"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE", "resets"},
    {KVM_CAP_XCRS, "KVM_CAP_XCRS", "resets"},
    {KVM_CAP_USER_NMI, "KVM_CAP_USER_NMI", "non-maskable interrupts"},
    {KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ", "guest timers"},
};

static int check(int fd, int cap)
{
	return ioctl(fd, KVM_CHECK_EXTENSION, cap);
}

int kvm_caps_check(int kvm_fd, struct kvm_caps *ret, struct error *e)
{
	int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);
	int run_size, xsave2;

	if (version != KVM_API_VERSION)
		return error_set(e, -ENODEV, "this is no usable KVM (API version %d, not %d); check /dev/kvm", version,
				 KVM_API_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (check(kvm_fd, needed[i].cap) <= 0)
			return error_set(e, -ENODEV, "this KVM lacks %s, needed for %s: use Linux 5.10 or later",
					 needed[i].name, needed[i].why);
	run_size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_size < (int)sizeof(struct kvm_run))
		return error_set(e, -ENODEV, "KVM_GET_VCPU_MMAP_SIZE failed; check /dev/kvm");
	xsave2 = check(kvm_fd, KVM_CAP_XSAVE2);
	*ret = (struct kvm_caps){
	    .run_size = (size_t)run_size,
	    .xsave_size = MAX(sizeof(struct kvm_xsave), xsave2 > 0 ? (size_t)xsave2 : 0),
	    .xsave2 = xsave2 > 0,
	    .sync_regs =
		check(kvm_fd, KVM_CAP_SYNC_REGS) > 0 && (check(kvm_fd, KVM_CAP_SYNC_REGS) & KVM_SYNC_X86_REGS) != 0,
	};
	return 0;
}
