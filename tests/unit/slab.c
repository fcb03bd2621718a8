/*
 * slab.c: cells and blocks, without a runtime around them.
 *
 * Goal: nothing is handed out twice, everything comes home, a stale handle is known as stale, and
 * what has run out comes back when something is freed. Method: an arena and a few identities made
 * by hand; one thread plays all owners in turn, which is all that the slab can tell.
 */
#include "test.h"

#include <errno.h>
#include <string.h>

#include "runtime.h"
#include "seed.h"

#define LOCALS 10 /* ids 1 and 9 share an outbox slot */
#define SALT   (UINT32_C(5) << WF_SALT_SHIFT)
#define MOST   4096

static weft *rt;
static struct wf_local *at[LOCALS];

static void begin_with(uint32_t cells)
{
	rt = wf_aligned_alloc(64, sizeof(*rt));
	cr_assert_not_null(rt);
	memset(rt, 0, sizeof(*rt));
	cr_assert_eq(wf_arena_init(&rt->arena, cells), 0);
	rt->cells = rt->arena.cells;
	rt->cells_last = rt->arena.cells_max - 1;
	rt->salt = SALT;
	rt->locals = at;
	for (uint32_t i = 0; i < LOCALS; i++) {
		at[i] = wf_aligned_alloc(128, (sizeof(**at) + 127) & ~(size_t)127);
		cr_assert_not_null(at[i]);
		memset(at[i], 0, sizeof(**at));
		at[i]->rt = rt;
		at[i]->id = (uint16_t)i;
	}
}

static void begin(void)
{
	begin_with(1u << 16);
}

static void end(void)
{
	wf_fault_arm(-1, 0);
	wf_arena_fini(&rt->arena);
	for (uint32_t i = 0; i < LOCALS; i++)
		wf_free(at[i]);
	wf_free(rt);
}

static uint32_t gen_of(const struct wf_cell *cell)
{
	return wf_load_relaxed(&cell->gen);
}

static uint32_t count_inbox(const struct wf_local *self)
{
	uint32_t n = 0;

	for (uint32_t kind = WF_SLAB_CELL; kind <= WF_SLAB_BLOCK; kind++) {
		const struct wf_free *item =
			(const struct wf_free *)wf_load_relaxed(&self->slab.inbox[kind]);

		for (; item; item = item->next)
			n++;
	}
	return n;
}

/* Bring a cell to its last use before it must rest. */
static void tire(struct wf_cell *cell)
{
	wf_store_relaxed(&cell->gen, SALT | WF_REST_MASK);
}

/* ---- Cells ---------------------------------------- */

Test(slab, cells_are_distinct_aligned_and_never_index_0, .init = begin, .fini = end)
{
	static struct wf_cell *cells[MOST];
	static bool seen[1u << 16];

	memset(seen, 0, sizeof(seen));
	for (uint32_t i = 0; i < MOST; i++) {
		struct wf_cell *cell = cells[i] = wf_cell_alloc(at[i % 3]);
		uint32_t index = (uint32_t)(cell - rt->cells);

		cr_assert_not_null(cell);
		cr_assert_gt(index, 0);
		cr_assert_leq(index, rt->cells_last);
		cr_assert_not(seen[index]);
		seen[index] = true;
		cr_assert_eq((uintptr_t)cell % 64, 0);
		cr_assert_eq(cell->owner, i % 3);
		cr_assert_eq(gen_of(cell), SALT | 1);
		cr_assert_lt(index, wf_load_relaxed(&rt->arena.cells_end));
		cr_assert_eq(wf_cell_of(rt, wf_ref_of(rt, cell)), cell);
	}
	cr_assert_null(wf_cell_of(rt, (weft_ref){ 0 }));
	cr_assert_null(wf_cell_of(rt, (weft_ref){ UINT64_MAX }));
}

Test(slab, the_owner_gets_back_what_it_freed_last_with_a_new_generation, .init = begin, .fini = end)
{
	struct wf_cell *first = wf_cell_alloc(at[0]), *second = wf_cell_alloc(at[0]);
	weft_ref old = wf_ref_of(rt, second);
	uint32_t gen = gen_of(second);

	wf_cell_free(at[0], first);
	wf_cell_free(at[0], second);
	cr_assert_eq(gen_of(second), gen + 1);
	cr_assert_eq(wf_load_relaxed(&second->promise.state), WF_STATE_FREE);
	cr_assert_null(wf_cell_of(rt, old));
	cr_assert_eq(wf_cell_alloc(at[0]), second);
	cr_assert_null(wf_cell_of(rt, old));
	cr_assert_eq(wf_cell_of(rt, wf_ref_of(rt, second)), second);
	cr_assert_eq(wf_cell_alloc(at[0]), first);
}

Test(slab, cells_freed_by_others_go_home_in_batches, .init = begin, .fini = end)
{
	struct wf_cell *cells[WF_OUTBOX_BATCH + 1];
	uint32_t n = WF_OUTBOX_BATCH + 1;

	for (uint32_t i = 0; i < n; i++)
		cells[i] = wf_cell_alloc(at[1]);
	for (uint32_t i = 0; i < n; i++) {
		wf_cell_free(at[0], cells[i]);
		cr_assert_eq(gen_of(cells[i]), SALT | 2);
		cr_assert_eq(count_inbox(at[1]), i + 1 < WF_OUTBOX_BATCH ? 0 : WF_OUTBOX_BATCH);
	}
	cr_assert_null(at[0]->slab.cells_free);
	wf_slab_flush(at[0]);
	cr_assert_eq(count_inbox(at[1]), n);
	wf_slab_flush(at[0]);
	cr_assert_eq(count_inbox(at[1]), n);
	/* Home: exactly those are handed out before anything new is carved. */
	for (uint32_t i = 0; i < n; i++) {
		struct wf_cell *cell = wf_cell_alloc(at[1]);
		uint32_t k = 0;

		while (k < n && cells[k] != cell)
			k++;
		cr_assert_lt(k, n);
		cells[k] = NULL;
	}
	cr_assert_eq(gen_of(wf_cell_alloc(at[1])), SALT | 1);
}

Test(slab, two_owners_of_one_outbox_slot_send_each_other_away, .init = begin, .fini = end)
{
	struct wf_cell *near = wf_cell_alloc(at[1]), *far = wf_cell_alloc(at[9]);

	wf_cell_free(at[0], near);
	cr_assert_eq(count_inbox(at[1]), 0);
	wf_cell_free(at[0], far);
	cr_assert_eq(count_inbox(at[1]), 1);
	cr_assert_eq(count_inbox(at[9]), 0);
	wf_slab_flush(at[0]);
	cr_assert_eq(count_inbox(at[9]), 1);
	/* Fresh cells first: an owner looks into its inbox when its list is empty. */
	cr_assert_eq(wf_cell_alloc(at[9]), far);
	cr_assert_eq(wf_cell_alloc(at[1]), near);
}

Test(slab, a_worn_cell_rests_first_in_first_out, .init = begin, .fini = end)
{
	static struct wf_cell *cells[1026];

	for (uint32_t i = 0; i < 1026; i++) {
		cells[i] = wf_cell_alloc(at[0]);
		tire(cells[i]);
	}
	for (uint32_t i = 0; i < 1024; i++) {
		wf_cell_free(at[0], cells[i]);
		cr_assert_eq(gen_of(cells[i]), SALT | (WF_REST_MASK + 1));
		cr_assert_null(at[0]->slab.cells_free);
	}
	cr_assert_eq(at[0]->slab.rest_count, 1024);
	wf_cell_free(at[0], cells[1024]);
	cr_assert_eq(at[0]->slab.cells_free, cells[0]);
	wf_cell_free(at[0], cells[1025]);
	cr_assert_eq(wf_cell_alloc(at[0]), cells[1]);
	cr_assert_eq(wf_cell_alloc(at[0]), cells[0]);
	cr_assert_eq(at[0]->slab.rest_count, 1024);
}

Test(slab, a_generation_that_wraps_keeps_the_runtimes_bits, .init = begin, .fini = end)
{
	struct wf_cell *cell = wf_cell_alloc(at[0]);

	wf_store_relaxed(&cell->gen, SALT | WF_GEN_MASK);
	wf_cell_free(at[0], cell);
	cr_assert_eq(gen_of(cell), SALT);
	cr_assert_eq(at[0]->slab.rest_head, cell);
	cell = wf_cell_alloc(at[1]);
	wf_store_relaxed(&cell->gen, SALT | WF_GEN_MASK);
	wf_cell_free(at[0], cell);
	cr_assert_eq(gen_of(cell), SALT);
}

Test(slab, exhaustion_is_null_and_ends_with_a_free)
{
	static struct wf_cell *cells[1024];
	uint32_t n = 0;

	begin_with(1024);
	while ((cells[n] = wf_cell_alloc(at[n % 2])) != NULL)
		n++;
	/* The other owner may have what this one misses. */
	while ((cells[n] = wf_cell_alloc(at[(n + 1) % 2])) != NULL)
		n++;
	for (struct wf_cell *cell; (cell = wf_cell_alloc(at[0])) != NULL;)
		cells[n++] = cell;
	for (struct wf_cell *cell; (cell = wf_cell_alloc(at[1])) != NULL;)
		cells[n++] = cell;
	cr_assert_eq(n, 1023);
	cr_assert_eq(wf_load_relaxed(&rt->arena.cells_end), 1024);
	struct wf_local *owner = at[cells[7]->owner], *other = at[!cells[7]->owner];

	wf_cell_free(owner, cells[7]);
	cr_assert_null(wf_cell_alloc(other));
	cr_assert_eq(wf_cell_alloc(owner), cells[7]);
	wf_cell_free(other, cells[7]);
	cr_assert_null(wf_cell_alloc(owner));
	wf_slab_flush(other);
	cr_assert_eq(wf_cell_alloc(owner), cells[7]);
	/* Rather a cell that should rest than none. */
	tire(cells[7]);
	wf_cell_free(owner, cells[7]);
	cr_assert_null(owner->slab.cells_free);
	cr_assert_eq(wf_cell_alloc(owner), cells[7]);
	cr_assert_eq(owner->slab.rest_count, 0);
	cr_assert_null(wf_cell_alloc(owner));
	/* The list of the resting is whole again after it was emptied. */
	tire(cells[7]);
	wf_cell_free(owner, cells[7]);
	cr_assert_eq(wf_cell_alloc(owner), cells[7]);
	end();
}

Test(slab, a_failed_carve_is_null_once, .init = begin, .fini = end)
{
	wf_fault_arm(WF_FAULT_MMAP, 1);
	cr_assert_null(wf_cell_alloc(at[0]));
	cr_assert(wf_fault_fired());
	cr_assert_eq(wf_load_relaxed(&rt->arena.cells_end), 1);
	cr_assert_not_null(wf_cell_alloc(at[0]));
}

Test(slab, an_arena_that_gets_no_range_halves_and_then_gives_up)
{
	struct wf_arena arena = { 0 };

	wf_fault_arm(WF_FAULT_MMAP, 1);
	cr_assert_eq(wf_arena_init(&arena, 1u << 14), 0);
	cr_assert_eq(arena.cells_max, 1u << 13);
	wf_arena_fini(&arena);
	cr_assert_null(arena.cells);
	wf_fault_arm(WF_FAULT_MMAP, 1);
	cr_assert_eq(wf_arena_init(&arena, 2048), -ENOMEM);
	wf_arena_fini(&arena);
	wf_fault_arm(-1, 0);
}

/* ---- Blocks ---------------------------------------- */

static const uint32_t class_bytes[WF_BLOCK_CLASSES] = { 64,  128, 192,  256,  384,
	                                                512, 768, 1024, 2048, WF_BLOCK_MAX_BYTES };

Test(slab, blocks_of_every_class_are_aligned_and_do_not_overlap, .init = begin, .fini = end)
{
	for (uint32_t c = 0; c < WF_BLOCK_CLASSES; c++) {
		static unsigned char *blocks[200];
		uint32_t least = c ? class_bytes[c - 1] + 1 : 1;

		/* More than a chunk's worth of the larger ones. */
		for (uint32_t i = 0; i < 200; i++) {
			uint32_t got = 0, bytes = i % 2 ? class_bytes[c] : least;

			blocks[i] = wf_block_alloc(at[0], bytes, &got);
			cr_assert_not_null(blocks[i]);
			cr_assert_eq(got, c + 1);
			cr_assert_eq((uintptr_t)blocks[i] % 64, 0);
			memset(blocks[i], (int)i, class_bytes[c]);
		}
		for (uint32_t i = 0; i < 200; i++) {
			for (uint32_t k = 0; k < class_bytes[c]; k++)
				cr_assert_eq(blocks[i][k], (unsigned char)i);
		}
		for (uint32_t i = 0; i < 200; i++)
			wf_block_free(at[0], blocks[i], c + 1);
		uint32_t got;

		cr_assert_eq(wf_block_alloc(at[0], least, &got), blocks[199]);
		cr_assert_eq(wf_block_alloc(at[0], least, &got), blocks[198]);
	}
}

Test(slab, blocks_freed_by_others_come_home_to_their_class, .init = begin, .fini = end)
{
	void *blocks[WF_BLOCK_CLASSES];
	struct wf_cell *cell = wf_cell_alloc(at[1]);
	uint32_t got;

	if (TEST_SHRUNK)
		test_skip("a batch is full, and sent, before the flush here");
	for (uint32_t c = 0; c < WF_BLOCK_CLASSES; c++) {
		blocks[c] = wf_block_alloc(at[1], class_bytes[c], &got);
		wf_block_free(at[0], blocks[c], got);
	}
	wf_cell_free(at[0], cell);
	cr_assert_eq(count_inbox(at[1]), 0);
	wf_slab_flush(at[0]);
	cr_assert_eq(count_inbox(at[1]), WF_BLOCK_CLASSES + 1);
	for (uint32_t c = 0; c < WF_BLOCK_CLASSES; c++)
		cr_assert_eq(wf_block_alloc(at[1], class_bytes[c], &got), blocks[c]);
	cr_assert_eq(wf_cell_alloc(at[1]), cell);
}

Test(slab, a_failed_region_is_null_once, .init = begin, .fini = end)
{
	uint32_t got;

	wf_fault_arm(WF_FAULT_MMAP, 1);
	cr_assert_null(wf_block_alloc(at[0], 64, &got));
	cr_assert(wf_fault_fired());
	void *block = wf_block_alloc(at[0], 64, &got);

	cr_assert_not_null(block);
	wf_block_free(at[0], block, got);
	/* A second region after the first is used up: sixteen chunks of fifteen blocks. */
	for (uint32_t i = 0; i < 300; i++)
		cr_assert_not_null(wf_block_alloc(at[0], WF_BLOCK_MAX_BYTES, &got));
}

Test(slab, a_block_freed_as_another_class_is_caught, .init = begin, .signal = SIGABRT)
{
	uint32_t got;
	void *block = wf_block_alloc(at[0], 64, &got);

	wf_block_free(at[0], block, got + 1);
}

Test(slab, a_block_of_nothing_is_caught, .init = begin, .signal = SIGABRT)
{
	uint32_t got;

	wf_block_alloc(at[0], 0, &got);
}

/* ---- All of it ---------------------------------------- */

struct thing {
	void *p;
	uint32_t got; /* 0: a cell */
	weft_ref ref;
	unsigned char mark;
};

static void thing_make(struct thing *t, struct wf_local *self, uint32_t choice, uint32_t i)
{
	t->mark = (unsigned char)i;
	t->got = 0;
	if (choice == 0) {
		struct wf_cell *cell = t->p = wf_cell_alloc(self);

		cr_assert_not_null(cell);
		t->ref = wf_ref_of(rt, cell);
		memset(cell->data, t->mark, sizeof(cell->data));
		return;
	}
	t->p = wf_block_alloc(self, class_bytes[choice - 1], &t->got);
	cr_assert_not_null(t->p);
	memset(t->p, t->mark, class_bytes[choice - 1]);
}

static void thing_end(struct thing *t, struct wf_local *self)
{
	unsigned char *bytes = t->p;

	if (!t->got) {
		struct wf_cell *cell = t->p;

		cr_assert_eq(wf_cell_of(rt, t->ref), cell);
		cr_assert_eq(cell->data[0], t->mark);
		wf_cell_free(self, cell);
		cr_assert_null(wf_cell_of(rt, t->ref));
	} else {
		cr_assert_eq(bytes[0], t->mark);
		cr_assert_eq(bytes[class_bytes[t->got - 1] - 1], t->mark);
		wf_block_free(self, t->p, t->got);
	}
	t->p = NULL;
}

Test(slab, nothing_is_handed_out_twice_whoever_frees, .init = begin, .fini = end)
{
	static struct thing things[1000];
	struct wf_random random;

	memset(things, 0, sizeof(things));
	wf_random_init(&random, test_seed());
	for (uint32_t step = 0; step < 100000; step++) {
		uint32_t i = wf_random_below(&random, 1000);
		struct wf_local *self = at[wf_random_below(&random, LOCALS)];

		if (things[i].p)
			thing_end(&things[i], self);
		else
			thing_make(&things[i], self, wf_random_below(&random, WF_BLOCK_CLASSES + 1),
			           i);
		if (wf_random_below(&random, 500) == 0)
			wf_slab_flush(self);
	}
	for (uint32_t i = 0; i < 1000; i++) {
		if (things[i].p)
			thing_end(&things[i], at[0]);
	}
}
