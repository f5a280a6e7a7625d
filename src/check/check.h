/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - does a scheduler keep what every scheduler promises? Property tests in the simulator.
 *
 *	subject_of(&subject, ops, image)	what it declares decides which properties apply to it
 *	check_run(&config, &report, &e)		random trials, each judged by every property; a failure is shrunk
 *	report_print(&report, ...)		as a reviewer would put it (report.h)
 *
 * A *trial* is a workload, a seed, parameters, and things that an operator does meanwhile (trial.h); it is made of one
 * number (generate.h), so that the number is enough to make it again. The first failure of each property is shrunk to
 * the smallest trial that still fails it (shrink.h).
 *
 * An image is run in a child process, trial by trial: one that crashes or never returns fails the property `sound` and
 * harms nobody. Threads: one check at a time per thread.
 */
#ifndef CHECK_CHECK_H
#define CHECK_CHECK_H

#include "base/base.h"
#include "baton/scheduler.h"

struct image;
struct trial;

enum property {
	PROPERTY_SOUND,	       /* no crash, no endless call, no standing still */
	PROPERTY_ANSWERS,      /* answers are allowed ones */
	PROPERTY_QUESTIONS,    /* questions have no side effects, and the same answer twice */
	PROPERTY_VCPUS,	       /* no vCPU is lost or doubled */
	PROPERTY_TIME,	       /* times add up */
	PROPERTY_WORK,	       /* no pCPU idles while somebody waits who may run there */
	PROPERTY_STARVATION,   /* who wants to run does so in the end */
	PROPERTY_ALONE,	       /* who had a pCPU to itself does not starve for it later */
	PROPERTY_SHARES,       /* service in proportion to weight */
	PROPERTY_HANDOVER,     /* give and take: a successor goes on where it left off */
	PROPERTY_LATENCY,      /* who has a hint and needs little runs soon after it wakes */
	PROPERTY_CAPS,	       /* no VM gets more than its cap */
	PROPERTY_RESERVATIONS, /* every VM gets its budget in each period */
	PROPERTY_GANG,	       /* the vCPUs of a VM run at the same time */
	PROPERTIES,
};

#define PROPERTY_BIT(p) (1u << (p))

const char *property_name(enum property p);
/* One sentence: what is promised. */
const char *property_says(enum property p);
/* PROPERTIES when there is none of that name. */
enum property property_find(const char *name);

/* A scheduler, and what may be asked of it. */
struct subject {
	const struct baton_scheduler *ops;
	struct image *image;			 /* NULL: linked in */
	uint32_t claims;			 /* PROPERTY_BITs that apply */
	const char *why_not[PROPERTIES];	 /* of the others: the reason */
	bool weights, hints, caps, reservations; /* it declares them; else VMs of a trial are alike in this */
};

void subject_of(struct subject *ret, const struct baton_scheduler *ops, struct image *image);

/* What became of one property in one trial. */
struct verdict {
	bool judged, failed;
	double worst, limit; /* the figure of the property, and where it fails; limit 0: it has none */
	uint64_t at_ns;	     /* of the failure, since the beginning */
	char text[256];	     /* what was seen */
};

struct check_config {
	const struct subject *subject;
	uint64_t seed;
	uint32_t runs;
	uint32_t skip;	    /* PROPERTY_BITs that are not judged */
	bool confined;	    /* each trial in a child process */
	uint32_t shrinks;   /* trials that shrinking one failure may take; 0: no shrinking */
	bool first_failure; /* end with the first property that fails */
	void (*progress)(void *ctx, uint32_t done, uint32_t runs);
	void *ctx;
};

/* Of one property, over all trials. */
struct check_result {
	uint32_t judged; /* trials */
	uint32_t failed;
	struct verdict worst; /* the worst figure seen */
	uint64_t seed;	      /* of the trial that it was seen in */
	struct verdict failure;
	struct trial *example;		 /* the shrunk trial; NULL when nothing failed */
	uint32_t shrunk_from, shrunk_to; /* size, in vCPUs, behaviours and so on (shrink.h) */
};

struct check_report {
	const struct subject *subject;
	uint64_t seed;
	uint32_t runs, refused; /* trials; those in which the scheduler refused a VM or the pool */
	uint64_t decisions, events;
	uint32_t skip;
	struct check_result of[PROPERTIES];
	char refusal[256]; /* the last reason */
};

/* 0 when all trials were run, whatever came out of them; -ENOMEM, or what the host refuses. */
int check_run(const struct check_config *config, struct check_report *ret, struct error *e);
bool check_failed(const struct check_report *report);
void check_report_release(struct check_report *report);

#endif
