/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - the control socket: newline-delimited JSON requests of the operator (docs/control-api.md).
 *
 * One thread per client, in blocking code. Methods may take their time (vm.create loads a kernel, vm.stop waits for a
 * run loop) and console streams last as long as people look; with a thread each, a slow method, a stream, or a client
 * that does not read holds up nobody else, and there is no state machine to get wrong. Clients are few: the limit
 * bounds the threads.
 */
#ifndef CONTROL_SERVER_H
#define CONTROL_SERVER_H

#include "control/listener.h"
#include "monitor/monitor.h"

struct control;

struct control_limits {
	unsigned clients_max; /* connections at once; the next one is told so and closed */
	size_t line_max;      /* bytes of one request */
	int line_timeout_ms;  /* from the first byte of a line to its end */
	int write_timeout_ms; /* for a reply to be taken by the client */
};

extern const struct control_limits control_limits_default;

/* Starts to serve. m and l are borrowed until control_stop. limits may be NULL. e explains a failure. */
int control_start(struct monitor *m, struct listener *l, const struct control_limits *limits, struct control **ret,
		  struct error *e);
/* Hangs up on every client and waits until the last request was answered. c may be NULL; returns NULL. */
struct control *control_stop(struct control *c);

/* Readable as soon as a client asked for the end ("shutdown") and has its answer. */
int control_shutdown_fd(const struct control *c);

#endif
