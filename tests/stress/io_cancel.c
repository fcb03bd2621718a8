/*
 * io_cancel.c: taking requests back, in random schedules.
 *
 * Goal: whatever the moment, wf_io_cancel() returns true exactly as often as `done` comes with
 * -ECANCELED; a request taken back has touched nothing; the others run to their end; `done` comes
 * once per submit; closing in the middle of it serves everything. Method: requests that submit
 * themselves again from `done`, each a write of its own page with the number of the round, and
 * threads that cancel any of them at any time. At the end the pages hold the last rounds that were
 * not taken back.
 */
#include "stress.h"

#include "../support/io.h"

#define PAGE       4096u
#define REQUESTS   64u
#define CANCELLERS 2u
#define ROUNDS     STRESS_SCALE(400u) /* of each request */

struct writer {
	struct wf_io_request request;
	struct run *run;
	uint64_t round, last_written;
	uint32_t cancelled, in_done;
	struct wf_a32 taken_back; /* how often cancel returned true */
	char *data;
};

struct run {
	struct wf_io *io;
	struct wf_a32 stop, left;
	struct io_event ended;
	struct writer writers[REQUESTS];
};

struct canceller {
	struct run *run;
	struct wf_thread thread;
	struct wf_random random;
};

static void submit(struct writer *writer)
{
	writer->round++;
	memcpy(writer->data, &writer->round, sizeof(writer->round));
	memcpy(writer->data + PAGE, &writer->round, sizeof(writer->round));
	wf_io_submit(writer->run->io, &writer->request);
}

static void write_done(struct wf_io_request *request)
{
	struct writer *writer = wf_container_of(request, struct writer, request);

	STRESS_CHECK(writer->in_done++ == 0);
	if (request->status == -ECANCELED) {
		STRESS_CHECK(request->moved == 0);
		writer->cancelled++;
	} else {
		STRESS_CHECK(request->status == 0 && request->moved == request->size);
		writer->last_written = writer->round;
	}
	writer->in_done--;
	if (writer->round < ROUNDS)
		submit(writer);
	else
		io_event_add(&writer->run->ended);
}

static void *cancel_many(void *arg)
{
	struct canceller *self = arg;

	/* relaxed: nothing follows from it. */
	while (wf_load_relaxed(&self->run->stop) == 0) {
		struct writer *writer =
			&self->run->writers[wf_random_below(&self->random, REQUESTS)];

		if (wf_io_cancel(self->run->io, &writer->request)) {
			/* relaxed: compared after the join. */
			wf_add_relaxed(&writer->taken_back, 1);
		}
		/* Now and then a burst without a pause. */
		if (wf_random_below(&self->random, 4) == 0)
			sched_yield();
	}
	return NULL;
}

static void check(struct run *run, int fd)
{
	uint64_t rounds[2], cancelled = 0;

	for (uint32_t i = 0; i < REQUESTS; i++) {
		struct writer *writer = &run->writers[i];

		STRESS_CHECK(writer->round == ROUNDS);
		STRESS_CHECK(wf_load_relaxed(&writer->taken_back) == writer->cancelled);
		for (uint32_t page = 0; page < 2; page++)
			STRESS_CHECK(pread(fd, &rounds[page], sizeof(rounds[page]),
			                   (off_t)(2 * i + page) * PAGE) == sizeof(rounds[page]));
		STRESS_CHECK(rounds[0] == writer->last_written);
		STRESS_CHECK(rounds[1] == writer->last_written);
		cancelled += writer->cancelled;
		wf_free(writer->data);
	}
	printf("%u requests, %u rounds, %llu taken back\n", REQUESTS, ROUNDS,
	       (unsigned long long)cancelled);
}

static void run_with(const char *backend, uint32_t threads, uint32_t depth)
{
	static struct run run;
	struct canceller cancellers[CANCELLERS];
	struct wf_io_options options = { .threads = threads, .depth = depth, .block_bytes = PAGE };
	int fd = io_file(false), error;

	STRESS_CHECK(fd >= 0 && ftruncate(fd, (off_t)2 * REQUESTS * PAGE) == 0);
	run = (struct run){ .io = NULL };
	error = io_open(&run.io, backend, options);
	if (error == -ENOTSUP) {
		printf("skipped: %s\n", backend);
		close(fd);
		return;
	}
	STRESS_CHECK(error == 0 && strcmp(wf_io_backend(run.io), backend) == 0);
	for (uint32_t i = 0; i < REQUESTS; i++) {
		struct writer *writer = &run.writers[i];

		writer->run = &run;
		writer->data = wf_calloc(2, PAGE);
		STRESS_CHECK(writer->data != NULL);
		writer->request = (struct wf_io_request){ .op = WF_IO_WRITE,
			                                  .fd = fd,
			                                  .data = writer->data,
			                                  .size = 2 * PAGE,
			                                  .offset = (uint64_t)i * 2 * PAGE,
			                                  .done = write_done };
		submit(writer);
	}
	for (uint32_t i = 0; i < CANCELLERS; i++) {
		cancellers[i].run = &run;
		cancellers[i].random = stress_random(i + 10 * threads + 100 * depth);
		STRESS_CHECK(wf_thread_start(&cancellers[i].thread, "canceller", cancel_many,
		                             &cancellers[i]) == 0);
	}
	io_event_wait(&run.ended, REQUESTS);
	/* relaxed: as above. */
	wf_store_relaxed(&run.stop, 1);
	for (uint32_t i = 0; i < CANCELLERS; i++)
		wf_thread_join(&cancellers[i].thread);
	wf_io_close(run.io);
	check(&run, fd);
	close(fd);
}

int main(void)
{
	for (int b = 0; b < 2; b++) {
		run_with(io_backends[b], 1, 1);
		run_with(io_backends[b], 1, 8);
		run_with(io_backends[b], 3, 2);
	}
	return 0;
}
