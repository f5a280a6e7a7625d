/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hypercall.c - the doorbell and the mailbox (include/baton/guest.h).
 *
 * The doorbell's OUT is not completed when the monitor sees it: KVM steps over it at the next KVM_RUN, and only if RIP
 * is still where it was. So results are written into rax and rbx with all other registers as KVM gave them; where KVM
 * offers it through struct kvm_run, without an ioctl.
 *
 * The mailbox lock is held for the whole of a call that uses the mailbox, so its content stands still for the host even
 * if another vCPU of a hostile guest writes to it at the same time.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "machine/private.h"

void mailbox_init(struct mailbox *b)
{
	lock_init(&b->lock);
	mailbox_reset(b);
}

void mailbox_done(struct mailbox *b)
{
	lock_destroy(&b->lock);
}

void mailbox_reset(struct mailbox *b)
{
	lock_take(&b->lock);
	b->written = b->read = b->reply = 0;
	lock_drop(&b->lock);
}

/* Bytes beyond the mailbox are dropped. */
void mailbox_port_write(struct machine *m, const uint8_t *data, size_t size)
{
	struct mailbox *b = &m->mailbox;
	size_t n;

	lock_take(&b->lock);
	n = MIN(size, BATON_MAILBOX_MAX - b->written);
	memcpy(b->data + b->written, data, n);
	b->written += n;
	lock_drop(&b->lock);
}

/* Beyond the reply there are zeros. */
void mailbox_port_read(struct machine *m, uint8_t *data, size_t size)
{
	struct mailbox *b = &m->mailbox;
	size_t n;

	lock_take(&b->lock);
	n = MIN(size, b->reply - b->read);
	memcpy(data, b->data + b->read, n);
	memset(data + n, 0, size - n);
	b->read += n;
	lock_drop(&b->lock);
}

uint8_t *machine_mailbox(struct machine *m, size_t *ret_size)
{
	struct mailbox *b = &m->mailbox;

	lock_assert_held(&b->lock);
	*ret_size = b->written;
	return b->data;
}

void machine_mailbox_reply(struct machine *m, size_t size)
{
	struct mailbox *b = &m->mailbox;

	lock_assert_held(&b->lock);
	b->reply = MIN(size, (size_t)BATON_MAILBOX_MAX);
	b->read = 0;
	b->written = 0;
}

static bool uses_mailbox(uint64_t nr)
{
	return nr == BATON_CALL_CONSOLE_WRITE || nr == BATON_CALL_CONSOLE_READ || nr == BATON_CALL_MAILBOX ||
	       nr >= BATON_CALL_SERVICE;
}

/* Registers: in struct kvm_run where KVM keeps them there, else by ioctl. */
static int get_regs(struct vcpu *v, struct kvm_regs *ret)
{
	if (v->machine->caps.sync_regs) {
		*ret = v->run->s.regs.regs;
		return 0;
	}
	return ioctl(v->fd, KVM_GET_REGS, ret) < 0 ? -errno : 0;
}

static int set_regs(struct vcpu *v, const struct kvm_regs *regs)
{
	if (v->machine->caps.sync_regs) {
		v->run->s.regs.regs = *regs;
		v->run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
		return 0;
	}
	return ioctl(v->fd, KVM_SET_REGS, regs) < 0 ? -errno : 0;
}

static enum vcpu_next answer(struct vcpu *v, struct hypercall *call) NO_TSA
{
	struct machine *m = v->machine;
	bool locked = uses_mailbox(call->nr);
	enum vcpu_next next;

	v->sleep_request = TIME_NEVER;
	if (locked)
		lock_take(&m->mailbox.lock);
	next = m->ops->hypercall(m->ctx, v, call);
	if (locked)
		lock_drop(&m->mailbox.lock);
	return next;
}

#define RFLAGS_IF UINT64_C(0x200)

enum vcpu_next hypercall_exit(struct vcpu *v)
{
	struct hypercall call = {0};
	struct kvm_regs regs;
	enum vcpu_next next;
	int r;

	r = get_regs(v, &regs);
	if (r < 0)
		return vcpu_crash(v, "KVM_GET_REGS failed: %s", strerror(-r));
	call.nr = regs.rax;
	call.arg[0] = regs.rbx;
	call.arg[1] = regs.rcx;
	call.arg[2] = regs.rsi;
	call.arg[3] = regs.rdi;
	call.result2 = regs.rbx;
	next = answer(v, &call);
	if (next == VCPU_HALT) {
		vcpu_fall_asleep(v, BLOCKED, regs.rflags & RFLAGS_IF, v->sleep_request);
		return next; /* the result is known when it wakes */
	}
	regs.rax = (uint64_t)call.result;
	regs.rbx = call.result2;
	r = set_regs(v, &regs);
	return r < 0 ? vcpu_crash(v, "KVM_SET_REGS failed: %s", strerror(-r)) : next;
}

int hypercall_finish_block(struct vcpu *v, bool event)
{
	struct kvm_regs regs;
	int r;

	r = get_regs(v, &regs);
	if (r < 0)
		return r;
	regs.rax = event ? 1 : 0;
	return set_regs(v, &regs);
}
