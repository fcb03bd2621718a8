/*
 * quiet.c: whether anything is left to do, as far as counters and queues tell.
 */
#include "gpu.h"
#include "runtime.h"

/* Whether something that can run lies in a queue, also of a worker that is still waking up. */
bool wf_something_queued(weft *rt)
{
	/* relaxed: one look of several. */
	if (wf_load_relaxed(&rt->overflow_count) || wf_load_relaxed(&rt->group_queued) ||
	    /* relaxed: as above. */
	    wf_load_relaxed(&rt->placed) || (rt->order && wf_order_count(rt->order)))
		return true;
	for (uint32_t i = 0; i < rt->node_count * WF_PRIORITIES; i++) {
		if (!wf_injector_is_empty_mt(&rt->inject[i / WF_PRIORITIES][i % WF_PRIORITIES]))
			return true;
	}
	for (uint32_t i = 0; i < rt->slots; i++) {
		struct wf_worker *worker = rt->worker[i];

		if (!wf_mpsc_is_empty(&worker->inbox))
			return true;
		for (uint32_t p = 0; p < WF_PRIORITIES; p++) {
			if (wf_deque_count_mt(&worker->deque[p]))
				return true;
		}
	}
	return false;
}

bool wf_runtime_is_idle(weft *rt)
{
	/* First: what is taken off a queue after this, an awake worker took. */
	if (wf_something_queued(rt))
		return false;
	/* relaxed, all: one look of several. */
	uint32_t helpers = (uint32_t)__builtin_popcount(wf_load_relaxed(&rt->helpers_used));

	pthread_mutex_lock(&rt->threads_mutex);
	bool bodies = wf_load_relaxed(&rt->bodies_outside) > rt->outside_asleep;

	pthread_mutex_unlock(&rt->threads_mutex);
	pthread_mutex_lock(&rt->timer_mutex);
	bool timers = rt->timer_count > rt->timer_tasks;

	pthread_mutex_unlock(&rt->timer_mutex);
	return !bodies && !timers && !wf_gpus_pending(rt) &&
		wf_load_relaxed(&rt->sleeping) >= rt->workers + helpers;
}

uint64_t wf_runtime_progress(weft *rt)
{
	uint32_t end = wf_load_acquire(&rt->locals_end); /* acquire [L1]: the entries. */
	uint64_t sum = 0;

	for (uint32_t i = 0; i < end; i++)
		/* relaxed: only compared with itself. */
		sum += wf_load_relaxed(&rt->locals[i]->completed) +
			wf_load_relaxed(&rt->locals[i]->count.suspended);
	return sum;
}

/* Sums of all threads. Ends are read first: equal sums were equal at one moment in between. */
bool wf_runtime_is_quiet(weft *rt)
{
	/* acquire [Q1]: an end that is counted brings its submit with it. */
	uint32_t end = wf_load_acquire(&rt->locals_end);
	uint64_t completed = 0, submitted = 0;

	for (uint32_t i = 0; i < end; i++) {
		if (rt->locals[i])
			completed += wf_load_acquire(&rt->locals[i]->completed);
	}
	/* acquire: a thread that joined since may have submitted. */
	end = wf_load_acquire(&rt->locals_end);
	for (uint32_t i = 0; i < end; i++) {
		if (rt->locals[i])
			submitted += wf_load_acquire(&rt->locals[i]->submitted);
	}
	/* Counted the other way round, a sum could be even while something is left. */
	WF_DEBUG(completed <= submitted);
	return completed == submitted && !wf_actors_poked(rt);
}
