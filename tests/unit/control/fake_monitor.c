/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_monitor.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct monitor {
	struct console *console;
	atomic_bool lost, shutdown;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned slow;
	bool let_go;
};

struct monitor *fake_monitor_new(void)
{
	struct monitor *m = calloc(1, sizeof *m);

	assert(m);
	if (console_new(0, &m->console) < 0)
		abort();
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
	return m;
}

struct monitor *monitor_free(struct monitor *m)
{
	console_unref(m->console);
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->changed);
	free(m);
	return NULL;
}

struct console *fake_monitor_console(struct monitor *m)
{
	return m->console;
}

void fake_monitor_lose_vm(struct monitor *m)
{
	atomic_store(&m->lost, true);
	console_close(m->console);
}

void fake_monitor_let_go(struct monitor *m)
{
	pthread_mutex_lock(&m->lock);
	m->let_go = true;
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
}

void fake_monitor_wait_slow(struct monitor *m, unsigned n)
{
	pthread_mutex_lock(&m->lock);
	while (m->slow < n)
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
}

json_t *reply_error(int code, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return json_pack("{s:b, s:s, s:i}", "ok", 0, "error", text, "code", code);
}

json_t *monitor_request(struct monitor *m, const struct requester *who, const char *method, json_t *params)
{
	if (who->kind != REQUESTER_OPERATOR)
		return reply_error(EPERM, "not the operator");
	if (strcmp(method, "echo") == 0)
		return json_pack("{s:b, s:O*}", "ok", 1, "params", params);
	if (strcmp(method, "slow") == 0) {
		pthread_mutex_lock(&m->lock);
		m->slow++;
		pthread_cond_broadcast(&m->changed);
		while (!m->let_go)
			pthread_cond_wait(&m->changed, &m->lock);
		pthread_mutex_unlock(&m->lock);
		return json_pack("{s:b}", "ok", 1);
	}
	if (strcmp(method, "huge") == 0) {
		size_t size = 8 * MIB;
		char *text = malloc(size);
		json_t *reply;

		memset(text, 'x', size);
		reply = json_pack("{s:b, s:s%}", "ok", 1, "text", text, size);
		free(text);
		return reply;
	}
	if (strcmp(method, "shutdown") == 0) {
		atomic_store(&m->shutdown, true);
		return json_pack("{s:b}", "ok", 1);
	}
	return reply_error(ENOSYS, "no method %s", method);
}

bool monitor_shutdown_requested(struct monitor *m)
{
	return atomic_load(&m->shutdown);
}

static bool known(struct monitor *m, const char *vm)
{
	return !atomic_load(&m->lost) && strcmp(vm, "vm") == 0;
}

ssize_t monitor_console_read(struct monitor *m, const char *vm, uint64_t *pos, void *buf, size_t size)
{
	return known(m, vm) ? (ssize_t)console_read(m->console, pos, buf, size) : -ENOENT;
}

int monitor_console_wait(struct monitor *m, const char *vm, uint64_t pos, int timeout_ms)
{
	return known(m, vm) ? console_wait(m->console, pos, timeout_ms) : -ENOENT;
}

ssize_t monitor_console_input(struct monitor *m, const char *vm, const void *data, size_t size)
{
	return known(m, vm) ? (ssize_t)console_input_push(m->console, data, size) : -ENOENT;
}
