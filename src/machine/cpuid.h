/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid.h - what a vCPU says about itself: the host's CPUID as KVM offers it, less what needs KVM's interrupt chip or
 * is not emulated, plus the x2APIC, the TSC-deadline timer, the topology (one core per vCPU) and KVM's paravirtual
 * leaves.
 */
#ifndef MACHINE_CPUID_H
#define MACHINE_CPUID_H

#include <linux/kvm.h>

#include "base/base.h"

#define CPUID_ENTRIES_MAX 256

/* The host's offer. *ret is allocated. Errors: -ENOMEM, -ENODEV. */
int cpuid_supported(int kvm_fd, struct kvm_cpuid2 **ret, struct error *e);

/* Turns the offer into that of vCPU `index` of `count`: out has room for CPUID_ENTRIES_MAX entries. */
void cpuid_for_vcpu(const struct kvm_cpuid2 *supported, unsigned index, unsigned count, struct kvm_cpuid2 *out);

/* A zeroed table with room for CPUID_ENTRIES_MAX entries, or NULL. */
struct kvm_cpuid2 *cpuid_new(void);

#endif
