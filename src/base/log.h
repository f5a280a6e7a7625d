/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line per message, to stderr: "batond: warning: ...". Any thread; a line is written in one piece.
 *
 * Whatever a guest can cause again and again goes through log_limited: at most `burst` lines per second and site, the
 * rest only counted (and the count told with the next line).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Sets the program's name (shown before each line) and the highest level that is shown. Call once, before threads. */
void log_setup(const char *program, enum log_level max);
void log_write(enum log_level level, const char *fmt, ...) _printf_(2, 3);

#define log_error(...)	 log_write(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_info(...)	 log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...)	 log_write(LOG_DEBUG, __VA_ARGS__)

/* State of one rate-limited site (static at the site, or one per VM and kind). Zero-initialised. */
struct log_limit {
	_Atomic uint64_t window_start_ns;
	_Atomic uint32_t in_window;
	_Atomic uint64_t suppressed;
};

void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...) _printf_(3, 4);

#endif
