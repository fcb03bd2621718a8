/*
 * store.c: opening and closing, and what starts late.
 *
 * Opening reserves addresses and checks options; it commits no memory and starts no thread, so a
 * program that never fills its store pays nothing for being able to. The keeper thread, the file
 * I/O and the spill files start when first needed, under one lock, once.
 *
 * Shared: `io`, `spill`: written under `start_lock`, read by anybody. The stray local: under
 * `stray_lock`; it is made at open, because giving an object back must not fail for want of memory.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "inner.h"

#define MIN_BYTES       ((uint64_t)1 << 20)
#define SMALL_BYTES     ((uint64_t)64 << 20) /* below: no credits, nothing ahead of demand */
#define CREDIT_MAX      ((uint64_t)256 << 10)
#define AHEAD_MAX       ((uint64_t)256 << 20) /* guessed: a tenth of a second of puts */
#define OBJECTS_DEFAULT ((uint64_t)1 << 24)
#define RESERVE_PARTS   16u   /* of capacity kept for restores; the allocator's slack as well */
#define TICK_PARTS      1024u /* ticks in a turnover of the capacity */
#define HIGH_DEFAULT    800u
#define LOW_DEFAULT     700u
#define LOG_BYTES       512

void wf_store_log(const struct wf_store *store, int level, const char *format, ...)
{
	char text[LOG_BYTES];
	va_list args;

	if (store->options.log == NULL)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	store->options.log(store->options.arg, level, text);
}

/* ---- Late starts ----------------------------------------------------------------------------- */

/* Called with the start lock held. 0 or a negated errno. */
static int open_io_locked(struct wf_store *store, struct wf_io **io)
{
	struct wf_io_options options = { .log = store->options.log, .log_arg = store->options.arg };
	int rc;

	if (store->options.spill_dir_count > 0)
		options.probe_dir = store->dirs[0];
	rc = wf_io_open(io, &options);
	if (rc < 0) {
		if (!store->io_refused)
			wf_store_log(store, WF_STORE_LOG_WARN, "no file I/O: %s", strerror(-rc));
		store->io_refused = true;
		return rc;
	}
	WF_CHECK(*io != NULL && options.log == store->options.log);
	/* release [S2]: what was opened, to the acquire in start_io(). */
	wf_store_release(&store->io, (uintptr_t)*io);
	return 0;
}

static int start_io(struct wf_store *store, struct wf_io **io)
{
	int rc = 0;

	/* acquire [S2]: with the release above. */
	*io = (struct wf_io *)wf_load_acquire(&store->io);
	if (WF_LIKELY(*io != NULL))
		return 0;
	pthread_mutex_lock(&store->start_lock);
	/* relaxed: written under this lock. */
	*io = (struct wf_io *)wf_load_relaxed(&store->io);
	if (*io == NULL)
		rc = open_io_locked(store, io);
	pthread_mutex_unlock(&store->start_lock);
	WF_CHECK(rc <= 0 && (rc == 0) == (*io != NULL));
	return rc;
}

struct wf_io *wf_store_io(struct wf_store *store)
{
	struct wf_io *io;

	return start_io(store, &io) == 0 ? io : NULL;
}

int wf_store_spill(struct wf_store *store)
{
	struct wf_spill *spill = wf_store_spill_opened(store);
	struct wf_spill_options options = { .dirs = (const char *const *)store->dirs,
		                            .dir_count = store->options.spill_dir_count,
		                            .budget_bytes = store->options.spill_budget_bytes,
		                            .segment_bytes = store->options.spill_segment_bytes,
		                            .log = store->options.log,
		                            .log_arg = store->options.arg };
	int rc;

	if (spill != NULL)
		return 0;
	WF_CHECK(options.dir_count > 0);
	rc = start_io(store, &options.io);
	if (rc < 0)
		return rc;
	options.session = wf_random_seed();
	rc = wf_spill_open(&spill, &options);
	if (rc < 0) {
		if (!store->io_refused)
			wf_store_log(store, WF_STORE_LOG_WARN, "nothing can be spilled: %s",
			             strerror(-rc));
		store->io_refused = true;
		return rc;
	}
	WF_CHECK(spill != NULL);
	/* release [S1]: what was opened, to the acquire in wf_store_spill_opened(). */
	wf_store_release(&store->spill, (uintptr_t)spill);
	return 0;
}

/* ---- Open and close -------------------------------------------------------------------------- */

static int copy_dirs(struct wf_store *store)
{
	uint32_t count = store->options.spill_dir_count;

	store->options.spill_dirs = NULL;
	if (count == 0)
		return 0;
	store->dirs = wf_calloc(count, sizeof(store->dirs[0]));
	if (store->dirs == NULL)
		return -ENOMEM;
	return 0;
}

static int copy_dir_names(struct wf_store *store, const char *const *dirs)
{
	int rc = copy_dirs(store);

	for (uint32_t i = 0; rc == 0 && i < store->options.spill_dir_count; i++) {
		size_t size = strlen(dirs[i]) + 1;

		store->dirs[i] = wf_malloc(size);
		if (store->dirs[i] == NULL)
			return -ENOMEM;
		memcpy(store->dirs[i], dirs[i], size);
	}
	return rc;
}

static int check_options(const struct wf_store_options *options)
{
	uint32_t high = options->spill_high != 0 ? options->spill_high : HIGH_DEFAULT;
	uint32_t low = options->spill_low != 0 ? options->spill_low : LOW_DEFAULT;

	if (high > 1000 || low > high)
		return -EINVAL;
	if (options->capacity_bytes != 0 && options->capacity_bytes < MIN_BYTES)
		return -EINVAL;
	if (options->capacity_bytes > (uint64_t)1 << 46)
		return -EINVAL;
	if (options->spill_dir_count > WF_SPILL_DIRS_MAX || options->objects_max > UINT32_MAX)
		return -EINVAL;
	if (options->node_count > WF_NODES_MAX)
		return -EINVAL;
	if (options->spill_dir_count > 0 && options->spill_dirs == NULL)
		return -EINVAL;
	return 0;
}

static void set_sizes(struct wf_store *store, uint64_t capacity)
{
	const struct wf_store_options *options = &store->options;

	capacity = capacity / WF_LINE_BYTES * WF_LINE_BYTES;
	store->capacity = capacity;
	if (options->spill_dir_count > 0)
		store->reserve = capacity / RESERVE_PARTS;
	store->credit_bytes = 0;
	if (capacity >= SMALL_BYTES) {
		/* Whole lines, as all that is counted. */
		store->credit_bytes = capacity / TICK_PARTS / WF_LINE_BYTES * WF_LINE_BYTES;
		if (store->credit_bytes > CREDIT_MAX)
			store->credit_bytes = CREDIT_MAX;
	}
	store->tick_bytes = capacity / TICK_PARTS;
	/* Without files nothing happens at `high`. */
	store->high = store->low = capacity;
	if (options->spill_dir_count > 0) {
		store->high = capacity / 1000 * options->spill_high;
		store->low = capacity / 1000 * options->spill_low;
	}
	/* relaxed: nobody else is there. */
	wf_store_relaxed(&store->share_limit, capacity / 2);
	WF_CHECK(store->reserve < capacity && store->low <= store->high);
	WF_CHECK(store->tick_bytes > 0);
}

static void fill_options(struct wf_store *store, const struct wf_store_options *options)
{
	WF_CHECK(options->spill_dir_count <= WF_SPILL_DIRS_MAX);
	store->options = *options;
	if (store->options.spill_high == 0)
		store->options.spill_high = HIGH_DEFAULT;
	if (store->options.spill_low == 0)
		store->options.spill_low = LOW_DEFAULT;
	if (store->options.node_count == 0)
		store->options.node_count = 1;
	if (store->options.objects_max == 0)
		store->options.objects_max = OBJECTS_DEFAULT;
}

static int open_memory(struct wf_store *store)
{
	struct wf_mem_options options = { .node_count = store->options.node_count,
		                          .bind = store->options.bind,
		                          .log = store->options.log,
		                          .let_go = store->options.let_go,
		                          .arg = store->options.arg };
	int rc;

	/* The allocator's own roundings must not make a store full that has room. */
	options.limit_bytes = store->capacity + store->capacity / RESERVE_PARTS +
		2 * WF_MEM_CHUNK_BYTES * options.node_count;
	if (store->capacity >= SMALL_BYTES) {
		options.ahead_bytes = store->capacity / 8;
		if (options.ahead_bytes > AHEAD_MAX)
			options.ahead_bytes = AHEAD_MAX;
	}
	rc = wf_mem_open(&store->mem, &options);
	if (rc < 0)
		return rc;
	store->writable = wf_mem_writable(store->mem);
	store->readable = wf_mem_readable(store->mem);
	WF_CHECK(store->writable != NULL && store->readable != NULL);
	store->stray = wf_store_local_create(store, 0);
	if (store->stray == NULL)
		return -ENOMEM;
	store->stray->inner = true;
	return 0;
}

/* Of an opened store or what there is of one. */
static void destroy(struct wf_store *store)
{
	wf_local_destroy(store, store->stray);
	wf_mem_close(store->mem);
	wf_table_close(&store->table);
	for (uint32_t i = 0; store->dirs != NULL && i < store->options.spill_dir_count; i++)
		wf_free(store->dirs[i]);
	wf_free(store->dirs);
	wf_losses_free(store);
	WF_CHECK(store->locals == NULL);
	WF_CHECK(pthread_mutex_destroy(&store->lock) == 0);
	WF_CHECK(pthread_mutex_destroy(&store->locals_lock) == 0);
	WF_CHECK(pthread_mutex_destroy(&store->stray_lock) == 0);
	WF_CHECK(pthread_mutex_destroy(&store->start_lock) == 0);
	wf_free(store);
}

int wf_store_open(struct wf_store **out, const struct wf_store_options *options)
{
	struct wf_store *store;
	uint64_t capacity = options->capacity_bytes;
	int rc = check_options(options);

	if (rc < 0)
		return rc;
	if (capacity == 0)
		capacity = wf_mem_default_bytes(NULL);
	if (capacity < MIN_BYTES)
		return -ENOMEM;
	store = wf_aligned_alloc(WF_CACHE_LINE, sizeof(*store));
	if (store == NULL)
		return -ENOMEM;
	memset(store, 0, sizeof(*store));
	fill_options(store, options);
	set_sizes(store, capacity);
	store->asymmetric = wf_membarrier_available();
	WF_CHECK(pthread_mutex_init(&store->lock, NULL) == 0);
	WF_CHECK(pthread_mutex_init(&store->locals_lock, NULL) == 0);
	WF_CHECK(pthread_mutex_init(&store->stray_lock, NULL) == 0);
	WF_CHECK(pthread_mutex_init(&store->start_lock, NULL) == 0);
	rc = copy_dir_names(store, options->spill_dirs);
	if (rc == 0)
		rc = wf_table_open(&store->table, store->options.objects_max);
	if (rc == 0)
		rc = open_memory(store);
	if (rc < 0) {
		destroy(store);
		return rc;
	}
	WF_CHECK(store->high <= store->capacity && store->tick_bytes > 0);
	*out = store;
	return 0;
}

/* What its owners left behind. Nobody else is inside. */
static void drop_objects(struct wf_store *store)
{
	/* relaxed: nobody else is inside. */
	uint64_t end = wf_load_relaxed(&store->table.fresh);

	for (uint64_t i = 0; i < end; i++) {
		struct wf_object *object = &store->table.entries[i];
		uint64_t word = wf_object_word(object);
		uint64_t state = word & WF_OBJECT_STATE;

		if (state == WF_OBJECT_FREE)
			continue;
		WF_CHECK(state != WF_OBJECT_SPILLING && state != WF_OBJECT_RESTORING);
		/* relaxed: as above. */
		wf_store_relaxed(&object->word, 0);
		wf_object_release(store, NULL, object, word);
	}
}

void wf_store_close(struct wf_store *store)
{
	if (store == NULL)
		return;
	WF_CHECK(store->creates == NULL && store->pins == NULL);
	WF_CHECK(store->partial == NULL && store->sharers == NULL);
	wf_keeper_stop(store);
	drop_objects(store);
	wf_spill_close(wf_store_spill_opened(store));
	/* relaxed: nobody else is inside. */
	wf_io_close((struct wf_io *)wf_load_relaxed(&store->io));
	wf_local_destroy(store, store->local);
	WF_CHECK(store->locals == store->stray && store->stray->next == NULL);
	destroy(store);
}

struct wf_mem *wf_store_mem(struct wf_store *store)
{
	return store->mem;
}

void wf_store_stats(struct wf_store *store, bool full_walk, struct wf_store_stats *stats)
{
	struct wf_spill *spill = wf_store_spill_opened(store);
	/* acquire [S2]: the back end that was opened. */
	struct wf_io *io = (struct wf_io *)wf_load_acquire(&store->io);
	struct wf_mem_stats mem;

	memset(stats, 0, sizeof(*stats));
	stats->capacity = store->capacity;
	/* relaxed: statistics, all. */
	stats->used = wf_load_relaxed(&store->used);
	if (full_walk)
		wf_account_classes(store, stats);
	wf_mem_stats(store->mem, &mem);
	stats->committed = mem.committed_bytes;
	stats->huge = mem.huge_bytes;
	stats->spilled_bytes = wf_load_relaxed(&store->spilled_bytes);
	stats->restored_bytes = wf_load_relaxed(&store->restored_bytes);
	/* relaxed: as above. */
	stats->spills = wf_load_relaxed(&store->spills);
	stats->restores = wf_load_relaxed(&store->restores_done);
	/* relaxed: as above. */
	stats->evicted_copies = wf_load_relaxed(&store->evicted_copies);
	stats->waits = wf_load_relaxed(&store->waits);
	/* relaxed: as above. */
	stats->fulls = wf_load_relaxed(&store->fulls);
	stats->losses = wf_load_relaxed(&store->losses);
	stats->revived = wf_load_relaxed(&store->revived); /* relaxed: as above. */
	stats->io_backend = io != NULL ? wf_io_backend(io) : "";
	if (spill != NULL) {
		struct wf_spill_stats files;

		wf_spill_stats(spill, &files);
		stats->file_bytes = files.file_bytes;
		stats->file_live_bytes = files.live_bytes;
	}
}
