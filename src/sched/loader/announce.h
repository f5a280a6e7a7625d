/* SPDX-License-Identifier: Apache-2.0 */
/*
 * announce.h - tells debuggers and profilers of the functions of loaded images.
 *
 * gdb looks for two symbols in the program (its JIT interface): a function that is called when something is loaded or
 * unloaded, on which it sets a breakpoint, and a list of ELF files in memory, here one small file per image with a symbol per
 * function. perf reads /tmp/perf-PID.map, which is written only when announce_perf_map() was called: the name is fixed and
 * the directory is everybody's.
 *
 * Both are by their nature of the process, not of a pool: this is the one mutable state at file scope.
 *
 * Threads: any; one lock inside.
 */
#ifndef SCHED_LOADER_ANNOUNCE_H
#define SCHED_LOADER_ANNOUNCE_H

#include "sched/loader/symbols.h"

struct announcement;

/* An image of size bytes at base. name is shown in front of its functions by perf. -ENOMEM. */
int announce_add(const char *name, const void *base, size_t size, const struct symbols *symbols,
		 struct announcement **ret);
/* Before the memory goes. NULL is allowed; returns NULL. */
struct announcement *announce_remove(struct announcement *a);

/* From now on the functions of all images are kept in /tmp/perf-PID.map. -errno, with cause in e. */
int announce_perf_map(struct error *e);

#endif
