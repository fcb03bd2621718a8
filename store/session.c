/*
 * session.c: a session directory: one live session at a time, an epoch for each, and a count of how
 * often each key was begun.
 *
 *   DIR/lock           empty; locked exclusively by the live session
 *   DIR/epoch          the epoch taken last, and by which process; replaced by a rename
 *   DIR/attempts/K.n   a marker: key K was begun for the n-th time (from 0) and has not ended well
 *   DIR/data/          datasets of keyed tasks
 *   DIR/output/ temp/  output directories, named and temporary
 *   DIR/checkpoints/   what attempts of keys have kept for the next one
 *
 * The epoch is durable before anything is named after it, so that no two sessions ever share one. A
 * marker is not flushed: it has to outlive a body that kills the process, and a power failure that
 * takes it back costs one more try. Markers are empty files, made with O_EXCL: no lock, no content
 * to be torn, and threads that begin one key at once make one each.
 *
 * Shared: `begun`, drawn from by every attempt; the rest is constant from open to close.
 */
#include "dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include "base.h"
#include "dirs.h"
#include "owner.h"

#define EPOCH_BYTES 256u
/* A bound for callers' bounds: markers are tried one after the other. */
#define RETRIES_MAX 1000u

_Static_assert(WF_SESSION_RETRIES <= RETRIES_MAX, "the default is allowed");
_Static_assert(WF_DATASET_NAME_MAX + 16 <= 255, "a marker's name is a file's name");

struct wf_session {
	struct wf_dataset_env env;
	char *path;
	char *attempts;
	char *places[WF_SESSION_PLACES];
	uint64_t epoch;
	int lock;
	struct wf_a32 begun; /* attempts of this session */
};

static const char *const place_names[WF_SESSION_PLACES] = { "data", "output", "temp",
	                                                    "checkpoints" };

/* ---- Epoch ----------------------------------------------------------------------------- */

static int epoch_text(char text[static EPOCH_BYTES], uint64_t epoch, uint32_t pid)
{
	char body[96];
	int length;

	snprintf(body, sizeof(body), "weft-session 1 epoch %" PRIu64 " process %" PRIu32, epoch,
	         pid);
	length = snprintf(text, EPOCH_BYTES, "%s sum %016" PRIx64 "\n", body,
	                  (uint64_t)XXH3_64bits(body, strlen(body)));
	WF_CHECK(length > 0 && length < (int)EPOCH_BYTES);
	return length;
}

/* Whatever was read must be, byte for byte, what that epoch is written as. */
static bool parse_epoch(const char *text, size_t size, uint64_t *epoch, uint32_t *pid)
{
	char want[EPOCH_BYTES];
	int length;

	WF_CHECK(text[size] == '\0');
	if (sscanf(text, "weft-session 1 epoch %" SCNu64 " process %" SCNu32, epoch, pid) != 2)
		return false;
	length = epoch_text(want, *epoch, *pid);
	return (size_t)length == size && memcmp(text, want, size) == 0 && *epoch < UINT64_MAX;
}

/* The epoch taken last, and by whom; 0 when there was none. -EBADMSG: it does not say. */
static int read_epoch(const char *path, uint64_t *epoch, uint32_t *pid)
{
	char text[EPOCH_BYTES + 1] = "", *data;
	size_t size;
	int status = wf_file_read_all(path, EPOCH_BYTES, &data, &size);

	*epoch = 0;
	*pid = 0;
	if (status != 0)
		return status == -ENOENT ? 0 : status == -EFBIG ? -EBADMSG : status;
	WF_CHECK(size <= EPOCH_BYTES);
	memcpy(text, data, size);
	wf_free(data);
	return parse_epoch(text, size, epoch, pid) ? 0 : -EBADMSG;
}

static int write_epoch(struct wf_session *s, const char *path)
{
	char text[EPOCH_BYTES];
	char *fresh = wf_path(s->path, "epoch.new");
	int length = epoch_text(text, s->epoch, (uint32_t)getpid()), fd, status;

	WF_CHECK(s->lock >= 0 && s->epoch > 0);
	if (fresh == NULL)
		return -ENOMEM;
	/* The session is locked: nobody else writes this name, and what a dead one left is cut. */
	fd = wf_file_open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	status = fd < 0 ? fd : 0;
	if (status == 0)
		status = wf_dataset_transfer(&s->env, WF_IO_WRITE, fd, false, text,
		                             (uint64_t)length, 0);
	if (status == 0)
		status = wf_file_fdatasync(fd);
	if (fd >= 0)
		(void)wf_file_close(fd);
	if (status == 0)
		status = wf_file_rename(fresh, path);
	if (status == 0)
		status = wf_file_fsync_dir(s->path);
	wf_free(fresh);
	return status;
}

static int take_epoch(struct wf_session *s)
{
	char *path = wf_path(s->path, "epoch");
	uint32_t pid;
	int status;

	WF_CHECK(s->lock >= 0);
	if (path == NULL)
		return -ENOMEM;
	status = read_epoch(path, &s->epoch, &pid);
	if (status == 0) {
		s->epoch++;
		status = write_epoch(s, path);
	} else if (status == -EBADMSG) {
		wf_dataset_log(&s->env, WF_LEVEL_ERROR,
		               "session: %s is not readable; without it an old output could pass "
		               "for a new one",
		               path);
	}
	wf_free(path);
	return status;
}

/* ---- Opening ---------------------------------------------------------------------------- */

/* Say who has it: whoever took the last epoch. */
static void tell_busy(struct wf_session *s)
{
	char *path = wf_path(s->path, "epoch");
	uint64_t epoch;
	uint32_t pid = 0;

	if (path != NULL && read_epoch(path, &epoch, &pid) != 0)
		pid = 0;
	wf_dataset_log(&s->env, WF_LEVEL_ERROR, "session: %s is in use by process %" PRIu32,
	               s->path, pid);
	wf_free(path);
}

/* By a descriptor that nothing is transferred by: it ends with the process, at once. */
static int take_lock(struct wf_session *s)
{
	char *path = wf_path(s->path, "lock");
	int fd, status;

	WF_CHECK(s->lock == -1);
	if (path == NULL)
		return -ENOMEM;
	fd = wf_file_open(path, O_RDWR | O_CREAT, 0666);
	wf_free(path);
	if (fd < 0)
		return fd;
	s->lock = fd;
	status = wf_lock(fd, LOCK_EX | LOCK_NB);
	if (status != -EWOULDBLOCK)
		return status;
	tell_busy(s);
	return -EBUSY;
}

static int make_places(struct wf_session *s)
{
	int status;

	WF_CHECK(s->lock >= 0 && s->attempts == NULL);
	s->attempts = wf_path(s->path, "attempts");
	status = s->attempts != NULL ? wf_dir_make(s->attempts) : -ENOMEM;
	for (int i = 0; status == 0 && i < WF_SESSION_PLACES; i++) {
		s->places[i] = wf_path(s->path, place_names[i]);
		status = s->places[i] != NULL ? wf_dir_make(s->places[i]) : -ENOMEM;
		if (status == 0)
			status = wf_dataset_clean(&s->env, s->places[i]);
		/* That was a number of strays. */
		WF_CHECK(status <= 0 || s->places[i] != NULL);
		status = status > 0 ? 0 : status;
	}
	return status;
}

int wf_session_open(struct wf_session **out, const struct wf_dataset_env *env, const char *path)
{
	struct wf_session *s = wf_calloc(1, sizeof(*s));
	int status;

	WF_CHECK(path != NULL);
	WF_CHECK(env->io != NULL);
	if (s == NULL)
		return -ENOMEM;
	s->env = *env;
	s->lock = -1;
	s->path = wf_text_copy(path);
	status = s->path != NULL ? wf_dir_make(s->path) : -ENOMEM;
	if (status == 0)
		status = take_lock(s);
	if (status == 0)
		status = take_epoch(s);
	if (status == 0)
		status = make_places(s);
	if (status != 0) {
		wf_session_close(s, false);
		return status;
	}
	WF_CHECK(s->epoch > 0 && s->lock >= 0);
	*out = s;
	return 0;
}

void wf_session_close(struct wf_session *session, bool success)
{
	struct wf_session *s = session;

	if (s == NULL)
		return;
	WF_CHECK(!success || s->lock >= 0);
	if (success) {
		const char *gone[] = { s->places[WF_SESSION_TEMP], s->attempts,
			               s->places[WF_SESSION_CHECKPOINTS] };

		for (int i = 0; i < 3; i++) {
			int status = wf_tree_remove(gone[i]);

			if (status != 0)
				wf_dataset_log(&s->env, WF_LEVEL_WARN,
				               "session: %s is not removed: %s", gone[i],
				               strerror(-status));
		}
	}
	/* Last: the next session must not come while we remove. */
	(void)wf_file_close(s->lock);
	for (int i = 0; i < WF_SESSION_PLACES; i++)
		wf_free(s->places[i]);
	wf_free(s->attempts);
	wf_free(s->path);
	wf_free(s);
}

uint64_t wf_session_epoch(const struct wf_session *session)
{
	return session->epoch;
}

const char *wf_session_path(const struct wf_session *session, enum wf_session_place place)
{
	WF_CHECK((unsigned int)place < WF_SESSION_PLACES);
	return session->places[place];
}

/* ---- Attempts -------------------------------------------------------------------------- */

/* attempts/KEY.n, in memory of wf_malloc(). */
static int marker_path(char **out, const struct wf_session *s, const char *key, uint32_t n)
{
	char name[WF_DATASET_NAME_MAX + 16];
	int status = wf_name_encode(name, WF_DATASET_NAME_MAX, key);

	if (status != 0)
		return status;
	snprintf(name + strlen(name), 16, ".%" PRIu32, n);
	*out = wf_path(s->attempts, name);
	return *out != NULL ? 0 : -ENOMEM;
}

uint32_t wf_session_number(struct wf_session *session)
{
	WF_CHECK(session->lock >= 0 && session->epoch > 0);
	/* relaxed: a number that nobody else has; nothing is published by it. */
	return wf_add_relaxed(&session->begun, 1);
}

int wf_session_attempt(struct wf_session *session, const char *key, uint32_t retries,
                       uint32_t *attempt)
{
	WF_CHECK(session->lock >= 0);
	WF_CHECK(key != NULL);
	if (retries > RETRIES_MAX)
		retries = RETRIES_MAX;
	for (uint32_t n = 0; n <= retries; n++) {
		char *path;
		int fd, status = marker_path(&path, session, key, n);

		if (status != 0)
			return status;
		fd = wf_file_open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
		wf_free(path);
		if (fd >= 0) {
			(void)wf_file_close(fd);
			*attempt = wf_session_number(session);
			return 0;
		}
		if (fd != -EEXIST)
			return fd;
	}
	wf_dataset_log(&session->env, WF_LEVEL_ERROR,
	               "session: \"%s\" was begun %" PRIu32 " times and never ended well", key,
	               retries + 1);
	return WF_EATTEMPTS;
}

int wf_session_attempts_forget(struct wf_session *session, const char *key)
{
	uint32_t count = 0;
	int status = 0;

	WF_CHECK(session->lock >= 0);
	/* From the last to the first: who is interrupted leaves markers without a gap. */
	while (status == 0 && count <= RETRIES_MAX) {
		char *path;

		status = marker_path(&path, session, key, count);
		if (status != 0)
			return status;
		status = access(path, F_OK) == 0 ? 0 : -errno;
		wf_free(path);
		count += status == 0;
	}
	if (status == -ENOENT)
		status = 0;
	WF_CHECK(count <= RETRIES_MAX + 1);
	while (status == 0 && count > 0) {
		char *path;

		status = marker_path(&path, session, key, --count);
		if (status != 0)
			return status;
		status = wf_file_unlink(path);
		wf_free(path);
	}
	return status;
}

/* ---- Results --------------------------------------------------------------------------- */

int wf_session_find(struct wf_session *session, const char *key, uint64_t fingerprint,
                    struct wf_dataset **out)
{
	struct wf_dataset_fault fault = { 0 };
	struct wf_dataset *d;
	uint64_t made_by;
	int status =
		wf_dataset_open(&d, &session->env, session->places[WF_SESSION_DATA], key, &fault);

	if (status == -EBADMSG)
		wf_dataset_log(&session->env, WF_LEVEL_WARN,
		               "session: the result of \"%s\" does not verify: %s", key,
		               fault.text);
	if (status != 0)
		return status;
	WF_CHECK(strcmp(wf_dataset_info(d)->name, key) == 0);
	made_by = wf_dataset_info(d)->fingerprint;
	if (fingerprint != 0 && fingerprint != made_by) {
		wf_dataset_log(&session->env, WF_LEVEL_ERROR,
		               "session: \"%s\" was made by another descriptor (%016" PRIx64
		               ", not %016" PRIx64 ")",
		               key, made_by, fingerprint);
		wf_dataset_close(d);
		return WF_ECONFLICT;
	}
	*out = d;
	return 0;
}
