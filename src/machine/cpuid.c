/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/cpuid.h"

#include <string.h>
#include <sys/ioctl.h>

#define BIT(n) (UINT32_C(1) << (n))

/* Leaf 1 */
#define ECX_MONITOR	 BIT(3)
#define ECX_VMX		 BIT(5)
#define ECX_PDCM	 BIT(15)
#define ECX_X2APIC	 BIT(21)
#define ECX_TSC_DEADLINE BIT(24)
#define ECX_HYPERVISOR	 BIT(31)
#define EDX_APIC	 BIT(9)
#define EDX_HTT		 BIT(28)
/* Leaf 7 */
#define EBX_TSC_ADJUST BIT(1)
/* Leaf 0x80000001 */
#define ECX_SVM	    BIT(2)
#define ECX_EXTAPIC BIT(3)
#define ECX_IBS	    BIT(10)
#define ECX_PERFCTR (BIT(23) | BIT(24) | BIT(28))
/* KVM's leaf of features: what works without KVM's interrupt chip or is done by
 * the monitor (steal time, PV EOI); no PV unhalt, no asynchronous page faults */
#define KVM_LEAF_FEATURES      0x40000001
#define KVM_NOP_IO_DELAY       BIT(1)
#define KVM_CLOCKSOURCE2       BIT(3)
#define KVM_STEAL_TIME	       BIT(5)
#define KVM_PV_EOI	       BIT(6)
#define KVM_CLOCKSOURCE_STABLE BIT(24)

#define TOPOLOGY_LEAF	 0x0b
#define TOPOLOGY_LEAF_V2 0x1f
#define TOPOLOGY_SMT	 1
#define TOPOLOGY_CORE	 2

struct kvm_cpuid2 *cpuid_new(void)
{
	return calloc(1, sizeof(struct kvm_cpuid2) + CPUID_ENTRIES_MAX * sizeof(struct kvm_cpuid_entry2));
}

int cpuid_supported(int kvm_fd, struct kvm_cpuid2 **ret, struct error *e)
{
	struct kvm_cpuid2 *c = cpuid_new();

	if (!c)
		return error_set(e, -ENOMEM, "no memory for the CPUID table");
	c->nent = CPUID_ENTRIES_MAX;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, c) < 0) {
		free(c);
		return error_set(e, -ENODEV, "KVM_GET_SUPPORTED_CPUID failed: %m; check /dev/kvm");
	}
	*ret = c;
	return 0;
}

/* Bits of an APIC id that number the cores of the package. */
static unsigned core_bits(unsigned count)
{
	unsigned bits = 0;

	while (BIT(bits) < count)
		bits++;
	return bits;
}

/* Changes one leaf; false leaves it out. */
static bool adapt(struct kvm_cpuid_entry2 *e, unsigned index, unsigned count)
{
	switch (e->function) {
	case 0x1:
		e->ebx = (e->ebx & 0x0000ffff) | count << 16 | index << 24;
		e->ecx &= ~(ECX_MONITOR | ECX_VMX | ECX_PDCM);
		e->ecx |= ECX_X2APIC | ECX_TSC_DEADLINE | ECX_HYPERVISOR;
		e->edx = (e->edx & ~EDX_HTT) | EDX_APIC | (count > 1 ? EDX_HTT : 0);
		return true;
	case 0x4:
		/* Level 1 and 2 caches belong to one core, level 3 to all; cores per package as they are. */
		e->eax &= 0x00003fff;
		e->eax |= (BIT(core_bits(count)) - 1) << 26;
		if ((e->eax >> 5 & 7) >= 3)
			e->eax |= (BIT(core_bits(count)) - 1) << 14;
		return true;
	case 0x5: /* MWAIT */
	case 0xa: /* performance counters: their interrupt goes to the local APIC of KVM */
	case 0x80000022:
		e->eax = e->ebx = e->ecx = e->edx = 0;
		return true;
	case 0x7:
		if (e->index == 0)
			e->ebx &= ~EBX_TSC_ADJUST; /* it would move the TSC behind the back of the timer */
		return true;
	case TOPOLOGY_LEAF:
	case TOPOLOGY_LEAF_V2:
		return false; /* made anew */
	case 0x80000001:
		e->ecx &= ~(ECX_SVM | ECX_EXTAPIC | ECX_IBS | ECX_PERFCTR);
		return true;
	case 0x80000008:
		e->ecx = core_bits(count) << 12 | (count - 1);
		return true;
	case 0x8000000a: /* SVM */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		return true;
	case 0x8000001d:
		e->eax &= 0x00003fff;
		if ((e->eax >> 5 & 7) >= 3)
			e->eax |= (count - 1) << 14;
		return true;
	case 0x8000001e:
		e->eax = index;
		e->ebx = index; /* one thread per core */
		e->ecx = 0;
		return true;
	case KVM_LEAF_FEATURES:
		e->eax = KVM_NOP_IO_DELAY | KVM_CLOCKSOURCE2 | KVM_STEAL_TIME | KVM_PV_EOI | KVM_CLOCKSOURCE_STABLE;
		e->edx = 0;
		return true;
	default:
		return true;
	}
}

static void add_topology(struct kvm_cpuid2 *out, uint32_t leaf, unsigned index, unsigned count)
{
	const struct kvm_cpuid_entry2 level[] = {
	    {.index = 0, .eax = 0, .ebx = 1, .ecx = TOPOLOGY_SMT << 8 | 0},
	    {.index = 1, .eax = core_bits(count), .ebx = count, .ecx = TOPOLOGY_CORE << 8 | 1},
	    {.index = 2, .ecx = 2},
	};

	for (size_t i = 0; i < ARRAY_SIZE(level) && out->nent < CPUID_ENTRIES_MAX; i++) {
		struct kvm_cpuid_entry2 *e = &out->entries[out->nent++];

		*e = level[i];
		e->function = leaf;
		e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		e->edx = index;
	}
}

void cpuid_for_vcpu(const struct kvm_cpuid2 *supported, unsigned index, unsigned count, struct kvm_cpuid2 *out)
{
	uint32_t highest = 0;

	out->nent = 0;
	for (uint32_t i = 0; i < supported->nent && out->nent < CPUID_ENTRIES_MAX; i++) {
		struct kvm_cpuid_entry2 *e = &out->entries[out->nent];

		*e = supported->entries[i];
		if (e->function == 0)
			highest = e->eax;
		if (adapt(e, index, count))
			out->nent++;
	}
	if (highest >= TOPOLOGY_LEAF)
		add_topology(out, TOPOLOGY_LEAF, index, count);
	if (highest >= TOPOLOGY_LEAF_V2)
		add_topology(out, TOPOLOGY_LEAF_V2, index, count);
}
