/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/image_file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int read_all(int fd, uint8_t *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, data + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* cut while we read it */
		done += (size_t)n;
	}
	return 0;
}

int image_file_read(struct image_file *f, const char *path, const char *what, struct error *e)
{
	_cleanup_close_ int fd = -1;
	size_t mapped;
	struct stat st;
	void *p;
	int r;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		r = -errno;
		return error_set(e, r, "cannot open the %s '%s': %s; check the path", what, path, strerror(-r));
	}
	if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		return error_set(e, -ENOEXEC, "the %s '%s' is empty or no regular file; check the path", what, path);
	if ((uint64_t)st.st_size > IMAGE_FILE_MAX)
		return error_set(e, -E2BIG, "the %s '%s' is larger than %llu MiB; is it the right file?", what, path,
				 (unsigned long long)(IMAGE_FILE_MAX / MIB));
	mapped = ((size_t)st.st_size + 4095) & ~(size_t)4095;
	p = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return error_set(e, -ENOMEM, "no memory for the %s '%s'", what, path);
	r = read_all(fd, p, (size_t)st.st_size);
	if (r < 0) {
		munmap(p, mapped);
		return error_set(e, r, "cannot read the %s '%s': %s", what, path, strerror(-r));
	}
	*f = (struct image_file){.data = p, .size = (size_t)st.st_size, .mapped = mapped};
	return 0;
}

void image_file_done(struct image_file *f)
{
	if (f->data)
		munmap(f->data, f->mapped);
	*f = (struct image_file){0};
}
