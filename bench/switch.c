/* SPDX-License-Identifier: Apache-2.0 */
/*
 * switch.c - what it costs to leave one vCPU and enter another on the same pCPU.
 *
 * Two nano guests that do nothing but yield share one pCPU, so each exit is followed by a switch. The run loop itself
 * measures from the return of one vCPU's exit handling to the moment before the other one's KVM_RUN: deciding, telling
 * all schedulers, preparing. The carrier `thread` pays a hand-over between threads in the middle of that.
 *
 * The baseline, in the same run and on the same CPU, is what any design with a thread per vCPU has to pay at least: two
 * threads pinned to one CPU that hand over to each other by futex.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/futex.h"
#include "place.h"

/* ---- the baseline ---- */

struct table {
	_Atomic uint32_t turn; /* whose turn it is: 0, 1 */
	unsigned long rounds;
	int cpu;
};

struct player {
	struct table *table;
	uint32_t me;
	bool pinned;
};

static bool pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	return sched_setaffinity(0, sizeof set, &set) == 0;
}

static void *play(void *ctx)
{
	struct player *p = ctx;
	struct table *t = p->table;

	p->pinned = pin(t->cpu);
	for (unsigned long i = 0; i < t->rounds; i++) {
		while (atomic_load(&t->turn) != p->me)
			futex_wait(&t->turn, !p->me, TIME_NEVER);
		atomic_store(&t->turn, !p->me);
		futex_wake(&t->turn);
	}
	return NULL;
}

/* ns of one hand-over. */
static double hand_over(struct report *r, int cpu, unsigned long rounds)
{
	struct table t = {.rounds = rounds, .cpu = cpu};
	struct player players[2] = {{.table = &t, .me = 0}, {.table = &t, .me = 1}};
	pthread_t threads[2];
	uint64_t began = clock_now_ns();

	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, play, &players[i]) != 0)
			abort();
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	if (!players[0].pinned || !players[1].pinned)
		report_fail(r, "cannot pin threads to CPU %d", cpu);
	return (double)(clock_now_ns() - began) / (double)(2 * rounds);
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

/* Mean cost over windows of some milliseconds each: a window in which something else had the CPU stands out, and the
 * median leaves it out. The hand-over is measured in windows of the same length, taken in turn with these. */
static void measure(struct report *r, const char *pcpus, int cpu, enum carrier_kind carrier, unsigned windows,
		    struct samples *ret_switch, struct samples *ret_hand_over)
{
	static const char *const names[] = {"left", "right"};
	struct monitor *m = place_monitor(r, pcpus, carrier, 4);
	char yielder[PLACE_PATH_MAX];

	place_path(r, yielder, "guest/nano/yielder", "build first (./dev build)");
	for (int i = 0; i < 2; i++)
		if (!place_vm_start(r, m,
				    &(struct place_vm){.name = names[i],
						       .kernel = yielder,
						       .cmdline = "beat_ms=1000",
						       .vcpus = 1,
						       .memory_mib = 4}))
			exit(1);
	usleep(200000);
	for (unsigned i = 0; i < windows && !r->failed; i++) {
		struct watch before = look(m), after;
		int paused = 0;

		usleep(20000);
		after = look(m);
		if (after.count - before.count >= SWITCHES_MIN) /* else something else had the CPU */
			samples_add(ret_switch, (double)(after.ns - before.ns) / (double)(after.count - before.count));
		/* The CPU is the hand-over's alone while the VMs are paused. */
		for (int v = 0; v < 2; v++) {
			struct vm *vm = place_vm_find(m, names[v]);

			paused += vm && vm_pause(vm, NULL) == 0;
			vm_unref(vm);
		}
		if (paused == 2)
			samples_add(ret_hand_over, hand_over(r, cpu, 2000));
		for (int v = 0; v < 2; v++) {
			struct vm *vm = place_vm_find(m, names[v]);

			if (vm)
				(void)vm_resume(vm, NULL);
			vm_unref(vm);
		}
		usleep(2000);
	}
	if (ret_switch->count == 0)
		report_fail(r, "the guests do not take turns: no switches");
	monitor_free(m);
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
		struct samples ours = {0}, theirs = {0};

		if (strcmp(which, "both") != 0 && strcmp(which, carriers[c].name) != 0)
			continue;
		measure(&r, pcpus, (int)cpu, carriers[c].kind, r.quick ? 20 : 200, &ours, &theirs);
		for (size_t i = 0; i < ARRAY_SIZE(bench_stats) && !r.failed; i++)
			report_row(&r, "switch.vcpu", samples_at(&ours, bench_stats[i].share), "ns",
				   samples_at(&theirs, bench_stats[i].share),
				   "hand-over between two threads on one CPU",
				   json_pack("{s:s, s:s, s:s}", "host", "kvm", "carrier", carriers[c].name, "stat",
					     bench_stats[i].name));
		samples_free(&ours);
		samples_free(&theirs);
	}
	return report_end(&r);
}
