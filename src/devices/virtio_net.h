/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio_net.h - a network card (virtio 1.2, section 5.1), and what is behind it.
 *
 *	guest  <-- queues -->  virtio_net.c  <-- Ethernet frames -->  a backend: net_user.c (libslirp), net_tap.c
 *
 * All of it works on the I/O thread. A frame is copied once, out of or into guest memory, so nothing of the guest's is held
 * while a backend works. No offloads: frames are whole and carry their checksums. Frames for a guest that offers no buffers
 * wait in a bounded backlog; when that is full they are dropped, as on a wire.
 */
#ifndef DEVICES_VIRTIO_NET_H
#define DEVICES_VIRTIO_NET_H

#include "devices/virtio.h"

#define NET_FRAME_MAX (64 * KIB)

struct net_backend;

/* Calls on the I/O thread, unless noted. */
struct net_backend_ops {
	const char *name;
	uint16_t mtu; /* largest payload of a frame, bytes */
	/* [before the guest runs] Sources into the loop; [parked] out of it. attach: negative errno. */
	int (*attach)(struct net_backend *b, struct io_loop *l);
	void (*detach)(struct net_backend *b, struct io_loop *l);
	/* A frame from the guest (14 to NET_FRAME_MAX bytes). Must not block; may drop it. */
	void (*send)(struct net_backend *b, const uint8_t *frame, size_t size);
	/* After a batch of them. NULL: nothing to do. */
	void (*sent)(struct net_backend *b);
	/* The backlog is empty again. NULL: nothing to do. */
	void (*room)(struct net_backend *b);
	/* [detached] */
	void (*free)(struct net_backend *b);
};

struct net_backend {
	const struct net_backend_ops *ops;
	struct virtio_device *card; /* set by virtio_net_new */
};

/* Takes the backend over, also on failure. */
int virtio_net_new(struct net_backend *backend, struct virtio_device **ret, struct error *e);

/* ---- for backends, on the I/O thread ---- */

/* A frame for the guest. */
void net_receive(struct net_backend *b, const void *frame, size_t size);
/* After a batch of them: interrupts the guest if it wants to know. */
void net_received(struct net_backend *b);
/* Is it worth taking more frames in? */
bool net_has_room(struct net_backend *b);

/* ---- the backends ---- */

/* User-mode networking: the guest is 10.0.2.15 (by DHCP, too) behind a translating router 10.0.2.2 with a name server
 * 10.0.2.3. host: it may connect to servers on the host itself, whose loopback then is 10.0.2.2. */
struct net_user_config {
	bool host;
	unsigned forward_count; /* from a port of the host to one of the guest */
	struct net_forward {
		bool udp;
		uint32_t host_addr; /* IPv4, network byte order */
		uint16_t host_port, guest_port;
	} forward[8];
};
/* "tcp:127.0.0.1:2222:22": protocol, address and port of the host, port of the guest. -EINVAL. */
int net_forward_parse(const char *text, struct net_forward *ret, struct error *e);
int net_user_new(const struct net_user_config *c, struct net_backend **ret, struct error *e);

/* An existing TAP interface of the host (ip tuntap add ...), used by this VM alone. */
int net_tap_new(const char *interface, struct net_backend **ret, struct error *e);

#endif
