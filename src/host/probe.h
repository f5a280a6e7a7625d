/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - what this machine's KVM is able to do, found out by a short test instead of guessed from names and versions.
 *
 * Some KVMs run user code at full speed but emulate kernel code instruction by instruction: a Linux guest never gets
 * through its boot there, nano guests do. Some charge milliseconds when a vCPU changes threads. A few hundred
 * instructions in a throw-away VM tell.
 */
#ifndef HOST_PROBE_H
#define HOST_PROBE_H

#include "base/base.h"
#include "base/clock.h"

/* Migration above this: each vCPU gets a thread of its own (CARRIER_AUTO), which pays off where moving a vCPU to another
 * thread costs more than a futex hand-over across CPUs. */
#define MIGRATION_DEAR_NS (2 * NSEC_PER_MSEC)

struct probe_result {
	bool kvm_usable;       /* /dev/kvm opens and has what the monitor needs */
	bool runs_linux;       /* ring 0 runs at speed */
	double ring0_ns;       /* one iteration of a ring-0 loop of two instructions */
	double exit_us;	       /* one port-I/O exit and re-entry */
	double migration_us;   /* what a run costs more on another thread than last time; 0 with one CPU */
	double thread_move_us; /* moving a thread to another CPU by its affinity; 0 with one CPU */
	char why[256];	       /* when not usable, or not for Linux: cause and next step */
};

/* Takes some 50 ms, up to 300 ms where migration is dear. 0, or a negative errno when KVM is not usable (ret->why, e). */
int probe_host(struct probe_result *ret, struct error *e);

#endif
