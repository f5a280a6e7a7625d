/* SPDX-License-Identifier: Apache-2.0 */
/*
 * symbols.h - the functions of a loaded image by address, for the report of a fault. A copy, made when the image is
 * loaded, of the names and places of its functions; the file is gone by then. Lookup reads constant memory only.
 */
#ifndef SCHED_LOADER_SYMBOLS_H
#define SCHED_LOADER_SYMBOLS_H

#include "sched/loader/elffile.h"

struct symbols;

/* From .symtab, or from the dynamic symbols when the file is stripped. -ENOMEM. */
int symbols_new(const struct elf *f, struct symbols **ret);
struct symbols *symbols_free(struct symbols *s);

/* The function that holds this offset: its name (lives as long as s) and how far inside. NULL when unknown.
 * Async-signal-safe. */
const char *symbols_find(const struct symbols *s, uint32_t offset, uint32_t *ret_inside);

/* The i-th function, ascending by start; its name, or NULL behind the last one. Offsets as in symbols_find. */
const char *symbols_at(const struct symbols *s, uint32_t i, uint32_t *ret_start, uint32_t *ret_end);

#endif
