/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supply.h - who brings images to the change engine, and who vouches for them. The monitor has one over the network, the
 * cache and the trusted keys (src/monitor/supply.c); without one, images are files and nobody is asked (tests, simulator).
 *
 * Threads: all are called by the change engine's thread, without the pool's lock, and may wait.
 */
#ifndef SCHED_SUPPLY_H
#define SCHED_SUPPLY_H

#include "base/base.h"
#include "baton/scheduler.h"

struct change_spec;

/* An image file that was fetched for a change, and what is known about it. */
struct supplied {
	uint8_t *bytes; /* the change engine frees them */
	size_t size;
	bool in_image_dir;
	bool signed_by_trusted;				    /* set by vet */
	char by[96];					    /* set by vet: who vouches for it, for people */
	char note[128];					    /* what the operator should know, or "" */
	char name[BATON_NAME_MAX], version[BATON_NAME_MAX]; /* what it must call itself; "" anything */
};

/* Told while a fetch goes on; false gives it up (-ECANCELED). total 0: not known. */
struct supply_watch {
	bool (*go_on)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
};

struct image_supply {
	/* Brings the file. -errno with cause and next step in e. */
	int (*fetch)(void *ctx, const struct change_spec *spec, const char *where, const struct supply_watch *watch,
		     struct supplied *ret, struct error *e);
	/* May these bytes be loaded? Asked before anything else reads them. */
	int (*vet)(void *ctx, const struct change_spec *spec, const char *where, struct supplied *image,
		   struct error *e);
	/* May this version of this scheduler, as the image's own table says, be put to use? */
	int (*admit)(void *ctx, const struct change_spec *spec, const struct supplied *image, const char *name,
		     const char *version, struct error *e);
	/* It decides now. */
	void (*used)(void *ctx, const struct change_spec *spec, const struct supplied *image, const char *name,
		     const char *version);
	void *ctx;
};

#endif
