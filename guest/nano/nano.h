/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nano.h - what nano guests share. A nano guest is a tiny program that is a whole guest: it runs in ring 3 from its
 * first instruction and talks to the monitor by port I/O (baton/guest.h) and by nothing else. There is no interrupt, no
 *IDT, no C library; any fault ends the guest.
 *
 * Every vCPU begins at nano_start (nano.c) with its own stack and comes to nano_main, which each program defines.
 *Memory is shared between the vCPUs: use atomics for what they share. By habit vCPU 0 speaks for the VM (heartbeats,
 * console), because a VM has one mailbox and one sequence of heartbeats; the others work.
 *
 * Arguments are words "key=value" (words.h). Every program knows
 *
 *	beat_ms=N	time between heartbeats (default 100)
 *	beats=N		power off with status 0 after so many heartbeats (default 0: never)
 *
 * Exit status: 0 done; 1 the guest has found that something is wrong (it has said so by FAILED before); 2 bad
 * arguments.
 */
#ifndef NANO_NANO_H
#define NANO_NANO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/guest.h"
#include "words.h"

#define NANO_VCPUS_MAX 64

#define NSEC_PER_USEC UINT64_C(1000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_SEC  UINT64_C(1000000000)

/* Reasons that nano guests give with BATON_CALL_FAILED. */
enum nano_failure {
	NANO_FAILED_ASKED = 1, /* panicker: it was asked to fail */
	NANO_FAILED_CALL,      /* a hypercall answered with an error that it has no reason for */
	NANO_FAILED_CLOCK,     /* a clock went backwards or has no frequency */
	NANO_FAILED_CORRUPT,   /* a computation gave another result than before */
	NANO_FAILED_ANSWER,    /* hostile: the monitor's answer was not the one that the contract names; + call << 16 */
};

/* Of one vCPU; lies on its stack. */
struct nano {
	const char *args;
	unsigned vcpu;
	uint64_t mem_bytes;
	uint64_t ns_per_tick; /* 2^32 times that */
	uint64_t tsc_khz;

	uint64_t beat_ns;
	uint64_t beats_max; /* 0: no end */
	uint64_t beats;
	uint64_t next_beat_ns;
	uint64_t last_ns; /* clock at the last heartbeat */
};

/* The program; what it returns is the VM's exit status. keys: its own arguments, for nano_keys. */
int nano_main(struct nano *n);
extern const char *const nano_keys[]; /* ends with NULL */

/* A number among the arguments; a value that is none ends the guest with status 2. */
uint64_t nano_number(const struct nano *n, const char *key, uint64_t otherwise);
/* The same for a time in units of unit_ns; returns ns. */
uint64_t nano_time(const struct nano *n, const char *key, uint64_t otherwise, uint64_t unit_ns);
/* Prints and ends the guest with status 2: the argument `key` does not have a known value. */
_Noreturn void nano_usage(const struct nano *n, const char *key);

static inline uint64_t nano_tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* The guest's own clock: its TSC in ns. */
uint64_t nano_clock_ns(const struct nano *n);

/* Only vCPU 0. Text to the VM's console. */
void nano_print(const char *text);
void nano_print_number(uint64_t number);

/* Only vCPU 0. A heartbeat when its time has come; ends the guest after the last one. True when there was one. */
bool nano_beat_when_due(struct nano *n, uint64_t datum);
/* Only vCPU 0. A heartbeat at once. */
void nano_beat(struct nano *n, uint64_t datum);

/* A call that has no reason to fail: a negative answer ends the guest (NANO_FAILED_CALL). */
long nano_call(enum baton_call nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t *ret1);

_Noreturn void nano_exit(int status);
/* Says FAILED and ends with status 1. */
_Noreturn void nano_fail(uint64_t reason);

/* A count of each vCPU, which vCPU 0 adds up. Every one writes its own cache line. */
struct nano_count {
	_Alignas(64) _Atomic uint64_t count;
};
void nano_count(struct nano_count counts[static NANO_VCPUS_MAX], const struct nano *n);
uint64_t nano_sum(struct nano_count counts[static NANO_VCPUS_MAX]);

/*
 * One unit of work: a few microseconds of arithmetic, whose result is always the same. nano_work checks it, so a
 * register that is lost or mixed up when vCPUs are switched is noticed by the guest itself.
 */
void nano_work(void);

/* Compilers call these two by themselves; programs may, too. */
void *memset(void *to, int c, size_t n);
void *memcpy(void *restrict to, const void *restrict from, size_t n);

#endif
