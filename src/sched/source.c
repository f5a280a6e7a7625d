/* SPDX-License-Identifier: Apache-2.0 */
#include "sched/source.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int resolve(const char *where, const char *image_dir, bool trusted, char path[PATH_MAX], struct error *e)
{
	const char *name = strncmp(where, "file:", 5) == 0 ? where + 5 : where;
	const char *scheme = strstr(where, "://");
	bool plain = strchr(name, '/') == NULL;
	int n;

	if (scheme)
		return error_set(e, -EPROTONOSUPPORT, "images of the kind %.*s: are not known; use file:NAME or a path",
				 (int)MIN(scheme - where, 32), where);
	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return error_set(e, -EINVAL, "no image is named; give file:NAME, for example file:bvt.baton");
	if (!plain && !trusted)
		return error_set(
		    e, -EPERM, "a VM may only name images of the monitor's image directory, without a slash: %s", name);
	if (plain && !image_dir && !trusted)
		return error_set(e, -ENOENT, "batond was started without --images, so there is no directory for %s",
				 name);
	if (plain && image_dir)
		n = snprintf(path, PATH_MAX, "%s/%s", image_dir, name);
	else
		n = snprintf(path, PATH_MAX, "%s", name);
	return n >= PATH_MAX ? error_set(e, -ENAMETOOLONG, "the path of image %.64s... is too long", name) : 0;
}

int source_fetch(const char *where, const char *image_dir, bool trusted, uint8_t **ret_bytes, size_t *ret_size,
		 struct error *e)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	size_t size = 0;
	struct stat st;
	int r;

	r = resolve(where, image_dir, trusted, path, e);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_set(e, -errno, "cannot open image %s: %s; `ls %.*s` shows what is there", path,
				 strerror(errno), strrchr(path, '/') ? (int)MAX(strrchr(path, '/') - path, 1) : 1,
				 strchr(path, '/') ? path : ".");
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(e, -EINVAL, "image %s is not a regular file", path);
	if ((uint64_t)st.st_size > SOURCE_BYTES_MAX)
		return error_set(e, -EFBIG, "image %s is too large: %" PRIu64 " KiB, at most %" PRIu64 " KiB", path,
				 (uint64_t)st.st_size >> 10, SOURCE_BYTES_MAX >> 10);
	bytes = malloc(SOURCE_BYTES_MAX);
	if (!bytes)
		return error_set(e, -ENOMEM, "no memory to read image %s", path);
	for (;;) { /* the file may change while it is read: what counts is what was read, once */
		ssize_t n = read(fd, bytes + size, SOURCE_BYTES_MAX - size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(e, -errno, "cannot read image %s: %s", path, strerror(errno));
		if (n == 0 || size == SOURCE_BYTES_MAX)
			break;
		size += (size_t)n;
	}
	*ret_bytes = take_ptr(bytes);
	*ret_size = size;
	return 0;
}
