/* SPDX-License-Identifier: Apache-2.0 */
/* upload.h - images that the service VM brings: methods of the one door, and the call that carries the bytes. */
#ifndef SERVICE_UPLOAD_H
#define SERVICE_UPLOAD_H

#include "baton/guest.h"
#include "monitor/internal.h"

json_t *request_upload_begin(struct monitor *m, const struct requester *who, json_t *params);
json_t *request_upload_end(struct monitor *m, const struct requester *who, json_t *params);

/* BATON_CALL_UPLOAD_PIECE: the mailbox's bytes. Run loops. */
int64_t upload_hypercall_piece(struct vm *vm, uint64_t offset, const void *bytes, size_t size);

#endif
