/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/uart.h"

#include <string.h>

enum {
	REG_DATA = 0, /* RBR, THR; DLL with DLAB */
	REG_IER = 1,  /* DLM with DLAB */
	REG_IIR = 2,  /* write: FCR */
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCRATCH = 7,
};

#define IER_RECEIVE	      0x01
#define IER_TRANSMIT	      0x02
#define IIR_NONE	      0x01
#define IIR_TRANSMIT	      0x02
#define IIR_RECEIVE	      0x04
#define IIR_FIFO	      0xc0
#define FCR_ENABLE	      0x01
#define FCR_CLEAR_RECEIVE     0x02
#define LCR_DLAB	      0x80
#define MCR_LOOP	      0x10
#define LSR_DATA_READY	      0x01
#define LSR_TRANSMITTER_EMPTY 0x60
#define MSR_CONNECTED	      0xb0 /* carrier, data set ready, clear to send */

/* What the guest should be interrupted for, as IIR code. */
static uint8_t interrupt_code(const struct uart *u) REQUIRES(u->lock)
{
	if (u->ier & IER_RECEIVE && u->used > 0)
		return IIR_RECEIVE;
	if (u->ier & IER_TRANSMIT && u->thr_interrupt)
		return IIR_TRANSMIT;
	return IIR_NONE;
}

static void update_line(struct uart *u) REQUIRES(u->lock)
{
	bool up = interrupt_code(u) != IIR_NONE;

	if (up == u->line_up)
		return;
	u->line_up = up;
	u->line(u->ctx, up);
}

static void registers_reset(struct uart *u) REQUIRES(u->lock)
{
	u->ier = u->lcr = u->fcr = u->scratch = 0;
	u->mcr = 0x08;
	u->divisor = 1;
	u->thr_interrupt = false;
	u->head = u->used = 0;
	update_line(u);
}

void uart_init(struct uart *u, void (*line)(void *ctx, bool level),
	       void (*output)(void *ctx, const void *data, size_t size), void *ctx)
{
	memset(u, 0, sizeof *u);
	u->line = line;
	u->output = output;
	u->ctx = ctx;
	lock_init(&u->lock);
	uart_reset(u);
}

void uart_done(struct uart *u)
{
	lock_destroy(&u->lock);
}

void uart_reset(struct uart *u)
{
	lock_take(&u->lock);
	registers_reset(u);
	lock_drop(&u->lock);
}

static bool queue_byte(struct uart *u, uint8_t byte) REQUIRES(u->lock)
{
	if (u->used == UART_INPUT_MAX)
		return false;
	u->input[(u->head + u->used++) % UART_INPUT_MAX] = byte;
	return true;
}

size_t uart_input(struct uart *u, const void *data, size_t size)
{
	const uint8_t *bytes = data;
	size_t n = 0;

	lock_take(&u->lock);
	while (n < size && queue_byte(u, bytes[n]))
		n++;
	update_line(u);
	lock_drop(&u->lock);
	return n;
}

static uint8_t read_data(struct uart *u) REQUIRES(u->lock)
{
	uint8_t byte;

	if (u->used == 0)
		return 0;
	byte = u->input[u->head];
	u->head = (u->head + 1) % UART_INPUT_MAX;
	u->used--;
	return byte;
}

static uint8_t read_iir(struct uart *u) REQUIRES(u->lock)
{
	uint8_t code = interrupt_code(u);

	if (code == IIR_TRANSMIT)
		u->thr_interrupt = false; /* reading it is the acknowledgement */
	return (uint8_t)(code | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0));
}

/* In loop-back the modem outputs are wired to the inputs: drivers probe with it. */
static uint8_t read_msr(const struct uart *u) REQUIRES(u->lock)
{
	if (!(u->mcr & MCR_LOOP))
		return MSR_CONNECTED;
	return (uint8_t)((u->mcr & 0x02) << 3 | (u->mcr & 0x01) << 5 | (u->mcr & 0x04) << 4 | (u->mcr & 0x08) << 4);
}

static uint8_t read_register(struct uart *u, uint64_t reg) REQUIRES(u->lock)
{
	switch (reg) {
	case REG_DATA:
		return u->lcr & LCR_DLAB ? (uint8_t)u->divisor : read_data(u);
	case REG_IER:
		return u->lcr & LCR_DLAB ? (uint8_t)(u->divisor >> 8) : u->ier;
	case REG_IIR:
		return read_iir(u);
	case REG_LCR:
		return u->lcr;
	case REG_MCR:
		return u->mcr;
	case REG_LSR:
		return (uint8_t)(LSR_TRANSMITTER_EMPTY | (u->used > 0 ? LSR_DATA_READY : 0));
	case REG_MSR:
		return read_msr(u);
	default:
		return u->scratch;
	}
}

/* True when the byte goes out of the port. */
static bool write_data(struct uart *u, uint8_t value) REQUIRES(u->lock)
{
	/* The line goes down and up again, so that the I/O APIC sees an edge for each "empty". */
	u->thr_interrupt = false;
	update_line(u);
	u->thr_interrupt = true;
	if (u->mcr & MCR_LOOP)
		queue_byte(u, value);
	return !(u->mcr & MCR_LOOP);
}

static void write_ier(struct uart *u, uint8_t value) REQUIRES(u->lock)
{
	if (value & ~u->ier & IER_TRANSMIT)
		u->thr_interrupt = true; /* it is empty now; drivers test for this */
	u->ier = value & 0x0f;
}

static void write_fcr(struct uart *u, uint8_t value) REQUIRES(u->lock)
{
	if (value & FCR_CLEAR_RECEIVE || (value ^ u->fcr) & FCR_ENABLE)
		u->used = 0;
	u->fcr = value & FCR_ENABLE;
}

static bool write_register(struct uart *u, uint64_t reg, uint8_t value) REQUIRES(u->lock)
{
	bool out = false;

	switch (reg) {
	case REG_DATA:
		if (u->lcr & LCR_DLAB)
			u->divisor = (uint16_t)((u->divisor & 0xff00) | value);
		else
			out = write_data(u, value);
		break;
	case REG_IER:
		if (u->lcr & LCR_DLAB)
			u->divisor = (uint16_t)((u->divisor & 0x00ff) | value << 8);
		else
			write_ier(u, value);
		break;
	case REG_IIR:
		write_fcr(u, value);
		break;
	case REG_LCR:
		u->lcr = value;
		break;
	case REG_MCR:
		u->mcr = value & 0x1f;
		break;
	case REG_SCRATCH:
		u->scratch = value;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
	update_line(u);
	return out;
}

static uint64_t port_read(void *device, uint64_t offset, unsigned size)
{
	struct uart *u = device;
	uint8_t value;

	lock_take(&u->lock);
	value = read_register(u, offset);
	update_line(u);
	lock_drop(&u->lock);
	return value;
}

static enum vcpu_next port_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct uart *u = device;
	uint8_t byte = (uint8_t)value;
	bool out;

	lock_take(&u->lock);
	out = write_register(u, offset, byte);
	lock_drop(&u->lock);
	if (out)
		u->output(u->ctx, &byte, 1);
	return VCPU_RESUME;
}

const struct io_ops uart_io_ops = {.read = port_read, .write = port_write};
