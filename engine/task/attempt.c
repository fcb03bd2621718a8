/*
 * attempt.c: what a body has around it: memory of the attempt, further attempts, inherited things,
 * the random stream, injected faults.
 *
 * A task that is tried again stays on its stack: between two attempts it sleeps there like any
 * blocked task, so that a cancel finds it, while its resources (not its inputs) are others'. A call
 * of an actor leaves its stack and its actor instead (wf_call_leave()), unless it is an init or a
 * fini, or memory is short.
 *
 * Shared: plus->children, added to by forks of the body on other workers. Everything else of a
 * struct wf_plus and a struct wf_side belongs to the runner; a context is counted and never
 * changes.
 */
#include "attempt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu.h"
#include "options.h"

#define FAULT_ATTEMPTS    2 /* of a task; later ones are spared */
#define FAULT_POINT_BYTES 256

/* ---- The side of a frame ------------------------------------------------------------------- */

static struct wf_side *side_make(struct weft_task *frame)
{
	struct wf_side *side = wf_frame_side(frame);

	if (side)
		return side;
	side = wf_malloc(sizeof(*side));
	if (!side)
		return NULL;
	*side = (struct wf_side){ .error = frame->error };
	side->chunks.next = side->chunks.prev = &side->chunks;
	WF_CHECK(!((uintptr_t)side & 1));
	frame->error = (struct wf_error *)((uintptr_t)side | 1);
	return side;
}

void wf_frame_set_error(struct weft_task *frame, struct wf_error *error)
{
	struct wf_side *side = wf_frame_side(frame);
	struct wf_error **at = side ? &side->error : &frame->error;

	wf_error_release(*at);
	*at = error;
}

struct wf_error *wf_frame_take_error(struct weft_task *frame)
{
	struct wf_side *side = wf_frame_side(frame);
	struct wf_error **at = side ? &side->error : &frame->error;
	struct wf_error *error = *at;

	*at = NULL;
	return error;
}

void wf_frame_clear(struct weft_task *frame)
{
	struct wf_side *side = wf_frame_side(frame);

	wf_frame_set_error(frame, NULL);
	if (!side)
		return;
	frame->error = NULL;
	while (side->chunks.next != &side->chunks) {
		struct wf_chunk *chunk = side->chunks.next;

		side->chunks.next = chunk->next;
		wf_free(chunk);
	}
	wf_free(side);
}

/* ---- Memory -------------------------------------------------------------------------------- */

static struct wf_plus *plus_of(const struct weft_task *frame)
{
	return wf_cell_ext(frame->cell) ? wf_ext_plus(wf_cell_ext(frame->cell)) : NULL;
}

static void *chunk_add(struct wf_side *side, size_t size, bool counted)
{
	struct wf_chunk *chunk =
		size <= SIZE_MAX - sizeof(*chunk) ? wf_malloc(sizeof(*chunk) + size) : NULL;

	if (!chunk)
		return NULL;
	*chunk = (struct wf_chunk){ .next = side->chunks.next,
		                    .prev = &side->chunks,
		                    .size = size,
		                    .counted = counted ? size : 0 };
	chunk->next->prev = chunk;
	side->chunks.next = chunk;
	side->used += chunk->counted;
	return chunk + 1;
}

void *wf_frame_keep(struct weft_task *frame, size_t size)
{
	struct wf_side *side = side_make(frame);

	return side ? chunk_add(side, size, false) : NULL;
}

static int over_limit(weft_task *self, size_t size, uint64_t used, uint64_t limit)
{
	char text[160];

	snprintf(text, sizeof(text), "%llu bytes beside %llu are more than the task's memory, %llu",
	         (unsigned long long)size, (unsigned long long)used, (unsigned long long)limit);
	wf_frame_set_error(self,
	                   wf_error_create(&(struct wf_error_args){
				   .status = WEFT_EOOM,
				   .code = WEFT_EOOM,
				   .attempt = weft_task_attempt(self),
				   .text = text,
				   .task = wf_task_name(self->cell, self->fn),
				   .site = wf_task_site(wf_cell_ext(self->cell)) }));
	return WEFT_EOOM;
}

int weft_task_alloc(weft_task *self, size_t size, void **out)
{
	const struct wf_plus *plus = plus_of(self);
	struct wf_side *side = out && !self->borrowed ? side_make(self) : NULL;

	if (!out || self->borrowed)
		return -EINVAL;
	if (!side)
		return -ENOMEM;
	if (plus && plus->memory && (size > plus->memory || side->used > plus->memory - size))
		return over_limit(self, size, side->used, plus->memory);
	WF_DEBUG(!plus || !plus->memory || side->used <= plus->memory);
	void *data = chunk_add(side, size, true);

	if (!data)
		return -ENOMEM;
	if (plus && plus->memory && side->used > plus->memory_soft && !side->warned) {
		side->warned = true;
		weft_log(self, WEFT_LOG_WARN, "it holds %llu of its %llu bytes of memory",
		         (unsigned long long)side->used, (unsigned long long)plus->memory);
	}
	*out = data;
	return 0;
}

void weft_task_free(weft_task *self, void *p)
{
	struct wf_side *side = wf_frame_side(self);

	if (!p)
		return;
	struct wf_chunk *chunk = (struct wf_chunk *)p - 1;

	WF_CHECK(side && chunk->next->prev == chunk && chunk->prev->next == chunk);
	chunk->next->prev = chunk->prev;
	chunk->prev->next = chunk->next;
	side->used -= chunk->counted;
	wf_free(chunk);
}

/* ---- What is passed on --------------------------------------------------------------------- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t z = a + UINT64_C(0x9e3779b97f4a7c15) * (b + 1);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return z ? z : 1; /* 0 is none */
}

void wf_blob_release(struct wf_blob *blob)
{
	/* acq_rel [B2]: the others' reads are over before it is freed. */
	if (blob && wf_add_acq_rel(&blob->refs, (uint32_t)-1) == 0)
		wf_free(blob);
}

static struct wf_blob *blob_make(const void *data, size_t size)
{
	struct wf_blob *blob = wf_malloc(sizeof(*blob) + size);

	WF_DEBUG(size <= WEFT_CONTEXT_MAX);
	if (!blob)
		return NULL;
	wf_init(&blob->refs, 0);
	blob->size = (uint32_t)size;
	memcpy(blob->data, data, size);
	return blob;
}

struct wf_legacy wf_legacy_of(struct wf_local *self, const struct wf_setup *setup)
{
	struct weft_task *frame = self->current;
	struct wf_plus *parent = frame && frame->rt == self->rt ? plus_of(frame) : NULL;
	struct wf_legacy legacy = { .context = parent ? parent->context : NULL };
	weft *rt = self->rt;

	if (setup && setup->legacy)
		return *setup->legacy;
	if (setup && setup->o.seed)
		legacy.identity = mix(rt->seed, setup->o.seed);
	else if (parent && parent->identity)
		/* relaxed: forks of one body draw different numbers, in no order. */
		legacy.identity = mix(parent->identity, wf_add_relaxed(&parent->children, 1));
	else if (rt->seeded)
		/* relaxed: as above. */
		legacy.identity = mix(rt->seed, wf_add_relaxed(&rt->roots, 1));
	return legacy;
}

bool wf_plus_init(struct wf_plus *plus, const struct wf_setup *setup,
                  const struct wf_legacy *legacy)
{
	const struct weft_task_options *o = setup ? &setup->o : NULL;

	memset(plus, 0, sizeof(*plus));
	plus->identity = legacy->identity;
	plus->context = legacy->context;
	if (o && o->context)
		plus->context = blob_make(o->context, o->context_size);
	else if (plus->context)
		/* relaxed: the parent holds it meanwhile. */
		wf_add_relaxed(&plus->context->refs, 1);
	if (o && o->context && !plus->context)
		return false;
	if (!o)
		return true;
	plus->retries = o->retries;
	plus->memory_retries = o->memory_retries;
	plus->backoff_ns = o->backoff_ns;
	plus->backoff_max_ns = o->backoff_max_ns;
	plus->memory = o->memory;
	plus->memory_soft = o->memory_soft;
	plus->n_retry_on = o->n_retry_on;
	WF_CHECK(plus->n_retry_on <= WEFT_RETRY_ON_MAX);
	for (uint32_t i = 0; i < o->n_retry_on; i++)
		plus->retry_on[i] = o->retry_on[i];
	return true;
}

void wf_plus_fini(struct wf_plus *plus)
{
	wf_blob_release(plus->context);
	wf_error_release(plus->last_error);
	wf_free(plus->checkpoint);
	plus->context = NULL;
	plus->last_error = NULL;
	plus->checkpoint = NULL;
}

const void *weft_task_context(const weft_task *self, size_t *size)
{
	const struct wf_plus *plus = plus_of(self);
	const struct wf_blob *blob = plus ? plus->context : NULL;

	if (size)
		*size = blob ? blob->size : 0;
	return blob ? blob->data : NULL;
}

#define MODE_GIVING  1u
#define MODE_COUNTED 2u
#define MODE_GROUP   4u /* and << WF_FIBER_GROUP the one before */
#define MODE_KEPT    8u

/* A body of a group begins on this stack: it parks as one, and its time is the group's. */
static uint32_t group_begin(struct wf_local *self, uint32_t group)
{
	struct wf_fiber_user *user = wf_fiber_user(self->fiber);
	uint32_t before = user->bound & ~WF_BOUND_MASK;

	user->bound = (user->bound & WF_BOUND_MASK) | group << WF_FIBER_GROUP;
	if (self->worker)
		wf_group_switch(wf_worker_of(self), group);
	return before;
}

uint32_t wf_bodies_begin(struct wf_local *self, struct wf_ext *ext)
{
	const struct wf_request *request = wf_ext_request(ext);
	const struct wf_plus *plus = wf_ext_plus(ext);
	struct wf_fiber_user *user = self->fiber ? wf_fiber_user(self->fiber) : NULL;
	uint32_t modes = plus && (plus->context || plus->identity) ? MODE_GIVING : 0;
	bool stolen = self->current && self->current->borrowed;
	/* Of the actor, when this is not the stack of its turn, which knows. */
	const struct wf_kept *kept = ext->call && stolen ? wf_call_kept(self->rt, ext) : NULL;

	/* A fork that was stolen runs on a worker of its own. */
	if (((request && (request->cpus || (request->gpus && self->rt->gpus))) ||
	     (ext->call && self->rt->gpus && wf_call_devices(self->rt, ext))) &&
	    !stolen)
		modes |= MODE_COUNTED;
	WF_DEBUG(ext->parts || ext->call);
	if ((request && request->capture) || (kept && kept->captures))
		modes |= MODE_GIVING;
	if (((request && request->kept) || (kept && kept->stays)) && user &&
	    !(user->bound & WF_FIBER_KEPT))
		modes |= MODE_KEPT;
	if (ext->parts & WF_PART_GROUP)
		modes |= MODE_GIVING | MODE_GROUP;
	if (!user || !modes)
		return 0;
	if (modes & MODE_GROUP)
		modes |= group_begin(self, wf_cell_group(&self->rt->cells[ext->cell]));
	user->bound |= modes & MODE_KEPT ? WF_FIBER_KEPT : 0;
	user->giving += modes & MODE_GIVING;
	user->counted += (modes & MODE_COUNTED) / MODE_COUNTED;
	wf_fiber_modes(self);
	return modes;
}

void wf_bodies_end(struct wf_local *self, uint32_t modes, struct wf_fiber *fiber)
{
	if (!modes)
		return;
	struct wf_fiber_user *user = wf_fiber_user(fiber);

	WF_DEBUG(user->giving >= (modes & MODE_GIVING));
	user->giving -= modes & MODE_GIVING;
	user->counted -= (modes & MODE_COUNTED) / MODE_COUNTED;
	if (modes & MODE_GROUP)
		user->bound =
			(user->bound & WF_BOUND_MASK) | (modes >> WF_FIBER_GROUP << WF_FIBER_GROUP);
	if (modes & MODE_KEPT)
		user->bound &= ~WF_FIBER_KEPT;
	/* A body may have left its worker: then this is a guest, which has no modes. */
	if (self->fiber)
		wf_fiber_modes(self);
}

/* ---- Random numbers ------------------------------------------------------------------------ */

uint64_t weft_task_random(weft_task *self)
{
	struct wf_plus *plus = plus_of(self);

	if (plus && plus->identity && !self->borrowed)
		return wf_random_next(&plus->random);
	return wf_random_next(&wf_self()->random);
}

int weft_task_seed(weft_task *self, uint8_t seed[32])
{
	const struct wf_plus *plus = plus_of(self);

	if (!seed)
		return -EINVAL;
	if (!plus || !plus->identity)
		return -ENODATA;
	for (uint64_t i = 0; i < 4; i++) {
		uint64_t word = mix(~plus->identity, i);

		/* Byte by byte: the same on every machine. */
		for (uint32_t j = 0; j < 8; j++)
			seed[8 * i + j] = (uint8_t)(word >> 8 * j);
	}
	return 0;
}

/* ---- Injected faults ----------------------------------------------------------------------- */

int wf_faults_create(weft *rt)
{
	const struct weft_options *o = &rt->options;
	size_t length = o->fault_points ? strlen(o->fault_points) : 0;
	double below = o->fault_rate * 18446744073709551616.0;

	if (o->fault_rate == 0)
		return 0;
	struct wf_faults *faults = wf_calloc(1, sizeof(*faults) + length + 3);

	if (!faults)
		return -ENOMEM;
	WF_CHECK(o->fault_rate > 0 && o->fault_rate <= 1);
	faults->below = o->fault_rate >= 1 ? UINT64_MAX : (uint64_t)below;
	faults->seed = o->fault_seed ? o->fault_seed : mix(rt->seed, 77);
	if (length)
		snprintf(faults->points, length + 3, ",%s,", o->fault_points);
	rt->faults = faults;
	rt->options.fault_points = NULL;
	return 0;
}

static bool point_named(const struct wf_faults *faults, const char *name)
{
	char text[FAULT_POINT_BYTES];

	if (!faults->points[0])
		return true;
	int n = snprintf(text, sizeof(text), ",%s,", name);

	return n > 0 && n < (int)sizeof(text) && strstr(faults->points, text);
}

static uint64_t draw(weft_task *self, struct wf_faults *faults, const char *name)
{
	struct wf_plus *plus = plus_of(self);
	uint64_t at = 0;

	if (!plus || !plus->identity)
		/* relaxed: any order will do. */
		return mix(faults->seed, wf_add_relaxed(&faults->draws, 1));
	for (; *name; name++)
		at = at * 31 + (unsigned char)*name;
	at = mix(mix(faults->seed, plus->identity), at);
	return mix(mix(at, plus->failures), plus->fault_calls++);
}

static int fault_at(weft_task *self, const char *name)
{
	struct wf_faults *faults = self->rt->faults;

	if (!faults || weft_task_attempt(self) > FAULT_ATTEMPTS || !point_named(faults, name) ||
	    draw(self, faults, name) > faults->below)
		return 0;
	wf_bump(&wf_self()->count.faults);
	return weft_fail(self, -EIO, "injected fault at %s", name);
}

int weft_fault_point(weft_task *self, const char *name)
{
	if (!name || self->borrowed)
		return -EINVAL;
	return fault_at(self, name);
}

/* ---- Attempts ------------------------------------------------------------------------------ */

int wf_attempt_begin(struct weft_task *frame)
{
	struct wf_plus *plus = plus_of(frame);

	if (plus) {
		/* relaxed: nobody runs yet. */
		wf_store_relaxed(&plus->children, 0);
		plus->fault_calls = 0;
		if (plus->identity)
			wf_random_init(&plus->random, plus->identity);
	}
	const struct wf_ext *ext = wf_cell_ext(frame->cell);

	/* The library's own tasks are no part of what is tested: somebody relies on their end. */
	return frame->rt->faults && !(ext && ext->flags & WF_EXT_ALWAYS) ? fault_at(frame, "start")
									 : 0;
}

static bool retried(const struct wf_plus *plus, int code)
{
	if (!plus->n_retry_on)
		return true;
	for (uint32_t i = 0; i < plus->n_retry_on; i++) {
		if (plus->retry_on[i] == code)
			return true;
	}
	return false;
}

bool wf_attempt_again(struct weft_task *frame, int code)
{
	struct wf_plus *plus = plus_of(frame);
	const struct wf_error *error = wf_frame_error(frame);
	bool memory = error && error->pub.status == WEFT_EOOM;

	if (!plus || wf_task_stopping(frame))
		return false;
	if (memory ? !plus->memory_retries : !plus->retries || !retried(plus, code))
		return false;
	if (memory) {
		plus->memory_retries--;
		plus->memory *= 2;
		plus->memory_soft *= 2;
	} else if (plus->retries != WEFT_RETRIES_FOREVER) {
		plus->retries--;
	}
	plus->failures++;
	wf_error_release(plus->last_error);
	plus->last_error = wf_body_error(frame, code);
	WF_CHECK(plus->last_error);
	wf_frame_clear(frame);
	wf_bump(&wf_self()->count.retried);
	return true;
}

int64_t wf_attempt_backoff(const struct wf_plus *plus)
{
	int64_t ns = plus->backoff_ns;

	for (uint32_t i = 1; i < plus->failures && ns < plus->backoff_max_ns; i++)
		ns *= 2;
	return ns < plus->backoff_max_ns ? ns : plus->backoff_max_ns;
}

static WF_SUSPENDS int wait_between(struct weft_task *frame)
{
	struct wf_ext *ext = wf_cell_ext(frame->cell);
	struct wf_plus *plus = wf_ext_plus(ext);
	const struct wf_request *request = wf_ext_request(ext);
	int64_t ns = wf_attempt_backoff(plus);
	bool memory = plus->last_error->pub.status == WEFT_EOOM;
	int rc = 0;

	/* What is taken again at once is not given back. */
	if (!request || (!memory && !ns && !wf_gpu_grant_lost(frame->rt, request)))
		return ns ? weft_sleep_until(frame->rt, wf_clock_now(&frame->rt->clock) + ns) : 0;
	WF_DEBUG(plus->failures > 0);
	wf_admit_pause(wf_self(), ext);
	if (ns)
		rc = weft_sleep_until(frame->rt, wf_clock_now(&frame->rt->clock) + ns);
	return rc ? rc : wf_admit_again(frame, (int64_t)plus->memory);
}

int wf_attempt_wait(struct weft_task *frame)
{
	struct wf_local *self = wf_self();

	/* As the task that it is, so that it can be found and cancelled. */
	WF_CHECK(self->current != frame && !frame->error);
	frame->outer = self->current;
	self->current = frame;
	int rc = wait_between(frame);

	wf_self()->current = frame->outer;
	if (!rc && wf_task_stopping(frame))
		rc = -ECANCELED;
	return rc == -EINTR ? -ECANCELED : rc;
}
