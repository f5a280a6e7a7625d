/* SPDX-License-Identifier: Apache-2.0 */
/* call_sites.c - the machine code of call sites and stubs, and its two mappings. See call_sites.h. */
#include "sched/call_sites.h"

#include <linux/membarrier.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define SITE_BYTES 64 /* a cache line each: patching one does not disturb its neighbours */
#define STUB_BYTES 64
#define BREAKPOINT 0xcc
#define JUMP_BYTES 5			/* jmp rel32; its offset counts from its end */
#define NEAR_STEP  (UINT64_C(16) << 20) /* bytes between two tries */
#define NEAR_MAX   (UINT64_C(1) << 30)
#define PAGE_BYTES UINT64_C(4096)

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3: this memory is meant to be executed */
#endif

struct call_sites {
	const uint8_t *code; /* readable, executable: sites first, then stubs */
	uint8_t *writable;   /* the same memory */
	size_t bytes, stubs_at;
};

static int membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0) < 0 ? -errno : 0;
}

/* The kernel must know beforehand that this process wants its threads synchronised. */
static int register_sync(struct error *e)
{
	int r = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE);

	if (r >= 0)
		r = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
	return r < 0 ? error_set(e, -ENOTSUP,
				 "patched call sites need membarrier SYNC_CORE, which this kernel refuses (%s); "
				 "use --activation identifier",
				 strerror(-r))
		     : 0;
}

static int open_memory(size_t bytes)
{
	int fd = memfd_create("baton-call-sites", MFD_CLOEXEC | MFD_EXEC);

	if (fd < 0 && errno == EINVAL) /* an older kernel: executable anyway */
		fd = memfd_create("baton-call-sites", MFD_CLOEXEC);
	if (fd >= 0 && ftruncate(fd, (off_t)bytes) < 0)
		fd = close_fd(fd);
	return fd;
}

/* Executable, and within a jump's reach of this program's own functions if there is room: stubs are shorter then. Below the
 * program, since the heap grows above it. Anywhere else will do. */
static void *map_near(size_t bytes, int fd)
{
	uintptr_t program = (uintptr_t)call_sites_new & ~(uintptr_t)(NEAR_STEP - 1);

	for (uintptr_t below = NEAR_STEP; below < NEAR_MAX && below < program; below += NEAR_STEP) {
		void *at = mmap((void *)(program - below), bytes, PROT_READ | PROT_EXEC,
				MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);

		if (at != MAP_FAILED)
			return at;
		if (errno != EEXIST)
			break;
	}
	return mmap(NULL, bytes, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
}

static int map_twice(struct call_sites *c, struct error *e)
{
	_cleanup_close_ int fd = open_memory(c->bytes);
	void *code, *writable;

	if (fd < 0)
		return error_set(e, -ENOMEM, "no memory for call sites: %s", strerror(errno));
	writable = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (writable == MAP_FAILED)
		return error_set(e, -ENOMEM, "no memory for call sites: %s", strerror(errno));
	memset(writable, BREAKPOINT, c->bytes);
	code = map_near(c->bytes, fd);
	if (code == MAP_FAILED) {
		int code_errno = errno;

		munmap(writable, c->bytes);
		return error_set(e, -code_errno,
				 "this system does not let call sites be executed (%s); use --activation identifier",
				 strerror(code_errno));
	}
	(void)madvise(writable, c->bytes, MADV_DONTFORK); /* a child has no business here */
	c->writable = writable;
	c->code = code;
	return 0;
}

int call_sites_new(uint32_t sites, uint32_t stubs, struct call_sites **ret, struct error *e)
{
	struct call_sites *c;
	int r = register_sync(e);

	if (r < 0)
		return r;
	c = calloc(1, sizeof *c);
	if (!c)
		return error_set(e, -ENOMEM, "no memory for call sites");
	c->stubs_at = ((size_t)sites * SITE_BYTES + STUB_BYTES - 1) / STUB_BYTES * STUB_BYTES;
	c->bytes = (c->stubs_at + (size_t)stubs * STUB_BYTES + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	r = map_twice(c, e);
	if (r < 0) {
		free(c);
		return r;
	}
	*ret = c;
	return 0;
}

struct call_sites *call_sites_free(struct call_sites *c)
{
	if (!c)
		return NULL;
	munmap((void *)(uintptr_t)c->code, c->bytes);
	munmap(c->writable, c->bytes);
	free(c);
	return NULL;
}

question_fn *call_sites_entry(const struct call_sites *c, uint32_t site)
{
	return (question_fn *)(uintptr_t)(c->code + (size_t)site * SITE_BYTES);
}

/* jmp rel32 at the address `from` of the code, to `to`, as the first five bytes of a word. False: out of reach. */
static bool encode_jump(uintptr_t from, uintptr_t to, uint64_t *ret_word)
{
	int64_t offset = (int64_t)(to - (from + JUMP_BYTES));

	if (offset != (int32_t)offset)
		return false;
	*ret_word = 0xe9 | (uint64_t)(uint32_t)offset << 8 | UINT64_C(0xcccccc) << 40;
	return true;
}

void call_sites_bind(struct call_sites *c, uint32_t stub, question_fn *ask, void *scheduler)
{
	size_t at = c->stubs_at + (size_t)stub * STUB_BYTES;
	uint8_t *w = c->writable + at;
	uint64_t first = (uintptr_t)scheduler, target = (uintptr_t)ask, jump;

	memcpy(w, (const uint8_t[]){0x48, 0xbf}, 2); /* movabs $scheduler, %rdi */
	memcpy(w + 2, &first, sizeof first);
	if (encode_jump((uintptr_t)c->code + at + 10, target, &jump)) {
		memcpy(w + 10, &jump, sizeof jump);
		return;
	}
	memcpy(w + 10, (const uint8_t[]){0x49, 0xbb}, 2); /* movabs $ask, %r11: no argument, and nobody keeps it */
	memcpy(w + 12, &target, sizeof target);
	memcpy(w + 20, (const uint8_t[]){0x41, 0xff, 0xe3}, 3); /* jmp *%r11 */
}

void call_sites_point(struct call_sites *c, uint32_t site, uint32_t stub)
{
	size_t from = (size_t)site * SITE_BYTES, to = c->stubs_at + (size_t)stub * STUB_BYTES;
	uint64_t word = 0;
	bool within_reach = encode_jump(from, to, &word); /* both in one piece of memory */

	assert(within_reach);
	(void)within_reach;
	atomic_store_explicit((_Atomic uint64_t *)(void *)(c->writable + from), word, memory_order_release);
}

void call_sites_sync(struct call_sites *c)
{
	int r = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);

	assert(r == 0); /* it was tried in call_sites_new */
	(void)r;
}
