/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baton/scheduler.h - the contract between a scheduler image and the monitor. A scheduler is written from this file alone.
 *
 * THE ONE IDEA. Several schedulers hear every event; exactly one decides. `choose` is a question without side effects:
 * answering it changes nothing, neither in the world nor in the scheduler. The monitor checks the answer, acts, and then
 * tells *every* attached scheduler what really happened (start, stop, wake, sleep, ...). A scheduler that is attached as a
 * shadow hears the same events as the active one and can therefore take over, or give back, at any moment.
 *
 * THE PRICE. Events are facts, and a fact may contradict what you would have chosen (a vCPU that your cap forbids was
 * started by somebody else's decision). Account for it and go on; never assume that your last answer was followed.
 *
 * WHAT CROSSES THE BOUNDARY. Integers, and one contiguous *region* per attached scheduler. VMs, vCPUs and pCPUs are small
 * dense integers (0 .. slots - 1). The region begins with struct baton_region and holds, at the offsets named there,
 *
 *	pcpus[]    struct baton_pcpu     written by the monitor before each event; read-only to you
 *	vms[]      struct baton_vm       "
 *	vcpus[]    struct baton_vcpu     "
 *	params[]   int64_t               one value per declared parameter, in that order; those of scope VM stay at their
 *					 initial value here: a VM's own stand in vms[]
 *	pool state                       yours: pool_state_size bytes, zeroed before attach
 *	vCPU state                       yours: vcpu_state_size bytes per vCPU slot, zeroed before each admit
 *	VM state                         yours: vm_state_size bytes per VM slot, zeroed when the slot gets a VM
 *	scratch                          BATON_SCRATCH_SIZE bytes: history records, dump text and the reasons of refusals
 *					 travel through it
 *
 * The tables are copies: writing into them confuses only yourself. Keep all state in the region. An image with writable
 * data of its own (.data, .bss, thread-local) is refused, because state outside the region could not be rolled back.
 *
 * TIME is CLOCK_MONOTONIC in nanoseconds and always an argument: the same events give the same answers in the monitor, in
 * a replay and in the simulator. Do not read clocks (rdtsc) yourself.
 *
 * THREADS. Every call is made with the pool's lock held: a policy is plain single-threaded C. A call that lasts longer
 * than the pool's budget (default 1 ms) is taken for a hang, the scheduler is quarantined and the fallback decides.
 *
 * ORDER OF EVENTS for one vCPU v, as every scheduler hears it:
 *
 *	admit(v) [take(v)]          from now on v exists; vcpus[v].state says whether it is runnable
 *	wake(v)                     blocked -> runnable
 *	start(v, pcpu)              runnable -> running
 *	stop(v, pcpu, ran, why)     running -> runnable, or -> blocked when why is BATON_STOP_BLOCKED
 *	sleep(v)                    runnable -> blocked without having run (paused by the operator, for example)
 *	sleep(v) wake(v)            at the same time: the affinity of v, which waits, was changed between the two
 *	retire(v)                   v is gone; its slot may be used again
 *
 * At admit a vCPU is blocked, runnable or running (a change of scheduler happens while guests run): treat a runnable one
 * as if it had just been woken, a running one as if it had just been started on vcpus[v].pcpu.
 *
 * A SMALLEST SCHEDULER needs only a name and `choose`; all other ops may be left NULL. See docs/write-a-scheduler.md.
 */
#ifndef BATON_SCHEDULER_H
#define BATON_SCHEDULER_H

#include <stdint.h>

#define BATON_SCHEDULER_MAGIC UINT32_C(0x4e544142) /* "BATN" */
#define BATON_SCHEDULER_ABI   UINT32_C(1)

/* "None" wherever a vCPU, VM or pCPU number is expected. */
#define BATON_NONE UINT32_MAX

#define BATON_NAME_MAX	   32
#define BATON_TEXT_MAX	   128
#define BATON_PARAMS_MAX   32
#define BATON_PCPUS_MAX	   256
#define BATON_SCRATCH_SIZE 4096
#define BATON_REASON_MAX   200

/* ---- the region ------------------------------------------------------------------------------------------------ */

enum baton_vcpu_state {
	BATON_VCPU_FREE,     /* the slot is unused */
	BATON_VCPU_BLOCKED,  /* waits for an interrupt, a time or the operator */
	BATON_VCPU_RUNNABLE, /* could run and does not */
	BATON_VCPU_RUNNING,  /* runs on .pcpu */
};

struct baton_pcpu {
	uint32_t running; /* vCPU that runs here, or BATON_NONE */
	uint32_t flags;	  /* none defined */
};

/* What the operator asked for, per VM: policy-neutral, kept over every change of scheduler. 0 = not asked for. */
struct baton_vm {
	uint32_t used;		/* 1 when the slot holds a VM */
	uint32_t service;	/* 1 for the service VM */
	uint32_t weight;	/* share in proportion to others: 1 .. 65536, default 256 */
	uint32_t cap_percent;	/* at most this much of one pCPU (250 = two and a half); 0 = no cap */
	uint64_t warp_ns;	/* how far latency-sensitive vCPUs may borrow against their future (BVT's W) */
	uint64_t warp_limit_ns; /* longest warped running (BVT's L); 0 = no limit */
	uint64_t unwarp_ns;	/* shortest time between two warps (BVT's U) */
	uint64_t budget_ns;	/* reservation: this much service ... */
	uint64_t period_ns;	/* ... in every period */
	uint64_t latency_ns;	/* hint: wake-up to run as soon as this */
};

struct baton_vcpu {
	uint32_t state;				 /* enum baton_vcpu_state */
	uint32_t vm;				 /* its VM */
	uint32_t index;				 /* its number inside the VM */
	uint32_t pcpu;				 /* where it runs (running), else where it ran last, or BATON_NONE */
	uint64_t affinity[BATON_PCPUS_MAX / 64]; /* pCPUs on which it may run, bit n = pCPU n */
};

struct baton_region {
	uint32_t abi;	      /* BATON_SCHEDULER_ABI of the monitor */
	uint32_t size;	      /* bytes of the whole region */
	uint32_t pcpu_slots;  /* pCPUs of this pool, numbered 0 .. pcpu_slots - 1 */
	uint32_t vm_slots;    /* VM numbers are below this */
	uint32_t vcpu_slots;  /* vCPU numbers are below this */
	uint32_t pcpus;	      /* offset of struct baton_pcpu[pcpu_slots] */
	uint32_t vms;	      /* offset of struct baton_vm[vm_slots] */
	uint32_t vcpus;	      /* offset of struct baton_vcpu[vcpu_slots] */
	uint32_t params;      /* offset of int64_t[param_count] */
	uint32_t pool_state;  /* offset of your state of the pool */
	uint32_t vcpu_state;  /* offset of your state of vCPU 0 ... */
	uint32_t vcpu_stride; /* ... and bytes from one vCPU's state to the next one's */
	uint32_t scratch;     /* offset of BATON_SCRATCH_SIZE bytes */
	uint32_t reserved;
	uint64_t slice_min_ns; /* answers of choose are brought into slice_min_ns .. slice_max_ns */
	uint64_t slice_max_ns;
	uint64_t migration_cost_ns; /* measured: what running a vCPU on another pCPU than last time costs once */
	uint32_t vm_state;	    /* offset of your state of VM 0 ... */
	uint32_t vm_stride;	    /* ... and bytes from one VM's state to the next one's */
};

static inline struct baton_pcpu *baton_pcpu(struct baton_region *r, uint32_t p)
{
	return (struct baton_pcpu *)(void *)((char *)r + r->pcpus) + p;
}

static inline struct baton_vm *baton_vm(struct baton_region *r, uint32_t vm)
{
	return (struct baton_vm *)(void *)((char *)r + r->vms) + vm;
}

static inline struct baton_vcpu *baton_vcpu(struct baton_region *r, uint32_t v)
{
	return (struct baton_vcpu *)(void *)((char *)r + r->vcpus) + v;
}

static inline int64_t baton_param(struct baton_region *r, uint32_t n)
{
	return ((int64_t *)(void *)((char *)r + r->params))[n];
}

static inline void *baton_pool_state(struct baton_region *r)
{
	return (char *)r + r->pool_state;
}

static inline void *baton_vcpu_state(struct baton_region *r, uint32_t v)
{
	return (char *)r + r->vcpu_state + (uint64_t)v * r->vcpu_stride;
}

static inline void *baton_vm_state(struct baton_region *r, uint32_t vm)
{
	return (char *)r + r->vm_state + (uint64_t)vm * r->vm_stride;
}

static inline void *baton_scratch(struct baton_region *r)
{
	return (char *)r + r->scratch;
}

static inline int baton_allowed(struct baton_region *r, uint32_t v, uint32_t pcpu)
{
	return (baton_vcpu(r, v)->affinity[pcpu / 64] >> (pcpu % 64)) & 1;
}

/* Weight of a vCPU: its VM's, never 0. */
static inline uint32_t baton_weight(struct baton_region *r, uint32_t v)
{
	uint32_t w = baton_vm(r, baton_vcpu(r, v)->vm)->weight;

	return w > 0 ? w : 1;
}

/* ---- questions, events, records -------------------------------------------------------------------------------- */

/* Why a vCPU stopped. */
enum baton_stop {
	BATON_STOP_SLICE,     /* its slice ended */
	BATON_STOP_PREEMPTED, /* another one was to run here, or somebody kicked this pCPU */
	BATON_STOP_BLOCKED,   /* it halted or waits: it is blocked now */
	BATON_STOP_YIELDED,   /* it gave the pCPU up and stays runnable */
	BATON_STOP_IO,	      /* it gave the pCPU up while it waits for a device, and stays runnable */
	BATON_STOP_CEASED,    /* every pCPU was brought to rest for a change */
};

struct baton_choice {
	uint32_t vcpu;	   /* runnable, allowed on the pCPU; or BATON_NONE: leave the pCPU idle */
	uint32_t reserved; /* 0 */
	uint64_t slice_ns; /* how long at most; 0 = the longest allowed */
};

/* A vCPU's past in words that every policy understands. Durations in ns. */
#define BATON_HISTORY_VERSION UINT32_C(1)
struct baton_history {
	uint32_t version;	     /* BATON_HISTORY_VERSION */
	uint32_t weight;	     /* of its VM; the neutral parameters stand in struct baton_vm */
	uint64_t service_ns;	     /* service received since it was admitted to the pool */
	int64_t owed_ns;	     /* service owed to it (> 0) or received ahead (< 0), relative to its fair share */
	uint64_t since_run_ns;	     /* since it last ran; 0 while it runs */
	uint32_t last_pcpu;	     /* BATON_NONE when it never ran */
	uint32_t tail_size;	     /* bytes used in tail; read only when `policy` and `state` are your own */
	char policy[BATON_NAME_MAX]; /* who wrote the tail */
	uint32_t tail_format;	     /* the writer's state_version */
	uint32_t reserved;
	uint8_t tail[256];
};

/* Scope of a parameter: of the pool (in params[]), or of each VM (then its name is a field of struct baton_vm). */
enum baton_scope { BATON_SCOPE_POOL, BATON_SCOPE_VM };

struct baton_parameter {
	char name[BATON_NAME_MAX];
	char unit[8];		   /* "us", "%", "" */
	char help[BATON_TEXT_MAX]; /* one sentence */
	uint32_t scope;		   /* enum baton_scope */
	uint32_t reserved;
	int64_t min, max, initial;
};

/*
 * The table of a scheduler. Only name and choose are mandatory. Ops return 0 or a negative errno (-1 .. -4095) where they
 * may refuse: attach, admit, set, take. Whoever refuses may say why, for people: one line of printable ASCII at the
 * beginning of the scratch, such as "0.20 pCPUs of 0.95 are free, the vCPU asks for 0.30". The first BATON_REASON_MAX bytes
 * of the scratch are zero when attach, admit and set are called, and at most BATON_REASON_MAX - 1 characters are read. When
 * the active or the default scheduler refuses a vCPU, it is not added; a shadow that refuses one is taken out of the pool.
 * The region is the same for all calls of one attachment; two pools may use one image at once, each with its own region.
 */
struct baton_scheduler {
	uint32_t magic; /* set by BATON_SCHEDULER */
	uint32_t abi;
	uint32_t size;		/* sizeof(struct baton_scheduler) */
	uint32_t state_version; /* format of the tail of your history records */
	char name[BATON_NAME_MAX];
	char version[BATON_NAME_MAX];
	char description[BATON_TEXT_MAX];
	uint32_t pool_state_size; /* bytes, at most 16 MiB */
	uint32_t vcpu_state_size; /* bytes, at most 4 KiB */
	uint32_t vm_state_size;	  /* bytes, at most 4 KiB */
	uint32_t reserved;	  /* 0 */
	const struct baton_parameter *parameters;
	uint64_t parameter_count;

	/* life */
	int32_t (*attach)(struct baton_region *r, uint64_t now); /* before anything else; may refuse */
	void (*detach)(struct baton_region *r, uint64_t now);	 /* the last call */
	int32_t (*admit)(struct baton_region *r, uint32_t v,
			 uint64_t now); /* may refuse: -ENOSPC (-28) for "no room" */
	void (*retire)(struct baton_region *r, uint32_t v, uint64_t now);

	/* events */
	void (*wake)(struct baton_region *r, uint32_t v, uint64_t now);
	void (*sleep)(struct baton_region *r, uint32_t v, uint64_t now);
	void (*start)(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t now);
	void (*stop)(struct baton_region *r, uint32_t v, uint32_t pcpu, uint64_t ran_ns, uint32_t why, uint64_t now);
	void (*tick)(struct baton_region *r, uint64_t now);		/* an alarm of yours is due */
	void (*spin)(struct baton_region *r, uint32_t v, uint64_t now); /* v waits in a pause loop for another vCPU */
	void (*ipi)(struct baton_region *r, uint32_t from, uint32_t to, uint64_t now);
	void (*interrupt)(struct baton_region *r, uint32_t v,
			  uint64_t now); /* a device or timer interrupt pends for v */
	void (*boost)(struct baton_region *r, uint32_t vm,
		      uint64_t now); /* this VM has the console's focus; NONE = nobody */

	/* questions: no side effects, the same answer when asked twice */
	struct baton_choice (*choose)(struct baton_region *r, uint32_t pcpu, uint64_t now);
	uint32_t (*preempts)(struct baton_region *r, uint32_t woken, uint64_t now); /* pCPU to ask again, or NONE */
	int32_t (*priority)(struct baton_region *r, uint32_t vm, uint64_t now);	    /* larger = sooner; for people */
	uint32_t (*choose_console)(struct baton_region *r, uint64_t now);	    /* VM to own the console, or NONE */

	/* tuning: the value is in its table already and within its declared range; told to every attached scheduler that
	 * declares a VM's parameter, and to the one scheduler whose pool parameter it is */
	int32_t (*set)(struct baton_region *r, uint32_t scope, uint32_t vm, uint32_t parameter, uint64_t now);

	/* history: fill, or adopt, the record (it lies in the scratch). take follows admit, before any event of v */
	int32_t (*give)(struct baton_region *r, uint32_t v, struct baton_history *h, uint64_t now);
	int32_t (*take)(struct baton_region *r, uint32_t v, const struct baton_history *h, uint64_t now);

	/* debugging: write text into buf, return its length */
	uint32_t (*dump)(struct baton_region *r, char *buf, uint32_t size, uint64_t now);
};

/*
 * Defines the table that the loader looks for:
 *
 *	BATON_SCHEDULER(rr, .version = "1.0", .choose = rr_choose, ...);
 *
 * With BATON_STATIC defined (the monitor's built-in default, tests, the simulator) the table's symbol is
 * baton_scheduler_rr instead, so that several policies link into one program.
 */
#ifdef BATON_STATIC
#define BATON_SCHEDULER(id, ...)                                                                                       \
	extern const struct baton_scheduler baton_scheduler_##id;                                                      \
	const struct baton_scheduler baton_scheduler_##id = {BATON_SCHEDULER_HEAD_(id), __VA_ARGS__}
#else
#define BATON_SCHEDULER(id, ...)                                                                                       \
	extern const struct baton_scheduler baton_scheduler;                                                           \
	__attribute__((visibility("default"), used))                                                                   \
	const struct baton_scheduler baton_scheduler = {BATON_SCHEDULER_HEAD_(id), __VA_ARGS__}
#endif
#define BATON_SCHEDULER_HEAD_(id)                                                                                      \
	.magic = BATON_SCHEDULER_MAGIC, .abi = BATON_SCHEDULER_ABI, .size = sizeof(struct baton_scheduler), .name = #id

/* ---- what a scheduler may ask of the monitor (its only imports) -------------------------------------------------- */

/*
 * Call tick at time t (once). A later alarm does not cancel an earlier one; identical times coincide. Shadows too. Ticks
 * come no more often than every 10 us in the long run (100 may come at once); those beyond that are late. At most 1024
 * alarms, and two per vCPU slot, may be set at a time.
 */
void baton_alarm(uint64_t t);

/* Ask again on this pCPU as soon as possible. Noted but without effect from a shadow. */
void baton_kick(uint32_t pcpu);

/*
 * v is runnable but withheld on purpose until t (cap reached, budget spent, gang not together), so the starvation watch
 * excuses it; bounded by the monitor. Noted but without effect from a shadow.
 */
void baton_hold(uint32_t v, uint64_t t);

/* A record in the trace of the pool: code and two values of your choice. */
void baton_trace(uint32_t code, uint64_t a, uint64_t b);

#endif
