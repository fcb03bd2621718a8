/*
 * Goal: the device table can be built upon: the null device answers every entry as documented and
 * leaves results alone, tables with a hole or of a shorter version are refused, codes have their
 * classes. Method: the source is compiled into the test; each entry is called once with poisoned
 * results, and each entry of a copied table is set to zero in turn.
 */
#include "../../engine/device_null.c"
#include "test.h"
#include "../../engine/include/weft.h"

#include <string.h>

#define POISON ((void *)0x5a5a5a5a)

static struct wf_device_backend *open_null(const struct wf_device_ops *ops)
{
	struct wf_device_backend *backend = NULL;

	cr_assert_eq(ops->open(NULL, &backend), 0);
	cr_assert_not_null(backend);
	return backend;
}

Test(device, null_has_zero_devices)
{
	const struct wf_device_ops *ops = wf_device_null();
	struct wf_device_backend *backend = open_null(ops);
	uint32_t count = 99;

	cr_assert_eq(ops->device_count(backend, &count), 0);
	cr_assert_eq(count, 0);
	cr_assert_eq(ops->device_count(backend, NULL), -EINVAL);
	cr_assert_eq(ops->open("anything", NULL), -EINVAL);
	cr_assert_str_eq(ops->name, "none");
	cr_assert_str_eq(ops->error_text(backend, 0), "there is no device");
	ops->close(backend);
	ops->close(NULL);
}

Test(device, null_answers_devices_and_streams_with_enodev)
{
	const struct wf_device_ops *ops = wf_device_null();
	struct wf_device_backend *b = open_null(ops);
	struct wf_device_info info = { .struct_size = sizeof info, .memory_bytes = 7 };
	struct wf_device_stream *stream = POISON;

	cr_assert_eq(ops->device_info(b, 0, &info), -ENODEV);
	cr_assert_eq(info.memory_bytes, 7);
	cr_assert_eq(ops->device_state(b, 0), -ENODEV);
	cr_assert_eq(ops->device_enter(b, 0), -ENODEV);
	cr_assert_eq(ops->device_leave(b, 0), -ENODEV);
	for (int kind = WF_DEVICE_COMPUTE; kind <= WF_DEVICE_DOWNLOAD; kind++)
		cr_assert_eq(ops->stream_create(b, 0, (enum wf_device_stream_kind)kind, 0, &stream),
		             -ENODEV);
	cr_assert_eq(stream, POISON);
	cr_assert_null(ops->stream_native(b, NULL));
	cr_assert_eq(ops->stream_wait(b, NULL, NULL), -ENODEV);
	cr_assert_eq(ops->stream_doorbell(b, NULL, NULL, NULL), -ENODEV);
	ops->stream_destroy(b, NULL);
	ops->close(b);
}

Test(device, null_answers_events_and_memory)
{
	const struct wf_device_ops *ops = wf_device_null();
	struct wf_device_backend *b = open_null(ops);
	struct wf_device_event *event = POISON;
	uint64_t address = 77;
	void *memory = POISON;
	char byte = 3;

	cr_assert_eq(ops->event_create(b, 0, &event), -ENODEV);
	cr_assert_eq(event, POISON);
	cr_assert_eq(ops->event_record(b, NULL, NULL), -ENODEV);
	cr_assert_eq(ops->event_query(b, NULL), -ENODEV);
	ops->event_destroy(b, NULL);
	cr_assert_eq(ops->pool_limit(b, 0, 1), -ENODEV);
	cr_assert_eq(ops->pool_trim(b, 0), -ENODEV);
	cr_assert_eq(ops->memory_alloc(b, NULL, 1, &address), -ENODEV);
	cr_assert_eq(address, 77);
	cr_assert_eq(ops->memory_free(b, NULL, 0), -ENODEV);
	cr_assert_eq(ops->pinned_alloc(b, 1, &memory), -ENOTSUP);
	cr_assert_eq(memory, POISON);
	ops->pinned_free(b, NULL);
	cr_assert_eq(ops->host_register(b, &byte, 1), -ENOTSUP);
	cr_assert_eq(ops->host_unregister(b, &byte), -ENOTSUP);
	cr_assert_eq(ops->copy_to_device(b, NULL, 0, &byte, 1), -ENODEV);
	cr_assert_eq(ops->copy_to_host(b, NULL, &byte, 0, 1), -ENODEV);
	cr_assert_eq(ops->copy_on_device(b, NULL, 0, 0, 1), -ENODEV);
	cr_assert_eq(ops->fill(b, NULL, 0, 1, 1), -ENODEV);
	cr_assert_eq(byte, 3);
	ops->close(b);
}

Test(device, null_answers_launches_and_graphs)
{
	const struct wf_device_ops *ops = wf_device_null();
	struct wf_device_backend *b = open_null(ops);
	struct wf_device_launch launch = { .struct_size = sizeof launch };
	struct wf_device_kernel *kernel = POISON;
	struct wf_device_graph *graph = POISON;

	cr_assert_eq(ops->kernel_get(b, 0, "", 0, "k", &kernel), -ENODEV);
	cr_assert_eq(kernel, POISON);
	cr_assert_eq(ops->launch(b, NULL, &launch), -ENODEV);
	cr_assert_eq(ops->graph_create(b, 0, &launch, 1, &graph), -ENODEV);
	cr_assert_eq(graph, POISON);
	cr_assert_eq(ops->graph_launch(b, NULL, NULL), -ENODEV);
	ops->graph_destroy(b, NULL);
	ops->close(b);
}

Test(device, a_table_with_any_hole_is_refused)
{
	struct wf_device_ops ops = *wf_device_null();
	void *const hole = NULL;

	cr_assert_eq(wf_device_ops_check(&ops), 0);
	for (size_t at = offsetof(struct wf_device_ops, name); at < WF_DEVICE_OPS_SIZE_1;
	     at += sizeof hole) {
		ops = *wf_device_null();
		memcpy((char *)&ops + at, &hole, sizeof hole);
		cr_assert_eq(wf_device_ops_check(&ops), -EINVAL, "entry at byte %zu", at);
	}
}

Test(device, a_table_of_another_size_is_judged_by_the_first_version)
{
	struct wf_device_ops ops = *wf_device_null();

	cr_assert_eq(wf_device_ops_check(NULL), -EINVAL);
	ops.struct_size = WF_DEVICE_OPS_SIZE_1 - 1;
	cr_assert_eq(wf_device_ops_check(&ops), -EINVAL);
	ops.struct_size = sizeof ops + 64;
	cr_assert_eq(wf_device_ops_check(&ops), 0);
	ops.struct_size = offsetof(struct wf_device_ops, launch);
	cr_assert(!WF_DEVICE_HAS(&ops, launch));
	cr_assert(WF_DEVICE_HAS(&ops, kernel_get));
	ops.struct_size = sizeof ops;
	ops.launch = NULL;
	cr_assert(!WF_DEVICE_HAS(&ops, launch));
}

Test(device, codes_have_classes)
{
	cr_assert_eq(wf_device_classify(0), WF_DEVICE_CLASS_OK);
	cr_assert_eq(wf_device_classify(5), WF_DEVICE_CLASS_OK);
	cr_assert_eq(wf_device_classify(-EAGAIN), WF_DEVICE_CLASS_BUSY);
	cr_assert_eq(wf_device_classify(-ENOMEM), WF_DEVICE_CLASS_ROOM);
	cr_assert_eq(wf_device_classify(-EINVAL), WF_DEVICE_CLASS_TASK);
	cr_assert_eq(wf_device_classify(-ENOTSUP), WF_DEVICE_CLASS_TASK);
	cr_assert_eq(wf_device_classify(-ENODEV), WF_DEVICE_CLASS_LOST);
	cr_assert_eq(wf_device_classify(WF_DEVICE_LOST), WF_DEVICE_CLASS_LOST);
	cr_assert_eq(WF_DEVICE_LOST, WEFT_EDEVICE);
}
