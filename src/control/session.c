/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.c - one client of the control socket.
 *
 *	bytes -> lines -> JSON request -> monitor_request -> one line of JSON reply
 *	                       |
 *	                       +- console.attach: the connection becomes a byte stream (attach below)
 *
 * A wrong line is answered and the connection goes on: what follows the newline is a fresh start. A line that is too
 * long has no such point, so it is answered and the connection ends; a line that stays unfinished too long likewise.
 *
 * Threads: the caller's, and during an attach one more for the input direction. The socket's hang-up (the client
 * closed, or server.c shut it down) is the one sign that ends every loop here.
 */
#include "control/session.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"

#define READ_SIZE    4096
#define STREAM_CHUNK (16 * KIB)
/* How long an attach sleeps between two looks at the hang-up, and between two offers to a full input queue. */
#define STREAM_WAIT_MS 250
#define INPUT_RETRY_MS 10

struct session {
	struct monitor *m;
	const struct control_limits *limits;
	int fd;
	int shutdown_fd;
	bool closing; /* no further line is read */
	char *buf;    /* bytes received and not used up, from 0 to used */
	size_t used, size;
	size_t scanned; /* no newline below this */
};

static bool hung_up(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR | POLLNVAL));
}

int session_send(int fd, const void *data, size_t size, int timeout_ms)
{
	uint64_t until = clock_now_ns() + (uint64_t)MAX(timeout_ms, 0) * NSEC_PER_MSEC;
	const char *at = data;

	while (size > 0) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		ssize_t n = send(fd, at, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		uint64_t now;

		if (n >= 0) {
			at += n;
			size -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		now = clock_now_ns();
		if (timeout_ms >= 0 && now >= until)
			return -ETIMEDOUT;
		if (poll(&p, 1, timeout_ms < 0 ? -1 : (int)((until - now) / NSEC_PER_MSEC) + 1) < 0 && errno != EINTR)
			return -errno;
	}
	return 0;
}

/* ---- lines ---- */

/* More bytes into the buffer: their number, 0 at the end, -ETIMEDOUT, -EMSGSIZE, -errno. */
static ssize_t receive(struct session *s, int timeout_ms)
{
	struct pollfd p = {.fd = s->fd, .events = POLLIN};
	ssize_t n;

	if (s->size - s->used < READ_SIZE) {
		size_t size = MAX(s->size * 2, (size_t)2 * READ_SIZE);
		char *bigger = realloc(s->buf, size);

		if (!bigger)
			return -ENOMEM;
		s->buf = bigger;
		s->size = size;
	}
	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR && timeout_ms < 0);
	if (n <= 0)
		return n == 0 ? -ETIMEDOUT : -errno;
	n = recv(s->fd, s->buf + s->used, READ_SIZE, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : -errno;
	s->used += (size_t)n;
	return n;
}

/*
 * Waits for a whole line; *ret_len is its length without the newline, *ret_use what to drop from the buffer after it.
 * 1: a line (an unfinished last one counts), 0: end of input, -EMSGSIZE, -ETIMEDOUT, -errno.
 */
static int next_line(struct session *s, size_t *ret_len, size_t *ret_use)
{
	uint64_t until = 0;

	for (;;) {
		char *newline = s->used > s->scanned ? memchr(s->buf + s->scanned, '\n', s->used - s->scanned) : NULL;
		size_t len = newline ? (size_t)(newline - s->buf) : s->used;
		uint64_t now = clock_now_ns();
		int wait_ms = -1;
		ssize_t n;

		if (len > s->limits->line_max)
			return -EMSGSIZE;
		if (newline) {
			*ret_len = len;
			*ret_use = len + 1;
			s->scanned = 0;
			return 1;
		}
		s->scanned = s->used;
		if (s->used > 0) {
			/* The clock of a half line starts with its first byte, and more bytes do not set it back. */
			if (until == 0)
				until = now + (uint64_t)s->limits->line_timeout_ms * NSEC_PER_MSEC;
			if (now >= until)
				return -ETIMEDOUT;
			wait_ms = (int)((until - now) / NSEC_PER_MSEC) + 1;
		}
		n = receive(s, wait_ms);
		if (n == -EAGAIN || n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		if (n == 0) {
			*ret_len = *ret_use = s->used;
			s->scanned = 0;
			return s->used > 0;
		}
	}
}

static void drop(struct session *s, size_t n)
{
	memmove(s->buf, s->buf + n, s->used - n);
	s->used -= n;
}

/* ---- replies ---- */

/* Sends reply (taken over) with the request's id, if it had one. */
static int send_reply(struct session *s, json_t *reply, json_t *id)
{
	char *text;
	size_t len;
	int r;

	if (!reply || (id && json_object_set(reply, "id", id) < 0)) {
		json_decref(reply);
		return -ENOMEM;
	}
	text = json_dumps(reply, JSON_COMPACT);
	json_decref(reply);
	if (!text)
		return -ENOMEM;
	len = strlen(text);
	text[len++] = '\n'; /* in the place of the terminator */
	r = session_send(s->fd, text, len, s->limits->write_timeout_ms);
	free(text);
	return r;
}

/* ---- console.attach ---- */

struct attach {
	struct session *s;
	char vm[64];
	bool input;
};

/* Offers everything, waiting for a full queue to drain. False: the VM or the client is gone. */
static bool offer_input(const struct attach *a, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = monitor_console_input(a->s->m, a->vm, data, size);

		if (n < 0 || hung_up(a->s->fd))
			return false;
		if (n == 0)
			poll(NULL, 0, INPUT_RETRY_MS);
		data += n;
		size -= (size_t)n;
	}
	return true;
}

/* Thread: client -> VM. Ends when the client stops sending, or with the socket. */
static void *pump_input(void *arg)
{
	struct attach *a = arg;
	struct session *s = a->s;

	/* What came behind the request's line is input already. */
	if (a->input && s->used > 0 && !offer_input(a, s->buf, s->used))
		return NULL;
	for (;;) {
		char bytes[READ_SIZE];
		ssize_t n = recv(s->fd, bytes, sizeof bytes, 0);

		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0 || (a->input && !offer_input(a, bytes, (size_t)n)))
			return NULL;
	}
}

static void pump_output(const struct attach *a, uint64_t pos)
{
	_cleanup_free_ char *chunk = malloc(STREAM_CHUNK);

	while (chunk && !hung_up(a->s->fd)) {
		ssize_t n = monitor_console_read(a->s->m, a->vm, &pos, chunk, STREAM_CHUNK);

		if (n < 0)
			return;
		/* Somebody who stopped his terminal may take his time: only this thread waits for him. */
		if (n > 0 && session_send(a->s->fd, chunk, (size_t)n, -1) < 0)
			return;
		if (n == 0 && monitor_console_wait(a->s->m, a->vm, pos, STREAM_WAIT_MS) < 0)
			return;
	}
}

static int attach_params(json_t *params, struct attach *a, uint64_t *ret_pos, struct error *e)
{
	json_t *vm = json_object_get(params, "vm");
	json_t *from = json_object_get(params, "from");
	json_t *input = json_object_get(params, "input");
	int n = -1;

	if (json_is_string(vm))
		n = snprintf(a->vm, sizeof a->vm, "%s", json_string_value(vm));
	else if (json_is_integer(vm))
		n = snprintf(a->vm, sizeof a->vm, "%lld", (long long)json_integer_value(vm));
	if (n <= 0 || (size_t)n >= sizeof a->vm)
		return error_set(e, -EINVAL, "console.attach needs vm: the name or number of a VM");
	if (from && !(json_is_string(from) &&
		      (strcmp(json_string_value(from), "start") == 0 || strcmp(json_string_value(from), "now") == 0)))
		return error_set(e, -EINVAL, "from must be \"start\" or \"now\"");
	if (input && !json_is_boolean(input))
		return error_set(e, -EINVAL, "input must be true or false");
	a->input = json_is_true(input);
	*ret_pos = from && strcmp(json_string_value(from), "now") == 0 ? UINT64_MAX : 0;
	return 0;
}

/* The rest of the connection is a stream. The reply line goes first; a refusal leaves the connection as it was. */
static int attach(struct session *s, json_t *params, json_t *id)
{
	struct attach a = {.s = s};
	struct error e = {""};
	uint64_t pos;
	pthread_t pump;
	char probe;
	int r;

	r = attach_params(params, &a, &pos, &e);
	if (r < 0)
		return send_reply(s, reply_error(-r, "%s", e.text), id);
	/* Reading nothing finds out whether the VM exists, and turns "from now" into a position. */
	r = (int)monitor_console_read(s->m, a.vm, &pos, &probe, 0);
	if (r < 0)
		return send_reply(s, reply_error(-r, "no VM is called %s; 'baton ls' shows them", a.vm), id);
	r = send_reply(s, json_pack("{s:b, s:s, s:I}", "ok", 1, "vm", a.vm, "position", (json_int_t)pos), id);
	if (r < 0)
		return r;
	s->closing = true;
	r = pthread_create(&pump, NULL, pump_input, &a);
	if (r != 0)
		return -r;
	pump_output(&a, pos);
	shutdown(s->fd, SHUT_RDWR); /* wakes the input thread; what was sent stays readable for the client */
	pthread_join(pump, NULL);
	return 0;
}

/* ---- requests ---- */

static int handle(struct session *s, const char *line, size_t len, size_t use)
{
	const struct requester operator= {.kind = REQUESTER_OPERATOR};
	json_t *request, *method, *params, *id;
	json_error_t why;
	int r;

	request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
	drop(s, use);
	if (!request)
		return send_reply(
		    s, reply_error(EINVAL, "not JSON: %s (column %d); send one object per line", why.text, why.column),
		    NULL);
	method = json_object_get(request, "method");
	params = json_object_get(request, "params");
	id = json_object_get(request, "id");
	if (!json_is_object(request) || !json_is_string(method) ||
	    (params && !json_is_object(params) && !json_is_null(params)))
		r = send_reply(
		    s, reply_error(EINVAL, "a request is {\"method\": \"...\", \"params\": {...}, \"id\": ...}"), id);
	else if (strcmp(json_string_value(method), "console.attach") == 0)
		r = attach(s, params, id);
	else
		r = send_reply(
		    s,
		    monitor_request(s->m, &operator, json_string_value(method), json_is_object(params) ? params : NULL),
		    id);
	json_decref(request);
	if (monitor_shutdown_requested(s->m))
		(void)eventfd_write(s->shutdown_fd, 1);
	return r;
}

static bool is_blank(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!strchr(" \t\r\n", line[i]) || line[i] == '\0')
			return false;
	return true;
}

void session_run(struct monitor *m, const struct control_limits *limits, int fd, int shutdown_fd)
{
	struct session s = {.m = m, .limits = limits, .fd = fd, .shutdown_fd = shutdown_fd};
	size_t len, use;
	int r = 0;

	while (!s.closing && r >= 0) {
		r = next_line(&s, &len, &use);
		if (r <= 0)
			break;
		if (is_blank(s.buf, len))
			drop(&s, use);
		else
			r = handle(&s, s.buf, len, use);
	}
	if (r == -EMSGSIZE)
		(void)send_reply(
		    &s, reply_error(EMSGSIZE, "a line is longer than %zu bytes; closing", limits->line_max), NULL);
	else if (r == -ETIMEDOUT && s.used > 0)
		(void)send_reply(
		    &s, reply_error(ETIMEDOUT, "a line stayed unfinished for %d ms; closing", limits->line_timeout_ms),
		    NULL);
	free(s.buf);
}
