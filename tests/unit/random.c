/*
 * Goal: the generator is xoshiro256** seeded by splitmix64, bit for bit, so that a seed means the
 * same everywhere; bounded numbers are in range and without bias; seeds differ.
 * Method: known answers from the published reference code; counting on a bound at which the
 * rejection-free method would be off by half.
 */
#include "base.h"
#include "test.h"

Test(random, the_sequence_is_that_of_the_reference)
{
	struct wf_random random = { .s = { 1, 2, 3, 4 } };
	static const uint64_t expected[] = {
		11520u,
		0u,
		1509978240u,
		1215971899390074240u,
		1216172134540287360u,
		607988272756665600u,
		16172922978634559625u,
		8476171486693032832u,
		10595114339597558777u,
		2904607092377533576u,
	};

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		cr_assert_eq(wf_random_next(&random), expected[i]);
}

Test(random, the_state_is_filled_by_splitmix64)
{
	struct wf_random random;

	wf_random_init(&random, 1234567);
	cr_assert_eq(random.s[0], 6457827717110365317u);
	cr_assert_eq(random.s[1], 3203168211198807973u);
	cr_assert_eq(random.s[2], 9817491932198370423u);
	cr_assert_eq(random.s[3], 4593380528125082431u);
}

Test(random, a_seed_repeats_and_seeds_differ)
{
	struct wf_random a, b, c;
	int same = 0;

	wf_random_init(&a, 0);
	wf_random_init(&b, 0);
	wf_random_init(&c, 1);
	for (int i = 0; i < 100; i++) {
		uint64_t x = wf_random_next(&a);

		cr_assert_eq(wf_random_next(&b), x);
		same += wf_random_next(&c) == x;
	}
	cr_assert_eq(same, 0);
}

Test(random, bounded_numbers_are_in_range_and_all_occur)
{
	struct wf_random random;

	wf_random_init(&random, 7);
	for (uint32_t n = 1; n <= 64; n++) {
		uint64_t seen = 0;

		for (int i = 0; i < 2000; i++) {
			uint32_t x = wf_random_below(&random, n);

			cr_assert_lt(x, n);
			seen |= 1ull << x;
		}
		cr_assert_eq(seen, n == 64 ? UINT64_MAX : (1ull << n) - 1);
	}
	for (int i = 0; i < 2000; i++)
		cr_assert_lt(wf_random_below(&random, UINT32_MAX), UINT32_MAX);
}

Test(random, bounded_numbers_have_no_bias)
{
	struct wf_random random;
	int multiples = 0;
	const int draws = 60000;

	/* Plain multiplication maps two inputs to each multiple of 3 here, and one to the rest. */
	wf_random_init(&random, 11);
	for (int i = 0; i < draws; i++)
		multiples += wf_random_below(&random, 3u << 30) % 3 == 0;
	cr_assert_gt(multiples, draws / 3 - draws / 50);
	cr_assert_lt(multiples, draws / 3 + draws / 50);
}

Test(random, a_bound_of_zero_dies, .signal = SIGABRT)
{
	struct wf_random random;

	wf_random_init(&random, 1);
	(void)wf_random_below(&random, 0);
}

Test(random, fresh_seeds_differ_and_are_not_zero)
{
	uint64_t a = wf_random_seed(), b = wf_random_seed();

	cr_assert_neq(a, 0);
	cr_assert_neq(b, 0);
	cr_assert_neq(a, b);
}

Test(random, a_seed_comes_also_without_the_kernel)
{
	uint64_t seed;

	wf_fault_arm(WF_FAULT_FILE, 1);
	seed = wf_random_seed();
	cr_assert(wf_fault_fired());
	wf_fault_arm(-1, 0);
	cr_assert_neq(seed, 0);
	cr_assert_neq(seed, wf_random_seed());
}
