/*
 * lineage.c: results that a file has lost are computed again by their task.
 *
 * A task that asks for it (WEFT_TASK_REBUILD) leaves behind what a further run needs: function,
 * argument, options, and a count of each input, which is kept so, in memory or in a file. That
 * record hangs on the objects that its outputs are, and goes with the last of them. Who meets a
 * lost object (a get, a task whose input it is) has the record's call submitted again, as an
 * ordinary task that nobody has a ref of, and waits. When that has ended a second task, the mover,
 * gives the lost objects the bytes of the new ones (wf_object_revive()): refs, views to come and
 * other holders know nothing of it. An input that is lost is met by the run itself, and is rebuilt
 * in the same way.
 *
 * Every attempt counts towards options.retries of the first run. A run that fails, or gives a
 * value of another size, is the last one. What was only short of memory or room is not said to be
 * lost for good: whoever waits is told that, and who asks next has it tried again.
 *
 * An event stands for the run under way, and points to it, so that the search for deadlocks finds
 * out what those who wait for it wait for. A run that has no mover, because that could not be
 * submitted, is cancelled; it has the record's argument and name until it has ended, so only then
 * the run is over.
 *
 * Shared: all of a record but its call, under `lock`; an object's `meta` is fixed before its cell
 * is done. The lock is recursive: an object that was deleted while it was being revived goes at
 * once, and takes leave of its record.
 */
#include "lineage.h"

#include <errno.h>
#include <stdio.h>

#include "wf_store.h"

#define REFS_ON_STACK 8
#define WHY_BYTES     160
#define WRITE_NS      INT64_C(1000000) /* until a write under way is looked at again */

struct wf_lineage {
	struct wf_setup setup;
	struct wf_legacy legacy; /* its context is counted */
	struct weft_call call;   /* its inputs are counted */
	void (*arg_drop)(void *arg, size_t size);
	uint32_t users;             /* the task, objects, a run under way */
	uint32_t n;                 /* outputs */
	uint32_t left;              /* attempts */
	bool moved;                 /* the mover of this run has run */
	struct wf_cell *event;      /* fires when the run under way is over; NULL: there is none */
	struct wf_object **objects; /* [n] that lie in the store; NULL: that one does not */
	int passing;                /* what the last run was short of; 0: nothing */
	struct wf_waiter end;       /* of a run without a mover */
	char why[WHY_BYTES];        /* there will be no further run; "": there may be */
};

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static size_t round_up(size_t size)
{
	return (size + 15) & ~(size_t)15;
}

/* ---- Records -------------------------------------------------------------------------------- */

static void copy_call(weft *rt, struct wf_lineage *l, const struct weft_call *call, char *room)
{
	weft_ref *inputs;
	uint32_t edges = (uint32_t)call->n_inputs + call->n_after;

	if (call->arg_size)
		memcpy(room, call->arg, call->arg_size);
	WF_DEBUG(l->n > 0 && (uintptr_t)room % 16 == 0);
	l->call.arg = room;
	room += round_up(call->arg_size);
	l->objects = (struct wf_object **)(void *)room;
	memset(room, 0, l->n * sizeof(*l->objects));
	room += l->n * sizeof(*l->objects);
	inputs = (weft_ref *)(void *)room;
	for (uint32_t i = 0; i < edges; i++) {
		struct wf_cell *src = wf_cell_of(rt, call->inputs[i]);

		WF_CHECK(src);
		wf_promise_retain(&src->promise);
		inputs[i] = call->inputs[i];
	}
	l->call.inputs = inputs;
}

struct wf_lineage *wf_lineage_create(weft *rt, const struct weft_call *call,
                                     const struct wf_setup *setup)
{
	size_t name = setup->o.name ? strlen(setup->o.name) + 1 : 0;
	uint32_t n = setup->o.n_outputs, edges = (uint32_t)call->n_inputs + call->n_after;
	size_t at = round_up(sizeof(struct wf_lineage));
	size_t rest = round_up(call->arg_size) + n * sizeof(struct wf_object *) +
		edges * sizeof(weft_ref);
	size_t codes = setup->o.n_retry_on * sizeof(int);
	char *room = wf_malloc(at + rest + codes + name);
	struct wf_lineage *l = (struct wf_lineage *)(void *)room;

	if (!l)
		return NULL;
	*l = (struct wf_lineage){ .setup = *setup, .call = *call, .users = 1, .n = n };
	l->arg_drop = setup->o.arg_drop;
	copy_call(rt, l, call, room + at);
	room += at + rest;
	if (codes)
		l->setup.o.retry_on = memcpy(room, setup->o.retry_on, codes);
	if (name)
		l->setup.o.name = memcpy(room + codes, setup->o.name, name);
	WF_DEBUG(n > 0 && setup->o.retries > 0);
	/* A further run is in no way the caller's: it inherits what the first one had. */
	l->call.opts = NULL;
	l->setup.legacy = &l->legacy;
	l->setup.o.flags &= ~(uint32_t)WEFT_TASK_REBUILD;
	l->setup.o.arg_drop = NULL;
	l->setup.o.deadline = 0;
	l->setup.o.context = NULL;
	l->setup.o.context_size = 0;
	return l;
}

/* `self` NULL: the cells are gone as a whole. */
static void destroy(struct wf_local *self, struct wf_lineage *l, bool drop)
{
	uint32_t edges = (uint32_t)l->call.n_inputs + l->call.n_after;

	WF_CHECK(!l->users && !l->event);
	WF_DEBUG(!drop || !self || self->rt);
	for (uint32_t i = 0; self && i < edges; i++)
		wf_cell_release(self, &self->rt->cells[wf_ref_index(l->call.inputs[i])]);
	if (drop && l->arg_drop) {
		weft *fast_rt = self ? self->fast_rt : NULL;

		/* As in wf_ext_free(). */
		if (self)
			self->fast_rt = WF_RT_NONE;
		l->arg_drop(l->call.arg_size ? (void *)(uintptr_t)l->call.arg : NULL,
		            l->call.arg_size);
		if (self)
			self->fast_rt = fast_rt;
	}
	wf_blob_release(l->legacy.context);
	wf_free(l);
}

static void put(struct wf_local *self, struct wf_lineage *l)
{
	pthread_mutex_lock(&lock);
	WF_CHECK(l->users > 0);
	bool last = --l->users == 0;

	pthread_mutex_unlock(&lock);
	if (last)
		destroy(self, l, true);
}

void wf_lineage_put(struct wf_local *self, struct wf_lineage *lineage)
{
	put(self, lineage);
}

void wf_lineage_undo(struct wf_local *self, struct wf_lineage *lineage)
{
	WF_CHECK(lineage->users == 1);
	lineage->users = 0;
	destroy(self, lineage, false);
}

static void add_output(struct wf_lineage *l, const struct wf_cell *cell, uint32_t i)
{
	struct wf_object *object = wf_cell_object(cell);
	/* A list of refs has its own; without memory it cannot be rebuilt. */
	struct wf_object_meta *meta = object && !object->meta ? wf_calloc(1, sizeof(*meta)) : NULL;

	if (!meta)
		return;
	WF_DEBUG(!wf_payload_is_remote(cell->u.payload));
	meta->lineage = l;
	meta->output = i;
	pthread_mutex_lock(&lock);
	WF_CHECK(i < l->n && !l->objects[i]);
	l->users++;
	l->objects[i] = object;
	pthread_mutex_unlock(&lock);
	object->meta = meta;
}

void wf_lineage_made(struct wf_local *self, struct wf_cell *cell, struct wf_ext *ext)
{
	struct wf_lineage *l = wf_ext_more(ext)->lineage;
	const struct wf_plus *plus = wf_ext_plus(ext);

	WF_CHECK(l && plus && l->n == ext->n_outputs);
	WF_DEBUG(!l->event && l->users == 1);
	l->left = plus->retries;
	l->legacy.identity = plus->identity;
	l->legacy.context = plus->context;
	if (plus->context)
		/* relaxed: the task holds it meanwhile. */
		wf_add_relaxed(&plus->context->refs, 1);
	/* In the group it was in, not that of who meets the loss. */
	l->setup.o.group = wf_cell_group(cell)
		? wf_group_handle(wf_group_at(self->rt, wf_cell_group(cell)))
		: WEFT_GROUP_NONE;
	add_output(l, cell, 0);
	for (uint32_t i = 1; i < l->n; i++)
		add_output(l, &self->rt->cells[wf_ext_outs(ext)[i - 1]], i);
}

void wf_lineage_gone(struct wf_local *self, const struct wf_object_meta *meta)
{
	struct wf_lineage *l = meta->lineage;

	if (!l)
		return;
	pthread_mutex_lock(&lock);
	WF_CHECK(meta->output < l->n && l->objects[meta->output]);
	WF_DEBUG(l->users > 0);
	l->objects[meta->output] = NULL;
	pthread_mutex_unlock(&lock);
	put(self, l);
}

static bool is_lost(const struct wf_object *object)
{
	return (wf_object_word(object) & WF_OBJECT_STATE) == WF_OBJECT_LOST;
}

void wf_lineage_why(const struct wf_cell *cell, const struct wf_object *object, char *text,
                    size_t size)
{
	const struct wf_object_meta *meta = object->meta;
	uint32_t kind = wf_flags(cell) & WF_CELL_KIND_MASK;
	const char *why = kind == WF_CELL_VALUE ? "; not rebuilt: it was put"
						: "; not rebuilt: its task did not ask for it";

	if (!meta || !meta->lineage) {
		snprintf(text, size, "%s", why);
		return;
	}
	pthread_mutex_lock(&lock);
	snprintf(text, size, "%s%s", meta->lineage->why[0] ? "; not rebuilt: " : "",
	         meta->lineage->why);
	pthread_mutex_unlock(&lock);
}

/* ---- A further run -------------------------------------------------------------------------- */

/* There will be no other one. */
static void give_up(struct wf_lineage *l, const char *why, const char *more)
{
	pthread_mutex_lock(&lock);
	if (!l->why[0])
		snprintf(l->why, sizeof(l->why), "%s%s", why, more);
	pthread_mutex_unlock(&lock);
}

/* What stood in the way: whether another try may do better. */
static void note_failure(struct wf_lineage *l, const char *why, int rc)
{
	if (rc != -ENOMEM && rc != -EAGAIN && rc != WEFT_ESTOREFULL && rc != WEFT_EDEADLOCK &&
	    rc != WEFT_ECLOSED) {
		give_up(l, why, weft_strerror(rc));
		return;
	}
	pthread_mutex_lock(&lock);
	l->passing = rc;
	pthread_mutex_unlock(&lock);
}

/* The run is over; what it has not moved stays lost. */
static void run_over(struct wf_local *self, struct wf_lineage *l)
{
	pthread_mutex_lock(&lock);
	struct wf_cell *event = l->event;

	WF_CHECK(event && l->users > 0);
	if (!l->moved && !l->passing)
		give_up(l, "its task was cancelled", "");
	/* What was said of them was said before this. */
	for (uint32_t i = 0; i < l->n; i++) {
		if (l->objects[i])
			wf_lost_forget(self->rt, l->objects[i]);
	}
	l->event = NULL;
	pthread_mutex_unlock(&lock);
	wf_signal(self, event, NULL);
	put(self, l);
}

/* Once, on every path of the mover. */
static void mover_over(void *arg, size_t size)
{
	struct wf_lineage *l = *(struct wf_lineage **)arg;
	struct wf_local *self = wf_self();

	WF_CHECK(size == sizeof(l) && self);
	WF_DEBUG(l->n > 0);
	run_over(self, l);
}

/* 0; -EAGAIN: not while `fresh` is being written to a file; -EINVAL: not at all. */
static int take_place(weft *rt, struct wf_lineage *l, uint32_t i, struct wf_object *fresh)
{
	struct wf_local *self = wf_self();
	int rc = -EINVAL;

	pthread_mutex_lock(&lock);
	struct wf_object *lost = l->objects[i];

	WF_DEBUG(i < l->n && lost != fresh);
	WF_DEBUG(l->event && l->moved);
	if (lost)
		rc = wf_object_revive(wf_runtime_store(rt), self->store, lost, fresh);
	if (rc == -EINVAL && l->objects[i])
		give_up(l, "its task gave a value of another size", "");
	/* Its entry may be somebody else's soon, of whom it was not said. */
	if (!rc)
		wf_lost_forget(rt, lost);
	pthread_mutex_unlock(&lock);
	return rc;
}

/* Output i of the run takes the place of what was lost. */
static WF_SUSPENDS void move_output(weft *rt, struct wf_lineage *l, uint32_t i, struct wf_cell *src)
{
	struct wf_object *fresh = wf_cell_object(src);
	uint32_t failed;

	WF_DEBUG(i < l->n);
	WF_DEBUG(wf_promise_is_done(&src->promise));
	pthread_mutex_lock(&lock);
	bool wanted = l->objects[i] && is_lost(l->objects[i]);

	pthread_mutex_unlock(&lock);
	if (!wanted)
		return;
	if (!fresh) {
		give_up(l, "its task gave a value of another size", "");
		return;
	}
	int rc = wf_values_hold(rt, &fresh, 1, WF_OBJECT_PIN, WEFT_FOREVER, &failed);

	if (rc) {
		note_failure(l, "the new value: ", rc);
		return;
	}
	while ((rc = take_place(rt, l, i, fresh)) == -EAGAIN) {
		wf_outside_begin(rt);
		rc = weft_sleep_until(rt, wf_clock_now(&rt->clock) + WRITE_NS);
		wf_outside_end(rt);
		if (rc) {
			note_failure(l, "the new value: ", rc);
			break;
		}
	}
	struct wf_local *self = wf_self();

	if (rc) {
		wf_value_unhold(self, fresh, WF_OBJECT_PIN);
		return;
	}
	/* Nobody else has a ref of it. */
	wf_flags_drop(src, WF_CELL_BIG);
	src->mark.size = 0;
	wf_log(rt, WEFT_LOG_INFO, "a lost result was computed again by its task");
}

/* Those of the run, which has ended. */
static void count_attempts(struct wf_lineage *l, const struct wf_cell *first)
{
	/* relaxed: it has ended. */
	uint32_t attempts = wf_load_relaxed(&first->mark.attempt);

	WF_DEBUG(wf_promise_is_done(&first->promise));
	if (l->left != WEFT_RETRIES_FOREVER)
		l->left -= attempts < l->left ? attempts : l->left;
}

static WF_SUSPENDS int mover(weft_task *self)
{
	struct wf_lineage *l = *(struct wf_lineage **)weft_task_arg(self, NULL);
	struct wf_ext *ext = wf_cell_ext(self->cell);
	struct wf_cell *first = &self->rt->cells[ext->edges[0].src];

	WF_CHECK(ext->n_after == l->n);
	WF_CHECK(l->event && !l->moved);
	l->moved = true;
	count_attempts(l, first);
	if (wf_flags(first) & WF_CELL_ERROR) {
		wf_error_see(first->u.error);
		note_failure(l, "its task failed: ", first->u.error->pub.status);
		return 0;
	}
	for (uint32_t i = 0; i < l->n; i++)
		move_output(self->rt, l, i, &self->rt->cells[ext->edges[i].src]);
	return 0;
}

static void unmoved_ended(struct wf_waiter *node, struct wf_cell *cell, struct wf_local *self)
{
	struct wf_lineage *l = wf_container_of(node, struct wf_lineage, end);

	WF_DEBUG(l->passing || l->why[0]);
	if (wf_flags(cell) & WF_CELL_ERROR)
		wf_error_see(cell->u.error);
	count_attempts(l, cell);
	wf_cell_release(self, cell);
	run_over(self, l);
}

/* There is no mover: the run is to no purpose, and over when it has ended. */
static void drop_run(struct wf_local *self, struct wf_lineage *l, weft_ref ref)
{
	struct wf_cell *cell = wf_cell_of(self->rt, ref);
	bool foreign = wf_cell_foreign(self, cell);
	uintptr_t taken = 0;

	WF_CHECK(l->event && !l->moved);
	(void)weft_cancel(self->rt, ref);
	l->end = (struct wf_waiter){ .fire = unmoved_ended };
	if (!wf_promise_push(&cell->promise, &l->end, foreign, &taken))
		unmoved_ended(&l->end, cell, self);
	else if (taken)
		wf_cell_fire(self, cell, taken);
}

/* Submit the call again, and the mover behind it. False: there is no run. */
static bool submit_run(struct wf_local *self, struct wf_lineage *l, weft_ref *refs)
{
	static const struct weft_task_options options = { .struct_size = sizeof(options),
		                                          .on_input_error = WEFT_INPUT_IGNORE,
		                                          .flags = WF_EXT_ALWAYS,
		                                          .arg_drop = mover_over };
	struct weft_task *current = self->current;
	weft *rt = self->rt;

	WF_DEBUG(!l->setup.o.arg_drop && l->setup.legacy == &l->legacy);
	WF_DEBUG(l->event != NULL);
	if (!wf_group_known(rt, l->setup.o.group))
		l->setup.o.group = WEFT_GROUP_NONE;
	/* Nobody's child, and in no captured place. */
	self->current = NULL;
	int rc = wf_submit_setup(rt, &l->call, &l->setup, refs);

	self->current = current;
	if (rc) {
		note_failure(l, "its task could not be submitted: ", rc);
		return false;
	}
	/* Read by the search for deadlocks alone, while all is idle. */
	l->event->main = wf_cell_of(rt, refs[0]);
	rc = wf_submit_internal(rt,
	                        &(struct weft_call){ .fn = mover,
	                                             .arg = &l,
	                                             .arg_size = sizeof(l),
	                                             .inputs = refs,
	                                             .n_after = (uint16_t)l->n,
	                                             .opts = &options });
	for (uint32_t i = 1; i < l->n; i++)
		(void)weft_release(rt, refs[i]);
	if (!rc) {
		(void)weft_release(rt, refs[0]);
		return true;
	}
	note_failure(l, "its task could not be submitted: ", rc);
	drop_run(self, l, refs[0]);
	return true;
}

static void begin_run(struct wf_local *self, struct wf_lineage *l)
{
	weft_ref few[REFS_ON_STACK];
	weft_ref *refs = l->n <= REFS_ON_STACK ? few : wf_malloc(l->n * sizeof(*refs));
	bool begun = false;

	l->setup.o.retries = l->left == WEFT_RETRIES_FOREVER ? l->left : l->left - 1;
	if (refs)
		begun = submit_run(self, l, refs);
	else
		note_failure(l, "", -ENOMEM);
	if (refs != few)
		wf_free(refs);
	if (!begun)
		run_over(self, l);
}

/* The event of the run under way, counted; *begin: it is to be begun. NULL: there is none. */
static struct wf_cell *join_run(struct wf_local *self, struct wf_lineage *l, bool *begin, int *rc)
{
	WF_DEBUG(l->users > 0);
	*begin = false;
	if (!l->event) {
		if (!l->why[0] && !l->left)
			give_up(l, "its task has no attempt left", "");
		*rc = l->why[0] ? 1 : -ENOMEM;
		if (l->why[0])
			return NULL;
		l->event = wf_event_start(self, WF_CELL_SIGNAL);
		if (!l->event)
			return NULL;
		*begin = true;
		l->moved = false;
		l->passing = 0;
		l->users++;
	}
	wf_promise_retain(&l->event->promise);
	return l->event;
}

bool wf_lineage_may_rebuild(const struct wf_object *object)
{
	const struct wf_object_meta *meta = object->meta;

	return is_lost(object) && meta && meta->lineage;
}

/* Of a run that is over; 0: look again. The caller keeps the object, and that the record. */
static int what_it_was_short_of(const struct wf_object *object, struct wf_lineage *l)
{
	pthread_mutex_lock(&lock);
	/* Somebody may have begun another one since. */
	int rc = is_lost(object) && !l->event ? l->passing : 0;

	WF_DEBUG(rc <= 0);
	WF_DEBUG(l->users > 0);
	pthread_mutex_unlock(&lock);
	return rc;
}

int wf_lineage_rebuild(weft *rt, struct wf_object *object, int64_t until)
{
	const struct wf_object_meta *meta = object->meta;
	struct wf_lineage *l = meta ? meta->lineage : NULL;
	struct wf_local *self = wf_local_of(rt);
	bool begin = false;
	int rc = 0;

	if (!l || !self)
		return l ? -ENOMEM : 1;
	pthread_mutex_lock(&lock);
	struct wf_cell *event = is_lost(object) ? join_run(self, l, &begin, &rc) : NULL;

	pthread_mutex_unlock(&lock);
	if (!event)
		return rc;
	if (begin)
		begin_run(self, l);
	rc = wf_wait_cell(rt, event, until);
	/* When all is cancelled it ends before the run. */
	if (!rc && wf_flags(event) & WF_CELL_ERROR)
		rc = event->u.error->pub.status;
	wf_cell_release(wf_local_of(rt), event);
	return rc ? rc : what_it_was_short_of(object, l);
}
