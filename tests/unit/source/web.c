/* SPDX-License-Identifier: Apache-2.0 */
/* web.c - see web.h. */
#include "web.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "sched/trust/files.h"

static char *next_buffer(void)
{
	static char buffers[5][PATH_MAX];
	static unsigned turn;

	turn = (turn + 1) % 5;
	return buffers[turn];
}

const char *web_path(const struct web *w, const char *name)
{
	char *buffer = next_buffer();

	snprintf(buffer, PATH_MAX, "%s/%s", w->dir, name);
	return buffer;
}

const char *web_url(const struct web *w, const char *path)
{
	char *buffer = next_buffer();

	snprintf(buffer, PATH_MAX, "http://127.0.0.1:%u%s", w->port, path);
	return buffer;
}

const char *web_tls_url(const struct web *w, const char *path)
{
	char *buffer = next_buffer();

	snprintf(buffer, PATH_MAX, "https://127.0.0.1:%u%s", w->tls_port, path);
	return buffer;
}

uint8_t web_content(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

void web_put(const struct web *w, const char *name, const void *bytes, size_t size)
{
	const char *path = web_path(w, name);

	assert_int_equal(make_dirs_above(path), 0);
	assert_int_equal(file_replace(path, bytes, size, 0644), 0);
}

/* A certificate that nobody has signed but itself. */
static bool make_certificate(struct web *w)
{
	char command[512];

	snprintf(w->certificate, sizeof w->certificate, "%s/cert.pem", w->dir);
	snprintf(
	    command, sizeof command,
	    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 "
	    "-addext subjectAltName=IP:127.0.0.1 -keyout %s/key.pem -out %s >/dev/null 2>&1",
	    w->dir, w->certificate);
	return system(command) == 0;
}

void web_start(struct web *w, const char *program)
{
	bool tls = access(w->certificate, R_OK) == 0;
	char key[128], line[64] = "";
	size_t used = 0;
	int ends[2];

	snprintf(key, sizeof key, "%s/key.pem", w->dir);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	w->server = fork();
	assert_true(w->server >= 0);
	if (w->server == 0) {
		dup2(ends[1], 1);
		if (tls)
			execlp("python3", "python3", program, w->dir, w->certificate, key, NULL);
		else
			execlp("python3", "python3", program, w->dir, NULL);
		_exit(126);
	}
	close(ends[1]);
	while (!strchr(line, '\n')) {
		ssize_t n = read(ends[0], line + used, sizeof line - 1 - used);

		assert_true(n > 0);
		used += (size_t)n;
		line[used] = '\0';
	}
	close(ends[0]);
	assert_int_equal(sscanf(line, "%u %u", &w->port, &w->tls_port), 2);
}

void web_begin(struct web *w, const char *program)
{
	static const char *const proxies[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};

	for (size_t i = 0; i < ARRAY_SIZE(proxies); i++)
		unsetenv(proxies[i]);
	signal(SIGPIPE, SIG_IGN);
	*w = (struct web){.dir = "/tmp/baton-web-XXXXXX"};
	assert_non_null(mkdtemp(w->dir));
	(void)make_certificate(w);
	web_start(w, program);
}

void web_stop(struct web *w)
{
	if (w->server <= 0)
		return;
	kill(w->server, SIGKILL);
	waitpid(w->server, NULL, 0);
	w->server = 0;
}

void web_end(struct web *w)
{
	char command[128];

	web_stop(w);
	snprintf(command, sizeof command, "rm -r %s", w->dir);
	assert_int_equal(system(command), 0);
}
