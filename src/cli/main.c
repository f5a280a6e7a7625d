/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - `baton`: finds the command and runs it. Everything that the commands share in talking to people is here too.
 */
#include <signal.h>
#include <stdarg.h>
#include <string.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/nearest.h"
#include "control/path.h"

const struct command_row command_table[] = {
    {.group = "Virtual machines"}, {.command = &command_run},	   {.command = &command_ls},
    {.command = &command_console}, {.command = &command_pause},	   {.command = &command_registers},
    {.command = &command_resume},  {.command = &command_stop},	   {.command = &command_destroy},
    {.group = "Schedulers"},	   {.command = &command_sched},	   {.command = &command_sim},
    {.command = &command_image},   {.group = "This host"},	   {.command = &command_demo},
    {.command = &command_doctor},  {.command = &command_shutdown}, {.command = &command_version},
    {.command = &command_help},
};
const size_t command_table_size = ARRAY_SIZE(command_table);

const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < command_table_size; i++)
		if (command_table[i].command && strcmp(command_table[i].command->name, name) == 0)
			return command_table[i].command;
	return NULL;
}

const char *command_nearest(const char *name)
{
	const char *names[ARRAY_SIZE(command_table)];
	size_t n = 0;

	for (size_t i = 0; i < command_table_size; i++)
		if (command_table[i].command)
			names[n++] = command_table[i].command->name;
	return nearest(name, names, n);
}

void command_print_help(const struct command *c)
{
	printf("Usage: baton %s%s%s\n%s.\n\n%s", c->name, *c->args ? " " : "", c->args, c->summary, c->details);
	printf("%s--socket PATH is understood by every command; its default is $BATON_SOCKET or the monitor's own "
	       "default.\n",
	       *c->details ? "\n" : "");
}

void command_print_overview(void)
{
	puts("Usage: baton [--socket PATH] COMMAND [ARGUMENT]...\n"
	     "Remote control of batond, the monitor that changes its scheduler while virtual machines run.");
	for (size_t i = 0; i < command_table_size; i++) {
		const struct command_row *row = &command_table[i];

		if (row->command)
			printf("  %-9s %s\n", row->command->name, row->command->summary);
		else
			printf("\n%s\n", row->group);
	}
	puts("\nTry:\n"
	     "  baton demo --nano                       see a scheduler change under running VMs, in seconds\n"
	     "  baton run --kernel vmlinuz --initrd rd.gz --cmdline console=ttyS0 --attach\n"
	     "\n'baton COMMAND --help' explains a command.");
}

static void complain(const char *fmt, va_list ap) _printf_(1, 0);

static void complain(const char *fmt, va_list ap)
{
	fflush(stdout);
	fputs("baton: error: ", stderr);
	vfprintf(stderr, fmt, ap);
}

int cli_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return CLI_FAILED;
}

int cli_usage(const struct command *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	complain(fmt, ap);
	va_end(ap);
	fprintf(stderr, "; see 'baton %s --help'\n", c->name);
	return CLI_USAGE;
}

int cli_getopt(const struct command *c, int argc, char **argv, const struct option *longs)
{
	int opt = getopt_long(argc, argv, ":", longs, NULL);

	if (opt == ':')
		cli_usage(c, "%s needs a value", argv[optind - 1]);
	else if (opt == '?')
		cli_usage(c, "%s does not know the option %s", c->name, argv[optind - 1]);
	return opt == ':' ? '?' : opt;
}

int cli_number(const struct command *c, const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *text == '-' || n < min || n > max) {
		cli_usage(c, "%s '%s' is not a whole number from %llu to %llu", what, text, (unsigned long long)min,
			  (unsigned long long)max);
		return -EINVAL;
	}
	*ret = n;
	return 0;
}

/*
 * Takes --socket and --help out of argv, wherever they stand before a "--". Returns the new argc; 0 after a complaint.
 */
static int take_common(int argc, char **argv, const char **socket, bool *ret_help)
{
	int n = 0;
	int i;

	for (i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			*ret_help = true;
		} else if (strncmp(argv[i], "--socket=", 9) == 0) {
			*socket = argv[i] + 9;
		} else if (strcmp(argv[i], "--socket") == 0) {
			if (i + 1 >= argc) {
				cli_fail("--socket needs a value; give the path of the monitor's control socket");
				return 0;
			}
			*socket = argv[++i];
		} else {
			argv[n++] = argv[i];
		}
	}
	for (; i < argc; i++)
		argv[n++] = argv[i];
	argv[n] = NULL;
	return n;
}

int main(int argc, char **argv)
{
	const struct command *c;
	const char *socket = NULL;
	struct error e = {""};
	bool help = false;
	struct cli cli;

	log_setup("baton", LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	setlinebuf(stdout);
	argc = take_common(argc, argv, &socket, &help);
	if (argc == 0)
		return CLI_USAGE;
	if (argc < 2) {
		command_print_overview();
		return help ? 0 : CLI_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0)
		argv[1] = (char *)"version";
	c = command_find(argv[1]);
	if (!c) {
		const char *near = command_nearest(argv[1]);

		if (near)
			cli_fail("there is no command '%s'; did you mean '%s'?", argv[1], near);
		else
			cli_fail("there is no command '%s'; 'baton --help' lists them", argv[1]);
		return CLI_USAGE;
	}
	if (help) {
		command_print_help(c);
		return 0;
	}
	if (socket) {
		if (strlen(socket) >= sizeof cli.socket)
			return cli_fail("the control socket's path is too long; give a shorter one with --socket");
		strcpy(cli.socket, socket);
	} else if (control_default_path(cli.socket, sizeof cli.socket, &e) < 0) {
		return cli_fail("%s", e.text);
	}
	opterr = 0;
	return c->run(&cli, argc - 1, argv + 1);
}
