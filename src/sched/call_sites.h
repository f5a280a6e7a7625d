/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call_sites.h - call sites whose target is patched into them while other threads may be calling (row S17).
 *
 *	requester: call site[n]
 *	              |
 *	  site n:     jmp  to_k            patched by one store of eight aligned bytes
 *	                     |
 *	  to_k:       mov  scheduler k -> first argument; jmp  function of scheduler k
 *
 * Sites and the stubs to_k lie in one piece of memory (a memfd) that is mapped twice: readable and executable where
 * requesters call, readable and writable where the patcher writes. So no page can be written and executed at one address.
 *
 * Why a concurrent caller is safe. A site is one instruction (jmp rel32, five bytes) inside an aligned word of eight, and
 * only its offset ever changes; it is written by a single eight-byte store, so every fetch sees all of the old instruction
 * or all of the new one. AMD's manual (volume 2, on cross-modifying code) allows just that: an asynchronous change inside
 * a naturally aligned quadword. Intel's (volume 3, on self- and cross-modifying code) promises less: a processor must
 * have executed a serialising instruction between the store and the fetch of the new code. call_sites_sync sees to
 * that: membarrier's SYNC_CORE makes every thread of the process, the caller included, execute one before it returns
 * (Linux 5.11 and later; threads that do not run at that moment execute one when they come back). So whoever keeps callers
 * away until then, as a pool does by its lock, follows both manuals to the letter; whoever does not relies on what AMD
 * writes down and what language runtimes that patch aligned jumps have relied upon on Intel's processors for decades.
 *
 * A stub is never changed while a site leads to it. When it is to be changed, no thread may be inside of it (between its
 * two instructions): that is the business of whoever calls call_sites_bind.
 */
#ifndef SCHED_CALL_SITES_H
#define SCHED_CALL_SITES_H

#include "base/base.h"
#include "sched/request.h"

/* A function that answers one kind of question for one scheduler. */
typedef struct answer question_fn(void *scheduler, uint32_t subject, uint64_t now);

struct call_sites;

/* Every site leads to a breakpoint until it is pointed somewhere. Errors: -ENOMEM; -ENOTSUP when this kernel has no
 * membarrier SYNC_CORE; -EPERM, -EACCES when the system forbids memory that is mapped twice, once executable. */
int call_sites_new(uint32_t sites, uint32_t stubs, struct call_sites **ret, struct error *e);
struct call_sites *call_sites_free(struct call_sites *c);

/* Where a requester calls; the first argument that it gives is replaced by the scheduler. */
question_fn *call_sites_entry(const struct call_sites *c, uint32_t site);

/* Makes the stub lead to this function of this scheduler. No site may lead to it, no thread be inside of it. */
void call_sites_bind(struct call_sites *c, uint32_t stub, question_fn *ask, void *scheduler);
/* From now on, or soon, a call of this site reaches that stub. */
void call_sites_point(struct call_sites *c, uint32_t site, uint32_t stub);
/* What was bound and pointed before is what every thread executes from the return of this on. */
void call_sites_sync(struct call_sites *c);

#endif
