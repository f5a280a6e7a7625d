/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - see table.h. Row 0 holds the headings. What comes from outside is printed as printable ASCII: a VM's name
 * must not be able to move the cursor of whoever lists it.
 */
#include "table.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int table_init(struct table *t, const char *const *headings)
{
	*t = (struct table){0};
	while (headings[t->columns] && t->columns < TABLE_COLUMNS_MAX)
		t->columns++;
	t->cells = calloc((size_t)t->columns * (TABLE_ROWS_MAX + 1), sizeof(*t->cells));
	if (!t->cells)
		return -ENOMEM;
	for (unsigned i = 0; i < t->columns; i++)
		table_cell(t, "%s", headings[i]);
	return 0;
}

void table_done(struct table *t)
{
	free(t->cells);
	t->cells = NULL;
}

void table_cell(struct table *t, const char *fmt, ...)
{
	va_list args;
	char *cell;

	if (t->rows > TABLE_ROWS_MAX)
		return;
	cell = t->cells[t->rows * t->columns + t->cell];
	va_start(args, fmt);
	vsnprintf(cell, TABLE_CELL_MAX, fmt, args);
	va_end(args);
	for (; *cell; cell++)
		if (*cell < 0x20 || *cell > 0x7e)
			*cell = '?';
	if (++t->cell == t->columns) {
		t->cell = 0;
		t->rows++;
	}
}

void table_print(const struct table *t, FILE *out)
{
	int width[TABLE_COLUMNS_MAX] = {0};

	for (unsigned r = 0; r < t->rows; r++) {
		for (unsigned c = 0; c < t->columns; c++) {
			const char *cell = t->cells[r * t->columns + c];
			int n = (int)strlen(cell) - (r == 0 && cell[0] == '>');

			if (n > width[c])
				width[c] = n;
		}
	}
	for (unsigned r = 0; r < t->rows; r++) {
		for (unsigned c = 0; c < t->columns; c++) {
			const char *cell = t->cells[r * t->columns + c];
			int right = t->cells[c][0] == '>', last = c + 1 == t->columns;

			if (r == 0 && right)
				cell++;
			/* The last column is not padded: no blanks at the end of a line. */
			fprintf(out, "%*s%s", right ? width[c] : last ? 0 : -width[c], cell, last ? "\n" : "  ");
		}
	}
}
