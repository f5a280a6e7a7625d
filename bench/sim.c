/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.c - how many decisions the simulator makes in a second of one core.
 *
 * Half of the vCPUs compute, the others run and sleep for a while each, so that about twice as many vCPUs are runnable as
 * the pCPUs can take (and in large pools very many more). Counted are decisions (who runs next on a pCPU), over the CPU
 * time of the thread; making the pool and admitting its vCPUs are reported apart. Nothing is measured meanwhile, as in
 * property checks; the rows with statistics show what `baton sim run` pays.
 */
#include <stdio.h>
#include <time.h>

#include "report.h"
#include "sim/policies.h"
#include "sim/sim.h"

struct size {
	uint32_t pcpus, vcpus;
};

static double cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool add_vms(struct workload *w, const char *name, uint32_t count, const struct behaviour *does)
{
	struct phase phase;
	struct program program = program_of(&phase, does);
	struct workload_vm vm = {.count = count, .vcpus = 1, .programs = &program, .program_count = 1};

	(void)snprintf(vm.name, sizeof vm.name, "%s", name);
	return workload_add_vm(w, &vm, NULL) == 0;
}

static struct workload *mixture(struct size size)
{
	struct behaviour compute = {.kind = BEHAVIOUR_COMPUTE};
	struct behaviour io = {.kind = BEHAVIOUR_IO,
			       .run = {.kind = LENGTH_EXPONENTIAL, .a_ns = 500 * NSEC_PER_USEC},
			       .block = {.kind = LENGTH_EXPONENTIAL, .a_ns = 2 * NSEC_PER_MSEC}};
	struct workload *w = workload_new();

	if (!w)
		return NULL;
	w->pcpus = size.pcpus;
	w->duration_ns = 100000 * NSEC_PER_SEC; /* more than will ever be simulated */
	if (!add_vms(w, "compute", size.vcpus / 2, &compute) || !add_vms(w, "io", size.vcpus - size.vcpus / 2, &io))
		return workload_free(w);
	return w;
}

static json_t *parameters(const char *policy, struct size size, bool stats)
{
	return json_pack("{s:s, s:i, s:i, s:b}", "policy", policy, "pcpus", (int)size.pcpus, "vcpus", (int)size.vcpus,
			 "statistics", stats);
}

static uint64_t decisions_of(struct sim *s) NO_TSA
{
	return sim_pool(s)->decisions;
}

/* Runs on until so many decisions were made. */
static int decide(struct sim *s, uint64_t decisions, struct error *e)
{
	uint64_t until = decisions_of(s) + decisions;
	int r = 0;

	while (r >= 0 && decisions_of(s) < until)
		r = sim_run(s, sim_now(s) + NSEC_PER_MSEC, e);
	return r;
}

static void measure(struct report *r, const struct baton_scheduler *policy, struct size size, bool stats)
{
	uint64_t decisions = r->quick ? 50000 : 1000000, before;
	struct workload *w = mixture(size);
	struct error e = {"no memory"};
	struct sim *s = NULL;
	double began = cpu_s(), made, ended;
	int done = -ENOMEM;

	if (w)
		done =
		    sim_new(&(struct sim_config){.workload = w, .scheduler = policy, .without_stats = !stats}, &s, &e);
	made = cpu_s();
	if (done >= 0)
		done = decide(s, decisions / 10, &e); /* everybody has run once, or nearly so */
	if (done >= 0) {
		before = decisions_of(s);
		ended = cpu_s();
		done = decide(s, decisions, &e);
		ended = cpu_s() - ended;
		if (done >= 0) {
			report_row(r, "sim.decisions_per_s", (double)(decisions_of(s) - before) / ended, "1/s",
				   NO_BASELINE, NULL, parameters(policy->name, size, stats));
			report_row(r, "sim.admit", (made - began) * 1e9 / size.vcpus, "ns", NO_BASELINE, NULL,
				   parameters(policy->name, size, stats));
		}
	}
	if (done < 0)
		report_fail(r, "%s with %u pCPUs and %u vCPUs: %s", policy->name, size.pcpus, size.vcpus, e.text);
	sim_free(s);
	workload_free(w);
}

int main(int argc, char **argv)
{
	static const struct size sizes[] = {{1, 10}, {8, 100}, {64, 1000}, {256, 10000}, {256, 100000}};
	static const char *const preferred[] = {"rr", "bvt", "fair"};
	const char *only = NULL;
	long pcpus = 0, vcpus = 0;
	const struct bench_option options[] = {
	    {.name = "policy", .help = "measure this one only", .text = &only},
	    {.name = "pcpus", .help = "with this many pCPUs ...", .number = &pcpus, .min = 1, .max = BATON_PCPUS_MAX},
	    {.name = "vcpus", .help = "... and vCPUs only", .number = &vcpus, .min = 2, .max = WORKLOAD_VCPUS_MAX},
	    {0}};
	struct report r;
	int status;

	if (!report_begin(&r, argc, argv, "How many decisions the simulator makes in a second of one core.", options,
			  &status))
		return status;
	for (size_t p = 0; p < ARRAY_SIZE(preferred); p++) {
		const struct baton_scheduler *policy = policy_find(only ? only : preferred[p]);

		if (!policy && only)
			report_fail(&r, "there is no policy %s", only);
		for (size_t i = 0; policy && i < ARRAY_SIZE(sizes); i++) {
			struct size size = {pcpus ? (uint32_t)pcpus : sizes[i].pcpus,
					    vcpus ? (uint32_t)vcpus : sizes[i].vcpus};

			measure(&r, policy, size, false);
			if (pcpus && vcpus)
				break;
			if (i == 1)
				measure(&r, policy, size, true);
		}
		if (only)
			break;
	}
	return report_end(&r);
}
