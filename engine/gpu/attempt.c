/*
 * attempt.c: an attempt at its devices: what the body finds there, what it may do, and its end.
 *
 * Owned by the runner, all of it: a struct wf_gpu_run lies on the stack of the attempt. The context
 * is a thread's, so whenever the task leaves its thread to wait, the context is left, and entered
 * again where the task goes on.
 */
#include <errno.h>
#include <string.h>

#include "admit_state.h"
#include "gpu.h"

/* ---- The current device ---------------------------------------------------------------------- */

static struct wf_gpu *gpu_of(const struct wf_gpu_run *run, uint32_t i)
{
	WF_DEBUG(i < run->n);
	return &run->gpus->gpu[run->part[i].device];
}

static int enter(struct wf_gpu_run *run)
{
	struct wf_gpus *gpus = run->gpus;
	int rc = gpus->ops->device_enter(gpus->backend, run->part[run->used].device);

	run->inside = !rc;
	return wf_gpu_status(gpu_of(run, run->used), rc);
}

static void leave(struct wf_gpu_run *run)
{
	struct wf_gpus *gpus = run->gpus;

	if (!run->inside)
		return;
	run->inside = false;
	int rc = gpus->ops->device_leave(gpus->backend, run->part[run->used].device);

	if (rc == -EPERM)
		weft_log(run->frame, WEFT_LOG_ERROR,
		         "the body has left another device current than its own, %u",
		         run->part[run->used].device);
	else
		(void)wf_gpu_status(gpu_of(run, run->used), rc);
}

/* A grant as an attempt sees it: its task's own, or that of the actor whose call it is. */
struct grant {
	const struct wf_class *class;
	uint64_t gpus; /* 0: none */
	struct wf_gpu_run **run;
	uint16_t stream; /* that comes with it, plus one */
};

static struct grant grant_of(const struct weft_task *frame)
{
	struct wf_ext *ext = wf_cell_ext(frame->cell);
	struct wf_kept *kept = ext && ext->call ? wf_call_devices(frame->rt, ext) : NULL;
	struct wf_request *request = ext ? wf_ext_request(ext) : NULL;

	if (kept)
		return (struct grant){ kept->class, kept->gpus, &kept->run, 0 };
	/* Whoever asks for an actor only takes it. */
	if (!request || request->class->shape.keeps)
		return (struct grant){ NULL, 0, NULL, 0 };
	return (struct grant){ request->class, request->gpus, &request->run, request->stream };
}

bool wf_gpu_wanted(const struct weft_task *frame)
{
	return WF_UNLIKELY(frame->rt->gpus != NULL) && grant_of(frame).gpus;
}

static struct wf_gpu_run *run_of(const struct weft_task *frame)
{
	struct wf_ext *ext =
		frame && !frame->borrowed && frame->rt->gpus ? wf_cell_ext(frame->cell) : NULL;
	const struct wf_kept *kept = ext && ext->call ? wf_call_devices(frame->rt, ext) : NULL;
	const struct wf_request *request = ext ? wf_ext_request(ext) : NULL;

	/* Nothing else of them: who waits for a grant again may be given it right now. */
	if (kept)
		return kept->run;
	return request ? request->run : NULL;
}

struct wf_ext *wf_gpu_leave(struct weft_task *frame)
{
	struct wf_gpu_run *run = run_of(frame);

	if (!run || !run->inside)
		return NULL;
	leave(run);
	return wf_cell_ext(frame->cell);
}

void wf_gpu_back(const struct weft_task *frame)
{
	struct wf_gpu_run *run = run_of(frame);

	/* A device that was lost meanwhile says so at the next call. */
	if (run && run->used != UINT32_MAX && !run->inside)
		(void)enter(run);
}

/* ---- Begin and end --------------------------------------------------------------------------- */

static int run_begin(struct wf_gpu_run *run, struct weft_task *frame, const struct grant *grant)
{
	struct wf_request *request = wf_ext_request(wf_cell_ext(frame->cell));
	uint64_t gpus = grant->gpus;
	int rc = 0;

	WF_CHECK(gpus && (!request || request->state == WF_REQUEST_GRANTED));
	memset(run, 0, sizeof(*run));
	run->gpus = frame->rt->gpus;
	run->frame = frame;
	run->part = &run->one;
	run->n = (uint32_t)__builtin_popcountll(gpus);
	if (run->n > 1)
		run->part = wf_calloc(run->n, sizeof(*run->part));
	if (!run->part)
		return -ENOMEM;
	for (uint32_t i = 0, device = 0; i < run->n && !rc; i++, device++) {
		while (!(gpus >> device & 1))
			device++;
		run->part[i].device = device;
		run->part[i].budget = wf_admit_gpu_mem(frame->rt, grant->class, device);
		rc = wf_gpu_part_take(&run->gpus->gpu[device], &run->part[i],
		                      grant->stream ? grant->stream - 1u : UINT32_MAX);
		if (!rc)
			rc = wf_gpu_wait_inputs(run, &run->part[i]);
	}
	if (request)
		request->stream = 0;
	WF_DEBUG(!run->used && !run->inside);
	if (!rc)
		rc = enter(run);
	return rc;
}

/* Give the attempt's memory back, at this point of the stream. */
static void free_pieces(struct wf_gpu_run *run, struct wf_gpu_part *part)
{
	struct wf_gpus *gpus = run->gpus;

	WF_DEBUG(!part->pieces == !part->used);
	WF_DEBUG(!part->held || part->uses);
	while (part->pieces) {
		struct wf_gpu_piece *piece = part->pieces;
		int rc = gpus->ops->memory_free(gpus->backend, part->queue, piece->address);

		if (rc)
			weft_log(run->frame, WEFT_LOG_ERROR,
			         "%llu bytes of device %u cannot be freed: %s",
			         (unsigned long long)piece->bytes, part->device, weft_strerror(rc));
		WF_CHECK(part->used >= piece->bytes);
		part->used -= piece->bytes;
		part->pieces = piece->next;
		wf_free(piece);
	}
}

static void run_end(struct wf_gpu_run *run)
{
	for (uint32_t i = 0; run->part && i < run->n; i++) {
		if (run->part[i].queue)
			wf_gpu_part_give(gpu_of(run, i), &run->part[i]);
	}
	if (run->part != &run->one)
		wf_free(run->part);
	run->part = NULL;
}

/* The code of an attempt whose device is lost, with the cause on record. */
static int fail_lost(struct wf_gpu_run *run)
{
	struct weft_task *frame = run->frame;
	const struct wf_gpu *gpu = &run->gpus->gpu[0];

	WF_DEBUG(run->n && !run->inside);

	for (uint32_t i = 0; i < run->n; i++) {
		if (wf_gpu_is_lost(gpu_of(run, i)))
			gpu = gpu_of(run, i);
	}
	wf_frame_set_error(frame,
	                   wf_error_create(&(struct wf_error_args){
				   .status = WEFT_EDEVICE,
				   .code = WEFT_EDEVICE,
				   .attempt = weft_task_attempt(frame),
				   .text = gpu->failure,
				   .task = wf_task_name(frame->cell, frame->fn),
				   .site = wf_task_site(wf_cell_ext(frame->cell)) }));
	return WEFT_EDEVICE;
}

static bool any_lost(const struct wf_gpu_run *run)
{
	bool lost = false;

	for (uint32_t i = 0; i < run->n && !lost; i++)
		lost = wf_gpu_is_lost(gpu_of(run, i));
	return lost;
}

/* What the attempt comes to: the body's own failure, then that of the work. */
static int outcome(struct wf_gpu_run *run, int code, int rc)
{
	if ((code >= 0 && rc == WEFT_EDEVICE) || (code == WEFT_EDEVICE && any_lost(run)))
		return fail_lost(run);
	if (code < 0 || !rc)
		return code;
	return weft_fail(run->frame, rc, "work on a device failed: %s", weft_strerror(rc));
}

/* In debug builds: has this body, or one beside it, given work to a stream that is nobody's? */
static void look_for_strays(struct wf_gpu_run *run)
{
#ifndef NDEBUG
	struct wf_gpus *gpus = run->gpus;

	WF_CHECK(run->n && !run->inside);
	for (uint32_t i = 0; i < run->n && WF_DEVICE_HAS(gpus->ops, default_idle); i++) {
		uint32_t device = run->part[i].device;
		int rc = gpus->ops->default_idle(gpus->backend, device);

		if (rc == -EBUSY)
			weft_log(run->frame, WEFT_LOG_ERROR,
			         "work is in the default stream of device %u: a body has not used "
			         "the stream of its grant",
			         device);
		else
			(void)wf_gpu_status(gpu_of(run, i), rc);
	}
#else
	(void)run;
#endif
}

int wf_gpu_attempt(struct weft_task *frame)
{
	struct grant grant = grant_of(frame);
	struct wf_gpu_run run;
	int rc = run_begin(&run, frame, &grant), code;

	/* Of an actor that holds devices one call runs at a time. */
	WF_CHECK(!*grant.run && wf_self()->current == frame);

	if (!rc) {
		*grant.run = &run;
		code = wf_body_call(frame);
		wf_gpu_record_drop(&run);
		leave(&run);
		look_for_strays(&run);
		for (uint32_t i = 0; i < run.n; i++)
			free_pieces(&run, &run.part[i]);
		WF_DEBUG(!run.inside);
		run.used = UINT32_MAX;
		run.code = code;
		rc = wf_gpu_await(frame->rt, &run, run.part, run.n);
		for (uint32_t i = 0; i < run.n; i++)
			wf_gpu_uses_end(run.gpus, &run.part[i]);
		*grant.run = NULL;
		code = outcome(&run, code, rc);
	} else if (rc == WEFT_EDEVICE) {
		code = fail_lost(&run);
	} else {
		code = weft_fail(frame, rc, "no stream or event of a device: %s",
		                 weft_strerror(rc));
	}
	run_end(&run);
	return code;
}

/* ---- Requests -------------------------------------------------------------------------------- */

struct wf_error *wf_gpu_refusal(weft *rt, const struct wf_cell *cell)
{
	const char *text = "the devices are lost";

	for (uint32_t i = 0; rt->gpus && i < rt->gpus->count; i++) {
		if (wf_gpu_is_lost(&rt->gpus->gpu[i]))
			text = rt->gpus->gpu[i].failure;
	}
	return wf_error_create(&(struct wf_error_args){ .status = WEFT_EDEVICE,
	                                                .code = WEFT_EDEVICE,
	                                                .text = text,
	                                                .task = wf_task_name(cell, cell->u.fn),
	                                                .site = wf_task_site(wf_cell_ext(cell)) });
}

bool wf_gpu_grant_lost(const weft *rt, const struct wf_request *request)
{
	bool lost = false;

	for (uint32_t i = 0; rt->gpus && i < rt->gpus->count && !lost; i++)
		lost = request->gpus >> i & 1 && wf_gpu_is_lost(&rt->gpus->gpu[i]);
	return lost;
}

/* ---- The doors of a body --------------------------------------------------------------------- */

struct wf_gpu_part *wf_gpu_part_of(weft_task *self, struct wf_gpu_run **run)
{
	*run = run_of(self);
	if (!*run || (*run)->used == UINT32_MAX)
		return NULL;
	return &(*run)->part[(*run)->used];
}

int weft_cuda_grant(weft_task *self, uint32_t i, struct weft_cuda_grant *grant)
{
	struct wf_gpu_run *run;

	if (!self || !grant || grant->struct_size < sizeof(size_t) || grant->struct_size > 4096 ||
	    !wf_gpu_part_of(self, &run) || i >= run->n)
		return -EINVAL;
	const struct wf_gpu_part *part = &run->part[i];
	int64_t share = wf_need_of(&grant_of(self).class->shape, WF_RES_SHARE);
	struct weft_cuda_grant full = { .struct_size = grant->struct_size,
		                        .device = part->device,
		                        .stream = run->gpus->ops->stream_native(run->gpus->backend,
		                                                                part->queue),
		                        .share = share ? (double)share / WF_FIXED : 1,
		                        .memory = part->budget,
		                        .memory_used = part->used + part->held };

	WF_DEBUG(part->used + part->held <= part->budget);
	memcpy(grant, &full, full.struct_size < sizeof(full) ? full.struct_size : sizeof(full));
	return 0;
}

void *weft_cuda_stream(weft_task *self)
{
	struct wf_gpu_run *run;
	struct wf_gpu_part *part = self ? wf_gpu_part_of(self, &run) : NULL;

	return part ? run->gpus->ops->stream_native(run->gpus->backend, part->queue) : NULL;
}

int weft_cuda_use(weft_task *self, uint32_t i)
{
	struct wf_gpu_run *run;

	if (!self || !wf_gpu_part_of(self, &run) || i >= run->n || run->recording)
		return -EINVAL;
	uint32_t before = run->used;

	WF_DEBUG(before < run->n);

	leave(run);
	run->used = i;
	int rc = enter(run);

	if (rc) {
		run->used = before;
		(void)enter(run);
	}
	WF_DEBUG(run->used < run->n);
	return rc;
}

int wf_gpu_run_settle(struct wf_gpu_run *run, struct wf_gpu *gpu, uint32_t stream,
                      struct wf_device_event *event)
{
	WF_DEBUG(run->used < run->n);
	leave(run);
	int rc = wf_gpu_settle(gpu, stream, event);
	int back = enter(run);

	return rc ? rc : back;
}

int wf_gpu_piece(struct wf_gpu_run *run, struct wf_gpu_part *part, uint64_t bytes,
                 struct wf_gpu_piece **out)
{
	if (bytes > wf_gpu_budget_left(part))
		return -ENOMEM;
	struct wf_gpu_piece *piece = wf_malloc(sizeof(*piece));

	if (!piece)
		return -ENOMEM;
	*piece = (struct wf_gpu_piece){ .bytes = bytes };
	int rc = wf_gpu_room(run, part, part->stream, bytes, &piece->address);

	if (rc) {
		wf_free(piece);
		return rc;
	}
	piece->next = part->pieces;
	part->pieces = piece;
	part->used += bytes;
	WF_CHECK(part->used + part->held <= part->budget && piece->address);
	*out = piece;
	return 0;
}

int weft_cuda_alloc(weft_task *self, size_t bytes, uint64_t *address)
{
	struct wf_gpu_run *run;
	struct wf_gpu_part *part = self && address && bytes ? wf_gpu_part_of(self, &run) : NULL;
	struct wf_gpu_piece *piece;

	if (!part)
		return -EINVAL;
	int rc = wf_gpu_piece(run, part, bytes, &piece);

	if (!rc)
		*address = piece->address;
	return rc;
}

/* A body that is cancelled while it waits learns it as everywhere. */
static int told(int rc)
{
	return rc == -EINTR ? -ECANCELED : rc;
}

int weft_cuda_copy_in(weft_task *self, uint64_t to, const void *from, size_t bytes)
{
	struct wf_gpu_run *run;
	struct wf_gpu_part *part = self ? wf_gpu_part_of(self, &run) : NULL;

	if (!part || (bytes && (!to || !from)))
		return -EINVAL;
	struct wf_gpu *gpu = gpu_of(run, run->used);
	bool pinned = !bytes || wf_gpu_is_pinned(run->gpus, from, bytes);

	if (run->recording)
		return pinned ? wf_gpu_record_copy(run, WF_DEVICE_STEP_UP, to,
		                                   (void *)(uintptr_t)from, bytes)
			      : -EINVAL;
	if (!pinned)
		return told(wf_gpu_upload(gpu, part->stream, to, from, bytes));
	return wf_gpu_status(
		gpu,
		run->gpus->ops->copy_to_device(run->gpus->backend, part->queue, to, from, bytes));
}

int weft_cuda_copy_out(weft_task *self, void *to, uint64_t from, size_t bytes)
{
	struct wf_gpu_run *run;
	struct wf_gpu_part *part = self ? wf_gpu_part_of(self, &run) : NULL;

	if (!part || (bytes && (!to || !from)))
		return -EINVAL;
	struct wf_gpu *gpu = gpu_of(run, run->used);
	bool pinned = !bytes || wf_gpu_is_pinned(run->gpus, to, bytes);

	if (run->recording)
		return pinned ? wf_gpu_record_copy(run, WF_DEVICE_STEP_DOWN, from, to, bytes)
			      : -EINVAL;
	if (pinned)
		return wf_gpu_status(gpu,
		                     run->gpus->ops->copy_to_host(run->gpus->backend, part->queue,
		                                                  to, from, bytes));
	/* What is in the stream before may take long: no pinned memory is held meanwhile. */
	int rc = wf_gpu_run_settle(run, gpu, part->stream, NULL);

	return told(rc ? rc : wf_gpu_download(gpu, part->stream, to, from, bytes));
}
