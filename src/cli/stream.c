/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - one loop over three descriptors: the keyboard, the console stream, and the signals that end it all.
 * Signals come through a signalfd, so there is no moment in which the terminal could stay raw.
 */
#include "cli/stream.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>

#include "cli/client.h"

#define ESCAPE 0x1d /* Ctrl-] */
/* How often to ask whether the VM is still on, and how much quiet after that means that all output has come. */
#define ALIVE_PERIOD_MS 500

struct terminal {
	bool raw;
	struct termios saved;
};

static void terminal_restore(struct terminal *t)
{
	if (t->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &t->saved);
	t->raw = false;
}

static void terminal_raw(struct terminal *t)
{
	struct termios raw;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &t->saved) < 0)
		return;
	raw = t->saved;
	cfmakeraw(&raw);
	t->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static int write_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = fd == STDOUT_FILENO ? write(fd, data, size) : send(fd, data, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

enum keys { KEYS_ON, KEYS_ENDED, KEYS_LEAVE };

/* Keyboard -> VM. Ctrl-] q leaves, Ctrl-] Ctrl-] sends one Ctrl-], Ctrl-] and another key send both. */
static enum keys pass_keys(int fd, bool *escaped)
{
	char in[256], out[2 * sizeof in];
	ssize_t n = read(STDIN_FILENO, in, sizeof in);
	size_t used = 0;

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? KEYS_ON : KEYS_ENDED;
	if (n == 0)
		return KEYS_ENDED;
	for (ssize_t i = 0; i < n; i++) {
		if (!*escaped && in[i] == ESCAPE) {
			*escaped = true;
			continue;
		}
		if (*escaped && (in[i] == 'q' || in[i] == 'Q'))
			return KEYS_LEAVE;
		if (*escaped && in[i] != ESCAPE)
			out[used++] = ESCAPE;
		*escaped = false;
		out[used++] = in[i];
	}
	return write_all(fd, out, used) < 0 ? KEYS_LEAVE : KEYS_ON;
}

/* Has the VM gone for good? Unknown states count as "on". */
static bool is_off(struct client *control, const char *vm)
{
	struct error e;
	json_t *list, *entry;
	bool off = true;
	size_t i;

	if (client_call(control, "vm.list", NULL, &list, &e) < 0)
		return true;
	json_array_foreach(json_object_get(list, "vms"), i, entry)
	{
		const char *state = member_text(entry, "state", "");

		if (strcmp(member_text(entry, "name", ""), vm) == 0)
			off = strcmp(state, "off") == 0 || strcmp(state, "stopped") == 0 ||
			      strcmp(state, "crashed") == 0 || strcmp(state, "dead") == 0;
	}
	json_decref(list);
	return off;
}

static int pass(const struct cli *cli, const char *vm, const struct stream_options *options, int fd, int signals)
{
	_cleanup_client_ struct client control = CLIENT_NONE;
	bool escaped = false, off = false;
	struct error e = {""};
	struct pollfd p[] = {
	    {.fd = STDIN_FILENO, .events = POLLIN},
	    {.fd = fd, .events = POLLIN},
	    {.fd = signals, .events = POLLIN},
	};

	if (options->until_off && client_open(cli->socket, &control, &e) < 0)
		return cli_fail("%s", e.text);
	for (;;) {
		char bytes[16 * KIB];
		ssize_t n;
		int r = poll(p, ARRAY_SIZE(p), options->until_off ? ALIVE_PERIOD_MS : -1);

		if (r == 0) {
			if (off)
				return 0;
			off = is_off(&control, vm); /* one more quiet period, then leave */
			continue;
		}
		if (r < 0 && errno != EINTR)
			return cli_fail("poll: %s", strerror(errno));
		if (r < 0)
			continue;
		if (p[2].revents)
			return 0;
		if (p[1].revents) {
			n = recv(fd, bytes, sizeof bytes, 0);
			if (n <= 0)
				return 0;
			if (write_all(STDOUT_FILENO, bytes, (size_t)n) < 0)
				return CLI_FAILED;
		}
		if (p[0].revents) {
			switch (pass_keys(fd, &escaped)) {
			case KEYS_LEAVE:
				return 0;
			case KEYS_ENDED:
				p[0].fd = -1; /* go on listening */
				break;
			case KEYS_ON:
				break;
			}
		}
	}
}

int stream_console(const struct cli *cli, const char *vm, const struct stream_options *options)
{
	_cleanup_client_ struct client client = CLIENT_NONE;
	_cleanup_close_ int signals = -1;
	struct terminal terminal = {0};
	struct error e = {""};
	sigset_t ends, before;
	int status;

	if (client_open(cli->socket, &client, &e) < 0 || client_attach(&client, vm, options->from_start, true, &e) < 0)
		return cli_fail("%s", e.text);
	if (isatty(STDIN_FILENO))
		fprintf(stderr, "baton: console of %s; leave with Ctrl-] q\n", vm);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	sigprocmask(SIG_BLOCK, &ends, &before);
	signals = signalfd(-1, &ends, SFD_CLOEXEC);
	if (signals < 0)
		return cli_fail("signalfd: %s", strerror(errno));
	fflush(stdout);
	terminal_raw(&terminal);
	status = pass(cli, vm, options, client.fd, signals);
	terminal_restore(&terminal);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (isatty(STDIN_FILENO))
		fprintf(stderr, "\nbaton: left the console of %s\n", vm);
	return status;
}
