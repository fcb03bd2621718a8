/*
 * ray.c: Ray's microbenchmark. A call means what it means there, sizes included. The driver is the
 * main thread, which is no worker, as Ray's is none; what is an actor or a task there is one here.
 */
#include "ray.h"

#include <sys/mman.h>

#define MIB         ((size_t)1 << 20)
#define BATCH       1000
#define CHECK_EVERY 64 /* of puts that nobody reads otherwise */

/* ---- Measuring ---- */

void ray_measure(const struct bench_run *run, weft *rt, const struct ray_case *what)
{
	const uint64_t total = what->calls * what->ops;

	if (!total)
		bench_die("%s: nothing to measure", run->row);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		uint64_t good = 0;
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < what->calls; i++)
			good += what->call(rt, i);
		const int64_t ns = bench_now_ns() - start;

		bench_emit(run, rep, "", (double)ns / (double)total, total, good);
	}
}

static int measure(const struct bench_run *run, const struct ray_case *what)
{
	weft *rt = bench_open(run->threads);

	ray_measure(run, rt, what);
	bench_close(rt);
	return 0;
}

void *ray_zeros(size_t size)
{
	void *zeros = mmap(NULL, size, PROT_READ | PROT_WRITE,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (zeros == MAP_FAILED)
		bench_die("no address space of %zu bytes", size);
	return zeros;
}

void ray_zeros_free(void *zeros, size_t size)
{
	if (munmap(zeros, size))
		bench_die("munmap");
}

uint64_t ray_object_max(weft *rt)
{
	static const char some[1024];
	struct weft_store_stats stats = { .struct_size = sizeof stats };
	weft_ref ref;

	/* The store has no size before it is needed. */
	bench_must(weft_put(rt, some, sizeof some, &ref), "weft_put");
	bench_must(weft_store_stats(rt, &stats), "weft_store_stats");
	bench_must(weft_release(rt, ref), "weft_release");
	if (stats.capacity < 2 * MIB)
		bench_die("a store of %llu bytes", (unsigned long long)stats.capacity);
	return stats.capacity / 2;
}

/* ---- Small values ---- */

static weft_ref value;

static uint64_t get_call(weft *rt, uint64_t i)
{
	struct weft_view view;

	(void)i;
	bench_must(weft_get(rt, value, WEFT_FOREVER, &view), "weft_get");
	const bool good = view.size == sizeof(uint64_t) && *(const uint64_t *)view.data == BATCH;
	bench_must(weft_view_end(rt, value), "weft_view_end");
	return good;
}

int row_ray_get(const struct bench_run *run)
{
	weft *rt = bench_open(run->threads);
	const uint64_t number = BATCH;

	bench_must(weft_put(rt, &number, sizeof number, &value), "weft_put");
	ray_measure(run, rt, &(struct ray_case){ 1, bench_pick(1000000, 1000), get_call });
	bench_must(weft_release(rt, value), "weft_release");
	bench_close(rt);
	return 0;
}

static uint64_t put_call(weft *rt, uint64_t i)
{
	uint64_t back = i;
	weft_ref ref;

	bench_must(weft_put(rt, &i, sizeof i, &ref), "weft_put");
	if (i % CHECK_EVERY == 0) {
		back = ~i;
		bench_must(weft_get_copy(rt, ref, &back, sizeof back), "weft_get_copy");
	}
	bench_must(weft_release(rt, ref), "weft_release");
	return back == i;
}

int row_ray_put(const struct bench_run *run)
{
	return measure(run, &(struct ray_case){ 1, bench_pick(500000, 1000), put_call });
}

/* Ten tasks at once, each with its own puts: the sum of their answers. */
#define PUTTERS 10

static uint64_t putters(weft *rt, weft_task_fn *fn)
{
	weft_ref refs[PUTTERS];
	uint64_t good = 0;

	for (int i = 0; i < PUTTERS; i++)
		bench_must(weft_spawn(rt, fn, NULL, 0, &refs[i]), "weft_spawn");
	for (int i = 0; i < PUTTERS; i++) {
		uint64_t one = 0;

		bench_must(weft_take(rt, refs[i], &one, sizeof one), "weft_take");
		good += one;
	}
	return good;
}

static int put_many(weft_task *self)
{
	uint64_t good = 0;

	for (uint64_t i = 0; i < 100; i++)
		good += put_call(weft_task_runtime(self), i);
	return weft_return(self, &good, sizeof good);
}

static uint64_t put_multi_call(weft *rt, uint64_t i)
{
	(void)i;
	return putters(rt, put_many);
}

int row_ray_put_multi(const struct bench_run *run)
{
	return measure(run,
	               &(struct ray_case){ PUTTERS * 100ull, bench_pick(500, 2), put_multi_call });
}

/* ---- Large values ---- */

/* Put, look at both ends and the middle, release. The marks are what was written there. */
static bool put_large(weft *rt, const char *from, size_t size)
{
	struct weft_view view;
	weft_ref ref;

	bench_must(weft_put(rt, from, size, &ref), "weft_put");
	bench_must(weft_get(rt, ref, WEFT_FOREVER, &view), "weft_get");
	const char *at = view.data;
	const bool good = view.size == size && at[0] == from[0] && at[size / 2] == from[size / 2] &&
		at[size - 1] == from[size - 1];
	bench_must(weft_release(rt, ref), "weft_release");
	return good;
}

int row_ray_put_large(const struct bench_run *run)
{
	weft *rt = bench_open(run->threads);
	const uint64_t most = ray_object_max(rt) / MIB;
	const uint64_t wanted = bench_pick(800, 8);
	const uint64_t mib = wanted < most ? wanted : most;
	const size_t size = mib * MIB;
	char *zeros = ray_zeros(size);
	char *touched = bench_alloc_huge(size);

	for (int rep = -run->warmups; rep < run->reps; rep++) {
		int64_t start = bench_now_ns();
		bool good = put_large(rt, zeros, size);
		bench_emit(run, rep, "", (double)(bench_now_ns() - start) / (double)mib, mib,
		           good ? mib : 0);
		/* Written, and with other marks than the last time. */
		touched[0] = touched[size / 2] = touched[size - 1] = (char)(rep + 7);
		start = bench_now_ns();
		good = put_large(rt, touched, size);
		bench_emit(run, rep, "_touched", (double)(bench_now_ns() - start) / (double)mib,
		           mib, good ? mib : 0);
	}
	ray_zeros_free(zeros, size);
	bench_close(rt);
	return 0;
}

static size_t large_size;
static uint64_t large_puts;

/* Each put has a source of its own, as there. */
static int put_large_many(weft_task *self)
{
	uint64_t good = 0;

	for (uint64_t i = 0; i < large_puts; i++) {
		char *zeros = ray_zeros(large_size);

		good += put_large(weft_task_runtime(self), zeros, large_size);
		ray_zeros_free(zeros, large_size);
	}
	good *= large_size / MIB;
	return weft_return(self, &good, sizeof good);
}

static uint64_t put_large_multi_call(weft *rt, uint64_t i)
{
	(void)i;
	return putters(rt, put_large_many);
}

int row_ray_put_large_n(const struct bench_run *run)
{
	large_size = bench_pick(80, 1) * MIB;
	large_puts = bench_tiny() ? 1 : bench_long() ? 10 : 4;
	const uint64_t mib = PUTTERS * large_puts * (large_size / MIB);

	return measure(run, &(struct ray_case){ mib, 1, put_large_multi_call });
}

/* ---- Many calls at once ---- */

static const char ok[2] = { 'o', 'k' };

static int small_value(weft_task *self)
{
	return weft_return(self, ok, sizeof ok);
}

/* With a reference or a number, which must be the one that was meant. */
static int small_value_ref(weft_task *self)
{
	return weft_return(self, ok, bench_input_u64(self, 0) == BATCH ? sizeof ok : 0);
}

static int small_value_arg(weft_task *self)
{
	return weft_return(self, ok, *(const uint64_t *)bench_arg(self) < BATCH ? sizeof ok : 0);
}

/* What one client has in flight. Without actors they are tasks. */
struct burst {
	const weft_actor *actors;
	uint64_t actor_count;
	uint64_t in_row; /* calls of one actor before the next one's turn */
	uint64_t calls;
	weft_task_fn *fn;
	weft_ref arg; /* of small_value_ref */
};

static void burst_call(weft *rt, const struct burst *burst, uint64_t i, weft_ref *out)
{
	struct weft_call call = { .fn = burst->fn };

	if (burst->actor_count)
		call.actor = burst->actors[i / burst->in_row % burst->actor_count];
	if (burst->arg.bits) {
		call.inputs = &burst->arg;
		call.n_inputs = 1;
	} else if (burst->fn == small_value_arg) {
		call.arg = &i;
		call.arg_size = sizeof i;
	}
	bench_must(weft_submit(rt, &call, out), "weft_submit");
}

/* Call, get all in one go, release: how many said "ok". */
static uint64_t burst_run(weft *rt, const struct burst *burst)
{
	const uint64_t n = burst->calls;
	weft_ref *refs = bench_alloc(n * sizeof *refs);
	struct weft_view *views = bench_alloc(n * sizeof *views);
	uint64_t good = 0;

	for (uint64_t i = 0; i < n; i++)
		burst_call(rt, burst, i, &refs[i]);
	bench_must(weft_get_many(rt, refs, (uint32_t)n, WEFT_FOREVER, views, NULL),
	           "weft_get_many");
	for (uint64_t i = 0; i < n; i++) {
		const char *text = views[i].data;

		good += views[i].size == sizeof ok && text[0] == ok[0] && text[1] == ok[1];
	}
	bench_must(weft_release_many(rt, refs, (uint32_t)n), "weft_release_many");
	free(views);
	free(refs);
	return good;
}

/* A client that is a task or an actor. Argument: struct burst. */
static int client_body(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	struct burst burst = *(const struct burst *)bench_arg(self);
	const uint64_t number = BATCH;
	const bool with_ref = burst.fn == small_value_ref;

	if (with_ref)
		bench_must(weft_put(rt, &number, sizeof number, &burst.arg), "weft_put");
	const uint64_t good = burst_run(rt, &burst);
	if (with_ref)
		bench_must(weft_release(rt, burst.arg), "weft_release");
	return weft_return(self, &good, sizeof good);
}

static struct burst driver;

static uint64_t driver_call(weft *rt, uint64_t i)
{
	(void)i;
	return burst_run(rt, &driver);
}

/* One that is right when all of it is. */
static uint64_t driver_batch_call(weft *rt, uint64_t i)
{
	return driver_call(rt, i) == driver.calls;
}

int row_ray_tasks_batch(const struct bench_run *run)
{
	driver = (struct burst){ .calls = BATCH, .fn = small_value };
	return measure(run, &(struct ray_case){ 1, bench_pick(200, 2), driver_batch_call });
}

int row_ray_tasks_async(const struct bench_run *run)
{
	driver = (struct burst){ .calls = BATCH, .fn = small_value };
	return measure(run, &(struct ray_case){ BATCH, bench_pick(200, 2), driver_call });
}

int row_ray_tasks_sync(const struct bench_run *run)
{
	driver = (struct burst){ .calls = 1, .fn = small_value };
	return measure(run, &(struct ray_case){ 1, bench_pick(20000, 100), driver_call });
}

/* ---- Waiting, references in objects ---- */

/* The list shrinks by one reference a call, in its order. */
static uint64_t wait_call(weft *rt, uint64_t i)
{
	weft_ref all[BATCH];
	weft_ref left[BATCH];
	bool ready[BATCH];
	uint64_t taken = 0;

	(void)i;
	for (uint32_t k = 0; k < BATCH; k++) {
		bench_must(weft_spawn(rt, small_value, NULL, 0, &all[k]), "weft_spawn");
		left[k] = all[k];
	}
	for (uint32_t n = BATCH; n > 0; n--) {
		bench_must(weft_wait(rt, left, n, 1, WEFT_FOREVER, ready), "weft_wait");
		uint32_t at = 0;
		while (at < n && !ready[at])
			at++;
		if (at == n)
			bench_die("weft_wait: nothing is ready");
		taken += weft_peek(rt, left[at]) == 1;
		for (; at + 1 < n; at++)
			left[at] = left[at + 1];
	}
	bench_must(weft_release_many(rt, all, BATCH), "weft_release_many");
	return taken == BATCH;
}

int row_ray_wait_1k(const struct bench_run *run)
{
	return measure(run, &(struct ray_case){ 1, bench_pick(50, 1), wait_call });
}

#define REFS 10000

static int make_refs(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref *refs = bench_alloc(REFS * sizeof *refs);

	for (uint64_t i = 0; i < REFS; i++)
		bench_must(weft_put(rt, &i, sizeof i, &refs[i]), "weft_put");
	const int rc = weft_task_output_refs(self, 0, refs, REFS);
	bench_must(weft_release_many(rt, refs, REFS), "weft_release_many");
	free(refs);
	return rc;
}

/* The getter has counts of its own of all of them, as it does there. */
static uint64_t get_refs_call(weft *rt, uint64_t i)
{
	struct weft_view view;
	uint64_t one = ~(uint64_t)0;

	bench_must(weft_get(rt, value, WEFT_FOREVER, &view), "weft_get");
	const weft_ref *refs = view.data;
	const uint32_t n = (uint32_t)(view.size / sizeof *refs);
	bench_must(weft_retain_many(rt, refs, n), "weft_retain_many");
	bench_must(weft_get_copy(rt, refs[i % n], &one, sizeof one), "weft_get_copy");
	bench_must(weft_release_many(rt, refs, n), "weft_release_many");
	bench_must(weft_view_end(rt, value), "weft_view_end");
	return n == REFS && one == i % n;
}

int row_ray_get_10k_refs(const struct bench_run *run)
{
	weft *rt = bench_open(run->threads);

	bench_must(weft_spawn(rt, make_refs, NULL, 0, &value), "weft_spawn");
	ray_measure(run, rt, &(struct ray_case){ 1, bench_pick(200, 2), get_refs_call });
	bench_must(weft_release(rt, value), "weft_release");
	bench_close(rt);
	return 0;
}

/* ---- Actors ---- */

/* As many as on the machine of the published figures: half of its 64 CPUs. */
#define ACTORS 32

static const struct weft_actor_class plain =
	WEFT_ACTOR_CLASS(.name = "plain", .max_pending = WEFT_PENDING_UNLIMITED);
static const struct weft_actor_class wide =
	WEFT_ACTOR_CLASS(.name = "wide", .max_pending = WEFT_PENDING_UNLIMITED,
                         .max_concurrency = 16);
/* What Ray calls an async actor: as many calls at once as it lets one have. */
static const struct weft_actor_class async =
	WEFT_ACTOR_CLASS(.name = "async", .max_pending = WEFT_PENDING_UNLIMITED,
                         .max_concurrency = 1000);

static weft_actor servers[ACTORS], clients[ACTORS];
static struct burst bursts[ACTORS];
static uint64_t client_count;
static bool clients_are_actors;

static void make(weft *rt, const struct weft_actor_class *class_, weft_actor *out, uint64_t n)
{
	if (n > ACTORS)
		bench_die("at most %d actors", ACTORS);
	for (uint64_t i = 0; i < n; i++)
		bench_must(weft_actor_create(rt, class_, NULL, NULL, &out[i]), "weft_actor_create");
}

static void unmake(weft *rt, weft_actor *actors, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		bench_must(weft_actor_release(rt, actors[i]), "weft_actor_release");
}

/* The driver starts all clients and gets from all. */
static uint64_t clients_call(weft *rt, uint64_t i)
{
	weft_ref refs[ACTORS];
	uint64_t good = 0;

	(void)i;
	for (uint64_t k = 0; k < client_count; k++) {
		const struct weft_call call = {
			.fn = client_body,
			.arg = &bursts[k],
			.arg_size = sizeof bursts[k],
			.actor = clients_are_actors ? clients[k] : WEFT_ACTOR_NONE,
		};
		bench_must(weft_submit(rt, &call, &refs[k]), "weft_submit");
	}
	for (uint64_t k = 0; k < client_count; k++) {
		uint64_t one = 0;

		bench_must(weft_take(rt, refs[k], &one, sizeof one), "weft_take");
		good += one;
	}
	return good;
}

/* The driver itself calls one actor. */
static int driver_row(const struct bench_run *run, const struct weft_actor_class *class_,
                      weft_task_fn *fn, uint64_t burst, uint64_t calls)
{
	weft *rt = bench_open(run->threads);

	make(rt, class_, servers, 1);
	driver = (struct burst){ servers, 1, 1, burst, fn, WEFT_NONE };
	ray_measure(run, rt, &(struct ray_case){ burst, calls, driver_call });
	unmake(rt, servers, 1);
	bench_close(rt);
	return 0;
}

/* `n` clients (actors or tasks) share `targets` actors, or have one each. */
struct many {
	const struct weft_actor_class *servers; /* NULL: the clients call tasks */
	uint64_t targets;
	uint64_t n;
	uint64_t calls; /* of each client */
	uint64_t in_row;
	weft_task_fn *fn;
	bool actors, own;
};

static int many_row(const struct bench_run *run, const struct many *many)
{
	weft *rt = bench_open(run->threads);

	client_count = many->n;
	clients_are_actors = many->actors;
	if (many->servers)
		make(rt, many->servers, servers, many->targets);
	if (many->actors)
		make(rt, &plain, clients, many->n);
	for (uint64_t k = 0; k < many->n; k++)
		bursts[k] = (struct burst){ .actors = many->own ? &servers[k] : servers,
			                    .actor_count = many->own ? 1 : many->targets,
			                    .in_row = many->in_row,
			                    .calls = many->calls,
			                    .fn = many->fn };
	ray_measure(run, rt, &(struct ray_case){ many->n * many->calls, 1, clients_call });
	if (many->actors)
		unmake(rt, clients, many->n);
	if (many->servers)
		unmake(rt, servers, many->targets);
	bench_close(rt);
	return 0;
}

int row_ray_tasks_multi(const struct bench_run *run)
{
	return many_row(run,
	                &(struct many){ .n = 4,
	                                .calls = bench_pick(10000, 100),
	                                .in_row = 1,
	                                .fn = small_value,
	                                .actors = true });
}

int row_ray_actor_sync(const struct bench_run *run)
{
	return driver_row(run, &plain, small_value, 1, bench_pick(20000, 100));
}

int row_ray_actor_async(const struct bench_run *run)
{
	return driver_row(run, &plain, small_value, BATCH, bench_pick(200, 2));
}

int row_ray_actor_wide(const struct bench_run *run)
{
	return driver_row(run, &wide, small_value, BATCH, bench_pick(200, 2));
}

static int one_to_many(const struct bench_run *run, const struct weft_actor_class *class_)
{
	const uint64_t each = bench_pick(5000, 20);

	return many_row(run,
	                &(struct many){ .servers = class_,
	                                .targets = ACTORS,
	                                .n = 1,
	                                .calls = ACTORS * each,
	                                .in_row = each,
	                                .fn = small_value,
	                                .actors = true });
}

static int many_to_many(const struct bench_run *run, const struct weft_actor_class *class_)
{
	return many_row(run,
	                &(struct many){ .servers = class_,
	                                .targets = ACTORS,
	                                .n = 4,
	                                .calls = bench_pick(5000, 100),
	                                .in_row = 1,
	                                .fn = small_value });
}

int row_ray_actor_1n(const struct bench_run *run)
{
	return one_to_many(run, &plain);
}

int row_ray_actor_nn(const struct bench_run *run)
{
	return many_to_many(run, &plain);
}

int row_ray_actor_nn_arg(const struct bench_run *run)
{
	return many_row(run,
	                &(struct many){ .servers = &plain,
	                                .targets = ACTORS,
	                                .n = ACTORS,
	                                .calls = bench_pick(BATCH, 20),
	                                .in_row = 1,
	                                .fn = small_value_ref,
	                                .actors = true,
	                                .own = true });
}

int row_ray_async_sync(const struct bench_run *run)
{
	return driver_row(run, &async, small_value, 1, bench_pick(20000, 100));
}

int row_ray_async_async(const struct bench_run *run)
{
	return driver_row(run, &async, small_value, BATCH, bench_pick(200, 2));
}

int row_ray_async_args(const struct bench_run *run)
{
	return driver_row(run, &async, small_value_arg, BATCH, bench_pick(200, 2));
}

int row_ray_async_1n(const struct bench_run *run)
{
	return one_to_many(run, &async);
}

int row_ray_async_nn(const struct bench_run *run)
{
	return many_to_many(run, &async);
}

/* ---- Placement groups ---- */

#define GROUPS 100

static uint64_t placement_call(weft *rt, uint64_t i)
{
	static const struct weft_resource part = { "custom", 0.001 };
	const struct weft_bundle bundle = { .resources = &part, .n_resources = 1 };
	weft_placement groups[GROUPS];
	uint64_t good = 0;

	(void)i;
	for (int k = 0; k < GROUPS; k++)
		bench_must(weft_placement_create(rt, NULL, &bundle, 1, &groups[k]),
		           "weft_placement_create");
	for (int k = 0; k < GROUPS; k++)
		good += weft_placement_wait(rt, groups[k], WEFT_FOREVER) == 0;
	const bool all = weft_placements(rt, NULL, 0) == GROUPS;
	for (int k = 0; k < GROUPS; k++)
		bench_must(weft_placement_remove(rt, groups[k]), "weft_placement_remove");
	return all && weft_placements(rt, NULL, 0) == 0 ? good : 0;
}

int row_ray_placement(const struct bench_run *run)
{
	static const struct weft_resource custom = { "custom", 100 };
	const struct weft_options options = {
		.struct_size = sizeof options,
		.workers = run->threads,
		.resources = &custom,
		.n_resources = 1,
	};
	weft *rt;

	bench_must(weft_open(&rt, &options), "weft_open");
	ray_measure(run, rt, &(struct ray_case){ GROUPS, bench_pick(50, 1), placement_call });
	bench_close(rt);
	return 0;
}
