/*
 * input.c: the input file: cut into ranges of whole records, sampled, read.
 *
 * Lines are cut where the first one begins at or behind each multiple of the chunk's size, so a
 * range is longer by the rest of its last line and, inside a line longer than a chunk, there is
 * none. The last line may have no newline: it gets one when it is read, and is counted with it.
 */
#include "sort.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base.h"

#define LOOK_FIRST  512u /* bytes read in search of a newline, four times as many each time */
#define LOOK_MOST   WF_SORT_BLOCK_BYTES
#define SAMPLE_LOOK (4u << 10)
#define SAMPLE_MOST (64u << 10)

/* ---- Cutting ----------------------------------------------------------------------- */

/*
 * Where the first line begins at or behind `at`, which is not 0; the file's end when none does.
 * `buffer` has room for LOOK_MOST bytes. 0 or a negated errno.
 */
static int line_begin(weft_task *self, const struct wf_sort_job *job, uint64_t at, uint8_t *buffer,
                      uint64_t *begin)
{
	uint64_t end = job->layout.bytes, look = LOOK_FIRST;

	WF_CHECK(at > 0);
	for (at--; at < end; at += look, look = look < LOOK_MOST ? 4 * look : look) {
		const uint8_t *newline;
		int status;

		if (weft_task_cancelled(self))
			return -ECANCELED;
		look = look < LOOK_MOST ? look : LOOK_MOST;
		look = look < end - at ? look : end - at;
		status = wf_sort_pread(job->input_fd, buffer, look, at);
		if (status < 0)
			return wf_sort_fail_file(self, job->input_name, status);
		newline = memchr(buffer, '\n', look);
		if (newline) {
			*begin = at + (uint64_t)(newline - buffer) + 1;
			return 0;
		}
	}
	*begin = end;
	return 0;
}

/* Ranges into `ranges`, which has room for all chunks. */
static int cut_lines(weft_task *self, const struct wf_sort_job *job, struct wf_sort_range *ranges,
                     uint32_t *count, uint8_t *buffer)
{
	const struct wf_sort_layout *layout = &job->layout;
	uint64_t before = 0;

	for (uint64_t at = layout->chunk_bytes; before < layout->bytes; at += layout->chunk_bytes) {
		uint64_t begin = layout->bytes;
		int status = 0;

		if (at <= before)
			continue; /* inside a long line that was passed already */
		if (at < layout->bytes)
			status = line_begin(self, job, at, buffer, &begin);
		if (status < 0)
			return status;
		WF_CHECK(begin > before && *count < layout->chunk_count);
		ranges[(*count)++] = (struct wf_sort_range){ before, begin - before };
		before = begin;
	}
	if (*count)
		ranges[*count - 1].bytes += layout->output_bytes - layout->bytes;
	return 0;
}

int wf_sort_cut_body(weft_task *self)
{
	const struct wf_sort_job *job =
		*(const struct wf_sort_job *const *)weft_task_arg(self, NULL);
	const struct wf_sort_layout *layout = &job->layout;
	struct wf_sort_time begin = wf_sort_time_now();
	struct wf_sort_range *ranges;
	uint32_t count = 0;
	uint8_t *buffer;
	int status = 0;

	ranges = wf_calloc(layout->chunk_count + (size_t)1, sizeof(*ranges));
	buffer = wf_malloc(LOOK_MOST);
	if (!ranges || !buffer) {
		status = weft_fail(self, -ENOMEM, "no memory to cut the input");
	} else if (layout->lines) {
		status = cut_lines(self, job, ranges, &count, buffer);
	} else {
		for (uint64_t at = 0; at < layout->bytes; at += ranges[count++].bytes) {
			uint64_t left = layout->bytes - at;

			ranges[count].offset = at;
			ranges[count].bytes =
				left < layout->chunk_bytes ? left : layout->chunk_bytes;
		}
	}
	wf_sort_journal_add(job->journal, self, WF_SORT_STAGE_CUT, begin, layout->bytes);
	if (status == 0)
		status = weft_return(self, ranges, count * sizeof(*ranges));
	wf_free(buffer);
	wf_free(ranges);
	return status;
}

/* ---- Reading ----------------------------------------------------------------------- */

int wf_sort_read_range(weft_task *self, const struct wf_sort_job *job, uint64_t offset,
                       uint64_t bytes, uint8_t *to)
{
	const struct wf_sort_layout *layout = &job->layout;
	uint64_t in_file = bytes, next = offset + bytes;

	WF_CHECK(offset + bytes <= layout->output_bytes);
	if (next > layout->bytes)
		in_file = layout->bytes - offset;
	else
		posix_fadvise(job->input_fd, (off_t)next, (off_t)bytes, POSIX_FADV_WILLNEED);
	for (uint64_t done = 0, n; done < in_file; done += n) {
		int status;

		n = in_file - done;
		n = n < WF_SORT_BLOCK_BYTES ? n : WF_SORT_BLOCK_BYTES;
		if (weft_task_cancelled(self))
			return -ECANCELED;
		status = wf_sort_pread(job->input_fd, to + done, n, offset + done);
		if (status < 0)
			return wf_sort_fail_file(self, job->input_name, status);
	}
	if (!layout->lines)
		return 0;
	if (in_file < bytes)
		to[in_file] = '\n';
	memset(to + bytes, 0, WF_SORT_LINE_PAD);
	/* What others have done to the file since it was cut must not lead us out of the range. */
	if (bytes && to[bytes - 1] != '\n')
		return weft_fail(self, -EBADMSG, "%s: the file has changed meanwhile",
		                 job->input_name);
	return 0;
}

/* ---- Sampling ---------------------------------------------------------------------- */

/* Keys are taken from the file, or from pieces of `bytes` together. */
struct sampler {
	weft_task *self;
	const struct wf_sort_draw *draw;
	uint8_t *buffer; /* SAMPLE_MOST bytes, for the file */
	uint64_t bytes;
};

static void set_sample(const struct wf_sort_draw *draw, const uint8_t *key, uint64_t size,
                       uint64_t record_bytes, struct wf_sort_sample *sample)
{
	uint64_t prefix = draw->prefix < size ? draw->prefix : size;

	size -= prefix;
	sample->size = size < WF_SORT_KEY_CAP ? (uint32_t)size : WF_SORT_KEY_CAP;
	sample->record_bytes = record_bytes < UINT32_MAX ? (uint32_t)record_bytes : UINT32_MAX;
	memcpy(sample->key, key + prefix, sample->size);
}

/*
 * The line that begins behind the first newline at or behind `at`. Lines so long that none is near
 * give no sample here: what they are cut into will, see below.
 */
static int sample_file_line(struct sampler *sampler, uint64_t at, struct wf_sort_sample *sample)
{
	const struct wf_sort_job *job = sampler->draw->job;

	for (uint64_t look = SAMPLE_LOOK; look <= SAMPLE_MOST; look *= SAMPLE_MOST / SAMPLE_LOOK) {
		uint64_t left = job->layout.bytes - at, n = look < left ? look : left;
		const uint8_t *line, *end;
		int status = wf_sort_pread(job->input_fd, sampler->buffer, n, at);

		if (status < 0)
			return wf_sort_fail_file(sampler->self, job->input_name, status);
		line = memchr(sampler->buffer, '\n', n);
		if (!line || ++line == sampler->buffer + n)
			continue;
		n -= (uint64_t)(line - sampler->buffer);
		end = memchr(line, '\n', n);
		n = end ? (uint64_t)(end - line) : n;
		set_sample(sampler->draw, line, n, n + 1, sample);
		return 0;
	}
	return 0;
}

static int sample_file(struct sampler *sampler, uint64_t at, struct wf_sort_sample *sample)
{
	const struct wf_sort_job *job = sampler->draw->job;
	const struct wf_sort_layout *layout = &job->layout;
	uint64_t n = layout->key_bytes < WF_SORT_KEY_CAP ? layout->key_bytes : WF_SORT_KEY_CAP;
	int status;

	WF_CHECK(sampler->draw->prefix == 0);
	if (layout->lines)
		return sample_file_line(sampler, at, sample);
	at -= at % layout->record_bytes;
	status = wf_sort_pread(job->input_fd, sampler->buffer, n, at + layout->key_offset);
	if (status < 0)
		return wf_sort_fail_file(sampler->self, job->input_name, status);
	set_sample(sampler->draw, sampler->buffer, n, layout->record_bytes, sample);
	return 0;
}

/* The record in which byte `at` of all pieces together lies. */
static void sample_pieces(struct sampler *sampler, uint64_t at, struct wf_sort_sample *sample)
{
	const struct wf_sort_layout *layout = &sampler->draw->job->layout;
	uint64_t pad = layout->lines ? WF_SORT_LINE_PAD : 0;
	const uint8_t *begin, *record;
	struct weft_view view = { NULL, 0 };
	size_t size;

	for (uint32_t i = 0; i < weft_input_count(sampler->self); i++) {
		WF_CHECK(weft_input(sampler->self, i, &view) == 0 && view.size > pad);
		if (at < view.size - pad)
			break;
		at -= view.size - pad;
	}
	WF_CHECK(at < view.size - pad && view.data);
	begin = view.data;
	if (!layout->lines) {
		record = begin + (at - at % layout->record_bytes);
		set_sample(sampler->draw, record + layout->key_offset, layout->key_bytes,
		           layout->record_bytes, sample);
		return;
	}
	record = memrchr(begin, '\n', at);
	record = record ? record + 1 : begin;
	size = wf_sort_record_size(layout, record);
	set_sample(sampler->draw, record, size - 1, size, sample);
}

static int take_samples(struct sampler *sampler)
{
	const struct wf_sort_draw *draw = sampler->draw;
	struct wf_sort_sample *samples;
	struct wf_random random;
	void *value;
	int status = weft_task_output(sampler->self, 0, draw->wanted * sizeof(*samples), &value);

	if (status < 0)
		return wf_sort_fail_room(sampler->self, status, "for a sample of the keys");
	samples = value;
	memset(samples, 0, draw->wanted * sizeof(*samples));
	wf_random_init(&random, draw->seed);
	for (uint32_t i = 0; i < draw->wanted && status == 0; i++) {
		if (weft_task_cancelled(sampler->self))
			return -ECANCELED;
		if (weft_input_count(sampler->self) == 0)
			status = sample_file(sampler, wf_random_next(&random) % sampler->bytes,
			                     &samples[i]);
		else
			sample_pieces(sampler, wf_random_next(&random) % sampler->bytes,
			              &samples[i]);
	}
	return status;
}

int wf_sort_sample_body(weft_task *self)
{
	const struct wf_sort_draw *draw = weft_task_arg(self, NULL);
	struct wf_sort_time begin = wf_sort_time_now();
	struct sampler sampler = { .self = self, .draw = draw };
	uint64_t pad = draw->job->layout.lines ? WF_SORT_LINE_PAD : 0;
	int status;

	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		struct weft_view view;

		WF_CHECK(weft_input(self, i, &view) == 0);
		sampler.bytes += view.size - pad;
	}
	if (weft_input_count(self) == 0)
		sampler.bytes = draw->job->layout.bytes;
	WF_CHECK(sampler.bytes > 0);
	sampler.buffer = wf_malloc(SAMPLE_MOST);
	if (!sampler.buffer)
		return weft_fail(self, -ENOMEM, "no memory for a sample of the keys");
	status = take_samples(&sampler);
	wf_free(sampler.buffer);
	if (status == 0)
		wf_sort_journal_add(draw->job->journal, self, WF_SORT_STAGE_SAMPLE, begin,
		                    draw->wanted * sizeof(struct wf_sort_sample));
	return status;
}
