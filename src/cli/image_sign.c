/* SPDX-License-Identifier: Apache-2.0 */
/* image_sign.c - `baton image sign | verify | info`: who says that an image is good. */
#include "cli/image.h"

#include <string.h>

#include "cli/output.h"
#include "sched/trust/files.h"

enum { KEY = 256, KEYS, JSON };

static int write_signed(const struct image_file *f, const struct secret_key *key, const char *output, struct error *e)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	size_t size;
	int r = signatures_add(f->bytes, f->size, f->path, key, &bytes, &size, e);

	if (r < 0)
		return r;
	r = file_replace(output, bytes, size, 0644);
	return r < 0 ? error_set(e, r, "cannot write %.160s: %s", output, strerror(-r)) : 0;
}

int image_sign(int argc, char **argv)
{
	static const struct option longs[] = {
	    {"key", required_argument, NULL, KEY}, {"output", required_argument, NULL, 'o'}, {NULL, 0, NULL, 0}};
	_cleanup_image_file_ struct image_file f = {0};
	const char *key_path = NULL, *output = NULL;
	_cleanup_key_ struct secret_key key;
	char fingerprint[KEY_FINGERPRINT_TEXT];
	struct error e = {""};
	int opt, r;

	memset(&key, 0, sizeof key);
	while ((opt = getopt_long(argc, argv, ":o:", longs, NULL)) != -1) {
		if (opt == KEY)
			key_path = optarg;
		else if (opt == 'o')
			output = optarg;
		else
			return cli_usage(&command_image, "image sign does not know, or misses a value of, %s",
					 argv[optind - 1]);
	}
	if (optind + 1 != argc || !key_path)
		return cli_usage(&command_image, "image sign needs one image and --key FILE.key");
	r = key_read_secret(key_path, &key, &e);
	if (r >= 0)
		r = image_file_read(argv[optind], &f, &e); /* nobody wants to sign what no monitor would take */
	if (r >= 0)
		r = write_signed(&f, &key, output ? output : argv[optind], &e);
	if (r < 0)
		return cli_fail("%s", e.text);
	key_fingerprint(key.public.bytes, fingerprint);
	printf("%s: %s %s signed by %s (%s)\n", output ? output : argv[optind], f.name, f.version, key.public.name,
	       fingerprint);
	return 0;
}

static bool is_trusted(const json_t *description, bool any)
{
	const json_t *list = json_object_get(description, "signatures"), *one;
	size_t i;

	json_array_foreach(list, i, one)
	{
		if (any || json_is_true(json_object_get(one, "trusted")))
			return true;
	}
	return false;
}

/* What verify and info share; `judge`: the status says whether it is signed (by a trusted key, when keys are named). */
static int show(int argc, char **argv, bool judge)
{
	static const struct option longs[] = {
	    {"trusted-keys", required_argument, NULL, KEYS}, {"json", no_argument, NULL, JSON}, {NULL, 0, NULL, 0}};
	_cleanup_image_file_ struct image_file f = {0};
	_cleanup_free_ struct key_set *keys = NULL;
	struct error e = {""};
	json_t *description;
	bool json = false, good;
	int opt, r = 0;

	while ((opt = getopt_long(argc, argv, ":", longs, NULL)) != -1) {
		if (opt == JSON) {
			json = true;
		} else if (opt == KEYS && !keys) {
			keys = calloc(1, sizeof *keys);
			r = keys ? key_set_read(optarg, keys, &e) : error_set(&e, -ENOMEM, "out of memory");
			if (r < 0)
				return cli_fail("%s", e.text);
		} else {
			return cli_usage(&command_image, "image %s does not know, or misses a value of, %s", argv[0],
					 argv[optind - 1]);
		}
	}
	if (optind + 1 != argc)
		return cli_usage(&command_image, "image %s needs one image", argv[0]);
	r = image_file_read(argv[optind], &f, &e);
	if (r < 0)
		return cli_fail("%s", e.text);
	description = image_file_describe(&f, keys);
	good = !judge || is_trusted(description, !keys);
	if (json)
		json_print(description);
	else
		image_file_print(description);
	json_decref(description);
	if (!good)
		return cli_fail("%s is %s", argv[optind],
				f.signatures.count == 0 ? "not signed; `baton image sign` signs it"
							: "signed, but by no key of that directory");
	return 0;
}

int image_verify(int argc, char **argv)
{
	return show(argc, argv, true);
}

int image_info(int argc, char **argv)
{
	return show(argc, argv, false);
}
