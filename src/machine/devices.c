/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices.c - the virtio devices of a machine: the n-th has a page of the hole below 4 GiB, an input of the I/O APIC,
 * and an LNRO0005 node in the DSDT.
 *
 * Interrupts are edges: the line goes up and down at once. Each batch of answers is an edge of its own, an edge that meets a
 * masked entry is kept by the I/O APIC, and the driver looks at its rings after it has acknowledged: so none is lost.
 *
 * Notifications. A driver says "look at queue n" by writing n to a register. KVM takes that write itself and wakes the I/O
 * thread by the queue's eventfd, so that the vCPU is not even interrupted.
 */
#include <linux/virtio_mmio.h>
#include <sys/ioctl.h>

#include "devices/virtio_console.h"
#include "devices/virtio_mmio.h"
#include "machine/private.h"

#define DEVICE_BASE   UINT64_C(0xd0000000)
#define DEVICE_LINE_0 8 /* below are those of a PC, and the UART's */

_Static_assert(DEVICE_LINE_0 + MACHINE_DEVICES_MAX <= IOAPIC_PINS, "each device has its own line");

static uint64_t base_of(unsigned index)
{
	return DEVICE_BASE + index * VIRTIO_MMIO_SIZE;
}

static void pulse(void *ctx, unsigned line)
{
	struct machine *m = ctx;

	ioapic_set(&m->ioapic, line, true);
	ioapic_set(&m->ioapic, line, false);
}

static void console_output(void *ctx, const void *data, size_t size)
{
	struct machine *m = ctx;

	m->ops->console_out(m->ctx, data, size);
}

int devices_attach(struct machine *m, const struct machine_config *c, struct error *e)
{
	int r = 0;

	if (c->device_count > MACHINE_DEVICES_MAX)
		return error_set(e, -E2BIG, "a VM has at most %d devices, not %u", MACHINE_DEVICES_MAX,
				 c->device_count);
	for (unsigned i = 0; i < c->device_count && r >= 0; i++) {
		if (c->devices[i]->ops->id == VIRTIO_ID_CONSOLE) {
			virtio_console_connect(c->devices[i], console_output, m);
			m->console = c->devices[i];
		}
		m->device[m->device_count++] = c->devices[i]; /* machine_detach_devices unwinds */
		r = virtio_attach(c->devices[i], &m->mem, c->io_loop, pulse, m, DEVICE_LINE_0 + i, e);
		if (r >= 0)
			r = io_register(&m->mmio, base_of(i), VIRTIO_MMIO_SIZE, &virtio_mmio_ops, c->devices[i]);
	}
	return r;
}

void machine_detach_devices(struct machine *m)
{
	m->console = NULL;
	for (; m->device_count > 0; m->device_count--)
		virtio_detach(m->device[m->device_count - 1]);
}

void devices_notify_by_kvm(struct machine *m)
{
	for (unsigned i = 0; i < m->device_count; i++)
		for (unsigned q = 0; q < m->device[i]->ops->queues; q++) {
			struct kvm_ioeventfd n = {
			    .datamatch = q,
			    .addr = base_of(i) + VIRTIO_MMIO_QUEUE_NOTIFY,
			    .len = 4,
			    .fd = m->device[i]->kick[q].source.fd,
			    .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
			};

			if (n.fd >= 0)
				(void)ioctl(m->vm_fd, KVM_IOEVENTFD, &n);
		}
}

void devices_reset(struct machine *m)
{
	for (unsigned i = 0; i < m->device_count; i++)
		virtio_reset_wait(m->device[i]);
}

unsigned devices_places(const struct machine *m, struct acpi_mmio ret[MACHINE_DEVICES_MAX])
{
	for (unsigned i = 0; i < m->device_count; i++)
		ret[i] = (struct acpi_mmio){
		    .base = (uint32_t)base_of(i), .size = (uint32_t)VIRTIO_MMIO_SIZE, .gsi = DEVICE_LINE_0 + i};
	return m->device_count;
}

size_t machine_console_in(struct machine *m, const void *data, size_t size)
{
	if (m->console && virtio_console_used(m->console))
		return virtio_console_input(m->console, data, size);
	return uart_input(&m->uart, data, size);
}

int machine_console_resize(struct machine *m, uint16_t columns, uint16_t rows)
{
	if (!m->console)
		return -ENODEV;
	virtio_console_resize(m->console, columns, rows);
	return 0;
}

int machine_check_devices(struct machine *m, char *why, size_t size)
{
	int r = 0;

	for (unsigned i = 0; i < m->device_count && r == 0; i++)
		r = virtio_check(m->device[i], why, size);
	return r;
}
