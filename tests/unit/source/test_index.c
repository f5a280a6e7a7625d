/* SPDX-License-Identifier: Apache-2.0 */
/* The index of an image server: what it offers, and every way to get it wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "sched/source.h"
#include "sched/source/index.h"

#define HEX  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OURS (unsigned)BATON_SCHEDULER_ABI

/* A whole index around one image's members. */
static char *with_image(const char *members)
{
	char *text = NULL;

	assert_true(asprintf(&text, "{\"format\":1,\"images\":[{%s}]}", members) > 0);
	return text;
}

#define NAME	"\"name\":\"bvt\","
#define VERSION "\"version\":\"1.2\","
#define ABI	"\"abi\":1,"
#define DIGEST	"\"digest\":\"" HEX "\","
#define BYTES	"\"size\":100,"
#define FILE_	"\"file\":\"images/x.baton\""

static void refused(const char *text, const char *word)
{
	struct index x = {.image_count = 4711};
	struct error e = {""};
	int r = index_parse(text, strlen(text), "http://host/index.json", &x, &e);

	if (r != -EBADMSG || !strstr(e.text, word) || strchr(e.text, '\n'))
		fail_msg("%s: %d \"%s\", not with \"%s\"", text, r, e.text, word);
	assert_int_equal(x.image_count, 4711);
}

static void refused_image(const char *members, const char *word)
{
	_cleanup_free_ char *text = with_image(members);

	refused(text, word);
}

static void accepted(const char *text, struct index *ret)
{
	struct error e = {""};

	if (index_parse(text, strlen(text), "test", ret, &e) < 0)
		fail_msg("%s: %s", text, e.text);
}

static void members_that_are_not_known_are_passed_over(void **unused)
{
	_cleanup_index_ struct index x = {0}, y = {0};
	_cleanup_free_ char *text = with_image(NAME VERSION ABI DIGEST BYTES FILE_
					       ",\"colour\":[1,{\"a\":null}],\"keys\":[\"0123456789abcdef\"]");

	accepted(text, &x);
	assert_int_equal(x.image_count, 1);
	assert_string_equal(x.images[0].keys[0], "0123456789abcdef");
	accepted("{\"format\":1,\"images\":[],\"motd\":\"hello\",\"channels\":{}}", &y);
	assert_int_equal(y.image_count, 0);
}

static void what_is_known_must_be_right(void **unused)
{
	static const char *const files[] = {"/etc/passwd", "../x",	 "a/../b", "a/./b",  ".hidden",
					    "a//b",	   "http://h/x", "a b",	   "a?b",    "a#b",
					    "a%2e",	   "a/",	 "",	   "a\\\\b", "a\\nb"};

	refused("", "JSON");
	refused("[]", "format");
	refused("nonsense", "JSON");
	refused("{\"format\":1}", "images");
	refused("{\"format\":2,\"images\":[]}", "format 2");
	refused("{\"format\":\"1\",\"images\":[]}", "format");
	refused("{\"format\":1,\"images\":{}}", "images");
	refused("{\"format\":1,\"images\":[7]}", "image 1");
	refused("{\"format\":1,\"format\":1,\"images\":[]}", "JSON"); /* which of the two? */
	refused("{\"format\":1,\"images\":[],\"channels\":[]}", "channels");
	refused("{\"format\":1,\"images\":[],\"channels\":{\"bvt\":7}}", "channels");
	refused("{\"format\":1,\"images\":[],\"channels\":{\"bvt\":{\"stable\":7}}}", "channels");
	refused("{\"format\":1,\"images\":[],\"channels\":{\"bvt\":{\"1.0\":\"1.0\"}}}", "channels");
	refused("{\"format\":1,\"images\":[],\"channels\":{\"../x\":{\"stable\":\"1.0\"}}}", "channels");
	refused_image(VERSION ABI DIGEST BYTES FILE_, "name");
	refused_image("\"name\":\"a/b\"," VERSION ABI DIGEST BYTES FILE_, "name");
	refused_image("\"name\":\"a\\u0000b\"," VERSION ABI DIGEST BYTES FILE_, "");
	refused_image(NAME ABI DIGEST BYTES FILE_, "version");
	refused_image(NAME "\"version\":\"stable\"," ABI DIGEST BYTES FILE_, "version");
	refused_image(NAME "\"version\":1.2," ABI DIGEST BYTES FILE_, "version");
	refused_image(NAME VERSION "\"abi\":-1," DIGEST BYTES FILE_, "abi");
	refused_image(NAME VERSION "\"abi\":4294967296," DIGEST BYTES FILE_, "abi");
	refused_image(NAME VERSION ABI "\"digest\":\"abc\"," BYTES FILE_, "digest");
	refused_image(NAME VERSION ABI
		      "\"digest\":\"A123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"," BYTES FILE_,
		      "digest");
	refused_image(NAME VERSION ABI DIGEST "\"size\":0," FILE_, "size");
	refused_image(NAME VERSION ABI DIGEST "\"size\":1048577," FILE_, "size");
	refused_image(NAME VERSION ABI DIGEST "\"size\":-5," FILE_, "size");
	refused_image(NAME VERSION ABI DIGEST "\"size\":1e3," FILE_, "size");
	refused_image(NAME VERSION ABI DIGEST BYTES FILE_ ",\"keys\":7", "keys");
	refused_image(NAME VERSION ABI DIGEST BYTES FILE_ ",\"keys\":[\"xyz\"]", "keys");
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char members[512];

		snprintf(members, sizeof members, NAME VERSION ABI DIGEST BYTES "\"file\":\"%s\"", files[i]);
		refused_image(members, "file");
	}
	refused("{\"format\":1,\"images\":[{" NAME VERSION ABI DIGEST BYTES FILE_
		"},{" NAME VERSION ABI DIGEST BYTES FILE_ "}]}",
		"twice");
}

static void an_index_has_a_largest_size(void **unused)
{
	size_t size = INDEX_BYTES_MAX + 1;
	_cleanup_free_ char *text = malloc(size + 1);
	struct index x;

	memset(text, ' ', size);
	memcpy(text, "{\"format\":1,\"images\":[]}", 24);
	text[size] = '\0';
	assert_int_equal(index_parse(text, size, "x", &x, NULL), -EBADMSG);
	assert_int_equal(index_parse(text, size - 1, "x", &x, NULL), 0);
	index_clear(&x);
	memset(text, '[', size); /* deeper than anybody may nest */
	assert_int_equal(index_parse(text, size - 1, "x", &x, NULL), -EBADMSG);
}

static void add(struct index *x, const char *name, const char *version, uint32_t abi)
{
	struct index_image image = {.abi = abi, .size = 10, .digest = HEX, .file = "images/x.baton"};

	snprintf(image.name, sizeof image.name, "%s", name);
	snprintf(image.version, sizeof image.version, "%s", version);
	assert_int_equal(index_put(x, &image, NULL), 0);
}

static void finds(const struct index *x, const char *name, const char *wanted, const char *version)
{
	struct error e = {""};
	const struct index_image *image = index_find(x, name, wanted, &e);

	if (version && (!image || strcmp(image->version, version) != 0))
		fail_msg("%s@%s: %s %s", name, wanted, image ? image->version : "nothing", e.text);
	if (!version && (image || !e.text[0]))
		fail_msg("%s@%s is %s", name, wanted, image ? image->version : "not explained");
}

static void versions_and_channels_are_found(void **unused)
{
	_cleanup_index_ struct index x = {0}, again = {0};
	_cleanup_free_ char *text = NULL;

	add(&x, "bvt", "1.2", OURS);
	add(&x, "bvt", "1.2.3", OURS);
	add(&x, "bvt", "1.10", OURS);
	add(&x, "bvt", "1.3-rc1", OURS);
	add(&x, "bvt", "2.0", OURS + 1);
	add(&x, "bvt", "2.0.1", OURS);
	add(&x, "rr", "1.0", OURS);
	assert_int_equal(index_set_channel(&x, "bvt", "stable", "1.2", NULL), 0);
	assert_int_equal(index_set_channel(&x, "bvt", "stable", "1.10", NULL), 0); /* moved */
	assert_int_equal(index_set_channel(&x, "bvt", "canary", "2.0", NULL), 0);
	assert_int_equal(index_set_channel(&x, "bvt", "gone", "7.7", NULL), 0);
	assert_int_equal(index_set_channel(&x, "bvt", "1x", "1.2", NULL), -EINVAL);
	text = index_format(&x);
	accepted(text, &again);
	assert_int_equal(again.image_count, 7);
	assert_int_equal(again.channel_count, 3);
	finds(&again, "bvt", "", "1.10");
	finds(&again, "bvt", "stable", "1.10");
	finds(&again, "bvt", "1.2", "1.2");
	finds(&again, "bvt", "1.2.3", "1.2.3");
	finds(&again, "bvt", "1", "1.10"); /* the newest of 1.* */
	finds(&again, "bvt", "2", "2.0.1");
	finds(&again, "bvt", "2.0", NULL); /* of another ABI */
	finds(&again, "bvt", "canary", NULL);
	finds(&again, "bvt", "gone", NULL);
	finds(&again, "bvt", "nightly", NULL);
	finds(&again, "bvt", "9", NULL);
	finds(&again, "rr", "", NULL);
	finds(&again, "none", "1.0", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(members_that_are_not_known_are_passed_over),
	    cmocka_unit_test(what_is_known_must_be_right),
	    cmocka_unit_test(an_index_has_a_largest_size),
	    cmocka_unit_test(versions_and_channels_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
