/* SPDX-License-Identifier: Apache-2.0 */
/* host.c - life of the host and of its VMs; what the pool and the machines call. See host.h. */
#include "host/host.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "devices/io_loop.h"
#include "host/internal.h"
#include "host/probe.h"

#define AT_REST_POLL_US 200
#define FLUSH_LIMIT_NS	(200 * NSEC_PER_MSEC)

/* ---- what the pool asks of a host ---- */

static uint64_t host_now(struct sched_host *s)
{
	(void)s;
	return clock_now_ns();
}

static void host_kick(struct sched_host *s, uint32_t pcpu)
{
	struct host *h = container_of(s, struct host, sched);

	loop_kick(&h->pcpus[pcpu], KICK_ASK);
}

/* The point of rest of a cease: every device stands still between two requests, and is found in order. */
static int host_flush(struct sched_host *s, char *why, size_t size) NO_TSA
{
	struct host *h = container_of(s, struct host, sched);
	int r = 0;

	if (!h->io_loop)
		return 0;
	lock_take(&h->vms_lock); /* until host_go_on: no VM comes or goes */
	r = io_loop_park(h->io_loop, clock_now_ns() + FLUSH_LIMIT_NS);
	if (r < 0) {
		lock_drop(&h->vms_lock);
		(void)snprintf(why, size, "the I/O thread was busy for %llu ms",
			       (unsigned long long)(FLUSH_LIMIT_NS / NSEC_PER_MSEC));
		return r;
	}
	for (struct host_vm *vm = h->vms; vm && r == 0; vm = vm->next)
		r = machine_check_devices(vm->machine, why, size);
	if (r < 0) {
		io_loop_unpark(h->io_loop);
		lock_drop(&h->vms_lock);
	}
	return r;
}

static void host_go_on(struct sched_host *s) NO_TSA
{
	struct host *h = container_of(s, struct host, sched);

	if (!h->io_loop)
		return;
	io_loop_unpark(h->io_loop);
	lock_drop(&h->vms_lock);
}

static const struct sched_host_ops host_sched_ops = {
    .now = host_now,
    .kick = host_kick,
    .flush = host_flush,
    .go_on = host_go_on,
};

/* ---- what a machine tells ---- */

/* Something became pending for a vCPU: wake it, or have its loop look. */
static void on_notify(void *ctx, unsigned index, unsigned from) NO_TSA
{
	struct host_vm *vm = ctx;
	struct host_vcpu *hv = &vm->vcpus[index];
	struct pool *pool = vm->host->pool;
	uint64_t now = pool_enter(pool);
	const struct pool_vcpu *pv = &pool->vcpus[hv->id];

	if (from == MACHINE_FROM_DEVICE)
		pool_interrupt(pool, hv->id, now);
	else if (from != index)
		pool_ipi(pool, vm->vcpus[from].id, hv->id, now);
	if (pv->state == BATON_VCPU_BLOCKED && vcpu_pending(hv->v))
		pool_wake(pool, hv->id, from == MACHINE_FROM_DEVICE ? ASKED_BY_DEVICE : ASKED_BY_GUEST_VM, now);
	else if (pv->state == BATON_VCPU_RUNNING)
		loop_kick(&vm->host->pcpus[pv->pcpu], KICK_LOOK);
	pool_leave(pool);
}

static void on_console(void *ctx, const void *data, size_t size)
{
	struct host_vm *vm = ctx;

	vm->ops->console_out(vm->ctx, data, size);
}

static enum vcpu_next on_hypercall(void *ctx, struct vcpu *v, struct hypercall *call)
{
	struct host_vm *vm = ctx;

	return vm->ops->hypercall(vm->ctx, v, vm->vcpus[vcpu_index(v)].id, call);
}

static const struct machine_ops machine_ops = {
    .notify = on_notify,
    .console_out = on_console,
    .hypercall = on_hypercall,
};

/* ---- the host ---- */

int host_new(const struct host_config *config, struct host **ret, struct error *e)
{
	struct pool_config pool = {
	    .pcpus = config->cpu_count,
	    .vm_slots = config->vm_slots,
	    .vcpu_slots = config->vcpu_slots,
	    .migration_cost_ns = config->migration_ns,
	    .activation = config->activation,
	    .default_scheduler = config->default_scheduler,
	};
	struct host *h;
	int r;

	if (config->cpu_count < 1 || config->cpu_count > HOST_PCPUS_MAX)
		return error_set(e, -EINVAL, "a host has 1 to %d pCPUs; see --pcpus", HOST_PCPUS_MAX);
	h = calloc(1, sizeof *h);
	if (!h)
		return error_set(e, -ENOMEM, "no memory for the host");
	h->pcpus = calloc(config->cpu_count, sizeof *h->pcpus);
	if (!h->pcpus) {
		free(h);
		return error_set(e, -ENOMEM, "no memory for the host");
	}
	lock_init(&h->vms_lock);
	h->io_loop = config->io_loop;
	h->sched.ops = &host_sched_ops;
	h->born_ns = clock_now_ns();
	h->born_tsc = __builtin_ia32_rdtsc();
	h->kvm_fd = config->kvm_fd;
	h->fifo = config->fifo;
	h->carrier = &carrier_worker;
	if (config->carrier == CARRIER_THREAD ||
	    (config->carrier == CARRIER_AUTO && config->cpu_count > 1 && config->migration_ns > MIGRATION_DEAR_NS))
		h->carrier = &carrier_thread;
	if (h->carrier->own_threads)
		pool.migration_cost_ns = config->thread_move_ns; /* the thread moves, and its vCPU stays with it */
	pool.host = &h->sched;
	r = pool_new(&pool, &h->pool, e);
	for (; r >= 0 && h->pcpu_count < config->cpu_count; h->pcpu_count++) {
		struct host_pcpu *pc = &h->pcpus[h->pcpu_count];

		pc->host = h;
		pc->index = h->pcpu_count;
		pc->cpu = config->cpus[pc->index];
		pc->worker.home = pc;
		pc->timers = calloc(config->vcpu_slots, sizeof(struct host_vcpu *));
		r = pc->timers ? runner_start(&pc->worker, h, e) : error_set(e, -ENOMEM, "no memory for the host");
		if (r < 0) {
			free(pc->timers);
			break;
		}
		runner_give(&pc->worker, pc);
	}
	if (r < 0) {
		host_free(h);
		return r;
	}
	*ret = h;
	return 0;
}

struct host *host_free(struct host *h)
{
	if (!h)
		return NULL;
	atomic_store(&h->stopping, true);
	for (uint32_t i = 0; i < h->pcpu_count; i++) {
		loop_kick(&h->pcpus[i], KICK_ASK);
		runner_join(&h->pcpus[i].worker);
		free(h->pcpus[i].timers);
	}
	pool_free(h->pool);
	lock_destroy(&h->vms_lock);
	free(h->pcpus);
	free(h);
	return NULL;
}

struct pool *host_pool(struct host *h)
{
	return h->pool;
}

const char *host_carrier_name(const struct host *h)
{
	return h->carrier->name;
}

int host_cpu(const struct host *h, uint32_t pcpu)
{
	return h->pcpus[pcpu].cpu;
}

void host_switch_cost(struct host *h, uint64_t *ret_ns, uint64_t *ret_count)
{
	uint64_t ticks = 0, count = 0;
	double ns_per_tick = (double)(clock_now_ns() - h->born_ns) / (double)(__builtin_ia32_rdtsc() - h->born_tsc);

	for (uint32_t i = 0; i < h->pcpu_count; i++) {
		ticks += atomic_load(&h->pcpus[i].switch_ticks);
		count += atomic_load(&h->pcpus[i].switch_count);
	}
	*ret_ns = (uint64_t)((double)ticks * ns_per_tick);
	*ret_count = count;
}

/* ---- VMs ---- */

static int join_pool(struct host_vm *vm, const struct baton_vm *wishes, struct error *e) NO_TSA
{
	struct pool *pool = vm->host->pool;
	uint64_t now = pool_enter(pool);
	unsigned i = 0;
	int r;

	r = pool_vm_add(pool, wishes, &vm->id);
	if (r < 0) {
		pool_leave(pool);
		return error_set(e, r,
				 "the pool holds %u VMs already; stop one or start batond with a larger --max-vms",
				 pool->vm_slots);
	}
	for (; i < vm->vcpu_count && r >= 0; i++)
		r = pool_vcpu_add(pool, vm->id, i, NULL, &vm->vcpus[i], now, &vm->vcpus[i].id, e);
	if (r < 0) {
		for (i--; i-- > 0;)
			pool_vcpu_remove(pool, vm->vcpus[i].id, now);
		pool_vm_remove(pool, vm->id);
	}
	pool_leave(pool);
	return r;
}

static void leave_pool(struct host_vm *vm) NO_TSA
{
	struct pool *pool = vm->host->pool;
	uint64_t now = pool_enter(pool);

	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		timers_remove(&vm->vcpus[i]);
		pool_vcpu_remove(pool, vm->vcpus[i].id, now);
	}
	pool_vm_remove(pool, vm->id);
	pool_leave(pool);
}

static void enlist(struct host_vm *vm)
{
	struct host *h = vm->host;

	lock_take(&h->vms_lock);
	vm->next = h->vms;
	h->vms = vm;
	lock_drop(&h->vms_lock);
}

static void delist(struct host_vm *vm)
{
	struct host *h = vm->host;
	struct host_vm **at = &h->vms;

	lock_take(&h->vms_lock);
	while (*at != vm)
		at = &(*at)->next;
	*at = vm->next;
	lock_drop(&h->vms_lock);
}

/* A vCPU's own thread may still carry an idle loop: it gives it back to the pCPU's worker before it quits. */
static void stop_runners(struct host_vm *vm, unsigned count)
{
	struct host *h = vm->host;

	for (unsigned i = 0; i < count; i++) {
		atomic_store(&vm->vcpus[i].runner.quit, true);
		for (uint32_t p = 0; p < h->pcpu_count; p++)
			loop_kick(&h->pcpus[p], KICK_ASK);
		runner_join(&vm->vcpus[i].runner);
	}
}

int host_vm_new(struct host *h, const struct machine_config *machine, const struct baton_vm *wishes,
		const struct host_vm_ops *ops, void *ctx, struct host_vm **ret, struct error *e)
{
	struct host_vm *vm = calloc(1, sizeof *vm);
	unsigned started = 0;
	int r;

	if (!vm)
		return error_set(e, -ENOMEM, "no memory for a VM");
	vm->host = h;
	vm->ops = ops;
	vm->ctx = ctx;
	r = machine_new(h->kvm_fd, machine, &machine_ops, vm, &vm->machine, e);
	if (r < 0)
		goto fail;
	vm->vcpu_count = machine->vcpus;
	for (unsigned i = 0; i < vm->vcpu_count; i++) {
		vm->vcpus[i].vm = vm;
		vm->vcpus[i].v = machine_vcpu(vm->machine, i);
		vm->vcpus[i].runner.own = &vm->vcpus[i];
	}
	for (; h->carrier->own_threads && started < vm->vcpu_count; started++) {
		r = runner_start(&vm->vcpus[started].runner, h, e);
		if (r < 0)
			goto fail;
	}
	r = join_pool(vm, wishes, e);
	if (r < 0)
		goto fail;
	enlist(vm);
	*ret = vm;
	return 0;
fail:
	stop_runners(vm, started);
	machine_free(vm->machine);
	free(vm);
	return r;
}

struct host_vm *host_vm_free(struct host_vm *vm)
{
	if (!vm)
		return NULL;
	host_vm_pause(vm);
	delist(vm);
	machine_detach_devices(vm->machine); /* while there is still somebody to interrupt */
	leave_pool(vm);
	if (vm->host->carrier->own_threads)
		stop_runners(vm, vm->vcpu_count);
	machine_free(vm->machine);
	free(vm);
	return NULL;
}

struct machine *host_vm_machine(struct host_vm *vm)
{
	return vm->machine;
}

uint32_t host_vm_id(const struct host_vm *vm)
{
	return vm->id;
}

unsigned host_vm_vcpus(const struct host_vm *vm)
{
	return vm->vcpu_count;
}

uint32_t host_vm_vcpu(const struct host_vm *vm, unsigned index)
{
	return vm->vcpus[index].id;
}

void host_vm_pause(struct host_vm *vm)
{
	struct pool *pool = vm->host->pool;
	bool at_rest;

	for (;;) {
		uint64_t now = pool_enter(pool);

		at_rest = true;
		for (unsigned i = 0; i < vm->vcpu_count; i++)
			at_rest &= pool_pause(pool, vm->vcpus[i].id, now);
		pool_leave(pool);
		if (at_rest)
			return;
		usleep(AT_REST_POLL_US);
	}
}

void host_vm_resume(struct host_vm *vm)
{
	struct pool *pool = vm->host->pool;
	uint64_t now = pool_enter(pool);

	for (unsigned i = 0; i < vm->vcpu_count; i++)
		pool_resume(pool, vm->vcpus[i].id, vcpu_pending(vm->vcpus[i].v), now);
	pool_leave(pool);
}

static void forget_timers(struct host_vm *vm) NO_TSA
{
	pool_enter(vm->host->pool);
	for (unsigned i = 0; i < vm->vcpu_count; i++)
		timers_remove(&vm->vcpus[i]);
	pool_leave(vm->host->pool);
}

int host_vm_reset(struct host_vm *vm, struct error *e)
{
	forget_timers(vm);
	return machine_reset(vm->machine, e);
}
