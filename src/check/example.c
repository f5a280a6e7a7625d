/* SPDX-License-Identifier: Apache-2.0 */
/* example.c - see example.h. Times are written exactly: a rounded one might not fail any more. */
#include "check/example.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static json_t *time_json(uint64_t ns)
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} units[] = {{"s", NSEC_PER_SEC}, {"ms", NSEC_PER_MSEC}, {"us", NSEC_PER_USEC}, {"ns", 1}};
	size_t i = 0;

	while (ns % units[i].ns != 0 || ns < units[i].ns) {
		if (units[i].ns == 1)
			break;
		i++;
	}
	return json_sprintf("%" PRIu64 "%s", ns / units[i].ns, units[i].unit);
}

static json_t *length_json(const struct length *l)
{
	switch (l->kind) {
	case LENGTH_UNIFORM:
		return json_pack("{s:[o, o]}", "uniform", time_json(l->a_ns), time_json(l->b_ns));
	case LENGTH_PARETO:
		return json_pack("{s:[o, o]}", "pareto", time_json(l->a_ns), time_json(l->b_ns));
	case LENGTH_EXPONENTIAL:
		return json_pack("{s:o}", "exponential", time_json(l->a_ns));
	case LENGTH_FIXED:
		break;
	}
	return time_json(l->a_ns);
}

/* Sets a time that is not 0. */
static void set_time(json_t *o, const char *key, uint64_t ns)
{
	if (ns > 0)
		json_object_set_new(o, key, time_json(ns));
}

static json_t *behaviour_json(const struct behaviour *b)
{
	switch (b->kind) {
	case BEHAVIOUR_PERIODIC: {
		json_t *o = json_pack("{s:s, s:o, s:o}", "kind", "periodic", "run", length_json(&b->run), "period",
				      time_json(b->period_ns));

		set_time(o, "offset", b->offset_ns);
		return o;
	}
	case BEHAVIOUR_IO: {
		json_t *o = json_pack("{s:s, s:o, s:o}", "kind", "io", "run", length_json(&b->run), "block",
				      length_json(&b->block));

		set_time(o, "poll", b->poll_ns);
		return o;
	}
	case BEHAVIOUR_BURSTY:
		return json_pack("{s:s, s:o, s:o, s:o, s:o}", "kind", "bursty", "run", length_json(&b->run), "block",
				 length_json(&b->block), "burst", length_json(&b->burst), "silence",
				 length_json(&b->silence));
	case BEHAVIOUR_LOCK: {
		json_t *o = json_pack("{s:s, s:o, s:o, s:i}", "kind", "lock", "run", length_json(&b->run), "hold",
				      length_json(&b->hold), "lock", (int)b->lock);

		set_time(o, "pause", b->pause_ns);
		return o;
	}
	case BEHAVIOUR_IDLE:
		return json_pack("{s:s}", "kind", "idle");
	case BEHAVIOUR_REPLAY: /* trials have none */
	case BEHAVIOUR_COMPUTE:
		break;
	}
	return json_pack("{s:s}", "kind", "compute");
}

static json_t *program_json(const struct program *p)
{
	json_t *phases, *o;

	if (p->count == 1 && p->phases[0].for_ns == TIME_NEVER)
		return behaviour_json(&p->phases[0].does);
	phases = json_array();
	for (uint32_t i = 0; i < p->count; i++) {
		o = behaviour_json(&p->phases[i].does);
		if (p->phases[i].for_ns != TIME_NEVER)
			json_object_set_new(o, "for", time_json(p->phases[i].for_ns));
		json_array_append_new(phases, o);
	}
	o = json_pack("{s:s, s:o}", "kind", "phases", "phases", phases);
	if (p->repeat)
		json_object_set_new(o, "repeat", json_true());
	return o;
}

static json_t *affinity_json(uint64_t mask)
{
	char text[256] = "";
	size_t n = 0;

	for (uint32_t p = 0; p < 64; p++)
		if ((mask >> p) & 1)
			n += (size_t)snprintf(text + n, sizeof text - n, "%s%u", n > 0 ? "," : "", p);
	return json_string(text);
}

static json_t *vm_json(const struct workload *w, const struct workload_vm *vm)
{
	const struct baton_vm *wish = &vm->wishes;
	json_t *o = json_pack("{s:s, s:i, s:i}", "name", vm->name, "vcpus", (int)vm->vcpus, "weight",
			      wish->weight ? (int)wish->weight : 256);

	if (wish->cap_percent > 0)
		json_object_set_new(o, "cap_percent", json_integer(wish->cap_percent));
	set_time(o, "warp", wish->warp_ns);
	set_time(o, "warp_limit", wish->warp_limit_ns);
	set_time(o, "unwarp", wish->unwarp_ns);
	set_time(o, "budget", wish->budget_ns);
	set_time(o, "period", wish->period_ns);
	set_time(o, "latency", wish->latency_ns);
	if (vm->pinned) /* of the pCPUs that there are */
		json_object_set_new(o, "affinity", affinity_json(vm->affinity[0] & ((UINT64_C(1) << w->pcpus) - 1)));
	set_time(o, "start", vm->start_ns);
	set_time(o, "stop", vm->stop_ns);
	if (vm->program_count == 1) {
		json_object_set_new(o, "behaviour", program_json(&vm->programs[0]));
	} else {
		json_t *list = json_array();

		for (uint32_t i = 0; i < vm->vcpus; i++)
			json_array_append_new(list, program_json(&vm->programs[i % vm->program_count]));
		json_object_set_new(o, "behaviours", list);
	}
	return o;
}

json_t *example_json(const struct trial *t, enum property p, const struct verdict *v)
{
	const struct workload *w = t->workload;
	json_t *vms = json_array();

	for (uint32_t i = 0; i < w->vm_count; i++)
		json_array_append_new(vms, vm_json(w, &w->vms[i]));
	return json_pack("{s:s, s:o, s:i, s:I, s:o, s:{s:o, s:o, s:o}, s:o}", "name", w->name, "about",
			 json_sprintf("property %s: %s", property_name(p), v->text), "pcpus", (int)w->pcpus, "seed",
			 (json_int_t)w->seed, "duration", time_json(w->duration_ns), "costs", "kick",
			 time_json(w->kick_ns), "switch", time_json(w->switch_ns), "migration",
			 time_json(w->migration_ns), "vms", vms);
}

int example_write(const struct trial *t, enum property p, const struct verdict *v, const char *path, struct error *e)
{
	json_t *o = example_json(t, p, v);
	int r = 0;

	if (!o)
		return error_set(e, -ENOMEM, "no memory for the example");
	if (json_dump_file(o, path, JSON_INDENT(2)) < 0)
		r = error_set(e, -EIO, "cannot write %s: %s; choose a folder with --out", path, strerror(errno));
	json_decref(o);
	return r;
}

/* ---- for people ---- */

struct sentence {
	char *buf;
	size_t size, length;
};

static void say(struct sentence *s, const char *fmt, ...) _printf_(2, 3);

static void say(struct sentence *s, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (s->length >= s->size)
		return;
	va_start(ap, fmt);
	n = vsnprintf(s->buf + s->length, s->size - s->length, fmt, ap);
	va_end(ap);
	s->length += n > 0 ? (size_t)n : 0;
}

static void say_act(struct sentence *s, const struct operator_act *a, const struct subject *subject)
{
	say(s, "; at %.6g ms ", (double)a->at_ns / 1e6);
	switch (a->kind) {
	case ACT_PAUSE:
		say(s, "vm%u is paused for %.6g ms", a->vm, (double)a->value / 1e6);
		break;
	case ACT_WEIGHT:
		say(s, "vm%u gets weight %" PRId64, a->vm, a->value);
		break;
	case ACT_PARAM:
		say(s, "%s becomes %" PRId64, subject->ops->parameters[a->vm].name, a->value);
		break;
	case ACT_FOCUS:
		say(s, "vm%u gets the console", a->vm);
		break;
	case ACT_KICK:
		say(s, "pCPU %u is kicked", a->vm);
		break;
	}
}

void example_conditions(const struct trial *t, const struct subject *subject, char *buf, size_t size)
{
	struct sentence s = {.buf = buf, .size = size};

	buf[0] = '\0';
	for (uint32_t i = 0; i < t->param_count; i++)
		say(&s, "; %s = %" PRId64, t->params[i].name, t->params[i].value);
	for (uint32_t i = 0; i < t->act_count; i++)
		say_act(&s, &t->acts[i], subject);
	if (t->handover_ns > 0 && t->mode == TRIAL_ALONE)
		say(&s, "; at %.6g ms a second instance takes over", (double)t->handover_ns / 1e6);
	if (t->mode == TRIAL_SHADOW)
		say(&s, "; round robin decides until %.6g ms", (double)t->handover_ns / 1e6);
	if (t->back_ns > 0)
		say(&s, ", and again from %.6g ms on", (double)t->back_ns / 1e6);
	if (s.length >= 2)
		memmove(buf, buf + 2, MIN(s.length, size - 1) - 1);
}
