/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo_watch.c - the guests as the demo sees them from outside: what their consoles say and what the monitor counts.
 *
 * What counts as suffering: no heartbeat for longer than the (generous) stall limit, a number missing in a row of
 * heartbeats, and an end or a reboot that was not meant. Each is told once per guest and makes the demo fail.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "cli/demo.h"

#define TICK_NS	      NSEC_PER_SEC
#define QUICK_TICK_NS (100 * NSEC_PER_MSEC) /* while something is waited for, and no table is shown */
#define NUDGE_NS      (5 * NSEC_PER_SEC)

void demo_failure(struct demo *d, const char *fmt, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	json_array_append_new(d->failures, json_string(text));
	demo_say(d, "FAILED: %s", text);
}

int demo_guest_start(struct demo *d, struct demo_guest *g, struct error *e)
{
	struct error why = {""};
	json_t *params;
	int r;

	params = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:s}", "name", g->name, "kernel", g->kernel, "cmdline",
			   g->cmdline, "vcpus", (int)g->vcpus, "memory_mib", (int)g->memory_mib, "weight",
			   (int)g->weight, "role", g->service ? "service" : "guest");
	if (params && *g->initrd)
		json_object_set_new(params, "initrd", json_string(g->initrd));
	r = client_call(&d->control, "vm.create", params, NULL, &why);
	if (r < 0)
		return error_set(e, r, "%s: %s", g->name, why.text);
	g->started = true;
	g->started_ns = g->last_beat_ns = clock_now_ns();
	r = client_open(d->socket, &g->console, e);
	if (r >= 0)
		r = client_attach(&g->console, g->name, true, true, e);
	if (r >= 0 && fcntl(g->console.fd, F_SETFL, O_NONBLOCK) < 0)
		r = error_set(e, -errno, "%s: console: %s", g->name, strerror(errno));
	return r;
}

int demo_type(struct demo_guest *g, const char *line)
{
	char text[DEMO_LINE_MAX];
	int n = snprintf(text, sizeof text, "%s\n", line);

	if (n < 0 || (size_t)n >= sizeof text)
		return -EMSGSIZE;
	g->prompt = false;
	g->nudged_ns = clock_now_ns();
	/* A line is far smaller than the socket's buffer: it is taken whole or not at all. */
	return send(g->console.fd, text, (size_t)n, MSG_NOSIGNAL) == n ? 0 : -EPIPE;
}

void demo_nudge(struct demo_guest *g)
{
	uint64_t now = clock_now_ns();

	if (g->console.fd < 0 || !g->booted || now - MAX(g->nudged_ns, g->booted_ns) < NUDGE_NS)
		return;
	g->nudged_ns = now;
	(void)send(g->console.fd, "\n", 1, MSG_NOSIGNAL);
}

/* ---- consoles ---- */

/* A finished line: tells of the boot, follows the row of beats, is shown when the guest is the one to listen to. */
static void hear_line(struct demo *d, struct demo_guest *g)
{
	char *init = strstr(g->line, "baton-guest: init reached");
	unsigned long long beat;
	int used = 0;

	if (init && !g->booted) {
		g->booted = true;
		g->booted_ns = clock_now_ns();
		demo_say(d, "%s booted in %.1f s: \"%s\"", g->name, (double)(g->booted_ns - g->started_ns) / 1e9,
			 init + strlen("baton-guest: "));
	}
	/* Only a whole line in its full form counts: the kernel may write into the middle of one. */
	if (sscanf(g->line, "beat %llu t=%*u.%*u gap_ms=%n", &beat, &used) == 1 && used > 0) {
		if (g->next_beat != 0 && beat > g->next_beat && !g->gone_bad) {
			g->gone_bad = true;
			demo_failure(d, "%s: heartbeat %" PRIu64 " is missing, %llu came instead", g->name,
				     g->next_beat, beat);
		}
		g->next_beat = beat + 1;
	}
	/* Beats are noise here, and what was typed has been told. */
	if (d->echo == g && *g->line && strncmp(g->line, "beat ", 5) != 0 &&
	    strncmp(g->line, DEMO_PROMPT, strlen(DEMO_PROMPT)) != 0)
		printf("           %s | %s\n", g->name, g->line);
}

/* Bytes -> lines of printable text; terminal sequences are dropped. */
static void hear(struct demo *d, struct demo_guest *g, const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)bytes[i];

		if (c == '\n') {
			g->line[g->line_len] = '\0';
			hear_line(d, g);
			g->line_len = 0;
		} else if (c == '\r') {
			continue;
		} else if (c >= 0x20 && c != 0x7f && g->line_len < sizeof g->line - 1) {
			g->line[g->line_len++] = (char)c;
		} else if (c == 0x1b) {
			/* ESC [ ... letter; one that is cut by the end of a read shows as rubbish, no more */
			if (i + 1 < size && bytes[i + 1] == '[')
				for (i += 2; i < size && !(bytes[i] >= '@' && bytes[i] <= '~'); i++)
					;
		}
	}
	g->line[g->line_len] = '\0';
	g->prompt = strcmp(g->line, DEMO_PROMPT) == 0;
}

static void read_console(struct demo *d, struct demo_guest *g)
{
	char bytes[8192];
	ssize_t n = recv(g->console.fd, bytes, sizeof bytes, 0);

	if (n > 0)
		hear(d, g, bytes, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		client_close(&g->console);
}

/* ---- the monitor's view ---- */

static bool is_alive(const char *state)
{
	static const char *const ends[] = {"off", "stopped", "crashed", "dead", "failed"};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		if (strcmp(state, ends[i]) == 0)
			return false;
	return true;
}

static void look_at(struct demo *d, struct demo_guest *g, const json_t *vm, uint64_t now)
{
	uint64_t beats = (uint64_t)member_int(vm, "heartbeats", 0);
	const char *state = member_text(vm, "state", "?");
	int64_t boots = member_int(vm, "boots", 0);

	g->run_before_ns = g->run_ns;
	g->run_ns = (uint64_t)member_int(vm, "run_ns", 0);
	g->gap_ms = (uint64_t)member_int(vm, "heartbeat_gap_ms", 0);
	g->gap_host_ms = (uint64_t)member_int(vm, "heartbeat_gap_host_ms", 0);
	g->exit_status = member_int(vm, "exit_status", 0);
	if (beats != g->beats) {
		if (g->beats == 0 && !g->linux_guest) {
			g->booted = true;
			g->booted_ns = now;
		}
		g->beats = beats;
		g->last_beat_ns = now;
	}
	if (!is_alive(state)) {
		if (!g->ended && !g->quiet_end && !g->gone_bad) {
			g->gone_bad = true;
			demo_failure(d, "%s ended unexpectedly: %s %s", g->name, state, member_text(vm, "reason", ""));
		}
		g->ended = true;
	}
	if (g->gone_bad || g->quiet_end || g->ended)
		return;
	if (g->boots != 0 && boots > g->boots) {
		g->gone_bad = true;
		demo_failure(d, "%s rebooted: %s", g->name, member_text(vm, "reason", "no reason known"));
	}
	g->boots = boots;
	if (member_int(vm, "heartbeat_holes", 0) > 0) {
		g->gone_bad = true;
		demo_failure(d, "%s: %" PRId64 " heartbeats are missing in the row", g->name,
			     member_int(vm, "heartbeat_holes", 0));
	}
	if (g->beats > 0 && now - g->last_beat_ns > d->options.stall_s * NSEC_PER_SEC) {
		g->gone_bad = true;
		demo_failure(d, "%s stalled: no heartbeat for %.1f s", g->name, (double)(now - g->last_beat_ns) / 1e9);
	}
}

int demo_look(struct demo *d)
{
	uint64_t now, elapsed;
	struct error e = {""};
	json_t *list, *status;
	int r;

	r = client_call(&d->control, "vm.list", NULL, &list, &e);
	if (r < 0)
		return -ECONNRESET;
	now = clock_now_ns();
	elapsed = now - d->listed_ns;
	d->listed_ns = now;
	for (size_t i = 0; i < d->count; i++) {
		struct demo_guest *g = &d->guests[i];
		const json_t *vm = NULL;
		json_t *entry;
		size_t k;

		json_array_foreach(json_object_get(list, "vms"), k,
				   entry) if (strcmp(member_text(entry, "name", ""), g->name) == 0) vm = entry;
		if (vm) {
			look_at(d, g, vm, now);
		} else if (g->started && !g->gone_bad) {
			g->gone_bad = true;
			demo_failure(d, "%s is not known to the monitor any more", g->name);
		}
	}
	json_decref(list);
	if (client_call(&d->control, "sched.status", NULL, &status, &e) < 0)
		return -ECONNRESET;
	(void)snprintf(d->active, sizeof d->active, "%s", member_text(status, "active", "?"));
	json_decref(status);
	if (d->show)
		demo_show_shares(d, elapsed);
	return 0;
}

/* ---- the loop ---- */

/* True when it was a wish to end. */
static bool take_signal(struct demo *d)
{
	struct signalfd_siginfo info;

	if (read(d->signals, &info, sizeof info) != sizeof info)
		return false;
	if (info.ssi_signo == SIGCHLD)
		return false;
	d->interrupted = true;
	return true;
}

static bool monitor_died(struct demo *d)
{
	char words[200];
	int status;

	if (d->monitor == 0 || waitpid(d->monitor, &status, WNOHANG) != d->monitor)
		return false;
	d->monitor = 0;
	demo_host_last_words(d, words, sizeof words);
	if (WIFSIGNALED(status))
		demo_failure(d, "the monitor was killed by signal %d; its last words: %s", WTERMSIG(status), words);
	else
		demo_failure(d, "the monitor ended with status %d; its last words: %s", WEXITSTATUS(status), words);
	return true;
}

int demo_live(struct demo *d, uint64_t until_ns, bool (*done)(struct demo *d))
{
	for (;;) {
		struct pollfd p[DEMO_GUESTS_MAX + 1] = {{.fd = d->signals, .events = POLLIN}};
		uint64_t now = clock_now_ns();
		uint64_t next = MIN(until_ns, d->tick_ns);

		if (done && done(d))
			return 1;
		if (now >= d->tick_ns) {
			uint64_t period = d->show ? TICK_NS : QUICK_TICK_NS;

			d->tick_ns += period;
			if (d->tick_ns <= now) /* we were late: no burst of ticks */
				d->tick_ns = now + period;
			if (demo_look(d) < 0) {
				if (!monitor_died(d))
					demo_failure(d, "the monitor does not answer any more");
				return -ECONNRESET;
			}
			continue;
		}
		if (now >= until_ns)
			return 0;
		for (size_t i = 0; i < d->count; i++)
			p[i + 1] = (struct pollfd){.fd = d->guests[i].console.fd, .events = POLLIN};
		if (poll(p, d->count + 1, (int)((next - now) / NSEC_PER_MSEC) + 1) < 0 && errno != EINTR)
			return -errno;
		if (p[0].revents) {
			if (take_signal(d))
				return -EINTR;
			if (monitor_died(d))
				return -ECONNRESET;
		}
		for (size_t i = 0; i < d->count; i++)
			if (p[i + 1].revents)
				read_console(d, &d->guests[i]);
	}
}
