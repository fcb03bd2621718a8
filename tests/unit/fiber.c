/*
 * Unit tests of engine/fiber: the switch, the pool, the guards.
 *
 * Goal: a switch carries its argument both ways and keeps what the ABI promises; the pool hands
 * out what it said, never more, with the guards that it names, and gives memory back. Method: one
 * thread, fibers entered and left by hand; residency is asked of the kernel by mincore(2), guards
 * by a system call that must fail with EFAULT. How an overflow ends is in fiber_overflow.c.
 */
#include "fiber.h"
#include "stacks.h"
#include "test.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK_BYTES 262144u

static struct wf_context here; /* the test's own flow while a fiber runs */

static struct wf_stacks *pool_of(uint32_t max, enum wf_guard guard)
{
	struct wf_stacks *stacks = NULL;

	cr_assert_eq(wf_stacks_create(&stacks, STACK_BYTES, max, guard), 0);
	cr_assert_not_null(stacks);
	return stacks;
}

static struct wf_fiber *must_get(struct wf_stacks *stacks, struct wf_stack_cache *cache)
{
	struct wf_fiber *fiber = wf_fiber_get(stacks, cache);

	cr_assert_not_null(fiber);
	return fiber;
}

static void leave(struct wf_fiber *fiber, void *arg)
{
	wf_context_leave(&fiber->ctx, &here, arg);
}

static void end_pool(struct wf_stacks *stacks, struct wf_stack_cache *cache)
{
	wf_stack_cache_flush(stacks, cache);
	cr_assert_eq(wf_stacks_live(stacks), 0);
	wf_stacks_destroy(stacks);
}

/* ---- The switch -------------------------------------------------------------------------- */

static void count_up(struct wf_fiber *fiber, void *arg)
{
	for (;;)
		arg = wf_context_switch(&fiber->ctx, &here, (void *)((uintptr_t)arg + 1));
}

Test(fiber, arguments_travel_both_ways)
{
	struct wf_stacks *stacks = pool_of(64, WF_GUARD_AUTO);
	struct wf_stack_cache cache = { 0 };
	struct wf_fiber *fiber = must_get(stacks, &cache);

	wf_fiber_prepare(fiber, count_up);
	for (uintptr_t i = 0; i < 1000; i++) {
		void *answer = wf_context_switch(&here, &fiber->ctx, (void *)(i * 3));

		cr_assert_eq((uintptr_t)answer, i * 3 + 1);
	}
	wf_fiber_put(stacks, &cache, fiber);
	end_pool(stacks, &cache);
}

static uintptr_t seen_address;
static struct wf_fiber *seen_fiber;

static void look_around(struct wf_fiber *fiber, void *arg)
{
	WF_ALIGNED(16) char local[16];
	char *volatile at = local;

	seen_address = (uintptr_t)at;
	seen_fiber = fiber;
	leave(fiber, arg);
}

Test(fiber, begins_on_its_own_aligned_stack)
{
	struct wf_stacks *stacks = pool_of(64, WF_GUARD_AUTO);
	struct wf_stack_cache cache = { 0 };

	for (int i = 0; i < 40; i++) {
		struct wf_fiber *fiber = must_get(stacks, &cache);

		wf_fiber_prepare(fiber, look_around);
		cr_assert_eq(wf_context_switch(&here, &fiber->ctx, &cache), (void *)&cache);
		cr_assert_eq(seen_fiber, fiber);
		cr_assert_eq(seen_address % 16, 0);
		/* AddressSanitizer may keep locals elsewhere. */
		if (!WF_ASAN) {
			cr_assert_geq(seen_address, (uintptr_t)fiber->lo);
			cr_assert_lt(seen_address, (uintptr_t)fiber->hi);
		}
		cr_assert_eq((size_t)(fiber->hi - fiber->lo), (size_t)STACK_BYTES);
	}
	/* The forty are leaked into the cache on purpose: none was put. */
	for (uint32_t i = 0; i < wf_stacks_index_end(stacks); i++)
		wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, i));
	end_pool(stacks, &cache);
}

/*
 * More live values than there are callee-saved registers, so that all of those are in use across
 * the switch, on both sides.
 */
static volatile uint64_t salt = 1;

static WF_NOINLINE uint64_t churn(struct wf_context *from, const struct wf_context *to, int rounds)
{
	uint64_t a = salt, b = a * 3, c = a * 5, d = a * 7, e = a * 11, f = a * 13, g = a * 17;
	uint64_t h = a * 19, i = a * 23, j = a * 29;
	double p = (double)a, q = p * 3, r = p * 5, s = p * 7, t = p * 11, u = p * 13, v = p * 17;
	double w = p * 19, x = p * 23;

	while (rounds-- > 0) {
		(void)wf_context_switch(from, to, NULL);
		a += 1, b += a, c += b, d += c, e += d, f += e, g += f, h += g, i += h, j += i;
		p += 1, q += 2, r += 3, s += 4, t += 5, u += 6, v += 7, w += 8, x += 9;
	}
	return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ i ^ j ^
		(uint64_t)(p + q + r + s + t + u + v + w + x);
}

static uint64_t fiber_answer;

static void churn_inside(struct wf_fiber *fiber, void *arg)
{
	(void)arg;
	fiber_answer = churn(&fiber->ctx, &here, 100);
	leave(fiber, NULL);
}

static void bounce(struct wf_fiber *fiber, void *arg)
{
	for (;;)
		arg = wf_context_switch(&fiber->ctx, &here, arg);
}

Test(fiber, callee_saved_registers_are_kept)
{
	struct wf_stacks *stacks = pool_of(64, WF_GUARD_AUTO);
	struct wf_stack_cache cache = { 0 };
	struct wf_fiber *one = must_get(stacks, &cache), *two = must_get(stacks, &cache);
	uint64_t alone, together;

	/* What it must be: the other side does nothing. */
	wf_fiber_prepare(one, bounce);
	alone = churn(&here, &one->ctx, 100);
	/* Both sides live in the same registers, with other values. */
	wf_fiber_prepare(two, churn_inside);
	salt = 2;
	(void)wf_context_switch(&here, &two->ctx, NULL);
	salt = 1;
	together = churn(&here, &two->ctx, 100);
	cr_assert_eq(alone, together);
	wf_fiber_prepare(one, bounce);
	salt = 2;
	alone = churn(&here, &one->ctx, 100);
	cr_assert_eq(alone, fiber_answer);
	wf_fiber_put(stacks, &cache, one);
	wf_fiber_put(stacks, &cache, two);
	end_pool(stacks, &cache);
}

#if defined(__x86_64__)
/* Rounding in bits 13-14 of MXCSR, and in bits 10-11 of the x87 word, here above it. */
#define MODE_STRANGE (0x1f80u | 3u << 13 | 0x0f7fu << 16)
static uint32_t mode_get(void)
{
	uint32_t sse;
	uint16_t x87;

	__asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(sse), "=m"(x87));
	return (sse & 0xffc0u) | (uint32_t)x87 << 16;
}
static void mode_set(uint32_t mode)
{
	uint32_t sse = mode & 0xffffu;
	uint16_t x87 = (uint16_t)(mode >> 16);

	__asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(sse), "m"(x87));
}
#elif defined(__aarch64__)
#define MODE_STRANGE (3u << 22 | 1u << 24)
static uint32_t mode_get(void)
{
	uint64_t fpcr;

	__asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
	return (uint32_t)fpcr;
}
static void mode_set(uint32_t mode)
{
	__asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)mode));
}
#endif

#ifdef MODE_STRANGE
static uint32_t mode_at_begin, mode_after_switch;

static void with_strange_mode(struct wf_fiber *fiber, void *arg)
{
	mode_at_begin = mode_get();
	mode_set(MODE_STRANGE);
	arg = wf_context_switch(&fiber->ctx, &here, arg);
	mode_after_switch = mode_get();
	leave(fiber, arg);
}
#endif

Test(fiber, floating_point_modes_are_kept_per_flow)
{
#ifdef MODE_STRANGE
	struct wf_stacks *stacks = pool_of(64, WF_GUARD_AUTO);
	struct wf_stack_cache cache = { 0 };
	struct wf_fiber *fiber = must_get(stacks, &cache);
	uint32_t usual = mode_get();

	cr_assert_neq(usual, MODE_STRANGE);
	wf_fiber_prepare(fiber, with_strange_mode);
	(void)wf_context_switch(&here, &fiber->ctx, NULL);
	cr_assert_eq(mode_at_begin, usual);
	cr_assert_eq(mode_get(), usual, "a fiber's mode leaked: %x", mode_get());
	(void)wf_context_switch(&here, &fiber->ctx, NULL);
	cr_assert_eq(mode_after_switch, MODE_STRANGE, "lost: %x", mode_after_switch);
	cr_assert_eq(mode_get(), usual);
	wf_fiber_put(stacks, &cache, fiber);
	end_pool(stacks, &cache);
#else
	test_skip("no accessors for this machine's control words");
#endif
}

static void hop(struct wf_fiber *fiber, void *arg)
{
	sigset_t mask;

	/* The mask is the thread's: it does not come back with the flow. */
	(void)wf_context_switch(&fiber->ctx, &here, arg);
	cr_assert_eq(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
	leave(fiber, (void *)(uintptr_t)sigismember(&mask, SIGUSR2));
}

Test(fiber, the_signal_mask_stays_with_the_thread)
{
	struct wf_stacks *stacks = pool_of(64, WF_GUARD_AUTO);
	struct wf_stack_cache cache = { 0 };
	struct wf_fiber *fiber = must_get(stacks, &cache);
	sigset_t one, before;

	sigemptyset(&one);
	sigaddset(&one, SIGUSR2);
	wf_fiber_prepare(fiber, hop);
	(void)wf_context_switch(&here, &fiber->ctx, NULL);
	cr_assert_eq(pthread_sigmask(SIG_BLOCK, &one, &before), 0);
	cr_assert_eq((uintptr_t)wf_context_switch(&here, &fiber->ctx, NULL), 1u);
	cr_assert_eq(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
	wf_fiber_put(stacks, &cache, fiber);
	end_pool(stacks, &cache);
}

struct ring {
	struct wf_fiber *next;
	uint32_t visits;
};

static void pass_on(struct wf_fiber *fiber, void *arg)
{
	struct ring *ring = (struct ring *)fiber->user;

	for (;;) {
		ring->visits++;
		arg = wf_context_switch(&fiber->ctx, ring->next ? &ring->next->ctx : &here, arg);
	}
}

/* ThreadSanitizer knows about 8,000 flows at most. */
#define RING_COUNT (WF_TSAN || WF_ASAN ? 500u : 10000u)

Test(fiber, ten_thousand_suspended_at_once)
{
	struct wf_stacks *stacks = pool_of(RING_COUNT, WF_GUARD_AUTO);
	struct wf_stack_cache cache = { 0 };
	struct wf_fiber *first = NULL;

	for (uint32_t i = 0; i < RING_COUNT; i++) {
		struct wf_fiber *fiber = must_get(stacks, &cache);
		struct ring *ring = (struct ring *)fiber->user;

		wf_fiber_prepare(fiber, pass_on);
		ring->next = first;
		ring->visits = 0;
		first = fiber;
	}
	cr_assert_null(wf_fiber_get(stacks, &cache));
	cr_assert_eq(wf_stacks_live(stacks), RING_COUNT);
	/* From fiber to fiber, without the thread's own flow in between. */
	for (uintptr_t lap = 0; lap < 3; lap++)
		cr_assert_eq((uintptr_t)wf_context_switch(&here, &first->ctx, (void *)lap), lap);
	for (uint32_t i = 0; i < RING_COUNT; i++) {
		struct wf_fiber *fiber = wf_fiber_at(stacks, i);

		cr_assert_eq(((struct ring *)fiber->user)->visits, 3u);
		wf_fiber_put(stacks, &cache, fiber);
	}
	end_pool(stacks, &cache);
}

static WF_NOINLINE size_t descend(const struct wf_fiber *fiber, size_t until_room)
{
	char block[512];
	size_t frames = 1;

	/* Opaque, so that the block is there in full and the recursion is one. */
	__asm__ volatile("" : : "r"(block) : "memory");
	if (wf_fiber_room(fiber) > until_room)
		frames += descend(fiber, until_room);
	__asm__ volatile("" : : "r"(block) : "memory");
	return frames;
}

static void use_stack(struct wf_fiber *fiber, void *arg)
{
	size_t frames = descend(fiber, (size_t)(uintptr_t)arg);

	leave(fiber, (void *)frames);
}

Test(fiber, recursion_may_use_the_stack_to_its_end)
{
	struct wf_stacks *stacks = pool_of(64, WF_GUARD_AUTO);
	struct wf_stack_cache cache = { 0 };
	struct wf_fiber *fiber = must_get(stacks, &cache);
	uintptr_t frames;

	wf_fiber_prepare(fiber, use_stack);
	frames = (uintptr_t)wf_context_switch(&here, &fiber->ctx, (void *)(uintptr_t)8192);
	/* A frame is the block and a bit, far less than two blocks; sanitizers double it. */
	cr_assert_gt(frames, STACK_BYTES / 2048u);
	cr_assert_lt(frames, STACK_BYTES / 512u);
	wf_fiber_put(stacks, &cache, fiber);
	end_pool(stacks, &cache);
}

/* ---- The pool ---------------------------------------------------------------------------- */

Test(fiber, bad_arguments_are_refused)
{
	struct wf_stacks *const poison = (struct wf_stacks *)&here;
	struct wf_stacks *stacks = poison;
	size_t most = SIZE_MAX - SIZE_MAX % 65536;

	cr_assert_eq(wf_stacks_create(NULL, STACK_BYTES, 64, WF_GUARD_AUTO), -EINVAL);
	cr_assert_eq(wf_stacks_create(&stacks, STACK_BYTES, 0, WF_GUARD_AUTO), -EINVAL);
	cr_assert_eq(wf_stacks_create(&stacks, 0, 64, WF_GUARD_AUTO), -EINVAL);
	cr_assert_eq(wf_stacks_create(&stacks, WF_STACK_BYTES_MIN / 2, 64, WF_GUARD_AUTO), -EINVAL);
	cr_assert_eq(wf_stacks_create(&stacks, STACK_BYTES + 512, 64, WF_GUARD_AUTO), -EINVAL);
	cr_assert_eq(wf_stacks_create(&stacks, STACK_BYTES, 64, (enum wf_guard)9), -EINVAL);
	cr_assert_eq(wf_stacks_create(&stacks, most, 64, WF_GUARD_AUTO), -ENOMEM);
	cr_assert_eq(wf_stacks_create(&stacks, (size_t)1 << 60, 5000, WF_GUARD_AUTO), -ENOMEM);
	cr_assert_eq(stacks, poison, "an output was written on failure");
	wf_stacks_destroy(NULL);
}

Test(fiber, a_reservation_that_does_not_fit_is_halved)
{
	struct wf_stack_cache cache = { 0 };
	struct wf_stacks *stacks;

	/* The first mapping is that of the stacks, the second that of the structs. */
	for (uint64_t nth = 1; nth <= 2; nth++) {
		wf_fault_arm(WF_FAULT_MMAP, nth);
		stacks = pool_of(1000, WF_GUARD_AUTO);
		cr_assert(wf_fault_fired());
		wf_fault_arm(-1, 0);
		cr_assert_eq(wf_stacks_max(stacks), 500u);
		for (uint32_t i = 0; i < 500; i++)
			(void)must_get(stacks, &cache);
		cr_assert_null(wf_fiber_get(stacks, &cache));
		for (uint32_t i = 0; i < 500; i++)
			wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, i));
		end_pool(stacks, &cache);
	}
	/* Not below the least that is worth having, or asked for. */
	wf_fault_arm(WF_FAULT_MMAP, 1);
	stacks = pool_of(WF_STACKS_MIN + 20, WF_GUARD_AUTO);
	wf_fault_arm(-1, 0);
	cr_assert_eq(wf_stacks_max(stacks), WF_STACKS_MIN);
	wf_stacks_destroy(stacks);
}

Test(fiber, the_limit_gives_null_and_recovers)
{
	static const uint32_t limits[] = { 1, 2, 63, 64, 200 };

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct wf_stacks *stacks = pool_of(limits[i], WF_GUARD_AUTO);
		struct wf_stack_cache cache = { 0 };
		struct wf_fiber *fiber = NULL;

		cr_assert_eq(wf_stacks_max(stacks), limits[i]);
		for (uint32_t k = 0; k < limits[i]; k++)
			fiber = must_get(stacks, &cache);
		cr_assert_null(wf_fiber_get(stacks, &cache));
		cr_assert_null(wf_fiber_get(stacks, &cache));
		wf_fiber_put(stacks, &cache, fiber);
		cr_assert_eq(wf_fiber_get(stacks, &cache), fiber);
		for (uint32_t k = 0; k < limits[i]; k++)
			wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, k));
		cr_assert_eq(wf_stacks_index_end(stacks), limits[i]);
		end_pool(stacks, &cache);
	}
}

Test(fiber, the_last_one_back_is_the_first_one_out)
{
	struct wf_stacks *stacks = pool_of(4096, WF_GUARD_AUTO);
	struct wf_stack_cache cache = { 0 };
	struct wf_fiber *fiber = must_get(stacks, &cache);

	for (int i = 0; i < 1000; i++) {
		memset(fiber->user, i, sizeof(fiber->user));
		wf_fiber_put(stacks, &cache, fiber);
		cr_assert_eq(wf_fiber_get(stacks, &cache), fiber);
		cr_assert_eq(fiber->user[0], (unsigned char)i, "the pool wrote the user's part");
	}
	cr_assert_eq(wf_stacks_index_end(stacks), 1u);
	wf_fiber_put(stacks, &cache, fiber);
	end_pool(stacks, &cache);
}

/* Each fiber is in one hand or in the pool, never in two: a counter a fiber says so. */
Test(fiber, what_one_cache_gives_back_another_gets)
{
	enum { MANY = 300 };
	struct wf_stacks *stacks = pool_of(4096, WF_GUARD_AUTO);
	struct wf_stack_cache left = { 0 }, right = { 0 };
	struct wf_fiber *out[MANY];
	unsigned char held[4096] = { 0 };

	for (int lap = 0; lap < 4; lap++) {
		for (int i = 0; i < MANY; i++) {
			out[i] = must_get(stacks, &left);
			cr_assert_eq(held[out[i]->index]++, 0);
		}
		for (int i = 0; i < MANY; i++) {
			held[out[i]->index]--;
			wf_fiber_put(stacks, &right, out[i]);
		}
	}
	/* 32 may hide in the right cache at the end of each lap. */
	cr_assert_leq(wf_stacks_index_end(stacks), MANY + 32u);
	wf_stack_cache_flush(stacks, &left);
	end_pool(stacks, &right);
}

Test(fiber, counters_tell_live_and_most)
{
	struct wf_stacks *stacks = pool_of(1000, WF_GUARD_AUTO);
	struct wf_stack_cache cache = { 0 }, other = { 0 };
	struct wf_fiber *three[3];

	cr_assert_eq(wf_stacks_live(stacks), 0u);
	for (uint32_t i = 0; i < 100; i++)
		(void)must_get(stacks, &cache);
	cr_assert_eq(wf_stacks_live(stacks), 100u);
	cr_assert_eq(wf_stacks_live_max(stacks), 100u);
	cr_assert_eq(wf_stacks_index_end(stacks), 100u);
	for (uint32_t i = 0; i < 60; i++)
		wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, i));
	/* Some of them idle in the cache, some in the pool. */
	cr_assert_eq(wf_stacks_live(stacks), 40u);
	wf_stack_cache_flush(stacks, &cache);
	cr_assert_eq(wf_stacks_live(stacks), 40u);
	for (uint32_t i = 0; i < 3; i++) {
		three[i] = must_get(stacks, &cache);
		cr_assert_eq(wf_stacks_live(stacks), 41 + i);
	}
	/* A cache that begins with a put, beside one that is in use. */
	for (uint32_t i = 0; i < 3; i++) {
		wf_fiber_put(stacks, &other, three[i]);
		cr_assert_eq(wf_stacks_live(stacks), 42 - i);
	}
	wf_stack_cache_flush(stacks, &other);
	cr_assert_eq(wf_stacks_live(stacks), 40u);
	cr_assert_eq(wf_stacks_live_max(stacks), 100u);
	for (uint32_t i = 0; i < wf_stacks_index_end(stacks); i++)
		cr_assert_eq(wf_fiber_at(stacks, i)->index, i);
	for (uint32_t i = 60; i < 100; i++)
		wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, i));
	end_pool(stacks, &cache);
}

/* ---- Guards ------------------------------------------------------------------------------ */

static bool kernel_may_write(char *at)
{
	return syscall(SYS_getrandom, at, (size_t)1, 0u) == 1;
}

static void check_kind(enum wf_guard kind, const char *name, bool guarded)
{
	struct wf_stacks *stacks = NULL;
	struct wf_stack_cache cache = { 0 };
	int rc = wf_stacks_create(&stacks, STACK_BYTES, 128, kind);

	if (rc == -ENOTSUP) {
		cr_assert_neq(kind, WF_GUARD_CANARY);
		fprintf(stderr, "no %s guards here\n", name);
		return;
	}
	cr_assert_eq(rc, 0);
	cr_assert_str_eq(wf_stacks_guard_name(stacks), name);
	for (int i = 0; i < 20; i++) {
		struct wf_fiber *fiber = must_get(stacks, &cache);

		cr_assert_eq(fiber->ctx.canary == NULL, guarded);
		cr_assert_eq(kernel_may_write(fiber->lo - 1), !guarded);
		if (guarded)
			cr_assert(kernel_may_write(fiber->lo));
		cr_assert(kernel_may_write(fiber->hi - 1));
		wf_fiber_prepare(fiber, use_stack);
		(void)wf_context_switch(&here, &fiber->ctx, (void *)(uintptr_t)8192);
	}
	for (uint32_t i = 0; i < 20; i++)
		wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, i));
	wf_stack_cache_flush(stacks, &cache);
	wf_stacks_trim(stacks);
	/* Guards and canaries outlive the trim. */
	for (uint32_t i = 0; i < 20; i++) {
		struct wf_fiber *fiber = must_get(stacks, &cache);

		cr_assert_eq(kernel_may_write(fiber->lo - 1), !guarded);
		cr_assert(!fiber->ctx.canary || wf_canary_intact(fiber->ctx.canary));
	}
	for (uint32_t i = 0; i < 20; i++)
		wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, i));
	cr_assert_eq(wf_stacks_unguarded(stacks), 0u);
	end_pool(stacks, &cache);
}

Test(fiber, guards_by_madvise)
{
	check_kind(WF_GUARD_MADVISE, "guard", true);
}

Test(fiber, guards_by_mprotect)
{
	check_kind(WF_GUARD_MPROTECT, "mprotect", true);
}

Test(fiber, canaries_instead_of_guards)
{
	check_kind(WF_GUARD_CANARY, "canary", false);
}

Test(fiber, auto_takes_a_real_guard)
{
	struct wf_stacks *stacks = pool_of(64, WF_GUARD_AUTO);

	/* mprotect works on every kernel, so the canary alone is never the choice. */
	cr_assert_str_neq(wf_stacks_guard_name(stacks), "canary");
	wf_stacks_destroy(stacks);
}

Test(fiber, mprotect_guards_leave_mappings_to_others)
{
	struct wf_stacks *stacks = pool_of(64, WF_GUARD_MPROTECT), *refused = NULL;
	struct wf_stack_cache cache = { 0 };

	/* 0 makes it read the kernel's limit again. */
	wf_store_relaxed(&wf_guard_budget, 10);
	for (uint32_t i = 0; i < 15; i++)
		cr_assert_eq(must_get(stacks, &cache)->ctx.canary == NULL, i < 10);
	cr_assert_eq(wf_stacks_unguarded(stacks), 5u);
	/* Used up by the first pool. */
	cr_assert_eq(wf_stacks_create(&refused, STACK_BYTES, 64, WF_GUARD_MPROTECT), -ENOTSUP);
	for (uint32_t i = 0; i < 15; i++)
		wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, i));
	end_pool(stacks, &cache);
	/* And given back with it. */
	stacks = pool_of(64, WF_GUARD_MPROTECT);
	for (uint32_t i = 0; i < 10; i++)
		cr_assert_null(must_get(stacks, &cache)->ctx.canary);
	for (uint32_t i = 0; i < 10; i++)
		wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, i));
	end_pool(stacks, &cache);
	wf_store_relaxed(&wf_guard_budget, 0);
}

/* ---- Memory ------------------------------------------------------------------------------ */

static uint32_t resident_pages(const struct wf_fiber *fiber)
{
	unsigned char pages[STACK_BYTES / 4096];
	size_t count = STACK_BYTES / (size_t)sysconf(_SC_PAGESIZE);
	uint32_t resident = 0;

	cr_assert_eq(mincore(fiber->lo, STACK_BYTES, pages), 0);
	for (size_t i = 0; i < count; i++)
		resident += pages[i] & 1;
	return resident;
}

static void check_trim(enum wf_guard kind)
{
	struct wf_stacks *stacks = pool_of(64, kind);
	struct wf_stack_cache cache = { 0 };
	struct wf_fiber *fibers[3];

	for (int i = 0; i < 3; i++) {
		fibers[i] = must_get(stacks, &cache);
		wf_fiber_prepare(fibers[i], use_stack);
		(void)wf_context_switch(&here, &fibers[i]->ctx,
		                        (void *)(uintptr_t)(STACK_BYTES / 2));
	}
	for (int i = 0; i < 3; i++) {
		cr_assert_geq(resident_pages(fibers[i]),
		              STACK_BYTES / 2 / (uint32_t)sysconf(_SC_PAGESIZE));
		wf_fiber_put(stacks, &cache, fibers[i]);
	}
	wf_stack_cache_flush(stacks, &cache);
	wf_stacks_trim(stacks);
	for (int i = 0; i < 3; i++)
		cr_assert_leq(resident_pages(fibers[i]), fibers[i]->ctx.canary ? 1u : 0u);
	/* Nothing left to do, and the stacks are as good as before. */
	wf_stacks_trim(stacks);
	fibers[0] = must_get(stacks, &cache);
	wf_fiber_prepare(fibers[0], use_stack);
	cr_assert_gt((uintptr_t)wf_context_switch(&here, &fibers[0]->ctx, (void *)(uintptr_t)8192),
	             0u);
	wf_fiber_put(stacks, &cache, fibers[0]);
	end_pool(stacks, &cache);
}

Test(fiber, trim_gives_the_memory_back)
{
	check_trim(WF_GUARD_AUTO);
	check_trim(WF_GUARD_MPROTECT);
	check_trim(WF_GUARD_CANARY);
}

static void check_neighbours(const uint32_t order[7])
{
	/* Large enough that the seven are one batch. */
	struct wf_stacks *stacks = pool_of(2000, WF_GUARD_AUTO);
	struct wf_stack_cache cache = { 0 };

	for (int i = 0; i < 9; i++)
		memset(must_get(stacks, &cache)->lo, 0x5a, STACK_BYTES);
	for (uint32_t i = 0; i < 7; i++)
		wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, order[i]));
	wf_stack_cache_flush(stacks, &cache);
	wf_stacks_trim(stacks);
	for (uint32_t i = 0; i < 9; i++) {
		const struct wf_fiber *fiber = wf_fiber_at(stacks, i);
		bool out = i == 3 || i == 6;

		cr_assert_eq(resident_pages(fiber) > 0, out);
		for (size_t at = 0; out && at < STACK_BYTES; at++)
			cr_assert_eq(fiber->lo[at], 0x5a);
	}
	wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, 3));
	wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, 6));
	end_pool(stacks, &cache);
}

/* Stacks 3 and 6 of nine stay out while the others come back upwards, downwards and mixed. */
Test(fiber, trim_leaves_the_neighbours_alone)
{
	static const uint32_t orders[3][7] = { { 0, 1, 2, 4, 5, 7, 8 },
		                               { 8, 7, 5, 4, 2, 1, 0 },
		                               { 5, 4, 0, 8, 1, 7, 2 } };

	for (int i = 0; i < 3; i++)
		check_neighbours(orders[i]);
}

Test(fiber, idle_memory_is_bounded)
{
	enum { MANY = WF_STACKS_WARM_MAX + 500 };
	struct wf_stacks *stacks = pool_of(MANY, WF_GUARD_AUTO);
	struct wf_stack_cache cache = { 0 };
	uint32_t warm = 0;

	for (uint32_t i = 0; i < MANY; i++)
		memset(must_get(stacks, &cache)->hi - 512, 1, 512);
	for (uint32_t i = 0; i < MANY; i++) {
		cr_assert_gt(resident_pages(wf_fiber_at(stacks, i)), 0u);
		/* Two interleaved orders, so that some neighbours come back together. */
		wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, i ^ 2u));
	}
	for (uint32_t i = 0; i < MANY; i++)
		warm += resident_pages(wf_fiber_at(stacks, i)) > 0;
	/* What the pool keeps, one batch above it, and the two of the cache. */
	cr_assert_leq(warm, WF_STACKS_WARM_MAX + 48u);
	cr_assert_geq(warm, WF_STACKS_WARM_MAX);
	end_pool(stacks, &cache);
}

/* Twice a ucontext_t, which takes up to 4.5 KiB, is what the portable switch costs. */
#ifdef WF_FIBER_UCONTEXT
#define TOUCHED_BYTES_MAX 16384u
#else
#define TOUCHED_BYTES_MAX 8192u
#endif

Test(fiber, an_entered_fiber_touches_little)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	struct wf_stacks *stacks = pool_of(64, WF_GUARD_AUTO);
	struct wf_stack_cache cache = { 0 };
	struct wf_fiber *fibers[32];

	for (int i = 0; i < 32; i++) {
		fibers[i] = must_get(stacks, &cache);
		wf_fiber_prepare(fibers[i], bounce);
		(void)wf_context_switch(&here, &fibers[i]->ctx, NULL);
		cr_assert_leq(resident_pages(fibers[i]) * page_bytes,
		              page_bytes > TOUCHED_BYTES_MAX ? page_bytes : TOUCHED_BYTES_MAX);
	}
	for (int i = 0; i < 32; i++)
		wf_fiber_put(stacks, &cache, fibers[i]);
	end_pool(stacks, &cache);
}
