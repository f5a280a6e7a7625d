/* SPDX-License-Identifier: Apache-2.0 */
/* session.h - one client of the control socket, from its first line to its last. Used by server.c and its tests only.
 */
#ifndef CONTROL_SESSION_H
#define CONTROL_SESSION_H

#include "control/server.h"

/*
 * Serves fd (borrowed) until the client leaves, misbehaves, or somebody shuts the socket down. Blocks: the caller's
 * thread belongs to this client. shutdown_fd is an eventfd that is raised after a request asked for the end of it all.
 */
void session_run(struct monitor *m, const struct control_limits *limits, int fd, int shutdown_fd);

/* Sends all of it within timeout_ms (negative: as long as it takes). 0, -ETIMEDOUT, -EPIPE, ... */
int session_send(int fd, const void *data, size_t size, int timeout_ms);

#endif
