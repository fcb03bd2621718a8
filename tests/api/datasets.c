/*
 * Goal: what weft_store.h says of datasets, by the public door: parts, tags, metadata and pairs
 * come back as they were, a newer one is not replaced, what is open stays readable, a broken part
 * is told and no other, and who calls wrongly is told so.
 * Method: a directory per test; values of every place in a store that they do not fit into; bytes
 * of files changed from outside.
 */
#include <fcntl.h>

#include "api_dir.h"
#include "objects.h"

#define PARTS 6u

static const size_t sizes[PARTS] = { 0, 8, 448, 4096, 500000, MIB };

static weft *open_logged(void)
{
	weft *rt = NULL;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = 2, .store_bytes = MIB, .spill_dirs = dir,
	                                 .log = keep_line)) == 0);
	return rt;
}

static weft_ref value_of(weft *rt, uint32_t i, uint64_t seed)
{
	const struct weft_object_options o = {
		.struct_size = sizeof(o), .tag = i + 7, .meta = "meta", .meta_size = i % 5
	};
	struct weft_buffer buffer;
	weft_ref ref;

	API_CHECK(weft_create(rt, sizes[i], &o, &buffer) == 0);
	fill(buffer.data, sizes[i], seed + i);
	API_CHECK(weft_seal(rt, &buffer, &ref) == 0);
	return ref;
}

static void values_of(weft *rt, weft_ref refs[PARTS], uint64_t seed)
{
	for (uint32_t i = 0; i < PARTS; i++)
		refs[i] = value_of(rt, i, seed);
}

/* Waits for all of it, and gives the refs back. */
static int write_parts(weft *rt, const char *name, uint64_t seed,
                       const struct weft_dataset_options *o)
{
	weft_ref refs[PARTS];

	values_of(rt, refs, seed);
	int rc = weft_dataset_write(rt, dir, name, refs, PARTS, o);

	API_CHECK(weft_release_many(rt, refs, PARTS) == 0);
	return rc;
}

static weft_dataset *opened(weft *rt, const char *name)
{
	weft_dataset *d = NULL;

	API_CHECK(weft_dataset_open(rt, dir, name, &d) == 0 && d);
	return d;
}

/* Part `i` is as value_of() has made it. */
static void check_part(weft *rt, weft_dataset *d, uint32_t i, uint64_t seed)
{
	struct weft_object_info info = { .struct_size = sizeof(info) };
	struct weft_view view;
	weft_ref ref;

	API_CHECK(weft_dataset_part_size(d, i) == (int64_t)sizes[i]);
	API_CHECK(weft_dataset_read(d, i, &ref) == 0 && weft_peek(rt, ref) == 1);
	API_CHECK(weft_get(rt, ref, WEFT_FOREVER, &view) == 0 && view.size == sizes[i]);
	API_CHECK(filled(view.data, view.size, seed + i));
	API_CHECK(weft_object_info(rt, ref, &info) == 0);
	API_CHECK(info.tag == i + 7 && info.meta_size == i % 5);
	API_CHECK(!memcmp(info.meta ? info.meta : "", "meta", info.meta_size));
	api_release(rt, ref);
}

static void check_all(weft *rt, weft_dataset *d, uint64_t seed)
{
	struct weft_dataset_info info = { .struct_size = sizeof(info) };

	API_CHECK(weft_dataset_info(d, &info) == 0 && info.parts == PARTS);
	for (uint32_t i = 0; i < PARTS; i++)
		check_part(rt, d, i, seed);
	API_CHECK(weft_dataset_verify(d, NULL, NULL) == 0);
}

static void end(weft *rt)
{
	api_await_no_tasks(rt);
	store_await_empty(rt);
	api_close(rt);
}

Test(datasets, parts_and_pairs_come_back_as_they_were, .init = make_dir, .fini = remove_dir)
{
	const struct weft_pair pairs[] = { { "made by", "a test", 6 }, { "empty", NULL, 0 } };
	weft *rt = open_logged();

	cr_assert_eq(write_parts(rt, "all of them", 3,
	                         &(struct weft_dataset_options){
					 .struct_size = sizeof(struct weft_dataset_options),
					 .pairs = pairs,
					 .n_pairs = 2,
					 .epoch = 4,
					 .attempt = 2 }),
	             0);
	weft_dataset *d = opened(rt, "all of them");
	struct weft_dataset_info info = { .struct_size = sizeof(info) };
	struct weft_pair pair;

	check_all(rt, d, 3);
	cr_assert_eq(weft_dataset_info(d, &info), 0);
	cr_assert_eq(info.pairs, 2);
	cr_assert_eq(info.epoch, 4);
	cr_assert_eq(info.attempt, 2);
	cr_assert_eq(info.bytes, 8 + 448 + 4096 + 500000 + MIB);
	cr_assert_eq(weft_dataset_pair(d, "made by", &pair), 0);
	cr_assert(pair.size == 6 && !memcmp(pair.value, "a test", 6));
	cr_assert_eq(weft_dataset_pair(d, "empty", &pair), 0);
	cr_assert_eq(pair.size, 0);
	cr_assert_eq(weft_dataset_pair(d, "none", &pair), -ENOENT);
	weft_dataset_close(d);
	weft_dataset_close(NULL);
	/* Of nothing. */
	cr_assert_eq(weft_dataset_write(rt, dir, "none", NULL, 0, NULL), 0);
	d = opened(rt, "none");
	cr_assert_eq(weft_dataset_verify(d, NULL, NULL), 0);
	cr_assert_eq(weft_dataset_part_size(d, 0), -EINVAL);
	weft_dataset_close(d);
	end(rt);
}

static int makes(weft_task *self)
{
	const int64_t *seed = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	char name[32];

	snprintf(name, sizeof(name), "%lld", (long long)*seed);
	API_CHECK(write_parts(rt, name, (uint64_t)*seed, NULL) == 0);
	weft_dataset *d = opened(rt, name);

	check_all(rt, d, (uint64_t)*seed);
	weft_dataset_close(d);
	return 0;
}

static int late(weft_task *self)
{
	uint64_t *at;

	API_CHECK(weft_task_output(self, 0, sizes[4], (void **)&at) == 0);
	fill(at, sizes[4], 9 + 4);
	return 0;
}

Test(datasets, tasks_write_them_side_by_side_and_wait_for_their_parts, .init = make_dir,
     .fini = remove_dir)
{
	weft *rt = open_logged();
	weft_ref refs[8], made;

	for (int64_t i = 0; i < 8; i++)
		refs[i] = api_submit(rt, WEFT_TASK(makes, WEFT_ARG(i)));
	for (int i = 0; i < 8; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	made = api_submit(rt, WEFT_TASK(late));
	cr_assert_eq(weft_dataset_write(rt, dir, "late", &made, 1, NULL), 0);
	api_release(rt, made);
	weft_dataset *d = opened(rt, "late");
	struct weft_view view;

	cr_assert_eq(weft_dataset_read(d, 0, &made), 0);
	cr_assert_eq(weft_get(rt, made, WEFT_FOREVER, &view), 0);
	cr_assert(view.size == sizes[4] && filled(view.data, view.size, 9 + 4));
	api_release(rt, made);
	weft_dataset_close(d);
	end(rt);
}

static int write_at(weft *rt, uint64_t epoch, uint32_t attempt, uint64_t seed)
{
	return write_parts(
		rt, "one", seed,
		&(struct weft_dataset_options){ .struct_size = sizeof(struct weft_dataset_options),
	                                        .epoch = epoch,
	                                        .attempt = attempt });
}

Test(datasets, what_is_open_stays_readable_and_the_newest_stays, .init = make_dir,
     .fini = remove_dir)
{
	weft *rt = open_logged();

	cr_assert_eq(write_at(rt, 2, 1, 1), 0);
	weft_dataset *first = opened(rt, "one"), *second;

	cr_assert_eq(write_at(rt, 2, 1, 2), 0, "an equal one takes its place");
	second = opened(rt, "one");
	cr_assert_eq(write_at(rt, 2, 0, 3), -ESTALE);
	cr_assert_eq(write_at(rt, 1, 9, 3), -ESTALE);
	check_all(rt, first, 1);
	check_all(rt, second, 2);
	cr_assert_eq(weft_dataset_remove(rt, dir, "one"), 0);
	cr_assert_eq(weft_dataset_remove(rt, dir, "one"), -ENOENT);
	check_all(rt, first, 1);
	check_all(rt, second, 2);
	weft_dataset_close(first);
	weft_dataset_close(second);
	cr_assert_eq(weft_dataset_open(rt, dir, "one", &first), -ENOENT);
	cr_assert_not(logged("one: "), "who asks has his answer");
	cr_assert_eq(write_at(rt, 0, 0, 4), 0, "nothing newer is there any more");
	end(rt);
}

/* ---- Damage --------------------------------------------------------------------------------- */

/* Turn a bit of a dataset's file over. */
static void damage(const char *file, off_t at)
{
	char path[512], byte;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	int fd = open(path, O_RDWR);

	API_CHECK(fd >= 0 && pread(fd, &byte, 1, at) == 1);
	byte ^= 1;
	API_CHECK(pwrite(fd, &byte, 1, at) == 1 && close(fd) == 0);
}

struct seen {
	char names[256];
	uint32_t calls, parts, broken;
	int answer;
};

static int see(void *arg, const char *name, uint32_t part, const char *text)
{
	struct seen *seen = arg;

	seen->calls++;
	seen->broken += text[0] != '\0';
	seen->parts |= part == WEFT_DATASET_WHOLE ? 0 : 1u << part;
	strcat(seen->names, name);
	return seen->answer;
}

Test(datasets, a_broken_part_is_told_and_no_other, .init = make_dir, .fini = remove_dir)
{
	weft *rt = open_logged();
	struct seen seen = { .answer = 0 };
	weft_ref ref = api_poison_ref();

	cr_assert_eq(write_parts(rt, "d", 1, NULL), 0);
	/* The parts of 448 bytes, and, somewhere, of 1 MiB. */
	damage("d.weft", 100);
	damage("d.weft", MIB);
	weft_dataset *d = opened(rt, "d");

	cr_assert_eq(weft_dataset_read(d, 2, &ref), WEFT_ECORRUPT);
	cr_assert_eq(ref.bits, API_POISON);
	cr_assert(logged("dataset d: ") && logged("part 2"));
	cr_assert_eq(weft_dataset_verify(d, see, &seen), 2);
	cr_assert(seen.parts == (1u << 2 | 1u << 5) && seen.broken == 2);
	seen.answer = 1;
	cr_assert_eq(weft_dataset_verify(d, see, &seen), 1, "not 0 ends it");
	cr_assert_eq(seen.calls, 3);
	for (uint32_t i = 0; i < PARTS; i++) {
		if (i != 2 && i != 5)
			check_part(rt, d, i, 1);
	}
	weft_dataset_close(d);
	cr_assert_eq(write_parts(rt, "d", 2, NULL), 0, "computed again");
	d = opened(rt, "d");
	check_all(rt, d, 2);
	weft_dataset_close(d);
	end(rt);
}

Test(datasets, a_list_has_all_of_them_and_says_which_are_broken, .init = make_dir,
     .fini = remove_dir)
{
	weft *rt = open_logged();
	struct seen seen = { .answer = 0 };
	weft_dataset *d = NULL;
	char path[512];

	cr_assert_eq(write_parts(rt, "a/b", 1, NULL), 0);
	cr_assert_eq(write_parts(rt, "..", 1, NULL), 0);
	snprintf(path, sizeof(path), "%s/...weft", dir);
	cr_assert_eq(close(open(path, O_WRONLY | O_CREAT, 0600)), 0);
	snprintf(path, sizeof(path), "%s/stranger", dir);
	cr_assert_eq(close(open(path, O_WRONLY | O_CREAT, 0600)), 0);
	snprintf(path, sizeof(path), "%s/a%%2Fb.weft", dir);
	cr_assert_eq(truncate(path, 5000), 0);
	cr_assert_eq(weft_dataset_open(rt, dir, "a/b", &d), WEFT_ECORRUPT);
	cr_assert(logged("dataset a/b: ") && !d);
	cr_assert_eq(weft_dataset_list(rt, dir, see, &seen), 0);
	cr_assert(seen.calls == 2 && seen.broken == 1, "%s", seen.names);
	cr_assert(strstr(seen.names, "a/b") && strstr(seen.names, ".."));
	seen.answer = 17;
	cr_assert_eq(weft_dataset_list(rt, dir, see, &seen), 17);
	cr_assert_eq(seen.calls, 3);
	cr_assert_eq(weft_dataset_remove(rt, dir, "a/b"), 0, "a broken one as well");
	seen = (struct seen){ .answer = 0 };
	cr_assert_eq(weft_dataset_list(rt, dir, see, &seen), 0);
	cr_assert_str_eq(seen.names, "..");
	end(rt);
}

/* ---- Wrong calls ---------------------------------------------------------------------------- */

static int fails(weft_task *self)
{
	return weft_fail(self, -EDOM, "no value");
}

Test(datasets, who_calls_wrongly_is_told, .init = make_dir, .fini = remove_dir)
{
	struct weft_dataset_options o = { .struct_size = sizeof(o) };
	struct weft_pair pair = { "key", "value", (1 << 20) + 1 };
	weft *rt = open_logged();
	weft_ref bad[2] = { value_of(rt, 4, 1), WEFT_NONE };
	weft_ref failed = api_submit(rt, WEFT_TASK(fails));
	weft_dataset *d = NULL;
	struct weft_dataset_info info = { .struct_size = 1 };
	char path[512], name[200];

	cr_assert_eq(weft_dataset_write(NULL, dir, "n", bad, 1, NULL), -EINVAL);
	cr_assert_eq(weft_dataset_write(rt, NULL, "n", bad, 1, NULL), -EINVAL);
	cr_assert_eq(weft_dataset_write(rt, dir, NULL, bad, 1, NULL), -EINVAL);
	cr_assert_eq(weft_dataset_write(rt, dir, "", bad, 1, NULL), -EINVAL);
	cr_assert_eq(weft_dataset_write(rt, dir, "n", NULL, 1, NULL), -EINVAL);
	cr_assert_eq(weft_dataset_write(rt, dir, "n", bad, 2, NULL), -EINVAL);
	cr_assert_eq(weft_dataset_write(rt, "", "n", bad, 1, NULL), -ENOENT);
	snprintf(path, sizeof(path), "%s/no/such", dir);
	cr_assert_eq(weft_dataset_write(rt, path, "n", bad, 1, NULL), -ENOENT);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	cr_assert_eq(weft_dataset_write(rt, dir, name, bad, 1, NULL), -ENAMETOOLONG);
	o.pairs = &pair;
	o.n_pairs = 1;
	cr_assert_eq(weft_dataset_write(rt, dir, "n", bad, 1, &o), -EINVAL, "too long");
	pair = (struct weft_pair){ "", "value", 5 };
	cr_assert_eq(weft_dataset_write(rt, dir, "n", bad, 1, &o), -EINVAL, "no key");
	pair = (struct weft_pair){ "key", NULL, 5 };
	cr_assert_eq(weft_dataset_write(rt, dir, "n", bad, 1, &o), -EINVAL, "no value");
	o = (struct weft_dataset_options){ .struct_size = sizeof(o), .reserved = { 0, 1 } };
	cr_assert_eq(weft_dataset_write(rt, dir, "n", bad, 1, &o), -EINVAL);
	bad[1] = failed;
	cr_assert_eq(weft_dataset_write(rt, dir, "n", bad, 2, NULL), WEFT_ETASK);
	cr_assert_eq(weft_dataset_open(rt, dir, "n", &d), -ENOENT, "nothing of it is there");
	cr_assert_eq(weft_dataset_open(rt, "", "n", &d), -ENOENT);
	cr_assert_eq(weft_dataset_open(rt, dir, "n", NULL), -EINVAL);
	cr_assert_eq(weft_dataset_list(rt, "", see, NULL), -ENOENT);
	cr_assert_eq(weft_dataset_list(rt, path, see, NULL), -ENOENT);
	cr_assert_eq(weft_dataset_list(rt, dir, NULL, NULL), -EINVAL);
	cr_assert_eq(weft_dataset_remove(rt, "", "n"), -ENOENT);
	cr_assert_eq(weft_dataset_remove(rt, dir, NULL), -EINVAL);
	cr_assert_eq(weft_dataset_write(rt, dir, "n", bad, 1, NULL), 0);
	d = opened(rt, "n");
	cr_assert_eq(weft_dataset_info(d, &info), -EINVAL);
	cr_assert_eq(weft_dataset_read(d, 1, &failed), -EINVAL);
	cr_assert_eq(weft_dataset_read(d, 0, NULL), -EINVAL);
	cr_assert_eq(weft_dataset_read(NULL, 0, &failed), -EINVAL);
	cr_assert_eq(weft_dataset_verify(NULL, NULL, NULL), -EINVAL);
	cr_assert_eq(weft_dataset_part_size(NULL, 0), -EINVAL);
	cr_assert_eq(weft_dataset_pair(d, NULL, &pair), -EINVAL);
	weft_dataset_close(d);
	cr_assert_eq(weft_release_many(rt, bad, 2), 0);
	end(rt);
}
