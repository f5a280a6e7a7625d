/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image_build.c - `baton image build`: a scheduler's source to an image, by the very flags that Baton's own policies are
 * built with (image_flags of src/sched/loader/meson.build), then through the loader's checks.
 */
#include "cli/image.h"

#include <limits.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#include "image_flags.h"

extern char **environ;

#define FLAGS_MAX 128

/* The directory of baton/scheduler.h: $BATON_INCLUDE, or what lies beside this program (installed, or a build tree). */
static int find_include(char ret[static PATH_MAX], struct error *e)
{
	static const char *const beside[] = {"../include", "../../../include"};
	const char *given = getenv("BATON_INCLUDE");
	char program[PATH_MAX], header[PATH_MAX + 32], *slash;
	ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);

	if (given && *given) {
		snprintf(ret, PATH_MAX, "%s", given);
		return 0;
	}
	program[n > 0 ? n : 0] = '\0';
	slash = strrchr(program, '/');
	for (size_t i = 0; slash && i < ARRAY_SIZE(beside); i++) {
		*slash = '\0';
		if (snprintf(ret, PATH_MAX, "%s/%s", program, beside[i]) >= PATH_MAX)
			continue;
		snprintf(header, sizeof header, "%s/baton/scheduler.h", ret);
		if (access(header, R_OK) == 0)
			return 0;
	}
	return error_set(e, -ENOENT,
			 "cannot find baton/scheduler.h; set BATON_INCLUDE to the directory that has baton/ in it");
}

static int run(char *const argv[], struct error *e)
{
	int status, r;
	pid_t pid;

	r = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (r != 0)
		return error_set(e, -r, "cannot run the compiler %.120s: %s; install one, or set CC", argv[0],
				 strerror(r));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_set(e, -errno, "lost the compiler: %s", strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return error_set(e, -EINVAL, "the compiler did not accept it (see above)");
	return 0;
}

static int compile(const char *source, const char *output, char **more, struct error *e)
{
	static const char *const flags[] = {IMAGE_FLAGS};
	const char *argv[FLAGS_MAX], *cc = getenv("CC");
	char include[PATH_MAX], option[PATH_MAX + 3];
	size_t n = 0;
	int r = find_include(include, e);

	if (r < 0)
		return r;
	snprintf(option, sizeof option, "-I%s", include);
	argv[n++] = cc && *cc ? cc : "cc";
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		argv[n++] = flags[i];
	argv[n++] = option;
	for (; *more; more++) {
		if (n + 5 >= FLAGS_MAX)
			return error_set(e, -E2BIG, "too many flags for the compiler");
		argv[n++] = *more;
	}
	argv[n++] = "-o";
	argv[n++] = output;
	argv[n++] = source;
	argv[n++] = "-lgcc";
	argv[n] = NULL;
	return run((char *const *)(uintptr_t)argv, e);
}

/* my.c -> my.baton, here. */
static int output_name(const char *source, char ret[static PATH_MAX], struct error *e)
{
	const char *base = strrchr(source, '/') ? strrchr(source, '/') + 1 : source;
	const char *dot = strrchr(base, '.');
	int n = (int)(dot ? (size_t)(dot - base) : strlen(base));

	if (snprintf(ret, PATH_MAX, "%.*s.baton", n, base) >= PATH_MAX)
		return error_set(e, -ENAMETOOLONG, "the name of the source is too long; say -o FILE");
	return 0;
}

/* The image appears under its name only when it is sound. */
static int build(const char *source, const char *output, char **more, struct image_file *ret, struct error *e)
{
	char fresh[PATH_MAX];
	int r;

	if (snprintf(fresh, sizeof fresh, "%s.new", output) >= (int)sizeof fresh)
		return error_set(e, -ENAMETOOLONG, "the name of the image is too long; say -o FILE");
	r = compile(source, fresh, more, e);
	if (r >= 0)
		r = image_file_read(fresh, ret, e);
	if (r >= 0 && rename(fresh, output) < 0) {
		image_file_clear(ret);
		r = error_set(e, -errno, "cannot write %.160s: %s", output, strerror(errno));
	}
	if (r < 0)
		unlink(fresh);
	return r;
}

int image_build(int argc, char **argv)
{
	static const struct option longs[] = {{"output", required_argument, NULL, 'o'}, {NULL, 0, NULL, 0}};
	_cleanup_image_file_ struct image_file f = {0};
	char output[PATH_MAX] = "";
	struct error e = {""};
	int opt, r = 0;

	while ((opt = getopt_long(argc, argv, ":o:", longs, NULL)) != -1) {
		if (opt != 'o')
			return cli_usage(&command_image, "image build does not know, or misses a value of, %s",
					 argv[optind - 1]);
		if (snprintf(output, sizeof output, "%s", optarg) >= (int)sizeof output)
			return cli_usage(&command_image, "the path of the image is too long");
	}
	if (optind >= argc)
		return cli_usage(&command_image, "image build needs the source of a scheduler");
	if (!*output)
		r = output_name(argv[optind], output, &e);
	if (r >= 0)
		r = build(argv[optind], output, argv + optind + 1, &f, &e);
	if (r < 0)
		return cli_fail("%s", e.text);
	printf("%s: %s %s, %zu bytes, not signed\n", output, f.name, f.version, f.size);
	return 0;
}
