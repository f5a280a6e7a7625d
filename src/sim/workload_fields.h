/* SPDX-License-Identifier: Apache-2.0 */
/* workload_fields.h - how a VM is written, for the files that tell of VMs: workloads and recordings. */
#ifndef SIM_WORKLOAD_FIELDS_H
#define SIM_WORKLOAD_FIELDS_H

#include "sim/reader.h"
#include "sim/workload.h"

#define WORKLOAD_VM_FIELDS 15
extern const struct field workload_vm_fields[WORKLOAD_VM_FIELDS];

/* Reads what a VM is, by these fields, affinity included; not what it does. */
int workload_read_vm(const struct reader *r, const json_t *value, const struct place *where, const struct field *fields,
		     size_t count, struct workload_vm *ret);

#endif
