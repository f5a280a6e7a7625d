/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batond.c - the monitor's program: options, start, wait for the end, stop.
 *
 * Start order: the socket is claimed first (cheap, and says so when another monitor has it), then the monitor is made,
 * then clients are served; those that came earlier wait in the socket's backlog. The end comes by SIGINT, SIGTERM or
 * the method "shutdown" and takes the same steps back. A second signal ends the process at once: the socket it leaves
 * behind is stale and the next monitor replaces it.
 */
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/log.h"
#include "control/path.h"
#include "control/server.h"
#include "sched/loader/announce.h"

enum { EXIT_USAGE = 2 };

struct options {
	struct monitor_config monitor;
	char socket[256];
	const char *cache, *state; /* as given; NULL: the default */
	char cache_dir[PATH_MAX], state_dir[PATH_MAX];
	bool perf_map, verbose;
};

static const char help[] =
    "Usage: batond [OPTION]...\n"
    "Hosts virtual machines and schedules them on this host's CPUs. 'baton' is its remote control.\n"
    "\n"
    "  --socket PATH      control socket (default: $BATON_SOCKET, $XDG_RUNTIME_DIR/baton/control.sock,\n"
    "                     or /run/baton/control.sock)\n"
    "  --images DIR       where scheduler images named file:NAME are looked for (default: .)\n"
    "  --image-server URL or DIR   where images named NAME@VERSION come from (docs/images.md)\n"
    "  --image-ca FILE    certificates (PEM) to trust instead of the system's when images are fetched\n"
    "  --cache DIR        keeps fetched images (default: $CACHE_DIRECTORY, $XDG_CACHE_HOME/baton or ~/.cache/baton;\n"
    "                     none: keep nothing)\n"
    "  --state DIR        keeps minimum versions (default: $STATE_DIRECTORY, $XDG_STATE_HOME/baton or\n"
    "                     ~/.local/state/baton; none: forget them at the end)\n"
    "  --trusted-keys DIR public keys: from then on only images signed by one of them are loaded\n"
    "  --signatures RULE  auto (as said above; default), required or optional\n"
    "  --pcpus LIST       host CPUs to schedule, like 0-1 or 0,2 (default: all this process may use)\n"
    "  --carrier KIND     auto, worker (one thread per pCPU) or thread (one thread per vCPU); default: auto,\n"
    "                     which measures what moving a vCPU between threads costs\n"
    "  --activation WAY   how requests find the active scheduler: identifier (default), array, pointer or patched\n"
    "  --fifo             run the pCPU threads under SCHED_FIFO\n"
    "  --slice-us N       slice of the default scheduler in microseconds\n"
    "  --arena-slots N    scheduler images that fit at once (default: 4)\n"
    "  --max-vms N        VMs at once (default: 64)\n"
    "  --kvm PATH         KVM device (default: /dev/kvm)\n"
    "  --perf-map         keep /tmp/perf-PID.map, so that perf names the functions of images\n"
    "  --verbose          say more\n"
    "  --help, --version\n"
    "\n"
    "Example: batond --images build/src/policies --verbose\n";

/* A whole number in min .. max; complains by itself. */
static int parse_number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *text == '-' || n < min || n > max) {
		log_error("--%s %s: not a whole number from %llu to %llu; see batond --help", option, text,
			  (unsigned long long)min, (unsigned long long)max);
		return -EINVAL;
	}
	*ret = n;
	return 0;
}

static int parse_carrier(const char *text, enum carrier_kind *ret)
{
	static const char *const names[] = {
	    [CARRIER_AUTO] = "auto",
	    [CARRIER_WORKER] = "worker",
	    [CARRIER_THREAD] = "thread",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum carrier_kind)i;
			return 0;
		}
	}
	log_error("--carrier %s: must be auto, worker or thread; see batond --help", text);
	return -EINVAL;
}

static int parse_signatures(const char *text, enum supply_signatures *ret)
{
	static const char *const names[] = {
	    [SIGNATURES_AUTO] = "auto",
	    [SIGNATURES_REQUIRED] = "required",
	    [SIGNATURES_OPTIONAL] = "optional",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum supply_signatures)i;
			return 0;
		}
	}
	log_error("--signatures %s: must be auto, required or optional; see batond --help", text);
	return -EINVAL;
}

/*
 * The directory for what is kept: the one that was given ("none": NULL), the service manager's, the user's. NULL, too,
 * where there is no home.
 */
static const char *choose_dir(const char *given, const char *service, const char *xdg, const char *below_home,
			      char *buf, size_t size)
{
	const char *home = getenv("HOME"), *base;
	int n = 0;

	if (given)
		return strcmp(given, "none") == 0 ? NULL : given;
	base = getenv(service);
	if (base && *base == '/')
		n = snprintf(buf, size, "%s", base);
	else if ((base = getenv(xdg)) && *base == '/')
		n = snprintf(buf, size, "%s/baton", base);
	else if (home && *home == '/')
		n = snprintf(buf, size, "%s/%s/baton", home, below_home);
	return n > 0 && (size_t)n < size ? buf : NULL;
}

/* 1: go on; 0: everything was said (help, version); -EINVAL: wrong usage, and complained. */
static int parse_options(int argc, char **argv, struct options *o)
{
	enum {
		SOCKET = 256,
		IMAGES,
		SERVER,
		CA,
		CACHE,
		STATE,
		KEYS,
		SIGNATURES,
		PCPUS,
		CARRIER,
		ACTIVATION,
		FIFO,
		SLICE,
		SLOTS,
		VMS,
		KVM,
		PERF_MAP,
		VERBOSE,
		HELP,
		VERSION
	};
	static const struct option longs[] = {
	    {"socket", required_argument, NULL, SOCKET},
	    {"images", required_argument, NULL, IMAGES},
	    {"image-server", required_argument, NULL, SERVER},
	    {"image-ca", required_argument, NULL, CA},
	    {"cache", required_argument, NULL, CACHE},
	    {"state", required_argument, NULL, STATE},
	    {"trusted-keys", required_argument, NULL, KEYS},
	    {"signatures", required_argument, NULL, SIGNATURES},
	    {"pcpus", required_argument, NULL, PCPUS},
	    {"carrier", required_argument, NULL, CARRIER},
	    {"activation", required_argument, NULL, ACTIVATION},
	    {"fifo", no_argument, NULL, FIFO},
	    {"slice-us", required_argument, NULL, SLICE},
	    {"arena-slots", required_argument, NULL, SLOTS},
	    {"max-vms", required_argument, NULL, VMS},
	    {"kvm", required_argument, NULL, KVM},
	    {"perf-map", no_argument, NULL, PERF_MAP},
	    {"verbose", no_argument, NULL, VERBOSE},
	    {"help", no_argument, NULL, HELP},
	    {"version", no_argument, NULL, VERSION},
	    {NULL, 0, NULL, 0},
	};
	struct error e = {""};
	uint64_t n;
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case SOCKET:
			if (strlen(optarg) >= sizeof o->socket) {
				log_error("--socket: the path is too long; give a shorter one");
				return -EINVAL;
			}
			strcpy(o->socket, optarg);
			break;
		case IMAGES:
			o->monitor.image_dir = optarg;
			break;
		case SERVER:
			o->monitor.supply.image_server = optarg;
			break;
		case CA:
			o->monitor.supply.image_ca = optarg;
			break;
		case CACHE:
			o->cache = optarg;
			break;
		case STATE:
			o->state = optarg;
			break;
		case KEYS:
			o->monitor.supply.trusted_keys = optarg;
			break;
		case SIGNATURES:
			if (parse_signatures(optarg, &o->monitor.supply.signatures) < 0)
				return -EINVAL;
			break;
		case PCPUS:
			o->monitor.pcpus = optarg;
			break;
		case CARRIER:
			if (parse_carrier(optarg, &o->monitor.carrier) < 0)
				return -EINVAL;
			break;
		case ACTIVATION:
			if (activation_way_from_name(optarg, &o->monitor.activation, &e) < 0) {
				log_error("--activation: %s; see batond --help", e.text);
				return -EINVAL;
			}
			break;
		case FIFO:
			o->monitor.fifo = true;
			break;
		case SLICE:
			if (parse_number("slice-us", optarg, 1, 10 * 1000 * 1000, &o->monitor.slice_us) < 0)
				return -EINVAL;
			break;
		case SLOTS:
			if (parse_number("arena-slots", optarg, 1, 64, &n) < 0)
				return -EINVAL;
			o->monitor.arena_slots = (uint32_t)n;
			break;
		case VMS:
			if (parse_number("max-vms", optarg, 1, 4096, &n) < 0)
				return -EINVAL;
			o->monitor.max_vms = (uint32_t)n;
			break;
		case KVM:
			o->monitor.kvm_path = optarg;
			break;
		case PERF_MAP:
			o->perf_map = true;
			break;
		case VERBOSE:
			o->verbose = true;
			break;
		case HELP:
			fputs(help, stdout);
			return 0;
		case VERSION:
			puts("batond " BATON_VERSION);
			return 0;
		default:
			fputs("Try 'batond --help'.\n", stderr);
			return -EINVAL;
		}
	}
	if (optind < argc) {
		log_error("%s: batond takes options only; try 'batond --help'", argv[optind]);
		return -EINVAL;
	}
	return 1;
}

/* Tells a service manager that we are ready (man sd_notify); no manager, no message. */
static void notify_ready(void)
{
	static const char message[] = "READY=1";
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;
	size_t len;

	if (!path || (*path != '/' && *path != '@'))
		return;
	len = strlen(path);
	if (len >= sizeof address.sun_path)
		return;
	memcpy(address.sun_path, path, len);
	if (*path == '@') /* an abstract name */
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, message, sizeof message - 1, MSG_NOSIGNAL, (const struct sockaddr *)&address,
			     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_warning("cannot notify the service manager at %s: %s", path, strerror(errno));
}

/* Until a signal or a client ends it. */
static void wait_for_end(int signals, int asked)
{
	struct pollfd p[] = {{.fd = signals, .events = POLLIN}, {.fd = asked, .events = POLLIN}};
	struct signalfd_siginfo info;

	while (poll(p, ARRAY_SIZE(p), -1) < 0)
		;
	if (p[0].revents && read(signals, &info, sizeof info) == sizeof info)
		log_info("signal %u (%s): stopping all VMs", info.ssi_signo, strsignal((int)info.ssi_signo));
	else
		log_info("shutdown was asked for: stopping all VMs");
}

static int run(const struct options *o, const sigset_t *ends, struct error *e)
{
	_cleanup_close_ int signals = signalfd(-1, ends, SFD_CLOEXEC);
	struct listener *listener = NULL;
	struct control *control = NULL;
	struct monitor *monitor = NULL;
	int r;

	if (signals < 0)
		return error_set(e, -errno, "signalfd: %s", strerror(errno));
	r = listener_open(o->socket, &listener, e);
	if (r < 0)
		return r;
	r = monitor_new(&o->monitor, &monitor, e);
	if (r < 0)
		goto out;
	r = control_start(monitor, listener, NULL, &control, e);
	if (r < 0)
		goto out;
	log_info("ready: control socket %s", listener_path(listener));
	notify_ready();
	wait_for_end(signals, control_shutdown_fd(control));
	pthread_sigmask(SIG_UNBLOCK, ends, NULL); /* whoever is impatient gets the default action now */
	r = 0;
out:
	control_stop(control);
	monitor_free(monitor);
	listener_close(listener);
	return r;
}

int main(int argc, char **argv)
{
	struct options o = {.monitor = {.kvm_path = "/dev/kvm", .image_dir = "."}};
	struct error e = {""};
	sigset_t ends;
	int r;

	log_setup("batond", LOG_INFO);
	r = parse_options(argc, argv, &o);
	if (r <= 0)
		return r == 0 ? EXIT_SUCCESS : EXIT_USAGE;
	log_setup("batond", o.verbose ? LOG_DEBUG : LOG_INFO);
	if (!o.socket[0] && control_default_path(o.socket, sizeof o.socket, &e) < 0) {
		log_error("%s", e.text);
		return EXIT_FAILURE;
	}
	o.monitor.supply.cache_dir =
	    choose_dir(o.cache, "CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache", o.cache_dir, sizeof o.cache_dir);
	o.monitor.supply.state_dir =
	    choose_dir(o.state, "STATE_DIRECTORY", "XDG_STATE_HOME", ".local/state", o.state_dir, sizeof o.state_dir);
	json_object_seed(0); /* before there are threads that make objects */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ends, NULL); /* every later thread inherits it: only the signalfd hears them */
	r = o.perf_map ? announce_perf_map(&e) : 0;
	if (r >= 0)
		r = run(&o, &ends, &e);
	if (r < 0) {
		log_error("%s", e.text[0] ? e.text : strerror(-r));
		return EXIT_FAILURE;
	}
	log_info("stopped");
	return EXIT_SUCCESS;
}
