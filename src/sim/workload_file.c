/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workload_file.c - workloads from JSON text; docs/simulator.md describes it for people. The whole file is read into a
 * workload of its own, which is handed out only when all of it is sound.
 */
#include <stdio.h>
#include <string.h>

#include "sim/reader.h"
#include "sim/workload_fields.h"

#define FILE_MAX   (16 * MIB)
#define PHASES_MAX 1024

static const struct field behaviour_fields_periodic[] = {
    {.name = "kind", .kind = FIELD_OTHER},
    {.name = "run", .kind = FIELD_LENGTH, .offset = offsetof(struct behaviour, run), .required = true},
    {.name = "period", .kind = FIELD_TIME, .offset = offsetof(struct behaviour, period_ns), .required = true},
    {.name = "offset", .kind = FIELD_TIME, .offset = offsetof(struct behaviour, offset_ns)},
    {.name = "for", .kind = FIELD_OTHER},
};
static const struct field behaviour_fields_plain[] = {
    {.name = "kind", .kind = FIELD_OTHER},
    {.name = "for", .kind = FIELD_OTHER},
};
static const struct field behaviour_fields_io[] = {
    {.name = "kind", .kind = FIELD_OTHER},
    {.name = "run", .kind = FIELD_LENGTH, .offset = offsetof(struct behaviour, run), .required = true},
    {.name = "block", .kind = FIELD_LENGTH, .offset = offsetof(struct behaviour, block), .required = true},
    {.name = "poll", .kind = FIELD_TIME, .offset = offsetof(struct behaviour, poll_ns)},
    {.name = "for", .kind = FIELD_OTHER},
};
static const struct field behaviour_fields_bursty[] = {
    {.name = "kind", .kind = FIELD_OTHER},
    {.name = "run", .kind = FIELD_LENGTH, .offset = offsetof(struct behaviour, run), .required = true},
    {.name = "block", .kind = FIELD_LENGTH, .offset = offsetof(struct behaviour, block), .required = true},
    {.name = "burst", .kind = FIELD_LENGTH, .offset = offsetof(struct behaviour, burst), .required = true},
    {.name = "silence", .kind = FIELD_LENGTH, .offset = offsetof(struct behaviour, silence), .required = true},
    {.name = "for", .kind = FIELD_OTHER},
};
static const struct field behaviour_fields_lock[] = {
    {.name = "kind", .kind = FIELD_OTHER},
    {.name = "run", .kind = FIELD_LENGTH, .offset = offsetof(struct behaviour, run), .required = true},
    {.name = "hold", .kind = FIELD_LENGTH, .offset = offsetof(struct behaviour, hold), .required = true},
    {.name = "pause", .kind = FIELD_TIME, .offset = offsetof(struct behaviour, pause_ns)},
    {.name = "lock", .kind = FIELD_U32, .offset = offsetof(struct behaviour, lock), .max = WORKLOAD_LOCKS - 1},
    {.name = "for", .kind = FIELD_OTHER},
};
static const struct field behaviour_fields_phases[] = {
    {.name = "kind", .kind = FIELD_OTHER},
    {.name = "phases", .kind = FIELD_OTHER, .required = true},
    {.name = "repeat", .kind = FIELD_FLAG, .offset = offsetof(struct program, repeat)},
};

static const struct kind {
	const char *name;
	enum behaviour_kind kind;
	const struct field *fields;
	size_t count;
} kinds[] = {
    {"compute", BEHAVIOUR_COMPUTE, behaviour_fields_plain, ARRAY_SIZE(behaviour_fields_plain)},
    {"idle", BEHAVIOUR_IDLE, behaviour_fields_plain, ARRAY_SIZE(behaviour_fields_plain)},
    {"periodic", BEHAVIOUR_PERIODIC, behaviour_fields_periodic, ARRAY_SIZE(behaviour_fields_periodic)},
    {"io", BEHAVIOUR_IO, behaviour_fields_io, ARRAY_SIZE(behaviour_fields_io)},
    {"bursty", BEHAVIOUR_BURSTY, behaviour_fields_bursty, ARRAY_SIZE(behaviour_fields_bursty)},
    {"lock", BEHAVIOUR_LOCK, behaviour_fields_lock, ARRAY_SIZE(behaviour_fields_lock)},
};

/* What a VM is beside what it does; recordings have the same (workload_fields.h). */
const struct field workload_vm_fields[WORKLOAD_VM_FIELDS] = {
    {.name = "name",
     .kind = FIELD_TEXT,
     .offset = offsetof(struct workload_vm, name),
     .min = 1,
     .max = WORKLOAD_NAME_MAX,
     .required = true},
    {.name = "about", .kind = FIELD_ABOUT},
    {.name = "vcpus",
     .kind = FIELD_U32,
     .offset = offsetof(struct workload_vm, vcpus),
     .min = 1,
     .max = WORKLOAD_VCPUS_MAX},
    {.name = "service", .kind = FIELD_FLAG32, .offset = offsetof(struct workload_vm, wishes.service)},
    {.name = "weight",
     .kind = FIELD_U32,
     .offset = offsetof(struct workload_vm, wishes.weight),
     .min = 1,
     .max = 65536},
    {.name = "cap_percent",
     .kind = FIELD_U32,
     .offset = offsetof(struct workload_vm, wishes.cap_percent),
     .max = BATON_PCPUS_MAX * 100},
    {.name = "warp", .kind = FIELD_TIME, .offset = offsetof(struct workload_vm, wishes.warp_ns)},
    {.name = "warp_limit", .kind = FIELD_TIME, .offset = offsetof(struct workload_vm, wishes.warp_limit_ns)},
    {.name = "unwarp", .kind = FIELD_TIME, .offset = offsetof(struct workload_vm, wishes.unwarp_ns)},
    {.name = "budget", .kind = FIELD_TIME, .offset = offsetof(struct workload_vm, wishes.budget_ns)},
    {.name = "period", .kind = FIELD_TIME, .offset = offsetof(struct workload_vm, wishes.period_ns)},
    {.name = "latency", .kind = FIELD_TIME, .offset = offsetof(struct workload_vm, wishes.latency_ns)},
    {.name = "affinity", .kind = FIELD_OTHER},
    {.name = "start", .kind = FIELD_TIME, .offset = offsetof(struct workload_vm, start_ns)},
    {.name = "stop", .kind = FIELD_TIME, .offset = offsetof(struct workload_vm, stop_ns)},
};

static const struct field vm_more_fields[] = {
    {.name = "count",
     .kind = FIELD_U32,
     .offset = offsetof(struct workload_vm, count),
     .min = 1,
     .max = WORKLOAD_VCPUS_MAX},
    {.name = "behaviour", .kind = FIELD_OTHER},
    {.name = "behaviours", .kind = FIELD_OTHER},
};

static const struct field cost_fields[] = {
    {.name = "kick", .kind = FIELD_TIME, .offset = offsetof(struct workload, kick_ns)},
    {.name = "switch", .kind = FIELD_TIME, .offset = offsetof(struct workload, switch_ns)},
    {.name = "migration", .kind = FIELD_TIME, .offset = offsetof(struct workload, migration_ns)},
};

static const struct field workload_fields[] = {
    {.name = "name", .kind = FIELD_TEXT, .offset = offsetof(struct workload, name), .max = WORKLOAD_NAME_MAX},
    {.name = "about", .kind = FIELD_ABOUT},
    {.name = "pcpus",
     .kind = FIELD_U32,
     .offset = offsetof(struct workload, pcpus),
     .min = 1,
     .max = BATON_PCPUS_MAX,
     .required = true},
    {.name = "seed", .kind = FIELD_U64, .offset = offsetof(struct workload, seed), .min = 1, .max = INT64_MAX},
    {.name = "duration", .kind = FIELD_TIME, .offset = offsetof(struct workload, duration_ns), .required = true},
    {.name = "window", .kind = FIELD_TIME, .offset = offsetof(struct workload, window_ns)},
    {.name = "fair_by", .kind = FIELD_OTHER},
    {.name = "slice_min", .kind = FIELD_TIME, .offset = offsetof(struct workload, slice_min_ns)},
    {.name = "slice_max", .kind = FIELD_TIME, .offset = offsetof(struct workload, slice_max_ns)},
    {.name = "costs", .kind = FIELD_OTHER},
    {.name = "vms", .kind = FIELD_OTHER, .required = true},
};

/* ---- behaviours ---- */

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

static int read_behaviour(const struct reader *r, const json_t *value, const struct place *where, struct behaviour *ret)
{
	const char *name = json_string_value(json_object_get(value, "kind"));
	const struct kind *kind = name ? find_kind(name) : NULL;

	*ret = (struct behaviour){0};
	if (!json_is_object(value))
		return reader_fail(r, where, "is not an object: { \"kind\": ... }");
	if (!kind)
		return reader_fail(r, name ? &(struct place){.up = where, .key = "kind"} : where,
				   "%s; there are compute, idle, periodic, io, bursty, lock and phases (phases not "
				   "within phases)",
				   name ? "is no behaviour" : "kind is missing");
	ret->kind = kind->kind;
	return reader_fields(r, value, where, kind->fields, kind->count, ret);
}

static int read_phase(const struct reader *r, const json_t *value, const struct place *where, bool last,
		      struct phase *ret)
{
	const json_t *length = json_object_get(value, "for");
	struct place there = {.up = where, .key = "for"};
	int result = read_behaviour(r, value, where, &ret->does);

	if (result < 0)
		return result;
	ret->for_ns = TIME_NEVER;
	if (!length && last)
		return 0;
	if (!length)
		return reader_fail(r, where, "for is missing: how long this phase lasts, as \"2s\"");
	if (!json_is_string(length) || time_parse(json_string_value(length), &ret->for_ns) < 0 || ret->for_ns == 0)
		return reader_fail(r, &there, "is not a time above 0, as \"2s\"");
	return 0;
}

static int read_phases(const struct reader *r, const json_t *value, const struct place *where, struct program *ret)
{
	const json_t *phases = json_object_get(value, "phases");
	struct place there = {.up = where, .key = "phases"};
	int result = reader_fields(r, value, where, behaviour_fields_phases, ARRAY_SIZE(behaviour_fields_phases), ret);

	if (result < 0)
		return result;
	if (!json_is_array(phases) || json_array_size(phases) < 1 || json_array_size(phases) > PHASES_MAX)
		return reader_fail(r, &there, "is not a list of 1 to %d behaviours", PHASES_MAX);
	ret->count = (uint32_t)json_array_size(phases);
	ret->phases = calloc(ret->count, sizeof *ret->phases);
	if (!ret->phases)
		return error_set(r->e, -ENOMEM, "no memory for %u phases", ret->count);
	for (uint32_t i = 0; i < ret->count && result >= 0; i++)
		result = read_phase(r, json_array_get(phases, i), &(struct place){.up = &there, .index = i},
				    i + 1 == ret->count && !ret->repeat, &ret->phases[i]);
	return result;
}

static int read_program(const struct reader *r, const json_t *value, const struct place *where, struct program *ret)
{
	const char *kind = json_string_value(json_object_get(value, "kind"));

	if (kind && strcmp(kind, "phases") == 0)
		return read_phases(r, value, where, ret);
	if (json_object_get(value, "for"))
		return reader_fail(r, &(struct place){.up = where, .key = "for"}, "belongs to phases only");
	ret->count = 1;
	ret->phases = calloc(1, sizeof *ret->phases);
	if (!ret->phases)
		return error_set(r->e, -ENOMEM, "no memory for a behaviour");
	ret->phases->for_ns = TIME_NEVER;
	return read_behaviour(r, value, where, &ret->phases->does);
}

/* ---- VMs ---- */

int workload_read_vm(const struct reader *r, const json_t *value, const struct place *where, const struct field *fields,
		     size_t count, struct workload_vm *ret)
{
	const json_t *affinity;
	int result;

	*ret = (struct workload_vm){.count = 1, .vcpus = 1};
	result = reader_fields(r, value, where, fields, count, ret);
	if (result < 0)
		return result;
	affinity = json_object_get(value, "affinity");
	ret->pinned = affinity != NULL;
	return affinity ? reader_affinity(r, affinity, &(struct place){.up = where, .key = "affinity"}, ret->affinity)
			: 0;
}

static int read_programs(const struct reader *r, const json_t *value, const struct place *where, struct workload_vm *vm)
{
	const json_t *one = json_object_get(value, "behaviour"), *many = json_object_get(value, "behaviours");
	struct place there = {.up = where, .key = one ? "behaviour" : "behaviours"};
	int result = 0;

	if (!one == !many)
		return reader_fail(r, where, "needs either behaviour, for all its vCPUs, or behaviours, one for each");
	if (many && (!json_is_array(many) || json_array_size(many) != vm->vcpus))
		return reader_fail(r, &there, "is not a list of %u behaviours, one for each vCPU", vm->vcpus);
	vm->program_count = one ? 1 : vm->vcpus;
	vm->programs = calloc(vm->program_count, sizeof *vm->programs);
	if (!vm->programs)
		return error_set(r->e, -ENOMEM, "no memory for the behaviours of VM %s", vm->name);
	if (one)
		return read_program(r, one, &there, &vm->programs[0]);
	for (uint32_t i = 0; i < vm->program_count && result >= 0; i++)
		result = read_program(r, json_array_get(many, i), &(struct place){.up = &there, .index = i},
				      &vm->programs[i]);
	return result;
}

static int read_vm(const struct reader *r, const json_t *value, const struct place *where, struct workload *w)
{
	struct field fields[WORKLOAD_VM_FIELDS + ARRAY_SIZE(vm_more_fields)];
	struct workload_vm vm = {0};
	struct error why = {""};
	int result;

	memcpy(fields, workload_vm_fields, sizeof workload_vm_fields);
	memcpy(fields + WORKLOAD_VM_FIELDS, vm_more_fields, sizeof vm_more_fields);
	result = workload_read_vm(r, value, where, fields, ARRAY_SIZE(fields), &vm);
	if (result >= 0)
		result = read_programs(r, value, where, &vm);
	if (result >= 0) {
		result = workload_add_vm(w, &vm, &why);
		if (result < 0)
			reader_fail(r, where, "%s", why.text);
	}
	for (uint32_t i = 0; vm.programs && i < vm.program_count; i++)
		free(vm.programs[i].phases);
	free(vm.programs);
	return result;
}

/* ---- the whole ---- */

static int read_fair_by(const struct reader *r, const json_t *value, struct workload *w)
{
	const char *text = json_string_value(value);

	w->fair_by_vm = text && strcmp(text, "vm") == 0;
	if (!value || (text && (w->fair_by_vm || strcmp(text, "vcpu") == 0)))
		return 0;
	return reader_fail(r, &(struct place){.key = "fair_by"}, "is neither \"vm\" nor \"vcpu\"");
}

static int read_all(const struct reader *r, const json_t *root, struct workload *w)
{
	const json_t *vms, *costs;
	struct place place_of_vms = {.key = "vms"}, place_of_costs = {.key = "costs"};
	struct error why = {""};
	int result = reader_fields(r, root, NULL, workload_fields, ARRAY_SIZE(workload_fields), w);

	if (result < 0)
		return result;
	costs = json_object_get(root, "costs");
	if (costs)
		result = reader_fields(r, costs, &place_of_costs, cost_fields, ARRAY_SIZE(cost_fields), w);
	if (result >= 0)
		result = read_fair_by(r, json_object_get(root, "fair_by"), w);
	vms = json_object_get(root, "vms");
	if (result >= 0 && (!json_is_array(vms) || json_array_size(vms) == 0))
		result = reader_fail(r, &place_of_vms, "is not a list of at least one VM");
	for (size_t i = 0; result >= 0 && i < json_array_size(vms); i++)
		result = read_vm(r, json_array_get(vms, i), &(struct place){.up = &place_of_vms, .index = i}, w);
	if (result < 0)
		return result;
	result = workload_check(w, &why);
	return result < 0 ? reader_fail(r, NULL, "%s", why.text) : 0;
}

int workload_parse(const char *text, size_t size, const char *name, struct workload **ret, struct error *e)
{
	struct reader r = {.name = name, .text = text, .size = size, .line = 1, .e = e};
	struct workload *w;
	json_error_t wrong;
	json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &wrong);
	int result;

	if (!root)
		return error_set(e, -EINVAL, "%s:%d: %s", name, wrong.line, wrong.text);
	w = workload_new();
	if (!w) {
		json_decref(root);
		return error_set(e, -ENOMEM, "no memory for a workload");
	}
	result = read_all(&r, root, w);
	json_decref(root);
	if (result < 0) {
		workload_free(w);
		return result;
	}
	*ret = w;
	return 0;
}

int workload_load(const char *path, struct workload **ret, struct error *e)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r = file_read(path, FILE_MAX, &text, &size, e);

	return r < 0 ? r : workload_parse(text, size, path, ret, e);
}
