/* SPDX-License-Identifier: Apache-2.0 */
/* Fetching from web servers that fail in every way. argv[1]: server.py. */
#include "web.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "sched/source/http.h"

static struct web web;
static const char *program;

/* Short limits: a test waits for them. */
static const struct http_config quick = {.connect_ms = 5000, .stall_ms = 300, .total_ms = 20000};

static int get(const struct http_config *c, const char *url, size_t max, uint8_t **bytes, size_t *size, struct error *e)
{
	return http_get(c, url, max, NULL, bytes, size, e);
}

static void expect_content(const struct http_config *c, const char *url)
{
	uint8_t *bytes = NULL;
	struct error e = {""};
	size_t size = 0;

	if (get(c, url, MIB, &bytes, &size, &e) < 0)
		fail_msg("%s: %s", url, e.text);
	assert_int_equal(size, WEB_CONTENT_SIZE);
	for (size_t i = 0; i < size; i++)
		if (bytes[i] != web_content(i))
			fail_msg("%s: byte %zu differs", url, i);
	free(bytes);
}

static void expect_error(const struct http_config *c, const char *url, int code, const char *word)
{
	uint8_t *untouched = (uint8_t *)1, *bytes = untouched;
	struct error e = {""};
	size_t size = 4711;
	int r = get(c, url, MIB, &bytes, &size, &e);

	if (r != code || !strstr(e.text, word) || strchr(e.text, '\n'))
		fail_msg("%s: %d \"%s\", not %d with \"%s\"", url, r, e.text, code, word);
	assert_true(bytes == untouched && size == 4711);
}

static void files_come_whole(void **unused)
{
	uint8_t *bytes = NULL;
	size_t size = 1;

	expect_content(&quick, web_url(&web, "/ok"));
	expect_content(&quick, web_url(&web, "/moved"));
	expect_content(&quick, web_url(&web, "/gzip")); /* nothing is unpacked */
	expect_content(&quick, web_url(&web, "/busy-once"));
	assert_int_equal(get(&quick, web_url(&web, "/empty"), MIB, &bytes, &size, NULL), 0);
	assert_int_equal(size, 0);
	free(bytes);
	/* exactly as much as is allowed, and one byte less */
	assert_int_equal(get(&quick, web_url(&web, "/ok"), WEB_CONTENT_SIZE, &bytes, &size, NULL), 0);
	free(bytes);
	assert_int_equal(get(&quick, web_url(&web, "/ok"), WEB_CONTENT_SIZE - 1, &bytes, &size, NULL), -EFBIG);
}

static void a_transfer_that_breaks_off_is_resumed(void **unused)
{
	uint8_t *bytes = NULL;
	size_t size = 0;

	expect_content(&quick, web_url(&web, "/cut"));
	/* a third with each connection: it took three, not one for the whole and not a beginning anew */
	assert_int_equal(get(&quick, web_url(&web, "/count"), 100, &bytes, &size, NULL), 0);
	assert_int_equal(size, 1);
	assert_int_equal(bytes[0], '3');
	free(bytes);
	/* a server that changes the file meanwhile, or that answers another range */
	expect_content(&quick, web_url(&web, "/cut-changes"));
	expect_content(&quick, web_url(&web, "/wrong-range"));
	expect_error(&quick, web_url(&web, "/cut-always"), -EPIPE, "breaks off");
}

static void refusals_of_the_server_are_told(void **unused)
{
	expect_error(&quick, web_url(&web, "/nothing"), -ENOENT, "404");
	expect_error(&quick, web_url(&web, "/status/410"), -ENOENT, "410");
	expect_error(&quick, web_url(&web, "/status/403"), -EACCES, "403");
	expect_error(&quick, web_url(&web, "/status/500"), -EPROTO, "500");
	expect_error(&quick, web_url(&web, "/status/418"), -EPROTO, "418");
	expect_error(&quick, web_url(&web, "/loop"), -ELOOP, "redirected");
	expect_error(&quick, web_url(&web, "/to-file"), -EPROTO, "redirected");
}

static void too_much_and_too_slow_have_an_end(void **unused)
{
	struct http_config impatient = {.connect_ms = 5000, .stall_ms = 5000, .total_ms = 500};

	expect_error(&quick, web_url(&web, "/large"), -EFBIG, "1024 KiB");
	expect_error(&quick, web_url(&web, "/endless"), -EFBIG, "1024 KiB");
	expect_error(&quick, web_url(&web, "/silent"), -ETIMEDOUT, "silent");
	expect_error(&impatient, web_url(&web, "/trickle"), -ETIMEDOUT, "slow");
}

static void an_untrusted_certificate_is_refused(void **unused)
{
	struct http_config own = quick;

	if (web.tls_port == 0) {
		print_message("no openssl here: TLS is not tested\n");
		skip();
	}
	expect_error(&quick, web_tls_url(&web, "/ok"), -EKEYREJECTED, "certificate");
	own.ca_file = web.certificate;
	expect_content(&own, web_tls_url(&web, "/ok"));
	expect_content(&own, web_tls_url(&web, "/cut-changes"));
	expect_error(&own, web_tls_url(&web, "/to-plain"), -EPROTO, "redirected"); /* never from https to http */
	own.ca_file = "/no/such/file";
	expect_error(&own, web_tls_url(&web, "/ok"), -EKEYREJECTED, "certificate");
	/* the name must fit, too */
	own.ca_file = web.certificate;
	char other[64];

	snprintf(other, sizeof other, "https://localhost:%u/ok", web.tls_port);
	expect_error(&own, other, -EKEYREJECTED, "certificate");
	snprintf(other, sizeof other, "https://127.0.0.1:%u/ok", web.port); /* no TLS there */
	expect_error(&own, other, -EPROTO, "cannot fetch");
}

static void a_server_that_is_away_is_told(void **unused)
{
	char url[64];

	/* a port that was somebody's a moment ago */
	snprintf(url, sizeof url, "http://127.0.0.1:%u/ok", web.port);
	web_stop(&web);
	expect_error(&(struct http_config){.attempts = 2}, url, -ENETUNREACH, "cannot reach");
	web_start(&web, program);
}

static bool give_up_later(void *ctx, uint64_t done, uint64_t total)
{
	unsigned *calls = ctx;

	assert_true(done <= WEB_CONTENT_SIZE && (total == 0 || total == WEB_CONTENT_SIZE));
	return ++*calls < 3;
}

static void whoever_watches_may_give_up(void **unused)
{
	struct http_config patient = {.stall_ms = 60000, .total_ms = 60000};
	unsigned calls = 0;
	const struct fetch_watch watch = {.go_on = give_up_later, .ctx = &calls};
	struct error e = {""};
	uint8_t *bytes;
	size_t size;

	assert_int_equal(http_get(&patient, web_url(&web, "/silent"), MIB, &watch, &bytes, &size, &e), -ECANCELED);
	assert_non_null(strstr(e.text, "cancelled"));
	assert_int_equal(calls, 3);
}

static void urls_are_looked_at_before_they_are_used(void **unused)
{
	static const char *const bad[] = {
	    "",		"http://",   "file:///etc/passwd", "ftp://a/b",	    "http://u@host/x", "http://u:p@host/x",
	    "nonsense", "http:///x", "gopher://host/x",	   "http://ho st/x"};
	static const struct {
		const char *url;
		bool below;
	} places[] = {
	    {"http://host/dir/x", true},       {"http://HOST:80/dir/x", true},
	    {"http://host/dir/sub/x", true},   {"http://host/dir/", true},
	    {"http://host/dir", false},	       {"http://host/dirt/x", false},
	    {"http://host/dir/../x", false},   {"http://host/dir/%2e%2e/x", false},
	    {"http://host/dir/..%2Fx", false}, {"http://host:81/dir/x", false},
	    {"https://host/dir/x", false},     {"http://host.evil/dir/x", false},
	    {"http://u@host/dir/x", false},    {"http://evil/http://host/dir/x", false},
	    {"http://host@evil/dir/x", false}, {"", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (http_check_url(bad[i], NULL) != -EINVAL)
			fail_msg("%s", bad[i]);
	assert_int_equal(http_check_url("https://host:4433/a/b?c", NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (http_url_below(places[i].url, "http://host/dir/") != places[i].below)
			fail_msg("%s", places[i].url);
}

static int begin(void **unused)
{
	web_begin(&web, program);
	return http_global(NULL);
}

static int finish(void **unused)
{
	web_end(&web);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(files_come_whole),
	    cmocka_unit_test(a_transfer_that_breaks_off_is_resumed),
	    cmocka_unit_test(refusals_of_the_server_are_told),
	    cmocka_unit_test(too_much_and_too_slow_have_an_end),
	    cmocka_unit_test(an_untrusted_certificate_is_refused),
	    cmocka_unit_test(whoever_watches_may_give_up),
	    cmocka_unit_test(a_server_that_is_away_is_told),
	    cmocka_unit_test(urls_are_looked_at_before_they_are_used),
	};

	program = argc > 1 ? argv[1] : "server.py";
	return cmocka_run_group_tests(tests, begin, finish);
}
