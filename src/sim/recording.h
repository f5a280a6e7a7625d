/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recording.h - what vCPUs asked for on a real host, to be simulated under any policy. docs/simulator.md has the format.
 *
 * A recording holds demands, not decisions: when a vCPU woke, how long it ran until it halted or yielded. What a
 * scheduler made of it is not in there.
 *
 * JSON, one value per line:
 *
 *	{"baton_recording": 1, "pcpus": 2, "duration": "10s", "name": "web server, Monday"}
 *	{"name": "web", "vcpus": 2, "weight": 256}		a VM; its vCPUs get the next numbers, from 0
 *	[0, "at", 1500000, 250000, "halt"]			vCPU 0 wakes 1.5 ms after the beginning, has to run for
 *								250 us, then halts
 *	[0, "after", 2000000, 250000, "io"]			... wakes 2 ms after it halted, whenever that is
 *	{"end": 2}						how many demands there were: nothing is missing
 *
 * VMs come before demands; the demands of one vCPU stand in their order, those of different ones as they come.
 * Durations are ns. "at" is what the outside world does (packets), "after" what the vCPU itself does (timers, disks).
 * After "yield" and "io" a vCPU stays runnable and goes on with its next demand, whose time does not count.
 */
#ifndef SIM_RECORDING_H
#define SIM_RECORDING_H

#include "sim/workload.h"

#define RECORDING_VERSION     1
#define RECORDING_BYTES_MAX   (256 * MIB)
#define RECORDING_DEMANDS_MAX (UINT32_C(1) << 24)

/* Reads a recording as a workload that replays it. Errors name line and reason. */
int recording_load(const char *path, struct workload **ret, struct error *e);
int recording_parse(const char *text, size_t size, const char *name, struct workload **ret, struct error *e);

#endif
