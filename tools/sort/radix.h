/*
 * radix.h: a stable in-memory sort of (8 key bytes, location) pairs.
 */
#ifndef WEFT_SORT_RADIX_H
#define WEFT_SORT_RADIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* `key` holds a word of the record's key, see wf_sort_word(); `loc` says where it is. */
struct wf_sort_entry {
	uint64_t key;
	uint64_t loc; /* piece number << 32 | byte offset inside the piece: grows in input order */
};

/*
 * Where the records are and which of their bytes are the key: `key_bytes` from `key_offset` on, or
 * for lines all from `key_offset` to the newline, which all of them have. Behind the newline of a
 * line 8 more bytes can be read.
 */
struct wf_sort_source {
	const uint8_t *const *pieces; /* borrowed; first byte of each piece */
	uint32_t key_offset;
	uint32_t key_bytes;
	bool lines;
};

static inline uint64_t wf_sort_loc(uint64_t piece, uint64_t offset)
{
	return piece << 32 | offset;
}

static inline const uint8_t *wf_sort_record(const struct wf_sort_source *source, uint64_t loc)
{
	return source->pieces[loc >> 32] + (uint32_t)loc;
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

#define WF_SORT_LINE_STEP 7 /* bytes of a line in a word */

/*
 * Bytes [7 * word, 7 * word + 7) of a line as a number, and in its lowest byte how many there are:
 * 8 says that the line goes on behind them. So a line that ends orders before one that goes on
 * with zero bytes. The line must have 7 * word bytes at least.
 */
static inline uint64_t wf_sort_line_word(const uint8_t *line, size_t word)
{
	const uint64_t ones = 0x0101010101010101u;
	uint64_t value, found, n;

	memcpy(&value, line + WF_SORT_LINE_STEP * word, sizeof(value));
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
	value = __builtin_bswap64(value);
#endif
	/* The lowest set bit is at the first newline; higher ones may be wrong. */
	found = value ^ ones * '\n';
	found = (found - ones) & ~found & ones * 0x80;
	n = found ? (uint64_t)__builtin_ctzll(found) / 8 : 8;
	value = __builtin_bswap64(value);
	if (n < WF_SORT_LINE_STEP)
		return n ? (value & ~(uint64_t)0 << (64 - 8 * n)) | n : 0;
	return (value & ~(uint64_t)0xff) | n;
}

/* Word `word` of a record's key: words order like the keys, the first that differs decides. */
static inline uint64_t wf_sort_word(const struct wf_sort_source *source, const uint8_t *record,
                                    size_t word)
{
	record += source->key_offset;
	return source->lines ? wf_sort_line_word(record, word)
			     : wf_sort_key_word(record, source->key_bytes, word);
}

/* Whether keys whose words up to `word` are equal, the last one being `value`, are equal. */
static inline bool wf_sort_word_is_last(const struct wf_sort_source *source, uint64_t value,
                                        size_t word)
{
	if (source->lines)
		return (value & 0xff) <= WF_SORT_LINE_STEP;
	return (word + 1) * 8 >= source->key_bytes;
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
