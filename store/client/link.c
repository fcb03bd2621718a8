/*
 * link.c: the client's end of a connection.
 *
 * There is no thread. Of the callers that wait for answers one stands at the socket and receives
 * for all; when its own answer has come, another takes its place. So calls of several threads are
 * under way together, and none needs a wake-up by anybody but a caller.
 *
 * Deadlines are kept here. A caller whose time is over says so, and the store answers at once,
 * with the value if it was on its way. A store that does not answer even then is left alone: the
 * call is written down as abandoned, and should its answer ever come, what it brings is undone, as
 * soon as the socket takes that.
 *
 * Shared: everything but the fields above it under `lock`, which is not held while waiting.
 *
 * Invariants: call_count = calls not answered + abandoned ones <= calls_max. Nothing is requested
 * before all of `unsent` is sent, so that unsent_count <= held_room + calls_max, which is its room.
 *
 * Progress: blocking.
 */
#include "link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define NS_PER_S 1000000000
#define ALIGN    16u /* as malloc() */
#define OTHER_READS \
	(5 * 1000 * 1000) /* ns between looks when another caller stands at the socket */

int64_t wf_link_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * (int64_t)NS_PER_S + now.tv_nsec;
}

int wf_link_poll(int fd, short events, int64_t until)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };
	int64_t left = until == INT64_MAX ? INT64_MAX : until - wf_link_now();
	struct timespec timeout = { .tv_sec = left / NS_PER_S, .tv_nsec = left % NS_PER_S };

	if (left < 0)
		timeout = (struct timespec){ .tv_sec = 0 };
	return ppoll(&poll_fd, 1, left == INT64_MAX ? NULL : &timeout, NULL) == 0 ? -ETIMEDOUT : 0;
}

static int64_t later(int64_t time, int64_t ns)
{
	return time > INT64_MAX - ns ? INT64_MAX : time + ns;
}

void wf_link_die(struct weft_client *c, int status)
{
	WF_CHECK(status < 0);
	if (c->dead == 0)
		c->dead = status;
	pthread_cond_broadcast(&c->changed);
}

/* ---- Sending --------------------------------------------------------------------------------- */

/* Without waiting: 0, -EAGAIN, or the connection's end. */
static int send_now(struct weft_client *c, const struct wf_wire *wire, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = c->out };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	WF_CHECK(fd < 0 || wire->kind == WF_WIRE_CREATE);
	iov.iov_len = wf_wire_write(wire, c->out, WF_WIRE_BYTES_MAX);
	WF_CHECK(iov.iov_len > 0);
	if (fd >= 0) {
		struct cmsghdr *head;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		head = CMSG_FIRSTHDR(&msg);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(head), &fd, sizeof(fd));
	}
	WF_POINT();
	if (sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
		WF_POINT();
		return 0;
	}
	if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS)
		return -EAGAIN;
	/* Its last words may say why: whoever reads them ends the connection. */
	return errno == EPIPE || errno == ECONNRESET ? -EPIPE : -errno;
}

/* What came too late for its creator. The answers find nobody either: until then each is a call. */
static void remove_unmade(struct weft_client *c)
{
	for (uint32_t i = 0; i < WF_LINK_CALLS_MAX && c->dead == 0; i++) {
		struct wf_wire wire = { .kind = WF_WIRE_REMOVE,
			                .serial = c->abandoned[i],
			                .id = c->unmade[i] };

		if (wire.id == 0)
			continue;
		WF_CHECK(wire.serial != 0);
		if (send_now(c, &wire, -1) != 0)
			return;
		c->unmade[i] = 0;
	}
}

static bool has_unmade(const struct weft_client *c)
{
	uint64_t any = 0;

	for (uint32_t i = 0; i < WF_LINK_CALLS_MAX; i++)
		any |= c->unmade[i];
	return any != 0;
}

void wf_link_flush(struct weft_client *c)
{
	WF_CHECK(c->unsent_count <= c->unsent_room);
	remove_unmade(c);
	while (c->unsent_count > 0 && c->dead == 0) {
		uint32_t n = c->unsent_count;
		struct wf_wire wire = { .kind = WF_WIRE_RELEASE };

		if (n > WF_WIRE_PINS_MAX)
			n = WF_WIRE_PINS_MAX;
		wire.data = c->unsent + (c->unsent_count - n);
		wire.data_bytes = n * (uint32_t)sizeof(c->unsent[0]);
		if (send_now(c, &wire, -1) != 0)
			return;
		c->unsent_count -= n;
	}
}

/* ---- Receiving ------------------------------------------------------------------------------- */

static void give_back(struct weft_client *c, const struct wf_wire *wire)
{
	if (wire->kind != WF_WIRE_VALUE || wire->pin == 0)
		return;
	WF_CHECK(c->unsent_count < c->unsent_room);
	c->unsent[c->unsent_count++] = wire->pin;
}

/* Nobody waits for it any more: what it brings is undone. */
static void undo(struct weft_client *c, const struct wf_wire *wire)
{
	uint32_t i = 0;

	WF_CHECK(wire->serial != 0);
	give_back(c, wire);
	while (i < WF_LINK_CALLS_MAX && c->abandoned[i] != wire->serial)
		i++;
	if (i == WF_LINK_CALLS_MAX)
		return;
	c->unmade[i] = wire->kind == WF_WIRE_CREATED ? wire->id : 0;
	if (c->unmade[i] != 0) {
		/* The place stays taken until that is answered, for which this is the serial. */
		c->abandoned[i] = ++c->serial;
		return;
	}
	c->abandoned[i] = 0;
	WF_CHECK(c->call_count > 0);
	c->call_count--;
}

/*
 * Keep a message that points to something, with the value's bytes (else the metadata) aligned for
 * any type. NULL: no memory.
 */
static void *keep_message(const struct weft_client *c, struct wf_wire *wire, size_t size)
{
	const void *first = wire->data_bytes > 0 ? wire->data : wire->meta;
	size_t at = first != NULL ? (size_t)((const unsigned char *)first - c->in) : 0;
	size_t pad = (ALIGN - at % ALIGN) % ALIGN;
	unsigned char *block = malloc(size + pad);

	WF_CHECK(at <= size);
	if (block == NULL)
		return NULL;
	memcpy(block + pad, c->in, size);
	WF_CHECK(wf_wire_read(block + pad, size, wire));
	return block;
}

static void answer(struct weft_client *c, struct wf_wire *wire, size_t size)
{
	for (struct wf_call *call = c->calls; call != NULL; call = call->next) {
		if (call->done || call->answer.serial != wire->serial)
			continue;
		if (wire->name_bytes > 0 || wire->meta_bytes > 0 || wire->data_bytes > 0) {
			call->block = keep_message(c, wire, size);
			if (call->block == NULL) {
				give_back(c, wire);
				*wire = (struct wf_wire){ .kind = WF_WIRE_ANSWER,
					                  .serial = wire->serial,
					                  .status = -ENOMEM };
			}
		}
		call->answer = *wire;
		call->done = true;
		WF_CHECK(c->call_count > 0);
		c->call_count--;
		return;
	}
	undo(c, wire);
}

/* Everything that is there. */
static void receive(struct weft_client *c)
{
	while (c->dead == 0) {
		struct wf_wire wire;
		ssize_t got = recv(c->fd, c->in, WF_WIRE_BYTES_MAX, MSG_DONTWAIT | MSG_TRUNC);

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		WF_POINT();
		if (got <= 0) {
			wf_link_die(c, -EPIPE);
		} else if (!wf_wire_read(c->in, (size_t)got, &wire)) {
			wf_link_die(c, -EPROTO);
		} else if (wire.serial == 0) {
			wf_link_die(c, wire.status < 0 ? wire.status : -EPROTO);
		} else {
			answer(c, &wire, (size_t)got);
		}
	}
	wf_link_flush(c);
}

void wf_link_look(struct weft_client *c)
{
	WF_CHECK(!c->reading);
	receive(c);
	pthread_cond_broadcast(&c->changed);
}

/* Stand at the socket until something can be done there, or time is over. */
static void stand(struct weft_client *c, short events, int64_t until)
{
	WF_CHECK(!c->reading);
	c->reading = true;
	pthread_mutex_unlock(&c->lock);
	(void)wf_link_poll(c->fd, events, until);
	pthread_mutex_lock(&c->lock);
	receive(c);
	c->reading = false;
	pthread_cond_broadcast(&c->changed);
}

/* Until something has changed, or time is over. */
static void await_change(struct weft_client *c, int64_t until)
{
	struct timespec at = { .tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S };

	/* What is still to be removed takes places for which others may wait. */
	if (!c->reading)
		stand(c, has_unmade(c) ? POLLIN | POLLOUT : POLLIN, until);
	else if (until == INT64_MAX)
		pthread_cond_wait(&c->changed, &c->lock);
	else
		pthread_cond_timedwait(&c->changed, &c->lock, &at);
}

/* ---- Calls ----------------------------------------------------------------------------------- */

/* Give back what is to be given back, then send: 0, -ETIMEDOUT, -EPIPE. */
static int send_by(struct weft_client *c, const struct wf_wire *wire, int fd, int64_t until)
{
	WF_CHECK(wire->serial != 0);
	for (;;) {
		int rc;

		if (c->dead != 0)
			return c->dead;
		wf_link_flush(c);
		rc = c->unsent_count > 0 ? -EAGAIN : send_now(c, wire, fd);
		if (rc == 0)
			return 0;
		if (rc != -EAGAIN) {
			receive(c);
			wf_link_die(c, rc);
			return c->dead;
		}
		if (wf_link_now() >= until)
			return -ETIMEDOUT;
		/* Who stands there waits for answers only: look again soon. */
		if (c->reading)
			await_change(c, wf_link_now() + OTHER_READS);
		else
			stand(c, POLLIN | POLLOUT, until);
	}
}

static void await_answer(struct weft_client *c, const struct wf_call *call, int64_t until)
{
	while (!call->done && c->dead == 0 && wf_link_now() < until)
		await_change(c, until);
}

static void leave(struct weft_client *c, const struct wf_call *call)
{
	struct wf_call **at = &c->calls;

	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
	/* There may be room for another call now, or the socket's place is free. */
	pthread_cond_broadcast(&c->changed);
}

/* The call is not answered and will not be waited for: its answer finds its serial here. */
static void abandon(struct weft_client *c, uint64_t serial)
{
	for (uint32_t i = 0; i < WF_LINK_CALLS_MAX; i++) {
		if (c->abandoned[i] == 0) {
			c->abandoned[i] = serial;
			return;
		}
	}
	WF_CHECK(!"more calls than there may be");
}

/* A place among the calls: 0, -ETIMEDOUT, -EPIPE. */
static int enter(struct weft_client *c, int64_t until)
{
	while (c->dead == 0 && c->call_count >= c->calls_max) {
		if (wf_link_now() >= until)
			return -ETIMEDOUT;
		await_change(c, until);
	}
	return c->dead;
}

/* It is sent: wait for its answer until `until`, and ask for it then. 0, -ETIMEDOUT, -EPIPE. */
static int await_call(struct weft_client *c, struct wf_call *call, bool waits, int64_t until,
                      int64_t grace)
{
	struct wf_wire cancel = { .kind = WF_WIRE_CANCEL, .serial = call->answer.serial };

	/* What does not wait there is answered at once. */
	await_answer(c, call, waits ? until : later(wf_link_now(), grace));
	if (!call->done && c->dead == 0 && waits) {
		int64_t end = later(wf_link_now(), grace);

		(void)send_by(c, &cancel, -1, end);
		await_answer(c, call, end);
	}
	WF_CHECK(c->call_count <= WF_LINK_CALLS_MAX);
	if (call->done)
		return 0;
	if (c->dead != 0)
		return c->dead;
	abandon(c, call->answer.serial);
	return -ETIMEDOUT;
}

int wf_link_call(struct weft_client *c, struct wf_wire *request, int fd, int64_t until,
                 int64_t slow_ns, struct wf_call *call)
{
	int64_t now = wf_link_now(), least = now + WF_LINK_GRACE_NS;
	int rc;

	WF_CHECK(slow_ns >= 0);
	*call = (struct wf_call){ .next = NULL };
	pthread_mutex_lock(&c->lock);
	rc = enter(c, until);
	if (rc != 0) {
		pthread_mutex_unlock(&c->lock);
		return rc;
	}
	request->serial = call->answer.serial = ++c->serial;
	call->next = c->calls;
	c->calls = call;
	WF_CHECK(c->call_count < c->calls_max);
	c->call_count++;
	rc = send_by(c, request, fd, until > now ? until : least);
	if (rc != 0)
		c->call_count--;
	else
		rc = await_call(c, call, (request->flags & WF_WIRE_WAIT) != 0, until,
		                later(WF_LINK_GRACE_NS, slow_ns));
	leave(c, call);
	pthread_mutex_unlock(&c->lock);
	return rc;
}
