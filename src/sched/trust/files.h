/* SPDX-License-Identifier: Apache-2.0 */
/* files.h - directories that are made when they are first needed, and files that are replaced in one step. Any thread. */
#ifndef SCHED_TRUST_FILES_H
#define SCHED_TRUST_FILES_H

#include <sys/types.h>

#include "base/base.h"

/* Begins the name of a file that is being written, in the directory of the one that it will be. */
#define FILE_FRESH_PREFIX ".new-"

/* Makes the directory and those above it that are missing. 0 when it is there in the end, or -errno. */
int make_dirs(const char *dir);
/* The same for the directory that path lies in. */
int make_dirs_above(const char *path);

/* Writes the bytes to a new file, to the disk, and moves it to path: whoever looks, also after a crash, sees the old file
 * or the new one. 0 or -errno, and then path is as it was. */
int file_replace(const char *path, const void *bytes, size_t size, mode_t mode);

#endif
