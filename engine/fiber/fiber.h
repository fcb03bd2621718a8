/*
 * fiber.h: the door of the fiber room: stacks and the switch between them. Knows no tasks.
 *
 * A fiber is a pooled stack plus a saved context. The fiber structs of a pool are one type-stable
 * array, apart from the stacks, so that an index always names a struct that is safe to look at.
 */
#ifndef WF_FIBER_H
#define WF_FIBER_H

#include "base.h"

/* ---- Contexts (switch_x86_64.h and .S, switch_aarch64.S, switch_ucontext.c, context.c) ---- */

/*
 * Where a suspended flow of control goes on. Also describes a thread's own stack: a zeroed
 * context is valid as `from`. Sanitizers and valgrind are told of every switch in here.
 */
struct wf_context {
	void *sp;             /* saved stack pointer (or ucontext storage); must stay first */
	const void *stack_lo; /* for the sanitizers; a thread's: known after its first switch */
	size_t stack_bytes;
	void *asan_fake_stack;
	void *tsan_fiber;
	const uint64_t *canary; /* of a stack without a guard, else NULL */
};

/*
 * The bare switch of this ABI: saves in `from`, goes on in `to`, no questions asked. The engine
 * calls wf_context_switch() below.
 */
#if defined(__x86_64__) && !defined(WF_FIBER_UCONTEXT)
#include "switch_x86_64.h"
#else
void *wf_context_swap(struct wf_context *from, const struct wf_context *to, void *arg);
#endif

/* The same with what sanitizers and debug builds want to know and check (context.c). */
void *wf_context_switch_checked(struct wf_context *from, const struct wf_context *to, void *arg);
_Noreturn void wf_context_leave_checked(struct wf_context *from, const struct wf_context *to,
                                        void *arg);

#if WF_ASAN || WF_TSAN || !defined(NDEBUG)
#define WF_CONTEXT_CHECKED 1
#else
#define WF_CONTEXT_CHECKED 0
#endif

/*
 * Save the current flow in `from` and go on in `to`. Returns, when somebody switches back to
 * `from`, the `arg` they passed. Callee-saved registers, and the x87/MXCSR (FPCR) control words,
 * are kept; the signal mask is not. `from` may be resumed by another thread as soon as the flow
 * in `to` runs, not before: `to` publishes it, never the caller of this.
 */
static inline void *wf_context_switch(struct wf_context *from, const struct wf_context *to,
                                      void *arg)
{
	if (WF_CONTEXT_CHECKED)
		return wf_context_switch_checked(from, to, arg);
	return wf_context_swap(from, to, arg);
}

/*
 * The same, but the current flow never goes on: its stack may be reused at once by `to`, which
 * also is the one to give the fiber back with wf_fiber_put(). `arg` must not point into the frame
 * that leaves: AddressSanitizer may free that before `to` runs.
 */
_Noreturn static inline void wf_context_leave(struct wf_context *from, const struct wf_context *to,
                                              void *arg)
{
	if (WF_CONTEXT_CHECKED)
		wf_context_leave_checked(from, to, arg);
	(void)wf_context_swap(from, to, arg);
	__builtin_trap(); /* somebody resumed a flow that had left */
}

/* ---- Fibers and their pool (stacks.c) ---------------------------------------------------- */

struct wf_fiber;
/* Must never return: it ends with wf_context_leave(). */
typedef void wf_fiber_fn(struct wf_fiber *fiber, void *arg);

#define WF_FIBER_USER_BYTES 128

struct wf_fiber {
	struct wf_context ctx;
	char *lo, *hi;               /* usable stack, hi exclusive */
	uint32_t index;              /* in the pool, for ever */
	uint32_t batch_count;        /* of the batch that this fiber heads, in the pool */
	struct wf_fiber *next;       /* free list; the user's while the fiber is out of the pool */
	struct wf_fiber *batch_next; /* next batch, of the head of one in the pool */
	struct wf_stacks *stacks;    /* its pool, for ever */
	uint32_t valgrind_id;
	/* The engine's, never written by the pool. */
	WF_ALIGNED(64) unsigned char user[WF_FIBER_USER_BYTES];
};

struct wf_stacks; /* opaque pool */
/*
 * One per worker, owner-only; zeroed is valid. The pool knows it from its first use until
 * wf_stack_cache_flush(), so it must be flushed before it goes, and must not move in between.
 */
struct wf_stack_cache {
	struct wf_fiber *free;
	struct wf_fiber *spare;      /* a full batch, or NULL */
	struct wf_a32 count;         /* of `free`; written by the owner, read by wf_stacks_live() */
	struct wf_a32 spare_count;   /* of `spare`; likewise */
	struct wf_stack_cache *next; /* in the pool's list */
	bool listed;
};

enum wf_guard { WF_GUARD_AUTO = 0, WF_GUARD_MADVISE, WF_GUARD_MPROTECT, WF_GUARD_CANARY };

#define WF_STACK_BYTES_MIN 16384u
#define WF_STACKS_MIN      64u /* below this many stacks reservation gives up */

/*
 * Reserve room for `max` stacks of `stack_bytes` (page multiple, at least WF_STACK_BYTES_MIN) each
 * plus guards, in one range; commits nothing. When the address space or the commit limit refuses
 * that many, `max` is halved, down to WF_STACKS_MIN: wf_stacks_max() says what it became. `guard`
 * forces a kind (tests); AUTO takes the best the kernel has: MADV_GUARD_INSTALL (102; no VMA per
 * stack), else mprotect while well inside max_map_count, else a canary. -ENOMEM, -EINVAL, -ENOTSUP
 * (forced guard not available); `*out` untouched.
 */
int wf_stacks_create(struct wf_stacks **out, size_t stack_bytes, uint32_t max, enum wf_guard guard);
/* NULL accepted. All fibers are back, all caches flushed, overflow uninstalled. */
void wf_stacks_destroy(struct wf_stacks *stacks);
/* "guard", "mprotect" or "canary" */
const char *wf_stacks_guard_name(const struct wf_stacks *stacks);
uint32_t wf_stacks_max(const struct wf_stacks *stacks);
/* Stacks that had to do with a canary although the kind of the pool is a better one. */
uint32_t wf_stacks_unguarded(const struct wf_stacks *stacks);

/*
 * A fiber with an idle stack: from the cache, else the pool. NULL when `max` are out; those idle
 * in other threads' caches count as out, at most max/32 (and 32) a cache. Prepare it before the
 * first switch to it.
 */
struct wf_fiber *wf_fiber_get(struct wf_stacks *stacks, struct wf_stack_cache *cache);
/*
 * Give back a fiber that nobody runs on: called from another stack, after wf_context_leave(), or
 * for a fiber that was never entered. Checks the canary. The pool gives the memory of stacks that
 * come back when many are idle to the kernel, so that idle memory is bounded (stacks.c).
 */
void wf_fiber_put(struct wf_stacks *stacks, struct wf_stack_cache *cache, struct wf_fiber *fiber);
void wf_stack_cache_flush(struct wf_stacks *stacks, struct wf_stack_cache *cache);
/*
 * Give back the memory of every idle stack in the pool (not in caches). Any thread; at most a
 * system call each.
 */
void wf_stacks_trim(struct wf_stacks *stacks);
/* Arrange that the first switch to fiber->ctx runs fn(fiber, arg passed to that switch). */
void wf_fiber_prepare(struct wf_fiber *fiber, wf_fiber_fn *fn);
/*
 * Fibers ever handed out (indices 0 .. n-1 are valid), out now, and most out at once. What is out
 * now is summed over the caches under the pool's lock, exact while nobody is in get or put. The
 * most counts what was idle in a cache as out.
 */
uint32_t wf_stacks_index_end(const struct wf_stacks *stacks);
uint32_t wf_stacks_live(struct wf_stacks *stacks);
uint32_t wf_stacks_live_max(const struct wf_stacks *stacks);
struct wf_fiber *wf_fiber_at(struct wf_stacks *stacks, uint32_t index);

/* Bytes left on the current stack when it is `fiber`'s. */
static inline size_t wf_fiber_room(const struct wf_fiber *fiber)
{
	return (size_t)((char *)__builtin_frame_address(0) - fiber->lo);
}

/* ---- Overflow (overflow.c) --------------------------------------------------------------- */

/*
 * A fault inside a guard region ends the process with one write(2):
 *   weft: stack overflow in task NAME (stack of N bytes; raise weft_options.stack_bytes)
 * `describe` gives the name for the current thread; it runs in the signal handler, must be
 * async-signal-safe, may return NULL. The previous SIGSEGV/SIGBUS handlers are chained for every
 * other fault. Installed once per process and counted; uninstalled with the last pool.
 */
typedef const char *wf_overflow_describe_fn(void);
#define WF_OVERFLOW_POOLS_MAX 256u
/* `describe` may be NULL. -EAGAIN: WF_OVERFLOW_POOLS_MAX pools are installed already. */
int wf_overflow_install(struct wf_stacks *stacks, wf_overflow_describe_fn *describe);
void wf_overflow_uninstall(struct wf_stacks *stacks); /* nothing when not installed */
/*
 * Each thread that runs fibers needs an alternate signal stack; one that the thread has already
 * is kept. Counted per thread. -ENOMEM.
 */
int wf_overflow_thread_init(void);
void wf_overflow_thread_fini(void);

#endif /* WF_FIBER_H */
