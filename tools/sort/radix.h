/*
 * radix.h: a stable in-memory sort of (8 key bytes, location) pairs.
 */
#ifndef WEFT_SORT_RADIX_H
#define WEFT_SORT_RADIX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* `key` holds 8 bytes of the record's key, most significant first; `loc` says where it is. */
struct wf_sort_entry {
	uint64_t key;
	uint64_t loc; /* chunk number << 32 | byte offset inside the chunk: grows in input order */
};

/* Where the records are and which of their bytes are the key. */
struct wf_sort_source {
	const uint8_t *const *chunks; /* borrowed; first byte of each chunk */
	uint32_t key_offset;
	uint32_t key_bytes;
};

static inline uint64_t wf_sort_loc(uint64_t chunk, uint64_t offset)
{
	return chunk << 32 | offset;
}

static inline const uint8_t *wf_sort_record(const struct wf_sort_source *source, uint64_t loc)
{
	return source->chunks[loc >> 32] + (uint32_t)loc;
}

/*
 * Bytes [8 * word, 8 * word + 8) of a key as a number that orders like the bytes do. Bytes past
 * the end of the key count as zero, which is right because all keys have one length.
 */
static inline uint64_t wf_sort_key_word(const uint8_t *key, size_t key_bytes, size_t word)
{
	size_t at = word * 8;
	size_t left = at < key_bytes ? key_bytes - at : 0;
	uint64_t value = 0;

	memcpy(&value, key + (left ? at : 0), left < 8 ? left : 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	value = __builtin_bswap64(value);
#endif
	return value;
}

/*
 * Sort `n` entries whose keys hold word `word` of the key; all earlier words are equal. Entries
 * with equal keys keep their order. Key fields are left with unspecified words.
 *
 * Owned:   `entries` and `scratch` (n entries each) are borrowed for the call.
 * Context: any thread; never suspends. Uses at most 20 KiB of stack.
 * Errors:  none.
 */
void wf_sort_entries(struct wf_sort_entry *entries, struct wf_sort_entry *scratch, size_t n,
                     const struct wf_sort_source *source, uint32_t word);

#endif /* WEFT_SORT_RADIX_H */
