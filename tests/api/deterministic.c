/*
 * Goal: a deterministic runtime runs the same program with the same seed in the same order, in one
 * process and in several; sleeps and time limits pass in virtual time; what can never go on is
 * told; and the tasks of every kind end as they do elsewhere.
 * Method: one program with something of everything, whose bodies write down what they do; small
 * programs for each promise.
 */
#include <sys/wait.h>

#include "actors.h"

#define YEAR  (INT64_C(365) * 24 * 3600 * 1000000000)
#define LINES 4096

static weft *open_seed(uint64_t seed)
{
	weft *rt = NULL;

	API_CHECK(weft_open(&rt, WEFT_OPTIONS(.flags = WEFT_OPEN_DETERMINISTIC, .seed = seed)) ==
	          0);
	API_CHECK(rt != NULL);
	return rt;
}

/* ---- Something of everything ---------------------------------------------------------------- */

static struct {
	uint64_t line[LINES];
	uint32_t n;
} story;

/* One thread runs all bodies: nothing to guard. */
static void tell(weft_task *self, uint64_t what)
{
	API_CHECK(story.n < LINES);
	story.line[story.n++] = what << 40 ^ (uint64_t)weft_now(weft_task_runtime(self));
}

static int leaf(weft_task *self)
{
	const int64_t *n = weft_task_arg(self, NULL);

	tell(self, (uint64_t)*n);
	if (*n % 3 == 0)
		API_CHECK(weft_yield(weft_task_runtime(self)) == 0);
	if (*n % 4 == 0)
		API_CHECK(weft_sleep_until(weft_task_runtime(self),
		                           weft_after_ms(weft_task_runtime(self), *n % 7)) == 0);
	tell(self, weft_task_random(self) >> 44);
	return *n % 5 ? weft_return(self, n, sizeof *n) : weft_fail(self, -EIO, "on purpose");
}

static int branch(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	int64_t n = *(const int64_t *)weft_task_arg(self, NULL), sum = 0;
	weft_ref refs[4];

	for (int64_t i = 0; i < 4; i++) {
		int64_t child = n * 10 + i;

		refs[i] = api_submit(
			rt,
			WEFT_TASK(leaf, WEFT_ARG(child), .opts = WEFT_TASK_OPTIONS(.retries = 2)));
	}
	for (int i = 0; i < 4; i++) {
		int64_t value = 0;

		if (weft_take(rt, refs[i], &value, sizeof value) == sizeof value)
			sum += value;
	}
	tell(self, (uint64_t)sum);
	return weft_return(self, &sum, sizeof sum);
}

static int items(weft_task *self)
{
	for (int64_t i = 0; i < 8; i++) {
		API_CHECK(weft_emit(self, &i, sizeof i) == 0);
		tell(self, 600 + (uint64_t)i);
	}
	return 0;
}

static const struct weft_actor_class act_class = ACT_CLASS();

static int call(weft_task *self)
{
	struct act_state *state = weft_actor_state(self);

	tell(self, 700 + (uint64_t)++state->n);
	return 0;
}

static void add(int64_t begin, int64_t end, void *arg, void *acc)
{
	(void)arg;
	*(int64_t *)acc += end - begin;
}

static void add_up(void *into, const void *from, void *arg)
{
	(void)arg;
	*(int64_t *)into += *(const int64_t *)from;
}

static int looper(weft_task *self)
{
	const int64_t zero = 0;
	int64_t sum = 0;

	API_CHECK(weft_reduce(weft_task_runtime(self), 0, 1000, 1, add, add_up, NULL, &zero,
	                      sizeof zero, &sum) == 0);
	API_CHECK(sum == 1000);
	tell(self, 800);
	while (!weft_should_yield(self) && story.n % 64)
		tell(self, 801);
	return 0;
}

static void take_items(weft *rt, weft_ref gen)
{
	weft_ref item;
	int rc;

	while (!(rc = weft_next(rt, gen, WEFT_FOREVER, &item)))
		api_release(rt, item);
	API_CHECK(rc == -ENODATA);
	api_release(rt, gen);
}

/* What the order was, by the runtime's own word. */
static uint64_t run_story(uint64_t seed)
{
	struct weft_stats stats = { .struct_size = sizeof stats };
	struct act_log log = { 0 };
	weft *rt = open_seed(seed);
	weft_actor actor = act_create(rt, &act_class, NULL, &log);
	weft_group groups[2];
	weft_ref refs[24], gen;
	int n = 0;

	story.n = 0;
	for (int g = 0; g < 2; g++)
		API_CHECK(weft_group_create(rt, WEFT_GROUP_OPTIONS(.weight = 1 + 2u * (uint32_t)g),
		                            &groups[g]) == 0);
	API_CHECK(weft_submit(rt,
	                      WEFT_TASK(items,
	                                .opts = WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_STREAM,
	                                                          .window = 2)),
	                      &gen) == 0);
	for (int64_t i = 1; i <= 6; i++)
		refs[n++] = api_submit(rt, WEFT_TASK(branch, WEFT_ARG(i)));
	for (int64_t i = 7; i <= 12; i++)
		refs[n++] =
			api_submit(rt,
		                   WEFT_TASK(branch, WEFT_ARG(i),
		                             .opts = WEFT_TASK_OPTIONS(.group = groups[i % 2])));
	for (int i = 0; i < 6; i++)
		API_CHECK(weft_actor_call(rt, actor, call, NULL, 0, &refs[n++]) == 0);
	refs[n++] = api_submit(rt, WEFT_TASK(looper));
	refs[n++] = api_submit(rt,
	                       WEFT_TASK(leaf, WEFT_ARG((int64_t){ 901 }),
	                                 .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_BLOCKING)));
	refs[n++] = api_submit(
		rt,
		WEFT_TASK(leaf, WEFT_ARG((int64_t){ 902 }), .opts = WEFT_TASK_OPTIONS(.cpus = 2)));
	refs[n++] = api_submit(
		rt,
		WEFT_TASK(leaf, WEFT_ARG((int64_t){ 903 }),
	                  .opts = WEFT_TASK_OPTIONS(.cpus = 0.5, .priority = WEFT_PRIORITY_HIGH)));
	take_items(rt, gen);
	for (int i = 0; i < n; i++)
		api_end(rt, refs[i]);
	for (int g = 0; g < 2; g++) {
		API_CHECK(weft_group_join(rt, groups[g], WEFT_FOREVER) == 0);
		API_CHECK(weft_group_destroy(rt, groups[g]) == 0);
	}
	API_CHECK(weft_actor_release(rt, actor) == 0);
	API_CHECK(weft_stats(rt, &stats) == 0);
	API_CHECK(stats.order != 0);
	api_close(rt);
	API_CHECK(api_read(&log.finis) == 1);
	return stats.order;
}

/* A number that follows from the whole story. */
static uint64_t digest(void)
{
	uint64_t hash = story.n;

	for (uint32_t i = 0; i < story.n; i++)
		hash = (hash ^ story.line[i]) * UINT64_C(0x9e3779b97f4a7c15);
	return hash;
}

Test(deterministic, the_same_seed_gives_the_same_order_and_another_one_another)
{
	const uint64_t seed = test_seed();
	uint32_t others = 0;

	for (uint64_t i = 0; i < 4; i++) {
		const uint64_t order = run_story(seed + i + 1), told = digest();

		cr_assert_eq(run_story(seed + i + 1), order);
		cr_assert_eq(digest(), told);
		others += run_story(seed + i + 1001) != order && digest() != told;
	}
	cr_assert_eq(others, 4);
}

/* In a process of its own: the two numbers. */
static void tell_parent(uint64_t seed, uint64_t *numbers)
{
	int pipes[2], status = -1;

	API_CHECK(pipe(pipes) == 0);
	const pid_t child = fork();

	API_CHECK(child >= 0);
	if (child == 0) {
		/* What lies where must not matter. */
		void *volatile hole = malloc(1u << (12 + getpid() % 8));

		numbers[0] = run_story(seed);
		numbers[1] = digest();
		free(hole);
		_exit(write(pipes[1], numbers, 2 * sizeof *numbers) != 2 * sizeof *numbers);
	}
	API_CHECK(close(pipes[1]) == 0);
	API_CHECK(read(pipes[0], numbers, 2 * sizeof *numbers) == 2 * sizeof *numbers);
	API_CHECK(close(pipes[0]) == 0);
	API_CHECK(waitpid(child, &status, 0) == child && status == 0);
}

Test(deterministic, two_processes_go_alike)
{
	uint64_t a[2] = { 1, 2 }, b[2] = { 3, 4 };
	const uint64_t seed = test_seed();

	tell_parent(seed, a);
	tell_parent(seed, b);
	cr_assert_eq(a[0], b[0]);
	cr_assert_eq(a[1], b[1]);
}

/* ---- Time ----------------------------------------------------------------------------------- */

static int sleep_years(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const int64_t years = *(const int64_t *)weft_task_arg(self, NULL);

	return weft_sleep_until(rt, weft_now(rt) + years * YEAR);
}

Test(deterministic, sleeps_and_time_limits_pass_in_virtual_time)
{
	weft *rt = open_seed(test_seed());
	const weft_deadline start = weft_now(rt);
	const int64_t one = 1, ten = 10, five = 5;
	struct weft_view view;
	weft_ref event = api_event(rt), sleeper = api_spawn(rt, sleep_years, &ten, sizeof ten);

	cr_assert_eq(weft_get(rt, event, start + YEAR, &view), -ETIMEDOUT);
	cr_assert_eq(weft_now(rt), start + YEAR);
	cr_assert_eq(weft_sleep_until(rt, start + 2 * YEAR), 0);
	cr_assert_eq(weft_now(rt), start + 2 * YEAR);
	weft_ref late =
		api_submit(rt,
	                   WEFT_TASK(sleep_years, WEFT_ARG(five),
	                             .opts = WEFT_TASK_OPTIONS(.deadline = start + 3 * YEAR)));

	cr_assert_eq(api_end(rt, late), WEFT_EDEADLINE);
	cr_assert_eq(weft_now(rt), start + 3 * YEAR);
	cr_assert_eq(api_end(rt, api_spawn(rt, sleep_years, &one, sizeof one)), 0);
	cr_assert_eq(weft_now(rt), start + 4 * YEAR);
	cr_assert_eq(api_end(rt, sleeper), 0);
	cr_assert_eq(weft_now(rt), start + 10 * YEAR);
	api_release(rt, event);
	api_close(rt);
}

Test(deterministic, close_lets_sleepers_end)
{
	weft *rt = open_seed(test_seed());
	const int64_t ten = 10;

	api_release(rt, api_spawn(rt, sleep_years, &ten, sizeof ten));
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
}

/* ---- What never goes on --------------------------------------------------------------------- */

struct ring {
	weft_ref refs[2];
	int rc[2];
};

static int wait_for_other(weft_task *self)
{
	struct ring *ring = api_arg_pointer(self);
	const int me = weft_task_ref(self).bits == ring->refs[1].bits;

	ring->rc[me] = api_get(weft_task_runtime(self), ring->refs[!me]);
	return 0;
}

Test(deterministic, a_ring_is_told_and_so_is_who_waits_for_what_nobody_does)
{
	weft *rt = open_seed(test_seed());
	struct ring ring = { .rc = { 1, 1 } };
	struct weft_cq_item item;
	weft_ref event = api_event(rt);
	weft_cq *cq = NULL;

	for (int i = 0; i < 2; i++)
		ring.refs[i] = api_submit(rt, WEFT_TASK(wait_for_other, API_POINTER(&ring)));
	cr_assert_eq(api_end(rt, ring.refs[0]), 0);
	cr_assert_eq(api_end(rt, ring.refs[1]), 0);
	cr_assert(ring.rc[0] == WEFT_EDEADLOCK || ring.rc[1] == WEFT_EDEADLOCK);
	cr_assert_eq(api_get(rt, event), WEFT_EDEADLOCK);
	cr_assert_eq(weft_sleep_until(rt, WEFT_FOREVER), WEFT_EDEADLOCK);
	cr_assert_eq(weft_cq_create(rt, &cq), 0);
	cr_assert_eq(weft_cq_add(cq, event, 1), 0);
	cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), WEFT_EDEADLOCK);
	/* It is as it was: set now, it comes. */
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), 1);
	cr_assert_eq(api_end(rt, event), 0);
	weft_cq_destroy(cq);
	api_close(rt);
}

/* That nothing would go on was true of the wait before. */
Test(deterministic, a_time_limit_after_that_is_one)
{
	weft *rt = open_seed(test_seed());
	const weft_deadline start = weft_now(rt);
	struct weft_view view;
	weft_ref event = api_event(rt);

	for (int64_t i = 0; i < 3; i++) {
		cr_assert_eq(api_get(rt, event), WEFT_EDEADLOCK);
		cr_assert_eq(weft_run(rt, event, start + (2 * i + 1) * YEAR), -ETIMEDOUT);
		cr_assert_eq(weft_run(rt, event, WEFT_FOREVER), WEFT_EDEADLOCK);
		cr_assert_eq(weft_run(rt, event, weft_now(rt)), -ETIMEDOUT);
		cr_assert_eq(weft_get(rt, event, start + (2 * i + 2) * YEAR, &view), -ETIMEDOUT);
		cr_assert_eq(weft_now(rt), start + (2 * i + 2) * YEAR);
	}
	api_release(rt, event);
	api_close(rt);
}

Test(deterministic, close_cancels_what_can_never_end)
{
	weft *rt = open_seed(test_seed());
	weft_ref event = api_event(rt);

	api_release(rt, api_spawn(rt, api_body_get, &event, sizeof event));
	cr_assert_eq(weft_run(rt, WEFT_NONE, WEFT_FOREVER), WEFT_EDEADLOCK);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 1);
}

/* ---- Order ---------------------------------------------------------------------------------- */

static int fib(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	int64_t n = *(const int64_t *)weft_task_arg(self, NULL), a = 0, less = n - 1, least = n - 2;

	if (n < 2)
		return weft_return(self, &n, sizeof n);
	weft_ref x = api_spawn(rt, fib, &less, sizeof less);
	weft_ref y = api_spawn(rt, fib, &least, sizeof least);

	a = api_take_i64(rt, x);
	a += api_take_i64(rt, y);
	return weft_return(self, &a, sizeof a);
}

Test(deterministic, a_wide_tree_needs_few_stacks)
{
	struct weft_stats stats = { .struct_size = sizeof stats };
	weft *rt = open_seed(test_seed());
	const int64_t n = 18;

	cr_assert_eq(api_take_i64(rt, api_spawn(rt, fib, &n, sizeof n)), 2584);
	cr_assert_eq(weft_stats(rt, &stats), 0);
	/* Of 8361 tasks; 300 were seen. */
	cr_assert_lt(stats.stacks_max_live, 2000);
	api_close(rt);
}

static int yield_until(weft_task *self)
{
	const struct api_count *done = api_arg_pointer(self);

	while (!api_read(done))
		API_CHECK(weft_yield(weft_task_runtime(self)) == 0);
	return 0;
}

Test(deterministic, who_yields_lets_others_run)
{
	weft *rt = open_seed(test_seed());
	struct api_count done = { 0 };
	weft_ref refs[101];

	for (int i = 0; i < 100; i++)
		refs[i] = api_submit(rt, WEFT_TASK(yield_until, API_POINTER(&done)));
	refs[100] = api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&done)));
	for (int i = 0; i < 101; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	api_close(rt);
}

static int blocks(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_block_enter(rt, WEFT_BLOCK_RELEASE) == 0);
	weft_block_exit(rt);
	return weft_yield(rt);
}

Test(deterministic, there_is_one_thread)
{
	weft *rt = open_seed(test_seed());
	struct weft_stats stats = { .struct_size = sizeof stats };
	struct weft_info info = { .struct_size = sizeof info };
	const uint64_t seed = test_seed() ? test_seed() : 1;

	cr_assert_eq(api_end(rt, api_submit(rt, WEFT_TASK(blocks))), 0);
	cr_assert_eq(weft_stats(rt, &stats), 0);
	cr_assert_eq(stats.spare_threads, 0);
	cr_assert_eq(weft_info(rt, &info), 0);
	cr_assert_eq(info.workers, 0);
	cr_assert(info.options.flags & WEFT_OPEN_VIRTUAL_CLOCK);
	api_close(rt);
	rt = open_seed(seed);
	cr_assert_eq(weft_info(rt, &info), 0);
	cr_assert_eq(info.seed, seed);
	api_close(rt);
}

static void fork_yields(weft_task *self, void *arg)
{
	for (int i = 0; i < 3; i++)
		API_CHECK(weft_yield(weft_task_runtime(self)) == 0);
	api_add(arg, 1);
}

static int forks(weft_task *self)
{
	struct api_count *count = api_arg_pointer(self);
	struct weft_fork fork;

	weft_fork(self, &fork, fork_yields, count);
	API_CHECK(weft_yield(weft_task_runtime(self)) == 0);
	fork_yields(self, count);
	weft_fork_join(self, &fork);
	return 0;
}

/* One group is helped while others have tasks whose forks, on this thread, yield as well. */
Test(deterministic, helping_a_group_keeps_the_others_for_later)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		weft *rt = open_seed(test_seed() + seed);
		struct api_count ours = { 0 }, others = { 0 };
		weft_ref refs[16];
		weft_group group;

		cr_assert_eq(weft_group_create(rt, NULL, &group), 0);
		for (int i = 0; i < 16; i++)
			refs[i] = api_submit(rt,
			                     WEFT_TASK(forks, API_POINTER(i % 2 ? &ours : &others),
			                               .opts = i % 2
			                                       ? WEFT_TASK_OPTIONS(.group = group)
			                                       : NULL));
		/* When one has ended, some have begun and wait for their turn. */
		cr_assert_eq(api_get(rt, refs[0]), 0);
		cr_assert_eq(weft_group_run(rt, group, WEFT_NONE, WEFT_FOREVER), 0);
		cr_assert_eq(api_read(&ours), 16);
		for (int i = 0; i < 16; i++)
			cr_assert_eq(api_end(rt, refs[i]), 0);
		cr_assert_eq(api_read(&others), 16);
		cr_assert_eq(weft_group_destroy(rt, group), 0);
		api_close(rt);
	}
}

Test(deterministic, workers_contradict_it)
{
	weft *rt = NULL;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.flags = WEFT_OPEN_DETERMINISTIC, .workers = 1)),
	             -EINVAL);
	cr_assert_null(rt);
}

/* A value in the store, files, and what is read of them: also without another thread. */
Test(deterministic, values_and_files_work)
{
	weft *rt = open_seed(test_seed());
	static char text[100000];
	char path[] = "/tmp/weft-deterministic-XXXXXX";
	const int fd = mkstemp(path);
	struct weft_view view;
	weft_ref value, written, read;

	API_CHECK(fd >= 0 && unlink(path) == 0);
	memset(text, 'x', sizeof text);
	cr_assert_eq(weft_put(rt, text, sizeof text, &value), 0);
	cr_assert_eq(weft_write(rt, fd, 0, value, NULL, &written), 0);
	cr_assert_eq(api_end(rt, written), 0);
	cr_assert_eq(weft_read(rt, fd, 0, sizeof text, NULL, &read), 0);
	cr_assert_eq(weft_get(rt, read, WEFT_FOREVER, &view), 0);
	cr_assert_eq(view.size, sizeof text);
	cr_assert_eq(memcmp(view.data, text, sizeof text), 0);
	api_release(rt, read);
	api_release(rt, value);
	close(fd);
	api_close(rt);
}
