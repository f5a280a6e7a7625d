/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - what a process costs in memory beside the RAM of its guests, from /proc/PID/smaps.
 *
 * Counted is the proportional set size: pages that several processes share (libraries, several QEMUs) count in parts.
 * The kernel's own memory for a VM (page tables, KVM's structures) is in no process's account and is not counted.
 */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <sys/types.h>

#include "base/base.h"

/* A range of this process's addresses that is guest RAM. */
struct memory_range {
	uint64_t start, end;
};

/* MiB of pid (0: this process) without the mappings that overlap a range or whose name contains `without` (may be
 * NULL). Negative when /proc cannot be read. */
double memory_of(pid_t pid, const struct memory_range *ranges, size_t range_count, const char *without);

#endif
