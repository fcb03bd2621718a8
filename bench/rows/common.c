/*
 * common.c: opening, closing and checking for all rows of weft.
 */
#include "rows.h"

#include <inttypes.h>

void bench_must(int64_t status, const char *what)
{
	if (status < 0)
		bench_die("%s: %s (%" PRId64 ")", what, weft_strerror((int)status), status);
}

weft *bench_open(uint32_t workers)
{
	weft *rt;
	const struct weft_options options = {
		.struct_size = sizeof options,
		.workers = workers,
	};
	bench_must(weft_open(&rt, &options), "weft_open");
	return rt;
}

void bench_close(weft *rt)
{
	bench_must(weft_close(rt, WEFT_FOREVER), "weft_close");
}

uint64_t bench_root(weft *rt, weft_task_fn *fn, const void *arg, size_t arg_size)
{
	weft_ref ref;
	uint64_t result = 0;
	bench_must(weft_spawn(rt, fn, arg, arg_size, &ref), "weft_spawn");
	const int64_t got = weft_take(rt, ref, &result, sizeof result);
	bench_must(got, "weft_take");
	if (got != (int64_t)sizeof result)
		bench_die("a root task returned %" PRId64 " bytes", got);
	return result;
}

weft_ref bench_done_event(weft *rt)
{
	weft_ref done;
	bench_must(weft_event_create(rt, &done), "weft_event_create");
	bench_must(weft_retain(rt, done), "weft_retain");
	return done;
}

void bench_set_done(weft *rt, weft_ref done)
{
	bench_must(weft_event_set(rt, done, NULL, 0), "weft_event_set");
	bench_must(weft_release(rt, done), "weft_release");
}
