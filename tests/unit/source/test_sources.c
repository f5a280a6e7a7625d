/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of every kind, an image server that lies, the cache, and who may name what. argv[1]: server.py. */
#include "web.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "sched/source/sources.h"
#include "sched/trust/files.h"

static struct web web;
static const char *program;

static const char content[] = "this could be an image";
static char digest[DIGEST_TEXT], ended[DIGEST_TEXT];

/* A server directory "srv" with bvt 1.0 (stable) and 1.1. */
static void publish(void)
{
	struct index x = {0};
	struct index_image image = {
	    .abi = BATON_SCHEDULER_ABI, .size = sizeof content, .name = "bvt", .version = "1.0"};
	char *text, file[INDEX_FILE_MAX + 16];

	snprintf(image.digest, sizeof image.digest, "%s", digest);
	snprintf(image.file, sizeof image.file, "images/%s.baton", digest);
	assert_int_equal(index_put(&x, &image, NULL), 0);
	snprintf(image.version, sizeof image.version, "1.1");
	assert_int_equal(index_put(&x, &image, NULL), 0);
	assert_int_equal(index_set_channel(&x, "bvt", "stable", "1.0", NULL), 0);
	text = index_format(&x);
	web_put(&web, "srv/index.json", text, strlen(text));
	snprintf(file, sizeof file, "srv/%s", image.file);
	web_put(&web, file, content, sizeof content);
	free(text);
	index_clear(&x);
}

static void replace_image(const void *bytes, size_t size)
{
	char file[DIGEST_TEXT + 32];

	snprintf(file, sizeof file, "srv/images/%s.baton", digest);
	web_put(&web, file, bytes, size);
}

static struct sources *new_sources(const char *server, const char *cache)
{
	struct sources_config config = {
	    .image_dir = web_path(&web, "images"),
	    .server = server,
	    .cache_dir = cache,
	    .http = {.stall_ms = 500, .attempts = 2},
	};
	struct sources *s = NULL;
	struct error e = {""};

	if (sources_new(&config, &s, &e) < 0)
		fail_msg("%s", e.text);
	return s;
}

static int fetch(struct sources *s, const char *where, bool by_operator, struct source_image *ret, struct error *e)
{
	const struct source_request request = {.where = where, .by_operator = by_operator, .vm = 1};

	return sources_fetch(s, &request, ret, e);
}

static void expect(struct sources *s, const char *where, bool by_operator, bool cached)
{
	struct source_image image;
	struct error e = {""};

	if (fetch(s, where, by_operator, &image, &e) < 0)
		fail_msg("%s: %s", where, e.text);
	assert_int_equal(image.size, sizeof content);
	assert_memory_equal(image.bytes, content, sizeof content);
	if (image.cached != cached)
		fail_msg("%s: cached %d, not %d", where, image.cached, cached);
	free(image.bytes);
}

static void refuse(struct sources *s, const char *where, bool by_operator, int code, const char *word)
{
	struct source_image image = {.size = 4711};
	struct error e = {""};
	int r = fetch(s, where, by_operator, &image, &e);

	if (r != code || !strstr(e.text, word) || strchr(e.text, '\n'))
		fail_msg("%s: %d \"%s\", not %d with \"%s\"", where, r, e.text, code, word);
	assert_int_equal(image.size, 4711);
}

static unsigned files_in(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n < 2 ? 0 : n - 2;
}

static const char *pinned(const char *where, const char *hex)
{
	static char text[1024];

	snprintf(text, sizeof text, "%s#sha256=%s", where, hex);
	return text;
}

static void each_kind_of_address_brings_the_file(void **unused)
{
	struct sources *s = new_sources(web_url(&web, "/files/srv"), NULL);
	struct sources *local = new_sources(web_path(&web, "srv"), NULL);
	char upload[DIGEST_TEXT + 8], url[DIGEST_TEXT + 32];
	struct source_image image;

	publish();
	web_put(&web, "images/a.baton", content, sizeof content);
	for (int by_operator = 0; by_operator < 2; by_operator++) {
		expect(s, "file:a.baton", by_operator, false);
		expect(s, "bvt@1.0", by_operator, false);
		expect(s, "server:bvt", by_operator, false);
		expect(s, "bvt@stable", by_operator, false);
		expect(s, "bvt@1", by_operator, false);
		expect(local, "bvt@1.1", by_operator, false);
		snprintf(url, sizeof url, "/files/srv/images/%s.baton", digest);
		expect(s, web_url(&web, url), by_operator, false);
	}
	expect(s, web_url(&web, "/files/images/a.baton"), true, false);
	snprintf(upload, sizeof upload, "upload:%s", digest);
	refuse(s, upload, false, -ENOENT, "uploaded");
	assert_int_equal(upload_begin(sources_uploads(s), 1, sizeof content, digest, NULL), 0);
	assert_int_equal(upload_piece(sources_uploads(s), 1, 0, content, sizeof content), sizeof content);
	assert_int_equal(upload_end(sources_uploads(s), 1, ended, NULL), 0);
	expect(s, upload, false, false);
	refuse(s, upload, true, -EINVAL, "VMs");

	/* what the index says about it comes along */
	assert_int_equal(fetch(s, "bvt@stable", true, &image, NULL), 0);
	assert_string_equal(image.name, "bvt");
	assert_string_equal(image.version, "1.0");
	free(image.bytes);
	sources_free(s);
	sources_free(local);
}

static void a_vm_may_not_choose_what_the_monitor_opens(void **unused)
{
	struct sources *s = new_sources(web_url(&web, "/files/srv/"), NULL);
	struct sources *none = new_sources(NULL, NULL);
	char other[128];

	publish();
	refuse(s, "file:/etc/passwd", false, -EPERM, "image directory");
	refuse(s, "/etc/passwd", false, -EPERM, "image directory");
	refuse(s, web_url(&web, "/files/images/a.baton"), false, -EPERM, "image server");
	refuse(s, web_url(&web, "/files/srv/../images/a.baton"), false, -EPERM, "image server");
	refuse(s, web_url(&web, "/files/srv/%2e%2e/images/a.baton"), false, -EPERM, "image server");
	refuse(s, "http://169.254.169.254/", false, -EPERM, "image server");
	snprintf(other, sizeof other, "http://127.0.0.1:%u@evil/files/srv/x", web.port);
	refuse(s, other, false, -EINVAL, "name or a password");
	refuse(none, web_url(&web, "/files/srv/index.json"), false, -EPERM, "image server");
	refuse(none, "bvt@1.0", false, -ENOENT, "--image-server");
	sources_free(s);
	sources_free(none);
}

static void a_server_that_lies_is_found_out(void **unused)
{
	struct sources *s = new_sources(web_url(&web, "/files/srv"), NULL);
	static char large[INDEX_BYTES_MAX + 10];

	publish();
	replace_image("this could be another!", sizeof content);
	refuse(s, "bvt@1.0", true, -EBADMSG, "another file");
	replace_image("less", 4);
	refuse(s, "bvt@1.0", true, -EBADMSG, "another file");
	replace_image(large, sizeof large);
	refuse(s, "bvt@1.0", true, -EFBIG, "larger");
	web_put(&web, "srv/index.json", "{\"format\":1,\"images\":[7]}", 25);
	refuse(s, "bvt@1.0", true, -EBADMSG, "index");
	web_put(&web, "srv/index.json", "<html>", 6);
	refuse(s, "bvt@1.0", true, -EBADMSG, "JSON");
	web_put(&web, "srv/index.json", large, sizeof large);
	refuse(s, "bvt@1.0", true, -EFBIG, "larger");
	unlink(web_path(&web, "srv/index.json"));
	refuse(s, "bvt@1.0", true, -ENOENT, "404");
	publish();
	refuse(s, "bvt@9.9", true, -ENOENT, "9.9");
	refuse(s, "bvt@nightly", true, -ENOENT, "nightly");
	refuse(s, "other@1.0", true, -ENOENT, "other");
	expect(s, "bvt@1.0", true, false);
	sources_free(s);
}

static void a_digest_in_the_address_is_a_condition(void **unused)
{
	struct sources *s = new_sources(NULL, NULL);
	char other[DIGEST_TEXT];

	digest_of("x", 1, other);
	publish();
	web_put(&web, "images/a.baton", content, sizeof content);
	expect(s, pinned("file:a.baton", digest), true, false);
	refuse(s, pinned("file:a.baton", other), true, -EBADMSG, "digest");
	expect(s, pinned(web_url(&web, "/files/images/a.baton"), digest), true, false);
	refuse(s, pinned(web_url(&web, "/files/images/a.baton"), other), true, -EBADMSG, "digest");
	sources_free(s);
}

static void the_cache_serves_when_the_server_is_away(void **unused)
{
	struct sources *s = new_sources(web_url(&web, "/files/srv"), web_path(&web, "deep/cache"));
	char entry[DIGEST_TEXT + 32];
	struct source_image image;

	publish();
	expect(s, "bvt@1.0", true, false);
	expect(s, "bvt@1.0", true, true);
	assert_int_equal(files_in(web_path(&web, "deep/cache")), 2);

	/* a damaged entry is noticed and fetched again */
	snprintf(entry, sizeof entry, "deep/cache/%s.baton", digest);
	web_put(&web, entry, "rotten", 6);
	expect(s, "bvt@1.0", true, false);
	expect(s, "bvt@1.0", true, true);
	assert_int_equal(truncate(web_path(&web, entry), 3), 0);
	expect(s, "bvt@1.0", true, false);
	unlink(web_path(&web, entry));
	assert_int_equal(symlink("/dev/zero", web_path(&web, entry)), 0);
	expect(s, "bvt@1.0", true, false);

	web_stop(&web);
	expect(s, "bvt@stable", true, true);
	expect(s, pinned("http://127.0.0.1:1/x", digest), true, true); /* known by its digest alone */
	assert_int_equal(fetch(s, "bvt@stable", true, &image, NULL), 0);
	assert_non_null(strstr(image.note, "away"));
	free(image.bytes);
	unlink(web_path(&web, entry));
	refuse(s, "bvt@stable", true, -ENETUNREACH, "cannot reach");
	web_start(&web, program); /* another port */
	sources_free(s);

	/* a server that answers is believed rather than the cache */
	s = new_sources(web_url(&web, "/files/srv"), web_path(&web, "deep/cache"));
	expect(s, "bvt@1.0", true, false);
	unlink(web_path(&web, "srv/index.json"));
	refuse(s, "bvt@1.0", true, -ENOENT, "404");
	publish();
	sources_free(s);
}

static void the_cache_has_a_size(void **unused)
{
	struct cache c = {.dir = web_path(&web, "small"), .max_bytes = 1000};
	char dir[PATH_MAX], names[5][DIGEST_TEXT];
	uint8_t bytes[300];
	uint8_t *copy;
	size_t size;

	snprintf(dir, sizeof dir, "%s", c.dir);
	c.dir = dir;
	for (int i = 0; i < 5; i++) {
		memset(bytes, i, sizeof bytes);
		digest_of(bytes, sizeof bytes, names[i]);
		assert_int_equal(cache_put(&c, names[i], bytes, sizeof bytes), 0);
		usleep(20000); /* so that the times of files differ */
		if (i > 0) {   /* the first one is in use all the time */
			assert_int_equal(cache_get(&c, names[0], &copy, &size), 0);
			free(copy);
			usleep(20000);
		}
	}
	assert_int_equal(files_in(dir), 3);
	assert_int_equal(cache_get(&c, names[0], &copy, &size), 0);
	free(copy);
	assert_int_equal(cache_get(&c, names[1], &copy, &size), -ENOENT);
	assert_int_equal(cache_get(&c, names[4], &copy, &size), 0);
	free(copy);
	c.max_bytes = 100;
	assert_int_equal(cache_put(&c, names[1], bytes, sizeof bytes), 0); /* larger than all: not kept, no harm */
	assert_int_equal(files_in(dir), 3);
}

static void a_full_disk_does_not_keep_an_image_from_being_used(void **unused)
{
	struct sources *s = new_sources(web_url(&web, "/files/srv"), web_path(&web, "full"));
	struct rlimit before, none;
	struct source_image image;
	struct error e = {""};
	int r;

	publish();
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none = before;
	none.rlim_cur = 8;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	r = fetch(s, "bvt@1.0", true, &image, &e);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	if (r < 0)
		fail_msg("%s", e.text);
	free(image.bytes);
	assert_int_equal(files_in(web_path(&web, "full")), 0); /* and nothing half-written */
	expect(s, "bvt@1.0", true, false);
	expect(s, "bvt@1.0", true, true);
	sources_free(s);
}

static void servers_must_be_directories_of_the_web_or_of_this_host(void **unused)
{
	static const char *const bad[] = {"http://", "ftp://host/", "http://host/x?y", "http://u:p@host/", ""};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct sources_config config = {.server = bad[i]};
		struct sources *s;
		struct error e = {""};

		assert_int_equal(sources_new(&config, &s, &e), -EINVAL);
		assert_true(e.text[0] != '\0');
	}
}

static int begin(void **unused)
{
	digest_of(content, sizeof content, digest);
	web_begin(&web, program);
	return 0;
}

static int finish(void **unused)
{
	web_end(&web);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_kind_of_address_brings_the_file),
	    cmocka_unit_test(a_vm_may_not_choose_what_the_monitor_opens),
	    cmocka_unit_test(a_server_that_lies_is_found_out),
	    cmocka_unit_test(a_digest_in_the_address_is_a_condition),
	    cmocka_unit_test(the_cache_serves_when_the_server_is_away),
	    cmocka_unit_test(the_cache_has_a_size),
	    cmocka_unit_test(a_full_disk_does_not_keep_an_image_from_being_used),
	    cmocka_unit_test(servers_must_be_directories_of_the_web_or_of_this_host),
	};

	program = argc > 1 ? argv[1] : "server.py";
	return cmocka_run_group_tests(tests, begin, finish);
}
