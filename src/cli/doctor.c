/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.c - `baton doctor`: can this host run Baton, how well, and what is missing. It looks and measures; it changes
 * nothing. A check that fails says what to do.
 */
#include "cli/cli.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "cli/output.h"
#ifdef HAVE_PROBE
#include "host/probe.h"
#endif

enum verdict { GOOD, POOR, BAD };

struct report {
	struct table *table;
	json_t *checks;
	enum verdict worst;
};

static void check(struct report *r, enum verdict v, const char *id, const char *what, const char *fmt, ...)
    _printf_(5, 6);

static void check(struct report *r, enum verdict v, const char *id, const char *what, const char *fmt, ...)
{
	static const char *const marks[] = {[GOOD] = "ok", [POOR] = "--", [BAD] = "NO"};
	static const char *const words[] = {[GOOD] = "ok", [POOR] = "degraded", [BAD] = "missing"};
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	table_cell(r->table, "%s", marks[v]);
	table_cell(r->table, "%s", what);
	table_cell(r->table, "%s", text);
	json_array_append_new(r->checks, json_pack("{s:s, s:s, s:s}", "check", id, "verdict", words[v], "text", text));
	r->worst = MAX(r->worst, v);
}

static void check_kvm(struct report *r)
{
	static const struct {
		int cap;
		const char *name;
	} needed[] = {
	    {KVM_CAP_USER_MEMORY, "user memory"},      {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
	    {KVM_CAP_X86_USER_SPACE_MSR, "MSR exits"}, {KVM_CAP_X86_MSR_FILTER, "MSR filter"},
	    {KVM_CAP_SYNC_REGS, "register sharing"},   {KVM_CAP_EXT_CPUID, "CPUID"},
	};
	_cleanup_close_ int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	char missing[256] = "";
	size_t used = 0;
	int api;

	if (fd < 0) {
		check(r, BAD, "kvm", "/dev/kvm", "%s; %s", strerror(errno),
		      errno == EACCES ? "join the group that owns it (often 'kvm')"
				      : "load the kvm module, or use the appliance ('./dev demo' does it by itself)");
		return;
	}
	api = ioctl(fd, KVM_GET_API_VERSION, 0);
	check(r, api == KVM_API_VERSION ? GOOD : BAD, "kvm", "/dev/kvm", "opens, API version %d", api);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		int n;

		if (ioctl(fd, KVM_CHECK_EXTENSION, needed[i].cap) > 0)
			continue;
		n = snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", needed[i].name);
		used = MIN(used + (size_t)MAX(n, 0), sizeof missing - 1);
	}
	if (used == 0)
		check(r, GOOD, "capabilities", "KVM capabilities", "all %zu that Baton needs", ARRAY_SIZE(needed));
	else
		check(r, BAD, "capabilities", "KVM capabilities",
		      "missing: %s; a newer kernel (5.10 or later) has them", missing);
}

#ifdef HAVE_PROBE
static void check_speed(struct report *r)
{
	struct probe_result p = {0};
	char a[DURATION_MAX], b[DURATION_MAX];
	struct error e = {""};

	if (probe_host(&p, &e) < 0) {
		check(r, BAD, "probe", "short test", "%s", e.text);
		return;
	}
	if (!p.kvm_usable) {
		check(r, BAD, "probe", "short test", "%s", p.why);
		return;
	}
	if (p.runs_linux)
		check(r, GOOD, "linux", "Linux guests", "kernel code runs at speed: %.1f ns per loop iteration",
		      p.ring0_ns);
	else
		check(r, POOR, "linux", "Linux guests", "%s", p.why);
	check(r, GOOD, "exit", "exit and re-entry", "%s", duration_text(a, (uint64_t)(p.exit_us * 1000)));
	check(r, GOOD, "migration", "moving a vCPU",
	      "%s more on another thread: with several pCPUs the carrier is '%s'",
	      duration_text(b, (uint64_t)(p.migration_us * 1000)),
	      p.migration_us * 1000 > MIGRATION_DEAR_NS ? "thread" : "worker");
}
#endif

static bool in_path(const char *program)
{
	const char *path = getenv("PATH");
	_cleanup_free_ char *copy = strdup(path ? path : "/usr/sbin:/usr/bin:/sbin:/bin");
	char *rest = copy;
	char *dir;

	while (rest && (dir = strsep(&rest, ":"))) {
		char full[4096];
		int n = snprintf(full, sizeof full, "%s/%s", dir, program);

		if (n > 0 && (size_t)n < sizeof full && access(full, X_OK) == 0)
			return true;
	}
	return false;
}

static void check_tools(struct report *r)
{
	static const struct {
		const char *program, *package;
	} tools[] = {
	    {"qemu-system-x86_64", "qemu-system-x86"},
	    {"busybox", "busybox-static"},
	    {"cpio", "cpio"},
	};
	char missing[256] = "";
	size_t used = 0;

	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		int n;

		if (in_path(tools[i].program))
			continue;
		n = snprintf(missing + used, sizeof missing - used, " %s", tools[i].package);
		used = MIN(used + (size_t)MAX(n, 0), sizeof missing - 1);
	}
	if (used == 0)
		check(r, GOOD, "appliance", "appliance", "its tools are installed");
	else
		check(r, POOR, "appliance", "appliance", "missing tools; apt-get install%s, or ./dev setup", missing);
}

static int doctor_run(const struct cli *cli, int argc, char **argv)
{
	static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
	struct report r = {0};
	bool json = false;
	int opt;

	while ((opt = cli_getopt(&command_doctor, argc, argv, longs)) != -1) {
		if (opt == '?')
			return CLI_USAGE;
		json = true;
	}
	if (optind < argc)
		return cli_usage(&command_doctor, "doctor takes no arguments");
	r.table = table_new(" |CHECK|RESULT");
	r.checks = json_array();
	check_kvm(&r);
#ifdef HAVE_PROBE
	if (r.worst < BAD)
		check_speed(&r);
#endif
	check_tools(&r);
	if (json) {
		json_t *all = json_pack("{s:b, s:o}", "ok", r.worst < BAD, "checks", r.checks);

		json_print(all);
		json_decref(all);
	} else {
		table_print(r.table, stdout, "");
		json_decref(r.checks);
	}
	table_free(r.table);
	return r.worst < BAD ? 0 : CLI_FAILED;
}

const struct command command_doctor = {
    .name = "doctor",
    .args = "[--json]",
    .summary = "Check what this host can do for Baton, and say what is missing",
    .details = "  --json   the checks as JSON\n"
	       "\n"
	       "'ok' is fine, '--' works with a limit that is named, 'NO' has to be mended first (exit status 1).\n",
    .run = doctor_run,
};
