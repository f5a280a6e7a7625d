/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool is_guest(const char *line, uint64_t start, uint64_t end, const struct memory_range *ranges, size_t count,
		     const char *without)
{
	for (size_t i = 0; i < count; i++)
		if (start < ranges[i].end && end > ranges[i].start)
			return true;
	return without && strstr(line, without);
}

double memory_of(pid_t pid, const struct memory_range *ranges, size_t range_count, const char *without)
{
	char path[64], line[1024];
	uint64_t start, end, kib, sum = 0;
	bool guest = false;
	FILE *f;

	if (pid == 0)
		(void)snprintf(path, sizeof path, "/proc/self/smaps");
	else
		(void)snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2)
			guest = is_guest(line, start, end, ranges, range_count, without);
		else if (!guest && sscanf(line, "Pss: %" SCNu64 " kB", &kib) == 1)
			sum += kib;
	}
	fclose(f);
	return (double)sum / 1024;
}
