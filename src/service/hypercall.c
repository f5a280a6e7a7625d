/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hypercall.c - the table of hypercalls: one function and one row each (include/baton/guest.h says what they mean).
 *
 * A row without a permission is open to the service VM alone: the strictest is the default. The calls of the service VM
 * carry JSON text and go through the same door as the operator's requests (monitor_request), which checks the permission
 * once more by method.
 *
 * Threads: run loops. Nothing here waits for a run loop, a change or a device.
 */
#include <string.h>

#include "baton/guest.h"
#include "monitor/internal.h"
#include "sched/manager.h"
#include "service/upload.h"

enum permission { FOR_SERVICE_VM, FOR_EVERY_VM };

/* One call on its way. */
struct ring {
	struct vm *vm;
	struct vcpu *v;
	uint32_t pool_vcpu;
	struct hypercall *call;
};

static enum vcpu_next call_identify(struct ring *r)
{
	r->call->result = BATON_GUEST_MAGIC;
	r->call->result2 = BATON_GUEST_ABI;
	return VCPU_RESUME;
}

static enum vcpu_next call_yield(struct ring *r)
{
	switch (r->call->arg[0]) {
	case BATON_YIELD_NOTHING:
		return VCPU_YIELD;
	case BATON_YIELD_IO:
		return VCPU_YIELD_IO;
	case BATON_YIELD_SPINS:
		return VCPU_SPIN;
	default:
		r->call->result = -BATON_EINVAL;
		return VCPU_RESUME;
	}
}

static enum vcpu_next call_block(struct ring *r)
{
	uint64_t ns = r->call->arg[0], now = clock_now_ns();

	vcpu_sleep(r->v, ns == 0 || ns >= TIME_NEVER - now ? TIME_NEVER : now + ns);
	return VCPU_HALT;
}

static enum vcpu_next call_clock(struct ring *r)
{
	r->call->result = (int64_t)clock_now_ns();
	r->call->result2 = vcpu_tsc_khz(r->v);
	return VCPU_RESUME;
}

static enum vcpu_next call_heartbeat(struct ring *r)
{
	uint64_t seq = r->call->arg[0], guest_ns = r->call->arg[1], now = clock_now_ns();
	struct vm_pulse *p = &r->vm->pulse;

	lock_take(&r->vm->lock);
	if (p->beats > 0 && seq != 0) {
		if (seq != p->next_seq)
			p->holes++;
		if (guest_ns > p->guest_ns)
			p->gap_guest_ns = MAX(p->gap_guest_ns, guest_ns - p->guest_ns);
		p->gap_host_ns = MAX(p->gap_host_ns, now - p->host_ns);
	}
	p->beats++;
	p->next_seq = seq + 1;
	p->guest_ns = guest_ns;
	p->host_ns = now;
	p->datum = r->call->arg[2];
	lock_drop(&r->vm->lock);
	return VCPU_RESUME;
}

static enum vcpu_next call_failed(struct ring *r)
{
	lock_take(&r->vm->lock);
	r->vm->pulse.failed = true;
	r->vm->pulse.failed_reason = r->call->arg[0];
	lock_drop(&r->vm->lock);
	log_limited(&r->vm->log_limit, LOG_WARNING, "VM %s says that it has failed (reason %llu)", r->vm->name,
		    (unsigned long long)r->call->arg[0]);
	return VCPU_RESUME;
}

static enum vcpu_next call_console_write(struct ring *r)
{
	size_t size;
	const uint8_t *data = machine_mailbox(vcpu_machine(r->v), &size);

	console_append(r->vm->console, data, size);
	r->call->result = (int64_t)size;
	return VCPU_RESUME;
}

static enum vcpu_next call_console_read(struct ring *r)
{
	size_t size;
	uint8_t *data = machine_mailbox(vcpu_machine(r->v), &size);

	size = console_input_take(r->vm->console, data, CONSOLE_INPUT_MAX);
	machine_mailbox_reply(vcpu_machine(r->v), size);
	r->call->result = (int64_t)size;
	r->call->result2 = size;
	return VCPU_RESUME;
}

static enum vcpu_next call_mailbox(struct ring *r)
{
	machine_mailbox_reply(vcpu_machine(r->v), 0);
	return VCPU_RESUME;
}

static enum vcpu_next call_priority(struct ring *r) NO_TSA
{
	struct pool *pool = r->vm->monitor->pool;
	struct feedback fb;
	uint64_t now = pool_enter(pool);

	manager_request(pool,
			&(struct sched_request){
			    .kind = REQUEST_PRIORITY,
			    .requester = r->vm->service ? ASKED_BY_SERVICE_VM : ASKED_BY_GUEST_VM,
			    .subject = pool->vcpus[r->pool_vcpu].vm,
			},
			now, &fb);
	pool_leave(pool);
	r->call->result = fb.priority;
	return VCPU_RESUME;
}

static enum vcpu_next call_exit(struct ring *r)
{
	machine_set_exit_status(vcpu_machine(r->v), (int)(r->call->arg[0] & 0xff));
	return VCPU_POWER_OFF;
}

static enum vcpu_next call_wait_time(struct ring *r) NO_TSA
{
	struct pool *pool = r->vm->monitor->pool;
	uint64_t now = pool_enter(pool);
	struct pool_times t = pool_vcpu_times(pool, r->pool_vcpu, now);

	pool_leave(pool);
	r->call->result = (int64_t)t.wait_ns;
	r->call->result2 = t.run_ns;
	return VCPU_RESUME;
}

/* ---- calls of the service VM: JSON text in the mailbox, the method by the number ---- */

static const char *const service_methods[] = {
    [BATON_CALL_VM_LIST - BATON_CALL_SERVICE] = "vm.list",
    [BATON_CALL_SCHED_STATUS - BATON_CALL_SERVICE] = "sched.status",
    [BATON_CALL_SCHED_LOAD - BATON_CALL_SERVICE] = "sched.load",
    [BATON_CALL_SCHED_DEFAULT - BATON_CALL_SERVICE] = "sched.default",
    [BATON_CALL_SCHED_UNLOAD - BATON_CALL_SERVICE] = "sched.unload",
    [BATON_CALL_SCHED_SET - BATON_CALL_SERVICE] = "sched.set",
    [BATON_CALL_SCHED_CHANGE - BATON_CALL_SERVICE] = "sched.change",
    [BATON_CALL_CONSOLE_OWNER - BATON_CALL_SERVICE] = "console.owner",
    [BATON_CALL_UPLOAD_BEGIN - BATON_CALL_SERVICE] = "upload.begin",
    [BATON_CALL_UPLOAD_END - BATON_CALL_SERVICE] = "upload.end",
};

static json_t *serve_text(struct ring *r, const char *method, const uint8_t *text, size_t size)
{
	struct requester who = {.kind = REQUESTER_VM, .vm = r->vm->id, .service = r->vm->service};
	json_t *params = NULL, *reply;
	json_error_t why;

	if (size > 0) {
		params = json_loadb((const char *)text, size, JSON_REJECT_DUPLICATES, &why);
		if (!params)
			return reply_error(EINVAL, "the request is not JSON: %.200s", why.text);
	}
	reply = monitor_request(r->vm->monitor, &who, method, params);
	json_decref(params);
	return reply;
}

static enum vcpu_next call_service(struct ring *r)
{
	struct machine *machine = vcpu_machine(r->v);
	const char *method = service_methods[r->call->nr - BATON_CALL_SERVICE];
	size_t size, length;
	uint8_t *mailbox = machine_mailbox(machine, &size);
	json_t *reply = serve_text(r, method, mailbox, size);

	r->call->result =
	    json_is_true(json_object_get(reply, "ok")) ? 0 : -json_integer_value(json_object_get(reply, "code"));
	length = json_dumpb(reply, (char *)mailbox, BATON_MAILBOX_MAX, JSON_COMPACT);
	json_decref(reply);
	if (length > BATON_MAILBOX_MAX) {
		r->call->result = -BATON_EMSGSIZE;
		length = 0;
	}
	machine_mailbox_reply(machine, length);
	r->call->result2 = length;
	return VCPU_RESUME;
}

/* The one call of the service VM whose mailbox holds no text. */
static enum vcpu_next call_upload_piece(struct ring *r)
{
	struct machine *machine = vcpu_machine(r->v);
	size_t size;
	const uint8_t *bytes = machine_mailbox(machine, &size);

	r->call->result = upload_hypercall_piece(r->vm, r->call->arg[0], bytes, size);
	machine_mailbox_reply(machine, 0);
	r->call->result2 = 0;
	return VCPU_RESUME;
}

/* ---- the table ---- */

static const struct {
	uint64_t nr;
	enum vcpu_next (*serve)(struct ring *r);
	enum permission permission;
} calls[] = {
    {BATON_CALL_IDENTIFY, call_identify, FOR_EVERY_VM},
    {BATON_CALL_YIELD, call_yield, FOR_EVERY_VM},
    {BATON_CALL_BLOCK, call_block, FOR_EVERY_VM},
    {BATON_CALL_CLOCK, call_clock, FOR_EVERY_VM},
    {BATON_CALL_HEARTBEAT, call_heartbeat, FOR_EVERY_VM},
    {BATON_CALL_FAILED, call_failed, FOR_EVERY_VM},
    {BATON_CALL_CONSOLE_WRITE, call_console_write, FOR_EVERY_VM},
    {BATON_CALL_CONSOLE_READ, call_console_read, FOR_EVERY_VM},
    {BATON_CALL_PRIORITY, call_priority, FOR_EVERY_VM},
    {BATON_CALL_EXIT, call_exit, FOR_EVERY_VM},
    {BATON_CALL_MAILBOX, call_mailbox, FOR_EVERY_VM},
    {BATON_CALL_WAIT_TIME, call_wait_time, FOR_EVERY_VM},
    {BATON_CALL_VM_LIST, call_service, FOR_SERVICE_VM},
    {BATON_CALL_SCHED_STATUS, call_service, FOR_SERVICE_VM},
    {BATON_CALL_SCHED_LOAD, call_service, FOR_SERVICE_VM},
    {BATON_CALL_SCHED_DEFAULT, call_service, FOR_SERVICE_VM},
    {BATON_CALL_SCHED_UNLOAD, call_service, FOR_SERVICE_VM},
    {BATON_CALL_SCHED_SET, call_service, FOR_SERVICE_VM},
    {BATON_CALL_SCHED_CHANGE, call_service, FOR_SERVICE_VM},
    {BATON_CALL_CONSOLE_OWNER, call_service, FOR_SERVICE_VM},
    {BATON_CALL_UPLOAD_BEGIN, call_service, FOR_SERVICE_VM},
    {BATON_CALL_UPLOAD_PIECE, call_upload_piece, FOR_SERVICE_VM},
    {BATON_CALL_UPLOAD_END, call_service, FOR_SERVICE_VM},
};

enum vcpu_next hypercall_dispatch(void *ctx, struct vcpu *v, uint32_t pool_vcpu, struct hypercall *call)
{
	struct ring r = {.vm = ctx, .v = v, .pool_vcpu = pool_vcpu, .call = call};

	call->result = 0;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if (calls[i].nr != call->nr)
			continue;
		if (calls[i].permission == FOR_SERVICE_VM && !r.vm->service) {
			call->result = -BATON_EPERM;
			return VCPU_RESUME;
		}
		return calls[i].serve(&r);
	}
	call->result = -BATON_ENOSYS;
	return VCPU_RESUME;
}
