/*
 * record.h: one object in a segment file: a header of 64 bytes that says what it is, and the
 * bytes. Where each of them lies follows from the size alone.
 *
 *   packed (size <= WF_RECORD_PACKED_MAX): the header, then the bytes, anywhere at a multiple of
 *   64; neighbours share pages.
 *   paged (larger): the bytes from the start of a page, the header in the last 64 bytes of the
 *   last page. So all whole pages can be moved straight from and to the object's place, and the
 *   rest, which needs a detour for its alignment, carries the header along.
 */
#ifndef WF_RECORD_H
#define WF_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base.h"

#define WF_RECORD_PAGE       ((uint64_t)4096)
#define WF_RECORD_ALIGN      ((uint64_t)64)
#define WF_RECORD_HEADER     ((uint64_t)64)
#define WF_RECORD_PACKED_MAX ((uint64_t)256 << 10)
/* What page numbers of 32 bits and a byte of bookkeeping for each page can bear. */
#define WF_RECORD_SIZE_MAX   ((uint64_t)1 << 40)

/* What a header says. */
struct wf_record {
	uint64_t session;
	uint64_t id;
	uint64_t size;
	uint64_t sum; /* of the bytes */
	uint32_t generation;
};

/* Write the header of `record`: 64 bytes. */
void wf_record_write(void *header, const struct wf_record *record);
/*
 * Read a header out of `size` arbitrary bytes. NULL: `out` is filled in, and its size is at most
 * WF_RECORD_SIZE_MAX. Otherwise what is wrong with it; `out` is untouched.
 */
const char *wf_record_parse(const void *header, size_t size, struct wf_record *out);
/* NULL, or in which point the record found is another one than the record wanted (sums apart). */
const char *wf_record_differs(const struct wf_record *found, const struct wf_record *wanted);

static inline uint64_t wf_record_round(uint64_t bytes, uint64_t unit)
{
	return (bytes + unit - 1) & ~(unit - 1);
}

static inline bool wf_record_is_packed(uint64_t size)
{
	return size <= WF_RECORD_PACKED_MAX;
}

/* How many bytes the record takes in its file, from its place on. */
static inline uint64_t wf_record_bytes(uint64_t size)
{
	if (wf_record_is_packed(size))
		return WF_RECORD_HEADER + size;
	return wf_record_round(size + WF_RECORD_HEADER, WF_RECORD_PAGE);
}

/* Where its header begins, from its place on. */
static inline uint64_t wf_record_header_at(uint64_t size)
{
	return wf_record_is_packed(size) ? 0 : wf_record_bytes(size) - WF_RECORD_HEADER;
}

/* Where its bytes begin, from its place on. */
static inline uint64_t wf_record_payload_at(uint64_t size)
{
	return wf_record_is_packed(size) ? WF_RECORD_HEADER : 0;
}

/* What a record's place is a multiple of. */
static inline uint64_t wf_record_unit(uint64_t size)
{
	return wf_record_is_packed(size) ? WF_RECORD_ALIGN : WF_RECORD_PAGE;
}

/* How many pages it touches when it begins `skip` bytes into one. */
static inline uint32_t wf_record_pages(uint32_t skip, uint64_t size)
{
	return (uint32_t)(wf_record_round(skip + wf_record_bytes(size), WF_RECORD_PAGE) /
	                  WF_RECORD_PAGE);
}

#endif /* WF_RECORD_H */
