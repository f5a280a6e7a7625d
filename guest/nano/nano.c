/* SPDX-License-Identifier: Apache-2.0 */
/* nano.c - see nano.h. */
#include "nano.h"

#include <stdatomic.h>

/* ---- the note that says "boot me as a nano guest" --------------------------------------------------------------- */

__attribute__((used, section(".note.baton"), aligned(4))) static const struct {
	uint32_t name_size, desc_size, type;
	char name[8];
	uint32_t abi;
} note = {.name_size = 6, .desc_size = 4, .type = 1, .name = "Baton", .abi = BATON_GUEST_ABI};

/* ---- functions that compilers call by themselves ---------------------------------------------------------------- */

void *memset(void *to, int c, size_t n)
{
	void *p = to;

	__asm__ volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(c) : "memory");
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	void *p = to;

	__asm__ volatile("rep movsb" : "+D"(p), "+S"(from), "+c"(n) : : "memory");
	return to;
}

/* ---- calls ----------------------------------------------------------------------------------------------------- */

_Noreturn void nano_exit(int status)
{
	for (;;)
		baton_call(BATON_CALL_EXIT, (unsigned long)status, 0, 0, 0, NULL);
}

_Noreturn void nano_fail(uint64_t reason)
{
	baton_call(BATON_CALL_FAILED, reason, 0, 0, 0, NULL);
	nano_exit(1);
}

long nano_call(enum baton_call nr, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t *ret1)
{
	unsigned long second = 0;
	long r = baton_call(nr, a0, a1, a2, 0, &second);

	if (r < 0)
		nano_fail(NANO_FAILED_CALL);
	if (ret1)
		*ret1 = second;
	return r;
}

/* ---- console --------------------------------------------------------------------------------------------------- */

static void print_bytes(const char *text, size_t size)
{
	/* What the console does not take is lost: a guest must not hang for it. */
	nano_call(BATON_CALL_MAILBOX, 0, 0, 0, NULL);
	baton_mailbox_write(text, size);
	baton_call(BATON_CALL_CONSOLE_WRITE, 0, 0, 0, 0, NULL);
}

void nano_print(const char *text)
{
	size_t n = 0;

	while (text[n] != '\0')
		n++;
	print_bytes(text, n);
}

void nano_print_number(uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	print_bytes(digits + at, sizeof(digits) - at);
}

/* ---- arguments ------------------------------------------------------------------------------------------------- */

_Noreturn void nano_usage(const struct nano *n, const char *key)
{
	while (n->vcpu != 0) /* vCPU 0 reads the same arguments and speaks for all */
		baton_call(BATON_CALL_BLOCK, 0, 0, 0, 0, NULL);
	nano_print("bad value of ");
	nano_print(key);
	nano_print("\n");
	nano_exit(2);
}

uint64_t nano_number(const struct nano *n, const char *key, uint64_t otherwise)
{
	if (words_number(n->args, key, &otherwise) == WORDS_BAD)
		nano_usage(n, key);
	return otherwise;
}

uint64_t nano_time(const struct nano *n, const char *key, uint64_t otherwise, uint64_t unit_ns)
{
	uint64_t ns;

	if (__builtin_mul_overflow(nano_number(n, key, otherwise), unit_ns, &ns))
		nano_usage(n, key);
	return ns;
}

static void check_keys(const struct nano *n)
{
	static const char *const common[] = {"beat_ms", "beats", NULL};
	const char *unknown = words_unknown(n->args, common, nano_keys);

	if (!unknown)
		return;
	nano_print("unknown argument: ");
	print_bytes(unknown, words_length(unknown));
	nano_print("\n");
	nano_exit(2);
}

/* ---- clock and heartbeats -------------------------------------------------------------------------------------- */

uint64_t nano_clock_ns(const struct nano *n)
{
	return (uint64_t)((unsigned __int128)nano_tsc() * n->ns_per_tick >> 32);
}

void nano_beat(struct nano *n, uint64_t datum)
{
	uint64_t now = nano_clock_ns(n);

	if (now < n->last_ns)
		nano_fail(NANO_FAILED_CLOCK);
	n->last_ns = now;
	nano_call(BATON_CALL_HEARTBEAT, ++n->beats, now, datum, NULL);
	if (n->beats == n->beats_max)
		nano_exit(0);
}

bool nano_beat_when_due(struct nano *n, uint64_t datum)
{
	uint64_t now = nano_clock_ns(n);

	if (now < n->next_beat_ns)
		return false;
	/* From now on, not from when it was due: a guest that was kept waiting does not make up for missed beats. */
	n->next_beat_ns = now + n->beat_ns;
	nano_beat(n, datum);
	return true;
}

/* ---- counts ---------------------------------------------------------------------------------------------------- */

void nano_count(struct nano_count counts[static NANO_VCPUS_MAX], const struct nano *n)
{
	_Atomic uint64_t *mine = &counts[n->vcpu].count;

	/* Nobody else writes it: no need for a locked addition. */
	atomic_store_explicit(mine, atomic_load_explicit(mine, memory_order_relaxed) + 1, memory_order_relaxed);
}

uint64_t nano_sum(struct nano_count counts[static NANO_VCPUS_MAX])
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < NANO_VCPUS_MAX; i++)
		sum += atomic_load_explicit(&counts[i].count, memory_order_relaxed);
	return sum;
}

/* ---- work ------------------------------------------------------------------------------------------------------ */

#define WORK_ROUNDS 1000

void nano_work(void)
{
	/* Two generators of which one runs backwards through the other's numbers: in the end both must be back. */
	const uint64_t factor = UINT64_C(6364136223846793005), inverse = UINT64_C(13877824140714322085);
	uint64_t a = 1, b = 1;

	for (unsigned i = 0; i < WORK_ROUNDS; i++) {
		a = a * factor + 1;
		__asm__ volatile("" : "+r"(a)); /* really, once per round */
	}
	b = a;
	for (unsigned i = 0; i < WORK_ROUNDS; i++) {
		b = (b - 1) * inverse;
		__asm__ volatile("" : "+r"(b));
	}
	if (b != 1)
		nano_fail(NANO_FAILED_CORRUPT);
}

/* ---- entry ----------------------------------------------------------------------------------------------------- */

/* Called by nobody: the monitor sets the registers as for a call, with a zero return address. */
_Noreturn void nano_start(const char *args, uint64_t vcpu, uint64_t mem_bytes);

__attribute__((section(".text.nano_start"), used)) _Noreturn void nano_start(const char *args, uint64_t vcpu,
									     uint64_t mem_bytes)
{
	struct nano n = {.args = args, .vcpu = (unsigned)vcpu, .mem_bytes = mem_bytes};

	if (vcpu >= NANO_VCPUS_MAX)
		nano_fail(NANO_FAILED_CALL);
	nano_call(BATON_CALL_CLOCK, 0, 0, 0, &n.tsc_khz);
	if (n.tsc_khz == 0)
		nano_fail(NANO_FAILED_CLOCK);
	n.ns_per_tick = (NSEC_PER_MSEC << 32) / n.tsc_khz;
	if (n.vcpu == 0)
		check_keys(&n);
	n.beat_ns = nano_time(&n, "beat_ms", 100, NSEC_PER_MSEC);
	n.beats_max = nano_number(&n, "beats", 0);
	nano_exit(nano_main(&n));
}
