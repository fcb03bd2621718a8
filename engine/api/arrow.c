/*
 * arrow.c: Arrow arrays in objects and out again.
 *
 * An object is: struct head; one struct node per array of the tree in preorder, a dictionary
 * after its children; one struct extent per buffer; the strings; the buffers, aligned to 64. All
 * places are offsets from the object's start, so that the bytes mean the same in any mapping.
 *
 * The interface does not say how long a buffer is: that follows from the format, and for the
 * variable ones from the last offset.
 *
 * An export is one counted hold of the object, shared by every struct that was handed out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "room.h"
#include "runtime.h"
#include "weft_arrow.h"
#include "wf_copy.h"

#define MAGIC       UINT64_C(0x31574f5252414657) /* "WFARROW1" */
#define DEPTH_MAX   64
#define NODES_MAX   65535
#define NO_OFFSET   UINT64_MAX
#define LINE        64
#define BUFFERS_MAX 65536

struct head {
	uint64_t magic, bytes;
	uint32_t nodes, extents;
	uint64_t reserved[5];
};

struct node {
	int64_t length, null_count, offset, flags;
	uint64_t format, name, metadata; /* offsets of the strings; NO_OFFSET: NULL */
	uint32_t n_children, n_buffers;
	uint32_t first_extent;
	uint32_t has_dictionary;
};

struct extent {
	uint64_t offset, size; /* offset NO_OFFSET: a NULL buffer */
};

/* ---- Lengths of buffers ----------------------------------------------------- */

static int64_t bits(int64_t n)
{
	return (n + 7) / 8;
}

/* Bytes of one value of a fixed-width format; 0: it is not one; -1: unknown. */
static int64_t width(const char *format)
{
	static const char letters[] = "cCsSiIlLefg";
	static const int8_t bytes[] = { 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8 };
	const char *at = *format && !format[1] ? strchr(letters, *format) : NULL;
	const char *last;

	if (at)
		return bytes[at - letters];
	switch (format[0]) {
	case 'w': /* w:BYTES */
		return format[1] == ':' ? strtol(format + 2, NULL, 10) : -1;
	case 'd': /* d:PRECISION,SCALE[,BITS] */
		last = strchr(format, ',');
		last = last ? strchr(last + 1, ',') : NULL;
		return last ? strtol(last + 1, NULL, 10) / 8 : 16;
	case 't':
		if (!strcmp(format, "tdD") || !strcmp(format, "tts") || !strcmp(format, "ttm") ||
		    !strcmp(format, "tiM"))
			return 4;
		if (!strcmp(format, "tin"))
			return 16;
		return format[1] && strchr("dtsDi", format[1]) ? 8 : -1;
	default:
		return 0;
	}
}

/* Bytes behind a buffer of n + 1 offsets: the last of them. */
static int64_t last_offset(const void *offsets, int64_t n, bool large)
{
	if (!offsets)
		return 0;
	return large ? ((const int64_t *)offsets)[n] : ((const int32_t *)offsets)[n];
}

/* Lengths of what comes after the validity bits of a nested format. False: not known. */
static bool nested_sizes(const char *format, int64_t n, int64_t *size)
{
	switch (format[1]) {
	case 'l':
	case 'm':
		size[1] = (n + 1) * 4;
		return true;
	case 'L':
		size[1] = (n + 1) * 8;
		return true;
	case 'v': /* list views: offsets and lengths */
		size[1] = size[2] = n * (format[2] == 'L' ? 8 : 4);
		return format[2] == 'l' || format[2] == 'L';
	case 'w':
	case 's':
	case 'r':
		return true;
	case 'u': /* unions have no validity bits: types, and offsets when dense */
		size[0] = n;
		size[1] = n * 4;
		return format[2] == 'd' || format[2] == 's';
	default:
		return false;
	}
}

/*
 * Lengths of the first three buffers of an array of `n` slots, counted from before its offset.
 * False: an unknown format. Views ("vu", "vz") have more: their last buffer has the lengths.
 */
static bool buffer_sizes(const char *format, const struct ArrowArray *array, int64_t n,
                         int64_t size[3])
{
	bool large = format[0] == 'U' || format[0] == 'Z';
	int64_t bytes = width(format);

	size[0] = bits(n);
	size[1] = size[2] = 0;
	if (bytes < 0)
		return false;
	if (bytes > 0) {
		size[1] = n * bytes;
		return true;
	}
	switch (format[0]) {
	case 'n':
		return true;
	case 'b':
		size[1] = bits(n);
		return true;
	case 'u':
	case 'z':
	case 'U':
	case 'Z':
		if (array->n_buffers != 3)
			return false;
		size[1] = (n + 1) * (large ? 8 : 4);
		size[2] = last_offset(array->buffers[1], n, large);
		return true;
	case 'v':
		size[1] = n * 16;
		return format[1] == 'u' || format[1] == 'z';
	case '+':
		return nested_sizes(format, n, size);
	default:
		return false;
	}
}

static int buffer_size(const char *format, const struct ArrowArray *array, int64_t i,
                       uint64_t *size)
{
	int64_t n = array->length + array->offset, first[3];

	if (!buffer_sizes(format, array, n, first))
		return -ENOTSUP;
	/* The lengths of a view's data buffers are the last buffer. */
	if (format[0] == 'v' && i >= 2) {
		const int64_t *lengths = array->buffers[array->n_buffers - 1];

		*size = (uint64_t)(i == array->n_buffers - 1 ? (array->n_buffers - 3) * 8
		                                             : lengths[i - 2]);
		return 0;
	}
	if (i > 2)
		return -EINVAL;
	*size = (uint64_t)first[i];
	return first[i] < 0 ? -EINVAL : 0;
}

/* Of a schema's metadata: a count, then pairs of length and bytes. */
static size_t metadata_bytes(const char *metadata)
{
	const char *at = metadata;
	int32_t pairs, length;

	if (!metadata)
		return 0;
	memcpy(&pairs, at, 4);
	at += 4;
	for (int64_t i = 0; i < 2 * (int64_t)pairs; i++) {
		memcpy(&length, at, 4);
		at += 4 + length;
	}
	return (size_t)(at - metadata);
}

/* ---- Import: measure, then write -------------------------------------------- */

/* The same walk twice: with `base` NULL it only counts. */
struct writer {
	char *base;
	uint32_t nodes, extents;           /* so far */
	uint32_t node_count, extent_count; /* in all; known in the second walk */
	uint64_t strings, buffers;         /* next free offset, relative in the first walk */
};

static uint64_t put_string(struct writer *w, const char *string, size_t bytes)
{
	uint64_t at = w->strings;

	if (!string)
		return NO_OFFSET;
	if (w->base)
		memcpy(w->base + at, string, bytes);
	w->strings += bytes;
	return at;
}

static int put_buffers(struct writer *w, const char *format, const struct ArrowArray *array)
{
	for (int64_t i = 0; i < array->n_buffers; i++) {
		struct extent extent = { NO_OFFSET, 0 };
		int rc = buffer_size(format, array, i, &extent.size);

		if (rc)
			return rc;
		if (array->buffers[i]) {
			extent.offset = w->buffers;
			if (w->base)
				wf_copy_into(w->base + extent.offset, array->buffers[i],
				             extent.size);
			/* Empty ones too have an address, as consumers expect. */
			w->buffers +=
				(extent.size + LINE - 1) / LINE * LINE + (extent.size ? 0 : LINE);
		}
		if (w->base) {
			struct node *nodes = (struct node *)(void *)(w->base + sizeof(struct head));
			struct extent *extents = (struct extent *)(void *)(nodes + w->node_count);

			extents[w->extents] = extent;
		}
		w->extents++;
	}
	return 0;
}

static int put_node(struct writer *w, const struct ArrowSchema *schema,
                    const struct ArrowArray *array, uint32_t depth)
{
	if (!schema || !array || !schema->format || schema->n_children != array->n_children ||
	    !schema->dictionary != !array->dictionary || array->length < 0 || array->offset < 0 ||
	    array->n_buffers < 0 || array->n_buffers > BUFFERS_MAX || array->n_children < 0)
		return -EINVAL;
	if (depth > DEPTH_MAX || w->nodes == NODES_MAX)
		return -EMSGSIZE;
	struct node node = { .length = array->length,
		             .null_count = array->null_count,
		             .offset = array->offset,
		             .flags = schema->flags,
		             .n_children = (uint32_t)array->n_children,
		             .n_buffers = (uint32_t)array->n_buffers,
		             .first_extent = w->extents,
		             .has_dictionary = array->dictionary != NULL };

	node.format = put_string(w, schema->format, strlen(schema->format) + 1);
	node.name = put_string(w, schema->name, schema->name ? strlen(schema->name) + 1 : 0);
	node.metadata = put_string(w, schema->metadata, metadata_bytes(schema->metadata));
	if (w->base)
		((struct node *)(void *)(w->base + sizeof(struct head)))[w->nodes] = node;
	w->nodes++;
	int rc = put_buffers(w, schema->format, array);

	for (int64_t i = 0; i < array->n_children && !rc; i++)
		rc = put_node(w, schema->children[i], array->children[i], depth + 1);
	if (!rc && array->dictionary)
		rc = put_node(w, schema->dictionary, array->dictionary, depth + 1);
	return rc;
}

int weft_arrow_import(weft *rt, struct ArrowSchema *schema, struct ArrowArray *array, weft_ref *out)
{
	struct weft_object_options options = { .struct_size = sizeof(options),
		                               .tag = WEFT_ARROW_TAG };
	struct writer count = { .base = NULL };
	struct weft_buffer buffer;

	if (!rt || !schema || !array || !out || !schema->release || !array->release)
		return -EINVAL;
	int rc = put_node(&count, schema, array, 0);

	if (rc)
		return rc;
	struct writer w = { .node_count = count.nodes, .extent_count = count.extents };

	w.strings = sizeof(struct head) + w.node_count * sizeof(struct node) +
		w.extent_count * sizeof(struct extent);
	w.buffers = (w.strings + count.strings + LINE - 1) / LINE * LINE;
	uint64_t bytes = w.buffers + count.buffers;

	struct wf_local *self = wf_local_of(rt);

	if (!self)
		return -ENOMEM;
	bool entered = wf_room_enter(self, bytes);

	rc = weft_create(rt, bytes, &options, &buffer);
	if (!rc) {
		w.base = buffer.data;
		*(struct head *)buffer.data = (struct head){ .magic = MAGIC,
			                                     .bytes = bytes,
			                                     .nodes = w.node_count,
			                                     .extents = w.extent_count };
		rc = put_node(&w, schema, array, 0);
		WF_CHECK(!rc && w.nodes == w.node_count && w.buffers == bytes);
		rc = weft_seal(rt, &buffer, out);
		if (rc)
			weft_discard(rt, &buffer);
	}
	wf_room_leave(self, entered);
	if (rc)
		return rc;
	array->release(array);
	schema->release(schema);
	return 0;
}

/* ---- Export ----------------------------------------------------------------- */

/* One hold of the object, counted by every struct that was handed out. */
struct hold {
	weft *rt;
	weft_ref ref;
	struct wf_a32 count;
};

static void hold_drop(struct hold *hold)
{
	/* acq_rel [H1]: the last to go comes after what all others did with the bytes. */
	if (wf_add_acq_rel(&hold->count, (uint32_t)-1) != 1)
		return;
	weft_view_end(hold->rt, hold->ref);
	weft_release(hold->rt, hold->ref);
	wf_free(hold);
}

static void release_schema(struct ArrowSchema *schema)
{
	struct hold *hold = schema->private_data;

	for (int64_t i = 0; i < schema->n_children; i++) {
		if (schema->children[i]->release)
			schema->children[i]->release(schema->children[i]);
		wf_free(schema->children[i]);
	}
	if (schema->dictionary && schema->dictionary->release)
		schema->dictionary->release(schema->dictionary);
	wf_free(schema->dictionary);
	wf_free((void *)schema->children);
	schema->release = NULL;
	hold_drop(hold);
}

static void release_array(struct ArrowArray *array)
{
	struct hold *hold = array->private_data;

	for (int64_t i = 0; i < array->n_children; i++) {
		if (array->children[i]->release)
			array->children[i]->release(array->children[i]);
		wf_free(array->children[i]);
	}
	if (array->dictionary && array->dictionary->release)
		array->dictionary->release(array->dictionary);
	wf_free(array->dictionary);
	wf_free((void *)array->children);
	wf_free((void *)array->buffers);
	array->release = NULL;
	hold_drop(hold);
}

struct reader {
	const char *base;
	const struct head *head;
	const struct node *nodes;
	const struct extent *extents;
	struct hold *hold;
	uint32_t next;
};

static const char *string_at(const struct reader *r, uint64_t offset)
{
	return offset == NO_OFFSET ? NULL : r->base + offset;
}

static int read_schema(struct reader *r, struct ArrowSchema *schema);
static int read_array(struct reader *r, struct ArrowArray *array);

/*
 * Children and dictionary of the node just begun. On -ENOMEM the struct is whole as far as it
 * goes: n_children counts what release has to free.
 */
static int read_schema_parts(struct reader *r, const struct node *node, struct ArrowSchema *schema)
{
	int rc = 0;

	if (node->n_children) {
		schema->children =
			(struct ArrowSchema **)wf_calloc(node->n_children, sizeof(void *));
		if (!schema->children)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < node->n_children && !rc; i++) {
		schema->children[i] = wf_calloc(1, sizeof(*schema));
		if (!schema->children[i])
			return -ENOMEM;
		schema->n_children++;
		rc = read_schema(r, schema->children[i]);
	}
	if (rc || !node->has_dictionary)
		return rc;
	schema->dictionary = wf_calloc(1, sizeof(*schema));
	return schema->dictionary ? read_schema(r, schema->dictionary) : -ENOMEM;
}

static int read_schema(struct reader *r, struct ArrowSchema *schema)
{
	const struct node *node = &r->nodes[r->next++];

	*schema = (struct ArrowSchema){ .format = string_at(r, node->format),
		                        .name = string_at(r, node->name),
		                        .metadata = string_at(r, node->metadata),
		                        .flags = node->flags,
		                        .release = release_schema,
		                        .private_data = r->hold };
	/* relaxed: the maker holds one. */
	wf_add_relaxed(&r->hold->count, 1);
	return read_schema_parts(r, node, schema);
}

static int read_array_parts(struct reader *r, const struct node *node, struct ArrowArray *array)
{
	int rc = 0;

	array->buffers = (const void **)wf_calloc(node->n_buffers + 1, sizeof(void *));
	if (node->n_children)
		array->children = (struct ArrowArray **)wf_calloc(node->n_children, sizeof(void *));
	if (!array->buffers || (node->n_children && !array->children))
		return -ENOMEM;
	for (uint32_t i = 0; i < node->n_buffers; i++) {
		const struct extent *extent = &r->extents[node->first_extent + i];

		array->buffers[i] = string_at(r, extent->offset);
	}
	for (uint32_t i = 0; i < node->n_children && !rc; i++) {
		array->children[i] = wf_calloc(1, sizeof(*array));
		if (!array->children[i])
			return -ENOMEM;
		array->n_children++;
		rc = read_array(r, array->children[i]);
	}
	if (rc || !node->has_dictionary)
		return rc;
	array->dictionary = wf_calloc(1, sizeof(*array));
	return array->dictionary ? read_array(r, array->dictionary) : -ENOMEM;
}

static int read_array(struct reader *r, struct ArrowArray *array)
{
	const struct node *node = &r->nodes[r->next++];

	*array = (struct ArrowArray){ .length = node->length,
		                      .null_count = node->null_count,
		                      .offset = node->offset,
		                      .n_buffers = node->n_buffers,
		                      .release = release_array,
		                      .private_data = r->hold };
	/* relaxed: the maker holds one. */
	wf_add_relaxed(&r->hold->count, 1);
	return read_array_parts(r, node, array);
}

static bool string_fits(const struct reader *r, uint64_t offset, uint64_t end)
{
	return offset == NO_OFFSET ||
		(offset < end && memchr(r->base + offset, 0, end - offset) != NULL);
}

/* Nodes of the subtree at `at`, checked; 0: it is damaged. */
static uint32_t check_tree(const struct reader *r, uint32_t at, uint32_t depth)
{
	uint32_t next = at + 1;

	if (at >= r->head->nodes || depth > DEPTH_MAX)
		return 0;
	const struct node *node = &r->nodes[at];

	if (node->n_buffers > r->head->extents ||
	    node->first_extent > r->head->extents - node->n_buffers ||
	    node->n_children > r->head->nodes || node->format == NO_OFFSET ||
	    !string_fits(r, node->format, r->head->bytes) ||
	    !string_fits(r, node->name, r->head->bytes) ||
	    (node->metadata != NO_OFFSET && node->metadata > r->head->bytes - 4))
		return 0;
	for (uint32_t i = 0; i < node->n_children + (node->has_dictionary ? 1 : 0); i++) {
		uint32_t end = check_tree(r, next, depth + 1);

		if (!end)
			return 0;
		next = end;
	}
	return next;
}

static bool reader_init(struct reader *r, struct weft_view view)
{
	r->base = view.data;
	r->head = view.data;
	if (view.size < sizeof(struct head) || r->head->magic != MAGIC ||
	    r->head->bytes != view.size || r->head->nodes > NODES_MAX)
		return false;
	r->nodes = (const struct node *)(const void *)(r->base + sizeof(struct head));
	r->extents = (const struct extent *)(const void *)(r->nodes + r->head->nodes);
	if ((const char *)(r->extents + r->head->extents) > r->base + view.size)
		return false;
	for (uint32_t i = 0; i < r->head->extents; i++) {
		const struct extent *extent = &r->extents[i];

		if (extent->offset != NO_OFFSET &&
		    (extent->offset > view.size || extent->size > view.size - extent->offset))
			return false;
	}
	return check_tree(r, 0, 0) == r->head->nodes;
}

static int export_held(struct reader *r, struct ArrowSchema *schema, struct ArrowArray *array)
{
	struct ArrowSchema s = { .release = NULL };
	struct ArrowArray a = { .release = NULL };
	int rc = read_schema(r, &s);

	r->next = 0;
	if (!rc)
		rc = read_array(r, &a);
	if (!rc) {
		*schema = s;
		*array = a;
		return 0;
	}
	if (a.release)
		a.release(&a);
	s.release(&s);
	return rc;
}

int weft_arrow_export(weft *rt, weft_ref ref, struct ArrowSchema *schema, struct ArrowArray *array)
{
	struct weft_object_info info = { .struct_size = sizeof(info) };
	struct weft_view view;
	struct reader r = { .next = 0 };

	if (!rt || !schema || !array)
		return -EINVAL;
	int rc = weft_get(rt, ref, WEFT_FOREVER, &view);

	if (rc)
		return rc;
	rc = weft_object_info(rt, ref, &info);
	if (!rc && (info.tag != WEFT_ARROW_TAG || !reader_init(&r, view)))
		rc = -EINVAL;
	r.hold = rc ? NULL : wf_malloc(sizeof(*r.hold));
	if (!rc && !r.hold)
		rc = -ENOMEM;
	if (rc) {
		weft_view_end(rt, ref);
		return rc;
	}
	*r.hold = (struct hold){ .rt = rt, .ref = ref };
	wf_init(&r.hold->count, 1);
	weft_retain(rt, ref);
	rc = export_held(&r, schema, array);
	hold_drop(r.hold);
	return rc;
}
