/*
 * images.c: see images.h. Both libraries are asked for RGB whatever the file has.
 *
 * libjpeg ends a failed call by a jump, so each function that calls it begins with its landing
 * place and has no variable that changes in between.
 */
#include "images.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HAVE_JPEG
#include <jpeglib.h>
#endif
#ifdef HAVE_PNG
#include <png.h>
#endif

enum format { FORMAT_NONE, FORMAT_JPEG, FORMAT_PNG };

struct image_reader {
	enum format format;
	FILE *file;
#ifdef HAVE_JPEG
	struct jpeg_decompress_struct jpeg;
	struct jpeg_error_mgr errors;
	jmp_buf landing;
	char *why; /* where errors are told, of the call that is going on */
#endif
#ifdef HAVE_PNG
	png_image png;
#endif
};

static bool refuse(char why[IMAGE_WHY_MAX], const char *text)
{
	snprintf(why, IMAGE_WHY_MAX, "%s", text);
	return false;
}

/* ---- JPEG ------------------------------------------------------------------------------- */

#ifdef HAVE_JPEG
static struct image_reader *reader_of(j_common_ptr jpeg)
{
	return (struct image_reader *)jpeg->client_data;
}

static void on_error(j_common_ptr jpeg)
{
	char text[JMSG_LENGTH_MAX];

	jpeg->err->format_message(jpeg, text);
	refuse(reader_of(jpeg)->why, text);
	longjmp(reader_of(jpeg)->landing, 1);
}

/* Warnings: a file that ends early is read as far as it goes. */
static void on_message(j_common_ptr jpeg)
{
	(void)jpeg;
}

static bool jpeg_begin(struct image *image, uint32_t side)
{
	struct image_reader *reader = image->reader;
	struct jpeg_decompress_struct *jpeg = &reader->jpeg;

	jpeg->err = jpeg_std_error(&reader->errors);
	reader->errors.error_exit = on_error;
	reader->errors.output_message = on_message;
	jpeg->client_data = reader;
	if (setjmp(reader->landing))
		return false;
	jpeg_create_decompress(jpeg);
	/* A progressive one is kept whole, at its full size, while it is read. */
	jpeg->mem->max_memory_to_use = 8 * (long)IMAGE_BYTES;
	jpeg_stdio_src(jpeg, reader->file);
	jpeg_read_header(jpeg, TRUE);
	jpeg->out_color_space = JCS_RGB;
	jpeg->scale_denom = 1;
	while (jpeg->scale_denom < 8 && jpeg->image_width / (2 * jpeg->scale_denom) >= side &&
	       jpeg->image_height / (2 * jpeg->scale_denom) >= side)
		jpeg->scale_denom *= 2;
	jpeg_calc_output_dimensions(jpeg);
	image->width = jpeg->output_width;
	image->height = jpeg->output_height;
	return true;
}

static bool jpeg_finish(struct image *image, uint8_t *rgb)
{
	struct jpeg_decompress_struct *jpeg = &image->reader->jpeg;

	if (setjmp(image->reader->landing))
		return false;
	jpeg_start_decompress(jpeg);
	while (jpeg->output_scanline < jpeg->output_height) {
		JSAMPROW row = rgb + (size_t)jpeg->output_scanline * image->width * 3;

		jpeg_read_scanlines(jpeg, &row, 1);
	}
	jpeg_finish_decompress(jpeg);
	return true;
}

static bool jpeg_write(FILE *file, const uint8_t *rgb, uint32_t width, uint32_t height)
{
	struct jpeg_compress_struct jpeg;
	struct jpeg_error_mgr errors;

	jpeg.err = jpeg_std_error(&errors);
	jpeg_create_compress(&jpeg);
	jpeg_stdio_dest(&jpeg, file);
	jpeg.image_width = width;
	jpeg.image_height = height;
	jpeg.input_components = 3;
	jpeg.in_color_space = JCS_RGB;
	jpeg_set_defaults(&jpeg);
	jpeg_start_compress(&jpeg, TRUE);
	while (jpeg.next_scanline < height) {
		uint8_t row[3 * 4096];
		JSAMPROW at = row;

		memcpy(row, rgb + (size_t)jpeg.next_scanline * width * 3, (size_t)width * 3);
		jpeg_write_scanlines(&jpeg, &at, 1);
	}
	jpeg_finish_compress(&jpeg);
	jpeg_destroy_compress(&jpeg);
	return true;
}
#endif

/* ---- PNG -------------------------------------------------------------------------------- */

#ifdef HAVE_PNG
static bool png_begin(struct image *image, char why[IMAGE_WHY_MAX])
{
	struct image_reader *reader = image->reader;

	reader->png = (png_image){ .version = PNG_IMAGE_VERSION };
	if (!png_image_begin_read_from_stdio(&reader->png, reader->file))
		return refuse(why, reader->png.message);
	reader->png.format = PNG_FORMAT_RGB;
	image->width = reader->png.width;
	image->height = reader->png.height;
	return true;
}

/* What is transparent is black. */
static bool png_finish(struct image *image, uint8_t *rgb, char why[IMAGE_WHY_MAX])
{
	static const png_color black = { 0, 0, 0 };
	png_image *png = &image->reader->png;

	return png_image_finish_read(png, &black, rgb, 0, NULL) || refuse(why, png->message);
}

static bool png_write(FILE *file, const uint8_t *rgb, uint32_t width, uint32_t height)
{
	png_image png = { .version = PNG_IMAGE_VERSION,
		          .width = width,
		          .height = height,
		          .format = PNG_FORMAT_RGB };

	return png_image_write_to_stdio(&png, file, 0, rgb, 0, NULL);
}
#endif

/* ---- Either ----------------------------------------------------------------------------- */

bool images_can(void)
{
#if defined(HAVE_JPEG) || defined(HAVE_PNG)
	return true;
#else
	return false;
#endif
}

static enum format format_of(FILE *file)
{
	uint8_t first[4] = { 0 };

	if (fread(first, 1, sizeof(first), file) != sizeof(first))
		return FORMAT_NONE;
	rewind(file);
	if (first[0] == 0xff && first[1] == 0xd8)
		return FORMAT_JPEG;
	return memcmp(first, "\x89PNG", 4) ? FORMAT_NONE : FORMAT_PNG;
}

static bool begin(struct image *image, uint32_t side, char why[IMAGE_WHY_MAX])
{
	(void)image, (void)side;
#ifdef HAVE_JPEG
	image->reader->why = why;
	if (image->reader->format == FORMAT_JPEG)
		return jpeg_begin(image, side);
#endif
#ifdef HAVE_PNG
	if (image->reader->format == FORMAT_PNG)
		return png_begin(image, why);
#endif
	return refuse(why, "neither JPEG nor PNG, or this program was built without its library");
}

bool image_open(struct image *image, const char *path, uint32_t side, char why[IMAGE_WHY_MAX])
{
	struct image_reader *reader = calloc(1, sizeof(*reader));

	*image = (struct image){ .reader = reader };
	if (!reader)
		return refuse(why, "no memory");
	reader->file = fopen(path, "rbe");
	if (!reader->file) {
		refuse(why, strerror(errno));
	} else {
		reader->format = format_of(reader->file);
		if (begin(image, side, why) && image->width && image->height &&
		    (uint64_t)image->width * image->height <= IMAGE_BYTES / 3)
			return true;
		if (image->width)
			refuse(why, "too large");
	}
	image_close(image);
	return false;
}

bool image_read(struct image *image, uint8_t *rgb, char why[IMAGE_WHY_MAX])
{
	(void)image, (void)rgb;
#ifdef HAVE_JPEG
	image->reader->why = why;
	if (image->reader->format == FORMAT_JPEG)
		return jpeg_finish(image, rgb);
#endif
#ifdef HAVE_PNG
	if (image->reader->format == FORMAT_PNG)
		return png_finish(image, rgb, why);
#endif
	return refuse(why, "not open");
}

void image_close(struct image *image)
{
	struct image_reader *reader = image->reader;

	image->reader = NULL;
	if (!reader)
		return;
#ifdef HAVE_JPEG
	if (reader->format == FORMAT_JPEG)
		jpeg_destroy_decompress(&reader->jpeg);
#endif
#ifdef HAVE_PNG
	if (reader->format == FORMAT_PNG)
		png_image_free(&reader->png);
#endif
	if (reader->file)
		fclose(reader->file);
	free(reader);
}

/* ---- Finding them ----------------------------------------------------------------------- */

static bool add(struct image_names *names, const char *path)
{
	if (names->count == IMAGES_MAX)
		return false;
	names->name[names->count] = strdup(path);
	names->count += names->name[names->count] != NULL;
	return true;
}

/* Of nftw(), which gives its callback no argument. */
static struct image_names *walk_names;
static uint32_t walk_most;

/* By its name one that this program was built to read. */
static bool is_ours(const char *path)
{
	static const char *const ends[] = {
#ifdef HAVE_JPEG
		".jpg", ".jpeg",
#endif
#ifdef HAVE_PNG
		".png",
#endif
		NULL
	};
	const char *end = strrchr(path, '.');
	uint32_t i = 0;

	while (end && ends[i] && strcasecmp(end, ends[i]))
		i++;
	return end && ends[i];
}

static int walk(const char *path, const struct stat *facts, int kind, struct FTW *place)
{
	(void)facts, (void)place;
	if (kind != FTW_F || !is_ours(path))
		return 0;
	return walk_names->count >= walk_most || !add(walk_names, path);
}

bool images_find(struct image_names *names, const char *path, uint32_t most)
{
	struct stat facts;

	if (stat(path, &facts) < 0)
		return false;
	if (!S_ISDIR(facts.st_mode))
		return add(names, path);
	walk_names = names;
	walk_most = most;
	nftw(path, walk, 16, FTW_PHYS);
	return true;
}

/* ---- Making them ------------------------------------------------------------------------ */

static void paint(uint8_t *rgb, uint32_t width, uint32_t height, uint32_t seed)
{
	for (uint32_t y = 0; y < height; y++) {
		for (uint32_t x = 0; x < width; x++) {
			uint8_t *pixel = rgb + ((size_t)y * width + x) * 3;

			pixel[0] = (uint8_t)(x * 255 / width);
			pixel[1] = (uint8_t)(y * 255 / height);
			pixel[2] = (uint8_t)((x / 16 + y / 16 + seed) % 2 * 200 + seed % 50);
		}
	}
}

static bool write_image(FILE *file, uint32_t i)
{
	/* From smaller than what it becomes to several times as large; one is a single pixel. */
	uint32_t width = i == 2 ? 1 : 40 + i * 97 % 1500, height = i == 2 ? 1 : 30 + i * 61 % 1100;
	uint8_t *rgb = malloc((size_t)width * height * 3);
	bool good = rgb != NULL;

	if (good)
		paint(rgb, width, height, i);
#if defined(HAVE_JPEG) && defined(HAVE_PNG)
	good = good && (i % 2 ? jpeg_write : png_write)(file, rgb, width, height);
#elif defined(HAVE_JPEG)
	good = good && jpeg_write(file, rgb, width, height);
#elif defined(HAVE_PNG)
	good = good && png_write(file, rgb, width, height);
#else
	good = false;
	(void)file;
#endif
	free(rgb);
	return good;
}

/* What cannot be read: no image at all, a JPEG of nothing, a PNG that ends in the middle. */
static bool write_broken(FILE *file, uint32_t i)
{
	long bytes;

	if (i == 0)
		return fputs("this is no image\n", file) >= 0;
	if (i == 1)
		return fputs("\xff\xd8 nor is this\n", file) >= 0;
	if (!write_image(file, 0) || fflush(file) || (bytes = ftell(file)) < 0)
		return false;
	return ftruncate(fileno(file), bytes / 2) == 0;
}

bool images_generate(struct image_names *names, const char *directory, uint32_t n)
{
	names->broken = 2;
#ifdef HAVE_PNG
	names->broken = 3;
#endif
	for (uint32_t i = 0; i < n + names->broken; i++) {
		char path[4096];
		FILE *file;
		bool good;

		snprintf(path, sizeof(path), "%s/image-%u", directory, i);
		file = fopen(path, "wbe");
		if (!file)
			return false;
		good = i < n ? write_image(file, i) : write_broken(file, i - n);
		good = fclose(file) == 0 && good;
		if (!good || !add(names, path))
			return false;
	}
	return true;
}
