/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/io_loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/futex.h"

#define BATCH 32

struct io_loop {
	pthread_t thread;
	int epoll;
	struct io_source quit; /* an eventfd */
	pthread_mutex_t lock;  /* held while callbacks run, or by who parked it */
	uint64_t removals;     /* lock: what epoll told before one is thrown away */
	bool stopping;	       /* lock */
	/* Who waits to park: the loop lets them go first, since the lock alone would not. */
	_Atomic uint32_t parkers;
};

static void let_parkers_go_first(struct io_loop *l)
{
	uint32_t n;

	while ((n = atomic_load(&l->parkers)) > 0)
		futex_wait(&l->parkers, n, TIME_NEVER);
}

static void *loop_thread(void *arg)
{
	struct io_loop *l = arg;
	struct epoll_event events[BATCH];
	uint64_t removals = 0;
	bool stopping = false;

	while (!stopping) {
		int n = epoll_wait(l->epoll, events, BATCH, -1);

		let_parkers_go_first(l);
		pthread_mutex_lock(&l->lock);
		/* A source that was removed since epoll spoke may be gone; the others are told again. */
		if (removals == l->removals)
			for (int i = 0; i < n; i++) {
				struct io_source *s = events[i].data.ptr;

				s->ready(s, events[i].events);
			}
		removals = l->removals;
		stopping = l->stopping;
		pthread_mutex_unlock(&l->lock);
	}
	return NULL;
}

static void on_quit(struct io_source *s, uint32_t events)
{
	struct io_loop *l = container_of(s, struct io_loop, quit);

	l->stopping = true;
}

/* No signal is for this thread: neither kicks, nor those of a disk that is full (SIGXFSZ) or a peer that left. */
static int start_thread(struct io_loop *l)
{
	sigset_t all, before;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&l->thread, NULL, loop_thread, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r == 0)
		(void)pthread_setname_np(l->thread, "baton-io");
	return -r;
}

static void loop_close(struct io_loop *l)
{
	close_fd(l->quit.fd);
	close_fd(l->epoll);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int io_loop_new(struct io_loop **ret, struct error *e)
{
	struct io_loop *l = calloc(1, sizeof *l);
	int r = 0;

	if (!l)
		return error_set(e, -ENOMEM, "no memory for the I/O thread");
	pthread_mutex_init(&l->lock, NULL);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->quit = (struct io_source){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = on_quit};
	if (l->epoll < 0 || l->quit.fd < 0)
		r = -errno;
	if (r == 0)
		r = io_loop_add(l, &l->quit, EPOLLIN);
	if (r == 0)
		r = start_thread(l);
	if (r < 0) {
		loop_close(l);
		return error_set(e, r, "the I/O thread does not start: %s", strerror(-r));
	}
	*ret = l;
	return 0;
}

struct io_loop *io_loop_free(struct io_loop *l)
{
	if (!l)
		return NULL;
	(void)eventfd_write(l->quit.fd, 1);
	pthread_join(l->thread, NULL);
	loop_close(l);
	return NULL;
}

static int control(struct io_loop *l, int op, struct io_source *s, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = s};

	return epoll_ctl(l->epoll, op, s->fd, &event) < 0 ? -errno : 0;
}

int io_loop_add(struct io_loop *l, struct io_source *s, uint32_t events)
{
	return control(l, EPOLL_CTL_ADD, s, events);
}

int io_loop_want(struct io_loop *l, struct io_source *s, uint32_t events)
{
	return control(l, EPOLL_CTL_MOD, s, events);
}

void io_loop_remove(struct io_loop *l, struct io_source *s)
{
	(void)control(l, EPOLL_CTL_DEL, s, 0);
	l->removals++;
}

/* ThreadSanitizer does not know pthread_mutex_clocklock, and would take the lock for one that nobody holds. */
static int lock_until(pthread_mutex_t *lock, uint64_t deadline_ns)
{
#ifdef __SANITIZE_THREAD__
	uint64_t now = clock_now_ns();
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t = timespec_from_ns((uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec +
			     (deadline_ns > now ? deadline_ns - now : 0));
	return pthread_mutex_timedlock(lock, &t);
#else
	struct timespec t = timespec_from_ns(deadline_ns);

	return pthread_mutex_clocklock(lock, CLOCK_MONOTONIC, &t);
#endif
}

int io_loop_park(struct io_loop *l, uint64_t deadline_ns)
{
	int r;

	atomic_fetch_add(&l->parkers, 1);
	r = deadline_ns == TIME_NEVER ? pthread_mutex_lock(&l->lock) : lock_until(&l->lock, deadline_ns);
	if (atomic_fetch_sub(&l->parkers, 1) == 1)
		futex_wake(&l->parkers);
	return -r;
}

void io_loop_unpark(struct io_loop *l)
{
	pthread_mutex_unlock(&l->lock);
}

uint64_t io_loop_cpu_ns(struct io_loop *l)
{
	clockid_t clock;
	struct timespec t;

	if (pthread_getcpuclockid(l->thread, &clock) != 0 || clock_gettime(clock, &t) < 0)
		return 0;
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}
