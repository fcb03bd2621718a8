/*
 * Goal: on a full disk a request says -ENOSPC and how much it moved, those bytes are right, a
 * failed fallocate leaves nothing allocated, and the room works on when there is space again.
 * Method: a small tmpfs and a small ext4 in a file, mounted in a mount namespace of a child's own,
 * so that both are gone with it. Needs root.
 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include "../support/io.h"

#define MIB   ((uint64_t)1 << 20)
#define BYTES (96 * MIB)

#define REQUIRE(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: not so: %s: %s\n", __FILE__, __LINE__, #x, \
			        strerror(errno)); \
			exit(1); \
		} \
	} while (0)

static char *out, *in;
static char top[300], place[320], image[320];

static uint64_t free_bytes(void)
{
	struct statvfs st;

	sync();
	REQUIRE(statvfs(place, &st) == 0);
	return (uint64_t)st.f_bfree * st.f_frsize;
}

static void fallocate_leaves_nothing(int fd)
{
	uint64_t before = free_bytes();
	struct stat st;

	REQUIRE(wf_file_fallocate(fd, 0, 2 * BYTES) == -ENOSPC);
	REQUIRE(fstat(fd, &st) == 0 && st.st_size == 0 && st.st_blocks == 0);
	REQUIRE(free_bytes() == before);
	/* Some of it is there already. */
	REQUIRE(wf_file_fallocate(fd, 0, MIB) == 0);
	before = free_bytes();
	REQUIRE(wf_file_fallocate(fd, MIB, 2 * BYTES) == -ENOSPC);
	REQUIRE(fstat(fd, &st) == 0 && (uint64_t)st.st_size == MIB);
	/* ext4 may keep a block of its own for the list of extents. */
	REQUIRE((uint64_t)st.st_blocks * 512 >= MIB && free_bytes() + 65536 >= before);
	REQUIRE(wf_file_truncate(fd, 0) == 0);
}

static void fill_it(struct wf_io *io, bool direct)
{
	int fd = openat(AT_FDCWD, place, O_TMPFILE | O_RDWR | (direct ? O_DIRECT : 0), 0600);
	uint64_t moved = 0, again = 0;

	if (fd < 0 && errno == EINVAL && direct)
		return;
	REQUIRE(fd >= 0);
	fallocate_leaves_nothing(fd);
	REQUIRE(io_transfer(io, WF_IO_WRITE, fd, direct, out, BYTES, 0, &moved) == -ENOSPC);
	fprintf(stderr, "%s%s: %llu bytes\n", wf_io_backend(io), direct ? ", O_DIRECT" : "",
	        (unsigned long long)moved);
	/* From the start: threads whose blocks lie behind may have had all the room. */
	REQUIRE(moved < BYTES);
	REQUIRE(io_transfer(io, WF_IO_READ, fd, direct, in, BYTES, 0, &again) == 0);
	REQUIRE(again >= moved && memcmp(in, out, moved) == 0);
	REQUIRE(wf_file_truncate(fd, 0) == 0);
	REQUIRE(io_transfer(io, WF_IO_WRITE, fd, direct, out, MIB, 0, &moved) == 0 && moved == MIB);
	close(fd);
}

static void both_backends(void)
{
	for (int b = 0; b < 2; b++) {
		struct wf_io_options options = { .probe_dir = place, .block_bytes = MIB / 4 };
		struct wf_io *io;

		if (io_open(&io, io_backends[b], options) != 0) {
			REQUIRE(b == 0);
			continue;
		}
		REQUIRE(strcmp(wf_io_backend(io), io_backends[b]) == 0);
		fill_it(io, false);
		fill_it(io, true);
		wf_io_close(io);
	}
}

/* The probe meets a full disk: that is not the ring's fault. */
static void opens_when_full(void)
{
	struct io_log log = { { 0 }, { 0 }, { "" } };
	struct wf_io_options options = { .probe_dir = place, .log = io_log_line, .log_arg = &log };
	struct wf_io *io;
	int fd = openat(AT_FDCWD, place, O_TMPFILE | O_RDWR, 0600);

	REQUIRE(fd >= 0);
	while (write(fd, out, MIB) > 0)
		;
	REQUIRE(errno == ENOSPC);
	while (write(fd, out, 4096) > 0)
		;
	REQUIRE(wf_io_open(&io, &options) == 0 && log.count.v == 1);
	fprintf(stderr, "full: %s\n", log.lines[0]);
	if (strcmp(wf_io_backend(io), "uring") == 0)
		REQUIRE(strstr(log.lines[0], "probed in a memory file") != NULL);
	wf_io_close(io);
	close(fd);
}

static int with_tmpfs(void)
{
	if (mount("tmpfs", place, "tmpfs", 0, "size=16m,huge=never") != 0)
		return 77;
	both_backends();
	opens_when_full();
	return 0;
}

static int with_ext4(void)
{
	char command[1100];
	int fd = open(image, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	REQUIRE(fd >= 0 && ftruncate(fd, 64 * (off_t)MIB) == 0);
	close(fd);
	snprintf(command, sizeof(command),
	         "mkfs.ext4 -q -F '%s' >/dev/null 2>&1 && mount -o loop '%s' '%s' 2>/dev/null",
	         image, image, place);
	if (system(command) != 0)
		return 77;
	both_backends();
	opens_when_full();
	REQUIRE(umount(place) == 0);
	return 0;
}

/* 0, or 77 when it could not be mounted. */
static int in_namespace(const char *what, int (*body)(void))
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		if (unshare(CLONE_NEWNS) != 0 ||
		    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
			_exit(77);
		exit(body());
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return 1;
	if (WEXITSTATUS(status) == 77)
		fprintf(stderr, "skipped: %s could not be mounted (not root, or no such program)\n",
		        what);
	return WEXITSTATUS(status);
}

int main(void)
{
	int tmpfs, ext4;

	out = wf_aligned_alloc(4096, BYTES);
	in = wf_aligned_alloc(4096, BYTES);
	REQUIRE(out != NULL && in != NULL);
	io_fill(out, BYTES, 21);
	memset(in, 0, BYTES);
	snprintf(top, sizeof(top), "%s/weft-test-full-XXXXXX", io_dir());
	REQUIRE(mkdtemp(top) != NULL);
	snprintf(place, sizeof(place), "%s/place", top);
	snprintf(image, sizeof(image), "%s/image", top);
	REQUIRE(mkdir(place, 0700) == 0);
	tmpfs = in_namespace("a small tmpfs", with_tmpfs);
	ext4 = in_namespace("a small ext4", with_ext4);
	unlink(image);
	REQUIRE(rmdir(place) == 0 && rmdir(top) == 0);
	wf_free(out);
	wf_free(in);
	if (tmpfs == 77 || ext4 == 77)
		return tmpfs > 0 && tmpfs != 77 ? tmpfs : ext4 > 0 && ext4 != 77 ? ext4 : 77;
	return tmpfs | ext4;
}
