/*
 * pipeline.c: a three-stage pipeline over refs: read blocks, transform each, fold the results.
 *
 *	pipeline [BLOCKS]      default 64
 *
 * Stage one writes each block straight into its output (no copy), stage two sees it in place and
 * writes its own, stage three takes all of stage two as inputs. The program keeps at most WINDOW
 * blocks in flight by waiting for one of them before it submits the next. One block is bad on
 * purpose: its transform fails, the fold ignores it, and the failure is read from the ref.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft.h>

#define BLOCK_WORDS 16384
#define WINDOW      8
#define BLOCKS_MAX  10000

struct sum {
	uint64_t words, total;
};

static void check(const char *what, int64_t status)
{
	if (status < 0) {
		fprintf(stderr, "pipeline: %s: %s\n", what, weft_strerror((int)status));
		exit(1);
	}
}

static uint64_t word_at(uint64_t block, uint64_t i)
{
	return (block * BLOCK_WORDS + i) * 0x9e3779b97f4a7c15u >> 17;
}

static bool is_bad(uint64_t block)
{
	return block % 61 == 13;
}

static int read_block(weft_task *self)
{
	const uint64_t block = *(const uint64_t *)weft_task_arg(self, NULL);
	void *room;
	const int status = weft_task_output(self, 0, BLOCK_WORDS * sizeof(uint64_t), &room);

	if (status < 0)
		return weft_fail(self, status, "no room for block %llu", (unsigned long long)block);
	uint64_t *words = room;
	for (uint64_t i = 0; i < BLOCK_WORDS; i++)
		words[i] = word_at(block, i);
	return 0;
}

static int sum_block(weft_task *self)
{
	const uint64_t block = *(const uint64_t *)weft_task_arg(self, NULL);
	struct sum sum = { 0, 0 };
	struct weft_view view;
	const int status = weft_input(self, 0, &view);

	if (status < 0 || view.size != BLOCK_WORDS * sizeof(uint64_t))
		return weft_fail(self, -EPROTO, "block %llu is short", (unsigned long long)block);
	if (is_bad(block))
		return weft_fail(self, -EILSEQ, "block %llu is bad", (unsigned long long)block);
	const uint64_t *words = view.data;
	for (uint64_t i = 0; i < BLOCK_WORDS; i++)
		sum.total += words[i];
	sum.words = BLOCK_WORDS;
	return weft_return(self, &sum, sizeof sum);
}

static int fold(weft_task *self)
{
	struct sum all = { 0, 0 };

	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		struct weft_view view;

		/* A failed input is an empty view: this task ignores errors. */
		if (weft_input(self, i, &view) == 0 && view.size == sizeof all) {
			const struct sum *part = view.data;

			all.words += part->words;
			all.total += part->total;
		}
	}
	return weft_return(self, &all, sizeof all);
}

/* Wait until one of the blocks in flight is done and forget it. */
static uint32_t wait_for_one(weft *rt, weft_ref *flying, uint32_t n)
{
	bool ready[WINDOW];
	uint32_t kept = 0;

	check("wait", weft_wait(rt, flying, n, 1, WEFT_FOREVER, ready));
	for (uint32_t i = 0; i < n; i++)
		if (!ready[i])
			flying[kept++] = flying[i];
	return kept;
}

static void submit_blocks(weft *rt, uint64_t blocks, weft_ref *sums)
{
	weft_ref flying[WINDOW];
	uint32_t n = 0;

	for (uint64_t block = 0; block < blocks; block++) {
		weft_ref words;

		if (n == WINDOW)
			n = wait_for_one(rt, flying, n);
		check("read", weft_submit(rt, WEFT_TASK(read_block, WEFT_ARG(block)), &words));
		check("sum",
		      weft_submit(rt, WEFT_TASK(sum_block, WEFT_ARG(block), WEFT_INPUTS(words)),
		                  &sums[block]));
		/* The sum keeps the block alive; with it, the block's memory goes. */
		check("release", weft_release(rt, words));
		flying[n++] = sums[block];
	}
}

static uint64_t report_failures(weft *rt, uint64_t blocks, const weft_ref *sums)
{
	uint64_t failures = 0;

	for (uint64_t block = 0; block < blocks; block++) {
		const struct weft_error *error;

		if (weft_ref_error(rt, sums[block], &error) == 0) {
			printf("%s failed: %s\n", error->task, error->text);
			failures += error->code == -EILSEQ && is_bad(block);
		}
	}
	return failures;
}

int main(int argc, char **argv)
{
	const uint64_t blocks = argc > 1 ? strtoull(argv[1], NULL, 10) : 64;
	struct sum all = { 0, 0 }, expected = { 0, 0 };
	uint64_t bad = 0;
	weft_ref ref;
	weft *rt;

	if (blocks < 1 || blocks > BLOCKS_MAX) {
		fprintf(stderr, "usage: pipeline [1..%d]\n", BLOCKS_MAX);
		return 2;
	}
	weft_ref *sums = calloc(blocks, sizeof *sums);
	if (!sums)
		check("memory", -ENOMEM);
	check("open", weft_open(&rt, NULL));
	submit_blocks(rt, blocks, sums);
	check("fold",
	      weft_submit(rt,
	                  WEFT_TASK(fold, .inputs = sums, .n_inputs = (uint16_t)blocks,
	                            .opts = WEFT_TASK_OPTIONS(.on_input_error = WEFT_INPUT_IGNORE)),
	                  &ref));
	check("result", weft_take(rt, ref, &all, sizeof all));
	const uint64_t failures = report_failures(rt, blocks, sums);
	check("release", weft_release_many(rt, sums, (uint32_t)blocks));
	check("close", weft_close(rt, WEFT_FOREVER));
	free(sums);
	for (uint64_t block = 0; block < blocks; block++) {
		bad += is_bad(block);
		for (uint64_t i = 0; i < BLOCK_WORDS && !is_bad(block); i++) {
			expected.words++;
			expected.total += word_at(block, i);
		}
	}
	printf("%llu words, total %llu\n", (unsigned long long)all.words,
	       (unsigned long long)all.total);
	const bool good =
		all.words == expected.words && all.total == expected.total && failures == bad;
	return good ? 0 : 1;
}
