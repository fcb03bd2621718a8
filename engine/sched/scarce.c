/*
 * scarce.c: for the search for deadlocks: whether what a request waits for can ever come back.
 *
 * A task that waits in admission can go on when somebody gives back what it is short of. Who sleeps
 * and can never go on gives nothing back, nor does the actor whose call that is. So what those hold
 * is taken off what there is; when the rest is not enough, nothing that the engine knows of will
 * ever help.
 *
 * In favour of hope: what idle actors hold (whoever has a handle may let it go), what bundles hold
 * and requests in them, what is more than there is at all (it waits by choice, see weft_options.h),
 * requests of tasks with a deadline, and whatever goes beyond WAITING_MOST or HOLDERS_MOST.
 *
 * Shared: read under admit->mutex, from begin to end; the frames of sleepers under the locks of
 * their stacks, which the caller has. No order between those and the mutex but this one.
 */
#include <string.h>

#include "admit_state.h"

#define WAITING_MOST 64u
#define HOLDERS_MOST 256u

/* What a sleeper holds, or its actor. */
struct holding {
	uint32_t fiber;
	const struct wf_class *class;
	uint64_t gpus;
	const struct wf_kept *kept; /* the actor's; NULL: its own */
	uint32_t same;              /* the one before of the same actor, plus one; 0: none */
};

struct wf_scarce {
	struct wf_admit *a;
	const uint8_t *hopeful;
	uint32_t waiting, holders;
	struct {
		uint32_t cell;
		const struct wf_class *class;
	} wait[WAITING_MOST];
	struct holding hold[HOLDERS_MOST];
};

static bool has_deadline(const struct wf_ext *ext)
{
	const struct wf_more *more = wf_ext_more((struct wf_ext *)(uintptr_t)ext);

	return more && more->deadline.until;
}

/* Requests that wait, but for those in bundles and those that can never be met. */
static void note_waiting(struct wf_scarce *s)
{
	struct wf_admit *a = s->a;

	for (uint32_t i = 0; i < a->table_size; i++) {
		for (const struct wf_class *c = a->table[i]; c; c = c->next) {
			const struct wf_ext *ext = c->infeasible || c->pg ? NULL : c->first;

			for (; ext && s->waiting < WAITING_MOST;
			     ext = wf_ext_request((struct wf_ext *)(uintptr_t)ext)->next) {
				s->wait[s->waiting].cell = ext->cell;
				s->wait[s->waiting].class = c;
				s->waiting += !has_deadline(ext);
			}
		}
	}
	WF_DEBUG(s->waiting <= WAITING_MOST);
}

static void note_frame(struct wf_scarce *s, weft *rt, uint32_t fiber, const struct weft_task *frame)
{
	struct wf_ext *ext = frame->borrowed ? NULL : wf_cell_ext(frame->cell);
	const struct wf_request *request = ext ? wf_ext_request(ext) : NULL;
	const struct wf_kept *kept = ext && ext->call ? wf_call_kept(rt, ext) : NULL;
	struct holding *hold = &s->hold[s->holders];

	if (s->holders == HOLDERS_MOST)
		return;
	if (kept)
		*hold = (struct holding){ fiber, kept->class, kept->gpus, kept, s->holders };
	else if (request && request->state == WF_REQUEST_GRANTED)
		*hold = (struct holding){ fiber, request->class, request->gpus, NULL, 0 };
	else
		return;
	while (hold->same && s->hold[hold->same - 1].kept != kept)
		hold->same--;
	WF_DEBUG(hold->class);
	WF_DEBUG(hold->same <= s->holders);
	s->holders += !hold->class->pg;
}

struct wf_scarce *wf_scarce_begin(weft *rt, const uint8_t *hopeful, uint32_t fibers)
{
	struct wf_scarce *s = wf_calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->a = rt->admit;
	s->hopeful = hopeful;
	pthread_mutex_lock(&s->a->mutex);
	note_waiting(s);
	for (uint32_t i = 0; i < fibers && s->waiting; i++) {
		const struct wf_fiber_user *user = wf_fiber_user(wf_fiber_at(rt->stacks, i));

		for (const struct weft_task *frame = user->wait ? user->current : NULL; frame;
		     frame = frame->outer)
			note_frame(s, rt, i, frame);
	}
	WF_DEBUG(s->holders <= HOLDERS_MOST);
	return s;
}

void wf_scarce_end(struct wf_scarce *s)
{
	pthread_mutex_unlock(&s->a->mutex);
	wf_free(s);
}

/* Whether the i-th of them gives nothing back; of an actor only the first such call counts. */
static bool is_stuck(const struct wf_scarce *s, uint32_t i)
{
	const struct holding *hold = &s->hold[i];

	if (s->hopeful[hold->fiber])
		return false;
	for (uint32_t j = hold->same; j; j = s->hold[j - 1].same) {
		if (!s->hopeful[s->hold[j - 1].fiber])
			return false;
	}
	return true;
}

/* Of one resource, all that will ever be free. CPUs of sleepers are free while they sleep. */
static int64_t left_of(const struct wf_scarce *s, uint32_t res)
{
	int64_t left = s->a->total[res];

	for (uint32_t i = 0; i < s->holders; i++) {
		const struct wf_class *class = s->hold[i].class;

		if ((res == WF_RES_CPU && !class->shape.keeps) || !is_stuck(s, i))
			continue;
		left -= wf_need_of(&class->shape, res);
	}
	WF_DEBUG(res < WF_RES_MAX);
	return left;
}

/* Devices of which a share and memory will be free together. */
static int64_t devices_left(const struct wf_scarce *s, const struct wf_shape *shape)
{
	const struct wf_admit *a = s->a;
	int64_t wanted = wf_need_of(shape, WF_RES_SHARE), n = 0;

	wanted = wanted ? wanted : WF_FIXED;
	for (uint32_t d = 0; d < a->gpus; d++) {
		int64_t share = a->gpus_lost >> d & 1 ? 0 : WF_FIXED, bytes = a->gpu_mem[d];

		for (uint32_t i = 0; i < s->holders; i++) {
			const struct wf_shape *held = &s->hold[i].class->shape;
			int64_t part = wf_need_of(held, WF_RES_SHARE);

			if (!(s->hold[i].gpus >> d & 1) || !is_stuck(s, i))
				continue;
			share -= part ? part : WF_FIXED;
			bytes -= part ? wf_need_of(held, WF_RES_GPU_MEM) : bytes;
		}
		n += share >= wanted && bytes >= wf_need_of(shape, WF_RES_GPU_MEM);
	}
	WF_DEBUG(n <= a->gpus);
	return n;
}

/* The first resource of which too little will ever be free, or WF_RES_NONE. */
static uint32_t short_of(const struct wf_scarce *s, const struct wf_class *class)
{
	const struct wf_shape *shape = &class->shape;
	int64_t whole = wf_need_of(shape, WF_RES_GPU) / WF_FIXED;

	for (uint32_t i = 0; i < shape->n; i++) {
		const struct wf_need *need = &shape->need[i];

		if (need->res == WF_RES_COLLECT || need->res == WF_RES_GPU_MEM)
			continue;
		if (need->res == WF_RES_GPU || need->res == WF_RES_SHARE) {
			if (devices_left(s, shape) < (whole ? whole : 1))
				return WF_RES_GPU;
		} else if (left_of(s, need->res) < need->amount) {
			return need->res;
		}
	}
	return WF_RES_NONE;
}

bool wf_scarce_hopeful(const struct wf_scarce *s, uint32_t cell)
{
	for (uint32_t i = 0; i < s->waiting; i++) {
		if (s->wait[i].cell == cell)
			return short_of(s, s->wait[i].class) == WF_RES_NONE;
	}
	return true;
}

const char *wf_scarce_of(const struct wf_scarce *s)
{
	static const char *const names[] = { "CPU", "CPU", "GPU", "GPU", "GPU memory", "memory" };
	uint32_t res = WF_RES_NONE;

	for (uint32_t i = 0; i < s->waiting && res == WF_RES_NONE; i++)
		res = short_of(s, s->wait[i].class);
	if (res == WF_RES_NONE)
		return NULL;
	WF_DEBUG(res < WF_RES_MAX);
	return res < WF_RES_NAMED ? names[res] : s->a->names[res - WF_RES_NAMED];
}
