/* SPDX-License-Identifier: Apache-2.0 */
/* change.c - the steps of a change of scheduler, one function per phase. See change.h for the drawing. */
#include "sched/change.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sched/loader/arena.h"
#include "sched/loader/image.h"
#include "sched/manager.h"
#include "sched/source.h"
#include "sched/supply.h"

#define ATTACH_BATCH   64 /* vCPUs handed over per hold of the lock */
#define CEASE_LIMIT_NS (2 * NSEC_PER_SEC)

/* One change on its way. */
struct work {
	struct changer *changer;
	struct pool *pool;
	const struct change_spec *spec;
	struct change_report *report;
	struct error e;

	char where[sizeof((struct change_spec *)NULL)->image];
	struct supplied file; /* the fetched image */
	struct image *image;
	struct attached *from, *to;
	bool fresh;			  /* `to` was attached by this change */
	int64_t before[BATON_PARAMS_MAX]; /* of the first told_count parameters: what they were before they were told */
	uint32_t told_count;
};

static const char *const kind_names[] = {"load", "default", "unload"};
static const char *const state_names[] = {"queued", "running", "done", "refused"};
static const char *const phase_names[] = {"fetch", "verify", "room", "attach", "commit", "settle"};
static const char *const how_names[] = {"live", "cease"};

const char *change_kind_name(enum change_kind kind)
{
	return kind_names[kind];
}

const char *change_state_name(enum change_state state)
{
	return state_names[state];
}

const char *change_phase_name(enum change_phase phase)
{
	return phase_names[phase];
}

const char *change_how_name(enum change_how how)
{
	return how_names[how];
}

static void enter_phase(struct work *w, enum change_phase phase)
{
	w->report->phase = phase;
	if (w->changer->progress)
		w->changer->progress(w->changer->ctx, w->report);
}

/* Which scheduler is active changes only by changes (which come one at a time) and by fallbacks, which go to the default:
 * so what is read here can only be replaced by the default until the commit. */
static struct attached *active(struct pool *p)
{
	struct attached *a;

	pool_enter(p);
	a = manager_active(p);
	pool_leave(p);
	return a;
}

static int find(struct pool *p, const char *name, bool images, struct attached **ret, struct error *e)
{
	int r;

	pool_enter(p);
	r = pool_resolve(p, name, images, ret, e);
	pool_leave(p);
	return r;
}

/* ---- fetch, verify, room ---- */

/* Bytes come in. */
static bool on_fetch(void *ctx, uint64_t done, uint64_t total)
{
	struct work *w = ctx;

	w->report->fetched_bytes = done;
	w->report->fetch_bytes = total;
	if (w->changer->progress)
		w->changer->progress(w->changer->ctx, w->report);
	return !w->changer->go_on || w->changer->go_on(w->changer->ctx);
}

static int fetch(struct work *w)
{
	const struct image_supply *supply = w->changer->supply;
	int r;

	enter_phase(w, PHASE_FETCH);
	if (w->spec->image[0] != '\0')
		snprintf(w->where, sizeof w->where, "%s", w->spec->image);
	else
		snprintf(w->where, sizeof w->where, "file:%s.baton", w->spec->name);
	snprintf(w->report->image, sizeof w->report->image, "%s", w->where);
	if (supply)
		r = supply->fetch(supply->ctx, w->spec, w->where, &(struct supply_watch){.go_on = on_fetch, .ctx = w},
				  &w->file, &w->e);
	else
		r = source_fetch(w->where, w->changer->image_dir, w->spec->trusted, &w->file.bytes, &w->file.size,
				 &w->e);
	if (r < 0)
		return r;
	w->report->fetched_bytes = w->report->fetch_bytes = w->file.size;
	snprintf(w->report->note, sizeof w->report->note, "%s", w->file.note);
	image_digest_of(w->file.bytes, w->file.size, w->report->digest);
	return 0;
}

/* Does somebody vouch for the bytes? Nothing has looked into them so far. */
static int vet(struct work *w)
{
	const struct image_supply *supply = w->changer->supply;
	int r;

	enter_phase(w, PHASE_VERIFY);
	if (!supply)
		return 0;
	r = supply->vet(supply->ctx, w->spec, w->where, &w->file, &w->e);
	snprintf(w->report->vouched, sizeof w->report->vouched, "%s", w->file.by);
	return r;
}

/* May this version be put to use? */
static int admitted(struct work *w, const struct baton_scheduler *ops, struct error *e)
{
	const struct image_supply *supply = w->changer->supply;

	return supply ? supply->admit(supply->ctx, w->spec, &w->file, ops->name, ops->version, e) : 0;
}

/* Is this the scheduler that was asked for, and will it take the parameters? For image_inspect, too. */
static int fits_request(void *ctx, const struct baton_scheduler *ops, struct error *e)
{
	const struct change_spec *spec = ((struct work *)ctx)->spec;
	size_t named = strcspn(spec->name, "#"); /* a number may follow */
	uint32_t index;
	int r = 0;

	if (named > 0 && (strlen(ops->name) != named || strncmp(spec->name, ops->name, named) != 0))
		return error_set(e, -EINVAL,
				 "the image %s holds scheduler %s, not %s; ask for that name or another image",
				 spec->image, ops->name, spec->name);
	for (uint32_t i = 0; i < spec->param_count && r >= 0; i++)
		r = scheduler_check_param(ops, spec->params[i].name, spec->params[i].value, &index, e);
	return r;
}

/* All that can be said about the table of an image before it is loaded. */
static int acceptable(void *ctx, const struct baton_scheduler *ops, struct error *e)
{
	int r = fits_request(ctx, ops, e);

	return r < 0 ? r : admitted(ctx, ops, e);
}

static int verify(struct work *w)
{
	const struct baton_scheduler *ops;
	int r;

	enter_phase(w, PHASE_VERIFY);
	r = image_load(w->changer->arena, w->file.bytes, w->file.size, w->where, sched_imports, sched_import_count,
		       &w->image, &w->e);
	if (r < 0)
		return r;
	ops = image_scheduler(w->image);
	snprintf(w->report->to, sizeof w->report->to, "%s", ops->name);
	return acceptable(w, ops, &w->e);
}

static void unload(struct work *w, struct attached *a)
{
	uint64_t now = pool_enter(w->pool);

	pool_detach(w->pool, a, now);
	pool_leave(w->pool);
	attached_free(a); /* nobody can be inside of it: every call happens under the lock */
}

/* ---- attach: the newcomer becomes a shadow ---- */

/* Between two holds of the lock a vCPU may have been added that the newcomer did not want. */
static int still_there(struct work *w)
{
	return w->to->withdrawn
		   ? error_set(&w->e, -EBADE,
			       "scheduler %s has refused a vCPU and takes no part any more: %s; unload it, or "
			       "change what was refused",
			       w->to->ops->name, w->to->reason)
		   : 0;
}

static int admit_batch(struct work *w, struct pool *p, uint32_t first, uint32_t end, uint64_t now) REQUIRES(p->lock)
{
	struct attached *giver = manager_active(p);
	struct baton_history h;
	int r = still_there(w);

	if (r < 0)
		return r;
	for (uint32_t v = first; v < end; v++) {
		if (p->vcpus[v].state == BATON_VCPU_FREE || attached_knows(w->to, v))
			continue;
		handover_record(p, giver, v, now, &h);
		r = attached_admit(w->to, v, &h, now);
		if (r < 0)
			return error_set(&w->e, r,
					 "scheduler %s refuses to take vCPU %u of VM %u over: %s; nothing was changed",
					 w->to->ops->name, p->vcpus[v].index, p->vcpus[v].vm, w->to->reason);
	}
	return 0;
}

static int preset_params(struct work *w)
{
	int r;

	for (uint32_t i = 0; i < w->spec->param_count; i++) {
		r = attached_preset(w->to, w->spec->params[i].name, w->spec->params[i].value, &w->e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int attach(struct work *w)
{
	struct pool *p = w->pool;
	uint64_t began, now, locked;
	int r;

	enter_phase(w, PHASE_ATTACH);
	r = attached_new(p, image_scheduler(w->image), w->image, &w->to, &w->e);
	if (r < 0)
		return r;
	r = preset_params(w);
	if (r < 0) {
		w->to = attached_free(w->to);
		return r;
	}
	began = now = pool_enter(p);
	r = pool_attach(p, w->to);
	if (r < 0) {
		pool_leave(p);
		w->to = attached_free(w->to);
		return error_set(&w->e, r,
				 "%d schedulers are attached already; unload one with `baton sched unload NAME`",
				 POOL_ATTACHED_MAX);
	}
	w->fresh = true;
	r = attached_attach(w->to, now);
	if (r < 0)
		error_set(&w->e, r, "scheduler %s refuses this pool: %s; nothing was changed", w->to->ops->name,
			  w->to->reason);
	else if (p->console_owner != BATON_NONE)
		attached_boost(w->to, p->console_owner, now);
	for (uint32_t v = 0; r >= 0 && v < p->vcpu_slots; v += ATTACH_BATCH) {
		r = admit_batch(w, p, v, MIN(v + ATTACH_BATCH, p->vcpu_slots), now);
		locked = p->host->ops->now(p->host) - now;
		w->report->attach_lock_ns = MAX(w->report->attach_lock_ns, locked);
		pool_leave(p);
		now = pool_enter(p);
	}
	pool_leave(p);
	w->report->attach_ns = now - began;
	return r;
}

/* ---- commit ---- */

/* Somebody who idles under the old scheduler might have work under the new one. */
static void ask_idle_again(struct pool *p) REQUIRES(p->lock)
{
	for (uint32_t i = 0; i < p->pcpu_count; i++)
		if (p->pcpus[i].idle)
			pool_note_kick(p, i);
}

static int commit_live(struct work *w)
{
	struct pool *p = w->pool;
	uint64_t now = pool_enter(p);
	int r = still_there(w);

	if (r < 0) {
		pool_leave(p);
		return r;
	}
	manager_activate(p, w->to);
	w->report->blackout_ns = p->host->ops->now(p->host) - now;
	for (uint32_t i = 0; i < p->pcpu_count; i++)
		w->report->blackout_per_pcpu_ns[i] = w->report->blackout_ns;
	ask_idle_again(p);
	pool_leave(p);
	return 0;
}

/* Waits until the last pCPU has left its rest, and takes down how long each one rested. */
static void collect_blackouts(struct work *w)
{
	struct pool *p = w->pool;
	bool resting;

	do {
		pool_enter(p);
		resting = false;
		for (uint32_t i = 0; i < p->pcpu_count; i++) {
			resting |= p->pcpus[i].ceased;
			w->report->blackout_per_pcpu_ns[i] = p->pcpus[i].blackout_ns;
		}
		pool_leave(p);
		if (resting)
			usleep(50);
	} while (resting);
	for (uint32_t i = 0; i < p->pcpu_count; i++)
		w->report->blackout_ns = MAX(w->report->blackout_ns, w->report->blackout_per_pcpu_ns[i]);
}

static int commit_cease(struct work *w)
{
	struct pool *p = w->pool;
	char why[160] = "";
	bool flushed = false;
	uint64_t now = pool_enter(p);
	int r;

	pool_cease_begin(p);
	r = pool_cease_wait(p, now + CEASE_LIMIT_NS);
	if (r < 0)
		error_set(&w->e, r, "%u of %u pCPUs did not come to rest in %" PRIu64 " s; nothing was changed",
			  p->pcpu_count - p->ceased_count, p->pcpu_count, (uint64_t)(CEASE_LIMIT_NS / NSEC_PER_SEC));
	if (r == 0 && p->host->ops->flush) {
		/* Without the lock, which comes after the locks of devices; the sign keeps every pCPU at rest meanwhile. */
		pool_leave(p);
		r = p->host->ops->flush(p->host, why, sizeof why);
		flushed = r == 0;
		pool_enter(p);
		if (r < 0)
			error_set(&w->e, r, "a device did not come to rest: %s; nothing was changed", why);
	}
	if (r == 0)
		r = still_there(w);
	if (r == 0)
		manager_activate(p, w->to);
	pool_cease_end(p);
	pool_leave(p);
	if (flushed && p->host->ops->go_on)
		p->host->ops->go_on(p->host);
	collect_blackouts(w);
	return r;
}

static int commit(struct work *w)
{
	enter_phase(w, PHASE_COMMIT);
	w->report->pcpu_count = w->pool->pcpu_count;
	return w->spec->how == CHANGE_CEASE ? commit_cease(w) : commit_live(w);
}

/* ---- the kinds of change ---- */

/* To one that is attached already. All, or none: see untell_params. */
static int tell_params(struct work *w)
{
	int r = fits_request(w, w->to->ops, &w->e);
	uint64_t now;

	if (r < 0)
		return r;
	now = pool_enter(w->pool);
	for (uint32_t i = 0; i < w->spec->param_count && r >= 0; i++) {
		const struct change_param *param = &w->spec->params[i];
		uint32_t index = 0;

		(void)attached_parameter(w->to, param->name, &index);
		w->before[i] = baton_param(w->to->region, index);
		r = attached_set(w->to, BATON_NONE, param->name, param->value, now, &w->e);
		w->told_count += r >= 0;
	}
	pool_leave(w->pool);
	return r;
}

/* The change is refused: the values of before, the last one first. */
static void untell_params(struct work *w)
{
	uint64_t now = pool_enter(w->pool);

	while (w->told_count > 0) {
		w->told_count--;
		(void)attached_set(w->to, BATON_NONE, w->spec->params[w->told_count].name, w->before[w->told_count],
				   now, NULL);
	}
	pool_leave(w->pool);
}

/* Gives the default the word, so that the active image can go before the new one comes. */
static int unload_active_before(struct work *w)
{
	struct attached *old = w->from;
	int r;

	enter_phase(w, PHASE_ROOM);
	if (old->id == 0)
		return 0;
	w->to = w->pool->attached[0];
	r = commit_live(w);
	w->to = NULL;
	unload(w, old);
	w->from = active(w->pool);
	return r;
}

/* The image of the request is in w->file: into a slot with it, and attach it. */
static int load_image(struct work *w)
{
	int r = 0;

	if (w->spec->old == OLD_UNLOAD_BEFORE) {
		/* Only an image that would be accepted may cost the old one its place: look before. */
		r = image_inspect(w->file.bytes, w->file.size, sched_imports, sched_import_count, acceptable, w, &w->e);
		if (r >= 0)
			r = unload_active_before(w);
	}
	if (r >= 0)
		r = verify(w);
	if (r >= 0)
		r = attach(w);
	return r;
}

/* The attached scheduler that came from exactly these bytes, or NULL. */
static struct attached *find_digest(struct work *w)
{
	struct attached *a, *found = NULL;

	pool_enter(w->pool);
	for (uint32_t i = 1; i < POOL_ATTACHED_MAX && !found; i++) {
		a = w->pool->attached[i];
		if (a && a->image && strcmp(image_digest(a->image), w->report->digest) == 0)
			found = a;
	}
	pool_leave(w->pool);
	return found;
}

static int change_load(struct work *w)
{
	int r = 0;

	/* By name alone: the one that is loaded, else the image of that name in the image directory. */
	if (w->spec->image[0] == '\0') {
		r = find(w->pool, w->spec->name, false, &w->to, &w->e);
		if (r < 0 && (r != -ENOENT || strchr(w->spec->name, '#')))
			return r;
	}
	if (!w->to) {
		r = fetch(w);
		if (r >= 0)
			r = vet(w);
		if (r < 0)
			return r;
		w->to = find_digest(w);
	}
	if (w->to && w->to->faulty)
		return error_set(&w->e, -EBADE, "scheduler %s has misbehaved and is not asked again; unload it first",
				 w->to->ops->name);
	r = w->to ? tell_params(w) : load_image(w);
	if (r < 0)
		return r;
	snprintf(w->report->to, sizeof w->report->to, "%s", w->to->ops->name);
	r = commit(w);
	if (r < 0)
		return r;
	enter_phase(w, PHASE_SETTLE);
	if (w->file.bytes && w->changer->supply)
		w->changer->supply->used(w->changer->supply->ctx, w->spec, &w->file, w->to->ops->name,
					 w->to->ops->version);
	/* To be unloaded before, and still there: nothing had to make room, since the new one was loaded already. */
	if (w->spec->old != OLD_KEEP && w->from->id != 0 && w->from != w->to)
		unload(w, w->from);
	return 0;
}

static int change_default(struct work *w)
{
	w->to = w->pool->attached[0];
	snprintf(w->report->to, sizeof w->report->to, "%s", w->to->ops->name);
	return commit(w);
}

static int change_unload(struct work *w)
{
	struct attached *a, *dflt = w->pool->attached[0];
	int r = find(w->pool, w->spec->name, true, &a, &w->e);

	if (r == -ENOENT && find(w->pool, w->spec->name, false, &dflt, NULL) == 0)
		return error_set(&w->e, -EPERM, "%s is the built-in default scheduler and is always held",
				 dflt->ops->name);
	if (r < 0)
		return r;
	if (a == w->from)
		r = change_default(w);
	else
		snprintf(w->report->to, sizeof w->report->to, "%s", w->report->from); /* who decides stays */
	if (r < 0)
		return r;
	enter_phase(w, PHASE_SETTLE);
	unload(w, a);
	return 0;
}

int change_run(struct changer *changer, const struct change_spec *spec, struct change_report *report)
{
	struct work w = {.changer = changer, .pool = changer->pool, .spec = spec, .report = report};
	struct pool *p = changer->pool;
	int r;

	report->kind = spec->kind;
	report->how = spec->how;
	report->state = CHANGE_RUNNING;
	report->began_ns = p->host->ops->now(p->host);
	snprintf(report->requester, sizeof report->requester, "%s", spec->requester);
	snprintf(report->image, sizeof report->image, "%s", spec->image);
	w.from = active(p);
	snprintf(report->from, sizeof report->from, "%s", w.from->ops->name);
	snprintf(report->to, sizeof report->to, "%s", spec->name);

	switch (spec->kind) {
	case CHANGE_LOAD:
		r = change_load(&w);
		break;
	case CHANGE_DEFAULT:
		r = change_default(&w);
		break;
	case CHANGE_UNLOAD:
		r = change_unload(&w);
		break;
	default:
		r = error_set(&w.e, -EINVAL, "no such kind of change");
	}

	if (r < 0 && w.fresh)
		unload(&w, w.to);
	else if (r < 0)
		untell_params(&w);
	if (w.image)
		image_unref(w.image); /* the attached scheduler holds its own reference */
	free(w.file.bytes);
	report->ended_ns = p->host->ops->now(p->host);
	report->state = r < 0 ? CHANGE_REFUSED : CHANGE_DONE;
	if (r < 0)
		snprintf(report->error, sizeof report->error, "%s", w.e.text[0] ? w.e.text : strerror(-r));
	if (changer->progress)
		changer->progress(changer->ctx, report);
	return r;
}
