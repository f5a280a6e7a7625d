/* SPDX-License-Identifier: Apache-2.0 */
/* A network card with the user-mode network behind it, and one with a backend of the test's own. */
#include <arpa/inet.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <netinet/if_ether.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/virtio_net.h"
#include "driver.h"

#define RX	     0
#define TX	     1
#define HEADER	     12
#define IN	     DRIVER_DATA
#define OUT	     (DRIVER_DATA + 0x40000)
#define ALL_FEATURES UINT64_MAX

/* ---- a backend that remembers ---- */

struct wire {
	struct net_backend backend;
	unsigned frames, rooms;
	size_t size;
	uint8_t frame[NET_FRAME_MAX];
};

static int wire_attach(struct net_backend *b, struct io_loop *l)
{
	return 0;
}

static void wire_detach(struct net_backend *b, struct io_loop *l)
{
}

static void wire_send(struct net_backend *b, const uint8_t *frame, size_t size)
{
	struct wire *w = container_of(b, struct wire, backend);

	w->frames++;
	w->size = size;
	memcpy(w->frame, frame, size);
}

static void wire_room(struct net_backend *b)
{
	container_of(b, struct wire, backend)->rooms++;
}

static void wire_free(struct net_backend *b)
{
	free(container_of(b, struct wire, backend));
}

static const struct net_backend_ops wire_ops = {
    .name = "wire",
    .mtu = 1500,
    .attach = wire_attach,
    .detach = wire_detach,
    .send = wire_send,
    .room = wire_room,
    .free = wire_free,
};

struct bench {
	struct driver driver;
	struct wire *wire;
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof *b);
	struct virtio_device *card;

	b->wire = calloc(1, sizeof *b->wire);
	b->wire->backend.ops = &wire_ops;
	assert_int_equal(virtio_net_new(&b->wire->backend, &card, NULL), 0);
	driver_init(&b->driver, card, false);
	driver_start(&b->driver, ALL_FEATURES);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	driver_done(&b->driver);
	free(b);
	return 0;
}

static void a_frame_goes_out_without_its_header(void **state)
{
	struct bench *b = *state;
	const struct buffer split[] = {{OUT, 5, false}, {OUT + 5, 27, false}, {OUT + 100, 60, false}};

	memset(driver_at(&b->driver, OUT), 0xaa, HEADER);
	memset(driver_at(&b->driver, OUT + HEADER), 0x11, 20);
	memset(driver_at(&b->driver, OUT + 100), 0x22, 60);
	assert_int_equal(driver_request(&b->driver, TX, split, 3), 0);
	assert_int_equal(b->wire->size, 80);
	assert_int_equal(b->wire->frame[0], 0x11);
	assert_int_equal(b->wire->frame[20], 0x22);
}

static void what_is_no_frame_is_dropped(void **state)
{
	struct bench *b = *state;

	driver_request(&b->driver, TX, &(struct buffer){OUT, HEADER + 13, false}, 1);
	driver_request(&b->driver, TX, &(struct buffer){OUT, 3, false}, 1);
	driver_request(&b->driver, TX, &(struct buffer){OUT, HEADER + NET_FRAME_MAX + 1, false}, 1);
	driver_request(&b->driver, TX, &(struct buffer){OUT, 100, true}, 1);
	assert_int_equal(b->wire->frames, 0);
	driver_request(&b->driver, TX, &(struct buffer){OUT, HEADER + NET_FRAME_MAX, false}, 1);
	assert_int_equal(b->wire->frames, 1);
}

static void frames_wait_for_buffers_in_their_order(void **state)
{
	struct bench *b = *state;
	uint8_t frame[200];

	for (unsigned i = 0; i < 10; i++) {
		memset(frame, (int)i, sizeof frame);
		net_receive(&b->wire->backend, frame, 100 + i);
	}
	assert_false(net_has_room(&b->wire->backend));
	for (unsigned i = 0; i < 10; i++) {
		const uint8_t *in = driver_at(&b->driver, IN);

		assert_int_equal(b->wire->rooms, 0);
		assert_int_equal(driver_request(&b->driver, RX, &(struct buffer){IN, 2000, true}, 1), HEADER + 100 + i);
		assert_int_equal(in[HEADER], i);
		assert_int_equal(in[10], 1); /* number of buffers */
	}
	assert_true(net_has_room(&b->wire->backend));
	assert_int_equal(b->wire->rooms, 1);
}

static void the_backlog_is_bounded(void **state)
{
	struct bench *b = *state;
	uint8_t frame[1500] = {0};

	for (unsigned i = 0; i < 5000; i++)
		net_receive(&b->wire->backend, frame, sizeof frame);
	/* It moves up as frames leave. */
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(driver_request(&b->driver, RX, &(struct buffer){IN, 2000, true}, 1), HEADER + 1500);
		net_receive(&b->wire->backend, frame, sizeof frame);
	}
	/* A reset forgets it. */
	driver_start(&b->driver, ALL_FEATURES);
	assert_true(net_has_room(&b->wire->backend));
}

static void a_buffer_too_small_costs_the_frame(void **state)
{
	struct bench *b = *state;
	uint8_t frame[1500] = {0};

	driver_offer(&b->driver, RX, &(struct buffer){IN, 1000, true}, 1, 0);
	net_receive(&b->wire->backend, frame, sizeof frame);
	assert_int_equal(driver_answer(&b->driver, RX).len, 0);
}

/* ---- libslirp ---- */

static void the_user_network_answers(void **state)
{
	const struct net_user_config config = {.host = false};
	struct net_backend *user;
	struct virtio_device *card;
	struct driver d;
	struct ether_arp *arp;
	uint8_t *out, *in;

	assert_int_equal(net_user_new(&config, &user, NULL), 0);
	assert_int_equal(virtio_net_new(user, &card, NULL), 0);
	driver_init(&d, card, true);
	driver_start(&d, ALL_FEATURES);
	assert_int_equal(d.features >> VIRTIO_NET_F_MAC & 1, 1);
	for (unsigned i = 0; i < 8; i++)
		driver_offer(&d, RX, &(struct buffer){IN + i * 2048, 2048, true}, 1, 0);
	driver_notify(&d, RX);

	/* Who has 10.0.2.2? */
	out = driver_at(&d, OUT);
	memset(out, 0, HEADER + 60);
	memset(out + HEADER, 0xff, 6);
	memcpy(out + HEADER + 6, d.dev->config, 6);
	out[HEADER + 12] = ETHERTYPE_ARP >> 8;
	out[HEADER + 13] = ETHERTYPE_ARP & 0xff;
	arp = (struct ether_arp *)(void *)(out + HEADER + 14);
	arp->arp_hrd = htons(ARPHRD_ETHER);
	arp->arp_pro = htons(ETHERTYPE_IP);
	arp->arp_hln = 6;
	arp->arp_pln = 4;
	arp->arp_op = htons(ARPOP_REQUEST);
	memcpy(arp->arp_sha, d.dev->config, 6);
	memcpy(arp->arp_spa, (uint8_t[]){10, 0, 2, 15}, 4);
	memcpy(arp->arp_tpa, (uint8_t[]){10, 0, 2, 2}, 4);
	driver_request(&d, TX, &(struct buffer){OUT, HEADER + 60, false}, 1);

	for (;;) { /* other frames may come, such as router advertisements */
		struct vring_used_elem e = driver_answer(&d, RX);

		in = driver_at(&d, d.queue[RX].desc[e.id].addr);
		arp = (struct ether_arp *)(void *)(in + HEADER + 14);
		if (in[HEADER + 12] == ETHERTYPE_ARP >> 8 && in[HEADER + 13] == (ETHERTYPE_ARP & 0xff) &&
		    arp->arp_op == htons(ARPOP_REPLY))
			break;
	}
	assert_memory_equal(arp->arp_spa, ((uint8_t[]){10, 0, 2, 2}), 4);
	assert_memory_equal(in + HEADER, d.dev->config, 6);
	driver_done(&d);
}

static void nonsense_does_not_harm_the_user_network(void **state)
{
	const struct net_user_config config = {.host = false};
	struct net_backend *user;
	struct virtio_device *card;
	struct driver d;
	unsigned seed = 7;

	assert_int_equal(net_user_new(&config, &user, NULL), 0);
	assert_int_equal(virtio_net_new(user, &card, NULL), 0);
	driver_init(&d, card, true);
	driver_start(&d, ALL_FEATURES);
	for (unsigned i = 0; i < 2000; i++) {
		uint8_t *out = driver_at(&d, OUT);
		uint32_t size = 14 + (uint32_t)rand_r(&seed) % 200;

		for (uint32_t j = 0; j < size; j++)
			out[HEADER + j] = (uint8_t)(rand_r(&seed) >> 5);
		memcpy(out + HEADER + 12, i & 1 ? "\x08\x00\x45\x00" : "\x08\x06\x00\x01", 4);
		driver_request(&d, TX, &(struct buffer){OUT, HEADER + size, false}, 1);
	}
	driver_done(&d);
}

static void forwards_are_read_strictly(void **state)
{
	static const char *const wrong[] = {"",
					    "tcp",
					    "tcp:127.0.0.1:1:0",
					    "tcp:127.0.0.1:65536:1",
					    "ftp:127.0.0.1:1:1",
					    "tcp:localhost:1:1",
					    "tcp:127.0.0.1:1:1:",
					    "tcp:127.0.0.1:-1:1",
					    "tcp:127.0.0.1: 1:1",
					    "tcp:1.2.3:1:1",
					    "tcp:127.0.0.1:1:1x"};
	struct net_forward f;
	struct error e;

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(net_forward_parse(wrong[i], &f, &e), -EINVAL);
	assert_int_equal(net_forward_parse("udp:127.0.0.1:5353:53", &f, &e), 0);
	assert_true(f.udp);
	assert_int_equal(f.host_port, 5353);
	assert_int_equal(f.guest_port, 53);
	assert_int_equal(ntohl(f.host_addr), 0x7f000001);
}

static void an_interface_that_is_not_there_is_refused(void **state)
{
	struct net_backend *tap;
	struct error e = {""};

	assert_int_equal(net_tap_new("baton-not-here", &tap, &e), -ENODEV);
	assert_non_null(strstr(e.text, "tuntap"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_frame_goes_out_without_its_header, setup, teardown),
	    cmocka_unit_test_setup_teardown(what_is_no_frame_is_dropped, setup, teardown),
	    cmocka_unit_test_setup_teardown(frames_wait_for_buffers_in_their_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(the_backlog_is_bounded, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_buffer_too_small_costs_the_frame, setup, teardown),
	    cmocka_unit_test(the_user_network_answers),
	    cmocka_unit_test(nonsense_does_not_harm_the_user_network),
	    cmocka_unit_test(forwards_are_read_strictly),
	    cmocka_unit_test(an_interface_that_is_not_there_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
