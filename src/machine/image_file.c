/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/image_file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

int image_file_open(struct image_file *f, const char *path, const char *what, struct error *e)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = -errno;

		return error_set(e, r, "cannot open the %s '%s': %s; check the path", what, path, strerror(-r));
	}
	if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		return error_set(e, -ENOEXEC, "the %s '%s' is empty or no regular file; check the path", what, path);
	if ((uint64_t)st.st_size > IMAGE_FILE_MAX)
		return error_set(e, -E2BIG, "the %s '%s' is larger than %llu MiB; is it the right file?", what, path,
				 (unsigned long long)(IMAGE_FILE_MAX / MIB));
	*f = (struct image_file){.size = (size_t)st.st_size, .what = what, .fd = take_fd(&fd), .modified = st.st_mtim};
	return 0;
}

static int read_all(int fd, uint8_t *data, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, data + done, size - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ESTALE; /* cut while we read it */
		done += (size_t)n;
	}
	return 0;
}

static int check_unchanged(const struct image_file *f)
{
	struct stat st;

	if (fstat(f->fd, &st) < 0)
		return -errno;
	if ((size_t)st.st_size != f->size || st.st_mtim.tv_sec != f->modified.tv_sec ||
	    st.st_mtim.tv_nsec != f->modified.tv_nsec)
		return -ESTALE;
	return 0;
}

int image_file_load(struct image_file *f, struct error *e)
{
	void *p;
	int r;

	if (f->size == 0 || f->data)
		return 0;
	p = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return error_set(e, -ENOMEM, "no memory to read the %s (%zu KiB)", f->what, f->size / KIB);
	(void)madvise(p, f->size, MADV_HUGEPAGE); /* fewer faults while a large kernel is read */
	r = read_all(f->fd, p, f->size);
	if (r == 0)
		r = check_unchanged(f);
	if (r < 0) {
		munmap(p, f->size);
		return error_set(e, r, "the %s %s: %s", f->what,
				 r == -ESTALE ? "was changed in place since the VM was made" : "cannot be read",
				 r == -ESTALE ? "stop the VM and start it anew" : strerror(-r));
	}
	f->data = p;
	return 0;
}

void image_file_unload(struct image_file *f)
{
	if (f->data)
		munmap(f->data, f->size);
	f->data = NULL;
}

void image_file_done(struct image_file *f)
{
	image_file_unload(f);
	if (f->size > 0)
		close_fd(f->fd);
	*f = (struct image_file){0};
}
