/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sources.h - where images come from, by their address (row S12).
 *
 *	file:NAME, PATH			a file (sched/source.h)
 *	http://..., https://...		a file of a web server
 *	server:NAME@VERSION, NAME@CHANNEL  from the image server (docs/images.md); server:NAME means NAME@stable
 *	upload:DIGEST			what the asking VM has uploaded
 *
 * Any address may end with #sha256=DIGEST: then nothing else is accepted, and the cache is enough when it has the file.
 *
 * The operator may name anything. A VM may name files of the image directory, the image server's images, URLs below the
 * image server, and its own uploads: it is not to make the monitor open connections or files of its choice.
 *
 * Whether what came may be loaded is not decided here (trust/).
 *
 * Threads: sources_fetch may wait for the network, so it is for the change engine's thread. All functions: any thread.
 */
#ifndef SCHED_SOURCE_SOURCES_H
#define SCHED_SOURCE_SOURCES_H

#include "base/base.h"
#include "sched/source/cache.h"
#include "sched/source/http.h"
#include "sched/source/upload.h"

struct sources_config {
	const char *image_dir; /* may be NULL */
	const char *server;    /* URL or directory of the image server; NULL: none */
	const char *cache_dir; /* NULL: no cache */
	uint64_t cache_bytes;  /* 0: 256 MiB */
	struct http_config http;
};

struct sources;

int sources_new(const struct sources_config *config, struct sources **ret, struct error *e);
struct sources *sources_free(struct sources *s);
struct uploads *sources_uploads(struct sources *s);

struct source_request {
	const char *where;
	bool by_operator; /* else: the VM with this id */
	uint32_t vm;
	const struct fetch_watch *watch; /* may be NULL */
};

/* A file, and what is known about it. */
struct source_image {
	uint8_t *bytes;
	size_t size;
	bool in_image_dir; /* a plain name, found in the image directory */
	bool cached;	   /* no server was asked for it */
	char note[128];	   /* what the operator should know, or "" */
	/* From the server's index, else "": what the image must call itself. */
	char name[BATON_NAME_MAX], version[BATON_NAME_MAX];
};

/* Errors: those of source_fetch and http_get; -EPERM, -EBADMSG (index or digest), -ENOENT. ret->bytes is the caller's. */
int sources_fetch(struct sources *s, const struct source_request *request, struct source_image *ret, struct error *e);

/* Does this word name a scheduler of the image server ("bvt@1.2", "server:bvt")? For command lines. */
bool source_is_server(const char *word);

#endif
