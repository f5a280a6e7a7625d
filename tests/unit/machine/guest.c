/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.c - the nano guest of test_kvm.c. Its first argument letter says what it does; it ends with EXIT(status), where
 * 0 means that all it looked at was right and another value names what was not.
 */
#include <stdint.h>

#include "baton/guest.h"

#define NOTE_TYPE 1

__attribute__((section(".note.baton"), used, aligned(4))) static const struct {
	uint32_t name_size, desc_size, type;
	char name[8];
} note = {6, 0, NOTE_TYPE, "Baton"};

__asm__(".globl _start\n"
	"_start:\n"
	"	jmp guest_main\n");

void guest_main(const char *args, unsigned long index, unsigned long memory);

static uint8_t big[BATON_MAILBOX_MAX + 16];
static unsigned runs; /* zero at power-on */

static _Noreturn void leave(long status)
{
	for (;;)
		baton_call(BATON_CALL_EXIT, (unsigned long)status, 0, 0, 0, 0);
}

/* Doubles in SSE registers over a hypercall: they must be there and must be kept. */
static long sse(void)
{
	volatile double x = 1.5;
	double y = x;

	for (int i = 0; i < 10; i++) {
		y = y * 1.25 + x;
		baton_call(BATON_CALL_IDENTIFY, 0, 0, 0, 0, 0);
	}
	return y > 63.8 && y < 63.9 ? 0 : 1;
}

static long registers(void)
{
	unsigned long bad = 1;

	__asm__ volatile("mov $0x1111, %%r8; mov $0x2222, %%r15; mov $0x3333, %%rcx; mov $0x4444, %%rsi; std\n"
			 "mov $0, %%eax; mov %1, %%edx; out %%eax, %%dx\n"
			 "pushf; cld; pop %%rdi\n"
			 "cmp $0x1111, %%r8; jne 1f; cmp $0x2222, %%r15; jne 1f; cmp $0x3333, %%rcx; jne 1f\n"
			 "cmp $0x4444, %%rsi; jne 1f; cmp %1, %%edx; jne 1f; bt $10, %%rdi; jnc 1f\n"
			 "cmp %2, %%rax; jne 1f; mov $0, %0; jmp 2f\n"
			 "1: mov $1, %0\n2:\n"
			 : "=&b"(bad)
			 : "i"(BATON_PORT_DOORBELL), "i"(BATON_GUEST_MAGIC)
			 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r15", "memory", "cc");
	return (long)bad;
}

/* In pieces of four bytes, then the rest byte by byte: software KVM leaves the guest for each piece. */
static void send(const uint8_t *data, unsigned long n)
{
	unsigned long words = n / 4 - 2;

	__asm__ volatile("rep outsl" : "+S"(data), "+c"(words) : "d"((uint16_t)BATON_PORT_MAILBOX) : "memory");
	baton_mailbox_write(data, n - (n / 4 - 2) * 4);
}

static void receive(uint8_t *data, unsigned long n)
{
	unsigned long words = n / 4 - 2;

	__asm__ volatile("rep insl" : "+D"(data), "+c"(words) : "d"((uint16_t)BATON_PORT_MAILBOX) : "memory");
	baton_mailbox_read(data, n - (n / 4 - 2) * 4);
}

static long mailbox(void)
{
	unsigned long n;

	baton_call(BATON_CALL_MAILBOX, 0, 0, 0, 0, 0);
	for (unsigned i = 0; i < sizeof big; i++)
		big[i] = (uint8_t)(i * 7 + i / 251);
	send(big, sizeof big);				     /* more than it holds: the rest is dropped */
	baton_call(BATON_CALL_CONSOLE_READ, 0, 0, 0, 0, &n); /* the test's host turns the bytes round */
	if (n != BATON_MAILBOX_MAX)
		return 1;
	for (unsigned i = 0; i < sizeof big; i++)
		big[i] = 0xee;
	receive(big, sizeof big);
	for (unsigned i = 0; i < BATON_MAILBOX_MAX; i++)
		if (big[i] != (uint8_t) ~(i * 7 + i / 251))
			return 2;
	for (unsigned i = BATON_MAILBOX_MAX; i < sizeof big; i++)
		if (big[i] != 0)
			return 3;
	return 0;
}

/* Accesses that a well-behaved guest never makes. */
static long hostile(void)
{
	uint16_t w = 0xffff;
	uint32_t l = 0;

	for (unsigned port = 0; port < 0x10000; port += 0x111) {
		if (port == 0x600 || (port & ~7u) == (BATON_PORT_DOORBELL & ~7u))
			continue;
		__asm__ volatile("outw %0, %1" : : "a"(w), "Nd"((uint16_t)port));
		__asm__ volatile("inl %1, %0" : "=a"(l) : "Nd"((uint16_t)port));
	}
	__asm__ volatile("outb %%al, %1" : : "a"(0), "Nd"((uint16_t)BATON_PORT_DOORBELL));
	__asm__ volatile("outw %%ax, %1" : : "a"(0), "Nd"((uint16_t)BATON_PORT_DOORBELL));
	__asm__ volatile("inl %1, %0" : "=a"(l) : "Nd"((uint16_t)BATON_PORT_DOORBELL));
	return baton_call(0x7fffffffffffffff, 1, 2, 3, 4, 0) == -BATON_ENOSYS ? 0 : 1;
}

void guest_main(const char *args, unsigned long index, unsigned long memory)
{
	switch (args[0]) {
	case 'a': /* arguments: the host sees them in the heartbeat */
		baton_call(BATON_CALL_HEARTBEAT, index, memory, (unsigned long)args[1],
			   (unsigned long)__builtin_frame_address(0), 0);
		leave(0);
	case 's':
		leave(sse());
	case 'r':
		leave(registers());
	case 'm':
		leave(mailbox());
	case 'h':
		leave(hostile());
	case 'b': /* block until a time, then until an event */
		if (baton_call(BATON_CALL_BLOCK, 1, 0, 0, 0, 0) != 0)
			leave(1);
		leave(baton_call(BATON_CALL_BLOCK, 0, 0, 0, 0, 0) == 1 ? 0 : 2);
	case 'z': /* memory is zero at power-on; then stay in a hypercall */
		runs++;
		baton_call(BATON_CALL_HEARTBEAT, runs, 0, 0, 0, 0);
		baton_call(BATON_CALL_BLOCK, 0, 0, 0, 0, 0);
		leave(0);
	case 'f':
		*(volatile int *)0x7fff00000000 = 1;
		leave(1);
	case 'p':
		__asm__ volatile("hlt");
		leave(1);
	default:
		for (;;)
			__asm__ volatile("pause");
	}
}
