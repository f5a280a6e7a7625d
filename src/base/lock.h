/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.h - a mutex that clang's thread-safety analysis understands and that can be asserted held.
 *
 * A lock is written into the struct it guards; the fields it guards are marked GUARDED_BY(lock), functions that need it
 * held are marked REQUIRES(lock). gcc sees nothing of this; clang checks at compile time (-Wthread-safety) that whoever
 * calls such a function holds the lock.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#if defined(__clang__)
#define TSA(x) __attribute__((x))
#else
#define TSA(x)
#endif
#define CAPABILITY(name)   TSA(capability(name))
#define GUARDED_BY(l)	   /* for readers: in C, clang knows no way to name a sibling field here */
#define REQUIRES(l)	   TSA(requires_capability(l))
#define ACQUIRE(l)	   TSA(acquire_capability(l))
#define TRY_ACQUIRE(ok, l) TSA(try_acquire_capability(ok, l))
#define RELEASE(l)	   TSA(release_capability(l))
#define EXCLUDES(l)	   TSA(locks_excluded(l))
#define ASSERT_HELD(l)	   TSA(assert_capability(l))
#define NO_TSA		   TSA(no_thread_safety_analysis)

struct CAPABILITY("mutex") lock {
	pthread_mutex_t mutex;
	_Atomic(pthread_t) owner; /* who holds it, for assertions; 0 when free */
};

static inline void lock_init(struct lock *l)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&l->mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	atomic_store_explicit(&l->owner, 0, memory_order_relaxed);
}

static inline void lock_destroy(struct lock *l)
{
	pthread_mutex_destroy(&l->mutex);
}

static inline void lock_take(struct lock *l) ACQUIRE(*l) NO_TSA
{
	pthread_mutex_lock(&l->mutex);
	atomic_store_explicit(&l->owner, pthread_self(), memory_order_relaxed);
}

static inline void lock_drop(struct lock *l) RELEASE(*l) NO_TSA
{
	atomic_store_explicit(&l->owner, 0, memory_order_relaxed);
	pthread_mutex_unlock(&l->mutex);
}

static inline bool lock_is_mine(struct lock *l)
{
	return atomic_load_explicit(&l->owner, memory_order_relaxed) == pthread_self();
}

static inline void lock_assert_held(struct lock *l) ASSERT_HELD(*l)
{
	assert(lock_is_mine(l));
	(void)l;
}

#endif
