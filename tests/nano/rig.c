/* SPDX-License-Identifier: Apache-2.0 */
/* rig.c - see rig.h. */
#include "rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SKIPPED 77
#define LOOK_US 500

static struct {
	int argc;
	char **argv;
	enum activation_way activation;
} arguments;

void rig_arguments(int argc, char **argv)
{
	int fd;

	const char *way = argc < 4 ? NULL : strchr(argv[3], ':');

	if (argc < 4 || (strncmp(argv[3], "worker", 6) != 0 && strncmp(argv[3], "thread", 6) != 0) ||
	    (way && activation_way_from_name(way + 1, &arguments.activation, NULL) < 0)) {
		fprintf(stderr, "usage: %s GUESTS IMAGES worker|thread[:WAY] [MORE...]\n", argv[0]);
		exit(2);
	}
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		fprintf(stderr, "skipped: no /dev/kvm here (%s)\n", strerror(errno));
		exit(SKIPPED);
	}
	close(fd);
	arguments.argc = argc;
	arguments.argv = argv;
	json_object_seed(0);
}

const char *rig_argument(int n)
{
	return 4 + n < arguments.argc ? arguments.argv[4 + n] : "";
}

bool rig_full(void)
{
	const char *full = getenv("BATON_TEST_FULL");

	return full && strcmp(full, "1") == 0;
}

enum carrier_kind rig_carrier(void)
{
	return strncmp(arguments.argv[3], "worker", 6) == 0 ? CARRIER_WORKER : CARRIER_THREAD;
}

/* The first two CPUs of this process, "0,1". */
static unsigned two_cpus(char *buf, size_t size)
{
	cpu_set_t set;
	unsigned found = 0;
	int n = 0;

	assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
		if (CPU_ISSET((size_t)cpu, &set))
			n += snprintf(buf + n, size - (size_t)n, found++ ? ",%d" : "%d", cpu);
	return found;
}

unsigned rig_pcpus(void)
{
	char buf[32];

	return two_cpus(buf, sizeof buf);
}

struct rig rig_new(const struct monitor_config *config)
{
	struct rig r = {.guests = arguments.argv[1], .images = arguments.argv[2]};
	struct monitor_config c = config ? *config : (struct monitor_config){0};
	struct error e = {0};
	char cpus[32];

	r.carrier = rig_carrier();
	two_cpus(cpus, sizeof cpus);
	c.carrier = r.carrier;
	c.activation = arguments.activation;
	c.image_dir = r.images;
	if (!c.pcpus)
		c.pcpus = cpus;
	if (monitor_new(&c, &r.monitor, &e) < 0)
		rig_fail("%s", e.text);
	return r;
}

void rig_free(struct rig *r)
{
	r->monitor = monitor_free(r->monitor);
}

const char *rig_guest(const struct rig *r, const char *kind)
{
	static _Thread_local char path[4096];

	/* The tests' own guest lies beside the tests. */
	snprintf(path, sizeof path, "%s/%s", strcmp(kind, "tester") == 0 ? r->images : r->guests, kind);
	return path;
}

/* ---- requests ---- */

json_t *rig_request(struct rig *r, const char *method, json_t *params)
{
	struct requester operator= {.kind = REQUESTER_OPERATOR};
	json_t *reply = monitor_request(r->monitor, &operator, method, params);

	assert_true(json_is_object(reply) && json_is_boolean(json_object_get(reply, "ok")));
	json_decref(params);
	return reply;
}

static json_t *pack(const char *format, va_list ap)
{
	json_error_t why;
	json_t *params = format ? json_vpack_ex(&why, 0, format, ap) : NULL;

	if (format && !params)
		rig_fail("%s: %s", format, why.text);
	return params;
}

static json_t *must_be_granted(const char *method, json_t *reply)
{
	if (!json_is_true(json_object_get(reply, "ok")))
		rig_fail("%s: %s", method, json_string_value(json_object_get(reply, "error")));
	return reply;
}

json_t *rig_ask(struct rig *r, const char *method, const char *format, ...)
{
	json_t *params;
	va_list ap;

	va_start(ap, format);
	params = pack(format, ap);
	va_end(ap);
	return must_be_granted(method, rig_request(r, method, params));
}

void rig_do(struct rig *r, const char *method, const char *format, ...)
{
	json_t *params;
	va_list ap;

	va_start(ap, format);
	params = pack(format, ap);
	va_end(ap);
	json_decref(must_be_granted(method, rig_request(r, method, params)));
}

void rig_refused(struct rig *r, int code, const char *word, const char *method, const char *format, ...)
{
	const char *error;
	json_t *params, *reply;
	va_list ap;

	va_start(ap, format);
	params = pack(format, ap);
	va_end(ap);
	reply = rig_request(r, method, params);
	error = json_string_value(json_object_get(reply, "error"));
	if (!json_is_false(json_object_get(reply, "ok")) || !error)
		rig_fail("%s was granted, to be refused for %s", method, word);
	if (json_integer_value(json_object_get(reply, "code")) != code || !strstr(error, word) || strchr(error, '\n'))
		rig_fail("%s: %lld, not %d with \"%s\": %s", method,
			 (long long)json_integer_value(json_object_get(reply, "code")), code, word, error);
	json_decref(reply);
}

/* ---- VMs ---- */

void rig_run_weight(struct rig *r, const char *name, const char *kind, unsigned vcpus, const char *words, int weight)
{
	rig_do(r, "vm.create", "{s:s, s:s, s:i, s:i, s:s, s:i}", "name", name, "kernel", rig_guest(r, kind),
	       "memory_mib", 4, "vcpus", (int)vcpus, "cmdline", words, "weight", weight);
}

void rig_run(struct rig *r, const char *name, const char *kind, unsigned vcpus, const char *words)
{
	rig_run_weight(r, name, kind, vcpus, words, 256);
}

json_t *rig_vm(struct rig *r, const char *name)
{
	json_t *list = rig_ask(r, "vm.list", NULL), *vm, *found = NULL;
	size_t i;

	json_array_foreach(json_object_get(list, "vms"), i, vm)
	{
		if (strcmp(json_string_value(json_object_get(vm, "name")), name) == 0)
			found = json_incref(vm);
	}
	json_decref(list);
	return found;
}

static json_t *field_of(struct rig *r, const char *name, const char *field)
{
	json_t *vm = rig_vm(r, name), *value;

	if (!vm)
		rig_fail("VM %s is not listed", name);
	value = json_incref(json_object_get(vm, field));
	json_decref(vm);
	return value;
}

int64_t rig_number(struct rig *r, const char *name, const char *field)
{
	json_t *value = field_of(r, name, field);
	int64_t n = json_integer_value(value);

	if (!json_is_integer(value))
		rig_fail("VM %s has no number %s", name, field);
	json_decref(value);
	return n;
}

bool rig_is(struct rig *r, const char *name, const char *field, const char *text)
{
	json_t *value = field_of(r, name, field);
	bool is = json_is_string(value) && strcmp(json_string_value(value), text) == 0;

	json_decref(value);
	return is;
}

bool rig_true(struct rig *r, const char *name, const char *field)
{
	json_t *value = field_of(r, name, field);
	bool is = json_is_true(value);

	json_decref(value);
	return is;
}

static void tell_and_fail(struct rig *r, const char *name, const char *what)
{
	json_t *vm = rig_vm(r, name);
	char *text = vm ? json_dumps(vm, JSON_INDENT(1)) : NULL;

	print_error("VM %s: waited too long for %s\n%s\n", name, what, text ? text : "(not listed)");
	free(text);
	json_decref(vm);
	fail();
}

void rig_wait_number(struct rig *r, const char *name, const char *field, int64_t least)
{
	uint64_t deadline = clock_now_ns() + RIG_PATIENCE_NS;

	while (rig_number(r, name, field) < least) {
		if (clock_now_ns() > deadline)
			tell_and_fail(r, name, field);
		usleep(LOOK_US);
	}
}

void rig_wait_is(struct rig *r, const char *name, const char *field, const char *text)
{
	uint64_t deadline = clock_now_ns() + RIG_PATIENCE_NS;

	while (!rig_is(r, name, field, text)) {
		if (clock_now_ns() > deadline)
			tell_and_fail(r, name, text);
		usleep(LOOK_US);
	}
}

void rig_must_be_well(struct rig *r, const char *name)
{
	json_t *vm = rig_vm(r, name);

	if (!vm)
		rig_fail("VM %s is not listed", name);
	if (strcmp(json_string_value(json_object_get(vm, "state")), "running") != 0 ||
	    json_integer_value(json_object_get(vm, "heartbeat_holes")) != 0 ||
	    json_is_true(json_object_get(vm, "failed")))
		tell_and_fail(r, name, "being well");
	json_decref(vm);
}

void rig_wait_beats(struct rig *r, const char *name, int64_t n)
{
	rig_wait_number(r, name, "heartbeats", rig_number(r, name, "heartbeats") + n);
	rig_must_be_well(r, name);
}

/* ---- changes ---- */

static bool has_ended(json_t *report)
{
	const char *state = json_string_value(json_object_get(report, "state"));

	return strcmp(state, "done") == 0 || strcmp(state, "refused") == 0;
}

static json_t *wait_change(struct rig *r, json_t *accepted)
{
	json_int_t id = json_integer_value(json_object_get(accepted, "change"));
	uint64_t deadline = clock_now_ns() + RIG_PATIENCE_NS;
	json_t *report;

	json_decref(accepted);
	for (;;) {
		report = rig_ask(r, "sched.change", "{s:I}", "id", id);
		if (has_ended(report))
			return report;
		json_decref(report);
		if (clock_now_ns() > deadline)
			rig_fail("change %lld does not end", (long long)id);
		usleep(100);
	}
}

json_t *rig_change(struct rig *r, const char *method, const char *format, ...)
{
	json_t *params;
	va_list ap;

	va_start(ap, format);
	params = pack(format, ap);
	va_end(ap);
	return wait_change(r, must_be_granted(method, rig_request(r, method, params)));
}

json_t *rig_changed(struct rig *r, const char *method, const char *format, ...)
{
	json_t *params, *report;
	va_list ap;

	va_start(ap, format);
	params = pack(format, ap);
	va_end(ap);
	report = wait_change(r, must_be_granted(method, rig_request(r, method, params)));
	if (strcmp(json_string_value(json_object_get(report, "state")), "done") != 0)
		rig_fail("%s: %s", method, json_string_value(json_object_get(report, "error")));
	return report;
}

const char *rig_active(struct rig *r, char buf[32])
{
	json_t *status = rig_ask(r, "sched.status", NULL);

	snprintf(buf, 32, "%s", json_string_value(json_object_get(status, "active")));
	json_decref(status);
	return buf;
}

/* ---- consoles ---- */

char *rig_wait_output(struct rig *r, const char *name, const char *text)
{
	const size_t size = 256 * 1024;
	uint64_t pos = 0, deadline = clock_now_ns() + RIG_PATIENCE_NS;
	char *buf = calloc(1, size + 1);
	size_t used = 0;

	assert_non_null(buf);
	for (;;) {
		ssize_t n = monitor_console_read(r->monitor, name, &pos, buf + used, size - used);

		assert_true(n >= 0);
		used += (size_t)n;
		if (strstr(buf, text))
			return buf;
		if (clock_now_ns() > deadline || used == size)
			rig_fail("VM %s has not said \"%s\" but: %.2000s", name, text, buf);
		(void)monitor_console_wait(r->monitor, name, pos, 100);
	}
}

/* ---- what this process has ---- */

static unsigned count_entries(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 3; /* ., .. and d's own, or a constant of no matter */
}

unsigned rig_count_fds(void)
{
	return count_entries("/proc/self/fd");
}

unsigned rig_count_threads(void)
{
	return count_entries("/proc/self/task") + 1;
}
