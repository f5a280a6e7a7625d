/* SPDX-License-Identifier: Apache-2.0 */
/* address.h - the text that says where an image is, taken apart. Pure functions; any thread. */
#ifndef SCHED_SOURCE_ADDRESS_H
#define SCHED_SOURCE_ADDRESS_H

#include "base/base.h"
#include "sched/source/index.h"

#define ADDRESS_MAX 512

enum address_kind { ADDRESS_FILE, ADDRESS_URL, ADDRESS_SERVER, ADDRESS_UPLOAD };

struct address {
	enum address_kind kind;
	char rest[ADDRESS_MAX];	     /* FILE, URL: as it was, without the digest; UPLOAD: what is behind the colon */
	char name[BATON_NAME_MAX];   /* SERVER */
	char wanted[BATON_NAME_MAX]; /* SERVER: version or channel; "" stable */
	char digest[DIGEST_TEXT];    /* of #sha256=; "" without */
};

/* -EINVAL, -ENAMETOOLONG. Whether such a thing exists, or may be asked for, is for sources.h. */
int address_parse(const char *where, struct address *ret, struct error *e);

#endif
