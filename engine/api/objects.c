/*
 * objects.c: the doors to the object store.
 */
#include <errno.h>
#include <string.h>

#include "room.h"
#include "runtime.h"
#include "wf_store.h"

#define META_BYTES_MAX ((size_t)64 << 10)

int weft_view_end(weft *rt, weft_ref ref)
{
	struct wf_cell *cell = rt ? wf_cell_of(rt, ref) : NULL;

	if (!cell || !wf_promise_is_done(&cell->promise))
		return -EINVAL;
	struct wf_object *object = wf_cell_object(cell);

	if (!object)
		return 0;
	struct wf_local *self = wf_local_of(rt);

	return self ? wf_value_unview(self, object) : -ENOMEM;
}

/* ---- Buffers -------------------------------------------------------------------------------- */

static int read_options(weft *rt, const struct weft_object_options *from,
                        struct weft_object_options *to)
{
	int rc = 0;

	memset(to, 0, sizeof(*to));
	if (from)
		rc = wf_options_read(to, sizeof(*to), from);
	for (size_t i = 0; i < sizeof(to->reserved) / sizeof(*to->reserved); i++) {
		if (to->reserved[i])
			rc = -EINVAL;
	}
	if (rc || to->until < 0 || (to->n_refs && !to->refs) || (to->meta_size && !to->meta) ||
	    to->meta_size > META_BYTES_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < to->n_refs; i++) {
		const struct wf_cell *cell = wf_cell_of(rt, to->refs[i]);

		if (!cell || wf_cell_is_stream(cell))
			return -EINVAL;
	}
	return 0;
}

/* An unsealed object with its tag and its meta. */
static int make(weft *rt, size_t size, const struct weft_object_options *o,
                struct wf_object **out) WF_SUSPENDS;
static int make(weft *rt, size_t size, const struct weft_object_options *o, struct wf_object **out)
{
	int64_t until = o->until ? o->until : WEFT_FOREVER;
	struct wf_object *object;

	if (o->until && o->until <= wf_clock_now(&rt->clock))
		until = WEFT_POLL;
	int rc = wf_object_make(rt, size, until, &object);

	if (rc == -EAGAIN && until == WEFT_POLL)
		return -ETIMEDOUT;
	if (rc)
		return rc == -EMSGSIZE ? WEFT_ESTOREFULL : rc;
	object->tag = o->tag;
	if (o->n_refs || o->meta_size)
		rc = wf_object_set_meta(rt, object, o->refs, o->n_refs, o->meta, o->meta_size);
	if (rc) {
		wf_object_drop(wf_local_of(rt), object);
		return rc;
	}
	*out = object;
	return 0;
}

/* The same without any option: nothing to read, nothing to keep. */
static int make_plain(weft *rt, size_t size, struct wf_object **out) WF_SUSPENDS;
static int make_plain(weft *rt, size_t size, struct wf_object **out)
{
	int rc = wf_object_make(rt, size, WEFT_FOREVER, out);

	return rc == -EMSGSIZE ? WEFT_ESTOREFULL : rc;
}

int weft_create(weft *rt, size_t size, const struct weft_object_options *opts,
                struct weft_buffer *buffer)
{
	struct weft_object_options o;
	struct wf_object *object;

	if (!rt || !buffer || (opts && read_options(rt, opts, &o)))
		return -EINVAL;
	int rc = wf_gate_check(rt);

	if (!rc)
		rc = opts ? make(rt, size, &o, &object) : make_plain(rt, size, &object);
	if (rc)
		return rc;
	struct wf_store *store = wf_runtime_store(rt);

	*buffer = (struct weft_buffer){ .data = wf_object_writable(store, object),
		                        .size = size,
		                        .private_ = { (uintptr_t)object,
		                                      wf_object_id(store, object) } };
	return 0;
}

/* The unsealed object of a buffer, or NULL when the buffer is not what weft_create() made. */
static struct wf_object *object_of(weft *rt, const struct weft_buffer *buffer)
{
	struct wf_store *store = rt && buffer ? wf_runtime_store(rt) : NULL;

	if (!store)
		return NULL;
	return wf_store_find(store, (struct wf_object *)(uintptr_t)buffer->private_[0],
	                     buffer->private_[1], WF_OBJECT_CREATING);
}

int weft_seal(weft *rt, struct weft_buffer *buffer, weft_ref *out)
{
	struct wf_object *object = object_of(rt, buffer);
	struct wf_local *self = object && out ? wf_local_of(rt) : NULL;

	if (!object || !out)
		return -EINVAL;
	struct wf_cell *cell = self ? wf_cell_start(self, WF_CELL_VALUE, WF_STATE_RUNNING) : NULL;

	if (!cell)
		return -ENOMEM;
	/* Two threads seal one buffer: one of them is told. */
	if (wf_object_seal(wf_runtime_store(rt), object, 0, 0)) {
		wf_cell_free(self, cell);
		return -EINVAL;
	}
	wf_cell_set_value(cell, wf_payload_of_object(object), NULL, 0);
	/* release [P1]: the bytes. Ready from the start: nobody can have pushed. */
	wf_store_release(&cell->promise.state, WF_STATE_DONE);
	*out = wf_ref_of(rt, cell);
	memset(buffer, 0, sizeof(*buffer));
	return 0;
}

int weft_discard(weft *rt, struct weft_buffer *buffer)
{
	struct wf_object *object = object_of(rt, buffer);
	struct wf_local *self = object ? wf_local_of(rt) : NULL;

	if (!object)
		return -EINVAL;
	if (!self)
		return -ENOMEM;
	/* Two threads discard or seal one buffer: one of them is told. */
	if (wf_object_discard(wf_runtime_store(rt), self->store, object))
		return -EINVAL;
	memset(buffer, 0, sizeof(*buffer));
	return 0;
}

/* ---- Lists of references --------------------------------------------------------------------- */

/* An unsealed object that is and holds `refs`. */
static int make_refs(weft *rt, const weft_ref *refs, uint32_t n,
                     struct wf_object **out) WF_SUSPENDS;
static int make_refs(weft *rt, const weft_ref *refs, uint32_t n, struct wf_object **out)
{
	struct weft_object_options o = { .struct_size = sizeof(o), .refs = refs, .n_refs = n };
	struct weft_object_options checked;

	if (read_options(rt, &o, &checked))
		return -EINVAL;
	int rc = make(rt, n * sizeof(*refs), &checked, out);

	if (!rc && n)
		memcpy(wf_object_writable(wf_runtime_store(rt), *out), refs, n * sizeof(*refs));
	return rc;
}

int weft_put_refs(weft *rt, const weft_ref *refs, uint32_t n, weft_ref *out)
{
	struct wf_object *object;

	if (!rt || !out || (n && !refs))
		return -EINVAL;
	int rc = wf_gate_check(rt);
	struct wf_local *self = rc ? NULL : wf_local_of(rt);

	if (!self)
		return rc ? rc : -ENOMEM;
	bool entered = wf_room_enter(self, n * sizeof(*refs));

	rc = make_refs(rt, refs, n, &object);
	if (!rc)
		wf_payload_seal(rt, wf_payload_of_object(object));
	wf_room_leave(self, entered);
	return rc ? rc : wf_value_publish(rt, wf_payload_of_object(object), NULL, 0, out);
}

int weft_task_output_refs(weft_task *self, uint32_t i, const weft_ref *refs, uint32_t n)
{
	struct wf_object *object;

	if (i >= wf_task_outputs(self) || (n && !refs))
		return -EINVAL;
	int rc = make_refs(self->rt, refs, n, &object);

	if (!rc)
		wf_task_set_output(self, i, wf_payload_of_object(object));
	return rc;
}

/* ---- Looking --------------------------------------------------------------------------------- */

static int place_of(uint64_t word)
{
	switch (word & WF_OBJECT_STATE) {
	case WF_OBJECT_SPILLED:
	case WF_OBJECT_RESTORING:
		return WEFT_OBJECT_FILE;
	case WF_OBJECT_LOST:
		return WEFT_OBJECT_LOST;
	default:
		return WEFT_OBJECT_MEMORY;
	}
}

int weft_object_info(weft *rt, weft_ref ref, struct weft_object_info *info)
{
	struct wf_cell *cell = rt && info ? wf_cell_of(rt, ref) : NULL;

	if (!cell || info->struct_size < offsetof(struct weft_object_info, size))
		return -EINVAL;
	if (!wf_promise_is_done(&cell->promise))
		return -EAGAIN;
	struct wf_object *object = wf_cell_object(cell);
	struct weft_object_info full = { .struct_size = info->struct_size };

	if (object) {
		const struct wf_object_meta *meta = object->meta;
		uint64_t word = wf_object_word(object);

		full.place = place_of(word);
		full.tag = object->tag;
		full.views = (uint32_t)((word & WF_OBJECT_VIEWS) / WF_OBJECT_VIEW);
		if (meta) {
			full.n_refs = meta->n_refs;
			full.refs = meta->refs;
			full.meta_size = meta->size;
			full.meta = meta->size ? meta->refs + meta->n_refs : NULL;
		}
	}
	if (!object && wf_cell_is_remote(cell))
		full.place = wf_remote_lost(rt, cell) ? WEFT_OBJECT_LOST : WEFT_OBJECT_DEVICE;
	if (!wf_cell_status(cell))
		full.size = wf_cell_size(cell);
	memcpy(info, &full, info->struct_size < sizeof(full) ? info->struct_size : sizeof(full));
	return 0;
}

int weft_store_stats(weft *rt, struct weft_store_stats *stats)
{
	struct wf_store_stats s = { .io_backend = "" };

	if (!rt || !stats || stats->struct_size < 2 * sizeof(uint64_t))
		return -EINVAL;
	/* acquire [B1]: not opened for the sake of looking. */
	struct wf_store *store = (struct wf_store *)wf_load_acquire(&rt->store);

	if (store)
		wf_store_stats(store, true, &s);
	struct weft_store_stats full = { .struct_size = stats->struct_size,
		                         .capacity = s.capacity,
		                         .used = s.used,
		                         .creating = s.creating,
		                         .pinned = s.pinned,
		                         .transit = s.transit,
		                         .evictable = s.evictable,
		                         .spilled = s.spilled,
		                         .objects = s.objects,
		                         .committed = s.committed,
		                         .huge = s.huge,
		                         .spilled_bytes = s.spilled_bytes,
		                         .restored_bytes = s.restored_bytes,
		                         .spills = s.spills,
		                         .restores = s.restores,
		                         .losses = s.losses,
		                         .rebuilt = s.revived,
		                         .waits = s.waits,
		                         .fulls = s.fulls,
		                         .file_bytes = s.file_bytes,
		                         .io = s.io_backend };

	memcpy(stats, &full, stats->struct_size < sizeof(full) ? stats->struct_size : sizeof(full));
	return 0;
}
