/* SPDX-License-Identifier: Apache-2.0 */
/* requests.c - the one door: a table of methods, each with who may use it. See monitor.h for their words. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "baton/guest.h"
#include "monitor/internal.h"
#include "service/upload.h"

/* ---- replies ---- */

json_t *reply_ok(void)
{
	return json_pack("{s:b}", "ok", 1);
}

json_t *reply_error(int code, const char *fmt, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return json_pack("{s:b, s:s#, s:i}", "ok", 0, "error", text, (int)strnlen(text, sizeof text), "code", code);
}

json_t *reply_from(int code, const struct error *e)
{
	return reply_error(-code, "%s", e->text[0] ? e->text : strerror(-code));
}

/* ---- methods about VMs ---- */

static json_t *request_version(struct monitor *m, const struct requester *who, json_t *params)
{
	return json_pack("{s:b, s:s, s:s, s:i, s:i}", "ok", 1, "name", "baton", "version", BATON_VERSION,
			 "scheduler_abi", (int)BATON_SCHEDULER_ABI, "guest_abi", BATON_GUEST_ABI);
}

static json_t *request_vm_create(struct monitor *m, const struct requester *who, json_t *params)
{
	struct error e = {0};
	struct vm *vm;
	int r = vm_create(m, params, &vm, &e);
	json_t *reply;

	if (r < 0)
		return reply_from(r, &e);
	reply = json_pack("{s:b, s:i, s:s}", "ok", 1, "id", (int)vm->id, "name", vm->name);
	vm_unref(vm);
	return reply;
}

/* Name of the VM to which a pool's VM number belongs. */
static const char *name_of(struct monitor *m, uint32_t pool_vm) REQUIRES(m->lock)
{
	for (uint32_t i = 0; i < m->max_vms; i++)
		if (m->vms[i] && m->vms[i]->host && host_vm_id(m->vms[i]->host) == pool_vm)
			return m->vms[i]->name;
	return NULL;
}

static json_t *describe_pcpus(struct monitor *m) NO_TSA
{
	struct pool *pool = m->pool;
	json_t *list = json_array();

	for (uint32_t i = 0; i < pool->pcpu_count; i++) {
		uint64_t busy, idle, other, now = pool_enter(pool);
		uint32_t running = pool->pcpus[i].running;
		uint32_t owner = running == BATON_NONE ? BATON_NONE : pool->vcpus[running].vm;
		uint64_t decisions = pool->pcpus[i].decisions;
		const char *name;

		pool_pcpu_times(pool, i, now, &busy, &idle, &other);
		pool_leave(pool);
		name = owner == BATON_NONE ? NULL : name_of(m, owner);
		json_array_append_new(list,
				      json_pack("{s:i, s:i, s:o, s:s?, s:I, s:I, s:I, s:I, s:I}", "id", (int)i, "cpu",
						host_cpu(m->host, i), "running",
						running == BATON_NONE ? json_null() : json_integer(running), "owner",
						name, "busy_ns", (json_int_t)busy, "idle_ns", (json_int_t)idle,
						"other_ns", (json_int_t)other, "wall_ns",
						(json_int_t)(busy + idle + other), "decisions", (json_int_t)decisions));
	}
	return list;
}

static json_t *request_vm_list(struct monitor *m, const struct requester *who, json_t *params)
{
	json_t *vms = json_array(), *pcpus;

	lock_take(&m->lock);
	for (uint32_t i = 0; i < m->max_vms; i++)
		if (m->vms[i])
			json_array_append_new(vms, vm_describe(m, m->vms[i]));
	pcpus = describe_pcpus(m);
	lock_drop(&m->lock);
	return json_pack("{s:b, s:o, s:o, s:s, s:I}", "ok", 1, "vms", vms, "pcpus", pcpus, "carrier",
			 host_carrier_name(m->host), "migration_ns", (json_int_t)m->pool->migration_cost_ns);
}

static int do_stop(struct vm *vm, struct error *e)
{
	vm_off(vm, VM_OFF, "stopped by the operator");
	return 0;
}

static int do_destroy(struct vm *vm, struct error *e)
{
	vm_destroy(vm);
	return 0;
}

static json_t *with_vm(struct monitor *m, json_t *params, int (*act)(struct vm *vm, struct error *e))
{
	struct error e = {0};
	struct vm *vm = vm_find(m, json_object_get(params, "vm"), &e);
	int r;

	if (!vm)
		return reply_from(-ENOENT, &e);
	r = act(vm, &e);
	vm_unref(vm);
	return r < 0 ? reply_from(r, &e) : reply_ok();
}

static json_t *request_vm_stop(struct monitor *m, const struct requester *who, json_t *params)
{
	return with_vm(m, params, do_stop);
}

static json_t *request_vm_destroy(struct monitor *m, const struct requester *who, json_t *params)
{
	return with_vm(m, params, do_destroy);
}

static json_t *request_vm_pause(struct monitor *m, const struct requester *who, json_t *params)
{
	return with_vm(m, params, vm_pause);
}

static json_t *request_vm_resume(struct monitor *m, const struct requester *who, json_t *params)
{
	return with_vm(m, params, vm_resume);
}

/* Where a VM's vCPUs are: it is held for the moment that takes. */
static json_t *request_vm_registers(struct monitor *m, const struct requester *who, json_t *params)
{
	struct error e = {0};
	struct vm *vm = vm_find(m, json_object_get(params, "vm"), &e);
	json_t *texts;

	if (!vm)
		return reply_from(-ENOENT, &e);
	texts = vm_registers(vm);
	vm_unref(vm);
	return json_pack("{s:b, s:o}", "ok", 1, "vcpus", texts);
}

/* The size of a VM's virtio console, for the programs in the guest. */
static json_t *request_console_resize(struct monitor *m, const struct requester *who, json_t *params)
{
	json_int_t columns = 0, rows = 0;
	struct error e = {0};
	struct vm *vm;
	int r = -ESRCH;

	if (json_unpack(params, "{s:I, s:I}", "columns", &columns, "rows", &rows) < 0 || columns < 1 || rows < 1 ||
	    columns > UINT16_MAX || rows > UINT16_MAX)
		return reply_error(EINVAL, "console.resize takes columns and rows, 1 to %d", UINT16_MAX);
	vm = vm_find(m, json_object_get(params, "vm"), &e);
	if (!vm)
		return reply_from(-ENOENT, &e);
	lock_take(&m->lock);
	if (vm->host)
		r = machine_console_resize(host_vm_machine(vm->host), (uint16_t)columns, (uint16_t)rows);
	lock_drop(&m->lock);
	if (r < 0)
		error_set(&e, r, "VM %s has no console with a size: run it with --console virtio", vm->name);
	vm_unref(vm);
	return r < 0 ? reply_from(r, &e) : reply_ok();
}

static json_t *console_owner_reply(struct monitor *m) NO_TSA
{
	uint32_t owner;
	const char *name;
	json_t *reply;

	pool_enter(m->pool);
	owner = m->pool->console_owner;
	pool_leave(m->pool);
	lock_take(&m->lock);
	name = owner == BATON_NONE ? NULL : name_of(m, owner);
	reply = json_pack("{s:b, s:s?}", "ok", 1, "owner", name);
	lock_drop(&m->lock);
	return reply;
}

static json_t *request_console_owner(struct monitor *m, const struct requester *who, json_t *params) NO_TSA
{
	json_t *to = json_object_get(params, "vm");
	struct error e = {0};
	struct vm *vm;
	bool alive;
	uint64_t now;

	if (!to)
		return console_owner_reply(m);
	vm = vm_find(m, to, &e);
	if (!vm)
		return reply_from(-ENOENT, &e);
	lock_take(&m->lock);
	alive = vm->host != NULL;
	if (alive) {
		now = pool_enter(m->pool);
		pool_console_give(m->pool, host_vm_id(vm->host), now);
		pool_leave(m->pool);
	}
	lock_drop(&m->lock);
	if (!alive)
		error_set(&e, -ESRCH, "VM %s is off: it cannot own the console", vm->name);
	vm_unref(vm);
	return alive ? console_owner_reply(m) : reply_from(-ESRCH, &e);
}

static json_t *request_shutdown(struct monitor *m, const struct requester *who, json_t *params)
{
	atomic_store(&m->shutdown, true);
	return reply_ok();
}

/* ---- the table ---- */

static const struct {
	const char *name;
	bool service; /* open to the service VM too */
	json_t *(*serve)(struct monitor *m, const struct requester *who, json_t *params);
} methods[] = {
    {"version", true, request_version},
    {"vm.create", false, request_vm_create},
    {"vm.list", true, request_vm_list},
    {"vm.stop", false, request_vm_stop},
    {"vm.destroy", false, request_vm_destroy},
    {"vm.registers", false, request_vm_registers},
    {"vm.pause", false, request_vm_pause},
    {"vm.resume", false, request_vm_resume},
    {"sched.status", true, request_sched_status},
    {"sched.load", true, request_sched_load},
    {"sched.default", true, request_sched_default},
    {"sched.unload", true, request_sched_unload},
    {"sched.set", true, request_sched_set},
    {"sched.change", true, request_sched_change},
    {"sched.history", true, request_sched_history},
    {"sched.trace", false, request_sched_trace},
    {"upload.begin", true, request_upload_begin},
    {"upload.end", true, request_upload_end},
    {"console.owner", true, request_console_owner},
    {"console.resize", false, request_console_resize},
    {"shutdown", false, request_shutdown},
};

json_t *monitor_request(struct monitor *m, const struct requester *who, const char *method, json_t *params)
{
	if (params && !json_is_object(params))
		return reply_error(EINVAL, "parameters of %s must be an object", method);
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (strcmp(methods[i].name, method) != 0)
			continue;
		if (who->kind == REQUESTER_VM && !(who->service && methods[i].service))
			return reply_error(EPERM, "%s is not allowed for %s", method,
					   who->service ? "the service VM" : "a guest VM; ask the service VM");
		return methods[i].serve(m, who, params);
	}
	return reply_error(ENOSYS, "there is no method %.64s", method);
}
