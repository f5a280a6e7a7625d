/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - the monitor's own objects, for src/monitor and src/service.
 *
 * Locks. monitor.lock guards the list of VMs and each vm.host (so that nobody looks at a VM while it goes away); it is
 * held briefly and never while waiting for a run loop, because hypercalls (which are run loops) take it. vm.lock guards
 * what a guest says of itself (heartbeats). vm.life serialises slow operations on one VM (stop, reset, destroy); run loops
 * never take it. Order: vm.life, monitor.lock, then device locks, the pool's lock, vm.lock.
 */
#ifndef MONITOR_INTERNAL_H
#define MONITOR_INTERNAL_H

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "console/console.h"
#include "devices/io_loop.h"
#include "host/host.h"
#include "monitor/monitor.h"
#include "monitor/vm_devices.h"
#include "sched/change_queue.h"
#include "sched/loader/arena.h"

#define VM_NAME_MAX 64

enum vm_state { VM_RUNNING, VM_PAUSED, VM_OFF, VM_CRASHED };

/* What a guest says of itself by HEARTBEAT and FAILED. */
struct vm_pulse {
	uint64_t beats;	       /* heartbeats received since the last boot */
	uint64_t holes;	       /* sequence numbers that never came */
	uint64_t next_seq;     /* expected next */
	uint64_t guest_ns;     /* guest's clock at the last one */
	uint64_t host_ns;      /* ours */
	uint64_t gap_guest_ns; /* longest between two, by either clock */
	uint64_t gap_host_ns;
	uint64_t datum;
	bool failed;
	uint64_t failed_reason;
};

struct vm {
	struct monitor *monitor;
	uint32_t id; /* its place in the list + 1 */
	_Atomic uint32_t refs;
	char name[VM_NAME_MAX];
	bool service;
	bool nano;
	unsigned vcpus;
	uint64_t mem_bytes;
	uint64_t created_ns;
	struct console *console;
	struct log_limit log_limit; /* of what this guest can cause */

	pthread_mutex_t life;
	struct vm_devices devices; /* life */
	struct host_vm *host;	   /* monitor.lock; NULL once it is off */
	enum vm_state state;	   /* monitor.lock */
	int exit_status;	   /* monitor.lock */
	uint64_t boots;		   /* monitor.lock */
	struct pool_times total;   /* monitor.lock; of all vCPUs, once host is NULL */
	char reason[200];	   /* monitor.lock; why it is off */
	bool dead;		   /* monitor.lock; destroyed: only references keep it */

	struct lock lock;
	struct vm_pulse pulse GUARDED_BY(lock);

	_Atomic int ended; /* enum vcpu_next that waits for the keeper; -1 none */
};

struct monitor {
	int kvm_fd;
	struct host *host;
	struct io_loop *io_loop; /* works for the devices of all VMs */
	struct pool *pool;
	struct arena *arena;
	struct supply *supply;
	struct change_queue *changes;
	char *image_dir;
	uint32_t max_vms;

	struct lock lock;
	struct vm **vms GUARDED_BY(lock); /* max_vms places */
	_Atomic bool shutdown;

	pthread_t keeper; /* keeper.c */
	_Atomic uint32_t keeper_word;
	_Atomic bool keeper_stop;
};

/* vm.c. All but vm_ref/unref: any thread but a run loop. */
int vm_create(struct monitor *m, json_t *params, struct vm **ret, struct error *e);
struct vm *vm_find(struct monitor *m, json_t *id_or_name, struct error *e); /* a reference, or NULL */
struct vm *vm_unref(struct vm *vm);
void vm_off(struct vm *vm, enum vm_state state, const char *reason); /* stop for good, keep the entry */
int vm_pause(struct vm *vm, struct error *e);
int vm_resume(struct vm *vm, struct error *e);
void vm_reset(struct vm *vm);
void vm_destroy(struct vm *vm); /* stop and forget */
json_t *vm_describe(struct monitor *m, struct vm *vm) REQUIRES(m->lock);
json_t *vm_registers(struct vm *vm); /* a text per vCPU */
void vm_pump_input(struct vm *vm);   /* console input on its way to the UART */

/* keeper.c: the thread that finishes what run loops may not wait for. */
int keeper_start(struct monitor *m, struct error *e);
void keeper_stop(struct monitor *m);
void keeper_wake(struct monitor *m);

/* requests.c, sched_requests.c: methods of monitor_request. */
json_t *request_sched_status(struct monitor *m, const struct requester *who, json_t *params);
json_t *request_sched_load(struct monitor *m, const struct requester *who, json_t *params);
json_t *request_sched_default(struct monitor *m, const struct requester *who, json_t *params);
json_t *request_sched_unload(struct monitor *m, const struct requester *who, json_t *params);
json_t *request_sched_set(struct monitor *m, const struct requester *who, json_t *params);
json_t *request_sched_change(struct monitor *m, const struct requester *who, json_t *params);
json_t *request_sched_trace(struct monitor *m, const struct requester *who, json_t *params);
json_t *request_sched_history(struct monitor *m, const struct requester *who, json_t *params);

/* A wish of a VM by its name (a field of struct baton_vm): pointer and range; NULL without such a wish. */
struct wish {
	const char *name;
	uint64_t min, max;
};
const struct wish *wish_find(const char *name);
void wish_put(struct baton_vm *wishes, const struct wish *w, uint64_t value);

/* {"ok": true}, to which the caller adds. */
json_t *reply_ok(void);
json_t *reply_from(int code, const struct error *e);

/* service/hypercall.c */
enum vcpu_next hypercall_dispatch(void *vm, struct vcpu *v, uint32_t pool_vcpu, struct hypercall *call);

#endif
