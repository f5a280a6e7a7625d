/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched_new.c - `baton sched new NAME`: a folder with a scheduler to begin from, which `make` turns into an image.
 *
 * The files are those of share/template with @NAME@ replaced; they are part of this program, so nothing has to be found.
 * The folder appears complete or not at all: what was written is taken away again when something fails.
 */
#include "cli/sched_local.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "baton/scheduler.h"
#include "cli/cli.h"
#include "template.h" /* made of share/template */

#define MARK "@NAME@"

static const struct {
	const char *name; /* of the file, itself with a mark perhaps */
	const char *text;
} files[] = {
    {MARK ".c", template_scheduler_c_in},
    {"Makefile", template_makefile},
    {"README.md", template_readme_md},
};

/* A name is part of C identifiers and of file names; capitals would make two of one on some file systems. */
static int check_name(const char *name)
{
	static const char *const taken[] = {"rr"}; /* the built-in default: always attached */
	size_t length = strlen(name);

	if (length == 0 || length >= BATON_NAME_MAX || !islower((unsigned char)name[0]))
		return -EINVAL;
	for (size_t i = 0; i < length; i++)
		if (!islower((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) && name[i] != '_')
			return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
		if (strcmp(name, taken[i]) == 0)
			return -EEXIST;
	return 0;
}

/* Writes text with each mark replaced. */
static void put_filled(FILE *out, const char *text, const char *name)
{
	const char *mark;

	while ((mark = strstr(text, MARK)) != NULL) {
		fwrite(text, 1, (size_t)(mark - text), out);
		fputs(name, out);
		text = mark + strlen(MARK);
	}
	fputs(text, out);
}

static int file_name_of(size_t i, const char *name, char ret[64])
{
	FILE *out = fmemopen(ret, 64, "w");

	if (!out)
		return -errno;
	put_filled(out, files[i].name, name);
	return fclose(out) == 0 ? 0 : -errno;
}

static int write_file(int dir, size_t i, const char *name)
{
	char file[64];
	FILE *out;
	int fd, r;

	r = file_name_of(i, name, file);
	if (r < 0)
		return r;
	fd = openat(dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	out = fdopen(fd, "w");
	if (!out) {
		r = -errno;
		close(fd);
		return r;
	}
	put_filled(out, files[i].text, name);
	r = ferror(out) ? -EIO : 0;
	if (fclose(out) != 0)
		r = -errno;
	return r;
}

static int fill_folder(const char *path, const char *name)
{
	_cleanup_close_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char file[64];
	int r = dir < 0 ? -errno : 0;

	for (size_t i = 0; i < ARRAY_SIZE(files) && r == 0; i++)
		r = write_file(dir, i, name);
	if (r == 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(files) && dir >= 0; i++)
		if (file_name_of(i, name, file) == 0)
			unlinkat(dir, file, 0);
	rmdir(path);
	return r;
}

int sched_new(int argc, char **argv)
{
	enum { DIR = 256 };
	static const struct option longs[] = {{"dir", required_argument, NULL, DIR}, {NULL, 0, NULL, 0}};
	const char *name, *parent = ".";
	_cleanup_free_ char *path = NULL;
	int opt, r;

	while ((opt = cli_getopt(&command_sched, argc, argv, longs)) != -1) {
		if (opt != DIR)
			return CLI_USAGE;
		parent = optarg;
	}
	if (argc - optind != 1)
		return cli_usage(&command_sched, "new needs one name for the scheduler");
	name = argv[optind];
	r = check_name(name);
	if (r == -EEXIST)
		return cli_fail("%s is the name of the built-in default scheduler; choose another one", name);
	if (r < 0)
		return cli_fail(
		    "'%s' cannot name a scheduler; use a lower-case letter, then lower-case letters, digits "
		    "and _, at most %d",
		    name, BATON_NAME_MAX - 1);
	if (asprintf(&path, "%s/%s", parent, name) < 0)
		return cli_fail("no memory");
	if (mkdir(path, 0777) < 0)
		return errno == EEXIST ? cli_fail("%s is there already; choose another name, or --dir DIR", path)
				       : cli_fail("cannot make the folder %s: %s; check --dir", path, strerror(errno));
	r = fill_folder(path, name);
	if (r < 0)
		return cli_fail("cannot write into %s: %s; nothing was left there", path, strerror(-r));
	printf("%s: %s.c, a Makefile and a README.md; next: make -C %s\n", path, name, path);
	return 0;
}
