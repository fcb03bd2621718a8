/*
 * images.h: JPEG and PNG files as 8-bit RGB, by libjpeg-turbo and libpng where they were found.
 */
#ifndef IMAGES_H
#define IMAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGES_MAX    1024u
#define IMAGE_BYTES   (60u << 20) /* of one image as RGB, at most: eight of them in half a GiB */
#define IMAGE_WHY_MAX 200

/* An image that is being read. */
struct image {
	uint32_t width, height; /* as it will be read */
	struct image_reader *reader;
};

/*
 * Begin to read: width and height are known then. A JPEG may be read at a half, a quarter or an
 * eighth of its size as long as both sides are `side` at least. False: `why` says why not.
 */
bool image_open(struct image *image, const char *path, uint32_t side, char why[IMAGE_WHY_MAX]);
/* All of it, 3 bytes for each pixel, rows without gaps. False as above. */
bool image_read(struct image *image, uint8_t *rgb, char why[IMAGE_WHY_MAX]);
void image_close(struct image *image);

/* Whether there is anything that can be read. */
bool images_can(void);

struct image_names {
	char *name[IMAGES_MAX];
	uint32_t count, broken;
};
/*
 * Add the file, or below the directory those that are named as images that can be read, while there
 * are less than `most`. False: it is not there, or there are IMAGES_MAX.
 */
bool images_find(struct image_names *names, const char *path, uint32_t most);
/*
 * Write `n` images of many sizes into `directory`, and behind them `broken` files that cannot be
 * read, and add their names. False: one could not be written.
 */
bool images_generate(struct image_names *names, const char *directory, uint32_t n);

#endif /* IMAGES_H */
