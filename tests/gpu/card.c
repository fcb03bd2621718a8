/*
 * Goal: what is promised of devices holds on a real one, and what it costs there.
 * Method: a plain program that does everything once with a check of each byte, measures, prints one
 * row for each thing, and at last follows a bad address, which costs the process its device. `card
 * BACKEND` runs it on another back end, so that the program itself is known to be right; with a
 * second word nothing is done that a checker of memory would report; without a card it says so and
 * exits 77. Figures with a bound are in figures.c.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdarg.h>

#include "../../engine/include/weft_cuda.h"
#include "api.h"

#define WORDS  (4u << 20)
#define BYTES  (WORDS * 4ul)
#define ROUNDS 200u

/* at[i] += add, for i below n. */
static const char add_ptx[] = ".version 6.3\n"
			      ".target sm_70\n"
			      ".address_size 64\n"
			      ".visible .entry add(.param .u64 p_at, .param .u32 p_n,\n"
			      "                    .param .u32 p_add)\n"
			      "{\n"
			      ".reg .pred %p<2>;\n"
			      ".reg .b32 %r<9>;\n"
			      ".reg .b64 %rd<5>;\n"
			      "ld.param.u64 %rd1, [p_at];\n"
			      "ld.param.u32 %r1, [p_n];\n"
			      "ld.param.u32 %r2, [p_add];\n"
			      "mov.u32 %r3, %ctaid.x;\n"
			      "mov.u32 %r4, %ntid.x;\n"
			      "mov.u32 %r5, %tid.x;\n"
			      "mad.lo.s32 %r6, %r3, %r4, %r5;\n"
			      "setp.ge.u32 %p1, %r6, %r1;\n"
			      "@%p1 bra DONE;\n"
			      "cvta.to.global.u64 %rd2, %rd1;\n"
			      "mul.wide.u32 %rd3, %r6, 4;\n"
			      "add.s64 %rd4, %rd2, %rd3;\n"
			      "ld.global.u32 %r7, [%rd4];\n"
			      "add.s32 %r8, %r7, %r2;\n"
			      "st.global.u32 [%rd4], %r8;\n"
			      "DONE:\n"
			      "ret;\n"
			      "}\n";

static void twin_add(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	const uint32_t n = *(const uint32_t *)launch->args[1];
	uint32_t *words = weft_cuda_twin_memory(cuda, *(const uint64_t *)launch->args[0], n * 4ul);

	API_CHECK(words || !n);
	for (uint32_t i = 0; i < n; i++)
		words[i] += *(const uint32_t *)launch->args[2];
}

static const struct weft_cuda_kernel add = {
	.image = add_ptx, .image_bytes = sizeof add_ptx, .name = "add", .twin = twin_add
};

static int launch_add(weft_task *self, uint64_t at, uint32_t n, uint32_t what)
{
	static const uint16_t sizes[] = { 8, 4, 4 };
	void *args[] = { &at, &n, &what };
	const struct weft_cuda_launch launch = { .kernel = &add,
		                                 .grid = { n / 256 + 1 },
		                                 .block = { 256 },
		                                 .n_args = 3,
		                                 .args = args,
		                                 .args_bytes = sizes };

	return weft_cuda_launch(self, &launch);
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static void WEFT_PRINTF(2, 3) row(const char *name, const char *format, ...)
{
	va_list args;

	printf("%-32s ", name);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

static int compare(const void *a, const void *b)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void row_ns(const char *name, int64_t *ns, uint32_t n)
{
	qsort(ns, n, sizeof *ns, compare);
	row(name, "p50 %" PRId64 " ns, p99 %" PRId64 " ns, n %u", ns[n / 2], ns[n * 99 / 100], n);
}

static void row_rate(const char *name, int64_t ns, double bytes)
{
	row(name, "%.2f GB/s", bytes / (double)(ns ? ns : 1));
}

/* ---- Bodies ---------------------------------------------------------------------------------- */

struct plan {
	uint32_t *host;
	int64_t *ns;
	uint32_t rounds;
	bool up, down;
};

static int nothing(weft_task *self)
{
	return launch_add(self, 0, 0, 0);
}

static int launches(weft_task *self)
{
	const struct plan *plan = api_arg_pointer(self);

	for (uint32_t i = 0; i < plan->rounds; i++) {
		const int64_t start = api_now();

		API_CHECK(launch_add(self, 0, 0, 0) == 0);
		plan->ns[i] = api_now() - start;
	}
	return 0;
}

/* Pinned memory or any other, up and down as often as the plan says. */
static int copies(weft_task *self)
{
	const struct plan *plan = api_arg_pointer(self);
	uint64_t at = 0;
	int rc = weft_cuda_alloc(self, BYTES, &at);

	for (uint32_t i = 0; i < plan->rounds && !rc; i++) {
		if (plan->up)
			rc = weft_cuda_copy_in(self, at, plan->host, BYTES);
		if (!rc && plan->down)
			rc = weft_cuda_copy_out(self, plan->host, at, BYTES);
	}
	return rc;
}

/* Up, 20 times a graph that adds one, down. */
static int graphs(weft_task *self)
{
	static const uint16_t sizes[] = { 8, 4, 4 };
	const struct plan *plan = api_arg_pointer(self);
	weft_cuda_graph *graph = NULL;
	uint64_t at = 0;
	uint32_t n = WORDS, one = 1;
	void *args[] = { &at, &n, &one };
	const struct weft_cuda_launch launch = { .kernel = &add,
		                                 .grid = { WORDS / 256 },
		                                 .block = { 256 },
		                                 .n_args = 3,
		                                 .args = args,
		                                 .args_bytes = sizes };
	const struct weft_cuda_launch chain[] = { launch, launch };
	int rc = weft_cuda_alloc(self, BYTES, &at);

	if (!rc)
		rc = weft_cuda_copy_in(self, at, plan->host, BYTES);
	if (!rc)
		rc = weft_cuda_graph_create(self, chain, 2, &graph);
	for (uint32_t i = 0; i < 10 && !rc; i++)
		rc = weft_cuda_graph_launch(self, graph);
	/* Of memory that is not pinned: it waits for the stream, so the graph may go. */
	if (!rc)
		rc = weft_cuda_copy_out(self, plan->host, at, BYTES);
	weft_cuda_graph_destroy(graph);
	return rc;
}

/* Input 0 plus 3, beside it. */
static int stays(weft_task *self)
{
	uint64_t from = 0, to = 0;
	size_t bytes = 0;
	uint32_t *copy = NULL;
	int rc = weft_cuda_input(self, 0, &from, &bytes);

	API_CHECK(rc || bytes == BYTES);
	if (!rc)
		rc = weft_cuda_output(self, 0, BYTES, &to);
	/* Through the host, which every device can do. */
	if (!rc)
		rc = weft_task_alloc(self, BYTES, (void **)&copy);
	if (!rc)
		rc = weft_cuda_copy_out(self, copy, from, BYTES);
	if (!rc)
		rc = weft_cuda_copy_in(self, to, copy, BYTES);
	return rc ? rc : launch_add(self, to, WORDS, 3);
}

static int misuse(weft_task *self)
{
	static const struct weft_cuda_kernel missing = { .image = add_ptx,
		                                         .image_bytes = sizeof add_ptx,
		                                         .name = "no_such_kernel" };
	struct weft_cuda_grant grant = { .struct_size = sizeof grant };
	uint64_t at;

	API_CHECK(weft_cuda_grant(self, 0, &grant) == 0);
	API_CHECK(weft_cuda_alloc(self, grant.memory + 1, &at) == -ENOMEM);
	API_CHECK(weft_cuda_launch(self, &(struct weft_cuda_launch){ .kernel = &missing }) < 0);
	return nothing(self);
}

static int bad_address(weft_task *self)
{
	return launch_add(self, 4096, 1, 1);
}

/* ---- Checks ---------------------------------------------------------------------------------- */

static int run(weft *rt, weft_task_fn *fn, struct plan *plan)
{
	return api_end(
		rt,
		api_submit(rt,
	                   WEFT_TASK(fn, API_POINTER(plan), .opts = WEFT_TASK_OPTIONS(.gpus = 1))));
}

static void check_words(const uint32_t *words, uint32_t add_to)
{
	for (uint32_t i = 0; i < WORDS; i++)
		API_CHECK(words[i] == i + add_to);
}

static void times(weft *rt)
{
	static int64_t ns[ROUNDS];
	struct plan plan = { .ns = ns, .rounds = ROUNDS };

	API_CHECK(run(rt, launches, &plan) == 0);
	row_ns("launch", ns, ROUNDS);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		const int64_t start = api_now();

		API_CHECK(run(rt, nothing, &plan) == 0);
		ns[i] = api_now() - start;
	}
	row_ns("task with an empty kernel", ns, ROUNDS);
}

static void rates(weft *rt, uint32_t *host, const char *what)
{
	char name[64];

	for (uint32_t down = 0; down < 2; down++) {
		struct plan plan = { .host = host, .rounds = 8, .up = !down, .down = down };

		snprintf(name, sizeof name, "%s, %s", what, down ? "down" : "up");
		API_CHECK(run(rt, copies, &plan) == 0);
		const int64_t start = api_now();

		API_CHECK(run(rt, copies, &plan) == 0);
		row_rate(name, api_now() - start, 8.0 * BYTES);
	}
}

static void values(weft *rt)
{
	struct weft_cuda_info info = { .struct_size = sizeof info };
	struct weft_buffer buffer = { .data = NULL };
	struct weft_view view;
	weft_ref first, ref[2];

	API_CHECK(weft_create(rt, BYTES, NULL, &buffer) == 0);
	for (uint32_t i = 0; i < WORDS; i++)
		((uint32_t *)buffer.data)[i] = i;
	API_CHECK(weft_seal(rt, &buffer, &first) == 0);
	for (uint32_t i = 0; i < 2; i++)
		ref[i] = api_submit(rt,
		                    WEFT_TASK(stays, WEFT_INPUTS(i ? ref[0] : first),
		                              .opts = WEFT_TASK_OPTIONS(.gpus = 1)));
	for (uint32_t i = 0; i < 2; i++) {
		API_CHECK(weft_get(rt, ref[i], WEFT_FOREVER, &view) == 0 && view.size == BYTES);
		check_words(view.data, 3 + 3 * i);
	}
	API_CHECK(weft_cuda_info(rt, 0, &info) == 0);
	row("values", "right; %" PRIu64 " up, %" PRIu64 " down, %" PRIu64 " bytes stay",
	    info.uploads, info.downloads, info.resident);
	api_release(rt, first);
	for (uint32_t i = 0; i < 2; i++)
		api_release(rt, ref[i]);
}

static void everything(weft *rt)
{
	uint32_t *any = malloc(BYTES);
	void *pinned = NULL;
	struct plan plan = { .host = any };

	API_CHECK(any && weft_cuda_host_alloc(rt, BYTES, &pinned) == 0);
	memset(pinned, 1, BYTES);
	for (uint32_t i = 0; i < WORDS; i++)
		any[i] = i;
	API_CHECK(run(rt, graphs, &plan) == 0);
	check_words(any, 20);
	row("copies, kernels, graphs", "right");
	values(rt);
	API_CHECK(run(rt, misuse, &plan) == 0);
	row("misuse", "refused");
	times(rt);
	rates(rt, pinned, "pinned memory");
	rates(rt, any, "any memory");
	weft_cuda_host_free(rt, pinned);
	free(any);
}

/* Not on the simulation, whose kernels are functions of this program. */
static void loss(weft *rt)
{
	struct weft_cuda_info info = { .struct_size = sizeof info };
	struct plan plan = { .rounds = 0 };
	const int rc = run(rt, bad_address, &plan);

	API_CHECK(weft_cuda_info(rt, 0, &info) == 0);
	API_CHECK(rc == WEFT_EDEVICE && info.lost);
	row("a bad address", "lost: %s", info.failure);
}

/* Why there is no card: the driver's own words, or those of the loader. */
static void say_why(void)
{
	int (*init)(unsigned int) = NULL, (*count)(int *) = NULL, (*version)(int *) = NULL;
	void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	int n = 0, of = 0, rc;

	if (!driver) {
		printf("no card was found: no driver (%s)\n", dlerror());
		return;
	}
	*(void **)&init = dlsym(driver, "cuInit");
	*(void **)&count = dlsym(driver, "cuDeviceGetCount");
	*(void **)&version = dlsym(driver, "cuDriverGetVersion");
	if (!init || !count || !version) {
		printf("no card was found: libcuda.so.1 is no driver\n");
		return;
	}
	(void)version(&of);
	rc = init(0);
	if (!rc)
		rc = count(&n);
	printf("no card was found: the driver, of version %d.%d, answers %d and counts %d cards; "
	       "12.0 and one with memory pools are needed\n",
	       of / 1000, of % 1000 / 10, rc, n);
}

int main(int argc, char **argv)
{
	const struct weft_cuda_options how = { .struct_size = sizeof how,
		                               .backend = argc > 1 ? argv[1] : "cuda" };
	struct weft_cuda_info info = { .struct_size = sizeof info };
	weft_cuda *cuda = NULL;
	weft *rt = NULL;
	int64_t start = api_now();
	int rc;

	unsetenv("WEFT_GPU");
	rc = weft_cuda_open(&cuda, &how);
	if (rc == -ENODEV) {
		say_why();
		printf("nothing was checked on a card\n");
		return 77;
	}
	API_CHECK(rc == 0 && weft_cuda_count(cuda) > 0);
	API_CHECK(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .devices = cuda)) == 0);
	API_CHECK(weft_cuda_info(rt, 0, &info) == 0);
	row("device", "%s, %s, %" PRIu64 " MiB, %d of them", info.name, info.pci,
	    info.memory_bytes >> 20, weft_cuda_count(cuda));
	row("start", "%.1f ms", (double)(api_now() - start) / 1e6);
	everything(rt);
	if (strncmp(how.backend, "cuda", 4) == 0 && argc < 3)
		loss(rt);
	api_close(rt);
	API_CHECK(weft_cuda_close(cuda) == 0);
	return 0;
}
