/* SPDX-License-Identifier: Apache-2.0 */
/* image_keys.c - `baton image keys`: making keys, and saying which are trusted. */
#include "cli/image.h"

#include <string.h>

#include "cli/output.h"

static int keys_make(const char *path, const char *name)
{
	char fingerprint[KEY_FINGERPRINT_TEXT];
	_cleanup_key_ struct secret_key key;
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	struct error e = {""};
	int r;

	memset(&key, 0, sizeof key);
	r = key_make(name ? name : base, &key, &e);
	if (r >= 0)
		r = key_write(&key, path, &e);
	if (r < 0)
		return cli_fail("%s", e.text);
	key_fingerprint(key.public.bytes, fingerprint);
	printf("%s.key   keep it secret; it signs images\n%s.pub   give it to those who trust you (%s)\n", path, path,
	       fingerprint);
	return 0;
}

static int keys_list(const char *dir)
{
	_cleanup_free_ struct key_set *keys = calloc(1, sizeof *keys);
	struct error e = {""};
	struct table *t;

	if (!keys)
		return cli_fail("out of memory");
	if (key_set_read(dir, keys, &e) < 0)
		return cli_fail("%s", e.text);
	t = table_new("KEY|NAME");
	for (unsigned i = 0; i < keys->count; i++) {
		char fingerprint[KEY_FINGERPRINT_TEXT];

		key_fingerprint(keys->key[i].bytes, fingerprint);
		table_cell(t, "%s", fingerprint);
		table_cell(t, "%s", keys->key[i].name);
	}
	table_print(t, stdout, "");
	table_free(t);
	return 0;
}

static int keys_trust(const char *dir, int count, char **files)
{
	struct error e = {""};

	for (int i = 0; i < count; i++) {
		char fingerprint[KEY_FINGERPRINT_TEXT];
		struct public_key key;

		if (key_read_public(files[i], &key, &e) < 0 || key_set_add(dir, &key, &e) < 0)
			return cli_fail("%s", e.text);
		key_fingerprint(key.bytes, fingerprint);
		printf("%s (%s) is trusted by monitors that are started with --trusted-keys %s\n", key.name,
		       fingerprint, dir);
	}
	return 0;
}

int image_keys(int argc, char **argv)
{
	static const struct option longs[] = {{"name", required_argument, NULL, 'n'}, {NULL, 0, NULL, 0}};
	const char *name = NULL, *word;
	int opt, left;

	while ((opt = getopt_long(argc, argv, ":n:", longs, NULL)) != -1) {
		if (opt != 'n')
			return cli_usage(&command_image, "image keys does not know, or misses a value of, %s",
					 argv[optind - 1]);
		name = optarg;
	}
	left = argc - optind - 1;
	word = left >= 0 ? argv[optind] : "";
	if (strcmp(word, "make") == 0 && left == 1)
		return keys_make(argv[optind + 1], name);
	if (strcmp(word, "list") == 0 && left == 1)
		return keys_list(argv[optind + 1]);
	if (strcmp(word, "trust") == 0 && left >= 2)
		return keys_trust(argv[optind + 1], left - 1, argv + optind + 2);
	return cli_usage(&command_image, "image keys needs one of: make PATH, list DIR, trust DIR FILE.pub...");
}
