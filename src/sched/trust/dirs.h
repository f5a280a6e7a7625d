/* SPDX-License-Identifier: Apache-2.0 */
/* dirs.h - directories that are made when they are first needed. Any thread. */
#ifndef SCHED_TRUST_DIRS_H
#define SCHED_TRUST_DIRS_H

#include "base/base.h"

/* Makes the directory and those above it that are missing. 0 when it is there in the end, or -errno. */
int make_dirs(const char *dir);
/* The same for the directory that path lies in. */
int make_dirs_above(const char *path);

#endif
