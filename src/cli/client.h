/* SPDX-License-Identifier: Apache-2.0 */
/* client.h - a connection to a monitor's control socket (docs/control-api.md). A connection belongs to one thread. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <jansson.h>

#include "base/base.h"

struct client {
	int fd;
};

/* -ENOENT or -ECONNREFUSED: no monitor there; e says what to do. */
int client_open(const char *socket, struct client *ret, struct error *e);
void client_close(struct client *c);
#define _cleanup_client_ _cleanup_(client_close)
#define CLIENT_NONE	 ((struct client){.fd = -1})

/*
 * One request, one reply. params is taken over (may be NULL). 0 and the reply (the caller's), or what the monitor
 * refused with: its code as a negative errno, its text in e.
 */
int client_call(struct client *c, const char *method, json_t *params, json_t **ret, struct error *e);

/* Turns the connection into the byte stream of a VM's console. */
int client_attach(struct client *c, const char *vm, bool from_start, bool input, struct error *e);

/* Members of a reply, with a default when they are missing. Strings are the reply's. */
const char *member_text(const json_t *object, const char *name, const char *missing);
int64_t member_int(const json_t *object, const char *name, int64_t missing);

#endif
