/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton/guest.h - the contract between a guest and the monitor: hypercalls by port I/O. It needs no driver: a root program
 * of a Linux guest calls iopl(3) or ioperm() first, a nano guest just calls.
 *
 * DOORBELL. `out %eax, $BATON_PORT_DOORBELL` (port number in dx) with
 *
 *	rax = number of the call          rbx, rcx, rsi, rdi = arguments 0 .. 3 (unused ones are ignored)
 *
 * On return rax = result (0 or a positive value, or a negative BATON_E*) and rbx = second result. All other registers
 * are kept. An unknown call answers -BATON_ENOSYS, a forbidden one -BATON_EPERM: never silence.
 *
 * MAILBOX. Bulk data goes byte by byte through BATON_PORT_MAILBOX with `rep outsb` and `rep insb` (guest virtual
 * addresses, so no physical address and no driver is needed). Each VM has one mailbox of BATON_MAILBOX_MAX bytes:
 *
 *	BATON_CALL_MAILBOX(0)       empties it; then write the request's text with rep outsb
 *	the call itself             reads the request from the mailbox and leaves its reply there; rbx = length of the reply
 *	rep insb                    reads the reply from its beginning
 *
 * A mailbox belongs to one program at a time; programs of one guest agree among themselves (a lock file).
 *
 * Calls marked [service] are for the service VM alone. Requests and replies of those are JSON text, with the same names
 * as in the control API (docs/control-api.md), so that a request is parsed once and means the same everywhere.
 */
#ifndef BATON_GUEST_H
#define BATON_GUEST_H

#define BATON_PORT_DOORBELL 0xb470
#define BATON_PORT_MAILBOX  0xb474
#define BATON_MAILBOX_MAX   65536

#define BATON_GUEST_MAGIC 0x4e544142 /* "BATN", the answer of BATON_CALL_IDENTIFY */
#define BATON_GUEST_ABI	  1

enum baton_call {
	BATON_CALL_IDENTIFY = 0, /* -> BATON_GUEST_MAGIC; rbx = BATON_GUEST_ABI */
	BATON_CALL_YIELD = 1,	 /* (enum baton_yield): give up the pCPU, stay runnable; seed: "yield the ownership" */
	BATON_CALL_BLOCK = 2,	 /* (ns): sleep that long, or until an event (0 = only an event); -> 0 time, 1 event */
	BATON_CALL_CLOCK = 3,	 /* -> the monitor's clock in ns; rbx = frequency of the guest's TSC in kHz */
	BATON_CALL_HEARTBEAT =
	    4,		       /* (sequence number, guest's own clock in ns, datum): "I am alive"; datum: see below */
	BATON_CALL_FAILED = 5, /* (reason): this guest knows that it has failed */
	BATON_CALL_CONSOLE_WRITE = 6, /* the mailbox's content goes to this VM's console; -> bytes taken */
	BATON_CALL_CONSOLE_READ = 7,  /* console input into the mailbox; -> bytes, 0 when there is none */
	BATON_CALL_PRIORITY = 8,      /* feedback: -> this VM's priority under the active scheduler */
	BATON_CALL_EXIT = 9,	      /* (status): power off this VM */
	BATON_CALL_MAILBOX = 10,      /* empties the mailbox */
	BATON_CALL_WAIT_TIME = 11, /* -> ns this vCPU was runnable but did not run (its steal time), rbx = ns it ran */

	BATON_CALL_SERVICE = 32,      /* calls from here on are [service] */
	BATON_CALL_VM_LIST = 32,      /* -> VMs and their state */
	BATON_CALL_SCHED_STATUS = 33, /* -> attached schedulers, the active one, statistics, the last change */
	BATON_CALL_SCHED_LOAD =
	    34, /* change the scheduler: which, from where, parameters, loading policy; -> its change id */
	BATON_CALL_SCHED_DEFAULT = 35, /* switch back to the default scheduler, images stay loaded */
	BATON_CALL_SCHED_UNLOAD = 36,  /* unload a scheduler; when it is the active one the default takes over first */
	BATON_CALL_SCHED_SET = 37,     /* set a parameter of the pool or a VM */
	BATON_CALL_SCHED_CHANGE = 38,  /* progress and feedback of a change, by its id */
	BATON_CALL_CONSOLE_OWNER = 39, /* change the owner of the console (a switch device) */

	/*
	 * An image that this VM has, in pieces, to be named as "upload:DIGEST" in SCHED_LOAD afterwards. One upload per VM: a
	 * new begin drops the one before. At most 1 MiB.
	 */
	BATON_CALL_UPLOAD_BEGIN = 40, /* {size, digest (SHA-256, hexadecimal)} -> {image, piece_max} */
	BATON_CALL_UPLOAD_PIECE =
	    41,			    /* (bytes sent before): the mailbox's content follows them; -> bytes sent so far; no
				       * reply text. -BATON_EINVAL: not what comes next; -BATON_ESRCH: no upload is begun */
	BATON_CALL_UPLOAD_END = 42, /* -> {image}: all pieces were sent; checks the digest */
};

/* What a vCPU that yields waits for. */
enum baton_yield {
	BATON_YIELD_NOTHING = 0, /* others may go first */
	BATON_YIELD_IO = 1,	 /* a device */
	BATON_YIELD_SPINS = 2,	 /* another vCPU of its VM, which holds a lock: schedulers hear of it (spin) */
};

/*
 * HEARTBEAT's datum means: for a waker, its wake-up latency in ns since the last heartbeat at worst; for a compute guest,
 * units of work done so far. The monitor keeps it, and the longest gap between heartbeats by both clocks.
 */

enum baton_guest_error {
	BATON_EPERM = 1,     /* this VM may not make this call */
	BATON_ESRCH = 3,     /* there is none */
	BATON_EINVAL = 22,   /* an argument is wrong */
	BATON_ENOSYS = 38,   /* no such call */
	BATON_EMSGSIZE = 90, /* request or reply does not fit the mailbox */
	BATON_EAGAIN = 11,   /* busy: try again */
};

#if defined(__x86_64__) && !defined(__ASSEMBLER__)
/* Rings the doorbell. *ret1 (may be NULL) receives the second result. */
static inline long baton_call(long nr, unsigned long a0, unsigned long a1, unsigned long a2, unsigned long a3,
			      unsigned long *ret1)
{
	long rax = nr;
	unsigned long rbx = a0;

	__asm__ volatile("outl %%eax, %%dx"
			 : "+a"(rax), "+b"(rbx)
			 : "c"(a1), "S"(a2), "D"(a3), "d"((unsigned short)BATON_PORT_DOORBELL)
			 : "memory");
	if (ret1)
		*ret1 = rbx;
	return rax;
}

static inline void baton_mailbox_write(const void *data, unsigned long n)
{
	__asm__ volatile("rep outsb" : "+S"(data), "+c"(n) : "d"((unsigned short)BATON_PORT_MAILBOX) : "memory");
}

static inline void baton_mailbox_read(void *data, unsigned long n)
{
	__asm__ volatile("rep insb" : "+D"(data), "+c"(n) : "d"((unsigned short)BATON_PORT_MAILBOX) : "memory");
}
#endif

#endif
