/*
 * object.c: values that lie in the store.
 *
 * A value that fits neither its cell nor a block is an object of the runtime's store, which opens
 * with the first of them. Its bytes are written in place, sealed when the value is published, and
 * may be moved out to a file and back while nobody holds them: whoever reads pins first.
 * weft_get() takes a view, which lasts until it is given back or the ref is gone; inputs are in
 * inputs.c.
 *
 * Waiting for room or for a restore is a ticket of the store, on the waiter's stack. The store's
 * thread fires it as a cell fires a waiter: the node's `fired` is its last touch.
 *
 * Shared: rt->store, set once under store_mutex [B1]; rt->lost, under store_mutex.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lineage.h"
#include "room.h"
#include "runtime.h"
#include "wf_store.h"

/* ---- The runtime's store ---------------------------------------------------- */

static void store_log(void *arg, int level, const char *text)
{
	wf_log(arg, level, "store: %s", text);
}

/*
 * Whether a body, or a call that will end by itself, may still give something back. Those that wait
 * for the store do not count, and one look is not enough: a task may be on its way from one queue
 * to another. Keeper thread only.
 */
static bool store_busy(void *arg)
{
	weft *rt = arg;
	/* acquire [R2]: before [R1] is read, so that a call in between counts as inside. */
	uint64_t left = wf_load_acquire(&rt->rooms_left);
	uint64_t entered = wf_load_acquire(&rt->rooms_entered); /* acquire [R1] */
	uint64_t moved = wf_runtime_progress(rt) + entered;
	/* What ran between the two looks at the counters was not idle, though it may be over. */
	bool idle = entered == left && wf_runtime_is_idle(rt) &&
		wf_runtime_progress(rt) + wf_load_acquire(&rt->rooms_entered) == moved; /* [R1] */

	WF_CHECK(entered >= left);

	/* relaxed: the keeper's own. */
	bool seen = wf_load_relaxed(&rt->store_idle_at) == moved + 1;

	wf_store_relaxed(&rt->store_idle_at, idle ? moved + 1 : 0);
	return !idle || !seen;
}

static void release_refs(struct wf_local *self, const struct wf_object_meta *meta)
{
	for (uint32_t i = 0; i < meta->n_refs; i++) {
		struct wf_cell *cell = wf_cell_of(self->rt, meta->refs[i]);

		WF_CHECK(cell);
		wf_cell_release(self, cell);
	}
}

/*
 * The last ref of an inner object may be among those that go: then this is called again from
 * within. Objects may hold each other in chains of any length, so the inner call only notes what
 * is to be done by the outermost.
 */
static void meta_drop(void *arg, void *meta)
{
	weft *rt = arg;
	struct wf_object_meta *m = meta;
	/* At close the cells are gone as a whole. */
	struct wf_local *self = rt->store_closing ? NULL : wf_local_of(rt);

	if (!self) {
		wf_lineage_gone(NULL, m);
		wf_free(m);
		return;
	}
	m->next = self->metas;
	self->metas = m;
	if (self->metas_busy)
		return;
	self->metas_busy = true;
	while ((m = self->metas)) {
		self->metas = m->next;
		release_refs(self, m);
		wf_lineage_gone(self, m);
		wf_free(m);
	}
	self->metas_busy = false;
}

/* The directories of options.spill_dirs, which is cut up; how many. */
static uint32_t split_dirs(char *text, const char *dirs[WF_DIRS_MAX])
{
	uint32_t n = 0;
	char *rest = text;

	for (char *dir; n < WF_DIRS_MAX && (dir = strsep(&rest, ":"));) {
		if (*dir)
			dirs[n++] = dir;
	}
	return n;
}

static void let_go(void *arg)
{
	wf_gpus_let_go(arg);
}

static struct wf_store *store_open(weft *rt)
{
	const char *dirs[WF_DIRS_MAX];
	const struct weft_options *o = &rt->options;
	char *text = wf_malloc(strlen(o->spill_dirs) + 1);
	struct wf_store *store = NULL;

	if (!text)
		return NULL;
	strcpy(text, o->spill_dirs);
	struct wf_store_options options = { .capacity_bytes = o->store_bytes,
		                            .node_count = rt->node_count,
		                            .bind = wf_topology()->bindable &&
		                                    rt->options.bind != WEFT_BIND_NONE,
		                            .spill_high = o->spill_high,
		                            .spill_low = o->spill_low,
		                            .spill_dirs = dirs,
		                            .spill_dir_count = split_dirs(text, dirs),
		                            .spill_budget_bytes = o->spill_bytes,
		                            .busy = store_busy,
		                            .meta_drop = meta_drop,
		                            .log = store_log,
		                            .let_go = let_go,
		                            .arg = rt };
	int rc = wf_store_open(&store, &options);

	if (rc)
		wf_log(rt, WEFT_LOG_ERROR, "the store cannot be opened: %s", weft_strerror(rc));
	wf_free(text);
	return store;
}

struct wf_store *wf_runtime_store_slow(weft *rt)
{
	struct wf_store *store;

	pthread_mutex_lock(&rt->store_mutex);
	/* relaxed: under the mutex. */
	store = (struct wf_store *)wf_load_relaxed(&rt->store);
	if (!store) {
		store = store_open(rt);
		if (store && rt->lanes)
			/* relaxed: what is ready before that goes where it went. */
			wf_or_relaxed(&rt->inputs_mind, WF_MIND_NODES);
		/* release [B1]: the store, to whoever reads the pointer. */
		wf_store_release(&rt->store, (uintptr_t)store);
	}
	pthread_mutex_unlock(&rt->store_mutex);
	return store;
}

void wf_runtime_store_close(weft *rt)
{
	/* relaxed: no other thread is left. */
	struct wf_store *store = (struct wf_store *)wf_load_relaxed(&rt->store);
	uint32_t end = wf_load_relaxed(&rt->locals_end);

	if (!store)
		return;
	rt->store_closing = true;
	wf_gpus_store_goes(rt);
	for (uint32_t i = 0; i < end; i++) {
		wf_store_local_destroy(rt->locals[i]->store);
		rt->locals[i]->store = NULL;
	}
	wf_store_close(store);
	while (rt->lost) {
		struct wf_lost *lost = rt->lost;

		rt->lost = lost->next;
		wf_error_release(lost->error);
		wf_free(lost);
	}
}

/* The caller's part of the store; NULL, a slower way, when there is no memory for it. */
static struct wf_store_local *local_of(struct wf_local *self)
{
	if (WF_UNLIKELY(!self->store))
		self->store = wf_store_local_create(wf_runtime_store(self->rt), self->node);
	return self->store;
}

/* ---- Waiting ---------------------------------------------------------------- */

struct store_wait {
	struct wf_store_ticket ticket;
	struct wf_wait wait;
	struct wf_wait_node node;
	uint32_t calls; /* of a thread's own wait: brackets that are out while it sleeps */
};

static void ticket_done(struct wf_store_ticket *ticket)
{
	struct store_wait *sw = wf_container_of(ticket, struct store_wait, ticket);

	/*
	 * From now on its thread will go on by itself, but that may take a while: it counts as
	 * inside, with one more that it leaves when it has woken up. A task is queued instead.
	 */
	if (!sw->wait.fiber)
		wf_add_acq_rel(&sw->wait.rt->rooms_entered, sw->calls + 1); /* acq_rel [R1] */
	wf_wait_fire_from_outside(&sw->wait, &sw->node);
}

/*
 * Wait for a ticket whose request is filled in: 0 it was served (ticket.status is the outcome),
 * or -ETIMEDOUT, -EINTR, -EAGAIN, -ENOMEM and it was not. The identity may be another afterwards.
 */
static WF_SUSPENDS int store_await(weft *rt, struct store_wait *sw, int64_t until)
{
	struct wf_local *self = wf_local_of(rt);
	struct wf_store *store = wf_runtime_store(rt);

	if (wf_self_cancelled(self))
		return -EINTR;
	wf_wait_init(&sw->wait, self, 1, until);
	sw->wait.external = true;
	sw->wait.room = true;
	sw->node = (struct wf_wait_node){ .waiter.fire = wf_wait_fire, .wait = &sw->wait };
	sw->ticket.done = ticket_done;
	sw->calls = self->room_calls;
	WF_CHECK(!sw->calls || !sw->wait.fiber);
	/* release [R2]: who sleeps here gives nothing back. */
	wf_add_release(&rt->rooms_left, sw->calls);
	wf_outside_begin(rt);
	wf_store_wait(store, &sw->ticket);
	int rc = wf_wait_sleep(&sw->wait);

	wf_outside_end(rt);

	if (rc && wf_store_cancel(store, &sw->ticket)) {
		wf_add_acq_rel(&rt->rooms_entered, sw->calls); /* acq_rel [R1]: awake again. */
		return rc;
	}
	/* acquire [F3]: served, or just being: the last touch is near. */
	while (!wf_load_acquire(&sw->node.fired))
		wf_cpu_relax();
	if (!sw->wait.fiber)
		wf_add_release(&rt->rooms_left, 1); /* release [R2]: see ticket_done(). */
	return 0;
}

/* ---- Making ----------------------------------------------------------------- */

/* Leave on the running task why there was no room, for the case that its body gives up. */
static void note_full(weft *rt, int code, const char *text)
{
	struct wf_local *self = wf_self();
	struct weft_task *frame = self && self->rt == rt ? self->current : NULL;

	WF_CHECK(text[0]);
	wf_log(rt, WEFT_LOG_WARN, "%s", text);
	if (!frame)
		return;
	wf_frame_set_error(frame,
	                   wf_error_create(&(struct wf_error_args){
				   .status = WEFT_ESTOREFULL,
				   .code = code,
				   .attempt = weft_task_attempt(frame),
				   .text = text,
				   .task = wf_task_name(frame->cell, frame->fn),
				   .site = wf_task_site(wf_cell_ext(frame->cell)) }));
}

/* `size` bytes, of `n` values when there are several, are more than the store has. */
static void note_too_large(weft *rt, uint32_t n, uint64_t size)
{
	struct wf_store_stats stats;
	char what[32] = "", line[160];

	wf_store_stats(wf_runtime_store(rt), false, &stats);
	WF_CHECK(stats.capacity > 0);
	if (n > 1)
		snprintf(what, sizeof(what), "%u values of together ", n);
	snprintf(line, sizeof(line), "%s%llu bytes can never fit the store of %llu bytes", what,
	         (unsigned long long)size, (unsigned long long)stats.capacity);
	note_full(rt, -EMSGSIZE, line);
}

static WF_SUSPENDS int create_waiting(weft *rt, uint64_t size, int64_t until,
                                      struct wf_object **out)
{
	struct wf_store_full full = { .capacity = 0 };
	struct store_wait sw = { .ticket = { .size = size, .full = &full } };
	int rc = store_await(rt, &sw, until);

	if (rc)
		return rc;
	if (sw.ticket.status == -ENOSPC) {
		note_full(rt, WEFT_ESTOREFULL, full.text);
		return WEFT_ESTOREFULL;
	}
	if (!sw.ticket.status)
		*out = sw.ticket.object;
	return sw.ticket.status;
}

int wf_object_make(weft *rt, uint64_t size, int64_t until, struct wf_object **out)
{
	struct wf_local *self = wf_local_of(rt);
	struct wf_store *store = self ? wf_runtime_store(rt) : NULL;

	if (!store)
		return -ENOMEM;
	int rc = wf_store_create(store, local_of(self), size, out);

	if (rc == -EAGAIN && until != WEFT_POLL)
		rc = create_waiting(rt, size, until, out);
	if (rc == -EMSGSIZE)
		note_too_large(rt, 1, size);
	return rc;
}

void wf_object_drop(struct wf_local *self, struct wf_object *object)
{
	weft *rt = self->rt;
	struct wf_store *store = wf_runtime_store(rt);

	if (WF_UNLIKELY(rt->gpus != NULL))
		wf_remote_object_gone(rt, object);
	if ((wf_object_word(object) & WF_OBJECT_STATE) == WF_OBJECT_LOST) {
		pthread_mutex_lock(&rt->store_mutex);
		for (struct wf_lost **at = &rt->lost; *at; at = &(*at)->next) {
			struct wf_lost *lost = *at;

			if (lost->object != object)
				continue;
			*at = lost->next;
			wf_error_release(lost->error);
			wf_free(lost);
			break;
		}
		pthread_mutex_unlock(&rt->store_mutex);
	}
	wf_object_delete(store, local_of(self), object);
}

int wf_object_set_meta(weft *rt, struct wf_object *object, const weft_ref *refs, uint32_t n_refs,
                       const void *bytes, size_t size)
{
	size_t refs_bytes = n_refs * sizeof(weft_ref);
	struct wf_object_meta *meta = wf_malloc(sizeof(*meta) + refs_bytes + size);

	if (!meta)
		return -ENOMEM;
	*meta = (struct wf_object_meta){ .n_refs = n_refs, .size = (uint32_t)size };
	for (uint32_t i = 0; i < n_refs; i++) {
		meta->refs[i] = refs[i];
		wf_promise_retain(&wf_cell_of(rt, refs[i])->promise);
	}
	if (size)
		memcpy((char *)meta->refs + refs_bytes, bytes, size);
	WF_CHECK(!object->meta);
	object->meta = meta;
	return 0;
}

/* ---- Payloads: a block of the slab or an object ----------------------------- */

int wf_payload_make(weft *rt, size_t size, int64_t until, struct wf_payload **out, void **data)
{
	struct wf_object *object;

	if (size <= WF_BLOCK_VALUE_MAX) {
		struct wf_local *self = wf_local_of(rt);
		struct wf_payload *payload = self ? wf_payload_alloc(self, size) : NULL;

		if (!payload)
			return -ENOMEM;
		*out = payload;
		*data = payload->data;
		return 0;
	}
	int rc = wf_object_make(rt, size, until, &object);

	if (rc)
		return rc == -EMSGSIZE ? WEFT_ESTOREFULL : rc;
	*out = wf_payload_of_object(object);
	*data = wf_object_writable(wf_runtime_store(rt), object);
	return 0;
}

void wf_payload_seal(weft *rt, struct wf_payload *payload)
{
	if (wf_payload_is_object(payload) && !wf_payload_is_remote(payload))
		WF_CHECK(!wf_object_seal(wf_runtime_store(rt), wf_payload_object(payload), 0, 0));
}

/* ---- Reading ---------------------------------------------------------------- */

int wf_object_lost_status(const struct wf_object *object)
{
	const struct wf_store_loss *loss = wf_object_loss(object);

	return loss && loss->code == -EBADMSG ? WEFT_ECORRUPT : WEFT_ELOST;
}

void wf_lost_forget(weft *rt, const struct wf_object *object)
{
	WF_DEBUG(object != NULL);
	pthread_mutex_lock(&rt->store_mutex);
	/* Somebody may still be looking at the error: it stays until the close. */
	for (struct wf_lost *lost = rt->lost; lost; lost = lost->next) {
		if (lost->object == object)
			lost->object = NULL;
	}
	pthread_mutex_unlock(&rt->store_mutex);
}

struct wf_error *wf_object_lost_error(weft *rt, const struct wf_cell *cell,
                                      struct wf_object *object)
{
	const struct wf_store_loss *loss = wf_object_loss(object);
	char text[512], why[192];
	struct wf_lost *lost;

	if (!loss)
		return NULL;
	wf_lineage_why(cell, object, why, sizeof(why));
	snprintf(text, sizeof(text), "%s%s", loss->text, why);
	pthread_mutex_lock(&rt->store_mutex);
	for (lost = rt->lost; lost && lost->object != object;)
		lost = lost->next;
	if (!lost && wf_object_loss(object) != loss) {
		/* It has bytes again since, and what was said of it has been forgotten. */
		pthread_mutex_unlock(&rt->store_mutex);
		return NULL;
	}
	if (!lost) {
		lost = wf_malloc(sizeof(*lost));
		if (lost) {
			*lost = (struct wf_lost){
				.next = rt->lost,
				.object = object,
				.error = wf_error_create(&(struct wf_error_args){
					.status = wf_object_lost_status(object),
					.code = loss->code,
					.text = text,
					.task = "store" }),
			};
			rt->lost = lost;
		}
	}
	pthread_mutex_unlock(&rt->store_mutex);
	return lost ? lost->error : wf_error_static(wf_object_lost_status(object));
}

static int ticket_error(struct wf_object *const *objects, const struct wf_store_ticket *ticket)
{
	switch (ticket->status) {
	case -EIO:
		return wf_object_lost_status(objects[ticket->failed]);
	case -ENOSPC:
	case -EMSGSIZE:
		return WEFT_ESTOREFULL;
	default:
		return ticket->status;
	}
}

/* All that are there at once: their count is n, or none is pinned and 0 or an error comes back. */
static int pin_present(struct wf_local *self, struct wf_object *const *objects, uint32_t n,
                       uint64_t unit)
{
	struct wf_store *store = wf_runtime_store(self->rt);

	for (uint32_t i = 0; i < n; i++) {
		int rc = wf_object_pin(store, objects[i], unit);

		if (!rc)
			continue;
		while (i-- > 0)
			wf_value_unhold(self, objects[i], unit);
		return rc;
	}
	return 0;
}

void wf_value_unhold(struct wf_local *self, struct wf_object *object, uint64_t unit)
{
	int rc = wf_object_unpin(wf_runtime_store(self->rt), local_of(self), object, unit);

	WF_CHECK(!rc);
}

int wf_values_hold(weft *rt, struct wf_object *const *objects, uint32_t n, uint64_t unit,
                   int64_t until, uint32_t *failed)
{
	struct wf_local *self = wf_local_of(rt);

	if (!self)
		return -ENOMEM;
	int rc = pin_present(self, objects, n, unit);

	if (!rc)
		return 0;
	/* relaxed: from now on ready tasks have their inputs brought in ahead. */
	wf_or_relaxed(&rt->inputs_mind, WF_MIND_SPILLED);
	if (rc == -EAGAIN && until == WEFT_POLL) {
		for (uint32_t i = 0; i < n; i++)
			wf_store_prefetch(wf_runtime_store(rt), objects[i]);
		return -ETIMEDOUT;
	}
	struct wf_store_full full = { .capacity = 0 };
	struct store_wait sw = {
		.ticket = { .objects = objects, .count = n, .unit = unit, .full = &full }
	};

	rc = store_await(rt, &sw, until);
	if (rc || !sw.ticket.status)
		return rc;
	*failed = sw.ticket.failed;
	if (sw.ticket.status == -ENOSPC)
		note_full(rt, WEFT_ESTOREFULL, full.text);
	if (sw.ticket.status == -EMSGSIZE) {
		uint64_t size = 0;

		for (uint32_t i = 0; i < n; i++)
			size += objects[i]->size;
		note_too_large(rt, n, size);
	}
	return ticket_error(objects, &sw.ticket);
}

int wf_value_unview(struct wf_local *self, struct wf_object *object)
{
	struct wf_store *store = wf_runtime_store(self->rt);
	int rc = wf_object_unpin(store, local_of(self), object, WF_OBJECT_VIEW);

	return rc;
}

struct weft_view wf_object_view(weft *rt, const struct wf_object *object)
{
	return (struct weft_view){ wf_object_readable(wf_runtime_store(rt), object), object->size };
}

struct wf_object *wf_cell_object(const struct wf_cell *cell)
{
	uint32_t flags = wf_flags(cell);

	if ((flags & (WF_CELL_BIG | WF_CELL_ERROR)) != WF_CELL_BIG)
		return NULL;
	if (WF_UNLIKELY(wf_payload_is_remote(cell->u.payload)))
		return wf_remote_object(cell->u.payload);
	if (!wf_payload_is_object(cell->u.payload))
		return NULL;
	return wf_payload_object(cell->u.payload);
}

size_t wf_cell_size(const struct wf_cell *cell)
{
	struct wf_object *object = wf_cell_object(cell);

	if (!object && wf_cell_is_remote(cell))
		return wf_remote_size(cell->u.payload);
	return object ? object->size : wf_cell_view(cell).size;
}

bool wf_lost_again(weft *rt, struct wf_object *object, int64_t until, int *rc)
{
	if (*rc != WEFT_ECORRUPT && *rc != WEFT_ELOST)
		return false;
	int rebuilt = wf_lineage_rebuild(rt, object, until);

	if (rebuilt < 0)
		*rc = rebuilt;
	return !rebuilt;
}

int wf_cell_get_view(weft *rt, struct wf_cell *cell, int64_t until, struct weft_view *view)
{
	struct wf_object *object = wf_cell_object(cell);
	uint32_t failed;

	if (!object && wf_cell_is_remote(cell)) {
		int bad = wf_remote_bring(rt, cell, until);

		if (bad)
			return bad;
		object = wf_cell_object(cell);
	}
	if (!object) {
		*view = wf_cell_view(cell);
		return 0;
	}
	/* In memory, as it nearly always is: a pin and no more. */
	int rc = wf_object_pin(wf_runtime_store(rt), object, WF_OBJECT_VIEW);

	while (WF_UNLIKELY(rc)) {
		rc = wf_values_hold(rt, &object, 1, WF_OBJECT_VIEW, until, &failed);
		if (!wf_lost_again(rt, object, until, &rc))
			break;
	}
	if (!rc)
		*view = wf_object_view(rt, object);
	return rc;
}

int64_t wf_cell_copy_object(weft *rt, struct wf_cell *cell, void *dst, size_t size)
{
	struct wf_object *object;
	uint32_t failed;

	if (wf_cell_size(cell) > size)
		return -EMSGSIZE;
	if (wf_cell_is_remote(cell)) {
		int bad = wf_remote_bring(rt, cell, WEFT_FOREVER);

		if (bad)
			return bad;
	}
	object = wf_cell_object(cell);
	WF_CHECK(object);
	struct wf_local *self = wf_local_of(rt);

	if (!self)
		return -ENOMEM;
	bool entered;
	int rc;

	do {
		entered = wf_room_enter(self, object->size);
		rc = wf_values_hold(rt, &object, 1, WF_OBJECT_PIN, WEFT_FOREVER, &failed);
		self = wf_local_of(rt);
		if (rc)
			wf_room_leave(self, entered);
	} while (wf_lost_again(rt, object, WEFT_FOREVER, &rc) && (self = wf_local_of(rt)));
	self = wf_local_of(rt);
	if (!rc) {
		struct weft_view view = wf_object_view(rt, object);

		if (view.size)
			memcpy(dst, view.data, view.size);
		wf_value_unhold(self, object, WF_OBJECT_PIN);
		wf_room_leave(self, entered);
	}
	return rc ? rc : (int64_t)object->size;
}
