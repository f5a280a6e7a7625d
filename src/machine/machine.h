/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - the x86 machine that one VM sees, as the host's run loop uses it.
 *
 * A machine is guest memory, vCPUs (KVM file descriptors with a local APIC each), an I/O APIC, a UART, power control and
 * whatever devices were registered. It knows nothing of scheduling: it says what a vCPU wants next (enum vcpu_next), when
 * its next timer is due (vcpu_deadline), and calls `notify` when something became pending for a vCPU.
 *
 * Threads and life. machine_new .. machine_free frame everything. A vCPU is *carried* by at most one thread at a time (the
 * host guarantees it); functions marked [carrier] may be called by that thread only, those marked [any] by every thread
 * at any time between new and free. machine_reset needs all vCPUs at rest (carried by nobody).
 *
 * One entry into the guest, as the host writes it:
 *
 *	next = vcpu_prepare(v, steal_ns);	INIT/SIPI, steal time, interrupt injection; sets run->immediate_exit = 0
 *	if (next == VCPU_RESUME) {
 *		... host: last look at its flags (kick, cease) ...
 *		vcpu_run(v);			KVM_RUN; also returns when the thread got a kick signal
 *		next = vcpu_exit(v);		handles the exit
 *	}
 *
 * Everything that comes from the guest is hostile: no assertion, no unbounded log, no exit of the process is reachable
 * from it; a VM that breaks the rules gets VCPU_CRASHED and loses itself alone.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include <linux/kvm.h>

#include "base/base.h"

#define MACHINE_VCPUS_MAX   8
#define MACHINE_CMDLINE_MAX 2048
#define MACHINE_DEVICES_MAX 16

struct machine;
struct vcpu;
struct virtio_device;
struct io_loop;

/* What a vCPU wants after an exit. */
enum vcpu_next {
	VCPU_RESUME,   /* go on in the guest */
	VCPU_HALT,     /* HLT, a BLOCK hypercall, or waiting for SIPI: sleeps until vcpu_pending() */
	VCPU_YIELD,    /* gave the pCPU up, stays runnable */
	VCPU_YIELD_IO, /* the same, while it waits for a device */
	VCPU_SPIN,     /* waits in a pause loop for another vCPU; stays runnable */
	VCPU_RESET,    /* the VM asked for a reset (reset register, keyboard controller, triple fault): machine_reset */
	VCPU_POWER_OFF, /* the VM switched itself off (exit status in machine_exit_status) */
	VCPU_CRASHED,	/* the VM cannot go on (KVM internal error, unemulatable access); machine_crash_text says why */
};

/* A hypercall's registers: in = number and arguments, out = result (see include/baton/guest.h). */
struct hypercall {
	uint64_t nr;
	uint64_t arg[4];
	int64_t result;
	uint64_t result2;
};

/* Upcalls to whoever owns the machine. ctx is that of machine_new. */
struct machine_ops {
	/* [any] An interrupt, INIT, SIPI or event became pending for this vCPU: wake it or make it exit. May be called
	 * with a device's lock held: must not call back into the machine, except vcpu_pending. from = index of the
	 * vCPU that sent an IPI, or MACHINE_FROM_DEVICE. */
	void (*notify)(void *ctx, unsigned vcpu, unsigned from);
	/* [carrier, I/O thread] Output of the UART, a virtio console or a nano guest. Must not block. */
	void (*console_out)(void *ctx, const void *data, size_t size);
	/* [carrier] A hypercall that the machine does not answer itself (it answers none: all come here). The mailbox is
	 * machine_mailbox(). Returns what the vCPU wants next; for VCPU_HALT with a wake-up time, call vcpu_sleep first. */
	enum vcpu_next (*hypercall)(void *ctx, struct vcpu *v, struct hypercall *call);
};
#define MACHINE_FROM_DEVICE UINT32_MAX

enum machine_boot {
	MACHINE_BOOT_AUTO, /* by the file's magic: bzImage, or ELF with a PVH note, or a nano guest (ELF with a Baton note) */
	MACHINE_BOOT_BZIMAGE,
	MACHINE_BOOT_PVH,
	MACHINE_BOOT_NANO,
};

struct machine_config {
	const char *kernel;  /* file to boot: bzImage, ELF with PVH note, or nano guest */
	const char *initrd;  /* or NULL */
	const char *cmdline; /* or NULL; for a nano guest its arguments */
	enum machine_boot boot;
	unsigned vcpus;	    /* 1 .. MACHINE_VCPUS_MAX */
	uint64_t mem_bytes; /* multiple of 4 KiB; at least 1 MiB for a nano guest, 64 MiB for Linux */
	/* virtio devices (devices/virtio.h), borrowed until machine_free, and the thread that works for them. */
	struct virtio_device *const *devices;
	unsigned device_count;
	struct io_loop *io_loop; /* needed when there are devices */
};

/* Makes the machine, loads the kernel and leaves vCPU 0 ready to run. Errors: -ENOENT, -EINVAL, -ENOEXEC (no kernel, or
 * truncated), -ENOMEM, -E2BIG (kernel or initrd do not fit), -ENODEV (/dev/kvm missing or without a needed capability); e
 * explains. kvm_fd is /dev/kvm, opened by the caller and only borrowed. */
int machine_new(int kvm_fd, const struct machine_config *config, const struct machine_ops *ops, void *ctx,
		struct machine **ret, struct error *e);
struct machine *machine_free(struct machine *m);

/* Back to power-on: memory cleared, kernel loaded again, devices and vCPUs as after machine_new. All vCPUs at rest.
 * -ESTALE when the kernel or initrd was changed in place meanwhile (replaced or deleted files do not matter). On failure
 * only machine_free is left. */
int machine_reset(struct machine *m, struct error *e);

/* The I/O loop must be parked, and no vCPU in the guest: has the devices pass on what they hold of consoles, and checks that
 * each is in a stable state: nothing lost between its rings and its requests in flight. 0, or -EIO with the reason in why. */
int machine_check_devices(struct machine *m, char *why, size_t size);
/* [vCPUs at rest, for good] Waits for requests in flight and lets the devices go: no interrupt comes from them any more.
 * machine_free does it too; whoever takes the vCPUs out of his tables before does it earlier. */
void machine_detach_devices(struct machine *m);

struct vcpu *machine_vcpu(struct machine *m, unsigned index);
/* How it boots: never AUTO. */
enum machine_boot machine_boot_kind(const struct machine *m);
int machine_exit_status(const struct machine *m); /* argument of BATON_CALL_EXIT; 0 */
void machine_set_exit_status(struct machine *m, int status);
const char *machine_crash_text(const struct machine *m); /* "" or one line for people */

/* [any] Console input: for the virtio console if its driver is there, else for the UART. Returns the bytes taken (the rest: offer again later; 4096 fit). Calls notify: not with
 * a lock held that notify takes. */
size_t machine_console_in(struct machine *m, const void *data, size_t size);

/* [any] The size of the virtio console's terminal. -ENODEV: there is none. */
int machine_console_resize(struct machine *m, uint16_t columns, uint16_t rows);

/* [carrier, only inside of ops->hypercall for a call that uses the mailbox: CONSOLE_WRITE, CONSOLE_READ, MAILBOX, and
 * BATON_CALL_SERVICE upwards] The VM's mailbox: `*ret_size` bytes hold the request; after the call the reply. Its content
 * stands still meanwhile: the mailbox lock is held around the upcall (so it must not block). */
uint8_t *machine_mailbox(struct machine *m, size_t *ret_size);
/* [the same] Sets how many bytes the guest reads back (at most BATON_MAILBOX_MAX), from the beginning, and begins a new
 * request: BATON_CALL_MAILBOX is machine_mailbox_reply(m, 0). */
void machine_mailbox_reply(struct machine *m, size_t size);

/* ---- a vCPU, as its carrier uses it ---- */

unsigned vcpu_index(const struct vcpu *v);
struct machine *vcpu_machine(const struct vcpu *v);
struct kvm_run *vcpu_kvm_run(const struct vcpu *v);
uint32_t vcpu_tsc_khz(const struct vcpu *v);

/* [carrier] See above. VCPU_RESUME: enter; VCPU_HALT: nothing to run for (waits for SIPI, or sleeps without anything
 * pending); VCPU_RESET (INIT reached vCPU 0) and VCPU_CRASHED (this or another vCPU lost the VM) as after an
 * exit. steal_ns: total time it was runnable without running; shown to the guest when it asked for steal time. */
enum vcpu_next vcpu_prepare(struct vcpu *v, uint64_t steal_ns);
/* [carrier] 0 after an exit, -EINTR when interrupted before or in the guest; another negative errno: VM is lost. */
int vcpu_run(struct vcpu *v);
enum vcpu_next vcpu_exit(struct vcpu *v);

/* [carrier] It is taken off its pCPU although it could run on: shown to the guest with its steal time ("preempted"), so
 * that its other vCPUs do not spin for this one. Optional; vcpu_prepare takes it back. */
void vcpu_put_aside(struct vcpu *v);

/* [any] Would it run if it were resumed now: something deliverable is pending (interrupt, INIT+SIPI, event)? */
/* Always true for one that does not sleep. */
bool vcpu_pending(const struct vcpu *v);

/* [any] When its next timer (local APIC, BLOCK hypercall) is due, host CLOCK_MONOTONIC ns; TIME_NEVER without one. */
uint64_t vcpu_deadline(const struct vcpu *v);
/* [any] Fires what is due at now (each timer at most once). The caller then looks at vcpu_pending. Does not call notify. */
void vcpu_fire_timers(struct vcpu *v, uint64_t now);

/* [carrier] From a hypercall: wake it at `until` (TIME_NEVER: only by an event). The hypercall then returns VCPU_HALT;
 * its result is 0 when the time came, 1 when an event woke it (or an interrupt, in a Linux guest). */
void vcpu_sleep(struct vcpu *v, uint64_t until);
/* [any] An event for a vCPU that sleeps in BLOCK (console input, ...). Calls notify. */
void vcpu_event(struct vcpu *v);

/* [carrier or at rest] Registers as text for reports; returns its length (cut to size). */
size_t vcpu_dump(struct vcpu *v, char *buf, size_t size);

#endif
