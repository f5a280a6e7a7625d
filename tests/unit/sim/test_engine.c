/* SPDX-License-Identifier: Apache-2.0 */
/* test_engine.c - the simulator's engine: times add up, behaviours do what they say, runs repeat themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "policies/builtin.h"
#include "sim/sim.h"
#include "sim/stats.h"

#define US NSEC_PER_USEC
#define MS NSEC_PER_MSEC
#define S  NSEC_PER_SEC

static struct length fixed(uint64_t ns)
{
	return (struct length){.kind = LENGTH_FIXED, .a_ns = ns};
}

static const struct behaviour compute = {.kind = BEHAVIOUR_COMPUTE};

static struct workload *world(uint32_t pcpus, uint64_t duration_ns)
{
	struct workload *w = workload_new();

	assert_non_null(w);
	w->pcpus = pcpus;
	w->duration_ns = duration_ns;
	w->kick_ns = w->switch_ns = w->migration_ns = 0;
	return w;
}

/* A VM whose vCPUs all do the same. */
static void add(struct workload *w, const char *name, uint32_t vcpus, struct baton_vm wishes, struct behaviour does)
{
	struct phase phase;
	struct program program = program_of(&phase, &does);
	struct workload_vm vm = {
	    .count = 1, .vcpus = vcpus, .wishes = wishes, .programs = &program, .program_count = 1};
	struct error e = {""};

	(void)snprintf(vm.name, sizeof vm.name, "%s", name);
	assert_int_equal(workload_add_vm(w, &vm, &e), 0);
}

static struct sim *start(const struct workload *w, const struct baton_scheduler *policy, sim_observer observer,
			 void *ctx)
{
	struct error e = {""};
	struct sim *s = NULL;
	int r =
	    sim_new(&(struct sim_config){.workload = w, .scheduler = policy, .observer = observer, .ctx = ctx}, &s, &e);

	if (r < 0)
		fail_msg("%s", e.text);
	return s;
}

static void run(struct sim *s)
{
	struct error e = {""};

	if (sim_run(s, SIM_END, &e) < 0)
		fail_msg("%s", e.text);
}

static struct pool_times times(struct sim *s, uint32_t v)
{
	uint64_t now = pool_enter(sim_pool(s));
	struct pool_times t = pool_vcpu_times(sim_pool(s), v, now);

	pool_leave(sim_pool(s));
	return t;
}

static void test_equals_share_equally(void **state)
{
	struct workload *w = world(1, 10 * S);
	struct sim *s;

	add(w, "a", 1, (struct baton_vm){0}, compute);
	add(w, "b", 1, (struct baton_vm){0}, compute);
	s = start(w, &baton_scheduler_rr, NULL, NULL);
	run(s);
	assert_in_range(times(s, 0).run_ns, 5 * S - 5 * MS, 5 * S + 5 * MS);
	assert_int_equal(times(s, 0).run_ns + times(s, 1).run_ns, 10 * S);
	assert_int_equal(times(s, 0).run_ns + times(s, 0).wait_ns, 10 * S);
	assert_int_equal(hist_at(&sim_stats(s)->entries[0].wait, 0.99) / MS, 5);
	sim_free(s);
	workload_free(w);
}

static void test_weights_share_in_proportion(void **state)
{
	struct workload *w = world(1, 10 * S);
	struct sim *s;

	add(w, "one", 1, (struct baton_vm){.weight = 100}, compute);
	add(w, "three", 1, (struct baton_vm){.weight = 300}, compute);
	s = start(w, &baton_scheduler_bvt, NULL, NULL);
	run(s);
	assert_in_range(times(s, 1).run_ns, 7400 * MS, 7600 * MS);
	sim_free(s);
	workload_free(w);
}

static void test_periodic_runs_when_it_is_due(void **state)
{
	struct workload *w = world(1, 1 * S);
	struct sim *s;

	add(w, "p", 1, (struct baton_vm){0},
	    (struct behaviour){.kind = BEHAVIOUR_PERIODIC, .run = fixed(2 * MS), .period_ns = 10 * MS});
	s = start(w, &baton_scheduler_rr, NULL, NULL);
	run(s);
	/* The job that is due at the very end has not run yet. */
	assert_int_equal(times(s, 0).run_ns, 200 * MS);
	assert_int_equal(times(s, 0).blocked_ns, 800 * MS);
	assert_int_equal(sim_stats(s)->entries[0].latency.max, 0);
	sim_free(s);
	workload_free(w);
}

static void test_costs_are_paid(void **state)
{
	struct workload *w = world(1, 1 * S);
	struct sim *s;

	w->kick_ns = 50 * US;
	w->switch_ns = 100 * US;
	add(w, "p", 1, (struct baton_vm){0},
	    (struct behaviour){.kind = BEHAVIOUR_PERIODIC, .run = fixed(2 * MS), .period_ns = 10 * MS});
	add(w, "q", 1, (struct baton_vm){0},
	    (struct behaviour){
		.kind = BEHAVIOUR_PERIODIC, .run = fixed(1 * MS), .period_ns = 10 * MS, .offset_ns = 5 * MS});
	s = start(w, &baton_scheduler_rr, NULL, NULL);
	run(s);
	/* Each job: switching comes on top of the work; each wake-up on an idle pCPU waits for the kick. */
	assert_int_equal(times(s, 0).run_ns, 100 * (2 * MS + 100 * US));
	assert_int_equal(times(s, 1).run_ns, 100 * (1 * MS + 100 * US));
	assert_int_equal(sim_stats(s)->entries[1].latency.max, 50 * US);
	sim_free(s);
	workload_free(w);
}

/* Two that share a lock on two pCPUs: each waits for the other's critical section only; no one spins into an exit. */
static void test_lock_is_exclusive(void **state)
{
	struct behaviour lock = {
	    .kind = BEHAVIOUR_LOCK, .run = fixed(10 * US), .hold = fixed(10 * US), .pause_ns = 1 * MS};
	struct workload *w = world(2, 100 * MS);
	struct sim *s;

	add(w, "pair", 2, (struct baton_vm){0}, lock);
	s = start(w, &baton_scheduler_rr, NULL, NULL);
	run(s);
	/* 20 us for each turn of two, once the two have fallen into step. */
	assert_in_range(sim_jobs(s, 0), 4990, 5000);
	assert_in_range(sim_jobs(s, 1), 4990, 5000);
	sim_free(s);
	workload_free(w);
}

struct spins {
	uint64_t spins;
};

static void count_spins(void *ctx, struct sim *s, const struct sim_event *event)
{
	((struct spins *)ctx)->spins += event->kind == SIM_SPIN;
}

/* On one pCPU the owner is put aside while it holds the lock, and the other one can only spin and yield. */
static void test_spinner_leaves_its_pause_loop(void **state)
{
	struct behaviour lock = {
	    .kind = BEHAVIOUR_LOCK, .run = fixed(1 * US), .hold = fixed(3 * MS), .pause_ns = 20 * US};
	struct workload *w = world(1, 1 * S);
	struct spins spins = {0};
	struct sim *s;

	add(w, "pair", 2, (struct baton_vm){0}, lock);
	s = start(w, &baton_scheduler_rr, count_spins, &spins);
	run(s);
	assert_in_range(spins.spins, 50, 400);
	assert_in_range(sim_jobs(s, 0) + sim_jobs(s, 1), 300, 333);
	sim_free(s);
	workload_free(w);
}

static void test_phases_follow_each_other(void **state)
{
	struct phase phases[] = {{.for_ns = 100 * MS, .does = {.kind = BEHAVIOUR_COMPUTE}},
				 {.for_ns = 300 * MS, .does = {.kind = BEHAVIOUR_IDLE}}};
	struct program program = {.phases = phases, .count = 2, .repeat = true};
	struct workload_vm vm = {.name = "p", .count = 1, .vcpus = 1, .programs = &program, .program_count = 1};
	struct workload *w = world(1, 4 * S);
	struct sim *s;

	assert_int_equal(workload_add_vm(w, &vm, NULL), 0);
	s = start(w, &baton_scheduler_rr, NULL, NULL);
	run(s);
	/* To halt takes the one ns in which it halts; at the very end the next turn begins. */
	assert_int_equal(times(s, 0).run_ns, 10 * (100 * MS + 1));
	sim_free(s);
	workload_free(w);
}

static void test_vms_come_and_go(void **state)
{
	struct workload *w = world(1, 3 * S);
	struct sim *s;

	add(w, "stays", 1, (struct baton_vm){0}, compute);
	add(w, "visits", 2, (struct baton_vm){0}, compute);
	w->vms[1].start_ns = 1 * S;
	w->vms[1].stop_ns = 2 * S;
	s = start(w, &baton_scheduler_rr, NULL, NULL);
	run(s);
	assert_in_range(sim_stats(s)->entries[1].run_ns, 650 * MS, 680 * MS);
	assert_int_equal(times(s, 0).run_ns + sim_stats(s)->entries[1].run_ns, 3 * S);
	sim_free(s);
	workload_free(w);
}

static void test_idle_pcpus_are_used(void **state)
{
	struct workload *w = world(4, 1 * S);
	struct sim *s;

	add(w, "a", 4, (struct baton_vm){0}, compute);
	s = start(w, &baton_scheduler_bvt, NULL, NULL);
	run(s);
	for (uint32_t v = 0; v < 4; v++)
		assert_int_equal(times(s, v).run_ns, 1 * S);
	sim_free(s);
	workload_free(w);
}

struct digest {
	uint64_t sum, events;
};

static void digest(void *ctx, struct sim *s, const struct sim_event *event)
{
	struct digest *d = ctx;
	const uint64_t words[] = {event->kind, event->time_ns, event->vcpu, event->pcpu, event->why, event->ran_ns};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		d->sum = (d->sum ^ words[i]) * UINT64_C(0x100000001b3);
	d->events++;
}

static struct digest digest_of(const struct workload *w, uint64_t seed)
{
	struct digest d = {0};
	struct error e;
	struct sim *s;

	assert_int_equal(
	    sim_new(
		&(struct sim_config){
		    .workload = w, .scheduler = &baton_scheduler_bvt, .seed = seed, .observer = digest, .ctx = &d},
		&s, &e),
	    0);
	run(s);
	sim_free(s);
	return d;
}

static void test_the_same_seed_gives_the_same_run(void **state)
{
	struct length some = {.kind = LENGTH_EXPONENTIAL, .a_ns = 2 * MS};
	struct behaviour io = {.kind = BEHAVIOUR_IO, .run = some, .block = some};
	struct workload *w = world(2, 1 * S);
	struct digest first, again, other;

	w->kick_ns = 5 * US;
	add(w, "io", 8, (struct baton_vm){0}, io);
	add(w, "c", 2, (struct baton_vm){.weight = 512}, compute);
	first = digest_of(w, 7);
	again = digest_of(w, 7);
	other = digest_of(w, 8);
	assert_true(first.events > 1000);
	assert_int_equal(first.sum, again.sum);
	assert_int_equal(first.events, again.events);
	assert_int_not_equal(first.sum, other.sum);
	workload_free(w);
}

/* Stepping, and running in pieces, are the same run as running through. */
static void test_steps_are_a_run(void **state)
{
	struct workload *w = world(2, 1 * S);
	struct digest d = {0}, whole;
	struct error e;
	struct sim *s;

	add(w, "c", 3, (struct baton_vm){0}, compute);
	whole = digest_of(w, 1);
	s = start(w, &baton_scheduler_bvt, digest, &d);
	for (uint64_t t = 0; t < 400 * MS; t += 7 * MS)
		assert_int_equal(sim_run(s, SIM_EPOCH_NS + t, &e), 0);
	while (sim_step(s))
		;
	assert_int_equal(d.events, whole.events);
	assert_int_equal(d.sum, whole.sum);
	sim_free(s);
	workload_free(w);
}

static void test_fairness_is_measured(void **state)
{
	struct workload *w = world(1, 10 * S);
	struct sim *s;

	add(w, "light", 1, (struct baton_vm){.weight = 100}, compute);
	add(w, "heavy", 1, (struct baton_vm){.weight = 300}, compute);
	s = start(w, &baton_scheduler_rr, NULL, NULL);
	run(s);
	/* Round robin gives halves where a quarter and three quarters are due: 100 % too much, and a third too little. */
	assert_in_range(hist_at(&sim_stats(s)->entries[0].error, 0.5), 9600, 10400);
	assert_in_range(hist_at(&sim_stats(s)->entries[1].error, 0.5), 3200, 3500);
	sim_free(s);
	workload_free(w);
}

static struct baton_choice kick_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	for (uint32_t v = 0; v < r->vcpu_slots; v++)
		if (baton_vcpu(r, v)->state == BATON_VCPU_RUNNABLE)
			return (struct baton_choice){.vcpu = v};
	return (struct baton_choice){.vcpu = BATON_NONE};
}

static void kick_start(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now)
{
	baton_kick(pcpu);
}

static const struct baton_scheduler kicker = {.magic = BATON_SCHEDULER_MAGIC,
					      .abi = BATON_SCHEDULER_ABI,
					      .size = sizeof(struct baton_scheduler),
					      .name = "kicker",
					      .choose = kick_choose,
					      .start = kick_start};

static void test_a_policy_that_stands_still_is_found_out(void **state)
{
	struct workload *w = world(1, 1 * S);
	struct error e = {""};
	struct sim *s;

	add(w, "c", 1, (struct baton_vm){0}, compute);
	s = start(w, &kicker, NULL, NULL);
	assert_int_equal(sim_run(s, SIM_END, &e), -ELOOP);
	assert_non_null(strstr(e.text, "kicker"));
	sim_free(s);
	workload_free(w);
}

static void test_wrong_workloads_are_refused(void **state)
{
	struct workload_vm vm = {.name = "v", .count = 1, .vcpus = 1};
	struct workload *w = world(1, 1 * S);
	struct phase phase;
	struct program program = program_of(&phase, &compute);
	struct error e = {""};
	struct sim *s;

	assert_int_equal(sim_new(&(struct sim_config){.workload = w, .scheduler = &baton_scheduler_rr}, &s, &e),
			 -EINVAL);
	assert_int_equal(workload_add_vm(w, &vm, &e), -EINVAL);
	vm.programs = &program;
	vm.program_count = 1;
	vm.wishes.weight = 65537;
	assert_int_equal(workload_add_vm(w, &vm, &e), -EINVAL);
	vm.wishes.weight = 0;
	vm.pinned = true;
	vm.affinity[0] = 2;
	assert_int_equal(workload_add_vm(w, &vm, &e), -EINVAL);
	vm.affinity[0] = 1;
	phase.does = (struct behaviour){.kind = BEHAVIOUR_IO, .run = fixed(1), .block = fixed(0)};
	assert_int_equal(workload_add_vm(w, &vm, &e), -EINVAL);
	assert_int_equal(w->vm_count, 0);
	workload_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_equals_share_equally),
	    cmocka_unit_test(test_weights_share_in_proportion),
	    cmocka_unit_test(test_periodic_runs_when_it_is_due),
	    cmocka_unit_test(test_costs_are_paid),
	    cmocka_unit_test(test_lock_is_exclusive),
	    cmocka_unit_test(test_spinner_leaves_its_pause_loop),
	    cmocka_unit_test(test_phases_follow_each_other),
	    cmocka_unit_test(test_vms_come_and_go),
	    cmocka_unit_test(test_idle_pcpus_are_used),
	    cmocka_unit_test(test_the_same_seed_gives_the_same_run),
	    cmocka_unit_test(test_steps_are_a_run),
	    cmocka_unit_test(test_fairness_is_measured),
	    cmocka_unit_test(test_a_policy_that_stands_still_is_found_out),
	    cmocka_unit_test(test_wrong_workloads_are_refused),
	};

	return cmocka_run_group_tests_name("sim-engine", tests, NULL, NULL);
}
