/*
 * Goal: actors whose ends are the ends of others, and generators that are calls of actors, end once
 * and leave nothing, whoever kills or lets go meanwhile; who wants what he holds himself is told.
 * Method: random graphs of actors whose states have handles of others and let go of them, or kill
 * them, when they are dropped; generators with windows on actors that crash and are killed, and
 * whose items are counted. On the simulated engine (tests/support/sim.c).
 */
#include <errno.h>
#include <string.h>

#include "sim_util.h"

static weft *rt;

/* ---- States that have others ----------------------------------------------------------------- */

#define NODES_MOST 7
#define CHILD_MOST 2

struct node {
	weft_actor actor;
	weft_ref died;
	struct node *child[CHILD_MOST]; /* of greater index; the state has a count of each */
	uint32_t children;
	bool kills;
	struct wf_a32 inits, drops;
};

static struct node nodes[NODES_MOST];
static uint32_t n_nodes;

static int node_init(weft_task *self)
{
	struct node *node = *(struct node *const *)weft_task_arg(self, NULL);

	*(struct node **)weft_actor_state(self) = node;
	SIM_CHECK(wf_add_relaxed(&node->inits, 1) == 0);
	return 0;
}

static int node_fini(weft_task *self)
{
	SIM_CHECK(*(struct node **)weft_actor_state(self));
	return 0;
}

static void let_go(const struct node *node)
{
	for (uint32_t i = 0; i < node->children; i++) {
		if (node->kills)
			SIM_CHECK(weft_actor_kill(rt, node->child[i]->actor, WEFT_KILL_NOW) == 0);
		SIM_CHECK(weft_actor_release(rt, node->child[i]->actor) == 0);
	}
}

static void node_drop(void *state, size_t size)
{
	struct node *node = *(struct node **)state;

	SIM_CHECK(size == sizeof node);
	if (!node)
		return;
	SIM_CHECK(wf_add_relaxed(&node->drops, 1) == 0);
	let_go(node);
}

static const struct weft_actor_class node_classes[2] = {
	WEFT_ACTOR_CLASS(.state_bytes = sizeof(struct node *), .init = node_init,
	                 .drop = node_drop),
	WEFT_ACTOR_CLASS(.state_bytes = sizeof(struct node *), .init = node_init, .fini = node_fini,
	                 .drop = node_drop),
};

static int empty(weft_task *self)
{
	(void)self;
	return 0;
}

/* One that has a count of all. */
static void *disturbs(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < n_nodes; i++) {
		struct node *node = &nodes[sim_choose(2) ? i : n_nodes - 1 - i];

		for (uint32_t j = sim_choose(30); j; j--)
			sim_yield();
		if (sim_choose(4) == 0)
			SIM_CHECK(weft_actor_kill(rt, node->actor, WEFT_KILL_NOW) == 0);
		else if (sim_choose(2))
			SIM_CHECK(weft_actor_call(rt, node->actor, empty, NULL, 0, NULL) <= 0);
	}
	for (uint32_t i = 0; i < n_nodes; i++)
		SIM_CHECK(weft_actor_release(rt, nodes[i].actor) == 0);
	return NULL;
}

static void make_node(struct node *node, uint32_t index)
{
	struct node *arg = node;

	*node = (struct node){ .kills = sim_choose(3) == 0 };
	for (uint32_t i = index + 1; i < n_nodes && node->children < CHILD_MOST; i++) {
		if (sim_choose(2) == 0)
			continue;
		node->child[node->children++] = &nodes[i];
		SIM_CHECK(weft_actor_retain(rt, nodes[i].actor) == 0);
	}
	SIM_CHECK(weft_actor_create(rt, &node_classes[sim_choose(2)], NULL,
	                            &(struct weft_call){ .arg = &arg, .arg_size = sizeof arg },
	                            &node->actor) == 0);
	SIM_CHECK(weft_actor_retain(rt, node->actor) == 0);
	SIM_CHECK(weft_actor_died(rt, node->actor, &node->died) == 0);
}

static void actors_drops(void)
{
	rt = sim_open();
	n_nodes = 1 + sim_choose(NODES_MOST);
	for (uint32_t i = n_nodes; i--;)
		make_node(&nodes[i], i);
	pthread_t thread = sim_thread(disturbs, NULL);

	for (uint32_t i = 0; i < n_nodes; i++)
		SIM_CHECK(weft_actor_release(rt, nodes[i].actor) == 0);
	sim_join(thread);
	for (uint32_t i = 0; i < n_nodes; i++) {
		struct weft_view view;
		const int rc = weft_get(rt, nodes[i].died, WEFT_FOREVER, &view);

		SIM_CHECK(rc == 0 || rc == WEFT_EACTOR);
		SIM_CHECK(weft_release(rt, nodes[i].died) == 0);
		SIM_CHECK(wf_load_relaxed(&nodes[i].drops) == wf_load_relaxed(&nodes[i].inits));
		/* Killed before it had a state. */
		if (!wf_load_relaxed(&nodes[i].inits))
			let_go(&nodes[i]);
	}
	sim_close(rt);
}

/* ---- Methods that give items ----------------------------------------------------------------- */

#define GENS_MOST 3

struct gen {
	weft_ref ref;
	uint32_t good, crash; /* at this item of the first run; good: not at all */
	uint32_t stops;       /* the consumer has enough */
	struct wf_a32 runs;
};

static struct gen gens[GENS_MOST];
static uint32_t n_gens;
static weft_actor giver;
static bool disturbed;

static int gives(weft_task *self)
{
	struct gen *gen = *(struct gen *const *)weft_task_arg(self, NULL);
	const bool first = wf_add_relaxed(&gen->runs, 1) == 0;

	for (uint32_t i = 0; i < gen->good; i++) {
		if (first && i == gen->crash)
			return weft_actor_crash(self, "planned");
		const int rc = weft_emit(self, &i, sizeof i);

		SIM_CHECK(rc >= 0 || ((rc == -EINTR || rc == -ECANCELED) && disturbed));
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void take_all(struct gen *gen)
{
	uint32_t taken = 0, value;
	bool failed = false;
	weft_ref item;
	int rc;

	while (taken < gen->stops && (rc = weft_next(rt, gen->ref, WEFT_FOREVER, &item)) == 0) {
		const int64_t got = weft_take(rt, item, &value, sizeof value);

		SIM_CHECK(!failed);
		failed = got < 0;
		SIM_CHECK(failed ? got == WEFT_EACTOR && disturbed : value == taken++);
	}
	if (taken < gen->stops) {
		SIM_CHECK(rc == -ENODATA && (failed || taken == gen->good));
		SIM_CHECK(weft_next(rt, gen->ref, WEFT_POLL, &item) == -ENODATA);
	}
	SIM_CHECK(weft_release(rt, gen->ref) == 0);
}

static void *kills_giver(void *arg)
{
	(void)arg;
	for (uint32_t i = 1 + sim_choose(2); i; i--) {
		for (uint32_t j = sim_choose(150); j; j--)
			sim_yield();
		SIM_CHECK(weft_actor_kill(rt, giver,
		                          sim_choose(3) ? WEFT_KILL_RESTART : WEFT_KILL_NOW) == 0);
	}
	return NULL;
}

static int takes_in_task(weft_task *self)
{
	take_all(*(struct gen *const *)weft_task_arg(self, NULL));
	return 0;
}

static void start_gen(struct gen *gen)
{
	struct gen *arg = gen;

	*gen = (struct gen){ .good = sim_choose(8) };
	gen->crash = sim_choose(3) ? gen->good : sim_choose(gen->good + 1);
	gen->stops = sim_choose(3) ? UINT32_MAX : sim_choose(8);
	disturbed = disturbed || gen->crash < gen->good;
	SIM_CHECK(weft_submit(rt,
	                      &(struct weft_call){
				      .fn = gives,
				      .actor = giver,
				      .arg = &arg,
				      .arg_size = sizeof arg,
				      .opts = WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_STREAM,
	                                                        .window = sim_choose(4)) },
	                      &gen->ref) == 0);
}

static void actors_streams(void)
{
	static const struct weft_actor_class class_ = WEFT_ACTOR_CLASS(.state_bytes = 8);
	const struct weft_actor_options o = { .struct_size = sizeof o,
		                              .max_restarts = sim_choose(3),
		                              .max_task_retries = sim_choose(3),
		                              .max_concurrency = 1 + sim_choose(2) };
	const bool kills = sim_choose(3) == 0;
	pthread_t thread = { 0 };
	weft_ref tasks[GENS_MOST];

	rt = sim_open();
	disturbed = kills;
	n_gens = 1 + sim_choose(GENS_MOST);
	SIM_CHECK(weft_actor_create(rt, &class_, &o, NULL, &giver) == 0);
	for (uint32_t i = 0; i < n_gens; i++)
		start_gen(&gens[i]);
	if (kills)
		thread = sim_thread(kills_giver, NULL);
	for (uint32_t i = 0; i < n_gens; i++) {
		struct gen *arg = &gens[i];

		SIM_CHECK(weft_spawn(rt, takes_in_task, &arg, sizeof arg, &tasks[i]) == 0);
	}
	for (uint32_t i = 0; i < n_gens; i++)
		SIM_CHECK(weft_take(rt, tasks[i], NULL, 0) == 0);
	if (kills)
		sim_join(thread);
	SIM_CHECK(weft_actor_release(rt, giver) == 0);
	sim_close(rt);
}

/* ---- Calls that want what their actors hold -------------------------------------------------- */

#define GREEDY_MOST 3

/* One of two disks is its own; the other, or both, it wants through somebody else. */
struct greedy {
	uint32_t wants;
	bool by_actor, alone;
};

static struct greedy greedy[GREEDY_MOST];
static bool noise;

static const struct weft_actor_class greedy_class = WEFT_ACTOR_CLASS(.state_bytes = 8);

static weft_actor disk_actor(uint32_t disks)
{
	const struct weft_resource disk = { "disk", disks };
	const struct weft_actor_holds holds = { .struct_size = sizeof holds,
		                                .resources = &disk,
		                                .n_resources = 1 };
	weft_actor actor;

	SIM_CHECK(weft_actor_create(rt, &greedy_class, WEFT_ACTOR_OPTIONS(.holds = &holds), NULL,
	                            &actor) == 0);
	return actor;
}

static int wants_disks(weft_task *self)
{
	const struct greedy *g = *(struct greedy *const *)weft_task_arg(self, NULL);
	const struct weft_resource disk = { "disk", g->wants };
	weft_actor other = { 0 };
	struct weft_view view;
	weft_ref ref;
	int rc;

	if (g->by_actor) {
		other = disk_actor(g->wants);
		rc = weft_actor_call(rt, other, empty, NULL, 0, &ref);
	} else {
		rc = weft_submit(rt,
		                 &(struct weft_call){ .fn = empty,
		                                      .opts = WEFT_TASK_OPTIONS(.resources = &disk,
		                                                                .n_resources = 1) },
		                 &ref);
	}
	SIM_CHECK(rc == 0);
	rc = weft_get(rt, ref, WEFT_FOREVER, &view);
	if (g->alone)
		SIM_CHECK(rc == (g->wants == 1 ? 0 : WEFT_EDEADLOCK));
	SIM_CHECK(rc == 0 || rc == WEFT_EDEADLOCK);
	SIM_CHECK(rc == WEFT_EDEADLOCK || g->wants == 1);
	SIM_CHECK(weft_cancel(rt, ref) == 0 && weft_release(rt, ref) == 0);
	if (g->by_actor)
		SIM_CHECK(weft_actor_kill(rt, other, WEFT_KILL_NOW) == 0 &&
		          weft_actor_release(rt, other) == 0);
	return 0;
}

/* Others come and go meanwhile, who want disks as well, and are cancelled. */
static void *comes_and_goes(void *arg)
{
	const struct weft_resource disk = { "disk", 2 };

	(void)arg;
	for (uint32_t i = sim_choose(6); i; i--) {
		weft_ref ref;

		SIM_CHECK(weft_submit(rt,
		                      &(struct weft_call){
					      .fn = empty,
					      .opts = WEFT_TASK_OPTIONS(.resources = &disk,
		                                                        .n_resources = 1) },
		                      &ref) == 0);
		for (uint32_t j = sim_choose(60); j; j--)
			sim_yield();
		SIM_CHECK(weft_cancel(rt, ref) == 0 && weft_release(rt, ref) == 0);
	}
	return NULL;
}

static void actors_greed(void)
{
	const uint32_t n = 1 + sim_choose(GREEDY_MOST);
	weft_actor actors[GREEDY_MOST];
	weft_ref refs[GREEDY_MOST];
	pthread_t thread = { 0 };

	rt = sim_open();
	noise = sim_choose(2);
	for (uint32_t i = 0; i < n; i++) {
		struct greedy *arg = &greedy[i];

		greedy[i] = (struct greedy){ 1 + sim_choose(2), sim_choose(2), n == 1 };
		actors[i] = disk_actor(1);
		SIM_CHECK(weft_actor_call(rt, actors[i], wants_disks, &arg, sizeof arg, &refs[i]) ==
		          0);
		/* So that the third can have what the first has. */
		SIM_CHECK(weft_actor_release(rt, actors[i]) == 0);
	}
	if (noise)
		thread = sim_thread(comes_and_goes, NULL);
	for (uint32_t i = 0; i < n; i++)
		SIM_CHECK(weft_take(rt, refs[i], NULL, 0) == 0);
	if (noise)
		sim_join(thread);
	sim_close(rt);
}

int main(int argc, char **argv)
{
	static const struct sim_program programs[] = {
		{ "actors_drops", actors_drops },
		{ "actors_streams", actors_streams },
		{ "actors_greed", actors_greed },
	};

	return sim_main(programs, sizeof programs / sizeof *programs, argc, argv);
}
