/*
 * store.c: the object store in random schedules, against a model in plain memory.
 *
 * Goal: with several threads that create, seal, discard, pin, view, wait for sets, cancel, prefetch
 * and delete in a store that is far too small, on both back ends, with transfers that are short,
 * are retried, find the disk full, fail, or lie: an object has the bytes that were written or is
 * known to be lost, and lost only where the fault can lose it; nobody waits for ever; a store that
 * says it is full is; and at the end every byte, record and owner's datum is back.
 * Method: slots counted by those who use them, as a runtime counts references; the last one
 * deletes. A slot says what its object must hold. The store is told that the outside may help as
 * long as one thread is not waiting. A watch looks whether anything ends at all.
 */
#include <dirent.h>

#include "backends.h"
#include "store.h"
#include "stress.h"
#include "wf_io.h"

#define SLOTS   192u
#define THREADS 4u
#define HELD    3u
#define SET     6u
#define EMPTY   0u
#define MAKING  (1u << 30)
#define OWNED   (1u << 29) /* it is offered to others */

enum mode { PLAIN, ROUGH, FULL, BROKEN, MODES };

static const char *const mode_names[MODES] = { "plain", "rough", "full", "broken" };

struct slot {
	struct wf_a32 users; /* EMPTY, MAKING, or how many, with OWNED until it is dropped */
	struct wf_object *object;
	uint64_t size, key;
};

struct held {
	struct wf_object *object;
	uint64_t size, key;
};

struct thread {
	struct wf_thread thread;
	struct wf_random random;
	struct wf_store_local *local;
	struct held held[HELD];
	uint32_t held_count;
	uint64_t lost, full, cancelled, checked;
};

static struct slot slots[SLOTS];
static struct thread threads[THREADS];
static struct wf_store *store;
static uint64_t capacity;
static enum mode mode;
static struct wf_a32 waiting, deciding, ended, memory_is_short;
static struct wf_a64 rounds, metas_made, metas_dropped;
static uint64_t rounds_each;

/* ---- What the store calls -------------------------------------------------------------------- */

static bool busy(void *arg)
{
	(void)arg;
	/* Who may still take its ticket back helps others then. acquire [W2], both: with [W1]. */
	return wf_load_acquire(&deciding) > 0 || wf_load_acquire(&waiting) < THREADS;
}

static void meta_drop(void *arg, void *meta)
{
	(void)arg;
	STRESS_CHECK(meta == &slots);
	/* relaxed: a number, read when all have ended. */
	wf_add_relaxed(&metas_dropped, 1);
}

static void log_line(void *arg, int level, const char *text)
{
	(void)arg;
	(void)level;
	/* The machine's memory is not ours alone. */
	if (strstr(text, "the system has no memory") != NULL)
		wf_store_relaxed(&memory_is_short, 1);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static void ticket_done(struct wf_store_ticket *ticket)
{
	struct waiter *waiter = ticket->arg;

	/* release [W1]: from here on its thread may help others. */
	wf_add_release(&waiting, UINT32_MAX);
	wf_store_release(&waiter->is_done, 1);
	wf_futex_wake(&waiter->is_done, 1);
}

/* -ECANCELED: it was taken back. */
static int await(struct thread *self, struct waiter *waiter)
{
	wf_init(&waiter->is_done, 0);
	waiter->ticket.done = ticket_done;
	waiter->ticket.arg = waiter;
	waiter->ticket.full = &waiter->full;
	bool decides = wf_random_below(&self->random, 8) == 0;

	/* release [W1], here and below. */
	wf_add_release(&deciding, decides);
	wf_add_release(&waiting, 1);
	wf_store_wait(store, &waiter->ticket);
	if (decides) {
		for (uint32_t i = wf_random_below(&self->random, 200); i > 0; i--)
			wf_cpu_relax();
		if (wf_store_cancel(store, &waiter->ticket)) {
			wf_add_release(&waiting, UINT32_MAX);
			wf_add_release(&deciding, UINT32_MAX);
			self->cancelled++;
			return -ECANCELED;
		}
		wf_add_release(&deciding, UINT32_MAX);
	}
	return waiter_await(waiter);
}

/* ---- Holding --------------------------------------------------------------------------------- */

static void compare(struct thread *self, const struct wf_object *object, uint64_t size,
                    uint64_t key)
{
	STRESS_CHECK(object->size == size);
	STRESS_CHECK(store_has(wf_object_readable(store, object), size, key));
	self->checked += size;
}

static void drop_held(struct thread *self)
{
	struct held *held = &self->held[--self->held_count];

	compare(self, held->object, held->size, held->key);
	STRESS_CHECK(wf_object_unpin(store, self->local, held->object, WF_OBJECT_PIN) == 0);
}

static void drop_all_held(struct thread *self)
{
	while (self->held_count > 0)
		drop_held(self);
}

static bool use_slot(struct slot *slot)
{
	uint32_t users = wf_load_relaxed(&slot->users);

	while ((users & OWNED) != 0) {
		/* acquire [S2]: the slot's fields, with the release [S1]. */
		if (wf_cas_acquire(&slot->users, &users, users + 1))
			return true;
	}
	return false;
}

static void leave_slot(struct thread *self, struct slot *slot)
{
	struct wf_object *object = slot->object;
	uint32_t users = wf_load_relaxed(&slot->users);

	for (;;) {
		uint32_t next = users == 1 ? MAKING : users - 1;

		STRESS_CHECK((users & MAKING) == 0 && (users & ~OWNED) > 0);
		if (wf_cas_acq_rel(&slot->users, &users, next))
			break;
	}
	if (users != 1)
		return;
	wf_object_delete(store, self->local, object);
	slot->object = NULL;
	wf_store_release(&slot->users, EMPTY);
}

static struct slot *any_slot(struct thread *self)
{
	for (int tries = 0; tries < 16; tries++) {
		struct slot *slot = &slots[wf_random_below(&self->random, SLOTS)];

		if (use_slot(slot))
			return slot;
	}
	return NULL;
}

/* Whether this end of a wait is one that the mode allows; counts it. */
static void judge(struct thread *self, int rc, const struct waiter *waiter, bool one)
{
	const struct wf_store_full *full = &waiter->full;

	switch (rc) {
	case -ECANCELED:
		return;
	case -EIO:
		STRESS_CHECK(mode == BROKEN);
		self->lost++;
		return;
	case -ENOMEM:
		/* A read was refused for want of memory when nothing else could help. */
		STRESS_CHECK(mode == FULL || wf_load_relaxed(&memory_is_short) != 0);
		drop_all_held(self);
		return;
	case -ENOSPC:
		STRESS_CHECK(full->text[0] != 0 && full->capacity == capacity);
		/* A disk that takes nothing makes what could be evicted worthless. */
		if (one && mode <= ROUGH && full->asked <= full->free + full->evictable) {
			fprintf(stderr, "%s\n", full->text);
			STRESS_FAIL("full with room");
		}
		self->full++;
		drop_all_held(self);
		return;
	default:
		fprintf(stderr, "status %d: %s\n", rc, strerror(-rc));
		STRESS_FAIL("an end that cannot be");
	}
}

/* ---- What a thread does ---------------------------------------------------------------------- */

static uint64_t any_size(struct wf_random *random)
{
	switch (wf_random_below(random, 16)) {
	case 0:
		return wf_random_below(random, (uint32_t)(capacity / 3));
	case 1:
	case 2:
		return wf_random_below(random, (uint32_t)(capacity / 10));
	case 3:
		return 0;
	case 4:
	case 5:
		return wf_random_below(random, 70000);
	default:
		return wf_random_below(random, 5000);
	}
}

static int make(struct thread *self, uint64_t size, struct wf_object **out)
{
	struct waiter waiter = { .ticket = { .size = size } };
	int rc = wf_store_create(store, self->local, size, out);

	if (rc != -EAGAIN)
		return rc;
	rc = await(self, &waiter);
	*out = waiter.ticket.object;
	if (rc != 0)
		judge(self, rc, &waiter, true);
	return rc;
}

static void put(struct thread *self)
{
	struct slot *slot = &slots[wf_random_below(&self->random, SLOTS)];
	uint32_t users = EMPTY, pins = wf_random_below(&self->random, 8) == 0;
	struct wf_object *object;
	uint64_t size = any_size(&self->random);

	/* acquire: with the release of who emptied it. */
	if (!wf_cas_acquire(&slot->users, &users, MAKING))
		return;
	if (make(self, size, &object) != 0) {
		wf_store_release(&slot->users, EMPTY);
		return;
	}
	slot->key = wf_random_next(&self->random);
	slot->size = size;
	store_fill(wf_object_writable(store, object), size, slot->key);
	object->meta = &slots;
	wf_add_relaxed(&metas_made, 1);
	if (wf_random_below(&self->random, 16) == 0) {
		wf_object_delete(store, self->local, object);
		wf_store_release(&slot->users, EMPTY);
		return;
	}
	pins = self->held_count < HELD ? pins : 0;
	STRESS_CHECK(wf_object_seal(store, object, pins, 0) == 0);
	if (pins > 0)
		self->held[self->held_count++] = (struct held){ object, size, slot->key };
	slot->object = object;
	/* release [S1]: the slot's fields. */
	wf_store_release(&slot->users, OWNED);
}

/* Pin or view one; keep it or give it back. */
static void look(struct thread *self)
{
	struct slot *slot = any_slot(self);
	uint64_t unit = wf_random_below(&self->random, 3) == 0 ? WF_OBJECT_VIEW : WF_OBJECT_PIN;
	struct wf_object *object;
	int rc;

	if (slot == NULL)
		return;
	object = slot->object;
	rc = wf_object_pin(store, object, unit);
	if (rc == -EAGAIN) {
		struct waiter waiter = { .ticket = {
						 .objects = &object, .count = 1, .unit = unit } };

		rc = await(self, &waiter);
		if (rc != 0)
			judge(self, rc, &waiter, true);
	} else if (rc == -EIO) {
		STRESS_CHECK(mode == BROKEN && wf_object_loss(object) != NULL);
	} else {
		STRESS_CHECK(rc == 0);
	}
	if (rc == 0) {
		compare(self, object, slot->size, slot->key);
		if (unit == WF_OBJECT_PIN && self->held_count < HELD &&
		    wf_random_below(&self->random, 8) == 0)
			self->held[self->held_count++] =
				(struct held){ object, slot->size, slot->key };
		else
			STRESS_CHECK(wf_object_unpin(store, self->local, object, unit) == 0);
	}
	leave_slot(self, slot);
}

static void look_at_set(struct thread *self)
{
	struct wf_object *objects[SET + 1];
	struct slot *used[SET];
	uint32_t count = 0, most = 2 + wf_random_below(&self->random, SET - 1);
	struct waiter waiter = { .ticket = { .objects = objects } };
	int rc;

	while (count < most && (used[count] = any_slot(self)) != NULL) {
		objects[count] = used[count]->object;
		count++;
	}
	if (count > 0) {
		waiter.ticket.count = count;
		/* One of them twice. */
		if (wf_random_below(&self->random, 4) == 0)
			objects[waiter.ticket.count++] = objects[0];
		waiter.ticket.unit = wf_random_below(&self->random, 4) ? WF_OBJECT_PIN : 0;
		rc = await(self, &waiter);
		STRESS_CHECK(rc != -EINVAL);
		if (rc != 0 && rc != -EMSGSIZE)
			judge(self, rc, &waiter, false);
		for (uint32_t i = 0; rc == 0 && waiter.ticket.unit != 0 && i < waiter.ticket.count;
		     i++) {
			struct slot *slot = used[i < count ? i : 0];

			compare(self, objects[i], slot->size, slot->key);
			STRESS_CHECK(wf_object_unpin(store, self->local, objects[i],
			                             WF_OBJECT_PIN) == 0);
		}
	}
	while (count-- > 0)
		leave_slot(self, used[count]);
}

static void drop_one(struct thread *self)
{
	struct slot *slot = any_slot(self);

	uint32_t users;

	if (slot == NULL)
		return;
	users = wf_load_relaxed(&slot->users);
	/* From now on nobody else finds it; the last who is there deletes it. */
	while ((users & OWNED) != 0 && !wf_cas_acq_rel(&slot->users, &users, users & ~OWNED)) {
	}
	leave_slot(self, slot);
}

static void order_fault(struct thread *self)
{
	static const struct wf_io_fault faults[MODES][4] = {
		[ROUGH] = { { .kinds = WF_IO_FAULT_READ | WF_IO_FAULT_WRITE,
		              .effect = WF_IO_EFFECT_SHORT },
		            { .kinds = WF_IO_FAULT_READ | WF_IO_FAULT_WRITE, .error = EINTR },
		            { .kinds = WF_IO_FAULT_READ, .error = EAGAIN },
		            { .kinds = WF_IO_FAULT_WRITE, .effect = WF_IO_EFFECT_SHORT } },
		[FULL] = { { .kinds = WF_IO_FAULT_WRITE, .error = ENOSPC },
		           { .kinds = WF_IO_FAULT_FALLOCATE, .error = ENOSPC },
		           { .kinds = WF_IO_FAULT_WRITE, .error = ENOSPC },
		           { .kinds = WF_IO_FAULT_READ, .error = ENOMEM } },
		[BROKEN] = { { .kinds = WF_IO_FAULT_READ, .error = EIO },
		             { .kinds = WF_IO_FAULT_WRITE, .effect = WF_IO_EFFECT_FLIP },
		             { .kinds = WF_IO_FAULT_WRITE, .effect = WF_IO_EFFECT_LIE },
		             { .kinds = WF_IO_FAULT_READ, .effect = WF_IO_EFFECT_FLIP } },
	};
	struct wf_io_fault fault;

	if (mode == PLAIN)
		return;
	fault = faults[mode][wf_random_below(&self->random, 4)];
	fault.nth = 1 + wf_random_below(&self->random, 20);
	fault.count = 1 + wf_random_below(&self->random, 3);
	wf_io_fault_arm(&fault);
}

static void one_round(struct thread *self)
{
	struct slot *slot;
	struct wf_store_stats stats;

	switch (wf_random_below(&self->random, 32)) {
	case 0 ... 11:
		put(self);
		break;
	case 12 ... 19:
		look(self);
		break;
	case 20 ... 22:
		look_at_set(self);
		break;
	case 23 ... 26:
		drop_one(self);
		break;
	case 27 ... 28:
		if (self->held_count > 0)
			drop_held(self);
		break;
	case 29:
		slot = any_slot(self);
		if (slot != NULL) {
			wf_store_prefetch(store, slot->object);
			leave_slot(self, slot);
		}
		break;
	case 30:
		wf_store_stats(store, true, &stats);
		STRESS_CHECK(stats.capacity == capacity && stats.used <= capacity);
		break;
	default:
		if (self == threads)
			order_fault(self);
		break;
	}
}

static void *thread_main(void *arg)
{
	struct thread *self = arg;

	for (uint64_t i = 0; i < rounds_each; i++) {
		one_round(self);
		/* relaxed: for the watch. */
		wf_add_relaxed(&rounds, 1);
	}
	drop_all_held(self);
	/* It waits for nobody any more: others cannot be helped by it. */
	wf_add_release(&waiting, 1);
	wf_store_local_destroy(self->local);
	wf_add_release(&ended, 1);
	wf_futex_wake(&ended, 1);
	return NULL;
}

/* ---- The watch ------------------------------------------------------------------------------- */

#define WATCH_NS (INT64_C(240) * 1000000000) /* disks of busy machines stand still for a minute */

/* Wait for all threads; when nothing ends any more, say how it stands and fail. */
static void watch(void)
{
	uint64_t seen = 0;
	uint32_t now;

	while ((now = wf_load_acquire(&ended)) < THREADS) {
		struct wf_store_stats stats;
		uint64_t done = wf_load_relaxed(&rounds);

		if (wf_futex_wait(&ended, now, wf_clock_now(NULL) + WATCH_NS) != -ETIMEDOUT ||
		    done != seen) {
			seen = done;
			continue;
		}
		wf_store_stats(store, true, &stats);
		fprintf(stderr,
		        "%s: used %llu creating %llu pinned %llu transit %llu evictable %llu "
		        "spilled %llu waiting %u\n",
		        mode_names[mode], (unsigned long long)stats.used,
		        (unsigned long long)stats.creating, (unsigned long long)stats.pinned,
		        (unsigned long long)stats.transit, (unsigned long long)stats.evictable,
		        (unsigned long long)stats.spilled, wf_load_relaxed(&waiting));
		STRESS_FAIL("nothing ends any more");
	}
}

/* ---- One run --------------------------------------------------------------------------------- */

static unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	STRESS_CHECK(dir != NULL);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void begin(const char *dir)
{
	const char *const dirs[2] = { dir, dir };
	struct wf_store_options options = { .capacity_bytes = capacity,
		                            .spill_dirs = dirs,
		                            .spill_dir_count = 2,
		                            .spill_segment_bytes = 2 * MIB,
		                            .busy = busy,
		                            .meta_drop = meta_drop,
		                            .log = log_line };

	memset(slots, 0, sizeof(slots));
	memset(threads, 0, sizeof(threads));
	wf_store_relaxed(&waiting, 0);
	wf_store_relaxed(&ended, 0);
	wf_store_relaxed(&rounds, 0);
	wf_store_relaxed(&metas_made, 0);
	wf_store_relaxed(&metas_dropped, 0);
	STRESS_CHECK(wf_store_open(&store, &options) == 0);
}

static void end(const char *backend)
{
	struct wf_store_stats stats;
	uint64_t lost = 0, full = 0, cancelled = 0, checked = 0;

	wf_io_fault_arm(NULL);
	store_recount(store);
	for (uint32_t i = 0; i < SLOTS; i++) {
		if (wf_load_relaxed(&slots[i].users) != EMPTY)
			wf_object_delete(store, NULL, slots[i].object);
	}
	for (uint32_t i = 0; i < THREADS; i++) {
		lost += threads[i].lost;
		full += threads[i].full;
		cancelled += threads[i].cancelled;
		checked += threads[i].checked;
	}
	/* What was on its way when it was deleted goes when it has arrived. */
	(void)wf_store_spill_all(store);
	stats = store_recount(store);
	STRESS_CHECK(stats.objects == 0 && stats.used == 0 && stats.spilled == 0);
	STRESS_CHECK(stats.file_live_bytes == 0);
	/* A disk that was full from the beginning is left alone: none may have been opened. */
	STRESS_CHECK(strcmp(stats.io_backend, backend) == 0 ||
	             (mode == FULL && !stats.io_backend[0]));
	STRESS_CHECK(mode == FULL || (stats.spilled_bytes > 0 && stats.restored_bytes > 0));
	STRESS_CHECK(stats.waits > 0);
	STRESS_CHECK(wf_load_relaxed(&metas_made) == wf_load_relaxed(&metas_dropped));
	fprintf(stderr,
	        "%s, %s: %llu MiB spilled, %llu restored, %llu compared; %llu waits, "
	        "%llu full, %llu taken back, %llu lost\n",
	        backend, mode_names[mode], (unsigned long long)(stats.spilled_bytes / MIB),
	        (unsigned long long)(stats.restored_bytes / MIB),
	        (unsigned long long)(checked / MIB), (unsigned long long)stats.waits,
	        (unsigned long long)full, (unsigned long long)cancelled, (unsigned long long)lost);
	wf_store_close(store);
}

static void run(const char *backend, const char *dir)
{
	unsigned fds = count_fds();

	begin(dir);
	for (uint32_t i = 0; i < THREADS; i++) {
		threads[i].random = stress_random(mode * 16 + i);
		threads[i].local = wf_store_local_create(store, 0);
		STRESS_CHECK(threads[i].local != NULL);
		STRESS_CHECK(
			wf_thread_start(&threads[i].thread, "user", thread_main, &threads[i]) == 0);
	}
	watch();
	for (uint32_t i = 0; i < THREADS; i++)
		wf_thread_join(&threads[i].thread);
	end(backend);
	STRESS_CHECK(count_fds() == fds);
}

static void *leave_at_once(void *arg)
{
	wf_store_local_destroy(arg);
	return NULL;
}

/* Locals are destroyed by their threads while another thread starts the keeper. */
static void a_local_goes_while_the_keeper_starts(const char *dir)
{
	for (int i = 0; i < 10; i++) {
		struct wf_thread thread;

		begin(dir);
		STRESS_CHECK(wf_thread_start(&thread, "leaver", leave_at_once,
		                             wf_store_local_create(store, 0)) == 0);
		STRESS_CHECK(wf_store_spill_all(store) == 0);
		wf_thread_join(&thread);
		wf_store_close(store);
	}
}

static bool is_empty(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	STRESS_CHECK(dir != NULL);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count == 2;
}

int main(void)
{
	static const char *const backends[] = { "uring", "threads" };
	char dir[] = "/var/tmp/weft-stress-store-XXXXXX";
	bool is_long = test_is_long();

	STRESS_CHECK(mkdtemp(dir) != NULL);
	rounds_each = is_long ? STRESS_SCALE(300000u) : WF_TSAN || WF_ASAN ? 250 : 800;
	capacity = MIB;
	a_local_goes_while_the_keeper_starts(dir);
	for (int b = 0; b < 2; b++) {
		if (!use_backend(backends[b]))
			continue;
		for (mode = PLAIN; mode < MODES; mode++) {
			capacity = MIB * (1 + 2 * (uint64_t)mode);
			run(backends[b], dir);
		}
	}
	STRESS_CHECK(is_empty(dir) && rmdir(dir) == 0);
	return 0;
}
