/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.c - carries a trial out: the simulation, and in between what the operator does. See trial.h.
 *
 * The operator's acts and the handover take the pool's lock and tell the pool, as the monitor's control thread does; the
 * simulated pCPUs learn of them by kicks.
 */
#include "check/trial.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "check/questions.h"
#include "check/watch.h"
#include "policies/builtin.h"
#include "sched/loader/image.h"
#include "sched/manager.h"

#define PEEK_EVERY 64 /* parts of a trial, after each of which the questions for people are asked */

struct run {
	const struct trial *trial;
	const struct subject *subject;
	struct trial_result *result;
	struct watch watch;
	struct questions questions;
	struct sim *sim;
	struct attached *subject_attached;  /* the one that decides, or will */
	uint64_t resume_ns[TRIAL_ACTS_MAX]; /* of act n, when it is a pause; 0 = none */
};

/* ---- the operator ---- */

static struct attached *deciding(struct pool *p) NO_TSA
{
	return manager_active(p);
}

/* Calls `act` for each vCPU of a workload's entry. */
static void for_vcpus_of(struct run *r, uint32_t entry, uint64_t now,
			 void (*act)(struct pool *p, uint32_t v, uint64_t now)) NO_TSA
{
	struct pool *p = sim_pool(r->sim);

	for (uint32_t v = 0; v < p->vcpu_slots; v++)
		if (sim_entry_of(r->sim, v) == entry)
			act(p, v, now);
}

static void pause_vcpu(struct pool *p, uint32_t v, uint64_t now) NO_TSA
{
	(void)pool_pause(p, v, now);
}

static void resume_vcpu(struct pool *p, uint32_t v, uint64_t now) NO_TSA
{
	pool_resume(p, v, false, now);
}

/* The pool's number of a VM of this entry; BATON_NONE when it is not there. */
static uint32_t vm_of(struct run *r, uint32_t entry) NO_TSA
{
	struct pool *p = sim_pool(r->sim);

	for (uint32_t v = 0; v < p->vcpu_slots; v++)
		if (sim_entry_of(r->sim, v) == entry)
			return p->vcpus[v].vm;
	return BATON_NONE;
}

static void set_weight(struct run *r, uint32_t entry, int64_t value, uint64_t now) NO_TSA
{
	struct pool *p = sim_pool(r->sim);
	uint32_t vm = vm_of(r, entry);

	if (vm == BATON_NONE)
		return;
	p->vms[vm].weight = (uint32_t)value;
	(void)pool_vm_changed(p, vm, "weight", now, NULL);
}

static void set_param(struct run *r, uint32_t number, int64_t value, uint64_t now) NO_TSA
{
	if (number < r->subject->ops->parameter_count)
		(void)attached_set(r->subject_attached, BATON_NONE, r->subject->ops->parameters[number].name, value,
				   now, NULL);
}

static void carry_out(struct run *r, uint32_t n) NO_TSA
{
	const struct operator_act *act = &r->trial->acts[n];
	struct pool *p = sim_pool(r->sim);
	uint64_t now = pool_enter(p);

	switch (act->kind) {
	case ACT_PAUSE:
		for_vcpus_of(r, act->vm, now, pause_vcpu);
		r->resume_ns[n] = now + (uint64_t)act->value;
		break;
	case ACT_WEIGHT:
		set_weight(r, act->vm, act->value, now);
		break;
	case ACT_PARAM:
		set_param(r, act->vm, act->value, now);
		break;
	case ACT_FOCUS:
		pool_console_give(p, vm_of(r, act->vm), now);
		break;
	case ACT_KICK:
		if (act->vm < p->pcpu_count)
			pool_note_kick(p, act->vm);
		break;
	}
	watch_operator(&r->watch);
	pool_leave(p);
}

static void resume(struct run *r, uint32_t n) NO_TSA
{
	struct pool *p = sim_pool(r->sim);
	uint64_t now = pool_enter(p);

	r->resume_ns[n] = 0;
	for_vcpus_of(r, r->trial->acts[n].vm, now, resume_vcpu);
	watch_operator(&r->watch);
	pool_leave(p);
}

/* Questions that the simulation itself does not ask. */
static void peek(struct run *r) NO_TSA
{
	struct pool *p = sim_pool(r->sim);
	struct attached *a = r->subject_attached;
	uint64_t now = pool_enter(p);
	char text[512];

	for (uint32_t vm = 0; a && vm < p->vm_slots; vm++)
		if (p->vms[vm].used)
			(void)attached_priority(a, vm, now);
	if (a) {
		(void)attached_choose_console(a, now);
		(void)attached_dump(a, text, sizeof text, now);
	}
	pool_leave(p);
}

/* ---- handing over ---- */

/* Attaches another instance of the subject, which takes over what the deciding one gives. */
static int join(struct run *r) NO_TSA
{
	struct pool *p = sim_pool(r->sim);
	struct attached *a, *giver = deciding(p);
	struct baton_history h;
	uint64_t now;
	int code = attached_new(p, &r->questions.watched, r->subject->image, &a, NULL);

	if (code < 0)
		return code;
	for (uint64_t i = 0; i < a->ops->parameter_count && i < BATON_PARAMS_MAX; i++)
		if (a->ops->parameters[i].scope == BATON_SCOPE_POOL && r->subject_attached)
			(void)attached_preset(a, a->ops->parameters[i].name,
					      baton_param(r->subject_attached->region, (uint32_t)i), NULL);
	for (uint32_t i = 0; i < r->trial->param_count && !r->subject_attached; i++)
		(void)attached_preset(a, r->trial->params[i].name, r->trial->params[i].value, NULL);
	now = pool_enter(p);
	code = pool_attach(p, a);
	if (code < 0) {
		pool_leave(p);
		attached_free(a);
		return code;
	}
	code = attached_attach(a, now);
	if (p->console_owner != BATON_NONE && code >= 0)
		attached_boost(a, p->console_owner, now);
	for (uint32_t v = 0; v < p->vcpu_slots && code >= 0; v++) {
		if (p->vcpus[v].state == BATON_VCPU_FREE)
			continue;
		handover_record(p, giver, v, now, &h);
		code = attached_admit(a, v, &h, now);
	}
	if (code >= 0) {
		r->subject_attached = a;
	} else {
		(void)snprintf(r->result->refusal, sizeof r->result->refusal, "%s", a->reason);
		pool_detach(p, a, now);
	}
	pool_leave(p);
	if (code < 0)
		attached_free(a);
	return code;
}

/* From now on `to` decides, as after a live change (sched/change.c). */
static void decide(struct run *r, struct attached *to) NO_TSA
{
	struct pool *p = sim_pool(r->sim);

	(void)pool_enter(p);
	watch_handover(&r->watch);
	manager_activate(p, to);
	for (uint32_t i = 0; i < p->pcpu_count; i++)
		if (p->pcpus[i].idle)
			pool_note_kick(p, i);
	pool_leave(p);
}

/* ---- the course of a trial ---- */

/* When the next thing besides the simulation is due. */
static uint64_t next_stop(const struct run *r, uint32_t next_act, uint64_t next_peek, bool handed_over, bool gone_back)
{
	const struct trial *t = r->trial;
	uint64_t at = next_peek;

	if (next_act < t->act_count)
		at = MIN(at, SIM_EPOCH_NS + t->acts[next_act].at_ns);
	for (uint32_t n = 0; n < t->act_count; n++)
		if (r->resume_ns[n] != 0)
			at = MIN(at, r->resume_ns[n]);
	if (t->handover_ns != 0 && !handed_over)
		at = MIN(at, SIM_EPOCH_NS + t->handover_ns);
	if (t->back_ns != 0 && handed_over && !gone_back)
		at = MIN(at, SIM_EPOCH_NS + t->back_ns);
	return at;
}

static int hand_over(struct run *r)
{
	int code = r->trial->mode == TRIAL_ALONE ? join(r) : 0;

	if (code >= 0)
		decide(r, r->subject_attached);
	else if (code != -ENOMEM)
		watch_fail(&r->watch, PROPERTY_HANDOVER, "the successor refuses what the one before it has: %s",
			   r->result->refusal);
	return code;
}

static int go_through(struct run *r, struct error *e) NO_TSA
{
	const struct trial *t = r->trial;
	uint64_t end = sim_end(r->sim), every = t->workload->duration_ns / PEEK_EVERY + 1,
		 peek_ns = SIM_EPOCH_NS + every;
	bool handed_over = false, gone_back = false;
	uint32_t act = 0;
	int code = 0;

	while (code >= 0) {
		uint64_t at = MIN(next_stop(r, act, peek_ns, handed_over, gone_back), end), since;

		code = sim_run(r->sim, at, e);
		if (code >= 0 && r->subject_attached->withdrawn)
			code = error_set(e, -ENOSPC, "%.200s", r->subject_attached->reason);
		if (code < 0 || at >= end)
			break;
		since = at - SIM_EPOCH_NS;
		if (at >= peek_ns) {
			peek(r);
			peek_ns += every;
		}
		for (uint32_t n = 0; n < t->act_count; n++)
			if (r->resume_ns[n] != 0 && r->resume_ns[n] <= at)
				resume(r, n);
		for (; act < t->act_count && t->acts[act].at_ns <= since; act++)
			carry_out(r, act);
		if (t->handover_ns != 0 && !handed_over && since >= t->handover_ns) {
			handed_over = true;
			if (hand_over(r) < 0)
				break;
		}
		if (t->back_ns != 0 && handed_over && !gone_back && since >= t->back_ns) {
			gone_back = true;
			decide(r, sim_pool(r->sim)->attached[0]);
		}
	}
	return code;
}

static bool is_refusal(int code)
{
	return code == -ENOSPC || code == -EINVAL || code == -ERANGE || code == -EBUSY || code == -EPERM ||
	       code == -EOPNOTSUPP;
}

/* What ended the simulation early: the scheduler's refusal, its fault, or ours. */
static int ended(struct run *r, int code, const struct error *why, struct error *e)
{
	if (code == -ELOOP) {
		watch_fail(&r->watch, PROPERTY_SOUND, "%.200s", why->text);
		return 0;
	}
	if (!is_refusal(code))
		return error_set(e, code, "%s", why->text);
	r->result->refused = true;
	(void)snprintf(r->result->refusal, sizeof r->result->refusal, "%.255s", why->text);
	return 0;
}

static int begin(struct run *r, struct error *e) NO_TSA
{
	const struct trial *t = r->trial;
	bool alone = t->mode == TRIAL_ALONE;
	int code;

	code = sim_new(&(struct sim_config){.workload = t->workload,
					    .scheduler = alone ? &r->questions.watched : &baton_scheduler_rr,
					    .image = alone ? r->subject->image : NULL,
					    .params = t->params,
					    .param_count = alone ? t->param_count : 0,
					    .seed = t->workload->seed,
					    .without_stats = true,
					    .observer = watch_event,
					    .ctx = &r->watch},
		       &r->sim, e);
	if (code < 0)
		return code;
	r->watch.sim = r->sim;
	if (alone)
		r->subject_attached = sim_pool(r->sim)->attached[0];
	else
		code = join(r);
	return code < 0 ? error_set(e, code, "%.200s", r->result->refusal) : 0;
}

int trial_run(const struct trial *t, const struct subject *subject, struct trial_result *ret, struct error *e)
{
	_cleanup_free_ struct run *r = calloc(1, sizeof *r);
	struct error why = {""};
	int code;

	if (!r)
		return error_set(e, -ENOMEM, "no memory for a trial");
	*ret = (struct trial_result){0};
	r->trial = t;
	r->subject = subject;
	r->result = ret;
	watch_begin(&r->watch, t, subject, ret);
	questions_begin(&r->questions, subject->ops, &r->watch);
	code = begin(r, &why);
	if (code >= 0)
		code = go_through(r, &why);
	if (code >= 0)
		watch_end(&r->watch);
	else
		code = ended(r, code, &why, e);
	sim_free(r->sim);
	questions_end(&r->questions);
	return code;
}

/* ---- confined ---- */

/* What child and parent both see. */
struct confined {
	struct trial_result result;
	struct error e;
	int code;
	bool done;
	char where[96]; /* the function that it died in */
};

/* Of the child, which has this one trial to run and ends with it: its signal handler has no other way to know. */
static struct confined *own_confined;
static const struct image *own_image;

static void died(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *at = context;
	const char *name;
	size_t inside;

	if (own_image &&
	    image_symbol(own_image, (const void *)(uintptr_t)at->uc_mcontext.gregs[REG_RIP], &name, &inside))
		(void)strncpy(own_confined->where, name, sizeof own_confined->where - 1);
	_exit(128 + sig);
}

_Noreturn static void child(const struct trial *t, const struct subject *subject, unsigned seconds, struct confined *c)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGXCPU, SIGABRT};
	struct sigaction act = {.sa_sigaction = died, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	const size_t stack_bytes = 64 * KIB;

	own_confined = c;
	own_image = subject->image;
	sigaltstack(&(stack_t){.ss_sp = malloc(stack_bytes), .ss_size = stack_bytes}, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		sigaction(fatal[i], &act, NULL);
	setrlimit(RLIMIT_CPU, &(struct rlimit){.rlim_cur = seconds, .rlim_max = seconds + 1});
	setrlimit(RLIMIT_CORE, &(struct rlimit){0});
	c->code = trial_run(t, subject, &c->result, &c->e);
	c->done = true;
	_exit(0);
}

/* The child is gone without a result: what does that say about the scheduler? */
static void judge_death(int status, const char *where, struct trial_result *ret)
{
	int sig = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status) - 128;
	struct verdict *v = &ret->of[PROPERTY_SOUND];
	const char *what = sig == SIGXCPU || sig == SIGKILL ? "a call does not come back"
			   : sig > 0 && sig < 65	    ? strsignal(sig)
							    : "the process ended";

	*ret = (struct trial_result){0};
	v->judged = v->failed = true;
	(void)snprintf(v->text, sizeof v->text, "%s%s%s", what, where[0] ? ", in " : "", where);
}

int trial_run_confined(const struct trial *t, const struct subject *subject, unsigned seconds, struct trial_result *ret,
		       struct error *e)
{
	struct confined *c;
	int status = 0, code = 0;
	pid_t pid;

	c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c == MAP_FAILED)
		return error_set(e, -ENOMEM, "no memory for a trial");
	pid = fork();
	if (pid == 0)
		child(t, subject, seconds, c);
	if (pid < 0)
		code = error_set(e, -errno, "cannot start a process for a trial: %s; raise the limit (ulimit -u)",
				 strerror(errno));
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid > 0 && !c->done) {
		judge_death(status, c->where, ret);
	} else if (pid > 0) {
		code = c->code;
		*ret = c->result;
		if (code < 0)
			error_set(e, code, "%s", c->e.text);
	}
	munmap(c, sizeof *c);
	return code;
}

/* ---- life ---- */

static struct workload *copy_workload(const struct workload *w)
{
	struct workload *copy = workload_new();

	if (!copy)
		return NULL;
	*copy = *w;
	copy->vms = NULL;
	copy->vm_count = 0;
	copy->demands = NULL; /* trials have none */
	for (uint32_t i = 0; i < w->vm_count; i++)
		if (workload_add_vm(copy, &w->vms[i], NULL) < 0)
			return workload_free(copy);
	return copy;
}

struct trial *trial_copy(const struct trial *t)
{
	struct trial *copy = malloc(sizeof *copy);

	if (!copy)
		return NULL;
	*copy = *t;
	copy->workload = copy_workload(t->workload);
	return copy->workload ? copy : trial_free(copy);
}

struct trial *trial_free(struct trial *t)
{
	if (t)
		workload_free(t->workload);
	free(t);
	return NULL;
}
