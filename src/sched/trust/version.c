/* SPDX-License-Identifier: Apache-2.0 */
/* version.c - see version.h. */
#include "version.h"

#include <string.h>

#include "baton/scheduler.h"

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t digits(const char *s, size_t size)
{
	size_t n = 0;

	while (n < size && digit(s[n]))
		n++;
	return n;
}

/* Numbers of any length, so without making integers of them. Moves both on. */
static int compare_numbers(const char **a, size_t *an, const char **b, size_t *bn)
{
	size_t x, y;
	int r = 0;

	for (; *an > 0 && **a == '0'; (*a)++)
		(*an)--;
	for (; *bn > 0 && **b == '0'; (*b)++)
		(*bn)--;
	x = digits(*a, *an);
	y = digits(*b, *bn);
	if (x != y)
		r = x < y ? -1 : 1;
	else
		r = memcmp(*a, *b, x);
	*a += x, *an -= x;
	*b += y, *bn -= y;
	return r;
}

static int compare_part(const char *a, size_t an, const char *b, size_t bn)
{
	while (an > 0 && bn > 0) {
		if (digit(*a) && digit(*b)) {
			int r = compare_numbers(&a, &an, &b, &bn);

			if (r != 0)
				return r;
			continue;
		}
		if (*a != *b)
			return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
		a++, an--;
		b++, bn--;
	}
	return (an > 0) - (bn > 0);
}

int version_compare(const char *a, const char *b)
{
	size_t an = strcspn(a, "-"), bn = strcspn(b, "-");
	int r = compare_part(a, an, b, bn);

	if (r != 0)
		return r;
	if (a[an] == '\0' || b[bn] == '\0')
		return (a[an] == '\0') - (b[bn] == '\0');
	return compare_part(a + an + 1, strlen(a + an + 1), b + bn + 1, strlen(b + bn + 1));
}

bool version_within(const char *version, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(version, prefix, n) == 0 && (version[n] == '\0' || version[n] == '.');
}

bool version_is_valid(const char *s)
{
	size_t n = strlen(s);

	if (!digit(s[0]) || n >= BATON_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!digit(s[i]) && !letter(s[i]) && !strchr(".+~-", s[i]))
			return false;
	return true;
}

bool version_name_is_valid(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n >= BATON_NAME_MAX || s[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!digit(s[i]) && !letter(s[i]) && !strchr("_.-", s[i]))
			return false;
	return true;
}
