/*
 * cq.c: completion queues.
 *
 * Shared
 *   done      items whose ref is ready: pushed by whoever completes it, taken by the drainer
 *   signal    0 quiet, 1 an event is in the eventfd: only the first item since a drain writes it
 *   waiter    the one sleeping weft_cq_wait(), or 0; swapped out and woken by a completer, or by
 *             whoever removes the last registration
 * The items and the table are under the mutex. Items lie in chunks that stay until the queue goes,
 * so registering and taking neither allocate nor free. Only a removal has to find an item by ref
 * and tag: the first one builds the table, and from then on it is kept.
 *
 * An item is a waiter node in its ref's list, and holds a count of the ref until it is taken or
 * removed. Removal races with completion in the promise: exactly one of them gets the node.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime.h"

struct item {
	struct wf_waiter waiter;
	struct wf_mpsc_node link; /* in done, then in ready */
	struct weft_cq *cq;
	struct wf_cell *cell; /* NULL: free */
	struct wf_cell *on;   /* in whose list it is: `cell`, or a generator's next item, counted */
	struct item *next;    /* in its bucket; free: in the list of those */
	uint64_t tag;
	struct wf_a32 fired; /* in `done`, and its completer has let it go */
};

struct chunk {
	struct chunk *next;
	uint32_t count;
	struct item items[];
};

#define CHUNK_FIRST 16u
#define CHUNK_MOST  1024u

struct weft_cq {
	weft *rt;
	pthread_mutex_t mutex;
	struct chunk *chunks;       /* newest, which is the largest, first */
	struct item *free;          /* items that were used before */
	uint32_t carved;            /* items of the newest chunk that have been used */
	uint32_t item_count;        /* registered and not taken */
	struct item **buckets;      /* NULL before the first removal */
	uint32_t bucket_count;      /* a power of two */
	struct wf_mpsc_node *ready; /* taken from done, oldest first; under the mutex */
	/* Completers write here, those who register and take above. */
	WF_ALIGNED(64) struct wf_mpsc done;
	struct wf_a32 firing;  /* completers inside fire() */
	struct wf_aptr waiter; /* struct wf_wait */
	struct wf_a32 signal;
	struct wf_a32 fd; /* eventfd + 1 */
};

/* ---- Items --------------------------------------------------------------------------------- */

/* Under the mutex, all. NULL: no memory. */
static struct item *item_alloc(struct weft_cq *cq)
{
	struct item *item = cq->free;
	uint32_t count = cq->chunks ? cq->chunks->count : 0;

	if (item) {
		cq->free = item->next;
		return item;
	}
	if (cq->carved == count) {
		count = !count ? CHUNK_FIRST : count < CHUNK_MOST ? count * 2 : count;
		struct chunk *chunk = wf_calloc(1, sizeof(*chunk) + count * sizeof(*chunk->items));

		if (!chunk)
			return NULL;
		chunk->count = count;
		chunk->next = cq->chunks;
		cq->chunks = chunk;
		cq->carved = 0;
	}
	return &cq->chunks->items[cq->carved++];
}

static void item_give_back(struct weft_cq *cq, struct item *item)
{
	item->cell = NULL;
	item->next = cq->free;
	cq->free = item;
}

/* ---- The table ----------------------------------------------------------------------------- */

static struct item **bucket_of(const struct weft_cq *cq, const struct wf_cell *cell, uint64_t tag)
{
	uint64_t x = ((uint64_t)(uintptr_t)cell >> 6) * UINT64_C(0x9e3779b97f4a7c15) ^
		tag * UINT64_C(0xbf58476d1ce4e5b9);

	return &cq->buckets[(uint32_t)(x >> 32) & (cq->bucket_count - 1)];
}

static void table_add(struct weft_cq *cq, struct item *item)
{
	struct item **bucket = bucket_of(cq, item->cell, item->tag);

	item->next = *bucket;
	*bucket = item;
}

/* A table of `count` buckets with everything in it. False: no memory, nothing has changed. */
static bool table_build(struct weft_cq *cq, uint32_t count)
{
	struct item **buckets = wf_calloc(count, sizeof(*buckets));

	if (!buckets)
		return false;
	wf_free(cq->buckets);
	cq->buckets = buckets;
	cq->bucket_count = count;
	for (struct chunk *chunk = cq->chunks; chunk; chunk = chunk->next) {
		for (uint32_t i = 0; i < chunk->count; i++) {
			if (chunk->items[i].cell)
				table_add(cq, &chunk->items[i]);
		}
	}
	return true;
}

static uint32_t buckets_for(uint32_t items)
{
	uint32_t count = 64;

	while (count < items)
		count *= 2;
	return count;
}

/* By ref and tag; NULL: not there. The first call builds the table; without memory it scans. */
static struct item *item_find(struct weft_cq *cq, const struct wf_cell *cell, uint64_t tag)
{
	if (cq->buckets || table_build(cq, buckets_for(cq->item_count))) {
		struct item *item = *bucket_of(cq, cell, tag);

		while (item && (item->cell != cell || item->tag != tag))
			item = item->next;
		return item;
	}
	for (struct chunk *chunk = cq->chunks; chunk; chunk = chunk->next) {
		for (uint32_t i = 0; i < chunk->count; i++) {
			if (chunk->items[i].cell == cell && chunk->items[i].tag == tag)
				return &chunk->items[i];
		}
	}
	return NULL;
}

static void item_free(struct weft_cq *cq, struct wf_local *self, struct item *item)
{
	struct wf_cell *cell = item->cell, *on = item->on;

	if (cq->buckets) {
		struct item **at = bucket_of(cq, cell, item->tag);

		while (*at != item)
			at = &(*at)->next;
		*at = item->next;
	}
	cq->item_count--;
	item_give_back(cq, item);
	/* First: the generator's last count frees items that nobody holds. */
	if (on != cell)
		wf_cell_release(self, on);
	wf_cell_release(self, cell);
}

/* ---- Completion ---------------------------------------------------------------------------- */

static void signal_fd(struct weft_cq *cq)
{
	/* acquire [B1]: the descriptor. */
	uint32_t fd = wf_load_acquire(&cq->fd);
	uint64_t one = 1;

	/* acq_rel [B2]: one write per drain. */
	if (fd && !wf_swap_acq_rel(&cq->signal, 1)) {
		ssize_t n = write((int)fd - 1, &one, sizeof(one));

		/* A full counter is readable, which is all that matters. */
		(void)n;
	}
}

/*
 * Have the sleeper look again. By one who counts in `firing` meanwhile, after a fence [B6] that
 * pairs with the sleeper's, who stores itself and then looks for items.
 */
static void wake_waiter(struct weft_cq *cq, struct wf_local *self)
{
	struct wf_wait *wait = NULL;

	/* relaxed: decided by the fence. */
	if (wf_load_relaxed(&cq->waiter))
		/* acq_rel [B3]: the wait; whoever swaps it out wakes it. */
		wait = (struct wf_wait *)wf_swap_acq_rel(&cq->waiter, 0);
	if (wait)
		wf_wait_wake(wait, WF_WAKE_READY, self);
}

static void fire(struct wf_waiter *waiter, struct wf_cell *cell, struct wf_local *self)
{
	struct item *item = wf_container_of(waiter, struct item, waiter);
	struct weft_cq *cq = item->cq;

	(void)cell;
	/* relaxed: made visible by [B5], before anyone can miss the item. */
	wf_add_relaxed(&cq->firing, 1);
	wf_mpsc_push_mt(&cq->done, &item->link);
	wf_fence_after_rmw(); /* [B6] */
	/* release [B5]: the last touch of the item. */
	wf_store_release(&item->fired, 1);
	wake_waiter(cq, self);
	signal_fd(cq);
	/* release [B4]: the last touch of the queue. */
	wf_add_release(&cq->firing, (uint32_t)-1);
}

/* Until no completer is inside: what it took from us, it has let go. */
static void wait_for_completers(struct weft_cq *cq)
{
	/* acquire [B4] */
	while (wf_load_acquire(&cq->firing))
		wf_cpu_relax();
}

/* ---- Life ---------------------------------------------------------------------------------- */

int weft_cq_create(weft *rt, weft_cq **out)
{
	if (!rt || !out)
		return -EINVAL;
	struct weft_cq *cq = wf_aligned_alloc(WF_CACHE_LINE, sizeof(*cq));

	if (!cq)
		return -ENOMEM;
	memset(cq, 0, sizeof(*cq));
	cq->rt = rt;
	pthread_mutex_init(&cq->mutex, NULL);
	wf_mpsc_init(&cq->done);
	*out = cq;
	return 0;
}

/* Free a registered item, whether its ref is ready or not. */
static void item_withdraw(struct weft_cq *cq, struct wf_local *self, struct item *item)
{
	/* acquire [B5]: fired items are nobody's but ours. */
	if (!wf_load_acquire(&item->fired) &&
	    !wf_promise_remove(&item->on->promise, &item->waiter)) {
		while (!wf_load_acquire(&item->fired)) /* acquire [B5] */
			wf_cpu_relax();
	}
	item_free(cq, self, item);
}

void weft_cq_destroy(weft_cq *cq)
{
	if (!cq)
		return;
	struct wf_local *self = wf_local_of(cq->rt);

	WF_CHECK(self);
	for (struct chunk *chunk = cq->chunks; chunk; chunk = chunk->next) {
		for (uint32_t i = 0; i < chunk->count; i++) {
			if (chunk->items[i].cell)
				item_withdraw(cq, self, &chunk->items[i]);
		}
	}
	wait_for_completers(cq);
	/* relaxed: nobody else is left. */
	if (wf_load_relaxed(&cq->fd))
		close((int)wf_load_relaxed(&cq->fd) - 1);
	pthread_mutex_destroy(&cq->mutex);
	while (cq->chunks) {
		struct chunk *next = cq->chunks->next;

		wf_free(cq->chunks);
		cq->chunks = next;
	}
	wf_free(cq->buckets);
	wf_free(cq);
}

/* ---- Registering --------------------------------------------------------------------------- */

int weft_cq_add(weft_cq *cq, weft_ref ref, uint64_t tag)
{
	struct wf_cell *cell = cq ? wf_cell_of(cq->rt, ref) : NULL;
	struct wf_local *self = cell ? wf_local_of(cq->rt) : NULL;
	struct wf_cell *on = cell;
	uintptr_t taken = 0;

	if (!self)
		return cell ? -ENOMEM : -EINVAL;
	int rc = WF_UNLIKELY(wf_cell_is_stream(cell)) ? wf_stream_peek(cell, &on) : 0;

	if (rc)
		return rc;
	pthread_mutex_lock(&cq->mutex);
	struct item *item = item_alloc(cq);

	if (!item) {
		pthread_mutex_unlock(&cq->mutex);
		if (on != cell)
			wf_cell_release(self, on);
		return -ENOMEM;
	}
	item->waiter.fire = fire;
	item->cq = cq;
	item->cell = cell;
	item->on = on;
	item->tag = tag;
	wf_init(&item->fired, 0);
	/* A table that cannot grow is only slower. */
	if (cq->buckets &&
	    (cq->item_count < cq->bucket_count || !table_build(cq, cq->bucket_count * 2)))
		table_add(cq, item);
	cq->item_count++;
	wf_promise_retain(&cell->promise);
	bool foreign = wf_cell_foreign(self, on);

	/* Under the mutex, so that a drain cannot free the item between table and list. */
	if (wf_promise_is_done(&on->promise) ||
	    !wf_promise_push(&on->promise, &item->waiter, foreign, &taken))
		fire(&item->waiter, on, self);
	else if (foreign)
		/* relaxed: a hint, see mind_strangers(). */
		wf_add_relaxed(&cq->rt->locals[wf_cell_owner(on)]->foreign_touches, 1);
	pthread_mutex_unlock(&cq->mutex);
	if (taken)
		wf_cell_fire(self, on, taken);
	return 0;
}

int weft_cq_remove(weft_cq *cq, weft_ref ref, uint64_t tag)
{
	struct wf_cell *cell = cq ? wf_cell_of(cq->rt, ref) : NULL;
	struct wf_local *self = cell ? wf_local_of(cq->rt) : NULL;

	if (!self)
		return cell ? -ENOMEM : -EINVAL;
	pthread_mutex_lock(&cq->mutex);
	struct item *item = item_find(cq, cell, tag);
	int rc = item ? 0 : -ENOENT;

	/* acquire [B5]; removal races with completion in the promise. */
	if (item && !wf_load_acquire(&item->fired) &&
	    wf_promise_remove(&item->on->promise, &item->waiter)) {
		item_free(cq, self, item);
		rc = 1;
	}
	bool last = rc == 1 && !cq->item_count;

	if (last)
		/* relaxed: made visible by [B3], before the sleeper can miss its wait. */
		wf_add_relaxed(&cq->firing, 1);
	pthread_mutex_unlock(&cq->mutex);
	if (last) {
		/* Who sleeps would wait for ever: it finds that nothing is registered. */
		wf_fence_seq_cst(); /* [B6] */
		wake_waiter(cq, self);
		/* release [B4]: the last touch of the queue. */
		wf_add_release(&cq->firing, (uint32_t)-1);
	}
	return rc;
}

/* ---- Taking -------------------------------------------------------------------------------- */

static struct item *next_ready(struct weft_cq *cq)
{
	if (!cq->ready && !wf_mpsc_is_empty(&cq->done))
		cq->ready = wf_mpsc_take_all(&cq->done);
	struct wf_mpsc_node *node = cq->ready;

	if (!node)
		return NULL;
	/* relaxed: the chain is ours since take_all(). */
	cq->ready = (struct wf_mpsc_node *)wf_load_relaxed(&node->next);
	return wf_container_of(node, struct item, link);
}

/* Nothing is left: the descriptor turns quiet. True: something came meanwhile. */
static bool quiet_fd(struct weft_cq *cq)
{
	uint32_t fd = wf_load_acquire(&cq->fd); /* acquire [B1] */
	uint64_t count;

	if (fd) {
		ssize_t n = read((int)fd - 1, &count, sizeof(count));

		(void)n;
		/* acq_rel [B2]: whoever pushes after this writes again. */
		wf_swap_acq_rel(&cq->signal, 0);
	}
	return !wf_mpsc_is_empty(&cq->done);
}

static int item_status(const struct weft_cq *cq, const struct item *item)
{
	if (WF_UNLIKELY(item->on != item->cell))
		return wf_stream_status(cq->rt, item->on);
	return wf_cell_status_told(item->cell);
}

int weft_cq_drain(weft_cq *cq, struct weft_cq_item *items, uint32_t n)
{
	if (!cq || (n && !items))
		return -EINVAL;
	struct wf_local *self = wf_local_of(cq->rt);
	uint32_t taken = 0;

	if (!self)
		return -ENOMEM;
	pthread_mutex_lock(&cq->mutex);
	while (taken < n && taken < INT32_MAX) {
		struct item *item = next_ready(cq);

		if (!item) {
			if (quiet_fd(cq))
				continue;
			break;
		}
		/* acquire [B5]: its completer has let it go. */
		while (!wf_load_acquire(&item->fired))
			wf_cpu_relax();
		items[taken++] = (struct weft_cq_item){ .tag = item->tag,
			                                .ref = wf_ref_of(cq->rt, item->cell),
			                                .status = item_status(cq, item) };
		item_free(cq, self, item);
	}
	pthread_mutex_unlock(&cq->mutex);
	return (int)taken;
}

static bool nothing_registered(struct weft_cq *cq)
{
	pthread_mutex_lock(&cq->mutex);
	bool empty = !cq->item_count;

	pthread_mutex_unlock(&cq->mutex);
	return empty;
}

/* Store the wait, and look once more. False: it need not begin, and is nobody's. */
static bool cq_arm(struct wf_local *self, struct wf_wait *wait, void *arg)
{
	struct weft_cq *cq = arg;
	uintptr_t nobody = 0, me = (uintptr_t)wait;

	/* release [B3]: the wait. */
	if (wf_cas_acq_rel(&cq->waiter, &nobody, me)) {
		/* [B6]: pairs with the fence in wake_waiter(). */
		wf_fence_seq_cst();
		/* acq_rel [B3]: when it was swapped out, a wake is on its way. */
		if ((wf_mpsc_is_empty(&cq->done) && !nothing_registered(cq)) ||
		    !wf_cas_acq_rel(&cq->waiter, &me, 0))
			return true;
	}
	wf_wait_wake(wait, WF_WAKE_READY, self);
	return false;
}

/* Sleep until an item is there or none can come. 0 look again, or an error. */
static WF_SUSPENDS int cq_sleep(struct weft_cq *cq, struct wf_local *self, int64_t until)
{
	struct wf_wait wait;
	uintptr_t me = (uintptr_t)&wait;
	int rc;

	/* relaxed: a guess for the exchange, which a second sleeper loses as well. */
	if (wf_load_relaxed(&cq->waiter))
		return -EBUSY;
	wf_wait_init(&wait, self, 1, until);
	wait.external = true;
	if (!wf_can_suspend(self) && !cq->rt->workers)
		/* Without workers somebody must run the tasks: the caller. */
		rc = wf_run_wait(cq->rt, &wait, cq_arm, cq);
	else
		rc = cq_arm(self, &wait, cq) ? wf_wait_sleep(&wait) : 0;
	/* acq_rel [B3]: ours again, or a completer has it and is inside fire(). */
	if (rc && !wf_cas_acq_rel(&cq->waiter, &me, 0))
		wait_for_completers(cq);
	return rc;
}

int weft_cq_wait(weft_cq *cq, struct weft_cq_item *items, uint32_t n, weft_deadline until)
{
	if (!cq || !n || !items)
		return -EINVAL;
	struct wf_local *self = wf_local_of(cq->rt);

	if (!self)
		return -ENOMEM;
	for (;;) {
		int rc = weft_cq_drain(cq, items, n);

		if (rc)
			return rc;
		if (nothing_registered(cq))
			return -ENOENT;
		if (until == WEFT_POLL)
			return 0;
		self = wf_local_of(cq->rt);
		if (wf_self_cancelled(self))
			return -EINTR;
		rc = cq_sleep(cq, self, until);
		if (rc == -ETIMEDOUT)
			return weft_cq_drain(cq, items, n);
		if (rc)
			return rc;
	}
}

int weft_cq_fd(weft_cq *cq)
{
	if (!cq)
		return -EINVAL;
	pthread_mutex_lock(&cq->mutex);
	/* relaxed: written under the mutex. */
	int fd = (int)wf_load_relaxed(&cq->fd) - 1;

	if (fd < 0) {
		bool refused = wf_fault(WF_FAULT_EVENTFD);

		fd = refused ? -1 : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (fd < 0) {
			int rc = refused ? -EMFILE : -errno;

			pthread_mutex_unlock(&cq->mutex);
			return rc;
		}
		/* release [B1] */
		wf_store_release(&cq->fd, (uint32_t)fd + 1);
		wf_fence_seq_cst();
		if (cq->ready || !wf_mpsc_is_empty(&cq->done))
			signal_fd(cq);
	}
	pthread_mutex_unlock(&cq->mutex);
	return fd;
}

/* ---- Callbacks ----------------------------------------------------------------------------- */

struct on_done {
	weft_done_fn *fn;
	void *arg;
	weft_ref ref;
};

static int on_done_body(weft_task *self)
{
	const struct on_done *done = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);

	done->fn(done->arg, done->ref, wf_cell_status_told(wf_cell_of(rt, done->ref)));
	return 0;
}

/* A task that waits for the ref and ignores its failure: it is retained as any input is. */
int weft_on_done(weft *rt, weft_ref ref, weft_done_fn *fn, void *arg)
{
	/* The promised call is made even when all else is cancelled. */
	static const struct weft_task_options options = { .struct_size = sizeof(options),
		                                          .name = "weft_on_done",
		                                          .flags = WF_EXT_ALWAYS,
		                                          .on_input_error = WEFT_INPUT_IGNORE };
	struct on_done done = { .fn = fn, .arg = arg, .ref = ref };
	struct weft_call call = { .fn = on_done_body,
		                  .arg = &done,
		                  .arg_size = sizeof(done),
		                  .inputs = &ref,
		                  .n_after = 1,
		                  .opts = &options };

	return rt && fn ? wf_submit_internal(rt, &call) : -EINVAL;
}
