/*
 * context.c: telling the tools of every stack and every switch, and how a fiber begins.
 *
 * A plain release build does not pass through here at a switch. Elsewhere a switch is
 *
 *   announce the leaving (AddressSanitizer, ThreadSanitizer), swap, announce the arrival
 *
 * where the arrival happens on the other side: behind the swap of the flow that is resumed, or in
 * begin_announced() of one that begins. AddressSanitizer tells there the bounds of the stack that
 * was left, which is the only cheap way to learn those of a thread's own stack; so a pointer to a
 * `struct handover` in the frame of the leaving flow travels through the swap instead of the bare
 * `arg`. Reading it is safe even when the flow left for ever: nobody may reuse its stack before
 * the resumed flow has run, and reading is the first thing it does.
 *
 * These functions are not instrumented themselves: between announcement and swap the tools believe
 * one stack and the machine is on the other.
 */
#include "stacks.h"

#if WF_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if WF_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define HAVE_VALGRIND 1
#endif
#endif

_Static_assert(offsetof(struct wf_context, sp) == 0, "the assembler stores sp there");

static void begin_plain(struct wf_fiber *fiber, void *arg, wf_fiber_fn *fn)
{
	fn(fiber, arg);
	__builtin_trap(); /* a fiber's function returned */
}

#if WF_ASAN || WF_TSAN

struct handover {
	struct wf_context *from;
	void *arg;
};

WF_NOT_INSTRUMENTED
static void announce_leaving(struct wf_context *from, const struct wf_context *to, bool for_ever)
{
#if WF_ASAN
	/* Without a place to save it the fake stack of the leaving flow is freed. */
	__sanitizer_start_switch_fiber(for_ever ? NULL : &from->asan_fake_stack, to->stack_lo,
	                               to->stack_bytes);
#endif
#if WF_TSAN
	from->tsan_fiber = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(to->tsan_fiber, 0);
#endif
	(void)from;
	(void)to;
	(void)for_ever;
}

WF_NOT_INSTRUMENTED
static void *announce_arrival(const struct handover *handover, void *fake_stack)
{
#if WF_ASAN
	const void *lo;
	size_t bytes;

	__sanitizer_finish_switch_fiber(fake_stack, &lo, &bytes);
	if (handover->from->stack_bytes == 0) {
		handover->from->stack_lo = lo;
		handover->from->stack_bytes = bytes;
	}
#endif
	(void)fake_stack;
	return handover->arg;
}

WF_NOT_INSTRUMENTED
static void begin_announced(struct wf_fiber *fiber, void *arg, wf_fiber_fn *fn)
{
	begin_plain(fiber, announce_arrival(arg, NULL), fn);
}

#define BEGIN begin_announced

WF_NOT_INSTRUMENTED
static void *announced_swap(struct wf_context *from, const struct wf_context *to, void *arg,
                            bool for_ever)
{
	struct handover handover = { .from = from, .arg = arg };

	announce_leaving(from, to, for_ever);
	return announce_arrival(wf_context_swap(from, to, &handover), from->asan_fake_stack);
}

#else

#define BEGIN begin_plain

static void *announced_swap(struct wf_context *from, const struct wf_context *to, void *arg,
                            bool for_ever)
{
	(void)for_ever;
	return wf_context_swap(from, to, arg);
}

#endif

/* An overflow without a guard is found here at the latest, before the neighbour runs into it. */
static void check_canary(const struct wf_context *from)
{
	const struct wf_fiber *fiber;

	if (!from->canary || wf_canary_intact(from->canary))
		return;
	fiber = (const struct wf_fiber *)((const char *)from - offsetof(struct wf_fiber, ctx));
	wf_overflow_die(fiber->stacks);
}

WF_NOT_INSTRUMENTED
void *wf_context_switch_checked(struct wf_context *from, const struct wf_context *to, void *arg)
{
	WF_CHECK(from != to);
	WF_CHECK(to->sp != NULL);
	check_canary(from);
	return announced_swap(from, to, arg, false);
}

WF_NOT_INSTRUMENTED
_Noreturn void wf_context_leave_checked(struct wf_context *from, const struct wf_context *to,
                                        void *arg)
{
	WF_CHECK(from != to);
	WF_CHECK(to->sp != NULL);
	check_canary(from);
	(void)announced_swap(from, to, arg, true);
	__builtin_trap(); /* somebody resumed a flow that had left */
}

/*
 * Tops are staggered by a cache line each, sixteen ways: all stacks begin at the same offset of a
 * page, and without this their hot lines would compete for the same few cache sets.
 */
#define COLOUR_COUNT 16u
#define COLOUR_BYTES 64u

void wf_fiber_prepare(struct wf_fiber *fiber, wf_fiber_fn *fn)
{
	char *top = fiber->hi - (size_t)(fiber->index % COLOUR_COUNT) * COLOUR_BYTES;

	WF_CHECK(fn != NULL);
	WF_DEBUG((uintptr_t)top % 16 == 0);
	/* A stack that is prepared is nobody's current one. */
	WF_DEBUG((char *)__builtin_frame_address(0) < fiber->lo ||
	         (char *)__builtin_frame_address(0) >= fiber->hi);
#if WF_ASAN
	/* Frames that were left for ever never took their poison away. */
	__asan_unpoison_memory_region(fiber->lo, (size_t)(fiber->hi - fiber->lo));
	fiber->ctx.asan_fake_stack = NULL;
#endif
#if WF_TSAN
	/* A new one each time: what earlier users of the stack did must order nothing. */
	wf_context_retire(fiber);
	fiber->ctx.tsan_fiber = __tsan_create_fiber(0);
#endif
	fiber->ctx.sp = wf_context_make(top, BEGIN, fiber, fn);
}

void wf_context_retire_tsan(struct wf_fiber *fiber)
{
#if WF_TSAN
	if (fiber->ctx.tsan_fiber) {
		__tsan_destroy_fiber(fiber->ctx.tsan_fiber);
		fiber->ctx.tsan_fiber = NULL;
	}
#endif
	(void)fiber;
}

void wf_context_stack_born(struct wf_fiber *fiber)
{
#ifdef HAVE_VALGRIND
	fiber->valgrind_id = (uint32_t)VALGRIND_STACK_REGISTER(fiber->lo, fiber->hi);
#endif
	fiber->ctx.stack_lo = fiber->lo;
	fiber->ctx.stack_bytes = (size_t)(fiber->hi - fiber->lo);
}

void wf_context_stack_dead(struct wf_fiber *fiber)
{
	wf_context_retire(fiber);
#ifdef HAVE_VALGRIND
	VALGRIND_STACK_DEREGISTER(fiber->valgrind_id);
#endif
}
