/* SPDX-License-Identifier: Apache-2.0 */
/* harness.c - see harness.h. */
#include "harness.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define NONE	      UINT64_MAX
#define PAGE_BYTES    4096u
#define PROTECT_EVERY 16

/* Imports carry no context: the instance that is being called, and its world. */
static _Thread_local struct world *calling_world;
static _Thread_local struct instance *calling;
/* Who is asked a question: its region is read-only meanwhile. */
static _Thread_local struct instance *asking;

#define CALL(w, i, op, ...)                                                                                            \
	do {                                                                                                           \
		calling_world = (w);                                                                                   \
		calling = (i);                                                                                         \
		if ((i)->ops->op)                                                                                      \
			(i)->ops->op((i)->region, __VA_ARGS__);                                                        \
		calling = NULL;                                                                                        \
	} while (0)

#define for_each_instance(w, i)                                                                                        \
	for (uint32_t n_ = 0; n_ < WORLD_INSTANCES; n_++)                                                              \
		if (((i) = (w)->instances[n_]) != NULL)

void world_fail(struct world *w, const char *file, int line, const char *what, const char *fmt, ...)
{
	static char text[4096];
	struct instance *i = w->instances[w->decider];
	va_list ap;
	uint32_t n = 0;

	fprintf(stderr, "%s:%d: seed %" PRIu64 ", at %" PRIu64 " ns, step %" PRIu64 ": not so: %s\n  ", file, line,
		w->seed, w->now, w->steps, what);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (i && i->ops->dump)
		n = i->ops->dump(i->region, text, sizeof text - 1, w->now);
	fprintf(stderr, "\n%.*s", (int)n, text);
	abort();
}

/* A fault while somebody is asked a question. */
static void wrote(int sig, siginfo_t *info, void *context)
{
	char *at = info->si_addr;

	if (asking && at >= (char *)asking->region && at < (char *)asking->region + asking->region->size) {
		(void)mprotect(asking->region, asking->region->size, PROT_READ | PROT_WRITE);
		world_fail(calling_world, __FILE__, __LINE__, "a question has no side effects",
			   "%s wrote into its region, at offset %zu", asking->ops->name,
			   (size_t)(at - (char *)asking->region));
	}
	signal(sig, SIG_DFL); /* some other fault: again, for good */
}

uint64_t world_random(struct world *w, uint64_t below)
{
	uint64_t x = (w->rng += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	return below > 0 ? x % below : 0;
}

/* ---- imports ---- */

void baton_alarm(uint64_t t)
{
	struct instance *i = calling;

	require(calling_world, i, "baton_alarm outside of a call, or from a question");
	for (uint32_t n = 0; n < i->alarm_count; n++)
		if (i->alarms[n] == t)
			return;
	require(calling_world, i->alarm_count < WORLD_ALARMS, "%s piles up alarms", i->ops->name);
	i->alarms[i->alarm_count++] = t;
}

void baton_kick(uint32_t pcpu)
{
	require(calling_world, calling && pcpu < calling_world->pcpu_count, "kick of pCPU %u", pcpu);
	calling->kicks++;
	if (calling == calling_world->instances[calling_world->decider])
		world_kick(calling_world, pcpu);
}

void baton_hold(uint32_t v, uint64_t t)
{
	require(calling_world, calling && v < WORLD_VCPUS && t > calling_world->now, "hold of %u", v);
	calling->held_ns[v] = t;
}

void baton_trace(uint32_t code, uint64_t a, uint64_t b)
{
	require(calling_world, calling, "trace %u outside of a call", code);
}

void world_by_hand(struct world *w, uint32_t i)
{
	calling_world = w;
	calling = i == BATON_NONE ? NULL : w->instances[i];
}

/* ---- the region ---- */

static uint32_t place(uint32_t *end, uint64_t bytes)
{
	uint32_t at = (*end + 63u) & ~63u;

	*end = at + (uint32_t)bytes;
	return at;
}

static struct instance *instance_new(struct world *w, const struct baton_scheduler *ops)
{
	struct instance *i = calloc(1, sizeof *i);
	struct baton_region r = {.abi = BATON_SCHEDULER_ABI,
				 .pcpu_slots = w->pcpu_count,
				 .vm_slots = WORLD_VMS,
				 .vcpu_slots = WORLD_VCPUS,
				 .slice_min_ns = w->slice_min_ns,
				 .slice_max_ns = w->slice_max_ns,
				 .migration_cost_ns = w->migration_cost_ns};
	uint32_t end = sizeof r;
	void *region;

	require(w, i && ops->magic == BATON_SCHEDULER_MAGIC && ops->size == sizeof *ops && ops->choose, "no scheduler");
	r.pcpus = place(&end, w->pcpu_count * sizeof(struct baton_pcpu));
	r.vms = place(&end, sizeof w->vms);
	r.vcpus = place(&end, WORLD_VCPUS * sizeof(struct baton_vcpu));
	r.params = place(&end, ops->parameter_count * sizeof(int64_t));
	r.pool_state = place(&end, ops->pool_state_size);
	r.vcpu_stride = (ops->vcpu_state_size + 7u) & ~7u;
	r.vcpu_state = place(&end, (uint64_t)WORLD_VCPUS * r.vcpu_stride);
	r.vm_stride = (ops->vm_state_size + 7u) & ~7u;
	r.vm_state = place(&end, (uint64_t)WORLD_VMS * r.vm_stride);
	r.scratch = place(&end, BATON_SCRATCH_SIZE);
	r.size = (end + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	i->ops = ops;
	region = mmap(NULL, r.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	require(w, region != MAP_FAILED, "no memory");
	i->region = region;
	*i->region = r;
	for (uint32_t p = 0; p < w->pcpu_count; p++)
		baton_pcpu(i->region, p)->running = BATON_NONE;
	for (uint64_t n = 0; n < ops->parameter_count; n++)
		((int64_t *)(void *)((char *)i->region + r.params))[n] = ops->parameters[n].initial;
	return i;
}

static void refresh(struct world *w, struct instance *i, uint32_t v)
{
	struct baton_vcpu *to = baton_vcpu(i->region, v);
	const struct vcpu *from = &w->vcpus[v];

	to->state = from->state;
	to->vm = from->vm;
	to->index = v;
	to->pcpu = from->pcpu;
	to->affinity[0] = from->affinity;
	if (from->vm < WORLD_VMS)
		*baton_vm(i->region, from->vm) = w->vms[from->vm];
}

static void note_reason(struct world *w, struct instance *i)
{
	memcpy(w->reason, baton_scratch(i->region), sizeof w->reason - 1);
	memset(baton_scratch(i->region), 0, BATON_REASON_MAX);
}

/* 0, or the refusal, whose reason is noted. */
static int32_t admit(struct world *w, struct instance *i, uint32_t v, struct instance *from)
{
	struct vcpu *s = &w->vcpus[v];
	int32_t r = 0;

	refresh(w, i, v);
	if (s->state == BATON_VCPU_RUNNING)
		baton_pcpu(i->region, s->pcpu)->running = v;
	memset(baton_vcpu_state(i->region, v), 0, i->region->vcpu_stride);
	memset(baton_scratch(i->region), 0, BATON_REASON_MAX);
	i->held_ns[v] = 0;
	calling_world = w;
	calling = i;
	if (i->ops->admit)
		r = i->ops->admit(i->region, v, w->now);
	calling = NULL;
	if (r < 0) {
		note_reason(w, i);
		return r;
	}
	if (from && from->ops->give && i->ops->take) {
		struct baton_history *h = baton_scratch(from->region), *to = baton_scratch(i->region);

		memset(h, 0, sizeof *h);
		r = from->ops->give(from->region, v, h, w->now);
		require(w, r == 0 && h->version == BATON_HISTORY_VERSION && h->tail_size <= sizeof h->tail, "give");
		*to = *h;
		calling = i;
		r = i->ops->take(i->region, v, to, w->now);
		calling = NULL;
		require(w, r == 0, "take refused: %d", r);
		memset(h, 0, sizeof *h);
		memset(to, 0, sizeof *to);
	}
	i->admitted_ns[v] = w->now + 1;
	return 0;
}

uint32_t world_try_join(struct world *w, const struct baton_scheduler *ops, int64_t first_parameter, uint32_t from)
{
	struct instance *i = instance_new(w, ops);
	uint32_t n;

	for (n = 0; n < WORLD_INSTANCES && w->instances[n]; n++)
		;
	require(w, n < WORLD_INSTANCES, "no room for another instance");
	w->instances[n] = i;
	if (first_parameter >= 0 && ops->parameter_count > 0)
		*(int64_t *)(void *)((char *)i->region + i->region->params) = first_parameter;
	memcpy((char *)i->region + i->region->vms, w->vms, sizeof w->vms);
	CALL(w, i, attach, w->now);
	for (uint32_t v = 0; v < WORLD_VCPUS; v++) {
		if (w->vcpus[v].state == BATON_VCPU_FREE ||
		    admit(w, i, v, from < WORLD_INSTANCES ? w->instances[from] : NULL) == 0)
			continue;
		world_detach(w, n);
		return BATON_NONE;
	}
	return n;
}

uint32_t world_join(struct world *w, const struct baton_scheduler *ops, int64_t first_parameter, uint32_t from)
{
	uint32_t n = world_try_join(w, ops, first_parameter, from);

	require(w, n != BATON_NONE, "%s refuses: %s", ops->name, w->reason);
	return n;
}

uint32_t world_attach(struct world *w, const struct baton_scheduler *ops, int64_t first_parameter)
{
	return world_join(w, ops, first_parameter, WORLD_INSTANCES);
}

void world_detach(struct world *w, uint32_t n)
{
	struct instance *i = w->instances[n];

	CALL(w, i, detach, w->now);
	munmap(i->region, i->region->size);
	free(i);
	w->instances[n] = NULL;
}

struct world *world_new(uint64_t seed, uint32_t pcpus)
{
	struct world *w = calloc(1, sizeof *w);
	struct sigaction act = {.sa_sigaction = wrote, .sa_flags = SA_SIGINFO};

	sigaction(SIGSEGV, &act, NULL);
	if (!w)
		abort();
	w->seed = w->rng = seed;
	w->now = 1 * S;
	w->pcpu_count = pcpus;
	w->kick_delay_ns = 5 * US;
	w->starve_ns = 20 * S;
	w->slice_min_ns = 100 * US;
	w->slice_max_ns = 100 * MS;
	for (uint32_t p = 0; p < pcpus; p++) {
		w->pcpus[p].running = BATON_NONE;
		w->pcpus[p].ask_ns = NONE;
	}
	return w;
}

void world_free(struct world *w)
{
	for (uint32_t i = 0; i < WORLD_INSTANCES; i++)
		if (w->instances[i])
			world_detach(w, i);
	free(w);
}

/* Which pages of the region were ever touched: the others are zero. Looked up now and then, since looking is slow. */
static void look_at_pages(struct world *w, struct instance *i)
{
	require(w, i->region->size / PAGE_BYTES <= REGION_PAGES_MAX, "a region of %u bytes", i->region->size);
	if (i->looks++ % 64 == 0 && mincore(i->region, i->region->size, i->touched) != 0)
		memset(i->touched, 1, sizeof i->touched);
}

bool world_alike(struct world *w, uint32_t n, uint32_t m)
{
	struct instance *a = w->instances[n], *b = w->instances[m];
	size_t bytes = a->region->size;

	require(w, bytes == b->region->size, "regions of different sizes");
	look_at_pages(w, a);
	look_at_pages(w, b);
	for (size_t at = 0; at < bytes; at += PAGE_BYTES)
		if (((a->touched[at / PAGE_BYTES] | b->touched[at / PAGE_BYTES]) & 1) &&
		    memcmp((char *)a->region + at, (char *)b->region + at, PAGE_BYTES) != 0)
			return false;
	return true;
}

/* ---- questions ---- */

/* From here on until ask_end, writing into the region of i fails the test. Protecting is slow: one question of several. */
static void ask_begin(struct world *w, struct instance *i)
{
	calling_world = w;
	if (i->questions++ % PROTECT_EVERY != 0)
		return;
	asking = i;
	require(w, mprotect(i->region, i->region->size, PROT_READ) == 0, "mprotect");
}

static void ask_end(struct world *w, struct instance *i)
{
	if (!asking)
		return;
	require(w, mprotect(i->region, i->region->size, PROT_READ | PROT_WRITE) == 0, "mprotect");
	asking = NULL;
}

static bool may_run(struct world *w, uint32_t v, uint32_t pcpu)
{
	return v < WORLD_VCPUS && w->vcpus[v].state == BATON_VCPU_RUNNABLE && ((w->vcpus[v].affinity >> pcpu) & 1);
}

struct baton_choice world_choose(struct world *w, uint32_t n, uint32_t pcpu)
{
	struct instance *i = w->instances[n];
	struct baton_choice first, again;

	ask_begin(w, i);
	first = i->ops->choose(i->region, pcpu, w->now);
	again = i->ops->choose(i->region, pcpu, w->now);
	ask_end(w, i);
	require(w, memcmp(&first, &again, sizeof first) == 0, "choose of %s answers differently", i->ops->name);
	require(w, first.vcpu == BATON_NONE || may_run(w, first.vcpu, pcpu), "%s chose %u for pCPU %u", i->ops->name,
		first.vcpu, pcpu);
	return first;
}

/* An idle pCPU that is not asked yet. */
static uint32_t idle_for(struct world *w, uint32_t v)
{
	for (uint32_t p = 0; p < w->pcpu_count; p++)
		if (may_run(w, v, p) && w->pcpus[p].running == BATON_NONE && w->pcpus[p].ask_ns == NONE)
			return p;
	return BATON_NONE;
}

static uint32_t preempts(struct world *w, struct instance *i, uint32_t v)
{
	uint32_t p;

	if (!i->ops->preempts)
		return idle_for(w, v);
	ask_begin(w, i);
	p = i->ops->preempts(i->region, v, w->now);
	ask_end(w, i);
	require(w, p == BATON_NONE || (p < w->pcpu_count && ((w->vcpus[v].affinity >> p) & 1)), "%s: %u preempts on %u",
		i->ops->name, v, p);
	return p;
}

int64_t world_dumped(struct world *w, uint32_t n, uint32_t v, const char *field)
{
	struct instance *i = w->instances[n];
	char text[4096], key[32];
	const char *at = text;

	/* What concerns the pool stands in the first line. */
	text[i->ops->dump(i->region, text, v == BATON_NONE ? 120 : sizeof text - 1, w->now)] = '\0';
	if (v != BATON_NONE) {
		snprintf(key, sizeof key, " vcpu=%u ", v);
		at = strstr(text, key);
		require(w, at, "no vCPU %u in the dump:\n%s", v, text);
	}
	at = strstr(at, field);
	require(w, at, "no %s in the dump:\n%s", field, text);
	return strtoll(at + strlen(field), NULL, 10);
}

/* ---- events ---- */

static uint64_t vary(struct world *w, const struct behaviour *does, uint64_t ns)
{
	return does->vary ? ns / 2 + world_random(w, ns) : ns;
}

static void become(struct world *w, uint32_t v, enum baton_vcpu_state state)
{
	w->vcpus[v].state = state;
	w->vcpus[v].since_ns = w->now;
}

void world_kick(struct world *w, uint32_t pcpu)
{
	uint64_t at = w->now + world_random(w, w->kick_delay_ns + 1);

	if (at < w->pcpus[pcpu].ask_ns)
		w->pcpus[pcpu].ask_ns = at;
}

static void seek(struct world *w, uint32_t v)
{
	struct instance *i;
	uint32_t p = BATON_NONE;

	for_each_instance(w, i)
	{
		uint32_t answer = i->admitted_ns[v] ? preempts(w, i, v) : BATON_NONE;

		if (i == w->instances[w->decider])
			p = answer;
	}
	if (w->offers_idle && (p == BATON_NONE || w->pcpus[p].ask_ns != NONE) && idle_for(w, v) != BATON_NONE)
		p = idle_for(w, v);
	if (p != BATON_NONE)
		world_kick(w, p);
}

void world_wake(struct world *w, uint32_t v)
{
	struct instance *i;

	if (w->vcpus[v].state != BATON_VCPU_BLOCKED)
		return;
	become(w, v, BATON_VCPU_RUNNABLE);
	w->vcpus[v].wakes++;
	w->vcpus[v].ready_ns = w->now;
	w->vcpus[v].latency_pending = true;
	w->vcpus[v].wake_ns = NONE;
	for_each_instance(w, i)
	{
		refresh(w, i, v);
		CALL(w, i, wake, v, w->now);
	}
	seek(w, v);
}

void world_pause(struct world *w, uint32_t v, uint64_t for_ns)
{
	struct instance *i;

	if (w->vcpus[v].state != BATON_VCPU_RUNNABLE)
		return;
	become(w, v, BATON_VCPU_BLOCKED);
	w->vcpus[v].latency_pending = false;
	w->vcpus[v].wake_ns = w->now + for_ns;
	for_each_instance(w, i)
	{
		refresh(w, i, v);
		CALL(w, i, sleep, v, w->now);
	}
}

static void start(struct world *w, uint32_t v, uint32_t p, uint64_t slice)
{
	struct vcpu *s = &w->vcpus[v];
	struct instance *i;
	uint64_t waited = w->now - s->since_ns;

	s->longest_wait_ns = waited > s->longest_wait_ns ? waited : s->longest_wait_ns;
	if (s->latency_pending)
		s->last_latency_ns = w->now - s->ready_ns;
	s->latency_pending = false;
	become(w, v, BATON_VCPU_RUNNING);
	s->starts++;
	w->migrations += s->pcpu != p && s->pcpu != BATON_NONE;
	s->pcpu = p;
	if (s->left_ns == 0)
		s->left_ns = s->does.run_ns == 0 ? NONE : vary(w, &s->does, s->does.run_ns) + 1;
	w->pcpus[p].running = v;
	w->pcpus[p].slice_end_ns = w->now + slice;
	for_each_instance(w, i)
	{
		refresh(w, i, v);
		baton_pcpu(i->region, p)->running = v;
		CALL(w, i, start, v, p, w->now);
	}
}

static void stop(struct world *w, uint32_t p, enum baton_stop why)
{
	uint32_t v = w->pcpus[p].running;
	struct vcpu *s = &w->vcpus[v];
	struct instance *i;
	uint64_t started = s->since_ns, ran = w->now - started;

	s->service_ns += ran;
	if (s->left_ns != NONE)
		s->left_ns -= ran < s->left_ns ? ran : s->left_ns;
	w->pcpus[p].running = BATON_NONE;
	become(w, v, why == BATON_STOP_BLOCKED ? BATON_VCPU_BLOCKED : BATON_VCPU_RUNNABLE);
	if (why == BATON_STOP_BLOCKED)
		s->wake_ns = s->does.block_ns == NONE ? NONE : w->now + vary(w, &s->does, s->does.block_ns) + 1;
	for_each_instance(w, i)
	{
		uint64_t known = i->admitted_ns[v] - 1;

		refresh(w, i, v);
		baton_pcpu(i->region, p)->running = BATON_NONE;
		CALL(w, i, stop, v, p, w->now - (started > known ? started : known), why, w->now);
	}
}

static void ask(struct world *w, uint32_t p)
{
	struct baton_choice decided = {.vcpu = BATON_NONE};
	uint64_t slice;

	w->pcpus[p].ask_ns = NONE;
	for (uint32_t n = 0; n < WORLD_INSTANCES; n++) {
		if (!w->instances[n])
			continue;
		if (n == w->decider)
			decided = world_choose(w, n, p);
		else
			(void)world_choose(w, n, p);
	}
	if (decided.vcpu == BATON_NONE)
		return;
	w->decisions++;
	slice = decided.slice_ns == 0 || decided.slice_ns > w->slice_max_ns ? w->slice_max_ns : decided.slice_ns;
	start(w, decided.vcpu, p, slice < w->slice_min_ns ? w->slice_min_ns : slice);
}

void world_cease(struct world *w)
{
	for (uint32_t p = 0; p < w->pcpu_count; p++)
		if (w->pcpus[p].running != BATON_NONE)
			stop(w, p, BATON_STOP_CEASED);
	for (uint32_t p = 0; p < w->pcpu_count; p++)
		ask(w, p);
}

void world_spin(struct world *w, uint32_t v)
{
	struct instance *i;

	for_each_instance(w, i) CALL(w, i, spin, v, w->now);
}

void world_ipi(struct world *w, uint32_t from, uint32_t to)
{
	struct instance *i;

	for_each_instance(w, i) CALL(w, i, ipi, from, to, w->now);
}

/* ---- members ---- */

static void retire(struct world *w, struct instance *i, uint32_t v)
{
	CALL(w, i, retire, v, w->now);
	i->admitted_ns[v] = 0;
	baton_vcpu(i->region, v)->state = BATON_VCPU_FREE;
}

uint32_t world_vm(struct world *w, uint32_t weight, uint64_t warp_ns, uint64_t limit_ns, uint64_t unwarp_ns)
{
	struct instance *i;
	uint32_t vm = 0;

	while (vm < WORLD_VMS && w->vms[vm].used)
		vm++;
	require(w, vm < WORLD_VMS, "too many VMs");
	w->vms[vm] = (struct baton_vm){
	    .used = 1, .weight = weight, .warp_ns = warp_ns, .warp_limit_ns = limit_ns, .unwarp_ns = unwarp_ns};
	for_each_instance(w, i) * baton_vm(i->region, vm) = w->vms[vm];
	return vm;
}

int32_t world_try_vcpu(struct world *w, uint32_t vm, struct behaviour does, uint64_t affinity, uint32_t *ret)
{
	struct instance *i;
	uint32_t v = 0;

	while (v < WORLD_VCPUS && w->vcpus[v].state != BATON_VCPU_FREE)
		v++;
	require(w, v < WORLD_VCPUS, "too many vCPUs");
	w->vcpus[v] = (struct vcpu){.state = BATON_VCPU_BLOCKED,
				    .vm = vm,
				    .pcpu = BATON_NONE,
				    .affinity = affinity ? affinity : UINT64_MAX,
				    .does = does,
				    .since_ns = w->now,
				    .wake_ns = w->now};
	for (uint32_t n = 0; n < WORLD_INSTANCES; n++) {
		int32_t r = w->instances[n] ? admit(w, w->instances[n], v, NULL) : 0;

		if (r == 0)
			continue;
		while (n-- > 0)
			if (w->instances[n])
				retire(w, w->instances[n], v);
		w->vcpus[v] = (struct vcpu){.state = BATON_VCPU_FREE};
		for_each_instance(w, i) refresh(w, i, v);
		return r;
	}
	if (ret)
		*ret = v;
	return 0;
}

uint32_t world_vcpu(struct world *w, uint32_t vm, struct behaviour does, uint64_t affinity)
{
	uint32_t v = BATON_NONE;
	int32_t r = world_try_vcpu(w, vm, does, affinity, &v);

	require(w, r == 0, "admit refused: %s", w->reason);
	return v;
}

void world_remove(struct world *w, uint32_t v)
{
	struct instance *i;

	if (w->vcpus[v].state == BATON_VCPU_RUNNING) {
		uint32_t p = w->vcpus[v].pcpu;

		stop(w, p, BATON_STOP_BLOCKED);
		ask(w, p);
	}
	world_pause(w, v, 0);
	for_each_instance(w, i) retire(w, i, v);
	w->vcpus[v] = (struct vcpu){.state = BATON_VCPU_FREE};
}

int32_t world_vm_changed(struct world *w, uint32_t vm)
{
	struct instance *i;
	int32_t refusal = 0;

	for_each_instance(w, i)
	{
		*baton_vm(i->region, vm) = w->vms[vm];
		for (uint32_t n = 0; n < i->ops->parameter_count; n++) {
			int32_t r = 0;

			if (i->ops->parameters[n].scope != BATON_SCOPE_VM || !i->ops->set)
				continue;
			calling_world = w;
			calling = i;
			r = i->ops->set(i->region, BATON_SCOPE_VM, vm, n, w->now);
			calling = NULL;
			refusal = r < 0 ? r : refusal;
			if (r < 0)
				note_reason(w, i);
		}
	}
	return refusal;
}

void world_set(struct world *w, uint32_t n, uint32_t parameter, int64_t value)
{
	struct instance *i = w->instances[n];

	((int64_t *)(void *)((char *)i->region + i->region->params))[parameter] = value;
	CALL(w, i, set, BATON_SCOPE_POOL, BATON_NONE, parameter, w->now);
}

/* ---- time ---- */

static void check(struct world *w)
{
	bool asked = false; /* somewhere: who starts there may have the next idle pCPU asked */

	for (uint32_t p = 0; p < w->pcpu_count; p++)
		asked |= w->pcpus[p].ask_ns != NONE;
	for (uint32_t v = 0; v < WORLD_VCPUS; v++) {
		uint64_t waits;

		if (w->vcpus[v].state != BATON_VCPU_RUNNABLE)
			continue;
		if (w->instances[w->decider] && w->instances[w->decider]->held_ns[v] > w->now)
			continue;
		waits = w->now - w->vcpus[v].since_ns;
		require(w, waits < w->starve_ns, "vCPU %u starves", v);
		if (w->may_idle)
			continue;
		for (uint32_t p = 0; p < w->pcpu_count; p++)
			require(w, asked || !may_run(w, v, p) || w->pcpus[p].running != BATON_NONE,
				"pCPU %u is idle and nobody asks anywhere, but vCPU %u waits", p, v);
	}
	if (w->each_step)
		w->each_step(w);
}

static void tick(struct world *w, struct instance *i)
{
	uint32_t kept = 0;

	for (uint32_t n = 0; n < i->alarm_count; n++)
		if (i->alarms[n] > w->now)
			i->alarms[kept++] = i->alarms[n];
	if (kept == i->alarm_count)
		return;
	i->alarm_count = kept;
	i->ticks++;
	CALL(w, i, tick, w->now);
}

static uint64_t run_end(struct world *w, uint32_t p)
{
	const struct vcpu *s = &w->vcpus[w->pcpus[p].running];
	uint64_t own = s->left_ns == NONE ? NONE : s->since_ns + s->left_ns;

	return own < w->pcpus[p].slice_end_ns ? own : w->pcpus[p].slice_end_ns;
}

static uint64_t next_event(struct world *w)
{
	struct instance *i;
	uint64_t t = NONE;

#define SOONER(x) (t = (x) < t ? (x) : t)
	for (uint32_t p = 0; p < w->pcpu_count; p++) {
		SOONER(w->pcpus[p].ask_ns);
		if (w->pcpus[p].running != BATON_NONE)
			SOONER(run_end(w, p));
	}
	for (uint32_t v = 0; v < WORLD_VCPUS; v++)
		if (w->vcpus[v].state == BATON_VCPU_BLOCKED)
			SOONER(w->vcpus[v].wake_ns);
	for_each_instance(w, i) for (uint32_t n = 0; n < i->alarm_count; n++) SOONER(i->alarms[n]);
	return t;
}

static bool alarm_due(struct world *w)
{
	struct instance *i;

	for_each_instance(w, i) for (uint32_t n = 0; n < i->alarm_count; n++) if (i->alarms[n] <= w->now) return true;
	return false;
}

/* Does one thing that is due now; false when nothing is left. */
static bool one_event(struct world *w)
{
	struct instance *i;

	for (uint32_t v = 0; v < WORLD_VCPUS; v++)
		if (w->vcpus[v].state == BATON_VCPU_BLOCKED && w->vcpus[v].wake_ns <= w->now) {
			world_wake(w, v);
			return true;
		}
	if (alarm_due(w)) {
		for_each_instance(w, i) tick(w, i); /* all of them before the world goes on: twins stay alike */
		return true;
	}
	for (uint32_t p = 0; p < w->pcpu_count; p++) {
		struct vcpu *s;

		if (w->pcpus[p].running == BATON_NONE) {
			if (w->pcpus[p].ask_ns > w->now)
				continue;
			ask(w, p);
			return true;
		}
		s = &w->vcpus[w->pcpus[p].running];
		if (s->left_ns != NONE && s->since_ns + s->left_ns <= w->now)
			stop(w, p, s->does.then);
		else if (w->pcpus[p].slice_end_ns <= w->now)
			stop(w, p, BATON_STOP_SLICE);
		else if (w->pcpus[p].ask_ns <= w->now)
			stop(w, p, BATON_STOP_PREEMPTED);
		else
			continue;
		ask(w, p);
		return true;
	}
	return false;
}

void world_step(struct world *w)
{
	uint64_t t = next_event(w);

	require(w, t != NONE, "nothing will ever happen again");
	w->now = t > w->now ? t : w->now;
	while (one_event(w)) {
		w->steps++;
		check(w);
	}
}

void world_run(struct world *w, uint64_t until)
{
	while (next_event(w) <= until)
		world_step(w);
	w->now = until > w->now ? until : w->now;
}
