/*
 * Goal: a disk that is really full, and a limit on file sizes, cost what does not fit and nothing
 * else: the rest is written, elsewhere if there is an elsewhere, everything that was written comes
 * back, and room that appears is used.
 * Method: a small tmpfs, an ext4 and an ext2 (which cannot allocate ahead, so that the write is
 * what fails) in an image file, setrlimit(). Skipped where nothing can be mounted.
 */
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "spill_disk.h"
#include "test.h"

#define COUNT 24
#define SIZE  ((uint64_t)700000)

static struct spill_kit kit;
static char home[] = "/var/tmp/weft-spill-disk-XXXXXX";
static char mounted[64], image[64];
static struct wf_spill_item items[COUNT];

static void make_items(void)
{
	for (uint32_t i = 0; i < COUNT; i++) {
		char *bytes = spill_bytes(SIZE, 0);

		io_fill(bytes, SIZE, i);
		items[i] = (struct wf_spill_item){ .data = bytes, .size = SIZE, .id = i };
	}
}

static void make_home(void)
{
	memcpy(home + strlen(home) - 6, "XXXXXX", 6);
	cr_assert_not_null(mkdtemp(home));
	snprintf(mounted, sizeof(mounted), "%s/mounted", home);
	snprintf(image, sizeof(image), "%s/image", home);
	cr_assert_eq(mkdir(mounted, 0700), 0);
	make_items();
}

static void drop_home(bool is_mounted)
{
	if (is_mounted)
		cr_assert_eq(umount(mounted), 0);
	unlink(image);
	rmdir(mounted);
	cr_assert_eq(rmdir(home), 0);
	for (uint32_t i = 0; i < COUNT; i++)
		spill_bytes_free((void *)(uintptr_t)items[i].data);
}

static bool mount_tmpfs(void)
{
	return mount("tmpfs", mounted, "tmpfs", 0, "size=8m") == 0;
}

static bool mount_image(const char *type)
{
	char command[512];

	snprintf(command, sizeof(command),
	         "{ truncate -s 12M %s && mkfs.%s -q -F -m 0 %s && mount -o loop %s %s; } "
	         ">%s.log 2>&1",
	         image, type, image, image, mounted, image);
	if (system(command) == 0) {
		snprintf(command, sizeof(command), "%s.log", image);
		unlink(command);
		return true;
	}
	snprintf(command, sizeof(command), "%s.log", image);
	unlink(command);
	return false;
}

/* Which were written; all of them come back, and the others say why. */
static uint32_t expect_written_back(void)
{
	uint32_t written = 0;
	char *to = spill_bytes(SIZE, 0), text[256];

	for (uint32_t i = 0; i < COUNT; i++) {
		cr_assert(items[i].status == 0 || items[i].status == -ENOSPC, "%d",
		          items[i].status);
		if (items[i].status != 0)
			continue;
		written++;
		cr_assert_eq(spill_read_to(kit.spill, &items[i], to, text), 0, "%s", text);
		cr_assert(memcmp(to, items[i].data, SIZE) == 0);
	}
	spill_bytes_free(to);
	wf_segments_verify(&kit.spill->segments);
	return written;
}

static void free_all(void)
{
	for (uint32_t i = 0; i < COUNT; i++) {
		if (items[i].status == 0)
			wf_spill_free(kit.spill, &items[i].place, SIZE);
	}
	spill_settle(kit.spill);
	cr_assert_eq(spill_stats(kit.spill).live_bytes, 0);
}

static void expect_disk_left_in_order(const char *backend)
{
	uint32_t first, second;

	kit.dirs[0] = mounted;
	kit.options.dir_count = 1;
	cr_assert_eq(spill_open(&kit, backend), 0);
	spill_write(kit.spill, items, COUNT);
	first = expect_written_back();
	cr_assert(first > 4 && first < COUNT, "%u", first);
	cr_assert(wf_spill_is_full(kit.spill, SIZE));
	free_all();
	cr_assert_not(wf_spill_is_full(kit.spill, SIZE));
	spill_write(kit.spill, items, COUNT);
	second = expect_written_back();
	cr_assert_geq(second, first - 1);
	free_all();
	spill_close(&kit);
}

/* With a second directory nothing fails at all. */
static void expect_other_directory_helps(const char *backend)
{
	kit.dirs[0] = mounted;
	kit.dirs[1] = home;
	kit.options.dir_count = 2;
	cr_assert_eq(spill_open(&kit, backend), 0);
	spill_write(kit.spill, items, COUNT);
	cr_assert_eq(expect_written_back(), COUNT);
	free_all();
	spill_close(&kit);
}

static void full_disk(void)
{
	for (int b = 0; b < 2; b++) {
		if (io_open(&kit.io, io_backends[b], (struct wf_io_options){ 0 }) != 0)
			continue;
		wf_io_close(kit.io);
		kit.io = NULL;
		expect_disk_left_in_order(io_backends[b]);
		expect_other_directory_helps(io_backends[b]);
	}
}

Test(spill_disk, a_full_tmpfs)
{
	bool can;

	make_home();
	can = mount_tmpfs();
	if (can)
		full_disk();
	drop_home(can);
	if (!can)
		test_skip("no tmpfs can be mounted here");
}

Test(spill_disk, a_full_ext4)
{
	bool can;

	make_home();
	can = mount_image("ext4");
	if (can)
		full_disk();
	drop_home(can);
	if (!can)
		test_skip("no ext4 can be mounted here");
}

/* Fill what is left of the disk, from outside. */
static void fill_disk(void)
{
	char path[128];
	static char zeros[65536];
	int fd;

	snprintf(path, sizeof(path), "%s/filler", mounted);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	while (write(fd, zeros, 512) > 0)
		;
	(void)fsync(fd);
	close(fd);
}

Test(spill_disk, a_write_that_finds_the_disk_full)
{
	bool can;

	make_home();
	can = mount_image("ext2");
	for (int b = 0; b < 2 && can; b++) {
		char path[128];

		kit.dirs[0] = mounted;
		kit.dirs[1] = home;
		kit.options.dir_count = 2;
		if (spill_open(&kit, io_backends[b]) != 0)
			continue;
		/* A segment in either directory; the rest of each is not allocated yet. */
		items[0].size = items[1].size = 1000;
		spill_write(kit.spill, items, 1);
		spill_write(kit.spill, items + 1, 1);
		cr_assert_eq(spill_stats(kit.spill).segments, 2);
		wf_spill_free(kit.spill, &items[0].place, 1000);
		wf_spill_free(kit.spill, &items[1].place, 1000);
		items[0].size = items[1].size = SIZE;
		fill_disk();
		spill_write(kit.spill, items, COUNT);
		cr_assert_eq(expect_written_back(), COUNT);
		cr_assert_geq(spill_logged(&kit, mounted), 1);
		free_all();
		spill_close(&kit);
		snprintf(path, sizeof(path), "%s/filler", mounted);
		unlink(path);
	}
	drop_home(can);
	if (!can)
		test_skip("no ext2 can be mounted here");
}

static void limit_files(uint64_t bytes)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	limit.rlim_cur = bytes;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(spill_disk, files_that_must_not_become_long)
{
	make_home();
	kit.dirs[0] = home;
	kit.options.dir_count = 1;
	cr_assert_eq(spill_open(&kit, "threads"), 0);
	/* Segments are cut to the limit; what does not fit in one is refused. */
	limit_files(750000);
	spill_write(kit.spill, items, COUNT);
	cr_assert_eq(expect_written_back(), COUNT);
	cr_assert_eq(spill_stats(kit.spill).segments, COUNT);
	free_all();
	limit_files(600000);
	spill_write(kit.spill, items, COUNT);
	cr_assert_eq(expect_written_back(), 0);
	limit_files(RLIM_INFINITY);
	/* A limit that comes later meets the writes. */
	items[0].size = 1000;
	spill_write(kit.spill, items, 1);
	cr_assert_eq(items[0].status, 0);
	limit_files(8192);
	for (uint32_t i = 1; i < 8; i++)
		items[i].size = 3000;
	spill_write(kit.spill, items + 1, 7);
	for (uint32_t i = 1; i < 8; i++)
		cr_assert(items[i].status == 0 || items[i].status == -ENOSPC, "%d",
		          items[i].status);
	limit_files(RLIM_INFINITY);
	for (uint32_t i = 0; i < 8; i++) {
		if (items[i].status == 0)
			wf_spill_free(kit.spill, &items[i].place, items[i].size);
		items[i].size = SIZE;
	}
	spill_write(kit.spill, items, COUNT);
	cr_assert_eq(expect_written_back(), COUNT);
	free_all();
	spill_close(&kit);
	drop_home(false);
}
