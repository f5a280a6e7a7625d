/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decide.c - what a policy's decision costs: choose + start + stop, called straight on a region, without pool and host.
 *
 * The region is laid out as the monitor does it, and its tables are written before each event, which is part of the
 * figure (some ns). Time is virtual. Three loads:
 *
 *	compute	everybody is runnable all the time; each pCPU in turn: its slice ends, it asks, somebody starts
 *	mix	half of the runs end by blocking; for each of them one who sleeps is woken (wake and preempts count as part
 *		of the decision), and where preempts or a kick says so, that pCPU asks next
 *	pinned	compute, where each VM may use half of the pCPUs: the first half, the second, or every other one
 *
 * Alarms are kept, and tick is called when they are due. VMs have four vCPUs each, with weights of 128 to 512. The baseline
 * is round robin under the same load, in the same run. Policies are those linked in, or images (a path).
 *
 * With --turns N nothing is timed: N decisions of one policy under one load, for counting instructions with
 * `valgrind --tool=callgrind`; the difference between N and 2 N decisions is what N decisions cost.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "baton/scheduler.h"
#include "report.h"
#include "sched/loader/image.h"

#define VM_VCPUS     4
#define SLICE_MAX_NS (10 * NSEC_PER_MSEC)
#define BATCH	     64
#define ALARMS_MAX   256

enum load { COMPUTE, MIX, PINNED };
static const char *const loads[] = {"compute", "mix", "pinned"};

/* ---- a world without anything but a region ---- */

struct field {
	const struct baton_scheduler *ops;
	struct baton_region *region;
	size_t bytes;
	uint32_t pcpus, vcpus; /* vCPUs that were admitted */
	uint64_t now_ns, rng;
	uint64_t slice_ns; /* of the last decision */
	uint64_t started_ns[BATON_PCPUS_MAX];
	uint32_t pcpu;					  /* who asks next, in turn */
	uint32_t asked;					  /* or this one, because of a kick; BATON_NONE */
	uint32_t *sleepers, sleeper_first, sleeper_count; /* a ring */
	uint64_t alarms[ALARMS_MAX];			  /* latest first */
	uint32_t alarm_count;
};

/* Imports carry no context. */
static struct field *calling;

void baton_alarm(uint64_t t)
{
	struct field *f = calling;
	uint32_t i = f->alarm_count;

	if (i == ALARMS_MAX)
		return;
	while (i > 0 && f->alarms[i - 1] < t)
		i--;
	if (i > 0 && f->alarms[i - 1] == t)
		return;
	memmove(f->alarms + i + 1, f->alarms + i, (f->alarm_count - i) * sizeof *f->alarms);
	f->alarms[i] = t;
	f->alarm_count++;
}

void baton_kick(uint32_t pcpu)
{
	if (pcpu < calling->pcpus)
		calling->asked = pcpu;
}

void baton_hold(uint32_t v, uint64_t t)
{
}

void baton_trace(uint32_t code, uint64_t a, uint64_t b)
{
}

static uint32_t place(uint64_t *end, uint64_t bytes)
{
	uint64_t at = (*end + 63) & ~UINT64_C(63);

	*end = at + bytes;
	return (uint32_t)at;
}

static uint64_t draw(struct field *f)
{
	f->rng ^= f->rng << 13;
	f->rng ^= f->rng >> 7;
	f->rng ^= f->rng << 17;
	return f->rng;
}

static void field_free(struct field *f)
{
	if (f->region)
		munmap(f->region, f->bytes);
	free(f->sleepers);
}

static void set_affinity(struct baton_vcpu *v, uint32_t pcpus, enum load load)
{
	memset(v->affinity, 0xff, sizeof v->affinity);
	for (uint32_t p = 0; p < pcpus && load == PINNED && pcpus > 1; p++) {
		bool out = v->vm % 3 == 0 ? p < pcpus / 2 : v->vm % 3 == 1 ? p >= pcpus / 2 : p % 2 == 0;

		if (out)
			v->affinity[p / 64] &= ~(UINT64_C(1) << p % 64);
	}
}

/* Returns false when the policy refuses the pool; f->vcpus tells how many vCPUs it took. */
static bool field_new(struct field *f, const struct baton_scheduler *ops, uint32_t pcpus, uint32_t vcpus,
		      enum load load)
{
	uint64_t end = sizeof(struct baton_region);
	uint32_t vms = (vcpus + VM_VCPUS - 1) / VM_VCPUS;
	struct baton_region r = {.abi = BATON_SCHEDULER_ABI,
				 .pcpu_slots = pcpus,
				 .vm_slots = vms,
				 .vcpu_slots = vcpus,
				 .slice_min_ns = 100 * NSEC_PER_USEC,
				 .slice_max_ns = SLICE_MAX_NS};

	*f = (struct field){.ops = ops,
			    .pcpus = pcpus,
			    .now_ns = NSEC_PER_SEC,
			    .slice_ns = NSEC_PER_MSEC,
			    .rng = 88172645463325252u,
			    .asked = BATON_NONE};
	r.pcpus = place(&end, pcpus * sizeof(struct baton_pcpu));
	r.vms = place(&end, vms * sizeof(struct baton_vm));
	r.vcpus = place(&end, vcpus * sizeof(struct baton_vcpu));
	r.params = place(&end, ops->parameter_count * sizeof(int64_t));
	r.scratch = place(&end, BATON_SCRATCH_SIZE);
	r.pool_state = place(&end, ops->pool_state_size);
	r.vm_stride = (ops->vm_state_size + 7u) & ~7u;
	r.vm_state = place(&end, (uint64_t)vms * r.vm_stride);
	r.vcpu_stride = (ops->vcpu_state_size + 7u) & ~7u;
	r.vcpu_state = place(&end, (uint64_t)vcpus * r.vcpu_stride);
	f->bytes = end;
	r.size = (uint32_t)end;
	f->region = mmap(NULL, f->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	f->sleepers = calloc(vcpus, sizeof *f->sleepers);
	if (f->region == MAP_FAILED || !f->sleepers)
		abort();
	*f->region = r;
	for (uint32_t p = 0; p < pcpus; p++)
		baton_pcpu(f->region, p)->running = BATON_NONE;
	for (uint32_t vm = 0; vm < vms; vm++)
		*baton_vm(f->region, vm) = (struct baton_vm){.used = 1, .weight = 128u << vm % 3};
	for (uint64_t i = 0; i < ops->parameter_count; i++)
		((int64_t *)(void *)((char *)f->region + r.params))[i] = ops->parameters[i].initial;
	calling = f;
	if (ops->attach && ops->attach(f->region, f->now_ns) < 0)
		return false;
	for (; f->vcpus < vcpus; f->vcpus++) {
		struct baton_vcpu *v = baton_vcpu(f->region, f->vcpus);

		*v = (struct baton_vcpu){.state = BATON_VCPU_RUNNABLE,
					 .vm = f->vcpus / VM_VCPUS,
					 .index = f->vcpus % VM_VCPUS,
					 .pcpu = BATON_NONE};
		set_affinity(v, pcpus, load);
		if (ops->admit && ops->admit(f->region, f->vcpus, f->now_ns) < 0) {
			v->state = BATON_VCPU_FREE;
			break;
		}
	}
	f->asked = BATON_NONE;
	return f->vcpus > 0;
}

static void tick(struct field *f)
{
	while (f->alarm_count > 0 && f->alarms[f->alarm_count - 1] <= f->now_ns)
		f->alarm_count--;
	if (f->ops->tick)
		f->ops->tick(f->region, f->now_ns);
}

/* One who sleeps is woken; the pCPU that is to be asked for its sake. */
static uint32_t wake_one(struct field *f)
{
	uint32_t v = f->sleepers[f->sleeper_first];

	f->sleeper_first = f->sleeper_first + 1 == f->vcpus ? 0 : f->sleeper_first + 1;
	f->sleeper_count--;
	baton_vcpu(f->region, v)->state = BATON_VCPU_RUNNABLE;
	if (f->ops->wake)
		f->ops->wake(f->region, v, f->now_ns);
	return f->ops->preempts ? f->ops->preempts(f->region, v, f->now_ns) : BATON_NONE;
}

static void stop(struct field *f, uint32_t p, uint32_t why)
{
	struct baton_pcpu *c = baton_pcpu(f->region, p);
	uint32_t v = c->running;

	c->running = BATON_NONE;
	baton_vcpu(f->region, v)->state = why == BATON_STOP_BLOCKED ? BATON_VCPU_BLOCKED : BATON_VCPU_RUNNABLE;
	if (f->ops->stop)
		f->ops->stop(f->region, v, p, f->now_ns - f->started_ns[p], why, f->now_ns);
	if (why != BATON_STOP_BLOCKED)
		return;
	f->sleepers[(f->sleeper_first + f->sleeper_count) % f->vcpus] = v;
	f->sleeper_count++;
}

/* One decision. */
static inline void decide(struct field *f, enum load load)
{
	uint32_t p = f->asked, why = BATON_STOP_PREEMPTED;
	struct baton_choice c;

	f->now_ns += f->slice_ns / f->pcpus; /* so each pCPU's runs last as long as slices do on average */
	if (f->alarm_count > 0 && f->alarms[f->alarm_count - 1] <= f->now_ns)
		tick(f);
	if (p == BATON_NONE) {
		p = f->pcpu;
		f->pcpu = p + 1 == f->pcpus ? 0 : p + 1;
		why = load == MIX && (draw(f) & 1) ? BATON_STOP_BLOCKED : BATON_STOP_SLICE;
	}
	f->asked = BATON_NONE;
	if (baton_pcpu(f->region, p)->running != BATON_NONE)
		stop(f, p, why);
	if (why == BATON_STOP_BLOCKED && f->sleeper_count > f->vcpus / 4) {
		uint32_t q = wake_one(f);

		f->asked = q == p ? f->asked : q;
	}
	c = f->ops->choose(f->region, p, f->now_ns);
	if (c.vcpu == BATON_NONE)
		return;
	baton_pcpu(f->region, p)->running = c.vcpu;
	baton_vcpu(f->region, c.vcpu)->state = BATON_VCPU_RUNNING;
	baton_vcpu(f->region, c.vcpu)->pcpu = p;
	f->started_ns[p] = f->now_ns;
	f->slice_ns = MAX(f->region->slice_min_ns, c.slice_ns == 0 ? SLICE_MAX_NS : MIN(c.slice_ns, SLICE_MAX_NS));
	if (f->ops->start)
		f->ops->start(f->region, c.vcpu, p, f->now_ns);
}

/* ---- measuring ---- */

struct result {
	double p50, p99, mean;
};

/* ns per decision, by batches: a batch in which something else had the CPU stands out, and the median leaves it out. */
static bool measure(const struct baton_scheduler *ops, uint32_t pcpus, uint32_t vcpus, enum load load, bool quick,
		    struct result *ret)
{
	uint64_t warm = 4 * (uint64_t)vcpus + 1000, batches = quick ? 2000 : 10000;
	struct field f;
	struct samples s = {0};
	uint64_t total = 0;
	bool took_all = field_new(&f, ops, pcpus, vcpus, load) && f.vcpus == vcpus;

	for (uint64_t i = 0; i < warm && took_all; i++)
		decide(&f, load);
	for (uint64_t b = 0; b < batches && took_all; b++) {
		uint64_t began = clock_now_ns(), took;

		for (int i = 0; i < BATCH; i++)
			decide(&f, load);
		took = clock_now_ns() - began;
		total += took;
		samples_add(&s, (double)took / BATCH);
	}
	*ret = (struct result){samples_at(&s, 0.5), samples_at(&s, 0.99), (double)total / BATCH / (double)batches};
	samples_free(&s);
	field_free(&f);
	return took_all;
}

static void count_turns(struct report *r, const struct baton_scheduler *ops, uint32_t pcpus, uint32_t vcpus,
			enum load load, long turns)
{
	struct field f;

	if (!field_new(&f, ops, pcpus, vcpus, load) || f.vcpus < vcpus)
		report_fail(r, "%s takes only %u of %u vCPUs", ops->name, f.vcpus, vcpus);
	for (long i = 0; i < turns && !r->failed; i++)
		decide(&f, load);
	field_free(&f);
}

struct subject {
	const struct baton_scheduler *ops;
	const char *kind;
	struct image *image;
};

static void report_result(struct report *r, const struct subject *x, uint32_t pcpus, uint32_t vcpus, const char *load,
			  const struct result *got, const struct result *baseline)
{
	const struct {
		const char *name;
		double value, baseline;
	} stats[] = {
	    {"p50", got->p50, baseline->p50}, {"p99", got->p99, baseline->p99}, {"mean", got->mean, baseline->mean}};

	for (size_t i = 0; i < ARRAY_SIZE(stats); i++)
		report_row(r, "decide", stats[i].value, "ns", stats[i].baseline, "built-in round robin",
			   json_pack("{s:s, s:i, s:i, s:s, s:s, s:s}", "policy", x->ops->name, "vcpus", (int)vcpus,
				     "pcpus", (int)pcpus, "load", load, "kind", x->kind, "stat", stats[i].name));
}

/* ---- the subjects: every policy that is linked in, or those asked for ---- */

#define X(name) extern const struct baton_scheduler baton_scheduler_##name;
POLICY_LIST
#undef X
#define X(name) {.ops = &baton_scheduler_##name, .kind = "native"},
static const struct subject linked_in[] = {POLICY_LIST};
#undef X

#define IMPORT(f)                                                                                                      \
	{                                                                                                              \
		.name = #f, .address = (uintptr_t)(f)                                                                  \
	}
static const struct image_import imports[] = {
    IMPORT(baton_alarm), IMPORT(baton_kick), IMPORT(baton_hold), IMPORT(baton_trace),
    IMPORT(memcpy),	 IMPORT(memmove),    IMPORT(memset),	 IMPORT(memcmp),
};

static bool subject_open(struct report *r, struct arena *arena, const char *name, struct subject *ret)
{
	struct error e;

	for (size_t i = 0; i < ARRAY_SIZE(linked_in); i++)
		if (strcmp(linked_in[i].ops->name, name) == 0) {
			*ret = linked_in[i];
			return true;
		}
	*ret = (struct subject){.kind = "native"};
	if (image_load_file(arena, name, imports, ARRAY_SIZE(imports), &ret->image, &e) < 0) {
		report_fail(r, "%s", e.text);
		return false;
	}
	ret->ops = image_scheduler(ret->image);
	return true;
}

static void run(struct report *r, const struct subject *x, uint32_t pcpus, long only_vcpus, const char *only_load,
		long turns)
{
	static const uint32_t counts[] = {10, 100, 1000, 10000};
	struct result got, baseline;

	for (size_t i = 0; i < (only_vcpus ? 1 : ARRAY_SIZE(counts)); i++)
		for (enum load load = COMPUTE; load <= PINNED; load++) {
			uint32_t vcpus = only_vcpus ? (uint32_t)only_vcpus : counts[i];

			if (only_load && strcmp(only_load, loads[load]) != 0)
				continue;
			if (turns > 0) {
				count_turns(r, x->ops, pcpus, vcpus, load, turns);
				continue;
			}
			(void)measure(linked_in[0].ops, pcpus, vcpus, load, r->quick, &baseline);
			if (measure(x->ops, pcpus, vcpus, load, r->quick, &got))
				report_result(r, x, pcpus, vcpus, loads[load], &got, &baseline);
			else
				report_say(r, "%s takes fewer than %u vCPUs on %u pCPUs", x->ops->name, vcpus, pcpus);
		}
}

int main(int argc, char **argv)
{
	long pcpus = 4, vcpus = 0, turns = 0;
	const char *policy = NULL, *load = NULL;
	const struct bench_option options[] = {
	    {.name = "policy", .help = "NAME or PATH of an image (default: every policy)", .text = &policy},
	    {.name = "pcpus", .help = "N  pCPUs (default 4)", .number = &pcpus, .min = 1, .max = BATON_PCPUS_MAX},
	    {.name = "vcpus",
	     .help = "N  only this many (default 10, 100, 1,000, 10,000)",
	     .number = &vcpus,
	     .min = 1,
	     .max = 1000000},
	    {.name = "load", .help = "compute, mix or pinned (default all)", .text = &load},
	    {.name = "turns",
	     .help = "N  time nothing, decide N times (for callgrind)",
	     .number = &turns,
	     .max = 1000000000},
	    {.name = NULL},
	};
	struct report r;
	struct error e;
	struct arena *arena = NULL;
	struct subject x;
	int status;

	if (!report_begin(&r, argc, argv, "What a decision costs: choose + start + stop, per policy.", options,
			  &status))
		return status;
	if (policy) {
		if (arena_new(1, &arena, &e) < 0)
			report_fail(&r, "%s", e.text);
		else if (subject_open(&r, arena, policy, &x)) {
			run(&r, &x, (uint32_t)pcpus, vcpus, load, turns);
			if (x.image)
				image_unref(x.image);
		}
		arena_free(arena);
	} else {
		for (size_t i = 0; i < ARRAY_SIZE(linked_in); i++)
			run(&r, &linked_in[i], (uint32_t)pcpus, vcpus, load, turns);
	}
	return report_end(&r);
}
