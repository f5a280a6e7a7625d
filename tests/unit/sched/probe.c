/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c - see probe.h. -DPROBE_ID=name gives the scheduler another name (and the image another digest). */
#include "probe.h"

#ifndef PROBE_ID
#define PROBE_ID probe
#endif

#define POOL_PARAM(n, low, high, first)                                                                                \
	{                                                                                                              \
		.name = n, .scope = BATON_SCOPE_POOL, .min = (low), .max = (high), .initial = (first)                  \
	}

static const struct baton_parameter parameters[] = {
    [PROBE_ANSWER] = POOL_PARAM("answer", ANSWER_HONEST, ANSWER_FREE, ANSWER_HONEST),
    [PROBE_SLICE_NS] = POOL_PARAM("slice_ns", 0, INT64_MAX, 1000000),
    [PROBE_PREEMPTS] = POOL_PARAM("preempts", -1, UINT32_MAX, -1),
    [PROBE_CONSOLE] = POOL_PARAM("console", -1, UINT32_MAX, -1),
    [PROBE_PRIORITY] = POOL_PARAM("priority", INT32_MIN, INT32_MAX, 0),
    [PROBE_REFUSE_ATTACH] = POOL_PARAM("refuse_attach", 0, 4095, 0),
    [PROBE_REFUSE_ADMIT] = POOL_PARAM("refuse_admit", 0, INT32_MAX, 0),
    [PROBE_REFUSE_TAKE] = POOL_PARAM("refuse_take", 0, INT32_MAX, 0),
    [PROBE_ALARM_AT] = POOL_PARAM("alarm_at", 0, INT64_MAX, 0),
    [PROBE_HOLD_UNTIL] = POOL_PARAM("hold_until", 0, INT64_MAX, 0),
    [PROBE_KICK] = POOL_PARAM("kick", 0, UINT32_MAX, 0),
    [PROBE_EVEN] = POOL_PARAM("even", 0, 1000, 0),
    [PROBE_SAYS] = POOL_PARAM("says", SAYS_NOTHING, SAYS_BELLS, SAYS_NOTHING),
    [PROBE_REARM_NS] = POOL_PARAM("rearm_ns", 0, INT64_MAX, 0),
    [PROBE_WEIGHT] = {.name = "weight", .scope = BATON_SCOPE_VM, .min = 1, .max = 65536, .initial = 256},
};

static struct probe_pool *heard(struct baton_region *r)
{
	return baton_pool_state(r);
}

static struct probe_vcpu *of(struct baton_region *r, uint32_t v)
{
	return baton_vcpu_state(r, v);
}

static void expect(struct baton_region *r, int truth, int line)
{
	struct probe_pool *p = heard(r);

	if (truth)
		return;
	p->disorder++;
	p->disorder_line = (uint32_t)line;
}
#define EXPECT(truth) expect(r, (truth), __LINE__)

static void note_time(struct baton_region *r, uint64_t now)
{
	EXPECT(now >= heard(r)->last_now);
	heard(r)->last_now = now;
}

/* Refuses in words, when asked to. */
static int32_t refuse(struct baton_region *r, int32_t code)
{
	char *reason = baton_scratch(r);

	switch (baton_param(r, PROBE_SAYS)) {
	case SAYS_WHY:
		__builtin_memcpy(reason, PROBE_WHY, sizeof PROBE_WHY);
		break;
	case SAYS_ENDLESS:
		__builtin_memset(reason, 'x', BATON_SCRATCH_SIZE);
		break;
	case SAYS_BELLS:
		__builtin_memset(reason, '\a', 10);
		break;
	default:
		break;
	}
	return code;
}

static int32_t probe_attach(struct baton_region *r, uint64_t now)
{
	EXPECT(heard(r)->attaches == 0);
	heard(r)->attaches++;
	note_time(r, now);
	return baton_param(r, PROBE_REFUSE_ATTACH) ? refuse(r, (int32_t)-baton_param(r, PROBE_REFUSE_ATTACH)) : 0;
}

static int32_t probe_admit(struct baton_region *r, uint32_t v, uint64_t now)
{
	struct probe_vcpu *s = of(r, v);

	note_time(r, now);
	EXPECT(heard(r)->attaches == 1 && !s->known && v < r->vcpu_slots);
	EXPECT(baton_vm(r, baton_vcpu(r, v)->vm)->used);
	s->known = 1;
	s->admits++;
	s->state = baton_vcpu(r, v)->state;
	s->pcpu = baton_vcpu(r, v)->pcpu;
	EXPECT(s->state != BATON_VCPU_FREE);
	EXPECT(s->state != BATON_VCPU_RUNNING || baton_pcpu(r, s->pcpu)->running == v);
	heard(r)->admits++;
	if (heard(r)->admits != (uint64_t)baton_param(r, PROBE_REFUSE_ADMIT))
		return 0;
	s->known = 0;
	return refuse(r, -28); /* ENOSPC */
}

static int32_t probe_take(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now)
{
	struct probe_vcpu *s = of(r, v);

	note_time(r, now);
	EXPECT(s->known && s->admits == 1 && s->wakes + s->starts + s->stops + s->sleeps == 0);
	EXPECT(h->version == BATON_HISTORY_VERSION && h->tail_size <= sizeof h->tail);
	s->takes++;
	s->owed_ns = h->owed_ns;
	s->service_ns = h->service_ns;
	s->since_run_ns = h->since_run_ns;
	s->weight = h->weight;
	s->last_pcpu = h->last_pcpu;
	__builtin_memcpy(s->policy, h->policy, sizeof s->policy);
	heard(r)->takes++;
	return heard(r)->takes == (uint64_t)baton_param(r, PROBE_REFUSE_TAKE) ? refuse(r, -22) : 0;
}

static void probe_retire(struct baton_region *r, uint32_t v, uint64_t now)
{
	note_time(r, now);
	EXPECT(of(r, v)->known && of(r, v)->state == BATON_VCPU_BLOCKED);
	of(r, v)->known = 0;
	heard(r)->retires++;
}

static void become(struct baton_region *r, uint32_t v, uint32_t from, uint32_t to, uint64_t now)
{
	note_time(r, now);
	EXPECT(of(r, v)->known && of(r, v)->state == from);
	EXPECT(baton_vcpu(r, v)->state == to);
	of(r, v)->state = to;
}

static void probe_wake(struct baton_region *r, uint32_t v, uint64_t now)
{
	become(r, v, BATON_VCPU_BLOCKED, BATON_VCPU_RUNNABLE, now);
	of(r, v)->wakes++;
	heard(r)->wakes++;
}

static void probe_sleep(struct baton_region *r, uint32_t v, uint64_t now)
{
	become(r, v, BATON_VCPU_RUNNABLE, BATON_VCPU_BLOCKED, now);
	of(r, v)->sleeps++;
	heard(r)->sleeps++;
}

static void probe_start(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	become(r, v, BATON_VCPU_RUNNABLE, BATON_VCPU_RUNNING, now);
	EXPECT(pcpu < r->pcpu_slots && baton_allowed(r, v, pcpu) && baton_pcpu(r, pcpu)->running == v);
	of(r, v)->pcpu = pcpu;
	of(r, v)->starts++;
	heard(r)->starts++;
}

static void probe_stop(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why, uint64_t now)
{
	become(r, v, BATON_VCPU_RUNNING, why == BATON_STOP_BLOCKED ? BATON_VCPU_BLOCKED : BATON_VCPU_RUNNABLE, now);
	EXPECT(of(r, v)->pcpu == pcpu && baton_pcpu(r, pcpu)->running == BATON_NONE);
	of(r, v)->ran_ns += ran_ns;
	of(r, v)->stops++;
	heard(r)->stops++;
}

static void probe_tick(struct baton_region *r, uint64_t now)
{
	note_time(r, now);
	heard(r)->tick_ns[heard(r)->ticks++ % PROBE_TICKS_KEPT] = now;
	if (baton_param(r, PROBE_REARM_NS) > 0)
		baton_alarm(now + (uint64_t)baton_param(r, PROBE_REARM_NS));
}

static void probe_spin(struct baton_region *r, uint32_t v, uint64_t now)
{
	note_time(r, now);
	EXPECT(of(r, v)->known);
	heard(r)->spins++;
}

static void probe_ipi(struct baton_region *r, uint32_t from, uint32_t to, uint64_t now)
{
	note_time(r, now);
	EXPECT(of(r, from)->known && of(r, to)->known);
	heard(r)->ipis++;
}

static void probe_interrupt(struct baton_region *r, uint32_t v, uint64_t now)
{
	note_time(r, now);
	EXPECT(of(r, v)->known);
	heard(r)->interrupts++;
}

static void probe_boost(struct baton_region *r, uint32_t vm, uint64_t now)
{
	note_time(r, now);
	heard(r)->boosts++;
	heard(r)->boosted = vm + 1;
}

static int32_t probe_set(struct baton_region *r, uint32_t scope, uint32_t vm, uint32_t parameter, uint64_t now)
{
	note_time(r, now);
	heard(r)->sets++;
	heard(r)->set_scope = scope;
	heard(r)->set_vm = vm;
	heard(r)->set_parameter = parameter;
	if (scope != BATON_SCOPE_POOL)
		return vm < r->vm_slots && baton_vm(r, vm)->used ? 0 : -22;
	switch (parameter) {
	case PROBE_ALARM_AT:
		baton_alarm((uint64_t)baton_param(r, PROBE_ALARM_AT));
		break;
	case PROBE_HOLD_UNTIL:
		baton_hold(0, (uint64_t)baton_param(r, PROBE_HOLD_UNTIL));
		break;
	case PROBE_KICK:
		baton_kick((uint32_t)baton_param(r, PROBE_KICK));
		break;
	case PROBE_EVEN:
		return baton_param(r, PROBE_EVEN) % 2 ? refuse(r, -22) : 0;
	default:
		break;
	}
	return 0;
}

/* The lowest vCPU in this state whose being allowed on pcpu is as asked; NONE without one. */
static uint32_t lowest(struct baton_region *r, uint32_t pcpu, uint32_t state, int allowed)
{
	for (uint32_t v = 0; v < r->vcpu_slots; v++)
		if (baton_vcpu(r, v)->state == state && (allowed < 0 || baton_allowed(r, v, pcpu) == allowed))
			return v;
	return BATON_NONE;
}

static struct baton_choice probe_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	uint32_t v = BATON_NONE;

	heard(r)->chosen++;
	switch (baton_param(r, PROBE_ANSWER)) {
	case ANSWER_HONEST:
		v = lowest(r, pcpu, BATON_VCPU_RUNNABLE, 1);
		break;
	case ANSWER_BLOCKED:
		v = lowest(r, pcpu, BATON_VCPU_BLOCKED, -1);
		break;
	case ANSWER_FOREIGN:
		v = lowest(r, pcpu, BATON_VCPU_RUNNABLE, 0);
		break;
	case ANSWER_RUNNING:
		v = lowest(r, pcpu, BATON_VCPU_RUNNING, -1);
		break;
	case ANSWER_BEYOND:
		v = r->vcpu_slots;
		break;
	case ANSWER_FAR:
		v = BATON_NONE - 1;
		break;
	case ANSWER_FREE:
		v = lowest(r, pcpu, BATON_VCPU_FREE, -1);
		break;
	default:
		break;
	}
	return (struct baton_choice){.vcpu = v, .slice_ns = (uint64_t)baton_param(r, PROBE_SLICE_NS)};
}

static uint32_t probe_preempts(struct baton_region *r, uint32_t woken, uint64_t now)
{
	return (uint32_t)baton_param(r, PROBE_PREEMPTS);
}

static int32_t probe_priority(struct baton_region *r, uint32_t vm, uint64_t now)
{
	return (int32_t)baton_param(r, PROBE_PRIORITY);
}

static uint32_t probe_choose_console(struct baton_region *r, uint64_t now)
{
	return (uint32_t)baton_param(r, PROBE_CONSOLE);
}

/* BATON_SCHEDULER makes a name of its first argument's letters: this lets the macro be replaced before. */
#define PROBE_SCHEDULER(...) BATON_SCHEDULER(__VA_ARGS__)

PROBE_SCHEDULER(PROBE_ID, .version = "1", .description = "Hears everything and does as it is told",
		.pool_state_size = sizeof(struct probe_pool), .vcpu_state_size = sizeof(struct probe_vcpu),
		.parameters = parameters, .parameter_count = sizeof parameters / sizeof parameters[0],
		.attach = probe_attach, .admit = probe_admit, .retire = probe_retire, .wake = probe_wake,
		.sleep = probe_sleep, .start = probe_start, .stop = probe_stop, .tick = probe_tick, .spin = probe_spin,
		.ipi = probe_ipi, .interrupt = probe_interrupt, .boost = probe_boost, .set = probe_set,
		.choose = probe_choose, .preempts = probe_preempts, .priority = probe_priority,
		.choose_console = probe_choose_console, .take = probe_take);
