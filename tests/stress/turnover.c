/*
 * turnover.c: a store that is filled and emptied many times over.
 *
 * Goal: what was spilled is at least what was put in less what the memory holds, and the kernel has
 * counted as many bytes as are claimed, in both directions; after any number of turns the process
 * is as large as after the first ones, the spill files are as long, and no name is in their folder.
 * Method: a queue of values several times as large as the store, of all sizes, first in first out,
 * each compared when it comes out; /proc/self/io and /proc/self/statm beside the store's own
 * figures.
 */
#include <dirent.h>
#include <fcntl.h>

#include "../../store/include/wf_io.h"
#include "api.h"
#include "stress.h"

#define KIB   ((size_t)1 << 10)
#define MIB   ((size_t)1 << 20)
#define STORE (8 * MIB)
#define TURN  (3 * STORE) /* bytes in the queue */
#define QUEUE 4096u

struct value {
	weft_ref ref;
	uint64_t key;
	size_t size;
};

static struct value queue[QUEUE];
static uint32_t head, count;
static uint64_t queued, put_bytes, random_state;
static char dir[] = "/var/tmp/weft-stress-turnover-XXXXXX";

static void fill(void *at, size_t size, uint64_t key)
{
	unsigned char *bytes = at;

	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = (key + i) * 0x9e3779b97f4a7c15u;

		memcpy(bytes + i, &word, size - i < 8 ? size - i : 8);
	}
}

static bool filled(const void *at, size_t size, uint64_t key)
{
	const unsigned char *bytes = at;

	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = (key + i) * 0x9e3779b97f4a7c15u;

		if (memcmp(bytes + i, &word, size - i < 8 ? size - i : 8) != 0)
			return false;
	}
	return true;
}

static unsigned entries(const char *path)
{
	DIR *folder = opendir(path);
	unsigned n = 0;

	STRESS_CHECK(folder != NULL);
	while (readdir(folder))
		n++;
	closedir(folder);
	return n;
}

/* A figure of /proc/self/io. */
static uint64_t kernel_says(const char *name)
{
	FILE *file = fopen("/proc/self/io", "r");
	unsigned long long value = 0;
	char line[128];
	bool found = false;

	STRESS_CHECK(file != NULL);
	while (!found && fgets(line, sizeof(line), file))
		found = strncmp(line, name, strlen(name)) == 0 &&
			sscanf(line + strlen(name), ": %llu", &value) == 1;
	fclose(file);
	STRESS_CHECK(found);
	return value;
}

static uint64_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long size, resident;

	STRESS_CHECK(file != NULL && fscanf(file, "%lu %lu", &size, &resident) == 2);
	fclose(file);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static struct weft_store_stats stats_of(weft *rt)
{
	struct weft_store_stats stats = { .struct_size = sizeof(stats) };

	STRESS_CHECK(weft_store_stats(rt, &stats) == 0);
	return stats;
}

static size_t any_size(void)
{
	if (api_below(&random_state, 4) == 0)
		return 256 * KIB + api_below(&random_state, 1024 * KIB);
	return 500 + api_below(&random_state, 64 * KIB);
}

static void put_one(weft *rt)
{
	struct value *value = &queue[(head + count) % QUEUE];
	struct weft_buffer buffer;

	STRESS_CHECK(count < QUEUE);
	value->size = any_size();
	value->key = api_random(&random_state);
	STRESS_CHECK(weft_create(rt, value->size, NULL, &buffer) == 0);
	fill(buffer.data, value->size, value->key);
	STRESS_CHECK(weft_seal(rt, &buffer, &value->ref) == 0);
	count++;
	queued += value->size;
	put_bytes += value->size;
}

static void take_one(weft *rt)
{
	struct value *value = &queue[head];
	struct weft_view view;

	STRESS_CHECK(weft_get(rt, value->ref, WEFT_FOREVER, &view) == 0);
	STRESS_CHECK(view.size == value->size && filled(view.data, value->size, value->key));
	STRESS_CHECK(weft_view_end(rt, value->ref) == 0);
	STRESS_CHECK(weft_release(rt, value->ref) == 0);
	queued -= value->size;
	head = (head + 1) % QUEUE;
	count--;
}

/* As many bytes as the store has go in; what is too much in the queue comes out. */
static void turn(weft *rt)
{
	for (uint64_t until = put_bytes + STORE; put_bytes < until;) {
		put_one(rt);
		while (queued > TURN)
			take_one(rt);
	}
}

/* Whether the kernel counts what is written to `dir` by O_DIRECT as the process's own. */
static bool kernel_counts(void)
{
	uint64_t before = kernel_says("write_bytes");
	char path[128], *bytes = aligned_alloc(4096, MIB);
	bool counted = false;
	int fd;

	snprintf(path, sizeof(path), "%s/probe", dir);
	fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	memset(bytes, 1, MIB);
	if (fd >= 0) {
		counted = pwrite(fd, bytes, MIB, 0) == (ssize_t)MIB &&
			kernel_says("write_bytes") >= before + MIB;
		close(fd);
		unlink(path);
	}
	free(bytes);
	return counted;
}

/* Claimed and counted; a record has a header, and transfers are whole pages. */
static void compare(const char *what, uint64_t claimed, uint64_t counted)
{
	fprintf(stderr, "%s: %llu bytes claimed, %llu counted by the kernel\n", what,
	        (unsigned long long)claimed, (unsigned long long)counted);
	STRESS_CHECK(counted >= claimed);
	STRESS_CHECK(counted <= claimed + claimed / 4 + 4 * MIB);
}

static void run(const char *backend, uint32_t turns)
{
	uint64_t resident = 0, file_bytes = 0, written, read;
	struct weft_store_stats stats;
	weft *rt;

	put_bytes = 0;
	STRESS_CHECK(weft_open(&rt,
	                       WEFT_OPTIONS(.workers = 1, .store_bytes = STORE,
	                                    .spill_dirs = dir)) == 0);
	bool counts = kernel_counts();

	written = kernel_says("write_bytes");
	read = kernel_says("read_bytes");
	for (uint32_t i = 0; i < turns; i++) {
		turn(rt);
		STRESS_CHECK(entries(dir) == 2);
		stats = stats_of(rt);
		STRESS_CHECK(stats.used <= STORE);
		/* After some turns all is as large as it will be. */
		if (i == turns / 4) {
			resident = resident_bytes();
			file_bytes = stats.file_bytes;
		}
	}
	/* Only what the memory holds was not spilled of what is in the queue. */
	STRESS_CHECK(strcmp(stats.io, backend) == 0);
	STRESS_CHECK(stats.spilled_bytes + STORE >= put_bytes);
	STRESS_CHECK(stats.restored_bytes + 2 * STORE + TURN >= put_bytes);
	fprintf(stderr, "%s: %u turns; %llu MiB put, %llu spilled, %llu restored; files %llu MiB\n",
	        backend, turns, (unsigned long long)(put_bytes / MIB),
	        (unsigned long long)(stats.spilled_bytes / MIB),
	        (unsigned long long)(stats.restored_bytes / MIB),
	        (unsigned long long)(stats.file_bytes / MIB));
	/* A segment more may come and go. */
	STRESS_CHECK(stats.file_bytes <= file_bytes + 300 * MIB);
	/* The sanitizers keep what was freed. */
	if (!WF_TSAN && !WF_ASAN)
		STRESS_CHECK(resident_bytes() <= resident + 4 * MIB);
	while (count)
		take_one(rt);
	stats = stats_of(rt);
	if (counts) {
		compare("written", stats.spilled_bytes, kernel_says("write_bytes") - written);
		compare("read", stats.restored_bytes, kernel_says("read_bytes") - read);
	} else {
		fprintf(stderr, "the kernel counts nothing in %s\n", dir);
	}
	for (const int64_t start = api_now(); stats_of(rt).objects || stats_of(rt).used;)
		api_polling(start, "all objects are gone");
	api_close(rt);
	STRESS_CHECK(entries(dir) == 2);
}

int main(void)
{
	static const char *const backends[] = { "uring", "threads" };
	uint32_t turns = test_is_long() ? STRESS_SCALE(400u) : WF_TSAN || WF_ASAN ? 4 : 12;

	random_state = test_seed();
	STRESS_CHECK(mkdtemp(dir) != NULL);
	for (int b = 0; b < 2; b++) {
		STRESS_CHECK(setenv("WEFT_IO", backends[b], 1) == 0);
		struct wf_io_options probe = { .backend = backends[b] };
		struct wf_io *io;

		if (wf_io_open(&io, &probe) != 0) {
			fprintf(stderr, "no %s here\n", backends[b]);
			STRESS_CHECK(b == 0);
			continue;
		}
		wf_io_close(io);
		run(backends[b], turns);
	}
	STRESS_CHECK(rmdir(dir) == 0);
	return 0;
}
