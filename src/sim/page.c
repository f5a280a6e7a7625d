/* SPDX-License-Identifier: Apache-2.0 */
/* page.c - the HTML page: page.html with the report in it. All drawing is done by the page itself, from that JSON. */
#include <string.h>

#include "page.h" /* made of page.html */
#include "sim/report.h"

/* JSON inside of HTML: "<" would be the page's, so it is written as an escape of JSON. */
static int put_json(const char *text, size_t size, void *out)
{
	for (size_t i = 0; i < size; i++)
		if ((text[i] == '<' ? fputs("\\u003c", out) : putc(text[i], out)) == EOF)
			return -1;
	return 0;
}

int report_html(const json_t *report, FILE *out)
{
	static const char mark[] = "@REPORT@";
	const char *page = template_page_html, *at = strstr(page, mark);

	assert(at);
	if (fwrite(page, 1, (size_t)(at - page), out) != (size_t)(at - page) ||
	    json_dump_callback(report, put_json, out, JSON_COMPACT) < 0 || fputs(at + strlen(mark), out) == EOF)
		return -EIO;
	return 0;
}
