/*
 * io.c: file I/O with several submitters, random sizes and offsets, and a byte-exact oracle.
 *
 * Goal: on both back ends, with one lane and several, buffered and O_DIRECT, with short results,
 * retries and cancelled requests in between, every byte read is the byte written last, every
 * request ends once, and the statistics add up. Method: each submitter has a region of a file,
 * cut into segments with at most one request in flight each, and a copy of the region in memory.
 */
#include "stress.h"

#include "../support/io.h"

#define PAGE          4096u
#define SEGMENT_BYTES (16u * PAGE)
#define SEGMENTS      12u
#define REGION_BYTES  (SEGMENTS * SEGMENT_BYTES)
#define SUBMITTERS    3u
#define REQUESTS      STRESS_SCALE(3000u) /* of each submitter */

struct segment {
	struct wf_io_request request;
	struct submitter *owner;
	struct wf_a32 is_done;
	bool in_use, asked_back;
	char *shadow; /* what the file holds */
	char *data;   /* of the request */
};

struct submitter {
	struct wf_io *io;
	struct wf_thread thread;
	struct wf_random random;
	struct io_event ended;
	uint32_t index, seen, cancelled;
	int fd;
	bool direct;
	uint64_t read_bytes, written_bytes;
	struct segment segments[SEGMENTS];
};

static void request_done(struct wf_io_request *request)
{
	struct segment *segment = wf_container_of(request, struct segment, request);

	/* release [S1]: the results, to the acquire [S2] in settle(). */
	STRESS_CHECK(wf_swap_release(&segment->is_done, 1) == 0);
	io_event_add(&segment->owner->ended);
}

static uint64_t in_segment(const struct submitter *self, const struct segment *segment)
{
	uint64_t index = (uint64_t)(segment - self->segments);

	return segment->request.offset - (self->index * REGION_BYTES + index * SEGMENT_BYTES);
}

/* Compare or take over what the request did. False: it has not ended. */
static bool settle(struct submitter *self, struct segment *segment)
{
	struct wf_io_request *request = &segment->request;
	uint64_t at;

	/* acquire [S2]: with the release [S1]. */
	if (!segment->in_use || wf_load_acquire(&segment->is_done) == 0)
		return !segment->in_use;
	segment->in_use = false;
	if (segment->asked_back) {
		STRESS_CHECK(request->status == -ECANCELED && request->moved == 0);
		self->cancelled++;
		return true;
	}
	STRESS_CHECK(request->status == 0);
	if (request->op == WF_IO_SYNC)
		return true;
	STRESS_CHECK(request->moved == request->size);
	at = in_segment(self, segment);
	if (request->op == WF_IO_WRITE) {
		memcpy(segment->shadow + at, request->data, request->size);
		self->written_bytes += request->size;
	} else {
		STRESS_CHECK(memcmp(segment->shadow + at, request->data, request->size) == 0);
		self->read_bytes += request->size;
	}
	return true;
}

static void issue(struct submitter *self, struct segment *segment)
{
	uint64_t unit = self->direct ? 512 : 1;
	uint64_t begin = wf_random_below(&self->random, SEGMENT_BYTES) / unit * unit;
	uint64_t size = wf_random_below(&self->random, (uint32_t)(SEGMENT_BYTES - begin) + 1);
	uint64_t index = (uint64_t)(segment - self->segments);
	uint32_t kind = wf_random_below(&self->random, 20);

	if (wf_random_below(&self->random, 2))
		size = size % 3000; /* many are small */
	segment->request = (struct wf_io_request){
		.op = kind == 0     ? WF_IO_SYNC
			: kind < 10 ? WF_IO_READ
				    : WF_IO_WRITE,
		.fd = self->fd,
		.direct = self->direct,
		.shares_lane = wf_random_below(&self->random, 2) == 0,
		.data = segment->data + begin,
		.size = size / unit * unit,
		.offset = self->index * REGION_BYTES + index * SEGMENT_BYTES + begin,
		.done = request_done,
	};
	if (segment->request.op == WF_IO_WRITE)
		io_fill(segment->data + begin, segment->request.size,
		        wf_random_next(&self->random));
	wf_init(&segment->is_done, 0);
	segment->in_use = true;
	wf_io_submit(self->io, &segment->request);
	segment->asked_back =
		wf_random_below(&self->random, 8) == 0 && wf_io_cancel(self->io, &segment->request);
}

/* Wait until something has ended that was not counted yet. */
static void wait_for_one(struct submitter *self)
{
	uint32_t now;

	/* acquire [E2]: with io_event_add(). */
	while ((now = wf_load_acquire(&self->ended.count)) == self->seen)
		wf_futex_wait(&self->ended.count, now, WF_FOREVER);
	self->seen = now;
}

static void *submit_many(void *arg)
{
	struct submitter *self = arg;
	uint32_t left = REQUESTS, busy;

	do {
		busy = 0;
		for (uint32_t i = 0; i < SEGMENTS; i++) {
			struct segment *segment = &self->segments[i];

			if (settle(self, segment) && left > 0) {
				issue(self, segment);
				left--;
			}
			busy += segment->in_use;
		}
		if (busy > 0)
			wait_for_one(self);
	} while (busy > 0 || left > 0);
	return NULL;
}

static void prepare(struct submitter *self, struct wf_io *io, int fd, bool direct)
{
	self->io = io;
	self->fd = fd;
	self->direct = direct;
	for (uint32_t i = 0; i < SEGMENTS; i++) {
		struct segment *segment = &self->segments[i];

		segment->owner = self;
		segment->shadow = wf_aligned_alloc(PAGE, SEGMENT_BYTES);
		segment->data = wf_aligned_alloc(PAGE, SEGMENT_BYTES);
		STRESS_CHECK(segment->shadow != NULL && segment->data != NULL);
		memset(segment->shadow, 0, SEGMENT_BYTES);
	}
}

static void compare_file(struct submitter *self)
{
	static char page[SEGMENT_BYTES] WF_ALIGNED(PAGE);

	for (uint32_t i = 0; i < SEGMENTS; i++) {
		off_t at = (off_t)(self->index * REGION_BYTES + i * SEGMENT_BYTES);

		STRESS_CHECK(pread(self->fd, page, sizeof(page), at) == sizeof(page));
		STRESS_CHECK(memcmp(page, self->segments[i].shadow, sizeof(page)) == 0);
		wf_free(self->segments[i].shadow);
		wf_free(self->segments[i].data);
	}
}

static void run_with(const char *backend, uint32_t threads, uint32_t depth, bool direct,
                     const struct wf_io_fault *fault)
{
	static struct submitter submitters[SUBMITTERS];
	struct wf_io_options options = { .threads = threads, .depth = depth, .block_bytes = 8192 };
	uint64_t read_bytes = 0, written_bytes = 0;
	uint32_t cancelled = 0;
	struct wf_io_stats stats;
	struct wf_io *io;
	int fd = io_file(direct), error = io_open(&io, backend, options);

	if (fd < 0 || error == -ENOTSUP) {
		printf("skipped: %s%s\n", backend, direct ? ", O_DIRECT" : "");
		if (error == 0)
			wf_io_close(io);
		return;
	}
	STRESS_CHECK(error == 0 && strcmp(wf_io_backend(io), backend) == 0);
	STRESS_CHECK(ftruncate(fd, (off_t)SUBMITTERS * REGION_BYTES) == 0);
	wf_io_fault_arm(fault);
	for (uint32_t i = 0; i < SUBMITTERS; i++) {
		submitters[i] = (struct submitter){ .index = i };
		submitters[i].random = stress_random(i + 10 * threads + 100 * depth);
		prepare(&submitters[i], io, fd, direct);
		STRESS_CHECK(wf_thread_start(&submitters[i].thread, "submitter", submit_many,
		                             &submitters[i]) == 0);
	}
	for (uint32_t i = 0; i < SUBMITTERS; i++) {
		wf_thread_join(&submitters[i].thread);
		read_bytes += submitters[i].read_bytes;
		written_bytes += submitters[i].written_bytes;
		cancelled += submitters[i].cancelled;
	}
	wf_io_fault_arm(NULL);
	wf_io_stats(io, &stats);
	STRESS_CHECK(stats.read_bytes == read_bytes && stats.written_bytes == written_bytes);
	STRESS_CHECK(stats.reads + stats.writes + stats.syncs + cancelled ==
	             (uint64_t)SUBMITTERS * REQUESTS);
	STRESS_CHECK(stats.failures == 0);
	wf_io_close(io);
	for (uint32_t i = 0; i < SUBMITTERS; i++)
		compare_file(&submitters[i]);
	close(fd);
	printf("%s, %u threads, depth %u%s: %llu MiB read, %llu written, %u cancelled, %llu short, "
	       "%llu retries\n",
	       backend, threads, depth, direct ? ", O_DIRECT" : "",
	       (unsigned long long)read_bytes >> 20, (unsigned long long)written_bytes >> 20,
	       cancelled, (unsigned long long)stats.short_results,
	       (unsigned long long)stats.retries);
}

int main(void)
{
	const struct wf_io_fault halves = { WF_IO_FAULT_READ | WF_IO_FAULT_WRITE,
		                            WF_IO_EFFECT_SHORT, 0, 50, UINT64_MAX };
	/* Fewer than the retries that one block has. */
	const struct wf_io_fault again = { WF_IO_FAULT_READ | WF_IO_FAULT_WRITE | WF_IO_FAULT_SYNC,
		                           WF_IO_EFFECT_ERROR, EAGAIN, 50, 60 };

	for (int b = 0; b < 2; b++) {
		for (int direct = 0; direct < 2; direct++) {
			run_with(io_backends[b], 1, 0, direct, NULL);
			run_with(io_backends[b], 3, 3, direct, &halves);
			run_with(io_backends[b], 2, 63, direct, &again);
		}
	}
	return 0;
}
