/*
 * Goal: what is written as a dataset is read back, of any shape; it appears at once and whole; a
 * part that is not what was written is an error of that part alone, and says where; strays of dead
 * writers go and nothing else does.
 * Method: round trips over shapes, on a disk and on tmpfs; files cut and changed by hand; private
 * names made by hand for owners that are alive, dead and hidden.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "dataset.h"
#include "dataset_dir.h"
#include "owner.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

static struct room room;

static void setup(void)
{
	room_open(&room);
}

static void teardown(void)
{
	room_close(&room);
}

static int write_sizes(const char *name, uint64_t epoch, uint32_t attempt, uint64_t seed,
                       const size_t *sizes, uint32_t count)
{
	struct wf_dataset_part *parts = calloc(count + 1, sizeof(parts[0]));
	struct wf_dataset_spec spec = {
		.dir = room.path, .name = name, .epoch = epoch, .attempt = attempt
	};
	int status;

	for (uint32_t i = 0; i < count; i++)
		parts[i] = make_part(sizes[i], seed, i);
	status = wf_dataset_write(&room.env, &spec, parts, count);
	free_parts(parts, count);
	free(parts);
	return status;
}

static int write_one(const char *name, uint64_t epoch, uint32_t attempt, uint64_t seed)
{
	static const size_t sizes[] = { 100, 5000 };

	return write_sizes(name, epoch, attempt, seed, sizes, 2);
}

static struct wf_dataset *opened(const char *name)
{
	struct wf_dataset *d = NULL;

	cr_assert_eq(wf_dataset_open(&d, &room.env, room.path, name, NULL), 0);
	return d;
}

static int status_of(const char *name, struct wf_dataset_fault *fault)
{
	struct wf_dataset *d = NULL;
	int status = wf_dataset_open(&d, &room.env, room.path, name, fault);

	cr_assert_eq(status == 0, d != NULL);
	wf_dataset_close(d);
	return status;
}

static void expect(const char *name, uint64_t seed)
{
	struct wf_dataset *d = opened(name);

	cr_assert_eq(check_whole(d, seed), 0);
	wf_dataset_close(d);
	cr_assert_eq(count_entries(room.path, true), count_entries(room.path, false));
}

static char *path_of(const char *file)
{
	static char path[600];

	snprintf(path, sizeof(path), "%s/%s", room.path, file);
	return path;
}

/* ---- Round trips ---------------------------------------------------------------------------- */

Test(dataset, parts_of_any_size_come_back, .init = setup, .fini = teardown)
{
	static const size_t sizes[] = {
		0,       1,   63,      64,      65, 4095,           4096,         4097,    0,
		MIB - 1, MIB, MIB + 1, 3 * MIB, 7,  4 * MIB + 4096, 9 * MIB + 13, 4 * MIB, 12
	};
	struct wf_dataset *d;

	cr_assert_eq(write_sizes("all", 0, 0, 1, sizes, 18), 0);
	d = opened("all");
	cr_assert_eq(wf_dataset_info(d)->part_count, 18);
	for (uint32_t i = 0; i < 18; i++) {
		cr_assert_eq(wf_dataset_part(d, i).size, sizes[i]);
		cr_assert_eq(wf_dataset_part(d, i).tag, i);
	}
	cr_assert_eq(wf_dataset_verify(d, NULL, NULL), 0);
	wf_dataset_close(d);
	expect("all", 1);
}

Test(dataset, none_and_one_part_come_back, .init = setup, .fini = teardown)
{
	static const size_t sizes[] = { 3 };

	cr_assert_eq(write_sizes("none", 0, 0, 1, NULL, 0), 0);
	cr_assert_eq(write_sizes("one", 0, 0, 1, sizes, 1), 0);
	expect("none", 1);
	expect("one", 1);
}

/* The stage ends where a part, its padding, the manifest, the trailer begin or end. */
Test(dataset, every_place_of_the_end_of_the_stage_is_right, .init = setup, .fini = teardown)
{
	static const size_t ends[] = { 0, 1, 63, 64, 65, 127, 128, 192, 4096, 8192 };
	size_t sizes[3];

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		/* Together just under 1 MiB each, so that all goes through the stage. */
		sizes[0] = sizes[1] = MIB - 64;
		sizes[2] = 2 * MIB - ends[i];
		cr_assert_eq(write_sizes("end", 0, 0, i, sizes, 3), 0);
		expect("end", i);
	}
}

Test(dataset, unaligned_memory_is_written_too, .init = setup, .fini = teardown)
{
	struct wf_dataset_part part = make_part(3 * MIB + 5, 9, 0), shifted = part;
	struct wf_dataset_spec spec = { .dir = room.path, .name = "odd" };
	struct wf_dataset *d;
	char *got = malloc(3 * MIB + 5);

	shifted.data = (const char *)part.data + 1;
	shifted.size = part.size - 1;
	cr_assert_eq(wf_dataset_write(&room.env, &spec, &shifted, 1), 0);
	d = opened("odd");
	cr_assert_eq(wf_dataset_read(d, 0, got, NULL), 0);
	cr_assert_eq(memcmp(got, shifted.data, shifted.size), 0);
	wf_dataset_close(d);
	free(got);
	free_parts(&part, 1);
}

Test(dataset, bytes_may_change_when_they_were_appended, .init = setup, .fini = teardown)
{
	static const size_t lengths[] = { 3 * MIB + 100, 5, 70000, 2 * MIB, 5 * MIB, 4 * MIB + 1 };
	struct wf_dataset_spec spec = { .dir = room.path, .name = "d" };
	struct wf_dataset_part part = make_part(6 * MIB, 1, 0);
	char *data = (char *)(uintptr_t)part.data;
	struct wf_dataset_writer *w;

	cr_assert_eq(wf_dataset_begin(&w, &room.env, &spec), 0);
	for (uint32_t i = 0; i < 6; i++) {
		part.size = lengths[i];
		fill(data, lengths[i], 4, i);
		cr_assert_eq(wf_dataset_append(w, &part), 0);
		memset(data, 0, lengths[i]);
	}
	cr_assert_eq(wf_dataset_publish(w), 0);
	expect("d", 4);
	free_parts(&part, 1);
}

Test(dataset, thousands_of_small_parts_come_back, .init = setup, .fini = teardown)
{
	enum { COUNT = 5000 };
	static size_t sizes[COUNT];

	for (size_t i = 0; i < COUNT; i++)
		sizes[i] = i % 300;
	cr_assert_eq(write_sizes("many", 0, 0, 3, sizes, COUNT), 0);
	expect("many", 3);
}

static void *read_all(void *arg)
{
	for (int i = 0; i < 20; i++)
		cr_assert_eq(check_whole(arg, 6), 0);
	return NULL;
}

Test(dataset, an_open_one_is_read_by_many_at_once, .init = setup, .fini = teardown)
{
	static const size_t sizes[] = { 100, 70000, 2 * MIB + 1, 5 };
	struct wf_dataset *d;
	pthread_t threads[4];

	cr_assert_eq(write_sizes("d", 0, 0, 6, sizes, 4), 0);
	d = opened("d");
	for (int i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, read_all, d), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	wf_dataset_close(d);
}

Test(dataset, pairs_and_meta_data_come_back, .init = setup, .fini = teardown)
{
	const struct wf_dataset_pair pairs[] = { { "a", "1", 1 },
		                                 { "b", NULL, 0 },
		                                 { "a", "2", 1 } };
	struct wf_dataset_part part = {
		.data = "data", .size = 4, .meta = "meta", .meta_bytes = 4, .tag = UINT32_MAX
	};
	struct wf_dataset_spec spec = { .dir = room.path,
		                        .name = "pairs",
		                        .pairs = pairs,
		                        .pair_count = 3,
		                        .epoch = UINT64_MAX,
		                        .attempt = UINT32_MAX,
		                        .fingerprint = 77 };
	struct wf_dataset_part_info info;
	struct wf_dataset *d;

	cr_assert_eq(wf_dataset_write(&room.env, &spec, &part, 1), 0);
	d = opened("pairs");
	info = wf_dataset_part(d, 0);
	cr_assert(info.tag == UINT32_MAX && info.meta_bytes == 4);
	cr_assert_eq(memcmp(info.meta, "meta", 4), 0);
	cr_assert_str_eq(wf_dataset_info(d)->name, "pairs");
	cr_assert(wf_dataset_info(d)->epoch == UINT64_MAX && wf_dataset_info(d)->fingerprint == 77);
	cr_assert(wf_dataset_info(d)->attempt == UINT32_MAX && wf_dataset_info(d)->pair_count == 3);
	cr_assert_eq(wf_dataset_find(d, "a"), wf_dataset_pair(d, 0));
	cr_assert_eq(wf_dataset_find(d, "b")->value_bytes, 0);
	cr_assert_eq(memcmp(wf_dataset_pair(d, 2)->value, "2", 1), 0);
	cr_assert_null(wf_dataset_find(d, "c"));
	cr_assert_eq(wf_dataset_read(d, 1, &info, NULL), -EINVAL);
	cr_assert_eq(wf_dataset_read(d, 0, NULL, NULL), -EINVAL);
	wf_dataset_close(d);
}

Test(dataset, any_name_is_a_name, .init = setup, .fini = teardown)
{
	static const char *const names[] = { "../../etc", ".",  "a b/c.weft",        "%41",
		                             "~",         "\n", "gr\xc3\xbc\xc3\x9f" };
	char name[WF_DATASET_NAME_MAX + 2];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cr_assert_eq(write_one(names[i], 0, 0, i), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		expect(names[i], i);
	cr_assert_eq(count_entries(room.path, true), 7);
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	cr_assert_eq(write_one(name, 0, 0, 0), -ENAMETOOLONG);
	cr_assert_eq(status_of(name, NULL), -ENAMETOOLONG);
	name[sizeof(name) - 2] = '\0';
	cr_assert_eq(write_one(name, 0, 0, 0), 0);
	expect(name, 0);
	cr_assert_eq(write_one("", 0, 0, 0), -EINVAL);
	cr_assert_eq(status_of("", NULL), -EINVAL);
}

Test(dataset, a_missing_directory_is_made_one_deep, .init = setup, .fini = teardown)
{
	struct wf_dataset_part part = { .data = "x", .size = 1 };
	struct wf_dataset_spec spec = { .dir = path_of("new"), .name = "d" };
	struct wf_dataset *d;

	cr_assert_eq(wf_dataset_write(&room.env, &spec, &part, 1), 0);
	cr_assert_eq(wf_dataset_open(&d, &room.env, spec.dir, "d", NULL), 0);
	wf_dataset_close(d);
	spec.dir = path_of("not/there");
	cr_assert_eq(wf_dataset_write(&room.env, &spec, &part, 1), -ENOENT);
	spec.dir = NULL;
	cr_assert_eq(wf_dataset_write(&room.env, &spec, &part, 1), -EINVAL);
	/* A path without a slash. */
	cr_assert_eq(chdir(room.path), 0);
	spec.dir = "here";
	cr_assert_eq(wf_dataset_write(&room.env, &spec, &part, 1), 0);
	spec.dir = "here/below/";
	cr_assert_eq(wf_dataset_write(&room.env, &spec, &part, 1), 0);
	cr_assert_eq(chdir("/"), 0);
}

/* tmpfs may have no O_DIRECT, and has an end that comes soon. */
Test(dataset, a_full_file_system_is_an_error_and_leaves_nothing, .init = setup, .fini = teardown)
{
	static const size_t fits[] = { MIB, MIB / 2 }, large[] = { 3 * MIB, 9 * MIB };
	static const size_t small[] = { 500000, 500000, 500000, 500000, 500000,
		                        500000, 500000, 500000, 500000 };
	struct wf_dataset_spec spec = { .dir = room.path, .name = "streamed" };
	struct wf_dataset_part part = make_part(MIB + 8, 1, 0);
	struct wf_dataset_writer *w;
	int status = 0;

	/* In a view of its own, which ends with the process: a failure leaves no mount. */
	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", "", MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", room.path, "tmpfs", 0, "size=4m") != 0) {
		free_parts(&part, 1);
		test_skip("no right to mount");
	}
	cr_assert_eq(write_sizes("fits", 0, 0, 1, fits, 2), 0);
	cr_assert_eq(write_sizes("large", 0, 0, 2, large, 2), -ENOSPC, "room cannot be made");
	cr_assert_eq(write_sizes("fits", 0, 0, 2, large, 2), -ENOSPC);
	cr_assert_eq(write_sizes("small", 0, 0, 2, small, 9), -ENOSPC);
	/* Of unknown size: the writes find out, and the first error stays. */
	cr_assert_eq(wf_dataset_begin(&w, &room.env, &spec), 0);
	for (int i = 0; i < 12; i++)
		status = wf_dataset_append(w, &part);
	cr_assert_eq(status, -ENOSPC);
	cr_assert_eq(wf_dataset_publish(w), -ENOSPC);
	cr_assert_eq(count_entries(room.path, true), 1);
	expect("fits", 1);
	cr_assert_eq(write_sizes("fits", 0, 0, 3, fits, 2), 0, "the room is free again");
	expect("fits", 3);
	cr_assert_eq(umount(room.path), 0);
	free_parts(&part, 1);
}

/* ---- Names and their holders ---------------------------------------------------------------- */

Test(dataset, nothing_is_seen_before_it_is_published, .init = setup, .fini = teardown)
{
	struct wf_dataset_spec spec = { .dir = room.path, .name = "d" };
	struct wf_dataset_part part = make_part(5 * MIB, 1, 0);
	struct wf_dataset_writer *w;

	cr_assert_eq(wf_dataset_begin(&w, &room.env, &spec), 0);
	cr_assert_eq(wf_dataset_append(w, &part), 0);
	cr_assert_eq(status_of("d", NULL), -ENOENT);
	cr_assert_eq(wf_dataset_clean(&room.env, room.path), 0, "it is being written");
	cr_assert_eq(wf_dataset_publish(w), 0);
	expect("d", 1);
	cr_assert_eq(wf_dataset_begin(&w, &room.env, &spec), 0);
	cr_assert_eq(wf_dataset_append(w, &part), 0);
	wf_dataset_abort(w);
	wf_dataset_abort(NULL);
	expect("d", 1);
	free_parts(&part, 1);
}

Test(dataset, impossible_parts_are_refused_and_the_refusal_stays, .init = setup, .fini = teardown)
{
	struct wf_dataset_spec spec = { .dir = room.path, .name = "d" };
	struct wf_dataset_part part = { .data = NULL, .size = 1 };
	struct wf_dataset_writer *w;

	cr_assert_eq(wf_dataset_begin(&w, &room.env, &spec), 0);
	cr_assert_eq(wf_dataset_append(w, &part), -EINVAL);
	part.size = 0;
	cr_assert_eq(wf_dataset_append(w, &part), -EINVAL);
	cr_assert_eq(wf_dataset_publish(w), -EINVAL);
	part = (struct wf_dataset_part){ .data = "", .size = UINT64_MAX };
	cr_assert_eq(wf_dataset_begin(&w, &room.env, &spec), 0);
	cr_assert_eq(wf_dataset_append(w, &part), -EINVAL);
	wf_dataset_abort(w);
	cr_assert_eq(count_entries(room.path, true), 0);
}

Test(dataset, the_newer_attempt_wins_whichever_comes_last, .init = setup, .fini = teardown)
{
	cr_assert_eq(write_one("d", 2, 1, 21), 0);
	cr_assert_eq(write_one("d", 1, 9, 19), -ESTALE, "an older session");
	cr_assert_eq(write_one("d", 2, 0, 20), -ESTALE, "an older attempt");
	expect("d", 21);
	cr_assert_eq(write_one("d", 2, 1, 22), 0, "among equals the last");
	expect("d", 22);
	cr_assert_eq(write_one("d", 2, 2, 23), 0);
	cr_assert_eq(write_one("d", 3, 0, 30), 0);
	expect("d", 30);
	/* What does not verify has no epoch. */
	cr_assert_eq(truncate(path_of("d.weft"), 5000), 0);
	cr_assert_eq(write_one("d", 1, 0, 10), 0);
	expect("d", 10);
}

Test(dataset, who_has_it_open_reads_on, .init = setup, .fini = teardown)
{
	struct wf_dataset *d;

	cr_assert_eq(write_one("d", 0, 0, 1), 0);
	d = opened("d");
	cr_assert_eq(write_one("d", 0, 0, 2), 0);
	cr_assert_eq(check_whole(d, 1), 0, "replaced");
	wf_dataset_close(d);
	d = opened("d");
	cr_assert_eq(wf_dataset_remove(&room.env, room.path, "d"), 0);
	cr_assert_eq(status_of("d", NULL), -ENOENT);
	cr_assert_eq(check_whole(d, 2), 0, "removed");
	wf_dataset_close(d);
	cr_assert_eq(wf_dataset_remove(&room.env, room.path, "d"), -ENOENT);
	cr_assert_eq(wf_dataset_remove(&room.env, room.path, ""), -EINVAL);
	wf_dataset_close(NULL);
}

struct listing {
	int whole, bad, stop;
	char names[1000];
};

static int list_one(void *arg, const char *name, const struct wf_dataset *d,
                    const struct wf_dataset_fault *fault)
{
	struct listing *listing = arg;

	cr_assert_eq(d == NULL, fault != NULL);
	if (d != NULL)
		cr_assert_str_eq(wf_dataset_info(d)->name, name);
	listing->whole += d != NULL;
	listing->bad += d == NULL;
	strcat(strcat(listing->names, name), "|");
	return listing->stop;
}

Test(dataset, a_list_has_the_datasets_and_nothing_else, .init = setup, .fini = teardown)
{
	struct listing listing = { 0 };
	int fd;

	cr_assert_eq(wf_dataset_list(&room.env, room.path, list_one, &listing), 0);
	cr_assert_eq(listing.whole + listing.bad, 0);
	cr_assert_eq(write_one("a/b", 0, 0, 1), 0);
	cr_assert_eq(write_one("c", 0, 0, 1), 0);
	cr_assert_eq(write_one("cut", 0, 0, 1), 0);
	cr_assert_eq(truncate(path_of("cut.weft"), 3), 0);
	fd = open(path_of("b%2"), O_CREAT | O_WRONLY, 0600);
	close(fd);
	fd = open(path_of("b%2.weft"), O_CREAT | O_WRONLY, 0600);
	close(fd);
	fd = open(path_of(".weft"), O_CREAT | O_WRONLY, 0600);
	close(fd);
	cr_assert_eq(wf_dataset_list(&room.env, room.path, list_one, &listing), 0);
	cr_assert(listing.whole == 2 && listing.bad == 1);
	cr_assert_not_null(strstr(listing.names, "a/b|"));
	cr_assert_not_null(strstr(listing.names, "cut|"));
	listing = (struct listing){ .stop = 7 };
	cr_assert_eq(wf_dataset_list(&room.env, room.path, list_one, &listing), 7);
	cr_assert_eq(listing.whole + listing.bad, 1);
	cr_assert_eq(wf_dataset_list(&room.env, path_of("no"), list_one, &listing), -ENOENT);
}

/* ---- Strays --------------------------------------------------------------------------------- */

static int make_stray(const struct wf_owner *owner, const char *name)
{
	char file[WF_ATTEMPT_BYTES];
	int fd;

	snprintf(file, sizeof(file), ".%s.1.0.0.%" PRIx32 ".%" PRIx64 ".%" PRIx64 "~", name,
	         owner->pid, owner->start, owner->boot);
	fd = open(path_of(file), O_CREAT | O_RDWR, 0600);
	cr_assert_geq(fd, 0);
	return fd;
}

Test(dataset, strays_of_the_dead_go_and_nothing_else, .init = setup, .fini = teardown)
{
	struct wf_owner self, dead, before;
	int fd;

	wf_owner_self(&self);
	dead = before = self;
	dead.start++;
	before.boot++;
	close(make_stray(&self, "alive"));
	close(make_stray(&dead, "dead"));
	close(make_stray(&before, "before"));
	/* Somebody who is alive and cannot be seen: in another container, say. */
	fd = make_stray(&dead, "hidden");
	cr_assert_eq(flock(fd, LOCK_EX), 0);
	cr_assert_eq(mkdir(path_of(".dir.1.0.0.7fffffff.1.1~"), 0700), 0);
	cr_assert_eq(mkdir(path_of(".dir.1.0.0.7fffffff.1.1~/inner"), 0700), 0);
	cr_assert_eq(symlink("/etc", path_of(".dir.1.0.0.7fffffff.1.1~/inner/link")), 0);
	close(open(path_of(".somebody else's~"), O_CREAT | O_RDWR, 0600));
	cr_assert_eq(write_one("d", 0, 0, 1), 0);
	cr_assert_eq(wf_dataset_clean(&room.env, room.path), 3);
	cr_assert_eq(access("/etc/passwd", F_OK), 0);
	cr_assert_eq(count_entries(room.path, true), 4);
	close(fd);
	cr_assert_eq(wf_dataset_clean(&room.env, room.path), 1, "the lock was all that held it");
	cr_assert_eq(wf_dataset_clean(&room.env, room.path), 0);
	cr_assert_eq(count_entries(room.path, true), 3);
	cr_assert_eq(wf_dataset_clean(&room.env, path_of("no")), -ENOENT);
}

/* ---- Bytes that are not what was written ---------------------------------------------------- */

static const size_t three[] = { 100, 2 * MIB, 70000 };

static void flip(const char *file, uint64_t at)
{
	int fd = open(path_of(file), O_RDWR);
	unsigned char byte;

	cr_assert_geq(fd, 0);
	cr_assert_eq(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 16;
	cr_assert_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

static int count_broken(void *arg, const struct wf_dataset_fault *fault)
{
	uint32_t *seen = arg;

	cr_assert_eq(fault->code, -EBADMSG);
	*seen |= 1u << fault->part;
	return 0;
}

static int first_broken(void *arg, const struct wf_dataset_fault *fault)
{
	(void)count_broken(arg, fault);
	return 1;
}

Test(dataset, a_wrong_bit_is_an_error_of_its_part, .init = setup, .fini = teardown)
{
	struct wf_dataset_fault fault;
	struct wf_dataset *d;
	uint32_t seen = 0;
	char *got = malloc(2 * MIB);

	cr_assert_eq(write_sizes("d", 0, 0, 1, three, 3), 0);
	d = opened("d");
	flip("d.weft", d->manifest.parts[1].offset + MIB);
	cr_assert_eq(wf_dataset_read(d, 0, got, &fault), 0);
	cr_assert_eq(wf_dataset_read(d, 1, got, &fault), -EBADMSG);
	cr_assert(fault.part == 1 && fault.code == -EBADMSG);
	cr_assert_not_null(strstr(fault.text, "d.weft: part 1: offset 4096: sum"), "%s",
	                   fault.text);
	cr_assert_eq(wf_dataset_read(d, 2, got, &fault), 0);
	cr_assert_eq(wf_dataset_verify(d, count_broken, &seen), 1);
	cr_assert_eq(seen, 2);
	wf_dataset_close(d);
	free(got);
}

Test(dataset, a_wrong_bit_at_the_end_is_an_error_of_the_whole, .init = setup, .fini = teardown)
{
	struct wf_dataset_fault fault;
	struct stat info;
	struct wf_dataset *d;
	uint64_t manifest, size;

	cr_assert_eq(write_sizes("d", 0, 0, 1, three, 3), 0);
	cr_assert_eq(stat(path_of("d.weft"), &info), 0);
	d = opened("d");
	manifest = (d->manifest.parts[2].offset + three[2] + 63) & ~(uint64_t)63;
	wf_dataset_close(d);
	/* The head, the name, three parts; then padding, which nobody looks at; the trailer. */
	size = 40 + 2 + 3 * 32;
	cr_assert_leq(manifest + size + 64, (uint64_t)info.st_size);
	for (uint64_t i = 0; i < size + 64; i++) {
		uint64_t at = i < size ? manifest + i : (uint64_t)info.st_size - 64 + i - size;
		int status;

		flip("d.weft", at);
		status = status_of("d", &fault);
		flip("d.weft", at);
		cr_assert_eq(status, -EBADMSG, "byte %" PRIu64, at);
		cr_assert(fault.part == UINT32_MAX && strstr(fault.text, "d.weft") != NULL);
	}
	expect("d", 1);
}

Test(dataset, every_cut_is_seen, .init = setup, .fini = teardown)
{
	struct wf_dataset_fault fault;
	struct stat info;

	cr_assert_eq(write_one("d", 0, 0, 1), 0);
	cr_assert_eq(stat(path_of("d.weft"), &info), 0);
	cr_assert_eq(info.st_size % 4096, 0);
	for (off_t size = info.st_size - 1; size >= 0; size -= size > 200 ? 97 : 1) {
		cr_assert_eq(truncate(path_of("d.weft"), size), 0);
		cr_assert_eq(status_of("d", &fault), -EBADMSG);
	}
	cr_assert_eq(write_one("d", 0, 0, 1), 0);
	cr_assert_eq(truncate(path_of("d.weft"), info.st_size + 4096), 0);
	cr_assert_eq(status_of("d", &fault), -EBADMSG, "longer");
}

Test(dataset, a_file_cut_while_it_is_open_is_seen, .init = setup, .fini = teardown)
{
	struct wf_dataset_fault fault;
	struct wf_dataset *d;
	uint32_t seen = 0;
	char *got = malloc(2 * MIB);

	cr_assert_eq(write_sizes("d", 0, 0, 1, three, 3), 0);
	d = opened("d");
	cr_assert_eq(truncate(path_of("d.weft"), MIB), 0);
	cr_assert_eq(wf_dataset_read(d, 1, got, &fault), -EBADMSG);
	cr_assert_not_null(strstr(fault.text, "ends early"));
	cr_assert_eq(wf_dataset_verify(d, count_broken, &seen), 2);
	cr_assert_eq(seen, 6);
	seen = 0;
	cr_assert_eq(wf_dataset_verify(d, first_broken, &seen), 1);
	cr_assert_eq(seen, 2);
	wf_dataset_close(d);
	free(got);
}

Test(dataset, files_that_changed_places_are_seen, .init = setup, .fini = teardown)
{
	struct wf_dataset_fault fault;
	char a[600];

	cr_assert_eq(write_one("a", 0, 0, 1), 0);
	strcpy(a, path_of("a.weft"));
	cr_assert_eq(rename(a, path_of("b.weft")), 0);
	cr_assert_eq(status_of("b", &fault), -EBADMSG);
	cr_assert_not_null(strstr(fault.text, "it is the dataset \"a\""));
	cr_assert_eq(status_of("a", &fault), -ENOENT);
	cr_assert_eq(mkdir(path_of("c.weft"), 0700), 0);
	cr_assert_lt(status_of("c", &fault), 0);
}
