/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uart.h - a 16550A serial port: the console of Linux guests.
 *
 * Output is finished at once (the transmitter is always empty): bytes go to `output` before the guest's OUT completes.
 * Input waits in a queue behind the receive FIFO, which it refills as the guest reads.
 *
 * Threads: any. One lock guards the registers; the interrupt line is changed with it held, `output` is called without
 * it (so the console behind it may have a lock that is held while input is offered).
 */
#ifndef DEVICES_UART_H
#define DEVICES_UART_H

#include "base/base.h"
#include "base/lock.h"
#include "machine/io.h"

#define UART_COM1      0x3f8
#define UART_COM1_GSI  4
#define UART_PORTS     8
#define UART_INPUT_MAX 4096

struct uart {
	/* Both constant after uart_init. line: the interrupt line; output: must not block. */
	void (*line)(void *ctx, bool level);
	void (*output)(void *ctx, const void *data, size_t size);
	void *ctx;

	struct lock lock;
	uint8_t ier GUARDED_BY(lock)
	, lcr GUARDED_BY(lock)
	, mcr GUARDED_BY(lock)
	, fcr GUARDED_BY(lock);
	uint8_t scratch GUARDED_BY(lock);
	uint16_t divisor GUARDED_BY(lock);
	bool thr_interrupt GUARDED_BY(lock); /* "transmitter empty" has not been seen yet */
	bool line_up GUARDED_BY(lock);
	uint32_t head GUARDED_BY(lock)
	, used GUARDED_BY(lock); /* input queue: oldest byte, number of bytes */
	uint8_t input[UART_INPUT_MAX] GUARDED_BY(lock);
};

extern const struct io_ops uart_io_ops;

void uart_init(struct uart *u, void (*line)(void *ctx, bool level),
	       void (*output)(void *ctx, const void *data, size_t size), void *ctx);
void uart_done(struct uart *u);
/* Power-on state; pending input is dropped. */
void uart_reset(struct uart *u) EXCLUDES(u->lock);

/* [any] Returns how many bytes were taken. */
size_t uart_input(struct uart *u, const void *data, size_t size) EXCLUDES(u->lock);

#endif
