/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - is a struct baton_scheduler sound? Asked once for every scheduler, when it is loaded (image.c) or, for one
 * that is linked into the program, when it is made known; never again at a call. Pure functions; any thread.
 */
#ifndef SCHED_LOADER_TABLE_H
#define SCHED_LOADER_TABLE_H

#include "base/base.h"
#include "baton/scheduler.h"

/* Addresses at which a loaded image may keep things. */
struct table_range {
	uintptr_t start, end; /* [start, end) */
	bool exec;
};

struct table_bounds {
	const struct table_range *range;
	size_t count;
};

#define TABLE_POOL_STATE_MAX (16 * MIB)
#define TABLE_VCPU_STATE_MAX (4 * KIB)
#define TABLE_VM_STATE_MAX   (4 * KIB)

/*
 * The first words of a table: magic, ABI version and size, which say whether the rest can be read at all.
 * -ENOEXEC, -EPROTONOSUPPORT (another ABI version; e names both).
 */
int table_check_head(uint32_t magic, uint32_t abi, uint32_t size, const char *source, struct error *e);

/*
 * Everything else: names, ops, parameters, sizes. With bounds, functions must lie in an executable range and the
 * parameters in one range; NULL for a scheduler that is part of the program. -EINVAL; e says what is wrong.
 */
int table_check(const struct baton_scheduler *s, const struct table_bounds *bounds, const char *source,
		struct error *e);

/*
 * A parameter of BATON_SCOPE_VM is named exactly like the field of struct baton_vm that holds it (weight, cap_percent,
 * warp_ns, warp_limit_ns, unwarp_ns, budget_ns, period_ns, latency_ns). Sets or reads that field; -ENOENT when there is
 * no such field, -ERANGE when it cannot hold the value.
 */
int table_vm_field_set(struct baton_vm *vm, const char *name, int64_t value);
int table_vm_field_get(const struct baton_vm *vm, const char *name, int64_t *ret);

#endif
