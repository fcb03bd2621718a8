/*
 * lineage.h: values that a file has lost, and what makes them: what the tests of lineage share.
 */
#ifndef WEFT_TEST_LINEAGE_H
#define WEFT_TEST_LINEAGE_H

#include "../../store/include/wf_io.h"
#include "api_fault.h"

#define BYTES      ((size_t)150 << 10)
#define FOREVER    UINT64_MAX
#define SPILL_HIGH 100 /* thousandths of the store */

static char dir[] = "/var/tmp/weft-fault-lineage-XXXXXX";
static struct api_count runs, drops;
static weft *rt;

/* `tasks_max` as in weft_options. */
static inline void open_with(uint32_t workers, uint32_t tasks_max)
{
	static const struct weft_resource only = { "only", 1 };

	api_set(&runs, 0);
	api_set(&drops, 0);
	/* Full from a tenth on, so that a few values push others out; all would fit. */
	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = workers, .store_bytes = 8u << 20,
	                                 .spill_dirs = dir, .spill_high = SPILL_HIGH,
	                                 .spill_low = 50, .resources = &only, .n_resources = 1,
	                                 .gpus = 1, .tasks_max = tasks_max)) == 0);
}

static inline void open_runtime(void)
{
	open_with(2, 0);
}

static inline struct weft_store_stats stats(void)
{
	struct weft_store_stats now = { .struct_size = sizeof now };

	API_CHECK(weft_store_stats(rt, &now) == 0);
	return now;
}

static inline void close_runtime(void)
{
	const int64_t start = api_now();

	api_await_no_tasks(rt);
	while (stats().objects)
		api_polling(start, "all objects are gone");
	api_close(rt);
}

/* ---- Values --------------------------------------------------------------------------------- */

static inline void fill(void *data, size_t size, uint64_t key)
{
	for (size_t i = 0; i < size / 8; i++)
		((uint64_t *)data)[i] = key * 31 + i;
}

static inline bool filled(const struct weft_view *view, uint64_t key)
{
	for (size_t i = 0; i < view->size / 8; i++) {
		if (((const uint64_t *)view->data)[i] != key * 31 + i)
			return false;
	}
	return view->size == BYTES;
}

enum way { WELL, FAILS, SHRINKS };

struct order {
	uint64_t key;
	uint64_t way; /* of every run but the first */
};

static inline int make(weft_task *self)
{
	const struct order *order = weft_task_arg(self, NULL);
	const bool again = api_add(&runs, 1) > 1;
	void *data;

	if (again && order->way == FAILS)
		return weft_fail(self, -EDOM, "not again");
	size_t size = again && order->way == SHRINKS ? BYTES / 2 : BYTES;
	int rc = weft_task_output(self, 0, size, &data);

	if (!rc)
		fill(data, size, order->key);
	return rc;
}

/* Its value has its input's key and one more. */
static inline int next(weft_task *self)
{
	struct weft_view view;
	void *data;
	int rc = weft_input(self, 0, &view);

	api_add(&runs, 1);
	if (!rc)
		rc = weft_task_output(self, 0, BYTES, &data);
	if (rc)
		return rc;
	const uint64_t key = *(const uint64_t *)view.data / 31;

	API_CHECK(filled(&view, key));
	fill(data, BYTES, key + 1);
	return 0;
}

static inline void dropped(void *arg, size_t size)
{
	API_CHECK(arg && size == sizeof(struct order));
	api_add(&drops, 1);
}

static inline weft_ref make_value(uint64_t key, enum way way, uint32_t retries)
{
	const struct order order = { key, way };

	return api_submit(
		rt,
		WEFT_TASK(make, WEFT_ARG(order),
	                  .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_REBUILD, .retries = retries,
	                                            .arg_drop = dropped)));
}

static inline weft_ref make_next(weft_ref of, uint32_t flags)
{
	return api_submit(rt,
	                  WEFT_TASK(next, WEFT_INPUTS(of),
	                            .opts = WEFT_TASK_OPTIONS(.flags = flags, .retries = 9)));
}

static inline int place(weft_ref ref)
{
	struct weft_object_info info = { .struct_size = sizeof info };

	API_CHECK(weft_object_info(rt, ref, &info) == 0);
	return info.place;
}

/*
 * Until it is only in a file. What pushes it out stays until the store has seen to it: it may run
 * only while this thread gives way.
 */
static inline void push_out(weft_ref ref)
{
	static unsigned char filler[BYTES];
	const int64_t start = api_now();
	struct weft_view view;
	weft_ref others[8];

	API_CHECK(weft_get(rt, ref, WEFT_FOREVER, &view) == 0 && weft_view_end(rt, ref) == 0);
	while (place(ref) != WEFT_OBJECT_FILE) {
		for (int i = 0; i < 8; i++)
			API_CHECK(weft_put(rt, filler, sizeof filler, &others[i]) == 0);
		do
			api_polling(start, "it is pushed out");
		while (place(ref) != WEFT_OBJECT_FILE &&
		       stats().used > stats().capacity / 1000 * SPILL_HIGH);
		for (int i = 0; i < 8; i++)
			api_release(rt, others[i]);
	}
}

static inline void break_reads(uint64_t count)
{
	struct wf_io_fault fault = { .kinds = WF_IO_FAULT_READ,
		                     .effect = WF_IO_EFFECT_ERROR,
		                     .error = EIO,
		                     .nth = 1,
		                     .count = count };

	wf_io_fault_arm(&fault);
}

/* From here on what is in a file is lost to whoever wants it. */
static inline void lose(weft_ref ref)
{
	push_out(ref);
	break_reads(FOREVER);
}

static inline void look(weft_ref ref, uint64_t key)
{
	struct weft_view view;

	API_CHECK(weft_get(rt, ref, WEFT_FOREVER, &view) == 0);
	wf_io_fault_arm(NULL);
	API_CHECK(filled(&view, key));
	API_CHECK(weft_view_end(rt, ref) == 0);
}

static inline void look_lost(weft_ref ref, const char *why)
{
	const struct weft_error *error = NULL;
	struct weft_view view;

	API_CHECK(weft_get(rt, ref, WEFT_FOREVER, &view) == WEFT_ELOST);
	wf_io_fault_arm(NULL);
	API_CHECK(place(ref) == WEFT_OBJECT_LOST);
	API_CHECK(weft_ref_error(rt, ref, &error) == 0);
	API_CHECK(error->status == WEFT_ELOST && error->code == -EIO);
	API_CHECK(strstr(error->text, why) != NULL);
	/* And stays so. */
	API_CHECK(weft_get(rt, ref, WEFT_FOREVER, &view) == WEFT_ELOST);
}

/* Every case on each back end of the I/O; `opened`: it is given a runtime. */
static inline void run_cases(void (*const cases[])(void), size_t n, bool opened)
{
	static const char *const backends[] = { "uring", "threads" };

	API_CHECK(mkdtemp(dir) != NULL);
	for (int b = 0; b < 2; b++) {
		struct wf_io_options probe = { .backend = backends[b] };
		struct wf_io *io;

		if (wf_io_open(&io, &probe) != 0) {
			API_CHECK(b == 0);
			printf("no %s here\n", backends[b]);
			continue;
		}
		wf_io_close(io);
		API_CHECK(setenv("WEFT_IO", backends[b], 1) == 0);
		for (size_t i = 0; i < n; i++) {
			if (opened)
				open_runtime();
			/* What was begun last is what has failed. */
			printf("%s: case %zu\n", backends[b], i);
			fflush(stdout);
			cases[i]();
			if (opened)
				close_runtime();
		}
		printf("%s: %zu cases\n", backends[b], n);
	}
	API_CHECK(fault_entries(dir) == 2 && rmdir(dir) == 0);
}

#endif /* WEFT_TEST_LINEAGE_H */
