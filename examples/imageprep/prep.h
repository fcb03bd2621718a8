/*
 * prep.h: one pixel of the preprocessing, in the words that C and CUDA share: the kernel of prep.cu
 * and its twin for simulated devices run this very text.
 *
 * An image of 8-bit RGB is resized to a square (bilinear, centres of pixels on centres), brought to
 * the mean and deviation that networks for ImageNet were trained with, and stored as three planes
 * of 16-bit floats: one image of a batch in NCHW order.
 */
#ifndef PREP_H
#define PREP_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define PREP_BOTH static __device__ inline
#else
#define PREP_BOTH static inline
#endif

#define PREP_THREADS 256u

/* The one argument of the kernel. Addresses are the device's. */
struct prep_image {
	uint64_t from;          /* RGB, rows without gaps */
	uint64_t to;            /* 3 planes of side x side */
	uint32_t width, height; /* 0: there is no image, the planes become zero */
	uint32_t side, reserved0;
};

/* To the nearest 16-bit float, to an even one between two; what is too large is infinite. */
PREP_BOTH uint16_t prep_half(float value)
{
	uint32_t bits, exponent, mantissa, half, rest, middle;

	memcpy(&bits, &value, sizeof(bits));
	exponent = bits >> 23 & 0xff;
	mantissa = bits & 0x7fffff;
	if (exponent >= 143) {
		half = 0x7c00;
		rest = middle = 0;
	} else if (exponent >= 113) {
		half = (exponent - 112) << 10 | mantissa >> 13;
		rest = mantissa & 0x1fff;
		middle = 0x1000;
	} else {
		uint32_t shift = 126 - exponent < 25 ? 126 - exponent : 25;

		mantissa = exponent ? mantissa | 0x800000 : 0;
		half = mantissa >> shift;
		rest = mantissa & ((1u << shift) - 1);
		middle = 1u << (shift - 1);
	}
	if (rest > middle || (rest == middle && rest && (half & 1)))
		half++;
	return (uint16_t)((bits >> 16 & 0x8000) | half);
}

/* Where pixel `i` of `side` is among `n`: *part of the way from *first to *second. */
PREP_BOTH void prep_place(uint32_t i, uint32_t side, uint32_t n, uint32_t *first, uint32_t *second,
                          float *part)
{
	float at = ((float)i + 0.5f) * ((float)n / (float)side) - 0.5f;

	at = at < 0 ? 0 : at > (float)(n - 1) ? (float)(n - 1) : at;
	*first = (uint32_t)at;
	*second = *first + 1 < n ? *first + 1 : *first;
	*part = at - (float)*first;
}

/* All three planes at place `i`. */
PREP_BOTH void prep_pixel(const struct prep_image *image, const uint8_t *rgb, uint16_t *out,
                          uint32_t i)
{
	const float scale[3] = { 1 / (255 * 0.229f), 1 / (255 * 0.224f), 1 / (255 * 0.225f) };
	const float shift[3] = { 0.485f / 0.229f, 0.456f / 0.224f, 0.406f / 0.225f };
	uint32_t plane = image->side * image->side, x0, x1, y0, y1;
	float x, y;

	if (image->width == 0) {
		for (uint32_t c = 0; c < 3; c++)
			out[c * plane + i] = 0;
		return;
	}
	prep_place(i % image->side, image->side, image->width, &x0, &x1, &x);
	prep_place(i / image->side, image->side, image->height, &y0, &y1, &y);
	for (uint32_t c = 0; c < 3; c++) {
		const uint8_t *row0 = rgb + (uint64_t)y0 * image->width * 3 + c;
		const uint8_t *row1 = rgb + (uint64_t)y1 * image->width * 3 + c;
		float upper = (float)row0[3 * x0] * (1 - x) + (float)row0[3 * x1] * x;
		float lower = (float)row1[3 * x0] * (1 - x) + (float)row1[3 * x1] * x;
		float value = upper * (1 - y) + lower * y;

		out[c * plane + i] = prep_half(value * scale[c] - shift[c]);
	}
}

#endif /* PREP_H */
