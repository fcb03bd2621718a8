/*
 * Goal: weft_read() and weft_write(): what is read is what was written, the short end of a file
 * too; many at once, through each back end; a failed transfer has the errno and says where; a
 * cancel ends what waits and what is under way; bad input is refused with outputs untouched.
 * Method: files in a directory of the test's own, device files that refuse, sparse files large
 * enough to be caught in the middle.
 */
#include <fcntl.h>
#include <limits.h>

#include "objects.h"

#define SPARSE (64 * MIB)

struct place {
	weft *rt;
	int fd;
	char path[PATH_MAX];
};

static void place_close(struct place *place);

/* A runtime whose files go through `backend`, and an empty file. False: it is refused here. */
static bool place_open(struct place *place, const char *backend, size_t store_bytes)
{
	const char *tmp = getenv("TMPDIR");
	weft_ref ref = WEFT_NONE;

	API_CHECK(setenv("WEFT_IO", backend, 1) == 0);
	place->rt = open_store(2, store_bytes, "");
	snprintf(place->path, sizeof place->path, "%s/weft-files-XXXXXX", tmp ? tmp : "/tmp");
	place->fd = mkstemp(place->path);
	API_CHECK(place->fd >= 0);
	API_CHECK(weft_read(place->rt, place->fd, 0, 8, NULL, &ref) == 0);
	const bool works = api_end(place->rt, ref) == 0;

	API_CHECK(works || !strcmp(backend, "uring"));
	API_CHECK(!works || !strcmp(store_stats(place->rt).io, backend));
	if (!works)
		place_close(place);
	return works;
}

#define PLACE_OPEN(place, backend, bytes) \
	do { \
		if (!place_open(place, backend, bytes)) \
			test_skip("io_uring is refused here"); \
	} while (0)

static void place_close(struct place *place)
{
	close(place->fd);
	API_CHECK(unlink(place->path) == 0);
	api_await_no_tasks(place->rt);
	store_await_empty(place->rt);
	api_close(place->rt);
	unsetenv("WEFT_IO");
}

static weft_ref read_at(struct place *place, uint64_t offset, size_t size)
{
	weft_ref ref = WEFT_NONE;

	API_CHECK(weft_read(place->rt, place->fd, offset, size, NULL, &ref) == 0);
	return ref;
}

static uint64_t write_at(struct place *place, uint64_t offset, weft_ref data)
{
	weft_ref ref = WEFT_NONE;
	uint64_t written = 0;

	API_CHECK(weft_write(place->rt, place->fd, offset, data, NULL, &ref) == 0);
	API_CHECK(weft_take(place->rt, ref, &written, sizeof written) == sizeof written);
	return written;
}

static void check_read(struct place *place, uint64_t offset, size_t size, size_t there)
{
	struct weft_view view;
	weft_ref ref = read_at(place, offset, size);

	cr_assert_eq(weft_get(place->rt, ref, WEFT_FOREVER, &view), 0);
	cr_assert_eq(view.size, there, "%zu", view.size);
	api_release(place->rt, ref);
}

static void round_trip(const char *backend)
{
	static const size_t sizes[] = { 8, 448, 4096, 100000, 5 * MIB + 8 };
	struct place place;
	uint64_t at = 0;

	PLACE_OPEN(&place, backend, 32 * MIB);
	for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		weft_ref data = put(place.rt, sizes[i], i);

		cr_assert_eq(write_at(&place, at, data), sizes[i]);
		api_release(place.rt, data);
		data = read_at(&place, at, sizes[i]);
		check_value(place.rt, data, sizes[i], i);
		api_release(place.rt, data);
		at += sizes[i];
	}
	check_read(&place, at - 10, 100, 10);
	check_read(&place, at - 3 * MIB, 4 * MIB, 3 * MIB);
	check_read(&place, at, 100, 0);
	check_read(&place, at + MIB, 2 * MIB, 0);
	check_read(&place, 0, 0, 0);
	place_close(&place);
}

Test(files, what_is_read_is_what_was_written_through_threads)
{
	round_trip("threads");
}

Test(files, what_is_read_is_what_was_written_through_uring)
{
	round_trip("uring");
}

static void many(const char *backend)
{
	enum { N = 64 };
	const size_t size = 96 * 1024;
	weft_ref data[N], done[N];
	struct place place;

	PLACE_OPEN(&place, backend, 32 * MIB);
	for (uint32_t i = 0; i < N; i++) {
		data[i] = put(place.rt, size, i);
		cr_assert_eq(weft_write(place.rt, place.fd, i * size, data[i], NULL, &done[i]), 0);
		api_release(place.rt, data[i]);
	}
	for (uint32_t i = 0; i < N; i++)
		cr_assert_eq(api_end(place.rt, done[i]), 0);
	for (uint32_t i = 0; i < N; i++)
		done[i] = read_at(&place, i * size, size);
	for (uint32_t i = N; i-- > 0;) {
		check_value(place.rt, done[i], size, i);
		api_release(place.rt, done[i]);
	}
	place_close(&place);
}

Test(files, many_at_once_through_threads)
{
	many("threads");
}

Test(files, many_at_once_through_uring)
{
	many("uring");
}

static int wants_file(weft_task *self)
{
	struct weft_view view;

	API_CHECK(weft_input(self, 0, &view) == 0);
	API_CHECK(view.size == 4096 && filled(view.data, view.size, 7));
	return 0;
}

Test(files, a_chain_of_transfers_needs_no_wait_between)
{
	struct place place;
	weft_ref data = WEFT_NONE, steps[3];

	PLACE_OPEN(&place, "threads", 8 * MIB);
	weft_ref gate = api_event(place.rt);
	cr_assert_eq(weft_write(place.rt, place.fd, 0, gate, NULL, &steps[0]), 0);
	data = put(place.rt, 4096, 7);
	cr_assert_eq(weft_write(place.rt, place.fd, 8, data, NULL, &steps[1]), 0);
	cr_assert_eq(api_end(place.rt, steps[1]), 0);
	steps[1] = read_at(&place, 8, 4096);
	steps[2] = api_submit(place.rt, WEFT_TASK(wants_file, WEFT_INPUTS(steps[1])));
	api_release(place.rt, steps[1]);
	cr_assert_eq(api_end(place.rt, steps[2]), 0);
	cr_assert_eq(api_state(place.rt, steps[0]), WEFT_REF_WAITING, "its data is not there");
	cr_assert_eq(weft_event_set(place.rt, gate, "12345678", 8), 0);
	cr_assert_eq(api_end(place.rt, steps[0]), 0);
	api_release(place.rt, gate);
	api_release(place.rt, data);
	check_read(&place, 0, 8, 8);
	place_close(&place);
}

/* The transfer fails with this errno, and the text names the operation. */
static void check_failure(weft *rt, weft_ref ref, int code, const char *word)
{
	const struct weft_error *error = NULL;

	cr_assert_eq(api_get(rt, ref), WEFT_ETASK);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_eq(error->code, code, "%d: %s", error->code, error->text);
	cr_assert_not_null(strstr(error->text, word), "%s", error->text);
	cr_assert_not_null(strstr(error->text, strerror(-code)), "%s", error->text);
	api_release(rt, ref);
}

static void failures(const char *backend)
{
	struct place place;
	weft_ref ref = WEFT_NONE;

	PLACE_OPEN(&place, backend, 8 * MIB);
	weft_ref data = put(place.rt, 4096, 1);
	int full = open("/dev/full", O_WRONLY), dir = open("/", O_RDONLY | O_DIRECTORY);
	int reads = open(place.path, O_RDONLY), writes = open(place.path, O_WRONLY);

	API_CHECK(full >= 0 && dir >= 0 && reads >= 0 && writes >= 0);
	cr_assert_eq(weft_write(place.rt, full, 0, data, NULL, &ref), 0);
	check_failure(place.rt, ref, -ENOSPC, "write of 4096 bytes at 0");
	cr_assert_eq(weft_write(place.rt, reads, 0, data, NULL, &ref), 0);
	check_failure(place.rt, ref, -EBADF, "write of 4096 bytes");
	cr_assert_eq(weft_read(place.rt, writes, 512, 1000, NULL, &ref), 0);
	check_failure(place.rt, ref, -EBADF, "read of 1000 bytes at 512");
	cr_assert_eq(weft_read(place.rt, dir, 0, 1000, NULL, &ref), 0);
	check_failure(place.rt, ref, -EISDIR, "read of 1000 bytes");
	/* Larger than the store: no transfer begins. */
	cr_assert_eq(weft_read(place.rt, place.fd, 0, 64 * MIB, NULL, &ref), 0);
	cr_assert_eq(api_end(place.rt, ref), WEFT_ESTOREFULL);
	/* Its data has failed. */
	weft_ref never = api_event(place.rt);

	cr_assert_eq(weft_write(place.rt, place.fd, 0, never, NULL, &ref), 0);
	cr_assert_eq(weft_event_fail(place.rt, never, -7, "no data"), 0);
	cr_assert_eq(api_end(place.rt, ref), WEFT_EDEP);
	api_release(place.rt, never);
	api_release(place.rt, data);
	close(full);
	close(dir);
	close(reads);
	close(writes);
	place_close(&place);
}

Test(files, a_failed_transfer_says_what_and_where_through_threads)
{
	failures("threads");
}

Test(files, a_failed_transfer_says_what_and_where_through_uring)
{
	failures("uring");
}

Test(files, bad_input_is_refused)
{
	struct place place;
	weft_ref ref = api_poison_ref(), data;

	PLACE_OPEN(&place, "threads", 8 * MIB);
	data = put(place.rt, 64, 1);
	int gone = dup(place.fd);

	close(gone);
	cr_assert_eq(weft_read(NULL, place.fd, 0, 1, NULL, &ref), -EINVAL);
	cr_assert_eq(weft_read(place.rt, -1, 0, 1, NULL, &ref), -EINVAL);
	cr_assert_eq(weft_read(place.rt, gone, 0, 1, NULL, &ref), -EINVAL);
	cr_assert_eq(weft_read(place.rt, place.fd, 0, 1, NULL, NULL), -EINVAL);
	cr_assert_eq(weft_read(place.rt, place.fd, (uint64_t)INT64_MAX + 1, 1, NULL, &ref),
	             -EINVAL);
	cr_assert_eq(weft_read(place.rt, place.fd, INT64_MAX, 1, NULL, &ref), -EINVAL);
	cr_assert_eq(weft_read(place.rt, place.fd, 0, 1, WEFT_TASK_OPTIONS(.n_outputs = 2), &ref),
	             -EINVAL);
	cr_assert_eq(weft_write(NULL, place.fd, 0, data, NULL, &ref), -EINVAL);
	cr_assert_eq(weft_write(place.rt, -1, 0, data, NULL, &ref), -EINVAL);
	cr_assert_eq(weft_write(place.rt, place.fd, 0, WEFT_NONE, NULL, &ref), -EINVAL);
	cr_assert_eq(weft_write(place.rt, place.fd, 0, data, NULL, NULL), -EINVAL);
	cr_assert_eq(weft_write(place.rt, place.fd, (uint64_t)INT64_MAX + 1, data, NULL, &ref),
	             -EINVAL);
	cr_assert_eq(ref.bits, API_POISON);
	api_release(place.rt, data);
	place_close(&place);
}

Test(files, a_cancel_ends_what_waits)
{
	struct place place;
	weft_ref ref = WEFT_NONE;

	PLACE_OPEN(&place, "threads", 8 * MIB);
	weft_ref data = api_event(place.rt);

	cr_assert_eq(weft_write(place.rt, place.fd, 0, data, NULL, &ref), 0);
	cr_assert_eq(weft_cancel(place.rt, ref), 0);
	cr_assert_eq(api_end(place.rt, ref), -ECANCELED);
	cr_assert_eq(weft_event_set(place.rt, data, "text", 4), 0);
	api_release(place.rt, data);
	check_read(&place, 0, 4, 0);
	place_close(&place);
}

/*
 * A long read is cancelled as soon as its body sleeps for the transfer. It may still win, which it
 * does not do each time; either way nothing is under way when its ref is ready: the file is closed
 * and the memory goes to the next one.
 */
static void cancel_in_transfer(const char *backend)
{
	uint32_t cancelled = 0;
	struct place place;

	PLACE_OPEN(&place, backend, SPARSE + 16 * MIB);
	API_CHECK(ftruncate(place.fd, SPARSE) == 0);
	for (uint32_t i = 0; i < 50 && cancelled < 3; i++) {
		weft_ref ref = read_at(&place, 0, SPARSE);
		const int64_t start = api_now();
		int state;

		while ((state = api_state(place.rt, ref)) < WEFT_REF_BLOCKED)
			api_polling(start, "the transfer is under way");
		cr_assert_eq(weft_cancel(place.rt, ref), 0);
		int rc = api_end(place.rt, ref);

		cr_assert(rc == 0 || rc == -ECANCELED, "%s", weft_strerror(rc));
		cancelled += rc == -ECANCELED;
	}
	cr_assert(cancelled > 0, "no cancel came before an end");
	check_read(&place, 0, MIB, MIB);
	place_close(&place);
}

Test(files, a_cancel_ends_what_is_under_way_through_threads)
{
	cancel_in_transfer("threads");
}

Test(files, a_cancel_ends_what_is_under_way_through_uring)
{
	cancel_in_transfer("uring");
}

Test(files, a_deadline_ends_what_waits)
{
	struct place place;
	weft_ref ref = WEFT_NONE;

	PLACE_OPEN(&place, "threads", 8 * MIB);
	weft_ref data = api_event(place.rt);

	cr_assert_eq(weft_write(place.rt, place.fd, 0, data,
	                        WEFT_TASK_OPTIONS(.deadline = weft_after_ms(place.rt, 1)), &ref),
	             0);
	cr_assert_eq(api_end(place.rt, ref), WEFT_EDEADLINE);
	cr_assert_eq(weft_event_set(place.rt, data, "text", 4), 0);
	api_release(place.rt, data);
	place_close(&place);
}
