/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.h - the service application as a function: everything but finding the monitor, so that tests can call it with
 * a monitor of their own.
 */
#ifndef GUEST_SERVICE_SERVICE_H
#define GUEST_SERVICE_SERVICE_H

#include <jansson.h>
#include <stdio.h>

#include "link.h"

/* True when the command line needs no monitor (help, or a mistake that can be seen without one). */
int service_wants_no_monitor(int argc, char **argv);

/* Runs one command. Exit status: 0 success, 1 refused or failed, 2 wrong use. l may be NULL for commands without need.
 */
int service_main(struct link *l, int argc, char **argv, FILE *out, FILE *err);

/* What a reply says, for people. reply is an object with "ok": true. */
void print_vm_list(const json_t *reply, FILE *out);
void print_status(const json_t *reply, FILE *out);
void print_change(const json_t *reply, FILE *out);
void print_plain(const json_t *reply, FILE *out);

/* ns as a short figure with a unit: "1.53 us". Returns buf. */
const char *format_ns(json_int_t ns, char *buf, size_t size);

#endif
