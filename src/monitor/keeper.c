/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.c - the thread that finishes what run loops may not wait for: a VM that switched itself off, reset itself or
 * crashed; console input that the UART had no room for.
 */
#include <stdio.h>
#include <string.h>

#include "base/futex.h"
#include "monitor/internal.h"

#define INPUT_RETRY_NS (5 * NSEC_PER_MSEC)

void keeper_wake(struct monitor *m)
{
	atomic_fetch_add(&m->keeper_word, 1);
	futex_wake(&m->keeper_word);
}

static void finish(struct vm *vm, enum vcpu_next how)
{
	char reason[200];

	switch (how) {
	case VCPU_RESET:
		vm_reset(vm);
		break;
	case VCPU_POWER_OFF:
		vm_off(vm, VM_OFF, "switched itself off");
		break;
	default:
		lock_take(&vm->monitor->lock);
		snprintf(reason, sizeof reason, "%s", vm->host ? machine_crash_text(host_vm_machine(vm->host)) : "");
		lock_drop(&vm->monitor->lock);
		log_limited(&vm->log_limit, LOG_WARNING, "VM %s crashed: %s", vm->name, reason);
		vm_off(vm, VM_CRASHED, reason);
		break;
	}
}

/* The n-th VM of the list with a reference, or NULL. */
static struct vm *nth(struct monitor *m, uint32_t n)
{
	struct vm *vm;

	lock_take(&m->lock);
	vm = m->vms[n];
	if (vm)
		atomic_fetch_add(&vm->refs, 1);
	lock_drop(&m->lock);
	return vm;
}

static void *keeper_thread(void *ctx)
{
	struct monitor *m = ctx;

	while (!atomic_load(&m->keeper_stop)) {
		uint32_t word = atomic_load(&m->keeper_word);
		bool input_left = false;

		for (uint32_t i = 0; i < m->max_vms; i++) {
			struct vm *vm = nth(m, i);
			char byte;
			int how;

			if (!vm)
				continue;
			how = atomic_exchange(&vm->ended, -1);
			if (how >= 0)
				finish(vm, (enum vcpu_next)how);
			vm_pump_input(vm);
			input_left |= !vm->nano && console_input_peek(vm->console, &byte, 1) > 0;
			vm_unref(vm);
		}
		futex_wait(&m->keeper_word, word, input_left ? clock_now_ns() + INPUT_RETRY_NS : TIME_NEVER);
	}
	return NULL;
}

int keeper_start(struct monitor *m, struct error *e)
{
	int r = pthread_create(&m->keeper, NULL, keeper_thread, m);

	return r == 0 ? 0 : error_set(e, -r, "cannot start the keeper thread: %s", strerror(r));
}

void keeper_stop(struct monitor *m)
{
	atomic_store(&m->keeper_stop, true);
	keeper_wake(m);
	pthread_join(m->keeper, NULL);
}
