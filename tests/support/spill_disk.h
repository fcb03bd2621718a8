/*
 * spill_disk.h: what the tests of the spill share: one opened over a back end, objects whose bytes
 * follow from a seed, batches and reads that are waited for, and the files from inside.
 */
#ifndef WEFT_TEST_SPILL_H
#define WEFT_TEST_SPILL_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io.h"
#include "spill.h"
#include "spill_inner.h"

#define SPILL_SESSION 0x5e55109u
#define SPILL_MIB     ((uint64_t)1 << 20)

struct spill_kit {
	struct wf_io *io;
	struct wf_spill *spill;
	const char *dirs[WF_SPILL_DIRS_MAX];
	struct wf_spill_options options;
	struct wf_a32 log_lines;
	char log[64][256];
};

static inline void spill_log(void *arg, int level, const char *text)
{
	struct spill_kit *kit = arg;
	/* relaxed: the test reads after what it waits for. */
	uint32_t i = wf_add_relaxed(&kit->log_lines, 1);

	(void)level;
	if (i < 64)
		snprintf(kit->log[i], sizeof(kit->log[i]), "%s", text);
}

/* How many lines of the log have these words. */
static inline unsigned spill_logged(struct spill_kit *kit, const char *words)
{
	/* relaxed: as above. */
	uint32_t lines = wf_load_relaxed(&kit->log_lines);
	unsigned count = 0;

	for (uint32_t i = 0; i < lines && i < 64; i++)
		count += strstr(kit->log[i], words) != NULL;
	return count;
}

/*
 * Segments of 1 MiB in the tests' directory, unless the options say otherwise. -ENOTSUP: there is
 * no such back end here.
 */
static inline int spill_open(struct spill_kit *kit, const char *backend)
{
	int status;

	if (kit->options.dir_count == 0) {
		kit->dirs[0] = io_dir();
		kit->options.dir_count = 1;
	}
	kit->options.dirs = kit->dirs;
	if (kit->options.segment_bytes == 0)
		kit->options.segment_bytes = SPILL_MIB;
	if (kit->options.reserve_bytes == 0)
		kit->options.reserve_bytes = 1;
	kit->options.session = SPILL_SESSION;
	kit->options.log = spill_log;
	kit->options.log_arg = kit;
	if (kit->io == NULL) {
		status = io_open(&kit->io, backend, (struct wf_io_options){ 0 });
		if (status != 0)
			return status;
		kit->options.io = kit->io;
	}
	return wf_spill_open(&kit->spill, &kit->options);
}

static inline void spill_close(struct spill_kit *kit)
{
	wf_spill_close(kit->spill);
	wf_io_close(kit->io);
	*kit = (struct spill_kit){ .io = NULL };
}

/* Memory for an object, `shift` bytes off a page. */
static inline char *spill_bytes(uint64_t size, uint64_t shift)
{
	return (char *)aligned_alloc(4096, (size + shift + 8192) & ~(uint64_t)4095) + shift;
}

static inline void spill_bytes_free(void *bytes)
{
	free((void *)((uintptr_t)bytes & ~(uintptr_t)4095));
}

static inline void spill_batch_done(struct wf_spill_batch *batch)
{
	io_event_add(batch->arg);
}

static inline void spill_read_done(struct wf_spill_read *read)
{
	io_event_add(read->arg);
}

/* Write and wait. */
static inline void spill_write(struct wf_spill *spill, struct wf_spill_item *items, uint32_t count)
{
	struct io_event event = { { 0 } };
	struct wf_spill_batch batch = { .items = items, .count = count };

	for (uint32_t i = 0; i < count; i++) {
		items[i].status = 12345;
		items[i].place.segment = 54321;
	}
	batch.done = spill_batch_done;
	batch.arg = &event;
	wf_spill_write(spill, &batch);
	io_event_wait(&event, 1);
}

/* Whatever the writing thread has been told before, it has done. */
static inline void spill_settle(struct wf_spill *spill)
{
	spill_write(spill, NULL, 0);
}

/* Read what was written as `item` to `to`, and wait. */
static inline int spill_read_to(struct wf_spill *spill, const struct wf_spill_item *item, void *to,
                                char *text)
{
	struct io_event event = { { 0 } };
	struct wf_spill_read read = { .place = item->place, .data = to, .size = item->size };

	read.id = item->id;
	read.generation = item->generation;
	read.status = 12345;
	read.done = spill_read_done;
	read.arg = &event;
	wf_spill_read(spill, &read);
	io_event_wait(&event, 1);
	if (text != NULL)
		memcpy(text, read.text, sizeof(read.text));
	if ((read.text[0] != 0) != (read.status != 0))
		abort();
	return read.status;
}

/* A file of a record, by another door than the spill's: to be damaged. */
static inline int spill_file(struct wf_spill *spill, const struct wf_spill_item *item)
{
	struct wf_segment_file file;
	char path[64];

	if (!wf_segments_find(&spill->segments, &item->place, item->size, &file))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file.fd);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* Where in that file the record begins. */
static inline uint64_t spill_offset(const struct wf_spill_item *item)
{
	return (uint64_t)item->place.page * 4096 + item->place.skip;
}

static inline struct wf_spill_stats spill_stats(struct wf_spill *spill)
{
	struct wf_spill_stats stats;

	wf_spill_stats(spill, &stats);
	return stats;
}

#endif /* WEFT_TEST_SPILL_H */
