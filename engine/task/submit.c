/*
 * submit.c: from a call to a queued or waiting task.
 *
 * weft_spawn() on a worker is the short way: a cell, sixteen bytes of argument, a push. The long
 * way resolves options, takes a cold block, links one waiter per pending input, and undoes
 * everything when any step fails, so that a failed submit leaves no trace.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"

#define BASE_DEPTH_MAX 8
#define NAME_MAX_BYTES 255

/* The fields every fresh cell has. */
static inline void cell_start(struct wf_local *self, struct wf_cell *cell, uint32_t kind,
                              enum wf_state state, uint32_t size)
{
	wf_init(&cell->promise.waiters, 0);
	wf_init(&cell->promise.refs, 0);
	wf_init(&cell->cancel, WF_CANCEL_NO);
	cell->ext = NULL;
	wf_init(&cell->flags, (uint8_t)(kind | self->cell_flags));
	wf_init(&cell->place, wf_place(self->group));
	wf_init(&cell->mark.all, wf_mark(0, size, 0));
	/* relaxed: published by the queue or by the handle. */
	wf_store_relaxed(&cell->promise.state, (uint32_t)state);
}

struct wf_cell *wf_cell_start(struct wf_local *self, uint32_t kind, enum wf_state state)
{
	struct wf_cell *cell = wf_cell_alloc(self);

	if (cell)
		cell_start(self, cell, kind, state, 0);
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

	if (size > WEFT_ARG_MAX)
		return -EMSGSIZE;
	return weft_submit_call(rt, &call, out);
}

int weft_spawn(weft *rt, weft_task_fn *fn, const void *arg, size_t size, weft_ref *out)
{
	struct wf_local *self = wf_self();

	/* relaxed: a gate that shuts now may be seen a little later. */
	if (WF_UNLIKELY(!self || self->rt != rt || !self->fast || !fn || size > WF_INLINE_BYTES ||
	                (size && !arg) || wf_load_relaxed(&rt->gate)))
		return spawn_slow(rt, fn, arg, size, out);
	struct wf_deque *deque = &wf_worker_of(self)->deque[WEFT_PRIORITY_NORMAL];
	struct wf_cell *cell = self->slab.cells_free;

	/* With a cell and a slot at hand nothing can fail, and nothing below is a call. */
	if (WF_UNLIKELY(!cell || !wf_deque_has_room_local(deque)))
		return spawn_slow(rt, fn, arg, size, out);
	cell = wf_cell_alloc(self);
	cell_start(self, cell, out ? WF_CELL_TASK : WF_CELL_TASK | WF_CELL_FORGET, WF_STATE_QUEUED,
	           (uint32_t)size);
	cell->u.fn = fn;
	wf_copy_inline(cell->data, arg, size);
	if (out)
		*out = wf_ref_of(rt, cell);
	wf_bump(&self->submitted);
	wf_deque_put_local(deque, cell);
	return wf_pushed_put(wf_worker_of(self));
}

/* ---- Options ------------------------------------------------------------------------------- */

/* Copy a versioned struct: shorter ones are zero-extended, unknown tails must be zero. */
int wf_options_read(void *to, size_t known, const void *from)
{
	size_t size;

	memcpy(&size, from, sizeof(size));
	if (size < sizeof(size) || size > 4096)
		return -EINVAL;
	for (size_t i = known; i < size; i++) {
		if (((const unsigned char *)from)[i])
			return -EINVAL;
	}
	memset(to, 0, known);
	memcpy(to, from, size < known ? size : known);
	return 0;
}

static void merge(struct weft_task_options *to, const struct weft_task_options *base)
{
#define INHERIT(field) \
	if (!to->field) \
	to->field = base->field
	INHERIT(name);
	INHERIT(flags);
	INHERIT(n_outputs);
	INHERIT(priority);
	INHERIT(on_input_error);
	INHERIT(retries);
	INHERIT(cpus);
	INHERIT(deadline);
	INHERIT(group.bits);
	INHERIT(arg_drop);
#undef INHERIT
}

static int check_options(const struct weft_task_options *o)
{
	for (size_t i = 0; i < sizeof(o->reserved) / sizeof(*o->reserved); i++) {
		if (o->reserved[i])
			return -EINVAL;
	}
	if (o->flags & ~(uint32_t)(WEFT_TASK_STAY | WEFT_TASK_BLOCKING))
		return -EINVAL;
	if (o->n_outputs != WEFT_OUTPUTS_NONE && o->n_outputs > WEFT_OUTPUTS_MAX)
		return -EINVAL;
	if (o->priority > WEFT_PRIORITY_LOW || o->on_input_error > WEFT_INPUT_IGNORE)
		return -EINVAL;
	if (o->retries != WEFT_RETRIES_NONE && o->retries > 254)
		return -EINVAL;
	if (o->deadline < 0 || (o->name && strnlen(o->name, NAME_MAX_BYTES + 1) > NAME_MAX_BYTES))
		return -EINVAL;
	if ((o->cpus > 1 && o->cpus != WEFT_CPUS_NONE) || o->group.bits)
		return -ENOTSUP;
	return 0;
}

static int resolve(const struct weft_task_options *opts, struct weft_task_options *out)
{
	struct weft_task_options one;
	uint32_t depth = 0;

	memset(out, 0, sizeof(*out));
	for (; opts; opts = one.base) {
		int rc = depth++ > BASE_DEPTH_MAX ? -EINVAL
						  : wf_options_read(&one, sizeof(one), opts);

		if (rc)
			return rc;
		merge(out, &one);
		for (size_t i = 0; i < sizeof(one.reserved) / sizeof(*one.reserved); i++)
			out->reserved[i] |= one.reserved[i];
	}
	int rc = check_options(out);

	if (rc)
		return rc;
	if (out->n_outputs == 0)
		out->n_outputs = 1;
	else if (out->n_outputs == WEFT_OUTPUTS_NONE)
		out->n_outputs = 0;
	if (out->retries == WEFT_RETRIES_NONE)
		out->retries = 0;
	return 0;
}

/* ---- The long way -------------------------------------------------------------------------- */

static int check_call(weft *rt, const struct weft_call *call)
{
	uint32_t edges = (uint32_t)call->n_inputs + call->n_after;

	if (!call->fn || (call->arg_size && !call->arg) || (edges && !call->inputs))
		return -EINVAL;
	if (call->arg_size > WEFT_ARG_MAX)
		return -EMSGSIZE;
	for (uint32_t i = 0; i < edges; i++) {
		if (!wf_cell_of(rt, call->inputs[i]))
			return -EINVAL;
	}
	return 0;
}

static bool needs_ext(const struct weft_call *call, const struct weft_task_options *o, weft *rt)
{
	return call->n_inputs || call->n_after || call->arg_size > WF_INLINE_BYTES || call->site ||
		o->name || o->flags || o->n_outputs > 1 || o->priority || o->on_input_error ||
		o->retries || o->deadline || o->arg_drop || rt->timing;
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
	if (wf_ext_more(ext))
		wf_ext_more(ext)->arg_drop = NULL;
	ext->flags |= WF_EXT_RELEASED;
	wf_ext_free(self, ext, false);
}

static struct wf_ext *ext_alloc(struct wf_local *self, const struct wf_ext *head)
{
	size_t bytes = wf_ext_arg_at(head) + (head->flags & WF_EXT_ARG ? head->arg_size : 0);
	uint32_t got = 0;
	struct wf_ext *ext =
		bytes <= WF_BLOCK_MAX_BYTES ? wf_block_alloc(self, bytes, &got) : wf_malloc(bytes);

	if (!ext)
		return NULL;
	*ext = *head;
	ext->block = (uint8_t)got;
	return ext;
}

static struct wf_ext *ext_create(struct wf_local *self, struct wf_cell *cell,
                                 const struct weft_call *call, const struct weft_task_options *o,
                                 bool forget)
{
	bool more = o->name || o->arg_drop || o->deadline || self->rt->timing;
	bool arg = call->arg_size > WF_INLINE_BYTES || (o->arg_drop && call->arg_size);
	struct wf_ext head = { .site = call->site,
		               .cell = (uint32_t)(cell - self->rt->cells),
		               .n_inputs = call->n_inputs,
		               .n_after = call->n_after,
		               .n_outputs = (uint16_t)o->n_outputs,
		               .arg_size = (uint16_t)call->arg_size,
		               .policy = (uint8_t)o->on_input_error,
		               .priority = (uint8_t)o->priority,
		               .flags = (uint8_t)(o->flags | (more ? WF_EXT_MORE : 0) |
		                                  (arg ? WF_EXT_ARG : 0)),
		               .retries_left = (uint8_t)o->retries };
	struct wf_ext *ext = ext_alloc(self, &head);

	if (!ext)
		return NULL;
	if (more)
		*wf_ext_more(ext) = (struct wf_more){ .name = o->name,
			                              .arg_drop = o->arg_drop,
			                              .deadline = o->deadline,
			                              .submit_ns = self->rt->timing
			                                      ? wf_clock_now(&self->rt->clock)
			                                      : 0 };
	if (arg)
		memcpy(wf_ext_arg(ext), call->arg, call->arg_size);
	if (!ext_outs(self, ext, cell, forget)) {
		ext_undo(self, ext);
		return NULL;
	}
	return ext;
}

/* Link one waiter per pending input. From the first on, others may end the task early. */
static void link_edges(struct wf_local *self, struct wf_ext *ext, const struct weft_call *call)
{
	uint32_t edges = wf_ext_edge_count(ext);

	wf_init(&ext->unready, edges + 1);
	for (uint32_t i = 0; i < edges; i++) {
		struct wf_cell *src = wf_cell_of(self->rt, call->inputs[i]);

		wf_promise_retain(&src->promise);
		ext->edges[i] = (struct wf_edge){ .waiter.fire = wf_edge_fire,
			                          .src = (uint32_t)(src - self->rt->cells),
			                          .position = i };
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
			wf_add_relaxed(&self->rt->locals[src->owner]->foreign_touches, 1);
		if (taken)
			wf_cell_fire(self, src, taken);
	}
	wf_ext_linked(self, ext);
}

static void give_refs(weft *rt, struct wf_cell *cell, struct wf_ext *ext,
                      const struct weft_task_options *o, weft_ref *out)
{
	if (!out || !o->n_outputs)
		return;
	out[0] = wf_ref_of(rt, cell);
	for (uint32_t i = 1; i < o->n_outputs; i++)
		out[i] = wf_ref_of(rt, &rt->cells[wf_ext_outs(ext)[i - 1]]);
}

static int submit(struct wf_local *self, const struct weft_call *call,
                  const struct weft_task_options *o, weft_ref *out)
{
	weft *rt = self->rt;
	bool forget = !out || !o->n_outputs;
	bool edges = call->n_inputs || call->n_after;
	struct wf_cell *cell =
		wf_cell_start(self, WF_CELL_TASK, edges ? WF_STATE_WAITING : WF_STATE_QUEUED);
	struct wf_ext *ext = NULL;

	if (!cell)
		return -ENOMEM;
	cell->u.fn = call->fn;
	if (forget)
		wf_flags_add(cell, WF_CELL_FORGET);
	if (call->arg_size <= WF_INLINE_BYTES) {
		wf_copy_inline(cell->data, call->arg, call->arg_size);
		cell->mark.size = (uint8_t)call->arg_size;
	}
	if (needs_ext(call, o, rt)) {
		ext = cell->ext = ext_create(self, cell, call, o, forget);
		if (!ext) {
			wf_cell_free(self, cell);
			return -ENOMEM;
		}
	}
	/* Counted first: the sums must never show more ends than submits. */
	wf_bump(&self->submitted);
	if (ext) {
		/* From the next step on the task may end, and its ext with it. */
		give_refs(rt, cell, ext, o, out);
		if (edges)
			link_edges(self, ext, call);
		else
			wf_ready_cell(self, cell, o->priority);
		return 0;
	}
	weft_ref ref = wf_ref_of(rt, cell);
	int rc = wf_ready_try(self, cell);

	if (rc) {
		wf_bump(&self->completed);
		wf_cell_free(self, cell);
		return rc;
	}
	if (out && o->n_outputs)
		out[0] = ref;
	return 0;
}

int weft_submit_call(weft *rt, const struct weft_call *call, weft_ref *out)
{
	static const struct weft_task_options plain = { .n_outputs = 1 };
	const struct weft_task_options *o = &plain;
	struct weft_task_options given;
	int rc = 0;

	if (!rt || !call)
		return -EINVAL;
	if (call->opts) {
		rc = resolve(call->opts, &given);
		o = &given;
	}
	if (!rc)
		rc = check_call(rt, call);
	if (!rc)
		rc = wf_gate_check(rt);
	if (rc)
		return rc;
	struct wf_local *self = wf_local_of(rt);

	return self ? submit(self, call, o, out) : -ENOMEM;
}

/* Fire and forget, with flags that the public door refuses; the options are right as they are. */
int wf_submit_internal(weft *rt, const struct weft_call *call)
{
	struct weft_task_options o = *call->opts;
	int rc = check_call(rt, call);

	if (!rc)
		rc = wf_gate_check(rt);
	if (rc)
		return rc;
	struct wf_local *self = wf_local_of(rt);

	o.n_outputs = 1;
	return self ? submit(self, call, &o, NULL) : -ENOMEM;
}

int weft_submit_many(weft *rt, const struct weft_call *calls, uint32_t n, weft_ref *out)
{
	if (!rt || (n && !calls) || n > INT32_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		struct weft_task_options o;
		int rc = calls[i].opts ? resolve(calls[i].opts, &o) : 0;

		/* One ref per call: further outputs would have no place. */
		if (!rc && calls[i].opts && o.n_outputs > 1)
			rc = -EINVAL;
		if (!rc)
			rc = weft_submit(rt, &calls[i], out ? &out[i] : NULL);
		if (rc)
			return i ? (int)i : rc;
		if (out && calls[i].opts && !o.n_outputs)
			out[i] = (weft_ref){ 0 };
	}
	return (int)n;
}
