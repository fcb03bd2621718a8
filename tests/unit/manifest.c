/*
 * Goal: what is written into a manifest comes out of it; whatever else it is given, the parser
 * refuses it or keeps its promises.
 * Method: round trips; a hand-made error for each refusal; the fuzz target driven by a seeded
 * mutator from a good manifest, the plain beginning of a fuzzer's corpus.
 */
#include <errno.h>

#include "base.h"
#include "seed.h"
#include "test.h"

#include "../fuzz/manifest.c"

static struct wf_manifest_builder builder;

static const struct wf_dataset_pair pairs[] = {
	{ "schema", "a:int64", 7 },
	{ "empty", NULL, 0 },
	{ "zero bytes", "\0\0", 2 },
};

static const struct wf_dataset_spec spec = {
	.dir = ".",
	.name = "na/me",
	.epoch = 7,
	.attempt = 3,
	.pairs = pairs,
	.pair_count = 3,
	.fingerprint = 0x1234567890abcdef,
};

static void build(void)
{
	const struct wf_dataset_part parts[] = {
		{ .size = 100, .tag = 5, .meta = "m\0n", .meta_bytes = 3 },
		{ .size = 0, .tag = 6 },
		{ .size = 5000, .tag = 7 },
	};
	static const uint64_t offsets[] = { 0, 128, 128 };

	builder = (struct wf_manifest_builder){ 0 };
	cr_assert_eq(wf_manifest_begin(&builder, &spec), 0);
	for (uint32_t i = 0; i < 3; i++)
		cr_assert_eq(wf_manifest_add(&builder, &parts[i], offsets[i], i + 1000), 0);
	wf_manifest_finish(&builder);
}

static void unbuild(void)
{
	wf_manifest_builder_fini(&builder);
}

static int parse(struct wf_manifest *m, const char *bytes, size_t size, uint64_t data_bytes)
{
	const char *reason = NULL;
	char *copy = wf_malloc(size);
	int status;

	cr_assert_not_null(copy);
	memcpy(copy, bytes, size);
	status = wf_manifest_parse(m, copy, size, data_bytes, &reason);
	cr_assert(status == 0 || (status == -EBADMSG && reason != NULL));
	if (status != 0)
		wf_free(copy);
	return status;
}

Test(manifest, what_was_written_is_read, .init = build, .fini = unbuild)
{
	struct wf_manifest m;

	cr_assert_eq(parse(&m, builder.bytes, builder.size, 8192), 0);
	cr_assert_str_eq(m.info.name, "na/me");
	cr_assert(m.info.epoch == 7 && m.info.attempt == 3);
	cr_assert_eq(m.info.fingerprint, 0x1234567890abcdef);
	cr_assert(m.info.part_count == 3 && m.info.pair_count == 3);
	cr_assert_eq(m.info.payload_bytes, 5100);
	cr_assert_str_eq(m.pairs[0].key, "schema");
	cr_assert(m.pairs[0].value_bytes == 7 && memcmp(m.pairs[0].value, "a:int64", 7) == 0);
	cr_assert_eq(m.pairs[1].value_bytes, 0);
	cr_assert(m.pairs[2].value_bytes == 2 && memcmp(m.pairs[2].value, "\0\0", 2) == 0);
	cr_assert(m.parts[0].offset == 0 && m.parts[0].size == 100 && m.parts[0].sum == 1000);
	cr_assert(m.parts[0].tag == 5 && m.parts[0].meta_bytes == 3);
	cr_assert_eq(memcmp(m.parts[0].meta, "m\0n", 3), 0);
	cr_assert(m.parts[1].size == 0 && m.parts[2].offset == 128 && m.parts[2].tag == 7);
	wf_manifest_fini(&m);
}

Test(manifest, every_shorter_and_every_longer_one_is_refused, .init = build, .fini = unbuild)
{
	char longer[4096] = "";
	struct wf_manifest m;

	for (size_t size = 0; size < builder.size; size++)
		cr_assert_eq(parse(&m, builder.bytes, size, 8192), -EBADMSG);
	memcpy(longer, builder.bytes, builder.size);
	cr_assert_eq(parse(&m, longer, builder.size + 1, 8192), -EBADMSG);
}

Test(manifest, parts_lie_in_the_data, .init = build, .fini = unbuild)
{
	struct wf_manifest m;

	cr_assert_eq(parse(&m, builder.bytes, builder.size, 5128), 0);
	wf_manifest_fini(&m);
	cr_assert_eq(parse(&m, builder.bytes, builder.size, 5127), -EBADMSG);
	cr_assert_eq(parse(&m, builder.bytes, builder.size, 0), -EBADMSG);
}

/* Where the parts of build() begin: after the head, the name and the pairs. */
#define PARTS_AT (40 + 6 + (8 + 7 + 8) + (8 + 6 + 1) + (8 + 11 + 3))

static int parse_changed(size_t at, uint64_t value, size_t bytes)
{
	struct wf_manifest m;
	char changed[4096];
	int status;

	memcpy(changed, builder.bytes, builder.size);
	memcpy(changed + at, &value, bytes);
	status = parse(&m, changed, builder.size, 1 << 20);
	if (status == 0)
		wf_manifest_fini(&m);
	return status;
}

Test(manifest, impossible_numbers_are_refused, .init = build, .fini = unbuild)
{
	cr_assert_eq(parse_changed(0, 99, 8), 0, "any epoch will do");
	cr_assert_eq(parse_changed(16, 5101, 8), -EBADMSG, "the sum of the sizes");
	cr_assert_eq(parse_changed(28, 2, 4), -EBADMSG, "fewer parts");
	cr_assert_eq(parse_changed(28, UINT32_MAX, 4), -EBADMSG, "more parts than fit");
	cr_assert_eq(parse_changed(32, UINT32_MAX, 4), -EBADMSG, "more pairs than fit");
	cr_assert_eq(parse_changed(36, 0, 4), -EBADMSG, "no name");
	cr_assert_eq(parse_changed(36, UINT32_MAX, 4), -EBADMSG, "a long name");
	cr_assert_eq(parse_changed(42, 0, 1), -EBADMSG, "a name with an end inside");
	cr_assert_eq(parse_changed(46, 0, 4), -EBADMSG, "an empty key");
	cr_assert_eq(parse_changed(46, WF_DATASET_KEY_MAX + 1, 4), -EBADMSG, "a long key");
	cr_assert_eq(parse_changed(50, WF_DATASET_VALUE_MAX + 1, 4), -EBADMSG, "a long value");
	cr_assert_eq(parse_changed(PARTS_AT + 67, 192, 8), 0, "the last may begin later");
	cr_assert_eq(parse_changed(PARTS_AT, 1, 8), -EBADMSG, "not aligned");
	cr_assert_eq(parse_changed(PARTS_AT, 192, 8), -EBADMSG, "over the next");
	cr_assert_eq(parse_changed(PARTS_AT + 8, UINT64_MAX, 8), -EBADMSG, "wraps");
	cr_assert_eq(parse_changed(PARTS_AT + 28, UINT32_MAX, 4), -EBADMSG, "long meta data");
}

Test(manifest, what_cannot_be_read_back_is_not_written)
{
	struct wf_manifest_builder b = { 0 };
	char key[WF_DATASET_KEY_MAX + 2];
	struct wf_dataset_pair pair = { .key = key, .value = "x", .value_bytes = 1 };
	struct wf_dataset_spec s = { .name = "n", .pairs = &pair, .pair_count = 1 };
	struct wf_dataset_part part = { .meta = key, .meta_bytes = WF_DATASET_META_MAX + 1 };

	memset(key, 'k', sizeof(key));
	key[sizeof(key) - 1] = '\0';
	cr_assert_eq(wf_manifest_begin(&b, &s), -EINVAL, "a long key");
	wf_manifest_builder_fini(&b);
	key[0] = '\0';
	cr_assert_eq(wf_manifest_begin(&b, &s), -EINVAL, "an empty key");
	wf_manifest_builder_fini(&b);
	pair = (struct wf_dataset_pair){ .key = "k", .value = NULL, .value_bytes = 1 };
	cr_assert_eq(wf_manifest_begin(&b, &s), -EINVAL, "no value");
	wf_manifest_builder_fini(&b);
	pair = (struct wf_dataset_pair){ "k", "v", WF_DATASET_VALUE_MAX + 1 };
	cr_assert_eq(wf_manifest_begin(&b, &s), -EINVAL, "a long value");
	wf_manifest_builder_fini(&b);
	s.pair_count = 0;
	s.name = "";
	cr_assert_eq(wf_manifest_begin(&b, &s), -EINVAL, "no name");
	s.name = "n";
	cr_assert_eq(wf_manifest_begin(&b, &s), 0);
	cr_assert_eq(wf_manifest_add(&b, &part, 0, 0), -EINVAL, "long meta data");
	part.meta = NULL;
	part.meta_bytes = 1;
	cr_assert_eq(wf_manifest_add(&b, &part, 0, 0), -EINVAL, "no meta data");
	b.part_count = WF_DATASET_PARTS_MAX;
	part.meta_bytes = 0;
	cr_assert_eq(wf_manifest_add(&b, &part, 0, 0), -E2BIG, "too many parts");
	wf_manifest_builder_fini(&b);
}

Test(manifest, a_trailer_is_believed_only_as_a_whole, .init = build, .fini = unbuild)
{
	struct wf_trailer t, changed;

	wf_trailer_make(&t, builder.bytes, builder.size, 8192, 3 * 4096);
	cr_assert_null(wf_trailer_check(&t, 3 * 4096));
	cr_assert_not_null(wf_trailer_check(&t, 2 * 4096));
	cr_assert_not_null(wf_trailer_check(&t, sizeof(t)));
	for (size_t i = 0; i < 8 * sizeof(t); i++) {
		changed = t;
		((unsigned char *)&changed)[i / 8] ^= (unsigned char)(1 << i % 8);
		cr_assert_not_null(wf_trailer_check(&changed, 3 * 4096), "bit %zu", i);
	}
}

Test(manifest, mutated_ones_do_no_harm, .init = build, .fini = unbuild)
{
	static uint8_t input[8192];
	struct wf_random random;
	uint64_t data_bytes = 8192;
	int rounds = test_is_long() ? 20000000 : WF_TSAN || WF_ASAN ? 20000 : 200000;

	wf_random_init(&random, test_seed());
	for (int round = 0; round < rounds; round++) {
		size_t size = 8 + builder.size;

		memcpy(input, &data_bytes, 8);
		memcpy(input + 8, builder.bytes, builder.size);
		for (uint32_t n = wf_random_below(&random, 6); n > 0; n--) {
			uint32_t at = wf_random_below(&random, (uint32_t)size);
			uint32_t bytes = 1u << wf_random_below(&random, 4);
			uint64_t value = wf_random_next(&random) >> wf_random_below(&random, 64);

			/* Bits, small and large numbers, cuts, and growth. */
			if (wf_random_below(&random, 8) == 0)
				size = at + 8 < sizeof(input) - 64 ? at + 8 : size;
			else if (wf_random_below(&random, 8) == 0)
				size += wf_random_below(&random, 64);
			else if (wf_random_below(&random, 2) == 0)
				input[at] ^= (uint8_t)(1u << wf_random_below(&random, 8));
			else
				memcpy(input + at, &value, bytes);
			if (size > sizeof(input) - 64)
				size = sizeof(input) - 64;
		}
		LLVMFuzzerTestOneInput(input, size);
	}
}
