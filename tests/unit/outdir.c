/*
 * Goal: a body's directory is seen whole or not at all, is its own until then, replaces only what
 * was published the same way and is older, and goes when it is discarded.
 * Method: trees of files with links and without rights, by hand; both ways to replace, the second
 * by a fault in the first.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "dataset_dir.h"
#include "dirs.h"
#include "test.h"

static struct room room;
static char place[300];

static void setup(void)
{
	room_open(&room);
	snprintf(place, sizeof(place), "%s/place", room.path);
}

static void teardown(void)
{
	wf_fault_arm(-1, 0);
	room_close(&room);
}

static void put_text(const char *base, const char *file, const char *text)
{
	char path[700];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", base, file);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static const char *text_of(const char *base, const char *file)
{
	static char text[64];
	char path[700];
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", base, file);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return "";
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[got > 0 ? got : 0] = '\0';
	return text;
}

static struct wf_outdir *created(uint64_t epoch, uint32_t attempt, const char *text)
{
	struct wf_outdir *out = NULL;
	char inner[700];

	cr_assert_eq(wf_outdir_create(&out, &room.env, place, "name", epoch, attempt), 0);
	snprintf(inner, sizeof(inner), "%s/inner", wf_outdir_path(out));
	cr_assert_eq(mkdir(inner, 0700), 0);
	put_text(inner, "file", text);
	cr_assert_eq(symlink("/etc/passwd", strcat(inner, "/link")), 0);
	return out;
}

Test(outdir, a_published_one_is_there_and_a_discarded_one_is_gone, .init = setup, .fini = teardown)
{
	struct wf_outdir *out = created(1, 0, "one");

	cr_assert_eq(count_entries(place, false), 0);
	cr_assert_eq(wf_dataset_clean(&room.env, place), 0, "it is in use");
	cr_assert_eq(wf_outdir_publish(out), 0);
	cr_assert_eq(count_entries(place, true), 1);
	cr_assert_str_eq(text_of(place, "name/inner/file"), "one");
	out = created(1, 1, "two");
	wf_outdir_discard(out);
	wf_outdir_discard(NULL);
	cr_assert_eq(count_entries(place, true), 1);
	cr_assert_str_eq(text_of(place, "name/inner/file"), "one");
	cr_assert_eq(access("/etc/passwd", F_OK), 0, "links are not followed");
}

Test(outdir, the_newer_attempt_wins, .init = setup, .fini = teardown)
{
	struct wf_outdir *late = created(1, 1, "late"), *older = created(0, 9, "older");

	cr_assert_eq(wf_outdir_publish(created(1, 2, "new")), 0);
	cr_assert_eq(wf_outdir_publish(late), -ESTALE);
	cr_assert_eq(wf_outdir_publish(older), -ESTALE);
	cr_assert_str_eq(text_of(place, "name/inner/file"), "new");
	cr_assert_eq(wf_outdir_publish(created(1, 2, "again")), 0);
	cr_assert_str_eq(text_of(place, "name/inner/file"), "again");
	cr_assert_eq(wf_outdir_publish(created(2, 0, "newest")), 0);
	cr_assert_str_eq(text_of(place, "name/inner/file"), "newest");
	cr_assert_eq(count_entries(place, true), 1);
}

/* Points of WF_FAULT_FILE in a publication up to the exchange are found by trying. */
Test(outdir, where_no_exchange_is_two_renames_do, .init = setup, .fini = teardown)
{
	bool worked = false;

	cr_assert_eq(wf_outdir_publish(created(1, 0, "old")), 0);
	for (uint64_t nth = 1; !worked; nth++) {
		struct wf_outdir *out = created(1, (uint32_t)nth, "new");
		const struct wf_io_fault renames = {
			.kinds = WF_IO_FAULT_RENAME, .error = EIO, .nth = 100, .count = 1
		};
		int status;

		cr_assert_leq(nth, 100);
		wf_io_fault_arm(&renames);
		wf_fault_arm(WF_FAULT_FILE, nth);
		status = wf_outdir_publish(out);
		wf_fault_arm(-1, 0);
		wf_io_fault_arm(NULL);
		worked = status == 0 && wf_io_fault_seen() == 2;
	}
	cr_assert_str_eq(text_of(place, "name/inner/file"), "new");
	cr_assert_eq(count_entries(place, true), 1);
}

Test(outdir, what_somebody_else_made_is_not_replaced, .init = setup, .fini = teardown)
{
	cr_assert_eq(mkdir(place, 0700), 0);
	put_text(place, "name", "a file");
	cr_assert_eq(wf_outdir_publish(created(1, 0, "x")), -EEXIST);
	cr_assert_str_eq(text_of(place, "name"), "a file");
	unlink(strcat(place, "/name"));
	cr_assert_eq(mkdir(place, 0700), 0);
	put_text(place, "file", "a directory");
	place[strlen(place) - 5] = '\0';
	cr_assert_eq(wf_outdir_publish(created(1, 0, "x")), -EEXIST);
	cr_assert_str_eq(text_of(place, "name/file"), "a directory");
	put_text(place, "name/.weft-attempt", "weft 1 epoch 1 attempt 2 and more\n");
	cr_assert_eq(wf_outdir_publish(created(9, 0, "x")), -EEXIST, "a mark that is not ours");
	put_text(place, "name/.weft-attempt", "weft 1 epoch 1 attempt 2\n");
	cr_assert_eq(wf_outdir_publish(created(1, 2, "x")), 0);
	cr_assert_eq(count_entries(place, true), 1);
}

Test(outdir, names_are_any_text, .init = setup, .fini = teardown)
{
	struct wf_outdir *out = NULL;
	char name[300];

	cr_assert_eq(wf_outdir_create(&out, &room.env, place, "../up", 0, 0), 0);
	cr_assert_eq(wf_outdir_publish(out), 0);
	cr_assert_eq(count_entries(room.path, true), 1);
	cr_assert_eq(count_entries(place, false), 1);
	out = NULL;
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	cr_assert_eq(wf_outdir_create(&out, &room.env, place, name, 0, 0), -ENAMETOOLONG);
	cr_assert_eq(wf_outdir_create(&out, &room.env, place, "", 0, 0), -EINVAL);
	strcat(place, "/not/there");
	cr_assert_eq(wf_outdir_create(&out, &room.env, place, "n", 0, 0), -ENOENT);
	cr_assert_null(out);
}

/* Make directories `depth` deep below `base`. */
static void make_deep(const char *base, int depth)
{
	int home = open(".", O_RDONLY | O_DIRECTORY);

	cr_assert_eq(chdir(base), 0);
	for (int i = 0; i < depth; i++)
		cr_assert(mkdir("d", 0700) == 0 && chdir("d") == 0);
	cr_assert_eq(fchdir(home), 0);
	close(home);
}

Test(outdir, trees_have_a_depth_that_is_refused, .init = setup, .fini = teardown)
{
	struct wf_outdir *out = created(1, 0, "x");
	char deep[800];

	make_deep(wf_outdir_path(out), WF_TREE_DEPTH_MAX);
	cr_assert_eq(wf_outdir_publish(out), 0);
	out = created(1, 1, "y");
	make_deep(wf_outdir_path(out), WF_TREE_DEPTH_MAX + 1);
	cr_assert_eq(wf_outdir_publish(out), -ELOOP);
	cr_assert_str_eq(text_of(place, "name/inner/file"), "x");
	/* What could be removed is. */
	cr_assert_eq(count_entries(place, true), 2);
	snprintf(deep, sizeof(deep), "%s/name", place);
	cr_assert_eq(wf_tree_remove(deep), 0);
	cr_assert_eq(wf_tree_remove(deep), 0, "nothing is there");
}
