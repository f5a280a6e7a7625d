/* SPDX-License-Identifier: Apache-2.0 */
/* net_tap.c - a network card's frames to and from a TAP interface of the host. */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>

#include "devices/virtio_net.h"

#define BATCH 64

struct tap {
	struct net_backend backend;
	struct io_source source;
	struct io_loop *loop;
	bool waits; /* it is not listened to: the guest takes no more for now */
	uint8_t frame[NET_FRAME_MAX];
};

static struct tap *tap_of(struct net_backend *b)
{
	return container_of(b, struct tap, backend);
}

static void listen_to(struct tap *t, bool on)
{
	t->waits = !on;
	(void)io_loop_want(t->loop, &t->source, on ? EPOLLIN : 0);
}

static void tap_ready(struct io_source *s, uint32_t events)
{
	struct tap *t = container_of(s, struct tap, source);

	for (unsigned i = 0; i < BATCH; i++) {
		ssize_t n;

		if (!net_has_room(&t->backend)) {
			listen_to(t, false);
			break;
		}
		n = read(s->fd, t->frame, sizeof t->frame);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			listen_to(t, false); /* the interface is gone; frames to it are dropped likewise */
		if (n <= 0)
			break;
		net_receive(&t->backend, t->frame, (size_t)n);
	}
	net_received(&t->backend);
}

static void tap_room(struct net_backend *b)
{
	if (tap_of(b)->waits)
		listen_to(tap_of(b), true);
}

static void tap_send(struct net_backend *b, const uint8_t *frame, size_t size)
{
	ssize_t n = write(tap_of(b)->source.fd, frame, size);

	(void)n; /* a full queue drops, as a switch does */
}

static int tap_attach(struct net_backend *b, struct io_loop *l)
{
	tap_of(b)->loop = l;
	return io_loop_add(l, &tap_of(b)->source, EPOLLIN);
}

static void tap_detach(struct net_backend *b, struct io_loop *l)
{
	io_loop_remove(l, &tap_of(b)->source);
}

static void tap_free(struct net_backend *b)
{
	close_fd(tap_of(b)->source.fd);
	free(tap_of(b));
}

static const struct net_backend_ops tap_ops = {
    .name = "net (tap)",
    .mtu = 1500,
    .attach = tap_attach,
    .detach = tap_detach,
    .send = tap_send,
    .room = tap_room,
    .free = tap_free,
};

int net_tap_new(const char *interface, struct net_backend **ret, struct error *e)
{
	_cleanup_close_ int fd = -1;
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	struct tap *t;

	if (strlen(interface) >= sizeof request.ifr_name || if_nametoindex(interface) == 0)
		return error_set(
		    e, -ENODEV,
		    "there is no network interface %.32s; make one: ip tuntap add %.16s mode tap user $USER", interface,
		    interface);
	memcpy(request.ifr_name, interface, strlen(interface));
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return error_set(e, -errno, "/dev/net/tun cannot be opened: %s", strerror(errno));
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		return error_set(e, -errno, "the interface %s cannot be used: %s%s", interface, strerror(errno),
				 errno == EBUSY	  ? "; another VM has it"
				 : errno == EPERM ? "; give it to your user: ip tuntap add ... user NAME"
						  : "");
	t = calloc(1, sizeof *t);
	if (!t)
		return error_set(e, -ENOMEM, "no memory for a network card");
	t->backend.ops = &tap_ops;
	t->source = (struct io_source){.fd = take_fd(&fd), .ready = tap_ready};
	*ret = &t->backend;
	return 0;
}
