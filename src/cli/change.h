/* SPDX-License-Identifier: Apache-2.0 */
/* change.h - following a change of scheduler from the request to its end. */
#ifndef CLI_CHANGE_H
#define CLI_CHANGE_H

#include "cli/client.h"

/*
 * Asks for `method` (which answers with a change's id; params is taken over) and follows the change. on_phase (may be
 * NULL) is called at each new phase. 0: done, and *ret is the change (the caller's); negative errno: refused, why is in
 * e.
 */
int change_follow(struct client *c, const char *method, json_t *params,
		  void (*on_phase)(void *ctx, const json_t *change), void *ctx, json_t **ret, struct error *e);

#endif
