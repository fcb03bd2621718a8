/*
 * Goal: what a body is told about its run is true, what it inherits is what its parent had, and
 * each attempt finds what the ones before have left: the last error, the checkpoint, the same
 * random numbers, no memory.
 * Method: bodies that look at weft_task_info() at every step, and report through their results.
 */
#include "resources.h"
#include "test.h"

static struct weft_task_info info_of(weft_task *self)
{
	struct weft_task_info info = { .struct_size = sizeof info };

	API_CHECK(weft_task_info(self, &info) == 0);
	return info;
}

/* ---- What a body is told ------------------------------------------------------------------- */

static int told_plainly(weft_task *self)
{
	const struct weft_task_info info = info_of(self);
	struct weft_task_info none = { .struct_size = 1 };
	size_t size = 5;

	API_CHECK(info.ref.bits == weft_task_ref(self).bits);
	API_CHECK(!strcmp(info.name, weft_task_name(self)));
	API_CHECK(info.attempt == 1 && info.failures == 0 && !info.last_error);
	API_CHECK(info.worker == weft_task_worker(self) && info.worker >= 0);
	API_CHECK(!info.cancelled && info.deadline == 0);
	API_CHECK(info.cpus == 1 && info.gpus == 0 && info.n_gpu == 0 && info.memory == 0);
	API_CHECK(info.n_cpu == 1 && info.cpu[0] < 65536);
	API_CHECK(info.identity == 0 && info.memory_used == 0);
	API_CHECK(weft_task_info(self, NULL) == -EINVAL);
	API_CHECK(weft_task_info(self, &none) == -EINVAL && none.attempt == 0);
	API_CHECK(weft_task_context(self, &size) == NULL && size == 0);
	API_CHECK(weft_task_context(self, NULL) == NULL);
	return 0;
}

static int told_all(weft_task *self)
{
	const struct weft_task_info info = info_of(self);
	const weft_deadline *deadline = weft_task_arg(self, NULL);
	void *p;

	API_CHECK(!strcmp(info.name, "all of it"));
	API_CHECK(info.cpus == 2 && info.n_cpu == 2 && info.cpu);
	API_CHECK(info.gpus == 1 && info.n_gpu == 1 && info.gpu[0] < 3);
	API_CHECK(info.memory == 300 && info.memory_used == 0);
	API_CHECK(info.deadline == *deadline);
	API_CHECK(info.identity != 0);
	API_CHECK(weft_task_alloc(self, 77, &p) == 0);
	API_CHECK(info_of(self).memory_used == 77);
	return 0;
}

Test(attempts, a_body_knows_its_run)
{
	weft *rt = open_with(2, NULL);
	const weft_deadline deadline = weft_after_ms(rt, 100000);

	cr_assert_eq(api_end(rt, api_submit(rt, WEFT_TASK(told_plainly))), 0);
	cr_assert_eq(api_end(rt, api_spawn(rt, told_plainly, NULL, 0)), 0);
	cr_assert_eq(
		api_end(rt,
	                api_submit(rt,
	                           WEFT_TASK(told_all, WEFT_ARG(deadline),
	                                     .opts = WEFT_TASK_OPTIONS(.name = "all of it",
	                                                               .cpus = 2, .gpus = 1,
	                                                               .memory = 300, .seed = 9,
	                                                               .deadline = deadline)))),
		0);
	close_empty(rt);
}

static int knows_cancel(weft_task *self)
{
	struct quiet *quiet = api_arg_pointer(self);
	struct weft_view view;

	API_CHECK(!info_of(self).cancelled);
	api_add(&quiet->began, 1);
	API_CHECK(weft_get(weft_task_runtime(self), quiet->event, WEFT_FOREVER, &view) == -EINTR);
	API_CHECK(info_of(self).cancelled);
	return -EINTR;
}

Test(attempts, a_body_knows_that_it_is_cancelled)
{
	weft *rt = api_open(1);
	struct quiet quiet = { .event = api_event(rt) };
	weft_ref ref = submit(rt, knows_cancel, &quiet, NULL);

	api_await_count(&quiet.began, 1);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	api_release(rt, quiet.event);
	close_empty(rt);
}

/* ---- Further attempts ---------------------------------------------------------------------- */

static int fails_in_turn(weft_task *self)
{
	const int *codes = api_arg_pointer(self);
	const struct weft_task_info info = info_of(self);
	const uint32_t n = info.attempt;

	API_CHECK(info.failures == n - 1 && weft_task_attempt(self) == n);
	API_CHECK(!info.last_error == (n == 1));
	if (n > 1) {
		API_CHECK(info.last_error->code == codes[n - 2]);
		API_CHECK(info.last_error->attempt == n - 1);
	}
	if (codes[n - 1] == 0)
		return weft_return(self, &n, sizeof n);
	return n % 2 ? codes[n - 1] : weft_fail(self, codes[n - 1], "%u", n);
}

static uint32_t attempts_of(weft *rt, const int *codes, const struct weft_task_options *opts,
                            int *last)
{
	weft_ref ref = api_submit(rt, WEFT_TASK(fails_in_turn, WEFT_ARG(codes), .opts = opts));
	const struct weft_error *error = NULL;
	struct weft_view view;
	uint32_t n;

	*last = 0;
	if (weft_get(rt, ref, WEFT_FOREVER, &view) == 0) {
		n = *(const uint32_t *)view.data;
	} else {
		API_CHECK(weft_ref_error(rt, ref, &error) == 0);
		n = error->attempt;
		*last = error->code;
	}
	api_release(rt, ref);
	return n;
}

Test(attempts, only_the_codes_that_were_named_are_tried_again)
{
	weft *rt = api_open(2);
	const int only[] = { -5, -7 };
	const int codes[] = { -5, -7, -5, -9, -5, 0 };
	int last;

	cr_assert_eq(attempts_of(rt, codes,
	                         WEFT_TASK_OPTIONS(.retries = 9, .retry_on = only, .n_retry_on = 2),
	                         &last),
	             4, "the fourth code is not among them");
	cr_assert_eq(last, -9);
	cr_assert_eq(attempts_of(rt, codes, WEFT_TASK_OPTIONS(.retries = 9), &last), 6);
	cr_assert_eq(last, 0);
	/* One budget for all codes, and the last error counts. */
	cr_assert_eq(attempts_of(rt, codes,
	                         WEFT_TASK_OPTIONS(.retries = 2, .retry_on = only, .n_retry_on = 2),
	                         &last),
	             3);
	cr_assert_eq(last, -5);
	cr_assert_eq(attempts_of(rt, codes, WEFT_TASK_OPTIONS(0), &last), 1);
	cr_assert_eq(attempts_of(rt, codes, NULL, &last), 1);
	close_empty(rt);
}

static int fails_often(weft_task *self)
{
	const uint32_t n = weft_task_attempt(self);

	return n < 600 ? -EIO : weft_return(self, &n, sizeof n);
}

Test(attempts, for_ever_is_beyond_every_count)
{
	weft *rt = api_open(1);
	uint32_t n = 0;
	weft_ref ref =
		submit(rt, fails_often, NULL, WEFT_TASK_OPTIONS(.retries = WEFT_RETRIES_FOREVER));

	cr_assert_eq(weft_take(rt, ref, &n, sizeof n), (int64_t)sizeof n);
	cr_assert_eq(n, 600);
	close_empty(rt);
}

Test(attempts, a_refused_option_is_named_with_its_value)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	weft *rt = open_with(1, &said);
	const int codes[] = { -5, 3 };
	const char context[1] = { 0 };
	weft_ref out = api_poison_ref();

#define REFUSED(field, value, ...) \
	do { \
		said.text[0] = '\0'; \
		cr_assert_eq(weft_submit(rt, \
		                         WEFT_TASK(api_body_nothing, \
		                                   .opts = WEFT_TASK_OPTIONS(__VA_ARGS__)), \
		                         &out), \
		             -EINVAL); \
		cr_assert_eq(out.bits, API_POISON); \
		cr_assert_not_null(strstr(said.text, field), "%s: %s", field, said.text); \
		cr_assert_not_null(strstr(said.text, value), "%s: %s", value, said.text); \
	} while (0)
	REFUSED("retries", "255", .retries = 255);
	REFUSED("n_retry_on", "1", .retry_on = codes, .n_retry_on = 1);
	REFUSED("n_retry_on", "17", .retries = 1, .retry_on = codes, .n_retry_on = 17);
	REFUSED("n_retry_on", "2", .retries = 1, .n_retry_on = 2);
	REFUSED("retry_on", "3", .retries = 1, .retry_on = codes, .n_retry_on = 2);
	REFUSED("backoff_ns", "-2", .retries = 1, .backoff_ns = -2);
	REFUSED("backoff_ns", "7", .backoff_ns = 7);
	REFUSED("backoff_max_ns", "6", .retries = 1, .backoff_ns = 7, .backoff_max_ns = 6);
	REFUSED("context_size", "4097", .context = context, .context_size = 4097);
	REFUSED("context_size", "0", .context = context);
	REFUSED("flags", "128", .flags = 128);
	REFUSED("n_outputs", "1025", .n_outputs = 1025);
	REFUSED("priority", "3", .priority = 3);
	REFUSED("on_input_error", "3", .on_input_error = 3);
	REFUSED("deadline", "-1", .deadline = -1);
	REFUSED("reserved", "1", .reserved = { 1 });
#undef REFUSED
	close_empty(rt);
}

static int fails_twice(weft_task *self)
{
	return weft_task_attempt(self) < 3 ? -EIO : 0;
}

Test(attempts, back_off_is_kept_and_doubles)
{
	weft *rt = NULL;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 1, .flags = WEFT_OPEN_VIRTUAL_CLOCK)),
	             0);
	weft_ref ref =
		submit(rt, fails_twice, NULL, WEFT_TASK_OPTIONS(.retries = 5, .backoff_ns = 1000));
	api_await_state(rt, ref, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_clock_advance(rt, 999), 0);
	cr_assert_eq(api_state(rt, ref), WEFT_REF_BLOCKED);
	cr_assert_eq(weft_clock_advance(rt, 1), 0);
	/* The second failure waits twice as long: until 3000. */
	const int64_t start = api_now();
	struct weft_ref_info info = { .struct_size = sizeof info };
	do {
		cr_assert_eq(weft_ref_info(rt, ref, &info), 0);
		api_polling(start, "the second attempt has failed");
	} while (info.attempt < 2 || info.state != WEFT_REF_BLOCKED);
	cr_assert_eq(weft_clock_advance(rt, 1999), 0);
	cr_assert_eq(api_state(rt, ref), WEFT_REF_BLOCKED);
	cr_assert_eq(weft_clock_advance(rt, 1), 0);
	cr_assert_eq(api_end(rt, ref), 0);
	/* And it can be cancelled meanwhile. */
	ref = submit(rt, fails_twice, NULL, WEFT_TASK_OPTIONS(.retries = 5, .backoff_ns = 1000));
	api_await_state(rt, ref, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(attempts, resources_are_others_while_an_attempt_waits)
{
	weft *rt = NULL;
	struct quiet quiet;

	cr_assert_eq(weft_open(&rt,
	                       WEFT_OPTIONS(.workers = 2, .flags = WEFT_OPEN_VIRTUAL_CLOCK,
	                                    .resources = two_names, .n_resources = 2)),
	             0);
	quiet = (struct quiet){ .event = api_event(rt) };
	weft_ref ref =
		submit(rt, fails_twice, NULL,
	               WEFT_TASK_OPTIONS(.retries = 5, .backoff_ns = 1000, REQUEST({ "disk", 4 })));
	api_await_state(rt, ref, WEFT_REF_BLOCKED);
	weft_ref other = submit(rt, at_event, &quiet, WEFT_TASK_OPTIONS(REQUEST({ "disk", 1 })));
	api_await_count(&quiet.began, 1);
	cr_assert(available(rt, "disk") == 3);
	/* Its time has come, but not its resources: it is asked for, and blocked again. */
	cr_assert_eq(weft_clock_advance(rt, 5000), 0);
	api_await_state(rt, ref, WEFT_REF_BLOCKED);
	settle(rt, quiet.event);
	cr_assert_eq(api_end(rt, other), 0);
	const int64_t start = api_now();
	while (weft_peek(rt, ref) == 0) {
		cr_assert_eq(weft_clock_advance(rt, 5000), 0);
		api_polling(start, "the third attempt has ended");
	}
	cr_assert_eq(api_end(rt, ref), 0);
	api_release(rt, quiet.event);
	close_empty(rt);
}

/* ---- Memory -------------------------------------------------------------------------------- */

struct hunger {
	uint32_t bytes; /* wanted, in pieces of ten */
	struct api_count attempts;
};

static int eats(weft_task *self)
{
	struct hunger *hunger = api_arg_pointer(self);
	void *p = &hunger, *first = NULL;
	int rc = 0;

	api_add(&hunger->attempts, 1);
	for (uint32_t eaten = 0; eaten < hunger->bytes && !rc; eaten += 10) {
		rc = weft_task_alloc(self, 10, &p);
		if (!rc)
			memset(p, 7, 10);
		if (!first)
			first = p;
	}
	API_CHECK(rc == 0 || rc == WEFT_EOOM);
	if (rc)
		return rc;
	/* What is given back is free for the next piece. */
	weft_task_free(self, NULL);
	weft_task_free(self, first);
	return weft_task_alloc(self, 10, &p);
}

Test(attempts, memory_has_a_limit_and_a_class_of_error)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	weft *rt = open_with(2, &said);
	struct hunger hunger = { .bytes = 100 };
	const struct weft_error *error = NULL;

	said.text[0] = '\0';
	cr_assert_eq(api_end(rt, submit(rt, eats, &hunger, WEFT_TASK_OPTIONS(.memory = 100))), 0);
	cr_assert_not_null(strstr(said.text, "it holds 90 of its 100 bytes"), "%s", said.text);
	said.text[0] = '\0';
	cr_assert_eq(
		api_end(rt,
	                submit(rt, eats, &hunger,
	                       WEFT_TASK_OPTIONS(.memory = 100, .memory_soft = WEFT_MEMORY_NONE))),
		0);
	cr_assert_str_eq(said.text, "");
	weft_ref ref = submit(rt, eats, &hunger, WEFT_TASK_OPTIONS(.memory = 99, .retries = 3));
	cr_assert_eq(api_get(rt, ref), WEFT_EOOM);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_str_eq(error->text, "10 bytes beside 90 are more than the task's memory, 99");
	cr_assert_eq(error->attempt, 1, "its own budget is memory_retries");
	api_release(rt, ref);
	cr_assert_eq(api_end(rt, submit(rt, eats, &hunger, NULL)), 0, "without memory: no limit");
	close_empty(rt);
}

Test(attempts, each_retry_for_memory_has_twice_as_much)
{
	weft *rt = open_with(2, NULL);
	struct hunger hunger = { .bytes = 300 };
	const struct weft_task_options opts = { .struct_size = sizeof opts,
		                                .memory = 50,
		                                .memory_retries = 3 };

	cr_assert_eq(api_end(rt, submit(rt, eats, &hunger, &opts)), 0);
	cr_assert_eq(api_read(&hunger.attempts), 4, "50, 100, 200, 400");
	hunger = (struct hunger){ .bytes = 500 };
	cr_assert_eq(api_end(rt, submit(rt, eats, &hunger, &opts)), WEFT_EOOM);
	cr_assert_eq(api_read(&hunger.attempts), 4);
	/* More than there is at all: it does not wait for that. */
	hunger = (struct hunger){ .bytes = 5000 };
	cr_assert_eq(api_end(rt,
	                     submit(rt, eats, &hunger,
	                            WEFT_TASK_OPTIONS(.memory = 400, .memory_retries = 9))),
	             WEFT_EOOM);
	cr_assert_eq(api_read(&hunger.attempts), 2, "400, 800");
	close_empty(rt);
}

static void allocates_in_fork(weft_task *self, void *arg)
{
	void *p = NULL;
	const int rc = weft_task_alloc(self, 10, &p);

	*(int *)arg = rc;
	API_CHECK(rc == 0 || rc == -EINVAL);
}

static int bad_memory(weft_task *self)
{
	struct weft_fork fork;
	int rc = 5;
	void *p = &rc;

	API_CHECK(weft_task_alloc(self, 10, NULL) == -EINVAL);
	API_CHECK(weft_task_alloc(self, SIZE_MAX, &p) == -ENOMEM && p == &rc);
	API_CHECK(weft_task_alloc(self, 0, &p) == 0 && p != &rc);
	API_CHECK((uintptr_t)p % 16 == 0);
	weft_fork(self, &fork, allocates_in_fork, &rc);
	weft_fork_join(self, &fork);
	return 0;
}

Test(attempts, bad_uses_of_memory_are_told)
{
	weft *rt = api_open(2);

	for (uint32_t i = 0; i < api_scaled(100); i++)
		cr_assert_eq(api_end(rt, api_spawn(rt, bad_memory, NULL, 0)), 0);
	close_empty(rt);
}

/* ---- Checkpoints --------------------------------------------------------------------------- */

static int counts_on(weft_task *self)
{
	struct weft_view view = api_poison_view();
	uint64_t sum = 0;

	API_CHECK(weft_checkpoint_read(self, &view) == 0);
	API_CHECK(view.size == (weft_task_attempt(self) == 1 ? 0 : sizeof sum));
	if (view.size)
		memcpy(&sum, view.data, sizeof sum);
	for (int i = 0; i < 3; i++) {
		sum++;
		API_CHECK(weft_checkpoint(self, &sum, sizeof sum) == 0);
	}
	API_CHECK(weft_checkpoint(self, NULL, 1) == -EINVAL);
	API_CHECK(weft_checkpoint(self, &sum, ((size_t)1 << 20) + 1) == -EMSGSIZE);
	API_CHECK(weft_checkpoint_read(self, NULL) == -EINVAL);
	if (weft_task_attempt(self) < 4)
		return -EIO;
	return weft_return(self, &sum, sizeof sum);
}

static int keeps_nothing(weft_task *self)
{
	struct weft_view view;

	API_CHECK(weft_checkpoint(self, "x", 1) == 0);
	API_CHECK(weft_checkpoint_read(self, &view) == 0 && view.size == 0);
	return 0;
}

Test(attempts, a_checkpoint_is_there_for_the_next_attempt)
{
	weft *rt = api_open(2);

	cr_assert_eq(api_take_i64(rt, submit(rt, counts_on, NULL, WEFT_TASK_OPTIONS(.retries = 3))),
	             12);
	cr_assert_eq(api_end(rt, api_spawn(rt, keeps_nothing, NULL, 0)), 0);
	cr_assert_eq(api_end(rt, submit(rt, keeps_nothing, NULL, WEFT_TASK_OPTIONS(.seed = 1))), 0);
	close_empty(rt);
}

/* ---- Inherited things ---------------------------------------------------------------------- */

struct family {
	int64_t depth;
	const char *expect; /* the context; NULL: none */
};

static int inherits(weft_task *self)
{
	const struct family *family = weft_task_arg(self, NULL);
	const struct family less = { family->depth - 1, family->expect };
	size_t size = 0;
	const char *context = weft_task_context(self, &size);
	weft *rt = weft_task_runtime(self);
	weft_ref refs[4];

	API_CHECK(!context == !family->expect);
	if (context)
		API_CHECK(size == 8 && !memcmp(context, family->expect, 8));
	if (!family->depth)
		return 0;
	API_CHECK(weft_spawn(rt, inherits, &less, sizeof less, &refs[0]) == 0);
	API_CHECK(weft_submit(rt, WEFT_TASK(inherits, WEFT_ARG(less)), &refs[1]) == 0);
	const struct family other = { family->depth - 1, "another" };
	API_CHECK(weft_submit(rt,
	                      WEFT_TASK(inherits, WEFT_ARG(other),
	                                .opts = WEFT_TASK_OPTIONS(.context = "another",
	                                                          .context_size = 8)),
	                      &refs[2]) == 0);
	API_CHECK(weft_yield(rt) == 0);
	API_CHECK(weft_spawn(rt, inherits, &less, sizeof less, &refs[3]) == 0);
	for (int i = 0; i < 4; i++)
		API_CHECK(weft_take(rt, refs[i], NULL, 0) == 0);
	return 0;
}

Test(attempts, a_context_goes_down_to_the_children)
{
	weft *rt = api_open(3);
	const struct family none = { 4, NULL }, some = { 4, "context" };
	weft_ref refs[4];

	for (int i = 0; i < 4; i++)
		refs[i] = i % 2
			? api_spawn(rt, inherits, &none, sizeof none)
			: api_submit(rt,
		                     WEFT_TASK(inherits, WEFT_ARG(some),
		                               .opts = WEFT_TASK_OPTIONS(.context = "context",
		                                                         .context_size = 8)));
	for (int i = 0; i < 4; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	close_empty(rt);
}

/* A number that depends on every random number below, and on which task drew it. */
static int draws(weft_task *self)
{
	int64_t depth = *(const int64_t *)weft_task_arg(self, NULL), less = depth - 1;
	weft *rt = weft_task_runtime(self);
	uint64_t sum = weft_task_random(self), part;
	uint8_t seed[32], again[32];
	weft_ref refs[3];

	API_CHECK(weft_task_seed(self, seed) == 0 && weft_task_seed(self, again) == 0);
	API_CHECK(!memcmp(seed, again, sizeof seed));
	sum ^= seed[5];
	if (depth && weft_task_attempt(self) < 2 && sum % 2)
		return -EIO;
	for (int i = 0; depth && i < 3; i++) {
		const struct weft_task_options opts = { .struct_size = sizeof opts, .retries = 2 };

		API_CHECK(weft_submit(rt,
		                      WEFT_TASK(draws, WEFT_ARG(less), .opts = i ? &opts : NULL),
		                      &refs[i]) == 0);
	}
	for (int i = 0; depth && i < 3; i++) {
		/* What failed without retries has a value as well: none. */
		if (weft_take(rt, refs[i], &part, sizeof part) == sizeof part)
			sum = sum * 31 + part;
	}
	return weft_return(self, &sum, sizeof sum);
}

static int64_t drawn(uint32_t workers, uint64_t seed, uint64_t task_seed)
{
	weft *rt = NULL;
	const int64_t depth = 5;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = workers, .seed = seed,
	                                 .flags = task_seed ? 0 : WEFT_OPEN_SEEDED)) == 0);
	const int64_t value = api_take_i64(
		rt,
		api_submit(rt,
	                   WEFT_TASK(draws, WEFT_ARG(depth),
	                             .opts = WEFT_TASK_OPTIONS(.retries = 2, .seed = task_seed))));
	close_empty(rt);
	return value;
}

Test(attempts, random_numbers_are_the_same_on_every_attempt_worker_and_order)
{
	for (uint64_t task_seed = 0; task_seed < 2; task_seed++) {
		const int64_t value = drawn(1, 5, task_seed);

		for (uint32_t workers = 1; workers <= 4; workers++)
			cr_assert_eq(drawn(workers, 5, task_seed), value);
		cr_assert_neq(drawn(2, 6, task_seed), value);
	}
	cr_assert_neq(drawn(2, 5, 1), drawn(2, 5, 2));
}

static int has_no_stream(weft_task *self)
{
	uint8_t seed[32];

	API_CHECK(weft_task_seed(self, seed) == -ENODATA);
	API_CHECK(weft_task_seed(self, NULL) == -EINVAL);
	API_CHECK(weft_task_random(self) != weft_task_random(self));
	return 0;
}

Test(attempts, without_a_seed_there_is_no_stream)
{
	weft *rt = api_open(1);

	cr_assert_eq(api_end(rt, api_spawn(rt, has_no_stream, NULL, 0)), 0);
	close_empty(rt);
}

/* ---- Skipping ------------------------------------------------------------------------------ */

Test(attempts, an_empty_input_skips_the_body_when_asked)
{
	weft *rt = api_open(2);
	struct api_count runs = { 0 };
	weft_ref full = api_put_i64(rt, 3), empty = WEFT_NONE, out[2];
	struct weft_view view;
	struct weft_stats stats = { .struct_size = sizeof stats };
	const struct weft_task_options opts = { .struct_size = sizeof opts,
		                                .flags = WEFT_TASK_SKIP_EMPTY,
		                                .n_outputs = 2 };

	cr_assert_eq(weft_put(rt, NULL, 0, &empty), 0);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(api_body_count, API_POINTER(&runs),
	                                   WEFT_INPUTS(full, empty), .opts = &opts),
	                         out),
	             0);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(weft_get(rt, out[i], WEFT_FOREVER, &view), 0);
		cr_assert_eq(view.size, 0);
		api_release(rt, out[i]);
	}
	cr_assert_eq(api_read(&runs), 0);
	cr_assert_eq(weft_stats(rt, &stats), 0);
	cr_assert_eq(stats.skipped, 1);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(api_body_count, API_POINTER(&runs),
	                                   WEFT_INPUTS(full, full), .opts = &opts),
	                         out),
	             0);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(api_end(rt, out[i]), 0);
	cr_assert_eq(api_read(&runs), 1);
	api_release(rt, full);
	api_release(rt, empty);
	close_empty(rt);
}

/* ---- Injected faults ----------------------------------------------------------------------- */

static int passes_a_point(weft_task *self)
{
	API_CHECK(weft_fault_point(self, NULL) == -EINVAL);
	int rc = weft_fault_point(self, "middle");

	API_CHECK(rc == 0 || rc == -EIO);
	return rc ? rc : api_body_count(self);
}

static uint64_t faults_of(double rate, uint64_t seed, const char *points, uint32_t retries,
                          uint32_t n, uint64_t *done)
{
	weft *rt = NULL;
	struct api_count runs = { 0 };
	struct weft_stats stats = { .struct_size = sizeof stats };
	weft_ref ref;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = 2, .seed = 3, .fault_rate = rate,
	                                 .fault_seed = seed, .fault_points = points,
	                                 .flags = WEFT_OPEN_SEEDED)) == 0);
	for (uint32_t i = 0; i < n; i++) {
		ref = submit(rt, passes_a_point, &runs, WEFT_TASK_OPTIONS(.retries = retries));
		const int status = api_end(rt, ref);

		API_CHECK(status == 0 || status == WEFT_ETASK);
	}
	API_CHECK(weft_stats(rt, &stats) == 0);
	*done = api_read(&runs);
	close_empty(rt);
	return stats.faults;
}

Test(attempts, injected_faults_come_at_their_rate_and_spare_the_third_attempt)
{
	const uint32_t n = 300;
	uint64_t done, same;

	cr_assert_eq(faults_of(0, 1, NULL, 0, n, &done), 0, "off by default");
	cr_assert_eq(done, n);
	cr_assert_eq(faults_of(1, 1, NULL, 0, n, &done), n);
	cr_assert_eq(done, 0);
	cr_assert_eq(faults_of(1, 1, NULL, 2, n, &done), 2 * n, "two failures each");
	cr_assert_eq(done, n, "and no more");
	cr_assert_eq(faults_of(1, 1, "other,middle", 2, n, &done), 2 * n);
	cr_assert_eq(faults_of(1, 1, "other,start", 2, n, &done), 2 * n);
	cr_assert_eq(faults_of(1, 1, "other", 0, n, &done), 0);
	cr_assert_eq(done, n);
	const uint64_t some = faults_of(0.25, 1, "middle", 0, n, &done);
	cr_assert(some > n / 8 && some < n / 2, "%d", (int)some);
	cr_assert_eq(done, n - some);
	cr_assert_eq(faults_of(0.25, 1, "middle", 0, n, &same), some, "the same seed");
	cr_assert_eq(faults_of(0.25, 0, "middle", 0, n, &same),
	             faults_of(0.25, 0, "middle", 0, n, &done));
	cr_assert_eq(same, done);
}
