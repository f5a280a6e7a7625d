/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio_block.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define QUEUE	   0
#define QUEUE_SIZE 128
#define SLOTS	   QUEUE_SIZE
/* Pieces of data in one request: the queue's size less header and status. */
#define SEGMENTS_MAX (QUEUE_SIZE - 2)
#define DATA_MAX     (64 * MIB)
#define DISCARD_MAX  UINT32_C(0x3fffff) /* sectors in one discard or write-zeroes request: 2 GiB */
#define ROUNDS	     8			/* before other devices have their turn */
#define ID_BYTES     VIRTIO_BLK_ID_BYTES

/* Beside VIRTIO_BLK_S_*: the request is not answered yet. */
#define SUBMIT (-1)

/* What the guest puts in front of each request. */
struct header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct request {
	struct request *next_free;
	uint32_t type;
	uint64_t offset; /* in the file, bytes: of what is left */
	uint64_t done;	 /* bytes transferred */
	uint64_t left;
	bool second_way;    /* write-zeroes: punch a hole, since the guest allows it or the file system cannot zero */
	struct iovec *data; /* what is left of the chain's data pieces */
	unsigned data_count;
	uint8_t *status;
	struct virtq_chain chain;
};

struct block {
	struct virtio_device dev;
	int fd;
	bool readonly;
	uint64_t sectors;
	char id[ID_BYTES];
	/* The I/O thread's. */
	struct io_uring ring;
	bool ring_ready;
	struct io_source completions;
	struct request *free_requests;
	struct request requests[SLOTS];
};

static struct block *block_of(struct virtio_device *d)
{
	return container_of(d, struct block, dev);
}

/* ---- requests ---- */

static struct request *request_take(struct block *b)
{
	struct request *r = b->free_requests;

	if (r)
		b->free_requests = r->next_free;
	return r;
}

static void request_give_back(struct block *b, struct request *r)
{
	r->next_free = b->free_requests;
	b->free_requests = r;
}

/* Answers a request. The bytes that the device wrote count from the first one; the status is the last one of them. */
static void finish(struct block *b, struct request *r, uint8_t status) REQUIRES(b->dev.lock)
{
	bool filled = status == VIRTIO_BLK_S_OK && (r->type == VIRTIO_BLK_T_IN || r->type == VIRTIO_BLK_T_GET_ID);

	*r->status = status;
	virtio_push(&b->dev, QUEUE, r->chain.head, filled ? r->done + 1 : 1);
	request_give_back(b, r);
}

/* Is [sector, sector + bytes) inside of the disk? */
static bool in_range(const struct block *b, uint64_t sector, uint64_t bytes)
{
	return bytes % VIRTIO_BLOCK_SECTOR == 0 && sector <= b->sectors &&
	       bytes / VIRTIO_BLOCK_SECTOR <= b->sectors - sector;
}

/* A request that transfers data: everything between header and status. */
static int set_up_transfer(struct block *b, struct request *r, uint64_t sector)
{
	struct virtq_chain *c = &r->chain;
	uint64_t bytes;

	if (r->type == VIRTIO_BLK_T_IN) {
		r->data = c->piece + c->readable;
		r->data_count = c->writable;
		bytes = c->writable_bytes - 1;
		pieces_cut(r->data, &r->data_count, 1);
	} else {
		r->data = c->piece;
		r->data_count = c->readable;
		bytes = c->readable_bytes - sizeof(struct header);
		pieces_skip(&r->data, &r->data_count, sizeof(struct header));
	}
	if (bytes == 0 || bytes > DATA_MAX || !in_range(b, sector, bytes) ||
	    (r->type == VIRTIO_BLK_T_OUT && b->readonly))
		return VIRTIO_BLK_S_IOERR;
	r->offset = sector * VIRTIO_BLOCK_SECTOR;
	r->left = bytes;
	return SUBMIT;
}

static int set_up_discard(struct block *b, struct request *r)
{
	struct virtio_blk_discard_write_zeroes range;
	struct virtq_chain *c = &r->chain;
	uint32_t allowed = r->type == VIRTIO_BLK_T_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;

	if (c->readable_bytes != sizeof(struct header) + sizeof range) /* one range at a time, as offered */
		return VIRTIO_BLK_S_UNSUPP;
	(void)pieces_read(c->piece, c->readable, sizeof(struct header), &range, sizeof range);
	if (range.flags & ~allowed)
		return VIRTIO_BLK_S_UNSUPP;
	if (b->readonly || range.num_sectors == 0 || range.num_sectors > DISCARD_MAX ||
	    !in_range(b, range.sector, (uint64_t)range.num_sectors * VIRTIO_BLOCK_SECTOR))
		return VIRTIO_BLK_S_IOERR;
	r->offset = range.sector * VIRTIO_BLOCK_SECTOR;
	r->left = (uint64_t)range.num_sectors * VIRTIO_BLOCK_SECTOR;
	r->second_way = range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	return SUBMIT;
}

static int answer_id(struct block *b, struct request *r)
{
	struct virtq_chain *c = &r->chain;
	size_t n = (size_t)MIN(c->writable_bytes - 1, (uint64_t)sizeof b->id);

	r->done = pieces_write(c->piece + c->readable, c->writable, 0, b->id, n);
	return VIRTIO_BLK_S_OK;
}

/* Reads what a chain asks for: SUBMIT, or the status with which it ends at once. */
static int understand(struct block *b, struct request *r)
{
	struct virtq_chain *c = &r->chain;
	struct iovec *last = &c->piece[c->readable + c->writable - 1];
	struct header h;

	(void)pieces_read(c->piece, c->readable, 0, &h, sizeof h);
	r->type = h.type;
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	r->done = r->left = 0;
	r->data_count = 0;
	r->second_way = false;
	switch (h.type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		return set_up_transfer(b, r, h.sector);
	case VIRTIO_BLK_T_FLUSH:
		return SUBMIT;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return set_up_discard(b, r);
	case VIRTIO_BLK_T_GET_ID:
		return answer_id(b, r);
	default:
		return VIRTIO_BLK_S_UNSUPP;
	}
}

/* ---- submission ---- */

static int zero_mode(const struct request *r)
{
	bool hole = r->type == VIRTIO_BLK_T_DISCARD || r->second_way;

	return (hole ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
}

/* Puts the request, or what is left of it, into the ring. There is an entry for each slot. */
static void submit(struct block *b, struct request *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&b->ring);
	int flags = b->dev.features >> VIRTIO_BLK_F_FLUSH & 1 ? 0 : RWF_DSYNC;

	assert(sqe);
	switch (r->type) {
	case VIRTIO_BLK_T_IN:
		io_uring_prep_readv(sqe, b->fd, r->data, r->data_count, r->offset);
		break;
	case VIRTIO_BLK_T_OUT:
		io_uring_prep_writev2(sqe, b->fd, r->data, r->data_count, r->offset, flags);
		break;
	case VIRTIO_BLK_T_FLUSH:
		io_uring_prep_fsync(sqe, b->fd, IORING_FSYNC_DATASYNC);
		break;
	default:
		io_uring_prep_fallocate(sqe, b->fd, zero_mode(r), (off_t)r->offset, (off_t)r->left);
		break;
	}
	io_uring_sqe_set_data(sqe, r);
}

/* ---- completion ---- */

static bool is_transfer(const struct request *r)
{
	return r->type == VIRTIO_BLK_T_IN || r->type == VIRTIO_BLK_T_OUT;
}

/* True: the request goes on, and was put into the ring again. Otherwise *ret_status says how it ended. */
static bool goes_on(struct block *b, struct request *r, int result, uint8_t *ret_status)
{
	if (result == -EINTR || result == -EAGAIN) {
		submit(b, r);
		return true;
	}
	if (result == -EOPNOTSUPP && r->type == VIRTIO_BLK_T_WRITE_ZEROES && !r->second_way) {
		r->second_way = true;
		submit(b, r);
		return true;
	}
	*ret_status = VIRTIO_BLK_S_OK;
	if (result == -EOPNOTSUPP && !is_transfer(r))
		*ret_status = VIRTIO_BLK_S_UNSUPP; /* the driver then writes zeroes itself, or does without */
	else if (result < 0 || (is_transfer(r) && result == 0)) /* nothing more: the file has become shorter */
		*ret_status = VIRTIO_BLK_S_IOERR;
	if (result <= 0 || !is_transfer(r))
		return false;
	r->done += (uint64_t)result;
	r->offset += (uint64_t)result;
	r->left -= MIN((uint64_t)result, r->left);
	pieces_skip(&r->data, &r->data_count, (uint64_t)result);
	if (r->left == 0)
		return false;
	submit(b, r);
	return true;
}

/* Takes what has come back. */
static void reap(struct block *b) REQUIRES(b->dev.lock)
{
	struct io_uring_cqe *cqe;
	uint8_t status;

	while (io_uring_peek_cqe(&b->ring, &cqe) == 0) {
		struct request *r = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&b->ring, cqe);
		if (!goes_on(b, r, result, &status))
			finish(b, r, status);
	}
}

/* Header and status must be there; a driver that leaves them out is broken (5.2.6.4). */
static bool well_formed(const struct virtq_chain *c)
{
	return c->readable_bytes >= sizeof(struct header) && c->writable_bytes >= 1;
}

/* Takes new requests from the queue, as long as there are slots. */
static void take_requests(struct block *b) REQUIRES(b->dev.lock)
{
	struct request *r;

	while ((r = request_take(b)) != NULL) {
		int verdict;

		if (!virtio_next(&b->dev, QUEUE, &r->chain)) {
			request_give_back(b, r);
			return;
		}
		if (!well_formed(&r->chain)) {
			virtio_push(&b->dev, QUEUE, r->chain.head, 0);
			request_give_back(b, r);
			virtio_fail(&b->dev, "a request has no header or no status byte");
			return;
		}
		verdict = understand(b, r);
		if (verdict == SUBMIT)
			submit(b, r);
		else
			finish(b, r, (uint8_t)verdict);
	}
}

/* Whatever there is to do. What the page cache has comes back from the submission at once; then there is another round. */
static void work(struct block *b)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		lock_take(&b->dev.lock);
		reap(b);
		take_requests(b);
		virtio_tell(&b->dev, QUEUE);
		lock_drop(&b->dev.lock);
		if (io_uring_sq_ready(&b->ring) == 0)
			return; /* the rest comes as completions or notifications */
		if (io_uring_submit(&b->ring) < 0)
			break; /* no memory for it at the moment; what is in the ring stays there */
	}
	virtio_kick_later(&b->dev, QUEUE); /* after the others */
}

static void block_kicked(struct virtio_device *d, unsigned queue)
{
	work(block_of(d));
}

static void on_completions(struct io_source *s, uint32_t events)
{
	work(container_of(s, struct block, completions));
}

/* ---- life ---- */

static int block_attach(struct virtio_device *d)
{
	struct block *b = block_of(d);

	b->completions = (struct io_source){.fd = b->ring.ring_fd, .ready = on_completions};
	return io_loop_add(d->loop, &b->completions, EPOLLIN);
}

static void block_detach(struct virtio_device *d)
{
	io_loop_remove(d->loop, &block_of(d)->completions);
}

static void block_free(struct virtio_device *d)
{
	struct block *b = block_of(d);

	if (b->ring_ready)
		io_uring_queue_exit(&b->ring);
	close_fd(b->fd);
	virtio_done(d);
	free(b);
}

static const struct virtio_ops block_ops = {
    .id = VIRTIO_ID_BLOCK,
    .queues = 1,
    .queue_size_max = QUEUE_SIZE,
    .attach = block_attach,
    .detach = block_detach,
    .kicked = block_kicked,
    .free = block_free,
};

static int lock_file(int fd, const char *path, bool readonly, struct error *e)
{
	struct flock whole = {.l_type = readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_SETLK, &whole) == 0)
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return 0; /* a file system without locks: then nobody else can tell either */
	return error_set(e, -EBUSY,
			 "the disk %s is in use by another VM or program; stop that one, or give it read-only", path);
}

static int size_of(int fd, const char *path, uint64_t *ret, struct error *e)
{
	struct stat st;
	uint64_t bytes = 0;

	if (fstat(fd, &st) < 0)
		return error_set(e, -errno, "the disk %s: %s", path, strerror(errno));
	if (S_ISREG(st.st_mode))
		bytes = (uint64_t)st.st_size;
	else if (!S_ISBLK(st.st_mode))
		return error_set(e, -EINVAL, "the disk %s is neither a file nor a block device", path);
	else if (ioctl(fd, BLKGETSIZE64, &bytes) < 0)
		return error_set(e, -errno, "the size of the disk %s is not known: %s", path, strerror(errno));
	if (bytes < VIRTIO_BLOCK_SECTOR)
		return error_set(
		    e, -EINVAL, "the disk %s is smaller than a sector of 512 bytes; make it larger: truncate -s", path);
	*ret = bytes;
	return 0;
}

static int open_file(struct block *b, const char *path, struct error *e)
{
	uint64_t bytes = 0;
	int r;

	b->fd = open(path, (b->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (b->fd < 0)
		return error_set(e, -errno, "the disk %s cannot be opened: %s%s", path, strerror(errno),
				 errno == EACCES || errno == EROFS ? "; give it read-only (FILE,ro)?" : "");
	/* Only for the moment of opening, lest a FIFO holds us: io_uring would take it as "do not wait". */
	(void)fcntl(b->fd, F_SETFL, 0);
	r = size_of(b->fd, path, &bytes, e);
	if (r < 0)
		return r;
	b->sectors = bytes / VIRTIO_BLOCK_SECTOR;
	return lock_file(b->fd, path, b->readonly, e);
}

static void describe(struct block *b, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	struct virtio_blk_config c = {
	    .capacity = b->sectors,
	    .seg_max = SEGMENTS_MAX,
	    .blk_size = VIRTIO_BLOCK_SECTOR,
	    .num_queues = 1,
	    .max_discard_sectors = DISCARD_MAX,
	    .max_discard_seg = 1,
	    .discard_sector_alignment = 8,
	    .max_write_zeroes_sectors = DISCARD_MAX,
	    .max_write_zeroes_seg = 1,
	    .write_zeroes_may_unmap = 1,
	};

	_Static_assert(sizeof c <= VIRTIO_CONFIG_MAX, "the configuration fits");
	memcpy(b->dev.config, &c, sizeof c);
	memcpy(b->id, name, strnlen(name, sizeof b->id)); /* need not be terminated */
}

int virtio_block_new(const char *path, bool readonly, struct virtio_device **ret, struct error *e)
{
	uint64_t features = UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX | UINT64_C(1) << VIRTIO_BLK_F_BLK_SIZE |
			    UINT64_C(1) << VIRTIO_BLK_F_FLUSH | UINT64_C(1) << VIRTIO_BLK_F_DISCARD |
			    UINT64_C(1) << VIRTIO_BLK_F_WRITE_ZEROES;
	struct block *b = calloc(1, sizeof *b);
	int r;

	if (!b)
		return error_set(e, -ENOMEM, "no memory for a disk");
	virtio_init(&b->dev, &block_ops, "block", readonly ? features | UINT64_C(1) << VIRTIO_BLK_F_RO : features);
	b->fd = -1;
	b->readonly = readonly;
	for (unsigned i = SLOTS; i-- > 0;)
		request_give_back(b, &b->requests[i]);
	r = open_file(b, path, e);
	if (r == 0) {
		r = io_uring_queue_init(SLOTS, &b->ring, 0);
		b->ring_ready = r == 0;
		if (r < 0)
			error_set(e, r,
				  "io_uring does not work here: %s; allow it (sysctl kernel.io_uring_disabled=0, "
				  "the container's seccomp profile)",
				  strerror(-r));
	}
	if (r < 0) {
		block_free(&b->dev);
		return r;
	}
	describe(b, path);
	*ret = &b->dev;
	return 0;
}
