/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile: does what no guest should do and checks that the monitor answers as baton/guest.h says. A wrong answer is
 * told by FAILED (NANO_FAILED_ANSWER | call << 16) and status 1; when all is well it ends with status 0. It is to run as
 * an ordinary guest, not as the service VM. Only vCPU 0 acts, the others send the same calls without looking at the
 * answers.
 *
 *	mode=all	each of the following in turn (default)
 *	mode=calls	calls that do not exist, and senseless arguments for those that do
 *	mode=privileged	every call of the service VM: all must be refused with -EPERM
 *	mode=ports	reads and writes of ports that belong to nobody, of every width, single and in strings
 *	mode=mailbox	more data than the mailbox holds, more than there is to read, and backwards
 *	mode=beats	heartbeats out of order with a clock that goes back
 *	mode=flood	console output without end, for flood_ms (default 300)
 *	rounds=N	how often the whole is repeated (default 1)
 */
#include "nano.h"

const char *const nano_keys[] = {"mode", "flood_ms", "rounds", NULL};

#define LAST_PUBLIC_CALL  BATON_CALL_WAIT_TIME
#define LAST_SERVICE_CALL BATON_CALL_UPLOAD_END

/* String I/O may cost an exit per element, so there is no more of it than the point needs. */
#define STRING_SIZE 256

static char buffer[BATON_MAILBOX_MAX + STRING_SIZE]; /* of vCPU 0 */

static _Noreturn void wrong_answer(uint64_t call)
{
	nano_fail(NANO_FAILED_ANSWER | (call & 0xffffffff) << 16);
}

/* ---- calls ----------------------------------------------------------------------------------------------------- */

static void unknown_calls(const struct nano *n)
{
	static const uint64_t far[] = {64,
				       255,
				       256,
				       0x7fffffff,
				       0x80000000,
				       0xffffffff,
				       UINT64_C(1) << 32,
				       UINT64_C(1) << 63,
				       UINT64_MAX - 1,
				       UINT64_MAX};

	for (uint64_t nr = LAST_PUBLIC_CALL + 1; nr < BATON_CALL_SERVICE; nr++)
		if (baton_call((long)nr, nr, ~nr, nr << 48, 1, NULL) != -BATON_ENOSYS)
			wrong_answer(nr);
	for (uint64_t nr = LAST_SERVICE_CALL + 1; nr < 64; nr++) {
		long r = baton_call((long)nr, 0, 0, 0, 0, NULL);

		/* behind the known calls of the service VM both answers are true */
		if (r != -BATON_ENOSYS && r != -BATON_EPERM)
			wrong_answer(nr);
	}
	for (unsigned i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		long r = baton_call((long)far[i], UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, NULL);

		if (r != -BATON_ENOSYS && r != -BATON_EPERM)
			wrong_answer(far[i]);
	}
}

static void senseless_arguments(const struct nano *n)
{
	unsigned long second;

	if (baton_call(BATON_CALL_IDENTIFY, UINT64_MAX, 1, 2, 3, &second) != BATON_GUEST_MAGIC ||
	    second != BATON_GUEST_ABI)
		wrong_answer(BATON_CALL_IDENTIFY);
	long r = baton_call(BATON_CALL_YIELD, UINT64_MAX, UINT64_MAX, 0, 0, NULL);
	if (r < 0 && r != -BATON_EINVAL)
		wrong_answer(BATON_CALL_YIELD);
	r = baton_call(BATON_CALL_BLOCK, 1, UINT64_MAX, 0, 0, NULL);
	if (r != 0 && r != 1)
		wrong_answer(BATON_CALL_BLOCK);

	/* The monitor's clock goes on whatever a guest does. */
	uint64_t first = (uint64_t)nano_call(BATON_CALL_CLOCK, UINT64_MAX, 0, 0, NULL);
	uint64_t then = (uint64_t)nano_call(BATON_CALL_CLOCK, 0, 0, 0, NULL);
	if (then < first)
		wrong_answer(BATON_CALL_CLOCK);
}

/* Registers that are no result must be kept. */
static void kept_registers(const struct nano *n)
{
	uint64_t rax = BATON_CALL_IDENTIFY, rbx = 1, rcx = 2, rsi = 3, rdi = 4;
	register uint64_t r8 __asm__("r8") = 0x8888888888888888, r15 __asm__("r15") = 0x1515151515151515;

	__asm__ volatile("outl %%eax, %%dx"
			 : "+a"(rax), "+b"(rbx), "+c"(rcx), "+S"(rsi), "+D"(rdi), "+r"(r8), "+r"(r15)
			 : "d"(BATON_PORT_DOORBELL)
			 : "memory");
	if (rcx != 2 || rsi != 3 || rdi != 4 || r8 != 0x8888888888888888 || r15 != 0x1515151515151515)
		wrong_answer(BATON_CALL_IDENTIFY);
}

static void calls(const struct nano *n)
{
	unknown_calls(n);
	senseless_arguments(n);
	kept_registers(n);
}

static void privileged(const struct nano *n)
{
	static const char request[] = "{\"name\": \"bvt\", \"image\": \"file:bvt.baton\"}";

	for (uint64_t nr = BATON_CALL_SERVICE; nr <= LAST_SERVICE_CALL; nr++) {
		nano_call(BATON_CALL_MAILBOX, 0, 0, 0, NULL);
		baton_mailbox_write(request, sizeof(request) - 1);
		if (baton_call((long)nr, 0, 0, 0, 0, NULL) != -BATON_EPERM)
			wrong_answer(nr);
	}
}

/* ---- ports ----------------------------------------------------------------------------------------------------- */

static void touch_port(uint16_t port, unsigned width)
{
	uint32_t value = 0xa5a5a5a5;

	switch (width) {
	case 1:
		__asm__ volatile("inb %w1, %b0\n\toutb %b0, %w1" : "+a"(value) : "d"(port));
		break;
	case 2:
		__asm__ volatile("inw %w1, %w0\n\toutw %w0, %w1" : "+a"(value) : "d"(port));
		break;
	default:
		__asm__ volatile("inl %w1, %0\n\toutl %0, %w1" : "+a"(value) : "d"(port));
		break;
	}
}

/* Ports with which a guest may rightly switch itself off or start again, and those of the calls. */
static bool port_is_meant_for_guests(uint32_t port)
{
	return (port >= 0x600 && port < 0x604) || (port >= 0x60 && port < 0x68) || (port >= 0xcf8 && port < 0xd00) ||
	       (port >= BATON_PORT_DOORBELL && port < BATON_PORT_MAILBOX + 4);
}

static void ports(const struct nano *n)
{
	unsigned width = 1;

	for (uint32_t port = 0; port < 0x10000; port += 61) {
		if (!port_is_meant_for_guests(port) && !port_is_meant_for_guests(port + 3))
			touch_port((uint16_t)port, width);
		width = width == 4 ? 1 : width * 2;
	}
	touch_port(0xfffc, 4); /* the last one */
	touch_port(BATON_PORT_DOORBELL, 1);
	touch_port(BATON_PORT_MAILBOX, 4);

	const void *from = buffer;
	void *to = buffer;
	unsigned long words = STRING_SIZE / 4;
	__asm__ volatile("rep outsl" : "+S"(from), "+c"(words) : "d"((uint16_t)0x80) : "memory");
	words = STRING_SIZE / 4;
	__asm__ volatile("rep insl" : "+D"(to), "+c"(words) : "d"((uint16_t)0x80) : "memory");
	from = buffer;
	words = 3;
	__asm__ volatile("rep outsl" : "+S"(from), "+c"(words) : "d"((uint16_t)BATON_PORT_DOORBELL) : "memory");
}

/* ---- mailbox and console --------------------------------------------------------------------------------------- */

static void mailbox(const struct nano *n)
{
	memset(buffer, '\r', sizeof(buffer)); /* shows nothing on a terminal */
	nano_call(BATON_CALL_MAILBOX, 0, 0, 0, NULL);
	baton_mailbox_write(buffer, sizeof(buffer));
	long r = baton_call(BATON_CALL_CONSOLE_WRITE, 0, 0, 0, 0, NULL);
	if (r > BATON_MAILBOX_MAX || (r < 0 && r != -BATON_EMSGSIZE && r != -BATON_EAGAIN))
		wrong_answer(BATON_CALL_CONSOLE_WRITE);

	/* Beyond the end of what there is to read, then backwards. */
	r = baton_call(BATON_CALL_CONSOLE_READ, 0, 0, 0, 0, NULL);
	if (r < 0 || r > BATON_MAILBOX_MAX)
		wrong_answer(BATON_CALL_CONSOLE_READ);
	baton_mailbox_read(buffer, (unsigned long)r + STRING_SIZE); /* r is at most BATON_MAILBOX_MAX */
	const char *last = buffer + STRING_SIZE - 1;
	unsigned long size = STRING_SIZE;
	__asm__ volatile("std\n\trep outsb\n\tcld"
			 : "+S"(last), "+c"(size)
			 : "d"((uint16_t)BATON_PORT_MAILBOX)
			 : "memory");

	/* After all that an ordinary use works. */
	nano_call(BATON_CALL_MAILBOX, 0, 0, 0, NULL);
	baton_mailbox_write("hostile: mailbox\n", 17);
	r = baton_call(BATON_CALL_CONSOLE_WRITE, 0, 0, 0, 0, NULL);
	if (r != 17 && r != 0 && r != -BATON_EAGAIN) /* the console may be full */
		wrong_answer(BATON_CALL_CONSOLE_WRITE);
}

static void flood(const struct nano *n)
{
	uint64_t end = nano_clock_ns(n) + nano_time(n, "flood_ms", 300, NSEC_PER_MSEC);

	memset(buffer, '!', STRING_SIZE);
	while (nano_clock_ns(n) < end) {
		nano_call(BATON_CALL_MAILBOX, 0, 0, 0, NULL);
		baton_mailbox_write(buffer, STRING_SIZE);
		long r = baton_call(BATON_CALL_CONSOLE_WRITE, 0, 0, 0, 0, NULL);
		if (r > STRING_SIZE || (r < 0 && r != -BATON_EAGAIN))
			wrong_answer(BATON_CALL_CONSOLE_WRITE);
	}
	nano_print("\n");
}

static void beats(const struct nano *n)
{
	static const uint64_t numbers[] = {5, 4, 0, UINT64_MAX, 1, UINT64_C(1) << 63};

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		long r = baton_call(BATON_CALL_HEARTBEAT, numbers[i], UINT64_MAX - numbers[i], UINT64_MAX, 0, NULL);

		if (r != 0 && r != -BATON_EINVAL)
			wrong_answer(BATON_CALL_HEARTBEAT);
	}
}

/* ---- which of them --------------------------------------------------------------------------------------------- */

static const struct mode {
	const char *name;
	void (*act)(const struct nano *n);
} modes[] = {{"calls", calls},	   {"privileged", privileged}, {"ports", ports},
	     {"mailbox", mailbox}, {"beats", beats},	       {"flood", flood}};

#define MODES (sizeof(modes) / sizeof(modes[0]))

/* The other vCPUs: the same doorbell at the same time, for ever. */
static _Noreturn void disturb(void)
{
	for (uint64_t nr = 0;; nr = (nr + 1) % 64)
		if (nr != BATON_CALL_EXIT && nr != BATON_CALL_FAILED && nr != BATON_CALL_BLOCK &&
		    nr != BATON_CALL_CONSOLE_READ && nr != BATON_CALL_MAILBOX)
			baton_call((long)nr, nr, 0, 0, 0, NULL);
}

int nano_main(struct nano *n)
{
	uint64_t rounds = nano_number(n, "rounds", 1), ignored;
	bool all = words_are(n->args, "mode", "all") || words_number(n->args, "mode", &ignored) == WORDS_ABSENT;
	bool known = all;

	if (n->vcpu != 0)
		disturb();
	for (uint64_t round = 0; round < rounds; round++) {
		for (size_t i = 0; i < MODES; i++)
			if (all || words_are(n->args, "mode", modes[i].name)) {
				known = true;
				modes[i].act(n);
			}
		if (!known)
			nano_usage(n, "mode");
	}
	return 0;
}
