/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_file.h - a file that a machine boots from, read once into private memory.
 *
 * The copy is kept for the machine's life: a reset loads the same bytes again even when the file was replaced or cut
 * meanwhile (a mapping of the file would change under us, or raise SIGBUS).
 */
#ifndef MACHINE_IMAGE_FILE_H
#define MACHINE_IMAGE_FILE_H

#include "base/base.h"

#define IMAGE_FILE_MAX (1024 * MIB)

struct image_file {
	uint8_t *data; /* NULL: none */
	size_t size;
	size_t mapped;
};

/* what: "kernel" or "initrd", for the message. Errors: -ENOENT, -EACCES, -ENOEXEC (not a regular file, empty), -E2BIG,
 * -ENOMEM, -EIO. */
int image_file_read(struct image_file *f, const char *path, const char *what, struct error *e);
void image_file_done(struct image_file *f);

#endif
