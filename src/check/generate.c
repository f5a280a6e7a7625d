/* SPDX-License-Identifier: Apache-2.0 */
/* generate.c - see generate.h. Numbers are drawn in a fixed order; lengths are even numbers that people can read. */
#include "check/generate.h"

#include <stdio.h>
#include <string.h>

#include "check/watch.h"
#include "sim/random.h"

#define MS NSEC_PER_MSEC
#define US NSEC_PER_USEC

#define ALWAYS                                                                                                         \
	(PROPERTY_BIT(PROPERTY_SOUND) | PROPERTY_BIT(PROPERTY_ANSWERS) | PROPERTY_BIT(PROPERTY_QUESTIONS) |            \
	 PROPERTY_BIT(PROPERTY_VCPUS) | PROPERTY_BIT(PROPERTY_TIME) | PROPERTY_BIT(PROPERTY_WORK) |                    \
	 PROPERTY_BIT(PROPERTY_STARVATION))

struct maker {
	uint64_t random;
	const struct subject *subject;
	struct trial *trial;
	struct workload *workload;
	bool sparse;
	uint32_t vcpus; /* so far */
};

static uint64_t below(struct maker *m, uint64_t n)
{
	return random_below(&m->random, n);
}

static bool one_in(struct maker *m, uint64_t n)
{
	return below(m, n) == 0;
}

/* From lo to hi, all orders of magnitude alike; with two digits. */
static uint64_t about(struct maker *m, uint64_t lo, uint64_t hi)
{
	uint64_t top = lo, digit = 1, x;

	while (top < hi && below(m, 3) != 0)
		top *= 2;
	x = lo + below(m, MIN(top, hi) - lo + 1);
	while (digit * 100 <= x)
		digit *= 10;
	return MAX(x / digit * digit, lo);
}

static struct length length(struct maker *m, uint64_t lo, uint64_t hi)
{
	uint64_t a = about(m, lo, hi);

	switch (below(m, 3)) {
	case 0:
		return (struct length){.kind = LENGTH_FIXED, .a_ns = a};
	case 1:
		return (struct length){.kind = LENGTH_EXPONENTIAL, .a_ns = a};
	default:
		return (struct length){.kind = LENGTH_UNIFORM, .a_ns = a, .b_ns = a + about(m, lo, hi)};
	}
}

static struct behaviour behaviour(struct maker *m)
{
	struct behaviour b = {.kind = BEHAVIOUR_COMPUTE};

	switch (below(m, 8)) {
	case 0:
	case 1:
		break;
	case 2:
		b.kind = BEHAVIOUR_PERIODIC;
		b.period_ns = about(m, 1 * MS, 50 * MS);
		b.run = (struct length){.kind = LENGTH_FIXED, .a_ns = MAX(b.period_ns / (2 + below(m, 20)), US)};
		b.offset_ns = below(m, 2) * about(m, US, 10 * MS);
		break;
	case 3:
	case 4:
		b.kind = BEHAVIOUR_IO;
		b.run = length(m, 20 * US, 20 * MS);
		b.block = length(m, 50 * US, 50 * MS);
		b.poll_ns = one_in(m, 4) ? about(m, 20 * US, MS) : 0;
		break;
	case 5:
		b.kind = BEHAVIOUR_BURSTY;
		b.run = length(m, 50 * US, 5 * MS);
		b.block = length(m, 50 * US, 2 * MS);
		b.burst = length(m, 5 * MS, 100 * MS);
		b.silence = length(m, 10 * MS, 200 * MS);
		break;
	case 6:
		b.kind = BEHAVIOUR_LOCK;
		b.run = length(m, 20 * US, MS);
		b.hold = length(m, 5 * US, 200 * US);
		b.lock = (uint32_t)below(m, 2);
		break;
	default:
		b.kind = BEHAVIOUR_IO;
		b.run = length(m, 5 * US, 200 * US);
		b.block = length(m, 5 * US, 500 * US);
		break;
	}
	return b;
}

static struct program programs(struct maker *m, struct phase phases[3])
{
	uint32_t n = one_in(m, 4) ? 2 + (uint32_t)below(m, 2) : 1;

	for (uint32_t i = 0; i < n; i++)
		phases[i] =
		    (struct phase){.for_ns = n == 1 ? TIME_NEVER : about(m, 20 * MS, 400 * MS), .does = behaviour(m)};
	return (struct program){.phases = phases, .count = n, .repeat = n > 1 && one_in(m, 2)};
}

/* Adds a VM unless that would be one vCPU too many. */
static void add_vm(struct maker *m, struct workload_vm *vm)
{
	const uint32_t most = m->sparse ? m->workload->pcpus : WATCH_VCPUS_MAX / 2;

	if (m->vcpus >= most)
		return;
	vm->vcpus = MIN(vm->vcpus, most - m->vcpus);
	vm->count = 1;
	(void)snprintf(vm->name, sizeof vm->name, "vm%u", m->workload->vm_count);
	if (workload_add_vm(m->workload, vm, NULL) >= 0)
		m->vcpus += vm->vcpus;
}

static uint32_t weight(struct maker *m, uint32_t lo, uint32_t hi)
{
	if (!m->subject->weights || one_in(m, 4))
		return 256;
	return (uint32_t)about(m, lo, hi);
}

static void pin(struct maker *m, struct workload_vm *vm)
{
	if (m->sparse || !one_in(m, 4))
		return;
	vm->pinned = true;
	vm->affinity[0] = below(m, UINT64_C(1) << m->workload->pcpus);
	if (vm->affinity[0] == 0)
		vm->affinity[0] = UINT64_C(1) << below(m, m->workload->pcpus);
}

static void come_and_go(struct maker *m, struct workload_vm *vm)
{
	uint64_t duration = m->workload->duration_ns;

	if (one_in(m, 4))
		vm->start_ns = about(m, MS, duration / 2);
	if (one_in(m, 4))
		vm->stop_ns = vm->start_ns + about(m, MS, duration / 2);
}

/* ---- parameters and the operator ---- */

static int64_t value_of(struct maker *m, const struct baton_parameter *p)
{
	int64_t lo = MAX(p->min, p->initial / 8), hi = MIN(p->max, p->initial * 8);

	if (p->max - p->min <= 16)
		return p->min + (int64_t)below(m, (uint64_t)(p->max - p->min) + 1);
	return lo > 0 && hi > lo ? (int64_t)about(m, (uint64_t)lo, (uint64_t)hi) : p->initial;
}

/* A parameter may take away what is promised without it. */
static void heed(struct trial *t, const struct baton_parameter *p, int64_t value)
{
	if (strcmp(p->name, "strict") == 0 && value != 0)
		t->judges &= ~PROPERTY_BIT(PROPERTY_WORK);
}

static void set_params(struct maker *m)
{
	const struct baton_scheduler *s = m->subject->ops;
	struct trial *t = m->trial;

	for (uint64_t i = 0; i < s->parameter_count && t->param_count < TRIAL_PARAMS_MAX; i++) {
		const struct baton_parameter *p = &s->parameters[i];
		struct change_param *to = &t->params[t->param_count];

		if (p->scope != BATON_SCOPE_POOL || !one_in(m, 3))
			continue;
		memcpy(to->name, p->name, sizeof to->name);
		to->value = value_of(m, p);
		heed(t, p, to->value);
		t->param_count++;
	}
}

static bool param_act(struct maker *m, struct operator_act *act)
{
	const struct baton_scheduler *s = m->subject->ops;
	uint64_t n = below(m, MAX(s->parameter_count, UINT64_C(1)));

	if (n >= s->parameter_count || s->parameters[n].scope != BATON_SCOPE_POOL)
		return false;
	act->kind = ACT_PARAM;
	act->vm = (uint32_t)n;
	act->value = value_of(m, &s->parameters[n]);
	heed(m->trial, &s->parameters[n], act->value);
	return true;
}

static bool make_act(struct maker *m, struct operator_act *act)
{
	switch (below(m, 6)) {
	case 0:
	case 1:
		act->kind = ACT_PAUSE;
		act->value = (int64_t)about(m, 10 * US, 100 * MS);
		return true;
	case 2:
		act->kind = ACT_WEIGHT;
		act->value = (int64_t)about(m, 32, 2048);
		return m->subject->weights;
	case 3:
		return param_act(m, act);
	case 4:
		act->kind = ACT_FOCUS;
		return true;
	default:
		act->kind = ACT_KICK;
		act->vm = (uint32_t)below(m, m->workload->pcpus);
		return true;
	}
}

static void interfere(struct maker *m)
{
	struct trial *t = m->trial;
	uint64_t n = one_in(m, 2) ? 0 : 1 + below(m, 8), at = 0;

	while (n-- > 0 && t->act_count < TRIAL_ACTS_MAX) {
		struct operator_act *act = &t->acts[t->act_count];

		at += about(m, MS, m->workload->duration_ns / 4);
		*act = (struct operator_act){.at_ns = at, .vm = (uint32_t)below(m, m->workload->vm_count)};
		t->act_count += make_act(m, act);
	}
}

/* ---- the shapes ---- */

static void make_mix(struct maker *m)
{
	uint64_t vms = 1 + below(m, 6);
	uint64_t reserve = m->workload->pcpus * UINT64_C(500); /* thousandths of a pCPU: half of them all */

	while (vms-- > 0) {
		struct phase phases[4][3];
		struct program list[4];
		struct workload_vm vm = {.vcpus = one_in(m, 2) ? 1 : 1 + (uint32_t)below(m, 4), .programs = list};

		vm.program_count = 1 + (uint32_t)below(m, vm.vcpus);
		for (uint32_t i = 0; i < vm.program_count; i++)
			list[i] = programs(m, phases[i]);
		vm.wishes.weight = one_in(m, 8) ? weight(m, 1, 65536) : weight(m, 64, 1024);
		if (one_in(m, 4)) {
			vm.wishes.warp_ns = about(m, 100 * US, 20 * MS);
			vm.wishes.warp_limit_ns = below(m, 2) * about(m, 100 * US, 10 * MS);
			vm.wishes.unwarp_ns = below(m, 2) * about(m, MS, 50 * MS);
		}
		vm.wishes.latency_ns = one_in(m, 4) ? about(m, 100 * US, 10 * MS) : 0;
		if (m->subject->caps && one_in(m, 4))
			vm.wishes.cap_percent = (uint32_t)about(m, 10, 300);
		if (m->subject->reservations && one_in(m, 3)) {
			uint64_t thousandths = 10 + below(m, 100);

			if (thousandths * vm.vcpus <= reserve) {
				reserve -= thousandths * vm.vcpus;
				vm.wishes.period_ns = about(m, 5 * MS, 100 * MS);
				vm.wishes.budget_ns = vm.wishes.period_ns * thousandths / 1000;
			}
		}
		pin(m, &vm);
		come_and_go(m, &vm);
		add_vm(m, &vm);
	}
	set_params(m);
	interfere(m);
	m->trial->judges = (m->trial->judges & ALWAYS) | (m->subject->caps ? PROPERTY_BIT(PROPERTY_CAPS) : 0);
}

static void make_shadow(struct maker *m)
{
	make_mix(m);
	m->trial->mode = TRIAL_SHADOW;
	m->trial->handover_ns = about(m, MS, m->workload->duration_ns / 2);
	m->trial->back_ns = one_in(m, 2) ? m->trial->handover_ns + about(m, 50 * MS, m->workload->duration_ns / 2) : 0;
	m->trial->judges &= ALWAYS;
	/* What a shadow withholds is without effect: when it decides, nothing excuses those it has capped before. */
	for (uint32_t i = 0; i < m->workload->vm_count; i++)
		if (m->workload->vms[i].wishes.cap_percent > 0)
			m->trial->judges &= ~PROPERTY_BIT(PROPERTY_WORK);
}

/* VMs of the same size that compute for ever, always more vCPUs than pCPUs. */
static void add_computing(struct maker *m, uint32_t vcpus_each, uint64_t vms)
{
	struct phase phase;
	struct program program = program_of(&phase, &(struct behaviour){.kind = BEHAVIOUR_COMPUTE});

	while (vms-- > 0) {
		struct workload_vm vm = {.vcpus = vcpus_each, .programs = &program, .program_count = 1};

		vm.wishes.weight = weight(m, 64, 1024);
		add_vm(m, &vm);
	}
}

static void make_fair(struct maker *m)
{
	uint32_t each = one_in(m, 2) ? 1 : 1 + (uint32_t)below(m, 3);

	m->workload->duration_ns = 3 * NSEC_PER_SEC;
	add_computing(m, each, m->workload->pcpus / each + 1 + below(m, 5));
	if (one_in(m, 2) && (m->subject->claims & PROPERTY_BIT(PROPERTY_HANDOVER)))
		m->trial->handover_ns = about(m, 10 * MS, 2 * NSEC_PER_SEC);
	m->trial->judges |= PROPERTY_BIT(PROPERTY_SHARES);
	m->trial->judges |= m->trial->handover_ns ? PROPERTY_BIT(PROPERTY_HANDOVER) : 0;
}

static void make_sleepers(struct maker *m)
{
	uint64_t vms = 2 + below(m, 3);

	m->workload->pcpus = one_in(m, 2) ? 1 : 2 + (uint32_t)below(m, 2);
	m->workload->duration_ns = 7 * NSEC_PER_SEC;
	while (vms-- > 0) {
		struct phase phases[3] = {
		    {.for_ns = about(m, 500 * MS, 3 * NSEC_PER_SEC), .does = {.kind = BEHAVIOUR_COMPUTE}},
		    {.for_ns = about(m, 500 * MS, 3 * NSEC_PER_SEC), .does = {.kind = BEHAVIOUR_IDLE}},
		    {.for_ns = TIME_NEVER, .does = {.kind = BEHAVIOUR_COMPUTE}},
		};
		struct program program = {.phases = phases, .count = ARRAY_SIZE(phases)};
		struct workload_vm vm = {.vcpus = 1 + (uint32_t)below(m, 2), .programs = &program, .program_count = 1};

		vm.wishes.weight = weight(m, 128, 512);
		vm.start_ns = below(m, 2) * about(m, MS, 5 * NSEC_PER_SEC);
		add_vm(m, &vm);
	}
	if (m->workload->pcpus > 1) /* judged by another name then */
		m->trial->judges |= PROPERTY_BIT(PROPERTY_ALONE);
}

static void make_hints(struct maker *m)
{
	struct phase phase;
	uint64_t period = about(m, 5 * MS, 50 * MS);
	struct behaviour does = {.kind = BEHAVIOUR_PERIODIC,
				 .period_ns = period,
				 .offset_ns = about(m, US, MS),
				 .run = {.kind = LENGTH_FIXED, .a_ns = period / 100}};
	struct program program = program_of(&phase, &does);
	struct workload_vm vm = {.vcpus = 1, .programs = &program, .program_count = 1};

	m->workload->pcpus = 1 + (uint32_t)below(m, 3);
	m->workload->duration_ns = 2 * NSEC_PER_SEC;
	vm.wishes = (struct baton_vm){.weight = 256, .latency_ns = MS, .warp_ns = 100 * MS};
	add_vm(m, &vm);
	add_computing(m, 1, m->workload->pcpus + 2 + below(m, 6));
	m->trial->judges |= PROPERTY_BIT(PROPERTY_LATENCY);
}

static void make_caps(struct maker *m)
{
	uint64_t vms = 1 + below(m, 5);

	m->workload->duration_ns = 3 * NSEC_PER_SEC;
	while (vms-- > 0) {
		struct phase phase;
		struct behaviour does = one_in(m, 2) ? behaviour(m) : (struct behaviour){.kind = BEHAVIOUR_COMPUTE};
		struct program program = program_of(&phase, &does);
		struct workload_vm vm = {.vcpus = 1 + (uint32_t)below(m, 4), .programs = &program, .program_count = 1};

		vm.wishes.weight = weight(m, 64, 1024);
		vm.wishes.cap_percent = one_in(m, 3) ? 0 : (uint32_t)about(m, 5, 300);
		add_vm(m, &vm);
	}
	m->trial->judges |= PROPERTY_BIT(PROPERTY_CAPS);
}

static void make_reserved(struct maker *m)
{
	uint64_t left = m->workload->pcpus * UINT64_C(500);

	m->workload->duration_ns = 3 * NSEC_PER_SEC;
	for (uint64_t vms = 1 + below(m, 4); vms > 0; vms--) {
		struct phase phase;
		struct program program = program_of(&phase, &(struct behaviour){.kind = BEHAVIOUR_COMPUTE});
		struct workload_vm vm = {.vcpus = 1, .programs = &program, .program_count = 1};
		uint64_t thousandths = 20 + below(m, 300);

		if (thousandths > left)
			break;
		left -= thousandths;
		vm.wishes.period_ns = about(m, 5 * MS, 100 * MS);
		vm.wishes.budget_ns = vm.wishes.period_ns * thousandths / 1000;
		add_vm(m, &vm);
	}
	add_computing(m, 1, below(m, 5));
	if (m->workload->vm_count == 0)
		add_computing(m, 1, 1);
	m->trial->judges |= PROPERTY_BIT(PROPERTY_RESERVATIONS);
}

/* Where a scheduler can be told to be strict about it, it is: else shares come first, and holes are used by whoever fits. */
static void be_strict(struct maker *m)
{
	const struct baton_scheduler *s = m->subject->ops;
	struct change_param *to = &m->trial->params[m->trial->param_count];

	for (uint64_t i = 0; i < s->parameter_count; i++) {
		if (strcmp(s->parameters[i].name, "strict") != 0)
			continue;
		memcpy(to->name, s->parameters[i].name, sizeof to->name);
		to->value = 1;
		heed(m->trial, &s->parameters[i], to->value);
		m->trial->param_count++;
	}
}

static void make_gang(struct maker *m)
{
	uint64_t vms = 2 + below(m, 3);

	be_strict(m);
	m->workload->pcpus = 2 + (uint32_t)below(m, 3);
	m->workload->duration_ns = 3 * NSEC_PER_SEC;
	while (vms-- > 0)
		add_computing(m, 2 + (uint32_t)below(m, m->workload->pcpus - 1), 1);
	m->trial->judges |= PROPERTY_BIT(PROPERTY_GANG);
}

struct trial *trial_generate(uint64_t number, const struct subject *subject, bool sparse)
{
	static const struct {
		void (*make)(struct maker *m);
		enum property needs;
	} shapes[] = {
	    {make_mix, PROPERTY_SOUND},	    {make_fair, PROPERTY_SHARES},	    {make_shadow, PROPERTY_SOUND},
	    {make_caps, PROPERTY_CAPS},	    {make_sleepers, PROPERTY_STARVATION},   {make_fair, PROPERTY_HANDOVER},
	    {make_hints, PROPERTY_LATENCY}, {make_reserved, PROPERTY_RESERVATIONS}, {make_mix, PROPERTY_SOUND},
	    {make_gang, PROPERTY_GANG},
	};
	struct maker m = {.random = random_stream(number, 0), .subject = subject, .sparse = sparse};
	uint64_t shape = number % ARRAY_SIZE(shapes);

	m.trial = calloc(1, sizeof *m.trial);
	m.workload = workload_new();
	if (!m.trial || !m.workload) {
		free(m.trial);
		workload_free(m.workload);
		return NULL;
	}
	m.trial->workload = m.workload;
	m.trial->number = number;
	m.trial->judges = ALWAYS;
	(void)snprintf(m.workload->name, sizeof m.workload->name, "trial %llu", (unsigned long long)number);
	m.workload->seed = number;
	m.workload->pcpus = 1 + (uint32_t)below(&m, one_in(&m, 4) ? 8 : 4);
	m.workload->duration_ns = about(&m, 100 * MS, 2 * NSEC_PER_SEC);
	m.workload->migration_ns = one_in(&m, 4) ? about(&m, 100 * US, 2 * MS) : 20 * US;
	while (!(subject->claims & PROPERTY_BIT(shapes[shape].needs)))
		shape = (shape + 1) % ARRAY_SIZE(shapes);
	shapes[shape].make(&m);
	return m.trial;
}
