/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor/vm_devices.h"

#include <string.h>

#include "devices/virtio_block.h"
#include "devices/virtio_console.h"
#include "devices/virtio_net.h"
#include "devices/virtio_rng.h"

/* A place for one more device; NULL: there are too many. */
static struct virtio_device **place(struct vm_devices *d, struct error *e)
{
	if (d->count < MACHINE_DEVICES_MAX)
		return &d->list[d->count];
	error_set(e, -E2BIG, "a VM has at most %d devices", MACHINE_DEVICES_MAX);
	return NULL;
}

/* ---- disks ---- */

static int add_disk(struct vm_devices *d, json_t *disk, struct error *e)
{
	struct virtio_device **at = place(d, e);
	const char *path = json_string_value(disk);
	int readonly = 0, r;

	if (!at)
		return -E2BIG;
	if (!path && json_unpack_ex(disk, NULL, JSON_STRICT, "{s:s, s?b}", "path", &path, "readonly", &readonly) < 0)
		return error_set(e, -EINVAL, "a disk is a path, or {\"path\": ..., \"readonly\": true or false}");
	r = virtio_block_new(path, readonly, at, e);
	d->count += r == 0;
	return r;
}

static int add_disks(struct vm_devices *d, json_t *disks, struct error *e)
{
	size_t i;
	json_t *disk;
	int r = 0;

	if (disks && !json_is_array(disks))
		return error_set(e, -EINVAL, "disks is a list");
	json_array_foreach(disks, i, disk)
	{
		r = add_disk(d, disk, e);
		if (r < 0)
			break;
	}
	return r;
}

/* ---- network ---- */

static int read_forwards(json_t *list, struct net_user_config *c, struct error *e)
{
	size_t i;
	json_t *text;
	int r = 0;

	if (list && (!json_is_array(list) || json_array_size(list) > ARRAY_SIZE(c->forward)))
		return error_set(e, -EINVAL, "forward is a list of at most %zu ports", ARRAY_SIZE(c->forward));
	json_array_foreach(list, i, text)
	{
		r = net_forward_parse(json_is_string(text) ? json_string_value(text) : "?", &c->forward[i], e);
		if (r < 0)
			break;
		c->forward_count++;
	}
	return r;
}

static int make_backend(json_t *net, struct net_backend **ret, struct error *e)
{
	const char *kind = json_string_value(net), *interface = NULL;
	struct net_user_config user = {.host = false};
	json_t *forward = NULL;
	int host = 0, r;

	if (!kind && json_unpack_ex(net, NULL, JSON_STRICT, "{s:s, s?s, s?b, s?o}", "kind", &kind, "interface",
				    &interface, "host", &host, "forward", &forward) < 0)
		return error_set(e, -EINVAL,
				 "net is \"user\", \"none\", {\"kind\": \"user\", \"host\": ..., \"forward\": [...]} "
				 "or {\"kind\": \"tap\", \"interface\": \"tap0\"}");
	if (strcmp(kind, "tap") == 0 && interface)
		return net_tap_new(interface, ret, e);
	if (strcmp(kind, "user") != 0)
		return error_set(e, -EINVAL, "there is no network of kind %.32s, or not like that: user, tap, none",
				 kind);
	user.host = host;
	r = read_forwards(forward, &user, e);
	return r < 0 ? r : net_user_new(&user, ret, e);
}

static int add_net(struct vm_devices *d, json_t *net, struct error *e)
{
	struct net_backend *backend = NULL;
	struct virtio_device **at;
	int r;

	if (!net || json_is_null(net) || (json_is_string(net) && strcmp(json_string_value(net), "none") == 0))
		return 0;
	at = place(d, e);
	if (!at)
		return -E2BIG;
	r = make_backend(net, &backend, e);
	if (r == 0)
		r = virtio_net_new(backend, at, e);
	d->count += r == 0;
	return r;
}

/* ---- the rest ---- */

static int add_rng(struct vm_devices *d, json_t *rng, struct error *e)
{
	struct virtio_device **at;
	int r;

	if (rng && !json_is_boolean(rng))
		return error_set(e, -EINVAL, "rng is true or false");
	if (!json_is_true(rng))
		return 0;
	at = place(d, e);
	if (!at)
		return -E2BIG;
	r = virtio_rng_new(at, e);
	d->count += r == 0;
	return r;
}

static int add_console(struct vm_devices *d, json_t *console, struct error *e)
{
	const char *kind = console ? json_string_value(console) : "serial";
	struct virtio_device **at;
	int r;

	if (kind && strcmp(kind, "serial") == 0)
		return 0; /* every machine has that */
	if (!kind || strcmp(kind, "virtio") != 0)
		return error_set(e, -EINVAL, "console is \"serial\" or \"virtio\"");
	at = place(d, e);
	if (!at)
		return -E2BIG;
	r = virtio_console_new(at, e);
	d->count += r == 0;
	return r;
}

static const struct {
	const char *param;
	int (*add)(struct vm_devices *d, json_t *value, struct error *e);
} kinds[] = {{"disks", add_disks}, {"net", add_net}, {"rng", add_rng}, {"console", add_console}};

bool vm_devices_know(const char *param)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(param, kinds[i].param) == 0)
			return true;
	return false;
}

int vm_devices_make(json_t *params, struct vm_devices *ret, struct error *e)
{
	struct vm_devices d = {.count = 0};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kinds) && r == 0; i++)
		r = kinds[i].add(&d, json_object_get(params, kinds[i].param), e);
	if (r < 0) {
		vm_devices_free(&d);
		return r;
	}
	*ret = d;
	return 0;
}

void vm_devices_free(struct vm_devices *d)
{
	for (; d->count > 0; d->count--)
		virtio_free(d->list[d->count - 1]);
}
