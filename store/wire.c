/*
 * wire.c: messages, read and written by one walk over their fields.
 *
 * One function per kind names the fields in order, and a cursor either stores or loads each: so
 * the two directions cannot drift apart. Fixed fields come first, then the bytes of variable
 * length whose lengths were among them. No allocation, no state, libc's memcpy only.
 */
#include "wire.h"

#include <string.h>

#include "check.h"

struct cursor {
	const unsigned char *in; /* reading */
	unsigned char *out;      /* writing */
	size_t at, size;
	bool bad;
};

static void field(struct cursor *c, void *value, size_t bytes)
{
	if (c->bad || c->size - c->at < bytes) {
		c->bad = true;
		return;
	}
	if (c->out != NULL)
		memcpy(c->out + c->at, value, bytes);
	else
		memcpy(value, c->in + c->at, bytes);
	c->at += bytes;
}

static void field_u32(struct cursor *c, uint32_t *value)
{
	field(c, value, sizeof(*value));
}

static void field_u64(struct cursor *c, uint64_t *value)
{
	field(c, value, sizeof(*value));
}

/* `count` bytes somewhere else: copied when writing, pointed at when reading. */
static void field_bytes(struct cursor *c, const void **bytes, uint32_t count, uint32_t max)
{
	if (c->bad || count > max || c->size - c->at < count) {
		c->bad = true;
		return;
	}
	if (c->out == NULL)
		*bytes = c->in + c->at;
	else if (count > 0)
		memcpy(c->out + c->at, *bytes, count);
	c->at += count;
}

static void walk_name(struct cursor *c, struct wf_wire *w, uint32_t max)
{
	const void *name = w->name;

	field_bytes(c, &name, w->name_bytes, max);
	w->name = name;
}

static void walk_welcome(struct cursor *c, struct wf_wire *w)
{
	field_u32(c, &w->node_count);
	field_u32(c, &w->pid);
	field_u32(c, &w->requests_max);
	field_u32(c, &w->pins_max);
	field_u64(c, &w->map_bytes);
	field_u64(c, &w->node_bytes);
	if (w->node_count > WF_WIRE_NODES_MAX)
		c->bad = true;
	for (uint32_t i = 0; !c->bad && i < w->node_count; i++)
		field_u64(c, &w->node_offset[i]);
}

static void walk_value(struct cursor *c, struct wf_wire *w)
{
	field_u64(c, &w->id);
	field_u64(c, &w->size);
	field_u64(c, &w->offset);
	field_u64(c, &w->pin);
	field_u32(c, &w->tag);
	field_u32(c, &w->meta_bytes);
	field_u32(c, &w->data_bytes);
	field_bytes(c, &w->meta, w->meta_bytes, WF_WIRE_META_MAX);
	field_bytes(c, &w->data, w->data_bytes, WF_WIRE_DATA_MAX);
}

static void walk_create(struct cursor *c, struct wf_wire *w)
{
	field_u64(c, &w->size);
	field_u32(c, &w->tag);
	field_u32(c, &w->name_bytes);
	field_u32(c, &w->meta_bytes);
	walk_name(c, w, WF_WIRE_NAME_MAX);
	field_bytes(c, &w->meta, w->meta_bytes, WF_WIRE_META_MAX);
}

/* Everything behind the head. */
static void walk(struct cursor *c, struct wf_wire *w)
{
	uint32_t magic = WF_WIRE_MAGIC;

	switch (w->kind) {
	case WF_WIRE_HELLO:
		field_u32(c, &magic);
		field(c, &w->code, sizeof(w->code));
		if (magic != WF_WIRE_MAGIC)
			c->bad = true;
		break;
	case WF_WIRE_GET:
		field_u64(c, &w->id);
		field_u32(c, &w->name_bytes);
		walk_name(c, w, WF_WIRE_NAME_MAX);
		break;
	case WF_WIRE_RELEASE:
		field_u32(c, &w->data_bytes);
		field_bytes(c, &w->data, w->data_bytes, WF_WIRE_PINS_MAX * sizeof(uint64_t));
		break;
	case WF_WIRE_CANCEL:
		break;
	case WF_WIRE_CREATE:
		walk_create(c, w);
		break;
	case WF_WIRE_REMOVE:
	case WF_WIRE_CREATED:
		field_u64(c, &w->id);
		break;
	case WF_WIRE_WELCOME:
		walk_welcome(c, w);
		break;
	case WF_WIRE_VALUE:
		walk_value(c, w);
		break;
	case WF_WIRE_ANSWER:
		field(c, &w->status, sizeof(w->status));
		field(c, &w->code, sizeof(w->code));
		field_u32(c, &w->name_bytes);
		walk_name(c, w, WF_WIRE_TEXT_MAX);
		break;
	default:
		c->bad = true;
	}
}

/* ---- What a message may say ------------------------------------------------------------------ */

static bool name_is_good(const struct wf_wire *w)
{
	return w->name_bytes == 0 || memchr(w->name, 0, w->name_bytes) == NULL;
}

static bool welcome_is_good(const struct wf_wire *w)
{
	if (w->node_count == 0 || w->node_bytes == 0 || w->node_bytes % 4096 != 0 ||
	    w->requests_max == 0 || w->map_bytes > (uint64_t)1 << 56)
		return false;
	for (uint32_t i = 0; i < w->node_count; i++) {
		uint64_t least = i > 0 ? w->node_offset[i - 1] + w->node_bytes : 0;

		if (w->node_offset[i] % 4096 != 0 || w->node_offset[i] < least ||
		    w->node_bytes > w->map_bytes ||
		    w->node_offset[i] > w->map_bytes - w->node_bytes)
			return false;
	}
	return true;
}

static bool value_is_good(const struct wf_wire *w)
{
	if (w->id == 0)
		return false;
	if (w->offset == WF_WIRE_INLINE)
		return w->size == w->data_bytes && w->pin == 0;
	return w->data_bytes == 0 && w->pin != 0 && w->size <= INT64_MAX && w->offset <= INT64_MAX;
}

static bool is_good(const struct wf_wire *w)
{
	bool flagged =
		w->kind == WF_WIRE_GET || w->kind == WF_WIRE_CREATE || w->kind == WF_WIRE_WELCOME;
	uint16_t known = flagged ? 1 : 0;

	if ((w->flags & ~known) != 0)
		return false;
	switch (w->kind) {
	case WF_WIRE_GET:
		return w->serial != 0 && (w->id != 0) != (w->name_bytes != 0) && name_is_good(w);
	case WF_WIRE_RELEASE:
		return w->serial == 0 && w->data_bytes > 0 && w->data_bytes % sizeof(uint64_t) == 0;
	case WF_WIRE_CREATE:
		return w->serial != 0 && w->size <= INT64_MAX && name_is_good(w);
	case WF_WIRE_WELCOME:
		return w->serial != 0 && welcome_is_good(w);
	case WF_WIRE_VALUE:
		return w->serial != 0 && value_is_good(w);
	case WF_WIRE_ANSWER:
		return w->status <= 0 && name_is_good(w);
	case WF_WIRE_REMOVE:
	case WF_WIRE_CREATED:
		return w->serial != 0 && w->id != 0;
	default:
		return w->serial != 0;
	}
}

/* ---- Both directions ------------------------------------------------------------------------- */

static void walk_all(struct cursor *c, struct wf_wire *w, uint32_t *length)
{
	_Static_assert(WF_WIRE_HEAD == 2 * sizeof(uint32_t) + sizeof(uint64_t), "the head");

	field_u32(c, length);
	field(c, &w->kind, sizeof(w->kind));
	field(c, &w->flags, sizeof(w->flags));
	field_u64(c, &w->serial);
	walk(c, w);
}

size_t wf_wire_write(const struct wf_wire *wire, void *bytes, size_t room)
{
	struct wf_wire w = *wire;
	struct cursor c = { .out = bytes, .size = room };
	uint32_t length = 0;

	WF_CHECK(bytes != NULL);
	walk_all(&c, &w, &length);
	if (c.bad || !is_good(wire))
		return 0;
	WF_CHECK(c.at >= WF_WIRE_HEAD && c.at <= room);
	length = (uint32_t)c.at;
	memcpy(bytes, &length, sizeof(length));
	return c.at;
}

bool wf_wire_read(const void *bytes, size_t size, struct wf_wire *wire)
{
	struct cursor c = { .in = bytes, .size = size };
	uint32_t length = 0;

	memset(wire, 0, sizeof(*wire));
	if (size < WF_WIRE_HEAD || size > WF_WIRE_BYTES_MAX)
		return false;
	walk_all(&c, wire, &length);
	if (c.bad || c.at != size || length != size)
		return false;
	return is_good(wire);
}

uint64_t wf_wire_pin(const struct wf_wire *wire, uint32_t i)
{
	uint64_t pin;

	WF_CHECK(wire->kind == WF_WIRE_RELEASE);
	WF_CHECK(i < wire->data_bytes / sizeof(pin));
	memcpy(&pin, (const unsigned char *)wire->data + i * sizeof(pin), sizeof(pin));
	return pin;
}
