/* SPDX-License-Identifier: Apache-2.0 */
/* web.h - a directory, and the web server of the tests over it (server.py). */
#ifndef TESTS_SOURCE_WEB_H
#define TESTS_SOURCE_WEB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <sys/types.h>

#include "base/base.h"

struct web {
	char dir[64]; /* its files are below /files/ */
	char certificate[128];
	pid_t server;
	unsigned port, tls_port; /* tls_port 0: there is no openssl here */
};

void web_begin(struct web *w, const char *program);
void web_start(struct web *w, const char *program);
void web_stop(struct web *w); /* as if the server were away */
void web_end(struct web *w);

/* A path in its directory, or a URL of it; good until the fifth call from now. */
const char *web_path(const struct web *w, const char *name);
const char *web_url(const struct web *w, const char *path);
const char *web_tls_url(const struct web *w, const char *path);

void web_put(const struct web *w, const char *name, const void *bytes, size_t size);
/* Byte i of what server.py sends. */
uint8_t web_content(size_t i);
#define WEB_CONTENT_SIZE ((size_t)100000)

#endif
