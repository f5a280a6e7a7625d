/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine on a real /dev/kvm, with a nano guest (guest.c): entry, hypercalls, sleep and wake, reset, death.
 * Skipped where there is no /dev/kvm. Argument: the guest's file. Time is virtual: the host decides when timers fire.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "baton/guest.h"
#include "machine/machine.h"

#define SKIPPED 77
#define HOUR	(3600 * NSEC_PER_SEC)

struct host {
	int kvm;
	const char *guest;
	struct machine *m;
	unsigned notified, beats;
	uint64_t beat[4], until;
	char out[64];
};

static struct host host = {.kvm = -1};

static void notify(void *ctx, unsigned vcpu, unsigned from)
{
	((struct host *)ctx)->notified++;
}

static void console_out(void *ctx, const void *data, size_t size)
{
}

static enum vcpu_next hypercall(void *ctx, struct vcpu *v, struct hypercall *call)
{
	struct host *h = ctx;
	uint8_t *mail;
	size_t size;

	switch (call->nr) {
	case BATON_CALL_IDENTIFY:
		call->result = BATON_GUEST_MAGIC;
		return VCPU_RESUME;
	case BATON_CALL_HEARTBEAT:
		memcpy(h->beat, call->arg, sizeof h->beat);
		h->beats++;
		return VCPU_RESUME;
	case BATON_CALL_BLOCK:
		if (call->arg[0] != 0)
			vcpu_sleep(v, h->until);
		return VCPU_HALT;
	case BATON_CALL_MAILBOX:
		machine_mailbox_reply(h->m, 0);
		return VCPU_RESUME;
	case BATON_CALL_CONSOLE_READ:
		mail = machine_mailbox(h->m, &size);
		for (size_t i = 0; i < size; i++)
			mail[i] = (uint8_t)~mail[i];
		call->result2 = size;
		machine_mailbox_reply(h->m, size);
		return VCPU_RESUME;
	case BATON_CALL_EXIT:
		machine_set_exit_status(h->m, (int)call->arg[0]);
		return VCPU_POWER_OFF;
	default:
		call->result = -BATON_ENOSYS;
		return VCPU_RESUME;
	}
}

static const struct machine_ops ops = {.notify = notify, .console_out = console_out, .hypercall = hypercall};

static void start(const char *args, unsigned vcpus)
{
	struct machine_config c = {.kernel = host.guest, .cmdline = args, .vcpus = vcpus, .mem_bytes = 4 * MIB};
	struct error e;

	host.notified = host.beats = 0;
	host.until = clock_now_ns() + HOUR;
	if (machine_new(host.kvm, &c, &ops, &host, &host.m, &e) < 0)
		fail_msg("%s", e.text);
}

static int stop(void **state)
{
	host.m = machine_free(host.m);
	return 0;
}

/* Runs one vCPU until it wants anything but to go on. */
static enum vcpu_next run(unsigned index)
{
	struct vcpu *v = machine_vcpu(host.m, index);
	enum vcpu_next next;

	do {
		next = vcpu_prepare(v, 0);
		if (next != VCPU_RESUME)
			return next;
		vcpu_run(v);
		next = vcpu_exit(v);
	} while (next == VCPU_RESUME);
	return next;
}

static void is_good(const char *args)
{
	start(args, 1);
	assert_int_equal(run(0), VCPU_POWER_OFF);
	assert_int_equal(machine_exit_status(host.m), 0);
}

static void a_guest_gets_its_arguments_index_memory_and_stack(void **state)
{
	start("aX", 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(run(i), VCPU_POWER_OFF);
		assert_int_equal(host.beat[0], i);
		assert_int_equal(host.beat[1], 4 * MIB);
		assert_int_equal(host.beat[2], 'X');
		assert_in_range(host.beat[3], 4 * MIB - i * 64 * KIB - 256, 4 * MIB - i * 64 * KIB);
	}
}

static void sse_works_and_outlives_hypercalls(void **state)
{
	is_good("s");
}

static void a_hypercall_changes_rax_and_rbx_only(void **state)
{
	is_good("r");
}

static void the_mailbox_carries_bulk_data_and_is_bounded(void **state)
{
	is_good("m");
}

static void odd_accesses_and_unknown_calls_are_survived(void **state)
{
	is_good("h");
}

static void block_ends_by_time_or_event_and_says_which(void **state)
{
	struct vcpu *v;

	start("b", 1);
	v = machine_vcpu(host.m, 0);
	assert_int_equal(run(0), VCPU_HALT);
	assert_false(vcpu_pending(v));
	assert_int_equal(vcpu_deadline(v), host.until);
	assert_int_equal(vcpu_prepare(v, 0), VCPU_HALT); /* sleeps on */
	vcpu_fire_timers(v, host.until - 1);
	assert_false(vcpu_pending(v));
	vcpu_fire_timers(v, host.until);
	assert_true(vcpu_pending(v));
	assert_int_equal(vcpu_deadline(v), TIME_NEVER);
	assert_int_equal(run(0), VCPU_HALT); /* the second BLOCK, without a time */
	vcpu_fire_timers(v, UINT64_MAX - 1);
	assert_false(vcpu_pending(v));
	assert_int_equal(host.notified, 0);
	vcpu_event(v);
	assert_int_equal(host.notified, 1);
	assert_true(vcpu_pending(v));
	assert_int_equal(run(0), VCPU_POWER_OFF);
	assert_int_equal(machine_exit_status(host.m), 0);
}

static void an_event_before_the_block_is_not_lost(void **state)
{
	start("z", 1);
	vcpu_event(machine_vcpu(host.m, 0));
	assert_int_equal(run(0), VCPU_HALT);
	assert_true(vcpu_pending(machine_vcpu(host.m, 0)));
	assert_int_equal(run(0), VCPU_POWER_OFF);
}

static void a_reset_clears_memory_and_forgets_the_pending_hypercall(void **state)
{
	struct error e;

	start("z", 2);
	for (unsigned n = 1; n <= 20; n++) {
		assert_int_equal(run(0), VCPU_HALT); /* its OUT is not completed yet */
		assert_int_equal(host.beats, n);
		assert_int_equal(host.beat[0], 1); /* its counter began at 0 again */
		vcpu_event(machine_vcpu(host.m, 0));
		if (machine_reset(host.m, &e) < 0)
			fail_msg("%s", e.text);
	}
}

static void a_fault_kills_the_guest_alone(void **state)
{
	char text[2048];

	start("f", 2);
	assert_int_equal(run(0), VCPU_CRASHED);
	assert_non_null(strstr(machine_crash_text(host.m), "triple fault"));
	assert_true(vcpu_dump(machine_vcpu(host.m, 0), text, sizeof text) > 100);
	assert_int_equal(vcpu_dump(machine_vcpu(host.m, 0), text, 5), 4);
	assert_int_equal(run(1), VCPU_CRASHED); /* the whole VM */
	assert_int_equal(machine_reset(host.m, NULL), 0);
	assert_string_equal(machine_crash_text(host.m), "");
	assert_int_equal(run(1), VCPU_CRASHED);
}

static void privileged_instructions_are_no_way_out(void **state)
{
	start("p", 1);
	assert_int_equal(run(0), VCPU_CRASHED);
}

static void a_kick_before_the_entry_is_not_lost(void **state)
{
	struct vcpu *v;

	start("loop", 1);
	v = machine_vcpu(host.m, 0);
	for (unsigned n = 0; n < 3; n++) {
		assert_int_equal(vcpu_prepare(v, 0), VCPU_RESUME);
		vcpu_kvm_run(v)->immediate_exit = 1;
		assert_int_equal(vcpu_run(v), -EINTR);
		assert_int_equal(vcpu_exit(v), VCPU_RESUME);
	}
}

static void wrong_configurations_are_explained(void **state)
{
	const struct machine_config good = {.kernel = host.guest, .vcpus = 1, .mem_bytes = 4 * MIB};
	struct machine_config c;
	struct error e;

#define REFUSED(code, change)                                                                                          \
	do {                                                                                                           \
		c = good;                                                                                              \
		change;                                                                                                \
		e.text[0] = '\0';                                                                                      \
		assert_int_equal(machine_new(host.kvm, &c, &ops, &host, &host.m, &e), code);                           \
		assert_true(strlen(e.text) > 10);                                                                      \
		assert_null(host.m);                                                                                   \
	} while (0)
	REFUSED(-ENOENT, c.kernel = "/nowhere");
	REFUSED(-EINVAL, c.kernel = NULL);
	REFUSED(-EINVAL, c.vcpus = 0);
	REFUSED(-EINVAL, c.vcpus = MACHINE_VCPUS_MAX + 1);
	REFUSED(-EINVAL, c.mem_bytes = 4096);
	REFUSED(-EINVAL, c.mem_bytes = 4 * MIB + 1);
	REFUSED(-E2BIG, c.mem_bytes = MIB);
	REFUSED(-EINVAL, c.initrd = host.guest);
	REFUSED(-ENOEXEC, (c.boot = MACHINE_BOOT_BZIMAGE, c.mem_bytes = 64 * MIB));
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_teardown(f, stop)
	const struct CMUnitTest tests[] = {
	    T(a_guest_gets_its_arguments_index_memory_and_stack),
	    T(sse_works_and_outlives_hypercalls),
	    T(a_hypercall_changes_rax_and_rbx_only),
	    T(the_mailbox_carries_bulk_data_and_is_bounded),
	    T(odd_accesses_and_unknown_calls_are_survived),
	    T(block_ends_by_time_or_event_and_says_which),
	    T(an_event_before_the_block_is_not_lost),
	    T(a_reset_clears_memory_and_forgets_the_pending_hypercall),
	    T(a_fault_kills_the_guest_alone),
	    T(privileged_instructions_are_no_way_out),
	    T(a_kick_before_the_entry_is_not_lost),
	    T(wrong_configurations_are_explained),
	};
	int r;

	if (argc != 2)
		return 2;
	host.guest = argv[1];
	host.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (host.kvm < 0) {
		printf("skipped: no usable /dev/kvm on this machine\n");
		return SKIPPED;
	}
	r = cmocka_run_group_tests(tests, NULL, NULL);
	close_fd(host.kvm);
	return r;
}
