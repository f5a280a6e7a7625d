/* SPDX-License-Identifier: Apache-2.0 */
/*
 * demo.h - the parts of `baton demo`, each in its file:
 *
 *	demo.c		the story from the first boot to the report
 *	demo_options.c	what it is told, and where it finds the rest
 *	demo_host.c	the monitor of its own: a child process in a temporary directory, removed in every case
 *	demo_watch.c	the guests: starting them, reading their consoles, and noticing when one suffers
 *	demo_report.c	the table each second, and the report
 *
 * Everything runs in one thread: a loop over the consoles of all guests, the signals, and a tick each second.
 */
#ifndef CLI_DEMO_H
#define CLI_DEMO_H

#include <jansson.h>
#include <sys/types.h>

#include "cli/client.h"

#define DEMO_GUESTS_MAX 8
#define DEMO_LINE_MAX	512
#define DEMO_PROMPT	"service# "

struct demo_guest {
	const char *name;
	bool linux_guest, service;
	bool quiet_end; /* it is meant to end by itself, does not beat, and is no part of the report */
	unsigned vcpus, memory_mib, weight;
	char kernel[4096], initrd[4096], cmdline[2048];

	/* as seen */
	bool started, booted, ended, gone_bad; /* gone_bad: its trouble was told once */
	struct client console;
	char line[DEMO_LINE_MAX];
	size_t line_len;
	bool prompt;	    /* the line so far is the service VM's prompt */
	uint64_t nudged_ns; /* when a prompt was last asked for */
	uint64_t started_ns, booted_ns;
	uint64_t beats, last_beat_ns; /* heartbeats, and when their number last grew (our clock) */
	uint64_t next_beat;	      /* number of the next "beat" line on the console */
	uint64_t gap_ms, gap_host_ms;
	uint64_t run_ns, run_before_ns;
	int64_t boots, exit_status;
};

struct demo_options {
	bool nano;
	char carrier[16], pcpus[128], host_name[16];
	char images[4096], guests[4096], nano_dir[4096], report[4096], batond[4096];
	uint64_t seconds, stall_s, boot_s;
};

struct demo {
	struct demo_options options;
	char dir[64], socket[128], log[128]; /* of our monitor; dir "" = not made */
	pid_t monitor;			     /* 0: not running */
	struct client control;
	int signals; /* signalfd: SIGINT, SIGTERM, SIGHUP, SIGCHLD */
	bool interrupted;
	struct demo_guest guests[DEMO_GUESTS_MAX];
	size_t count;
	struct demo_guest *echo;	       /* whose console lines are shown */
	uint64_t start_ns, tick_ns, listed_ns; /* listed: when the run times were last read */
	bool show;			       /* print the table at each tick */
	bool refused;			       /* a guest's privileged call was */
	char active[64];
	int64_t unload_id; /* of the request that only unloaded an image: no change of who decides */
	json_t *changes;   /* from the monitor's history */
	json_t *failures;
};

/* ---- demo_options.c ---- */

/* Fills in o, defaults included; 0, or the exit status after a complaint. */
int demo_options_parse(int argc, char **argv, struct demo_options *o);
/* A path made of parts; -ENAMETOOLONG rather than a cut one. */
int demo_path(char *buf, size_t size, struct error *e, const char *fmt, ...) _printf_(4, 5);

/* ---- demo_host.c ---- */

/* Makes the directory, starts batond and connects. */
int demo_host_start(struct demo *d, struct error *e);
/* Ends batond, removes the directory. Any time, also twice. */
void demo_host_stop(struct demo *d);
/* The last words of batond's log, for people; "" without any. */
void demo_host_last_words(const struct demo *d, char *buf, size_t size);

/* ---- demo_watch.c ---- */

int demo_guest_start(struct demo *d, struct demo_guest *g, struct error *e);
/*
 * Lives on until the time, or until done(d) says so: consoles are read, each second the VMs are looked at. 1: done;
 * 0: time is up; -EINTR: interrupted; -ECONNRESET: the monitor is gone.
 */
int demo_live(struct demo *d, uint64_t until_ns, bool (*done)(struct demo *d));
/* A new prompt of the service VM, in case the kernel wrote behind the last one; now and then at most. */
void demo_nudge(struct demo_guest *g);
/* Types a line at a guest's console. */
int demo_type(struct demo_guest *g, const char *line);
/* Looks at all VMs now. */
int demo_look(struct demo *d);
void demo_failure(struct demo *d, const char *fmt, ...) _printf_(2, 3);

/* ---- demo_report.c ---- */

/* "[ 12.3 s] text" */
void demo_say(const struct demo *d, const char *fmt, ...) _printf_(2, 3);
void demo_show_shares(struct demo *d, uint64_t elapsed_ns);
void demo_show_report(const struct demo *d);
int demo_write_report(const struct demo *d, const char *path, struct error *e);

#endif
