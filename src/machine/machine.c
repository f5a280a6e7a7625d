/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/machine.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "devices/power.h"
#include "machine/cpuid.h"
#include "machine/private.h"

#define LINUX_MEMORY_MIN     (64 * MIB)
#define NANO_MEMORY_MIN	     MIB
#define TSS_ADDRESS	     0xfffbd000 /* Intel's real mode needs three pages of the guest's space; in the hole */
#define IDENTITY_MAP_ADDRESS 0xfffbc000

static void bus_notify(void *ctx, unsigned vcpu, unsigned from)
{
	struct machine *m = ctx;

	m->ops->notify(m->ctx, vcpu, from);
}

static void uart_line(void *ctx, bool level)
{
	struct machine *m = ctx;

	ioapic_set(&m->ioapic, UART_COM1_GSI, level);
}

static void uart_output(void *ctx, const void *data, size_t size)
{
	struct machine *m = ctx;

	m->ops->console_out(m->ctx, data, size);
}

/* ---- making ---- */

static int check_config(const struct machine_config *c, struct error *e)
{
	if (!c->kernel)
		return error_set(e, -EINVAL, "no kernel given");
	if (c->vcpus < 1 || c->vcpus > MACHINE_VCPUS_MAX)
		return error_set(e, -EINVAL, "%u vCPUs are not possible: give 1 to %d", c->vcpus, MACHINE_VCPUS_MAX);
	if (c->cmdline && strlen(c->cmdline) >= MACHINE_CMDLINE_MAX)
		return error_set(e, -E2BIG, "the command line is longer than %d bytes: shorten it",
				 MACHINE_CMDLINE_MAX - 1);
	if (c->mem_bytes < NANO_MEMORY_MIN)
		return error_set(e, -EINVAL, "a VM needs at least %llu MiB of memory",
				 (unsigned long long)(NANO_MEMORY_MIN / MIB));
	return 0;
}

static int open_files(struct machine *m, const struct machine_config *c, struct error *e)
{
	enum machine_boot kind = c->boot;
	int r;

	r = image_file_open(&m->kernel, c->kernel, "kernel", e);
	if (r < 0)
		return r;
	r = image_file_load(&m->kernel, e);
	if (r < 0)
		return r;
	if (kind == MACHINE_BOOT_AUTO) {
		r = boot_detect(&m->kernel, &kind, e);
		if (r < 0)
			return r;
	}
	if (kind != MACHINE_BOOT_NANO && c->mem_bytes < LINUX_MEMORY_MIN)
		return error_set(e, -EINVAL, "a Linux VM needs at least %llu MiB of memory",
				 (unsigned long long)(LINUX_MEMORY_MIN / MIB));
	if (kind == MACHINE_BOOT_NANO && c->initrd)
		return error_set(e, -EINVAL, "a nano guest takes no initrd: leave it out");
	m->boot = kind;
	return c->initrd ? image_file_open(&m->initrd, c->initrd, "initrd", e) : 0;
}

static int load(struct machine *m, struct error *e)
{
	struct acpi_mmio places[MACHINE_DEVICES_MAX];
	struct boot_source s = {.kernel = &m->kernel,
				.initrd = &m->initrd,
				.cmdline = m->cmdline,
				.vcpus = m->vcpus,
				.mmio = places,
				.mmio_count = devices_places(m, places)};
	int r;

	r = image_file_load(&m->kernel, e);
	if (r >= 0)
		r = image_file_load(&m->initrd, e);
	if (r >= 0)
		r = boot_load(&m->mem, m->boot, &s, &m->entry, e);
	image_file_unload(&m->kernel);
	image_file_unload(&m->initrd);
	return r;
}

static int failed(struct error *e, const char *call)
{
	int r = -errno;

	return error_set(e, r, "%s failed: %s", call, strerror(-r));
}

static int make_vm(struct machine *m, struct error *e)
{
	struct gmem_range range[GMEM_RANGES_MAX];
	uint64_t identity = IDENTITY_MAP_ADDRESS;
	struct kvm_enable_cap no_pause_exits = {.cap = KVM_CAP_X86_DISABLE_EXITS,
						.args = {KVM_X86_DISABLE_EXITS_PAUSE}};
	unsigned n;

	m->vm_fd = ioctl(m->kvm_fd, KVM_CREATE_VM, 0);
	if (m->vm_fd < 0)
		return failed(e, "KVM_CREATE_VM");
	n = gmem_ranges(&m->mem, range);
	for (unsigned i = 0; i < n; i++) {
		struct kvm_userspace_memory_region r = {.slot = i,
							.guest_phys_addr = range[i].gpa,
							.memory_size = range[i].size,
							.userspace_addr = (uint64_t)(uintptr_t)range[i].host};

		if (ioctl(m->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) < 0)
			return failed(e, "KVM_SET_USER_MEMORY_REGION");
	}
	/* Both only matter on Intel processors; others refuse them or do not care. */
	(void)ioctl(m->vm_fd, KVM_SET_TSS_ADDR, TSS_ADDRESS);
	(void)ioctl(m->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	/* KVM would answer a pause loop by yielding to another *thread*, which knows nothing of ours: not worth an
	 * exit. */
	(void)ioctl(m->vm_fd, KVM_ENABLE_CAP, &no_pause_exits);
	return msr_filter_install(m, e);
}

static struct vcpu *vcpu_free(struct vcpu *v)
{
	if (!v)
		return NULL;
	if (v->run)
		munmap(v->run, v->machine->caps.run_size);
	close_fd(v->fd);
	free(v);
	return NULL;
}

static int vcpu_new(struct machine *m, unsigned index, struct kvm_cpuid2 *cpuid, struct error *e)
{
	struct vcpu *v = calloc(1, sizeof *v);
	void *p;
	int khz;

	if (!v)
		return error_set(e, -ENOMEM, "no memory for a vCPU");
	m->vcpu[index] = v; /* machine_free unwinds */
	v->machine = m;
	v->index = index;
	v->fd = ioctl(m->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (v->fd < 0)
		return failed(e, "KVM_CREATE_VCPU");
	p = mmap(NULL, m->caps.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (p == MAP_FAILED)
		return failed(e, "mapping a vCPU");
	v->run = p;
	if (ioctl(v->fd, KVM_SET_CPUID2, cpuid) < 0)
		return failed(e, "KVM_SET_CPUID2");
	khz = ioctl(v->fd, KVM_GET_TSC_KHZ, 0);
	if (khz <= 0)
		return error_set(e, -ENODEV,
				 "KVM does not know the frequency of the guest's TSC; check the host's clock source");
	v->clock.tsc_khz = (uint32_t)khz;
	if (m->caps.sync_regs)
		v->run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	lapic_init(&v->lapic, &m->bus, index, &v->clock);
	m->bus.lapic[index] = &v->lapic;
	return 0;
}

static int make_vcpus(struct machine *m, struct error *e)
{
	_cleanup_free_ struct kvm_cpuid2 *supported = NULL;
	_cleanup_free_ struct kvm_cpuid2 *cpuid = cpuid_new();
	int r;

	if (!cpuid)
		return error_set(e, -ENOMEM, "no memory for the CPUID table");
	r = cpuid_supported(m->kvm_fd, &supported, e);
	for (unsigned i = 0; r >= 0 && i < m->vcpus; i++) {
		cpuid_for_vcpu(supported, i, m->vcpus, cpuid);
		r = vcpu_new(m, i, cpuid, e);
	}
	return r;
}

static int register_devices(struct machine *m, struct error *e)
{
	int r;

	r = io_register(&m->mmio, IOAPIC_BASE, IOAPIC_SIZE, &ioapic_io_ops, &m->ioapic);
	if (r >= 0)
		r = io_register(&m->ports, UART_COM1, UART_PORTS, &uart_io_ops, &m->uart);
	if (r >= 0)
		r = power_register(&m->ports);
	return r < 0 ? error_set(e, r, "two devices claim the same address") : 0;
}

static int power_on(struct machine *m, struct error *e)
{
	int r = 0;

	for (unsigned i = 0; r >= 0 && i < m->vcpus; i++)
		r = vcpu_power_on(m->vcpu[i], e);
	return r;
}

static int build(struct machine *m, const struct machine_config *c, struct error *e)
{
	int r;

	r = kvm_caps_check(m->kvm_fd, &m->caps, e);
	if (r < 0)
		return r;
	r = open_files(m, c, e);
	if (r < 0)
		return r;
	r = gmem_init(&m->mem, c->mem_bytes, e);
	if (r < 0)
		return r;
	r = register_devices(m, e);
	if (r < 0)
		return r;
	r = devices_attach(m, c, e);
	if (r < 0)
		return r;
	r = load(m, e);
	if (r < 0)
		return r;
	r = make_vm(m, e);
	if (r < 0)
		return r;
	devices_notify_by_kvm(m);
	r = make_vcpus(m, e);
	if (r < 0)
		return r;
	r = poweron_save(m, e);
	if (r < 0)
		return r;
	return power_on(m, e);
}

int machine_new(int kvm_fd, const struct machine_config *config, const struct machine_ops *ops, void *ctx,
		struct machine **ret, struct error *e)
{
	struct machine *m;
	int r;

	r = check_config(config, e);
	if (r < 0)
		return r;
	m = calloc(1, sizeof *m);
	if (!m)
		return error_set(e, -ENOMEM, "no memory for a VM");
	m->ops = ops;
	m->ctx = ctx;
	m->kvm_fd = kvm_fd;
	m->vm_fd = -1;
	m->vcpus = config->vcpus;
	(void)snprintf(m->cmdline, sizeof m->cmdline, "%s", config->cmdline ? config->cmdline : "");
	m->bus = (struct apic_bus){.count = m->vcpus, .ioapic = &m->ioapic, .notify = bus_notify, .ctx = m};
	ioapic_init(&m->ioapic, &m->bus);
	uart_init(&m->uart, uart_line, uart_output, m);
	mailbox_init(&m->mailbox);
	r = build(m, config, e);
	if (r < 0) {
		machine_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

struct machine *machine_free(struct machine *m)
{
	if (!m)
		return NULL;
	machine_detach_devices(m);
	for (unsigned i = 0; i < MACHINE_VCPUS_MAX; i++)
		m->vcpu[i] = vcpu_free(m->vcpu[i]);
	m->vm_fd = close_fd(m->vm_fd);
	poweron_done(&m->poweron);
	mailbox_done(&m->mailbox);
	uart_done(&m->uart);
	ioapic_done(&m->ioapic);
	gmem_done(&m->mem);
	image_file_done(&m->initrd);
	image_file_done(&m->kernel);
	free(m);
	return NULL;
}

int machine_reset(struct machine *m, struct error *e)
{
	int r;

	/* Instructions that are still to be completed may write guest memory: before it is cleared. */
	for (unsigned i = 0; i < m->vcpus; i++) {
		r = vcpu_complete_io(m->vcpu[i]);
		if (r < 0)
			return error_set(e, r, "a vCPU could not be brought to rest for the reset: %s", strerror(-r));
	}
	devices_reset(m);
	uart_reset(&m->uart);
	ioapic_reset(&m->ioapic);
	mailbox_reset(&m->mailbox);
	atomic_store(&m->exit_status, 0);
	atomic_store(&m->crashed, false);
	m->crash_text[0] = '\0';
	r = gmem_clear(&m->mem);
	if (r < 0)
		return error_set(e, r, "the guest's memory could not be cleared: %s", strerror(-r));
	r = load(m, e);
	if (r < 0)
		return r;
	return power_on(m, e);
}

/* ---- the rest ---- */

struct vcpu *machine_vcpu(struct machine *m, unsigned index)
{
	return index < m->vcpus ? m->vcpu[index] : NULL;
}

enum machine_boot machine_boot_kind(const struct machine *m)
{
	return m->boot;
}

int machine_exit_status(const struct machine *m)
{
	return atomic_load(&m->exit_status);
}

void machine_set_exit_status(struct machine *m, int status)
{
	atomic_store(&m->exit_status, status);
}

const char *machine_crash_text(const struct machine *m)
{
	return m->crash_text;
}
