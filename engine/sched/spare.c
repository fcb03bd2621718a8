/*
 * spare.c: OS threads: the workers', and the spares that stand in for blocked ones.
 *
 * A task with WEFT_TASK_BLOCKING is run by a spare thread, beside the workers, so a worker keeps
 * its thread. weft_block_enter() in the middle of a body is the other way round: the body cannot
 * leave its thread, so the worker does: a spare adopts it and the thread becomes the body's until
 * the body returns. Spares are kept for SPARE_IDLE_NS and are at most spare_max; tasks beyond
 * that wait in a list that every spare looks at before it rests.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"

#define SPARE_IDLE_NS INT64_C(2000000000)

static void bind(struct wf_worker *worker)
{
	const struct wf_topology *topo = wf_topology();
	weft *rt = worker->local.rt;

	if (!topo->bindable || worker->helper || rt->options.bind == WEFT_BIND_NONE)
		return;
	if (rt->options.bind == WEFT_BIND_CORE && rt->workers <= topo->cpu_count)
		wf_bind_cpu(topo, worker->cpu);
	else if (topo->node_count > 1)
		wf_bind_node(topo, worker->local.node);
}

/*
 * A body beside the workers has ended. What waits now may wait for ever, and a worker that sleeps
 * already does not have that looked for.
 */
static void body_ended(weft *rt)
{
	/* relaxed: read under idleness, see wf_deadlock_search(). */
	WF_CHECK(wf_add_relaxed(&rt->bodies_outside, (uint32_t)-1) > 0);
	/* relaxed: a worker that is awake goes to sleep later, and rings then. */
	if (wf_load_relaxed(&rt->sleeping) >= rt->workers &&
	    wf_stacks_live(rt->stacks) > rt->workers)
		wf_service_ring(rt, WF_SERVICE_QUIET);
}

/* A body that may block this thread begins, or (0) has ended. */
static void body_begins(struct wf_thread_state *thread, uint64_t bits)
{
	/*
	 * acq_rel [I1]: a full exchange, after which the body's task looks whether it was asked to
	 * stop: either it sees that, or who asks sees the body.
	 */
	WF_DEBUG(thread == wf_thread_current());
	wf_swap_acq_rel(&thread->body, bits);
	wf_thread_wakeable(bits != 0);
}

/* ---- Jobs ---------------------------------------------------------------------------------- */

static void run_worker(struct wf_thread_state *thread)
{
	struct wf_worker *worker = thread->job_worker;

	if (!thread->spare)
		bind(worker);
	/* Without a stack nothing can run; others may put some back. */
	while (wf_worker_enter(thread, worker) && !wf_load_acquire(&thread->rt->stopping))
		wf_futex_wait(&thread->rt->stopping, 0, wf_clock_now(NULL) + 1000000);
	if (!wf_self()->worker) {
		/* A body gave the worker away. */
		body_begins(thread, 0);
		body_ended(thread->rt);
	}
	wf_local_set(thread->guest);
}

static WF_SUSPENDS void run_task(struct wf_thread_state *thread)
{
	struct wf_cell *cell = thread->job_cell;
	struct wf_local *self = thread->guest;

	wf_local_set(self);
	self->current = NULL;
	body_begins(thread, wf_ref_of(self->rt, cell).bits);
	wf_task_run(self, cell);
	body_begins(thread, 0);
	wf_slab_flush(thread->guest);
	body_ended(thread->rt);
}

static void hand_job(struct wf_thread_state *thread, enum wf_job_kind job)
{
	/* release [J1]: the job's fields. */
	wf_store_release(&thread->job, (uint32_t)job);
	wf_parker_unpark_mt(&thread->parker);
}

/* Take a BLOCKING task that found no spare. */
static struct wf_cell *waiting_task(weft *rt)
{
	struct wf_cell *cell = NULL;

	if (rt->blocking_count) {
		cell = rt->blocking_wait[0];
		rt->blocking_count--;
		memmove(rt->blocking_wait, rt->blocking_wait + 1,
		        rt->blocking_count * sizeof(*rt->blocking_wait));
	}
	return cell;
}

/* Rest until there is a job. False: end. */
static bool next_job(struct wf_thread_state *thread)
{
	weft *rt = thread->rt;

	pthread_mutex_lock(&rt->threads_mutex);
	struct wf_cell *cell = waiting_task(rt);

	if (cell) {
		thread->job_cell = cell;
		wf_store_release(&thread->job, WF_JOB_TASK); /* release [J1]: to ourselves. */
		pthread_mutex_unlock(&rt->threads_mutex);
		return true;
	}
	if (wf_load_acquire(&rt->stopping)) {
		pthread_mutex_unlock(&rt->threads_mutex);
		return false;
	}
	wf_store_release(&thread->job, WF_JOB_NONE);
	WF_DEBUG(thread->spare);
	thread->next = rt->spares_idle;
	rt->spares_idle = thread;
	pthread_mutex_unlock(&rt->threads_mutex);
	for (;;) {
		int rc = wf_parker_park(&thread->parker, wf_clock_now(NULL) + SPARE_IDLE_NS);

		/* acquire [J1] */
		if (wf_load_acquire(&thread->job) != WF_JOB_NONE)
			return wf_load_acquire(&thread->job) != WF_JOB_EXIT;
		if (!rc)
			continue;
		/* Idle for long: leave, unless somebody has just picked this thread. */
		pthread_mutex_lock(&rt->threads_mutex);
		for (struct wf_thread_state **at = &rt->spares_idle; *at; at = &(*at)->next) {
			if (*at == thread) {
				*at = thread->next;
				wf_store_release(&thread->job, WF_JOB_EXIT);
				rt->spare_count--;
				break;
			}
		}
		pthread_mutex_unlock(&rt->threads_mutex);
		/* acquire [J1] */
		if (wf_load_acquire(&thread->job) == WF_JOB_EXIT)
			return false;
	}
}

void *wf_thread_main(void *arg)
{
	struct wf_thread_state *thread = arg;

	/* Without an alternate stack an overflow still dies, only without the task's name. */
	bool alternate = !wf_overflow_thread_init();

	wf_thread_set(thread);
	thread->tid = gettid();
	wf_local_set(thread->guest);
	for (;;) {
		/* acquire [J1] */
		switch (wf_load_acquire(&thread->job)) {
		case WF_JOB_WORKER:
			run_worker(thread);
			break;
		case WF_JOB_TASK:
			run_task(thread);
			break;
		default:
			goto out;
		}
		if (!next_job(thread))
			break;
	}
out:
	wf_local_set(NULL);
	wf_local_forget(thread->guest);
	if (alternate)
		wf_overflow_thread_fini();
	return NULL;
}

/* ---- Threads ------------------------------------------------------------------------------- */

static struct wf_thread_state *thread_create(weft *rt, const char *name, enum wf_job_kind job,
                                             struct wf_worker *worker, struct wf_cell *cell)
{
	struct wf_thread_state *thread = wf_calloc(1, sizeof(*thread));

	if (!thread)
		return NULL;
	thread->guest = wf_guest_create(rt);
	if (!thread->guest) {
		wf_free(thread);
		return NULL;
	}
	thread->rt = rt;
	wf_parker_init(&thread->parker);
	thread->job_worker = worker;
	thread->job_cell = cell;
	thread->spare = worker == NULL || worker->thread != NULL;
	wf_store_release(&thread->job, (uint32_t)job); /* release [J1] */
	if (wf_thread_start(&thread->thread, name, wf_thread_main, thread)) {
		wf_local_forget(thread->guest);
		wf_free(thread);
		return NULL;
	}
	thread->all = rt->threads_all;
	rt->threads_all = thread;
	return thread;
}

int wf_thread_create(weft *rt, struct wf_worker *worker, const char *name)
{
	pthread_mutex_lock(&rt->threads_mutex);
	struct wf_thread_state *thread = thread_create(rt, name, WF_JOB_WORKER, worker, NULL);

	pthread_mutex_unlock(&rt->threads_mutex);
	return thread ? 0 : -EAGAIN;
}

/* Join the spares that have left. They take no mutex any more. */
static void reap(weft *rt)
{
	for (struct wf_thread_state **at = &rt->threads_all; *at;) {
		struct wf_thread_state *gone = *at;

		/* acquire [J1] */
		if (wf_load_acquire(&gone->job) != WF_JOB_EXIT) {
			at = &gone->all;
			continue;
		}
		*at = gone->all;
		wf_thread_join(&gone->thread);
		wf_free(gone);
	}
}

/* Give a job to an idle spare or a new one. False: the cap is reached, or no thread starts. */
static bool give_job(weft *rt, enum wf_job_kind job, struct wf_worker *worker, struct wf_cell *cell)
{
	struct wf_thread_state *thread = rt->spares_idle;

	if (thread) {
		rt->spares_idle = thread->next;
		thread->job_worker = worker;
		thread->job_cell = cell;
		hand_job(thread, job);
		return true;
	}
	if (rt->spare_count >= rt->spare_max)
		return false;
	reap(rt);
	if (!thread_create(rt, "weft-spare", job, worker, cell))
		return false;
	rt->spare_count++;
	return true;
}

/*
 * Whether each of `bodies` beside the workers waits, for a thread or in the engine: then none of
 * them comes back to take a waiting task, and that task may be what they wait for. Under the mutex.
 */
static bool all_wait(const weft *rt, uint32_t bodies)
{
	return bodies <= rt->blocking_count + rt->outside_asleep;
}

static bool wait_for_thread(weft *rt, struct wf_cell *cell)
{
	if (rt->blocking_count == rt->blocking_room) {
		uint32_t room = rt->blocking_room ? rt->blocking_room * 2 : 64;
		struct wf_cell **grown = wf_malloc(room * sizeof(*grown));

		if (!grown)
			return false;
		if (rt->blocking_count)
			memcpy(grown, rt->blocking_wait, rt->blocking_count * sizeof(*grown));
		wf_free(rt->blocking_wait);
		rt->blocking_wait = grown;
		rt->blocking_room = room;
	}
	WF_DEBUG(rt->blocking_count < rt->blocking_room);
	rt->blocking_wait[rt->blocking_count++] = cell;
	return true;
}

bool wf_spare_run(struct wf_local *self, struct wf_cell *cell, bool may_wait)
{
	weft *rt = self->rt;

	pthread_mutex_lock(&rt->threads_mutex);
	/* relaxed: added to under the mutex, and read there or under idleness. */
	uint32_t others = wf_add_relaxed(&rt->bodies_outside, 1);
	bool given = give_job(rt, WF_JOB_TASK, NULL, cell);

	if (!given && may_wait && rt->spare_count && !all_wait(rt, others))
		given = wait_for_thread(rt, cell);
	if (!given)
		/* relaxed: as above. */
		wf_add_relaxed(&rt->bodies_outside, (uint32_t)-1);
	pthread_mutex_unlock(&rt->threads_mutex);
	if (!given)
		wf_log(rt, WEFT_LOG_WARN, "no spare thread for a blocking task: it holds a worker");
	return given;
}

void wf_outside_sleeps(struct wf_local *self)
{
	weft *rt = self->rt;
	struct wf_cell *cell = NULL;

	WF_DEBUG(!self->worker && self->current);
	pthread_mutex_lock(&rt->threads_mutex);
	rt->outside_asleep++;
	/* relaxed: a body that ends meanwhile takes a waiting task itself. */
	while (all_wait(rt, wf_load_relaxed(&rt->bodies_outside)) &&
	       (cell = waiting_task(rt)) != NULL) {
		wf_add_relaxed(&rt->bodies_outside, (uint32_t)-1); /* relaxed: as above. */
		pthread_mutex_unlock(&rt->threads_mutex);
		/* To a worker, which runs it itself when there is still no thread for it. */
		wf_ready_cell(self, cell, WEFT_PRIORITY_NORMAL);
		pthread_mutex_lock(&rt->threads_mutex);
	}
	pthread_mutex_unlock(&rt->threads_mutex);
}

void wf_outside_wakes(struct wf_local *self)
{
	pthread_mutex_lock(&self->rt->threads_mutex);
	WF_CHECK(self->rt->outside_asleep > 0);
	self->rt->outside_asleep--;
	pthread_mutex_unlock(&self->rt->threads_mutex);
}

int wf_spare_take_over(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	struct wf_thread_state *thread = wf_thread_current();

	/* A task that must resume on this thread is parked here: the thread cannot leave. */
	if (worker->helper || wf_load_relaxed(&worker->stay_parked) || !thread->guest)
		return -EBUSY;
	struct wf_local *guest = thread->guest;
	struct weft_task *current = worker->local.current;
	uint64_t *share = &wf_fiber_user(worker->local.fiber)->share;

	/* From here on this thread is the guest; the worker is nobody's until a spare adopts it. */
	WF_CHECK(!guest->share);
	guest->current = current;
	guest->fiber = NULL;
	guest->share = *share;
	*share = 0;
	worker->local.current = NULL;
	pthread_mutex_lock(&rt->threads_mutex);
	wf_add_relaxed(&rt->bodies_outside, 1);
	wf_local_set(guest);
	bool given = give_job(rt, WF_JOB_WORKER, worker, NULL);

	if (!given) {
		wf_local_set(&worker->local);
		worker->local.current = current;
		guest->current = NULL;
		*share = guest->share;
		guest->share = 0;
		wf_add_relaxed(&rt->bodies_outside, (uint32_t)-1);
	} else if (!thread->spare) {
		/* It comes back as a spare; the one that took its place is counted for it. */
		thread->spare = true;
	}
	pthread_mutex_unlock(&rt->threads_mutex);
	if (given && current)
		body_begins(thread, wf_ref_of(rt, current->cell).bits);
	if (given)
		wf_admit_unlend(guest);
	return given ? 0 : -EAGAIN;
}

/* ---- Bodies that sit in system calls ------------------------------------------------------- */

static bool is_body(const struct wf_thread_state *thread, uint64_t bits)
{
	/* acquire [I1]. An orphan is still the same task. */
	uint64_t body = wf_load_acquire(&thread->body);

	return body && !((body ^ bits) & ~((uint64_t)WF_GEN_ORPHAN << WF_INDEX_BITS));
}

void wf_spare_interrupt(struct wf_local *self, struct wf_cell *cell, uint32_t gen)
{
	weft *rt = self->rt;
	uint64_t bits = (uint64_t)gen << WF_INDEX_BITS | (uint64_t)(cell - rt->cells);
	bool found = false;

	WF_DEBUG(cell > rt->cells && cell - rt->cells <= rt->cells_last);
	/* relaxed: counted before the body is handed to its thread, and [I1] decides. */
	if (!wf_load_relaxed(&rt->bodies_outside))
		return;
	pthread_mutex_lock(&rt->threads_mutex);
	for (struct wf_thread_state *t = rt->threads_all; t && !found; t = t->all)
		found = is_body(t, bits);
	if (found && !rt->wakes) {
		wf_wake_install();
		rt->wakes = true;
	}
	pthread_mutex_unlock(&rt->threads_mutex);
	/* By the service thread, as often as it takes: it may be about to begin its call. */
	if (found)
		wf_service_ring(rt, WF_SERVICE_NAG);
}

uint32_t wf_spares_nag(weft *rt)
{
	uint32_t n = 0;

	pthread_mutex_lock(&rt->threads_mutex);
	for (struct wf_thread_state *t = rt->threads_all; t; t = t->all) {
		/* acquire [I1] */
		uint64_t bits = wf_load_acquire(&t->body);
		struct wf_cell *cell = &rt->cells[bits & WF_INDEX_MASK];

		/* relaxed: cells stay; one that is another's by now has been woken for nothing. */
		if (!bits || wf_load_relaxed(&cell->cancel) == WF_CANCEL_NO)
			continue;
		wf_thread_wake(&t->thread);
		n++;
	}
	pthread_mutex_unlock(&rt->threads_mutex);
	return n;
}

void wf_spare_outcome(struct wf_local *self, const struct wf_cell *cell,
                      const struct wf_cell *outcome, const char *name)
{
	struct wf_thread_state *thread = wf_thread_current();

	/* On a worker it cannot be abandoned. */
	if (self->worker || !thread || thread->rt != self->rt)
		return;
	WF_DEBUG(outcome > self->rt->cells && name);
	pthread_mutex_lock(&self->rt->threads_mutex);
	WF_CHECK(!thread->outcome && !thread->abandoned);
	thread->outcome = (uint32_t)(outcome - self->rt->cells);
	thread->outcome_name = name;
	thread->outcome_of = cell;
	pthread_mutex_unlock(&self->rt->threads_mutex);
}

bool wf_spare_outcome_end(struct wf_local *self, const struct wf_cell *cell,
                          const struct wf_cell *outcome)
{
	weft *rt = self->rt;
	struct wf_thread_state *thread = wf_thread_current();
	bool abandoned = false;

	if (!thread || thread->rt != rt)
		return false;
	pthread_mutex_lock(&rt->threads_mutex);
	/* A body on this thread may end another task, by a cancel: that one is not its own. */
	if (thread->outcome_of != cell) {
		pthread_mutex_unlock(&rt->threads_mutex);
		return false;
	}
	thread->outcome_of = NULL;
	if (thread->abandoned) {
		WF_CHECK(!thread->outcome && rt->spare_max > 0);
		abandoned = true;
		thread->abandoned = false;
		rt->spare_max--;
	} else if (thread->outcome == (uint32_t)(outcome - rt->cells)) {
		thread->outcome = 0;
	}
	pthread_mutex_unlock(&rt->threads_mutex);
	return abandoned;
}

int wf_spare_abandon(struct wf_local *self, const struct wf_cell *outcome, char *name, size_t size,
                     int32_t *thread)
{
	weft *rt = self->rt;
	uint32_t index = (uint32_t)(outcome - rt->cells);

	WF_CHECK(index > 0 && index <= rt->cells_last);

	pthread_mutex_lock(&rt->threads_mutex);
	struct wf_thread_state *t = rt->threads_all;

	while (t && t->outcome != index)
		t = t->all;
	if (t) {
		/* Its task has not ended: the name is still there. */
		WF_CHECK(t->outcome_name && !t->abandoned);
		snprintf(name, size, "%s", t->outcome_name);
		*thread = t->tid;
		t->outcome = 0;
		t->abandoned = true;
		/* Another thread may take its place. */
		rt->spare_max++;
		rt->abandoned++;
	}
	pthread_mutex_unlock(&rt->threads_mutex);
	return t ? 0 : -EBUSY;
}

void wf_spares_stop(weft *rt)
{
	pthread_mutex_lock(&rt->threads_mutex);
	while (rt->spares_idle) {
		struct wf_thread_state *thread = rt->spares_idle;

		rt->spares_idle = thread->next;
		hand_job(thread, WF_JOB_EXIT);
	}
	pthread_mutex_unlock(&rt->threads_mutex);
}

void wf_threads_join(weft *rt)
{
	for (;;) {
		pthread_mutex_lock(&rt->threads_mutex);
		struct wf_thread_state *thread = rt->threads_all;

		if (thread)
			rt->threads_all = thread->all;
		pthread_mutex_unlock(&rt->threads_mutex);
		if (!thread)
			return;
		wf_thread_join(&thread->thread);
		wf_free(thread);
	}
}
