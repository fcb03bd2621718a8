/*
 * level.c: one level of the sort: splitters from a sample, scatter, plan, then a sort and a write
 * task for each bucket. A bucket that came out too large (skew) is a level of its own, run by a
 * task that waits for its own tasks: nested splitting.
 *
 * A bucket of equal key words needs no sorting by that word. If the key has more words it is
 * split by the next one; if not, its records are already in order, and it is only cut into shares
 * so that several tasks gather it.
 *
 * Termination: a bucket that is split again holds fewer records than its level or goes on to the
 * next word of the key, but for bad luck with the sample; levels are limited for that, and a
 * partition at the limit is sorted by one task, whatever its size.
 */
#include "leaf.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#define REGROUP_RECORDS 65536 /* per task */

/* A bucket that became a level of its own. Inputs: as struct wf_sort_share. */
struct nested {
	struct wf_sort_share share; /* of all of the bucket */
	uint64_t first_record;
	uint32_t depth;
};

/* What was submitted for one share of the output, in output order. */
struct item {
	struct wf_sort_leaf leaf; /* records 0: a nested level, see its value */
	weft_ref done;            /* owned: its write task or its level */
};

/* The state of one level while it runs. */
struct run {
	weft_task *self;
	const struct wf_sort_level *level;
	weft *rt;
	weft_ref splitters;
	struct wf_sort_refs inputs; /* scatter values, owned; then retained chunks */
	uint32_t scatter_count;
	uint32_t bucket_count;
	struct item *items;
	size_t item_count, item_capacity;
};

static int submit(struct run *run, const struct weft_call *call, weft_ref *out)
{
	int status = weft_submit(run->rt, call, out);

	if (status < 0)
		return weft_fail(run->self, status, "cannot submit a task: %s",
		                 weft_strerror(status));
	return 0;
}

static uint32_t partitions_for(const struct wf_sort_level *level)
{
	uint32_t partitions = 1;

	while (partitions < WF_SORT_PARTITIONS_MAX &&
	       partitions * level->job->layout.leaf_records < level->records)
		partitions *= 2;
	return partitions;
}

/* Splitters and scatter tasks. */
static int partition(struct run *run)
{
	const struct wf_sort_level *level = run->level;
	struct wf_sort_split split = {
		.job = level->job,
		.stride = level->stride,
		.partitions = partitions_for(level),
	};
	int status;

	status = submit(run,
	                WEFT_TASK(wf_sort_splitters_body, WEFT_ARG(split), .inputs = level->pieces,
	                          .n_inputs = (uint16_t)level->piece_count),
	                &run->splitters);
	for (uint32_t i = 0; i < level->piece_count && status == 0; i++) {
		weft_ref scatter;

		split.index = i;
		status = submit(run,
		                WEFT_TASK(wf_sort_scatter_body, WEFT_ARG(split),
		                          WEFT_INPUTS(run->splitters, level->pieces[i])),
		                &scatter);
		if (status == 0 && wf_sort_refs_add(&run->inputs, scatter) < 0)
			status = weft_fail(run->self, -ENOMEM, "no memory for a list of tasks");
	}
	run->scatter_count = level->piece_count;
	return status;
}

/* Inputs: the splitters, all scatter values. Value: the records in each bucket. */
static int plan_body(weft_task *self)
{
	struct wf_sort_journal *const *journal = weft_task_arg(self, NULL);
	struct wf_sort_time begin = wf_sort_time_now();
	uint32_t buckets;
	struct weft_view view;
	uint64_t *counts;
	void *value;
	int status;

	WF_CHECK(weft_input(self, 0, &view) == 0);
	buckets = wf_sort_bucket_count(view.data);
	status = weft_task_output(self, 0, buckets * sizeof(*counts), &value);
	if (status < 0)
		return weft_fail(self, status, "no memory to plan the partitions");
	counts = value;
	memset(counts, 0, buckets * sizeof(*counts));
	for (uint32_t i = 1; i < weft_input_count(self); i++) {
		const uint64_t *start;

		WF_CHECK(weft_input(self, i, &view) == 0);
		start = wf_sort_scatter_start(view.data);
		for (uint32_t b = 0; b < buckets; b++)
			counts[b] += start[b + 1] - start[b];
	}
	wf_sort_journal_add(*journal, self, WF_SORT_STAGE_PLAN, begin, buckets * sizeof(*counts));
	return 0;
}

static struct item *next_item(struct run *run)
{
	if (run->item_count == run->item_capacity) {
		size_t capacity = run->item_capacity ? 2 * run->item_capacity : 256;
		struct item *items = wf_calloc(capacity, sizeof(*items));

		if (!items) {
			weft_fail(run->self, -ENOMEM, "no memory for a list of tasks");
			return NULL;
		}
		if (run->item_count)
			memcpy(items, run->items, run->item_count * sizeof(*items));
		wf_free(run->items);
		run->items = items;
		run->item_capacity = capacity;
	}
	return &run->items[run->item_count++];
}

/* A sort task and the write task behind it. */
static int emit_leaf(struct run *run, const struct wf_sort_share *share, uint64_t first_record)
{
	const struct wf_sort_job *job = run->level->job;
	struct wf_sort_write write = {
		.job = job,
		.name = job->output_name,
		.fd = job->output_fd,
		.stage = WF_SORT_STAGE_WRITE,
		.offset = first_record * job->layout.record_bytes,
	};
	static const struct weft_task_options with_order = {
		.struct_size = sizeof(with_order),
		.n_outputs = 2,
	};
	weft_ref out[2] = { { 0 }, { 0 } };
	struct item *item = next_item(run);
	int status;

	if (!item)
		return -ENOMEM;
	status = submit(run,
	                WEFT_TASK(wf_sort_leaf_body, .arg = share, .arg_size = sizeof(*share),
	                          .inputs = run->inputs.refs,
	                          .n_inputs = (uint16_t)run->inputs.count,
	                          .opts = job->check ? &with_order : NULL),
	                out);
	if (status < 0)
		return status;
	item->leaf = (struct wf_sort_leaf){
		.order = out[1],
		.first_record = first_record,
		.records = share->count,
	};
	status = submit(run, WEFT_TASK(wf_sort_write_body, WEFT_ARG(write), WEFT_INPUTS(out[0])),
	                &item->done);
	weft_release(run->rt, out[0]);
	return status;
}

static int nested_body(weft_task *self);

static int emit_nested(struct run *run, const struct wf_sort_share *share, uint64_t first_record)
{
	struct nested nested = {
		.share = *share,
		.first_record = first_record,
		.depth = run->level->depth + 1,
	};
	struct item *item = next_item(run);

	if (!item)
		return -ENOMEM;
	return submit(run,
	              WEFT_TASK(nested_body, WEFT_ARG(nested), .inputs = run->inputs.refs,
	                        .n_inputs = (uint16_t)run->inputs.count),
	              &item->done);
}

/* Submit what bucket `b` needs. */
static int emit_bucket(struct run *run, uint32_t b, uint64_t count, uint64_t first_record)
{
	const struct wf_sort_level *level = run->level;
	const struct wf_sort_layout *layout = &level->job->layout;
	bool equal = b & 1;
	bool last_word = 8 * ((uint64_t)level->word + 1) >= layout->key_bytes;
	struct wf_sort_share share = {
		.job = level->job,
		.count = count,
		.scatter_count = run->scatter_count,
		.bucket = b,
		.bucket_count = run->bucket_count,
		.word = level->word + (equal && !last_word),
		.rekey = equal && !last_word,
		.sort = !equal || !last_word,
	};
	uint64_t step = layout->leaf_records;
	int status = 0;

	if (share.sort && count > 2 * step && level->depth + 1 < WF_SORT_LEVELS_MAX)
		return emit_nested(run, &share, first_record);
	if (share.sort || count <= 2 * step)
		return emit_leaf(run, &share, first_record);
	for (uint64_t at = 0; at < count && status == 0; at += step) {
		share.skip = at;
		share.count = count - at < step ? count - at : step;
		status = emit_leaf(run, &share, first_record + at);
	}
	return status;
}

/* Wait for the plan and submit everything behind it. */
static int follow_plan(struct run *run)
{
	const struct wf_sort_level *level = run->level;
	struct wf_sort_refs plan = { NULL, 0, 0 };
	struct wf_sort_refs sources = { NULL, 0, 0 };
	uint64_t first_record = level->first_record;
	struct weft_view counts;
	weft_ref ref;
	int status;

	if (wf_sort_refs_add(&plan, run->splitters) < 0 ||
	    wf_sort_refs_add_many(&plan, run->inputs.refs, run->scatter_count) < 0) {
		wf_free(plan.refs);
		return weft_fail(run->self, -ENOMEM, "no memory for a list of tasks");
	}
	status = submit(run,
	                WEFT_TASK(plan_body, WEFT_ARG(level->job->journal), .inputs = plan.refs,
	                          .n_inputs = (uint16_t)plan.count),
	                &ref);
	wf_free(plan.refs); /* its refs are those of `run` */
	if (status < 0)
		return status;
	if (wf_sort_refs_add(&sources, ref) < 0) {
		weft_release(run->rt, ref);
		return weft_fail(run->self, -ENOMEM, "no memory for a list of tasks");
	}
	status = wf_sort_refs_wait(run->self, &sources);
	if (status == 0)
		status = weft_get(run->rt, ref, WEFT_POLL, &counts);
	if (status == 0) {
		run->bucket_count = (uint32_t)(counts.size / sizeof(uint64_t));
		for (uint32_t b = 0; b < run->bucket_count && status == 0; b++) {
			uint64_t count = ((const uint64_t *)counts.data)[b];

			if (count)
				status = emit_bucket(run, b, count, first_record);
			first_record += count;
		}
		WF_CHECK(status < 0 || first_record == level->first_record + level->records);
	}
	wf_sort_refs_fini(run->rt, &sources);
	return status;
}

/* Wait until everything is written. */
static int wait_items(struct run *run)
{
	struct wf_sort_refs done = { NULL, 0, 0 };
	int status = 0;

	for (size_t i = 0; i < run->item_count && status == 0; i++)
		status = wf_sort_refs_add(&done, run->items[i].done);
	if (status < 0)
		status = weft_fail(run->self, status, "no memory for a list of tasks");
	else
		status = wf_sort_refs_wait(run->self, &done);
	wf_free(done.refs); /* its refs are those of the items */
	return status;
}

/* Make one list of the items' leaves and those that nested levels returned. */
static int list_leaves(struct run *run, struct wf_sort_leaf **leaves, size_t *leaf_count)
{
	struct wf_sort_leaf *list;
	struct weft_view view;
	size_t count = 0;

	for (size_t i = 0; i < run->item_count; i++) {
		struct item *item = &run->items[i];

		if (item->leaf.records)
			count++;
		else if (weft_get(run->rt, item->done, WEFT_POLL, &view) == 0)
			count += view.size / sizeof(*list);
	}
	list = wf_calloc(count + 1, sizeof(*list));
	if (!list)
		return weft_fail(run->self, -ENOMEM, "no memory for a list of tasks");
	*leaves = list;
	*leaf_count = count;
	for (size_t i = 0; i < run->item_count; i++) {
		struct item *item = &run->items[i];

		if (item->leaf.records) {
			*list++ = item->leaf;
			item->leaf.order = WEFT_NONE; /* moved to the list */
			continue;
		}
		WF_CHECK(weft_get(run->rt, item->done, WEFT_POLL, &view) == 0);
		memcpy(list, view.data, view.size);
		list += view.size / sizeof(*list);
	}
	WF_CHECK(list == *leaves + *leaf_count);
	return 0;
}

int wf_sort_level_run(weft_task *self, const struct wf_sort_level *level,
                      struct wf_sort_leaf **leaves, size_t *leaf_count)
{
	struct run run = { .self = self, .level = level, .rt = level->job->rt };
	uint32_t chunk_count = level->job->layout.chunk_count;
	int status;

	WF_CHECK(level->piece_count > 0 && level->records > 0);
	WF_CHECK(level->piece_count + chunk_count < WEFT_INPUTS_MAX);
	status = partition(&run);
	/* From here on the tasks hold the pieces; keeping them would keep their memory. */
	weft_release_many(run.rt, level->pieces, level->piece_count);
	if (status == 0) {
		weft_retain_many(run.rt, level->chunks, chunk_count);
		if (wf_sort_refs_add_many(&run.inputs, level->chunks, chunk_count) < 0) {
			weft_release_many(run.rt, level->chunks, chunk_count);
			status = weft_fail(self, -ENOMEM, "no memory for a list of tasks");
		}
	}
	if (status == 0)
		status = follow_plan(&run);
	wf_sort_refs_fini(run.rt, &run.inputs);
	if (run.splitters.bits)
		weft_release(run.rt, run.splitters);
	if (status == 0)
		status = wait_items(&run);
	if (status == 0)
		status = list_leaves(&run, leaves, leaf_count);
	for (size_t i = 0; i < run.item_count; i++) {
		if (run.items[i].leaf.order.bits)
			weft_release(run.rt, run.items[i].leaf.order);
		if (run.items[i].done.bits)
			weft_release(run.rt, run.items[i].done);
	}
	wf_free(run.items);
	return status;
}

/* Regroup the bucket's entries into evenly sized pieces, with the next key word if need be. */
static int regroup(weft_task *self, const struct nested *nested, const weft_ref *inputs,
                   struct wf_sort_refs *pieces)
{
	uint64_t left = nested->share.count;
	uint64_t step = REGROUP_RECORDS;
	struct wf_sort_share share = nested->share;

	if (left / step >= WF_SORT_PARTITIONS_MAX)
		step = left / WF_SORT_PARTITIONS_MAX + 1;
	for (share.skip = 0; left; share.skip += share.count, left -= share.count) {
		weft_ref piece;
		int status;

		share.count = left < step ? left : step;
		status = weft_submit(weft_task_runtime(self),
		                     WEFT_TASK(wf_sort_regroup_body, WEFT_ARG(share),
		                               .inputs = inputs,
		                               .n_inputs = (uint16_t)weft_input_count(self)),
		                     &piece);
		if (status == 0 && wf_sort_refs_add(pieces, piece) < 0)
			status = -ENOMEM;
		if (status < 0)
			return weft_fail(self, status, "cannot submit a task: %s",
			                 weft_strerror(status));
	}
	return 0;
}

/* Value: array of struct wf_sort_leaf; the counts of its order refs pass to the reader. */
static int nested_body(weft_task *self)
{
	const struct nested *nested = weft_task_arg(self, NULL);
	struct wf_sort_refs pieces = { NULL, 0, 0 };
	struct wf_sort_leaf *leaves = NULL;
	struct wf_sort_level level;
	size_t leaf_count = 0;
	weft_ref *inputs;
	int status;

	inputs = wf_malloc(weft_input_count(self) * sizeof(*inputs));
	if (!inputs)
		return weft_fail(self, -ENOMEM, "no memory for a list of tasks");
	for (uint32_t i = 0; i < weft_input_count(self); i++)
		inputs[i] = weft_input_ref(self, i);
	status = regroup(self, nested, inputs, &pieces);
	if (status == 0) {
		level = (struct wf_sort_level){
			.job = nested->share.job,
			.pieces = pieces.refs,
			.chunks = inputs + nested->share.scatter_count,
			.piece_count = (uint32_t)pieces.count,
			.stride = 2,
			.word = nested->share.word,
			.depth = nested->depth,
			.first_record = nested->first_record,
			.records = nested->share.count,
		};
		status = wf_sort_level_run(self, &level, &leaves, &leaf_count);
		pieces.count = 0; /* the level has released them */
	}
	wf_sort_refs_fini(weft_task_runtime(self), &pieces);
	wf_free(inputs);
	if (status == 0)
		status = weft_return(self, leaves, leaf_count * sizeof(*leaves));
	wf_free(leaves);
	return status;
}
