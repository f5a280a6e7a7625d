/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - one file by http: or https:, into memory.
 *
 * The server is not believed: its certificate is verified, its redirections are counted and never lead from https: to
 * http: or to another scheme, it may not send more than max bytes (compressed answers are not asked for), and it may not be
 * silent or slow for ever. A transfer that breaks off is resumed where it stopped, if the server says that the file is
 * still the same one; otherwise it is begun anew.
 *
 * Threads: any that may wait; http_global() once per process before there are several.
 */
#ifndef SCHED_SOURCE_HTTP_H
#define SCHED_SOURCE_HTTP_H

#include "base/base.h"

/* Told while bytes come in, at most every 50 ms or so. Returns false to give up (-ECANCELED). */
struct fetch_watch {
	bool (*go_on)(void *ctx, uint64_t done, uint64_t total); /* bytes; total 0: not known */
	void *ctx;
};

struct http_config {
	const char *ca_file; /* certificates to trust instead of the system's; NULL: the system's */
	unsigned connect_ms; /* 0: 10 s */
	unsigned stall_ms;   /* longest silence; 0: 15 s */
	unsigned total_ms;   /* of all attempts together; 0: 90 s */
	unsigned attempts;   /* 0: 4 */
};

#define HTTP_REDIRECTS_MAX 5

int http_global(struct error *e);

/*
 * -ENOENT the server has no such file; -EACCES it refuses; -EFBIG more than max; -ELOOP redirected too often; -ETIMEDOUT;
 * -EKEYREJECTED its certificate is not trusted; -ENETUNREACH it cannot be reached; -EPIPE it broke off again and again;
 * -EPROTO it speaks something else or redirects where it must not; -ECANCELED. The caller frees *ret_bytes.
 */
int http_get(const struct http_config *config, const char *url, size_t max, const struct fetch_watch *watch,
	     uint8_t **ret_bytes, size_t *ret_size, struct error *e);

/* Is this an http: or https: URL with a host and without a name or password in it? -EINVAL. */
int http_check_url(const char *url, struct error *e);

/* Is url below base (a URL that ends with '/'): same scheme, host and port, and a path that begins with base's and does
 * not climb out of it? */
bool http_url_below(const char *url, const char *base);

#endif
