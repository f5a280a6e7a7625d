/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.h - the console buffer of one VM: what the guest wrote, kept for whoever looks later, and what people typed.
 *
 * OUTPUT is a ring of the last `capacity` bytes. Every byte has an absolute position (0 = the first byte ever written),
 * so any number of readers go on independently, each with a position of its own; the writer does not know them. A
 * reader that falls behind by more than the ring loses the oldest bytes (its position moves up), the writer never
 * waits.
 *
 * INPUT is a bounded queue from many faces (control socket, hypercall) to the one device of the VM.
 *
 * Threads: every function may be called by any thread. One lock guards all, held for a bounded memcpy only; append is
 * called from a pCPU's run loop. Life: reference counted, because a face may wait on a console while its VM goes away:
 * the owner calls console_close (waiters return -EPIPE) and drops its reference.
 */
#ifndef CONSOLE_CONSOLE_H
#define CONSOLE_CONSOLE_H

#include "base/base.h"

#define CONSOLE_SCROLLBACK_DEFAULT (256 * KIB)
#define CONSOLE_INPUT_MAX	   (4 * KIB)

struct console;

/* capacity: bytes of scrollback, 0 = CONSOLE_SCROLLBACK_DEFAULT. -ENOMEM. */
int console_new(size_t capacity, struct console **ret);
struct console *console_ref(struct console *c);
/* Drops a reference (c may be NULL); returns NULL. */
struct console *console_unref(struct console *c);

/* The VM is gone: wakes every waiter; from now on appended output and input are dropped. What was kept stays readable.
 */
void console_close(struct console *c);

/* Takes everything, overwriting the oldest. Never waits for a reader. */
void console_append(struct console *c, const void *data, size_t size);

/*
 * Copies output from *pos on and advances *pos; returns the bytes copied, 0 when there is nothing beyond *pos. A
 * position that was overwritten moves up to the oldest byte kept, one beyond the end (UINT64_MAX = "from now on") down
 * to the end.
 */
size_t console_read(struct console *c, uint64_t *pos, void *buf, size_t size);

/* Waits for output beyond pos. 1: there is some; 0: timeout_ms passed (negative: for ever); -EPIPE: closed, none left.
 */
int console_wait(struct console *c, uint64_t pos, int timeout_ms);

/* Position after the newest byte. */
uint64_t console_end(struct console *c);

/* Queues input; returns the bytes taken (0 when the queue is full or the console closed: offer the rest again later).
 */
size_t console_input_push(struct console *c, const void *data, size_t size);
/* Copies input from the head of the queue without removing it; returns the bytes copied. */
size_t console_input_peek(struct console *c, void *buf, size_t size);
/* Removes up to size bytes from the head (buf may be NULL: just drop them); returns the bytes removed. */
size_t console_input_take(struct console *c, void *buf, size_t size);

#endif
