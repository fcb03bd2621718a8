/*
 * Goal: a chain of launches that is built once does, whenever it is launched, what its launches one
 * by one would do, in order; what cannot be built or launched is refused and leaves nothing behind.
 * Method: kernels whose order shows in their result; every call of the device fails in turn.
 */
#include "gpu_task.h"
#include "test.h"

#define WORDS  64u
#define LENGTH 20u

/* args: address of words, how many, a factor and what to add: the order of two of them matters. */
static void twin_affine(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	uint64_t address = *(const uint64_t *)launch->args[0];
	uint64_t factor = *(const uint64_t *)launch->args[1];
	uint64_t add = *(const uint64_t *)launch->args[2];
	uint32_t *words = weft_cuda_twin_memory(cuda, address, WORDS * 4);

	API_CHECK(words && launch->n_args == 3 && launch->grid[0] == 2 && launch->grid[2] == 1);
	API_CHECK(launch->block[0] == 32 && launch->block[1] == 1 && launch->shared_bytes == 16);
	for (uint32_t i = 0; i < WORDS; i++)
		words[i] = (uint32_t)(words[i] * factor + add);
}
static const struct weft_cuda_kernel affine = { .name = "affine", .twin = twin_affine };

struct chain {
	struct weft_cuda_launch launch[LENGTH];
	uint64_t address, factor[LENGTH], add[LENGTH];
	void *args[LENGTH][3];
};

static void chain_make(struct chain *chain, uint64_t address)
{
	chain->address = address;
	for (uint32_t i = 0; i < LENGTH; i++) {
		chain->factor[i] = 1 + i % 3;
		chain->add[i] = i;
		chain->args[i][0] = &chain->address;
		chain->args[i][1] = &chain->factor[i];
		chain->args[i][2] = &chain->add[i];
		chain->launch[i] = (struct weft_cuda_launch){ .kernel = &affine,
			                                      .grid = { 2 },
			                                      .block = { 32 },
			                                      .shared_bytes = 16,
			                                      .n_args = 3,
			                                      .args = chain->args[i] };
	}
}

struct job {
	uint32_t *host;
	uint32_t times;
	bool one_by_one;
	weft_cuda_graph *graph; /* given back when the task has ended */
};

static int body(weft_task *self)
{
	struct job *job = api_arg_pointer(self);
	weft_cuda_graph *graph = NULL;
	struct chain chain;
	uint64_t address = 0;
	int rc = weft_cuda_alloc(self, WORDS * 4, &address);

	chain_make(&chain, address);
	if (!rc)
		rc = weft_cuda_copy_in(self, address, job->host, WORDS * 4);
	if (!rc && !job->one_by_one)
		rc = weft_cuda_graph_create(self, chain.launch, LENGTH, &graph);
	job->graph = graph;
	/* Copied: what it was made of may change. */
	if (graph)
		memset(chain.factor, 0, sizeof chain.factor);
	for (uint32_t n = 0; n < job->times && !rc; n++) {
		if (graph)
			rc = weft_cuda_graph_launch(self, graph);
		for (uint32_t i = 0; i < LENGTH && !graph && !rc; i++)
			rc = weft_cuda_launch(self, &chain.launch[i]);
	}
	if (!rc)
		rc = weft_cuda_copy_out(self, job->host, address, WORDS * 4);
	return rc;
}

static int run(const struct gpu_test *t, uint32_t *host, bool one_by_one, uint32_t times)
{
	struct job job = { host, times, one_by_one, NULL };

	for (uint32_t i = 0; i < WORDS; i++)
		host[i] = i;
	int rc = api_end(t->rt,
	                 api_submit(t->rt,
	                            WEFT_TASK(body, API_POINTER(&job),
	                                      .opts = WEFT_TASK_OPTIONS(.gpus = 1))));

	weft_cuda_graph_destroy(job.graph);
	return rc;
}

Test(cuda_graph, it_does_what_its_launches_would)
{
	struct gpu_test t = gpu_open("sim", 2);
	uint32_t expected[WORDS];
	void *host = NULL;

	cr_assert_eq(weft_cuda_host_alloc(t.rt, WORDS * 4, &host), 0);
	cr_assert_eq(run(&t, host, true, 7), 0);
	memcpy(expected, host, sizeof expected);
	cr_assert_neq(expected[1], 1);
	cr_assert_eq(run(&t, host, false, 7), 0);
	cr_assert_arr_eq(host, expected, sizeof expected);
	weft_cuda_host_free(t.rt, host);
	gpu_close(&t);
}

static int run_twice(const struct gpu_test *t, void *host)
{
	return run(t, host, false, 2);
}

/* Each call of the back end fails in turn: the task fails, or does not need it. */
static void each_call_fails(const struct gpu_test *t, int code,
                            int (*fn)(const struct gpu_test *t, void *arg), void *arg)
{
	uint32_t failures = 0;
	bool was = true;

	for (uint64_t n = 1; was; n++) {
		cr_assert_lt(n, 100);
		wf_sim_fault(t->sim, WF_SIM_FAULT_CALL, n, code);
		const int rc = fn(t, arg);

		was = wf_sim_fault_count(t->sim, WF_SIM_FAULT_CALL) >= n;
		cr_assert(rc == 0 || rc == WEFT_ETASK, "%d", rc);
		failures += rc != 0;
		wf_sim_fault(t->sim, WF_SIM_FAULT_CALL, 0, 0);
	}
	cr_assert_geq(failures, 3);
}

Test(cuda_graph, each_call_may_fail)
{
	struct gpu_test t = gpu_open("sim", 2);
	void *host = NULL;

	cr_assert_eq(weft_cuda_host_alloc(t.rt, WORDS * 4, &host), 0);
	cr_assert_eq(run(&t, host, false, 2), 0);
	each_call_fails(&t, -ENOMEM, run_twice, host);
	weft_cuda_host_free(t.rt, host);
	gpu_close(&t);
}

static int misuses(weft_task *self)
{
	static const struct weft_cuda_kernel card_only = { .name = "card_only" };
	weft_cuda_graph *graph = (weft_cuda_graph *)(uintptr_t)16, *good = NULL;
	struct chain chain;
	uint64_t address = 0;

	API_CHECK(weft_cuda_alloc(self, WORDS * 4, &address) == 0);
	chain_make(&chain, address);
	API_CHECK(weft_cuda_graph_create(self, NULL, 1, &graph) == -EINVAL);
	API_CHECK(weft_cuda_graph_create(self, chain.launch, 1, NULL) == -EINVAL);
	API_CHECK(weft_cuda_graph_create(self, chain.launch, 0, &graph) == -EINVAL);
	API_CHECK(weft_cuda_graph_create(self, chain.launch, 65537, &graph) == -EINVAL);
	API_CHECK(weft_cuda_graph_create(NULL, chain.launch, 1, &graph) == -EINVAL);
	chain.launch[LENGTH - 1].kernel = &card_only;
	API_CHECK(weft_cuda_graph_create(self, chain.launch, LENGTH, &graph) == -ENOTSUP);
	chain.launch[LENGTH - 1].kernel = NULL;
	API_CHECK(weft_cuda_graph_create(self, chain.launch, LENGTH, &graph) == -EINVAL);
	API_CHECK((uintptr_t)graph == 16);
	API_CHECK(weft_cuda_graph_launch(self, NULL) == -EINVAL);
	API_CHECK(weft_cuda_graph_create(self, chain.launch, 1, &good) == 0 && good);
	/* It is this device's. */
	API_CHECK(weft_cuda_use(self, 1) == 0);
	API_CHECK(weft_cuda_graph_launch(self, good) == -EINVAL);
	API_CHECK(weft_cuda_use(self, 0) == 0);
	API_CHECK(weft_cuda_graph_launch(self, good) == 0);
	*(weft_cuda_graph **)api_arg_pointer(self) = good;
	return 0;
}

static int no_device(weft_task *self)
{
	struct chain chain;
	weft_cuda_graph *graph = NULL;

	chain_make(&chain, 1);
	API_CHECK(weft_cuda_graph_create(self, chain.launch, 1, &graph) == -EINVAL && !graph);
	return 0;
}

Test(cuda_graph, misuse_is_told)
{
	struct gpu_test t = gpu_open("sim:2", 1);
	weft_cuda_graph *graph = NULL;

	cr_assert_eq(api_end(t.rt,
	                     api_submit(t.rt,
	                                WEFT_TASK(misuses, API_POINTER(&graph),
	                                          .opts = WEFT_TASK_OPTIONS(.gpus = 2)))),
	             0);
	weft_cuda_graph_destroy(graph);
	weft_cuda_graph_destroy(NULL);
	cr_assert_eq(api_end(t.rt, api_submit(t.rt, WEFT_TASK(no_device))), 0);
	gpu_close(&t);
}

/* ---- Recorded -------------------------------------------------------------------------------- */

#define STAGES 3u

/* The bodies of a chain of tasks: each takes what is at the address, in order. */
struct stages {
	uint32_t *host, *back; /* pinned */
	uint64_t address;
	uint32_t times;
	bool recorded;
	uint32_t fails_at; /* this stage gives up */
	weft_cuda_graph *graph;
};

static int affine_launch(weft_task *self, uint64_t address, uint64_t factor, uint64_t add)
{
	void *args[] = { &address, &factor, &add };
	const struct weft_cuda_launch launch = { .kernel = &affine,
		                                 .grid = { 2 },
		                                 .block = { 32 },
		                                 .shared_bytes = 16,
		                                 .n_args = 3,
		                                 .args = args };

	return weft_cuda_launch(self, &launch);
}

static int stage(weft_task *self, const struct stages *s, uint32_t i)
{
	int rc = s->fails_at == i ? -EPROTO : 0;

	if (!rc && i == 0)
		rc = weft_cuda_copy_in(self, s->address, s->host, WORDS * 4);
	for (uint32_t k = 0; k < 2 && !rc; k++)
		rc = affine_launch(self, s->address, 2 + i, k + 10 * i);
	if (!rc && i == STAGES - 1)
		rc = weft_cuda_copy_out(self, s->back, s->address, WORDS * 4);
	return rc;
}

static int all_stages(weft_task *self, const struct stages *s)
{
	int rc = 0;

	for (uint32_t i = 0; i < STAGES && !rc; i++)
		rc = stage(self, s, i);
	return rc;
}

/* Records once and replays, or does all of it each time. */
static int staged(weft_task *self)
{
	struct stages *s = api_arg_pointer(self);
	weft_cuda_graph *graph = NULL;
	int rc = weft_cuda_alloc(self, WORDS * 4, &s->address);

	if (!rc && s->recorded) {
		rc = weft_cuda_record_begin(self);
		if (!rc)
			rc = all_stages(self, s);
		/* What has failed is left to the end of the body. */
		if (!rc)
			rc = weft_cuda_record_end(self, &graph);
	}
	s->graph = graph;
	for (uint32_t n = 0; n < s->times && !rc; n++)
		rc = graph ? weft_cuda_graph_launch(self, graph) : all_stages(self, s);
	return rc;
}

static int run_staged(const struct gpu_test *t, struct stages *s)
{
	for (uint32_t i = 0; i < WORDS; i++) {
		s->host[i] = i;
		s->back[i] = 0;
	}
	s->graph = NULL;
	int rc = api_end(t->rt,
	                 api_submit(t->rt,
	                            WEFT_TASK(staged, API_POINTER(s),
	                                      .opts = WEFT_TASK_OPTIONS(.gpus = 1))));

	weft_cuda_graph_destroy(s->graph);
	return rc;
}

static struct stages stages_make(const struct gpu_test *t)
{
	struct stages s = { .times = 1, .fails_at = UINT32_MAX };
	void *host = NULL, *back = NULL;

	cr_assert_eq(weft_cuda_host_alloc(t->rt, WORDS * 4, &host), 0);
	cr_assert_eq(weft_cuda_host_alloc(t->rt, WORDS * 4, &back), 0);
	s.host = host;
	s.back = back;
	return s;
}

static void stages_free(const struct gpu_test *t, const struct stages *s)
{
	weft_cuda_host_free(t->rt, s->host);
	weft_cuda_host_free(t->rt, s->back);
}

Test(cuda_record, a_chain_of_bodies_is_replayed_as_it_was)
{
	struct gpu_test t = gpu_open("sim", 2);
	struct stages s = stages_make(&t);
	uint32_t expected[WORDS];

	cr_assert_eq(run_staged(&t, &s), 0);
	memcpy(expected, s.back, sizeof expected);
	cr_assert_neq(expected[1], 0);
	s.recorded = true;
	s.times = 0;
	cr_assert_eq(run_staged(&t, &s), 0);
	cr_assert_eq(s.back[1], 0, "what is recorded is not done");
	/* Each time from the beginning, and the copies with it. */
	for (s.times = 1; s.times < 4; s.times++) {
		cr_assert_eq(run_staged(&t, &s), 0);
		cr_assert_arr_eq(s.back, expected, sizeof expected);
	}
	stages_free(&t, &s);
	gpu_close(&t);
}

static int run_again(const struct gpu_test *t, void *stages)
{
	return run_staged(t, stages);
}

Test(cuda_record, what_fails_or_is_not_ended_leaves_nothing)
{
	struct gpu_test t = gpu_open("sim", 2);
	struct stages s = stages_make(&t);

	s.recorded = true;
	for (s.fails_at = 0; s.fails_at < STAGES; s.fails_at++)
		cr_assert_eq(run_staged(&t, &s), WEFT_ETASK);
	s.fails_at = UINT32_MAX;
	each_call_fails(&t, -EIO, run_again, &s);
	stages_free(&t, &s);
	gpu_close(&t);
}

static int record_misuses(weft_task *self)
{
	struct stages *s = api_arg_pointer(self);
	weft_cuda_graph *poison = (weft_cuda_graph *)(uintptr_t)16, *out = poison, *good = NULL;
	uint64_t at = 0;
	uint32_t word = 0;

	API_CHECK(weft_cuda_record_end(self, &out) == -EINVAL && out == poison);
	API_CHECK(weft_cuda_record_begin(NULL) == -EINVAL);
	API_CHECK(weft_cuda_record_end(NULL, &out) == -EINVAL);
	API_CHECK(weft_cuda_alloc(self, WORDS * 4, &at) == 0);
	API_CHECK(weft_cuda_record_begin(self) == 0);
	API_CHECK(weft_cuda_record_begin(self) == -EBUSY);
	API_CHECK(weft_cuda_record_end(self, &out) == -EINVAL && out == poison);
	/* Nothing was noted, and it has ended. */
	API_CHECK(weft_cuda_record_begin(self) == 0);
	/* Memory that is not pinned would be the caller's again, and another device another's. */
	API_CHECK(weft_cuda_copy_in(self, at, &word, 4) == -EINVAL);
	API_CHECK(weft_cuda_copy_out(self, &word, at, 4) == -EINVAL);
	API_CHECK(weft_cuda_use(self, 0) == -EINVAL);
	API_CHECK(weft_cuda_copy_in(self, at, s->host, 0) == 0);
	API_CHECK(weft_cuda_copy_in(self, at, s->host, WORDS * 4) == 0);
	API_CHECK(weft_cuda_record_end(self, &good) == 0 && good);
	API_CHECK(weft_cuda_record_begin(self) == 0);
	API_CHECK(weft_cuda_graph_launch(self, good) == -EINVAL);
	API_CHECK(weft_cuda_record_end(self, NULL) == 0);
	API_CHECK(weft_cuda_graph_launch(self, good) == 0);
	s->graph = good;
	return 0;
}

Test(cuda_record, misuse_is_told)
{
	struct gpu_test t = gpu_open("sim", 1);
	struct stages s = stages_make(&t);

	cr_assert_eq(api_end(t.rt,
	                     api_submit(t.rt,
	                                WEFT_TASK(record_misuses, API_POINTER(&s),
	                                          .opts = WEFT_TASK_OPTIONS(.gpus = 1)))),
	             0);
	weft_cuda_graph_destroy(s.graph);
	stages_free(&t, &s);
	gpu_close(&t);
}
