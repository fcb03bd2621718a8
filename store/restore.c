/*
 * restore.c: bringing objects back into memory. Keeper only, but for the calls that the files make
 * when a read is done, which hand it to the keeper.
 *
 * One read per object, whoever wants it: the move to RESTORING is made once, and tickets wait for
 * the state. Reads run in parallel; what bounds them is the room reserved for them before.
 *
 * How a read ends: the bytes are there (SEALED, and the record stays as a copy, so that the object
 * can go again without a write); or the file does not have what was written (LOST, with the
 * reason); or something was short that will not stay short (SPILLED again, for the ticket to fail
 * or to try again). A deletion meanwhile wins at the end.
 */
#include <errno.h>
#include <string.h>

#include "inner.h"

#define PAUSE_NS 2000000 /* after a read that failed for want of something passing */

struct restore {
	struct wf_back back;
	struct wf_spill_read read;
	struct wf_store *store;
	struct wf_object *object;
	uint64_t bytes;
};

struct wf_restores {
	uint32_t flying;
	bool spare_flies;
	int64_t paused_until_ns;
	struct wf_spill_read *first, *last; /* begun, not handed to the files yet */
	struct restore spare;               /* for when there is no memory for another */
};

struct wf_store_loss wf_loss_unsaid = { .code = -EIO, .text = "no memory to say why" };

int wf_restores_open(struct wf_store *store)
{
	WF_CHECK(store->restores == NULL);
	store->restores = wf_calloc(1, sizeof(*store->restores));
	return store->restores != NULL ? 0 : -ENOMEM;
}

void wf_restores_close(struct wf_store *store)
{
	if (store->restores == NULL)
		return;
	WF_CHECK(store->restores->flying == 0);
	WF_CHECK(store->restores->first == NULL);
	wf_free(store->restores);
	store->restores = NULL;
}

uint32_t wf_restores_flying(const struct wf_store *store)
{
	return store->restores->flying;
}

bool wf_restores_fail(const struct wf_store *store)
{
	return store->restores->paused_until_ns != 0;
}

static bool is_passing(int status)
{
	return status == -ENOMEM || status == -EAGAIN || status == -EMFILE || status == -ENFILE ||
		status == -ECANCELED;
}

static void note_loss(struct wf_store *store, struct wf_object *object,
                      const struct wf_spill_read *read)
{
	struct wf_store_loss *loss = wf_malloc(sizeof(*loss));

	if (loss != NULL) {
		loss->code = read->status;
		memcpy(loss->text, read->text, sizeof(loss->text));
		loss->text[sizeof(loss->text) - 1] = 0;
	}
	wf_store_log(store, WF_STORE_LOG_ERROR, "object lost: %s (%s)", strerror(-read->status),
	             read->text);
	/* relaxed: a statistic. */
	wf_add_relaxed(&store->losses, 1);
	object->loss = loss != NULL ? loss : &wf_loss_unsaid;
}

static void give_room_back(struct wf_store *store, struct wf_object *object, uint64_t bytes)
{
	wf_mem_free(store->mem, store->local->cache, object->offset, object->size);
	wf_account_unreserve(store, bytes);
}

static void end_well(struct wf_store *store, struct wf_object *object)
{
	/* relaxed, all: statistics; `spilled` is a policy's number. */
	wf_add_relaxed(&store->restored_bytes, object->size);
	wf_add_relaxed(&store->restores_done, 1);
	wf_add_relaxed(&store->spilled, (uint64_t)-1);
	wf_store_relaxed(&object->stamp, wf_store_now(store));
	if (wf_object_end_restore(object, WF_OBJECT_SEALED) == WF_NEXT_RELEASE)
		wf_object_release(store, store->local, object, WF_OBJECT_SEALED | WF_OBJECT_COPY);
}

static void end_badly(struct wf_store *store, struct restore *restore)
{
	struct wf_object *object = restore->object;

	WF_CHECK(restore->read.status < 0);
	WF_CHECK(wf_object_bytes(object) == restore->bytes);
	give_room_back(store, object, restore->bytes);
	if (is_passing(restore->read.status)) {
		store->restores->paused_until_ns = wf_clock_now(NULL) + PAUSE_NS;
		if (wf_object_end_restore(object, WF_OBJECT_SPILLED) == WF_NEXT_RELEASE)
			wf_object_release(store, store->local, object, WF_OBJECT_SPILLED);
		return;
	}
	wf_object_forget(store, object);
	note_loss(store, object, &restore->read);
	/* relaxed: a policy's number. */
	wf_add_relaxed(&store->spilled, (uint64_t)-1);
	if (wf_object_end_restore(object, WF_OBJECT_LOST) == WF_NEXT_RELEASE)
		wf_object_release(store, store->local, object, WF_OBJECT_LOST);
}

static void finish(struct wf_store *store, struct wf_back *back)
{
	struct restore *restore = wf_container_of(back, struct restore, back);
	struct wf_restores *restores = store->restores;

	WF_CHECK(restores->flying > 0);
	restores->flying--;
	if (restore->read.status == 0)
		end_well(store, restore->object);
	else
		end_badly(store, restore);
	if (restore == &restores->spare)
		restores->spare_flies = false;
	else
		wf_free(restore);
}

/* On a thread of the files. */
static void read_done(struct wf_spill_read *read)
{
	struct restore *restore = wf_container_of(read, struct restore, read);

	wf_keeper_back(restore->store, &restore->back);
}

static struct restore *take_restore(struct wf_restores *restores)
{
	struct restore *restore = wf_malloc(sizeof(*restore));

	if (restore == NULL && !restores->spare_flies) {
		restore = &restores->spare;
		restores->spare_flies = true;
	}
	return restore;
}

int wf_restore_begin(struct wf_store *store, struct wf_object *object, uint64_t bytes)
{
	struct wf_restores *restores = store->restores;
	struct restore *restore;
	uint64_t offset, size;

	if (restores->paused_until_ns != 0 && wf_clock_now(NULL) < restores->paused_until_ns)
		return -ENOMEM;
	restores->paused_until_ns = 0;
	restore = take_restore(restores);
	if (restore == NULL)
		return -ENOMEM;
	restore->read.status = 0;
	if (!wf_object_begin_restore(object)) {
		restore->bytes = 0;
		if (restore == &restores->spare)
			restores->spare_flies = false;
		else
			wf_free(restore);
		return -EAGAIN;
	}
	/* From here on the entry's fields are the keeper's. */
	size = object->size;
	WF_CHECK(wf_object_bytes(object) == bytes);
	offset = wf_store_allocate(store, store->local, size);
	if (offset == WF_MEM_NONE) {
		if (restore == &restores->spare)
			restores->spare_flies = false;
		else
			wf_free(restore);
		if (wf_object_end_restore(object, WF_OBJECT_SPILLED) == WF_NEXT_RELEASE)
			wf_object_release(store, store->local, object, WF_OBJECT_SPILLED);
		return -ENOMEM;
	}
	object->offset = offset;
	*restore = (struct restore){ .store = store, .object = object, .bytes = bytes };
	restore->back.finish = finish;
	wf_object_place(object, &restore->read.place);
	restore->read.data = store->writable + offset;
	restore->read.size = size;
	restore->read.id = wf_object_id(store, object);
	/* relaxed: the keeper's, see above. */
	restore->read.generation = wf_load_relaxed(&object->generation);
	restore->read.done = read_done;
	WF_CHECK(restore->read.place.segment != 0);
	WF_CHECK(wf_store_spill_opened(store) != NULL);
	restores->flying++;
	if (restores->last != NULL)
		restores->last->private_ = &restore->read;
	else
		restores->first = &restore->read;
	restores->last = &restore->read;
	return 0;
}

/*
 * Memory that is committed late is in small pages until the committer comes by, which is just when
 * the first objects are spilled: so it is asked whenever something is read.
 */
static void tell_pages(struct wf_store *store)
{
	struct wf_mem_stats mem;

	wf_mem_stats(store->mem, &mem);
	WF_CHECK(wf_store_io(store) != NULL);
	wf_io_small_pages(wf_store_io(store), mem.huge_bytes * 2 < mem.committed_bytes);
}

void wf_restores_send(struct wf_store *store)
{
	struct wf_restores *restores = store->restores;
	struct wf_spill_read *first = restores->first;

	restores->first = restores->last = NULL;
	if (first == NULL)
		return;
	tell_pages(store);
	wf_spill_read_all(wf_store_spill_opened(store), first);
}
