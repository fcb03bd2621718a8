/*
 * poll.c: finding out what devices have done.
 *
 * Whoever is in the scheduler's loop looks now and then, a searching worker often, and a worker
 * before it sleeps. Then it arms one doorbell per device: a host function behind the oldest mark
 * whose passing anybody wants to know of, in a stream of its own so that no work waits behind it.
 * It wakes a worker, which looks, and arms the next. CUDA calls no host function after an error, so
 * one of the sleepers has its time limited, at first to LIMIT_FIRST_NS.
 *
 * Sleep against doorbell: the sleeper marks itself parked, then looks at `armed`; the doorbell
 * clears `armed`, then looks for somebody parked. Each has a full exchange in between [D2].
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gpu.h"

#define LIMIT_FIRST_NS INT64_C(2000000)
#define LIMIT_LAST_NS  INT64_C(50000000)

/* ---- Lost ----------------------------------------------------------------------------------- */

void wf_gpu_lose(struct wf_gpu *gpu, const char *why)
{
	struct wf_gpus *gpus = gpu->gpus;

	if (wf_gpu_is_lost(gpu))
		return;
	if (why && WF_DEVICE_HAS(gpus->ops, device_abandon))
		gpus->ops->device_abandon(gpus->backend, gpu->index);
	if (!why)
		why = gpus->ops->error_text(gpus->backend, gpu->index);
	WF_CHECK(why);
	snprintf(gpu->failure, sizeof(gpu->failure), "device %u (%.63s) was lost: %.160s",
	         gpu->index, gpu->info.name, why);
	/* release [G3]: why. */
	wf_store_release(&gpu->lost, 1);
}

/* With the mutex held: whether this call is the first to be told of the loss. */
static bool first_to_know(struct wf_gpu *gpu)
{
	/* relaxed: under the mutex. */
	if (wf_load_relaxed(&gpu->lost) != 1)
		return false;
	/* release [G3]: as in wf_gpu_lose(). */
	wf_store_release(&gpu->lost, 2);
	return true;
}

/* Once, without the mutex: what a loss means for those who wait for a grant. */
static void tell_lost(struct wf_local *self, struct wf_gpu *gpu)
{
	wf_log(self->rt, WEFT_LOG_ERROR, "%s", gpu->failure);
	wf_admit_gpu_lost(self, gpu->index);
}

int wf_gpu_status(struct wf_gpu *gpu, int rc)
{
	if (wf_device_classify(rc) != WF_DEVICE_CLASS_LOST)
		return rc;
	struct wf_local *self = wf_local_of(gpu->gpus->rt);

	pthread_mutex_lock(&gpu->mutex);
	wf_gpu_lose(gpu, NULL);
	/* A thread that has no identity leaves it to the next poll. */
	bool first = self && first_to_know(gpu);

	pthread_mutex_unlock(&gpu->mutex);
	if (first)
		tell_lost(self, gpu);
	return WEFT_EDEVICE;
}

/* ---- Reaping -------------------------------------------------------------------------------- */

/* Take the first mark off; with the mutex held. */
static void pop(struct wf_gpu *gpu, struct wf_gpu_stream *stream, int rc,
                struct wf_gpu_mark **passed)
{
	struct wf_gpu_mark *mark = stream->first;

	WF_CHECK(mark && rc <= 0);
	stream->first = mark->next;
	if (!stream->first)
		stream->last = NULL;
	WF_CHECK(stream->depth > 0);
	stream->depth--;
	mark->rc = rc;
	mark->next = *passed;
	*passed = mark;
	/* release [G4]: to whoever waits for none. relaxed: only written under the mutex. */
	wf_store_release(&gpu->pending, wf_load_relaxed(&gpu->pending) - 1);
}

static void reap_stream(struct wf_gpu *gpu, struct wf_gpu_stream *stream, bool line,
                        struct wf_gpu_mark **passed)
{
	struct wf_gpus *gpus = gpu->gpus;

	WF_DEBUG(!stream->first == !stream->last);
	while (stream->first && !wf_gpu_is_lost(gpu)) {
		WF_DEBUG(stream->queue && stream->first->event);
		int rc = gpus->ops->event_query(gpus->backend, stream->first->event);

		switch (wf_device_classify(rc)) {
		case WF_DEVICE_CLASS_BUSY:
			return;
		case WF_DEVICE_CLASS_LOST:
			wf_gpu_lose(gpu, NULL);
			break;
		default:
			/* Of an attempt, its failure. Else nobody else would know. */
			if (rc < 0 && (stream->first->done || line)) {
				wf_gpu_lose(gpu, "nobody knows how a copy has ended");
				break;
			}
			pop(gpu, stream, rc < 0 ? rc : 0, passed);
		}
	}
}

/* What has passed, the last one first; with the mutex held. */
static struct wf_gpu_mark *reap(struct wf_gpu *gpu)
{
	struct wf_gpu_mark *passed = NULL;
	char text[80];

	for (uint32_t i = 0; i < gpu->stream_count + WF_GPU_LINES; i++)
		reap_stream(gpu, &gpu->stream[i], i >= gpu->stream_count, &passed);
	int64_t hang_ns = gpu->gpus->cuda->hang_ns;

	WF_DEBUG(hang_ns >= 0);

	if (passed || !hang_ns) {
		gpu->moved_ns = hang_ns ? wf_clock_now(NULL) : 0;
	} else if (wf_clock_now(NULL) - gpu->moved_ns > hang_ns) {
		snprintf(text, sizeof(text), "nothing was done for %lld ns", (long long)hang_ns);
		wf_gpu_lose(gpu, text);
	}
	if (!wf_gpu_is_lost(gpu))
		return passed;
	for (uint32_t i = 0; i < gpu->stream_count + WF_GPU_LINES; i++) {
		while (gpu->stream[i].first)
			pop(gpu, &gpu->stream[i], WEFT_EDEVICE, &passed);
	}
	WF_DEBUG(!wf_load_relaxed(&gpu->pending)); /* relaxed: under the mutex. */
	return passed;
}

/* The last one first: the oldest is on top of this worker's queue then. How many. */
static uint32_t fire(struct wf_local *self, struct wf_gpu_mark *passed)
{
	uint32_t n = 0;

	if (passed)
		/* relaxed: only has to change before the wake, see wf_deadlock_search(). */
		wf_add_relaxed(&self->rt->external, 1);
	while (passed) {
		struct wf_gpu_mark *mark = passed;

		/* Read before: whoever is fired may be gone right after. */
		passed = mark->next;
		WF_DEBUG(mark->rc <= 0);
		n++;
		if (mark->done) {
			mark->done(mark, self);
			continue;
		}
		if (mark->node.wait) {
			wf_wait_fire(&mark->node.waiter, NULL, self);
			continue;
		}
		/* release [M1]: the last touch; for the wake the address is only a name. */
		wf_store_release(&mark->passed, 1);
		wf_futex_wake(&mark->passed, 1);
	}
	return n;
}

/* Marks, or a loss that nobody was told of. A hint. */
static bool is_pending(const struct wf_gpu *gpu)
{
	/* relaxed, both: whoever puts it there looks again, or wakes who does. */
	return wf_load_relaxed(&gpu->pending) || wf_load_relaxed(&gpu->lost) == 1;
}

/* Without the mutex a poll may miss what comes right then; whoever put it there looks again. */
static uint32_t poll_one(struct wf_local *self, struct wf_gpu *gpu)
{
	WF_DEBUG(self && self->rt == gpu->gpus->rt);
	if (!is_pending(gpu) || pthread_mutex_trylock(&gpu->mutex))
		return 0;
	struct wf_gpu_mark *passed = reap(gpu);
	bool lost = first_to_know(gpu);

	pthread_mutex_unlock(&gpu->mutex);
	if (lost)
		tell_lost(self, gpu);
	(void)wf_gpu_sweep(gpu);
	return fire(self, passed);
}

uint32_t wf_gpu_poll(struct wf_local *self)
{
	struct wf_gpus *gpus = self->rt->gpus;
	uint32_t n = 0;

	WF_DEBUG(gpus);
	for (uint32_t i = 0; i < gpus->count; i++)
		n += poll_one(self, &gpus->gpu[i]);
	return n;
}

bool wf_gpus_pending(const weft *rt)
{
	const struct wf_gpus *gpus = rt->gpus;
	bool any = false;

	for (uint32_t i = 0; gpus && i < gpus->count && !any; i++)
		any = is_pending(&gpus->gpu[i]);
	return any;
}

void wf_gpu_poll_slow(struct wf_worker *worker, uint32_t us)
{
	uint64_t now;

	WF_DEBUG(us > 0);
	if (!wf_gpus_pending(worker->local.rt))
		return;
	now = wf_ticks();
	if (now - worker->polled < us * wf_ticks_per_us())
		return;
	worker->polled = now;
	wf_gpu_poll(&worker->local);
}

/* ---- Doorbells ------------------------------------------------------------------------------ */

/* On a thread of the back end: no call of the back end, no lock that anybody holds for long. */
static void ring(void *arg)
{
	struct wf_bell *bell = arg;

	pthread_mutex_lock(&bell->mutex);
	wf_add_relaxed(&bell->rung, 1); /* relaxed: a statistic. */
	/* acq_rel [D2]: before the look for somebody parked. */
	wf_swap_acq_rel(&bell->armed, 0);
	wf_fence_seq_cst(); /* [D2] */
	if (bell->rt)
		wf_wake_one(bell->rt);
	pthread_mutex_unlock(&bell->mutex);
}

/* The oldest mark that anybody wants to know of. */
static struct wf_gpu_mark *oldest(struct wf_gpu *gpu)
{
	struct wf_gpu_mark *best = NULL;

	WF_DEBUG(gpu->stream_count <= WF_GPU_STREAMS_MAX);
	for (uint32_t i = 0; i < gpu->stream_count + WF_GPU_LINES; i++) {
		struct wf_gpu_mark *mark = gpu->stream[i].first;

		while (mark && mark->covered && mark->next)
			mark = mark->next;
		if (mark && (!best || mark->serial < best->serial))
			best = mark;
	}
	/* relaxed: under the mutex. */
	WF_DEBUG(!best == !wf_load_relaxed(&gpu->pending));
	return best;
}

static void arm(struct wf_gpu *gpu)
{
	struct wf_gpus *gpus = gpu->gpus;
	struct wf_bell *bell = &gpus->cuda->bell[gpu->index];
	uint32_t unarmed = 0;
	int rc = 0;

	WF_DEBUG(bell->rt == gpus->rt && gpu->index < gpus->count);
	wf_fence_seq_cst(); /* [D2] */
	/* relaxed: a hint. */
	if (!wf_load_relaxed(&gpu->pending))
		return;
	/* acq_rel [D2]: after this worker was marked parked. */
	if (!wf_cas_acq_rel(&bell->armed, &unarmed, 1))
		return;
	pthread_mutex_lock(&gpu->mutex);
	struct wf_gpu_mark *mark = wf_gpu_is_lost(gpu) ? NULL : oldest(gpu);

	if (mark && !gpu->bell)
		rc = gpus->ops->stream_create(gpus->backend, gpu->index, WF_DEVICE_COMPUTE, 0,
		                              &gpu->bell);
	if (mark && !rc)
		rc = gpus->ops->stream_wait(gpus->backend, gpu->bell, mark->event);
	if (mark && !rc)
		rc = gpus->ops->stream_doorbell(gpus->backend, gpu->bell, ring, bell);
	pthread_mutex_unlock(&gpu->mutex);
	/* Without one the time limit of a sleeper is what wakes. */
	if (!mark || rc)
		wf_store_release(&bell->armed, 0); /* release [D2] */
}

bool wf_gpu_before_sleep(struct wf_worker *worker, int64_t *interval, int64_t *until)
{
	struct wf_gpus *gpus = worker->local.rt->gpus;
	uint32_t nobody = 0, me = worker->index + 1;

	WF_DEBUG(gpus && !worker->local.current);
	if (!wf_gpus_pending(worker->local.rt)) {
		/*
		 * It sleeps without a limit: not as the one that others rely on. Either it sees
		 * what they have put there, or they see that it looks no longer [D3].
		 */
		wf_gpu_after_sleep(worker);
		wf_fence_seq_cst(); /* [D3] */
		if (!wf_gpus_pending(worker->local.rt))
			return false;
	}
	if (wf_gpu_poll(&worker->local))
		return true;
	for (uint32_t i = 0; i < gpus->count; i++)
		arm(&gpus->gpu[i]);
	wf_fence_seq_cst(); /* [D3]: after our marks. */
	/* relaxed, both: only compared with our own number. */
	if (wf_load_relaxed(&gpus->watcher) != me && !wf_cas_relaxed(&gpus->watcher, &nobody, me))
		return false;
	*interval = *interval ? *interval * 2 : LIMIT_FIRST_NS;
	*interval = *interval < LIMIT_LAST_NS ? *interval : LIMIT_LAST_NS;
	int64_t limit = wf_clock_now(NULL) + *interval;

	*until = *until < limit ? *until : limit;
	return false;
}

void wf_gpu_after_sleep(struct wf_worker *worker)
{
	uint32_t me = worker->index + 1;

	/* relaxed: as above. */
	wf_cas_relaxed(&worker->local.rt->gpus->watcher, &me, 0);
}
