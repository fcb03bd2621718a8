/*
 * spill_read.c: a record comes back and is believed only when everything matches.
 *
 * The whole pages of a large record go straight to their final place, in chunks, a few of them in
 * flight; each is summed when its turn has come, while it is still in the cache, on the I/O thread
 * that brought it. The rest comes with the last chunk, by the slot's detour, since the final place
 * ends with the object and transfers end with a page. Small records come by the detour whole.
 * Nothing is delivered before the header was parsed, names this object, and both sums match;
 * whatever goes wrong, the record is read once more from the start.
 *
 * When reads wait, small ones that lie near each other in the order in which they were asked for
 * share one transfer: objects that were spilled together are often wanted together. One that is
 * not right is read again by itself, so that it costs its mates nothing.
 *
 * Shared: a slot belongs to its reads. Its requests end on any I/O thread; the first that finds the
 * slot without an owner sums what is ready, and goes on until nothing is. `owned`, `ready`,
 * `flying`, `status` and `reason` are under the lock of the spill; the rest is the owner's, and of
 * whoever starts the slot while nothing is in flight.
 *
 * Invariants: a slot with a read has flying > 0 or an owner. summed <= submitted <= body. Chunk
 * number n uses request n % chunk_count.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "spill_inner.h"

static void request_done(struct wf_io_request *request);

/* ---- Starting ------------------------------------------------------------------------------- */

static uint64_t place_offset(const struct wf_spill_place *place)
{
	return (uint64_t)place->page * WF_RECORD_PAGE + place->skip;
}

static void prepare(struct wf_spill_slot *slot, struct wf_io_request *request, char *to,
                    uint64_t bytes, uint64_t offset)
{
	*request = (struct wf_io_request){
		.op = WF_IO_READ,
		.fd = slot->file.fd,
		.direct = slot->file.direct,
		.data = to,
		.size = bytes,
		.offset = offset,
		.done = request_done,
		.arg = slot,
	};
	WF_CHECK(bytes > 0 && bytes % WF_RECORD_PAGE == 0 && offset % WF_RECORD_PAGE == 0);
}

/* The next chunk into request `i`. */
static void prepare_chunk(struct wf_spill_slot *slot, uint64_t i)
{
	uint64_t at = slot->submitted, bytes = slot->body - at;
	char *to = slot->straight ? (char *)slot->read->data + at : slot->detour;

	WF_CHECK(at < slot->body && i < slot->chunk_count);
	bytes = bytes < slot->chunk_bytes ? bytes : slot->chunk_bytes;
	slot->submitted = at + bytes;
	prepare(slot, &slot->chunks[i], to, bytes, place_offset(&slot->read->place) + at);
	if (slot->submitted == slot->body) {
		slot->chunks[i].tail = slot->edge.data;
		slot->chunks[i].tail_size = slot->edge.size;
		slot->chunks[i].size += slot->edge.size;
	}
}

/* From the start, for the first or the second time. Nothing is in flight. */
static void start(struct wf_spill_slot *slot)
{
	struct wf_io *io = slot->spill->io;
	uint64_t count = 0;

	WF_CHECK(slot->edge.size > 0);
	slot->summed = slot->submitted = 0;
	slot->status = 0;
	slot->reason = NULL;
	slot->owned = false;
	memset(slot->ready, 0, sizeof(slot->ready));
	if (slot->body > 0)
		wf_sum_begin(&slot->sum);
	while (count < slot->chunk_count && slot->submitted < slot->body)
		prepare_chunk(slot, count++);
	/* With the last submit the slot may come to its end. */
	slot->flying = count > 0 ? (uint32_t)count : 1;
	if (count == 0) {
		prepare(slot, &slot->edge, slot->edge.data, slot->edge.size, slot->edge.offset);
		wf_io_submit(io, &slot->edge);
	}
	for (uint64_t i = 0; i < count; i++)
		wf_io_submit(io, &slot->chunks[i]);
}

/* What lies where, from the size. False: there is no such place. */
static bool prepare_slot(struct wf_spill_slot *slot, struct wf_spill_read *read)
{
	uint64_t bytes = 0, edge_at = 0, offset = place_offset(&read->place);

	if (!wf_segments_find(&slot->spill->segments, &read->place, read->size, &slot->file))
		return false;
	read->private_ = NULL;
	slot->read = read;
	slot->body = 0;
	slot->chunk_count = 0;
	if (wf_record_is_packed(read->size)) {
		offset -= read->place.skip;
		bytes = wf_record_pages(read->place.skip, read->size) * WF_RECORD_PAGE;
	} else {
		slot->body = read->size & ~(WF_RECORD_PAGE - 1);
		slot->straight = !slot->file.direct || (uintptr_t)read->data % WF_RECORD_PAGE == 0;
		slot->chunk_bytes = slot->straight ? WF_SPILL_CHUNK_BYTES : WF_SPILL_DETOUR;
		slot->chunk_count = slot->straight ? WF_SPILL_CHUNKS : 1;
		edge_at = WF_SPILL_DETOUR;
		offset += slot->body;
		bytes = wf_record_bytes(read->size) - slot->body;
	}
	WF_CHECK(edge_at + bytes <= WF_SPILL_SLOT_BYTES);
	prepare(slot, &slot->edge, slot->detour + edge_at, bytes, offset);
	return true;
}

static void complain(struct wf_spill_read *read, const char *dir, const char *reason)
{
	snprintf(read->text, sizeof(read->text), "%s: segment %" PRIu32 ", byte %" PRIu64 ": %s",
	         dir, read->place.segment, place_offset(&read->place), reason);
}

/* To be delivered by the writing thread: the caller of wf_spill_read() may hold locks. */
static void refuse(struct wf_spill *spill, struct wf_spill_read *read)
{
	complain(read, "spill", "there is no such place");
	read->status = -EBADMSG;
	pthread_mutex_lock(&spill->lock);
	spill->stats.corrupt++;
	read->private_ = spill->refused;
	spill->refused = read;
	wf_spill_wake_locked(spill);
	pthread_mutex_unlock(&spill->lock);
}

/* Whether the slot's transfer can be stretched to bring this record along. */
static bool is_near(const struct wf_spill_slot *slot, const struct wf_spill_read *read)
{
	uint64_t begin = (uint64_t)read->place.page * WF_RECORD_PAGE, end;
	uint64_t from = slot->edge.offset, to = from + slot->edge.size;

	if (!wf_record_is_packed(slot->read->size) || !wf_record_is_packed(read->size) ||
	    read->place.segment != slot->read->place.segment)
		return false;
	end = begin + wf_record_pages(read->place.skip, read->size) * WF_RECORD_PAGE;
	if (begin > to + WF_SPILL_NEAR_BYTES || from > end + WF_SPILL_NEAR_BYTES)
		return false;
	from = begin < from ? begin : from;
	to = end > to ? end : to;
	return to - from <= WF_SPILL_SLOT_BYTES;
}

/* Take the first waiting read, of which there is one. Called with the lock held. */
static struct wf_spill_read *pop_read_locked(struct wf_spill *spill)
{
	struct wf_spill_read *read = spill->first_read;

	WF_CHECK(read != NULL && spill->last_read != NULL);
	spill->first_read = read->private_;
	if (spill->first_read == NULL)
		spill->last_read = NULL;
	read->private_ = NULL;
	return read;
}

/* The first waiting read, or NULL. */
static struct wf_spill_read *next_read(struct wf_spill *spill)
{
	struct wf_spill_read *read = NULL;

	pthread_mutex_lock(&spill->lock);
	if (spill->first_read != NULL)
		read = pop_read_locked(spill);
	pthread_mutex_unlock(&spill->lock);
	return read;
}

/*
 * Let waiting reads share the transfer that was prepared. The slot's own record keeps the segment
 * what it is.
 */
static void add_mates(struct wf_spill *spill, struct wf_spill_slot *slot)
{
	struct wf_io_request *edge = &slot->edge;
	struct wf_spill_read *last = slot->read, *wrong = NULL;

	WF_CHECK(last->private_ == NULL);
	pthread_mutex_lock(&spill->lock);
	while (spill->first_read != NULL && is_near(slot, spill->first_read)) {
		struct wf_spill_read *read = pop_read_locked(spill);
		uint64_t begin = (uint64_t)read->place.page * WF_RECORD_PAGE;
		uint64_t from = edge->offset, to = from + edge->size, end;

		if (!wf_segment_has(&slot->file, &read->place, read->size)) {
			read->private_ = wrong;
			wrong = read;
			continue;
		}
		end = begin + wf_record_pages(read->place.skip, read->size) * WF_RECORD_PAGE;
		edge->offset = begin < from ? begin : from;
		edge->size = (end > to ? end : to) - edge->offset;
		WF_CHECK(edge->size <= WF_SPILL_SLOT_BYTES);
		last->private_ = read;
		last = read;
	}
	pthread_mutex_unlock(&spill->lock);
	while (wrong != NULL) {
		struct wf_spill_read *read = wrong;

		wrong = read->private_;
		refuse(spill, read);
	}
}

/* Put the slot away, or find that there is a read after all. */
static bool rest(struct wf_spill *spill, struct wf_spill_slot *slot)
{
	bool none;

	pthread_mutex_lock(&spill->lock);
	none = spill->first_read == NULL;
	if (none) {
		slot->read = NULL;
		slot->next = spill->free_slots;
		spill->free_slots = slot;
	}
	pthread_mutex_unlock(&spill->lock);
	return none;
}

/* Start what waits in a slot that has nothing to do, or put the slot away. */
static void use_slot(struct wf_spill *spill, struct wf_spill_slot *slot)
{
	do {
		struct wf_spill_read *read = next_read(spill);

		if (read == NULL)
			continue;
		slot->second = false;
		if (prepare_slot(slot, read)) {
			add_mates(spill, slot);
			start(slot);
			return;
		}
		refuse(spill, read);
	} while (!rest(spill, slot));
}

void wf_spill_read_all(struct wf_spill *spill, struct wf_spill_read *first)
{
	struct wf_spill_read *last = first;
	struct wf_spill_slot *slot;

	WF_CHECK(first != NULL);
	for (struct wf_spill_read *read = first; read != NULL; read = read->private_) {
		WF_CHECK(read->done != NULL);
		WF_CHECK(read->data != NULL || read->size == 0);
		read->text[0] = 0;
		last = read;
	}
	pthread_mutex_lock(&spill->lock);
	if (spill->last_read != NULL)
		spill->last_read->private_ = first;
	else
		spill->first_read = first;
	spill->last_read = last;
	pthread_mutex_unlock(&spill->lock);
	/* Each takes along what is near, so few slots may do. Bounded: by their number. */
	do {
		pthread_mutex_lock(&spill->lock);
		slot = spill->first_read != NULL ? spill->free_slots : NULL;
		if (slot != NULL)
			spill->free_slots = slot->next;
		pthread_mutex_unlock(&spill->lock);
		if (slot != NULL)
			use_slot(spill, slot);
	} while (slot != NULL);
}

void wf_spill_read(struct wf_spill *spill, struct wf_spill_read *read)
{
	read->private_ = NULL;
	wf_spill_read_all(spill, read);
}

/* ---- The end -------------------------------------------------------------------------------- */

/* Everything came: is it this record? 0, or -EBADMSG with the text. */
static int check(struct wf_spill_slot *slot, struct wf_spill_read *read)
{
	uint64_t at = place_offset(&read->place), left = read->size - slot->body, sum;
	struct wf_record found, wanted = { .session = slot->spill->session, .id = read->id };
	const char *edge = slot->edge.data, *header, *bytes, *reason;
	char text[128];

	WF_CHECK(slot->summed == slot->body);
	WF_CHECK(at + slot->body >= slot->edge.offset);
	WF_CHECK(at + wf_record_bytes(read->size) <= slot->edge.offset + slot->edge.size);
	wanted.size = read->size;
	wanted.generation = read->generation;
	header = edge + (at + wf_record_header_at(read->size) - slot->edge.offset);
	bytes = edge + (at + wf_record_payload_at(read->size) + slot->body - slot->edge.offset);
	reason = wf_record_parse(header, WF_RECORD_HEADER, &found);
	if (reason == NULL)
		reason = wf_record_differs(&found, &wanted);
	if (reason == NULL) {
		if (slot->body > 0)
			wf_sum_add(&slot->sum, bytes, left);
		sum = slot->body > 0 ? wf_sum_end(&slot->sum) : wf_sum(bytes, left);
		if (sum != found.sum) {
			snprintf(text, sizeof(text),
			         "the sum is %016" PRIx64 ", the header says %016" PRIx64, sum,
			         found.sum);
			reason = text;
		}
	}
	if (reason != NULL) {
		complain(read, slot->file.dir, reason);
		return -EBADMSG;
	}
	if (left > 0)
		memcpy((char *)read->data + slot->body, bytes, left);
	return 0;
}

/* Reads that have come to their end, linked by private_. */
static void deliver(struct wf_spill_read *reads)
{
	while (reads != NULL) {
		struct wf_spill_read *read = reads;

		reads = read->private_;
		WF_CHECK(read->status <= 0);
		/* The last: it may free the read, and whoever waits for it may close the spill. */
		read->done(read);
	}
}

/* What the ends of a slot's reads add to the statistics. */
static void note_end(struct wf_spill *spill, struct wf_spill_read *read, int status,
                     struct wf_spill_stats *sum)
{
	read->status = status;
	if (status == 0)
		read->text[0] = 0;
	if (status == -EIO || status == -EBADMSG)
		wf_segments_distrust(&spill->segments, read->place.segment);
	sum->records_read += status == 0;
	sum->read_bytes += status == 0 ? read->size : 0;
	sum->corrupt += status == -EBADMSG;
}

static void add_stats(struct wf_spill *spill, const struct wf_spill_stats *sum)
{
	pthread_mutex_lock(&spill->lock);
	spill->stats.records_read += sum->records_read;
	spill->stats.read_bytes += sum->read_bytes;
	spill->stats.corrupt += sum->corrupt;
	pthread_mutex_unlock(&spill->lock);
}

/* Nothing is in flight, and the caller owns the slot. */
static void end(struct wf_spill_slot *slot)
{
	struct wf_spill *spill = slot->spill;
	struct wf_spill_read *read = slot->read, *next, *over = NULL;
	struct wf_spill_stats sum = { .records_read = 0 };

	for (; read != NULL; read = next) {
		int status = slot->status;

		next = read->private_;
		if (status == 0)
			status = check(slot, read);
		else
			complain(read, slot->file.dir,
			         slot->reason != NULL ? slot->reason : strerror(-status));
		if (status != 0 && !slot->second) {
			read->private_ = slot->again;
			slot->again = read;
			continue;
		}
		note_end(spill, read, status, &sum);
		read->private_ = over;
		over = read;
	}
	add_stats(spill, &sum);
	read = slot->again;
	if (read != NULL) {
		/* Its place was there a moment ago, and nobody frees it while it is read. */
		slot->again = read->private_;
		slot->second = true;
		WF_CHECK(prepare_slot(slot, read));
		start(slot);
	} else {
		use_slot(spill, slot);
	}
	deliver(over);
}

/* ---- Chunks --------------------------------------------------------------------------------- */

/* Chunk `i` is the next in order and has come. */
static void sum_chunk(struct wf_spill_slot *slot, uint64_t i)
{
	struct wf_io_request *request = &slot->chunks[i];
	char *place = (char *)slot->read->data + slot->summed;
	uint64_t bytes = request->size - request->tail_size;

	WF_CHECK(slot->summed + bytes <= slot->submitted);
	wf_sum_add(&slot->sum, request->data, bytes);
	if (!slot->straight)
		memcpy(place, request->data, bytes);
	slot->summed += bytes;
	if (slot->submitted == slot->body)
		return;
	pthread_mutex_lock(&slot->spill->lock);
	slot->flying++;
	pthread_mutex_unlock(&slot->spill->lock);
	prepare_chunk(slot, i);
	wf_io_submit(slot->spill->io, request);
}

/* The caller owns the slot: sum what is ready, then give it up, or end it. */
static void advance(struct wf_spill_slot *slot)
{
	struct wf_spill *spill = slot->spill;

	for (;;) {
		bool more = slot->summed < slot->body, over = false;
		uint64_t i = more ? slot->summed / slot->chunk_bytes % slot->chunk_count : 0;

		pthread_mutex_lock(&spill->lock);
		more = more && slot->status == 0 && slot->ready[i];
		if (more) {
			slot->ready[i] = false;
		} else {
			over = slot->flying == 0;
			slot->owned = over;
		}
		pthread_mutex_unlock(&spill->lock);
		if (!more) {
			if (over)
				end(slot);
			return;
		}
		sum_chunk(slot, i);
	}
}

static void request_done(struct wf_io_request *request)
{
	struct wf_spill_slot *slot = request->arg;
	struct wf_spill *spill = slot->spill;
	int status = request->status;
	bool mine;

	pthread_mutex_lock(&spill->lock);
	if (status == 0 && request->moved != request->size) {
		status = -EBADMSG;
		slot->reason = slot->status == 0 ? "the file ends before the record" : slot->reason;
	}
	slot->status = slot->status == 0 ? status : slot->status;
	WF_CHECK(slot->flying > 0);
	slot->flying--;
	if (request != &slot->edge)
		slot->ready[request - slot->chunks] = true;
	mine = !slot->owned;
	slot->owned = true;
	pthread_mutex_unlock(&spill->lock);
	if (mine)
		advance(slot);
}
