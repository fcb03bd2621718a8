/*
 * atomic.h: every shared-memory access of the engine, with its order in its name.
 *
 * The types are structs, so `x = 1` on a shared word does not compile. There is no default order
 * and no sequentially consistent access but the fence. In `-Dsim=true` builds each operation is a
 * scheduling point of the explorer (wf_sim_point()). ThreadSanitizer does not understand fences:
 * under it the fence is a read-modify-write of one global word, which it does understand, and
 * plain loads and stores are compiled one step stronger where a fence stood beside them.
 */
#ifndef WF_BASE_ATOMIC_H
#define WF_BASE_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_THREAD__)
#define WF_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WF_TSAN 1
#endif
#endif
#ifndef WF_TSAN
#define WF_TSAN 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define WF_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WF_ASAN 1
#endif
#endif
#ifndef WF_ASAN
#define WF_ASAN 0
#endif

#ifdef WF_SIM
void wf_sim_point(void);
#else
static inline void wf_sim_point(void)
{
}
#endif

/*
 * Under ThreadSanitizer gcc compiles an atomic operation to a call that it believes cannot touch a
 * static variable whose address is never taken, and keeps such a variable in a register across it.
 * An empty asm that clobbers memory on both sides takes that belief away.
 */
#if WF_TSAN
#define WF_ATOMIC_PIN() __asm__ volatile("" ::: "memory")
#else
#define WF_ATOMIC_PIN() ((void)0)
#endif

struct wf_a8 {
	_Atomic uint8_t v;
};
struct wf_a16 {
	_Atomic uint16_t v;
};
struct wf_a32 {
	_Atomic uint32_t v;
};
struct wf_a64 {
	_Atomic uint64_t v;
};
struct wf_aptr {
	_Atomic uintptr_t v;
};

#define WF_ATOMIC_ACTION(operation) \
	wf_sim_point(); \
	WF_ATOMIC_PIN(); \
	operation; \
	WF_ATOMIC_PIN()
#define WF_ATOMIC_VALUE(T, operation) \
	WF_ATOMIC_ACTION(T value_ = operation); \
	return value_

/*
 * One set of operations per width. The plain-named functions work on all widths through
 * _Generic; cas() returns whether it stored and, when not, leaves what it saw in *expected.
 */
#define WF_ATOMIC_OPS(S, T) \
	static inline T wf_##S##_load_relaxed(const struct wf_##S *a) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_load_explicit(&a->v, memory_order_relaxed)); \
	} \
	static inline T wf_##S##_load_acquire(const struct wf_##S *a) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_load_explicit(&a->v, memory_order_acquire)); \
	} \
	static inline void wf_##S##_store_relaxed(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_ACTION(atomic_store_explicit(&a->v, x, memory_order_relaxed)); \
	} \
	static inline void wf_##S##_store_release(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_ACTION(atomic_store_explicit(&a->v, x, memory_order_release)); \
	} \
	static inline T wf_##S##_swap_relaxed(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_exchange_explicit(&a->v, x, memory_order_relaxed)); \
	} \
	static inline T wf_##S##_swap_acquire(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_exchange_explicit(&a->v, x, memory_order_acquire)); \
	} \
	static inline T wf_##S##_swap_release(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_exchange_explicit(&a->v, x, memory_order_release)); \
	} \
	static inline T wf_##S##_swap_acq_rel(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_exchange_explicit(&a->v, x, memory_order_acq_rel)); \
	} \
	static inline T wf_##S##_add_relaxed(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_fetch_add_explicit(&a->v, x, memory_order_relaxed)); \
	} \
	static inline T wf_##S##_add_acquire(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_fetch_add_explicit(&a->v, x, memory_order_acquire)); \
	} \
	static inline T wf_##S##_add_release(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_fetch_add_explicit(&a->v, x, memory_order_release)); \
	} \
	static inline T wf_##S##_add_acq_rel(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_fetch_add_explicit(&a->v, x, memory_order_acq_rel)); \
	} \
	static inline T wf_##S##_or_relaxed(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_fetch_or_explicit(&a->v, x, memory_order_relaxed)); \
	} \
	static inline T wf_##S##_or_acq_rel(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_fetch_or_explicit(&a->v, x, memory_order_acq_rel)); \
	} \
	static inline T wf_##S##_and_acq_rel(struct wf_##S *a, T x) \
	{ \
		WF_ATOMIC_VALUE(T, atomic_fetch_and_explicit(&a->v, x, memory_order_acq_rel)); \
	} \
	static inline bool wf_##S##_cas_relaxed(struct wf_##S *a, T *expected, T x) \
	{ \
		WF_ATOMIC_VALUE(bool, \
		                atomic_compare_exchange_strong_explicit(&a->v, expected, x, \
		                                                        memory_order_relaxed, \
		                                                        memory_order_relaxed)); \
	} \
	static inline bool wf_##S##_cas_acquire(struct wf_##S *a, T *expected, T x) \
	{ \
		WF_ATOMIC_VALUE(bool, \
		                atomic_compare_exchange_strong_explicit(&a->v, expected, x, \
		                                                        memory_order_acquire, \
		                                                        memory_order_acquire)); \
	} \
	static inline bool wf_##S##_cas_release(struct wf_##S *a, T *expected, T x) \
	{ \
		WF_ATOMIC_VALUE(bool, \
		                atomic_compare_exchange_strong_explicit(&a->v, expected, x, \
		                                                        memory_order_release, \
		                                                        memory_order_relaxed)); \
	} \
	static inline bool wf_##S##_cas_acq_rel(struct wf_##S *a, T *expected, T x) \
	{ \
		WF_ATOMIC_VALUE(bool, \
		                atomic_compare_exchange_strong_explicit(&a->v, expected, x, \
		                                                        memory_order_acq_rel, \
		                                                        memory_order_acquire)); \
	} \
	/* Before the object is shared: no order, no scheduling point. */ \
	static inline void wf_##S##_init(struct wf_##S *a, T x) \
	{ \
		atomic_store_explicit(&a->v, x, memory_order_relaxed); \
	}

WF_ATOMIC_OPS(a8, uint8_t)
WF_ATOMIC_OPS(a16, uint16_t)
WF_ATOMIC_OPS(a32, uint32_t)
WF_ATOMIC_OPS(a64, uint64_t)
WF_ATOMIC_OPS(aptr, uintptr_t)

#define WF_ATOMIC_PICK(a, op) \
	_Generic(*(a), struct wf_a8 \
	         : wf_a8_##op, struct wf_a16 \
	         : wf_a16_##op, struct wf_a32 \
	         : wf_a32_##op, struct wf_a64 \
	         : wf_a64_##op, struct wf_aptr \
	         : wf_aptr_##op)

#define wf_load_relaxed(a)      WF_ATOMIC_PICK(a, load_relaxed)(a)
#define wf_load_acquire(a)      WF_ATOMIC_PICK(a, load_acquire)(a)
#define wf_store_relaxed(a, x)  WF_ATOMIC_PICK(a, store_relaxed)((a), (x))
#define wf_store_release(a, x)  WF_ATOMIC_PICK(a, store_release)((a), (x))
#define wf_swap_relaxed(a, x)   WF_ATOMIC_PICK(a, swap_relaxed)((a), (x))
#define wf_swap_acquire(a, x)   WF_ATOMIC_PICK(a, swap_acquire)((a), (x))
#define wf_swap_release(a, x)   WF_ATOMIC_PICK(a, swap_release)((a), (x))
#define wf_swap_acq_rel(a, x)   WF_ATOMIC_PICK(a, swap_acq_rel)((a), (x))
#define wf_add_relaxed(a, x)    WF_ATOMIC_PICK(a, add_relaxed)((a), (x))
#define wf_add_acquire(a, x)    WF_ATOMIC_PICK(a, add_acquire)((a), (x))
#define wf_add_release(a, x)    WF_ATOMIC_PICK(a, add_release)((a), (x))
#define wf_add_acq_rel(a, x)    WF_ATOMIC_PICK(a, add_acq_rel)((a), (x))
#define wf_or_relaxed(a, x)     WF_ATOMIC_PICK(a, or_relaxed)((a), (x))
#define wf_or_acq_rel(a, x)     WF_ATOMIC_PICK(a, or_acq_rel)((a), (x))
#define wf_and_acq_rel(a, x)    WF_ATOMIC_PICK(a, and_acq_rel)((a), (x))
#define wf_cas_relaxed(a, e, x) WF_ATOMIC_PICK(a, cas_relaxed)((a), (e), (x))
#define wf_cas_acquire(a, e, x) WF_ATOMIC_PICK(a, cas_acquire)((a), (e), (x))
#define wf_cas_release(a, e, x) WF_ATOMIC_PICK(a, cas_release)((a), (e), (x))
#define wf_cas_acq_rel(a, e, x) WF_ATOMIC_PICK(a, cas_acq_rel)((a), (e), (x))
#define wf_init(a, x)           WF_ATOMIC_PICK(a, init)((a), (x))

/* Only orders the compiler: one half of a pair whose other half is a membarrier. */
static inline void wf_fence_compiler(void)
{
	__asm__ volatile("" ::: "memory");
}

/* A full barrier between threads; on x86 a locked instruction, a quarter of mfence's price. */
static inline void wf_fence_seq_cst(void)
{
	wf_sim_point();
#if WF_TSAN
	static struct wf_a32 word;

	/* A fence of the language is refused by gcc here; on x86 the locked addition is one. */
	WF_ATOMIC_PIN();
	atomic_fetch_add_explicit(&word.v, 1, memory_order_seq_cst);
#if defined(__aarch64__)
	__asm__ volatile("dmb ish" ::: "memory");
#endif
	WF_ATOMIC_PIN();
#elif defined(__x86_64__)
	__asm__ volatile("lock orl $0, (%%rsp)" ::: "memory", "cc");
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* The same right behind a read-modify-write, which on x86 is such a barrier by itself. */
static inline void wf_fence_after_rmw(void)
{
#if defined(__x86_64__) && !WF_TSAN
	wf_fence_compiler();
#else
	wf_fence_seq_cst();
#endif
}

static inline void wf_cpu_relax(void)
{
	wf_sim_point();
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#endif
}

#endif /* WF_BASE_ATOMIC_H */
