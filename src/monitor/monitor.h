/* SPDX-License-Identifier: Apache-2.0 */
/*
 * monitor.h - the monitor as its faces see it: VMs that live on a host, and the one door for requests.
 *
 * A face (control socket, hypercall, later HTTP) hands a request in as a method name and a JSON object, says who asks,
 * and gets a JSON object back. So a request is parsed once and means the same wherever it comes from.
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include <jansson.h>

#include "base/base.h"

struct monitor;

#include "host/host.h" /* enum carrier_kind */
#include "monitor/supply.h"

struct monitor_config {
	const char *kvm_path;  /* /dev/kvm */
	const char *image_dir; /* where `file:NAME` images of the service VM are looked for */
	const char *pcpus;     /* host CPUs to schedule, "0-1" or "0,2"; NULL = all this process may use */
	enum carrier_kind carrier;
	enum activation_way activation; /* how requests find the active scheduler (docs/activation.md) */
	bool fifo;			/* workers under SCHED_FIFO */
	uint32_t arena_slots;		/* images that fit at once; 0 = default (4) */
	uint32_t max_vms;		/* 0 = default (64) */
	uint64_t slice_us;		/* default scheduler's slice; 0 = its own default */
	struct supply_config supply;	/* where images come from, and who vouches for them */
};

int monitor_new(const struct monitor_config *config, struct monitor **ret, struct error *e);
/* Stops all VMs, joins all threads. */
struct monitor *monitor_free(struct monitor *m);

/* Who asks. Decides what is allowed: the operator may do anything, a VM only what its role allows. */
struct requester {
	enum { REQUESTER_OPERATOR, REQUESTER_VM } kind;
	uint32_t vm; /* for REQUESTER_VM: its id */
	bool service;
};

/*
 * monitor_request() - the one door. Thread: any but a pCPU's carrier when the method may block (methods marked [slow]
 * below are refused with -EWOULDBLOCK for REQUESTER_VM... none of them is open to VMs).
 *
 * Returns the reply, always an object the caller owns: {"ok": true, ...} or {"ok": false, "error": "text with cause and
 * next step", "code": errno}. params may be NULL; it is only borrowed.
 *
 * Methods (O operator, S service VM):
 *	version			O S	{name, version, abi}
 *	vm.create [slow]	O	{name, kernel, initrd, cmdline, vcpus, memory_mib, weight, role: "service"|"guest"} -> {id, name}
 *	vm.list			O S	{vms: [{id, name, role, state, vcpus, memory_mib, weight, run_ns, wait_ns, blocked_ns,
 *					 heartbeats, heartbeat_gap_ms, heartbeat_gap_host_ms, datum, exit_status, reason, boots,
 *					 console_owner, vcpu: [{index, state, pcpu, run_ns, wait_ns, blocked_ns, starts}]}],
 *					 pcpus: [{id, cpu, running, owner, busy_ns, idle_ns, other_ns, wall_ns}], carrier, migration_ns}
 *	vm.stop [slow]		O	{vm: id or name} power off now
 *	vm.destroy [slow]	O	{vm} stop and forget
 *	vm.pause, vm.resume	O	{vm}
 *	vm.registers [slow]	O	{vm} -> {vcpus: [text]}
 *	sched.status		O S	{active, default, activation, schedulers: [{id, name, version, image, role, loaded, note}], change: {...} or null,
 *					 decisions, changes, slots_free}
 *	sched.load		O S	{name, image, params: {}, how: "live"|"cease", old: "keep"|"unload-before"|"unload-after",
 *					 older: true (O)} -> {change: id}: accepted; sched.change tells how it goes on
 *	upload.begin		  S	{size, digest} -> {image, piece_max}; the pieces: include/baton/guest.h
 *	upload.end		  S	-> {image}: the upload is whole, sched.load takes it
 *	sched.default		O S	{how} -> {change: id}
 *	sched.unload		O S	{name} -> {change: id}
 *	sched.set		O S	{parameter, value, vm (for a VM's parameter)}
 *	sched.change		O S	{id} -> {id, state: "queued"|"running"|"done"|"refused", phase, from, to, how, requester,
 *					 blackout_ns, blackout_per_pcpu_ns: [...], error}
 *	sched.history		O S	{changes: [as above]}
 *	sched.trace		O	{last} -> {records: [{ns (relative to now), event, vcpu, pcpu, a, b}]} (src/trace/ring.h)
 *	console.owner		O S	{vm} or {} to ask
 *	console.resize		O	{vm, columns, rows}
 *	shutdown		O	stop everything
 */
json_t *monitor_request(struct monitor *m, const struct requester *who, const char *method, json_t *params);

/* {"ok": false, ...} with the given errno (positive) and text. */
json_t *reply_error(int code, const char *fmt, ...) _printf_(2, 3);

/*
 * Console of a VM, for faces that stream. [any thread but a carrier]
 * monitor_console_read copies output from absolute position *pos on (0 = the oldest kept; a position that has been
 * overwritten moves up) into buf, advances *pos, and returns the bytes, 0 when there is nothing new, -ENOENT without such
 * a VM. monitor_console_wait blocks until there is something beyond pos, or timeout_ms passed. monitor_console_input
 * returns the bytes taken.
 */
ssize_t monitor_console_read(struct monitor *m, const char *vm, uint64_t *pos, void *buf, size_t size);
int monitor_console_wait(struct monitor *m, const char *vm, uint64_t pos, int timeout_ms);
ssize_t monitor_console_input(struct monitor *m, const char *vm, const void *data, size_t size);

/* True once "shutdown" was asked for; wakes monitor_wait_shutdown. */
bool monitor_shutdown_requested(struct monitor *m);

#endif
