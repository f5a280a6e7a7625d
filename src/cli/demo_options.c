/* SPDX-License-Identifier: Apache-2.0 */
/* demo_options.c - what the demo is told, and where it finds by itself what it is not told. */
#include <limits.h>
#include <stdarg.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/demo.h"

int demo_path(char *buf, size_t size, struct error *e, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= size)
		return error_set(e, -ENAMETOOLONG, "the path %.80s... is too long; use a folder nearer to the root",
				 buf);
	return 0;
}

/* The first of the places, relative to our own binary's folder, that exists; else the last. */
static void find_sibling(char *buf, size_t size, const char *const places[])
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	char *slash;

	self[MAX(n, 0)] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	for (; *places; places++) {
		_cleanup_free_ char *real = NULL;

		if (demo_path(buf, size, NULL, "%s/%s", self, *places) < 0)
			continue;
		real = realpath(buf, NULL);
		if (real && demo_path(buf, size, NULL, "%s", real) == 0)
			return;
	}
}

static void find_defaults(struct demo_options *o)
{
	/* installed, then as the build tree has it */
	static const char *const monitor[] = {"batond", "../control/batond", NULL};
	static const char *const images[] = {"../lib/baton", "../lib/x86_64-linux-gnu/baton", "../policies", NULL};
	static const char *const nano[] = {"../lib/baton/nano", "../lib/x86_64-linux-gnu/baton/nano",
					   "../../guest/nano", NULL};

	find_sibling(o->batond, sizeof o->batond, monitor);
	if (!*o->images)
		find_sibling(o->images, sizeof o->images, images);
	if (!*o->nano_dir)
		find_sibling(o->nano_dir, sizeof o->nano_dir, nano);
	if (o->seconds == 0)
		o->seconds = o->nano ? 2 : 5;
	if (o->boot_s == 0)
		o->boot_s = o->nano ? 20 : 180;
}

/* A folder that exists, as an absolute path. */
static int set_dir(const char *option, const char *text, char *buf, size_t size)
{
	_cleanup_free_ char *full = realpath(text, NULL);

	if (!full || strlen(full) >= size) {
		cli_usage(&command_demo, "%s %s: %s", option, text, full ? "path too long" : strerror(errno));
		return -EINVAL;
	}
	strcpy(buf, full);
	return 0;
}

static int set_text(const char *option, const char *text, char *buf, size_t size)
{
	if (strlen(text) >= size) {
		cli_usage(&command_demo, "%s: the value is too long", option);
		return -EINVAL;
	}
	strcpy(buf, text);
	return 0;
}

int demo_options_parse(int argc, char **argv, struct demo_options *o)
{
	enum { NANO = 256, REPORT, GUESTS, NANO_DIR, IMAGES, CARRIER, PCPUS, SECONDS, HOST_NAME, STALL, BOOT };
	static const struct option longs[] = {
	    {"nano", no_argument, NULL, NANO},
	    {"report", required_argument, NULL, REPORT},
	    {"guests", required_argument, NULL, GUESTS},
	    {"nano-dir", required_argument, NULL, NANO_DIR},
	    {"images", required_argument, NULL, IMAGES},
	    {"carrier", required_argument, NULL, CARRIER},
	    {"pcpus", required_argument, NULL, PCPUS},
	    {"seconds", required_argument, NULL, SECONDS},
	    {"host-name", required_argument, NULL, HOST_NAME},
	    {"stall-limit", required_argument, NULL, STALL},
	    {"boot-limit", required_argument, NULL, BOOT},
	    {NULL, 0, NULL, 0},
	};
	int opt;

	while ((opt = cli_getopt(&command_demo, argc, argv, longs)) != -1) {
		int r = 0;

		switch (opt) {
		case NANO:
			o->nano = true;
			break;
		case REPORT:
			r = set_text("--report", optarg, o->report, sizeof o->report);
			break;
		case GUESTS:
			r = set_dir("--guests", optarg, o->guests, sizeof o->guests);
			break;
		case NANO_DIR:
			r = set_dir("--nano-dir", optarg, o->nano_dir, sizeof o->nano_dir);
			break;
		case IMAGES:
			r = set_dir("--images", optarg, o->images, sizeof o->images);
			break;
		case CARRIER:
			r = set_text("--carrier", optarg, o->carrier, sizeof o->carrier);
			break;
		case PCPUS:
			r = set_text("--pcpus", optarg, o->pcpus, sizeof o->pcpus);
			break;
		case SECONDS:
			r = cli_number(&command_demo, "--seconds", optarg, 1, 3600, &o->seconds);
			break;
		case HOST_NAME:
			r = set_text("--host-name", optarg, o->host_name, sizeof o->host_name);
			break;
		case STALL:
			r = cli_number(&command_demo, "--stall-limit", optarg, 1, 3600, &o->stall_s);
			break;
		case BOOT:
			r = cli_number(&command_demo, "--boot-limit", optarg, 1, 3600, &o->boot_s);
			break;
		default:
			return CLI_USAGE;
		}
		if (r < 0)
			return CLI_USAGE;
	}
	if (optind < argc)
		return cli_usage(&command_demo, "'%s' is no option", argv[optind]);
	if (strcmp(o->host_name, "kvm") != 0 && strcmp(o->host_name, "appliance") != 0)
		return cli_usage(&command_demo, "--host-name must be kvm or appliance");
	if (!o->nano && !*o->guests)
		return cli_usage(&command_demo, "--guests DIR is missing (guest/linux/make makes one); or use --nano");
	find_defaults(o);
	return 0;
}
