/*
 * fuzz/wire.c: any bytes as a message between a store and an attached process. What is believed
 * must point into the message only, keep the limits of wire.h, and write back to the same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int ok)
{
	if (!ok)
		abort();
}

/* `count` bytes at `at` lie in the message. */
static void need_inside(const uint8_t *data, size_t size, const void *at, size_t count)
{
	const uint8_t *bytes = at;

	if (count == 0)
		return;
	need(bytes >= data && bytes < data + size);
	need(count <= (size_t)(data + size - bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wf_wire wire;
	unsigned char *back;

	if (!wf_wire_read(data, size, &wire))
		return 0;
	need(size >= WF_WIRE_HEAD && size <= WF_WIRE_BYTES_MAX);
	need_inside(data, size, wire.name, wire.name_bytes);
	need_inside(data, size, wire.meta, wire.meta_bytes);
	need_inside(data, size, wire.data, wire.data_bytes);
	need(wire.meta_bytes <= WF_WIRE_META_MAX && wire.name_bytes <= WF_WIRE_TEXT_MAX);
	need(wire.kind == WF_WIRE_ANSWER || wire.name_bytes <= WF_WIRE_NAME_MAX);
	need(wire.name_bytes == 0 || memchr(wire.name, 0, wire.name_bytes) == NULL);
	if (wire.kind == WF_WIRE_WELCOME) {
		need(wire.node_count > 0 && wire.node_count <= WF_WIRE_NODES_MAX);
		for (uint32_t i = 0; i < wire.node_count; i++)
			need(wire.node_offset[i] + wire.node_bytes <= wire.map_bytes);
	}
	for (uint32_t i = 0; wire.kind == WF_WIRE_RELEASE && i < wire.data_bytes / 8; i++)
		(void)wf_wire_pin(&wire, i);
	back = malloc(size);
	need(back != NULL);
	need(wf_wire_write(&wire, back, size) == size);
	need(memcmp(back, data, size) == 0);
	if (size > 0)
		need(wf_wire_write(&wire, back, size - 1) == 0);
	free(back);
	return 0;
}
