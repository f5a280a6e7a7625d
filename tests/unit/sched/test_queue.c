/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/sched/change_queue.c: order, limits, waiting, the end. */
#include "fake_host.h"

#include <semaphore.h>
#include <string.h>

#include "base/clock.h"
#include "sched/change_queue.h"

static struct change_queue *queue_of(struct fake *f)
{
	struct change_queue *q;
	struct error e;

	must(change_queue_new(&f->changer, &q, &e) == 0);
	return q;
}

static uint64_t add(struct change_queue *q, const struct change_spec *spec)
{
	struct error e;
	uint64_t id = 0;

	must(change_queue_add(q, spec, &id, &e) == 0);
	return id;
}

static void changes_are_carried_out_in_order_and_reported(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){0});
	struct change_queue *q = queue_of(f);
	struct change_spec bvt = fake_load("bvt", "file:bvt.baton", CHANGE_LIVE, OLD_KEEP);
	struct change_spec wrong = fake_load("bvt", "file:none.baton", CHANGE_LIVE, OLD_KEEP);
	struct change_spec dflt = {.kind = CHANGE_DEFAULT};
	struct change_report r;

	assert_int_equal(change_queue_last(q), 0);
	assert_int_equal(add(q, &bvt), 1);
	assert_int_equal(add(q, &wrong), 2);
	assert_int_equal(add(q, &dflt), 3);
	assert_int_equal(change_queue_wait(q, 3, 10000, &r), 0);
	assert_string_equal(r.from, "bvt");
	assert_string_equal(r.to, "rr");
	assert_int_equal(r.state, CHANGE_DONE);
	assert_int_equal(change_queue_report(q, 1, &r), 0);
	assert_int_equal(r.state, CHANGE_DONE);
	assert_int_equal(r.id, 1);
	assert_string_equal(r.requester, "test");
	assert_int_equal(change_queue_report(q, 2, &r), 0);
	assert_int_equal(r.state, CHANGE_REFUSED);
	assert_non_null(strstr(r.error, "none.baton"));
	assert_int_equal(change_queue_last(q), 3);
	assert_int_equal(change_queue_report(q, 0, &r), -ENOENT);
	assert_int_equal(change_queue_report(q, 4, &r), -ENOENT);
	assert_int_equal(change_queue_wait(q, 4, 10000, &r), -ENOENT); /* at once: there is nothing to wait for */
	change_queue_free(q);
	fake_free(f);
}

/* A thread that holds the pool's lock: as long as it does, no change gets anywhere. */
struct holder {
	struct fake *f;
	sem_t held, let_go;
	pthread_t thread;
};

static void *holder_thread(void *ctx)
{
	struct holder *h = ctx;

	pool_enter(h->f->pool);
	sem_post(&h->held);
	while (sem_wait(&h->let_go) < 0)
		;
	pool_leave(h->f->pool);
	return NULL;
}

static void hold(struct holder *h, struct fake *f)
{
	h->f = f;
	sem_init(&h->held, 0, 0);
	sem_init(&h->let_go, 0, 0);
	must(pthread_create(&h->thread, NULL, holder_thread, h) == 0);
	while (sem_wait(&h->held) < 0)
		;
}

static void let_go(struct holder *h)
{
	sem_post(&h->let_go);
	pthread_join(h->thread, NULL);
	sem_destroy(&h->held);
	sem_destroy(&h->let_go);
}

static void a_full_queue_says_so_and_takes_more_when_there_is_room(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){0});
	struct change_queue *q = queue_of(f);
	struct change_spec dflt = {.kind = CHANGE_DEFAULT};
	struct change_report r;
	struct holder h;
	struct error e;
	uint64_t id = 77;

	hold(&h, f);
	for (unsigned i = 0; i < CHANGE_QUEUE_MAX; i++)
		add(q, &dflt);
	assert_int_equal(change_queue_add(q, &dflt, &id, &e), -EAGAIN);
	assert_int_equal(id, 77);
	assert_non_null(strstr(e.text, "16 changes"));
	assert_int_equal(change_queue_last(q), CHANGE_QUEUE_MAX);
	let_go(&h);
	assert_int_equal(change_queue_wait(q, CHANGE_QUEUE_MAX, 10000, &r), 0);
	assert_int_equal(add(q, &dflt), CHANGE_QUEUE_MAX + 1);
	change_queue_free(q);
	fake_free(f);
}

static void waiting_ends_at_its_timeout(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){0});
	struct change_queue *q = queue_of(f);
	struct change_spec dflt = {.kind = CHANGE_DEFAULT};
	struct change_report r;
	struct holder h;

	hold(&h, f);
	add(q, &dflt);
	assert_int_equal(change_queue_wait(q, 1, 20, &r), -ETIMEDOUT);
	assert_true(r.state == CHANGE_QUEUED || r.state == CHANGE_RUNNING);
	assert_int_equal(change_queue_wait(q, 1, 0, &r), -ETIMEDOUT);
	let_go(&h);
	assert_int_equal(change_queue_wait(q, 1, 10000, &r), 0);
	assert_int_equal(r.state, CHANGE_DONE);
	change_queue_free(q);
	fake_free(f);
}

static void the_last_reports_are_kept_and_older_ones_are_gone(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){0});
	struct change_queue *q = queue_of(f);
	struct change_spec dflt = {.kind = CHANGE_DEFAULT};
	struct change_report r;
	uint64_t id = 0;

	for (unsigned i = 0; i < 3 * CHANGE_HISTORY + 5; i++) {
		id = add(q, &dflt);
		assert_int_equal(change_queue_wait(q, id, 10000, &r), 0);
		assert_int_equal(r.id, id);
	}
	for (uint64_t old = 1; old <= id; old++)
		assert_int_equal(change_queue_report(q, old, &r), old + CHANGE_HISTORY > id ? 0 : -ENOENT);
	change_queue_free(q);
	fake_free(f);
}

/* ---- the end ---- */

static void *free_thread(void *ctx)
{
	change_queue_free(ctx);
	return NULL;
}

/* One attempt; true when the queue was told to end before the first change could go on. Either way all ends well. */
static bool end_with_five_waiting(unsigned patience_us)
{
	struct fake *f = fake_new(&(struct fake_config){0});
	struct change_queue *q = queue_of(f);
	struct change_spec bvt = fake_load("bvt", "file:bvt.baton", CHANGE_LIVE, OLD_KEEP);
	struct change_spec dflt = {.kind = CHANGE_DEFAULT};
	struct holder h;
	pthread_t t;
	bool begun;

	hold(&h, f);
	add(q, &dflt);
	for (unsigned i = 0; i < 5; i++)
		add(q, &bvt);
	must(pthread_create(&t, NULL, free_thread, q) == 0);
	usleep(patience_us);
	let_go(&h);
	pthread_join(t, NULL);
	begun = fake_attached_count(f) > 1;
	must(strcmp(fake_active(f)->ops->name, begun ? "bvt" : "rr") == 0);
	fake_free(f);
	return !begun;
}

static void at_shutdown_the_running_change_ends_and_the_waiting_ones_do_not_begin(void **unused)
{
	bool ended = false;

	for (unsigned us = 100; us < 3000000 && !ended; us *= 2)
		ended = end_with_five_waiting(us);
	assert_true(ended);
}

static void a_queue_without_work_ends_at_once(void **unused)
{
	struct fake *f = fake_new(&(struct fake_config){0});

	for (unsigned i = 0; i < 100; i++)
		change_queue_free(queue_of(f));
	change_queue_free(NULL);
	fake_free(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(changes_are_carried_out_in_order_and_reported),
	    cmocka_unit_test(a_full_queue_says_so_and_takes_more_when_there_is_room),
	    cmocka_unit_test(waiting_ends_at_its_timeout),
	    cmocka_unit_test(the_last_reports_are_kept_and_older_ones_are_gone),
	    cmocka_unit_test(at_shutdown_the_running_change_ends_and_the_waiting_ones_do_not_begin),
	    cmocka_unit_test(a_queue_without_work_ends_at_once),
	};

	fake_arguments(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
