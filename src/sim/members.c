/* SPDX-License-Identifier: Apache-2.0 */
/* members.c - the VMs of a simulation: which there are, and how they come and go. */
#include <inttypes.h>
#include <string.h>

#include "sim/internal.h"

static struct sim_vcpu vcpu_of(struct sim *s, const struct workload_vm *entry, uint32_t vm, uint32_t number)
{
	return (struct sim_vcpu){
	    .number = number,
	    .id = BATON_NONE,
	    .pcpu = BATON_NONE,
	    .last = UINT16_MAX,
	    .vm = vm,
	    .entry = s->vms[vm].entry,
	    .program = &entry->programs[(number - s->vms[vm].first) % entry->program_count],
	    .wake_ns = TIME_NEVER,
	    .phase_end_ns = TIME_NEVER,
	    .stop_ns = entry->stop_ns == 0 || entry->stop_ns == TIME_NEVER ? TIME_NEVER : SIM_EPOCH_NS + entry->stop_ns,
	    .random = random_stream(s->seed, number),
	};
}

static void vm_init(struct sim *s, uint32_t vm, uint32_t entry_index, uint32_t first)
{
	const struct workload_vm *entry = &s->workload->vms[entry_index];

	s->vms[vm] = (struct sim_vm){.id = BATON_NONE, .entry = entry_index, .first = first, .count = entry->vcpus};
	for (uint32_t i = 0; i < WORKLOAD_LOCKS; i++)
		s->vms[vm].lock_owner[i] = BATON_NONE;
	for (uint32_t i = first; i < first + entry->vcpus; i++)
		s->vcpus[i] = vcpu_of(s, entry, vm, i);
}

int members_new(struct sim *s, struct error *e)
{
	const struct workload *w = s->workload;
	uint32_t vm = 0, first = 0;
	int r = 0;

	for (uint32_t n = 0; n < w->vm_count; n++)
		for (uint32_t i = 0; i < w->vms[n].count; i++, vm++) {
			vm_init(s, vm, n, first);
			first += w->vms[n].vcpus;
		}
	for (vm = 0; vm < s->vm_count && r >= 0; vm++) {
		uint64_t start_ns = w->vms[s->vms[vm].entry].start_ns;

		if (start_ns == 0)
			r = members_start(s, vm, e);
		else /* its first vCPU's timer stands for the VM */
			queue_set(&s->vcpu_queue, s->vms[vm].first, SIM_EPOCH_NS + start_ns);
	}
	return r;
}

int members_start(struct sim *s, uint32_t number, struct error *e) NO_TSA
{
	struct sim_vm *vm = &s->vms[number];
	const struct workload_vm *entry = &s->workload->vms[vm->entry];
	uint64_t now = engine_enter(s);
	struct error why = {""};
	int r = pool_vm_add(s->pool, &entry->wishes, &vm->id);

	for (uint32_t i = 0; i < vm->count && r >= 0; i++) {
		struct sim_vcpu *v = &s->vcpus[vm->first + i];

		r = pool_vcpu_add(s->pool, vm->id, i, entry->pinned ? entry->affinity : NULL, v, now, &v->id, &why);
		if (r < 0)
			break;
		engine_tell(s, &(struct sim_event){
				   .kind = SIM_ADMIT, .time_ns = now, .vcpu = v->id, .vm = vm->id, .pcpu = BATON_NONE});
	}
	for (uint32_t i = 0; i < vm->count && r >= 0; i++) {
		struct sim_vcpu *v = &s->vcpus[vm->first + i];
		bool runnable = behaviour_begin(s, v, 0);

		if (runnable)
			v->ready_ns = v->burst_ns = now;
		pool_resume(s->pool, v->id, runnable, now);
		engine_set_vcpu(s, v);
		if (runnable)
			engine_tell(
			    s, &(struct sim_event){
				   .kind = SIM_WAKE, .time_ns = now, .vcpu = v->id, .vm = vm->id, .pcpu = BATON_NONE});
	}
	engine_leave(s);
	if (r < 0)
		return error_set(e, r, "VM %s, at %.6f s: %s", entry->name, (double)(s->now_ns - SIM_EPOCH_NS) / 1e9,
				 why.text[0] ? why.text : strerror(-r));
	return 0;
}

void members_stop(struct sim *s, uint32_t number) NO_TSA
{
	struct sim_vm *vm = &s->vms[number];

	for (uint32_t i = vm->first; i < vm->first + vm->count; i++) {
		struct sim_vcpu *v = &s->vcpus[i];
		struct sim_event event;
		uint64_t now;

		if (v->id == BATON_NONE)
			continue;
		behaviour_end(s, v);
		v->wake_ns = v->phase_end_ns = v->stop_ns = TIME_NEVER;
		v->left_ns = 0;
		engine_set_vcpu(s, v);
		if (v->pcpu != BATON_NONE)
			engine_stop_running(s, v, BATON_STOP_BLOCKED);
		now = engine_enter(s);
		(void)pool_pause(s->pool, v->id, now);
		if (s->stats)
			stats_retire(s->stats, s, v);
		event = event_of(s, SIM_RETIRE, v);
		pool_vcpu_remove(s->pool, v->id, now);
		v->id = BATON_NONE;
		engine_tell(s, &event);
		engine_leave(s);
	}
	(void)engine_enter(s);
	pool_vm_remove(s->pool, vm->id);
	vm->id = BATON_NONE;
	engine_leave(s);
}
