/* SPDX-License-Identifier: Apache-2.0 */
/* runner.c - a thread that can carry a run loop: its timer, its gate, its place. See internal.h. */
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/futex.h"
#include "base/log.h"
#include "host/internal.h"

/* For the signal handler: the vCPU that this thread enters next; has its timer fired since it was armed? */
static _Thread_local struct kvm_run *volatile entering;
static _Thread_local volatile sig_atomic_t timer_fired;

static void on_kick(int signal, siginfo_t *info, void *context)
{
	struct kvm_run *run = entering;

	(void)signal;
	(void)context;
	if (info->si_code == SI_TIMER)
		timer_fired = 1;
	if (run)
		__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_RELAXED);
}

void runner_entering(struct kvm_run *run)
{
	entering = run;
}

static int make_timer(struct runner *r)
{
	struct sigevent event = {
	    .sigev_notify = SIGEV_THREAD_ID,
	    .sigev_signo = SIGNAL_KICK,
	    ._sigev_un._tid = (pid_t)atomic_load(&r->tid),
	};

	return timer_create(CLOCK_MONOTONIC, &event, &r->timer) < 0 ? -errno : 0;
}

/* The runner looks at what was given to it, or at quit. */
static void open_gate(struct runner *r)
{
	struct host *h = r->host;
	uint32_t gate = atomic_exchange(&r->gate, GATE_GIVEN);

	/* That was the last touch: it may run, end and be freed from here on. */
	futex_wake(&r->gate);
	if (gate >= GATE_IDLES)
		loop_kick(&h->pcpus[gate - GATE_IDLES], KICK_ASK);
}

static void *runner_thread(void *ctx)
{
	struct runner *r = ctx;
	struct host_pcpu *pc;
	sigset_t only_kick;

	sigfillset(&only_kick);
	sigdelset(&only_kick, SIGNAL_KICK);
	pthread_sigmask(SIG_SETMASK, &only_kick, NULL); /* the operator's signals are for the control thread */
	prctl(PR_SET_TIMERSLACK, 1UL);
	atomic_store(&r->tid, (uint32_t)gettid());
	futex_wake(&r->tid);
	while (!atomic_load(&r->quit) && (pc = runner_wait(r)) != NULL)
		loop_carry(r, pc);
	return NULL;
}

int runner_start(struct runner *r, struct host *h, struct error *e)
{
	struct sigaction action = {.sa_sigaction = on_kick, .sa_flags = SA_SIGINFO};
	struct sched_param fifo = {.sched_priority = 10};
	int code;

	sigaction(SIGNAL_KICK, &action, NULL);
	r->host = h;
	r->armed_ns = TIME_NEVER;
	r->pinned_cpu = -1;
	atomic_store(&r->quit, false);
	atomic_store(&r->gate, GATE_CLOSED);
	code = pthread_create(&r->thread, NULL, runner_thread, r);
	if (code != 0)
		return error_set(e, -code, "cannot start a thread: %s", strerror(code));
	while (atomic_load(&r->tid) == 0)
		futex_wait(&r->tid, 0, TIME_NEVER);
	code = make_timer(r);
	if (code < 0) {
		atomic_store(&r->quit, true);
		open_gate(r);
		pthread_join(r->thread, NULL);
		return error_set(e, code, "cannot make a timer: %s", strerror(-code));
	}
	if (h->fifo && pthread_setschedparam(r->thread, SCHED_FIFO, &fifo) != 0)
		log_warning("no SCHED_FIFO for run loops: not permitted (run as root, or without --fifo)");
	return 0;
}

void runner_join(struct runner *r)
{
	atomic_store(&r->quit, true);
	open_gate(r);
	pthread_join(r->thread, NULL);
	timer_delete(r->timer);
	atomic_store(&r->tid, 0);
}

void runner_pin(struct runner *r, int cpu)
{
	cpu_set_t set;

	if (r->pinned_cpu == cpu)
		return;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) == 0)
		r->pinned_cpu = cpu;
}

/*
 * Arms lazily: a timer that fires too early costs one exit from the guest, arming it costs a system call each time. With
 * switches much more frequent than slices are long, that is one system call per slice instead of one per switch.
 */
void runner_arm(struct runner *r, uint64_t deadline_ns, uint64_t now)
{
	struct itimerspec at = {.it_value = timespec_from_ns(deadline_ns)};

	/* `now` may lie a little back: a timer that has fired since must not be taken for one that is going to. */
	if (!timer_fired && r->armed_ns > now && r->armed_ns <= deadline_ns)
		return;
	if (deadline_ns == TIME_NEVER)
		return; /* an old setting may fire once more */
	timer_fired = 0;
	timer_settime(r->timer, TIMER_ABSTIME, &at, NULL);
	r->armed_ns = deadline_ns;
}

void runner_give(struct runner *r, struct host_pcpu *pc)
{
	r->given = pc;
	atomic_store(&pc->carrier, r);
	atomic_store(&pc->carrier_tid, atomic_load(&r->tid));
	open_gate(r);
}

struct host_pcpu *runner_wait(struct runner *r)
{
	struct host_pcpu *pc;

	while (atomic_load(&r->gate) != GATE_GIVEN)
		futex_wait(&r->gate, GATE_CLOSED, TIME_NEVER);
	atomic_store(&r->gate, GATE_CLOSED);
	pc = r->given;
	r->given = NULL;
	if (pc)
		runner_pin(r, pc->cpu);
	return pc;
}
