/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - the subcommands of `baton image`, and what they share: reading an image file and looking at its table. They work
 * on files alone, without a monitor.
 *
 * Each subcommand gets its own arguments (argv[0] is its name), and returns the exit status as a command does (cli.h).
 */
#ifndef CLI_IMAGE_H
#define CLI_IMAGE_H

#include <jansson.h>

#include "baton/scheduler.h"
#include "cli/cli.h"
#include "sched/source/index.h"
#include "sched/trust/signature.h"

/* An image file that the loader would take, and that nobody has altered since it was signed. */
struct image_file {
	const char *path;
	uint8_t *bytes;
	size_t size;
	char digest[DIGEST_TEXT];
	char name[BATON_NAME_MAX], version[BATON_NAME_MAX], description[BATON_TEXT_MAX];
	uint32_t abi;
	struct signatures signatures;
};

/* Reads the file; checks the signatures that are there (whether they are trusted is another question), then the image. */
int image_file_read(const char *path, struct image_file *ret, struct error *e);
void image_file_clear(struct image_file *f);
#define _cleanup_image_file_ _cleanup_(image_file_clear)

/* {name, version, abi, description, digest, bytes, signatures: [{fingerprint, name (when known), trusted}]}; keys may be
 * NULL: then nothing is said about trust. */
json_t *image_file_describe(const struct image_file *f, const struct key_set *keys);
void image_file_print(const json_t *description);

int image_build(int argc, char **argv);
int image_sign(int argc, char **argv);
int image_verify(int argc, char **argv);
int image_info(int argc, char **argv);
int image_publish(int argc, char **argv);
int image_keys(int argc, char **argv);

#endif
