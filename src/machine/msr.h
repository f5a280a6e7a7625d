/* SPDX-License-Identifier: Apache-2.0 */
/* msr.h - numbers of the MSRs that the machine knows by name. */
#ifndef MACHINE_MSR_H
#define MACHINE_MSR_H

#define MSR_TSC		       0x10
#define MSR_KVM_WALL_CLOCK_OLD 0x11
#define MSR_APIC_BASE	       0x1b
#define MSR_TSC_ADJUST	       0x3b
#define MSR_KVM_WALL_CLOCK     0x4b564d00

#endif
