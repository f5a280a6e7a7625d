/* SPDX-License-Identifier: Apache-2.0 */
/* trust.c - see trust.h. */
#include "trust.h"

#include <stdio.h>
#include <string.h>

#include "sched/trust/signature.h"

static const char *const rule_names[] = {"place", "signed", "any"};

const char *trust_rule_name(enum trust_rule rule)
{
	return rule_names[rule];
}

/* The first signature by a trusted key, or NULL. */
static const struct public_key *find_signer(const struct trust *t, const struct signatures *s)
{
	const struct public_key *found = NULL;

	for (unsigned i = 0; i < s->count && !found; i++)
		found = key_set_find(&t->keys, s->entry[i].key);
	return found;
}

static int refuse(const struct trust *t, const struct signatures *s, const char *source, struct error *e)
{
	char fingerprint[KEY_FINGERPRINT_TEXT];

	if (s->count == 0 && t->rule == TRUST_PLACE)
		return error_set(
		    e, -EKEYREJECTED,
		    "%.80s is not signed, and what a VM brings from elsewhere must be: sign it with `baton "
		    "image sign` and start batond with --trusted-keys, or put it into the image directory",
		    source);
	if (s->count == 0)
		return error_set(
		    e, -EKEYREJECTED,
		    "%.80s is not signed, and this pool takes signed images only: `baton image sign` signs it", source);
	key_fingerprint(s->entry[0].key, fingerprint);
	if (t->keys.count == 0)
		return error_set(
		    e, -EKEYREJECTED,
		    "%.80s is signed by key %s, but no key is trusted here: start batond with --trusted-keys", source,
		    fingerprint);
	return error_set(e, -EKEYREJECTED,
			 "%.80s is signed by key %s%s, which is not trusted here: `baton image keys trust` adds a key",
			 source, fingerprint, s->count > 1 ? " and others" : "");
}

int trust_check(const struct trust *t, const uint8_t *file, size_t size, const char *source, enum trust_place place,
		struct trust_verdict *ret, struct error *e)
{
	static const char *const places[] = {"named by the operator", "from the image directory",
					     "anybody is believed"};
	struct trust_verdict verdict = {0};
	const struct public_key *signer;
	struct signatures s;
	int r = signatures_read(file, size, source, &s, e);

	if (r < 0)
		return r;
	signer = find_signer(t, &s);
	if (signer) {
		char fingerprint[KEY_FINGERPRINT_TEXT];

		key_fingerprint(signer->bytes, fingerprint);
		verdict.signed_by_trusted = true;
		snprintf(verdict.by, sizeof verdict.by, "signed by %s (%s)", signer->name, fingerprint);
	} else if (t->rule == TRUST_ANY || (t->rule == TRUST_PLACE && place != PLACE_ELSEWHERE)) {
		snprintf(verdict.by, sizeof verdict.by, "%s, %s",
			 s.count == 0 ? "unsigned" : "signed by an unknown key", places[place]);
	} else {
		return refuse(t, &s, source, e);
	}
	*ret = verdict;
	return 0;
}
