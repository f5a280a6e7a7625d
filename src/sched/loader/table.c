/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - see table.h. */
#include "table.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#define refuse(source, e, fmt, ...) error_set(e, -EINVAL, "%.80s: " fmt, source __VA_OPT__(, ) __VA_ARGS__)

/* ---- fields of struct baton_vm that an operator may set -------------------------------------------------------- */

static const struct vm_field {
	const char *name;
	size_t offset;
	size_t size;
} vm_fields[] = {
/* clang-format off */
#define VM_FIELD(f) {#f, offsetof(struct baton_vm, f), sizeof(((struct baton_vm *)0)->f)}
	VM_FIELD(weight),
	VM_FIELD(cap_percent),
	VM_FIELD(warp_ns),
	VM_FIELD(warp_limit_ns),
	VM_FIELD(unwarp_ns),
	VM_FIELD(budget_ns),
	VM_FIELD(period_ns),
	VM_FIELD(latency_ns),
#undef VM_FIELD
    /* clang-format on */
};

static const struct vm_field *vm_field(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(vm_fields); i++)
		if (strcmp(vm_fields[i].name, name) == 0)
			return &vm_fields[i];
	return NULL;
}

static int64_t vm_field_max(const struct vm_field *f)
{
	return f->size == sizeof(uint32_t) ? UINT32_MAX : INT64_MAX;
}

int table_vm_field_set(struct baton_vm *vm, const char *name, int64_t value)
{
	const struct vm_field *f = vm_field(name);
	uint32_t narrow = (uint32_t)value;

	if (!f)
		return -ENOENT;
	if (value < 0 || value > vm_field_max(f))
		return -ERANGE;
	if (f->size == sizeof(narrow))
		memcpy((char *)vm + f->offset, &narrow, sizeof(narrow));
	else
		memcpy((char *)vm + f->offset, &value, sizeof(value));
	return 0;
}

int table_vm_field_get(const struct baton_vm *vm, const char *name, int64_t *ret)
{
	const struct vm_field *f = vm_field(name);
	uint32_t narrow;

	if (!f)
		return -ENOENT;
	if (f->size == sizeof(narrow)) {
		memcpy(&narrow, (const char *)vm + f->offset, sizeof(narrow));
		*ret = narrow;
	} else {
		memcpy(ret, (const char *)vm + f->offset, sizeof(*ret));
	}
	return 0;
}

/* ---- text ------------------------------------------------------------------------------------------------------ */

/* Text in a field of fixed size: ends inside it, and every character is printable ASCII (it goes into JSON, logs and
 * terminals) and, for a name, a letter, a digit or one of `more`. */
static bool sound_text(const char *s, size_t size, bool name, const char *more)
{
	size_t n = strnlen(s, size);

	if (n == size)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < ' ' || c > '~')
			return false;
		if (name && !isalnum(c) && !strchr(more, c))
			return false;
	}
	return true;
}

static bool sound_name(const char *s, size_t size, const char *more)
{
	return sound_text(s, size, true, more) && isalpha((unsigned char)s[0]);
}

/* ---- addresses ------------------------------------------------------------------------------------------------- */

static bool in_bounds(const struct table_bounds *b, uintptr_t at, size_t size, bool exec)
{
	if (!b)
		return true;
	for (size_t i = 0; i < b->count; i++) {
		const struct table_range *r = &b->range[i];

		if (at >= r->start && at < r->end && size <= r->end - at && (r->exec || !exec))
			return true;
	}
	return false;
}

static int check_ops(const struct baton_scheduler *s, const struct table_bounds *b, const char *source, struct error *e)
{
#define OP(op)                                                                                                         \
	{                                                                                                              \
#op, (uintptr_t)s->op                                                                                  \
	}
	const struct {
		const char *name;
		uintptr_t address;
	} ops[] = {
	    OP(attach),	  OP(detach),	OP(admit),	    OP(retire), OP(wake),      OP(sleep), OP(start),
	    OP(stop),	  OP(tick),	OP(spin),	    OP(ipi),	OP(interrupt), OP(boost), OP(choose),
	    OP(preempts), OP(priority), OP(choose_console), OP(set),	OP(give),      OP(take),  OP(dump),
	};
#undef OP
	/* A new op in the table must not be forgotten here. */
	static_assert(ARRAY_SIZE(ops) * sizeof(void (*)(void)) ==
			  sizeof(struct baton_scheduler) - offsetof(struct baton_scheduler, attach),
		      "every op is checked");

	if (!s->choose)
		return refuse(source, e,
			      "the scheduler \"%s\" has no `choose`: it is the one op that every scheduler needs",
			      s->name);
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
		if (ops[i].address != 0 && !in_bounds(b, ops[i].address, 1, true))
			return refuse(
			    source, e,
			    "the op `%s` does not point to code of the image: it must be a function of its own",
			    ops[i].name);
	return 0;
}

/* ---- parameters ------------------------------------------------------------------------------------------------ */

static int check_parameter(const struct baton_scheduler *s, uint64_t i, const char *source, struct error *e)
{
	const struct baton_parameter *p = &s->parameters[i];

	if (!sound_name(p->name, sizeof(p->name), "_"))
		return refuse(source, e,
			      "parameter %" PRIu64 " has no sound name: letters, digits and _, at most %zu characters",
			      i, sizeof(p->name) - 1);
	if (!sound_text(p->unit, sizeof(p->unit), false, "") || !sound_text(p->help, sizeof(p->help), false, ""))
		return refuse(source, e,
			      "the unit or help text of parameter \"%s\" is not printable ASCII that ends in its field",
			      p->name);
	if (p->min > p->initial || p->initial > p->max)
		return refuse(source, e,
			      "parameter \"%s\" breaks min <= initial <= max (%" PRId64 ", %" PRId64 ", %" PRId64 ")",
			      p->name, p->min, p->initial, p->max);
	if (p->scope != BATON_SCOPE_POOL && p->scope != BATON_SCOPE_VM)
		return refuse(source, e,
			      "parameter \"%s\" has an unknown scope (%u): BATON_SCOPE_POOL or BATON_SCOPE_VM", p->name,
			      p->scope);
	if (p->reserved != 0)
		return refuse(source, e, "parameter \"%s\" has its reserved field set: leave it 0", p->name);
	if (p->scope == BATON_SCOPE_VM) {
		const struct vm_field *f = vm_field(p->name);

		if (!f)
			return refuse(
			    source, e,
			    "parameter \"%s\" is of VM scope but no such field is in struct baton_vm: use weight, "
			    "cap_percent, warp_ns, ... or pool scope",
			    p->name);
		if (p->min < 0 || p->max > vm_field_max(f))
			return refuse(source, e,
				      "parameter \"%s\" has a range that its field in struct baton_vm cannot hold",
				      p->name);
	}
	for (uint64_t k = 0; k < i; k++)
		if (s->parameters[k].scope == p->scope && strcmp(s->parameters[k].name, p->name) == 0)
			return refuse(source, e, "parameter \"%s\" is declared twice", p->name);
	return 0;
}

static int check_parameters(const struct baton_scheduler *s, const struct table_bounds *b, const char *source,
			    struct error *e)
{
	if (s->parameter_count == 0)
		return 0;
	if (s->parameter_count > BATON_PARAMS_MAX)
		return refuse(source, e, "the scheduler \"%s\" declares %" PRIu64 " parameters: at most %u", s->name,
			      s->parameter_count, BATON_PARAMS_MAX);

	size_t size = (size_t)s->parameter_count * sizeof(*s->parameters);
	uintptr_t at = (uintptr_t)s->parameters;
	if (at == 0 || at % _Alignof(struct baton_parameter) != 0 || !in_bounds(b, at, size, false))
		return refuse(source, e,
			      "the parameters of \"%s\" do not lie in the image: .parameters is an array of "
			      "parameter_count elements",
			      s->name);
	for (uint64_t i = 0; i < s->parameter_count; i++) {
		int r = check_parameter(s, i, source, e);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- the table ------------------------------------------------------------------------------------------------- */

int table_check_head(uint32_t magic, uint32_t abi, uint32_t size, const char *source, struct error *e)
{
	if (magic != BATON_SCHEDULER_MAGIC)
		return error_set(e, -ENOEXEC,
				 "%.80s: baton_scheduler does not begin with the magic number: define it with "
				 "BATON_SCHEDULER(name, ...)",
				 source);
	if (abi != BATON_SCHEDULER_ABI)
		return error_set(e, -EPROTONOSUPPORT,
				 "%.80s is built for scheduler ABI %u, this monitor has ABI %u: build it with "
				 "the baton/scheduler.h of this monitor",
				 source, abi, BATON_SCHEDULER_ABI);
	if (size != sizeof(struct baton_scheduler))
		return error_set(e, -EPROTONOSUPPORT,
				 "%.80s has a scheduler table of %u bytes, ABI %u has %zu: build it with the "
				 "baton/scheduler.h of this monitor",
				 source, size, abi, sizeof(struct baton_scheduler));
	return 0;
}

int table_check(const struct baton_scheduler *s, const struct table_bounds *bounds, const char *source, struct error *e)
{
	int r = table_check_head(s->magic, s->abi, s->size, source, e);
	if (r < 0)
		return r;

	if (!sound_name(s->name, sizeof(s->name), "_-."))
		return refuse(source, e,
			      "the scheduler has no sound name: a letter, then letters, digits, _ - . (at most %zu)",
			      sizeof(s->name) - 1);
	if (!sound_text(s->version, sizeof(s->version), true, "_-.+~"))
		return refuse(source, e, "the version of \"%s\" is not sound: letters, digits, _ - . + ~ (at most %zu)",
			      s->name, sizeof(s->version) - 1);
	if (!sound_text(s->description, sizeof(s->description), false, ""))
		return refuse(source, e, "the description of \"%s\" is not printable ASCII of at most %zu characters",
			      s->name, sizeof(s->description) - 1);
	if (s->pool_state_size > TABLE_POOL_STATE_MAX || s->vcpu_state_size > TABLE_VCPU_STATE_MAX ||
	    s->vm_state_size > TABLE_VM_STATE_MAX)
		return refuse(source, e,
			      "\"%s\" asks for too much state (%u bytes per pool, %u per VM, %u per vCPU): at most 16 "
			      "MiB, 4 KiB, 4 KiB",
			      s->name, s->pool_state_size, s->vm_state_size, s->vcpu_state_size);
	r = check_parameters(s, bounds, source, e);
	if (r < 0)
		return r;
	return check_ops(s, bounds, source, e);
}
