/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/size.h"

#include <string.h>

int size_parse_mib(const char *text, uint64_t *ret)
{
	unsigned long long n;
	unsigned shift = 20;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (end == text || text[0] == '-' || text[0] == '+')
		return -EINVAL;
	if (errno == ERANGE)
		return -ERANGE;
	switch (*end) {
	case 'K':
	case 'k':
		shift = 10;
		end++;
		break;
	case 'M':
	case 'm':
		end++;
		break;
	case 'G':
	case 'g':
		shift = 30;
		end++;
		break;
	}
	if (strcmp(end, "") != 0 && strcmp(end, "iB") != 0)
		return -EINVAL;
	if (n > UINT64_MAX >> shift)
		return -ERANGE;
	n <<= shift;
	if (n % MIB != 0)
		return -EINVAL;
	*ret = n / MIB;
	return 0;
}

int param_parse(const char *text, json_t *params)
{
	const char *equals = strchr(text, '=');
	_cleanup_free_ char *name = NULL;
	json_t *value;
	long long n;
	char *end;

	if (!equals || equals == text || equals[1] == '\0')
		return -EINVAL;
	name = strndup(text, (size_t)(equals - text));
	if (!name)
		return -ENOMEM;
	errno = 0;
	n = strtoll(equals + 1, &end, 10);
	value = *end == '\0' && errno == 0 ? json_integer(n) : json_string(equals + 1);
	return json_object_set_new(params, name, value) < 0 ? -EINVAL : 0;
}
