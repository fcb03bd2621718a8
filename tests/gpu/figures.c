/*
 * Goal: what weft promises of a device's speed, measured on a real one: each row is a figure, its
 * bound and whether it was met. Method: a plain program that measures the back end by itself and
 * weft on top of it in the same run, on the same device. `figures BACKEND` runs it on another one,
 * so that the program itself is known to be right; what it measures there says nothing, and no
 * bound counts. Exit: 0 all were met, or another back end; 77 no card; 1 one was missed.
 */
#include <inttypes.h>
#include <time.h>

#include "../../engine/include/weft_cuda.h"
#include "api.h"
#include "devices.h"

#define ROUNDS  200u
#define CHAIN   1000u
#define BATCHES 24u
#define BATCH   (16ul << 20)
#define SMALL   64u /* tasks of a small kernel */

/* For `loops` times: x = x * 3 + 1; one thread, so that many of it fit on a device at once. */
static const char spin_ptx[] = ".version 6.3\n"
			       ".target sm_70\n"
			       ".address_size 64\n"
			       ".visible .entry spin(.param .u64 p_at, .param .u32 p_loops)\n"
			       "{\n"
			       ".reg .pred %p<2>;\n"
			       ".reg .b32 %r<4>;\n"
			       ".reg .b64 %rd<3>;\n"
			       "ld.param.u64 %rd1, [p_at];\n"
			       "ld.param.u32 %r1, [p_loops];\n"
			       "mov.u32 %r2, 1;\n"
			       "LOOP:\n"
			       "setp.eq.u32 %p1, %r1, 0;\n"
			       "@%p1 bra DONE;\n"
			       "mad.lo.u32 %r2, %r2, 3, 1;\n"
			       "sub.u32 %r1, %r1, 1;\n"
			       "bra LOOP;\n"
			       "DONE:\n"
			       "setp.eq.u64 %p1, %rd1, 0;\n"
			       "@%p1 bra END;\n"
			       "cvta.to.global.u64 %rd2, %rd1;\n"
			       "st.global.u32 [%rd2], %r2;\n"
			       "END:\n"
			       "ret;\n"
			       "}\n";

static void twin_spin(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	const uint64_t at = *(const uint64_t *)launch->args[0];
	const uint32_t loops = *(const uint32_t *)launch->args[1];
	uint32_t x = 1;

	for (uint32_t i = 0; i < loops; i++)
		x = x * 3 + 1;
	if (at)
		*(uint32_t *)weft_cuda_twin_memory(cuda, at, 4) = x;
}

static const struct weft_cuda_kernel spin = {
	.image = spin_ptx, .image_bytes = sizeof spin_ptx, .name = "spin", .twin = twin_spin
};

static int launch_spin(weft_task *self, uint64_t at, uint32_t loops)
{
	static const uint16_t sizes[] = { 8, 4 };
	void *args[] = { &at, &loops };
	const struct weft_cuda_launch launch = {
		.kernel = &spin, .n_args = 2, .args = args, .args_bytes = sizes
	};

	return weft_cuda_launch(self, &launch);
}

struct bench {
	weft *rt;
	weft_cuda *cuda;
	const struct wf_device_ops *ops;
	struct wf_device_backend *dev;
	struct wf_device_stream *stream, *other;
	struct wf_device_event *event;
	struct wf_device_kernel *kernel; /* NULL: twins run */
	bool counts;
	uint32_t missed;
	uint32_t long_loops; /* some 300 us */
};

/* What is promised, in the order in which it is measured. */
enum figure {
	START,
	AWAKE,
	ASLEEP,
	IN_CHAIN,
	DOORBELLS,
	PIPELINE,
	QUARTERS,
	BUSY,
	FIGURES,
};

static const struct {
	const char *name, *unit;
	bool at_most;
	double bound;
} promised[FIGURES] = {
	[START] = { "from nothing to the first task's end", "ms", true, 300 },
	[AWAKE] = { "done, a worker awake, above the back end", "us", true, 5 },
	[ASLEEP] = { "done, all asleep, above host function + wake", "us", true, 5 },
	[IN_CHAIN] = { "a task of a chain of 1000, above a launch", "us", true, 2 },
	[DOORBELLS] = { "doorbells of that chain", "", true, 1 },
	[PIPELINE] = { "batches up, a kernel, down: of the copies alone", "", false, 0.9 },
	[QUARTERS] = { "four quarter grants beside whole ones", "x", false, 3.5 },
	[BUSY] = { "processors busy while the device works", "", true, 0.05 },
};

static void print_row(enum figure i, const char *value, const char *what)
{
	printf("%-47s %10s %-2s (%s %.2f) %s\n", promised[i].name, value, promised[i].unit,
	       promised[i].at_most ? "<=" : ">=", promised[i].bound, what);
	fflush(stdout);
}

static void row(struct bench *b, enum figure i, double value)
{
	const bool met =
		promised[i].at_most ? value <= promised[i].bound : value >= promised[i].bound;
	char text[32];

	snprintf(text, sizeof text, "%.2f", value);
	print_row(i, text, !b->counts ? "not a card" : met ? "met" : "MISSED");
	b->missed += b->counts && !met;
}

static int compare(const void *a, const void *b)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static double p50_us(int64_t *ns, uint32_t n)
{
	qsort(ns, n, sizeof *ns, compare);
	return (double)ns[n / 2] / 1e3;
}

/* ---- The back end by itself ------------------------------------------------------------------ */

static void raw_twin(void *const *args, const struct wf_device_launch *l)
{
	(void)args;
	(void)l;
}

static void raw_launch(const struct bench *b)
{
	uint64_t at = 0;
	uint32_t loops = 0;
	void *args[] = { &at, &loops };
	static const uint16_t sizes[] = { 8, 4 };
	const struct wf_device_launch l = { .struct_size = sizeof l,
		                            .kernel = b->kernel,
		                            .twin = raw_twin,
		                            .grid = { 1, 1, 1 },
		                            .block = { 1, 1, 1 },
		                            .args_count = 2,
		                            .args = args,
		                            .args_bytes = sizes };

	API_CHECK(b->ops->launch(b->dev, b->stream, &l) == 0);
}

static void raw_wait(const struct bench *b, struct wf_device_stream *stream)
{
	int rc;

	API_CHECK(b->ops->event_record(b->dev, b->event, stream) == 0);
	while ((rc = b->ops->event_query(b->dev, b->event)) == -EAGAIN)
		;
	API_CHECK(rc == 0);
}

static double raw_latency_us(const struct bench *b)
{
	static int64_t ns[ROUNDS];

	for (uint32_t i = 0; i < ROUNDS; i++) {
		const int64_t start = api_now();

		raw_launch(b);
		raw_wait(b, b->stream);
		ns[i] = api_now() - start;
	}
	return p50_us(ns, ROUNDS);
}

static void wake(void *arg)
{
	struct wf_a32 *rung = arg;

	wf_store_release(rung, 1); /* release: the waiter reads the clock afterwards */
	wf_futex_wake(rung, 1);
}

/* A host function behind the work, and a thread that sleeps for it. */
static double raw_wake_us(const struct bench *b)
{
	static int64_t ns[ROUNDS];

	for (uint32_t i = 0; i < ROUNDS; i++) {
		struct wf_a32 rung = { 0 };
		const int64_t start = api_now();

		raw_launch(b);
		API_CHECK(b->ops->stream_doorbell(b->dev, b->stream, wake, &rung) == 0);
		while (!wf_load_acquire(&rung)) /* acquire: with the release of wake() */
			wf_futex_wait(&rung, 0, WF_FOREVER);
		ns[i] = api_now() - start;
	}
	return p50_us(ns, ROUNDS);
}

static double raw_chain_us(const struct bench *b)
{
	const int64_t start = api_now();

	for (uint32_t i = 0; i < CHAIN; i++)
		raw_launch(b);
	raw_wait(b, b->stream);
	return (double)(api_now() - start) / 1e3 / CHAIN;
}

/* Both ways at once, of pinned memory: bytes each way per second. */
static double raw_copies(const struct bench *b, char *up, char *down)
{
	uint64_t at[2];
	int64_t start = 0;

	for (int i = 0; i < 2; i++)
		API_CHECK(b->ops->memory_alloc(b->dev, i ? b->other : b->stream, BATCH, &at[i]) ==
		          0);
	for (uint32_t i = 0; i < BATCHES + 2; i++) {
		/* The first two warm up. */
		if (i == 2) {
			raw_wait(b, b->stream);
			raw_wait(b, b->other);
			start = api_now();
		}
		API_CHECK(b->ops->copy_to_device(b->dev, b->stream, at[0], up, BATCH) == 0);
		API_CHECK(b->ops->copy_to_host(b->dev, b->other, down, at[1], BATCH) == 0);
	}
	raw_wait(b, b->stream);
	raw_wait(b, b->other);
	const double rate = (double)BATCHES * BATCH / ((double)(api_now() - start) / 1e9);

	for (int i = 0; i < 2; i++)
		API_CHECK(b->ops->memory_free(b->dev, i ? b->other : b->stream, at[i]) == 0);
	return rate;
}

/* ---- Bodies ---------------------------------------------------------------------------------- */

struct moment {
	int64_t begun, done;
	struct api_count over;
};

static int begins(weft_task *self)
{
	struct moment *m = api_arg_pointer(self);

	m->begun = api_now();
	return launch_spin(self, 0, 0);
}

static int ends(weft_task *self)
{
	struct moment *m = api_arg_pointer(self);

	m->done = api_now();
	api_set(&m->over, 1);
	return 0;
}

/* Keeps a worker awake, in the scheduler's loop. */
static int yields(weft_task *self)
{
	const struct api_count *stop = api_arg_pointer(self);

	while (!api_read(stop))
		API_CHECK(weft_yield(weft_task_runtime(self)) == 0);
	return 0;
}

static int spins(weft_task *self)
{
	return launch_spin(self, 0, *(const uint32_t *)weft_task_arg(self, NULL));
}

struct batch {
	char *up, *down;
};

static int moves(weft_task *self)
{
	const struct batch *batch = weft_task_arg(self, NULL);
	uint64_t at = 0;
	int rc = weft_cuda_alloc(self, BATCH, &at);

	if (!rc)
		rc = weft_cuda_copy_in(self, at, batch->up, BATCH);
	if (!rc)
		rc = launch_spin(self, at, 1);
	return rc ? rc : weft_cuda_copy_out(self, batch->down, at, BATCH);
}

/* ---- Figures --------------------------------------------------------------------------------- */

#define SHARE(s, mem) .opts = WEFT_TASK_OPTIONS(.gpus = (s), .gpu_mem = (mem))

static double latency_us(const struct bench *b, bool awake)
{
	static int64_t ns[ROUNDS];
	struct api_count stop = { 0 };
	weft_ref spinner = { 0 };

	if (awake)
		spinner = api_submit(b->rt, WEFT_TASK(yields, API_POINTER(&stop)));
	for (uint32_t i = 0; i < ROUNDS; i++) {
		struct moment m = { .begun = 0 };
		weft_ref first = api_submit(b->rt, WEFT_TASK(begins, API_POINTER(&m), SHARE(1, 0)));
		weft_ref last =
			api_submit(b->rt, WEFT_TASK(ends, API_POINTER(&m), WEFT_AFTER(first)));

		API_CHECK(api_end(b->rt, last) == 0 && api_end(b->rt, first) == 0);
		ns[i] = m.done - m.begun;
	}
	api_set(&stop, 1);
	if (awake)
		API_CHECK(api_end(b->rt, spinner) == 0);
	return p50_us(ns, ROUNDS);
}

static double chain_us(struct bench *b, double *wakes)
{
	static weft_ref refs[CHAIN];
	static const struct weft_task_options whole = { .struct_size = sizeof whole, .gpus = 1 };
	struct weft_cuda_info info = { .struct_size = sizeof info };
	const uint32_t none = 0;
	weft_ref event = api_event(b->rt);

	for (uint32_t i = 0; i < CHAIN; i++)
		refs[i] =
			api_submit(b->rt,
		                   WEFT_TASK(spins, WEFT_ARG(none),
		                             WEFT_AFTER(i ? refs[i - 1] : event), .opts = &whole));
	API_CHECK(weft_cuda_info(b->rt, 0, &info) == 0);
	const uint64_t before = info.doorbells;
	const int64_t start = api_now();

	API_CHECK(weft_event_set(b->rt, event, NULL, 0) == 0);
	API_CHECK(api_end(b->rt, refs[CHAIN - 1]) == 0);
	const double us = (double)(api_now() - start) / 1e3 / CHAIN;

	for (uint32_t i = 0; i + 1 < CHAIN; i++)
		api_release(b->rt, refs[i]);
	api_release(b->rt, event);
	API_CHECK(weft_cuda_info(b->rt, 0, &info) == 0);
	*wakes = (double)(info.doorbells - before);
	return us;
}

static double pipeline(const struct bench *b, char *memory)
{
	weft_ref refs[BATCHES];
	int64_t start = 0;

	for (uint32_t turn = 0; turn < 2; turn++) {
		start = api_now();
		for (uint32_t i = 0; i < BATCHES; i++) {
			/* Three in flight; each has memory of its own. */
			const struct batch batch = { memory + i % 3 * 2 * BATCH,
				                     memory + (i % 3 * 2 + 1) * BATCH };

			if (i >= 3)
				API_CHECK(api_end(b->rt, refs[i - 3]) == 0);
			refs[i] = api_submit(b->rt,
			                     WEFT_TASK(moves, WEFT_ARG(batch), SHARE(0.33, BATCH)));
		}
		for (uint32_t i = BATCHES - 3; i < BATCHES; i++)
			API_CHECK(api_end(b->rt, refs[i]) == 0);
	}
	return (double)BATCHES * BATCH / ((double)(api_now() - start) / 1e9);
}

static double small_kernels_s(const struct bench *b, double share)
{
	weft_ref refs[SMALL];
	const int64_t start = api_now();

	for (uint32_t i = 0; i < SMALL; i++)
		refs[i] = api_submit(b->rt,
		                     WEFT_TASK(spins, WEFT_ARG(b->long_loops), SHARE(share, 4096)));
	for (uint32_t i = 0; i < SMALL; i++)
		API_CHECK(api_end(b->rt, refs[i]) == 0);
	return (double)(api_now() - start) / 1e9;
}

/* So many loops that one kernel takes long beside its launch. */
static void calibrate(struct bench *b)
{
	for (b->long_loops = 1000; b->long_loops < 1u << 28; b->long_loops *= 2) {
		const int64_t start = api_now();

		API_CHECK(api_end(b->rt,
		                  api_submit(b->rt,
		                             WEFT_TASK(spins, WEFT_ARG(b->long_loops),
		                                       SHARE(1, 0)))) == 0);
		if (api_now() - start > 400000)
			break;
	}
}

/* Processor time of the process while the device works for long. */
static double busy_cpu(const struct bench *b)
{
	const uint32_t loops = b->long_loops < 1u << 21 ? b->long_loops * 1000 : 1u << 31;
	struct timespec before, after;

	weft_ref ref = api_submit(b->rt, WEFT_TASK(spins, WEFT_ARG(loops), SHARE(1, 0)));
	const int64_t start = api_now();

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	API_CHECK(api_end(b->rt, ref) == 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	const double cpu = (double)(after.tv_sec - before.tv_sec) * 1e9 +
		(double)(after.tv_nsec - before.tv_nsec);

	return cpu / (double)(api_now() - start);
}

static void measure(struct bench *b)
{
	double wakes = 0, us;
	void *memory = NULL;

	API_CHECK(b->ops->stream_create(b->dev, 0, WF_DEVICE_COMPUTE, 0, &b->stream) == 0);
	API_CHECK(b->ops->stream_create(b->dev, 0, WF_DEVICE_DOWNLOAD, 0, &b->other) == 0);
	API_CHECK(b->ops->event_create(b->dev, 0, &b->event) == 0);
	if (b->counts)
		API_CHECK(b->ops->kernel_get(b->dev, 0, spin_ptx, sizeof spin_ptx, "spin",
		                             &b->kernel) == 0);
	(void)raw_latency_us(b);
	us = raw_latency_us(b);
	row(b, AWAKE, latency_us(b, true) - us);
	us = raw_wake_us(b);
	row(b, ASLEEP, latency_us(b, false) - us);
	us = raw_chain_us(b);
	(void)chain_us(b, &wakes);
	row(b, IN_CHAIN, chain_us(b, &wakes) - us);
	row(b, DOORBELLS, wakes);
	API_CHECK(weft_cuda_host_alloc(b->rt, 6 * BATCH, &memory) == 0);
	memset(memory, 1, 6 * BATCH);
	const double bound = raw_copies(b, memory, (char *)memory + BATCH);

	row(b, PIPELINE, pipeline(b, memory) / bound);
	weft_cuda_host_free(b->rt, memory);
	calibrate(b);
	(void)small_kernels_s(b, 1);
	us = small_kernels_s(b, 1);
	row(b, QUARTERS, us / small_kernels_s(b, 0.25));
	row(b, BUSY, busy_cpu(b));
	b->ops->event_destroy(b->dev, b->event);
	b->ops->stream_destroy(b->dev, b->stream);
	b->ops->stream_destroy(b->dev, b->other);
}

int main(int argc, char **argv)
{
	const struct weft_cuda_options how = { .struct_size = sizeof how,
		                               .backend = argc > 1 ? argv[1] : "cuda" };
	struct bench b = { .counts = strncmp(how.backend, "cuda", 4) == 0 };
	const uint32_t none = 0;
	const int64_t start = api_now();

	unsetenv("WEFT_GPU");
	const int rc = weft_cuda_open(&b.cuda, &how);

	if (rc == -ENODEV) {
		for (int i = 0; i < FIGURES; i++)
			print_row((enum figure)i, "-", "not measured");
		printf("no card was found: no figure was measured\n");
		return 77;
	}
	API_CHECK(rc == 0 && weft_cuda_count(b.cuda) > 0);
	API_CHECK(weft_open(&b.rt, WEFT_OPTIONS(.workers = 2, .devices = b.cuda)) == 0);
	b.ops = b.cuda->ops;
	b.dev = b.cuda->backend;
	API_CHECK(api_end(b.rt, api_submit(b.rt, WEFT_TASK(spins, WEFT_ARG(none), SHARE(1, 0)))) ==
	          0);
	row(&b, START, (double)(api_now() - start) / 1e6);
	measure(&b);
	api_close(b.rt);
	API_CHECK(weft_cuda_close(b.cuda) == 0);
	return b.missed != 0;
}
