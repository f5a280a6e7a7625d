/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/sched/source.c: where an image may come from, and what may lie there instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sched/source.h"

static char dir[] = "/tmp/baton-source-XXXXXX";

static const char *at(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static void put(const char *name, const void *data, size_t size)
{
	FILE *file = fopen(at(name), "w");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

static void expect_bytes(const char *where, bool trusted, const char *image_dir, const char *content)
{
	uint8_t *bytes = NULL;
	size_t size = 0;
	struct error e = {0};

	assert_int_equal(source_fetch(where, image_dir, trusted, &bytes, &size, &e), 0);
	assert_int_equal(size, strlen(content));
	assert_memory_equal(bytes, content, size);
	free(bytes);
}

static void expect_refusal(const char *where, bool trusted, const char *image_dir, int code, const char *word)
{
	uint8_t *bytes = (uint8_t *)1;
	size_t size = 4711;
	struct error e = {0};

	assert_int_equal(source_fetch(where, image_dir, trusted, &bytes, &size, &e), code);
	assert_true(bytes == (uint8_t *)1 && size == 4711);
	assert_non_null(strstr(e.text, word));
	assert_null(strchr(e.text, '\n'));
}

static void a_plain_name_is_looked_for_in_the_image_directory(void **unused)
{
	put("a.baton", "content", 7);
	for (int trusted = 0; trusted < 2; trusted++) {
		expect_bytes("file:a.baton", trusted, dir, "content");
		expect_bytes("a.baton", trusted, dir, "content");
		expect_refusal("file:b.baton", trusted, dir, -ENOENT, "b.baton");
		expect_refusal("file:", trusted, dir, -EINVAL, "image");
		expect_refusal("", trusted, dir, -EINVAL, "image");
	}
}

static void only_the_trusted_may_name_a_path(void **unused)
{
	char where[PATH_MAX + 8], up[PATH_MAX + 8];

	put("a.baton", "content", 7);
	snprintf(where, sizeof where, "file:%s", at("a.baton"));
	expect_bytes(where + 5, true, "/nowhere", "content");
	expect_refusal(where, false, dir, -EPERM, "slash");
	expect_refusal(where + 5, false, dir, -EPERM, "slash");
	snprintf(up, sizeof up, "file:../%s/a.baton", strrchr(dir, '/') + 1);
	expect_refusal(up, false, dir, -EPERM, "slash");
	expect_refusal("file:./a.baton", false, dir, -EPERM, "slash");
	expect_refusal("..", false, dir, -EINVAL, "image");
	expect_refusal("file:..", false, dir, -EINVAL, "image");
	expect_refusal("file:.", false, dir, -EINVAL, "image");
}

/* An operator's absolute path means that path, whether a directory of images is known or not. */
static void a_path_of_the_trusted_is_taken_as_it_is(void **unused)
{
	char where[PATH_MAX + 8];

	put("a.baton", "content", 7);
	snprintf(where, sizeof where, "file:%s", at("a.baton"));
	expect_bytes(where, true, NULL, "content");
	expect_bytes(where, true, dir, "content");
	expect_bytes(where, true, "/nowhere", "content");
}

static void without_an_image_directory_a_vm_gets_nothing(void **unused)
{
	expect_refusal("file:a.baton", false, NULL, -ENOENT, "--images");
}

static void other_kinds_of_addresses_are_not_known(void **unused)
{
	expect_refusal("http://example.org/a.baton", true, dir, -EPROTONOSUPPORT, "http");
	expect_refusal("https://example.org/a.baton", false, dir, -EPROTONOSUPPORT, "https");
}

static void what_is_no_regular_file_is_refused_at_once(void **unused)
{
	mkdir(at("d"), 0700);
	assert_int_equal(mkfifo(at("fifo"), 0600), 0);
	assert_int_equal(symlink("/dev/zero", at("zero")), 0);
	assert_int_equal(symlink("loop", at("loop")), 0);
	expect_refusal("file:d", true, dir, -EINVAL, "regular");
	expect_refusal("file:fifo", true, dir, -EINVAL, "regular"); /* nobody writes into it: opening must not wait */
	expect_refusal("file:zero", true, dir, -EINVAL, "regular");
	expect_refusal("file:loop", true, dir, -ELOOP, "loop");
}

static void an_image_has_a_largest_size(void **unused)
{
	static char large[SOURCE_BYTES_MAX + 1];
	uint8_t *bytes = NULL;
	size_t size = 0;
	struct error e = {0};

	put("large", large, SOURCE_BYTES_MAX);
	assert_int_equal(source_fetch("file:large", dir, false, &bytes, &size, &e), 0);
	assert_int_equal(size, SOURCE_BYTES_MAX);
	free(bytes);
	put("large", large, SOURCE_BYTES_MAX + 1);
	expect_refusal("file:large", true, dir, -EFBIG, "1024 KiB");
	assert_int_equal(truncate(at("large"), INT64_C(1) << 40), 0);
	expect_refusal("file:large", false, dir, -EFBIG, "1024 KiB");
	put("empty", "", 0);
	expect_bytes("file:empty", false, dir, ""); /* the loader says what is wrong with it */
}

static void names_of_any_length_are_answered(void **unused)
{
	static char name[3 * PATH_MAX];

	memset(name, 'x', sizeof name - 1);
	expect_refusal(name, false, dir, -ENAMETOOLONG, "too long");
	name[NAME_MAX + 1] = '\0';
	expect_refusal(name, false, dir, -ENAMETOOLONG, "");
}

static void a_file_that_may_not_be_read_is_refused(void **unused)
{
	put("secret", "x", 1);
	chmod(at("secret"), 0);
	if (geteuid() == 0) { /* root may read everything */
		expect_bytes("file:secret", true, dir, "x");
		return;
	}
	expect_refusal("file:secret", true, dir, -EACCES, "secret");
}

static int make_dir(void **unused)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **unused)
{
	static const char *const names[] = {"a.baton", "fifo", "zero", "loop", "large", "empty", "secret"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(at(names[i]));
	rmdir(at("d"));
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_plain_name_is_looked_for_in_the_image_directory),
	    cmocka_unit_test(only_the_trusted_may_name_a_path),
	    cmocka_unit_test(a_path_of_the_trusted_is_taken_as_it_is),
	    cmocka_unit_test(without_an_image_directory_a_vm_gets_nothing),
	    cmocka_unit_test(other_kinds_of_addresses_are_not_known),
	    cmocka_unit_test(what_is_no_regular_file_is_refused_at_once),
	    cmocka_unit_test(an_image_has_a_largest_size),
	    cmocka_unit_test(names_of_any_length_are_answered),
	    cmocka_unit_test(a_file_that_may_not_be_read_is_refused),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
