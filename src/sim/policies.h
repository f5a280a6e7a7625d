/* SPDX-License-Identifier: Apache-2.0 */
/* policies.h - which policies can be simulated: those linked in, by name, and images. Any thread. */
#ifndef SIM_POLICIES_H
#define SIM_POLICIES_H

#include "base/base.h"
#include "baton/scheduler.h"

struct arena;
struct image;

/* The policies linked in, NULL at the end. */
extern const struct baton_scheduler *const policy_table[];

/* NULL when there is none of this name. */
const struct baton_scheduler *policy_find(const char *name);

/*
 * What `given` names: a policy linked in, or an image (a path with a slash, or NAME.baton). *ret_image is NULL for one
 * that is linked in, else the caller's reference. -ENOENT and the loader's errors, with the reason in e.
 */
int policy_open(const char *given, struct arena *arena, const struct baton_scheduler **ret, struct image **ret_image,
		struct error *e);

#endif
