/*
 * host.c: identities: who the calling thread is in a runtime.
 *
 * A worker's identity goes with the worker. Any other thread gets a guest the first time it calls
 * in, found again through thread-local storage, and returned to the runtime's free list when the
 * thread ends, with whatever cells it owns: the next guest goes on with them.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"

/* A thread's guests, one per runtime it has called, and the runtime's id: rt may be long gone. */
struct guest_slot {
	struct guest_slot *next;
	weft *rt;
	uint32_t rt_id;
	struct wf_local *guest;
};

/* `used`: link-time optimisation does not see that wf_self() reads it. */
_Thread_local struct wf_aptr wf_local_tls __attribute__((tls_model("initial-exec"), used));
static _Thread_local struct wf_thread_state *thread_tls __attribute__((tls_model("initial-exec")));
static _Thread_local struct guest_slot *guests_tls __attribute__((tls_model("initial-exec")));

static pthread_key_t guests_key;
static pthread_once_t guests_once = PTHREAD_ONCE_INIT;
static bool guests_key_ok;

WF_NOINLINE struct wf_local *wf_self_call(void)
{
	__asm__ volatile("");
	/* relaxed: this thread's own, or cleared by weft_close() of a runtime it left. */
	return (struct wf_local *)wf_load_relaxed(&wf_local_tls);
}

WF_NOINLINE void wf_local_set(struct wf_local *self)
{
	__asm__ volatile("");
	/* relaxed: as above. */
	wf_store_relaxed(&wf_local_tls, (uintptr_t)self);
}

WF_NOINLINE struct wf_thread_state *wf_thread_current(void)
{
	__asm__ volatile("");
	return thread_tls;
}

WF_NOINLINE void wf_thread_set(struct wf_thread_state *thread)
{
	__asm__ volatile("");
	thread_tls = thread;
}

static WF_NOINLINE struct guest_slot **guest_slots(void)
{
	__asm__ volatile("");
	return &guests_tls;
}

static void thread_ends(void *arg)
{
	(void)arg;
	struct guest_slot *slot = *guest_slots();

	*guest_slots() = NULL;
	wf_local_set(NULL);
	while (slot) {
		struct guest_slot *next = slot->next;

		wf_registry_lock();
		if (wf_registry_has(slot->rt, slot->rt_id))
			wf_local_forget(slot->guest);
		wf_registry_unlock();
		wf_free(slot);
		slot = next;
	}
}

static void make_key(void)
{
	guests_key_ok = !pthread_key_create(&guests_key, thread_ends);
}

/* ---- Locals -------------------------------------------------------------------------------- */

struct wf_local *wf_local_create(weft *rt, bool worker, uint32_t node)
{
	size_t bytes = worker ? sizeof(struct wf_worker) : sizeof(struct wf_local);
	struct wf_local *self = wf_node_alloc(node, 128, (bytes + 127) & ~(size_t)127);

	if (!self)
		return NULL;
	memset(self, 0, bytes);
	pthread_mutex_lock(&rt->locals_mutex);
	/* relaxed: under the mutex. */
	uint32_t id = wf_load_relaxed(&rt->locals_end);

	if (id == WF_LOCALS_MAX) {
		pthread_mutex_unlock(&rt->locals_mutex);
		wf_node_free(self);
		return NULL;
	}
	self->rt = rt;
	self->id = (uint16_t)id;
	self->worker = worker;
	self->node = (uint16_t)node;
	self->plain_rt = worker && !rt->timing && !rt->seeded ? rt : WF_RT_NONE;
	self->fast_rt = self->plain_rt;
	self->stack_floor = WF_FLOOR_NONE;
	self->mark = wf_mark(id + 1, 0, 1);
	self->head = wf_head(id, worker && rt->asymmetric ? 0 : WF_CELL_SHARED);
	wf_random_init(&self->random, rt->seed + id);
	rt->locals[id] = self;
	/* release [L1]: the entry, to whoever reads the end. */
	wf_store_release(&rt->locals_end, id + 1);
	pthread_mutex_unlock(&rt->locals_mutex);
	return self;
}

/* Under the registry's lock: the guest's thread ends. */
void wf_local_forget(struct wf_local *guest)
{
	weft *rt = guest->rt;

	wf_slab_flush(guest);
	/* relaxed: only compared, with what an older caller of this identity had. */
	wf_add_relaxed(&guest->caller_gen, 1);
	guest->tls_at = NULL;
	pthread_mutex_lock(&rt->locals_mutex);
	guest->next_free = rt->guests_free;
	rt->guests_free = guest;
	pthread_mutex_unlock(&rt->locals_mutex);
}

struct wf_local *wf_guest_create(weft *rt)
{
	pthread_mutex_lock(&rt->locals_mutex);
	struct wf_local *guest = rt->guests_free;

	if (guest)
		rt->guests_free = guest->next_free;
	pthread_mutex_unlock(&rt->locals_mutex);
	if (!guest)
		guest = wf_local_create(rt, false, 0);
	if (guest && rt->node_count > 1)
		guest->node = (uint16_t)wf_random_below(&guest->random, rt->node_count);
	return guest;
}

static WF_NOINLINE struct wf_aptr *tls_address(void)
{
	__asm__ volatile("");
	return &wf_local_tls;
}

/* This thread's guest in `rt`, or NULL. Slots of runtimes that are gone are dropped on the way. */
static struct wf_local *guest_find(weft *rt)
{
	for (struct guest_slot *slot = *guest_slots(); slot; slot = slot->next) {
		if (slot->rt == rt && slot->rt_id == rt->id)
			return slot->guest;
	}
	wf_registry_lock();
	for (struct guest_slot **at = guest_slots(); *at;) {
		struct guest_slot *slot = *at;

		if (wf_registry_has(slot->rt, slot->rt_id)) {
			at = &slot->next;
			continue;
		}
		*at = slot->next;
		wf_free(slot);
	}
	wf_registry_unlock();
	return NULL;
}

struct wf_local *wf_local_slow(weft *rt)
{
	struct wf_thread_state *thread = wf_thread_current();
	struct wf_local *now = wf_self();
	struct wf_local *guest = thread && thread->rt == rt ? thread->guest : guest_find(rt);

	if (!guest) {
		pthread_once(&guests_once, make_key);
		struct guest_slot *slot = guests_key_ok ? wf_malloc(sizeof(*slot)) : NULL;

		guest = slot ? wf_guest_create(rt) : NULL;
		if (!guest) {
			wf_free(slot);
			return NULL;
		}
		guest->tls_at = tls_address();
		*slot = (struct guest_slot){
			.next = *guest_slots(), .rt = rt, .rt_id = rt->id, .guest = guest
		};
		*guest_slots() = slot;
		pthread_setspecific(guests_key, slot);
	}
	/* A thread that runs a task of one runtime and calls into another stays what it is. */
	if (!now || (!now->worker && !now->current))
		wf_local_set(guest);
	return guest;
}

/* Under the registry's lock, so that no thread ends meanwhile. */
void wf_locals_detach(weft *rt)
{
	uint32_t end = wf_load_acquire(&rt->locals_end); /* acquire [L1]: the entries. */

	for (uint32_t i = 0; i < end; i++) {
		struct wf_local *guest = rt->locals[i];

		/* Other threads' pointers to what is about to be freed. */
		if (guest->tls_at) {
			uintptr_t old = (uintptr_t)guest;

			/* relaxed: a thread inside the runtime by now is its owner's mistake. */
			wf_cas_relaxed(guest->tls_at, &old, 0);
		}
	}
}

void wf_locals_free(weft *rt)
{
	uint32_t end = wf_load_acquire(&rt->locals_end); /* acquire [L1]: the entries. */

	for (uint32_t i = 0; i < end; i++)
		wf_node_free(rt->locals[i]);
}
