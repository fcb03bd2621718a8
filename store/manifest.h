/*
 * manifest.h: the bytes at the end of a dataset that say what is in it.
 *
 * A dataset is one file:   parts, each at a multiple of 64 (4096 from 1 MiB on)
 *                          manifest
 *                          zeros, so that the file is a multiple of 4096
 *                          trailer, the last 64 bytes
 * Numbers are little-endian. The trailer has the sum of the manifest, the manifest the sums of the
 * parts; so what verifies from the end on is what was written.
 */
#ifndef WF_STORE_MANIFEST_H
#define WF_STORE_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "wf_dataset.h"

#define WF_MANIFEST_BLOCK 4096u              /* the file's granule */
#define WF_MANIFEST_ALIGN 64u                /* of small parts */
#define WF_MANIFEST_MAX   ((uint64_t)1 << 30) /* bytes of a manifest */

struct wf_trailer {
	uint64_t magic;
	uint32_t version;
	uint32_t reserved;
	uint64_t file_bytes;
	uint64_t manifest_offset;
	uint64_t manifest_bytes;
	uint64_t manifest_sum;
	uint64_t reserved2;
	uint64_t sum; /* of the bytes before it */
};
_Static_assert(sizeof(struct wf_trailer) == 64, "the last line of the file");

/* For a manifest of `bytes` at `offset` in a file of `file_bytes`. */
void wf_trailer_make(
	struct wf_trailer *trailer, const void *manifest, uint64_t bytes, uint64_t offset,
	uint64_t file_bytes);
/* NULL, or what is wrong with it in a file of this length. Text is static. */
const char *wf_trailer_check(const struct wf_trailer *trailer, uint64_t file_bytes);

/* A manifest in the making: bytes that grow. Zeroed, it is ready for wf_manifest_begin(). */
struct wf_manifest_builder {
	char *bytes;
	size_t size, room;
	uint64_t payload_bytes;
	uint32_t part_count;
};
/* Errors: -EINVAL a name, key or value that is not allowed, -ENOMEM. */
int wf_manifest_begin(struct wf_manifest_builder *builder, const struct wf_dataset_spec *spec);
/* One more part, at `offset` of the file. Errors: -EINVAL, -E2BIG, -ENOMEM. */
int wf_manifest_add(
	struct wf_manifest_builder *builder, const struct wf_dataset_part *part, uint64_t offset,
	uint64_t sum);
/* Complete: bytes[0 .. size) are the manifest. */
void wf_manifest_finish(struct wf_manifest_builder *builder);
void wf_manifest_builder_fini(struct wf_manifest_builder *builder);

struct wf_manifest_part {
	uint64_t offset, size, sum;
	const void *meta;
	uint32_t tag, meta_bytes;
};
/* A manifest as read. Pointers are into `bytes`. */
struct wf_manifest {
	struct wf_dataset_info info;
	struct wf_dataset_pair *pairs;
	struct wf_manifest_part *parts;
	char *bytes;
};
/*
 * Parse `size` bytes, of any content, for a file whose parts end before `data_bytes`. What comes
 * out has parts in ascending order that do not overlap, and texts that end.
 *
 * Owned:  `bytes` (of wf_malloc()) is consumed on success; wf_manifest_fini() `out`.
 * Errors: -EBADMSG with a static text in `*reason`, -ENOMEM. `*out` untouched.
 */
int wf_manifest_parse(
	struct wf_manifest *out, char *bytes, size_t size, uint64_t data_bytes,
	const char **reason);
void wf_manifest_fini(struct wf_manifest *manifest);

#endif /* WF_STORE_MANIFEST_H */
