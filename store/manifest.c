/*
 * manifest.c: the manifest and trailer of a dataset, made and parsed. Pure functions on memory.
 *
 * The manifest: head, name, pairs (two lengths, key, value), parts (a fixed entry, meta bytes).
 * Texts are followed by a zero byte, so that they are handed out in place. The parser believes
 * nothing: it is given bytes whose sum was right, but a sum is no signature.
 */
#include "manifest.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "base.h"

/* "WEFTDATA" in the order of the file. A machine of the other byte order finds no dataset. */
#define MAGIC   0x4154414454464557u
#define VERSION 1u

struct head {
	uint64_t epoch, fingerprint, payload_bytes;
	uint32_t attempt, part_count, pair_count, name_bytes;
};
_Static_assert(sizeof(struct head) == 40, "written as it is");

struct pair_entry {
	uint32_t key_bytes, value_bytes;
};

struct part_entry {
	uint64_t offset, size, sum;
	uint32_t tag, meta_bytes;
};
_Static_assert(sizeof(struct part_entry) == 32, "written as it is");

/* ---- Trailer --------------------------------------------------------------------------- */

static uint64_t trailer_sum(const struct wf_trailer *trailer)
{
	return XXH3_64bits(trailer, offsetof(struct wf_trailer, sum));
}

void wf_trailer_make(struct wf_trailer *trailer, const void *manifest, uint64_t bytes,
                     uint64_t offset, uint64_t file_bytes)
{
	WF_CHECK(file_bytes % WF_MANIFEST_BLOCK == 0);
	WF_CHECK(offset % WF_MANIFEST_ALIGN == 0 && bytes >= sizeof(struct head));
	WF_CHECK(offset + bytes + sizeof(*trailer) <= file_bytes);
	*trailer = (struct wf_trailer){
		.magic = MAGIC,
		.version = VERSION,
		.file_bytes = file_bytes,
		.manifest_offset = offset,
		.manifest_bytes = bytes,
		.manifest_sum = XXH3_64bits(manifest, bytes),
	};
	trailer->sum = trailer_sum(trailer);
}

const char *wf_trailer_check(const struct wf_trailer *trailer, uint64_t file_bytes)
{
	uint64_t before = file_bytes - sizeof(*trailer);

	WF_CHECK(file_bytes >= sizeof(*trailer));
	if (trailer->magic != MAGIC)
		return "no trailer of a dataset";
	if (trailer->sum != trailer_sum(trailer))
		return "the trailer's sum is wrong";
	if (trailer->version != VERSION)
		return "a version that is not known";
	if (trailer->file_bytes != file_bytes)
		return "the file has another length than its trailer says";
	if (trailer->manifest_bytes < sizeof(struct head) ||
	    trailer->manifest_bytes > WF_MANIFEST_MAX || trailer->manifest_bytes > before ||
	    trailer->manifest_offset > before - trailer->manifest_bytes)
		return "the manifest does not lie in the file";
	return NULL;
}

/* ---- Making ---------------------------------------------------------------------------- */

static int add(struct wf_manifest_builder *builder, const void *data, size_t size)
{
	size_t need = builder->size + size;

	WF_CHECK(builder->size <= builder->room);
	WF_CHECK(data != NULL || size == 0);
	if (need > WF_MANIFEST_MAX)
		return -E2BIG;
	if (need > builder->room) {
		size_t room = need < 1024 ? 1024 : 2 * need;
		char *bytes = wf_malloc(room);

		if (bytes == NULL)
			return -ENOMEM;
		if (builder->size > 0)
			memcpy(bytes, builder->bytes, builder->size);
		wf_free(builder->bytes);
		builder->bytes = bytes;
		builder->room = room;
	}
	WF_CHECK(need <= builder->room);
	if (size > 0)
		memcpy(builder->bytes + builder->size, data, size);
	builder->size = need;
	return 0;
}

static int add_pair(struct wf_manifest_builder *builder, const struct wf_dataset_pair *pair)
{
	struct pair_entry entry = { .value_bytes = pair->value_bytes };
	size_t key_bytes = pair->key != NULL ? strlen(pair->key) : 0;
	int status;

	if (key_bytes == 0 || key_bytes > WF_DATASET_KEY_MAX ||
	    pair->value_bytes > WF_DATASET_VALUE_MAX ||
	    (pair->value == NULL && pair->value_bytes > 0))
		return -EINVAL;
	entry.key_bytes = (uint32_t)key_bytes;
	status = add(builder, &entry, sizeof(entry));
	if (status == 0)
		status = add(builder, pair->key, key_bytes + 1);
	if (status == 0)
		status = add(builder, pair->value, pair->value_bytes);
	if (status == 0)
		status = add(builder, "", 1);
	return status;
}

int wf_manifest_begin(struct wf_manifest_builder *builder, const struct wf_dataset_spec *spec)
{
	struct head head = {
		.epoch = spec->epoch,
		.fingerprint = spec->fingerprint,
		.attempt = spec->attempt,
		.pair_count = spec->pair_count,
	};
	int status;

	WF_CHECK(builder->size == 0 && spec->name != NULL);
	if (spec->name[0] == '\0' || spec->pair_count > WF_DATASET_PAIRS_MAX ||
	    (spec->pairs == NULL && spec->pair_count > 0))
		return -EINVAL;
	head.name_bytes = (uint32_t)strlen(spec->name);
	status = add(builder, &head, sizeof(head));
	if (status == 0)
		status = add(builder, spec->name, head.name_bytes + 1);
	for (uint32_t i = 0; status == 0 && i < spec->pair_count; i++)
		status = add_pair(builder, &spec->pairs[i]);
	return status;
}

int wf_manifest_add(struct wf_manifest_builder *builder, const struct wf_dataset_part *part,
                    uint64_t offset, uint64_t sum)
{
	struct part_entry entry = {
		.offset = offset,
		.size = part->size,
		.sum = sum,
		.tag = part->tag,
		.meta_bytes = part->meta_bytes,
	};
	int status;

	WF_CHECK(builder->size >= sizeof(struct head));
	if (part->meta_bytes > WF_DATASET_META_MAX || (part->meta == NULL && part->meta_bytes > 0))
		return -EINVAL;
	if (builder->part_count == WF_DATASET_PARTS_MAX)
		return -E2BIG;
	status = add(builder, &entry, sizeof(entry));
	if (status == 0)
		status = add(builder, part->meta, part->meta_bytes);
	if (status != 0)
		return status;
	builder->part_count++;
	builder->payload_bytes += part->size;
	return 0;
}

void wf_manifest_finish(struct wf_manifest_builder *builder)
{
	struct head head;

	WF_CHECK(builder->size >= sizeof(head));
	memcpy(&head, builder->bytes, sizeof(head));
	WF_CHECK(head.part_count == 0);
	head.part_count = builder->part_count;
	head.payload_bytes = builder->payload_bytes;
	memcpy(builder->bytes, &head, sizeof(head));
}

void wf_manifest_builder_fini(struct wf_manifest_builder *builder)
{
	wf_free(builder->bytes);
	*builder = (struct wf_manifest_builder){ 0 };
}

/* ---- Parsing --------------------------------------------------------------------------- */

struct cursor {
	char *at;
	size_t left;
	const char *reason; /* the first thing that was wrong */
};

/* The next `size` bytes, or NULL when there are fewer. */
static char *take(struct cursor *c, size_t size)
{
	char *at = c->at;

	if (c->reason != NULL)
		return NULL;
	if (size > c->left) {
		c->reason = "it ends early";
		return NULL;
	}
	c->at += size;
	c->left -= size;
	return at;
}

/* `size` bytes and the zero byte behind them; `text`: with none among them. */
static char *take_ended(struct cursor *c, size_t size, bool text)
{
	char *at = take(c, size + 1);

	if (at == NULL)
		return NULL;
	if (at[size] != '\0' || (text && memchr(at, 0, size) != NULL)) {
		c->reason = "a text does not end where it should";
		return NULL;
	}
	return at;
}

static void parse_pairs(struct cursor *c, struct wf_dataset_pair *pairs, uint32_t count)
{
	struct pair_entry entry;

	for (uint32_t i = 0; i < count; i++) {
		char *at = take(c, sizeof(entry));

		if (at == NULL)
			return;
		memcpy(&entry, at, sizeof(entry));
		if (entry.key_bytes == 0 || entry.key_bytes > WF_DATASET_KEY_MAX ||
		    entry.value_bytes > WF_DATASET_VALUE_MAX) {
			c->reason = "a pair of an impossible length";
			return;
		}
		pairs[i].key = take_ended(c, entry.key_bytes, true);
		pairs[i].value = take_ended(c, entry.value_bytes, false);
		pairs[i].value_bytes = entry.value_bytes;
	}
}

static void parse_parts(struct cursor *c, struct wf_manifest *m, uint64_t data_bytes)
{
	struct part_entry entry;
	uint64_t end = 0, payload = 0;

	for (uint32_t i = 0; i < m->info.part_count; i++) {
		char *at = take(c, sizeof(entry));

		if (at == NULL)
			return;
		memcpy(&entry, at, sizeof(entry));
		if (entry.offset % WF_MANIFEST_ALIGN != 0 || entry.offset < end ||
		    entry.offset > data_bytes || entry.size > data_bytes - entry.offset ||
		    entry.meta_bytes > WF_DATASET_META_MAX) {
			c->reason = "a part that does not lie in the file";
			return;
		}
		end = entry.offset + entry.size;
		WF_CHECK(end <= data_bytes);
		payload += entry.size;
		m->parts[i] = (struct wf_manifest_part){
			.offset = entry.offset,
			.size = entry.size,
			.sum = entry.sum,
			.tag = entry.tag,
			.meta_bytes = entry.meta_bytes,
			.meta = take(c, entry.meta_bytes),
		};
	}
	WF_CHECK(payload <= data_bytes);
	if (c->reason == NULL && payload != m->info.payload_bytes)
		c->reason = "the parts do not sum up";
}

/* The head, and how much memory what follows needs: bounded by the bytes that are there. */
static bool parse_head(struct cursor *c, struct wf_manifest *m)
{
	struct head head;
	char *at = take(c, sizeof(head));

	if (at == NULL)
		return false;
	memcpy(&head, at, sizeof(head));
	WF_CHECK(c->reason == NULL);
	if (head.part_count > WF_DATASET_PARTS_MAX || head.pair_count > WF_DATASET_PAIRS_MAX ||
	    head.part_count > c->left / sizeof(struct part_entry) ||
	    head.pair_count > c->left / sizeof(struct pair_entry) || head.name_bytes == 0) {
		c->reason = "a head with impossible counts";
		return false;
	}
	m->info = (struct wf_dataset_info){
		.epoch = head.epoch,
		.fingerprint = head.fingerprint,
		.payload_bytes = head.payload_bytes,
		.attempt = head.attempt,
		.part_count = head.part_count,
		.pair_count = head.pair_count,
		.name = take_ended(c, head.name_bytes, true),
	};
	return m->info.name != NULL;
}

int wf_manifest_parse(struct wf_manifest *out, char *bytes, size_t size, uint64_t data_bytes,
                      const char **reason)
{
	struct cursor c = { .at = bytes, .left = size };
	struct wf_manifest m = { .bytes = bytes };
	int status = 0;

	WF_CHECK(bytes != NULL && reason != NULL);
	if (!parse_head(&c, &m)) {
		*reason = c.reason;
		return -EBADMSG;
	}
	m.pairs = wf_calloc(m.info.pair_count, sizeof(m.pairs[0]));
	m.parts = wf_calloc(m.info.part_count, sizeof(m.parts[0]));
	if (m.pairs == NULL || m.parts == NULL) {
		status = -ENOMEM;
		goto out_free;
	}
	parse_pairs(&c, m.pairs, m.info.pair_count);
	parse_parts(&c, &m, data_bytes);
	if (c.reason == NULL && c.left != 0)
		c.reason = "it goes on where it should end";
	if (c.reason != NULL) {
		*reason = c.reason;
		status = -EBADMSG;
		goto out_free;
	}
	WF_CHECK(c.at == bytes + size);
	WF_CHECK(m.info.name != NULL);
	*out = m;
	return 0;
out_free:
	wf_free(m.parts);
	wf_free(m.pairs);
	return status;
}

void wf_manifest_fini(struct wf_manifest *manifest)
{
	wf_free(manifest->parts);
	wf_free(manifest->pairs);
	wf_free(manifest->bytes);
	*manifest = (struct wf_manifest){ 0 };
}
