/*
 * Goal: an Arrow array of every kind of layout goes into an object and comes out equal, without a
 * copy, and lives exactly as long as somebody holds a piece of it.
 * Method: arrays built by hand by the text of the C Data Interface, compared slot by slot; release
 * callbacks that count; moved children; another thread; damaged objects.
 */
#include "api.h"
#include "test.h"

#include "weft_arrow.h"

static struct api_count released;

static void drop_schema(struct ArrowSchema *schema)
{
	api_add(&released, 1);
	schema->release = NULL;
}

static void drop_array(struct ArrowArray *array)
{
	api_add(&released, 1);
	array->release = NULL;
}

/* A tree on the test's own memory: the root's callbacks stand for all. */
struct piece {
	struct ArrowSchema schema, *child_schemas[8];
	struct ArrowArray array, *child_arrays[8];
	const void *buffers[4];
};

static void leaf(struct piece *p, const char *format, const char *name, int64_t length, int n,
                 const void *b0, const void *b1, const void *b2)
{
	memset(p, 0, sizeof(*p));
	p->buffers[0] = b0;
	p->buffers[1] = b1;
	p->buffers[2] = b2;
	p->schema = (struct ArrowSchema){ .format = format,
		                          .name = name,
		                          .flags = ARROW_FLAG_NULLABLE,
		                          .children = p->child_schemas,
		                          .release = drop_schema };
	p->array = (struct ArrowArray){ .length = length,
		                        .null_count = b0 ? 1 : 0,
		                        .n_buffers = n,
		                        .buffers = p->buffers,
		                        .children = p->child_arrays,
		                        .release = drop_array };
}

static void adopt(struct piece *parent, struct piece *child)
{
	parent->child_schemas[parent->schema.n_children++] = &child->schema;
	parent->child_arrays[parent->array.n_children++] = &child->array;
}

static const uint8_t valid[] = { 0x0d };
static const int32_t ints[] = { 1, -2, 3, 4 };
static const int32_t offsets[] = { 0, 3, 3, 8, 9 };
static const char letters[] = "onetwo!!z";
static const int64_t large_offsets[] = { 0, 1, 2, 3, 9 };
static const uint8_t codes[] = { 1, 0, 1, 1 };
static const int32_t list_offsets[] = { 0, 1, 1, 3, 4 };
static const double doubles[] = { 0.5, 1.5, 2.5, 3.5 };
/* One pair: "k" -> "vv". */
static const char metadata[] = "\1\0\0\0\1\0\0\0k\2\0\0\0vv";

struct table {
	struct piece root, i32, utf8, large, dict, values, list, item, boolean, stamp;
};

static void build(struct table *t)
{
	leaf(&t->root, "+s", "", 4, 1, NULL, NULL, NULL);
	t->root.schema.metadata = metadata;
	leaf(&t->i32, "i", "number", 4, 2, valid, ints, NULL);
	leaf(&t->utf8, "u", "text", 4, 3, NULL, offsets, letters);
	leaf(&t->large, "Z", "bytes", 4, 3, NULL, large_offsets, letters);
	leaf(&t->dict, "C", "kind", 4, 2, NULL, codes, NULL);
	leaf(&t->values, "u", NULL, 2, 3, NULL, offsets, letters);
	t->dict.schema.dictionary = &t->values.schema;
	t->dict.array.dictionary = &t->values.array;
	leaf(&t->list, "+l", "list", 4, 2, NULL, list_offsets, NULL);
	leaf(&t->item, "g", "item", 4, 2, NULL, doubles, NULL);
	adopt(&t->list, &t->item);
	leaf(&t->boolean, "b", "flag", 4, 2, NULL, valid, NULL);
	leaf(&t->stamp, "tsn:UTC", "when", 1, 2, NULL, doubles, NULL);
	t->stamp.array.offset = 2;
	struct piece *columns[] = { &t->i32,  &t->utf8,    &t->large, &t->dict,
		                    &t->list, &t->boolean, &t->stamp };

	for (size_t i = 0; i < sizeof(columns) / sizeof(*columns); i++)
		adopt(&t->root, columns[i]);
}

static void same_text(const char *a, const char *b)
{
	if (!a || !b)
		cr_assert(a == b);
	else
		cr_assert_str_eq(a, b);
}

static void same_bytes(const struct ArrowArray *array, int i, const void *want, size_t size)
{
	cr_assert_eq((uintptr_t)array->buffers[i] % 64, 0);
	cr_assert_eq(memcmp(array->buffers[i], want, size), 0);
}

static void same_schema(const struct ArrowSchema *a, const struct ArrowSchema *b)
{
	cr_assert_not_null(a->release);
	same_text(a->format, b->format);
	same_text(a->name, b->name);
	cr_assert_eq(a->flags, b->flags);
	cr_assert_eq(a->n_children, b->n_children);
	cr_assert_eq(!a->dictionary, !b->dictionary);
	for (int64_t i = 0; i < a->n_children; i++)
		same_schema(a->children[i], b->children[i]);
	if (a->dictionary)
		same_schema(a->dictionary, b->dictionary);
}

static void check_table(const struct table *t, const struct ArrowSchema *schema,
                        const struct ArrowArray *array)
{
	same_schema(schema, &t->root.schema);
	cr_assert_eq(memcmp(schema->metadata, metadata, sizeof(metadata) - 1), 0);
	cr_assert_eq(array->length, 4);
	cr_assert_eq(array->n_children, 7);
	cr_assert_eq(array->n_buffers, 1);
	cr_assert_null(array->buffers[0]);
	cr_assert_eq(array->children[0]->null_count, 1);
	same_bytes(array->children[0], 0, valid, 1);
	same_bytes(array->children[0], 1, ints, sizeof(ints));
	same_bytes(array->children[1], 1, offsets, sizeof(offsets));
	same_bytes(array->children[1], 2, letters, 9);
	same_bytes(array->children[2], 1, large_offsets, sizeof(large_offsets));
	same_bytes(array->children[2], 2, letters, 9);
	same_bytes(array->children[3], 1, codes, sizeof(codes));
	same_bytes(array->children[3]->dictionary, 2, letters, 3);
	same_bytes(array->children[4], 1, list_offsets, sizeof(list_offsets));
	same_bytes(array->children[4]->children[0], 1, doubles, sizeof(doubles));
	same_bytes(array->children[5], 1, valid, 1);
	cr_assert_eq(array->children[6]->offset, 2);
	same_bytes(array->children[6], 1, doubles, 3 * sizeof(double));
}

Test(arrow, a_table_goes_in_and_comes_out_equal)
{
	static struct table t;
	weft *rt = api_open(2);
	struct ArrowSchema schema;
	struct ArrowArray array;
	weft_ref ref = api_poison_ref();
	const uint64_t before = api_read(&released);

	build(&t);
	struct table original = t;

	cr_assert_eq(weft_arrow_import(rt, &t.root.schema, &t.root.array, &ref), 0);
	cr_assert_eq(api_read(&released) - before, 2, "schema and array are consumed");
	cr_assert_null(t.root.schema.release);
	cr_assert_eq(weft_arrow_export(rt, ref, &schema, &array), 0);
	/* The exported structs hold it by themselves. */
	api_release(rt, ref);
	check_table(&original, &schema, &array);
	schema.release(&schema);
	cr_assert_null(schema.release);
	cr_assert_eq(api_tasks_live(rt), 1, "the array still holds it");
	array.release(&array);
	api_await_no_tasks(rt);
	api_close(rt);
}

static void *release_there(void *arg)
{
	struct ArrowArray *array = arg;

	array->release(array);
	return NULL;
}

Test(arrow, a_moved_child_outlives_its_parent_and_dies_on_any_thread)
{
	static struct table t;
	weft *rt = api_open(2);
	struct ArrowSchema schema;
	struct ArrowArray array, child;
	weft_ref ref;

	build(&t);
	cr_assert_eq(weft_arrow_import(rt, &t.root.schema, &t.root.array, &ref), 0);
	cr_assert_eq(weft_arrow_export(rt, ref, &schema, &array), 0);
	api_release(rt, ref);
	child = *array.children[4];
	array.children[4]->release = NULL;
	array.release(&array);
	schema.release(&schema);
	cr_assert_eq(api_tasks_live(rt), 1);
	same_bytes(child.children[0], 1, doubles, sizeof(doubles));
	api_join(api_thread(release_there, &child));
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(arrow, empty_arrays_and_every_width)
{
	static const struct {
		const char *format;
		int buffers;
		size_t bytes; /* of two values */
	} kinds[] = { { "n", 0, 0 },        { "c", 2, 2 },     { "C", 2, 2 },
		      { "s", 2, 4 },        { "S", 2, 4 },     { "I", 2, 8 },
		      { "l", 2, 16 },       { "L", 2, 16 },    { "e", 2, 4 },
		      { "f", 2, 8 },        { "g", 2, 16 },    { "d:19,10", 2, 32 },
		      { "d:9,2,32", 2, 8 }, { "w:42", 2, 84 }, { "tdD", 2, 8 },
		      { "tdm", 2, 16 },     { "tts", 2, 8 },   { "ttn", 2, 16 },
		      { "tDs", 2, 16 },     { "tiM", 2, 8 },   { "tiD", 2, 16 },
		      { "tin", 2, 32 } };
	static uint8_t bytes[128];
	weft *rt = api_open(1);

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i + 1);
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		for (int64_t length = 0; length <= 2; length += 2) {
			struct ArrowSchema schema;
			struct ArrowArray array;
			struct piece p;
			weft_ref ref;

			leaf(&p, kinds[k].format, NULL, length, kinds[k].buffers, NULL, bytes,
			     NULL);
			cr_assert_eq(weft_arrow_import(rt, &p.schema, &p.array, &ref), 0, "%s",
			             kinds[k].format);
			cr_assert_eq(weft_arrow_export(rt, ref, &schema, &array), 0);
			cr_assert_eq(array.length, length);
			if (length && kinds[k].bytes)
				same_bytes(&array, 1, bytes, kinds[k].bytes);
			array.release(&array);
			schema.release(&schema);
			api_release(rt, ref);
		}
	}
	api_close(rt);
}

Test(arrow, string_views_and_unions)
{
	static const int64_t lengths[] = { 9 };
	static const uint8_t types[] = { 0, 1 };
	static const int32_t at[] = { 0, 0 };
	static const uint8_t views[32] = { 1 };
	const void *buffers[] = { NULL, views, letters, lengths };
	weft *rt = api_open(1);
	struct ArrowSchema schema;
	struct ArrowArray array;
	struct piece p, a, b;
	weft_ref ref;

	leaf(&p, "vu", NULL, 2, 4, NULL, NULL, NULL);
	p.array.buffers = buffers;
	cr_assert_eq(weft_arrow_import(rt, &p.schema, &p.array, &ref), 0);
	cr_assert_eq(weft_arrow_export(rt, ref, &schema, &array), 0);
	same_bytes(&array, 1, views, 32);
	same_bytes(&array, 2, letters, 9);
	same_bytes(&array, 3, lengths, 8);
	array.release(&array);
	schema.release(&schema);
	api_release(rt, ref);
	leaf(&p, "+ud:0,1", NULL, 2, 2, types, at, NULL);
	leaf(&a, "i", "a", 1, 2, NULL, ints, NULL);
	leaf(&b, "i", "b", 1, 2, NULL, ints + 1, NULL);
	adopt(&p, &a);
	adopt(&p, &b);
	cr_assert_eq(weft_arrow_import(rt, &p.schema, &p.array, &ref), 0);
	cr_assert_eq(weft_arrow_export(rt, ref, &schema, &array), 0);
	same_bytes(&array, 0, types, 2);
	same_bytes(&array, 1, at, 8);
	same_bytes(array.children[1], 1, ints + 1, 4);
	array.release(&array);
	schema.release(&schema);
	api_release(rt, ref);
	api_close(rt);
}

Test(arrow, what_is_wrong_is_refused_and_stays_the_callers)
{
	weft *rt = api_open(1);
	struct ArrowSchema schema = { .format = "keep" };
	struct ArrowArray array = { .length = 7 };
	struct piece p;
	weft_ref ref = api_poison_ref();
	const uint64_t before = api_read(&released);

	leaf(&p, "?", NULL, 1, 2, NULL, ints, NULL);
	cr_assert_eq(weft_arrow_import(rt, &p.schema, &p.array, &ref), -ENOTSUP);
	leaf(&p, "i", NULL, -1, 2, NULL, ints, NULL);
	cr_assert_eq(weft_arrow_import(rt, &p.schema, &p.array, &ref), -EINVAL);
	leaf(&p, "i", NULL, 1, 4, NULL, ints, NULL);
	cr_assert_eq(weft_arrow_import(rt, &p.schema, &p.array, &ref), -EINVAL);
	leaf(&p, "i", NULL, 1, 2, NULL, ints, NULL);
	p.schema.n_children = 1;
	cr_assert_eq(weft_arrow_import(rt, &p.schema, &p.array, &ref), -EINVAL);
	leaf(&p, "+s", NULL, 1, 1, NULL, NULL, NULL);
	adopt(&p, &p);
	cr_assert_eq(weft_arrow_import(rt, &p.schema, &p.array, &ref), -EMSGSIZE, "a circle");
	leaf(&p, "i", NULL, 1, 2, NULL, ints, NULL);
	p.array.release = NULL;
	cr_assert_eq(weft_arrow_import(rt, &p.schema, &p.array, &ref), -EINVAL, "released");
	cr_assert_eq(weft_arrow_import(NULL, &p.schema, &p.array, &ref), -EINVAL);
	cr_assert_eq(api_read(&released), before);
	cr_assert_eq(ref.bits, api_poison_ref().bits);
	ref = api_put_i64(rt, 5);
	cr_assert_eq(weft_arrow_export(rt, ref, &schema, &array), -EINVAL, "no Arrow object");
	cr_assert_eq(array.length, 7);
	cr_assert_str_eq(schema.format, "keep");
	api_release(rt, ref);
	api_close(rt);
}

Test(arrow, a_damaged_object_is_refused)
{
	static struct table t;
	weft *rt = api_open(1);
	struct weft_view view;
	weft_ref ref;
	unsigned refused = 0;

	build(&t);
	cr_assert_eq(weft_arrow_import(rt, &t.root.schema, &t.root.array, &ref), 0);
	cr_assert_eq(weft_get(rt, ref, WEFT_FOREVER, &view), 0);
	/* Every word of head, nodes and extents wrong in turn: refused, or within the bytes. */
	for (size_t at = 0; at < 64 + 10 * 72; at += 8) {
		struct weft_object_options options = { .struct_size = sizeof(options),
			                               .tag = WEFT_ARROW_TAG };
		struct ArrowSchema schema;
		struct ArrowArray array;
		struct weft_buffer buffer;
		weft_ref bad;

		cr_assert_eq(weft_create(rt, view.size, &options, &buffer), 0);
		memcpy(buffer.data, view.data, view.size);
		memset((char *)buffer.data + at, 0xfe, 8);
		cr_assert_eq(weft_seal(rt, &buffer, &bad), 0);
		int rc = weft_arrow_export(rt, bad, &schema, &array);

		if (rc) {
			cr_assert_eq(rc, -EINVAL);
			refused++;
		} else {
			array.release(&array);
			schema.release(&schema);
		}
		api_release(rt, bad);
	}
	cr_assert(refused > 20, "%u", refused);
	api_release(rt, ref);
	api_await_no_tasks(rt);
	api_close(rt);
}
