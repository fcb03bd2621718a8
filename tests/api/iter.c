/*
 * Goal: an iterator gives each result once, ready, in the order it promises; a map keeps to its
 * window; what is not taken is not lost and not kept.
 * Method: bodies that pass gates so that completion has a known order; counters of what began.
 */
#include "api.h"
#include "test.h"

static int body_twice(weft_task *self)
{
	const int64_t twice = *(const int64_t *)weft_task_arg(self, NULL) * 2;

	return weft_return(self, &twice, sizeof twice);
}

static void numbers(int64_t *args, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		args[i] = i;
}

Test(iter, as_completed_gives_each_ref_once_in_the_order_of_their_ends)
{
	weft *rt = api_open(2);
	weft_ref events[5], ref;
	static const uint32_t order[] = { 3, 0, 4, 1, 2 };
	weft_iter *iter;
	uint32_t index = 77;

	for (int i = 0; i < 5; i++)
		events[i] = api_event(rt);
	cr_assert_eq(weft_as_completed(rt, events, 5, &iter), 0);
	cr_assert_eq(weft_iter_next(iter, WEFT_POLL, &index, &ref), -ETIMEDOUT);
	for (int i = 0; i < 5; i++) {
		cr_assert_eq(weft_event_set(rt, events[order[i]], &order[i], sizeof *order), 0);
		if (i % 2)
			cr_assert_eq(weft_iter_next(iter, WEFT_FOREVER, &index, NULL), 0);
		else
			cr_assert_eq(weft_iter_next(iter, WEFT_FOREVER, &index, &ref), 0);
		cr_assert_eq(index, order[i]);
		if (i % 2 == 0) {
			cr_assert_eq(ref.bits, events[index].bits);
			api_release(rt, ref);
		}
	}
	cr_assert_eq(weft_iter_next(iter, WEFT_FOREVER, &index, &ref), -ENODATA);
	weft_iter_close(iter);
	cr_assert_eq(weft_release_many(rt, events, 5), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(iter, as_completed_keeps_what_its_maker_has_released_and_takes_failures_and_duplicates)
{
	weft *rt = api_open(2);
	const int64_t code = -7;
	weft_ref bad = api_spawn(rt, api_body_fail, &code, sizeof code),
		 refs[3] = { bad, bad, bad }, ref;
	weft_iter *iter;
	uint32_t seen = 0, index;

	cr_assert_eq(weft_as_completed(rt, refs, 3, &iter), 0);
	api_release(rt, bad);
	while (weft_iter_next(iter, WEFT_FOREVER, &index, &ref) == 0) {
		cr_assert_eq(api_end(rt, ref), WEFT_ETASK);
		seen |= 1u << index;
	}
	cr_assert_eq(seen, 7);
	weft_iter_close(iter);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(iter, an_ordered_map_gives_the_results_in_the_order_of_the_elements)
{
	static const uint32_t windows[] = { 0, 1, 3, 100 };

	for (int w = 0; w < 4; w++) {
		weft *rt = api_open(2);
		int64_t args[70];
		weft_iter *iter;
		weft_ref ref;
		uint32_t index;

		numbers(args, 70);
		cr_assert_eq(weft_map(rt,
		                      &(struct weft_map){ .struct_size = sizeof(struct weft_map),
		                                          .fn = body_twice,
		                                          .args = args,
		                                          .arg_size = sizeof *args,
		                                          .n = 70,
		                                          .window = windows[w] },
		                      &iter),
		             0);
		for (uint32_t i = 0; i < 70; i++) {
			cr_assert_eq(weft_iter_next(iter, WEFT_FOREVER, &index, &ref), 0);
			cr_assert_eq(index, i);
			cr_assert_eq(weft_peek(rt, ref), 1);
			cr_assert_eq(api_take_i64(rt, ref), 2 * (int64_t)i);
		}
		cr_assert_eq(weft_iter_next(iter, WEFT_FOREVER, &index, &ref), -ENODATA);
		weft_iter_close(iter);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

struct element {
	struct api_gate *gate;
	struct api_count *begun;
	int64_t value;
};

static int body_gated(weft_task *self)
{
	const struct element *element = weft_task_arg(self, NULL);

	api_add(element->begun, 1);
	if (element->gate)
		api_gate_pass(element->gate);
	return weft_return(self, &element->value, sizeof element->value);
}

Test(iter, an_unordered_map_gives_results_as_they_come_and_keeps_to_its_window)
{
	weft *rt = api_open(4);
	struct api_gate gate = API_GATE_INIT;
	struct api_count begun = { 0 };
	struct element elements[10];
	weft_iter *iter;
	weft_ref ref;
	uint32_t index, seen = 0;

	for (int64_t i = 0; i < 10; i++)
		elements[i] = (struct element){ i == 0 ? &gate : NULL, &begun, i };
	cr_assert_eq(weft_map(rt,
	                      &(struct weft_map){ .struct_size = sizeof(struct weft_map),
	                                          .fn = body_gated,
	                                          .args = elements,
	                                          .arg_size = sizeof *elements,
	                                          .n = 10,
	                                          .window = 3,
	                                          .flags = WEFT_MAP_UNORDERED },
	                      &iter),
	             0);
	api_await_count(&begun, 3);
	for (uint32_t i = 0; i < 9; i++) {
		cr_assert_leq(api_read(&begun), 3 + i);
		cr_assert_eq(weft_iter_next(iter, WEFT_FOREVER, &index, &ref), 0);
		cr_assert_neq(index, 0, "the first one is held");
		cr_assert_eq(api_take_i64(rt, ref), index);
		seen |= 1u << index;
	}
	cr_assert_eq(weft_iter_next(iter, WEFT_POLL, &index, &ref), -ETIMEDOUT);
	api_gate_open(&gate);
	cr_assert_eq(weft_iter_next(iter, WEFT_FOREVER, &index, &ref), 0);
	cr_assert_eq(index, 0);
	api_release(rt, ref);
	cr_assert_eq(seen, 0x3fe);
	weft_iter_close(iter);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(iter, closing_early_leaves_nothing_behind)
{
	for (uint32_t flags = 0; flags <= WEFT_MAP_UNORDERED; flags++) {
		weft *rt = api_open(2);
		int64_t args[40];
		weft_iter *iter;

		numbers(args, 40);
		for (uint32_t taken = 0; taken < 3; taken++) {
			cr_assert_eq(
				weft_map(rt,
			                 &(struct weft_map){ .struct_size = sizeof(struct weft_map),
			                                     .fn = body_twice,
			                                     .args = args,
			                                     .arg_size = sizeof *args,
			                                     .n = 40,
			                                     .window = 5,
			                                     .flags = flags },
			                 &iter),
				0);
			for (uint32_t i = 0; i < taken; i++)
				cr_assert_eq(weft_iter_next(iter, WEFT_FOREVER, NULL, NULL), 0);
			weft_iter_close(iter);
			api_await_no_tasks(rt);
		}
		weft_iter_close(NULL);
		api_close(rt);
	}
}

static int body_maps(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	int64_t args[50], sum = 0, value;
	weft_iter *iter;
	weft_ref ref;

	numbers(args, 50);
	API_CHECK(weft_map(rt,
	                   &(struct weft_map){ .struct_size = sizeof(struct weft_map),
	                                       .fn = body_twice,
	                                       .args = args,
	                                       .arg_size = sizeof *args,
	                                       .n = 50,
	                                       .window = 4,
	                                       .flags = WEFT_MAP_UNORDERED },
	                   &iter) == 0);
	while (weft_iter_next(iter, WEFT_FOREVER, NULL, &ref) == 0) {
		API_CHECK(weft_take(rt, ref, &value, sizeof value) == sizeof value);
		sum += value;
	}
	weft_iter_close(iter);
	return weft_return(self, &sum, sizeof sum);
}

Test(iter, tasks_map_on_one_worker)
{
	weft *rt = api_open(1);

	cr_assert_eq(api_take_i64(rt, api_spawn(rt, body_maps, NULL, 0)), 50 * 49);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(iter, what_cannot_be_mapped_is_refused)
{
	weft *rt = api_open(1);
	int64_t arg = 0;
	weft_iter *iter = (weft_iter *)&arg;
	struct weft_map good = { .struct_size = sizeof good, .fn = body_twice, .n = 0 }, map;
	const weft_ref none = WEFT_NONE;

#define REFUSED(rc, ...) \
	map = good; \
	__VA_ARGS__; \
	cr_assert_eq(weft_map(rt, &map, &iter), rc)
	REFUSED(-EINVAL, map.struct_size = 0);
	REFUSED(-EINVAL, map.fn = NULL);
	REFUSED(-EINVAL, (map.n = 1, map.arg_size = 8));
	REFUSED(-EINVAL, map.flags = 2);
	REFUSED(-EINVAL, map.reserved[1] = 1);
	REFUSED(-EMSGSIZE, (map.args = &arg, map.arg_size = 5000));
	REFUSED(-EINVAL, (map.n = 1, map.opts = WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_NONE)));
	REFUSED(-EINVAL, (map.n = 1, map.opts = WEFT_TASK_OPTIONS(.n_outputs = 2)));
#undef REFUSED
	cr_assert_eq(weft_map(NULL, &good, &iter), -EINVAL);
	cr_assert_eq(weft_map(rt, NULL, &iter), -EINVAL);
	cr_assert_eq(weft_map(rt, &good, NULL), -EINVAL);
	cr_assert_eq(weft_as_completed(rt, &none, 1, &iter), -EINVAL);
	cr_assert_eq(weft_as_completed(rt, NULL, 1, &iter), -EINVAL);
	cr_assert_eq(weft_as_completed(rt, NULL, 0, NULL), -EINVAL);
	cr_assert_eq(weft_iter_next(NULL, WEFT_FOREVER, NULL, NULL), -EINVAL);
	cr_assert_eq((void *)iter, (void *)&arg, "untouched");
	cr_assert_eq(weft_map(rt, &good, &iter), 0);
	cr_assert_eq(weft_iter_next(iter, WEFT_FOREVER, NULL, NULL), -ENODATA);
	weft_iter_close(iter);
	cr_assert_eq(weft_as_completed(rt, NULL, 0, &iter), 0);
	cr_assert_eq(weft_iter_next(iter, WEFT_FOREVER, NULL, NULL), -ENODATA);
	weft_iter_close(iter);
	api_await_no_tasks(rt);
	api_close(rt);
}
