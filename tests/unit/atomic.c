/*
 * Goal: each operation of the atomics shim does what its name says, at every width, and
 * acquire/release pairs carry plain data between threads.
 * Method: single-threaded truth tables per width; a message passed a thousand times between two
 * joined threads; counters that four threads add to.
 */
#include <pthread.h>
#include <sched.h>

#include "base.h"
#include "test.h"

#define CHECK_WIDTH(type, max) \
	do { \
		struct type a; \
		__typeof__(wf_load_relaxed(&a)) seen; \
		wf_init(&a, 5); \
		cr_assert_eq(wf_load_relaxed(&a), 5); \
		cr_assert_eq(wf_load_acquire(&a), 5); \
		wf_store_relaxed(&a, 6); \
		cr_assert_eq(wf_load_relaxed(&a), 6); \
		wf_store_release(&a, 7); \
		cr_assert_eq(wf_swap_relaxed(&a, 8), 7); \
		cr_assert_eq(wf_swap_acquire(&a, 9), 8); \
		cr_assert_eq(wf_swap_release(&a, 10), 9); \
		cr_assert_eq(wf_swap_acq_rel(&a, 11), 10); \
		cr_assert_eq(wf_add_relaxed(&a, 1), 11); \
		cr_assert_eq(wf_add_acquire(&a, 1), 12); \
		cr_assert_eq(wf_add_release(&a, 1), 13); \
		cr_assert_eq(wf_add_acq_rel(&a, 1), 14); \
		cr_assert_eq(wf_load_relaxed(&a), 15); \
		cr_assert_eq(wf_or_relaxed(&a, 16), 15); \
		cr_assert_eq(wf_or_acq_rel(&a, 32), 31); \
		cr_assert_eq(wf_and_acq_rel(&a, 33), 63); \
		cr_assert_eq(wf_load_relaxed(&a), 33); \
		wf_store_relaxed(&a, max); \
		cr_assert_eq(wf_add_relaxed(&a, 2), max); \
		cr_assert_eq(wf_load_relaxed(&a), 1, "an addition wraps"); \
		seen = 1; \
		cr_assert(wf_cas_relaxed(&a, &seen, 2) && seen == 1); \
		cr_assert(!wf_cas_relaxed(&a, &seen, 3) && seen == 2); \
		cr_assert(wf_cas_acquire(&a, &seen, 4) && seen == 2); \
		cr_assert(!wf_cas_acquire(&a, &seen, 5) && seen == 4); \
		cr_assert(wf_cas_release(&a, &seen, 6) && seen == 4); \
		cr_assert(!wf_cas_release(&a, &seen, 7) && seen == 6); \
		cr_assert(wf_cas_acq_rel(&a, &seen, 8) && seen == 6); \
		cr_assert(!wf_cas_acq_rel(&a, &seen, 9) && seen == 8); \
		cr_assert_eq(wf_load_relaxed(&a), 8, "a failed exchange stores nothing"); \
	} while (0)

Test(atomic, operations_hold_at_8_bits)
{
	CHECK_WIDTH(wf_a8, UINT8_MAX);
}

Test(atomic, operations_hold_at_32_bits)
{
	CHECK_WIDTH(wf_a32, UINT32_MAX);
}

Test(atomic, operations_hold_at_64_bits)
{
	CHECK_WIDTH(wf_a64, UINT64_MAX);
}

Test(atomic, operations_hold_on_pointers)
{
	CHECK_WIDTH(wf_aptr, UINTPTR_MAX);
}

Test(atomic, wrapped_words_have_the_size_of_the_word)
{
	cr_assert_eq(sizeof(struct wf_a8), 1);
	cr_assert_eq(sizeof(struct wf_a32), 4);
	cr_assert_eq(sizeof(struct wf_a64), 8);
	cr_assert_eq(sizeof(struct wf_aptr), sizeof(void *));
}

#define MESSAGES 1000

static struct wf_a32 turn;
static uint64_t message;

static void *answer(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < MESSAGES; i++) {
		/* acquire [M2]: the plain message before the release [M1]. */
		while (wf_load_acquire(&turn) != 2 * i + 1)
			sched_yield();
		message = message * 2 + 1;
		/* release [M3]: the answer, to the acquire [M4]. */
		wf_store_release(&turn, 2 * i + 2);
	}
	return NULL;
}

Test(atomic, release_and_acquire_carry_plain_data)
{
	pthread_t thread;
	uint32_t right = 0;

	wf_init(&turn, 0);
	cr_assert_eq(pthread_create(&thread, NULL, answer, NULL), 0);
	for (uint32_t i = 0; i < MESSAGES; i++) {
		message = i;
		/* release [M1]: the message, to the acquire [M2]. */
		wf_store_release(&turn, 2 * i + 1);
		/* acquire [M4]: the answer before the release [M3]. */
		while (wf_load_acquire(&turn) != 2 * i + 2)
			sched_yield();
		right += message == 2 * (uint64_t)i + 1;
	}
	pthread_join(thread, NULL);
	cr_assert_eq(right, MESSAGES);
}

#define ADDERS    4
#define ADDITIONS 10000

static struct wf_a64 total;

static void *add(void *arg)
{
	(void)arg;
	for (int i = 0; i < ADDITIONS; i++) {
		wf_add_relaxed(&total, 3);
		wf_cpu_relax();
		wf_fence_compiler();
	}
	return NULL;
}

Test(atomic, no_addition_is_lost)
{
	pthread_t threads[ADDERS];

	wf_init(&total, 0);
	for (int i = 0; i < ADDERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, add, NULL), 0);
	for (int i = 0; i < ADDERS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(wf_load_relaxed(&total), 3u * ADDERS * ADDITIONS);
}
