/*
 * base.h: the services under everything: futex, membarrier, clock, random numbers, fault points,
 * topology. Knows nothing of tasks. All non-determinism of the engine enters here.
 */
#ifndef WF_BASE_H
#define WF_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>

#include "atomic.h"
#include "check.h"

/* ---- Futex (futex.c) -------------------------------------------------------------------- */

#define WF_FOREVER INT64_MAX

/*
 * Sleep while *word == expected, until woken or `until_ns` (CLOCK_MONOTONIC, WF_FOREVER: never).
 * 0 woken or the word differed (check again, wakes may be spurious), -ETIMEDOUT. EINTR is
 * retried. Private to the process.
 */
int wf_futex_wait(struct wf_a32 *word, uint32_t expected, int64_t until_ns);
/* Wake at most `count` sleepers; how many were woken. Async-signal-safe. */
int wf_futex_wake(struct wf_a32 *word, int count);

/* ---- Membarrier (membarrier.c) ---------------------------------------------------------- */

/*
 * Whether the asymmetric barrier works here: probed and registered once per process. Always false
 * under ThreadSanitizer, which cannot model it, and when the environment variable
 * WEFT_MEMBARRIER is "0".
 */
bool wf_membarrier_available(void);
/* A full barrier on every running thread of the process. Only when available: else it aborts. */
void wf_membarrier(void);
/* For tests: forget the probe, so that a changed WEFT_MEMBARRIER is looked at again. */
void wf_membarrier_reload(void);

/* ---- Clock (clock.c) -------------------------------------------------------------------- */

/* Real or virtual time of one runtime. */
struct wf_clock {
	bool virtual_time;
	struct wf_a64 virtual_ns;
};
void wf_clock_init(struct wf_clock *clock, bool virtual_time);
int64_t wf_clock_now(const struct wf_clock *clock); /* NULL: CLOCK_MONOTONIC */
int64_t wf_thread_cpu_ns(void); /* processor time of the calling thread; a system call */
/* Move a virtual clock on; it never goes back, so of several callers the furthest wins. */
void wf_clock_advance(struct wf_clock *clock, int64_t to_ns);
/* Of `-Dsim=true` builds: the simulator's time, or the clock (sim.c). */
uint64_t wf_sim_ticks(void);
/* Coarse and cheap ticks for spin windows: rdtsc or cntvct; wf_ticks_per_us() converts. */
static inline uint64_t wf_ticks(void)
{
#if defined(WF_SIM)
	return wf_sim_ticks();
#elif defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t t;
	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
	return t;
#else
	return (uint64_t)wf_clock_now(NULL);
#endif
}
/* Calibrated once per process in less than a millisecond, without sleeping; at least 1. */
uint64_t wf_ticks_per_us(void);

/* ---- Random (random.c): xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64 ----- */

struct wf_random {
	uint64_t s[4];
};
void wf_random_init(struct wf_random *random, uint64_t seed);
uint64_t wf_random_next(struct wf_random *random);
/* Uniform in [0, n), n > 0. */
uint32_t wf_random_below(struct wf_random *random, uint32_t n);
/* From getrandom(2); never 0. */
uint64_t wf_random_seed(void);

/* ---- Fault points (fault.c) -------------------------------------------------------------- */

/*
 * Every resource call that can fail goes through one of these, so that tests can fail the n-th.
 * `kind` counters are separate and one total exists. In release builds a disarmed point costs one
 * relaxed load.
 */
enum wf_fault_kind {
	WF_FAULT_MALLOC = 0,
	WF_FAULT_MMAP,
	WF_FAULT_THREAD,
	WF_FAULT_EVENTFD,
	WF_FAULT_FILE,
	WF_FAULT_KINDS
};
/*
 * Points of WF_FAULT_FILE inside this room (topology, the random seed) have fallbacks: the caller
 * sees a poorer answer, never an error.
 */
/* Arm: the `nth` (1 ..) point of `kind` (or of any kind: -1) from now fails; 0 disarms. */
void wf_fault_arm(int kind, uint64_t nth);
/* The same, and all that follow fail too, until the next arm. */
void wf_fault_arm_lasting(int kind, uint64_t nth);
/* Points of the armed kind passed since the last arm; kept when disarmed. */
uint64_t wf_fault_count(void);
/* Whether the armed point was reached. */
bool wf_fault_fired(void);
bool wf_fault_slow(enum wf_fault_kind kind);
extern struct wf_a32 wf_fault_armed;
/* True: behave as if the call had failed. */
static inline bool wf_fault(enum wf_fault_kind kind)
{
	/* relaxed: tests arm before they start what they test. */
	return WF_UNLIKELY(wf_load_relaxed(&wf_fault_armed)) && wf_fault_slow(kind);
}

void *wf_malloc(size_t size); /* NULL on failure */
void *wf_calloc(size_t count, size_t size);
void *wf_aligned_alloc(size_t align, size_t size); /* size is rounded up to align */
void wf_free(void *p);                             /* of the three above; NULL accepted */
/*
 * The cold heap: what lives long or is too large for a slab, with other things of `node` where the
 * process has jemalloc, by malloc where it has not. `align`: a power of two. NULL on failure.
 */
void *wf_node_alloc(uint32_t node, size_t align, size_t size);
void wf_node_free(void *p); /* NULL is accepted */
/* Which it is: "malloc", "jemalloc" (which refuses arenas), "jemalloc, an arena per node". */
const char *wf_node_heap(void);
/* mmap anonymous, private, no reserve; prot 0 reserves only. NULL on failure. */
void *wf_map(size_t size, int prot);
void wf_unmap(void *p, size_t size);
/*
 * Start a thread that blocks every asynchronous signal (all but SIGSEGV, SIGBUS, SIGFPE, SIGILL,
 * SIGTRAP, SIGABRT), with a name of at most 15 bytes. 0 or -EAGAIN.
 */
struct wf_thread {
	unsigned long handle;
};
int wf_thread_start(struct wf_thread *thread, const char *name, void *(*fn)(void *), void *arg);
void wf_thread_join(struct wf_thread *thread);
/*
 * A signal that makes a system call return EINTR. It needs a handler, which is there between the
 * two (counted), and reaches a thread only while that has said that it is wakeable.
 */
void wf_wake_install(void);
void wf_wake_uninstall(void);
void wf_thread_wakeable(bool wakeable);              /* the calling thread */
void wf_thread_wake(const struct wf_thread *thread); /* not joined yet */

/*
 * What dladdr() calls it, NULL: nothing. Borrowed for as long as its library is loaded. Takes under
 * 0.2 us when the thread has asked before, however large the library is. (symbol.c)
 */
const char *wf_symbol_name(const void *function);

/*
 * Bytes of memory that this process may use beyond what it uses now: the machine's available
 * memory or, when less, what the limits of its cgroups (v1 and v2, at every level) leave. Read anew
 * at each call. 0: not known; where a limit is reached it is 1. `*why`, unless NULL, names the one
 * that counts. (cgroup.c)
 */
uint64_t wf_memory_left(const char **why);

/* ---- Topology (topology.c) --------------------------------------------------------------- */

#define WF_NODES_MAX 64
#define WF_CPUS_MAX  1024

/*
 * The CPUs this process may use: sched_getaffinity, cut to the cgroup v1/v2 CPU quota (rounded
 * up to whole CPUs, at least one), by NUMA node. HWLOC_XMLFILE or HWLOC_SYNTHETIC give another
 * machine: it grants its own PUs and `bindable` is false. Read once per process and cached;
 * wf_topology_reload() is for tests and leaves earlier pointers pointing to the new content.
 */
struct wf_topology {
	const char *source; /* "sysfs", "hwloc" (XML), "synthetic" */
	const char *note;   /* one line worth logging at open, or NULL */
	bool bindable;
	uint32_t cpu_count;     /* to be used; what `workers` defaults to */
	uint32_t allowed_count; /* in cpus[]; more than cpu_count under a quota */
	uint32_t node_count;    /* of the first cpu_count CPUs */
	/* Sorted by node. Under a quota the node that the process runs on comes first. */
	struct wf_cpu {
		uint16_t os_index;
		uint16_t node;
	} cpus[WF_CPUS_MAX];
	uint32_t quota_cpus;                          /* 0: no quota */
	uint16_t node_id[WF_NODES_MAX]; /* what the source calls each node: the system's number */
	uint8_t distance[WF_NODES_MAX][WF_NODES_MAX]; /* 10: self, as ACPI SLIT */
};
const struct wf_topology *wf_topology(void);
void wf_topology_reload(void);
/*
 * Bind the calling thread to one CPU (an index in cpus[], below allowed_count) or to all allowed
 * CPUs of a node. 0 or a negated errno: -EINVAL no such CPU or node, -ENOTSUP not bindable.
 */
int wf_bind_cpu(const struct wf_topology *topo, uint32_t cpu);
int wf_bind_node(const struct wf_topology *topo, uint32_t node);
/*
 * The node that a device on the PCI bus is near, by its address as sysfs writes it, "0000:c1:00.0".
 * WF_NODE_UNKNOWN: the machine does not say, or none of the topology's. Reads files.
 */
#define WF_NODE_UNKNOWN UINT32_MAX
uint32_t wf_topology_pci_node(const struct wf_topology *topo, const char *bus);

/* ---- Memory near a node (memory.c) ------------------------------------------------------- */

/* How a thread's memory was placed before. */
struct wf_memory_policy {
	int mode;
	bool changed;
	unsigned long nodes[16];
};
/*
 * What this thread, or the kernel for it, touches first from here to the end lies on `node` if
 * there is room. A wish: where policies cannot be set, nothing happens.
 */
void wf_memory_near_begin(struct wf_memory_policy *before, uint32_t node);
void wf_memory_near_end(const struct wf_memory_policy *before);

#endif /* WF_BASE_H */
