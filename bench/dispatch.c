/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch.c - the four ways from a requester to the active scheduler (src/sched/activation.h), beside a direct call.
 *
 * dispatch: one question asked and answered, ns; the scheduler's function does next to nothing. requesters: how many ask
 * in turn (1: always the same one). The baseline is the same loop with a direct call of the same function. All are
 * measured in short batches that take turns; the figure is the least of the batches', which the neighbours on the machine
 * have disturbed least.
 *
 * dispatch.switch: activating another scheduler, ns, by the number of requesters; callers: threads that ask all the time
 * on other CPUs meanwhile, which must be told when call sites are patched. The baseline is storing an identifier.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "report.h"
#include "sched/activation.h"

#define ASKED_IN_TURN 5 /* the kinds of requesters that a pool has */

/* ---- two schedulers ---- */

struct counted {
	uint64_t asked;
};

static __attribute__((noinline)) struct answer answer_a(void *scheduler, uint32_t subject, uint64_t now)
{
	struct counted *c = scheduler;

	c->asked++;
	return (struct answer){.owner = subject, .slice_ns = now};
}

static __attribute__((noinline)) struct answer answer_b(void *scheduler, uint32_t subject, uint64_t now)
{
	struct counted *c = scheduler;

	c->asked++;
	return (struct answer){.owner = ~subject, .slice_ns = now};
}

static struct activation *make(struct report *r, enum activation_way way, uint32_t requesters, struct counted both[2])
{
	static question_fn *const a[REQUEST_KINDS] = {answer_a, answer_a, answer_a, answer_a};
	static question_fn *const b[REQUEST_KINDS] = {answer_b, answer_b, answer_b, answer_b};
	struct activation *t;
	struct error e = {0};

	if (activation_new(way, requesters, 2, &t, &e) < 0) {
		report_fail(r, "%s: %s", activation_way_name(way), e.text);
		return NULL;
	}
	activation_bind(t, 0, a, &both[0]);
	activation_bind(t, 1, b, &both[1]);
	activation_switch_to(t, 0);
	return t;
}

/* ---- asking ---- */

static inline __attribute__((always_inline)) uint64_t ask_loop(enum activation_way way, const struct activation *t,
							       uint32_t requesters, uint64_t n)
{
	uint64_t sum = 0;
	uint32_t requester = 0;

	for (uint64_t i = 0; i < n; i++) {
		sum += activation_ask_by(way, t, requester, REQUEST_PCPU_OWNER, (uint32_t)i, i).owner;
		requester = requester + 1 >= requesters ? 0 : requester + 1;
	}
	return sum;
}

/* Each way in a loop of its own, so that choosing between ways is not measured. */
static __attribute__((noinline)) uint64_t ask_by_way(const struct activation *t, uint32_t requesters, uint64_t n)
{
	switch (t->way) {
	case ACTIVATION_IDENTIFIER:
		return ask_loop(ACTIVATION_IDENTIFIER, t, requesters, n);
	case ACTIVATION_ARRAY:
		return ask_loop(ACTIVATION_ARRAY, t, requesters, n);
	case ACTIVATION_POINTER:
		return ask_loop(ACTIVATION_POINTER, t, requesters, n);
	case ACTIVATION_PATCHED:
		return ask_loop(ACTIVATION_PATCHED, t, requesters, n);
	case ACTIVATION_WAYS:
		break;
	}
	return 0;
}

/* The same loop with a direct call. */
static __attribute__((noinline)) uint64_t ask_directly(struct counted *c, uint32_t requesters, uint64_t n)
{
	uint64_t sum = 0;
	uint32_t requester = 0;

	for (uint64_t i = 0; i < n; i++) {
		sum += answer_a(c + requester, (uint32_t)i, i).owner;
		requester = requester + 1 >= requesters ? 0 : requester + 1;
	}
	return sum;
}

static void measure_ways(struct report *r, uint32_t requesters)
{
	struct samples direct = {0}, by_way[ACTIVATION_WAYS] = {0};
	struct counted both[ACTIVATION_WAYS][2] = {0}, plain[ASKED_IN_TURN] = {0};
	struct activation *t[ACTIVATION_WAYS] = {0};
	uint64_t n = 20000, rounds = r->quick ? 200 : 2000, sum = 0, began;
	double base;

	for (uint32_t way = 0; way < ACTIVATION_WAYS; way++) {
		t[way] = make(r, (enum activation_way)way, requesters, both[way]);
		if (!t[way])
			goto out;
	}
	for (uint64_t round = 0; round < rounds; round++) {
		began = clock_now_ns();
		sum += ask_directly(plain, requesters, n);
		samples_add(&direct, (double)(clock_now_ns() - began) / (double)n);
		for (uint32_t way = 0; way < ACTIVATION_WAYS; way++) {
			began = clock_now_ns();
			sum += ask_by_way(t[way], requesters, n);
			samples_add(&by_way[way], (double)(clock_now_ns() - began) / (double)n);
		}
	}
	for (uint32_t way = 0; way < ACTIVATION_WAYS; way++)
		if (both[way][0].asked != n * rounds || both[way][1].asked != 0)
			report_fail(r, "%s: not every question reached the active scheduler",
				    activation_way_name((enum activation_way)way));
	base = samples_at(&direct, 0);
	for (uint32_t way = 0; way < ACTIVATION_WAYS && sum != 0; way++)
		report_row(r, "dispatch", samples_at(&by_way[way], 0), "ns", base, "direct call",
			   json_pack("{s:s, s:i}", "way", activation_way_name((enum activation_way)way), "requesters",
				     (int)requesters));
out:
	for (uint32_t way = 0; way < ACTIVATION_WAYS; way++) {
		activation_free(t[way]);
		samples_free(&by_way[way]);
	}
	samples_free(&direct);
}

/* ---- switching ---- */

struct caller {
	const struct activation *t;
	_Atomic bool stop;
	_Atomic uint64_t asked;
	pthread_t thread;
};

/* To the n-th CPU that this process may use: switcher and caller do not share one where there are two. */
static void pin(int n)
{
	static cpu_set_t allowed; /* of the process, before anybody was pinned */
	cpu_set_t one;

	if (CPU_COUNT(&allowed) == 0)
		(void)sched_getaffinity(0, sizeof allowed, &allowed);
	if (CPU_COUNT(&allowed) < 2)
		return;
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || n-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		(void)sched_setaffinity(0, sizeof one, &one);
		return;
	}
}

static void *caller_thread(void *ctx)
{
	struct caller *c = ctx;
	uint64_t sum = 0;

	pin(1);

	while (!atomic_load_explicit(&c->stop, memory_order_relaxed)) {
		sum += ask_by_way(c->t, 1, 100);
		atomic_fetch_add_explicit(&c->asked, 100, memory_order_relaxed);
	}
	return (void *)(uintptr_t)(sum & 1);
}

static double switch_cost(struct report *r, enum activation_way way, uint32_t requesters, bool caller)
{
	struct counted both[2] = {0};
	struct activation *t = make(r, way, requesters, both);
	struct caller c = {.t = t};
	struct samples s = {0};
	unsigned rounds = r->quick ? 200 : 2000, n = way == ACTIVATION_PATCHED ? 5 : 2000;
	double cost;

	if (!t)
		return NAN;
	if (caller && pthread_create(&c.thread, NULL, caller_thread, &c) != 0) {
		report_fail(r, "no thread for the caller");
		caller = false;
	}
	while (caller && atomic_load(&c.asked) == 0)
		;
	for (unsigned round = 0; round < rounds; round++) {
		uint64_t asked = atomic_load(&c.asked), began = clock_now_ns(), ended;

		for (unsigned i = 0; i < n; i++)
			activation_switch_to(t, (round * n + i) % 2);
		ended = clock_now_ns();
		if (!caller || atomic_load(&c.asked) != asked) /* else the caller's CPU was taken away from it */
			samples_add(&s, (double)(ended - began) / (double)n);
	}
	if (caller) {
		atomic_store(&c.stop, true);
		pthread_join(c.thread, NULL);
	}
	cost = samples_at(&s, 0.5);
	samples_free(&s);
	activation_free(t);
	return cost;
}

static void measure_switches(struct report *r)
{
	static const uint32_t requesters[] = {1, 2, 4, 5, 8, 16, 32, 64};
	double cost, base;

	for (size_t i = 0; i < ARRAY_SIZE(requesters); i++) {
		for (int callers = 0; callers <= 1; callers++) {
			base = switch_cost(r, ACTIVATION_IDENTIFIER, requesters[i], callers);
			for (uint32_t way = 0; way < ACTIVATION_WAYS; way++) {
				cost = way == ACTIVATION_IDENTIFIER
					   ? base
					   : switch_cost(r, (enum activation_way)way, requesters[i], callers);
				report_row(r, "dispatch.switch", cost, "ns", base, "storing an identifier",
					   json_pack("{s:s, s:i, s:i}", "way",
						     activation_way_name((enum activation_way)way), "requesters",
						     (int)requesters[i], "callers", callers));
			}
		}
	}
}

int main(int argc, char **argv)
{
	const struct bench_option options[] = {{0}};
	struct report r;
	int status;

	if (!report_begin(&r, argc, argv, "The ways of a request to the active scheduler, and what switching costs.",
			  options, &status))
		return status;
	measure_ways(&r, 1);
	measure_ways(&r, ASKED_IN_TURN);
	pin(0);
	measure_switches(&r);
	return report_end(&r);
}
