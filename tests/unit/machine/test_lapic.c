/* SPDX-License-Identifier: Apache-2.0 */
/* Local APICs, their bus and the I/O APIC: priorities, end of interrupt, IPIs, timers, errors. Time is an argument. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/ioapic.h"
#include "machine/lapic.h"
#include "machine/pv_eoi.h"

#define X2(reg)	      (0x800u + (reg))
#define TPR	      X2(0x08)
#define PPR	      X2(0x0a)
#define EOI	      X2(0x0b)
#define SVR	      X2(0x0f)
#define ESR	      X2(0x28)
#define ICR	      X2(0x30)
#define LVT_TIMER_MSR X2(0x32)
#define LVT_ERROR_MSR X2(0x37)
#define INITIAL	      X2(0x38)
#define CURRENT	      X2(0x39)
#define DIVIDE	      X2(0x3e)
#define SELF_IPI      X2(0x3f)
#define CPUS	      4

struct bench {
	struct apic_bus bus;
	struct lapic lapic[CPUS];
	struct guest_clock clock;
	struct ioapic ioapic;
	struct instant now;
	unsigned notified[CPUS], last_from;
};

static void notify(void *ctx, unsigned vcpu, unsigned from)
{
	struct bench *b = ctx;

	b->notified[vcpu]++;
	b->last_from = from;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof *b);

	b->clock.tsc_khz = 2000000; /* 2 ticks per ns */
	b->bus = (struct apic_bus){.count = CPUS, .ioapic = &b->ioapic, .notify = notify, .ctx = b};
	ioapic_init(&b->ioapic, &b->bus);
	b->now = (struct instant){.ns = 1000000, .tsc = 500};
	for (unsigned i = 0; i < CPUS; i++) {
		lapic_init(&b->lapic[i], &b->bus, i, &b->clock);
		b->bus.lapic[i] = &b->lapic[i];
		assert_true(lapic_msr_write(&b->lapic[i], SVR, 0x1ff, b->now));
	}
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	ioapic_done(&b->ioapic);
	free(b);
	return 0;
}

static void put(struct bench *b, unsigned cpu, uint32_t msr, uint64_t value)
{
	assert_true(lapic_msr_write(&b->lapic[cpu], msr, value, b->now));
}

static uint64_t get(struct bench *b, unsigned cpu, uint32_t msr)
{
	uint64_t value = 0xdeadbeef;

	assert_true(lapic_msr_read(&b->lapic[cpu], msr, b->now, &value));
	return value;
}

static void the_highest_vector_comes_first_and_blocks_its_class(void **state)
{
	struct bench *b = *state;
	struct lapic *l = &b->lapic[0];

	assert_int_equal(lapic_pending(l), -1);
	lapic_accept(l, 0x31, false);
	lapic_accept(l, 0x52, false);
	lapic_accept(l, 0x51, false);
	assert_int_equal(lapic_pending(l), 0x52);
	lapic_inject(l, 0x52);
	assert_int_equal(lapic_pending(l), -1); /* 0x51 is of the class in service */
	assert_int_equal(get(b, 0, PPR), 0x50);
	lapic_accept(l, 0x61, false);
	assert_int_equal(lapic_pending(l), 0x61); /* nests */
	lapic_inject(l, 0x61);
	put(b, 0, EOI, 0);
	assert_int_equal(get(b, 0, PPR), 0x50);
	put(b, 0, EOI, 0);
	assert_int_equal(lapic_pending(l), 0x51);
	lapic_inject(l, 0x51);
	put(b, 0, EOI, 0);
	assert_int_equal(lapic_pending(l), 0x31);
}

static void the_task_priority_holds_back_lower_classes(void **state)
{
	struct bench *b = *state;

	lapic_accept(&b->lapic[0], 0x45, false);
	put(b, 0, TPR, 0x40);
	assert_int_equal(lapic_pending(&b->lapic[0]), -1);
	put(b, 0, TPR, 0x3f);
	assert_int_equal(lapic_pending(&b->lapic[0]), 0x45);
}

static void a_vector_raised_again_while_in_service_is_pending_after_eoi(void **state)
{
	struct bench *b = *state;
	struct lapic *l = &b->lapic[0];

	lapic_accept(l, 0x80, false);
	lapic_inject(l, 0x80);
	lapic_accept(l, 0x80, false);
	assert_int_equal(lapic_pending(l), -1);
	put(b, 0, EOI, 0);
	assert_int_equal(lapic_pending(l), 0x80);
}

static void an_eoi_without_interrupt_in_service_does_nothing(void **state)
{
	struct bench *b = *state;

	put(b, 0, EOI, 0);
	assert_int_equal(lapic_pending(&b->lapic[0]), -1);
}

static void ipis_reach_physical_logical_and_shorthand_destinations(void **state)
{
	struct bench *b = *state;

	put(b, 0, ICR, UINT64_C(2) << 32 | 0x40); /* physical */
	assert_int_equal(lapic_pending(&b->lapic[2]), 0x40);
	assert_int_equal(b->notified[2], 1);
	assert_int_equal(b->last_from, 0);
	assert_int_equal(b->notified[1] + b->notified[3], 0);

	put(b, 1, ICR, UINT64_C(0x9) << 32 | 0x841); /* logical: 0 and 3 of cluster 0 */
	assert_int_equal(lapic_pending(&b->lapic[0]), 0x41);
	assert_int_equal(lapic_pending(&b->lapic[3]), 0x41);
	put(b, 1, ICR, UINT64_C(0x1000f) << 32 | 0x842); /* another cluster: nobody */
	assert_int_equal(lapic_pending(&b->lapic[0]), 0x41);

	put(b, 3, ICR, 0x40000 | 0x50); /* self */
	assert_int_equal(lapic_pending(&b->lapic[3]), 0x50);
	put(b, 3, ICR, 0x80000 | 0x60); /* all with self */
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(lapic_pending(&b->lapic[i]), 0x60);
	put(b, 3, ICR, 0xc0000 | 0x70); /* all but self */
	assert_int_equal(lapic_pending(&b->lapic[3]), 0x60);
	assert_int_equal(lapic_pending(&b->lapic[0]), 0x70);
	put(b, 3, ICR, UINT64_C(0xffffffff) << 32 | 0x80); /* broadcast */
	assert_int_equal(lapic_pending(&b->lapic[3]), 0x80);
	put(b, 2, SELF_IPI, 0x90);
	assert_int_equal(lapic_pending(&b->lapic[2]), 0x90);
	put(b, 2, ICR, UINT64_C(77) << 32 | 0x99); /* no such APIC */
}

static void lowest_priority_goes_to_one_idle_target_and_takes_turns(void **state)
{
	struct bench *b = *state;
	unsigned got[CPUS] = {0};

	put(b, 1, TPR, 0x20);
	for (unsigned n = 0; n < 30; n++) {
		unsigned hit = 0;

		put(b, 0, ICR, UINT64_C(0xe) << 32 | 0x940); /* logical 1, 2, 3, lowest priority */
		for (unsigned i = 0; i < CPUS; i++) {
			if (lapic_pending(&b->lapic[i]) != 0x40)
				continue;
			hit++;
			got[i]++;
			lapic_inject(&b->lapic[i], 0x40);
			put(b, i, EOI, 0);
		}
		assert_int_equal(hit, 1);
	}
	assert_int_equal(got[0] + got[1], 0);
	assert_true(got[2] > 0 && got[3] > 0);
}

static void init_and_sipi_are_accepted_in_that_order_only(void **state)
{
	struct bench *b = *state;
	struct lapic *l = &b->lapic[1];

	put(b, 0, ICR, UINT64_C(1) << 32 | 0x610); /* SIPI to one that runs: ignored */
	assert_int_equal(l->sipi, 0);
	put(b, 0, ICR, UINT64_C(1) << 32 | 0xc500); /* INIT, level, assert */
	assert_true(l->signals & LAPIC_SIGNAL_INIT);
	put(b, 0, ICR, UINT64_C(1) << 32 | 0x8500); /* de-assert: nothing */
	put(b, 0, ICR, UINT64_C(1) << 32 | 0x69a);
	assert_int_equal(l->sipi, 0x19a);
	put(b, 0, ICR, UINT64_C(1) << 32 | 0x69b); /* the second one does not replace the first */
	assert_int_equal(l->sipi, 0x19a);
	put(b, 0, ICR, UINT64_C(1) << 32 | 0x400);
	assert_true(l->signals & LAPIC_SIGNAL_NMI);
}

static void a_disabled_apic_takes_no_interrupt_and_masks_its_lvt(void **state)
{
	struct bench *b = *state;

	put(b, 0, LVT_TIMER_MSR, 0x40);
	put(b, 0, SVR, 0xff);
	assert_false(lapic_accept(&b->lapic[0], 0x40, false));
	assert_int_equal(get(b, 0, LVT_TIMER_MSR), 0x10040);
	put(b, 0, LVT_TIMER_MSR, 0x40);
	assert_int_equal(get(b, 0, LVT_TIMER_MSR), 0x10040);
}

static void illegal_vectors_are_reported(void **state)
{
	struct bench *b = *state;

	put(b, 0, LVT_ERROR_MSR, 0xfe);
	put(b, 0, ICR, UINT64_C(1) << 32 | 0x05);
	assert_int_equal(lapic_pending(&b->lapic[0]), 0xfe);
	assert_int_equal(get(b, 0, ESR), 0); /* shown after the guest latched it */
	put(b, 0, ESR, 0);
	assert_int_equal(get(b, 0, ESR), 0x20);
	put(b, 0, ESR, 0);
	assert_int_equal(get(b, 0, ESR), 0);
}

static void wrong_accesses_are_refused(void **state)
{
	static const struct {
		uint32_t msr;
		uint64_t value;
	} bad[] = {
	    {X2(0x02), 0},
	    {X2(0x03), 0},
	    {PPR, 0},
	    {EOI, 1},
	    {X2(0x0d), 0},
	    {X2(0x0e), 0},
	    {SVR, 0x10000},
	    {X2(0x10), 0},
	    {ESR, 1},
	    {X2(0x2f), 0},
	    {LVT_TIMER_MSR, 0x60040},
	    {LVT_TIMER_MSR, 0x80000},
	    {LVT_ERROR_MSR, 0x20000},
	    {CURRENT, 0},
	    {DIVIDE, 4},
	    {SELF_IPI, 0x100},
	    {TPR, 0x100},
	    {INITIAL, UINT64_C(1) << 32},
	    {ICR, UINT64_C(0x100000)},
	    {X2(0x00), 0},
	    {X2(0xff), 0},
	    {TPR, UINT64_C(1) << 32 | 1},
	};
	static const uint32_t unreadable[] = {EOI, SELF_IPI, X2(0x0e), X2(0x00), X2(0x31), X2(0x2f), X2(0xff)};
	struct bench *b = *state;
	uint64_t value;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (lapic_msr_write(&b->lapic[0], bad[i].msr, bad[i].value, b->now))
			fail_msg("write %#x = %#llx was accepted", bad[i].msr, (unsigned long long)bad[i].value);
	for (size_t i = 0; i < ARRAY_SIZE(unreadable); i++)
		assert_false(lapic_msr_read(&b->lapic[0], unreadable[i], b->now, &value));
}

static void every_register_survives_every_value(void **state)
{
	static const uint64_t values[] = {0,	   1,	       0xff,	   0x100ff,	     0xc4500,
					  0x40000, UINT32_MAX, UINT64_MAX, UINT64_C(1) << 63};
	struct bench *b = *state;
	uint64_t value;

	for (uint32_t msr = LAPIC_MSR_FIRST; msr <= LAPIC_MSR_LAST; msr++)
		for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
			(void)lapic_msr_write(&b->lapic[0], msr, values[i], b->now);
			(void)lapic_msr_read(&b->lapic[0], msr, b->now, &value);
			lapic_fire_timer(&b->lapic[0], b->now.ns + 1);
		}
}

static void the_tsc_deadline_fires_once_and_reads_zero_then(void **state)
{
	struct bench *b = *state;
	struct lapic *l = &b->lapic[0];

	put(b, 0, MSR_TSC_DEADLINE, 5000); /* ignored in another mode */
	assert_int_equal(l->deadline_ns, TIME_NEVER);
	put(b, 0, LVT_TIMER_MSR, 0x400ec);
	put(b, 0, MSR_TSC_DEADLINE, 500 + 2001);
	assert_int_equal(l->deadline_ns, 1000000 + 1001); /* rounded up */
	lapic_fire_timer(l, 1000000 + 1000);
	assert_int_equal(lapic_pending(l), -1);
	assert_int_equal(get(b, 0, MSR_TSC_DEADLINE), 2501);
	lapic_fire_timer(l, 1000000 + 1001);
	assert_int_equal(lapic_pending(l), 0xec);
	assert_int_equal(get(b, 0, MSR_TSC_DEADLINE), 0);
	assert_int_equal(l->deadline_ns, TIME_NEVER);
	lapic_inject(l, 0xec);
	put(b, 0, EOI, 0);
	lapic_fire_timer(l, 9000000);
	assert_int_equal(lapic_pending(l), -1);

	put(b, 0, MSR_TSC_DEADLINE, 1); /* past: due now */
	assert_int_equal(l->deadline_ns, b->now.ns);
	put(b, 0, MSR_TSC_DEADLINE, 0); /* disarms */
	assert_int_equal(l->deadline_ns, TIME_NEVER);
	put(b, 0, MSR_TSC_DEADLINE, UINT64_MAX);
	assert_true(l->deadline_ns < TIME_NEVER && l->deadline_ns > b->now.ns);
	put(b, 0, INITIAL, 0); /* does not concern this mode */
	assert_true(l->deadline_ns < TIME_NEVER);
	put(b, 0, LVT_TIMER_MSR, 0xec); /* a change of mode disarms */
	assert_int_equal(l->deadline_ns, TIME_NEVER);
}

static void a_one_shot_counts_down_and_fires_once(void **state)
{
	struct bench *b = *state;
	struct lapic *l = &b->lapic[0];

	put(b, 0, LVT_TIMER_MSR, 0x33);
	put(b, 0, DIVIDE, 0x3); /* by 16 */
	put(b, 0, INITIAL, 1000);
	assert_int_equal(l->deadline_ns, 1000000 + 16000);
	b->now.ns += 8000;
	assert_int_equal(get(b, 0, CURRENT), 500);
	lapic_fire_timer(l, 1000000 + 16000);
	assert_int_equal(lapic_pending(l), 0x33);
	b->now.ns += 100000;
	assert_int_equal(get(b, 0, CURRENT), 0);
	assert_int_equal(l->deadline_ns, TIME_NEVER);
}

static void a_periodic_timer_merges_missed_periods_and_has_a_least_period(void **state)
{
	struct bench *b = *state;
	struct lapic *l = &b->lapic[0];

	put(b, 0, LVT_TIMER_MSR, 0x20034);
	put(b, 0, DIVIDE, 0xb);
	put(b, 0, INITIAL, 1000000);
	assert_int_equal(l->deadline_ns, 2000000);
	lapic_fire_timer(l, 2000000);
	assert_int_equal(lapic_pending(l), 0x34);
	assert_int_equal(l->deadline_ns, 3000000);
	lapic_fire_timer(l, 7500000);
	assert_int_equal(l->deadline_ns, 8000000);
	put(b, 0, INITIAL, 0);
	assert_int_equal(l->deadline_ns, TIME_NEVER);
	put(b, 0, INITIAL, 1);
	assert_int_equal(l->period_ns, LAPIC_PERIOD_MIN_NS);
}

static void a_masked_timer_runs_without_interrupt(void **state)
{
	struct bench *b = *state;

	put(b, 0, LVT_TIMER_MSR, 0x10033);
	put(b, 0, INITIAL, 10);
	lapic_fire_timer(&b->lapic[0], b->now.ns + 1000);
	assert_int_equal(lapic_pending(&b->lapic[0]), -1);
	assert_int_equal(b->lapic[0].deadline_ns, TIME_NEVER);
}

/* ---- I/O APIC ---- */

static void io_put(struct bench *b, uint32_t reg, uint32_t value)
{
	ioapic_io_ops.write(&b->ioapic, 0, 4, reg);
	ioapic_io_ops.write(&b->ioapic, 0x10, 4, value);
}

static uint32_t io_get(struct bench *b, uint32_t reg)
{
	ioapic_io_ops.write(&b->ioapic, 0, 4, reg);
	return (uint32_t)ioapic_io_ops.read(&b->ioapic, 0x10, 4);
}

static void take(struct bench *b, unsigned cpu, int vector)
{
	assert_int_equal(lapic_pending(&b->lapic[cpu]), vector);
	lapic_inject(&b->lapic[cpu], (uint8_t)vector);
	put(b, cpu, EOI, 0);
}

static void an_edge_is_sent_once_per_rise(void **state)
{
	struct bench *b = *state;

	io_put(b, 0x10 + 4 * 2 + 1, 2u << 24);
	io_put(b, 0x10 + 4 * 2, 0x44);
	ioapic_set(&b->ioapic, 4, true);
	assert_int_equal(b->last_from, MACHINE_FROM_DEVICE);
	take(b, 2, 0x44);
	ioapic_set(&b->ioapic, 4, true);
	assert_int_equal(lapic_pending(&b->lapic[2]), -1);
	ioapic_set(&b->ioapic, 4, false);
	ioapic_set(&b->ioapic, 4, true);
	take(b, 2, 0x44);
}

static void an_edge_while_masked_waits_for_the_unmasking(void **state)
{
	struct bench *b = *state;

	io_put(b, 0x10 + 4 * 2, 0x10044);
	ioapic_set(&b->ioapic, 4, true);
	ioapic_set(&b->ioapic, 4, false);
	assert_int_equal(lapic_pending(&b->lapic[0]), -1);
	io_put(b, 0x10 + 4 * 2, 0x44);
	take(b, 0, 0x44);
}

static void a_level_is_sent_again_after_eoi_while_it_is_up(void **state)
{
	struct bench *b = *state;

	io_put(b, 0x10 + 7 * 2, 0x8047);
	ioapic_set(&b->ioapic, 7, true);
	assert_true(io_get(b, 0x10 + 7 * 2) & 0x4000);
	ioapic_set(&b->ioapic, 7, true);
	take(b, 0, 0x47); /* its EOI sends it again */
	assert_int_equal(lapic_pending(&b->lapic[0]), 0x47);
	lapic_inject(&b->lapic[0], 0x47);
	ioapic_set(&b->ioapic, 7, false);
	put(b, 0, EOI, 0);
	assert_int_equal(lapic_pending(&b->lapic[0]), -1);
	assert_false(io_get(b, 0x10 + 7 * 2) & 0x4000);
}

static void an_edge_after_level_on_the_same_vector_does_not_reach_the_io_apic(void **state)
{
	struct bench *b = *state;

	io_put(b, 0x10 + 7 * 2, 0x8047);
	ioapic_set(&b->ioapic, 7, true);
	lapic_inject(&b->lapic[0], 0x47);
	put(b, 0, EOI, 0);
	lapic_accept(&b->lapic[0], 0x47, false); /* an IPI: the trigger mode is the last one's */
	lapic_inject(&b->lapic[0], 0x47);
	put(b, 0, EOI, 0);
	assert_true(io_get(b, 0x10 + 7 * 2) & 0x4000);
}

static void registers_out_of_range_are_harmless(void **state)
{
	struct bench *b = *state;

	assert_int_equal(io_get(b, 1), 0x170011);
	for (uint32_t reg = 0; reg < 0x100; reg++) {
		io_put(b, reg, UINT32_MAX);
		(void)io_get(b, reg);
	}
	for (unsigned gsi = 0; gsi < 300; gsi++)
		ioapic_set(&b->ioapic, gsi, true);
	for (uint64_t offset = 0; offset < IOAPIC_SIZE; offset += 3)
		(void)ioapic_io_ops.write(&b->ioapic, offset, 8, UINT64_MAX);
	ioapic_reset(&b->ioapic);
	assert_int_equal(io_get(b, 0x10), 0x10000);
}

/* ---- paravirtual EOI ---- */

#define WORD 0x800 /* where the guest's word lies */

static void an_eoi_left_in_memory_is_done_after_the_exit(void **state)
{
	struct bench *b = *state;
	struct lapic *l = &b->lapic[0];
	struct gmem mem;
	struct pv_eoi eoi;
	uint8_t *word;

	assert_int_equal(gmem_init(&mem, 2 * GMEM_PAGE, NULL), 0);
	word = gmem_ptr(&mem, WORD, 4);
	pv_eoi_reset(&eoi, &mem);
	assert_false(pv_eoi_msr_write(&eoi, WORD | 3));		 /* a reserved bit */
	assert_false(pv_eoi_msr_write(&eoi, 2 * GMEM_PAGE | 1)); /* outside of memory */
	pv_eoi_offer(&eoi, l);					 /* off: nothing happens */
	assert_true(pv_eoi_msr_write(&eoi, WORD | 1));
	*word = 0xf0;

	pv_eoi_offer(&eoi, l);
	assert_int_equal(*word, 0xf0); /* nothing in service */

	assert_true(lapic_accept(l, 0x50, false));
	lapic_inject(l, 0x50);
	pv_eoi_offer(&eoi, l);
	assert_int_equal(*word, 0xf1);
	pv_eoi_collect(&eoi, l); /* out before the guest's EOI */
	assert_int_equal(*word, 0xf0);
	assert_int_equal(lapic_ppr(l), 0x50);

	pv_eoi_offer(&eoi, l);
	*word &= 0xfe; /* the guest's EOI */
	pv_eoi_collect(&eoi, l);
	assert_int_equal(lapic_ppr(l), 0);
	pv_eoi_collect(&eoi, l); /* once only */
	assert_int_equal(lapic_ppr(l), 0);

	/* Something else waits, or the I/O APIC wants to know: the guest has to write the register. */
	assert_true(lapic_accept(l, 0x50, false));
	lapic_inject(l, 0x50);
	assert_true(lapic_accept(l, 0x31, false));
	pv_eoi_offer(&eoi, l);
	assert_int_equal(*word, 0xf0);
	put(b, 0, EOI, 0);
	lapic_inject(l, 0x31);
	put(b, 0, EOI, 0);
	assert_true(lapic_accept(l, 0x60, true));
	lapic_inject(l, 0x60);
	pv_eoi_offer(&eoi, l);
	assert_int_equal(*word, 0xf0);
	gmem_done(&mem);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(the_highest_vector_comes_first_and_blocks_its_class),
	    T(the_task_priority_holds_back_lower_classes),
	    T(a_vector_raised_again_while_in_service_is_pending_after_eoi),
	    T(an_eoi_without_interrupt_in_service_does_nothing),
	    T(ipis_reach_physical_logical_and_shorthand_destinations),
	    T(lowest_priority_goes_to_one_idle_target_and_takes_turns),
	    T(init_and_sipi_are_accepted_in_that_order_only),
	    T(a_disabled_apic_takes_no_interrupt_and_masks_its_lvt),
	    T(illegal_vectors_are_reported),
	    T(wrong_accesses_are_refused),
	    T(every_register_survives_every_value),
	    T(the_tsc_deadline_fires_once_and_reads_zero_then),
	    T(a_one_shot_counts_down_and_fires_once),
	    T(a_periodic_timer_merges_missed_periods_and_has_a_least_period),
	    T(a_masked_timer_runs_without_interrupt),
	    T(an_edge_is_sent_once_per_rise),
	    T(an_edge_while_masked_waits_for_the_unmasking),
	    T(a_level_is_sent_again_after_eoi_while_it_is_up),
	    T(an_edge_after_level_on_the_same_vector_does_not_reach_the_io_apic),
	    T(registers_out_of_range_are_harmless),
	    T(an_eoi_left_in_memory_is_done_after_the_exit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
