/*
 * deque.c: the split deque under every schedule of a few operations.
 *
 * Goal: nothing lost, nothing taken twice, thieves see the oldest first and the owner the newest,
 * whatever the interleaving of owner, thieves and forcing thieves. Method: small scenarios, each
 * drawn around one decision of deque.c (the last item, the tentative word, moving the public part
 * up, growing under a thief, slots used again, holes), on rings of 2 or 4 slots, also where the
 * indices wrap; the explorer runs all schedules up to its bound of preemptions.
 */
#include <string.h>

#include "deque.h"
#include "explore.h"
#define ORACLE_FAIL(text) explore_fail(__FILE__, __LINE__, text)
#include "oracle.h"

#define ITEMS_MAX 8

static struct wf_deque deque;
static struct oracle_item items[ITEMS_MAX + 1]; /* [seq] */
static struct oracle_view views[EXPLORE_THREADS_MAX];
static uint32_t pushed;
static uint32_t stolen_newest;
static bool any_order; /* memory ran out: the owner may get the oldest */

/* An empty deque whose next index is `start`. */
static void begin(uint32_t capacity_log2, bool asymmetric, uint32_t start)
{
	memset(items, 0, sizeof items);
	memset(views, 0, sizeof views);
	pushed = 0;
	stolen_newest = 0;
	any_order = false;
	EXPLORE_CHECK(wf_deque_init(&deque, capacity_log2, asymmetric) == 0);
	wf_init(&deque.bottom, start);
	wf_init(&deque.word, (uint64_t)(start & WF_DEQUE_TAIL_MASK) << 32 | start);
	deque.limit = start + deque.mask + 1;
	wf_init(&deque.slots[(start - 1) & deque.mask], 0);
}

static void push(void)
{
	EXPLORE_CHECK(pushed < ITEMS_MAX);
	pushed++;
	oracle_make(&items[pushed], 0, pushed);
	EXPLORE_CHECK(wf_deque_push_local(&deque, &items[pushed]) == 0);
}

static void push_n(uint32_t n)
{
	while (n-- > 0)
		push();
}

static struct oracle_item *pop(void)
{
	struct oracle_item *item = wf_deque_pop_local(&deque);
	if (!item) {
		/* Only the owner adds, so what was empty still is. */
		EXPLORE_CHECK(wf_deque_private_count_local(&deque) == 0);
		EXPLORE_CHECK(!wf_deque_has_public(&deque));
		return NULL;
	}
	EXPLORE_CHECK(item >= &items[1] && item <= &items[ITEMS_MAX]);
	EXPLORE_CHECK(any_order || item->seq > stolen_newest);
	oracle_take(item);
	return item;
}

static void steal(uint32_t index, uint32_t max)
{
	void *out[ITEMS_MAX];
	EXPLORE_CHECK(max <= ITEMS_MAX);
	uint32_t n = wf_deque_steal_mt(&deque, out, max);
	EXPLORE_CHECK(n <= max);
	for (uint32_t i = 0; i < n; i++) {
		struct oracle_item *item = out[i];
		EXPLORE_CHECK(item >= &items[1] && item <= &items[ITEMS_MAX]);
		oracle_take_in_order(&views[index], item);
		if (item->seq > stolen_newest)
			stolen_newest = item->seq;
	}
}

/* Half of what is left is stolen, the rest popped; then all is accounted for. */
static void drain(void)
{
	wf_deque_ask_mt(&deque);
	if (pop())
		steal(0, ITEMS_MAX);
	while (pop())
		;
	EXPLORE_CHECK(wf_deque_count_mt(&deque) == 0);
	EXPLORE_CHECK(wf_load_relaxed(&deque.forcing) == 0);
	oracle_all_taken(&items[1], pushed);
	wf_deque_fini(&deque);
}

/* ---- One public item, an owner and a thief ----------------------------------------- */

static void last_item_setup(void)
{
	begin(2, true, UINT32_MAX);
	push();
	wf_deque_expose_local(&deque, 1);
}

static void last_item_thread(uint32_t i)
{
	if (i > 0) {
		steal(i, 1);
		return;
	}
	pop();
	push();
	pop();
}

/* ---- A thief asks and the owner answers at its next operation ---------------------- */

static void ask_setup(void)
{
	begin(2, true, UINT32_C(0x7ffffffe));
	push_n(2);
}

static void ask_thread(uint32_t i)
{
	if (i > 0) {
		wf_deque_ask_mt(&deque);
		steal(i, 4);
		return;
	}
	push();
	pop();
	pop();
	pop();
	pop();
}

/* ---- A thief forces; the owner pops down to and past what is tentative ----------------------- */

static void force_setup(void)
{
	begin(2, true, UINT32_MAX - 1);
	push_n(3);
}

static void force_thread(uint32_t i)
{
	if (i > 0) {
		if (wf_deque_force_mt(&deque))
			steal(i, 2);
		return;
	}
	pop();
	pop();
	push();
	pop();
	pop();
}

/* A thief that does not force meets what is tentative. */
static void force_beside_thread(uint32_t i)
{
	if (i == 2) {
		steal(i, 2);
		return;
	}
	if (i == 1) {
		wf_deque_force_mt(&deque);
		return;
	}
	pop();
	pop();
}

static void force_beside_setup(void)
{
	begin(2, true, 0);
	push_n(2);
}

/* The owner answers while a word is tentative that was drawn from a bottom of long ago. */
static void force_answer_thread(uint32_t i)
{
	if (i == 2) {
		wf_deque_ask_mt(&deque);
		return;
	}
	if (i == 1) {
		if (wf_deque_force_mt(&deque))
			steal(i, 2);
		return;
	}
	pop();
	pop();
	pop();
	push();
}

/* Two forcing thieves: a second tentative word may look like the first. */
static void force_twice_setup(void)
{
	begin(2, true, 0);
	push();
}

static void force_twice_thread(uint32_t i)
{
	if (i > 0) {
		if (wf_deque_force_mt(&deque))
			steal(i, 1);
		return;
	}
	pop();
	push();
	pop();
}

/* The fork-join fast path against a forcing thief. */
static void take_thread(uint32_t i)
{
	if (i > 0) {
		if (wf_deque_force_mt(&deque))
			steal(i, 2);
		return;
	}
	for (int k = 0; k < 2; k++) {
		push();
		struct oracle_item *mine = &items[pushed];
		if (wf_deque_take_local(&deque, mine))
			oracle_take(mine);
		else
			EXPLORE_CHECK(!wf_deque_take_local(&deque, mine));
	}
}

/* Take of a public item, beside a thief. */
static void take_public_setup(void)
{
	begin(2, true, 0);
	push_n(3);
	wf_deque_expose_local(&deque, 3);
}

static void take_public_thread(uint32_t i)
{
	if (i > 0) {
		steal(i, 4);
		return;
	}
	/* Item 1 is never on top before 3 and 2 are gone, and a thief takes it before those. */
	EXPLORE_CHECK(!wf_deque_take_local(&deque, &items[1]));
	for (uint32_t seq = 3; seq > 0; seq--) {
		if (wf_deque_take_local(&deque, &items[seq]))
			oracle_take(&items[seq]);
	}
}

/* ---- The owner takes public items back --------------------------------------------- */

static void reclaim_setup(void)
{
	begin(3, true, UINT32_MAX - 2);
	push_n(4);
	wf_deque_expose_local(&deque, 4);
}

static void reclaim_thread(uint32_t i)
{
	if (i == 1) {
		steal(i, 4);
		return;
	}
	pop();
	pop();
	pop();
}

/* The word would look as before, with other items below it, if split were simply lowered. */
static void reclaim_aba_setup(void)
{
	begin(2, true, 0);
	push_n(2);
	wf_deque_expose_local(&deque, 2);
}

static void reclaim_aba_thread(uint32_t i)
{
	if (i > 0) {
		steal(i, 2);
		steal(i, 2);
		return;
	}
	pop();
	pop();
	push();
	push();
	wf_deque_expose_local(&deque, 2);
}

/* Taking back needs a larger ring, beside a thief and a forcing thief. */
static void reclaim_grow_setup(void)
{
	begin(1, true, 1);
	push_n(2);
	wf_deque_expose_local(&deque, 2);
}

static void reclaim_grow_thread(uint32_t i)
{
	if (i == 2) {
		if (wf_deque_force_mt(&deque))
			steal(i, 1);
		return;
	}
	if (i == 1) {
		steal(i, 1);
		return;
	}
	pop();
	pop();
}

/* The same, and the larger ring cannot be had: the owner gets some item all the same. */
static void reclaim_nomem_setup(void)
{
	reclaim_grow_setup();
	any_order = true;
	explore_fail_allocation(1);
}

/* A forcing thief must not find the copies private before the originals are given up. */
static void reclaim_force_setup(void)
{
	begin(2, true, 0);
	push_n(2);
	wf_deque_expose_local(&deque, 2);
}

static void reclaim_force_thread(uint32_t i)
{
	if (i == 2) {
		if (wf_deque_force_mt(&deque))
			steal(i, 1);
		return;
	}
	if (i == 1) {
		steal(i, 1);
		steal(i, 1);
		return;
	}
	pop();
}

/* A move up jumps over the limit: it must move too, before the owner fills the ring. */
static void reclaim_fill_setup(void)
{
	begin(2, true, 0);
	push_n(2);
	wf_deque_expose_local(&deque, 2);
	steal(1, 1);
	steal(1, 1);
	push_n(2);
	wf_deque_expose_local(&deque, 2);
}

static void reclaim_fill_thread(uint32_t i)
{
	if (i > 0) {
		steal(i, 1);
		return;
	}
	pop();
	push_n(4);
	wf_deque_expose_local(&deque, 8);
}

/* ---- Rings ------------------------------------------------------------------------- */

/* The ring grows while thieves may read the old one. */
static void grow_setup(void)
{
	begin(1, true, 0);
	push_n(2);
	wf_deque_expose_local(&deque, 2);
}

static void grow_thread(uint32_t i)
{
	if (i > 0) {
		steal(i, 1);
		steal(i, 1);
		return;
	}
	push();
	push();
	wf_deque_expose_local(&deque, 1);
	pop();
}

/* Slots that thieves have left are used again. */
static void reuse_thread(uint32_t i)
{
	if (i > 0) {
		steal(i, 2);
		return;
	}
	push();
	wf_deque_expose_local(&deque, 1);
	push();
	pop();
}

/* ---- Holes ------------------------------------------------------------------------- */

static void remove_setup(void)
{
	begin(2, true, UINT32_MAX);
	push_n(3);
}

static void remove_thread(uint32_t i)
{
	if (i > 0) {
		if (wf_deque_force_mt(&deque))
			steal(i, 4);
		steal(i, 4);
		return;
	}
	EXPLORE_CHECK(!wf_deque_remove_local(&deque, &items[1], 1));
	for (uint32_t seq = 1; seq <= 2; seq++) {
		if (wf_deque_remove_local(&deque, &items[seq], 8))
			oracle_take(&items[seq]);
	}
	pop();
	pop();
}

/* ---- Every push exposes ------------------------------------------------------------ */

static void eager_setup(void)
{
	begin(2, false, UINT32_MAX - 1);
	push_n(2);
}

static void eager_thread(uint32_t i)
{
	if (i > 0) {
		steal(i, 4);
		EXPLORE_CHECK(!wf_deque_force_mt(&deque));
		return;
	}
	pop();
	push();
	pop();
	pop();
}

/* The word of before with other items under it: one item per CAS is all that is safe. */
static void eager_aba_setup(void)
{
	begin(2, false, 0);
	push_n(3);
}

static void eager_aba_thread(uint32_t i)
{
	if (i > 0) {
		steal(i, 2);
		return;
	}
	pop();
	pop();
	push();
	push();
}

static void eager_grow_setup(void)
{
	begin(1, false, UINT32_C(0x7fffffff));
	push();
}

static void eager_grow_thread(uint32_t i)
{
	if (i > 0) {
		steal(i, 4);
		steal(i, 4);
		return;
	}
	push();
	pop();
	push();
	push();
	pop();
}

static const struct explore scenarios[] = {
	{ "last_item", 2, last_item_setup, last_item_thread, drain },
	{ "last_item_two_thieves", 3, last_item_setup, last_item_thread, drain },
	{ "ask", 2, ask_setup, ask_thread, drain },
	{ "force", 2, force_setup, force_thread, drain },
	{ "force_beside", 3, force_beside_setup, force_beside_thread, drain },
	{ "force_answer", 3, force_setup, force_answer_thread, drain },
	{ "force_twice", 3, force_twice_setup, force_twice_thread, drain },
	{ "take", 2, force_twice_setup, take_thread, drain },
	{ "take_public", 2, take_public_setup, take_public_thread, drain },
	{ "reclaim", 2, reclaim_setup, reclaim_thread, drain },
	{ "reclaim_aba", 2, reclaim_aba_setup, reclaim_aba_thread, drain },
	{ "reclaim_grow", 3, reclaim_grow_setup, reclaim_grow_thread, drain },
	{ "reclaim_nomem", 2, reclaim_nomem_setup, reclaim_grow_thread, drain },
	{ "reclaim_force", 3, reclaim_force_setup, reclaim_force_thread, drain },
	{ "reclaim_fill", 2, reclaim_fill_setup, reclaim_fill_thread, drain },
	{ "grow", 2, grow_setup, grow_thread, drain },
	{ "reuse", 2, grow_setup, reuse_thread, drain },
	{ "remove", 2, remove_setup, remove_thread, drain },
	{ "eager", 3, eager_setup, eager_thread, drain },
	{ "eager_aba", 2, eager_aba_setup, eager_aba_thread, drain },
	{ "eager_grow", 2, eager_grow_setup, eager_grow_thread, drain },
};

int main(int argc, char **argv)
{
	return explore_main(scenarios, sizeof scenarios / sizeof scenarios[0], argc, argv);
}
