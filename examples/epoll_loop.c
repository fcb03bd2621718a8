/*
 * epoll_loop.c: weft inside an event loop that belongs to somebody else.
 *
 * The loop's thread never blocks in weft. It submits a, b and c = a + b, registers the refs with a
 * completion queue, adds the queue's descriptor to its epoll set beside a timer of its own, and is
 * told by tag which ref is ready. It learns that b is done without fetching b's value, and it
 * cancels a task that would wait for ever.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <weft.h>

enum tag { TAG_A, TAG_B, TAG_C, TAG_STUCK, TAGS };

static const char *const tag_names[TAGS] = { "a", "b", "c", "stuck" };

struct loop {
	weft *rt;
	weft_cq *cq;
	int epoll, timer;
	weft_ref refs[TAGS];
	int status[TAGS];
	bool done[TAGS];
	int left;
	int64_t sum;
};

static void die(const char *what, int status)
{
	fprintf(stderr, "epoll_loop: %s: %s\n", what, weft_strerror(status));
	exit(1);
}

static void check(const char *what, int status)
{
	if (status < 0)
		die(what, status);
}

static int square(weft_task *self)
{
	const int64_t x = *(const int64_t *)weft_task_arg(self, NULL), result = x * x;

	return weft_return(self, &result, sizeof result);
}

static int add(weft_task *self)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		struct weft_view view;
		const int status = weft_input(self, i, &view);

		if (status < 0 || view.size != sizeof sum)
			return weft_fail(self, -EPROTO, "input %u is no number", i);
		sum += *(const int64_t *)view.data;
	}
	return weft_return(self, &sum, sizeof sum);
}

static int sleep_for_ever(weft_task *self)
{
	return weft_sleep_until(weft_task_runtime(self), WEFT_FOREVER);
}

static void submit_all(struct loop *loop)
{
	const int64_t three = 3, four = 4;
	weft_ref *refs = loop->refs;

	check("submit a", weft_submit(loop->rt, WEFT_TASK(square, WEFT_ARG(three)), &refs[TAG_A]));
	check("submit b", weft_submit(loop->rt, WEFT_TASK(square, WEFT_ARG(four)), &refs[TAG_B]));
	check("submit c",
	      weft_submit(loop->rt, WEFT_TASK(add, WEFT_INPUTS(refs[TAG_A], refs[TAG_B])),
	                  &refs[TAG_C]));
	check("submit stuck", weft_submit(loop->rt, WEFT_TASK(sleep_for_ever), &refs[TAG_STUCK]));
	for (uint64_t tag = 0; tag < TAGS; tag++)
		check("register", weft_cq_add(loop->cq, refs[tag], tag));
	loop->left = TAGS;
}

/* Each item is handled like any other event of the loop: short and without blocking. */
static void on_completion(struct loop *loop)
{
	struct weft_cq_item items[8];
	int n;

	while ((n = weft_cq_drain(loop->cq, items, 8)) > 0) {
		for (int i = 0; i < n; i++) {
			const uint64_t tag = items[i].tag;

			if (tag >= TAGS || loop->done[tag])
				die("an item came twice", -EPROTO);
			loop->done[tag] = true;
			loop->status[tag] = items[i].status;
			loop->left--;
			printf("%s: %s\n", tag_names[tag],
			       items[i].status < 0 ? weft_strerror(items[i].status) : "done");
			if (tag == TAG_C)
				check("value of c",
				      (int)weft_get_copy(loop->rt, items[i].ref, &loop->sum,
				                         sizeof loop->sum));
		}
	}
	check("drain", n);
}

/* The loop's own timer: by now nobody wants the stuck task any more. */
static void on_timer(struct loop *loop)
{
	uint64_t ticks;

	if (read(loop->timer, &ticks, sizeof ticks) != sizeof ticks)
		die("timer", -errno);
	check("cancel", weft_cancel(loop->rt, loop->refs[TAG_STUCK]));
}

static void watch(struct loop *loop, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (fd < 0)
		die("descriptor", fd);
	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl", -errno);
}

int main(void)
{
	static const struct itimerspec soon = { .it_value.tv_nsec = 5000000 };
	struct loop loop = { .left = TAGS };

	check("open", weft_open(&loop.rt, NULL));
	check("queue", weft_cq_create(loop.rt, &loop.cq));
	loop.epoll = epoll_create1(EPOLL_CLOEXEC);
	loop.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	if (loop.epoll < 0 || loop.timer < 0 || timerfd_settime(loop.timer, 0, &soon, NULL) < 0)
		die("epoll and timer", -errno);
	const int cq_fd = weft_cq_fd(loop.cq);
	watch(&loop, cq_fd);
	watch(&loop, loop.timer);
	submit_all(&loop);
	while (loop.left > 0) {
		struct epoll_event events[4];
		const int n = epoll_wait(loop.epoll, events, 4, -1);

		if (n < 0 && errno != EINTR)
			die("epoll_wait", -errno);
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == cq_fd)
				on_completion(&loop);
			else
				on_timer(&loop);
		}
	}
	check("release", weft_release_many(loop.rt, loop.refs, TAGS));
	weft_cq_destroy(loop.cq);
	close(loop.epoll);
	close(loop.timer);
	const int closed = weft_close(loop.rt, WEFT_FOREVER);
	printf("c = a + b = %lld\n", (long long)loop.sum);
	const bool good = closed == 0 && loop.sum == 25 && loop.status[TAG_A] == 0 &&
		loop.status[TAG_B] == 0 && loop.status[TAG_C] == 0 &&
		loop.status[TAG_STUCK] == -ECANCELED;
	return good ? 0 : 1;
}
