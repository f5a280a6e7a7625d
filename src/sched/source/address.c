/* SPDX-License-Identifier: Apache-2.0 */
/* address.c - see address.h. */
#include "address.h"

#include <stdio.h>
#include <string.h>

#include "sched/source/sources.h"
#include "sched/trust/version.h"

#define PIN "#sha256="

static bool begins_with(const char *s, const char *start)
{
	return strncmp(s, start, strlen(start)) == 0;
}

bool source_is_server(const char *word)
{
	return begins_with(word, "server:") || (strchr(word, '@') && !strpbrk(word, "/:"));
}

static int parse_server(const char *text, struct address *a, struct error *e)
{
	const char *at = strchr(text, '@');
	size_t n = at ? (size_t)(at - text) : strlen(text);

	if (n >= sizeof a->name || (at && strlen(at + 1) >= sizeof a->wanted))
		return error_set(e, -EINVAL, "no image server has so long a name or version: %.60s", text);
	snprintf(a->name, sizeof a->name, "%.*s", (int)n, text);
	snprintf(a->wanted, sizeof a->wanted, "%s", at ? at + 1 : "");
	if (!version_name_is_valid(a->name) || (at && !a->wanted[0]))
		return error_set(e, -EINVAL, "\"%.60s\" names no image of a server: say NAME@VERSION or NAME@CHANNEL",
				 text);
	return 0;
}

int address_parse(const char *where, struct address *ret, struct error *e)
{
	struct address a = {.kind = ADDRESS_FILE};
	const char *pin = strstr(where, PIN);
	int r = 0;

	if (pin && !digest_is_valid(pin + strlen(PIN)))
		return error_set(e, -EINVAL, "behind " PIN " must stand 64 digits of 0-9 and a-f");
	if (pin)
		snprintf(a.digest, sizeof a.digest, "%s", pin + strlen(PIN));
	if (snprintf(a.rest, sizeof a.rest, "%.*s",
		     pin ? (int)(pin - where) : (int)MIN(strlen(where), (size_t)ADDRESS_MAX),
		     where) >= (int)sizeof a.rest)
		return error_set(e, -ENAMETOOLONG, "the address of the image is too long");
	if (begins_with(a.rest, "http://") || begins_with(a.rest, "https://")) {
		a.kind = ADDRESS_URL;
	} else if (source_is_server(a.rest)) {
		a.kind = ADDRESS_SERVER;
		r = parse_server(begins_with(a.rest, "server:") ? a.rest + 7 : a.rest, &a, e);
	} else if (begins_with(a.rest, "upload:")) {
		a.kind = ADDRESS_UPLOAD;
		memmove(a.rest, a.rest + 7, strlen(a.rest + 7) + 1);
		if (!digest_is_valid(a.rest))
			r = error_set(e, -EINVAL,
				      "behind upload: must stand the digest that the upload was begun with");
	}
	if (r == 0)
		*ret = a;
	return r;
}
