/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton-workload - what the demo's guests do, and how they show that they are alive.
 *
 *	compute	threads of integer work that never rest
 *	sleeper	threads that sleep most of the time and measure how late each timer wakes them
 *
 * The main thread beats: at fixed times of this guest's own clock it prints one line and tells the monitor. A guest
 * that was not run for a while notices it here, by its own clock: as a gap between two beats and as steal time.
 *
 * Threads: the main thread beats, the others work; they share one counter or one maximum each, as relaxed atomics.
 * Without Baton below (plain QEMU, a desktop) everything works but the telling.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "baton/guest.h"
#include "link.h"

#define NS_PER_S    1000000000ULL
#define NS_PER_MS   1000000ULL
#define THREADS_MAX 64
#define WORK_UNIT   100000u /* rounds of the generator in one unit of work: about 0.1 to 0.5 ms */

struct worker {
	pthread_t thread;
	struct workload *load;
	/* Each on its own cache line: the counting must not become the load. */
	_Alignas(64) _Atomic uint64_t work; /* units done */
	_Atomic uint64_t worst_ns;	    /* latest wake-up since the last beat */
	uint64_t sink;			    /* keeps the work from being optimised away */
};

struct workload {
	bool sleeper, quiet;
	unsigned threads;
	uint64_t period_ns, beat_ns, beats; /* beats: end after that many, 0 = never */
	struct link link;
	bool linked;
	struct worker workers[THREADS_MAX];
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t when)
{
	struct timespec t = {.tv_sec = (time_t)(when / NS_PER_S), .tv_nsec = (long)(when % NS_PER_S)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static void *compute_main(void *arg)
{
	struct worker *w = arg;
	uint64_t x = 0x9e3779b97f4a7c15u ^ (uint64_t)(uintptr_t)w;

	for (;;) {
		for (unsigned i = 0; i < WORK_UNIT; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
		}
		w->sink = x;
		atomic_fetch_add_explicit(&w->work, 1, memory_order_relaxed);
	}
	return NULL;
}

static void *sleeper_main(void *arg)
{
	struct worker *w = arg;
	uint64_t period = w->load->period_ns, due = now_ns() + period;

	for (;;) {
		uint64_t now, worst;

		sleep_until(due);
		now = now_ns();
		worst = atomic_load_explicit(&w->worst_ns, memory_order_relaxed);
		while (now - due > worst &&
		       !atomic_compare_exchange_weak_explicit(&w->worst_ns, &worst, now - due, memory_order_relaxed,
							      memory_order_relaxed))
			;
		atomic_fetch_add_explicit(&w->work, 1, memory_order_relaxed);
		/* Periods that were slept through are not made up for: their lateness has been seen. */
		do
			due += period;
		while (due <= now);
	}
	return NULL;
}

/* Steal time of all CPUs in ms as the guest's kernel counts it: the eighth figure of /proc/stat's first line. */
static uint64_t steal_ms(void)
{
	unsigned long long v = 0;
	FILE *f = fopen("/proc/stat", "re");

	if (!f)
		return 0;
	if (fscanf(f, "cpu %*u %*u %*u %*u %*u %*u %*u %llu", &v) != 1)
		v = 0;
	fclose(f);
	return v * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK);
}

/* One beat: the datum that the monitor keeps, and the line. */
static void beat(struct workload *l, uint64_t seq, uint64_t now, uint64_t gap_ns)
{
	uint64_t work = 0, worst = 0;

	for (unsigned i = 0; i < l->threads; i++) {
		uint64_t w = atomic_exchange_explicit(&l->workers[i].worst_ns, 0, memory_order_relaxed);

		work += atomic_load_explicit(&l->workers[i].work, memory_order_relaxed);
		if (w > worst)
			worst = w;
	}
	if (l->linked)
		link_call(&l->link, BATON_CALL_HEARTBEAT, seq, now, l->sleeper ? worst : work);
	if (l->quiet)
		return;
	printf("beat %llu t=%llu.%03llu gap_ms=%llu ", (unsigned long long)seq, (unsigned long long)(now / NS_PER_S),
	       (unsigned long long)(now / NS_PER_MS % 1000),
	       (unsigned long long)((gap_ns + NS_PER_MS / 2) / NS_PER_MS));
	if (l->sleeper)
		printf("worst_latency_us=%llu", (unsigned long long)(worst / 1000));
	else
		printf("work=%llu", (unsigned long long)work);
	printf(" steal_ms=%llu\n", (unsigned long long)steal_ms());
	fflush(stdout);
}

static int run(struct workload *l)
{
	uint64_t last = now_ns(), due = last;

	for (unsigned i = 0; i < l->threads; i++) {
		struct worker *w = &l->workers[i];
		int r;

		w->load = l;
		r = pthread_create(&w->thread, NULL, l->sleeper ? sleeper_main : compute_main, w);
		if (r) {
			fprintf(stderr, "baton-workload: thread %u of %u cannot be made: %s; use fewer --threads\n",
				i + 1, l->threads, strerror(r));
			return 1;
		}
	}
	for (uint64_t seq = 1; !l->beats || seq <= l->beats; seq++) {
		uint64_t now;

		due += l->beat_ns;
		sleep_until(due);
		now = now_ns();
		beat(l, seq, now, now - last);
		last = now;
		/* After a long gap the next beat comes at the next regular time, not all missed ones at once. */
		while (due + l->beat_ns <= now)
			due += l->beat_ns;
	}
	return 0;
}

static void help(FILE *f)
{
	fputs("usage: baton-workload compute|sleeper [--threads N] [--period MS] [--beat MS] [--beats N] [--quiet]\n"
	      "       baton-workload hello | exit STATUS\n"
	      "\n"
	      "A load for a guest, with heartbeats: every --beat ms (default 500) one line, and under Baton one "
	      "hypercall.\n"
	      "\n"
	      "  compute   threads that calculate without rest. beat N t=SECONDS gap_ms=... work=UNITS steal_ms=...\n"
	      "  sleeper   threads that sleep --period ms (default 10) at a time and measure how late they are woken.\n"
	      "            beat N t=SECONDS gap_ms=... worst_latency_us=... steal_ms=...\n"
	      "  hello     one heartbeat, number 0, and no more: \"this guest has reached user space\"\n"
	      "  exit      powers this VM off with that exit status; does nothing without Baton\n"
	      "\n"
	      "  gap_ms is the time since the beat before by this guest's own clock: the beat when all is well.\n"
	      "  --threads N   default: one for each CPU         --beats N   end after N beats (default: go on for "
	      "ever)\n"
	      "  --quiet       tell the monitor, print nothing\n",
	      f);
}

/* text as a number within [low, high]; false when it is none. */
static bool number(const char *text, unsigned long low, unsigned long high, unsigned long *ret)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || v < low || v > high)
		return false;
	*ret = v;
	return true;
}

static int options(struct workload *l, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
		unsigned long v, high = !strcmp(name, "--threads") ? THREADS_MAX : 3600000;

		if (!strcmp(name, "--quiet")) {
			l->quiet = true;
			continue;
		}
		if (strcmp(name, "--threads") && strcmp(name, "--period") && strcmp(name, "--beat") &&
		    strcmp(name, "--beats")) {
			fprintf(stderr, "baton-workload: unknown option '%s'; see baton-workload --help\n", name);
			return -EINVAL;
		}
		if (!number(value, 1, high, &v)) {
			fprintf(stderr, "baton-workload: %s needs a number from 1 to %lu, not '%s'\n", name, high,
				value);
			return -EINVAL;
		}
		if (!strcmp(name, "--threads"))
			l->threads = (unsigned)v;
		else if (!strcmp(name, "--period"))
			l->period_ns = v * NS_PER_MS;
		else if (!strcmp(name, "--beat"))
			l->beat_ns = v * NS_PER_MS;
		else
			l->beats = v;
		i++;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct workload load; /* static only for its size and alignment */
	struct workload *l = &load;
	const char *what = argc > 1 ? argv[1] : "";
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned long status;

	if (!strcmp(what, "--help") || !strcmp(what, "-h") || !strcmp(what, "help")) {
		help(stdout);
		return 0;
	}
	l->threads = cpus < 1 ? 1 : cpus > THREADS_MAX ? THREADS_MAX : (unsigned)cpus;
	l->period_ns = 10 * NS_PER_MS;
	l->beat_ns = 500 * NS_PER_MS;
	l->linked = link_open(&l->link, NULL) == 0;
	if (!strcmp(what, "hello") && argc == 2) {
		if (l->linked)
			link_call(&l->link, BATON_CALL_HEARTBEAT, 0, now_ns(), 0);
		return 0;
	}
	if (!strcmp(what, "exit") && argc == 3 && number(argv[2], 0, INT_MAX, &status)) {
		if (l->linked)
			link_call(&l->link, BATON_CALL_EXIT, status, 0, 0);
		return 0;
	}
	l->sleeper = !strcmp(what, "sleeper");
	if (!l->sleeper && strcmp(what, "compute")) {
		help(stderr);
		return 2;
	}
	if (options(l, argc - 2, argv + 2) < 0)
		return 2;
	return run(l);
}
