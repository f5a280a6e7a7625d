/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.h - the last events of a pool, always recorded: what one looks at when a guest has stalled.
 *
 * A fixed ring of small records, overwritten from the oldest. It belongs to the pool and is written under the pool's lock
 * (every event happens there), so it needs no synchronisation of its own and keeps the true order of events.
 */
#ifndef TRACE_RING_H
#define TRACE_RING_H

#include <stdint.h>

#define TRACE_RECORDS 8192 /* a power of two */

enum trace_kind {
	TRACE_NONE,
	TRACE_WAKE,  /* vcpu; a = who (enum requester_kind) */
	TRACE_SLEEP, /* vcpu */
	TRACE_START, /* vcpu, pcpu; a = slice_ns, b = scheduler id */
	TRACE_STOP,  /* vcpu, pcpu; a = ran_ns, b = enum baton_stop */
	TRACE_IDLE,  /* pcpu */
	TRACE_KICK,  /* pcpu */
	TRACE_TICK,
	TRACE_ADMIT,	/* vcpu */
	TRACE_RETIRE,	/* vcpu */
	TRACE_CEASE,	/* a = 1 sign raised, 0 lowered */
	TRACE_ACTIVATE, /* a = from id, b = to id */
	TRACE_WRONG,	/* pcpu; a = answer, b = scheduler id */
	TRACE_POLICY,	/* a policy's own: vcpu = code; a, b */
	TRACE_KINDS,
};

/* Half a cache line. */
struct trace_record {
	uint64_t time_ns;
	uint64_t a, b;
	uint32_t vcpu;
	int16_t pcpu; /* -1: none */
	uint16_t kind;
};

struct trace_ring {
	uint64_t written; /* total; the newest is at (written - 1) % TRACE_RECORDS */
	struct trace_record records[TRACE_RECORDS];
};

static inline void trace_add(struct trace_ring *t, uint64_t now, enum trace_kind kind, uint32_t vcpu, uint32_t pcpu,
			     uint64_t a, uint64_t b)
{
	t->records[t->written++ % TRACE_RECORDS] = (struct trace_record){
	    .time_ns = now, .a = a, .b = b, .vcpu = vcpu, .pcpu = (int16_t)pcpu, .kind = (uint16_t)kind};
	/* The ring is larger than a near cache: the next line is fetched while something else is done. */
	__builtin_prefetch(&t->records[(t->written + 1) % TRACE_RECORDS], 1);
}

static inline const char *trace_kind_name(uint32_t kind)
{
	static const char *const names[TRACE_KINDS] = {
	    [TRACE_NONE] = "none",   [TRACE_WAKE] = "wake",	[TRACE_SLEEP] = "sleep", [TRACE_START] = "start",
	    [TRACE_STOP] = "stop",   [TRACE_IDLE] = "idle",	[TRACE_KICK] = "kick",	 [TRACE_TICK] = "tick",
	    [TRACE_ADMIT] = "admit", [TRACE_RETIRE] = "retire", [TRACE_CEASE] = "cease", [TRACE_ACTIVATE] = "activate",
	    [TRACE_WRONG] = "wrong", [TRACE_POLICY] = "policy",
	};

	return kind < TRACE_KINDS ? names[kind] : "?";
}

#endif
