/*
 * floor.c: the machine's floor for the job's bytes. No record of the output is known before the
 * last one of the input was read, so whoever sorts has to read all of it, keep it, in memory or
 * where there is none in files, and then write it. This does just that with the job's store,
 * chunks, window and threads, but without looking at a record and without moving one.
 *
 * The rate of the disk is what one thread moves past the page cache, in blocks of 4 MiB, to and
 * from a new file in the spill directory.
 */
#include "sort.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

#define PROBE_BLOCK ((size_t)4 << 20)
#define PROBE_MOST  ((uint64_t)256 << 20)

struct part {
	const struct wf_sort_floor *floor;
	uint64_t offset, bytes;
};

/* Values: nothing; the part's bytes. */
static int read_body(weft_task *self)
{
	const struct part *part = weft_task_arg(self, NULL);
	const struct wf_sort_job *job = part->floor->job;
	struct wf_sort_time begin;
	void *bytes;
	int status = weft_task_output(self, 1, part->bytes, &bytes);

	if (status < 0)
		return wf_sort_fail_room(self, status, "to measure the floor");
	begin = wf_sort_time_now();
	for (uint64_t done = 0, n; done < part->bytes; done += n) {
		n = part->bytes - done;
		n = n < WF_SORT_BLOCK_BYTES ? n : WF_SORT_BLOCK_BYTES;
		if (weft_task_cancelled(self))
			return -ECANCELED;
		status = wf_sort_pread(job->input_fd, (char *)bytes + done, n, part->offset + done);
		if (status < 0)
			return wf_sort_fail_file(self, job->input_name, status);
	}
	wf_sort_journal_add(job->journal, self, WF_SORT_STAGE_FLOOR_READ, begin, part->bytes);
	return 0;
}

static int read_all(struct wf_sort_window *window, const struct wf_sort_floor *floor,
                    struct wf_sort_refs *parts)
{
	static const struct weft_task_options two = { .struct_size = sizeof(two), .n_outputs = 2 };
	const struct wf_sort_layout *layout = &floor->job->layout;
	/* Whole pages, so that they can be written past the page cache. */
	uint64_t step = (layout->chunk_bytes + 4095) / 4096 * 4096;
	int status = 0;

	for (uint64_t at = 0; at < layout->bytes && status == 0; at += step) {
		struct part part = { .floor = floor, .offset = at, .bytes = step };
		weft_ref out[2];

		if (layout->bytes - at < step)
			part.bytes = layout->bytes - at;
		status = wf_sort_window_submit(
			window, WEFT_TASK(read_body, WEFT_ARG(part), .opts = &two), out);
		if (status < 0)
			break;
		weft_release(floor->job->rt, out[0]);
		if (wf_sort_refs_add(parts, out[1]) < 0) {
			weft_release(floor->job->rt, out[1]);
			status = weft_fail(window->self, -ENOMEM, "no memory for a list of tasks");
		}
	}
	return status == 0 ? wf_sort_window_drain(window) : status;
}

static int write_all(struct wf_sort_window *window, const struct wf_sort_floor *floor,
                     struct wf_sort_refs *parts)
{
	uint64_t step = (floor->job->layout.chunk_bytes + 4095) / 4096 * 4096;
	int status = 0;

	for (size_t i = 0; i < parts->count && status == 0; i++) {
		struct wf_sort_write write = {
			.job = floor->job,
			.sink = &floor->sink,
			.stage = WF_SORT_STAGE_FLOOR_WRITE,
			.offset = i * step,
		};

		status = wf_sort_write_submit(window, &write, parts->refs[i]);
		weft_release(floor->job->rt, parts->refs[i]);
		parts->refs[i] = WEFT_NONE;
	}
	return status == 0 ? wf_sort_window_drain(window) : status;
}

/* ---- The disk ---------------------------------------------------------------------- */

static double rate_since(int64_t begin_ns, uint64_t bytes)
{
	int64_t ns = weft_now(NULL) - begin_ns;

	return ns > 0 ? (double)bytes / (double)ns : 0;
}

/* Blocks to the file, then from it. 0 or a negated errno. */
static int probe_file(int fd, char *block, uint64_t bytes, struct wf_sort_disk *disk)
{
	int64_t begin_ns;
	int status = 0;

	if (fallocate(fd, 0, 0, (off_t)bytes) < 0 && errno != EOPNOTSUPP)
		return -errno;
	begin_ns = weft_now(NULL);
	for (uint64_t at = 0; at < bytes && status == 0; at += PROBE_BLOCK)
		status = wf_sort_pwrite(fd, block, PROBE_BLOCK, at);
	if (status == 0)
		disk->write_gbs = rate_since(begin_ns, bytes);
	begin_ns = weft_now(NULL);
	for (uint64_t at = 0; at < bytes && status == 0; at += PROBE_BLOCK)
		status = wf_sort_pread(fd, block, PROBE_BLOCK, at);
	if (status == 0)
		disk->read_gbs = rate_since(begin_ns, bytes);
	return status;
}

/* Value: struct wf_sort_disk. A directory that cannot do it is not measured. */
static int disk_body(weft_task *self)
{
	const struct wf_sort_floor *floor =
		*(const struct wf_sort_floor *const *)weft_task_arg(self, NULL);
	uint64_t bytes =
		floor->job->layout.bytes < PROBE_MOST ? floor->job->layout.bytes : PROBE_MOST;
	struct wf_sort_time begin = wf_sort_time_now();
	struct wf_sort_disk disk = { .seconds = 0 };
	struct weft_buffer room;
	int fd, status;

	/* In blocks whole, and no block in a memory that has little more. */
	bytes -= bytes % PROBE_BLOCK;
	if (bytes == 0 || floor->job->layout.store_bytes < 4 * PROBE_BLOCK)
		return weft_return(self, &disk, sizeof(disk));
	fd = open(floor->spill_dir, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
	if (fd < 0)
		return weft_return(self, &disk, sizeof(disk));
	status = wf_sort_room(self, PROBE_BLOCK, &room);
	if (status == 0) {
		memset(room.data, 'w', PROBE_BLOCK);
		probe_file(fd, room.data, bytes, &disk);
		weft_discard(floor->job->rt, &room);
	}
	close(fd);
	wf_sort_journal_add(floor->job->journal, self, WF_SORT_STAGE_DISK, begin, 2 * bytes);
	return status < 0 ? status : weft_return(self, &disk, sizeof(disk));
}

static int take_disk(void *arg, const struct weft_view *value)
{
	WF_CHECK(value->size == sizeof(struct wf_sort_disk));
	memcpy(arg, value->data, value->size);
	return 0;
}

int wf_sort_floor_root(weft_task *self)
{
	static const struct weft_task_options blocking = {
		.struct_size = sizeof(blocking),
		.flags = WEFT_TASK_BLOCKING,
	};
	const struct wf_sort_floor *floor =
		*(const struct wf_sort_floor *const *)weft_task_arg(self, NULL);
	struct weft_store_stats before = { .struct_size = sizeof(before) }, after = before;
	struct wf_sort_refs parts = { NULL, 0, 0 };
	struct wf_sort_disk disk = { .seconds = 0 };
	struct wf_sort_window window;
	int64_t begin_ns = weft_now(NULL);
	int status;

	wf_sort_window_init(&window, self, floor->job->layout.window);
	weft_store_stats(floor->job->rt, &before);
	status = read_all(&window, floor, &parts);
	if (status == 0)
		status = write_all(&window, floor, &parts);
	disk.seconds = (double)(weft_now(NULL) - begin_ns) * 1e-9;
	weft_store_stats(floor->job->rt, &after);
	wf_sort_refs_fini(floor->job->rt, &parts);
	if (status == 0) {
		double seconds = disk.seconds;

		window.done = take_disk;
		window.arg = &disk;
		status = wf_sort_window_submit(
			&window, WEFT_TASK(disk_body, WEFT_ARG(floor), .opts = &blocking), NULL);
		if (status == 0)
			status = wf_sort_window_drain(&window);
		disk.seconds = seconds;
		disk.spilled_bytes = after.spilled_bytes - before.spilled_bytes;
		disk.restored_bytes = after.restored_bytes - before.restored_bytes;
	}
	wf_sort_window_fini(&window);
	return status < 0 ? status : weft_return(self, &disk, sizeof(disk));
}
