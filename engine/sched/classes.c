/*
 * classes.c: the classes of admission: found by their shape, queued up, kept in heaps.
 *
 * A class is made by the first request of its shape and stays while there are few, or while tasks
 * name it. Its queue runs through the cold blocks of its tasks, both ways, so that one can be taken
 * out anywhere. Room in every heap that it may come to is reserved when it is made: nothing that
 * happens to it later needs memory.
 *
 * Shared: as in admit.c, all of it under admit->mutex.
 */
#include <string.h>

#include "admit_state.h"

#define CLASSES_KEPT 256u /* unused ones; a shape is likely to come again */

/* ---- Heaps --------------------------------------------------------------------------------- */

int64_t wf_need_of(const struct wf_shape *shape, uint32_t res)
{
	for (uint32_t i = 0; i < shape->n; i++) {
		if (shape->need[i].res == res)
			return shape->need[i].amount;
	}
	return 0;
}

static struct wf_class_heap *heap_of(struct wf_admit *a, const struct wf_class *class)
{
	WF_DEBUG(class->heap_res < WF_RES_MAX);
	return &a->heap[class->heap_res][class->shape.priority];
}

static bool before(const struct wf_class *x, const struct wf_class *y)
{
	int64_t nx = wf_need_of(&x->shape, x->heap_res), ny = wf_need_of(&y->shape, y->heap_res);

	return nx < ny || (nx == ny && x->turn < y->turn);
}

static void heap_put(struct wf_class_heap *heap, uint32_t i, struct wf_class *class)
{
	heap->at[i] = class;
	class->heap_index = i;
}

/* The class at `i` has changed, or is new there: move it to its place. */
static void sift(struct wf_class_heap *heap, uint32_t i)
{
	struct wf_class *class = heap->at[i];

	WF_DEBUG(i < heap->count);
	for (; i && before(class, heap->at[(i - 1) / 2]); i = (i - 1) / 2)
		heap_put(heap, i, heap->at[(i - 1) / 2]);
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= heap->count)
			break;
		if (child + 1 < heap->count && before(heap->at[child + 1], heap->at[child]))
			child++;
		if (!before(heap->at[child], class))
			break;
		heap_put(heap, i, heap->at[child]);
		i = child;
	}
	heap_put(heap, i, class);
}

void wf_class_leave(struct wf_admit *a, struct wf_class *class)
{
	if (class->heap_res == WF_RES_BUNDLE)
		class->heap_res = WF_RES_NONE;
	if (class->heap_res == WF_RES_NONE)
		return;
	struct wf_class_heap *heap = heap_of(a, class);
	uint32_t i = class->heap_index;
	WF_CHECK(heap->count && heap->at[i] == class);
	struct wf_class *last = heap->at[--heap->count];

	class->heap_res = WF_RES_NONE;
	if (last == class)
		return;
	heap_put(heap, i, last);
	sift(heap, i);
}

void wf_class_join(struct wf_admit *a, struct wf_class *class, uint32_t res)
{
	wf_class_leave(a, class);
	class->heap_res = res;
	WF_DEBUG(res != WF_RES_BUNDLE || class->pg);
	if (res == WF_RES_BUNDLE)
		return;
	struct wf_class_heap *heap = heap_of(a, class);

	WF_CHECK(heap->count < heap->room && wf_need_of(&class->shape, res) > 0);
	heap_put(heap, heap->count++, class);
	sift(heap, heap->count - 1);
}

void wf_class_turn(struct wf_admit *a, struct wf_class *class)
{
	class->turn = ++a->turn;
	if (class->heap_res < WF_RES_MAX)
		sift(heap_of(a, class), class->heap_index);
}

/* Room for one class more in every heap that it may come to. False: no memory. */
static bool heaps_reserve(struct wf_admit *a, const struct wf_shape *shape)
{
	for (uint32_t i = 0; i < shape->n; i++) {
		struct wf_class_heap *heap = &a->heap[shape->need[i].res][shape->priority];

		WF_DEBUG(heap->users <= heap->room && heap->count <= heap->users);
		if (heap->users < heap->room)
			continue;
		uint32_t room = heap->room ? heap->room * 2 : 8;
		struct wf_class **grown = wf_malloc(room * sizeof(struct wf_class *));

		if (!grown)
			return false;
		if (heap->count)
			memcpy(grown, heap->at, heap->count * sizeof(struct wf_class *));
		wf_free(heap->at);
		heap->at = grown;
		heap->room = room;
	}
	return true;
}

static void heaps_count(struct wf_admit *a, const struct wf_shape *shape, int by)
{
	for (uint32_t i = 0; i < shape->n; i++)
		a->heap[shape->need[i].res][shape->priority].users += (uint32_t)by;
}

/* ---- Classes ------------------------------------------------------------------------------- */

static uint64_t hash_of(const struct wf_shape *shape)
{
	uint64_t h = UINT64_C(0x9e3779b97f4a7c15) + shape->priority * 4 + shape->keeps * 2u +
		shape->beside;

	h ^= shape->pg * 31 + shape->bundle + shape->capture;
	h ^= (uint64_t)shape->node << 40 ^ (uint64_t)shape->place << 60;
	h *= UINT64_C(0xff51afd7ed558ccd);
	for (uint32_t i = 0; i < shape->n; i++) {
		h ^= shape->need[i].res + ((uint64_t)shape->need[i].amount << 8);
		h *= UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	return h;
}

static bool same_shape(const struct wf_shape *x, const struct wf_shape *y)
{
	if (x->n != y->n || x->priority != y->priority || x->beside != y->beside ||
	    x->keeps != y->keeps || x->pg != y->pg || x->bundle != y->bundle ||
	    x->capture != y->capture || x->place != y->place || x->node != y->node)
		return false;
	for (uint32_t i = 0; i < x->n; i++) {
		if (x->need[i].res != y->need[i].res || x->need[i].amount != y->need[i].amount)
			return false;
	}
	return true;
}

static void table_grow(struct wf_admit *a)
{
	uint32_t size = a->table_size * 2;

	WF_DEBUG(!(a->table_size & (a->table_size - 1)));
	struct wf_class **grown = wf_calloc(size, sizeof(struct wf_class *));

	/* Without memory the chains only grow longer. */
	if (!grown)
		return;
	for (uint32_t i = 0; i < a->table_size; i++) {
		struct wf_class *next;

		for (struct wf_class *class = a->table[i]; class; class = next) {
			next = class->next;
			class->next = grown[class->hash & (size - 1)];
			grown[class->hash & (size - 1)] = class;
		}
	}
	wf_free(a->table);
	a->table = grown;
	a->table_size = size;
}

bool wf_shape_infeasible(const struct wf_admit *a, const struct wf_shape *shape)
{
	for (uint32_t i = 0; i < shape->n; i++) {
		if (shape->need[i].amount > a->total[shape->need[i].res])
			return true;
	}
	return wf_shape_has_gpu(shape) && !wf_gpus_could_fit(a, shape);
}

void wf_admit_know_memory(struct wf_admit *a)
{
	if (a->total[WF_RES_MEMORY])
		return;
	uint64_t left = wf_memory_left(NULL);

	/* Unknown: no limit. */
	a->total[WF_RES_MEMORY] = left ? (int64_t)(left / 10 * 7) : INT64_MAX / 2;
	a->free[WF_RES_MEMORY] += a->total[WF_RES_MEMORY];
}

static struct wf_class *class_make(weft *rt, const struct wf_shape *shape, uint64_t hash)
{
	struct wf_admit *a = rt->admit;
	struct wf_class *class = wf_malloc(sizeof(*class));

	if (!class || !heaps_reserve(a, shape)) {
		wf_free(class);
		return NULL;
	}
	WF_CHECK(shape->n <= WF_NEEDS_MAX && shape->priority < WF_PRIORITIES);
	*class = (struct wf_class){ .hash = hash, .heap_res = WF_RES_NONE };
	class->shape = *shape;
	if (shape->pg && !wf_pg_join(rt, class)) {
		wf_free(class);
		return NULL;
	}
	class->id = ++a->ids;
	class->infeasible = shape->pg ? wf_pg_never(a, class) : wf_shape_infeasible(a, shape);
	heaps_count(a, shape, 1);
	if (a->class_count >= a->table_size)
		table_grow(a);
	class->next = a->table[hash & (a->table_size - 1)];
	a->table[hash & (a->table_size - 1)] = class;
	a->class_count++;
	return class;
}

struct wf_class *wf_class_find(weft *rt, const struct wf_shape *shape)
{
	struct wf_admit *a = rt->admit;
	uint64_t hash = hash_of(shape);
	struct wf_class *class = a->table[hash & (a->table_size - 1)];

	while (class && (class->hash != hash || !same_shape(&class->shape, shape)))
		class = class->next;
	if (!class) {
		if (wf_need_of(shape, WF_RES_MEMORY))
			wf_admit_know_memory(a);
		class = class_make(rt, shape, hash);
	}
	if (class)
		class->users++;
	return class;
}

void wf_class_drop(struct wf_admit *a, struct wf_class *class)
{
	WF_CHECK(class->users > 0);
	if (--class->users || (a->class_count <= CLASSES_KEPT && !class->pg))
		return;
	WF_CHECK(!class->first && class->heap_res == WF_RES_NONE);
	struct wf_class **at = &a->table[class->hash & (a->table_size - 1)];

	while (*at != class)
		at = &(*at)->next;
	*at = class->next;
	heaps_count(a, &class->shape, -1);
	a->class_count--;
	if (class->pg)
		wf_pg_leave(class);
	wf_free(class);
}

/* ---- The queue of a class ------------------------------------------------------------------ */

void wf_class_add(struct wf_ext *ext)
{
	struct wf_request *request = wf_ext_request(ext);
	struct wf_class *class = request->class;

	WF_DEBUG(request->state == WF_REQUEST_NEW && !class->first == !class->last);
	request->state = WF_REQUEST_WAITING;
	request->next = NULL;
	request->prev = class->last;
	if (class->last)
		wf_ext_request(class->last)->next = ext;
	else
		class->first = ext;
	class->last = ext;
	class->waiting++;
}

void wf_class_remove(struct wf_admit *a, struct wf_ext *ext)
{
	struct wf_request *request = wf_ext_request(ext);
	struct wf_class *class = request->class;

	WF_CHECK(request->state == WF_REQUEST_WAITING && class->waiting > 0);
	if (request->prev)
		wf_ext_request(request->prev)->next = request->next;
	else
		class->first = request->next;
	if (request->next)
		wf_ext_request(request->next)->prev = request->prev;
	else
		class->last = request->prev;
	request->next = request->prev = NULL;
	class->waiting--;
	if (!class->first)
		wf_class_leave(a, class);
}

/* ---- Cancel ------------------------------------------------------------------------------- */

static struct wf_class *class_by_id(const struct wf_admit *a, uint64_t id)
{
	for (uint32_t i = 0; i < a->table_size; i++) {
		for (struct wf_class *class = a->table[i]; class; class = class->next) {
			if (class->id == id)
				return class;
		}
	}
	return NULL;
}

_Static_assert(WF_BATCH_MAX <= WF_CANCEL_BATCH, "a batch is locked at once");

/* Of what waits in one class, up to a batch each. */
struct batch {
	struct wf_locked locked[WF_BATCH_MAX]; /* has not begun, to be ended */
	uint32_t n;
	struct wf_grants asked; /* sleeps between two attempts, to be woken */
};

static void batch_fill(weft *rt, const struct wf_class *class, struct batch *batch, uint64_t most)
{
	struct wf_ext *next;

	batch->n = batch->asked.n = 0;
	for (struct wf_ext *ext = class ? class->first : NULL; ext && most; ext = next) {
		struct wf_request *request = wf_ext_request(ext);
		struct wf_cell *cell = &rt->cells[ext->cell];
		uint8_t no = WF_CANCEL_NO;

		if (batch->n == WF_BATCH_MAX || batch->asked.n == WF_BATCH_MAX)
			return;
		next = request->next;
		WF_DEBUG(request->class == class);
		/* acq_rel [C1], [C3]: one canceller; another one sees to its own. */
		if (!wf_cas_acq_rel(&cell->cancel, &no,
		                    request->sleeper ? WF_CANCEL_ASKED : WF_CANCEL_LOCKED))
			continue;
		most--;
		if (request->sleeper)
			wf_admit_pass(rt, ext, &batch->asked);
		else
			/* relaxed: what waits here stays. */
			batch->locked[batch->n++] =
				(struct wf_locked){ .cell = cell,
				                    .gen = wf_load_relaxed(&cell->gen) };
	}
}

int64_t wf_admit_cancel_class(struct wf_local *self, uint64_t id)
{
	weft *rt = self->rt;
	struct wf_admit *a = rt->admit;
	struct batch batch;
	uint64_t left = UINT64_MAX;
	int64_t ended = 0;

	do {
		pthread_mutex_lock(&a->mutex);
		struct wf_class *class = class_by_id(a, id);

		/* No more than waited at first: what is submitted meanwhile is not meant. */
		if (left == UINT64_MAX)
			left = class ? class->waiting : 0;
		batch_fill(rt, class, &batch, left);
		WF_DEBUG(batch.n + batch.asked.n <= left);
		pthread_mutex_unlock(&a->mutex);
		left -= batch.n + batch.asked.n;
		ended += wf_cancel_locked(self, batch.locked, batch.n) + batch.asked.n;
		wf_grants_send(self, &batch.asked);
	} while (batch.n || batch.asked.n);
	return ended;
}
