/*
 * fio.c: the disk by fio, where it is installed: an existing file, O_DIRECT, 2 MiB pages, the best
 * of two shapes. The rows' limit by somebody else's hand.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "problem.h"

#define MIB            ((size_t)1 << 20)

/* Fields of a line of `--terse-version=3`, counted from 1: KiB per second. */
#define FIELD_ERROR    5
#define FIELD_READ_KB  7
#define FIELD_WRITE_KB 48

static double field(const char *line, int number)
{
	for (int i = 1; i < number; i++) {
		line = strchr(line, ';');
		if (!line)
			return -1;
		line++;
	}
	return atof(line);
}

/* KiB per second, 0 when it did not work. */
static double run_once(const char *path, size_t bytes, bool write, const char *shape)
{
	char command[PATH_MAX + 512];
	char line[8192];
	double rate = 0;
	snprintf(command, sizeof command,
	         "fio --name=weft --filename='%s' --filesize=%zu --rw=%s --direct=1 "
	         "--ioengine=io_uring %s --output-format=terse --terse-version=3 2>/dev/null",
	         path, bytes, write ? "write --overwrite=1" : "read", shape);
	FILE *out = popen(command, "re");
	while (out && fgets(line, sizeof line, out)) {
		if (field(line, FIELD_ERROR) == 0)
			rate = field(line, write ? FIELD_WRITE_KB : FIELD_READ_KB);
	}
	return out && pclose(out) == 0 ? rate : 0;
}

static int files(const struct bench_run *run, bool write)
{
	static const char *const shapes[] = { "--bs=4m --iodepth=2", "--bs=1m --iodepth=8" };
	const size_t bytes = bench_pick(1024 * MIB, 16 * MIB);
	char dir[PATH_MAX];
	char path[PATH_MAX + 16];
	struct stat there;
	bench_file_dir_make(dir, sizeof dir);
	snprintf(path, sizeof path, "%s/file", dir);
	/* Its buffers come from malloc(), which takes 2 MiB pages when told to (glibc 2.35). */
	setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 1);
	const bool works = run_once(path, bytes, true, shapes[0]) > 0;
	for (int rep = 0; works && rep < run->reps; rep++) {
		double best = 0;
		for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
			const double rate = run_once(path, bytes, write, shapes[i]);
			best = rate > best ? rate : best;
		}
		const bool whole = !stat(path, &there) && (size_t)there.st_size == bytes;
		if (best > 0)
			bench_emit(run, rep, "", 1e9 / (best / 1024), 1, whole);
	}
	bench_file_dir_remove(dir);
	return works ? 0 : BENCH_EXIT_NO_ROW;
}

static int row_write(const struct bench_run *run)
{
	return files(run, true);
}

static int row_read(const struct bench_run *run)
{
	return files(run, false);
}

static const struct bench_engine_row engine_rows[] = {
	{ "spill_write_4m", row_write },
	{ "spill_restore_4m", row_read },
};

int main(int argc, char **argv)
{
	return bench_engine_main(argc, argv, engine_rows, sizeof engine_rows / sizeof *engine_rows);
}
