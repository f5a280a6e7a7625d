/* SPDX-License-Identifier: Apache-2.0 */
/*
 * private.h - what the files of the machine share: its two structs and who does what.
 *
 *	machine.c	life, reset			vcpu.c		prepare, run, exit
 *	vcpu_state.c	power-on state, INIT, SIPI	vcpu_sleep.c	what a vCPU waits for, and what wakes it
 *	msr.c		MSR filter and exits		hypercall.c	doorbell and mailbox
 *	devices.c	the virtio devices: addresses, interrupts, notifications
 *
 * Lock order inside one machine: mailbox lock, device locks, I/O APIC lock; `notify` may be called under any of them.
 */
#ifndef MACHINE_PRIVATE_H
#define MACHINE_PRIVATE_H

#include <stdatomic.h>

#include "base/lock.h"
#include "base/log.h"
#include "baton/guest.h"
#include "devices/uart.h"
#include "machine/acpi.h"
#include "machine/apic_bus.h"
#include "machine/boot.h"
#include "machine/gmem.h"
#include "machine/guest_clock.h"
#include "machine/image_file.h"
#include "machine/io.h"
#include "machine/ioapic.h"
#include "machine/kvm_caps.h"
#include "machine/lapic.h"
#include "machine/machine.h"
#include "machine/pv_eoi.h"
#include "machine/steal.h"

#define CRASH_TEXT_MAX 200

/* What a vCPU is doing. Written by its carrier, read by anyone. */
enum activity {
	ACTIVE,	   /* executes, or would if it were resumed */
	HALTED,	   /* HLT */
	BLOCKED,   /* BLOCK hypercall */
	WAIT_SIPI, /* application processor before SIPI */
	STALLED,   /* its last memory access is done again when its time has come (VCPU_RETRY) */
};

/* Value of sleep_until once the time came. */
#define SLEEP_OVER UINT64_C(0)

struct vcpu {
	struct machine *machine;
	unsigned index;
	int fd;
	struct kvm_run *run;
	struct lapic lapic;
	struct guest_clock clock;

	_Atomic uint32_t activity;	   /* enum activity */
	_Atomic bool sleeps_interruptible; /* RFLAGS.IF when it went to sleep */
	_Atomic uint64_t sleep_until;	   /* BLOCK's time, host ns; SLEEP_OVER; TIME_NEVER without one */
	_Atomic bool event;		   /* an event that no BLOCK has returned yet */

	/* The rest belongs to the carrier. */
	int run_result;		 /* of the last KVM_RUN: 0 or negative errno */
	bool completion_pending; /* the last exit is completed by the next KVM_RUN: RIP must not be touched */
	uint64_t sleep_request;	 /* vcpu_sleep's argument during a hypercall */
	struct steal steal;
	struct pv_eoi pv_eoi;
};

/* KVM's idea of a vCPU just made, to go back to. */
struct poweron {
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_xsave *xsave;
	struct kvm_msrs *msrs; /* NULL for nano guests: ring 3 cannot write any */
};

struct mailbox {
	struct lock lock;
	size_t written GUARDED_BY(lock); /* bytes of the request so far */
	size_t read GUARDED_BY(lock);	 /* how far the reply was read */
	size_t reply GUARDED_BY(lock);	 /* bytes of the reply */
	uint8_t data[BATON_MAILBOX_MAX] GUARDED_BY(lock);
};

struct machine {
	const struct machine_ops *ops;
	void *ctx;
	int kvm_fd, vm_fd;
	struct kvm_caps caps;
	unsigned vcpus;
	enum machine_boot boot; /* as configured */
	char cmdline[MACHINE_CMDLINE_MAX];
	struct image_file kernel, initrd;
	struct gmem mem;
	struct boot_entry entry;
	struct poweron poweron;
	struct vcpu *vcpu[MACHINE_VCPUS_MAX];

	struct apic_bus bus;
	struct ioapic ioapic;
	struct io_space ports, mmio;
	struct uart uart;
	struct virtio_device *device[MACHINE_DEVICES_MAX]; /* borrowed */
	unsigned device_count;
	struct virtio_device *console; /* one of them, or NULL */
	struct mailbox mailbox;

	_Atomic int exit_status;
	_Atomic bool crashed;
	char crash_text[CRASH_TEXT_MAX]; /* written once, by whoever sets crashed first */
	struct log_limit log_msr;
};

/* vcpu_state.c */
int poweron_save(struct machine *m, struct error *e);
void poweron_done(struct poweron *p);
/* All of KVM's and our state as at power-on; the vCPU at rest. */
int vcpu_power_on(struct vcpu *v, struct error *e);
/* [carrier] INIT: to wait-for-SIPI. SIPI: to real mode at the vector. Negative errno: the VM is lost. */
int vcpu_init_signal(struct vcpu *v);
int vcpu_startup(struct vcpu *v, uint8_t vector);
/* [carrier] Lets KVM finish the instruction whose exit was handled last, without entering the guest. */
int vcpu_complete_io(struct vcpu *v);

/* vcpu_sleep.c */
void vcpu_fall_asleep(struct vcpu *v, enum activity how, bool interruptible, uint64_t until);
/* [carrier] Does it sleep on? Otherwise it is active now; *ret_event: what ended a BLOCK. */
bool vcpu_try_wake(struct vcpu *v, bool *ret_was_blocked, bool *ret_event);

/* msr.c */
int msr_filter_install(struct machine *m, struct error *e);
void msr_exit_read(struct vcpu *v);
void msr_exit_write(struct vcpu *v);
int msr_read_tsc_offset(struct vcpu *v);

/* hypercall.c */
void mailbox_init(struct mailbox *b);
void mailbox_done(struct mailbox *b);
void mailbox_reset(struct mailbox *b);
void mailbox_port_write(struct machine *m, const uint8_t *data, size_t size);
void mailbox_port_read(struct machine *m, uint8_t *data, size_t size);
enum vcpu_next hypercall_exit(struct vcpu *v);
/* [carrier] The result of a BLOCK that ends now. */
int hypercall_finish_block(struct vcpu *v, bool event);

/* devices.c */
/* Attaches those of the configuration; machine_detach_devices is its opposite, for any number that got so far. */
int devices_attach(struct machine *m, const struct machine_config *c, struct error *e);
/* Has KVM write their notifications to their eventfds, where it can; otherwise writes to the register come as exits. */
void devices_notify_by_kvm(struct machine *m);
void devices_reset(struct machine *m);
/* Where they are, for the ACPI tables; returns how many. */
unsigned devices_places(const struct machine *m, struct acpi_mmio ret[MACHINE_DEVICES_MAX]);

/* vcpu.c */
enum vcpu_next vcpu_crash(struct vcpu *v, const char *fmt, ...) _printf_(2, 3);

#endif
