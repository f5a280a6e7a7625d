/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/lapic.h"

#include "machine/ioapic.h"

/* Registers, as MSR number minus 0x800. */
enum {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_LDR = 0x0d,
	REG_SVR = 0x0f,
	REG_ISR = 0x10,
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_ICR = 0x30,
	REG_LVT_TIMER = 0x32,
	REG_LVT_ERROR = 0x37,
	REG_INITIAL_COUNT = 0x38,
	REG_CURRENT_COUNT = 0x39,
	REG_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,
};

#define VERSION_VALUE		   (0x14u | (LVT_COUNT - 1) << 16)
#define SVR_ENABLED		   0x100u
#define SVR_WRITABLE		   0x3ffu /* vector, enable, focus checking */
#define LVT_MASKED		   0x10000u
#define LVT_MODE_SHIFT		   17
#define TIMER_MODES		   0x60000u
#define ESR_SEND_ILLEGAL_VECTOR	   0x20u
#define ESR_RECEIVE_ILLEGAL_VECTOR 0x40u
#define VECTOR_MIN		   16
#define ICR_WRITABLE		   UINT64_C(0xffffffff000ccfff)
#define ICR_LOGICAL		   (UINT64_C(1) << 11)

enum timer_mode { TIMER_ONE_SHOT = 0, TIMER_PERIODIC = 1, TIMER_TSC_DEADLINE = 2, TIMER_RESERVED = 3 };

/* Bits of each LVT entry that a guest may set; the rest must be written as 0 (delivery status is read-only and
 * ignored). */
static const uint32_t lvt_writable[LVT_COUNT] = {
    [LVT_TIMER] = 0x710ff, [LVT_THERMAL] = 0x117ff, [LVT_PERF] = 0x117ff,
    [LVT_LINT0] = 0x1f7ff, [LVT_LINT1] = 0x1f7ff,   [LVT_ERROR] = 0x110ff,
};

static void set_bit(_Atomic uint64_t *map, unsigned n)
{
	atomic_fetch_or(&map[n / 64], UINT64_C(1) << (n % 64));
}

static void clear_bit(_Atomic uint64_t *map, unsigned n)
{
	atomic_fetch_and(&map[n / 64], ~(UINT64_C(1) << (n % 64)));
}

static bool test_bit(const _Atomic uint64_t *map, unsigned n)
{
	return atomic_load(&map[n / 64]) >> (n % 64) & 1;
}

static int highest_bit(const _Atomic uint64_t *map)
{
	for (int i = 3; i >= 0; i--) {
		uint64_t word = atomic_load(&map[i]);

		if (word != 0)
			return i * 64 + 63 - __builtin_clzll(word);
	}
	return -1;
}

static enum timer_mode timer_mode(const struct lapic *l)
{
	return (enum timer_mode)(atomic_load(&l->lvt[LVT_TIMER]) >> LVT_MODE_SHIFT & 3);
}

void lapic_init(struct lapic *l, struct apic_bus *bus, unsigned id, struct guest_clock *clock)
{
	l->bus = bus;
	l->id = id;
	l->clock = clock;
	lapic_reset(l);
}

void lapic_reset(struct lapic *l)
{
	/* Disarm first: another thread may be firing timers right now. */
	atomic_store(&l->deadline_ns, TIME_NEVER);
	atomic_store(&l->period_ns, 0);
	atomic_store(&l->tsc_deadline, 0);
	for (unsigned i = 0; i < LVT_COUNT; i++)
		atomic_store(&l->lvt[i], LVT_MASKED);
	for (unsigned i = 0; i < ARRAY_SIZE(l->irr); i++) {
		atomic_store(&l->irr[i], 0);
		atomic_store(&l->isr[i], 0);
		atomic_store(&l->tmr[i], 0);
	}
	atomic_store(&l->tpr, 0);
	atomic_store(&l->svr, 0xff);
	atomic_store(&l->esr_collecting, 0);
	l->esr = 0;
	l->icr = 0;
	l->divide = 0;
	l->initial_count = 0;
	atomic_fetch_and(&l->signals, ~(LAPIC_SIGNAL_NMI | LAPIC_SIGNAL_INIT));
}

bool lapic_enabled(const struct lapic *l)
{
	return atomic_load(&l->svr) & SVR_ENABLED;
}

uint32_t lapic_ppr(const struct lapic *l)
{
	uint32_t tpr = atomic_load(&l->tpr);
	int in_service = highest_bit(l->isr);
	uint32_t isr_class = in_service < 0 ? 0 : (uint32_t)in_service & 0xf0;

	return (tpr & 0xf0) >= isr_class ? tpr : isr_class;
}

int lapic_pending(const struct lapic *l)
{
	int vector = highest_bit(l->irr);

	return vector >= 0 && ((uint32_t)vector & 0xf0) > (lapic_ppr(l) & 0xf0) ? vector : -1;
}

void lapic_inject(struct lapic *l, uint8_t vector)
{
	/* IRR first: when the same vector is raised between the two, it is pending again, as it should be. */
	clear_bit(l->irr, vector);
	set_bit(l->isr, vector);
}

/* ---- errors ---- */

static void report_error(struct lapic *l, uint32_t bit)
{
	uint32_t lvt = atomic_load(&l->lvt[LVT_ERROR]);

	atomic_fetch_or(&l->esr_collecting, bit);
	if (!(lvt & LVT_MASKED) && (lvt & 0xff) >= VECTOR_MIN)
		lapic_accept(l, (uint8_t)lvt, false);
}

bool lapic_accept(struct lapic *l, uint8_t vector, bool level)
{
	if (!lapic_enabled(l))
		return false;
	if (vector < VECTOR_MIN) {
		report_error(l, ESR_RECEIVE_ILLEGAL_VECTOR);
		return false;
	}
	if (level)
		set_bit(l->tmr, vector);
	else
		clear_bit(l->tmr, vector);
	set_bit(l->irr, vector);
	return true;
}

/* ---- INIT, SIPI, NMI ---- */

void lapic_signal_nmi(struct lapic *l)
{
	atomic_fetch_or(&l->signals, LAPIC_SIGNAL_NMI);
}

void lapic_signal_init(struct lapic *l)
{
	atomic_store(&l->sipi, 0); /* one from before this INIT is void */
	atomic_fetch_or(&l->signals, LAPIC_SIGNAL_INIT);
}

bool lapic_signal_sipi(struct lapic *l, uint8_t vector)
{
	uint32_t none = 0;

	/* The INIT before it may not have been handled yet: the target's carrier does that when it comes round. */
	if (!(atomic_load(&l->signals) & LAPIC_SIGNAL_INIT) && !atomic_load(&l->wait_for_sipi))
		return false;
	return atomic_compare_exchange_strong(&l->sipi, &none, 0x100u | vector);
}

/* ---- timer ---- */

static unsigned divider(const struct lapic *l)
{
	unsigned code = (l->divide & 3) | (l->divide & 8) >> 1;

	return code == 7 ? 1 : 2u << code;
}

static void disarm(struct lapic *l)
{
	atomic_store(&l->deadline_ns, TIME_NEVER);
	atomic_store(&l->period_ns, 0);
	atomic_store(&l->tsc_deadline, 0);
	l->initial_count = 0;
}

static void arm_count(struct lapic *l, uint32_t count, struct instant now)
{
	uint64_t span = (uint64_t)count * divider(l);

	if (timer_mode(l) == TIMER_TSC_DEADLINE)
		return; /* ignored in that mode */
	disarm(l);
	l->initial_count = count;
	if (count == 0)
		return;
	if (timer_mode(l) == TIMER_PERIODIC) {
		span = MAX(span, LAPIC_PERIOD_MIN_NS);
		atomic_store(&l->period_ns, span);
	}
	atomic_store(&l->deadline_ns, now.ns + span);
}

static void arm_tsc_deadline(struct lapic *l, uint64_t tsc, struct instant now)
{
	if (timer_mode(l) != TIMER_TSC_DEADLINE)
		return; /* such writes are ignored (SDM 11.5.4.1) */
	disarm(l);
	if (tsc == 0)
		return;
	atomic_store(&l->tsc_deadline, tsc);
	atomic_store(&l->deadline_ns, guest_clock_to_ns(l->clock, tsc, now));
}

void lapic_fire_timer(struct lapic *l, uint64_t now_ns)
{
	uint64_t due = atomic_load(&l->deadline_ns);
	uint64_t period, next, tsc;
	uint32_t lvt;

	do {
		if (due > now_ns)
			return;
		period = atomic_load(&l->period_ns);
		tsc = atomic_load(&l->tsc_deadline);
		next = period == 0 ? TIME_NEVER : due + ((now_ns - due) / period + 1) * period;
	} while (!atomic_compare_exchange_weak(&l->deadline_ns, &due, next));
	/* Fired, so the guest reads 0; unless it has written a new deadline meanwhile. */
	atomic_compare_exchange_strong(&l->tsc_deadline, &tsc, 0);
	lvt = atomic_load(&l->lvt[LVT_TIMER]);
	if (!(lvt & LVT_MASKED))
		lapic_accept(l, (uint8_t)lvt, false);
}

static uint32_t current_count(const struct lapic *l, struct instant now)
{
	uint64_t due = atomic_load(&l->deadline_ns);

	if (l->initial_count == 0 || timer_mode(l) == TIMER_TSC_DEADLINE || due == TIME_NEVER || due <= now.ns)
		return 0;
	return (uint32_t)MIN((due - now.ns) / divider(l), l->initial_count);
}

/* ---- registers ---- */

static bool write_lvt(struct lapic *l, enum lapic_lvt which, uint64_t value)
{
	uint32_t v = (uint32_t)value & ~0x1000u;

	if (value & ~(uint64_t)(lvt_writable[which] | 0x1000u | 0x4000u))
		return false;
	if (which == LVT_TIMER && (v >> LVT_MODE_SHIFT & 3) == TIMER_RESERVED)
		return false;
	if (!lapic_enabled(l))
		v |= LVT_MASKED;
	if (which == LVT_TIMER && (v ^ atomic_load(&l->lvt[LVT_TIMER])) & TIMER_MODES)
		disarm(l);
	atomic_store(&l->lvt[which], v);
	return true;
}

static bool write_svr(struct lapic *l, uint64_t value)
{
	if (value & ~(uint64_t)SVR_WRITABLE)
		return false;
	atomic_store(&l->svr, (uint32_t)value);
	if (!(value & SVR_ENABLED))
		for (unsigned i = 0; i < LVT_COUNT; i++)
			atomic_fetch_or(&l->lvt[i], LVT_MASKED);
	return true;
}

void lapic_eoi(struct lapic *l)
{
	int vector = highest_bit(l->isr);

	if (vector < 0)
		return;
	clear_bit(l->isr, (unsigned)vector);
	if (test_bit(l->tmr, (unsigned)vector) && l->bus->ioapic)
		ioapic_eoi(l->bus->ioapic, (uint8_t)vector);
}

bool lapic_eoi_is_plain(const struct lapic *l)
{
	int vector = highest_bit(l->isr);

	return vector >= 0 && !test_bit(l->tmr, (unsigned)vector) && highest_bit(l->irr) < 0;
}

static bool write_icr(struct lapic *l, uint64_t value)
{
	struct apic_message m = {.mode = (enum apic_mode)(value >> 8 & 7), .vector = (uint8_t)value, .from = l->id};
	uint32_t all = (UINT32_C(1) << l->bus->count) - 1;

	if (value & ~ICR_WRITABLE)
		return false;
	l->icr = value;
	switch (value >> 18 & 3) {
	case 0:
		m.targets = apic_bus_match_icr(l->bus, (uint32_t)(value >> 32), value & ICR_LOGICAL);
		break;
	case 1:
		m.targets = UINT32_C(1) << l->id;
		break;
	case 2:
		m.targets = all;
		break;
	default:
		m.targets = all & ~(UINT32_C(1) << l->id);
		break;
	}
	if ((m.mode == APIC_FIXED || m.mode == APIC_LOWEST) && m.vector < VECTOR_MIN) {
		report_error(l, ESR_SEND_ILLEGAL_VECTOR);
		return true;
	}
	/* "INIT level de-assert" (level bit off, trigger level) is for APICs of the last century: nothing happens. */
	if (m.mode == APIC_INIT && (value & 0xc000) == 0x8000)
		return true;
	apic_bus_deliver(l->bus, &m);
	return true;
}

static uint32_t read_map(const _Atomic uint64_t *map, uint32_t n)
{
	return (uint32_t)(atomic_load(&map[n / 2]) >> (n % 2 * 32));
}

bool lapic_msr_read(struct lapic *l, uint32_t msr, struct instant now, uint64_t *ret_value)
{
	uint32_t reg = msr - LAPIC_MSR_FIRST;

	if (msr == MSR_TSC_DEADLINE) {
		*ret_value = atomic_load(&l->tsc_deadline);
		return true;
	}
	switch (reg) {
	case REG_ID:
		*ret_value = l->id;
		return true;
	case REG_VERSION:
		*ret_value = VERSION_VALUE;
		return true;
	case REG_TPR:
		*ret_value = atomic_load(&l->tpr);
		return true;
	case REG_PPR:
		*ret_value = lapic_ppr(l);
		return true;
	case REG_LDR:
		*ret_value = (uint64_t)(l->id >> 4) << 16 | UINT64_C(1) << (l->id & 15);
		return true;
	case REG_SVR:
		*ret_value = atomic_load(&l->svr);
		return true;
	case REG_ISR ... REG_ISR + 7:
		*ret_value = read_map(l->isr, reg - REG_ISR);
		return true;
	case REG_TMR ... REG_TMR + 7:
		*ret_value = read_map(l->tmr, reg - REG_TMR);
		return true;
	case REG_IRR ... REG_IRR + 7:
		*ret_value = read_map(l->irr, reg - REG_IRR);
		return true;
	case REG_ESR:
		*ret_value = l->esr;
		return true;
	case REG_ICR:
		*ret_value = l->icr;
		return true;
	case REG_LVT_TIMER ... REG_LVT_ERROR:
		*ret_value = atomic_load(&l->lvt[reg - REG_LVT_TIMER]);
		return true;
	case REG_INITIAL_COUNT:
		*ret_value = l->initial_count;
		return true;
	case REG_CURRENT_COUNT:
		*ret_value = current_count(l, now);
		return true;
	case REG_DIVIDE:
		*ret_value = l->divide;
		return true;
	default:
		return false;
	}
}

bool lapic_msr_write(struct lapic *l, uint32_t msr, uint64_t value, struct instant now)
{
	uint32_t reg = msr - LAPIC_MSR_FIRST;

	if (msr == MSR_TSC_DEADLINE) {
		arm_tsc_deadline(l, value, now);
		return true;
	}
	if (reg == REG_ICR)
		return write_icr(l, value);
	if (value > UINT32_MAX)
		return false;
	switch (reg) {
	case REG_TPR:
		if (value > 0xff)
			return false;
		atomic_store(&l->tpr, (uint32_t)value);
		return true;
	case REG_EOI:
		if (value != 0)
			return false;
		lapic_eoi(l);
		return true;
	case REG_SVR:
		return write_svr(l, value);
	case REG_ESR:
		if (value != 0)
			return false;
		l->esr = atomic_exchange(&l->esr_collecting, 0);
		return true;
	case REG_LVT_TIMER ... REG_LVT_ERROR:
		return write_lvt(l, (enum lapic_lvt)(reg - REG_LVT_TIMER), value);
	case REG_INITIAL_COUNT:
		arm_count(l, (uint32_t)value, now);
		return true;
	case REG_DIVIDE:
		if (value & ~UINT64_C(0xb))
			return false;
		l->divide = (uint32_t)value;
		return true;
	case REG_SELF_IPI:
		if (value > 0xff)
			return false;
		return write_icr(l, UINT64_C(1) << 18 | value);
	default:
		return false;
	}
}
