/* SPDX-License-Identifier: Apache-2.0 */
/* sched_requests.c - methods about the scheduler: the loading request with its parameters (row S13), and its feedback. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "monitor/internal.h"
#include "sched/loader/image.h"
#include "sched/manager.h"

/* ---- describing ---- */

static json_t *describe_report(const struct change_report *r)
{
	json_t *per_pcpu = json_array();
	json_t *o;

	for (uint32_t i = 0; i < r->pcpu_count; i++)
		json_array_append_new(per_pcpu, json_integer((json_int_t)r->blackout_per_pcpu_ns[i]));
	o = json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o}", "id", (json_int_t)r->id,
		      "kind", change_kind_name(r->kind), "state", change_state_name(r->state), "phase",
		      change_phase_name(r->phase), "from", r->from, "to", r->to, "how", change_how_name(r->how),
		      "requester", r->requester, "blackout_ns", (json_int_t)r->blackout_ns, "attach_ns",
		      (json_int_t)r->attach_ns, "attach_lock_ns", (json_int_t)r->attach_lock_ns, "took_ns",
		      (json_int_t)(r->ended_ns > r->asked_ns ? r->ended_ns - r->asked_ns : 0), "blackout_per_pcpu_ns",
		      per_pcpu);
	if (r->image[0])
		json_object_set_new(o, "image", json_string(r->image));
	if (r->digest[0])
		json_object_set_new(o, "digest", json_string(r->digest));
	if (r->vouched[0])
		json_object_set_new(o, "vouched", json_string(r->vouched));
	if (r->note[0])
		json_object_set_new(o, "note", json_string(r->note));
	if (r->fetched_bytes > 0) {
		json_object_set_new(o, "fetched_bytes", json_integer((json_int_t)r->fetched_bytes));
		json_object_set_new(o, "fetch_bytes", json_integer((json_int_t)r->fetch_bytes));
	}
	if (r->state == CHANGE_REFUSED)
		json_object_set_new(o, "error", json_string(r->error));
	return o;
}

static const char *describe_role(struct pool *pool, const struct attached *a) REQUIRES(pool->lock)
{
	if (a == manager_active(pool))
		return "active";
	if (a->id == 0)
		return "default";
	return a->withdrawn ? "withdrawn" : "shadow";
}

/* Why it can no longer be activated; empty when it can. */
static const char *describe_note(const struct attached *a)
{
	return a->withdrawn ? a->reason : a->faulty ? "gave too many wrong answers" : "";
}

static json_t *describe_attached(struct pool *pool, struct attached *a) REQUIRES(pool->lock)
{
	json_t *params = json_object();

	for (uint32_t i = 0; i < a->ops->parameter_count; i++)
		if (a->ops->parameters[i].scope == BATON_SCOPE_POOL)
			json_object_set_new(params, a->ops->parameters[i].name,
					    json_integer(baton_param(a->region, i)));
	return json_pack("{s:i, s:s, s:s, s:s, s:b, s:s, s:s?, s:b, s:s, s:I, s:I, s:o}", "id", (int)a->id, "name",
			 a->ops->name, "version", a->ops->version, "role", describe_role(pool, a), "loaded", 1, "image",
			 a->image ? image_source(a->image) : "built in", "digest",
			 a->image ? image_digest(a->image) : NULL, "faulty", a->faulty, "note", describe_note(a),
			 "asked", (json_int_t)a->asked, "wrong", (json_int_t)a->wrong, "parameters", params);
}

json_t *request_sched_status(struct monitor *m, const struct requester *who, json_t *params) NO_TSA
{
	struct pool *pool = m->pool;
	struct change_report last;
	json_t *list = json_array(), *reply;

	pool_enter(pool);
	for (uint32_t i = 0; i < POOL_ATTACHED_MAX; i++)
		if (pool->attached[i])
			json_array_append_new(list, describe_attached(pool, pool->attached[i]));
	reply = json_pack("{s:b, s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:I}", "ok", 1, "active",
			  manager_active(pool)->ops->name, "default", manager_default(pool)->ops->name, "activation",
			  activation_way_name(pool->activation->way), "schedulers", list, "decisions",
			  (json_int_t)pool->decisions, "wrong_answers", (json_int_t)pool->wrong_answers, "fallbacks",
			  (json_int_t)pool->fallbacks, "pcpus", (json_int_t)pool->pcpu_count);
	pool_leave(pool);
	json_object_set_new(reply, "trust", supply_describe(m->supply));
	json_object_set_new(reply, "slots_free", json_integer((json_int_t)arena_slots_free(m->arena)));
	json_object_set_new(reply, "changes", json_integer((json_int_t)change_queue_last(m->changes)));
	if (change_queue_report(m->changes, change_queue_last(m->changes), &last) == 0)
		json_object_set_new(reply, "change", describe_report(&last));
	else
		json_object_set_new(reply, "change", json_null());
	return reply;
}

/* ---- asking for a change ---- */

static void sign(const struct monitor *m, const struct requester *who, struct change_spec *spec) NO_TSA
{
	spec->trusted = who->kind == REQUESTER_OPERATOR;
	spec->vm = spec->trusted ? 0 : who->vm;
	if (spec->trusted)
		snprintf(spec->requester, sizeof spec->requester, "operator");
	else
		snprintf(spec->requester, sizeof spec->requester, "service VM %.48s",
			 who->vm >= 1 && who->vm <= m->max_vms && m->vms[who->vm - 1] ? m->vms[who->vm - 1]->name
										      : "?");
}

static int read_word(const char *word, const char *const *words, size_t count, const char *what, struct error *e)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(word, words[i]) == 0)
			return (int)i;
	return error_set(e, -EINVAL, "%s is one of %s, %s%s%s, not \"%.32s\"", what, words[0], words[1],
			 count > 2 ? ", " : "", count > 2 ? words[2] : "", word);
}

static int read_how(const char *how, struct change_spec *spec, struct error *e)
{
	static const char *const words[] = {"live", "cease"};
	int r = read_word(how, words, ARRAY_SIZE(words), "how", e);

	spec->how = r < 0 ? CHANGE_LIVE : (enum change_how)r;
	return MIN(r, 0);
}

static int read_old(const char *old, struct change_spec *spec, struct error *e)
{
	static const char *const words[] = {"keep", "unload-before", "unload-after"};
	int r = read_word(old, words, ARRAY_SIZE(words), "old", e);

	spec->old = r < 0 ? OLD_KEEP : (enum change_old)r;
	return MIN(r, 0);
}

static int read_settings(json_t *settings, struct change_spec *spec, struct error *e)
{
	const char *key;
	json_t *value;

	json_object_foreach(settings, key, value)
	{
		struct change_param *p = &spec->params[spec->param_count];

		if (spec->param_count == BATON_PARAMS_MAX)
			return error_set(e, -E2BIG, "more than %d parameters", BATON_PARAMS_MAX);
		if (strlen(key) >= sizeof p->name)
			return error_set(e, -EINVAL, "no scheduler has a parameter with so long a name: %.40s...", key);
		if (!json_is_integer(value))
			return error_set(e, -EINVAL, "parameter %s takes a whole number", key);
		snprintf(p->name, sizeof p->name, "%s", key);
		p->value = json_integer_value(value);
		spec->param_count++;
	}
	return 0;
}

static int read_name(const char *name, const char *image, struct change_spec *spec, struct error *e)
{
	if (strlen(name) >= sizeof spec->name || strlen(image) >= sizeof spec->image)
		return error_set(e, -ENAMETOOLONG, "the name of the scheduler or of its image is too long");
	snprintf(spec->name, sizeof spec->name, "%s", name);
	snprintf(spec->image, sizeof spec->image, "%s", image);
	return 0;
}

static json_t *enqueue(struct monitor *m, const struct requester *who, struct change_spec *spec)
{
	struct error e = {0};
	uint64_t id;
	int r;

	sign(m, who, spec);
	r = change_queue_add(m->changes, spec, &id, &e);
	return r < 0 ? reply_from(r, &e) : json_pack("{s:b, s:I}", "ok", 1, "change", (json_int_t)id);
}

json_t *request_sched_load(struct monitor *m, const struct requester *who, json_t *params)
{
	struct change_spec spec = {.kind = CHANGE_LOAD};
	const char *name = "", *image = "", *how = "live", *old = "keep";
	json_t *settings = NULL;
	struct error e = {0};
	json_error_t why;
	int older = 0;
	int r;

	if (!params ||
	    json_unpack_ex(params, &why, JSON_STRICT, "{s?s, s?s, s?o, s?s, s?s, s?b}", "name", &name, "image", &image,
			   "params", &settings, "how", &how, "old", &old, "older", &older) < 0)
		return reply_error(EINVAL, "sched.load: %.200s", params ? why.text : "parameters are missing");
	if (name[0] == '\0' && image[0] == '\0')
		return reply_error(EINVAL, "which scheduler? give a name, an image, or both");
	if (older && who->kind != REQUESTER_OPERATOR)
		return reply_error(EPERM, "only the operator may go back to a version older than was in use");
	spec.older = older;
	if (settings && !json_is_object(settings))
		return reply_error(EINVAL, "params must be an object of names and whole numbers");
	r = read_name(name, image, &spec, &e);
	if (r >= 0)
		r = read_how(how, &spec, &e);
	if (r >= 0)
		r = read_old(old, &spec, &e);
	if (r >= 0 && settings)
		r = read_settings(settings, &spec, &e);
	return r < 0 ? reply_from(r, &e) : enqueue(m, who, &spec);
}

static json_t *change_with_how(struct monitor *m, const struct requester *who, json_t *params, enum change_kind kind)
{
	struct change_spec spec = {.kind = kind};
	const char *how = "live", *name = "";
	struct error e = {0};
	json_error_t why;
	int r;

	if (params && json_unpack_ex(params, &why, JSON_STRICT, "{s?s, s?s}", "how", &how, "name", &name) < 0)
		return reply_error(EINVAL, "%.200s", why.text);
	if (kind == CHANGE_UNLOAD && name[0] == '\0')
		return reply_error(EINVAL, "which scheduler shall be unloaded? give its name");
	r = read_name(name, "", &spec, &e);
	if (r >= 0)
		r = read_how(how, &spec, &e);
	return r < 0 ? reply_from(r, &e) : enqueue(m, who, &spec);
}

json_t *request_sched_default(struct monitor *m, const struct requester *who, json_t *params)
{
	return change_with_how(m, who, params, CHANGE_DEFAULT);
}

json_t *request_sched_unload(struct monitor *m, const struct requester *who, json_t *params)
{
	return change_with_how(m, who, params, CHANGE_UNLOAD);
}

/* ---- how it went ---- */

json_t *request_sched_change(struct monitor *m, const struct requester *who, json_t *params)
{
	json_t *id = json_object_get(params, "id");
	struct change_report report;
	json_t *reply;

	if (!json_is_integer(id))
		return reply_error(EINVAL, "which change? give its id, as sched.load answered it");
	if (change_queue_report(m->changes, (uint64_t)json_integer_value(id), &report) < 0)
		return reply_error(ENOENT, "no change %lld is known (the last %d are kept)",
				   (long long)json_integer_value(id), CHANGE_HISTORY);
	reply = describe_report(&report);
	json_object_set_new(reply, "ok", json_true());
	return reply;
}

json_t *request_sched_history(struct monitor *m, const struct requester *who, json_t *params)
{
	json_t *list = json_array();
	uint64_t last = change_queue_last(m->changes);
	struct change_report report;

	for (uint64_t id = last > CHANGE_HISTORY ? last - CHANGE_HISTORY + 1 : 1; id <= last; id++)
		if (change_queue_report(m->changes, id, &report) == 0)
			json_array_append_new(list, describe_report(&report));
	return json_pack("{s:b, s:o}", "ok", 1, "changes", list);
}

/* ---- what happened last, event by event ---- */

json_t *request_sched_trace(struct monitor *m, const struct requester *who, json_t *params) NO_TSA
{
	json_int_t last = json_integer_value(json_object_get(params, "last"));
	struct trace_ring *copy = malloc(sizeof *copy);
	json_t *list = json_array();
	uint64_t first, now;

	if (!copy) {
		json_decref(list);
		return reply_error(ENOMEM, "no memory for a copy of the trace");
	}
	now = pool_enter(m->pool);
	*copy = *m->pool->trace;
	pool_leave(m->pool);
	if (last <= 0 || last > TRACE_RECORDS)
		last = TRACE_RECORDS;
	first = copy->written > (uint64_t)last ? copy->written - (uint64_t)last : 0;
	for (uint64_t i = first; i < copy->written; i++) {
		const struct trace_record *t = &copy->records[i % TRACE_RECORDS];

		json_array_append_new(list,
				      json_pack("{s:I, s:s, s:i, s:i, s:I, s:I}", "ns", (json_int_t)(t->time_ns - now),
						"event", trace_kind_name(t->kind), "vcpu", (int)t->vcpu, "pcpu",
						(int)t->pcpu, "a", (json_int_t)t->a, "b", (json_int_t)t->b));
	}
	free(copy);
	return json_pack("{s:b, s:o}", "ok", 1, "records", list);
}

/* ---- tuning ---- */

static int set_pool(struct monitor *m, const char *scheduler, const char *name, int64_t value, struct error *e) NO_TSA
{
	struct pool *pool = m->pool;
	uint64_t now = pool_enter(pool);
	struct attached *a = manager_active(pool);
	int r = 0;

	if (scheduler)
		r = pool_resolve(pool, scheduler, false, &a, e);
	if (r >= 0)
		r = attached_set(a, BATON_NONE, name, value, now, e);
	pool_leave(pool);
	return r;
}

static int set_vm(struct monitor *m, json_t *key, const char *name, int64_t value, struct error *e) NO_TSA
{
	struct pool *pool = m->pool;
	const struct wish *w = wish_find(name);
	struct vm *vm;
	int r = 0;

	if (!w)
		return error_set(e, -ENOENT,
				 "a VM has no parameter %.32s; there are weight, cap_percent, warp_ns, warp_limit_ns, "
				 "unwarp_ns, budget_ns, period_ns, latency_ns",
				 name);
	if (value < (int64_t)w->min || value > (int64_t)w->max)
		return error_set(e, -ERANGE, "%s takes a whole number from %" PRIu64 " to %" PRIu64, name, w->min,
				 w->max);
	vm = vm_find(m, key, e);
	if (!vm)
		return -ENOENT;
	lock_take(&m->lock);
	if (vm->host) {
		uint32_t id = host_vm_id(vm->host);
		uint64_t now = pool_enter(pool);
		struct baton_vm before = pool->vms[id];

		wish_put(&pool->vms[id], w, (uint64_t)value);
		r = pool_vm_changed(pool, id, name, now, e);
		if (r < 0) { /* nothing is half applied */
			pool->vms[id] = before;
			(void)pool_vm_changed(pool, id, name, now, NULL);
		}
		pool_leave(pool);
	} else {
		r = error_set(e, -ESRCH, "VM %s is off", vm->name);
	}
	lock_drop(&m->lock);
	vm_unref(vm);
	return r;
}

json_t *request_sched_set(struct monitor *m, const struct requester *who, json_t *params)
{
	const char *name, *scheduler = NULL;
	json_int_t value;
	json_t *vm = NULL;
	struct error e = {0};
	json_error_t why;
	int r;

	if (!params || json_unpack_ex(params, &why, JSON_STRICT, "{s:s, s:I, s?o, s?s}", "parameter", &name, "value",
				      &value, "vm", &vm, "scheduler", &scheduler) < 0)
		return reply_error(EINVAL, "sched.set: %.200s", params ? why.text : "give a parameter and a value");
	r = vm ? set_vm(m, vm, name, value, &e) : set_pool(m, scheduler, name, value, &e);
	return r < 0 ? reply_from(r, &e) : reply_ok();
}
