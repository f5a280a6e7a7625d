/* SPDX-License-Identifier: Apache-2.0 */
/* workload.c - workloads as data: made, checked, freed. Reading them from files is workload_file.c. */
#include "sim/workload.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct workload *workload_new(void)
{
	struct workload *w = calloc(1, sizeof *w);

	if (!w)
		return NULL;
	(void)snprintf(w->name, sizeof w->name, "workload");
	w->pcpus = 1;
	w->seed = 1;
	w->duration_ns = 10 * NSEC_PER_SEC;
	w->window_ns = 100 * NSEC_PER_MSEC;
	w->kick_ns = 5 * NSEC_PER_USEC;
	w->switch_ns = 1 * NSEC_PER_USEC;
	w->migration_ns = 20 * NSEC_PER_USEC;
	return w;
}

static void free_programs(struct program *programs, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		free(programs[i].phases);
	free(programs);
}

struct workload *workload_free(struct workload *w)
{
	if (!w)
		return NULL;
	for (uint32_t i = 0; i < w->vm_count; i++)
		free_programs(w->vms[i].programs, w->vms[i].program_count);
	free(w->vms);
	free(w->demands);
	free(w);
	return NULL;
}

uint32_t workload_vcpus(const struct workload *w)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->vm_count; i++)
		n += w->vms[i].count * w->vms[i].vcpus;
	return n;
}

uint32_t workload_vms(const struct workload *w)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < w->vm_count; i++)
		n += w->vms[i].count;
	return n;
}

struct program program_of(struct phase *phase, const struct behaviour *does)
{
	*phase = (struct phase){.for_ns = TIME_NEVER, .does = *does};
	return (struct program){.phases = phase, .count = 1};
}

static struct program *copy_programs(const struct program *programs, uint32_t count)
{
	struct program *copy = calloc(count, sizeof *copy);

	for (uint32_t i = 0; copy && i < count; i++) {
		copy[i] = programs[i];
		copy[i].phases = calloc(programs[i].count, sizeof *copy[i].phases);
		if (!copy[i].phases) {
			free_programs(copy, i);
			return NULL;
		}
		memcpy(copy[i].phases, programs[i].phases, programs[i].count * sizeof *copy[i].phases);
	}
	return copy;
}

/* ---- checks ---- */

/* A length of at least min_ns. */
static int check_length(const struct length *l, const char *what, uint64_t min_ns, struct error *e)
{
	if (l->a_ns > WORKLOAD_DURATION_MAX || l->b_ns > WORKLOAD_DURATION_MAX)
		return error_set(e, -EINVAL, "%s is longer than 1,000,000 s", what);
	if ((l->kind == LENGTH_UNIFORM || l->kind == LENGTH_PARETO) && l->b_ns < l->a_ns)
		return error_set(e, -EINVAL, "%s: the second number is less than the first", what);
	if (l->a_ns < min_ns && (l->kind != LENGTH_UNIFORM || l->b_ns < min_ns))
		return error_set(e, -EINVAL, "%s must be at least %" PRIu64 " ns", what, min_ns);
	return 0;
}

static int check_replay(const struct behaviour *b, struct error *e)
{
	for (size_t i = 0; i < b->demand_count; i++)
		if (b->demands[i].run_ns == 0 || b->demands[i].run_ns > WORKLOAD_DURATION_MAX ||
		    b->demands[i].time_ns > WORKLOAD_DURATION_MAX || b->demands[i].end > DEMAND_IO)
			return error_set(e, -EINVAL, "demand %zu of a replay is out of range", i);
	return 0;
}

static int check_behaviour(const struct behaviour *b, struct error *e)
{
	int r = 0;

	switch (b->kind) {
	case BEHAVIOUR_COMPUTE:
	case BEHAVIOUR_IDLE:
		return 0;
	case BEHAVIOUR_PERIODIC:
		if (b->period_ns < NSEC_PER_USEC || b->period_ns > WORKLOAD_DURATION_MAX)
			return error_set(e, -EINVAL, "period must be 1 us to 1,000,000 s");
		if (b->offset_ns > WORKLOAD_DURATION_MAX)
			return error_set(e, -EINVAL, "offset is longer than 1,000,000 s");
		break;
	case BEHAVIOUR_IO:
		if (b->poll_ns > WORKLOAD_DURATION_MAX)
			return error_set(e, -EINVAL, "poll is longer than 1,000,000 s");
		r = check_length(&b->block, "block", 1, e);
		break;
	case BEHAVIOUR_BURSTY:
		r = check_length(&b->block, "block", 1, e);
		if (r >= 0)
			r = check_length(&b->burst, "burst", 1, e);
		if (r >= 0)
			r = check_length(&b->silence, "silence", 1, e);
		break;
	case BEHAVIOUR_LOCK:
		if (b->lock >= WORKLOAD_LOCKS)
			return error_set(e, -EINVAL, "lock must be 0 to %d", WORKLOAD_LOCKS - 1);
		if (b->pause_ns > WORKLOAD_DURATION_MAX || (b->pause_ns > 0 && b->pause_ns < 100))
			return error_set(e, -EINVAL, "pause must be 100 ns to 1,000,000 s");
		r = check_length(&b->hold, "hold", 1, e);
		break;
	case BEHAVIOUR_REPLAY:
		return check_replay(b, e);
	default:
		return error_set(e, -EINVAL, "no such behaviour");
	}
	return r < 0 ? r : check_length(&b->run, "run", 1, e);
}

static int check_program(const struct program *p, struct error *e)
{
	int r = 0;

	if (p->count == 0)
		return error_set(e, -EINVAL, "a vCPU needs at least one behaviour");
	for (uint32_t i = 0; i < p->count && r >= 0; i++) {
		if (p->phases[i].for_ns == 0)
			return error_set(e, -EINVAL, "a phase must last at least 1 ns");
		r = check_behaviour(&p->phases[i].does, e);
	}
	return r;
}

/* Policies expect what the monitor lets through. */
static int check_wishes(const struct baton_vm *w, struct error *e)
{
	if (w->weight > 65536)
		return error_set(e, -EINVAL, "weight must be 1 to 65536");
	if (w->cap_percent > BATON_PCPUS_MAX * 100)
		return error_set(e, -EINVAL, "cap_percent must be 0 (none) to %d", BATON_PCPUS_MAX * 100);
	if (w->period_ns > 0 && w->budget_ns > w->period_ns)
		return error_set(e, -EINVAL, "budget must not be longer than period");
	return 0;
}

static int check_affinity(const struct workload *w, const struct workload_vm *vm, struct error *e)
{
	bool any = !vm->pinned;

	for (uint32_t p = 0; p < w->pcpus; p++)
		any |= (vm->affinity[p / 64] >> (p % 64)) & 1;
	return any ? 0 : error_set(e, -EINVAL, "affinity names none of the %u pCPUs", w->pcpus);
}

static int check_vm(const struct workload *w, const struct workload_vm *vm, struct error *e)
{
	int r = 0;

	if (vm->count < 1 || vm->vcpus < 1 || vm->vcpus > WORKLOAD_VCPUS_MAX ||
	    (uint64_t)vm->count * vm->vcpus > WORKLOAD_VCPUS_MAX)
		return error_set(e, -EINVAL, "count and vcpus must be at least 1, and at most %u vCPUs in all",
				 WORKLOAD_VCPUS_MAX);
	if (vm->program_count < 1)
		return error_set(e, -EINVAL, "a behaviour is missing");
	if (vm->start_ns > WORKLOAD_DURATION_MAX ||
	    (vm->stop_ns != 0 && vm->stop_ns != TIME_NEVER &&
	     (vm->stop_ns <= vm->start_ns || vm->stop_ns > WORKLOAD_DURATION_MAX)))
		return error_set(e, -EINVAL, "stop must be later than start");
	r = check_wishes(&vm->wishes, e);
	if (r >= 0)
		r = check_affinity(w, vm, e);
	for (uint32_t i = 0; i < vm->program_count && r >= 0; i++)
		r = check_program(&vm->programs[i], e);
	return r;
}

int workload_check(const struct workload *w, struct error *e)
{
	struct error why = {""};
	uint64_t vcpus = 0;

	if (w->pcpus < 1 || w->pcpus > BATON_PCPUS_MAX)
		return error_set(e, -EINVAL, "pcpus must be 1 to %d", BATON_PCPUS_MAX);
	if (w->duration_ns < NSEC_PER_USEC || w->duration_ns > WORKLOAD_DURATION_MAX)
		return error_set(e, -EINVAL, "duration must be 1 us to 1,000,000 s");
	if (w->window_ns > 0 && w->window_ns < 10 * NSEC_PER_USEC)
		return error_set(e, -EINVAL, "window must be at least 10 us, or 0 for none");
	if (w->window_ns > 0 && w->duration_ns / w->window_ns > WORKLOAD_WINDOWS_MAX)
		return error_set(e, -EINVAL, "window is too short for that duration: there are at most %d windows",
				 WORKLOAD_WINDOWS_MAX);
	if (w->kick_ns > NSEC_PER_SEC || w->switch_ns > NSEC_PER_SEC || w->migration_ns > NSEC_PER_SEC)
		return error_set(e, -EINVAL, "costs must not be above 1 s");
	if (w->slice_min_ns > WORKLOAD_DURATION_MAX || w->slice_max_ns > WORKLOAD_DURATION_MAX ||
	    (w->slice_min_ns && w->slice_max_ns && w->slice_min_ns > w->slice_max_ns))
		return error_set(e, -EINVAL, "slice_min must not be longer than slice_max");
	if (w->vm_count == 0)
		return error_set(e, -EINVAL, "a workload needs at least one VM");
	for (uint32_t i = 0; i < w->vm_count; i++) {
		int r = check_vm(w, &w->vms[i], &why);

		if (r < 0)
			return error_set(e, r, "VM %s: %s", w->vms[i].name, why.text);
		vcpus += (uint64_t)w->vms[i].count * w->vms[i].vcpus;
	}
	if (vcpus > WORKLOAD_VCPUS_MAX)
		return error_set(e, -EINVAL, "%" PRIu64 " vCPUs are too many: at most %u in all", vcpus,
				 WORKLOAD_VCPUS_MAX);
	return 0;
}

int workload_add_vm(struct workload *w, const struct workload_vm *vm, struct error *e)
{
	struct workload_vm copy = *vm, *more;
	int r = check_vm(w, vm, e);

	if (r < 0)
		return r;
	copy.programs = copy_programs(vm->programs, vm->program_count);
	more = reallocarray(w->vms, w->vm_count + 1, sizeof *more);
	if (more)
		w->vms = more;
	if (!more || !copy.programs) {
		free_programs(copy.programs, copy.programs ? copy.program_count : 0);
		return error_set(e, -ENOMEM, "no memory for VM %s", vm->name);
	}
	w->vms[w->vm_count++] = copy;
	return 0;
}
