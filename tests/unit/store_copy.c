/*
 * Goal: every copy kernel copies exactly the bytes it should, for any alignment and size, and
 * wf_copy_into() names the one it uses.
 * Method: each kernel over all alignments of both sides and sizes around its steps and thresholds,
 * into a field of marks of which none outside may change.
 */
#include "copy.h"
#include "mem.h"
#include "test.h"

#define SIDE  256u
#define LARGE ((size_t)5 << 20)

static char *make_source(size_t size)
{
	char *source = malloc(size);

	cr_assert_not_null(source);
	for (size_t i = 0; i < size; i++)
		source[i] = (char)(i * 31 + i / 256);
	return source;
}

static void check(void (*copy)(void *, const void *, size_t), char *field, const char *source,
                  size_t to, size_t from, size_t size)
{
	memset(field, 0x11, to + size + SIDE);
	copy(field + to, source + from, size);
	cr_assert_eq(memcmp(field + to, source + from, size), 0, "%zu %zu %zu", to, from, size);
	for (size_t i = 0; i < to; i++)
		cr_assert_eq(field[i], 0x11);
	for (size_t i = to + size; i < to + size + SIDE; i++)
		cr_assert_eq(field[i], 0x11);
}

static void check_all(void (*copy)(void *, const void *, size_t))
{
	static const size_t sizes[] = { 0,   1,   31,  63,   64,   65,   127,
		                        128, 129, 255, 4095, 4096, 4097, 70001 };
	char *source = make_source(100000), *field = malloc(100000);

	cr_assert_not_null(field);
	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		for (size_t to = 0; to<70; to += sizes[k]> 5000 ? 13 : 1) {
			for (size_t from = 0; from < 70; from += 9)
				check(copy, field, source, to, from, sizes[k]);
		}
	}
	free(source);
	free(field);
}

Test(store_copy, rep_movsb_copies_exactly)
{
	check_all(wf_copy_movsb);
}

Test(store_copy, non_temporal_sse2_copies_exactly)
{
	check_all(wf_copy_stream_sse2);
}

Test(store_copy, non_temporal_avx2_copies_exactly)
{
	check_all(wf_copy_stream_avx2);
}

Test(store_copy, non_temporal_avx512_copies_exactly)
{
	check_all(wf_copy_stream_avx512);
}

Test(store_copy, the_chosen_one_copies_exactly)
{
	static const size_t sizes[] = {
		100,      (128u << 10) - 1, 128u << 10, (128u << 10) + 1, (4u << 20) - 1,
		4u << 20, (4u << 20) + 77
	};
	char *source = make_source(LARGE), *field = malloc(LARGE);

	cr_assert_not_null(field);
	check_all(wf_copy_into);
	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		check(wf_copy_into, field, source, 0, 0, sizes[k]);
		check(wf_copy_into, field, source, 64, 1, sizes[k]);
		check(wf_copy_into, field, source, 33, 64, sizes[k]);
	}
	free(source);
	free(field);
}

Test(store_copy, each_size_has_a_named_kernel)
{
	cr_assert_str_eq(wf_copy_kernel(0), "memcpy");
	cr_assert_str_eq(wf_copy_kernel(1000), "memcpy");
	for (size_t size = 1; size < (size_t)1 << 40; size *= 4) {
		const char *name = wf_copy_kernel(size);

		cr_assert(strcmp(name, "memcpy") == 0 || strcmp(name, "rep movsb") == 0 ||
		          strcmp(name, "non-temporal") == 0);
	}
}
