/*
 * Goal: values in the store: made in place, sealed once, read in place and read-only, holding
 * other refs; spilled when they do not fit and whole again when they are wanted, by a get, as
 * inputs, as many at once; producers wait for room; what can never work says so.
 * Method: stores of a few MiB, patterned bytes, the store's own counters, the count of live cells
 * at the end.
 */
#include <signal.h>
#include <sys/wait.h>

#include "objects.h"

Test(objects, a_buffer_is_written_in_place_and_sealed_once)
{
	weft *rt = open_store(1, 8 * MIB, "");
	struct weft_buffer buffer = { .size = 7 }, copy;
	weft_ref ref = api_poison_ref();
	struct weft_view view;

	cr_assert_eq(weft_create(NULL, 8, NULL, &buffer), -EINVAL);
	cr_assert_eq(weft_create(rt, 8, NULL, NULL), -EINVAL);
	cr_assert_eq(weft_seal(rt, &buffer, &ref), -EINVAL, "not one of ours");
	cr_assert_eq(buffer.size, 7);
	cr_assert_eq(weft_create(rt, 100000, NULL, &buffer), 0);
	cr_assert_eq(store_stats(rt).objects, 1);
	cr_assert(store_stats(rt).creating >= 100000);
	fill(buffer.data, 100000, 1);
	copy = buffer;
	cr_assert_eq(weft_seal(rt, &buffer, NULL), -EINVAL);
	cr_assert_eq(weft_seal(rt, &buffer, &ref), 0);
	cr_assert_null(buffer.data);
	cr_assert_eq(weft_seal(rt, &copy, &ref), -EINVAL, "sealed before");
	cr_assert_eq(weft_discard(rt, &copy), -EINVAL, "sealed before");
	cr_assert_eq(weft_get(rt, ref, WEFT_POLL, &view), 0);
	cr_assert(view.data != copy.data, "views are in a mapping of their own");
	cr_assert(filled(view.data, 100000, 1));
	cr_assert_eq(weft_view_end(rt, ref), 0);
	cr_assert_eq(weft_view_end(rt, ref), -EINVAL, "no view is left");
	api_release(rt, ref);
	cr_assert_eq(weft_view_end(rt, ref), -EINVAL, "no ref is left");
	cr_assert_eq(weft_create(rt, 0, NULL, &buffer), 0);
	copy = buffer;
	cr_assert_eq(weft_discard(rt, &buffer), 0);
	cr_assert_eq(weft_discard(rt, &copy), -EINVAL, "discarded before");
	cr_assert_eq(weft_seal(rt, &copy, &ref), -EINVAL, "discarded before");
	cr_assert_eq(store_stats(rt).objects, 0);
	store_await_empty(rt);
	api_close(rt);
}

struct race {
	weft *rt;
	struct weft_buffer buffer;
	struct api_count rounds, won;
};

#define RACES (WF_TSAN || WF_ASAN ? 200u : 2000u)

static void *discards(void *arg)
{
	struct race *race = arg;

	for (uint64_t round = 1; round <= RACES; round++) {
		const int64_t start = api_now();

		while (api_read(&race->rounds) < 2 * round - 1)
			api_polling(start, "the next round");
		struct weft_buffer copy = race->buffer;
		int rc = weft_discard(race->rt, &copy);

		API_CHECK(rc == 0 || rc == -EINVAL);
		api_add(&race->won, rc == 0);
		api_add(&race->rounds, 1);
	}
	return NULL;
}

Test(objects, of_a_seal_and_a_discard_at_once_one_is_told)
{
	static struct race race;
	weft *rt = race.rt = open_store(1, 8 * MIB, "");
	uint64_t sealed = 0;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, discards, &race), 0);
	for (uint64_t round = 1; round <= RACES; round++) {
		struct weft_buffer copy;
		const int64_t start = api_now();
		weft_ref ref;

		cr_assert_eq(weft_create(rt, 1000, NULL, &race.buffer), 0);
		copy = race.buffer;
		api_add(&race.rounds, 1);
		int rc = weft_seal(rt, &copy, &ref);

		cr_assert(rc == 0 || rc == -EINVAL);
		while (api_read(&race.rounds) < 2 * round)
			api_polling(start, "the other one");
		sealed += rc == 0;
		cr_assert_eq(sealed + api_read(&race.won), round, "one of the two");
		if (!rc)
			api_release(rt, ref);
		cr_assert_eq(store_stats(rt).objects, 0);
	}
	cr_assert_eq(pthread_join(thread, NULL), 0);
	api_close(rt);
}

Test(objects, tag_and_metadata_go_with_the_object)
{
	weft *rt = open_store(1, 8 * MIB, "");
	struct weft_object_options options = {
		.struct_size = sizeof(options), .tag = 42, .meta = "schema", .meta_size = 7
	};
	struct weft_object_info info = { .struct_size = sizeof(info) };
	struct weft_buffer buffer;
	weft_ref ref, small;

	cr_assert_eq(weft_create(rt, 1000, &options, &buffer), 0);
	cr_assert_eq(weft_seal(rt, &buffer, &ref), 0);
	cr_assert_eq(weft_object_info(rt, ref, &info), 0);
	cr_assert_eq(info.place, WEFT_OBJECT_MEMORY);
	cr_assert_eq(info.tag, 42);
	cr_assert_eq(info.size, 1000);
	cr_assert_eq(info.meta_size, 7);
	cr_assert_str_eq(info.meta, "schema");
	cr_assert_eq(info.n_refs, 0);
	cr_assert_eq(weft_put(rt, "0123456789", 10, &small), 0);
	cr_assert_eq(weft_object_info(rt, small, &info), 0);
	cr_assert_eq(info.place, WEFT_OBJECT_INLINE);
	cr_assert_eq(info.size, 10);
	cr_assert_eq(weft_view_end(rt, small), 0, "nothing to give back");
	options.reserved[0] = 1;
	cr_assert_eq(weft_create(rt, 1000, &options, &buffer), -EINVAL);
	options.reserved[0] = 0;
	options.meta_size = 65537;
	cr_assert_eq(weft_create(rt, 1000, &options, &buffer), -EINVAL);
	options.meta_size = 0;
	options.n_refs = 1;
	cr_assert_eq(weft_create(rt, 1000, &options, &buffer), -EINVAL);
	weft_ref event = api_event(rt);

	cr_assert_eq(weft_object_info(rt, event, &info), -EAGAIN);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	api_release(rt, small);
	api_release(rt, ref);
	api_close(rt);
}

Test(objects, a_write_through_a_view_faults)
{
	weft *rt = open_store(1, 8 * MIB, "");
	weft_ref ref = put(rt, 65536, 3);
	struct weft_view view;

	cr_assert_eq(weft_get(rt, ref, WEFT_POLL, &view), 0);
	fflush(NULL);
	pid_t child = fork();
	int status = 0;

	cr_assert(child >= 0);
	if (!child) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile unsigned char *)(uintptr_t)view.data = 1;
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	/* The sanitizers turn the signal into an exit of their own. */
	cr_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV : WEXITSTATUS(status) != 0);
	cr_assert(filled(view.data, 65536, 3));
	api_release(rt, ref);
	api_close(rt);
}

Test(objects, refs_inside_live_as_long_as_the_object)
{
	weft *rt = open_store(2, 8 * MIB, "");
	weft_ref inner[3], list, bad = api_poison_ref();
	struct weft_view view;

	for (int i = 0; i < 3; i++)
		inner[i] = i < 2 ? put(rt, 100000, (uint64_t)i) : api_put_i64(rt, 77);
	cr_assert_eq(weft_put_refs(rt, &bad, 1, &list), -EINVAL);
	cr_assert_eq(weft_put_refs(rt, inner, 3, &list), 0);
	for (int i = 0; i < 3; i++)
		api_release(rt, inner[i]);
	struct weft_object_info info = { .struct_size = sizeof(info) };

	cr_assert_eq(weft_object_info(rt, list, &info), 0);
	cr_assert_eq(info.n_refs, 3);
	cr_assert_eq(weft_get(rt, list, WEFT_FOREVER, &view), 0);
	cr_assert_eq(view.size, 3 * sizeof(weft_ref));
	memcpy(inner, view.data, view.size);
	check_value(rt, inner[0], 100000, 0);
	check_value(rt, inner[1], 100000, 1);
	cr_assert_eq(weft_retain(rt, inner[2]), 0);
	api_release(rt, list);
	cr_assert_eq(weft_peek(rt, inner[0]), -EINVAL, "gone with the list");
	cr_assert_eq(api_take_i64(rt, inner[2]), 77, "kept by its own count");
	api_await_no_tasks(rt);
	cr_assert_eq(store_stats(rt).objects, 0);
	api_close(rt);
}

static int body_releases(weft_task *self)
{
	weft_release(weft_task_runtime(self), *(weft_ref *)weft_task_arg(self, NULL));
	return 0;
}

Test(objects, a_long_chain_of_lists_goes_without_deep_recursion)
{
	weft *rt = open_store(2, 64 * MIB, "");
	uint32_t length = WF_TSAN || WF_ASAN ? 3000 : 100000;
	weft_ref list, outer;

	for (int by_task = 0; by_task < 2; by_task++) {
		list = api_put_i64(rt, 1);
		for (uint32_t i = 0; i < length; i++) {
			cr_assert_eq(weft_put_refs(rt, &list, 1, &outer), 0);
			api_release(rt, list);
			list = outer;
		}
		cr_assert_eq(store_stats(rt).objects, length);
		/* On the small stack of a task, and on the large one of this thread. */
		if (by_task)
			api_release(rt, api_spawn(rt, body_releases, &list, sizeof(list)));
		else
			api_release(rt, list);
		api_await_no_tasks(rt);
		cr_assert_eq(store_stats(rt).objects, 0);
		store_await_empty(rt);
	}
	api_close(rt);
}

static int body_lists(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref made[2] = { put(rt, 5000, 1), put(rt, 6000, 2) };
	weft_ref none = { 0 };

	API_CHECK(weft_task_output_refs(self, 2, made, 2) == -EINVAL);
	API_CHECK(weft_task_output_refs(self, 0, &none, 1) == -EINVAL);
	API_CHECK(weft_task_output_refs(self, 0, made, 1) == 0);
	API_CHECK(weft_task_output_refs(self, 0, made, 2) == 0);
	API_CHECK(weft_task_output_refs(self, 1, made, 1) == 0);
	weft_release_many(rt, made, 2);
	return 0;
}

Test(objects, a_task_returns_lists_of_refs)
{
	weft *rt = open_store(2, 8 * MIB, "");
	weft_ref out[2];
	weft_ref inner[2];
	struct weft_view view;

	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(body_lists, .opts = WEFT_TASK_OPTIONS(.n_outputs = 2)),
	                         out),
	             0);
	cr_assert_eq(weft_get(rt, out[0], WEFT_FOREVER, &view), 0);
	cr_assert_eq(view.size, 2 * sizeof(weft_ref));
	memcpy(inner, view.data, view.size);
	check_value(rt, inner[0], 5000, 1);
	check_value(rt, inner[1], 6000, 2);
	api_release(rt, out[0]);
	/* The task's own end may come a moment after its outputs are there. */
	const int64_t start = api_now();

	while (weft_peek(rt, inner[1]) != -EINVAL)
		api_polling(start, "the first list is gone");
	check_value(rt, inner[0], 5000, 1);
	api_release(rt, out[1]);
	api_await_no_tasks(rt);
	cr_assert_eq(store_stats(rt).objects, 0);
	api_close(rt);
}

/* ---- More than fits --------------------------------------------------------- */

#define MANY 32

Test(objects, what_does_not_fit_is_spilled_and_comes_back_whole)
{
	weft *rt = open_store(2, 8 * MIB, NULL);
	weft_ref refs[MANY];

	for (uint64_t i = 0; i < MANY; i++)
		refs[i] = put(rt, MIB, i);
	struct weft_store_stats stats = store_stats(rt);

	cr_assert(stats.used <= 8 * MIB);
	cr_assert(stats.spilled_bytes >= (MANY - 8) * MIB, "%llu",
	          (unsigned long long)stats.spilled_bytes);
	cr_assert_eq(stats.objects, MANY);
	for (uint64_t i = 0; i < MANY; i++)
		check_value(rt, refs[i], MIB, i);
	for (uint64_t i = MANY; i-- > 0;) {
		unsigned char *copy = malloc(MIB);

		cr_assert_eq(weft_take(rt, refs[i], copy, MIB), (int64_t)MIB);
		cr_assert(filled(copy, MIB, i));
		free(copy);
	}
	cr_assert(store_stats(rt).restored_bytes >= (MANY - 8) * MIB);
	api_await_no_tasks(rt);
	store_await_empty(rt);
	cr_assert_eq(store_stats(rt).spilled, 0);
	api_close(rt);
}

Test(objects, small_ones_are_spilled_too)
{
	weft *rt = open_store(2, 2 * MIB, NULL);
	enum { N = 8192, SIZE = 1024 };
	weft_ref *refs = malloc(N * sizeof(*refs));

	for (uint64_t i = 0; i < N; i++)
		refs[i] = put(rt, SIZE, i);
	cr_assert(store_stats(rt).spilled_bytes >= 5 * MIB);
	for (uint64_t i = 0; i < N; i++)
		check_value(rt, refs[i], SIZE, i);
	weft_release_many(rt, refs, N);
	free(refs);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int body_sum_inputs(weft_task *self)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		struct weft_view view;

		API_CHECK(weft_input(self, i, &view) == 0);
		API_CHECK(view.size == MIB);
		sum += ((const uint64_t *)view.data)[1];
	}
	return weft_return(self, &sum, sizeof(sum));
}

Test(objects, inputs_are_brought_in_for_the_call)
{
	weft *rt = open_store(2, 8 * MIB, NULL);
	weft_ref refs[MANY], sums[MANY];

	for (uint64_t i = 0; i < MANY; i++)
		refs[i] = put(rt, MIB, i);
	for (uint32_t i = 0; i < MANY; i++) {
		weft_ref inputs[3] = { refs[i], refs[(i + 11) % MANY], refs[(i + 23) % MANY] };

		cr_assert_eq(
			weft_submit(rt, WEFT_TASK(body_sum_inputs, .inputs = inputs, .n_inputs = 3),
		                    &sums[i]),
			0);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		uint64_t want = 0, got = 0;

		for (uint32_t k = 0; k < 3; k++) {
			static const uint32_t step[3] = { 0, 11, 23 };

			want += ((i + step[k]) % MANY) * 0x9e3779b97f4a7c15u + 1;
		}
		cr_assert_eq(weft_take(rt, sums[i], &got, sizeof(got)), 8);
		cr_assert_eq(got, want, "task %u", i);
	}
	weft_release_many(rt, refs, MANY);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int body_make(weft_task *self)
{
	const uint64_t *seed = weft_task_arg(self, NULL);
	void *data;
	int rc = weft_task_output(self, 0, MIB, &data);

	if (rc)
		return rc;
	fill(data, MIB, *seed);
	return 0;
}

Test(objects, producers_of_more_than_the_store_holds_all_finish)
{
	weft *rt = open_store(2, 4 * MIB, NULL);
	enum { N = 64 };
	weft_ref refs[N];

	for (uint64_t i = 0; i < N; i++)
		refs[i] = api_spawn(rt, body_make, &i, sizeof(i));
	for (uint64_t i = 0; i < N; i++)
		check_value(rt, refs[i], MIB, i);
	weft_release_many(rt, refs, N);
	api_await_no_tasks(rt);
	store_await_empty(rt);
	api_close(rt);
}

Test(objects, get_many_views_all_or_none)
{
	weft *rt = open_store(2, 8 * MIB, NULL);
	weft_ref refs[MANY];
	struct weft_view views[MANY];
	uint32_t failed = 99;

	for (uint64_t i = 0; i < MANY; i++)
		refs[i] = put(rt, MIB, i);
	cr_assert_eq(weft_get_many(rt, refs, 4, WEFT_FOREVER, views, &failed), 0);
	for (uint64_t i = 0; i < 4; i++) {
		cr_assert(filled(views[i].data, MIB, i));
		cr_assert_eq(weft_view_end(rt, refs[i]), 0);
	}
	cr_assert_eq(weft_get_many(rt, refs, MANY, WEFT_FOREVER, views, &failed), WEFT_ESTOREFULL,
	             "together they can never fit");
	cr_assert_eq(failed, 99);
	check_value(rt, refs[0], MIB, 0);
	weft_release_many(rt, refs, MANY);
	api_close(rt);
}

/* The address sanitizer watches what is written past the last value of the store. */
Test(objects, get_many_takes_values_of_the_store_and_others_in_any_order)
{
	weft *rt = open_store(2, 8 * MIB, NULL);
	weft_ref refs[6];
	struct weft_view views[6];
	int64_t got;

	for (uint64_t order = 0; order < 64; order++) {
		for (uint64_t i = 0; i < 6; i++)
			refs[i] = order >> i & 1 ? put(rt, 5000, i) : api_put_i64(rt, (int64_t)i);
		cr_assert_eq(weft_get_many(rt, refs, 6, WEFT_FOREVER, views, NULL), 0);
		for (uint64_t i = 0; i < 6; i++) {
			if (order >> i & 1) {
				cr_assert(filled(views[i].data, 5000, i));
				cr_assert_eq(weft_view_end(rt, refs[i]), 0);
				continue;
			}
			memcpy(&got, views[i].data, sizeof(got));
			cr_assert_eq(got, (int64_t)i);
		}
		weft_release_many(rt, refs, 6);
	}
	api_await_no_tasks(rt);
	cr_assert_eq(store_stats(rt).objects, 0);
	api_close(rt);
}

Test(objects, refs_left_at_close_are_no_harm)
{
	weft *rt = open_store(2, 4 * MIB, NULL);
	weft_ref list, inner = put(rt, MIB, 1);
	struct weft_buffer buffer;
	struct weft_view view;

	cr_assert_eq(weft_put_refs(rt, &inner, 1, &list), 0);
	for (uint64_t i = 0; i < 8; i++)
		(void)put(rt, MIB, i);
	cr_assert_eq(weft_get(rt, inner, WEFT_FOREVER, &view), 0);
	cr_assert_eq(weft_create(rt, 1000, NULL, &buffer), 0);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
}
