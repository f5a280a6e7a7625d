/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - a guest program's way to the monitor: hypercalls and the VM's mailbox (include/baton/guest.h).
 *
 * The primitive operations are a table, so that tests put a monitor of their own behind the programs. link_open() gives
 * the real one: port I/O after iopl(3). A thread made after link_open() inherits the right to do port I/O, one made
 * before does not.
 *
 * The mailbox belongs to one program at a time. link_request() takes a lock file for as long as it uses it, so several
 * programs of one guest can ask at once.
 */
#ifndef GUEST_SERVICE_LINK_H
#define GUEST_SERVICE_LINK_H

#include <stddef.h>
#include <stdint.h>

struct link;

struct link_ops {
	long (*call)(struct link *l, long nr, unsigned long a0, unsigned long a1, unsigned long a2,
		     unsigned long *ret1);
	void (*mailbox_write)(struct link *l, const void *data, size_t n);
	void (*mailbox_read)(struct link *l, void *data, size_t n);
};

struct link {
	const struct link_ops *ops;
	const char *lock_path; /* NULL: nobody else can be using the mailbox */
};

/*
 * The real link. 0, or: -EPERM the process may not do port I/O (not root); -ENXIO no Baton below us; -EPROTO a Baton
 * that speaks another version of the interface (*ret_abi, which may be NULL, receives it).
 */
int link_open(struct link *ret_link, unsigned long *ret_abi);

/* A call without bulk data; its result. */
long link_call(struct link *l, long nr, unsigned long a0, unsigned long a1, unsigned long a2);

/*
 * A call with a request and a reply, both text. *ret_reply is allocated, NUL-terminated, and may be empty. Returns the
 * call's result (0 or a negative BATON_E*), or -EMSGSIZE without having called when the request does not fit, -ENOMEM,
 * or -ETIMEDOUT when another program kept the mailbox. -EAGAIN of the monitor is tried again for up to 5 s.
 */
long link_request(struct link *l, long nr, const char *request, char **ret_reply);

/* A call with bytes in the mailbox (BATON_MAILBOX_MAX at most) and an argument, whose reply is its result alone. Also
 * -ETIMEDOUT. */
long link_piece(struct link *l, long nr, unsigned long a0, const void *bytes, size_t size);

#endif
