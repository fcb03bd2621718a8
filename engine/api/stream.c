/*
 * stream.c: the doors of generators: giving items in a body, taking them anywhere.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"
#include "wf_copy.h"

/* ---- Giving -------------------------------------------------------------------------------- */

WF_NOINLINE static int too_many(weft_task *self, const struct wf_stream *s)
{
	return weft_fail(self, -EOVERFLOW, "a generator of at most %u items gave one more",
	                 s->items_max);
}

/* What keeps a body from giving its next item: 0 nothing. */
static inline int may_emit(weft_task *self, struct wf_stream **s)
{
	/* A stolen fork runs beside the body: between the two there is no order. */
	*s = self && !self->borrowed ? wf_ext_stream(wf_cell_ext(self->cell)) : NULL;
	if (WF_UNLIKELY(!*s))
		return -EINVAL;
	if (WF_UNLIKELY(wf_task_stopping(self)))
		return -EINTR;
	return WF_UNLIKELY((*s)->index >= (*s)->items_max) ? too_many(self, *s) : 0;
}

/* An item that nobody will see: 1, or 0 when an earlier attempt has given it. */
WF_NOINLINE static int leave_out(struct wf_local *self, struct wf_stream *s,
                                 const struct wf_item *item)
{
	if (item->ref.bits)
		wf_cell_release(self, wf_cell_of(self->rt, item->ref));
	wf_payload_free(self, item->payload);
	return s->index++ < s->emitted ? 0 : 1;
}

/* Whether the next item of a stream is of use at all. */
static inline bool is_new(struct wf_local *self, struct wf_stream *s)
{
	return WF_LIKELY(s->index >= s->emitted) && wf_stream_wanted(self, s);
}

/* Give a finished item to whoever takes from the stream. */
static WF_SUSPENDS int give_live(weft *rt, struct wf_stream *s, const struct wf_item *item)
{
	struct wf_local *self = wf_local_of(rt);

	WF_DEBUG(s->mode == WF_STREAM_LIVE);
	WF_DEBUG(!item->payload || !item->ref.bits);
	if (WF_UNLIKELY(!self))
		return -ENOMEM;
	if (!is_new(self, s))
		return leave_out(self, s, item);
	int rc = wf_stream_put(self, s, item);

	if (WF_UNLIKELY(rc)) {
		wf_payload_free(self, item->payload);
		return rc;
	}
	return s->window ? wf_stream_hold_back(rt, s) : 0;
}

/* Keep a finished item for the list that the output becomes. */
static int give_list(weft *rt, struct wf_stream *s, const struct wf_item *item)
{
	weft_ref ref = item->ref;
	int rc = ref.bits ? 0 : wf_value_publish(rt, item->payload, item->data, item->size, &ref);

	if (!rc)
		rc = wf_stream_append(s, ref);
	if (rc && ref.bits && !item->ref.bits)
		weft_release(rt, ref);
	return rc;
}

static WF_SUSPENDS int give(weft *rt, struct wf_stream *s, const struct wf_item *item)
{
	return s->mode == WF_STREAM_LIVE ? give_live(rt, s, item) : give_list(rt, s, item);
}

/* One more value than there are outputs. */
static int surplus(weft_task *self, struct wf_stream *s)
{
	if (!s->surplus)
		weft_log(self, WEFT_LOG_WARN, "a generator gave more than its %u outputs",
		         wf_task_outputs(self));
	s->surplus = true;
	return 1;
}

static WF_SUSPENDS int emit_fixed(weft_task *self, struct wf_stream *s, const void *data,
                                  size_t size)
{
	void *room;

	WF_DEBUG(s->mode == WF_STREAM_FIXED);
	if (s->index >= wf_task_outputs(self))
		return surplus(self, s);
	int rc = weft_task_output(self, s->index, size, &room);

	if (rc)
		return rc;
	wf_copy_into(room, data, size);
	s->index++;
	return 0;
}

/* More than sixteen bytes: a payload, unless nobody wants it. */
WF_NOINLINE static WF_SUSPENDS int emit_big(weft_task *self, struct wf_stream *s, const void *data,
                                            size_t size)
{
	struct wf_item item = { .payload = NULL };
	struct wf_local *local = wf_local_of(self->rt);
	void *room;

	WF_DEBUG(s->mode != WF_STREAM_FIXED && size > WF_INLINE_BYTES);
	if (!local)
		return -ENOMEM;
	if (s->mode == WF_STREAM_LIVE && !is_new(local, s))
		return leave_out(local, s, &item);
	int rc = wf_payload_make(self->rt, size, WEFT_FOREVER, &item.payload, &room);

	if (rc)
		return rc;
	wf_copy_into(room, data, size);
	wf_payload_seal(self->rt, item.payload);
	return give(self->rt, s, &item);
}

int weft_emit(weft_task *self, const void *data, size_t size)
{
	struct wf_stream *s;
	int rc = may_emit(self, &s);

	if (WF_UNLIKELY(rc || (size && !data)))
		return rc ? rc : -EINVAL;
	if (s->mode == WF_STREAM_FIXED)
		return emit_fixed(self, s, data, size);
	if (size > WF_INLINE_BYTES)
		return emit_big(self, s, data, size);
	return give(self->rt, s, &(struct wf_item){ .data = data, .size = size });
}

int weft_emit_ref(weft_task *self, weft_ref ref)
{
	struct wf_stream *s;
	int rc = may_emit(self, &s);
	struct wf_cell *cell = rc ? NULL : wf_cell_of(self->rt, ref);

	if (rc || !cell || wf_cell_is_stream(cell))
		return rc ? rc : -EINVAL;
	if (s->mode == WF_STREAM_FIXED)
		return -ENOTSUP;
	wf_promise_retain(&cell->promise);
	rc = give(self->rt, s, &(struct wf_item){ .ref = ref });
	/* Given all the same in these two: the body only could not wait. */
	if (rc == -ENOMEM)
		weft_release(self->rt, ref);
	return rc;
}

/* ---- Giving in place ----------------------------------------------------------------------- */

int weft_emit_room(weft_task *self, size_t size, void **data)
{
	struct wf_stream *s;
	int rc = may_emit(self, &s);

	if (rc || !data)
		return rc ? rc : -EINVAL;
	struct wf_payload *payload = NULL;

	if (s->mode == WF_STREAM_FIXED) {
		if (s->index >= wf_task_outputs(self))
			return surplus(self, s);
		rc = weft_task_output(self, s->index, size, data);
		s->staged = s->staged || !rc;
		return rc;
	}
	if (size > WF_INLINE_BYTES)
		rc = wf_payload_make(self->rt, size, WEFT_FOREVER, &payload, data);
	if (rc)
		return rc;
	if (!payload)
		*data = s->data;
	wf_payload_free(wf_local_of(self->rt), s->payload);
	s->payload = payload;
	s->staged_size = (uint8_t)(payload ? 0 : size);
	s->staged = true;
	return 0;
}

int weft_emit_done(weft_task *self)
{
	struct wf_stream *s;
	int rc = may_emit(self, &s);

	if (rc || !s->staged)
		return rc ? rc : -EINVAL;
	s->staged = false;
	if (s->mode == WF_STREAM_FIXED) {
		s->index++;
		return 0;
	}
	WF_DEBUG(!s->payload || !s->staged_size);
	struct wf_item item = { .payload = s->payload, .data = s->data, .size = s->staged_size };

	s->payload = NULL;
	if (item.payload)
		wf_payload_seal(self->rt, item.payload);
	return give(self->rt, s, &item);
}

/* ---- Taking -------------------------------------------------------------------------------- */

static struct wf_cell *gen_of(weft *rt, weft_ref gen)
{
	struct wf_cell *cell = rt ? wf_cell_of(rt, gen) : NULL;

	return cell && wf_cell_is_stream(cell) ? cell : NULL;
}

int weft_next_many(weft *rt, weft_ref gen, weft_deadline until, weft_ref *items, uint32_t n)
{
	struct wf_cell *cell = items && n ? gen_of(rt, gen) : NULL;
	struct wf_local *self = cell ? wf_local_of(rt) : NULL;
	uint32_t taken = 0;

	if (!self)
		return cell ? -ENOMEM : -EINVAL;
	struct wf_stream *s = cell->u.stream;
	int rc = wf_stream_enter(s);

	if (WF_UNLIKELY(rc))
		return rc;
	WF_DEBUG(s->gen == cell && s->mode == WF_STREAM_LIVE);
	bool waits = !wf_promise_is_done(&s->head->promise);

	if (waits) {
		/* The generator is kept, in case its last count goes meanwhile. */
		wf_promise_retain(&cell->promise);
		rc = wf_wait_cell(rt, s->head, until);
		/* The task may have moved. */
		self = wf_local_of(rt);
	}
	while (!rc && taken < n && taken < INT32_MAX && wf_promise_is_done(&s->head->promise)) {
		rc = wf_stream_take(self, s, &items[taken]);
		taken += !rc;
	}
	WF_DEBUG(taken <= n);
	wf_stream_leave(s);
	if (waits && self)
		wf_cell_release(self, cell);
	return taken ? (int)taken : rc;
}

int weft_next(weft *rt, weft_ref gen, weft_deadline until, weft_ref *item)
{
	int rc = weft_next_many(rt, gen, until, item, 1);

	return rc > 0 ? 0 : rc;
}

int weft_completed(weft *rt, weft_ref gen, weft_ref *out)
{
	struct wf_cell *cell = out ? gen_of(rt, gen) : NULL;

	if (!cell)
		return -EINVAL;
	struct wf_cell *task = cell->u.stream->task;

	wf_promise_retain(&task->promise);
	*out = wf_ref_of(rt, task);
	return 0;
}

int weft_is_finished(weft *rt, weft_ref gen)
{
	struct wf_cell *cell = gen_of(rt, gen);
	struct wf_local *self = cell ? wf_local_of(rt) : NULL;
	struct wf_cell *next;

	if (!self)
		return cell ? -ENOMEM : -EINVAL;
	int rc = wf_stream_peek(cell, &next);

	if (rc)
		return rc;
	/* In between the task has ended and its stream is about to: no item will come any more. */
	struct wf_cell *task = cell->u.stream->task;
	bool end = wf_promise_is_done(&task->promise);

	if (end && wf_promise_is_done(&next->promise))
		end = wf_stream_status(rt, next) == -ENODATA;
	else if (end)
		end = !wf_cell_status(task);
	wf_cell_release(self, next);
	return end;
}
