/*
 * Goal: whatever goes wrong in writing, reading, opening and cleaning, a dataset is whole or
 * absent, or is known to be broken where the disk lied; an output directory and an epoch likewise;
 * nothing is left behind, and without the fault everything works again.
 * Method: one scenario through all calls, with an older dataset and an older output directory to be
 * replaced. Every allocation and every call on directories fails in turn; every effect of the I/O
 * wrapper at every point of every kind, once and from then on, on both back ends; the result is
 * read back without faults and compared with what was there before and what was to be written.
 */
#include <sys/stat.h>

#include "dataset_dir.h"
#include "seed.h"

#define OLD 1
#define NEW 2

static const size_t sizes[] = { 100, 70000, (1 << 20) + 5000, 0, 3 };
enum { PARTS = sizeof(sizes) / sizeof(sizes[0]) };

static struct room room;
static char session_path[300], place[400];
static struct wf_dataset_part parts[3][PARTS];

/* What became of each step. */
struct outcome {
	int write, outdir, opened, read;
	bool all; /* every step was gone through without an error */
};

static int write_dataset(uint64_t epoch)
{
	struct wf_dataset_pair pair = { "seed", epoch == OLD ? "1" : "2", 1 };
	char dir[400];
	struct wf_dataset_spec spec = { .dir = dir,
		                        .name = "d",
		                        .epoch = epoch,
		                        .pairs = &pair,
		                        .pair_count = 1,
		                        .fingerprint = 7 };

	snprintf(dir, sizeof(dir), "%s/data", session_path);
	return wf_dataset_write(&room.env, &spec, parts[epoch], PARTS);
}

static int write_outdir(uint64_t epoch)
{
	struct wf_outdir *out;
	char path[800];
	FILE *file;
	int status = wf_outdir_create(&out, &room.env, place, "o", epoch, 0);

	if (status != 0)
		return status;
	snprintf(path, sizeof(path), "%s/file", wf_outdir_path(out));
	file = fopen(path, "w");
	REQUIRE(file != NULL);
	fprintf(file, "%d", (int)epoch);
	fclose(file);
	return wf_outdir_publish(out);
}

/* 0, or the first error in reading the dataset that is there. */
static int read_dataset(void)
{
	struct wf_dataset *d;
	uint64_t seed;
	int status, broken;
	char dir[400];

	snprintf(dir, sizeof(dir), "%s/data", session_path);
	status = wf_dataset_open(&d, &room.env, dir, "d", NULL);
	if (status != 0)
		return status;
	/* What is opened says of itself only what was written. */
	REQUIRE(wf_dataset_find(d, "seed") != NULL);
	seed = ((const char *)wf_dataset_find(d, "seed")->value)[0] == '1' ? OLD : NEW;
	REQUIRE(wf_dataset_info(d)->epoch == seed);
	status = check_whole(d, seed);
	REQUIRE(status != -EILSEQ);
	broken = wf_dataset_verify(d, NULL, NULL);
	wf_dataset_close(d);
	return status == 0 && broken < 0 ? broken : status;
}

/* Everything, after the older ones are there. */
static struct outcome scenario(void)
{
	struct outcome o = { 0 };
	struct wf_session *s = NULL;
	uint32_t attempt;

	o.opened = wf_session_open(&s, &room.env, session_path);
	REQUIRE((o.opened == 0) == (s != NULL));
	o.write = write_dataset(NEW);
	o.outdir = write_outdir(NEW);
	o.read = read_dataset();
	o.all = o.opened == 0 && o.write == 0 && o.outdir == 0 && o.read == 0;
	if (s != NULL) {
		int begun = wf_session_attempt(s, "key", 1000, &attempt);
		int forgot = wf_session_attempts_forget(s, "key");

		o.all = o.all && begun == 0 && forgot == 0;
	}
	wf_session_close(s, true);
	return o;
}

static uint64_t epoch_now(void)
{
	struct wf_session *s;
	uint64_t epoch;

	REQUIRE(wf_session_open(&s, &room.env, session_path) == 0);
	epoch = wf_session_epoch(s);
	wf_session_close(s, false);
	return epoch;
}

static void prepare(void)
{
	remove_all(session_path);
	remove_all(place);
	REQUIRE(epoch_now() == 1);
	REQUIRE(write_dataset(OLD) == 0);
	REQUIRE(write_outdir(OLD) == 0);
}

/* The text of the published directory, as a number; 0: there is none. */
static int outdir_now(void)
{
	char path[500];
	int number = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/o/file", place);
	file = fopen(path, "r");
	if (file == NULL)
		return 0;
	REQUIRE(fscanf(file, "%d", &number) == 1);
	fclose(file);
	return number;
}

static uint64_t seed_now(int *status)
{
	char dir[400];
	struct wf_dataset *d;
	uint64_t seed;

	snprintf(dir, sizeof(dir), "%s/data", session_path);
	*status = wf_dataset_open(&d, &room.env, dir, "d", NULL);
	if (*status != 0)
		return 0;
	seed = wf_dataset_info(d)->epoch;
	*status = check_whole(d, seed);
	wf_dataset_close(d);
	return seed;
}

/*
 * After the faults: the truth. `lies`: the disk may have said that it did what it did not, or
 * have changed what it was given.
 */
static void judge(const struct outcome *o, bool lies)
{
	int status, out = outdir_now();
	uint64_t seed = seed_now(&status);

	if (!lies) {
		REQUIRE(status == 0);
		REQUIRE(seed == OLD || seed == NEW);
		REQUIRE(o->write != 0 || seed == NEW);
		REQUIRE(out == OLD || out == NEW);
		REQUIRE(o->outdir != 0 || out == NEW);
		REQUIRE(epoch_now() >= (o->opened == 0 ? 3 : 2));
	} else {
		REQUIRE(status == 0 || status == -EBADMSG || status == -ENOENT);
	}
	/* And all goes well again. */
	prepare();
}

static void expect_nothing_private(void)
{
	char dir[400];

	snprintf(dir, sizeof(dir), "%s/data", session_path);
	REQUIRE(count_entries(dir, true) == count_entries(dir, false));
	REQUIRE(count_entries(place, true) == count_entries(place, false));
}

/* Allocations, mappings, locks and directories: the n-th of any kind. */
static void resources(void)
{
	uint64_t nth, held = 0;

	for (nth = 1;; nth += POINT_STEP) {
		struct outcome o;
		bool fired;

		REQUIRE(nth < 3000);
		wf_fault_arm(-1, nth);
		o = scenario();
		fired = wf_fault_fired();
		wf_fault_arm(-1, 0);
		if (!fired) {
			REQUIRE(o.all);
			break;
		}
		held += o.all;
		judge(&o, false);
	}
	REQUIRE(nth > 60);
	printf("resources: %llu points, %llu without effect\n", (unsigned long long)nth - 1,
	       (unsigned long long)held);
}

static void effect(const char *name, struct wf_io_fault fault, bool lies)
{
	uint64_t nth, errors = 0;

	for (nth = 1;; nth += POINT_STEP) {
		struct outcome o;
		uint64_t fired;

		REQUIRE(nth < 3000);
		fault.nth = nth;
		wf_io_fault_arm(&fault);
		o = scenario();
		fired = wf_io_fault_fired();
		wf_io_fault_arm(NULL);
		if (fired == 0) {
			REQUIRE(o.all);
			expect_nothing_private();
			break;
		}
		errors += !o.all;
		judge(&o, lies);
	}
	prepare();
	printf("%s: %llu points, %llu with an error\n", name, (unsigned long long)nth - 1,
	       (unsigned long long)errors);
}

/* Single kinds from then on: what is used to clean up fails as well. */
static void for_ever(void)
{
	static const uint32_t kinds[] = { WF_IO_FAULT_READ,      WF_IO_FAULT_WRITE,
		                          WF_IO_FAULT_SYNC,      WF_IO_FAULT_OPEN,
		                          WF_IO_FAULT_FALLOCATE, WF_IO_FAULT_RENAME,
		                          WF_IO_FAULT_UNLINK,    WF_IO_FAULT_CALLS };

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		effect("one kind for ever",
		       (struct wf_io_fault){ .kinds = kinds[i], .error = EIO, .count = UINT64_MAX },
		       false);
}

static void all_effects(const char *backend)
{
	uint32_t all = WF_IO_FAULT_READ | WF_IO_FAULT_WRITE | WF_IO_FAULT_SYNC | WF_IO_FAULT_OPEN |
		WF_IO_FAULT_FALLOCATE | WF_IO_FAULT_RENAME | WF_IO_FAULT_UNLINK | WF_IO_FAULT_CALLS;
	struct wf_io_fault fault = { .kinds = all, .error = EIO, .count = 1 };

	room_make(&room, !test_is_long());
	if (!room_io_open(&room, backend)) {
		REQUIRE(strcmp(backend, "threads") != 0);
		fprintf(stderr, "no %s here\n", backend);
		remove_all(room.path);
		return;
	}
	snprintf(session_path, sizeof(session_path), "%s/s", room.path);
	snprintf(place, sizeof(place), "%s/output", session_path);
	prepare();
	resources();
	effect("EIO", fault, false);
	fault.error = ENOSPC;
	effect("ENOSPC", fault, false);
	fault.error = EINTR;
	fault.kinds = WF_IO_FAULT_READ | WF_IO_FAULT_WRITE;
	effect("EINTR", fault, false);
	fault.error = EINVAL;
	fault.kinds = WF_IO_FAULT_WRITE;
	effect("EINVAL of a write", fault, false);
	fault.kinds = WF_IO_FAULT_READ;
	effect("EINVAL of a read", fault, false);
	fault.kinds = all;
	fault.effect = WF_IO_EFFECT_SHORT;
	effect("short", fault, false);
	fault.effect = WF_IO_EFFECT_FLIP;
	fault.kinds = WF_IO_FAULT_READ;
	effect("a wrong bit in a read", fault, false);
	fault.kinds = WF_IO_FAULT_WRITE;
	effect("a wrong bit in a write", fault, true);
	fault.effect = WF_IO_EFFECT_LIE;
	fault.kinds = WF_IO_FAULT_READ;
	effect("a read that did nothing", fault, false);
	fault.kinds = all & ~(uint32_t)WF_IO_FAULT_READ;
	effect("a lie", fault, true);
	for_ever();
	room_close(&room);
}

int main(void)
{
	for (uint32_t i = 0; i < PARTS; i++) {
		parts[OLD][i] = make_part(sizes[i], OLD, i);
		parts[NEW][i] = make_part(sizes[i], NEW, i);
	}
	for (size_t i = 0; i < 2; i++)
		all_effects(io_backends[i]);
	free_parts(parts[OLD], PARTS);
	free_parts(parts[NEW], PARTS);
	return 0;
}
