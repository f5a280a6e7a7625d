/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.h - Ed25519 keys as files, and the set of those that a pool trusts.
 *
 * A key is one line of text. The secret one (NAME.key, mode 0600) is
 *
 *	baton-secret-key-1 <seed, 64 hexadecimal digits> <name>
 *
 * and the public one (NAME.pub) is
 *
 *	baton-public-key-1 <key, 64 hexadecimal digits> <name>
 *
 * The name is for people only. What identifies a key is its fingerprint: the first 8 bytes of the SHA-256 of the key.
 *
 * Threads: any; a key set is constant once it is made.
 */
#ifndef SCHED_TRUST_KEYS_H
#define SCHED_TRUST_KEYS_H

#include "base/base.h"

#define KEY_BYTES	     32
#define KEY_NAME_MAX	     48
#define KEY_FINGERPRINT_TEXT 17 /* 16 hexadecimal digits and NUL */
#define KEYS_MAX	     64 /* in a set */

struct public_key {
	uint8_t bytes[KEY_BYTES];
	char name[KEY_NAME_MAX];
};

struct secret_key {
	uint8_t bytes[64]; /* as libsodium wants it: seed, public key */
	struct public_key public;
};

struct key_set {
	unsigned count;
	struct public_key key[KEYS_MAX];
};

/* A new key pair in memory. name: letters, digits, '_', '-', '.', '@'; shorter than KEY_NAME_MAX. -EINVAL. */
int key_make(const char *name, struct secret_key *ret, struct error *e);
/* Overwrites a secret. */
void key_forget(struct secret_key *key);
#define _cleanup_key_ _cleanup_(key_forget)

/* Writes PATH.key and PATH.pub; neither may exist (-EEXIST). */
int key_write(const struct secret_key *key, const char *path, struct error *e);

/* -ENOENT and other errors of open; -EBADMSG no such key file; a secret that others may read: -EPERM. */
int key_read_secret(const char *path, struct secret_key *ret, struct error *e);
int key_read_public(const char *path, struct public_key *ret, struct error *e);

/*
 * All keys (*.pub) of a directory. A file that is no key, or a directory or key that everybody may write to, is an error:
 * nobody is to find out later that a key was not the one they meant. An empty directory gives an empty set.
 */
int key_set_read(const char *dir, struct key_set *ret, struct error *e);
/* Copies a public key file into the directory (made when missing) as <fingerprint>.pub. */
int key_set_add(const char *dir, const struct public_key *key, struct error *e);
/* NULL when it is not in the set. */
const struct public_key *key_set_find(const struct key_set *set, const uint8_t key[static KEY_BYTES]);

void key_fingerprint(const uint8_t key[static KEY_BYTES], char ret[static KEY_FINGERPRINT_TEXT]);

#endif
