/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.c - `baton sim`: workloads and recordings under any policy, in virtual time, without a monitor.
 *
 * A policy is written NAME or IMAGE, with parameters behind it if any: bvt, ./mine.baton, rr:slice_us=2000.
 */
#include "cli/sim.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "cli/nearest.h"
#include "cli/size.h"
#include "sched/loader/arena.h"
#include "sched/loader/image.h"
#include "sim/policies.h"
#include "sim/reader.h"
#include "sim/recording.h"
#include "sim/report.h"
#include "sim/sim.h"

#define POLICIES_MAX 12
#define TIMELINE_MAX 60000 /* intervals: some megabytes of page */
#define STEPS	     100   /* of progress */

enum { POLICY = 256, SET, SEED, DURATION, JSON, HTML, SVG, FROM, FOR, RECORDING, AT, HOW, IMAGES, ACROSS };

struct sim_args {
	const char *policy, *recording, *html, *svg, *images, *how;
	struct change_param params[BATON_PARAMS_MAX]; /* --set */
	uint32_t param_count;
	uint64_t seed, duration_ns, from_ns, for_ns, at_ns, across_ns;
	bool json, has_at;
	int argc; /* what is left */
	char **argv;
};

/* A policy as it was given, ready to be simulated. */
struct candidate {
	const struct baton_scheduler *scheduler;
	struct image *image;
	char given[PATH_MAX];
	struct change_param params[BATON_PARAMS_MAX];
	uint32_t param_count;
};

/* ---- arguments ---- */

static int add_param(const char *given, struct change_param *params, uint32_t *count)
{
	const char *equals = strchr(given, '=');
	size_t n = equals ? (size_t)(equals - given) : 0;
	long long value;
	char *end;

	if (n == 0 || n >= sizeof params->name || *count == BATON_PARAMS_MAX)
		return -EINVAL;
	errno = 0;
	value = strtoll(equals + 1, &end, 10);
	if (errno != 0 || end == equals + 1 || *end != '\0')
		return -EINVAL;
	memcpy(params[*count].name, given, n);
	params[*count].name[n] = '\0';
	params[(*count)++].value = value;
	return 0;
}

static int get_time(const char *option, const char *given, uint64_t *ret)
{
	if (time_parse(given, ret) == 0)
		return 0;
	cli_usage(&command_sim, "%s %s is no time; give a number with its unit, as 250us, 5ms, 1.5s", option, given);
	return -EINVAL;
}

static int get_options(struct sim_args *a, int argc, char **argv)
{
	static const struct option longs[] = {{"policy", required_argument, NULL, POLICY},
					      {"set", required_argument, NULL, SET},
					      {"seed", required_argument, NULL, SEED},
					      {"duration", required_argument, NULL, DURATION},
					      {"json", no_argument, NULL, JSON},
					      {"html", required_argument, NULL, HTML},
					      {"svg", required_argument, NULL, SVG},
					      {"from", required_argument, NULL, FROM},
					      {"for", required_argument, NULL, FOR},
					      {"recording", required_argument, NULL, RECORDING},
					      {"at", required_argument, NULL, AT},
					      {"how", required_argument, NULL, HOW},
					      {"images", required_argument, NULL, IMAGES},
					      {"across", required_argument, NULL, ACROSS},
					      {0}};
	int opt, r = 0;

	while (r >= 0 && (opt = cli_getopt(&command_sim, argc, argv, longs)) != -1) {
		switch (opt) {
		case POLICY:
			a->policy = optarg;
			break;
		case SET:
			r = add_param(optarg, a->params, &a->param_count);
			if (r < 0)
				cli_usage(&command_sim, "--set %s is not name=number", optarg);
			break;
		case SEED:
			r = cli_number(&command_sim, "--seed", optarg, 1, INT64_MAX, &a->seed);
			break;
		case DURATION:
			r = get_time("--duration", optarg, &a->duration_ns);
			break;
		case JSON:
			a->json = true;
			break;
		case HTML:
			a->html = optarg;
			break;
		case SVG:
			a->svg = optarg;
			break;
		case FROM:
			r = get_time("--from", optarg, &a->from_ns);
			break;
		case FOR:
			r = get_time("--for", optarg, &a->for_ns);
			break;
		case RECORDING:
			a->recording = optarg;
			break;
		case AT:
			r = get_time("--at", optarg, &a->at_ns);
			a->has_at = true;
			break;
		case HOW:
			a->how = optarg;
			break;
		case IMAGES:
			a->images = optarg;
			break;
		case ACROSS:
			r = get_time("--across", optarg, &a->across_ns);
			break;
		default:
			return -EINVAL;
		}
	}
	a->argc = argc - optind;
	a->argv = argv + optind;
	return r;
}

/* ---- what is simulated ---- */

/* The workload: the last argument, or the recording. */
static int open_workload(struct sim_args *a, struct workload **ret)
{
	struct error e = {""};
	int r;

	if (!a->recording && a->argc == 0)
		return cli_usage(&command_sim, "the workload file is missing (or --recording FILE)");
	r = a->recording ? recording_load(a->recording, ret, &e) : workload_load(a->argv[--a->argc], ret, &e);
	if (r < 0)
		return cli_fail("%s", e.text);
	if (a->duration_ns > 0)
		(*ret)->duration_ns = a->duration_ns;
	return 0;
}

/* NAME, IMAGE, either with :name=value,... behind it. */
static int open_candidate(const char *given, struct arena *arena, struct candidate *ret)
{
	char *colon, *rest, *param;
	struct error e = {""};

	if (strlen(given) >= sizeof ret->given)
		return cli_fail("the name of the policy is too long");
	strcpy(ret->given, given);
	colon = strrchr(ret->given, ':');
	if (colon && strchr(colon, '=')) {
		*colon = '\0';
		rest = colon + 1;
		while ((param = strsep(&rest, ",")) != NULL)
			if (add_param(param, ret->params, &ret->param_count) < 0)
				return cli_usage(&command_sim, "%s of %s is not name=number", param, given);
	}
	if (policy_open(ret->given, arena, &ret->scheduler, &ret->image, &e) < 0)
		return cli_fail("%s", e.text);
	return 0;
}

/* Simulates to the end; tells a terminal how far it is. */
static int run_to_end(struct sim *s, struct error *e)
{
	uint64_t duration = sim_end(s) - SIM_EPOCH_NS;
	bool tell = isatty(STDERR_FILENO) && duration > 0;
	int r = 0;

	for (unsigned i = 1; i <= STEPS && r >= 0; i++) {
		r = sim_run(s, SIM_EPOCH_NS + (uint64_t)((double)duration * i / STEPS), e);
		if (tell)
			fprintf(stderr, "\rbaton: %u %%\033[K", i);
	}
	if (tell)
		fputs("\r\033[K", stderr);
	return r < 0 ? r : sim_run(s, SIM_END, e);
}

static struct sim *new_sim(const struct sim_args *a, const struct workload *w, const struct candidate *c, bool series,
			   struct error *e)
{
	struct sim_config config = {.workload = w,
				    .scheduler = c->scheduler,
				    .image = c->image,
				    .params = c->params,
				    .param_count = c->param_count,
				    .seed = a->seed,
				    .timeline_from_ns = a->from_ns,
				    .timeline_to_ns = a->for_ns ? a->from_ns + a->for_ns : w->duration_ns,
				    .timeline_max = series ? TIMELINE_MAX : 0};
	struct sim *s = NULL;

	return sim_new(&config, &s, e) < 0 ? NULL : s;
}

static json_t *run_one(const struct sim_args *a, const struct workload *w, const struct candidate *c)
{
	struct error e = {""};
	bool series = a->html || a->svg || a->json;
	struct sim *s = new_sim(a, w, c, a->html || a->svg, &e);
	json_t *run = NULL;

	if (s && run_to_end(s, &e) >= 0) {
		run = report_run(s, c->image ? c->given : NULL, series);
		if (!run)
			error_set(&e, -ENOMEM, "no memory for the report");
	}
	if (!run)
		cli_fail("%s", e.text);
	sim_free(s);
	return run;
}

/* ---- what comes of it ---- */

static int write_file(const char *path, int (*write_to)(const json_t *, FILE *), const json_t *report)
{
	FILE *out = fopen(path, "we");
	int r;

	if (!out)
		return cli_fail("cannot write %s: %s", path, strerror(errno));
	r = write_to(report, out);
	if (fclose(out) != 0 && r >= 0)
		r = -errno;
	return r < 0 ? cli_fail("cannot write %s: %s", path, strerror(-r)) : 0;
}

/* Takes the runs over. */
static int give_out(const struct sim_args *a, const char *kind, json_t *runs, void (*print)(const json_t *))
{
	json_t *report = report_of(kind, runs);
	int status = 0;

	if (!report)
		return cli_fail("no memory for the report");
	runs = json_object_get(report, "runs");
	if (a->html)
		status = write_file(a->html, report_html, report);
	if (status == 0 && a->svg)
		status = write_file(a->svg, report_svg, json_array_get(runs, 0));
	if (status == 0 && a->json) {
		json_dumpf(report, stdout, JSON_INDENT(1) | JSON_COMPACT);
		putchar('\n');
	} else if (status == 0) {
		print(print == sim_print_compare ? runs : json_array_get(runs, 0));
	}
	json_decref(report);
	return status;
}

/* ---- subcommands ---- */

/* Each of the given policies on the same workload. */
static int run_all(const struct sim_args *a, const struct workload *w, const char *const *given, size_t count,
		   struct arena *arena, json_t *runs)
{
	int status = 0;

	for (size_t i = 0; i < count && status == 0; i++) {
		struct candidate c = {.scheduler = NULL};
		json_t *run;

		status = open_candidate(given[i], arena, &c);
		if (status == 0 && c.param_count + a->param_count > BATON_PARAMS_MAX)
			status = cli_usage(&command_sim, "a policy has at most %d parameters", BATON_PARAMS_MAX);
		for (uint32_t n = 0; n < a->param_count && status == 0; n++)
			c.params[c.param_count++] = a->params[n];
		run = status == 0 ? run_one(a, w, &c) : NULL;
		if (status == 0 && !run)
			status = CLI_FAILED;
		if (run)
			json_array_append_new(runs, run);
		image_unref(c.image);
	}
	return status;
}

static int sim_many(struct sim_args *a, struct arena *arena, const char *kind, const char *const *given, size_t count,
		    struct workload *w)
{
	json_t *runs = json_array();
	int status = run_all(a, w, given, count, arena, runs);

	if (status != 0) {
		json_decref(runs);
		return status;
	}
	return give_out(a, kind, runs, count > 1 ? sim_print_compare : sim_print_run);
}

static int sim_run_command(struct sim_args *a, struct arena *arena, struct workload *w)
{
	const char *policy = a->policy ? a->policy : "rr";

	if (a->argc != 0)
		return cli_usage(&command_sim, "run takes one workload file");
	return sim_many(a, arena, "run", &policy, 1, w);
}

static int sim_compare_command(struct sim_args *a, struct arena *arena, struct workload *w)
{
	if (a->argc < 2 || a->argc > POLICIES_MAX)
		return cli_usage(&command_sim, "compare takes 2 to %d policies, then the workload file", POLICIES_MAX);
	if (a->svg)
		return cli_usage(&command_sim, "--svg draws one run; --html shows several");
	return sim_many(a, arena, "compare", (const char *const *)a->argv, (size_t)a->argc, w);
}

/* The image of a policy that was given by name: in --images, beside the build, or where images are installed. */
static int image_path(const struct sim_args *a, const char *given, char *buf, size_t size)
{
	char self[PATH_MAX] = "", beside[PATH_MAX + 16] = "";
	const char *dirs[] = {a->images, beside, IMAGE_DIR};
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	char *slash = n > 0 ? strrchr(self, '/') : NULL;

	if (strchr(given, '/'))
		return realpath(given, self) && (size_t)snprintf(buf, size, "file:%s", self) < size ? 0 : -ENOENT;
	if (slash)
		(void)snprintf(beside, sizeof beside, "%.*s/../policies", (int)(slash - self), self);
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		char path[PATH_MAX];

		if (!dirs[i] || !*dirs[i] ||
		    (size_t)snprintf(path, sizeof path, "%s/%s.baton", dirs[i], given) >= sizeof path)
			continue;
		if (realpath(path, self) && (size_t)snprintf(buf, size, "file:%s", self) < size)
			return 0;
	}
	return -ENOENT;
}

static int change_spec_for(const struct sim_args *a, const struct candidate *to, struct change_spec *ret)
{
	*ret = (struct change_spec){
	    .kind = CHANGE_LOAD, .trusted = true, .requester = "operator", .param_count = to->param_count};
	memcpy(ret->params, to->params, sizeof to->params);
	if (a->how && strcmp(a->how, "live") != 0 && strcmp(a->how, "cease") != 0)
		return cli_usage(&command_sim, "--how is live or cease");
	ret->how = a->how && strcmp(a->how, "cease") == 0 ? CHANGE_CEASE : CHANGE_LIVE;
	if (image_path(a, to->given, ret->image, sizeof ret->image) < 0)
		return cli_fail("there is no image %s%s; a change loads an image: name its path, or its directory with "
				"--images DIR",
				to->given, strchr(to->given, '/') ? "" : ".baton");
	return 0;
}

static int sim_change_pair(struct sim_args *a, struct arena *arena, struct workload *w, struct candidate *from,
			   struct candidate *to)
{
	struct change_report report;
	struct change_spec spec;
	struct error e = {""};
	json_t *run = NULL;
	struct sim *s;
	int status = change_spec_for(a, to, &spec);

	if (status != 0)
		return status;
	s = new_sim(a, w, from, true, &e);
	if (s)
		sim_change_at(s, SIM_EPOCH_NS + a->at_ns, &spec, arena, NULL, &report);
	if (s && run_to_end(s, &e) >= 0) {
		run = report_change(s, &report, a->at_ns, a->across_ns);
		if (!run)
			error_set(&e, -ENOMEM, "no memory for the report");
	}
	sim_free(s);
	if (!run)
		return cli_fail("%s", e.text);
	status = give_out(a, "change", json_pack("[o]", run), sim_print_change);
	if (status == 0 && report.state != CHANGE_DONE)
		status = cli_fail("the change was refused: %s", report.error);
	return status;
}

static int sim_change_command(struct sim_args *a, struct arena *arena, struct workload *w)
{
	struct candidate from = {.scheduler = NULL}, to = {.scheduler = NULL};
	int status;

	if (a->argc != 2)
		return cli_usage(&command_sim, "change takes two policies, then the workload file");
	if (!a->has_at || a->at_ns >= w->duration_ns)
		return cli_usage(&command_sim, "change needs --at TIME, before the end of the workload");
	if (a->across_ns == 0)
		a->across_ns = 2 * MAX(w->window_ns, w->duration_ns / 100);
	status = open_candidate(a->argv[0], arena, &from);
	if (status == 0)
		status = open_candidate(a->argv[1], arena, &to);
	if (status == 0)
		status = sim_change_pair(a, arena, w, &from, &to);
	image_unref(from.image);
	image_unref(to.image);
	return status;
}

static int list_policies(void)
{
	for (size_t i = 0; policy_table[i]; i++)
		printf("%-10s %s\n", policy_table[i]->name, policy_table[i]->description);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct sim_args *a, struct arena *arena, struct workload *w);
	bool one; /* takes --policy and --set; the others take policies as arguments */
} subcommands[] = {
    {"run", sim_run_command, true},
    {"compare", sim_compare_command, false},
    {"change", sim_change_command, false},
};

static int with_workload(struct sim_args *a, size_t n)
{
	struct workload *w = NULL;
	struct arena *arena = NULL;
	struct error e = {""};
	int status;

	if (!subcommands[n].one && (a->policy || a->param_count > 0))
		return cli_usage(&command_sim,
				 "%s takes policies as arguments, and parameters behind them: rr:slice_us=2000",
				 subcommands[n].name);
	status = open_workload(a, &w);
	if (status == 0 && arena_new(POLICIES_MAX + 2, &arena, &e) < 0)
		status = cli_fail("%s", e.text);
	if (status == 0)
		status = subcommands[n].run(a, arena, w);
	arena_free(arena);
	workload_free(w);
	return status;
}

static int run_sim(const struct cli *cli, int argc, char **argv)
{
	const char *names[ARRAY_SIZE(subcommands) + 1] = {"policies"};
	struct sim_args a = {.seed = 0};

	if (argc < 2)
		return cli_usage(&command_sim, "sim needs run, compare, change or policies");
	if (strcmp(argv[1], "policies") == 0)
		return list_policies();
	for (size_t i = 0; i < ARRAY_SIZE(subcommands); i++) {
		names[i + 1] = subcommands[i].name;
		if (strcmp(argv[1], subcommands[i].name) != 0)
			continue;
		if (get_options(&a, argc - 1, argv + 1) < 0)
			return CLI_USAGE;
		return with_workload(&a, i);
	}
	if (nearest(argv[1], names, ARRAY_SIZE(names)))
		return cli_usage(&command_sim, "sim does not know '%s'; did you mean '%s'?", argv[1],
				 nearest(argv[1], names, ARRAY_SIZE(names)));
	return cli_usage(&command_sim, "sim does not know '%s'; there are run, compare, change and policies", argv[1]);
}

const struct command command_sim = {
    .name = "sim",
    .args = "run|compare|change|policies [OPTION]... [POLICY]... FILE",
    .summary = "Simulate schedulers on a workload",
    .details =
	"The very policies and images of the monitor, in virtual time, without a monitor or KVM. The same workload\n"
	"and seed give the same run.\n\n"
	"  run [--policy P] FILE        one policy (default: rr)\n"
	"  compare P P... FILE          several policies on the same demands, side by side\n"
	"  change P P --at T FILE       from the first to the second at time T, by the real change engine\n"
	"  policies                     the policies that are built in\n\n"
	"P is one of those, or an image (./mine.baton); parameters may follow: rr:slice_us=2000\n"
	"FILE is a workload (JSON: docs/simulator.md, docs/examples/workloads/)\n\n"
	"  --set NAME=VALUE             a parameter of the policy (run)\n"
	"  --recording FILE             what vCPUs asked for on a real host, instead of a workload\n"
	"  --seed N                     another seed than the workload's\n"
	"  --duration T                 another duration, as 30s\n"
	"  --json                       the report as JSON\n"
	"  --html FILE                  the report as one page: timeline, service curves, latencies\n"
	"  --from T, --for T            which part of the run the timeline shows\n"
	"  --svg FILE                   a compact plot (run)\n"
	"  --how live|cease             how to change (change)\n"
	"  --across T                   the time around the change that is called across\n"
	"  --images DIR                 where the image of a policy given by name is (change)\n\n"
	"Example: baton sim compare rr bvt docs/examples/workloads/mix.json --html mix.html\n",
    .run = run_sim,
};
