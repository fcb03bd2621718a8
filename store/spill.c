/*
 * spill.c: open, close, and what needs no thread.
 *
 * One thread writes: it takes batches in the order in which they came, makes files, sums and
 * copies small objects, hands transfers to the I/O room and gives empty files back. So neither the
 * caller nor an I/O thread waits for a fallocate() of 256 MiB, and extents have one taker. Reads
 * need no thread of their own: they are started by whoever asks, and summed on the I/O threads as
 * the bytes come in.
 *
 * All memory is mapped at open: neither a write nor a read can fail for want of memory, which is
 * what they are there to relieve. What does not find a free job or slot waits for one.
 *
 * Shared: the fields of struct wf_spill between `lock` and the fields of the writing thread, and
 * the parts of jobs and slots that say so: under `lock`. segment.c has a lock of its own, taken
 * while this one is not held.
 *
 * Invariants: a batch is waiting, being cut, or referred to by a job, until done; a read is
 * waiting, in one slot, or refused, until done. A job is idle exactly while its batch is NULL.
 *
 * Progress: blocking, by mutexes held for a few assignments. A write and a read end after a
 * bounded number of attempts.
 */
#include "spill.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "spill_inner.h"

#define HUGE_BYTES ((uint64_t)2 << 20)

/* One mapping, in huge pages where the kernel gives them: disks like few segments. */
static int map_buffers(struct wf_spill *spill)
{
	uint64_t bytes = WF_SPILL_STAGING_COUNT * WF_SPILL_STAGING_BYTES +
		WF_SPILL_DIRECT_COUNT * WF_SPILL_EDGE_BYTES +
		WF_SPILL_READ_COUNT * WF_SPILL_SLOT_BYTES;
	char *at;

	spill->memory_bytes = wf_record_round(bytes, HUGE_BYTES) + HUGE_BYTES;
	spill->memory = wf_map(spill->memory_bytes, PROT_READ | PROT_WRITE);
	if (spill->memory == NULL)
		return -ENOMEM;
	at = spill->memory + (-(uintptr_t)spill->memory & (HUGE_BYTES - 1));
	/* A wish: without it everything works, slower. */
	(void)madvise(at, wf_record_round(bytes, HUGE_BYTES), MADV_HUGEPAGE);
	for (uint32_t i = 0; i < WF_SPILL_DIRECT_COUNT + WF_SPILL_STAGING_COUNT; i++) {
		struct wf_spill_job *job = &spill->jobs[i];

		job->spill = spill;
		job->fused = i < WF_SPILL_STAGING_COUNT;
		job->buffer = at;
		at += job->fused ? WF_SPILL_STAGING_BYTES : WF_SPILL_EDGE_BYTES;
	}
	for (uint32_t i = 0; i < WF_SPILL_READ_COUNT; i++) {
		struct wf_spill_slot *slot = &spill->slots[i];

		slot->spill = spill;
		slot->detour = at;
		slot->next = spill->free_slots;
		spill->free_slots = slot;
		at += WF_SPILL_SLOT_BYTES;
	}
	WF_CHECK(at <= spill->memory + spill->memory_bytes);
	return 0;
}

int wf_spill_open(struct wf_spill **out, const struct wf_spill_options *options)
{
	struct wf_spill *spill = wf_aligned_alloc(WF_CACHE_LINE, sizeof(*spill));
	int status;

	if (spill == NULL)
		return -ENOMEM;
	memset(spill, 0, sizeof(*spill));
	spill->io = options->io;
	spill->session = options->session;
	WF_CHECK(spill->io != NULL);
	status = map_buffers(spill);
	if (status != 0)
		goto out_free;
	status = wf_segments_open(&spill->segments, options, spill->jobs[0].buffer);
	if (status != 0)
		goto out_unmap;
	WF_CHECK(pthread_mutex_init(&spill->lock, NULL) == 0);
	WF_CHECK(pthread_cond_init(&spill->wake, NULL) == 0);
	status = wf_thread_start(&spill->thread, "weft-spill", wf_spill_writer, spill);
	if (status != 0)
		goto out_segments;
	*out = spill;
	return 0;

out_segments:
	pthread_cond_destroy(&spill->wake);
	pthread_mutex_destroy(&spill->lock);
	wf_segments_close(&spill->segments);
out_unmap:
	wf_unmap(spill->memory, spill->memory_bytes);
out_free:
	wf_free(spill);
	return status;
}

void wf_spill_close(struct wf_spill *spill)
{
	if (spill == NULL)
		return;
	pthread_mutex_lock(&spill->lock);
	WF_CHECK(spill->first_batch == NULL && spill->batch == NULL);
	WF_CHECK(spill->first_read == NULL && spill->refused == NULL);
	spill->stop = true;
	wf_spill_wake_locked(spill);
	pthread_mutex_unlock(&spill->lock);
	wf_thread_join(&spill->thread);
	for (uint32_t i = 0; i < WF_SPILL_DIRECT_COUNT + WF_SPILL_STAGING_COUNT; i++)
		WF_CHECK(spill->jobs[i].batch == NULL);
	for (uint32_t i = 0; i < WF_SPILL_READ_COUNT; i++)
		WF_CHECK(spill->slots[i].read == NULL);
	pthread_cond_destroy(&spill->wake);
	pthread_mutex_destroy(&spill->lock);
	wf_segments_close(&spill->segments);
	wf_unmap(spill->memory, spill->memory_bytes);
	wf_free(spill);
}

void wf_spill_wake_locked(struct wf_spill *spill)
{
	if (!spill->sleeping)
		return;
	spill->sleeping = false;
	pthread_cond_signal(&spill->wake);
}

void wf_spill_write(struct wf_spill *spill, struct wf_spill_batch *batch)
{
	WF_CHECK(batch->items != NULL || batch->count == 0);
	WF_CHECK(batch->done != NULL);
	batch->private_ = NULL;
	pthread_mutex_lock(&spill->lock);
	if (spill->last_batch != NULL)
		spill->last_batch->private_ = batch;
	else
		spill->first_batch = batch;
	spill->last_batch = batch;
	wf_spill_wake_locked(spill);
	pthread_mutex_unlock(&spill->lock);
}

void wf_spill_free(struct wf_spill *spill, const struct wf_spill_place *place, uint64_t size)
{
	if (!wf_segments_remove(&spill->segments, place, size))
		return;
	pthread_mutex_lock(&spill->lock);
	spill->trim = true;
	wf_spill_wake_locked(spill);
	pthread_mutex_unlock(&spill->lock);
}

void wf_spill_stats(const struct wf_spill *spill, struct wf_spill_stats *stats)
{
	/* Only the locks are changed. */
	struct wf_spill *locked = (struct wf_spill *)(uintptr_t)spill;
	struct wf_segments *segments = &locked->segments;

	pthread_mutex_lock(&locked->lock);
	*stats = locked->stats;
	pthread_mutex_unlock(&locked->lock);
	pthread_mutex_lock(&segments->lock);
	stats->live_bytes = segments->live_bytes;
	stats->file_bytes = segments->file_bytes;
	stats->segments = segments->segment_count;
	stats->segments_bad = segments->bad_count;
	pthread_mutex_unlock(&segments->lock);
}

bool wf_spill_is_full(struct wf_spill *spill, uint64_t size)
{
	if (size > WF_RECORD_SIZE_MAX)
		return true;
	return !wf_segments_have_room(&spill->segments, wf_record_pages(0, size));
}
