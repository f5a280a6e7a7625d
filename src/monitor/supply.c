/* SPDX-License-Identifier: Apache-2.0 */
/* supply.c - see supply.h. */
#include "monitor/supply.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "sched/change.h"
#include "sched/source/sources.h"
#include "sched/trust/minimum.h"
#include "sched/trust/trust.h"

#define MINIMUMS_FILE "minimum-versions"

struct supply {
	struct image_supply interface;
	struct sources *sources;
	struct minimums *minimums;
	struct trust trust;
	char *server;
};

/* ---- what the change engine asks ---- */

static int fetch(void *ctx, const struct change_spec *spec, const char *where, const struct supply_watch *watch,
		 struct supplied *ret, struct error *e)
{
	struct supply *s = ctx;
	const struct fetch_watch go_on = {.go_on = watch->go_on, .ctx = watch->ctx};
	const struct source_request request = {
	    .where = where, .by_operator = spec->trusted, .vm = spec->vm, .watch = &go_on};
	struct source_image image;
	int r = sources_fetch(s->sources, &request, &image, e);

	if (r < 0)
		return r;
	*ret = (struct supplied){.bytes = image.bytes, .size = image.size, .in_image_dir = image.in_image_dir};
	snprintf(ret->note, sizeof ret->note, "%s", image.note[0] ? image.note : image.cached ? "from the cache" : "");
	snprintf(ret->name, sizeof ret->name, "%s", image.name);
	snprintf(ret->version, sizeof ret->version, "%s", image.version);
	return 0;
}

static int vet(void *ctx, const struct change_spec *spec, const char *where, struct supplied *image, struct error *e)
{
	struct supply *s = ctx;
	enum trust_place place = PLACE_ELSEWHERE;
	struct trust_verdict verdict;
	int r;

	if (spec->trusted)
		place = PLACE_OPERATOR;
	else if (image->in_image_dir)
		place = PLACE_IMAGE_DIR;
	r = trust_check(&s->trust, image->bytes, image->size, where, place, &verdict, e);
	if (r < 0)
		return r;
	image->signed_by_trusted = verdict.signed_by_trusted;
	snprintf(image->by, sizeof image->by, "%s", verdict.by);
	return 0;
}

static int admit(void *ctx, const struct change_spec *spec, const struct supplied *image, const char *name,
		 const char *version, struct error *e)
{
	struct supply *s = ctx;

	if (image->name[0] && (strcmp(image->name, name) != 0 || strcmp(image->version, version) != 0))
		return error_set(
		    e, -EBADMSG,
		    "the image server calls this image %s %s, but it is %s %s: its index is wrong, publish the "
		    "image again",
		    image->name, image->version, name, version);
	if (spec->trusted && spec->older)
		return 0;
	return minimums_check(s->minimums, name, version, e);
}

/* Only what somebody vouched for by signature may keep older versions out. */
static void used(void *ctx, const struct change_spec *spec, const struct supplied *image, const char *name,
		 const char *version)
{
	struct supply *s = ctx;
	struct error e = {""};

	if (!image->signed_by_trusted && !spec->older)
		return;
	if (minimums_note(s->minimums, name, version, spec->trusted && spec->older, &e) < 0)
		log_warning("%s; until this monitor ends %s %s is the minimum all the same", e.text, name, version);
}

/* ---- life ---- */

static int read_trust(const struct supply_config *config, struct trust *ret, struct error *e)
{
	int r = config->trusted_keys ? key_set_read(config->trusted_keys, &ret->keys, e) : 0;

	if (r < 0)
		return r;
	if (config->trusted_keys && ret->keys.count == 0)
		return error_set(e, -ENOENT,
				 "there is no key (*.pub) in %.160s; `baton image keys trust` puts one there",
				 config->trusted_keys);
	switch (config->signatures) {
	case SIGNATURES_REQUIRED:
		ret->rule = TRUST_SIGNED;
		break;
	case SIGNATURES_OPTIONAL:
		ret->rule = TRUST_ANY;
		break;
	default:
		ret->rule = ret->keys.count > 0 ? TRUST_SIGNED : TRUST_PLACE;
		break;
	}
	return 0;
}

static int open_minimums(const struct supply_config *config, struct minimums **ret, struct error *e)
{
	char path[PATH_MAX];

	if (!config->state_dir)
		return minimums_new(NULL, ret, e);
	if (snprintf(path, sizeof path, "%s/" MINIMUMS_FILE, config->state_dir) >= (int)sizeof path)
		return error_set(e, -ENAMETOOLONG, "--state: the path is too long");
	return minimums_new(path, ret, e);
}

int supply_new(const struct supply_config *config, const char *image_dir, struct supply **ret, struct error *e)
{
	const struct sources_config sources = {
	    .image_dir = image_dir,
	    .server = config->image_server,
	    .cache_dir = config->cache_dir,
	    .http.ca_file = config->image_ca,
	};
	struct supply *s = calloc(1, sizeof *s);
	int r;

	if (!s)
		return error_set(e, -ENOMEM, "no memory for the supply of images");
	s->interface = (struct image_supply){.fetch = fetch, .vet = vet, .admit = admit, .used = used, .ctx = s};
	r = read_trust(config, &s->trust, e);
	if (r >= 0)
		r = open_minimums(config, &s->minimums, e);
	if (r >= 0)
		r = sources_new(&sources, &s->sources, e);
	s->server = config->image_server ? strdup(config->image_server) : NULL;
	if (r < 0) {
		supply_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct supply *supply_free(struct supply *s)
{
	if (!s)
		return NULL;
	sources_free(s->sources);
	minimums_free(s->minimums);
	free(s->server);
	free(s);
	return NULL;
}

const struct image_supply *supply_interface(const struct supply *s)
{
	return &s->interface;
}

struct uploads *supply_uploads(struct supply *s)
{
	return sources_uploads(s->sources);
}

json_t *supply_describe(const struct supply *s)
{
	json_t *keys = json_array();

	for (unsigned i = 0; i < s->trust.keys.count; i++) {
		char fingerprint[KEY_FINGERPRINT_TEXT];

		key_fingerprint(s->trust.keys.key[i].bytes, fingerprint);
		json_array_append_new(
		    keys, json_pack("{s:s, s:s}", "name", s->trust.keys.key[i].name, "fingerprint", fingerprint));
	}
	return json_pack("{s:s, s:o, s:s?}", "rule", trust_rule_name(s->trust.rule), "keys", keys, "server", s->server);
}
