/*
 * Goal: whatever fails around a keyed task, the submit or the task says so, nothing is left behind
 * in memory, and a later try has the right result: a failure is never taken for a result.
 * Method: the sweep over opening a session, a keyed task that writes files and two outputs, a
 * find and the close, in a fresh directory each time; then the same without faults.
 */
#include <fcntl.h>
#include <ftw.h>

#include "api_fault.h"

#define BIG ((size_t)70000)

static char dir[256];
static struct api_count runs;

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)info;
	(void)kind;
	(void)at;
	return remove(path);
}

static int body(weft_task *self)
{
	const char *out, *tmp;
	char file[700], *data;
	int rc = weft_task_tmpdir(self, &tmp);

	api_add(&runs, 1);
	if (!rc)
		rc = weft_task_outdir(self, &out);
	if (!rc)
		rc = weft_task_output(self, 1, BIG, (void **)&data);
	if (rc)
		return weft_fail(self, rc, "no place");
	memset(data, 'w', BIG);
	snprintf(file, sizeof(file), "%s/f", out);
	int fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0666);

	API_CHECK(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
	return weft_return(self, "small", 5);
}

static void check_refs(weft *rt, const weft_ref *out)
{
	char text[8] = "";
	struct weft_view view;

	API_CHECK(weft_get_copy(rt, out[0], text, sizeof(text)) == 5 && !strcmp(text, "small"));
	API_CHECK(weft_get(rt, out[1], WEFT_FOREVER, &view) == 0 && view.size == BIG);
	for (size_t i = 0; i < BIG; i++)
		API_CHECK(((const char *)view.data)[i] == 'w');
}

/* 0: the right result; else what failed. */
static int use(weft *rt)
{
	weft_ref out[2] = { api_poison_ref(), api_poison_ref() }, found = api_poison_ref();
	struct weft_view view;
	int rc = weft_submit(
		rt,
		WEFT_TASK(body,
	                  .opts = WEFT_TASK_OPTIONS(.key = "the key", .n_outputs = 2,
	                                            .key_retries = 1000, .output_name = "files")),
		out);

	if (rc) {
		API_CHECK(rc < 0 && out[0].bits == API_POISON && out[1].bits == API_POISON);
		return rc;
	}
	rc = weft_get(rt, out[0], WEFT_FOREVER, &view);
	API_CHECK(rc <= 0);
	/* Reading itself may have run out of something: then it is there all the same. */
	if (!rc)
		check_refs(rt, out);
	int failed = weft_find(rt, "the key", &found);

	API_CHECK(failed <= 0 && (failed != 0) == (found.bits == API_POISON));
	if (!failed)
		api_release(rt, found);
	api_release(rt, out[0]);
	api_release(rt, out[1]);
	return rc;
}

static weft *open_session(int *rc)
{
	weft *rt = NULL;

	*rc = weft_open(&rt,
	                WEFT_OPTIONS(.workers = 1, .session_dir = dir, .spill_dirs = "",
	                             .store_bytes = 4 << 20));
	API_CHECK(*rc <= 0 && (*rc != 0) == (rt == NULL));
	return rt;
}

static void check_round(void)
{
	int rc;
	char file[600];
	weft *rt = open_session(&rc);

	API_CHECK(rt != NULL);
	API_CHECK(use(rt) == 0);
	snprintf(file, sizeof(file), "%s/output/files/f", dir);
	API_CHECK(access(file, F_OK) == 0);
	api_await_no_tasks(rt);
	api_close(rt);
	snprintf(file, sizeof(file), "%s/attempts", dir);
	API_CHECK(access(file, F_OK) != 0);
}

static void round_of(uint64_t nth)
{
	const char *light = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	int rc;

	snprintf(dir, sizeof(dir), "%s/weft-session-XXXXXX", light);
	API_CHECK(mkdtemp(dir) != NULL);
	wf_fault_arm(-1, nth);
	weft *rt = open_session(&rc);

	if (rt) {
		(void)use(rt);
		api_await_no_tasks(rt);
		API_CHECK(weft_close(rt, WEFT_FOREVER) == 0);
	}
	wf_fault_arm(-1, 0);
	check_round();
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
	round_of(0);

	struct fault_census before = fault_census();
	uint64_t points = fault_sweep(round_of);

	fault_census_check(&before);
	printf("%llu points failed, %llu bodies ran\n", (unsigned long long)points,
	       (unsigned long long)api_read(&runs));
	API_CHECK(points > 50);
	return 0;
}
