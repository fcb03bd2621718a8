/*
 * wf_sim_launch.c: kernels, launches and graphs of simulated devices.
 */
#include <errno.h>
#include <string.h>

#include "sim_inner.h"

int wf_sim_kernel_get(struct wf_device_backend *backend, uint32_t device, const void *image,
                      size_t image_bytes, const char *name, struct wf_device_kernel **out)
{
	WF_CHECK(backend);
	(void)image, (void)image_bytes;
	if (!out || !name || device >= backend->devices)
		return -EINVAL;
	sim_lock(backend);
	int rc = wf_sim_call(backend, &backend->device[device]);
	struct wf_device_kernel *kernel = rc ? NULL : wf_malloc(sizeof(*kernel));

	if (kernel) {
		*kernel = (struct wf_device_kernel){ backend->kernels, name, device };
		backend->kernels = kernel;
		*out = kernel;
	}
	sim_unlock(backend);
	return rc ? rc : kernel ? 0 : -ENOMEM;
}

static size_t arg_bytes(const struct wf_device_launch *launch, uint32_t i)
{
	return launch->args_bytes ? launch->args_bytes[i] : 8;
}

/* A launch with its arguments copied. */
static int launch_create(const struct wf_device_launch *launch, struct sim_work **out)
{
	struct wf_device_launch l;
	size_t bytes = 0;
	int rc = wf_device_launch_read(launch, &l);

	if (!rc && !l.twin)
		rc = -ENOTSUP;
	if (!rc && l.args_count > SIM_ARGS_MAX)
		rc = -EINVAL;
	if (rc)
		return rc;
	for (uint32_t i = 0; i < l.args_count; i++)
		bytes += (arg_bytes(&l, i) + 15) & ~(size_t)15;
	struct sim_work *work = wf_sim_work_create(SIM_LAUNCH, bytes);

	if (!work)
		return -ENOMEM;
	work->launch = l;
	unsigned char *value = work->values;

	for (uint32_t i = 0; i < l.args_count; i++) {
		memcpy(value, l.args[i], arg_bytes(&l, i));
		work->args[i] = value;
		value += (arg_bytes(&l, i) + 15) & ~(size_t)15;
	}
	work->launch.args = work->args;
	work->launch.args_bytes = NULL;
	*out = work;
	return 0;
}

/* The same piece once more. */
static struct sim_work *work_copy(const struct sim_work *work)
{
	struct sim_work *copy = wf_sim_work_create(work->kind, work->value_bytes);

	if (!copy)
		return NULL;
	memcpy(copy, work, sizeof(*work) + work->value_bytes);
	for (uint32_t i = 0; i < work->launch.args_count; i++) {
		size_t at = (size_t)((const char *)work->args[i] - (const char *)work);

		copy->args[i] = (char *)copy + at;
	}
	copy->launch.args = copy->args;
	copy->next = NULL;
	return copy;
}

int wf_sim_launch(struct wf_device_backend *backend, struct wf_device_stream *stream,
                  const struct wf_device_launch *launch)
{
	struct sim_work *work;
	int rc = stream ? launch_create(launch, &work) : -EINVAL;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (rc)
		return rc;
	sim_lock(backend);
	rc = wf_sim_submit_checked(backend, stream, work);
	sim_unlock(backend);
	return rc;
}

void wf_sim_graph_destroy(struct wf_device_backend *backend, struct wf_device_graph *graph)
{
	(void)backend;
	if (!graph)
		return;
	for (uint32_t i = 0; i < graph->count; i++)
		wf_sim_work_destroy(graph->chain[i]);
	wf_free(graph);
}

static int step_create(const struct wf_device_step *step, struct sim_work **out)
{
	bool up = step->kind == WF_DEVICE_STEP_UP;

	if (step->kind == WF_DEVICE_STEP_LAUNCH)
		return launch_create(&step->launch, out);
	if (!step->host || !step->address || !step->bytes)
		return -EINVAL;
	struct sim_work *work = wf_sim_work_create(up ? SIM_COPY_IN : SIM_COPY_OUT, 0);

	if (!work)
		return -ENOMEM;
	work->to = up ? step->address : (uint64_t)(uintptr_t)step->host;
	work->from = up ? (uint64_t)(uintptr_t)step->host : step->address;
	work->bytes = step->bytes;
	*out = work;
	return 0;
}

/* Of steps, or of launches. */
static int graph_build(struct wf_device_backend *backend, uint32_t device,
                       const struct wf_device_step *steps, const struct wf_device_launch *launches,
                       uint32_t count, struct wf_device_graph **out)
{
	WF_CHECK(backend);
	if (!out || !(steps || launches) || !count || count > 65536 || device >= backend->devices)
		return -EINVAL;
	struct wf_device_graph *graph =
		wf_calloc(1, sizeof(*graph) + count * sizeof(graph->chain[0]));
	int rc = graph ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < count && !rc; i++) {
		rc = steps ? step_create(&steps[i], &graph->chain[i])
			   : launch_create(&launches[i], &graph->chain[i]);
		graph->count += !rc;
	}
	if (!rc) {
		sim_lock(backend);
		rc = wf_sim_call(backend, &backend->device[device]);
		sim_unlock(backend);
		graph->device = &backend->device[device];
	}
	if (rc)
		wf_sim_graph_destroy(backend, graph);
	else
		*out = graph;
	return rc;
}

int wf_sim_graph_create(struct wf_device_backend *backend, uint32_t device,
                        const struct wf_device_launch *chain, uint32_t count,
                        struct wf_device_graph **out)
{
	return graph_build(backend, device, NULL, chain, count, out);
}

int wf_sim_graph_record(struct wf_device_backend *backend, uint32_t device,
                        const struct wf_device_step *steps, uint32_t count,
                        struct wf_device_graph **out)
{
	return graph_build(backend, device, steps, NULL, count, out);
}

/* All pieces or none: one of them that cannot be made undoes the others. */
int wf_sim_graph_launch(struct wf_device_backend *backend, struct wf_device_stream *stream,
                        struct wf_device_graph *graph)
{
	struct sim_work *first = NULL, **end = &first;
	int rc = stream && graph && graph->device == stream->device ? 0 : -EINVAL;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	WF_CHECK(!graph || graph->device->backend == backend);
	for (uint32_t i = 0; !rc && i < graph->count; i++) {
		*end = work_copy(graph->chain[i]);
		rc = *end ? 0 : -ENOMEM;
		if (!rc)
			end = &(*end)->next;
	}
	sim_lock(backend);
	if (!rc)
		rc = wf_sim_call(backend, stream->device);
	while (first) {
		struct sim_work *work = first;

		first = work->next;
		if (rc)
			wf_sim_work_destroy(work);
		else
			wf_sim_submit(stream, work);
	}
	sim_unlock(backend);
	return rc;
}
