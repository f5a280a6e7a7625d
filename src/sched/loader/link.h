/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - connects an image with the monitor: dynamic symbols, imports, relocations.
 *
 * The same walk is done twice: link_check() before anything is mapped, so that every reason to refuse is found while
 * there is nothing to undo; link_apply() on the copied segments, where nothing can fail any more. Pure functions; any
 * thread.
 */
#ifndef SCHED_LOADER_LINK_H
#define SCHED_LOADER_LINK_H

#include "sched/loader/elffile.h"

/* A function that images may call, and its address. */
struct image_import {
	const char *name;
	uintptr_t address;
};

struct image_imports {
	const struct image_import *list;
	size_t count;
};

/* -ENOEXEC: a symbol or a relocation that the loader does not allow; e names it. */
int link_check(const struct elf *f, const struct image_imports *imports, struct error *e);

/* base: where vaddr 0 of the image lies, with its writable segments copied and writable. f has passed link_check. */
void link_apply(const struct elf *f, const struct image_imports *imports, uint8_t *base);

/* Finds an exported symbol by name; false when there is none. */
bool link_find(const struct elf *f, const char *name, Elf64_Sym *ret);

#endif
