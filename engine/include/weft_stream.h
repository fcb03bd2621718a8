/*
 * weft_stream.h: what generators add to weft.h, which includes this file: tasks that give their
 * results one by one; and iterators over the results of many tasks.
 *
 *	static int numbers(weft_task *self)
 *	{
 *		for (int64_t i = 0; i < 10; i++) {
 *			int rc = weft_emit(self, &i, sizeof i);
 *			if (rc)
 *				return rc;
 *		}
 *		return 0;
 *	}
 *	...
 *	weft_ref gen, item;
 *	weft_submit(rt, WEFT_TASK(numbers, .opts = WEFT_TASK_OPTIONS(
 *		.n_outputs = WEFT_OUTPUTS_STREAM)), &gen);
 *	while (!weft_next(rt, gen, WEFT_FOREVER, &item))
 *		weft_take(rt, item, &value, sizeof value);
 *	weft_release(rt, gen);
 *
 * The words of weft.h hold here too: owned, borrowed, copied, consumed, counted; context; suspends.
 */
#ifndef WEFT_STREAM_H
#define WEFT_STREAM_H

#include "weft.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Submitting ------------------------------------------------------------------------- */

/*
 * weft_task_options.n_outputs of a generator:
 *
 *   WEFT_OUTPUTS_STREAM  out[0] is a generator: weft_next() gives the items while the body
 *                        runs. The body runs at once and to its end, whatever is taken, unless
 *                        there is a window: then weft_emit() waits while that many items are not
 *                        taken. With a window of 1 the body goes on after an item when that item
 *                        was taken.
 *   WEFT_OUTPUTS_LIST    out[0] becomes a list of references to the items, as
 *                        weft_task_output_refs() makes it, when the task has ended.
 *   a number             with WEFT_TASK_EMITS: item i is output i. Like all outputs they are ready
 *                        when the task has ended. After a failure those that were given before it
 *                        have their values and the others fail; a body that gives too few makes
 *                        the others fail (code -ERANGE); what it gives too much is left out and
 *                        logged once.
 *
 * A generator is a weft_ref of its own kind: counted, cancelled (its task is), looked at by
 * weft_ref_info() (of its task) like any other. weft_peek(), weft_wait() and weft_cq_add() take it
 * for ready when weft_next() would not block; a completion queue's item then has the status of the
 * next item, or -ENODATA at the end. It has no value: weft_get(), inputs, weft_join(),
 * weft_on_done(), weft_run() and lists of references refuse it (-EINVAL). One call at a time may
 * look at its next item: weft_next(), weft_wait() and weft_cq_add() give -EBUSY while a weft_next()
 * of somebody else is inside.
 *
 * Releasing the last count of a generator frees the items that were not taken; the body goes on
 * without waiting, and what it gives from then on is dropped. weft_close() waits for a body that
 * waits in its window, so release generators first.
 *
 * A failure after k items is a failed ref in the place of item k + 1, and then the end. When a
 * task is tried again it begins anew, and items that an earlier attempt has given are not given
 * twice.
 */
#define WEFT_OUTPUTS_STREAM (UINT32_MAX - 1)
#define WEFT_OUTPUTS_LIST   (UINT32_MAX - 2)

/* ---- In the body of a generator ------------------------------------------------------------ */

/* Not in a fork that was stolen, nor by two threads at once: items have an order. */

/*
 * Give the next item: `size` bytes, copied.
 *
 * Context:  in a task that was submitted as a generator. May suspend: in a window that is full,
 *           after the item was given, and while the store is full.
 * Order:    everything the body did before is visible to whoever takes the item.
 * Errors:   1 nobody will take it, and the body may stop; -EINVAL not a generator; -EOVERFLOW
 *           there are items_max already; -EINTR the task was cancelled (in its window: the item was
 *           given); -ENOMEM, WEFT_ESTOREFULL; -EAGAIN no stack is left to wait in the window, the
 *           item was given.
 */
WEFT_API WEFT_NODISC int weft_emit(weft_task *self, const void *data, size_t size);
/*
 * Room for the next item in its final place, to be written and then given by weft_emit_done().
 * Calling it again replaces the room. `*data` is borrowed until then. Otherwise as
 * weft_task_output().
 */
WEFT_API WEFT_NODISC int weft_emit_room(weft_task *self, size_t size, void **data);
/* Give what was written to the room. As weft_emit(); -EINVAL also when there is no room. */
WEFT_API WEFT_NODISC int weft_emit_done(weft_task *self);
/*
 * Give another ref, pending or ready, as the next item: whoever takes it gets a count of that very
 * ref. Retained. As weft_emit(); -EINVAL also for a bad ref or a generator; -ENOTSUP with a
 * number of outputs.
 */
WEFT_API WEFT_NODISC int weft_emit_ref(weft_task *self, weft_ref ref);

/* ---- Taking ----------------------------------------------------------------------------- */

/*
 * The next item of a generator, as a ref.
 *
 * Owned:    `*item` is the caller's; release it. It is ready, unless it was given by
 *           weft_emit_ref().
 * Context:  any thread, any task. May suspend until there is an item or the end, or `until` passes.
 * Order:    as weft_get().
 * Errors:   -ENODATA the end, now and for ever; -ETIMEDOUT; -EBUSY another call is inside; -EINVAL
 *           not a generator; -EINTR, WEFT_EDEADLOCK, -EAGAIN, -ENOMEM as weft_get(). `*item`
 *           untouched.
 */
WEFT_API WEFT_NODISC int weft_next(weft *rt, weft_ref gen, weft_deadline until, weft_ref *item);
/*
 * As weft_next() for up to `n` items: waits for the first and takes those that are there. Returns
 * how many, at least 1.
 */
WEFT_API WEFT_NODISC int weft_next_many(weft *rt, weft_ref gen, weft_deadline until,
                                        weft_ref *items, uint32_t n);
/*
 * A ref to the task behind a generator: ready, with an empty value, when it has ended well, and
 * failed when it has failed. `*out` owned. Any thread, never suspends. -EINVAL not a generator.
 */
WEFT_API WEFT_NODISC int weft_completed(weft *rt, weft_ref gen, weft_ref *out);
/*
 * 1: the task has ended and everything was taken. 0: not so. Any thread, never suspends. -EINVAL
 * not a generator, -EBUSY a weft_next() is inside.
 */
WEFT_API int weft_is_finished(weft *rt, weft_ref gen);

/* ---- Iterating over many results ------------------------------------------------------------ */

typedef struct weft_iter weft_iter; /* an iterator; opaque. One user at a time. */

/*
 * The refs in the order in which they become ready: weft_iter_next() gives each once, linear in
 * their number. `*out` owned; the refs are retained until they are given. Duplicates are fine. Any
 * thread, never suspends. -EINVAL a bad ref, -ENOMEM. `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_as_completed(weft *rt, const weft_ref *refs, uint32_t n,
                                           weft_iter **out);

#define WEFT_MAP_UNORDERED 1u /* results as they come; 0: in the order of the elements */

/* A function over an array. Zero fields are fine but for fn and n. */
struct weft_map {
	size_t struct_size; /* sizeof(struct weft_map) */
	weft_task_fn *fn;
	const void *args; /* n elements of arg_size bytes, the arguments; borrowed like opts */
	uint32_t arg_size, n;
	uint32_t window; /* tasks that are submitted and not given yet, at most; 0: all at once */
	uint32_t flags;
	const struct weft_task_options
		*opts;        /* borrowed until the iterator is closed; one output */
	const char *site;     /* as in struct weft_call */
	uint64_t reserved[2]; /* zero */
};
/*
 * Submit `fn` for the elements of an array; weft_iter_next() gives the results. With a window
 * further tasks are submitted as results are given.
 *
 * Owned:    `*out`; weft_iter_close() it.
 * Context:  any thread, any task. Does not suspend.
 * Order:    as weft_submit().
 * Errors:   -EINVAL, -EMSGSIZE, and those of weft_submit() when nothing could be submitted; later
 *           ones come from weft_iter_next(). `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_map(weft *rt, const struct weft_map *map, weft_iter **out);
/*
 * The next result: `*index` of its element or ref and `*ref` itself, ready, which is the caller's.
 * With `ref` NULL it is released at once; `index` may be NULL.
 * Context:  any thread, any task. May suspend.
 * Order:    as weft_get().
 * Errors:   -ENODATA all were given; -ETIMEDOUT; -EINTR and WEFT_EDEADLOCK as weft_get(); those of
 *           weft_submit() when a map has nothing else to give: a later call tries again.
 */
WEFT_API WEFT_NODISC int weft_iter_next(weft_iter *iter, weft_deadline until, uint32_t *index,
                                        weft_ref *ref);
/* NULL is accepted. What was submitted and not given runs on, without its ref. Never suspends. */
WEFT_API void weft_iter_close(weft_iter *iter);

#ifdef __cplusplus
}
#endif

#endif /* WEFT_STREAM_H */
