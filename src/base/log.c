/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

#define LINE_MAX_BYTES 1024
#define LIMIT_BURST    5

static const char *log_program = "baton";
static enum log_level log_max = LOG_INFO;

static const char *const level_prefix[] = {
    [LOG_ERROR] = "error: ",
    [LOG_WARNING] = "warning: ",
    [LOG_INFO] = "",
    [LOG_DEBUG] = "debug: ",
};

void log_setup(const char *program, enum log_level max)
{
	log_program = program;
	log_max = max;
}

static void write_line(enum log_level level, const char *fmt, va_list ap) _printf_(2, 0);

static void write_line(enum log_level level, const char *fmt, va_list ap)
{
	char line[LINE_MAX_BYTES];
	size_t n;
	int r;

	r = snprintf(line, sizeof line, "%s: %s", log_program, level_prefix[level]);
	n = r > 0 ? (size_t)r : 0;
	r = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
	n = r > 0 ? MIN(n + (size_t)r, sizeof line - 2) : n;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nowhere left to complain */
}

void log_write(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > log_max)
		return;
	va_start(ap, fmt);
	write_line(level, fmt, ap);
	va_end(ap);
}

void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
{
	uint64_t now = clock_now_ns();
	uint64_t start = atomic_load_explicit(&limit->window_start_ns, memory_order_relaxed);
	uint64_t suppressed;
	va_list ap;

	if (level > log_max)
		return;
	if (now - start >= NSEC_PER_SEC) {
		atomic_store_explicit(&limit->window_start_ns, now, memory_order_relaxed);
		atomic_store_explicit(&limit->in_window, 0, memory_order_relaxed);
		suppressed = atomic_exchange_explicit(&limit->suppressed, 0, memory_order_relaxed);
		if (suppressed > 0)
			log_write(level, "(%" PRIu64 " more like the next were not shown)", suppressed);
	}
	if (atomic_fetch_add_explicit(&limit->in_window, 1, memory_order_relaxed) >= LIMIT_BURST) {
		atomic_fetch_add_explicit(&limit->suppressed, 1, memory_order_relaxed);
		return;
	}
	va_start(ap, fmt);
	write_line(level, fmt, ap);
	va_end(ap);
}
