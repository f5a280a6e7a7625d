/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vcpu_sleep.c - what a vCPU waits for, and what wakes it.
 *
 * A vCPU falls asleep on its carrier: it becomes HALTED or BLOCKED first, then the host asks vcpu_pending under its own
 * lock and puts it to rest only if the answer is no. Whoever raises something sets the atomic state first and notifies
 * then, and the host's notify takes the same lock. So one of the two always sees the other.
 *
 *		    wakes for ...    interrupt    NMI, INIT    SIPI    event, time
 *	ACTIVE (pends always)		yes	     yes	 -	   -
 *	HALTED				if IF was on yes	 -	   -
 *	BLOCKED				if IF was on yes	 -	  yes
 *	WAIT_SIPI			 -	      -		yes	   -
 *	STALLED				 -	      -		 -	  time
 *
 * "interrupt" is one that lapic_pending would inject: above the processor priority. An event for a vCPU that is not
 * BLOCKED is kept for its next BLOCK, which then returns at once.
 */
#include "machine/private.h"

void vcpu_fall_asleep(struct vcpu *v, enum activity how, bool interruptible, uint64_t until)
{
	atomic_store(&v->sleeps_interruptible, interruptible);
	atomic_store(&v->sleep_until, until);
	atomic_store(&v->activity, how);
}

bool vcpu_pending(const struct vcpu *v)
{
	enum activity activity = (enum activity)atomic_load(&v->activity);

	if (activity == ACTIVE)
		return true;
	if (activity == WAIT_SIPI)
		return atomic_load(&v->lapic.sipi) != 0;
	if (activity == STALLED)
		return atomic_load(&v->sleep_until) == SLEEP_OVER;
	if (atomic_load(&v->lapic.signals) != 0)
		return true;
	if (activity == BLOCKED && (atomic_load(&v->event) || atomic_load(&v->sleep_until) == SLEEP_OVER))
		return true;
	if (!atomic_load(&v->sleeps_interruptible))
		return false;
	return lapic_pending(&v->lapic) >= 0;
}

bool vcpu_try_wake(struct vcpu *v, bool *ret_was_blocked, bool *ret_event)
{
	enum activity activity = (enum activity)atomic_load(&v->activity);

	*ret_was_blocked = false;
	if (activity == ACTIVE)
		return true;
	if (!vcpu_pending(v))
		return false;
	if (activity == BLOCKED) {
		/* When the time came the event, if any, is left for the next BLOCK. */
		*ret_was_blocked = true;
		*ret_event = atomic_exchange(&v->sleep_until, TIME_NEVER) != SLEEP_OVER;
		if (*ret_event)
			atomic_store(&v->event, false);
	}
	atomic_store(&v->activity, ACTIVE);
	return true;
}

uint64_t vcpu_deadline(const struct vcpu *v)
{
	uint64_t timer = atomic_load(&v->lapic.deadline_ns);
	uint64_t sleep = atomic_load(&v->sleep_until);

	return sleep == SLEEP_OVER ? timer : MIN(timer, sleep);
}

void vcpu_fire_timers(struct vcpu *v, uint64_t now)
{
	uint64_t until = atomic_load(&v->sleep_until);

	/* The exchange is the firing: it cannot hit a later BLOCK. */
	while (until <= now && !atomic_compare_exchange_weak(&v->sleep_until, &until, SLEEP_OVER))
		;
	lapic_fire_timer(&v->lapic, now);
}

void vcpu_sleep(struct vcpu *v, uint64_t until)
{
	v->sleep_request = until;
}

void vcpu_event(struct vcpu *v)
{
	atomic_store(&v->event, true);
	v->machine->ops->notify(v->machine->ctx, v->index, MACHINE_FROM_DEVICE);
}
