/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.c - what the scheduling core itself costs per event, without a policy worth mentioning and without a host.
 *
 * core.switch: a slice ends and the pCPU asks again (pool_stop, pool_ask, both reported to every attached scheduler).
 * core.wake: a vCPU blocks and is woken (pool_stop, pool_wake with the question whose pCPU is to be asked). Each with the
 * lock taken and dropped as a run loop does. The policy is a counter per pCPU: pCPU p runs the vCPUs p, p + pCPUs, ... in
 * turn. The time is virtual, so nothing is spent on reading clocks. attached: how many schedulers hear the events.
 *
 * With --turns N and a shape it does only that, for counting instructions: the difference between two counts of
 * `valgrind --tool=callgrind` with N and 2 N is the cost of N turns.
 */
#include <string.h>

#include "base/clock.h"
#include "report.h"
#include "sched/manager.h"

/* ---- the policy ---- */

static uint32_t *next_of(struct baton_region *r, uint32_t pcpu)
{
	return (uint32_t *)baton_pool_state(r) + pcpu;
}

static int32_t turns_attach(struct baton_region *r, uint64_t now)
{
	for (uint32_t i = 0; i < r->pcpu_slots; i++)
		*next_of(r, i) = i;
	return 0;
}

static void turns_stop(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why, uint64_t now)
{
	*next_of(r, pcpu) = v + r->pcpu_slots < r->vcpu_slots ? v + r->pcpu_slots : pcpu;
}

static struct baton_choice turns_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	return (struct baton_choice){.vcpu = *next_of(r, pcpu), .slice_ns = NSEC_PER_MSEC};
}

static const struct baton_scheduler turns = {.magic = BATON_SCHEDULER_MAGIC,
					     .abi = BATON_SCHEDULER_ABI,
					     .size = sizeof(struct baton_scheduler),
					     .name = "turns",
					     .pool_state_size = BATON_PCPUS_MAX * sizeof(uint32_t),
					     .attach = turns_attach,
					     .stop = turns_stop,
					     .choose = turns_choose};

/* ---- the host ---- */

struct bench_host {
	struct sched_host host;
	uint64_t now_ns;
};

static uint64_t host_now(struct sched_host *h)
{
	return ((struct bench_host *)h)->now_ns++;
}

static void host_kick(struct sched_host *h, uint32_t pcpu)
{
}

static const struct sched_host_ops host_ops = {.now = host_now, .kick = host_kick};

struct shape {
	uint32_t pcpus, vcpus, attached;
};

static struct pool *build(struct report *r, struct bench_host *h, struct shape shape) NO_TSA
{
	struct pool_config config = {.host = &h->host,
				     .pcpus = shape.pcpus,
				     .vm_slots = 1,
				     .vcpu_slots = shape.vcpus,
				     .default_scheduler = &turns};
	struct pool *p;
	struct error e;
	struct feedback fb;
	uint32_t vm, v;
	uint64_t now;

	*h = (struct bench_host){.host.ops = &host_ops, .now_ns = NSEC_PER_SEC};
	if (pool_new(&config, &p, &e) < 0) {
		report_fail(r, "%s", e.text);
		return NULL;
	}
	now = pool_enter(p);
	for (uint32_t i = 1; i < shape.attached; i++) {
		struct attached *a;

		if (attached_new(p, &turns, NULL, &a, &e) < 0 || pool_attach(p, a) < 0 || attached_attach(a, now) < 0)
			abort();
	}
	(void)pool_vm_add(p, &(struct baton_vm){0}, &vm);
	for (uint32_t i = 0; i < shape.vcpus; i++) {
		(void)pool_vcpu_add(p, vm, i, NULL, NULL, now, &v, &e);
		pool_resume(p, v, true, now);
	}
	for (uint32_t i = 0; i < shape.pcpus; i++)
		pool_ask(p, i, ASKED_BY_TIMER, now, &fb);
	pool_leave(p);
	return p;
}

/* ---- what is measured ---- */

static void switch_turn(struct pool *p, uint32_t pcpu)
{
	struct feedback fb;
	uint64_t now = pool_enter(p);

	pool_stop(p, pcpu, BATON_STOP_SLICE, now);
	pool_tick(p, pcpu, now);
	pool_ask(p, pcpu, ASKED_BY_TIMER, now, &fb);
	pool_leave(p);
}

static void wake_turn(struct pool *p, uint32_t pcpu) NO_TSA
{
	uint32_t v = p->pcpus[pcpu].running;
	struct feedback fb;
	uint64_t now = pool_enter(p);

	pool_stop(p, pcpu, BATON_STOP_BLOCKED, now);
	pool_tick(p, pcpu, now);
	pool_ask(p, pcpu, ASKED_BY_GUEST_VM, now, &fb);
	pool_leave(p);
	now = pool_enter(p);
	pool_wake(p, v, ASKED_BY_DEVICE, now);
	pool_leave(p);
}

static double measure(struct pool *p, void (*turn)(struct pool *, uint32_t), uint64_t turns_count)
{
	uint32_t pcpu = 0;
	uint64_t began = clock_now_ns();

	for (uint64_t i = 0; i < turns_count; i++) {
		turn(p, pcpu);
		pcpu = pcpu + 1 == p->pcpu_count ? 0 : pcpu + 1;
	}
	return (double)(clock_now_ns() - began) / (double)turns_count;
}

static double best_of(struct pool *p, void (*turn)(struct pool *, uint32_t), uint64_t turns_count)
{
	double best = INFINITY;

	for (unsigned i = 0; i < 5; i++)
		best = fmin(best, measure(p, turn, turns_count));
	return best;
}

static void rows(struct report *r, struct shape shape)
{
	struct bench_host h;
	struct pool *p = build(r, &h, shape);
	uint64_t n = r->quick ? 200000 : 2000000;
	double change, wake;

	if (!p)
		return;
	change = best_of(p, switch_turn, n);
	wake = best_of(p, wake_turn, n) - change;
	report_row(r, "core.switch", change, "ns", NO_BASELINE, NULL,
		   json_pack("{s:i, s:i, s:i}", "pcpus", (int)shape.pcpus, "vcpus", (int)shape.vcpus, "attached",
			     (int)shape.attached));
	report_row(r, "core.wake", wake, "ns", NO_BASELINE, NULL,
		   json_pack("{s:i, s:i, s:i}", "pcpus", (int)shape.pcpus, "vcpus", (int)shape.vcpus, "attached",
			     (int)shape.attached));
	pool_free(p);
}

int main(int argc, char **argv)
{
	static const struct shape shapes[] = {
	    {2, 10, 1}, {2, 10, 2}, {16, 1000, 1}, {256, 100000, 1}, {256, 100000, 2}};
	long count = 0, wakes = 0, pcpus = 2, vcpus = 10, attached = 1;
	const struct bench_option options[] = {
	    {.name = "turns", .help = "do only so many turns of one shape", .number = &count, .max = 1000000000},
	    {.name = "wakes", .help = "with --turns: 1 = with a wake-up each", .number = &wakes, .max = 1},
	    {.name = "pcpus", .help = "with --turns", .number = &pcpus, .min = 1, .max = BATON_PCPUS_MAX},
	    {.name = "vcpus", .help = "with --turns", .number = &vcpus, .min = 1, .max = 1000000},
	    {.name = "attached", .help = "with --turns", .number = &attached, .min = 1, .max = POOL_ATTACHED_MAX},
	    {0}};
	struct report r;
	int status;

	if (!report_begin(&r, argc, argv, "What the scheduling core costs per event, without policy and host.", options,
			  &status))
		return status;
	if (count > 0) {
		struct bench_host h;
		struct pool *p = build(&r, &h, (struct shape){(uint32_t)pcpus, (uint32_t)vcpus, (uint32_t)attached});

		if (p)
			(void)measure(p, wakes ? wake_turn : switch_turn, (uint64_t)count);
		pool_free(p);
		return report_end(&r);
	}
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
		rows(&r, shapes[i]);
	return report_end(&r);
}
