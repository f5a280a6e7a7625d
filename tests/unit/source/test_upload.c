/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads in pieces: what counts, what is refused, what is bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "sched/source.h"
#include "sched/source/cache.h"
#include "sched/source/upload.h"

#define SIZE 200000
static uint8_t image[SIZE];
static char digest[DIGEST_TEXT], ended[DIGEST_TEXT];

static struct uploads *new_uploads(void)
{
	struct uploads *u = NULL;

	assert_int_equal(uploads_new(&u, NULL), 0);
	return u;
}

static void send_all(struct uploads *u, uint32_t owner, size_t piece)
{
	assert_int_equal(upload_begin(u, owner, SIZE, digest, NULL), 0);
	for (size_t at = 0; at < SIZE; at += piece) {
		size_t n = MIN(piece, SIZE - at);

		assert_int_equal(upload_piece(u, owner, at, image + at, n), at + n);
	}
}

static void pieces_of_any_size_make_a_whole(void **unused)
{
	static const size_t sizes[] = {1, 7, 4096, 65536, SIZE};
	struct uploads *u = new_uploads();

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint8_t *copy;
		size_t size;

		send_all(u, 7, sizes[i]);
		assert_int_equal(upload_copy(u, 7, digest, &copy, &size, NULL), -ENOENT); /* not ended */
		assert_int_equal(upload_end(u, 7, ended, NULL), 0);
		assert_int_equal(upload_end(u, 7, ended, NULL), -ESRCH);
		assert_int_equal(upload_piece(u, 7, SIZE, image, 1), -ESRCH);
		assert_int_equal(upload_copy(u, 7, digest, &copy, &size, NULL), 0);
		assert_int_equal(size, SIZE);
		assert_memory_equal(copy, image, SIZE);
		free(copy);
		assert_int_equal(upload_copy(u, 8, digest, &copy, &size, NULL), -ENOENT); /* another VM's */
	}
	upload_forget(u, 7);
	assert_int_equal(upload_end(u, 7, ended, NULL), -ESRCH);
	uploads_free(u);
}

static void what_does_not_follow_is_refused_and_changes_nothing(void **unused)
{
	struct uploads *u = new_uploads();

	assert_int_equal(upload_piece(u, 1, 0, image, 1), -ESRCH);
	assert_int_equal(upload_begin(u, 1, SIZE, digest, NULL), 0);
	assert_int_equal(upload_piece(u, 1, 0, image, 1000), 1000);
	assert_int_equal(upload_piece(u, 1, 0, image, 1000), -EINVAL);	  /* again */
	assert_int_equal(upload_piece(u, 1, 2000, image, 1000), -EINVAL); /* a hole */
	assert_int_equal(upload_piece(u, 1, UINT64_MAX, image, 2), -EINVAL);
	assert_int_equal(upload_piece(u, 1, 1000, image + 1000, SIZE), -EINVAL); /* more than was announced */
	assert_int_equal(upload_piece(u, 1, 1000, image + 1000, 0), 1000);
	assert_int_equal(upload_end(u, 1, ended, NULL), -EAGAIN);
	assert_int_equal(upload_piece(u, 1, 1000, image + 1000, SIZE - 1000), SIZE);
	assert_int_equal(upload_end(u, 1, ended, NULL), 0);
	uploads_free(u);
}

static void a_wrong_digest_drops_the_upload(void **unused)
{
	struct uploads *u = new_uploads();
	struct error e = {""};

	send_all(u, 1, 65536);
	upload_forget(u, 1);
	image[SIZE / 2] ^= 1;
	send_all(u, 1, 65536);
	image[SIZE / 2] ^= 1;
	assert_int_equal(upload_end(u, 1, ended, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "digest"));
	assert_int_equal(upload_end(u, 1, ended, NULL), -ESRCH);
	uploads_free(u);
}

static void sizes_and_numbers_are_bounded(void **unused)
{
	struct uploads *u = new_uploads();

	assert_int_equal(upload_begin(u, 1, 0, digest, NULL), -EINVAL);
	assert_int_equal(upload_begin(u, 1, SOURCE_BYTES_MAX + 1, digest, NULL), -EFBIG);
	assert_int_equal(upload_begin(u, 1, UINT64_MAX, digest, NULL), -EFBIG);
	assert_int_equal(upload_begin(u, 1, 1, "abc", NULL), -EINVAL);
	assert_int_equal(upload_begin(u, 1, 1, "", NULL), -EINVAL);
	for (uint32_t owner = 0; owner < UPLOADS_MAX; owner++)
		assert_int_equal(upload_begin(u, owner, SOURCE_BYTES_MAX, digest, NULL), 0);
	assert_int_equal(upload_begin(u, UPLOADS_MAX, 1, digest, NULL), -EAGAIN);
	assert_int_equal(upload_begin(u, 0, SIZE, digest, NULL), 0); /* its own place, again and again */
	upload_forget(u, 2);
	assert_int_equal(upload_begin(u, UPLOADS_MAX, 1, digest, NULL), 0);
	upload_forget(u, 4711);
	uploads_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pieces_of_any_size_make_a_whole),
	    cmocka_unit_test(what_does_not_follow_is_refused_and_changes_nothing),
	    cmocka_unit_test(a_wrong_digest_drops_the_upload),
	    cmocka_unit_test(sizes_and_numbers_are_bounded),
	};

	for (size_t i = 0; i < SIZE; i++)
		image[i] = (uint8_t)(i * 31 + i / 255);
	digest_of(image, SIZE, digest);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
