/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/vm_call.h"

#include "cli/client.h"

int vm_call(const struct cli *cli, const struct command *c, int argc, char **argv, const char *method, const char *done)
{
	static const struct option none[] = {{NULL, 0, NULL, 0}};
	_cleanup_client_ struct client client = CLIENT_NONE;
	struct error e = {""};

	if (cli_getopt(c, argc, argv, none) != -1)
		return CLI_USAGE;
	if (argc - optind != 1)
		return cli_usage(c, "give the name or number of one VM");
	if (client_open(cli->socket, &client, &e) < 0 ||
	    client_call(&client, method, json_pack("{s:s}", "vm", argv[optind]), NULL, &e) < 0)
		return cli_fail("%s", e.text);
	printf("%s: %s\n", argv[optind], done);
	return 0;
}
