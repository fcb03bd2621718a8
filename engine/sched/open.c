/*
 * open.c: the life of a runtime: open in steps that undo each other, close in numbered ones.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gpu.h"
#include "keyed.h"
#include "place.h"

#define STACK_BYTES_DEFAULT ((size_t)256 << 10)
#define STACK_BYTES_MIN     ((size_t)16 << 10)
#define STACK_BYTES_MAX     ((size_t)64 << 20)
#define STACKS_DEFAULT      131072u
#define STACKS_MAX          (1u << 20)
#define TASKS_DEFAULT       (1u << 24)
#define TASKS_MAX           (1u << WF_INDEX_BITS)
#define SPARES_DEFAULT      256u
#define STORE_BYTES_MIN     ((uint64_t)1 << 20)
#define STORE_BYTES_MAX     ((uint64_t)1 << 46)
#define SPILL_BYTES_MIN     4096u
#define DRAIN_LOOK_NS       INT64_C(20000000) /* guessed: seldom enough to cost nothing */
#ifdef WF_SIM
/* So that a simulation's few tasks make them grow. */
#define DEQUE_FIRST_LOG2 1u
#define DEQUE_OTHER_LOG2 1u
#else
#define DEQUE_FIRST_LOG2 10u
#define DEQUE_OTHER_LOG2 4u
#endif
#define OPEN_FLAGS \
	(WEFT_OPEN_TIMING | WEFT_OPEN_VIRTUAL_CLOCK | WEFT_OPEN_NO_WORKERS | WEFT_OPEN_SEEDED | \
	 WEFT_OPEN_DETERMINISTIC)
#define ALONE_FLAGS (WEFT_OPEN_VIRTUAL_CLOCK | WEFT_OPEN_NO_WORKERS | WEFT_OPEN_SEEDED)

/* ---- Options ------------------------------------------------------------------------------- */

/* Of a text with colons, those that are not empty. */
static uint32_t parts(const char *text)
{
	uint32_t n = 0;

	for (size_t length; *text; text += length + (text[length] == ':')) {
		length = strcspn(text, ":");
		n += length > 0;
	}
	return n;
}

static const char *bad_option(const struct weft_options *o)
{
	for (size_t i = 0; i < sizeof(o->reserved) / sizeof(*o->reserved); i++) {
		if (o->reserved[i])
			return "reserved";
	}
	if (o->flags & ~(uint32_t)OPEN_FLAGS)
		return "flags";
	if (o->workers > WF_WORKERS_MAX ||
	    (o->workers && o->flags & (WEFT_OPEN_NO_WORKERS | WEFT_OPEN_DETERMINISTIC)))
		return "workers";
	if (o->devices && o->flags & WEFT_OPEN_DETERMINISTIC)
		return "devices";
	if (o->bind > WEFT_BIND_NONE)
		return "bind";
	if (o->stacks_max > STACKS_MAX)
		return "stacks_max";
	if (o->stack_bytes &&
	    (o->stack_bytes < STACK_BYTES_MIN || o->stack_bytes > STACK_BYTES_MAX))
		return "stack_bytes";
	if (o->tasks_max > TASKS_MAX)
		return "tasks_max";
	if (o->spare_threads_max != WEFT_SPARE_NONE && o->spare_threads_max > 65536)
		return "spare_threads_max";
	if (o->name && strnlen(o->name, 64) > 63)
		return "name";
	if (o->ns && strnlen(o->ns, 64) > 63)
		return "ns";
	if (o->store_bytes &&
	    (o->store_bytes < STORE_BYTES_MIN || o->store_bytes > STORE_BYTES_MAX))
		return "store_bytes";
	if (o->spill_dirs &&
	    (strnlen(o->spill_dirs, PATH_MAX) >= PATH_MAX || parts(o->spill_dirs) > WF_DIRS_MAX))
		return "spill_dirs";
	if (o->spill_bytes && o->spill_bytes < SPILL_BYTES_MIN)
		return "spill_bytes";
	if (o->spill_high > 1000 || o->spill_low > (o->spill_high ? o->spill_high : 800))
		return "spill_high, spill_low";
	if (o->session_dir && (!*o->session_dir || strnlen(o->session_dir, PATH_MAX) >= PATH_MAX))
		return "session_dir";
	return wf_admit_bad_option(o);
}

static void log_plain(const struct weft_options *o, const char *text)
{
	struct weft_log_record record = {
		.level = WEFT_LOG_ERROR, .worker = -1, .task = "", .text = text
	};

	if (o->log)
		o->log(o->log_arg, &record);
}

static const char *spill_dir_default(void)
{
	const char *dir = getenv("TMPDIR");

	return dir && *dir ? dir : "/var/tmp";
}

/* Read, check and fill in the defaults. */
static int read_options(struct weft_options *o, const struct weft_options *from, uint32_t cpus)
{
	long page = sysconf(_SC_PAGESIZE);
	int rc = 0;

	memset(o, 0, sizeof(*o));
	if (from)
		rc = wf_options_read(o, sizeof(*o), from);
	if (rc)
		return rc;
	const char *bad = bad_option(o);

	if (bad) {
		char text[96] = "weft_open: bad value of option ";

		log_plain(o, strcat(text, bad));
		return -EINVAL;
	}
	o->struct_size = sizeof(*o);
	if (o->flags & WEFT_OPEN_DETERMINISTIC) {
		o->flags |= ALONE_FLAGS;
		o->spare_threads_max = WEFT_SPARE_NONE;
	}
	if (!o->workers && !(o->flags & WEFT_OPEN_NO_WORKERS))
		o->workers = cpus;
	if (!o->stacks_max)
		o->stacks_max = STACKS_DEFAULT;
	if (o->stacks_max < o->workers + WF_HELPERS_MAX + 16)
		o->stacks_max = o->workers + WF_HELPERS_MAX + 16;
	if (!o->stack_bytes)
		o->stack_bytes = STACK_BYTES_DEFAULT;
	o->stack_bytes = (o->stack_bytes + (size_t)page - 1) & ~((size_t)page - 1);
	if (!o->tasks_max)
		o->tasks_max = TASKS_DEFAULT;
	if (o->tasks_max < 1024)
		o->tasks_max = 1024;
	if (!o->spare_threads_max)
		o->spare_threads_max = SPARES_DEFAULT;
	if (!o->name)
		o->name = "weft";
	if (!o->ns)
		o->ns = "default";
	if (!o->spill_dirs)
		o->spill_dirs = spill_dir_default();
	if (!o->spill_high)
		o->spill_high = 800;
	if (!o->spill_low)
		o->spill_low = o->spill_high < 700 ? o->spill_high : 700;
	return 0;
}

int weft_options_equal(const struct weft_options *a, const struct weft_options *b)
{
	struct weft_options x, y;
	uint32_t cpus = wf_topology()->cpu_count;
	int rc = read_options(&x, a, cpus);

	if (!rc)
		rc = read_options(&y, b, cpus);
	if (rc)
		return rc;
	return x.workers == y.workers && x.flags == y.flags && x.bind == y.bind &&
		x.stacks_max == y.stacks_max && x.stack_bytes == y.stack_bytes &&
		x.tasks_max == y.tasks_max && x.spare_threads_max == y.spare_threads_max &&
		x.seed == y.seed && x.log == y.log && x.log_arg == y.log_arg &&
		!strcmp(x.name, y.name) && !strcmp(x.ns, y.ns) && x.store_bytes == y.store_bytes &&
		!strcmp(x.spill_dirs, y.spill_dirs) && x.spill_bytes == y.spill_bytes &&
		x.spill_high == y.spill_high && x.spill_low == y.spill_low &&
		!x.session_dir == !y.session_dir &&
		(!x.session_dir || !strcmp(x.session_dir, y.session_dir)) &&
		wf_admit_same_options(&x, &y);
}

/* ---- Pieces -------------------------------------------------------------------------------- */

static int compare_distance(const void *a, const void *b, void *arg)
{
	const weft *rt = ((void **)arg)[0];
	const struct wf_worker *me = ((void **)arg)[1];
	const struct wf_topology *topo = wf_topology();
	uint16_t x = *(const uint16_t *)a, y = *(const uint16_t *)b;
	int dx = topo->distance[me->local.node][rt->worker[x]->local.node];
	int dy = topo->distance[me->local.node][rt->worker[y]->local.node];

	if (dx != dy)
		return dx - dy;
	/* Neighbours in a ring, so that not all thieves start at worker 0. */
	uint32_t n = rt->slots;

	return (int)((x + n - me->index) % n) - (int)((y + n - me->index) % n);
}

static int make_victims(weft *rt, struct wf_worker *worker)
{
	void *arg[2] = { rt, worker };

	worker->victims = wf_node_alloc(worker->local.node, sizeof(*worker->victims),
	                                rt->slots * sizeof(*worker->victims));
	if (!worker->victims)
		return -ENOMEM;
	for (uint32_t i = 0; i < rt->slots; i++) {
		if (i != worker->index)
			worker->victims[worker->victims_count++] = (uint16_t)i;
	}
	qsort_r(worker->victims, worker->victims_count, sizeof(*worker->victims), compare_distance,
	        arg);
	return 0;
}

static int make_worker(weft *rt, uint32_t index)
{
	const struct wf_topology *topo = wf_topology();
	uint32_t cpu = index % topo->cpu_count;
	struct wf_worker *worker =
		(struct wf_worker *)wf_local_create(rt, true, rt->order ? 0 : topo->cpus[cpu].node);

	if (!worker)
		return -ENOMEM;
	rt->worker[index] = worker;
	worker->index = index;
	worker->cpu = cpu;
	worker->helper = index >= rt->workers;
	wf_init(&worker->attend,
	        (worker->helper ? WF_LOOK_HELPER : 0) | (rt->gpus ? WF_LOOK_GPU : 0));
	wf_parker_init(&worker->parker);
	wf_mpsc_init(&worker->inbox);
	for (uint32_t p = 0; p < WF_PRIORITIES; p++) {
		int rc = wf_deque_init(&worker->deque[p],
		                       worker->helper || p ? DEQUE_OTHER_LOG2 : DEQUE_FIRST_LOG2,
		                       rt->asymmetric);

		if (rc)
			return rc;
	}
	return 0;
}

static int make_workers(weft *rt)
{
	rt->worker = wf_calloc(rt->slots, sizeof(*rt->worker));
	if (!rt->worker)
		return -ENOMEM;
	for (uint32_t i = 0; i < rt->slots; i++) {
		int rc = make_worker(rt, i);

		if (rc)
			return rc;
	}
	for (uint32_t i = 0; i < rt->slots; i++) {
		int rc = make_victims(rt, rt->worker[i]);

		if (rc)
			return rc;
	}
	return 0;
}

static void free_workers(weft *rt)
{
	for (uint32_t i = 0; rt->worker && i < rt->slots && rt->worker[i]; i++) {
		struct wf_worker *worker = rt->worker[i];

		wf_stack_cache_flush(rt->stacks, &worker->stacks);
		for (uint32_t p = 0; p < WF_PRIORITIES; p++)
			wf_deque_fini(&worker->deque[p]);
		wf_node_free(worker->victims);
	}
	wf_free(rt->worker);
	rt->worker = NULL;
}

static int make_injectors(weft *rt)
{
	rt->inject = wf_aligned_alloc(64, rt->node_count * sizeof(*rt->inject));
	if (!rt->inject)
		return -ENOMEM;
	memset(rt->inject, 0, rt->node_count * sizeof(*rt->inject));
	for (uint32_t i = 0; i < rt->node_count; i++) {
		for (uint32_t p = 0; p < WF_PRIORITIES; p++) {
			int rc = wf_injector_init(&rt->inject[i][p]);

			if (rc) {
				/* What was made so far goes; zeroed ones are not touched. */
				for (uint32_t j = 0; j < i * WF_PRIORITIES + p; j++)
					wf_injector_fini(
						&rt->inject[j / WF_PRIORITIES][j % WF_PRIORITIES]);
				wf_free(rt->inject);
				rt->inject = NULL;
				return rc;
			}
		}
	}
	return 0;
}

static void free_injectors(weft *rt)
{
	for (uint32_t i = 0; rt->inject && i < rt->node_count * WF_PRIORITIES; i++)
		wf_injector_fini(&rt->inject[i / WF_PRIORITIES][i % WF_PRIORITIES]);
	wf_free(rt->inject);
	rt->inject = NULL;
}

/* For the overflow message: the task on the current thread. Async-signal-safe. */
static const char *describe(void)
{
	struct wf_local *self = wf_self();
	struct weft_task *frame = self ? self->current : NULL;

	if (!frame)
		return NULL;
	return wf_task_name(frame->cell, frame->fn);
}

/* Everything but threads. On an error what was made is left for destroy(). */
static int build(weft *rt)
{
	int rc = wf_gpus_open(rt);

	if (!rc)
		rc = wf_admit_create(rt);
	if (!rc)
		rc = wf_faults_create(rt);
	if (!rc)
		rc = wf_order_create(rt);
	if (rc)
		return rc;
	rc = wf_arena_init(&rt->arena, rt->options.tasks_max);

	rt->cells = rt->arena.cells;
	rt->cells_last = rc ? 0 : rt->arena.cells_max - 1;
	wf_init(&rt->idle, rt->asymmetric ? 0 : WF_IDLE_ALWAYS);
	/* Priorities are looked at by whoever draws. */
	wf_init(&rt->prio_used, rt->order != NULL);
	wf_init(&rt->attention,
	        (rt->asymmetric ? 0 : WF_ATTEND_FENCE) | (rt->faults ? WF_ATTEND_FAULTS : 0));
	if (!rc)
		rc = wf_stacks_create(&rt->stacks, rt->options.stack_bytes, rt->options.stacks_max,
		                      WF_GUARD_AUTO);
	if (!rc && wf_overflow_install(rt->stacks, describe))
		wf_log(rt, WEFT_LOG_WARN, "stack overflows will not be named");
	if (!rc) {
		rt->locals = (struct wf_local **)wf_map(WF_LOCALS_MAX * sizeof(*rt->locals),
		                                        PROT_READ | PROT_WRITE);
		rc = rt->locals ? 0 : -ENOMEM;
	}
	if (!rc)
		rc = make_injectors(rt);
	if (!rc)
		rc = make_workers(rt);
	return rc || rt->node_count == 1 ? rc : wf_lanes_create(rt);
}

static void destroy(weft *rt)
{
	if (rt->cells)
		wf_cells_sweep(rt);
	wf_runtime_store_close(rt);
	wf_gpus_quiet(rt);
	wf_lanes_destroy(rt);
	free_workers(rt);
	if (rt->locals)
		wf_locals_free(rt);
	free_injectors(rt);
	if (rt->stacks)
		wf_overflow_uninstall(rt->stacks);
	wf_actors_free(rt);
	wf_groups_free(rt);
	wf_stacks_destroy(rt->stacks);
	if (rt->locals)
		wf_unmap((void *)rt->locals, WF_LOCALS_MAX * sizeof(*rt->locals));
	wf_arena_fini(&rt->arena);
	wf_free(rt->timer_heap);
	wf_free(rt->blocking_wait);
	pthread_mutex_destroy(&rt->overflow_mutex);
	pthread_mutex_destroy(&rt->locals_mutex);
	pthread_mutex_destroy(&rt->threads_mutex);
	pthread_mutex_destroy(&rt->timer_mutex);
	pthread_mutex_destroy(&rt->store_mutex);
	pthread_mutex_destroy(&rt->attach_mutex);
	pthread_mutex_destroy(&rt->kin_mutex);
	pthread_mutex_destroy(&rt->walk_mutex);
	wf_free(rt->kin);
	wf_free(rt->paths);
	if (rt->wakes)
		wf_wake_uninstall();
	wf_admit_destroy(rt);
	wf_gpus_close(rt);
	wf_order_destroy(rt);
	wf_free(rt->faults);
	wf_free(rt);
}

/* The options that are too long for a place in the runtime. */
static bool copy_paths(weft *rt, const struct weft_options *o)
{
	size_t spill = strlen(o->spill_dirs) + 1;
	size_t session = o->session_dir ? strlen(o->session_dir) + 1 : 0;

	rt->paths = wf_malloc(spill + session);
	if (!rt->paths)
		return false;
	rt->options.spill_dirs = memcpy(rt->paths, o->spill_dirs, spill);
	if (session)
		rt->options.session_dir = memcpy(rt->paths + spill, o->session_dir, session);
	return true;
}

static weft *allocate(const struct weft_options *o)
{
	weft *rt = wf_aligned_alloc(64, sizeof(*rt));

	if (!rt)
		return NULL;
	memset(rt, 0, sizeof(*rt));
	rt->options = *o;
	strcpy(rt->name, o->name);
	strcpy(rt->ns, o->ns);
	if (!copy_paths(rt, o)) {
		wf_free(rt);
		return NULL;
	}
	rt->options.name = rt->name;
	rt->options.ns = rt->ns;
	rt->seed = o->seed ? o->seed : wf_random_seed();
	/* What a get finds to run in place differs with it: without, alike on all machines. */
	rt->asymmetric = !(o->flags & WEFT_OPEN_DETERMINISTIC) && wf_membarrier_available();
	rt->timing = o->flags & WEFT_OPEN_TIMING;
	rt->seeded = o->flags & WEFT_OPEN_SEEDED;
	rt->workers = o->workers;
	rt->slots = o->workers + WF_HELPERS_MAX;
	rt->cpus = wf_topology()->cpu_count;
	rt->node_count = o->flags & WEFT_OPEN_DETERMINISTIC ? 1 : wf_topology()->node_count;
	rt->pid = getpid();
	rt->spare_max = o->spare_threads_max == WEFT_SPARE_NONE ? 0 : o->spare_threads_max;
	wf_clock_init(&rt->clock, o->flags & WEFT_OPEN_VIRTUAL_CLOCK);
	pthread_mutex_init(&rt->overflow_mutex, NULL);
	pthread_mutex_init(&rt->locals_mutex, NULL);
	pthread_mutex_init(&rt->threads_mutex, NULL);
	pthread_mutex_init(&rt->timer_mutex, NULL);
	pthread_mutex_init(&rt->store_mutex, NULL);
	pthread_mutex_init(&rt->attach_mutex, NULL);
	pthread_mutex_init(&rt->kin_mutex, NULL);
	pthread_mutex_init(&rt->walk_mutex, NULL);
	return rt;
}

/* ---- Open ---------------------------------------------------------------------------------- */

static void stop_threads(weft *rt)
{
	/* release [X1] */
	wf_store_release(&rt->stopping, 1);
	wf_futex_wake(&rt->stopping, INT32_MAX);
	wf_wake_all(rt);
	wf_spares_stop(rt);
	wf_threads_join(rt);
	wf_service_stop(rt);
}

static int start_threads(weft *rt)
{
	int rc = wf_service_start(rt);

	for (uint32_t i = 0; !rc && i < rt->workers; i++)
		rc = wf_thread_create(rt, rt->worker[i], "weft-worker");
	if (rc)
		stop_threads(rt);
	return rc;
}

int weft_open(weft **out, const struct weft_options *opts)
{
	struct weft_options o;

	if (!out)
		return -EINVAL;
	int rc = read_options(&o, opts, wf_topology()->cpu_count);

	if (rc)
		return rc;
	weft *rt = allocate(&o);

	if (!rt)
		return -ENOMEM;
	rc = build(rt);
	if (!rc)
		rc = wf_registry_add(rt);
	if (rc) {
		destroy(rt);
		return rc;
	}
	rc = wf_session_start(rt);
	if (!rc)
		rc = start_threads(rt);
	if (rc) {
		wf_session_stop(rt, false);
		wf_registry_remove(rt);
		destroy(rt);
		return rc;
	}
	wf_log(rt, WEFT_LOG_INFO,
	       "open: %u workers on %u CPUs of %u nodes, %s, stacks by %s, heap %s%s", rt->workers,
	       rt->cpus, rt->node_count, wf_topology()->source, wf_stacks_guard_name(rt->stacks),
	       wf_node_heap(), rt->asymmetric ? "" : ", no membarrier");
	*out = rt;
	return 0;
}

/* ---- Close --------------------------------------------------------------------------------- */

static void wait_quiet(weft *rt, int64_t until)
{
	while (!wf_runtime_is_quiet(rt)) {
		/* acquire [Q2] */
		uint32_t word = wf_load_acquire(&rt->quiet);
		int64_t now = wf_clock_now(NULL);

		if (now >= until || wf_runtime_is_quiet(rt))
			return;
		if (!rt->workers) {
			wf_run_until(rt, NULL, rt->order ? WEFT_FOREVER : until);
			if (rt->order && rt->order->stuck)
				return;
			continue;
		}
		/* Ends by guests do not ring: look again soon. */
		int64_t soon = now + 5000000;

		wf_futex_wait(&rt->quiet, word, until < soon ? until : soon);
	}
}

/*
 * Until all is done: true. What waits for something that an actor holds would wait for ever: when
 * nothing else goes on, such actors are to end first.
 */
static bool drain(weft *rt, int64_t until)
{
	WF_DEBUG(wf_load_relaxed(&rt->gate) != WF_GATE_OPEN); /* relaxed: we have shut it. */
	while (!wf_runtime_is_quiet(rt)) {
		int64_t now = wf_clock_now(NULL), look = now + DRAIN_LOOK_NS;

		if (now >= until)
			return false;
		wait_quiet(rt, until < look ? until : look);
		if (!wf_runtime_is_quiet(rt) && wf_runtime_is_idle(rt) && wf_admit_starves(rt))
			wf_actors_let_go(rt);
		else if (rt->order && rt->order->stuck)
			return false;
	}
	return true;
}

static void cancel_event(struct wf_local *self, struct wf_cell *cell)
{
	uint32_t waiting = WF_STATE_WAITING;

	/* acquire: the setter lost, its fields are not written. */
	if (!wf_cas_acquire(&cell->promise.state, &waiting, WF_STATE_RUNNING))
		return;
	cell->u.error = wf_error_static(-ECANCELED);
	wf_flags_add(cell, WF_CELL_ERROR);
	wf_cell_complete(self, cell);
}

void wf_cancel_everything(weft *rt)
{
	struct wf_local *self = wf_local_of(rt);
	/* acquire [A3] */
	uint32_t end = wf_load_acquire(&rt->arena.cells_end);

	if (!self)
		return;
	/* acq_rel [E1]: before anything is freed, see wf_deadlock_search(). */
	wf_add_acq_rel(&rt->external, 1);
	wf_cancel_all_blocked(self);
	for (uint32_t i = 1; i < end; i++) {
		struct wf_cell *cell = &rt->cells[i];

		/* acquire [C2] */
		if (wf_load_acquire(&cell->promise.state) != WF_STATE_WAITING ||
		    wf_promise_is_done(&cell->promise))
			continue;
		/* After the state: before, it may be what the cell was in its last life. */
		uint32_t kind = wf_flags(cell) & WF_CELL_KIND_MASK;

		if (kind == WF_CELL_TASK)
			wf_cancel_waiting(self, cell);
		else if (kind == WF_CELL_EVENT || kind == WF_CELL_SIGNAL)
			cancel_event(self, cell);
	}
	wf_admit_open(self);
	wf_wake_all(rt);
}

/* Stop or kill every actor. False: some are there at `until`. */
static bool actors_end(weft *rt, bool kill, int64_t until)
{
	WF_DEBUG(wf_load_relaxed(&rt->gate) != WF_GATE_OPEN); /* relaxed: we have shut it. */
	while (wf_actors_live(rt)) {
		int64_t now = wf_clock_now(NULL);

		/* Also those that were made meanwhile. */
		wf_actors_stop(rt, kill);
		if (now >= until && !kill)
			return false;
		if (kill)
			wf_cancel_all_blocked(wf_local_of(rt));
		if (wf_runtime_is_quiet(rt))
			sched_yield();
		else
			wait_quiet(rt, now + 1000000);
	}
	return true;
}

/*
 * All that goes on comes to its end, then the actors that nobody has ended, then what their last
 * calls have begun, and so on. False: something is left at `until`.
 */
static bool close_quietly(weft *rt, int64_t until)
{
	/* A virtual clock cannot measure how long that takes. */
	int64_t drain_until = rt->clock.virtual_time && until != WEFT_POLL ? WEFT_FOREVER : until;
	bool good = true;

	WF_DEBUG(drain_until >= until);
	while (good && (!wf_runtime_is_quiet(rt) || wf_actors_live(rt))) {
		good = drain(rt, drain_until);
		bool kill = !good || wf_cancelling_all(rt);

		good = actors_end(rt, kill, until) && good;
	}
	return good;
}

static int refuse_close(weft *rt)
{
	struct wf_local *self = wf_self();

	if (self && self->rt == rt && self->current)
		return -EDEADLK;
	/* acquire [G1] */
	if (wf_load_acquire(&rt->gate) == WF_GATE_FORKED)
		return -ECHILD;
	if (wf_load_acquire(&rt->users))
		return -EBUSY;
	return 0;
}

int weft_close(weft *rt, weft_deadline drain_until)
{
	int rc = rt ? refuse_close(rt) : 0;
	uint32_t gate_open = WF_GATE_OPEN;

	if (rc || !rt)
		return rc;
	/* 1. Outside submits are refused. (An interrupt has shut the gate further already.) */
	bool shut = wf_cas_acq_rel(&rt->gate, &gate_open, WF_GATE_DRAIN);

	wf_fence_seq_cst();
	/* acquire [G2]: somebody attached while we looked. */
	if (wf_load_acquire(&rt->users)) {
		if (shut)
			wf_store_release(&rt->gate, WF_GATE_OPEN); /* release [G1] */
		return -EBUSY;
	}
	wf_actors_closing(rt);
	/* 2. Drain. */
	bool left = !close_quietly(rt, drain_until);

	/* 3. Cancel what is left, until the bodies that run have returned. */
	if (left || wf_cancelling_all(rt)) {
		wf_store_release(&rt->gate, WF_GATE_CANCEL);
		wf_or_acq_rel(&rt->attention, WF_ATTEND_CANCEL); /* acq_rel [G1] */
		while (!wf_runtime_is_quiet(rt)) {
			wf_cancel_everything(rt);
			wait_quiet(rt, wf_clock_now(NULL) + 2000000);
		}
		actors_end(rt, true, WEFT_FOREVER);
	}
	wf_log(rt, WEFT_LOG_INFO, "close: %s", left ? "work was cancelled" : "drained");
	/* 4. Threads end; first the one that serves other processes, which calls in. */
	wf_runtime_attach_stop(rt);
	stop_threads(rt);
	/* 5. The session ends, memory goes. */
	wf_session_stop(rt, !left && !wf_cancelling_all(rt));
	wf_registry_remove(rt);
	destroy(rt);
	return left;
}

/* ---- The rest of a runtime's life ---------------------------------------------------------- */

int weft_retain_runtime(weft *rt)
{
	if (!rt)
		return -EINVAL;
	/* acquire [G1] */
	if (wf_load_acquire(&rt->gate) != WF_GATE_OPEN)
		return WEFT_ECLOSED;
	wf_add_acq_rel(&rt->users, 1); /* acq_rel [G2]: pairs with the drop and with close. */
	wf_fence_seq_cst();
	/* acquire [G1]: a close that did not count us has shut the gate. */
	if (wf_load_acquire(&rt->gate) == WF_GATE_OPEN)
		return 0;
	wf_add_acq_rel(&rt->users, (uint32_t)-1); /* acq_rel [G2] */
	return WEFT_ECLOSED;
}

void weft_release_runtime(weft *rt)
{
	if (rt)
		WF_CHECK(wf_add_acq_rel(&rt->users, (uint32_t)-1) > 0); /* acq_rel [G2] */
}

void weft_interrupt(weft *rt)
{
	if (!rt)
		return;
	/* Stores and futex calls only: this may be a signal handler. release [G1] */
	wf_store_release(&rt->gate, WF_GATE_CANCEL);
	wf_or_acq_rel(&rt->attention, WF_ATTEND_CANCEL); /* acq_rel [G1] */
	wf_service_ring(rt, WF_SERVICE_INTERRUPT);
}

weft_deadline weft_now(const weft *rt)
{
	return wf_clock_now(rt ? &rt->clock : NULL);
}

int weft_clock_advance(weft *rt, int64_t ns)
{
	if (!rt || ns < 0 || !rt->clock.virtual_time)
		return -EINVAL;
	int64_t now = (int64_t)wf_add_acq_rel(&rt->clock.virtual_ns, (uint64_t)ns) + ns;

	wf_timers_fire(rt, now);
	wf_wake_all(rt);
	return 0;
}

int weft_info(const weft *rt, struct weft_info *info)
{
	if (!rt || !info || info->struct_size < offsetof(struct weft_info, pid))
		return -EINVAL;
	struct weft_info full = {
		.struct_size = info->struct_size,
		.id = rt->id,
		.pid = rt->pid,
		.workers = rt->workers,
		.cpus = rt->cpus,
		.nodes = rt->node_count,
		.membarrier = rt->asymmetric,
		.seed = rt->seed,
		.name = rt->name,
		.ns = rt->ns,
		.topology = wf_topology()->source,
		.stack_guard = wf_stacks_guard_name(rt->stacks),
		.device = wf_gpus_name(rt),
		.options = rt->options,
	};

	memcpy(info, &full, info->struct_size < sizeof(full) ? info->struct_size : sizeof(full));
	return 0;
}
