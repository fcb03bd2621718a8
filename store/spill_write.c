/*
 * spill_write.c: the writing thread.
 *
 * A batch is cut into jobs, in two passes. Large objects are summed and go straight from their
 * places, one job and one transfer each: the whole pages, and behind them the rest and the header
 * from a small buffer. (A transfer of their own for those cost a twentieth of the disk's speed, and
 * others fly while one is summed.) Small ones are summed and copied one after the other into a
 * staging buffer, and the buffer is one transfer into one extent. A job that failed keeps its bytes
 * and goes to another extent; its records do not say where they lie, so only the places change.
 *
 * Records count in the segments from the moment in which their job has succeeded. Until then the
 * job's extent holds the pages.
 */
#include <errno.h>
#include <string.h>

#include "spill_inner.h"

#define JOBS        (WF_SPILL_DIRECT_COUNT + WF_SPILL_STAGING_COUNT)
#define AHEAD_BYTES ((uint64_t)4096)

enum way { WAY_STRAIGHT, WAY_FUSED, WAY_COPIED, WAY_IMPOSSIBLE };

static enum way way_of(const struct wf_spill_item *item)
{
	if (item->size >= WF_SPILL_DIRECT_MIN && (uintptr_t)item->data % WF_RECORD_PAGE == 0)
		return item->size <= WF_RECORD_SIZE_MAX ? WAY_STRAIGHT : WAY_IMPOSSIBLE;
	if (item->size <= WF_SPILL_STAGING_BYTES &&
	    wf_record_bytes(item->size) <= WF_SPILL_STAGING_BYTES)
		return WAY_FUSED;
	return item->size <= WF_RECORD_SIZE_MAX ? WAY_COPIED : WAY_IMPOSSIBLE;
}

static bool belongs(const struct wf_spill_job *job, const struct wf_spill_item *item)
{
	return !job->fused || way_of(item) == WAY_FUSED;
}

static void fail_item(struct wf_spill_item *item, int status)
{
	WF_CHECK(status < 0);
	item->status = wf_spill_means_full(status) ? -ENOSPC : status;
	item->place = (struct wf_spill_place){ 0 };
}

static void write_header(const struct wf_spill *spill, const struct wf_spill_item *item,
                         uint64_t sum, char *header)
{
	struct wf_record record = {
		.session = spill->session,
		.id = item->id,
		.size = item->size,
		.sum = sum,
		.generation = item->generation,
	};

	wf_record_write(header, &record);
}

/* ---- Transfers ------------------------------------------------------------------------------ */

static void request_done(struct wf_io_request *request)
{
	struct wf_spill_job *job = request->arg;
	struct wf_spill *spill = job->spill;
	int status = request->status;

	if (status == 0 && request->moved != request->size)
		status = -EIO;
	pthread_mutex_lock(&spill->lock);
	WF_CHECK(job->flying);
	job->flying = false;
	job->status = status;
	job->next = spill->finished;
	spill->finished = job;
	wf_spill_wake_locked(spill);
	pthread_mutex_unlock(&spill->lock);
}

static void prepare(struct wf_spill_job *job, const void *data, uint64_t bytes, uint64_t at)
{
	job->request = (struct wf_io_request){
		.op = WF_IO_WRITE,
		.fd = job->extent.fd,
		.direct = job->extent.direct,
		/* It is only read from. */
		.data = (void *)(uintptr_t)data,
		.size = bytes,
		.offset = (uint64_t)job->extent.page * WF_RECORD_PAGE + at,
		.done = request_done,
		.arg = job,
	};
	WF_CHECK(at + bytes <= (uint64_t)job->extent.pages * WF_RECORD_PAGE);
}

/* The last part of a paged record: what is not a whole page, and the header. Its size. */
static uint64_t build_edge(struct wf_spill_job *job, const struct wf_spill_item *item)
{
	uint64_t body = item->size & ~(WF_RECORD_PAGE - 1);
	uint64_t bytes = wf_record_bytes(item->size) - body;
	const char *data = item->data;

	WF_CHECK(bytes <= WF_SPILL_EDGE_BYTES);
	memset(job->buffer, 0, bytes);
	memcpy(job->buffer, data + body, item->size - body);
	write_header(job->spill, item, wf_sum(data, item->size),
	             job->buffer + bytes - WF_RECORD_HEADER);
	return bytes;
}

static void send_straight(struct wf_spill_job *job)
{
	struct wf_spill_item *item = &job->batch->items[job->first];

	WF_CHECK(!job->fused && !job->flying);
	item->place = (struct wf_spill_place){ .segment = job->extent.segment };
	item->place.page = job->extent.page;
	if (job->attempts == 0)
		job->edge_bytes = build_edge(job, item);
	prepare(job, item->data, wf_record_bytes(item->size), 0);
	job->request.tail = job->buffer;
	job->request.tail_size = job->edge_bytes;
	WF_CHECK(job->request.tail_size < job->request.size);
	job->flying = true;
	/* From here on the job may be finished any time. */
	wf_io_submit(job->spill->io, &job->request);
}

static void send_fused(struct wf_spill_job *job)
{
	WF_CHECK(job->fused && !job->flying);
	WF_CHECK((uint64_t)job->extent.pages * WF_RECORD_PAGE <= WF_SPILL_STAGING_BYTES);
	prepare(job, job->buffer, (uint64_t)job->extent.pages * WF_RECORD_PAGE, 0);
	/* The next buffer is filled meanwhile, and some disks do their work in the system call. */
	job->request.shares_lane = true;
	job->flying = true;
	wf_io_submit(job->spill->io, &job->request);
}

/* ---- Cutting a batch into jobs -------------------------------------------------------------- */

/* Room for a new job. What could not be had for less is not looked for again in this batch. */
static int take(struct wf_spill *spill, uint32_t want, uint32_t least, struct wf_extent *extent)
{
	int status;

	if (spill->refused_pages != 0 && least >= spill->refused_pages)
		return spill->refused_status;
	status = wf_segments_take(&spill->segments, want, least, WF_SEGMENTS_NO_DIR, extent);
	if (status != 0) {
		spill->refused_pages = least;
		spill->refused_status = status;
	}
	return status;
}

static void begin_job(struct wf_spill *spill, struct wf_spill_job *job, uint32_t last)
{
	WF_CHECK(job->batch == NULL && !job->flying);
	WF_CHECK(last > spill->at && last <= spill->batch->count);
	job->batch = spill->batch;
	job->first = spill->at;
	job->last = last;
	job->attempts = 0;
	spill->at = last;
}

static void start_straight(struct wf_spill *spill, struct wf_spill_job *job)
{
	struct wf_spill_item *item = &spill->batch->items[spill->at];
	uint32_t pages = wf_record_pages(0, item->size);
	int status = take(spill, pages, pages, &job->extent);

	if (status != 0) {
		fail_item(item, status);
		spill->at++;
		return;
	}
	begin_job(spill, job, spill->at + 1);
	send_straight(job);
}

/* Put one more record behind `*end` bytes, if it fits below `limit`: where it begins. */
static bool lay(uint64_t size, uint64_t limit, uint64_t *end, uint64_t *begin)
{
	uint64_t at = wf_record_round(*end, wf_record_unit(size));

	if (at + wf_record_bytes(size) > limit)
		return false;
	*begin = at;
	*end = at + wf_record_bytes(size);
	return true;
}

/* The pages that the next small items take, as many items as fit into one buffer. */
static uint32_t plan_pages(const struct wf_spill *spill)
{
	uint64_t end = 0, begin;

	for (uint32_t i = spill->at; i < spill->batch->count; i++) {
		const struct wf_spill_item *item = &spill->batch->items[i];

		if (way_of(item) == WAY_FUSED &&
		    !lay(item->size, WF_SPILL_STAGING_BYTES, &end, &begin))
			break;
	}
	return (uint32_t)(wf_record_round(end, WF_RECORD_PAGE) / WF_RECORD_PAGE);
}

/*
 * Small objects lie anywhere, and each is short: their bytes, and the place for them, are asked for
 * ahead, or every one waits for the memory anew.
 */
struct ahead {
	uint32_t at;    /* the next item to be asked for */
	uint64_t bytes; /* asked for and not yet copied */
};

static uint64_t bytes_ahead(const struct wf_spill_item *item)
{
	return item->size < AHEAD_BYTES ? item->size : AHEAD_BYTES;
}

static void look_ahead(const struct wf_spill_batch *batch, struct ahead *ahead)
{
	WF_DEBUG(ahead->at <= batch->count);
	WF_DEBUG(ahead->bytes < 2 * AHEAD_BYTES);
	while (ahead->bytes < AHEAD_BYTES && ahead->at < batch->count) {
		const struct wf_spill_item *item = &batch->items[ahead->at++];
		uint64_t bytes = bytes_ahead(item);

		if (way_of(item) != WAY_FUSED)
			continue;
		for (uint64_t i = 0; i < bytes; i += WF_CACHE_LINE)
			__builtin_prefetch((const char *)item->data + i);
		ahead->bytes += bytes;
	}
}

static void put_record(const struct wf_spill_job *job, struct wf_spill_item *item, uint64_t begin)
{
	char *to = job->buffer + begin;

	WF_CHECK(begin % wf_record_unit(item->size) == 0);
	WF_CHECK(begin + wf_record_bytes(item->size) <= WF_SPILL_STAGING_BYTES);
	for (uint64_t i = 0; i < bytes_ahead(item); i += WF_CACHE_LINE)
		__builtin_prefetch(to + AHEAD_BYTES + i, 1);
	/* Summed first: then the copy finds the bytes in the cache. */
	write_header(job->spill, item, wf_sum(item->data, item->size),
	             to + wf_record_header_at(item->size));
	if (item->size > 0)
		memcpy(to + wf_record_payload_at(item->size), item->data, item->size);
	item->place = (struct wf_spill_place){
		.segment = job->extent.segment,
		.page = job->extent.page + (uint32_t)(begin / WF_RECORD_PAGE),
		.skip = (uint32_t)(begin % WF_RECORD_PAGE),
	};
}

/* Fill the buffer with items from `at` on: the index behind the last one. */
static uint32_t fill(const struct wf_spill *spill, const struct wf_spill_job *job, uint64_t *end)
{
	uint64_t limit = (uint64_t)job->extent.pages * WF_RECORD_PAGE, begin;
	struct ahead ahead = { .at = spill->at };
	uint32_t i;

	WF_CHECK(limit <= WF_SPILL_STAGING_BYTES);
	for (i = spill->at; i < spill->batch->count; i++) {
		struct wf_spill_item *item = &spill->batch->items[i];

		if (way_of(item) != WAY_FUSED)
			continue;
		if (!lay(item->size, limit, end, &begin))
			break;
		look_ahead(spill->batch, &ahead);
		put_record(job, item, begin);
		WF_CHECK(ahead.bytes >= bytes_ahead(item));
		ahead.bytes -= bytes_ahead(item);
	}
	return i;
}

static void start_fused(struct wf_spill *spill, struct wf_spill_job *job)
{
	struct wf_spill_item *item = &spill->batch->items[spill->at];
	uint32_t last;
	uint64_t end = 0;
	int status = take(spill, plan_pages(spill), wf_record_pages(0, item->size), &job->extent);

	if (status != 0) {
		fail_item(item, status);
		spill->at++;
		return;
	}
	last = fill(spill, job, &end);
	WF_CHECK(end > 0);
	wf_segments_shrink(&spill->segments, &job->extent,
	                   (uint32_t)(wf_record_round(end, WF_RECORD_PAGE) / WF_RECORD_PAGE));
	begin_job(spill, job, last);
	send_fused(job);
}

/* ---- Large objects in places that O_DIRECT does not take ------------------------------------ */

/* Piece by piece through the job's buffer, waiting for each: the allocator makes none such. */
static int copy_out(struct wf_spill_job *job, const struct wf_spill_item *item)
{
	uint64_t total = wf_record_bytes(item->size), sum = wf_sum(item->data, item->size);
	int status = 0;

	WF_CHECK(total <= (uint64_t)job->extent.pages * WF_RECORD_PAGE);
	for (uint64_t at = 0; at < total && status == 0; at += WF_SPILL_STAGING_BYTES) {
		uint64_t left = item->size > at ? item->size - at : 0;
		uint64_t piece = total - at;

		if (piece > WF_SPILL_STAGING_BYTES)
			piece = WF_SPILL_STAGING_BYTES;
		memcpy(job->buffer, (const char *)item->data + at, left < piece ? left : piece);
		if (at + piece == total)
			write_header(job->spill, item, sum, job->buffer + piece - WF_RECORD_HEADER);
		prepare(job, job->buffer, piece, at);
		status = wf_io_run(job->spill->io, &job->request);
		if (status == 0 && job->request.moved != piece)
			status = -EIO;
	}
	return status;
}

/* ---- The end of jobs ------------------------------------------------------------------------ */

static bool is_over(const struct wf_spill *spill, const struct wf_spill_batch *batch)
{
	if (spill->batch == batch)
		return false;
	for (uint32_t i = 0; i < JOBS; i++) {
		if (spill->jobs[i].batch == batch)
			return false;
	}
	return true;
}

static void commit(struct wf_spill *spill, const struct wf_spill_job *job)
{
	struct wf_segments *segments = &spill->segments;
	uint64_t bytes = 0, count = 0;

	WF_CHECK(!job->flying && job->first < job->last);
	pthread_mutex_lock(&segments->lock);
	for (uint32_t i = job->first; i < job->last; i++) {
		struct wf_spill_item *item = &job->batch->items[i];

		if (!belongs(job, item))
			continue;
		WF_CHECK(item->place.segment == job->extent.segment);
		wf_segments_add_locked(segments, &item->place, item->size);
		item->status = 0;
		bytes += item->size;
		count++;
	}
	pthread_mutex_unlock(&segments->lock);
	wf_segments_drop(segments, &job->extent);
	pthread_mutex_lock(&spill->lock);
	spill->stats.written_bytes += bytes;
	spill->stats.records_written += count;
	spill->stats.fused += job->fused ? count : 0;
	pthread_mutex_unlock(&spill->lock);
}

/* The extent is no good: another one, and the places in it. 0, or why the job has failed. */
static int move_job(struct wf_spill *spill, struct wf_spill_job *job, int status)
{
	struct wf_extent old = job->extent;
	uint32_t tries = wf_spill_means_full(status) ? spill->segments.dir_count : 1;

	WF_CHECK(status < 0 && !job->flying);
	wf_segments_failed(&spill->segments, &old, status);
	wf_segments_drop(&spill->segments, &old);
	if (job->attempts++ >= tries)
		return status;
	if (wf_segments_take(&spill->segments, old.pages, old.pages, old.dir, &job->extent) != 0)
		return status;
	for (uint32_t i = job->first; i < job->last; i++) {
		struct wf_spill_item *item = &job->batch->items[i];

		if (!belongs(job, item))
			continue;
		WF_CHECK(item->place.segment == old.segment && item->place.page >= old.page);
		item->place.segment = job->extent.segment;
		item->place.page += job->extent.page - old.page;
	}
	return 0;
}

static void finish_job(struct wf_spill *spill, struct wf_spill_job *job)
{
	struct wf_spill_batch *batch = job->batch;

	WF_CHECK(batch != NULL && !job->flying);
	if (job->status == 0) {
		commit(spill, job);
	} else {
		int status = move_job(spill, job, job->status);

		if (status == 0) {
			if (job->fused)
				send_fused(job);
			else
				send_straight(job);
			return;
		}
		for (uint32_t i = job->first; i < job->last; i++) {
			if (belongs(job, &batch->items[i]))
				fail_item(&batch->items[i], status);
		}
	}
	job->batch = NULL;
	if (is_over(spill, batch))
		batch->done(batch);
}

/* From begin to end, as no other job does. */
static void write_copied(struct wf_spill *spill, struct wf_spill_job *job)
{
	struct wf_spill_item *item = &spill->batch->items[spill->at];
	uint32_t pages = wf_record_pages(0, item->size);
	int status = take(spill, pages, pages, &job->extent);
	bool fused = job->fused;

	if (status == 0) {
		/* One item, whatever the job's buffer is for. */
		job->fused = false;
		begin_job(spill, job, spill->at + 1);
		item->place = (struct wf_spill_place){ .segment = job->extent.segment };
		item->place.page = job->extent.page;
		for (;;) {
			status = copy_out(job, item);
			if (status == 0)
				break;
			status = move_job(spill, job, status);
			if (status != 0)
				break;
		}
		if (status == 0)
			commit(spill, job);
		job->batch = NULL;
		job->fused = fused;
	} else {
		spill->at++;
	}
	if (status != 0)
		fail_item(item, status);
}

/* ---- The thread ----------------------------------------------------------------------------- */

static struct wf_spill_job *idle_job(struct wf_spill *spill, bool fused)
{
	for (uint32_t i = 0; i < JOBS; i++) {
		struct wf_spill_job *job = &spill->jobs[i];

		if (job->batch == NULL && job->fused == fused)
			return job;
	}
	return NULL;
}

static bool next_batch(struct wf_spill *spill)
{
	struct wf_spill_batch *batch;

	WF_CHECK(spill->batch == NULL);
	pthread_mutex_lock(&spill->lock);
	batch = spill->first_batch;
	if (batch != NULL) {
		spill->first_batch = batch->private_;
		if (spill->first_batch == NULL)
			spill->last_batch = NULL;
	}
	spill->batch = batch;
	pthread_mutex_unlock(&spill->lock);
	spill->at = 0;
	spill->fusing = false;
	spill->refused_pages = 0;
	return batch != NULL;
}

/* Every item of the batch is in a job or has its status. */
static void end_cutting(struct wf_spill *spill)
{
	struct wf_spill_batch *batch = spill->batch;

	pthread_mutex_lock(&spill->lock);
	spill->batch = NULL;
	pthread_mutex_unlock(&spill->lock);
	if (is_over(spill, batch))
		batch->done(batch);
}

/* One step of cutting. False: no job is idle that could take the next item. */
static bool cut(struct wf_spill *spill)
{
	const struct wf_spill_batch *batch = spill->batch;
	struct wf_spill_job *job;
	enum way way = WAY_FUSED;

	while (spill->at < batch->count) {
		way = way_of(&batch->items[spill->at]);
		if ((way == WAY_FUSED) == spill->fusing)
			break;
		spill->at++;
	}
	if (spill->at == batch->count) {
		if (spill->fusing)
			end_cutting(spill);
		spill->fusing = true;
		spill->at = 0;
		return true;
	}
	if (way == WAY_IMPOSSIBLE) {
		fail_item(&batch->items[spill->at++], -EFBIG);
		return true;
	}
	job = idle_job(spill, way != WAY_STRAIGHT);
	if (job == NULL)
		return false;
	if (way == WAY_STRAIGHT)
		start_straight(spill, job);
	else if (way == WAY_FUSED)
		start_fused(spill, job);
	else
		write_copied(spill, job);
	return true;
}

static void deliver_refused(struct wf_spill_read *read)
{
	while (read != NULL) {
		struct wf_spill_read *next = read->private_;

		WF_CHECK(read->status < 0);
		read->done(read);
		read = next;
	}
}

struct work {
	struct wf_spill_job *finished;
	struct wf_spill_read *refused;
	bool trim;
};

/* Sleep until there is something to do. False: stop. */
static bool wait_for_work(struct wf_spill *spill, bool starved, struct work *work)
{
	bool some;

	pthread_mutex_lock(&spill->lock);
	for (;;) {
		bool batch = !starved && (spill->batch != NULL || spill->first_batch != NULL);

		work->finished = spill->finished;
		work->refused = spill->refused;
		work->trim = spill->trim;
		some = work->finished != NULL || work->refused != NULL || work->trim || batch;
		if (some || spill->stop)
			break;
		spill->sleeping = true;
		pthread_cond_wait(&spill->wake, &spill->lock);
		spill->sleeping = false;
	}
	spill->finished = NULL;
	spill->refused = NULL;
	spill->trim = false;
	pthread_mutex_unlock(&spill->lock);
	return some;
}

void *wf_spill_writer(void *arg)
{
	struct wf_spill *spill = arg;
	bool starved = false; /* the next item waits for a job */
	struct work work;

	while (wait_for_work(spill, starved, &work)) {
		while (work.finished != NULL) {
			struct wf_spill_job *job = work.finished;

			work.finished = job->next;
			finish_job(spill, job);
			starved = false;
		}
		deliver_refused(work.refused);
		if (work.trim)
			wf_segments_trim(&spill->segments);
		if (!starved && (spill->batch != NULL || next_batch(spill)))
			starved = !cut(spill);
	}
	return NULL;
}
