/*
 * plain.c: the task with a cold block and nothing special in it, from submit to end.
 *
 * Inputs, an argument of more than sixteen bytes, the place of the submit: most tasks that need a
 * cold block need it for these and nothing else. Its flag WF_EXT_PLAIN says so: one output, no
 * options, no times, a block of the slab. For everybody else it is a cold block like any other.
 * Whatever is out of the ordinary (a canceller, a failure, an input in the store) is left to the
 * long way of submit.c and task.c, which does the same with all the questions asked.
 *
 * The inputs are not looked through for errors before the body runs: a failed one has ended the
 * task at its edge, see wf_edge_fire().
 */
#include <errno.h>
#include <string.h>

#include "plain.h"
#include "stream.h"

_Static_assert(sizeof(struct wf_ext) + WF_PLAIN_EDGES * sizeof(struct wf_edge) + WF_PLAIN_ARG <=
                       WF_BLOCK_MAX_BYTES,
               "a plain ext is a block");
_Static_assert(WF_PLAIN_EDGES <= 32, "a bit for each");

/* ---- Submit -------------------------------------------------------------------------------- */

/* An input turned out to be no reference, or a generator: let go of the ones before it. */
WF_NOINLINE static int undo_inputs(struct wf_local *self, struct wf_ext *ext, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		wf_cell_release(self, &self->rt->cells[ext->edges[i].src]);
	wf_block_free(self, ext, ext->block);
	return -EINVAL;
}

/*
 * Hold the inputs and write the edges. *pending: a bit for each whose producer is not done, or has
 * failed. How many inputs are held: all, unless one cannot be an input.
 */
static inline uint32_t hold_inputs(weft *rt, struct wf_ext *ext, const weft_ref *inputs, uint32_t n,
                                   uint32_t *pending)
{
	for (uint32_t i = 0; i < n; i++) {
		struct wf_cell *src = wf_cell_of(rt, inputs[i]);

		if (WF_UNLIKELY(!src))
			return i;
		bool done = wf_promise_is_done(&src->promise);

		/* A generator is never done, and is no input. */
		if (WF_UNLIKELY(!done && wf_cell_is_stream(src)))
			return i;
		wf_promise_retain(&src->promise);
		ext->edges[i] = wf_edge_to(wf_ref_index(inputs[i]), i);
		if (!done || wf_flags(src) & WF_CELL_ERROR)
			*pending |= 1u << i;
	}
	return n;
}

/* Link the pending edges; from the first on, others may end the task early. */
static inline void link_pending(struct wf_local *self, struct wf_ext *ext, uint32_t pending)
{
	uint32_t count = 0;

	WF_DEBUG(pending && pending >> wf_ext_edge_count(ext) == 0);
	for (uint32_t left = pending; left; left &= left - 1)
		count++;
	uint32_t unready = (count + 1) | WF_UNREADY_LINKING;

	wf_init(&ext->unready, unready);
	/* release [C2]: what was built, to who finds it waiting. */
	wf_store_release(&self->rt->cells[ext->cell].promise.state, WF_STATE_WAITING);
	for (; pending; pending &= pending - 1) {
		struct wf_edge *edge = &ext->edges[__builtin_ctz(pending)];
		struct wf_cell *src = &self->rt->cells[edge->src];
		uintptr_t taken = 0;
		bool foreign = wf_cell_foreign(self, src);

		/* One that has failed may be done: a push does not see a private end. */
		if (wf_promise_is_done(&src->promise) ||
		    !wf_promise_push(&src->promise, &edge->waiter, foreign, &taken))
			wf_edge_fire(&edge->waiter, src, self);
		else if (WF_UNLIKELY(foreign))
			/* relaxed: a hint, see mind_strangers(). */
			wf_add_relaxed(&self->rt->locals[wf_cell_owner(src)]->foreign_touches, 1);
		if (WF_UNLIKELY(taken))
			wf_cell_fire(self, src, taken);
	}
	/* [C4]: WAITING, then the look: as in ext_linked(). */
	if (!self->rt->asymmetric)
		wf_fence_seq_cst();
	/*
	 * acquire [C1]. acq_rel [U1]: the links, to an ender; when anything has happened, the long
	 * way.
	 */
	if (WF_UNLIKELY(wf_load_acquire(&self->rt->cells[ext->cell].cancel) != WF_CANCEL_NO ||
	                !wf_cas_acq_rel(&ext->unready, &unready, count)))
		wf_ext_linked(self, ext);
}

/* The head of the cold block of a call with `edges` inputs in all. */
static inline void plain_head(struct wf_ext *ext, const struct weft_call *call, uint32_t block)
{
	bool far = call->arg_size > WF_INLINE_BYTES;
	uint32_t flags = far ? WF_EXT_PLAIN | WF_EXT_ARG : WF_EXT_PLAIN;

	ext->n_inputs = call->n_inputs;
	ext->n_after = call->n_after;
	_Static_assert(WEFT_INPUT_FAIL_FAST == 0 && WEFT_PRIORITY_NORMAL == 0, "the other bits");
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	ext->site_word = (uintptr_t)call->site | (uint64_t)call->arg_size << 48;
	ext->kind_word = 1 | block << 11 | flags << 16;
#else
	ext->site_word = ext->kind_word = 0;
	ext->site_bits = (uintptr_t)call->site;
	ext->arg_size = call->arg_size;
	ext->n_outputs = 1;
	ext->block = block & 15;
	ext->flags = (uint8_t)flags;
#endif
	WF_DEBUG(ext->n_outputs == 1 && ext->block == block && ext->flags == flags);
	WF_DEBUG(wf_ext_site(ext) == call->site && ext->arg_size == call->arg_size);
}

int wf_plain_submit(struct wf_local *self, const struct weft_call *call, weft_ref *out)
{
	WF_DEBUG(self->worker && self->fast_rt == self->rt && wf_call_is_plain(call));
	weft *rt = self->rt;
	uint32_t edges = (uint32_t)call->n_inputs + call->n_after, size = call->arg_size;
	uint32_t pending = 0, block;
	size_t arg_at = wf_plain_arg_at(edges);
	bool far = size > WF_INLINE_BYTES;
	struct wf_ext *ext = wf_plain_alloc(self, far ? arg_at + size : arg_at, &block);

	if (WF_UNLIKELY(!ext))
		return -ENOMEM;
	plain_head(ext, call, block);
	uint32_t held = hold_inputs(rt, ext, call->inputs, edges, &pending);

	if (WF_UNLIKELY(held != edges))
		return undo_inputs(self, ext, held);
	struct wf_cell *cell = wf_cell_alloc(self);

	if (WF_UNLIKELY(!cell)) {
		undo_inputs(self, ext, edges);
		return -ENOMEM;
	}
	wf_cell_init(self, cell, out ? WF_CELL_TASK : WF_CELL_TASK | WF_CELL_FORGET,
	             WF_STATE_RUNNING, far ? 0 : size);
	cell->u.fn = call->fn;
	wf_cell_set_ext(cell, ext);
	ext->cell = (uint32_t)(cell - rt->cells);
	if (far)
		memcpy((char *)ext + arg_at, call->arg, size);
	else
		wf_copy_inline(cell->data, call->arg, size);
	ext->parent = wf_tag_of(self->current);
	WF_DEBUG(wf_ext_arg_at(ext) == arg_at && !wf_ext_more(ext));
	/* From the next step on the task may end, and its ext with it. */
	if (out)
		*out = wf_ref_of(rt, cell);
	/* Counted first: the sums must never show more ends than submits. */
	wf_bump(&self->submitted);
	if (pending) {
		link_pending(self, ext, pending);
		return 0;
	}
	wf_init(&ext->unready, 0);
	/* release [C1]: as when the last input becomes ready. */
	wf_store_release(&cell->promise.state, WF_STATE_QUEUED);
	wf_ready_soon(self, cell, WEFT_PRIORITY_NORMAL);
	return 0;
}

int wf_plain_spawn(struct wf_local *self, weft_task_fn *fn, const void *arg, size_t size,
                   weft_ref *out)
{
	WF_DEBUG(self->worker && size > WF_INLINE_BYTES && size <= WF_PLAIN_ARG);
	weft *rt = self->rt;
	uint32_t block;
	struct wf_ext *ext = wf_plain_alloc(self, sizeof(*ext) + size, &block);

	if (WF_UNLIKELY(!ext))
		return -ENOMEM;
	struct wf_cell *cell = wf_cell_alloc(self);

	if (WF_UNLIKELY(!cell)) {
		wf_block_free(self, ext, block);
		return -ENOMEM;
	}
	wf_cell_init(self, cell, out ? WF_CELL_TASK : WF_CELL_TASK | WF_CELL_FORGET,
	             WF_STATE_QUEUED, 0);
	cell->u.fn = fn;
	wf_cell_set_ext(cell, ext);
	plain_head(ext, &(struct weft_call){ .arg_size = (uint32_t)size }, block);
	ext->cell = (uint32_t)(cell - rt->cells);
	ext->parent = wf_tag_of(self->current);
	wf_init(&ext->unready, 0);
	memcpy((char *)ext + sizeof(*ext), arg, size);
	if (out)
		*out = wf_ref_of(rt, cell);
	wf_bump(&self->submitted);
	wf_ready_soon(self, cell, WEFT_PRIORITY_NORMAL);
	return 0;
}

/* ---- Run ----------------------------------------------------------------------------------- */

bool wf_plain_run(struct wf_local *self, struct wf_cell *cell)
{
	struct weft_task frame;
	int code;

	/* relaxed: our own store. */
	WF_DEBUG(wf_load_relaxed(&cell->promise.state) == WF_STATE_RUNNING);
	if (!wf_plain_may_run(self, cell))
		return false;
	/* relaxed: only to have what waits first come while the body runs. */
	__builtin_prefetch((void *)(wf_load_relaxed(&cell->promise.waiters) & ~WF_W_BITS), 1);
	wf_plain_frame(self, cell, &frame);
	self = wf_task_call(self, &frame, &code);
	if (WF_LIKELY(code >= 0 && !frame.payload && !frame.error))
		wf_plain_end(self, cell);
	wf_task_end(self, &frame, code);
	return true;
}
