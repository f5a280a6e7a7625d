/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic.h - one vCPU's local APIC, always in x2APIC mode (SDM volume 3, chapter 11).
 *
 * Why it is here and not in KVM: without KVM's interrupt chip, HLT, timers and IPIs come to the monitor, so the
 * scheduler sees them. The guest reaches the registers through MSRs 0x800 - 0x8ff, each access an exit.
 *
 * Threads. Any thread may raise an interrupt, ask for lapic_pending or the deadline, and fire the timer; the carrier of
 * the vCPU does the rest. There is no lock: what others touch is atomic.
 *
 *	IRR, TMR	set by anyone, cleared by the carrier when it injects
 *	ISR, TPR, LVT	written by the carrier; others read them to see whether something is deliverable
 *	deadline_ns	armed by the carrier; whoever wins its compare-and-exchange fires it, so it fires once
 *	signals, sipi	set by anyone, taken by the carrier
 *
 * "Set the state, then notify" on one side and "look at the state under the host's lock before sleeping" on the other
 * make a lost wake-up impossible; both use sequentially consistent atomics.
 *
 * Timer. In one-shot and periodic mode it counts at 1 GHz (one tick = 1 ns, before the divider). Periods below
 * LAPIC_PERIOD_MIN_NS are stretched, so that a guest cannot make the monitor fire without end. Missed periods are
 * merged.
 */
#ifndef MACHINE_LAPIC_H
#define MACHINE_LAPIC_H

#include <stdatomic.h>

#include "base/base.h"
#include "machine/apic_bus.h"
#include "machine/guest_clock.h"

#define LAPIC_MSR_FIRST	    0x800
#define LAPIC_MSR_LAST	    0x8ff
#define MSR_TSC_DEADLINE    0x6e0
#define LAPIC_PERIOD_MIN_NS UINT64_C(100000)

enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

#define LAPIC_SIGNAL_NMI  1u
#define LAPIC_SIGNAL_INIT 2u

struct lapic {
	struct apic_bus *bus;
	struct guest_clock *clock;
	unsigned id;

	_Atomic uint64_t irr[4], isr[4], tmr[4];
	_Atomic uint32_t tpr, svr;
	_Atomic uint32_t lvt[LVT_COUNT];
	_Atomic uint32_t esr_collecting; /* errors since the guest last latched them */
	uint32_t esr;			 /* latched */
	uint64_t icr;

	_Atomic uint64_t deadline_ns;  /* TIME_NEVER: not armed */
	_Atomic uint64_t period_ns;    /* periodic mode; 0 = one shot */
	_Atomic uint64_t tsc_deadline; /* what the guest wrote; 0 once fired */
	uint32_t divide, initial_count;

	_Atomic uint32_t signals;   /* LAPIC_SIGNAL_* */
	_Atomic uint32_t sipi;	    /* 0x100 | vector while one waits */
	_Atomic bool wait_for_sipi; /* since INIT */
};

/* Connects the APIC to its bus; then lapic_reset. */
void lapic_init(struct lapic *l, struct apic_bus *bus, unsigned id, struct guest_clock *clock);
/* [carrier or at rest] Power-on state, nothing pending. */
void lapic_reset(struct lapic *l);

/* [carrier] MSR accesses (0x800 - 0x8ff and TSC_DEADLINE). False: the guest gets #GP. */
bool lapic_msr_read(struct lapic *l, uint32_t msr, struct instant now, uint64_t *ret_value);
bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value, struct instant now);

/* [any] An interrupt arrives. False when the APIC does not take it (disabled, vector below 16). */
bool lapic_accept(struct lapic *l, uint8_t vector, bool level);
void lapic_signal_nmi(struct lapic *l);
void lapic_signal_init(struct lapic *l);
/* False when nobody waits for a SIPI. */
bool lapic_signal_sipi(struct lapic *l, uint8_t vector);

/* [any] */
bool lapic_enabled(const struct lapic *l);
uint32_t lapic_ppr(const struct lapic *l);
/* [any] The vector that would be injected now, or -1: the highest in IRR, if its class is above the processor priority.
 */
int lapic_pending(const struct lapic *l);

/* [carrier] The vector is injected: from IRR to ISR. */
void lapic_inject(struct lapic *l, uint8_t vector);
/* The guest ends the interrupt that is in service, if any. */
void lapic_eoi(struct lapic *l);
/* Ending the interrupt in service has no consequence but that: there is one, nothing else waits, no I/O APIC is told. */
bool lapic_eoi_is_plain(const struct lapic *l);

/* [any] Fires the timer when it is due at now_ns: at most once for each time it was armed (or period). */
void lapic_fire_timer(struct lapic *l, uint64_t now_ns);

#endif
