/* SPDX-License-Identifier: Apache-2.0 */
/* test_kit.c - the list, the heap and the text writer of baton/kit.h against plain models. */
#include "baton/kit.h"
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
	    cmocka_unit_test(test_list_keeps_order),
	    cmocka_unit_test(test_heap_keeps_order),
	    cmocka_unit_test(test_text_stays_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
