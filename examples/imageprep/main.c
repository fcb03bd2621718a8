/*
 * imageprep: images for a network: decoded by tasks on CPUs, resized and normalised on a GPU.
 *
 *	imageprep                  images that systems have, else generated ones
 *	imageprep PATH...          JPEG and PNG files, or directories of them
 *	imageprep --generate N     N generated ones, and broken files among them
 *
 * One task decodes one image into its output. A task with half a GPU takes a batch of them: each
 * is brought to the device in a stream of its own (weft_cuda_input), a kernel makes it a 224 x 224
 * image of 16-bit floats, and the batch stays there as the task's output (weft_cuda_output). So two
 * batches are on the device, one comes up while the other is computed, while CPUs decode a third. A
 * task on the CPUs takes the batch, which comes down for it. At most DEPTH batches are under way,
 * whatever the number of images.
 *
 * An image that cannot be decoded fails its task; the batch takes that as a value and has zeros in
 * its place, and the program says which it was.
 *
 * All of it is done twice: first each batch is compared with a reference that is reckoned in
 * another way, then time is taken. At the end the same bytes are copied between pinned memory and
 * the device and nothing else is done: what no pipeline can be faster than.
 *
 * Without a card everything runs on a simulated device.
 */
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <weft.h>
#include <weft_cuda.h>

#include "images.h"
#include "prep.h"
#include "prep_ptx.h"

#define SIDE         224u
#define PLACES       (SIDE * SIDE)
#define OUT_BYTES    ((size_t)3 * PLACES * sizeof(uint16_t)) /* of one image */
#define BATCH        8u
#define DEPTH        3u
#define FOUND_MOST   64u
#define GENERATED    32u
#define BOUND_ROUNDS 32u
/* Half a step between two 16-bit floats is 0.001 at most; a GPU may round in between otherwise. */
#define TOLERANCE    0.003

/* Value of a decode task. */
struct pixels {
	uint32_t width, height;
	int64_t decode_ns;
	uint8_t rgb[];
};

/* Value of a check task. */
struct verdict {
	double difference; /* the largest */
	uint64_t bytes;    /* of RGB that went up */
	int64_t decode_ns;
};

struct batch {
	weft_ref image[BATCH];
	weft_ref check;
	uint32_t first, count;
};

struct app {
	weft_cuda *cuda;
	weft *rt;
	struct image_names names;
	char directory[64]; /* of generated images, "": there are none */
	bool checks;        /* a pass that compares, not the one that is timed */
	uint32_t failed;
	struct verdict sum;
};

static void check(const char *what, int64_t status)
{
	if (status < 0) {
		fprintf(stderr, "imageprep: %s: %s\n", what, weft_strerror((int)status));
		exit(1);
	}
}

/* Of a CPU, by this thread. A task is on one thread until it suspends. */
static int64_t used_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
}

/* ---- Decode, on a CPU ------------------------------------------------------------------- */

static int decode(weft_task *self)
{
	const char *path = *(const char *const *)weft_task_arg(self, NULL);
	int64_t begin_ns = used_ns();
	char why[IMAGE_WHY_MAX] = "";
	struct image image;
	size_t bytes;
	void *room;

	if (!image_open(&image, path, SIDE, why))
		return weft_fail(self, -EBADMSG, "%s", why);
	bytes = (size_t)image.width * image.height * 3;
	const int64_t open_ns = used_ns() - begin_ns;
	int status = weft_task_output(self, 0, sizeof(struct pixels) + bytes, &room);

	if (status == 0) {
		struct pixels *pixels = room;

		begin_ns = used_ns();
		memset(pixels->rgb, 0, bytes);
		*pixels = (struct pixels){ .width = image.width, .height = image.height };
		if (!image_read(&image, pixels->rgb, why))
			status = weft_fail(self, -EBADMSG, "%s", why);
		pixels->decode_ns = open_ns + used_ns() - begin_ns;
	}
	image_close(&image);
	return status;
}

/* ---- Resize and normalise, on a GPU ------------------------------------------------------ */

static void twin(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	struct prep_image image;
	const uint8_t *rgb = NULL;

	memcpy(&image, launch->args[0], sizeof(image));
	uint16_t *out = weft_cuda_twin_memory(cuda, image.to, OUT_BYTES);

	if (image.width)
		rgb = weft_cuda_twin_memory(cuda, image.from,
		                            (size_t)image.width * image.height * 3);
	for (uint32_t i = 0; i < PLACES; i++)
		prep_pixel(&image, rgb, out, i);
}

static const struct weft_cuda_kernel kernel = {
	.image = prep_ptx, .image_bytes = sizeof(prep_ptx), .name = "prep_image", .twin = twin
};

static int launch(weft_task *self, struct prep_image *image)
{
	static const uint16_t sizes[] = { sizeof(*image) };
	void *args[] = { image };

	return weft_cuda_launch(self,
	                        &(const struct weft_cuda_launch){
					.kernel = &kernel,
					.grid = { (PLACES + PREP_THREADS - 1) / PREP_THREADS },
					.block = { PREP_THREADS },
					.n_args = 1,
					.args = args,
					.args_bytes = sizes,
				});
}

/* Inputs: decoded images. Value: the batch, on the device. Returns when all is submitted. */
static int prepare(weft_task *self)
{
	const uint32_t n = weft_input_count(self);
	uint64_t out;
	int status = weft_cuda_output(self, 0, n * OUT_BYTES, &out);

	for (uint32_t i = 0; i < n && status == 0; i++) {
		struct prep_image image = { .to = out + i * OUT_BYTES, .side = SIDE };
		struct weft_view view;

		if (weft_input(self, i, &view) == 0) {
			const struct pixels *pixels = view.data;

			image.width = pixels->width;
			image.height = pixels->height;
			status = weft_cuda_input(self, i, &image.from, NULL);
			image.from += sizeof(struct pixels);
		}
		if (status == 0)
			status = launch(self, &image);
	}
	return status;
}

/* ---- Check, on a CPU -------------------------------------------------------------------- */

static double value_of(uint16_t half)
{
	const int exponent = half >> 10 & 31, mantissa = half & 1023;
	const double size = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);

	return half & 0x8000 ? -size : size;
}

/* The pixel at (x, y) of the result, from up to four of the image. */
static double reference(const struct pixels *pixels, uint32_t c, uint32_t x, uint32_t y)
{
	static const double mean[] = { 0.485, 0.456, 0.406 }, deviation[] = { 0.229, 0.224, 0.225 };
	const double u = fmin(fmax((x + 0.5) * pixels->width / SIDE - 0.5, 0), pixels->width - 1);
	const double v = fmin(fmax((y + 0.5) * pixels->height / SIDE - 0.5, 0), pixels->height - 1);
	double sum = 0;

	for (double row = floor(v); row <= ceil(v); row++) {
		for (double column = floor(u); column <= ceil(u); column++) {
			const size_t at = (size_t)row * pixels->width + (size_t)column;

			sum += pixels->rgb[3 * at + c] * (1 - fabs(u - column)) *
				(1 - fabs(v - row));
		}
	}
	return (sum / 255 - mean[c]) / deviation[c];
}

static double largest_difference(const struct pixels *pixels, const uint16_t *out)
{
	double most = 0;

	for (uint32_t i = 0; i < 3 * PLACES; i++) {
		const uint32_t place = i % PLACES;
		const double wanted =
			pixels ? reference(pixels, i / PLACES, place % SIDE, place / SIDE) : 0;
		const double difference = fabs(value_of(out[i]) - wanted);

		if (!(difference <= most))
			most = difference;
	}
	return most;
}

/* Inputs: the batch, on the host by then, and the images it was made of. Argument: compare them? */
static int take(weft_task *self)
{
	const bool checks = *(const bool *)weft_task_arg(self, NULL);
	struct verdict verdict = { .difference = 0 };
	struct weft_view batch, view;
	const int status = weft_input(self, 0, &batch);

	if (status < 0)
		return status;
	for (uint32_t i = 0; i + 1 < weft_input_count(self); i++) {
		const uint16_t *out = (const uint16_t *)batch.data + (size_t)i * 3 * PLACES;
		const struct pixels *pixels = NULL;

		if (weft_input(self, 1 + i, &view) == 0) {
			pixels = view.data;
			verdict.bytes += view.size;
			verdict.decode_ns += pixels->decode_ns;
		}
		const double difference = checks ? largest_difference(pixels, out) : 0;

		if (!(difference <= TOLERANCE))
			return weft_fail(self, -EBADMSG, "image %u of a batch is wrong by %g", i,
			                 difference);
		verdict.difference = fmax(verdict.difference, difference);
	}
	return weft_return(self, &verdict, sizeof(verdict));
}

/* ---- The pipeline ----------------------------------------------------------------------- */

static struct batch submit(struct app *app, uint32_t first)
{
	/* The second half is the next batch's. */
	static const struct weft_task_options on_gpu = { .struct_size = sizeof(on_gpu),
		                                         .gpus = 0.5,
		                                         .on_input_error = WEFT_INPUT_AS_VALUE };
	static const struct weft_task_options on_cpu = { .struct_size = sizeof(on_cpu),
		                                         .on_input_error = WEFT_INPUT_AS_VALUE };
	const uint32_t left = app->names.count - first;
	struct batch batch = { .first = first, .count = left < BATCH ? left : BATCH };
	weft_ref inputs[1 + BATCH];

	for (uint32_t i = 0; i < batch.count; i++) {
		check("submit",
		      weft_submit(app->rt, WEFT_TASK(decode, WEFT_ARG(app->names.name[first + i])),
		                  &batch.image[i]));
		inputs[1 + i] = batch.image[i];
	}
	check("submit",
	      weft_submit(app->rt,
	                  WEFT_TASK(prepare, .inputs = batch.image,
	                            .n_inputs = (uint16_t)batch.count, .opts = &on_gpu),
	                  &inputs[0]));
	check("submit",
	      weft_submit(app->rt,
	                  WEFT_TASK(take, WEFT_ARG(app->checks), .inputs = inputs,
	                            .n_inputs = (uint16_t)(1 + batch.count), .opts = &on_cpu),
	                  &batch.check));
	weft_release(app->rt, inputs[0]);
	return batch;
}

static const char *cause(weft *rt, weft_ref ref)
{
	const struct weft_error *error;

	if (weft_ref_error(rt, ref, &error) < 0)
		return "unknown";
	while (error->cause)
		error = error->cause;
	return error->text[0] ? error->text : weft_strerror(error->code);
}

/* Wait for a batch. The pass that checks says which images could not be decoded. */
static void collect(struct app *app, const struct batch *batch)
{
	const struct weft_error *error;
	struct verdict verdict;

	if (weft_get_copy(app->rt, batch->check, &verdict, sizeof(verdict)) < 0) {
		fprintf(stderr, "imageprep: %s\n", cause(app->rt, batch->check));
		exit(1);
	}
	app->sum.difference = fmax(app->sum.difference, verdict.difference);
	app->sum.bytes += verdict.bytes;
	app->sum.decode_ns += verdict.decode_ns;
	for (uint32_t i = 0; i < batch->count; i++) {
		if (app->checks && weft_ref_error(app->rt, batch->image[i], &error) == 0) {
			printf("%s: %s\n", app->names.name[batch->first + i],
			       cause(app->rt, batch->image[i]));
			app->failed++;
		}
		weft_release(app->rt, batch->image[i]);
	}
	weft_release(app->rt, batch->check);
}

static double run(struct app *app, bool checks)
{
	const uint32_t batches = (app->names.count + BATCH - 1) / BATCH;
	const int64_t begin_ns = weft_now(app->rt);
	struct batch batch[DEPTH];

	app->checks = checks;
	app->sum = (struct verdict){ .bytes = 0 };

	for (uint32_t b = 0; b < batches + DEPTH; b++) {
		if (b >= DEPTH && b - DEPTH < batches)
			collect(app, &batch[b % DEPTH]);
		if (b < batches)
			batch[b % DEPTH] = submit(app, b * BATCH);
	}
	return (double)(weft_now(app->rt) - begin_ns) * 1e-9;
}

/* ---- The copy bound --------------------------------------------------------------------- */

struct bound {
	void *up, *down;
	size_t up_bytes, down_bytes;
};

/* Copies as of so many batches, in one stream. */
static int copies(weft_task *self)
{
	const struct bound *bound = *(const struct bound *const *)weft_task_arg(self, NULL);
	uint64_t up, down;
	int status = weft_cuda_alloc(self, bound->up_bytes, &up);

	if (status == 0)
		status = weft_cuda_alloc(self, bound->down_bytes, &down);
	for (uint32_t i = 0; i < BOUND_ROUNDS / 2 && status == 0; i++) {
		status = weft_cuda_copy_in(self, up, bound->up, bound->up_bytes);
		if (status == 0)
			status = weft_cuda_copy_out(self, bound->down, down, bound->down_bytes);
	}
	return status;
}

/* How long the copies of all batches take alone, in two streams: they go up and down at once. */
static double copy_seconds(struct app *app)
{
	static const struct weft_task_options half = { .struct_size = sizeof(half), .gpus = 0.5 };
	const uint32_t batches = (app->names.count + BATCH - 1) / BATCH;
	struct bound bound[2], *arg[2] = { &bound[0], &bound[1] };
	weft_ref ref[2];
	int64_t begin_ns = 0;

	for (uint32_t i = 0; i < 2; i++) {
		bound[i] = (struct bound){ .up_bytes = app->sum.bytes / batches + 1,
			                   .down_bytes = BATCH * OUT_BYTES };
		check("pinned memory",
		      weft_cuda_host_alloc(app->rt, bound[i].up_bytes, &bound[i].up));
		check("pinned memory",
		      weft_cuda_host_alloc(app->rt, bound[i].down_bytes, &bound[i].down));
		memset(bound[i].up, 1, bound[i].up_bytes);
		memset(bound[i].down, 1, bound[i].down_bytes);
	}
	begin_ns = weft_now(app->rt);
	for (uint32_t i = 0; i < 2; i++)
		check("submit",
		      weft_submit(app->rt, WEFT_TASK(copies, WEFT_ARG(arg[i]), .opts = &half),
		                  &ref[i]));
	for (uint32_t i = 0; i < 2; i++) {
		check("copies", weft_get_copy(app->rt, ref[i], NULL, 0));
		weft_release(app->rt, ref[i]);
	}
	const double seconds = (double)(weft_now(app->rt) - begin_ns) * 1e-9;

	for (uint32_t i = 0; i < 2; i++) {
		weft_cuda_host_free(app->rt, bound[i].up);
		weft_cuda_host_free(app->rt, bound[i].down);
	}
	return seconds * batches / BOUND_ROUNDS;
}

/* ---- Start and end ---------------------------------------------------------------------- */

static void open_all(struct app *app)
{
	struct weft_cuda_options options = { .struct_size = sizeof(options) };

	check("devices", weft_cuda_open(&app->cuda, &options));
	if (weft_cuda_count(app->cuda) == 0) {
		weft_cuda_close(app->cuda);
		options.backend = "sim:memory=1G";
		unsetenv("WEFT_GPU"); /* "none", if anything */
		check("devices", weft_cuda_open(&app->cuda, &options));
	}
	check("open", weft_open(&app->rt, WEFT_OPTIONS(.devices = app->cuda)));
}

static void generate(struct app *app, uint32_t n)
{
	const char *temporary = getenv("TMPDIR");

	snprintf(app->directory, sizeof(app->directory), "%s/imageprep-XXXXXX",
	         temporary && strlen(temporary) < 40 ? temporary : "/tmp");
	if (!mkdtemp(app->directory)) {
		app->directory[0] = 0;
		check("a directory for images", -errno);
	}
	if (!images_generate(&app->names, app->directory, n))
		check("images", -EIO);
}

static void find_images(struct app *app, int argc, char **argv)
{
	/* Of packages such as desktop-base, gnome-backgrounds, adwaita-icon-theme. */
	static const char *const usual[] = { "/usr/share/backgrounds", "/usr/share/wallpapers",
		                             "/usr/share/images", "/usr/share/pixmaps",
		                             "/usr/share/icons" };

	if (argc == 3 && !strcmp(argv[1], "--generate")) {
		const long n = strtol(argv[2], NULL, 10);

		if (n < 1 || n > 1000)
			check("--generate: 1 to 1000", -EINVAL);
		generate(app, (uint32_t)n);
	} else if (argc > 1) {
		for (int i = 1; i < argc; i++) {
			if (!images_find(&app->names, argv[i], IMAGES_MAX))
				check(argv[i], -ENOENT);
		}
	} else {
		for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
			images_find(&app->names, usual[i], FOUND_MOST);
		if (app->names.count == 0)
			generate(app, GENERATED);
	}
	if (app->names.count == 0)
		check("images", -ENOENT);
}

static int unlink_one(const char *path, const struct stat *facts, int kind, struct FTW *place)
{
	(void)facts, (void)kind, (void)place;
	return remove(path);
}

static void report(struct app *app, double seconds, double bound)
{
	struct weft_cuda_info info = { .struct_size = sizeof(info) };
	struct weft_info engine = { .struct_size = sizeof(engine) };
	const uint32_t good = app->names.count - app->failed;

	check("device", weft_cuda_info(app->rt, 0, &info));
	check("workers", weft_info(app->rt, &engine));
	printf("%u images, %u could not be decoded; %u workers, %s\n", app->names.count,
	       app->failed, engine.workers, info.name);
	printf("decode      %.3f s of CPUs\n", (double)app->sum.decode_ns * 1e-9);
	printf("all         %.3f s, %.0f images a second, %.1f MB up, %.1f MB down\n", seconds,
	       good / seconds, (double)app->sum.bytes * 1e-6,
	       (double)app->names.count * OUT_BYTES * 1e-6);
	printf("copy bound  %.4f s for these bytes from and to pinned memory, %.1f times faster\n",
	       bound, seconds / bound);
	printf("right       no value is off by more than %.4f\n", app->sum.difference);
}

int main(int argc, char **argv)
{
	static struct app app;
	bool good;

	if (!images_can()) {
		printf("built without libjpeg and libpng: nothing can be decoded\n");
		return 77;
	}
	find_images(&app, argc, argv);
	open_all(&app);
	run(&app, true);
	const double difference = app.sum.difference;
	const double seconds = run(&app, false);

	app.sum.difference = difference;

	report(&app, seconds, copy_seconds(&app));
	/* Generated ones are known; of others one must have been an image. */
	good = app.directory[0] ? app.failed == app.names.broken : app.failed < app.names.count;
	if (!good)
		fprintf(stderr, "imageprep: %u images could not be decoded\n", app.failed);
	check("close", weft_close(app.rt, WEFT_FOREVER));
	check("close", weft_cuda_close(app.cuda));
	if (app.directory[0])
		nftw(app.directory, unlink_one, 16, FTW_DEPTH | FTW_PHYS);
	for (uint32_t i = 0; i < app.names.count; i++)
		free(app.names.name[i]);
	return good ? 0 : 1;
}
