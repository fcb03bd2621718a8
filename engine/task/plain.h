/*
 * plain.h: what the short and the long way of a task share, from submit to end or cancel.
 */
#ifndef WF_PLAIN_H
#define WF_PLAIN_H

#include "runtime.h"

/* The fields every fresh cell has, but for the parent. */
static inline void wf_cell_init(struct wf_local *self, struct wf_cell *cell, uint32_t kind,
                                enum wf_state state, uint32_t size)
{
	wf_init(&cell->promise.waiters, 0);
	wf_init(&cell->promise.refs, 0);
	/* WF_CANCEL_NO is zero. */
	wf_init(&cell->head, self->head + wf_head(0, kind));
	wf_init(&cell->place, wf_place(0));
	wf_init(&cell->mark.all, wf_mark(0, size, 0));
	/* relaxed: published by the queue or by the handle. */
	wf_store_relaxed(&cell->promise.state, (uint32_t)state);
}

/* Nobody may look at an ext while it goes: wait for a canceller that locked the cell. */
static inline void wf_wait_for_canceller(struct wf_local *self, struct wf_cell *cell)
{
	if (self->rt->asymmetric)
		wf_fence_compiler();
	else
		wf_fence_seq_cst();
	/* acquire [C1]: the canceller's accesses are over. */
	while (WF_UNLIKELY(wf_load_acquire(&cell->cancel) == WF_CANCEL_LOCKED))
		wf_cpu_relax();
}

/*
 * The canceller has locked the task, which waits; it ends, and is unlocked. `how`: WF_CANCEL_ASKED,
 * or LATE. It is only noted when somebody else ends the task, or when its last input has come;
 * true: that, and it is on its way to a queue.
 */
bool wf_task_end_waiting(struct wf_local *self, struct wf_cell *cell, uint8_t how);
/*
 * The same for one that is queued, which is to be finished with the error that is returned.
 * `counted`: the canceller has a count of the cell. If not, see wf_cell_part().
 */
struct wf_error *wf_task_claim_queued(struct wf_local *self, struct wf_cell *cell, uint8_t how,
                                      bool counted);

#define WF_PLAIN_EDGES 16  /* of the longest plain list of inputs */
#define WF_PLAIN_ARG   512 /* bytes of argument */

/* Whether a call needs a cold block, and a plain one will do. */
static inline bool wf_call_is_plain(const struct weft_call *call)
{
	uint32_t edges = (uint32_t)call->n_inputs + call->n_after;

	if (!edges && !call->site && call->arg_size <= WF_INLINE_BYTES)
		return false;
	return call->fn && !call->opts && !call->actor.bits && edges <= WF_PLAIN_EDGES &&
		(!edges || call->inputs) && call->arg_size <= WF_PLAIN_ARG &&
		(!call->arg_size || call->arg);
}

static inline size_t wf_plain_arg_at(uint32_t edges)
{
	return sizeof(struct wf_ext) + edges * sizeof(struct wf_edge);
}

/*
 * Blocks of one line, what two inputs or an argument of 32 bytes take, without a call. A plain ext
 * has the owner of its cell, so that its chunk need not be asked.
 */
static inline struct wf_ext *wf_plain_alloc(struct wf_local *self, size_t bytes, uint32_t *got)
{
	struct wf_free *block = self->slab.blocks_free[0];

	if (WF_UNLIKELY(bytes > 64 || !block))
		return wf_block_alloc(self, bytes, got);
	self->slab.blocks_free[0] = block->next;
	/* As for cells: the next one's line may be far away. */
	__builtin_prefetch(block->next, 1);
	*got = 1;
	return (struct wf_ext *)block;
}

/*
 * Free a block of one line that has the owner of `cell`. The head of its chunk is not looked at:
 * all heads lie in the same few sets of a cache, so with many blocks in use each look is a miss.
 */
static inline void wf_line_free(struct wf_local *self, void *line, const struct wf_cell *cell)
{
	struct wf_free *block = line;

	if (WF_UNLIKELY(wf_cell_owner(cell) != self->id)) {
		wf_line_send(self, line, wf_cell_owner(cell));
		return;
	}
	block->next = self->slab.blocks_free[0];
	self->slab.blocks_free[0] = block;
}

/* Whether an input lies in the store, where it has to be held in memory for the body. */
static inline bool wf_plain_needs_store(const weft *rt, const struct wf_ext *ext)
{
	for (uint32_t i = 0; i < ext->n_inputs; i++) {
		if (WF_UNLIKELY(wf_cell_is_outside(&rt->cells[ext->edges[i].src])))
			return true;
	}
	return false;
}

/* Whether a task that has begun, and not by wf_task_begin() alone, may take the short way. */
static inline bool wf_plain_may_run(const struct wf_local *self, const struct wf_cell *cell)
{
	/*
	 * relaxed, both: as in wf_task_begin(), after whose store of the state they are looked at.
	 * A canceller that comes later finds the task running and leaves the ext alone.
	 */
	return WF_LIKELY(!wf_cell_is_bare(cell) && !wf_load_relaxed(&cell->cancel) &&
	                 !wf_load_relaxed(&self->rt->attention) &&
	                 cell->ext_word->flags & WF_EXT_PLAIN) &&
		!wf_plain_needs_store(self->rt, cell->ext_word);
}

static inline void wf_plain_frame(struct wf_local *self, struct wf_cell *cell,
                                  struct weft_task *frame)
{
	struct wf_ext *ext = cell->ext_word;

	WF_DEBUG(ext->flags & WF_EXT_PLAIN && !ext->parts && ext->n_outputs == 1);
	wf_task_frame(self, cell, frame);
	frame->arg_size = ext->arg_size;
	if (ext->flags & WF_EXT_ARG)
		frame->arg = (char *)ext + wf_plain_arg_at(wf_ext_edge_count(ext));
}

/* The body has returned and all is well: let go of the inputs and of the ext. */
static inline void wf_plain_end(struct wf_local *self, struct wf_cell *cell)
{
	struct wf_ext *ext = cell->ext_word;
	uint32_t edges = wf_ext_edge_count(ext);

	WF_DEBUG(ext->flags & WF_EXT_PLAIN && !(ext->flags & WF_EXT_RELEASED) && !ext->pinned);
	wf_wait_for_canceller(self, cell);
	for (uint32_t i = 0; i < edges; i++)
		wf_cell_release(self, &self->rt->cells[ext->edges[i].src]);
	if (WF_UNLIKELY(ext->block != 1))
		wf_block_free(self, ext, ext->block);
	else
		wf_line_free(self, ext, cell);
}

/* Submit a plain call by a worker that records nothing extra (its fast_rt). 0, -EINVAL, -ENOMEM. */
int wf_plain_submit(struct wf_local *self, const struct weft_call *call, weft_ref *out);
/* The same without inputs: 17 to WF_PLAIN_ARG bytes. */
int wf_plain_spawn(struct wf_local *self, weft_task_fn *fn, const void *arg, size_t size,
                   weft_ref *out);
/* Run a task that has begun; false: it is not plain, or something is up, and it was not run. */
bool wf_plain_run(struct wf_local *self, struct wf_cell *cell) WF_SUSPENDS;

#endif /* WF_PLAIN_H */
