/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sched_info.c - `baton sched info IMAGE`: what an image is, which ops it has, what it asks of the monitor, and its
 * parameters. The image goes through the monitor's own loader, so one that is shown here is one that loads; nothing in it
 * is called.
 */
#include "cli/sched_local.h"

#include <elf.h>
#include <inttypes.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "sched/attached.h"
#include "sched/loader/arena.h"
#include "sched/loader/elffile.h"
#include "sched/loader/image.h"
#include "sched/source.h"

struct inspected {
	uint8_t *bytes;
	size_t size;
	struct arena *arena;
	struct image *image;
};

static void inspected_close(struct inspected *i)
{
	image_unref(i->image);
	arena_free(i->arena);
	free(i->bytes);
}

static int inspect(const char *path, struct inspected *i, struct error *e)
{
	int r;

	r = source_fetch(path, NULL, true, &i->bytes, &i->size, e);
	if (r < 0)
		return r;
	r = arena_new(1, &i->arena, e);
	if (r < 0)
		return r;
	return image_load(i->arena, i->bytes, i->size, path, sched_imports, sched_import_count, &i->image, e);
}

/* ---- what it has ---- */

/* The names of the ops that are there. */
static json_t *ops_of(const struct baton_scheduler *s)
{
#define OP(op)                                                                                                         \
	{                                                                                                              \
#op, s->op != NULL                                                                                     \
	}
	const struct {
		const char *name;
		bool there;
	} ops[] = {
	    OP(attach),	  OP(detach),	OP(admit),	    OP(retire), OP(wake),      OP(sleep), OP(start),
	    OP(stop),	  OP(tick),	OP(spin),	    OP(ipi),	OP(interrupt), OP(boost), OP(choose),
	    OP(preempts), OP(priority), OP(choose_console), OP(set),	OP(give),      OP(take),  OP(dump),
	};
#undef OP
	json_t *names = json_array();

	static_assert(ARRAY_SIZE(ops) * sizeof(void (*)(void)) ==
			  sizeof(struct baton_scheduler) - offsetof(struct baton_scheduler, attach),
		      "every op is shown");
	for (size_t n = 0; n < ARRAY_SIZE(ops); n++)
		if (ops[n].there)
			json_array_append_new(names, json_string(ops[n].name));
	return names;
}

/* What it needs of the monitor. The loader has let the image pass, so the walk finds sound names only. */
static json_t *imports_of(const struct inspected *i)
{
	json_t *names = json_array();
	struct elf f;

	if (elf_check(i->bytes, i->size, ARENA_SLOT_SIZE, "the image", &f, NULL) < 0)
		return names;
	for (uint32_t n = 1; n < f.dynsym.count; n++) {
		Elf64_Sym symbol = elf_symbol(&f.dynsym, n);
		const char *name = elf_string(&f.dynstr, symbol.st_name);

		if (symbol.st_shndx == SHN_UNDEF && name)
			json_array_append_new(names, json_string(name));
	}
	return names;
}

static json_t *parameters_of(const struct baton_scheduler *s)
{
	json_t *list = json_array();

	for (uint64_t n = 0; n < s->parameter_count; n++) {
		const struct baton_parameter *p = &s->parameters[n];

		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "name", p->name, "scope",
						      p->scope == BATON_SCOPE_VM ? "vm" : "pool", "unit", p->unit,
						      "help", p->help, "min", (json_int_t)p->min, "max",
						      (json_int_t)p->max, "default", (json_int_t)p->initial));
	}
	return list;
}

static json_t *info_of(const struct inspected *i)
{
	const struct baton_scheduler *s = image_scheduler(i->image);

	return json_pack("{s:s, s:s, s:s, s:i, s:s, s:i, s:i, s:i, s:i, s:i, s:o, s:o, s:o}", "name", s->name,
			 "version", s->version, "description", s->description, "abi", (int)s->abi, "digest",
			 image_digest(i->image), "bytes", (int)image_size(i->image), "pool_state_bytes",
			 (int)s->pool_state_size, "vm_state_bytes", (int)s->vm_state_size, "vcpu_state_bytes",
			 (int)s->vcpu_state_size, "state_version", (int)s->state_version, "ops", ops_of(s), "imports",
			 imports_of(i), "parameters", parameters_of(s));
}

/* ---- for people ---- */

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static int64_t number_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static void print_names(const char *title, const json_t *names)
{
	const json_t *name;
	size_t n;

	printf("%-12s", title);
	if (json_array_size(names) == 0)
		printf("none");
	json_array_foreach(names, n, name) printf("%s%s", n > 0 ? " " : "", json_string_value(name));
	putchar('\n');
}

static void print_parameters(const json_t *parameters)
{
	struct table *t = table_new("PARAMETER|OF|>DEFAULT|>MIN|>MAX|UNIT|WHAT IT IS");
	const json_t *p;
	size_t n;

	json_array_foreach(parameters, n, p)
	{
		table_cell(t, "%s", text_of(p, "name"));
		table_cell(t, "%s", text_of(p, "scope"));
		table_cell(t, "%" PRId64, number_of(p, "default"));
		table_cell(t, "%" PRId64, number_of(p, "min"));
		table_cell(t, "%" PRId64, number_of(p, "max"));
		table_cell(t, "%s", text_of(p, "unit"));
		table_cell(t, "%s", text_of(p, "help"));
	}
	table_print(t, stdout, "  ");
	table_free(t);
}

static void print_info(const json_t *info)
{
	const json_t *parameters = json_object_get(info, "parameters");

	printf("%s%s%s%s%s\n", text_of(info, "name"), *text_of(info, "version") ? " " : "", text_of(info, "version"),
	       *text_of(info, "description") ? ": " : "", text_of(info, "description"));
	printf("%-12s%" PRId64 "\n", "abi", number_of(info, "abi"));
	printf("%-12ssha256 %s\n", "digest", text_of(info, "digest"));
	printf("%-12s%" PRId64 " bytes\n", "size", number_of(info, "bytes"));
	printf("%-12s%" PRId64 " bytes per pool, %" PRId64 " per VM, %" PRId64 " per vCPU; history format %" PRId64
	       "\n",
	       "state", number_of(info, "pool_state_bytes"), number_of(info, "vm_state_bytes"),
	       number_of(info, "vcpu_state_bytes"), number_of(info, "state_version"));
	print_names("ops", json_object_get(info, "ops"));
	print_names("imports", json_object_get(info, "imports"));
	if (json_array_size(parameters) == 0) {
		puts("parameters  none");
		return;
	}
	puts("parameters");
	print_parameters(parameters);
}

int sched_info(int argc, char **argv)
{
	enum { JSON = 256 };
	static const struct option longs[] = {{"json", no_argument, NULL, JSON}, {NULL, 0, NULL, 0}};
	_cleanup_(inspected_close) struct inspected image = {0};
	struct error e = {""};
	bool json = false;
	json_t *info;
	int opt;

	while ((opt = cli_getopt(&command_sched, argc, argv, longs)) != -1) {
		if (opt != JSON)
			return CLI_USAGE;
		json = true;
	}
	if (argc - optind != 1)
		return cli_usage(&command_sched, "info needs the file of one scheduler image");
	if (inspect(argv[optind], &image, &e) < 0)
		return cli_fail("%s", e.text);
	info = info_of(&image);
	if (json)
		json_print(info);
	else
		print_info(info);
	json_decref(info);
	return 0;
}
