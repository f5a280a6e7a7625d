/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <inttypes.h>
#include <string.h>

#include "cli/client.h"
#include "cli/size.h"
#include "cli/stream.h"

enum { NAME = 256, KERNEL, INITRD, CMDLINE, VCPUS, MEMORY, WEIGHT, DISK, NET, RNG, CONSOLE, SERVICE, ATTACH };

struct run_options {
	const char *name, *cmdline, *console;
	char *kernel, *initrd;
	uint64_t vcpus, memory_mib, weight;
	json_t *disks, *net;
	bool rng, service, attach;
};

static void run_options_free(struct run_options *o)
{
	free(o->kernel);
	free(o->initrd);
	json_decref(o->disks);
	json_decref(o->net);
}

/* The monitor has another working directory: it gets absolute paths. */
static int absolute(const char *what, const char *path, char **ret)
{
	char *full = realpath(path, NULL);

	if (!full)
		return -cli_fail("%s %s: %s; give the path of a file that exists", what, path, strerror(errno));
	free(*ret);
	*ret = full;
	return 0;
}

static int parse_memory(const char *text, uint64_t *ret)
{
	uint64_t mib;

	if (size_parse_mib(text, &mib) < 0 || mib < 1 || mib > 1024 * 1024) {
		cli_usage(&command_run, "--memory '%s' is not a size like 128, 128M or 2G (1 MiB to 1 TiB)", text);
		return -EINVAL;
	}
	*ret = mib;
	return 0;
}

/* FILE or FILE,ro. A comma is part of the name when something else follows it. */
static int parse_disk(const char *text, struct run_options *o)
{
	_cleanup_free_ char *name = strdup(text), *path = NULL;
	size_t length = name ? strlen(name) : 0;
	bool readonly = length > 3 && strcmp(name + length - 3, ",ro") == 0;

	if (!name)
		return -ENOMEM;
	if (readonly)
		name[length - 3] = '\0';
	if (absolute("--disk", name, &path) < 0)
		return -ENOENT;
	if (!o->disks)
		o->disks = json_array();
	return json_array_append_new(o->disks, json_pack("{s:s, s:b}", "path", path, "readonly", readonly));
}

/* none, tap=INTERFACE, or user followed by ,host and ,forward=... */
static int parse_net(const char *text, struct run_options *o)
{
	_cleanup_free_ char *words = strdup(text);
	json_t *forward = json_array();
	bool host = false, ok = true;
	char *at = words, *word = words ? strsep(&at, ",") : NULL;

	json_decref(o->net);
	o->net = NULL;
	if (word && strncmp(word, "tap=", 4) == 0 && !at) {
		o->net = json_pack("{s:s, s:s}", "kind", "tap", "interface", word + 4);
	} else if (word && strcmp(word, "none") == 0 && !at) {
		o->net = json_string("none");
	} else if (word && strcmp(word, "user") == 0) {
		while ((word = strsep(&at, ",")) != NULL) {
			if (strcmp(word, "host") == 0)
				host = true;
			else if (strncmp(word, "forward=", 8) == 0)
				json_array_append_new(forward, json_string(word + 8));
			else
				ok = false;
		}
		if (ok)
			o->net = json_pack("{s:s, s:b, s:O}", "kind", "user", "host", host, "forward", forward);
	}
	json_decref(forward);
	if (o->net)
		return 0;
	cli_usage(&command_run,
		  "--net takes user, user,host, user,forward=tcp:127.0.0.1:2222:22, tap=INTERFACE or none, "
		  "not '%s'",
		  text);
	return -EINVAL;
}

/* 0, or the exit status after a complaint. */
static int parse(int argc, char **argv, struct run_options *o)
{
	static const struct option longs[] = {
	    {"name", required_argument, NULL, NAME},	   {"kernel", required_argument, NULL, KERNEL},
	    {"initrd", required_argument, NULL, INITRD},   {"cmdline", required_argument, NULL, CMDLINE},
	    {"vcpus", required_argument, NULL, VCPUS},	   {"memory", required_argument, NULL, MEMORY},
	    {"weight", required_argument, NULL, WEIGHT},   {"disk", required_argument, NULL, DISK},
	    {"net", required_argument, NULL, NET},	   {"rng", no_argument, NULL, RNG},
	    {"console", required_argument, NULL, CONSOLE}, {"service", no_argument, NULL, SERVICE},
	    {"attach", no_argument, NULL, ATTACH},	   {NULL, 0, NULL, 0},
	};
	int opt;

	while ((opt = cli_getopt(&command_run, argc, argv, longs)) != -1) {
		int r = 0;

		switch (opt) {
		case NAME:
			o->name = optarg;
			break;
		case KERNEL:
			if (absolute("--kernel", optarg, &o->kernel) < 0)
				return CLI_FAILED;
			break;
		case INITRD:
			if (absolute("--initrd", optarg, &o->initrd) < 0)
				return CLI_FAILED;
			break;
		case CMDLINE:
			o->cmdline = optarg;
			break;
		case VCPUS:
			r = cli_number(&command_run, "--vcpus", optarg, 1, 8, &o->vcpus);
			break;
		case MEMORY:
			r = parse_memory(optarg, &o->memory_mib);
			break;
		case WEIGHT:
			r = cli_number(&command_run, "--weight", optarg, 1, 65536, &o->weight);
			break;
		case DISK:
			if (parse_disk(optarg, o) < 0)
				return CLI_FAILED;
			break;
		case NET:
			r = parse_net(optarg, o);
			break;
		case CONSOLE:
			o->console = optarg;
			break;
		case RNG:
			o->rng = true;
			break;
		case SERVICE:
			o->service = true;
			break;
		case ATTACH:
			o->attach = true;
			break;
		default:
			return CLI_USAGE;
		}
		if (r < 0)
			return CLI_USAGE;
	}
	if (optind < argc)
		return cli_usage(&command_run, "'%s' is no option; did you forget quotes around --cmdline?",
				 argv[optind]);
	if (!o->kernel)
		return cli_usage(&command_run, "--kernel is missing");
	return 0;
}

static int run_run(const struct cli *cli, int argc, char **argv)
{
	_cleanup_(run_options_free) struct run_options o = {.vcpus = 1, .memory_mib = 128, .weight = 256};
	_cleanup_client_ struct client client = CLIENT_NONE;
	_cleanup_free_ char *name = NULL;
	struct error e = {""};
	json_t *params, *reply;
	int r;

	r = parse(argc, argv, &o);
	if (r != 0)
		return r;
	if (client_open(cli->socket, &client, &e) < 0)
		return cli_fail("%s", e.text);
	params = json_pack("{s:s*, s:s, s:s*, s:s*, s:I, s:I, s:I, s:O*, s:O*, s:b, s:s*, s:s}", "name", o.name,
			   "kernel", o.kernel, "initrd", o.initrd, "cmdline", o.cmdline, "vcpus", (json_int_t)o.vcpus,
			   "memory_mib", (json_int_t)o.memory_mib, "weight", (json_int_t)o.weight, "disks", o.disks,
			   "net", o.net, "rng", o.rng, "console", o.console, "role", o.service ? "service" : "guest");
	if (client_call(&client, "vm.create", params, &reply, &e) < 0)
		return cli_fail("%s", e.text);
	name = strdup(member_text(reply, "name", o.name ? o.name : "?"));
	printf("%s: running as VM %" PRId64 "\n", name, member_int(reply, "id", -1));
	json_decref(reply);
	if (!o.attach)
		return 0;
	return stream_console(cli, name, &(struct stream_options){.from_start = true, .until_off = true});
}

const struct command command_run = {
    .name = "run",
    .args = "--kernel FILE [OPTION]...",
    .summary = "Start a VM: a Linux kernel, or a nano guest",
    .details =
	"  --name NAME       what to call it (default: the monitor finds one)\n"
	"  --kernel FILE     bzImage, ELF kernel with a PVH entry, or nano guest\n"
	"  --initrd FILE     initial RAM disk\n"
	"  --cmdline TEXT    kernel command line, or the nano guest's arguments\n"
	"  --vcpus N         1 to 8 (default: 1); may be more than there are pCPUs\n"
	"  --memory SIZE     like 128, 128M or 2G (default: 128M)\n"
	"  --weight N        share in proportion to other VMs, 1 to 65536 (default: 256)\n"
	"  --disk FILE[,ro]  a raw file or block device as a disk (/dev/vda, vdb, ... in order), or read-only\n"
	"  --net KIND        none (default); tap=INTERFACE; or user: a network behind the monitor's own sockets,\n"
	"                    user,host: that also reaches the host's loopback, as 10.0.2.2;\n"
	"                    user,forward=tcp:ADDRESS:PORT:GUESTPORT: a port of the host leads to the guest\n"
	"  --rng             a source of entropy\n"
	"  --console KIND    serial (default), or virtio: a virtio console (hvc0) beside the serial port\n"
	"  --service         the service VM: it may ask for changes of the scheduler\n"
	"  --attach          stay at its console until it powers off; leave with Ctrl-] q\n"
	"\n"
	"Example: baton run --name web --kernel vmlinuz --initrd rd.gz --cmdline 'console=ttyS0' --vcpus 2\n",
    .run = run_run,
};
