/* SPDX-License-Identifier: Apache-2.0 */
#include "control/listener.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 64

struct listener {
	int fd;
	int lock_fd;
	bool bound; /* the socket at path is ours */
	char *path;
	char *lock_path;
};

int listener_fd(const struct listener *l)
{
	return l->fd;
}

const char *listener_path(const struct listener *l)
{
	return l->path;
}

struct listener *listener_close(struct listener *l)
{
	if (!l)
		return NULL;
	if (l->bound)
		unlink(l->path);
	close_fd(l->fd);
	if (l->lock_fd >= 0) {
		/* Removed while it is held: see lock_path_take for why nobody can be fooled by that. */
		unlink(l->lock_path);
		close_fd(l->lock_fd);
	}
	free(l->lock_path);
	free(l->path);
	free(l);
	return NULL;
}

static void listener_close_ptr(struct listener **l)
{
	*l = listener_close(*l);
}

static int make_parent(const char *path, struct error *e)
{
	_cleanup_free_ char *dir = strdup(path);
	char *slash = dir ? strrchr(dir, '/') : NULL;

	if (!dir)
		return error_set(e, -ENOMEM, "out of memory");
	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return error_set(e, -errno, "cannot make the directory %s: %s; make it, or give --socket another path",
				 dir, strerror(errno));
	return 0;
}

/*
 * Takes the lock. The previous holder removes the file while it still holds it, so a lock that was won on a file that
 * is no longer at the path is worth nothing: look again.
 */
static int lock_path_take(const char *lock_path, const char *path, int *ret_fd, struct error *e)
{
	for (;;) {
		_cleanup_close_ int fd = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		struct stat held, there;
		char pid[32] = "";
		ssize_t n;

		if (fd < 0)
			return error_set(e, -errno, "cannot write %s: %s; give --socket a path in a directory of yours",
					 lock_path, strerror(errno));
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			if (errno != EWOULDBLOCK)
				return error_set(e, -errno, "cannot lock %s: %s", lock_path, strerror(errno));
			n = pread(fd, pid, sizeof pid - 1, 0);
			pid[n > 0 ? n : 0] = '\0';
			pid[strcspn(pid, "\n")] = '\0';
			return error_set(
			    e, -EADDRINUSE,
			    "another monitor (pid %s) serves %s; use it, stop it with 'baton shutdown', or give "
			    "--socket another path",
			    *pid ? pid : "unknown", path);
		}
		if (fstat(fd, &held) == 0 && stat(lock_path, &there) == 0 && held.st_ino == there.st_ino &&
		    held.st_dev == there.st_dev) {
			if (ftruncate(fd, 0) < 0 || dprintf(fd, "%ld\n", (long)getpid()) < 0)
				return error_set(e, -EIO, "cannot write %s: %s", lock_path, strerror(errno));
			*ret_fd = take_fd(&fd);
			return 0;
		}
	}
}

/* With the lock held: a socket at path is either stale, or of a program that knows nothing of our lock. */
static int remove_stale(const char *path, const struct sockaddr_un *address, struct error *e)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : error_set(e, -errno, "cannot look at %s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return error_set(e, -EEXIST, "%s exists and is no socket; remove it, or give --socket another path",
				 path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(e, -errno, "cannot make a socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 || errno == EAGAIN)
		return error_set(e, -EADDRINUSE,
				 "another program listens on %s; stop it, or give --socket another path", path);
	if (unlink(path) < 0)
		return error_set(e, -errno, "cannot remove the stale socket %s: %s", path, strerror(errno));
	return 0;
}

int listener_open(const char *path, struct listener **ret, struct error *e)
{
	_cleanup_(listener_close_ptr) struct listener *l = calloc(1, sizeof *l);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int r;

	if (!l)
		return error_set(e, -ENOMEM, "out of memory");
	l->fd = l->lock_fd = -1;
	if (strlen(path) >= sizeof address.sun_path)
		return error_set(e, -ENAMETOOLONG,
				 "socket path %.60s... is longer than %zu bytes; give --socket a shorter one", path,
				 sizeof address.sun_path - 1);
	memcpy(address.sun_path, path, strlen(path) + 1);
	l->path = strdup(path);
	if (!l->path || asprintf(&l->lock_path, "%s.lock", path) < 0) {
		l->lock_path = NULL;
		return error_set(e, -ENOMEM, "out of memory");
	}
	r = make_parent(path, e);
	if (r < 0)
		return r;
	r = lock_path_take(l->lock_path, path, &l->lock_fd, e);
	if (r < 0)
		return r;
	r = remove_stale(path, &address, e);
	if (r < 0)
		return r;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The mode set here is the one that bind gives to the file: no moment in which others may connect. */
	if (l->fd < 0 || fchmod(l->fd, 0600) < 0)
		return error_set(e, -errno, "cannot make a socket: %s", strerror(errno));
	if (bind(l->fd, (const struct sockaddr *)&address, sizeof address) < 0)
		return error_set(e, -errno, "cannot bind %s: %s", path, strerror(errno));
	l->bound = true;
	if (listen(l->fd, BACKLOG) < 0)
		return error_set(e, -errno, "cannot listen on %s: %s", path, strerror(errno));
	*ret = take_ptr(l);
	return 0;
}
