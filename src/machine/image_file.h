/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_file.h - a file that a machine boots from, now and after each reset.
 *
 * The file stays open, its bytes are only in memory while a kernel is being loaded: a monitor with many VMs keeps no
 * copy per VM, they share the host's page cache. A file that was replaced or deleted meanwhile is still the old one; one
 * that was changed in place is noticed and refused (-ESTALE), so a VM never boots from a mixture. It is read, not
 * mapped: a file that is cut while it is used is an error and not SIGBUS.
 *
 *	open -> [load -> (data, size) -> unload]* -> done
 */
#ifndef MACHINE_IMAGE_FILE_H
#define MACHINE_IMAGE_FILE_H

#include <time.h>

#include "base/base.h"

#define IMAGE_FILE_MAX (1024 * MIB)

struct image_file {
	uint8_t *data;	  /* NULL: not loaded, or there is no file */
	size_t size;	  /* bytes of the file; 0: there is none */
	const char *what; /* "kernel" or "initrd", for messages */
	int fd;		  /* valid when size > 0 */
	struct timespec modified;
};

/* Errors: -ENOENT, -EACCES, -ENOEXEC (not a regular file, empty), -E2BIG. what must live as long as f. */
int image_file_open(struct image_file *f, const char *path, const char *what, struct error *e);
/* Reads the bytes; 0 at once when there is no file. Errors: -ENOMEM, -EIO, -ESTALE. */
int image_file_load(struct image_file *f, struct error *e);
void image_file_unload(struct image_file *f);
void image_file_done(struct image_file *f);

#endif
