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

/* ---- Jobs ---------------------------------------------------------------------------------- */

static void run_worker(struct wf_thread_state *thread)
{
	struct wf_worker *worker = thread->job_worker;

	if (!thread->spare)
		bind(worker);
	/* Without a stack nothing can run; others may put some back. */
	while (wf_worker_enter(thread, worker) && !wf_load_acquire(&thread->rt->stopping))
		wf_futex_wait(&thread->rt->stopping, 0, wf_clock_now(NULL) + 1000000);
	if (!wf_self()->worker)
		/* A body gave the worker away and has ended. relaxed: read under idleness. */
		wf_add_relaxed(&thread->rt->bodies_outside, (uint32_t)-1);
	wf_local_set(thread->guest);
}

static void run_task(struct wf_thread_state *thread)
{
	struct wf_cell *cell = thread->job_cell;
	struct wf_local *self = thread->guest;

	wf_local_set(self);
	self->current = NULL;
	wf_task_run(self, cell);
	wf_slab_flush(thread->guest);
	/* relaxed: read under idleness, see wf_deadlock_search(). */
	wf_add_relaxed(&thread->rt->bodies_outside, (uint32_t)-1);
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

bool wf_spare_run(struct wf_local *self, struct wf_cell *cell)
{
	weft *rt = self->rt;

	/* relaxed: read under idleness. */
	wf_add_relaxed(&rt->bodies_outside, 1);
	pthread_mutex_lock(&rt->threads_mutex);
	bool given = give_job(rt, WF_JOB_TASK, NULL, cell);

	if (!given && rt->spare_count && rt->blocking_count == rt->blocking_room) {
		uint32_t room = rt->blocking_room ? rt->blocking_room * 2 : 64;
		struct wf_cell **grown = wf_malloc(room * sizeof(*grown));

		if (grown) {
			if (rt->blocking_count)
				memcpy(grown, rt->blocking_wait,
				       rt->blocking_count * sizeof(*grown));
			wf_free(rt->blocking_wait);
			rt->blocking_wait = grown;
			rt->blocking_room = room;
		}
	}
	if (!given && rt->spare_count && rt->blocking_count < rt->blocking_room) {
		rt->blocking_wait[rt->blocking_count++] = cell;
		given = true;
	}
	pthread_mutex_unlock(&rt->threads_mutex);
	if (given)
		return true;
	wf_log(rt, WEFT_LOG_WARN, "no spare thread for a blocking task: it holds a worker");
	/* relaxed: read under idleness. */
	wf_add_relaxed(&rt->bodies_outside, (uint32_t)-1);
	return false;
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

	/* From here on this thread is the guest; the worker is nobody's until a spare adopts it. */
	guest->current = current;
	guest->fiber = NULL;
	worker->local.current = NULL;
	pthread_mutex_lock(&rt->threads_mutex);
	wf_add_relaxed(&rt->bodies_outside, 1);
	wf_local_set(guest);
	bool given = give_job(rt, WF_JOB_WORKER, worker, NULL);

	if (!given) {
		wf_local_set(&worker->local);
		worker->local.current = current;
		guest->current = NULL;
		wf_add_relaxed(&rt->bodies_outside, (uint32_t)-1);
	} else if (!thread->spare) {
		/* It comes back as a spare; the one that took its place is counted for it. */
		thread->spare = true;
	}
	pthread_mutex_unlock(&rt->threads_mutex);
	return given ? 0 : -EAGAIN;
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
