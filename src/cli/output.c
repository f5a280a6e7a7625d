/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <stdarg.h>
#include <string.h>

#define COLUMNS_MAX 16
#define TITLES_MAX  256

struct table {
	char titles[TITLES_MAX];
	const char *title[COLUMNS_MAX];
	bool right[COLUMNS_MAX];
	size_t columns;
	char **cells;
	size_t used, size;
};

struct table *table_new(const char *titles)
{
	struct table *t = calloc(1, sizeof *t);
	char *rest;

	if (!t)
		abort(); /* a command line tool without 400 bytes has nothing left to say */
	(void)snprintf(t->titles, sizeof t->titles, "%s", titles);
	rest = t->titles;
	while (rest && t->columns < COLUMNS_MAX) {
		char *title = strsep(&rest, "|");

		t->right[t->columns] = *title == '>';
		t->title[t->columns++] = *title == '>' ? title + 1 : title;
	}
	return t;
}

void table_cell(struct table *t, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	if (t->used == t->size) {
		size_t size = MAX(2 * t->size, (size_t)64);
		char **bigger = reallocarray(t->cells, size, sizeof *bigger);

		if (!bigger)
			abort();
		t->cells = bigger;
		t->size = size;
	}
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	t->cells[t->used++] = text;
}

/* Characters, not bytes: UTF-8 continuation bytes take no room. */
static int width_of(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_line(const struct table *t, FILE *out, const char *indent, const char *const *cells, const int *width)
{
	fputs(indent, out);
	for (size_t i = 0; i < t->columns; i++) {
		int pad = width[i] - width_of(cells[i]);
		bool last = i + 1 == t->columns;

		if (t->right[i])
			fprintf(out, "%*s%s%s", pad, "", cells[i], last ? "" : "  ");
		else if (last)
			fputs(cells[i], out);
		else
			fprintf(out, "%s%*s  ", cells[i], pad, "");
	}
	fputc('\n', out);
}

void table_print(struct table *t, FILE *out, const char *indent)
{
	int width[COLUMNS_MAX];

	while (t->used % t->columns != 0)
		table_cell(t, "%s", "");
	for (size_t i = 0; i < t->columns; i++)
		width[i] = width_of(t->title[i]);
	for (size_t i = 0; i < t->used; i++)
		width[i % t->columns] = MAX(width[i % t->columns], width_of(t->cells[i]));
	print_line(t, out, indent, t->title, width);
	for (size_t i = 0; i < t->used; i += t->columns)
		print_line(t, out, indent, (const char *const *)t->cells + i, width);
	for (size_t i = 0; i < t->used; i++)
		free(t->cells[i]);
	t->used = 0;
}

struct table *table_free(struct table *t)
{
	if (!t)
		return NULL;
	for (size_t i = 0; i < t->used; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
	return NULL;
}

const char *duration_text(char buf[DURATION_MAX], uint64_t ns)
{
	static const struct {
		double ns;
		const char *unit;
	} units[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}};

	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		double value = (double)ns / units[i].ns;

		if (value >= 1) {
			(void)snprintf(buf, DURATION_MAX, "%.*f %s",
				       value >= 100  ? 0
				       : value >= 10 ? 1
						     : 2,
				       value, units[i].unit);
			return buf;
		}
	}
	(void)snprintf(buf, DURATION_MAX, "%u ns", (unsigned)ns);
	return buf;
}

void json_print(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
}
