/* SPDX-License-Identifier: Apache-2.0 */
/* keys.c - see keys.h. */
#include "keys.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sched/trust/files.h"

#define SECRET_WORD "baton-secret-key-1"
#define PUBLIC_WORD "baton-public-key-1"
#define LINE_SIZE   256
#define HEX_DIGITS  ((size_t)2 * KEY_BYTES)

static bool name_is_valid(const char *name)
{
	size_t n = strlen(name);

	return n > 0 && n < KEY_NAME_MAX &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.@") == n;
}

void key_fingerprint(const uint8_t key[static KEY_BYTES], char ret[static KEY_FINGERPRINT_TEXT])
{
	unsigned char digest[crypto_hash_sha256_BYTES];

	crypto_hash_sha256(digest, key, KEY_BYTES);
	sodium_bin2hex(ret, KEY_FINGERPRINT_TEXT, digest, (KEY_FINGERPRINT_TEXT - 1) / 2);
}

static void from_seed(const uint8_t seed[static KEY_BYTES], const char *name, struct secret_key *ret)
{
	crypto_sign_seed_keypair(ret->public.bytes, ret->bytes, seed);
	snprintf(ret->public.name, sizeof ret->public.name, "%s", name);
}

int key_make(const char *name, struct secret_key *ret, struct error *e)
{
	uint8_t seed[KEY_BYTES];

	if (!name_is_valid(name))
		return error_set(e, -EINVAL,
				 "\"%.48s\" is no name for a key: use up to %d letters, digits, or any of _ - . @",
				 name, KEY_NAME_MAX - 1);
	if (sodium_init() < 0)
		return error_set(e, -EIO, "no source of random numbers: see whether /dev/urandom is there");
	randombytes_buf(seed, sizeof seed);
	from_seed(seed, name, ret);
	sodium_memzero(seed, sizeof seed);
	return 0;
}

void key_forget(struct secret_key *key)
{
	sodium_memzero(key, sizeof *key);
}

/* ---- writing ---- */

static int write_line(const char *path, mode_t mode, const char *line, struct error *e)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	size_t size = strlen(line);
	int r = 0;

	if (fd < 0)
		return error_set(e, -errno, "cannot make the key file %.160s: %s", path,
				 errno == EEXIST ? "it exists, and a key is never overwritten; choose another name"
						 : strerror(errno));
	errno = ENOSPC; /* for the short write, which does not say why */
	if (write(fd, line, size) != (ssize_t)size || fsync(fd) < 0)
		r = -errno;
	if (r < 0) {
		unlink(path);
		return error_set(e, r, "cannot write the key file %.160s: %s", path, strerror(-r));
	}
	return 0;
}

static int write_public(const struct public_key *key, const char *path, struct error *e)
{
	char hex[HEX_DIGITS + 1], line[LINE_SIZE];

	sodium_bin2hex(hex, sizeof hex, key->bytes, KEY_BYTES);
	snprintf(line, sizeof line, PUBLIC_WORD " %s %s\n", hex, key->name);
	return write_line(path, 0644, line, e);
}

int key_write(const struct secret_key *key, const char *path, struct error *e)
{
	char secret[PATH_MAX], public[PATH_MAX], hex[HEX_DIGITS + 1], line[LINE_SIZE];
	int r;

	if (snprintf(secret, sizeof secret, "%s.key", path) >= (int)sizeof secret ||
	    snprintf(public, sizeof public, "%s.pub", path) >= (int)sizeof public)
		return error_set(e, -ENAMETOOLONG, "the key file's path is too long: give a shorter one");
	sodium_bin2hex(hex, sizeof hex, key->bytes, KEY_BYTES); /* the seed is the first half */
	snprintf(line, sizeof line, SECRET_WORD " %s %s\n", hex, key->public.name);
	r = write_line(secret, 0600, line, e);
	sodium_memzero(hex, sizeof hex);
	sodium_memzero(line, sizeof line);
	if (r < 0)
		return r;
	r = write_public(&key->public, public, e);
	if (r < 0)
		unlink(secret);
	return r;
}

/* ---- reading ---- */

/* The number and the name of a key file's one line. */
static int read_key(const char *path, const char *word, mode_t forbidden, const char *advice,
		    uint8_t ret_bytes[static KEY_BYTES], char ret_name[static KEY_NAME_MAX], struct error *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char line[LINE_SIZE], hex[HEX_DIGITS + 1], name[KEY_NAME_MAX], found[32];
	struct stat st;
	size_t length = 0;
	ssize_t n;
	int end = 0, r = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(e, -errno, "cannot open the key file %.160s: %s; check the path", path,
				 strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(e, -EINVAL, "%.160s is not a regular file: name a key file", path);
	if (st.st_mode & forbidden)
		return error_set(e, -EPERM, "the key file %.120s %s", path, advice);
	n = read(fd, line, sizeof line - 1);
	if (n < 0)
		return error_set(e, -errno, "cannot read the key file %.160s: %s", path, strerror(errno));
	line[n] = '\0';
	if (sscanf(line, "%31s %64[0-9a-f] %47s %n", found, hex, name, &end) != 3 || strcmp(found, word) != 0 ||
	    line[end] != '\0' || strlen(line) != (size_t)n || strlen(hex) != HEX_DIGITS || !name_is_valid(name) ||
	    sodium_hex2bin(ret_bytes, KEY_BYTES, hex, HEX_DIGITS, NULL, &length, NULL) < 0 || length != KEY_BYTES)
		r = error_set(e, -EBADMSG, "%.160s is not a %s key of Baton; `baton image keys make NAME` makes a pair",
			      path, strcmp(word, SECRET_WORD) == 0 ? "secret" : "public");
	if (r == 0)
		snprintf(ret_name, KEY_NAME_MAX, "%s", name);
	sodium_memzero(line, sizeof line);
	sodium_memzero(hex, sizeof hex);
	return r;
}

int key_read_secret(const char *path, struct secret_key *ret, struct error *e)
{
	uint8_t seed[KEY_BYTES];
	char name[KEY_NAME_MAX];
	int r = read_key(path, SECRET_WORD, S_IRWXG | S_IRWXO,
			 "may be used by others than its owner: take that away with chmod 600, or make a new key", seed,
			 name, e);

	if (r < 0)
		return r;
	from_seed(seed, name, ret);
	sodium_memzero(seed, sizeof seed);
	return 0;
}

int key_read_public(const char *path, struct public_key *ret, struct error *e)
{
	struct public_key key = {0};
	int r = read_key(path, PUBLIC_WORD, S_IWOTH, "may be written by everybody: take that away with chmod o-w",
			 key.bytes, key.name, e);

	if (r == 0)
		*ret = key;
	return r;
}

/* ---- sets ---- */

static bool is_public_name(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && name[0] != '.' && strcmp(name + n - 4, ".pub") == 0;
}

static void close_dir_ptr(DIR **d)
{
	if (*d)
		closedir(*d);
}

int key_set_read(const char *dir, struct key_set *ret, struct error *e)
{
	_cleanup_(close_dir_ptr) DIR *d = opendir(dir);
	const struct dirent *entry;
	struct key_set set = {0};
	struct stat st;

	if (!d || fstat(dirfd(d), &st) < 0)
		return error_set(
		    e, -errno,
		    "cannot read the directory of trusted keys %.160s: %s; `baton image keys trust` fills it", dir,
		    strerror(errno));
	if (st.st_mode & S_IWOTH)
		return error_set(e, -EPERM,
				 "the directory of trusted keys %.160s may be written by everybody: chmod o-w it", dir);
	while ((entry = readdir(d))) {
		char path[PATH_MAX];
		int r;

		if (!is_public_name(entry->d_name))
			continue;
		if (set.count == KEYS_MAX)
			return error_set(e, -E2BIG, "more than %d trusted keys in %.160s: take some away", KEYS_MAX,
					 dir);
		if (snprintf(path, sizeof path, "%s/%s", dir, entry->d_name) >= (int)sizeof path)
			return error_set(e, -ENAMETOOLONG, "the path of a key in %.160s is too long", dir);
		r = key_read_public(path, &set.key[set.count], e);
		if (r < 0)
			return r;
		set.count++;
	}
	*ret = set;
	return 0;
}

int key_set_add(const char *dir, const struct public_key *key, struct error *e)
{
	char fingerprint[KEY_FINGERPRINT_TEXT], path[PATH_MAX];
	int r;

	key_fingerprint(key->bytes, fingerprint);
	r = make_dirs(dir);
	if (r < 0)
		return error_set(e, r, "cannot make the directory %.160s: %s", dir, strerror(-r));
	if (snprintf(path, sizeof path, "%s/%s.pub", dir, fingerprint) >= (int)sizeof path)
		return error_set(e, -ENAMETOOLONG, "the path of the directory of trusted keys is too long");
	return write_public(key, path, e);
}

const struct public_key *key_set_find(const struct key_set *set, const uint8_t key[static KEY_BYTES])
{
	for (unsigned i = 0; i < set->count; i++)
		if (memcmp(set->key[i].bytes, key, KEY_BYTES) == 0)
			return &set->key[i];
	return NULL;
}
