/*
 * attach.c: an attachment: its thread, opening and closing.
 *
 * One thread serves all attached processes. It sleeps in poll() and has no timer: deadlines are
 * the clients' own, who say when they do not want to wait any more, and a client that cannot say
 * it any more has hung up. What other threads have for it (tickets that the store is done with,
 * items that became known) comes by a stack and an eventfd.
 *
 * Shared: `done`: a lock-free stack, pushed on by threads of the store, taken whole by the thread.
 * `ringing`: those threads, while they are inside.
 * `stop`, `began`: set once. `options`, `path`, `store`, the descriptors: written before the thread
 * starts.
 * All else under `lock`, which is held for no call that blocks: sockets are non-blocking, and the
 * fetching of a creation, which may take long, is done without it, one piece for each client in
 * turn.
 *
 * Lock order: the owner's locks, `lock`, the store's locks.
 *
 * Progress: blocking, a mutex held for a few system calls.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attach.h"

#define POLL_LISTEN  0
#define POLL_WAKE    1
#define POLL_OWNER   2
#define POLL_CLIENTS 3
#define ACCEPT_TURN  16
#define ACCEPT_AGAIN 100 /* ms, when there was no descriptor for one more */
#define LOG_WARN     2

void wf_attach_log(const struct wf_attach *attach, int level, const char *format, ...)
{
	char text[640];
	va_list args;

	if (attach->options.log == NULL)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	attach->options.log(attach->options.arg, level, text);
}

void wf_attach_wake(struct wf_attach *attach)
{
	const uint64_t one = 1;
	/* A counter that is full wakes as well. */
	ssize_t written = write(attach->wake_fd, &one, sizeof(one));

	(void)written;
}

/* ---- The thread ------------------------------------------------------------------------------ */

static void take_done(struct wf_attach *attach)
{
	/* acquire [A1]: the outcomes of the tickets. */
	struct wf_attach_request *request =
		(struct wf_attach_request *)wf_swap_acquire(&attach->done, 0);

	while (request != NULL) {
		struct wf_attach_request *next = request->next;

		wf_request_done(request);
		request = next;
	}
}

static int accept_one(const struct wf_attach *attach)
{
	int fd;

	if (wf_fault(WF_FAULT_FILE))
		return -EMFILE;
	fd = accept4(attach->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static void accept_some(struct wf_attach *attach)
{
	attach->accept_failed = false;
	for (uint32_t i = 0; i < ACCEPT_TURN; i++) {
		int fd = accept_one(attach);

		if (fd >= 0) {
			wf_client_accept(attach, fd);
			continue;
		}
		/* No descriptors: the connection stays in the queue and would wake us at once. */
		attach->accept_failed = fd != -EAGAIN && fd != -ECONNABORTED && fd != -EINTR;
		return;
	}
}

/* Which client's turn a poll entry is: the list as it was when the entries were made. */
static uint32_t prepare(struct wf_attach *attach)
{
	uint32_t n = POLL_CLIENTS;

	attach->polls[POLL_LISTEN] =
		(struct pollfd){ .fd = attach->accept_failed ? -1 : attach->listen_fd,
		                 .events = POLLIN };
	attach->polls[POLL_WAKE] = (struct pollfd){ .fd = attach->wake_fd, .events = POLLIN };
	attach->polls[POLL_OWNER] = (struct pollfd){ .fd = attach->options.fd, .events = POLLIN };
	for (struct wf_client *client = attach->clients; client != NULL; client = client->next) {
		if (client->fd < 0)
			continue;
		WF_CHECK(n < attach->poll_room);
		attach->polls[n++] =
			(struct pollfd){ .fd = client->fd,
			                 .events = client->answers != NULL ? POLLOUT : POLLIN };
	}
	return n;
}

static void serve_clients(struct wf_attach *attach, uint32_t polled)
{
	uint32_t at = POLL_CLIENTS;

	for (struct wf_client *client = attach->clients; client != NULL; client = client->next) {
		bool stays = true;
		short events;

		if (client->fd < 0)
			continue;
		WF_CHECK(at < polled);
		WF_CHECK(attach->polls[at].fd == client->fd);
		events = attach->polls[at++].revents;
		if ((events & (POLLHUP | POLLERR | POLLNVAL)) != 0)
			stays = false;
		if (stays)
			stays = wf_client_flush(client);
		if (stays && (events & POLLIN) != 0)
			stays = wf_client_read(client);
		if (!stays)
			wf_client_hang_up(client);
	}
}

/* What the first ones answered for others, who were served before: out with it. */
static void flush_clients(struct wf_attach *attach)
{
	struct wf_client **at = &attach->clients;

	while (*at != NULL) {
		struct wf_client *client = *at;

		if (client->fd >= 0 && !wf_client_flush(client))
			wf_client_hang_up(client);
		if (!wf_client_is_gone(client)) {
			at = &client->next;
			continue;
		}
		*at = client->next;
		wf_client_free(client);
	}
}

static struct wf_attach_request *copying(struct wf_client *client)
{
	for (uint32_t i = 0; i < WF_ATTACH_REQUESTS; i++) {
		if (client->requests[i].phase == WF_REQUEST_COPY)
			return &client->requests[i];
	}
	return NULL;
}

/* One piece for each client that creates, without the lock: true: there is more to do. */
static bool copy_some(struct wf_attach *attach)
{
	bool more = false;

	/* Only this thread changes the list, and only it has a request in this phase. */
	for (struct wf_client *client = attach->clients; client != NULL; client = client->next) {
		struct wf_attach_request *request;
		int rc;

		pthread_mutex_lock(&attach->lock);
		request = copying(client);
		pthread_mutex_unlock(&attach->lock);
		if (request == NULL)
			continue;
		WF_CHECK(request->client == client);
		rc = wf_request_copy(request);
		more = true;
		if (rc == 0)
			continue;
		pthread_mutex_lock(&attach->lock);
		wf_request_copied(request, rc);
		pthread_mutex_unlock(&attach->lock);
	}
	return more;
}

static void drain_wake(struct wf_attach *attach)
{
	uint64_t count;
	ssize_t got = read(attach->wake_fd, &count, sizeof(count));

	(void)got;
}

static void turn(struct wf_attach *attach, bool busy)
{
	uint32_t polled;
	int timeout, rc;

	pthread_mutex_lock(&attach->lock);
	WF_CHECK(attach->client_count + POLL_CLIENTS <= attach->poll_room);
	polled = prepare(attach);
	timeout = busy ? 0 : attach->accept_failed ? ACCEPT_AGAIN : -1;
	pthread_mutex_unlock(&attach->lock);
	rc = poll(attach->polls, polled, timeout);
	if (rc < 0) {
		/* EINTR, or the kernel is out of memory: nothing is known of anybody. */
		for (uint32_t i = 0; i < polled; i++)
			attach->polls[i].revents = 0;
	}
	if (attach->polls[POLL_WAKE].revents != 0)
		drain_wake(attach);
	if (attach->polls[POLL_OWNER].revents != 0)
		attach->options.readable(attach->options.arg);
	pthread_mutex_lock(&attach->lock);
	take_done(attach);
	serve_clients(attach, polled);
	if (attach->polls[POLL_LISTEN].revents != 0 || attach->accept_failed)
		accept_some(attach);
	flush_clients(attach);
	pthread_mutex_unlock(&attach->lock);
}

/* Hang up on all, and wait for the tickets that could not be taken back. */
static void say_good_bye(struct wf_attach *attach)
{
	struct pollfd wake = { .fd = attach->wake_fd, .events = POLLIN };

	pthread_mutex_lock(&attach->lock);
	for (struct wf_client *client = attach->clients; client != NULL; client = client->next) {
		if (client->fd >= 0)
			wf_client_hang_up(client);
	}
	for (;;) {
		take_done(attach);
		flush_clients(attach);
		if (attach->clients == NULL)
			break;
		pthread_mutex_unlock(&attach->lock);
		(void)poll(&wake, 1, -1);
		drain_wake(attach);
		pthread_mutex_lock(&attach->lock);
	}
	WF_CHECK(attach->tickets == 0);
	WF_CHECK(attach->pinned == 0);
	for (uint32_t i = 0; i < WF_ATTACH_BUCKETS; i++) {
		while (attach->by_id[i] != NULL)
			wf_item_unlist(attach, attach->by_id[i]);
	}
	WF_CHECK(attach->item_count == 0);
	WF_CHECK(attach->created == 0);
	pthread_mutex_unlock(&attach->lock);
}

static void *thread_main(void *arg)
{
	struct wf_attach *attach = arg;
	bool busy = false;
	int rc = attach->options.begin(attach->options.arg);

	WF_CHECK(rc <= 0);
	/* release [A4]: the status. */
	wf_store_release(&attach->began, 1 + (uint32_t)-rc);
	wf_futex_wake(&attach->began, 1);
	if (rc != 0)
		return NULL;
	/* acquire [A2]: with the release in wf_attach_close(). */
	while (wf_load_acquire(&attach->stop) == 0) {
		turn(attach, busy);
		busy = copy_some(attach);
	}
	say_good_bye(attach);
	return NULL;
}

/* ---- Opening and closing --------------------------------------------------------------------- */

static void attach_free(struct wf_attach *attach)
{
	WF_CHECK(attach->clients == NULL);
	WF_CHECK(attach->item_count == 0);
	if (attach->listen_fd >= 0) {
		wf_socket_remove(attach->path, attach->socket_device, attach->socket_inode);
		close(attach->listen_fd);
	}
	if (attach->wake_fd >= 0)
		close(attach->wake_fd);
	WF_CHECK(pthread_mutex_destroy(&attach->lock) == 0);
	wf_free(attach->polls);
	wf_free(attach->message);
	wf_free(attach->path);
	wf_free(attach);
}

static int start(struct wf_attach *attach)
{
	int rc = wf_thread_start(&attach->thread, "weft-attach", thread_main, attach);
	uint32_t began;

	if (rc != 0)
		return rc;
	/* acquire [A4] */
	while ((began = wf_load_acquire(&attach->began)) == 0)
		wf_futex_wait(&attach->began, 0, WF_FOREVER);
	rc = -(int)(began - 1);
	if (rc != 0)
		wf_thread_join(&attach->thread);
	return rc;
}

static int prepare_all(struct wf_attach *attach, const char *path)
{
	attach->path = wf_malloc(strlen(path) + 1);
	attach->message = wf_malloc(WF_WIRE_BYTES_MAX);
	attach->polls = wf_calloc(attach->poll_room, sizeof(attach->polls[0]));
	if (attach->path == NULL || attach->message == NULL || attach->polls == NULL)
		return -ENOMEM;
	strcpy(attach->path, path);
	attach->options.path = attach->path;
	attach->wake_fd = wf_fault(WF_FAULT_EVENTFD) ? -1 : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (attach->wake_fd < 0)
		return -EMFILE;
	attach->listen_fd = wf_socket_listen(path, &attach->socket_device, &attach->socket_inode);
	return attach->listen_fd < 0 ? attach->listen_fd : 0;
}

int wf_attach_open(struct wf_attach **out, struct wf_store *store,
                   const struct wf_attach_options *options)
{
	struct wf_attach *attach = wf_calloc(1, sizeof(*attach));
	int rc;

	_Static_assert(WF_ATTACH_NAME_MAX == WF_WIRE_NAME_MAX, "a name fits a message");
	WF_CHECK(options->clients_max > 0 && options->clients_max <= 65536);
	if (attach == NULL)
		return -ENOMEM;
	WF_CHECK(store != NULL && options->drop != NULL && options->adopt != NULL);
	attach->store = store;
	attach->options = *options;
	attach->listen_fd = attach->wake_fd = -1;
	attach->poll_room = POLL_CLIENTS + options->clients_max;
	WF_CHECK(pthread_mutex_init(&attach->lock, NULL) == 0);
	rc = prepare_all(attach, options->path);
	if (rc == 0)
		rc = start(attach);
	if (rc != 0) {
		attach_free(attach);
		return rc;
	}
	*out = attach;
	return 0;
}

void wf_attach_close(struct wf_attach *attach)
{
	if (attach == NULL)
		return;
	/* release [A2]: nobody calls any more. */
	wf_store_release(&attach->stop, 1);
	wf_attach_wake(attach);
	wf_thread_join(&attach->thread);
	/* acquire [A3]: who brought the last ticket back may still be ringing. */
	while (wf_load_acquire(&attach->ringing) != 0)
		sched_yield();
	attach_free(attach);
}

/* ---- Looking --------------------------------------------------------------------------------- */

uint32_t wf_attach_clients(struct wf_attach *attach, struct wf_attach_client *clients, uint32_t n)
{
	uint32_t count = 0;

	pthread_mutex_lock(&attach->lock);
	for (struct wf_client *client = attach->clients; client != NULL; client = client->next) {
		uint32_t requests = 0;

		if (client->fd < 0)
			continue;
		for (uint32_t i = 0; i < WF_ATTACH_REQUESTS; i++)
			requests += client->requests[i].phase != WF_REQUEST_FREE;
		if (count < n)
			clients[count] = (struct wf_attach_client){ .id = client->id,
				                                    .pid = client->pid,
				                                    .uid = client->uid,
				                                    .pins = client->pin_count,
				                                    .requests = requests,
				                                    .pinned_bytes = client->pinned,
				                                    .gets = client->gets,
				                                    .creates = client->creates };
		count++;
	}
	pthread_mutex_unlock(&attach->lock);
	return count;
}
