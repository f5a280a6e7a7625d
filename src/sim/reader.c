/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/reader.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sim/workload.h"

/* ---- where is it? The text is known to be sound JSON here. ---- */

struct cursor {
	const char *p, *end;
};

static void skip_space(struct cursor *c)
{
	while (c->p < c->end && strchr(" \t\r\n", *c->p))
		c->p++;
}

/* Behind the string that begins here. */
static void skip_string(struct cursor *c)
{
	for (c->p++; c->p < c->end && *c->p != '"'; c->p++)
		if (*c->p == '\\')
			c->p++;
	c->p++;
}

static void skip_value(struct cursor *c)
{
	int depth = 0;

	skip_space(c);
	while (c->p < c->end) {
		char here = *c->p;

		if (depth == 0 && strchr(",]}", here))
			return;
		if (here == '"') {
			skip_string(c);
			continue;
		}
		depth += here == '{' || here == '[';
		depth -= here == '}' || here == ']';
		c->p++;
	}
}

/* Into the member or element that `where` names, of the value that begins here. False: it is not there. */
static bool enter(struct cursor *c, const struct place *where)
{
	size_t wanted = where->key ? strlen(where->key) : 0;

	skip_space(c);
	if (c->p >= c->end)
		return false;
	c->p++; /* the bracket */
	for (size_t i = 0;; i++) {
		skip_space(c);
		if (c->p >= c->end || *c->p == '}' || *c->p == ']')
			return false;
		if (where->key) {
			const char *key = c->p + 1;
			bool found;

			skip_string(c);
			found = (size_t)(c->p - key) == wanted + 1 && strncmp(key, where->key, wanted) == 0;
			skip_space(c);
			c->p++; /* the colon */
			skip_space(c);
			if (found)
				return true;
		} else if (i == where->index) {
			return true;
		}
		skip_value(c);
		skip_space(c);
		if (c->p < c->end && *c->p == ',')
			c->p++;
	}
}

static bool find(struct cursor *c, const struct place *where)
{
	struct cursor before;

	if (!where)
		return true;
	if (!find(c, where->up))
		return false;
	before = *c;
	if (enter(c, where))
		return true;
	*c = before; /* what is missing has no line: that of the whole object */
	return false;
}

static unsigned line_of(const struct reader *r, const struct place *where)
{
	struct cursor c = {.p = r->text, .end = r->text + r->size};
	unsigned line = r->line;

	(void)find(&c, where);
	skip_space(&c);
	for (const char *p = r->text; p < c.p && p < c.end; p++)
		line += *p == '\n';
	return line;
}

static size_t path_text(const struct place *where, char *buf, size_t size)
{
	size_t n = where->up ? path_text(where->up, buf, size) : 0;
	char *at = n < size ? buf + n : NULL;
	int more;

	if (where->key)
		more = snprintf(at, at ? size - n : 0, "%s%s", n > 0 ? "." : "", where->key);
	else
		more = snprintf(at, at ? size - n : 0, "[%zu]", where->index);
	return n + (size_t)MAX(more, 0);
}

int reader_fail(const struct reader *r, const struct place *where, const char *fmt, ...)
{
	char path[160] = "", why[ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof why, fmt, ap);
	va_end(ap);
	if (where)
		(void)path_text(where, path, sizeof path);
	return error_set(r->e, -EINVAL, "%s:%u: %s%s%s", r->name, line_of(r, where), path, path[0] ? ": " : "", why);
}

/* ---- values ---- */

static const struct {
	const char *unit;
	double ns;
} units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"min", 60e9}};

int time_parse(const char *text, uint64_t *ret_ns)
{
	char *unit;
	double n;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	n = strtod(text, &unit);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (strcmp(unit, units[i].unit) != 0)
			continue;
		n *= units[i].ns;
		if (!(n <= (double)WORKLOAD_DURATION_MAX))
			return -EINVAL;
		*ret_ns = (uint64_t)llround(n);
		return 0;
	}
	return -EINVAL;
}

const char *time_text(char buf[TIME_TEXT_MAX], uint64_t ns)
{
	size_t i = 3;

	while (i > 0 && (double)ns < units[i].ns)
		i--;
	(void)snprintf(buf, TIME_TEXT_MAX, "%.6g%s", (double)ns / units[i].ns, units[i].unit);
	return buf;
}

static int read_time(const struct reader *r, const json_t *value, const struct place *where, uint64_t *ret)
{
	if (json_is_string(value) && time_parse(json_string_value(value), ret) == 0)
		return 0;
	return reader_fail(r, where, "is not a time; write a number with its unit: \"250us\", \"5ms\", \"1.5s\"");
}

/* {"uniform": ["1ms", "2ms"]} or {"pareto": [...]}: two times. */
static int read_two_times(const struct reader *r, const json_t *value, const struct place *where, struct length *ret)
{
	int a, b;

	if (json_array_size(value) != 2)
		return reader_fail(r, where, "needs two times: [\"1ms\", \"4ms\"]");
	a = read_time(r, json_array_get(value, 0), &(struct place){.up = where, .index = 0}, &ret->a_ns);
	if (a < 0)
		return a;
	b = read_time(r, json_array_get(value, 1), &(struct place){.up = where, .index = 1}, &ret->b_ns);
	if (b < 0)
		return b;
	return ret->b_ns < ret->a_ns ? reader_fail(r, where, "the second time is shorter than the first") : 0;
}

static int read_length(const struct reader *r, const json_t *value, const struct place *where, struct length *ret)
{
	const char *kind;
	const json_t *inside;
	struct place there = {.up = where};

	*ret = (struct length){.kind = LENGTH_FIXED};
	if (!json_is_object(value))
		return read_time(r, value, where, &ret->a_ns);
	kind = json_object_iter_key(json_object_iter((json_t *)value));
	inside = kind ? json_object_get(value, kind) : NULL;
	there.key = kind;
	if (json_object_size(value) == 1 && strcmp(kind, "exponential") == 0) {
		ret->kind = LENGTH_EXPONENTIAL;
		return read_time(r, inside, &there, &ret->a_ns);
	}
	if (json_object_size(value) == 1 && strcmp(kind, "uniform") == 0) {
		ret->kind = LENGTH_UNIFORM;
		return read_two_times(r, inside, &there, ret);
	}
	if (json_object_size(value) == 1 && strcmp(kind, "pareto") == 0) {
		ret->kind = LENGTH_PARETO;
		return read_two_times(r, inside, &there, ret);
	}
	return reader_fail(
	    r, where,
	    "is no distribution; there are {\"uniform\": [\"1ms\", \"4ms\"]}, {\"exponential\": \"2ms\"} "
	    "and {\"pareto\": [\"1ms\", \"50ms\"]} (least, most)");
}

static int read_number(const struct reader *r, const json_t *value, const struct place *where, const struct field *f,
		       uint64_t *ret)
{
	json_int_t n = json_integer_value(value);

	if (!json_is_integer(value) || n < 0 || (uint64_t)n < f->min || (uint64_t)n > f->max)
		return reader_fail(r, where, "is not a whole number from %" PRIu64 " to %" PRIu64, f->min, f->max);
	*ret = (uint64_t)n;
	return 0;
}

static int read_text(const struct reader *r, const json_t *value, const struct place *where, const struct field *f,
		     char *ret)
{
	size_t n = json_string_length(value);

	if (!json_is_string(value) || n < f->min || n >= f->max)
		return reader_fail(r, where, "is not a text of %" PRIu64 " to %" PRIu64 " bytes", f->min, f->max - 1);
	for (const char *p = json_string_value(value); *p; p++)
		if ((unsigned char)*p < ' ')
			return reader_fail(r, where, "has a control character in it");
	memcpy(ret, json_string_value(value), n + 1);
	return 0;
}

static int read_field(const struct reader *r, const json_t *value, const struct place *where, const struct field *f,
		      char *to)
{
	uint64_t n = 0;
	int result = 0;

	switch (f->kind) {
	case FIELD_U32:
		result = read_number(r, value, where, f, &n);
		if (result == 0)
			*(uint32_t *)(void *)to = (uint32_t)n;
		return result;
	case FIELD_U64:
		return read_number(r, value, where, f, (uint64_t *)(void *)to);
	case FIELD_FLAG:
	case FIELD_FLAG32:
		if (!json_is_boolean(value))
			return reader_fail(r, where, "is neither true nor false");
		if (f->kind == FIELD_FLAG)
			*(bool *)(void *)to = json_is_true(value);
		else
			*(uint32_t *)(void *)to = json_is_true(value);
		return 0;
	case FIELD_TIME:
		return read_time(r, value, where, (uint64_t *)(void *)to);
	case FIELD_LENGTH:
		return read_length(r, value, where, (struct length *)(void *)to);
	case FIELD_TEXT:
		return read_text(r, value, where, f, to);
	case FIELD_ABOUT:
	case FIELD_OTHER:
		return 0;
	}
	return 0;
}

static int fail_unknown(const struct reader *r, const struct place *where, const struct field *fields, size_t count)
{
	char known[160] = "";
	size_t n = 0;

	for (size_t i = 0; i < count && n < sizeof known; i++)
		n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", fields[i].name);
	return reader_fail(r, where, "is unknown here; there are %s", known);
}

int reader_fields(const struct reader *r, const json_t *object, const struct place *where, const struct field *fields,
		  size_t count, void *target)
{
	const json_t *value;
	const char *key;

	if (!json_is_object(object))
		return reader_fail(r, where, "is not an object: { ... }");
	for (void *i = json_object_iter((json_t *)object); i; i = json_object_iter_next((json_t *)object, i)) {
		struct place there = {.up = where, .key = json_object_iter_key(i)};
		size_t n = 0;
		int result;

		while (n < count && strcmp(fields[n].name, there.key) != 0)
			n++;
		if (n == count)
			return fail_unknown(r, &there, fields, count);
		result =
		    read_field(r, json_object_iter_value(i), &there, &fields[n], (char *)target + fields[n].offset);
		if (result < 0)
			return result;
	}
	for (size_t n = 0; n < count; n++) {
		key = fields[n].name;
		value = json_object_get(object, key);
		if (fields[n].required && !value)
			return reader_fail(r, where, "%s is missing", key);
	}
	return 0;
}

int reader_affinity(const struct reader *r, const json_t *value, const struct place *where, uint64_t *mask)
{
	const char *p = json_string_value(value);

	while (p) {
		char *end;
		unsigned long first = strtoul(p, &end, 10), last = first;
		bool number = *p >= '0' && *p <= '9';

		if (number && *end == '-') {
			p = end + 1;
			number = *p >= '0' && *p <= '9';
			last = strtoul(p, &end, 10);
		}
		if (!number || first > last || last >= BATON_PCPUS_MAX || (*end != '\0' && *end != ','))
			break;
		for (unsigned long i = first; i <= last; i++)
			mask[i / 64] |= UINT64_C(1) << (i % 64);
		if (*end == '\0')
			return 0;
		p = end + 1;
	}
	return reader_fail(r, where, "is not a list of pCPUs below %d, as \"0-3,8\"", BATON_PCPUS_MAX);
}

/* ---- files ---- */

int file_read(const char *path, size_t max, char **ret_text, size_t *ret_size, struct error *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = NULL;
	struct stat st;
	size_t n = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set(e, -errno, "cannot read %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(e, -EINVAL, "%s is not a file", path);
	if ((uint64_t)st.st_size > max)
		return error_set(e, -EFBIG, "%s has %" PRIu64 " bytes; at most %zu are read", path,
				 (uint64_t)st.st_size, max);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return error_set(e, -ENOMEM, "no memory for %s", path);
	while (n < (size_t)st.st_size) {
		ssize_t got = read(fd, text + n, (size_t)st.st_size - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return error_set(e, -errno, "cannot read %s: %s", path, strerror(errno));
		if (got == 0)
			break; /* it became shorter meanwhile */
		n += (size_t)got;
	}
	text[n] = '\0';
	*ret_size = n;
	*ret_text = take_ptr(text);
	return 0;
}
