/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listener.h - a Unix socket that belongs to one monitor at a time.
 *
 * The path is claimed with a lock on PATH.lock that the kernel drops when the process ends, however it ends. So whoever
 * holds the lock may remove a socket that a dead monitor left behind, and a second monitor is told who holds it.
 */
#ifndef CONTROL_LISTENER_H
#define CONTROL_LISTENER_H

#include "base/base.h"

struct listener;

/*
 * Claims path, binds and listens (mode 0600; a missing last directory is made, 0700). -EADDRINUSE: another monitor has
 * it; -EEXIST: something that is no socket is there; -ENAMETOOLONG; or what the system said. e explains.
 */
int listener_open(const char *path, struct listener **ret, struct error *e);
/* Removes socket and lock file. l may be NULL; returns NULL. */
struct listener *listener_close(struct listener *l);

int listener_fd(const struct listener *l);
const char *listener_path(const struct listener *l);

#endif
