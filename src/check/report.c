/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - see report.h. */
#include "check/report.h"

#include <inttypes.h>
#include <string.h>

#include "check/example.h"

static const struct {
	const char *unit; /* behind the figure; NULL: the property has none */
	double scale;
} figures[PROPERTIES] = {
    [PROPERTY_WORK] = {"us idle", 1e-3},
    [PROPERTY_STARVATION] = {"% of the wait that is explained", 100},
    [PROPERTY_ALONE] = {"% of the wait that is explained", 100},
    [PROPERTY_SHARES] = {"slices apart", 1},
    [PROPERTY_HANDOVER] = {"slices apart", 1},
    [PROPERTY_LATENCY] = {"ms to run", 1},
    [PROPERTY_CAPS] = {"ms above", 1},
    [PROPERTY_RESERVATIONS] = {"budgets missed", 1},
    [PROPERTY_GANG] = {"% not together", 100},
};

const char *figure_text(char buf[FIGURE_TEXT_MAX], enum property p, double figure)
{
	if (!figures[p].unit)
		return "";
	(void)snprintf(buf, FIGURE_TEXT_MAX, "%.3g %s", figure < 0 ? 0 : figure * figures[p].scale, figures[p].unit);
	return buf;
}

enum outcome { OUTCOME_PASSED, OUTCOME_FAILED, OUTCOME_NOT_APPLICABLE, OUTCOME_SKIPPED, OUTCOME_NOT_TRIED };

static enum outcome outcome(const struct check_report *r, enum property p)
{
	if (r->skip & PROPERTY_BIT(p))
		return OUTCOME_SKIPPED;
	if (!(r->subject->claims & PROPERTY_BIT(p)))
		return OUTCOME_NOT_APPLICABLE;
	if (r->of[p].failed > 0)
		return OUTCOME_FAILED;
	return r->of[p].judged > 0 ? OUTCOME_PASSED : OUTCOME_NOT_TRIED;
}

static const char *const outcome_names[] = {"passed", "FAILED", "n/a", "skipped", "not tried"};

/* ---- for people ---- */

static void print_row(const struct check_report *r, enum property p, FILE *out)
{
	const struct check_result *x = &r->of[p];
	char figure[FIGURE_TEXT_MAX];
	enum outcome o = outcome(r, p);

	fprintf(out, "  %-16s %-9s ", property_name(p), outcome_names[o]);
	if (o == OUTCOME_NOT_APPLICABLE) {
		fprintf(out, " %s\n", r->subject->why_not[p]);
		return;
	}
	if (o == OUTCOME_PASSED || o == OUTCOME_FAILED)
		fprintf(out, " %u of %u trials", o == OUTCOME_FAILED ? x->failed : x->judged, x->judged);
	if (figures[p].unit && x->judged > 0 && x->worst.limit > 0)
		fprintf(out, "; worst %s, limit %.3g", figure_text(figure, p, x->worst.worst),
			x->worst.limit * figures[p].scale);
	fputc('\n', out);
}

/* The command that shows the example: its parameters go behind the policy. */
static void print_replay(const struct trial *t, const char *given, const char *example, FILE *out)
{
	fprintf(out, "  see it: baton sim run --policy %s", given);
	for (uint32_t i = 0; i < t->param_count; i++)
		fprintf(out, "%c%s=%" PRId64, i == 0 ? ':' : ',', t->params[i].name, t->params[i].value);
	fprintf(out, " %s\n", example);
}

static void print_failure(const struct check_report *r, enum property p, const char *given, const char *example,
			  FILE *out)
{
	const struct check_result *x = &r->of[p];
	char conditions[1024];

	fprintf(out, "\n%s: %s\n", property_name(p), property_says(p));
	fprintf(out, "  %s (at %.6g ms)\n", x->failure.text, (double)x->failure.at_ns / 1e6);
	fprintf(out, "  first in trial %" PRIu64 ", shrunk from %u to %u parts\n", x->example->number, x->shrunk_from,
		x->shrunk_to);
	example_conditions(x->example, r->subject, conditions, sizeof conditions);
	if (conditions[0] != '\0')
		fprintf(out, "  with: %s\n", conditions);
	if (example && x->example->act_count == 0 && x->example->handover_ns == 0)
		print_replay(x->example, given, example, out);
	else if (example)
		fprintf(out, "  its workload: %s\n", example);
	fprintf(out, "  again: baton sched check %s --seed %" PRIu64 " --runs 1\n", given, x->example->number);
}

void report_print(const struct check_report *r, const char *given, const char *const examples[PROPERTIES], FILE *out)
{
	const struct baton_scheduler *s = r->subject->ops;
	uint32_t failed = 0;

	fprintf(out, "%s%s%s: %u trials from seed %" PRIu64 ", %" PRIu64 " decisions\n", s->name,
		s->version[0] ? " " : "", s->version, r->runs, r->seed, r->decisions);
	if (r->refused > 0)
		fprintf(out, "it refused a VM in %u of them, which were left out; the last time: %s\n", r->refused,
			r->refusal);
	fputc('\n', out);
	for (uint32_t p = 0; p < PROPERTIES; p++) {
		print_row(r, (enum property)p, out);
		failed += outcome(r, (enum property)p) == OUTCOME_FAILED;
	}
	for (uint32_t p = 0; p < PROPERTIES; p++)
		if (outcome(r, (enum property)p) == OUTCOME_FAILED)
			print_failure(r, (enum property)p, given, examples[p], out);
	if (failed == 0)
		fprintf(out, "\nnothing was found\n");
	else
		fprintf(out, "\n%u %s failed\n", failed, failed == 1 ? "property" : "properties");
}

/* ---- for programs ---- */

static json_t *property_json(const struct check_report *r, enum property p, const char *example)
{
	static const char *const words[] = {"passed", "failed", "not applicable", "skipped", "not tried"};
	const struct check_result *x = &r->of[p];
	enum outcome o = outcome(r, p);
	json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:i}", "property", property_name(p), "says", property_says(p),
			      "result", words[o], "trials", (int)x->judged, "failed", (int)x->failed);
	char conditions[1024];

	if (o == OUTCOME_NOT_APPLICABLE)
		json_object_set_new(j, "why", json_string(r->subject->why_not[p]));
	if (figures[p].unit && x->judged > 0 && x->worst.limit > 0) {
		json_object_set_new(j, "worst", json_real(x->worst.worst * figures[p].scale));
		json_object_set_new(j, "limit", json_real(x->worst.limit * figures[p].scale));
		json_object_set_new(j, "unit", json_string(figures[p].unit));
		json_object_set_new(j, "worst_trial", json_integer((json_int_t)x->seed));
	}
	if (o != OUTCOME_FAILED)
		return j;
	example_conditions(x->example, r->subject, conditions, sizeof conditions);
	json_object_set_new(j, "failure",
			    json_pack("{s:s, s:I, s:I, s:i, s:i, s:s, s:s*, s:o}", "text", x->failure.text, "at_ns",
				      (json_int_t)x->failure.at_ns, "trial", (json_int_t)x->example->number,
				      "shrunk_from", (int)x->shrunk_from, "shrunk_to", (int)x->shrunk_to, "conditions",
				      conditions, "file", example, "workload",
				      example_json(x->example, p, &x->failure)));
	return j;
}

json_t *report_json(const struct check_report *r, const char *given, const char *const examples[PROPERTIES])
{
	const struct baton_scheduler *s = r->subject->ops;
	json_t *list = json_array();

	for (uint32_t p = 0; p < PROPERTIES; p++)
		json_array_append_new(list, property_json(r, (enum property)p, examples[p]));
	return json_pack("{s:s, s:s, s:s, s:I, s:i, s:i, s:I, s:b, s:o}", "scheduler", s->name, "version", s->version,
			 "image", given, "seed", (json_int_t)r->seed, "trials", (int)r->runs, "refused",
			 (int)r->refused, "decisions", (json_int_t)r->decisions, "passed", !check_failed(r),
			 "properties", list);
}
