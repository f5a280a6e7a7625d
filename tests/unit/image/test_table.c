/* SPDX-License-Identifier: Apache-2.0 */
/* test_table.c - what makes a scheduler's table sound, asked of tables that are part of this program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "sched/loader/table.h"

static struct baton_choice choose(struct baton_region *r, uint32_t pcpu, uint64_t now)
{
	return (struct baton_choice){.vcpu = BATON_NONE};
}

static struct baton_scheduler sound(const struct baton_parameter *p, uint64_t n)
{
	return (struct baton_scheduler){.magic = BATON_SCHEDULER_MAGIC,
					.abi = BATON_SCHEDULER_ABI,
					.size = sizeof(struct baton_scheduler),
					.name = "round-robin_2.0",
					.version = "1.0~rc1+x",
					.description = "Takes turns; 100 %.",
					.parameters = p,
					.parameter_count = n,
					.choose = choose};
}

static void assert_unsound(const struct baton_scheduler *s, const char *text)
{
	struct error e = {{0}};
	int r = table_check(s, NULL, "built-in", &e);

	if (r != -EINVAL || !strstr(e.text, text))
		fail_msg("%d \"%s\", but \"%s\" was expected", r, e.text, text);
}

#define UNSOUND(text, change)                                                                                          \
	do {                                                                                                           \
		struct baton_scheduler s = sound(NULL, 0);                                                             \
		change;                                                                                                \
		assert_unsound(&s, text);                                                                              \
	} while (0)

static void test_sound_table_passes(void **state)
{
	struct baton_scheduler s = sound(NULL, 0);
	struct error e = {{0}};

	assert_int_equal(table_check(&s, NULL, "built-in", &e), 0);
	s.version[0] = s.description[0] = '\0';
	assert_int_equal(table_check(&s, NULL, "built-in", &e), 0);
	s.pool_state_size = TABLE_POOL_STATE_MAX;
	s.vcpu_state_size = TABLE_VCPU_STATE_MAX;
	s.vm_state_size = TABLE_VM_STATE_MAX;
	assert_int_equal(table_check(&s, NULL, "built-in", &e), 0);
}

static void test_texts_must_be_sound(void **state)
{
	UNSOUND("no sound name", s.name[0] = '\0');
	UNSOUND("no sound name", s.name[0] = '7');
	UNSOUND("no sound name", s.name[1] = ' ');
	UNSOUND("no sound name", s.name[1] = '/');
	UNSOUND("no sound name", s.name[1] = '\n');
	UNSOUND("no sound name", memset(s.name, 'a', sizeof(s.name)));
	UNSOUND("version", s.version[0] = '"');
	UNSOUND("version", memset(s.version, '1', sizeof(s.version)));
	UNSOUND("description", s.description[0] = '\x1b');
	UNSOUND("description", s.description[0] = (char)0xc3);
	UNSOUND("description", memset(s.description, '1', sizeof(s.description)));
}

static void test_state_and_ops_are_limited(void **state)
{
	UNSOUND("too much state", s.pool_state_size = TABLE_POOL_STATE_MAX + 1);
	UNSOUND("too much state", s.vcpu_state_size = TABLE_VCPU_STATE_MAX + 1);
	UNSOUND("too much state", s.vm_state_size = TABLE_VM_STATE_MAX + 1);
	UNSOUND("no `choose`", s.choose = NULL);
	UNSOUND("do not lie in the image", s.parameter_count = 1);
	UNSOUND("at most 32", s.parameter_count = UINT64_MAX);
}

static void assert_parameters(const struct baton_parameter *p, uint64_t n, const char *text)
{
	struct baton_scheduler s = sound(p, n);
	struct error e = {{0}};

	if (text)
		assert_unsound(&s, text);
	else if (table_check(&s, NULL, "built-in", &e) < 0)
		fail_msg("%s", e.text);
}

static void test_parameters_must_be_sound(void **state)
{
	const struct baton_parameter good = {.name = "slice_us", .unit = "us", .min = -5, .max = 10, .initial = 0};
	struct baton_parameter p[BATON_PARAMS_MAX];

#define PARAMETER(text, change)                                                                                        \
	do {                                                                                                           \
		p[0] = good;                                                                                           \
		change;                                                                                                \
		assert_parameters(p, 1, text);                                                                         \
	} while (0)
	PARAMETER(NULL, p[0].min = p[0].max = p[0].initial);
	PARAMETER("no sound name", p[0].name[0] = '\0');
	PARAMETER("no sound name", p[0].name[0] = '-');
	PARAMETER("no sound name", memset(p[0].name, 'a', sizeof(p[0].name)));
	PARAMETER("unit or help", memset(p[0].unit, 'a', sizeof(p[0].unit)));
	PARAMETER("unit or help", p[0].help[0] = '\t');
	PARAMETER("min <= initial <= max", p[0].initial = 11);
	PARAMETER("min <= initial <= max", p[0].initial = -6);
	PARAMETER("unknown scope", p[0].scope = 2);
	PARAMETER("reserved", p[0].reserved = 1);
	PARAMETER("no such field", p[0].scope = BATON_SCOPE_VM);
	PARAMETER("cannot hold", p[0].scope = BATON_SCOPE_VM; strcpy(p[0].name, "warp_ns"));
	PARAMETER("cannot hold", p[0].scope = BATON_SCOPE_VM; strcpy(p[0].name, "weight"); p[0].min = 0;
		  p[0].max = INT64_C(1) << 32);
	PARAMETER(NULL, p[0].scope = BATON_SCOPE_VM; strcpy(p[0].name, "weight"); p[0].min = 0; p[0].max = UINT32_MAX);
#undef PARAMETER

	for (unsigned i = 0; i < BATON_PARAMS_MAX; i++) {
		p[i] = good;
		snprintf(p[i].name, sizeof(p[i].name), "p%u", i);
	}
	assert_parameters(p, BATON_PARAMS_MAX, NULL);
	strcpy(p[31].name, "p7");
	assert_parameters(p, BATON_PARAMS_MAX, "\"p7\" is declared twice");
}

static void test_functions_outside_the_bounds_are_refused(void **state)
{
	const struct baton_scheduler s = sound(NULL, 0);
	struct table_range range[] = {{(uintptr_t)&s, (uintptr_t)&s + 1, true},
				      {(uintptr_t)choose, (uintptr_t)choose + 1, true}};
	struct table_bounds bounds = {.range = range, .count = 2};
	struct error e = {{0}};

	assert_int_equal(table_check(&s, &bounds, "image", &e), 0);
	range[1].exec = false;
	assert_int_equal(table_check(&s, &bounds, "image", &e), -EINVAL);
	assert_non_null(strstr(e.text, "`choose` does not point to code"));
	bounds.count = 1;
	assert_int_equal(table_check(&s, &bounds, "image", &e), -EINVAL);
}

static void test_vm_fields_are_reached_by_name(void **state)
{
	struct baton_vm vm = {0};
	int64_t value = -1;

	assert_int_equal(table_vm_field_set(&vm, "weight", 512), 0);
	assert_int_equal(vm.weight, 512);
	assert_int_equal(vm.cap_percent, 0);
	assert_int_equal(table_vm_field_set(&vm, "latency_ns", INT64_MAX), 0);
	assert_true(vm.latency_ns == INT64_MAX);
	assert_int_equal(table_vm_field_get(&vm, "weight", &value), 0);
	assert_int_equal(value, 512);
	assert_int_equal(table_vm_field_get(&vm, "latency_ns", &value), 0);
	assert_true(value == INT64_MAX);
	assert_int_equal(table_vm_field_set(&vm, "weight", -1), -ERANGE);
	assert_int_equal(table_vm_field_set(&vm, "weight", INT64_C(1) << 32), -ERANGE);
	assert_int_equal(table_vm_field_set(&vm, "used", 1), -ENOENT);
	assert_int_equal(table_vm_field_get(&vm, "service", &value), -ENOENT);
	assert_int_equal(vm.weight, 512);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sound_table_passes),
	    cmocka_unit_test(test_texts_must_be_sound),
	    cmocka_unit_test(test_state_and_ops_are_limited),
	    cmocka_unit_test(test_parameters_must_be_sound),
	    cmocka_unit_test(test_functions_outside_the_bounds_are_refused),
	    cmocka_unit_test(test_vm_fields_are_reached_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
