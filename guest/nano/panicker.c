/* SPDX-License-Identifier: Apache-2.0 */
/*
 * panicker: works for a while, with heartbeats, and then fails as it is told. The other vCPUs just work.
 *
 *	after_ms=N	how long it works first (default 200)
 *	tell=0|1	1: says FAILED before (default); 0: fails in silence
 *	mode=fault	executes what the processor refuses; there is no handler, so that is the end of the guest
 *(default) mode=spin	spins without any call, heartbeat or exit mode=failed	sleeps for ever mode=exit	powers
 * off with status 1 kind=ud|privileged|load|store|divide|jump|stack		which fault (default ud)
 */
#include "nano.h"

const char *const nano_keys[] = {"after_ms", "tell", "mode", "kind", NULL};

/* No memory there, whatever the guest was given, and not even an address that is mapped. */
#define NOWHERE UINT64_C(0x7f0000000000)

static void fault_ud(void)
{
	__asm__ volatile("ud2");
}

static void fault_privileged(void)
{
	__asm__ volatile("hlt"); /* ring 3 may not */
}

static void fault_load(void)
{
	__asm__ volatile("movq (%0), %%rax" : : "r"(NOWHERE) : "rax");
}

static void fault_store(void)
{
	__asm__ volatile("movq %0, (%0)" : : "r"(NOWHERE) : "memory");
}

static void fault_divide(void)
{
	__asm__ volatile("divq %0" : : "r"(UINT64_C(0)), "a"(1), "d"(0));
}

static void fault_jump(void)
{
	__asm__ volatile("jmp *%0" : : "r"(UINT64_C(1) << 63)); /* not a canonical address */
}

static void fault_stack(void)
{
	__asm__ volatile("movq %0, %%rsp\n\tpush %0" : : "r"(NOWHERE) : "memory");
}

static const struct {
	const char *name;
	void (*fault)(void);
} kinds[] = {
    {"ud", fault_ud},	    {"privileged", fault_privileged}, {"load", fault_load},
    {"store", fault_store}, {"divide", fault_divide},	      {"jump", fault_jump},
    {"stack", fault_stack},
};

enum mode { FAULT, SPIN, FAILED, EXIT, MODES };
static const char *const mode_names[MODES] = {"fault", "spin", "failed", "exit"};

static enum mode mode_of(const struct nano *n)
{
	uint64_t ignored;

	for (unsigned m = 0; m < MODES; m++)
		if (words_are(n->args, "mode", mode_names[m]))
			return m;
	if (words_number(n->args, "mode", &ignored) != WORDS_ABSENT)
		nano_usage(n, "mode");
	return FAULT;
}

static unsigned kind_of(const struct nano *n)
{
	uint64_t ignored;

	for (unsigned k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
		if (words_are(n->args, "kind", kinds[k].name))
			return k;
	if (words_number(n->args, "kind", &ignored) != WORDS_ABSENT)
		nano_usage(n, "kind");
	return 0;
}

int nano_main(struct nano *n)
{
	uint64_t end = nano_clock_ns(n) + nano_time(n, "after_ms", 200, NSEC_PER_MSEC);
	uint64_t tell = nano_number(n, "tell", 1);
	enum mode mode = mode_of(n);
	unsigned kind = kind_of(n);

	for (uint64_t units = 0; n->vcpu != 0 || nano_clock_ns(n) < end; units++) {
		nano_work();
		if (n->vcpu == 0)
			nano_beat_when_due(n, units);
	}
	if (tell)
		nano_call(BATON_CALL_FAILED, NANO_FAILED_ASKED, 0, 0, NULL);
	switch (mode) {
	case FAULT:
		kinds[kind].fault();
		break;
	case SPIN:
		for (;;)
			__asm__ volatile("");
	case FAILED:
		for (;;)
			nano_call(BATON_CALL_BLOCK, 0, 0, 0, NULL);
	case EXIT:
	case MODES:
		break;
	}
	return 1;
}
