/* SPDX-License-Identifier: Apache-2.0 */
/* questions.c - see questions.h. */
#include "check/questions.h"

#include <stdio.h>
#include <string.h>

/* Larger regions are compared at one question of several, so that each costs about the same. */
#define COMPARED_BYTES (UINT64_C(32) * KIB)

static _Thread_local struct questions *current;

/* Copies the region when this question is one to be compared. */
static bool remember(struct questions *q, const struct baton_region *r)
{
	if (q->asked++ % (1 + r->size / COMPARED_BYTES) != 0)
		return false;
	if (q->before_bytes < r->size) {
		char *more = realloc(q->before, r->size);

		if (!more)
			return false;
		q->before = more;
		q->before_bytes = r->size;
	}
	memcpy(q->before, r, r->size);
	return true;
}

/* Records and dumps travel through the scratch: with may_scratch, what is in there may change. */
static void compare(struct questions *q, const struct baton_region *r, const char *op, bool may_scratch)
{
	const char *now = (const char *)r;
	size_t scratch = may_scratch ? r->scratch : r->size, after = MIN(scratch + BATON_SCRATCH_SIZE, r->size);

	if (memcmp(q->before, now, scratch) == 0 && memcmp(q->before + after, now + after, r->size - after) == 0)
		return;
	for (size_t at = 0; at < r->size; at++)
		if (q->before[at] != now[at] && (at < scratch || at >= after)) {
			watch_fail(q->watch, PROPERTY_QUESTIONS,
				   "%s wrote into the region: byte %zu of the %s (a question changes nothing)", op,
				   at >= r->vcpu_state	 ? (at - r->vcpu_state) % MAX(r->vcpu_stride, 1u)
				   : at >= r->pool_state ? at - r->pool_state
							 : at,
				   at >= r->vcpu_state	 ? "state of a vCPU"
				   : at >= r->pool_state ? "pool's state"
							 : "tables");
			return;
		}
}

static bool may_run(const struct pool *p, uint32_t v, uint32_t pcpu) NO_TSA
{
	return v < p->vcpu_slots && p->vcpus[v].state == BATON_VCPU_RUNNABLE &&
	       ((p->vcpus[v].affinity[pcpu / 64] >> (pcpu % 64)) & 1);
}

static const char *state_name(const struct pool *p, uint32_t v) NO_TSA
{
	static const char *const names[] = {"is not there", "is blocked", "may not run there", "runs already"};

	return v < p->vcpu_slots ? names[p->vcpus[v].state] : "does not exist";
}

static struct baton_choice watched_choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	struct questions *q = current;
	const struct pool *p = sim_pool(q->watch->sim);
	bool compared = remember(q, r);
	struct baton_choice first = q->ops->choose(r, pcpu, now), again = q->ops->choose(r, pcpu, now);

	if (compared)
		compare(q, r, "choose", false);
	if (first.vcpu != again.vcpu || first.slice_ns != again.slice_ns)
		watch_fail(q->watch, PROPERTY_QUESTIONS,
			   "choose for pCPU %u answered %d for %llu ns, then %d for %llu ns", pcpu, (int)first.vcpu,
			   (unsigned long long)first.slice_ns, (int)again.vcpu, (unsigned long long)again.slice_ns);
	if (first.vcpu != BATON_NONE && !may_run(p, first.vcpu, pcpu))
		watch_fail(q->watch, PROPERTY_ANSWERS, "choose for pCPU %u answered vCPU %u, which %s", pcpu,
			   first.vcpu, state_name(p, first.vcpu));
	return first;
}

static uint32_t watched_preempts(struct baton_region *r, uint32_t woken, uint64_t now) NO_TSA
{
	struct questions *q = current;
	const struct pool *p = sim_pool(q->watch->sim);
	bool compared = remember(q, r);
	uint32_t first = q->ops->preempts(r, woken, now), again = q->ops->preempts(r, woken, now);

	if (compared)
		compare(q, r, "preempts", false);
	if (first != again)
		watch_fail(q->watch, PROPERTY_QUESTIONS, "preempts for vCPU %u answered pCPU %d, then %d", woken,
			   (int)first, (int)again);
	if (first != BATON_NONE &&
	    (first >= p->pcpu_count || !((p->vcpus[woken].affinity[first / 64] >> (first % 64)) & 1)))
		watch_fail(q->watch, PROPERTY_ANSWERS, "preempts answered pCPU %u for vCPU %u, which may not run there",
			   first, woken);
	return first;
}

static int32_t watched_priority(struct baton_region *r, uint32_t vm, uint64_t now)
{
	struct questions *q = current;
	bool compared = remember(q, r);
	int32_t first = q->ops->priority(r, vm, now), again = q->ops->priority(r, vm, now);

	if (compared)
		compare(q, r, "priority", false);
	if (first != again)
		watch_fail(q->watch, PROPERTY_QUESTIONS, "priority of VM %u is %d, then %d", vm, first, again);
	return first;
}

static uint32_t watched_choose_console(struct baton_region *r, uint64_t now) NO_TSA
{
	struct questions *q = current;
	const struct pool *p = sim_pool(q->watch->sim);
	bool compared = remember(q, r);
	uint32_t first = q->ops->choose_console(r, now), again = q->ops->choose_console(r, now);

	if (compared)
		compare(q, r, "choose_console", false);
	if (first != again)
		watch_fail(q->watch, PROPERTY_QUESTIONS, "choose_console answered VM %d, then %d", (int)first,
			   (int)again);
	if (first != BATON_NONE && (first >= p->vm_slots || !p->vms[first].used))
		watch_fail(q->watch, PROPERTY_ANSWERS, "choose_console answered VM %u, which is not there", first);
	return first;
}

static int32_t watched_give(struct baton_region *r, uint32_t v, struct baton_history *h, uint64_t now)
{
	struct questions *q = current;
	bool compared = remember(q, r);
	int32_t code = q->ops->give(r, v, h, now);

	if (compared)
		compare(q, r, "give", true);
	if (code >= 0 && (h->version != BATON_HISTORY_VERSION || h->tail_size > sizeof h->tail))
		watch_fail(q->watch, PROPERTY_HANDOVER, "give filled in a record of version %u with a tail of %u bytes",
			   h->version, h->tail_size);
	return code;
}

static uint32_t watched_dump(struct baton_region *r, char *buf, uint32_t size, uint64_t now)
{
	struct questions *q = current;
	bool compared = remember(q, r);
	uint32_t length = q->ops->dump(r, buf, size, now);

	if (compared)
		compare(q, r, "dump", true);
	if (length > size)
		watch_fail(q->watch, PROPERTY_ANSWERS, "dump says that it wrote %u bytes into %u", length, size);
	return MIN(length, size);
}

void questions_begin(struct questions *q, const struct baton_scheduler *ops, struct watch *watch)
{
	*q = (struct questions){.ops = ops, .watched = *ops, .watch = watch};
	q->watched.choose = watched_choose;
	if (ops->preempts)
		q->watched.preempts = watched_preempts;
	if (ops->priority)
		q->watched.priority = watched_priority;
	if (ops->choose_console)
		q->watched.choose_console = watched_choose_console;
	if (ops->give)
		q->watched.give = watched_give;
	if (ops->dump)
		q->watched.dump = watched_dump;
	current = q;
}

void questions_end(struct questions *q)
{
	free(q->before);
	current = NULL;
}
