/* SPDX-License-Identifier: Apache-2.0 */
/* carrier.c - the two ways to bring a pCPU's run loop onto the thread that runs the next vCPU. See internal.h. */
#include "host/internal.h"

/* worker: the pCPU's one thread runs whatever vCPU comes. */
static struct host_pcpu *worker_carry(struct runner *self, struct host_pcpu *pc)
{
	(void)self;
	return pc;
}

/*
 * thread: the vCPU's own thread takes the loop over, and this one sleeps until its own vCPU is chosen somewhere. While
 * nothing is runnable the loop stays with whoever has it.
 */
static struct host_pcpu *thread_carry(struct runner *self, struct host_pcpu *pc)
{
	struct runner *next = &pc->current->runner;

	if (next == self)
		return pc;
	runner_give(next, pc);
	return runner_wait(self);
}

const struct carrier carrier_worker = {.name = "worker", .own_threads = false, .carry = worker_carry};
const struct carrier carrier_thread = {.name = "thread", .own_threads = true, .carry = thread_carry};
