/* SPDX-License-Identifier: Apache-2.0 */
/* vm.c - one VM from creation to the end, as its owner sees it. See internal.h for the locks. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "monitor/internal.h"
#include "sched/source/upload.h"

#define LINUX_MEM_DEFAULT_MIB 128
#define VM_MEM_MAX_MIB	      (1024 * 1024)

static const char *const state_names[] = {"running", "paused", "off", "crashed"};

/* ---- references and the list ---- */

struct vm *vm_unref(struct vm *vm)
{
	if (!vm || atomic_fetch_sub(&vm->refs, 1) > 1)
		return NULL;
	vm_devices_free(&vm->devices);
	console_unref(vm->console);
	lock_destroy(&vm->lock);
	pthread_mutex_destroy(&vm->life);
	free(vm);
	return NULL;
}

static bool matches(const struct vm *vm, const json_t *id_or_name)
{
	if (json_is_integer(id_or_name))
		return json_integer_value(id_or_name) == (json_int_t)vm->id;
	return json_is_string(id_or_name) && strcmp(json_string_value(id_or_name), vm->name) == 0;
}

struct vm *vm_find(struct monitor *m, json_t *id_or_name, struct error *e)
{
	struct vm *found = NULL;

	lock_take(&m->lock);
	for (uint32_t i = 0; i < m->max_vms && !found; i++)
		if (m->vms[i] && matches(m->vms[i], id_or_name))
			found = m->vms[i];
	if (found)
		atomic_fetch_add(&found->refs, 1);
	lock_drop(&m->lock);
	if (found)
		return found;
	if (!id_or_name)
		error_set(e, -EINVAL, "no VM is named: give \"vm\", an id or a name");
	else if (json_is_string(id_or_name))
		error_set(e, -ENOENT, "no VM is called %.64s; `baton ls` shows those that are there",
			  json_string_value(id_or_name));
	else
		error_set(e, -ENOENT, "no VM has the id %lld; `baton ls` shows those that are there",
			  (long long)json_integer_value(id_or_name));
	return NULL;
}

/* ---- what the host tells ---- */

static void on_console(void *ctx, const void *data, size_t size)
{
	struct vm *vm = ctx;

	console_append(vm->console, data, size);
}

static void on_ended(void *ctx, enum vcpu_next how)
{
	struct vm *vm = ctx;

	atomic_store(&vm->ended, (int)how);
	keeper_wake(vm->monitor);
}

static const struct host_vm_ops vm_host_ops = {
    .console_out = on_console,
    .hypercall = hypercall_dispatch,
    .ended = on_ended,
};

/* ---- creation ---- */

struct vm_params {
	const char *name, *kernel, *initrd, *cmdline, *role;
	json_int_t vcpus, memory_mib;
	struct baton_vm wishes;
};

static int read_wishes(json_t *params, struct vm_params *p, struct error *e)
{
	const char *key;
	json_t *value;

	json_object_foreach(params, key, value)
	{
		const struct wish *w = wish_find(key);

		if (!w)
			continue;
		if (!json_is_integer(value) || json_integer_value(value) < (json_int_t)w->min ||
		    json_integer_value(value) > (json_int_t)w->max)
			return error_set(e, -ERANGE, "%s takes a whole number from %" PRIu64 " to %" PRIu64, key,
					 w->min, w->max);
		wish_put(&p->wishes, w, (uint64_t)json_integer_value(value));
	}
	return 0;
}

static int read_params(json_t *params, struct vm_params *p, struct error *e)
{
	static const char *const known[] = {"name", "kernel", "initrd", "cmdline", "vcpus", "memory_mib", "role"};
	json_error_t why;
	const char *key;
	json_t *value;

	*p = (struct vm_params){.vcpus = 1, .memory_mib = LINUX_MEM_DEFAULT_MIB, .role = "guest"};
	if (!params || json_unpack_ex(params, &why, 0, "{s?s, s?s, s?s, s?s, s?s, s?I, s?I}", "name", &p->name,
				      "kernel", &p->kernel, "initrd", &p->initrd, "cmdline", &p->cmdline, "role",
				      &p->role, "vcpus", &p->vcpus, "memory_mib", &p->memory_mib) < 0)
		return error_set(e, -EINVAL, "vm.create: %.200s", params ? why.text : "parameters are missing");
	json_object_foreach(params, key, value)
	{
		bool ok = wish_find(key) != NULL || vm_devices_know(key);

		for (size_t i = 0; i < ARRAY_SIZE(known); i++)
			ok |= strcmp(key, known[i]) == 0;
		if (!ok)
			return error_set(e, -EINVAL, "vm.create has no parameter %.64s", key);
	}
	if (!p->kernel)
		return error_set(e, -EINVAL,
				 "a VM needs a kernel: give --kernel FILE (bzImage, ELF with PVH note, or nano guest)");
	if (p->vcpus < 1 || p->vcpus > MACHINE_VCPUS_MAX)
		return error_set(e, -ERANGE, "a VM has 1 to %d vCPUs, not %lld", MACHINE_VCPUS_MAX,
				 (long long)p->vcpus);
	if (p->memory_mib < 1 || p->memory_mib > VM_MEM_MAX_MIB)
		return error_set(e, -ERANGE, "a VM has 1 to %d MiB of memory, not %lld", VM_MEM_MAX_MIB,
				 (long long)p->memory_mib);
	if (strcmp(p->role, "guest") != 0 && strcmp(p->role, "service") != 0)
		return error_set(e, -EINVAL, "role is \"guest\" or \"service\", not \"%.32s\"", p->role);
	if (p->name && (strlen(p->name) >= VM_NAME_MAX || p->name[0] == '\0' || strpbrk(p->name, "/ \t\n")))
		return error_set(e, -EINVAL, "a VM's name has 1 to %d characters, no blank and no slash",
				 VM_NAME_MAX - 1);
	return read_wishes(params, p, e);
}

/* Takes a place in the list; two creations at once cannot get the same name or place. */
static int enlist(struct monitor *m, struct vm *vm, struct error *e)
{
	int r = 0;
	uint32_t free_place = m->max_vms;

	lock_take(&m->lock);
	for (uint32_t i = 0; i < m->max_vms; i++) {
		if (!m->vms[i])
			free_place = MIN(free_place, i);
		else if (vm->name[0] && strcmp(m->vms[i]->name, vm->name) == 0)
			r = error_set(e, -EEXIST,
				      "a VM called %s exists already; choose another name, or `baton destroy %s` first",
				      vm->name, vm->name);
	}
	if (r == 0 && free_place == m->max_vms)
		r = error_set(e, -ENOSPC,
			      "there are %u VMs already; destroy one, or start batond with a larger --max-vms",
			      m->max_vms);
	if (r == 0) {
		vm->id = free_place + 1;
		if (vm->name[0] == '\0')
			snprintf(vm->name, sizeof vm->name, "vm%u", vm->id);
		m->vms[free_place] = vm;
		atomic_fetch_add(&vm->refs, 1);
	}
	lock_drop(&m->lock);
	return r;
}

static void delist(struct vm *vm)
{
	struct monitor *m = vm->monitor;
	bool listed;

	lock_take(&m->lock);
	listed = vm->id > 0 && m->vms[vm->id - 1] == vm;
	if (listed)
		m->vms[vm->id - 1] = NULL;
	vm->dead = true;
	lock_drop(&m->lock);
	if (listed)
		vm_unref(vm);
}

int vm_create(struct monitor *m, json_t *params, struct vm **ret, struct error *e)
{
	struct machine_config machine;
	struct host_vm *host;
	struct vm_params p;
	struct vm *vm;
	int r;

	r = read_params(params, &p, e);
	if (r < 0)
		return r;
	vm = calloc(1, sizeof *vm);
	if (!vm)
		return error_set(e, -ENOMEM, "no memory for a VM");
	vm->monitor = m;
	atomic_store(&vm->refs, 1);
	atomic_store(&vm->ended, -1);
	pthread_mutex_init(&vm->life, NULL);
	lock_init(&vm->lock);
	snprintf(vm->name, sizeof vm->name, "%s", p.name ? p.name : "");
	vm->service = strcmp(p.role, "service") == 0;
	p.wishes.service = vm->service;
	vm->vcpus = (unsigned)p.vcpus;
	vm->mem_bytes = (uint64_t)p.memory_mib * MIB;
	vm->created_ns = clock_now_ns();
	vm->state = VM_PAUSED;
	vm->boots = 1;
	machine = (struct machine_config){
	    .kernel = p.kernel,
	    .initrd = p.initrd,
	    .cmdline = p.cmdline,
	    .boot = MACHINE_BOOT_AUTO,
	    .vcpus = vm->vcpus,
	    .mem_bytes = vm->mem_bytes,
	};
	pthread_mutex_lock(&vm->life);
	r = console_new(0, &vm->console);
	if (r < 0)
		error_set(e, r, "no memory for a console");
	if (r >= 0)
		r = enlist(m, vm, e);
	if (r >= 0)
		r = vm_devices_make(params, &vm->devices, e);
	machine.devices = vm->devices.list;
	machine.device_count = vm->devices.count;
	machine.io_loop = m->io_loop;
	if (r >= 0)
		r = host_vm_new(m->host, &machine, &p.wishes, &vm_host_ops, vm, &host, e);
	if (r >= 0) {
		lock_take(&m->lock);
		vm->nano = machine_boot_kind(host_vm_machine(host)) == MACHINE_BOOT_NANO;
		vm->host = host;
		vm->state = VM_RUNNING;
		lock_drop(&m->lock);
		host_vm_resume(host);
	}
	pthread_mutex_unlock(&vm->life);
	if (r < 0) {
		delist(vm);
		vm_unref(vm);
		return r;
	}
	*ret = vm;
	return 0;
}

/* ---- life ---- */

static struct pool_times times_of(struct vm *vm, struct host_vm *host) NO_TSA
{
	struct pool *pool = vm->monitor->pool;
	struct pool_times sum = {0};
	uint64_t now = pool_enter(pool);

	for (unsigned i = 0; i < vm->vcpus; i++) {
		struct pool_times t = pool_vcpu_times(pool, host_vm_vcpu(host, i), now);

		sum.run_ns += t.run_ns;
		sum.wait_ns += t.wait_ns;
		sum.blocked_ns += t.blocked_ns;
	}
	pool_leave(pool);
	return sum;
}

static void off(struct vm *vm, enum vm_state state, const char *reason)
{
	struct monitor *m = vm->monitor;
	struct host_vm *host = vm->host; /* only changed under vm->life, which is held */
	struct pool_times total;
	int status;

	if (!host)
		return;
	host_vm_pause(host);
	total = times_of(vm, host);
	status = machine_exit_status(host_vm_machine(host));
	lock_take(&m->lock);
	vm->host = NULL;
	vm->state = state;
	vm->total = total;
	vm->exit_status = status;
	snprintf(vm->reason, sizeof vm->reason, "%s", reason);
	lock_drop(&m->lock);
	host_vm_free(host);
	vm_devices_free(&vm->devices);
}

void vm_off(struct vm *vm, enum vm_state state, const char *reason)
{
	pthread_mutex_lock(&vm->life);
	off(vm, state, reason);
	pthread_mutex_unlock(&vm->life);
}

void vm_destroy(struct vm *vm)
{
	vm_off(vm, VM_OFF, "destroyed");
	upload_forget(supply_uploads(vm->monitor->supply), vm->id);
	delist(vm);
	console_close(vm->console);
}

static void set_state(struct vm *vm, enum vm_state state)
{
	lock_take(&vm->monitor->lock);
	vm->state = state;
	lock_drop(&vm->monitor->lock);
}

int vm_pause(struct vm *vm, struct error *e)
{
	int r = 0;

	pthread_mutex_lock(&vm->life);
	if (!vm->host) {
		r = error_set(e, -ESRCH, "VM %s is %s", vm->name, state_names[vm->state]);
	} else {
		host_vm_pause(vm->host);
		set_state(vm, VM_PAUSED);
	}
	pthread_mutex_unlock(&vm->life);
	return r;
}

int vm_resume(struct vm *vm, struct error *e)
{
	int r = 0;

	pthread_mutex_lock(&vm->life);
	if (!vm->host) {
		r = error_set(e, -ESRCH, "VM %s is %s", vm->name, state_names[vm->state]);
	} else if (vm->state == VM_PAUSED) {
		set_state(vm, VM_RUNNING);
		host_vm_resume(vm->host);
	}
	pthread_mutex_unlock(&vm->life);
	return r;
}

void vm_reset(struct vm *vm)
{
	struct error e = {0};
	int r;

	pthread_mutex_lock(&vm->life);
	if (vm->host) {
		host_vm_pause(vm->host);
		r = host_vm_reset(vm->host, &e);
		if (r < 0) {
			off(vm, VM_CRASHED, e.text);
		} else {
			lock_take(&vm->monitor->lock);
			vm->boots++;
			lock_drop(&vm->monitor->lock);
			lock_take(&vm->lock);
			vm->pulse = (struct vm_pulse){.beats = 0};
			lock_drop(&vm->lock);
			host_vm_resume(vm->host);
		}
	}
	pthread_mutex_unlock(&vm->life);
}

json_t *vm_registers(struct vm *vm)
{
	json_t *texts = json_array();
	char text[4096];

	pthread_mutex_lock(&vm->life);
	if (vm->host) {
		host_vm_pause(vm->host);
		for (unsigned i = 0; i < vm->vcpus; i++) {
			(void)vcpu_dump(machine_vcpu(host_vm_machine(vm->host), i), text, sizeof text);
			json_array_append_new(texts, json_string(text));
		}
		if (vm->state == VM_RUNNING)
			host_vm_resume(vm->host);
	}
	pthread_mutex_unlock(&vm->life);
	return texts;
}

/* ---- console input ---- */

void vm_pump_input(struct vm *vm)
{
	char buf[256];
	size_t n, taken;

	if (vm->nano)
		return; /* reads by hypercall */
	do {
		taken = 0;
		lock_take(&vm->monitor->lock);
		n = console_input_peek(vm->console, buf, sizeof buf);
		if (n > 0 && vm->host)
			taken = machine_console_in(host_vm_machine(vm->host), buf, n);
		if (taken > 0)
			console_input_take(vm->console, NULL, taken);
		lock_drop(&vm->monitor->lock);
	} while (taken > 0);
}

/* ---- description ---- */

static void describe_vcpus(struct vm *vm, json_t *to, struct pool_times *sum) NO_TSA
{
	static const char *const names[] = {"free", "blocked", "runnable", "running"};
	struct pool *pool = vm->monitor->pool;
	struct {
		struct pool_vcpu v;
		struct pool_times t;
	} copy[MACHINE_VCPUS_MAX];
	uint64_t now;

	*sum = vm->total;
	if (!vm->host)
		return;
	now = pool_enter(pool);
	for (unsigned i = 0; i < vm->vcpus; i++) {
		uint32_t v = host_vm_vcpu(vm->host, i);

		copy[i].v = pool->vcpus[v];
		copy[i].t = pool_vcpu_times(pool, v, now);
	}
	pool_leave(pool);
	for (unsigned i = 0; i < vm->vcpus; i++) {
		const struct pool_vcpu *v = &copy[i].v;

		sum->run_ns += copy[i].t.run_ns;
		sum->wait_ns += copy[i].t.wait_ns;
		sum->blocked_ns += copy[i].t.blocked_ns;
		json_array_append_new(
		    to, json_pack("{s:i, s:s, s:o, s:I, s:I, s:I, s:I, s:I}", "index", (int)i, "state",
				  v->paused && v->state == BATON_VCPU_BLOCKED ? "paused" : names[v->state], "pcpu",
				  v->pcpu == BATON_NONE ? json_null() : json_integer(v->pcpu), "run_ns",
				  (json_int_t)copy[i].t.run_ns, "wait_ns", (json_int_t)copy[i].t.wait_ns, "blocked_ns",
				  (json_int_t)copy[i].t.blocked_ns, "starts", (json_int_t)v->starts, "migrations",
				  (json_int_t)v->migrations));
	}
}

json_t *vm_describe(struct monitor *m, struct vm *vm)
{
	json_t *vcpus = json_array();
	struct pool *pool = m->pool;
	struct pool_times sum;
	struct vm_pulse pulse;
	bool owner = false;
	uint32_t weight = 0;

	describe_vcpus(vm, vcpus, &sum);
	lock_take(&vm->lock);
	pulse = vm->pulse;
	lock_drop(&vm->lock);
	if (vm->host) {
		uint32_t id = host_vm_id(vm->host);

		pool_enter(pool);
		owner = pool->console_owner == id;
		weight = pool->vms[id].weight;
		pool_leave(pool);
	}
	return json_pack(
	    "{s:i, s:s, s:s, s:s, s:s, s:i, s:I, s:i, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:b, s:I, s:i, s:s, "
	    "s:I, s:b, s:o}",
	    "id", (int)vm->id, "name", vm->name, "role", vm->service ? "service" : "guest", "kind",
	    vm->nano ? "nano" : "linux", "state", state_names[vm->state], "vcpus", (int)vm->vcpus, "memory_mib",
	    (json_int_t)(vm->mem_bytes / MIB), "weight", (int)weight, "run_ns", (json_int_t)sum.run_ns, "wait_ns",
	    (json_int_t)sum.wait_ns, "blocked_ns", (json_int_t)sum.blocked_ns, "heartbeats", (json_int_t)pulse.beats,
	    "heartbeat_holes", (json_int_t)pulse.holes, "heartbeat_gap_ms", (double)pulse.gap_guest_ns / 1e6,
	    "heartbeat_gap_host_ms", (double)pulse.gap_host_ns / 1e6, "since_heartbeat_ms",
	    pulse.beats ? (double)(clock_now_ns() - pulse.host_ns) / 1e6 : -1.0, "datum", (json_int_t)pulse.datum,
	    "failed", pulse.failed, "failed_reason", (json_int_t)pulse.failed_reason, "exit_status", vm->exit_status,
	    "reason", vm->reason, "boots", (json_int_t)vm->boots, "console_owner", owner, "vcpu", vcpus);
}
