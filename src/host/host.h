/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h - host #1: pCPUs whose run loops carry vCPUs into KVM, under one pool.
 *
 *	pool (sched/)  <--- asks, events ---  run loop (loop.c)  --- prepare, run, exit --->  machine/
 *	     \--- kick --------------------->/      ^
 *	                                     carrier.h: which thread is the run loop of a pCPU right now
 *
 * There is one run loop per pCPU. Two carriers can bring it to life: `worker` (one pinned thread per pCPU runs vCPUs of
 * any VM in turn) and `thread` (each vCPU has its own thread, and the pCPU is handed from thread to thread by futex). The
 * first is the cheaper switch; the second avoids what KVM charges before kernel 6.13 when a vCPU changes threads.
 *
 * Ceasing brings the devices to rest, too: host_flush parks the I/O loop, has consoles flushed and every device checked, and
 * the loop stays parked until everything goes on.
 *
 * Locks: the pool's lock guards the states of vCPUs and the timers of pCPUs that wait (struct host_pcpu.timers). Order:
 * device locks, then the pool's lock, never the other way: so nothing under the pool's lock calls into a machine, except
 * vcpu_pending, vcpu_deadline and vcpu_fire_timers, which take no lock.
 */
#ifndef HOST_HOST_H
#define HOST_HOST_H

#include "base/base.h"
#include "machine/machine.h"
#include "sched/pool.h"

#define HOST_PCPUS_MAX 64

enum carrier_kind { CARRIER_AUTO, CARRIER_WORKER, CARRIER_THREAD };

struct host;
struct host_vm;

struct host_config {
	int kvm_fd;		  /* borrowed */
	int cpus[HOST_PCPUS_MAX]; /* the host CPUs that become pCPUs 0, 1, ... */
	uint32_t cpu_count;
	enum carrier_kind carrier; /* AUTO: by migration_ns */
	uint64_t migration_ns;	   /* measured: moving a vCPU to another thread (probe.h) */
	uint64_t thread_move_ns;   /* measured: moving a thread to another CPU (probe.h) */
	bool fifo;		   /* carriers under SCHED_FIFO */
	uint32_t vm_slots, vcpu_slots;
	struct io_loop *io_loop;	/* works for the devices of all VMs; borrowed; NULL: there are no devices */
	enum activation_way activation; /* how requests find the active scheduler */
	const struct baton_scheduler *default_scheduler;
};

/* Pool, run loops and their threads. */
int host_new(const struct host_config *config, struct host **ret, struct error *e);
/* All VMs must have been removed. */
struct host *host_free(struct host *h);
struct pool *host_pool(struct host *h);
const char *host_carrier_name(const struct host *h);
int host_cpu(const struct host *h, uint32_t pcpu);

/* What a VM's owner is told. ctx is that of host_vm_new. */
struct host_vm_ops {
	void (*console_out)(void *ctx, const void *data, size_t size); /* run loop; must not block */
	enum vcpu_next (*hypercall)(void *ctx, struct vcpu *v, uint32_t pool_vcpu,
				    struct hypercall *call); /* run loop */
	/* The VM came to an end of its own: VCPU_RESET, VCPU_POWER_OFF or VCPU_CRASHED. Its vCPUs are paused already and
	 * come to rest soon. Run loop; must not block. */
	void (*ended)(void *ctx, enum vcpu_next how);
};

/* A VM of this host: machine, place in the pool, vCPUs. Paused at first: host_vm_resume starts it. wishes: weight etc. */
int host_vm_new(struct host *h, const struct machine_config *machine, const struct baton_vm *wishes,
		const struct host_vm_ops *ops, void *ctx, struct host_vm **ret, struct error *e);
/* Pauses it, waits until it is at rest, and takes it out of the pool. */
struct host_vm *host_vm_free(struct host_vm *vm);

struct machine *host_vm_machine(struct host_vm *vm);
uint32_t host_vm_id(const struct host_vm *vm); /* its number in the pool */
unsigned host_vm_vcpus(const struct host_vm *vm);
uint32_t host_vm_vcpu(const struct host_vm *vm, unsigned index); /* pool number of a vCPU */

/* Any thread but a run loop. host_vm_pause waits until every vCPU is at rest. */
void host_vm_pause(struct host_vm *vm);
void host_vm_resume(struct host_vm *vm);
/* Power-on state again; the VM must be paused, and stays so. */
int host_vm_reset(struct host_vm *vm, struct error *e);

/* Steps of switching, measured inside the run loops (bench): total ns and count from leaving one vCPU to entering another. */
void host_switch_cost(struct host *h, uint64_t *ret_ns, uint64_t *ret_count);

#endif
