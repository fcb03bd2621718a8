/*
 * Goal: a program whose values go to a disk that is too small is told that the store is full, can
 * read all that it has made, and has room again when it has released some; where files must not
 * become long, or the kernel refuses io_uring, it goes on. No value is lost or changed, and nothing
 * stays on the disk.
 * Method: children with a small tmpfs, a small ext4 in a file, a limit on file sizes and a system
 * call filter of their own, by the public door. What cannot be mounted (not root) is left out.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../engine/include/weft_store.h"
#include "api_fault.h"

#define MIB    ((size_t)1 << 20)
#define SIZE   ((size_t)100 << 10)
#define VALUES 400u /* 39 MiB: more than a small disk or a short file, and the store */
#define STORE  (4 * MIB)

static char top[64], place[96], image[96];
static weft *rt;
static weft_ref refs[VALUES];
static char bytes[SIZE];
static int warnings;

static void note(void *arg, const struct weft_log_record *record)
{
	(void)arg;
	__atomic_add_fetch(&warnings, record->level <= WEFT_LOG_WARN, __ATOMIC_RELAXED);
	fprintf(stderr, "  log: %s\n", record->text);
}

static void fill(uint32_t key)
{
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (char)(key * 31 + i * 7 + i / 256);
}

static int put(uint32_t i)
{
	struct weft_object_options options = { .struct_size = sizeof(options) };
	struct weft_buffer buffer;
	int rc = weft_create(rt, SIZE, &options, &buffer);

	if (rc)
		return rc;
	fill(i);
	memcpy(buffer.data, bytes, SIZE);
	API_CHECK(weft_seal(rt, &buffer, &refs[i]) == 0);
	return 0;
}

static void look(uint32_t i)
{
	struct weft_view view;

	API_CHECK(weft_get(rt, refs[i], WEFT_FOREVER, &view) == 0);
	fill(i);
	API_CHECK(view.size == SIZE && memcmp(view.data, bytes, SIZE) == 0);
	API_CHECK(weft_view_end(rt, refs[i]) == 0);
}

static struct weft_store_stats stats(void)
{
	struct weft_store_stats now = { .struct_size = sizeof(now) };

	API_CHECK(weft_store_stats(rt, &now) == 0);
	return now;
}

/* Fill it until it is full, `full`, or never; look at all; make room; fill it again. */
static void use(bool full)
{
	struct weft_store_stats end;
	uint32_t made = 0, again;
	int rc = 0;

	warnings = 0;
	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = 1, .store_bytes = STORE, .spill_dirs = place,
	                                 .log = note)) == 0);
	while (made < VALUES && (rc = put(made)) == 0)
		made++;
	fprintf(stderr, "  %u values, %s\n", made, stats().io);
	API_CHECK(full ? rc == WEFT_ESTOREFULL : rc == 0);
	/* More than the memory: the disk was used. */
	API_CHECK(made * SIZE > STORE + MIB);
	for (uint32_t i = 0; i < made; i++)
		look(i);
	/* Neighbours: of those that share pages each alone leaves less than it took. */
	for (uint32_t i = 0; i < made / 2; i++)
		api_release(rt, refs[i]);
	for (again = 0; again < made / 4; again++)
		API_CHECK(put(again) == 0);
	for (uint32_t i = made / 2; i < made; i++)
		look(i);
	for (uint32_t i = 0; i < again; i++)
		look(i);
	end = stats();
	API_CHECK(end.losses == 0 && end.spills > 0 && end.restores > 0);
	API_CHECK(full ? end.fulls > 0 && warnings > 0 : end.fulls == 0);
	for (uint32_t i = made / 2; i < made; i++)
		api_release(rt, refs[i]);
	for (uint32_t i = 0; i < again; i++)
		api_release(rt, refs[i]);
	/* What was on its way goes when it has arrived. */
	for (const int64_t start = api_now(); stats().objects > 0;)
		api_polling(start, "the last transfers");
	api_close(rt);
}

/* Nothing of a file is left: there is as much room as before. */
static uint32_t names(void)
{
	return fault_entries(place);
}

static int with_tmpfs(void)
{
	if (mount("tmpfs", place, "tmpfs", 0, "size=8m,huge=never") != 0)
		return 77;
	use(true);
	API_CHECK(names() == 2);
	return umount(place);
}

static int with_ext4(void)
{
	char command[400];
	uint32_t before;
	int fd = open(image, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	API_CHECK(fd >= 0 && ftruncate(fd, 24 * (off_t)MIB) == 0);
	close(fd);
	snprintf(command, sizeof(command),
	         "mkfs.ext4 -q -F -m 0 '%s' >/dev/null 2>&1 && "
	         "mount -o loop '%s' '%s' 2>/dev/null",
	         image, image, place);
	if (system(command) != 0)
		return 77;
	before = names();
	use(true);
	API_CHECK(names() == before);
	return umount(place);
}

static int with_short_files(void)
{
	/* The store's memory is a file as well: four times as long as what it is to hold. */
	const struct rlimit limit = { 20 * MIB, 20 * MIB };
	struct sigaction action;

	API_CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	use(false);
	API_CHECK(names() == 2);
	/* The signal that comes with the limit has neither killed us nor been ignored for us. */
	API_CHECK(sigaction(SIGXFSZ, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
	return 0;
}

static int without_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		return 77;
	unsetenv("WEFT_IO");
	use(false);
	API_CHECK(names() == 2);
	return 0;
}

/* Each in a process and a mount namespace of its own; 77: it cannot be had here. */
static int in_child(const char *what, bool mounts, int (*body)(void))
{
	int status = 0;
	pid_t child;

	fprintf(stderr, "%s\n", what);
	child = fork();
	if (child == 0) {
		if (mounts &&
		    (unshare(CLONE_NEWNS) != 0 ||
		     mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0))
			_exit(77);
		exit(body());
	}
	API_CHECK(waitpid(child, &status, 0) == child);
	API_CHECK(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		fprintf(stderr, "  left out: it cannot be had here\n");
	else
		API_CHECK(WEXITSTATUS(status) == 0);
	return WEXITSTATUS(status);
}

int main(void)
{
	int left_out = 0;

	snprintf(top, sizeof(top), "/var/tmp/weft-test-disks-XXXXXX");
	API_CHECK(mkdtemp(top) != NULL);
	snprintf(place, sizeof(place), "%s/place", top);
	snprintf(image, sizeof(image), "%s/image", top);
	API_CHECK(mkdir(place, 0700) == 0);
	left_out += in_child("a small tmpfs", true, with_tmpfs) == 77;
	left_out += in_child("a small ext4", true, with_ext4) == 77;
	left_out += in_child("short files", false, with_short_files) == 77;
	left_out += in_child("no io_uring", false, without_uring) == 77;
	unlink(image);
	API_CHECK(rmdir(place) == 0 && rmdir(top) == 0);
	return left_out > 0 ? 77 : 0;
}
