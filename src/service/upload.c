/* SPDX-License-Identifier: Apache-2.0 */
/*
 * upload.c - the hypercalls by which the service VM brings an image in pieces (include/baton/guest.h; the rules are those
 * of sched/source/upload.h). A run loop copies and hashes one mailbox at most per call.
 */
#include "service/upload.h"

#include <stdio.h>

#include "sched/source/upload.h"

static json_t *reply_image(const char *digest)
{
	json_t *reply = reply_ok();
	char where[DIGEST_TEXT + 8];

	snprintf(where, sizeof where, "upload:%s", digest);
	json_object_set_new(reply, "image", json_string(where));
	return reply;
}

json_t *request_upload_begin(struct monitor *m, const struct requester *who, json_t *params)
{
	struct error e = {""};
	const char *digest;
	json_error_t why;
	json_int_t size;
	json_t *reply;
	int r;

	if (who->kind != REQUESTER_VM)
		return reply_error(EINVAL, "uploads are for VMs; the operator names the file in sched.load");
	if (!params || json_unpack_ex(params, &why, JSON_STRICT, "{s:I, s:s}", "size", &size, "digest", &digest) < 0)
		return reply_error(EINVAL, "upload.begin: %.200s", params ? why.text : "give size and digest");
	r = upload_begin(supply_uploads(m->supply), who->vm, size < 0 ? 0 : (uint64_t)size, digest, &e);
	if (r < 0)
		return reply_from(r, &e);
	reply = reply_image(digest);
	json_object_set_new(reply, "piece_max", json_integer(BATON_MAILBOX_MAX));
	return reply;
}

json_t *request_upload_end(struct monitor *m, const struct requester *who, json_t *params)
{
	char digest[DIGEST_TEXT];
	struct error e = {""};
	int r;

	if (who->kind != REQUESTER_VM)
		return reply_error(EINVAL, "uploads are for VMs; the operator names the file in sched.load");
	r = upload_end(supply_uploads(m->supply), who->vm, digest, &e);
	return r < 0 ? reply_from(r, &e) : reply_image(digest);
}

int64_t upload_hypercall_piece(struct vm *vm, uint64_t offset, const void *bytes, size_t size)
{
	return upload_piece(supply_uploads(vm->monitor->supply), vm->id, offset, bytes, size);
}
