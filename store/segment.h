/*
 * segment.h: segment files, and which pages of them are in use. Files are taken from several
 * directories in turn, filled, reused page by page, and given back when nothing lies in them.
 */
#ifndef WF_SEGMENT_H
#define WF_SEGMENT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base.h"
#include "directory.h"
#include "record.h"
#include "spill.h"

#define WF_SEGMENTS_NO_DIR UINT32_MAX

struct wf_segment;

struct wf_segments {
	struct wf_directory dirs[WF_SPILL_DIRS_MAX];
	uint32_t dir_count;
	struct wf_spill_say say;
	uint64_t segment_bytes, budget_bytes;
	pthread_mutex_t lock;
	struct wf_segment **table; /* by number - 1; NULL: no such segment */
	uint32_t table_size;
	uint32_t turn; /* the directory to begin with */
	uint32_t segment_count, bad_count;
	uint64_t file_bytes, live_bytes;
};

/* Pages that are taken but hold no records yet. */
struct wf_extent {
	uint32_t segment; /* its number */
	uint32_t page, pages;
	uint32_t dir;
	int fd;
	bool direct;
};

/* `scratch` (8 KiB, aligned to 4096) is used during the call. -errno, and nothing is left. */
int wf_segments_open(struct wf_segments *segments, const struct wf_spill_options *options,
                     char *scratch);
/* The files are gone, whatever lies in them. */
void wf_segments_close(struct wf_segments *segments);

/*
 * The next three, and wf_segments_trim(), are for the one thread that writes.
 *
 * Take `want` adjacent pages, or fewer, but not fewer than `least`; `avoid` is a directory to be
 * used only if there is no other. Makes a segment when that is better than crumbs. May block.
 * Errors: -ENOSPC all directories are full or the budget is used up; -errno of directories that
 * fail; -ENOMEM.
 */
int wf_segments_take(struct wf_segments *segments, uint32_t want, uint32_t least, uint32_t avoid,
                     struct wf_extent *extent);
/* Give back what lies beyond the first `pages`. */
void wf_segments_shrink(struct wf_segments *segments, struct wf_extent *extent, uint32_t pages);
/* The extent is done with: pages in which no record lies are free again. */
void wf_segments_drop(struct wf_segments *segments, const struct wf_extent *extent);
/* A write into the extent failed. The segment is not used for new records again. */
void wf_segments_failed(struct wf_segments *segments, const struct wf_extent *extent, int status);
/* Give back empty segments beyond the pool. Blocks. */
void wf_segments_trim(struct wf_segments *segments);

/* A record of `size` bytes lies there now, inside an extent. `lock` is held, over many of these. */
void wf_segments_add_locked(struct wf_segments *segments, const struct wf_spill_place *place,
                            uint64_t size);
/* It does not any more. Any thread. True: a trim is due. */
bool wf_segments_remove(struct wf_segments *segments, const struct wf_spill_place *place,
                        uint64_t size);

struct wf_segment_file {
	int fd;
	bool direct;
	uint32_t pages;
	const char *dir; /* for texts; valid until close */
};
/* Whether a record of `size` can lie there in this segment, which the place names. */
static inline bool wf_segment_has(const struct wf_segment_file *file,
                                  const struct wf_spill_place *place, uint64_t size)
{
	return size <= WF_RECORD_SIZE_MAX && place->skip < WF_RECORD_PAGE &&
		place->skip % wf_record_unit(size) == 0 && place->page < file->pages &&
		wf_record_pages(place->skip, size) <= file->pages - place->page;
}
/* Where to read a record. False: there is no such place. Any thread. */
bool wf_segments_find(struct wf_segments *segments, const struct wf_spill_place *place,
                      uint64_t size, struct wf_segment_file *file);
/* A read found the medium bad: no new records there. Any thread. */
void wf_segments_distrust(struct wf_segments *segments, uint32_t number);
/* Whether `pages` adjacent pages could be had now, by a guess. Any thread. */
bool wf_segments_have_room(struct wf_segments *segments, uint32_t pages);

/* For tests and debug builds: count everything again and compare. Aborts on a difference. */
void wf_segments_verify(struct wf_segments *segments);

#endif /* WF_SEGMENT_H */
