/* SPDX-License-Identifier: Apache-2.0 */
/* dirs.c - see dirs.h. */
#include "dirs.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int make_dirs_above(const char *path)
{
	char part[PATH_MAX];

	if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part)
		return -ENAMETOOLONG;
	for (char *s = part + 1; part[0] && *s; s++) {
		if (*s != '/')
			continue;
		*s = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
		*s = '/';
	}
	return 0;
}

int make_dirs(const char *dir)
{
	int r = make_dirs_above(dir);

	if (r == 0 && mkdir(dir, 0755) < 0 && errno != EEXIST)
		r = -errno;
	return r;
}
