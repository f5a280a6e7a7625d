/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rig.h - a monitor in this process, with nano guests on the real /dev/kvm: what the tests of this folder share.
 *
 * Each test program is run once per carrier: `PROGRAM GUESTS IMAGES worker|thread[:WAY] [MORE...]`, those of changes once
 * per way of activation (WAY), too. Without /dev/kvm it is skipped (status 77). BATON_TEST_FULL=1 asks for the long runs. Nothing here measures speed; waiting has a deadline
 * only so that a test that hangs says where.
 */
#ifndef TESTS_NANO_RIG_H
#define TESTS_NANO_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "monitor/monitor.h"

#define RIG_PATIENCE_NS (60 * NSEC_PER_SEC)

struct rig {
	struct monitor *monitor;
	const char *guests, *images;
	enum carrier_kind carrier;
};

/* For main. Skips the program where it cannot run. */
void rig_arguments(int argc, char **argv);
const char *rig_argument(int n); /* of MORE */
bool rig_full(void);
enum carrier_kind rig_carrier(void);

/* A monitor on up to two pCPUs. config (may be NULL) says the rest. */
struct rig rig_new(const struct monitor_config *config);
void rig_free(struct rig *r);
unsigned rig_pcpus(void);

/* The path of a nano guest. */
const char *rig_guest(const struct rig *r, const char *kind);

/* A request of the operator, parameters as for json_pack. rig_ask: must be granted; returns the reply. rig_refused:
 * must be refused with this (positive) errno and a line that contains the word. */
json_t *rig_request(struct rig *r, const char *method, json_t *params);
json_t *rig_ask(struct rig *r, const char *method, const char *format, ...);
void rig_do(struct rig *r, const char *method, const char *format, ...);
void rig_refused(struct rig *r, int code, const char *word, const char *method, const char *format, ...);

/* Starts a VM of this kind of nano guest. */
void rig_run(struct rig *r, const char *name, const char *kind, unsigned vcpus, const char *arguments);
void rig_run_weight(struct rig *r, const char *name, const char *kind, unsigned vcpus, const char *arguments,
		    int weight);

/* A VM's fields from vm.list. */
json_t *rig_vm(struct rig *r, const char *name); /* a reference of the caller's; NULL: there is none */
int64_t rig_number(struct rig *r, const char *name, const char *field);
bool rig_is(struct rig *r, const char *name, const char *field, const char *text);
bool rig_true(struct rig *r, const char *name, const char *field);

/* Waits until a field has at least this value. */
void rig_wait_number(struct rig *r, const char *name, const char *field, int64_t least);
void rig_wait_is(struct rig *r, const char *name, const char *field, const char *text);
/* n more heartbeats from now on, none missed, no failure told. */
void rig_wait_beats(struct rig *r, const char *name, int64_t n);
void rig_must_be_well(struct rig *r, const char *name);

/* A change, until it has ended: the report. */
json_t *rig_change(struct rig *r, const char *method, const char *format, ...);
json_t *rig_changed(struct rig *r, const char *method, const char *format, ...); /* must have been done */
const char *rig_active(struct rig *r, char buf[32]);

/* Console output from the beginning; waits until it contains text. Returns what there is then, to be freed. */
char *rig_wait_output(struct rig *r, const char *name, const char *text);

/* Open files and threads of this process: for what must be left over. */
unsigned rig_count_fds(void);
unsigned rig_count_threads(void);

#define rig_fail(...)                                                                                                  \
	do {                                                                                                           \
		print_error(__VA_ARGS__);                                                                              \
		print_error("\n");                                                                                     \
		fail();                                                                                                \
	} while (0)

#endif
