/* SPDX-License-Identifier: Apache-2.0 */
/* recording.c - the reader of recordings. Demands are collected as they come, then sorted by vCPU (they keep their order). */
#include "sim/recording.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sim/workload_fields.h"

struct line_of_demand {
	uint32_t vcpu;
	struct demand demand;
};

struct recording {
	struct workload *w;
	uint32_t vcpus; /* of the VMs so far */
	struct line_of_demand *lines;
	size_t count, room;
	uint64_t *last_at_ns; /* per vCPU; made with the first demand */
	bool begun, ended;
};

struct header {
	uint32_t version, pcpus;
	uint64_t duration_ns;
	char name[WORKLOAD_NAME_MAX];
};

static const struct field header_fields[] = {
    {.name = "baton_recording",
     .kind = FIELD_U32,
     .offset = offsetof(struct header, version),
     .max = UINT32_MAX,
     .required = true},
    {.name = "pcpus",
     .kind = FIELD_U32,
     .offset = offsetof(struct header, pcpus),
     .min = 1,
     .max = BATON_PCPUS_MAX,
     .required = true},
    {.name = "duration", .kind = FIELD_TIME, .offset = offsetof(struct header, duration_ns), .required = true},
    {.name = "name", .kind = FIELD_TEXT, .offset = offsetof(struct header, name), .max = WORKLOAD_NAME_MAX},
    {.name = "about", .kind = FIELD_ABOUT},
};

static int read_header(const struct reader *r, const json_t *value, struct recording *rec)
{
	struct header h = {.name = "recording"};
	int result;

	if (!json_object_get(value, "baton_recording"))
		return reader_fail(r, NULL, "is no recording: the first line must be {\"baton_recording\": %d, ...}",
				   RECORDING_VERSION);
	result = reader_fields(r, value, NULL, header_fields, ARRAY_SIZE(header_fields), &h);
	if (result < 0)
		return result;
	if (h.version != RECORDING_VERSION)
		return reader_fail(r, &(struct place){.key = "baton_recording"},
				   "is version %u; this reader knows version %d", h.version, RECORDING_VERSION);
	if (h.duration_ns == 0)
		return reader_fail(r, &(struct place){.key = "duration"}, "must be above 0");
	rec->w->pcpus = h.pcpus;
	rec->w->duration_ns = h.duration_ns;
	memcpy(rec->w->name, h.name, sizeof h.name);
	rec->begun = true;
	return 0;
}

static int read_vm(const struct reader *r, const json_t *value, struct recording *rec)
{
	struct phase phase;
	struct program program = program_of(&phase, &(struct behaviour){.kind = BEHAVIOUR_REPLAY});
	struct workload_vm vm;
	struct error why = {""};
	int result;

	if (rec->count > 0)
		return reader_fail(r, NULL, "a VM must stand before the first demand");
	result = workload_read_vm(r, value, NULL, workload_vm_fields, WORKLOAD_VM_FIELDS, &vm);
	if (result < 0)
		return result;
	if (vm.vcpus > WORKLOAD_VCPUS_MAX - rec->vcpus)
		return reader_fail(r, NULL, "there are more than %u vCPUs", WORKLOAD_VCPUS_MAX);
	vm.programs = calloc(vm.vcpus, sizeof *vm.programs);
	if (!vm.programs)
		return error_set(r->e, -ENOMEM, "no memory for VM %s", vm.name);
	vm.program_count = vm.vcpus;
	for (uint32_t i = 0; i < vm.vcpus; i++)
		vm.programs[i] = program;
	result = workload_add_vm(rec->w, &vm, &why);
	free(vm.programs);
	if (result < 0)
		return reader_fail(r, NULL, "%s", why.text);
	rec->vcpus += vm.vcpus;
	return 0;
}

/* A whole number at `index`, 0 .. max. */
static int read_number(const struct reader *r, const json_t *value, size_t index, uint64_t max, uint64_t *ret)
{
	const json_t *number = json_array_get(value, index);

	if (!json_is_integer(number) || json_integer_value(number) < 0 || (uint64_t)json_integer_value(number) > max)
		return reader_fail(r, &(struct place){.index = index}, "is not a whole number from 0 to %" PRIu64, max);
	*ret = (uint64_t)json_integer_value(number);
	return 0;
}

/* Which of the words stands at `index`? */
static int read_word(const struct reader *r, const json_t *value, size_t index, const char *const words[], size_t count,
		     const char *all, uint32_t *ret)
{
	const char *text = json_string_value(json_array_get(value, index));

	for (size_t i = 0; text && i < count; i++)
		if (strcmp(text, words[i]) == 0) {
			*ret = (uint32_t)i;
			return 0;
		}
	return reader_fail(r, &(struct place){.index = index}, "is none of %s", all);
}

static int add(const struct reader *r, struct recording *rec, uint32_t vcpu, const struct demand *demand)
{
	if (!rec->last_at_ns)
		rec->last_at_ns = calloc(rec->vcpus, sizeof *rec->last_at_ns);
	if (rec->count == rec->room) {
		size_t room = MAX(2 * rec->room, (size_t)1024);
		struct line_of_demand *more = reallocarray(rec->lines, room, sizeof *more);

		if (!more)
			return error_set(r->e, -ENOMEM, "no memory for %zu demands", room);
		rec->lines = more;
		rec->room = room;
	}
	if (!rec->last_at_ns)
		return error_set(r->e, -ENOMEM, "no memory for %u vCPUs", rec->vcpus);
	if (!demand->after) {
		if (demand->time_ns < rec->last_at_ns[vcpu])
			return reader_fail(r, &(struct place){.index = 2}, "is before the vCPU's demand before");
		rec->last_at_ns[vcpu] = demand->time_ns;
	}
	rec->lines[rec->count++] = (struct line_of_demand){.vcpu = vcpu, .demand = *demand};
	return 0;
}

static int read_demand(const struct reader *r, const json_t *value, struct recording *rec)
{
	static const char *const when[] = {"at", "after"}, *const ends[] = {"halt", "yield", "io"};
	uint64_t vcpu = 0, run_ns = 0;
	struct demand d = {0};
	int result;

	if (json_array_size(value) != 5)
		return reader_fail(r, NULL, "a demand has five elements: [vCPU, \"at\" or \"after\", ns, run ns, end]");
	if (rec->vcpus == 0)
		return reader_fail(r, NULL, "there is no VM before this demand");
	if (rec->count == RECORDING_DEMANDS_MAX)
		return reader_fail(r, NULL, "there are more than %u demands", RECORDING_DEMANDS_MAX);
	result = read_number(r, value, 0, rec->vcpus - 1, &vcpu);
	if (result >= 0)
		result = read_word(r, value, 1, when, ARRAY_SIZE(when), "\"at\", \"after\"", &d.after);
	if (result >= 0)
		result = read_number(r, value, 2, WORKLOAD_DURATION_MAX, &d.time_ns);
	if (result >= 0)
		result = read_number(r, value, 3, WORKLOAD_DURATION_MAX, &run_ns);
	if (result >= 0 && run_ns == 0)
		result = reader_fail(r, &(struct place){.index = 3}, "must be above 0: who wakes runs");
	if (result >= 0)
		result = read_word(r, value, 4, ends, ARRAY_SIZE(ends), "\"halt\", \"yield\", \"io\"", &d.end);
	d.run_ns = run_ns;
	return result < 0 ? result : add(r, rec, (uint32_t)vcpu, &d);
}

static int read_end(const struct reader *r, const json_t *value, struct recording *rec)
{
	const json_t *end = json_object_get(value, "end");

	if (json_object_size(value) != 1 || !json_is_integer(end))
		return reader_fail(r, NULL, "the last line must be {\"end\": number of demands}");
	if (json_integer_value(end) != (json_int_t)rec->count)
		return reader_fail(r, NULL,
				   "%zu demands were read, the recording had %" JSON_INTEGER_FORMAT ": it is damaged",
				   rec->count, json_integer_value(end));
	rec->ended = true;
	return 0;
}

static int read_line(const struct reader *r, struct recording *rec)
{
	json_error_t wrong;
	json_t *value = json_loadb(r->text, r->size, JSON_REJECT_DUPLICATES, &wrong);
	int result;

	if (!value)
		return error_set(r->e, -EINVAL, "%s:%u: %s", r->name, r->line, wrong.text);
	if (rec->ended)
		result = reader_fail(r, NULL, "something follows the end");
	else if (!rec->begun)
		result = read_header(r, value, rec);
	else if (json_is_array(value))
		result = read_demand(r, value, rec);
	else if (json_object_get(value, "end"))
		result = read_end(r, value, rec);
	else
		result = read_vm(r, value, rec);
	json_decref(value);
	return result;
}

/* All demands of vCPU 0, then all of vCPU 1, ...: into the workload, each program its part. */
static int hand_out(struct recording *rec, struct error *e)
{
	struct workload *w = rec->w;
	_cleanup_free_ size_t *next = calloc((size_t)rec->vcpus + 1, sizeof *next);
	uint32_t vcpu = 0;

	w->demands = calloc(MAX(rec->count, (size_t)1), sizeof *w->demands);
	if (!next || !w->demands)
		return error_set(e, -ENOMEM, "no memory for %zu demands", rec->count);
	for (size_t i = 0; i < rec->count; i++)
		next[rec->lines[i].vcpu + 1]++;
	for (uint32_t n = 0; n < w->vm_count; n++)
		for (uint32_t i = 0; i < w->vms[n].vcpus; i++, vcpu++) {
			struct behaviour *b = &w->vms[n].programs[i].phases[0].does;

			b->demand_count = next[vcpu + 1];
			next[vcpu + 1] += next[vcpu];
			b->demands = w->demands + next[vcpu];
		}
	for (size_t i = 0; i < rec->count; i++)
		w->demands[next[rec->lines[i].vcpu]++] = rec->lines[i].demand;
	return 0;
}

static int read_lines(const char *text, size_t size, const char *name, struct recording *rec, struct error *e)
{
	struct reader r = {.name = name, .e = e};
	const char *end = text + size;
	int result = 0;

	for (const char *line = text, *next; line < end && result >= 0; line = next) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));

		stop = stop ? stop : end;
		next = stop + 1;
		r.line++;
		r.text = line;
		r.size = (size_t)(stop - line);
		if (strspn(line, " \t\r") < r.size)
			result = read_line(&r, rec);
	}
	if (result >= 0 && !rec->ended)
		result = error_set(e, -EINVAL, "%s:%u: the recording breaks off: its last line must be {\"end\": ...}",
				   name, r.line);
	return result;
}

int recording_parse(const char *text, size_t size, const char *name, struct workload **ret, struct error *e)
{
	struct recording rec = {.w = workload_new()};
	int result = rec.w ? read_lines(text, size, name, &rec, e) : error_set(e, -ENOMEM, "no memory for a recording");
	struct error why = {""};

	if (result >= 0)
		result = hand_out(&rec, e);
	if (result >= 0) {
		result = workload_check(rec.w, &why);
		if (result < 0)
			error_set(e, result, "%s: %s", name, why.text);
	}
	free(rec.lines);
	free(rec.last_at_ns);
	if (result < 0) {
		workload_free(rec.w);
		return result;
	}
	*ret = rec.w;
	return 0;
}

int recording_load(const char *path, struct workload **ret, struct error *e)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r = file_read(path, RECORDING_BYTES_MAX, &text, &size, e);

	return r < 0 ? r : recording_parse(text, size, path, ret, e);
}
