/* SPDX-License-Identifier: Apache-2.0 */
/* image.c - `baton image`: a table of subcommands for those who make, sign and publish scheduler images. */
#include "cli/image.h"

#include <string.h>

#include "cli/nearest.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} subcommands[] = {
    {"build", image_build}, {"sign", image_sign},	{"verify", image_verify},
    {"info", image_info},   {"publish", image_publish}, {"keys", image_keys},
};

static int image_run(const struct cli *cli, int argc, char **argv)
{
	const char *names[ARRAY_SIZE(subcommands)], *near;

	if (argc < 2)
		return cli_usage(&command_image, "image needs a word: build, sign, verify, info, publish or keys");
	for (size_t i = 0; i < ARRAY_SIZE(subcommands); i++) {
		if (strcmp(argv[1], subcommands[i].name) == 0)
			return subcommands[i].run(argc - 1, argv + 1);
		names[i] = subcommands[i].name;
	}
	near = nearest(argv[1], names, ARRAY_SIZE(names));
	if (near)
		return cli_usage(&command_image, "there is no 'image %s'; did you mean '%s'?", argv[1], near);
	return cli_usage(&command_image, "there is no 'image %s'", argv[1]);
}

const struct command command_image = {
    .name = "image",
    .args = "build | sign | verify | info | publish | keys [ARGUMENT]...",
    .summary = "Make, sign and publish scheduler images",
    .details = "  build SOURCE.c [-o FILE] [-- FLAG...]\n"
	       "                         compile a scheduler ($CC or cc), and see whether the monitor would take it\n"
	       "  sign IMAGE --key FILE.key [-o FILE]\n"
	       "                         put a signature at the end of the image; again with another key for more\n"
	       "  verify IMAGE [--trusted-keys DIR] [--json]\n"
	       "                         is it whole, sound and signed (by a key of DIR)? Status 1 if not\n"
	       "  info IMAGE [--json]    what it is and who signed it ('baton sched info' shows its parameters)\n"
	       "  publish DIR IMAGE... [--channel NAME]...\n"
	       "                         make DIR an image server's directory, or add to it; any web server serves it\n"
	       "  keys make PATH [--name NAME]\n"
	       "                         a new key pair: PATH.key, which stays secret, and PATH.pub\n"
	       "  keys list DIR          the keys that DIR says are trusted\n"
	       "  keys trust DIR FILE.pub...\n"
	       "                         add keys to the directory that batond --trusted-keys is given\n"
	       "\n"
	       "Example: baton image build my.c && baton image sign my.baton --key ~/me.key &&\n"
	       "         baton image publish /srv/www/schedulers my.baton --channel stable\n",
    .run = image_run,
};
