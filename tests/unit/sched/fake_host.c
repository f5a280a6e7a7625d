/* SPDX-License-Identifier: Apache-2.0 */
/* fake_host.c - see fake_host.h. */
#include "fake_host.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "policies/builtin.h"

#define SPAN_US 50 /* of a "run" between two looks for kicks */

const char *fake_images = ".";
enum activation_way fake_way;

void fake_arguments(int argc, char **argv)
{
	struct error e;

	if (argc > 1)
		fake_images = argv[1];
	if (argc > 2)
		must(activation_way_from_name(argv[2], &fake_way, &e) == 0);
}

_Noreturn void fake_fail(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

/* ---- what the pool asks of a host ---- */

static uint64_t host_now(struct sched_host *h)
{
	struct fake *f = (struct fake *)h;

	return f->real_clock ? clock_now_ns() : f->now_ns;
}

static void host_kick(struct sched_host *h, uint32_t pcpu)
{
	struct fake *f = (struct fake *)h;

	must(pcpu < f->pool->pcpu_count);
	f->kicks[pcpu]++;
	f->kicks_total++;
	if (pcpu < FAKE_THREADS_MAX)
		atomic_store(&f->asked[pcpu], 1);
}

static int host_flush(struct sched_host *h, char *why, size_t size)
{
	struct fake *f = (struct fake *)h;

	must(!lock_is_mine(&f->pool->lock));
	f->flushes++;
	for (uint32_t v = 0; f->running && v < f->pool->vcpu_slots; v++)
		f->flush_saw_running |= atomic_load(&f->running[v]) != 0;
	if (f->flush_result < 0)
		snprintf(why, size, "%s", f->flush_why);
	return f->flush_result;
}

static const struct sched_host_ops host_ops = {.now = host_now, .kick = host_kick, .flush = host_flush};

/* ---- life ---- */

struct fake *fake_new(const struct fake_config *config)
{
	struct fake *f = calloc(1, sizeof *f);
	struct error e = {0};
	struct pool_config pool = {
	    .host = &f->host,
	    .pcpus = config->pcpus ? config->pcpus : 2,
	    .vm_slots = config->vms ? config->vms : 8,
	    .vcpu_slots = config->vcpus ? config->vcpus : 32,
	    .slice_min_ns = config->slice_min_ns,
	    .slice_max_ns = config->slice_max_ns,
	    .migration_cost_ns = config->migration_cost_ns,
	    .activation = fake_way,
	    .default_scheduler = config->scheduler ? config->scheduler : &baton_scheduler_rr,
	};

	f->host.ops = &host_ops;
	f->now_ns = NSEC_PER_SEC;
	f->began_ns = f->now_ns;
	must(pool_new(&pool, &f->pool, &e) == 0);
	must(arena_new(config->arena_slots ? config->arena_slots : 4, &f->arena, &e) == 0);
	f->changer = (struct changer){.pool = f->pool, .arena = f->arena, .image_dir = fake_images};
	f->running = calloc(f->pool->vcpu_slots, sizeof *f->running);
	f->progress = calloc(f->pool->vcpu_slots, sizeof *f->progress);
	must(f->running && f->progress);
	return f;
}

struct fake *fake_free(struct fake *f)
{
	if (!f)
		return NULL;
	must(f->threads == 0);
	pool_free(f->pool);
	must(arena_slots_free(f->arena) == arena_slots(f->arena));
	arena_free(f->arena);
	free(f->running);
	free(f->progress);
	free(f);
	return NULL;
}

/* ---- events ---- */

uint32_t fake_vm(struct fake *f, uint32_t weight)
{
	struct baton_vm wishes = {.weight = weight};
	uint32_t vm;

	pool_enter(f->pool);
	must(pool_vm_add(f->pool, &wishes, &vm) == 0);
	pool_leave(f->pool);
	return vm;
}

uint32_t fake_vcpu_unless_refused(struct fake *f, uint32_t vm, uint64_t affinity)
{
	uint64_t set[BATON_PCPUS_MAX / 64] = {affinity};
	uint64_t now = pool_enter(f->pool);
	struct error e = {0};
	uint32_t v = BATON_NONE;
	int r = pool_vcpu_add(f->pool, vm, 0, affinity ? set : NULL, NULL, now, &v, &e);

	pool_leave(f->pool);
	if (r == 0)
		atomic_store(&f->progress[v], 0);
	return v;
}

uint32_t fake_vcpu_on(struct fake *f, uint32_t vm, uint64_t affinity)
{
	uint32_t v = fake_vcpu_unless_refused(f, vm, affinity);

	must(v != BATON_NONE);
	return v;
}

uint32_t fake_vcpu(struct fake *f, uint32_t vm)
{
	return fake_vcpu_on(f, vm, 0);
}

uint32_t fake_ready(struct fake *f, uint32_t vm)
{
	uint32_t v = fake_vcpu(f, vm);

	fake_resume(f, v, true);
	return v;
}

/* The vCPU must be at rest. */
void fake_remove(struct fake *f, uint32_t v)
{
	uint64_t now = pool_enter(f->pool);

	f->retired_run_ns += pool_vcpu_times(f->pool, v, now).run_ns;
	pool_vcpu_remove(f->pool, v, now);
	pool_leave(f->pool);
}

void fake_remove_vm(struct fake *f, uint32_t vm)
{
	pool_enter(f->pool);
	pool_vm_remove(f->pool, vm);
	pool_leave(f->pool);
}

void fake_wake(struct fake *f, uint32_t v)
{
	uint64_t now = pool_enter(f->pool);

	pool_wake(f->pool, v, ASKED_BY_DEVICE, now);
	pool_leave(f->pool);
}

bool fake_pause(struct fake *f, uint32_t v)
{
	uint64_t now = pool_enter(f->pool);
	bool at_rest = pool_pause(f->pool, v, now);

	pool_leave(f->pool);
	return at_rest;
}

void fake_resume(struct fake *f, uint32_t v, bool runnable)
{
	uint64_t now = pool_enter(f->pool);

	pool_resume(f->pool, v, runnable, now);
	pool_leave(f->pool);
}

void fake_stop(struct fake *f, uint32_t pcpu, enum baton_stop why)
{
	uint64_t now = pool_enter(f->pool);

	pool_stop(f->pool, pcpu, why, now);
	pool_leave(f->pool);
}

uint32_t fake_ask(struct fake *f, uint32_t pcpu)
{
	uint64_t now = pool_enter(f->pool);
	struct feedback fb;

	pool_ask(f->pool, pcpu, ASKED_BY_MONITOR, now, &fb);
	pool_leave(f->pool);
	return fb.owner;
}

void fake_tick(struct fake *f)
{
	uint64_t now = pool_enter(f->pool);

	pool_tick(f->pool, 0, now);
	pool_leave(f->pool);
}

void fake_pass(struct fake *f, uint64_t ns)
{
	must(!f->real_clock);
	f->now_ns += ns;
}

void fake_forget_kicks(struct fake *f)
{
	for (uint32_t i = 0; i < BATON_PCPUS_MAX; i++)
		f->kicks[i] = 0;
	f->kicks_total = 0;
}

void fake_set(struct fake *f, struct attached *a, enum probe_param parameter, int64_t value)
{
	uint64_t now = pool_enter(f->pool);
	struct error e = {0};
	int r = attached_set(a, BATON_NONE, a->ops->parameters[parameter].name, value, now, &e);

	pool_leave(f->pool);
	must(r == 0);
}

/* ---- schedulers ---- */

struct attached *fake_attach(struct fake *f, const struct baton_scheduler *ops)
{
	struct attached *a;
	struct error e = {0};
	struct baton_history h;
	uint64_t now;

	must(attached_new(f->pool, ops, NULL, &a, &e) == 0);
	now = pool_enter(f->pool);
	must(pool_attach(f->pool, a) == 0);
	must(attached_attach(a, now) == 0);
	for (uint32_t v = 0; v < f->pool->vcpu_slots; v++) {
		if (f->pool->vcpus[v].state == BATON_VCPU_FREE)
			continue;
		handover_record(f->pool, manager_active(f->pool), v, now, &h);
		must(attached_admit(a, v, &h, now) == 0);
	}
	pool_leave(f->pool);
	return a;
}

void fake_activate(struct fake *f, struct attached *a)
{
	pool_enter(f->pool);
	manager_activate(f->pool, a);
	pool_leave(f->pool);
}

struct change_spec fake_load(const char *name, const char *image, enum change_how how, enum change_old old)
{
	struct change_spec spec = {.kind = CHANGE_LOAD, .how = how, .old = old};

	snprintf(spec.name, sizeof spec.name, "%s", name);
	snprintf(spec.image, sizeof spec.image, "%s", image);
	snprintf(spec.requester, sizeof spec.requester, "test");
	return spec;
}

void fake_param(struct change_spec *spec, const char *name, int64_t value)
{
	struct change_param *p = &spec->params[spec->param_count++];

	snprintf(p->name, sizeof p->name, "%s", name);
	p->value = value;
}

int fake_change(struct fake *f, const struct change_spec *spec, struct change_report *ret)
{
	struct change_report report = {.id = 1};
	int r = change_run(&f->changer, spec, &report);

	must(report.state == (r < 0 ? CHANGE_REFUSED : CHANGE_DONE));
	must((r < 0) == (report.error[0] != '\0'));
	if (ret)
		*ret = report;
	return r;
}

struct attached *fake_active(struct fake *f)
{
	struct attached *a;

	pool_enter(f->pool);
	a = manager_active(f->pool);
	pool_leave(f->pool);
	return a;
}

struct attached *fake_find(struct fake *f, const char *name)
{
	struct attached *a;

	pool_enter(f->pool);
	a = pool_find(f->pool, name);
	pool_leave(f->pool);
	return a;
}

unsigned fake_attached_count(struct fake *f)
{
	unsigned n = 0;

	pool_enter(f->pool);
	for (uint32_t i = 0; i < POOL_ATTACHED_MAX; i++)
		n += f->pool->attached[i] != NULL;
	pool_leave(f->pool);
	return n;
}

const struct probe_pool *fake_heard(struct attached *a)
{
	return baton_pool_state(a->region);
}

const struct probe_vcpu *fake_heard_of(struct attached *a, uint32_t v)
{
	return baton_vcpu_state(a->region, v);
}

/* ---- does everything agree? ---- */

static bool covers(const struct pool_vcpu *v, uint32_t pcpus)
{
	for (uint32_t i = 0; i < pcpus; i++)
		if (!((v->affinity[i / 64] >> (i % 64)) & 1))
			return false;
	return true;
}

static void check_region(struct pool *p, struct attached *a, uint64_t now)
{
	for (uint32_t v = 0; a->withdrawn && v < p->vcpu_slots; v++)
		must(!attached_knows(a, v));
	if (a->withdrawn)
		return;
	for (uint32_t v = 0; v < p->vcpu_slots; v++) {
		const struct pool_vcpu *truth = &p->vcpus[v];
		const struct baton_vcpu *shown = baton_vcpu(a->region, v);

		must(truth->anywhere == covers(truth, p->pcpu_count));

		if (truth->state == BATON_VCPU_FREE) {
			must(!attached_knows(a, v));
			must(shown->state == BATON_VCPU_FREE);
			continue;
		}
		must(attached_knows(a, v));
		must(shown->state == truth->state && shown->vm == truth->vm && shown->index == truth->index);
		must(shown->pcpu == truth->pcpu);
		must(memcmp(shown->affinity, truth->affinity, sizeof truth->affinity) == 0);
	}
	for (uint32_t i = 0; i < p->pcpu_count; i++)
		must(baton_pcpu(a->region, i)->running == p->pcpus[i].running);
	must(memcmp(baton_vm(a->region, 0), p->vms, p->vm_slots * sizeof p->vms[0]) == 0);
	if (strncmp(a->ops->name, "probe", 5) == 0)
		must(fake_heard(a)->disorder == 0);
	must(a->alarm_count == 0 || p->next_alarm_ns <= attached_next_alarm(a));
}

static void check_accounts(struct fake *f, struct pool *p, uint64_t now) REQUIRES(p->lock)
{
	uint64_t busy_sum = 0, run_sum = f->retired_run_ns;

	for (uint32_t v = 0; v < p->vcpu_slots; v++) {
		const struct pool_vcpu *vcpu = &p->vcpus[v];
		struct pool_times t;

		if (vcpu->state == BATON_VCPU_FREE)
			continue;
		t = pool_vcpu_times(p, v, now);
		must(t.run_ns + t.wait_ns + t.blocked_ns == now - vcpu->admitted_ns);
		must(!vcpu->paused || vcpu->state != BATON_VCPU_RUNNABLE);
		must(!vcpu->wake_pending || vcpu->paused);
		must(vcpu->state != BATON_VCPU_RUNNING || p->pcpus[vcpu->pcpu].running == v);
		run_sum += t.run_ns;
	}
	for (uint32_t i = 0; i < p->pcpu_count; i++) {
		const struct pool_pcpu *c = &p->pcpus[i];
		uint64_t busy, idle, other;

		pool_pcpu_times(p, i, now, &busy, &idle, &other);
		must(busy + idle + other == now - f->began_ns);
		must(c->running == BATON_NONE ||
		     (p->vcpus[c->running].state == BATON_VCPU_RUNNING && p->vcpus[c->running].pcpu == i && !c->idle));
		must(c->idle || !((p->free_mask[i / 64] >> (i % 64)) & 1)); /* free: idle and not kicked since */
		busy_sum += busy;
	}
	must(busy_sum == run_sum);
}

void fake_check(struct fake *f)
{
	struct pool *p = f->pool;
	uint64_t now = pool_enter(p);

	check_accounts(f, p, now);
	for (uint32_t i = 0; i < POOL_ATTACHED_MAX; i++) {
		struct attached *a = p->attached[i];

		if (!a)
			continue;
		must(a->id == i);
		check_region(p, a, now);
	}
	must(manager_active(p) != NULL && !manager_active(p)->withdrawn);
	pool_leave(p);
}

/* ---- threads ---- */

struct carrier_start {
	struct fake *f;
	uint32_t pcpu;
};

/* "Runs" until its slice ends or it is asked for; then what an exit might have been. */
static enum baton_stop run_for_a_while(struct fake *f, uint32_t pcpu, uint64_t until, uint64_t *random)
{
	while (clock_now_ns() < until) {
		if (atomic_load(&f->asked[pcpu]))
			return BATON_STOP_PREEMPTED;
		usleep(SPAN_US);
		switch (fake_random(random) % 8) {
		case 0:
			return BATON_STOP_BLOCKED;
		case 1:
			return BATON_STOP_YIELDED;
		default:
			break;
		}
	}
	return BATON_STOP_SLICE;
}

static void *carrier_thread(void *ctx)
{
	struct carrier_start start = *(struct carrier_start *)ctx;
	struct fake *f = start.f;
	struct pool *p = f->pool;
	uint32_t current = BATON_NONE;
	uint64_t random = start.pcpu + 1;
	enum baton_stop why = BATON_STOP_SLICE;

	free(ctx);
	while (!atomic_load(&f->stop) || current != BATON_NONE) {
		struct feedback fb;
		uint64_t now = pool_enter(p);

		atomic_store(&f->asked[start.pcpu], 0);
		if (current != BATON_NONE) {
			must(atomic_fetch_sub(&f->running[current], 1) == 1);
			pool_stop(p, start.pcpu, p->cease && why != BATON_STOP_BLOCKED ? BATON_STOP_CEASED : why, now);
			current = BATON_NONE;
		}
		pool_tick(p, start.pcpu, now);
		if (p->cease)
			now = pool_cease_rest(p, start.pcpu, now);
		if (!atomic_load(&f->stop)) {
			pool_ask(p, start.pcpu, ASKED_BY_TIMER, now, &fb);
			current = fb.owner;
		}
		if (current != BATON_NONE)
			must(atomic_fetch_add(&f->running[current], 1) == 0); /* nobody runs twice at once */
		pool_leave(p);
		if (current == BATON_NONE) {
			usleep(SPAN_US);
			continue;
		}
		atomic_fetch_add(&f->progress[current], 1);
		why = run_for_a_while(f, start.pcpu, now + fb.slice_ns, &random);
	}
	return NULL;
}

static void *waker_thread(void *ctx)
{
	struct fake *f = ctx;
	uint64_t random = 4711;

	while (!atomic_load(&f->stop)) {
		fake_wake(f, (uint32_t)(fake_random(&random) % f->pool->vcpu_slots));
		if (fake_random(&random) % 8 == 0)
			usleep(SPAN_US);
	}
	return NULL;
}

void fake_start(struct fake *f)
{
	must(f->pool->pcpu_count <= FAKE_THREADS_MAX);
	f->real_clock = true; /* from 1 s to now at once; the pool books it as whatever state each one was in */
	atomic_store(&f->stop, false);
	f->threads = f->pool->pcpu_count;
	for (uint32_t i = 0; i < f->threads; i++) {
		struct carrier_start *start = malloc(sizeof *start);

		must(start != NULL);
		*start = (struct carrier_start){.f = f, .pcpu = i};
		must(pthread_create(&f->thread[i], NULL, carrier_thread, start) == 0);
	}
	must(pthread_create(&f->waker, NULL, waker_thread, f) == 0);
}

void fake_stop_threads(struct fake *f)
{
	atomic_store(&f->stop, true);
	for (uint32_t i = 0; i < f->threads; i++)
		pthread_join(f->thread[i], NULL);
	pthread_join(f->waker, NULL);
	f->threads = 0;
}

/* ---- random numbers ---- */

uint64_t fake_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

uint64_t fake_seed(void)
{
	const char *text = getenv("BATON_TEST_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : clock_now_ns();

	print_message("seed: BATON_TEST_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}
