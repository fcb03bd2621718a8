/*
 * sim_open.c: simulated devices: their options, how they begin and how they end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim_inner.h"

#define MIB ((uint64_t)1 << 20)

/* ---- Options -------------------------------------------------------------------------------- */

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	char *end;
	uint64_t shift = 0;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);

	if (*end == 'K' || *end == 'M' || *end == 'G')
		shift = *end == 'K' ? 10 : *end == 'M' ? 20 : 30, end++;
	if (errno || *end || value > UINT64_MAX >> 31 || value << shift < min ||
	    value << shift > max)
		return false;
	*out = value << shift;
	return true;
}

struct sim_options {
	uint64_t devices, memory, threads, streams, seed, launch_ns, copy_mbs, thread_ps, peer_mbs;
	uint32_t near[SIM_DEVICES_MAX];
};

/* "1/0/0": the node of each device; the last one stands for all others. */
static bool read_nodes(struct sim_options *o, char *text)
{
	uint64_t node = 0;

	for (uint32_t i = 0; i < SIM_DEVICES_MAX; i++) {
		char *word = strsep(&text, "/");

		if (word && !number(word, 0, WF_NODES_MAX - 1, &node))
			return false;
		o->near[i] = (uint32_t)node + 1;
	}
	return !text;
}

static bool read_word(struct sim_options *o, char *word)
{
	const struct {
		const char *name;
		uint64_t min, max, *out;
	} words[] = {
		{ "devices", 0, SIM_DEVICES_MAX, &o->devices },
		{ "memory", 4096, (uint64_t)16 << 30, &o->memory },
		{ "threads", 0, SIM_THREADS_MAX, &o->threads },
		{ "streams", 1, 1024, &o->streams },
		{ "seed", 0, UINT32_MAX, &o->seed },
		{ "launch_ns", 0, 1000000000, &o->launch_ns },
		{ "copy_mbs", 1, 100000000, &o->copy_mbs },
		{ "thread_ps", 0, 1000000000, &o->thread_ps },
		{ "peer_mbs", 0, 100000000, &o->peer_mbs },
	};
	char *value = strchr(word, '=');

	if (!value)
		return number(word, 0, SIM_DEVICES_MAX, &o->devices);
	*value++ = 0;
	if (!strcmp(word, "nodes"))
		return read_nodes(o, value);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcmp(word, words[i].name))
			return number(value, words[i].min, words[i].max, words[i].out);
	}
	return false;
}

static int read_options(struct sim_options *o, const char *text)
{
	char copy[256], *rest = copy, *word;

	*o = (struct sim_options){ .devices = 1,
		                   .memory = 256 * MIB,
		                   .threads = 2,
		                   .streams = 4,
		                   .seed = 1,
		                   .launch_ns = 5000,
		                   .copy_mbs = 12000,
		                   .thread_ps = 10,
		                   .peer_mbs = 48000 };
	if (!text || !*text)
		return 0;
	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	while ((word = strsep(&rest, ","))) {
		if (!read_word(o, word))
			return -EINVAL;
	}
	return 0;
}

/* ---- Back end ------------------------------------------------------------------------------- */

static void backend_free(struct wf_device_backend *b)
{
	for (uint32_t i = 0; i < b->devices; i++)
		wf_sim_memory_fini(&b->device[i].memory);
	while (b->kernels) {
		struct wf_device_kernel *kernel = b->kernels;

		b->kernels = kernel->next;
		wf_free(kernel);
	}
	while (b->pinned) {
		struct sim_pinned *pinned = b->pinned;

		b->pinned = pinned->next;
		if (pinned->owned)
			wf_free(pinned->at);
		wf_free(pinned);
	}
	pthread_mutex_destroy(&b->lock);
	wf_free(b);
}

/* Wait for all but what hangs, which is dropped; then the threads end. */
static void drain(struct wf_device_backend *b)
{
	sim_lock(b);
	for (;;) {
		if (!b->started && wf_sim_perform_one(b))
			continue;
		bool waits = false;

		for (struct wf_device_stream *s = b->streams; s; s = s->next) {
			if (s->hung)
				wf_sim_give_up(b, s->device, "closed while work hung");
			waits = waits || s->head || s->busy;
		}
		if (!waits)
			break;
		sim_changed(b);
		if (b->started)
			sim_await_change(b);
	}
	b->stopping = true;
	sim_changed(b);
	sim_unlock(b);
}

void wf_sim_close(struct wf_device_backend *backend)
{
	if (!backend)
		return;
	drain(backend);
	for (uint32_t i = 0; i < backend->started; i++)
		wf_thread_join(&backend->thread[i]);
	while (backend->streams) {
		backend->streams->dying = true;
		wf_sim_stream_reap(backend->streams);
	}
	backend_free(backend);
}

int wf_sim_open(const char *options, struct wf_device_backend **out)
{
	struct sim_options o;
	int rc = out ? read_options(&o, options) : -EINVAL;
	struct wf_device_backend *b = rc ? NULL : wf_calloc(1, sizeof(*b));

	if (!b)
		return rc ? rc : -ENOMEM;
	pthread_mutex_init(&b->lock, NULL);
	wf_init(&b->changed, 0);
	wf_random_init(&b->random, o.seed);
	b->threads = (uint32_t)o.threads;
	b->streams_max = (uint32_t)o.streams;
	b->launch_ns = (int64_t)o.launch_ns;
	b->copy_mbs = (int64_t)o.copy_mbs;
	b->thread_ps = (int64_t)o.thread_ps;
	b->peer_mbs = (int64_t)o.peer_mbs;
	b->memory_bytes = o.memory;
	for (uint32_t i = 0; i < o.devices && !rc; i++) {
		b->device[i].backend = b;
		b->device[i].near = o.near[i];
		rc = wf_sim_memory_init(&b->device[i].memory, o.memory);
		b->devices += !rc;
	}
	while (!rc && b->started < b->threads) {
		rc = wf_thread_start(&b->thread[b->started], "weft-sim", wf_sim_thread_main, b);
		b->started += !rc;
	}
	if (rc) {
		wf_sim_close(b);
		return rc;
	}
	*out = b;
	return 0;
}
