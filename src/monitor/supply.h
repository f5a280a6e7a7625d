/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supply.h - the monitor's supply of images (sched/supply.h): sources, trust and minimum versions of a pool in one.
 *
 * Life: made before the change queue and freed after it. Threads: supply_interface's functions are the change engine's;
 * supply_uploads and supply_describe may be called by any.
 */
#ifndef MONITOR_SUPPLY_H
#define MONITOR_SUPPLY_H

#include <jansson.h>

#include "base/base.h"
#include "sched/supply.h"

struct uploads;
struct supply;

/* Who must vouch for an image; what each means: sched/trust/trust.h. */
enum supply_signatures {
	SIGNATURES_AUTO, /* required as soon as keys are configured */
	SIGNATURES_REQUIRED,
	SIGNATURES_OPTIONAL, /* nobody needs to vouch for anything */
};

struct supply_config {
	const char *image_server; /* URL or directory; NULL none */
	const char *image_ca;	  /* file of certificates to trust instead of the system's; NULL */
	const char *cache_dir;	  /* NULL: nothing is kept */
	const char *state_dir;	  /* where minimum versions are kept over restarts; NULL: in memory only */
	const char *trusted_keys; /* directory of public keys; NULL none */
	enum supply_signatures signatures;
};

int supply_new(const struct supply_config *config, const char *image_dir, struct supply **ret, struct error *e);
struct supply *supply_free(struct supply *s);

const struct image_supply *supply_interface(const struct supply *s);
struct uploads *supply_uploads(struct supply *s);
/* {rule, keys: [{name, fingerprint}], server}: for sched.status. */
json_t *supply_describe(const struct supply *s);

#endif
