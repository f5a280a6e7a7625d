/* SPDX-License-Identifier: Apache-2.0 */
/* shrink.c - see shrink.h. */
#include "check/shrink.h"

#include <string.h>

uint32_t trial_size(const struct trial *t)
{
	const struct workload *w = t->workload;
	uint32_t n = w->pcpus + t->param_count + t->act_count + (t->handover_ns > 0) + (t->back_ns > 0);

	for (uint32_t i = 0; i < w->vm_count; i++) {
		const struct workload_vm *vm = &w->vms[i];

		n += 1 + vm->vcpus + vm->pinned + (vm->start_ns > 0) + (vm->stop_ns > 0) + (vm->wishes.weight != 256);
		for (uint32_t p = 0; p < vm->program_count; p++)
			for (uint32_t k = 0; k < vm->programs[p].count; k++)
				n += 1 + (vm->programs[p].phases[k].does.kind != BEHAVIOUR_COMPUTE);
	}
	return n;
}

/* ---- steps: each changes one thing, number n of its kind; false: there is no such thing, or it is plain already ---- */

typedef bool (*step)(struct trial *t, const struct verdict *v, enum property p, uint32_t n);

static bool end_early(struct trial *t, const struct verdict *v, enum property p, uint32_t n)
{
	uint64_t at = v->at_ns + NSEC_PER_USEC;

	if (n > 0 || at >= t->workload->duration_ns)
		return false;
	t->workload->duration_ns = at;
	return true;
}

static bool halve(struct trial *t, const struct verdict *v, enum property p, uint32_t n)
{
	if (n > 0 || t->workload->duration_ns < 2 * NSEC_PER_MSEC)
		return false;
	t->workload->duration_ns /= 2;
	return true;
}

static bool drop_act(struct trial *t, const struct verdict *v, enum property p, uint32_t n)
{
	if (n >= t->act_count)
		return false;
	memmove(&t->acts[n], &t->acts[n + 1], (t->act_count - n - 1) * sizeof t->acts[0]);
	t->act_count--;
	return true;
}

static bool drop_param(struct trial *t, const struct verdict *v, enum property p, uint32_t n)
{
	if (n >= t->param_count)
		return false;
	t->params[n] = t->params[--t->param_count];
	return true;
}

static bool drop_handover(struct trial *t, const struct verdict *v, enum property p, uint32_t n)
{
	if (n == 0 && t->back_ns > 0) {
		t->back_ns = 0;
		return true;
	}
	if (n > 1 || t->handover_ns == 0 || p == PROPERTY_HANDOVER)
		return false;
	t->handover_ns = t->back_ns = 0;
	t->mode = TRIAL_ALONE;
	return true;
}

static bool drop_vm(struct trial *t, const struct verdict *v, enum property p, uint32_t n)
{
	struct workload *w = t->workload;
	struct workload_vm gone;

	if (n >= w->vm_count || w->vm_count == 1)
		return false;
	gone = w->vms[n];
	memmove(&w->vms[n], &w->vms[n + 1], (w->vm_count - n - 1) * sizeof w->vms[0]);
	w->vm_count--;
	for (uint32_t i = 0; i < gone.program_count; i++)
		free(gone.programs[i].phases);
	free(gone.programs);
	for (uint32_t i = t->act_count; i-- > 0;) {
		bool of_vm = t->acts[i].kind != ACT_KICK && t->acts[i].kind != ACT_PARAM;

		if (of_vm && t->acts[i].vm == n)
			(void)drop_act(t, v, p, i);
		else if (of_vm && t->acts[i].vm > n)
			t->acts[i].vm--;
	}
	return true;
}

/* Shares are told between VMs of one size. */
static bool fewer_vcpus(struct trial *t, const struct verdict *v, enum property p, uint32_t n)
{
	struct workload *w = t->workload;
	bool all = p == PROPERTY_SHARES || p == PROPERTY_HANDOVER;

	if (n >= (all ? 1 : w->vm_count) || w->vms[n].vcpus == 1)
		return false;
	for (uint32_t i = 0; i < w->vm_count; i++)
		if (all || i == n)
			w->vms[i].vcpus--;
	return true;
}

static bool fewer_pcpus(struct trial *t, const struct verdict *v, enum property p, uint32_t n)
{
	if (n > 0 || t->workload->pcpus == 1)
		return false;
	t->workload->pcpus--;
	for (uint32_t i = 0; i < t->act_count; i++)
		if (t->acts[i].kind == ACT_KICK)
			t->acts[i].vm %= t->workload->pcpus;
	return true; /* an affinity that names no pCPU any more is refused: then this step does not help */
}

static bool one_program(struct trial *t, const struct verdict *v, enum property p, uint32_t n)
{
	struct workload_vm *vm = n < t->workload->vm_count ? &t->workload->vms[n] : NULL;

	if (!vm || vm->program_count == 1)
		return false;
	free(vm->programs[--vm->program_count].phases);
	return true;
}

static bool fewer_phases(struct trial *t, const struct verdict *v, enum property p, uint32_t n)
{
	struct workload_vm *vm = n / 4 < t->workload->vm_count ? &t->workload->vms[n / 4] : NULL;
	struct program *program = vm && n % 4 < vm->program_count ? &vm->programs[n % 4] : NULL;

	if (!program || program->count == 1)
		return false;
	if (--program->count == 1) {
		program->phases[0].for_ns = TIME_NEVER;
		program->repeat = false;
	}
	return true;
}

static bool plain_behaviour(struct trial *t, const struct verdict *v, enum property p, uint32_t n)
{
	struct workload_vm *vm = n / 16 < t->workload->vm_count ? &t->workload->vms[n / 16] : NULL;
	struct program *program = vm && n / 4 % 4 < vm->program_count ? &vm->programs[n / 4 % 4] : NULL;
	struct behaviour *b = program && n % 4 < program->count ? &program->phases[n % 4].does : NULL;

	if (!b || b->kind == BEHAVIOUR_COMPUTE)
		return false;
	*b = (struct behaviour){.kind = BEHAVIOUR_COMPUTE};
	return true;
}

static bool plain_vm(struct trial *t, const struct verdict *v, enum property p, uint32_t n)
{
	struct workload_vm *vm = n / 7 < t->workload->vm_count ? &t->workload->vms[n / 7] : NULL, before;

	if (!vm)
		return false;
	before = *vm;
	switch (n % 7) {
	case 0:
		vm->pinned = false;
		break;
	case 1:
		vm->start_ns = vm->stop_ns = 0;
		break;
	case 2:
		vm->stop_ns = 0;
		break;
	case 3:
		vm->wishes.weight = 256;
		break;
	case 4:
		vm->wishes.warp_ns = vm->wishes.warp_limit_ns = vm->wishes.unwarp_ns = vm->wishes.latency_ns = 0;
		break;
	case 5:
		vm->wishes.cap_percent = 0;
		break;
	default:
		vm->wishes.budget_ns = vm->wishes.period_ns = 0;
		break;
	}
	return memcmp(&before, vm, sizeof before) != 0;
}

/* The numbers of things are not dense: so many are tried before a kind of step is given up. */
struct kind_of_step {
	step change;
	uint32_t numbers;
};

static const struct kind_of_step to_less[] = {
    {drop_act, TRIAL_ACTS_MAX},
    {drop_handover, 2},
    {drop_vm, 16},
    {one_program, 16},
    {fewer_phases, 64},
    {plain_behaviour, 256},
    {plain_vm, 112},
    {fewer_vcpus, 16},
    {fewer_pcpus, 1},
    {drop_param, TRIAL_PARAMS_MAX},
};

/* Afterwards: with less in it, a trial may need longer to fail. */
static const struct kind_of_step to_shorter[] = {{end_early, 1}, {halve, 1}};

/* ---- the search ---- */

struct search {
	struct trial **best;
	struct verdict *verdict;
	enum property property;
	uint32_t left; /* runs */
	shrink_runner run;
	void *ctx;
};

/* Takes the step when the property fails without that thing, too. */
static bool try_step(struct search *s, step change, uint32_t n)
{
	struct trial *t = trial_copy(*s->best);
	struct trial_result *result = calloc(1, sizeof *result);
	bool better, there;

	there = t && result && change(t, s->verdict, s->property, n);
	better = there && s->left > 0 && s->run(s->ctx, t, result) >= 0 && !result->refused &&
		 result->of[s->property].failed;
	s->left -= there && s->left > 0;
	if (better) {
		*s->verdict = result->of[s->property];
		trial_free(*s->best);
		*s->best = take_ptr(t);
	}
	free(result);
	trial_free(t);
	return better;
}

/* All steps of these kinds, until none helps any more. */
static void take_steps(struct search *s, const struct kind_of_step *kinds, size_t count)
{
	bool helped = true;

	while (helped && s->left > 0) {
		helped = false;
		for (size_t k = 0; k < count; k++)
			for (uint32_t n = 0; n < kinds[k].numbers && s->left > 0;) {
				if (try_step(s, kinds[k].change, n))
					helped = true; /* the next thing has this number now */
				else
					n++;
			}
	}
}

void shrink(struct trial **t, enum property p, uint32_t most, shrink_runner run, void *ctx, struct verdict *verdict)
{
	struct search s = {.best = t, .verdict = verdict, .property = p, .left = most, .run = run, .ctx = ctx};

	take_steps(&s, to_less, ARRAY_SIZE(to_less));
	take_steps(&s, to_shorter, ARRAY_SIZE(to_shorter));
}
