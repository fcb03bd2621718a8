/*
 * Goal: both back ends of file I/O move the right bytes of any size and offset, call `done` once
 * and never inside submit, end at the end of a file as a plain read does, take back what has not
 * begun, serve requests in turns, and leave nothing behind at close.
 * Method: small blocks, so that small requests are many blocks; files without names on a real
 * disk, an oracle in memory. A lane is held where it stands by a `done` that waits for the test,
 * so what is queued meanwhile is known.
 */
#include <dirent.h>
#include <pthread.h>

#include "../support/io.h"
#include "test.h"

#define PAGE 4096u
#define MIB  ((size_t)1 << 20)

static void run_on(const char *backend, struct wf_io_options options, void (*body)(struct wf_io *))
{
	struct wf_io *io = NULL;
	int error = io_open(&io, backend, options);

	if (error == -ENOTSUP && strcmp(backend, "uring") == 0) {
		fprintf(stderr, "no io_uring here: threads alone\n");
		return;
	}
	cr_assert_eq(error, 0, "%s: %s", backend, strerror(-error));
	cr_assert_str_eq(wf_io_backend(io), backend);
	body(io);
	wf_io_close(io);
}

/* The body on each back end, with small blocks, one lane and several. */
static void on_all(void (*body)(struct wf_io *))
{
	for (size_t i = 0; i < 2; i++) {
		run_on(io_backends[i], (struct wf_io_options){ .block_bytes = PAGE, .threads = 1 },
		       body);
		run_on(io_backends[i],
		       (struct wf_io_options){ .block_bytes = PAGE, .threads = 3, .depth = 4 },
		       body);
		run_on(io_backends[i], (struct wf_io_options){ .depth = 1000 }, body);
	}
}

/* One lane, one block at a time: the order is the queue's. */
static void on_one_by_one(void (*body)(struct wf_io *))
{
	for (size_t i = 0; i < 2; i++)
		run_on(io_backends[i],
		       (struct wf_io_options){ .block_bytes = PAGE, .threads = 1, .depth = 1 },
		       body);
}

/* ---- Bytes ---------------------------------------------------------------------------------- */

static void buffered_bytes(struct wf_io *io)
{
	static const uint64_t sizes[] = { 0, 1, 511, 512, 513, PAGE - 1, PAGE, PAGE + 1, 100003 };
	static const uint64_t offsets[] = { 0, 1, 4095, 777777 };
	static char out[100003], in[100003];
	int fd = io_file(false);

	cr_assert_geq(fd, 0);
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (size_t o = 0; o < sizeof(offsets) / sizeof(offsets[0]); o++) {
			uint64_t moved = 77;

			io_fill(out, sizes[s], s * 10 + o);
			memset(in, 0, sizes[s]);
			cr_assert_eq(io_transfer(io, WF_IO_WRITE, fd, false, out, sizes[s],
			                         offsets[o], &moved),
			             0);
			cr_assert_eq(moved, sizes[s]);
			cr_assert_eq(io_transfer(io, WF_IO_READ, fd, false, in, sizes[s],
			                         offsets[o], &moved),
			             0);
			cr_assert_eq(moved, sizes[s]);
			cr_assert_arr_eq(in, out, sizes[s]);
		}
	}
	cr_assert_eq(io_transfer(io, WF_IO_SYNC, fd, false, NULL, 0, 0, NULL), 0);
	close(fd);
}

Test(io, buffered_requests_move_any_size_at_any_offset)
{
	on_all(buffered_bytes);
}

static void direct_bytes(struct wf_io *io)
{
	static char out[64 * PAGE] WF_ALIGNED(PAGE), in[64 * PAGE] WF_ALIGNED(PAGE);
	int fd = io_file(true);
	uint64_t moved;

	if (fd == -EINVAL)
		return;
	cr_assert_geq(fd, 0);
	for (uint64_t size = 512; size <= sizeof(out); size = size * 3 / 512 * 512) {
		io_fill(out, size, size);
		cr_assert_eq(io_transfer(io, WF_IO_WRITE, fd, true, out, size, 1536, &moved), 0);
		cr_assert_eq(moved, size);
		cr_assert_eq(io_transfer(io, WF_IO_READ, fd, true, in, size, 1536, &moved), 0);
		cr_assert_eq(moved, size);
		cr_assert_arr_eq(in, out, size);
	}
	close(fd);
}

Test(io, direct_requests_move_whole_sectors)
{
	on_all(direct_bytes);
}

/* The end of a request is elsewhere: written in one order of the pieces and read in another. */
static void in_two_pieces(struct wf_io *io)
{
	static const uint64_t tails[] = { 0, 512, PAGE, 2 * PAGE, 5 * PAGE, 16 * PAGE };
	static char out[16 * PAGE] WF_ALIGNED(PAGE), in[16 * PAGE] WF_ALIGNED(PAGE);
	static char tail[16 * PAGE] WF_ALIGNED(PAGE);
	const size_t count = sizeof(tails) / sizeof(tails[0]);

	for (size_t i = 0; i < 2 * count * count; i++) {
		bool direct = i % 2 != 0;
		uint64_t written = tails[i / 2 % count], read = tails[i / 2 / count];
		int fd = io_file(direct);
		struct wf_io_request request = { .op = WF_IO_WRITE,
			                         .direct = direct,
			                         .data = out,
			                         .tail = tail,
			                         .tail_size = written,
			                         .size = sizeof(out),
			                         .offset = PAGE };

		if (fd == -EINVAL)
			continue;
		cr_assert_geq(fd, 0);
		request.fd = fd;
		io_fill(out, sizeof(out), i);
		memcpy(tail, out + sizeof(out) - written, written);
		if (written < sizeof(out))
			memset(out + sizeof(out) - written, 0xee, written);
		cr_assert_eq(wf_io_run(io, &request), 0);
		cr_assert_eq(request.moved, sizeof(out));
		memset(tail, 0, sizeof(tail));
		memset(in, 0xdd, sizeof(in));
		request.op = WF_IO_READ;
		request.data = in;
		request.tail_size = read;
		cr_assert_eq(wf_io_run(io, &request), 0);
		cr_assert_eq(request.moved, sizeof(in));
		for (uint64_t k = 0; k < read; k++)
			cr_assert_eq((unsigned char)in[sizeof(in) - read + k], 0xdd);
		memcpy(in + sizeof(in) - read, tail, read);
		io_fill(out, sizeof(out), i);
		cr_assert_arr_eq(in, out, sizeof(out));
		/* The file ends a page early: in the tail, or before it. */
		cr_assert_eq(wf_file_truncate(fd, sizeof(in)), 0);
		cr_assert_eq(wf_io_run(io, &request), 0);
		cr_assert_eq(request.moved, sizeof(in) - PAGE);
		close(fd);
	}
}

Test(io, the_end_of_a_request_may_be_elsewhere)
{
	on_all(in_two_pieces);
}

static void end_of_file(struct wf_io *io)
{
	static char out[10000], in[64 * PAGE] WF_ALIGNED(PAGE);

	for (int direct = 0; direct < 2; direct++) {
		char path[64];
		int plain = io_file(false), fd;
		uint64_t moved = 1;

		cr_assert_geq(plain, 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", plain);
		fd = open(path, O_RDONLY | (direct ? O_DIRECT : 0));
		if (fd < 0 && errno == EINVAL)
			continue;
		cr_assert_geq(fd, 0);
		io_fill(out, sizeof(out), 5);
		cr_assert_eq(write(plain, out, sizeof(out)), sizeof(out));
		/* From below the end, whose last sector is a part of one; at it; far beyond. */
		cr_assert_eq(io_transfer(io, WF_IO_READ, fd, direct, in, sizeof(in), 1024, &moved),
		             0);
		cr_assert_eq(moved, sizeof(out) - 1024);
		cr_assert_arr_eq(in, out + 1024, moved);
		cr_assert_eq(io_transfer(io, WF_IO_READ, fd, direct, in, PAGE, 10240, &moved), 0);
		cr_assert_eq(moved, 0);
		cr_assert_eq(io_transfer(io, WF_IO_READ, fd, direct, in, 3 * PAGE, MIB, &moved), 0);
		cr_assert_eq(moved, 0);
		close(fd);
		close(plain);
	}
}

Test(io, a_read_ends_at_the_end_of_the_file)
{
	on_all(end_of_file);
}

/* ---- What is refused ------------------------------------------------------------------------ */

static void refused(struct wf_io *io)
{
	static char data[2 * PAGE] WF_ALIGNED(PAGE);
	uint64_t moved = 1;
	int fd = io_file(false), closed = fcntl(fd, F_DUPFD_CLOEXEC, 500);

	cr_assert_geq(fd, 0);
	cr_assert_geq(closed, 0);
	close(closed);
	/* tmpfs would take these, so it is not left to the file system. */
	cr_assert_eq(io_transfer(io, WF_IO_WRITE, fd, true, data + 4, PAGE, 0, &moved), -EINVAL);
	cr_assert_eq(moved, 0);
	cr_assert_eq(io_transfer(io, WF_IO_WRITE, fd, true, data, 1000, 0, NULL), -EINVAL);
	cr_assert_eq(io_transfer(io, WF_IO_READ, fd, true, data, PAGE, 100, NULL), -EINVAL);
	cr_assert_eq(io_transfer(io, (enum wf_io_op)3, fd, false, data, 1, 0, NULL), -EINVAL);
	cr_assert_eq(io_transfer(io, WF_IO_READ, fd, false, data, 2, INT64_MAX - 1, NULL), -EINVAL);
	cr_assert_eq(io_transfer(io, WF_IO_READ, fd, false, data, 2, UINT64_MAX, NULL), -EINVAL);
	cr_assert_eq(io_transfer(io, WF_IO_READ, closed, false, data, 2, 0, NULL), -EBADF);
	cr_assert_eq(io_transfer(io, WF_IO_SYNC, closed, false, NULL, 0, 0, NULL), -EBADF);
	cr_assert_eq(io_transfer(io, WF_IO_READ, fd, false, data, PAGE, 0, &moved), 0);
	cr_assert_eq(moved, 0);
	struct wf_io_request request = { .op = WF_IO_WRITE, .fd = fd, .data = data, .size = PAGE };
	request.tail_size = PAGE + 1;
	cr_assert_eq(wf_io_run(io, &request), -EINVAL, "the tail is a part");
	request.direct = true;
	request.tail = data + PAGE;
	request.tail_size = 100;
	cr_assert_eq(wf_io_run(io, &request), -EINVAL, "the tail begins in a sector");
	request.tail = data + PAGE + 8;
	request.tail_size = 512;
	cr_assert_eq(wf_io_run(io, &request), -EINVAL, "the tail lies anywhere");
	close(fd);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	cr_assert_eq(io_transfer(io, WF_IO_WRITE, fd, false, data, 2 * PAGE, 0, &moved), -EBADF);
	cr_assert_eq(moved, 0);
	close(fd);
}

Test(io, what_cannot_be_done_comes_back_with_a_status)
{
	on_all(refused);
}

/* ---- Order ---------------------------------------------------------------------------------- */

struct order {
	struct wf_io *io;
	struct io_event held, release, all;
	char text[16]; /* names in the order of their ends */
	uint32_t used, holds;
};

struct named {
	struct wf_io_request request;
	struct order *order;
	char name;
};

/* With one lane everything here happens on its thread. */
static void note(struct wf_io_request *request)
{
	struct named *named = wf_container_of(request, struct named, request);
	struct order *order = named->order;

	cr_assert_lt(order->used, sizeof(order->text) - 1);
	order->text[order->used++] = named->name;
	if (named->name == 'H') {
		order->holds++;
		io_event_add(&order->held);
		io_event_wait(&order->release, order->holds);
	}
	io_event_add(&order->all);
}

static struct named named_of(struct order *order, int fd, char name, void *data, uint64_t size)
{
	return (struct named){
		.request = { .op = WF_IO_READ, .fd = fd, .data = data, .size = size, .done = note },
		.order = order,
		.name = name
	};
}

static void turns(struct wf_io *io)
{
	static char data[64 * PAGE];
	struct order order = { .io = io };
	int fd = io_file(false);
	struct named h, a, b, c, d;

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, sizeof(data)), 0);
	h = named_of(&order, fd, 'H', data, 1);
	a = named_of(&order, fd, 'a', data, 64 * PAGE);
	b = named_of(&order, fd, 'b', data, PAGE);
	c = named_of(&order, fd, 'c', data, 3 * PAGE);
	d = named_of(&order, fd, 'd', data, 2 * PAGE);
	wf_io_submit(io, &h.request);
	io_event_wait(&order.held, 1);
	wf_io_submit(io, &a.request);
	wf_io_submit(io, &b.request);
	wf_io_submit(io, &c.request);
	wf_io_submit(io, &d.request);
	io_event_add(&order.release);
	io_event_wait(&order.all, 5);
	cr_assert_str_eq(order.text, "Hbdca", "block by block in turns: %s", order.text);
	cr_assert_eq(a.request.moved, 64 * PAGE);
	close(fd);
}

Test(io, a_long_request_does_not_starve_short_ones)
{
	on_one_by_one(turns);
}

static void taken_back(struct wf_io *io)
{
	static char data[2 * PAGE];
	struct order order = { .io = io };
	int fd = io_file(false);
	struct named h, a, b, i;

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, sizeof(data)), 0);
	h = named_of(&order, fd, 'H', data, 1);
	a = named_of(&order, fd, 'a', data, 2 * PAGE);
	b = named_of(&order, fd, 'b', data, 2 * PAGE);
	i = named_of(&order, fd, 'H', data, 1);
	wf_io_submit(io, &h.request);
	io_event_wait(&order.held, 1);
	cr_assert_not(wf_io_cancel(io, &h.request), "it is done");
	wf_io_submit(io, &a.request);
	wf_io_submit(io, &b.request);
	wf_io_submit(io, &i.request);
	cr_assert(wf_io_cancel(io, &b.request));
	cr_assert_not(wf_io_cancel(io, &b.request), "once");
	cr_assert_eq(order.used, 1, "done is called on a thread of the room");
	io_event_add(&order.release);
	/* The lane took the first block of `a`, then `i`, which holds it. */
	io_event_wait(&order.held, 2);
	cr_assert_not(wf_io_cancel(io, &a.request), "it has begun");
	io_event_add(&order.release);
	io_event_wait(&order.all, 4);
	cr_assert_str_eq(order.text, "HbHa");
	cr_assert_eq(b.request.status, -ECANCELED);
	cr_assert_eq(b.request.moved, 0);
	cr_assert_eq(a.request.status, 0);
	cr_assert_eq(a.request.moved, 2 * PAGE);
	close(fd);
}

Test(io, what_has_not_begun_can_be_taken_back)
{
	on_one_by_one(taken_back);
}

/* ---- Lanes ---------------------------------------------------------------------------------- */

struct laned {
	struct wf_io_request request;
	pthread_t lane; /* that it ended on */
	struct io_event end;
};

static void note_lane(struct wf_io_request *request)
{
	struct laned *laned = wf_container_of(request, struct laned, request);

	laned->lane = pthread_self();
	io_event_add(&laned->end);
}

static struct laned laned_of(int fd, void *data, bool shares)
{
	return (struct laned){ .request = { .op = WF_IO_READ,
		                            .fd = fd,
		                            .shares_lane = shares,
		                            .data = data,
		                            .size = 1,
		                            .done = note_lane } };
}

/* Of two lanes the first is asked first; the second has a request that shares one. */
static void one_lane(struct wf_io *io)
{
	char byte, others;
	struct order order = { .io = io };
	int fd = io_file(false), ends[2];
	struct named h = named_of(&order, fd, 'H', &others, 1);
	struct laned slow, mark = laned_of(fd, &others, false);
	uint32_t in_a_row = 0;

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, 1), 0);
	cr_assert_eq(pipe(ends), 0);
	slow = laned_of(ends[0], &byte, true);
	wf_io_submit(io, &h.request);
	io_event_wait(&order.held, 1);
	wf_io_submit(io, &slow.request);
	wf_io_submit(io, &mark.request);
	io_event_wait(&mark.end, 1);
	io_event_add(&order.release);
	/* The first may get some until it sleeps; nobody wakes it then. */
	for (uint32_t tries = 0; in_a_row < 20; tries++) {
		struct laned quick = laned_of(fd, &others, true);

		cr_assert_lt(tries, 10000);
		wf_io_submit(io, &quick.request);
		io_event_wait(&quick.end, 1);
		in_a_row = pthread_equal(quick.lane, mark.lane) ? in_a_row + 1 : 0;
	}
	cr_assert_eq(wf_load_acquire(&slow.end.count), 0);
	cr_assert_eq(write(ends[1], "!", 1), 1);
	io_event_wait(&slow.end, 1);
	cr_assert(pthread_equal(slow.lane, mark.lane));
	cr_assert_eq(byte, '!');
	cr_assert_eq(slow.request.moved, 1);
	close(ends[0]);
	close(ends[1]);
	close(fd);
}

Test(io, requests_that_share_a_lane_follow_the_one_in_flight)
{
	run_on("uring", (struct wf_io_options){ .threads = 2, .depth = 4 }, one_lane);
}

/* ---- Threads -------------------------------------------------------------------------------- */

struct chain {
	struct wf_io_request request;
	struct wf_io *io;
	uint32_t left;
	struct io_event end;
};

static _Thread_local bool inside_submit;

/* Each done submits the same request again, for the next page. */
static void next_link(struct wf_io_request *request)
{
	struct chain *chain = wf_container_of(request, struct chain, request);

	cr_assert_not(inside_submit);
	cr_assert_eq(request->status, 0);
	if (--chain->left == 0) {
		io_event_add(&chain->end);
		return;
	}
	request->offset += request->size;
	inside_submit = true;
	wf_io_submit(chain->io, request);
	inside_submit = false;
}

static void chained(struct wf_io *io)
{
	static char data[3 * PAGE];
	static struct chain chains[20];
	int fd = io_file(false);
	cr_assert_geq(fd, 0);
	for (int i = 0; i < 20; i++) {
		chains[i] = (struct chain){ .request = { .op = WF_IO_WRITE,
			                                 .fd = fd,
			                                 .data = data,
			                                 .size = (uint64_t)i * 600,
			                                 .done = next_link },
			                    .io = io,
			                    .left = 30 };
		inside_submit = true;
		wf_io_submit(io, &chains[i].request);
		inside_submit = false;
	}
	for (int i = 0; i < 20; i++)
		io_event_wait(&chains[i].end, 1);
	cr_assert_eq(lseek(fd, 0, SEEK_END), 30 * 19 * 600);
	close(fd);
}

Test(io, done_may_submit_and_is_never_called_inside_submit)
{
	on_all(chained);
}

#define RUNNERS 4

struct runner {
	struct wf_io *io;
	int fd, index;
};

static void *run_many(void *arg)
{
	struct runner *runner = arg;
	unsigned char data[3 * PAGE], back[3 * PAGE];

	for (int i = 0; i < 40; i++) {
		uint64_t offset = ((uint64_t)runner->index * 40 + (uint64_t)i) * sizeof(data);

		io_fill(data, sizeof(data), offset + 1);
		cr_assert_eq(io_transfer(runner->io, WF_IO_WRITE, runner->fd, false, data,
		                         sizeof(data), offset, NULL),
		             0);
		cr_assert_eq(io_transfer(runner->io, WF_IO_READ, runner->fd, false, back,
		                         sizeof(back), offset, NULL),
		             0);
		cr_assert_arr_eq(back, data, sizeof(data));
	}
	return NULL;
}

static void any_thread(struct wf_io *io)
{
	struct runner runners[RUNNERS];
	pthread_t threads[RUNNERS];
	struct wf_io_stats stats;
	int fd = io_file(false);

	cr_assert_geq(fd, 0);
	for (int i = 0; i < RUNNERS; i++) {
		runners[i] = (struct runner){ io, fd, i };
		cr_assert_eq(pthread_create(&threads[i], NULL, run_many, &runners[i]), 0);
	}
	for (int i = 0; i < RUNNERS; i++)
		pthread_join(threads[i], NULL);
	wf_io_stats(io, &stats);
	cr_assert_eq(stats.writes, RUNNERS * 40);
	cr_assert_eq(stats.reads, RUNNERS * 40);
	cr_assert_eq(stats.read_bytes, (uint64_t)RUNNERS * 40 * 3 * PAGE);
	cr_assert_eq(stats.written_bytes, stats.read_bytes);
	cr_assert_eq(stats.failures, 0);
	close(fd);
}

Test(io, any_thread_may_run_requests)
{
	on_all(any_thread);
}

#define FLOOD 3000

static struct wf_a32 flooded;

static void count_flood(struct wf_io_request *request)
{
	cr_assert_eq(request->status, 0);
	/* relaxed: read after close, which joins. */
	wf_add_relaxed(&flooded, 1);
}

static void flood(struct wf_io *io)
{
	static struct wf_io_request requests[FLOOD];
	static char data[2 * PAGE];
	int fd = io_file(false);

	cr_assert_geq(fd, 0);
	wf_init(&flooded, 0);
	for (int i = 0; i < FLOOD; i++) {
		requests[i] = (struct wf_io_request){ .op = i % 50 == 0 ? WF_IO_SYNC : WF_IO_WRITE,
			                              .fd = fd,
			                              .data = data,
			                              .size = 1 + (uint64_t)i % sizeof(data),
			                              .offset = (uint64_t)i * 100,
			                              .done = count_flood };
		wf_io_submit(io, &requests[i]);
	}
}

Test(io, close_waits_for_everything_that_was_submitted)
{
	for (size_t i = 0; i < 2; i++) {
		run_on(io_backends[i], (struct wf_io_options){ .block_bytes = PAGE }, flood);
		/* relaxed: the lanes were joined. */
		if (i > 0 || wf_load_relaxed(&flooded) > 0)
			cr_assert_eq(wf_load_relaxed(&flooded), FLOOD);
	}
	wf_io_close(NULL);
}

/* ---- Blocks ---- */

static void count_blocks(struct wf_io *io, bool small, uint64_t blocks)
{
	const struct wf_io_fault far = {
		.kinds = WF_IO_FAULT_READ, .error = EIO, .nth = 1000, .count = 1
	};
	static char data[1 << 20];
	uint64_t moved;
	int fd = io_file(false);

	cr_assert_geq(fd, 0);
	wf_io_small_pages(io, small);
	cr_assert_eq(io_transfer(io, WF_IO_WRITE, fd, false, data, sizeof(data), 0, &moved), 0);
	wf_io_fault_arm(&far);
	cr_assert_eq(io_transfer(io, WF_IO_READ, fd, false, data, sizeof(data), 0, &moved), 0);
	cr_assert_eq(moved, sizeof(data));
	cr_assert_eq(wf_io_fault_seen(), blocks);
	wf_io_fault_arm(NULL);
	close(fd);
}

static void pages_of_all_kinds(struct wf_io *io)
{
	count_blocks(io, false, 1);
	count_blocks(io, true, 4);
	count_blocks(io, false, 1);
}

static void blocks_that_are_smaller_anyway(struct wf_io *io)
{
	count_blocks(io, true, 16);
	count_blocks(io, false, 16);
}

Test(io, reads_into_small_pages_go_in_smaller_blocks)
{
	for (size_t i = 0; i < 2; i++) {
		run_on(io_backends[i], (struct wf_io_options){ 0 }, pages_of_all_kinds);
		run_on(io_backends[i], (struct wf_io_options){ .block_bytes = 1 << 16 },
		       blocks_that_are_smaller_anyway);
	}
}

/* ---- Choice --------------------------------------------------------------------------------- */

static bool uring_is_here(void)
{
	struct wf_io *io;
	bool works = io_open(&io, "uring", (struct wf_io_options){ 0 }) == 0;

	if (works)
		wf_io_close(io);
	return works;
}

static int open_logged(struct io_log *log, struct wf_io **io, const char *backend, const char *dir)
{
	struct wf_io_options options = {
		.backend = backend, .probe_dir = dir, .log = io_log_line, .log_arg = log
	};

	memset(log, 0, sizeof(*log));
	*io = NULL;
	return wf_io_open(io, &options);
}

Test(io, the_environment_chooses_when_the_options_do_not)
{
	struct io_log log;
	struct wf_io *io;

	setenv("WEFT_IO", "threads", 1);
	cr_assert_eq(open_logged(&log, &io, NULL, NULL), 0);
	cr_assert_str_eq(wf_io_backend(io), "threads");
	cr_assert_eq(wf_load_relaxed(&log.count), 1);
	cr_assert_str_eq(log.lines[0], "file I/O: threads (WEFT_IO)");
	wf_io_close(io);
	if (uring_is_here()) {
		cr_assert_eq(open_logged(&log, &io, "uring", NULL), 0, "the options go first");
		cr_assert_str_eq(wf_io_backend(io), "uring");
		wf_io_close(io);
	}
	setenv("WEFT_IO", "aio", 1);
	cr_assert_eq(open_logged(&log, &io, NULL, NULL), -ENOTSUP);
	cr_assert_null(io);
	cr_assert_eq(wf_load_relaxed(&log.count), 1);
	cr_assert_eq(log.levels[0], 1);
	setenv("WEFT_IO", "", 1);
	cr_assert_eq(open_logged(&log, &io, NULL, io_dir()), 0);
	cr_assert_eq(wf_load_relaxed(&log.count), 1);
	cr_assert_str_eq(wf_io_backend(io), uring_is_here() ? "uring" : "threads");
	wf_io_close(io);
	unsetenv("WEFT_IO");
}

Test(io, the_probe_goes_where_it_can)
{
	static const char *const dirs[] = { "/var/tmp", "/dev/shm", "/proc", "/nowhere", NULL };
	struct io_log log;
	struct wf_io *io;

	if (!uring_is_here())
		test_skip("no io_uring here");
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		const char *place = i < 2 ? dirs[i] : "a memory file";

		cr_assert_eq(open_logged(&log, &io, "uring", dirs[i]), 0);
		cr_assert_eq(wf_load_relaxed(&log.count), 1);
		cr_assert_not_null(strstr(log.lines[0], place), "%s", log.lines[0]);
		wf_io_close(io);
	}
}

/* How often the process's other threads have gone to sleep, all together. */
static unsigned long switches_of_lanes(void)
{
	DIR *tasks = opendir("/proc/self/task");
	unsigned long sum = 0, n;
	struct dirent *task;

	cr_assert_not_null(tasks);
	while ((task = readdir(tasks)) != NULL) {
		char path[320], line[128];
		FILE *file;

		if (task->d_name[0] == '.' || atoi(task->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", task->d_name);
		file = fopen(path, "r");
		while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
			if (sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1)
				sum += n;
		}
		if (file != NULL)
			fclose(file);
	}
	closedir(tasks);
	return sum;
}

static void idle(struct wf_io *io)
{
	unsigned long before, after;
	char byte = 0;
	int fd = io_file(false);

	cr_assert_geq(fd, 0);
	cr_assert_eq(io_transfer(io, WF_IO_WRITE, fd, false, &byte, 1, 0, NULL), 0);
	/* The lanes go to sleep; from then on nothing wakes them. */
	do {
		before = switches_of_lanes();
		usleep(20000);
		after = switches_of_lanes();
	} while (before != after);
	usleep(100000);
	cr_assert_eq(switches_of_lanes(), before);
	close(fd);
}

Test(io, idle_lanes_sleep)
{
	if (WF_TSAN)
		test_skip("the sanitizer has a thread of its own");
	on_all(idle);
}
