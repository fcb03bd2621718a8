/*
 * Goal: no bytes at the end of a file make the reader of datasets read or write elsewhere, and
 * what it accepts keeps the promises of manifest.h.
 * Method: a libFuzzer target. The first eight bytes are the length of the data, the rest is taken
 * for a manifest; the whole is also taken for a file that ends with a trailer.
 */
#include <string.h>

#include "base.h"
#include "manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t touched;

static void touch(const void *data, size_t size)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i < size; i++)
		touched += bytes[i];
}

static void touch_all(const struct wf_manifest *m, uint64_t data_bytes)
{
	uint64_t end = 0, sum = 0;

	touch(m->info.name, strlen(m->info.name));
	WF_CHECK(m->info.name[0] != '\0');
	for (uint32_t i = 0; i < m->info.pair_count; i++) {
		touch(m->pairs[i].key, strlen(m->pairs[i].key));
		WF_CHECK(m->pairs[i].key[0] != '\0');
		touch(m->pairs[i].value, m->pairs[i].value_bytes);
	}
	for (uint32_t i = 0; i < m->info.part_count; i++) {
		const struct wf_manifest_part *part = &m->parts[i];

		WF_CHECK(part->offset >= end && part->offset + part->size >= part->offset);
		end = part->offset + part->size;
		WF_CHECK(end <= data_bytes);
		sum += part->size;
		touch(part->meta, part->meta_bytes);
	}
	WF_CHECK(sum == m->info.payload_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wf_trailer trailer;
	struct wf_manifest m;
	const char *reason = NULL;
	uint64_t data_bytes;
	char *bytes;
	int status;

	if (size >= sizeof(trailer)) {
		memcpy(&trailer, data + size - sizeof(trailer), sizeof(trailer));
		if (wf_trailer_check(&trailer, size) == NULL)
			WF_CHECK(trailer.manifest_offset + trailer.manifest_bytes <= size);
	}
	if (size < sizeof(data_bytes))
		return 0;
	memcpy(&data_bytes, data, sizeof(data_bytes));
	size -= sizeof(data_bytes);
	bytes = wf_malloc(size);
	if (bytes == NULL)
		return 0;
	memcpy(bytes, data + sizeof(data_bytes), size);
	status = wf_manifest_parse(&m, bytes, size, data_bytes, &reason);
	if (status == 0) {
		touch_all(&m, data_bytes);
		wf_manifest_fini(&m);
		return 0;
	}
	WF_CHECK(status != -74 || reason != NULL);
	wf_free(bytes);
	return 0;
}
