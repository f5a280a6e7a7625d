/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net_user.c - user-mode networking: the guest's frames end in a TCP/IP stack inside the monitor (libslirp), which speaks
 * for the guest by ordinary sockets. No root, no interface of the host, nothing to configure.
 *
 *	send() -> slirp_input()                 sockets of the host
 *	net_receive() <- send_packet()               |
 *	             slirp_pollfds_poll()  <-  inner epoll set  <-  the I/O loop sees one descriptor
 *
 * libslirp names, on each round, the sockets it waits for. `watch` brings the inner epoll set up to that: a table by
 * descriptor says what is in the set, so that only changes cost a call. libslirp says when it closes a descriptor, since the
 * number may come back as something else.
 */
#include <arpa/inet.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>

#include "base/clock.h"
#include "devices/virtio_net.h"

#define MTU	    1500
#define EVENTS_MAX  64
#define NSEC_PER_MS 1000000

struct watched {
	uint32_t wanted; /* this round: EPOLL* */
	uint32_t in_set;
	uint32_t seen; /* SLIRP_POLL_* of this round */
	bool named;    /* is in `fds` already, this round */
};

/* A timer of libslirp's. It has one at most (router advertisements), but says so nowhere. */
struct user_timer {
	struct user_timer *next;
	SlirpTimerCb call;
	void *arg;
	int64_t due_ms; /* INT64_MAX: not set */
};

struct user {
	struct net_backend backend;
	Slirp *slirp;
	struct io_source source; /* the inner epoll set */
	int timer_fd;
	struct user_timer *timers;
	struct watched *by_fd;
	int by_fd_count;
	int *fds; /* in the order in which libslirp named them this round */
	int fd_count, fd_room;
	int *before; /* those of the round before */
	int before_count, before_room;
	struct log_limit log_limit;
};

static struct user *user_of(struct net_backend *b)
{
	return container_of(b, struct user, backend);
}

/* ---- what libslirp waits for ---- */

static struct watched *watched(struct user *u, int fd)
{
	int room = MAX(fd + 1, u->by_fd_count * 2);
	struct watched *more;

	if (fd < u->by_fd_count)
		return &u->by_fd[fd];
	more = reallocarray(u->by_fd, (size_t)room, sizeof *more);
	if (!more)
		return NULL;
	memset(more + u->by_fd_count, 0, (size_t)(room - u->by_fd_count) * sizeof *more);
	u->by_fd = more;
	u->by_fd_count = room;
	return &u->by_fd[fd];
}

static uint32_t to_epoll(int events)
{
	return (events & SLIRP_POLL_IN ? EPOLLIN : 0) | (events & SLIRP_POLL_OUT ? EPOLLOUT : 0) |
	       (events & SLIRP_POLL_PRI ? EPOLLPRI : 0);
}

static int to_slirp(uint32_t events)
{
	return (events & EPOLLIN ? SLIRP_POLL_IN : 0) | (events & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
	       (events & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (events & EPOLLERR ? SLIRP_POLL_ERR : 0) |
	       (events & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

/* Returns the number by which libslirp asks for the result; -1: it is not watched this time. */
static int add_poll(int fd, int events, void *opaque)
{
	struct user *u = opaque;
	struct watched *w = fd >= 0 ? watched(u, fd) : NULL;

	if (!w)
		return -1;
	if (u->fd_count == u->fd_room) {
		int room = MAX(64, u->fd_room * 2);
		int *more = reallocarray(u->fds, (size_t)room, sizeof *more);

		if (!more)
			return -1;
		u->fds = more;
		u->fd_room = room;
	}
	w->wanted |= to_epoll(events);
	w->named = true;
	u->fds[u->fd_count] = fd;
	return u->fd_count++;
}

static int get_revents(int index, void *opaque)
{
	struct user *u = opaque;

	return index >= 0 && index < u->fd_count ? (int)u->by_fd[u->fds[index]].seen : 0;
}

static void set_in_epoll(struct user *u, int fd)
{
	struct watched *w = &u->by_fd[fd];
	struct epoll_event event = {.events = w->wanted, .data.fd = fd};
	int op = w->wanted == 0 ? EPOLL_CTL_DEL : w->in_set == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

	if (w->wanted == w->in_set)
		return;
	w->in_set = epoll_ctl(u->source.fd, op, fd, &event) == 0 ? w->wanted : 0;
}

static void arm_timer(struct user *u, uint32_t timeout_ms)
{
	int64_t now_ms = (int64_t)(clock_now_ns() / NSEC_PER_MS), due_ms = INT64_MAX;
	struct itimerspec when = {.it_value = {0, 0}};

	if (timeout_ms != UINT32_MAX)
		due_ms = now_ms + timeout_ms;
	for (struct user_timer *t = u->timers; t; t = t->next)
		due_ms = MIN(due_ms, t->due_ms);
	if (due_ms != INT64_MAX)
		when.it_value = timespec_from_ns((uint64_t)MAX(due_ms, now_ms + 1) * NSEC_PER_MS);
	(void)timerfd_settime(u->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* After anything that libslirp did: waits for what it waits for now. */
static void watch(struct user *u)
{
	uint32_t timeout_ms = UINT32_MAX;
	int *fds = u->before, room = u->before_room;

	u->before = u->fds;
	u->before_count = u->fd_count;
	u->before_room = u->fd_room;
	u->fds = fds;
	u->fd_room = room;
	u->fd_count = 0;
	slirp_pollfds_fill(u->slirp, &timeout_ms, add_poll, u);
	for (int i = 0; i < u->before_count; i++)
		if (!u->by_fd[u->before[i]].named)
			set_in_epoll(u, u->before[i]); /* wanted is 0: out of the set */
	for (int i = 0; i < u->fd_count; i++)
		set_in_epoll(u, u->fds[i]);
	for (int i = 0; i < u->fd_count; i++) {
		u->by_fd[u->fds[i]].wanted = 0;
		u->by_fd[u->fds[i]].named = false;
	}
	arm_timer(u, timeout_ms);
}

static void run_timers(struct user *u)
{
	int64_t now_ms = (int64_t)(clock_now_ns() / NSEC_PER_MS);
	uint64_t count;
	ssize_t n = read(u->timer_fd, &count, sizeof count);

	(void)n;
	for (struct user_timer *t = u->timers; t; t = t->next)
		if (t->due_ms <= now_ms) {
			t->due_ms = INT64_MAX;
			t->call(t->arg);
		}
}

static void user_ready(struct io_source *s, uint32_t events)
{
	struct user *u = container_of(s, struct user, source);
	struct epoll_event told[EVENTS_MAX];
	int n = epoll_wait(s->fd, told, EVENTS_MAX, 0);

	for (int i = 0; i < n; i++) {
		if (told[i].data.fd == u->timer_fd)
			run_timers(u);
		else
			u->by_fd[told[i].data.fd].seen = (uint32_t)to_slirp(told[i].events);
	}
	slirp_pollfds_poll(u->slirp, n < 0, get_revents, u);
	for (int i = 0; i < n; i++)
		if (told[i].data.fd != u->timer_fd)
			u->by_fd[told[i].data.fd].seen = 0;
	net_received(&u->backend);
	watch(u);
}

/* ---- what libslirp calls ---- */

static ssize_t send_packet(const void *frame, size_t size, void *opaque)
{
	struct user *u = opaque;

	net_receive(&u->backend, frame, size);
	return (ssize_t)size;
}

static void guest_error(const char *text, void *opaque)
{
	struct user *u = opaque;

	log_limited(&u->log_limit, LOG_WARNING, "user network: the guest sent nonsense: %.100s", text);
}

static int64_t clock_get_ns(void *opaque)
{
	return (int64_t)clock_now_ns();
}

static void *timer_new(SlirpTimerCb call, void *arg, void *opaque)
{
	struct user *u = opaque;
	struct user_timer *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	*t = (struct user_timer){.next = u->timers, .call = call, .arg = arg, .due_ms = INT64_MAX};
	u->timers = t;
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	struct user *u = opaque;

	for (struct user_timer **t = &u->timers; *t; t = &(*t)->next)
		if (*t == timer) {
			*t = (*t)->next;
			break;
		}
	free(timer);
}

static void timer_mod(void *timer, int64_t due_ms, void *opaque)
{
	struct user_timer *t = timer;

	if (t)
		t->due_ms = due_ms;
}

static void register_fd(int fd, void *opaque)
{
}

/* It is about to be closed, which takes it out of the set. */
static void unregister_fd(int fd, void *opaque)
{
	struct user *u = opaque;

	if (fd < 0 || fd >= u->by_fd_count)
		return;
	if (u->by_fd[fd].in_set != 0)
		(void)epoll_ctl(u->source.fd, EPOLL_CTL_DEL, fd, NULL);
	u->by_fd[fd].in_set = 0;
	u->by_fd[fd].seen = 0;
}

static void notify(void *opaque)
{
	/* Only the I/O thread calls libslirp, and it looks afterwards anyway. */
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = guest_error,
    .clock_get_ns = clock_get_ns,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = register_fd,
    .unregister_poll_fd = unregister_fd,
    .notify = notify,
};

/* ---- as a backend ---- */

static void user_send(struct net_backend *b, const uint8_t *frame, size_t size)
{
	slirp_input(user_of(b)->slirp, frame, (int)size);
}

static void user_sent(struct net_backend *b)
{
	net_received(b); /* answers that came at once */
	watch(user_of(b));
}

static int user_attach(struct net_backend *b, struct io_loop *l)
{
	watch(user_of(b));
	return io_loop_add(l, &user_of(b)->source, EPOLLIN);
}

static void user_detach(struct net_backend *b, struct io_loop *l)
{
	io_loop_remove(l, &user_of(b)->source);
}

static void user_free(struct net_backend *b)
{
	struct user *u = user_of(b);

	if (u->slirp)
		slirp_cleanup(u->slirp);
	close_fd(u->timer_fd);
	close_fd(u->source.fd);
	free(u->by_fd);
	free(u->fds);
	free(u->before);
	free(u);
}

static const struct net_backend_ops user_ops = {
    .name = "net (user)",
    .mtu = MTU,
    .attach = user_attach,
    .detach = user_detach,
    .send = user_send,
    .sent = user_sent,
    .free = user_free,
};

static int parse_port(const char *text, uint16_t *ret)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n < 1 || n > 65535)
		return -EINVAL;
	*ret = (uint16_t)n;
	return 0;
}

int net_forward_parse(const char *text, struct net_forward *ret, struct error *e)
{
	char kind[4], address[16], host_port[6], guest_port[6], more;
	struct net_forward f = {.udp = false};
	struct in_addr host;

	if (sscanf(text, "%3[a-z]:%15[0-9.]:%5[0-9]:%5[0-9]%c", kind, address, host_port, guest_port, &more) != 4 ||
	    (strcmp(kind, "tcp") != 0 && strcmp(kind, "udp") != 0) || inet_pton(AF_INET, address, &host) != 1 ||
	    parse_port(host_port, &f.host_port) < 0 || parse_port(guest_port, &f.guest_port) < 0)
		return error_set(e, -EINVAL,
				 "a forwarded port looks like tcp:127.0.0.1:2222:22 (protocol, address and port of the "
				 "host, port of the guest), not '%.64s'",
				 text);
	f.udp = kind[0] == 'u';
	f.host_addr = host.s_addr;
	*ret = f;
	return 0;
}

static int forward(struct user *u, const struct net_forward *f, struct error *e)
{
	struct in_addr host = {.s_addr = f->host_addr}, guest = {.s_addr = inet_addr("10.0.2.15")};

	if (slirp_add_hostfwd(u->slirp, f->udp, host, f->host_port, guest, f->guest_port) == 0)
		return 0;
	return error_set(e, -EADDRINUSE, "the host's port %u cannot be forwarded: %s", f->host_port, strerror(errno));
}

int net_user_new(const struct net_user_config *c, struct net_backend **ret, struct error *e)
{
	SlirpConfig config = {
	    .version = 1,
	    .in_enabled = true,
	    .vnetwork.s_addr = inet_addr("10.0.2.0"),
	    .vnetmask.s_addr = inet_addr("255.255.255.0"),
	    .vhost.s_addr = inet_addr("10.0.2.2"),
	    .vdhcp_start.s_addr = inet_addr("10.0.2.15"),
	    .vnameserver.s_addr = inet_addr("10.0.2.3"),
	    .if_mtu = MTU,
	    .if_mru = MTU,
	    .disable_host_loopback = !c->host,
	};
	struct user *u = calloc(1, sizeof *u);
	struct epoll_event timer = {.events = EPOLLIN};
	int r = 0;

	if (!u)
		return error_set(e, -ENOMEM, "no memory for a network");
	u->backend.ops = &user_ops;
	u->source = (struct io_source){.fd = epoll_create1(EPOLL_CLOEXEC), .ready = user_ready};
	u->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	timer.data.fd = u->timer_fd;
	if (u->source.fd < 0 || u->timer_fd < 0 || epoll_ctl(u->source.fd, EPOLL_CTL_ADD, u->timer_fd, &timer) < 0)
		r = error_set(e, -errno, "a user network cannot be made: %s", strerror(errno));
	if (r == 0) {
		u->slirp = slirp_new(&config, &callbacks, u);
		if (!u->slirp)
			r = error_set(e, -ENOMEM, "libslirp makes no network");
	}
	for (unsigned i = 0; r == 0 && i < c->forward_count; i++)
		r = forward(u, &c->forward[i], e);
	if (r < 0) {
		user_free(&u->backend);
		return r;
	}
	*ret = &u->backend;
	return 0;
}
