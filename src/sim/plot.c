/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plot.c - the compact plot of one run, as the pages of the policies embed it: above, who ran where for a moment; below,
 * one row per VM with its share beside the fair one, and its wake latencies. Colours follow the reader's light or dark.
 */
#include <math.h>
#include <string.h>

#include "sim/reader.h"
#include "sim/report.h"

#define WIDTH	    860.0
#define LEFT	    88.0
#define SPLIT	    470.0 /* shares end, latencies begin */
#define LANE	    22.0
#define ROW	    26.0
#define LANES_MAX   16 /* pCPUs shown */
#define ROWS_MAX    24 /* VMs shown */
#define COLOURS	    8
#define LABEL_RIGHT 56.0

static const char style[] =
    "<style>\n"
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#5c6573}.ink{fill:#1b1f27}"
    ".title{font-weight:600;font-size:14px}.grid{stroke:#e3e7ed}.idle{fill:#eef1f5}.fair{stroke:#1b1f27;stroke-width:2}"
    ".hole{fill:#fff}.card{fill:#fff;stroke:#d9dee6}\n"
    ".c0{fill:#2f6fd0;stroke:#2f6fd0}.c1{fill:#d9772b;stroke:#d9772b}.c2{fill:#23936a;stroke:#23936a}"
    ".c3{fill:#8a5cc7;stroke:#8a5cc7}.c4{fill:#c8463f;stroke:#c8463f}.c5{fill:#1f97ad;stroke:#1f97ad}"
    ".c6{fill:#a8871a;stroke:#a8871a}.c7{fill:#7a6a5c;stroke:#7a6a5c}.span{stroke:none}\n"
    "@media(prefers-color-scheme:dark){text{fill:#98a2b3}.ink{fill:#e7eaf0}.grid{stroke:#2b323e}.idle{fill:#222732}"
    ".fair{stroke:#e7eaf0}.hole{fill:#1a1e26}.card{fill:#1a1e26;stroke:#343b48}"
    ".c0{fill:#6aa3f5;stroke:#6aa3f5}.c1{fill:#f0a05c;stroke:#f0a05c}.c2{fill:#4fc496;stroke:#4fc496}"
    ".c3{fill:#b593ec;stroke:#b593ec}.c4{fill:#f0807a;stroke:#f0807a}.c5{fill:#56c4d8;stroke:#56c4d8}"
    ".c6{fill:#d6b84a;stroke:#d6b84a}.c7{fill:#b3a292;stroke:#b3a292}.span{stroke:none}}\n"
    "</style>\n";

static double real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static void put_text(FILE *out, const char *text)
{
	for (; text && *text; text++) {
		switch (*text) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		default:
			putc(*text, out);
		}
	}
}

static void text_at(FILE *out, double x, double y, const char *class, const char *anchor, const char *text)
{
	fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\" text-anchor=\"%s\">", x, y, class, anchor);
	put_text(out, text);
	fputs("</text>\n", out);
}

static void line_at(FILE *out, double x1, double y1, double x2, double y2, const char *class)
{
	fprintf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1, y1, x2, y2, class);
}

/* ---- who ran where ---- */

/* Which VM has the vCPU with this number? */
static size_t vm_of(const json_t *vms, json_int_t vcpu)
{
	const json_t *vm;
	json_int_t first = 0;
	size_t n;

	json_array_foreach(vms, n, vm)
	{
		first +=
		    json_integer_value(json_object_get(vm, "count")) * json_integer_value(json_object_get(vm, "vcpus"));
		if (vcpu < first)
			return n;
	}
	return 0;
}

static double put_timeline(FILE *out, const json_t *run, double y)
{
	const json_t *timeline = json_object_get(run, "timeline"), *span;
	double from = real(timeline, "from_ns"), to = real(timeline, "to_ns"), scale;
	json_int_t lanes = MIN(json_integer_value(json_object_get(run, "pcpus")), (json_int_t)LANES_MAX);
	char text[TIME_TEXT_MAX];
	size_t i;

	to = MAX(to, from + 1);
	scale = (WIDTH - LEFT - 16) / (to - from);
	for (json_int_t p = 0; p < lanes; p++) {
		fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"idle\"/>\n", LEFT,
			y + (double)p * LANE + 1, WIDTH - LEFT - 16, LANE - 2);
		(void)snprintf(text, sizeof text, "pCPU %d", (int)p);
		text_at(out, 16, y + (double)p * LANE + LANE / 2 + 4, "", "start", text);
	}
	json_array_foreach(json_object_get(timeline, "spans"), i, span)
	{
		json_int_t p = json_integer_value(json_array_get(span, 0));
		double a = json_number_value(json_array_get(span, 2)), n = json_number_value(json_array_get(span, 3));

		if (p < lanes)
			fprintf(
			    out, "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" class=\"c%zu span\"/>\n",
			    LEFT + (a - from) * scale, y + (double)p * LANE + 1,
			    MAX(n * scale - (n * scale > 3 ? 0.6 : 0), 0.3), LANE - 2,
			    vm_of(json_object_get(run, "vms"), json_integer_value(json_array_get(span, 1))) % COLOURS);
	}
	y += (double)lanes * LANE;
	for (int k = 0; k <= 4; k++) {
		double t = from + (to - from) * k / 4;

		line_at(out, LEFT + (t - from) * scale, y, LEFT + (t - from) * scale, y + 4, "grid");
		text_at(out, LEFT + (t - from) * scale, y + 17, "",
			k == 0	 ? "start"
			: k == 4 ? "end"
				 : "middle",
			time_text(text, (uint64_t)t));
	}
	return y + 40;
}

/* ---- one row per VM ---- */

struct scales {
	double share_max, latency_min_us, latency_max_us;
};

static double share_x(const struct scales *s, double share)
{
	return LEFT + share / s->share_max * (SPLIT - LEFT - LABEL_RIGHT);
}

static double latency_x(const struct scales *s, double us)
{
	double x = log10(MAX(us, s->latency_min_us) / s->latency_min_us) / log10(s->latency_max_us / s->latency_min_us);

	return SPLIT + 24 + x * (WIDTH - SPLIT - 24 - 34);
}

static struct scales scales_of(const json_t *vms)
{
	struct scales s = {.share_max = 1, .latency_min_us = 1, .latency_max_us = 10000};
	const json_t *vm;
	size_t n;

	json_array_foreach(vms, n, vm)
	{
		s.share_max = MAX(s.share_max, MAX(real(vm, "share_percent"), real(vm, "fair_percent")));
		while (s.latency_max_us < real(json_object_get(vm, "latency_us"), "max"))
			s.latency_max_us *= 10;
	}
	s.share_max = ceil(s.share_max / 10) * 10;
	return s;
}

static void put_grid(FILE *out, const struct scales *s, double top, double bottom)
{
	double step = s->share_max > 60 ? 20 : 10;
	char text[TIME_TEXT_MAX];

	text_at(out, LEFT, top - 12, "ink", "start", "share of all pCPUs (bar), fair share (line)");
	text_at(out, SPLIT + 24, top - 12, "ink", "start", "from wake-up to running: p50, p99, max");
	for (double share = 0; share <= s->share_max; share += step) {
		line_at(out, share_x(s, share), top, share_x(s, share), bottom, "grid");
		(void)snprintf(text, sizeof text, "%.0f %%", share);
		text_at(out, share_x(s, share), bottom + 14, "", "middle", text);
	}
	for (double us = s->latency_min_us; us <= s->latency_max_us * 1.01; us *= 10) {
		line_at(out, latency_x(s, us), top, latency_x(s, us), bottom, "grid");
		text_at(out, latency_x(s, us), bottom + 14, "", "middle", time_text(text, (uint64_t)(us * 1000)));
	}
}

static void put_latency(FILE *out, const struct scales *s, const json_t *latency, double y, const char *colour)
{
	double p50 = latency_x(s, real(latency, "p50")), p99 = latency_x(s, real(latency, "p99"));
	double max = latency_x(s, real(latency, "max"));

	if (json_integer_value(json_object_get(latency, "count")) == 0) {
		text_at(out, SPLIT + 24, y + 4, "", "start", "never sleeps");
		return;
	}
	fprintf(out, "<g class=\"%s\" stroke-width=\"2\">", colour);
	fprintf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", p50, y, max, y);
	fprintf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", max, y - 5, max, y + 5);
	fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"/>", p99, y);
	fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" class=\"hole\"/></g>\n", p50, y);
}

static void put_vm(FILE *out, const struct scales *s, const json_t *vm, size_t n, double y)
{
	double share = real(vm, "share_percent"), fair = real(vm, "fair_percent");
	char colour[8], text[64];

	(void)snprintf(colour, sizeof colour, "c%zu", n % COLOURS);
	fprintf(out, "<text x=\"16\" y=\"%.1f\" class=\"ink\">", y + 4);
	put_text(out, json_string_value(json_object_get(vm, "name")));
	fputs("</text>\n", out);
	fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"14\" rx=\"2\" class=\"%s span\"/>\n", LEFT,
		y - 7, MAX(share_x(s, share) - LEFT, 0.5), colour);
	if (json_is_number(json_object_get(vm, "fair_percent")))
		line_at(out, share_x(s, fair), y - 10, share_x(s, fair), y + 10, "fair");
	(void)snprintf(text, sizeof text, "%.1f %%", share);
	text_at(out, MAX(share_x(s, share), share_x(s, fair)) + 6, y + 4, "", "start", text);
	put_latency(out, s, json_object_get(vm, "latency_us"), y, colour);
	if (json_integer_value(json_object_get(vm, "missed")) > 0) {
		double late = real(vm, "missed") / MAX(real(vm, "jobs"), 1.0) * 100;

		(void)snprintf(text, sizeof text, "%.*f %% of jobs late", late < 10 ? 1 : 0, late);
		text_at(out, WIDTH - 16, y - 7, "", "end", text);
	}
}

int report_svg(const json_t *run, FILE *out)
{
	const json_t *vms = json_object_get(run, "vms"), *fairness = json_object_get(run, "fairness_percent");
	size_t rows = MIN(json_array_size(vms), (size_t)ROWS_MAX);
	double lanes = (double)MIN(json_integer_value(json_object_get(run, "pcpus")), (json_int_t)LANES_MAX);
	double height = 44 + lanes * LANE + 40 + 26 + (double)rows * ROW + 34, y = 44;
	struct scales s = scales_of(vms);
	char text[160], duration[TIME_TEXT_MAX];

	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
		"role=\"img\">\n<title>",
		WIDTH, height, WIDTH, height);
	put_text(out, json_string_value(json_object_get(run, "policy")));
	fprintf(out, "</title>\n%s", style);
	fprintf(out, "<rect x=\"0.5\" y=\"0.5\" width=\"%.0f\" height=\"%.0f\" rx=\"8\" class=\"card\"/>\n", WIDTH - 1,
		height - 1);
	(void)snprintf(text, sizeof text, "%s on %s", json_string_value(json_object_get(run, "policy")),
		       json_string_value(json_object_get(run, "workload")));
	text_at(out, 16, 26, "ink title", "start", text);
	(void)snprintf(text, sizeof text, "%s, seed %d", time_text(duration, (uint64_t)real(run, "duration_ns")),
		       (int)real(run, "seed"));
	if (json_is_object(fairness))
		(void)snprintf(text, sizeof text,
			       "%s, seed %d; fairness error of the worst VM per window: p50 %.1f %%, max %.1f %%",
			       duration, (int)real(run, "seed"), real(fairness, "p50"), real(fairness, "max"));
	text_at(out, WIDTH - 16, 26, "", "end", text);
	y = put_timeline(out, run, y) + 26;
	put_grid(out, &s, y - 6, y + (double)rows * ROW);
	for (size_t n = 0; n < rows; n++)
		put_vm(out, &s, json_array_get(vms, n), n, y + ((double)n + 0.5) * ROW - 3);
	fputs("</svg>\n", out);
	return ferror(out) ? -EIO : 0;
}
