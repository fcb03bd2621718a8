/*
 * resource.c: tasks that ask for a named resource. resource_flat: the flood of flat.c by one
 * worker, each task asking for some of it; there is enough for all. resource_queue: a hundred
 * kinds of request are queued up behind a task that holds everything, and are drained; the time is
 * that of the drain.
 */
#include "bodies.h"
#include "rows.h"

#define KINDS 100

struct flood {
	struct bench_flat flat;
	struct weft_resource want[KINDS];
	struct weft_task_options options[KINDS];
	uint32_t kinds;
	weft_ref gate;
};

static weft *open_with_slots(uint32_t workers, double amount)
{
	const struct weft_resource slots = { "slot", amount };
	const struct weft_options options = { .struct_size = sizeof options,
		                              .workers = workers,
		                              .resources = &slots,
		                              .n_resources = 1 };
	weft *rt;

	bench_must(weft_open(&rt, &options), "weft_open");
	return rt;
}

static int submit_all(weft *rt, struct flood *flood)
{
	struct bench_flat *flat = &flood->flat;
	const uint64_t total = flat->total;

	for (uint64_t i = 0; i < total; i++) {
		const struct weft_call call = { .fn = bench_flat_body,
			                        .arg = &flat,
			                        .arg_size = sizeof flat,
			                        .opts = &flood->options[i % flood->kinds] };
		const int status = weft_submit(rt, &call, NULL);

		if (status < 0)
			return status;
	}
	return 0;
}

static int flood_root(weft_task *self)
{
	return submit_all(weft_task_runtime(self), *(struct flood **)weft_task_arg(self, NULL));
}

/* Holds all slots until the gate opens. */
static int holder(weft_task *self)
{
	const weft_ref gate = *(const weft_ref *)weft_task_arg(self, NULL);
	struct weft_view view;

	return weft_get(weft_task_runtime(self), gate, WEFT_FOREVER, &view);
}

static void queue_up(struct flood *flood)
{
	static const struct weft_resource all = { "slot", 200 };
	static const struct weft_task_options options = { .struct_size = sizeof options,
		                                          .resources = &all,
		                                          .n_resources = 1 };
	weft *rt = flood->flat.rt;

	bench_must(weft_event_create(rt, &flood->gate), "weft_event_create");
	const struct weft_call call = {
		.fn = holder, .arg = &flood->gate, .arg_size = sizeof flood->gate, .opts = &options
	};
	bench_must(weft_submit(rt, &call, NULL), "weft_submit");
	bench_must(submit_all(rt, flood), "weft_submit");
}

static int resource(const struct bench_run *run, uint32_t kinds)
{
	struct flood *flood = bench_alloc(sizeof *flood);
	struct bench_flat *flat = &flood->flat;
	struct weft_view view;

	flat->rt = open_with_slots(run->threads, kinds > 1 ? 200 : 1e8);
	flat->total = bench_pick(1000000, 5000);
	flood->kinds = kinds;
	for (uint32_t i = 0; i < kinds; i++) {
		flood->want[i] = (struct weft_resource){ "slot", 2 + 0.01 * i };
		flood->options[i] =
			(struct weft_task_options){ .struct_size = sizeof flood->options[i],
			                            .resources = &flood->want[i],
			                            .n_resources = 1 };
	}
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		flat->count.value = 0;
		flat->done = bench_done_event(flat->rt);
		if (kinds > 1)
			queue_up(flood);
		const int64_t start = bench_now_ns();
		if (kinds > 1)
			bench_must(weft_event_set(flat->rt, flood->gate, NULL, 0),
			           "weft_event_set");
		else
			bench_must(weft_spawn(flat->rt, flood_root, &flood, sizeof flood, NULL),
			           "weft_spawn");
		bench_must(weft_get(flat->rt, flat->done, WEFT_FOREVER, &view), "weft_get");
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)flat->total, flat->total,
		           bench_counter_read(&flat->count));
		bench_must(weft_release(flat->rt, flat->done), "weft_release");
		if (kinds > 1)
			bench_must(weft_release(flat->rt, flood->gate), "weft_release");
	}
	bench_close(flat->rt);
	free(flood);
	return 0;
}

int row_resource_flat(const struct bench_run *run)
{
	return resource(run, 1);
}

int row_resource_queue(const struct bench_run *run)
{
	return resource(run, KINDS);
}
