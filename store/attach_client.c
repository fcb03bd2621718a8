/*
 * attach_client.c: one attached process: the messages, from hello to hang-up.
 *
 * Nothing more is read from a client that has not taken its answers: whoever floods, or stops
 * reading, waits for himself. What no honest client sends ends the connection.
 *
 * Shared: all under the attachment's lock.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attach.h"
#include "mem.h"

#define LOG_WARN      2
#define LOG_INFO      3
#define SOCKET_BUFFER (256 << 10)

/* ---- Messages -------------------------------------------------------------------------------- */

static bool violation(const struct wf_client *client, const char *what)
{
	wf_attach_log(client->attach, LOG_WARN, "attach: process %d is cut off: %s",
	              (int)client->pid, what);
	return false;
}

static bool send_message(const struct wf_client *client, const struct wf_wire *wire, int *rc)
{
	struct wf_attach *attach = client->attach;
	size_t size = wf_wire_write(wire, attach->message, WF_WIRE_BYTES_MAX);

	WF_CHECK(size > 0);
	*rc = send(client->fd, attach->message, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
	return *rc == 0;
}

/* The files of all nodes, and how to map them. */
static bool say_welcome(struct wf_client *client, uint64_t serial)
{
	struct wf_attach *attach = client->attach;
	const struct wf_mem *mem = wf_store_mem(attach->store);
	struct wf_wire wire = { .kind = WF_WIRE_WELCOME,
		                .flags = attach->options.create ? WF_WIRE_CREATE_OK : 0,
		                .serial = serial,
		                .pid = (uint32_t)getpid(),
		                .requests_max = WF_ATTACH_REQUESTS,
		                .pins_max = attach->options.pins_max,
		                .node_bytes = wf_mem_node_bytes(mem) };
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WF_WIRE_NODES_MAX * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = attach->message };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes };
	struct cmsghdr *head;
	int fds[WF_WIRE_NODES_MAX];

	wire.node_count = wf_mem_node_count(mem);
	WF_CHECK(wire.node_count <= WF_WIRE_NODES_MAX);
	for (uint32_t i = 0; i < wire.node_count; i++) {
		wire.node_offset[i] = wf_mem_node_offset(mem, i);
		fds[i] = wf_mem_read_fd(mem, i);
		WF_CHECK(fds[i] >= 0);
	}
	wire.map_bytes = wire.node_offset[wire.node_count - 1] + wire.node_bytes;
	memset(&control, 0, sizeof(control));
	msg.msg_controllen = CMSG_SPACE(wire.node_count * sizeof(int));
	head = CMSG_FIRSTHDR(&msg);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(wire.node_count * sizeof(int));
	memcpy(CMSG_DATA(head), fds, wire.node_count * sizeof(int));
	iov.iov_len = wf_wire_write(&wire, attach->message, WF_WIRE_BYTES_MAX);
	WF_CHECK(iov.iov_len > 0);
	return sendmsg(client->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static bool hello(struct wf_client *client, const struct wf_wire *wire)
{
	struct wf_wire answer = { .kind = WF_WIRE_ANSWER,
		                  .serial = wire->serial,
		                  .status = -EPROTONOSUPPORT };
	char text[96];
	int rc;

	WF_CHECK(client->fd >= 0);
	if (client->welcome || wire->kind != WF_WIRE_HELLO)
		return violation(client, client->welcome ? "a second hello" : "no hello");
	if (wire->code == (int)WF_WIRE_VERSION) {
		client->welcome = true;
		return say_welcome(client, wire->serial);
	}
	snprintf(text, sizeof(text), "the store speaks version %u, the client %d", WF_WIRE_VERSION,
	         wire->code);
	answer.name = text;
	answer.name_bytes = (uint32_t)strlen(text);
	(void)send_message(client, &answer, &rc);
	return violation(client, text);
}

static bool act(struct wf_client *client, const struct wf_wire *wire, int fd)
{
	bool takes_file = wire->kind == WF_WIRE_CREATE;

	WF_CHECK(client->answers == NULL);
	if (fd >= 0 && (!takes_file || !client->welcome)) {
		close(fd);
		return violation(client, "a file that nobody asked for");
	}
	if (!client->welcome || wire->kind == WF_WIRE_HELLO)
		return hello(client, wire);
	switch (wire->kind) {
	case WF_WIRE_GET:
	case WF_WIRE_CREATE:
	case WF_WIRE_REMOVE:
		if (wf_request_start(client, wire, fd))
			return true;
		if (fd >= 0)
			close(fd);
		return violation(client, "more requests than it was told it may have");
	case WF_WIRE_CANCEL:
		wf_request_cancel(client, wire->serial);
		return true;
	case WF_WIRE_RELEASE:
		for (uint32_t i = 0; i < wire->data_bytes / sizeof(uint64_t); i++) {
			if (!wf_ledger_release(client, wf_wire_pin(wire, i)))
				return violation(client, "it gave back what it does not have");
		}
		return true;
	default:
		return violation(client, "a message that only the store sends");
	}
}

/* One message: its length, 0 hung up, -EAGAIN there is none, -errno. `*fd`: what came along. */
static ssize_t receive(struct wf_client *client, int *fd, int *flags)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = client->attach->message, .iov_len = WF_WIRE_BYTES_MAX };
	struct msghdr msg = { .msg_iov = &iov,
		              .msg_iovlen = 1,
		              .msg_control = control.bytes,
		              /* Not CMSG_SPACE, whose padding has room for a second one. */
		              .msg_controllen = CMSG_LEN(sizeof(int)) };
	ssize_t got = recvmsg(client->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*fd = -1;
	if (got < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	for (struct cmsghdr *head = CMSG_FIRSTHDR(&msg); head != NULL;
	     head = CMSG_NXTHDR(&msg, head)) {
		if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
		    head->cmsg_len >= CMSG_LEN(sizeof(int)))
			memcpy(fd, CMSG_DATA(head), sizeof(*fd));
	}
	*flags = msg.msg_flags;
	return got;
}

bool wf_client_read(struct wf_client *client)
{
	for (uint32_t i = 0; i < WF_ATTACH_TURN && client->answers == NULL; i++) {
		struct wf_wire wire;
		int fd, flags = 0;
		ssize_t got = receive(client, &fd, &flags);

		WF_CHECK(got <= (ssize_t)WF_WIRE_BYTES_MAX);
		WF_CHECK(got > 0 || fd < 0);
		if (got == -EAGAIN)
			return true;
		if (got <= 0)
			return false;
		if ((flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
		    !wf_wire_read(client->attach->message, (size_t)got, &wire)) {
			if (fd >= 0)
				close(fd);
			return violation(client, "a message that is none");
		}
		if (!act(client, &wire, fd) || !wf_client_flush(client))
			return false;
	}
	return true;
}

static void describe(const struct wf_attach_request *request, struct wf_wire *wire)
{
	struct wf_attach *attach = request->client->attach;
	const struct wf_item *item = request->item;

	WF_CHECK(request->phase == WF_REQUEST_ANSWER);
	*wire = (struct wf_wire){ .kind = WF_WIRE_ANSWER,
		                  .serial = request->serial,
		                  .status = request->status,
		                  .code = request->code,
		                  .id = request->id };
	if (request->status < 0) {
		wire->name = request->full.text;
		wire->name_bytes = (uint32_t)strlen(request->full.text);
		return;
	}
	if (request->kind == WF_WIRE_REMOVE)
		return;
	if (request->kind == WF_WIRE_CREATE) {
		wire->kind = WF_WIRE_CREATED;
		return;
	}
	wire->kind = WF_WIRE_VALUE;
	WF_CHECK(item != NULL);
	if (request->object == NULL) {
		wire->offset = WF_WIRE_INLINE;
		wire->size = item->size;
		wire->data = item->bytes;
		wire->data_bytes = (uint32_t)item->size;
		return;
	}
	WF_CHECK(request->pin != 0);
	wire->size = request->object->size;
	wire->offset = request->object->offset;
	wire->pin = request->pin;
	wire->tag = request->object->tag;
	wire->meta = attach->options.meta(attach->options.arg, request->object, &wire->meta_bytes);
}

bool wf_client_flush(struct wf_client *client)
{
	while (client->answers != NULL) {
		struct wf_attach_request *request = client->answers;
		struct wf_wire wire;
		int rc;

		WF_CHECK(request->phase == WF_REQUEST_ANSWER);
		describe(request, &wire);
		if (!send_message(client, &wire, &rc))
			return rc == -EAGAIN || rc == -EINTR;
		client->answers = request->next;
		wf_request_free(request);
	}
	return true;
}

/* ---- Coming and going ------------------------------------------------------------------------ */

static void refuse(const struct wf_attach *attach, int fd, int status, const char *text)
{
	struct wf_wire wire = { .kind = WF_WIRE_ANSWER,
		                .status = status,
		                .code = status,
		                .name = text,
		                .name_bytes = (uint32_t)strlen(text) };
	size_t size = wf_wire_write(&wire, attach->message, WF_WIRE_BYTES_MAX);

	WF_CHECK(size > 0);
	(void)send(fd, attach->message, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
	wf_attach_log(attach, LOG_WARN, "attach: a process is refused: %s", text);
}

/* Why nobody, or not this one, can attach: NULL, or a text and its status. */
static const char *refusal(const struct wf_attach *attach, const struct ucred *peer, int *status)
{
	const struct wf_mem *mem = wf_store_mem(attach->store);
	uint32_t same = 0;

	for (const struct wf_client *c = attach->clients; c != NULL; c = c->next)
		same += c->fd >= 0 && c->pid == peer->pid;
	WF_CHECK(attach->client_count <= attach->options.clients_max);
	*status = -EACCES;
	if (peer->uid != geteuid() && peer->uid != 0)
		return "it belongs to another user";
	*status = -EUSERS;
	if (attach->client_count >= attach->options.clients_max)
		return "as many are attached as may be";
	if (same >= attach->options.process_max)
		return "the process is attached as often as it may be";
	for (uint32_t i = 0; i < wf_mem_node_count(mem); i++) {
		*status = wf_mem_read_fd(mem, i);
		if (*status < 0)
			return "the store's memory cannot be opened for reading";
	}
	return NULL;
}

void wf_client_accept(struct wf_attach *attach, int fd)
{
	struct ucred peer = { .pid = 0 };
	socklen_t size = sizeof(peer);
	struct wf_client *client;
	const char *why;
	int buffer = SOCKET_BUFFER, status;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		peer.uid = UINT32_MAX;
	why = refusal(attach, &peer, &status);
	client = why == NULL ? wf_calloc(1, sizeof(*client)) : NULL;
	if (client == NULL) {
		refuse(attach, fd, why != NULL ? status : -ENOMEM, why != NULL ? why : "no memory");
		return;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	client->attach = attach;
	client->id = ++attach->serial;
	client->fd = fd;
	client->pid = peer.pid;
	client->uid = peer.uid;
	client->pin_free = WF_PIN_NONE;
	for (uint32_t i = 0; i < WF_ATTACH_REQUESTS; i++) {
		client->requests[i].client = client;
		client->requests[i].fd = -1;
	}
	WF_CHECK(client->pin_room == 0);
	client->next = attach->clients;
	attach->clients = client;
	attach->client_count++;
	wf_attach_log(attach, LOG_INFO, "attach: process %d is attached", (int)client->pid);
}

void wf_client_hang_up(struct wf_client *client)
{
	struct wf_attach *attach = client->attach;

	WF_CHECK(client->fd >= 0);
	close(client->fd);
	client->fd = -1;
	client->answers = NULL;
	WF_CHECK(attach->client_count > 0);
	attach->client_count--;
	for (uint32_t i = 0; i < WF_ATTACH_REQUESTS; i++) {
		struct wf_attach_request *request = &client->requests[i];

		if (request->phase == WF_REQUEST_ANSWER ||
		    (request->phase != WF_REQUEST_FREE && wf_request_stop(request)))
			wf_request_free(request);
	}
	wf_ledger_clear(client);
	wf_attach_log(attach, LOG_INFO, "attach: process %d has left", (int)client->pid);
}

bool wf_client_is_gone(const struct wf_client *client)
{
	if (client->fd >= 0)
		return false;
	for (uint32_t i = 0; i < WF_ATTACH_REQUESTS; i++) {
		if (client->requests[i].phase != WF_REQUEST_FREE)
			return false;
	}
	return true;
}

void wf_client_free(struct wf_client *client)
{
	WF_CHECK(wf_client_is_gone(client));
	wf_free(client->pins);
	wf_free(client);
}
