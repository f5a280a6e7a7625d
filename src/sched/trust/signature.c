/* SPDX-License-Identifier: Apache-2.0 */
/* signature.c - see signature.h. */
#include "signature.h"

#include <endian.h>
#include <sodium.h>
#include <string.h>

#define MAGIC	      "BATONSIG"
#define BLOCK_VERSION 1
#define CONTEXT	      "baton scheduler image, signed v1"

/* Both as they are in the file. */
struct tail {
	uint32_t version;
	uint32_t entries;
	uint64_t image_size;
	char magic[8];
};

struct message {
	char context[32];
	uint64_t image_size;
	uint8_t digest[crypto_hash_sha256_BYTES];
};

static_assert(sizeof(struct tail) == 24 && sizeof(struct message) == 72 && sizeof(struct signature) == 96,
	      "as in the file");
static_assert(sizeof CONTEXT - 1 == 32, "fills its field");

static struct message message_of(const uint8_t *image, size_t size)
{
	struct message m = {.image_size = htole64(size)};

	memcpy(m.context, CONTEXT, sizeof m.context);
	crypto_hash_sha256(m.digest, image, size);
	return m;
}

/* The end of the file as a tail; false when it is not one. */
static bool read_tail(const uint8_t *file, size_t size, struct tail *ret)
{
	if (size < sizeof *ret)
		return false;
	memcpy(ret, file + size - sizeof *ret, sizeof *ret);
	ret->version = le32toh(ret->version);
	ret->entries = le32toh(ret->entries);
	ret->image_size = le64toh(ret->image_size);
	return memcmp(ret->magic, MAGIC, sizeof ret->magic) == 0;
}

static int check_tail(const struct tail *t, size_t size, const char *source, struct error *e)
{
	if (t->version != BLOCK_VERSION)
		return error_set(e, -EBADMSG,
				 "%.80s has signatures of version %u, but this Baton knows version %d: sign it again",
				 source, t->version, BLOCK_VERSION);
	if (t->entries == 0 || t->entries > SIGNATURES_MAX || t->image_size > size ||
	    size - t->image_size != sizeof(struct tail) + t->entries * sizeof(struct signature))
		return error_set(e, -EBADMSG,
				 "%.80s has a damaged signature block: copy the file again, or sign it again", source);
	return 0;
}

static int check_entries(const struct signatures *s, const struct message *m, const char *source, struct error *e)
{
	for (unsigned i = 0; i < s->count; i++) {
		char fingerprint[KEY_FINGERPRINT_TEXT];

		key_fingerprint(s->entry[i].key, fingerprint);
		for (unsigned k = 0; k < i; k++)
			if (memcmp(s->entry[k].key, s->entry[i].key, KEY_BYTES) == 0)
				return error_set(e, -EBADMSG, "%.80s is signed twice by key %s: sign the image anew",
						 source, fingerprint);
		if (crypto_sign_verify_detached(s->entry[i].bytes, (const uint8_t *)m, sizeof *m, s->entry[i].key) != 0)
			return error_set(e, -EBADMSG,
					 "%.80s has been altered since it was signed (the signature by key %s does not "
					 "fit): fetch it again from where it was signed",
					 source, fingerprint);
	}
	return 0;
}

int signatures_read(const uint8_t *file, size_t size, const char *source, struct signatures *ret, struct error *e)
{
	struct signatures s = {.image_size = size};
	struct message m;
	struct tail t;
	int r;

	if (!read_tail(file, size, &t)) {
		*ret = s;
		return 0;
	}
	r = check_tail(&t, size, source, e);
	if (r < 0)
		return r;
	s.image_size = (size_t)t.image_size;
	s.count = t.entries;
	memcpy(s.entry, file + s.image_size, s.count * sizeof(struct signature));
	m = message_of(file, s.image_size);
	r = check_entries(&s, &m, source, e);
	if (r < 0)
		return r;
	*ret = s;
	return 0;
}

int signatures_add(const uint8_t *file, size_t size, const char *source, const struct secret_key *key,
		   uint8_t **ret_file, size_t *ret_size, struct error *e)
{
	struct signatures s;
	struct message m;
	struct tail t = {.version = htole32(BLOCK_VERSION), .magic = MAGIC};
	unsigned at = 0;
	size_t entries;
	uint8_t *out;
	int r = signatures_read(file, size, source, &s, e);

	if (r < 0)
		return r;
	while (at < s.count && memcmp(s.entry[at].key, key->public.bytes, KEY_BYTES) != 0)
		at++;
	if (at == SIGNATURES_MAX)
		return error_set(e, -E2BIG,
				 "%.80s has %d signatures already: build it again and sign it with the keys "
				 "that are in use",
				 source, SIGNATURES_MAX);
	s.count = MAX(s.count, at + 1);
	m = message_of(file, s.image_size);
	memcpy(s.entry[at].key, key->public.bytes, KEY_BYTES);
	crypto_sign_detached(s.entry[at].bytes, NULL, (const uint8_t *)&m, sizeof m, key->bytes);

	entries = s.count * sizeof(struct signature);
	out = malloc(s.image_size + entries + sizeof t);
	if (!out)
		return error_set(e, -ENOMEM, "no memory to sign %.80s", source);
	t.entries = htole32(s.count);
	t.image_size = htole64(s.image_size);
	memcpy(out, file, s.image_size);
	memcpy(out + s.image_size, s.entry, entries);
	memcpy(out + s.image_size + entries, &t, sizeof t);
	*ret_file = out;
	*ret_size = s.image_size + entries + sizeof t;
	return 0;
}
