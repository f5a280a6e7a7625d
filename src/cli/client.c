/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/client.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define REPLY_MAX (64 * MIB)

void client_close(struct client *c)
{
	c->fd = close_fd(c->fd);
}

int client_open(const char *socket_path, struct client *ret, struct error *e)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return error_set(e, -errno, "cannot make a socket: %s", strerror(errno));
	if (strlen(socket_path) >= sizeof address.sun_path)
		return error_set(e, -ENAMETOOLONG, "socket path %.60s... is too long; give --socket a shorter one",
				 socket_path);
	memcpy(address.sun_path, socket_path, strlen(socket_path) + 1);
	if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
		if (errno == ENOENT || errno == ECONNREFUSED)
			return error_set(
			    e, -errno,
			    "no monitor serves %s; start one with 'batond', or name its socket with --socket",
			    socket_path);
		if (errno == EACCES)
			return error_set(e, -errno, "%s belongs to another user; use that account, or sudo",
					 socket_path);
		return error_set(e, -errno, "cannot reach the monitor at %s: %s", socket_path, strerror(errno));
	}
	ret->fd = take_fd(&fd);
	return 0;
}

static int send_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

/*
 * Receives exactly one line, newline included, and not a byte more: what follows an attach's reply is the stream. So
 * look (MSG_PEEK) before taking.
 */
static int receive_line(int fd, char **ret, size_t *ret_len)
{
	_cleanup_free_ char *line = NULL;
	size_t used = 0, size = 0;

	for (;;) {
		char *newline;
		ssize_t n;

		if (size - used < 64 * KIB) {
			char *bigger;

			size = MAX(2 * size, (size_t)(128 * KIB));
			if (size > REPLY_MAX)
				return -EMSGSIZE;
			bigger = realloc(line, size);
			if (!bigger)
				return -ENOMEM;
			line = bigger;
		}
		n = recv(fd, line + used, size - used, MSG_PEEK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 ? -EPIPE : -errno;
		newline = memchr(line + used, '\n', (size_t)n);
		n = recv(fd, line + used, newline ? (size_t)(newline + 1 - (line + used)) : (size_t)n, 0);
		if (n <= 0)
			return -EPIPE;
		used += (size_t)n;
		if (newline) {
			*ret = take_ptr(line);
			*ret_len = used;
			return 0;
		}
	}
}

int client_call(struct client *c, const char *method, json_t *params, json_t **ret, struct error *e)
{
	json_t *request =
	    params ? json_pack("{s:s, s:o}", "method", method, "params", params) : json_pack("{s:s}", "method", method);
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	_cleanup_free_ char *line = NULL;
	json_t *reply;
	size_t len;
	int sent, r;

	json_decref(request);
	if (!text)
		return error_set(e, -ENOMEM, "cannot write the request %s as JSON; is every argument UTF-8 text?",
				 method);
	len = strlen(text);
	text[len++] = '\n';
	sent = send_all(c->fd, text, len);
	free(text);
	/* The monitor may have said why it hangs up: look for that first. */
	r = receive_line(c->fd, &line, &len);
	if (r < 0) {
		r = sent < 0 ? sent : r;
		return error_set(e, r, "the monitor hung up on %s (%s); see its log", method, strerror(-r));
	}
	reply = json_loadb(line, len, 0, NULL);
	if (!json_is_object(reply)) {
		json_decref(reply);
		return error_set(e, -EPROTO, "the monitor's answer to %s is no JSON object; do the versions match?",
				 method);
	}
	if (!json_is_true(json_object_get(reply, "ok"))) {
		int64_t code = member_int(reply, "code", EIO);

		r = error_set(e, code > 0 && code < 4096 ? -(int)code : -EIO, "%s",
			      member_text(reply, "error", "the monitor refused without a reason; see its log"));
		json_decref(reply);
		return r;
	}
	if (ret)
		*ret = reply;
	else
		json_decref(reply);
	return 0;
}

int client_attach(struct client *c, const char *vm, bool from_start, bool input, struct error *e)
{
	return client_call(
	    c, "console.attach",
	    json_pack("{s:s, s:s, s:b}", "vm", vm, "from", from_start ? "start" : "now", "input", (int)input), NULL, e);
}

const char *member_text(const json_t *object, const char *name, const char *missing)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : missing;
}

int64_t member_int(const json_t *object, const char *name, int64_t missing)
{
	const json_t *value = json_object_get(object, name);

	if (json_is_real(value))
		return (int64_t)json_real_value(value);
	return json_is_integer(value) ? (int64_t)json_integer_value(value) : missing;
}
