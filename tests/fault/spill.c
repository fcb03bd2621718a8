/*
 * Goal: whichever transfer, file call, allocation, mapping or thread of the spill fails, lies,
 * stops half-way or turns a bit over, no object comes back as something else than it was; a single
 * failure costs nothing but a second attempt where there is one to be made; counters stay right,
 * nothing hangs, and no descriptor and no file is left.
 * Method: one scenario of objects of all kinds over two directories, run for every n of every kind
 * and effect, once and for ever, on both back ends.
 */
#include <dirent.h>

#include "spill_disk.h"

#define REQUIRE(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #x, now); \
			exit(1); \
		} \
	} while (0)

#define FOREVER UINT64_MAX

static const struct {
	uint64_t size, shift;
} kinds[] = {
	{ 300, 0 },    { 5000, 64 },   { 0, 0 },        { 300000, 0 },
	{ 70000, 64 }, { 1500000, 0 }, { 4300000, 64 },
};
enum { ITEMS = sizeof(kinds) / sizeof(kinds[0]) };

static char now[128] = "begin";
/* In memory where there is such a place: thousands of small files, none for its speed. */
static char home[] = "/dev/shm/weft-spill-fault-XXXXXX";
static struct wf_spill_item items[ITEMS];
static char *places[ITEMS];
static struct spill_kit kit;

static unsigned entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned count = 0;

	REQUIRE(dir != NULL);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void remove_all(void)
{
	DIR *dir = opendir(home);
	const struct dirent *entry;

	REQUIRE(dir != NULL);
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] != '.')
			REQUIRE(unlinkat(dirfd(dir), entry->d_name, 0) == 0);
	}
	closedir(dir);
}

struct outcome {
	unsigned failed, lost; /* not written; written and not read back */
	int open_status;
};

static void read_all(struct outcome *out)
{
	for (unsigned i = 0; i < ITEMS; i++) {
		int status;

		if (items[i].status != 0)
			continue;
		memset(places[i], 0, items[i].size);
		status = spill_read_to(kit.spill, &items[i], places[i], NULL);
		REQUIRE(status <= 0);
		REQUIRE(status != 0 || memcmp(places[i], items[i].data, items[i].size) == 0);
		out->lost += status != 0;
	}
}

static void write_all(struct outcome *out, uint64_t *live)
{
	spill_write(kit.spill, items, ITEMS);
	*live = 0;
	for (unsigned i = 0; i < ITEMS; i++) {
		REQUIRE(items[i].status <= 0);
		REQUIRE((items[i].place.segment != 0) == (items[i].status == 0));
		out->failed += items[i].status != 0;
		*live += items[i].status == 0 ? wf_record_bytes(items[i].size) : 0;
	}
}

/* From open to close. `named`: files are made with a name first. */
static struct outcome scenario(bool named)
{
	struct outcome out = { 0 };
	uint64_t live;

	kit.dirs[0] = kit.dirs[1] = home;
	kit.options.dir_count = 2;
	out.open_status = spill_open(&kit, NULL);
	if (out.open_status != 0) {
		REQUIRE(out.open_status < 0);
		return out;
	}
	for (int i = 0; i < 2; i++)
		kit.spill->segments.dirs[i].tmpfile &= !named;
	write_all(&out, &live);
	REQUIRE(spill_stats(kit.spill).live_bytes == live);
	wf_segments_verify(&kit.spill->segments);
	read_all(&out);
	for (unsigned i = 0; i < ITEMS; i++) {
		if (items[i].status == 0)
			wf_spill_free(kit.spill, &items[i].place, items[i].size);
	}
	spill_settle(kit.spill);
	REQUIRE(spill_stats(kit.spill).live_bytes == 0);
	REQUIRE(spill_stats(kit.spill).segments_bad == 0);
	REQUIRE(spill_stats(kit.spill).segments <= 8);
	wf_segments_verify(&kit.spill->segments);
	wf_spill_close(kit.spill);
	return out;
}

/* One effect of one kind, at every point, `count` times from there. */
static void all_points(const char *what, uint32_t kind, enum wf_io_fault_effect effect, int error,
                       uint64_t count, bool harmless)
{
	/* What begins at a point and stays is much the same from one point to the next. */
	for (uint64_t nth = 1;; nth += count == 1 ? 1 : 1 + nth / 4) {
		struct wf_io_fault fault = { kind, effect, error, nth, count };
		unsigned fds = entries("/proc/self/fd");
		struct outcome out;

		snprintf(now, sizeof(now), "%s, %s, point %llu, %s", wf_io_backend(kit.io), what,
		         (unsigned long long)nth, count == 1 ? "once" : "for ever");
		REQUIRE(nth < 1000);
		wf_io_fault_arm(&fault);
		out = scenario(kind == WF_IO_FAULT_UNLINK);
		wf_io_fault_arm(NULL);
		REQUIRE(entries("/proc/self/fd") == fds);
		/* What unlink() refuses for ever stays: an empty file. */
		if (kind == WF_IO_FAULT_UNLINK && count != 1)
			remove_all();
		REQUIRE(entries(home) == 2);
		if (harmless)
			REQUIRE(out.open_status == 0 && out.failed == 0 && out.lost == 0);
		if (wf_io_fault_fired() == 0) {
			REQUIRE(out.open_status == 0 && out.failed == 0 && out.lost == 0);
			REQUIRE(nth > 1);
			return;
		}
	}
}

static void transfers(void)
{
	const uint32_t w = WF_IO_FAULT_WRITE, r = WF_IO_FAULT_READ;

	all_points("write EIO", w, WF_IO_EFFECT_ERROR, EIO, 1, true);
	all_points("write ENOSPC", w, WF_IO_EFFECT_ERROR, ENOSPC, 1, true);
	all_points("write short", w, WF_IO_EFFECT_SHORT, 0, 1, true);
	all_points("write flipped", w, WF_IO_EFFECT_FLIP, 0, 1, false);
	all_points("write a lie", w, WF_IO_EFFECT_LIE, 0, 1, false);
	all_points("write EIO", w, WF_IO_EFFECT_ERROR, EIO, FOREVER, false);
	all_points("write ENOSPC", w, WF_IO_EFFECT_ERROR, ENOSPC, FOREVER, false);
	all_points("write short", w, WF_IO_EFFECT_SHORT, 0, 50, true);
	all_points("write lies", w, WF_IO_EFFECT_LIE, 0, FOREVER, false);
	all_points("read EIO", r, WF_IO_EFFECT_ERROR, EIO, 1, true);
	all_points("read short", r, WF_IO_EFFECT_SHORT, 0, 1, true);
	all_points("read flipped", r, WF_IO_EFFECT_FLIP, 0, 1, true);
	all_points("read a lie", r, WF_IO_EFFECT_LIE, 0, 1, true);
	all_points("read EIO", r, WF_IO_EFFECT_ERROR, EIO, FOREVER, false);
	all_points("read flipped", r, WF_IO_EFFECT_FLIP, 0, FOREVER, false);
}

static void file_calls(void)
{
	const uint32_t o = WF_IO_FAULT_OPEN, f = WF_IO_FAULT_FALLOCATE;

	all_points("open EIO", o, WF_IO_EFFECT_ERROR, EIO, 1, true);
	all_points("open EMFILE", o, WF_IO_EFFECT_ERROR, EMFILE, FOREVER, false);
	all_points("open EINVAL", o, WF_IO_EFFECT_ERROR, EINVAL, 3, false);
	all_points("fallocate ENOSPC", f, WF_IO_EFFECT_ERROR, ENOSPC, 1, true);
	all_points("fallocate EIO", f, WF_IO_EFFECT_ERROR, EIO, 1, true);
	all_points("fallocate EOPNOTSUPP", f, WF_IO_EFFECT_ERROR, EOPNOTSUPP, FOREVER, true);
	all_points("fallocate a lie", f, WF_IO_EFFECT_LIE, 0, FOREVER, true);
	all_points("fallocate ENOSPC", f, WF_IO_EFFECT_ERROR, ENOSPC, FOREVER, false);
	all_points("unlink EIO", WF_IO_FAULT_UNLINK, WF_IO_EFFECT_ERROR, EIO, 1, true);
	all_points("unlink EIO", WF_IO_FAULT_UNLINK, WF_IO_EFFECT_ERROR, EIO, FOREVER, false);
	all_points("close EIO", WF_IO_FAULT_CALLS, WF_IO_EFFECT_ERROR, EIO, FOREVER, true);
}

/* Allocations, mappings, the thread: nothing of it is needed once a segment is there. */
static void resources(void)
{
	for (uint64_t nth = 1;; nth++) {
		unsigned fds = entries("/proc/self/fd");
		struct outcome out;

		snprintf(now, sizeof(now), "%s, resource %llu", wf_io_backend(kit.io),
		         (unsigned long long)nth);
		REQUIRE(nth < 1000);
		wf_fault_arm(-1, nth);
		out = scenario(false);
		wf_fault_arm(-1, 0);
		REQUIRE(entries("/proc/self/fd") == fds);
		if (!wf_fault_fired()) {
			REQUIRE(out.open_status == 0 && out.failed == 0 && out.lost == 0);
			REQUIRE(nth > 5);
			return;
		}
	}
}

/* An item that failed in one segment is written to another, and what lay there stays readable. */
static void quarantine(void)
{
	struct wf_io_fault fault = { WF_IO_FAULT_WRITE, WF_IO_EFFECT_ERROR, EIO, 1, 1 };
	struct wf_spill_item one = items[3], two = items[4];

	strcpy(now, "quarantine");
	REQUIRE(spill_open(&kit, NULL) == 0);
	spill_write(kit.spill, &one, 1);
	REQUIRE(one.status == 0);
	spill_write(kit.spill, &two, 1);
	REQUIRE(two.status == 0);
	wf_spill_free(kit.spill, &two.place, two.size);
	/* The third goes to the first directory again, into the segment of the first. */
	wf_io_fault_arm(&fault);
	spill_write(kit.spill, &two, 1);
	wf_io_fault_arm(NULL);
	REQUIRE(wf_io_fault_fired() == 1);
	REQUIRE(two.status == 0 && two.place.segment != one.place.segment);
	REQUIRE(spill_stats(kit.spill).segments_bad == 1);
	REQUIRE(spill_logged(&kit, "not used for new records any more") >= 1);
	REQUIRE(spill_read_to(kit.spill, &one, places[3], NULL) == 0);
	REQUIRE(spill_read_to(kit.spill, &two, places[4], NULL) == 0);
	REQUIRE(memcmp(places[3], one.data, one.size) == 0);
	wf_spill_free(kit.spill, &one.place, one.size);
	wf_spill_free(kit.spill, &two.place, two.size);
	spill_settle(kit.spill);
	REQUIRE(spill_stats(kit.spill).segments_bad == 0);
	wf_spill_close(kit.spill);
}

int main(void)
{
	if (access("/dev/shm", W_OK) != 0)
		memcpy(home, "/var/tmp", 8);
	REQUIRE(mkdtemp(home) != NULL);
	for (unsigned i = 0; i < ITEMS; i++) {
		char *bytes = spill_bytes(kinds[i].size, kinds[i].shift);

		io_fill(bytes, kinds[i].size, i + 1);
		items[i] = (struct wf_spill_item){ .data = bytes, .size = kinds[i].size, .id = i };
		places[i] = spill_bytes(kinds[i].size, i % 2 * 64);
	}
	for (int b = 0; b < 2; b++) {
		int status = io_open(&kit.io, io_backends[b], (struct wf_io_options){ 0 });

		if (status == -ENOTSUP && b == 0)
			continue;
		REQUIRE(status == 0);
		kit.options.io = kit.io;
		transfers();
		file_calls();
		resources();
		quarantine();
		wf_io_close(kit.io);
		kit.io = NULL;
	}
	for (unsigned i = 0; i < ITEMS; i++) {
		spill_bytes_free((void *)(uintptr_t)items[i].data);
		spill_bytes_free(places[i]);
	}
	REQUIRE(rmdir(home) == 0);
	return 0;
}
