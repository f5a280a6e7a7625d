/* SPDX-License-Identifier: Apache-2.0 */
/* http.c - see http.h. */
#include "http.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"

#define CONNECT_MS    10000
#define STALL_MS      15000
#define TOTAL_MS      90000
#define ATTEMPTS      4
#define WATCH_NS      (50 * NSEC_PER_MSEC)
#define BACKOFF_MS    100 /* doubled with each attempt */
#define VALIDATOR_MAX 256

struct transfer {
	const char *url;
	const struct fetch_watch *watch;
	size_t max;

	uint8_t *bytes;
	size_t size, room;
	uint64_t total; /* as the server says; 0: it does not */

	char validator[VALIDATOR_MAX]; /* ETag or Last-Modified of what we have, for If-Range; "" when there is none */
	char candidate[VALIDATOR_MAX]; /* of the answer whose headers are being read */
	uint64_t range_start;	       /* of a 206; UINT64_MAX: not said */
	bool begun;		       /* the body of this attempt */
	bool too_large, wrong_range, gave_up, stalled, no_memory;

	CURL *curl;
	uint64_t deadline_ns, stall_ns;
	uint64_t heard_ns, told_ns;
	curl_off_t heard_bytes;
};

int http_global(struct error *e)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return error_set(e, -EIO, "cannot start the HTTP library");
	return 0;
}

/* ---- URLs ---- */

struct url {
	char *scheme, *host, *port, *path, *user, *password;
};

static void url_clear(struct url *u)
{
	curl_free(u->scheme);
	curl_free(u->host);
	curl_free(u->port);
	curl_free(u->path);
	curl_free(u->user);
	curl_free(u->password);
}

/* Parts of a URL, normalised: "." and ".." are gone from the path. */
static int url_parse(const char *text, struct url *ret)
{
	CURLU *u = curl_url();
	int r = -EINVAL;

	if (!u)
		return -ENOMEM;
	if (curl_url_set(u, CURLUPART_URL, text, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_SCHEME, &ret->scheme, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_HOST, &ret->host, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_PORT, &ret->port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_PATH, &ret->path, 0) == CURLUE_OK) {
		(void)curl_url_get(u, CURLUPART_USER, &ret->user, 0);
		(void)curl_url_get(u, CURLUPART_PASSWORD, &ret->password, 0);
		r = 0;
	}
	curl_url_cleanup(u);
	return r;
}

int http_check_url(const char *text, struct error *e)
{
	_cleanup_(url_clear) struct url u = {0};

	if (url_parse(text, &u) < 0 || !u.host[0] || strstr(text, ":///") ||
	    (strcmp(u.scheme, "http") != 0 && strcmp(u.scheme, "https") != 0))
		return error_set(e, -EINVAL, "%.120s is not a URL such as https://HOST/PATH", text);
	if (u.user || u.password)
		return error_set(e, -EINVAL,
				 "a URL with a name or a password in it would be shown in reports: take it out");
	return 0;
}

bool http_url_below(const char *text, const char *base_text)
{
	_cleanup_(url_clear) struct url u = {0}, base = {0};

	if (url_parse(text, &u) < 0 || url_parse(base_text, &base) < 0 || u.user || u.password)
		return false;
	/* What a server may decode into a climb is no concern of a plain path: such a path is not taken. */
	if (strcasestr(u.path, "%2e") || strcasestr(u.path, "%2f") || strstr(u.path, ".."))
		return false;
	return strcmp(u.scheme, base.scheme) == 0 && strcasecmp(u.host, base.host) == 0 &&
	       strcmp(u.port, base.port) == 0 && strncmp(u.path, base.path, strlen(base.path)) == 0;
}

/* ---- what libcurl tells ---- */

static bool header_is(const char *line, size_t size, const char *name, const char **ret_value, size_t *ret_size)
{
	size_t n = strlen(name);

	if (size <= n || strncasecmp(line, name, n) != 0)
		return false;
	for (line += n, size -= n; size > 0 && (*line == ' ' || *line == '\t'); line++)
		size--;
	while (size > 0 && (line[size - 1] == '\r' || line[size - 1] == '\n' || line[size - 1] == ' '))
		size--;
	*ret_value = line;
	*ret_size = size;
	return true;
}

static size_t on_header(char *line, size_t one, size_t size, void *ctx)
{
	struct transfer *t = ctx;
	const char *value;
	size_t n;

	if (size >= 5 && strncmp(line, "HTTP/", 5) == 0) { /* another answer: of a redirection, or the last one */
		t->candidate[0] = '\0';
		t->range_start = UINT64_MAX;
	} else if (header_is(line, size, "ETag:", &value, &n)) {
		if (n < sizeof t->candidate && n > 0 &&
		    value[0] == '"') /* a weak one ("W/") says nothing about bytes */
			snprintf(t->candidate, sizeof t->candidate, "%.*s", (int)n, value);
	} else if (header_is(line, size, "Last-Modified:", &value, &n)) {
		if (n < sizeof t->candidate && t->candidate[0] == '\0')
			snprintf(t->candidate, sizeof t->candidate, "%.*s", (int)n, value);
	} else if (header_is(line, size, "Content-Range:", &value, &n)) {
		char text[64];
		uint64_t start;

		snprintf(text, sizeof text, "%.*s", (int)MIN(n, sizeof text - 1), value);
		if (sscanf(text, "bytes %" SCNu64 "-", &start) == 1)
			t->range_start = start;
	}
	return size;
}

/* The first bytes of an attempt's body: are they the beginning, or what follows what we have? */
static bool begin_body(struct transfer *t)
{
	curl_off_t length = -1;
	long status = 0;

	t->begun = true;
	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	if (status == 206) {
		if (t->size == 0 || t->range_start != t->size) {
			t->wrong_range = true;
			return false;
		}
	} else {
		t->size = 0;
		snprintf(t->validator, sizeof t->validator, "%s", t->candidate);
	}
	t->total = length > 0 ? t->size + (uint64_t)length : 0;
	return true;
}

static size_t on_body(char *data, size_t one, size_t size, void *ctx)
{
	struct transfer *t = ctx;

	if (!t->begun && !begin_body(t))
		return 0;
	if (size > t->max - t->size) {
		t->too_large = true;
		return 0;
	}
	if (t->size + size > t->room) {
		size_t room = MIN(t->max, MAX((t->size + size) * 2, (size_t)65536));
		uint8_t *grown = realloc(t->bytes, room);

		if (!grown) {
			t->no_memory = true;
			return 0;
		}
		t->bytes = grown;
		t->room = room;
	}
	memcpy(t->bytes + t->size, data, size);
	t->size += size;
	return size;
}

static int on_progress(void *ctx, curl_off_t total, curl_off_t now_bytes, curl_off_t up_total, curl_off_t up_now)
{
	struct transfer *t = ctx;
	uint64_t now = clock_now_ns();

	if (now_bytes != t->heard_bytes) {
		t->heard_bytes = now_bytes;
		t->heard_ns = now;
	}
	if (now - t->heard_ns > t->stall_ns) {
		t->stalled = true;
		return 1;
	}
	if (t->watch && now - t->told_ns >= WATCH_NS) {
		t->told_ns = now;
		if (!t->watch->go_on(t->watch->ctx, t->size, t->total)) {
			t->gave_up = true;
			return 1;
		}
	}
	return 0;
}

/* ---- one attempt ---- */

static void set_up(struct transfer *t, const struct http_config *c, struct curl_slist **headers)
{
	CURL *h = t->curl;
	uint64_t now = clock_now_ns();
	long left = t->deadline_ns > now ? (long)((t->deadline_ns - now) / NSEC_PER_MSEC) + 1 : 1;

	curl_easy_reset(h);
	curl_easy_setopt(h, CURLOPT_URL, t->url);
	curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR,
			 strncasecmp(t->url, "https:", 6) == 0 ? "https" : "http,https");
	curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(h, CURLOPT_MAXREDIRS, (long)HTTP_REDIRECTS_MAX);
	curl_easy_setopt(h, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(h, CURLOPT_USERAGENT, "baton/" BATON_VERSION);
	curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
	if (c->ca_file)
		curl_easy_setopt(h, CURLOPT_CAINFO, c->ca_file);
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, MIN((long)(c->connect_ms ? c->connect_ms : CONNECT_MS), left));
	curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, left);
	curl_easy_setopt(h, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)t->max);
	curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(h, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(h, CURLOPT_XFERINFODATA, t);
	curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
	if (t->size > 0 && t->validator[0]) {
		char range[32], condition[VALIDATOR_MAX + 16];

		snprintf(range, sizeof range, "%zu-", t->size);
		curl_easy_setopt(h, CURLOPT_RANGE, range);
		snprintf(condition, sizeof condition, "If-Range: %s", t->validator);
		*headers = curl_slist_append(NULL, condition);
		curl_easy_setopt(h, CURLOPT_HTTPHEADER, *headers);
	} else {
		t->size = 0;
	}
	t->begun = t->wrong_range = false;
	t->heard_ns = now;
	t->heard_bytes = 0;
}

/* Is it worth another attempt? */
static bool may_pass(const struct transfer *t, CURLcode code, long status)
{
	if (t->too_large || t->gave_up || t->stalled || t->no_memory)
		return false;
	switch (code) {
	case CURLE_WRITE_ERROR:
		return t->wrong_range;
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_COULDNT_CONNECT:
		return true;
	case CURLE_HTTP_RETURNED_ERROR: /* 416: what we have is as long as the file is now; begin anew */
		return status == 500 || status == 502 || status == 503 || status == 504 || status == 416;
	default:
		return false;
	}
}

static int explain_status(const struct transfer *t, long status, struct error *e)
{
	if (status == 404 || status == 410)
		return error_set(e, -ENOENT, "%.160s is not there (HTTP status %ld): check the address", t->url,
				 status);
	if (status == 401 || status == 403 || status == 407)
		return error_set(e, -EACCES, "the server does not hand out %.160s (HTTP status %ld)", t->url, status);
	return error_set(e, -EPROTO, "the server answers %.160s with HTTP status %ld: try again later", t->url, status);
}

static int explain(const struct transfer *t, CURLcode code, long status, const char *detail, struct error *e)
{
	const char *why = detail[0] ? detail : curl_easy_strerror(code);

	if (t->too_large || code == CURLE_FILESIZE_EXCEEDED)
		return error_set(e, -EFBIG, "%.160s is larger than the %zu KiB that are allowed", t->url, t->max / KIB);
	if (t->gave_up)
		return error_set(e, -ECANCELED, "fetching %.160s was cancelled", t->url);
	if (t->no_memory)
		return error_set(e, -ENOMEM, "no memory to fetch %.160s", t->url);
	if (t->stalled || code == CURLE_OPERATION_TIMEDOUT)
		return error_set(e, -ETIMEDOUT,
				 "%.160s does not come: the server was silent or too slow (%zu bytes so far)", t->url,
				 t->size);
	switch (code) {
	case CURLE_HTTP_RETURNED_ERROR:
		return explain_status(t, status, e);
	case CURLE_TOO_MANY_REDIRECTS:
		return error_set(e, -ELOOP, "%.160s is redirected more than %d times: check the address", t->url,
				 HTTP_REDIRECTS_MAX);
	case CURLE_UNSUPPORTED_PROTOCOL:
		return error_set(e, -EPROTO, "%.140s is redirected to an address that is not allowed (%.80s)", t->url,
				 why);
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return error_set(
		    e, -EKEYREJECTED,
		    "the certificate of %.120s is not trusted (%.90s); --image-ca names the certificates to "
		    "trust",
		    t->url, why);
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		return error_set(e, -EPIPE, "the server breaks off in the middle of %.160s (%zu bytes so far)", t->url,
				 t->size);
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
		return error_set(e, -ENETUNREACH, "cannot reach %.160s: %.90s", t->url, why);
	default:
		return error_set(e, -EPROTO, "cannot fetch %.160s: %.90s", t->url, why);
	}
}

static CURLcode attempt(struct transfer *t, const struct http_config *c, char detail[static CURL_ERROR_SIZE],
			long *ret_status)
{
	struct curl_slist *headers = NULL;
	CURLcode code;

	detail[0] = '\0';
	set_up(t, c, &headers);
	curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, detail);
	code = curl_easy_perform(t->curl);
	*ret_status = 0;
	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, ret_status);
	curl_slist_free_all(headers);
	if (code == CURLE_OK && !t->begun) /* an empty file */
		t->size = 0;
	return code;
}

int http_get(const struct http_config *c, const char *url, size_t max, const struct fetch_watch *watch,
	     uint8_t **ret_bytes, size_t *ret_size, struct error *e)
{
	struct transfer t = {.url = url, .watch = watch, .max = max};
	unsigned attempts = c->attempts ? c->attempts : ATTEMPTS;
	char detail[CURL_ERROR_SIZE];
	CURLcode code;
	long status;
	int r = http_check_url(url, e);

	if (r < 0)
		return r;
	t.curl = curl_easy_init();
	t.bytes = malloc(1);
	if (!t.curl || !t.bytes) {
		free(t.bytes);
		return error_set(e, -ENOMEM, "no memory to fetch %.160s", url);
	}
	t.deadline_ns = clock_now_ns() + (c->total_ms ? c->total_ms : TOTAL_MS) * NSEC_PER_MSEC;
	t.stall_ns = (c->stall_ms ? c->stall_ms : STALL_MS) * NSEC_PER_MSEC;
	for (unsigned n = 0;; n++) {
		code = attempt(&t, c, detail, &status);
		if (code == CURLE_OK || n + 1 == attempts || !may_pass(&t, code, status) ||
		    clock_now_ns() >= t.deadline_ns)
			break;
		if (t.wrong_range || status == 416)
			t.validator[0] = '\0'; /* this server's ranges are of no use */
		usleep((BACKOFF_MS * 1000U) << n);
	}
	if (code != CURLE_OK) {
		/* Errors of a single line, whatever the library or the server put into them. */
		for (char *s = detail; *s; s++)
			if (*s < ' ' || *s > '~')
				*s = '?';
		r = explain(&t, code, status, detail, e);
	}
	curl_easy_cleanup(t.curl);
	if (r < 0) {
		free(t.bytes);
		return r;
	}
	*ret_bytes = t.bytes;
	*ret_size = t.size;
	return 0;
}
