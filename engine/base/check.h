/*
 * check.h: assertions. WF_CHECK stays in release builds (memory safety, state machines,
 * ownership); WF_DEBUG may be O(n) and disappears with NDEBUG.
 */
#ifndef WF_BASE_CHECK_H
#define WF_BASE_CHECK_H

#define WF_LIKELY(x)   __builtin_expect(!!(x), 1)
#define WF_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define WF_CACHE_LINE  64
#define WF_ALIGNED(n)  __attribute__((aligned(n)))
#define WF_NOINLINE    __attribute__((noinline))
/* For looks at memory that others may be writing; what they give is believed only afterwards. */
#define WF_UNORDERED   __attribute__((no_sanitize("thread", "address")))
#define WF_INLINE      static inline __attribute__((always_inline))
/* A function that may suspend its task carries this; so does everything that calls one. */
#define WF_SUSPENDS
#define wf_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Writes "weft: FILE:LINE: check failed: TEXT" with one write(2) and aborts. */
_Noreturn void wf_check_failed(const char *file, int line, const char *text);

#define WF_CHECK(x) \
	do { \
		if (WF_UNLIKELY(!(x))) \
			wf_check_failed(__FILE__, __LINE__, #x); \
	} while (0)

#ifdef NDEBUG
#define WF_DEBUG(x) ((void)sizeof(!(x)))
#else
#define WF_DEBUG(x) WF_CHECK(x)
#endif

#endif /* WF_BASE_CHECK_H */
