/*
 * checkpoint.c: what an attempt keeps for the next one: in memory, or, of a task with a key, in the
 * session's directory, where the next process finds it.
 *
 * On the disk it is a dataset of one part under its key, so that there is a whole one or none,
 * whenever the process dies; its fingerprint is that of the key's descriptor. It goes when the
 * key's result has been published, and what a crash has left just then goes with a session that
 * went well.
 */
#include <errno.h>
#include <string.h>

#include "keyed_inner.h"

#define CHECKPOINT_MAX ((size_t)1 << 20)

static struct wf_keyed *keyed_of(const weft_task *self)
{
	struct wf_ext *ext = wf_cell_ext(self->cell);
	struct wf_more *more = ext ? wf_ext_more(ext) : NULL;
	struct wf_keyed *k = more ? more->keyed : NULL;

	/* One that only has an output directory is done anew by the next process. */
	return k && *k->key ? k : NULL;
}

static const char *kept_in(const weft *rt)
{
	return wf_session_path(rt->session->session, WF_SESSION_CHECKPOINTS);
}

/* ---- On the disk ---------------------------------------------------------------------------- */

struct keep_job {
	weft *rt;
	struct wf_keyed *k;
	const void *data;
	size_t size;
};

static int keep_job(void *arg)
{
	const struct keep_job *job = arg;
	const struct wf_session_table *table = job->rt->session;
	const struct wf_dataset_part part = { .data = job->data, .size = job->size };
	const struct wf_dataset_spec spec = { .dir = kept_in(job->rt),
		                              .name = job->k->key,
		                              .epoch = wf_session_epoch(table->session),
		                              .attempt = job->k->begun,
		                              .fingerprint = job->k->fingerprint };

	WF_CHECK(*job->k->key);
	return wf_dataset_write(&table->env, &spec, &part, 1);
}

static WF_SUSPENDS int write_kept(weft *rt, struct wf_keyed *k, void *copy, size_t size)
{
	struct keep_job job = { .rt = rt, .k = k, .data = copy, .size = size };
	int rc = wf_call_blocking(rt, keep_job, &job);

	WF_DEBUG(copy && size <= CHECKPOINT_MAX);
	WF_DEBUG(rc <= 0);
	if (rc) {
		wf_free(copy);
		return rc;
	}
	wf_free(k->checkpoint);
	k->checkpoint = copy;
	k->checkpoint_size = size;
	return 0;
}

/* The bytes of a dataset that is one of this descriptor's. */
static int read_kept(const struct wf_dataset *dataset, struct wf_keyed *k)
{
	const struct wf_dataset_info *info = wf_dataset_info(dataset);
	uint64_t size = info->part_count == 1 ? wf_dataset_part(dataset, 0).size : UINT64_MAX;

	WF_DEBUG(!k->checkpoint);
	if (info->fingerprint != k->fingerprint || size > CHECKPOINT_MAX)
		return -ENOENT;
	void *data = wf_malloc(size + 1);
	int rc = data ? wf_dataset_read(dataset, 0, data, NULL) : -ENOMEM;

	if (rc) {
		wf_free(data);
		return rc;
	}
	k->checkpoint = data;
	k->checkpoint_size = size;
	return 0;
}

void wf_checkpoint_load(weft *rt, struct wf_keyed *k)
{
	struct wf_dataset *dataset;

	WF_CHECK(rt->session && *k->key);
	if (k->checkpoint_known)
		return;
	k->checkpoint_known = true;
	int rc = wf_dataset_open(&dataset, &rt->session->env, kept_in(rt), k->key, NULL);

	if (!rc) {
		rc = read_kept(dataset, k);
		wf_dataset_close(dataset);
	}
	WF_DEBUG(!rc || !k->checkpoint);
	/* The body begins from nothing then, as it did the first time. */
	if (rc && rc != -ENOENT)
		wf_log(rt, WEFT_LOG_WARN, "key \"%s\": its checkpoint cannot be read: %s", k->key,
		       weft_strerror(rc));
}

void wf_checkpoint_forget(weft *rt, struct wf_keyed *k)
{
	WF_CHECK(k->checkpoint && *k->key);
	(void)wf_dataset_remove(&rt->session->env, kept_in(rt), k->key);
}

/* ---- For bodies ----------------------------------------------------------------------------- */

int weft_checkpoint(weft_task *self, const void *data, size_t size)
{
	struct wf_ext *ext = wf_cell_ext(self->cell);
	struct wf_plus *plus = ext ? wf_ext_plus(ext) : NULL;
	struct wf_keyed *k = keyed_of(self);

	if (self->borrowed || (size && !data))
		return -EINVAL;
	if (size > CHECKPOINT_MAX)
		return -EMSGSIZE;
	if (!k && (!plus || (!plus->retries && !plus->memory_retries)))
		return 0;
	WF_DEBUG(!plus || !plus->checkpoint_size || plus->checkpoint);
	void *copy = wf_malloc(size + 1);

	if (!copy)
		return -ENOMEM;
	if (size)
		memcpy(copy, data, size);
	if (k)
		return write_kept(self->rt, k, copy, size);
	wf_free(plus->checkpoint);
	plus->checkpoint = copy;
	plus->checkpoint_size = size;
	return 0;
}

int weft_checkpoint_read(weft_task *self, struct weft_view *view)
{
	struct wf_ext *ext = wf_cell_ext(self->cell);
	const struct wf_plus *plus = ext ? wf_ext_plus(ext) : NULL;
	const struct wf_keyed *k = keyed_of(self);

	if (!view)
		return -EINVAL;
	*view = (struct weft_view){ NULL, 0 };
	if (k && k->checkpoint)
		*view = (struct weft_view){ k->checkpoint, k->checkpoint_size };
	else if (!k && plus && plus->checkpoint)
		*view = (struct weft_view){ plus->checkpoint, plus->checkpoint_size };
	return 0;
}
