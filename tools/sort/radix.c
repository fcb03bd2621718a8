/*
 * radix.c: the stable sort of one partition's entries.
 *
 * An entry is 16 bytes: 8 key bytes as a number, and where the record lies. Records themselves do
 * not move while they are sorted; they are gathered once afterwards.
 *
 * The method is a hybrid. A least-significant-digit radix sort would need eight passes over the
 * word; but n keys are told apart by little more than log2(n) of their highest varying bits. So
 * only those are sorted by digits, and each run that is still equal is sorted again by the bits
 * below (recursion), by insertion when it is short, or by the next word of the key when the whole
 * word is equal. Every step is stable, so the whole is.
 *
 * Keys made against this method could nest deeply (each level splitting off few). Nesting is
 * therefore limited, and below the limit a merge sort that compares whole keys takes over: the
 * stack is bounded and the time O(n log n) compares at worst.
 */
#include "radix.h"

#include "check.h"

#define INSERTION_MAX 24 /* 8 and 48 were slower by some percent on random keys */
#define NESTING_MAX   32
#define DIGIT_BITS    8
#define DIGITS        (1u << DIGIT_BITS)
#define PASSES_MAX    4

/* Both end in a newline, which is less than nothing. */
static int compare_lines(const uint8_t *x, const uint8_t *y)
{
	size_t n = (size_t)((const uint8_t *)rawmemchr(x, '\n') - x);
	size_t m = (size_t)((const uint8_t *)rawmemchr(y, '\n') - y);
	int order = memcmp(x, y, n < m ? n : m);

	return order ? order : n < m ? -1 : n > m;
}

/* Order of two entries whose words before `word` are equal. */
static int compare(const struct wf_sort_source *source, const struct wf_sort_entry *a,
                   const struct wf_sort_entry *b, uint32_t word)
{
	size_t done = ((size_t)word + 1) * 8;
	const uint8_t *x, *y;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	if (wf_sort_word_is_last(source, a->key, word))
		return 0;
	if (source->lines)
		done = ((size_t)word + 1) * WF_SORT_LINE_STEP;
	x = wf_sort_record(source, a->loc) + source->key_offset + done;
	y = wf_sort_record(source, b->loc) + source->key_offset + done;
	if (!source->lines)
		return memcmp(x, y, source->key_bytes - done);
	return compare_lines(x, y);
}

static void sort_by_insertion(struct wf_sort_entry *entries, size_t n,
                              const struct wf_sort_source *source, uint32_t word)
{
	for (size_t i = 1; i < n; i++) {
		struct wf_sort_entry entry = entries[i];
		size_t at = i;

		for (; at > 0 && compare(source, &entry, &entries[at - 1], word) < 0; at--)
			entries[at] = entries[at - 1];
		entries[at] = entry;
	}
}

/* Merge two sorted neighbours into `out`. The left one wins ties: that is the stability. */
static void merge(const struct wf_sort_entry *left, size_t n_left,
                  const struct wf_sort_entry *right, size_t n_right, struct wf_sort_entry *out,
                  const struct wf_sort_source *source, uint32_t word)
{
	while (n_left && n_right) {
		if (compare(source, right, left, word) < 0) {
			*out++ = *right++;
			n_right--;
		} else {
			*out++ = *left++;
			n_left--;
		}
	}
	memcpy(out, left, n_left * sizeof(*out));
	memcpy(out + n_left, right, n_right * sizeof(*out));
}

static void sort_by_merging(struct wf_sort_entry *entries, struct wf_sort_entry *scratch, size_t n,
                            const struct wf_sort_source *source, uint32_t word)
{
	struct wf_sort_entry *from = entries, *to = scratch, *swap;

	for (size_t at = 0; at < n; at += INSERTION_MAX)
		sort_by_insertion(entries + at, n - at < INSERTION_MAX ? n - at : INSERTION_MAX,
		                  source, word);
	for (size_t run = INSERTION_MAX; run < n; run *= 2) {
		for (size_t at = 0; at < n; at += 2 * run) {
			size_t left = n - at < run ? n - at : run;
			size_t right = n - at - left < run ? n - at - left : run;

			merge(from + at, left, from + at + left, right, to + at, source, word);
		}
		swap = from;
		from = to;
		to = swap;
	}
	if (from != entries)
		memcpy(entries, from, n * sizeof(*entries));
}

/* One stable counting pass over the digit at `shift`; `count` becomes the bucket starts. */
static void pass(const struct wf_sort_entry *from, struct wf_sort_entry *to, size_t n,
                 unsigned shift, uint32_t *count)
{
	uint32_t start = 0;

	for (size_t digit = 0; digit < DIGITS; digit++) {
		uint32_t here = count[digit];

		count[digit] = start;
		start += here;
	}
	WF_CHECK(start == n);
	for (size_t i = 0; i < n; i++)
		to[count[from[i].key >> shift & (DIGITS - 1)]++] = from[i];
}

/*
 * Sort by the `passes` digits that start at bit `low`. Its counters are the reason for a frame of
 * its own: they are gone before the recursion goes on.
 */
static WF_NOINLINE void sort_by_digits(struct wf_sort_entry *entries, struct wf_sort_entry *scratch,
                                       size_t n, unsigned low, unsigned passes)
{
	uint32_t count[PASSES_MAX][DIGITS];
	struct wf_sort_entry *from = entries, *to = scratch, *swap;

	WF_CHECK(passes <= PASSES_MAX);
	WF_CHECK(n <= UINT32_MAX);
	memset(count, 0, passes * sizeof(count[0]));
	for (size_t i = 0; i < n; i++) {
		uint64_t key = entries[i].key >> low;

		for (unsigned p = 0; p < passes; p++, key >>= DIGIT_BITS)
			count[p][key & (DIGITS - 1)]++;
	}
	for (unsigned p = 0; p < passes; p++) {
		unsigned shift = low + p * DIGIT_BITS;

		if (count[p][from[0].key >> shift & (DIGITS - 1)] == n)
			continue; /* the digit is the same everywhere */
		pass(from, to, n, shift, count[p]);
		swap = from;
		from = to;
		to = swap;
	}
	if (from != entries)
		memcpy(entries, from, n * sizeof(*entries));
}

static uint64_t varying_bits(const struct wf_sort_entry *entries, size_t n)
{
	uint64_t bits = 0;

	for (size_t i = 1; i < n; i++)
		bits |= entries[i].key ^ entries[0].key;
	return bits;
}

/* Enough digits to leave runs of about one: log2(n) bits and a few for uneven keys. */
static unsigned passes_for(size_t n)
{
	unsigned bits = 64 - (unsigned)__builtin_clzll(n) + 6;
	unsigned passes = (bits + DIGIT_BITS - 1) / DIGIT_BITS;

	return passes < PASSES_MAX ? passes : PASSES_MAX;
}

static void sort_nested(struct wf_sort_entry *entries, struct wf_sort_entry *scratch, size_t n,
                        const struct wf_sort_source *source, uint32_t word, unsigned nesting)
{
	uint64_t bits;
	unsigned high, low, passes;

	while (n > INSERTION_MAX && !(bits = varying_bits(entries, n))) {
		if (wf_sort_word_is_last(source, entries[0].key, word))
			return; /* equal keys, in input order as they came */
		word++;
		for (size_t i = 0; i < n; i++)
			entries[i].key =
				wf_sort_word(source, wf_sort_record(source, entries[i].loc), word);
	}
	if (n <= INSERTION_MAX) {
		sort_by_insertion(entries, n, source, word);
		return;
	}
	if (nesting == NESTING_MAX) {
		sort_by_merging(entries, scratch, n, source, word);
		return;
	}
	high = 64 - (unsigned)__builtin_clzll(bits);
	passes = passes_for(n);
	if (passes * DIGIT_BITS > high)
		passes = (high + DIGIT_BITS - 1) / DIGIT_BITS;
	low = high > passes * DIGIT_BITS ? high - passes * DIGIT_BITS : 0;
	sort_by_digits(entries, scratch, n, low, passes);
	for (size_t at = 0, end; at < n; at = end) {
		for (end = at + 1; end < n; end++) {
			if (entries[end].key >> low != entries[at].key >> low)
				break;
		}
		if (end - at > 1)
			sort_nested(entries + at, scratch + at, end - at, source, word,
			            nesting + 1);
	}
}

void wf_sort_entries(struct wf_sort_entry *entries, struct wf_sort_entry *scratch, size_t n,
                     const struct wf_sort_source *source, uint32_t word)
{
	WF_CHECK(n == 0 || (entries != NULL && scratch != NULL));
	WF_CHECK(entries != scratch || n == 0);
	if (n > 1)
		sort_nested(entries, scratch, n, source, word, 0);
}
