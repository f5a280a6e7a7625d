/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uploader: a nano guest that brings an image to the monitor and asks for it, as the service VM may. The image is written
 * into this file, behind the marker, by the test. It prints "RESULT:" with the answer to the loading request, and ends.
 *
 *	begin=JSON	the request of UPLOAD_BEGIN, which ends with the digest: {"size":N,"digest":"..."}
 *	piece=N		bytes per call (default 65536)
 *	wrong=1		leaves one byte of the image out of the order, to be refused
 */
#include "nano.h"

const char *const nano_keys[] = {"begin", "piece", "wrong", NULL};

#define IMAGE_MAX  (256 * 1024)
#define DIGEST_END 66 /* 64 digits, "} */

static volatile struct {
	char marker[32];
	uint64_t size;
	uint8_t bytes[IMAGE_MAX];
} image = {.marker = "here follow size and image......"};

static char reply[BATON_MAILBOX_MAX];

static const char *value_of(const char *args, const char *key, unsigned long *ret_size)
{
	*ret_size = 0;
	for (; *args; args += words_length(args)) {
		unsigned i = 0;

		while (*args == ' ')
			args++;
		while (key[i] && args[i] == key[i])
			i++;
		if (key[i])
			continue;
		*ret_size = words_length(args) - i;
		return args + i;
	}
	return "";
}

static long call_with(uint64_t nr, uint64_t arg, const void *data, unsigned long size, unsigned long *ret_reply)
{
	nano_call(BATON_CALL_MAILBOX, 0, 0, 0, NULL);
	baton_mailbox_write(data, size);
	return baton_call((long)nr, arg, 0, 0, 0, ret_reply);
}

static void tell(const char *step, long r, unsigned long size)
{
	if (size > sizeof(reply))
		size = 0;
	baton_mailbox_read(reply, size);
	nano_print(step);
	nano_print(r < 0 ? ":-" : ":");
	nano_print_number((uint64_t)(r < 0 ? -r : r));
	nano_print(":");
	nano_call(BATON_CALL_MAILBOX, 0, 0, 0, NULL);
	baton_mailbox_write(reply, size);
	baton_call(BATON_CALL_CONSOLE_WRITE, 0, 0, 0, 0, NULL);
	nano_print(":END\n");
}

static long send(const struct nano *n, uint64_t piece)
{
	bool wrong = nano_number(n, "wrong", 0) != 0;
	uint64_t size = image.size < IMAGE_MAX ? image.size : IMAGE_MAX;

	for (uint64_t at = 0; at < size;) {
		uint64_t count = size - at < piece ? size - at : piece;
		long r = call_with(BATON_CALL_UPLOAD_PIECE, at + wrong, (const void *)(image.bytes + at), count, NULL);

		if (r < 0)
			return r;
		at = (uint64_t)r;
	}
	return 0;
}

int nano_main(struct nano *n)
{
	static const char before[] = "{\"image\":\"upload:";
	char request[sizeof(before) + DIGEST_END];
	unsigned long size, got = 0;
	const char *begin = value_of(n->args, "begin=", &size);
	uint64_t piece = nano_number(n, "piece", BATON_MAILBOX_MAX);
	long r;

	if (size < DIGEST_END)
		return 1;
	r = call_with(BATON_CALL_UPLOAD_BEGIN, 0, begin, size, &got);
	tell("BEGIN", r, got);
	r = r < 0 ? r : send(n, piece > 0 && piece < BATON_MAILBOX_MAX ? piece : BATON_MAILBOX_MAX);
	tell("PIECES", r, 0);
	r = call_with(BATON_CALL_UPLOAD_END, 0, "", 0, &got);
	tell("UPLOADED", r, got);
	for (unsigned i = 0; i < sizeof(before) - 1; i++)
		request[i] = before[i];
	for (unsigned i = 0; i < DIGEST_END; i++)
		request[sizeof(before) - 1 + i] = begin[size - DIGEST_END + i];
	got = 0;
	r = call_with(BATON_CALL_SCHED_LOAD, 0, request, sizeof(before) - 1 + DIGEST_END, &got);
	tell("RESULT", r, got);
	return 0;
}
