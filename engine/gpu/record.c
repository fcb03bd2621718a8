/*
 * record.c: what bodies give to a device, noted instead of done, and built into a graph.
 *
 * Explicit: each of our own calls notes its step, with its arguments copied, and the graph is built
 * of the steps at the end. Nothing of the device is in a special state meanwhile, so neither other
 * threads nor other libraries can spoil a recording, or find themselves in it.
 *
 * Owned by the attempt: a recording that is not ended goes with it.
 */
#include <errno.h>
#include <string.h>

#include "gpu.h"

#define STEPS_MAX 65536u

struct step {
	struct step *next;
	struct wf_device_step what;
	WF_ALIGNED(16) unsigned char memory[]; /* of a launch: pointers, sizes, values */
};

struct wf_gpu_recording {
	uint32_t part; /* of the attempt's */
	uint32_t count;
	struct step *first, **end;
};

static struct step *step_add(struct wf_gpu_recording *r, size_t memory)
{
	struct step *step =
		r->count < STEPS_MAX ? wf_aligned_alloc(16, sizeof(*step) + memory) : NULL;

	if (!step)
		return NULL;
	memset(step, 0, sizeof(*step));
	*r->end = step;
	r->end = &step->next;
	r->count++;
	WF_DEBUG(r->count <= STEPS_MAX);
	return step;
}

static size_t arg_bytes(const struct wf_device_launch *launch, uint32_t i)
{
	return launch->args_bytes ? launch->args_bytes[i] : 8;
}

int wf_gpu_record_launch(struct wf_gpu_run *run, const struct wf_device_launch *launch)
{
	const uint32_t n = launch->args_count;
	size_t values = 0;

	WF_CHECK(run->recording && run->recording->part == run->used);
	for (uint32_t i = 0; i < n; i++)
		values += (arg_bytes(launch, i) + 15) & ~(size_t)15;
	struct step *step =
		step_add(run->recording, values + n * (sizeof(void *) + sizeof(uint16_t)));

	if (!step)
		return -ENOMEM;
	unsigned char *value = step->memory;
	void **args = (void **)(void *)(step->memory + values);
	uint16_t *sizes = (uint16_t *)(void *)(args + n);

	for (uint32_t i = 0; i < n; i++) {
		sizes[i] = (uint16_t)arg_bytes(launch, i);
		args[i] = memcpy(value, launch->args[i], sizes[i]);
		value += (sizes[i] + 15u) & ~(size_t)15;
	}
	WF_DEBUG(value == (unsigned char *)args);
	step->what.kind = WF_DEVICE_STEP_LAUNCH;
	step->what.launch = *launch;
	step->what.launch.args = n ? args : NULL;
	step->what.launch.args_bytes = n ? sizes : NULL;
	return 0;
}

int wf_gpu_record_copy(struct wf_gpu_run *run, enum wf_device_step_kind kind, uint64_t address,
                       void *host, uint64_t bytes)
{
	WF_CHECK(run->recording && kind != WF_DEVICE_STEP_LAUNCH);
	WF_DEBUG(address || !bytes);
	struct step *step = bytes ? step_add(run->recording, 0) : NULL;

	if (!step)
		return bytes ? -ENOMEM : 0;
	step->what.kind = kind;
	step->what.address = address;
	step->what.host = host;
	step->what.bytes = bytes;
	return 0;
}

void wf_gpu_record_drop(struct wf_gpu_run *run)
{
	struct wf_gpu_recording *r = run->recording;

	while (r && r->first) {
		struct step *step = r->first;

		r->first = step->next;
		wf_free(step);
	}
	wf_free(r);
	run->recording = NULL;
}

/* ---- The doors ------------------------------------------------------------------------------- */

int weft_cuda_record_begin(weft_task *self)
{
	struct wf_gpu_run *run;
	struct wf_gpu_part *part = self ? wf_gpu_part_of(self, &run) : NULL;

	if (!part)
		return -EINVAL;
	WF_CHECK(run->used < run->n);
	if (run->recording)
		return -EBUSY;
	if (!WF_DEVICE_HAS(run->gpus->ops, graph_record))
		return -ENOTSUP;
	if (wf_gpu_is_lost(&run->gpus->gpu[part->device]))
		return WEFT_EDEVICE;
	struct wf_gpu_recording *r = wf_calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->part = run->used;
	r->end = &r->first;
	WF_DEBUG(!r->count && part == &run->part[r->part]);
	run->recording = r;
	return 0;
}

static int build(struct wf_gpu *gpu, const struct wf_gpu_recording *r,
                 struct wf_device_graph **graph)
{
	struct wf_device_step *steps = wf_calloc(r->count, sizeof(*steps));
	uint32_t n = 0;

	WF_CHECK(r->count && r->count <= STEPS_MAX);

	if (!steps)
		return -ENOMEM;
	for (const struct step *step = r->first; step; step = step->next)
		steps[n++] = step->what;
	WF_CHECK(n == r->count);
	int rc = gpu->gpus->ops->graph_record(gpu->gpus->backend, gpu->index, steps, n, graph);

	WF_DEBUG(rc <= 0);
	wf_free(steps);
	return wf_gpu_status(gpu, rc);
}

int weft_cuda_record_end(weft_task *self, weft_cuda_graph **out)
{
	struct wf_gpu_run *run;
	struct wf_gpu_part *part = self ? wf_gpu_part_of(self, &run) : NULL;
	struct wf_device_graph *graph = NULL;
	int rc = part && run->recording ? 0 : -EINVAL;

	if (!rc && out)
		rc = run->recording->count
			? build(&run->gpus->gpu[part->device], run->recording, &graph)
			: -EINVAL;
	if (!rc && out)
		rc = wf_gpu_graph_create(&run->gpus->gpu[part->device], graph, out);
	WF_DEBUG(rc <= 0);
	if (part)
		wf_gpu_record_drop(run);
	WF_DEBUG(!part || !run->recording);
	return rc;
}
