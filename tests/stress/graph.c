/*
 * Goal: in random graphs every task runs exactly once, sees the right value of every input, and its
 * refs end exactly once with the right outcome, whoever submits and however many workers there are.
 * Method: four foreign threads build graphs from one seed. Outcome and value of every node are
 * computed first, serially, by the same rules; bodies check each input against that, getters check
 * each result, counters check runs, drops and ends. 1, 2 and 8 workers.
 */
#include "api.h"

#define NODES     400
#define INPUTS    6
#define THREADS   4
#define BYTES_MAX 300

enum outcome { NODE_GOOD, NODE_FAILS, NODE_DEP };

struct node {
	struct graph *graph;
	enum outcome outcome;
	uint64_t value;
	uint32_t bytes; /* of the result, at least 8 */
	uint32_t how;   /* what the body does besides */
	uint32_t policy;
	uint32_t n_inputs, n_after;
	uint32_t in[INPUTS];
	bool released_early;
	weft_ref ref;
	struct api_count runs, drops, ends;
};

struct graph {
	weft *rt;
	uint64_t random;
	struct node nodes[NODES];
};

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t state = a * 31 + b;

	return api_random(&state);
}

/* Decide the graph and what must come of it. */
static void plan(struct graph *graph)
{
	for (uint32_t i = 0; i < NODES; i++) {
		struct node *node = &graph->nodes[i];
		const uint32_t edges = i ? api_below(&graph->random, INPUTS + 1) : 0;
		bool bad_input = false;

		memset(node, 0, sizeof *node);
		node->graph = graph;
		node->n_inputs = edges ? api_below(&graph->random, edges + 1) : 0;
		node->n_after = edges - node->n_inputs;
		node->bytes = 8 + api_below(&graph->random, BYTES_MAX - 8);
		node->how = api_below(&graph->random, 12);
		node->policy = api_below(&graph->random, 3);
		node->released_early = api_below(&graph->random, 8) == 0;
		node->value = i;
		for (uint32_t e = 0; e < edges; e++) {
			const uint32_t near = i < 20 ? i : 20;
			const uint32_t from = i - 1 -
				api_below(&graph->random, api_below(&graph->random, 2) ? near : i);
			const struct node *input = &graph->nodes[from];

			node->in[e] = from;
			bad_input |= input->outcome != NODE_GOOD;
			if (e < node->n_inputs)
				node->value = mix(node->value,
				                  input->outcome == NODE_GOOD ? input->value : 77);
		}
		if (bad_input && node->policy == WEFT_INPUT_FAIL_FAST)
			node->outcome = NODE_DEP;
		else if (api_below(&graph->random, 30) == 0)
			node->outcome = NODE_FAILS;
	}
}

static void fill(unsigned char *bytes, const struct node *node)
{
	memcpy(bytes, &node->value, 8);
	for (uint32_t i = 8; i < node->bytes; i++)
		bytes[i] = (unsigned char)(node->value + i);
}

static void check_value(const struct weft_view *view, const struct node *node)
{
	const unsigned char *bytes = view->data;

	API_CHECK(view->size == node->bytes);
	API_CHECK(memcmp(bytes, &node->value, 8) == 0);
	for (uint32_t i = 8; i < node->bytes; i++)
		API_CHECK(bytes[i] == (unsigned char)(node->value + i));
}

static void check_inputs(weft_task *self, const struct node *node)
{
	API_CHECK(weft_input_count(self) == node->n_inputs);
	for (uint32_t i = 0; i < node->n_inputs; i++) {
		const struct node *input = &node->graph->nodes[node->in[i]];
		struct weft_view view = api_poison_view();
		const int status = weft_input(self, i, &view);

		API_CHECK(weft_input_ref(self, i).bits == input->ref.bits);
		if (input->outcome == NODE_GOOD) {
			API_CHECK(status == 0);
			check_value(&view, input);
		} else if (node->policy == WEFT_INPUT_IGNORE) {
			API_CHECK(status == 0 && view.size == 0);
		} else {
			API_CHECK(status ==
			          (input->outcome == NODE_FAILS ? WEFT_ETASK : WEFT_EDEP));
		}
	}
}

static int body(weft_task *self)
{
	struct node *node = *(struct node **)weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	const int64_t value = (int64_t)node->value;
	void *out;

	API_CHECK(api_add(&node->runs, 1) == 1);
	API_CHECK(node->outcome != NODE_DEP);
	check_inputs(self, node);
	if (node->how == 0)
		API_CHECK(weft_yield(rt) == 0);
	else if (node->how == 1)
		API_CHECK(api_take_i64(rt, api_spawn(rt, api_body_identity, &value, 8)) == value);
	else if (node->how == 2)
		API_CHECK(weft_sleep_until(rt, weft_now(rt) + 20000) == 0);
	else if (node->how == 3)
		API_CHECK(weft_spawn(rt, api_body_identity, &value, 8, NULL) == 0);
	check_inputs(self, node);
	API_CHECK(weft_task_output(self, 0, node->bytes, &out) == 0);
	fill(out, node);
	return node->outcome == NODE_FAILS ? weft_fail(self, -EPROTO, "planned") : 0;
}

static void drop(void *arg, size_t size)
{
	API_CHECK(size == sizeof(struct node *));
	API_CHECK(api_add(&(*(struct node **)arg)->drops, 1) == 1);
}

static void ended(void *arg, weft_ref ref, int status)
{
	struct node *node = arg;

	API_CHECK(ref.bits == node->ref.bits);
	API_CHECK(status ==
	          (node->outcome == NODE_GOOD            ? 0
	                   : node->outcome == NODE_FAILS ? WEFT_ETASK
	                                                 : WEFT_EDEP));
	API_CHECK(api_add(&node->ends, 1) == 1);
}

static void submit_node(struct graph *graph, struct node *node)
{
	static const struct weft_task_options policies[3] = {
		{ .struct_size = sizeof policies[0], .arg_drop = drop, .name = "node" },
		{ .struct_size = sizeof policies[0], .arg_drop = drop, .on_input_error = 1 },
		{ .struct_size = sizeof policies[0], .arg_drop = drop, .on_input_error = 2 },
	};
	weft_ref in[INPUTS];
	weft_ref ref = WEFT_NONE;

	for (uint32_t e = 0; e < node->n_inputs + node->n_after; e++)
		in[e] = graph->nodes[node->in[e]].ref;
	/* A last edge from an event of its own: some other input or this one comes last. */
	weft_ref hold = api_event(graph->rt);
	weft_ref after[INPUTS + 1];
	memcpy(after, in, sizeof in);
	after[node->n_inputs + node->n_after] = hold;
	API_CHECK(weft_submit(graph->rt,
	                      WEFT_TASK(body, WEFT_ARG(node), .inputs = after,
	                                .n_inputs = (uint16_t)node->n_inputs,
	                                .n_after = (uint16_t)(node->n_after + 1),
	                                .opts = &policies[node->policy]),
	                      &ref) == 0);
	node->ref = ref;
	API_CHECK(weft_event_set(graph->rt, hold, NULL, 0) == 0);
	api_release(graph->rt, hold);
	API_CHECK(weft_on_done(graph->rt, ref, ended, node) == 0);
}

static void *build(void *arg)
{
	struct graph *graph = arg;

	plan(graph);
	for (uint32_t i = 0; i < NODES; i++)
		submit_node(graph, &graph->nodes[i]);
	for (uint32_t k = 0; k < NODES; k++) {
		struct node *node = &graph->nodes[(k * 7919u) % NODES];
		struct weft_view view;

		if (!node->released_early) {
			const int status = weft_get(graph->rt, node->ref, WEFT_FOREVER, &view);

			API_CHECK(status ==
			          (node->outcome == NODE_GOOD            ? 0
			                   : node->outcome == NODE_FAILS ? WEFT_ETASK
			                                                 : WEFT_EDEP));
			if (status == 0)
				check_value(&view, node);
		}
		api_release(graph->rt, node->ref);
	}
	return NULL;
}

static void check_counts(const struct graph *graph)
{
	for (uint32_t i = 0; i < NODES; i++) {
		const struct node *node = &graph->nodes[i];

		API_CHECK(api_read(&node->runs) == (node->outcome != NODE_DEP));
		API_CHECK(api_read(&node->drops) == 1);
		API_CHECK(api_read(&node->ends) == 1);
	}
}

int main(void)
{
	static const uint32_t workers[] = { 1, 2, 8 };
	const uint32_t rounds = api_scaled(test_is_long() ? 1000 : 60);
	struct graph *graphs = calloc(THREADS, sizeof *graphs);
	uint64_t random = test_seed();

	API_CHECK(graphs != NULL);
	for (uint32_t w = 0; w < 3; w++) {
		weft *rt = api_open(workers[w]);

		for (uint32_t round = 0; round < rounds; round++) {
			pthread_t threads[THREADS];

			for (int t = 0; t < THREADS; t++) {
				graphs[t].rt = rt;
				graphs[t].random = api_random(&random);
				threads[t] = api_thread(build, &graphs[t]);
			}
			for (int t = 0; t < THREADS; t++)
				api_join(threads[t]);
			api_await_no_tasks(rt);
			for (int t = 0; t < THREADS; t++)
				check_counts(&graphs[t]);
		}
		api_close(rt);
	}
	free(graphs);
	return 0;
}
