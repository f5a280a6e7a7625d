/* SPDX-License-Identifier: Apache-2.0 */
/*
 * qemu.h - QEMU's microvm machine with KVM, the baseline of boot and memory: one process per VM.
 *
 * It gets its leanest machine: no option ROMs, no PIT and PIC, no default devices; ACPI stays, because without it the
 * kernel finds no serial port. The console is the first serial port, on a pipe. It stays on one CPU: in the appliance
 * the kernel's own interrupt controller loses timers of guests now and then, and less often so.
 */
#ifndef BENCH_QEMU_H
#define BENCH_QEMU_H

#include <sys/types.h>

#include "base/base.h"

struct qemu_config {
	const char *kernel, *initrd, *cmdline;
	unsigned vcpus;
	long memory_mib;
	const char *const *more; /* further arguments, NULL at the end; or NULL */
	bool named_memory;	 /* guest RAM is a memfd, so that it can be told apart in /proc */
};
#define QEMU_GUEST_MEMORY "memory-backend-memfd" /* in the name of its mapping */

struct qemu {
	pid_t pid;
	int console;	 /* read end of the pipe */
	char seen[4096]; /* the last of its output */
	size_t length;
};

int qemu_start(const struct qemu_config *config, struct qemu *ret);
/* Reads the console until it holds `mark`. 0, -ETIMEDOUT, or -EPIPE: QEMU ended before. */
int qemu_wait_for(struct qemu *q, const char *mark, uint64_t deadline_ns);
void qemu_end(struct qemu *q);

#endif
