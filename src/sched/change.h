/* SPDX-License-Identifier: Apache-2.0 */
/*
 * change.h - replacing the active scheduler while the VMs run (rows S8 - S11, S19 - S22, N1).
 *
 *	fetch --> verify --> room --> attach --> commit --> settle
 *	  |         |         |         |
 *	  +---------+---------+---------+--> refused: everything is as it was
 *
 * fetch and verify happen beside the running scheduler (source.h, loader/image.h). attach makes the newcomer a shadow: it
 * takes over each vCPU's history in batches of bounded time under the pool's lock, and from then on hears the same events
 * as the active one. commit is the flip (manager_activate): `live` under the lock while guests go on, `cease` with every
 * pCPU at rest and the console flushed. settle unloads the old scheduler when that was asked.
 *
 * Threads: change_run is called by one thread at a time (the queue's, change_queue.h); it takes the pool's lock only for
 * the batches and the flip.
 */
#ifndef SCHED_CHANGE_H
#define SCHED_CHANGE_H

#include "base/base.h"
#include "baton/scheduler.h"

struct pool;
struct arena;
struct image_supply;

enum change_kind {
	CHANGE_LOAD,	/* activate the named scheduler, from an image or one that is loaded already */
	CHANGE_DEFAULT, /* activate the default scheduler; images stay loaded (S9) */
	CHANGE_UNLOAD,	/* unload the named scheduler; when it is active the default takes over first (S8) */
};

/* The loading policy of the seed's request (S13), with `how` and `old`. */
enum change_how { CHANGE_LIVE, CHANGE_CEASE };
enum change_old { OLD_KEEP, OLD_UNLOAD_BEFORE, OLD_UNLOAD_AFTER };

struct change_param {
	char name[BATON_NAME_MAX];
	int64_t value;
};

struct change_spec {
	enum change_kind kind;
	char name[BATON_NAME_MAX + 4]; /* which scheduler, or name#identifier; empty: whatever the image holds */
	char image[512];	       /* where its image is (source.h); empty: it is loaded already */
	enum change_how how;
	enum change_old old;
	struct change_param params[BATON_PARAMS_MAX];
	uint32_t param_count;
	char requester[64]; /* who asked, for people */
	uint32_t vm;	    /* the VM that asked, when it was not the operator */
	bool older;	    /* the operator wants an older version than was in use (supply.h) */
	bool trusted; /* the operator asked: images may lie anywhere on this host; else only in the image directory */
};

enum change_state { CHANGE_QUEUED, CHANGE_RUNNING, CHANGE_DONE, CHANGE_REFUSED };
enum change_phase { PHASE_FETCH, PHASE_VERIFY, PHASE_ROOM, PHASE_ATTACH, PHASE_COMMIT, PHASE_SETTLE };

/* What came of it: the feedback to whoever asked. */
struct change_report {
	uint64_t id;
	enum change_kind kind;
	enum change_state state;
	enum change_phase phase; /* the present one, or where it ended */
	enum change_how how;
	char requester[64];
	char from[BATON_NAME_MAX], to[BATON_NAME_MAX + 4]; /* who decided before, who decides after */
	char image[512], digest[65];
	char vouched[96];		       /* who vouches for the image, "" when nobody was asked */
	char note[128];			       /* what the operator should know about the fetch, or "" */
	uint64_t fetched_bytes, fetch_bytes;   /* so far, and in all (0: not known) */
	uint64_t asked_ns, began_ns, ended_ns; /* CLOCK_MONOTONIC */
	uint64_t attach_ns;		       /* how long the attaching took in all ... */
	uint64_t attach_lock_ns;	       /* ... and the longest time it held the lock at once */
	uint64_t blackout_ns; /* live: how long nobody could get a decision; cease: the longest rest of a pCPU */
	uint32_t pcpu_count;
	uint64_t blackout_per_pcpu_ns[BATON_PCPUS_MAX];
	char error[ERROR_TEXT_MAX]; /* REFUSED: cause and next step */
};

struct changer {
	struct pool *pool;
	struct arena *arena;
	const char *image_dir;
	const struct image_supply *supply; /* NULL: images are files of image_dir, and nobody is asked about them */
	/* Is the change still wanted? Asked while an image is fetched (may be NULL). */
	bool (*go_on)(void *ctx);
	/* Told whenever phase or state moves on (may be NULL): for those who watch. */
	void (*progress)(void *ctx, const struct change_report *report);
	void *ctx;
};

/* Carries the change out from beginning to end. report->id, asked_ns are the caller's; the rest is filled in here. Returns
 * 0 when done, or the negative errno of the refusal (report->error says why). */
int change_run(struct changer *changer, const struct change_spec *spec, struct change_report *report);

const char *change_kind_name(enum change_kind kind);
const char *change_state_name(enum change_state state);
const char *change_phase_name(enum change_phase phase);
const char *change_how_name(enum change_how how);

#endif
