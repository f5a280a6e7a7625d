/* SPDX-License-Identifier: Apache-2.0 */
/* minimum.c - see minimum.h. */
#include "minimum.h"

#include <stdio.h>
#include <string.h>

#include "base/lock.h"
#include "baton/scheduler.h"
#include "sched/trust/files.h"
#include "sched/trust/version.h"

struct minimum {
	char name[BATON_NAME_MAX], version[BATON_NAME_MAX];
};

struct minimums {
	char *path;
	struct lock lock;
	struct minimum list[MINIMUMS_MAX] GUARDED_BY(lock);
	unsigned count GUARDED_BY(lock);
};

static struct minimum *find(struct minimums *m, const char *name) REQUIRES(m->lock)
{
	for (unsigned i = 0; i < m->count; i++)
		if (strcmp(m->list[i].name, name) == 0)
			return &m->list[i];
	return NULL;
}

/* ---- the file ---- */

static int read_lines(struct minimums *m, FILE *file, struct error *e) NO_TSA
{
	char line[128];

	for (unsigned number = 1; fgets(line, sizeof line, file); number++) {
		struct minimum *one = &m->list[m->count];
		int end = 0;

		if (m->count == MINIMUMS_MAX || sscanf(line, "%31s %31s %n", one->name, one->version, &end) != 2 ||
		    line[end] != '\0' || !version_name_is_valid(one->name) || !version_is_valid(one->version) ||
		    find(m, one->name))
			return error_set(
			    e, -EBADMSG,
			    "line %u of the minimum versions %.160s is damaged: mend it, or remove the file to "
			    "forget all of them",
			    number, m->path);
		m->count++;
	}
	return ferror(file) ? error_set(e, -EIO, "cannot read the minimum versions %.160s", m->path) : 0;
}

static int read_file(struct minimums *m, struct error *e)
{
	FILE *file = fopen(m->path, "re");
	int r;

	if (!file && errno == ENOENT)
		return 0;
	if (!file)
		return error_set(e, -errno, "cannot read the minimum versions %.160s: %s", m->path, strerror(errno));
	r = read_lines(m, file, e);
	fclose(file);
	return r;
}

static int write_file(struct minimums *m, struct error *e) REQUIRES(m->lock)
{
	const size_t room = MINIMUMS_MAX * sizeof(struct minimum) + 1;
	_cleanup_free_ char *text = malloc(room);
	size_t size = 0;
	int r = text ? make_dirs_above(m->path) : -ENOMEM;

	for (unsigned i = 0; i < m->count && r >= 0; i++)
		size += (size_t)snprintf(text + size, room - size, "%s %s\n", m->list[i].name, m->list[i].version);
	if (r >= 0)
		r = file_replace(m->path, text, size, 0644);
	return r < 0 ? error_set(e, r, "cannot write the minimum versions %.160s: %s", m->path, strerror(-r)) : 0;
}

/* ---- life ---- */

int minimums_new(const char *path, struct minimums **ret, struct error *e)
{
	struct minimums *m = calloc(1, sizeof *m);
	int r = 0;

	if (!m)
		return error_set(e, -ENOMEM, "no memory for the list of minimum versions");
	lock_init(&m->lock);
	if (path) {
		m->path = strdup(path);
		r = m->path ? read_file(m, e) : error_set(e, -ENOMEM, "no memory for the list of minimum versions");
	}
	if (r < 0) {
		minimums_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

struct minimums *minimums_free(struct minimums *m)
{
	if (!m)
		return NULL;
	lock_destroy(&m->lock);
	free(m->path);
	free(m);
	return NULL;
}

/* ---- asking and noting ---- */

int minimums_check(struct minimums *m, const char *name, const char *version, struct error *e)
{
	const struct minimum *one;
	int r = 0;

	lock_take(&m->lock);
	one = find(m, name);
	if (one && version_compare(version, one->version) < 0)
		r = error_set(e, -EKEYREJECTED,
			      "scheduler %s %s is older than %s, which was in use here: the operator can go back with "
			      "`baton sched load --older`",
			      name, version[0] ? version : "(without a version)", one->version);
	lock_drop(&m->lock);
	return r;
}

int minimums_note(struct minimums *m, const char *name, const char *version, bool lower, struct error *e)
{
	struct minimum *one;
	int r = 0;

	/* A version that cannot be compared with others sets no minimum. */
	if (!version_is_valid(version) || !version_name_is_valid(name))
		return 0;
	lock_take(&m->lock);
	one = find(m, name);
	if (one && (strcmp(one->version, version) == 0 || (!lower && version_compare(version, one->version) < 0)))
		goto out;
	if (!one && m->count == MINIMUMS_MAX) {
		r = error_set(e, -ENOSPC, "minimum versions of %d schedulers are kept already; that of %s is not",
			      MINIMUMS_MAX, name);
		goto out;
	}
	if (!one) {
		one = &m->list[m->count++];
		snprintf(one->name, sizeof one->name, "%s", name);
	}
	snprintf(one->version, sizeof one->version, "%s", version);
	if (m->path)
		r = write_file(m, e);
out:
	lock_drop(&m->lock);
	return r;
}
