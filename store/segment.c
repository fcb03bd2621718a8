/*
 * segment.c: which page of which file is in use.
 *
 * Every page has a byte that counts who uses it: one for an extent that is being written, one for
 * each record that touches it. A page is free when the byte is 0, so that free neighbours are one
 * extent without anybody joining them, and small records that share a page keep just that page.
 * A bitmap with trees of free extents was rejected: it is four times the code, and an extent is
 * looked for once per write of megabytes, where scanning the 64 KiB of a segment costs a hundredth
 * of the write.
 *
 * Shared: the table, the segments in it, the counters, and the changing part of the directories:
 * read and written under `lock`. Only the writing thread makes segments, takes extents and closes
 * files; it does the system calls without the lock. Others mark records as gone and look places
 * up. A descriptor that was looked up stays open as long as its record lives.
 *
 * Invariants: pages_used = number of bytes in use[] that are not 0; no free run is longer than
 * run_bound; file_bytes = sum of pages x 4096 over all segments; empty_count of a directory =
 * number of its segments with pages_used = 0; live_bytes = sum of wf_record_bytes() of all
 * records added and not removed.
 *
 * Progress: blocking (a mutex, held for a scan of the table and of segments that may have room,
 * never across a system call that writes).
 */
#include "segment.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

/* Empty segments kept in each directory: a file written before is written twice as fast. */
#define POOL_COUNT    4

/*
 * A free run of this many pages is taken rather than a new file: 256 KiB is the block from which
 * on the disk is nearly at its best. Guessed for slower disks.
 */
#define GOOD_PAGES    64u

/* A segment is not made smaller than this part of the usual size, to fit in what is left. */
#define LEAST_PART    16u

/* So many failed segments in one directory, and it is not the file but the disk. Guessed. */
#define STRIKES_MAX   4u

#define BUDGET_PARTS  8u /* segments that a budget is for, as long as they are not smaller than */
#define SMALL_SEGMENT ((uint64_t)1 << 20)
#define FULL_PAUSE_NS INT64_C(1000000000) /* guessed: one more attempt a second costs nothing */

#define TABLE_STEP    64u

struct wf_segment {
	uint32_t number, dir;
	int fd;
	bool bad; /* no new records */
	bool odd; /* not of the usual size: not pooled */
	uint32_t pages, pages_used, run_bound;
	uint8_t use[];
};

static uint64_t bytes_of(const struct wf_segment *seg)
{
	return (uint64_t)seg->pages * WF_RECORD_PAGE;
}

/* ---- Pages of one segment ------------------------------------------------------------------- */

/* Eight bytes of use[] at once: there must be so many. */
static uint64_t eight(const struct wf_segment *seg, uint32_t page)
{
	uint64_t word;

	memcpy(&word, seg->use + page, sizeof(word));
	return word;
}

static bool has_zero_byte(uint64_t word)
{
	return ((word - 0x0101010101010101u) & ~word & 0x8080808080808080u) != 0;
}

/* The first free page from `page` on, or the end. */
static uint32_t next_free(const struct wf_segment *seg, uint32_t page)
{
	while (page < seg->pages) {
		if (seg->pages - page >= 8 && !has_zero_byte(eight(seg, page))) {
			page += 8;
			continue;
		}
		if (seg->use[page] == 0)
			return page;
		page++;
	}
	return seg->pages;
}

/* The first used page from `page` on, at most `end`. */
static uint32_t next_used(const struct wf_segment *seg, uint32_t page, uint32_t end)
{
	while (page < end) {
		if (end - page >= 8 && eight(seg, page) == 0) {
			page += 8;
			continue;
		}
		if (seg->use[page] != 0)
			return page;
		page++;
	}
	return end;
}

/*
 * The first free run of at least `least` pages: its length, at most `want`, or 0. When there is
 * none the bound becomes exact.
 */
static uint32_t find_run(struct wf_segment *seg, uint32_t least, uint32_t want, uint32_t *start)
{
	uint32_t longest = 0, page = 0;

	WF_CHECK(least > 0 && least <= want);
	if (least > seg->run_bound)
		return 0;
	while ((page = next_free(seg, page)) < seg->pages) {
		uint32_t end = want < seg->pages - page ? page + want : seg->pages;
		uint32_t length = next_used(seg, page, end) - page;

		if (length >= least) {
			*start = page;
			return length;
		}
		longest = length > longest ? length : longest;
		page += length;
	}
	seg->run_bound = longest;
	return 0;
}

static void use_pages(struct wf_segment *seg, uint32_t page, uint32_t pages)
{
	WF_CHECK(page < seg->pages && pages <= seg->pages - page);
	for (uint32_t i = page; i < page + pages; i++) {
		WF_CHECK(seg->use[i] < UINT8_MAX);
		seg->pages_used += seg->use[i]++ == 0;
	}
}

static void unuse_pages(struct wf_segment *seg, uint32_t page, uint32_t pages)
{
	uint64_t bound = seg->run_bound;
	uint32_t freed = 0;

	WF_CHECK(page < seg->pages && pages <= seg->pages - page);
	for (uint32_t i = page; i < page + pages; i++) {
		WF_CHECK(seg->use[i] > 0);
		freed += --seg->use[i] == 0;
	}
	seg->pages_used -= freed;
	/* At worst the freed pages join the two longest runs. */
	bound = 2 * bound + freed;
	if (freed != 0)
		seg->run_bound = bound < seg->pages - seg->pages_used
			? (uint32_t)bound
			: seg->pages - seg->pages_used;
}

/* ---- The table ------------------------------------------------------------------------------ */

static struct wf_segment *segment_at(const struct wf_segments *segments, uint32_t number)
{
	if (number == 0 || number > segments->table_size)
		return NULL;
	return segments->table[number - 1];
}

/* The segment of a place that is known to be good. */
static struct wf_segment *segment_of(const struct wf_segments *segments, uint32_t number)
{
	struct wf_segment *seg = segment_at(segments, number);

	WF_CHECK(seg != NULL);
	WF_CHECK(seg->number == number);
	return seg;
}

static void use_locked(struct wf_segments *segments, struct wf_segment *seg, uint32_t page,
                       uint32_t pages)
{
	bool was_empty = seg->pages_used == 0;

	use_pages(seg, page, pages);
	if (was_empty && seg->pages_used != 0)
		segments->dirs[seg->dir].empty_count--;
}

/* True: the segment has become one that is to be given back. */
static bool unuse_locked(struct wf_segments *segments, struct wf_segment *seg, uint32_t page,
                         uint32_t pages)
{
	WF_CHECK(seg->pages_used > 0);
	unuse_pages(seg, page, pages);
	if (seg->pages_used != 0)
		return false;
	segments->dirs[seg->dir].empty_count++;
	return seg->bad || seg->odd || segments->dirs[seg->dir].empty_count > POOL_COUNT;
}

/* A free number: the table grows when there is none. 0: no memory. */
static uint32_t free_number_locked(struct wf_segments *segments)
{
	struct wf_segment **grown;
	uint32_t size = segments->table_size;

	for (uint32_t i = 0; i < size; i++) {
		if (segments->table[i] == NULL)
			return i + 1;
	}
	WF_CHECK(size <= UINT32_MAX - TABLE_STEP);
	grown = wf_calloc(size + TABLE_STEP, sizeof(grown[0]));
	if (grown == NULL)
		return 0;
	if (size > 0)
		memcpy(grown, segments->table, size * sizeof(grown[0]));
	wf_free(segments->table);
	segments->table = grown;
	segments->table_size = size + TABLE_STEP;
	return size + 1;
}

static int insert_segment(struct wf_segments *segments, uint32_t dir, int fd, uint64_t bytes)
{
	uint32_t pages = (uint32_t)(bytes / WF_RECORD_PAGE), number = 0;
	struct wf_segment *seg = wf_calloc(1, sizeof(*seg) + pages);

	if (seg == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&segments->lock);
	number = free_number_locked(segments);
	if (number != 0) {
		seg->number = number;
		seg->dir = dir;
		seg->fd = fd;
		seg->odd = bytes != segments->segment_bytes;
		seg->pages = seg->run_bound = pages;
		segments->table[number - 1] = seg;
		segments->segment_count++;
		segments->file_bytes += bytes;
		segments->dirs[dir].empty_count++;
	}
	pthread_mutex_unlock(&segments->lock);
	if (number == 0)
		wf_free(seg);
	return number != 0 ? 0 : -ENOMEM;
}

/* Out of the table; what is left is to close the file. */
static void remove_locked(struct wf_segments *segments, struct wf_segment *seg)
{
	WF_CHECK(segments->table[seg->number - 1] == seg);
	WF_CHECK(segments->segment_count > 0 && segments->file_bytes >= bytes_of(seg));
	segments->table[seg->number - 1] = NULL;
	segments->segment_count--;
	segments->bad_count -= seg->bad;
	segments->file_bytes -= bytes_of(seg);
	if (seg->pages_used == 0)
		segments->dirs[seg->dir].empty_count--;
}

static void close_segment(struct wf_segment *seg)
{
	(void)wf_file_close(seg->fd);
	wf_free(seg);
}

static struct wf_segment *surplus_locked(struct wf_segments *segments)
{
	for (uint32_t i = segments->table_size; i-- > 0;) {
		struct wf_segment *seg = segments->table[i];

		if (seg == NULL || seg->pages_used != 0)
			continue;
		if (seg->bad || seg->odd || segments->dirs[seg->dir].empty_count > POOL_COUNT)
			return seg;
	}
	return NULL;
}

void wf_segments_trim(struct wf_segments *segments)
{
	for (;;) {
		struct wf_segment *seg;

		pthread_mutex_lock(&segments->lock);
		seg = surplus_locked(segments);
		if (seg != NULL)
			remove_locked(segments, seg);
		pthread_mutex_unlock(&segments->lock);
		if (seg == NULL)
			return;
		close_segment(seg);
	}
}

/* ---- Making segments ------------------------------------------------------------------------ */

/* How large the next segment in `dir` may be, at least `need`; 0: no room. */
static uint64_t fitting_locked(struct wf_segments *segments, uint32_t dir_index, uint64_t need)
{
	struct wf_directory *dir = &segments->dirs[dir_index];
	uint64_t usual = segments->segment_bytes, room = wf_directory_room(dir), left;
	uint64_t want = need > usual ? need : usual;

	/* A quota, or a moment's shortage, is not seen in the room: then a pause has to do. */
	if (dir->full && room < dir->room_when_full + usual &&
	    (room < want || wf_clock_now(NULL) < dir->full_until_ns))
		return 0;
	if (segments->budget_bytes != 0) {
		left = segments->budget_bytes > segments->file_bytes
			? segments->budget_bytes - segments->file_bytes
			: 0;
		room = left < room ? left : room;
	}
	if (want > room)
		want = room & ~(WF_RECORD_PAGE - 1);
	return want >= need && want >= usual / LEAST_PART ? want : 0;
}

/* What came of an attempt to make a file: each change is said once. */
static void note_attempt(struct wf_segments *segments, struct wf_directory *dir, int status)
{
	uint64_t room = wf_directory_room(dir);
	bool full = wf_spill_means_full(status), failing = status < 0 && !full, changed;

	pthread_mutex_lock(&segments->lock);
	changed = full != dir->full || failing != dir->failing;
	dir->full = full;
	dir->failing = failing;
	dir->room_when_full = room;
	dir->full_until_ns = wf_clock_now(NULL) + FULL_PAUSE_NS;
	pthread_mutex_unlock(&segments->lock);
	if (!changed)
		return;
	if (status < 0)
		wf_spill_say(&segments->say, WF_SPILL_WARN, "no new spill file in %s: %s",
		             dir->path, strerror(-status));
	else
		wf_spill_say(&segments->say, WF_SPILL_INFO, "spilling to %s again", dir->path);
}

static int make_segment(struct wf_segments *segments, uint32_t dir_index, uint32_t need_pages)
{
	struct wf_directory *dir = &segments->dirs[dir_index];
	uint64_t bytes;
	int fd, status;

	WF_CHECK(dir->path != NULL && need_pages > 0);
	pthread_mutex_lock(&segments->lock);
	bytes = fitting_locked(segments, dir_index, (uint64_t)need_pages * WF_RECORD_PAGE);
	pthread_mutex_unlock(&segments->lock);
	if (bytes == 0)
		return -ENOSPC;
	fd = wf_directory_make(dir, bytes);
	note_attempt(segments, dir, fd);
	if (fd < 0)
		return wf_spill_means_full(fd) ? -ENOSPC : fd;
	status = insert_segment(segments, dir_index, fd, bytes);
	if (status != 0)
		(void)wf_file_close(fd);
	return status;
}

/* ---- Extents -------------------------------------------------------------------------------- */

static bool usable_locked(const struct wf_segments *segments, uint32_t dir)
{
	return segments->dirs[dir].path != NULL && segments->dirs[dir].strikes < STRIKES_MAX;
}

/* Out of the segments that are there. */
static bool take_present(struct wf_segments *segments, uint32_t dir, uint32_t least, uint32_t want,
                         struct wf_extent *extent)
{
	uint32_t length = 0, start = 0;

	pthread_mutex_lock(&segments->lock);
	for (uint32_t i = 0; i < segments->table_size && length == 0; i++) {
		struct wf_segment *seg = segments->table[i];

		if (seg == NULL || seg->dir != dir || seg->bad)
			continue;
		length = find_run(seg, least, want, &start);
		if (length == 0)
			continue;
		use_locked(segments, seg, start, length);
		*extent = (struct wf_extent){ .segment = seg->number, .page = start };
		extent->pages = length;
		extent->dir = dir;
		extent->fd = seg->fd;
		extent->direct = segments->dirs[dir].direct;
	}
	pthread_mutex_unlock(&segments->lock);
	return length != 0;
}

/* As much as there is at once: all that is wanted, else a run of good length. */
static bool take_long(struct wf_segments *segments, uint32_t dir, uint32_t least, uint32_t want,
                      struct wf_extent *extent)
{
	uint32_t good = want < GOOD_PAGES ? want : GOOD_PAGES;

	good = good > least ? good : least;
	return take_present(segments, dir, want, want, extent) ||
		(good < want && take_present(segments, dir, good, want, extent));
}

/* The best of one directory: a run of good length, or a new segment. */
static int take_good(struct wf_segments *segments, uint32_t dir, uint32_t least, uint32_t want,
                     struct wf_extent *extent)
{
	int status;

	if (take_long(segments, dir, least, want, extent))
		return 0;
	status = make_segment(segments, dir, least);
	if (status != 0)
		return status;
	/* What is left of a disk or of the budget may be shorter than wanted. */
	if (!take_long(segments, dir, least, want, extent))
		WF_CHECK(take_present(segments, dir, least, want, extent));
	return 0;
}

/* All directories in turn, without `avoid`. -ENOSPC outweighs other reasons. */
static int take_round(struct wf_segments *segments, uint32_t want, uint32_t least, uint32_t avoid,
                      struct wf_extent *extent)
{
	uint32_t order[WF_SPILL_DIRS_MAX], count = 0;
	int status = -EIO;

	WF_CHECK(segments->dir_count > 0);
	pthread_mutex_lock(&segments->lock);
	for (uint32_t i = 0; i < segments->dir_count; i++) {
		uint32_t dir = (segments->turn + i) % segments->dir_count;

		if (dir != avoid && usable_locked(segments, dir))
			order[count++] = dir;
	}
	if (++segments->turn >= segments->dir_count)
		segments->turn = 0;
	pthread_mutex_unlock(&segments->lock);
	for (uint32_t i = 0; i < count; i++) {
		int r = take_good(segments, order[i], least, want, extent);

		if (r == 0)
			return 0;
		status = status != -ENOSPC ? r : status;
	}
	for (uint32_t i = 0; i < count; i++) {
		if (take_present(segments, order[i], least, want, extent))
			return 0;
	}
	return status;
}

int wf_segments_take(struct wf_segments *segments, uint32_t want, uint32_t least, uint32_t avoid,
                     struct wf_extent *extent)
{
	int status;

	WF_CHECK(least > 0 && least <= want);
	status = take_round(segments, want, least, avoid, extent);
	if (status != 0 && avoid != WF_SEGMENTS_NO_DIR)
		status = take_round(segments, want, least, WF_SEGMENTS_NO_DIR, extent);
	WF_CHECK(status != 0 || (extent->pages >= least && extent->pages <= want));
	return status;
}

void wf_segments_shrink(struct wf_segments *segments, struct wf_extent *extent, uint32_t pages)
{
	WF_CHECK(pages > 0 && pages <= extent->pages);
	if (pages == extent->pages)
		return;
	pthread_mutex_lock(&segments->lock);
	(void)unuse_locked(segments, segment_of(segments, extent->segment), extent->page + pages,
	                   extent->pages - pages);
	pthread_mutex_unlock(&segments->lock);
	extent->pages = pages;
}

void wf_segments_drop(struct wf_segments *segments, const struct wf_extent *extent)
{
	bool trim;

	pthread_mutex_lock(&segments->lock);
	trim = unuse_locked(segments, segment_of(segments, extent->segment), extent->page,
	                    extent->pages);
	pthread_mutex_unlock(&segments->lock);
	if (trim)
		wf_segments_trim(segments);
}

void wf_segments_failed(struct wf_segments *segments, const struct wf_extent *extent, int status)
{
	struct wf_directory *dir = &segments->dirs[extent->dir];
	bool full = wf_spill_means_full(status), given_up = false, fresh;
	struct wf_segment *seg;

	WF_CHECK(status < 0);
	pthread_mutex_lock(&segments->lock);
	seg = segment_of(segments, extent->segment);
	fresh = !seg->bad;
	if (fresh) {
		seg->bad = true;
		segments->bad_count++;
		dir->strikes += !full;
		given_up = !full && dir->strikes == STRIKES_MAX;
	}
	pthread_mutex_unlock(&segments->lock);
	if (full)
		note_attempt(segments, dir, status);
	else if (fresh)
		wf_spill_say(&segments->say, WF_SPILL_ERROR, "%s: writing to segment %u: %s; %s",
		             dir->path, extent->segment, strerror(-status),
		             given_up ? "the directory is not used for new records any more"
		                      : "the segment is not used for new records any more");
}

/* ---- Records -------------------------------------------------------------------------------- */

void wf_segments_add_locked(struct wf_segments *segments, const struct wf_spill_place *place,
                            uint64_t size)
{
	struct wf_segment *seg = segment_of(segments, place->segment);

	WF_CHECK(place->skip < WF_RECORD_PAGE && place->skip % wf_record_unit(size) == 0);
	/* The extent still holds the page, so that the segment is not empty. */
	WF_CHECK(place->page < seg->pages && seg->use[place->page] > 0);
	use_locked(segments, seg, place->page, wf_record_pages(place->skip, size));
	segments->live_bytes += wf_record_bytes(size);
}

bool wf_segments_remove(struct wf_segments *segments, const struct wf_spill_place *place,
                        uint64_t size)
{
	bool trim;

	WF_CHECK(place->skip < WF_RECORD_PAGE && size <= WF_RECORD_SIZE_MAX);
	pthread_mutex_lock(&segments->lock);
	WF_CHECK(segments->live_bytes >= wf_record_bytes(size));
	trim = unuse_locked(segments, segment_of(segments, place->segment), place->page,
	                    wf_record_pages(place->skip, size));
	segments->live_bytes -= wf_record_bytes(size);
	pthread_mutex_unlock(&segments->lock);
	return trim;
}

bool wf_segments_find(struct wf_segments *segments, const struct wf_spill_place *place,
                      uint64_t size, struct wf_segment_file *file)
{
	const struct wf_segment *seg;
	struct wf_segment_file found = { .pages = 0 };

	pthread_mutex_lock(&segments->lock);
	seg = segment_at(segments, place->segment);
	if (seg != NULL)
		found = (struct wf_segment_file){
			.fd = seg->fd,
			.direct = segments->dirs[seg->dir].direct,
			.pages = seg->pages,
			.dir = segments->dirs[seg->dir].path,
		};
	pthread_mutex_unlock(&segments->lock);
	if (!wf_segment_has(&found, place, size))
		return false;
	*file = found;
	return true;
}

void wf_segments_distrust(struct wf_segments *segments, uint32_t number)
{
	struct wf_segment *seg;

	pthread_mutex_lock(&segments->lock);
	seg = segment_at(segments, number);
	if (seg != NULL && !seg->bad) {
		seg->bad = true;
		segments->bad_count++;
	}
	pthread_mutex_unlock(&segments->lock);
}

bool wf_segments_have_room(struct wf_segments *segments, uint32_t pages)
{
	bool room = false;

	pthread_mutex_lock(&segments->lock);
	for (uint32_t i = 0; i < segments->table_size && !room; i++) {
		const struct wf_segment *seg = segments->table[i];

		room = seg != NULL && !seg->bad && seg->run_bound >= pages &&
			usable_locked(segments, seg->dir);
	}
	for (uint32_t i = 0; i < segments->dir_count && !room; i++) {
		if (usable_locked(segments, i))
			room = fitting_locked(segments, i, (uint64_t)pages * WF_RECORD_PAGE) != 0;
	}
	pthread_mutex_unlock(&segments->lock);
	return room;
}

void wf_segments_verify(struct wf_segments *segments)
{
	uint32_t count = 0, bad = 0, empty[WF_SPILL_DIRS_MAX] = { 0 };
	uint64_t bytes = 0;

	pthread_mutex_lock(&segments->lock);
	for (uint32_t i = 0; i < segments->table_size; i++) {
		const struct wf_segment *seg = segments->table[i];
		uint32_t used = 0;

		if (seg == NULL)
			continue;
		for (uint32_t page = 0; page < seg->pages; page++)
			used += seg->use[page] != 0;
		WF_CHECK(used == seg->pages_used && seg->number == i + 1);
		for (uint32_t page = 0; (page = next_free(seg, page)) < seg->pages;) {
			uint32_t end = next_used(seg, page, seg->pages);

			WF_CHECK(end - page <= seg->run_bound);
			page = end;
		}
		count++;
		bad += seg->bad;
		empty[seg->dir] += used == 0;
		bytes += bytes_of(seg);
	}
	WF_CHECK(count == segments->segment_count && bad == segments->bad_count);
	WF_CHECK(bytes == segments->file_bytes);
	for (uint32_t i = 0; i < segments->dir_count; i++)
		WF_CHECK(empty[i] == segments->dirs[i].empty_count);
	pthread_mutex_unlock(&segments->lock);
}

/* ---- Open and close ------------------------------------------------------------------------- */

/* A segment is to fit, and one that fails to cost at most an eighth of what there is. */
static uint64_t usual_bytes(const struct wf_segments *segments,
                            const struct wf_spill_options *options)
{
	uint64_t bytes = WF_SPILL_SEGMENT_BYTES, all = options->budget_bytes, disks = 0;
	struct rlimit limit;

	if (options->segment_bytes != 0)
		return options->segment_bytes;
	for (uint32_t i = 0; i < options->dir_count; i++) {
		if (segments->dirs[i].path != NULL)
			disks += wf_directory_disk(&segments->dirs[i]);
	}
	if (all == 0 || (disks != 0 && disks < all))
		all = disks;
	if (all != 0 && bytes > all / BUDGET_PARTS)
		bytes = all / BUDGET_PARTS > SMALL_SEGMENT ? all / BUDGET_PARTS : SMALL_SEGMENT;
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes)
		bytes = limit.rlim_cur > WF_RECORD_PAGE ? limit.rlim_cur : WF_RECORD_PAGE;
	WF_CHECK(bytes >= WF_RECORD_PAGE && bytes <= WF_SPILL_SEGMENT_BYTES);
	return bytes;
}

static bool is_less_than_a_page(uint64_t bytes)
{
	return bytes != 0 && bytes < WF_RECORD_PAGE;
}

int wf_segments_open(struct wf_segments *segments, const struct wf_spill_options *options,
                     char *scratch)
{
	uint64_t bytes;
	uint32_t usable = 0;
	int status = -EINVAL;

	*segments = (struct wf_segments){ .budget_bytes = options->budget_bytes };
	segments->say = (struct wf_spill_say){ options->log, options->log_arg };
	if (options->dir_count == 0 || options->dir_count > WF_SPILL_DIRS_MAX)
		return -EINVAL;
	if (is_less_than_a_page(options->budget_bytes) ||
	    is_less_than_a_page(options->segment_bytes))
		return -EINVAL;
	for (uint32_t i = 0; i < options->dir_count; i++) {
		int r = wf_directory_open(&segments->dirs[i], options->dirs[i],
		                          options->reserve_bytes, options->io, scratch,
		                          &segments->say);

		status = i == 0 ? r : status;
		usable += r == 0;
	}
	segments->dir_count = options->dir_count;
	if (usable == 0)
		return status;
	bytes = usual_bytes(segments, options);
	if (options->budget_bytes != 0 && options->budget_bytes < bytes)
		bytes = options->budget_bytes;
	segments->segment_bytes = bytes & ~(WF_RECORD_PAGE - 1);
	WF_CHECK(segments->segment_bytes > 0);
	WF_CHECK(pthread_mutex_init(&segments->lock, NULL) == 0);
	return 0;
}

void wf_segments_close(struct wf_segments *segments)
{
	for (uint32_t i = 0; i < segments->table_size; i++) {
		if (segments->table[i] != NULL)
			close_segment(segments->table[i]);
	}
	wf_free(segments->table);
	for (uint32_t i = 0; i < segments->dir_count; i++)
		wf_directory_close(&segments->dirs[i]);
	pthread_mutex_destroy(&segments->lock);
}
