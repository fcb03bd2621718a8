/*
 * Goal: the simulated devices keep the promises of engine/device.h: order in streams and by events
 * and no other, memory that the host cannot touch, errors of each class, a lost device that stays
 * lost, graphs, and a model in which copies and kernels overlap.
 * Method: with threads=0 every step is taken by the test, so that orders are chosen by seeds and
 * failures hit every call in turn; with threads the same under load, for the sanitizers.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "seed.h"
#include "sim_device.h"
#include "test.h"
#include "wf_cuda.h"

#include "base.h"

static const struct wf_device_ops *ops;
static struct wf_device_backend *dev;

static void open_with(const char *options)
{
	ops = wf_device_sim();
	cr_assert_eq(ops->open(options, &dev), 0);
}

static void close_dev(void)
{
	ops->close(dev);
	dev = NULL;
}

static struct wf_device_stream *stream_of(uint32_t device, enum wf_device_stream_kind kind)
{
	struct wf_device_stream *stream = NULL;

	cr_assert_eq(ops->stream_create(dev, device, kind, 0, &stream), 0);
	cr_assert_not_null(stream);
	return stream;
}

static struct wf_device_event *event_of(uint32_t device)
{
	struct wf_device_event *event = NULL;

	cr_assert_eq(ops->event_create(dev, device, &event), 0);
	return event;
}

static void run_all(void)
{
	while (wf_sim_step(dev))
		;
}

static struct wf_sim_stats stats(void)
{
	struct wf_sim_stats s;

	wf_sim_stats(dev, &s);
	return s;
}

/* args: address of words, how many, what to add. */
static void add_twin(void *const *args, const struct wf_device_launch *launch)
{
	uint64_t address = *(const uint64_t *)args[0];
	uint32_t n = *(const uint32_t *)args[1], add = *(const uint32_t *)args[2];
	uint32_t *words = wf_sim_pointer(dev, address, n * sizeof(uint32_t));

	(void)launch;
	WF_CHECK(words);
	for (uint32_t i = 0; i < n; i++)
		words[i] += add;
}

static int launch_add(struct wf_device_stream *stream, uint64_t address, uint32_t n, uint32_t add)
{
	static const uint16_t sizes[] = { 8, 4, 4 };
	void *args[] = { &address, &n, &add };
	const struct wf_device_launch launch = { .struct_size = sizeof(launch),
		                                 .twin = add_twin,
		                                 .grid = { 4, 1, 1 },
		                                 .block = { 32, 1, 1 },
		                                 .args_count = 3,
		                                 .args = args,
		                                 .args_bytes = sizes };

	return ops->launch(dev, stream, &launch);
}

#define WORDS 1024u

/* Up, `add` by a kernel, down, in one stream; the words and the event after it. */
static uint32_t *pinned_words(void)
{
	void *memory = NULL;

	cr_assert_eq(ops->pinned_alloc(dev, WORDS * 4, &memory), 0);
	for (uint32_t i = 0; i < WORDS; i++)
		((uint32_t *)memory)[i] = i;
	return memory;
}

static uint64_t device_words(struct wf_device_stream *stream)
{
	uint64_t address = 0;

	cr_assert_eq(ops->memory_alloc(dev, stream, WORDS * 4, &address), 0);
	return address;
}

Test(sim, the_table_is_complete_and_options_are_checked)
{
	static const char *const bad[] = {
		"9",       "x",          "devices=9", "devices=",     "threads=65", "memory=1",
		"speed=1", "devices=1,", "-1",        "memory=4096Q", "copy_mbs=0"
	};

	ops = wf_device_sim();
	cr_assert_eq(wf_device_ops_check(ops), 0);
	cr_assert_str_eq(ops->name, "sim");
	cr_assert_eq(ops->open(NULL, NULL), -EINVAL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		dev = NULL;
		cr_assert_eq(ops->open(bad[i], &dev), -EINVAL, "%s", bad[i]);
		cr_assert_null(dev);
	}
	ops->close(NULL);
	for (uint32_t n = 0; n <= 8; n += 4) {
		char text[2] = { (char)('0' + n), 0 };
		uint32_t count = 99;

		open_with(text);
		cr_assert_eq(ops->device_count(dev, &count), 0);
		cr_assert_eq(count, n);
		cr_assert_eq(ops->device_state(dev, n), -EINVAL);
		close_dev();
	}
}

Test(sim, devices_say_what_they_have)
{
	open_with("devices=2,memory=8M,streams=3");
	struct wf_device_info info = { .struct_size = sizeof(info) };

	cr_assert_eq(ops->device_info(dev, 1, &info), 0);
	cr_assert_eq(info.memory_bytes, 8u << 20);
	cr_assert_eq(info.copy_engines, 2);
	cr_assert_eq(info.streams_max, 3);
	cr_assert_not(info.shares_host_memory);
	cr_assert_eq(ops->device_info(dev, 2, &info), -EINVAL);
	cr_assert_eq(wf_sim_current(), -1);
	cr_assert_eq(ops->device_enter(dev, 1), 0);
	cr_assert_eq(wf_sim_current(), 1);
	cr_assert_eq(ops->device_leave(dev, 1), 0);
	cr_assert_eq(wf_sim_current(), -1);
	/* A body that changed the device is found out. */
	cr_assert_eq(ops->device_enter(dev, 1), 0);
	wf_sim_set_current(0);
	cr_assert_eq(ops->device_leave(dev, 1), -EPERM);
	close_dev();
}

Test(sim, a_stream_does_its_work_in_order)
{
	open_with("threads=0");
	struct wf_device_stream *s = stream_of(0, WF_DEVICE_COMPUTE);
	struct wf_device_event *e = event_of(0);
	uint32_t *words = pinned_words();
	uint64_t at = device_words(s);

	cr_assert_eq(ops->event_query(dev, e), 0, "never recorded");
	cr_assert_eq(ops->copy_to_device(dev, s, at, words, WORDS * 4), 0);
	cr_assert_eq(launch_add(s, at, WORDS, 5), 0);
	cr_assert_eq(ops->copy_to_host(dev, s, words, at, WORDS * 4), 0);
	cr_assert_eq(ops->memory_free(dev, s, at), 0);
	cr_assert_eq(ops->event_record(dev, e, s), 0);
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(ops->event_query(dev, e), -EAGAIN);
		cr_assert(wf_sim_step(dev));
	}
	cr_assert_eq(stats().memory_used, 0);
	cr_assert(wf_sim_step(dev));
	cr_assert_eq(ops->event_query(dev, e), 0);
	cr_assert_not(wf_sim_step(dev));
	for (uint32_t i = 0; i < WORDS; i++)
		cr_assert_eq(words[i], i + 5);
	ops->event_destroy(dev, e);
	ops->stream_destroy(dev, s);
	ops->pinned_free(dev, words);
	cr_assert_eq(stats().streams, 0);
	cr_assert_eq(stats().events, 0);
	close_dev();
}

/* Two streams, no event between: of many seeds, some end one way and some the other. */
Test(sim, only_events_order_streams)
{
	for (int ordered = 0; ordered < 2; ordered++) {
		int seen[2] = { 0, 0 };

		for (uint32_t seed = 0; seed < 40; seed++) {
			char options[64];
			uint8_t byte = 0;

			snprintf(options, sizeof(options), "threads=0,memory=1M,seed=%u", seed);
			open_with(options);
			struct wf_device_stream *a = stream_of(0, WF_DEVICE_COMPUTE);
			struct wf_device_stream *b = stream_of(0, WF_DEVICE_COMPUTE);
			struct wf_device_event *e = event_of(0);
			uint64_t at = device_words(a);

			cr_assert_eq(ops->fill(dev, a, at, 1, WORDS), 0);
			cr_assert_eq(ops->event_record(dev, e, a), 0);
			if (ordered)
				cr_assert_eq(ops->stream_wait(dev, b, e), 0);
			cr_assert_eq(ops->fill(dev, b, at, 2, WORDS), 0);
			/* An event may go while work names it. */
			ops->event_destroy(dev, e);
			run_all();
			byte = *(uint8_t *)wf_sim_pointer(dev, at, 1);
			cr_assert(byte == 1 || byte == 2);
			seen[byte - 1]++;
			ops->stream_destroy(dev, a);
			ops->stream_destroy(dev, b);
			close_dev();
		}
		cr_assert(seen[1] > 0);
		cr_assert_eq(seen[0] == 0, ordered, "%d and %d", seen[0], seen[1]);
	}
}

/* Later records of an event are others': who waited before waits for the older. */
Test(sim, an_event_recorded_anew_is_another_mark)
{
	open_with("threads=0,devices=2");
	struct wf_device_stream *a = stream_of(0, WF_DEVICE_COMPUTE);
	struct wf_device_stream *other = stream_of(1, WF_DEVICE_COMPUTE);
	struct wf_device_event *e = event_of(0), *f = event_of(1);
	uint64_t at = device_words(a);

	cr_assert_eq(ops->event_record(dev, e, a), 0);
	cr_assert_eq(ops->stream_wait(dev, other, e), 0);
	cr_assert_eq(ops->event_record(dev, f, other), 0);
	run_all();
	cr_assert_eq(ops->event_query(dev, e), 0);
	cr_assert_eq(ops->event_query(dev, f), 0);
	cr_assert_eq(ops->fill(dev, a, at, 1, 16), 0);
	cr_assert_eq(ops->event_record(dev, e, a), 0);
	cr_assert_eq(ops->event_query(dev, e), -EAGAIN);
	cr_assert_eq(ops->event_record(dev, e, other), -EINVAL, "another device's");
	run_all();
	cr_assert_eq(ops->event_query(dev, e), 0);
	ops->event_destroy(dev, e);
	ops->event_destroy(dev, f);
	close_dev();
}

/* In a child: a load from a device address ends it by a fault. */
Test(sim, the_host_cannot_follow_device_addresses)
{
	open_with("threads=0,memory=1M");
	struct wf_device_stream *s = stream_of(0, WF_DEVICE_COMPUTE);
	uint64_t at = device_words(s);
	pid_t pid = fork();
	int status = 0;

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		_exit(*(volatile uint8_t *)(uintptr_t)at == 77 ? 1 : 2);
	}
	cr_assert(pid > 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	close_dev();
}

Test(sim, memory_has_a_limit_and_is_used_again)
{
	open_with("threads=0,memory=64K");
	struct wf_device_stream *s = stream_of(0, WF_DEVICE_COMPUTE);
	uint64_t at[8], other = 1234;

	cr_assert_eq(ops->memory_alloc(dev, s, 0, &other), -EINVAL);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(ops->memory_alloc(dev, s, 8192, &at[i]), 0);
	cr_assert_eq(ops->memory_alloc(dev, s, 1, &other), -ENOMEM);
	cr_assert_eq(wf_device_classify(-ENOMEM), WF_DEVICE_CLASS_ROOM);
	cr_assert_eq(other, 1234);
	cr_assert_eq(ops->memory_free(dev, s, at[3]), 0);
	cr_assert_eq(ops->memory_alloc(dev, s, 1, &other), -ENOMEM, "not yet: in stream order");
	run_all();
	cr_assert_eq(ops->memory_alloc(dev, s, 8192, &other), 0);
	cr_assert_eq(other, at[3]);
	cr_assert_eq(ops->memory_free(dev, s, at[3] + 1), -EINVAL);
	cr_assert_eq(ops->memory_free(dev, s, 0), 0);
	cr_assert_eq(ops->pool_limit(dev, 0, 16384), 0);
	cr_assert_eq(ops->pool_trim(dev, 0), 0);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(ops->memory_free(dev, s, at[i]), 0);
	run_all();
	cr_assert_eq(stats().memory_used, 0);
	cr_assert_eq(ops->memory_alloc(dev, s, 16384, &other), 0);
	cr_assert_eq(ops->memory_alloc(dev, s, 256, &other), -ENOMEM);
	close_dev();
}

Test(sim, a_copy_of_pageable_memory_waits)
{
	static uint32_t words[WORDS];

	open_with("threads=0");
	struct wf_device_stream *s = stream_of(0, WF_DEVICE_UPLOAD);
	uint64_t at = device_words(s);

	words[0] = 7;
	cr_assert_eq(ops->copy_to_device(dev, s, at, words, sizeof(words)), 0);
	cr_assert_eq(*(uint32_t *)wf_sim_pointer(dev, at, 4), 7, "done when it returns");
	cr_assert_eq(stats().pageable, 1);
	cr_assert_eq(ops->host_register(dev, words, sizeof(words)), 0);
	words[0] = 8;
	cr_assert_eq(ops->copy_to_device(dev, s, at, words, sizeof(words)), 0);
	cr_assert_eq(*(uint32_t *)wf_sim_pointer(dev, at, 4), 7);
	run_all();
	cr_assert_eq(*(uint32_t *)wf_sim_pointer(dev, at, 4), 8);
	cr_assert_eq(stats().pageable, 1);
	cr_assert_eq(ops->host_unregister(dev, words), 0);
	cr_assert_eq(ops->host_unregister(dev, words), -EINVAL);
	wf_sim_refuse_register(dev, true);
	cr_assert_eq(ops->host_register(dev, words, sizeof(words)), -EPERM);
	close_dev();
}

static void ring(void *arg)
{
	wf_add_relaxed((struct wf_a32 *)arg, 1);
}

Test(sim, a_lost_device_stays_lost_and_swallows_doorbells)
{
	struct wf_a32 rung = { 0 };

	open_with("threads=0,devices=2");
	struct wf_device_stream *s = stream_of(0, WF_DEVICE_COMPUTE);
	struct wf_device_stream *t = stream_of(1, WF_DEVICE_COMPUTE);
	struct wf_device_event *e = event_of(0), *f = event_of(1);
	uint32_t *words = pinned_words();
	uint64_t at = device_words(s), there = device_words(t), new_at = 0;

	/* Past the end of the block. */
	cr_assert_eq(ops->copy_to_host(dev, s, words, at + 4, WORDS * 4), 0);
	cr_assert_eq(ops->event_record(dev, e, s), 0);
	cr_assert_eq(ops->stream_doorbell(dev, s, ring, &rung), 0);
	cr_assert_eq(ops->stream_wait(dev, t, e), 0);
	cr_assert_eq(ops->stream_doorbell(dev, t, ring, &rung), 0);
	cr_assert_eq(ops->event_record(dev, f, t), 0);
	cr_assert_eq(ops->device_state(dev, 0), 0);
	run_all();
	cr_assert_eq(ops->device_state(dev, 0), WF_DEVICE_LOST);
	cr_assert_eq(wf_device_classify(WF_DEVICE_LOST), WF_DEVICE_CLASS_LOST);
	cr_assert_eq(ops->event_query(dev, e), WF_DEVICE_LOST);
	cr_assert_not_null(strstr(ops->error_text(dev, 0), "illegal address"));
	cr_assert_eq(ops->memory_alloc(dev, s, 16, &new_at), WF_DEVICE_LOST);
	cr_assert_eq(ops->fill(dev, s, at, 1, 16), WF_DEVICE_LOST);
	cr_assert_eq(launch_add(s, at, 4, 1), WF_DEVICE_LOST);
	cr_assert_eq(ops->event_record(dev, e, s), WF_DEVICE_LOST);
	cr_assert_eq(ops->device_enter(dev, 0), WF_DEVICE_LOST);
	cr_assert_eq(ops->memory_free(dev, s, at), 0, "frees are taken");
	/* The other device goes on; its doorbell is the only one that rang. */
	cr_assert_eq(ops->event_query(dev, f), 0);
	cr_assert_eq(wf_load_relaxed(&rung), 1);
	cr_assert_eq(stats().doorbells, 1);
	cr_assert_eq(ops->device_state(dev, 1), 0);
	cr_assert_eq(ops->memory_free(dev, t, there), 0);
	run_all();
	cr_assert_eq(stats().memory_used, 0);
	ops->event_destroy(dev, e);
	ops->event_destroy(dev, f);
	close_dev();
}

/* Every call that can fail does, once: with its code, and without an effect. */
Test(sim, each_call_fails_in_turn_and_changes_nothing)
{
	for (uint64_t nth = 1;; nth++) {
		open_with("threads=0,memory=1M");
		uint32_t failed = 0;
		struct wf_device_stream *s = NULL;
		struct wf_device_event *e = NULL;
		struct wf_device_kernel *k = NULL;
		void *pinned = NULL;
		uint64_t at = 0;

		wf_sim_fault(dev, WF_SIM_FAULT_CALL, nth, -EIO);
#define TRY(call) failed += (call) == -EIO
		TRY(ops->stream_create(dev, 0, WF_DEVICE_COMPUTE, 0, &s));
		if (!s)
			s = stream_of(0, WF_DEVICE_COMPUTE);
		TRY(ops->event_create(dev, 0, &e));
		if (!e)
			e = event_of(0);
		TRY(ops->pinned_alloc(dev, 4096, &pinned));
		if (!pinned)
			cr_assert_eq(ops->pinned_alloc(dev, 4096, &pinned), 0);
		TRY(ops->memory_alloc(dev, s, 4096, &at));
		if (!at)
			cr_assert_eq(ops->memory_alloc(dev, s, 4096, &at), 0);
		TRY(ops->copy_to_device(dev, s, at, pinned, 4096));
		TRY(ops->fill(dev, s, at, 3, 4096));
		TRY(launch_add(s, at, 4, 1));
		TRY(ops->copy_to_host(dev, s, pinned, at, 4096));
		TRY(ops->copy_on_device(dev, s, at + 2048, at, 2048));
		TRY(ops->stream_wait(dev, s, e));
		TRY(ops->event_record(dev, e, s));
		TRY(ops->stream_doorbell(dev, s, ring, &(struct wf_a32){ 0 }));
		TRY(ops->kernel_get(dev, 0, "image", 5, "name", &k));
		TRY(ops->pool_limit(dev, 0, 1 << 20));
		TRY(ops->pool_trim(dev, 0));
		bool over = wf_sim_fault_count(dev, WF_SIM_FAULT_CALL) < nth;

		cr_assert_eq(failed, !over, "call %u", (unsigned)nth);
		run_all();
		cr_assert_eq(ops->device_state(dev, 0), 0);
		cr_assert_eq(ops->event_query(dev, e), 0);
		cr_assert_eq(ops->memory_free(dev, s, at), 0);
		run_all();
		cr_assert_eq(stats().memory_used, 0);
		ops->event_destroy(dev, e);
		close_dev();
		if (over) {
			cr_assert_eq(nth, 16);
			break;
		}
	}
}

/* Every piece of work kills the device in turn; whoever waits is told, and the close ends. */
Test(sim, each_piece_of_work_may_be_the_last)
{
	for (int hang = 0; hang < 2; hang++) {
		for (uint64_t nth = 1; nth <= 6; nth++) {
			open_with("threads=0,memory=1M");
			struct wf_device_stream *s = stream_of(0, WF_DEVICE_COMPUTE);
			struct wf_device_stream *t = stream_of(0, WF_DEVICE_DOWNLOAD);
			struct wf_device_event *e = event_of(0), *f = event_of(0);
			uint32_t *words = pinned_words();
			uint64_t at = device_words(s);

			wf_sim_fault(dev, hang ? WF_SIM_FAULT_HANG : WF_SIM_FAULT_WORK, nth, -EIO);
			cr_assert_eq(ops->copy_to_device(dev, s, at, words, 64), 0);
			cr_assert_eq(launch_add(s, at, 16, 1), 0);
			cr_assert_eq(ops->event_record(dev, e, s), 0);
			cr_assert_eq(ops->stream_wait(dev, t, e), 0);
			cr_assert_eq(ops->copy_to_host(dev, t, words, at, 64), 0);
			cr_assert_eq(ops->event_record(dev, f, t), 0);
			run_all();
			cr_assert_eq(ops->event_query(dev, f), hang ? -EAGAIN : WF_DEVICE_LOST);
			cr_assert_eq(ops->device_state(dev, 0), hang ? 0 : WF_DEVICE_LOST);
			ops->event_destroy(dev, e);
			ops->event_destroy(dev, f);
			close_dev();
		}
	}
}

Test(sim, launches_are_checked_and_arguments_copied)
{
	open_with("threads=0");
	struct wf_device_stream *s = stream_of(0, WF_DEVICE_COMPUTE);
	uint64_t at = device_words(s);
	struct wf_device_launch l = { .struct_size = sizeof(l),
		                      .grid = { 1, 1, 1 },
		                      .block = { 1, 1, 1 } };
	uint32_t add = 3;

	cr_assert_eq(ops->fill(dev, s, at, 0, WORDS * 4), 0);
	cr_assert_eq(ops->launch(dev, s, NULL), -EINVAL);
	cr_assert_eq(ops->launch(dev, s, &l), -ENOTSUP, "no twin");
	l.twin = add_twin;
	cr_assert_eq(ops->launch(dev, NULL, &l), -EINVAL);
	l.args_count = 3;
	cr_assert_eq(ops->launch(dev, s, &l), -EINVAL, "no arguments");
	l.args_count = 0;
	l.grid[2] = 0;
	cr_assert_eq(ops->launch(dev, s, &l), -EINVAL);
	cr_assert_eq(launch_add(s, at, WORDS, add), 0);
	add = 1000;
	run_all();
	for (uint32_t i = 0; i < WORDS; i++)
		cr_assert_eq(((uint32_t *)wf_sim_pointer(dev, at, WORDS * 4))[i], 3);
	close_dev();
}

Test(sim, a_graph_is_replayed_as_often_as_it_is_launched)
{
	static const uint16_t sizes[] = { 8, 4, 4 };

	open_with("threads=0,devices=2");
	struct wf_device_stream *s = stream_of(0, WF_DEVICE_COMPUTE);
	struct wf_device_stream *other = stream_of(1, WF_DEVICE_COMPUTE);
	struct wf_device_graph *graph = NULL;
	uint64_t at = device_words(s);
	uint32_t n = WORDS, add[2] = { 1, 10 };
	void *args[2][3] = { { &at, &n, &add[0] }, { &at, &n, &add[1] } };
	struct wf_device_launch chain[2];

	for (int i = 0; i < 2; i++)
		chain[i] = (struct wf_device_launch){ .struct_size = sizeof(chain[i]),
			                              .twin = add_twin,
			                              .grid = { 1, 1, 1 },
			                              .block = { 32, 1, 1 },
			                              .args_count = 3,
			                              .args = args[i],
			                              .args_bytes = sizes };
	cr_assert_eq(ops->graph_create(dev, 0, chain, 0, &graph), -EINVAL);
	cr_assert_eq(ops->graph_create(dev, 0, chain, 2, &graph), 0);
	cr_assert_eq(ops->graph_launch(dev, other, graph), -EINVAL);
	cr_assert_eq(ops->fill(dev, s, at, 0, WORDS * 4), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(ops->graph_launch(dev, s, graph), 0);
	/* Recorded: neither the values nor the graph are needed any more. */
	add[0] = 777;
	ops->graph_destroy(dev, graph);
	ops->graph_destroy(dev, NULL);
	run_all();
	for (uint32_t i = 0; i < WORDS; i++)
		cr_assert_eq(((uint32_t *)wf_sim_pointer(dev, at, WORDS * 4))[i], 33);
	close_dev();
}

/* Batches that go up, through a kernel, and down, in three streams, three at a time. */
Test(sim, the_model_overlaps_copies_and_kernels)
{
	enum { BATCHES = 50 };

	for (int streams = 1; streams <= 3; streams += 2) {
		open_with("threads=0,memory=64M,copy_mbs=10000,thread_ps=1000");
		struct wf_device_stream *s[3];
		struct wf_device_event *up = event_of(0), *done = event_of(0);
		uint64_t at = 0;
		void *host = NULL;
		const uint64_t bytes = 1 << 20;
		for (int i = 0; i < 3; i++)
			s[i] = stream_of(0,
			                 streams == 1 ? WF_DEVICE_COMPUTE
			                              : (enum wf_device_stream_kind)i);
		cr_assert_eq(ops->pinned_alloc(dev, bytes, &host), 0);
		cr_assert_eq(ops->memory_alloc(dev, s[0], bytes, &at), 0);
		for (int i = 0; i < BATCHES; i++) {
			struct wf_device_stream *kernel = s[0], *in = s[streams == 1 ? 0 : 1],
						*out = s[streams == 1 ? 0 : 2];

			cr_assert_eq(ops->copy_to_device(dev, in, at, host, bytes), 0);
			cr_assert_eq(ops->event_record(dev, up, in), 0);
			cr_assert_eq(ops->stream_wait(dev, kernel, up), 0);
			cr_assert_eq(ops->fill(dev, kernel, at, 1, 16), 0);
			cr_assert_eq(ops->event_record(dev, done, kernel), 0);
			cr_assert_eq(ops->stream_wait(dev, out, done), 0);
			cr_assert_eq(ops->copy_to_host(dev, out, host, at, bytes), 0);
		}
		run_all();
		struct wf_sim_stats now = stats();
		int64_t sum = now.engine_ns[0] + now.engine_ns[1] + now.engine_ns[2];
		int64_t longest = now.engine_ns[WF_DEVICE_UPLOAD];

		cr_assert_eq(now.engine_ns[WF_DEVICE_DOWNLOAD], longest);
		if (streams == 1)
			cr_assert_eq(now.model_ns, sum, "one stream: nothing overlaps");
		else
			cr_assert(longest * 10 > now.model_ns * 9, "%lld of %lld",
			          (long long)longest, (long long)now.model_ns);
		ops->event_destroy(dev, up);
		ops->event_destroy(dev, done);
		close_dev();
	}
}

/* ---- From device to device ------------------------------------------------------------------ */

Test(sim, a_device_reads_another_and_is_lost_with_it)
{
	open_with("devices=2,threads=0,memory=1M");
	struct wf_device_stream *a = stream_of(0, WF_DEVICE_COMPUTE);
	struct wf_device_stream *b = stream_of(1, WF_DEVICE_UPLOAD);
	uint32_t *words = pinned_words();
	uint64_t from = device_words(a), to = device_words(b);

	cr_assert_eq(ops->fill(dev, a, from, 3, WORDS * 4), 0);
	run_all();
	cr_assert_eq(ops->copy_peer(dev, b, to, 2, from, 64), -EINVAL);
	cr_assert_eq(ops->copy_peer(dev, b, 0, 0, from, 64), -EINVAL);
	cr_assert_eq(ops->copy_peer(dev, NULL, to, 0, from, 64), -EINVAL);
	cr_assert_eq(ops->copy_peer(dev, b, to, 0, from, 0), 0);
	cr_assert_eq(ops->copy_peer(dev, b, to, 0, from, WORDS * 4), 0);
	cr_assert_eq(ops->copy_to_host(dev, b, words, to, WORDS * 4), 0);
	run_all();
	cr_assert_eq(words[0], 0x03030303);
	cr_assert_eq(words[WORDS - 1], 0x03030303);
	cr_assert_eq(stats().peer_copies, 1);
	/* It is lost while a copy of its bytes waits. */
	cr_assert_eq(ops->copy_peer(dev, b, to, 0, from, 64), 0);
	wf_sim_fault(dev, WF_SIM_FAULT_CALL, 1, WF_DEVICE_LOST);
	cr_assert_eq(ops->fill(dev, a, from, 3, 64), WF_DEVICE_LOST);
	cr_assert_eq(ops->device_state(dev, 1), 0);
	run_all();
	cr_assert_eq(ops->device_state(dev, 1), WF_DEVICE_LOST);
	cr_assert_not_null(strstr(ops->error_text(dev, 1), "other device"));
	close_dev();
}

Test(sim, a_lost_device_is_not_read_and_takes_nobody_along)
{
	open_with("devices=2,threads=0,memory=1M");
	struct wf_device_stream *a = stream_of(0, WF_DEVICE_COMPUTE);
	struct wf_device_stream *b = stream_of(1, WF_DEVICE_UPLOAD);
	uint64_t from = device_words(a), to = device_words(b);

	wf_sim_fault(dev, WF_SIM_FAULT_CALL, 1, WF_DEVICE_LOST);
	cr_assert_eq(ops->fill(dev, a, from, 3, 64), WF_DEVICE_LOST);
	cr_assert_eq(ops->copy_peer(dev, b, to, 0, from, 64), -EIO);
	run_all();
	cr_assert_eq(ops->device_state(dev, 1), 0);
	close_dev();
	open_with("devices=2,threads=0,peer_mbs=0");
	b = stream_of(1, WF_DEVICE_UPLOAD);
	to = device_words(b);
	cr_assert_eq(ops->copy_peer(dev, b, to, 0, to, 64), -ENOTSUP);
	close_dev();
}

/* Both ways are busy for the time of a copy, and nothing else of the devices is. */
Test(sim, copies_between_devices_have_their_own_time)
{
	open_with("devices=3,threads=0,memory=1M,launch_ns=1000,copy_mbs=1000,peer_mbs=10000");
	struct wf_device_stream *s[3];
	uint64_t at[3];

	for (uint32_t i = 0; i < 3; i++) {
		s[i] = stream_of(i, WF_DEVICE_UPLOAD);
		at[i] = device_words(s[i]);
	}
	cr_assert_eq(ops->copy_peer(dev, s[1], at[1], 0, at[0], 10000 / 10), 0);
	cr_assert_eq(stats().model_ns, 1000 + 100);
	/* From the same one: behind it. */
	cr_assert_eq(ops->copy_peer(dev, s[2], at[2], 0, at[0], 1000), 0);
	cr_assert_eq(stats().model_ns, 2 * 1100);
	cr_assert_eq(stats().engine_ns[3], 2 * 1100);
	cr_assert_eq(stats().engine_ns[WF_DEVICE_UPLOAD], 0);
	run_all();
	close_dev();
}

static int64_t virtual_ns;

static int64_t virtual_now(void *arg)
{
	(void)arg;
	return virtual_ns;
}

Test(sim, with_a_clock_events_pass_at_their_time)
{
	open_with("threads=0,launch_ns=1000,copy_mbs=1000");
	struct wf_device_stream *s = stream_of(0, WF_DEVICE_UPLOAD);
	struct wf_device_event *e = event_of(0);
	uint32_t *words = pinned_words();
	uint64_t at = device_words(s);

	virtual_ns = 500;
	wf_sim_clock(dev, virtual_now, NULL);
	cr_assert_eq(ops->copy_to_device(dev, s, at, words, 1000), 0);
	cr_assert_eq(ops->event_record(dev, e, s), 0);
	run_all();
	cr_assert_eq(ops->event_query(dev, e), -EAGAIN);
	virtual_ns = 500 + 1000 + 999;
	cr_assert_eq(ops->event_query(dev, e), -EAGAIN);
	virtual_ns++;
	cr_assert_eq(ops->event_query(dev, e), 0);
	ops->event_destroy(dev, e);
	close_dev();
}

/* ---- With threads --------------------------------------------------------------------------- */

/* Many streams with work of their own and chains over all of them, to the end. */
Test(sim, threads_keep_the_same_orders)
{
	enum { STREAMS = 6, ROUNDS = 60 };

	open_with("threads=4,memory=4M");
	struct wf_device_stream *s[STREAMS];
	struct wf_device_event *e[STREAMS], *last = event_of(0);
	struct wf_a32 rung = { 0 };
	uint32_t *words = pinned_words();
	uint64_t at;

	for (int i = 0; i < STREAMS; i++) {
		s[i] = stream_of(0, WF_DEVICE_COMPUTE);
		e[i] = event_of(0);
	}
	at = device_words(s[0]);
	cr_assert_eq(ops->copy_to_device(dev, s[0], at, words, WORDS * 4), 0);
	cr_assert_eq(ops->event_record(dev, e[0], s[0]), 0);
	for (int r = 1; r <= ROUNDS; r++) {
		int i = r % STREAMS, before = (r + STREAMS - 1) % STREAMS;
		uint64_t scratch;

		/* The chain, and something beside it. */
		cr_assert_eq(ops->stream_wait(dev, s[i], e[before]), 0);
		cr_assert_eq(launch_add(s[i], at, WORDS, 1), 0);
		cr_assert_eq(ops->event_record(dev, e[i], s[i]), 0);
		cr_assert_eq(ops->memory_alloc(dev, s[i], 4096, &scratch), 0);
		cr_assert_eq(ops->fill(dev, s[i], scratch, (uint8_t)r, 4096), 0);
		cr_assert_eq(ops->memory_free(dev, s[i], scratch), 0);
		cr_assert_eq(ops->stream_doorbell(dev, s[i], ring, &rung), 0);
	}
	int end = ROUNDS % STREAMS;

	cr_assert_eq(ops->copy_to_host(dev, s[end], words, at, WORDS * 4), 0);
	cr_assert_eq(ops->event_record(dev, last, s[end]), 0);
	while (ops->event_query(dev, last) == -EAGAIN)
		sched_yield();
	cr_assert_eq(ops->event_query(dev, last), 0);
	for (uint32_t i = 0; i < WORDS; i++)
		cr_assert_eq(words[i], i + ROUNDS);
	for (int i = 0; i < STREAMS; i++) {
		ops->event_destroy(dev, e[i]);
		ops->stream_destroy(dev, s[i]);
	}
	ops->event_destroy(dev, last);
	ops->pinned_free(dev, words);
	close_dev();
	cr_assert_eq(wf_load_relaxed(&rung), ROUNDS);
}

static void ring_late(void *arg)
{
	(void)arg;
	usleep(20000);
}

/* The close waits already when the second piece, behind a slow first one, begins to hang. */
Test(sim, a_close_ends_what_hangs)
{
	open_with("threads=2,memory=1M");
	struct wf_device_stream *s = stream_of(0, WF_DEVICE_COMPUTE);
	uint64_t at = device_words(s);

	wf_sim_fault(dev, WF_SIM_FAULT_HANG, 2, -EIO);
	cr_assert_eq(ops->stream_doorbell(dev, s, ring_late, NULL), 0);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(ops->fill(dev, s, at, 1, 4096), 0);
	close_dev();
}
