/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.c - the service application: commands of the service VM, and what they ask of the monitor.
 *
 * Each command is a row of a table and a function that turns its words into a JSON request (whose keys are those of the
 * control API's method of the same meaning), makes the call, and prints the feedback. Nothing is kept between two runs.
 */
#include "service.h"
#include "upload.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "baton/guest.h"

#define POLL_MS 50

/* One run of the program. */
struct run {
	struct link *link;
	FILE *out, *err;
	bool json, wait;
	unsigned long timeout_ms;
	const char *upload; /* a file to send before the call */
	const struct command *command;
	int argc; /* the command's own words, options taken out */
	char **argv;
	json_t *request;
};

struct command {
	const char *name, *arguments, *summary;
	long call;
	int (*fill)(struct run *r); /* words into r->request; 0, or -EINVAL (wrong use), -EIO after having said why */
	void (*print)(const json_t *reply, FILE *out);
	bool starts_change; /* the reply is {"change": id}: --wait makes sense */
	const char *const *options;
};

/* ---- saying what is wrong ---- */

static int wrong_use(struct run *r, const char *what, const char *which)
{
	fprintf(r->err, "baton-service: %s: %s '%s'; see baton-service help %s\n", r->command->name, what, which,
		r->command->name);
	return -EINVAL;
}

/* A call that brought no JSON: cause and next step by its number. */
static void explain(FILE *err, long result)
{
	switch (result) {
	case -BATON_EPERM:
		fputs("baton-service: refused: only the service VM may ask for this; run it there, or let the operator "
		      "use "
		      "baton on the host\n",
		      err);
		break;
	case -BATON_ENOSYS:
		fputs("baton-service: this monitor does not know the call; use a baton-service of the same version\n",
		      err);
		break;
	case -BATON_EMSGSIZE:
		fprintf(err, "baton-service: the request or its answer is larger than the mailbox (%d bytes)\n",
			BATON_MAILBOX_MAX);
		break;
	case -BATON_EAGAIN:
		fputs("baton-service: the monitor is busy with another request; try again\n", err);
		break;
	case -ETIMEDOUT:
		fputs("baton-service: another program of this VM keeps the mailbox; end it and try again\n", err);
		break;
	default:
		fprintf(err, "baton-service: the monitor answered with error %ld (%s)\n", -result,
			result < 0 && result > -4096 ? strerror((int)-result) : "unknown");
		break;
	}
}

/* ---- the exchange ---- */

/* Asks, and returns the reply when it says "ok"; NULL after having said why not. With --json the reply is printed as it
 * came, in either case. */
static json_t *ask(struct run *r, long call, const json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT), *answer = NULL;
	json_t *reply = NULL;
	const char *why;
	long result;

	if (!text) {
		fputs("baton-service: out of memory\n", r->err);
		return NULL;
	}
	result = link_request(r->link, call, text, &answer);
	free(text);
	if (answer && *answer)
		reply = json_loads(answer, JSON_REJECT_DUPLICATES, NULL);
	if (r->json && reply)
		fprintf(r->out, "%s\n", answer);
	if (json_is_object(reply) && json_is_true(json_object_get(reply, "ok")) && result >= 0) {
		free(answer);
		return reply;
	}
	why = json_string_value(json_object_get(reply, "error"));
	if (why)
		fprintf(r->err, "baton-service: %s: %s\n", r->command->name, why);
	else if (result < 0)
		explain(r->err, result);
	else
		fputs("baton-service: the monitor's answer is no JSON object; is this baton-service of the same "
		      "version?\n",
		      r->err);
	free(answer);
	json_decref(reply);
	return NULL;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Waits for the end of a change and prints it. Exit status. */
static int follow_change(struct run *r, json_int_t id)
{
	uint64_t end = now_ms() + r->timeout_ms;
	bool json = r->json;

	for (;;) {
		struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
		json_t *request = json_pack("{s:I}", "id", id), *reply;
		const char *state;
		bool done, refused;

		r->json = false; /* of the many answers only the last one is shown */
		reply = request ? ask(r, BATON_CALL_SCHED_CHANGE, request) : NULL;
		r->json = json;
		json_decref(request);
		if (!reply)
			return 1;
		state = json_string_value(json_object_get(reply, "state"));
		done = state && !strcmp(state, "done");
		refused = state && !strcmp(state, "refused");
		if (done || refused || now_ms() >= end) {
			if (json)
				json_dumpf(reply, r->out, JSON_COMPACT);
			if (json)
				fputc('\n', r->out);
			else
				print_change(reply, r->out);
			json_decref(reply);
			if (!done && !refused)
				fprintf(r->err,
					"baton-service: the change has not ended after %lu s; look again with "
					"baton-service "
					"change %lld\n",
					r->timeout_ms / 1000, (long long)id);
			return done ? 0 : 1;
		}
		json_decref(reply);
		nanosleep(&pause, NULL);
	}
}

/* ---- words into requests ---- */

static json_t *value_of(const char *text)
{
	char *end;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 0);
	return !errno && end != text && !*end ? json_integer(v) : json_string(text);
}

static bool one_of(const char *value, const char *const *choices)
{
	for (; *choices; choices++)
		if (!strcmp(value, *choices))
			return true;
	return false;
}

static int put(struct run *r, const char *key, json_t *value)
{
	if (value && !json_object_set_new(r->request, key, value))
		return 0;
	return wrong_use(r, "this is no text", key);
}

static int put_param(struct run *r, const char *word)
{
	const char *equals = strchr(word, '=');
	json_t *params = json_object_get(r->request, "params");
	char name[64];

	if (!equals || equals == word || (size_t)(equals - word) >= sizeof(name))
		return wrong_use(r, "--param needs NAME=VALUE, not", word);
	memcpy(name, word, (size_t)(equals - word));
	name[equals - word] = '\0';
	if (!params) {
		params = json_object();
		if (json_object_set_new(r->request, "params", params))
			return wrong_use(r, "out of memory at", word);
	}
	if (json_object_set_new(params, name, value_of(equals + 1)))
		return wrong_use(r, "this is no text", word);
	return 0;
}

/* Takes the options out of argv and puts those of the request into it. 0 or -EINVAL. */
static int take_options(struct run *r, int argc, char **argv)
{
	static const char *const hows[] = {"live", "cease", NULL};
	static const char *const olds[] = {"keep", "unload-before", "unload-after", NULL};

	for (int i = 0; i < argc; i++) {
		const char *word = argv[i], *value;
		int e = 0;

		/* A lone value such as -5 is no option. */
		if (strncmp(word, "--", 2)) {
			r->argv[r->argc++] = argv[i];
			continue;
		}
		if (!strcmp(word, "--json")) {
			r->json = true;
			continue;
		}
		if (!r->command->options || !one_of(word, r->command->options))
			return wrong_use(r, "unknown option", word);
		if (!strcmp(word, "--wait")) {
			r->wait = true;
			continue;
		}
		if (++i == argc)
			return wrong_use(r, "a value is missing after", word);
		value = argv[i];
		if (!strcmp(word, "--image")) {
			e = put(r, "image", json_string(value));
		} else if (!strcmp(word, "--upload")) {
			r->upload = value;
		} else if (!strcmp(word, "--param")) {
			e = put_param(r, value);
		} else if (!strcmp(word, "--how")) {
			e = one_of(value, hows) ? put(r, "how", json_string(value))
						: wrong_use(r, "--how is live or cease, not", value);
		} else if (!strcmp(word, "--old")) {
			e = one_of(value, olds)
				? put(r, "old", json_string(value))
				: wrong_use(r, "--old is keep, unload-before or unload-after, not", value);
		} else if (!strcmp(word, "--vm")) {
			e = put(r, "vm", value_of(value));
		} else if (!strcmp(word, "--timeout")) {
			char *end;
			unsigned long s = strtoul(value, &end, 10);

			if (end == value || *end || s < 1 || s > 86400)
				e = wrong_use(r, "--timeout needs seconds from 1 to 86400, not", value);
			else
				r->timeout_ms = s * 1000;
		}
		if (e < 0)
			return e;
	}
	return 0;
}

/* Sends a file to the monitor: all but the end of the upload. 0, or -EIO after having said why not. */
static int send_image(struct run *r, const char *path)
{
	bool json = r->json;
	json_t *request, *reply;
	struct upload u;
	int e = upload_read(path, &u);
	long result;

	if (e < 0) {
		fprintf(r->err, "baton-service: %s: cannot read the image %s: %s\n", r->command->name, path,
			e == -EFBIG    ? "it has more than 1 MiB"
			: e == -EINVAL ? "it is empty"
				       : strerror(-e));
		return -EIO;
	}
	r->json = false; /* of the many answers only the last one is shown */
	request = json_pack("{s:I, s:s}", "size", (json_int_t)u.size, "digest", u.digest);
	reply = request ? ask(r, BATON_CALL_UPLOAD_BEGIN, request) : NULL;
	result = reply ? upload_send(r->link, &u) : -1;
	if (reply && result < 0)
		explain(r->err, result);
	r->json = json;
	json_decref(request);
	json_decref(reply);
	upload_clear(&u);
	return result < 0 ? -EIO : 0;
}

static int words(struct run *r, int low, int high)
{
	if (r->argc < low)
		return wrong_use(r, "an argument is missing; expected", r->command->arguments);
	if (r->argc > high)
		return wrong_use(r, "too many arguments, from", r->argv[high]);
	return 0;
}

static int fill_nothing(struct run *r)
{
	return words(r, 0, 0);
}

static int fill_name(struct run *r)
{
	return words(r, 1, 1) < 0 ? -EINVAL : put(r, "name", json_string(r->argv[0]));
}

static int fill_upload(struct run *r)
{
	return words(r, 1, 1) < 0 ? -EINVAL : send_image(r, r->argv[0]);
}

static int fill_load(struct run *r)
{
	json_t *none, *reply;
	bool json = r->json;
	int e;

	if (fill_name(r) < 0)
		return -EINVAL;
	if (!r->upload)
		return 0;
	e = send_image(r, r->upload);
	if (e < 0)
		return e;
	none = json_object();
	r->json = false;
	reply = ask(r, BATON_CALL_UPLOAD_END, none);
	r->json = json;
	e = reply ? put(r, "image", json_incref(json_object_get(reply, "image"))) : -EIO;
	json_decref(reply);
	json_decref(none);
	return e;
}

static int fill_set(struct run *r)
{
	if (words(r, 2, 2) < 0 || put(r, "parameter", json_string(r->argv[0])) < 0)
		return -EINVAL;
	return put(r, "value", value_of(r->argv[1]));
}

static int fill_change(struct run *r)
{
	json_t *id;

	if (words(r, 1, 1) < 0)
		return -EINVAL;
	id = value_of(r->argv[0]);
	if (json_is_integer(id))
		return put(r, "id", id);
	json_decref(id);
	return wrong_use(r, "a change has a number, not", r->argv[0]);
}

static int fill_owner(struct run *r)
{
	if (words(r, 0, 1) < 0)
		return -EINVAL;
	return r->argc ? put(r, "vm", value_of(r->argv[0])) : 0;
}

static const char *const load_options[] = {"--image", "--upload", "--param",   "--how",
					   "--old",   "--wait",	  "--timeout", NULL};
static const char *const default_options[] = {"--how", "--wait", "--timeout", NULL};
static const char *const unload_options[] = {"--wait", "--timeout", NULL};
static const char *const set_options[] = {"--vm", NULL};

static const struct command commands[] = {
    {"list", "", "VMs, their state and times, and the pCPUs", BATON_CALL_VM_LIST, fill_nothing, print_vm_list, false,
     NULL},
    {"status", "", "schedulers that are attached, the active one, the last change", BATON_CALL_SCHED_STATUS,
     fill_nothing, print_status, false, NULL},
    {"load",
     "NAME [--image URI | --upload FILE] [--param K=V ...] [--how live|cease] [--old keep|unload-before|unload-after] "
     "[--wait]",
     "change to the scheduler NAME", BATON_CALL_SCHED_LOAD, fill_load, print_plain, true, load_options},
    {"default", "[--how live|cease] [--wait]", "go back to the default scheduler; images stay loaded",
     BATON_CALL_SCHED_DEFAULT, fill_nothing, print_plain, true, default_options},
    {"unload", "NAME [--wait]", "unload a scheduler; if it is active the default takes over first",
     BATON_CALL_SCHED_UNLOAD, fill_name, print_plain, true, unload_options},
    {"set", "[--vm NAME] PARAM VALUE", "set a parameter of the pool, or of a VM", BATON_CALL_SCHED_SET, fill_set,
     print_plain, false, set_options},
    {"change", "ID", "how far a change is, and the feedback", BATON_CALL_SCHED_CHANGE, fill_change, print_change, false,
     NULL},
    {"upload", "FILE", "bring an image of this VM to the monitor; prints its URI", BATON_CALL_UPLOAD_END, fill_upload,
     print_plain, false, NULL},
    {"owner", "[VM]", "give the console to a VM, or ask who owns it", BATON_CALL_CONSOLE_OWNER, fill_owner, print_plain,
     false, NULL},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

/* ---- help ---- */

static void help(FILE *f)
{
	fputs("usage: baton-service [--json] COMMAND [ARGUMENT ...]\n"
	      "\n"
	      "The service application: asks the monitor below this service VM, by hypercall. Needs root.\n"
	      "\n",
	      f);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fputs("  help     [COMMAND] this page, or one about a command\n"
	      "\n"
	      "--json prints the monitor's answer as it came. Exit status: 0 done, 1 refused or failed, 2 wrong use.\n"
	      "\n"
	      "A first tour:\n"
	      "  baton-service list                                    who runs here\n"
	      "  baton-service load bvt --image file:bvt.img --wait    change the scheduler while all VMs go on\n"
	      "  baton-service set --vm compute weight 512             tune it\n"
	      "  baton-service default --wait                          and back\n",
	      f);
}

static void help_command(const struct command *c, FILE *f)
{
	fprintf(f, "usage: baton-service %s %s\n\n%c%s.\n", c->name, c->arguments, c->summary[0] & ~0x20,
		c->summary + 1);
	if (c->options == load_options)
		fputs("\n"
		      "  --image URI  where the image is: file:NAME in the monitor's image directory, NAME@VERSION or\n"
		      "               NAME@CHANNEL of its image server, or upload:DIGEST; without it a scheduler\n"
		      "               that is loaded already, or built in\n"
		      "  --upload F   the image is the file F of this VM: send it first\n"
		      "  --param K=V  a parameter of the scheduler (may be given several times)\n"
		      "  --how live   the guests go on executing during the change (default)\n"
		      "  --how cease  bring all pCPUs out of the guests and flush the console first\n"
		      "  --old HOW    what becomes of the present scheduler's image: keep it loaded, unload-before the "
		      "new one\n"
		      "               comes (makes room; the default decides meanwhile), or unload-after the change\n",
		      f);
	if (c->starts_change)
		fputs("  --wait       wait for the end and print from, to, how and the blackout; status 1 if it was "
		      "refused\n"
		      "  --timeout S  wait at most S seconds (default 60)\n",
		      f);
}

int service_wants_no_monitor(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return 1;
	while (argc > 1 && !strcmp(argv[1], "--json"))
		argc--, argv++;
	return argc < 2 || !find(argv[1]);
}

/* Help, and the command that is none. */
static int without_monitor(int argc, char **argv, FILE *out, FILE *err)
{
	const struct command *c = NULL;
	bool wanted = argc > 1 && !strcmp(argv[1], "help");

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			wanted = true;
		else if (!c)
			c = find(argv[i]);
	}
	if (wanted && c)
		help_command(c, out);
	else if (wanted)
		help(out);
	else if (argc < 2 || argv[1][0] == '-')
		help(err);
	else
		fprintf(err, "baton-service: there is no command '%s'; see baton-service help\n", argv[1]);
	return wanted ? 0 : 2;
}

/* ---- running one ---- */

static int execute(struct run *r)
{
	json_t *reply = ask(r, r->command->call, r->request);
	const json_t *change;
	int status = 0;

	if (!reply)
		return 1;
	change = json_object_get(reply, "change");
	if (r->wait && json_is_integer(change)) {
		status = follow_change(r, json_integer_value(change));
	} else if (!r->json && r->command->starts_change && json_is_integer(change)) {
		fprintf(r->out, "accepted as change %lld; look at it with baton-service change %lld\n",
			(long long)json_integer_value(change), (long long)json_integer_value(change));
	} else if (!r->json) {
		r->command->print(reply, r->out);
	}
	json_decref(reply);
	return status;
}

int service_main(struct link *l, int argc, char **argv, FILE *out, FILE *err)
{
	struct run r = {.link = l, .out = out, .err = err, .timeout_ms = 60000};
	int status = 2;

	if (service_wants_no_monitor(argc, argv))
		return without_monitor(argc, argv, out, err);
	while (!strcmp(argv[1], "--json"))
		r.json = true, argc--, argv++;
	r.command = find(argv[1]);
	r.argv = calloc((size_t)argc, sizeof(*r.argv));
	r.request = json_object();
	if (!r.argv || !r.request) {
		fputs("baton-service: out of memory\n", err);
		status = 1;
	} else if (take_options(&r, argc - 2, argv + 2) == 0) {
		int e = r.command->fill(&r);

		if (e == 0)
			status = execute(&r);
		else if (e == -EIO)
			status = 1;
	}
	json_decref(r.request);
	free(r.argv);
	return status;
}
