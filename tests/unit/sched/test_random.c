/* SPDX-License-Identifier: Apache-2.0 */
/* Random events and random changes: a shadow is as good as the active scheduler, and nothing is ever lost. Each run
 * prints its seed; BATON_TEST_SEED=... repeats it. */
#include "world.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "policies/builtin.h"

#define EVENTS	60000
#define CHANGES 10000

/* ---- several hear every event ---- */

static void must_answer_alike(struct world *w, struct attached *a, struct attached *b)
{
	struct pool *p = w->f->pool;
	uint64_t now = pool_enter(p);

	for (uint32_t i = 0; i < p->pcpu_count; i++) {
		struct baton_choice one, other, again;

		if (p->pcpus[i].running != BATON_NONE)
			continue;
		one = attached_choose(a, i, now);
		other = attached_choose(b, i, now);
		again = attached_choose(a, i, now);
		must(one.vcpu == other.vcpu && one.slice_ns == other.slice_ns);
		must(one.vcpu == again.vcpu && one.slice_ns == again.slice_ns); /* a question changes nothing */
	}
	for (uint32_t v = 0; v < p->vcpu_slots; v++)
		if (p->vcpus[v].state == BATON_VCPU_RUNNABLE)
			must(attached_preempts(a, v, now) == attached_preempts(b, v, now));
	for (uint32_t vm = 0; vm < p->vm_slots; vm++)
		if (p->vms[vm].used)
			must(attached_priority(a, vm, now) == attached_priority(b, vm, now));
	must(attached_choose_console(a, now) == attached_choose_console(b, now));
	pool_leave(p);
}

static void a_shadow_from_the_start_answers_like_the_active_one(const struct baton_scheduler *policy)
{
	uint64_t seed = fake_seed();

	for (uint32_t pcpus = 1; pcpus <= 4; pcpus *= 2) {
		struct world w = world_new(seed + pcpus, pcpus, policy);
		struct attached *active = w.f->pool->attached[0], *shadow = fake_attach(w.f, policy);
		uint64_t decisions;

		for (unsigned i = 0; i < EVENTS; i++) {
			world_event(&w);
			must_answer_alike(&w, active, shadow);
			if (i % 64 == 0)
				fake_check(w.f);
			if (i % 1000 == 999) /* who of the two decides makes no difference either */
				fake_activate(w.f, fake_active(w.f) == active ? shadow : active);
		}
		decisions = w.f->pool->decisions;
		must(decisions > EVENTS / 10);
		must(w.f->pool->wrong_answers == 0);
		must(active->alarm_count == shadow->alarm_count && active->lost_alarms == shadow->lost_alarms);
		fake_free(w.f);
	}
}

static void a_round_robin_shadow_answers_like_the_active_one(void **unused)
{
	a_shadow_from_the_start_answers_like_the_active_one(&baton_scheduler_rr);
}

static void a_bvt_shadow_answers_like_the_active_one(void **unused)
{
	a_shadow_from_the_start_answers_like_the_active_one(&baton_scheduler_bvt);
}

/* Whoever decides, every scheduler hears the same: the probe finds the order of events as promised. */
static void every_scheduler_hears_events_in_the_promised_order(void **unused)
{
	struct world w = world_new(fake_seed(), 3, &baton_scheduler_rr);
	struct attached *a[] = {w.f->pool->attached[0], fake_attach(w.f, &baton_scheduler_bvt),
				fake_attach(w.f, &baton_scheduler_probe)};
	const struct probe_pool *h = fake_heard(a[2]);

	for (unsigned i = 0; i < EVENTS; i++) {
		world_event(&w);
		if (i % 16 == 0)
			fake_check(w.f);
		if (i % 50 == 49)
			fake_activate(w.f, a[world_random(&w, 3)]);
	}
	must(w.f->pool->wrong_answers == 0);
	must(h->starts > 1000 && h->starts - h->stops <= 3 && h->admits > h->retires && h->retires > 10);
	fake_free(w.f);
}

/* ---- random changes ---- */

static struct change_spec random_change(struct world *w)
{
	static const char *const images[] = {"", "file:bvt.baton", "file:probe.baton", "file:rr.baton",
					     "file:broken.baton"};
	static const char *const names[] = {"bvt", "rr", "probe", ""};
	struct change_spec spec =
	    fake_load(names[world_random(w, 4)], "", CHANGE_LIVE, (enum change_old)world_random(w, 3));

	switch (world_random(w, 8)) {
	case 0:
		spec.kind = CHANGE_DEFAULT;
		break;
	case 1:
		spec.kind = CHANGE_UNLOAD;
		break;
	case 2:
	case 3:
		spec = fake_load("bvt", "", CHANGE_LIVE, OLD_KEEP);
		break;
	case 4:
		spec = fake_load("", "file:bvt.baton", CHANGE_LIVE, spec.old);
		break;
	default:
		snprintf(spec.image, sizeof spec.image, "%s", images[world_random(w, ARRAY_SIZE(images))]);
	}
	if (world_random(w, 8) == 0)
		fake_param(&spec, "refuse_admit", 1 + world_random(w, 10)); /* known to probe alone */
	return spec;
}

static void must_be_conserved(struct world *w, const uint64_t admitted[WORLD_VCPUS])
{
	fake_check(w->f);
	for (uint32_t v = 0; v < WORLD_VCPUS; v++) /* the same vCPUs as before the change */
		must(admitted[v] == w->f->pool->vcpus[v].admitted_ns);
}

static void after_ten_thousand_random_changes_nothing_is_lost(void **unused)
{
	struct world w = world_new(fake_seed(), 2, &baton_scheduler_rr);
	unsigned done = 0, refused = 0, by_active[3] = {0};

	while (done < CHANGES) {
		struct change_spec spec = random_change(&w);
		uint64_t admitted[WORLD_VCPUS];

		for (uint32_t i = world_random(&w, 30); i > 0; i--)
			world_event(&w);
		for (uint32_t v = 0; v < WORLD_VCPUS; v++)
			admitted[v] = w.f->pool->vcpus[v].admitted_ns;
		if (fake_change(w.f, &spec, NULL) == 0)
			done++;
		else
			refused++;
		must_be_conserved(&w, admitted);
		by_active[fake_active(w.f)->ops->name[0] == 'b' ? 0 : fake_active(w.f)->ops->name[0] == 'p' ? 1 : 2]++;
	}
	print_message("%u changes, %u refused; decided by bvt %u, probe %u, rr %u times; %llu events, %llu decisions\n",
		      done, refused, by_active[0], by_active[1], by_active[2], (unsigned long long)w.events,
		      (unsigned long long)w.f->pool->decisions);
	must(refused > 0 && by_active[0] > 1000 && by_active[1] > 100 && by_active[2] > 1000);
	must(w.f->pool->wrong_answers == 0);
	fake_free(w.f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_round_robin_shadow_answers_like_the_active_one),
	    cmocka_unit_test(a_bvt_shadow_answers_like_the_active_one),
	    cmocka_unit_test(every_scheduler_hears_events_in_the_promised_order),
	    cmocka_unit_test(after_ten_thousand_random_changes_nothing_is_lost),
	};

	fake_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
