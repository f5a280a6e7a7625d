/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trust.h - may this image be loaded? Asked for the whole file, before anything else reads it.
 *
 * Native code in the monitor can do what the monitor can do, so somebody must vouch for every image:
 *
 *	rule		who vouches
 *	TRUST_PLACE	a trusted signature, or the place it comes from: the operator named it, or it lies in the monitor's
 *			image directory. What a VM uploads or has fetched over a network needs a signature. The rule when no
 *			keys are configured.
 *	TRUST_SIGNED	a trusted signature and nothing else, whoever asks. The rule as soon as keys are configured.
 *	TRUST_ANY	nobody needs to (for experiments).
 *
 * Under every rule, a file whose signatures are damaged or do not fit is refused: it is not what its author made.
 *
 * The second question is which versions: minimum.h.
 *
 * Threads: any; constant once it is made.
 */
#ifndef SCHED_TRUST_TRUST_H
#define SCHED_TRUST_TRUST_H

#include "base/base.h"
#include "sched/trust/keys.h"

enum trust_rule { TRUST_PLACE, TRUST_SIGNED, TRUST_ANY };

struct trust {
	enum trust_rule rule;
	struct key_set keys;
};

/* Who vouches for an image that was accepted, for reports. */
#define TRUST_BY_MAX 96
struct trust_verdict {
	bool signed_by_trusted;
	char by[TRUST_BY_MAX]; /* "signed by NAME (fingerprint)", "unsigned, named by the operator", ... */
};

/* Where an image comes from, as far as trust is concerned. */
enum trust_place { PLACE_OPERATOR, PLACE_IMAGE_DIR, PLACE_ELSEWHERE };

/* 0; -EBADMSG damaged or altered; -EKEYREJECTED nobody vouches for it. */
int trust_check(const struct trust *t, const uint8_t *file, size_t size, const char *source, enum trust_place place,
		struct trust_verdict *ret, struct error *e);

const char *trust_rule_name(enum trust_rule rule); /* "place", "signed", "any" */

#endif
