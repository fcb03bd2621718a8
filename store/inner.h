/*
 * inner.h: the store as its own files see it. The files, from the ground up: object.c the word,
 * table.c entries, account.c bytes, local.c what a thread has at hand, store.c open and close,
 * create.c what a thread does with objects, restore.c and evict.c the keeper's two directions,
 * ticket.c and share.c who waits, keeper.c the keeper thread.
 */
#ifndef WF_STORE_INNER_H
#define WF_STORE_INNER_H

#include <pthread.h>

#include "mem.h"
#include "object.h"
#include "spill.h"

/* As enum weft_log_level. */
enum wf_store_log_level { WF_STORE_LOG_ERROR = 1, WF_STORE_LOG_WARN };

#define WF_ENTRY_BATCH 32u /* entries that move between a local and the table at once */

/* What one thread has at hand; see local.c. */
struct wf_store_local {
	struct wf_a32 inside; /* its thread is at work in it */
	struct wf_a32 asked;  /* the keeper wants it */
	struct wf_a64 credit; /* bytes reserved in `used` that no object has yet */
	struct wf_mem_cache *cache;
	/* Two stacks of free entries, through `next`: full ones go and come whole. */
	struct wf_object *loaded, *spare;
	uint32_t loaded_count, spare_count;
	bool inner; /* the store's own; nobody else destroys it */
	struct wf_store *store;
	struct wf_store_local *next, *prev; /* under the store's `locals_lock` */
};

/* Entries of all objects: type-stable, so that a stale pointer always points to an entry. */
struct wf_table {
	struct wf_object *entries;
	uint64_t max;
	pthread_mutex_t lock;
	struct wf_a64 fresh;       /* entries before it were used; grows under the lock */
	struct wf_object *batches; /* free, through `meta`; the entries of one through `next` */
};

enum wf_gate {
	WF_GATE_CLOSED = 1,  /* creators wait in line */
	WF_GATE_WAITING = 2, /* whoever makes room rings the keeper */
	WF_GATE_SHARING = 4, /* somebody waits for a share */
	WF_GATE_SHORT = 8,   /* whoever frees memory keeps none of it */
};

/* Something of the keeper's that came back from the files. */
struct wf_back {
	struct wf_back *next;
	void (*finish)(struct wf_store *store, struct wf_back *back); /* on the keeper */
};

struct wf_evict;
struct wf_restores;

struct wf_store {
	/* Written at open, and when the gate moves; read by every call. */
	struct wf_mem *mem;
	char *writable;
	const char *readable;
	uint64_t capacity, reserve, credit_bytes, tick_bytes;
	uint64_t high, low;
	struct wf_a32 gate; /* set of enum wf_gate; written under `lock` */
	bool asymmetric;    /* locals are entered without a fence, and collected by a membarrier */
	struct wf_table table;
	struct wf_store_options options;
	char **dirs; /* copies of options.spill_dirs */

	/* Written by those who reserve. */
	struct wf_a64 used WF_ALIGNED(WF_CACHE_LINE); /* objects in memory, and credits */
	struct wf_a64 volume;                         /* reserved since open */
	struct wf_a32 kicked;                         /* asked the keeper to look at `used` */
	struct wf_a32 tick WF_ALIGNED(WF_CACHE_LINE); /* volume / tick_bytes, about */
	struct wf_a64 spilled; /* objects SPILLED or RESTORING: something may want room */
	struct wf_a64 shared WF_ALIGNED(WF_CACHE_LINE); /* bytes, see share.c */
	struct wf_a64 lent, share_limit;

	/* Locks are taken in this order: lock, stray_lock, start_lock, locals_lock. */
	pthread_mutex_t locals_lock;
	struct wf_store_local *locals;

	/* Tickets. */
	pthread_mutex_t lock WF_ALIGNED(WF_CACHE_LINE);
	struct wf_store_ticket *creates, *creates_last; /* in the order in which they came */
	struct wf_store_ticket *pins, *pins_last;
	struct wf_store_sharer *sharers, *sharers_last;
	uint64_t wide; /* bytes of the greatest create that waited lately */
	uint64_t serial;
	struct wf_store_ticket *partial; /* the one working set that may be held in part */
	uint64_t demoted_for; /* serial of a create: no partial working set while it waits */
	uint32_t all_asked;   /* calls of spill_all() */
	int all_status;
	struct wf_object *wishes[64]; /* of prefetch */
	uint32_t wish_generations[64];
	uint32_t wish_count;

	/* For threads without a local. */
	pthread_mutex_t stray_lock;
	struct wf_store_local *stray; /* made at first use */

	/* The keeper, the I/O, the files: started under `start_lock`. */
	pthread_mutex_t start_lock;
	struct wf_thread thread;
	struct wf_a32 keeper_runs; /* set under `start_lock` */
	struct wf_aptr io, spill;  /* struct wf_io, struct wf_spill */
	bool io_refused;           /* logged */

	/* The keeper's own, and what others tell it by. */
	struct wf_a32 bell WF_ALIGNED(WF_CACHE_LINE);
	struct wf_a32 stop;
	struct wf_aptr back; /* stack of struct wf_back */
	struct wf_a32 all_done;
	struct wf_store_local *local;
	struct wf_evict *evict;
	struct wf_restores *restores;
	uint64_t mem_short; /* bytes that accounting had and the memory had not */

	struct wf_a64 spilled_bytes, restored_bytes, spills, restores_done, evicted_copies;
	struct wf_a64 waits, fulls, losses, revived;
	struct wf_a64 forgotten; /* records given back to the files */
	struct wf_store_loss *old_losses; /* of objects that have bytes again; see revive.c */
};

/* ---- table.c --------------------------------------------------------------------------------- */

int wf_table_open(struct wf_table *table, uint64_t max); /* 0 or -ENOMEM */
void wf_table_close(struct wf_table *table);
/* Take batch by batch: how many (0: none is left), linked through `next`. */
uint32_t wf_table_take(struct wf_table *table, struct wf_object **batch);
void wf_table_give(struct wf_table *table, struct wf_object *batch);
struct wf_object *wf_entry_take(struct wf_table *table, struct wf_store_local *local);
void wf_entry_give(struct wf_table *table, struct wf_store_local *local, struct wf_object *object);
void wf_entry_flush(struct wf_table *table, struct wf_store_local *local);

/* ---- account.c ------------------------------------------------------------------------------- */

#define WF_LINE_BYTES ((uint64_t)64)
/* What an object of `size` takes, or 0: more than any store has. */
uint64_t wf_account_bytes(const struct wf_store *store, uint64_t size);
static inline uint64_t wf_object_bytes(const struct wf_object *object)
{
	/* relaxed: constant from create to free, for who knows that it is between them. */
	return wf_load_relaxed(&object->lines) * WF_LINE_BYTES;
}
bool wf_account_take_slow(struct wf_store *store, struct wf_store_local *local, uint64_t bytes);
void wf_account_give_slow(struct wf_store *store, struct wf_store_local *local);
/* Reserve for an object of this thread, inside its local; false: no room. */
static inline bool wf_account_take(struct wf_store *store, struct wf_store_local *local,
                                   uint64_t bytes)
{
	/* relaxed: a number of this thread's. */
	uint64_t credit = wf_load_relaxed(&local->credit);

	if (WF_UNLIKELY(credit < bytes))
		return wf_account_take_slow(store, local, bytes);
	/* relaxed: as above. */
	wf_store_relaxed(&local->credit, credit - bytes);
	return true;
}
static inline void wf_account_give(struct wf_store *store, struct wf_store_local *local,
                                   uint64_t bytes)
{
	/* relaxed, both: as above. */
	uint64_t credit = wf_load_relaxed(&local->credit) + bytes;

	wf_store_relaxed(&local->credit, credit);
	if (WF_UNLIKELY(credit > 2 * store->credit_bytes))
		wf_account_give_slow(store, local);
}
/* Reserve exactly, as long as `used` does not pass `limit`. */
bool wf_account_reserve(struct wf_store *store, uint64_t bytes, uint64_t limit);
void wf_account_unreserve(struct wf_store *store, uint64_t bytes);
/* What creators may fill now: the room for restores is not theirs while something is spilled. */
uint64_t wf_account_limit(const struct wf_store *store);
void wf_account_classes(struct wf_store *store, struct wf_store_stats *stats);
void wf_account_full(struct wf_store *store, uint64_t asked, const char *why,
                     struct wf_store_full *full);
static inline uint32_t wf_store_now(const struct wf_store *store)
{
	/* relaxed: a coarse clock. */
	return wf_load_relaxed(&store->tick);
}

/* ---- local.c --------------------------------------------------------------------------------- */

void wf_local_destroy(struct wf_store *store, struct wf_store_local *local);
/*
 * Keeper only. What threads have at hand that are not inside goes back: credits, with `caches` also
 * memory, of which *freed bytes. False: somebody was inside who may have some. Without `caches`
 * true proves nothing: a look that costs no barrier may be all there is.
 */
bool wf_locals_collect(struct wf_store *store, bool caches, uint64_t *freed);
struct wf_store_local *wf_local_stray(struct wf_store *store);
void wf_local_stray_leave(struct wf_store *store);
void wf_local_wait(struct wf_store *store, struct wf_store_local *local);
/* False: the keeper wants it. */
static inline bool wf_local_try_enter(const struct wf_store *store, struct wf_store_local *local)
{
	/* relaxed: ordered by the barrier. */
	wf_store_relaxed(&local->inside, 1);
	/* [L1]: the store above before the load below; the processor's half is the keeper's. */
	if (WF_LIKELY(store->asymmetric))
		wf_fence_compiler();
	else
		wf_fence_seq_cst();
	/* acquire [L3]: with the release in wf_locals_collect(): what the keeper has taken. */
	return wf_load_acquire(&local->asked) == 0;
}
/* The local to work in, for a moment; when `local` is NULL the stray one, locked. */
static inline struct wf_store_local *wf_local_enter(struct wf_store *store,
                                                    struct wf_store_local *local)
{
	if (WF_UNLIKELY(local == NULL))
		local = wf_local_stray(store);
	/* relaxed: its thread is the only one that writes it. */
	WF_DEBUG(wf_load_relaxed(&local->inside) == 0);
	if (WF_UNLIKELY(!wf_local_try_enter(store, local)))
		wf_local_wait(store, local);
	return local;
}
static inline void wf_local_leave(struct wf_store *store, struct wf_store_local *local)
{
	/* release [L2]: what was done in it, to the keeper that sees nobody inside. */
	wf_store_release(&local->inside, 0);
	if (WF_UNLIKELY(local == store->stray))
		wf_local_stray_leave(store);
}

/* ---- store.c --------------------------------------------------------------------------------- */

void wf_store_log(const struct wf_store *store, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Have the keeper open the spill files. 0; or why it cannot be, a negated errno (logged once). */
int wf_store_spill(struct wf_store *store);
static inline struct wf_spill *wf_store_spill_opened(const struct wf_store *store)
{
	/* acquire [S1]: with the release in wf_store_spill(). */
	return (struct wf_spill *)wf_load_acquire(&store->spill);
}

/* ---- create.c -------------------------------------------------------------------------------- */

/* Both for a reservation of `bytes` that the caller has made, and keeps on failure. */
int wf_create_reserved(struct wf_store *store, struct wf_store_local *local, uint64_t size,
                       uint64_t bytes, struct wf_object **out);
uint64_t wf_store_allocate(struct wf_store *store, struct wf_store_local *local, uint64_t size);
/*
 * Give back what an object had that is FREE now and was `was` (state and COPY count). The
 * reservation goes to the local's credit.
 */
void wf_object_release(struct wf_store *store, struct wf_store_local *local,
                       struct wf_object *object, uint64_t was);
void wf_object_forget(struct wf_store *store, struct wf_object *object); /* its record */
/* Drop a hold, and what follows. */
void wf_object_unhold(struct wf_store *store, struct wf_store_local *local,
                      struct wf_object *object);
static inline void wf_object_place(const struct wf_object *object, struct wf_spill_place *place)
{
	_Static_assert(sizeof(object->place) == sizeof(*place), "a place fits");
	__builtin_memcpy(place, object->place, sizeof(*place));
}

/* ---- keeper.c -------------------------------------------------------------------------------- */

int wf_keeper_start(struct wf_store *store); /* 0, -EAGAIN, -ENOMEM; once is enough */
void wf_keeper_stop(struct wf_store *store); /* after what is in flight has come back */
void wf_keeper_ring(struct wf_store *store);
void wf_keeper_kick(struct wf_store *store); /* `used` has passed `high` */
/* From a thread of the files: `back->finish` on the keeper. */
void wf_keeper_back(struct wf_store *store, struct wf_back *back);

/* ---- restore.c: keeper only ------------------------------------------------------------------ */

void wf_losses_free(struct wf_store *store);
extern struct wf_store_loss wf_loss_unsaid; /* for want of memory to say it */
int wf_restores_open(struct wf_store *store);
void wf_restores_close(struct wf_store *store);
uint32_t wf_restores_flying(const struct wf_store *store);
/* The last read ended for want of something that may come back: no object is lost. */
bool wf_restores_fail(const struct wf_store *store);
/*
 * Begin to bring `object` in, for which `bytes` are reserved. 0; -EAGAIN it is not SPILLED any
 * more; -ENOMEM no memory now. Not begun: the reservation stays the caller's.
 */
int wf_restore_begin(struct wf_store *store, struct wf_object *object, uint64_t bytes);
/* Hand all that was begun to the files: in one go, since what lies together is read together. */
void wf_restores_send(struct wf_store *store);

/* ---- evict.c: keeper only -------------------------------------------------------------------- */

int wf_evict_open(struct wf_store *store);
void wf_evict_close(struct wf_store *store);
uint64_t wf_evict_flying_bytes(const struct wf_store *store);
enum wf_evict_answer {
	WF_EVICT_NOTHING, /* nothing can be evicted */
	WF_EVICT_FREED,   /* there is more room already */
	WF_EVICT_FLYING,  /* something is being written */
	WF_EVICT_LATER,   /* not before wf_evict_again_ns() */
};
/* Work towards `want` bytes more than what is in flight now. `urgent`: somebody waits. */
enum wf_evict_answer wf_evict(struct wf_store *store, uint64_t want, bool urgent);
int64_t wf_evict_again_ns(const struct wf_store *store);
/* Why objects that could go do not: NULL, or a phrase. */
const char *wf_evict_hindrance(const struct wf_store *store);
/* Nothing can be written, until further notice. */
bool wf_evict_is_broken(const struct wf_store *store);
/* The last failure since it was last asked, 0 or a negated errno. */
int wf_evict_take_failure(struct wf_store *store);

/* ---- share.c: keeper only, but for the calls of wf_store.h ----------------------------------- */

/* Give shares to who waits for them; `force`: to the first in any case. True: somebody waits. */
bool wf_shares_serve(struct wf_store *store, bool force);
/* A create that had to wait was served. Called with the lock held. */
void wf_share_note_create(struct wf_store *store, uint64_t bytes);

/* ---- ticket.c: keeper only, but for the calls of wf_store.h ---------------------------------- */

/* What serving the tickets left over. */
struct wf_served {
	/* Through `next`, in the order in which they came: for wf_tickets_finish(). */
	struct wf_store_ticket *finished, *finished_last;
	uint64_t need; /* bytes that the waiting ones lack */
	bool waiting;  /* somebody still waits */
	bool lacking;  /* for room */
	bool inside;   /* a thread was at work that may have some at hand */
};
/* What to keep from whom: less and less, when nothing else helps. */
enum wf_serving {
	WF_SERVE_FAIR,    /* nobody takes the room that an older one waits for */
	WF_SERVE_ANY,     /* whoever can go on does */
	WF_SERVE_RESERVE, /* a create may also have the room for restores */
};
/* The gate as the lines are now. Any thread, with the lock held. */
void wf_gate_set(struct wf_store *store);
void wf_tickets_serve(struct wf_store *store, enum wf_serving serving, struct wf_served *served);
void wf_tickets_finish(struct wf_store *store, struct wf_store_ticket *finished);
/* The partial working set gives back what it holds, when an older create lacks its room. */
bool wf_tickets_demote(struct wf_store *store);
/* Nothing can help the oldest one that lacks room; not if it is newer than serial `newest`. */
void wf_tickets_fail_oldest(struct wf_store *store, uint64_t newest, const char *why);

#endif /* WF_STORE_INNER_H */
