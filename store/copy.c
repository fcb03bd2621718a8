/*
 * copy.c: copying into the store.
 *
 * Three ranges. Small copies are memcpy()'s, whose bytes the next reader finds in its cache. From
 * MOVSB_FROM on `rep movsb` is used where the CPU says that it is made for that (ERMS): it does not
 * read the lines that it is about to fill. From STREAM_FROM on the destination would not stay in
 * the cache anyway, and stores go around it. Measured on two machines with 32 MiB of last-level
 * cache, GB/s into warm memory of the store, memcpy / rep movsb / non-temporal: 256 KiB 36 / 36 /
 * 21 and 52 / - / -; 1 MiB 11 / 25 / 22; 100 MiB 7 / 10 / 12 and 20 / 28 / 27. Where the CPU has
 * stores of a whole line they are used: on a third machine, where two halves came out at 10 GB/s
 * and the others no faster, 15 at 4 and at 16 MiB; at 1 MiB 21 against 26 by `rep movsb`.
 *
 * Shared: `kernels`, written with the same value by whoever looks first, read by all.
 *
 * Progress: wait-free.
 */
#include "copy.h"

#include <string.h>

#include "mem.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#define CPUID_ERMS (1u << 9) /* leaf 7, ebx: "enhanced rep movsb" */
#endif

#define MOVSB_FROM  ((size_t)128 << 10)
#define STREAM_FROM ((size_t)4 << 20)

enum kernel { KNOWN = 1, HAS_MOVSB = 2, HAS_STREAM = 4, HAS_AVX2 = 8, HAS_AVX512 = 16 };

static struct wf_a32 kernels;

#if defined(__x86_64__)

static uint32_t find_kernels(void)
{
	unsigned int eax, ebx, ecx, edx;
	uint32_t found = KNOWN | HAS_STREAM;

	if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & CPUID_ERMS))
		found |= HAS_MOVSB;
	/* Also asks whether the system saves the wide registers. */
	if (__builtin_cpu_supports("avx2"))
		found |= HAS_AVX2;
	if (__builtin_cpu_supports("avx512f"))
		found |= HAS_AVX512;
	return found;
}

void wf_copy_movsb(void *dst, const void *src, size_t size)
{
	__asm__ volatile("rep movsb" : "+D"(dst), "+S"(src), "+c"(size) : : "memory");
}

/* Up to the first whole line of the destination: how many bytes. */
static size_t copy_head(char *dst, const char *src, size_t size)
{
	size_t head = -(uintptr_t)dst % WF_CACHE_LINE;

	WF_CHECK(dst <= src || (size_t)(dst - src) >= size);
	if (head > size)
		head = size;
	memcpy(dst, src, head);
	return head;
}

void wf_copy_stream_sse2(void *dst, const void *src, size_t size)
{
	size_t at = copy_head(dst, src, size);
	char *to = dst;
	const char *from = src;

	for (; size - at >= WF_CACHE_LINE; at += WF_CACHE_LINE) {
		const __m128i *in = (const __m128i *)(const void *)(from + at);
		__m128i *out = (__m128i *)(void *)(to + at);
		__m128i a = _mm_loadu_si128(in), b = _mm_loadu_si128(in + 1);
		__m128i c = _mm_loadu_si128(in + 2), d = _mm_loadu_si128(in + 3);

		_mm_stream_si128(out, a);
		_mm_stream_si128(out + 1, b);
		_mm_stream_si128(out + 2, c);
		_mm_stream_si128(out + 3, d);
	}
	/* Such stores are ordered by nothing else, and the bytes are about to be published. */
	_mm_sfence();
	memcpy(to + at, from + at, size - at);
}

__attribute__((target("avx2"))) static void stream_avx2(char *to, const char *from, size_t size)
{
	size_t at = copy_head(to, from, size);

	for (; size - at >= 2 * WF_CACHE_LINE; at += 2 * WF_CACHE_LINE) {
		const __m256i *in = (const __m256i *)(const void *)(from + at);
		__m256i *out = (__m256i *)(void *)(to + at);
		__m256i a = _mm256_loadu_si256(in), b = _mm256_loadu_si256(in + 1);
		__m256i c = _mm256_loadu_si256(in + 2), d = _mm256_loadu_si256(in + 3);

		_mm256_stream_si256(out, a);
		_mm256_stream_si256(out + 1, b);
		_mm256_stream_si256(out + 2, c);
		_mm256_stream_si256(out + 3, d);
	}
	_mm_sfence();
	memcpy(to + at, from + at, size - at);
}

void wf_copy_stream_avx2(void *dst, const void *src, size_t size)
{
	if (__builtin_cpu_supports("avx2"))
		stream_avx2(dst, src, size);
	else
		memcpy(dst, src, size);
}

__attribute__((target("avx512f"))) static void stream_avx512(char *to, const char *from,
                                                             size_t size)
{
	size_t at = copy_head(to, from, size);

	for (; size - at >= 2 * WF_CACHE_LINE; at += 2 * WF_CACHE_LINE) {
		__m512i a = _mm512_loadu_si512(from + at);
		__m512i b = _mm512_loadu_si512(from + at + WF_CACHE_LINE);

		_mm512_stream_si512((__m512i *)(void *)(to + at), a);
		_mm512_stream_si512((__m512i *)(void *)(to + at + WF_CACHE_LINE), b);
	}
	_mm_sfence();
	memcpy(to + at, from + at, size - at);
}

void wf_copy_stream_avx512(void *dst, const void *src, size_t size)
{
	if (__builtin_cpu_supports("avx512f"))
		stream_avx512(dst, src, size);
	else
		memcpy(dst, src, size);
}

#else

static uint32_t find_kernels(void)
{
	return KNOWN;
}

void wf_copy_movsb(void *dst, const void *src, size_t size)
{
	memcpy(dst, src, size);
}

void wf_copy_stream_sse2(void *dst, const void *src, size_t size)
{
	memcpy(dst, src, size);
}

void wf_copy_stream_avx2(void *dst, const void *src, size_t size)
{
	memcpy(dst, src, size);
}

void wf_copy_stream_avx512(void *dst, const void *src, size_t size)
{
	memcpy(dst, src, size);
}

#endif

static uint32_t known_kernels(void)
{
	/* relaxed, both: a number that is always the same. */
	uint32_t known = wf_load_relaxed(&kernels);

	if (WF_UNLIKELY(known == 0)) {
		known = find_kernels();
		WF_CHECK(known & KNOWN);
		wf_store_relaxed(&kernels, known);
	}
	return known;
}

void wf_copy_into(void *dst, const void *src, size_t size)
{
	uint32_t known;

	/* The sanitizers see into memcpy() and not into the others. */
	if (WF_LIKELY(size < MOVSB_FROM) || WF_ASAN || WF_TSAN) {
		memcpy(dst, src, size);
		return;
	}
	known = known_kernels();
	if (size >= STREAM_FROM && (known & HAS_AVX512))
		wf_copy_stream_avx512(dst, src, size);
	else if (size >= STREAM_FROM && (known & HAS_AVX2))
		wf_copy_stream_avx2(dst, src, size);
	else if (size >= STREAM_FROM && (known & HAS_STREAM))
		wf_copy_stream_sse2(dst, src, size);
	else if (known & HAS_MOVSB)
		wf_copy_movsb(dst, src, size);
	else
		memcpy(dst, src, size);
}

const char *wf_copy_kernel(size_t size)
{
	uint32_t known = known_kernels();

	if (size < MOVSB_FROM || WF_ASAN || WF_TSAN)
		return "memcpy";
	if (size >= STREAM_FROM && (known & HAS_STREAM))
		return "non-temporal";
	return known & HAS_MOVSB ? "rep movsb" : "memcpy";
}
