/* SPDX-License-Identifier: Apache-2.0 */
#include "control/path.h"

#include <stdio.h>

int control_default_path(char *buf, size_t size, struct error *e)
{
	const char *given = getenv("BATON_SOCKET");
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int n;

	if (given && *given)
		n = snprintf(buf, size, "%s", given);
	else if (runtime && *runtime)
		n = snprintf(buf, size, "%s/baton/control.sock", runtime);
	else
		n = snprintf(buf, size, "/run/baton/control.sock");
	if (n < 0 || (size_t)n >= size)
		return error_set(e, -ENAMETOOLONG,
				 "the control socket's path is too long; give a shorter one with --socket");
	return 0;
}
