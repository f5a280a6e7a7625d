/* SPDX-License-Identifier: Apache-2.0 */
/* index.c - see index.h. */
#include "index.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "sched/source.h"
#include "sched/trust/version.h"

#define FORMAT 1

static bool hexadecimal(const char *s, size_t digits)
{
	return strlen(s) == digits && strspn(s, "0123456789abcdef") == digits;
}

bool digest_is_valid(const char *s)
{
	return hexadecimal(s, DIGEST_TEXT - 1);
}

/* A path that stays below the index: plain parts, none hidden, none "..". */
static bool file_is_valid(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n >= INDEX_FILE_MAX || s[n - 1] == '/')
		return false;
	for (size_t i = 0; i < n; i++) {
		bool first = i == 0 || s[i - 1] == '/';

		if (first && (s[i] == '/' || s[i] == '.'))
			return false;
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/", s[i]))
			return false;
	}
	return true;
}

/* Channels are words, versions begin with a digit: so "@1.2" and "@stable" cannot be mistaken for each other. */
static bool channel_is_valid(const char *s)
{
	return version_name_is_valid(s) && !(s[0] >= '0' && s[0] <= '9');
}

/* ---- reading ---- */

static bool read_text(const json_t *object, const char *member, char *ret, size_t size)
{
	const json_t *value = json_object_get(object, member);

	if (!json_is_string(value) || json_string_length(value) >= size ||
	    strlen(json_string_value(value)) != json_string_length(value))
		return false;
	snprintf(ret, size, "%s", json_string_value(value));
	return true;
}

static bool read_number(const json_t *object, const char *member, uint64_t max, uint64_t *ret)
{
	const json_t *value = json_object_get(object, member);

	if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > max)
		return false;
	*ret = (uint64_t)json_integer_value(value);
	return true;
}

static bool read_keys(const json_t *object, struct index_image *image)
{
	const json_t *keys = json_object_get(object, "keys"), *key;
	size_t i;

	if (!keys)
		return true;
	if (!json_is_array(keys) || json_array_size(keys) > INDEX_KEYS_MAX)
		return false;
	json_array_foreach(keys, i, key)
	{
		if (!json_is_string(key) || !hexadecimal(json_string_value(key), KEY_FINGERPRINT_TEXT - 1))
			return false;
		snprintf(image->keys[i], sizeof image->keys[i], "%s", json_string_value(key));
		image->key_count++;
	}
	return true;
}

static int read_image(const json_t *o, const char *source, size_t number, struct index_image *ret, struct error *e)
{
	struct index_image image = {0};
	const char *wrong = NULL;
	uint64_t abi = 0;

	if (!json_is_object(o))
		wrong = "it is no object";
	else if (!read_text(o, "name", image.name, sizeof image.name) || !version_name_is_valid(image.name))
		wrong = "name";
	else if (!read_text(o, "version", image.version, sizeof image.version) || !version_is_valid(image.version))
		wrong = "version";
	else if (!read_number(o, "abi", UINT32_MAX, &abi))
		wrong = "abi";
	else if (!read_text(o, "digest", image.digest, sizeof image.digest) || !digest_is_valid(image.digest))
		wrong = "digest";
	else if (!read_number(o, "size", SOURCE_BYTES_MAX, &image.size) || image.size == 0)
		wrong = "size";
	else if (!read_text(o, "file", image.file, sizeof image.file) || !file_is_valid(image.file))
		wrong = "file";
	else if (!read_keys(o, &image))
		wrong = "keys";
	if (wrong)
		return error_set(e, -EBADMSG, "the index %.120s is wrong: image %zu: %s; publish it again", source,
				 number + 1, wrong);
	image.abi = (uint32_t)abi;
	*ret = image;
	return 0;
}

static struct index_image *find_version(const struct index *x, const char *name, const char *version)
{
	for (unsigned i = 0; i < x->image_count; i++)
		if (strcmp(x->images[i].name, name) == 0 && strcmp(x->images[i].version, version) == 0)
			return &x->images[i];
	return NULL;
}

static int read_images(const json_t *list, const char *source, struct index *x, struct error *e)
{
	const json_t *o;
	size_t i;
	int r;

	if (!json_is_array(list) || json_array_size(list) > INDEX_IMAGES_MAX)
		return error_set(e, -EBADMSG, "the index %.120s is wrong: \"images\" must be a list of at most %d",
				 source, INDEX_IMAGES_MAX);
	x->images = calloc(json_array_size(list) + 1, sizeof *x->images);
	if (!x->images)
		return error_set(e, -ENOMEM, "no memory for the index %.120s", source);
	json_array_foreach(list, i, o)
	{
		struct index_image image;

		r = read_image(o, source, i, &image, e);
		if (r < 0)
			return r;
		if (find_version(x, image.name, image.version))
			return error_set(e, -EBADMSG, "the index %.120s is wrong: it has %s %s twice", source,
					 image.name, image.version);
		x->images[x->image_count++] = image;
	}
	return 0;
}

static int read_channels(const json_t *all, const char *source, struct index *x, struct error *e)
{
	const char *name, *channel;
	json_t *channels, *version;
	size_t count = 0;

	if (!all)
		return 0;
	if (!json_is_object(all))
		goto wrong;
	json_object_foreach((json_t *)(uintptr_t)all, name, channels) count += json_object_size(channels);
	if (count > INDEX_CHANNELS_MAX)
		goto wrong;
	x->channels = calloc(count + 1, sizeof *x->channels);
	if (!x->channels)
		return error_set(e, -ENOMEM, "no memory for the index %.120s", source);
	json_object_foreach((json_t *)(uintptr_t)all, name, channels)
	{
		if (!json_is_object(channels))
			goto wrong;
		json_object_foreach(channels, channel, version)
		{
			struct index_channel *c = &x->channels[x->channel_count];

			if (!version_name_is_valid(name) || !channel_is_valid(channel) ||
			    !read_text(channels, channel, c->version, sizeof c->version) ||
			    !version_is_valid(c->version))
				goto wrong;
			snprintf(c->name, sizeof c->name, "%s", name);
			snprintf(c->channel, sizeof c->channel, "%s", channel);
			x->channel_count++;
		}
	}
	return 0;
wrong:
	return error_set(e, -EBADMSG,
			 "the index %.120s is wrong: \"channels\" must be {NAME: {CHANNEL: VERSION}}; publish it again",
			 source);
}

static int read_index(const json_t *o, const char *source, struct index *x, struct error *e)
{
	int r;

	if (!json_is_object(o) || !json_is_integer(json_object_get(o, "format")))
		return error_set(e, -EBADMSG, "%.120s is not an index of images: it has no \"format\"", source);
	if (json_integer_value(json_object_get(o, "format")) != FORMAT)
		return error_set(e, -EBADMSG, "the index %.120s has format %lld, but this Baton knows format %d",
				 source, (long long)json_integer_value(json_object_get(o, "format")), FORMAT);
	r = read_images(json_object_get(o, "images"), source, x, e);
	return r < 0 ? r : read_channels(json_object_get(o, "channels"), source, x, e);
}

int index_parse(const void *bytes, size_t size, const char *source, struct index *ret, struct error *e)
{
	struct index x = {0};
	json_error_t why;
	json_t *o;
	int r;

	if (size > INDEX_BYTES_MAX)
		return error_set(e, -EBADMSG, "the index %.120s is larger than %u KiB", source,
				 (unsigned)(INDEX_BYTES_MAX / KIB));
	o = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &why);
	if (!o) {
		for (char *s = why.text; *s; s++)
			if (*s < ' ' || *s > '~')
				*s = '?';
		return error_set(e, -EBADMSG, "the index %.120s is not JSON: line %d: %.80s", source, why.line,
				 why.text);
	}
	r = read_index(o, source, &x, e);
	json_decref(o);
	if (r < 0) {
		index_clear(&x);
		return r;
	}
	*ret = x;
	return 0;
}

void index_clear(struct index *x)
{
	free(x->images);
	free(x->channels);
	*x = (struct index){0};
}

/* ---- finding ---- */

static const struct index_image *find_newest(const struct index *x, const char *name, const char *prefix)
{
	const struct index_image *best = NULL;

	for (unsigned i = 0; i < x->image_count; i++) {
		const struct index_image *image = &x->images[i];

		if (strcmp(image->name, name) != 0 || image->abi != BATON_SCHEDULER_ABI ||
		    !version_within(image->version, prefix))
			continue;
		if (!best || version_compare(image->version, best->version) > 0)
			best = image;
	}
	return best;
}

static const struct index_channel *find_channel(const struct index *x, const char *name, const char *channel)
{
	for (unsigned i = 0; i < x->channel_count; i++)
		if (strcmp(x->channels[i].name, name) == 0 && strcmp(x->channels[i].channel, channel) == 0)
			return &x->channels[i];
	return NULL;
}

const struct index_image *index_find(const struct index *x, const char *name, const char *wanted, struct error *e)
{
	const char *version = wanted[0] ? wanted : "stable";
	const struct index_channel *channel = NULL;
	const struct index_image *image;
	bool known = false;

	for (unsigned i = 0; i < x->image_count && !known; i++)
		known = strcmp(x->images[i].name, name) == 0;
	if (!known) {
		error_set(e, -ENOENT, "the image server has no scheduler %.32s", name);
		return NULL;
	}
	if (channel_is_valid(version)) {
		channel = find_channel(x, name, version);
		if (!channel) {
			error_set(
			    e, -ENOENT,
			    "the image server has no channel %.32s of scheduler %.32s: ask for a version, such as "
			    "%.32s@1.0",
			    version, name, name);
			return NULL;
		}
		version = channel->version;
	}
	image = find_version(x, name, version);
	if (image && image->abi != BATON_SCHEDULER_ABI) {
		error_set(e, -ENOENT, "%.32s %.32s on the image server is for ABI %u, this monitor has ABI %u", name,
			  version, image->abi, BATON_SCHEDULER_ABI);
		return NULL;
	}
	if (!image && !channel)
		image = find_newest(x, name, version);
	if (!image)
		error_set(e, -ENOENT, "the image server has no version %.32s of scheduler %.32s for ABI %u%s", version,
			  name, BATON_SCHEDULER_ABI, channel ? ", although a channel names it: publish it again" : "");
	return image;
}

/* ---- writing ---- */

static json_t *format_image(const struct index_image *image)
{
	json_t *keys = json_array();

	for (unsigned i = 0; i < image->key_count; i++)
		json_array_append_new(keys, json_string(image->keys[i]));
	return json_pack("{s:s, s:s, s:I, s:s, s:I, s:s, s:o}", "name", image->name, "version", image->version, "abi",
			 (json_int_t)image->abi, "digest", image->digest, "size", (json_int_t)image->size, "file",
			 image->file, "keys", keys);
}

char *index_format(const struct index *x)
{
	json_t *images = json_array(), *channels = json_object(), *o;
	char *text;

	for (unsigned i = 0; i < x->image_count; i++)
		json_array_append_new(images, format_image(&x->images[i]));
	for (unsigned i = 0; i < x->channel_count; i++) {
		const struct index_channel *c = &x->channels[i];

		if (!json_object_get(channels, c->name))
			json_object_set_new(channels, c->name, json_object());
		json_object_set_new(json_object_get(channels, c->name), c->channel, json_string(c->version));
	}
	o = json_pack("{s:i, s:o, s:o}", "format", FORMAT, "images", images, "channels", channels);
	text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
	json_decref(o);
	return text;
}

int index_put(struct index *x, const struct index_image *image, struct error *e)
{
	struct index_image *place = find_version(x, image->name, image->version);

	if (!place) {
		struct index_image *grown;

		if (x->image_count == INDEX_IMAGES_MAX)
			return error_set(e, -ENOSPC,
					 "the index holds %d images already: begin another server directory",
					 INDEX_IMAGES_MAX);
		grown = realloc(x->images, (x->image_count + 1) * sizeof *grown);
		if (!grown)
			return error_set(e, -ENOMEM, "no memory for the index");
		x->images = grown;
		place = &x->images[x->image_count++];
	}
	*place = *image;
	return 0;
}

int index_set_channel(struct index *x, const char *name, const char *channel, const char *version, struct error *e)
{
	struct index_channel *place = (struct index_channel *)(uintptr_t)find_channel(x, name, channel);

	if (!channel_is_valid(channel))
		return error_set(e, -EINVAL, "\"%.32s\" is no name for a channel: use a word such as stable or canary",
				 channel);
	if (!place) {
		struct index_channel *grown;

		if (x->channel_count == INDEX_CHANNELS_MAX)
			return error_set(e, -ENOSPC, "the index holds %d channels already", INDEX_CHANNELS_MAX);
		grown = realloc(x->channels, (x->channel_count + 1) * sizeof *grown);
		if (!grown)
			return error_set(e, -ENOMEM, "no memory for the index");
		x->channels = grown;
		place = &x->channels[x->channel_count++];
	}
	*place = (struct index_channel){0};
	snprintf(place->name, sizeof place->name, "%s", name);
	snprintf(place->channel, sizeof place->channel, "%s", channel);
	snprintf(place->version, sizeof place->version, "%s", version);
	return 0;
}
