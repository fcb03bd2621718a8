/*
 * Goal: whatever fails while generators and iterators are made, fed and read, calls answer with an
 * error and nothing else, a stream that began comes to its end, nothing leaks.
 * Method: the sweep over one program with generators of each kind and a map, on a fresh runtime
 * each time; the live cells must go back to none.
 */
#include "api_fault.h"

static bool emit_allowed(int rc)
{
	return rc >= 0 || rc == -ENOMEM || rc == -EAGAIN || rc == WEFT_ESTOREFULL;
}

static int gives(weft_task *self)
{
	static const size_t sizes[] = { 8, 100, 600, 16 };
	char bytes[600] = { 0 };
	void *room;

	for (int i = 0; i < 100; i++) {
		int rc = weft_emit(self, bytes, sizes[i % 4]);

		API_CHECK(emit_allowed(rc));
		if (i % 16 == 0) {
			rc = weft_emit_room(self, sizes[i / 16 % 4], &room);
			API_CHECK(emit_allowed(rc));
			if (!rc)
				API_CHECK(emit_allowed(weft_emit_done(self)));
		}
	}
	return weft_fail(self, -EPROTO, "at the end");
}

/* Until the end, which comes whatever was not there on the way. */
static void drain(weft *rt, weft_ref gen)
{
	weft_ref item = api_poison_ref();
	uint32_t good = 0, bad = 0;
	int rc;

	while ((rc = weft_next(rt, gen, WEFT_FOREVER, &item)) != -ENODATA) {
		API_CHECK(fault_allowed(rc));
		if (rc < 0)
			continue;
		rc = api_end(rt, item);
		good += rc == 0;
		bad += rc == WEFT_ETASK;
		API_CHECK(rc == 0 || rc == WEFT_ETASK || fault_allowed(rc));
	}
	API_CHECK(bad == 1 && good <= 107);
	API_CHECK(good == 107 || wf_fault_fired());
}

static void generators(weft *rt)
{
	static const uint32_t outputs[] = { WEFT_OUTPUTS_STREAM, WEFT_OUTPUTS_LIST, 5 };

	for (int i = 0; i < 5; i++) {
		const struct weft_task_options options = { .struct_size = sizeof options,
			                                   .n_outputs = outputs[i < 3 ? 0 : i - 2],
			                                   .window = i < 2 ? (uint32_t)i : 0,
			                                   .flags = WEFT_TASK_EMITS };
		weft_ref out[5];
		int rc;

		memset(out, 0x5a, sizeof out);
		rc = weft_submit(rt, WEFT_TASK(gives, .opts = &options), out);
		API_CHECK(fault_allowed(rc));
		API_CHECK(rc >= 0 || out[0].bits == API_POISON);
		if (rc < 0)
			continue;
		if (i < 2)
			drain(rt, out[0]);
		else if (i > 2)
			API_CHECK(api_get(rt, out[0]) <= 0);
		API_CHECK(weft_release_many(rt, out, i == 4 ? 5 : 1) == 0);
	}
}

static void maps(weft *rt, uint32_t flags)
{
	int64_t args[40];
	struct weft_map map = { .struct_size = sizeof map,
		                .fn = api_body_identity,
		                .args = args,
		                .arg_size = sizeof *args,
		                .n = 40,
		                .window = 7,
		                .flags = flags };
	weft_iter *const poison = (void *)(uintptr_t)API_POISON, *iter = poison;
	uint64_t seen = 0;

	for (int64_t i = 0; i < 40; i++)
		args[i] = i;
	int rc = weft_map(rt, &map, &iter);

	API_CHECK(fault_allowed(rc));
	if (rc < 0) {
		API_CHECK(iter == poison);
		return;
	}
	for (;;) {
		uint32_t index;
		weft_ref ref;

		rc = weft_iter_next(iter, WEFT_FOREVER, &index, &ref);
		if (rc == -ENODATA)
			break;
		API_CHECK(fault_allowed(rc));
		if (rc < 0)
			continue;
		API_CHECK(api_take_i64(rt, ref) == index);
		API_CHECK(!(seen & UINT64_C(1) << index));
		seen |= UINT64_C(1) << index;
	}
	API_CHECK(seen == (UINT64_C(1) << 40) - 1);
	weft_iter_close(iter);
}

static int stream_task(weft_task *self)
{
	generators(weft_task_runtime(self));
	maps(weft_task_runtime(self), WEFT_MAP_UNORDERED);
	return 0;
}

static void stream_once(uint64_t nth)
{
	weft *rt = api_open(1);
	weft_ref task = api_spawn(rt, stream_task, NULL, 0);

	API_CHECK(api_end(rt, task) == 0);
	wf_fault_arm(-1, nth);
	generators(rt);
	maps(rt, 0);
	if (weft_spawn(rt, stream_task, NULL, 0, &task) == 0)
		API_CHECK(api_end(rt, task) == 0);
	wf_fault_arm(-1, 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

int main(void)
{
	api_close(api_open(1));
	const struct fault_census before = fault_census();
	const uint64_t points = fault_sweep(stream_once);

	printf("%llu points\n", (unsigned long long)points);
	API_CHECK(points > 0);
	fault_census_check(&before);
	return 0;
}
