/*
 * submit.c: from a call to a queued or waiting task.
 *
 * weft_spawn() on a worker is the short way: a cell, sixteen bytes of argument, a push. The long
 * way resolves options, takes a cold block, links one waiter per pending input, and undoes
 * everything when any step fails, so that a failed submit leaves no trace.
 */
#include <errno.h>
#include <string.h>

#include "keyed.h"
#include "lineage.h"
#include "options.h"
#include "plain.h"

struct wf_cell *wf_cell_start(struct wf_local *self, uint32_t kind, enum wf_state state)
{
	struct wf_cell *cell = wf_cell_alloc(self);

	if (!cell)
		return NULL;
	cell->parent = WF_TAG_NONE;
	wf_cell_init(self, cell, kind, state, 0);
	return cell;
}

struct wf_cell *wf_event_start(struct wf_local *self, uint32_t kind)
{
	struct wf_cell *cell = wf_cell_start(self, kind, WF_STATE_RUNNING);

	if (!cell)
		return NULL;
	wf_flags_add(cell, WF_CELL_SHARED);
	/* release [C2]: from here on wf_cancel_everything() may end it. */
	wf_store_release(&cell->promise.state, WF_STATE_WAITING);
	return cell;
}

/* ---- The gate ------------------------------------------------------------------------------ */

/* Whether a submit from here is let in. */
static int gate(weft *rt, bool inside)
{
	/* acquire [G1]: what weft_close() did before it shut the gate. */
	uint32_t g = wf_load_acquire(&rt->gate);

	if (g == WF_GATE_OPEN || (g == WF_GATE_DRAIN && inside))
		return 0;
	return g == WF_GATE_FORKED ? -ECHILD : WEFT_ECLOSED;
}

int wf_gate_check(weft *rt)
{
	struct wf_local *self = wf_self();

	return gate(rt, self && self->rt == rt && self->current);
}

/* ---- The short way ------------------------------------------------------------------------- */

WF_NOINLINE static int spawn_slow(weft *rt, weft_task_fn *fn, const void *arg, size_t size,
                                  weft_ref *out)
{
	struct weft_call call = { .fn = fn, .arg = arg, .arg_size = (uint32_t)size };
	struct wf_local *self = wf_self();

	/* relaxed: as in weft_spawn(). */
	if (self && self->fast_rt == rt && fn && arg && size > WF_INLINE_BYTES &&
	    size <= WF_PLAIN_ARG && !wf_load_relaxed(&rt->gate))
		return wf_plain_spawn(self, fn, arg, size, out);
	if (size > WEFT_ARG_MAX)
		return -EMSGSIZE;
	return weft_submit_call(rt, &call, out);
}

int weft_spawn(weft *rt, weft_task_fn *fn, const void *arg, size_t size, weft_ref *out)
{
	struct wf_local *self = wf_self();

	/* relaxed: a gate that shuts now may be seen a little later. */
	if (WF_UNLIKELY(!self || self->fast_rt != rt || !fn || size > WF_INLINE_BYTES ||
	                (size && !arg) || wf_load_relaxed(&rt->gate)))
		return spawn_slow(rt, fn, arg, size, out);
	struct wf_deque *deque = &wf_worker_of(self)->deque[WEFT_PRIORITY_NORMAL];
	struct wf_cell *cell = self->slab.cells_free;
	uint32_t b = wf_deque_bottom_local(deque);

	/*
	 * With a cell and a slot at hand nothing can fail, and there is no call below that returns
	 * here: no register has to be saved.
	 */
	if (WF_UNLIKELY(!cell || !wf_deque_has_room_local(deque, b)))
		return spawn_slow(rt, fn, arg, size, out);
	wf_cell_unlink(self, cell);
	cell->parent = wf_tag_of(self->current);
	/* Twice, so that neither decides about the flag. */
	if (WF_LIKELY(out != NULL)) {
		wf_cell_init(self, cell, WF_CELL_TASK, WF_STATE_QUEUED, (uint32_t)size);
		*out = wf_ref_of(rt, cell);
	} else {
		wf_cell_init(self, cell, WF_CELL_TASK | WF_CELL_FORGET, WF_STATE_QUEUED,
		             (uint32_t)size);
	}
	cell->u.fn = fn;
	wf_copy_inline(cell->data, arg, size);
	wf_bump(&self->submitted);
	wf_deque_put_local(deque, b, cell);
	return wf_pushed_put(rt, wf_worker_of(self));
}

/* ---- The long way -------------------------------------------------------------------------- */

int wf_submit_check(weft *rt, const struct weft_call *call)
{
	uint32_t edges = (uint32_t)call->n_inputs + call->n_after;

	if (!call->fn || (call->arg_size && !call->arg) || (edges && !call->inputs))
		return -EINVAL;
	if (call->arg_size > WEFT_ARG_MAX)
		return -EMSGSIZE;
	for (uint32_t i = 0; i < edges; i++) {
		const struct wf_cell *cell = wf_cell_of(rt, call->inputs[i]);

		if (!cell || wf_cell_is_stream(cell))
			return -EINVAL;
	}
	return 0;
}

/* Cells that hold outputs: a stream's or a list's items are not among them. */
static inline uint32_t outputs_of(const struct weft_task_options *o)
{
	return o->n_outputs > WEFT_OUTPUTS_MAX ? 1 : o->n_outputs;
}

/* One submit, as it is being built. */
struct build {
	const struct weft_call *call;
	const struct weft_task_options *o;
	const struct wf_setup *setup; /* NULL: default options, or the library's own task */
	struct wf_legacy legacy;
	struct wf_class *class;     /* consumed by the cold block; NULL: no request */
	struct wf_keyed *keyed;     /* NULL: no key */
	struct wf_lineage *lineage; /* NULL: not to be rebuilt */
	struct wf_group *group;     /* entered; NULL: none */
	struct wf_tag parent;
	bool orphan; /* nobody's child, whoever submits it */
	bool forget;
	bool abandon; /* what its getters wait for is a further output */
};

/* Whether the task's times are kept. */
static bool is_timed(const struct build *b, const weft *rt)
{
	return rt->timing && !(b->o->flags & WEFT_TASK_NO_EVENTS);
}

static bool needs_plus(const struct build *b)
{
	return b->legacy.context || b->legacy.identity || (b->setup && b->setup->plus);
}

static bool needs_ext(const struct build *b, weft *rt)
{
	const struct weft_call *call = b->call;
	const struct weft_task_options *o = b->o;

	return call->n_inputs || call->n_after || call->arg_size > WF_INLINE_BYTES || call->site ||
		o->name || o->flags || o->n_outputs > 1 || o->priority || o->on_input_error ||
		o->deadline || o->arg_drop || is_timed(b, rt) || b->class || b->keyed || b->group ||
		needs_plus(b);
}

/* The further cells. False: no memory; those that were made are in the list, the others 0. */
static bool ext_outs(struct wf_local *self, struct wf_ext *ext, struct wf_cell *cell, bool forget)
{
	uint32_t *outs = wf_ext_outs(ext);

	for (uint32_t i = 0; i + 1 < ext->n_outputs; i++)
		outs[i] = 0;
	for (uint32_t i = 0; i + 1 < ext->n_outputs; i++) {
		struct wf_cell *out = wf_cell_start(self, WF_CELL_OUTPUT, WF_STATE_WAITING);

		if (!out)
			return false;
		if (forget)
			wf_flags_add(out, WF_CELL_FORGET);
		else
			wf_promise_retain(&cell->promise);
		out->main = cell;
		outs[i] = (uint32_t)(out - self->rt->cells);
	}
	return true;
}

/* Undo a half-built ext. No edge is linked, no count is taken, arg_drop is not called. */
static void ext_undo(struct wf_local *self, struct wf_ext *ext)
{
	uint32_t *outs = wf_ext_outs(ext);

	for (uint32_t i = 0; i + 1 < ext->n_outputs; i++) {
		if (outs[i])
			wf_cell_free(self, &self->rt->cells[outs[i]]);
	}
	if (wf_ext_more(ext)) {
		wf_ext_more(ext)->arg_drop = NULL;
		wf_ext_more(ext)->keyed = NULL;
		wf_ext_more(ext)->lineage = NULL;
	}
	ext->flags |= WF_EXT_RELEASED;
	wf_ext_free(self, ext, false);
}

static struct wf_ext *ext_alloc(struct wf_local *self, const struct wf_ext *head)
{
	size_t bytes = wf_ext_arg_at(head) + (head->flags & WF_EXT_ARG ? head->arg_size : 0);
	uint32_t got = 0;
	struct wf_ext *ext = bytes <= WF_BLOCK_MAX_BYTES ? wf_block_alloc(self, bytes, &got)
							 : wf_big_alloc(self, head, bytes);

	if (!ext)
		return NULL;
	if (got) {
		*ext = *head;
		ext->block = got & 15;
	}
	if (head->call)
		memset((char *)ext + sizeof(*ext) + wf_ext_edge_count(ext) * sizeof(struct wf_edge),
		       0, head->call * 16u);
	return ext;
}

static void ext_head(struct wf_ext *head, const weft *rt, const struct wf_cell *cell,
                     const struct build *b)
{
	const struct weft_call *call = b->call;
	const struct weft_task_options *o = b->o;
	bool more = o->name || o->arg_drop || o->deadline || is_timed(b, rt) || b->keyed ||
		b->lineage || o->flags & (WEFT_TASK_EMITS | WEFT_TASK_ABANDON);
	/* Of a call of an actor the argument is here, because its link lies in the cell. */
	bool of_actor = call->actor.bits;
	bool arg =
		call->arg_size > WF_INLINE_BYTES || ((o->arg_drop || of_actor) && call->arg_size);

	*head = (struct wf_ext){
		.parent = b->parent,
		.site_bits = (uintptr_t)call->site,
		.cell = (uint32_t)(cell - rt->cells),
		.n_inputs = call->n_inputs,
		.n_after = call->n_after,
		.n_outputs = (outputs_of(o) + b->abandon) & 2047,
		.arg_size = call->arg_size,
		.policy = o->on_input_error & 3,
		.priority = o->priority & 3,
		.flags = (uint8_t)((o->flags &
		                    (WEFT_TASK_STAY | WEFT_TASK_BLOCKING | WEFT_TASK_EMITS |
		                     WF_EXT_ALWAYS)) |
		                   (more ? WF_EXT_MORE : 0) | (arg ? WF_EXT_ARG : 0)),
		.parts = (uint8_t)(((b->class ? WF_PART_REQUEST : 0) |
		                    (needs_plus(b) ? WF_PART_PLUS : 0) |
		                    (o->flags & WEFT_TASK_SKIP_EMPTY ? WF_PART_SKIP_EMPTY : 0) |
		                    (b->group ? WF_PART_GROUP : 0)) &
		                   15),
		.call = of_actor ? WF_CALL_WAITS : 0,
	};
}

static struct wf_ext *ext_create(struct wf_local *self, struct wf_cell *cell, struct build *b)
{
	struct wf_ext head;
	const struct weft_task_options *o = b->o;
	bool timed = is_timed(b, self->rt);

	ext_head(&head, self->rt, cell, b);
	struct wf_ext *ext = ext_alloc(self, &head);

	if (!ext)
		return NULL;
	if (b->class)
		wf_request_init(wf_ext_request(ext), b->class);
	b->class = NULL;
	if (wf_ext_more(ext))
		*wf_ext_more(ext) =
			(struct wf_more){ .name = o->name,
			                  .arg_drop = o->arg_drop,
			                  .deadline.until = o->deadline,
			                  .abandon = b->abandon,
			                  .keyed = b->keyed,
			                  .lineage = b->lineage,
			                  .timed = timed,
			                  .submit_ns = timed ? wf_clock_now(&self->rt->clock) : 0 };
	if (ext->flags & WF_EXT_ARG)
		memcpy(wf_ext_arg(ext), b->call->arg, b->call->arg_size);
	WF_DEBUG(ext->arg_size <= WEFT_ARG_MAX);
	bool made = !wf_ext_plus(ext) || wf_plus_init(wf_ext_plus(ext), b->setup, &b->legacy);

	made = ext_outs(self, ext, cell, b->forget) && made;
	if (made && o->flags & WEFT_TASK_EMITS) {
		wf_ext_more(ext)->stream = wf_stream_create(self, cell, o, b->forget);
		made = wf_ext_more(ext)->stream;
	}
	if (!made) {
		ext_undo(self, ext);
		return NULL;
	}
	return ext;
}

/* Link one waiter per pending input. From the first on, others may end the task early. */
static void link_edges(struct wf_local *self, struct wf_ext *ext, const struct weft_call *call)
{
	uint32_t edges = wf_ext_edge_count(ext);

	for (uint32_t i = 0; i < edges; i++) {
		struct wf_cell *src = wf_cell_of(self->rt, call->inputs[i]);

		wf_promise_retain(&src->promise);
		ext->edges[i] = wf_edge_to((uint32_t)(src - self->rt->cells), i);
	}
	for (uint32_t i = 0; i < edges; i++) {
		struct wf_cell *src = &self->rt->cells[ext->edges[i].src];
		uintptr_t taken = 0;
		bool foreign = wf_cell_foreign(self, src);

		if (wf_promise_is_done(&src->promise) ||
		    !wf_promise_push(&src->promise, &ext->edges[i].waiter, foreign, &taken))
			wf_edge_fire(&ext->edges[i].waiter, src, self);
		else if (foreign)
			/* relaxed: a hint, see mind_strangers(). */
			wf_add_relaxed(&self->rt->locals[wf_cell_owner(src)]->foreign_touches, 1);
		if (taken)
			wf_cell_fire(self, src, taken);
	}
	if (WF_UNLIKELY(ext->parts & WF_PART_REQUEST))
		wf_ext_linked_gpu(self, ext);
	else
		wf_ext_linked(self, ext);
}

static void give_refs(weft *rt, struct wf_cell *cell, struct wf_ext *ext,
                      const struct weft_task_options *o, weft_ref *out)
{
	if (!out || !o->n_outputs)
		return;
	if (o->flags & WEFT_TASK_ABANDON) {
		out[0] = wf_ref_of(rt, &rt->cells[wf_ext_outs(ext)[0]]);
		/* The outcome holds it. */
		WF_CHECK(!wf_promise_drop(&cell->promise));
		return;
	}
	out[0] =
		wf_ref_of(rt, o->n_outputs == WEFT_OUTPUTS_STREAM ? wf_ext_stream(ext)->gen : cell);
	for (uint32_t i = 1; i < ext->n_outputs; i++)
		out[i] = wf_ref_of(rt, &rt->cells[wf_ext_outs(ext)[i - 1]]);
}

/*
 * From here on its deadline may end it. One that waits has its guard of the linker, the ext stays;
 * one that does not is RUNNING until it is queued, which keeps cancellers off its ext.
 */
static void arm(struct wf_local *self, struct wf_cell *cell, struct wf_ext *ext, bool forget)
{
	/* Of one that nobody has a ref of, the timer has the first count. */
	if (!forget)
		wf_promise_retain(&cell->promise);
	WF_DEBUG(!(wf_flags(cell) & WF_CELL_FORGET));
	WF_DEBUG(wf_ext_more(ext) && wf_ext_more(ext)->deadline.until > 0);
	wf_timer_add_task(self->rt, &wf_ext_more(ext)->deadline,
	                  (uint32_t)(cell - self->rt->cells));
}

/* It waits for nothing but a worker, or for resources. */
static void enqueue(struct wf_local *self, struct wf_cell *cell, struct wf_ext *ext)
{
	if (ext->parts & WF_PART_REQUEST) {
		wf_admit(self, cell);
		return;
	}
	uint32_t ready = wf_ext_ready(ext);

	/* release [C1]: a canceller that sees QUEUED frees the ext that was read before. */
	wf_store_release(&cell->promise.state, WF_STATE_QUEUED);
	wf_ready_cell(self, cell, ready);
}

/* Everything is taken: start it, or let it wait for its inputs. */
static void start(struct wf_local *self, struct wf_cell *cell, struct wf_ext *ext,
                  const struct build *b)
{
	bool edges = b->call->n_inputs || b->call->n_after;

	WF_DEBUG(cell->ext_word == ext && ext->cell == (uint32_t)(cell - self->rt->cells));

	if (edges) {
		wf_init(&ext->unready, (wf_ext_edge_count(ext) + 1) | WF_UNREADY_LINKING);
		/* release [C2]: what was built, to who finds it waiting. */
		wf_store_release(&cell->promise.state, WF_STATE_WAITING);
	}
	if (b->o->deadline) {
		wf_promise_retain(&cell->promise);
		arm(self, cell, ext, b->forget);
	}
	if (edges) {
		link_edges(self, ext, b->call);
		if (b->group)
			wf_group_linked(self, b->group, cell);
	} else {
		enqueue(self, cell, ext);
	}
	if (b->o->deadline)
		wf_cancel_missed(self, cell);
}

static int submit(struct wf_local *self, struct build *b, weft_ref *out)
{
	weft *rt = self->rt;
	const struct weft_call *call = b->call;
	bool edges = call->n_inputs || call->n_after;
	/* What may be ended without us is out of cancellers' reach until it is built. */
	bool exposed = edges || b->o->deadline || b->group;
	struct wf_cell *cell =
		wf_cell_start(self, WF_CELL_TASK, exposed ? WF_STATE_RUNNING : WF_STATE_QUEUED);
	struct wf_ext *ext = NULL;

	if (!cell)
		return -ENOMEM;
	cell->u.fn = call->fn;
	cell->parent = b->parent;
	if (b->forget && !b->o->deadline)
		wf_flags_add(cell, WF_CELL_FORGET);
	if (b->group)
		/* relaxed: published with the task. */
		wf_store_relaxed(&cell->place, wf_place(b->group->index));
	if (call->arg_size <= WF_INLINE_BYTES) {
		wf_copy_inline(cell->data, call->arg, call->arg_size);
		cell->mark.size = (uint8_t)call->arg_size;
	}
	if (needs_ext(b, rt)) {
		ext = ext_create(self, cell, b);
		if (!ext) {
			wf_cell_free(self, cell);
			return -ENOMEM;
		}
		wf_cell_set_ext(cell, ext);
	}
	WF_DEBUG(!b->class && (ext || !edges));
	/* Counted first: the sums must never show more ends than submits. */
	wf_bump(&self->submitted);
	if (ext) {
		/* From the next step on the task may end, and its ext with it. */
		give_refs(rt, cell, ext, b->o, out);
		start(self, cell, ext, b);
		return 0;
	}
	weft_ref ref = wf_ref_of(rt, cell);
	int rc = wf_ready_try(self, cell);

	if (rc) {
		wf_bump(&self->completed);
		wf_cell_free(self, cell);
		return rc;
	}
	if (out && b->o->n_outputs)
		out[0] = ref;
	return 0;
}

/* Which group a task is in, which counts it from here on. */
static int enter_group(weft *rt, struct wf_local *self, struct build *b)
{
	weft_group wanted = { b->setup ? b->setup->o.group.bits : 0 };

	return wf_group_enter(rt, self, wanted, &b->group);
}

static int submit_checked(weft *rt, struct build *b, weft_ref *out)
{
	struct wf_local *self = wf_local_of(rt);

	WF_DEBUG(b->o && b->call);
	if (!self)
		return -ENOMEM;
	b->forget = !out || !b->o->n_outputs;
	/* relaxed: whoever knows of a group has seen the table come. */
	int rc = WF_UNLIKELY(wf_load_relaxed(&rt->groups)) ? enter_group(rt, self, b) : 0;

	if (rc)
		return rc;
	b->parent = b->orphan ? WF_TAG_NONE : wf_tag_here(self);
	b->legacy = wf_legacy_of(self, b->setup);
	rc = wf_place_class(self, b->setup, &b->class);
	if (!rc && b->o->deadline)
		rc = wf_timer_reserve(rt);
	bool reserved = !rc && b->o->deadline;

	b->abandon = b->o->flags & WEFT_TASK_ABANDON && !b->forget;
	if (!rc)
		rc = submit(self, b, out);
	if (rc && reserved)
		wf_timer_unreserve(rt);
	WF_DEBUG(rc || !b->class);
	if (b->class)
		wf_admit_class_drop(rt, b->class);
	if (rc)
		wf_group_undo(self, b->group);
	return rc;
}

/* ---- Calls of actors ------------------------------------------------------------------------- */

struct wf_cell *wf_submit_prepare(struct wf_local *self, const struct weft_call *call,
                                  const struct weft_task_options *o, const struct wf_setup *setup,
                                  struct wf_tag parent, bool forget)
{
	struct build b = {
		.call = call, .o = o, .setup = setup, .parent = parent, .forget = forget
	};
	struct wf_cell *cell = wf_cell_start(self, WF_CELL_TASK, WF_STATE_RUNNING);

	if (!cell)
		return NULL;
	cell->u.fn = call->fn;
	if (forget && !o->deadline)
		wf_flags_add(cell, WF_CELL_FORGET);
	b.legacy = wf_legacy_of(self, setup);
	struct wf_ext *ext = ext_create(self, cell, &b);

	if (!ext) {
		wf_cell_free(self, cell);
		return NULL;
	}
	wf_cell_set_ext(cell, ext);
	return cell;
}

void wf_submit_inputs(struct wf_local *self, struct wf_ext *ext, const struct weft_call *call)
{
	for (uint32_t i = 0; i < wf_ext_edge_count(ext); i++) {
		struct wf_cell *src = wf_cell_of(self->rt, call->inputs[i]);

		WF_CHECK(src && wf_promise_is_done(&src->promise));
		wf_promise_retain(&src->promise);
		ext->edges[i] = wf_edge_to((uint32_t)(src - self->rt->cells), i);
	}
}

void wf_submit_undo(struct wf_local *self, struct wf_cell *cell, struct wf_ext *ext)
{
	ext_undo(self, ext);
	wf_cell_free(self, cell);
}

int wf_submit_to(struct wf_local *self, const struct wf_target *to, const struct weft_call *call,
                 const struct weft_task_options *o, const struct wf_setup *setup, weft_ref *out)
{
	bool forget = !out || !o->n_outputs;
	/* What is the actor's own goes on when whoever creates it is cancelled. */
	struct wf_tag parent = to->own ? WF_TAG_NONE : wf_tag_here(self);
	struct wf_cell *cell = wf_submit_prepare(self, call, o, setup, parent, forget);
	struct wf_ext *ext = cell ? wf_cell_ext(cell) : NULL;

	if (!cell)
		return -ENOMEM;
	WF_DEBUG(to->actor && ext->call == WF_CALL_WAITS);
	/* Not to be found by a walker before it is let in. */
	cell->parent = WF_TAG_NONE;
	int rc = o->deadline ? wf_timer_reserve(self->rt) : 0;
	bool reserved = o->deadline && !rc;

	/* Counted first, as in submit(): a kill may end it as soon as it is let in. */
	wf_bump(&self->submitted);
	if (!rc)
		rc = wf_call_admit(self, to, cell, ext, call->n_inputs || call->n_after);
	if (rc < 0 && reserved)
		wf_timer_unreserve(self->rt);
	if (rc < 0 && (rc != WEFT_EACTOR || forget)) {
		/* relaxed: ours. release [Q1]: as wf_bump(); nobody has ended it. */
		wf_store_release(&self->submitted, wf_load_relaxed(&self->submitted) - 1);
		wf_submit_undo(self, cell, ext);
		return rc;
	}
	bool timed = rc >= 0 && reserved;

	if (timed) {
		wf_promise_retain(&cell->promise);
		arm(self, cell, ext, forget);
	}
	give_refs(self->rt, cell, ext, o, out);
	if (rc > 0) {
		link_edges(self, ext, call);
	} else if (!rc) {
		wf_call_post(self, cell);
	} else {
		/* It holds no edges yet; the ref says that the actor is dead. */
		ext->flags |= WF_EXT_RELEASED;
		wf_cell_set_ext(cell, ext);
		wf_task_refuse(self, cell, wf_call_error(to));
		/* The ref is the actor's. */
		if (to->own)
			wf_cell_release(self, cell);
	}
	if (timed)
		wf_cancel_missed(self, cell);
	return 0;
}

static int submit_call_of(weft *rt, const struct build *b, weft_ref *out)
{
	struct wf_target to;
	/* A call has what its actor holds, and a worker; it has no request of its own. */
	int rc = b->setup && (b->setup->request || b->o->flags & WEFT_TASK_REBUILD)
		? -ENOTSUP
		: wf_call_target(rt, b->call, b->o, &to);
	struct wf_local *self = rc ? NULL : wf_local_of(rt);

	if (!self)
		return rc ? rc : -ENOMEM;
	to.caller = wf_caller_of(self);
	return wf_submit_to(self, &to, b->call, b->o, b->setup, out);
}

/* A task whose results may be computed again: its argument is dropped with what that needs. */
static int submit_rebuildable(weft *rt, struct build *b, struct wf_setup *setup, weft_ref *out)
{
	struct wf_local *self = wf_local_of(rt);

	WF_DEBUG(setup->o.flags & WEFT_TASK_REBUILD && b->setup == setup);
	b->lineage = self ? wf_lineage_create(rt, b->call, setup) : NULL;
	if (!b->lineage)
		return -ENOMEM;
	setup->o.arg_drop = NULL;
	int rc = submit_checked(rt, b, out);

	if (rc)
		wf_lineage_undo(self, b->lineage);
	return rc;
}

WF_NOINLINE static WF_SUSPENDS int submit_any(weft *rt, const struct weft_call *call, weft_ref *out)
{
	static const struct weft_task_options plain = { .n_outputs = 1 };
	struct build b = { .call = call, .o = &plain };
	struct wf_setup setup;
	int rc = 0;

	if (call->opts) {
		rc = wf_setup_read(rt, call->opts, &setup);
		b.setup = &setup;
		b.o = &setup.o;
	}
	if (!rc)
		rc = wf_submit_check(rt, call);
	if (!rc)
		rc = wf_gate_check(rt);
	if (!rc && call->actor.bits)
		return submit_call_of(rt, &b, out);
	if (!rc && call->opts)
		rc = b.o->actor_group || b.o->actor_class ? -EINVAL : wf_keyed_wanted(rt, b.o);
	if (rc)
		return rc > 0 ? wf_keyed_submit(rt, call, b.o, out) : rc;
	/* What nobody has a ref of nobody will miss. */
	if (b.o->flags & WEFT_TASK_REBUILD && out && b.o->n_outputs)
		return submit_rebuildable(rt, &b, &setup, out);
	return submit_checked(rt, &b, out);
}

int wf_submit_setup(weft *rt, const struct weft_call *call, const struct wf_setup *setup,
                    weft_ref *out)
{
	struct build b = { .call = call, .o = &setup->o, .setup = setup, .orphan = true };

	return submit_checked(rt, &b, out);
}

int wf_submit_keyed(weft *rt, const struct weft_call *call, const struct weft_task_options *o,
                    struct wf_keyed *keyed, weft_ref *out)
{
	/* The options are those that weft_submit_call() has read. */
	const struct wf_setup *setup =
		(const void *)((const char *)o - offsetof(struct wf_setup, o));
	struct build b = { .call = call, .o = o, .setup = setup, .keyed = keyed };
	int rc = wf_gate_check(rt);

	return rc ? rc : submit_checked(rt, &b, out);
}

int weft_submit_call(weft *rt, const struct weft_call *call, weft_ref *out)
{
	if (!rt || !call)
		return -EINVAL;
	struct wf_local *me = wf_self();

	/* relaxed: as in weft_spawn(). */
	if (WF_LIKELY(me && me->fast_rt == rt && !wf_load_relaxed(&rt->gate)) &&
	    wf_call_is_plain(call))
		return wf_plain_submit(me, call, out);
	return submit_any(rt, call, out);
}

/* Fire and forget, with flags that the public door refuses; the options are right as they are. */
int wf_submit_internal(weft *rt, const struct weft_call *call)
{
	struct weft_task_options o = *call->opts;
	int rc = wf_submit_check(rt, call);

	if (!rc)
		rc = wf_gate_check(rt);
	if (rc)
		return rc;
	struct wf_local *self = wf_local_of(rt);

	o.n_outputs = 1;
	/* Nobody's child: what the library does for a task goes on when that is cancelled. */
	struct build b = { .call = call, .o = &o, .parent = WF_TAG_NONE, .forget = true };

	return self ? submit(self, &b, NULL) : -ENOMEM;
}

/* A call that goes the short way. */
static inline bool is_plain(const struct weft_call *call)
{
	return call->fn && !call->actor.bits && !call->opts && !call->site && !call->inputs &&
		!call->n_inputs && !call->n_after && call->arg_size <= WF_INLINE_BYTES &&
		(call->arg || !call->arg_size);
}

#define BATCH_LOOK 64u /* pushes between two looks for who is hungry */

/*
 * Plain calls from the front, the short way, with everything looked up once and hungry workers
 * looked for now and then: after the second, so that they begin early, and then once per
 * BATCH_LOOK. How many went.
 */
static uint32_t spawn_batch(struct wf_local *self, const struct weft_call *calls, uint32_t n,
                            weft_ref *out)
{
	weft *rt = self->rt;
	struct wf_worker *worker = wf_worker_of(self);
	struct wf_deque *deque = &worker->deque[WEFT_PRIORITY_NORMAL];
	uint32_t kind = out ? WF_CELL_TASK : WF_CELL_TASK | WF_CELL_FORGET;
	struct wf_tag parent = wf_tag_of(self->current);
	uint32_t i;

	WF_DEBUG(self->worker && self->fast_rt == rt);
	for (i = 0; i < n; i++) {
		const struct weft_call *call = &calls[i];
		struct wf_cell *cell = self->slab.cells_free;
		uint32_t b = wf_deque_bottom_local(deque);

		if (!is_plain(call) || !cell || !wf_deque_has_room_local(deque, b))
			break;
		wf_cell_unlink(self, cell);
		cell->parent = parent;
		wf_cell_init(self, cell, kind, WF_STATE_QUEUED, call->arg_size);
		cell->u.fn = call->fn;
		wf_copy_inline(cell->data, call->arg, call->arg_size);
		if (out)
			out[i] = wf_ref_of(rt, cell);
		wf_bump(&self->submitted);
		wf_deque_put_local(deque, b, cell);
		if (i % BATCH_LOOK == 1)
			wf_pushed_put(rt, worker);
	}
	if (i)
		wf_pushed_put(rt, worker);
	WF_DEBUG(i <= n);
	return i;
}

int weft_submit_many(weft *rt, const struct weft_call *calls, uint32_t n, weft_ref *out)
{
	if (!rt || (n && !calls) || n > INT32_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		struct wf_local *self = wf_self();
		struct wf_setup setup;

		/* relaxed: a gate that shuts now may be seen a little later. */
		if (self && self->fast_rt == rt && !wf_load_relaxed(&rt->gate))
			i += spawn_batch(self, &calls[i], n - i, out ? &out[i] : NULL);
		if (i == n)
			break;
		int rc = calls[i].opts ? wf_setup_read(rt, calls[i].opts, &setup) : 0;

		/* One ref per call: further outputs would have no place. */
		if (!rc && calls[i].opts && outputs_of(&setup.o) > 1)
			rc = -EINVAL;
		if (!rc)
			rc = weft_submit(rt, &calls[i], out ? &out[i] : NULL);
		if (rc)
			return i ? (int)i : rc;
		if (out && calls[i].opts && !setup.o.n_outputs)
			out[i] = (weft_ref){ 0 };
	}
	return (int)n;
}
