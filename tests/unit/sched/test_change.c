/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/sched/change.c and handover.c: every kind of change, and what is left when one is refused. */
#include "fake_host.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "policies/builtin.h"
#include "sched/loader/image.h"

#define MS    NSEC_PER_MSEC
#define BATCH 64 /* vCPUs per hold of the lock, as change.c has it */

/* ---- everything as it was ---- */

struct snapshot {
	struct attached *attached[POOL_ATTACHED_MAX];
	uint32_t active_id;
	unsigned slots_free;
	char *region[POOL_ATTACHED_MAX];
};

/* The region of a without the scratch, through which records travel. */
static char *copy_region(struct attached *a)
{
	char *copy = malloc(a->region->size);

	must(copy != NULL);
	memcpy(copy, a->region, a->region->size);
	memset(copy + a->region->scratch, 0, BATON_SCRATCH_SIZE);
	return copy;
}

static struct snapshot snapshot_take(struct fake *f)
{
	struct snapshot s = {.active_id = fake_active(f)->id, .slots_free = arena_slots_free(f->arena)};

	for (uint32_t i = 0; i < POOL_ATTACHED_MAX; i++) {
		s.attached[i] = f->pool->attached[i];
		if (s.attached[i])
			s.region[i] = copy_region(s.attached[i]);
	}
	return s;
}

static void must_be_as_before(struct fake *f, struct snapshot *s)
{
	must(fake_active(f)->id == s->active_id);
	must(arena_slots_free(f->arena) == s->slots_free);
	for (uint32_t i = 0; i < POOL_ATTACHED_MAX; i++) {
		char *now;

		must(f->pool->attached[i] == s->attached[i]);
		if (!s->attached[i])
			continue;
		now = copy_region(s->attached[i]);
		must(memcmp(now, s->region[i], s->attached[i]->region->size) == 0);
		free(now);
		free(s->region[i]);
	}
	fake_check(f);
}

static void must_be_refused(struct fake *f, const struct change_spec *spec, int code, const char *word)
{
	struct snapshot before = snapshot_take(f);
	struct change_report report;
	int r = fake_change(f, spec, &report);

	if (r != code || !strstr(report.error, word)) {
		print_error("%d, not %d: %s\n", r, code, report.error);
		fail();
	}
	assert_null(strchr(report.error, '\n'));
	must_be_as_before(f, &before);
}

/* Three VMs; of n vCPUs some run, some wait, some are blocked or paused. */
static struct fake *scene(const struct fake_config *config, uint32_t n)
{
	struct fake *f = fake_new(config);
	uint32_t vm[3];

	for (unsigned i = 0; i < 3; i++)
		vm[i] = fake_vm(f, 100 * (i + 1));
	for (uint32_t i = 0; i < n; i++) {
		uint32_t v = fake_vcpu(f, vm[i % 3]);

		fake_pass(f, MS);
		if (i % 4 != 3)
			fake_resume(f, v, i % 4 != 2);
	}
	for (uint32_t i = 0; i < 20; i++) {
		for (uint32_t p = 0; p < f->pool->pcpu_count; p++) {
			fake_ask(f, p);
			fake_pass(f, MS);
		}
		for (uint32_t p = 0; p < f->pool->pcpu_count; p++)
			if (f->pool->pcpus[p].running != BATON_NONE)
				fake_stop(f, p, BATON_STOP_SLICE);
	}
	for (uint32_t p = 0; p < f->pool->pcpu_count; p++)
		fake_ask(f, p);
	fake_pass(f, MS);
	fake_check(f);
	return f;
}

static struct fake *small_scene(void)
{
	return scene(&(struct fake_config){.pcpus = 2}, 10);
}

static void change(struct fake *f, const struct change_spec *spec, struct change_report *ret)
{
	struct change_report report;
	int r = fake_change(f, spec, &report);

	if (r < 0)
		print_error("%s\n", report.error);
	assert_int_equal(r, 0);
	if (ret)
		*ret = report;
	fake_check(f);
}

static void load(struct fake *f, const char *name, const char *image, enum change_old old)
{
	struct change_spec spec = fake_load(name, image, CHANGE_LIVE, old);

	change(f, &spec, NULL);
}

static void assert_active(struct fake *f, const char *name)
{
	assert_string_equal(fake_active(f)->ops->name, name);
}

/* ---- loading ---- */

static void a_newcomer_sees_exactly_the_vcpus_that_are_there(void **unused)
{
	struct fake *f = scene(&(struct fake_config){.pcpus = 2, .vcpus = 300}, 3 * BATCH + 5);
	struct attached *probe;
	struct change_spec spec = fake_load("probe", "file:probe.baton", CHANGE_LIVE, OLD_KEEP);
	struct change_report report;

	fake_pause(f, 7);
	fake_pause(f, 150);
	for (uint32_t v = 0; v < f->pool->vcpu_slots; v++) /* holes in the numbering */
		if (v % 11 == 10 && f->pool->vcpus[v].state == BATON_VCPU_BLOCKED)
			fake_remove(f, v);
	change(f, &spec, &report);
	assert_active(f, "probe");
	probe = fake_active(f);
	for (uint32_t v = 0; v < f->pool->vcpu_slots; v++) {
		const struct pool_vcpu *truth = &f->pool->vcpus[v];
		const struct probe_vcpu *s = fake_heard_of(probe, v);

		if (truth->state == BATON_VCPU_FREE) {
			assert_int_equal(s->admits, 0);
			continue;
		}
		assert_int_equal(s->admits, 1);
		assert_int_equal(s->takes, 1);
		assert_int_equal(s->state, truth->state);
		/* the record: what the monitor knows, and rr's word for what rr owes */
		assert_int_equal(s->weight, f->pool->vms[truth->vm].weight);
		assert_int_equal(s->last_pcpu, truth->pcpu);
		assert_string_equal(s->policy, "rr");
		assert_true(s->owed_ns <= HANDOVER_OWED_MAX_NS && s->owed_ns >= -HANDOVER_OWED_MAX_NS);
		pool_enter(f->pool);
		assert_int_equal(s->service_ns, pool_vcpu_times(f->pool, v, f->now_ns).run_ns);
		pool_leave(f->pool);
		assert_int_equal(s->since_run_ns, truth->state == BATON_VCPU_RUNNING ? 0 : f->now_ns - truth->since_ns);
	}
	assert_int_equal(fake_heard(probe)->admits, fake_heard(probe)->takes);
	assert_string_equal(report.from, "rr");
	assert_string_equal(report.to, "probe");
	assert_int_equal(report.phase, PHASE_SETTLE);
	assert_int_equal(report.pcpu_count, 2);
	assert_string_equal(report.digest, image_digest(probe->image));
	fake_free(f);
}

static void a_giver_that_claims_too_much_is_brought_back(void **unused)
{
	/* A record of something that gives nothing: nothing is owed, what the monitor knows is there. */
	struct fake *f = fake_new(&(struct fake_config){.scheduler = &baton_scheduler_probe}); /* probe has no give */
	uint32_t v = fake_vcpu(f, fake_vm(f, 55));
	struct baton_history h;

	pool_enter(f->pool);
	handover_record(f->pool, f->pool->attached[0], v, f->now_ns, &h);
	assert_int_equal(h.owed_ns, 0);
	assert_int_equal(h.weight, 55);
	assert_int_equal(h.tail_size, 0);
	assert_int_equal(h.policy[0], '\0');
	handover_record(f->pool, NULL, v, f->now_ns, &h);
	assert_int_equal(h.owed_ns, 0);
	pool_leave(f->pool);
	fake_free(f);
}

static void a_loaded_scheduler_is_activated_by_a_flip_alone(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec by_name = fake_load("probe", "", CHANGE_LIVE, OLD_KEEP);
	struct change_spec dflt = {.kind = CHANGE_DEFAULT};
	const struct attached *probe;
	uint32_t admits;

	load(f, "probe", "file:probe.baton", OLD_KEEP);
	probe = fake_active(f);
	admits = fake_heard(fake_active(f))->admits;
	change(f, &dflt, NULL);
	assert_active(f, "rr");
	change(f, &by_name, NULL);
	assert_ptr_equal(fake_active(f), probe);
	assert_int_equal(fake_heard(fake_active(f))->admits, admits);
	change(f, &by_name, NULL); /* it decides already */
	assert_ptr_equal(fake_active(f), probe);
	fake_free(f);
}

static void the_same_image_again_is_a_flip_and_takes_no_slot(void **unused)
{
	struct fake *f = scene(&(struct fake_config){.arena_slots = 1}, 5);
	struct change_spec again = fake_load("", "file:probe.baton", CHANGE_LIVE, OLD_KEEP);
	struct change_spec dflt = {.kind = CHANGE_DEFAULT};
	struct change_report report;
	const struct attached *probe;

	load(f, "probe", "file:probe.baton", OLD_KEEP);
	probe = fake_active(f);
	assert_int_equal(arena_slots_free(f->arena), 0);
	for (unsigned i = 0; i < 3; i++) {
		again.old = (enum change_old)i;
		change(f, &again, NULL);
		assert_ptr_equal(fake_active(f), probe);
	}
	change(f, &dflt, NULL);
	again.old = OLD_KEEP;
	change(f, &again, &report);
	assert_string_equal(report.to, "probe"); /* known by its bytes, though no name was given */
	assert_ptr_equal(fake_active(f), probe);
	assert_int_equal(fake_attached_count(f), 2);
	fake_free(f);
}

static void to_the_default_and_back_leaves_the_image_loaded(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec dflt = {.kind = CHANGE_DEFAULT};
	struct change_report report;

	load(f, "bvt", "file:bvt.baton", OLD_KEEP);
	change(f, &dflt, &report);
	assert_string_equal(report.from, "bvt");
	assert_string_equal(report.to, "rr");
	assert_active(f, "rr");
	assert_non_null(fake_find(f, "bvt"));
	assert_int_equal(arena_slots_free(f->arena), 3);
	change(f, &dflt, NULL); /* from the default to the default */
	assert_active(f, "rr");
	fake_free(f);
}

/* ---- unloading ---- */

static struct change_spec unload_of(const char *name)
{
	struct change_spec spec = fake_load(name, "", CHANGE_LIVE, OLD_KEEP);

	spec.kind = CHANGE_UNLOAD;
	return spec;
}

static void unloading_the_active_scheduler_flips_to_the_default_first(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec spec = unload_of("probe");
	struct change_report report;

	load(f, "probe", "file:probe.baton", OLD_KEEP);
	change(f, &spec, &report);
	assert_active(f, "rr");
	assert_string_equal(report.to, "rr");
	assert_null(fake_find(f, "probe"));
	assert_int_equal(arena_slots_free(f->arena), 4);
	fake_free(f);
}

static void unloading_a_shadow_changes_nobody_who_decides(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec spec = unload_of("probe");
	struct change_report report;

	load(f, "probe", "file:probe.baton", OLD_KEEP);
	load(f, "bvt", "file:bvt.baton", OLD_KEEP);
	change(f, &spec, &report);
	assert_active(f, "bvt");
	assert_string_equal(report.to, "bvt");
	assert_null(fake_find(f, "probe"));
	fake_free(f);
}

static void the_default_is_never_unloaded(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec spec = unload_of("rr"), unknown = unload_of("nobody");

	must_be_refused(f, &spec, -EPERM, "default");
	load(f, "bvt", "file:bvt.baton", OLD_KEEP);
	must_be_refused(f, &spec, -EPERM, "default");
	must_be_refused(f, &unknown, -ENOENT, "nobody");
	fake_free(f);
}

/* ---- what becomes of the old one ---- */

static void the_old_image_is_kept_or_unloaded_as_asked(void **unused)
{
	static const bool kept[] = {[OLD_KEEP] = true, [OLD_UNLOAD_BEFORE] = false, [OLD_UNLOAD_AFTER] = false};

	for (unsigned old = OLD_KEEP; old <= OLD_UNLOAD_AFTER; old++) {
		struct fake *f = small_scene();

		load(f, "probe", "file:probe.baton", OLD_KEEP);
		load(f, "bvt", "file:bvt.baton", (enum change_old)old);
		assert_active(f, "bvt");
		assert_int_equal(fake_find(f, "probe") != NULL, kept[old]);
		assert_non_null(fake_find(f, "rr")); /* the default stays in any case */
		fake_free(f);
	}
}

static void the_old_image_goes_also_when_the_new_one_is_loaded_already(void **unused)
{
	static const enum change_old olds[] = {OLD_UNLOAD_BEFORE, OLD_UNLOAD_AFTER};

	for (unsigned i = 0; i < ARRAY_SIZE(olds); i++) {
		struct fake *f = small_scene();

		load(f, "bvt", "file:bvt.baton", OLD_KEEP);
		load(f, "probe", "file:probe.baton", OLD_KEEP);
		load(f, "bvt", i == 0 ? "" : "file:bvt.baton", olds[i]);
		assert_active(f, "bvt");
		assert_null(fake_find(f, "probe"));
		assert_int_equal(arena_slots_free(f->arena), 3);
		fake_free(f);
	}
}

static void without_a_free_slot_the_old_one_must_go_first(void **unused)
{
	struct fake *f = scene(&(struct fake_config){.arena_slots = 1}, 5);
	struct change_spec spec = fake_load("bvt", "file:bvt.baton", CHANGE_LIVE, OLD_KEEP);

	load(f, "probe", "file:probe.baton", OLD_KEEP);
	must_be_refused(f, &spec, -ENOSPC, "slot");
	spec.old = OLD_UNLOAD_AFTER; /* both would have to be there for a moment */
	must_be_refused(f, &spec, -ENOSPC, "slot");
	spec.old = OLD_UNLOAD_BEFORE;
	change(f, &spec, NULL);
	assert_active(f, "bvt");
	assert_null(fake_find(f, "probe"));
	fake_free(f);
}

/* The old image is given up only for one that can be had. */
static void a_request_that_cannot_succeed_does_not_cost_the_old_image_its_place(void **unused)
{
	struct fake *f = scene(&(struct fake_config){.arena_slots = 1}, 5);
	struct change_spec spec = fake_load("", "file:no-such.baton", CHANGE_LIVE, OLD_UNLOAD_BEFORE);

	load(f, "probe", "file:probe.baton", OLD_KEEP);
	must_be_refused(f, &spec, -ENOENT, "no-such.baton");
	spec = fake_load("", "file:broken.baton", CHANGE_LIVE, OLD_UNLOAD_BEFORE);
	must_be_refused(f, &spec, -ENOEXEC, "");
	spec = fake_load("credit", "file:bvt.baton", CHANGE_LIVE, OLD_UNLOAD_BEFORE);
	must_be_refused(f, &spec, -EINVAL, "credit");
	spec = fake_load("bvt", "file:bvt.baton", CHANGE_LIVE, OLD_UNLOAD_BEFORE);
	fake_param(&spec, "no_such_parameter", 1);
	must_be_refused(f, &spec, -ENOENT, "no_such_parameter");
	fake_free(f);
}

/* ---- refusals ---- */

static void an_image_with_another_scheduler_is_refused(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec spec = fake_load("credit", "file:bvt.baton", CHANGE_LIVE, OLD_KEEP);

	must_be_refused(f, &spec, -EINVAL, "credit");
	fake_free(f);
}

static void a_name_alone_means_the_image_of_that_name(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec nobody = fake_load("nobody", "", CHANGE_LIVE, OLD_KEEP);

	must_be_refused(f, &nobody, -ENOENT, "nobody.baton");
	load(f, "bvt", "", OLD_KEEP);
	fake_free(f);
}

/* Another version of what runs already: the same name, another image. */
static void schedulers_of_one_name_are_told_apart_by_number(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec again = fake_load("", "file:rr.baton", CHANGE_LIVE, OLD_KEEP);
	struct change_spec by_name = fake_load("rr", "", CHANGE_LIVE, OLD_KEEP), by_number = by_name;
	struct change_spec unload = {.kind = CHANGE_UNLOAD, .name = "rr"};

	change(f, &again, NULL);
	assert_int_equal(fake_active(f)->id, 1);
	must_be_refused(f, &by_name, -ENOTUNIQ, "rr#0, rr#1");
	snprintf(by_number.name, sizeof by_number.name, "rr#0");
	change(f, &by_number, NULL);
	assert_int_equal(fake_active(f)->id, 0);
	snprintf(by_number.name, sizeof by_number.name, "rr#1");
	change(f, &by_number, NULL);
	assert_int_equal(fake_active(f)->id, 1);
	for (unsigned i = 0; i < 5; i++) {
		static const char *const wrong[] = {"rr#2", "rr#", "rr#x", "rr#1x", "rr#-1"};

		snprintf(by_number.name, sizeof by_number.name, "%s", wrong[i]);
		must_be_refused(f, &by_number, -ENOENT, wrong[i]);
	}
	change(f, &unload, NULL); /* the default cannot be meant */
	assert_int_equal(fake_active(f)->id, 0);
	assert_int_equal(fake_attached_count(f), 1);
	must_be_refused(f, &unload, -EPERM, "built-in default");
	fake_free(f);
}

static void a_withdrawn_scheduler_cannot_be_activated(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec dflt = {.kind = CHANGE_DEFAULT}, unload = {.kind = CHANGE_UNLOAD, .name = "probe"};
	struct change_spec back = fake_load("probe", "", CHANGE_LIVE, OLD_KEEP);
	struct attached *probe;

	load(f, "probe", "file:probe.baton", OLD_KEEP);
	probe = fake_active(f);
	change(f, &dflt, NULL);
	fake_set(f, probe, PROBE_SAYS, SAYS_WHY);
	fake_set(f, probe, PROBE_REFUSE_ADMIT, fake_heard(probe)->admits + 1);
	fake_ready(f, fake_vm(f, 0));
	assert_true(probe->withdrawn);
	must_be_refused(f, &back, -EBADE, PROBE_WHY);
	change(f, &unload, NULL);
	change(f, &back, NULL); /* its image, from the beginning */
	assert_active(f, "probe");
	fake_free(f);
}

static void a_refusal_in_attach_leaves_everything_as_it_was(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec spec = fake_load("probe2", "file:probe2.baton", CHANGE_LIVE, OLD_KEEP);

	load(f, "probe", "file:probe.baton", OLD_KEEP);
	fake_param(&spec, "refuse_attach", EDOM);
	must_be_refused(f, &spec, -EDOM, "probe2");
	fake_param(&spec, "says", SAYS_WHY);
	must_be_refused(f, &spec, -EDOM, "refuses this pool: " PROBE_WHY);
	spec.params[0].value = 0;
	change(f, &spec, NULL); /* and nothing stands in the way of another attempt */
	assert_active(f, "probe2");
	fake_free(f);
}

static void a_refusal_at_any_admit_or_take_leaves_everything_as_it_was(void **unused)
{
	static const uint32_t numbers[] = {1, 2, 7, BATCH, BATCH + 1, 2 * BATCH, 2 * BATCH + 3};
	struct fake *f = scene(&(struct fake_config){.pcpus = 2, .vcpus = 200}, 2 * BATCH + 3);

	load(f, "probe", "file:probe.baton", OLD_KEEP);
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		struct change_spec spec =
		    fake_load("probe2", "file:probe2.baton", i % 2 ? CHANGE_CEASE : CHANGE_LIVE, OLD_KEEP);

		fake_param(&spec, "refuse_admit", numbers[i]);
		must_be_refused(f, &spec, -ENOSPC, "refuses to take vCPU");
		spec = fake_load("probe2", "file:probe2.baton", CHANGE_LIVE, OLD_UNLOAD_AFTER);
		fake_param(&spec, "refuse_take", numbers[i]);
		must_be_refused(f, &spec, -EINVAL, "Invalid argument");
		fake_param(&spec, "says", SAYS_WHY);
		must_be_refused(f, &spec, -EINVAL, PROBE_WHY);
	}
	fake_free(f);
}

static void wrong_parameters_are_refused_by_name_and_range(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec spec = fake_load("probe", "file:probe.baton", CHANGE_LIVE, OLD_KEEP);

	fake_param(&spec, "answer", ANSWER_HONEST);
	fake_param(&spec, "no_such_parameter", 1);
	must_be_refused(f, &spec, -ENOENT, "no_such_parameter");
	spec.param_count = 0;
	fake_param(&spec, "answer", ANSWER_FREE + 1);
	must_be_refused(f, &spec, -ERANGE, "0 to 7");
	spec.params[0].value = -1;
	must_be_refused(f, &spec, -ERANGE, "0 to 7");
	spec.param_count = 0;
	fake_param(&spec, "weight", 300);
	must_be_refused(f, &spec, -EINVAL, "VM");
	spec.param_count = 0;
	fake_param(&spec, "priority", -5);
	change(f, &spec, NULL);
	assert_int_equal(baton_param(fake_active(f)->region, PROBE_PRIORITY), -5);
	assert_int_equal(fake_heard(fake_active(f))->sets, 0); /* there before attach: not news */
	fake_free(f);
}

/* The same of a scheduler that is loaded already: its region must not change either. */
static void wrong_parameters_of_a_loaded_scheduler_leave_it_as_it_was(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec dflt = {.kind = CHANGE_DEFAULT};
	struct change_spec spec = fake_load("probe", "", CHANGE_LIVE, OLD_KEEP);
	int64_t priority;
	struct attached *probe;

	load(f, "probe", "file:probe.baton", OLD_KEEP);
	probe = fake_active(f);
	change(f, &dflt, NULL);
	fake_param(&spec, "weight", 300);
	must_be_refused(f, &spec, -EINVAL, "VM");
	spec.param_count = 0;
	fake_param(&spec, "answer", 99);
	must_be_refused(f, &spec, -ERANGE, "0 to 7");
	spec.param_count = 0;
	fake_param(&spec, "priority", 11);
	fake_param(&spec, "no_such_parameter", 1);
	must_be_refused(f, &spec, -ENOENT, "no_such_parameter");
	/* One that the policy itself refuses comes when others have been told already: these are taken back. */
	priority = baton_param(probe->region, PROBE_PRIORITY);
	spec.param_count = 0;
	fake_param(&spec, "priority", 11);
	fake_param(&spec, "even", 3);
	assert_int_equal(fake_change(f, &spec, NULL), -EINVAL);
	assert_active(f, "rr");
	assert_int_equal(baton_param(probe->region, PROBE_PRIORITY), priority);
	assert_int_equal(baton_param(probe->region, PROBE_EVEN), 0);
	spec.params[1].value = 4;
	change(f, &spec, NULL);
	assert_active(f, "probe");
	assert_int_equal(baton_param(probe->region, PROBE_PRIORITY), 11);
	assert_int_equal(baton_param(probe->region, PROBE_EVEN), 4);
	fake_free(f);
}

static void who_has_misbehaved_is_not_activated_before_it_was_unloaded(void **unused)
{
	struct fake *f = small_scene();
	struct change_spec spec = fake_load("probe", "", CHANGE_LIVE, OLD_KEEP), unload = unload_of("probe");

	load(f, "probe", "file:probe.baton", OLD_KEEP);
	fake_set(f, fake_active(f), PROBE_ANSWER, ANSWER_BEYOND);
	for (unsigned i = 0; i < POOL_WRONG_LIMIT; i++) {
		if (f->pool->pcpus[0].running != BATON_NONE)
			fake_stop(f, 0, BATON_STOP_SLICE);
		fake_ask(f, 0);
	}
	assert_active(f, "rr");
	must_be_refused(f, &spec, -EBADE, "misbehaved");
	spec = fake_load("probe", "file:probe.baton", CHANGE_LIVE, OLD_KEEP);
	must_be_refused(f, &spec, -EBADE, "misbehaved");
	change(f, &unload, NULL);
	change(f, &spec, NULL);
	assert_active(f, "probe");
	fake_free(f);
}

static void more_schedulers_than_places_are_refused(void **unused)
{
	struct fake *f = scene(&(struct fake_config){.arena_slots = 16}, 4);
	struct change_spec spec = fake_load("probe", "file:probe.baton", CHANGE_LIVE, OLD_KEEP);

	for (unsigned i = 1; i < POOL_ATTACHED_MAX; i++)
		fake_attach(f, &baton_scheduler_probe);
	spec.name[0] = '\0';
	must_be_refused(f, &spec, -ENOSPC, "attached");
	fake_free(f);
}

/* ---- what a newcomer must know beside the vCPUs ---- */

static void a_newcomer_knows_who_owns_the_console(void **unused)
{
	struct fake *f = small_scene();
	uint64_t now = pool_enter(f->pool);

	pool_console_give(f->pool, 2, now);
	pool_leave(f->pool);
	load(f, "probe", "file:probe.baton", OLD_KEEP);
	assert_int_equal(fake_heard(fake_active(f))->boosted, 3);
	fake_free(f);
}

static void a_stop_after_the_newcomer_came_charges_it_only_for_the_time_since(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 1});
	uint32_t v = fake_ready(f, fake_vm(f, 0));

	fake_ask(f, 0);
	fake_pass(f, 10 * MS);
	load(f, "probe", "file:probe.baton", OLD_KEEP);
	fake_pass(f, 3 * MS);
	fake_stop(f, 0, BATON_STOP_SLICE);
	assert_int_equal(fake_heard_of(fake_active(f), v)->service_ns, 10 * MS);
	assert_int_equal(fake_heard_of(fake_active(f), v)->ran_ns, 3 * MS);
	fake_check(f);
	fake_free(f);
}

static void idle_pcpus_ask_again_after_a_change(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){.pcpus = 3});

	fake_ready(f, fake_vm(f, 0));
	fake_ask(f, 1);
	fake_ask(f, 0);
	fake_ask(f, 2);
	fake_forget_kicks(f);
	load(f, "probe", "file:probe.baton", OLD_KEEP);
	assert_true(f->kicks[0] == 1 && f->kicks[1] == 0 && f->kicks[2] == 1);
	fake_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_newcomer_sees_exactly_the_vcpus_that_are_there),
	    cmocka_unit_test(a_giver_that_claims_too_much_is_brought_back),
	    cmocka_unit_test(a_loaded_scheduler_is_activated_by_a_flip_alone),
	    cmocka_unit_test(the_same_image_again_is_a_flip_and_takes_no_slot),
	    cmocka_unit_test(to_the_default_and_back_leaves_the_image_loaded),
	    cmocka_unit_test(unloading_the_active_scheduler_flips_to_the_default_first),
	    cmocka_unit_test(unloading_a_shadow_changes_nobody_who_decides),
	    cmocka_unit_test(the_default_is_never_unloaded),
	    cmocka_unit_test(the_old_image_is_kept_or_unloaded_as_asked),
	    cmocka_unit_test(the_old_image_goes_also_when_the_new_one_is_loaded_already),
	    cmocka_unit_test(without_a_free_slot_the_old_one_must_go_first),
	    cmocka_unit_test(a_request_that_cannot_succeed_does_not_cost_the_old_image_its_place),
	    cmocka_unit_test(an_image_with_another_scheduler_is_refused),
	    cmocka_unit_test(a_name_alone_means_the_image_of_that_name),
	    cmocka_unit_test(schedulers_of_one_name_are_told_apart_by_number),
	    cmocka_unit_test(a_withdrawn_scheduler_cannot_be_activated),
	    cmocka_unit_test(a_refusal_in_attach_leaves_everything_as_it_was),
	    cmocka_unit_test(a_refusal_at_any_admit_or_take_leaves_everything_as_it_was),
	    cmocka_unit_test(wrong_parameters_are_refused_by_name_and_range),
	    cmocka_unit_test(wrong_parameters_of_a_loaded_scheduler_leave_it_as_it_was),
	    cmocka_unit_test(who_has_misbehaved_is_not_activated_before_it_was_unloaded),
	    cmocka_unit_test(more_schedulers_than_places_are_refused),
	    cmocka_unit_test(a_newcomer_knows_who_owns_the_console),
	    cmocka_unit_test(a_stop_after_the_newcomer_came_charges_it_only_for_the_time_since),
	    cmocka_unit_test(idle_pcpus_ask_again_after_a_change),
	};

	fake_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
