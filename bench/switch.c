/* SPDX-License-Identifier: Apache-2.0 */
/*
 * switch.c - what it costs to leave one vCPU and enter another on the same pCPU.
 *
 * Two nano guests that do nothing but yield share one pCPU, so each exit is followed by a switch. The run loop itself
 * measures from the return of one vCPU's exit handling to the moment before the other one's KVM_RUN: deciding, telling
 * all schedulers, preparing. The carrier `thread` pays a hand-over between threads in the middle of that.
 *
 * Two baselines, in the same run and on the same CPU, both a futex hand-over between two pinned threads and nothing else,
 * no decision and no accounts:
 *
 *	vcpu threads	each thread runs a vCPU of its own until that yields, then hands over: what a design with a thread per
 *			vCPU has to pay at least at the same place, right after an exit, with caches as cold as ours
 *	bare threads	the threads do nothing else at all: all caches are warm
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/futex.h"
#include "baton/guest.h"
#include "place.h"

/* ---- the baselines ---- */

struct table {
	_Atomic uint32_t turn; /* whose turn it is: 0, 1 */
	unsigned long rounds;
	int cpu;
	uint64_t left_tsc; /* whoever has the turn */
	uint64_t ticks;	   /* from giving the turn away to having it, summed up */
	unsigned long count;
};

struct player {
	struct table *table;
	uint32_t me;
	struct vcpu *v; /* NULL: a bare thread */
	bool pinned, ok;
};

static bool pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	return sched_setaffinity(0, sizeof set, &set) == 0;
}

static uint64_t ticks(void)
{
	__builtin_ia32_lfence();
	return __builtin_ia32_rdtsc();
}

static enum vcpu_next answer(void *ctx, struct vcpu *v, struct hypercall *call)
{
	(void)ctx;
	if (call->nr == BATON_CALL_CLOCK)
		call->result2 = vcpu_tsc_khz(v);
	return call->nr == BATON_CALL_YIELD ? VCPU_YIELD : VCPU_RESUME;
}

static void ignore_notify(void *ctx, unsigned vcpu, unsigned from)
{
	(void)ctx, (void)vcpu, (void)from;
}

static void ignore_output(void *ctx, const void *data, size_t size)
{
	(void)ctx, (void)data, (void)size;
}

static const struct machine_ops plain_ops = {
    .notify = ignore_notify, .console_out = ignore_output, .hypercall = answer};

/* Until it yields. */
static bool run_vcpu(struct vcpu *v)
{
	enum vcpu_next next;

	do {
		next = vcpu_prepare(v, 0);
		if (next == VCPU_RESUME)
			next = vcpu_run(v) == 0 ? vcpu_exit(v) : VCPU_CRASHED;
	} while (next == VCPU_RESUME);
	return next == VCPU_YIELD;
}

static void *play(void *ctx)
{
	struct player *p = ctx;
	struct table *t = p->table;

	p->pinned = pin(t->cpu);
	p->ok = true;
	for (unsigned long i = 0; i < t->rounds; i++) {
		while (atomic_load(&t->turn) != p->me)
			futex_wait(&t->turn, !p->me, TIME_NEVER);
		if (t->left_tsc != 0) {
			t->ticks += ticks() - t->left_tsc;
			t->count++;
		}
		if (p->v && p->ok)
			p->ok = run_vcpu(p->v);
		t->left_tsc = ticks();
		atomic_store(&t->turn, !p->me);
		futex_wake(&t->turn);
	}
	return NULL;
}

/* ns of one hand-over. v: the two vCPUs, or NULL. */
static double hand_over(struct report *r, int cpu, struct vcpu *const *v, unsigned long rounds)
{
	struct table t = {.rounds = rounds, .cpu = cpu};
	struct player players[2] = {{.table = &t, .me = 0, .v = v ? v[0] : NULL},
				    {.table = &t, .me = 1, .v = v ? v[1] : NULL}};
	pthread_t threads[2];
	uint64_t began_ns = clock_now_ns(), began_tsc = ticks();
	double ns_per_tick;

	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, play, &players[i]) != 0)
			abort();
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ns_per_tick = (double)(clock_now_ns() - began_ns) / (double)(ticks() - began_tsc);
	for (int i = 0; i < 2; i++) {
		if (!players[i].pinned)
			report_fail(r, "cannot pin a thread to CPU %d", cpu);
		if (!players[i].ok)
			report_fail(r, "a guest of the baseline did not yield");
	}
	return (double)t.ticks * ns_per_tick / (double)t.count;
}

/* ---- switches ---- */

#define SWITCHES_MIN 10 /* per window */

struct watch {
	uint64_t ns, count;
};

static struct watch look(struct monitor *m)
{
	struct watch w;

	host_switch_cost(m->host, &w.ns, &w.count);
	return w;
}

static const char *const names[2] = {"left", "right"};

static void for_both(struct monitor *m, int (*act)(struct vm *vm, struct error *e))
{
	for (int i = 0; i < 2; i++) {
		struct vm *vm = place_vm_find(m, names[i]);

		if (vm)
			(void)act(vm, NULL);
		vm_unref(vm);
	}
}

struct costs {
	struct samples ours, vcpu_threads, bare_threads;
};

/* Mean cost over windows of some milliseconds each: a window in which something else had the CPU stands out, and the
 * median leaves it out. The hand-overs are measured in windows of about the same length, taken in turn with these, while
 * the VMs are paused. */
static void measure(struct report *r, const char *pcpus, int cpu, enum carrier_kind carrier, unsigned windows,
		    struct costs *ret)
{
	struct monitor *m =
	    place_monitor(r, &(struct monitor_config){.pcpus = pcpus, .carrier = carrier, .max_vms = 4});
	struct machine *machines[2] = {NULL, NULL};
	struct vcpu *v[2];
	struct error e = {0};
	char yielder[PLACE_PATH_MAX];

	place_path(r, yielder, "guest/nano/yielder", "build first (./dev build)");
	for (int i = 0; i < 2 && !r->failed; i++) {
		struct machine_config plain = {
		    .kernel = yielder, .cmdline = "beat_ms=3600000", .vcpus = 1, .mem_bytes = 4 * MIB};

		(void)place_vm_start(r, m,
				     &(struct place_vm){.name = names[i],
							.kernel = yielder,
							.cmdline = "beat_ms=3600000",
							.vcpus = 1,
							.memory_mib = 4});
		if (machine_new(m->kvm_fd, &plain, &plain_ops, NULL, &machines[i], &e) < 0)
			report_fail(r, "%s", e.text);
		else
			v[i] = machine_vcpu(machines[i], 0);
	}
	usleep(200000);
	for (unsigned i = 0; i < windows && !r->failed; i++) {
		struct watch before = look(m), after;

		usleep(20000);
		after = look(m);
		if (after.count - before.count >= SWITCHES_MIN) /* else something else had the CPU */
			samples_add(&ret->ours, (double)(after.ns - before.ns) / (double)(after.count - before.count));
		for_both(m, vm_pause);
		samples_add(&ret->vcpu_threads, hand_over(r, cpu, v, 300));
		samples_add(&ret->bare_threads, hand_over(r, cpu, NULL, 4000));
		for_both(m, vm_resume);
		usleep(2000);
	}
	if (ret->ours.count == 0)
		report_fail(r, "the guests do not take turns: no switches");
	for (int i = 0; i < 2; i++)
		machine_free(machines[i]);
	monitor_free(m);
}

static void report_costs(struct report *r, const char *carrier, struct costs *c)
{
	struct {
		const char *against, *is;
		struct samples *s;
	} const baselines[] = {
	    {"vcpu-threads", "hand-over between two threads on one CPU that run vCPUs", &c->vcpu_threads},
	    {"bare-threads", "hand-over between two threads on one CPU that do nothing", &c->bare_threads},
	};

	for (size_t k = 0; k < ARRAY_SIZE(baselines); k++)
		for (size_t i = 0; i < ARRAY_SIZE(bench_stats); i++)
			report_row(r, "switch.vcpu", samples_at(&c->ours, bench_stats[i].share), "ns",
				   samples_at(baselines[k].s, bench_stats[i].share), baselines[k].is,
				   json_pack("{s:s, s:s, s:s, s:s}", "host", "kvm", "carrier", carrier, "against",
					     baselines[k].against, "stat", bench_stats[i].name));
	samples_free(&c->ours);
	samples_free(&c->vcpu_threads);
	samples_free(&c->bare_threads);
}

int main(int argc, char **argv)
{
	const char *which = "both";
	long cpu = 0;
	const struct bench_option options[] = {
	    {.name = "carrier", .help = "worker, thread or both (default)", .text = &which},
	    {.name = "cpu",
	     .help = "N  host CPU on which all takes place (default 0)",
	     .number = &cpu,
	     .min = 0,
	     .max = 4095},
	    {.name = NULL},
	};
	static const struct {
		const char *name;
		enum carrier_kind kind;
	} carriers[] = {{"worker", CARRIER_WORKER}, {"thread", CARRIER_THREAD}};
	struct report r;
	char pcpus[16];
	int status;

	if (!report_begin(&r, argc, argv, "The cost of a switch between two vCPUs on one pCPU.", options, &status))
		return status;
	(void)snprintf(pcpus, sizeof pcpus, "%ld", cpu);
	for (size_t c = 0; c < ARRAY_SIZE(carriers); c++) {
		struct costs costs = {0};

		if (strcmp(which, "both") != 0 && strcmp(which, carriers[c].name) != 0)
			continue;
		measure(&r, pcpus, (int)cpu, carriers[c].kind, r.quick ? 20 : 200, &costs);
		if (!r.failed)
			report_costs(&r, carriers[c].name, &costs);
	}
	return report_end(&r);
}
