/* SPDX-License-Identifier: Apache-2.0 */
/*
 * echo: writes every byte of console input back; ends with status 0 at ^D. Asleep when there is no input. A heartbeat
 * comes at least every beat_ms; its datum is the number of bytes echoed. Only vCPU 0 acts, the others sleep.
 */
#include "nano.h"

#define END_OF_INPUT 4 /* ^D */

const char *const nano_keys[] = {NULL};

static char buffer[BATON_MAILBOX_MAX]; /* of vCPU 0 */

/* Takes what is there; returns its size. */
static size_t read_input(void)
{
	long n = nano_call(BATON_CALL_CONSOLE_READ, 0, 0, 0, NULL);

	if (n > BATON_MAILBOX_MAX)
		nano_fail(NANO_FAILED_ANSWER | BATON_CALL_CONSOLE_READ << 16);
	baton_mailbox_read(buffer, (unsigned long)n);
	return (size_t)n;
}

/* The console may take less than it is given: the rest goes later. */
static void write_output(const char *data, size_t size)
{
	while (size > 0) {
		nano_call(BATON_CALL_MAILBOX, 0, 0, 0, NULL);
		baton_mailbox_write(data, size);
		long taken = baton_call(BATON_CALL_CONSOLE_WRITE, 0, 0, 0, 0, NULL);

		if (taken > (long)size || (taken < 0 && taken != -BATON_EAGAIN))
			nano_fail(NANO_FAILED_ANSWER | BATON_CALL_CONSOLE_WRITE << 16);
		if (taken <= 0) {
			nano_call(BATON_CALL_YIELD, 1, 0, 0, NULL);
			continue;
		}
		data += taken;
		size -= (size_t)taken;
	}
}

int nano_main(struct nano *n)
{
	uint64_t echoed = 0;

	for (;;) {
		if (n->vcpu != 0) {
			nano_call(BATON_CALL_BLOCK, 0, 0, 0, NULL);
			continue;
		}
		size_t size = read_input(), keep = 0;

		while (keep < size && buffer[keep] != END_OF_INPUT)
			keep++;
		write_output(buffer, keep);
		echoed += keep;
		if (keep < size)
			return 0;
		nano_beat_when_due(n, echoed);
		if (size == 0)
			nano_call(BATON_CALL_BLOCK, n->beat_ns, 0, 0, NULL);
	}
}
