/*
 * keyed.c: tasks whose results outlive the process, and bodies that write files.
 *
 * A submit with a key looks first: into the table of pending keys, then on the disk. Whoever
 * enters a key into the table looks on the disk for all; others wait for its `looked` event. What
 * is not found runs as an ordinary task, with two steps around its body, as the task itself: a
 * marker that the key was begun, and the outputs' way to the disk. All file calls are made by
 * wf_call_blocking(), so no worker waits for the disk.
 *
 * Shared: the table and `users`, `state` of its entries, under `mutex`; counters likewise. All else
 * of an entry is written before it is PENDING or by the one attempt that runs.
 *
 * Invariants: an entry of the table has a key that no other has; it leaves when its task has ended
 * or its look has answered, and goes when its last user does: the submitter, the task, and those
 * who are about to take its refs, which it counts. A result is on the disk before its task leaves
 * the table, so a key is never without both while it is good.
 */
#include "keyed_inner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "runtime.h"
#include "wf_dataset.h"
#include "wf_store.h"

#define KEY_MAX         255
#define OUTPUT_MAX      150
#define KEY_RETRIES_MAX 1000

static void log_key(weft *rt, int level, const char *key, const char *text)
{
	wf_log(rt, level, "key \"%s\": %s", key, text);
}

/* ---- Session -------------------------------------------------------------------------------- */

int wf_session_start(weft *rt)
{
	if (!rt->options.session_dir)
		return 0;
	struct wf_session_table *table = wf_calloc(1, sizeof(*table));
	int rc = table ? wf_dataset_env_init(rt, &table->env) : -ENOMEM;

	if (!rc)
		rc = wf_session_open(&table->session, &table->env, rt->options.session_dir);
	if (rc) {
		wf_log(rt, WEFT_LOG_ERROR, "session_dir %s: %s", rt->options.session_dir,
		       weft_strerror(rc));
		wf_free(table);
		return rc;
	}
	pthread_mutex_init(&table->mutex, NULL);
	WF_CHECK(!rt->session && table->session);
	rt->session = table;
	return 0;
}

void wf_session_stop(weft *rt, bool well)
{
	struct wf_session_table *table = rt->session;

	if (!table)
		return;
	WF_CHECK(table->session);
	for (uint32_t i = 0; i < WF_KEYED_BUCKETS; i++)
		WF_CHECK(!table->bucket[i]);
	wf_session_close(table->session, well && !table->failed);
	pthread_mutex_destroy(&table->mutex);
	wf_free(table);
	rt->session = NULL;
}

int weft_session_info(weft *rt, struct weft_session_info *info)
{
	struct wf_session_table *table = rt ? rt->session : NULL;

	if (!table || !info || info->struct_size < 2 * sizeof(size_t))
		return -EINVAL;
	struct weft_session_info full = {
		.struct_size = info->struct_size,
		.epoch = wf_session_epoch(table->session),
		.data = wf_session_path(table->session, WF_SESSION_DATA),
		.output = wf_session_path(table->session, WF_SESSION_OUTPUT),
		.temp = wf_session_path(table->session, WF_SESSION_TEMP),
	};

	pthread_mutex_lock(&table->mutex);
	full.ran = table->ran;
	full.skipped = table->skipped;
	full.shared = table->shared;
	full.recomputed = table->recomputed;
	pthread_mutex_unlock(&table->mutex);
	memcpy(info, &full, info->struct_size < sizeof(full) ? info->struct_size : sizeof(full));
	return 0;
}

/* ---- Entries -------------------------------------------------------------------------------- */

static bool text_ok(const char *text, size_t max)
{
	size_t n = strnlen(text, max + 1);

	return n > 0 && n <= max;
}

static int wrong(weft *rt, const char *field, const char *value, const char *why)
{
	wf_log(rt, WEFT_LOG_ERROR, "weft_submit: %s \"%.255s\" %s", field, value, why);
	return -EINVAL;
}

int wf_keyed_wanted(weft *rt, const struct weft_task_options *o)
{
	if (!o->key && !o->output_name) {
		if (o->output_place)
			return wrong(rt, "output_place", o->output_place, "without output_name");
		if (o->key_retries)
			return wrong(rt, "key_retries", "", "without key");
		return 0;
	}
	if (o->flags & WEFT_TASK_EMITS)
		return wrong(rt, o->key ? "key" : "output_name", o->key ? o->key : o->output_name,
		             "of a task that emits");
	if (!rt->session)
		return wrong(rt, o->key ? "key" : "output_name", o->key ? o->key : o->output_name,
		             "in a runtime without session_dir");
	if (o->key && !text_ok(o->key, KEY_MAX))
		return wrong(rt, "key", o->key, "is empty or too long");
	if (o->output_name && strnlen(o->output_name, OUTPUT_MAX + 1) > OUTPUT_MAX)
		return wrong(rt, "output_name", o->output_name, "is too long");
	if (o->output_place && (!o->output_name || !*o->output_name || !*o->output_place))
		return wrong(rt, "output_place", o->output_place, "without output_name");
	if (o->key_retries != WEFT_RETRIES_NONE && o->key_retries > KEY_RETRIES_MAX)
		return wrong(rt, "key_retries", o->key ? o->key : "", "has more than 1000");
	return 1;
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
	/* With its end, so that what moves from one text to the next is seen. */
	return text ? XXH64(text, strlen(text) + 1, hash) : hash * 31 + 1;
}

/* What a later process can compare as well. */
static uint64_t fingerprint(const struct weft_call *call, const struct weft_task_options *o)
{
	uint32_t counts[3] = { o->n_outputs, call->n_inputs, call->n_after };
	uint64_t hash = XXH64(counts, sizeof(counts), 0);

	hash = hash_text(hash, o->name ? o->name : call->site);
	hash = hash_text(hash, o->output_name);
	hash = hash_text(hash, o->output_place);
	/* 0 asks by key alone. */
	return hash ? hash : 1;
}

static char *copy_text(char **room, const char *text)
{
	char *copy = *room;

	if (!text)
		return NULL;
	strcpy(copy, text);
	*room += strlen(text) + 1;
	WF_CHECK(*room > copy);
	return copy;
}

static struct wf_keyed *entry_create(const struct weft_call *call,
                                     const struct weft_task_options *o)
{
	const char *key = o->key ? o->key : "";
	const char *name = o->output_name && *o->output_name ? o->output_name : NULL;
	size_t refs = o->n_outputs * sizeof(weft_ref);
	size_t texts = strlen(key) + 1 + (name ? strlen(name) + 1 : 0) +
		(o->output_place ? strlen(o->output_place) + 1 : 0);
	struct wf_keyed *k = wf_malloc(sizeof(*k) + refs + texts);

	if (!k)
		return NULL;
	memset(k, 0, sizeof(*k) + refs);
	char *room = (char *)k->refs + refs;

	k->key = copy_text(&room, key);
	k->output_name = copy_text(&room, name);
	k->output_place = copy_text(&room, o->output_place);
	k->fn = call->fn;
	k->fingerprint = fingerprint(call, o);
	k->n_outputs = o->n_outputs;
	k->retries = o->key_retries == WEFT_RETRIES_NONE ? 0
		: o->key_retries                         ? o->key_retries
							 : WF_SESSION_RETRIES;
	WF_CHECK(room == (char *)k->refs + refs + texts);
	WF_CHECK(k->retries <= KEY_RETRIES_MAX);
	k->users = 1;
	return k;
}

static struct wf_keyed **slot_of(struct wf_session_table *table, const char *key)
{
	WF_CHECK(*key);
	struct wf_keyed **at = &table->bucket[XXH64(key, strlen(key), 0) % WF_KEYED_BUCKETS];

	while (*at && strcmp((*at)->key, key) != 0)
		at = &(*at)->next;
	return at;
}

/* Off the table, under the mutex; no-op when it has left. */
static void entry_end(struct wf_session_table *table, struct wf_keyed *k)
{
	if (k->state != ENDED && *k->key) {
		struct wf_keyed **at = slot_of(table, k->key);

		WF_CHECK(*at == k);
		*at = k->next;
	}
	k->state = ENDED;
}

static void entry_put(weft *rt, struct wf_keyed *k)
{
	pthread_mutex_lock(&rt->session->mutex);
	WF_CHECK(k->users > 0);
	bool last = --k->users == 0;

	pthread_mutex_unlock(&rt->session->mutex);
	if (!last)
		return;
	WF_CHECK(!k->output && !k->scratch);
	for (uint32_t i = 0; i < k->n_outputs; i++) {
		if (k->refs[i].bits)
			weft_release(rt, k->refs[i]);
	}
	if (k->looked.bits)
		weft_release(rt, k->looked);
	wf_free(k->checkpoint);
	wf_free(k);
}

void wf_keyed_drop(weft *rt, struct wf_keyed *keyed)
{
	struct wf_session_table *table = rt->session;

	WF_CHECK(table && !keyed->output && !keyed->scratch);
	pthread_mutex_lock(&table->mutex);
	WF_CHECK(keyed->state != ENDED);
	entry_end(table, keyed);
	if (!keyed->well)
		table->failed = true;
	else if (*keyed->key)
		table->ran++;
	pthread_mutex_unlock(&table->mutex);
	entry_put(rt, keyed);
}

/* ---- Looking on the disk -------------------------------------------------------------------- */

struct look_job {
	struct wf_session *session;
	const char *key;
	uint64_t fingerprint;
	struct wf_dataset *dataset;
};

static int look_job(void *arg)
{
	struct look_job *job = arg;

	return wf_session_find(job->session, job->key, job->fingerprint, &job->dataset);
}

/* Read the parts; none are left on an error. */
static WF_SUSPENDS int read_parts(weft *rt, struct wf_dataset *dataset, uint32_t n, weft_ref *out)
{
	for (uint32_t i = 0; i < n; i++) {
		int rc = wf_dataset_take(rt, dataset, i, &out[i]);

		if (!rc)
			continue;
		while (i-- > 0) {
			weft_release(rt, out[i]);
			out[i] = WEFT_NONE;
		}
		return rc;
	}
	return 0;
}

/* 0 with the refs, -ENOENT nothing is there, -EBADMSG it does not verify, or an error. */
static WF_SUSPENDS int result_from_disk(weft *rt, const char *key, uint64_t print, uint32_t n,
                                        weft_ref *out)
{
	struct look_job job = { rt->session->session, key, print, NULL };
	int rc = wf_call_blocking(rt, look_job, &job);

	if (rc)
		return rc;
	WF_CHECK(job.dataset);
	/* As many as the descriptor says: that is part of the fingerprint. */
	if (wf_dataset_info(job.dataset)->part_count < n)
		rc = print ? -EBADMSG : -ENOENT;
	if (!rc)
		rc = read_parts(rt, job.dataset, n, out);
	wf_dataset_close(job.dataset);
	return rc == WEFT_ECORRUPT ? -EBADMSG : rc;
}

/* ---- Submitting ----------------------------------------------------------------------------- */

/* The argument of a submit that needed no task is not needed any more. */
static void drop_argument(const struct weft_call *call, const struct weft_task_options *o)
{
	WF_ALIGNED(16) unsigned char copy[WEFT_ARG_MAX];

	WF_CHECK(call->arg_size <= sizeof(copy));
	if (!o->arg_drop)
		return;
	if (call->arg_size)
		memcpy(copy, call->arg, call->arg_size);
	o->arg_drop(call->arg_size ? copy : NULL, call->arg_size);
}

static void hand_out(weft *rt, const weft_ref *refs, uint32_t n, weft_ref *out)
{
	if (!out)
		return;
	for (uint32_t i = 0; i < n; i++) {
		WF_CHECK(refs[i].bits);
		out[i] = refs[i];
		WF_CHECK(!weft_retain(rt, refs[i]));
	}
}

/* The key is in the table already: its refs, WEFT_ECONFLICT, or 1: it left meanwhile. */
static WF_SUSPENDS int share(weft *rt, struct wf_keyed *there, const struct wf_keyed *mine,
                             weft_ref *out)
{
	struct wf_session_table *table = rt->session;
	struct weft_view view;
	int rc = 0;

	WF_CHECK(there != mine && there->looked.bits);
	if (mine && (there->fingerprint != mine->fingerprint || there->fn != mine->fn)) {
		log_key(rt, WEFT_LOG_ERROR, there->key, "is pending by another descriptor");
		rc = WEFT_ECONFLICT;
	}
	if (!rc)
		rc = weft_get(rt, there->looked, WEFT_FOREVER, &view);
	if (!rc) {
		pthread_mutex_lock(&table->mutex);
		rc = there->state == PENDING ? 0 : 1;
		table->shared += !rc && mine;
		pthread_mutex_unlock(&table->mutex);
	}
	if (!rc && (mine || there->n_outputs))
		hand_out(rt, there->refs, mine ? there->n_outputs : 1, out);
	else if (!rc)
		rc = -ENOENT;
	entry_put(rt, there);
	return rc;
}

/* Whoever waits for the look goes on: with the pending task, or with a look of its own. */
static void looked(weft *rt, struct wf_keyed *k, bool pending)
{
	struct wf_session_table *table = rt->session;

	pthread_mutex_lock(&table->mutex);
	WF_CHECK(k->users > 0 && (pending || k->state == LOOKING));
	if (!pending)
		entry_end(table, k);
	else if (k->state == LOOKING)
		k->state = PENDING;
	pthread_mutex_unlock(&table->mutex);
	if (!*k->key)
		return;
	/* An interrupt, or a close, may have ended the wait for it. */
	int rc = weft_event_set(rt, k->looked, NULL, 0);

	WF_CHECK(!rc || rc == -EALREADY);
}

/* Make it a task, which may end at any time from then on. */
static int begin(weft *rt, struct wf_keyed *k, const struct weft_call *call,
                 const struct weft_task_options *o, weft_ref *out)
{
	pthread_mutex_lock(&rt->session->mutex);
	WF_CHECK(k->state == LOOKING && k->users > 0);
	k->users++;
	pthread_mutex_unlock(&rt->session->mutex);
	int rc = wf_submit_keyed(rt, call, o, k, k->refs);

	if (rc)
		entry_put(rt, k);
	else
		hand_out(rt, k->refs, k->n_outputs, out);
	looked(rt, k, !rc);
	return rc;
}

/* The key is ours: from the disk, or a task. */
static WF_SUSPENDS int look_or_begin(weft *rt, struct wf_keyed *k, const struct weft_call *call,
                                     const struct weft_task_options *o, weft_ref *out)
{
	struct wf_session_table *table = rt->session;
	int rc = result_from_disk(rt, k->key, k->fingerprint, k->n_outputs, k->refs);

	if (!rc) {
		log_key(rt, WEFT_LOG_INFO, k->key, "already finished");
		pthread_mutex_lock(&table->mutex);
		table->skipped++;
		pthread_mutex_unlock(&table->mutex);
		hand_out(rt, k->refs, k->n_outputs, out);
		looked(rt, k, false);
		drop_argument(call, o);
		return 0;
	}
	if (rc == -ENOENT || rc == -EBADMSG) {
		k->broken = rc == -EBADMSG;
		if (k->broken)
			log_key(rt, WEFT_LOG_WARN, k->key, "does not verify, computed again");
		return begin(rt, k, call, o, out);
	}
	looked(rt, k, false);
	return rc == WF_ECONFLICT ? WEFT_ECONFLICT : rc;
}

/* The entry of a key with one more user, or NULL and `mine`, unless NULL, is in the table. */
static struct wf_keyed *enter(weft *rt, const char *key, struct wf_keyed *mine)
{
	struct wf_session_table *table = rt->session;

	pthread_mutex_lock(&table->mutex);
	struct wf_keyed **at = slot_of(table, key), *there = *at;

	WF_CHECK(!there || (there->users > 0 && there->state != ENDED));
	if (there)
		there->users++;
	else if (mine)
		*at = mine;
	pthread_mutex_unlock(&table->mutex);
	return there;
}

int wf_keyed_submit(weft *rt, const struct weft_call *call, const struct weft_task_options *o,
                    weft_ref *out)
{
	struct wf_keyed *k = entry_create(call, o);
	int rc = k ? 0 : -ENOMEM;

	WF_CHECK(rt->session);
	if (rc)
		return rc;
	if (!*k->key) {
		rc = begin(rt, k, call, o, out);
		entry_put(rt, k);
		return rc;
	}
	rc = weft_event_create(rt, &k->looked);
	for (bool done = rc != 0; !done;) {
		struct wf_keyed *there = enter(rt, k->key, k);

		rc = there ? share(rt, there, k, out) : look_or_begin(rt, k, call, o, out);
		done = rc != 1;
		if (!rc && there)
			drop_argument(call, o);
	}
	entry_put(rt, k);
	return rc;
}

int weft_find(weft *rt, const char *key, weft_ref *out)
{
	if (!rt || !rt->session || !key || !out || !text_ok(key, KEY_MAX))
		return -EINVAL;
	for (;;) {
		struct wf_keyed *there = enter(rt, key, NULL);
		int rc = there ? share(rt, there, NULL, out) : result_from_disk(rt, key, 0, 1, out);

		if (rc != 1)
			return rc == -EBADMSG ? WEFT_ECORRUPT : rc;
	}
}

/* ---- Around a body -------------------------------------------------------------------------- */

/* Fail the running task with a class of weft's own. */
static int fail_with(struct weft_task *frame, int status, const char *what, const char *key)
{
	char text[320];

	snprintf(text, sizeof(text), "key \"%.200s\": %s", key, what);
	wf_frame_set_error(frame,
	                   wf_error_create(&(struct wf_error_args){
				   .status = status,
				   .code = status,
				   .attempt = weft_task_attempt(frame),
				   .text = text,
				   .task = wf_task_name(frame->cell, frame->fn),
				   .site = wf_task_site(wf_cell_ext(frame->cell)) }));
	return status;
}

struct keyed_job {
	weft *rt;
	struct wf_keyed *k;
	struct weft_task *frame;
	uint32_t attempt;
	bool scratch;
	int code;
};

static int begin_job(void *arg)
{
	struct keyed_job *job = arg;

	int rc = wf_session_attempt(job->rt->session->session, job->k->key, job->k->retries,
	                            &job->attempt);

	if (!rc)
		wf_checkpoint_load(job->rt, job->k);
	return rc;
}

int wf_keyed_begin(struct weft_task *frame, struct wf_keyed *keyed)
{
	struct keyed_job job = { .rt = frame->rt, .k = keyed };
	struct wf_session_table *table = frame->rt->session;

	WF_CHECK(table && !keyed->well);
	WF_CHECK(!keyed->output && !keyed->scratch);
	if (!*keyed->key) {
		keyed->begun = wf_session_number(table->session);
		return 0;
	}
	int rc = wf_call_blocking(frame->rt, begin_job, &job);

	keyed->begun = job.attempt;
	if (rc == WF_EATTEMPTS)
		return fail_with(frame, WEFT_EATTEMPTS, "begun too often without a good end",
		                 keyed->key);
	return rc ? weft_fail(frame, rc, "key \"%s\" cannot be begun: %s", keyed->key,
	                      weft_strerror(rc))
		  : 0;
}

/* Output `i` as the body has left it, not sealed yet. -ENOTSUP: it names other references. */
static int output_part(struct weft_task *frame, uint32_t i, struct wf_dataset_part *part)
{
	struct wf_cell *cell = frame->cell;
	struct wf_payload *payload = frame->payload;

	WF_CHECK(i < wf_task_outputs(frame) || i == 0);
	if (i) {
		cell = &frame->rt->cells[wf_ext_outs(wf_cell_ext(cell))[i - 1]];
		payload = wf_flags(cell) & WF_CELL_BIG ? cell->u.payload : NULL;
	}
	*part = (struct wf_dataset_part){ .data = cell->data, .size = cell->mark.size };
	if (!payload)
		return 0;
	if (!wf_payload_is_object(payload)) {
		*part = (struct wf_dataset_part){ .data = payload->data, .size = payload->size };
		return 0;
	}
	struct wf_object *object = wf_payload_object(payload);
	const struct wf_object_meta *meta = object->meta;

	WF_CHECK(object);

	part->data = wf_object_writable(wf_runtime_store(frame->rt), object);
	part->size = object->size;
	return meta && meta->n_refs ? -ENOTSUP : 0;
}

static int keep(const struct keyed_job *job)
{
	const struct wf_session_table *table = job->rt->session;
	struct wf_dataset_spec spec = { .dir = wf_session_path(table->session, WF_SESSION_DATA),
		                        .name = job->k->key,
		                        .epoch = wf_session_epoch(table->session),
		                        .attempt = job->k->begun,
		                        .fingerprint = job->k->fingerprint };
	struct wf_dataset_writer *writer;

	WF_CHECK(*job->k->key && job->frame);
	int rc = wf_dataset_begin(&writer, &table->env, &spec);

	if (rc)
		return rc;
	for (uint32_t i = 0; i < job->k->n_outputs && !rc; i++) {
		struct wf_dataset_part part;

		rc = output_part(job->frame, i, &part);
		if (!rc)
			rc = wf_dataset_append(writer, &part);
	}
	if (!rc)
		return wf_dataset_publish(writer);
	wf_dataset_abort(writer);
	return rc;
}

/* The files first: once the result is there, all of it is. */
static int finish_job(void *arg)
{
	struct keyed_job *job = arg;
	struct wf_keyed *k = job->k;
	int rc = job->code;

	WF_CHECK(rc <= 0 && !k->well);
	wf_outdir_discard(k->scratch);
	if (rc >= 0 && k->output)
		rc = wf_outdir_publish(k->output);
	else
		wf_outdir_discard(k->output);
	k->scratch = k->output = NULL;
	if (rc < 0 || !*k->key)
		return rc;
	rc = keep(job);
	/* Markers that stay are counted in vain once more; the result is found before that. */
	if (!rc)
		(void)wf_session_attempts_forget(job->rt->session->session, k->key);
	if (!rc && k->checkpoint)
		wf_checkpoint_forget(job->rt, k);
	return rc;
}

int wf_keyed_finish(struct weft_task *frame, struct wf_keyed *keyed, int code)
{
	struct keyed_job job = {
		.rt = frame->rt, .k = keyed, .frame = frame, .code = code < 0 ? code : 0
	};
	struct wf_session_table *table = frame->rt->session;

	if (code < 0 && !keyed->output && !keyed->scratch)
		return code;
	int rc = wf_call_blocking(frame->rt, finish_job, &job);

	/* A runtime that lends no thread any more: then this one waits for the disk. */
	if (keyed->output || keyed->scratch)
		rc = finish_job(&job);
	WF_CHECK(!keyed->output && !keyed->scratch);
	if (code < 0)
		return code;
	WF_CHECK(rc <= 0);
	if (rc < 0)
		return weft_fail(frame, rc, "key \"%s\": the result cannot be kept: %s", keyed->key,
		                 rc == -ESTALE ? "a newer one is there" : weft_strerror(rc));
	keyed->well = true;
	if (keyed->broken) {
		pthread_mutex_lock(&table->mutex);
		table->recomputed++;
		pthread_mutex_unlock(&table->mutex);
	}
	return code;
}

/* ---- Directories ---------------------------------------------------------------------------- */

static int outdir_job(void *arg)
{
	struct keyed_job *job = arg;
	const struct wf_session_table *table = job->rt->session;
	struct wf_session *session = table->session;
	const struct wf_keyed *k = job->k;
	bool temp = job->scratch || !k->output_name;
	const char *place = k->output_place;
	char name[32];

	WF_CHECK(job->scratch ? !k->scratch : !k->output);
	if (temp || !place)
		place = wf_session_path(session, temp ? WF_SESSION_TEMP : WF_SESSION_OUTPUT);
	snprintf(name, sizeof(name), "%s.%u", job->scratch ? "scratch" : "task", k->begun);
	return wf_outdir_create(job->scratch ? &job->k->scratch : &job->k->output, &table->env,
	                        place,
	                        !temp                              ? k->output_name
	                                : job->scratch || !*k->key ? name
	                                                           : k->key,
	                        wf_session_epoch(session), k->begun);
}

static WF_SUSPENDS int directory(weft_task *self, bool scratch, const char **path)
{
	struct wf_ext *ext = self ? wf_cell_ext(self->cell) : NULL;
	struct wf_more *more = ext ? wf_ext_more(ext) : NULL;
	struct wf_keyed *k = more ? more->keyed : NULL;
	struct keyed_job job = { .k = k, .scratch = scratch };

	if (!path)
		return -EINVAL;
	if (!k)
		return -ENOTSUP;
	job.rt = self->rt;
	int rc = (scratch ? k->scratch : k->output) ? 0
						    : wf_call_blocking(self->rt, outdir_job, &job);

	WF_CHECK(rc || (scratch ? k->scratch : k->output));
	if (!rc)
		*path = wf_outdir_path(scratch ? k->scratch : k->output);
	return rc;
}

int weft_task_outdir(weft_task *self, const char **path)
{
	return directory(self, false, path);
}

int weft_task_tmpdir(weft_task *self, const char **path)
{
	return directory(self, true, path);
}
