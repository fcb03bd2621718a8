/*
 * gpus.c: the books of GPUs: shares, and with devices their memory.
 *
 * A request names shares of one GPU or a number of whole ones, and bytes on each. Shares and bytes
 * must be free on the same device, so no single number tells whether a class can start: classes
 * that are short of the combination are in the heap of WF_RES_GPU_MEM, of which every member is
 * looked at when something of a GPU is given back. There are few: one per shape.
 *
 * Shared: as in admit.c, all of it under admit->mutex.
 *
 * Invariants
 *   a GPU of which nothing is granted has all its memory free: bytes are only granted with shares
 *   what is granted of a lost device stays in its books until it is given back, and nothing else
 *   is granted of it
 */
#include "admit_state.h"
#include "gpu.h"

bool wf_shape_has_gpu(const struct wf_shape *shape)
{
	return wf_need_of(shape, WF_RES_GPU) || wf_need_of(shape, WF_RES_SHARE);
}

static bool is_lost(const struct wf_admit *a, uint32_t i)
{
	return a->gpus_lost >> i & 1;
}

/* What the heaps compare with: whole GPUs, the largest rest of one, the most memory of one. */
static void recount(struct wf_admit *a)
{
	int64_t whole = 0, share = 0, bytes = 0, alive = 0, most = 0;

	for (uint32_t i = 0; i < a->gpus; i++) {
		if (is_lost(a, i))
			continue;
		alive++;
		whole += a->gpu_free[i] == WF_FIXED;
		share = a->gpu_free[i] > share ? a->gpu_free[i] : share;
		bytes = a->gpu_mem_free[i] > bytes ? a->gpu_mem_free[i] : bytes;
		most = a->gpu_mem[i] > most ? a->gpu_mem[i] : most;
	}
	WF_DEBUG(whole <= alive && share <= WF_FIXED && bytes <= most);
	a->total[WF_RES_GPU] = alive * WF_FIXED;
	a->total[WF_RES_SHARE] = alive ? WF_FIXED : 0;
	a->total[WF_RES_GPU_MEM] = most;
	a->free[WF_RES_GPU] = whole * WF_FIXED;
	a->free[WF_RES_SHARE] = share;
	a->free[WF_RES_GPU_MEM] = bytes;
}

void wf_gpus_init(weft *rt, struct wf_admit *a)
{
	WF_CHECK(rt->options.gpus <= WEFT_GPUS_MAX);
	a->gpus = rt->options.gpus;
	for (uint32_t i = 0; i < a->gpus; i++) {
		a->gpu_free[i] = WF_FIXED;
		a->gpu_mem[i] = a->gpu_mem_free[i] = (int64_t)wf_gpu_memory(rt, i);
		if (rt->gpus && wf_gpu_is_lost(&rt->gpus->gpu[i]))
			a->gpus_lost |= UINT64_C(1) << i;
	}
	recount(a);
}

int64_t wf_admit_gpu_part(const weft *rt, int64_t amount)
{
	const struct wf_admit *a = rt->admit;
	int64_t least = INT64_MAX;

	/* Fixed since the open: no mutex. */
	for (uint32_t i = 0; i < a->gpus; i++)
		least = a->gpu_mem[i] < least ? a->gpu_mem[i] : least;
	WF_DEBUG(amount > 0 && amount <= WF_FIXED);
	int64_t part = a->gpus ? (int64_t)((double)least * (double)amount / WF_FIXED) : 0;

	return part > 0 ? part : 1;
}

/* How many devices have that much free, or, when empty, would have. */
static int64_t count_fitting(const struct wf_admit *a, const struct wf_shape *shape, bool empty)
{
	int64_t share = wf_need_of(shape, WF_RES_SHARE), bytes = wf_need_of(shape, WF_RES_GPU_MEM);
	int64_t n = 0;

	share = share ? share : WF_FIXED;
	for (uint32_t i = 0; i < a->gpus; i++) {
		const int64_t *mem = empty ? a->gpu_mem : a->gpu_mem_free;

		n += !is_lost(a, i) && mem[i] >= bytes && (empty || a->gpu_free[i] >= share);
	}
	WF_DEBUG(n <= a->gpus);
	return n;
}

static int64_t wanted(const struct wf_shape *shape)
{
	int64_t whole = wf_need_of(shape, WF_RES_GPU) / WF_FIXED;

	return whole ? whole : 1;
}

bool wf_gpus_fit(const struct wf_admit *a, const struct wf_shape *shape)
{
	return count_fitting(a, shape, false) >= wanted(shape);
}

bool wf_gpus_could_fit(const struct wf_admit *a, const struct wf_shape *shape)
{
	return count_fitting(a, shape, true) >= wanted(shape);
}

/* A share goes to the fullest GPU that still has room, so that others stay whole. */
static uint32_t best_for(const struct wf_admit *a, int64_t share, int64_t bytes)
{
	uint32_t best = WEFT_GPUS_MAX;

	WF_DEBUG(share > 0 && share < WF_FIXED && bytes >= 0);
	for (uint32_t i = 0; i < a->gpus; i++) {
		if (is_lost(a, i) || a->gpu_free[i] < share || a->gpu_mem_free[i] < bytes)
			continue;
		if (best == WEFT_GPUS_MAX || a->gpu_free[i] < a->gpu_free[best])
			best = i;
	}
	WF_CHECK(best < WEFT_GPUS_MAX);
	return best;
}

void wf_gpus_take(struct wf_admit *a, struct wf_request *request)
{
	const struct wf_shape *shape = &request->class->shape;
	int64_t share = wf_need_of(shape, WF_RES_SHARE), bytes = wf_need_of(shape, WF_RES_GPU_MEM);
	int64_t whole = wanted(shape);

	WF_CHECK(!request->gpus);
	if (share) {
		uint32_t i = best_for(a, share, bytes);

		a->gpu_free[i] -= share;
		a->gpu_mem_free[i] -= bytes;
		request->gpus = UINT64_C(1) << i;
	}
	for (uint32_t i = 0; !share && i < a->gpus && whole; i++) {
		if (is_lost(a, i) || a->gpu_free[i] != WF_FIXED || a->gpu_mem_free[i] < bytes)
			continue;
		a->gpu_free[i] = a->gpu_mem_free[i] = 0;
		request->gpus |= UINT64_C(1) << i;
		whole--;
	}
	WF_CHECK(share || !whole);
	recount(a);
}

void wf_gpus_give(struct wf_admit *a, struct wf_request *request)
{
	const struct wf_shape *shape = &request->class->shape;
	int64_t share = wf_need_of(shape, WF_RES_SHARE), bytes = wf_need_of(shape, WF_RES_GPU_MEM);

	WF_DEBUG(a->gpus <= WEFT_GPUS_MAX);
	for (uint32_t i = 0; i < a->gpus; i++) {
		if (!(request->gpus >> i & 1))
			continue;
		a->gpu_free[i] += share ? share : WF_FIXED;
		a->gpu_mem_free[i] += share ? bytes : a->gpu_mem[i];
		WF_CHECK(a->gpu_free[i] <= WF_FIXED && a->gpu_mem_free[i] <= a->gpu_mem[i]);
		WF_CHECK(a->gpu_free[i] < WF_FIXED || a->gpu_mem_free[i] == a->gpu_mem[i]);
	}
	request->gpus = 0;
	recount(a);
}

uint32_t wf_gpus_reserve(struct wf_admit *a)
{
	uint32_t i = 0;

	while (i < a->gpus && (is_lost(a, i) || a->gpu_free[i] != WF_FIXED))
		i++;
	WF_CHECK(i < a->gpus && a->gpu_mem_free[i] == a->gpu_mem[i]);
	a->gpu_free[i] = a->gpu_mem_free[i] = 0;
	recount(a);
	return i;
}

void wf_gpus_return(struct wf_admit *a, uint32_t device, int64_t share, int64_t mem)
{
	WF_CHECK(device < a->gpus && a->gpu_free[device] + share <= WF_FIXED);
	a->gpu_free[device] += share;
	a->gpu_mem_free[device] += mem;
	WF_CHECK(a->gpu_mem_free[device] <= a->gpu_mem[device]);
	recount(a);
}

static bool is_gpu_res(uint32_t res)
{
	return res == WF_RES_GPU || res == WF_RES_SHARE || res == WF_RES_GPU_MEM;
}

struct wf_class *wf_gpus_next(struct wf_admit *a, struct wf_class_heap *heap)
{
	struct wf_class *best = NULL;

	for (uint32_t i = 0; i < heap->count;) {
		struct wf_class *class = heap->at[i];
		uint32_t res = wf_short_of(a, class);

		WF_DEBUG(class->first && !class->infeasible);
		if (res != WF_RES_NONE && !is_gpu_res(res)) {
			/* What it waits for now is given back without a look here. */
			wf_class_join(a, class, res);
			best = NULL;
			i = 0;
			continue;
		}
		if (res == WF_RES_NONE && (!best || class->turn < best->turn))
			best = class;
		i++;
	}
	return best;
}

/* ---- Questions ----------------------------------------------------------------------------- */

uint64_t wf_admit_gpu_mem(weft *rt, const struct wf_class *class, uint32_t device)
{
	const struct wf_admit *a = rt->admit;
	/* The class is the holder's, the totals are fixed: no mutex. */
	int64_t bytes = wf_need_of(&class->shape, WF_RES_GPU_MEM);

	WF_DEBUG(device < a->gpus && wf_shape_has_gpu(&class->shape));
	return (uint64_t)(bytes ? bytes : a->gpu_mem[device]);
}

void wf_admit_gpu_free(weft *rt, uint32_t device, int64_t *share, int64_t *bytes)
{
	struct wf_admit *a = rt->admit;

	WF_CHECK(device < a->gpus);
	pthread_mutex_lock(&a->mutex);
	*share = is_lost(a, device) ? 0 : a->gpu_free[device];
	*bytes = is_lost(a, device) ? 0 : a->gpu_mem_free[device];
	pthread_mutex_unlock(&a->mutex);
}

void wf_admit_hurry(weft *rt, struct wf_ext *ext, struct wf_grants *grants)
{
	struct wf_request *request = wf_ext_request(ext);

	WF_CHECK(request && grants->n < WF_BATCH_MAX);
	WF_DEBUG(rt->cells[ext->cell].ext_word == ext);
	pthread_mutex_lock(&rt->admit->mutex);
	/* One that collects workers gets them, and finds out. */
	if (request->state == WF_REQUEST_WAITING)
		wf_admit_pass(rt, ext, grants);
	pthread_mutex_unlock(&rt->admit->mutex);
}

/* ---- A device is lost ---------------------------------------------------------------------- */

/* Let go what waits in a class that has become infeasible. False: the batch is full. */
static bool refuse_class(weft *rt, struct wf_class *class, struct wf_grants *grants)
{
	struct wf_admit *a = rt->admit;

	class->infeasible =
		class->pg ? wf_pg_never(a, class) : wf_shape_infeasible(a, &class->shape);
	if (!class->infeasible)
		return true;
	WF_CHECK(a->gpus_lost);
	/* Before the mutex is let go in the middle: nobody is to serve it. */
	wf_class_leave(a, class);
	while (class->first) {
		if (grants->n == WF_BATCH_MAX)
			return false;
		WF_DEBUG(wf_ext_request(class->first)->class == class);
		wf_ext_request(class->first)->refused = true;
		wf_admit_pass(rt, class->first, grants);
	}
	return true;
}

void wf_admit_gpu_lost(struct wf_local *self, uint32_t device)
{
	weft *rt = self->rt;
	struct wf_admit *a = rt->admit;
	bool again = true;

	while (again) {
		struct wf_grants grants;

		grants.n = 0;
		again = false;
		pthread_mutex_lock(&a->mutex);
		WF_CHECK(device < a->gpus);
		a->gpus_lost |= UINT64_C(1) << device;
		recount(a);
		for (uint32_t i = 0; i < a->table_size && !again; i++) {
			for (struct wf_class *c = a->table[i]; c && !again; c = c->next) {
				if (wf_shape_has_gpu(&c->shape))
					again = !refuse_class(rt, c, &grants);
			}
		}
		pthread_mutex_unlock(&a->mutex);
		wf_grants_send(self, &grants);
	}
	wf_places_lost(self);
}
