/* SPDX-License-Identifier: Apache-2.0 */
/* kvm_caps.h - what the machine needs of KVM, and what it uses where it is there. */
#ifndef MACHINE_KVM_CAPS_H
#define MACHINE_KVM_CAPS_H

#include "base/base.h"

struct kvm_caps {
	size_t run_size;   /* bytes of the mapping of a vCPU */
	size_t xsave_size; /* bytes of KVM_GET_XSAVE(2) */
	bool xsave2;
	bool sync_regs; /* registers travel in struct kvm_run */
};

/* -ENODEV with the missing capability's name when something necessary is not there. */
int kvm_caps_check(int kvm_fd, struct kvm_caps *ret, struct error *e);

#endif
