/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton-service - the service application's main program: finds the monitor, then runs the command (service.c).
 */
#include <errno.h>
#include <unistd.h>

#include "baton/guest.h"
#include "service.h"

int main(int argc, char **argv)
{
	struct link l;
	unsigned long abi = 0;

	if (service_wants_no_monitor(argc, argv))
		return service_main(NULL, argc, argv, stdout, stderr);
	if (geteuid() != 0) {
		fputs("baton-service: only root may ask the monitor (it needs port I/O); run it as root\n", stderr);
		return 1;
	}
	switch (link_open(&l, &abi)) {
	case 0:
		return service_main(&l, argc, argv, stdout, stderr);
	case -EPERM:
		fputs("baton-service: this system refuses port I/O even to root (lockdown, a container, or another "
		      "hypervisor's defect); run it in the service VM itself\n",
		      stderr);
		return 1;
	case -EPROTO:
		fprintf(stderr,
			"baton-service: the monitor speaks version %lu of the guest interface, this program version "
			"%d; use the "
			"baton-service that came with the monitor\n",
			abi, BATON_GUEST_ABI);
		return 1;
	default:
		fputs("baton-service: no Baton monitor answers below this system; run it inside a VM that batond "
		      "started\n",
		      stderr);
		return 1;
	}
}
