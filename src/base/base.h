/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.h - the few words that every file of Baton may use.
 *
 * Errors: functions return 0 or a positive value, or a negative errno; outputs are named ret_x and are not touched on
 * failure. Locals are released by the cleanup attribute (`_cleanup_(f)`), hand-over of ownership is `take_ptr`/`take_fd`.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(a)			(sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define MIN(a, b)			((a) < (b) ? (a) : (b))
#define MAX(a, b)			((a) > (b) ? (a) : (b))

#define NSEC_PER_USEC UINT64_C(1000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_SEC  UINT64_C(1000000000)
#define KIB	      UINT64_C(1024)
#define MIB	      (KIB * KIB)

#define _cleanup_(f)	    __attribute__((cleanup(f)))
#define _printf_(fmt, args) __attribute__((format(printf, fmt, args)))
#define _unused_	    __attribute__((unused))

static inline void free_ptr(void *p)
{
	free(*(void **)p);
}
#define _cleanup_free_ _cleanup_(free_ptr)

static inline int close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
	return -1;
}

static inline void close_fd_ptr(int *fd)
{
	*fd = close_fd(*fd);
}
#define _cleanup_close_ _cleanup_(close_fd_ptr)

static inline int take_fd(int *fd)
{
	int r = *fd;
	*fd = -1;
	return r;
}

#define take_ptr(p)                                                                                                    \
	({                                                                                                             \
		__typeof__(p) _taken = (p);                                                                            \
		(p) = NULL;                                                                                            \
		_taken;                                                                                                \
	})

/* Text of an error for people: errors travel as negative errno, the sentence beside them in a struct error. */
#define ERROR_TEXT_MAX 320

/*
 * struct error - why something failed, for the person who asked: the cause and the next step in one line.
 * Functions that can explain themselves take `struct error *e` (may be NULL) and return error_set(e, -EXXX, "...").
 */
struct error {
	char text[ERROR_TEXT_MAX];
};

/* Formats the reason into e (when given) and returns code, so that `return error_set(e, -EINVAL, ...)` reads well. */
int error_set(struct error *e, int code, const char *fmt, ...) _printf_(3, 4);

#endif
