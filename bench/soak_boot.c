/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soak_boot.c - many boots in a row of an SMP Linux guest whose vCPUs share one pCPU: what finds a lost wake-up.
 *
 * Each boot is a VM of its own that powers itself off as soon as its init runs (baton.poweroff=1). A boot that has not
 * ended within the limit is a stall: a bug of the interrupt or timer path. Then everything that could tell why is
 * written to a file: the pool's tables and its last events, the registers and interrupt state of each vCPU, the
 * console.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "host/internal.h"
#include "machine/private.h"
#include "place.h"
#include "sched/manager.h"

#define NAME	    "soak"
#define POLL_US	    5000
#define REST_TRIES  2000
#define CONSOLE_MAX 16384

struct soak {
	struct report r;
	struct monitor *m;
	long boots, vcpus, memory_mib, limit_s;
	const char *carrier, *pcpus, *kernel, *dump_dir;
	char initrd[PLACE_PATH_MAX], kernel_path[PLACE_PATH_MAX];
	long done, stalls;
};

/* ---- what to look at after a stall ---- */

static void dump_pool(struct soak *s, FILE *f) NO_TSA
{
	struct pool *p = s->m->pool;
	uint64_t now = pool_enter(p);
	uint64_t first = p->trace->written > TRACE_RECORDS ? p->trace->written - TRACE_RECORDS : 0;

	fprintf(f, "== pool at %" PRIu64 " ns, active scheduler %u, next alarm %" PRIu64 " (pCPU %u)\n", now,
		manager_active(p)->id, p->next_alarm_ns, p->alarm_pcpu);
	for (uint32_t i = 0; i < p->pcpu_count; i++) {
		const struct host_pcpu *pc = &s->m->host->pcpus[i];

		fprintf(f,
			"pCPU %u: running %d idle %d loop state %#x others %" PRIu64 " slice end %" PRIu64
			" timers %u\n",
			i, (int)p->pcpus[i].running, p->pcpus[i].idle, atomic_load(&pc->state), pc->others_ns,
			pc->slice_end_ns, pc->timer_count);
		for (uint32_t t = 0; t < pc->timer_count; t++)
			fprintf(f, "  timer of vCPU %u at %" PRIu64 "\n", pc->timers[t]->id, pc->timers[t]->timer_ns);
	}
	for (uint32_t v = 0; v < p->vcpu_slots; v++) {
		const struct pool_vcpu *x = &p->vcpus[v];

		if (x->state == BATON_VCPU_FREE)
			continue;
		fprintf(f,
			"vCPU %u: state %d paused %d wake pending %d since %" PRIu64 " starts %" PRIu64 " run %" PRIu64
			"\n",
			v, x->state, x->paused, x->wake_pending, x->since_ns, x->starts, x->run_ns);
	}
	fprintf(f, "== the last events\n");
	for (uint64_t i = first; i < p->trace->written; i++) {
		const struct trace_record *t = &p->trace->records[i % TRACE_RECORDS];

		fprintf(f, "%12.3f ms %-8s vcpu %d pcpu %d %" PRIu64 " %" PRIu64 "\n",
			((double)t->time_ns - (double)now) / 1e6, trace_kind_name(t->kind), (int)t->vcpu, (int)t->pcpu,
			t->a, t->b);
	}
	pool_leave(p);
}

static void dump_lapic(FILE *f, const struct lapic *l)
{
	fprintf(f, "irr");
	for (int i = 3; i >= 0; i--)
		fprintf(f, " %016" PRIx64, atomic_load(&l->irr[i]));
	fprintf(f, "\nisr");
	for (int i = 3; i >= 0; i--)
		fprintf(f, " %016" PRIx64, atomic_load(&l->isr[i]));
	fprintf(f, "\ntpr %#x svr %#x tsc deadline %" PRIu64 "\n", atomic_load(&l->tpr), atomic_load(&l->svr),
		atomic_load(&l->tsc_deadline));
}

/* Registers can only be read at rest; a vCPU that does not even come to rest is worth knowing, too. */
static bool bring_to_rest(struct soak *s, struct vm *vm) NO_TSA
{
	struct pool *p = s->m->pool;

	for (int i = 0; i < REST_TRIES; i++) {
		bool at_rest = true;
		uint64_t now = pool_enter(p);

		for (unsigned v = 0; v < vm->vcpus; v++)
			at_rest &= pool_pause(p, host_vm_vcpu(vm->host, v), now);
		pool_leave(p);
		if (at_rest)
			return true;
		usleep(1000);
	}
	return false;
}

static void dump_stall(struct soak *s, struct vm *vm, const char *why)
{
	char path[PLACE_PATH_MAX + 64], text[4096];
	static char console[CONSOLE_MAX];
	uint64_t pos = 0;
	size_t n;
	FILE *f;

	(void)snprintf(path, sizeof path, "%s/stall-%s-%ld.txt", s->dump_dir, s->carrier, s->done);
	f = fopen(path, "we");
	report_say(&s->r, "boot %ld: %s; state in %s", s->done, why, f ? path : "what follows");
	if (!f)
		f = stderr;
	fprintf(f, "boot %ld, carrier %s: %s\n", s->done, s->carrier, why);
	dump_pool(s, f);
	if (vm->host && bring_to_rest(s, vm)) {
		for (unsigned i = 0; i < vm->vcpus; i++) {
			struct vcpu *v = machine_vcpu(host_vm_machine(vm->host), i);

			n = vcpu_dump(v, text, sizeof text);
			fprintf(f, "== %.*s", (int)n, text);
			fprintf(f, "ready for injection %d if %d window %d\n", v->run->ready_for_interrupt_injection,
				v->run->if_flag, v->run->request_interrupt_window);
			dump_lapic(f, &v->lapic);
		}
	} else {
		fprintf(f, "== its vCPUs do not come to rest\n");
	}
	n = (size_t)MAX((ssize_t)0, monitor_console_read(s->m, NAME, &pos, console, sizeof console));
	fprintf(f, "== console\n%.*s\n", (int)n, console);
	if (f != stderr)
		fclose(f);
}

/* ---- one boot ---- */

static bool init_was_reached(struct soak *s)
{
	static char console[CONSOLE_MAX];
	uint64_t pos = 0;
	ssize_t n = monitor_console_read(s->m, NAME, &pos, console, sizeof console - 1);

	console[MAX(n, (ssize_t)0)] = '\0';
	return strstr(console, "baton-guest: init reached") != NULL;
}

/* NULL: a clean boot and a clean end. Else what was wrong. */
static const char *wait_for_end(struct soak *s, struct vm *vm)
{
	uint64_t limit = clock_now_ns() + (uint64_t)s->limit_s * NSEC_PER_SEC;
	enum vm_state state;

	for (;;) {
		lock_take(&s->m->lock);
		state = vm->state;
		lock_drop(&s->m->lock);
		if (state == VM_CRASHED)
			return vm->reason;
		if (state == VM_OFF)
			return init_was_reached(s) ? NULL : "it switched itself off before its init ran";
		if (clock_now_ns() > limit)
			return "it stalled: no end within the limit";
		usleep(POLL_US);
	}
}

static bool boot_once(struct soak *s)
{
	struct place_vm config = {
	    .name = NAME,
	    .kernel = s->kernel_path,
	    .initrd = s->initrd,
	    .cmdline = "console=ttyS0 quiet panic=-1 baton.poweroff=1",
	    .vcpus = (unsigned)s->vcpus,
	    .memory_mib = s->memory_mib,
	};
	uint64_t began = clock_now_ns();
	struct vm *vm;
	const char *wrong;

	if (!place_vm_start(&s->r, s->m, &config))
		return false;
	vm = place_vm_find(s->m, NAME);
	s->done++;
	wrong = wait_for_end(s, vm);
	if (wrong) {
		s->stalls++;
		report_fail(&s->r, "boot %ld of carrier %s: %s", s->done, s->carrier, wrong);
		dump_stall(s, vm, wrong);
	} else {
		report_say(&s->r, "carrier %s, boot %ld of %ld: %.1f s", s->carrier, s->done, s->boots,
			   (double)(clock_now_ns() - began) / 1e9);
	}
	vm_unref(vm);
	place_vm_end(s->m, NAME);
	return true;
}

static void soak(struct soak *s, const char *name, enum carrier_kind carrier)
{
	s->carrier = name;
	s->done = s->stalls = 0;
	s->m = place_monitor(&s->r, &(struct monitor_config){.pcpus = s->pcpus, .carrier = carrier, .max_vms = 4});
	while (s->done < s->boots && boot_once(s))
		;
	s->m = monitor_free(s->m);
	report_row(&s->r, "soak.boots", (double)s->done, "count", NO_BASELINE, NULL,
		   json_pack("{s:s, s:I, s:s}", "carrier", name, "vcpus", (json_int_t)s->vcpus, "pcpus", s->pcpus));
	report_row(&s->r, "soak.stalls", (double)s->stalls, "count", NO_BASELINE, NULL,
		   json_pack("{s:s, s:I, s:s}", "carrier", name, "vcpus", (json_int_t)s->vcpus, "pcpus", s->pcpus));
}

int main(int argc, char **argv)
{
	struct soak s = {.boots = -1,
			 .vcpus = 2,
			 .memory_mib = 128,
			 .limit_s = 60,
			 .carrier = "both",
			 .pcpus = "0",
			 .kernel = "vmlinux",
			 .dump_dir = "."};
	const struct bench_option options[] = {
	    {.name = "boots",
	     .help = "N  boots for each carrier (default 100, with --quick 5)",
	     .number = &s.boots,
	     .min = 1,
	     .max = 1000000},
	    {.name = "vcpus",
	     .help = "N  vCPUs of the guest (default 2)",
	     .number = &s.vcpus,
	     .min = 1,
	     .max = MACHINE_VCPUS_MAX},
	    {.name = "carrier", .help = "worker, thread or both (default)", .text = &s.carrier},
	    {.name = "pcpus", .help = "LIST  host CPUs they share (default 0)", .text = &s.pcpus},
	    {.name = "limit",
	     .help = "S  a boot that takes longer is a stall (default 60)",
	     .number = &s.limit_s,
	     .min = 1,
	     .max = 100000},
	    {.name = "kernel", .help = "vmlinux (default) or vmlinuz", .text = &s.kernel},
	    {.name = "dump", .help = "DIR  where reports of stalls go (default: here)", .text = &s.dump_dir},
	    {.name = NULL},
	};
	char name[64];
	int status;

	if (!report_begin(&s.r, argc, argv,
			  "Boots an SMP Linux guest again and again on one pCPU and counts boots that stall.", options,
			  &status))
		return status;
	if (s.boots < 0)
		s.boots = s.r.quick ? 5 : 100;
	(void)snprintf(name, sizeof name, "guests/%s", s.kernel);
	place_path(&s.r, s.kernel_path, name, "make the guests first (./dev guests)");
	place_path(&s.r, s.initrd, "guests/compute.cpio.gz", "make the guests first (./dev guests)");
	const char *which = s.carrier;
	bool both = strcmp(which, "both") == 0;

	if (!both && strcmp(which, "worker") != 0 && strcmp(which, "thread") != 0) {
		report_fail(&s.r, "--carrier is worker, thread or both, not %s", which);
		return 2;
	}
	if (both || strcmp(which, "worker") == 0)
		soak(&s, "worker", CARRIER_WORKER);
	if (both || strcmp(which, "thread") == 0)
		soak(&s, "thread", CARRIER_THREAD);
	return report_end(&s.r);
}
