/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tester: a nano guest for tests of what no other nano guest does. It ends with status 0, or stays and beats.
 *
 *	mode=call	makes call number `call` with the text `text` (one word) in its mailbox, prints "RESULT:" with
 *the result and the reply, and ends (default)
 *	mode=wait	computes; the datum of its heartbeats is the time that it waited, as WAIT_TIME says
 *	mode=priority	computes; the datum of its heartbeats is its priority
 */
#include "nano.h"

const char *const nano_keys[] = {"mode", "call", "text", NULL};

static char reply[BATON_MAILBOX_MAX];

/* The value of text=, up to the next space; *ret_size bytes. */
static const char *text_of(const struct nano *n, unsigned long *ret_size)
{
	static const char key[] = "text=";
	const char *s = n->args;

	*ret_size = 0;
	for (; *s; s += words_length(s)) {
		unsigned i = 0;

		while (*s == ' ')
			s++;
		while (key[i] && s[i] == key[i])
			i++;
		if (key[i])
			continue;
		*ret_size = words_length(s) - i;
		return s + i;
	}
	return "";
}

static void print(const char *text, unsigned long size)
{
	nano_call(BATON_CALL_MAILBOX, 0, 0, 0, NULL);
	baton_mailbox_write(text, size);
	baton_call(BATON_CALL_CONSOLE_WRITE, 0, 0, 0, 0, NULL);
}

static int make_call(struct nano *n)
{
	unsigned long size, length = 0;
	const char *text = text_of(n, &size);
	uint64_t nr = nano_number(n, "call", BATON_CALL_IDENTIFY);

	nano_call(BATON_CALL_MAILBOX, 0, 0, 0, NULL);
	baton_mailbox_write(text, size);
	long r = baton_call((long)nr, 0, 0, 0, 0, &length);

	if (length > sizeof(reply))
		length = 0;
	if (nr >= BATON_CALL_SERVICE && r != -BATON_EPERM)
		baton_mailbox_read(reply, length);
	else
		length = 0;
	nano_print(r < 0 ? "RESULT:-" : "RESULT:");
	nano_print_number((uint64_t)(r < 0 ? -r : r));
	nano_print(":");
	print(reply, length);
	nano_print(":END\n");
	return 0;
}

int nano_main(struct nano *n)
{
	bool wait = words_are(n->args, "mode", "wait"), priority = words_are(n->args, "mode", "priority");

	if (!wait && !priority) {
		if (n->vcpu == 0)
			return make_call(n);
		for (;;)
			nano_call(BATON_CALL_BLOCK, 0, 0, 0, NULL);
	}
	for (;;) {
		nano_work();
		if (n->vcpu == 0)
			nano_beat_when_due(n, (uint64_t)baton_call(wait ? BATON_CALL_WAIT_TIME : BATON_CALL_PRIORITY, 0,
								   0, 0, 0, NULL));
	}
}
