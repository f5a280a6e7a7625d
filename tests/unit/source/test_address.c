/* SPDX-License-Identifier: Apache-2.0 */
/* What an address of an image means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "sched/source/address.h"
#include "sched/source/sources.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void addresses_are_of_four_kinds(void **unused)
{
	static const struct {
		const char *where;
		enum address_kind kind;
		const char *rest, *name, *wanted, *digest;
	} all[] = {
	    {"file:bvt.baton", ADDRESS_FILE, "file:bvt.baton", "", "", ""},
	    {"/a/b@c", ADDRESS_FILE, "/a/b@c", "", "", ""},
	    {"file:a@b", ADDRESS_FILE, "file:a@b", "", "", ""},
	    {"x.baton#sha256=" HEX, ADDRESS_FILE, "x.baton", "", "", HEX},
	    {"http://h/x", ADDRESS_URL, "http://h/x", "", "", ""},
	    {"https://h/x#sha256=" HEX, ADDRESS_URL, "https://h/x", "", "", HEX},
	    {"ftp://h/x", ADDRESS_FILE, "ftp://h/x", "", "", ""},
	    {"bvt@1.2", ADDRESS_SERVER, NULL, "bvt", "1.2", ""},
	    {"bvt@stable", ADDRESS_SERVER, NULL, "bvt", "stable", ""},
	    {"server:bvt", ADDRESS_SERVER, NULL, "bvt", "", ""},
	    {"server:bvt@1.2#sha256=" HEX, ADDRESS_SERVER, NULL, "bvt", "1.2", HEX},
	    {"upload:" HEX, ADDRESS_UPLOAD, HEX, "", "", ""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct address a;
		struct error e = {""};

		if (address_parse(all[i].where, &a, &e) < 0)
			fail_msg("%s: %s", all[i].where, e.text);
		assert_int_equal(a.kind, all[i].kind);
		if (all[i].rest)
			assert_string_equal(a.rest, all[i].rest);
		assert_string_equal(a.name, all[i].name);
		assert_string_equal(a.wanted, all[i].wanted);
		assert_string_equal(a.digest, all[i].digest);
	}
}

static void senseless_addresses_are_refused(void **unused)
{
	static const char *const bad[] = {"@",
					  "@1.2",
					  "bvt@",
					  "server:",
					  "server:a b",
					  "server:../x",
					  "upload:",
					  "upload:12",
					  "upload:" HEX "0",
					  "x#sha256=12",
					  "x#sha256=" HEX "0",
					  "server:a/b",
					  "a#sha256=",
					  "abcdefghijklmnopqrstuvwxyzabcdefgh@1",
					  "a@abcdefghijklmnopqrstuvwxyzabcdefgh"};
	static char length[ADDRESS_MAX + 2];
	struct address a;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct error e = {""};

		if (address_parse(bad[i], &a, &e) != -EINVAL)
			fail_msg("%s: \"%s\"", bad[i], e.text);
	}
	memset(length, 'x', ADDRESS_MAX);
	assert_int_equal(address_parse(length, &a, NULL), -ENAMETOOLONG);
	length[ADDRESS_MAX - 1] = '\0';
	assert_int_equal(address_parse(length, &a, NULL), 0);
}

static void a_command_line_knows_what_the_server_has(void **unused)
{
	assert_true(source_is_server("bvt@1") && source_is_server("server:bvt"));
	assert_false(source_is_server("bvt") || source_is_server("./bvt@1") || source_is_server("file:a@b") ||
		     source_is_server("https://u@h/"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses_are_of_four_kinds),
	    cmocka_unit_test(senseless_addresses_are_refused),
	    cmocka_unit_test(a_command_line_knows_what_the_server_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
