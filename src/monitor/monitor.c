/* SPDX-License-Identifier: Apache-2.0 */
/* monitor.c - life of the monitor, and the consoles of its VMs for faces that stream. */
#include "monitor/monitor.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "host/probe.h"
#include "monitor/internal.h"
#include "policies/builtin.h"

#define ARENA_SLOTS_DEFAULT 4
#define VMS_DEFAULT	    64

/* "0-1,3" -> {0, 1, 3}; NULL -> all this process may use. Each must be one of those. */
static int parse_cpus(const char *text, struct host_config *c, struct error *e)
{
	cpu_set_t allowed;
	const char *s = text;

	CPU_ZERO(&allowed);
	if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
		return error_set(e, -errno, "cannot find out the CPUs of this process: %s", strerror(errno));
	if (!text) {
		for (int cpu = 0; cpu < CPU_SETSIZE && c->cpu_count < HOST_PCPUS_MAX; cpu++)
			if (CPU_ISSET((size_t)cpu, &allowed))
				c->cpus[c->cpu_count++] = cpu;
		return 0;
	}
	while (*s) {
		char *end;
		long first = strtol(s, &end, 10), last = first;

		if (end == s)
			goto bad;
		if (*end == '-') {
			s = end + 1;
			last = strtol(s, &end, 10);
			if (end == s)
				goto bad;
		}
		if (first < 0 || last < first || last >= CPU_SETSIZE || (*end != ',' && *end != '\0'))
			goto bad;
		for (long cpu = first; cpu <= last; cpu++) {
			if (!CPU_ISSET((size_t)cpu, &allowed))
				return error_set(e, -EINVAL,
						 "CPU %ld is not there or not allowed for this process; see `nproc`",
						 cpu);
			for (uint32_t i = 0; i < c->cpu_count; i++)
				if (c->cpus[i] == cpu)
					goto bad;
			if (c->cpu_count == HOST_PCPUS_MAX)
				goto bad;
			c->cpus[c->cpu_count++] = (int)cpu;
		}
		s = *end ? end + 1 : end;
	}
	if (c->cpu_count > 0)
		return 0;
bad:
	return error_set(e, -EINVAL, "--pcpus takes a list of different CPUs such as 0-1 or 0,2, not \"%.64s\"", text);
}

static int set_slice(struct monitor *m, uint64_t slice_us, struct error *e) NO_TSA
{
	uint64_t now = pool_enter(m->pool);
	int r = attached_set(m->pool->attached[0], BATON_NONE, "slice_us", (int64_t)slice_us, now, e);

	pool_leave(m->pool);
	return r;
}

static int start_host(struct monitor *m, const struct monitor_config *config, struct error *e)
{
	struct host_config host = {
	    .kvm_fd = m->kvm_fd,
	    .carrier = config->carrier,
	    .activation = config->activation,
	    .fifo = config->fifo,
	    .vm_slots = m->max_vms,
	    .vcpu_slots = m->max_vms * MACHINE_VCPUS_MAX,
	    .default_scheduler = &baton_scheduler_rr,
	    .io_loop = m->io_loop,
	};
	struct probe_result probe;
	int r;

	r = parse_cpus(config->pcpus, &host, e);
	if (r < 0)
		return r;
	r = probe_host(&probe, e);
	if (r < 0)
		return r;
	host.migration_ns = (uint64_t)(probe.migration_us * 1e3);
	host.thread_move_ns = (uint64_t)(probe.thread_move_us * 1e3);
	r = host_new(&host, &m->host, e);
	if (r < 0)
		return r;
	m->pool = host_pool(m->host);
	log_info("%u pCPUs, carrier %s (a vCPU that changes threads costs %.0f us), ring 0 %s", host.cpu_count,
		 host_carrier_name(m->host), probe.migration_us,
		 probe.runs_linux ? "at speed: Linux guests run" : "emulated: nano guests only");
	return config->slice_us ? set_slice(m, config->slice_us, e) : 0;
}

int monitor_new(const struct monitor_config *config, struct monitor **ret, struct error *e) NO_TSA
{
	const char *kvm = config->kvm_path ? config->kvm_path : "/dev/kvm";
	struct monitor *m = calloc(1, sizeof *m);
	int r = 0;

	if (!m)
		return error_set(e, -ENOMEM, "no memory for the monitor");
	lock_init(&m->lock);
	m->max_vms = config->max_vms ? config->max_vms : VMS_DEFAULT;
	m->kvm_fd = open(kvm, O_RDWR | O_CLOEXEC);
	if (m->kvm_fd < 0)
		r = error_set(e, -errno, "cannot open %s: %s; `baton doctor` says what is missing", kvm,
			      strerror(errno));
	else if (ioctl(m->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		r = error_set(e, -ENODEV, "%s is no KVM device; `baton doctor` says what is missing", kvm);
	m->vms = calloc(m->max_vms, sizeof *m->vms);
	m->image_dir = config->image_dir ? strdup(config->image_dir) : NULL;
	if (r >= 0 && (!m->vms || (config->image_dir && !m->image_dir)))
		r = error_set(e, -ENOMEM, "no memory for the monitor");
	if (r >= 0)
		r = arena_new(config->arena_slots ? config->arena_slots : ARENA_SLOTS_DEFAULT, &m->arena, e);
	if (r >= 0)
		r = io_loop_new(&m->io_loop, e);
	if (r >= 0)
		r = start_host(m, config, e);
	if (r >= 0)
		r = supply_new(&config->supply, m->image_dir, &m->supply, e);
	if (r >= 0)
		r = change_queue_new(&(struct changer){.pool = m->pool,
						       .arena = m->arena,
						       .image_dir = m->image_dir,
						       .supply = supply_interface(m->supply)},
				     &m->changes, e);
	if (r >= 0) {
		r = keeper_start(m, e);
		if (r < 0)
			m->changes = change_queue_free(m->changes);
	}
	if (r < 0) {
		supply_free(m->supply);
		host_free(m->host);
		io_loop_free(m->io_loop);
		arena_free(m->arena);
		free(m->vms);
		free(m->image_dir);
		close_fd(m->kvm_fd);
		lock_destroy(&m->lock);
		free(m);
		return r;
	}
	*ret = m;
	return 0;
}

struct monitor *monitor_free(struct monitor *m) NO_TSA
{
	if (!m)
		return NULL;
	keeper_stop(m);
	for (uint32_t i = 0; i < m->max_vms; i++) {
		struct vm *vm = m->vms[i];

		if (!vm)
			continue;
		atomic_fetch_add(&vm->refs, 1);
		vm_destroy(vm);
		vm_unref(vm);
	}
	change_queue_free(m->changes);
	supply_free(m->supply);
	host_free(m->host);
	io_loop_free(m->io_loop);
	arena_free(m->arena);
	free(m->vms);
	free(m->image_dir);
	close_fd(m->kvm_fd);
	lock_destroy(&m->lock);
	free(m);
	return NULL;
}

bool monitor_shutdown_requested(struct monitor *m)
{
	return atomic_load(&m->shutdown);
}

/* ---- consoles ---- */

/* A reference to the console of the VM with this name or number. */
static struct console *console_of(struct monitor *m, const char *name, struct vm **ret_vm)
{
	json_t *key = json_string(name);
	char *end;
	long id = strtol(name, &end, 10);
	struct vm *vm = vm_find(m, key, NULL);
	struct console *c = NULL;

	json_decref(key);
	if (!vm && *name && !*end) {
		key = json_integer(id);
		vm = vm_find(m, key, NULL);
		json_decref(key);
	}
	if (vm)
		c = console_ref(vm->console);
	if (ret_vm)
		*ret_vm = vm;
	else
		vm_unref(vm);
	return c;
}

ssize_t monitor_console_read(struct monitor *m, const char *vm, uint64_t *pos, void *buf, size_t size)
{
	struct console *c = console_of(m, vm, NULL);
	ssize_t n;

	if (!c)
		return -ENOENT;
	n = (ssize_t)console_read(c, pos, buf, size);
	console_unref(c);
	return n;
}

int monitor_console_wait(struct monitor *m, const char *vm, uint64_t pos, int timeout_ms)
{
	struct console *c = console_of(m, vm, NULL);
	int r;

	if (!c)
		return -ENOENT;
	r = console_wait(c, pos, timeout_ms);
	console_unref(c);
	return r;
}

/* A nano guest that sleeps until an event has one now. */
static void tell_input(struct vm *vm)
{
	lock_take(&vm->monitor->lock);
	if (vm->host)
		for (unsigned i = 0; i < vm->vcpus; i++)
			vcpu_event(machine_vcpu(host_vm_machine(vm->host), i));
	lock_drop(&vm->monitor->lock);
}

ssize_t monitor_console_input(struct monitor *m, const char *name, const void *data, size_t size)
{
	struct vm *vm;
	struct console *c = console_of(m, name, &vm);
	size_t taken;

	if (!c)
		return -ENOENT;
	taken = console_input_push(c, data, size);
	if (vm->nano)
		tell_input(vm);
	else
		keeper_wake(m);
	console_unref(c);
	vm_unref(vm);
	return (ssize_t)taken;
}
