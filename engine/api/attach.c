/*
 * attach.c: the doors to attached processes. The store's attachment knows objects and numbers of
 * owners; here an owner is a ref, of which it holds one count.
 *
 * Refs that are exported before they are ready stand in a completion queue, whose descriptor the
 * attachment's thread polls beside its sockets. So a completion costs its worker what it costs for
 * any completion queue, and the rest is done on the attachment's thread, which is a guest of the
 * runtime like any host thread.
 *
 * Shared: rt->attached, under rt->attach_mutex: every call of this file takes it, so none can be
 * inside when the attachment goes. The attachment's own callbacks do not, since weft_attach_stop()
 * waits for their thread with the mutex held; what they share with weft_attach_unexport() is under
 * `ready_mutex`.
 * Lock order: attach_mutex, ready_mutex, the attachment's, the store's.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"
#include "weft_attach.h"
#include "wf_attach.h"
#include "wf_store.h"

#define CLIENTS_DEFAULT 64u
#define CLIENTS_MAX     4096u
#define PROCESS_DEFAULT 16u
#define PINS_DEFAULT    65536u
#define NAMES_DEFAULT   65536u
#define READY_BATCH     32

struct wf_attached {
	weft *rt;
	struct wf_attach *attach;
	weft_cq *cq;
	pthread_mutex_t ready_mutex;
	bool stopping; /* imports that are left were not taken back: the whole attachment goes */
};

/* ---- Values --------------------------------------------------------------------------------- */

static void value_of(weft *rt, struct wf_cell *cell, struct wf_attach_value *value)
{
	int status = wf_cell_status(cell);

	WF_CHECK(wf_promise_is_done(&cell->promise));
	*value = (struct wf_attach_value){ .status = status };
	if (status) {
		const struct weft_error *error;

		if (!weft_ref_error(rt, wf_ref_of(rt, cell), &error)) {
			value->code = error->code;
			value->text = error->text;
		}
		return;
	}
	value->object = wf_cell_object(cell);
	if (!value->object && wf_cell_is_remote(cell)) {
		value->status = -EREMOTE;
		value->text = "the value is on a device: get it before it is exported";
	} else if (!value->object) {
		struct weft_view view = wf_cell_view(cell);

		WF_CHECK(view.size <= WF_BLOCK_VALUE_MAX);
		value->data = view.data;
		value->size = view.size;
	}
}

/* Exported refs became ready: on the attachment's thread. */
static void readable(void *arg)
{
	struct wf_attached *a = arg;
	struct weft_cq_item items[READY_BATCH];
	int n;

	pthread_mutex_lock(&a->ready_mutex);
	WF_CHECK(a->attach);
	do {
		n = weft_cq_drain(a->cq, items, READY_BATCH);
		WF_CHECK(n <= READY_BATCH);
		for (int i = 0; i < n; i++) {
			struct wf_attach_value value;

			/* While it is exported, and ready_mutex held, its count is there. */
			if (!wf_attach_is_pending(a->attach, items[i].tag))
				continue;
			value_of(a->rt, wf_cell_of(a->rt, items[i].ref), &value);
			(void)wf_attach_ready(a->attach, items[i].tag, &value);
		}
	} while (n == READY_BATCH);
	pthread_mutex_unlock(&a->ready_mutex);
}

/* ---- What the attachment asks of its owner -------------------------------------------------- */

static struct wf_cell *cell_of(const struct wf_attached *a, uint64_t owner)
{
	struct wf_cell *cell = wf_cell_of(a->rt, (weft_ref){ owner });

	WF_CHECK(cell);
	return cell;
}

/* Without an identity it could give nothing back. */
static int begin(void *arg)
{
	struct wf_attached *a = arg;

	return wf_local_of(a->rt) ? 0 : -ENOMEM;
}

/* A client's sealed object becomes a value, of a ref of its own or of the one that waits for it. */
static int adopt(void *arg, struct wf_object *object, uint64_t wanted, uint64_t *owner)
{
	struct wf_attached *a = arg;
	struct wf_payload *payload = wf_payload_of_object(object);
	struct wf_local *self = wf_local_of(a->rt);

	WF_CHECK((wf_object_word(object) & WF_OBJECT_STATE) == WF_OBJECT_SEALED);
	if (!self)
		return -ENOMEM;
	if (wanted) {
		struct wf_cell *cell = cell_of(a, wanted);

		/* Cancelled by a holder of the ref: then nobody wants it any more. */
		if (wf_event_claim(cell))
			return -ECANCELED;
		wf_cell_set_value(cell, payload, NULL, 0);
		wf_event_complete(self, cell);
		*owner = wanted;
		return 0;
	}
	struct wf_cell *cell = wf_cell_start(self, WF_CELL_VALUE, WF_STATE_RUNNING);

	if (!cell)
		return -ENOMEM;
	wf_cell_set_value(cell, payload, NULL, 0);
	/* release [P1]: the bytes. Ready from the start: nobody can have pushed. */
	wf_store_release(&cell->promise.state, WF_STATE_DONE);
	*owner = wf_ref_of(a->rt, cell).bits;
	return 0;
}

static void keep(void *arg, uint64_t owner)
{
	wf_promise_retain(&cell_of(arg, owner)->promise);
}

static void drop(void *arg, uint64_t owner, bool wanted)
{
	struct wf_attached *a = arg;

	if (wanted)
		(void)weft_event_fail(a->rt, (weft_ref){ owner },
		                      a->stopping ? WEFT_ECLOSED : -ECANCELED,
		                      "no process has handed it over");
	/* Its thread has an identity from the start, and so has every other caller. */
	WF_CHECK(!weft_release(a->rt, (weft_ref){ owner }));
}

static const void *meta(void *arg, const struct wf_object *object, uint32_t *bytes)
{
	const struct wf_object_meta *m = object->meta;

	WF_CHECK(!m || m->size <= 65536);
	(void)arg;
	*bytes = m ? m->size : 0;
	return m && m->size ? m->refs + m->n_refs : NULL;
}

static int set_meta(void *arg, struct wf_object *object, const void *bytes, uint32_t size)
{
	struct wf_attached *a = arg;

	return wf_object_set_meta(a->rt, object, NULL, 0, bytes, size);
}

static void room(void *arg, bool held)
{
	struct wf_attached *a = arg;

	if (held)
		wf_add_acq_rel(&a->rt->rooms_entered, 1); /* acq_rel [R1] */
	else
		/* release [R2]: as in wf_room_leave(). */
		wf_add_release(&a->rt->rooms_left, 1);
}

static void attach_log(void *arg, int level, const char *text)
{
	struct wf_attached *a = arg;

	wf_log(a->rt, level, "%s", text);
}

/* ---- Listening ------------------------------------------------------------------------------ */

static int read_options(const struct weft_attach_options *from, struct weft_attach_options *to)
{
	int rc = 0;

	memset(to, 0, sizeof(*to));
	if (from)
		rc = wf_options_read(to, sizeof(*to), from);
	for (size_t i = 0; i < sizeof(to->reserved) / sizeof(*to->reserved); i++) {
		if (to->reserved[i])
			rc = -EINVAL;
	}
	if (rc || to->reserved0 || (to->flags & ~WEFT_ATTACH_CREATE) ||
	    to->clients_max > CLIENTS_MAX)
		return -EINVAL;
	return 0;
}

static uint32_t or_else(uint32_t value, uint32_t otherwise)
{
	return value ? value : otherwise;
}

static int open_attached(struct wf_attached *a, const char *path,
                         const struct weft_attach_options *o)
{
	struct wf_store *store = wf_runtime_store(a->rt);
	struct wf_store_stats stats;
	int fd = weft_cq_fd(a->cq);

	if (!store)
		return -ENOMEM;
	if (fd < 0)
		return fd;
	WF_CHECK(!a->attach);
	wf_store_stats(store, false, &stats);
	WF_CHECK(stats.capacity > 0);
	struct wf_attach_options options = {
		.path = path,
		.clients_max = or_else(o->clients_max, CLIENTS_DEFAULT),
		.process_max = or_else(o->process_max, PROCESS_DEFAULT),
		.pins_max = or_else(o->pins_max, PINS_DEFAULT),
		.names_max = or_else(o->names_max, NAMES_DEFAULT),
		.pinned_max = o->pinned_max ? o->pinned_max : stats.capacity / 2,
		.created_max = o->created_max ? o->created_max : stats.capacity / 4,
		.create = o->flags & WEFT_ATTACH_CREATE,
		.full_status = WEFT_ESTOREFULL,
		.lost_status = WEFT_ELOST,
		.corrupt_status = WEFT_ECORRUPT,
		.begin = begin,
		.fd = fd,
		.readable = readable,
		.adopt = adopt,
		.keep = keep,
		.drop = drop,
		.meta = meta,
		.set_meta = set_meta,
		.room = room,
		.log = attach_log,
		.arg = a,
	};

	return wf_attach_open(&a->attach, store, &options);
}

static int listen_locked(weft *rt, const char *path, const struct weft_attach_options *o)
{
	if (rt->attached)
		return -EALREADY;
	struct wf_attached *a = wf_calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->rt = rt;
	WF_CHECK(!pthread_mutex_init(&a->ready_mutex, NULL));
	int rc = weft_cq_create(rt, &a->cq);

	if (!rc)
		rc = open_attached(a, path, o);
	if (rc) {
		weft_cq_destroy(a->cq);
		pthread_mutex_destroy(&a->ready_mutex);
		wf_free(a);
		return rc;
	}
	WF_CHECK(a->attach);
	rt->attached = a;
	wf_log(rt, WEFT_LOG_INFO, "attach: listening on %s", path);
	return 0;
}

int weft_attach_listen(weft *rt, const char *path, const struct weft_attach_options *opts)
{
	struct weft_attach_options o;

	if (!rt || !path || !*path || read_options(opts, &o))
		return -EINVAL;
	int rc = wf_gate_check(rt);

	/* Whoever listens may have to give things back: not without an identity. */
	if (!rc && !wf_local_of(rt))
		rc = -ENOMEM;
	if (rc)
		return rc;
	pthread_mutex_lock(&rt->attach_mutex);
	rc = listen_locked(rt, path, &o);
	pthread_mutex_unlock(&rt->attach_mutex);
	return rc;
}

void wf_runtime_attach_stop(weft *rt)
{
	pthread_mutex_lock(&rt->attach_mutex);
	struct wf_attached *a = rt->attached;

	if (a) {
		pthread_mutex_lock(&a->ready_mutex);
		WF_CHECK(!a->stopping);
		WF_CHECK(a->rt == rt);
		a->stopping = true;
		pthread_mutex_unlock(&a->ready_mutex);
		wf_attach_close(a->attach);
		weft_cq_destroy(a->cq);
		pthread_mutex_destroy(&a->ready_mutex);
		wf_free(a);
		rt->attached = NULL;
	}
	pthread_mutex_unlock(&rt->attach_mutex);
}

int weft_attach_stop(weft *rt)
{
	if (!rt)
		return -EINVAL;
	if (wf_gate_check(rt) == -ECHILD)
		return -ECHILD;
	pthread_mutex_lock(&rt->attach_mutex);
	bool listens = rt->attached;

	pthread_mutex_unlock(&rt->attach_mutex);
	if (!listens)
		return -ENOTCONN;
	wf_runtime_attach_stop(rt);
	return 0;
}

/* ---- Names ---------------------------------------------------------------------------------- */

static int export_locked(struct wf_attached *a, const char *name, struct wf_cell *cell,
                         uint64_t *id)
{
	weft_ref ref = wf_ref_of(a->rt, cell);
	bool done = wf_promise_is_done(&cell->promise);
	struct wf_attach_value value;
	uint64_t owner, was;

	WF_CHECK(cell_of(a, ref.bits) == cell);
	if (done)
		value_of(a->rt, cell, &value);
	wf_promise_retain(&cell->promise);
	int rc = wf_attach_export(a->attach, name, ref.bits, done ? &value : NULL, id);

	if (rc) {
		weft_release(a->rt, ref);
		return rc;
	}
	WF_CHECK(*id);
	if (done)
		return 0;
	rc = weft_cq_add(a->cq, ref, *id);
	if (rc)
		wf_attach_unexport(a->attach, NULL, *id, &owner, &was);
	return rc;
}

int weft_attach_export(weft *rt, const char *name, weft_ref ref, uint64_t *id)
{
	struct wf_cell *cell = rt ? wf_cell_of(rt, ref) : NULL;
	uint64_t unused;

	if (!cell)
		return -EINVAL;
	int rc = wf_gate_check(rt);

	if (!rc && !wf_local_of(rt))
		rc = -ENOMEM;
	if (rc)
		return rc;
	pthread_mutex_lock(&rt->attach_mutex);
	rc = rt->attached ? export_locked(rt->attached, name, cell, id ? id : &unused) : -ENOTCONN;
	pthread_mutex_unlock(&rt->attach_mutex);
	return rc;
}

static int unexport_locked(struct wf_attached *a, const char *name, uint64_t id)
{
	uint64_t owner, was;

	pthread_mutex_lock(&a->ready_mutex);
	int rc = wf_attach_unexport(a->attach, name, id, &owner, &was);

	/* Only what was not ready is there; the queue has a count of its own. */
	if (!rc)
		(void)weft_cq_remove(a->cq, (weft_ref){ owner }, was);
	pthread_mutex_unlock(&a->ready_mutex);
	return rc;
}

int weft_attach_unexport(weft *rt, const char *name, uint64_t id)
{
	if (!rt || (!name && !id))
		return -EINVAL;
	if (!wf_local_of(rt))
		return -ENOMEM;
	pthread_mutex_lock(&rt->attach_mutex);
	int rc = rt->attached ? unexport_locked(rt->attached, name, id) : -ENOTCONN;

	pthread_mutex_unlock(&rt->attach_mutex);
	return rc;
}

static int import_locked(struct wf_attached *a, const char *name, weft_ref *out)
{
	weft_ref event;
	uint64_t owner;
	int rc = weft_event_create(a->rt, &event);

	if (rc)
		return rc;
	/* One count for the caller, one for the attachment. */
	wf_promise_retain(&cell_of(a, event.bits)->promise);
	rc = wf_attach_import(a->attach, name, event.bits, &owner);
	if (rc) {
		weft_release(a->rt, event);
		weft_release(a->rt, event);
	}
	if (rc < 0)
		return rc;
	WF_CHECK(rc == 0 || rc == 1);
	*out = rc ? (weft_ref){ owner } : event;
	WF_CHECK(out->bits);
	return 0;
}

int weft_attach_import(weft *rt, const char *name, weft_ref *out)
{
	if (!rt || !name || !out)
		return -EINVAL;
	int rc = wf_gate_check(rt);

	if (rc)
		return rc;
	pthread_mutex_lock(&rt->attach_mutex);
	rc = rt->attached ? import_locked(rt->attached, name, out) : -ENOTCONN;
	pthread_mutex_unlock(&rt->attach_mutex);
	return rc;
}

/* ---- Looking -------------------------------------------------------------------------------- */

/* A copy of the list: how many, or -errno. */
static int list_clients(weft *rt, struct wf_attach_client **list)
{
	int rc = -ENOTCONN;

	pthread_mutex_lock(&rt->attach_mutex);
	if (rt->attached) {
		struct wf_attach *attach = rt->attached->attach;
		uint32_t n = wf_attach_clients(attach, NULL, 0) + 1;

		*list = wf_malloc(n * sizeof(**list));
		rc = -ENOMEM;
		if (*list) {
			uint32_t there = wf_attach_clients(attach, *list, n);

			WF_CHECK(n <= CLIENTS_MAX + 1);
			rc = (int)(there < n ? there : n);
		}
	}
	pthread_mutex_unlock(&rt->attach_mutex);
	return rc;
}

int weft_attach_clients(weft *rt, weft_attach_client_fn *fn, void *arg)
{
	struct wf_attach_client *list = NULL;

	if (!rt || !fn)
		return -EINVAL;
	int n = list_clients(rt, &list);
	int rc = n < 0 ? n : 0;

	WF_CHECK(n <= 0 || list);
	for (int i = 0; i < n && !rc; i++) {
		struct weft_attach_client client = { .id = list[i].id,
			                             .pid = list[i].pid,
			                             .uid = list[i].uid,
			                             .pins = list[i].pins,
			                             .requests = list[i].requests,
			                             .pinned_bytes = list[i].pinned_bytes,
			                             .gets = list[i].gets,
			                             .creates = list[i].creates };

		rc = fn(arg, &client);
	}
	wf_free(list);
	return rc;
}
