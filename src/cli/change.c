/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/change.h"

#include <poll.h>
#include <string.h>

#define POLL_MS 5
/* The monitor bounds every phase by itself; this is for a monitor that lost the change. */
#define GIVE_UP_MS 120000

int change_follow(struct client *c, const char *method, json_t *params,
		  void (*on_phase)(void *ctx, const json_t *change), void *ctx, json_t **ret, struct error *e)
{
	char phase[64] = "";
	json_t *reply;
	int64_t id;
	int r;

	r = client_call(c, method, params, &reply, e);
	if (r < 0)
		return r;
	id = member_int(reply, "change", -1);
	json_decref(reply);
	if (id < 0)
		return error_set(e, -EPROTO, "the monitor accepted %s without naming a change; do the versions match?",
				 method);
	for (int waited = 0; waited < GIVE_UP_MS; waited += POLL_MS) {
		const char *state, *now;

		r = client_call(c, "sched.change", json_pack("{s:I}", "id", (json_int_t)id), &reply, e);
		if (r < 0)
			return r;
		state = member_text(reply, "state", "?");
		now = member_text(reply, "phase", "");
		if (on_phase && *now && strcmp(now, phase) != 0) {
			(void)snprintf(phase, sizeof phase, "%s", now);
			on_phase(ctx, reply);
		}
		if (strcmp(state, "done") == 0) {
			*ret = reply;
			return 0;
		}
		if (strcmp(state, "refused") == 0) {
			r = error_set(e, -ECANCELED, "%s", member_text(reply, "error", "refused without a reason"));
			json_decref(reply);
			return r;
		}
		json_decref(reply);
		poll(NULL, 0, POLL_MS);
	}
	return error_set(e, -ETIMEDOUT, "the change is not done after %d s; see 'baton sched status'",
			 GIVE_UP_MS / 1000);
}
