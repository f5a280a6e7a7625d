/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched.c - `baton sched`: a table of subcommands in the manner of the commands themselves.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#include "cli/change.h"
#include "cli/nearest.h"
#include "cli/output.h"
#include "cli/sched_local.h"
#include "cli/size.h"
#include "sched/source/sources.h"

enum { PARAM = 256, HOW, OLD, OLDER, JSON, IMAGE, VM };

struct sched_args {
	const char *how, *old, *image, *vm;
	json_t *params;
	bool json, older;
	int argc; /* what is left */
	char **argv;
};

/* ---- showing ---- */

static const char *blackout_cell(const json_t *change, char buf[DURATION_MAX])
{
	int64_t ns = member_int(change, "blackout_ns", -1);

	return ns < 0 ? "-" : duration_text(buf, (uint64_t)ns);
}

static void show_phase(void *ctx, const json_t *change)
{
	printf("  %s\n", member_text(change, "phase", "?"));
}

/* Asks, follows, reports: load, default and unload. */
static int make_change(struct client *c, const struct sched_args *a, const char *method, json_t *params)
{
	char blackout[DURATION_MAX];
	struct error e = {""};
	json_t *change;

	if (change_follow(c, method, params, a->json ? NULL : show_phase, NULL, &change, &e) < 0)
		return cli_fail("%s", e.text);
	if (a->json)
		json_print(change);
	else
		printf("done: %s -> %s (%s), blackout %s\n", member_text(change, "from", "?"),
		       member_text(change, "to", "?"), member_text(change, "how", "?"),
		       blackout_cell(change, blackout));
	json_decref(change);
	return 0;
}

static void print_changes(const json_t *changes)
{
	struct table *t = table_new(">ID|FROM|TO|HOW|ASKED BY|STATE|>BLACKOUT|NOTE");
	const json_t *change;
	size_t i;

	json_array_foreach(changes, i, change)
	{
		char blackout[DURATION_MAX];

		table_cell(t, "%" PRId64, member_int(change, "id", -1));
		table_cell(t, "%s", member_text(change, "from", "-"));
		table_cell(t, "%s", member_text(change, "to", "-"));
		table_cell(t, "%s", member_text(change, "how", "-"));
		table_cell(t, "%s", member_text(change, "requester", "-"));
		table_cell(t, "%s", member_text(change, "state", "?"));
		table_cell(t, "%s", blackout_cell(change, blackout));
		table_cell(t, "%s", member_text(change, "error", ""));
	}
	table_print(t, stdout, "");
	table_free(t);
}

/* ---- subcommands ---- */

/* Several are called so: then each is told apart by its number. */
static bool is_ambiguous(json_t *schedulers, const char *name)
{
	unsigned count = 0;
	json_t *s;
	size_t i;

	json_array_foreach(schedulers, i, s)
	{
		count += strcmp(member_text(s, "name", ""), name) == 0;
	}
	return count > 1;
}

static int sched_status(struct client *c, const struct sched_args *a)
{
	struct error e = {""};
	json_t *reply, *s;
	struct table *t;
	size_t i;

	if (client_call(c, "sched.status", NULL, &reply, &e) < 0)
		return cli_fail("%s", e.text);
	if (a->json) {
		json_print(reply);
		json_decref(reply);
		return 0;
	}
	printf("%s decides; default is %s; activation by %s; %" PRId64 " decisions, %" PRId64 " changes, %" PRId64
	       " free image slots\n\n",
	       member_text(reply, "active", "?"), member_text(reply, "default", "?"),
	       member_text(reply, "activation", "?"), member_int(reply, "decisions", 0),
	       member_int(reply, "changes", 0), member_int(reply, "slots_free", 0));
	t = table_new("SCHEDULER|VERSION|ROLE|LOADED|IMAGE|NOTE");
	json_array_foreach(json_object_get(reply, "schedulers"), i, s)
	{
		const json_t *loaded = json_object_get(s, "loaded");

		if (is_ambiguous(json_object_get(reply, "schedulers"), member_text(s, "name", "?")))
			table_cell(t, "%s#%" PRId64, member_text(s, "name", "?"), member_int(s, "id", -1));
		else
			table_cell(t, "%s", member_text(s, "name", "?"));
		table_cell(t, "%s", member_text(s, "version", ""));
		table_cell(t, "%s", member_text(s, "role", ""));
		table_cell(t, "%s", !loaded ? "" : json_is_true(loaded) ? "yes" : "no");
		table_cell(t, "%s", member_text(s, "image", "built in"));
		table_cell(t, "%s", member_text(s, "note", ""));
	}
	table_print(t, stdout, "");
	table_free(t);
	s = json_object_get(reply, "change");
	if (json_is_object(s)) {
		json_t *one = json_array();

		json_array_append(one, s);
		puts("\nThe last change:");
		print_changes(one);
		json_decref(one);
	}
	json_decref(reply);
	return 0;
}

static int sched_history(struct client *c, const struct sched_args *a)
{
	struct error e = {""};
	json_t *reply;

	if (client_call(c, "sched.history", NULL, &reply, &e) < 0)
		return cli_fail("%s", e.text);
	if (a->json)
		json_print(reply);
	else
		print_changes(json_object_get(reply, "changes"));
	json_decref(reply);
	return 0;
}

/* The last events of the pool, oldest first; what a and b mean depends on the event (src/trace/ring.h). */
static int sched_trace(struct client *c, const struct sched_args *a)
{
	struct error e = {""};
	json_t *reply;
	const json_t *record;
	size_t i;

	if (client_call(c, "sched.trace", NULL, &reply, &e) < 0)
		return cli_fail("%s", e.text);
	if (a->json) {
		json_print(reply);
		json_decref(reply);
		return 0;
	}
	json_array_foreach(json_object_get(reply, "records"), i, record)
	{
		int64_t vcpu = member_int(record, "vcpu", -1), pcpu = member_int(record, "pcpu", -1);

		printf("%14.6f ms  %-9s", (double)member_int(record, "ns", 0) / 1e6, member_text(record, "event", "?"));
		if (pcpu >= 0)
			printf(" pCPU %" PRId64, pcpu);
		if (vcpu >= 0)
			printf(" vCPU %" PRId64, vcpu);
		printf("  %" PRId64 " %" PRId64 "\n", member_int(record, "a", 0), member_int(record, "b", 0));
	}
	json_decref(reply);
	return 0;
}

/* An image is a URL, the path of a file here, or the name of a file in the monitor's image directory. */
static char *image_name(const char *given)
{
	char *image = NULL;
	int n;

	if (!given)
		return NULL;
	if (strchr(given, ':') || source_is_server(given)) {
		n = asprintf(&image, "%s", given);
	} else {
		_cleanup_free_ char *full = realpath(given, NULL);

		n = asprintf(&image, "file:%s", full ? full : given);
	}
	return n < 0 ? NULL : image;
}

static int sched_load(struct client *c, const struct sched_args *a)
{
	_cleanup_free_ char *image = NULL;
	const char *name = a->argc == 1 ? a->argv[0] : NULL;

	if (!name)
		return cli_usage(&command_sched, "load needs the name of one scheduler");
	if (!a->image && (strpbrk(name, ":/") || source_is_server(name))) { /* an image says its name by itself */
		image = image_name(name);
		name = NULL;
	} else {
		image = image_name(a->image);
	}
	return make_change(c, a, "sched.load",
			   json_pack("{s:s*, s:s*, s:O*, s:s, s:s, s:b}", "name", name, "image", image, "params",
				     a->params, "how", a->how ? a->how : "live", "old", a->old ? a->old : "keep",
				     "older", a->older));
}

static int sched_default(struct client *c, const struct sched_args *a)
{
	if (a->argc != 0)
		return cli_usage(&command_sched, "default takes no name");
	return make_change(c, a, "sched.default", json_pack("{s:s}", "how", a->how ? a->how : "live"));
}

static int sched_unload(struct client *c, const struct sched_args *a)
{
	if (a->argc != 1)
		return cli_usage(&command_sched, "unload needs the name of one scheduler");
	return make_change(c, a, "sched.unload", json_pack("{s:s}", "name", a->argv[0]));
}

static int sched_set(struct client *c, const struct sched_args *a)
{
	json_t *reply, *params = json_object();
	struct error e = {""};
	uint64_t positive;
	const char *digits;

	if (a->argc != 2) {
		json_decref(params);
		return cli_usage(&command_sched, "set needs a parameter and a value");
	}
	digits = a->argv[1][0] == '-' ? a->argv[1] + 1 : a->argv[1];
	if (cli_number(&command_sched, "value", digits, 0, INT64_MAX, &positive) < 0) {
		json_decref(params);
		return CLI_USAGE;
	}
	json_object_set_new(params, "parameter", json_string(a->argv[0]));
	json_object_set_new(params, "value",
			    json_integer(digits == a->argv[1] ? (json_int_t)positive : -(json_int_t)positive));
	if (a->vm)
		json_object_set_new(params, "vm", json_string(a->vm));
	if (client_call(c, "sched.set", params, &reply, &e) < 0)
		return cli_fail("%s", e.text);
	if (a->json)
		json_print(reply);
	else
		printf("%s%s%s = %s\n", a->vm ? a->vm : "", a->vm ? ": " : "", a->argv[0], a->argv[1]);
	json_decref(reply);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct client *c, const struct sched_args *a);
} subcommands[] = {
    {"status", sched_status}, {"load", sched_load},	  {"default", sched_default}, {"unload", sched_unload},
    {"set", sched_set},	      {"history", sched_history}, {"trace", sched_trace},
};

/* Those that need no monitor; they read their own arguments. */
static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} local_subcommands[] = {
    {"new", sched_new},
    {"info", sched_info},
    {"check", sched_check},
};

static int unknown_subcommand(const char *name)
{
	const char *names[ARRAY_SIZE(subcommands) + ARRAY_SIZE(local_subcommands)];
	const char *near;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(subcommands); i++)
		names[n++] = subcommands[i].name;
	for (size_t i = 0; i < ARRAY_SIZE(local_subcommands); i++)
		names[n++] = local_subcommands[i].name;
	near = nearest(name, names, n);
	if (near)
		return cli_usage(&command_sched, "there is no 'sched %s'; did you mean '%s'?", name, near);
	return cli_usage(&command_sched, "there is no 'sched %s'", name);
}

/* ---- arguments ---- */

static bool one_of(const char *value, const char *const words[])
{
	for (; *words; words++)
		if (strcmp(value, *words) == 0)
			return true;
	return false;
}

static int parse(int argc, char **argv, struct sched_args *a)
{
	static const struct option longs[] = {
	    {"param", required_argument, NULL, PARAM}, {"how", required_argument, NULL, HOW},
	    {"old", required_argument, NULL, OLD},     {"older", no_argument, NULL, OLDER},
	    {"json", no_argument, NULL, JSON},	       {"image", required_argument, NULL, IMAGE},
	    {"vm", required_argument, NULL, VM},       {NULL, 0, NULL, 0},
	};
	static const char *const hows[] = {"live", "cease", NULL};
	static const char *const olds[] = {"keep", "unload-before", "unload-after", NULL};
	int opt;

	while ((opt = cli_getopt(&command_sched, argc, argv, longs)) != -1) {
		switch (opt) {
		case PARAM:
			if (param_parse(optarg, a->params) < 0)
				return cli_usage(&command_sched, "--param '%s' is not NAME=VALUE", optarg);
			break;
		case HOW:
			if (!one_of(optarg, hows))
				return cli_usage(&command_sched, "--how '%s' is neither live nor cease", optarg);
			a->how = optarg;
			break;
		case OLD:
			if (!one_of(optarg, olds))
				return cli_usage(&command_sched,
						 "--old '%s' is not keep, unload-before or unload-after", optarg);
			a->old = optarg;
			break;
		case OLDER:
			a->older = true;
			break;
		case JSON:
			a->json = true;
			break;
		case IMAGE:
			a->image = optarg;
			break;
		case VM:
			a->vm = optarg;
			break;
		default:
			return CLI_USAGE;
		}
	}
	a->argc = argc - optind;
	a->argv = argv + optind;
	return 0;
}

static int sched_run(const struct cli *cli, int argc, char **argv)
{
	_cleanup_client_ struct client client = CLIENT_NONE;
	struct sched_args a = {0};
	const char *name = "status";
	struct error e = {""};
	int status;

	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(local_subcommands); i++)
		if (strcmp(local_subcommands[i].name, argv[1]) == 0)
			return local_subcommands[i].run(argc - 1, argv + 1);
	a.params = json_object();
	status = parse(argc, argv, &a);
	if (status == 0 && a.argc > 0) {
		name = a.argv[0];
		a.argc--;
		a.argv++;
	}
	for (size_t i = 0; status == 0; i++) {
		if (i == ARRAY_SIZE(subcommands)) {
			status = unknown_subcommand(name);
			break;
		}
		if (strcmp(subcommands[i].name, name) != 0)
			continue;
		if (client_open(cli->socket, &client, &e) < 0)
			status = cli_fail("%s", e.text);
		else
			status = subcommands[i].run(&client, &a);
		break;
	}
	json_decref(a.params);
	return status;
}

const struct command command_sched = {
    .name = "sched",
    .args = "[status | load NAME | default | unload NAME | set PARAMETER VALUE | history | trace |\n"
	    "                   new NAME | info IMAGE | check IMAGE] [OPTION]...",
    .summary = "Show the schedulers; change, unload and tune them while VMs run; write your own",
    .details = "  status                 who decides, what is loaded (also without any word)\n"
	       "  load NAME              let the scheduler NAME decide\n"
	       "  load IMAGE             let the scheduler of this image decide\n"
	       "    --image IMAGE        its image: a path, file:NAME in the monitor's image directory, a URL, or\n"
	       "                         NAME@VERSION or NAME@CHANNEL of the image server (docs/images.md)\n"
	       "                         (default: the one that is loaded, else file:NAME.baton)\n"
	       "    --older              also when a newer signed version was in use before\n"
	       "    --param NAME=VALUE   a parameter of it; again for more\n"
	       "    --how live|cease     flip while guests run (default), or with every pCPU at rest\n"
	       "    --old keep|unload-before|unload-after\n"
	       "                         what becomes of the image that decided so far (default: keep)\n"
	       "  default [--how HOW]    back to the built-in default scheduler; images stay loaded\n"
	       "  unload NAME            free an image's slot; if it decides, the default takes over first\n"
	       "  set PARAMETER VALUE    of the active scheduler, or with --vm VM of a VM\n"
	       "  history                the changes so far\n"
	       "  trace                  the last events of the pool, for those who look for a stall\n"
	       "Without a monitor:\n"
	       "  new NAME [--dir DIR]   a folder with a scheduler to begin from; `make` there builds its image\n"
	       "  info IMAGE             what an image file is: version, ops, parameters\n"
	       "  check IMAGE            does it keep what schedulers promise? Property tests in the simulator, of an\n"
	       "                         image or a built-in scheduler by name\n"
	       "    --runs N, --quick    so many random trials (default: 1000); 100\n"
	       "    --seed N             the first trial's number (default: 1)\n"
	       "    --first              end with the first trial that fails, as it is\n"
	       "    --skip PROPERTY      do not judge it; again for more\n"
	       "    --out DIR            where workloads that make it fail are written (default: .)\n"
	       "  --json                 the answer as JSON\n"
	       "\n"
	       "Example: baton sched load bvt --param allowance_us=500\n",
    .run = sched_run,
};
