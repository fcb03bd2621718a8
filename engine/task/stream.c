/*
 * stream.c: the list of items between a generator's body and its consumer.
 *
 * Shared
 *   a cell's promise  as everywhere. What the producer wrote into the cell, and its link to the
 *                     next one (cell->main), is published by its completion
 *   sides             counts the task and the generator; who drops the last frees the stream
 *   taken             items taken; the consumer's, under `busy`. Kept only with a window
 *   parked, waking    the producer's wait in its window, see hold_back()
 *   busy              one consumer at a time; the others are told so. Not a lock: whoever finds
 *                     it set goes away, and it may be held while its owner sleeps
 * `tail` and everything in its line are the producer's, `head` is the busy consumer's.
 *
 * Invariants
 *   from head to tail every cell but the tail is done and links the next one
 *   the tail is pending until the task ends; then the last cell is the end, which is done and
 *   links nothing, and head stays there
 *   each cell of the list has one count, the list's, which passes to whoever takes it
 *   emitted - taken <= window, with a window, once the producer has passed hold_back()
 *
 * Drop. The consumer's side ends while the producer goes on: it walks from head, frees what is
 * done, and orphans the tail by the same word by which the producer completes it. If the orphaning
 * comes first, the completion returns the bit, and the producer, who alone knows the next cell,
 * frees that as well and has no tail from then on. If the completion comes first, the walk finds
 * the cell done and goes on to the next one.
 *
 * Progress: giving and taking are lock-free but for a full window, which is what it is for.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime.h"

/* ---- Making and undoing -------------------------------------------------------------------- */

/*
 * A pending cell at the end of the list. NULL: no memory. It counts as running, as its task does:
 * what is WAITING is a task's or an event's to those who walk over all cells.
 */
static struct wf_cell *tail_make(struct wf_local *self, struct wf_cell *task)
{
	struct wf_cell *cell = wf_cell_start(self, WF_CELL_OUTPUT, WF_STATE_RUNNING);

	if (cell) {
		/* Mostly taken by others, whom the owner's shortcut would cost a system call. */
		wf_flags_add(cell, WF_CELL_SHARED);
		cell->main = task;
	}
	return cell;
}

static void make_link(struct wf_cell *cell, weft_ref ref)
{
	WF_DEBUG((wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_OUTPUT);
	WF_DEBUG(!wf_promise_is_done(&cell->promise));
	wf_flags_drop(cell, WF_CELL_KIND_MASK);
	wf_flags_add(cell, WF_CELL_LINK);
	memcpy(cell->data, &ref, sizeof(ref));
	cell->mark.size = sizeof(ref);
}

static weft_ref link_of(const struct wf_cell *cell)
{
	weft_ref ref = { 0 };

	if ((wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_LINK)
		memcpy(&ref, cell->data, sizeof(ref));
	return ref;
}

static bool is_end(const struct wf_cell *cell)
{
	return (wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_LINK && !link_of(cell).bits;
}

static bool live_init(struct wf_local *self, struct wf_stream *s, struct wf_cell *task)
{
	s->gen = wf_cell_start(self, WF_CELL_STREAM, WF_STATE_RUNNING);
	s->spare = tail_make(self, task);
	s->head = s->tail = tail_make(self, task);
	if (!s->gen || !s->spare || !s->tail)
		return false;
	s->gen->u.stream = s;
	s->task = task;
	wf_init(&s->sides, 2);
	return true;
}

struct wf_stream *wf_stream_create(struct wf_local *self, struct wf_cell *task,
                                   const struct weft_task_options *o, bool forget)
{
	uint32_t got;
	struct wf_stream *s = wf_block_alloc(self, sizeof(*s), &got);

	WF_DEBUG(o->items_max <= WF_ITEMS_MAX);
	WF_DEBUG(!o->window || o->n_outputs == WEFT_OUTPUTS_STREAM);
	if (!s)
		return NULL;
	memset(s, 0, sizeof(*s));
	s->block = got;
	s->mode = o->n_outputs == WEFT_OUTPUTS_STREAM ? WF_STREAM_LIVE
		: o->n_outputs == WEFT_OUTPUTS_LIST   ? WF_STREAM_LIST
						      : WF_STREAM_FIXED;
	s->window = o->window;
	s->items_max = o->items_max ? o->items_max : WF_ITEMS_MAX;
	wf_init(&s->sides, 1);
	/* What nobody will ever take is not kept: a stream without a tail. */
	if (s->mode == WF_STREAM_LIVE && !forget && !live_init(self, s, task)) {
		wf_stream_undo(self, s);
		return NULL;
	}
	return s;
}

void wf_stream_undo(struct wf_local *self, struct wf_stream *s)
{
	WF_DEBUG(!s->emitted && !s->refs);
	if (s->tail)
		wf_cell_free(self, s->tail);
	if (s->spare)
		wf_cell_free(self, s->spare);
	if (s->gen)
		wf_cell_free(self, s->gen);
	wf_block_free(self, s, s->block);
}

static void side_leave(struct wf_local *self, struct wf_stream *s)
{
	WF_DEBUG(wf_load_relaxed(&s->sides) - 1 < 2); /* relaxed: we hold one. */
	/* acq_rel [G1]: the other side's accesses are over when the last one frees. */
	if (wf_add_acq_rel(&s->sides, (uint32_t)-1) == 1)
		wf_block_free(self, s, s->block);
}

/* ---- The producer -------------------------------------------------------------------------- */

/* The consumer's side has ended: what only the producer knows of is freed. */
static void unwanted(struct wf_local *self, struct wf_stream *s, struct wf_cell *tail)
{
	wf_cell_free(self, tail);
	if (s->spare)
		wf_cell_free(self, s->spare);
	s->spare = NULL;
	s->tail = NULL;
}

bool wf_stream_wanted(struct wf_local *self, struct wf_stream *s)
{
	if (!s->tail)
		return false;
	/* acquire [P6]: the dropper's accesses are over. */
	if (WF_LIKELY(!(wf_load_acquire(&s->tail->promise.waiters) & WF_W_ORPHAN)))
		return true;
	unwanted(self, s, s->tail);
	return false;
}

/* The tail holds an item: link `next` and hand it over. */
static void publish(struct wf_local *self, struct wf_stream *s, struct wf_cell *next)
{
	struct wf_cell *item = s->tail;

	WF_DEBUG(!wf_promise_is_done(&item->promise));
	WF_DEBUG(item != next);
	item->main = next;
	s->tail = next;
	uintptr_t list = wf_promise_complete_shared(&item->promise);

	if (WF_LIKELY(!list))
		return;
	if (list & WF_W_ORPHAN) {
		if (next)
			unwanted(self, s, next);
		/* A link's own count has no owner but the list. */
		struct wf_cell *inner = wf_cell_of(self->rt, link_of(item));

		if (inner)
			wf_cell_release(self, inner);
	}
	wf_cell_fire(self, item, list);
}

int wf_stream_put(struct wf_local *self, struct wf_stream *s, const struct wf_item *item)
{
	struct wf_cell *next = tail_make(self, s->tail->main);

	WF_DEBUG(s->mode == WF_STREAM_LIVE && s->index == s->emitted);
	WF_DEBUG(s->index < s->items_max);
	if (!next)
		return -ENOMEM;
	if (item->ref.bits)
		make_link(s->tail, item->ref);
	else if (WF_UNLIKELY(item->payload))
		wf_cell_set_value(s->tail, item->payload, NULL, 0);
	else {
		wf_copy_inline(s->tail->data, item->data, item->size);
		s->tail->mark.size = (uint8_t)item->size;
	}
	s->index++;
	s->emitted++;
	publish(self, s, next);
	return 0;
}

static bool has_room(const struct wf_stream *s)
{
	/* relaxed: decided by [G2] when it matters. */
	uint64_t taken = wf_load_relaxed(&s->taken);

	WF_DEBUG(s->window);
	WF_DEBUG(taken & WF_STREAM_DROPPED || taken <= s->emitted);
	return taken & WF_STREAM_DROPPED || s->emitted - taken < s->window;
}

/*
 * Sleep until there is room. A Dekker [G2]: the producer publishes its wait and then looks at
 * `taken`; a consumer adds to `taken` and then looks for the wait. Whoever swaps `parked` away
 * wakes the wait, under `waking`, which a producer that was woken by something else waits for.
 */
int wf_stream_hold_back(weft *rt, struct wf_stream *s)
{
	struct wf_wait wait;
	int rc = 0;

	while (!rc && !has_room(s)) {
		struct wf_local *self = wf_local_of(rt);
		uintptr_t me = (uintptr_t)&wait;

		WF_DEBUG(!wf_load_relaxed(&s->parked)); /* relaxed: one producer. */
		if (!self || wf_self_cancelled(self))
			return self ? -EINTR : -ENOMEM;
		wf_wait_init(&wait, self, 1, WEFT_FOREVER);
		wait.external = true;
		/* release [G3]: the wait. */
		wf_store_release(&s->parked, me);
		wf_fence_seq_cst(); /* [G2] */
		/* acq_rel [G3]: when it was swapped out, a wake is on its way. */
		if (has_room(s) && wf_cas_acq_rel(&s->parked, &me, 0))
			return 0;
		rc = wf_wait_sleep(&wait);
		me = (uintptr_t)&wait;
		if (rc && !wf_cas_acq_rel(&s->parked, &me, 0)) {
			/* acquire [G4]: the consumer has let go of the wait. */
			while (wf_load_acquire(&s->waking))
				wf_cpu_relax();
		}
	}
	return rc;
}

static void stage_drop(struct wf_local *self, struct wf_stream *s)
{
	wf_payload_free(self, s->payload);
	s->payload = NULL;
	s->staged = false;
}

static void refs_drop(struct wf_local *self, struct wf_stream *s)
{
	for (uint32_t i = 0; i < s->refs_count; i++)
		wf_cell_release(self, wf_cell_of(self->rt, s->refs[i]));
	wf_free(s->refs);
	s->refs = NULL;
	s->refs_count = s->refs_room = 0;
}

void wf_stream_restart(struct wf_local *self, struct wf_stream *s)
{
	stage_drop(self, s);
	refs_drop(self, s);
	s->index = 0;
}

int wf_stream_append(struct wf_stream *s, weft_ref ref)
{
	WF_DEBUG(s->mode == WF_STREAM_LIST && ref.bits);
	WF_DEBUG(s->refs_count <= s->refs_room);
	if (s->refs_count == s->refs_room) {
		uint32_t room = s->refs_room ? s->refs_room * 2 : 16;
		weft_ref *grown = wf_malloc(room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		if (s->refs)
			memcpy(grown, s->refs, s->refs_count * sizeof(*grown));
		wf_free(s->refs);
		s->refs = grown;
		s->refs_room = room;
	}
	s->refs[s->refs_count++] = ref;
	s->index++;
	return 0;
}

int wf_stream_collect(struct weft_task *frame, int code)
{
	struct wf_stream *s = wf_ext_stream(wf_cell_ext(frame->cell));

	WF_DEBUG(code >= 0);
	WF_DEBUG(s->mode == WF_STREAM_LIST || !s->refs);
	if (s->mode != WF_STREAM_LIST)
		return code;
	int rc = weft_task_output_refs(frame, 0, s->refs, s->refs_count);

	if (rc && !wf_frame_error(frame))
		return weft_fail(frame, rc, "no room for a list of %u items", s->refs_count);
	return rc ? rc : code;
}

uint32_t wf_stream_outputs(struct wf_cell *cell, struct wf_error **error)
{
	struct wf_ext *ext = wf_cell_ext(cell);
	struct wf_stream *s = wf_ext_stream(ext);
	uint32_t given = s && s->mode == WF_STREAM_FIXED ? s->index : 0;
	char text[80];

	WF_DEBUG(!ext || given <= ext->n_outputs);
	WF_DEBUG(!s || s->mode != WF_STREAM_LIVE || ext->n_outputs == 1);
	if (*error || !s || s->mode != WF_STREAM_FIXED || given >= ext->n_outputs)
		return *error ? given : ext->n_outputs;
	snprintf(text, sizeof(text), "the generator gave %u of %u values", given, ext->n_outputs);
	*error = wf_error_create(&(struct wf_error_args){
		.status = WEFT_ETASK,
		.code = -ERANGE,
		.attempt = wf_load_relaxed(&cell->mark.attempt), /* relaxed: the runner's. */
		.text = text,
		.task = wf_task_name(cell, NULL),
		.site = wf_task_site(ext) });
	return given;
}

/* The list's last item: the failure, or the end itself. */
static void live_end(struct wf_local *self, struct wf_stream *s, struct wf_error *error)
{
	struct wf_cell *end = s->spare;

	if (!wf_stream_wanted(self, s))
		return;
	WF_DEBUG(end && end != s->tail);
	s->spare = NULL;
	if (!error) {
		wf_cell_free(self, end);
		make_link(s->tail, (weft_ref){ 0 });
		publish(self, s, NULL);
		return;
	}
	make_link(end, (weft_ref){ 0 });
	end->main = NULL;
	WF_CHECK(!wf_promise_complete_shared(&end->promise));
	s->tail->u.error = error;
	wf_error_retain(error);
	wf_flags_add(s->tail, WF_CELL_ERROR);
	publish(self, s, end);
	s->tail = NULL;
}

void wf_stream_end(struct wf_local *self, struct wf_stream *s, struct wf_error *error)
{
	stage_drop(self, s);
	refs_drop(self, s);
	live_end(self, s, error);
	WF_CHECK(!s->spare && !s->tail);
	side_leave(self, s);
}

/* ---- The consumer -------------------------------------------------------------------------- */

int wf_stream_enter(struct wf_stream *s)
{
	uint32_t idle = 0;

	/* acquire [G5]: the head, as the last call left it. */
	return wf_cas_acquire(&s->busy, &idle, 1) ? 0 : -EBUSY;
}

void wf_stream_leave(struct wf_stream *s)
{
	/* release [G5] */
	wf_store_release(&s->busy, 0);
}

static void wake_producer(struct wf_local *self, struct wf_stream *s)
{
	WF_DEBUG(s->window);
	/* relaxed: decided by [G2]. */
	if (WF_LIKELY(!wf_load_relaxed(&s->parked)))
		return;
	WF_DEBUG(!wf_load_relaxed(&s->waking)); /* relaxed: one consumer. */
	/* relaxed: before the exchange, whose loser waits for it to go. */
	wf_store_relaxed(&s->waking, 1);
	/* acq_rel [G3]: the wait; whoever swaps it out wakes it. */
	struct wf_wait *wait = (struct wf_wait *)wf_swap_acq_rel(&s->parked, 0);

	if (wait)
		wf_wait_wake(wait, WF_WAKE_READY, self);
	/* release [G4]: the last touch of the wait. */
	wf_store_release(&s->waking, 0);
}

int wf_stream_take(struct wf_local *self, struct wf_stream *s, weft_ref *out)
{
	struct wf_cell *item = s->head;

	WF_DEBUG(wf_promise_is_done(&item->promise));
	if (WF_UNLIKELY(is_end(item)))
		return -ENODATA;
	WF_DEBUG(item->main && wf_load_relaxed(&s->busy)); /* relaxed: our own. */
	s->head = item->main;
	if (s->window) {
		/* relaxed: ordered by the fence [G2]. */
		wf_add_relaxed(&s->taken, 1);
		wf_fence_after_rmw();
		wake_producer(self, s);
	}
	*out = link_of(item);
	if (WF_UNLIKELY(out->bits))
		wf_cell_release(self, item);
	else
		*out = wf_ref_of(self->rt, item);
	return 0;
}

int wf_stream_peek(struct wf_cell *gen, struct wf_cell **next)
{
	struct wf_stream *s = gen->u.stream;
	int rc = wf_stream_enter(s);

	WF_DEBUG(wf_cell_is_stream(gen) && s->gen == gen);
	if (rc)
		return rc;
	*next = s->head;
	wf_promise_retain(&s->head->promise);
	wf_stream_leave(s);
	return 0;
}

int wf_stream_status(weft *rt, const struct wf_cell *item)
{
	const struct wf_cell *inner = wf_cell_of(rt, link_of(item));

	if (is_end(item))
		return -ENODATA;
	if (!inner)
		return wf_cell_status(item);
	return wf_promise_is_done(&inner->promise) ? wf_cell_status(inner) : 0;
}

/* One cell less at the head. False: it was the last. */
static bool drop_head(struct wf_local *self, struct wf_stream *s)
{
	struct wf_cell *item = s->head;

	/* Nobody else has a count: a wait or a queue that holds an item holds the generator. */
	WF_CHECK(!wf_load_acquire(&item->promise.refs)); /* acquire [P6] */
	if (!wf_promise_is_done(&item->promise) && !wf_promise_orphan(&item->promise, false))
		return false;
	struct wf_cell *inner = wf_cell_of(self->rt, link_of(item));

	s->head = is_end(item) ? NULL : item->main;
	if (inner)
		wf_cell_release(self, inner);
	wf_cell_destroy(self, item);
	return s->head;
}

void wf_stream_drop(struct wf_local *self, struct wf_cell *gen)
{
	struct wf_stream *s = gen->u.stream;
	struct wf_cell *task = s->task;

	WF_CHECK(s->gen == gen && s->mode == WF_STREAM_LIVE);
	WF_CHECK(!wf_load_relaxed(&s->busy)); /* relaxed: whoever is inside holds the generator. */
	while (drop_head(self, s))
		;
	if (s->window) {
		/* relaxed: ordered by the fence [G2]. */
		wf_or_relaxed(&s->taken, WF_STREAM_DROPPED);
		wf_fence_after_rmw();
		wake_producer(self, s);
	}
	wf_cell_free(self, gen);
	side_leave(self, s);
	wf_cell_release(self, task);
}
