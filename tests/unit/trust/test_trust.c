/* SPDX-License-Identifier: Apache-2.0 */
/* Who vouches for an image: signatures to the last byte, keys as files, versions, minimum versions. argv[1]: an image. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "sched/source.h"
#include "sched/trust/files.h"
#include "sched/trust/minimum.h"
#include "sched/trust/signature.h"
#include "sched/trust/trust.h"
#include "sched/trust/version.h"

static const char *image_path;
static char dir[] = "/tmp/baton-trust-XXXXXX";

static const char *at(const char *name)
{
	static char path[4][PATH_MAX];
	static unsigned turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], PATH_MAX, "%s/%s", dir, name);
	return path[turn];
}

static void put(const char *name, const char *text)
{
	unlink(at(name));
	assert_int_equal(file_replace(at(name), text, strlen(text), 0600), 0);
}

struct file {
	uint8_t *bytes;
	size_t size;
};

static struct file read_image(void)
{
	struct file f;
	struct error e = {""};

	if (source_fetch(image_path, NULL, true, &f.bytes, &f.size, &e) < 0)
		fail_msg("%s", e.text);
	return f;
}

static struct secret_key make_key(const char *name)
{
	struct secret_key key;

	assert_int_equal(key_make(name, &key, NULL), 0);
	return key;
}

/* f with a signature more; f is freed. */
static struct file sign(struct file f, const struct secret_key *key)
{
	struct file out;
	struct error e = {""};

	if (signatures_add(f.bytes, f.size, "test", key, &out.bytes, &out.size, &e) < 0)
		fail_msg("%s", e.text);
	free(f.bytes);
	return out;
}

static void trust_key(struct trust *t, const struct secret_key *key)
{
	t->keys.key[t->keys.count++] = key->public;
}

static int check(const struct trust *t, const struct file *f, enum trust_place place, struct error *e)
{
	struct trust_verdict verdict;

	return trust_check(t, f->bytes, f->size, "test.baton", place, &verdict, e);
}

static void refused(const struct trust *t, const struct file *f, enum trust_place place, int code, const char *word)
{
	struct error e = {""};
	int r = check(t, f, place, &e);

	if (r != code || !strstr(e.text, word) || strchr(e.text, '\n'))
		fail_msg("%d \"%s\", not %d with \"%s\"", r, e.text, code, word);
}

/* ---- signatures ---- */

static void a_signed_image_is_accepted_and_says_by_whom(void **unused)
{
	struct secret_key key = make_key("author");
	struct trust t = {.rule = TRUST_SIGNED};
	struct trust_verdict verdict;
	struct file f = sign(read_image(), &key);

	trust_key(&t, &key);
	assert_int_equal(trust_check(&t, f.bytes, f.size, "x", PLACE_ELSEWHERE, &verdict, NULL), 0);
	assert_true(verdict.signed_by_trusted);
	assert_non_null(strstr(verdict.by, "author"));
	free(f.bytes);
}

static void each_byte_of_a_signed_image_counts(void **unused)
{
	struct secret_key a = make_key("a"), b = make_key("b");
	struct trust t = {.rule = TRUST_SIGNED};
	struct file f = sign(sign(read_image(), &a), &b);
	size_t altered = 0, unsigned_now = 0;

	trust_key(&t, &a);
	trust_key(&t, &b);
	for (size_t i = 0; i < f.size; i++) {
		struct error e = {""};
		int r;

		f.bytes[i] ^= (uint8_t)(1u << (i % 8));
		r = check(&t, &f, PLACE_OPERATOR, &e);
		f.bytes[i] ^= (uint8_t)(1u << (i % 8));
		if ((r != -EBADMSG && r != -EKEYREJECTED) || !e.text[0])
			fail_msg("byte %zu of %zu altered: %d \"%s\"", i, f.size, r, e.text);
		altered += r == -EBADMSG;
		unsigned_now += r == -EKEYREJECTED;
	}
	/* Without its magic the block is none, so the image is found not to be signed. */
	assert_int_equal(unsigned_now, 8);
	assert_int_equal(altered, f.size - 8);
	assert_int_equal(check(&t, &f, PLACE_OPERATOR, NULL), 0);
	free(f.bytes);
}

static void an_image_that_is_cut_off_or_continued_is_refused(void **unused)
{
	struct secret_key key = make_key("a");
	struct trust t = {.rule = TRUST_SIGNED};
	struct file f = sign(read_image(), &key), g;

	trust_key(&t, &key);
	for (size_t size = 0; size < f.size; size++) {
		g = (struct file){malloc(size + 1),
				  size}; /* exactly so large, so that a sanitizer sees more being read */
		memcpy(g.bytes, f.bytes, size);
		assert_true(check(&t, &g, PLACE_OPERATOR, NULL) < 0);
		free(g.bytes);
	}
	g = (struct file){malloc(f.size + 1), f.size + 1};
	memcpy(g.bytes, f.bytes, f.size);
	g.bytes[f.size] = 0;
	assert_int_equal(check(&t, &g, PLACE_OPERATOR, NULL), -EKEYREJECTED);
	memmove(g.bytes + 1, f.bytes, f.size); /* something in front */
	assert_int_equal(check(&t, &g, PLACE_OPERATOR, NULL), -EBADMSG);
	free(g.bytes);
	free(f.bytes);
}

static void a_signature_fits_no_other_image(void **unused)
{
	struct secret_key key = make_key("a");
	struct trust t = {.rule = TRUST_SIGNED};
	struct file f = sign(read_image(), &key), g = read_image();
	size_t block = f.size - g.size;
	uint8_t *other = malloc(f.size);

	trust_key(&t, &key);
	memcpy(other, g.bytes, g.size);
	other[g.size / 2] ^= 1;
	memcpy(other + g.size, f.bytes + g.size, block);
	refused(&t, &(struct file){other, f.size}, PLACE_OPERATOR, -EBADMSG, "altered");
	free(other);
	free(f.bytes);
	free(g.bytes);
}

static void several_keys_may_sign_and_one_that_is_trusted_is_enough(void **unused)
{
	struct secret_key keys[SIGNATURES_MAX + 1];
	struct trust t = {.rule = TRUST_SIGNED};
	struct file f = read_image();
	uint8_t *more;
	size_t size;

	for (unsigned i = 0; i < SIGNATURES_MAX; i++) {
		keys[i] = make_key("k");
		f = sign(f, &keys[i]);
		f = sign(f, &keys[i]); /* once more changes nothing */
	}
	refused(&t, &f, PLACE_OPERATOR, -EKEYREJECTED, "trusted");
	trust_key(&t, &keys[SIGNATURES_MAX - 1]);
	assert_int_equal(check(&t, &f, PLACE_OPERATOR, NULL), 0);
	assert_int_equal(key_make("one too many", &keys[SIGNATURES_MAX], NULL), -EINVAL); /* spaces */
	keys[SIGNATURES_MAX] = make_key("one-too-many");
	assert_int_equal(signatures_add(f.bytes, f.size, "x", &keys[SIGNATURES_MAX], &more, &size, NULL), -E2BIG);
	free(f.bytes);
}

/* ---- rules ---- */

static void the_rule_says_who_must_vouch(void **unused)
{
	struct secret_key known = make_key("known"), stranger = make_key("stranger");
	struct trust place = {.rule = TRUST_PLACE}, must = {.rule = TRUST_SIGNED}, any = {.rule = TRUST_ANY};
	struct file plain = read_image(), strange = sign(read_image(), &stranger), good = sign(read_image(), &known);

	trust_key(&must, &known);
	assert_int_equal(check(&place, &plain, PLACE_OPERATOR, NULL), 0);
	assert_int_equal(check(&place, &plain, PLACE_IMAGE_DIR, NULL), 0);
	refused(&place, &plain, PLACE_ELSEWHERE, -EKEYREJECTED, "not signed");
	refused(&place, &strange, PLACE_ELSEWHERE, -EKEYREJECTED, "no key is trusted");
	for (int p = PLACE_OPERATOR; p <= PLACE_ELSEWHERE; p++) {
		refused(&must, &plain, (enum trust_place)p, -EKEYREJECTED, "signed images only");
		refused(&must, &strange, (enum trust_place)p, -EKEYREJECTED, "not trusted");
		assert_int_equal(check(&must, &good, (enum trust_place)p, NULL), 0);
		assert_int_equal(check(&any, &plain, (enum trust_place)p, NULL), 0);
		assert_int_equal(check(&any, &strange, (enum trust_place)p, NULL), 0);
		/* whatever the rule: what was signed and altered is refused */
		good.bytes[100] ^= 4;
		refused(&any, &good, (enum trust_place)p, -EBADMSG, "altered");
		refused(&place, &good, (enum trust_place)p, -EBADMSG, "altered");
		good.bytes[100] ^= 4;
	}
	free(plain.bytes);
	free(strange.bytes);
	free(good.bytes);
}

/* ---- keys ---- */

static void keys_are_written_and_read_back(void **unused)
{
	struct secret_key key = make_key("me@example.org"), again;
	struct key_set set;
	struct stat st;

	assert_int_equal(key_write(&key, at("me"), NULL), 0);
	assert_int_equal(key_write(&key, at("me"), NULL), -EEXIST);
	assert_int_equal(stat(at("me.key"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(key_read_secret(at("me.key"), &again, NULL), 0);
	assert_memory_equal(again.bytes, key.bytes, sizeof key.bytes);
	assert_string_equal(again.public.name, "me@example.org");
	assert_int_equal(key_set_add(at("keys"), &again.public, NULL), 0);
	assert_int_equal(key_set_read(at("keys"), &set, NULL), 0);
	assert_int_equal(set.count, 1);
	assert_non_null(key_set_find(&set, key.public.bytes));
	chmod(at("me.key"), 0640);
	assert_int_equal(key_read_secret(at("me.key"), &again, NULL), -EPERM);
	assert_int_equal(key_read_secret(at("me.pub"), &again, NULL), -EPERM); /* everybody may read it: no secret */
	chmod(at("me.pub"), 0600);
	assert_int_equal(key_read_secret(at("me.pub"), &again, NULL), -EBADMSG);
}

static void what_is_no_key_is_refused(void **unused)
{
	static const char hex[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
	char text[4096];
	struct public_key key;
	struct key_set set;

	snprintf(text, sizeof text, "baton-public-key-1 %s name\n", hex);
	put("x", text);
	assert_int_equal(key_read_public(at("x"), &key, NULL), 0);
	for (size_t size = 0; size + 1 < strlen(text) - strlen("ame\n");
	     size++) { /* cut off anywhere before the name */
		char part[sizeof text];

		snprintf(part, sizeof part, "%.*s", (int)size, text);
		put("x", part);
		assert_int_equal(key_read_public(at("x"), &key, NULL), -EBADMSG);
	}
	snprintf(text, sizeof text, "baton-public-key-1 %s name more\n", hex);
	put("x", text);
	assert_int_equal(key_read_public(at("x"), &key, NULL), -EBADMSG);
	snprintf(text, sizeof text, "baton-public-key-1 %sf name\n", hex);
	put("x", text);
	assert_int_equal(key_read_public(at("x"), &key, NULL), -EBADMSG);
	memset(text, 'a', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	put("x", text);
	assert_int_equal(key_read_public(at("x"), &key, NULL), -EBADMSG);
	assert_int_equal(key_read_public(at("none"), &key, NULL), -ENOENT);
	assert_int_equal(key_read_public(dir, &key, NULL), -EINVAL);

	/* one wrong key spoils the set, and a set that everybody may add to is none */
	mkdir(at("bad"), 0700);
	assert_int_equal(key_set_read(at("bad"), &set, NULL), 0);
	assert_int_equal(set.count, 0);
	put("bad/x.pub", "nonsense");
	assert_int_equal(key_set_read(at("bad"), &set, NULL), -EBADMSG);
	unlink(at("bad/x.pub"));
	chmod(at("bad"), 0777);
	assert_int_equal(key_set_read(at("bad"), &set, NULL), -EPERM);
	assert_int_equal(key_set_read(at("none"), &set, NULL), -ENOENT);
}

/* ---- versions ---- */

static void versions_are_compared_as_people_mean_them(void **unused)
{
	static const char *const ascending[] = {"",
						"0.9",
						"1",
						"1.2-rc1",
						"1.2-rc2",
						"1.2-rc10",
						"1.2",
						"1.2.1",
						"1.9",
						"1.10",
						"1.10a",
						"2-beta",
						"2",
						"10",
						"10.0",
						"99999999999999999999",
						"99999999999999999999.1"};

	for (size_t i = 0; i < ARRAY_SIZE(ascending); i++)
		for (size_t k = 0; k < ARRAY_SIZE(ascending); k++) {
			int r = version_compare(ascending[i], ascending[k]);

			if ((i < k && r >= 0) || (i == k && r != 0) || (i > k && r <= 0))
				fail_msg("%s against %s: %d", ascending[i], ascending[k], r);
		}
	assert_int_equal(version_compare("1.02", "1.2"), 0);
	assert_true(version_within("1.2.3", "1.2") && version_within("1.2", "1.2"));
	assert_false(version_within("1.20", "1.2") || version_within("1", "1.2"));
	assert_true(version_is_valid("1.2-rc1+x~y"));
	assert_false(version_is_valid("v1") || version_is_valid("") || version_is_valid("1 2") ||
		     version_is_valid("1/2") || version_is_valid("11111111111111111111111111111111"));
	assert_true(version_name_is_valid("bvt_2.x-y"));
	assert_false(version_name_is_valid("") || version_name_is_valid(".x") || version_name_is_valid("a b") ||
		     version_name_is_valid("a/b") || version_name_is_valid("abcdefghijklmnopqrstuvwxyzabcdef"));
}

static struct minimums *open_minimums(void)
{
	struct minimums *m = NULL;
	struct error e = {""};

	if (minimums_new(at("state/minimum-versions"), &m, &e) < 0)
		fail_msg("%s", e.text);
	return m;
}

static void an_older_version_is_refused_also_after_a_restart(void **unused)
{
	struct minimums *m = open_minimums();
	struct error e = {""};

	assert_int_equal(minimums_check(m, "bvt", "0.1", NULL), 0);
	assert_int_equal(minimums_note(m, "bvt", "1.2", false, NULL), 0);
	assert_int_equal(minimums_note(m, "bvt", "1.1", false, NULL), 0); /* does not lower it */
	assert_int_equal(minimums_note(m, "rr", "", false, NULL), 0);	  /* no version, no minimum */
	minimums_free(m);
	m = open_minimums();
	assert_int_equal(minimums_check(m, "bvt", "1.1", &e), -EKEYREJECTED);
	assert_non_null(strstr(e.text, "1.2"));
	assert_int_equal(minimums_check(m, "bvt", "", NULL), -EKEYREJECTED);
	assert_int_equal(minimums_check(m, "bvt", "1.2", NULL), 0);
	assert_int_equal(minimums_check(m, "bvt", "1.10", NULL), 0);
	assert_int_equal(minimums_check(m, "other", "0.1", NULL), 0);
	assert_int_equal(minimums_note(m, "bvt", "1.1", true, NULL), 0); /* the operator says so */
	minimums_free(m);
	m = open_minimums();
	assert_int_equal(minimums_check(m, "bvt", "1.1", NULL), 0);
	assert_int_equal(minimums_check(m, "bvt", "1.0", NULL), -EKEYREJECTED);
	minimums_free(m);
}

static void damaged_minimums_are_an_error_and_not_forgotten(void **unused)
{
	static const char *const bad[] = {"bvt\n", "bvt 1.2 x\n", "bvt v1\n", "a/b 1\n", "bvt 1\nbvt 2\n", "\n", " \n"};
	struct minimums *m = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		put("state/minimum-versions", bad[i]);
		assert_int_equal(minimums_new(at("state/minimum-versions"), &m, NULL), -EBADMSG);
	}
	put("state/minimum-versions", "");
	assert_int_equal(minimums_new(at("state/minimum-versions"), &m, NULL), 0);
	minimums_free(m);
}

/* A disk without room: the old file stays whole, the minimum holds in memory, nothing is left lying about. */
static void a_full_disk_loses_nothing(void **unused)
{
	struct rlimit before, none;
	struct minimums *m;
	struct error e = {""};
	int r;

	put("state/minimum-versions", "bvt 1.0\n");
	m = open_minimums();
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none = before;
	none.rlim_cur = 4;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	r = minimums_note(m, "bvt", "2.0", false, &e);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(r, -EFBIG);
	assert_non_null(strstr(e.text, "minimum"));
	assert_int_equal(minimums_check(m, "bvt", "1.0", NULL), -EKEYREJECTED);
	minimums_free(m);
	m = open_minimums();
	assert_int_equal(minimums_check(m, "bvt", "1.0", NULL), 0);
	minimums_free(m);
	unlink(at("state/minimum-versions"));
	assert_int_equal(rmdir(at("state")), 0);
}

static int make_dir(void **unused)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **unused)
{
	char command[64];

	snprintf(command, sizeof command, "rm -r %s", dir);
	return system(command);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_signed_image_is_accepted_and_says_by_whom),
	    cmocka_unit_test(each_byte_of_a_signed_image_counts),
	    cmocka_unit_test(an_image_that_is_cut_off_or_continued_is_refused),
	    cmocka_unit_test(a_signature_fits_no_other_image),
	    cmocka_unit_test(several_keys_may_sign_and_one_that_is_trusted_is_enough),
	    cmocka_unit_test(the_rule_says_who_must_vouch),
	    cmocka_unit_test(keys_are_written_and_read_back),
	    cmocka_unit_test(what_is_no_key_is_refused),
	    cmocka_unit_test(versions_are_compared_as_people_mean_them),
	    cmocka_unit_test(an_older_version_is_refused_also_after_a_restart),
	    cmocka_unit_test(damaged_minimums_are_an_error_and_not_forgotten),
	    cmocka_unit_test(a_full_disk_loses_nothing),
	};

	image_path = argc > 1 ? argv[1] : "";
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
