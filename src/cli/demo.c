/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo.c - `baton demo`: VMs run, the scheduler is changed under them, and nobody notices. The story:
 *
 *	boot; run under the default scheduler; the service VM (or, with nano guests alone, the operator) asks for BVT: a
 *	live change; weights show; back to the default with every pCPU at rest; unload BVT; a guest without the right
 * asks for a change and is refused; report.
 */
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/clock.h"
#include "cli/change.h"
#include "cli/cli.h"
#include "cli/demo.h"
#include "cli/output.h"

/* For the service application to answer, and for a hostile guest to end. */
#define ANSWER_S	 60
#define BVT_ALLOWANCE_US 2000
/* Unless the guests' folder has a file `cmdline`. A panic ends the guest, so that it is noticed. */
#define LINUX_CMDLINE "console=ttyS0 quiet panic=-1"

/* ---- guests ---- */

static struct demo_guest *add_guest(struct demo *d, const char *name, unsigned vcpus, unsigned weight)
{
	struct demo_guest *g = &d->guests[d->count++];

	assert(d->count <= DEMO_GUESTS_MAX);
	g->name = name;
	g->vcpus = vcpus;
	g->weight = weight;
	g->console = CLIENT_NONE;
	return g;
}

static int readable(const char *path, struct error *e, const char *next_step)
{
	if (access(path, R_OK) < 0)
		return error_set(e, -errno, "%s: %s; %s", path, strerror(errno), next_step);
	return 0;
}

static int add_nano(struct demo *d, const char *name, const char *program, unsigned vcpus, unsigned weight,
		    const char *arguments, struct demo_guest **ret, struct error *e)
{
	struct demo_guest *g = add_guest(d, name, vcpus, weight);
	int r;

	g->memory_mib = 4;
	(void)snprintf(g->cmdline, sizeof g->cmdline, "%s", arguments);
	if (ret)
		*ret = g;
	r = demo_path(g->kernel, sizeof g->kernel, e, "%s/%s", d->options.nano_dir, program);
	return r < 0 ? r : readable(g->kernel, e, "build the nano guests, or name their folder with --nano-dir");
}

static int add_linux(struct demo *d, const char *name, unsigned vcpus, unsigned weight, struct error *e)
{
	static const char next_step[] =
	    "make the guests with guest/linux/make, name their folder with --guests, or use --nano";
	struct demo_guest *g = add_guest(d, name, vcpus, weight);
	const char *dir = d->options.guests;
	char path[PATH_MAX];
	FILE *file;
	int r;

	g->linux_guest = true;
	g->service = strcmp(name, "service") == 0;
	g->memory_mib = 128;
	r = demo_path(g->kernel, sizeof g->kernel, e, "%s/vmlinuz", dir);
	if (r >= 0)
		r = demo_path(g->initrd, sizeof g->initrd, e, "%s/%s.cpio.gz", dir, name);
	if (r >= 0)
		r = demo_path(path, sizeof path, e, "%s/cmdline", dir);
	if (r >= 0)
		r = readable(g->kernel, e, next_step);
	if (r >= 0)
		r = readable(g->initrd, e, next_step);
	if (r < 0)
		return r;
	file = fopen(path, "re");
	if (!file && errno != ENOENT)
		return error_set(e, -errno, "%s: %s; %s", path, strerror(errno), next_step);
	if (!file || !fgets(g->cmdline, sizeof g->cmdline, file))
		strcpy(g->cmdline, LINUX_CMDLINE);
	if (file)
		fclose(file);
	g->cmdline[strcspn(g->cmdline, "\n")] = '\0';
	return 0;
}

/*
 * Two VMs that compute all the time, whose weights round robin ignores and BVT obeys: the one with fewer vCPUs has the
 * larger weight, so the change shows in the shares.
 */
static int choose_guests(struct demo *d, struct error *e)
{
	int r;

	if (!d->options.nano) {
		r = add_linux(d, "service", 1, 256, e);
		if (r >= 0)
			r = add_linux(d, "compute", 2, 128, e);
		if (r >= 0)
			r = add_linux(d, "sleeper", 1, 256, e);
		if (r >= 0)
			r = add_nano(d, "spinner", "spinner", 1, 512, "beat_ms=200", NULL, e);
		if (r >= 0)
			r = add_nano(d, "waker", "waker", 1, 256, "period_us=10000 beat_ms=200", NULL, e);
		return r;
	}
	r = add_nano(d, "spinner", "spinner", 1, 512, "beat_ms=100", NULL, e);
	if (r >= 0)
		r = add_nano(d, "spinner2", "spinner", 2, 128, "beat_ms=100", NULL, e);
	if (r >= 0)
		r = add_nano(d, "waker", "waker", 1, 256, "period_us=10000 beat_ms=100", NULL, e);
	if (r >= 0)
		r = add_nano(d, "yielder", "yielder", 1, 64, "beat_ms=100", NULL, e);
	return r;
}

static bool all_booted(struct demo *d)
{
	for (size_t i = 0; i < d->count; i++) {
		struct demo_guest *g = &d->guests[i];

		if (g->gone_bad)
			return true; /* waiting longer does not help */
		if (g->started && !g->booted)
			return false;
		if (g->started && g->service && !g->prompt) {
			demo_nudge(g);
			return false;
		}
	}
	return true;
}

static int start_guests(struct demo *d, bool linux_guests, struct error *e)
{
	for (size_t i = 0; i < d->count; i++) {
		int r = d->guests[i].linux_guest == linux_guests ? demo_guest_start(d, &d->guests[i], e) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* Linux first: the nano guests would only make the boot longer. */
static int boot(struct demo *d, struct error *e)
{
	uint64_t limit = d->options.boot_s * NSEC_PER_SEC;
	int r = 0;

	if (!d->options.nano) {
		demo_say(d, "starting the Linux guests; each tells when its init runs");
		r = start_guests(d, true, e);
		if (r >= 0)
			r = demo_live(d, clock_now_ns() + limit, all_booted);
	}
	if (r >= 0)
		r = start_guests(d, false, e);
	if (r >= 0)
		r = demo_live(d, clock_now_ns() + limit, all_booted);
	if (r < 0)
		return r;
	for (size_t i = 0; i < d->count; i++) {
		struct demo_guest *g = &d->guests[i];

		if (!g->booted && !g->gone_bad) {
			g->gone_bad = true;
			demo_failure(d, "%s has not booted within %llu s; its last line was: %s", g->name,
				     (unsigned long long)d->options.boot_s, g->line);
		}
	}
	if (json_array_size(d->failures) > 0)
		return -EIO;
	demo_say(d, "all %zu guests run", d->count);
	return 0;
}

/* ---- the story's steps ---- */

static int live_for(struct demo *d, uint64_t ns)
{
	int r;

	r = demo_look(d); /* the first table's shares count from here */
	if (r < 0)
		return r;
	d->show = true;
	d->tick_ns = clock_now_ns() + NSEC_PER_SEC;
	r = demo_live(d, clock_now_ns() + ns, NULL);
	d->show = false;
	return r;
}

static struct demo_guest *service_of(struct demo *d)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->guests[i].service)
			return &d->guests[i];
	return NULL;
}

static bool service_prompts(struct demo *d)
{
	struct demo_guest *service = service_of(d);

	if (!service->prompt)
		demo_nudge(service);
	return service->prompt;
}

static void operator_phase(void *ctx, const json_t *change)
{
	printf("           monitor | %s\n", member_text(change, "phase", "?"));
}

/* The newest change as a new reference, and its id; -1 and NULL without one. */
static int64_t last_change(struct demo *d, json_t **ret)
{
	json_t *reply, *change, *newest = NULL;
	struct error e;
	size_t i;

	*ret = NULL;
	if (client_call(&d->control, "sched.history", NULL, &reply, &e) < 0)
		return -1;
	json_array_foreach(json_object_get(reply, "changes"), i,
			   change) if (!newest || member_int(change, "id", -1) > member_int(newest, "id", -1)) newest =
	    change;
	*ret = newest ? json_incref(newest) : NULL;
	json_decref(reply);
	return member_int(*ret, "id", -1);
}

/* The service application asks from inside its VM: typed at its console, as a person would. */
static int ask_as_service(struct demo *d, const char *command)
{
	struct demo_guest *service = service_of(d);
	int r;

	demo_say(d, "in the service VM: %s", command);
	d->echo = service;
	r = demo_type(service, command);
	if (r >= 0)
		r = demo_live(d, clock_now_ns() + ANSWER_S * NSEC_PER_SEC, service_prompts);
	d->echo = NULL;
	if (r == 0) {
		demo_failure(d, "the service VM gave no prompt within %d s after: %s", ANSWER_S, command);
		return -ETIMEDOUT;
	}
	return MIN(r, 0);
}

static int ask_as_operator(struct demo *d, const char *method, json_t *params)
{
	char *text = json_dumps(params, JSON_COMPACT);
	struct error e = {""};
	json_t *change;

	demo_say(d, "the operator asks: %s %s", method, text ? text : "");
	free(text);
	if (change_follow(&d->control, method, params, operator_phase, NULL, &change, &e) < 0) {
		demo_failure(d, "%s: %s", method, e.text);
		return 0; /* a refused change is the demo's result, not its end */
	}
	json_decref(change);
	return 0;
}

/* One request for a change, by whoever asks in this demo, and what the monitor says it did. */
static int change_to(struct demo *d, const char *what, const char *command, const char *method, json_t *params)
{
	char blackout[DURATION_MAX], took[DURATION_MAX];
	json_t *before, *after;
	int64_t newest = last_change(d, &before);
	bool unloads = strcmp(method, "sched.unload") == 0;
	uint64_t asked = clock_now_ns();
	int64_t ns;
	int r;

	json_decref(before);
	if (service_of(d)) {
		json_decref(params);
		r = ask_as_service(d, command);
	} else {
		r = ask_as_operator(d, method, params);
	}
	if (r < 0)
		return r;
	if (last_change(d, &after) <= newest || strcmp(member_text(after, "state", ""), "done") != 0) {
		/* The operator's refusal was told already. */
		if (service_of(d))
			demo_failure(d, "%s: the monitor did not do it: %s", what,
				     member_text(after, "error", "it knows of no such change"));
		json_decref(after);
		return 0;
	}
	(void)duration_text(took, (uint64_t)member_int(after, "took_ns", (int64_t)(clock_now_ns() - asked)));
	ns = member_int(after, "blackout_ns", -1);
	if (unloads) {
		d->unload_id = member_int(after, "id", -1);
		demo_say(d, "monitor: %s, asked by %s: done in %s", what, member_text(after, "requester", "?"), took);
	} else {
		demo_say(d, "monitor: %s -> %s, %s, asked by %s: done in %s, blackout %s",
			 member_text(after, "from", "?"), member_text(after, "to", "?"), member_text(after, "how", "?"),
			 member_text(after, "requester", "?"), took,
			 ns < 0 ? "none" : duration_text(blackout, (uint64_t)ns));
	}
	json_decref(after);
	return 0;
}

static bool hostile_ended(struct demo *d)
{
	return demo_look(d) < 0 || d->guests[d->count - 1].ended;
}

/* A guest VM asks for a change of scheduler: it must be refused, and the scheduler must stay what it is. */
static int try_privileged_call(struct demo *d, struct error *e)
{
	char active[sizeof d->active];
	struct demo_guest *g;
	int r;

	r = demo_look(d);
	if (r < 0)
		return r;
	memcpy(active, d->active, sizeof active);
	r = add_nano(d, "hostile", "hostile", 1, 256, "mode=privileged", &g, e);
	if (r < 0)
		return r;
	g->quiet_end = true;
	demo_say(d, "a guest VM without the right tries to change the scheduler");
	d->echo = g;
	r = demo_guest_start(d, g, e);
	for (uint64_t until = clock_now_ns() + ANSWER_S * NSEC_PER_SEC; r == 0 && clock_now_ns() < until && !g->ended;)
		r = demo_live(d, clock_now_ns() + 50 * NSEC_PER_MSEC, hostile_ended) < 0 ? -ECONNRESET : 0;
	d->echo = NULL;
	if (r < 0)
		return r;
	if (!g->ended)
		demo_failure(d, "hostile: no answer to its privileged call within %d s", ANSWER_S);
	else if (g->exit_status != 0)
		demo_failure(d, "hostile: its privileged call was not refused (exit status %lld)",
			     (long long)g->exit_status);
	else if (strcmp(active, d->active) != 0)
		demo_failure(d, "hostile: %s decides now, it was %s", d->active, active);
	else
		d->refused = true;
	if (d->refused)
		demo_say(d, "refused, as it must be; %s still decides", d->active);
	return 0;
}

static int story(struct demo *d, struct error *e)
{
	uint64_t span = d->options.seconds * NSEC_PER_SEC;
	char load[128];
	int r;

	(void)snprintf(load, sizeof load,
		       "baton-service load bvt --image file:bvt.baton --param allowance_us=%d --wait",
		       BVT_ALLOWANCE_US);
	r = boot(d, e);
	if (r >= 0)
		r = live_for(d, span);
	if (r >= 0)
		r = change_to(d, "live change to bvt", load, "sched.load",
			      json_pack("{s:s, s:s, s:s, s:{s:i}}", "name", "bvt", "image", "file:bvt.baton", "how",
					"live", "params", "allowance_us", BVT_ALLOWANCE_US));
	if (r >= 0)
		r = live_for(d, span);
	if (r >= 0)
		r = change_to(d, "cease change to the default", "baton-service default --how cease --wait",
			      "sched.default", json_pack("{s:s}", "how", "cease"));
	if (r >= 0)
		r = live_for(d, span / 2);
	if (r >= 0)
		r = change_to(d, "unloading bvt", "baton-service unload bvt --wait", "sched.unload",
			      json_pack("{s:s}", "name", "bvt"));
	if (r >= 0)
		r = try_privileged_call(d, e);
	if (r >= 0)
		r = live_for(d, span / 2);
	if (r >= 0)
		r = demo_look(d);
	return r;
}

/* ---- the whole ---- */

static void collect_changes(struct demo *d)
{
	json_t *reply, *change;
	struct error e;
	size_t i;

	if (d->control.fd < 0 || client_call(&d->control, "sched.history", NULL, &reply, &e) < 0)
		return;
	json_array_foreach(json_object_get(reply, "changes"), i,
			   change) if (member_int(change, "id", -1) != d->unload_id)
	    json_array_append(d->changes, change);
	json_decref(reply);
}

static int demo_run(const struct cli *cli, int argc, char **argv)
{
	struct demo d = {
	    .options = {.host_name = "kvm", .stall_s = 5, .boot_s = 180},
	    .control = CLIENT_NONE,
	    .changes = json_array(),
	    .failures = json_array(),
	};
	struct error e = {""};
	sigset_t mine, before;
	int status, r;

	status = demo_options_parse(argc, argv, &d.options);
	if (status != 0)
		goto out;
	sigemptyset(&mine);
	sigaddset(&mine, SIGINT);
	sigaddset(&mine, SIGTERM);
	sigaddset(&mine, SIGHUP);
	sigaddset(&mine, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mine, &before);
	d.signals = signalfd(-1, &mine, SFD_CLOEXEC);
	d.start_ns = d.listed_ns = clock_now_ns();
	d.tick_ns = d.start_ns;

	r = choose_guests(&d, &e);
	if (r >= 0) {
		demo_say(&d, "starting a monitor (%s)", d.options.batond);
		r = demo_host_start(&d, &e);
	}
	if (r >= 0)
		r = story(&d, &e);
	if (d.interrupted)
		demo_failure(&d, "interrupted");
	else if (r < 0 && json_array_size(d.failures) == 0)
		demo_failure(&d, "%s", e.text[0] ? e.text : strerror(-r));
	collect_changes(&d);
	for (size_t i = 0; i < d.count; i++)
		client_close(&d.guests[i].console);
	demo_host_stop(&d);

	demo_show_report(&d);
	if (*d.options.report && demo_write_report(&d, d.options.report, &e) < 0)
		status = cli_fail("%s", e.text);
	if (json_array_size(d.failures) > 0)
		status = cli_fail("the demo failed: %s; the report above says more",
				  json_string_value(json_array_get(d.failures, 0)));
	close_fd(d.signals);
	sigprocmask(SIG_SETMASK, &before, NULL);
out:
	json_decref(d.changes);
	json_decref(d.failures);
	return status;
}

const struct command command_demo = {
    .name = "demo",
    .args = "--nano | --guests DIR [OPTION]...",
    .summary = "Watch VMs run while their scheduler is changed, and get a report",
    .details =
	"  --nano             nano guests only: finishes in seconds, needs no Linux guests\n"
	"  --guests DIR       vmlinuz, service.cpio.gz, compute.cpio.gz, sleeper.cpio.gz, and if wanted cmdline\n"
	"  --report FILE      write the report as JSON\n"
	"  --seconds N        how long each scheduler is watched (default: 5, with --nano 2)\n"
	"  --carrier KIND     auto, worker or thread; as batond takes it\n"
	"  --pcpus LIST       host CPUs to schedule; as batond takes it\n"
	"  --images DIR       where bvt.baton is (default: found next to this program)\n"
	"  --nano-dir DIR     where the nano guests are (default: found next to this program)\n"
	"  --host-name NAME   kvm or appliance: what the report says (default: kvm)\n"
	"  --stall-limit N    seconds without a heartbeat that count as a stall (default: 5)\n"
	"  --boot-limit N     seconds in which a guest must have booted (default: 180, with --nano 20)\n"
	"\n"
	"It starts a monitor of its own and removes it. Exit status 1: a guest stalled, lost a heartbeat or died,\n"
	"or a change failed.\n",
    .run = demo_run,
};
