/*
 * tasks.c: what all stages do with tasks and refs: lists, windows, failures, room, writing.
 *
 * Decision: the bound on memory is a window over the submits. The store would suspend whoever asks
 * for more than there is, but tasks that hold one half of what they need and wait for the other can
 * wait for each other; a window lets no more of them begin than fit as a whole. Rejected: edges
 * from the n-th task to the one a window before, which need all tasks and refs of a stage to exist
 * at once, however large the input is.
 */
#include "sort.h"

#include <errno.h>
#include <string.h>

#include "base.h"

/* ---- Lists ------------------------------------------------------------------------- */

/* Room for `more` elements. False: no memory. */
static bool grow(void **list, size_t count, size_t *capacity, size_t more, size_t size)
{
	size_t wanted = 2 * *capacity + more + 16;
	void *grown;

	WF_CHECK(count <= *capacity);
	if (count + more <= *capacity)
		return true;
	grown = wf_malloc(wanted * size);
	if (!grown)
		return false;
	if (count)
		memcpy(grown, *list, count * size);
	wf_free(*list);
	*list = grown;
	*capacity = wanted;
	return true;
}

int wf_sort_refs_add_many(struct wf_sort_refs *list, const weft_ref *refs, size_t n)
{
	void *all = list->refs;

	if (!grow(&all, list->count, &list->capacity, n, sizeof(*refs)))
		return -ENOMEM;
	list->refs = all;
	if (n)
		memcpy(list->refs + list->count, refs, n * sizeof(*refs));
	list->count += n;
	return 0;
}

int wf_sort_refs_add(struct wf_sort_refs *list, weft_ref ref)
{
	return wf_sort_refs_add_many(list, &ref, 1);
}

void wf_sort_refs_fini(weft *rt, struct wf_sort_refs *list)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->refs[i].bits)
			weft_release(rt, list->refs[i]);
	}
	wf_free(list->refs);
	*list = (struct wf_sort_refs){ NULL, 0, 0 };
}

int wf_sort_pieces_add(struct wf_sort_pieces *pieces, struct wf_sort_piece piece)
{
	void *all = pieces->list;

	if (!grow(&all, pieces->count, &pieces->capacity, 1, sizeof(piece)))
		return -ENOMEM;
	pieces->list = all;
	pieces->list[pieces->count++] = piece;
	pieces->bytes += piece.bytes;
	pieces->records += piece.records;
	return 0;
}

void wf_sort_pieces_fini(weft *rt, struct wf_sort_pieces *pieces)
{
	for (size_t i = 0; i < pieces->count; i++) {
		if (pieces->list[i].ref.bits)
			weft_release(rt, pieces->list[i].ref);
	}
	wf_free(pieces->list);
	*pieces = (struct wf_sort_pieces){ .list = NULL };
}

int wf_sort_proofs_add(weft *rt, struct wf_sort_proofs *proofs, struct wf_sort_proof *proof)
{
	void *all = proofs->list;

	if (!grow(&all, proofs->count, &proofs->capacity, 1, sizeof(*proof))) {
		wf_sort_refs_fini(rt, &proof->refs);
		return -ENOMEM;
	}
	proofs->list = all;
	proofs->list[proofs->count++] = *proof;
	return 0;
}

void wf_sort_proofs_fini(weft *rt, struct wf_sort_proofs *proofs)
{
	for (size_t i = 0; i < proofs->count; i++)
		wf_sort_refs_fini(rt, &proofs->list[i].refs);
	wf_free(proofs->list);
	*proofs = (struct wf_sort_proofs){ .list = NULL };
}

/* ---- Failures ---------------------------------------------------------------------- */

const char *wf_sort_cause(weft *rt, weft_ref ref, int status)
{
	const struct weft_error *error;

	if (weft_ref_error(rt, ref, &error) < 0)
		return weft_strerror(status);
	while (error->cause)
		error = error->cause;
	return error->text[0] ? error->text : weft_strerror(error->code);
}

bool wf_sort_lacked_room(weft *rt, weft_ref ref)
{
	const struct weft_error *error;

	if (weft_ref_error(rt, ref, &error) < 0)
		return false;
	while (error->cause)
		error = error->cause;
	return error->code == WEFT_ESTOREFULL;
}

int wf_sort_fail_file(weft_task *self, const char *name, int status)
{
	if (status == -ENODATA)
		return weft_fail(self, status, "%s: the file became shorter meanwhile", name);
	return weft_fail(self, status, "%s: %s", name, weft_strerror(status));
}

int wf_sort_fail_room(weft_task *self, int status, const char *what)
{
	if (weft_task_cancelled(self))
		return -ECANCELED;
	if (status == WEFT_ESTOREFULL)
		return status; /* the store's explanation is the text */
	return weft_fail(self, status, "no memory %s", what);
}

int wf_sort_room(weft_task *self, size_t bytes, struct weft_buffer *room)
{
	int status = weft_create(weft_task_runtime(self), bytes, NULL, room);

	return status < 0 ? wf_sort_fail_room(self, status, "to work in") : 0;
}

/* ---- Windows ----------------------------------------------------------------------- */

void wf_sort_window_init(struct wf_sort_window *window, weft_task *self, uint32_t room)
{
	WF_CHECK(room >= 1 && room <= WF_SORT_WINDOW_MAX);
	window->self = self;
	window->room = room;
	window->first = window->count = 0;
	window->done = NULL;
	window->arg = NULL;
}

/* Wait for the oldest. */
static int take_oldest(struct wf_sort_window *window)
{
	weft_task *self = window->self;
	weft *rt = weft_task_runtime(self);
	weft_ref ref = window->refs[window->first];
	struct weft_view view;
	int status;

	WF_CHECK(window->count > 0);
	window->first = (window->first + 1) % WF_SORT_WINDOW_MAX;
	window->count--;
	status = weft_get(rt, ref, WEFT_FOREVER, &view);
	if (status >= 0) {
		status = window->done ? window->done(window->arg, &view) : 0;
		weft_view_end(rt, ref);
		if (status < 0)
			status = weft_fail(self, status, "no memory for a list of tasks");
	} else if (weft_task_cancelled(self)) {
		status = -ECANCELED;
	} else {
		if (wf_sort_lacked_room(rt, ref))
			status = WEFT_ESTOREFULL;
		status = weft_fail(self, status, "%s", wf_sort_cause(rt, ref, status));
	}
	weft_release(rt, ref);
	return status;
}

int wf_sort_window_wait(struct wf_sort_window *window)
{
	int status = 0;

	while (status >= 0 && window->count >= window->room)
		status = take_oldest(window);
	return status < 0 ? status : 0;
}

int wf_sort_window_submit(struct wf_sort_window *window, const struct weft_call *call,
                          weft_ref *out)
{
	weft *rt = weft_task_runtime(window->self);
	weft_ref ref;
	int status;

	status = wf_sort_window_wait(window);
	if (status < 0)
		return status;
	status = weft_submit(rt, call, out ? out : &ref);
	if (status < 0)
		return weft_fail(window->self, status, "cannot submit a task: %s",
		                 weft_strerror(status));
	if (out) {
		ref = out[0];
		weft_retain(rt, ref);
	}
	window->refs[(window->first + window->count++) % WF_SORT_WINDOW_MAX] = ref;
	return 0;
}

int wf_sort_window_drain(struct wf_sort_window *window)
{
	int status = 0;

	while (status >= 0 && window->count > 0)
		status = take_oldest(window);
	return status < 0 ? status : 0;
}

void wf_sort_window_fini(struct wf_sort_window *window)
{
	for (; window->count > 0; window->count--) {
		weft_release(weft_task_runtime(window->self), window->refs[window->first]);
		window->first = (window->first + 1) % WF_SORT_WINDOW_MAX;
	}
}

/* ---- Writing ----------------------------------------------------------------------- */

static int write_body(weft_task *self)
{
	const struct wf_sort_write *arg = weft_task_arg(self, NULL);
	struct wf_sort_time begin = wf_sort_time_now();
	struct weft_view value;
	size_t bytes;
	int status;

	WF_CHECK(weft_input(self, 0, &value) == 0 && value.size >= arg->skip);
	bytes = value.size - arg->skip;
	if (weft_task_cancelled(self))
		return -ECANCELED;
	status = wf_sort_sink_write(arg->sink, (const char *)value.data + arg->skip, bytes,
	                            arg->offset);
	if (status < 0)
		return wf_sort_fail_file(self, arg->sink->name, status);
	wf_sort_journal_add(arg->job->journal, self, (enum wf_sort_stage)arg->stage, begin, bytes);
	return 0;
}

int wf_sort_write_submit(struct wf_sort_window *window, const struct wf_sort_write *write,
                         weft_ref data)
{
	static const struct weft_task_options blocking = {
		.struct_size = sizeof(blocking),
		.flags = WEFT_TASK_BLOCKING,
	};

	return wf_sort_window_submit(window,
	                             WEFT_TASK(write_body, .arg = write, .arg_size = sizeof(*write),
	                                       WEFT_INPUTS(data),
	                                       .opts = write->sink->direct >= 0 ? &blocking : NULL),
	                             NULL);
}
