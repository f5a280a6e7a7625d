/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.c - see link.h.
 *
 * Finding out whether Baton is below us writes to an I/O port, which on a real machine could be anybody's. So a machine
 * without the CPUID bit "hypervisor present" is not asked at all. A hypervisor that does not know the port leaves rax
 * as it was: 0, the number of BATON_CALL_IDENTIFY, which is not the magic.
 */
#include "link.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/io.h>
#include <time.h>
#include <unistd.h>

#include "baton/guest.h"

#define MAILBOX_LOCK	 "/run/baton-mailbox.lock"
#define LOCK_PATIENCE_MS 10000
#define BUSY_PATIENCE_MS 5000
#define RETRY_MS	 10

static long port_call(struct link *l, long nr, unsigned long a0, unsigned long a1, unsigned long a2,
		      unsigned long *ret1)
{
	return baton_call(nr, a0, a1, a2, 0, ret1);
}

static void port_mailbox_write(struct link *l, const void *data, size_t n)
{
	baton_mailbox_write(data, n);
}

static void port_mailbox_read(struct link *l, void *data, size_t n)
{
	baton_mailbox_read(data, n);
}

static const struct link_ops port_ops = {
    .call = port_call,
    .mailbox_write = port_mailbox_write,
    .mailbox_read = port_mailbox_read,
};

/*
 * The question itself, with a safety net. A port access can fault although iopl() succeeded: QEMU 7.2's emulated SVM
 * loses the type of the task register on some paths, and with it the permission bitmap. Then this process is not to die
 * of it.
 */
static _Thread_local sigjmp_buf *identify_escape;

static void identify_fault(int sig)
{
	siglongjmp(*identify_escape, 1);
}

static int identify(struct link *l, unsigned long *ret_abi)
{
	struct sigaction catch = {.sa_handler = identify_fault}, before;
	sigjmp_buf escape;
	volatile int r = -EPERM;

	identify_escape = &escape;
	if (sigaction(SIGSEGV, &catch, &before) < 0)
		return -errno;
	if (sigsetjmp(escape, 1) == 0)
		r = l->ops->call(l, BATON_CALL_IDENTIFY, 0, 0, 0, ret_abi) == BATON_GUEST_MAGIC ? 0 : -ENXIO;
	sigaction(SIGSEGV, &before, NULL);
	identify_escape = NULL;
	return r;
}

static int hypervisor_present(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 31));
}

int link_open(struct link *ret_link, unsigned long *ret_abi)
{
	struct link l = {.ops = &port_ops, .lock_path = MAILBOX_LOCK};
	unsigned long abi = 0;
	int r;

	if (!hypervisor_present())
		return -ENXIO;
	if (iopl(3) < 0)
		return -EPERM;
	r = identify(&l, &abi);
	if (r < 0)
		return r;
	if (ret_abi)
		*ret_abi = abi;
	if (abi != BATON_GUEST_ABI)
		return -EPROTO;
	*ret_link = l;
	return 0;
}

long link_call(struct link *l, long nr, unsigned long a0, unsigned long a1, unsigned long a2)
{
	return l->ops->call(l, nr, a0, a1, a2, NULL);
}

static void sleep_ms(int ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

/* The lock's file descriptor, -1 when there is nothing to lock, or -ETIMEDOUT. Closing it unlocks. */
static int mailbox_lock(const struct link *l)
{
	int fd;

	if (!l->lock_path)
		return -1;
	fd = open(l->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -1; /* a file system that cannot be written: then there are no other programs of ours either */
	for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += RETRY_MS) {
		if (waited >= LOCK_PATIENCE_MS) {
			close(fd);
			return -ETIMEDOUT;
		}
		sleep_ms(RETRY_MS);
	}
	return fd;
}

long link_request(struct link *l, long nr, const char *request, char **ret_reply)
{
	size_t size = strlen(request);
	unsigned long reply_size = 0;
	char *reply;
	long r;
	int lock;

	if (size > BATON_MAILBOX_MAX)
		return -EMSGSIZE;
	lock = mailbox_lock(l);
	if (lock == -ETIMEDOUT)
		return -ETIMEDOUT;
	for (int waited = 0;; waited += RETRY_MS) {
		reply_size = 0;
		r = link_call(l, BATON_CALL_MAILBOX, 0, 0, 0);
		if (r < 0)
			break;
		l->ops->mailbox_write(l, request, size);
		r = l->ops->call(l, nr, 0, 0, 0, &reply_size);
		if (r != -BATON_EAGAIN || waited >= BUSY_PATIENCE_MS)
			break;
		sleep_ms(RETRY_MS);
	}
	if (reply_size > BATON_MAILBOX_MAX)
		reply_size = 0; /* a monitor that answers nothing leaves rbx as it was */
	reply = malloc(reply_size + 1);
	if (reply) {
		l->ops->mailbox_read(l, reply, reply_size);
		reply[reply_size] = '\0';
	} else {
		r = -ENOMEM;
	}
	if (lock >= 0)
		close(lock);
	if (reply)
		*ret_reply = reply;
	return r;
}

long link_piece(struct link *l, long nr, unsigned long a0, const void *bytes, size_t size)
{
	int lock = mailbox_lock(l);
	long r;

	if (lock == -ETIMEDOUT)
		return -ETIMEDOUT;
	r = link_call(l, BATON_CALL_MAILBOX, 0, 0, 0);
	if (r >= 0) {
		l->ops->mailbox_write(l, bytes, size);
		r = link_call(l, nr, a0, 0, 0);
	}
	if (lock >= 0)
		close(lock);
	return r;
}
