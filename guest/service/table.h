/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - text in aligned columns, for people. Rows are collected, then printed with each column as wide as its
 * widest cell. A cell is copied when it is added and cut to TABLE_CELL_MAX bytes.
 */
#ifndef GUEST_SERVICE_TABLE_H
#define GUEST_SERVICE_TABLE_H

#include <stdio.h>

#define TABLE_COLUMNS_MAX 12
#define TABLE_ROWS_MAX	  512
#define TABLE_CELL_MAX	  48

struct table {
	unsigned columns, rows, cell; /* cell: the next one to fill in the last row */
	char (*cells)[TABLE_CELL_MAX];
};

/* headings: NULL-terminated. A heading that starts with '>' aligns its column to the right. 0 or -ENOMEM. */
int table_init(struct table *t, const char *const *headings);
void table_done(struct table *t);

/* Fills the next cell; after the last one of a row the next row begins. Rows beyond the limit are dropped. */
__attribute__((format(printf, 2, 3))) void table_cell(struct table *t, const char *fmt, ...);
void table_print(const struct table *t, FILE *out);

#endif
