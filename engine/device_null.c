/*
 * device_null.c: the device of a machine without devices, and what all device rooms share: the
 * check of a table, the classes of errors, the reading of a launch.
 *
 * The null device is a full table and not a NULL pointer, so that the engine has one path: it
 * asks how many devices there are and is told none. Every entry exists and answers at once.
 */
#include "device.h"

#include <errno.h>
#include <string.h>

struct wf_device_backend {
	char unused; /* only its address matters: open() must give something that is not NULL */
};

static struct wf_device_backend null_backend;

enum wf_device_class wf_device_classify(int status)
{
	switch (status) {
	case -EAGAIN:
		return WF_DEVICE_CLASS_BUSY;
	case -ENOMEM:
		return WF_DEVICE_CLASS_ROOM;
	case WF_DEVICE_LOST:
	case -ENODEV:
		return WF_DEVICE_CLASS_LOST;
	default:
		return status >= 0 ? WF_DEVICE_CLASS_OK : WF_DEVICE_CLASS_TASK;
	}
}

int wf_device_ops_check(const struct wf_device_ops *ops)
{
	if (!ops || ops->struct_size < WF_DEVICE_OPS_SIZE_1 || !ops->name)
		return -EINVAL;
	const bool complete = ops->open && ops->close && ops->device_count && ops->device_info &&
		ops->device_state && ops->device_enter && ops->device_leave && ops->stream_create &&
		ops->stream_destroy && ops->stream_native && ops->stream_wait &&
		ops->stream_doorbell && ops->event_create && ops->event_destroy &&
		ops->event_record && ops->event_query && ops->pool_limit && ops->pool_trim &&
		ops->memory_alloc && ops->memory_free && ops->pinned_alloc && ops->pinned_free &&
		ops->host_register && ops->host_unregister && ops->copy_to_device &&
		ops->copy_to_host && ops->copy_on_device && ops->fill && ops->kernel_get &&
		ops->launch && ops->graph_create && ops->graph_destroy && ops->graph_launch &&
		ops->error_text;
	return complete ? 0 : -EINVAL;
}

int wf_device_launch_read(const struct wf_device_launch *launch, struct wf_device_launch *out)
{
	memset(out, 0, sizeof(*out));
	if (!launch || launch->struct_size < sizeof(launch->struct_size))
		return -EINVAL;
	memcpy(out, launch,
	       launch->struct_size < sizeof(*out) ? launch->struct_size : sizeof(*out));
	for (int i = 0; i < 3; i++) {
		if (!out->grid[i] || !out->block[i])
			return -EINVAL;
	}
	return out->args_count && !out->args ? -EINVAL : 0;
}

static int null_open(const char *options, struct wf_device_backend **out)
{
	(void)options;
	if (!out)
		return -EINVAL;
	*out = &null_backend;
	return 0;
}

static void null_close(struct wf_device_backend *backend)
{
	(void)backend;
}

static int null_device_count(struct wf_device_backend *backend, uint32_t *count)
{
	(void)backend;
	if (!count)
		return -EINVAL;
	*count = 0;
	return 0;
}

static int null_device_info(struct wf_device_backend *backend, uint32_t device,
                            struct wf_device_info *info)
{
	(void)backend, (void)device, (void)info;
	return -ENODEV;
}

/* Every call that takes a back end and a device and nothing else. */
static int null_device(struct wf_device_backend *backend, uint32_t device)
{
	(void)backend, (void)device;
	return -ENODEV;
}

static int null_stream_create(struct wf_device_backend *backend, uint32_t device,
                              enum wf_device_stream_kind kind, uint32_t priority,
                              struct wf_device_stream **out)
{
	(void)backend, (void)device, (void)kind, (void)priority, (void)out;
	return -ENODEV;
}

static void null_stream_destroy(struct wf_device_backend *backend, struct wf_device_stream *stream)
{
	(void)backend, (void)stream;
}

static void *null_stream_native(struct wf_device_backend *backend, struct wf_device_stream *stream)
{
	(void)backend, (void)stream;
	return NULL;
}

static int null_stream_wait(struct wf_device_backend *backend, struct wf_device_stream *stream,
                            struct wf_device_event *event)
{
	(void)backend, (void)stream, (void)event;
	return -ENODEV;
}

static int null_stream_doorbell(struct wf_device_backend *backend, struct wf_device_stream *stream,
                                wf_device_doorbell_fn *fn, void *arg)
{
	(void)backend, (void)stream, (void)fn, (void)arg;
	return -ENODEV;
}

static int null_event_create(struct wf_device_backend *backend, uint32_t device,
                             struct wf_device_event **out)
{
	(void)backend, (void)device, (void)out;
	return -ENODEV;
}

static void null_event_destroy(struct wf_device_backend *backend, struct wf_device_event *event)
{
	(void)backend, (void)event;
}

static int null_event_record(struct wf_device_backend *backend, struct wf_device_event *event,
                             struct wf_device_stream *stream)
{
	(void)backend, (void)event, (void)stream;
	return -ENODEV;
}

static int null_event_query(struct wf_device_backend *backend, struct wf_device_event *event)
{
	(void)backend, (void)event;
	return -ENODEV;
}

static int null_pool_limit(struct wf_device_backend *backend, uint32_t device, uint64_t bytes)
{
	(void)backend, (void)device, (void)bytes;
	return -ENODEV;
}

static int null_memory_alloc(struct wf_device_backend *backend, struct wf_device_stream *stream,
                             uint64_t bytes, uint64_t *address)
{
	(void)backend, (void)stream, (void)bytes, (void)address;
	return -ENODEV;
}

static int null_memory_free(struct wf_device_backend *backend, struct wf_device_stream *stream,
                            uint64_t address)
{
	(void)backend, (void)stream, (void)address;
	return -ENODEV;
}

static int null_pinned_alloc(struct wf_device_backend *backend, uint64_t bytes, void **out)
{
	(void)backend, (void)bytes, (void)out;
	return -ENOTSUP;
}

static void null_pinned_free(struct wf_device_backend *backend, void *memory)
{
	(void)backend, (void)memory;
}

static int null_host_register(struct wf_device_backend *backend, void *memory, uint64_t bytes)
{
	(void)backend, (void)memory, (void)bytes;
	return -ENOTSUP;
}

static int null_host_unregister(struct wf_device_backend *backend, void *memory)
{
	(void)backend, (void)memory;
	return -ENOTSUP;
}

static int null_copy_to_device(struct wf_device_backend *backend, struct wf_device_stream *stream,
                               uint64_t to, const void *from, uint64_t bytes)
{
	(void)backend, (void)stream, (void)to, (void)from, (void)bytes;
	return -ENODEV;
}

static int null_copy_to_host(struct wf_device_backend *backend, struct wf_device_stream *stream,
                             void *to, uint64_t from, uint64_t bytes)
{
	(void)backend, (void)stream, (void)to, (void)from, (void)bytes;
	return -ENODEV;
}

static int null_copy_on_device(struct wf_device_backend *backend, struct wf_device_stream *stream,
                               uint64_t to, uint64_t from, uint64_t bytes)
{
	(void)backend, (void)stream, (void)to, (void)from, (void)bytes;
	return -ENODEV;
}

static int null_fill(struct wf_device_backend *backend, struct wf_device_stream *stream,
                     uint64_t to, uint8_t byte, uint64_t bytes)
{
	(void)backend, (void)stream, (void)to, (void)byte, (void)bytes;
	return -ENODEV;
}

static int null_kernel_get(struct wf_device_backend *backend, uint32_t device, const void *image,
                           size_t image_bytes, const char *name, struct wf_device_kernel **out)
{
	(void)backend, (void)device, (void)image, (void)image_bytes, (void)name, (void)out;
	return -ENODEV;
}

static int null_launch(struct wf_device_backend *backend, struct wf_device_stream *stream,
                       const struct wf_device_launch *launch)
{
	(void)backend, (void)stream, (void)launch;
	return -ENODEV;
}

static int null_graph_create(struct wf_device_backend *backend, uint32_t device,
                             const struct wf_device_launch *chain, uint32_t count,
                             struct wf_device_graph **out)
{
	(void)backend, (void)device, (void)chain, (void)count, (void)out;
	return -ENODEV;
}

static void null_graph_destroy(struct wf_device_backend *backend, struct wf_device_graph *graph)
{
	(void)backend, (void)graph;
}

static int null_graph_launch(struct wf_device_backend *backend, struct wf_device_stream *stream,
                             struct wf_device_graph *graph)
{
	(void)backend, (void)stream, (void)graph;
	return -ENODEV;
}

static const char *null_error_text(struct wf_device_backend *backend, uint32_t device)
{
	(void)backend, (void)device;
	return "there is no device";
}

static const struct wf_device_ops null_ops = {
	.struct_size = sizeof(struct wf_device_ops),
	.name = "none",
	.open = null_open,
	.close = null_close,
	.device_count = null_device_count,
	.device_info = null_device_info,
	.device_state = null_device,
	.device_enter = null_device,
	.device_leave = null_device,
	.stream_create = null_stream_create,
	.stream_destroy = null_stream_destroy,
	.stream_native = null_stream_native,
	.stream_wait = null_stream_wait,
	.stream_doorbell = null_stream_doorbell,
	.event_create = null_event_create,
	.event_destroy = null_event_destroy,
	.event_record = null_event_record,
	.event_query = null_event_query,
	.pool_limit = null_pool_limit,
	.pool_trim = null_device,
	.memory_alloc = null_memory_alloc,
	.memory_free = null_memory_free,
	.pinned_alloc = null_pinned_alloc,
	.pinned_free = null_pinned_free,
	.host_register = null_host_register,
	.host_unregister = null_host_unregister,
	.copy_to_device = null_copy_to_device,
	.copy_to_host = null_copy_to_host,
	.copy_on_device = null_copy_on_device,
	.fill = null_fill,
	.kernel_get = null_kernel_get,
	.launch = null_launch,
	.graph_create = null_graph_create,
	.graph_destroy = null_graph_destroy,
	.graph_launch = null_graph_launch,
	.error_text = null_error_text,
};

const struct wf_device_ops *wf_device_null(void)
{
	return &null_ops;
}
