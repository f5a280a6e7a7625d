/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - where a benchmark takes place: a monitor in this very process, the files of the build beside it, and VMs.
 *
 * The benchmarks look into the monitor (monitor/internal.h) on purpose: what they measure is not on any face of it.
 */
#ifndef BENCH_PLACE_H
#define BENCH_PLACE_H

#include "monitor/internal.h"
#include "report.h"

#define PLACE_PATH_MAX 512

/* A file of the build this program belongs to: place_path(buf, "guest/nano/spinner"). Complains and ends the program
 * when it is not there; hint says how to get it. */
const char *place_path(struct report *r, char buf[static PLACE_PATH_MAX], const char *name, const char *hint);

/* A monitor on these host CPUs, ready; complains and ends the program when there is none to be had. */
struct monitor *place_monitor(struct report *r, const struct monitor_config *wishes);

struct place_vm {
	const char *name, *kernel, *initrd, *cmdline;
	unsigned vcpus;
	long memory_mib;
};
/* A VM that runs; false and a complaint when it was refused. */
bool place_vm_start(struct report *r, struct monitor *m, const struct place_vm *vm);
void place_vm_end(struct monitor *m, const char *name);
/* A reference (vm_unref), or NULL. */
struct vm *place_vm_find(struct monitor *m, const char *name);

/* Runs a change to its end; false and a complaint when it was refused. image may be NULL: loaded already. */
bool place_change(struct report *r, struct monitor *m, const char *scheduler, const char *image, enum change_how how,
		  struct change_report *ret);
bool place_unload(struct report *r, struct monitor *m, const char *scheduler);

/* "auto", "worker", "thread"; false and a complaint for another name. */
bool place_carrier(struct report *r, const char *name, enum carrier_kind *ret);

#endif
