/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_host.h - a host without KVM, for tests of src/sched.
 *
 * Without threads: a virtual clock that tests move on, kicks that are taken down, and events that tests tell one by
 * one. With threads (fake_start): each pCPU is a thread that asks, "runs" the vCPU for a moment and asks again, as a
 * run loop does; vCPUs block at random and are woken by another thread. The clock is then the real one.
 *
 * fake_check looks whether pool, accounts and every attached scheduler's region agree; it is called wherever a test has
 * done something.
 */
#ifndef TESTS_SCHED_FAKE_HOST_H
#define TESTS_SCHED_FAKE_HOST_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "probe.h"
#include "sched/change.h"
#include "sched/loader/arena.h"
#include "sched/manager.h"
#include "sched/pool.h"

#define FAKE_THREADS_MAX 4

/* Holds where a test must be left at once, from any thread. */
#define must(truth)                                                                                                    \
	do {                                                                                                           \
		if (!(truth))                                                                                          \
			fake_fail(#truth, __FILE__, __LINE__);                                                         \
	} while (0)
_Noreturn void fake_fail(const char *what, const char *file, int line);

struct fake {
	struct sched_host host; /* first: the pool's pointer is ours */
	struct pool *pool;
	struct arena *arena;
	struct changer changer;
	bool real_clock;
	uint64_t now_ns;   /* of the virtual clock */
	uint64_t began_ns; /* when the pool was made */
	_Atomic uint32_t kicks[BATON_PCPUS_MAX];
	_Atomic uint32_t kicks_total;
	uint64_t retired_run_ns; /* of vCPUs that are gone */

	int flush_result;
	const char *flush_why;
	unsigned flushes;
	bool flush_saw_running; /* a pCPU was not at rest during a flush */

	/* threads */
	uint32_t threads;
	pthread_t thread[FAKE_THREADS_MAX], waker;
	_Atomic uint32_t asked[FAKE_THREADS_MAX]; /* a kick for that pCPU's thread */
	_Atomic bool stop;
	_Atomic uint32_t *running;  /* per vCPU: how many pCPUs run it */
	_Atomic uint64_t *progress; /* per vCPU: times it ran */
};

struct fake_config {
	uint32_t pcpus, vms, vcpus;		 /* 0: 2, 8, 32 */
	const struct baton_scheduler *scheduler; /* NULL: rr */
	unsigned arena_slots;			 /* 0: 4 */
	uint64_t slice_min_ns, slice_max_ns, migration_cost_ns;
};

/* A pool on a fake host whose virtual clock stands at 1 s. The tests' images are looked for in fake_images. */
struct fake *fake_new(const struct fake_config *config);
struct fake *fake_free(struct fake *f);
extern const char *fake_images;
/* How requests find the active scheduler in the pools that are made. */
extern enum activation_way fake_way;
/* A test's command line: [the directory of images [the way]]. */
void fake_arguments(int argc, char **argv);

/* One event each, at the present time; the lock is taken and dropped. */
uint32_t fake_vm(struct fake *f, uint32_t weight);
uint32_t fake_vcpu(struct fake *f, uint32_t vm); /* paused at first */
uint32_t fake_vcpu_on(struct fake *f, uint32_t vm, uint64_t affinity);
uint32_t fake_vcpu_unless_refused(struct fake *f, uint32_t vm, uint64_t affinity); /* or BATON_NONE */
uint32_t fake_ready(struct fake *f, uint32_t vm);				   /* a vCPU that is runnable */
void fake_remove(struct fake *f, uint32_t v);
void fake_remove_vm(struct fake *f, uint32_t vm);
void fake_wake(struct fake *f, uint32_t v);
bool fake_pause(struct fake *f, uint32_t v);
void fake_resume(struct fake *f, uint32_t v, bool runnable);
void fake_stop(struct fake *f, uint32_t pcpu, enum baton_stop why);
uint32_t fake_ask(struct fake *f, uint32_t pcpu); /* -> who runs there now */
void fake_tick(struct fake *f);
void fake_pass(struct fake *f, uint64_t ns);
void fake_forget_kicks(struct fake *f);
void fake_set(struct fake *f, struct attached *a, enum probe_param parameter, int64_t value);

/* Attaches a scheduler of this program as a shadow, as a change does. */
struct attached *fake_attach(struct fake *f, const struct baton_scheduler *ops);
void fake_activate(struct fake *f, struct attached *a);

/* A change of scheduler. Parameters as name, value, ..., NULL. */
struct change_spec fake_load(const char *name, const char *image, enum change_how how, enum change_old old);
void fake_param(struct change_spec *spec, const char *name, int64_t value);
int fake_change(struct fake *f, const struct change_spec *spec, struct change_report *ret);

struct attached *fake_active(struct fake *f);
struct attached *fake_find(struct fake *f, const char *name);
unsigned fake_attached_count(struct fake *f);
const struct probe_pool *fake_heard(struct attached *a);
const struct probe_vcpu *fake_heard_of(struct attached *a, uint32_t v);

/* Everything agrees, or the test is left. */
void fake_check(struct fake *f);

/* With threads. fake_start: from now on every pCPU runs; the clock is real. */
void fake_start(struct fake *f);
void fake_stop_threads(struct fake *f);

/* Random numbers; the seed is BATON_TEST_SEED or the time, and printed. */
uint64_t fake_seed(void);
uint64_t fake_random(uint64_t *state);

#endif
