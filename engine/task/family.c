/*
 * family.c: the children of a task that is cancelled, and theirs.
 *
 * Nobody keeps a list of children: a submit notes who submits, in a word of the cell that a task
 * without a cold block has no other use for, or in the cold block. So a task that is never
 * cancelled pays for a note, and who is cancelled for one walk over all cells. Cancels that come
 * at the same time share a walk.
 *
 * A cell is below a cancelled task when following the notes from it, through tasks that have not
 * ended, leads to one. What an ended task has left running is nobody's child any more.
 *
 * The walker holds no count of what it finds, so any cell may end and be used again under its
 * eyes. What it reads it believes only as long as the cell's generation stays, and it asks a task
 * to stop by an exchange of cell->life, generation and `cancel` together: it succeeds only for the
 * very task that was looked at. A cold block that is read too late is memory of another cold block,
 * and its task is then past its body.
 *
 * Shared: rt->kin under kin_mutex; the walk under walk_mutex. An end that a walk causes may call
 * the program (arg_drop), which may cancel again: self->walking leaves that to the walker.
 */
#include <stdlib.h>
#include <string.h>

#include "plain.h"

#define PATH_MAX_    64u                          /* ancestors that one look remembers */
#define GEN_COMPARED (~WF_GEN_ORPHAN)             /* an orphan keeps its children */
#define MEMO_GEN     (GEN_COMPARED & 0x3fffffffu) /* the rest says which runtime */
#define MEMO_KNOWN   (1u << 30)
#define MEMO_BELOW   (1u << 31)

struct walk {
	struct wf_local *self;
	const struct wf_tag *roots; /* sorted */
	uint32_t n;
	uint32_t end;   /* of the cells */
	uint32_t *memo; /* by index: generation and what is known of it; NULL: no memory for it */
	bool queued;    /* something that waits in a queue was asked */
};

static int compare_tags(const void *a, const void *b)
{
	uint32_t x = ((const struct wf_tag *)a)->at, y = ((const struct wf_tag *)b)->at;

	return (x > y) - (x < y);
}

static bool is_root(const struct walk *w, struct wf_tag tag)
{
	uint32_t lo = 0, hi = w->n;

	WF_DEBUG(w->n > 0 && tag.gen != WF_TAG_NONE.gen);

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (w->roots[mid].at < tag.at)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < w->n && w->roots[lo].at == tag.at; lo++) {
		if (wf_same_gen(w->roots[lo].gen, tag.gen))
			return true;
	}
	return false;
}

/* A pending task. */
static bool is_pending(const struct wf_cell *cell)
{
	/* acquire [C2] */
	uint32_t state = wf_load_acquire(&cell->promise.state);

	return state >= WF_STATE_WAITING && state <= WF_STATE_BLOCKED &&
		(wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_TASK &&
		!wf_promise_is_done(&cell->promise);
}

/* Who submitted the task in this cell. */
static WF_UNORDERED struct wf_tag parent_of(const struct wf_cell *cell)
{
	struct wf_cell copy;

	copy.ext_word = *(struct wf_ext *const volatile *)&cell->ext_word;
	if (wf_cell_is_bare(&copy))
		return copy.parent;
	/* Those that are no block are in a list of their own. */
	if (!copy.ext_word || wf_ext_is_big(copy.ext_word))
		return WF_TAG_NONE;
	const volatile struct wf_tag *parent = &copy.ext_word->parent;

	return (struct wf_tag){ .at = parent->at, .gen = parent->gen };
}

/* The index that a tag names, 0: none. */
static uint32_t index_of(const struct walk *w, struct wf_tag tag)
{
	uint64_t from = (uint64_t)(uintptr_t)w->self->rt->cells >> 2;
	uint64_t offset = (tag.at - from) & UINT32_MAX;

	WF_DEBUG(!(from & 15) && w->end > 0);

	return offset % 16 || offset / 16 >= w->end ? 0 : (uint32_t)(offset / 16);
}

static uint32_t memo_of(const struct walk *w, uint32_t index, uint32_t gen)
{
	uint32_t memo = w->memo ? w->memo[index] : 0;

	WF_DEBUG(index < w->end);
	WF_DEBUG(!memo || memo & MEMO_KNOWN);

	return memo & MEMO_KNOWN && !((memo ^ gen) & MEMO_GEN) ? memo : 0;
}

/* Whether following the notes from a task with this parent leads to a root. */
static bool is_below(const struct walk *w, uint32_t index, uint32_t gen, struct wf_tag tag)
{
	struct {
		uint32_t index, gen;
	} path[PATH_MAX_] = { { index, gen } };
	uint32_t n = 1, result = 0;

	WF_DEBUG(index && index < w->end);

	for (uint32_t steps = 0; steps < w->end && tag.gen != WF_TAG_NONE.gen; steps++) {
		if (is_root(w, tag)) {
			result = MEMO_BELOW;
			break;
		}
		uint32_t at = index_of(w, tag), memo = at ? memo_of(w, at, tag.gen) : MEMO_KNOWN;
		const struct wf_cell *cell = &w->self->rt->cells[at];

		if (memo) {
			result = memo & MEMO_BELOW;
			break;
		}
		/* relaxed: looked at again after the note was read. */
		if (!is_pending(cell) || !wf_same_gen(wf_load_relaxed(&cell->gen), tag.gen))
			break;
		if (n < PATH_MAX_) {
			path[n].index = at;
			path[n++].gen = tag.gen;
		}
		struct wf_tag next = parent_of(cell);

		/* acquire [Y1]: after the note. */
		if (!wf_same_gen(wf_load_acquire(&cell->gen), tag.gen))
			break;
		tag = next;
	}
	WF_DEBUG(n <= PATH_MAX_ && (!result || result == MEMO_BELOW));
	for (uint32_t i = 0; w->memo && i < n; i++)
		w->memo[path[i].index] = (path[i].gen & MEMO_GEN) | MEMO_KNOWN | result;
	return result;
}

/* Let go of a task that was locked; it stays asked to stop. */
static void unlock(struct wf_cell *cell, uint32_t gen)
{
	/* acquire [Y1]: a guess for the exchange, which decides. */
	union wf_life old = { .all = wf_load_acquire(&cell->life) };

	while (wf_same_gen(old.gen, gen) && old.cancel == WF_CANCEL_LOCKED) {
		union wf_life new = old;

		new.cancel = WF_CANCEL_ASKED;
		/* release [C1] */
		if (wf_cas_acq_rel(&cell->life, &old.all, new.all))
			return;
	}
}

/* It was waiting when it was locked. False: not any more, and is left asked. */
static bool end_waiting(struct wf_local *self, struct wf_cell *cell, uint32_t gen)
{
	WF_DEBUG(self->walking);
	/* [C1]: between the lock and the look. */
	if (self->rt->asymmetric)
		wf_membarrier();
	else
		wf_fence_seq_cst();
	/*
	 * As wf_cancel_waiting(); acquire [C1]: the ext stays until we unlock. The generation,
	 * because the lock may have met a task that had just ended.
	 */
	if (wf_load_acquire(&cell->promise.state) == WF_STATE_WAITING &&
	    wf_same_gen(wf_load_acquire(&cell->gen), gen) && !wf_promise_is_done(&cell->promise) &&
	    wf_cell_ext(cell)) {
		wf_task_end_waiting(self, cell, WF_CANCEL_ASKED);
		return true;
	}
	unlock(cell, gen);
	return false;
}

/*
 * Swap a request into `life`: LOCKED for one that waits, else ASKED; *state: what it was in. `from`
 * is what it was asked before. 0: it is another task by now, or somebody else sees to it.
 */
static uint8_t swap(struct wf_cell *cell, uint32_t gen, uint8_t from, uint32_t *state)
{
	/* acquire [Y1]: a guess for the exchange, which decides. */
	union wf_life old = { .all = wf_load_acquire(&cell->life) };

	for (;;) {
		union wf_life new = old;

		if (!wf_same_gen(old.gen, gen) ||
		    (old.cancel != from && old.cancel != WF_CANCEL_LOCKED))
			return 0;
		if (old.cancel == WF_CANCEL_LOCKED) {
			/* Whoever has locked it may put back what was there. */
			wf_cpu_relax();
			/* acquire [Y1] */
			old.all = wf_load_acquire(&cell->life);
			continue;
		}
		WF_DEBUG(old.cancel == from && from != WF_CANCEL_LOCKED);
		/* acquire [C2] */
		*state = wf_load_acquire(&cell->promise.state);
		new.cancel = *state == WF_STATE_WAITING ? WF_CANCEL_LOCKED : WF_CANCEL_ASKED;
		/* acq_rel [C3]: a full exchange, as in cancel_task(). */
		if (new.all == old.all || wf_cas_acq_rel(&cell->life, &old.all, new.all))
			return new.cancel;
	}
}

/* Ask the task that this cell holds with this generation to stop, if it still does. */
static void ask(struct walk *w, struct wf_cell *cell, uint32_t gen)
{
	uint32_t state;
	uint8_t how = swap(cell, gen, WF_CANCEL_NO, &state);

	WF_DEBUG(w->self->walking);
	if (!how)
		return;
	if (how == WF_CANCEL_ASKED && state == WF_STATE_RUNNING) {
		/* [C4]: or it is being built, by who has no fence then, see ext_linked(). */
		if (w->self->rt->asymmetric)
			wf_membarrier();
		else
			wf_fence_seq_cst();
		/* acquire [C2] */
		if (wf_load_acquire(&cell->promise.state) == WF_STATE_WAITING)
			how = swap(cell, gen, WF_CANCEL_ASKED, &state);
	}
	bool ended = how == WF_CANCEL_LOCKED && end_waiting(w->self, cell, gen);

	/*
	 * [C4]: one that comes to wait for resources, or for its next attempt, right now has not
	 * ended, or sees it.
	 */
	wf_fence_seq_cst();
	/* acquire [C2] */
	state = wf_load_acquire(&cell->promise.state);
	w->queued |= state == WF_STATE_QUEUED;
	if (!ended && state == WF_STATE_WAITING &&
	    swap(cell, gen, WF_CANCEL_ASKED, &state) == WF_CANCEL_LOCKED)
		ended = end_waiting(w->self, cell, gen);
	if (ended)
		return;
	wf_cancel_blocked(w->self, cell, gen);
	wf_spare_interrupt(w->self, cell, gen);
}

static void visit(struct walk *w, uint32_t index, uint32_t gen, struct wf_tag tag)
{
	if (tag.gen != WF_TAG_NONE.gen && is_below(w, index, gen, tag))
		ask(w, &w->self->rt->cells[index], gen);
}

/* Those whose cold block is no block of a slab: one at a time, because the list may change. */
static void visit_big(struct walk *w)
{
	weft *rt = w->self->rt;
	uint32_t n = 0;

	for (bool more = true; more; n++) {
		uint32_t i = 0, index = 0, gen = 0;
		struct wf_tag tag = WF_TAG_NONE;

		pthread_mutex_lock(&rt->kin_mutex);
		struct wf_big *big = rt->bigs;

		while (big && i++ < n)
			big = big->next;
		more = big;
		if (more) {
			const struct wf_ext *ext = wf_big_ext(big);

			index = ext->cell;
			tag = ext->parent;
			/* relaxed: with its cold block there, the task is. */
			gen = wf_load_relaxed(&rt->cells[index].gen);
		}
		pthread_mutex_unlock(&rt->kin_mutex);
		if (more && index < w->end)
			visit(w, index, gen, tag);
	}
}

static void walk(struct wf_local *self, const struct wf_tag *roots, uint32_t n)
{
	weft *rt = self->rt;
	struct walk w = { .self = self, .roots = roots, .n = n };

	WF_DEBUG(n > 0 && self->walking);

	/* acquire [A3] */
	w.end = wf_load_acquire(&rt->arena.cells_end);
	w.memo = wf_calloc(w.end, sizeof(*w.memo));
	/* acq_rel [E1]: before anything is freed, see wf_deadlock_search(). */
	wf_add_acq_rel(&rt->external, 1);
	for (uint32_t i = 1; i < w.end; i++) {
		const struct wf_cell *cell = &rt->cells[i];
		/* acquire [Y1]: before the looks at the cell, whose use as another's changes it. */
		uint32_t gen = wf_load_acquire(&cell->gen);

		if (!is_pending(cell))
			continue;
		struct wf_tag tag = parent_of(cell);

		/* acquire [Y1]: after them. */
		if (wf_same_gen(wf_load_acquire(&cell->gen), gen))
			visit(&w, i, gen, tag);
	}
	visit_big(&w);
	wf_free(w.memo);
	if (w.queued)
		wf_admit_cancel_asked(self);
}

/* Put a root on the list: its ticket; 0: no memory. */
static uint64_t note(weft *rt, struct wf_tag root)
{
	uint64_t ticket = 0;

	pthread_mutex_lock(&rt->kin_mutex);
	if (rt->kin_count == rt->kin_room) {
		uint32_t room = rt->kin_room ? rt->kin_room * 2 : 16;
		struct wf_tag *grown = wf_malloc(room * sizeof(*grown));

		if (grown) {
			if (rt->kin_count)
				memcpy(grown, rt->kin, rt->kin_count * sizeof(*grown));
			wf_free(rt->kin);
			rt->kin = grown;
			rt->kin_room = room;
		}
	}
	WF_CHECK(rt->kin_count <= rt->kin_room);
	if (rt->kin_count < rt->kin_room) {
		rt->kin[rt->kin_count++] = root;
		ticket = ++rt->kin_noted;
	}
	pthread_mutex_unlock(&rt->kin_mutex);
	return ticket;
}

/* Walk for all that are on the list. With walk_mutex held. */
static void walk_noted(struct wf_local *self)
{
	weft *rt = self->rt;

	for (;;) {
		pthread_mutex_lock(&rt->kin_mutex);
		struct wf_tag *roots = rt->kin;
		uint32_t n = rt->kin_count;
		uint64_t upto = rt->kin_noted;

		rt->kin = NULL;
		rt->kin_count = rt->kin_room = 0;
		pthread_mutex_unlock(&rt->kin_mutex);
		WF_DEBUG(!n || roots);
		if (n) {
			qsort(roots, n, sizeof(*roots), compare_tags);
			walk(self, roots, n);
		}
		wf_free(roots);
		rt->kin_walked = upto;
		if (!n)
			return;
	}
}

void wf_cancel_children(struct wf_local *self, const struct wf_cell *cell)
{
	weft *rt = self->rt;
	/* relaxed: the caller's count keeps it. */
	struct wf_tag root = { .at = (uint32_t)((uintptr_t)cell >> 2),
		               .gen = wf_load_relaxed(&cell->gen) };
	uint64_t ticket = note(rt, root);

	/* The program's code inside a walk: the walker comes to it. */
	if (self->walking)
		return;
	pthread_mutex_lock(&rt->walk_mutex);
	WF_CHECK(!self->walking);
	self->walking = true;
	if (!ticket)
		walk(self, &root, 1);
	else if (rt->kin_walked < ticket)
		walk_noted(self);
	self->walking = false;
	pthread_mutex_unlock(&rt->walk_mutex);
}

/* ---- Cold blocks that are no blocks ---------------------------------------------------------- */

struct wf_ext *wf_big_alloc(struct wf_local *self, const struct wf_ext *head, size_t bytes)
{
	weft *rt = self->rt;
	struct wf_big *big = wf_node_alloc(self->node, 64, sizeof(*big) + bytes);

	if (!big)
		return NULL;
	struct wf_ext *ext = wf_big_ext(big);

	*ext = *head;
	WF_CHECK(wf_ext_is_big(ext) && !ext->block);
	pthread_mutex_lock(&rt->kin_mutex);
	big->prev = NULL;
	big->next = rt->bigs;
	if (big->next)
		big->next->prev = big;
	rt->bigs = big;
	pthread_mutex_unlock(&rt->kin_mutex);
	return ext;
}

void wf_big_free(weft *rt, struct wf_ext *ext)
{
	struct wf_big *big = (struct wf_big *)(void *)ext - 1;

	WF_CHECK(wf_ext_is_big(ext) && !ext->block);

	pthread_mutex_lock(&rt->kin_mutex);
	WF_CHECK(big->prev ? big->prev->next == big : rt->bigs == big);
	if (big->prev)
		big->prev->next = big->next;
	else
		rt->bigs = big->next;
	if (big->next)
		big->next->prev = big->prev;
	pthread_mutex_unlock(&rt->kin_mutex);
	wf_node_free(big);
}
