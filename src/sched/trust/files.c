/* SPDX-License-Identifier: Apache-2.0 */
/* files.c - see files.h. */
#include "files.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
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

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, bytes, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENOSPC;
		bytes += n;
		size -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

int file_replace(const char *path, const void *bytes, size_t size, mode_t mode)
{
	const char *slash = strrchr(path, '/');
	char fresh[PATH_MAX];
	uint64_t number = 0;
	int fd, r;

	if (getrandom(&number, sizeof number, 0) != sizeof number)
		return -EIO;
	if (snprintf(fresh, sizeof fresh, "%.*s" FILE_FRESH_PREFIX "%016llx", slash ? (int)(slash + 1 - path) : 0, path,
		     (unsigned long long)number) >= (int)sizeof fresh)
		return -ENAMETOOLONG;
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	r = write_all(fd, bytes, size);
	close(fd);
	if (r == 0 && rename(fresh, path) < 0)
		r = -errno;
	if (r < 0)
		unlink(fresh);
	return r;
}
