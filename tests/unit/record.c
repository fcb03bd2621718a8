/*
 * Goal: a header comes back as it was written, and arbitrary bytes are never taken for one, nor
 * read beyond their end.
 * Method: the function that the fuzzer runs (tests/fuzz/record.c), here with headers mutated by a
 * seeded generator; where things lie, for all sizes around the borders.
 */
#include "record.h"
#include "seed.h"
#include "sum.h"
#include "test.h"

#include "../fuzz/record.c"

Test(record, a_header_comes_back)
{
	struct wf_record record = { 1, 2, WF_RECORD_SIZE_MAX, 4, 5 }, found, none = { 0 };
	char bytes[64];

	wf_record_write(bytes, &record);
	cr_assert_null(wf_record_parse(bytes, sizeof(bytes), &found));
	cr_assert_eq(memcmp(&record, &found, offsetof(struct wf_record, generation)), 0);
	cr_assert_eq(found.generation, 5);
	cr_assert_null(wf_record_differs(&found, &record));
	found = none;
	cr_assert_not_null(wf_record_parse(bytes, sizeof(bytes) - 1, &found));
	cr_assert_eq(found.id, 0, "nothing is written on failure");
}

Test(record, each_part_of_the_identity_counts)
{
	struct wf_record a = { 1, 2, 3, 4, 5 }, b = a;

	b.session++;
	cr_assert_not_null(wf_record_differs(&b, &a));
	b = a;
	b.id++;
	cr_assert_not_null(wf_record_differs(&b, &a));
	b = a;
	b.size++;
	cr_assert_not_null(wf_record_differs(&b, &a));
	b = a;
	b.generation++;
	cr_assert_not_null(wf_record_differs(&b, &a));
	b = a;
	b.sum++;
	cr_assert_null(wf_record_differs(&b, &a));
}

static void mutate(struct wf_random *random, unsigned char *bytes, size_t size)
{
	uint32_t changes = 1 + wf_random_below(random, 4);

	while (changes-- > 0) {
		size_t at = wf_random_below(random, (uint32_t)size);

		switch (wf_random_below(random, 3)) {
		case 0:
			bytes[at] ^= (unsigned char)(1u << wf_random_below(random, 8));
			break;
		case 1:
			bytes[at] = (unsigned char)wf_random_next(random);
			break;
		default:
			memset(bytes + at, wf_random_below(random, 2) != 0 ? 0xff : 0, size - at);
			break;
		}
	}
}

Test(record, arbitrary_bytes_do_no_harm)
{
	struct wf_record record = { 11, 22, 3333, 44, 55 };
	struct wf_random random;
	int rounds = test_is_long() ? 20000000 : 300000;

	wf_random_init(&random, test_seed());
	for (int i = 0; i < rounds; i++) {
		size_t size = wf_random_below(&random, 80);
		unsigned char bytes[64] = { 0 }, *exact = malloc(size != 0 ? size : 1);

		wf_record_write(bytes, &record);
		mutate(&random, bytes, sizeof(bytes));
		memcpy(exact, bytes, size < 64 ? size : 64);
		if (size > 64)
			memset(exact + 64, 0, size - 64);
		cr_assert_eq(LLVMFuzzerTestOneInput(exact, size), 0);
		free(exact);
	}
}

Test(record, header_and_bytes_lie_apart_and_inside)
{
	static const uint64_t borders[] = {
		0, 64, 4032, 4096, WF_RECORD_PACKED_MAX, SIZE_MAX >> 30, WF_RECORD_SIZE_MAX - 100
	};

	for (size_t b = 0; b < sizeof(borders) / sizeof(borders[0]); b++) {
		for (uint64_t size = borders[b] > 70 ? borders[b] - 70 : 0; size < borders[b] + 70;
		     size++) {
			uint64_t header = wf_record_header_at(size),
				 bytes = wf_record_payload_at(size);

			cr_assert(header + 64 <= bytes || bytes + size <= header);
			cr_assert_leq(header + 64, wf_record_bytes(size));
			cr_assert_leq(bytes + size, wf_record_bytes(size));
			cr_assert_leq(wf_record_bytes(size), size + 64 + 4095);
			cr_assert_eq(wf_record_pages(0, size),
			             (wf_record_bytes(size) + 4095) / 4096);
			cr_assert(wf_record_is_packed(size) || wf_record_bytes(size) % 4096 == 0);
		}
	}
}

Test(record, sums_piece_by_piece_are_the_sums_of_the_whole)
{
	static unsigned char bytes[100000];
	struct wf_sum_state state;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 7 + i / 251);
	for (size_t size = 0; size < sizeof(bytes); size = size * 2 + 1) {
		for (size_t piece = 1; piece < size; piece = piece * 3 + 64) {
			wf_sum_begin(&state);
			for (size_t at = 0; at < size; at += piece)
				wf_sum_add(&state, bytes + at,
				           size - at < piece ? size - at : piece);
			cr_assert_eq(wf_sum_end(&state), wf_sum(bytes, size));
		}
	}
	/* The empty sum of XXH3-64, as its authors give it. */
	cr_assert_eq(wf_sum(NULL, 0), 0x2d06800538d394c2u);
}
