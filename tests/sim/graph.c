/*
 * Goal: every accepted task ends exactly once and as it must, whatever mixture of inputs, failures,
 * cancels, retries, sleeps, blocking parts, priorities and threads it is part of, also when the
 * runtime is closed or interrupted in the middle, and when memory or threads run out.
 * Method: random graphs on the simulated engine (tests/support/sim.c). Each task has a record:
 * how often its body ran, how often its argument was dropped, what it returned; at the end the
 * record, the status that a get sees and those of its inputs must fit together.
 */
#include <errno.h>
#include <string.h>

#include "base.h"
#include "sim_util.h"

#define NODES_MOST   48
#define INPUTS_MOST  4
#define THREADS_MOST 3

struct node {
	struct graph *graph;
	weft_ref ref;
	uint32_t index;
	uint32_t inputs[INPUTS_MOST]; /* earlier nodes */
	uint32_t n_inputs, n_after;
	uint32_t policy, retries;
	bool cancelled; /* somebody asked for it */
	bool submitted;
	bool dependable; /* its body fails or succeeds by its own plan alone */
	int plan;
	struct wf_a32 runs, drops;
	struct wf_a32 succeeded;
	struct weft_resource want[2];
	struct weft_task_options options;
};

struct graph {
	weft *rt;
	struct node nodes[NODES_MOST];
	uint32_t n;
	bool faults;  /* anything may run out */
	bool closing; /* anything may end as cancelled, submits may be refused */
};

enum plan {
	PLAN_VALUE,
	PLAN_FAIL,
	PLAN_FAIL_ONCE, /* the first attempt */
	PLAN_YIELD,
	PLAN_SLEEP,
	PLAN_GET,     /* an earlier node, inside the body */
	PLAN_CHILD,   /* submits one and waits for it */
	PLAN_BLOCK,   /* leaves its worker for a while */
	PLAN_LONG,    /* runs for long, looks now and then whether it should stop */
	PLAN_CANCELS, /* another node */
	PLANS
};

static int value_child(weft_task *self)
{
	int64_t value = 77;

	return weft_return(self, &value, sizeof value);
}

/* What a call may answer to a task that was asked to stop, or where things run out. */
static bool excused(const struct node *node, int rc)
{
	const struct graph *graph = node->graph;

	if (rc == -EINTR || rc == -ECANCELED)
		return node->cancelled || graph->closing;
	if (rc == WEFT_ECLOSED)
		return graph->closing;
	return graph->faults && (rc == -ENOMEM || rc == -EAGAIN);
}

static int do_plan(weft_task *self, struct node *node)
{
	weft *rt = weft_task_runtime(self);
	struct graph *graph = node->graph;
	struct weft_view view;
	weft_ref child;
	int64_t value = 0;
	int rc = 0;

	switch (node->plan) {
	case PLAN_FAIL:
		return weft_fail(self, -EIO, "node %u", node->index);
	case PLAN_FAIL_ONCE:
		return weft_task_attempt(self) == 1 ? -EIO : 0;
	case PLAN_YIELD:
		rc = weft_yield(rt);
		break;
	case PLAN_SLEEP:
		rc = weft_sleep_until(rt, weft_now(rt) + sim_choose(200000));
		break;
	case PLAN_GET:
		if (node->index == 0)
			break;
		rc = weft_get(rt, graph->nodes[sim_choose(node->index)].ref,
		              sim_choose(2) ? WEFT_FOREVER : weft_now(rt) + 50000, &view);
		/* How the other one ended is its own affair; the oracle looks at it there. */
		return rc == -EINTR ? rc : 0;
	case PLAN_CHILD:
		rc = weft_spawn(rt, value_child, NULL, 0, &child);
		if (rc)
			break;
		rc = (int)weft_take(rt, child, &value, sizeof value);
		SIM_CHECK(rc < 0 || value == 77);
		break;
	case PLAN_BLOCK:
		if (weft_block_enter(rt, WEFT_BLOCK_RELEASE) == 0) {
			sim_yield();
			weft_block_exit(rt);
		}
		break;
	case PLAN_LONG:
		for (uint32_t i = sim_choose(2000); i > 0; i--) {
			wf_cpu_relax();
			if (i % 256 == 0 && weft_task_cancelled(self))
				return excused(node, -EINTR) ? -EINTR : 1;
		}
		break;
	case PLAN_CANCELS:
		child = graph->nodes[sim_choose(node->index + 1)].ref;
		for (uint32_t i = 0; i <= node->index; i++) {
			if (graph->nodes[i].ref.bits == child.bits)
				graph->nodes[i].cancelled = true;
		}
		SIM_CHECK(weft_cancel(rt, child) == 0);
		break;
	default:
		break;
	}
	SIM_CHECK(rc >= 0 || excused(node, rc) || (node->plan == PLAN_CHILD && graph->closing));
	return rc < 0 ? rc : 0;
}

static int body(weft_task *self)
{
	size_t size = 0;
	struct node *node = *(struct node *const *)weft_task_arg(self, &size);

	SIM_CHECK(size == sizeof node);
	/* relaxed: the schedule is sequentially consistent here. */
	SIM_CHECK(wf_add_relaxed(&node->runs, 1) + 1 == weft_task_attempt(self));
	SIM_CHECK(weft_task_attempt(self) <= 1 + node->retries);
	SIM_CHECK(wf_load_relaxed(&node->drops) == 0);
	SIM_CHECK(weft_input_count(self) == node->n_inputs);
	for (uint32_t i = 0; i < node->n_inputs + node->n_after; i++)
		SIM_CHECK(weft_peek(node->graph->rt, node->graph->nodes[node->inputs[i]].ref) == 1);
	for (uint32_t i = 0; i < node->n_inputs; i++) {
		struct weft_view view = { 0 };
		int rc = weft_input(self, i, &view);

		if (node->policy == WEFT_INPUT_FAIL_FAST)
			SIM_CHECK(rc == 0 && view.size == sizeof(uint32_t));
		if (rc == 0 && view.size)
			SIM_CHECK(*(const uint32_t *)view.data == node->inputs[i]);
	}
	int rc = do_plan(self, node);

	if (rc < 0)
		return rc;
	rc = weft_return(self, &node->index, sizeof node->index);
	if (rc < 0) {
		SIM_CHECK(excused(node, rc));
		return rc;
	}
	wf_store_relaxed(&node->succeeded, 1);
	return rc;
}

static void drop(void *arg, size_t size)
{
	struct node *node = *(struct node **)arg;

	SIM_CHECK(size == sizeof node);
	SIM_CHECK(wf_add_relaxed(&node->drops, 1) == 0);
}

/* ---- Building ----------------------------------------------------------------------------- */

static void plan_node(struct graph *graph, uint32_t index, uint32_t cancels)
{
	struct node *node = &graph->nodes[index];
	uint32_t edges = index ? sim_choose(INPUTS_MOST + 1) : 0;

	node->graph = graph;
	node->index = index;
	node->n_inputs = sim_choose(edges + 1);
	node->n_after = edges - node->n_inputs;
	for (uint32_t i = 0; i < edges; i++)
		node->inputs[i] = sim_choose(index);
	node->policy = sim_choose(3);
	node->retries = sim_choose(3);
	node->plan = (int)sim_choose(PLANS);
	if (node->plan == PLAN_CANCELS && !cancels)
		node->plan = PLAN_VALUE;
}

/*
 * What it asks for. What is kept while a body waits must not be asked for by those that wait for
 * others inside their bodies: that could be a ring, as it could with any lock.
 */
static void plan_request(struct node *node)
{
	static const double cpus[] = { 0, 0.5, 1, 1.5, 2, WEFT_CPUS_NONE };
	struct weft_task_options *o = &node->options;
	bool waits = node->plan == PLAN_GET || node->plan == PLAN_CHILD;
	struct weft_info info = { .struct_size = sizeof info };

	if (sim_choose(2))
		return;
	SIM_CHECK(weft_info(node->graph->rt, &info) == 0);
	o->cpus = cpus[sim_choose(6)];
	if (o->cpus > info.workers)
		o->cpus = 0;
	if (waits)
		return;
	node->want[0] = (struct weft_resource){ "disk", 0.5 * (1 + sim_choose(4)) };
	node->want[1] = (struct weft_resource){ "tape", 1 };
	o->resources = node->want;
	o->n_resources = sim_choose(3);
	if (!o->n_resources)
		o->resources = NULL;
	if (sim_choose(4) == 0)
		o->gpus = sim_choose(2) ? 0.25 : 1 + sim_choose(2);
	if (sim_choose(4) == 0)
		o->memory = 1 + sim_choose(100);
	if (node->retries && sim_choose(2))
		o->backoff_ns = 1 + sim_choose(1000);
}

static int submit_node(struct node *node)
{
	struct graph *graph = node->graph;
	weft_ref inputs[INPUTS_MOST];
	uint32_t flags = sim_choose(4);

	node->options = (struct weft_task_options){
		.struct_size = sizeof node->options,
		.flags = flags == 0  ? WEFT_TASK_BLOCKING
			: flags == 1 ? WEFT_TASK_STAY
				     : 0,
		.priority = sim_choose(3),
		.on_input_error = node->policy,
		.retries = node->retries,
		.arg_drop = drop,
	};
	plan_request(node);
	for (uint32_t i = 0; i < node->n_inputs + node->n_after; i++)
		inputs[i] = graph->nodes[node->inputs[i]].ref;
	return weft_submit(graph->rt,
	                   &(struct weft_call){ .fn = body,
	                                        .arg = &node,
	                                        .arg_size = sizeof node,
	                                        .inputs = inputs,
	                                        .n_inputs = (uint16_t)node->n_inputs,
	                                        .n_after = (uint16_t)node->n_after,
	                                        .opts = &node->options },
	                   &node->ref);
}

/* Submit all, in order. Where memory may run out a few tries are made. */
static void submit_all(struct graph *graph)
{
	for (uint32_t i = 0; i < graph->n; i++) {
		struct node *node = &graph->nodes[i];
		int rc;

		while ((rc = submit_node(node)) == -ENOMEM && graph->faults)
			;
		if (rc) {
			SIM_CHECK(graph->closing && rc == WEFT_ECLOSED);
			graph->n = i;
			return;
		}
		node->submitted = true;
	}
}

static int submit_task(weft_task *self)
{
	submit_all(*(struct graph *const *)weft_task_arg(self, NULL));
	return 0;
}

static void *submit_thread(void *arg)
{
	submit_all(arg);
	return NULL;
}

/* ---- The oracle --------------------------------------------------------------------------- */

static bool input_failed(const struct graph *graph, const struct node *node)
{
	for (uint32_t i = 0; i < node->n_inputs + node->n_after; i++) {
		struct weft_view view;

		if (weft_get(graph->rt, graph->nodes[node->inputs[i]].ref, WEFT_FOREVER, &view))
			return true;
	}
	return false;
}

static void check_node(const struct graph *graph, const struct node *node)
{
	struct weft_view view = { 0 };
	int status = weft_get(graph->rt, node->ref, WEFT_FOREVER, &view);
	uint32_t runs = wf_load_relaxed(&node->runs);
	bool stopped = node->cancelled || graph->closing;

	SIM_CHECK(wf_load_relaxed(&node->drops) == 1);
	switch (status) {
	case 0:
		SIM_CHECK(runs >= 1);
		SIM_CHECK(wf_load_relaxed(&node->succeeded));
		SIM_CHECK(view.size == sizeof(uint32_t));
		SIM_CHECK(*(const uint32_t *)view.data == node->index);
		SIM_CHECK(node->policy != WEFT_INPUT_FAIL_FAST || !input_failed(graph, node));
		break;
	case WEFT_EDEP:
		SIM_CHECK(runs == 0);
		SIM_CHECK(node->policy == WEFT_INPUT_FAIL_FAST && input_failed(graph, node));
		break;
	case -ECANCELED:
		SIM_CHECK(stopped);
		break;
	case WEFT_ETASK:
		SIM_CHECK(!wf_load_relaxed(&node->succeeded));
		SIM_CHECK(runs == 1 + node->retries || stopped || graph->faults);
		SIM_CHECK(node->plan == PLAN_FAIL || node->plan == PLAN_FAIL_ONCE || stopped ||
		          graph->faults);
		break;
	default:
		SIM_CHECK(graph->faults && status == -ENOMEM);
	}
}

static void finish(struct graph *graph)
{
	/* A get returns when the value is there; the argument goes right after. */
	for (uint32_t i = 0; i < graph->n; i++) {
		struct weft_view view;
		int rc;

		while ((rc = weft_get(graph->rt, graph->nodes[i].ref, WEFT_FOREVER, &view)) ==
		               -ENOMEM &&
		       graph->faults && weft_peek(graph->rt, graph->nodes[i].ref) == 0)
			;
		while (wf_load_relaxed(&graph->nodes[i].drops) == 0)
			sim_yield();
	}
	for (uint32_t i = 0; i < graph->n; i++)
		check_node(graph, &graph->nodes[i]);
	for (uint32_t i = 0; i < graph->n; i++)
		SIM_CHECK(weft_release(graph->rt, graph->nodes[i].ref) == 0);
}

static void make_graph(struct graph *graph, weft *rt, bool cancels)
{
	memset(graph, 0, sizeof *graph);
	graph->rt = rt;
	graph->n = 1 + sim_choose(NODES_MOST);
	for (uint32_t i = 0; i < graph->n; i++)
		plan_node(graph, i, cancels);
}

/* ---- Programs ----------------------------------------------------------------------------- */

static struct graph graphs[THREADS_MOST];

/* Several graphs at once, from the host, a thread, a task; cancels from the host as well. */
static void whole_graphs(bool cancels)
{
	weft *rt = sim_open();
	pthread_t thread = 0;
	weft_ref task = WEFT_NONE;
	struct graph *by_task = &graphs[1], *by_thread = &graphs[2];

	for (uint32_t i = 0; i < THREADS_MOST; i++)
		make_graph(&graphs[i], rt, cancels);
	if (sim_choose(2))
		thread = sim_thread(submit_thread, by_thread);
	SIM_CHECK(weft_spawn(rt, submit_task, &by_task, sizeof by_task, &task) == 0);
	submit_all(&graphs[0]);
	for (uint32_t i = cancels ? sim_choose(6) : 0; i > 0; i--) {
		struct node *node = &graphs[0].nodes[sim_choose(graphs[0].n)];

		node->cancelled = true;
		SIM_CHECK(weft_cancel(rt, node->ref) == 0);
	}
	if (thread)
		sim_join(thread);
	else
		submit_all(by_thread);
	SIM_CHECK(weft_take(rt, task, NULL, 0) == 0);
	for (uint32_t i = 0; i < THREADS_MOST; i++)
		finish(&graphs[i]);
	sim_close(rt);
}

static void graph_plain(void)
{
	whole_graphs(false);
}

static void graph_cancel(void)
{
	whole_graphs(true);
}

/* A user of a runtime that somebody else closes: it attaches, or finds that it is too late. */
static void *late_thread(void *arg)
{
	struct graph *graph = arg;

	submit_all(graph);
	weft_release_runtime(graph->rt);
	return NULL;
}

/* Close in the middle: by itself, with little time, with an interrupt, with all the time. */
static void close_busy(void)
{
	weft *rt = sim_open();
	uint32_t how = sim_choose(4);
	pthread_t thread = 0;
	int rc;

	for (uint32_t i = 0; i < 2; i++) {
		make_graph(&graphs[i], rt, true);
		graphs[i].closing = true;
	}
	if (sim_choose(2)) {
		SIM_CHECK(weft_retain_runtime(rt) == 0);
		thread = sim_thread(late_thread, &graphs[1]);
	} else {
		graphs[1].n = 0;
	}
	submit_all(&graphs[0]);
	if (how == 3) {
		weft_interrupt(rt);
		for (uint32_t i = 0; i < graphs[0].n; i++) {
			struct weft_view view;
			(void)!weft_get(rt, graphs[0].nodes[i].ref, WEFT_FOREVER, &view);
		}
	}
	/* While somebody else holds it a close is refused, with nothing changed. */
	while ((rc = weft_close(rt,
	                        how == 0           ? WEFT_POLL
	                                : how == 1 ? weft_now(rt) + sim_choose(100000)
	                                           : WEFT_FOREVER)) == -EBUSY)
		sim_yield();
	SIM_CHECK(rc == 0 || (rc == 1 && how != 2));
	if (thread)
		sim_join(thread);
	for (uint32_t g = 0; g < 2; g++) {
		for (uint32_t i = 0; i < graphs[g].n; i++) {
			SIM_CHECK(graphs[g].nodes[i].submitted);
			SIM_CHECK(wf_load_relaxed(&graphs[g].nodes[i].drops) == 1);
		}
	}
}

/* Now and then something runs out: what was accepted still ends, nothing is lost. */
static void *fault_thread(void *arg)
{
	struct wf_a32 *stop = arg;
	static const int kinds[] = { WF_FAULT_MALLOC, WF_FAULT_MMAP, WF_FAULT_THREAD, -1 };

	while (!wf_load_relaxed(stop)) {
		wf_fault_arm(kinds[sim_choose(4)], 1 + sim_choose(8));
		for (uint32_t i = sim_choose(50); i > 0; i--)
			sim_yield();
	}
	wf_fault_arm(0, 0);
	return NULL;
}

static void faults(void)
{
	struct wf_a32 stop = { 0 };
	weft *rt = sim_open();
	weft_ref ref = WEFT_NONE;

	make_graph(&graphs[0], rt, true);
	graphs[0].faults = true;
	/* The host's identity is made first: without one no call can say why it failed. */
	SIM_CHECK(weft_put(rt, "", 0, &ref) == 0);
	SIM_CHECK(weft_release(rt, ref) == 0);
	pthread_t thread = sim_thread(fault_thread, &stop);

	submit_all(&graphs[0]);
	finish(&graphs[0]);
	wf_store_relaxed(&stop, 1);
	sim_join(thread);
	sim_close(rt);
}

int main(int argc, char **argv)
{
	static const struct sim_program programs[] = {
		{ "graph_plain", graph_plain },
		{ "graph_cancel", graph_cancel },
		{ "close_busy", close_busy },
		{ "faults", faults },
	};

	return sim_main(programs, sizeof programs / sizeof *programs, argc, argv);
}
