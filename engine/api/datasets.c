/*
 * datasets.c: the doors to durable datasets. Every call of the store room here blocks its thread,
 * so it is made by wf_call_blocking(): the calling task sleeps, its worker goes on.
 */
#include <errno.h>
#include <string.h>

#include "room.h"
#include "runtime.h"
#include "wf_dataset.h"
#include "wf_store.h"

#define BATCH_PARTS 64
#define BATCH_BYTES ((uint64_t)16 << 20)

struct weft_dataset {
	weft *rt;
	struct wf_dataset *dataset;
	struct wf_dataset_env env;
};

static void dataset_log(void *arg, int level, const char *text)
{
	wf_log(arg, level, "%s", text);
}

/* 0, or -EIO when the store's I/O cannot be started (logged). */
int wf_dataset_env_init(weft *rt, struct wf_dataset_env *env)
{
	struct wf_store *store = wf_runtime_store(rt);

	*env = (struct wf_dataset_env){ .log = dataset_log, .log_arg = rt };
	env->io = store ? wf_store_io(store) : NULL;
	return env->io ? 0 : -EIO;
}

static int status_of(int rc)
{
	return rc == -EBADMSG ? WEFT_ECORRUPT : rc;
}

static void tell(weft *rt, const char *name, const struct wf_dataset_fault *fault)
{
	if (fault->text[0])
		wf_log(rt, WEFT_LOG_ERROR, "dataset %s: %s", name, fault->text);
}

/* ---- Writing -------------------------------------------------------------------------------- */

struct write_job {
	struct wf_dataset_env env;
	struct wf_dataset_spec spec;
	struct wf_dataset_writer *writer;
	struct wf_dataset_part parts[BATCH_PARTS];
	uint32_t count;
};

static int begin_job(void *arg)
{
	struct write_job *job = arg;

	return wf_dataset_begin(&job->writer, &job->env, &job->spec);
}

static int append_job(void *arg)
{
	struct write_job *job = arg;
	int rc = 0;

	for (uint32_t i = 0; i < job->count && !rc; i++)
		rc = wf_dataset_append(job->writer, &job->parts[i]);
	return rc;
}

static int publish_job(void *arg)
{
	struct write_job *job = arg;
	struct wf_dataset_writer *writer = job->writer;

	job->writer = NULL;
	return wf_dataset_publish(writer);
}

static int abort_job(void *arg)
{
	struct write_job *job = arg;

	wf_dataset_abort(job->writer);
	return 0;
}

static int read_options(const struct weft_dataset_options *from, struct weft_dataset_options *to)
{
	int rc = 0;

	memset(to, 0, sizeof(*to));
	if (from)
		rc = wf_options_read(to, sizeof(*to), from);
	if (rc || (to->n_pairs && !to->pairs) || to->reserved0 || to->reserved1)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(to->reserved) / sizeof(*to->reserved); i++) {
		if (to->reserved[i])
			return -EINVAL;
	}
	for (uint32_t i = 0; i < to->n_pairs; i++) {
		if (!to->pairs[i].key || to->pairs[i].size > WF_DATASET_VALUE_MAX ||
		    (to->pairs[i].size && !to->pairs[i].value))
			return -EINVAL;
	}
	return 0;
}

static struct wf_dataset_pair *copy_pairs(const struct weft_dataset_options *o)
{
	struct wf_dataset_pair *pairs = wf_malloc((o->n_pairs + 1) * sizeof(*pairs));

	for (uint32_t i = 0; pairs && i < o->n_pairs; i++)
		pairs[i] = (struct wf_dataset_pair){ .key = o->pairs[i].key,
			                             .value = o->pairs[i].value,
			                             .value_bytes = (uint32_t)o->pairs[i].size };
	return pairs;
}

/* Tag and metadata of the value travel with it. */
static void part_of(weft *rt, weft_ref ref, struct weft_view view, struct wf_dataset_part *part)
{
	struct weft_object_info info = { .struct_size = sizeof(info) };

	*part = (struct wf_dataset_part){ .data = view.data, .size = view.size };
	if (weft_object_info(rt, ref, &info))
		return;
	part->tag = info.tag;
	part->meta = info.meta;
	part->meta_bytes = (uint32_t)info.meta_size;
}

/* Append refs[0 .. n) in batches, each value held only while it is written. */
static WF_SUSPENDS int append_refs(weft *rt, struct write_job *job, const weft_ref *refs,
                                   uint32_t n)
{
	for (uint32_t done = 0; done < n;) {
		uint64_t bytes = 0;
		int rc = 0;

		job->count = 0;
		while (done + job->count < n && job->count < BATCH_PARTS && bytes < BATCH_BYTES) {
			weft_ref ref = refs[done + job->count];
			struct weft_view view;

			/* The first of a batch is waited for; others only join it if they can. */
			rc = weft_get(rt, ref, job->count ? WEFT_POLL : WEFT_FOREVER, &view);
			if (rc)
				break;
			part_of(rt, ref, view, &job->parts[job->count++]);
			bytes += view.size;
		}
		struct wf_local *self = wf_local_of(rt);
		bool entered = self && wf_room_enter(self, bytes);

		if (job->count)
			rc = wf_call_blocking(rt, append_job, job);
		for (uint32_t i = 0; i < job->count; i++)
			weft_view_end(rt, refs[done + i]);
		wf_room_leave(self, entered);
		if (rc)
			return rc;
		done += job->count;
	}
	return 0;
}

static WF_SUSPENDS int write_refs(weft *rt, struct write_job *job, const weft_ref *refs, uint32_t n)
{
	int rc = wf_call_blocking(rt, begin_job, job);

	if (rc)
		return rc;
	rc = append_refs(rt, job, refs, n);
	if (!rc)
		rc = wf_call_blocking(rt, publish_job, job);
	/* A runtime that is closing lends no thread: then this one waits for the disk. */
	if (job->writer && wf_call_blocking(rt, abort_job, job))
		wf_dataset_abort(job->writer);
	return rc;
}

int weft_dataset_write(weft *rt, const char *dir, const char *name, const weft_ref *refs,
                       uint32_t n, const struct weft_dataset_options *opts)
{
	struct weft_dataset_options o;

	if (!rt || !dir || !name || (n && !refs) || read_options(opts, &o))
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		if (!wf_cell_of(rt, refs[i]))
			return -EINVAL;
	}
	if (!*dir)
		return -ENOENT;
	struct write_job *job = wf_malloc(sizeof(*job));
	struct wf_dataset_pair *pairs = copy_pairs(&o);
	int rc = job && pairs ? 0 : -ENOMEM;

	if (!rc) {
		memset(job, 0, sizeof(*job));
		rc = wf_dataset_env_init(rt, &job->env);
		WF_CHECK(rc || job->env.io);
	}
	if (!rc) {
		job->spec = (struct wf_dataset_spec){ .dir = dir,
			                              .name = name,
			                              .epoch = o.epoch,
			                              .attempt = o.attempt,
			                              .pair_count = o.n_pairs,
			                              .pairs = pairs };
		rc = write_refs(rt, job, refs, n);
	}
	wf_free(pairs);
	wf_free(job);
	return rc;
}

/* ---- Reading -------------------------------------------------------------------------------- */

struct open_job {
	struct wf_dataset_env env;
	const char *dir, *name;
	struct wf_dataset *dataset;
	struct wf_dataset_fault fault;
};

static int open_job(void *arg)
{
	struct open_job *job = arg;

	return wf_dataset_open(&job->dataset, &job->env, job->dir, job->name, &job->fault);
}

int weft_dataset_open(weft *rt, const char *dir, const char *name, weft_dataset **out)
{
	struct open_job job = { .dir = dir, .name = name };

	if (!rt || !dir || !name || !out)
		return -EINVAL;
	if (!*dir)
		return -ENOENT;
	weft_dataset *dataset = wf_malloc(sizeof(*dataset));
	int rc = dataset ? wf_dataset_env_init(rt, &job.env) : -ENOMEM;

	if (!rc) {
		rc = wf_call_blocking(rt, open_job, &job);
		/* Who asks whether it is there has his answer. */
		if (rc && rc != -ENOENT)
			tell(rt, name, &job.fault);
	}
	WF_CHECK(rc <= 0 && (rc == 0) == (job.dataset != NULL));
	if (rc) {
		wf_free(dataset);
		return status_of(rc);
	}
	*dataset = (weft_dataset){ .rt = rt, .dataset = job.dataset, .env = job.env };
	*out = dataset;
	return 0;
}

void weft_dataset_close(weft_dataset *dataset)
{
	if (!dataset)
		return;
	wf_dataset_close(dataset->dataset);
	wf_free(dataset);
}

struct read_job {
	const struct wf_dataset *dataset;
	uint32_t part;
	void *data;
	struct wf_dataset_fault fault;
};

static int read_job(void *arg)
{
	struct read_job *job = arg;

	return wf_dataset_read(job->dataset, job->part, job->data, &job->fault);
}

int wf_dataset_take(weft *rt, const struct wf_dataset *dataset, uint32_t part, weft_ref *out)
{
	struct read_job job = { .dataset = dataset, .part = part };
	struct weft_buffer buffer;
	struct wf_dataset_part_info info = wf_dataset_part(dataset, part);
	struct weft_object_options options = { .struct_size = sizeof(options),
		                               .tag = info.tag,
		                               .meta = info.meta,
		                               .meta_size = info.meta_bytes };
	struct wf_local *self = wf_local_of(rt);

	if (!self)
		return -ENOMEM;
	bool entered = wf_room_enter(self, info.size);
	int rc = weft_create(rt, info.size, &options, &buffer);

	if (!rc) {
		job.data = buffer.data;
		rc = wf_call_blocking(rt, read_job, &job);
		if (!rc)
			rc = weft_seal(rt, &buffer, out);
		if (rc) {
			tell(rt, wf_dataset_info(dataset)->name, &job.fault);
			weft_discard(rt, &buffer);
		}
	}
	wf_room_leave(self, entered);
	return status_of(rc);
}

int weft_dataset_read(weft_dataset *dataset, uint32_t part, weft_ref *out)
{
	if (!dataset || !out || part >= wf_dataset_info(dataset->dataset)->part_count)
		return -EINVAL;
	return wf_dataset_take(dataset->rt, dataset->dataset, part, out);
}

int weft_dataset_info(const weft_dataset *dataset, struct weft_dataset_info *info)
{
	if (!dataset || !info || info->struct_size < 2 * sizeof(size_t))
		return -EINVAL;
	const struct wf_dataset_info *from = wf_dataset_info(dataset->dataset);
	struct weft_dataset_info full = { .struct_size = info->struct_size,
		                          .parts = from->part_count,
		                          .pairs = from->pair_count,
		                          .bytes = from->payload_bytes,
		                          .epoch = from->epoch,
		                          .attempt = from->attempt };

	memcpy(info, &full, info->struct_size < sizeof(full) ? info->struct_size : sizeof(full));
	return 0;
}

int64_t weft_dataset_part_size(const weft_dataset *dataset, uint32_t part)
{
	if (!dataset || part >= wf_dataset_info(dataset->dataset)->part_count)
		return -EINVAL;
	return (int64_t)wf_dataset_part(dataset->dataset, part).size;
}

int weft_dataset_pair(const weft_dataset *dataset, const char *key, struct weft_pair *pair)
{
	if (!dataset || !key || !pair)
		return -EINVAL;
	const struct wf_dataset_pair *found = wf_dataset_find(dataset->dataset, key);

	if (!found)
		return -ENOENT;
	*pair = (struct weft_pair){ found->key, found->value, found->value_bytes };
	return 0;
}

/* ---- Walks ---------------------------------------------------------------------------------- */

struct walk_job {
	struct wf_dataset_env env;
	const char *dir, *name;
	const struct wf_dataset *dataset;
	weft_dataset_fn *fn;
	void *arg;
};

static int broken(void *arg, const struct wf_dataset_fault *fault)
{
	struct walk_job *job = arg;

	return job->fn(job->arg, job->name, fault->part, fault->text);
}

static int verify_job(void *arg)
{
	struct walk_job *job = arg;

	return wf_dataset_verify(job->dataset, job->fn ? broken : NULL, job);
}

int weft_dataset_verify(weft_dataset *dataset, weft_dataset_fn *fn, void *arg)
{
	if (!dataset)
		return -EINVAL;
	struct walk_job job = { .dataset = dataset->dataset,
		                .name = wf_dataset_info(dataset->dataset)->name,
		                .fn = fn,
		                .arg = arg };

	return wf_call_blocking(dataset->rt, verify_job, &job);
}

static int visit(void *arg, const char *name, const struct wf_dataset *dataset,
                 const struct wf_dataset_fault *fault)
{
	struct walk_job *job = arg;

	(void)dataset;
	return job->fn(job->arg, name, WEFT_DATASET_WHOLE, fault ? fault->text : "");
}

static int list_job(void *arg)
{
	struct walk_job *job = arg;

	return wf_dataset_list(&job->env, job->dir, visit, job);
}

int weft_dataset_list(weft *rt, const char *dir, weft_dataset_fn *fn, void *arg)
{
	struct walk_job job = { .dir = dir, .fn = fn, .arg = arg };

	if (!rt || !dir || !fn)
		return -EINVAL;
	if (!*dir)
		return -ENOENT;
	int rc = wf_dataset_env_init(rt, &job.env);

	return rc ? rc : wf_call_blocking(rt, list_job, &job);
}

static int remove_job(void *arg)
{
	struct walk_job *job = arg;

	return wf_dataset_remove(&job->env, job->dir, job->name);
}

int weft_dataset_remove(weft *rt, const char *dir, const char *name)
{
	struct walk_job job = { .dir = dir, .name = name };

	if (!rt || !dir || !name)
		return -EINVAL;
	if (!*dir)
		return -ENOENT;
	int rc = wf_dataset_env_init(rt, &job.env);

	return rc ? rc : wf_call_blocking(rt, remove_job, &job);
}
