/*
 * record.c: headers of records, written and read.
 *
 * A header is sixty-four bytes in the byte order of the machine: the files have no name and die
 * with the process. It names the object completely (session, id, generation, size), so that a
 * record that was swapped with another, or is left over from an earlier use of the file, is found
 * out even though it is whole. Its own sum covers everything before it, so that no field is
 * believed that was not written as such.
 */
#include "record.h"

#include <string.h>

#include "sum.h"

#define MAGIC   0x7472a91466657701u
#define VERSION 1u

struct header {
	uint64_t magic;
	uint32_t version;
	uint32_t generation;
	uint64_t session;
	uint64_t id;
	uint64_t size;
	uint64_t sum;
	uint64_t zero;
	uint64_t header_sum; /* of all before it */
};

_Static_assert(sizeof(struct header) == WF_RECORD_HEADER, "sixty-four bytes without a hole");
_Static_assert(offsetof(struct header, header_sum) == WF_RECORD_HEADER - 8, "the sum is last");

void wf_record_write(void *header, const struct wf_record *record)
{
	struct header h = {
		.magic = MAGIC,
		.version = VERSION,
		.generation = record->generation,
		.session = record->session,
		.id = record->id,
		.size = record->size,
		.sum = record->sum,
	};

	WF_CHECK(record->size <= WF_RECORD_SIZE_MAX);
	h.header_sum = wf_sum(&h, offsetof(struct header, header_sum));
	/* In two halves, which are moves: of all at once gcc makes a slow `rep movs`. */
	memcpy(header, &h, sizeof(h) / 2);
	memcpy((char *)header + sizeof(h) / 2, (const char *)&h + sizeof(h) / 2, sizeof(h) / 2);
}

const char *wf_record_parse(const void *header, size_t size, struct wf_record *out)
{
	struct header h;

	if (size < sizeof(h))
		return "the header is cut off";
	memcpy(&h, header, sizeof(h));
	if (h.magic != MAGIC)
		return "no record lies here";
	if (h.version != VERSION)
		return "the record is of another version";
	if (h.header_sum != wf_sum(&h, offsetof(struct header, header_sum)))
		return "the header's sum does not match";
	if (h.size > WF_RECORD_SIZE_MAX || h.zero != 0)
		return "the header says what cannot be";
	*out = (struct wf_record){
		.session = h.session,
		.id = h.id,
		.size = h.size,
		.sum = h.sum,
		.generation = h.generation,
	};
	return NULL;
}

const char *wf_record_differs(const struct wf_record *found, const struct wf_record *wanted)
{
	if (found->session != wanted->session)
		return "the record is of another session";
	if (found->id != wanted->id)
		return "the record is of another object";
	if (found->generation != wanted->generation)
		return "the record is of another generation of the object";
	if (found->size != wanted->size)
		return "the record is of another size";
	return NULL;
}
