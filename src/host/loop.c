/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - the run loop of a pCPU: ask, run, account, ask again.
 *
 *	decide:  [pool lock]  book the vCPU that stopped, fire what is due, rest if ceased, ask  [unlock]
 *	run:     prepare -> look at kicks and deadlines -> KVM_RUN -> handle the exit -> again, until something needs a decision
 *	idle:    sleep until a kick or the next deadline
 *
 * Everything between two decisions happens without the pool's lock. A guest that never exits is brought out by the timer
 * (slice end, somebody's deadline) or a kick.
 */
#include <signal.h>
#include <sys/syscall.h>

#include "base/futex.h"
#include "base/log.h"
#include "host/internal.h"

void loop_kick(struct host_pcpu *pc, uint32_t bit)
{
	uint32_t before = atomic_fetch_or(&pc->state, bit);

	switch (before & LOOP_PLACE) {
	case LOOP_GUEST:
		syscall(SYS_tgkill, getpid(), atomic_load(&pc->carrier_tid), SIGNAL_KICK);
		break;
	case LOOP_IDLE:
		futex_wake(&pc->state);
		break;
	default: /* it looks before it goes anywhere */
		break;
	}
}

/* Takes the kicks that came since the last look. */
static uint32_t take_kicks(struct host_pcpu *pc)
{
	return atomic_exchange(&pc->state, LOOP_MONITOR) & (KICK_ASK | KICK_LOOK);
}

/* ---- decide ---- */

/* The guest's timers of vCPUs that do not run; their owners are woken when that gives them something to do. */
static void fire_timers(struct host_pcpu *pc, uint64_t now) NO_TSA
{
	struct pool *pool = pc->host->pool;

	while (timers_next(pc) <= now) {
		struct host_vcpu *hv = pc->timers[0];

		vcpu_fire_timers(hv->v, now);
		timers_put(pc, hv);
		if (vcpu_pending(hv->v))
			pool_wake(pool, hv->id, ASKED_BY_TIMER, now);
	}
}

static enum requester_kind who_asks(enum baton_stop why)
{
	switch (why) {
	case BATON_STOP_SLICE:
		return ASKED_BY_TIMER;
	case BATON_STOP_BLOCKED:
	case BATON_STOP_YIELDED:
	case BATON_STOP_IO:
		return ASKED_BY_GUEST_VM;
	case BATON_STOP_PREEMPTED:
	case BATON_STOP_CEASED:
		break;
	}
	return ASKED_BY_MONITOR;
}

/* pc->current, if any, stopped for `why`; sets pc->current to the next one (NULL: idle). */
static void decide(struct host_pcpu *pc, enum baton_stop why) NO_TSA
{
	struct host *h = pc->host;
	struct pool *pool = h->pool;
	struct host_vcpu *hv = pc->current;
	struct feedback fb;
	uint64_t now = pool_enter(pool);

	if (hv) {
		/* The last look before it sleeps, under the lock that every waker takes: no wake-up is lost. */
		if (why == BATON_STOP_BLOCKED && vcpu_pending(hv->v))
			why = BATON_STOP_PREEMPTED;
		if (pool->cease && why != BATON_STOP_BLOCKED)
			why = BATON_STOP_CEASED;
		pool_stop(pool, pc->index, why, now);
		timers_put(pc, hv);
		if (why != BATON_STOP_BLOCKED)
			vcpu_put_aside(hv->v);
	}
	fire_timers(pc, now);
	pool_tick(pool, pc->index, now);
	if (pool->cease) {
		now = pool_cease_rest(pool, pc->index, now);
		fire_timers(pc, now);
	}
	pool_ask(pool, pc->index, hv ? who_asks(why) : ASKED_BY_MONITOR, now, &fb);
	hv = fb.owner == BATON_NONE ? NULL : pool->vcpus[fb.owner].cookie;
	if (hv) {
		timers_remove(hv);
		hv->steal_ns = pool->vcpus[fb.owner].wait_ns;
		pc->slice_end_ns = now + fb.slice_ns;
	}
	pc->current = hv;
	pc->others_ns = MIN(timers_next(pc), pool_alarm_for(pool, pc->index));
	pc->decided_ns = now;
	pool_leave(pool);
}

/* A deadline of somebody else is due while pc->current runs: whoever it wakes may or may not take this pCPU over; the pool
 * kicks this loop if so. */
static void serve_others(struct host_pcpu *pc) NO_TSA
{
	struct pool *pool = pc->host->pool;
	uint64_t now = pool_enter(pool);

	fire_timers(pc, now);
	pool_tick(pool, pc->index, now);
	pc->others_ns = MIN(timers_next(pc), pool_alarm_for(pool, pc->index));
	pool_leave(pool);
}

/* ---- run ---- */

/* The VM ended by itself: none of its vCPUs may run again until its owner says so. */
static void vm_ended(struct host_vm *vm, enum vcpu_next how) NO_TSA
{
	struct pool *pool = vm->host->pool;
	uint64_t now = pool_enter(pool);

	for (unsigned i = 0; i < vm->vcpu_count; i++)
		(void)pool_pause(pool, vm->vcpus[i].id, now);
	pool_leave(pool);
	vm->ops->ended(vm->ctx, how);
}

/* The TSC, once what came before is done. */
static uint64_t ticks(void)
{
	__builtin_ia32_lfence();
	return __builtin_ia32_rdtsc();
}

/* Only the loop writes these: no locked addition is needed. */
static void count_up(_Atomic uint64_t *count, uint64_t by)
{
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + by, memory_order_relaxed);
}

/* One stay in the guest. *ret_next: what the vCPU wants then. False: it did not get in, or was brought out by a signal. */
static bool enter_guest(struct host_pcpu *pc, struct host_vcpu *hv, enum vcpu_next *ret_next)
{
	uint32_t monitor = LOOP_MONITOR;
	int r;

	if (!atomic_compare_exchange_strong(&pc->state, &monitor, LOOP_GUEST))
		return false;	 /* a kick came first */
	if (pc->left_tsc != 0) { /* a switch of vCPUs ends here */
		count_up(&pc->switch_ticks, ticks() - pc->left_tsc);
		count_up(&pc->switch_count, 1);
		pc->left_tsc = 0;
	}
	r = vcpu_run(hv->v);
	atomic_fetch_and(&pc->state, ~(uint32_t)LOOP_PLACE);
	if (r == 0) {
		*ret_next = vcpu_exit(hv->v);
		return true;
	}
	if (r == -EINTR || r == -EAGAIN)
		return false;
	*ret_next = VCPU_CRASHED;
	return true;
}

/* What the vCPU wants instead of going on, as a reason to stop it. */
static enum baton_stop handle(struct host_pcpu *pc, struct host_vcpu *hv, enum vcpu_next next)
{
	struct pool *pool = pc->host->pool;

	switch (next) {
	case VCPU_HALT:
		return BATON_STOP_BLOCKED;
	case VCPU_YIELD:
		return BATON_STOP_YIELDED;
	case VCPU_YIELD_IO:
		return BATON_STOP_IO;
	case VCPU_SPIN:
		pool_spin(pool, hv->id, pool_enter(pool));
		pool_leave(pool);
		return BATON_STOP_YIELDED;
	case VCPU_RESET:
	case VCPU_POWER_OFF:
	case VCPU_CRASHED:
		vm_ended(hv->vm, next);
		break; /* paused: the pool books it as blocked */
	case VCPU_RESUME:
		break;
	}
	return BATON_STOP_PREEMPTED;
}

/* Runs pc->current until a decision is needed. */
static enum baton_stop run(struct runner *self, struct host_pcpu *pc)
{
	struct host_vcpu *hv = pc->current;
	enum vcpu_next next;
	/* The first time the decision has just been made: its time will do, and reading the clock is saved. */
	uint64_t now = pc->decided_ns;

	for (;; now = clock_now_ns()) {
		uint32_t kicks = take_kicks(pc);
		uint64_t due;

		if (kicks & KICK_ASK)
			return BATON_STOP_PREEMPTED;
		next = vcpu_prepare(hv->v, hv->steal_ns);
		if (next != VCPU_RESUME)
			return handle(pc, hv, next);
		if (now >= pc->slice_end_ns)
			return BATON_STOP_SLICE;
		if (now >= pc->others_ns) {
			serve_others(pc);
			continue;
		}
		due = vcpu_deadline(hv->v);
		if (now >= due) {
			vcpu_fire_timers(hv->v, now);
			continue;
		}
		runner_arm(self, MIN(due, MIN(pc->slice_end_ns, pc->others_ns)), now);
		if (!enter_guest(pc, hv, &next))
			continue;
		if (next != VCPU_RESUME)
			return handle(pc, hv, next);
	}
}

/* ---- idle ---- */

static void idle(struct host_pcpu *pc)
{
	uint32_t monitor = LOOP_MONITOR;

	if (atomic_compare_exchange_strong(&pc->state, &monitor, LOOP_IDLE)) {
		while (atomic_load(&pc->state) == LOOP_IDLE && clock_now_ns() < pc->others_ns)
			futex_wait(&pc->state, LOOP_IDLE, pc->others_ns);
	}
	(void)take_kicks(pc);
}

/* Idles with the loop of pc. A vCPU's own thread may be needed elsewhere meanwhile, since its vCPU may be chosen by another
 * pCPU (or it shall quit): then this loop goes back to its pCPU's worker. Returns the pCPU to go on with, or NULL. */
static struct host_pcpu *idle_on(struct runner *self, struct host_pcpu *pc)
{
	uint32_t closed = GATE_CLOSED, idles = GATE_IDLES + pc->index;

	if (!self->own) {
		idle(pc);
		return pc;
	}
	if (atomic_compare_exchange_strong(&self->gate, &closed, idles)) {
		idle(pc);
		if (atomic_compare_exchange_strong(&self->gate, &idles, GATE_CLOSED))
			return pc;
	}
	runner_give(&pc->worker, pc);
	return runner_wait(self);
}

/* Carries the loop of pc on this thread until the thread shall quit, or another one has taken the loop over for good. */
void loop_carry(struct runner *self, struct host_pcpu *pc)
{
	struct host *h = self->host;
	struct host_vcpu *before;
	enum baton_stop why;

	for (;;) {
		if (!pc->current) /* given away in the middle of nothing, or nobody was runnable */
			decide(pc, BATON_STOP_PREEMPTED);
		if (!pc->current) {
			if (atomic_load(&h->stopping))
				return;
			pc = idle_on(self, pc);
			if (!pc)
				return;
			continue;
		}
		pc = h->carrier->carry(self, pc);
		if (!pc)
			return;
		if (!pc->current)
			continue;
		runner_entering(vcpu_kvm_run(pc->current->v));
		why = run(self, pc);
		runner_entering(NULL);
		before = pc->current;
		pc->left_tsc = ticks();
		decide(pc, why);
		if (!pc->current || pc->current == before)
			pc->left_tsc = 0; /* not a switch between two vCPUs */
	}
}
