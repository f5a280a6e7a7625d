/* SPDX-License-Identifier: Apache-2.0 */
/* test_kit.c - the list, the heap and the text writer of baton/kit.h, the ready queue of baton/kit_ready.h and
 * the parts of baton/kit_pcpus.h, against plain models. */
#include "baton/kit.h"
#include "baton/kit_ready.h"
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 100
#define LIST  offsetof(struct state, link)
#define HEAP  offsetof(struct state, node)

struct state {
	uint64_t other;
	struct kit_link link;
	struct kit_node node;
};

static struct baton_region *region_new(void)
{
	struct baton_region *r = calloc(1, sizeof *r + COUNT * sizeof(struct state));

	assert_non_null(r);
	r->vcpu_slots = COUNT;
	r->vcpu_state = sizeof *r;
	r->vcpu_stride = sizeof(struct state);
	return r;
}

static void test_list_keeps_order(void **unused)
{
	struct world *w = world_new(1, 1);
	struct baton_region *r = region_new();
	struct kit_list l = {0};
	uint32_t model[COUNT], n = 0;

	for (int round = 0; round < 20000; round++) {
		uint32_t v = (uint32_t)world_random(w, COUNT), at = 0, x;

		while (at < n && model[at] != v)
			at++;
		if (world_random(w, 2)) { /* insert behind a random one, or at the head */
			uint32_t behind = (uint32_t)world_random(w, n + 1);

			kit_list_insert(r, &l, LIST, behind == 0 ? BATON_NONE : model[behind - 1], v);
			if (at == n) {
				memmove(model + behind + 1, model + behind, (n - behind) * sizeof *model);
				model[behind] = v;
				n++;
			}
		} else {
			kit_list_remove(r, &l, LIST, v);
			if (at < n)
				memmove(model + at, model + at + 1, (--n - at) * sizeof *model);
		}
		assert_int_equal(l.count, n);
		x = kit_list_first(&l);
		for (uint32_t i = 0; i < n; i++, x = kit_list_next(r, LIST, x))
			assert_int_equal(x, model[i]);
		assert_int_equal(x, BATON_NONE);
		x = kit_list_last(&l);
		for (uint32_t i = n; i-- > 0; x = kit_list_prev(r, LIST, x))
			assert_int_equal(x, model[i]);
		assert_int_equal(x, BATON_NONE);
	}
	free(r);
	world_free(w);
}

/* Longest way down to the right from v, and whether the leftist shape and the order hold below. */
static uint32_t check_tree(struct baton_region *r, uint32_t v, uint32_t up)
{
	struct kit_node *n = kit_node(r, HEAP, v);
	uint32_t left = 0, right = 0;

	assert_int_equal(n->up, up);
	if (n->left != 0) {
		assert_false(kit_before(kit_node(r, HEAP, n->left - 1), n));
		left = check_tree(r, n->left - 1, v + 1);
	}
	if (n->right != 0) {
		assert_false(kit_before(kit_node(r, HEAP, n->right - 1), n));
		right = check_tree(r, n->right - 1, v + 1);
	}
	assert_true(left >= right);
	assert_int_equal(n->rank, right + 1);
	return n->rank;
}

static void test_heap_keeps_order(void **unused)
{
	struct world *w = world_new(2, 1);
	struct baton_region *r = region_new();
	struct kit_heap h = {0};
	bool in[COUNT] = {false};
	uint32_t n = 0;

	for (int round = 0; round < 50000; round++) {
		/* long stretches of growing and of shrinking */
		uint32_t v = (uint32_t)world_random(w, COUNT), least = BATON_NONE, seen = 0, x;

		if (world_random(w, 10) < (round / 500 % 2 == 0 ? 8u : 2u)) {
			int64_t key = (int64_t)world_random(w, 50) - 25;

			kit_heap_insert(r, &h, HEAP, v, round % 3000 < 300 ? -round : key, (uint64_t)round);
			n += !in[v];
			in[v] = true;
		} else {
			if (world_random(w, 2) && h.count > 0)
				v = kit_heap_top(&h);
			kit_heap_remove(r, &h, HEAP, v);
			n -= in[v];
			in[v] = false;
		}
		assert_int_equal(h.count, n);
		for (uint32_t i = 0; i < COUNT; i++)
			if (in[i] &&
			    (least == BATON_NONE || kit_before(kit_node(r, HEAP, i), kit_node(r, HEAP, least))))
				least = i;
		assert_int_equal(kit_heap_top(&h), least);
		if (least == BATON_NONE)
			continue;
		check_tree(r, least, 0);
		for (x = kit_heap_top(&h); x != BATON_NONE; x = kit_heap_walk(r, HEAP, x, 1), seen++)
			assert_true(in[x]);
		assert_int_equal(seen, n);
		assert_int_equal(kit_heap_walk(r, HEAP, kit_heap_top(&h), 0), BATON_NONE);
	}
	free(r);
	world_free(w);
}

/* ---- the ready queue ---- */

#define QUEUE_VCPUS 2000
#define PIN	    offsetof(struct waiter, pin)

struct waiter {
	struct kit_pin pin;
};

/* What is known of those who wait, plainly. */
struct model {
	bool in;
	int64_t key;
	uint64_t seq;
	uint32_t home;
	uint64_t may[KIT_WORDS];
};

static struct baton_region *pool_region(uint32_t pcpus)
{
	size_t tables = QUEUE_VCPUS * sizeof(struct baton_vcpu), states = QUEUE_VCPUS * sizeof(struct waiter);
	struct baton_region *r = calloc(1, sizeof *r + tables + states);

	assert_non_null(r);
	r->pcpu_slots = pcpus;
	r->vcpu_slots = QUEUE_VCPUS;
	r->vcpus = sizeof *r;
	r->vcpu_state = (uint32_t)(sizeof *r + tables);
	r->vcpu_stride = sizeof(struct waiter);
	return r;
}

static uint32_t model_first(struct baton_region *r, const struct model *m, uint32_t pcpu, int64_t away, uint32_t except,
			    int64_t *ret_key)
{
	uint32_t best = BATON_NONE;

	for (uint32_t v = 0; v < QUEUE_VCPUS; v++) {
		int64_t key = m[v].key + (m[v].home == pcpu || m[v].home == BATON_NONE ? 0 : away);

		if (!m[v].in || v == except || !kit_mask_has(m[v].may, pcpu))
			continue;
		if (best != BATON_NONE && (key > *ret_key || (key == *ret_key && m[v].seq > m[best].seq)))
			continue;
		best = v;
		*ret_key = key;
	}
	return best;
}

static void random_place(struct world *w, struct baton_region *r, uint32_t v, unsigned pinned_percent)
{
	struct baton_vcpu *c = baton_vcpu(r, v);

	c->pcpu = world_random(w, 10) == 0 ? BATON_NONE : (uint32_t)world_random(w, r->pcpu_slots);
	for (uint32_t i = 0; i < KIT_WORDS; i++)
		c->affinity[i] = UINT64_MAX;
	if (world_random(w, 100) >= pinned_percent)
		return;
	for (uint32_t i = 0; i < KIT_WORDS; i++) {
		c->affinity[i] = world_random(w, UINT64_MAX);
		if (world_random(w, 2))
			c->affinity[i] &= world_random(w, UINT64_MAX) & world_random(w, UINT64_MAX);
	}
}

static void queue_like_its_model(uint64_t seed, uint32_t pcpus, unsigned pinned_percent)
{
	struct world *w = world_new(seed, 1);
	struct baton_region *r = pool_region(pcpus);
	struct kit_ready *q = aligned_alloc(64, sizeof *q);
	struct model *m = calloc(QUEUE_VCPUS, sizeof *m);
	uint32_t n = 0, range = 10 + (uint32_t)world_random(w, 2000);

	memset(q, 0, sizeof *q);
	assert_int_equal(kit_ready_init(r, q), 0);
	for (uint64_t round = 0; round < 30000; round++) {
		bool growing = round / 3000 % 2 == 0;
		uint32_t v = (uint32_t)world_random(w, QUEUE_VCPUS), pcpu = (uint32_t)world_random(w, pcpus), got, want;
		uint32_t except = BATON_NONE;
		int64_t away = (int64_t)(world_random(w, 2) * world_random(w, range)), got_key, want_key = INT64_MAX;

		if (world_random(w, 10) < (growing ? 8u : 2u)) {
			if (!m[v].in) {
				random_place(w, r, v, pinned_percent);
				m[v] = (struct model){.in = true,
						      .key = (int64_t)world_random(w, range) - range / 2,
						      .seq = round,
						      .home = baton_vcpu(r, v)->pcpu};
				memcpy(m[v].may, baton_vcpu(r, v)->affinity, sizeof m[v].may);
				n++;
			}
			kit_ready_insert(r, q, PIN, v, m[v].key, round);
		} else {
			if (world_random(w, 2) && n > 0)
				v = kit_ready_least(r, q, PIN);
			kit_ready_remove(r, q, PIN, v);
			n -= m[v].in;
			m[v].in = false;
		}
		assert_int_equal(q->count, n);
		assert_int_equal(kit_ready_has(q, v), m[v].in);
		if (m[v].in)
			assert_int_equal(kit_ready_key(r, q, PIN, v), m[v].key);
		if (world_random(w, 8) != 0)
			continue; /* the model is slow */
		if (world_random(w, 2) && n > 0)
			except = kit_ready_first(r, q, PIN, pcpu, world_random(w, 2) ? away : 0, BATON_NONE, NULL);
		got = kit_ready_first(r, q, PIN, pcpu, away, except, &got_key);
		want = model_first(r, m, pcpu, away, except, &want_key);
		if (got != want || (want != BATON_NONE && got_key != want_key))
			fail_msg("seed %llu, round %llu: %u (%lld) comes first on pCPU %u, not %u (%lld)",
				 (unsigned long long)seed, (unsigned long long)round, want, (long long)want_key, pcpu,
				 got, (long long)got_key);
		if (except == BATON_NONE)
			assert_int_equal(kit_ready_wanted(r, q, PIN, pcpu), want != BATON_NONE);
	}
	free(m);
	free(q);
	free(r);
	world_free(w);
}

static void test_queue_keeps_order(void **unused)
{
	static const uint32_t pcpus[] = {1, 2, 3, 64, 65, 200, 256};
	static const unsigned pinned[] = {0, 10, 100};
	uint64_t seed = 1;

	for (size_t i = 0; i < sizeof pcpus / sizeof pcpus[0]; i++)
		for (size_t j = 0; j < sizeof pinned / sizeof pinned[0]; j++)
			queue_like_its_model(seed++, pcpus[i], pinned[j]);
}

/* Random matches over n entries, and the winner if one of them were another. */
static void tournament_like_its_model(uint64_t seed, uint32_t n)
{
	static struct kit_tournament t;
	struct kit_entry model[BATON_PCPUS_MAX];
	struct world *w = world_new(seed, 1);

	kit_tournament_init(&t, n);
	for (uint32_t i = 0; i < n; i++)
		model[i] = KIT_NO_ENTRY;
	for (uint64_t round = 0; round < 2000; round++) {
		uint32_t i = (uint32_t)world_random(w, n), j = (uint32_t)world_random(w, n);
		struct kit_entry least = KIT_NO_ENTRY, other = kit_entry((int64_t)world_random(w, 20) - 10, round, j);
		struct kit_entry least_if = other, got;

		model[i] =
		    world_random(w, 4) == 0 ? KIT_NO_ENTRY : kit_entry((int64_t)world_random(w, 20) - 10, round, i);
		kit_tournament_set(&t, i, model[i]);
		for (uint32_t k = 0; k < n; k++) {
			least = kit_entry_least(least, model[k]);
			if (k != j)
				least_if = kit_entry_least(least_if, model[k]);
		}
		got = kit_tournament_winner(&t);
		assert_true(got.key == least.key && got.low == least.low);
		got = kit_tournament_if(&t, j, other);
		assert_true(got.key == least_if.key && got.low == least_if.low);
	}
	world_free(w);
}

static void test_tournament_knows_its_winner(void **unused)
{
	static const uint32_t counts[] = {1, 2, 3, 8, 100, 256};

	for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
		tournament_like_its_model(i, counts[i]);
}

static void test_idle_pcpus_that_are_wanted(void **unused)
{
	struct baton_region *r = pool_region(130);
	struct kit_ready *q = aligned_alloc(64, sizeof *q);
	struct kit_idle idle = {0};

	memset(q, 0, sizeof *q);
	assert_int_equal(kit_ready_init(r, q), 0);
	for (uint32_t v = 0; v < 2; v++) {
		memset(baton_vcpu(r, v)->affinity, 0xff, sizeof baton_vcpu(r, v)->affinity);
		baton_vcpu(r, v)->pcpu = 100;
	}
	memset(baton_vcpu(r, 1)->affinity, 0, sizeof baton_vcpu(r, 1)->affinity);
	baton_vcpu(r, 1)->affinity[2] = 2; /* pCPU 129 alone */
	assert_int_equal(kit_idle_for(r, &idle, 0), 100);
	assert_int_equal(kit_idle_for(r, &idle, 1), 129);
	kit_idle_start(&idle, 100);
	assert_int_equal(kit_idle_for(r, &idle, 0), 0);
	assert_int_equal(kit_idle_wanted(r, &idle, q, PIN, BATON_NONE), BATON_NONE); /* nobody waits */
	kit_ready_insert(r, q, PIN, 1, 0, 0);
	assert_int_equal(kit_idle_wanted(r, &idle, q, PIN, BATON_NONE), 129);
	assert_int_equal(kit_idle_wanted(r, &idle, q, PIN, 129), BATON_NONE);
	kit_ready_insert(r, q, PIN, 0, 0, 1);
	assert_int_equal(kit_idle_wanted(r, &idle, q, PIN, 0), 1);
	for (uint32_t p = 0; p < 130; p++)
		kit_idle_start(&idle, p);
	assert_int_equal(kit_idle_wanted(r, &idle, q, PIN, BATON_NONE), BATON_NONE);
	assert_int_equal(kit_idle_for(r, &idle, 0), BATON_NONE);
	kit_idle_stop(&idle, 128);
	assert_int_equal(kit_idle_for(r, &idle, 0), 128);
	assert_int_equal(kit_idle_for(r, &idle, 1), BATON_NONE);
	free(q);
	free(r);
}

/* Its affinity changes while it waits: it is not given to a pCPU that it may not use. */
static void test_queue_with_a_stale_affinity(void **unused)
{
	struct baton_region *r = pool_region(2);
	struct kit_ready *q = aligned_alloc(64, sizeof *q);

	memset(q, 0, sizeof *q);
	assert_int_equal(kit_ready_init(r, q), 0);
	baton_vcpu(r, 0)->affinity[0] = 3;
	baton_vcpu(r, 1)->affinity[0] = 1;
	kit_ready_insert(r, q, PIN, 0, 0, 0);
	kit_ready_insert(r, q, PIN, 1, 1, 1);
	baton_vcpu(r, 0)->affinity[0] = 2;
	assert_int_equal(kit_ready_first(r, q, PIN, 0, 0, BATON_NONE, NULL), 1);
	assert_int_equal(kit_ready_first(r, q, PIN, 1, 0, BATON_NONE, NULL), 0);
	baton_vcpu(r, 1)->affinity[0] = 2;
	assert_int_equal(kit_ready_first(r, q, PIN, 0, 0, BATON_NONE, NULL), BATON_NONE);
	kit_ready_remove(r, q, PIN, 1);
	kit_ready_remove(r, q, PIN, 0);
	assert_int_equal(q->count, 0);
	r->vcpu_slots = KIT_READY_MAX + 1;
	assert_int_equal(kit_ready_init(r, q), -7);
	free(q);
	free(r);
}

static void test_text_stays_inside(void **unused)
{
	char buf[64];

	for (uint32_t size = 0; size < sizeof buf; size++) {
		struct kit_text t = {.buf = buf, .size = size};

		memset(buf, '#', sizeof buf);
		kit_put(&t, "a");
		kit_put_field(&t, "least", INT64_MIN);
		kit_put_u64(&t, UINT64_MAX);
		assert_int_equal(t.length, size < 49 ? size : 48);
		assert_memory_equal(buf, "a least=-922337203685477580818446744073709551615", t.length);
		assert_int_equal(buf[size], '#');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_list_keeps_order),	       cmocka_unit_test(test_heap_keeps_order),
	    cmocka_unit_test(test_queue_keeps_order),	       cmocka_unit_test(test_tournament_knows_its_winner),
	    cmocka_unit_test(test_idle_pcpus_that_are_wanted), cmocka_unit_test(test_queue_with_a_stale_affinity),
	    cmocka_unit_test(test_text_stays_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
