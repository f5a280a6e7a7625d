/* SPDX-License-Identifier: Apache-2.0 */
/* image_file.c - an image file as the commands of `baton image` see it. See image.h. */
#include "cli/image.h"

#include <stdio.h>
#include <string.h>

#include "cli/output.h"
#include "sched/attached.h"
#include "sched/loader/image.h"
#include "sched/source.h"

static int look(void *ctx, const struct baton_scheduler *s, struct error *e)
{
	struct image_file *f = ctx;

	snprintf(f->name, sizeof f->name, "%s", s->name);
	snprintf(f->version, sizeof f->version, "%s", s->version);
	snprintf(f->description, sizeof f->description, "%s", s->description);
	f->abi = s->abi;
	return 0;
}

int image_file_read(const char *path, struct image_file *ret, struct error *e)
{
	_cleanup_image_file_ struct image_file f = {.path = path};
	struct error why = {""};
	int r = source_fetch(path, NULL, true, &f.bytes, &f.size, e);

	if (r < 0)
		return r;
	image_digest_of(f.bytes, f.size, f.digest);
	r = signatures_read(f.bytes, f.size, path, &f.signatures, e);
	if (r < 0)
		return r;
	r = image_inspect(f.bytes, f.size, sched_imports, sched_import_count, look, &f, &why);
	if (r < 0)
		return error_set(e, r, "%.100s: %.200s", path, why.text);
	*ret = f;
	f.bytes = NULL;
	return 0;
}

void image_file_clear(struct image_file *f)
{
	free(f->bytes);
	f->bytes = NULL;
}

json_t *image_file_describe(const struct image_file *f, const struct key_set *keys)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < f->signatures.count; i++) {
		const struct public_key *key = keys ? key_set_find(keys, f->signatures.entry[i].key) : NULL;
		char fingerprint[KEY_FINGERPRINT_TEXT];
		json_t *one;

		key_fingerprint(f->signatures.entry[i].key, fingerprint);
		one = json_pack("{s:s}", "fingerprint", fingerprint);
		if (key)
			json_object_set_new(one, "name", json_string(key->name));
		if (keys)
			json_object_set_new(one, "trusted", json_boolean(key != NULL));
		json_array_append_new(list, one);
	}
	return json_pack("{s:s, s:s, s:I, s:s, s:s, s:I, s:o}", "name", f->name, "version", f->version, "abi",
			 (json_int_t)f->abi, "description", f->description, "digest", f->digest, "bytes",
			 (json_int_t)f->size, "signatures", list);
}

void image_file_print(const json_t *d)
{
	const json_t *list = json_object_get(d, "signatures"), *one;
	size_t i;

	printf("%s %s: %s\n", json_string_value(json_object_get(d, "name")),
	       json_string_value(json_object_get(d, "version")), json_string_value(json_object_get(d, "description")));
	printf("  ABI     %lld\n", (long long)json_integer_value(json_object_get(d, "abi")));
	printf("  digest  %s (SHA-256 of the file)\n", json_string_value(json_object_get(d, "digest")));
	printf("  size    %lld bytes\n", (long long)json_integer_value(json_object_get(d, "bytes")));
	if (json_array_size(list) == 0)
		puts("  signed  by nobody");
	json_array_foreach(list, i, one)
	{
		const char *name = json_string_value(json_object_get(one, "name"));
		const json_t *trusted = json_object_get(one, "trusted");

		printf("  signed  by key %s%s%s%s\n", json_string_value(json_object_get(one, "fingerprint")),
		       name ? ", " : "", name ? name : "",
		       !trusted		       ? ""
		       : json_is_true(trusted) ? ", trusted"
					       : ", not trusted");
	}
}
