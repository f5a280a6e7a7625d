/* SPDX-License-Identifier: Apache-2.0 */
/* A disk on a file in memory, with the real I/O thread and io_uring. */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "devices/virtio_block.h"
#include "driver.h"

#define DISK_BYTES   (1 * MIB)
#define SECTORS	     (DISK_BYTES / 512)
#define HEADER	     DRIVER_DATA
#define STATUS	     (DRIVER_DATA + 0x100)
#define DATA	     (DRIVER_DATA + 0x1000)
#define ALL_FEATURES UINT64_MAX
#define NO_STATUS    0x77

struct bench {
	struct driver driver;
	int fd; /* the file behind the disk */
	char path[64];
};

static void make_file(struct bench *b)
{
	b->fd = memfd_create("disk", MFD_ALLOW_SEALING);
	assert_true(b->fd >= 0);
	assert_int_equal(ftruncate(b->fd, DISK_BYTES), 0);
	(void)snprintf(b->path, sizeof b->path, "/proc/self/fd/%d", b->fd);
}

static int start(void **state, bool readonly)
{
	struct bench *b = calloc(1, sizeof *b);
	struct virtio_device *disk;
	struct error e = {""};

	make_file(b);
	if (virtio_block_new(b->path, readonly, &disk, &e) < 0)
		fail_msg("%s", e.text);
	driver_init(&b->driver, disk, true);
	driver_start(&b->driver, ALL_FEATURES);
	*state = b;
	return 0;
}

static int setup(void **state)
{
	return start(state, false);
}

static int setup_readonly(void **state)
{
	return start(state, true);
}

static int teardown(void **state)
{
	struct bench *b = *state;

	driver_done(&b->driver);
	close(b->fd);
	free(b);
	return 0;
}

static uint8_t *data(struct bench *b)
{
	return driver_at(&b->driver, DATA);
}

static void put_header(struct bench *b, uint64_t gpa, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr h = {.type = type, .sector = sector};

	memcpy(driver_at(&b->driver, gpa), &h, sizeof h);
}

/* One request with its data in one piece; returns the status, and in *ret_written what the device says it wrote. */
static uint8_t request(struct bench *b, uint32_t type, uint64_t sector, uint32_t bytes, uint32_t *ret_written)
{
	bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	const struct buffer with_data[] = {{HEADER, 16, false}, {DATA, bytes, in}, {STATUS, 1, true}};
	const struct buffer bare[] = {{HEADER, 16, false}, {STATUS, 1, true}};
	uint8_t *status = driver_at(&b->driver, STATUS);
	uint32_t written;

	put_header(b, HEADER, type, sector);
	*status = NO_STATUS;
	written = bytes > 0 ? driver_request(&b->driver, 0, with_data, 3) : driver_request(&b->driver, 0, bare, 2);
	if (ret_written)
		*ret_written = written;
	return *status;
}

static void pattern(uint8_t *p, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		p[i] = (uint8_t)(rand_r(&seed) >> 7);
}

static void what_is_written_is_read_again(void **state)
{
	struct bench *b = *state;
	uint8_t expected[8192], file[8192];
	uint32_t written;

	pattern(expected, sizeof expected, 1);
	memcpy(data(b), expected, sizeof expected);
	assert_int_equal(request(b, VIRTIO_BLK_T_OUT, 3, sizeof expected, &written), VIRTIO_BLK_S_OK);
	assert_int_equal(written, 1);
	assert_int_equal(pread(b->fd, file, sizeof file, 3 * 512), sizeof file);
	assert_memory_equal(file, expected, sizeof file);
	assert_int_equal(request(b, VIRTIO_BLK_T_FLUSH, 0, 0, NULL), VIRTIO_BLK_S_OK);
	memset(data(b), 0, sizeof expected);
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, 3, sizeof expected, &written), VIRTIO_BLK_S_OK);
	assert_int_equal(written, sizeof expected + 1);
	assert_memory_equal(data(b), expected, sizeof expected);
}

/* Header, data and status in any pieces (5.2.6.4 leaves that to the driver). */
static void pieces_may_be_cut_anywhere(void **state)
{
	struct bench *b = *state;
	uint8_t expected[1024];
	const struct buffer out[] = {
	    {HEADER, 5, false}, {HEADER + 5, 11 + 300, false}, {DATA, 724, false}, {STATUS, 1, true}};
	const struct buffer in[] = {{HEADER, 16, false}, {DATA, 1, true}, {DATA + 1, 1024, true}};

	pattern(expected, sizeof expected, 2);
	put_header(b, HEADER, VIRTIO_BLK_T_OUT, 7);
	memcpy(driver_at(&b->driver, HEADER + 16), expected, 300);
	memcpy(data(b), expected + 300, 724);
	driver_request(&b->driver, 0, out, 4);
	assert_int_equal(*(uint8_t *)driver_at(&b->driver, STATUS), VIRTIO_BLK_S_OK);
	put_header(b, HEADER, VIRTIO_BLK_T_IN, 7);
	data(b)[1024] = NO_STATUS;
	data(b)[1025] = 0x5a;
	assert_int_equal(driver_request(&b->driver, 0, in, 3), 1025);
	assert_memory_equal(data(b), expected, 1024);
	assert_int_equal(data(b)[1024], VIRTIO_BLK_S_OK); /* the status, in the last byte of the last piece */
	assert_int_equal(data(b)[1025], 0x5a);
}

static void many_requests_at_once_all_come_back(void **state)
{
	struct bench *b = *state;
	struct driver *d = &b->driver;

	for (unsigned round = 0; round < 50; round++) {
		unsigned n = 5, answered = 0;

		for (unsigned i = 0; i < n; i++) {
			const uint64_t at = DRIVER_DATA + 0x10000 + i * 0x4000;
			const struct buffer buffers[] = {
			    {at, 16, false}, {at + 0x1000, 4096, true}, {at + 0x100, 1, true}};

			put_header(b, at, VIRTIO_BLK_T_IN, (round * n + i) % 256 * 8);
			*(uint8_t *)driver_at(d, at + 0x100) = NO_STATUS;
			driver_offer(d, 0, buffers, 3, 0);
		}
		driver_notify(d, 0);
		for (; answered < n; answered++)
			(void)driver_answer(d, 0);
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(*(uint8_t *)driver_at(d, DRIVER_DATA + 0x10000 + i * 0x4000 + 0x100), 0);
	}
}

static void what_lies_outside_is_an_error(void **state)
{
	struct bench *b = *state;
	static const struct {
		uint64_t sector;
		uint32_t bytes;
	} wrong[] = {{SECTORS, 512},
		     {SECTORS - 1, 1024},
		     {UINT64_MAX, 512},
		     {UINT64_MAX - 1, 1024},
		     {UINT64_C(1) << 55, 512},
		     {0, 513},
		     {0, 511}};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		uint32_t written;

		assert_int_equal(request(b, VIRTIO_BLK_T_IN, wrong[i].sector, wrong[i].bytes, &written),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(written, 1);
		assert_int_equal(request(b, VIRTIO_BLK_T_OUT, wrong[i].sector, wrong[i].bytes, NULL),
				 VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, SECTORS - 1, 512, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(request(b, 1234, 0, 512, NULL), VIRTIO_BLK_S_UNSUPP);
}

static void errors_of_the_host_reach_the_guest(void **state)
{
	struct bench *b = *state;

	/* The file has become shorter. */
	assert_int_equal(ftruncate(b->fd, DISK_BYTES / 2), 0);
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, SECTORS - 8, 4096, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, 0, 4096, NULL), VIRTIO_BLK_S_OK);
	/* Half of the request is there, half is not. */
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, SECTORS / 2 - 4, 4096, NULL), VIRTIO_BLK_S_IOERR);
	/* It refuses to be written. */
	assert_int_equal(fcntl(b->fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(request(b, VIRTIO_BLK_T_OUT, 0, 4096, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, 0, 4096, NULL), VIRTIO_BLK_S_OK);
}

static uint8_t zero(struct bench *b, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes range = {.sector = sector, .num_sectors = sectors, .flags = flags};

	memcpy(data(b), &range, sizeof range);
	return request(b, type, 0, sizeof range, NULL);
}

static void discard_gives_space_back_and_zeroes_are_written(void **state)
{
	struct bench *b = *state;
	uint8_t file[4096], zeroes[4096] = {0};
	struct stat st;

	for (unsigned i = 0; i < 16; i++) {
		pattern(data(b), 65536, i);
		assert_int_equal(request(b, VIRTIO_BLK_T_OUT, i * 128, 65536, NULL), VIRTIO_BLK_S_OK);
	}
	assert_int_equal(zero(b, VIRTIO_BLK_T_DISCARD, 1024, 1024, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(fstat(b->fd, &st), 0);
	assert_true(st.st_blocks <= 1024);
	assert_int_equal(zero(b, VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(zero(b, VIRTIO_BLK_T_WRITE_ZEROES, 24, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP),
			 VIRTIO_BLK_S_OK);
	for (unsigned sector = 0; sector < 40; sector += 8) {
		assert_int_equal(pread(b->fd, file, sizeof file, sector * 512), sizeof file);
		assert_int_equal(memcmp(file, zeroes, sizeof file) == 0, sector == 8 || sector == 24);
	}
	assert_int_equal(zero(b, VIRTIO_BLK_T_DISCARD, SECTORS - 1, 2, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(zero(b, VIRTIO_BLK_T_DISCARD, UINT64_MAX, 2, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(zero(b, VIRTIO_BLK_T_DISCARD, 0, 0, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(zero(b, VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(zero(b, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
}

static void a_read_only_disk_is_not_written(void **state)
{
	struct bench *b = *state;

	assert_true(b->driver.features >> VIRTIO_BLK_F_RO & 1);
	assert_int_equal(request(b, VIRTIO_BLK_T_OUT, 0, 512, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(zero(b, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, 0, 512, NULL), VIRTIO_BLK_S_OK);
}

/* A driver that knows no flushes gets each write on the disk (5.2.6.2): seen as a write that cannot fail later. */
static void a_driver_without_flush_works(void **state)
{
	struct bench *b = *state;

	driver_start(&b->driver, 0);
	pattern(data(b), 4096, 3);
	assert_int_equal(request(b, VIRTIO_BLK_T_OUT, 0, 4096, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, 0, 4096, NULL), VIRTIO_BLK_S_OK);
}

static void a_request_without_header_or_status_stops_the_device(void **state)
{
	struct bench *b = *state;
	static const struct buffer wrong[][2] = {
	    {{HEADER, 15, false}, {STATUS, 1, true}},
	    {{HEADER, 8, false}, {DATA, 512, false}},
	    {{DATA, 512, true}, {STATUS, 1, true}},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		driver_request(&b->driver, 0, wrong[i], 2);
		while (!(driver_read(&b->driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET))
			usleep(100);
		driver_start(&b->driver, ALL_FEATURES);
	}
	assert_int_equal(request(b, VIRTIO_BLK_T_GET_ID, 0, 20, NULL), VIRTIO_BLK_S_OK);
	assert_string_equal((char *)data(b), strrchr(b->path, '/') + 1);
}

/* Resets again and again while requests are in flight: none is lost, none comes after the reset. */
static void resets_under_load(void **state)
{
	struct bench *b = *state;

	for (unsigned round = 0; round < 100; round++) {
		const struct buffer buffers[] = {{HEADER, 16, false}, {DATA, 512 * KIB, true}, {STATUS, 1, true}};

		put_header(b, HEADER, VIRTIO_BLK_T_IN, 0);
		for (unsigned i = 0; i < 5; i++)
			driver_offer(&b->driver, 0, buffers, 3, 0);
		driver_notify(&b->driver, 0);
		while (driver_write(&b->driver, VIRTIO_MMIO_STATUS, 0) == VCPU_RETRY)
			;
		memset(data(b), 0x33, 512 * KIB);
		usleep(200);
		for (unsigned i = 0; i < 512 * KIB; i += 4096)
			assert_int_equal(data(b)[i], 0x33);
		driver_start(&b->driver, ALL_FEATURES);
	}
	assert_int_equal(request(b, VIRTIO_BLK_T_IN, 0, 4096, NULL), VIRTIO_BLK_S_OK);
}

static void what_is_no_disk_is_refused(void **state)
{
	struct virtio_device *disk;
	struct bench b = {.fd = -1};
	struct error e = {""};

	assert_int_equal(virtio_block_new("/nonexistent/disk", false, &disk, &e), -ENOENT);
	assert_int_equal(virtio_block_new("/dev/null", false, &disk, &e), -EINVAL);
	assert_non_null(strstr(e.text, "neither"));
	make_file(&b);
	assert_int_equal(ftruncate(b.fd, 511), 0);
	assert_int_equal(virtio_block_new(b.path, false, &disk, &e), -EINVAL);
	assert_non_null(strstr(e.text, "truncate"));
	close(b.fd);
}

static void a_disk_has_one_writer(void **state)
{
	struct bench *b = *state;
	struct virtio_device *second;
	struct error e = {""};

	assert_int_equal(virtio_block_new(b->path, false, &second, &e), -EBUSY);
	assert_int_equal(virtio_block_new(b->path, true, &second, &e), -EBUSY);
	assert_non_null(strstr(e.text, "in use"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(what_is_written_is_read_again, setup, teardown),
	    cmocka_unit_test_setup_teardown(pieces_may_be_cut_anywhere, setup, teardown),
	    cmocka_unit_test_setup_teardown(many_requests_at_once_all_come_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_lies_outside_is_an_error, setup, teardown),
	    cmocka_unit_test_setup_teardown(errors_of_the_host_reach_the_guest, setup, teardown),
	    cmocka_unit_test_setup_teardown(discard_gives_space_back_and_zeroes_are_written, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_read_only_disk_is_not_written, setup_readonly, teardown),
	    cmocka_unit_test_setup_teardown(a_driver_without_flush_works, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_request_without_header_or_status_stops_the_device, setup, teardown),
	    cmocka_unit_test_setup_teardown(resets_under_load, setup, teardown),
	    cmocka_unit_test(what_is_no_disk_is_refused),
	    cmocka_unit_test_setup_teardown(a_disk_has_one_writer, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
