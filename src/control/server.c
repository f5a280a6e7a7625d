/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c - accepts clients of the control socket and gives each a thread (session.c).
 *
 * Threads: the acceptor owns the listening socket and joins the threads of clients that left; each client's thread owns
 * its connection. A connection's descriptor is closed under the lock by its own thread alone, so that control_stop may
 * shut it down without ever touching a descriptor that was closed and given out again.
 */
#include "control/server.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/lock.h"
#include "base/log.h"
#include "control/session.h"

/* After accept failed for want of descriptors or memory: do not spin. */
#define ACCEPT_PAUSE_MS 100

const struct control_limits control_limits_default = {
    .clients_max = 64,
    .line_max = MIB,
    .line_timeout_ms = 10000,
    .write_timeout_ms = 10000,
};

struct client {
	struct control *control;
	enum { CLIENT_FREE, CLIENT_SERVED, CLIENT_LEFT } state; /* LEFT: its thread is about to end, to be joined */
	int fd;
	pthread_t thread;
};

struct control {
	struct monitor *m;
	struct listener *listener;
	struct control_limits limits;
	int wake_fd;	 /* eventfd: a client left, or stop */
	int shutdown_fd; /* eventfd for the owner */
	pthread_t acceptor;
	struct log_limit accept_trouble;
	struct lock lock; /* guards the rest */
	bool stopping;
	struct client *clients; /* limits.clients_max of them */
};

static void *serve(void *arg)
{
	struct client *client = arg;
	struct control *c = client->control;

	session_run(c->m, &c->limits, client->fd, c->shutdown_fd);
	lock_take(&c->lock);
	client->fd = close_fd(client->fd);
	client->state = CLIENT_LEFT;
	lock_drop(&c->lock);
	(void)eventfd_write(c->wake_fd, 1);
	return NULL;
}

/* Joins the threads of clients that left. Acceptor only (or after it ended). */
static void reap(struct control *c)
{
	for (unsigned i = 0; i < c->limits.clients_max; i++) {
		struct client *client = &c->clients[i];
		bool left;

		lock_take(&c->lock);
		left = client->state == CLIENT_LEFT;
		lock_drop(&c->lock);
		if (!left)
			continue;
		pthread_join(client->thread, NULL);
		lock_take(&c->lock);
		client->state = CLIENT_FREE;
		lock_drop(&c->lock);
	}
}

/* Tells why and closes. */
static void turn_away(int fd, json_t *reply)
{
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;

	if (text) {
		size_t len = strlen(text);

		text[len++] = '\n';
		(void)session_send(fd, text, len, 0);
	}
	free(text);
	json_decref(reply);
	close_fd(fd);
}

static void admit(struct control *c, int fd)
{
	struct client *client = NULL;
	int r = 0;

	lock_take(&c->lock);
	for (unsigned i = 0; i < c->limits.clients_max && !client; i++)
		if (c->clients[i].state == CLIENT_FREE)
			client = &c->clients[i];
	if (c->stopping)
		client = NULL;
	if (client) {
		client->control = c;
		client->fd = fd;
		client->state = CLIENT_SERVED;
		r = pthread_create(&client->thread, NULL, serve, client);
		if (r != 0)
			client->state = CLIENT_FREE;
	}
	lock_drop(&c->lock);
	if (!client)
		turn_away(fd,
			  reply_error(EBUSY, "%u clients are connected, which is the limit; close one and try again",
				      c->limits.clients_max));
	else if (r != 0)
		turn_away(fd, reply_error(r, "no thread for another client: %s", strerror(r)));
}

static void *accept_clients(void *arg)
{
	struct control *c = arg;

	for (;;) {
		struct pollfd p[] = {
		    {.fd = listener_fd(c->listener), .events = POLLIN},
		    {.fd = c->wake_fd, .events = POLLIN},
		};
		eventfd_t ignored;
		bool stopping;
		int fd;

		(void)poll(p, ARRAY_SIZE(p), -1);
		if (p[1].revents)
			(void)eventfd_read(c->wake_fd, &ignored);
		reap(c);
		lock_take(&c->lock);
		stopping = c->stopping;
		lock_drop(&c->lock);
		if (stopping)
			return NULL;
		fd = accept4(listener_fd(c->listener), NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0) {
			admit(c, fd);
		} else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			log_limited(&c->accept_trouble, LOG_WARNING, "cannot accept a client: %s", strerror(errno));
			poll(NULL, 0, ACCEPT_PAUSE_MS);
		}
	}
}

static struct control *control_free(struct control *c)
{
	if (!c)
		return NULL;
	close_fd(c->wake_fd);
	close_fd(c->shutdown_fd);
	lock_destroy(&c->lock);
	free(c->clients);
	free(c);
	return NULL;
}

int control_start(struct monitor *m, struct listener *l, const struct control_limits *limits, struct control **ret,
		  struct error *e)
{
	struct control *c = calloc(1, sizeof *c);
	int r;

	if (!c)
		return error_set(e, -ENOMEM, "out of memory");
	c->m = m;
	c->listener = l;
	c->limits = limits ? *limits : control_limits_default;
	lock_init(&c->lock);
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->shutdown_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	c->clients = calloc(c->limits.clients_max, sizeof *c->clients);
	if (c->wake_fd < 0 || c->shutdown_fd < 0 || !c->clients) {
		r = error_set(e, -ENOMEM, "no room for the control server: %s", strerror(errno));
		goto fail;
	}
	r = -pthread_create(&c->acceptor, NULL, accept_clients, c);
	if (r < 0) {
		r = error_set(e, r, "no thread for the control server: %s", strerror(-r));
		goto fail;
	}
	*ret = c;
	return 0;
fail:
	control_free(c);
	return r;
}

struct control *control_stop(struct control *c)
{
	if (!c)
		return NULL;
	lock_take(&c->lock);
	c->stopping = true;
	for (unsigned i = 0; i < c->limits.clients_max; i++)
		if (c->clients[i].state == CLIENT_SERVED && c->clients[i].fd >= 0)
			shutdown(c->clients[i].fd, SHUT_RDWR);
	lock_drop(&c->lock);
	(void)eventfd_write(c->wake_fd, 1);
	pthread_join(c->acceptor, NULL);
	/* Nobody is admitted any more; the rest end by themselves, none of them touches the state of another. */
	for (unsigned i = 0; i < c->limits.clients_max; i++) {
		bool in_use;

		lock_take(&c->lock);
		in_use = c->clients[i].state != CLIENT_FREE;
		lock_drop(&c->lock);
		if (in_use)
			pthread_join(c->clients[i].thread, NULL);
	}
	return control_free(c);
}

int control_shutdown_fd(const struct control *c)
{
	return c->shutdown_fd;
}
