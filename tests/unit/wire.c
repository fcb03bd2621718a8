/*
 * Goal: every message comes out as it went in; what no message may say is neither written nor read,
 * and no bytes make the reader look elsewhere.
 * Method: one good message of each kind; every cut and every bit of it changed; a hand-made offence
 * for each refusal; the function that the fuzzer runs (tests/fuzz/wire.c) over its corpus of good
 * messages, mutated by a seeded generator.
 */
#include "base.h"
#include "seed.h"
#include "test.h"

#include "../fuzz/wire.c"

static const uint64_t pins[] = { 1, UINT64_MAX, 77 };

static const struct wf_wire good[] = {
	{ .kind = WF_WIRE_HELLO, .serial = 1, .code = 1 },
	{ .kind = WF_WIRE_HELLO, .serial = 1, .code = -5 },
	{ .kind = WF_WIRE_GET, .serial = 2, .name = "name", .name_bytes = 4 },
	{ .kind = WF_WIRE_GET, .serial = 3, .id = 99, .flags = WF_WIRE_WAIT },
	{ .kind = WF_WIRE_RELEASE, .data = pins, .data_bytes = sizeof(pins) },
	{ .kind = WF_WIRE_CANCEL, .serial = UINT64_MAX },
	{ .kind = WF_WIRE_CREATE, .serial = 4 },
	{ .kind = WF_WIRE_CREATE,
	  .serial = 5,
	  .size = INT64_MAX,
	  .tag = 6,
	  .flags = WF_WIRE_WAIT,
	  .name = "n",
	  .name_bytes = 1,
	  .meta = "meta",
	  .meta_bytes = 5 },
	{ .kind = WF_WIRE_REMOVE, .serial = 6, .id = 7 },
	{ .kind = WF_WIRE_WELCOME,
	  .flags = WF_WIRE_CREATE_OK,
	  .serial = 1,
	  .node_count = 2,
	  .pid = 1234,
	  .requests_max = 16,
	  .pins_max = 65536,
	  .map_bytes = 1 << 25,
	  .node_bytes = 1 << 24,
	  .node_offset = { 0, 1 << 24 } },
	{ .kind = WF_WIRE_VALUE,
	  .serial = 7,
	  .id = 8,
	  .size = 9,
	  .offset = 640,
	  .pin = 11,
	  .tag = 12,
	  .meta = "m",
	  .meta_bytes = 1 },
	{ .kind = WF_WIRE_VALUE,
	  .serial = 7,
	  .id = 8,
	  .size = 3,
	  .offset = WF_WIRE_INLINE,
	  .data = "abc",
	  .data_bytes = 3 },
	{ .kind = WF_WIRE_CREATED, .serial = 9, .id = 10 },
	{ .kind = WF_WIRE_ANSWER, .serial = 11, .status = -2, .code = 5 },
	{ .kind = WF_WIRE_ANSWER, .status = -13, .name = "no", .name_bytes = 2 },
};
#define GOOD_COUNT (sizeof(good) / sizeof(good[0]))

static unsigned char bytes[WF_WIRE_BYTES_MAX + 64];

static bool equal_bytes(const void *a, const void *b, uint32_t count)
{
	return count == 0 || memcmp(a, b, count) == 0;
}

static void check_equal(const struct wf_wire *a, const struct wf_wire *b)
{
	cr_assert_eq(a->kind, b->kind);
	cr_assert_eq(a->flags, b->flags);
	cr_assert_eq(a->serial, b->serial);
	cr_assert_eq(a->id, b->id);
	cr_assert_eq(a->size, b->size);
	cr_assert_eq(a->offset, b->offset);
	cr_assert_eq(a->pin, b->pin);
	cr_assert_eq(a->tag, b->tag);
	cr_assert_eq(a->status, b->status);
	cr_assert_eq(a->code, b->code);
	cr_assert_eq(a->name_bytes, b->name_bytes);
	cr_assert_eq(a->meta_bytes, b->meta_bytes);
	cr_assert_eq(a->data_bytes, b->data_bytes);
	cr_assert(equal_bytes(a->name, b->name, a->name_bytes));
	cr_assert(equal_bytes(a->meta, b->meta, a->meta_bytes));
	cr_assert(equal_bytes(a->data, b->data, a->data_bytes));
	cr_assert_eq(a->node_count, b->node_count);
	cr_assert_eq(a->pid, b->pid);
	cr_assert_eq(a->requests_max, b->requests_max);
	cr_assert_eq(a->pins_max, b->pins_max);
	cr_assert_eq(a->map_bytes, b->map_bytes);
	cr_assert_eq(a->node_bytes, b->node_bytes);
	cr_assert_arr_eq(a->node_offset, b->node_offset, sizeof(a->node_offset));
}

Test(wire, messages_come_out_as_they_went_in)
{
	for (size_t i = 0; i < GOOD_COUNT; i++) {
		size_t size = wf_wire_write(&good[i], bytes, sizeof(bytes));
		struct wf_wire back;

		cr_assert_neq(size, 0, "message %zu", i);
		cr_assert(wf_wire_read(bytes, size, &back), "message %zu", i);
		check_equal(&good[i], &back);
		LLVMFuzzerTestOneInput(bytes, size);
	}
}

Test(wire, the_longest_of_each_fits)
{
	static char meta[WF_WIRE_META_MAX], text[WF_WIRE_TEXT_MAX], data[WF_WIRE_DATA_MAX];
	struct wf_wire create = { .kind = WF_WIRE_CREATE,
		                  .serial = 1,
		                  .name = text,
		                  .name_bytes = WF_WIRE_NAME_MAX,
		                  .meta = meta,
		                  .meta_bytes = sizeof(meta) };
	struct wf_wire value = { .kind = WF_WIRE_VALUE,
		                 .serial = 1,
		                 .id = 1,
		                 .offset = WF_WIRE_INLINE,
		                 .size = sizeof(data),
		                 .meta = meta,
		                 .meta_bytes = sizeof(meta),
		                 .data = data,
		                 .data_bytes = sizeof(data) };
	struct wf_wire answer = { .kind = WF_WIRE_ANSWER,
		                  .serial = 1,
		                  .status = -1,
		                  .name = text,
		                  .name_bytes = sizeof(text) };

	memset(text, 't', sizeof(text));
	cr_assert_neq(wf_wire_write(&create, bytes, WF_WIRE_BYTES_MAX), 0);
	cr_assert_neq(wf_wire_write(&value, bytes, WF_WIRE_BYTES_MAX), 0);
	cr_assert_neq(wf_wire_write(&answer, bytes, WF_WIRE_BYTES_MAX), 0);
	create.name_bytes++;
	value.meta_bytes++;
	answer.name_bytes++;
	cr_assert_eq(wf_wire_write(&create, bytes, WF_WIRE_BYTES_MAX), 0);
	cr_assert_eq(wf_wire_write(&value, bytes, WF_WIRE_BYTES_MAX), 0);
	cr_assert_eq(wf_wire_write(&answer, bytes, WF_WIRE_BYTES_MAX), 0);
}

Test(wire, what_no_message_may_say_is_not_written)
{
	static const struct wf_wire bad[] = {
		{ .kind = 0, .serial = 1 },
		{ .kind = 99, .serial = 1 },
		{ .kind = WF_WIRE_HELLO, .serial = 0, .code = 1 },
		{ .kind = WF_WIRE_HELLO, .serial = 1, .flags = 1 },
		{ .kind = WF_WIRE_GET, .serial = 1 },
		{ .kind = WF_WIRE_GET, .serial = 1, .id = 1, .name = "n", .name_bytes = 1 },
		{ .kind = WF_WIRE_GET, .serial = 0, .id = 1 },
		{ .kind = WF_WIRE_GET, .serial = 1, .id = 1, .flags = 2 },
		{ .kind = WF_WIRE_GET, .serial = 1, .name = "a\0b", .name_bytes = 3 },
		{ .kind = WF_WIRE_RELEASE },
		{ .kind = WF_WIRE_RELEASE, .data = pins, .data_bytes = 7 },
		{ .kind = WF_WIRE_RELEASE, .serial = 1, .data = pins, .data_bytes = 8 },
		{ .kind = WF_WIRE_CREATE, .serial = 1, .size = (uint64_t)INT64_MAX + 1 },
		{ .kind = WF_WIRE_CREATE, .serial = 1, .name = "\0", .name_bytes = 1 },
		{ .kind = WF_WIRE_REMOVE, .serial = 1 },
		{ .kind = WF_WIRE_CREATED, .serial = 0, .id = 1 },
		{ .kind = WF_WIRE_VALUE, .serial = 1, .offset = 0, .pin = 1 },
		{ .kind = WF_WIRE_VALUE, .serial = 1, .id = 1, .offset = 0, .pin = 0 },
		{ .kind = WF_WIRE_VALUE, .serial = 1, .id = 1, .offset = WF_WIRE_INLINE, .pin = 1 },
		{ .kind = WF_WIRE_VALUE,
		  .serial = 1,
		  .id = 1,
		  .offset = WF_WIRE_INLINE,
		  .size = 1 },
		{ .kind = WF_WIRE_VALUE, .serial = 1, .id = 1, .pin = 1, .size = UINT64_MAX },
		{ .kind = WF_WIRE_VALUE, .serial = 1, .id = 1, .pin = 1, .offset = 1ull << 63 },
		{ .kind = WF_WIRE_ANSWER, .serial = 1, .status = 1 },
		{ .kind = WF_WIRE_WELCOME, .serial = 1 },
	};
	struct wf_wire welcome;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_eq(wf_wire_write(&bad[i], bytes, sizeof(bytes)), 0, "message %zu", i);
	for (uint32_t i = 0; i < GOOD_COUNT; i++) {
		if (good[i].kind == WF_WIRE_WELCOME)
			welcome = good[i];
	}
#define REFUSED(field, value) \
	do { \
		struct wf_wire changed = welcome; \
		changed.field = (value); \
		cr_assert_eq(wf_wire_write(&changed, bytes, sizeof(bytes)), 0, #field); \
	} while (0)
	REFUSED(node_count, 0);
	REFUSED(node_count, 65);
	REFUSED(node_bytes, 0);
	REFUSED(node_bytes, 4097);
	REFUSED(node_bytes, 1 << 25);
	REFUSED(node_bytes, UINT64_MAX - 4095);
	REFUSED(node_offset[1], 4096);
	REFUSED(node_offset[1], (1 << 24) + 1);
	REFUSED(node_offset[1], 1 << 25);
	REFUSED(node_offset[1], UINT64_MAX - 4095);
	REFUSED(map_bytes, 1 << 24);
	REFUSED(map_bytes, UINT64_MAX);
	REFUSED(requests_max, 0);
	REFUSED(serial, 0);
#undef REFUSED
}

Test(wire, cut_and_longer_messages_are_none)
{
	for (size_t i = 0; i < GOOD_COUNT; i++) {
		size_t size = wf_wire_write(&good[i], bytes, sizeof(bytes));
		struct wf_wire back;

		for (size_t cut = 0; cut < size; cut++) {
			unsigned char *exact = malloc(cut + 1);

			memcpy(exact, bytes, cut);
			cr_assert_not(wf_wire_read(exact, cut, &back), "%zu cut to %zu", i, cut);
			free(exact);
		}
		bytes[size] = 0;
		cr_assert_not(wf_wire_read(bytes, size + 1, &back));
		for (size_t room = 0; room < size; room++)
			cr_assert_eq(wf_wire_write(&good[i], bytes, room), 0);
	}
}

static void mutate(struct wf_random *random, unsigned char *at, size_t size)
{
	for (uint32_t changes = 1 + wf_random_below(random, 4); changes > 0; changes--) {
		size_t place = wf_random_below(random, (uint32_t)size);

		if (wf_random_below(random, 2) == 0)
			at[place] ^= (unsigned char)(1u << wf_random_below(random, 8));
		else
			at[place] = wf_random_below(random, 2) == 0
				? (unsigned char)wf_random_next(random)
				: 0xff;
	}
}

Test(wire, mutated_ones_do_no_harm)
{
	int rounds = test_is_long() ? 20000000 : WF_TSAN || WF_ASAN ? 20000 : 300000;
	struct wf_random random;

	wf_random_init(&random, test_seed());
	for (int round = 0; round < rounds; round++) {
		const struct wf_wire *wire = &good[wf_random_below(&random, GOOD_COUNT)];
		size_t size = wf_wire_write(wire, bytes, sizeof(bytes));
		uint32_t length;
		unsigned char *exact;

		mutate(&random, bytes, size);
		if (wf_random_below(&random, 4) == 0)
			size = wf_random_below(&random, (uint32_t)size + 1);
		/* The length is what the receiver knows best: most have it right. */
		length = (uint32_t)size;
		if (size >= sizeof(length) && wf_random_below(&random, 8) != 0)
			memcpy(bytes, &length, sizeof(length));
		exact = malloc(size + 1);
		memcpy(exact, bytes, size);
		cr_assert_eq(LLVMFuzzerTestOneInput(exact, size), 0);
		free(exact);
	}
}
