/* SPDX-License-Identifier: Apache-2.0 */
#include "place.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define CHANGE_LIMIT_MS 10000

static const struct requester operator= {.kind = REQUESTER_OPERATOR};

const char *place_path(struct report *r, char buf[static PLACE_PATH_MAX], const char *name, const char *hint)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

	self[MAX(n, 0)] = '\0';
	for (int i = 0; i < 2; i++) { /* the program, and its folder bench */
		char *slash = strrchr(self, '/');

		if (slash)
			*slash = '\0';
	}
	if ((size_t)snprintf(buf, PLACE_PATH_MAX, "%s/%s", self, name) >= PLACE_PATH_MAX || access(buf, R_OK) < 0) {
		report_fail(r, "%s is not there; %s", buf, hint);
		exit(1);
	}
	return buf;
}

struct monitor *place_monitor(struct report *r, const struct monitor_config *wishes)
{
	static char images[PLACE_PATH_MAX]; /* the monitor copies it */
	struct monitor_config config = *wishes;
	struct error e = {0};
	struct monitor *m;

	place_path(r, images, "src/policies", "build first (./dev build)");
	config.image_dir = images;
	if (monitor_new(&config, &m, &e) < 0) {
		report_fail(r, "no monitor: %s", e.text);
		exit(1);
	}
	return m;
}

bool place_vm_start(struct report *r, struct monitor *m, const struct place_vm *vm)
{
	json_t *params =
	    json_pack("{s:s, s:s, s:s*, s:s*, s:i, s:I}", "name", vm->name, "kernel", vm->kernel, "initrd", vm->initrd,
		      "cmdline", vm->cmdline, "vcpus", (int)vm->vcpus, "memory_mib", (json_int_t)vm->memory_mib);
	json_t *reply = monitor_request(m, &operator, "vm.create", params);
	bool ok = json_is_true(json_object_get(reply, "ok"));

	if (!ok)
		report_fail(r, "VM %s: %s", vm->name, json_string_value(json_object_get(reply, "error")));
	json_decref(reply);
	json_decref(params);
	return ok;
}

void place_vm_end(struct monitor *m, const char *name)
{
	json_t *params = json_pack("{s:s}", "vm", name);

	json_decref(monitor_request(m, &operator, "vm.destroy", params));
	json_decref(params);
}

struct vm *place_vm_find(struct monitor *m, const char *name)
{
	json_t *key = json_string(name);
	struct vm *vm = vm_find(m, key, NULL);

	json_decref(key);
	return vm;
}

static bool run_change(struct report *r, struct monitor *m, const struct change_spec *spec, struct change_report *ret)
{
	struct error e = {0};
	uint64_t id;

	if (change_queue_add(m->changes, spec, &id, &e) < 0) {
		report_fail(r, "change of %s: %s", spec->name, e.text);
		return false;
	}
	if (change_queue_wait(m->changes, id, CHANGE_LIMIT_MS, ret) < 0 || ret->state != CHANGE_DONE) {
		report_fail(r, "change of %s: %s", spec->name, ret->error[0] ? ret->error : "it does not end");
		return false;
	}
	return true;
}

bool place_change(struct report *r, struct monitor *m, const char *scheduler, const char *image, enum change_how how,
		  struct change_report *ret)
{
	struct change_spec spec = {
	    .kind = CHANGE_LOAD, .how = how, .old = OLD_KEEP, .requester = "bench", .trusted = true};

	*ret = (struct change_report){0};
	(void)snprintf(spec.name, sizeof spec.name, "%s", scheduler);
	(void)snprintf(spec.image, sizeof spec.image, "%s", image ? image : "");
	return run_change(r, m, &spec, ret);
}

bool place_unload(struct report *r, struct monitor *m, const char *scheduler)
{
	struct change_spec spec = {.kind = CHANGE_UNLOAD, .requester = "bench", .trusted = true};
	struct change_report report = {0};

	(void)snprintf(spec.name, sizeof spec.name, "%s", scheduler);
	return run_change(r, m, &spec, &report);
}

bool place_carrier(struct report *r, const char *name, enum carrier_kind *ret)
{
	static const char *const names[] = {
	    [CARRIER_AUTO] = "auto", [CARRIER_WORKER] = "worker", [CARRIER_THREAD] = "thread"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(names[i], name) == 0) {
			*ret = (enum carrier_kind)i;
			return true;
		}
	}
	report_fail(r, "--carrier %s: must be auto, worker or thread", name);
	return false;
}
